/* SPDX-License-Identifier: MIT */
/* admin.c: 5 Admin Command Set: queues, Abort, Doorbell Buffer Config; the rest is elsewhere. */
#include "nvme.h"

#include <string.h>

#define QUEUE_CONTIGUOUS (1u << 0) /* dword 11 of the Create commands */
#define QUEUE_INTERRUPTS (1u << 1)
#define ABORT_NOT	 1u /* dword 0: the command was not aborted */
#define SQES		 6  /* a submission queue entry has 64 bytes, */
#define CQES		 4  /* a completion queue entry 16 */

/* What the two Create commands check alike. */
static uint16_t queue_check(const struct nvme *nvme, const struct nvme_sqe *cmd, bool taken,
			    bool entry_size_set)
{
	uint32_t id = cmd->cdw10 & 0xffff, size = (cmd->cdw10 >> 16) + 1;

	if (id == 0 || id > nvme->opt.queues || taken)
		return NVME_QID_INVALID;
	if (size < 2 || size > nvme->opt.entries || !entry_size_set)
		return NVME_QSIZE_INVALID;
	if (!(cmd->cdw11 & QUEUE_CONTIGUOUS))
		return NVME_INVALID_FIELD;
	return cmd->prp1 % NVME_PAGE ? NVME_PRP_OFFSET : NVME_OK;
}

static uint16_t create_cq(struct nvme *nvme, const struct nvme_sqe *cmd)
{
	uint16_t id = (uint16_t)cmd->cdw10, vector = (uint16_t)(cmd->cdw11 >> 16);
	bool taken = id < NVME_QUEUES && nvme->cq[id].live;
	uint16_t status = queue_check(nvme, cmd, taken, NVME_CC_IOCQES(nvme->cc) == CQES);

	if (status)
		return status;
	if (vector > nvme->opt.queues)
		return NVME_VECTOR_INVALID;
	nvme_open_cq(nvme, id, (cmd->cdw10 >> 16) + 1, cmd->prp1, cmd->cdw11 & QUEUE_INTERRUPTS,
		     vector);
	return NVME_OK;
}

static uint16_t create_sq(struct nvme *nvme, const struct nvme_sqe *cmd)
{
	uint16_t id = (uint16_t)cmd->cdw10, cqid = (uint16_t)(cmd->cdw11 >> 16);
	bool taken = id < NVME_QUEUES && nvme->sq[id].live;
	uint16_t status = queue_check(nvme, cmd, taken, NVME_CC_IOSQES(nvme->cc) == SQES);

	if (status)
		return status;
	if (cqid == 0 || cqid > nvme->opt.queues)
		return NVME_QID_INVALID;
	if (!nvme->cq[cqid].live)
		return NVME_CQ_INVALID;
	nvme_open_sq(nvme, id, cqid, (cmd->cdw10 >> 16) + 1, cmd->prp1);
	return NVME_OK;
}

static uint16_t delete_sq(struct nvme *nvme, const struct nvme_sqe *cmd)
{
	uint16_t id = (uint16_t)cmd->cdw10;

	if (id == 0 || id >= NVME_QUEUES || !nvme->sq[id].live)
		return NVME_QID_INVALID;
	nvme_close_sq(nvme, id);
	return NVME_OK;
}

static uint16_t delete_cq(struct nvme *nvme, const struct nvme_sqe *cmd)
{
	uint16_t id = (uint16_t)cmd->cdw10;

	if (id == 0 || id >= NVME_QUEUES || !nvme->cq[id].live)
		return NVME_QID_INVALID;
	if (nvme->cq[id].users)
		return NVME_QUEUE_DELETION;
	nvme_close_cq(nvme, id);
	return NVME_OK;
}

static uint16_t dbbuf(struct nvme *nvme, const struct nvme_sqe *cmd)
{
	uint8_t *page;

	if (cmd->prp1 == 0 || cmd->prp2 == 0 || cmd->prp1 % NVME_PAGE || cmd->prp2 % NVME_PAGE)
		return NVME_INVALID_FIELD;
	page = nvme_dma_at(&nvme->dma, &nvme->event_hint, cmd->prp2, NVME_PAGE, NVME_DMA_WRITE);
	if (!page ||
	    !nvme_dma_at(&nvme->dma, &nvme->shadow_hint, cmd->prp1, NVME_PAGE, NVME_DMA_READ)) {
		nvme->stats.stray++;
		return NVME_DATA_TRANSFER;
	}
	nvme->shadow = cmd->prp1;
	nvme->event_index = cmd->prp2;
	return NVME_OK;
}

static uint16_t admin_abort(struct nvme *nvme, const struct nvme_sqe *cmd, uint32_t *dw0)
{
	uint16_t sqid = (uint16_t)cmd->cdw10, cid = (uint16_t)(cmd->cdw10 >> 16);

	*dw0 = nvme_held_abort(nvme, sqid, cid) ? 0 : ABORT_NOT;
	return NVME_OK;
}

uint16_t nvme_admin(struct nvme *nvme, const struct nvme_sqe *cmd, uint32_t *dw0)
{
	switch (cmd->opcode) {
	case NVME_ADM_DELETE_SQ:
		return delete_sq(nvme, cmd);
	case NVME_ADM_CREATE_SQ:
		return create_sq(nvme, cmd);
	case NVME_ADM_DELETE_CQ:
		return delete_cq(nvme, cmd);
	case NVME_ADM_CREATE_CQ:
		return create_cq(nvme, cmd);
	case NVME_ADM_GET_LOG:
		return nvme_get_log(nvme, cmd);
	case NVME_ADM_IDENTIFY:
		return nvme_identify(nvme, cmd);
	case NVME_ADM_ABORT:
		return admin_abort(nvme, cmd, dw0);
	case NVME_ADM_SET_FEATURES:
		return nvme_set_feature(nvme, cmd, dw0);
	case NVME_ADM_GET_FEATURES:
		return nvme_get_feature(nvme, cmd, dw0);
	case NVME_ADM_ASYNC_EVENT:
		return nvme_async_event(nvme, cmd);
	case NVME_ADM_DBBUF:
		return dbbuf(nvme, cmd);
	default:
		return NVME_INVALID_OPCODE;
	}
}
