/* SPDX-License-Identifier: MIT */
/* regs.c: BAR 0 by message: the controller's registers, the doorbells and the MSI-X table. */
#include "nvme.h"

#include <linux/pci_regs.h>
#include <string.h>

#define CAP_CQR	     (1ull << 16) /* queues are contiguous */
#define CAP_TO(half) ((uint64_t)(half) << 24)
#define CAP_CSS_NVM  (1ull << 37)
#define REGS_TIMEOUT 10 /* in units of 500 ms */

void nvme_update(struct nvme *nvme)
{
	nvme->running = (nvme->csts & NVME_CSTS_RDY) && !(nvme->csts & NVME_CSTS_CFS) &&
			!(nvme->csts & NVME_CSTS_SHST) && !nvme->all_ones && nvme->dma.on;
}

void nvme_fatal(struct nvme *nvme)
{
	nvme->csts |= NVME_CSTS_CFS;
	nvme_update(nvme);
}

void nvme_reset(struct nvme *nvme)
{
	nvme_held_drop(nvme, -1, false);
	for (uint16_t i = 0; i < NVME_QUEUES; i++) {
		nvme->sq[i].live = false;
		nvme->cq[i].live = false;
	}
	nvme->queues = 0;
	nvme->signal = false;
	nvme->shadow = nvme->event_index = 0;
	nvme->csts = 0;
	nvme->intm = 0;
	nvme->aers = 0;
	memset(nvme->event, 0, sizeof(nvme->event));
	if (nvme->doorbell)
		memset((void *)nvme->doorbell, 0, NVME_PAGE);
	nvme_default_features(nvme);
	nvme_update(nvme);
	nvme->stats.resets++;
}

void nvme_function_reset(struct nvme *nvme)
{
	nvme_reset(nvme);
	nvme->cap = (nvme->opt.entries - 1) | CAP_CQR | CAP_TO(REGS_TIMEOUT) | CAP_CSS_NVM;
	nvme->cc = 0;
	nvme->aqa = 0;
	nvme->asq = nvme->acq = 0;
	memset(nvme->msix_table, 0, sizeof(nvme->msix_table));
	for (unsigned int i = 0; i <= nvme->opt.queues; i++)
		nvme->msix_table[16 * i + PCI_MSIX_ENTRY_VECTOR_CTRL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

static void regs_enable(struct nvme *nvme)
{
	uint32_t sq = (nvme->aqa & 0xfff) + 1, cq = (nvme->aqa >> 16 & 0xfff) + 1;

	if (sq < 2 || cq < 2 || nvme->asq % NVME_PAGE || nvme->acq % NVME_PAGE ||
	    NVME_CC_MPS(nvme->cc) || NVME_CC_CSS(nvme->cc) || NVME_CC_AMS(nvme->cc)) {
		nvme_fatal(nvme);
		return;
	}
	nvme_open_cq(nvme, 0, cq, nvme->acq, true, 0);
	nvme_open_sq(nvme, 0, 0, sq, nvme->asq);
	if (!nvme->never_ready)
		nvme->csts |= NVME_CSTS_RDY;
}

static void regs_configure(struct nvme *nvme, uint32_t cc)
{
	uint32_t old = nvme->cc;

	nvme->cc = cc;
	if (!(old & NVME_CC_EN) && (cc & NVME_CC_EN))
		regs_enable(nvme);
	else if ((old & NVME_CC_EN) && !(cc & NVME_CC_EN))
		nvme_reset(nvme);
	if (NVME_CC_SHN(cc) && !NVME_CC_SHN(old))
		nvme->csts |= NVME_CSTS_SHST_END;
	nvme_update(nvme);
}

static void regs_write32(struct nvme *nvme, uint32_t off, uint32_t value)
{
	switch (off) {
	case NVME_REG_INTMS:
		nvme->intm |= value;
		break;
	case NVME_REG_INTMC:
		nvme->intm &= ~value;
		nvme_irq_pump(nvme);
		break;
	case NVME_REG_CC:
		regs_configure(nvme, value);
		break;
	case NVME_REG_AQA:
		nvme->aqa = value & 0x0fff0fffu;
		break;
	case NVME_REG_ASQ:
		nvme->asq = (nvme->asq & ~0xffffffffull) | value;
		break;
	case NVME_REG_ASQ + 4:
		nvme->asq = (nvme->asq & 0xffffffffull) | (uint64_t)value << 32;
		break;
	case NVME_REG_ACQ:
		nvme->acq = (nvme->acq & ~0xffffffffull) | value;
		break;
	case NVME_REG_ACQ + 4:
		nvme->acq = (nvme->acq & 0xffffffffull) | (uint64_t)value << 32;
		break;
	default: /* read-only, reserved, or not implemented */
		break;
	}
}

static void regs_image(const struct nvme *nvme, uint8_t *image)
{
	const struct {
		unsigned int off;
		uint64_t value;
	} regs[] = {
		{ NVME_REG_CAP, nvme->cap },
		{ NVME_REG_VS, NVME_VS_1_4 | (uint64_t)nvme->intm << 32 },
		{ NVME_REG_INTMC, nvme->intm | (uint64_t)nvme->cc << 32 },
		{ NVME_REG_CSTS - 4, (uint64_t)nvme->csts << 32 },
		{ NVME_REG_NSSR, (uint64_t)nvme->aqa << 32 },
		{ NVME_REG_ASQ, nvme->asq },
		{ NVME_REG_ACQ, nvme->acq },
	};

	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++)
		memcpy(image + regs[i].off, &regs[i].value, 8);
}

/* The bytes of [off, off + count) that lie in @part, which is at @at. */
static void regs_overlay(uint64_t off, uint32_t count, uint8_t *data, uint64_t at,
			 const uint8_t *part, uint32_t size)
{
	uint64_t from = off > at ? off : at;
	uint64_t to = off + count < at + size ? off + count : at + size;

	if (from < to)
		memcpy(data + (from - off), part + (from - at), to - from);
}

void nvme_bar_read(struct nvme *nvme, uint64_t off, uint32_t count, uint8_t *data)
{
	uint8_t image[NVME_REG_END] = { 0 };

	if (nvme->all_ones || !nvme_decodes(nvme)) {
		memset(data, 0xff, count);
		return;
	}
	memset(data, 0, count);
	regs_image(nvme, image);
	regs_overlay(off, count, data, 0, image, sizeof(image));
	regs_overlay(off, count, data, NVME_BAR_DOORBELLS, (const uint8_t *)nvme->doorbell,
		     NVME_PAGE);
	regs_overlay(off, count, data, NVME_BAR_TABLE, nvme->msix_table,
		     16 * (nvme->opt.queues + 1));
}

void nvme_bar_write(struct nvme *nvme, uint64_t off, uint32_t count, const uint8_t *data)
{
	uint32_t value;

	/* Registers are written as one or two whole words; of anything else nothing happens. */
	if (nvme->all_ones || !nvme_decodes(nvme) || off % 4 || count % 4)
		return;
	for (uint32_t i = 0; i < count; i += 4) {
		uint64_t at = off + i;

		memcpy(&value, data + i, 4);
		if (at < NVME_BAR_DOORBELLS)
			regs_write32(nvme, (uint32_t)at, value);
		else if (at < NVME_BAR_TABLE)
			nvme_doorbell_message(nvme, (uint32_t)at - NVME_BAR_DOORBELLS, value);
		else if (at - NVME_BAR_TABLE < 16 * (nvme->opt.queues + 1))
			memcpy(nvme->msix_table + (at - NVME_BAR_TABLE), &value, 4);
	}
}
