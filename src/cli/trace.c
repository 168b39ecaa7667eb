/* SPDX-License-Identifier: MIT */
/* `auriga trace`: the flight recorder, of the driver that died last and of the one that lives. */
#include "cli/cli.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TRACE_LOOK_US 100000
/* More than there can be of two hosts: who writes faster than we read does not keep us for ever. */
#define TRACE_PAGES   64

static int64_t trace_integer(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* Texts come from a host: nothing in them moves a terminal. */
static void trace_text(const char *text)
{
	for (const unsigned char *c = (const unsigned char *)text; c && *c; c++)
		putchar(*c < ' ' || *c == 0x7f || (*c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f)
				? '?'
				: *c);
}

/* What o'clock it was, if the clocks went alike since then. */
static void trace_time(const json_t *answer, int64_t time_ns)
{
	int64_t ago_us = (trace_integer(answer, "now_ns") - time_ns) / 1000;
	int64_t us = trace_integer(answer, "now_ms") * 1000 - ago_us;
	time_t seconds = (time_t)(us / 1000000);
	struct tm tm;
	char buf[32];

	if (us < 0 || !localtime_r(&seconds, &tm) || !strftime(buf, sizeof(buf), "%T", &tm))
		snprintf(buf, sizeof(buf), "--:--:--");
	printf("%s.%06d", buf, (int)(us < 0 ? 0 : us % 1000000));
}

void cli_record(const json_t *record)
{
	const char *point = json_string_value(json_object_get(record, "point"));
	const char *text = json_string_value(json_object_get(record, "text")), *key;
	json_t *args = json_object_get(record, "args"), *value;

	printf("  lane%-2" PRId64 " ", trace_integer(record, "lane"));
	printf("%-13s", point ? point : "-");
	if (text) {
		putchar(' ');
		trace_text(text);
		if (json_is_true(json_object_get(record, "cut")))
			printf(" ...");
	}
	json_object_foreach(args, key, value)
	{
		/* Of results those that are errors are of interest. */
		if (!strcmp(key, "result") && json_is_integer(value))
			continue;
		printf(" %s=", key);
		if (json_is_string(value))
			trace_text(json_string_value(value));
		else
			printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
	}
	putchar('\n');
}

static void trace_record(const json_t *answer, const json_t *record)
{
	trace_time(answer, trace_integer(record, "time_ns"));
	cli_record(record);
}

/* A line where another host begins. */
static void trace_host(const json_t *answer, int64_t *generation)
{
	int64_t now = trace_integer(answer, "generation");

	if (now && now != *generation) {
		printf("-- generation %" PRId64 ", process %" PRId64 "%s\n", now,
		       trace_integer(answer, "pid"),
		       json_is_true(json_object_get(answer, "alive")) ? "" : ", which has ended");
		*generation = now;
	}
	if (trace_integer(answer, "lost"))
		printf("-- %" PRId64 " records were overwritten before they were read\n",
		       trace_integer(answer, "lost"));
}

/* For programs: each record says which host's it is. */
static void trace_add(const json_t *answer, json_t *record)
{
	json_object_set(record, "generation", json_object_get(answer, "generation"));
}

static json_t *trace_ask(const char *name, const char *cursor)
{
	char *path = control_path("/v1/devices/", name, "/trace"), *whole = NULL;
	json_t *answer = NULL;

	if (path &&
	    asprintf(&whole, "%s%s%s", path, cursor ? "?cursor=" : "", cursor ? cursor : "") >= 0)
		answer = control_call("GET", whole, NULL);
	free(path);
	free(whole);
	return answer;
}

/* Until there is nothing more, or for ever. */
static int trace_all(const char *name, bool follow, bool as_json)
{
	char *cursor = NULL;
	int64_t generation = 0;
	json_t *all = as_json && !follow ? json_array() : NULL;
	int status = CLI_OK;

	for (unsigned int page = 0; follow || page < TRACE_PAGES; page++) {
		json_t *answer = trace_ask(name, cursor), *record;
		const char *next = json_string_value(json_object_get(answer, "cursor"));
		bool more = json_is_true(json_object_get(answer, "more"));
		size_t i;

		if (!answer || !next) {
			status = CLI_FAILED;
			json_decref(answer);
			break;
		}
		if (!as_json)
			trace_host(answer, &generation);
		json_array_foreach(json_object_get(answer, "records"), i, record)
		{
			trace_add(answer, record);
			if (all)
				json_array_append(all, record);
			else if (as_json && json_dumpf(record, stdout, JSON_COMPACT) == 0)
				putchar('\n');
			else
				trace_record(answer, record);
		}
		free(cursor);
		cursor = strdup(next);
		json_decref(answer);
		if (!more && !follow)
			break;
		if (fflush(stdout) || ferror(stdout)) {
			status = CLI_FAILED; /* nobody reads */
			break;
		}
		if (!more)
			usleep(TRACE_LOOK_US);
	}
	if (all && status == CLI_OK)
		cli_json(all);
	json_decref(all);
	free(cursor);
	return status;
}

int cmd_trace(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "follow", no_argument, NULL, 'f' },
						 { NULL, 0, NULL, 0 } };
	bool as_json = false, follow = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'j')
			as_json = true;
		else if (opt == 'f')
			follow = true;
		else
			return cli_usage(self);
	}
	if (argc - optind != 1)
		return cli_usage(self);
	return trace_all(argv[optind], follow, as_json);
}
