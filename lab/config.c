/* SPDX-License-Identifier: MIT */
/*
 * config.c: configuration space as vfio-pci shows it: base address registers, the interrupt disable
 * bit and the MSI capability are the lab's own, message interrupts are shown but cannot be turned
 * on here (that is what SET_IRQS is for), everything else is QEMU's.
 */
#include "lab.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define COMMAND_BITS                                                                     \
	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | \
	 PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)

static int read_config(struct lab_func *f, unsigned int off, unsigned int width, uint32_t *value)
{
	uint64_t v = 0;
	int ret = qtest_call(&f->lab->qt, QTEST_READ, width, f->ecam + off, 0, &v);

	*value = (uint32_t)v;
	return ret;
}

static int note_msix(struct lab_func *f)
{
	uint32_t flags, table;
	int ret;

	if ((ret = read_config(f, f->cap_msix + PCI_MSIX_FLAGS, 2, &flags)) ||
	    (ret = read_config(f, f->cap_msix + PCI_MSIX_TABLE, 4, &table)))
		return ret;
	unsigned int num = (flags & PCI_MSIX_FLAGS_QSIZE) + 1;
	f->msi.table_bar = table & PCI_MSIX_TABLE_BIR;
	f->msi.table = table & ~(uint32_t)PCI_MSIX_TABLE_BIR;
	f->msi.table_len = num * PCI_MSIX_ENTRY_SIZE;
	f->msi.num_msix = num < LAB_MAX_VECTORS ? num : LAB_MAX_VECTORS;
	if (f->msi.table_bar >= LAB_NUM_BARS ||
	    (uint64_t)f->msi.table + f->msi.table_len > f->bar[f->msi.table_bar].size)
		f->msi.num_msix = f->msi.table_len = 0; /* not where a table can be */
	return 0;
}

static int note_capability(struct lab_func *f, uint8_t id, uint8_t pos)
{
	uint32_t v;
	int ret = 0;

	switch (id) {
	case PCI_CAP_ID_PM:
		f->cap_pm = pos;
		break;
	case PCI_CAP_ID_EXP:
		f->cap_exp = pos;
		f->config_size = PCI_CFG_SPACE_EXP_SIZE;
		ret = read_config(f, pos + PCI_EXP_DEVCAP, 4, &v);
		f->has_flr = ret == 0 && (v & PCI_EXP_DEVCAP_FLR);
		break;
	case PCI_CAP_ID_MSI:
		f->cap_msi = pos;
		ret = read_config(f, pos + PCI_MSI_FLAGS, 2, &v);
		f->msi.num_msi = 1u << ((v & PCI_MSI_FLAGS_QMASK) >> 1);
		f->msi.cap[PCI_MSI_FLAGS] =
			(uint8_t)(v & ~(uint32_t)(PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE));
		f->msi.cap[PCI_MSI_FLAGS + 1] = (uint8_t)(v >> 8);
		f->msi_len = (uint8_t)(v & PCI_MSI_FLAGS_64BIT ? 14 : 10);
		if (v & PCI_MSI_FLAGS_MASKBIT)
			f->msi_len = (uint8_t)(v & PCI_MSI_FLAGS_64BIT ? 24 : 20);
		break;
	case PCI_CAP_ID_MSIX:
		f->cap_msix = pos;
		ret = note_msix(f);
		break;
	}
	return ret;
}

int config_setup(struct lab_func *f)
{
	uint32_t v, pos;
	int ret;

	f->config_size = PCI_CFG_SPACE_SIZE;
	if ((ret = read_config(f, PCI_STATUS, 2, &v)))
		return ret;
	if (!(v & PCI_STATUS_CAP_LIST))
		return 0;
	if ((ret = read_config(f, PCI_CAPABILITY_LIST, 1, &pos)))
		return ret;
	for (int ttl = 48; pos >= 0x40 && ttl; ttl--) {
		pos &= 0xfc;
		if ((ret = read_config(f, pos, 2, &v)) ||
		    (ret = note_capability(f, (uint8_t)v, (uint8_t)pos)))
			return ret;
		pos = v >> 8;
	}
	return 0;
}

void config_write_command(struct lab_func *f, qtest_done_fn done)
{
	uint16_t value = f->command;

	if (intx_disabled(f))
		value |= PCI_COMMAND_INTX_DISABLE;
	qtest_submit(&f->lab->qt, &(struct qtest_op){ .cmd = QTEST_WRITE,
						      .width = 2,
						      .addr = f->ecam + PCI_COMMAND,
						      .value = value,
						      .done = done,
						      .owner = f });
}

bool config_decodes(const struct lab_func *f, const struct lab_bar *bar)
{
	return !f->d3 && (f->command & (bar->io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY));
}

static uint32_t width_mask(unsigned int width)
{
	return width >= 4 ? 0xffffffffu : (1u << 8 * width) - 1;
}

/* Whether [off, off + width) touches the register of @len bytes at @reg. */
static bool touches(unsigned int off, unsigned int width, unsigned int reg, unsigned int len)
{
	return off < reg + len && reg < off + width;
}

static bool is_bar(unsigned int off)
{
	return off >= PCI_BASE_ADDRESS_0 && off < PCI_BASE_ADDRESS_0 + 4 * LAB_NUM_BARS;
}

void config_overlay(const struct lab_func *f, unsigned int off, unsigned int width, uint32_t *mask,
		    uint32_t *bits)
{
	uint32_t m = 0, b = 0; /* of the whole 32-bit register */

	if (is_bar(off)) {
		m = 0xffffffff;
		b = f->bar_reg[(off - PCI_BASE_ADDRESS_0) / 4] |
		    f->bar_type[(off - PCI_BASE_ADDRESS_0) / 4];
	} else if (off / 4 * 4 == PCI_ROM_ADDRESS) { /* option ROMs are not served */
		m = 0xffffffff;
	} else if (off / 4 * 4 == PCI_COMMAND) {
		m = PCI_COMMAND_INTX_DISABLE;
		b = f->command & PCI_COMMAND_INTX_DISABLE;
	}
	*mask = m >> 8 * (off & 3) & width_mask(width);
	*bits = b >> 8 * (off & 3) & width_mask(width);
	if (f->cap_msi && touches(off, width, f->cap_msi, f->msi_len))
		msi_overlay(f, off, width, mask, bits);
}

static void write_bar(struct lab_func *f, unsigned int off, unsigned int width, uint32_t value)
{
	unsigned int i = (off - PCI_BASE_ADDRESS_0) / 4, shift = 8 * (off & 3);
	uint32_t m = width_mask(width) << shift;
	uint32_t reg = (f->bar_reg[i] & ~m) | (value << shift & m);

	f->bar_reg[i] = reg & f->bar_mask[i];
}

bool config_write(struct lab_func *f, unsigned int off, unsigned int width, uint32_t value,
		  uint32_t *pass, uint32_t *pass_mask)
{
	bool reset = false;

	*pass = value;
	*pass_mask = width_mask(width);
	if (is_bar(off)) {
		write_bar(f, off, width, value);
		*pass_mask = 0;
	} else if (off / 4 * 4 == PCI_ROM_ADDRESS) {
		*pass_mask = 0;
	} else if (f->cap_msi && touches(off, width, f->cap_msi, f->msi_len)) {
		*pass_mask = msi_config_write(f, off, width, value);
	} else if (f->cap_msix && touches(off, width, f->cap_msix, PCI_CAP_MSIX_SIZEOF)) {
		*pass_mask = 0;
	} else if (touches(off, width, PCI_COMMAND, 2)) {
		unsigned int shift = 8 * (off & 3), len = off + width > 6 ? 6 - off : width;
		uint32_t m = width_mask(len) << shift;

		f->command = (uint16_t)(((f->command & ~m) | (value << shift & m)) & COMMAND_BITS);
		intx_apply(f);
		*pass_mask &= ~width_mask(len); /* what is left is the status register */
	} else if (f->cap_pm && touches(off, width, f->cap_pm + PCI_PM_CTRL, 1)) {
		unsigned int shift = 8 * (f->cap_pm + (unsigned int)PCI_PM_CTRL - off);

		f->d3 = (value >> shift & PCI_PM_CTRL_STATE_MASK) != 0;
	} else if (f->has_flr && touches(off, width, f->cap_exp + PCI_EXP_DEVCTL + 1, 1)) {
		unsigned int byte = f->cap_exp + PCI_EXP_DEVCTL + 1u - off;
		uint32_t bit = 0x80u << 8 * byte;

		reset = value & bit;
		*pass &= ~bit;
	}
	return reset;
}

void config_forget(struct lab_func *f)
{
	f->command = 0;
	f->d3 = false;
	memset(f->bar_reg, 0, sizeof(f->bar_reg));
	f->msi.cap[PCI_MSI_FLAGS] &= (uint8_t)~PCI_MSI_FLAGS_QSIZE;
	memset(f->msi.cap + PCI_MSI_ADDRESS_LO, 0, sizeof(f->msi.cap) - PCI_MSI_ADDRESS_LO);
}
