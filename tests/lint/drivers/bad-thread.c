/* SPDX-License-Identifier: MIT */
/* expect: thread-local storage, 4 bytes in \.tbss */
#include <auriga/driver.h>

AU_DRIVER_NOTE(AU_NAME("fixture") AU_VERSION("1.0") AU_CLASS("raw"));

static _Thread_local int depth;

static int fixture_prepare(struct au_device *dev)
{
	return depth++;
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = fixture_prepare,
};
