/* SPDX-License-Identifier: MIT */
/* expect: writable global counter, 4 bytes in \.data */
#include <auriga/driver.h>

AU_DRIVER_NOTE(AU_NAME("fixture") AU_VERSION("1.0") AU_CLASS("raw"));

static int counter = 3;

static int fixture_prepare(struct au_device *dev)
{
	return counter++;
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = fixture_prepare,
};
