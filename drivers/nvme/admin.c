/* SPDX-License-Identifier: MIT */
/* Admin commands. */
#include "nvme.h"

int nvme_admin_send(struct nvme *n, struct nvme_sqe *cmd, bool patient,
		    void (*done)(struct nvme *n, uint16_t status, uint32_t dw0))
{
	struct nvme_queue *q = &n->admin;
	struct nvme_command *c = n->commands;

	while (c->key & NVME_BUSY)
		if (++c == &n->commands[NVME_ADMIN - 1])
			return -AU_EAGAIN;
	cmd->cid = (uint16_t)c->key;
	c->key |= NVME_BUSY;
	c->since = 0;
	c->patient = patient;
	c->done = done;
	n->sent = c;
	q->sq[q->tail] = *cmd;
	q->tail = q->tail + 1 == q->size ? 0 : q->tail + 1;
	q->rung = q->tail;
	nvme_ring(q, 0, q->tail);
	return 0;
}

void nvme_admin_reset(struct nvme *n)
{
	nvme_queue_reset(&n->admin);
	for (uint32_t i = 0; i < NVME_ADMIN; i++)
		n->commands[i].key = i;
	n->aers = n->aborts = 0;
	n->asked = NULL;
}

/* Whether the entry is an answer to something that was asked. */
static bool admin_take(struct nvme *n, uint64_t end, uint32_t dw0)
{
	struct nvme_command *c = &n->commands[CQE_CID(end) % NVME_ADMIN];

	if (CQE_QUEUE(end) - n->admin.first >= n->admin.size ||
	    c->key != (CQE_CID(end) | NVME_BUSY))
		return false;
	c->key = (c->key + NVME_ADMIN) & 0xffff;
	c->done(n, CQE_STATUS(end), dw0);
	return true;
}

unsigned int nvme_admin_reap(struct nvme *n)
{
	struct nvme_queue *q = &n->admin;
	unsigned int count = 0;
	bool good = true;

	while (count < q->size && good && nvme_new(q)) {
		uint64_t end = nvme_look(q);
		uint32_t dw0 = __atomic_load_n(&q->cq[q->head].dw0, __ATOMIC_RELAXED);

		if (++q->head == q->size) {
			q->head = 0;
			q->phase ^= 1;
		}
		count++;
		good = admin_take(n, end, dw0);
		if (!good)
			au_log(n->dev, AU_LOG_ERROR,
			       "an admin completion that nothing asked for: 0x%016llx",
			       (unsigned long long)end);
	}
	if (count) {
		n->reaped = true;
		nvme_ring(q, 1, q->head);
	}
	if (!good)
		nvme_reset(n, "a wrong admin completion");
	return count;
}

bool nvme_admin_late(struct nvme *n, uint32_t now, uint32_t limit_ms)
{
	bool late = false;

	for (struct nvme_command *c = n->commands; c < &n->commands[NVME_ADMIN]; c++) {
		if (!(c->key & NVME_BUSY) || c->patient)
			continue;
		if (!c->since)
			c->since = now;
		late |= now - c->since > limit_ms;
	}
	return late;
}
