/* SPDX-License-Identifier: MIT */
#include "qmp.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define TIMEOUT_MS 10000
#define MAX_LINE   (1u << 20)

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

json_t *qmp_call(struct qmp *q, const char *command, json_t *args)
{
	uint64_t deadline = lab_now_ns() + TIMEOUT_MS * UINT64_C(1000000);
	json_t *cmd = json_pack("{s:s, s:o*}", "execute", command, "arguments", args);
	AU_CLEANUP_FREE char *text = json_dumps(cmd, JSON_COMPACT);

	json_decref(cmd);
	if (!text || send(q->src.fd, text, strlen(text), MSG_NOSIGNAL) < 0 ||
	    send(q->src.fd, "\n", 1, MSG_NOSIGNAL) < 0) {
		lab_msg("QEMU does not take the command %s: %s", command, strerror(errno));
		return NULL;
	}
	for (;;) {
		json_t *msg = read_message(q, deadline);
		json_t *ret = json_object_get(msg, "return");
		json_t *err = json_object_get(msg, "error");

		if (!msg) {
			lab_msg("QEMU does not answer the command %s", command);
			return NULL;
		}
		if (err)
			lab_msg("QEMU refused %s: %s", command,
				json_string_value(json_object_get(err, "desc")));
		else if (ret)
			json_incref(ret);
		json_decref(msg);
		if (ret || err)
			return err ? NULL : ret;
	}
}

int qmp_open(struct qmp *q, int fd)
{
	*q = (struct qmp){ .src.fd = fd };
	json_t *greeting = read_message(q, lab_now_ns() + TIMEOUT_MS * UINT64_C(1000000));
	bool ok = json_object_get(greeting, "QMP");

	json_decref(greeting);
	if (!ok)
		return -EPIPE; /* whoever started QEMU knows why it stopped */
	json_t *ret = qmp_call(q, "qmp_capabilities", NULL);
	json_decref(ret);
	return ret ? 0 : -EPROTO;
}

bool qmp_drain(struct qmp *q)
{
	char buf[4096];

	for (;;) {
		ssize_t n = recv(q->src.fd, buf, sizeof(buf), MSG_DONTWAIT);

		if (n == 0)
			return false;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
	}
}
