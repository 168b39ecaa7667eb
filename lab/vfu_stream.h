/* SPDX-License-Identifier: MIT */
/* vfu_stream.h: what comes from a client, bytes and descriptors, for all of the lab's servers. */
#ifndef LAB_VFU_STREAM_H
#define LAB_VFU_STREAM_H

#include "util.h"
#include "vfu_proto.h"

#include <sys/types.h>

/** struct vfu_fds - descriptors that have come and that no message has taken yet. */
struct vfu_fds {
	int fd[VFU_MAX_MSG_FDS];
	unsigned int num;
};

/** vfu_fds_take - take the next @num, which are the caller's then. Return: false: so many are not.
 */
bool vfu_fds_take(struct vfu_fds *fds, int *to, unsigned int num);

/** vfu_fds_close - close those that no message took. */
void vfu_fds_close(struct vfu_fds *fds);

/**
 * vfu_receive - take what has come, at most VFU_MAX_MSG bytes, without waiting.
 * Return: how many bytes, 0 at the end of the stream, -EAGAIN when there is nothing, -E2BIG when
 * there were more descriptors than the lab takes.
 */
ssize_t vfu_receive(int sock, struct lab_buf *in, struct vfu_fds *fds);

/** vfu_header_wrong - why no client can mean this header; NULL: it can. */
const char *vfu_header_wrong(const struct vfu_header *h);

#endif
