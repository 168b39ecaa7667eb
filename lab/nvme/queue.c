/* SPDX-License-Identifier: MIT */
/*
 * queue.c: doorbells, submission and completion queues.
 *
 * A doorbell's value is looked at, never trusted: one beyond its queue is ignored and reported.
 * Entries are copied, some at a time so that several cache lines are on their way at once, and only
 * the copies are used.
 */
#include "nvme.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define QUEUE_BATCH  8u	 /* entries copied at a time */
#define QUEUE_BUDGET 64u /* commands of one queue before the next one's turn */

int nvme_new_doorbells(struct nvme *nvme)
{
	int fd = memfd_create("nvme-doorbells", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *page = MAP_FAILED;

	/* Descriptors are relative to the region, so the file is as long as it is. */
	if (fd >= 0 && ftruncate(fd, NVME_BAR_SIZE) == 0 &&
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		page = mmap(NULL, NVME_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    NVME_BAR_DOORBELLS);
	if (page == MAP_FAILED) {
		int err = -errno;

		if (fd >= 0)
			close(fd);
		return err;
	}
	if (nvme->doorbell)
		munmap((void *)nvme->doorbell, NVME_PAGE);
	if (nvme->doorbell_fd >= 0)
		close(nvme->doorbell_fd);
	nvme->doorbell = page;
	nvme->doorbell_fd = fd;
	return 0;
}

/* --------------------------------------------------------------- doorbells */

/* Slot 2n is the tail of submission queue n, slot 2n + 1 the head of completion queue n. */
uint32_t nvme_doorbell(struct nvme *nvme, unsigned int slot)
{
	const uint32_t *at = (const uint32_t *)nvme->doorbell + slot;

	if (nvme->shadow && slot >= 2) {
		at = nvme_dma_at(&nvme->dma, &nvme->shadow_hint, nvme->shadow + 4 * slot, 4,
				 NVME_DMA_READ);
		if (!at) {
			nvme->stats.stray++;
			nvme_fatal(nvme);
			return 0;
		}
	}
	return __atomic_load_n(at, __ATOMIC_ACQUIRE);
}

/* Say up to where a doorbell has been seen: when it passes that, its register is to be written. */
static void event_index(struct nvme *nvme, unsigned int slot, uint32_t value)
{
	uint32_t *at = nvme_dma_at(&nvme->dma, &nvme->event_hint, nvme->event_index + 4 * slot, 4,
				   NVME_DMA_WRITE);

	if (at) {
		__atomic_store_n(at, value, __ATOMIC_SEQ_CST);
	} else {
		nvme->stats.stray++;
		nvme_fatal(nvme);
	}
}

void nvme_rest(struct nvme *nvme)
{
	if (!nvme->event_index || !nvme->running)
		return;
	for (unsigned int i = 0; i < nvme->queues; i++)
		if (nvme->sq[i].live)
			event_index(nvme, 2 * i, nvme->sq[i].tail);
}

/* One complaint about each value. */
static void doorbell_bad(struct nvme *nvme, uint32_t *bad, uint32_t value)
{
	if (*bad == value + 1)
		return;
	*bad = value + 1;
	nvme_raise(nvme, NVME_EVENT_ERROR, NVME_ERROR_DOORBELL_VALUE, NVME_LOG_ERROR);
}

void nvme_doorbell_message(struct nvme *nvme, uint32_t off, uint32_t value)
{
	unsigned int slot = off / 4, id = slot / 2;

	nvme->stats.doorbells++;
	if (id >= NVME_QUEUES || !(slot % 2 ? nvme->cq[id].live : nvme->sq[id].live)) {
		nvme_raise(nvme, NVME_EVENT_ERROR, NVME_ERROR_DOORBELL_REGISTER, NVME_LOG_ERROR);
		return;
	}
	__atomic_store_n((uint32_t *)nvme->doorbell + slot, value, __ATOMIC_RELEASE);
}

/* ----------------------------------------------------------- open and close */

static void queues_count(struct nvme *nvme)
{
	nvme->queues = 0;
	for (unsigned int i = 0; i < NVME_QUEUES; i++)
		if (nvme->sq[i].live || nvme->cq[i].live)
			nvme->queues = i + 1;
}

void nvme_open_cq(struct nvme *nvme, uint16_t id, uint32_t size, uint64_t base, bool ien,
		  uint16_t vector)
{
	nvme->cq[id] = (struct nvme_cq){ .live = true,
					 .ien = ien,
					 .phase = true,
					 .id = id,
					 .vector = vector,
					 .size = size,
					 .base = base };
	__atomic_store_n((uint32_t *)nvme->doorbell + 2 * id + 1, 0, __ATOMIC_RELAXED);
	queues_count(nvme);
}

void nvme_open_sq(struct nvme *nvme, uint16_t id, uint16_t cqid, uint32_t size, uint64_t base)
{
	nvme->sq[id] = (struct nvme_sq){
		.live = true, .id = id, .cqid = cqid, .size = size, .base = base
	};
	nvme->cq[cqid].users++;
	__atomic_store_n((uint32_t *)nvme->doorbell + 2 * id, 0, __ATOMIC_RELAXED);
	queues_count(nvme);
}

void nvme_close_sq(struct nvme *nvme, uint16_t id)
{
	nvme_held_drop(nvme, id, true);
	nvme->cq[nvme->sq[id].cqid].users--;
	nvme->sq[id].live = false;
	queues_count(nvme);
}

void nvme_close_cq(struct nvme *nvme, uint16_t id)
{
	nvme->cq[id].live = false;
	queues_count(nvme);
}

/* -------------------------------------------------------------- completions */

static uint32_t cq_free(const struct nvme_cq *cq)
{
	uint32_t used = cq->tail >= cq->head ? cq->tail - cq->head : cq->tail + cq->size - cq->head;

	return cq->size - 1 - used;
}

/* How many completions fit, if it is known without a look at the doorbell that @want do. */
static uint32_t cq_room(struct nvme *nvme, struct nvme_cq *cq, uint32_t want)
{
	uint32_t room = cq_free(cq), head;

	if (room >= want)
		return room;
	head = nvme_doorbell(nvme, 2u * cq->id + 1);
	if (head >= cq->size) {
		/* Reporting it takes room, too: only if there is some. */
		if (room)
			doorbell_bad(nvme, &cq->bad, head);
		return cq_free(cq);
	}
	cq->head = head;
	return cq_free(cq);
}

bool nvme_can_complete(struct nvme *nvme, uint16_t sqid)
{
	return cq_room(nvme, &nvme->cq[nvme->sq[sqid].cqid], 1) > 0;
}

static void cq_post(struct nvme *nvme, struct nvme_cq *cq, const struct nvme_cqe *cqe,
		    unsigned int quirks)
{
	uint64_t *at = nvme_dma_at(&nvme->dma, &cq->hint, cq->base + cq->tail * sizeof(*cqe),
				   sizeof(*cqe), NVME_DMA_WRITE);
	bool phase = cq->phase ^ !!(quirks & NVME_QUIRK_PHASE);
	uint64_t low, high;

	if (!at) {
		nvme->stats.stray++;
		nvme_fatal(nvme);
		return;
	}
	low = cqe->dw0;
	high = cqe->sq_head | (uint64_t)cqe->sqid << 16 | (uint64_t)cqe->cid << 32 |
	       (uint64_t)(uint16_t)(cqe->status << 1 | phase) << 48;
	at[0] = low;
	__atomic_store_n(&at[1], high, __ATOMIC_RELEASE); /* the phase last */
	if (++cq->tail == cq->size) {
		cq->tail = 0;
		cq->phase = !cq->phase;
	}
	if (!(quirks & NVME_QUIRK_NO_IRQ))
		cq->signal = nvme->signal = true;
}

void nvme_complete(struct nvme *nvme, uint16_t sqid, uint16_t cid, uint16_t status, uint32_t dw0,
		   unsigned int quirks)
{
	const struct nvme_sq *sq = &nvme->sq[sqid];
	struct nvme_cq *cq = &nvme->cq[sq->cqid];
	struct nvme_cqe cqe = {
		.dw0 = dw0,
		.sq_head = (uint16_t)sq->head,
		.sqid = sqid,
		.cid = quirks & NVME_QUIRK_CID ? (uint16_t)~cid : cid,
		.status = status,
	};

	if (!cq_room(nvme, cq, 1)) {
		struct nvme_held held = { .state = NVME_HELD_FULL,
					  .sqid = sqid,
					  .status = status,
					  .dw0 = dw0,
					  .quirks = quirks,
					  .cmd.cid = cid };

		if (!nvme_hold(nvme, &held))
			nvme_fatal(nvme);
		return;
	}
	cq_post(nvme, cq, &cqe, quirks);
	if (quirks & NVME_QUIRK_TWICE && cq_room(nvme, cq, 1))
		cq_post(nvme, cq, &cqe, quirks);
}

/* -------------------------------------------------------------- submissions */

/* What no retry will change says so. */
static uint16_t with_dnr(uint16_t status)
{
	bool retry = status == NVME_OK || status == NVME_DATA_TRANSFER || status == NVME_INTERNAL ||
		     status == NVME_ABORT_REQUESTED || status == NVME_SQ_DELETED || status >= 0x200;

	return retry ? status : status | NVME_DNR;
}

/* What is in a command's flags that it must not be; @fused: what it is known to be. */
static bool flags_wrong(const struct nvme *nvme, uint16_t sqid, const struct nvme_sqe *cmd,
			unsigned int fused)
{
	unsigned int psdt = cmd->flags & NVME_SQE_PSDT;

	return (cmd->flags & NVME_SQE_FUSED) != fused ||
	       (psdt && (!sqid || nvme->opt.no_sgl || psdt != NVME_SQE_SGL));
}

uint16_t nvme_execute(struct nvme *nvme, uint16_t sqid, const struct nvme_sqe *cmd, uint32_t *dw0)
{
	uint16_t status;

	if (__builtin_expect(cmd->flags != 0, 0) && flags_wrong(nvme, sqid, cmd, 0))
		status = NVME_INVALID_FIELD;
	else
		status = sqid ? nvme_io(nvme, cmd) : nvme_admin(nvme, cmd, dw0);
	if (status == NVME_LATER)
		return status;
	status = with_dnr(status);
	if (status)
		nvme_log_error(nvme, sqid, cmd, status);
	return status;
}

/* ------------------------------------------------ 4.10 Fused Operations: compare and write */

static bool pair_fits(const struct nvme *nvme, uint16_t sqid, const struct nvme_sqe *first,
		      const struct nvme_sqe *second)
{
	return first->opcode == NVME_IO_COMPARE && second->opcode == NVME_IO_WRITE &&
	       !flags_wrong(nvme, sqid, first, NVME_SQE_FIRST) &&
	       !flags_wrong(nvme, sqid, second, NVME_SQE_SECOND) && first->nsid == second->nsid &&
	       first->cdw10 == second->cdw10 && first->cdw11 == second->cdw11 &&
	       (first->cdw12 & 0xffff) == (second->cdw12 & 0xffff) &&
	       (first->cdw12 & 0xffff) < NVME_FUSED_BLOCKS;
}

void nvme_pair(struct nvme *nvme, uint16_t sqid, const struct nvme_sqe *first,
	       const struct nvme_sqe *second, const unsigned int quirks[2])
{
	uint16_t compare = NVME_INVALID_FIELD, write = NVME_FUSED_FAILED;

	if (pair_fits(nvme, sqid, first, second))
		compare = nvme_io(nvme, first);
	if (!compare)
		write = with_dnr(nvme_io(nvme, second));
	compare = with_dnr(compare);
	if (compare)
		nvme_log_error(nvme, sqid, first, compare);
	nvme_complete(nvme, sqid, first->cid, compare, 0, quirks[0]);
	nvme_complete(nvme, sqid, second->cid, write, 0, quirks[1]);
}

/* Both halves meet what one of them meets; but a completion may be wrong by itself. */
static void pair_command(struct nvme *nvme, uint16_t sqid, const struct nvme_sqe *first,
			 const struct nvme_sqe *second)
{
	struct nvme_held held = { .sqid = sqid, .pair = true, .cmd = *first, .second = *second };
	struct nvme_met met[2] = { 0 };

	if (nvme->num_faults) {
		nvme_fault_meet(nvme, sqid, first, &met[0]);
		nvme_fault_meet(nvme, sqid, second, &met[1]);
	}
	if (met[0].lost || met[1].lost || met[0].late || met[1].late) {
		held.state = met[0].lost || met[1].lost ? NVME_HELD_LOST : NVME_HELD_LATE;
		held.due_ns = (met[0].late_ms + met[1].late_ms) * 1000000u;
		if (nvme_hold(nvme, &held))
			return;
	}
	if (met[0].status || met[1].status) {
		nvme_complete(nvme, sqid, first->cid, met[0].code, 0, met[0].quirks);
		nvme_complete(nvme, sqid, second->cid,
			      met[1].status ? met[1].code : NVME_FUSED_FAILED, 0, met[1].quirks);
		return;
	}
	nvme_pair(nvme, sqid, first, second, (unsigned int[]){ met[0].quirks, met[1].quirks });
}

/* A command that is half of something, or comes where the other half should. Return: whether it is
 * dealt with. */
static bool sq_fused(struct nvme *nvme, struct nvme_sq *sq, const struct nvme_sqe *cmd)
{
	unsigned int half = cmd->flags & NVME_SQE_FUSED;
	bool waits = sq->fused;

	sq->fused = false;
	if (waits && half == NVME_SQE_SECOND) {
		pair_command(nvme, sq->id, &sq->first, cmd);
		return true;
	}
	if (waits)
		nvme_complete(nvme, sq->id, sq->first.cid, NVME_FUSED_MISSING | NVME_DNR, 0, 0);
	if (half == NVME_SQE_FIRST && sq->id && !nvme->opt.no_fused) {
		sq->first = *cmd;
		sq->fused = true;
		return true;
	}
	if (half == NVME_SQE_SECOND && sq->id && !nvme->opt.no_fused) {
		nvme_complete(nvme, sq->id, cmd->cid, NVME_FUSED_MISSING | NVME_DNR, 0, 0);
		return true;
	}
	return false;
}

/* Return: whether the fault leaves nothing more to do. */
static bool sq_fault(struct nvme *nvme, uint16_t sqid, const struct nvme_sqe *cmd,
		     struct nvme_met *met)
{
	struct nvme_held held = { .sqid = sqid, .cmd = *cmd };

	nvme_fault_meet(nvme, sqid, cmd, met);
	held.quirks = met->quirks;
	if (met->lost || met->late) {
		held.state = met->lost ? NVME_HELD_LOST : NVME_HELD_LATE;
		held.due_ns = met->late_ms * 1000000u;
		return nvme_hold(nvme, &held);
	}
	if (met->status) {
		nvme_log_error(nvme, sqid, cmd, met->code);
		nvme_complete(nvme, sqid, cmd->cid, met->code, 0, met->quirks);
		return true;
	}
	if (!met->mix)
		return false;
	held.status = nvme_execute(nvme, sqid, cmd, &held.dw0);
	if (held.status == NVME_LATER)
		return true;
	held.state = NVME_HELD_MIX;
	if (!nvme_hold(nvme, &held))
		nvme_complete(nvme, sqid, cmd->cid, held.status, held.dw0, met->quirks);
	return true;
}

static void sq_command(struct nvme *nvme, uint16_t sqid, const struct nvme_sqe *cmd)
{
	struct nvme_met met = { 0 };
	uint32_t dw0 = 0;
	uint16_t status;

	if (sqid)
		nvme->stats.io[cmd->opcode]++;
	else
		nvme->stats.admin[cmd->opcode]++;
	if (__builtin_expect(nvme->sq[sqid].fused || (cmd->flags & NVME_SQE_FUSED), 0) &&
	    sq_fused(nvme, &nvme->sq[sqid], cmd))
		return;
	if (__builtin_expect(nvme->num_faults > 0, 0) && sq_fault(nvme, sqid, cmd, &met))
		return;
	status = nvme_execute(nvme, sqid, cmd, &dw0);
	if (status != NVME_LATER)
		nvme_complete(nvme, sqid, cmd->cid, status, dw0, met.quirks);
}

/* Copy up to @n entries, as many as lie in one piece. Return: how many; 0 after a fatal error. */
static uint32_t sq_fetch(struct nvme *nvme, struct nvme_sq *sq, struct nvme_sqe *cmd, uint32_t n)
{
	uint64_t at = sq->base + sq->head * sizeof(*cmd);
	uint32_t page = (uint32_t)(NVME_PAGE - at % NVME_PAGE) / (uint32_t)sizeof(*cmd);
	const void *from;

	if (n > sq->size - sq->head)
		n = sq->size - sq->head;
	if (n > page)
		n = page;
	from = nvme_dma_at(&nvme->dma, &sq->hint, at, n * sizeof(*cmd), NVME_DMA_READ);
	if (!from) {
		nvme->stats.stray++;
		nvme_fatal(nvme);
		return 0;
	}
	memcpy(cmd, from, n * sizeof(*cmd));
	sq->head += n;
	if (sq->head == sq->size)
		sq->head = 0;
	return n;
}

static uint32_t sq_waiting(struct nvme *nvme, struct nvme_sq *sq)
{
	uint32_t tail = nvme_doorbell(nvme, 2u * sq->id);

	if (tail >= sq->size)
		doorbell_bad(nvme, &sq->bad, tail);
	else
		sq->tail = tail;
	return sq->tail >= sq->head ? sq->tail - sq->head : sq->tail + sq->size - sq->head;
}

static unsigned int sq_run(struct nvme *nvme, struct nvme_sq *sq)
{
	/* An admin command can change what the next one finds, and raise events: one at a time. */
	uint32_t batch = sq->id ? QUEUE_BATCH : 1;
	struct nvme_sqe cmd[QUEUE_BATCH];
	uint32_t waiting = sq_waiting(nvme, sq), done = 0;

	while (waiting && done < QUEUE_BUDGET && nvme->running) {
		uint32_t n = waiting < batch ? waiting : batch;
		uint32_t room = cq_room(nvme, &nvme->cq[sq->cqid], n);

		if (n > room)
			n = room;
		if (n)
			n = sq_fetch(nvme, sq, cmd, n);
		if (!n)
			break;
		for (uint32_t i = 0; i < n && nvme->running; i++)
			sq_command(nvme, sq->id, &cmd[i]);
		waiting -= n;
		done += n;
	}
	if (done && sq->id == 0 && nvme->event_index)
		event_index(nvme, 0, sq->tail); /* its register is always to be written */
	return done;
}

unsigned int nvme_poll(struct nvme *nvme)
{
	unsigned int work = 0;

	for (unsigned int i = 0; i < nvme->queues && nvme->running; i++)
		if (nvme->sq[i].live)
			work += sq_run(nvme, &nvme->sq[i]);
	if (nvme->num_held && nvme->running)
		work += nvme_held_run(nvme);
	if (nvme->signal)
		nvme_irq_pump(nvme);
	return work;
}
