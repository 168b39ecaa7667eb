/* SPDX-License-Identifier: MIT */
/* The way of a request: into the submission queue, and out of the completion queue. */
#include "nvme.h"

/* Nothing is read back from the queue's memory: the device can write there. */

/* The data by a descriptor: they are one piece. */
static void io_data_sgl(struct nvme_sqe *sqe, uint64_t dma, uint32_t length)
{
	sqe->flags |= PSDT_SGL;
	sqe->prp1 = dma;
	sqe->prp2 = length; /* the type, in the highest byte, is 0 */
}

/* Data of more than one page: the second, or a list of all others [4.3], if there has to be one. */
static void __attribute__((noinline))
io_data_more(struct nvme *n, struct nvme_sqe *sqe, uint32_t index, uint64_t dma, uint32_t length)
{
	uint32_t page = n->page_mask + 1;
	uint64_t next = (dma | n->page_mask) + 1, end = dma + length;
	uint64_t *list = (uint64_t *)((char *)n->lists.cpu + index * NVME_LIST_BYTES);

	if (end - next <= page) {
		sqe->prp2 = next;
		return;
	}
	if (n->sgl) {
		io_data_sgl(sqe, dma, length);
		return;
	}
	sqe->prp2 = n->lists.addr + index * NVME_LIST_BYTES;
	for (; next < end; next += page)
		*list++ = next;
}

/* Where the data are. They are one piece for the device, so that this is arithmetic. @any: they may
 * be where a PRP cannot be. */
static inline void io_data(struct nvme *n, struct nvme_sqe *sqe, uint32_t index, uint64_t dma,
			   uint32_t length, bool any)
{
	if (any && (dma & 3)) {
		io_data_sgl(sqe, dma, length);
		return;
	}
	sqe->prp1 = dma;
	sqe->prp2 = 0;
	if (unlikely(((uint32_t)dma & n->page_mask) + length > n->page_mask + 1))
		io_data_more(n, sqe, index, dma, length);
}

static uint32_t io_blocks(const struct nvme_ns *ns, uint64_t bytes)
{
	return (uint32_t)(bytes >> ns->shift) - 1;
}

/* A comparison, with all of the data or a fused one's half of them; and the other half. */
static void io_fill_compare(struct nvme *n, struct nvme_sqe *sqe, uint32_t index,
			    const struct nvme_ns *ns, const struct au_request *req)
{
	uint8_t half = n->slots[index].half;
	uint32_t length = half ? req->length / 2 : req->length;

	sqe->opcode = half == NVME_WRITE ? IO_WRITE : IO_COMPARE;
	sqe->flags = half == NVME_WRITE ? FUSED_SECOND : half == NVME_COMPARE ? FUSED_FIRST : 0;
	sqe->lba = req->arg[0] >> ns->shift;
	sqe->cdw12 = io_blocks(ns, length);
	if (half == NVME_WRITE && (req->flags & AU_BLOCK_FUA))
		sqe->cdw12 |= 1u << IO_FUA_SHIFT;
	io_data(n, sqe, index, req->dma + (half == NVME_WRITE ? length : 0), length, true);
}

/* What is neither a read nor a write. */
static void __attribute__((noinline))
io_fill_other(struct nvme *n, struct nvme_sqe *sqe, uint32_t index, const struct nvme_ns *ns,
	      const struct au_request *req)
{
	struct nvme_range *range =
		(struct nvme_range *)((char *)n->lists.cpu + index * NVME_LIST_BYTES);

	sqe->opcode = IO_FLUSH;
	sqe->prp1 = sqe->prp2 = sqe->lba = sqe->blocks = 0;
	if (req->op == AU_BLOCK_DISCARD) {
		sqe->opcode = IO_DSM;
		sqe->prp1 = n->lists.addr + index * NVME_LIST_BYTES;
		sqe->cdw11 = DSM_DEALLOCATE;
		*range = (struct nvme_range){ .blocks = (uint32_t)(req->arg[1] >> ns->shift),
					      .first = req->arg[0] >> ns->shift };
	} else if (req->op == AU_BLOCK_WRITE_ZEROES) {
		sqe->opcode = IO_WRITE_ZEROES;
		sqe->lba = req->arg[0] >> ns->shift;
		sqe->cdw12 = io_blocks(ns, req->arg[1]);
		if (req->flags & AU_BLOCK_FUA)
			sqe->cdw12 |= 1u << IO_FUA_SHIFT;
	} else if (req->op != AU_BLOCK_FLUSH) {
		io_fill_compare(n, sqe, index, ns, req);
	}
}

/* Into the queue, where there is room: there are fewer slots than entries. */
static inline void io_put(struct nvme *n, const struct nvme_ns *ns, struct nvme_slot *slot,
			  const struct au_request *req, bool any)
{
	struct nvme_queue *q = &n->io;
	struct nvme_sqe *sqe = &q->sq[q->tail];
	uint32_t cid = slot->key & 0xffff, fua = req->flags & AU_BLOCK_FUA;

	_Static_assert(AU_BLOCK_READ == 16 && AU_BLOCK_WRITE == 17 && IO_READ == 2 && IO_WRITE == 1,
		       "the one from the other by a subtraction");
	sqe->first = ns->word | cid << 16 | (18u - req->op);
	sqe->reserved = sqe->mptr = sqe->last = 0;
	if (likely(req->op >= AU_BLOCK_READ)) {
		io_data(n, sqe, cid & n->mask, req->dma, req->length, any);
		sqe->lba = req->arg[0] >> ns->shift;
		sqe->blocks = ((req->length >> ns->shift) - 1) |
			      fua << (IO_FUA_SHIFT - __builtin_ctz(AU_BLOCK_FUA));
	} else if (unlikely(req->op == AU_BLOCK_COMPARE_WRITE && !slot->half)) {
		nvme_pair_start(n, ns, slot);
		return;
	} else {
		sqe->first = ns->word | cid << 16;
		io_fill_other(n, sqe, cid & n->mask, ns, req);
	}
	q->tail = q->tail + 1 == q->size ? 0 : q->tail + 1;
}

void nvme_io_put(struct nvme *n, const struct nvme_ns *ns, struct nvme_slot *slot,
		 const struct au_request *req)
{
	io_put(n, ns, slot, req, true);
}

/* A slot for a request, and the request into the queue. */
static inline void io_start(struct nvme *n, const struct nvme_ns *ns, struct au_request *req,
			    bool any)
{
	struct nvme_slot *slot = &n->slots[n->free[--n->free_count]];

	slot->req = req;
	slot->key |= NVME_BUSY;
	slot->since = 0;
	slot->care = 0;
	if (likely(n->live)) {
		io_put(n, ns, slot, req, any);
	} else {
		slot->tries = NVME_UNSENT;
		if (req->op == AU_BLOCK_COMPARE_WRITE)
			nvme_pair_start(n, ns, slot);
	}
}

static uint32_t io_slots(const struct au_request *req)
{
	return req->op == AU_BLOCK_COMPARE_WRITE ? 2 : 1;
}

void nvme_io_wait(struct nvme *n, struct au_request *req)
{
	req->driver[0] = NULL;
	*n->waiting_end = req;
	n->waiting_end = (struct au_request **)&req->driver[0];
}

void nvme_io_odd(struct nvme *n)
{
	__atomic_store_n(&n->odd, n->leaving || n->pair_waits, __ATOMIC_RELAXED);
	/* nvme_surprise() says so first there, and then here. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&n->gone, __ATOMIC_RELAXED))
		__atomic_store_n(&n->odd, true, __ATOMIC_RELAXED);
}

/* No slot, not aligned, or not any more. */
static void __attribute__((noinline))
io_start_later(struct nvme *n, const struct nvme_ns *ns, struct au_request *req)
{
	if (n->gone || ns->leaving) {
		au_request_complete(req, -AU_ENODEV, 0);
	} else if (req->length && (req->dma & 3) && n->sgl != SGLS_ANY) {
		au_request_complete(req, -AU_EINVAL, 0); /* PRPs are of whole dwords [4.3] */
	} else if (n->free_count >= io_slots(req) && !n->waiting) {
		io_start(n, ns, req, true);
	} else {
		nvme_io_wait(n, req);
	}
}

void nvme_deliver(struct au_queue *queue, struct au_request *req)
{
	const struct nvme_ns *ns = au_queue_context(queue);
	struct nvme *n = ns->nvme;

	if (unlikely(!n->free_count || n->odd || (req->dma & 3)))
		io_start_later(n, ns, req);
	else
		io_start(n, ns, req, false);
}

/* ----------------------------------------------------------------- completions */

static struct au_request *io_unwait(struct nvme *n)
{
	struct au_request *req = n->waiting;

	n->waiting = req->driver[0];
	if (!n->waiting)
		n->waiting_end = &n->waiting;
	return req;
}

static void __attribute__((noinline)) io_start_waiting(struct nvme *n)
{
	while (n->waiting && n->free_count >= io_slots(n->waiting)) {
		struct au_request *req = io_unwait(n);

		io_start(n, au_queue_context(au_request_queue(req)), req, true);
	}
	/* One slot is not enough: nobody else may have it. */
	n->pair_waits = n->waiting && n->free_count;
	nvme_io_odd(n);
}

/* The device has let go of it. */
static inline struct au_request *io_free(struct nvme *n, struct nvme_slot *slot)
{
	slot->key = (slot->key + n->mask + 1) & 0xffff;
	n->free[n->free_count++] = (uint16_t)(slot - n->slots);
	return slot->req;
}

void nvme_io_end(struct nvme *n, struct nvme_slot *slot, int status, uint16_t device_status)
{
	struct au_request *req = slot->req;

	if (slot->half)
		io_free(n, nvme_other_half(n, slot));
	io_free(n, slot);
	au_request_complete_status(req, status, status ? 0 : req->length, device_status);
	if (n->waiting)
		io_start_waiting(n);
}

/* Once more, under another identifier. */
static void io_again(struct nvme *n, struct nvme_slot *slot)
{
	slot->key = ((slot->key + n->mask + 1) & 0xffff) | NVME_BUSY;
	slot->since = 0;
	slot->aborting = false;
	slot->tries++;
	io_put(n, nvme_slot_ns(slot), slot, slot->req, true);
}

static void __attribute__((noinline))
io_failed(struct nvme *n, struct nvme_slot *slot, uint16_t status)
{
	uint16_t code = status & STATUS_CODE;
	bool again;
	int err = nvme_status(status, slot->req->op, &again);

	/* One that has them, and then has not. */
	if (n->sgl && code >= STATUS_SGL_FIRST && code <= STATUS_SGL_LAST) {
		au_log(n->dev, AU_LOG_WARN, "no scatter gather lists any more: status 0x%x", code);
		n->sgl = SGLS_NONE;
		again = true;
		status = code;
	}
	if (au_request_is_canceled(slot->req)) {
		again = false;
		err = -AU_ECANCELED;
	}
	if (again && !(status & STATUS_DNR) && slot->tries < NVME_TRIES && !n->gone) {
		/* Without a queue it waits for nvme_io_resubmit(). */
		if (n->live)
			io_again(n, slot);
		return;
	}
	if (slot->late && (status & STATUS_CODE) == STATUS_ABORT_REQUESTED && err == -AU_EIO)
		err = -AU_ETIMEDOUT;
	nvme_io_end(n, slot, err, status);
}

/* An answer to something out of the ordinary, or that says so. */
static bool __attribute__((noinline))
io_take_odd(struct nvme *n, struct nvme_slot *slot, uint16_t status)
{
	if (slot->tries == NVME_UNSENT)
		return false;
	if (slot->half)
		return nvme_pair_answered(n, slot, status);
	if (status)
		io_failed(n, slot, status);
	else
		nvme_io_end(n, slot, 0, 0);
	return true;
}

/* Return: whether the entry is an answer to something that was asked. */
static inline bool io_take(struct nvme *n, uint64_t end)
{
	uint32_t cid = CQE_CID(end);
	struct nvme_slot *slot = &n->slots[cid & n->mask];
	struct au_request *req;

	if (unlikely(slot->key != (cid | NVME_BUSY) ||
		     CQE_QUEUE(end) - (NVME_IO << 16) >= n->io.size))
		return false;
	if (unlikely(slot->care | CQE_STATUS(end)))
		return io_take_odd(n, slot, CQE_STATUS(end));
	req = io_free(n, slot);
	au_request_complete(req, 0, req->length);
	if (unlikely(n->waiting != NULL))
		io_start_waiting(n);
	return true;
}

unsigned int nvme_io_reap(struct nvme *n)
{
	struct nvme_queue *q = &n->io;
	unsigned int count = 0;
	uint64_t end = 0;
	bool good = true;

	/* No more than one round: the device must not hold the lane. */
	while (count < q->size && likely(good)) {
		end = nvme_look(q);
		if (CQE_PHASE(end) != q->phase)
			break;
		if (unlikely(++q->head == q->size)) {
			q->head = 0;
			q->phase ^= 1;
		}
		count++;
		good = io_take(n, end);
	}
	if (!count)
		return 0;
	n->reaped = true;
	n->completed += good || count > 1;
	nvme_ring(q, 1, q->head);
	if (unlikely(!good)) {
		au_log(n->dev, AU_LOG_ERROR, "a completion that nothing asked for: 0x%016llx",
		       (unsigned long long)end);
		nvme_reset(n, "a wrong completion");
	}
	return count;
}

/* ------------------------------------------------------------------- the lane */

static inline unsigned int io_ring(struct nvme_queue *q)
{
	if (q->tail == q->rung)
		return 0;
	q->rung = q->tail;
	nvme_ring(q, 0, q->tail);
	return 1;
}

unsigned int nvme_poll(void *context)
{
	struct nvme *n = context;
	unsigned int count = 0;

	if (likely(n->live)) {
		count = io_ring(&n->io);
		/* Who polls without ever sleeping does not come by nvme_idle(). */
		if (unlikely(n->slow_clock) && count)
			nvme_clock_faster(n);
		count += nvme_io_reap(n);
		count += io_ring(&n->io); /* what was delivered meanwhile */
	}
	if (unlikely(nvme_new(&n->admin)))
		count += nvme_admin_reap(n);
	if (unlikely(n->step != NULL))
		nvme_steps_go(n);
	return count;
}

bool nvme_idle(void *context)
{
	struct nvme *n = context;

	if (n->live && (n->io.tail != n->io.rung || nvme_new(&n->io)))
		return false;
	if (nvme_new(&n->admin))
		return false;
	if (!n->live || n->free_count == n->depth)
		return true;
	/* An interrupt may be lost. Without interrupts, somebody has to look all the time. */
	if (n->irqs && n->slow_clock)
		nvme_clock_faster(n);
	return n->irqs;
}

/* -------------------------------------------------------------- from the start */

void nvme_io_resubmit(struct nvme *n)
{
	/* First what ends: it may deliver, which must find things as they were. */
	for (uint32_t i = 0; i < n->depth; i++) {
		struct nvme_slot *slot = &n->slots[i];

		if (!(slot->key & NVME_BUSY))
			continue;
		if (au_request_is_canceled(slot->req))
			nvme_io_end(n, slot, -AU_ECANCELED, 0);
		else if (slot->half)
			nvme_pair_forgotten(n, slot);
		else if (slot->tries != NVME_UNSENT && slot->tries >= NVME_TRIES)
			nvme_io_end(n, slot, slot->late ? -AU_ETIMEDOUT : -AU_EIO, 0);
	}
	n->live = true;
	for (uint32_t i = 0; i < n->depth; i++) {
		struct nvme_slot *slot = &n->slots[i];

		if (!(slot->key & NVME_BUSY) || slot->half == NVME_WRITE)
			continue;
		io_again(n, slot);
		/* Right behind it. */
		if (slot->half)
			io_again(n, nvme_other_half(n, slot));
	}
}

void nvme_io_fail(struct nvme *n, int status)
{
	n->live = false;
	n->odd = true;
	while (n->waiting)
		au_request_complete(io_unwait(n), status, 0);
	for (uint32_t i = 0; i < n->depth; i++)
		if (n->slots[i].key & NVME_BUSY)
			nvme_io_end(n, &n->slots[i], status, 0);
}

void nvme_io_drop(struct nvme *n, const struct nvme_ns *ns)
{
	struct au_request *req = n->waiting;

	n->waiting = NULL;
	n->waiting_end = &n->waiting;
	n->pair_waits = false;
	while (req) {
		struct au_request *next = req->driver[0];

		if (au_queue_context(au_request_queue(req)) == ns)
			au_request_complete(req, -AU_ENODEV, 0);
		else
			io_start_later(n, au_queue_context(au_request_queue(req)), req);
		req = next;
	}
}
