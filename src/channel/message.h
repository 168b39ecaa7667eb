/* SPDX-License-Identifier: MIT */
/**
 * DOC: Sending and receiving the messages of protocol.h
 *
 * For client, manager and host alike. Nothing here blocks unless the socket does: every function
 * may be used on a blocking socket by a client and on a non-blocking one in an event loop.
 */
#ifndef AU_CHANNEL_MESSAGE_H
#define AU_CHANNEL_MESSAGE_H

#include "channel/protocol.h"

#include <stddef.h>

/**
 * au_msg_send - send one message. Fills in the head but for its type.
 * @msg: starts with a struct au_msg_head whose type is set.
 * @length: of the whole message, at most AU_MSG_MAX.
 * @fds: descriptors that travel along; they stay the caller's.
 *
 * Never raises SIGPIPE.
 * Return: 0; -EAGAIN: the peer does not read; -EPIPE, -ECONNRESET: it has gone.
 */
int au_msg_send(int sock, void *msg, size_t length, const int *fds, unsigned int fd_count);

/**
 * au_msg_send_text - send a head followed by text (JSON), without a terminating zero.
 */
int au_msg_send_text(int sock, uint16_t type, const char *text, const int *fds,
		     unsigned int fd_count);

/**
 * au_msg_recv - receive one message and check its head: magic, length, nothing cut off.
 * @msg: at least AU_MSG_MAX + 1 bytes for any message; what follows the message is zeroed one byte
 *	far, so that text ends.
 * @fds: room for AU_MSG_FDS descriptors (close-on-exec), all of them -1 but those that came; the
 *	caller owns these. NULL: descriptors are not expected, and closed.
 *
 * Return: the message's length; 0: end of file; -EAGAIN; -EPROTO: not a message (its descriptors
 * are closed); -errno of recvmsg(2).
 */
int au_msg_recv(int sock, void *msg, size_t size, int fds[AU_MSG_FDS]);

/** au_msg_close - close the descriptors that came with a message and set them to -1. */
void au_msg_close(int fds[AU_MSG_FDS]);

/**
 * au_msg_set_close - how descriptors that a peer sent are closed; close(2) unless set.
 *
 * To close what somebody else made can take as long as he likes: a TCP socket waits for its
 * SO_LINGER, a file on FUSE for its server. Who may not wait for peers has it done elsewhere. Set
 * it before there are threads.
 */
void au_msg_set_close(void (*fn)(int fd));

/**
 * au_sock_refuse_fds - let nobody send descriptors to @sock any more, where the kernel can (since
 * 6.16): a receiver that takes none would have to close them all the same.
 */
void au_sock_refuse_fds(int sock);

#endif
