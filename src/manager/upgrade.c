/* SPDX-License-Identifier: MIT */
#include "manager/upgrade.h"

#include "manager/clients.h"
#include "manager/control.h"
#include "manager/device.h"
#include "manager/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAY(...) snprintf(error, error_size, __VA_ARGS__)

enum upgrade_phase {
	UPGRADE_DRAIN, /* the old host goes down */
	UPGRADE_START, /* the new one comes up */
	UPGRADE_TRY,   /* it serves, and may still be sent back */
	UPGRADE_BACK,  /* the old module comes up again */
};

/**
 * struct mgr_upgrade - an upgrade under way.
 * @other: the module that is not the device's: first the new one, then the old one.
 * @retained_fd, ...: what the old driver has retained, if the new one has another layout.
 * @why: what was wrong with the new one.
 */
struct mgr_upgrade {
	struct mgr_device *dev;
	enum upgrade_phase phase;
	struct mgr_module other;
	bool other_given;
	uint32_t drain_ms;
	uint64_t begun_ns, stopped_ns, ready_ns;
	int retained_fd;
	uint32_t retained_version;
	uint64_t retained_bytes;
	bool retained_kept;
	char why[MGR_TEXT];
	struct au_loop_timer trial;
};

uint32_t mgr_upgrade_drain_ms(const struct mgr_device *dev)
{
	return dev->upgrade && dev->upgrade->phase == UPGRADE_DRAIN ? dev->upgrade->drain_ms : 0;
}

static void upgrade_free(struct mgr_device *dev)
{
	struct mgr_upgrade *up = dev->upgrade;

	dev->upgrade = NULL;
	au_loop_timer_cancel(&up->trial);
	mgr_module_clear(&up->other);
	mgr_close(&up->retained_fd);
	free(up);
}

/* ------------------------------------------------------------------- the answer */

json_t *mgr_upgrade_json(const struct mgr_device *dev)
{
	const struct mgr_upgraded *last = &dev->upgraded;
	json_t *o;

	if (!last->count)
		return NULL;
	o = json_pack("{s:i s:s s:s s:s s:o s:I s:I s:I s:I}", "count", (int)last->count, "result",
		      last->result, "from", last->from, "to", last->to, "path",
		      mgr_json_string(last->path), "time_ms", (json_int_t)last->wall_ms,
		      "drained_us", (json_int_t)last->drained_us, "ready_us",
		      (json_int_t)last->ready_us, "paused_us", (json_int_t)last->paused_us);
	if (o && last->why[0])
		json_object_set_new(o, "why", mgr_json_string(last->why));
	return o;
}

/* Whoever waits for the end of it. @error: 0, or what it ended with. */
static void upgrade_answer(struct mgr_device *dev, int error, const char *text)
{
	au_list_for_each_safe (node, &dev->calls) {
		struct mgr_call *call = AU_CONTAINER(node, struct mgr_call, node);
		json_t *o;

		if (call->wait != MGR_WAIT_UPGRADE)
			continue;
		if (error) {
			mgr_call_error(call, error, "%s", text);
			continue;
		}
		o = mgr_upgrade_json(dev);
		json_object_set_new(o, "name", json_string(dev->spec.name));
		json_object_set_new(o, "driver", json_string(dev->driver_name));
		mgr_call_answer(call, 200, o);
	}
}

static uint64_t upgrade_us(uint64_t from_ns, uint64_t to_ns)
{
	return from_ns && to_ns > from_ns ? (to_ns - from_ns) / 1000 : 0;
}

static void upgrade_note(struct mgr_device *dev, const char *result)
{
	const struct mgr_upgrade *up = dev->upgrade;
	struct mgr_upgraded *last = &dev->upgraded;
	uint64_t now = au_monotonic_ns();

	snprintf(last->result, sizeof(last->result), "%s", result);
	memcpy(last->why, up->why, sizeof(last->why));
	last->wall_ms = mgr_wall_ms();
	last->drained_us = upgrade_us(up->begun_ns, up->stopped_ns);
	last->ready_us = upgrade_us(up->begun_ns, up->ready_ns);
	last->paused_us = upgrade_us(up->begun_ns, now);
}

/* --------------------------------------------------------------------- choosing */

/* What would be chosen if the device were attached now. */
static int upgrade_choose(struct mgr_device *dev, char *path, char *error, size_t error_size)
{
	if (strchr(dev->spec.driver, '/')) {
		memcpy(path, dev->spec.driver, sizeof(dev->spec.driver));
		return 0;
	}
	return mgr_device_choose(dev, path, error, error_size);
}

/* The new driver gets the old one's memory, or there is none to get. */
static int upgrade_check_retained(const struct mgr_device *dev, const struct au_note *note,
				  bool fresh, char *error, size_t error_size)
{
	if (fresh || dev->retained_fd < 0 ||
	    (dev->retained_version == note->retain_version &&
	     dev->retained_bytes == note->retain_bytes))
		return 0;
	SAY("%s retains %llu bytes (version %u), the new driver takes %llu (version %u): --fresh "
	    "gives up what is retained",
	    dev->spec.name, (unsigned long long)dev->retained_bytes, dev->retained_version,
	    (unsigned long long)note->retain_bytes, note->retain_version);
	return -EINVAL;
}

static int upgrade_check(struct mgr_device *dev, const struct mgr_upgrade_wish *wish,
			 const struct mgr_module *module, char *error, size_t error_size)
{
	struct au_note note;
	int err;

	if (dev->note.cls[0] && strcmp(dev->note.cls, module->note.cls)) {
		SAY("%.150s is a driver of class %s, and %s is of class %s: detach it, and attach "
		    "it with that driver",
		    module->path, module->note.cls, dev->spec.name, dev->note.cls);
		return -EINVAL;
	}
	err = mgr_device_fits(dev, module, &note, error, error_size);
	return err ? err : upgrade_check_retained(dev, &note, wish->fresh, error, error_size);
}

static const char *upgrade_not_now(const struct mgr_device *dev)
{
	if (dev->upgrade && dev->upgrade->phase != UPGRADE_TRY)
		return "its driver is being replaced already";
	if (dev->held)
		return "it is held for debugging: 'auriga hold --off' first";
	switch (dev->state) {
	case MGR_STARTING:
	case MGR_STOPPING:
	case MGR_DETACHED:
		return "try again when it is up";
	case MGR_RESTARTING:
		return dev->host || dev->open_job ? "try again when it is up" : NULL;
	default:
		return NULL;
	}
}

/* -------------------------------------------------------------------- exchanging */

/* The device's module becomes the other one, and the other way round. */
static int upgrade_exchange(struct mgr_device *dev, char *error, size_t error_size)
{
	struct mgr_upgrade *up = dev->upgrade;
	struct mgr_module old = dev->module;
	bool given = dev->module_given;
	int err;

	mgr_module_init(&dev->module);
	err = mgr_device_set_module(dev, &up->other, error, error_size);
	if (err) {
		dev->module = old;
		return err;
	}
	dev->module_given = up->other_given;
	up->other = old;
	up->other_given = given;
	return 0;
}

/* Memory of another layout waits for the old driver, in case it comes back. */
static void upgrade_keep_retained(struct mgr_device *dev)
{
	struct mgr_upgrade *up = dev->upgrade;

	if (dev->retained_fd < 0 || (dev->retained_version == dev->note.retain_version &&
				     dev->retained_bytes == dev->note.retain_bytes))
		return;
	up->retained_fd = dev->retained_fd;
	up->retained_version = dev->retained_version;
	up->retained_bytes = dev->retained_bytes;
	up->retained_kept = true;
	dev->retained_fd = -1;
}

static void upgrade_return_retained(struct mgr_device *dev)
{
	struct mgr_upgrade *up = dev->upgrade;

	if (!up->retained_kept)
		return;
	mgr_close(&dev->retained_fd);
	dev->retained_fd = up->retained_fd;
	dev->retained_version = up->retained_version;
	dev->retained_bytes = up->retained_bytes;
	dev->retained_fresh = false;
	up->retained_fd = -1;
	up->retained_kept = false;
}

/* Start the next host, with whatever the device's module is now. */
static void upgrade_begin_host(struct mgr_device *dev, uint32_t deadline_ms, const char *text)
{
	memset(&dev->current, 0, sizeof(dev->current));
	/* What clients have on its way through the device is as good as after a death. */
	dev->from_failed = dev->client_count > 0 && !dev->removed;
	dev->refused[0] = 0;
	dev->restarts++;
	mgr_device_set(dev, MGR_RESTARTING, "%s", text);
	mgr_device_begin(dev);
	if (dev->state == MGR_RESTARTING && au_loop_timer_is_set(&dev->deadline))
		au_loop_timer_set(dev->mgr->loop, &dev->deadline, deadline_ms);
}

static void upgrade_tried(struct au_loop_timer *timer)
{
	struct mgr_upgrade *up = timer->context;

	upgrade_free(up->dev);
}

int mgr_upgrade_begin(struct mgr_device *dev, const struct mgr_upgrade_wish *wish, bool *later,
		      char *error, size_t error_size)
{
	const char *not_now = upgrade_not_now(dev);
	struct mgr_upgraded *last = &dev->upgraded;
	char path[AU_PATH_MAX], text[MGR_TEXT];
	struct mgr_upgrade *up;
	struct mgr_module module;
	int err = 0;

	*later = false;
	if (not_now) {
		SAY("%s: %s", dev->spec.name, not_now);
		return -EBUSY;
	}
	if (wish->path[0])
		memcpy(path, wish->path, sizeof(path));
	else
		err = upgrade_choose(dev, path, error, error_size);
	if (!err)
		err = mgr_module_read(&dev->mgr->drivers.trust, path, NULL, &module, error,
				      error_size);
	if (err)
		return err;
	err = upgrade_check(dev, wish, &module, error, error_size);
	if (!err && dev->upgrade)
		upgrade_free(dev); /* it was on trial, and passes for good */
	if (!err && dev->state != MGR_RUNNING) {
		err = mgr_device_set_module(dev, &module, error, error_size);
		dev->module_given = !err && wish->path[0];
		mgr_module_clear(&module);
		au_loop_timer_set(dev->mgr->loop, &dev->save, 1);
		return err;
	}
	up = err ? NULL : calloc(1, sizeof(*up));
	if (!up) {
		mgr_module_clear(&module);
		if (!err)
			SAY("out of memory");
		return err ? err : -ENOMEM;
	}
	dev->upgrade = up;
	up->dev = dev;
	up->other = module;
	up->other_given = wish->path[0];
	up->drain_ms = wish->drain_ms;
	up->begun_ns = au_monotonic_ns();
	up->retained_fd = -1;
	up->trial.expired = upgrade_tried;
	up->trial.context = up;
	last->count++;
	snprintf(last->from, sizeof(last->from), "%s", dev->note.version);
	snprintf(last->to, sizeof(last->to), "%s", module.note.version);
	memcpy(last->path, module.path, sizeof(last->path));
	snprintf(last->result, sizeof(last->result), "under way");
	last->why[0] = 0;
	snprintf(text, sizeof(text), "%s %s is replaced by %s %s", dev->driver_name,
		 dev->note.version, module.note.name, module.note.version);
	mgr_channels_hold(dev);
	mgr_device_stop(dev, MGR_AFTER_UPGRADE, text);
	*later = true;
	return 0;
}

/* Whether there is a better one than what it has; @path gets it. */
static bool upgrade_better(struct mgr_device *dev, char *path)
{
	char error[AU_PATH_MAX + MGR_TEXT];

	/* Nor is what did not do tried again by itself. */
	if (dev->spec.policy.upgrade == MGR_UPGRADE_NEVER || dev->module_given ||
	    dev->module_pinned || strchr(dev->spec.driver, '/') || !dev->driver_path[0] ||
	    (!dev->spec.driver[0] && !dev->ids_known) ||
	    mgr_device_choose(dev, path, error, sizeof(error)))
		return false;
	return strcmp(path, dev->driver_path) || mgr_module_changed(&dev->module);
}

json_t *mgr_upgrade_offer(struct mgr *mgr)
{
	json_t *list = json_array();

	au_list_for_each_safe (node, &mgr->devices) {
		struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);
		const struct mgr_upgrade_wish wish = { .drain_ms = MGR_DRAIN_MS };
		char path[AU_PATH_MAX], error[AU_PATH_MAX + MGR_TEXT];
		bool later;

		if (!upgrade_better(dev, path) ||
		    (dev->client_count && dev->spec.policy.upgrade != MGR_UPGRADE_LIVE))
			continue;
		if (mgr_upgrade_begin(dev, &wish, &later, error, sizeof(error)))
			au_logf(AU_LOG_WARN, "%s: stays with %s %s: %s", dev->spec.name,
				dev->driver_name, dev->note.version, error);
		else
			json_array_append_new(list, json_string(dev->spec.name));
	}
	return list;
}

void mgr_upgrade_renew(struct mgr_device *dev)
{
	char path[AU_PATH_MAX], error[AU_PATH_MAX + MGR_TEXT];
	const struct mgr_upgrade_wish wish = { .fresh = !dev->client_count };
	struct mgr_module module;
	int err;

	if (!upgrade_better(dev, path) || !strcmp(path, dev->driver_path))
		return; /* the same file is looked at anyway */
	err = mgr_module_read(&dev->mgr->drivers.trust, path, NULL, &module, error, sizeof(error));
	if (!err)
		err = upgrade_check(dev, &wish, &module, error, sizeof(error));
	if (!err)
		err = mgr_device_set_module(dev, &module, error, sizeof(error));
	mgr_module_clear(&module);
	if (err)
		au_logf(AU_LOG_WARN, "%s: stays with %s %s: %s", dev->spec.name, dev->driver_name,
			dev->note.version, error);
	else
		au_logf(AU_LOG_INFO, "%s: gets %s %s", dev->spec.name, dev->driver_name,
			dev->note.version);
}

void mgr_upgrade_stopped(struct mgr_device *dev)
{
	struct mgr_upgrade *up = dev->upgrade;
	char error[MGR_TEXT], text[MGR_TEXT];

	up->stopped_ns = au_monotonic_ns();
	up->phase = UPGRADE_START;
	if (upgrade_exchange(dev, error, sizeof(error))) { /* it was checked before */
		snprintf(up->why, sizeof(up->why), "%s", error);
		up->phase = UPGRADE_BACK;
		upgrade_begin_host(dev, MGR_START_MS, "its driver cannot be replaced");
		return;
	}
	upgrade_keep_retained(dev);
	memcpy(text, dev->reason, sizeof(text)); /* which it becomes again */
	upgrade_begin_host(dev, MGR_UPGRADE_MS, text);
}

/* Null, or a unit that clients have open and that is not there any more. */
static const struct mgr_channel *upgrade_missing(const struct mgr_device *dev)
{
	au_list_for_each (node, &dev->channels) {
		const struct mgr_channel *ch = AU_CONTAINER(node, struct mgr_channel, node);

		/* Who has been told that it is gone does not miss it in the next driver. */
		if (!ch->closing && ch->client && !ch->client->parted &&
		    !dev->units[ch->unit].present)
			return ch;
	}
	return NULL;
}

bool mgr_upgrade_ready(struct mgr_device *dev)
{
	struct mgr_upgrade *up = dev->upgrade;
	const struct mgr_channel *missing;

	if (!up || up->phase != UPGRADE_START)
		return true;
	up->ready_ns = au_monotonic_ns();
	missing = upgrade_missing(dev);
	return !missing || !mgr_upgrade_lacks(dev, missing->unit);
}

bool mgr_upgrade_lacks(struct mgr_device *dev, unsigned int unit)
{
	const struct mgr_upgrade *up = dev->upgrade;

	if (!up || up->phase != UPGRADE_START)
		return false;
	snprintf(dev->refused, sizeof(dev->refused),
		 "%s %s has no unit %u, which a client has open", dev->driver_name,
		 dev->note.version, unit);
	dev->error = -ENXIO;
	mgr_host_kill(dev->host, MGR_VERDICT_NONE, "%s", "");
	return true;
}

void mgr_upgrade_serving(struct mgr_device *dev)
{
	struct mgr_upgrade *up = dev->upgrade;
	char text[MGR_TEXT * 2];

	if (up && up->phase == UPGRADE_START) {
		upgrade_note(dev, "replaced");
		up->phase = UPGRADE_TRY;
		au_loop_timer_set(dev->mgr->loop, &up->trial, MGR_UPGRADE_TRY_MS);
		au_loop_timer_set(dev->mgr->loop, &dev->save, 1);
		upgrade_answer(dev, 0, "");
	} else if (up && up->phase == UPGRADE_BACK) {
		upgrade_note(dev, "rolled back");
		snprintf(text, sizeof(text), "%s runs %s %s again: %s", dev->spec.name,
			 dev->driver_name, dev->note.version, up->why);
		upgrade_answer(dev, -EIO, text);
		upgrade_free(dev);
	}
}

bool mgr_upgrade_failed(struct mgr_device *dev, const char *text)
{
	struct mgr_upgrade *up = dev->upgrade;
	char error[MGR_TEXT], line[MGR_TEXT];

	if (!up || (up->phase != UPGRADE_START && up->phase != UPGRADE_TRY))
		return false;
	snprintf(up->why, sizeof(up->why), "%s", text);
	au_logf(AU_LOG_WARN, "%s: %s %s is taken back: %s", dev->spec.name, dev->driver_name,
		dev->note.version, text);
	au_loop_timer_cancel(&up->trial);
	up->phase = UPGRADE_BACK;
	if (upgrade_exchange(dev, error, sizeof(error))) {
		au_logf(AU_LOG_ERROR, "%s: its old driver cannot be put back: %s", dev->spec.name,
			error);
		return false;
	}
	upgrade_return_retained(dev);
	/* Its file may have been the one that was replaced by what has just failed. */
	dev->module_pinned = true;
	snprintf(line, sizeof(line), "back to %s %s: %.200s", dev->driver_name, dev->note.version,
		 text);
	upgrade_begin_host(dev, MGR_START_MS, line);
	return true;
}

void mgr_upgrade_end(struct mgr_device *dev, const char *why)
{
	struct mgr_upgrade *up = dev->upgrade;
	char text[MGR_TEXT];

	if (!up)
		return;
	if (up->phase != UPGRADE_TRY) {
		upgrade_note(dev, "given up");
		snprintf(text, sizeof(text), "%s: its driver is not replaced: %.200s",
			 dev->spec.name, why);
		upgrade_answer(dev, -ECANCELED, text);
	}
	upgrade_free(dev);
}
