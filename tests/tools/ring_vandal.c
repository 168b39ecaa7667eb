/* SPDX-License-Identifier: MIT */
/*
 * A client that does not keep to the rules of the rings.
 *
 *	ring_vandal SOCKET WHAT MS
 *
 * Opens a channel as libauriga does, and then for so many milliseconds
 *	entries		submits entries full of random bytes
 *	almost		submits entries with one field wrong
 *	reuse		submits the same slot again and again
 *	control		sends control messages full of random bytes
 *	noise		fills all the rings' memory with random bytes, over and over
 *	head		says that it has taken completions that there never were
 *	doorbell	rings the doorbell as fast as it can
 *	shrink		tries to truncate rings and pool
 *	deaf		submits for ever and never takes a completion
 * The answer is one line of JSON: how the manager ended the channel, if it did, after how long.
 */
#include "channel/doorbell.h"
#include "channel/message.h"
#include "channel/ring.h"
#include "channel/wire.h"

#include "auriga/raw.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DEPTH  32u
#define BUFFER 4096u

struct vandal {
	int sock, fds[AU_MSG_FDS];
	struct au_wire_layout layout;
	unsigned char *mem;
	struct au_ring_producer submit, control;
	struct au_cm_channel channel;
	uint64_t seed, sent;
	bool over;
	int error;
	char text[236];
};

static void vandal_die(const char *what)
{
	fprintf(stderr, "ring_vandal: %s: %s\n", what, strerror(errno));
	exit(2);
}

static double vandal_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static uint64_t vandal_random(struct vandal *v)
{
	v->seed ^= v->seed << 13;
	v->seed ^= v->seed >> 7;
	v->seed ^= v->seed << 17;
	return v->seed;
}

static void vandal_fill(struct vandal *v, void *where, size_t size)
{
	unsigned char *p = where;

	for (size_t i = 0; i < size; i++)
		p[i] = (unsigned char)vandal_random(v);
}

static void vandal_open(struct vandal *v, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct au_cm_hello hello = { .head.type = AU_CM_HELLO,
				     .version_min = AU_WIRE_VERSION,
				     .version_max = AU_WIRE_VERSION,
				     .depth = DEPTH,
				     .buffer_size = BUFFER };
	static _Alignas(8) char msg[AU_MSG_MAX + 1];
	int n;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	v->sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (v->sock < 0 || connect(v->sock, (struct sockaddr *)&addr, sizeof(addr)) ||
	    au_msg_send(v->sock, &hello, sizeof(hello), NULL, 0))
		vandal_die(path);
	n = au_msg_recv(v->sock, msg, sizeof(msg), v->fds);
	if (n != sizeof(v->channel) || ((struct au_msg_head *)msg)->type != AU_CM_CHANNEL ||
	    au_wire_layout(DEPTH, &v->layout))
		vandal_die("no channel came");
	memcpy(&v->channel, msg, sizeof(v->channel));
	v->mem = mmap(NULL, v->layout.size, PROT_READ | PROT_WRITE, MAP_SHARED, v->fds[0], 0);
	if (v->mem == MAP_FAILED)
		vandal_die("mmap");
	au_ring64_producer_init(&v->submit, v->mem + v->layout.submit, v->layout.entries);
	au_ring64_producer_init(&v->control, v->mem + v->layout.control, AU_WIRE_CONTROL_ENTRIES);
}

/* Whether the manager has ended it. */
static bool vandal_ended(struct vandal *v, int timeout_ms)
{
	struct pollfd p = { .fd = v->sock, .events = POLLIN };
	static _Alignas(8) char msg[AU_MSG_MAX + 1];
	const struct au_cm_error *error = (const void *)msg;
	int fds[AU_MSG_FDS], n;

	if (v->over || poll(&p, 1, timeout_ms) < 1)
		return v->over;
	n = au_msg_recv(v->sock, msg, sizeof(msg), fds);
	if (n > 0)
		au_msg_close(fds);
	if (n == sizeof(*error) && error->head.type == AU_CM_ERROR) {
		v->error = error->error;
		memcpy(v->text, error->text, sizeof(v->text) - 1);
	}
	v->over = n <= 0 || error->head.type == AU_CM_ERROR;
	return v->over;
}

/* ------------------------------------------------------------ what it does */

static void vandal_right(struct vandal *v, struct au_wire_submit *e, uint32_t slot)
{
	uint32_t seq = e->seq;

	*e = (struct au_wire_submit){ .handle = AU_HANDLE_MAKE(++v->sent, slot),
				      .offset = slot * BUFFER,
				      .length = 64,
				      .op = AU_RAW_FIRST,
				      .generation = v->channel.generation,
				      .seq = seq };
}

static void vandal_wrong(struct vandal *v, struct au_wire_submit *e)
{
	switch (vandal_random(v) % 7) {
	case 0:
		e->handle |= 0xffff;
		break;
	case 1:
		e->handle = 1;
		break;
	case 2:
		e->length = BUFFER + 1;
		break;
	case 3:
		e->offset = (uint64_t)-64;
		break;
	case 4:
		e->offset += 1;
		break;
	case 5:
		e->flags = (uint16_t)vandal_random(v);
		break;
	default:
		e->generation++;
		break;
	}
}

/* @entry: what was filled, if there was room. */
static bool vandal_flush(struct vandal *v, struct au_ring_producer *ring, void *entry)
{
	if (entry)
		au_ring64_publish(ring, entry);
	if (au_ring_flush(ring))
		au_doorbell_ring(v->fds[1]);
	return true;
}

static void do_entries(struct vandal *v)
{
	struct au_wire_submit *e = au_ring64_push(&v->submit);

	if (e)
		vandal_fill(v, e, sizeof(*e) - sizeof(e->seq));
	vandal_flush(v, &v->submit, e);
}

static void do_almost(struct vandal *v)
{
	struct au_wire_submit *e = au_ring64_push(&v->submit);

	if (e) {
		vandal_right(v, e, (uint32_t)(v->sent % DEPTH));
		if (v->sent % 8 == 0)
			vandal_wrong(v, e);
	}
	vandal_flush(v, &v->submit, e);
}

static void do_reuse(struct vandal *v)
{
	struct au_wire_submit *e = au_ring64_push(&v->submit);

	if (e) {
		vandal_right(v, e, 0);
		e->op = AU_RAW_FIRST + 1; /* t-echo and t-cancel keep it */
	}
	vandal_flush(v, &v->submit, e);
}

static void do_control(struct vandal *v)
{
	struct au_wire_control *e = au_ring64_push(&v->control);

	if (e) {
		vandal_fill(v, e, sizeof(*e) - sizeof(e->seq));
		e->generation = v->channel.generation;
		e->kind = (uint32_t)vandal_random(v) % 4;
	}
	vandal_flush(v, &v->control, e);
}

static void do_noise(struct vandal *v)
{
	for (uint64_t i = 0; i + 8 <= v->layout.size; i += 8) {
		uint64_t word = vandal_random(v);

		memcpy(v->mem + i, &word, sizeof(word));
	}
	/* Some of it must look as if it were new. */
	for (uint32_t i = 0; i < v->layout.entries; i++) {
		uint32_t seq = i + 1;

		memcpy(v->mem + v->layout.submit + sizeof(struct au_ring_shared) + 64 * i + 60,
		       &seq, sizeof(seq));
	}
	v->sent++;
	au_doorbell_ring(v->fds[1]);
}

static void do_head(struct vandal *v)
{
	struct au_ring_shared *complete = (void *)(v->mem + v->layout.complete);

	do_almost(v);
	__atomic_store_n(&complete->head, (uint32_t)vandal_random(v), __ATOMIC_SEQ_CST);
}

static void do_doorbell(struct vandal *v)
{
	char bytes[512] = { 0 };

	(void)send(v->fds[1], bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void do_shrink(struct vandal *v)
{
	if (ftruncate(v->fds[0], 0) == 0 || ftruncate(v->fds[2], 0) == 0 ||
	    ftruncate(v->fds[2], 1 << 30) == 0)
		snprintf(v->text, sizeof(v->text), "truncated");
	v->sent++;
}

static void do_deaf(struct vandal *v)
{
	struct au_wire_submit *e = au_ring64_push(&v->submit);

	if (e)
		vandal_right(v, e, (uint32_t)(v->sent % DEPTH));
	vandal_flush(v, &v->submit, e);
}

static const struct {
	const char *name;
	void (*fn)(struct vandal *v);
} deeds[] = {
	{ "entries", do_entries }, { "almost", do_almost },	{ "reuse", do_reuse },
	{ "control", do_control }, { "noise", do_noise },	{ "head", do_head },
	{ "shrink", do_shrink },   { "doorbell", do_doorbell }, { "deaf", do_deaf },
};

int main(int argc, char **argv)
{
	struct vandal v = { 0 };
	void (*deed)(struct vandal *) = NULL;
	double began, end;

	for (size_t i = 0; argc == 4 && i < sizeof(deeds) / sizeof(deeds[0]); i++)
		if (!strcmp(argv[2], deeds[i].name))
			deed = deeds[i].fn;
	if (!deed) {
		fprintf(stderr, "usage: ring_vandal SOCKET WHAT MS\n");
		return 2;
	}
	if (getrandom(&v.seed, sizeof(v.seed), 0) != sizeof(v.seed) || !v.seed)
		v.seed = 1;
	vandal_open(&v, argv[1]);
	began = vandal_now();
	end = began + atoi(argv[3]);
	while (vandal_now() < end && !vandal_ended(&v, 0))
		for (unsigned int i = 0; i < 100; i++)
			deed(&v);
	vandal_ended(&v, 200);
	printf("{\"ended\": %s, \"error\": %d, \"text\": \"%s\", \"ms\": %.1f, \"sent\": %llu}\n",
	       v.over ? "true" : "false", v.error, v.text, vandal_now() - began,
	       (unsigned long long)v.sent);
	return 0;
}
