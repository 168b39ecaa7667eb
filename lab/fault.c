/* SPDX-License-Identifier: MIT */
/* fault.c: reading the IOMMU's fault records (Intel VT-d, rev. 3.3, 11.4.7 and 11.4.14). */
#include "iommu.h"
#include "lab.h"

#include <inttypes.h>

#define REG_FSTS     0xfed90034u
#define FSTS_LOST    1u
#define FSTS_PENDING 2u
#define RECORD_FULL                                                                  \
	(UINT32_C(1) << 31) /* of the fourth word; written back, it frees the record \
			     */
#define MAX_LINES 16u /* of a function; beyond, it is only counted, and named at powers of two */

/* When to look after something has happened: devices take their time. Then no more. */
static const unsigned int delays_ms[] = { 5, 20, 100, 400 };
#define NUM_STAGES (sizeof(delays_ms) / sizeof(delays_ms[0]))

static void submit(struct lab *lab, enum qtest_cmd cmd, unsigned int width, uint64_t addr,
		   uint64_t value, qtest_done_fn done)
{
	qtest_submit(&lab->qt, &(struct qtest_op){ .cmd = cmd,
						   .width = width,
						   .addr = addr,
						   .value = value,
						   .done = done,
						   .owner = lab });
}

static void look_again(struct lab *lab)
{
	struct iommu *m = &lab->iommu;

	if (m->stage < NUM_STAGES && !lab->qt.dead)
		lab_timer_arm(&m->timer, delays_ms[m->stage]);
	m->reading = m->stage < NUM_STAGES && !lab->qt.dead;
}

static const char *explain(unsigned int reason, bool read)
{
	if (reason == 5 || reason == 6)
		return read ? "is not mapped for reading" : "is not mapped for writing";
	return reason == 4 ? "is beyond what the IOMMU translates" : "has no map";
}

static void report(struct lab *lab, uint64_t addr, uint64_t info)
{
	unsigned int source = (unsigned int)info & 0xffff,
		     reason = (unsigned int)(info >> 32) & 0xff;
	bool read = info >> 62 & 1;

	for (unsigned int i = 0; i < lab->num_funcs; i++) {
		struct lab_func *f = &lab->funcs[i];

		if (source != ((unsigned int)f->bus << 8 | (unsigned int)f->slot << 3 | f->fn))
			continue;
		uint64_t n = __atomic_add_fetch(&f->stat->faults, 1, __ATOMIC_RELAXED);
		alog_event(&lab->log, f->id, "dma-fault %s 0x%" PRIx64, read ? "read" : "write",
			   addr);
		if (n <= MAX_LINES || (n & (n - 1)) == 0)
			lab_msg("%s: stray DMA stopped: it wanted to %s 0x%" PRIx64
				", which %s (%" PRIu64 ". time)",
				f->id, read ? "read" : "write", addr, explain(reason, read), n);
		return;
	}
	lab_msg("stray DMA of an unknown function %02x:%02x.%x stopped", source >> 8,
		source >> 3 & 0x1f, source & 7);
}

static void got_info(const struct qtest_op *op, uint64_t info)
{
	struct lab *lab = op->owner;

	if (!lab->qt.dead && info >> 63) {
		report(lab, lab->fault_addr, info);
		submit(lab, QTEST_WRITE, 4, lab->iommu.fault_reg + 12, RECORD_FULL, NULL);
		lab->iommu.stage = 0; /* there may be more behind it */
	}
	look_again(lab);
}

static void got_addr(const struct qtest_op *op, uint64_t addr)
{
	struct lab *lab = op->owner;

	lab->fault_addr = addr & ~UINT64_C(0xfff);
	submit(lab, QTEST_READ, 8, lab->iommu.fault_reg + 8, 0, got_info);
}

static void got_status(const struct qtest_op *op, uint64_t status)
{
	struct lab *lab = op->owner;

	if (lab->qt.dead || !(status & (FSTS_PENDING | FSTS_LOST))) {
		look_again(lab);
		return;
	}
	if (status & FSTS_LOST)
		submit(lab, QTEST_WRITE, 4, REG_FSTS, FSTS_LOST, NULL);
	if (status & FSTS_PENDING)
		submit(lab, QTEST_READ, 8, lab->iommu.fault_reg, 0, got_addr);
	else
		look_again(lab);
}

static void look(struct lab_timer *t)
{
	struct iommu *m = lab_container_of(t, struct iommu, timer);
	struct lab *lab = lab_container_of(m, struct lab, iommu);

	m->stage++;
	submit(lab, QTEST_READ, 4, REG_FSTS, 0, got_status);
}

int fault_init(struct lab *lab)
{
	return lab_timer_init(lab->epfd, &lab->iommu.timer, look);
}

void fault_suspect(struct lab *lab)
{
	lab->iommu.stage = 0;
	if (!lab->iommu.reading)
		look_again(lab);
}
