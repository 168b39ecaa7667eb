/* SPDX-License-Identifier: MIT */
/*
 * event_queue.h - a bounded queue of events: what is of one kind is coalesced, unless each has its
 * own place; what does not fit is dropped, and an event in its place says how many. One that has
 * its own place is taken once: the next host tells again what the last one died over.
 */
#ifndef AU_CHANNEL_EVENT_QUEUE_H
#define AU_CHANNEL_EVENT_QUEUE_H

#include "auriga/auriga.h"

#define AU_EVENT_QUEUE_SIZE 64u
#define AU_EVENT_QUEUE_TOLD 16u

/** struct au_event_queue - zeroed memory is an empty queue. */
struct au_event_queue {
	struct au_event events[AU_EVENT_QUEUE_SIZE];
	uint32_t head;
	uint32_t count;
	uint32_t dropped;
	struct au_event told[AU_EVENT_QUEUE_TOLD]; /* the last ones of AU_EVENT_DISTINCT */
	uint32_t told_next;
};

/** au_event_queue_room - how many more fit, whatever their kind. */
static inline uint32_t au_event_queue_room(const struct au_event_queue *q)
{
	return AU_EVENT_QUEUE_SIZE - q->count;
}

/** au_event_queue_empty - whether there is nothing to get. */
static inline bool au_event_queue_empty(const struct au_event_queue *q)
{
	return q->count == 0 && q->dropped == 0;
}

/** au_event_queue_put_keeping - add one, at the end or to one of its kind; @keep places stay free.
 */
void au_event_queue_put_keeping(struct au_event_queue *q, const struct au_event *event,
				uint32_t keep);

/** au_event_queue_put - add one, as long as there is a place. */
static inline void au_event_queue_put(struct au_event_queue *q, const struct au_event *event)
{
	au_event_queue_put_keeping(q, event, 0);
}

/** au_event_queue_lost - @count events were lost elsewhere, before what is put in next. */
void au_event_queue_lost(struct au_event_queue *q, uint32_t count);

/** au_event_queue_get - take the oldest. Return: false when there is none. */
bool au_event_queue_get(struct au_event_queue *q, struct au_event *event);

#endif
