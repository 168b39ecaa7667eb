/* SPDX-License-Identifier: MIT */
#include <auriga/driver.h>

AU_DRIVER_NOTE(AU_NAME("fixture") AU_VERSION("1.0") AU_CLASS("raw"));

/* Needs relocation, so it lies in .data.rel.ro. */
static const char *const names[] = { "a", "b" };

static int fixture_prepare(struct au_device *dev)
{
	au_log(dev, AU_LOG_INFO, "%s", names[au_param_uint(dev, "name")]);
	return 0;
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = fixture_prepare,
};
