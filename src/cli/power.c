/* SPDX-License-Identifier: MIT */
/* auriga power: of one device, or of all with the system. */
#include "cli/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int power_show(json_t *answer, bool as_json)
{
	if (!answer)
		return CLI_FAILED;
	if (as_json)
		cli_json(answer);
	else
		cli_print(answer, 0);
	json_decref(answer);
	return CLI_OK;
}

static int power_system(const char *what, bool as_json)
{
	static const struct cli_column columns[] = {
		{ "name", "NAME" },	 { "state", "POWER" },	 { "began_ms", "FROM MS" },
		{ "ended_ms", "TO MS" }, { "result", "RESULT" },
	};
	json_t *answer = control_call("POST", "/v1/power", json_pack("{s:s}", "system", what));

	if (!answer)
		return CLI_FAILED;
	if (as_json)
		cli_json(answer);
	else
		cli_table(json_object_get(answer, "devices"), columns,
			  sizeof(columns) / sizeof(columns[0]));
	json_decref(answer);
	return CLI_OK;
}

/* What the manager knows of its power, out of all that it knows. */
static json_t *power_of(const char *name)
{
	char *path = control_path("/v1/devices/", name, NULL);
	json_t *info = path ? control_call("GET", path, NULL) : NULL;
	json_t *power = json_incref(json_object_get(info, "power"));

	free(path);
	json_decref(info);
	return power;
}

static json_t *power_change(const char *name, const char *key, const char *value)
{
	char *path = control_path("/v1/devices/", name, "/power");
	json_t *answer = path ? control_call("POST", path, json_pack("{s:s}", key, value)) : NULL;

	free(path);
	return answer;
}

int cmd_power(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "idle", required_argument, NULL, 'i' },
		{ NULL, 0, NULL, 0 },
	};
	const char *idle = NULL, *name, *state;
	bool as_json = false;
	json_t *answer = NULL;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'j')
			as_json = true;
		else if (opt == 'i')
			idle = optarg;
		else
			return cli_usage(self);
	}
	if (argc - optind < 1 || argc - optind > 2)
		return cli_usage(self);
	name = argv[optind];
	state = argc - optind == 2 ? argv[optind + 1] : NULL;
	if (!strcmp(name, "suspend") || !strcmp(name, "resume"))
		return idle || state ? cli_usage(self) : power_system(name, as_json);
	if (!idle && !state)
		return power_show(power_of(name), as_json);
	if (idle) {
		answer = power_change(name, "idle", idle);
		if (!answer)
			return CLI_FAILED;
	}
	if (state) {
		json_decref(answer);
		answer = power_change(name, "state", state);
		if (!answer)
			return CLI_FAILED;
	}
	if (as_json)
		return power_show(answer, true);
	json_decref(answer);
	return CLI_OK;
}
