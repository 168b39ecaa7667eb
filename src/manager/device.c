/* SPDX-License-Identifier: MIT */
/*
 * The life of a device: who wants it up, how it comes up, what follows when it goes down. Every
 * change of state is made here, by device_state(), and is kept in a history.
 */
#include "base/claim.h"
#include "base/cleanup.h"
#include "manager/json.h"
#include "manager/manager.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DEVICE_REJOIN_MS 300 /* for clients to come back, before a host starts without them */

static void device_begin(struct mgr_device *dev);
static void device_stopped(struct mgr_device *dev);

static const char *const state_names[] = {
	[MGR_CONFIGURED] = "configured",
	[MGR_STARTING] = "starting",
	[MGR_RUNNING] = "running",
	[MGR_STOPPING] = "stopping",
	[MGR_IDLE] = "idle",
	[MGR_RESTARTING] = "restarting",
	[MGR_QUARANTINED] = "quarantined",
	[MGR_GONE] = "gone",
	[MGR_DETACHED] = "detached",
};

const char *mgr_state_name(enum mgr_state state)
{
	return state_names[state];
}

const char *mgr_device_state(const struct mgr_device *dev)
{
	return dev->held && dev->state == MGR_RUNNING ? "held" : state_names[dev->state];
}

int64_t mgr_wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct mgr_device *mgr_device_find(struct mgr *mgr, const char *name)
{
	au_list_for_each (node, &mgr->devices) {
		struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);

		if (name[0] && !strcmp(dev->spec.name, name))
			return dev;
	}
	return NULL;
}

struct mgr_device *mgr_device_at(struct mgr *mgr, const char *address)
{
	au_list_for_each (node, &mgr->devices) {
		struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);

		if (!strcmp(dev->spec.address, address))
			return dev;
	}
	return NULL;
}

static void device_saved(struct au_loop_timer *timer)
{
	mgr_state_save(timer->context);
}

static void __attribute__((format(printf, 3, 4)))
device_state(struct mgr_device *dev, enum mgr_state state, const char *fmt, ...)
{
	struct mgr_history *h = &dev->history[dev->history_count++ % MGR_HISTORY];
	va_list args;

	va_start(args, fmt);
	vsnprintf(dev->reason, sizeof(dev->reason), fmt, args);
	va_end(args);
	dev->state = state;
	dev->since_wall_ms = mgr_wall_ms();
	h->wall_ms = dev->since_wall_ms;
	h->generation = dev->generation;
	h->state = state;
	snprintf(h->reason, sizeof(h->reason), "%.119s", dev->reason);
	au_logf(state == MGR_QUARANTINED ? AU_LOG_ERROR : AU_LOG_INFO, "%s: %s%s%s",
		dev->spec.name[0] ? dev->spec.name : dev->spec.address, state_names[state],
		dev->reason[0] ? ": " : "", dev->reason);
	/* Not now: a restart has better things to do first. */
	au_loop_timer_set(dev->mgr->loop, &dev->save, 1);
	mgr_calls_settle(dev);
}

/* --------------------------------------------------------- what it lives on */

static void device_release(struct mgr_device *dev)
{
	char path[AU_PATH_MAX];
	char name[48], error[MGR_TEXT];

	mgr_close(&dev->claim_fd);
	mgr_close(&dev->host_listen_fd);
	snprintf(name, sizeof(name), "hosts/%s", dev->spec.name);
	if (dev->spec.name[0] && !au_runtime_path(dev->mgr->dir, name, path, error, sizeof(error)))
		unlink(path);
	mgr_close(&dev->session.fd);
	dev->session_ready = false;
}

static int device_claim(struct mgr_device *dev, char *error, size_t size)
{
	char who[64];
	int fd;

	if (dev->claim_fd >= 0 || dev->ids.virtual_device)
		return 0;
	snprintf(who, sizeof(who), "aurigad%s%s", dev->spec.name[0] ? " " : "", dev->spec.name);
	fd = au_claim(dev->mgr->dir, dev->spec.address, who, error, size);
	if (fd < 0)
		return fd;
	dev->claim_fd = fd;
	return 0;
}

/* Memory that outlives hosts: class state, and what the driver wants retained. */
static int device_memory(struct mgr_device *dev, char *error, size_t size)
{
	int fd;

	/* A host that was never ready may have written to what the next one takes for new. */
	if (dev->state_fresh)
		mgr_close(&dev->state_fd);
	if (dev->retained_fresh)
		mgr_close(&dev->retained_fd);
	if (dev->state_fd < 0) {
		fd = au_memfd_sealed("auriga-state", AU_STATE_SIZE);
		if (fd < 0)
			goto failed;
		dev->state_fd = fd;
		dev->state_fresh = true;
	}
	if (dev->retained_fd >= 0 && (dev->retained_version != dev->note.retain_version ||
				      dev->retained_bytes != dev->note.retain_bytes))
		mgr_close(&dev->retained_fd);
	if (dev->retained_fd < 0 && dev->note.retain_bytes) {
		fd = au_memfd_sealed("auriga-retained", dev->note.retain_bytes);
		if (fd < 0)
			goto failed;
		dev->retained_fd = fd;
		dev->retained_fresh = true;
		dev->retained_version = dev->note.retain_version;
		dev->retained_bytes = dev->note.retain_bytes;
	}
	return 0;
failed:
	snprintf(error, size, "no memory for it: %s", strerror(-fd));
	return fd;
}

/* Where a new manager will find the host. Bound by us: the host sees no file system. */
static int device_host_socket(struct mgr_device *dev, char *error, size_t size)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char path[AU_PATH_MAX], name[48];
	AU_CLEANUP_FD int fd = -1;
	int err;

	if (dev->host_listen_fd >= 0)
		return 0;
	snprintf(name, sizeof(name), "hosts/%s", dev->spec.name);
	err = au_runtime_path(dev->mgr->dir, name, path, error, size);
	if (!err)
		err = au_socket_path_check(path, error, size);
	if (err)
		return err;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	unlink(path);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 4)) {
		err = -errno;
		snprintf(error, size, "%s: %s", path, strerror(-err));
		return err;
	}
	dev->host_listen_fd = au_take_fd(&fd);
	return 0;
}

/* ------------------------------------------------------------------- coming up */

static bool device_coming_up(const struct mgr_device *dev)
{
	return dev->state == MGR_STARTING || dev->state == MGR_RESTARTING;
}

/* A host that the device does not wait for any more: it never had anything of the device. */
static void device_drop_host(struct mgr_device *dev)
{
	struct mgr_host *host = dev->host;

	if (!host)
		return;
	dev->host = NULL;
	mgr_host_kill(host, MGR_VERDICT_NONE, "%s", "");
	host->dev = NULL;
	au_watch_remove(&host->control_watch);
	au_list_add_tail(&dev->mgr->dying, &host->node);
}

static void device_forgotten(struct au_loop_timer *timer)
{
	mgr_device_free(timer->context);
}

/* The next manager goes on counting where this one stops. */
static void device_leave(struct mgr_device *dev)
{
	dev->state = MGR_IDLE;
	mgr_state_save(dev);
}

/* It is gone for everybody at once; its memory when nobody can be in the middle of using it. */
static void device_forget(struct mgr_device *dev)
{
	if (dev->mgr->stopping && dev->from_config)
		device_leave(dev);
	device_state(dev, MGR_DETACHED, "%s", dev->reason);
	dev->forgotten = true;
	mgr_calls_settle(dev);
	au_list_remove(&dev->node);
	mgr_listeners_close(dev);
	mgr_clients_free(dev);
	device_release(dev);
	au_loop_timer_cancel(&dev->save);
	if (!dev->mgr->stopping || !dev->from_config)
		mgr_state_remove(dev);
	dev->retry.expired = device_forgotten;
	au_loop_timer_set(dev->mgr->loop, &dev->retry, 0);
	mgr_standby_check(dev->mgr);
	mgr_going_down(dev->mgr);
}

static void device_quarantine(struct mgr_device *dev, const char *text)
{
	char line[MGR_TEXT + 64];

	au_loop_timer_cancel(&dev->deadline);
	device_release(dev);
	dev->provisional = false;
	dev->error = -EIO;
	device_state(dev, MGR_QUARANTINED, "%s", text);
	snprintf(line, sizeof(line), "%s is quarantined: %s", dev->spec.name, text);
	mgr_clients_refuse(dev, -EIO, line);
}

/* It failed, and there is nothing left of its host: start again, later, or never. */
static void device_failed(struct mgr_device *dev, bool charge, const char *text)
{
	uint32_t delay_ms;

	dev->from_failed = true;
	if (!mgr_budget_failure(&dev->budget, charge, &delay_ms)) {
		device_quarantine(dev, text);
		return;
	}
	dev->restarts++;
	device_state(dev, MGR_RESTARTING, "%s", text);
	if (delay_ms)
		au_loop_timer_set(dev->mgr->loop, &dev->retry, delay_ms);
	else
		device_begin(dev);
}

/*
 * The start was refused, in order: wrong parameters, no server, a device that is not there. The
 * first start is given up at once, for somebody waits for the answer; a restart is tried again.
 */
void mgr_device_start_failed(struct mgr_device *dev, int error, const char *text)
{
	char line[MGR_TEXT];

	snprintf(line, sizeof(line), "%s", text); /* may be in what is released now */
	au_loop_timer_cancel(&dev->deadline);
	device_drop_host(dev);
	mgr_open_cancel(dev->open_job);
	dev->open_job = NULL;
	mgr_close(&dev->session.fd);
	dev->session_ready = false;
	dev->error = error;
	if (dev->state == MGR_RESTARTING) {
		device_failed(dev, true, line);
		return;
	}
	device_release(dev);
	device_state(dev, MGR_CONFIGURED, "%s", line);
	mgr_clients_refuse(dev, error, line);
	if (dev->provisional)
		device_forget(dev);
}

/* Everything is there: tell the host. */
static void device_go(struct mgr_device *dev)
{
	bool hardware = !dev->ids.virtual_device;
	char error[MGR_TEXT], who[48];
	int err;

	if (!dev->host || dev->host->state != MGR_HOST_SPAWNED || !dev->session_ready)
		return;
	err = mgr_host_start(dev->host, hardware ? &dev->session.session : NULL, dev->session.fd,
			     error, sizeof(error));
	if (err) {
		mgr_device_start_failed(dev, err, error);
		return;
	}
	/* The host has it now, alone: when it dies, the server sees the end of the stream. */
	mgr_close(&dev->session.fd);
	dev->current.started_ns = au_monotonic_ns();
	mgr_channels_reopen(dev);
	if (dev->claim_fd >= 0) {
		snprintf(who, sizeof(who), "auriga-host %s", dev->spec.name);
		au_claim_update(dev->claim_fd, (int)dev->host->pid, who);
	}
}

static int device_spawn(struct mgr_device *dev, char *error, size_t size)
{
	int err = device_memory(dev, error, size);

	if (!err)
		err = mgr_device_uid(dev, error, size);
	if (!err)
		err = device_host_socket(dev, error, size);
	if (!err)
		err = mgr_host_spawn(dev, &dev->host, error, size);
	if (err)
		return err;
	dev->current.spawned_ns = au_monotonic_ns();
	/* A manager that comes after us must know this process. */
	mgr_state_save(dev);
	return 0;
}

/* What the device is decides which driver runs it. */
static int device_identify(struct mgr_device *dev, char *error, size_t size)
{
	AU_CLEANUP_FREE struct mgr_candidate *candidates = NULL;
	int fit;

	mgr_drivers_scan(&dev->mgr->drivers);
	fit = mgr_match(&dev->mgr->drivers, &dev->ids, &candidates);
	if (fit <= 0) {
		snprintf(
			error, size,
			"%s: no driver fits PCI %04x:%04x, class %06x: 'auriga why %.60s' says why",
			dev->spec.address, dev->ids.vendor, dev->ids.device, dev->ids.class_code,
			dev->spec.address);
		return -ENOENT;
	}
	return mgr_device_set_driver(dev, candidates[0].driver->path, error, size);
}

static void device_session(void *context, struct mgr_open_result *result)
{
	struct mgr_device *dev = context;
	char error[MGR_TEXT];
	int err = 0;

	dev->open_job = NULL;
	if (result->fd < 0) {
		mgr_device_start_failed(dev, result->fd, result->error);
		return;
	}
	mgr_close(&dev->session.fd);
	dev->session = *result;
	result->fd = -1;
	dev->session_ready = true;
	dev->current.session_ns = au_monotonic_ns();
	dev->ids.vendor = (uint16_t)(dev->session.session.vendor_device >> 16);
	dev->ids.device = (uint16_t)dev->session.session.vendor_device;
	dev->ids.class_code = dev->session.session.class_code;
	dev->ids_known = true;
	if (!dev->driver_path[0])
		err = device_identify(dev, error, sizeof(error));
	if (!err && !dev->host)
		err = device_spawn(dev, error, sizeof(error));
	if (err)
		mgr_device_start_failed(dev, err, error);
	else
		device_go(dev);
}

/* Start: the session and the host at the same time. */
static void device_begin(struct mgr_device *dev)
{
	char error[MGR_TEXT] = "";
	int err;

	dev->generation++;
	dev->error = 0;
	dev->refused[0] = 0;
	dev->current.generation = dev->generation;
	au_loop_timer_set(dev->mgr->loop, &dev->deadline, MGR_START_MS);
	err = device_claim(dev, error, sizeof(error));
	if (!err && !dev->ids.virtual_device) {
		dev->session_ready = false;
		dev->open_job = mgr_open_start(dev->mgr, dev->spec.address, device_session, dev);
		if (!dev->open_job) {
			err = -ENOMEM;
			snprintf(error, sizeof(error), "no thread to open %s", dev->spec.address);
		}
	} else {
		dev->session_ready = true;
	}
	if (!err && dev->driver_path[0])
		err = device_spawn(dev, error, sizeof(error));
	if (err)
		mgr_device_start_failed(dev, err, error);
	else
		device_go(dev);
}

static void device_retry(struct au_loop_timer *timer)
{
	device_begin(timer->context);
}

void mgr_device_want(struct mgr_device *dev)
{
	switch (dev->state) {
	case MGR_CONFIGURED:
	case MGR_IDLE:
	case MGR_GONE:
		memset(&dev->current, 0, sizeof(dev->current));
		device_state(dev, MGR_STARTING, "%s", "");
		device_begin(dev);
		break;
	default:
		/* It comes up, or will when it is down; or it is refused by whoever asked. */
		break;
	}
}

/* ------------------------------------------------------------------- going down */

static void device_stop(struct mgr_device *dev, enum mgr_after after, const char *reason)
{
	struct au_msg_head stop = { .type = AU_HM_STOP };
	struct mgr_host *host;

	dev->after = after;
	au_loop_timer_cancel(&dev->retry);
	au_loop_timer_cancel(&dev->idle);
	au_loop_timer_cancel(&dev->deadline);
	mgr_open_cancel(dev->open_job);
	dev->open_job = NULL;
	if (dev->host && dev->host->state == MGR_HOST_SPAWNED)
		device_drop_host(dev);
	device_state(dev, MGR_STOPPING, "%s", reason);
	host = dev->host;
	if (!host) {
		device_stopped(dev);
		return;
	}
	if (host->state == MGR_HOST_STARTING ||
	    (host->state == MGR_HOST_READY &&
	     mgr_host_send(host, &stop, sizeof(stop), NULL, 0) != 0))
		mgr_host_kill(host, MGR_VERDICT_NONE, "%s", "");
	else if (host->state == MGR_HOST_READY)
		host->state = MGR_HOST_STOPPING;
	au_loop_timer_set(dev->mgr->loop, &dev->deadline, MGR_STOP_MS);
}

static void device_stopped(struct mgr_device *dev)
{
	mgr_channels_down(dev, false);
	mgr_close(&dev->session.fd);
	dev->session_ready = false;
	dev->from_failed = false;
	switch (dev->after) {
	case MGR_AFTER_IDLE:
		device_release(dev);
		device_state(dev, MGR_IDLE, "%s", dev->reason);
		if (dev->client_count)
			mgr_device_want(dev);
		break;
	case MGR_AFTER_RESTART:
		memset(&dev->current, 0, sizeof(dev->current));
		dev->restarts++;
		device_state(dev, MGR_RESTARTING, "restart was asked for");
		device_begin(dev);
		break;
	case MGR_AFTER_GONE:
		device_release(dev);
		dev->error = -ENODEV;
		device_state(dev, MGR_GONE, "the device was removed");
		break;
	case MGR_AFTER_DETACH:
		device_forget(dev);
		break;
	}
}

static void device_deadline(struct au_loop_timer *timer)
{
	struct mgr_device *dev = timer->context;
	struct mgr_host *host = dev->host;

	if (dev->held && dev->state != MGR_STOPPING) {
		au_loop_timer_set(dev->mgr->loop, &dev->deadline, MGR_START_MS);
		return;
	}
	if (dev->state == MGR_STOPPING && host) {
		au_logf(AU_LOG_WARN, "%s: its host (pid %d) did not stop within %d s: killed",
			dev->spec.name, (int)host->pid, MGR_STOP_MS / 1000);
		mgr_host_kill(host, MGR_VERDICT_NONE, "%s", "");
	} else if (device_coming_up(dev) && host && host->state == MGR_HOST_STARTING) {
		mgr_host_kill(host, MGR_VERDICT_START, "it did not say in time that it is up");
	} else if (device_coming_up(dev) && !(host && host->state == MGR_HOST_KILLED)) {
		mgr_device_start_failed(dev, -ETIMEDOUT, "the device did not answer in time");
	}
}

static void device_idle(struct au_loop_timer *timer)
{
	struct mgr_device *dev = timer->context;

	if (dev->state == MGR_RUNNING && !dev->held)
		device_stop(dev, MGR_AFTER_IDLE, "nobody has it open");
}

void mgr_device_idle_check(struct mgr_device *dev)
{
	if (dev->state == MGR_RUNNING && !dev->client_count && !dev->held &&
	    !mgr_channels_awaited(dev) && dev->spec.policy.idle_ms)
		au_loop_timer_set(dev->mgr->loop, &dev->idle, dev->spec.policy.idle_ms);
	else
		au_loop_timer_cancel(&dev->idle);
}

void mgr_device_restart(struct mgr_device *dev, bool crash)
{
	struct mgr_host *host = dev->host;

	switch (dev->state) {
	case MGR_RUNNING:
		if (crash)
			mgr_host_kill(host, MGR_VERDICT_REQUEST, "a crash was asked for");
		else
			device_stop(dev, MGR_AFTER_RESTART, "restart was asked for");
		break;
	case MGR_STOPPING:
		if (dev->after != MGR_AFTER_DETACH)
			dev->after = MGR_AFTER_RESTART;
		break;
	case MGR_RESTARTING:
		if (au_loop_timer_is_set(&dev->retry)) {
			au_loop_timer_cancel(&dev->retry);
			device_begin(dev);
		}
		break;
	case MGR_QUARANTINED:
		mgr_budget_init(&dev->budget);
		dev->restarts++;
		memset(&dev->current, 0, sizeof(dev->current));
		device_state(dev, MGR_STARTING, "restart was asked for");
		device_begin(dev);
		break;
	default:
		mgr_device_want(dev);
		break;
	}
}

void mgr_device_hold(struct mgr_device *dev, bool on)
{
	dev->held = on;
	if (dev->host)
		dev->host->beat_ns = 0;
	mgr_device_idle_check(dev);
	au_loop_timer_set(dev->mgr->loop, &dev->save, 1);
}

void mgr_device_detach(struct mgr_device *dev, const char *reason)
{
	char line[MGR_TEXT];

	mgr_listeners_close(dev);
	snprintf(line, sizeof(line), "%s: %s", dev->spec.name, reason);
	if (dev->mgr->stopping)
		mgr_clients_leave(dev);
	else
		mgr_clients_refuse(dev, -ENODEV, line);
	if (dev->state == MGR_STOPPING)
		dev->after = MGR_AFTER_DETACH;
	else
		device_stop(dev, MGR_AFTER_DETACH, reason);
}

/* ------------------------------------------------------- from before our time */

void mgr_device_timers(struct mgr_device *dev)
{
	dev->deadline.expired = device_deadline;
	dev->retry.expired = device_retry;
	dev->idle.expired = device_idle;
	dev->save.expired = device_saved;
	dev->deadline.context = dev->retry.context = dev->idle.context = dev->save.context = dev;
}

void mgr_device_adopting(struct mgr_device *dev, bool lives, uint32_t timeout_ms)
{
	if (lives) {
		device_state(dev, MGR_RESTARTING, "a new manager takes it over");
		au_loop_timer_set(dev->mgr->loop, &dev->deadline, timeout_ms);
		return;
	}
	dev->from_failed = true;
	dev->restarts++;
	dev->current.dead_ns = au_monotonic_ns();
	dev->current.wall_ms = mgr_wall_ms();
	device_state(dev, MGR_RESTARTING, "its host died while there was no manager");
	au_loop_timer_set(dev->mgr->loop, &dev->retry, DEVICE_REJOIN_MS);
}

void mgr_device_adopted(struct mgr_device *dev)
{
	dev->host->serving = true;
	device_state(dev, MGR_RUNNING, "a new manager has taken it over");
	mgr_channels_up(dev);
	mgr_device_idle_check(dev);
	mgr_supervise(dev->mgr);
	mgr_standby_check(dev->mgr);
}

void mgr_device_restore(struct mgr_device *dev, enum mgr_state state, const char *reason)
{
	device_state(dev, state == MGR_STOPPING || state == MGR_DETACHED ? MGR_IDLE : state, "%s",
		     reason);
}

/* ------------------------------------------------------- what the host did */

static void device_recovered(struct mgr_device *dev)
{
	if (!dev->current.dead_ns)
		return;
	dev->recoveries[dev->recovery_count++ % MGR_RECOVERIES] = dev->current;
	memset(&dev->current, 0, sizeof(dev->current));
}

static int device_units(struct mgr_device *dev, const json_t *o)
{
	const json_t *units = json_object_get(o, "units");
	struct mgr_unit now[MGR_UNITS] = { 0 };
	unsigned int count = 0;

	if (!json_is_array(units) || json_array_size(units) > MGR_UNITS)
		return -EPROTO;
	for (size_t i = 0; i < json_array_size(units); i++) {
		const json_t *u = json_array_get(units, i);
		uint64_t index;

		if (!mgr_json_uint(u, "index", MGR_UNITS - 1, &index) || now[index].present ||
		    !mgr_json_text(u, "class", now[index].cls, sizeof(now[index].cls)) ||
		    !au_name_valid(now[index].cls))
			return -EPROTO;
		now[index].present = true;
		count++;
	}
	for (unsigned int i = 0; i < MGR_UNITS; i++) {
		memcpy(dev->units[i].cls, now[i].cls, sizeof(now[i].cls));
		dev->units[i].present = now[i].present;
	}
	dev->unit_count = count;
	mgr_units_changed(dev);
	return 0;
}

static void device_times(struct mgr_device *dev, const json_t *o)
{
	const json_t *times = json_object_get(o, "times_us");

	mgr_json_uint(times, "loaded", UINT32_MAX, &dev->current.host_loaded_us);
	mgr_json_uint(times, "sandboxed", UINT32_MAX, &dev->current.host_sandboxed_us);
	mgr_json_uint(times, "started", UINT32_MAX, &dev->current.host_started_us);
}

/* The host's first READY, or the ADOPTED of one that lives already. */
int mgr_device_up(struct mgr_device *dev, const json_t *o)
{
	struct mgr_host *host = dev->host;
	const json_t *layers = json_object_get(o, "layers");

	if (device_units(dev, o))
		return -EPROTO;
	if (json_is_array(layers) && json_array_size(layers) <= 64) {
		json_decref(dev->layers);
		dev->layers = json_deep_copy(layers);
	}
	if (!host->recorder.status && au_recorder_map(host->status_fd, false, &host->recorder))
		return -EPROTO;
	au_loop_timer_cancel(&dev->deadline);
	host->state = MGR_HOST_READY;
	host->ready_ns = host->credited_ns = au_monotonic_ns();
	dev->current.ready_ns = host->ready_ns;
	dev->state_fresh = false;
	dev->retained_fresh = false;
	dev->provisional = false;
	return 0;
}

static int device_ready(struct mgr_device *dev, const char *text)
{
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	bool first = dev->provisional;
	int err = -EPROTO;

	if (o && dev->host->state == MGR_HOST_STARTING)
		err = mgr_device_up(dev, o);
	if (!err) {
		device_times(dev, o);
		/* Clients first: they wait. */
		mgr_channels_up(dev);
		device_state(dev, MGR_RUNNING, "%s", "");
		if (first) /* what is answered now is a promise */
			mgr_state_save(dev);
		mgr_device_idle_check(dev);
		mgr_supervise(dev->mgr);
		mgr_standby_check(dev->mgr);
	}
	json_decref(o);
	return err;
}

static int device_refused(struct mgr_device *dev, const struct au_hm_failed *msg, size_t length)
{
	if (length != sizeof(*msg) || !device_coming_up(dev))
		return -EPROTO;
	dev->error = msg->error < 0 && msg->error > -4096 ? msg->error : -EIO;
	/* The driver's name and stage say where to look. */
	snprintf(dev->refused, sizeof(dev->refused), "%s failed in %.*s: %.*s", dev->driver_name,
		 (int)sizeof(msg->stage), msg->stage, (int)sizeof(msg->text),
		 msg->text[0] ? msg->text : strerror(-dev->error));
	for (char *c = dev->refused; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
	mgr_host_kill(dev->host, MGR_VERDICT_NONE, "%s", "");
	return 0;
}

static int device_serving(struct mgr_device *dev)
{
	if (dev->host->state != MGR_HOST_READY)
		return dev->host->state == MGR_HOST_STOPPING ? 0 : -EPROTO;
	dev->host->serving = true;
	dev->current.serving_ns = au_monotonic_ns();
	device_recovered(dev);
	return 0;
}

int mgr_device_removed(struct mgr_device *dev)
{
	char line[MGR_TEXT];

	if (dev->state == MGR_STOPPING)
		return 0;
	snprintf(line, sizeof(line), "%s: the device was removed", dev->spec.name);
	mgr_clients_refuse(dev, -ENODEV, line);
	device_stop(dev, MGR_AFTER_GONE, "the device was removed");
	return 0;
}

static int device_units_message(struct mgr_device *dev, const char *text)
{
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	int err = o ? device_units(dev, o) : -EPROTO;

	json_decref(o);
	return err;
}

void mgr_device_message(struct mgr_device *dev, const struct au_msg_head *msg, size_t length,
			int fds[AU_MSG_FDS])
{
	const char *text = (const char *)(msg + 1);
	int err = 0;

	switch (msg->type) {
	case AU_HM_READY:
		err = device_ready(dev, text);
		break;
	case AU_HM_FAILED:
		err = device_refused(dev, (const struct au_hm_failed *)msg, length);
		break;
	case AU_HM_ENDED:
		err = length == sizeof(struct au_hm_channel) ? 0 : -EPROTO;
		if (!err)
			mgr_channel_ended(dev, (const struct au_hm_channel *)msg);
		break;
	case AU_HM_GONE:
		err = mgr_device_removed(dev);
		break;
	case AU_HM_UNITS:
		err = device_units_message(dev, text);
		break;
	case AU_HM_ANSWER:
		mgr_calls_answer(dev, text);
		break;
	case AU_HM_ADOPTED:
		err = mgr_adopted(dev, text, fds);
		break;
	case AU_HM_LOG:
		au_logf(AU_LOG_INFO, "%s: host: %.400s", dev->spec.name, text);
		break;
	case AU_HM_SERVING:
		err = device_serving(dev);
		break;
	default:
		err = -EPROTO;
	}
	if (err && dev->host)
		mgr_host_kill(dev->host, MGR_VERDICT_PROTOCOL,
			      "it sent a message of type %u that breaks the rules", msg->type);
}

void mgr_device_credit(struct mgr_device *dev)
{
	struct mgr_host *host = dev->host;
	uint64_t completed = 0, now = au_monotonic_ns(), ms, more;

	/* One that was never ready has served nobody, whatever its state is now. */
	if (!host->recorder.status || !host->credited_ns)
		return;
	for (unsigned int i = 0; i < AU_RECORDER_LANES; i++)
		completed += atomic_load_explicit(&host->recorder.status->lane[i].completed,
						  memory_order_relaxed);
	more = completed > host->completed ? completed - host->completed : 0;
	ms = (now - host->credited_ns) / 1000000;
	mgr_budget_service(&dev->budget, more, ms);
	dev->completed_total += more;
	host->completed = completed;
	host->credited_ns += ms * 1000000;
}

void mgr_device_host_dead(struct mgr_device *dev, struct mgr_host *host, int status)
{
	char text[MGR_TEXT];
	int signal = 0;
	enum mgr_verdict verdict;
	bool fault, charge;

	if (!host->recorder.status)
		au_recorder_map(host->status_fd, false, &host->recorder);
	verdict = mgr_host_verdict(host, status, &signal, text, sizeof(text));
	mgr_device_credit(dev);
	au_loop_timer_cancel(&dev->deadline);
	au_loop_timer_cancel(&dev->idle);
	dev->host = NULL;
	host->dev = NULL;
	if (dev->state == MGR_STOPPING) {
		if (verdict == MGR_VERDICT_CRASH)
			au_logf(AU_LOG_WARN, "%s: on its way down, %s", dev->spec.name, text);
		mgr_host_free(host);
		device_stopped(dev);
		return;
	}
	memset(&dev->current, 0, sizeof(dev->current));
	dev->current.verdict = verdict;
	dev->current.wall_ms = mgr_wall_ms();
	dev->current.alive_ns = host->beat_ns;
	dev->current.dead_ns = au_monotonic_ns();
	fault = verdict == MGR_VERDICT_CRASH || verdict == MGR_VERDICT_HANG;
	/* What somebody else did from outside says nothing about the driver. */
	charge = verdict != MGR_VERDICT_KILLED && verdict != MGR_VERDICT_STOPPED &&
		 verdict != MGR_VERDICT_REQUEST;
	mgr_channels_down(dev, fault);
	if (dev->refused[0]) {
		mgr_device_start_failed(dev, dev->error, dev->refused);
	} else {
		dev->deaths[verdict]++;
		/* Killed while it served: that is not a failure, and nothing to wait for. */
		if (!charge && host->serving) {
			dev->from_failed = true;
			dev->restarts++;
			device_state(dev, MGR_RESTARTING, "%s", text);
			device_begin(dev);
		} else {
			device_failed(dev, charge, text);
		}
		json_decref(dev->evidence);
		dev->evidence = mgr_evidence(dev, host, verdict, signal, text);
	}
	mgr_host_free(host);
}
