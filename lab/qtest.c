/* SPDX-License-Identifier: MIT */
#include "qtest.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define CALL_TIMEOUT_MS 5000
#define LINE_MAX_BYTES	4096

static const char width_letter[9] = { [1] = 'b', [2] = 'w', [4] = 'l', [8] = 'q' };

void qtest_init(struct qtest *q, int fd)
{
	*q = (struct qtest){ .src.fd = fd, .mask = 255 };
	q->ops = lab_xcalloc(q->mask + 1, sizeof(*q->ops));
}

static void push_op(struct qtest *q, const struct qtest_op *op)
{
	if (q->tail - q->head > q->mask) {
		unsigned int n = q->mask + 1;
		struct qtest_op *ops = lab_xcalloc(2 * n, sizeof(*ops));

		for (unsigned int i = 0; i < n; i++)
			ops[(q->head + i) & (2 * n - 1)] = q->ops[(q->head + i) & q->mask];
		free(q->ops);
		q->ops = ops;
		q->mask = 2 * n - 1;
	}
	q->ops[q->tail++ & q->mask] = *op;
}

/* Hexadecimal without printf(): a burst of FIFO writes is formatted in less time than one takes. */
static char *put_hex(char *p, uint64_t v)
{
	unsigned int digits = v ? (67 - (unsigned int)__builtin_clzll(v)) / 4 : 1;

	*p++ = ' ';
	*p++ = '0';
	*p++ = 'x';
	while (digits--)
		*p++ = "0123456789abcdef"[v >> (4 * digits) & 0xf];
	return p;
}

void qtest_submit(struct qtest *q, const struct qtest_op *op)
{
	static const char *const names[] = { [QTEST_IN] = "in",
					     [QTEST_OUT] = "out",
					     [QTEST_READ] = "read",
					     [QTEST_WRITE] = "write" };

	if (q->dead) {
		if (op->done)
			op->done(op, UINT64_MAX);
		return;
	}
	char *start = (char *)lab_buf_reserve(&q->out, 64);
	char *p = stpcpy(start, names[op->cmd]);
	*p++ = width_letter[op->width];
	p = put_hex(p, op->addr);
	if (op->cmd == QTEST_OUT || op->cmd == QTEST_WRITE)
		p = put_hex(p, op->value);
	*p++ = '\n';
	q->out.tail += (size_t)(p - start);
	push_op(q, op);
}

static void qtest_die(struct qtest *q)
{
	if (q->dead)
		return;
	q->dead = true;
	while (q->head != q->tail) {
		struct qtest_op op = q->ops[q->head++ & q->mask];

		if (op.done)
			op.done(&op, UINT64_MAX);
	}
	q->out.head = q->out.tail = 0;
	if (q->died)
		q->died(q);
}

bool qtest_flush(struct qtest *q)
{
	while (!q->dead && lab_buf_len(&q->out)) {
		ssize_t n = send(q->src.fd, lab_buf_head(&q->out), lab_buf_len(&q->out),
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			if (errno == EAGAIN)
				return true;
			if (errno == EINTR)
				continue;
			qtest_die(q);
			return false;
		}
		lab_buf_consume(&q->out, (size_t)n);
	}
	return false;
}

static void take_irq(struct qtest *q, const char *line)
{
	bool raise = strncmp(line, "IRQ raise ", 10) == 0;
	unsigned long gsi;
	char *end;

	if (!q->irq || (!raise && strncmp(line, "IRQ lower ", 10) != 0))
		return;
	gsi = strtoul(line + 10, &end, 10);
	if (end != line + 10 && gsi <= UINT_MAX)
		q->irq(q, (unsigned int)gsi, raise);
}

static void take_answer(struct qtest *q, const char *line)
{
	uint64_t value = 0;

	if (q->head == q->tail) {
		lab_msg("QEMU sent an answer that nothing asked for: %s", line);
		return;
	}
	struct qtest_op op = q->ops[q->head++ & q->mask];

	if (strncmp(line, "OK", 2) != 0) {
		lab_msg("QEMU refused an access to 0x%llx: %s", (unsigned long long)op.addr, line);
		value = UINT64_MAX;
	} else if (line[2] == ' ') {
		value = strtoull(line + 3, NULL, 0);
	}
	if (op.done)
		op.done(&op, value);
}

void qtest_input(struct qtest *q)
{
	for (;;) {
		uint8_t *p = lab_buf_reserve(&q->in, LINE_MAX_BYTES + 1);
		ssize_t n = recv(q->src.fd, p, LINE_MAX_BYTES, MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			qtest_die(q);
			return;
		}
		q->in.tail += (size_t)n;

		char *nl;
		while ((nl = memchr(lab_buf_head(&q->in), '\n', lab_buf_len(&q->in)))) {
			char *line = (char *)lab_buf_head(&q->in);
			size_t len = (size_t)(nl - line) + 1;

			*nl = '\0';
			if (strncmp(line, "IRQ", 3) == 0)
				take_irq(q, line);
			else
				take_answer(q, line);
			lab_buf_consume(&q->in, len);
		}
		if (lab_buf_len(&q->in) > LINE_MAX_BYTES) {
			lab_msg("QEMU sent a line of over %d bytes: given up", LINE_MAX_BYTES);
			qtest_die(q);
			return;
		}
		if (n < LINE_MAX_BYTES)
			return;
	}
}

struct call {
	bool done;
	uint64_t value;
};

static void call_done(const struct qtest_op *op, uint64_t value)
{
	struct call *c = op->owner;

	c->done = true;
	c->value = value;
}

static int call_wait(struct qtest *q, struct call *c)
{
	uint64_t deadline = lab_now_ns() + CALL_TIMEOUT_MS * UINT64_C(1000000);

	while (!c->done) {
		struct pollfd pfd = { .fd = q->src.fd, .events = POLLIN };
		uint64_t now = lab_now_ns();

		if (now >= deadline) {
			qtest_die(q); /* c is on the stack: nothing may complete it later */
			return -ETIMEDOUT;
		}
		if (qtest_flush(q))
			pfd.events |= POLLOUT;
		if (q->dead)
			break;
		poll(&pfd, 1, (int)((deadline - now) / 1000000) + 1);
		qtest_input(q);
	}
	return q->dead ? -EPIPE : 0;
}

int qtest_call(struct qtest *q, enum qtest_cmd cmd, unsigned int width, uint64_t addr,
	       uint64_t wvalue, uint64_t *value)
{
	struct call c = { 0 };

	if (q->dead)
		return -EPIPE;
	qtest_submit(q, &(struct qtest_op){ .cmd = cmd,
					    .width = width,
					    .addr = addr,
					    .value = wvalue,
					    .done = call_done,
					    .owner = &c });
	int ret = call_wait(q, &c);
	if (ret == 0 && value)
		*value = c.value;
	return ret;
}

int qtest_command(struct qtest *q, const char *line)
{
	struct call c = { 0 };

	if (q->dead)
		return -EPIPE;
	push_op(q, &(struct qtest_op){ .done = call_done, .owner = &c });
	lab_buf_printf(&q->out, "%s\n", line);
	return call_wait(q, &c);
}
