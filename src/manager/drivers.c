/* SPDX-License-Identifier: MIT */
#include "manager/drivers.h"

#include "base/cleanup.h"
#include "manager/json.h"
#include "manager/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Beside the module, if there is one: most have none, and are not read for that. */
static void drivers_look(const struct mgr_trust *trust, struct mgr_driver *d)
{
	char beside[AU_PATH_MAX + 8];
	AU_CLEANUP_FD int fd = -1;

	snprintf(beside, sizeof(beside), "%s.sig", d->path);
	if (access(beside, F_OK) == 0)
		fd = open(d->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0)
		mgr_sign_look(trust, fd, beside, &d->signer);
	if (!d->error[0])
		mgr_sign_check(trust, &d->signer, d->path, false, d->error, sizeof(d->error));
}

int mgr_drivers_add(struct mgr_drivers *drivers, const char *name, const char *path, bool stored)
{
	struct mgr_driver *list, *d;

	list = realloc(drivers->list, (drivers->count + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	drivers->list = list;
	d = &list[drivers->count++];
	memset(d, 0, sizeof(*d));
	snprintf(d->name, sizeof(d->name), "%s", name);
	snprintf(d->path, sizeof(d->path), "%s", path);
	d->stored = stored;
	if (au_note_read(path, &d->note, d->error, sizeof(d->error))) {
		if (!d->error[0])
			snprintf(d->error, sizeof(d->error), "%s: no driver", path);
	} else if (strcmp(d->note.name, name)) {
		snprintf(d->error, sizeof(d->error),
			 "%.120s: calls itself '%s': rename the file to %s.so", path, d->note.name,
			 d->note.name);
	}
	drivers_look(&drivers->trust, d);
	return 0;
}

static int drivers_found(const char *name, const char *path, void *arg)
{
	return mgr_drivers_add(arg, name, path, false);
}

int mgr_drivers_better(const struct mgr_driver *a, const struct mgr_driver *b)
{
	bool good_a = a->signer.state == MGR_SIGNED_GOOD,
	     good_b = b->signer.state == MGR_SIGNED_GOOD;
	int order;

	if (!a->error[0] != !b->error[0])
		return a->error[0] ? 1 : -1;
	if (good_a != good_b)
		return good_a ? -1 : 1;
	order = mgr_version_compare(b->note.version, a->note.version);
	return order ? order : (int)b->stored - (int)a->stored;
}

static int drivers_compare(const void *pa, const void *pb)
{
	const struct mgr_driver *a = pa, *b = pb;
	int order = strcmp(a->name, b->name);

	return order ? order : mgr_drivers_better(a, b);
}

const struct mgr_driver *mgr_drivers_find(const struct mgr_drivers *drivers, const char *name)
{
	for (unsigned int i = 0; i < drivers->count; i++)
		if (!strcmp(drivers->list[i].name, name))
			return &drivers->list[i];
	return NULL;
}

static void drivers_clear(struct mgr_drivers *drivers)
{
	free(drivers->list);
	drivers->list = NULL;
	drivers->count = 0;
}

int mgr_drivers_scan(struct mgr_drivers *drivers)
{
	int err;

	drivers_clear(drivers);
	err = au_driver_list(drivers_found, drivers);
	if (!err)
		err = mgr_store_scan(drivers);
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
		char text[128];
		json_t *o =
			json_pack("{s:o s:o s:b s:o}", "name", mgr_json_string(d->name), "path",
				  mgr_json_string(d->path), "stored", d->stored, "signature",
				  mgr_json_string(mgr_signer_text(&d->signer, text, sizeof(text))));

		if (d->error[0]) {
			json_object_set_new(o, "error", mgr_json_string(d->error));
			if (d->note.version[0])
				json_object_set_new(o, "version", mgr_json_string(d->note.version));
			json_object_set_new(o, "summary", mgr_json_string(d->error));
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
