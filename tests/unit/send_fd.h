/* SPDX-License-Identifier: MIT */
/* For what plays a device server: bytes with a descriptor. */
#ifndef TESTS_SEND_FD_H
#define TESTS_SEND_FD_H

#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* @passed: -1: none. Return: as sendmsg(). */
static inline ssize_t send_fd(int sock, const void *data, size_t size, int passed, int flags)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec part = { (void *)data, size };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;

	if (passed >= 0) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cmsg), &passed, sizeof(int));
	}
	return sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
}

#endif
