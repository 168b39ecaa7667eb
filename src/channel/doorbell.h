/* SPDX-License-Identifier: MIT */
/*
 * doorbell.h - waking the other end of a channel: one byte over a stream socketpair.
 *
 * Neither end can make the other one block: a full socket drops the byte, and whoever is to be
 * woken by it has bytes enough to wake from.
 */
#ifndef AU_CHANNEL_DOORBELL_H
#define AU_CHANNEL_DOORBELL_H

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>

/** au_doorbell_ring - wake the peer. Only when a flush has said that it sleeps. */
static inline void au_doorbell_ring(int fd)
{
	(void)send(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/**
 * au_doorbell_drain - take the bytes that have come, a bounded number of them.
 *
 * Return: false when the peer has closed its end.
 */
static inline bool au_doorbell_drain(int fd)
{
	char bytes[256];
	ssize_t n = 0;

	for (int round = 0; round < 4; round++) {
		n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n < (ssize_t)sizeof(bytes))
			break;
	}
	return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

#endif
