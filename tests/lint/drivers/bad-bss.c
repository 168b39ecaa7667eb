/* SPDX-License-Identifier: MIT */
/* expect: writable global table, 64 bytes in \.bss */
#include <auriga/driver.h>

AU_DRIVER_NOTE(AU_NAME("fixture") AU_VERSION("1.0") AU_CLASS("raw"));

static char table[64];

static int fixture_prepare(struct au_device *dev)
{
	table[au_param_uint(dev, "index") & 63]++;
	return table[0];
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = fixture_prepare,
};
