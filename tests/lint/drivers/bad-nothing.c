/* SPDX-License-Identifier: MIT */
/* expect: exports no au_driver */
#include <auriga/driver.h>

AU_DRIVER_NOTE(AU_NAME("fixture") AU_VERSION("1.0") AU_CLASS("raw"));

static int fixture_prepare(struct au_device *dev)
{
	return 0;
}

const int fixture_quiet = (int)sizeof(&fixture_prepare);
