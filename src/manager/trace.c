/* SPDX-License-Identifier: MIT */
/*
 * The flight recorder, handed out: of the host that died last, which is kept for that, then of the
 * one that lives. A reader comes back with a cursor, which says what it has seen of which host.
 */
#include "manager/control.h"
#include "manager/json.h"

#include "base/trace.h"
#include "base/trace_read.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRACE_PAGE 512 /* records in one answer: others wait meanwhile */

/** struct trace_cursor - what has been seen: up to @seq of each lane of host @generation. */
struct trace_cursor {
	uint32_t generation;
	uint32_t seq[AU_RECORDER_LANES];
};

json_t *mgr_trace_record(const struct mgr_device *dev, const struct au_trace_view *view,
			 const struct au_trace_item *item)
{
	const struct au_record *r = au_trace_first(view, item);
	struct au_trace_field fields[AU_TRACE_FIELDS];
	const char *classes[MGR_UNITS], *name = au_trace_name(r->point);
	json_t *o = json_pack("{s:I s:i}", "time_ns", (json_int_t)(item->time_ns & INT64_MAX),
			      "lane", (int)item->lane);
	char text[AU_TRACE_LINE];
	json_t *args;
	unsigned int count;

	snprintf(text, sizeof(text), "%u", r->point);
	json_object_set_new(o, "point", json_string(name ? name : text));
	if (r->point == AU_TRACE_log) {
		bool whole = au_trace_line(view, item, text);

		json_object_set_new(o, "text", mgr_json_string(text));
		if (!whole)
			json_object_set_new(o, "cut", json_true());
		return o;
	}
	for (unsigned int i = 0; i < MGR_UNITS; i++)
		classes[i] = dev->units[i].cls;
	count = au_trace_fields(r, classes, MGR_UNITS, fields);
	args = json_object();
	for (unsigned int i = 0; i < count; i++)
		json_object_set_new(args, fields[i].name,
				    fields[i].text[0] ? mgr_json_string(fields[i].text)
						      : json_integer((json_int_t)fields[i].number));
	json_object_set_new(o, "args", args);
	return o;
}

/* ------------------------------------------------------------- what is kept */

/* Its memory is mapped already, in most cases: it changes hands. */
void mgr_trace_keep(struct mgr_device *dev, struct mgr_host *host)
{
	if (!host->recorder.status)
		return;
	mgr_trace_forget(dev);
	dev->dead.recorder = host->recorder;
	dev->dead.generation = host->generation;
	dev->dead.pid = host->pid;
	memset(&host->recorder, 0, sizeof(host->recorder));
}

void mgr_trace_forget(struct mgr_device *dev)
{
	au_recorder_unmap(&dev->dead.recorder);
}

/* ----------------------------------------------------------------- answering */

static bool trace_parse(const char *text, struct trace_cursor *cursor)
{
	char *end;

	memset(cursor, 0, sizeof(*cursor));
	for (unsigned int i = 0; i <= AU_RECORDER_LANES; i++) {
		unsigned long value;

		if (*text < '0' || *text > '9')
			return false;
		errno = 0;
		value = strtoul(text, &end, 10);
		if (errno || value > UINT32_MAX || *end != (i < AU_RECORDER_LANES ? '.' : 0))
			return false;
		if (i)
			cursor->seq[i - 1] = (uint32_t)value;
		else
			cursor->generation = (uint32_t)value;
		text = end + 1;
	}
	return true;
}

static json_t *trace_text(const struct trace_cursor *cursor)
{
	char text[(AU_RECORDER_LANES + 1) * 11];
	int n = snprintf(text, sizeof(text), "%u", cursor->generation);

	for (unsigned int i = 0; i < AU_RECORDER_LANES; i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, ".%u", cursor->seq[i]);
	return json_string(text);
}

/* A page of what is new in @rec. Return: whether there is more. */
static bool trace_page(const struct mgr_device *dev, const struct au_recorder *rec, bool live,
		       struct trace_cursor *cursor, json_t *answer)
{
	json_t *list = json_object_get(answer, "records");
	struct au_trace_view view;
	size_t count;
	bool more;

	if (au_trace_view(rec, cursor->seq, live, &view))
		return false;
	count = view.count < TRACE_PAGE ? view.count : TRACE_PAGE;
	more = count < view.count;
	for (size_t i = 0; i < count; i++) {
		json_array_append_new(list, mgr_trace_record(dev, &view, &view.items[i]));
		cursor->seq[view.items[i].lane] = view.items[i].last_seq;
	}
	json_object_set_new(answer, "lost", json_integer((json_int_t)view.lost));
	au_trace_view_free(&view);
	return more;
}

/* The dead one's, if the reader has not come further. */
static bool trace_dead(const struct mgr_device *dev, struct trace_cursor *cursor, json_t *answer)
{
	const uint32_t generation = dev->dead.generation;
	bool more;

	if (!dev->dead.recorder.status || cursor->generation > generation)
		return false;
	if (cursor->generation != generation)
		*cursor = (struct trace_cursor){ .generation = generation };
	more = trace_page(dev, &dev->dead.recorder, false, cursor, answer);
	if (!more && !json_array_size(json_object_get(answer, "records")))
		return false;
	json_object_set_new(answer, "generation", json_integer(generation));
	json_object_set_new(answer, "pid", json_integer(dev->dead.pid));
	json_object_set_new(answer, "alive", json_false());
	json_object_set_new(answer, "more", json_boolean(more || dev->host));
	return true;
}

/* Where the manager that saw it die is dead, too, what that has written down is left. */
static bool trace_evidence(const struct mgr_device *dev, struct trace_cursor *cursor,
			   json_t *answer)
{
	json_t *records = json_object_get(dev->evidence, "records"), *record;
	json_int_t generation = json_integer_value(json_object_get(dev->evidence, "generation"));
	size_t i;

	if (dev->dead.recorder.status || !json_array_size(records) || generation <= 0 ||
	    generation <= cursor->generation || generation > UINT32_MAX)
		return false;
	json_array_foreach(records, i, record)
		json_array_append(json_object_get(answer, "records"), record);
	*cursor = (struct trace_cursor){ .generation = (uint32_t)generation };
	json_object_set_new(answer, "generation", json_integer(generation));
	json_object_set(answer, "pid", json_object_get(dev->evidence, "pid"));
	json_object_set_new(answer, "alive", json_false());
	json_object_set_new(answer, "more", json_boolean(dev->host != NULL));
	return true;
}

static bool trace_live(struct mgr_device *dev, struct trace_cursor *cursor, json_t *answer)
{
	struct mgr_host *host = dev->host;
	bool more;

	if (!host || host->status_fd < 0)
		return false;
	/* One that is still on its way up has not been looked at. */
	if (!host->recorder.status && au_recorder_map(host->status_fd, false, &host->recorder))
		return false;
	if (cursor->generation != host->generation)
		*cursor = (struct trace_cursor){ .generation = host->generation };
	more = trace_page(dev, &host->recorder, true, cursor, answer);
	json_object_set_new(answer, "generation", json_integer(host->generation));
	json_object_set_new(answer, "pid", json_integer(host->pid));
	json_object_set_new(answer, "alive", json_true());
	json_object_set_new(answer, "more", json_boolean(more));
	return true;
}

void mgr_api_trace(struct mgr_call *call, struct mgr_device *dev)
{
	const char *text = mgr_call_argument(call, "cursor");
	struct trace_cursor cursor = { 0 };
	json_t *answer;

	if (text && !trace_parse(text, &cursor)) {
		mgr_call_error(call, -EINVAL, "cursor: give back the one of the answer before");
		return;
	}
	/* Times are of the monotonic clock; this says what o'clock it is. */
	answer = json_pack("{s:s s:s s:I s:I s:[] s:i}", "name", dev->spec.name, "state",
			   mgr_device_state(dev), "now_ns", (json_int_t)au_monotonic_ns(), "now_ms",
			   (json_int_t)mgr_wall_ms(), "records", "lost", 0);
	if (!trace_dead(dev, &cursor, answer) && !trace_evidence(dev, &cursor, answer) &&
	    !trace_live(dev, &cursor, answer))
		json_object_set_new(answer, "more", json_false());
	json_object_set_new(answer, "cursor", trace_text(&cursor));
	mgr_call_answer(call, 200, answer);
}
