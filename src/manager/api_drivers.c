/* SPDX-License-Identifier: MIT */
/* What can be asked about drivers: the list, and what is in the store. */
#include "manager/control.h"
#include "manager/json.h"
#include "manager/store.h"
#include "manager/upgrade.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DRIVERS_OK	200
#define DRIVERS_CREATED 201
#define DRIVERS_NO_VERB 405

/* Whoever may say what code runs. */
static bool drivers_may(struct mgr_call *call)
{
	if (call->peer_uid == geteuid() || call->peer_uid == 0)
		return true;
	mgr_call_error(call, -EPERM, "only the manager's own user may change what is in its store");
	return false;
}

static bool drivers_path(const json_t *o, const char *key, char *path, bool required)
{
	path[0] = 0;
	if (!json_object_get(o, key))
		return !required;
	return mgr_json_text(o, key, path, AU_PATH_MAX) && path[0] == '/';
}

static void drivers_install(struct mgr_call *call)
{
	char from[AU_PATH_MAX], signature[AU_PATH_MAX], path[AU_PATH_MAX], text[128];
	char error[AU_PATH_MAX * 2 + MGR_TEXT];
	struct mgr_module module;
	json_t *o, *devices;
	int err;

	if (!drivers_may(call))
		return;
	o = mgr_api_body(call);
	if (!o)
		return;
	if (!drivers_path(o, "path", from, true) ||
	    !drivers_path(o, "signature", signature, false)) {
		json_decref(o);
		mgr_call_error(call, -EINVAL,
			       "path, and signature if there is one, are whole paths");
		return;
	}
	json_decref(o);
	err = mgr_store_install(&call->mgr->drivers, from, signature, path, &module, error,
				sizeof(error));
	if (err) {
		mgr_module_clear(&module);
		mgr_call_error(call, err, "%s", error);
		return;
	}
	au_logf(AU_LOG_INFO, "driver %s %s is in the store, %s", module.note.name,
		module.note.version, mgr_signer_text(&module.signer, text, sizeof(text)));
	devices = mgr_upgrade_offer(call->mgr);
	o = json_pack("{s:s s:s s:o s:o s:o}", "name", module.note.name, "version",
		      module.note.version, "path", mgr_json_string(path), "signature",
		      mgr_json_string(mgr_signer_text(&module.signer, text, sizeof(text))),
		      "devices", devices);
	mgr_module_clear(&module);
	mgr_call_answer(call, DRIVERS_CREATED, o);
}

/* A device that runs this file, or NULL. */
static const struct mgr_device *drivers_user(const struct mgr *mgr, const char *path)
{
	au_list_for_each (node, &mgr->devices) {
		const struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);

		if (dev->host && !strcmp(dev->driver_path, path))
			return dev;
	}
	return NULL;
}

static void drivers_remove(struct mgr_call *call, const char *name)
{
	const char *version = mgr_call_argument(call, "version");
	const char *force = mgr_call_argument(call, "force");
	struct mgr_drivers *drivers = &call->mgr->drivers;
	char error[AU_PATH_MAX + MGR_TEXT];
	json_t *removed = json_array();

	mgr_drivers_scan(drivers);
	for (unsigned int i = 0; i < drivers->count; i++) {
		const struct mgr_driver *d = &drivers->list[i];
		const struct mgr_device *user;
		int err;

		if (!d->stored || strcmp(d->name, name) ||
		    (version && strcmp(d->note.version, version)))
			continue;
		user = drivers_user(call->mgr, d->path);
		if (user && !(force && strcmp(force, "0"))) {
			json_decref(removed);
			mgr_call_error(call, -EBUSY,
				       "%s %s runs %s: upgrade that first, or use --force: it goes "
				       "on with its copy",
				       name, d->note.version, user->spec.name);
			return;
		}
		err = mgr_store_remove(drivers, d->path, error, sizeof(error));
		if (err) {
			json_decref(removed);
			mgr_call_error(call, err, "%s", error);
			return;
		}
		au_logf(AU_LOG_INFO, "driver %s %s is removed from the store", name,
			d->note.version);
		json_array_append_new(removed, mgr_json_string(d->note.version));
	}
	if (!json_array_size(removed)) {
		json_decref(removed);
		mgr_call_error(call, -ENOENT,
			       "there is no driver %.40s%s%.40s in the store%s%.200s", name,
			       version ? " " : "", version ? version : "",
			       drivers->store[0] ? " " : "", drivers->store);
		return;
	}
	mgr_call_answer(call, DRIVERS_OK, json_pack("{s:s s:o}", "name", name, "removed", removed));
}

void mgr_api_drivers(struct mgr_call *call, const char *method, const char *rest)
{
	if (!*rest && !strcmp(method, "GET")) {
		mgr_drivers_scan(&call->mgr->drivers);
		mgr_call_answer(call, DRIVERS_OK, mgr_drivers_json(&call->mgr->drivers));
	} else if (!*rest && !strcmp(method, "POST")) {
		drivers_install(call);
	} else if (*rest == '/' && rest[1] && !strchr(rest + 1, '/') && !strcmp(method, "DELETE")) {
		if (!au_name_valid(rest + 1))
			mgr_call_error(call, -EINVAL, "that is no driver's name");
		else if (drivers_may(call))
			drivers_remove(call, rest + 1);
	} else {
		mgr_call_answer(
			call, DRIVERS_NO_VERB,
			json_pack("{s:s}", "error", "drivers know GET, POST, and DELETE of one"));
	}
}
