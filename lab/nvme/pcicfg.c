/* SPDX-License-Identifier: MIT */
/*
 * pcicfg.c: configuration space: one 64-bit BAR, power management, MSI-X and PCI Express, the
 * latter with function level reset.
 *
 * As with vfio-pci, SET_IRQS turns MSI-X on; its enable bit only shows that. The table can be
 * written and read back, and has no effect.
 */
#include "nvme.h"

#include <linux/pci_regs.h>
#include <string.h>

/* Of no vendor: the class code is what tells a driver that this is a controller. */
#define CONFIG_VENDOR	0x4155
#define CONFIG_DEVICE	0x0001
#define CONFIG_CLASS	0x010802u
#define CONFIG_REVISION 1

#define CONFIG_COMMAND	(PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE)

static void put16(uint8_t *config, unsigned int at, unsigned int value)
{
	config[at] = (uint8_t)value;
	config[at + 1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *config, unsigned int at, uint32_t value)
{
	put16(config, at, value & 0xffff);
	put16(config, at + 2, value >> 16);
}

static uint32_t get(const uint8_t *config, unsigned int at)
{
	return config[at] | (uint32_t)config[at + 1] << 8;
}

void nvme_config_init(struct nvme *nvme)
{
	uint8_t *c = nvme->config;

	memset(c, 0, sizeof(nvme->config));
	put16(c, PCI_VENDOR_ID, CONFIG_VENDOR);
	put16(c, PCI_DEVICE_ID, CONFIG_DEVICE);
	put16(c, PCI_STATUS, PCI_STATUS_CAP_LIST);
	put32(c, PCI_CLASS_REVISION, CONFIG_CLASS << 8 | CONFIG_REVISION);
	put32(c, PCI_BASE_ADDRESS_0, PCI_BASE_ADDRESS_MEM_TYPE_64);
	put16(c, PCI_SUBSYSTEM_VENDOR_ID, CONFIG_VENDOR);
	put16(c, PCI_SUBSYSTEM_ID, CONFIG_DEVICE);
	c[PCI_CAPABILITY_LIST] = NVME_PM_CAP;
	c[PCI_INTERRUPT_PIN] = 1;

	c[NVME_PM_CAP] = PCI_CAP_ID_PM;
	c[NVME_PM_CAP + 1] = NVME_MSIX_CAP;
	put16(c, NVME_PM_CAP + PCI_PM_PMC, 3);
	put16(c, NVME_PM_CAP + PCI_PM_CTRL, PCI_PM_CTRL_NO_SOFT_RESET);

	c[NVME_MSIX_CAP] = PCI_CAP_ID_MSIX;
	c[NVME_MSIX_CAP + 1] = NVME_EXP_CAP;
	put16(c, NVME_MSIX_CAP + PCI_MSIX_FLAGS, nvme->opt.queues); /* vectors less one */
	put32(c, NVME_MSIX_CAP + PCI_MSIX_TABLE, NVME_BAR_TABLE);
	put32(c, NVME_MSIX_CAP + PCI_MSIX_PBA, NVME_BAR_PBA);

	c[NVME_EXP_CAP] = PCI_CAP_ID_EXP;
	put16(c, NVME_EXP_CAP + PCI_EXP_FLAGS, 2);
	put32(c, NVME_EXP_CAP + PCI_EXP_DEVCAP, PCI_EXP_DEVCAP_RBER | PCI_EXP_DEVCAP_FLR);
	put32(c, NVME_EXP_CAP + PCI_EXP_LNKCAP, PCI_EXP_LNKCAP_SLS_8_0GB | 4 << 4);
	put16(c, NVME_EXP_CAP + PCI_EXP_LNKSTA, PCI_EXP_LNKSTA_CLS_8_0GB | 4 << 4);
}

void nvme_config_read(struct nvme *nvme, uint64_t off, uint32_t count, uint8_t *data)
{
	const uint32_t flags = NVME_MSIX_CAP + PCI_MSIX_FLAGS + 1;

	if (nvme->all_ones && !nvme->config_answers) {
		memset(data, 0xff, count);
		return;
	}
	memcpy(data, nvme->config + off, count);
	if (nvme->msix_on && off <= flags && flags - off < count)
		data[flags - off] |= PCI_MSIX_FLAGS_ENABLE >> 8;
	if (off <= PCI_STATUS && PCI_STATUS - off < count && nvme_intx_level(nvme))
		data[PCI_STATUS - off] |= PCI_STATUS_INTERRUPT;
}

/* Which bits of a byte can be written. */
static uint8_t config_mask(uint64_t at)
{
	switch (at) {
	case PCI_COMMAND:
		return CONFIG_COMMAND & 0xff;
	case PCI_COMMAND + 1:
		return CONFIG_COMMAND >> 8;
	case PCI_CACHE_LINE_SIZE:
	case PCI_INTERRUPT_LINE:
		return 0xff;
	case PCI_BASE_ADDRESS_0 + 1:
		return (uint8_t) ~((NVME_BAR_SIZE - 1) >> 8);
	case PCI_BASE_ADDRESS_0 + 2 ... PCI_BASE_ADDRESS_0 + 7:
		return 0xff;
	case NVME_PM_CAP + PCI_PM_CTRL:
		return PCI_PM_CTRL_STATE_MASK;
	case NVME_MSIX_CAP + PCI_MSIX_FLAGS + 1:
		return PCI_MSIX_FLAGS_MASKALL >> 8;
	case NVME_EXP_CAP + PCI_EXP_DEVCTL:
		return 0xff;
	case NVME_EXP_CAP + PCI_EXP_DEVCTL + 1:
		return 0x7f;
	default:
		return 0;
	}
}

void nvme_config_write(struct nvme *nvme, uint64_t off, uint32_t count, const uint8_t *data)
{
	const uint32_t devctl = NVME_EXP_CAP + PCI_EXP_DEVCTL + 1;

	if (nvme->all_ones && !nvme->config_answers)
		return;
	for (uint32_t i = 0; i < count; i++) {
		uint8_t mask = config_mask(off + i), *at = &nvme->config[off + i];

		*at = (uint8_t)((*at & ~mask) | (data[i] & mask));
	}
	if (off <= devctl && devctl - off < count &&
	    data[devctl - off] & (PCI_EXP_DEVCTL_BCR_FLR >> 8))
		nvme_function_reset(nvme);
	nvme_dma_enable(&nvme->dma, nvme_masters(nvme));
	nvme_update(nvme);
	nvme_irq_pump(nvme);
}

static bool in_d0(const struct nvme *nvme)
{
	return !(nvme->config[NVME_PM_CAP + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK);
}

bool nvme_decodes(const struct nvme *nvme)
{
	return (get(nvme->config, PCI_COMMAND) & PCI_COMMAND_MEMORY) && in_d0(nvme);
}

bool nvme_masters(const struct nvme *nvme)
{
	return (get(nvme->config, PCI_COMMAND) & PCI_COMMAND_MASTER) && in_d0(nvme);
}
