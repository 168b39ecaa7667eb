/* SPDX-License-Identifier: MIT */
/* io.c: 6 NVM Command Set. */
#include "nvme.h"

#include <string.h>

#define IO_LBAS(cmd)	  (((cmd)->cdw12 & 0xffff) + 1)
#define IO_FIRST(cmd)	  ((cmd)->cdw10 | (uint64_t)(cmd)->cdw11 << 32)

#define DSM_DEALLOCATE	  (1u << 2) /* in dword 11 */
#define DSM_RANGES	  256u
#define IO_ALL_NAMESPACES 0xffffffffu

struct dsm_range {
	uint32_t attributes, blocks;
	uint64_t first;
};

static bool io_inside(const struct nvme_ns *ns, uint64_t first, uint64_t count)
{
	return first <= ns->blocks && count <= ns->blocks - first;
}

/* Read, Write and Compare: @at is where the blocks are. */
static uint16_t io_move(const struct nvme_sqe *cmd, uint8_t *at, const struct nvme_seg *segs,
			unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		if (cmd->opcode == NVME_IO_READ)
			memcpy(segs[i].at, at, segs[i].size);
		else if (cmd->opcode == NVME_IO_WRITE)
			memcpy(at, segs[i].at, segs[i].size);
		else if (memcmp(at, segs[i].at, segs[i].size) != 0)
			return NVME_COMPARE_FAILURE;
		at += segs[i].size;
	}
	return NVME_OK;
}

static uint16_t io_transfer(struct nvme *nvme, const struct nvme_ns *ns, const struct nvme_sqe *cmd)
{
	uint64_t first = IO_FIRST(cmd);
	uint32_t blocks = IO_LBAS(cmd), size = blocks * nvme->opt.block;
	uint32_t prot = cmd->opcode == NVME_IO_READ ? NVME_DMA_WRITE : NVME_DMA_READ;
	struct nvme_seg segs[NVME_SEGS];
	unsigned int count;
	uint16_t status;

	if (size > NVME_PAGE << nvme->opt.mdts)
		return NVME_INVALID_FIELD;
	if (!io_inside(ns, first, blocks))
		return NVME_LBA_RANGE;
	status = nvme_prp(nvme, cmd, size, prot, segs, &count);
	if (status || !ns->mem)
		return status;
	return io_move(cmd, ns->mem + first * nvme->opt.block, segs, count);
}

static uint16_t io_zeroes(struct nvme *nvme, struct nvme_ns *ns, const struct nvme_sqe *cmd)
{
	if (!io_inside(ns, IO_FIRST(cmd), IO_LBAS(cmd)))
		return NVME_LBA_RANGE;
	nvme_ns_zero(nvme, ns, IO_FIRST(cmd), IO_LBAS(cmd));
	return NVME_OK;
}

/* Copy what the client gives to a command. */
static uint16_t io_take(struct nvme *nvme, const struct nvme_sqe *cmd, void *data, uint32_t size)
{
	struct nvme_seg segs[NVME_SEGS];
	unsigned int count;
	uint16_t status = nvme_prp(nvme, cmd, size, NVME_DMA_READ, segs, &count);
	uint8_t *to = data;

	for (unsigned int i = 0; !status && i < count; i++) {
		memcpy(to, segs[i].at, segs[i].size);
		to += segs[i].size;
	}
	return status;
}

static uint16_t io_dsm(struct nvme *nvme, struct nvme_ns *ns, const struct nvme_sqe *cmd)
{
	struct dsm_range ranges[DSM_RANGES] = { 0 };
	unsigned int count = (cmd->cdw10 & 0xff) + 1;
	uint16_t status = io_take(nvme, cmd, ranges, count * (uint32_t)sizeof(ranges[0]));

	for (unsigned int i = 0; !status && i < count; i++)
		if (!io_inside(ns, ranges[i].first, ranges[i].blocks))
			status = NVME_LBA_RANGE;
	if (status || !(cmd->cdw11 & DSM_DEALLOCATE)) /* the rest is advice */
		return status;
	for (unsigned int i = 0; i < count; i++)
		nvme_ns_zero(nvme, ns, ranges[i].first, ranges[i].blocks);
	return NVME_OK;
}

uint16_t nvme_io(struct nvme *nvme, const struct nvme_sqe *cmd)
{
	struct nvme_ns *ns = nvme_ns_of(nvme, cmd->nsid);

	if (cmd->opcode == NVME_IO_FLUSH && cmd->nsid == IO_ALL_NAMESPACES)
		return NVME_OK;
	if (!ns)
		return NVME_INVALID_NAMESPACE;
	switch (cmd->opcode) {
	case NVME_IO_READ:
	case NVME_IO_WRITE:
	case NVME_IO_COMPARE:
		return io_transfer(nvme, ns, cmd);
	case NVME_IO_FLUSH: /* what is written stays: a later client reads it */
		return NVME_OK;
	case NVME_IO_WRITE_ZEROES:
		return io_zeroes(nvme, ns, cmd);
	case NVME_IO_DSM:
		return io_dsm(nvme, ns, cmd);
	default:
		return NVME_INVALID_OPCODE;
	}
}
