/* SPDX-License-Identifier: MIT */
#include "qmp.h"
#include "base/sock_fds.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define TIMEOUT_MS 10000
#define MAX_LINE   (1u << 20)
#define GONE	   "QEMU is gone"

/* A command that was sent, or will be. */
struct qmp_pending {
	struct qmp_pending *next;
	qmp_done_fn done;
	void *owner;
};

/* Return: the next line as JSON, or NULL. */
static json_t *read_message(struct qmp *q, uint64_t deadline)
{
	for (;;) {
		char *nl = NULL;

		if (lab_buf_len(&q->in))
			nl = memchr(lab_buf_head(&q->in), '\n', lab_buf_len(&q->in));
		if (nl) {
			char *line = (char *)lab_buf_head(&q->in);
			size_t len = (size_t)(nl - line) + 1;
			json_t *msg = json_loadb(line, len, 0, NULL);

			lab_buf_consume(&q->in, len);
			return msg;
		}

		struct pollfd pfd = { .fd = q->src.fd, .events = POLLIN };
		uint64_t now = lab_now_ns();
		if (now >= deadline || lab_buf_len(&q->in) > MAX_LINE)
			return NULL;
		if (poll(&pfd, 1, (int)((deadline - now) / 1000000) + 1) < 0 && errno != EINTR)
			return NULL;
		uint8_t *p = lab_buf_reserve(&q->in, 65536);
		ssize_t n = recv(q->src.fd, p, 65536, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return NULL;
		if (n > 0)
			q->in.tail += (size_t)n;
	}
}

static int send_command(struct qmp *q, const char *text, int fd)
{
	struct iovec part = { .iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text) };
	ssize_t n = au_sock_send(q->src.fd, &part, 1, &fd, fd >= 0, 0);

	if (n < 0)
		return (int)n;
	return send(q->src.fd, "\n", 1, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static char *make_command(const char *command, json_t *args)
{
	json_t *cmd = json_pack("{s:s, s:o*}", "execute", command, "arguments", args);
	char *text = json_dumps(cmd, JSON_COMPACT);

	json_decref(cmd);
	if (!text) {
		lab_msg("out of memory");
		_exit(1);
	}
	return text;
}

json_t *qmp_call(struct qmp *q, const char *command, json_t *args, int fd)
{
	uint64_t deadline = lab_now_ns() + TIMEOUT_MS * UINT64_C(1000000);
	AU_CLEANUP_FREE char *text = make_command(command, args);
	int ret = send_command(q, text, fd);

	if (ret) {
		lab_msg("QEMU does not take the command %s: %s", command, strerror(-ret));
		return NULL;
	}
	for (;;) {
		json_t *msg = read_message(q, deadline);
		json_t *value = json_object_get(msg, "return");
		json_t *err = json_object_get(msg, "error");

		if (!msg) {
			lab_msg("QEMU does not answer the command %s", command);
			return NULL;
		}
		if (err)
			lab_msg("QEMU refused %s: %s", command,
				json_string_value(json_object_get(err, "desc")));
		else if (value)
			json_incref(value);
		json_decref(msg);
		if (value || err)
			return err ? NULL : value;
	}
}

void qmp_init(struct qmp *q, int fd)
{
	*q = (struct qmp){ .src.fd = fd };
	q->last = &q->first;
}

int qmp_open(struct qmp *q, int fd)
{
	qmp_init(q, fd);
	json_t *greeting = read_message(q, lab_now_ns() + TIMEOUT_MS * UINT64_C(1000000));
	bool ok = json_object_get(greeting, "QMP");

	json_decref(greeting);
	if (!ok)
		return -EPIPE; /* whoever started QEMU knows why it stopped */
	json_t *ret = qmp_call(q, "qmp_capabilities", NULL, -1);
	json_decref(ret);
	return ret ? 0 : -EPROTO;
}

void qmp_submit(struct qmp *q, const char *command, json_t *args, qmp_done_fn done, void *owner)
{
	AU_CLEANUP_FREE char *text = make_command(command, args);

	if (q->dead) {
		if (done)
			done(owner, GONE);
		return;
	}
	struct qmp_pending *p = lab_xcalloc(1, sizeof(*p));
	p->done = done;
	p->owner = owner;
	*q->last = p;
	q->last = &p->next;
	lab_buf_add(&q->out, text, strlen(text));
	lab_buf_add(&q->out, "\n", 1);
}

static void complete(struct qmp *q, const char *error)
{
	struct qmp_pending *p = q->first;

	if (!p)
		return;
	q->first = p->next;
	if (!q->first)
		q->last = &q->first;
	if (p->done)
		p->done(p->owner, error);
	free(p);
}

static void die(struct qmp *q)
{
	q->dead = true;
	q->out.head = q->out.tail = 0;
	while (q->first)
		complete(q, GONE);
}

bool qmp_flush(struct qmp *q)
{
	while (!q->dead && lab_buf_len(&q->out)) {
		ssize_t n = send(q->src.fd, lab_buf_head(&q->out), lab_buf_len(&q->out),
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0) {
			die(q);
			return false;
		}
		lab_buf_consume(&q->out, (size_t)n);
	}
	return false;
}

static void take_line(struct qmp *q, const char *line, size_t len)
{
	json_t *msg = json_loadb(line, len, 0, NULL);
	const json_t *err = json_object_get(msg, "error");
	const char *why = json_string_value(json_object_get(err, "desc"));

	if (err)
		complete(q, why ? why : "it does not say why");
	else if (json_object_get(msg, "return"))
		complete(q, NULL);
	json_decref(msg);
}

bool qmp_input(struct qmp *q)
{
	for (;;) {
		uint8_t *p = lab_buf_reserve(&q->in, 4096);
		ssize_t n = recv(q->src.fd, p, 4096, MSG_DONTWAIT);
		char *nl;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0 || lab_buf_len(&q->in) > MAX_LINE) {
			die(q);
			return false;
		}
		q->in.tail += (size_t)n;
		while (lab_buf_len(&q->in) &&
		       (nl = memchr(lab_buf_head(&q->in), '\n', lab_buf_len(&q->in)))) {
			const char *line = (const char *)lab_buf_head(&q->in);
			size_t len = (size_t)(nl - line) + 1;

			take_line(q, line, len);
			lab_buf_consume(&q->in, len);
		}
	}
}
