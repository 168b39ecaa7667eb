/* SPDX-License-Identifier: MIT */
/*
 * iommu.h: QEMU's model of Intel's VT-d, programmed by the lab. The tables are in main memory,
 * which the lab shares with QEMU; every function has its own map of I/O virtual addresses (IOVA).
 */
#ifndef LAB_IOMMU_H
#define LAB_IOMMU_H

#include "util.h"

struct lab;
struct lab_func;
struct qtest_op;

#define LAB_PAGE	 4096u
#define LAB_IOVA_END	 (UINT64_C(1) << 48)

/*
 * What no client can map, as on a PC: writes to the first half never pass the IOMMU, they are the
 * processor's message interrupts. The first page of the second half is where a function finds its
 * doorbell: 32 bits, because MSI capabilities may have no more.
 */
#define LAB_IOVA_MSI	 0xfee00000u
#define LAB_IOVA_BELL	 0xfef00000u
#define LAB_IOVA_MSI_END 0xff000000u

enum { IOMMU_READ = 1, IOMMU_WRITE = 2 };

/**
 * struct iommu - where the tables are.
 * @ram: the machine's memory; the tables begin at 1 MiB, below it is nothing that the lab needs.
 * @free: numbers of pages that are no table now; @limbo: of those that QEMU may still be looking
 *	at, until it was told to forget.
 */
struct iommu {
	uint8_t *ram;
	uint32_t *free, *limbo;
	unsigned int num_free, num_limbo;
	unsigned int invalidate_reg, fault_reg;
	uint64_t root, context;
	struct lab_timer timer; /* fault.c */
	unsigned int stage;
	bool reading;
};

/** iommu_init - take @size bytes of main memory as the place for tables, and make the first. */
int iommu_init(struct lab *lab, void *ram, size_t size);

/** iommu_setup - turn translation on. From now on nothing is mapped for any function. */
int iommu_setup(struct lab *lab);

/** iommu_add_func - give a function its own map, empty. */
int iommu_add_func(struct lab_func *f);

/**
 * iommu_map - map [@iova, @iova + @size), which is not mapped, to @gpa on.
 * @prot: IOMMU_READ and IOMMU_WRITE, from the device's point of view.
 * Return: 0, or -ENOSPC with nothing mapped.
 */
int iommu_map(struct lab_func *f, uint64_t iova, uint64_t gpa, uint64_t size, unsigned int prot);

/** iommu_unmap - take a range out of the tables. QEMU may know it until iommu_invalidate(). */
void iommu_unmap(struct lab_func *f, uint64_t iova, uint64_t size);

/** iommu_invalidate - let QEMU forget what it remembers of the function's map, then call @done. */
void iommu_invalidate(struct lab_func *f, void (*done)(const struct qtest_op *op, uint64_t value),
		      void *owner);

/* fault.c: what the IOMMU has stopped */

/** fault_init - make the timer. */
int fault_init(struct lab *lab);

/**
 * fault_suspect - something has happened that can make a device access memory: look for faults
 * soon. There is nothing to wait for, the IOMMU's own interrupt goes to a processor that sleeps.
 */
void fault_suspect(struct lab *lab);

#endif
