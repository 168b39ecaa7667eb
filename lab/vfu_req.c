/* SPDX-License-Identifier: MIT */
#include "vfu_server.h"

#include <string.h>

struct vfu_req *vfu_req_new(struct vfu_session *s, const struct vfu_header *h, uint32_t payload)
{
	uint32_t size = (uint32_t)sizeof(struct vfu_header) + payload;
	struct vfu_req *req = lab_xcalloc(1, sizeof(*req) + size);
	struct vfu_header r = {
		.msg_id = h->msg_id, .cmd = h->cmd, .size = size, .flags = VFU_TYPE_REPLY
	};

	req->s = s;
	req->f = s->f;
	req->left = 1;
	req->no_reply = h->flags & VFU_NO_REPLY;
	req->reply_size = size;
	memcpy(req->reply, &r, sizeof(r));
	req->f->inflight_bytes += size;
	*s->last = req;
	s->last = &req->next;
	return req;
}

static void req_free(struct vfu_req *req)
{
	req->f->inflight_bytes -= req->reply_size;
	free(req);
}

void vfu_req_put(struct vfu_req *req)
{
	if (--req->left == 0 && !req->s)
		req_free(req);
}

void vfu_req_fail(struct vfu_req *req, int err)
{
	struct vfu_header r;

	memcpy(&r, req->reply, sizeof(r));
	r.flags |= VFU_ERROR;
	r.error = (uint32_t)-err;
	r.size = sizeof(r);
	memcpy(req->reply, &r, sizeof(r));
}

void vfu_req_abandon(struct vfu_session *s)
{
	for (struct vfu_req *req = s->first, *next; req; req = next) {
		next = req->next;
		req->s = NULL;
		if (!req->left)
			req_free(req);
	}
	s->first = NULL;
	s->last = &s->first;
}

void vfu_req_answer(struct vfu_session *s)
{
	while (s->first && !s->first->left) {
		struct vfu_req *req = s->first;
		struct vfu_header h;

		s->first = req->next;
		if (!s->first)
			s->last = &s->first;
		memcpy(&h, req->reply, sizeof(h));
		if (!req->no_reply)
			lab_buf_add(&s->out, req->reply, h.size);
		req_free(req);
	}
}
