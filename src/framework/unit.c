/* SPDX-License-Identifier: MIT */
/* Units: what is opened. */
#include "framework/internal.h"

static void unit_refuse(struct auf_request *r, void *arg)
{
	struct au_unit *unit = arg;

	if (r->handle->unit == unit)
		auf_request_cancel(r, -AU_ENODEV);
}

static void unit_finish(struct auf_request *r, void *arg)
{
	if (r->handle->unit == arg)
		auf_request_finish(r, -AU_ENODEV, 0, 0);
}

int auf_unit_add_at(struct au_device *dev, const struct auf_class *cls, void *priv,
		    unsigned int number, struct au_unit **out)
{
	struct au_unit *unit;
	unsigned int index = number ? number - 1 : 0;

	while (!number && index < AUF_UNITS_MAX && dev->units[index])
		index++;
	if (index >= AUF_UNITS_MAX) {
		au_log(dev, AU_LOG_ERROR, "more than %d units", AUF_UNITS_MAX);
		return -AU_ENOSPC;
	}
	if (dev->units[index]) {
		au_log(dev, AU_LOG_ERROR, "there is a unit %u already", index);
		return -AU_EBUSY;
	}
	unit = auf_alloc(dev, sizeof(*unit));
	if (!unit)
		return -AU_ENOMEM;
	unit->cls = cls;
	unit->priv = priv;
	unit->dev = dev;
	unit->index = index;
	unit->plain_from = UINT32_MAX;
	au_list_init(&unit->queues);
	au_list_init(&unit->handles);
	auf_device_hold(dev);
	dev->units[index] = unit;
	auf_device_let_go(dev);
	*out = unit;
	auf_notify(dev, AUF_UNIT_ADDED, unit);
	return 0;
}

int auf_unit_add(struct au_device *dev, const struct auf_class *cls, void *priv,
		 struct au_unit **out)
{
	return auf_unit_add_at(dev, cls, priv, 0, out);
}

void auf_unit_refresh(struct au_unit *unit)
{
	bool plain = unit->first && !unit->route_count && !unit->removed && !unit->dev->refusing;
	uint32_t from = unit->cls->submit ? unit->cls->plain_op : unit->cls->first_op;

	plain = plain && (from || !unit->cls->submit);
	unit->plain_from = plain ? from : UINT32_MAX;
	unit->plain_span = !plain ? 0 : unit->cls->last_op ? unit->cls->last_op - from : UINT32_MAX;
	au_list_for_each (node, &unit->handles) {
		struct auf_handle *handle = AU_CONTAINER(node, struct auf_handle, node);

		handle->first = auf_queue_on(unit->first, handle->lane);
	}
}

void auf_unit_reach(struct au_unit *unit, uint64_t end, uint32_t mask, uint32_t min, uint32_t max)
{
	auf_device_hold(unit->dev);
	unit->reach_end = end;
	unit->reach_mask = mask;
	/* Nothing at all: a length that no mask lets pass. */
	unit->reach_min = min <= max ? min : UINT32_MAX;
	unit->reach_span = min <= max ? max - min : 0;
	unit->bounded = true;
	auf_device_let_go(unit->dev);
}

void au_unit_remove(struct au_unit *unit)
{
	struct au_device *dev = unit->dev;

	if (unit->removed)
		return;
	auf_verify_surprise(dev);
	auf_device_hold(dev);
	unit->removed = true;
	auf_unit_refresh(unit);
	au_list_for_each (node, &unit->queues)
		auf_queue_refresh(AU_CONTAINER(node, struct au_queue, node));
	auf_device_sweep(dev, unit_refuse, unit);
	/* The driver says that the unit has gone: what it still holds ends too. */
	auf_device_sweep(dev, unit_finish, unit);
	au_unit_event(unit, AU_EVENT_GONE, 1, 0, 0);
	auf_notify(dev, AUF_UNIT_REMOVED, unit);
	dev->units[unit->index] = NULL;
	au_list_for_each_safe (node, &unit->handles)
		auf_handle_orphan(AU_CONTAINER(node, struct auf_handle, node));
	/* The driver may still have pointers to it and its queues. */
	au_list_add_tail(&dev->removed_units, &unit->removed_node);
	auf_device_let_go(dev);
}

void auf_unit_free(struct au_unit *unit)
{
	struct au_list *node;

	au_list_for_each_safe (handle, &unit->handles) {
		/* The device goes, and with it all that its lanes have to do. */
		auf_lane_forget(unit->dev->lane,
				&AU_CONTAINER(handle, struct auf_handle, node)->settle);
		AU_CONTAINER(handle, struct auf_handle, node)->shared = NULL;
		auf_handle_orphan(AU_CONTAINER(handle, struct auf_handle, node));
	}
	if (unit->cls->remove)
		unit->cls->remove(unit);
	while ((node = au_list_pop(&unit->queues))) {
		struct au_queue *queue = AU_CONTAINER(node, struct au_queue, node);

		auf_lane_forget(queue->lane, &queue->later);
		if (queue->lane == unit->dev->lane)
			au_os_free(queue->peers);
		au_os_free(queue);
	}
	au_os_free(unit);
}

struct au_device *au_unit_device(const struct au_unit *unit)
{
	return unit->dev;
}

void *auf_unit_priv(const struct au_unit *unit)
{
	return unit->priv;
}

void *auf_unit_state(struct au_unit *unit, bool *fresh)
{
	*fresh = unit->dev->state_fresh;
	return unit->dev->state + (size_t)unit->index * AUF_UNIT_STATE;
}

unsigned int auf_unit_index(const struct au_unit *unit)
{
	return unit->index;
}

unsigned int auf_unit_handles(const struct au_unit *unit)
{
	return unit->handle_count;
}

bool auf_unit_asleep(const struct au_unit *unit)
{
	return unit->dev->asleep;
}

const struct auf_class *auf_unit_class(const struct au_unit *unit)
{
	return unit->cls;
}

void au_unit_event(struct au_unit *unit, uint16_t kind, uint32_t count, uint64_t arg0,
		   uint64_t arg1)
{
	struct au_lane *lane = unit->dev->lane;

	auf_device_hold(unit->dev);
	lane->sweeping++;
	au_list_for_each (node, &unit->handles)
		auf_handle_event(AU_CONTAINER(node, struct auf_handle, node), kind, count, arg0,
				 arg1);
	if (--lane->sweeping == 0)
		auf_device_settle_handles(unit->dev, lane);
	auf_device_let_go(unit->dev);
}
