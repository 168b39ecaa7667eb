/* SPDX-License-Identifier: MIT */
#include "manager/drivers.h"

#include "manager/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int drivers_add(const char *name, const char *path, void *arg)
{
	struct mgr_drivers *drivers = arg;
	struct mgr_driver *list, *d;

	list = realloc(drivers->list, (drivers->count + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	drivers->list = list;
	d = &list[drivers->count++];
	memset(d, 0, sizeof(*d));
	snprintf(d->name, sizeof(d->name), "%s", name);
	snprintf(d->path, sizeof(d->path), "%s", path);
	if (au_note_read(path, &d->note, d->error, sizeof(d->error))) {
		if (!d->error[0])
			snprintf(d->error, sizeof(d->error), "%s: no driver", path);
	} else if (strcmp(d->note.name, name)) {
		snprintf(d->error, sizeof(d->error),
			 "%.120s: calls itself '%s': rename the file to %s.so", path, d->note.name,
			 d->note.name);
	}
	return 0;
}

static int drivers_compare(const void *a, const void *b)
{
	return strcmp(((const struct mgr_driver *)a)->name, ((const struct mgr_driver *)b)->name);
}

static void drivers_clear(struct mgr_drivers *drivers)
{
	free(drivers->list);
	memset(drivers, 0, sizeof(*drivers));
}

int mgr_drivers_scan(struct mgr_drivers *drivers)
{
	int err;

	drivers_clear(drivers);
	err = au_driver_list(drivers_add, drivers);
	if (err)
		return err;
	if (drivers->count)
		qsort(drivers->list, drivers->count, sizeof(*drivers->list), drivers_compare);
	return 0;
}

static json_t *drivers_matches(const struct au_note *note)
{
	json_t *list = json_array();
	char text[64];

	for (unsigned int i = 0; i < note->match_count; i++)
		json_array_append_new(
			list, json_string(au_note_match_text(&note->match[i], text, sizeof(text))));
	return list;
}

static json_t *drivers_params(const struct au_note *note)
{
	static const char *const types[] = {
		[AU_PARAM_TYPE_UINT] = "uint",
		[AU_PARAM_TYPE_BOOL] = "bool",
		[AU_PARAM_TYPE_STRING] = "string",
	};
	json_t *list = json_array();

	for (unsigned int i = 0; i < note->param_count; i++) {
		const struct au_note_param *p = &note->param[i];
		json_t *o = json_pack("{s:o s:s s:o}", "name", mgr_json_string(p->name), "type",
				      types[p->type], "help", mgr_json_string(p->help));

		if (p->type == AU_PARAM_TYPE_STRING) {
			json_object_set_new(o, "default", mgr_json_string(p->def_text));
		} else {
			json_object_set_new(o, "default", json_integer((json_int_t)p->def));
			json_object_set_new(o, "min", json_integer((json_int_t)p->min));
			json_object_set_new(o, "max", json_integer((json_int_t)p->max));
		}
		json_array_append_new(list, o);
	}
	return list;
}

json_t *mgr_drivers_json(const struct mgr_drivers *drivers)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < drivers->count; i++) {
		const struct mgr_driver *d = &drivers->list[i];
		json_t *o = json_pack("{s:o s:o}", "name", mgr_json_string(d->name), "path",
				      mgr_json_string(d->path));

		if (d->error[0]) {
			json_object_set_new(o, "error", mgr_json_string(d->error));
		} else {
			json_object_set_new(o, "version", mgr_json_string(d->note.version));
			json_object_set_new(o, "class", mgr_json_string(d->note.cls));
			json_object_set_new(o, "summary", mgr_json_string(d->note.summary));
			json_object_set_new(o, "abi", json_integer(d->note.abi));
			json_object_set_new(o, "matches", drivers_matches(&d->note));
			json_object_set_new(o, "params", drivers_params(&d->note));
			json_object_set_new(o, "retained_bytes",
					    json_integer((json_int_t)d->note.retain_bytes));
		}
		json_array_append_new(list, o);
	}
	return list;
}
