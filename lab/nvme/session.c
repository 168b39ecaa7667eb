/* SPDX-License-Identifier: MIT */
/*
 * session.c: the stream of one client: whole messages in, answers out.
 *
 * A client that does not take its answers is not listened to until it does, so that what is kept
 * for it is bounded.
 */
#include "session.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

union fd_control {
	struct cmsghdr align;
	char bytes[CMSG_SPACE(VFU_MAX_MSG_FDS * sizeof(int))];
};

static void close_fds(struct nvme_session *s)
{
	while (s->num_fds)
		close(s->fds[--s->num_fds]);
}

int nvme_session_begin(struct nvme_session *s, int fd)
{
	int ret = nvme_new_doorbells(s->nvme);

	if (ret)
		return ret;
	s->src.fd = fd;
	s->ready = s->eof = false;
	s->nvme->stats.clients++;
	return 0;
}

void nvme_session_end(struct nvme_session *s)
{
	struct nvme *nvme = s->nvme;

	nvme_dma_clear(&nvme->dma);
	nvme_irq_disconnect(nvme, VFIO_PCI_INTX_IRQ_INDEX);
	nvme_irq_disconnect(nvme, VFIO_PCI_MSIX_IRQ_INDEX);
	nvme_config_init(nvme);
	nvme_function_reset(nvme);
	nvme_dma_enable(&nvme->dma, false);
	nvme_update(nvme);
	close(s->src.fd);
	s->src.fd = -1;
	close_fds(s);
	lab_buf_free(&s->in);
	lab_buf_free(&s->out);
}

static bool drop(struct nvme_session *s, const char *why)
{
	lab_msg("dropped the client: %s", why);
	return false;
}

/* ------------------------------------------------------------------- output */

bool nvme_session_output(struct nvme_session *s)
{
	while (lab_buf_len(&s->out)) {
		ssize_t n = send(s->src.fd, lab_buf_head(&s->out), lab_buf_len(&s->out),
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		lab_buf_consume(&s->out, (size_t)n);
	}
	return true;
}

/* The descriptor goes with the first byte, so nothing may wait before it. */
static void send_with(struct nvme_session *s, const struct vfu_header *h, const void *payload,
		      uint32_t size, int fd)
{
	union fd_control control = { 0 };
	struct iovec iov[2] = { { (void *)(uintptr_t)h, sizeof(*h) },
				{ (void *)(uintptr_t)payload, size } };
	struct msghdr msg = { .msg_iov = iov,
			      .msg_iovlen = 2,
			      .msg_control = control.bytes,
			      .msg_controllen = CMSG_SPACE(sizeof(int)) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
	ssize_t n;

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	n = sendmsg(s->src.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n != (ssize_t)(sizeof(*h) + size))
		s->eof = true; /* 80 bytes that do not fit into an empty socket: it is gone */
}

void nvme_session_reply(struct nvme_session *s, const struct vfu_header *h, int error,
			const void *payload, uint32_t size, int fd)
{
	struct vfu_header r = { .msg_id = h->msg_id,
				.cmd = h->cmd,
				.size = (uint32_t)sizeof(r) + size,
				.flags = VFU_TYPE_REPLY | (error ? VFU_ERROR : 0),
				.error = (uint32_t)-error };

	if (h->flags & VFU_NO_REPLY)
		return;
	if (fd >= 0) {
		send_with(s, &r, payload, size, fd);
		return;
	}
	lab_buf_add(&s->out, &r, sizeof(r));
	lab_buf_add(&s->out, payload, size);
}

/* -------------------------------------------------------------------- input */

int nvme_session_take(struct nvme_session *s)
{
	int fd;

	if (!s->num_fds)
		return -1;
	fd = s->fds[0];
	s->num_fds--;
	memmove(s->fds, s->fds + 1, s->num_fds * sizeof(s->fds[0]));
	return fd;
}

/* Return: whether the session goes on. */
static bool execute_input(struct nvme_session *s)
{
	struct vfu_header h;

	while (!s->eof && lab_buf_len(&s->in) >= sizeof(h)) {
		memcpy(&h, lab_buf_head(&s->in), sizeof(h));
		if (h.size < sizeof(h) || h.size > VFU_MAX_MSG)
			return drop(s, "it sent a message of an impossible size");
		if ((h.flags & VFU_TYPE_MASK) != VFU_TYPE_COMMAND)
			return drop(s, "it sent a reply that nothing asked for");
		if (lab_buf_len(&s->in) < h.size)
			break;
		if (!s->ready && h.cmd != VFU_VERSION)
			return drop(s, "its first message is not VERSION");
		nvme_vfu_execute(s, &h, lab_buf_head(&s->in) + sizeof(h),
				 h.size - (uint32_t)sizeof(h));
		lab_buf_consume(&s->in, h.size);
		if (!nvme_session_output(s))
			return false;
		if (lab_buf_len(&s->out))
			return true;
	}
	if (!lab_buf_len(&s->in))
		close_fds(s); /* those that no message took */
	return true;
}

static bool take_fds(struct nvme_session *s, struct msghdr *msg)
{
	bool fits = !(msg->msg_flags & MSG_CTRUNC);

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (s->num_fds < VFU_MAX_MSG_FDS) {
				s->fds[s->num_fds++] = fd;
			} else {
				close(fd);
				fits = false;
			}
		}
	}
	return fits;
}

bool nvme_session_input(struct nvme_session *s)
{
	union fd_control control;
	struct iovec iov = { .iov_len = VFU_MAX_MSG };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	ssize_t n;

	if (!nvme_session_output(s))
		return false;
	if (lab_buf_len(&s->out))
		return true;
	if (!execute_input(s)) /* what waited for the answers to leave */
		return false;
	if (lab_buf_len(&s->out))
		return true;
	iov.iov_base = lab_buf_reserve(&s->in, iov.iov_len);
	n = recvmsg(s->src.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	s->in.tail += (size_t)n;
	if (!take_fds(s, &msg))
		return drop(s, "it passed more descriptors than a message can have");
	return execute_input(s) && !s->eof;
}
