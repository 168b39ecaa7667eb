/* SPDX-License-Identifier: MIT */
/* The sockets under RUNDIR/dev: one for the device's own name, one for each of several units. */
#include "base/cleanup.h"
#include "manager/clients.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define LISTEN_BACKLOG	64
#define LISTEN_ONCE	16  /* connections accepted per wake-up */
#define LISTEN_PAUSE_MS 200 /* when no descriptor is left */

/**
 * struct mgr_listener - a socket that clients connect to.
 * @unit: -1: the device's own name, whatever that turns out to mean.
 * @alias: another name, a symbolic link; empty: none.
 */
struct mgr_listener {
	struct mgr_device *dev;
	int unit;
	int fd;
	struct au_watch watch;
	struct au_loop_timer pause;
	char path[AU_PATH_MAX];
	char alias[AU_PATH_MAX];
};

void mgr_unit_name(const struct mgr_device *dev, unsigned int unit, char *buf, size_t size)
{
	if (dev->unit_count > 1)
		snprintf(buf, size, "%s.%u", dev->spec.name, unit);
	else
		snprintf(buf, size, "%s", dev->spec.name);
}

static void listen_again(struct au_loop_timer *timer)
{
	struct mgr_listener *l = timer->context;

	au_watch_events(&l->watch, EPOLLIN);
}

static void listen_accept(struct au_watch *watch, uint32_t events)
{
	struct mgr_listener *l = watch->context;

	for (unsigned int i = 0; i < LISTEN_ONCE; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			mgr_client_new(l->dev, l->unit, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			au_logf(AU_LOG_WARN, "%s: a client has to wait: %s", l->dev->spec.name,
				strerror(errno));
			au_watch_events(&l->watch, 0);
			au_loop_timer_set(l->dev->mgr->loop, &l->pause, LISTEN_PAUSE_MS);
		}
		return;
	}
}

/* Nobody can connect before owner, group and mode are what they should be. */
static int listen_bind(const struct mgr_listener *l, const struct mgr_policy *policy)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	mode_t before = umask(0777);
	int err;

	memcpy(addr.sun_path, l->path, strlen(l->path) + 1);
	unlink(l->path);
	err = bind(l->fd, (const struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
	umask(before);
	if (err)
		return err;
	if ((policy->owner != (uid_t)-1 || policy->group != (gid_t)-1) &&
	    chown(l->path, policy->owner, policy->group))
		return -errno;
	if (chmod(l->path, policy->mode) || listen(l->fd, LISTEN_BACKLOG))
		return -errno;
	return 0;
}

static void listener_free(struct mgr_listener **listener)
{
	struct mgr_listener *l = *listener;

	if (!l)
		return;
	*listener = NULL;
	au_watch_remove(&l->watch);
	au_loop_timer_cancel(&l->pause);
	if (l->fd >= 0) {
		close(l->fd);
		unlink(l->path);
	}
	if (l->alias[0])
		unlink(l->alias);
	free(l);
}

static int listener_new(struct mgr_device *dev, const char *name, int unit,
			struct mgr_listener **result, char *error, size_t error_size)
{
	struct mgr_listener *l = calloc(1, sizeof(*l));
	char relative[64];
	int err;

	if (!l)
		return -ENOMEM;
	l->dev = dev;
	l->unit = unit;
	l->fd = -1;
	l->watch.ready = listen_accept;
	l->watch.context = l;
	l->pause.expired = listen_again;
	l->pause.context = l;
	snprintf(relative, sizeof(relative), "dev/%s", name);
	err = au_runtime_path(dev->mgr->dir, relative, l->path, error, error_size);
	if (!err)
		err = au_socket_path_check(l->path, error, error_size);
	if (!err) {
		l->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		err = l->fd < 0 ? -errno : listen_bind(l, &dev->spec.policy);
		if (!err)
			err = au_watch_add(dev->mgr->loop, &l->watch, l->fd, EPOLLIN);
		if (err)
			snprintf(error, error_size, "%s: %s", l->path, strerror(-err));
	}
	if (err) {
		listener_free(&l);
		return err;
	}
	*result = l;
	return 0;
}

/* "serial0.0" for the one unit of serial0. */
static void listener_alias(struct mgr_device *dev, unsigned int unit)
{
	struct mgr_listener *l = dev->listener;
	char alias[AU_PATH_MAX];

	if (snprintf(alias, sizeof(alias), "%s.%u", l->path, unit) >= (int)sizeof(alias))
		return;
	if (!strcmp(alias, l->alias))
		return;
	if (l->alias[0])
		unlink(l->alias);
	unlink(alias);
	snprintf(l->alias, sizeof(l->alias), "%s", alias);
	if (symlink(dev->spec.name, alias))
		l->alias[0] = 0;
}

int mgr_listeners_open(struct mgr_device *dev, char *error, size_t error_size)
{
	char longest[64], path[AU_PATH_MAX];
	int err;

	/* Say so now, not when the driver turns out to have sixteen units. */
	snprintf(longest, sizeof(longest), "hosts/%s", dev->spec.name);
	err = au_runtime_path(dev->mgr->dir, longest, path, error, error_size);
	if (!err)
		err = au_socket_path_check(path, error, error_size);
	if (!err) {
		snprintf(longest, sizeof(longest), "dev/%s.15", dev->spec.name);
		err = au_runtime_path(dev->mgr->dir, longest, path, error, error_size);
	}
	if (!err)
		err = au_socket_path_check(path, error, error_size);
	return err ? err : listener_new(dev, dev->spec.name, -1, &dev->listener, error, error_size);
}

void mgr_listeners_close(struct mgr_device *dev)
{
	listener_free(&dev->listener);
	for (unsigned int i = 0; i < MGR_UNITS; i++)
		listener_free(&dev->units[i].listener);
}

void mgr_units_changed(struct mgr_device *dev)
{
	char name[48], error[MGR_TEXT];

	if (!dev->listener) /* being detached */
		return;
	for (unsigned int i = 0; i < MGR_UNITS; i++) {
		struct mgr_unit *u = &dev->units[i];

		if (!u->present || dev->unit_count == 1)
			listener_free(&u->listener);
		if (!u->present)
			continue;
		if (dev->unit_count == 1) {
			listener_alias(dev, i);
		} else if (!u->listener) {
			mgr_unit_name(dev, i, name, sizeof(name));
			if (listener_new(dev, name, (int)i, &u->listener, error, sizeof(error)))
				au_logf(AU_LOG_ERROR, "%s: its unit %u cannot be opened: %s",
					dev->spec.name, i, error);
		}
	}
	if (dev->unit_count != 1 && dev->listener->alias[0]) {
		/* Unless a unit's own socket has taken its place. */
		if (!dev->units[0].listener)
			unlink(dev->listener->alias);
		dev->listener->alias[0] = 0;
	}
}
