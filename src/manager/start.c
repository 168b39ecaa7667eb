/* SPDX-License-Identifier: MIT */
/*
 * Bringing a device up: claim it, open its session and start its host at the same time, hand one to
 * the other. Whatever fails here in order is a refusal, with one line.
 */
#include "base/claim.h"
#include "base/cleanup.h"
#include "manager/device.h"
#include "manager/upgrade.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* --------------------------------------------------------- what it lives on */

void mgr_device_release(struct mgr_device *dev)
{
	char path[AU_PATH_MAX];
	char name[48], error[MGR_TEXT];

	mgr_close(&dev->claim_fd);
	mgr_close(&dev->host_listen_fd);
	snprintf(name, sizeof(name), "hosts/%s", dev->spec.name);
	if (dev->spec.name[0] && !au_runtime_path(dev->mgr->dir, name, path, error, sizeof(error)))
		unlink(path);
	mgr_close_session(dev->session.fds);
	dev->session_ready = false;
}

int mgr_device_claim(struct mgr_device *dev, char *error, size_t size)
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

	/* What was pulled out is not what is there now. */
	if (dev->removed) {
		mgr_close(&dev->state_fd);
		mgr_close(&dev->retained_fd);
	}
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

/* A host that the device does not wait for any more: it never had anything of the device. */
void mgr_device_drop_host(struct mgr_device *dev)
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

void mgr_device_drop_session(struct mgr_device *dev)
{
	mgr_open_cancel(dev->open_job);
	dev->open_job = NULL;
	mgr_close_session(dev->session.fds);
	dev->session_ready = false;
}

void mgr_device_postpone(struct mgr_device *dev)
{
	au_loop_timer_cancel(&dev->deadline);
	au_loop_timer_cancel(&dev->retry);
	mgr_device_drop_host(dev);
	mgr_device_drop_session(dev);
}

/*
 * The start was refused, in order: wrong parameters, no server, a device that is not there. The
 * first start is given up at once, for somebody waits for the answer; a restart is tried again: as
 * often as the budget allows, or where it is the device that is not there, until it is.
 */
void mgr_device_start_failed(struct mgr_device *dev, int error, const char *text)
{
	bool away = !dev->session_ready;
	char line[MGR_TEXT];

	snprintf(line, sizeof(line), "%s", text); /* may be in what is released now */
	au_loop_timer_cancel(&dev->deadline);
	mgr_device_drop_host(dev);
	mgr_device_drop_session(dev);
	dev->error = error;
	if (dev->removed) {
		mgr_device_release(dev);
		mgr_device_set(dev, MGR_GONE, "%s", line);
		mgr_clients_refuse_new(dev, error, line);
		mgr_pnp_look(dev);
		return;
	}
	/* It has been up. What cannot be found at its place any more was pulled out; so is one, as
	 * far as its clients are concerned, that was well and cannot be started again as it is now.
	 */
	if (dev->state == MGR_RESTARTING && (error == -ENODEV || (dev->again && dev->refused[0]))) {
		mgr_device_removed(dev, AU_GONE_UNKNOWN, line);
		return;
	}
	if (dev->state == MGR_RESTARTING && away) {
		mgr_device_waits(dev, line);
		mgr_pnp_look(dev);
		return;
	}
	if (mgr_upgrade_failed(dev, line))
		return;
	if (dev->state == MGR_RESTARTING) {
		mgr_device_failed(dev, true, line);
		return;
	}
	mgr_device_release(dev);
	mgr_device_set(dev, MGR_CONFIGURED, "%s", line);
	mgr_clients_refuse(dev, error, line);
	if (dev->provisional)
		mgr_device_forget(dev);
	else if (away)
		mgr_pnp_look(dev);
}

/* Everything is there: tell the host. */
static void device_go(struct mgr_device *dev)
{
	bool hardware = !dev->ids.virtual_device;
	char error[MGR_TEXT], who[48];
	int err;

	if (!dev->host || dev->host->state != MGR_HOST_SPAWNED || !dev->session_ready)
		return;
	err = mgr_host_start(dev->host, hardware ? &dev->session.session : NULL, dev->session.fds,
			     error, sizeof(error));
	if (err) {
		mgr_device_start_failed(dev, err, error);
		return;
	}
	/* The host has it now, alone: when it dies, the server sees the end of the stream. */
	mgr_close_session(dev->session.fds);
	dev->current.started_ns = au_monotonic_ns();
	mgr_channels_reopen(dev);
	if (dev->claim_fd >= 0) {
		snprintf(who, sizeof(who), "auriga-host %s", dev->spec.name);
		au_claim_update(dev->claim_fd, (int)dev->host->pid, who);
	}
}

static int device_spawn(struct mgr_device *dev, char *error, size_t size)
{
	int err = mgr_device_load(dev, error, size);

	if (!err)
		err = device_memory(dev, error, size);
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
	char path[AU_PATH_MAX];
	int err = mgr_device_choose(dev, path, error, size);

	return err ? err : mgr_device_set_driver(dev, path, error, size);
}

/* Whether what is there now is of another kind than what was. */
static bool device_differs(const struct mgr_device *dev, const struct au_bus_session *session)
{
	return dev->ids_known && (dev->ids.vendor != session->vendor_device >> 16 ||
				  dev->ids.device != (session->vendor_device & 0xffff) ||
				  dev->ids.class_code != session->class_code);
}

/* Another device has taken its place while its host was dead. */
static void device_replaced(struct mgr_device *dev)
{
	snprintf(dev->gone_why, sizeof(dev->gone_why),
		 "the device was removed: another one is at its place");
	mgr_device_count_removal(dev, AU_GONE_UNKNOWN);
	mgr_device_tell_gone(dev);
}

static void device_session(void *context, struct mgr_open_result *result)
{
	struct mgr_device *dev = context;
	char error[MGR_TEXT];
	bool differs;
	int err = 0;

	dev->open_job = NULL;
	if (result->err) {
		mgr_device_start_failed(dev, result->err, result->error);
		return;
	}
	mgr_close_session(dev->session.fds);
	dev->session = *result;
	for (unsigned int i = 0; i < AU_BUS_FDS; i++)
		result->fds[i] = -1;
	dev->session_ready = true;
	dev->away = false;
	differs = device_differs(dev, &dev->session.session);
	if (differs && !dev->removed)
		device_replaced(dev);
	dev->current.session_ns = au_monotonic_ns();
	dev->ids.vendor = (uint16_t)(dev->session.session.vendor_device >> 16);
	dev->ids.device = (uint16_t)dev->session.session.vendor_device;
	dev->ids.class_code = dev->session.session.class_code;
	dev->ids_known = true;
	if (!dev->driver_path[0] || (differs && !dev->spec.driver[0]))
		err = device_identify(dev, error, sizeof(error));
	if (!err && !dev->host)
		err = device_spawn(dev, error, sizeof(error));
	else if (!err && dev->removed)
		err = device_memory(dev, error, sizeof(error));
	if (err)
		mgr_device_start_failed(dev, err, error);
	else
		device_go(dev);
}

static void device_begin(struct mgr_device *dev)
{
	mgr_pnp_stop(dev);
	if (dev->removed)
		dev->from_failed = false;
	dev->generation++;
	dev->error = 0;
	dev->refused[0] = 0;
	dev->current.generation = dev->generation;
	au_loop_timer_set(dev->mgr->loop, &dev->deadline, MGR_START_MS);
}

void mgr_device_found(struct mgr_device *dev, struct mgr_open_result *result)
{
	memset(&dev->current, 0, sizeof(dev->current));
	mgr_device_set(dev, MGR_STARTING, "its device is there");
	if (mgr_power_defers(dev))
		return;
	device_begin(dev);
	device_session(dev, result);
}

/* Start: the session and the host at the same time. */
void mgr_device_begin(struct mgr_device *dev)
{
	char error[MGR_TEXT] = "";
	int err;

	if (mgr_power_defers(dev))
		return;
	device_begin(dev);
	err = mgr_device_claim(dev, error, sizeof(error));
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
	/* No host for a device that is probably still not there. */
	if (!err && dev->driver_path[0] && !dev->away && (!dev->removed || dev->session_ready))
		err = device_spawn(dev, error, sizeof(error));
	if (err)
		mgr_device_start_failed(dev, err, error);
	else
		device_go(dev);
}
