/* SPDX-License-Identifier: MIT */
/* msi.c: programming of MSI (PCI 3.0, 6.8.1) and MSI-X (6.8.2), and what a client sees of them. */
#include "msi.h"
#include "iommu.h"
#include "lab.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define DOORBELL   0x0cu /* of ivshmem, QEMU's docs/specs/ivshmem-spec.txt */
#define ENTRY_SIZE PCI_MSIX_ENTRY_SIZE

unsigned int msi_num(const struct lab_func *f, enum lab_irq_mode mode)
{
	return mode == LAB_IRQ_MSI ? f->msi.num_msi : mode == LAB_IRQ_MSIX ? f->msi.num_msix : 0;
}

static void write_reg(struct lab_func *f, uint64_t addr, unsigned int width, uint64_t value)
{
	qtest_submit(&f->lab->qt,
		     &(struct qtest_op){
			     .cmd = QTEST_WRITE, .width = width, .addr = addr, .value = value });
}

static void write_cap(struct lab_func *f, unsigned int off, unsigned int width, uint32_t value)
{
	write_reg(f, f->ecam + off, width, value);
}

static bool is_64bit(const struct lab_func *f)
{
	return f->msi.cap[PCI_MSI_FLAGS] & PCI_MSI_FLAGS_64BIT;
}

static unsigned int data_off(const struct lab_func *f)
{
	return is_64bit(f) ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32;
}

static unsigned int log2_of(unsigned int power)
{
	return (unsigned int)__builtin_ctz(power);
}

/* The number of vectors is the whole message: the device puts it into the data's low bits. */
static void program_msi(struct lab_func *f)
{
	bool on = f->irq_mode == LAB_IRQ_MSI;
	uint32_t flags = on ? PCI_MSI_FLAGS_ENABLE | log2_of(f->msi.used) << 4 : 0;

	if (on) {
		write_cap(f, f->cap_msi + PCI_MSI_ADDRESS_LO, 4, LAB_IOVA_BELL | DOORBELL);
		if (is_64bit(f))
			write_cap(f, f->cap_msi + PCI_MSI_ADDRESS_HI, 4, 0);
		write_cap(f, f->cap_msi + data_off(f), 2, 0);
	}
	write_cap(f, f->cap_msi + PCI_MSI_FLAGS, 2, flags);
}

/* A vector that nobody waits for is masked: the device remembers it. */
static void program_entry(struct lab_func *f, unsigned int n)
{
	uint64_t entry = f->bar[f->msi.table_bar].addr + f->msi.table + (uint64_t)n * ENTRY_SIZE;

	write_reg(f, entry + PCI_MSIX_ENTRY_LOWER_ADDR, 4, LAB_IOVA_BELL | DOORBELL);
	write_reg(f, entry + PCI_MSIX_ENTRY_UPPER_ADDR, 4, 0);
	write_reg(f, entry + PCI_MSIX_ENTRY_DATA, 4, n);
	write_reg(f, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, f->msi.vectors[n].client < 0);
}

static void program_msix(struct lab_func *f, unsigned int start, unsigned int count)
{
	bool on = f->irq_mode == LAB_IRQ_MSIX, decodes = f->command & PCI_COMMAND_MEMORY;

	/* The table is behind a BAR, which the client may have turned off. */
	if (!decodes)
		write_reg(f, f->ecam + PCI_COMMAND, 2, f->command | PCI_COMMAND_MEMORY);
	for (unsigned int n = start; n < start + count; n++)
		program_entry(f, n);
	if (!decodes)
		config_write_command(f, NULL);
	write_cap(f, f->cap_msix + PCI_MSIX_FLAGS, 2, on ? PCI_MSIX_FLAGS_ENABLE : 0);
}

void msi_restore(struct lab_func *f)
{
	if (f->irq_mode == LAB_IRQ_MSI)
		program_msi(f);
	else if (f->irq_mode == LAB_IRQ_MSIX)
		program_msix(f, 0, f->msi.num_msix);
}

static void drain(struct lab_vector *v)
{
	uint64_t times;

	(void)!read(v->bell.fd, &times, sizeof(times));
}

static void set_client(struct lab_vector *v, int fd)
{
	drain(v);
	if (v->client >= 0)
		close(v->client);
	v->client = fd;
}

void msi_connect(struct lab_func *f, enum lab_irq_mode mode, unsigned int start, unsigned int count,
		 const int *fds)
{
	bool first = f->irq_mode == LAB_IRQ_NONE;

	for (unsigned int i = 0; i < count; i++)
		set_client(&f->msi.vectors[start + i], fds ? fds[i] : -1);
	if (first) {
		f->irq_mode = mode;
		f->msi.used = 1;
		intx_apply(f); /* a function that sends messages leaves its line alone */
	}
	if (mode == LAB_IRQ_MSI) {
		unsigned int used = f->msi.used;

		while (f->msi.used < start + count)
			f->msi.used *= 2;
		if (first || used != f->msi.used)
			program_msi(f);
	} else if (first) {
		program_msix(f, 0, f->msi.num_msix);
	} else {
		program_msix(f, start, count);
	}
}

void msi_disable(struct lab_func *f)
{
	enum lab_irq_mode mode = f->irq_mode;

	if (mode != LAB_IRQ_MSI && mode != LAB_IRQ_MSIX)
		return;
	f->irq_mode = LAB_IRQ_NONE;
	for (unsigned int n = 0; n < msi_num(f, mode); n++)
		set_client(&f->msi.vectors[n], -1);
	if (mode == LAB_IRQ_MSI)
		program_msi(f);
	else
		program_msix(f, 0, f->msi.num_msix);
	intx_apply(f);
}

void msi_trigger(struct lab_func *f, unsigned int vector)
{
	int fd = f->msi.vectors[vector].client;

	if (fd < 0)
		return;
	alog_event(&f->lab->log, f->id, "irq %u", vector);
	lab_signal(fd, f->id);
}

bool msi_is_table(const struct lab_func *f, unsigned int bar, uint64_t off)
{
	return f->msi.table_len && bar == f->msi.table_bar && off >= f->msi.table &&
	       off - f->msi.table < f->msi.table_len;
}

/* Mask bits are the device's, all else is the client's to write, and without effect. */
static unsigned int own_len(const struct lab_func *f)
{
	return data_off(f) + 2;
}

void msi_overlay(const struct lab_func *f, unsigned int off, unsigned int width, uint32_t *mask,
		 uint32_t *bits)
{
	for (unsigned int i = 0; i < width; i++) {
		unsigned int at = off + i - f->cap_msi;

		if (off + i < f->cap_msi + 2u || at >= own_len(f))
			continue;
		uint32_t byte = f->msi.cap[at];
		if (at == PCI_MSI_FLAGS && f->irq_mode == LAB_IRQ_MSI)
			byte |= PCI_MSI_FLAGS_ENABLE;
		*mask |= 0xffu << 8 * i;
		*bits = (*bits & ~(0xffu << 8 * i)) | byte << 8 * i;
	}
}

uint32_t msi_config_write(struct lab_func *f, unsigned int off, unsigned int width, uint32_t value)
{
	uint32_t pass = 0;

	for (unsigned int i = 0; i < width; i++) {
		unsigned int at = off + i - f->cap_msi;
		uint8_t byte = (uint8_t)(value >> 8 * i);

		if (off + i < f->cap_msi + 2u || at == PCI_MSI_FLAGS + 1u)
			continue;
		if (at == PCI_MSI_FLAGS)
			f->msi.cap[at] = (uint8_t)((f->msi.cap[at] & ~PCI_MSI_FLAGS_QSIZE) |
						   (byte & PCI_MSI_FLAGS_QSIZE));
		else if (at == PCI_MSI_ADDRESS_LO)
			f->msi.cap[at] = byte & 0xfc;
		else if (at < own_len(f))
			f->msi.cap[at] = byte;
		else if (at < f->msi_len)
			pass |= 0xffu << 8 * i;
	}
	return pass;
}
