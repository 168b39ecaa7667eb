/* SPDX-License-Identifier: MIT */
/*
 * msi.h: message interrupts. A function's messages go to a doorbell of its own, a device of QEMU's
 * that the lab adds (bell.c) and that signals an eventfd of the lab's for each vector; the lab
 * signals the client's. Capability and table are the lab's to program; the client sees them as
 * vfio-pci shows them.
 */
#ifndef LAB_MSI_H
#define LAB_MSI_H

#include "util.h"

struct lab;
struct lab_func;
struct qmp;

#define LAB_MAX_VECTORS 128u /* of one function; the doorbell itself could have 256 */
#define LAB_MSI_CAP_MAX 24u

/** enum lab_irq_mode - which kind of interrupt the client has connected: one at a time. */
enum lab_irq_mode { LAB_IRQ_NONE, LAB_IRQ_INTX, LAB_IRQ_MSI, LAB_IRQ_MSIX };

/** struct lab_vector - @bell: the lab's eventfd, rung by QEMU. @client: the client's, or -1. */
struct lab_vector {
	struct lab_source bell;
	struct lab_func *f;
	int client;
};

/**
 * struct lab_msi - message interrupts of a function.
 * @num_msi, @num_msix: vectors, 0: it has no such capability.
 * @used: MSI vectors that are enabled, a power of two.
 * @cap: the MSI capability as the client wrote it.
 * @table_bar, @table: where the MSI-X table is, of @table_len bytes.
 */
struct lab_msi {
	unsigned int num_msi, num_msix, used;
	struct lab_vector *vectors;
	uint8_t cap[LAB_MSI_CAP_MAX];
	uint8_t table_bar;
	uint32_t table, table_len;
};

/** bell_setup - give a doorbell to each function that can use one; only at the start. */
int bell_setup(struct lab *lab, struct qmp *qmp);

/** msi_num - how many vectors the function has of a kind. */
unsigned int msi_num(const struct lab_func *f, enum lab_irq_mode mode);

/**
 * msi_connect - connect @count vectors from @start on to @fds, owned from now on.
 * @fds: NULL disconnects them. The caller has checked that there are so many.
 */
void msi_connect(struct lab_func *f, enum lab_irq_mode mode, unsigned int start, unsigned int count,
		 const int *fds);

/** msi_disable - disconnect and turn off what there is. */
void msi_disable(struct lab_func *f);

/** msi_trigger - signal the client as if the device had. */
void msi_trigger(struct lab_func *f, unsigned int vector);

/** msi_restore - program the device again, after a reset. */
void msi_restore(struct lab_func *f);

/** msi_is_table - whether an access of the client's is to the MSI-X table, which is not its own. */
bool msi_is_table(const struct lab_func *f, unsigned int bar, uint64_t off);

/** msi_overlay - what the client sees of the MSI capability; as config_overlay(). */
void msi_overlay(const struct lab_func *f, unsigned int off, unsigned int width, uint32_t *mask,
		 uint32_t *bits);

/** msi_config_write - a client's write to the MSI capability. Return: bytes that QEMU shall get. */
uint32_t msi_config_write(struct lab_func *f, unsigned int off, unsigned int width, uint32_t value);

#endif
