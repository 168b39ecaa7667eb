/* SPDX-License-Identifier: MIT */
/*
 * vfu_server.h: sessions of vfio-user clients with functions of the lab, and the requests in them.
 *
 * A session has one input buffer, from which complete messages are executed in order, and one
 * output buffer. A message that needs register accesses becomes a request, which is answered when
 * its last access is; answers leave in the order of the messages.
 */
#ifndef LAB_VFU_SERVER_H
#define LAB_VFU_SERVER_H

#include "lab.h"
#include "vfu_stream.h"

enum vfu_state {
	VFU_NEW, /* has to say VERSION */
	VFU_READY,
	VFU_REFUSED, /* the function has a client: its first message is answered with EBUSY */
	VFU_CLOSING, /* drop it when the answers have left */
};

struct vfu_session {
	struct lab_source src;
	struct lab_func *f;
	enum vfu_state state;
	struct vfu_session *next;      /* in lab->sessions, later in lab->dead_sessions */
	struct vfu_req *first, **last; /* requests not yet answered, in order */
	struct lab_buf in, out;
	struct vfu_fds fds;
	bool stalled; /* a bound or a reset keeps messages from being executed */
	bool eof;     /* nothing more will come */
	bool dead;    /* closed; the memory lives until the end of the loop's turn */
};

/**
 * struct vfu_req - one message and its answer in the making.
 * @s: whose it is; NULL when the session has ended before the answer.
 * @left: accesses outstanding, and one while the message is being executed.
 * @reply: header and payload.
 */
struct vfu_req {
	struct vfu_session *s;
	struct lab_func *f;
	struct vfu_req *next;
	unsigned int left;
	bool no_reply;
	uint32_t reply_size;
	uint8_t reply[];
};

/** vfu_listen - create and serve the function's socket. */
int vfu_listen(struct lab_func *f);

/** vfu_finish_turn - at the end of a turn of the loop: send answers, free what has died. */
void vfu_finish_turn(struct lab *lab);

/** vfu_attach - make the connected stream @fd a session of @f. For vfu_listen() and tests. */
struct vfu_session *vfu_attach(struct lab_func *f, int fd);

/** vfu_shutdown - end all sessions and stop listening. */
void vfu_shutdown(struct lab *lab);

/**
 * vfu_leave - the function is gone: its socket goes at once, its sessions with vfu_end_all().
 */
void vfu_leave(struct lab_func *f);
void vfu_end_all(struct lab_func *f);

/** vfu_drop - end the session now, with one line that says why. */
void vfu_drop(struct vfu_session *s, const char *why);

/* vfu_cmd.c */

/** vfu_execute - execute one message of @size bytes, header checked. */
void vfu_execute(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
		 uint32_t size);

/** vfu_error - answer a message with an error and nothing else. */
void vfu_error(struct vfu_session *s, const struct vfu_header *h, int err);

/* vfu_irq.c, vfu_dma.c: commands; each answers by itself, or returns a negative errno for that. */
int vfu_get_irq_info(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
		     uint32_t size);
int vfu_set_irqs(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
		 uint32_t size);
int vfu_dma_map(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
		uint32_t size);
int vfu_dma_unmap(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
		  uint32_t size);

/**
 * vfu_take_fds - take the next @num descriptors that the client has passed.
 * @fds: owned from now on.
 * Return: whether there were so many; if not, none is taken.
 */
bool vfu_take_fds(struct vfu_session *s, int *fds, unsigned int num);

/* vfu_req.c */

/** vfu_req_new - begin to answer @h with @payload bytes, zeroed. */
struct vfu_req *vfu_req_new(struct vfu_session *s, const struct vfu_header *h, uint32_t payload);

/** vfu_req_put - one access less to wait for; the last one makes the answer ready. */
void vfu_req_put(struct vfu_req *req);

/** vfu_req_fail - the answer is an error. */
void vfu_req_fail(struct vfu_req *req, int err);

static inline void *vfu_req_payload(struct vfu_req *req)
{
	return req->reply + sizeof(struct vfu_header);
}

/** vfu_req_abandon - the session is over: answers will go nowhere. */
void vfu_req_abandon(struct vfu_session *s);

/** vfu_req_answer - move finished answers to the output buffer. */
void vfu_req_answer(struct vfu_session *s);

/* region.c */

/** region_size - bytes of a region, 0 when the function does not have it. */
uint64_t region_size(const struct lab_func *f, unsigned int region);

/** region_check - 0 when the access lies inside an existing region, else -EINVAL. */
int region_check(const struct lab_func *f, unsigned int region, uint64_t off, uint32_t count);

/** region_read - queue the reads; data lands in @dest, which lives as long as @req. */
void region_read(struct vfu_req *req, unsigned int region, uint64_t off, uint32_t count,
		 uint8_t *dest);

/**
 * region_write - queue the writes of @data.
 * Return: true when the client has asked for a function level reset by it.
 */
bool region_write(struct vfu_req *req, unsigned int region, uint64_t off, uint32_t count,
		  const uint8_t *data);

#endif
