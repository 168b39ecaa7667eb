/* SPDX-License-Identifier: MIT */
/*
 * Completions that come late, and in another order: between the driver and its client, who hears of
 * each exactly once. For the framework the request is over, for the client it is not. A stream of
 * bytes keeps its order: there it means something.
 */
#include "framework/inject.h"

#include <errno.h>
#include <string.h>

struct late_done {
	struct au_list node; /* by time */
	uint64_t due_ms, tag;
	int status;
	uint32_t result, slot;
	uint16_t device_status;
};

/**
 * struct auf_late - what waits on its way to a handle.
 * @handle: NULL: it has gone.
 * @last_ms: when the last of them is due, where the order is kept.
 * @done: one for each slot: it is not used again before its sender has heard.
 */
struct auf_late {
	struct auf_handle *handle;
	struct auf_inject *inject;
	void (*flush)(struct auf_handle *handle);
	bool ordered, running;
	uint64_t last_ms;
	struct auf_timeout timeout;
	struct au_list waiting;
	struct late_done done[];
};

static struct late_done *late_first(const struct auf_late *late)
{
	return au_list_empty(&late->waiting)
		       ? NULL
		       : AU_CONTAINER(late->waiting.next, struct late_done, node);
}

static void late_arm(struct auf_late *late)
{
	struct au_lane *lane = late->handle->lane;
	const struct late_done *first = late_first(late);

	if (first)
		auf_timeout_set(lane, &late->timeout,
				first->due_ms > lane->now_ms ? first->due_ms - lane->now_ms : 0);
	else
		auf_timeout_clear(lane, &late->timeout);
}

/* Tell of what is due until then. The handle may go on the way. */
static void late_tell(struct auf_late *late, uint64_t until_ms)
{
	struct late_done *first;

	if (late->running)
		return;
	late->running = true;
	while (late->handle && (first = late_first(late)) && first->due_ms <= until_ms) {
		struct auf_handle *handle = late->handle;

		au_list_remove(&first->node);
		handle->config.complete(handle, first->status, first->result, first->device_status,
					first->slot, first->tag);
	}
	late->running = false;
	if (!late->handle)
		au_os_free(late);
	else
		late_arm(late);
}

static void late_due(struct auf_timeout *timeout)
{
	struct auf_late *late = AU_CONTAINER(timeout, struct auf_late, timeout);
	struct au_device *dev = late->handle->unit->dev;
	struct au_lane *lane = late->handle->lane;

	lane->sweeping++;
	late_tell(late, lane->now_ms);
	if (--lane->sweeping == 0)
		auf_device_settle_handles(dev, lane);
}

static uint64_t late_when(struct auf_late *late)
{
	struct auf_inject *inject = late->inject;
	enum au_injection what =
		auf_inject_wants(inject, AU_INJECT_late) ? AU_INJECT_late : AU_INJECT_reorder;
	uint64_t when = late->handle->lane->now_ms +
			auf_inject_draw(inject, what, inject->want.number[what] + 1ull);

	if (late->ordered && when < late->last_ms)
		when = late->last_ms;
	late->last_ms = when;
	return when;
}

static void late_complete(struct auf_handle *handle, int status, uint32_t result,
			  uint16_t device_status, uint32_t slot, uint64_t tag)
{
	struct auf_late *late = handle->late;
	struct late_done *done = &late->done[slot];
	struct au_list *behind = &late->waiting;

	*done = (struct late_done){ .due_ms = late_when(late),
				    .tag = tag,
				    .status = status,
				    .result = result,
				    .slot = slot,
				    .device_status = device_status };
	au_list_for_each (node, &late->waiting) {
		if (AU_CONTAINER(node, struct late_done, node)->due_ms > done->due_ms)
			break;
		behind = node;
	}
	if (auf_inject_wants(late->inject, AU_INJECT_reorder) && behind->next != &late->waiting)
		auf_inject_note(late->inject, AU_INJECT_reorder);
	if (auf_inject_wants(late->inject, AU_INJECT_late) && done->due_ms > handle->lane->now_ms)
		auf_inject_note(late->inject, AU_INJECT_late);
	au_list_add_head(behind, &done->node);
	if (!late->running)
		late_arm(late);
}

/* What is complete has to be seen now, whatever happens next. */
static void late_flush(struct auf_handle *handle)
{
	void (*flush)(struct auf_handle * handle) = handle->late->flush;

	late_tell(handle->late, UINT64_MAX);
	if (flush)
		flush(handle);
}

int auf_inject_handle(struct auf_handle *handle)
{
	struct auf_inject *inject = handle->unit->dev->inject;
	struct auf_late *late;

	if (!auf_inject_wants(inject, AU_INJECT_late) &&
	    !auf_inject_wants(inject, AU_INJECT_reorder))
		return 0;
	late = au_os_alloc(sizeof(*late) + handle->depth * sizeof(late->done[0]));
	if (!late)
		return -ENOMEM;
	late->handle = handle;
	late->inject = inject;
	late->ordered = !auf_inject_wants(inject, AU_INJECT_reorder) ||
			strcmp(handle->unit->cls->name, "serial") == 0;
	late->flush = handle->config.flush;
	late->timeout.fn = late_due;
	au_list_init(&late->waiting);
	handle->late = late;
	handle->complete = late_complete;
	handle->config.flush = late_flush;
	return 0;
}

void auf_inject_handle_orphan(struct auf_handle *handle)
{
	struct au_lane *lane = handle->lane;

	/* Whoever orphans it settles it, too. */
	lane->sweeping++;
	late_tell(handle->late, UINT64_MAX);
	lane->sweeping--;
}

void auf_inject_handle_close(struct auf_handle *handle)
{
	struct auf_late *late = handle->late;

	auf_timeout_clear(handle->lane, &late->timeout);
	au_list_init(&late->waiting);
}

void auf_inject_handle_free(struct auf_handle *handle)
{
	struct auf_late *late = handle->late;

	auf_inject_handle_close(handle);
	late->handle = NULL;
	if (!late->running)
		au_os_free(late);
}
