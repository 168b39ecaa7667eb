/* SPDX-License-Identifier: MIT */
/* session.h: the vfio-user session of the one client that has the controller. */
#ifndef LAB_NVME_SESSION_H
#define LAB_NVME_SESSION_H

#include "../vfu_stream.h"
#include "nvme.h"

struct nvme_session {
	struct lab_source src; /* fd -1: there is no client */
	struct nvme *nvme;
	bool ready; /* it has said VERSION */
	bool eof;
	struct lab_buf in, out;
	struct vfu_fds fds;
};

/** nvme_session_begin - the connected stream @fd is the client. Return: 0, or why it cannot be. */
int nvme_session_begin(struct nvme_session *s, int fd);

/**
 * nvme_session_input - execute what has come; answers go out at once, as far as they can.
 * Return: false when the session is over: nvme_session_end() is next.
 */
bool nvme_session_input(struct nvme_session *s);

/** nvme_session_output - send what is left of answers. Return: as nvme_session_input(). */
bool nvme_session_output(struct nvme_session *s);

/** nvme_session_end - take back all that the client has lent, and reset the function. */
void nvme_session_end(struct nvme_session *s);

/* vfu.c */

/** nvme_vfu_execute - execute one message; its header is checked, and VERSION is the first. */
void nvme_vfu_execute(struct nvme_session *s, const struct vfu_header *h, const uint8_t *payload,
		      uint32_t size);

/** nvme_session_reply - answer a message; @error: negative, then there is no payload. */
void nvme_session_reply(struct nvme_session *s, const struct vfu_header *h, int error,
			const void *payload, uint32_t size, int fd);

#endif
