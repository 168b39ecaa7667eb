/* SPDX-License-Identifier: MIT */
#include "export/nbdkit/share.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHARE_DEPTH   128u
#define SHARE_BUFFER  (256u << 10)
#define SHARE_PIECES  8u
#define SHARE_REST_MS 10

/**
 * struct share_call - one thread and what it waits for, on its stack.
 * @next: in a list of the share's.
 * @awake: 0 while it sleeps.
 * @flying: requests that are not complete.
 * @status: the first error.
 */
struct share_call {
	struct share_call *next;
	_Atomic uint32_t awake;
	unsigned int flying;
	int status;
	bool listed;
};

/**
 * struct share_place - a request and its data. It outlives the call, should the handle fail.
 * @next: in the list of those that are free, or complete.
 * @more: the same call's next one.
 */
struct share_place {
	struct share *share;
	struct share_place *next, *more;
	struct share_call *call;
	char *data;
	struct au_io io;
};

/* ----------------------------------------------------------------- sleeping, waking */

/* With the mutex held, which is dropped meanwhile. */
static void share_sleep(struct share *share, struct share_call *c, struct share_call ***end)
{
	c->next = NULL;
	c->listed = true;
	c->awake = 0;
	**end = c;
	*end = &c->next;
	pthread_mutex_unlock(&share->mutex);
	while (!c->awake)
		syscall(SYS_futex, &c->awake, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	pthread_mutex_lock(&share->mutex);
}

/* With no lock held, so that it does not wake up only to wait for that. */
static void share_wake(struct share_call *c)
{
	if (!c)
		return;
	c->awake = 1;
	/* It may be gone by now: then this is an address like any other. */
	syscall(SYS_futex, &c->awake, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* With the mutex held: take the first out of a list; share_wake() follows. */
static struct share_call *share_first(struct share_call **list, struct share_call ***end)
{
	struct share_call *c = *list;

	if (!c)
		return NULL;
	*list = c->next;
	if (!*list)
		*end = list;
	c->listed = false;
	return c;
}

/* With the mutex held: one that slept, and whose requests are complete. */
static void share_unlist(struct share *share, struct share_call *c)
{
	struct share_call **at = &share->sleepers;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	if (!*at)
		share->sleepers_end = at;
	c->listed = false;
}

/* ------------------------------------------------------------------------- leading */

/* In the poll of the one who leads. */
static void share_done(struct au_io *io)
{
	struct share_place *place = io->user;

	place->next = place->share->complete;
	place->share->complete = place;
}

/* What the unit tells of itself; with the mutex held. */
static void share_events(struct share *share)
{
	struct au_event event;

	while (au_event_next(share->handle, &event) == 1) {
		if (event.kind == AU_BLOCK_EVENT_RESIZED)
			share->info.bytes = event.arg[0];
		share->dead |= event.kind == AU_EVENT_GONE;
	}
}

/* With the mutex held, which is dropped meanwhile: tell those whose requests are complete. */
static void share_settle(struct share *share)
{
	struct share_call *woken = NULL;

	while (share->complete) {
		struct share_place *place = share->complete;
		struct share_call *c = place->call;

		share->complete = place->next;
		if (!c)
			continue; /* given up */
		if (place->io.status && !c->status)
			c->status = place->io.status;
		if (--c->flying || !c->listed)
			continue;
		share_unlist(share, c);
		c->next = woken;
		woken = c;
	}
	if (!woken)
		return;
	pthread_mutex_unlock(&share->mutex);
	while (woken) {
		struct share_call *c = woken;

		woken = c->next;
		share_wake(c);
	}
	pthread_mutex_lock(&share->mutex);
}

/* With the mutex held, which is dropped meanwhile: poll with a sleep. What others submit from now
 * on they flush themselves; the rest goes out first. */
static int share_doze(struct share *share, int timeout_ms)
{
	int n;

	share->asleep = true;
	pthread_mutex_unlock(&share->mutex);
	n = au_poll(share->handle, 0, timeout_ms);
	pthread_mutex_lock(&share->mutex);
	share->asleep = false;
	share->dead |= n < 0;
	share_events(share);
	return n;
}

/* With the mutex held, which is dropped meanwhile, and nobody leading: until something is complete,
 * or there is another reason to look around. */
static int share_lead(struct share *share)
{
	bool alone = !share->sleepers;
	uint64_t began;
	int n;

	share->leading = true;
	pthread_mutex_unlock(&share->mutex);
	n = export_spin_poll(&share->spin, share->handle, alone);
	pthread_mutex_lock(&share->mutex);
	if (n <= 0) {
		began = export_now_ns();
		n = share_doze(share, -1);
		if (alone)
			export_spin_slept(&share->spin, export_now_ns() - began);
	}
	share_settle(share);
	share->leading = false;
	return n < 0 ? n : 0;
}

/* With the mutex held: nobody leads, so one of those who sleep has to; share_wake() follows. */
static struct share_call *share_pass_on(struct share *share)
{
	if (share->leading || share->heir)
		return NULL;
	share->heir = share_first(&share->sleepers, &share->sleepers_end);
	return (struct share_call *)(uintptr_t)share->heir;
}

/* Wait for all that was submitted; @unsent of the call's places were not. */
static int share_wait(struct share *share, struct share_call *c, unsigned int unsent)
{
	struct share_call *next;
	int rc = 0;

	pthread_mutex_lock(&share->mutex);
	c->flying -= unsent;
	if (share->leading && share->asleep && c->flying) {
		pthread_mutex_unlock(&share->mutex);
		au_flush(share->handle);
		pthread_mutex_lock(&share->mutex);
	}
	while (rc >= 0 && c->flying) {
		if (share->leading)
			share_sleep(share, c, &share->sleepers_end);
		else
			rc = share_lead(share);
		if (share->heir == c)
			share->heir = NULL;
	}
	/* Of a handle that has failed, what was outstanding is complete. */
	if (c->flying == 0)
		rc = 0;
	next = share_pass_on(share);
	pthread_mutex_unlock(&share->mutex);
	share_wake(next);
	return rc;
}

/* -------------------------------------------------------------------------- places */

/* Room for up to @count requests of a call that has none; waits for the first. NULL: there is none,
 * and there will be none, since the device has gone. */
static struct share_place *share_take(struct share *share, struct share_call *c, unsigned int count)
{
	struct share_place *places = NULL, **end = &places;
	struct share_call *next = NULL;

	pthread_mutex_lock(&share->mutex);
	while (!share->free && !share->dead)
		share_sleep(share, c, &share->hungry_end);
	if (share->dead)
		next = share_first(&share->hungry, &share->hungry_end);
	for (; count && share->free; count--) {
		struct share_place *place = share->free;

		share->free = place->next;
		place->call = c;
		place->more = NULL;
		*end = place;
		end = &place->more;
		c->flying++;
	}
	pthread_mutex_unlock(&share->mutex);
	share_wake(next);
	return places;
}

/* These are free again, but for those that the library may still have. */
static void share_put(struct share *share, struct share_place *places, bool lost)
{
	struct share_call *next = NULL;

	pthread_mutex_lock(&share->mutex);
	while (places) {
		struct share_place *place = places;

		places = place->more;
		place->call = NULL;
		if (lost && place->io.status == -EINPROGRESS)
			continue;
		place->next = share->free;
		share->free = place;
	}
	if (share->free || share->dead)
		next = share_first(&share->hungry, &share->hungry_end);
	pthread_mutex_unlock(&share->mutex);
	share_wake(next);
}

/* A request in its place; its data are written there before, and read from there after. */
static int share_submit(struct share_place *place, const struct au_io *what)
{
	place->io = *what;
	place->io.done = share_done;
	place->io.user = place;
	return au_submit(place->share->handle, &place->io);
}

/* ----------------------------------------------------------------------- operations */

/* What is to be moved, from where it is now. */
struct share_move {
	uint16_t op;
	uint16_t flags;
	char *data;
	uint32_t length;
	uint64_t offset;
};

/* Submit the next piece of @m in @place. */
static int share_piece(struct share *share, struct share_move *m, struct share_place *place)
{
	uint32_t piece = m->length < share->piece ? m->length : share->piece;
	int rc;

	if (m->op == AU_BLOCK_WRITE)
		memcpy(place->data, m->data, piece);
	rc = share_submit(place, &(struct au_io){ .op = m->op,
						  .flags = m->flags,
						  .length = piece,
						  .arg = { m->offset },
						  .data = place->data });
	m->data += piece;
	m->offset += piece;
	m->length -= piece;
	return rc;
}

/* As many pieces at a time as there are places. */
static int share_batch(struct share *share, struct share_call *c, struct share_move *m)
{
	unsigned int count = (m->length + share->piece - 1) / share->piece;
	struct share_place *places, *place;
	char *at = m->data;
	unsigned int unsent = 0;
	int rc = 0, waited;

	places = share_take(share, c, count < SHARE_PIECES ? count : SHARE_PIECES);
	if (!places)
		return -ENODEV;
	for (place = places; place; place = place->more) {
		if (rc == 0)
			rc = share_piece(share, m, place);
		unsent += rc != 0;
	}
	/* Also for what went out before one was refused. */
	waited = share_wait(share, c, unsent);
	for (place = places; place && m->op == AU_BLOCK_READ; place = place->more) {
		if (rc || waited || c->status)
			break;
		memcpy(at, place->data, place->io.length);
		at += place->io.length;
	}
	share_put(share, places, waited != 0);
	return rc ? rc : waited ? waited : c->status;
}

int share_move(struct share *share, uint16_t op, void *data, uint32_t length, uint64_t offset,
	       uint16_t flags)
{
	struct share_move m = { op, flags, data, length, offset };
	struct share_call c = { .awake = 1 };
	int rc = 0;

	while (m.length && rc == 0)
		rc = share_batch(share, &c, &m);
	return rc;
}

static int share_one(struct share *share, const struct au_io *what)
{
	struct share_call c = { .awake = 1 };
	struct share_place *place = share_take(share, &c, 1);
	int rc, waited;

	if (!place)
		return -ENODEV;
	rc = share_submit(place, what);
	waited = share_wait(share, &c, rc != 0);
	share_put(share, place, waited != 0);
	return rc ? rc : waited ? waited : c.status;
}

int share_range(struct share *share, uint16_t op, uint64_t length, uint64_t offset)
{
	int rc = 0;

	while (length && rc == 0) {
		uint64_t part = length < share->info.max_range ? length : share->info.max_range;

		rc = share_one(share, &(struct au_io){ .op = op, .arg = { offset, part } });
		offset += part;
		length -= part;
	}
	return rc;
}

int share_flush(struct share *share)
{
	return share_one(share, &(struct au_io){ .op = AU_BLOCK_FLUSH });
}

/* ----------------------------------------------------------------------------- idle */

bool share_alive(struct share *share)
{
	struct share_call *next;
	bool alive;

	pthread_mutex_lock(&share->mutex);
	if (!share->leading) {
		share->leading = true;
		share_doze(share, 1);
		share_settle(share);
		share->leading = false;
	}
	alive = !share->dead;
	next = share_pass_on(share);
	pthread_mutex_unlock(&share->mutex);
	share_wake(next);
	return alive;
}

uint64_t share_bytes(struct share *share)
{
	uint64_t bytes;

	pthread_mutex_lock(&share->mutex);
	bytes = share->info.bytes;
	pthread_mutex_unlock(&share->mutex);
	return bytes;
}

/* With nobody waiting, somebody has to look after the handle all the same: a new host waits for
 * its clients to come back. Only descriptors are looked at, so it costs nothing while all is well.
 */
static void *share_attend(void *arg)
{
	struct share *share = arg;
	struct pollfd fds[] = { { .fd = share->stop, .events = POLLIN },
				{ .fd = au_fd(share->handle), .events = POLLIN } };
	unsigned int count = 2;

	for (;;) {
		if (poll(fds, count, -1) < 0 && errno != EINTR)
			return NULL;
		if (fds[0].revents)
			return NULL;
		/* Once it has failed there is nothing more to look after. */
		if (!share_alive(share))
			count = 1;
		poll(fds, 1, SHARE_REST_MS);
	}
}

/* ------------------------------------------------------------------ opening, closing */

/* A part of the handle's buffers for each request. */
static int share_places(struct share *share)
{
	size_t size, count;
	char *pool = au_buffers(share->handle, &size);

	count = size / SHARE_BUFFER < SHARE_DEPTH ? size / SHARE_BUFFER : SHARE_DEPTH;
	share->places = calloc(SHARE_DEPTH, sizeof(*share->places));
	if (!pool || !count || !share->places)
		return -ENOMEM;
	for (size_t i = count; i-- > 0;) {
		share->places[i] = (struct share_place){ .share = share,
							 .data = pool + i * SHARE_BUFFER,
							 .next = share->free };
		share->free = &share->places[i];
	}
	return 0;
}

static struct share *share_new(void)
{
	struct share *share = calloc(1, sizeof(*share));

	if (!share)
		return NULL;
	pthread_mutex_init(&share->mutex, NULL);
	share->sleepers_end = &share->sleepers;
	share->hungry_end = &share->hungry;
	share->stop = -1;
	share->info = (struct au_block_info){ .size = sizeof(share->info), .abi = 1 };
	return share;
}

struct share *share_open(const char *target, const char *runtime_dir, char *why, size_t size)
{
	const struct au_open_options options = {
		.size = sizeof(options),
		.abi = AU_CLIENT_ABI,
		.flags = AU_OPEN_SHARED,
		.depth = SHARE_DEPTH,
		.buffer_size = SHARE_BUFFER,
		.runtime_dir = runtime_dir,
	};
	struct share *share = share_new();

	if (!share) {
		snprintf(why, size, "%s: no memory", target);
		return NULL;
	}
	if (au_open(target, &options, &share->handle) != 0) {
		snprintf(why, size, "%s", au_errmsg());
	} else if (strcmp(au_unit_class(share->handle), "block") != 0) {
		snprintf(why, size, "%s is of class %s; this exporter takes disks", target,
			 au_unit_class(share->handle));
	} else if (au_block_info(share->handle, &share->info) != 0 || share_places(share) != 0) {
		snprintf(why, size, "%s", au_errmsg());
	} else {
		share->piece = share->info.max_transfer < SHARE_BUFFER ? share->info.max_transfer
								       : SHARE_BUFFER;
		share->stop = eventfd(0, EFD_CLOEXEC);
		share->attended = share->stop >= 0 &&
				  pthread_create(&share->attendant, NULL, share_attend, share) == 0;
		if (share->attended)
			return share;
		snprintf(why, size, "%s: cannot start a thread", target);
	}
	share_close(share);
	return NULL;
}

void share_close(struct share *share)
{
	if (!share)
		return;
	if (share->attended) {
		eventfd_write(share->stop, 1);
		pthread_join(share->attendant, NULL);
	}
	if (share->stop >= 0)
		close(share->stop);
	au_close(share->handle);
	pthread_mutex_destroy(&share->mutex);
	free(share->places);
	free(share);
}
