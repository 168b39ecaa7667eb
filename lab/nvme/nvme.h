/* SPDX-License-Identifier: MIT */
/*
 * nvme.h: a software NVMe controller, and what its files have to say to each other.
 *
 * One thread does everything: it looks at the doorbells, which are memory that it shares with the
 * client, executes what it finds there, and between that looks after its sockets (server.c). So
 * there are no locks, and what a message has taken away, such as mapped memory, is not in use.
 *
 *	vfu.c     messages of the client	    admin.c	admin commands
 *	pcicfg.c  configuration space		    identify.c	Identify
 *	regs.c	  registers, enable, reset	    feature.c	features
 *	queue.c	  doorbells, queues, completions    log.c	log pages, events
 *	held.c	  commands that wait
 *	irq.c	  eventfds			    io.c	reads, writes and the like
 *	dma.c	  the client's memory		    prp.c, sgl.c	where a command's data are
 *	ns.c	  namespaces and their blocks	    fault.c	which fault meets which command
 */
#ifndef LAB_NVME_H
#define LAB_NVME_H

#include "dma.h"
#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NVME_PAGE	   4096u
#define NVME_IO_QUEUES	   127u /* at most; queue 0 is the admin queue */
#define NVME_QUEUES	   (NVME_IO_QUEUES + 1)
#define NVME_NAMESPACES	   32u
#define NVME_MDTS_MAX	   8u /* 1 MiB */
#define NVME_SEGS	   ((1u << NVME_MDTS_MAX) + 1)
#define NVME_AERS	   4u
#define NVME_FAULTS	   32u
#define NVME_HELD	   4096u
#define NVME_ERRORS	   64u
#define NVME_FUSED_BLOCKS  16u /* that a fused compare and write can have */

/* BAR 0: registers, doorbells, the MSI-X table and its pending bits, a page each. */
#define NVME_BAR_SIZE	   0x4000u
#define NVME_BAR_DOORBELLS 0x1000u
#define NVME_BAR_TABLE	   0x2000u
#define NVME_BAR_PBA	   0x3000u
#define NVME_CONFIG_SIZE   4096u
#define NVME_MSIX_CAP	   0x50
#define NVME_EXP_CAP	   0x60
#define NVME_PM_CAP	   0x40

/** struct nvme_options - what the person who starts a controller can choose. */
struct nvme_options {
	uint64_t size;	    /* of each namespace, in bytes */
	const char *file;   /* backing file; NULL: memory, or nothing if @null */
	bool null;	    /* reads leave memory as it is, writes go nowhere */
	unsigned int block; /* 512 or 4096 */
	unsigned int namespaces;
	unsigned int queues;   /* pairs of I/O queues */
	unsigned int entries;  /* of a queue, at most */
	unsigned int mdts;     /* as in Identify: 4 KiB << mdts are the most a command can move */
	bool trap;	       /* doorbells cannot be mapped: each is a message */
	bool no_fused, no_sgl; /* it does not know them */
};

struct nvme_sq {
	bool live;
	uint16_t id, cqid;
	uint32_t size, head;
	uint32_t tail; /* as last believed */
	uint32_t bad;  /* the doorbell value that was complained about, plus one */
	uint64_t base;
	struct nvme_dma_hint hint;
	bool fused; /* @first is there, and waits for its second half */
	struct nvme_sqe first;
};

struct nvme_cq {
	bool live, ien, phase;
	bool signal; /* completions were posted that want an interrupt */
	uint16_t id, vector;
	uint32_t size, head, tail, bad;
	unsigned int users; /* submission queues */
	uint64_t base;
	struct nvme_dma_hint hint;
};

/* What is to become of a command that is not completed at once. */
enum nvme_held_state {
	NVME_HELD_LOST, /* swallowed: nothing */
	NVME_HELD_LATE, /* it is executed when it is due */
	NVME_HELD_MIX,	/* it is done, and waits for others to be completed out of order */
	NVME_HELD_FULL, /* it is done, and waits for room in its completion queue */
};

struct nvme_held {
	enum nvme_held_state state;
	uint16_t sqid, status;
	uint32_t dw0;
	unsigned int quirks;
	uint64_t due_ns;
	bool pair; /* @cmd is the first half of a fused operation, of which @second is the other */
	struct nvme_sqe cmd, second;
};

/* What is wrong with a completion. */
enum {
	NVME_QUIRK_NO_IRQ = 1,
	NVME_QUIRK_CID = 2,
	NVME_QUIRK_PHASE = 4,
	NVME_QUIRK_TWICE = 8,
};

enum nvme_fault_kind {
	NVME_FAULT_STATUS,
	NVME_FAULT_TIMEOUT,
	NVME_FAULT_LATE,
	NVME_FAULT_REORDER,
	NVME_FAULT_LOST_IRQ,
	NVME_FAULT_CID,
	NVME_FAULT_PHASE,
	NVME_FAULT_TWICE,
	NVME_FAULT_KINDS,
};

/** struct nvme_fault - commands that match meet it; all of the conditions must hold. */
struct nvme_fault {
	enum nvme_fault_kind kind;
	bool admin;
	int opcode;	      /* -1: any */
	int qid;	      /* -1: any */
	uint32_t nsid;	      /* 0: any */
	uint64_t first, last; /* blocks that it must touch */
	bool lba;
	uint64_t value;		      /* status, milliseconds or how many to mix */
	uint64_t after, every, count; /* skip so many; one of so many; so often; count 0: always */
	uint64_t seen, met;
};

struct nvme_ns {
	bool active, changed;
	bool shared; /* its blocks are a file's */
	uint64_t blocks;
	uint8_t *mem; /* NULL: null backing */
	uint64_t bytes;
};

struct nvme_event {
	bool pending;
	bool sent; /* and its log page not read since */
	uint8_t info, log;
};

struct nvme_error {
	uint64_t count;
	uint16_t sqid, cid, status, where;
	uint64_t lba;
	uint32_t nsid;
};

struct nvme_stats {
	uint64_t admin[256], io[256];
	uint64_t doorbells; /* by message */
	uint64_t interrupts;
	uint64_t stray;		  /* DMA to where nothing is mapped */
	uint64_t late_suppressed; /* late commands that would have moved data, and may not any more
				   */
	uint64_t faults[NVME_FAULT_KINDS];
	uint64_t clients, refused, resets;
};

struct nvme {
	struct nvme_options opt;
	struct nvme_dma dma;
	struct nvme_dma_hint data; /* where data were last */
	struct nvme_stats stats;

	/* pcicfg.c */
	uint8_t config[NVME_CONFIG_SIZE];
	uint8_t msix_table[16 * NVME_QUEUES];

	/* regs.c */
	uint64_t cap, asq, acq;
	uint32_t cc, csts, aqa, intm;
	bool running; /* doorbells are looked at */

	/* queue.c */
	volatile uint32_t *doorbell; /* the shared page */
	int doorbell_fd;
	uint64_t shadow, event_index; /* 0: none */
	struct nvme_dma_hint shadow_hint, event_hint;
	struct nvme_sq sq[NVME_QUEUES];
	struct nvme_cq cq[NVME_QUEUES];
	unsigned int queues; /* one more than the highest that is live */
	bool signal;	     /* of any completion queue */
	struct nvme_held *held;
	unsigned int num_held;

	/* irq.c */
	int msix_fd[NVME_QUEUES], intx_fd;
	unsigned int msix_on; /* how many are connected */
	bool intx_masked;

	/* feature.c, log.c, ns.c */
	uint32_t feature[NVME_FEATS];
	uint32_t vector_config[NVME_QUEUES];
	struct nvme_ns ns[NVME_NAMESPACES];
	struct nvme_event event[NVME_EVENTS];
	uint16_t aer_cid[NVME_AERS];
	unsigned int aers;
	struct nvme_error errors[NVME_ERRORS];
	uint64_t error_count;
	uint8_t health; /* Critical Warning */

	/* fault.c */
	struct nvme_fault fault[NVME_FAULTS];
	unsigned int num_faults;
	bool all_ones, config_answers, never_ready;
	uint32_t random;
};

/* ns.c, main entry points */

/** nvme_new - make a controller; NULL after one line that says why not. */
struct nvme *nvme_new(const struct nvme_options *opt);
void nvme_free(struct nvme *nvme);

/** nvme_ns_resize - change a namespace's size and say so. Return: 0, or a negative errno. */
int nvme_ns_resize(struct nvme *nvme, uint32_t nsid, uint64_t bytes);

/** nvme_ns_show - remove a namespace, or bring it back, and say so. */
int nvme_ns_show(struct nvme *nvme, uint32_t nsid, bool active);

/** nvme_ns_zero - make blocks read as zeroes. */
void nvme_ns_zero(const struct nvme *nvme, struct nvme_ns *ns, uint64_t block, uint64_t count);

/** nvme_ns_of - the active namespace of this number, or NULL. */
static inline struct nvme_ns *nvme_ns_of(struct nvme *nvme, uint32_t nsid)
{
	if (nsid - 1 >= nvme->opt.namespaces || !nvme->ns[nsid - 1].active)
		return NULL;
	return &nvme->ns[nsid - 1];
}

/* pcicfg.c */

void nvme_config_init(struct nvme *nvme);
void nvme_config_read(struct nvme *nvme, uint64_t off, uint32_t count, uint8_t *data);
void nvme_config_write(struct nvme *nvme, uint64_t off, uint32_t count, const uint8_t *data);

/** nvme_decodes - whether BAR 0 answers: memory decoding is on and the function is in D0. */
bool nvme_decodes(const struct nvme *nvme);
bool nvme_masters(const struct nvme *nvme);

/* regs.c */

void nvme_bar_read(struct nvme *nvme, uint64_t off, uint32_t count, uint8_t *data);
void nvme_bar_write(struct nvme *nvme, uint64_t off, uint32_t count, const uint8_t *data);

/** nvme_reset - as by CC.EN = 0: no queues, no outstanding commands. */
void nvme_reset(struct nvme *nvme);

/** nvme_function_reset - what is left of the controller after function level reset. */
void nvme_function_reset(struct nvme *nvme);

/** nvme_fatal - CSTS.CFS: it can do nothing any more, until it is reset. */
void nvme_fatal(struct nvme *nvme);

/** nvme_update - find out whether queues are to be looked at, after anything of that changed. */
void nvme_update(struct nvme *nvme);

/* queue.c */

/** nvme_new_doorbells - a page for the next client, which the last one does not have. */
int nvme_new_doorbells(struct nvme *nvme);

/** nvme_poll - one look at all queues. Return: how many commands and completions there were. */
unsigned int nvme_poll(struct nvme *nvme);

/** nvme_rest - polling will pause: ask for doorbells where they are optional. */
void nvme_rest(struct nvme *nvme);

/** nvme_open_sq, nvme_open_cq - start a queue at its beginning; the arguments are checked. */
void nvme_open_sq(struct nvme *nvme, uint16_t id, uint16_t cqid, uint32_t size, uint64_t base);
void nvme_open_cq(struct nvme *nvme, uint16_t id, uint32_t size, uint64_t base, bool ien,
		  uint16_t vector);
void nvme_close_sq(struct nvme *nvme, uint16_t id);
void nvme_close_cq(struct nvme *nvme, uint16_t id);

/** nvme_complete - post a completion, or keep it until there is room. */
void nvme_complete(struct nvme *nvme, uint16_t sqid, uint16_t cid, uint16_t status, uint32_t dw0,
		   unsigned int quirks);

/** nvme_can_complete - whether a completion of this submission queue's commands has room. */
bool nvme_can_complete(struct nvme *nvme, uint16_t sqid);

/** nvme_execute - execute a command. Return: its status, or NVME_LATER. */
uint16_t nvme_execute(struct nvme *nvme, uint16_t sqid, const struct nvme_sqe *cmd, uint32_t *dw0);

/** nvme_pair - execute a fused operation and complete both of its halves. */
void nvme_pair(struct nvme *nvme, uint16_t sqid, const struct nvme_sqe *first,
	       const struct nvme_sqe *second, const unsigned int quirks[2]);

/** nvme_doorbell - the value of a doorbell, whatever it is. */
uint32_t nvme_doorbell(struct nvme *nvme, unsigned int slot);

/** nvme_doorbell_message - a message has rung the doorbell at byte @off of the page. */
void nvme_doorbell_message(struct nvme *nvme, uint32_t off, uint32_t value);

/* held.c */

/** nvme_hold - keep a command. Return: false when too many are kept. */
bool nvme_hold(struct nvme *nvme, const struct nvme_held *held);

/** nvme_held_run - complete what is due. Return: how many. */
unsigned int nvme_held_run(struct nvme *nvme);

/** nvme_held_abort - Abort. Return: whether the command was found, and is completed. */
bool nvme_held_abort(struct nvme *nvme, uint16_t sqid, uint16_t cid);

/** nvme_held_drop - a submission queue is deleted; @answer: its commands are aborted. */
void nvme_held_drop(struct nvme *nvme, int sqid, bool answer);

/** nvme_next_due - milliseconds until a command is due, -1 when there is none. */
int nvme_next_due(const struct nvme *nvme);

/* irq.c */

/** nvme_irq_connect - @index is VFIO's; the descriptor becomes the controller's. */
int nvme_irq_connect(struct nvme *nvme, unsigned int index, unsigned int vector, int fd);
void nvme_irq_disconnect(struct nvme *nvme, unsigned int index);
void nvme_irq_trigger(struct nvme *nvme, unsigned int index, unsigned int vector);
void nvme_intx_mask(struct nvme *nvme, bool masked);

/** nvme_irq_pump - signal what has been posted since the last time. */
void nvme_irq_pump(struct nvme *nvme);
bool nvme_intx_level(struct nvme *nvme);

/* prp.c */

struct nvme_seg {
	uint8_t *at;
	uint32_t size;
};

/**
 * nvme_prp - find the memory of a command's data.
 * @prot: NVME_DMA_READ or NVME_DMA_WRITE, what the device wants to do.
 * @segs: at least NVME_SEGS.
 * @count: how many were found.
 *
 * Return: a status.
 */
uint16_t nvme_prp(struct nvme *nvme, const struct nvme_sqe *cmd, uint32_t size, uint32_t prot,
		  struct nvme_seg *segs, unsigned int *count);

/** nvme_give - copy an answer to where the command wants it. Return: a status. */
uint16_t nvme_give(struct nvme *nvme, const struct nvme_sqe *cmd, const void *data, uint32_t size);

/* sgl.c */

/** nvme_sgl - the same for data that an SGL describes. */
uint16_t nvme_sgl(struct nvme *nvme, const struct nvme_sqe *cmd, uint32_t size, uint32_t prot,
		  struct nvme_seg *segs, unsigned int *count);

/* admin.c and io.c: they execute a command and return its status, or NVME_LATER. */
#define NVME_LATER 0xffffu /* it is not complete */
uint16_t nvme_admin(struct nvme *nvme, const struct nvme_sqe *cmd, uint32_t *dw0);
uint16_t nvme_io(struct nvme *nvme, const struct nvme_sqe *cmd);
uint16_t nvme_identify(struct nvme *nvme, const struct nvme_sqe *cmd);
uint16_t nvme_get_feature(struct nvme *nvme, const struct nvme_sqe *cmd, uint32_t *dw0);
uint16_t nvme_set_feature(struct nvme *nvme, const struct nvme_sqe *cmd, uint32_t *dw0);
void nvme_default_features(struct nvme *nvme);

/* log.c */

uint16_t nvme_get_log(struct nvme *nvme, const struct nvme_sqe *cmd);
uint16_t nvme_async_event(struct nvme *nvme, const struct nvme_sqe *cmd);
void nvme_raise(struct nvme *nvme, unsigned int type, uint8_t info, uint8_t log);
void nvme_log_error(struct nvme *nvme, uint16_t sqid, const struct nvme_sqe *cmd, uint16_t status);

/* fault.c */

/**
 * nvme_fault_spec - do what a fault's specification says.
 * @why: one line about what is wrong with it.
 *
 * Return: 0, or -EINVAL.
 */
int nvme_fault_spec(struct nvme *nvme, const char *spec, char *why, size_t why_size);

/** struct nvme_met - what a command has met. */
struct nvme_met {
	bool status, lost, late, mix;
	uint16_t code;
	uint64_t late_ms;
	unsigned int quirks;
};
void nvme_fault_meet(struct nvme *nvme, uint16_t sqid, const struct nvme_sqe *cmd,
		     struct nvme_met *met);

/** nvme_fault_window - how many commands are to be mixed; 0: none. */
unsigned int nvme_fault_window(const struct nvme *nvme);
extern const char *const nvme_fault_names[NVME_FAULT_KINDS];

/** nvme_opcode_name - a command's name, or NULL. */
const char *nvme_opcode_name(bool admin, uint8_t opcode);

#endif
