/* SPDX-License-Identifier: MIT */
/*
 * vfio-user: messages to the server and back.
 *
 * An access is two system calls, a send and a receive: the socket is blocking and its time-outs
 * bound both. Only a reply that comes in pieces, or behind the server's own commands, takes the
 * slow way over poll(), with a deadline for all of it.
 */
#include "bus/vfu.h"

#include "base/sock_fds.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

uint64_t vfu_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

struct vfu *vfu_new(int fd, uint32_t timeout_ms)
{
	struct timeval limit = { .tv_sec = timeout_ms / 1000,
				 .tv_usec = (timeout_ms % 1000) * 1000 };
	struct vfu *vfu = calloc(1, sizeof(*vfu));

	if (!vfu) {
		close(fd);
		return NULL;
	}
	vfu->bus.ops = &vfu_ops;
	vfu->fd = fd;
	vfu->timeout_ms = timeout_ms;
	vfu->multi = -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	return vfu;
}

void vfu_free(struct vfu *vfu)
{
	if (!vfu)
		return;
	vfu_unmap(vfu);
	for (unsigned int i = 0; i < vfu->fd_count; i++)
		close(vfu->fds[i]);
	if (vfu->fd >= 0)
		close(vfu->fd);
	free(vfu);
}

int vfu_gone(struct vfu *vfu, int cause, const char *fmt, ...)
{
	va_list args;

	if (vfu->bus.gone)
		return -ENODEV;
	va_start(args, fmt);
	vsnprintf(vfu->bus.why, sizeof(vfu->bus.why), fmt, args);
	va_end(args);
	vfu->bus.gone = true;
	vfu->bus.pending = false;
	vfu->cause = cause;
	vfu->tx_len = 0;
	vfu->multi = -1;
	/* The descriptor hangs up, so that whoever watches it learns of this, too. */
	shutdown(vfu->fd, SHUT_RDWR);
	vfu_map_gone(vfu);
	return -ENODEV;
}

static int vfu_silent(struct vfu *vfu)
{
	return vfu_gone(vfu, -ETIMEDOUT, "the vfio-user server did not answer within %u ms",
			vfu->timeout_ms);
}

static int vfu_lost(struct vfu *vfu, int err)
{
	if (err == 0 || err == ECONNRESET || err == EPIPE)
		return vfu_gone(vfu, -ECONNRESET, "the vfio-user server closed the connection");
	if (err == EAGAIN || err == EWOULDBLOCK)
		return vfu_silent(vfu);
	return vfu_gone(vfu, -err, "the connection to the vfio-user server failed: %s",
			strerror(err));
}

/* ---------------------------------------------------------------- sending */

void *vfu_put(struct vfu *vfu, uint16_t command, uint32_t flags, uint32_t size, uint16_t *id)
{
	struct vfu_header header = { .id = vfu->next_id,
				     .command = command,
				     .size = (uint32_t)sizeof(header) + size,
				     .flags = VFU_COMMAND | flags };
	uint8_t *at;

	if (vfu->bus.gone)
		return NULL;
	if (header.size > sizeof(vfu->tx) - vfu->tx_len && vfu_send(vfu, -1))
		return NULL;
	vfu->multi = -1;
	vfu->next_id++;
	if (id)
		*id = header.id;
	at = vfu->tx + vfu->tx_len;
	memcpy(at, &header, sizeof(header));
	vfu->tx_len += header.size;
	return at + sizeof(header);
}

int vfu_send(struct vfu *vfu, int fd)
{
	struct iovec part;
	uint32_t sent = 0;
	ssize_t n;

	while (!vfu->bus.gone && sent < vfu->tx_len) {
		part.iov_base = vfu->tx + sent;
		part.iov_len = vfu->tx_len - sent;
		n = au_sock_send(vfu->fd, &part, 1, &fd, fd >= 0 && !sent, 0);
		if (n < 0)
			return vfu_lost(vfu, (int)-n);
		sent += (uint32_t)n;
	}
	vfu->tx_len = 0;
	vfu->multi = -1;
	vfu->bus.pending = false;
	vfu->slow = false;
	vfu->until_ms = 0;
	return vfu->bus.gone ? -ENODEV : 0;
}

/* -------------------------------------------------------------- receiving */

/* Wait until there is something to receive, or patience is at its end. */
static int vfu_wait(struct vfu *vfu)
{
	struct pollfd wait = { .fd = vfu->fd, .events = POLLIN };
	uint64_t now;
	int n;

	for (;;) {
		now = vfu_now_ms();
		if (!vfu->until_ms) {
			vfu->until_ms = now + vfu->timeout_ms;
			if (vfu->deadline_ms && vfu->until_ms > vfu->deadline_ms)
				vfu->until_ms = vfu->deadline_ms;
		}
		if (now >= vfu->until_ms)
			return vfu_silent(vfu);
		n = poll(&wait, 1, (int)(vfu->until_ms - now));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return vfu_lost(vfu, errno);
	}
}

static void vfu_keep_fds(struct vfu *vfu, struct msghdr *msg)
{
	unsigned int room = VFU_FDS_MAX - vfu->fd_count;
	unsigned int came = au_sock_take_fds(msg, vfu->fds + vfu->fd_count, room, au_sock_close_fd);

	vfu->fd_count += came < room ? came : room;
}

/* Receive more. Descriptors that nobody asked for are closed by the kernel. */
static ssize_t vfu_recv(struct vfu *vfu, int flags)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(VFU_FDS_MAX * sizeof(int))];
	} control;
	struct iovec part;
	struct msghdr msg = { .msg_iov = &part,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof(control) };
	ssize_t n;

	if (vfu->rx_head == vfu->rx_tail) {
		vfu->rx_head = 0;
		vfu->rx_tail = 0;
	} else if (sizeof(vfu->rx) - vfu->rx_head < VFU_MESSAGE_MAX) {
		memmove(vfu->rx, vfu->rx + vfu->rx_head, vfu->rx_tail - vfu->rx_head);
		vfu->rx_tail -= vfu->rx_head;
		vfu->rx_head = 0;
	}
	part.iov_base = vfu->rx + vfu->rx_tail;
	part.iov_len = sizeof(vfu->rx) - vfu->rx_tail;
	if (!vfu->take_fds) {
		n = recv(vfu->fd, part.iov_base, part.iov_len, flags);
	} else {
		n = recvmsg(vfu->fd, &msg, flags | MSG_CMSG_CLOEXEC);
		if (n >= 0)
			vfu_keep_fds(vfu, &msg);
	}
	if (n > 0)
		vfu->rx_tail += (uint32_t)n;
	return n;
}

/* Take the next whole message out of what was received: 1, 0 when there is none, or an error. */
static int vfu_next(struct vfu *vfu, const uint8_t **payload, uint32_t *size)
{
	uint32_t have = vfu->rx_tail - vfu->rx_head;

	if (have < sizeof(vfu->reply))
		return 0;
	memcpy(&vfu->reply, vfu->rx + vfu->rx_head, sizeof(vfu->reply));
	if (vfu->reply.size < sizeof(vfu->reply) || vfu->reply.size > VFU_MESSAGE_MAX)
		return vfu_broken(vfu, "a message of %u bytes", vfu->reply.size);
	if (have < vfu->reply.size)
		return 0;
	*payload = vfu->rx + vfu->rx_head + sizeof(vfu->reply);
	*size = vfu->reply.size - (uint32_t)sizeof(vfu->reply);
	vfu->rx_head += vfu->reply.size;
	return 1;
}

/*
 * A command of the server, in vfu->reply. It can only be an access to memory; there is none that
 * it was told of, so it gets an error. DMA_READ and DMA_WRITE are to be served here once there is.
 */
static int vfu_serve(struct vfu *vfu)
{
	struct vfu_header answer = { .id = vfu->reply.id,
				     .command = vfu->reply.command,
				     .size = sizeof(answer),
				     .flags = VFU_REPLY | VFU_ERROR,
				     .error = EFAULT };
	ssize_t n;

	if ((vfu->reply.flags & VFU_TYPE_MASK) != VFU_COMMAND)
		return vfu_broken(vfu, "a message of type %u", vfu->reply.flags & VFU_TYPE_MASK);
	if (vfu->reply.command != VFU_DMA_READ && vfu->reply.command != VFU_DMA_WRITE)
		return vfu_broken(vfu, "command %u is not a server's", vfu->reply.command);
	if (vfu->reply.flags & VFU_NO_REPLY)
		return 0;
	/* A server that does not read its answers must not be able to hold us up. */
	n = send(vfu->fd, &answer, sizeof(answer), MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n != (ssize_t)sizeof(answer))
		return vfu_lost(vfu, n < 0 ? errno : EAGAIN);
	return 0;
}

const struct vfu_header *vfu_receive(struct vfu *vfu, const uint8_t **payload, uint32_t *size)
{
	ssize_t n;
	int found;

	while (!vfu->bus.gone) {
		found = vfu_next(vfu, payload, size);
		if (found > 0 && (vfu->reply.flags & VFU_TYPE_MASK) == VFU_REPLY)
			return &vfu->reply;
		if (found > 0)
			vfu_serve(vfu);
		if (found != 0)
			continue;
		if ((vfu->slow || vfu->deadline_ms) && vfu_wait(vfu))
			break;
		vfu->slow = true;
		n = vfu_recv(vfu, 0);
		if (n == 0 || (n < 0 && errno != EINTR))
			vfu_lost(vfu, n == 0 ? 0 : errno);
	}
	return NULL;
}

int vfu_settle(struct vfu *vfu)
{
	const uint8_t *payload;
	uint32_t size;

	while (!vfu->bus.gone && vfu_next(vfu, &payload, &size) > 0) {
		if ((vfu->reply.flags & VFU_TYPE_MASK) == VFU_REPLY)
			return vfu_broken(vfu, "a reply that nothing asked for");
		vfu_serve(vfu);
	}
	return vfu->bus.gone ? -ENODEV : 0;
}

int vfu_call(struct vfu *vfu, uint16_t command, uint16_t id, int fd, uint32_t min,
	     const uint8_t **payload, uint32_t *size)
{
	const struct vfu_header *reply;
	struct vfu_header got;

	if (vfu_send(vfu, fd))
		return -ENODEV;
	reply = vfu_receive(vfu, payload, size);
	if (!reply)
		return -ENODEV;
	got = *reply;
	if (got.id != id || got.command != command)
		return vfu_broken(vfu, "a reply to command %u where one to %u was due", got.command,
				  command);
	if (vfu->rx_head != vfu->rx_tail && vfu_settle(vfu))
		return -ENODEV;
	if (got.flags & VFU_ERROR)
		return got.error > 0 && got.error < 4096 ? -(int)got.error : -EIO;
	if (*size < min)
		return vfu_broken(vfu, "a reply to command %u with only %u bytes", command, *size);
	return 0;
}

void vfu_attend(struct vfu *vfu)
{
	ssize_t n;

	if (vfu->bus.gone)
		return;
	n = vfu_recv(vfu, MSG_DONTWAIT);
	if (n > 0)
		vfu_settle(vfu);
	else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
		vfu_lost(vfu, n == 0 ? 0 : errno);
}
