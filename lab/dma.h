/* SPDX-License-Identifier: MIT */
/*
 * dma.h: clients' memory, mapped for their functions.
 *
 * A client's memfd becomes a memory module of QEMU's machine (dimm.c), once, however many maps
 * there are of it; what a function may reach of that, and at which address, is the IOMMU's.
 * Changes are made one after the other, for all functions; each is a few messages to QEMU.
 */
#ifndef LAB_DMA_H
#define LAB_DMA_H

#include <sys/stat.h>

#include "util.h"

struct lab;
struct lab_func;

#define LAB_MAX_MAPS  512u		   /* of one function */
#define LAB_MAX_DIMMS 128u		   /* memfds of one machine; QEMU is told so at its start */
#define LAB_DIMM_BASE (UINT64_C(4) << 30)  /* where q35 has them when main memory is small */
#define LAB_DIMM_MAX  (UINT64_C(32) << 30) /* bytes of all memfds */

/** struct lab_map - one DMA_MAP. */
struct lab_map {
	uint64_t iova, size;
	struct lab_dimm *dimm;
	struct lab_map *next;
};

/** struct dma_request - what a client wants mapped. @prot: IOMMU_READ, IOMMU_WRITE. */
struct dma_request {
	uint64_t iova, size, offset;
	unsigned int prot;
};

/**
 * dma_done_fn - a change has been made, or not: @err is 0 or a negative errno.
 *
 * A removed map is done when QEMU has let go of the memory.
 */
typedef void (*dma_done_fn)(void *arg, int err);

/**
 * dma_map - map @fd's memory for the function. It stays the caller's until @done, which may be
 * called before this returns.
 */
void dma_map(struct lab_func *f, const struct dma_request *r, int fd, dma_done_fn done, void *arg);

/** dma_unmap - remove exactly one map; with @size 0, all of them. */
void dma_unmap(struct lab_func *f, uint64_t iova, uint64_t size, dma_done_fn done, void *arg);

/* dimm.c: memory modules */

/**
 * struct lab_dimm - a memfd in QEMU's machine; its slot is its place in lab->dimms.
 * @size: of the file, in whole pages; 0: the slot is free.
 * @refs: maps of it.
 * @ready: QEMU has it, and will until @refs is 0.
 */
struct lab_dimm {
	dev_t dev;
	ino_t ino;
	uint64_t size, addr;
	unsigned int slot, refs;
	bool ready;
};

typedef dma_done_fn dimm_done_fn;

/**
 * dimm_find - a module that has the file, at least @size bytes of it, with one reference more.
 */
struct lab_dimm *dimm_find(struct lab *lab, const struct stat *st, uint64_t size);

/**
 * dimm_add - make the file a module, with one reference.
 * @done: called, later, with 0 or a negative errno; on failure the module is gone again. QEMU
 *	must not be known to be dead.
 * Return: the module, or NULL after one line when there is no room; @done is then not called.
 */
struct lab_dimm *dimm_add(struct lab *lab, const struct stat *st, int fd, dimm_done_fn done,
			  void *arg);

/**
 * dimm_put - a reference less; with the last one the module is taken out.
 * @done: called when QEMU has no part of it mapped any more, or at once if others use it.
 */
void dimm_put(struct lab *lab, struct lab_dimm *d, dimm_done_fn done, void *arg);

/* letgo.c: files that are a module no more, and that QEMU may still have mapped */

/** dma_init - the timer, and room for the modules. */
int dma_init(struct lab *lab);

/** letgo_wait - call @done, later, when QEMU has the file mapped only for modules that are ready.
 */
void letgo_wait(struct lab *lab, dev_t dev, ino_t ino, dma_done_fn done, void *arg);

#endif
