/* SPDX-License-Identifier: MIT */
#include "vfu_stream.h"

#include "base/sock_fds.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

bool vfu_fds_take(struct vfu_fds *fds, int *to, unsigned int num)
{
	if (fds->num < num)
		return false;
	memcpy(to, fds->fd, num * sizeof(*to));
	fds->num -= num;
	memmove(fds->fd, fds->fd + num, fds->num * sizeof(*fds->fd));
	return true;
}

void vfu_fds_close(struct vfu_fds *fds)
{
	while (fds->num)
		close(fds->fd[--fds->num]);
}

static bool fds_add(struct vfu_fds *fds, struct msghdr *msg)
{
	unsigned int room = VFU_MAX_MSG_FDS - fds->num;
	unsigned int came = au_sock_take_fds(msg, fds->fd + fds->num, room, au_sock_close_fd);

	fds->num += came < room ? came : room;
	return came <= room && !(msg->msg_flags & MSG_CTRUNC);
}

ssize_t vfu_receive(int sock, struct lab_buf *in, struct vfu_fds *fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(VFU_MAX_MSG_FDS * sizeof(int))];
	} control;
	struct iovec iov = { .iov_len = VFU_MAX_MSG };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	ssize_t n;

	iov.iov_base = lab_buf_reserve(in, iov.iov_len);
	n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0;
	if (n > 0)
		in->tail += (size_t)n;
	return n == 0 || fds_add(fds, &msg) ? n : -E2BIG;
}

const char *vfu_header_wrong(const struct vfu_header *h)
{
	if (h->size < sizeof(*h) || h->size > VFU_MAX_MSG)
		return "it sent a message of an impossible size";
	if ((h->flags & VFU_TYPE_MASK) != VFU_TYPE_COMMAND)
		return "it sent a reply that nothing asked for";
	return NULL;
}
