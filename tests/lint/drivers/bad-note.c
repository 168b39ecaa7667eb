/* SPDX-License-Identifier: MIT */
/* expect: no note */
#include <auriga/driver.h>

static int fixture_prepare(struct au_device *dev)
{
	return 0;
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = fixture_prepare,
};
