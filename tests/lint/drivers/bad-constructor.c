/* SPDX-License-Identifier: MIT */
/* expect: constructors or destructors in \.init_array */
#include <auriga/driver.h>

AU_DRIVER_NOTE(AU_NAME("fixture") AU_VERSION("1.0") AU_CLASS("raw"));

__attribute__((constructor)) static void fixture_constructor(void)
{
	au_log(0, AU_LOG_INFO, "hello");
}

static int fixture_prepare(struct au_device *dev)
{
	return 0;
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = fixture_prepare,
};
