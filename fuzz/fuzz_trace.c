/* SPDX-License-Identifier: MIT */
/*
 * A flight recorder that a hostile host has written. The first byte says how many lanes it has, and
 * whether somebody still writes; then come records, each behind two bytes that say where it lies.
 * Reading on comes to an end, and what is read is in order, and can be shown.
 */
#include "base/recorder.h"
#include "base/trace_read.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 7u /* items that a reader takes at a time */

static void insist(bool holds)
{
	if (!holds)
		abort();
}

static bool printable(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	return true;
}

static void check_item(const struct au_trace_view *view, const struct au_trace_item *item,
		       unsigned int lanes)
{
	static const char *const classes[] = { "block", "serial", NULL };
	struct au_trace_field fields[AU_TRACE_FIELDS];
	char line[AU_TRACE_LINE];
	unsigned int count;

	insist(item->lane < lanes && item->at < AU_RECORDER_RECORDS && item->count >= 1);
	au_trace_line(view, item, line);
	insist(strlen(line) < sizeof(line) && printable(line));
	count = au_trace_fields(au_trace_first(view, item), classes, 3, fields);
	insist(count <= AU_TRACE_FIELDS);
	for (unsigned int i = 0; i < count; i++)
		insist(fields[i].name[0] && printable(fields[i].name) && printable(fields[i].text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct au_record records[AU_RECORDER_LANES * AU_RECORDER_RECORDS];
	static struct au_status status;
	struct au_recorder rec = { .status = &status, .records = records };
	uint32_t after[AU_RECORDER_LANES] = { 0 };
	bool live;

	if (size == 0)
		return 0;
	memset(records, 0, sizeof(records));
	status.lanes = data[0] & 0xf;
	live = data[0] & 0x10;
	for (size_t at = 1; size - at >= 2 + sizeof(records[0]); at += 2 + sizeof(records[0])) {
		size_t place = (size_t)(data[at] | data[at + 1] << 8);

		memcpy(&records[place % (AU_RECORDER_LANES * AU_RECORDER_RECORDS)], data + at + 2,
		       sizeof(records[0]));
	}
	for (unsigned int page = 0;; page++) {
		struct au_trace_view view;
		uint64_t time_ns = 0;
		size_t count;

		insist(au_trace_view(&rec, after, live, &view) == 0);
		count = view.count < PAGE ? view.count : PAGE;
		insist(page <= AU_RECORDER_LANES * AU_RECORDER_RECORDS);
		for (size_t i = 0; i < count; i++) {
			insist(view.items[i].time_ns >= time_ns);
			time_ns = view.items[i].time_ns;
			check_item(&view, &view.items[i], AU_RECORDER_LANES);
			after[view.items[i].lane] = view.items[i].last_seq;
		}
		au_trace_view_free(&view);
		if (!count)
			return 0;
	}
}
