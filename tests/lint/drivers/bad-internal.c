/* SPDX-License-Identifier: MIT */
/* expect: undefined symbol au_internal is */
#include <auriga/driver.h>

AU_DRIVER_NOTE(AU_NAME("fixture") AU_VERSION("1.0") AU_CLASS("raw"));

extern int au_internal(struct au_device *dev);

static int fixture_prepare(struct au_device *dev)
{
	return au_internal(dev);
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = fixture_prepare,
};
