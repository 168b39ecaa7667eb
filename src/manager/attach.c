/* SPDX-License-Identifier: MIT */
/* Making a device of what is wanted of it: names, drivers, parameters, a place in the uid range. */
#include "base/cleanup.h"
#include "bus/address.h"
#include "manager/manager.h"
#include "manager/upgrade.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAY(...) snprintf(error, error_size, __VA_ARGS__)

/* How devices of a class are called when nobody says. */
static const char *attach_prefix(const char *cls)
{
	return strcmp(cls, "block") == 0 ? "disk" : cls;
}

/* Class and number: serial0, serial1, ..., disk0, ... */
static int attach_name(struct mgr_device *dev, char *error, size_t error_size)
{
	char name[MGR_NAME];

	for (unsigned int i = 0; i < 10000; i++) {
		if (snprintf(name, sizeof(name), "%s%u", attach_prefix(dev->note.cls), i) >=
		    (int)sizeof(name))
			break;
		if (!mgr_device_find(dev->mgr, name)) {
			memcpy(dev->spec.name, name, sizeof(name));
			return mgr_needs_check(dev->mgr, &dev->spec, error, error_size);
		}
	}
	SAY("no name is left for another device of class %s", dev->note.cls);
	return -ENOSPC;
}

static int attach_params(const struct mgr_device *dev, const struct au_note *note, char *error,
			 size_t error_size)
{
	for (unsigned int i = 0; i < dev->spec.param_count; i++)
		if (!au_note_param_check(note, dev->spec.params[i], NULL, NULL, error, error_size))
			return -EINVAL;
	return 0;
}

static bool attach_is_virtual_driver(const struct au_note *note)
{
	for (unsigned int i = 0; i < note->match_count; i++)
		if (note->match[i].kind == AU_MATCH_KIND_VIRTUAL)
			return true;
	return false;
}

int mgr_device_fits(const struct mgr_device *dev, const struct mgr_module *module,
		    struct au_note *note, char *error, size_t error_size)
{
	bool is_virtual;
	int err;

	*note = module->note;
	err = attach_params(dev, note, error, error_size);
	if (!err)
		err = au_note_resolve(note, (const char *const *)dev->spec.params,
				      dev->spec.param_count, error, error_size);
	if (err)
		return err;
	/* What was received and what was sent is accounted for by replaying. */
	if (dev->spec.policy.recovery != MGR_REISSUE && !strcmp(note->cls, "serial")) {
		SAY("recovery=%s is for disks and raw units: a serial port has its own rules",
		    mgr_fate_name(dev->spec.policy.recovery));
		return -EINVAL;
	}
	is_virtual = attach_is_virtual_driver(note);
	if (dev->ids.virtual_device && !is_virtual) {
		SAY("driver %s needs hardware: give an address other than virtual", note->name);
		return -EINVAL;
	}
	if (!dev->ids.virtual_device && is_virtual && note->match_count == 1) {
		SAY("driver %s has no hardware below it: its address is virtual", note->name);
		return -EINVAL;
	}
	return 0;
}

int mgr_device_set_module(struct mgr_device *dev, struct mgr_module *module, char *error,
			  size_t error_size)
{
	int err = mgr_device_fits(dev, module, &dev->note, error, error_size);

	if (!err && !dev->spec.name[0])
		err = attach_name(dev, error, error_size);
	if (!err && !dev->listener)
		err = mgr_listeners_open(dev, error, error_size);
	if (err)
		return err;
	snprintf(dev->driver_name, sizeof(dev->driver_name), "%s", dev->note.name);
	snprintf(dev->driver_path, sizeof(dev->driver_path), "%s", module->path);
	mgr_module_move(&dev->module, module);
	dev->module_pinned = false;
	return 0;
}

int mgr_device_set_driver(struct mgr_device *dev, const char *path, char *error, size_t error_size)
{
	struct mgr_module module;
	int err = mgr_module_read(&dev->mgr->drivers.trust, path, NULL, &module, error, error_size);

	if (!err)
		err = mgr_device_set_module(dev, &module, error, error_size);
	mgr_module_clear(&module);
	return err;
}

int mgr_device_load(struct mgr_device *dev, char *error, size_t error_size)
{
	/* A file that is gone is no reason not to go on with what was in it. */
	if (dev->module.fd >= 0 && (dev->module_pinned || !mgr_module_changed(&dev->module)))
		return 0;
	return mgr_device_set_driver(dev, dev->driver_path, error, error_size);
}

int mgr_device_choose(struct mgr_device *dev, char *path, char *error, size_t error_size)
{
	AU_CLEANUP_FREE struct mgr_candidate *candidates = NULL;
	int fit;

	mgr_drivers_scan(&dev->mgr->drivers);
	if (dev->spec.driver[0]) {
		const struct mgr_driver *d = mgr_drivers_find(&dev->mgr->drivers, dev->spec.driver);

		/* Where there is none, or no file, whoever looks for it knows best what to say. */
		if (!d || access(d->path, F_OK))
			return au_driver_find(dev->spec.driver, path, error, error_size);
		memcpy(path, d->path, sizeof(d->path));
		return 0;
	}
	fit = mgr_match(&dev->mgr->drivers, &dev->ids, &candidates);
	if (fit <= 0) {
		SAY("%s: no driver fits PCI %04x:%04x, class %06x: 'auriga why %.60s' says why",
		    dev->spec.address, dev->ids.vendor, dev->ids.device, dev->ids.class_code,
		    dev->spec.address);
		return -ENOENT;
	}
	memcpy(path, candidates[0].driver->path, sizeof(candidates[0].driver->path));
	return 0;
}

static int attach_driver(struct mgr_device *dev, bool by_path, char *error, size_t error_size)
{
	char path[AU_PATH_MAX];
	int err;

	if (!dev->spec.driver[0])
		return 0;
	if (strchr(dev->spec.driver, '/')) {
		if (!by_path) {
			SAY("driver '%.100s': this manager takes drivers by name, from its "
			    "directories, and not by path",
			    dev->spec.driver);
			return -EPERM;
		}
		return mgr_device_set_driver(dev, dev->spec.driver, error, error_size);
	}
	err = mgr_device_choose(dev, path, error, error_size);
	if (!err)
		err = mgr_device_set_driver(dev, path, error, error_size);
	if (!err && strcmp(dev->driver_name, dev->spec.driver)) {
		SAY("%s: calls itself '%s': rename the file to %s.so", path, dev->driver_name,
		    dev->driver_name);
		return -EINVAL;
	}
	return err;
}

int mgr_device_uid(struct mgr_device *dev, char *error, size_t error_size)
{
	struct mgr *mgr = dev->mgr;

	for (unsigned int i = 0; i < mgr->uid_count; i++) {
		unsigned int slot = mgr->next_slot++ % mgr->uid_count;
		bool used = false;

		au_list_for_each (node, &mgr->devices) {
			const struct mgr_device *d = AU_CONTAINER(node, struct mgr_device, node);

			used |= d != dev && d->slot == slot;
		}
		if (!used) {
			dev->slot = slot;
			return 0;
		}
	}
	SAY("no uid is left for another device: %u are in use (see --uid-range)", mgr->uid_count);
	return -ENOSPC;
}

static int attach_check(struct mgr *mgr, const struct mgr_spec *spec, char *error,
			size_t error_size)
{
	const struct mgr_device *other = mgr_device_find(mgr, spec->name);
	int err = mgr_spec_check(spec, error, error_size);

	if (!err)
		err = mgr_needs_check(mgr, spec, error, error_size);
	if (err)
		return err;
	if (other) {
		SAY("there is a device %s already (%s): choose another name", spec->name,
		    other->spec.address);
		return -EEXIST;
	}
	other = strcmp(spec->address, "virtual") ? mgr_device_at(mgr, spec->address) : NULL;
	if (other) {
		if (!other->spec.name[0])
			SAY("%s is being attached already", spec->address);
		else if (other->host)
			SAY("%s is %s already", spec->address, other->spec.name);
		else
			SAY("%s is %s already, which is %s: 'auriga restart %s' starts it",
			    spec->address, other->spec.name, mgr_device_state(other),
			    other->spec.name);
		return -EBUSY;
	}
	return 0;
}

int mgr_device_create(struct mgr *mgr, struct mgr_spec *spec, bool by_path,
		      struct mgr_device **result, char *error, size_t error_size)
{
	struct mgr_device *dev;
	int err = attach_check(mgr, spec, error, error_size);

	if (err)
		return err;
	dev = calloc(1, sizeof(*dev));
	if (!dev) {
		SAY("out of memory");
		return -ENOMEM;
	}
	dev->mgr = mgr;
	dev->spec = *spec;
	dev->ids.virtual_device = !strcmp(spec->address, "virtual");
	dev->held = spec->policy.hold;
	mgr_module_init(&dev->module);
	dev->state_fd = dev->retained_fd = dev->claim_fd = dev->host_listen_fd = -1;
	dev->look.watch = -1;
	for (unsigned int i = 0; i < AU_BUS_FDS; i++)
		dev->session.fds[i] = -1;
	dev->since_wall_ms = mgr_wall_ms();
	au_list_init(&dev->node);
	au_list_init(&dev->clients);
	au_list_init(&dev->channels);
	au_list_init(&dev->calls);
	mgr_budget_init(&dev->budget);
	mgr_device_timers(dev);
	mgr_power_init(dev);
	err = mgr_device_uid(dev, error, error_size);
	if (!err)
		err = attach_driver(dev, by_path, error, error_size);
	if (!err && dev->spec.name[0] && !dev->listener)
		err = mgr_listeners_open(dev, error, error_size);
	if (err) {
		dev->spec.param_count = 0; /* the caller's still */
		mgr_device_free(dev);
		return err;
	}
	au_list_add_tail(&mgr->devices, &dev->node);
	memset(spec, 0, sizeof(*spec));
	*result = dev;
	return 0;
}

void mgr_device_free(struct mgr_device *dev)
{
	mgr_listeners_close(dev);
	mgr_clients_free(dev);
	mgr_close(&dev->claim_fd);
	mgr_close(&dev->host_listen_fd);
	mgr_close_session(dev->session.fds);
	mgr_close(&dev->state_fd);
	mgr_close(&dev->retained_fd);
	mgr_open_cancel(dev->open_job);
	mgr_pnp_stop(dev);
	au_loop_timer_cancel(&dev->deadline);
	au_loop_timer_cancel(&dev->retry);
	au_loop_timer_cancel(&dev->idle);
	au_loop_timer_cancel(&dev->save);
	au_loop_timer_cancel(&dev->power.due);
	au_loop_timer_cancel(&dev->leave);
	mgr_upgrade_end(dev, "it is detached");
	mgr_module_clear(&dev->module);
	mgr_spec_clear(&dev->spec);
	json_decref(dev->layers);
	json_decref(dev->evidence);
	mgr_trace_forget(dev);
	au_list_remove(&dev->node);
	free(dev);
}
