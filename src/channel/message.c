/* SPDX-License-Identifier: MIT */
#include "channel/message.h"

#include "base/sock_fds.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

_Static_assert(AU_MSG_FDS <= AU_SOCK_FDS, "so many can be sent");

#define MESSAGE_FDS_MAX 253 /* the most that the kernel lets one send carry */
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

/* What does not fit the kernel would close, in our time: so everything fits. */
union message_control_all {
	char buf[CMSG_SPACE(MESSAGE_FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

static void (*message_close)(int fd) = au_sock_close_fd;

void au_msg_set_close(void (*fn)(int fd))
{
	message_close = fn;
}

void au_sock_refuse_fds(int sock)
{
	const int off = 0;

	setsockopt(sock, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off));
}

/* The sockets keep messages whole. */
static int message_send(int sock, const struct iovec *parts, size_t count, const int *fds,
			unsigned int fd_count)
{
	ssize_t n = au_sock_send(sock, parts, count, fds, fd_count, 0);

	return n < 0 ? (int)n : 0;
}

static void message_head(struct au_msg_head *head, size_t length)
{
	head->magic = AU_PROTO_MAGIC;
	head->version = AU_PROTO_VERSION;
	head->length = (uint32_t)length;
	head->reserved = 0;
}

int au_msg_send(int sock, void *msg, size_t length, const int *fds, unsigned int fd_count)
{
	struct iovec iov = { .iov_base = msg, .iov_len = length };

	if (length < sizeof(struct au_msg_head) || length > AU_MSG_MAX)
		return -EMSGSIZE;
	message_head(msg, length);
	return message_send(sock, &iov, 1, fds, fd_count);
}

int au_msg_send_text(int sock, uint16_t type, const char *text, const int *fds,
		     unsigned int fd_count)
{
	struct au_msg_head head = { .type = type };
	size_t length = strlen(text);
	struct iovec iov[2] = {
		{ .iov_base = &head, .iov_len = sizeof(head) },
		{ .iov_base = (void *)(uintptr_t)text, .iov_len = length },
	};

	if (length > AU_MSG_MAX - sizeof(head))
		return -EMSGSIZE;
	message_head(&head, sizeof(head) + length);
	return message_send(sock, iov, 2, fds, fd_count);
}

void au_msg_close(int fds[AU_MSG_FDS])
{
	for (unsigned int i = 0; i < AU_MSG_FDS; i++) {
		if (fds[i] >= 0)
			message_close(fds[i]);
		fds[i] = -1;
	}
}

int au_msg_recv(int sock, void *msg, size_t size, int fds[AU_MSG_FDS])
{
	union message_control_all control;
	struct iovec iov = { .iov_base = msg, .iov_len = size - 1 };
	struct msghdr hdr = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	const struct au_msg_head *head = msg;
	int mine[AU_MSG_FDS];
	ssize_t n;
	bool fit;

	for (unsigned int i = 0; i < AU_MSG_FDS; i++)
		mine[i] = -1;
	if (fds)
		memcpy(fds, mine, sizeof(mine));
	do
		n = recvmsg(sock, &hdr, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	/* All are taken, also those of a message that is refused. */
	fit = au_sock_take_fds(&hdr, mine, AU_MSG_FDS, message_close) <= AU_MSG_FDS;
	if (n == 0) {
		au_msg_close(mine);
		return 0;
	}
	if (!fit || (hdr.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || n < (ssize_t)sizeof(*head) ||
	    head->magic != AU_PROTO_MAGIC || head->length != (uint32_t)n || head->version == 0) {
		au_msg_close(mine);
		return -EPROTO;
	}
	((char *)msg)[n] = 0;
	if (fds)
		memcpy(fds, mine, sizeof(mine));
	else
		au_msg_close(mine);
	return (int)n;
}
