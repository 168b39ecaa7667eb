/* SPDX-License-Identifier: MIT */
/*
 * An NVMe controller in memory, which does what the test says, when the test says: a command is
 * executed when its doorbell is written, and completed at once, or held for the test to complete.
 */
#ifndef TESTS_UNIT_FAKE_NVME_H
#define TESTS_UNIT_FAKE_NVME_H

#include "fake_bus.h"

#define CHIP_BLOCKS 4096u
#define CHIP_HELD   64u
#define CHIP_QUEUES 5u /* the admin queue, and pairs for lanes */

struct chip_queue {
	uint64_t sq, cq;
	uint32_t size, head, tail, phase;
	bool live;
};

static struct {
	/* what it is */
	uint64_t cap;
	uint8_t mdts, vwc, aerl;
	uint16_t oacs, oncs, fuses, acwu;
	uint32_t sgls;
	bool no_sgl; /* ... but it refuses them */
	uint8_t lbads;
	uint64_t nsze[3];
	/* registers */
	uint32_t cc, csts, aqa;
	uint64_t asq, acq;
	struct chip_queue queue[CHIP_QUEUES];
	uint64_t shadow;
	/* what it does */
	bool never_ready, never_disabled, gone;
	unsigned int queues; /* that it grants; 0: it says what it was asked for */
	int hold_io;	     /* so many I/O commands are held, not completed; -1: all */
	bool hold_admin;     /* Aborts and deletions too */
	uint8_t fail_at;     /* CSTS.CFS instead of an answer to this admin command, once */
	uint16_t io_status;  /* the next I/O command ends with it */
	uint16_t list_status;
	/* what happened */
	struct nvme_sqe held[CHIP_HELD], aer[4], last;
	unsigned int held_qid[CHIP_HELD], ios_of[CHIP_QUEUES], deletes_of[CHIP_QUEUES];
	uint32_t vector[CHIP_QUEUES], answer;
	unsigned int sgl_ios, held_count, aers, ios, admins[256], resets, doorbells, aborts;
	uint64_t maps, lba;
	bool half; /* the first half of a fused operation was the last command */
	uint16_t compared;
	uint8_t disk[CHIP_BLOCKS * 512];
	/* memory, as the device sees it */
	struct {
		uint64_t iova, size;
		uint8_t *cpu;
	} map[4];
} chip;

static uint8_t *chip_memory(uint64_t at, uint64_t size)
{
	for (unsigned int i = 0; i < 4; i++)
		if (at >= chip.map[i].iova && at - chip.map[i].iova < chip.map[i].size &&
		    size <= chip.map[i].size - (at - chip.map[i].iova))
			return chip.map[i].cpu + (at - chip.map[i].iova);
	fail_msg("stray DMA at 0x%llx", (unsigned long long)at);
	return NULL;
}

/* An entry into a completion queue, whatever is in it. */
static void chip_post(unsigned int qid, uint32_t dw0, uint16_t sqid, uint16_t cid, uint16_t status)
{
	struct chip_queue *q = &chip.queue[qid];
	struct nvme_cqe *cqe = (void *)chip_memory(q->cq + q->tail * 16, 16);

	cqe->dw0 = dw0;
	cqe->end = q->head | (uint64_t)sqid << 16 | (uint64_t)cid << 32 |
		   (uint64_t)((uint32_t)status << 1 | q->phase) << 48;
	if (++q->tail == q->size) {
		q->tail = 0;
		q->phase ^= 1;
	}
}

/* The @nth page of a command's data. */
static uint8_t *chip_page(const struct nvme_sqe *cmd, uint32_t length, uint32_t at, uint32_t *size)
{
	uint32_t first = 4096 - (uint32_t)(cmd->prp1 & 4095), page, left = length - at;
	uint64_t addr;

	if (cmd->flags & PSDT_SGL) {
		assert_true(chip.sgls && cmd->prp2 == length);
		assert_true(chip.sgls == SGLS_ANY || cmd->prp1 % 4 == 0);
		*size = length;
		return chip_memory(cmd->prp1, length);
	}
	assert_int_equal(cmd->prp1 & 3, 0);
	if (at < first) {
		*size = left < first - at ? left : first - at;
		return chip_memory(cmd->prp1 + at, *size);
	}
	page = (at - first) / 4096;
	*size = left < 4096 ? left : 4096;
	if (length <= first + 4096) {
		addr = cmd->prp2;
	} else {
		/* a list does not go beyond its page */
		assert_true((cmd->prp2 & 4095) + (page + 1) * 8 <= 4096);
		memcpy(&addr, chip_memory(cmd->prp2 + page * 8, 8), 8);
	}
	assert_int_equal(addr & 4095, 0);
	return chip_memory(addr, *size);
}

static uint16_t chip_io(const struct nvme_sqe *cmd)
{
	uint32_t blocks = (cmd->cdw12 & 0xffff) + 1, length = blocks * 512, size;

	if (cmd->opcode == IO_FLUSH)
		return 0;
	if (cmd->opcode == IO_DSM) {
		const struct nvme_range *r = (void *)chip_memory(cmd->prp1, 16);

		memset(chip.disk + r->first * 512, 0, r->blocks * 512);
		return 0;
	}
	if (cmd->lba + blocks > CHIP_BLOCKS)
		return 0x080 | STATUS_DNR;
	if (cmd->opcode == IO_WRITE_ZEROES) {
		memset(chip.disk + cmd->lba * 512, 0, length);
		return 0;
	}
	for (uint32_t at = 0; at < length; at += size) {
		uint8_t *page = chip_page(cmd, length, at, &size),
			*disk = chip.disk + cmd->lba * 512 + at;

		if (cmd->opcode == IO_READ)
			memcpy(page, disk, size);
		else if (cmd->opcode == IO_COMPARE && memcmp(page, disk, size) != 0)
			return 0x285;
		else if (cmd->opcode != IO_COMPARE)
			memcpy(disk, page, size);
	}
	return 0;
}

/* The second half of a fused operation comes right behind the first. */
static uint16_t chip_fused(const struct nvme_sqe *cmd)
{
	bool first = cmd->flags & FUSED_FIRST;

	assert_true(first ? cmd->opcode == IO_COMPARE : cmd->opcode == IO_WRITE);
	assert_true(first != chip.half);
	chip.half = first;
	if (first) {
		chip.compared = chip_io(cmd);
		chip.lba = cmd->lba;
		return chip.compared;
	}
	assert_int_equal(cmd->lba, chip.lba);
	return chip.compared ? 0x009 : chip_io(cmd);
}

static void chip_text(uint8_t *at, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		at[i] = (uint8_t)(i < strlen(text) ? text[i] : ' ');
}

static void chip_identify(const struct nvme_sqe *cmd)
{
	uint8_t *p = chip_memory(cmd->prp1, 4096);

	memset(p, 0, 4096);
	if (cmd->cdw10 == CNS_CONTROLLER) {
		chip_text(p + ID_SN, "S1", 20);
		chip_text(p + ID_MN, "chip", 40);
		p[ID_MDTS] = chip.mdts;
		p[ID_OAES + 1] = 1;
		memcpy(p + ID_OACS, &chip.oacs, 2);
		p[ID_ACL] = 3;
		p[ID_AERL] = chip.aerl;
		p[ID_SQES] = 0x66;
		p[ID_CQES] = 0x44;
		p[ID_NN] = 2;
		memcpy(p + ID_ONCS, &chip.oncs, 2);
		memcpy(p + ID_FUSES, &chip.fuses, 2);
		memcpy(p + ID_ACWU, &chip.acwu, 2);
		memcpy(p + ID_SGLS, &chip.sgls, 4);
		p[ID_VWC] = chip.vwc;
	} else if (cmd->cdw10 == CNS_ACTIVE) {
		for (uint8_t nsid = 1; nsid <= 2; nsid++)
			if (chip.nsze[nsid]) {
				*p = nsid;
				p += 4;
			}
	} else if (cmd->nsid <= 2) {
		memcpy(p + NS_NSZE, &chip.nsze[cmd->nsid], 8);
		p[NS_LBAF + 2] = chip.lbads;
	}
}

static uint16_t chip_admin(const struct nvme_sqe *cmd, bool *later)
{
	unsigned int qid = cmd->cdw10 & 0xffff, kept = 0;
	struct chip_queue *q = &chip.queue[qid < CHIP_QUEUES ? qid : 0];

	chip.admins[cmd->opcode]++;
	chip.answer = 0;
	switch (cmd->opcode) {
	case ADMIN_IDENTIFY:
		if (cmd->cdw10 == CNS_ACTIVE && chip.list_status)
			return chip.list_status;
		chip_identify(cmd);
		return 0;
	case ADMIN_CREATE_CQ:
		*q = (struct chip_queue){ .cq = cmd->prp1,
					  .size = (cmd->cdw10 >> 16) + 1,
					  .phase = 1 };
		chip.vector[qid] = cmd->cdw11 >> 16;
		return 0;
	case ADMIN_SET_FEATURES:
		if (cmd->cdw10 == FEATURE_QUEUES)
			chip.answer = chip.queues ? (chip.queues - 1) * 0x10001u : cmd->cdw11;
		return 0;
	case ADMIN_CREATE_SQ:
		assert_int_equal(cmd->cdw11 >> 16, qid);
		q->sq = cmd->prp1;
		q->live = true;
		return 0;
	case ADMIN_DELETE_SQ:
	case ADMIN_DELETE_CQ:
		q->live = false;
		chip.deletes_of[qid] += cmd->opcode == ADMIN_DELETE_SQ;
		for (unsigned int i = 0; i < chip.held_count; i++) {
			if (chip.held_qid[i] == qid)
				continue;
			chip.held_qid[kept] = chip.held_qid[i];
			chip.held[kept++] = chip.held[i];
		}
		chip.held_count = kept;
		return 0;
	case ADMIN_ABORT:
		chip.aborts++;
		return 0;
	case ADMIN_DBBUF:
		chip.shadow = cmd->prp1;
		return 0;
	case ADMIN_ASYNC_EVENT:
		*later = true;
		assert_true(chip.aers <= chip.aerl);
		chip.aer[chip.aers++] = *cmd;
		return 0;
	default:
		return 0;
	}
}

static void chip_command(unsigned int qid, const struct nvme_sqe *cmd)
{
	bool later = false;
	uint16_t status;

	chip.last = *cmd;
	if (qid == 0 && chip.fail_at && cmd->opcode == chip.fail_at) {
		chip.fail_at = 0;
		chip.csts |= CSTS_CFS;
		return;
	}
	chip.answer = 0;
	if (qid == 0) {
		later = chip.hold_admin &&
			(cmd->opcode == ADMIN_DELETE_SQ || cmd->opcode == ADMIN_ABORT);
		status = later ? 0 : chip_admin(cmd, &later);
	} else {
		chip.ios++;
		chip.ios_of[qid]++;
		if (chip.hold_io) {
			chip.hold_io -= chip.hold_io > 0;
			assert_true(chip.held_count < CHIP_HELD);
			chip.held_qid[chip.held_count] = qid;
			chip.held[chip.held_count++] = *cmd;
			return;
		}
		assert_true(!chip.half || (cmd->flags & FUSED_SECOND));
		chip.sgl_ios += !!(cmd->flags & PSDT_SGL);
		if ((cmd->flags & PSDT_SGL) && chip.no_sgl)
			chip.io_status = 0x011 | STATUS_DNR;
		status = chip.io_status	  ? chip.io_status
			 : cmd->flags & 3 ? chip_fused(cmd)
					  : chip_io(cmd);
		chip.io_status = 0;
	}
	if (!later)
		chip_post(qid, chip.answer, (uint16_t)qid, cmd->cid, status);
}

/* Execute and complete the held command @i. */
static void chip_release(unsigned int i)
{
	struct nvme_sqe cmd = chip.held[i];
	unsigned int qid = chip.held_qid[i];

	chip.held_count--;
	memmove(&chip.held[i], &chip.held[i + 1], (chip.held_count - i) * sizeof(cmd));
	memmove(&chip.held_qid[i], &chip.held_qid[i + 1], (chip.held_count - i) * sizeof(qid));
	chip_post(qid, 0, (uint16_t)qid, cmd.cid, cmd.flags & 3 ? chip_fused(&cmd) : chip_io(&cmd));
}

static void chip_run(unsigned int qid, uint32_t tail)
{
	struct chip_queue *q = &chip.queue[qid];

	assert_true(tail < q->size);
	while (q->live && q->head != tail && !(chip.csts & CSTS_CFS)) {
		struct nvme_sqe cmd;

		memcpy(&cmd, chip_memory(q->sq + q->head * 64, 64), 64);
		q->head = q->head + 1 == q->size ? 0 : q->head + 1;
		chip_command(qid, &cmd);
	}
}

/* With shadow doorbells the device looks by itself. */
static void chip_look(void)
{
	uint32_t tail;

	for (unsigned int qid = 1; chip.shadow && qid < CHIP_QUEUES; qid++) {
		if (!chip.queue[qid].live)
			continue;
		memcpy(&tail, chip_memory(chip.shadow + 8 * qid, 4), 4);
		chip_run(qid, tail);
	}
}

static __attribute__((unused)) void chip_event(uint32_t dw0)
{
	assert_true(chip.aers > 0);
	chip_post(0, dw0, 0, chip.aer[--chip.aers].cid, 0);
}

static void chip_enable(uint32_t cc)
{
	if ((cc & CC_EN) && !(chip.cc & CC_EN)) {
		chip.queue[0] = (struct chip_queue){ .sq = chip.asq,
						     .cq = chip.acq,
						     .size = (chip.aqa & 0xfff) + 1,
						     .phase = 1,
						     .live = true };
		chip.csts = chip.never_ready ? 0 : CSTS_RDY;
	} else if (!(cc & CC_EN) && (chip.cc & CC_EN)) {
		chip.resets++;
		chip.held_count = chip.aers = 0;
		chip.shadow = 0;
		for (unsigned int qid = 0; qid < CHIP_QUEUES; qid++)
			chip.queue[qid].live = false;
		if (!chip.never_disabled)
			chip.csts = 0;
	}
	if ((cc & CC_SHN_MASK) == CC_SHN_NORMAL)
		chip.csts = (chip.csts & ~CSTS_SHST_MASK) | CSTS_SHST_DONE;
	chip.cc = cc;
}

static int chip_read(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		     uint64_t *value)
{
	if (region != 0)
		return fake_read(bus, region, offset, width, value);
	*value = offset == REG_CAP	 ? (uint32_t)chip.cap
		 : offset == REG_CAP + 4 ? (uint32_t)(chip.cap >> 32)
		 : offset == REG_VS	 ? 0x00010400u
		 : offset == REG_CC	 ? chip.cc
		 : offset == REG_CSTS	 ? chip.csts
					 : 0;
	if (chip.gone)
		*value = UINT32_MAX;
	return 0;
}

static int chip_write(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		      uint64_t value, bool posted)
{
	uint32_t low = (uint32_t)value;

	if (region != 0)
		return fake_write(bus, region, offset, width, value, posted);
	if (chip.gone)
		return 0;
	switch (offset) {
	case REG_CC:
		chip_enable(low);
		break;
	case REG_AQA:
		chip.aqa = low;
		break;
	case REG_ASQ:
		chip.asq = low;
		break;
	case REG_ASQ + 4:
		chip.asq |= value << 32;
		break;
	case REG_ACQ:
		chip.acq = low;
		break;
	case REG_ACQ + 4:
		chip.acq |= value << 32;
		break;
	case REG_DOORBELLS:
		chip_run(0, low);
		break;
	case REG_DOORBELLS + 8:
	case REG_DOORBELLS + 16:
	case REG_DOORBELLS + 24:
	case REG_DOORBELLS + 32:
		chip.doorbells++;
		chip_run((unsigned int)(offset - REG_DOORBELLS) / 8, low);
		break;
	}
	return 0;
}

static int chip_dma_map(struct au_bus *bus, uint64_t iova, uint64_t size, void *cpu, int fd,
			uint64_t offset)
{
	chip.map[chip.maps].iova = iova;
	chip.map[chip.maps].size = size;
	chip.map[chip.maps++].cpu = cpu;
	return 0;
}

static int chip_dma_unmap(struct au_bus *bus, uint64_t iova, uint64_t size)
{
	return 0;
}

static struct au_bus_ops chip_ops;

/* A healthy one, with one namespace. */
static void chip_reset(void)
{
	fake_reset();
	memset(&chip, 0, sizeof(chip));
	chip.cap = 63 | 1ull << 24 | CAP_CSS_NVM; /* 64 entries, ready within 1 s */
	chip.mdts = 5;
	chip.vwc = 1;
	chip.oncs = ONCS_DSM | ONCS_WRITE_ZEROES;
	chip.aerl = 3;
	chip.lbads = 9;
	chip.nsze[1] = CHIP_BLOCKS;
	chip_ops = fake_ops;
	chip_ops.read = chip_read;
	chip_ops.write = chip_write;
	chip_ops.dma_map = chip_dma_map;
	chip_ops.dma_unmap = chip_dma_unmap;
	fake.bus.ops = &chip_ops;
	fake.bus.regions[0].size = 0x2000;
}

#endif
