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
static void __attribute__((noinline)) io_data_more(struct nvme_path *p, struct nvme_sqe *sqe,
						   uint32_t index, uint64_t dma, uint32_t length)
{
	uint32_t page = p->page_mask + 1;
	uint64_t next = (dma | p->page_mask) + 1, end = dma + length;
	uint64_t *list = (uint64_t *)((char *)p->lists.cpu + index * NVME_LIST_BYTES);

	if (end - next <= page) {
		sqe->prp2 = next;
		return;
	}
	if (p->sgl) {
		io_data_sgl(sqe, dma, length);
		return;
	}
	sqe->prp2 = p->lists.addr + index * NVME_LIST_BYTES;
	for (; next < end; next += page)
		*list++ = next;
}

/* Where the data are. They are one piece for the device, so that this is arithmetic. @any: they may
 * be where a PRP cannot be. */
static inline void io_data(struct nvme_path *p, struct nvme_sqe *sqe, uint32_t index, uint64_t dma,
			   uint32_t length, bool any)
{
	if (any && (dma & 3)) {
		io_data_sgl(sqe, dma, length);
		return;
	}
	sqe->prp1 = dma;
	sqe->prp2 = 0;
	if (unlikely(((uint32_t)dma & p->page_mask) + length > p->page_mask + 1))
		io_data_more(p, sqe, index, dma, length);
}

static uint32_t io_blocks(const struct nvme_way *way, uint64_t bytes)
{
	return (uint32_t)(bytes >> way->shift) - 1;
}

/* A comparison, with all of the data or a fused one's half of them; and the other half. */
static void io_fill_compare(struct nvme_path *p, struct nvme_sqe *sqe, uint32_t index,
			    const struct nvme_way *way, const struct au_request *req)
{
	uint8_t half = p->slots[index].half;
	uint32_t length = half ? req->length / 2 : req->length;

	sqe->opcode = half == NVME_WRITE ? IO_WRITE : IO_COMPARE;
	sqe->flags = half == NVME_WRITE ? FUSED_SECOND : half == NVME_COMPARE ? FUSED_FIRST : 0;
	sqe->lba = req->arg[0] >> way->shift;
	sqe->cdw12 = io_blocks(way, length);
	if (half == NVME_WRITE && (req->flags & AU_BLOCK_FUA))
		sqe->cdw12 |= 1u << IO_FUA_SHIFT;
	io_data(p, sqe, index, req->dma + (half == NVME_WRITE ? length : 0), length, true);
}

/* What is neither a read nor a write. */
static void __attribute__((noinline))
io_fill_other(struct nvme_path *p, struct nvme_sqe *sqe, uint32_t index, const struct nvme_way *way,
	      const struct au_request *req)
{
	struct nvme_range *range =
		(struct nvme_range *)((char *)p->lists.cpu + index * NVME_LIST_BYTES);

	sqe->opcode = IO_FLUSH;
	sqe->prp1 = sqe->prp2 = sqe->lba = sqe->blocks = 0;
	if (req->op == AU_BLOCK_DISCARD) {
		sqe->opcode = IO_DSM;
		sqe->prp1 = p->lists.addr + index * NVME_LIST_BYTES;
		sqe->cdw11 = DSM_DEALLOCATE;
		*range = (struct nvme_range){ .blocks = (uint32_t)(req->arg[1] >> way->shift),
					      .first = req->arg[0] >> way->shift };
	} else if (req->op == AU_BLOCK_WRITE_ZEROES) {
		sqe->opcode = IO_WRITE_ZEROES;
		sqe->lba = req->arg[0] >> way->shift;
		sqe->cdw12 = io_blocks(way, req->arg[1]);
		if (req->flags & AU_BLOCK_FUA)
			sqe->cdw12 |= 1u << IO_FUA_SHIFT;
	} else if (req->op != AU_BLOCK_FLUSH) {
		io_fill_compare(p, sqe, index, way, req);
	}
}

/* Into the queue, where there is room: there are fewer slots than entries. */
static inline void io_put(struct nvme_path *p, const struct nvme_way *way, struct nvme_slot *slot,
			  const struct au_request *req, bool any)
{
	struct nvme_queue *q = &p->io;
	struct nvme_sqe *sqe = &q->sq[q->tail];
	uint32_t cid = slot->key & 0xffff, fua = req->flags & AU_BLOCK_FUA;

	_Static_assert(AU_BLOCK_READ == 16 && AU_BLOCK_WRITE == 17 && IO_READ == 2 && IO_WRITE == 1,
		       "the one from the other by a subtraction");
	sqe->first = way->word | cid << 16 | (18u - req->op);
	sqe->reserved = sqe->mptr = sqe->last = 0;
	if (likely(req->op >= AU_BLOCK_READ)) {
		io_data(p, sqe, cid & p->mask, req->dma, req->length, any);
		sqe->lba = req->arg[0] >> way->shift;
		sqe->blocks = ((req->length >> way->shift) - 1) |
			      fua << (IO_FUA_SHIFT - __builtin_ctz(AU_BLOCK_FUA));
	} else if (unlikely(req->op == AU_BLOCK_COMPARE_WRITE && !slot->half)) {
		nvme_pair_start(p, way, slot);
		return;
	} else {
		sqe->first = way->word | cid << 16;
		io_fill_other(p, sqe, cid & p->mask, way, req);
	}
	q->tail = q->tail + 1 == q->size ? 0 : q->tail + 1;
}

void nvme_io_put(struct nvme_path *p, const struct nvme_way *way, struct nvme_slot *slot,
		 const struct au_request *req)
{
	io_put(p, way, slot, req, true);
}

/* A slot for a request, and the request into the queue. */
static inline void io_start(struct nvme_path *p, const struct nvme_way *way, struct au_request *req,
			    bool any)
{
	struct nvme_slot *slot = &p->slots[p->free[--p->free_count]];

	slot->req = req;
	slot->key |= NVME_BUSY;
	slot->since = 0;
	slot->care = 0;
	if (likely(p->live)) {
		io_put(p, way, slot, req, any);
	} else {
		slot->tries = NVME_UNSENT;
		if (req->op == AU_BLOCK_COMPARE_WRITE)
			nvme_pair_start(p, way, slot);
	}
}

static uint32_t io_slots(const struct au_request *req)
{
	return req->op == AU_BLOCK_COMPARE_WRITE ? 2 : 1;
}

void nvme_io_wait(struct nvme_path *p, struct au_request *req)
{
	req->driver[0] = NULL;
	*p->waiting_end = req;
	p->waiting_end = (struct au_request **)&req->driver[0];
}

void nvme_io_odd(struct nvme_path *p)
{
	__atomic_store_n(&p->odd, p->nvme->leaving || p->pair_waits, __ATOMIC_RELAXED);
	/* nvme_surprise() says so first there, and then here. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (nvme_is_gone(p->nvme))
		__atomic_store_n(&p->odd, true, __ATOMIC_RELAXED);
}

/* No slot, not aligned, or not any more. */
static void __attribute__((noinline))
io_start_later(struct nvme_path *p, const struct nvme_way *way, struct au_request *req)
{
	if (nvme_is_gone(p->nvme) || way->ns->leaving) {
		au_request_complete(req, -AU_ENODEV, 0);
	} else if (req->length && (req->dma & 3) && p->sgl != SGLS_ANY) {
		au_request_complete(req, -AU_EINVAL, 0); /* PRPs are of whole dwords [4.3] */
	} else if (p->free_count >= io_slots(req) && !p->waiting) {
		io_start(p, way, req, true);
	} else {
		nvme_io_wait(p, req);
	}
}

void nvme_deliver(struct au_queue *queue, struct au_request *req)
{
	const struct nvme_way *way = au_queue_context(queue);
	struct nvme_path *p = way->path;

	if (unlikely(!p->free_count || p->odd || (req->dma & 3)))
		io_start_later(p, way, req);
	else
		io_start(p, way, req, false);
}

/* ----------------------------------------------------------------- completions */

static struct au_request *io_unwait(struct nvme_path *p)
{
	struct au_request *req = p->waiting;

	p->waiting = req->driver[0];
	if (!p->waiting)
		p->waiting_end = &p->waiting;
	return req;
}

static void __attribute__((noinline)) io_start_waiting(struct nvme_path *p)
{
	while (p->waiting && p->free_count >= io_slots(p->waiting)) {
		struct au_request *req = io_unwait(p);

		io_start(p, au_queue_context(au_request_queue(req)), req, true);
	}
	/* One slot is not enough: nobody else may have it. */
	p->pair_waits = p->waiting && p->free_count;
	nvme_io_odd(p);
}

/* The device has let go of it. */
static inline struct au_request *io_free(struct nvme_path *p, struct nvme_slot *slot)
{
	slot->key = (slot->key + p->mask + 1) & 0xffff;
	p->free[p->free_count++] = (uint16_t)(slot - p->slots);
	return slot->req;
}

void nvme_io_end(struct nvme_path *p, struct nvme_slot *slot, int status, uint16_t device_status)
{
	struct au_request *req = slot->req;

	if (slot->half)
		io_free(p, nvme_other_half(p, slot));
	io_free(p, slot);
	au_request_complete_status(req, status, status ? 0 : req->length, device_status);
	if (p->waiting)
		io_start_waiting(p);
}

/* Once more, under another identifier. */
static void io_again(struct nvme_path *p, struct nvme_slot *slot)
{
	slot->key = ((slot->key + p->mask + 1) & 0xffff) | NVME_BUSY;
	slot->since = 0;
	slot->aborting = false;
	slot->tries++;
	io_put(p, au_queue_context(au_request_queue(slot->req)), slot, slot->req, true);
}

static void __attribute__((noinline))
io_failed(struct nvme_path *p, struct nvme_slot *slot, uint16_t status)
{
	uint16_t code = status & STATUS_CODE;
	bool again;
	int err = nvme_status(status, slot->req->op, &again);

	/* One that has them, and then has not. */
	if (p->sgl && code >= STATUS_SGL_FIRST && code <= STATUS_SGL_LAST) {
		au_log(p->nvme->dev, AU_LOG_WARN, "no scatter gather lists any more: status 0x%x",
		       code);
		p->sgl = SGLS_NONE;
		again = true;
		status = code;
	}
	if (au_request_is_canceled(slot->req)) {
		again = false;
		err = -AU_ECANCELED;
	}
	if (again && !(status & STATUS_DNR) && slot->tries < NVME_TRIES && !nvme_is_gone(p->nvme)) {
		/* Without a queue it waits for nvme_io_resubmit(). */
		if (p->live)
			io_again(p, slot);
		return;
	}
	if (slot->late && (status & STATUS_CODE) == STATUS_ABORT_REQUESTED && err == -AU_EIO)
		err = -AU_ETIMEDOUT;
	nvme_io_end(p, slot, err, status);
}

/* An answer to something out of the ordinary, or that says so. */
static bool __attribute__((noinline))
io_take_odd(struct nvme_path *p, struct nvme_slot *slot, uint16_t status)
{
	if (slot->tries == NVME_UNSENT)
		return false;
	if (slot->half)
		return nvme_pair_answered(p, slot, status);
	if (status)
		io_failed(p, slot, status);
	else
		nvme_io_end(p, slot, 0, 0);
	return true;
}

/* Return: whether the entry is an answer to something that was asked. */
static inline bool io_take(struct nvme_path *p, uint64_t end)
{
	uint32_t cid = CQE_CID(end);
	struct nvme_slot *slot = &p->slots[cid & p->mask];
	struct au_request *req;

	if (unlikely(slot->key != (cid | NVME_BUSY) || CQE_QUEUE(end) - p->io.first >= p->io.size))
		return false;
	if (unlikely(slot->care | CQE_STATUS(end)))
		return io_take_odd(p, slot, CQE_STATUS(end));
	req = io_free(p, slot);
	au_request_complete(req, 0, req->length);
	if (unlikely(p->waiting != NULL))
		io_start_waiting(p);
	return true;
}

/* Not to be borne: nothing more is sent or taken until lane 0 has reset the controller. */
static void __attribute__((noinline)) io_wrong(struct nvme_path *p, const char *why)
{
	if (p->number == 0) {
		nvme_reset(p->nvme, why);
		return;
	}
	p->live = false;
	__atomic_store_n(&p->wrong, why, __ATOMIC_RELAXED);
	nvme_notice(p, NOTICE_WRONG);
}

unsigned int nvme_io_reap(struct nvme_path *p)
{
	struct nvme_queue *q = &p->io;
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
		good = io_take(p, end);
	}
	if (!count)
		return 0;
	p->reaped = true;
	p->completed += good || count > 1;
	nvme_ring(q, 1, q->head);
	if (unlikely(!good)) {
		au_log(p->nvme->dev, AU_LOG_ERROR, "a completion that nothing asked for: 0x%016llx",
		       (unsigned long long)end);
		io_wrong(p, "a wrong completion");
	}
	return count;
}

/* ------------------------------------------------------------------ the lanes */

static inline unsigned int io_ring(struct nvme_queue *q)
{
	if (q->tail == q->rung)
		return 0;
	q->rung = q->tail;
	nvme_ring(q, 0, q->tail);
	return 1;
}

static inline unsigned int path_poll(struct nvme_path *p)
{
	unsigned int count = io_ring(&p->io);

	/* Who polls without ever sleeping does not come by nvme_path_idle(). */
	if (unlikely(p->slow_clock) && count)
		nvme_clock_faster(p);
	count += nvme_io_reap(p);
	return count + io_ring(&p->io); /* what was delivered meanwhile */
}

unsigned int nvme_path_poll(void *context)
{
	struct nvme_path *p = context;

	return likely(p->live) ? path_poll(p) : 0;
}

unsigned int nvme_poll(void *context)
{
	struct nvme *n = context;
	unsigned int count = 0;

	if (likely(n->path[0].live))
		count = path_poll(&n->path[0]);
	if (unlikely(nvme_new(&n->admin)))
		count += nvme_admin_reap(n);
	if (unlikely(n->step != NULL))
		nvme_steps_go(n);
	return count;
}

bool nvme_path_idle(void *context)
{
	struct nvme_path *p = context;
	const struct nvme *n = p->nvme;

	if (p->live && (p->io.tail != p->io.rung || nvme_new(&p->io)))
		return false;
	if (!p->live || p->free_count == n->depth)
		return true;
	/* An interrupt may be lost. Without interrupts, somebody has to look all the time. */
	if (n->irqs && p->slow_clock)
		nvme_clock_faster(p);
	return n->irqs;
}

bool nvme_idle(void *context)
{
	struct nvme *n = context;

	return !nvme_new(&n->admin) && nvme_path_idle(&n->path[0]);
}

unsigned int nvme_flying(struct nvme *n)
{
	unsigned int count = 0;

	nvme_each_path(n, p) count += n->depth - p->free_count;
	return count;
}

/* -------------------------------------------------------------- from the start */

static void path_resubmit(struct nvme_path *p)
{
	uint32_t depth = p->nvme->depth;

	/* First what ends: it may deliver, which must find things as they were. */
	for (uint32_t i = 0; i < depth; i++) {
		struct nvme_slot *slot = &p->slots[i];

		if (!(slot->key & NVME_BUSY))
			continue;
		if (au_request_is_canceled(slot->req))
			nvme_io_end(p, slot, -AU_ECANCELED, 0);
		else if (slot->half)
			nvme_pair_forgotten(p, slot);
		else if (slot->tries != NVME_UNSENT && slot->tries >= NVME_TRIES)
			nvme_io_end(p, slot, slot->late ? -AU_ETIMEDOUT : -AU_EIO, 0);
	}
	p->live = true;
	for (uint32_t i = 0; i < depth; i++) {
		struct nvme_slot *slot = &p->slots[i];

		if (!(slot->key & NVME_BUSY) || slot->half == NVME_WRITE)
			continue;
		io_again(p, slot);
		/* Right behind it. */
		if (slot->half)
			io_again(p, nvme_other_half(p, slot));
	}
}

void nvme_io_resubmit(struct nvme *n)
{
	au_device_park(n->dev);
	n->up = true;
	nvme_each_path(n, p) if (!p->live) path_resubmit(p);
	au_device_unpark(n->dev);
}

void nvme_io_fail(struct nvme *n, int status)
{
	nvme_set_odd(n, true);
	nvme_each_path(n, p)
	{
		p->live = false;
		while (p->waiting)
			au_request_complete(io_unwait(p), status, 0);
		for (uint32_t i = 0; i < n->depth; i++)
			if (p->slots[i].key & NVME_BUSY)
				nvme_io_end(p, &p->slots[i], status, 0);
	}
}

static void path_drop(struct nvme_path *p, const struct nvme_ns *ns)
{
	struct au_request *req = p->waiting;

	p->waiting = NULL;
	p->waiting_end = &p->waiting;
	p->pair_waits = false;
	while (req) {
		struct au_request *next = req->driver[0];
		const struct nvme_way *way = au_queue_context(au_request_queue(req));

		if (way->ns == ns)
			au_request_complete(req, -AU_ENODEV, 0);
		else
			io_start_later(p, way, req);
		req = next;
	}
}

void nvme_io_drop(struct nvme *n, const struct nvme_ns *ns)
{
	nvme_each_path(n, p) path_drop(p, ns);
}
