/* SPDX-License-Identifier: MIT */
/*
 * pci.c: what firmware would do: turn on the memory-mapped configuration space, size the base
 * address registers and place them. Addresses are those of QEMU's q35 machine (ICH9).
 */
#include "lab.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define ECAM_BASE     0xb0000000u
#define MCH_PCIEXBAR  0x60 /* 82G33 data sheet 5.1.15: base, and enable in bit 0 */

#define IO_START      0xc000u
#define IO_END	      0x10000u
#define MEM_START     0xc0000000u
#define MEM_END	      0xfec00000u /* the I/O APIC */
#define MEM64_START   (UINT64_C(1) << 38)
#define MEM64_END     (UINT64_C(1) << 39)
#define MEM_MIN_ALIGN 4096u

struct windows {
	uint64_t io, mem, mem64;
};

uint64_t pci_ecam(unsigned int bus, unsigned int slot, unsigned int fn)
{
	return ECAM_BASE | bus << 20 | slot << 15 | fn << 12;
}

static int cfg_read(struct lab_func *f, unsigned int off, unsigned int width, uint32_t *value)
{
	uint64_t v = 0;
	int ret = qtest_call(&f->lab->qt, QTEST_READ, width, f->ecam + off, 0, &v);

	*value = (uint32_t)v;
	return ret;
}

static int cfg_write(struct lab_func *f, unsigned int off, unsigned int width, uint32_t value)
{
	return qtest_call(&f->lab->qt, QTEST_WRITE, width, f->ecam + off, value, NULL);
}

static int enable_ecam(struct lab *lab)
{
	const struct {
		uint16_t port;
		uint32_t value;
	} seq[] = { { 0xcf8, 0x80000000u | (MCH_PCIEXBAR + 4) },
		    { 0xcfc, 0 },
		    { 0xcf8, 0x80000000u | MCH_PCIEXBAR },
		    { 0xcfc, ECAM_BASE | 1 } };

	for (size_t i = 0; i < sizeof(seq) / sizeof(seq[0]); i++) {
		int ret = qtest_call(&lab->qt, QTEST_OUT, 4, seq[i].port, seq[i].value, NULL);

		if (ret)
			return ret;
	}
	return 0;
}

/* Take @size bytes, naturally aligned, from a window. */
static bool take(uint64_t *next, uint64_t end, uint64_t size, uint64_t *addr)
{
	uint64_t a = (*next + size - 1) & ~(size - 1);

	if (a < *next || a >= end || size > end - a)
		return false;
	*addr = a;
	*next = a + size;
	return true;
}

static bool place(struct windows *w, struct lab_bar *bar)
{
	uint64_t size = bar->size;

	if (bar->io)
		return take(&w->io, IO_END, size, &bar->addr);
	if (size < MEM_MIN_ALIGN)
		size = MEM_MIN_ALIGN;
	return take(&w->mem, MEM_END, size, &bar->addr) ||
	       (bar->mem64 && take(&w->mem64, MEM64_END, size, &bar->addr));
}

static int setup_bar(struct lab_func *f, struct windows *w, unsigned int i, unsigned int last)
{
	struct lab_bar *bar = &f->bar[i];
	unsigned int reg = PCI_BASE_ADDRESS_0 + 4 * i;
	uint32_t lo, hi = 0xffffffff;
	int ret;

	if ((ret = cfg_write(f, reg, 4, 0xffffffff)) || (ret = cfg_read(f, reg, 4, &lo)))
		return ret;
	if (lo == 0)
		return 0;
	bar->io = lo & PCI_BASE_ADDRESS_SPACE_IO;
	bar->mem64 = !bar->io && (lo & PCI_BASE_ADDRESS_MEM_TYPE_64) && i + 1 < last;
	if (bar->mem64 &&
	    ((ret = cfg_write(f, reg + 4, 4, 0xffffffff)) || (ret = cfg_read(f, reg + 4, 4, &hi))))
		return ret;

	uint32_t type = bar->io ? lo & 3u : lo & 0xfu;
	f->bar_type[i] = type;
	f->bar_mask[i] = lo & ~type;
	if (bar->mem64)
		f->bar_mask[i + 1] = hi;
	if (bar->io) /* an I/O BAR may leave its upper 16 bits unimplemented: PCI 3.0, 6.2.5.1 */
		bar->size = (~(f->bar_mask[i] | 0xffff0000u) + 1u) & 0x1ffffu;
	else
		bar->size = ~((uint64_t)hi << 32 | f->bar_mask[i]) + 1;
	if (!place(w, bar))
		return lab_fail(-ENOSPC, "%s: no room for BAR %u of %llu bytes", f->id, i,
				(unsigned long long)bar->size);
	if ((ret = cfg_write(f, reg, 4, (uint32_t)bar->addr)))
		return ret;
	return bar->mem64 ? cfg_write(f, reg + 4, 4, (uint32_t)(bar->addr >> 32)) : 0;
}

static int setup_func(struct lab_func *f, struct windows *w)
{
	uint32_t v;
	int ret;

	f->ecam = pci_ecam(f->bus, f->slot, f->fn);
	if ((ret = cfg_read(f, PCI_VENDOR_ID, 4, &v)))
		return ret;
	f->vendor = (uint16_t)v;
	f->device = (uint16_t)(v >> 16);
	if ((ret = cfg_read(f, PCI_CLASS_REVISION, 4, &v)))
		return ret;
	f->class_code = v >> 8;
	for (unsigned int i = 0; i < LAB_NUM_BARS; i++) {
		if ((ret = setup_bar(f, w, i, LAB_NUM_BARS)))
			return ret;
		if (f->bar[i].mem64)
			i++;
	}
	if ((ret = cfg_read(f, PCI_INTERRUPT_PIN, 1, &v)))
		return ret;
	f->pin = v <= 4 ? (uint8_t)v : 0;
	/* Slots below 25 are swizzled onto PIRQ E to H: GSI 20 to 23 (ICH9, as QEMU wires it). */
	f->gsi = -1;
	if (f->pin && f->bus == 0 && f->slot < 25)
		f->gsi = 20 + ((f->slot + f->pin - 1) & 3);
	f->irq_fd = -1;
	if ((ret = config_setup(f)))
		return ret;
	config_write_command(f, NULL);
	return 0;
}

int pci_setup(struct lab *lab)
{
	struct windows w = { IO_START, MEM_START, MEM64_START };
	int ret = enable_ecam(lab);

	for (unsigned int i = 0; ret == 0 && i < lab->num_funcs; i++)
		ret = setup_func(&lab->funcs[i], &w);
	if (ret == -EPIPE || ret == -ETIMEDOUT)
		lab_msg("QEMU does not answer on its qtest connection: %s", strerror(-ret));
	return ret;
}
