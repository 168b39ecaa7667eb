/* SPDX-License-Identifier: MIT */
/*
 * Units behind the manager: its socket gives a channel to the unit's host, says when that host has
 * died, and gives the next channel. The manager's own death is nothing that a request notices: the
 * channel goes on, and in between the client knocks until there is a manager again.
 */
#include "auriga/auriga.h"
#include "client/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/paths.h"
#include "base/recorder.h"
#include "channel/message.h"

#define REMOTE_MSG_MAX	   4096 /* what a manager says to a client is short */
#define REMOTE_TICK_MS	   100u
#define REMOTE_KNOCK_TICKS 10u /* at most so many ticks between two attempts to reconnect */

/**
 * struct remote - the way to the manager, and what came from it.
 * @device: which device the channel is to, by the manager's count.
 * @sock: -1 while there is no manager.
 * @greeted: a hello went over @sock, and has not been answered.
 * @down: the application was told that there is no host.
 * @attaching: a message is being worked on, which may call done(), which may poll.
 * @knock, @knock_ticks: ticks until the next attempt, and until the one after that.
 */
struct remote {
	int sock;
	int timer;
	int doorbell;
	int pool_fd;
	bool greeted;
	bool down;
	bool attaching;
	bool ticking;
	bool broken; /* the host broke the rules of the rings */
	unsigned int knock;
	unsigned int knock_ticks;
	uint32_t flags;
	uint32_t depth;
	uint32_t buffer_size;
	uint64_t token[2];
	uint32_t device;
	void *rings;
	size_t rings_size;
	void *pool;
	size_t pool_size;
	char path[AU_PATH_MAX];
	char error[sizeof(((struct au_cm_error *)0)->text)];
};

static void remote_set_ticks(struct remote *r)
{
	bool wanted = r->sock < 0 || r->down || r->broken;
	struct timespec tick = { .tv_nsec = wanted ? REMOTE_TICK_MS * 1000000L : 0 };

	if (wanted != r->ticking)
		timerfd_settime(r->timer, 0,
				&(struct itimerspec){ .it_interval = tick, .it_value = tick },
				NULL);
	r->ticking = wanted;
}

/* ------------------------------------------------------- talking to the manager */

static int remote_connect(struct remote *r)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock;

	if (strlen(r->path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, r->path, strlen(r->path) + 1);
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sock < 0)
		return -errno;
	if (connect(sock, (struct sockaddr *)&address, sizeof(address)) != 0) {
		int err = -errno;

		close(sock);
		return err;
	}
	r->sock = sock;
	return 0;
}

static int remote_greet(struct au_handle *h)
{
	struct remote *r = h->remote;
	struct au_cm_hello hello = {
		.head = { .type = AU_CM_HELLO },
		.version_min = AU_WIRE_VERSION,
		.version_max = AU_WIRE_VERSION,
		.flags = r->flags,
		.features = AU_CF_BACK,
		.depth = r->depth,
		.buffer_size = r->buffer_size,
		.token = { r->token[0], r->token[1] },
		.generation = h->chan && !r->broken ? h->chan->generation : 0,
		.device = h->absent ? 0 : r->device,
	};
	bool again = r->token[0] != 0 || r->token[1] != 0;
	int err = au_msg_send(r->sock, &hello, sizeof(hello), &r->pool_fd, again ? 1 : 0);

	r->greeted = err == 0;
	return err;
}

static void remote_hang_up(struct au_handle *h)
{
	struct remote *r = h->remote;

	if (r->sock >= 0) {
		handle_unwatch(h, r->sock);
		close(r->sock);
	}
	r->sock = -1;
	r->greeted = false;
}

/* The manager has gone; there will be another one. */
static void remote_lost_manager(struct au_handle *h)
{
	remote_hang_up(h);
	h->remote->knock = 0;
	h->remote->knock_ticks = 1;
	remote_set_ticks(h->remote);
}

static void remote_knock(struct au_handle *h)
{
	struct remote *r = h->remote;

	if (r->knock > 0) {
		r->knock--;
		return;
	}
	if (remote_connect(r) == 0) {
		if (handle_watch(h, r->sock, HANDLE_FD_MANAGER) == 0 && remote_greet(h) == 0)
			return;
		remote_hang_up(h);
	}
	r->knock = r->knock_ticks;
	r->knock_ticks =
		r->knock_ticks * 2 < REMOTE_KNOCK_TICKS ? r->knock_ticks * 2 : REMOTE_KNOCK_TICKS;
}

/* ------------------------------------------------------------------- channels */

static void *remote_map(int fd, size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (mem == MAP_FAILED)
		return NULL;
	/* A child has no business there, and could not be told from its parent. */
	madvise(mem, size, MADV_DONTFORK);
	return mem;
}

static int remote_check(const struct au_handle *h, const struct au_cm_channel *m)
{
	const struct remote *r = h->remote;

	if (m->version != AU_WIRE_VERSION)
		return client_fail(-EPROTO,
				   "%s: the manager offers version %u of the channel, this "
				   "library knows %u: install the same version of both",
				   h->unit, m->version, AU_WIRE_VERSION);
	if (h->chan ? m->depth != r->depth || m->buffer_size != r->buffer_size
		    : m->depth < r->depth || m->buffer_size < r->buffer_size)
		return client_fail(-EPROTO,
				   "%s: the manager offers depth %u with buffers of %u bytes, %u "
				   "and %u were asked for",
				   h->unit, m->depth, m->buffer_size, r->depth, r->buffer_size);
	if (m->generation == 0)
		return client_fail(-EPROTO, "%s: the manager's channel has no generation", h->unit);
	return 0;
}

/* In the middle of a submit or a poll: what is to be done comes with the next tick. */
static void remote_broken(void *arg)
{
	struct remote *r = arg;

	r->broken = true;
	remote_set_ticks(r);
}

/* The first channel: sizes, names and the pool are settled by it. */
static int remote_first(struct au_handle *h, const struct au_cm_channel *m, int pool_fd)
{
	struct remote *r = h->remote;
	int err = au_chan_create(m->depth, m->buffer_size, &h->chan);

	if (err)
		return client_fail(err, "%s: no channel of depth %u with buffers of %u bytes",
				   h->unit, m->depth, m->buffer_size);
	r->depth = m->depth;
	r->buffer_size = h->buffer_size = m->buffer_size;
	r->pool_size = (size_t)m->depth * m->buffer_size;
	err = au_memfd_check(pool_fd, r->pool_size);
	if (err)
		return client_fail(err, "%s: the manager's pool is too small or not sealed",
				   h->unit);
	r->pool = remote_map(pool_fd, r->pool_size);
	if (!r->pool)
		return client_fail(-errno, "%s: cannot map the pool: %m", h->unit);
	r->pool_fd = fcntl(pool_fd, F_DUPFD_CLOEXEC, 0);
	if (r->pool_fd < 0)
		return client_fail(-errno, "%s: cannot keep the pool: %m", h->unit);
	snprintf(h->unit, sizeof(h->unit), "%.*s", (int)sizeof(m->unit), m->unit);
	snprintf(h->cls, sizeof(h->cls), "%.*s", (int)sizeof(m->cls), m->cls);
	au_chan_set_class(h->chan, h->cls);
	h->chan->broken = remote_broken;
	h->chan->broken_arg = r;
	if (h->lock) {
		h->chan->unlock = handle_unlocked;
		h->chan->lock = handle_relocked;
		h->chan->lock_arg = h->lock;
	}
	return 0;
}

/* A device is there again. What is known of the one before says nothing about it. */
static void remote_back(struct au_handle *h, uint32_t generation)
{
	h->why = NULL;
	h->block_most = 0;
	handle_absent(h, false);
	au_chan_event(h->chan, AU_EVENT_BACK, generation);
}

/* Attach to the host behind @fds: rings, doorbell, and at the first time the pool. */
static int remote_attach(struct au_handle *h, const struct au_cm_channel *m, int fds[AU_MSG_FDS])
{
	struct remote *r = h->remote;
	bool first = !h->chan;
	struct au_wire_layout layout;
	void *old_rings = r->rings, *rings;
	int old_doorbell = r->doorbell, err;

	err = remote_check(h, m);
	if (err)
		return err;
	if (au_wire_layout(m->depth, &layout) != 0 || fds[1] < 0 || (first && fds[2] < 0))
		return client_fail(-EPROTO, "%s: the manager's channel is incomplete", h->unit);
	err = au_memfd_check(fds[0], layout.size);
	if (err)
		return client_fail(err, "%s: the manager's rings are too small or not sealed",
				   h->unit);
	if (first) {
		err = remote_first(h, m, fds[2]);
		if (err)
			return err;
	}
	rings = remote_map(fds[0], layout.size);
	if (!rings)
		return client_fail(-errno, "%s: cannot map the rings: %m", h->unit);
	r->doorbell = fds[1];
	fds[1] = -1;
	r->rings = rings;
	handle_unwatch(h, old_doorbell);
	err = handle_watch(h, r->doorbell, HANDLE_FD_DOORBELL);
	if (err)
		client_say("%s: cannot watch the doorbell: %m", h->unit);
	au_chan_attach(h->chan, &(struct au_chan_link){ .rings = rings,
							.pool = r->pool,
							.doorbell = r->doorbell,
							.generation = m->generation,
							.fault = m->flags & AU_CH_FAULT });
	if (old_rings)
		munmap(old_rings, r->rings_size);
	if (old_doorbell >= 0)
		close(old_doorbell);
	r->rings_size = layout.size;
	if (h->absent)
		remote_back(h, m->generation);
	else if (!first)
		au_chan_event(h->chan, AU_EVENT_RESTARTED, m->generation);
	return err;
}

static void remote_down(struct au_handle *h)
{
	struct remote *r = h->remote;

	if (!h->chan || r->down || h->absent)
		return;
	r->down = true;
	au_chan_down(h->chan);
	if (!h->chan->gone_told)
		au_chan_event(h->chan, AU_EVENT_DOWN, 0);
	/* Its end of the doorbell is closed, or soon will be. */
	handle_unwatch(h, r->doorbell);
	remote_set_ticks(r);
}

/*
 * A host that broke the rules is as good as dead. It is shown the end of the channel, and the
 * manager is asked for another one.
 */
static void remote_leave_host(struct au_handle *h)
{
	remote_down(h);
	shutdown(h->remote->doorbell, SHUT_RDWR);
	remote_lost_manager(h);
}

/* There will be no host: everything outstanding, and everything to come, fails. */
static void remote_over(struct au_handle *h, int error, uint32_t reason)
{
	remote_hang_up(h);
	h->remote->down = false;
	handle_dead(h, error < 0 && error > -4096 ? error : -ENODEV);
	if (h->chan) {
		au_chan_tell_gone(h->chan, reason);
		au_chan_fail(h->chan, h->error);
	}
}

/* It was pulled out. What is outstanding fails, and what comes, until there is a device again. */
static void remote_gone(struct au_handle *h, uint32_t reason)
{
	struct remote *r = h->remote;
	void *rings = r->rings;
	int doorbell = r->doorbell;

	if (!h->chan || h->absent)
		return;
	r->down = r->broken = r->greeted = false;
	r->rings = NULL;
	r->doorbell = -1;
	handle_absent(h, true);
	au_chan_tell_gone(h->chan, reason);
	au_chan_gone(h->chan);
	handle_unwatch(h, doorbell);
	if (doorbell >= 0)
		close(doorbell);
	if (rings)
		munmap(rings, r->rings_size);
	remote_set_ticks(r);
}

/* ------------------------------------------------------------------- messages */

static int remote_channel(struct au_handle *h, const struct au_cm_channel *m, int fds[AU_MSG_FDS])
{
	struct remote *r = h->remote;
	int err = 0;

	r->greeted = false;
	if (!(m->flags & AU_CH_KEEP)) {
		err = remote_attach(h, m, fds);
		r->down = false;
		r->broken = !h->chan || !h->chan->up;
	}
	if (err == 0 && h->chan) {
		h->chan->recovery = m->flags & AU_CH_FAIL    ? AU_CHAN_FAIL
				    : m->flags & AU_CH_ABORT ? AU_CHAN_ABORT
							     : AU_CHAN_REISSUE;
		r->token[0] = m->token[0];
		r->token[1] = m->token[1];
		r->device = m->device;
	}
	remote_set_ticks(r);
	return err;
}

/* Why it is over, or has to wait. Return: enum au_gone. */
static uint32_t remote_why(struct au_handle *h, const struct au_cm_error *m)
{
	struct remote *r = h->remote;

	snprintf(r->error, sizeof(r->error), "%.*s", (int)sizeof(m->text) - 1, m->text);
	client_say("%s", r->error);
	h->why = r->error;
	return m->gone <= AU_GONE_ERROR ? m->gone : AU_GONE_UNKNOWN;
}

/* Return: 1 when a message was worked on, 0 when there is none, or a negative errno. */
static int remote_message(struct au_handle *h)
{
	_Alignas(16) char buf[REMOTE_MSG_MAX + 1];
	const struct au_msg_head *head = (const void *)buf;
	struct remote *r = h->remote;
	int fds[AU_MSG_FDS], err = 1;
	int length = au_msg_recv(r->sock, buf, sizeof(buf), fds);

	if (length == -EAGAIN)
		return 0;
	if (length <= 0)
		return length == 0 ? -ECONNRESET : length;
	if (head->type == AU_CM_CHANNEL && length == (int)sizeof(struct au_cm_channel)) {
		err = remote_channel(h, (const void *)buf, fds);
		err = err == 0 ? 1 : err;
	} else if (head->type == AU_CM_HELD) {
		/* No death: what its driver has never had is not given up. */
		if (h->chan && h->chan->recovery == AU_CHAN_FAIL)
			h->chan->recovery = AU_CHAN_ABORT;
	} else if (head->type == AU_CM_DOWN) {
		remote_down(h);
		if (h->chan)
			au_chan_lost(h->chan);
	} else if (head->type == AU_CM_ERROR && length == (int)sizeof(struct au_cm_error)) {
		const struct au_cm_error *m = (const void *)buf;
		int error = m->error;

		remote_over(h, error, remote_why(h, m));
		err = h->error;
	} else if (head->type == AU_CM_GONE && length == (int)sizeof(struct au_cm_error)) {
		remote_gone(h, remote_why(h, (const void *)buf));
	}
	/* Other messages are of later managers. */
	au_msg_close(fds);
	return err;
}

static void remote_messages(struct au_handle *h)
{
	struct remote *r = h->remote;
	int err = 1;

	if (r->attaching)
		return;
	r->attaching = true;
	while (r->sock >= 0 && err > 0)
		err = remote_message(h);
	r->attaching = false;
	/* A channel that cannot be used is the manager's fault; another one may do better. */
	if (err < 0 && r->sock >= 0)
		remote_lost_manager(h);
}

static void remote_ready(struct au_handle *h, enum handle_fd what, uint32_t events)
{
	struct remote *r = h->remote;
	uint64_t ticks;

	switch (what) {
	case HANDLE_FD_DOORBELL:
		if (r->doorbell >= 0 && !au_doorbell_drain(r->doorbell))
			remote_down(h);
		break;
	case HANDLE_FD_MANAGER:
		remote_messages(h);
		break;
	case HANDLE_FD_TIMER:
		if (read(r->timer, &ticks, sizeof(ticks)) < 0 || h->error)
			break;
		if (r->broken && !r->down)
			remote_leave_host(h);
		if (r->sock < 0)
			remote_knock(h);
		if (!h->chan->up && !r->attaching)
			au_chan_tick(h->chan);
		break;
	default:
		break;
	}
}

/* ------------------------------------------------------------ opening, closing */

static void remote_free(struct remote *r)
{
	if (r->rings)
		munmap(r->rings, r->rings_size);
	if (r->pool)
		munmap(r->pool, r->pool_size);
	if (r->doorbell >= 0)
		close(r->doorbell);
	if (r->pool_fd >= 0)
		close(r->pool_fd);
	if (r->timer >= 0)
		close(r->timer);
	if (r->sock >= 0)
		close(r->sock);
	free(r);
}

static void remote_close(struct au_handle *h)
{
	remote_free(h->remote);
}

static void remote_forked(struct au_handle *h)
{
	struct remote *r = h->remote;

	close(r->sock);
	close(r->doorbell);
	close(r->timer);
	close(r->pool_fd);
}

static const struct handle_ops remote_ops = {
	.submit = chan_handle_submit,
	.flush = chan_handle_flush,
	.cancel = chan_handle_cancel,
	.turn = chan_handle_turn,
	.arm = chan_handle_arm,
	.disarm = chan_handle_disarm,
	.ready = remote_ready,
	.event = chan_handle_event,
	.event_seen = chan_handle_event_seen,
	.generation = chan_handle_generation,
	.buffers = chan_handle_buffers,
	.close = remote_close,
	.forked = remote_forked,
};

static int remote_refused(const char *name, const char *dir, const char *path, int err)
{
	if (err == -ENOENT && access(dir, F_OK) == 0)
		return client_fail(err, "%s: there is no such unit in %s: `auriga ls` lists them",
				   name, dir);
	if (err == -ENOENT || err == -ECONNREFUSED)
		return client_fail(err,
				   "%s: no manager answers in %s: start aurigad, or set "
				   "AURIGA_RUNTIME_DIR",
				   name, dir);
	if (err == -EACCES)
		return client_fail(err,
				   "%s: not allowed: %s has an owner, a group and a mode like "
				   "any device node",
				   name, path);
	return client_fail(err, "%s: cannot connect to %s: %s", name, path, strerror(-err));
}

/* Wait for the first channel. */
static int remote_wait(struct au_handle *h, unsigned int timeout_ms)
{
	struct remote *r = h->remote;
	uint64_t end = handle_now_ns() + timeout_ms * 1000000ull;

	while (!h->chan || !h->chan->generation) {
		struct pollfd pfd = { .fd = r->sock, .events = POLLIN };
		uint64_t now = handle_now_ns();
		int err;

		if (now >= end)
			return client_fail(-ETIMEDOUT,
					   "%s: no driver serves it within %u ms: `auriga ls` "
					   "shows what it is doing",
					   h->unit, timeout_ms);
		poll(&pfd, 1, (int)((end - now) / 1000000 + 1));
		err = remote_message(h);
		if (err == -ECONNRESET)
			return client_fail(err, "%s: the manager hung up", h->unit);
		if (err < 0)
			return err;
	}
	return 0;
}

int remote_open(struct au_handle *h, const char *name, const struct au_open_options *options)
{
	char dir[AU_PATH_MAX], error[CLIENT_ERROR_SIZE];
	struct remote *r;
	int err;

	if (*name == 0 || strchr(name, '/') || strlen(name) >= 32)
		return client_fail(-EINVAL, "'%.40s' is not a unit's name, nor inproc:DRIVER,...",
				   name);
	snprintf(h->unit, sizeof(h->unit), "%s", name);
	err = au_runtime_dir(options->runtime_dir, false, dir, error, sizeof(error));
	if (err)
		return client_fail(err, "%s: %s", name, error);
	r = calloc(1, sizeof(*r));
	if (!r)
		return client_fail(-ENOMEM, "%s: no memory", name);
	*r = (struct remote){ .sock = -1,
			      .doorbell = -1,
			      .pool_fd = -1,
			      .flags = options->flags & AU_OPEN_QUIET,
			      .depth = options->depth,
			      .buffer_size = options->buffer_size };
	h->remote = r;
	h->ops = &remote_ops;
	if ((size_t)snprintf(r->path, sizeof(r->path), "%s/dev/%s", dir, name) >= sizeof(r->path) ||
	    au_socket_path_check(r->path, error, sizeof(error)) != 0) {
		free(r);
		return client_fail(-ENAMETOOLONG,
				   "%s: %s/dev is too long a path for a socket: set "
				   "AURIGA_RUNTIME_DIR",
				   name, dir);
	}
	r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	err = r->timer < 0 ? client_fail(-errno, "%s: cannot make a timer: %m", name) : 0;
	if (err == 0 && (options->flags & AU_OPEN_SHARED)) {
		err = handle_lock_init(&h->own_lock);
		if (err == 0)
			err = handle_watch(h, h->own_lock.kick, HANDLE_FD_KICK);
		h->lock = &h->own_lock;
	}
	if (err == 0) {
		err = remote_connect(r);
		if (err)
			err = remote_refused(name, dir, r->path, err);
	}
	if (err == 0) {
		err = remote_greet(h);
		if (err == -EPIPE)
			err = 0; /* refused already: why is to be read */
		else if (err)
			client_say("%s: cannot talk to the manager: %s", name, strerror(-err));
	}
	if (err == 0)
		err = remote_wait(h, options->timeout_ms);
	if (err == 0)
		err = handle_watch(h, r->sock, HANDLE_FD_MANAGER);
	if (err == 0)
		err = handle_watch(h, r->timer, HANDLE_FD_TIMER);
	if (err) {
		au_chan_destroy(h->chan);
		remote_free(r);
	}
	return err;
}
