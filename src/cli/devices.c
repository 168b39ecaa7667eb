/* SPDX-License-Identifier: MIT */
/* What is asked of the manager: ls, info, attach, detach, restart, hold, crash, why. */
#include "cli/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRAIN_SECONDS "10" /* without a time */

/* What all of them take; each uses its own. */
struct args {
	bool json, force, crash, off;
	const char *name, *driver, *needs, *operand, *drain;
	json_t *params, *policy;
};

/* KEY=VALUE into an object. Return: false when it is no such thing. */
static bool args_policy(json_t *policy, const char *text)
{
	const char *equals = strchr(text, '=');

	return equals && equals != text &&
	       json_object_setn_new(policy, text, (size_t)(equals - text),
				    json_string(equals + 1)) == 0;
}

static void args_free(struct args *a)
{
	json_decref(a->params);
	json_decref(a->policy);
}

/* @flags: the options that this one knows, by their letters. Return: 0, or an exit status. */
static int args_parse(const struct cli_command *self, int argc, char **argv, const char *flags,
		      bool operand, struct args *a)
{
	static const struct option all[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "force", no_argument, NULL, 'f' },
		{ "crash", no_argument, NULL, 'c' },
		{ "off", no_argument, NULL, 'o' },
		{ "drain", optional_argument, NULL, 'D' },
		{ "name", required_argument, NULL, 'n' },
		{ "driver", required_argument, NULL, 'd' },
		{ "needs", required_argument, NULL, 'N' },
		{ "param", required_argument, NULL, 'p' },
		{ "policy", required_argument, NULL, 'P' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	memset(a, 0, sizeof(*a));
	a->params = json_array();
	a->policy = json_object();
	while ((opt = getopt_long(argc, argv, "", all, NULL)) != -1) {
		if (opt == '?' || !strchr(flags, opt) ||
		    (opt == 'P' && !args_policy(a->policy, optarg))) {
			args_free(a);
			return cli_usage(self);
		}
		a->json |= opt == 'j';
		a->force |= opt == 'f';
		a->crash |= opt == 'c';
		a->off |= opt == 'o';
		if (opt == 'D')
			a->drain = optarg ? optarg : DRAIN_SECONDS;
		if (opt == 'n')
			a->name = optarg;
		if (opt == 'd')
			a->driver = optarg;
		if (opt == 'N')
			a->needs = optarg;
		if (opt == 'p')
			json_array_append_new(a->params, json_string(optarg));
	}
	if (argc - optind != (operand ? 1 : 0)) {
		args_free(a);
		return cli_usage(self);
	}
	a->operand = operand ? argv[optind] : NULL;
	return 0;
}

/* Ask about one device by name. */
static json_t *device_call(const char *method, const char *name, const char *verb, json_t *body)
{
	char *path = control_path("/v1/devices/", name, verb);
	json_t *answer = path ? control_call(method, path, body) : NULL;

	free(path);
	return answer;
}

static int device_done(json_t *answer)
{
	if (!answer)
		return CLI_FAILED;
	json_decref(answer);
	return CLI_OK;
}

static int device_show(const struct args *a, json_t *answer)
{
	if (!answer)
		return CLI_FAILED;
	if (a->json)
		cli_json(answer);
	else
		cli_print(answer, 0);
	json_decref(answer);
	return CLI_OK;
}

int cmd_ls(const struct cli_command *self, int argc, char **argv)
{
	static const struct cli_column columns[] = {
		{ "name", "NAME" },	 { "class", "CLASS" },	       { "driver", "DRIVER" },
		{ "state", "STATE" },	 { "placement", "PLACEMENT" }, { "pid", "PID" },
		{ "generation", "GEN" }, { "restarts", "RESTARTS" },   { "address", "ADDRESS" },
	};
	struct args a;
	json_t *answer;
	int rc = args_parse(self, argc, argv, "j", false, &a);

	if (rc)
		return rc;
	args_free(&a);
	answer = control_call("GET", "/v1/devices", NULL);
	if (!answer)
		return CLI_FAILED;
	if (a.json)
		cli_json(answer);
	else
		cli_table(answer, columns, sizeof(columns) / sizeof(columns[0]));
	json_decref(answer);
	return CLI_OK;
}

int cmd_info(const struct cli_command *self, int argc, char **argv)
{
	struct args a;
	int rc = args_parse(self, argc, argv, "j", true, &a);

	if (rc)
		return rc;
	args_free(&a);
	return device_show(&a, device_call("GET", a.operand, NULL, NULL));
}

int cmd_attach(const struct cli_command *self, int argc, char **argv)
{
	struct args a;
	json_t *body, *answer;
	int rc = args_parse(self, argc, argv, "jndNpP", true, &a);

	if (rc)
		return rc;
	body = json_pack("{s:s, s:o, s:o}", "address", a.operand, "params", a.params, "policy",
			 a.policy);
	if (a.name)
		json_object_set_new(body, "name", json_string(a.name));
	if (a.driver)
		json_object_set_new(body, "driver", json_string(a.driver));
	if (a.needs)
		json_object_set_new(body, "needs", json_string(a.needs));
	answer = control_call("POST", "/v1/devices", body);
	if (!answer)
		return CLI_FAILED;
	if (a.json)
		cli_json(answer);
	else
		printf("%s\n", json_string_value(json_object_get(answer, "name")));
	json_decref(answer);
	return CLI_OK;
}

int cmd_detach(const struct cli_command *self, int argc, char **argv)
{
	char query[48] = "";
	struct args a;
	int rc = args_parse(self, argc, argv, "fD", true, &a);

	if (rc)
		return rc;
	args_free(&a);
	if (a.drain && (!*a.drain || strlen(a.drain) > 20 ||
			strspn(a.drain, "0123456789.") != strlen(a.drain)))
		return cli_usage(self);
	if (a.drain)
		snprintf(query, sizeof(query), "?drain=%s", a.drain);
	else if (a.force)
		snprintf(query, sizeof(query), "?force=1");
	return device_done(device_call("DELETE", a.operand, query, NULL));
}

int cmd_restart(const struct cli_command *self, int argc, char **argv)
{
	struct args a;
	int rc = args_parse(self, argc, argv, "c", true, &a);

	if (rc)
		return rc;
	args_free(&a);
	return device_done(
		device_call("POST", a.operand, "/restart", json_pack("{s:b}", "crash", a.crash)));
}

int cmd_hold(const struct cli_command *self, int argc, char **argv)
{
	struct args a;
	const char *debug;
	json_t *answer;
	int rc = args_parse(self, argc, argv, "o", true, &a);

	if (rc)
		return rc;
	args_free(&a);
	answer = device_call("POST", a.operand, "/hold", json_pack("{s:b}", "on", !a.off));
	if (!answer)
		return CLI_FAILED;
	debug = json_string_value(json_object_get(answer, "debug"));
	if (!a.off && debug && *debug)
		printf("verdicts are off for %s; debug it with: %s\n", a.operand, debug);
	json_decref(answer);
	return CLI_OK;
}

int cmd_why(const struct cli_command *self, int argc, char **argv)
{
	struct args a;
	char *path;
	json_t *answer;
	int rc = args_parse(self, argc, argv, "j", true, &a);

	if (rc)
		return rc;
	args_free(&a);
	path = control_path("/v1/why?address=", a.operand, NULL);
	answer = path ? control_call("GET", path, NULL) : NULL;
	free(path);
	return device_show(&a, answer);
}
