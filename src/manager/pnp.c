/* SPDX-License-Identifier: MIT */
/*
 * Devices that are away: pulled out, not there yet, or with a server that died. They are started
 * when they come. That somebody binds a socket where its server should listen is told by
 * inotify, that a PCI function was given to vfio-pci by the kernel. Neither is more than a hint:
 * what counts is that a session with the device can be opened. Where there is no hint to be had it
 * is tried now and then.
 */
#include "bus/address.h"
#include "manager/device.h"

#include <errno.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#define PNP_HINT_MS   1	    /* after a hint: who binds a socket has not yet said that he listens */
#define PNP_SOCKET_MS 100   /* without one, the first time: a server that starts anew */
#define PNP_VFIO_MS   1000  /* ... a function that may be in the middle of a reset */
#define PNP_MAX_MS    10000 /* each time twice as long, up to this */
#define PNP_QUIET_MS  2000  /* one that others want is tried so long after a hint, and then not */
#define PNP_KERNEL    1	    /* the group of messages that come from the kernel itself */
#define PNP_EVENTS    (IN_CREATE | IN_MOVED_TO | IN_ONLYDIR)

/** struct mgr_pnp - what tells that devices have come. -1: it cannot be had. */
struct mgr_pnp {
	struct mgr *mgr;
	int inotify;
	int kernel;
	struct au_watch inotify_watch;
	struct au_watch kernel_watch;
};

/* Where its server listens; NULL: it is a PCI function of this machine. */
static const char *pnp_socket(const struct mgr_device *dev)
{
	return strncmp(dev->spec.address, "vfio:", 5) ? strchr(dev->spec.address, ':') + 1 : NULL;
}

/* Trying to open it would get into the way of whoever has it, or wants it. */
static bool pnp_is_wanted(const struct mgr_device *dev)
{
	return dev->error == -EBUSY ||
	       (dev->state == MGR_GONE && !pnp_socket(dev) && dev->gone_reason == AU_GONE_WANTED);
}

/* Its host died, and the device with it: somebody else tries, and only hints help. */
static bool pnp_is_tried(const struct mgr_device *dev)
{
	return dev->state == MGR_RESTARTING;
}

/* ------------------------------------------------------------------------ looking */

static void pnp_rest(struct mgr_device *dev)
{
	struct mgr_look *look = &dev->look;
	bool hinted = look->delay_ms && look->delay_ms < PNP_QUIET_MS;

	if (!look->on || ((pnp_is_wanted(dev) || pnp_is_tried(dev)) && !hinted))
		return;
	if (!look->delay_ms)
		look->delay_ms = pnp_socket(dev) ? PNP_SOCKET_MS : PNP_VFIO_MS;
	else
		look->delay_ms = look->delay_ms * 2 < PNP_MAX_MS ? look->delay_ms * 2 : PNP_MAX_MS;
	au_loop_timer_set(dev->mgr->loop, &look->timer, look->delay_ms);
}

static void pnp_opened(void *context, struct mgr_open_result *result)
{
	struct mgr_device *dev = context;

	dev->look.job = NULL;
	if (!result->err) {
		mgr_device_found(dev, result);
		return;
	}
	mgr_device_release(dev);
	pnp_rest(dev);
}

static void pnp_due(struct au_loop_timer *timer)
{
	struct mgr_device *dev = timer->context;
	char error[MGR_TEXT];

	if (dev->look.job)
		return;
	if (pnp_is_tried(dev)) {
		pnp_rest(dev);
		if (dev->away && au_loop_timer_is_set(&dev->retry))
			au_loop_timer_set(dev->mgr->loop, &dev->retry, 0);
		return;
	}
	if (!mgr_device_claim(dev, error, sizeof(error)))
		dev->look.job = mgr_open_start(dev->mgr, dev->spec.address, pnp_opened, dev);
	if (!dev->look.job) {
		mgr_device_release(dev);
		pnp_rest(dev);
	}
}

static void pnp_hint(struct mgr_device *dev)
{
	dev->look.delay_ms = PNP_HINT_MS;
	au_loop_timer_set(dev->mgr->loop, &dev->look.timer, PNP_HINT_MS);
}

/* ------------------------------------------------------------------------ sockets */

/* The last directory on the way to the socket that is there, and what is missing in it. */
static void pnp_watch_socket(struct mgr_device *dev)
{
	const struct mgr_pnp *pnp = dev->mgr->pnp;
	struct mgr_look *look = &dev->look;
	char dir[MGR_ADDRESS];

	snprintf(dir, sizeof(dir), "%s", pnp_socket(dev));
	look->watch = -1;
	for (char *slash; pnp && pnp->inotify >= 0 && look->watch < 0;) {
		slash = strrchr(dir, '/');
		look->missing = slash ? (unsigned int)(slash - dir) + 1 : 0;
		if (slash)
			*slash = 0;
		look->watch = inotify_add_watch(pnp->inotify,
						*dir	? dir
						: slash ? "/"
							: ".",
						PNP_EVENTS);
		if (!slash || slash == dir)
			return;
	}
}

/* Devices in one directory share what watches it. */
static void pnp_unwatch(struct mgr_device *dev)
{
	int watch = dev->look.watch;

	dev->look.watch = -1;
	au_list_for_each (node, &dev->mgr->devices)
		if (AU_CONTAINER(node, struct mgr_device, node)->look.watch == watch)
			return;
	if (watch >= 0)
		inotify_rm_watch(dev->mgr->pnp->inotify, watch);
}

static bool pnp_misses(const struct mgr_device *dev, const char *name)
{
	const char *missing = pnp_socket(dev) + dev->look.missing;
	size_t length = strcspn(missing, "/");

	return strlen(name) == length && !memcmp(missing, name, length);
}

static void pnp_appeared(struct mgr *mgr, const struct inotify_event *event)
{
	au_list_for_each (node, &mgr->devices) {
		struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);
		bool lost = event->mask & (IN_IGNORED | IN_Q_OVERFLOW);

		if (!dev->look.on ||
		    (dev->look.watch != event->wd && !(event->mask & IN_Q_OVERFLOW)))
			continue;
		if (!lost && !(event->len && pnp_misses(dev, event->name)))
			continue;
		/* There may be more of the way to it now, or less. */
		if (event->mask & IN_IGNORED)
			dev->look.watch = -1;
		else
			pnp_unwatch(dev);
		pnp_watch_socket(dev);
		pnp_hint(dev);
	}
}

static void pnp_inotify(struct au_watch *watch, uint32_t events)
{
	struct mgr_pnp *pnp = watch->context;
	_Alignas(struct inotify_event) char bytes[4096];
	ssize_t n = read(pnp->inotify, bytes, sizeof(bytes));

	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *event = (const void *)(bytes + at);

		pnp_appeared(pnp->mgr, event);
		at += (ssize_t)(sizeof(*event) + event->len);
	}
}

/* ------------------------------------------------------------------ PCI functions */

/* A message is ACTION@PATH and KEY=VALUE texts, each with a zero at its end. */
static const char *pnp_value(const char *text, const char *end, const char *key)
{
	size_t length = strlen(key);

	for (; text < end; text += strlen(text) + 1)
		if (!strncmp(text, key, length) && text[length] == '=')
			return text + length + 1;
	return "";
}

static void pnp_bound(struct mgr *mgr, const char *slot)
{
	au_list_for_each (node, &mgr->devices) {
		struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);

		if (dev->look.on && !strncmp(dev->spec.address, "vfio:", 5) &&
		    !strcasecmp(dev->spec.address + 5, slot))
			pnp_hint(dev);
	}
}

static void pnp_kernel(struct au_watch *watch, uint32_t events)
{
	struct mgr_pnp *pnp = watch->context;
	char text[8192 + 1];
	struct sockaddr_nl from = { 0 };
	struct iovec iov = { text, sizeof(text) - 1 };
	struct msghdr msg = {
		.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &iov, .msg_iovlen = 1
	};
	ssize_t n;

	while ((n = recvmsg(pnp->kernel, &msg, MSG_DONTWAIT)) > 0) {
		const char *end = text + n;

		text[n] = 0;
		/* From the kernel, and from nobody else. */
		if (msg.msg_namelen == sizeof(from) && !from.nl_pid &&
		    !(msg.msg_flags & MSG_TRUNC) &&
		    !strcmp(pnp_value(text, end, "SUBSYSTEM"), "pci") &&
		    !strcmp(pnp_value(text, end, "ACTION"), "bind") &&
		    strstr(pnp_value(text, end, "DRIVER"), "vfio"))
			pnp_bound(pnp->mgr, pnp_value(text, end, "PCI_SLOT_NAME"));
		msg.msg_namelen = sizeof(from);
	}
}

static int pnp_listen(void)
{
	struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = PNP_KERNEL };
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			NETLINK_KOBJECT_UEVENT);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* --------------------------------------------------------------- for the others */

static void pnp_add(struct mgr *mgr, struct au_watch *watch, int *fd,
		    void (*ready)(struct au_watch *watch, uint32_t events), const char *what)
{
	watch->ready = ready;
	watch->context = mgr->pnp;
	if (*fd >= 0 && au_watch_add(mgr->loop, watch, *fd, EPOLLIN))
		mgr_close(fd);
	if (*fd < 0)
		au_logf(AU_LOG_WARN,
			"%s cannot be watched: devices that come back are found later: %s", what,
			strerror(errno));
}

void mgr_pnp_start(struct mgr *mgr)
{
	struct mgr_pnp *pnp = calloc(1, sizeof(*pnp));

	mgr->pnp = pnp;
	if (!pnp)
		return;
	pnp->mgr = mgr;
	pnp->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	pnp_add(mgr, &pnp->inotify_watch, &pnp->inotify, pnp_inotify, "directories");
	pnp->kernel = pnp_listen();
	pnp_add(mgr, &pnp->kernel_watch, &pnp->kernel, pnp_kernel, "the kernel's devices");
}

void mgr_pnp_look(struct mgr_device *dev)
{
	if (dev->ids.virtual_device || dev->look.on || dev->mgr->stopping)
		return;
	dev->look.on = true;
	dev->look.timer.expired = pnp_due;
	dev->look.timer.context = dev;
	if (pnp_socket(dev))
		pnp_watch_socket(dev);
	pnp_rest(dev);
}

void mgr_pnp_stop(struct mgr_device *dev)
{
	if (!dev->look.on)
		return;
	dev->look.on = false;
	au_loop_timer_cancel(&dev->look.timer);
	mgr_open_cancel(dev->look.job);
	dev->look.job = NULL;
	pnp_unwatch(dev);
}
