/* SPDX-License-Identifier: MIT */
/*
 * letgo.c: waiting until QEMU has unmapped a file, which is looked up in /proc.
 *
 * A device that is in the middle of an access keeps the memory mapped until it is through. And
 * QEMU unmaps nothing before it has waited a while for more to tidy up (its RCU thread: 30 things,
 * or two times 50 ms); so it is given more: each change of what the machine's memory looks like
 * leaves some old views of it.
 */
#include "dma.h"
#include "lab.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/sysmacros.h>

#define LOOK_MS	   5
#define MAX_NUDGES 20u /* then it is a device that QEMU waits for */
#define CHANGES	   8u
#define MCH_PAM1   0x91u /* 82G33 data sheet 5.1.17: what is at 0xc0000, where there is nothing */

struct letgo {
	dev_t dev;
	ino_t ino;
	dma_done_fn done;
	void *arg;
	struct letgo *next;
};

/* How often QEMU has a file mapped. A module is one mapping. */
static unsigned int count_mapped(const struct lab *lab, const struct letgo *l)
{
	unsigned int n = 0;
	char path[64], line[512];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)lab->qemu);
	FILE *maps = fopen(path, "re");
	while (maps && fgets(line, sizeof(line), maps)) {
		unsigned int major, minor;
		unsigned long long inode;

		if (sscanf(line, "%*s %*s %*s %x:%x %llu", &major, &minor, &inode) == 3 &&
		    inode == l->ino && makedev(major, minor) == l->dev)
			n++;
	}
	if (maps)
		fclose(maps);
	return n;
}

static bool is_gone(const struct lab *lab, const struct letgo *l)
{
	unsigned int ready = 0;

	for (unsigned int i = 0; i < LAB_MAX_DIMMS; i++) {
		const struct lab_dimm *d = &lab->dimms[i];

		ready += d->ready && d->dev == l->dev && d->ino == l->ino;
	}
	return lab->qmp.dead || count_mapped(lab, l) <= ready;
}

static void nudged(const struct qtest_op *op, uint64_t value)
{
	((struct lab *)op->owner)->nudging = false;
}

static void nudge(struct lab *lab)
{
	if (lab->nudging || lab->nudges == MAX_NUDGES)
		return;
	lab->nudges++;
	lab->nudging = true;
	for (unsigned int i = 1; i <= CHANGES; i++)
		qtest_submit(&lab->qt, &(struct qtest_op){ .cmd = QTEST_WRITE,
							   .width = 1,
							   .addr = pci_ecam(0, 0, 0) + MCH_PAM1,
							   .value = i % 2 ? 0x33 : 0,
							   .done = i == CHANGES ? nudged : NULL,
							   .owner = lab });
}

static void look(struct lab_timer *t)
{
	struct lab *lab = lab_container_of(t, struct lab, letgo_timer);
	struct letgo *gone = NULL;

	for (struct letgo **p = &lab->letgo; *p;) {
		struct letgo *l = *p;

		if (!is_gone(lab, l)) {
			p = &l->next;
			continue;
		}
		*p = l->next;
		l->next = gone;
		gone = l;
	}
	if (lab->letgo) {
		nudge(lab);
		lab_timer_arm(t, LOOK_MS);
	}
	while (gone) {
		struct letgo *l = gone;

		gone = l->next;
		l->done(l->arg, 0);
		free(l);
	}
}

int dma_init(struct lab *lab)
{
	lab->dimms = lab_xcalloc(LAB_MAX_DIMMS, sizeof(*lab->dimms));
	return lab_timer_init(lab->epfd, &lab->letgo_timer, look);
}

void letgo_wait(struct lab *lab, dev_t dev, ino_t ino, dma_done_fn done, void *arg)
{
	struct letgo *l = lab_xcalloc(1, sizeof(*l));

	*l = (struct letgo){ dev, ino, done, arg, lab->letgo };
	lab->letgo = l;
	lab->nudges = 0;
	nudge(lab);
	lab_timer_arm(&lab->letgo_timer, 1);
}
