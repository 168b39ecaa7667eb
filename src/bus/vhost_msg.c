/* SPDX-License-Identifier: MIT */
/* vhost-user: messages to the back-end and back. The socket is blocking, with time-outs. */
#include "bus/vhost.h"

#include "base/sock_fds.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

struct vhost *vhost_new(int fd, uint32_t timeout_ms)
{
	struct timeval limit = { .tv_sec = timeout_ms / 1000,
				 .tv_usec = (timeout_ms % 1000) * 1000 };
	struct vhost *v = calloc(1, sizeof(*v));

	if (!v) {
		close(fd);
		return NULL;
	}
	v->bus.ops = &vhost_ops;
	v->fd = fd;
	v->timeout_ms = timeout_ms;
	v->unheard = -1;
	for (unsigned int i = 0; i < VHOST_QUEUES; i++)
		v->queue[i].kick = -1;
	for (unsigned int i = 0; i <= VHOST_QUEUES; i++)
		v->irq[i] = -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return v;
}

static void vhost_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void vhost_free(struct vhost *v)
{
	if (!v)
		return;
	for (unsigned int i = 0; i < VHOST_QUEUES; i++)
		vhost_close(&v->queue[i].kick);
	for (unsigned int i = 0; i <= VHOST_QUEUES; i++)
		vhost_close(&v->irq[i]);
	for (unsigned int i = 0; i < v->map_count; i++)
		vhost_close(&v->map[i].fd);
	vhost_close(&v->unheard);
	vhost_close(&v->fd);
	free(v);
}

int vhost_gone(struct vhost *v, int cause, const char *fmt, ...)
{
	va_list args;

	if (v->bus.gone)
		return -ENODEV;
	va_start(args, fmt);
	vsnprintf(v->bus.why, sizeof(v->bus.why), fmt, args);
	va_end(args);
	v->bus.gone = true;
	v->cause = cause;
	/* The descriptor hangs up, so that whoever watches it learns of this, too. */
	shutdown(v->fd, SHUT_RDWR);
	return -ENODEV;
}

static int vhost_lost(struct vhost *v, int err)
{
	if (err == 0 || err == ECONNRESET || err == EPIPE)
		return vhost_gone(v, -ECONNRESET, "the vhost-user back-end closed the connection");
	if (err == EAGAIN || err == EWOULDBLOCK)
		return vhost_gone(v, -ETIMEDOUT,
				  "the vhost-user back-end did not answer within %u ms",
				  v->timeout_ms);
	return vhost_gone(v, -err, "the connection to the vhost-user back-end failed: %s",
			  strerror(err));
}

static int vhost_send(struct vhost *v, uint32_t request, uint32_t flags, const void *payload,
		      uint32_t size, const int *fds, unsigned int count)
{
	struct vhost_header header = { request, VHOST_VERSION | flags, size };
	struct iovec parts[2] = { { &header, sizeof(header) },
				  { (void *)(uintptr_t)payload, size } };
	ssize_t n;

	if (v->bus.gone)
		return -ENODEV;
	n = au_sock_send(v->fd, parts, size ? 2 : 1, fds, count, 0);
	/* A message is small: what does not take all of it has not been reading for long. */
	if (n != (ssize_t)(sizeof(header) + size))
		return vhost_lost(v, n < 0 ? (int)-n : EAGAIN);
	return 0;
}

static int vhost_receive(struct vhost *v, void *to, size_t size)
{
	char *at = to;

	while (size) {
		ssize_t n = recv(v->fd, at, size, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return vhost_lost(v, n < 0 ? errno : 0);
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

static int vhost_reply(struct vhost *v, uint32_t request, void *reply, uint32_t least,
		       uint32_t most)
{
	struct vhost_header header;

	if (vhost_receive(v, &header, sizeof(header)))
		return -ENODEV;
	if (header.request != request || (header.flags & 3) != VHOST_VERSION ||
	    !(header.flags & VHOST_REPLY) || header.size > most)
		return vhost_gone(v, -EPROTO,
				  "the vhost-user back-end broke the protocol: an answer of %u "
				  "bytes to request %u, asked was %u",
				  header.size, header.request, request);
	if (vhost_receive(v, reply, header.size))
		return -ENODEV;
	return header.size < least ? -EPROTO : (int)header.size;
}

int vhost_get(struct vhost *v, enum vhost_request request, const void *payload, uint32_t size,
	      void *reply, uint32_t least, uint32_t most)
{
	int err = vhost_send(v, request, 0, payload, size, NULL, 0);

	return err ? err : vhost_reply(v, request, reply, least, most);
}

int vhost_get_u64(struct vhost *v, enum vhost_request request, uint64_t *value)
{
	int n = vhost_get(v, request, NULL, 0, value, sizeof(*value), sizeof(*value));

	return n < 0 ? n : 0;
}

int vhost_set(struct vhost *v, enum vhost_request request, const void *payload, uint32_t size,
	      const int *fds, unsigned int count)
{
	bool acked = v->protocol & VHOST_PROTOCOL_REPLY_ACK;
	uint64_t answer = 0;
	int n = vhost_send(v, request, acked ? VHOST_NEED_REPLY : 0, payload, size, fds, count);

	if (n)
		return n;
	/* One that does not acknowledge answers a question in its turn, after what came before. */
	if (!acked)
		return vhost_get_u64(v, VHOST_GET_FEATURES, &answer);
	n = vhost_reply(v, request, &answer, sizeof(answer), sizeof(answer));
	if (n < 0)
		return n == -ENODEV ? n
				    : vhost_gone(v, -EPROTO,
						 "the vhost-user back-end broke the protocol: half "
						 "an acknowledgement");
	return answer ? -EIO : 0;
}

int vhost_set_u64(struct vhost *v, enum vhost_request request, uint64_t value)
{
	return vhost_set(v, request, &value, sizeof(value), NULL, 0);
}
