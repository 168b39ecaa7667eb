/* SPDX-License-Identifier: MIT */
/*
 * reset.c: function level reset, after which the configuration is as it was. There is no reset
 * through D3hot: QEMU 7.2's devices keep their state on the way through it.
 *
 * QEMU, like hardware, forgets base addresses, the command register and the control registers of
 * the PCI Express capability. What the lab does not know by heart is read first.
 */
#include "lab.h"

#include <errno.h>
#include <linux/pci_regs.h>

struct saved {
	uint16_t off;
	uint8_t width;
	uint32_t value;
};

struct reset {
	struct lab_func *f;
	void (*done)(void *arg, int err);
	void *arg;
	unsigned int num, left;
	struct saved save[8];
};

static void finished(const struct qtest_op *op, uint64_t value)
{
	struct reset *r = op->owner;
	struct lab_func *f = r->f;

	f->resetting = false;
	r->done(r->arg, f->lab->qt.dead ? -ENODEV : 0);
	free(r);
}

static void write_config(struct lab_func *f, unsigned int off, unsigned int width, uint32_t value)
{
	qtest_submit(&f->lab->qt, &(struct qtest_op){ .cmd = QTEST_WRITE,
						      .width = width,
						      .addr = f->ecam + off,
						      .value = value });
}

static void do_reset(struct reset *r)
{
	struct lab_func *f = r->f;

	alog_event(&f->lab->log, f->id, "reset");
	/* save[0] is Device Control */
	write_config(f, r->save[0].off, 2, r->save[0].value | PCI_EXP_DEVCTL_BCR_FLR);
	f->d3 = false;
	for (unsigned int i = 0; i < LAB_NUM_BARS; i++) {
		if (!f->bar[i].size)
			continue;
		write_config(f, PCI_BASE_ADDRESS_0 + 4 * i, 4, (uint32_t)f->bar[i].addr);
		if (f->bar[i].mem64)
			write_config(f, PCI_BASE_ADDRESS_0 + 4 * i + 4, 4,
				     (uint32_t)(f->bar[i].addr >> 32));
	}
	for (unsigned int i = 0; i < r->num; i++)
		write_config(f, r->save[i].off, r->save[i].width, r->save[i].value);
	intx_apply(f);
	msi_restore(f);
	qtest_submit(&f->lab->qt, &(struct qtest_op){ .cmd = QTEST_READ,
						      .width = 2,
						      .addr = f->ecam + PCI_VENDOR_ID,
						      .done = finished,
						      .owner = r });
}

static void saved_one(const struct qtest_op *op, uint64_t value)
{
	struct reset *r = op->owner;

	r->save[op->tag].value = (uint32_t)value;
	if (--r->left == 0)
		do_reset(r);
}

void reset_start(struct lab_func *f, void (*done)(void *arg, int err), void *arg)
{
	bool gone = f->lab->qt.dead || f->removed;

	if (gone || !f->has_flr) {
		done(arg, gone ? -ENODEV : -EOPNOTSUPP);
		return;
	}

	struct reset *r = lab_xcalloc(1, sizeof(*r));
	const struct saved save[] = {
		{ (uint16_t)(f->cap_exp + PCI_EXP_DEVCTL), 2 },
		{ (uint16_t)(f->cap_exp + PCI_EXP_LNKCTL), 2 },
		{ (uint16_t)(f->cap_exp + PCI_EXP_DEVCTL2), 2 },
		{ PCI_CACHE_LINE_SIZE, 1 },
		{ PCI_LATENCY_TIMER, 1 },
		{ PCI_INTERRUPT_LINE, 1 },
	};

	f->resetting = true;
	r->f = f;
	r->done = done;
	r->arg = arg;
	r->num = r->left = sizeof(save) / sizeof(save[0]);
	for (unsigned int i = 0; i < r->num; i++)
		r->save[i] = save[i];
	for (unsigned int i = 0, n = r->num; i < n; i++)
		qtest_submit(&f->lab->qt, &(struct qtest_op){ .cmd = QTEST_READ,
							      .width = save[i].width,
							      .addr = f->ecam + save[i].off,
							      .done = saved_one,
							      .owner = r,
							      .tag = i });
}
