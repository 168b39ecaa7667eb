/* SPDX-License-Identifier: MIT */
#include "export/nbdkit/share.h"

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SHARE_DEPTH   256u
#define SHARE_BUFFER  (256u << 10)
#define SHARE_PIECES  8u
#define SHARE_REST_MS 10

/**
 * struct share_call - one thread and what it waits for. In memory of its own: should the handle
 * fail under it, the library may still have its requests.
 * @flying: requests that are not complete.
 * @status: the first error.
 * @sleeping: it waits for @wake.
 * @hungry: for room for another request.
 */
struct share_call {
	struct share *share;
	struct share_call *next, *prev;
	unsigned int flying;
	int status;
	bool sleeping;
	bool hungry;
	sem_t wake;
	struct au_io io[SHARE_PIECES];
};

/* ---------------------------------------------------------------------- waiting */

static void share_wake(struct share_call *c)
{
	c->sleeping = false;
	sem_post(&c->wake);
}

/* With the mutex held: nobody polls, so one of those who sleep has to. */
static void share_pass_on(struct share *share)
{
	for (struct share_call *c = share->calls; c && !share->polling; c = c->next) {
		if (!c->sleeping)
			continue;
		share_wake(c);
		return;
	}
}

static void share_done(struct au_io *io)
{
	struct share_call *c = io->user, *other;
	struct share *share = c->share;

	pthread_mutex_lock(&share->mutex);
	share->flying--;
	if (io->status && !c->status)
		c->status = io->status;
	if (--c->flying == 0 && c->sleeping)
		share_wake(c);
	for (other = share->hungry ? share->calls : NULL; other; other = other->next) {
		if (other->hungry && other->sleeping) {
			share_wake(other);
			break;
		}
	}
	pthread_mutex_unlock(&share->mutex);
}

/* What the unit tells of itself; under the mutex. */
static void share_events(struct share *share)
{
	struct au_event event;

	while (au_event_next(share->handle, &event) == 1)
		if (event.kind == AU_BLOCK_EVENT_RESIZED)
			share->info.bytes = event.arg[0];
}

/* With the mutex held: poll once, for everybody, or sleep until there is a reason not to. */
static int share_wait_some(struct share *share, struct share_call *c)
{
	int rc = 0;

	if (share->polling) {
		c->sleeping = true;
		pthread_mutex_unlock(&share->mutex);
		while (sem_wait(&c->wake) != 0)
			;
		pthread_mutex_lock(&share->mutex);
		return 0;
	}
	share->polling = true;
	pthread_mutex_unlock(&share->mutex);
	rc = au_poll(share->handle, 0, -1);
	pthread_mutex_lock(&share->mutex);
	share->polling = false;
	share->dead |= rc < 0;
	share_events(share);
	return rc < 0 ? rc : 0;
}

static struct share_call *share_call_begin(struct share *share)
{
	struct share_call *c = malloc(sizeof(*c));

	if (!c)
		return NULL;
	c->share = share;
	c->flying = 0;
	c->status = 0;
	c->sleeping = c->hungry = false;
	sem_init(&c->wake, 0, 0);
	pthread_mutex_lock(&share->mutex);
	c->prev = NULL;
	c->next = share->calls;
	if (c->next)
		c->next->prev = c;
	share->calls = c;
	pthread_mutex_unlock(&share->mutex);
	return c;
}

static int share_call_end(struct share_call *c, int rc)
{
	struct share *share = c->share;
	bool leak;

	pthread_mutex_lock(&share->mutex);
	if (c->next)
		c->next->prev = c->prev;
	if (c->prev)
		c->prev->next = c->next;
	else
		share->calls = c->next;
	share_pass_on(share);
	rc = rc ? rc : c->status;
	leak = c->flying != 0;
	pthread_mutex_unlock(&share->mutex);
	if (!leak) {
		sem_destroy(&c->wake);
		free(c);
	}
	return rc;
}

/* Submit, when there is room. */
static int share_submit(struct share_call *c, struct au_io *io)
{
	struct share *share = c->share;
	int rc = 0;

	io->done = share_done;
	io->user = c;
	pthread_mutex_lock(&share->mutex);
	if (share->flying == SHARE_DEPTH) {
		c->hungry = true;
		share->hungry++;
		while (rc == 0 && share->flying == SHARE_DEPTH)
			rc = share_wait_some(share, c);
		share->hungry--;
		c->hungry = false;
		share_pass_on(share);
	}
	if (rc == 0) {
		share->flying++;
		c->flying++;
	}
	pthread_mutex_unlock(&share->mutex);
	if (rc)
		return rc;
	rc = au_submit(share->handle, io);
	if (rc) {
		pthread_mutex_lock(&share->mutex);
		share->flying--;
		c->flying--;
		pthread_mutex_unlock(&share->mutex);
	}
	return rc;
}

/* Wait for all that was submitted. */
static int share_wait(struct share_call *c)
{
	struct share *share = c->share;
	int rc = au_flush(share->handle);

	pthread_mutex_lock(&share->mutex);
	/* Of a handle that has failed, what was outstanding is complete. */
	while (rc >= 0 && c->flying)
		rc = share_wait_some(share, c);
	if (c->flying == 0)
		rc = 0;
	pthread_mutex_unlock(&share->mutex);
	return rc;
}

/* ------------------------------------------------------------------- operations */

int share_move(struct share *share, uint16_t op, void *data, uint32_t length, uint64_t offset,
	       uint16_t flags)
{
	struct share_call *c = share_call_begin(share);
	char *at = data;
	int rc = 0;

	if (!c)
		return -ENOMEM;
	while (length && rc == 0 && c->status == 0) {
		for (unsigned int i = 0; i < SHARE_PIECES && length && rc == 0; i++) {
			uint32_t piece = length < share->piece ? length : share->piece;

			c->io[i] = (struct au_io){ .op = op,
						   .flags = flags,
						   .length = piece,
						   .arg = { offset },
						   .data = at };
			rc = share_submit(c, &c->io[i]);
			at += piece;
			offset += piece;
			length -= piece;
		}
		/* Also what went out before one was refused. */
		int waited = share_wait(c);

		rc = rc ? rc : waited;
	}
	return share_call_end(c, rc);
}

static int share_one(struct share *share, const struct au_io *what)
{
	struct share_call *c = share_call_begin(share);
	int rc;

	if (!c)
		return -ENOMEM;
	c->io[0] = *what;
	rc = share_submit(c, &c->io[0]);
	if (rc == 0)
		rc = share_wait(c);
	return share_call_end(c, rc);
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

bool share_dead(struct share *share)
{
	bool dead;

	pthread_mutex_lock(&share->mutex);
	dead = share->dead;
	pthread_mutex_unlock(&share->mutex);
	return dead;
}

uint64_t share_bytes(struct share *share)
{
	uint64_t bytes;

	pthread_mutex_lock(&share->mutex);
	bytes = share->info.bytes;
	pthread_mutex_unlock(&share->mutex);
	return bytes;
}

/* ------------------------------------------------------------------------- idle */

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
		bool idle;

		if (poll(fds, count, -1) < 0 && errno != EINTR)
			return NULL;
		if (fds[0].revents)
			return NULL;
		pthread_mutex_lock(&share->mutex);
		idle = !share->calls && !share->polling;
		share->polling |= idle;
		pthread_mutex_unlock(&share->mutex);
		if (idle) {
			int rc = au_poll(share->handle, 0, 1);

			pthread_mutex_lock(&share->mutex);
			share->polling = false;
			share->dead |= rc < 0;
			share_events(share);
			share_pass_on(share);
			pthread_mutex_unlock(&share->mutex);
			if (rc < 0)
				count = 1; /* it has failed: there is nothing more to look after */
		} else {
			poll(fds, 1, SHARE_REST_MS);
		}
	}
}

/* ------------------------------------------------------------- opening, closing */

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
	struct share *share = calloc(1, sizeof(*share));

	if (!share) {
		snprintf(why, size, "%s: no memory", target);
		return NULL;
	}
	pthread_mutex_init(&share->mutex, NULL);
	share->stop = -1;
	share->info = (struct au_block_info){ .size = sizeof(share->info), .abi = 1 };
	if (au_open(target, &options, &share->handle) != 0) {
		snprintf(why, size, "%s", au_errmsg());
	} else if (strcmp(au_unit_class(share->handle), "block") != 0) {
		snprintf(why, size, "%s is of class %s; this exporter takes disks", target,
			 au_unit_class(share->handle));
	} else if (au_block_info(share->handle, &share->info) != 0) {
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
	free(share);
}
