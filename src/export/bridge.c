/* SPDX-License-Identifier: MIT */
/* The pump: a few sends outstanding, one receive, and one loop for everything. */
#include "export/export.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void bridge_sent(struct au_io *io)
{
	struct bridge_send *s = io->user;

	s->busy = false;
	s->bridge->sending--;
	s->bridge->sent += io->result;
	/* A purge cancels what is unsent: that is no failure. */
	if (io->status && io->status != -ECANCELED && !s->bridge->failed)
		s->bridge->failed = io->status;
}

static void bridge_received(struct au_io *io)
{
	struct bridge *b = io->user;

	b->receiving = false;
	if (io->status == 0) {
		b->in_offset = 0;
		b->in_length = io->result;
		b->received += io->result;
	} else if (io->status != -ECANCELED && io->status != -ETIMEDOUT && !b->failed) {
		b->failed = io->status;
	}
}

int bridge_open(struct bridge *b, const char *target)
{
	const struct au_open_options options = {
		.size = sizeof(options),
		.abi = AU_CLIENT_ABI,
		.flags = AU_OPEN_QUIET,
		.buffer_size = BRIDGE_CHUNK,
	};
	sigset_t set;
	int rc;

	memset(b, 0, sizeof(*b));
	b->epoll = b->signals = -1;
	rc = au_open(target, &options, &b->handle);
	if (rc) {
		fprintf(stderr, "auriga export: %s\n", au_errmsg());
		return rc;
	}
	if (strcmp(au_unit_class(b->handle), "serial") != 0) {
		fprintf(stderr,
			"auriga export: %s is of class %s; this exporter takes serial units\n",
			target, au_unit_class(b->handle));
		bridge_close(b);
		return -EINVAL;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	b->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	b->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (b->signals < 0 || b->epoll < 0 || bridge_watch(b, b->signals, EPOLLIN) != 0 ||
	    bridge_watch(b, au_fd(b->handle), EPOLLIN) != 0) {
		rc = -errno;
		fprintf(stderr, "auriga export: cannot set up the event loop: %s\n",
			strerror(errno));
		bridge_close(b);
		return rc;
	}
	return 0;
}

void bridge_close(struct bridge *b)
{
	if (b->handle)
		au_close(b->handle);
	if (b->epoll >= 0)
		close(b->epoll);
	if (b->signals >= 0)
		close(b->signals);
	b->handle = NULL;
	b->epoll = b->signals = -1;
}

const char *bridge_why(struct bridge *b)
{
	static char text[256];

	/* A device that will not come back says why, a moment after the requests have failed. */
	for (int i = 0; b->failed == -ENODEV && i < 10 && au_flush(b->handle) == 0; i++)
		au_poll(b->handle, 0, 50);
	if (au_flush(b->handle) < 0)
		return au_errmsg();
	snprintf(text, sizeof(text), "%s: %s", au_unit_name(b->handle), strerror(-b->failed));
	return text;
}

int bridge_watch(struct bridge *b, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.fd = fd };

	if (!events) {
		epoll_ctl(b->epoll, EPOLL_CTL_DEL, fd, NULL);
		return 0;
	}
	if (epoll_ctl(b->epoll, EPOLL_CTL_MOD, fd, &ev) == 0)
		return 0;
	return epoll_ctl(b->epoll, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

size_t bridge_room(const struct bridge *b)
{
	return b->sending < BRIDGE_SENDS ? BRIDGE_CHUNK : 0;
}

void bridge_send(struct bridge *b, const void *data, size_t length)
{
	struct bridge_send *s = b->send;
	int rc;

	while (s->busy)
		s++;
	memcpy(s->data, data, length);
	s->bridge = b;
	s->io = (struct au_io){
		.op = AU_SERIAL_SEND,
		.length = (uint32_t)length,
		.data = s->data,
		.done = bridge_sent,
		.user = s,
	};
	rc = au_submit(b->handle, &s->io);
	if (rc == 0) {
		s->busy = true;
		b->sending++;
	} else if (!b->failed) {
		b->failed = rc;
	}
}

void bridge_receive(struct bridge *b, bool want)
{
	b->want = want;
	if (!want) {
		b->in_length = 0;
		if (b->receiving)
			au_cancel(b->handle, &b->recv);
	}
}

void bridge_poll(struct bridge *b)
{
	if (b->want && !b->receiving && b->in_length == 0 && !b->failed) {
		int rc;

		b->recv = (struct au_io){
			.op = AU_SERIAL_RECV,
			.length = sizeof(b->in),
			.arg = { 1, 0 },
			.data = b->in,
			.done = bridge_received,
			.user = b,
		};
		rc = au_submit(b->handle, &b->recv);
		if (rc == 0)
			b->receiving = true;
		else
			b->failed = rc;
	}
	if (au_poll(b->handle, 0, 0) == -ENODEV && !b->failed)
		b->failed = -ENODEV;
}

int bridge_wait(struct bridge *b, struct bridge_ready *ready, int max, int timeout_ms)
{
	struct epoll_event events[8];
	bool had = b->in_length > 0;
	int n, count = 0;

	bridge_poll(b);
	if (b->failed || (!had && b->in_length) || !au_arm(b->handle))
		timeout_ms = 0;
	n = epoll_wait(b->epoll, events, max < 8 ? max : 8, timeout_ms);
	for (int i = 0; i < n; i++) {
		if (events[i].data.fd == b->signals)
			return -EINTR;
		if (events[i].data.fd == au_fd(b->handle))
			continue;
		ready[count].fd = events[i].data.fd;
		ready[count++].events = events[i].events;
	}
	bridge_poll(b);
	return count;
}
