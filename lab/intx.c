/* SPDX-License-Identifier: MIT */
/*
 * intx.c: level-triggered interrupt lines, shared by functions, made into eventfds.
 *
 * As vfio-pci does, a function is masked by setting the real Interrupt Disable bit in its command
 * register. So a line is only ever driven by functions whose client waits for an interrupt, and
 * when one of them has been signalled and masked, the line falls unless another drives it too.
 */
#include "lab.h"

#include <inttypes.h>
#include <linux/pci_regs.h>
#include <string.h>

#define RESCAN_LIMIT 16

bool intx_disabled(const struct lab_func *f)
{
	return (f->command & PCI_COMMAND_INTX_DISABLE) || f->irq_fd < 0 || f->irq_masked;
}

static bool on_line(const struct lab_func *f, unsigned int gsi)
{
	return f->pin && (f->gsi < 0 || f->gsi == (int)gsi);
}

void intx_signal(struct lab_func *f)
{
	if (f->irq_fd < 0)
		return;
	alog_event(&f->lab->log, f->id, "irq");
	fault_suspect(f->lab);
	lab_signal(f->irq_fd, f->id);
}

static void scan(struct lab *lab, unsigned int gsi);

static void rescan_done(const struct qtest_op *op, uint64_t value)
{
	struct lab_func *f = op->owner;

	for (unsigned int gsi = 0; gsi < LAB_GSI_MAX && !f->lab->qt.dead; gsi++) {
		if (f->lab->gsi_level[gsi] && on_line(f, gsi)) {
			f->lab->gsi_stuck[gsi] = 0;
			scan(f->lab, gsi);
		}
	}
}

static void fire(struct lab_func *f, unsigned int gsi)
{
	f->lab->gsi_stuck[gsi] = 0;
	f->irq_masked = true;
	intx_signal(f);
	config_write_command(f, rescan_done);
}

static void status_done(const struct qtest_op *op, uint64_t value)
{
	struct lab_func *f = op->owner;
	unsigned int gsi = (unsigned int)op->tag & 0xff;

	if (f->lab->qt.dead)
		return;
	if (value & PCI_STATUS_INTERRUPT && !intx_disabled(f))
		fire(f, gsi);
	/* The last one: if nobody drove the line a moment ago but it is still high, look again. */
	else if (op->tag & 0x100 && f->lab->gsi_level[gsi])
		scan(f->lab, gsi);
}

/* Find out who drives the line, and signal. */
static void scan(struct lab *lab, unsigned int gsi)
{
	struct lab_func *last = NULL;

	if (lab->gsi_stuck[gsi] >= RESCAN_LIMIT)
		return;
	if (++lab->gsi_stuck[gsi] == RESCAN_LIMIT)
		lab_msg("interrupt line %u stays high and no function says why", gsi);
	for (unsigned int i = 0; i < lab->num_funcs; i++)
		if (on_line(&lab->funcs[i], gsi) && !intx_disabled(&lab->funcs[i]))
			last = &lab->funcs[i];
	for (unsigned int i = 0; last && i < lab->num_funcs; i++) {
		struct lab_func *f = &lab->funcs[i];

		if (!on_line(f, gsi) || intx_disabled(f))
			continue;
		qtest_submit(&lab->qt, &(struct qtest_op){ .cmd = QTEST_READ,
							   .width = 2,
							   .addr = f->ecam + PCI_STATUS,
							   .done = status_done,
							   .owner = f,
							   .tag = gsi | (f == last ? 0x100u : 0) });
	}
}

void intx_level(struct qtest *qt, unsigned int gsi, bool level)
{
	struct lab *lab = lab_container_of(qt, struct lab, qt);
	struct lab_func *only = NULL;
	unsigned int n = 0;

	if (gsi >= LAB_GSI_MAX)
		return;
	lab->gsi_level[gsi] = level;
	lab->gsi_stuck[gsi] = 0;
	if (!level)
		return;
	for (unsigned int i = 0; i < lab->num_funcs; i++) {
		if (on_line(&lab->funcs[i], gsi)) {
			only = &lab->funcs[i];
			n++;
		}
	}
	if (n == 1 && only->gsi == (int)gsi) {
		/* A line of its own: no need to ask. */
		if (!intx_disabled(only))
			fire(only, gsi);
		return;
	}
	scan(lab, gsi);
}

void intx_apply(struct lab_func *f)
{
	/* What asserts by now, or did all along on a line that is high already, raises no edge. */
	config_write_command(f, intx_disabled(f) ? NULL : rescan_done);
}

void intx_set_fd(struct lab_func *f, int fd)
{
	if (f->irq_fd >= 0)
		close(f->irq_fd);
	f->irq_fd = fd;
	f->irq_masked = false;
	if (fd >= 0)
		f->irq_mode = LAB_IRQ_INTX;
	else if (f->irq_mode == LAB_IRQ_INTX)
		f->irq_mode = LAB_IRQ_NONE;
	intx_apply(f);
}

void intx_set_masked(struct lab_func *f, bool masked)
{
	f->irq_masked = masked;
	intx_apply(f);
}
