/* SPDX-License-Identifier: MIT */
/*
 * lab.h: the bridge's view of one lab machine: QEMU's PCI functions and who uses them.
 *
 * Everything here belongs to the bridge's one thread, which never waits: register accesses are
 * queued to QEMU and completed later, in order, so that the order of submission is the order of
 * effect.
 */
#ifndef LAB_LAB_H
#define LAB_LAB_H

#include <sys/types.h>

#include "alog.h"
#include "iommu.h"
#include "msi.h"
#include "qmp.h"
#include "qtest.h"
#include "stat.h"
#include "util.h"

#define LAB_NUM_BARS	  6
#define LAB_ID_MAX	  64
#define LAB_GSI_MAX	  64

/* Region and interrupt numbers of vfio-pci, <linux/vfio.h>. */
#define LAB_REGION_CONFIG 7
#define LAB_NUM_REGIONS	  9
#define LAB_NUM_IRQS	  5

struct lab;
struct lab_dimm;
struct lab_map;
struct dma_job;
struct letgo;
struct vfu_session;

/** struct lab_bar - one base address register, as QEMU has it and as the client sees it. */
struct lab_bar {
	bool io;
	bool mem64;    /* the next register holds the upper half */
	uint64_t size; /* bytes, 0: not implemented */
	uint64_t addr; /* where the lab placed it */
};

/** struct lab_func - one PCI function, served on one socket. */
struct lab_func {
	struct lab *lab;
	char id[LAB_ID_MAX];
	char model[LAB_ID_MAX];
	uint8_t bus, slot, fn;
	uint16_t vendor, device;
	uint32_t class_code; /* base class, subclass, programming interface */

	/* Configuration space: config.c */
	uint16_t config_size;
	uint16_t command; /* as the client sees it */
	uint64_t ecam;
	struct lab_bar bar[LAB_NUM_BARS];
	uint32_t bar_reg[LAB_NUM_BARS]; /* as the client wrote and reads them */
	uint32_t bar_mask[LAB_NUM_BARS], bar_type[LAB_NUM_BARS];
	uint8_t cap_pm, cap_exp, cap_msi, cap_msix;
	uint8_t msi_len;
	bool has_flr;
	bool d3; /* not in D0: its BARs do not answer */
	bool resetting;

	/* The interrupt line: intx.c */
	uint8_t pin; /* 1 is INTA, 0: none */
	bool irq_masked;
	int gsi; /* -1: not known, looked at on every change */
	int irq_fd;
	enum lab_irq_mode irq_mode;
	struct lab_msi msi;

	/* Memory: dma.c, iommu.c */
	struct lab_map *maps;
	unsigned int num_maps;
	unsigned int dma_jobs; /* begun and not done; meanwhile its clients wait */
	uint64_t iova_table;
	struct lab_stat *stat;

	bool removed; /* pulled out: hotplug.c */

	/* The socket: vfu_server.c */
	unsigned int num_sessions;
	struct lab_source listen;
	char *path;
	struct vfu_session *session; /* who uses the function */
	size_t inflight_bytes;
	unsigned int inflight_ops;
};

/** struct lab - one machine. */
struct lab {
	const char *dir;
	int epfd;
	pid_t qemu;
	struct qtest qt;
	struct qmp qmp;
	struct alog log;
	struct lab_func *funcs;
	unsigned int num_funcs;
	bool gsi_level[LAB_GSI_MAX];
	unsigned int gsi_stuck[LAB_GSI_MAX];
	struct vfu_session *sessions; /* all of them, refused ones too */
	struct vfu_session *dead_sessions;

	struct iommu iommu;
	uint64_t fault_addr; /* of the record that is being read */
	struct lab_dimm *dimms;
	struct dma_job *dma_first, *dma_last;
	struct letgo *letgo; /* files that QEMU still has mapped */
	struct lab_timer letgo_timer;
	unsigned int nudges;
	bool nudging;
};

/* config.c: configuration space as vfio-pci shows it */

/** config_setup - learn the capabilities of a placed function; only at the start. */
int config_setup(struct lab_func *f);

/**
 * config_write_command - give QEMU the command register that client and interrupt state add up to.
 * @done: called when QEMU has it, with op->owner = @f; or NULL.
 */
void config_write_command(struct lab_func *f, qtest_done_fn done);

/**
 * config_overlay - which bits of a read the lab answers itself.
 * @off, @width: a naturally aligned access of at most 4 bytes.
 * @mask, @bits: the value to show is (real & ~mask) | bits.
 */
void config_overlay(const struct lab_func *f, unsigned int off, unsigned int width, uint32_t *mask,
		    uint32_t *bits);

/**
 * config_write - a client's write to configuration space.
 * @off, @width: a naturally aligned access of at most 4 bytes.
 * @pass: what is to be written to the real register, bytes of @pass_mask; 0 bytes: nothing.
 * Return: true when the write asks for a function level reset, which the caller starts.
 */
bool config_write(struct lab_func *f, unsigned int off, unsigned int width, uint32_t value,
		  uint32_t *pass, uint32_t *pass_mask);

/** config_decodes - whether the BAR answers: decoding on, and in D0. */
bool config_decodes(const struct lab_func *f, const struct lab_bar *bar);

/* intx.c: the interrupt line */

/** intx_level - QEMU's line @gsi has changed. */
void intx_level(struct qtest *qt, unsigned int gsi, bool level);

/** intx_set_fd - signal @fd (owned from now on) from now on, unmasked; -1: no more. */
void intx_set_fd(struct lab_func *f, int fd);
void intx_set_masked(struct lab_func *f, bool masked);

/** intx_disabled - what the real command register's Interrupt Disable bit shall be. */
bool intx_disabled(const struct lab_func *f);

/** intx_signal - one interrupt to the client, without masking. */
void intx_signal(struct lab_func *f);

/** intx_apply - write the command register, then see whether the function asserts already. */
void intx_apply(struct lab_func *f);

/** config_forget - what the client wrote to the lab's own registers is as after power-on. */
void config_forget(struct lab_func *f);

/* reset.c */

/**
 * reset_start - reset the function, put its configuration back, then call @done.
 * @done: called with @arg and 0 or a negative errno; may be called before this returns.
 */
void reset_start(struct lab_func *f, void (*done)(void *arg, int err), void *arg);

/* hotplug.c: surprise removal */

/**
 * hotplug_command - remove or add a function.
 * @line: "remove ID" or "add ID".
 * @fd: where the answer goes, one line of JSON, when it is done; owned from now on.
 */
void hotplug_command(struct lab *lab, const char *line, int fd);

/* pci.c: the start */

/** pci_setup - turn on ECAM, place the BARs of every function in lab->funcs, read them. */
int pci_setup(struct lab *lab);

/** pci_ecam - the address of a function's configuration space. */
uint64_t pci_ecam(unsigned int bus, unsigned int slot, unsigned int fn);

#endif
