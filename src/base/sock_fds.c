/* SPDX-License-Identifier: MIT */
#include "base/sock_fds.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

ssize_t au_sock_send(int sock, const struct iovec *parts, size_t count, const int *fds,
		     unsigned int fd_count, int flags)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(AU_SOCK_FDS * sizeof(int))];
	} control = { 0 };
	struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = count };
	ssize_t n;

	if (fd_count > AU_SOCK_FDS)
		return -EINVAL;
	if (fd_count) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, fd_count * sizeof(int));
	}
	do
		n = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

unsigned int au_sock_take_fds(struct msghdr *msg, int *fds, unsigned int max,
			      void (*refuse)(int fd))
{
	unsigned int came = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (came < max)
				fds[came] = fd;
			else
				refuse(fd);
			came++;
		}
	}
	return came;
}

void au_sock_close_fd(int fd)
{
	close(fd);
}
