/* SPDX-License-Identifier: MIT */
/* Handles: who may use them, opening, closing, fork(), and the functions of auriga.h. */
#include "client/handle.h"

#include "base/abi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HANDLE_DEPTH	  32u
#define HANDLE_BUFFER	  4096u
#define HANDLE_TIMEOUT_MS 10000u
#define HANDLE_SPIN_NS	  50000u

__thread char client_self_;

/* --------------------------------------------------------- all handles, and fork() */

static pthread_mutex_t handles_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct au_handle *handles;
static pthread_once_t handles_once = PTHREAD_ONCE_INIT;

static void handles_prepare(void)
{
	pthread_mutex_lock(&handles_mutex);
}

static void handles_parent(void)
{
	pthread_mutex_unlock(&handles_mutex);
}

/*
 * The child has its parent's descriptors but none of its shared memory (MADV_DONTFORK). As long as
 * it kept the descriptors, nobody would see the parent's death.
 */
static void handles_child(void)
{
	for (struct au_handle *h = handles; h; h = h->next) {
		h->owner = NULL;
		h->forked = true;
		h->ops->forked(h);
		close(h->epoll);
	}
	pthread_mutex_init(&handles_mutex, NULL);
}

static void handles_init(void)
{
	pthread_atfork(handles_prepare, handles_parent, handles_child);
}

static void handles_add(struct au_handle *h)
{
	pthread_once(&handles_once, handles_init);
	pthread_mutex_lock(&handles_mutex);
	h->next = handles;
	h->link = &handles;
	if (handles)
		handles->link = &h->next;
	handles = h;
	pthread_mutex_unlock(&handles_mutex);
}

static void handles_remove(struct au_handle *h)
{
	pthread_mutex_lock(&handles_mutex);
	*h->link = h->next;
	if (h->next)
		h->next->link = h->link;
	pthread_mutex_unlock(&handles_mutex);
}

/* ------------------------------------------------------------------- opening */

static int handle_options(const struct au_open_options *given, struct au_open_options *options)
{
	char why[CLIENT_ERROR_SIZE];
	int err;

	*options = (struct au_open_options){ .size = sizeof(*options), .abi = AU_CLIENT_ABI };
	if (given) {
		err = au_abi_take(&au_abi_open_options, options, given, AU_ABI_SIZE_MAX, why,
				  sizeof(why));
		if (err)
			return client_fail(err, "au_open: %s", why);
	}
	if (options->flags & ~(uint32_t)(AU_OPEN_SHARED | AU_OPEN_POLL_APP | AU_OPEN_QUIET))
		return client_fail(-EINVAL, "au_open: flags 0x%x are not known", options->flags);
	if (options->depth == 0)
		options->depth = HANDLE_DEPTH;
	if (options->buffer_size == 0)
		options->buffer_size = HANDLE_BUFFER;
	if (options->timeout_ms == 0)
		options->timeout_ms = HANDLE_TIMEOUT_MS;
	if (options->depth > AU_WIRE_DEPTH_MAX || options->buffer_size > AU_WIRE_BUFFER_MAX)
		return client_fail(
			-EINVAL, "au_open: depth %u, buffer_size %u: at most %u and %u can be had",
			options->depth, options->buffer_size, AU_WIRE_DEPTH_MAX,
			AU_WIRE_BUFFER_MAX);
	while (options->depth & (options->depth - 1))
		options->depth += options->depth & -options->depth;
	options->buffer_size = (options->buffer_size + 63) & ~63u;
	return 0;
}

/*
 * Spinning is for when the other side can run meanwhile. A thread that is pinned to one processor
 * may well spin: where the other side is on the same one, poll_slept() finds out.
 */
static uint32_t handle_spin_max(void)
{
	return sysconf(_SC_NPROCESSORS_ONLN) < 2 ? 0 : HANDLE_SPIN_NS;
}

int au_open(const char *target, const struct au_open_options *given, struct au_handle **handle)
{
	struct au_open_options options;
	struct au_handle *h;
	int err;

	*handle = NULL;
	err = handle_options(given, &options);
	if (err)
		return err;
	h = calloc(1, sizeof(*h));
	if (!h)
		return client_fail(-ENOMEM, "%s: no memory", target);
	h->spin_max_ns = handle_spin_max();
	h->spin_ns = h->spin_max_ns / 2;
	h->own_lock.kick = -1;
	h->buffer_size = options.buffer_size;
	h->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (h->epoll < 0) {
		err = client_fail(-errno, "%s: cannot make an epoll descriptor: %m", target);
		free(h);
		return err;
	}
	if (strncmp(target, "inproc:", 7) == 0)
		err = inproc_open(h, target, &options);
	else
		err = remote_open(h, target, &options);
	if (err) {
		handle_lock_destroy(&h->own_lock);
		close(h->epoll);
		free(h);
		return err;
	}
	if (!(options.flags & AU_OPEN_SHARED))
		h->owner = h->thread = client_self();
	handles_add(h);
	*handle = h;
	return 0;
}

static void handle_free(struct au_handle *h)
{
	handles_remove(h);
	if (!h->forked) {
		h->ops->close(h);
		close(h->epoll);
		handle_lock_destroy(&h->own_lock);
	}
	au_chan_destroy(h->chan);
	free(h);
}

/* From within done(), or while somebody waits: whoever polls it still needs the handle. */
static bool handle_close_later(struct au_handle *h)
{
	if (!h->polling || h->forked)
		return false;
	if (h->chan)
		au_chan_forget(h->chan);
	handle_dead(h, -EBADF);
	h->close_later = true;
	/* Others that wait for something find out. */
	if (h->lock)
		handle_lock_news(h->lock);
	return true;
}

void au_close(struct au_handle *handle)
{
	struct handle_lock *lock = handle && !handle->forked ? handle->lock : NULL;
	bool later;

	if (!handle)
		return;
	if (lock)
		pthread_mutex_lock(&lock->mutex);
	later = handle_close_later(handle);
	if (lock)
		pthread_mutex_unlock(&lock->mutex);
	if (!later)
		handle_free(handle);
}

int handle_watch(struct au_handle *h, int fd, enum handle_fd what)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u32 = what };

	return epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &event) == 0 ? 0 : -errno;
}

void handle_unwatch(struct au_handle *h, int fd)
{
	if (fd >= 0)
		epoll_ctl(h->epoll, EPOLL_CTL_DEL, fd, NULL);
}

void handle_dead(struct au_handle *h, int error)
{
	if (!h->error)
		h->error = error;
	h->owner = NULL;
}

void handle_absent(struct au_handle *h, bool absent)
{
	h->absent = absent;
	h->owner = absent || h->error || h->forked ? NULL : h->thread;
}

/* ------------------------------------------------------------ who may do what */

/* May the caller use the handle? Takes the lock if there is one; handle_leave() follows. */
static int handle_enter(struct au_handle *h)
{
	if (h->forked)
		return client_fail(-EBADF,
				   "%s: a handle that was opened before fork(): open it "
				   "again in the child",
				   h->unit);
	if (h->lock)
		pthread_mutex_lock(&h->lock->mutex);
	else if (h->thread != client_self())
		return client_fail(-EPERM,
				   "%s: another thread's handle: open it with "
				   "AU_OPEN_SHARED, or once per thread",
				   h->unit);
	return 0;
}

static void handle_leave(struct au_handle *h)
{
	if (h->lock)
		pthread_mutex_unlock(&h->lock->mutex);
}

int handle_error(const struct au_handle *h)
{
	int error = h->error ? h->error : -ENODEV;

	if (h->why && *h->why)
		return client_fail(error, "%s", h->why);
	return client_fail(error, "%s: %s", h->unit,
			   error == -ENODEV ? "the device has gone: close the handle"
					    : strerror(-error));
}

int handle_refused(const struct au_handle *h, const struct au_io *io, int rc)
{
	if (rc == -EMSGSIZE)
		client_say("%s: a request of %u bytes is longer than the handle's buffers: open it "
			   "with a larger buffer_size",
			   h->unit, io->length);
	else if (rc == -EINVAL && io->flags != 0)
		client_say("%s: au_io.flags 0x%x are not known here for a unit of this class",
			   h->unit, io->flags);
	else if (rc == -EINVAL)
		client_say("%s: a request of %u bytes has no data", h->unit, io->length);
	return rc;
}

static int __attribute__((noinline)) handle_submit_slowly(struct au_handle *h, struct au_io *io)
{
	int rc = handle_enter(h);

	if (rc)
		return rc;
	rc = h->error || h->absent ? handle_error(h) : h->ops->submit(h, io);
	if (h->lock)
		handle_lock_seen(h->lock);
	handle_leave(h);
	return rc;
}

int au_submit(struct au_handle *handle, struct au_io *io)
{
	if (AU_RING_UNLIKELY(handle->owner != client_self()))
		return handle_submit_slowly(handle, io);
	return handle->ops->submit(handle, io);
}

void *au_buffers(struct au_handle *handle, size_t *size)
{
	void *buffers;

	*size = 0;
	if (handle_enter(handle) != 0)
		return NULL;
	buffers = handle->ops->buffers(handle, size);
	if (!buffers)
		client_say(
			"%s: its buffers can be had with a depth of 2 or more, while no request is "
			"outstanding, and while there is memory",
			handle->unit);
	handle_leave(handle);
	return buffers;
}

int au_flush(struct au_handle *handle)
{
	int rc = handle_enter(handle);

	if (rc)
		return rc;
	rc = handle->error || handle->absent ? handle_error(handle) : handle->ops->flush(handle);
	handle_leave(handle);
	return rc;
}

int au_cancel(struct au_handle *handle, struct au_io *io)
{
	int rc = handle_enter(handle);

	if (rc)
		return rc;
	rc = handle->ops->cancel(handle, io);
	handle_leave(handle);
	return rc;
}

int au_poll(struct au_handle *handle, unsigned int max, int timeout_ms)
{
	if (AU_RING_UNLIKELY(handle->owner != client_self())) {
		if (handle->lock && !handle->forked)
			return handle_shared_poll(handle, max, timeout_ms, NULL);
		int rc = handle_enter(handle);

		if (rc)
			return rc;
	}
	return handle_poll(handle, max, timeout_ms, NULL);
}

/* ------------------------------------------------------------------- waiting */

struct handle_wait {
	void (*done)(struct au_io *io);
	void *user;
	int status;
	_Atomic bool complete;
};

static void handle_wait_done(struct au_io *io)
{
	struct handle_wait *w = io->user;

	io->done = w->done;
	io->user = w->user;
	w->status = io->status;
	/* It may free @io. */
	if (io->done)
		io->done(io);
	w->complete = true;
}

static int handle_wait_poll(struct au_handle *h, const _Atomic bool *stop)
{
	return h->lock ? handle_shared_poll(h, 0, -1, stop) : handle_poll(h, 0, -1, stop);
}

/* The handle stays as long as somebody waits, though done() may close it. */
static int handle_wait_begin(struct au_handle *h)
{
	int rc = handle_enter(h);

	if (rc)
		return rc;
	h->polling++;
	handle_leave(h);
	return 0;
}

static bool handle_wait_closed(struct au_handle *h)
{
	bool closed;

	if (h->lock)
		pthread_mutex_lock(&h->lock->mutex);
	closed = h->close_later;
	handle_leave(h);
	return closed;
}

static void handle_wait_end(struct au_handle *h)
{
	bool last;

	if (h->lock)
		pthread_mutex_lock(&h->lock->mutex);
	last = --h->polling == 0 && h->close_later;
	handle_leave(h);
	if (last)
		handle_free(h);
}

static int handle_wait(struct au_handle *h, struct au_io *io, const struct handle_wait *wait)
{
	int rc;

	while ((rc = au_submit(h, io)) == -EAGAIN) {
		rc = handle_wait_poll(h, NULL);
		if (rc < 0)
			return rc;
	}
	while (rc >= 0 && !wait->complete) {
		rc = handle_wait_poll(h, &wait->complete);
		if (!wait->complete && handle_wait_closed(h))
			rc = client_fail(-EBADF, "%s: closed while a request was waited for",
					 h->unit);
	}
	return rc;
}

int au_wait(struct au_handle *handle, struct au_io *io)
{
	struct handle_wait wait = { .done = io->done, .user = io->user };
	int rc = handle_wait_begin(handle);

	if (rc)
		return rc;
	io->done = handle_wait_done;
	/* cppcheck-suppress autoVariables ; it is put back before this returns */
	io->user = &wait;
	rc = handle_wait(handle, io, &wait);
	handle_wait_end(handle);
	/* It is complete: it is the application's, which may have freed it. */
	if (wait.complete)
		return wait.status; /* NOLINT(clang-analyzer-core.StackAddressEscape) */
	io->done = wait.done;
	io->user = wait.user;
	return rc;
}

int au_fd(struct au_handle *handle)
{
	return handle->forked ? -EBADF : handle->epoll;
}

bool au_arm(struct au_handle *handle)
{
	int timeout_ms;
	bool armed;

	if (handle_enter(handle) != 0)
		return false;
	armed = handle->armed || handle->ops->arm(handle, &timeout_ms);
	handle->armed = armed;
	/* What another thread armed before it went to sleep was taken back with it. */
	if (!armed && handle->lock && handle->lock->sleeper)
		(void)eventfd_write(handle->lock->kick, 1);
	handle_leave(handle);
	return armed;
}

/* --------------------------------------------------------------- events, facts */

int au_event_next(struct au_handle *handle, struct au_event *event)
{
	int rc = handle_enter(handle);

	if (rc)
		return rc;
	rc = handle->ops->event(handle, event);
	handle_leave(handle);
	return rc;
}

const char *au_unit_name(const struct au_handle *handle)
{
	return handle->unit;
}

const char *au_unit_class(const struct au_handle *handle)
{
	return handle->cls;
}

uint32_t au_generation(const struct au_handle *handle)
{
	return handle->forked ? 0 : handle->ops->generation(handle);
}

void handle_leave_poll(struct au_handle *h)
{
	if (--h->polling == 0 && h->close_later)
		handle_free(h);
}

int handle_struct(struct au_handle *h, uint16_t op, const struct au_abi_type *type,
		  const void *given)
{
	char why[CLIENT_ERROR_SIZE];
	struct au_io io = { .op = op, .data = (void *)(uintptr_t)given };
	int err = au_abi_check(type, given, AU_ABI_SIZE_MAX, why, sizeof(why));

	if (err)
		return client_fail(err, "%s: %s", au_unit_name(h), why);
	memcpy(&io.length, given, sizeof(io.length));
	return au_wait(h, &io);
}
