/* SPDX-License-Identifier: MIT */
/* Reading the flight recorder. */
#include "base/trace_read.h"

#include "base/operation.h"
#include "base/trace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_ALL  ((size_t)AU_RECORDER_LANES * AU_RECORDER_RECORDS)
#define READ_TEXT sizeof(((struct au_record *)0)->text)

/* One record as it was at one moment: its sequence number is stored first and last. */
static void read_copy(const struct au_record *from, struct au_record *to)
{
	uint32_t before = atomic_load_explicit(&from->seq, memory_order_acquire);

	memcpy(to, from, sizeof(*to));
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&from->seq, memory_order_relaxed) != before)
		before = 0;
	atomic_store_explicit(&to->seq, before, memory_order_relaxed);
}

static uint32_t read_seq(const struct au_record *r)
{
	return atomic_load_explicit(&r->seq, memory_order_relaxed);
}

struct read_order {
	uint32_t key; /* its place */
	uint16_t at;
};

static int read_by_key(const void *pa, const void *pb)
{
	const struct read_order *a = pa, *b = pb;

	return a->key < b->key ? -1 : a->key > b->key;
}

static int read_by_time(const void *pa, const void *pb)
{
	const struct au_trace_item *a = pa, *b = pb;

	if (a->time_ns != b->time_ns)
		return a->time_ns < b->time_ns ? -1 : 1;
	if (a->lane != b->lane)
		return a->lane < b->lane ? -1 : 1;
	return a->order < b->order ? -1 : a->order > b->order;
}

/* How many records from @order[0] on are one line. 0: the line has only begun. */
static unsigned int read_span(const struct au_record *ring, const struct read_order *order,
			      unsigned int left)
{
	const struct au_record *r = &ring[order[0].at];
	size_t rest = r->length;
	unsigned int n = 1;

	if (r->point != AU_TRACE_log)
		return 1;
	for (; rest > READ_TEXT; n++) {
		const struct au_record *next = &ring[(order[0].at + n) % AU_RECORDER_RECORDS];

		rest -= READ_TEXT;
		if (n == left)
			return 0;
		if (order[n].key != order[0].key + n || next != &ring[order[n].at] ||
		    next->point != AU_TRACE_log || next->length != rest)
			break;
	}
	return n;
}

/* The newest sequence number. They go round after 2^32: then small ones are newer. */
static uint32_t read_newest(const struct au_record *ring)
{
	uint32_t newest = 0, small = 0;

	for (unsigned int i = 0; i < AU_RECORDER_RECORDS; i++) {
		uint32_t seq = read_seq(&ring[i]);

		if (seq > newest)
			newest = seq;
		if (seq > small && seq <= AU_RECORDER_RECORDS)
			small = seq;
	}
	return small && newest > UINT32_MAX - AU_RECORDER_RECORDS ? small : newest;
}

static void read_lane(struct au_trace_view *view, unsigned int lane, uint32_t after, bool live)
{
	const struct au_record *ring = &view->records[(size_t)lane * AU_RECORDER_RECORDS];
	uint32_t newest = read_newest(ring);
	struct read_order order[AU_RECORDER_RECORDS];
	unsigned int count = 0;
	uint64_t time_ns = 0;

	for (uint16_t at = 0; at < AU_RECORDER_RECORDS; at++) {
		uint32_t seq = read_seq(&ring[at]), old = newest - seq;

		/* What is older than the ring is long is none of it. */
		if (seq && old <= AU_RECORDER_RECORDS && (!after || newest - after > old))
			order[count++] =
				(struct read_order){ .key = AU_RECORDER_RECORDS - old, .at = at };
	}
	if (!count)
		return;
	qsort(order, count, sizeof(*order), read_by_key);
	if (after)
		view->lost += newest - after - (AU_RECORDER_RECORDS - order[0].key) - 1;
	for (unsigned int i = 0, n; i < count; i += n) {
		const struct au_record *r = &ring[order[i].at];

		n = read_span(ring, &order[i], count - i);
		if (!n && live)
			return;
		if (!n)
			n = count - i;
		/* Of one lane they are in order, whatever their times say. */
		if (r->time_ns > time_ns)
			time_ns = r->time_ns;
		view->items[view->count++] =
			(struct au_trace_item){ .time_ns = time_ns,
						.order = order[i].key,
						.last_seq = read_seq(&ring[order[i + n - 1].at]),
						.lane = (uint16_t)lane,
						.at = order[i].at,
						.count = (uint16_t)n };
	}
}

int au_trace_view(const struct au_recorder *rec, const uint32_t after[AU_RECORDER_LANES], bool live,
		  struct au_trace_view *view)
{
	unsigned int lanes = rec->status->lanes;

	if (lanes > AU_RECORDER_LANES)
		lanes = AU_RECORDER_LANES;
	memset(view, 0, sizeof(*view));
	view->records = aligned_alloc(sizeof(*view->records), READ_ALL * sizeof(*view->records));
	view->items = malloc(READ_ALL * sizeof(*view->items));
	if (!view->records || !view->items) {
		au_trace_view_free(view);
		return -ENOMEM;
	}
	/* To look at what nobody has written would make memory of it. */
	for (size_t i = 0; i < (size_t)lanes * AU_RECORDER_RECORDS; i++)
		read_copy(&rec->records[i], &view->records[i]);
	for (unsigned int lane = 0; lane < lanes; lane++)
		read_lane(view, lane, after[lane], live);
	qsort(view->items, view->count, sizeof(*view->items), read_by_time);
	return 0;
}

void au_trace_view_free(struct au_trace_view *view)
{
	free(view->records);
	free(view->items);
	memset(view, 0, sizeof(*view));
}

const struct au_record *au_trace_first(const struct au_trace_view *view,
				       const struct au_trace_item *item)
{
	return &view->records[(size_t)item->lane * AU_RECORDER_RECORDS + item->at];
}

/* Nothing that moves a terminal. */
static void read_printable(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

bool au_trace_line(const struct au_trace_view *view, const struct au_trace_item *item,
		   char buf[AU_TRACE_LINE])
{
	const struct au_record *ring = &view->records[(size_t)item->lane * AU_RECORDER_RECORDS];
	size_t whole = ring[item->at].length, used = 0;

	for (unsigned int i = 0; i < item->count; i++) {
		const struct au_record *r = &ring[(item->at + i) % AU_RECORDER_RECORDS];
		size_t part = r->length < READ_TEXT ? r->length : READ_TEXT;

		if (part > AU_TRACE_LINE - 1 - used)
			part = AU_TRACE_LINE - 1 - used;
		memcpy(buf + used, r->text, part);
		used += part;
	}
	buf[used] = 0;
	read_printable(buf);
	return used == whole;
}

/* --------------------------------------------------------------- arguments */

static void read_error(struct au_trace_field *f)
{
	int64_t error = (int64_t)f->number;
	const char *name;

	f->number = error < 0 ? (uint64_t)-error : f->number;
	if (!error)
		return;
	name = f->number <= INT32_MAX ? strerrorname_np((int)f->number) : NULL;
	snprintf(f->text, sizeof(f->text), "%s", name ? name : "");
}

static void read_operation(struct au_trace_field *f, const char *const *classes, unsigned int count)
{
	uint64_t unit = f->number >> 16;

	f->number &= UINT16_MAX;
	au_operation_name(unit < count ? classes[unit] : NULL, (uint16_t)f->number, f->text,
			  sizeof(f->text));
}

static void read_queue(struct au_trace_field *f)
{
	static const char *const states[] = { "ready", "stopped", "draining", "purged" };

	if (f->number < sizeof(states) / sizeof(states[0]))
		snprintf(f->text, sizeof(f->text), "%s", states[f->number]);
}

static bool read_is(const char *kind, size_t length, const char *name)
{
	return length == strlen(name) && !memcmp(kind, name, length);
}

unsigned int au_trace_fields(const struct au_record *r, const char *const *classes,
			     unsigned int class_count,
			     struct au_trace_field fields[AU_TRACE_FIELDS])
{
	const char *rest = au_trace_arguments(r->point);
	unsigned int n = 0;

	for (; rest && *rest && n < AU_TRACE_FIELDS; n++) {
		size_t name = strcspn(rest, ":,");
		size_t kind = rest[name] == ':' ? strcspn(rest + name + 1, ",") : 0;
		const char *is = rest + name + 1;
		struct au_trace_field *f = &fields[n];

		*f = (struct au_trace_field){ .number = r->arg[n] };
		snprintf(f->name, sizeof(f->name), "%.*s", (int)name, rest);
		if (read_is(is, kind, "text")) {
			f->number = 0;
			snprintf(f->text, sizeof(f->text), "%.*s",
				 (int)(READ_TEXT - n * sizeof(r->arg[0])),
				 r->text + n * sizeof(r->arg[0]));
			read_printable(f->text);
		} else if (read_is(is, kind, "error")) {
			read_error(f);
		} else if (read_is(is, kind, "op")) {
			read_operation(f, classes, class_count);
		} else if (read_is(is, kind, "queue")) {
			read_queue(f);
		} else if (read_is(is, kind, "hex")) {
			snprintf(f->text, sizeof(f->text), "0x%llx", (unsigned long long)f->number);
		}
		rest += name + (kind ? kind + 1 : 0);
		rest += strspn(rest, ", ");
	}
	return n;
}
