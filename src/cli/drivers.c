/* SPDX-License-Identifier: MIT */
/* `auriga drivers`: what the notes of driver modules say. Nothing is loaded. */
#include "cli/cli.h"
#include "base/note.h"
#include "base/paths.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

int cmd_drivers(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { NULL, 0, NULL, 0 } };
	static const struct cli_column columns[] = { { "name", "NAME" },
						     { "version", "VERSION" },
						     { "class", "CLASS" },
						     { "summary", "SUMMARY" } };
	struct au_note note;
	char path[AU_PATH_MAX], error[AU_PATH_MAX + 256];
	bool as_json = false;
	json_t *json;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt != 'j')
			return cli_usage(self);
		as_json = true;
	}
	if (argc - optind > 1)
		return cli_usage(self);
	if (optind < argc) {
		/* A name, as everywhere; or a file that is not installed yet. */
		if (strchr(argv[optind], '/') || strchr(argv[optind], '.'))
			snprintf(path, sizeof(path), "%s", argv[optind]);
		else if (au_driver_find(argv[optind], path, error, sizeof(error)) != 0)
			return cli_error("%s", error);
		if (au_note_read(path, &note, error, sizeof(error)) != 0)
			return cli_error("%s", error);
		json = note_json(&note, path);
	} else {
		json = json_array();
		au_driver_list(drivers_add, json);
	}
	if (as_json)
		cli_json(json);
	else if (json_is_array(json))
		cli_table(json, columns, sizeof(columns) / sizeof(columns[0]));
	else
		cli_print(json, 0);
	json_decref(json);
	return CLI_OK;
}
