/* SPDX-License-Identifier: MIT */
/*
 * session.c: the stream of one client: whole messages in, answers out.
 *
 * A client that does not take its answers is not listened to until it does, so that what is kept
 * for it is bounded.
 */
#include "session.h"
#include "base/sock_fds.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/socket.h>

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
	vfu_fds_close(&s->fds);
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
	struct iovec parts[2] = { { (void *)(uintptr_t)h, sizeof(*h) },
				  { (void *)(uintptr_t)payload, size } };
	ssize_t n = au_sock_send(s->src.fd, parts, 2, &fd, fd >= 0, MSG_DONTWAIT);

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

/* Return: whether the session goes on. */
static bool execute_input(struct nvme_session *s)
{
	struct vfu_header h;
	const char *wrong;

	while (!s->eof && lab_buf_len(&s->in) >= sizeof(h)) {
		memcpy(&h, lab_buf_head(&s->in), sizeof(h));
		wrong = vfu_header_wrong(&h);
		if (wrong)
			return drop(s, wrong);
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
		vfu_fds_close(&s->fds); /* those that no message took */
	return true;
}

bool nvme_session_input(struct nvme_session *s)
{
	ssize_t n;

	if (!nvme_session_output(s))
		return false;
	if (lab_buf_len(&s->out))
		return true;
	if (!execute_input(s)) /* what waited for the answers to leave */
		return false;
	if (lab_buf_len(&s->out))
		return true;
	n = vfu_receive(s->src.fd, &s->in, &s->fds);
	if (n == -EAGAIN)
		return true;
	if (n == -E2BIG)
		return drop(s, "it passed more descriptors than the lab takes");
	return n > 0 && execute_input(s) && !s->eof;
}
