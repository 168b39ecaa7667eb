/* SPDX-License-Identifier: MIT */
/* expect: exports fixture_extra */
#include <auriga/driver.h>

AU_DRIVER_NOTE(AU_NAME("fixture") AU_VERSION("1.0") AU_CLASS("raw"));

AU_API int fixture_extra(void);
int fixture_extra(void)
{
	return 1;
}

static int fixture_prepare(struct au_device *dev)
{
	return fixture_extra();
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = fixture_prepare,
};
