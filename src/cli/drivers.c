/* SPDX-License-Identifier: MIT */
/*
 * `auriga drivers`: what the notes of driver modules say, the manager's store, and signatures.
 * Nothing is loaded.
 */
#include "cli/cli.h"
#include "base/note.h"
#include "base/paths.h"
#include "base/signature.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *param_json(const struct au_note_param *p)
{
	static const char *const types[] = { "uint", "bool", "string" };
	json_t *json = json_pack("{s:s, s:s, s:s}", "name", p->name, "type", types[p->type], "help",
				 p->help);

	if (p->type == AU_PARAM_TYPE_STRING) {
		json_object_set_new(json, "default", json_string(p->def_text));
	} else {
		json_object_set_new(json, "default", json_integer((json_int_t)p->def));
		json_object_set_new(json, "min", json_integer((json_int_t)p->min));
		json_object_set_new(json, "max", json_integer((json_int_t)p->max));
	}
	return json;
}

static json_t *note_json(const struct au_note *note, const char *path)
{
	json_t *matches = json_array(), *params = json_array();
	char text[64];

	for (unsigned int i = 0; i < note->match_count; i++)
		json_array_append_new(matches, json_string(au_note_match_text(&note->match[i], text,
									      sizeof(text))));
	for (unsigned int i = 0; i < note->param_count; i++)
		json_array_append_new(params, param_json(&note->param[i]));
	return json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:o, s:o, s:I}", "name", note->name,
			 "version", note->version, "class", note->cls, "summary", note->summary,
			 "abi", (int)note->abi, "path", path, "matches", matches, "params", params,
			 "retained_bytes", (json_int_t)note->retain_bytes);
}

static int drivers_add(const char *name, const char *path, void *arg)
{
	struct au_note note;
	char error[256];

	if (au_note_read(path, &note, error, sizeof(error)) == 0)
		json_array_append_new(arg, note_json(&note, path));
	else
		json_array_append_new(arg, json_pack("{s:s, s:s, s:s}", "name", name, "path", path,
						     "summary", error));
	return 0;
}

/* The manager, if there is one, knows more: its store, its directories, whose keys it trusts. */
static json_t *drivers_list(void)
{
	char dir[AU_PATH_MAX], socket[AU_PATH_MAX], error[AU_PATH_MAX + 256];
	json_t *list;

	if (au_runtime_dir(cli_runtime_dir, false, dir, error, sizeof(error)) == 0 &&
	    au_runtime_path(dir, "control.sock", socket, error, sizeof(error)) == 0 &&
	    access(socket, R_OK | W_OK) == 0)
		return control_call("GET", "/v1/drivers", NULL);
	list = json_array();
	au_driver_list(drivers_add, list);
	return list;
}

/* One by its name, or a file that is not installed yet. */
static json_t *drivers_one(const char *name)
{
	char path[AU_PATH_MAX], error[AU_PATH_MAX + 256];
	struct au_note note;
	json_t *list, *row, *found;
	size_t i;

	if (strchr(name, '/') || strchr(name, '.')) {
		if (au_note_read(name, &note, error, sizeof(error)) == 0)
			return note_json(&note, name);
		cli_say("%s", error);
		return NULL;
	}
	list = drivers_list();
	if (!list)
		return NULL;
	found = json_array();
	json_array_foreach(list, i, row)
	{
		const char *is = json_string_value(json_object_get(row, "name"));

		if (is && strcmp(is, name) == 0)
			json_array_append(found, row);
	}
	json_decref(list);
	row = json_array_size(found) ? json_incref(json_array_get(found, 0)) : NULL;
	if (!row && (au_driver_find(name, path, error, sizeof(error)) != 0 ||
		     au_note_read(path, &note, error, sizeof(error)) != 0))
		cli_say("%s", error);
	else if (!row) /* the manager looks elsewhere */
		row = note_json(&note, path);
	/* The best comes first; of the others it is enough to know which there are. */
	if (json_array_size(found) > 1) {
		json_t *others = json_array();

		for (i = 1; i < json_array_size(found); i++) {
			json_t *o = json_array_get(found, i);

			json_array_append_new(others,
					      json_pack("{s:O?, s:O?, s:O?}", "version",
							json_object_get(o, "version"), "path",
							json_object_get(o, "path"), "signature",
							json_object_get(o, "signature")));
		}
		json_object_set_new(row, "others", others);
	}
	json_decref(found);
	return row;
}

static int drivers_show(json_t *json, bool as_json)
{
	static const struct cli_column columns[] = {
		{ "name", "NAME" },	{ "version", "VERSION" },     { "class", "CLASS" },
		{ "stored", "STORED" }, { "signature", "SIGNATURE" }, { "summary", "SUMMARY" },
	};

	if (!json)
		return CLI_FAILED;
	if (as_json)
		cli_json(json);
	else if (json_is_array(json))
		cli_table(json, columns, sizeof(columns) / sizeof(columns[0]));
	else
		cli_print(json, 0);
	json_decref(json);
	return CLI_OK;
}

/* What all of them take; each uses its own. */
struct drivers_args {
	bool json, force;
	const char *signature, *key;
	int argc;
	char **argv;
};

static bool drivers_whole_path(json_t *body, const char *key, const char *file)
{
	char *path = realpath(file, NULL);

	if (!path) {
		cli_say("%s: %s", file, strerror(errno));
		return false;
	}
	json_object_set_new(body, key, json_string(path));
	free(path);
	return true;
}

static int drivers_install(const struct drivers_args *a)
{
	json_t *body = json_object(), *answer, *devices, *name;
	size_t i;

	if (!drivers_whole_path(body, "path", a->argv[0]) ||
	    (a->signature && !drivers_whole_path(body, "signature", a->signature))) {
		json_decref(body);
		return CLI_FAILED;
	}
	answer = control_call("POST", "/v1/drivers", body);
	if (!answer)
		return CLI_FAILED;
	if (a->json) {
		cli_json(answer);
	} else {
		printf("%s %s: %s\n", json_string_value(json_object_get(answer, "name")),
		       json_string_value(json_object_get(answer, "version")),
		       json_string_value(json_object_get(answer, "signature")));
		devices = json_object_get(answer, "devices");
		json_array_foreach(devices, i, name)
			printf("%s gets it\n", json_string_value(name));
	}
	json_decref(answer);
	return CLI_OK;
}

/* NAME, or NAME=VERSION. */
static int drivers_remove(const struct drivers_args *a)
{
	const char *version = strchr(a->argv[0], '=');
	char name[32], prefix[80], *path;
	json_t *answer;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(a->argv[0], "="), a->argv[0]);
	if (!au_name_valid(name))
		return cli_error("'%.40s' is no driver's name: use NAME or NAME=VERSION",
				 a->argv[0]);
	snprintf(prefix, sizeof(prefix), "/v1/drivers/%s?force=%d&version=", name, a->force);
	if (version)
		path = control_path(prefix, version + 1, NULL);
	else
		path = control_path("/v1/drivers/", name, a->force ? "?force=1" : NULL);
	answer = path ? control_call("DELETE", path, NULL) : NULL;
	free(path);
	if (!answer)
		return CLI_FAILED;
	if (a->json)
		cli_json(answer);
	json_decref(answer);
	return CLI_OK;
}

static int drivers_keygen(const struct drivers_args *a)
{
	char error[AU_PATH_MAX + 256];

	if (au_key_generate(a->argv[0], error, sizeof(error)) != 0)
		return cli_error("%s", error);
	printf("%s: keep it secret; %s.pub: for keys.d of those who are to trust it\n", a->argv[0],
	       a->argv[0]);
	return CLI_OK;
}

static int drivers_sign(const struct drivers_args *a)
{
	char error[AU_PATH_MAX + 256];
	struct au_note note;

	if (!a->key)
		return cli_error("drivers sign: give a secret key with --key");
	for (int i = 0; i < a->argc; i++) {
		/* Whoever signs says that it is a driver. */
		if (au_note_read(a->argv[i], &note, error, sizeof(error)) != 0 ||
		    au_sign(a->key, a->argv[i], error, sizeof(error)) != 0)
			return cli_error("%s", error);
		printf("%s.sig: %s %s\n", a->argv[i], note.name, note.version);
	}
	return CLI_OK;
}

static int drivers_show_one(const struct drivers_args *a)
{
	return drivers_show(drivers_one(a->argv[0]), a->json);
}

/* @most: operands, at least one. */
static const struct {
	const char *name;
	int most;
	int (*run)(const struct drivers_args *a);
} drivers_verbs[] = {
	{ "show", 1, drivers_show_one }, { "install", 1, drivers_install },
	{ "remove", 1, drivers_remove }, { "keygen", 1, drivers_keygen },
	{ "sign", 1000, drivers_sign },
};

int cmd_drivers(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "force", no_argument, NULL, 'f' },
						 { "signature", required_argument, NULL, 's' },
						 { "key", required_argument, NULL, 'k' },
						 { NULL, 0, NULL, 0 } };
	struct drivers_args a = { 0 };
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == '?')
			return cli_usage(self);
		a.json |= opt == 'j';
		a.force |= opt == 'f';
		if (opt == 's')
			a.signature = optarg;
		if (opt == 'k')
			a.key = optarg;
	}
	a.argc = argc - optind;
	a.argv = argv + optind;
	if (a.argc == 0)
		return drivers_show(drivers_list(), a.json);
	for (unsigned int i = 0; i < sizeof(drivers_verbs) / sizeof(drivers_verbs[0]); i++) {
		if (strcmp(a.argv[0], drivers_verbs[i].name) != 0)
			continue;
		a.argc--;
		a.argv++;
		return a.argc >= 1 && a.argc <= drivers_verbs[i].most ? drivers_verbs[i].run(&a)
								      : cli_usage(self);
	}
	return a.argc == 1 ? drivers_show_one(&a) : cli_usage(self);
}
