/* SPDX-License-Identifier: MIT */
/* Both ends of a channel: requests, cancellation, doorbells, events, and peers that misbehave. */
#include "chan_pair.h"

#include <pthread.h>

#include "auriga/raw.h"

#define DEPTH  8u
#define BUFFER 256u
#define OP     (AU_RAW_FIRST + 1)

static int setup(void **state)
{
	*state = pair_new(DEPTH, BUFFER);
	return 0;
}

static int teardown(void **state)
{
	pair_free(*state);
	return 0;
}

static unsigned int done_count;

static void count_done(struct au_io *io)
{
	done_count++;
}

/* ---------------------------------------------------------------- requests */

static void test_request(void **state)
{
	struct pair *pair = *state;
	char text[] = "forty-two";
	struct au_io io = { .op = OP,
			    .arg = { 11, 12 },
			    .data = text,
			    .length = sizeof(text),
			    .done = count_done };
	struct auf_submit *got = &pair->host->handle->held[0];

	pair->host->handle->hold = true;
	done_count = 0;
	assert_int_equal(au_chan_submit(pair->chan, &io), 0);
	assert_int_equal(io.status, -EINPROGRESS);
	assert_int_equal(au_chan_poll(pair->chan, 0), 0);
	assert_int_equal(fake_turn(&pair->host->lane), 1);
	assert_int_equal(slot_of(&io), 0);
	assert_int_equal(got->op, OP);
	assert_int_equal(got->arg[0], 11);
	assert_int_equal(got->arg[1], 12);
	assert_int_equal(got->length, sizeof(text));
	assert_string_equal(got->data, "forty-two");
	assert_int_equal(got->flags, 0);
	assert_false(got->suspect);
	memcpy(got->data, "FORTY", 5);
	fake_complete(pair->host->handle, 0, -AU_EIO, 5);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(done_count, 1);
	assert_int_equal(io.status, -AU_EIO);
	assert_int_equal(io.result, 5);
	assert_int_equal(io.device_status, 7);
	assert_string_equal(text, "FORTY-two");
	assert_int_equal(au_chan_poll(pair->chan, 0), 0);
}

/* What nothing special is the matter with does without auf_submit(); the rest does not, in order.
 */
static void test_plain(void **state)
{
	struct pair *pair = *state;
	char data[] = "some";
	struct au_io io[4] = {
		{ .op = AU_RAW_WRITE | OP, .data = data, .length = 4, .arg = { 5, 6 } },
		{ .op = OP, .timeout_ms = 1000 },
		{ .op = OP },
		{ .op = OP, .timeout_ms = 1000 }
	};
	struct fake_handle *h = pair->host->handle;

	h->hold = true;
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(au_chan_submit(pair->chan, &io[i]), 0);
	au_chan_flush(pair->chan);
	assert_int_equal(fake_turn(&pair->host->lane), 4);
	assert_int_equal(h->submitted, 4);
	assert_int_equal(h->plain, 2);
	for (unsigned int i = 0; i < 4; i++) {
		const struct auf_submit *held = &h->held[slot_of(&io[i])];

		assert_int_equal(h->order[i], io[i].handle_);
		assert_int_equal(held->op, io[i].op);
		assert_int_equal(held->length, io[i].length);
		assert_int_equal(held->timeout_ms, io[i].timeout_ms);
		assert_memory_equal(held->arg, io[i].arg, sizeof(io[i].arg));
		assert_int_equal(held->progress->tag, (uint32_t)(io[i].handle_ >> 16));
	}
	assert_memory_equal(h->held[slot_of(&io[0])].data, "some", 4);
}

/* Which way data go decides what is copied: a constant buffer is never written to. */
static void test_directions(void **state)
{
	struct pair *pair = *state;
	static const char constant[] = "constant";
	char in[] = "private";
	struct au_io to = { .op = AU_RAW_WRITE | OP,
			    .data = (void *)(uintptr_t)constant,
			    .length = sizeof(constant) };
	struct au_io from = { .op = AU_RAW_READ | OP, .data = in, .length = sizeof(in) };
	struct fake_handle *h = pair->host->handle;

	h->hold = true;
	au_chan_submit(pair->chan, &to);
	au_chan_submit(pair->chan, &from);
	au_chan_flush(pair->chan);
	fake_turn(&pair->host->lane);
	assert_string_equal(h->held[0].data, "constant");
	memcpy(h->held[0].data, "scribble", 8);
	assert_string_equal(h->held[1].data, "");
	memcpy(h->held[1].data, "results", 8);
	fake_complete(h, 0, 0, 8);
	/* More than was asked for. */
	fake_complete(h, 1, 0, 100000);
	fake_turn(&pair->host->lane);
	assert_int_equal(au_chan_poll(pair->chan, 0), 2);
	assert_string_equal(in, "results");
}

static void test_serial_results(void **state)
{
	struct pair *pair = *state;
	unsigned char buf[16] = { 0 };
	struct au_io recv = { .op = 2, .data = buf, .length = 8 };
	struct au_io line = { .op = 4, .data = buf + 8, .length = 4 };
	struct au_io modem = { .op = 6 };
	struct fake_handle *h = pair->host->handle;

	au_chan_set_class(pair->chan, "serial");
	h->hold = true;
	au_chan_submit(pair->chan, &recv);
	au_chan_submit(pair->chan, &line);
	au_chan_submit(pair->chan, &modem);
	au_chan_flush(pair->chan);
	fake_turn(&pair->host->lane);
	memset(h->held[0].data, 'r', 16);
	memset(h->held[1].data, 'l', 16);
	fake_complete(h, 0, 0, 9); /* a host that lies: no caller may count past its buffer */
	fake_complete(h, 1, 0, 0);
	fake_complete(h, 2, 0, 0x93);
	fake_turn(&pair->host->lane);
	assert_int_equal(au_chan_poll(pair->chan, 0), 3);
	assert_int_equal(recv.result, 8);
	assert_int_equal(modem.result, 0x93);
	assert_memory_equal(buf, "rrrrrrrrllll\0\0\0", 16);
}

static void test_limits(void **state)
{
	struct pair *pair = *state;
	struct au_io io[DEPTH + 1] = { 0 };
	char big[BUFFER + 1] = { 0 };
	struct au_io huge = { .op = OP, .data = big, .length = sizeof(big) };
	struct au_io null = { .op = OP, .length = 1 };

	assert_int_equal(au_chan_submit(pair->chan, &huge), -EMSGSIZE);
	assert_int_equal(au_chan_submit(pair->chan, &null), -EINVAL);
	for (unsigned int i = 0; i < DEPTH; i++) {
		io[i].op = OP;
		assert_int_equal(au_chan_submit(pair->chan, &io[i]), 0);
	}
	assert_int_equal(au_chan_submit(pair->chan, &io[DEPTH]), -EAGAIN);
	assert_int_equal(au_chan_outstanding(pair->chan), DEPTH);
	au_chan_flush(pair->chan);
	assert_int_equal(fake_turn(&pair->host->lane), DEPTH);
	assert_int_equal(au_chan_poll(pair->chan, 3), 3);
	assert_int_equal(au_chan_poll(pair->chan, 0), DEPTH - 3);
	assert_int_equal(au_chan_submit(pair->chan, &io[DEPTH]), 0);
}

static struct pair *chain_pair;
static unsigned int chain_left;

static void chain_done(struct au_io *io)
{
	assert_int_equal(io->status, 0);
	if (chain_left > 0) {
		chain_left--;
		assert_int_equal(au_chan_submit(chain_pair->chan, io), 0);
	}
}

/* done() submits again, and may poll: many laps, and the rings are never found full. */
static void test_resubmit(void **state)
{
	struct pair *pair = *state;
	struct au_io io[DEPTH];
	unsigned int total = 0;

	chain_pair = pair;
	chain_left = 10000;
	for (unsigned int i = 0; i < DEPTH; i++) {
		io[i] = (struct au_io){ .op = OP, .done = chain_done };
		assert_int_equal(au_chan_submit(pair->chan, &io[i]), 0);
	}
	while (total < 10000 + DEPTH) {
		unsigned int n = au_chan_poll(pair->chan, 1 + total % 5);

		total += n;
		if (fake_turn(&pair->host->lane) == 0 && n == 0)
			break;
	}
	assert_int_equal(total, 10000 + DEPTH);
	assert_int_equal(au_chan_outstanding(pair->chan), 0);
	assert_int_equal(pair->chan->stats.broken, 0);
	assert_int_equal(pair->host->ended, 0);
}

/* ------------------------------------------------------------ cancellation */

static void test_cancel(void **state)
{
	struct pair *pair = *state;
	struct au_io a = { .op = OP }, b = { .op = OP };

	pair->host->handle->hold = true;
	au_chan_submit(pair->chan, &a);
	au_chan_submit(pair->chan, &b);
	au_chan_flush(pair->chan);
	fake_turn(&pair->host->lane);
	assert_int_equal(au_chan_cancel(pair->chan, &a), 0);
	assert_int_equal(au_chan_cancel(pair->chan, &a), 0);
	fake_turn(&pair->host->lane);
	assert_int_equal(pair->host->handle->canceled, 1);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(a.status, -ECANCELED);
	assert_int_equal(b.status, -EINPROGRESS);
	assert_int_equal(au_chan_cancel(pair->chan, &a), -ESRCH);
	/* Too late: the result was first. */
	fake_complete(pair->host->handle, slot_of(&b), 0, 0);
	assert_int_equal(au_chan_cancel(pair->chan, &b), 0);
	fake_turn(&pair->host->lane);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(b.status, 0);
	assert_int_equal(pair->chan->cancels, 0);
}

/* A cancellation that is seen before its request still cancels it. */
static void test_cancel_overtakes(void **state)
{
	struct pair *pair = *state;
	struct au_io io = { .op = OP };
	struct au_wire_control *e;

	pair->host->handle->hold = true;
	e = au_ring64_push(&pair->chan->control);
	*e = (struct au_wire_control){ .handle = AU_HANDLE_MAKE(1, 0),
				       .kind = AU_WIRE_CANCEL,
				       .generation = 1 };
	au_ring64_publish(&pair->chan->control, e);
	au_ring_flush(&pair->chan->control);
	fake_turn(&pair->host->lane);
	au_chan_submit(pair->chan, &io);
	assert_int_equal(io.handle_, AU_HANDLE_MAKE(1, 0));
	au_chan_flush(pair->chan);
	fake_turn(&pair->host->lane);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(io.status, -ECANCELED);
}

/* More cancellations than the control ring holds. */
static void test_cancel_many(void **state)
{
	struct pair *pair = pair_new(1024, 64);
	struct au_io *io = calloc(1024, sizeof(*io));
	unsigned int done = 0;

	pair->host->handle->hold = true;
	for (unsigned int i = 0; i < 1024; i++) {
		io[i].op = OP;
		assert_int_equal(au_chan_submit(pair->chan, &io[i]), 0);
	}
	for (unsigned int i = 0; i < 1024; i++)
		assert_int_equal(au_chan_cancel(pair->chan, &io[i]), 0);
	for (unsigned int i = 0; i < 1000 && done < 1024; i++) {
		fake_turn(&pair->host->lane);
		done += au_chan_poll(pair->chan, 0);
	}
	assert_int_equal(done, 1024);
	for (unsigned int i = 0; i < 1024; i++)
		assert_int_equal(io[i].status, -ECANCELED);
	assert_int_equal(pair->chan->cancels, 0);
	free(io);
	pair_free(pair);
}

/* --------------------------------------------------------------- doorbells */

static int bytes_waiting(int fd)
{
	char buf[64];

	return (int)recv(fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_PEEK);
}

static void test_doorbells(void **state)
{
	struct pair *pair = *state;
	struct auf_source *src = pair->host->lane.sources[0];
	struct au_io io = { .op = OP }, again = { .op = OP };

	/* Nobody sleeps: no system call. */
	au_chan_submit(pair->chan, &io);
	au_chan_flush(pair->chan);
	assert_int_equal(bytes_waiting(pair->host->bell[1]), -1);
	assert_false(src->arm(src));
	fake_turn(&pair->host->lane);
	assert_int_equal(bytes_waiting(pair->host->bell[0]), -1);
	assert_false(au_chan_arm(pair->chan));
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);

	/* The host sleeps: one byte, however many batches. */
	assert_true(src->arm(src));
	au_chan_submit(pair->chan, &io);
	au_chan_flush(pair->chan);
	au_chan_submit(pair->chan, &again);
	au_chan_flush(pair->chan);
	assert_int_equal(bytes_waiting(pair->host->bell[1]), 1);
	src->disarm(src);
	assert_int_equal(bytes_waiting(pair->host->bell[1]), -1);

	/* The client sleeps. */
	assert_true(au_chan_arm(pair->chan));
	fake_turn(&pair->host->lane);
	assert_int_equal(bytes_waiting(pair->host->bell[0]), 1);
	assert_true(au_doorbell_drain(pair->chan->doorbell));
	au_chan_disarm(pair->chan);
	assert_int_equal(au_chan_poll(pair->chan, 0), 2);

	/* A cancellation wakes the host as well. */
	pair->host->handle->hold = true;
	au_chan_submit(pair->chan, &io);
	au_chan_flush(pair->chan);
	fake_turn(&pair->host->lane);
	assert_true(src->arm(src));
	au_chan_cancel(pair->chan, &io);
	assert_int_equal(bytes_waiting(pair->host->bell[1]), 1);
}

static void test_doorbell_flood(void **state)
{
	struct pair *pair = *state;
	struct auf_source *src = pair->host->lane.sources[0];
	char flood[4096] = { 0 };
	struct au_io io = { .op = OP };
	int rounds = 0;

	while (send(pair->host->bell[0], flood, sizeof(flood), MSG_DONTWAIT) > 0)
		;
	/* Neither end blocks, and requests go on. */
	for (unsigned int i = 0; i < 1000; i++) {
		assert_true(src->arm(src));
		au_chan_submit(pair->chan, &io);
		au_chan_flush(pair->chan);
		src->disarm(src);
		fake_turn(&pair->host->lane);
		assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	}
	while (bytes_waiting(pair->host->bell[1]) > 0 && rounds++ < 10000)
		src->disarm(src);
	assert_int_equal(pair->host->ended, 0);
}

static void test_client_dies(void **state)
{
	struct pair *pair = *state;
	struct auf_source *src = pair->host->lane.sources[0];
	struct au_io io = { .op = OP };

	pair->host->handle->hold = true;
	au_chan_submit(pair->chan, &io);
	au_chan_flush(pair->chan);
	fake_turn(&pair->host->lane);
	assert_true(src->arm(src));
	shutdown(pair->host->bell[0], SHUT_RDWR);
	src->disarm(src);
	fake_turn(&pair->host->lane);
	assert_int_equal(pair->host->ended, 1);
	assert_int_equal(pair->host->closed, 1);
	assert_int_equal(pair->host->reason, 0);
}

/* A lane that never sleeps finds out too. */
static void test_client_dies_unseen(void **state)
{
	struct pair *pair = *state;

	shutdown(pair->host->bell[0], SHUT_RDWR);
	for (unsigned int i = 0; i < 20000 && !pair->host->ended; i++)
		fake_turn(&pair->host->lane);
	assert_int_equal(pair->host->closed, 1);
}

/* ------------------------------------------------------------------ events */

static void host_event(struct pair *pair, uint16_t kind, uint32_t count, uint64_t arg0)
{
	struct au_event e = { .kind = kind, .count = count, .arg = { arg0 } };

	pair->host->handle->real.config.event(&pair->host->handle->real, &e);
}

static void test_events(void **state)
{
	struct pair *pair = *state;
	struct au_event e;

	assert_false(au_chan_event_next(pair->chan, &e));
	assert_true(au_chan_arm(pair->chan));
	host_event(pair, 0x100, 2, 33);
	fake_turn(&pair->host->lane);
	assert_int_equal(bytes_waiting(pair->host->bell[0]), 1);
	au_chan_disarm(pair->chan);
	assert_int_equal(au_chan_poll(pair->chan, 0), 0);
	assert_true(au_chan_event_seen(pair->chan));
	assert_false(au_chan_event_seen(pair->chan));
	assert_true(au_chan_event_next(pair->chan, &e));
	assert_int_equal(e.kind, 0x100);
	assert_int_equal(e.count, 2);
	assert_int_equal(e.arg[0], 33);
	assert_false(au_chan_event_next(pair->chan, &e));
	/* What only the library says, no host can say. */
	host_event(pair, AU_EVENT_RESTARTED, 1, 0);
	fake_turn(&pair->host->lane);
	au_chan_poll(pair->chan, 0);
	assert_false(au_chan_event_next(pair->chan, &e));
	assert_int_equal(pair->chan->stats.foreign, 1);
}

/*
 * A client that does not read: of one kind, counts add up; kinds that have a place are kept one by
 * one while there is room; what is lost is said where it is lost. And what waits in the host comes
 * when there is room, though nothing else happens.
 */
static void test_events_not_read(void **state)
{
	struct pair *pair = *state;
	struct auf_source *src = pair->host->lane.sources[0];
	uint64_t counted = 0, dropped = 0, next = 0;
	unsigned int distinct = 0;
	struct au_event e;

	for (unsigned int i = 0; i < 1000; i++) {
		host_event(pair, 0x100, 1, i);
		if (i % 5 == 0)
			host_event(pair, 0x8110, 1, i);
		fake_turn(&pair->host->lane);
	}
	assert_true(src->arm(src));
	for (unsigned int round = 0; round < 100; round++) {
		while (au_chan_event_next(pair->chan, &e)) {
			if (e.kind == 0x100)
				counted += e.count;
			else if (e.kind == AU_EVENT_OVERFLOW)
				dropped += e.count;
			else {
				assert_int_equal(e.kind, 0x8110);
				assert_int_equal(e.count, 1);
				assert_true(e.arg[0] >= next);
				next = e.arg[0] + 1;
				distinct++;
			}
		}
		if (bytes_waiting(pair->host->bell[1]) < 1)
			break;
		src->disarm(src);
		fake_turn(&pair->host->lane);
		assert_true(src->arm(src));
	}
	assert_int_equal(counted, 1000);
	assert_true(dropped > 0);
	assert_int_equal(distinct + dropped, 200);
	assert_true(distinct > AU_WIRE_EVENT_ENTRIES / 2);
	/* And it is over: new events come singly again. */
	src->disarm(src);
	host_event(pair, 0x101, 1, 0);
	fake_turn(&pair->host->lane);
	assert_true(au_chan_event_next(pair->chan, &e));
	assert_int_equal(e.kind, 0x101);
}

/* An application that never looks at events does not spin because of them. */
static void test_events_ignored(void **state)
{
	struct pair *pair = *state;

	for (unsigned int i = 0; i < 500; i++) {
		host_event(pair, (uint16_t)(0x8000 + i), 1, 0);
		fake_turn(&pair->host->lane);
		au_chan_poll(pair->chan, 0);
	}
	assert_false(au_chan_arm(pair->chan));
	assert_true(au_chan_event_seen(pair->chan));
	assert_true(au_chan_arm(pair->chan));
}

/* --------------------------------------------------------- a hostile client */

static void bad_entry(struct pair *pair, struct au_wire_submit entry)
{
	struct au_wire_submit *e = au_ring64_push(&pair->chan->submit);

	*e = entry;
	au_ring64_publish(&pair->chan->submit, e);
	au_ring_flush(&pair->chan->submit);
	fake_turn(&pair->host->lane);
	fake_turn(&pair->host->lane);
}

static void test_hostile_entries(void **state)
{
	const struct au_wire_submit good = { .handle = AU_HANDLE_MAKE(9, 1),
					     .op = OP,
					     .generation = 1 };
	struct au_wire_submit bad[11];
	unsigned int count = 0;

#define BAD(field, value)                   \
	do {                                \
		bad[count] = good;          \
		bad[count++].field = value; \
	} while (0)
	BAD(handle, AU_HANDLE_MAKE(9, DEPTH));
	BAD(handle, UINT64_MAX);
	BAD(length, BUFFER + 1);
	BAD(length, UINT32_MAX);
	BAD(flags, AU_WIRE_REPLAY);
	BAD(flags, AU_WIRE_SUSPECT);
	BAD(flags, 0x8000);
	for (unsigned int i = 0; i < 4; i++) {
		static const uint64_t offsets[] = { (uint64_t)DEPTH * BUFFER - 64,
						    (uint64_t)DEPTH * BUFFER + 64, UINT64_MAX - 63,
						    3 };

		bad[count] = good;
		bad[count].length = 128;
		bad[count++].offset = offsets[i];
	}
	assert_int_equal(count, sizeof(bad) / sizeof(bad[0]));

	for (unsigned int i = 0; i < count; i++) {
		struct pair *pair = pair_new(DEPTH, BUFFER);

		bad_entry(pair, good);
		assert_int_equal(pair->host->ended, 0);
		assert_int_equal(pair->host->handle->submitted, 1);
		bad_entry(pair, bad[i]);
		assert_int_equal(pair->host->ended, 1);
		assert_int_equal(pair->host->reason, -EPROTO);
		assert_true(strlen(pair->host->why) > 10);
		assert_int_equal(pair->host->closed, 1);
		pair_free(pair);
	}
}

static void test_hostile_handles(void **state)
{
	struct pair *pair = *state;
	struct au_wire_submit e = { .handle = AU_HANDLE_MAKE(5, 1), .op = OP, .generation = 1 };
	struct fake_handle *h = pair->host->handle;

	/* Another generation's: dropped, and no harm done. */
	e.generation = 77;
	bad_entry(pair, e);
	assert_int_equal(h->submitted, 0);
	assert_int_equal(au_chan_server_stats(pair->host->server).stale, 1);
	/* A slot whose request is not complete. */
	e.generation = 1;
	h->hold = true;
	bad_entry(pair, e);
	assert_int_equal(h->submitted, 1);
	e.handle = AU_HANDLE_MAKE(6, 1);
	bad_entry(pair, e);
	assert_int_equal(pair->host->reason, -EPROTO);
	assert_int_equal(pair->host->closed, 1);
}

static void test_hostile_control(void **state)
{
	static const struct au_wire_control bad[] = {
		{ .kind = 99, .generation = 1 },
		{ .kind = AU_WIRE_CANCEL, .generation = 1, .handle = AU_HANDLE_MAKE(1, DEPTH) },
	};

	for (unsigned int i = 0; i < 2; i++) {
		struct pair *pair = pair_new(DEPTH, BUFFER);
		struct au_wire_control *e = au_ring64_push(&pair->chan->control);

		*e = bad[i];
		au_ring64_publish(&pair->chan->control, e);
		au_ring_flush(&pair->chan->control);
		fake_turn(&pair->host->lane);
		fake_turn(&pair->host->lane);
		assert_int_equal(pair->host->reason, -EPROTO);
		pair_free(pair);
	}
}

/* A client that submits and never takes completions: its channel ends, memory does not grow. */
static void test_completions_not_taken(void **state)
{
	struct pair *pair = *state;

	for (uint64_t i = 1; i < 1000 && !pair->host->ended; i++) {
		struct au_wire_submit *e = au_ring64_push(&pair->chan->submit);

		assert_non_null(e);
		*e = (struct au_wire_submit){ .handle = AU_HANDLE_MAKE(i, i % DEPTH),
					      .op = OP,
					      .generation = 1 };
		au_ring64_publish(&pair->chan->submit, e);
		au_ring_flush(&pair->chan->submit);
		fake_turn(&pair->host->lane);
	}
	assert_int_equal(pair->host->reason, -EPROTO);
}

struct scribbler {
	unsigned char *mem;
	size_t size;
	_Atomic bool stop;
};

static void *scribble(void *arg)
{
	struct scribbler *s = arg;
	unsigned int seed = 7;

	while (!s->stop) {
		size_t at = (size_t)rand_r(&seed) % s->size;

		if (rand_r(&seed) % 4)
			((volatile unsigned char *)s->mem)[at] = (unsigned char)rand_r(&seed);
		else
			*(volatile uint32_t *)(void *)(s->mem + (at & ~(size_t)3)) =
				(uint32_t)rand_r(&seed) % 16;
	}
	return NULL;
}

/*
 * Everything in shared memory changes all the time, while it is read. The host serves or ends the
 * channel; the framework sees only what was checked (fake_submit asserts it). Sanitizers watch.
 */
static void test_scribbling_client(void **state)
{
	unsigned int served = 0, ended = 0;

	for (unsigned int round = 0; round < 20; round++) {
		struct pair *pair = pair_new(DEPTH, BUFFER);
		/* In half of the rounds all of it, in half of them the first requests. */
		struct scribbler s = { pair->host->rings, round % 2 ? pair->host->rings_size : 1024,
				       false };
		pthread_t thread;

		pthread_create(&thread, NULL, scribble, &s);
		for (unsigned int i = 0; i < 2000 && !pair->host->ended; i++) {
			struct au_wire_submit *e = au_ring64_push(&pair->chan->submit);

			if (e) {
				*e = (struct au_wire_submit){ .handle = AU_HANDLE_MAKE(i + 1,
										       i % DEPTH),
							      .op = OP,
							      .generation = 1,
							      .length = 64 };
				au_ring64_publish(&pair->chan->submit, e);
				au_ring_flush(&pair->chan->submit);
			}
			fake_turn(&pair->host->lane);
		}
		if (pair->host->handle)
			served += pair->host->handle->submitted;
		s.stop = true;
		pthread_join(thread, NULL);
		ended += pair->host->ended;
		pair_free(pair);
	}
	assert_true(ended > 0);
	assert_true(served + ended > 5);
}

/* ----------------------------------------------------------- a hostile host */

static void hostile_complete(struct pair *pair, struct au_ring_producer *p, uint64_t handle)
{
	assert_int_equal(au_ring16_push(p, handle, 3, 0, 0), 0);
	au_ring_flush(p);
}

static void test_hostile_completions(void **state)
{
	struct pair *pair = *state;
	struct au_ring_producer p;
	struct au_io io = { .op = OP };

	au_ring16_producer_init(&p, pair->host->rings + pair->chan->layout.complete,
				pair->chan->layout.entries);
	assert_int_equal(au_chan_submit(pair->chan, &io), 0);
	hostile_complete(pair, &p, 0);
	hostile_complete(pair, &p, UINT64_MAX);
	hostile_complete(pair, &p, io.handle_ + 1);
	hostile_complete(pair, &p, io.handle_ + AU_HANDLE_MAKE(1, 0));
	hostile_complete(pair, &p, io.handle_ & 0xffff);
	hostile_complete(pair, &p, AU_HANDLE_MAKE(1, DEPTH));
	assert_int_equal(au_chan_poll(pair->chan, 0), 0);
	assert_int_equal(pair->chan->stats.stale, 6);
	assert_int_equal(io.status, -EINPROGRESS);
	hostile_complete(pair, &p, io.handle_);
	hostile_complete(pair, &p, io.handle_);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(pair->chan->stats.stale, 7);
	assert_int_equal(io.status, 0);
	assert_int_equal(au_chan_outstanding(pair->chan), 0);
}

/* A host with an impossible head loses the channel; the request is for the next host. */
static void test_hostile_head(void **state)
{
	struct pair *pair = *state;
	struct au_io io[DEPTH] = { 0 };
	struct host *next;

	pair->host->handle->hold = true;
	*(uint32_t *)(void *)(pair->host->rings + pair->chan->layout.submit) = 1000;
	for (unsigned int round = 0; round < 100 && pair->chan->up; round++) {
		for (unsigned int i = 0; i < DEPTH; i++) {
			io[i].op = OP;
			assert_int_equal(au_chan_submit(pair->chan, &io[i]), 0);
		}
		au_chan_flush(pair->chan);
		fake_turn(&pair->host->lane);
		if (!pair->chan->up)
			break;
		*(uint32_t *)(void *)(pair->host->rings + pair->chan->layout.submit) = 1000;
		for (unsigned int i = 0; i < DEPTH; i++)
			fake_complete(pair->host->handle, slot_of(&io[i]), 0, 0);
		fake_turn(&pair->host->lane);
		assert_int_equal(au_chan_poll(pair->chan, 0), DEPTH);
		*(uint32_t *)(void *)(pair->host->rings + pair->chan->layout.submit) = 1000;
	}
	assert_false(pair->chan->up);
	assert_int_equal(pair->chan->stats.broken, 1);
	assert_int_equal(au_chan_poll(pair->chan, 0), 0);
	assert_int_equal(au_chan_outstanding(pair->chan), DEPTH);
	next = host_start(pair, 2, true, NULL);
	pair_attach(pair, next, false);
	fake_turn(&next->lane);
	assert_int_equal(au_chan_poll(pair->chan, 0), DEPTH);
	for (unsigned int i = 0; i < DEPTH; i++)
		assert_int_equal(io[i].status, 0);
}

static void test_scribbling_host(void **state)
{
	struct pair *pair = *state;
	struct scribbler s = { pair->host->rings, pair->host->rings_size, false };
	struct au_io io[DEPTH] = { 0 };
	struct au_event event;
	pthread_t thread;

	for (unsigned int i = 0; i < DEPTH; i++)
		io[i] = (struct au_io){ .op = OP };
	pthread_create(&thread, NULL, scribble, &s);
	for (unsigned int i = 0; i < 200000; i++) {
		unsigned int k = i % DEPTH;

		if (io[k].status != -EINPROGRESS)
			au_chan_submit(pair->chan, &io[k]);
		au_chan_poll(pair->chan, 0);
		if (i % 64 == 0 && au_chan_arm(pair->chan))
			au_chan_disarm(pair->chan);
		au_chan_event_next(pair->chan, &event);
		if (i % 16 == 0 && !pair->host->ended)
			fake_turn(&pair->host->lane);
		assert_true(au_chan_outstanding(pair->chan) <= DEPTH);
	}
	s.stop = true;
	pthread_join(thread, NULL);
	/* Whatever that host did: the next one serves. */
	pair_attach(pair, host_start(pair, 2, true, NULL), false);
	fake_turn(&pair->host->lane);
	au_chan_poll(pair->chan, 0);
	assert_int_equal(au_chan_outstanding(pair->chan), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_request),
		TEST(test_directions),
		TEST(test_serial_results),
		TEST(test_limits),
		TEST(test_resubmit),
		TEST(test_cancel),
		TEST(test_cancel_overtakes),
		TEST(test_plain),
		cmocka_unit_test(test_cancel_many),
		TEST(test_doorbells),
		TEST(test_doorbell_flood),
		TEST(test_client_dies),
		TEST(test_client_dies_unseen),
		TEST(test_events),
		TEST(test_events_not_read),
		TEST(test_events_ignored),
		cmocka_unit_test(test_hostile_entries),
		TEST(test_hostile_handles),
		TEST(test_hostile_control),
		TEST(test_completions_not_taken),
		cmocka_unit_test(test_scribbling_client),
		TEST(test_hostile_completions),
		TEST(test_hostile_head),
		TEST(test_scribbling_host),
	};

	return cmocka_run_group_tests_name("chan", tests, NULL, NULL);
}
