/* SPDX-License-Identifier: MIT */
/* The flight recorder, read: names, lines, what is new, what is lost, and what a hostile host
 * leaves in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "auriga/block.h"
#include "auriga/driver.h"
#include "auriga/raw.h"
#include "auriga/serial.h"
#include "base/operation.h"
#include "base/trace.h"
#include "base/trace_read.h"

static const uint32_t all[AU_RECORDER_LANES];
static const char *const classes[] = { "block", "serial", "raw", NULL };

static int setup(void **state)
{
	struct au_recorder *rec = calloc(1, sizeof(*rec));
	int fd = au_memfd_sealed("trace", au_recorder_size());

	assert_true(fd >= 0);
	assert_non_null(rec);
	assert_int_equal(au_recorder_map(fd, true, rec), 0);
	close(fd);
	*state = rec;
	return 0;
}

static int teardown(void **state)
{
	au_recorder_unmap(*state);
	free(*state);
	return 0;
}

static struct au_trace_view see(const struct au_recorder *rec, const uint32_t *after, bool live)
{
	struct au_trace_view view;

	assert_int_equal(au_trace_view(rec, after, live, &view), 0);
	return view;
}

/* The arguments of the newest record, as "name=value name=value". */
static const char *newest(const struct au_recorder *rec)
{
	static char text[512];
	struct au_trace_view view = see(rec, all, false);
	struct au_trace_field fields[AU_TRACE_FIELDS];
	unsigned int count;
	size_t used = 0;

	assert_true(view.count > 0);
	count = au_trace_fields(au_trace_first(&view, &view.items[view.count - 1]), classes, 4,
				fields);
	text[0] = 0;
	for (unsigned int i = 0; i < count; i++)
		used += (size_t)(fields[i].text[0]
					 ? snprintf(text + used, sizeof(text) - used, "%s%s=%s",
						    i ? " " : "", fields[i].name, fields[i].text)
					 : snprintf(text + used, sizeof(text) - used, "%s%s=%llu",
						    i ? " " : "", fields[i].name,
						    (unsigned long long)fields[i].number));
	au_trace_view_free(&view);
	return text;
}

/* Each point of the table says what its arguments are, in a way that can be read. */
static void test_names(void **state)
{
	struct au_recorder *rec = *state;

	au_trace_text(rec, 0, device_state, 0, "d0-entry: done -> restore");
	assert_string_equal(newest(rec), "result=0 step=d0-entry: done -> restore");
	au_trace_text(rec, 0, device_state, -AU_EIO, "interrupts-off: failed -> interrupts-off");
	assert_string_equal(newest(rec),
			    "result=EIO step=interrupts-off: failed -> interrupts-off");
	au_trace_text(rec, 0, device_state, 0, "of forty characters what is more is left out");
	assert_string_equal(newest(rec), "result=0 step=of forty characters what is more is left");
	au_trace(rec, 0, queue_state, 2, AU_QUEUE_READY, AU_QUEUE_PURGED);
	assert_string_equal(newest(rec), "unit=2 old=ready new=purged");
	au_trace4(rec, 0, cancel, 3, 0xabcd, -AU_ETIMEDOUT, AU_TRACE_OP(0, AU_BLOCK_WRITE));
	assert_string_equal(newest(rec), "slot=3 tag=0xabcd status=ETIMEDOUT request=write");
	au_trace(rec, 0, timeout, 3, 16, AU_TRACE_OP(1, AU_SERIAL_DRAIN));
	assert_string_equal(newest(rec), "slot=3 tag=0x10 request=drain");
	au_trace4(rec, 0, overdue, 3, 16, 1234, AU_TRACE_OP(2, AU_RAW_FIRST));
	assert_string_equal(newest(rec), "slot=3 tag=0x10 ms=1234 request=operation 16");
	au_trace_text(rec, 0, violation, 7, "double-completion");
	assert_string_equal(newest(rec), "slot=7 rule=double-completion");
	au_trace(rec, 0, surprise, 1, 2, 3);
	assert_string_equal(newest(rec), "");
#define EACH(number, name, arguments)                      \
	assert_string_equal(au_trace_name(number), #name); \
	assert_non_null(au_trace_arguments(number));       \
	assert_true(strspn(arguments, "abcdefghijklmnopqrstuvwxyz_:, ") == sizeof(arguments) - 1);
	AU_TRACE_POINTS(EACH)
	assert_null(au_trace_name(0));
	assert_null(au_trace_arguments(60000));
}

static void test_operations(void **state)
{
	char buf[32];

	assert_string_equal(au_operation_name("block", AU_BLOCK_READ, buf, sizeof(buf)), "read");
	assert_string_equal(au_operation_name("serial", AU_SERIAL_SEND, buf, sizeof(buf)), "send");
	assert_string_equal(au_operation_name("serial", 99, buf, sizeof(buf)), "operation 99");
	assert_string_equal(au_operation_name(NULL, 3, buf, sizeof(buf)), "operation 3");
}

/* Lines come whole, records of all lanes by time, and what was seen does not come again. */
static void test_lines_and_news(void **state)
{
	struct au_recorder *rec = *state;
	uint32_t after[AU_RECORDER_LANES] = { 0 };
	char line[AU_TRACE_LINE], longest[201];
	struct au_trace_view view;

	memset(longest, 'x', 200);
	longest[200] = 0;
	au_trace(rec, 1, irq, 1, 2, 3);
	au_recorder_text(rec, 0, "a line of text that needs more than one of these records\x1b[2J");
	au_trace(rec, 1, irq, 4, 5, 6);
	au_recorder_text(rec, 1, longest);
	view = see(rec, after, true);
	assert_int_equal(view.count, 4);
	assert_int_equal(view.items[0].lane, 1);
	assert_int_equal(view.items[1].lane, 0);
	assert_int_equal(view.items[1].count, 2);
	assert_true(au_trace_line(&view, &view.items[1], line));
	assert_string_equal(line, "a line of text that needs more than one of these records?[2J");
	assert_true(au_trace_line(&view, &view.items[3], line));
	assert_string_equal(line, longest);
	assert_int_equal(view.lost, 0);
	for (size_t i = 0; i < view.count; i++)
		after[view.items[i].lane] = view.items[i].last_seq;
	au_trace_view_free(&view);

	view = see(rec, after, true);
	assert_int_equal(view.count, 0);
	au_trace_view_free(&view);
	au_trace(rec, 0, irq, 7, 8, 9);
	view = see(rec, after, true);
	assert_int_equal(view.count, 1);
	assert_int_equal(au_trace_first(&view, &view.items[0])->arg[0], 7);
	au_trace_view_free(&view);

	/* More than it holds: the rest is told as lost. */
	for (unsigned int i = 0; i < AU_RECORDER_RECORDS + 100; i++)
		au_trace(rec, 1, irq, i, 0, 0);
	view = see(rec, after, true);
	assert_int_equal(view.count, 1 + AU_RECORDER_RECORDS);
	assert_int_equal(view.lost, 100);
	au_trace_view_free(&view);
}

/* What is being written: a line that has only begun waits, if somebody is there to go on. */
static void test_half_a_line(void **state)
{
	struct au_recorder *rec = *state;
	char text[100], line[AU_TRACE_LINE];
	struct au_trace_view view;

	memset(text, 'y', 99);
	text[99] = 0;
	au_trace(rec, 0, irq, 1, 2, 3);
	au_recorder_text(rec, 0, text);
	rec->records[3].seq = 0;
	view = see(rec, all, true);
	assert_int_equal(view.count, 1);
	au_trace_view_free(&view);
	view = see(rec, all, false);
	assert_int_equal(view.count, 2);
	assert_false(au_trace_line(&view, &view.items[1], line));
	text[96] = 0;
	assert_string_equal(line, text);
	au_trace_view_free(&view);
}

static void test_numbers_go_round(void **state)
{
	struct au_recorder *rec = *state;
	uint32_t after[AU_RECORDER_LANES] = { UINT32_MAX - 5 };
	struct au_trace_view view;

	rec->next[0] = UINT32_MAX - 5;
	for (unsigned int i = 0; i < 20; i++)
		au_trace(rec, 0, irq, i, 0, 0);
	view = see(rec, after, true);
	assert_int_equal(view.count, 20);
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(au_trace_first(&view, &view.items[i])->arg[0], i);
	au_trace_view_free(&view);
	/* Who has seen nothing sees old ones with large numbers, too. */
	view = see(rec, all, true);
	assert_int_equal(view.count, 20);
	au_trace_view_free(&view);
}

/* Lanes that nobody has are not looked at; more than there can be, neither. */
static void test_lanes(void **state)
{
	struct au_recorder *rec = *state;
	struct au_trace_view view;

	for (unsigned int lane = 0; lane < AU_RECORDER_LANES; lane++)
		au_trace(rec, lane, irq, lane, 0, 0);
	for (uint32_t lanes = 0; lanes < 12; lanes++) {
		rec->status->lanes = lanes;
		view = see(rec, all, false);
		assert_int_equal(view.count, lanes < AU_RECORDER_LANES ? lanes : AU_RECORDER_LANES);
		au_trace_view_free(&view);
	}
}

/* Whatever is in the memory: it can be read, and reading on comes to an end. */
static void test_hostile(void **state)
{
	struct au_recorder *rec = *state;
	unsigned int seed = 5;

	for (unsigned int round = 0; round < 60; round++) {
		uint32_t after[AU_RECORDER_LANES] = { 0 };
		uint8_t *bytes = (uint8_t *)rec->records;
		unsigned int pages = 0;

		for (size_t i = 0; i < (size_t)AU_RECORDER_LANES * AU_RECORDER_RECORDS * 64; i++)
			bytes[i] = (uint8_t)rand_r(&seed);
		for (size_t i = 0; round % 2 && i < AU_RECORDER_RECORDS; i++) {
			rec->records[i].point = AU_TRACE_log;
			rec->records[i].seq = (uint32_t)i + 1;
		}
		for (;; pages++) {
			struct au_trace_view view = see(rec, after, round % 3);
			size_t count = view.count < 512 ? view.count : 512;

			for (size_t i = 0; i < count; i++) {
				const struct au_trace_item *item = &view.items[i];
				struct au_trace_field fields[AU_TRACE_FIELDS];
				char line[AU_TRACE_LINE];

				assert_in_range(item->lane, 0, AU_RECORDER_LANES - 1);
				assert_in_range(item->at, 0, AU_RECORDER_RECORDS - 1);
				au_trace_line(&view, item, line);
				assert_true(strlen(line) < AU_TRACE_LINE);
				au_trace_fields(au_trace_first(&view, item), classes, 4, fields);
				after[item->lane] = item->last_seq;
			}
			au_trace_view_free(&view);
			if (!count)
				break;
		}
		assert_in_range(pages, 1, 64);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_names),	TEST(test_operations),	     TEST(test_lines_and_news),
		TEST(test_half_a_line), TEST(test_numbers_go_round), TEST(test_hostile),
		TEST(test_lanes),
	};

	return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
