/* SPDX-License-Identifier: MIT */
/**
 * DOC: Descriptors that travel over UNIX sockets
 *
 * For every protocol that has them: vfio-user, the manager's messages, the lab's.
 */
#ifndef AU_BASE_SOCK_FDS_H
#define AU_BASE_SOCK_FDS_H

#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#define AU_SOCK_FDS 16 /* with one message, at most */

/**
 * au_sock_send - send @parts, and descriptors beside them, which stay the caller's.
 * @flags: of sendmsg(2). SIGPIPE is never raised, and signals do not interrupt it.
 * Return: how many bytes were sent: the descriptors went with the first; -EINVAL: too many
 * descriptors; -errno of sendmsg(2).
 */
ssize_t au_sock_send(int sock, const struct iovec *parts, size_t count, const int *fds,
		     unsigned int fd_count, int flags);

/**
 * au_sock_take_fds - take all descriptors that came with a message out of it.
 * @fds: gets the first @max.
 * @refuse: gets each of the others, to close.
 * Return: how many came, which may be more than @max.
 */
unsigned int au_sock_take_fds(struct msghdr *msg, int *fds, unsigned int max,
			      void (*refuse)(int fd));

/** au_sock_close_fd - close(2), for @refuse. */
void au_sock_close_fd(int fd);

#endif
