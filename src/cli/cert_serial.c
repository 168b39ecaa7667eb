/* SPDX-License-Identifier: MIT */
/*
 * Serial ports whose other end sends back what it gets. Each byte of the stream says by its
 * neighbours where in the stream it belongs, so that what is missing is found, counted, and held
 * against what the port has reported as uncertain; nothing may come twice or in another order.
 */
#include "auriga/serial.h"
#include "cli/cert_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LINE_WINDOW  2048u  /* on their way at most */
#define LINE_STALL   200u   /* ms without a byte: what was on its way may be lost: send on */
#define LINE_FAR     65536u /* but not for ever */
#define LINE_KEY     12u    /* so many bytes that fit say where they belong */
#define LINE_SEND    256u
#define LINE_RECV    1024u
#define LINE_QUIET   300 /* ms without a byte: no more will come */
#define LINE_PATIENT 10u /* times that */

/* What the jobs do: one receives, the next ones send, the rest ask for this and that. */
enum { JOB_RECV, JOB_SEND, JOB_ASK = 4, JOBS };

/**
 * struct line - the two positions in the stream, and what lies between them.
 * @sent, @got: positions; before @synced what comes is somebody else's, of before.
 * @pending: bytes that were received and not placed yet.
 * @excused: bytes that need not come: of sends that were cancelled.
 * @placed: bytes that were where they belong; @total: in all streams.
 * @base: what the port had reported when this began.
 */
struct line {
	uint64_t key, sent, got, excused, placed, total;
	uint64_t heard_ms;
	bool synced;
	uint32_t pending;
	uint8_t buf[LINE_KEY + LINE_RECV];
	struct au_serial_counters base;
	struct au_serial_line line;
	struct au_serial_counters asked;
};

static uint8_t line_byte(const struct line *l, uint64_t at)
{
	uint64_t x = (l->key ^ at) * 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 29) * 0xbf58476d1ce4e5b9u;
	return (uint8_t)(x >> 56);
}

static bool line_fits(const struct line *l, const uint8_t *bytes, uint32_t count, uint64_t at)
{
	for (uint32_t i = 0; i < count; i++)
		if (bytes[i] != line_byte(l, at + i))
			return false;
	return true;
}

/* Where the bytes that wait begin; false: nowhere that is still to come. */
static bool line_find(const struct line *l, uint64_t from, uint64_t *at)
{
	for (*at = from; *at + LINE_KEY <= l->sent; ++*at)
		if (line_fits(l, l->buf, LINE_KEY, *at))
			return true;
	return false;
}

static void line_drop(struct line *l, uint32_t count)
{
	l->pending -= count;
	memmove(l->buf, l->buf + count, l->pending);
}

/* A place in the stream for what waits. @all: nothing will come behind it. */
static void line_place(struct cert_client *c, struct line *l, bool all)
{
	while (l->pending) {
		uint32_t n = 0;
		uint64_t at;

		while (l->synced && n < l->pending && l->got < l->sent &&
		       l->buf[n] == line_byte(l, l->got)) {
			n++;
			l->got++;
			l->placed++;
			l->total++;
		}
		line_drop(l, n);
		if (!l->pending || (l->pending < LINE_KEY && !all))
			return;
		if (l->pending >= LINE_KEY && line_find(l, l->got, &at)) {
			l->got = at;
			l->synced = true;
			continue;
		}
		if (l->synced && l->pending >= LINE_KEY && line_find(l, 0, &at) && at < l->got) {
			cert_wrong(c, &c->wrong,
				   "byte %llu came a second time, after byte %llu (%llu were sent, "
				   "%llu came, %u follow)",
				   (unsigned long long)at, (unsigned long long)l->got,
				   (unsigned long long)l->sent, (unsigned long long)l->placed,
				   l->pending);
			l->got = at;
			continue;
		}
		/* Alone between two losses, or not ours at all: neither adds to what is there. */
		if (l->synced && n == 0 && l->pending >= LINE_KEY + 4 * LINE_KEY) {
			cert_wrong(c, &c->wrong, "bytes that nobody sent, after byte %llu",
				   (unsigned long long)l->got);
			l->synced = false;
		}
		line_drop(l, 1);
	}
}

static int line_counters(struct cert_client *c, struct au_serial_counters *counters)
{
	*counters = (struct au_serial_counters){ .size = sizeof(*counters), .abi = 1 };
	return au_serial_get_counters(c->handle, counters);
}

/* What the port has said since, that may be missing. */
static uint64_t line_reported(const struct line *l, const struct au_serial_counters *now)
{
	uint64_t bytes = now->tx_uncertain - l->base.tx_uncertain + now->rx_uncertain -
			 l->base.rx_uncertain + now->rx_lost - l->base.rx_lost;

	/* What a device's own buffer dropped is counted by occasion, not by byte. */
	return now->overrun == l->base.overrun ? bytes : UINT64_MAX / 2;
}

/* What is there of before: of another client, or of this one before its device was pulled out. */
static int line_begin(struct cert_client *c)
{
	struct line *l = c->own ? c->own : calloc(1, sizeof(*l));
	const struct au_serial_line line = {
		.size = sizeof(line), .abi = 1, .baud = 115200, .data_bits = 8, .stop_bits = 1
	};
	char rest[LINE_RECV];
	int rc;

	if (!l)
		return -ENOMEM;
	c->own = l;
	c->depth = JOBS;
	if (c->options.control)
		return 0;
	l->key = (c->options.seed ^ cert_now_ms()) * 0xd6e8feb86659fd93u + c->opens;
	l->sent = l->got = l->placed = l->excused = l->pending = 0;
	l->synced = false;
	rc = au_serial_set_line(c->handle, &line);
	if (rc == 0)
		rc = au_serial_purge(c->handle, 3);
	while (rc == 0 && au_serial_recv(c->handle, rest, sizeof(rest), 1, 50) > 0)
		;
	if (rc == 0)
		rc = line_counters(c, &l->base);
	if (rc && rc != -ENODEV)
		cert_wrong(c, &c->errors, "the line cannot be set up: %s", au_errmsg());
	l->heard_ms = cert_now_ms();
	return rc;
}

/* Questions that any client may ask. */
static bool line_ask(struct cert_client *c, struct line *l, struct cert_job *job)
{
	/* Now and then: they are not what the port is for. */
	if (!c->options.control && cert_random(c, 4))
		return false;
	switch (cert_random(c, 3)) {
	case 0:
		job->io.op = AU_SERIAL_GET_MODEM;
		return true;
	case 1:
		job->io.op = AU_SERIAL_GET_LINE;
		job->io.length = sizeof(struct au_serial_line);
		memcpy(job->io.data, &(struct au_serial_line){ .size = sizeof(l->line), .abi = 1 },
		       sizeof(l->line));
		return true;
	default:
		job->io.op = AU_SERIAL_GET_COUNTERS;
		job->io.length = sizeof(struct au_serial_counters);
		memcpy(job->io.data,
		       &(struct au_serial_counters){ .size = sizeof(l->asked), .abi = 1 },
		       sizeof(l->asked));
		return true;
	}
}

static bool line_fill(struct cert_client *c, struct cert_job *job)
{
	struct line *l = c->own;
	uint64_t flying = l->sent - l->got, now = cert_now_ms();
	uint8_t *at = job->io.data;

	if (c->options.control || job->index >= JOB_ASK)
		return line_ask(c, l, job);
	if (job->index == JOB_RECV) {
		job->io.op = AU_SERIAL_RECV;
		job->io.length = LINE_RECV;
		job->io.arg[0] = 1;
		return true;
	}
	if (flying > LINE_FAR || (flying > LINE_WINDOW && now - l->heard_ms < LINE_STALL))
		return false;
	if (flying > LINE_WINDOW)
		l->heard_ms = now;
	job->io.op = AU_SERIAL_SEND;
	job->io.length = (uint32_t)cert_random(c, LINE_SEND) + LINE_KEY;
	job->a = l->sent;
	for (uint32_t i = 0; i < job->io.length; i++)
		at[i] = line_byte(l, l->sent++);
	return true;
}

static void line_done(struct cert_client *c, struct cert_job *job)
{
	struct line *l = c->own;
	const struct au_io *io = &job->io;

	if (io->status == -EAGAIN) {
		if (io->op == AU_SERIAL_SEND)
			l->sent = job->a;
		return;
	}
	if (io->op == AU_SERIAL_SEND && io->result > io->length)
		cert_wrong(c, &c->wrong, "%u of %u bytes were sent", io->result, io->length);
	else if (io->op == AU_SERIAL_SEND && io->status)
		l->excused += io->length - io->result;
	else if (io->op == AU_SERIAL_SEND && io->result != io->length)
		cert_wrong(c, &c->wrong, "only %u of %u bytes were sent", io->result, io->length);
	if (io->op == AU_SERIAL_SEND && c->options.no_data) {
		l->got = l->sent;
		l->total += io->result;
	}
	if (io->op != AU_SERIAL_RECV || io->status || c->options.no_data)
		return;
	if (io->result > io->length) {
		cert_wrong(c, &c->wrong, "%u bytes came in %u", io->result, io->length);
		return;
	}
	l->heard_ms = cert_now_ms();
	memcpy(l->buf + l->pending, io->data, io->result);
	l->pending += io->result;
	line_place(c, l, false);
}

/* What is still on its way comes in; the rest is missing, and must have been reported. */
static bool line_quiet(struct cert_client *c)
{
	struct line *l = c->own;
	struct au_serial_counters now;
	uint64_t lost;

	if (c->options.control || c->options.no_data)
		return true;
	for (unsigned int i = 0; i < LINE_PATIENT && !c->gone; i++) {
		uint8_t more[LINE_RECV];
		/* What was cancelled may have been sent all the same: only silence tells. */
		int64_t n = l->placed < l->sent || i
				    ? au_serial_recv(c->handle, more, sizeof(more), 1, LINE_QUIET)
				    : 0;

		if (n == -ENODEV)
			return true;
		if (n > 0) {
			memcpy(l->buf + l->pending, more, (size_t)n);
			l->pending += (uint32_t)n;
			line_place(c, l, false);
			i = 0;
			continue;
		}
		if (line_counters(c, &now) != 0)
			return true;
		line_place(c, l, true);
		lost = l->sent - (l->placed < l->sent ? l->placed : l->sent);
		if (lost <= l->excused + line_reported(l, &now)) {
			/* From here on anew. */
			l->base = now;
			l->got = l->placed = l->sent;
			l->excused = 0;
			return true;
		}
	}
	if (!c->gone) {
		cert_wrong(c, &c->missing,
			   "%llu bytes are missing, %llu were cancelled, and %llu were reported",
			   (unsigned long long)(l->sent - l->placed),
			   (unsigned long long)l->excused,
			   (unsigned long long)line_reported(l, &now));
		l->got = l->placed = l->sent;
	}
	return true;
}

/* Does anything come back? */
static void line_probe(struct cert_client *c, json_t *found)
{
	static const char text[] = "Auriga asks whether anybody is there.";
	char back[sizeof(text)] = "";
	int64_t n = au_serial_send(c->handle, text, sizeof(text), 2000);

	if (n == (int64_t)sizeof(text))
		n = au_serial_recv(c->handle, back, sizeof(back), sizeof(back), 1000);
	json_object_set_new(
		found, "echo",
		json_boolean(n == (int64_t)sizeof(text) && memcmp(back, text, sizeof(text)) == 0));
}

static uint64_t line_progress(const struct cert_client *c)
{
	const struct line *l = c->own;

	return l && !c->options.control ? l->total : c->completed;
}

const struct cert_class cert_serial = {
	.name = "serial",
	.begin = line_begin,
	.fill = line_fill,
	.done = line_done,
	.quiet = line_quiet,
	.probe = line_probe,
	.progress = line_progress,
};
