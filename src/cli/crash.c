/* SPDX-License-Identifier: MIT */
/* `auriga crash`: what is known of a driver's last death. */
#include "cli/cli.h"
#include "cli/symbol.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *crash_text(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? text : "";
}

/* Names for the frames, found here rather than by the manager, which opens no module. */
static void crash_symbolise(json_t *frames)
{
	char buf[512];
	json_t *frame;
	size_t i;

	json_array_foreach(frames, i, frame)
	{
		uint64_t offset = (uint64_t)json_integer_value(json_object_get(frame, "offset"));

		json_object_set_new(frame, "symbol",
				    json_string(symbol_name(crash_text(frame, "module"),
							    crash_text(frame, "build_id"), offset,
							    buf, sizeof(buf))));
	}
}

static void crash_frames(const json_t *frames)
{
	json_t *frame;
	size_t i;

	json_array_foreach(frames, i, frame)
		printf("  #%-2zu %s in %s+0x%llx\n", i, crash_text(frame, "symbol"),
		       crash_text(frame, "module"),
		       (unsigned long long)json_integer_value(json_object_get(frame, "offset")));
}

static void crash_records(const json_t *records)
{
	json_t *record;
	size_t i;

	json_array_foreach(records, i, record)
	{
		json_int_t us = json_integer_value(json_object_get(record, "before_us"));

		printf("  -%.6f s", (double)us / 1e6);
		cli_record(record);
	}
}

int cmd_crash(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { NULL, 0, NULL, 0 } };
	bool as_json = false;
	json_t *answer, *frames, *records;
	char *path;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'j')
			return cli_usage(self);
		as_json = true;
	}
	if (argc - optind != 1)
		return cli_usage(self);
	path = control_path("/v1/devices/", argv[optind], "/crash");
	answer = path ? control_call("GET", path, NULL) : NULL;
	free(path);
	if (!answer)
		return CLI_FAILED;
	frames = json_object_get(answer, "frames");
	crash_symbolise(frames);
	if (as_json) {
		cli_json(answer);
	} else {
		frames = json_incref(frames);
		records = json_incref(json_object_get(answer, "records"));
		json_object_del(answer, "frames");
		json_object_del(answer, "records");
		cli_print(answer, 0);
		if (json_array_size(frames)) {
			printf("frames:\n");
			crash_frames(frames);
		}
		if (json_array_size(records)) {
			printf("records:\n");
			crash_records(records);
		}
		json_decref(frames);
		json_decref(records);
	}
	json_decref(answer);
	return CLI_OK;
}
