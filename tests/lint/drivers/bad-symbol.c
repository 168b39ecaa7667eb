/* SPDX-License-Identifier: MIT */
/* expect: undefined symbol open is */
#include <auriga/driver.h>

AU_DRIVER_NOTE(AU_NAME("fixture") AU_VERSION("1.0") AU_CLASS("raw"));

extern int open(const char *path, int flags, ...);

static int fixture_prepare(struct au_device *dev)
{
	return open("/etc/passwd", 0);
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = fixture_prepare,
};
