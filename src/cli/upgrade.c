/* SPDX-License-Identifier: MIT */
/* `auriga upgrade`: another driver for a device that is in use. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UPGRADE_DRAIN_MAX 60.0 /* seconds */

/* Seconds, which may have decimals and an "s" behind them, as milliseconds; -1: no such thing. */
static long upgrade_ms(const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || (*end && strcmp(end, "s") != 0) ||
	    !(seconds >= 0 && seconds <= UPGRADE_DRAIN_MAX))
		return -1;
	return (long)(seconds * 1000 + 0.5);
}

static void upgrade_show(const json_t *answer)
{
	const char *name = json_string_value(json_object_get(answer, "name"));
	const char *driver = json_string_value(json_object_get(answer, "driver"));
	const char *from = json_string_value(json_object_get(answer, "from"));
	const char *to = json_string_value(json_object_get(answer, "to"));
	const json_t *paused = json_object_get(answer, "paused_us");

	if (paused)
		printf("%s: %s %s instead of %s, after %.1f ms\n", name, driver, to, from,
		       (double)json_integer_value(paused) / 1e3);
	else
		printf("%s: %s %s at the next start\n", name, driver, to);
}

int cmd_upgrade(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { { "drain", required_argument, NULL, 'd' },
						 { "fresh", no_argument, NULL, 'f' },
						 { "json", no_argument, NULL, 'j' },
						 { NULL, 0, NULL, 0 } };
	bool as_json = false, fresh = false;
	json_t *body, *answer;
	char *path, *file = NULL;
	long drain_ms = -1;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'd')
			drain_ms = upgrade_ms(optarg);
		else if (opt == '?')
			return cli_usage(self);
		if (opt == 'd' && drain_ms < 0)
			return cli_error("--drain '%s': use seconds from 0 to 60", optarg);
		fresh |= opt == 'f';
		as_json |= opt == 'j';
	}
	if (argc - optind < 1 || argc - optind > 2)
		return cli_usage(self);
	body = json_pack("{s:b}", "fresh", fresh);
	if (drain_ms >= 0)
		json_object_set_new(body, "drain_ms", json_integer(drain_ms));
	if (argc - optind == 2) {
		file = realpath(argv[optind + 1], NULL);
		if (!file) {
			json_decref(body);
			return cli_error("%s: %s", argv[optind + 1], strerror(errno));
		}
		json_object_set_new(body, "module", json_string(file));
		free(file);
	}
	path = control_path("/v1/devices/", argv[optind], "/upgrade");
	answer = path ? control_call("POST", path, body) : NULL;
	free(path);
	if (!answer)
		return CLI_FAILED;
	if (as_json)
		cli_json(answer);
	else
		upgrade_show(answer);
	json_decref(answer);
	return CLI_OK;
}
