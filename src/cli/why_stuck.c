/* SPDX-License-Identifier: MIT */
/* `auriga why-stuck`: why a device does not go on, as far as can be seen. */
#include "cli/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define STUCK_YOUNG_MS 300    /* how long the oldest request waits is not known well yet */
#define STUCK_AGAIN_US 500000 /* ... and is, after this */

static json_t *stuck_ask(const char *name)
{
	char *path = control_path("/v1/devices/", name, "/why-stuck");
	json_t *answer = path ? control_call("GET", path, NULL) : NULL;

	free(path);
	return answer;
}

/* Nothing is stamped on a request's way: that one is old is known from having seen it before. */
static bool stuck_look_again(const json_t *answer)
{
	const json_t *requests = json_object_get(json_object_get(answer, "host"), "requests");
	const json_t *oldest = json_array_get(requests, 0);

	return oldest && json_integer_value(json_object_get(oldest, "age_ms")) < STUCK_YOUNG_MS;
}

int cmd_why_stuck(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { NULL, 0, NULL, 0 } };
	bool as_json = false;
	json_t *answer, *because;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'j')
			return cli_usage(self);
		as_json = true;
	}
	if (argc - optind != 1)
		return cli_usage(self);
	answer = stuck_ask(argv[optind]);
	if (answer && stuck_look_again(answer)) {
		json_decref(answer);
		usleep(STUCK_AGAIN_US);
		answer = stuck_ask(argv[optind]);
	}
	if (!answer)
		return CLI_FAILED;
	if (as_json) {
		cli_json(answer);
	} else {
		because = json_incref(json_object_get(answer, "because"));
		json_object_del(answer, "because");
		cli_print(because, 0);
		printf("\n");
		cli_print(answer, 0);
		json_decref(because);
	}
	json_decref(answer);
	return CLI_OK;
}
