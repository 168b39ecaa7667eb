/* SPDX-License-Identifier: MIT */
/*
 * dimm.c: clients' memfds as memory modules of QEMU's machine. There is no guest that would agree
 * to a module being taken out, so the lab writes the registers with which a guest would (QEMU's
 * docs/specs/acpi_mem_hotplug.rst).
 */
#include "dma.h"
#include "lab.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PORT_SLOT   0xa00
#define PORT_STATUS 0xa14
#define EJECT	    8u
#define ALIGN	    (UINT64_C(2) << 20) /* huge pages, and large ones in the IOMMU's tables */

/* A module on its way in or out. */
struct dimm_job {
	struct lab *lab;
	struct lab_dimm *d;
	dimm_done_fn done;
	void *arg;
	int err;
	dev_t dev;
	ino_t ino;
	char object[32], device[32];
};

static struct dimm_job *new_job(struct lab *lab, struct lab_dimm *d, dimm_done_fn done, void *arg)
{
	struct dimm_job *j = lab_xcalloc(1, sizeof(*j));

	*j = (struct dimm_job){
		.lab = lab, .d = d, .done = done, .arg = arg, .dev = d->dev, .ino = d->ino
	};
	snprintf(j->object, sizeof(j->object), "lab-memory%u", d->slot);
	snprintf(j->device, sizeof(j->device), "lab-dimm%u", d->slot);
	return j;
}

static void finish(struct dimm_job *j)
{
	dimm_done_fn done = j->done;
	void *arg = j->arg;
	int err = j->err;

	free(j);
	done(arg, err);
}

struct lab_dimm *dimm_find(struct lab *lab, const struct stat *st, uint64_t size)
{
	for (unsigned int i = 0; i < LAB_MAX_DIMMS; i++) {
		struct lab_dimm *d = &lab->dimms[i];

		if (d->ready && d->dev == st->st_dev && d->ino == st->st_ino && d->size >= size) {
			d->refs++;
			return d;
		}
	}
	return NULL;
}

static uint64_t aligned(uint64_t size)
{
	return (size + ALIGN - 1) & ~(ALIGN - 1);
}

/* The first gap between the modules there are. */
static uint64_t find_room(const struct lab *lab, uint64_t size)
{
	uint64_t addr = LAB_DIMM_BASE;

	for (unsigned int i = 0; i < LAB_MAX_DIMMS;) {
		const struct lab_dimm *d = &lab->dimms[i++];

		if (d->size && addr < d->addr + aligned(d->size) && d->addr < addr + size) {
			addr = d->addr + aligned(d->size);
			i = 0;
		}
	}
	return addr;
}

static struct lab_dimm *take_slot(struct lab *lab, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size & ~(uint64_t)(LAB_PAGE - 1), total = aligned(size);
	struct lab_dimm *d = NULL;

	for (unsigned int i = LAB_MAX_DIMMS; i-- > 0;) {
		total += aligned(lab->dimms[i].size);
		if (!lab->dimms[i].size) {
			d = &lab->dimms[i];
			d->slot = i;
		}
	}
	if (!d || size > LAB_DIMM_MAX || total > LAB_DIMM_MAX) {
		lab_msg("no room for a client's memory of %" PRIu64 " bytes: at most %u files of "
			"%" PRIu64 " GiB in all",
			size, LAB_MAX_DIMMS, LAB_DIMM_MAX >> 30);
		return NULL;
	}
	*d = (struct lab_dimm){ .dev = st->st_dev,
				.ino = st->st_ino,
				.size = size,
				.addr = find_room(lab, aligned(size)),
				.slot = d->slot,
				.refs = 1 };
	return d;
}

static void add_undone(void *owner, const char *error)
{
	struct dimm_job *j = owner;

	j->d->refs = 0;
	j->d->size = 0;
	finish(j);
}

static void device_added(void *owner, const char *error)
{
	struct dimm_job *j = owner;

	if (!error) {
		j->d->ready = true;
		finish(j);
		return;
	}
	lab_msg("QEMU does not take a client's memory: %s", error);
	j->err = j->lab->qmp.dead ? -ENODEV : -EIO;
	qmp_submit(&j->lab->qmp, "object-del", json_pack("{s:s}", "id", j->object), add_undone, j);
}

static void object_added(void *owner, const char *error)
{
	struct dimm_job *j = owner;

	if (error) {
		lab_msg("QEMU does not take a client's memory: %s", error);
		j->err = j->lab->qmp.dead ? -ENODEV : -EIO;
		add_undone(j, NULL);
		return;
	}
	qmp_submit(&j->lab->qmp, "device_add",
		   json_pack("{s:s, s:s, s:s, s:I, s:i}", "driver", "pc-dimm", "id", j->device,
			     "memdev", j->object, "addr", (json_int_t)j->d->addr, "slot",
			     (int)j->d->slot),
		   device_added, j);
}

struct lab_dimm *dimm_add(struct lab *lab, const struct stat *st, int fd, dimm_done_fn done,
			  void *arg)
{
	struct lab_dimm *d = take_slot(lab, st);
	char path[64];

	if (!d)
		return NULL;
	struct dimm_job *j = new_job(lab, d, done, arg);
	snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), fd);
	qmp_submit(&lab->qmp, "object-add",
		   json_pack("{s:s, s:s, s:s, s:I, s:b}", "qom-type", "memory-backend-file", "id",
			     j->object, "mem-path", path, "size", (json_int_t)d->size, "share", 1),
		   object_added, j);
	return d;
}

static void object_deleted(void *owner, const char *error)
{
	struct dimm_job *j = owner;
	struct lab *lab = j->lab;

	if (error && !lab->qmp.dead) { /* the slot stays taken: there is nothing else to do */
		lab_msg("QEMU does not let go of a client's memory: %s", error);
		j->err = -EIO;
		finish(j);
		return;
	}
	j->d->size = 0;
	letgo_wait(lab, j->dev, j->ino, j->done, j->arg);
	free(j);
}

static void ejected(const struct qtest_op *op, uint64_t value)
{
	struct dimm_job *j = op->owner;

	qmp_submit(&j->lab->qmp, "object-del", json_pack("{s:s}", "id", j->object), object_deleted,
		   j);
}

static void unplug_asked(void *owner, const char *error)
{
	struct dimm_job *j = owner;
	struct qtest *qt = &j->lab->qt;

	qtest_submit(
		qt, &(struct qtest_op){
			    .cmd = QTEST_OUT, .width = 4, .addr = PORT_SLOT, .value = j->d->slot });
	qtest_submit(qt, &(struct qtest_op){ .cmd = QTEST_OUT,
					     .width = 1,
					     .addr = PORT_STATUS,
					     .value = EJECT,
					     .done = ejected,
					     .owner = j });
}

void dimm_put(struct lab *lab, struct lab_dimm *d, dimm_done_fn done, void *arg)
{
	if (--d->refs) {
		done(arg, 0);
		return;
	}
	d->ready = false;
	struct dimm_job *j = new_job(lab, d, done, arg);
	qmp_submit(&lab->qmp, "device_del", json_pack("{s:s}", "id", j->device), unplug_asked, j);
}
