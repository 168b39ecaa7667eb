/* SPDX-License-Identifier: MIT */
/* The raw class: requests reach the driver as they are. */
#include "auriga/raw.h"

#include "auriga/driver.h"
#include "base/abi.h"
#include "base/os.h"
#include "framework/framework.h"

static void raw_opened(struct au_unit *unit, struct auf_handle *handle, uint32_t flags)
{
	const struct au_unit_config *config = auf_unit_priv(unit);

	if ((flags & AUF_OPEN_FIRST) && config->opened)
		config->opened(unit);
}

static void raw_closed(struct au_unit *unit, struct auf_handle *handle, bool last)
{
	const struct au_unit_config *config = auf_unit_priv(unit);

	if (last && config->closed)
		config->closed(unit);
}

static void raw_remove(struct au_unit *unit)
{
	au_os_free(auf_unit_priv(unit));
}

static const struct auf_class raw_class = {
	.name = "raw",
	.opened = raw_opened,
	.closed = raw_closed,
	.remove = raw_remove,
	.first_op = AU_RAW_FIRST,
};

int au_unit_add(struct au_device *dev, const struct au_unit_config *config, struct au_unit **unit)
{
	struct au_unit_config *own;
	int err;

	own = auf_alloc(dev, sizeof(*own));
	if (!own)
		return -AU_ENOMEM;
	err = auf_take(dev, &au_abi_unit_config, own, config);
	if (err == 0)
		err = auf_unit_add(dev, &raw_class, own, unit);
	if (err)
		au_os_free(own);
	return err;
}

void *au_unit_context(const struct au_unit *unit)
{
	if (auf_unit_class(unit) != &raw_class)
		return NULL;
	return ((const struct au_unit_config *)auf_unit_priv(unit))->context;
}
