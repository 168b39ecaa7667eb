/* SPDX-License-Identifier: MIT */
#include "channel/event_queue.h"

static struct au_event *event_queue_at(struct au_event_queue *q, uint32_t i)
{
	return &q->events[(q->head + i) % AU_EVENT_QUEUE_SIZE];
}

static uint32_t event_queue_add(uint32_t a, uint32_t b)
{
	return a + b < a ? UINT32_MAX : a + b;
}

static struct au_event *event_queue_same(struct au_event_queue *q, uint16_t kind)
{
	if (kind & AU_EVENT_DISTINCT)
		return NULL;
	for (uint32_t i = 0; i < q->count; i++) {
		if (event_queue_at(q, i)->kind == kind)
			return event_queue_at(q, i);
	}
	return NULL;
}

static bool event_queue_told(const struct au_event_queue *q, const struct au_event *event)
{
	for (uint32_t i = 0; i < AU_EVENT_QUEUE_TOLD; i++) {
		const struct au_event *e = &q->told[i];

		if (e->kind == event->kind && e->count == event->count &&
		    e->arg[0] == event->arg[0] && e->arg[1] == event->arg[1])
			return true;
	}
	return false;
}

void au_event_queue_lost(struct au_event_queue *q, uint32_t count)
{
	q->dropped = event_queue_add(q->dropped, count);
}

void au_event_queue_put_keeping(struct au_event_queue *q, const struct au_event *event,
				uint32_t keep)
{
	struct au_event *same = event_queue_same(q, event->kind);
	uint32_t room = au_event_queue_room(q);

	room = room > keep ? room - keep : 0;

	if (same) {
		same->count = event_queue_add(same->count, event->count);
		same->arg[0] = event->arg[0];
		same->arg[1] = event->arg[1];
		return;
	}
	if ((event->kind & AU_EVENT_DISTINCT) && event_queue_told(q, event))
		return;
	/* The gap is reported where it is: before the first event after it. */
	if (q->dropped && room >= 2) {
		*event_queue_at(q, q->count++) =
			(struct au_event){ .kind = AU_EVENT_OVERFLOW, .count = q->dropped };
		q->dropped = 0;
	}
	if (q->dropped || room == 0) {
		au_event_queue_lost(q, 1);
		return;
	}
	*event_queue_at(q, q->count++) = *event;
	if (event->kind & AU_EVENT_DISTINCT)
		q->told[q->told_next++ % AU_EVENT_QUEUE_TOLD] = *event;
}

bool au_event_queue_get(struct au_event_queue *q, struct au_event *event)
{
	if (q->count > 0) {
		*event = *event_queue_at(q, 0);
		q->head = (q->head + 1) % AU_EVENT_QUEUE_SIZE;
		q->count--;
		return true;
	}
	if (q->dropped) {
		*event = (struct au_event){ .kind = AU_EVENT_OVERFLOW, .count = q->dropped };
		q->dropped = 0;
		return true;
	}
	return false;
}
