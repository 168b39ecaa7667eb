/* SPDX-License-Identifier: MIT */
/* The raw class: requests reach the driver as they are. */
#include "auriga/raw.h"

#include "auriga/driver.h"
#include "base/abi.h"
#include "base/os.h"
#include "framework/framework.h"

/* struct raw - a unit. @told: the driver knows that it is open. */
struct raw {
	struct au_unit_config config;
	bool told;
};

static void raw_tell(struct au_unit *unit, bool open)
{
	struct raw *raw = auf_unit_priv(unit);

	if (open == raw->told)
		return;
	raw->told = open;
	if (open && raw->config.opened)
		raw->config.opened(unit);
	else if (!open && raw->config.closed)
		raw->config.closed(unit);
}

/* The driver hears of it in D0: it may want to do something about it there. */
static bool raw_asleep(struct au_unit *unit)
{
	const struct raw *raw = auf_unit_priv(unit);

	if (!auf_unit_asleep(unit))
		return false;
	if (raw->config.opened || raw->config.closed)
		auf_device_wake(au_unit_device(unit));
	return true;
}

static void raw_opened(struct au_unit *unit, struct auf_handle *handle, uint32_t flags)
{
	if ((flags & AUF_OPEN_FIRST) && !raw_asleep(unit))
		raw_tell(unit, true);
}

static void raw_closed(struct au_unit *unit, struct auf_handle *handle, bool last)
{
	if (last && !raw_asleep(unit))
		raw_tell(unit, false);
}

static void raw_resumed(struct au_unit *unit)
{
	raw_tell(unit, auf_unit_handles(unit) != 0);
}

static void raw_remove(struct au_unit *unit)
{
	au_os_free(auf_unit_priv(unit));
}

static const struct auf_class raw_class = {
	.name = "raw",
	.opened = raw_opened,
	.closed = raw_closed,
	.resumed = raw_resumed,
	.remove = raw_remove,
	.first_op = AU_RAW_FIRST,
};

int au_unit_add(struct au_device *dev, const struct au_unit_config *config, struct au_unit **unit)
{
	struct raw *own = auf_alloc(dev, sizeof(*own));
	int err;

	if (!own)
		return -AU_ENOMEM;
	err = auf_take(dev, &au_abi_unit_config, &own->config, config);
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
	return ((const struct raw *)auf_unit_priv(unit))->config.context;
}
