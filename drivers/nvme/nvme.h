/* SPDX-License-Identifier: MIT */
/*
 * The NVMe driver, inside. One controller, a pair of I/O queues for each lane, up to 16 namespaces.
 *
 *	nvme.c		callbacks		namespaces.c	units that come and go
 *	steps.c		one step at a time	events.c	asynchronous events
 *	bring_up.c	from any state to ready	timeout.c	what takes too long
 *	queue.c		rings and doorbells	recover.c	queues and controller anew
 *	admin.c		admin commands		status.c	what a status means
 *	io.c		the way of a request	fused.c		compare and write
 *	health.c	a report
 *
 * The device is trusted no more than a client is: what it says is checked, and whatever is wrong
 * ends in a reset, at most.
 *
 * A pair is its lane's: requests, completions, and whether they take too long. All else is lane
 *0's, the admin queue above all: a lane that finds something wrong tells lane 0, which parks the
 *others when it has to touch what is theirs. Lane 0 has a pair, too, and often no other lane is
 *there.
 */
#ifndef NVME_H
#define NVME_H

#include <auriga/block.h>
#include <auriga/driver.h>

#include "regs.h"

#define likely(x)	  __builtin_expect(!!(x), 1)
#define unlikely(x)	  __builtin_expect(!!(x), 0)

#define NVME_ENTRIES_MAX  1024u
#define NVME_ADMIN	  32u /* entries */
#define NVME_NAMESPACES	  16u /* units that a device can have */
#define NVME_TRANSFER_MAX (1u << 20)
#define NVME_LIST_BYTES	  2048u /* PRP entries for that many bytes: never straddles a page */
#define NVME_TRIES	  3u
#define NVME_UNSENT	  UINT8_MAX /* nvme_slot.tries: it was never sent */
#define NVME_AERS	  4u
#define NVME_PATHS	  8u
#define NVME_DEPTH_MAX	  1023u /* of all pairs: what the arena has lists for */
#define NVME_BUSY	  0x10000u

/**
 * struct nvme_queue - a submission queue and its completion queue.
 * @tail, @rung: next free entry of the SQ; what the device was told.
 * @head, @phase: next entry of the CQ, and the phase that it has when it is new.
 * @first: what CQE_QUEUE() is at least: the queue's identifier << 16; less than @size more.
 * @shadow: doorbells in memory: SQ, CQ; NULL: none. @event: up to where the device looks.
 * @at: offsets of the doorbell registers.
 */
struct nvme_queue {
	struct nvme_sqe *sq;
	struct nvme_cqe *cq;
	uint32_t tail, rung;
	uint32_t head, phase;
	uint32_t size;
	uint32_t first;
	struct au_regs *doorbells;
	uint32_t *shadow[2], *event[2];
	uint32_t at[2];
	struct au_dma sq_dma, cq_dma;
};

/**
 * struct nvme_slot - a command that the device has, or may have.
 * @req: what it is for.
 * @key: the identifier of the next command here; with NVME_BUSY, of the one under way. It changes
 *	with each, so that an old completion is not taken for a new one.
 * @since: when it was first seen, in ms: 0: not yet.
 * @tries: how often it was sent again.
 * @aborting: an Abort was sent for it.
 * @half: NVME_COMPARE or NVME_WRITE: it is a half of a fused operation, whose other half has the
 *	slot nvme_half.other and the same request; with NVME_ANSWERED when it has been answered.
 */
struct nvme_slot {
	struct au_request *req;
	uint32_t key;
	uint32_t since;
	union {
		struct {
			uint8_t tries;
			bool aborting;
			bool late; /* it was too slow at least once */
			uint8_t half;
		};
		uint32_t care; /* all of these */
	};
};

enum { NVME_COMPARE = 1, NVME_WRITE = 2, NVME_ANSWERED = 4 };

/** struct nvme_half - more about a slot with a half of a fused operation. @status: its answer. */
struct nvme_half {
	uint16_t other;
	uint16_t status;
};

struct nvme;

/**
 * struct nvme_path - a pair of I/O queues, and the requests that go through it.
 * @mask: of a command's identifier: its slot.
 * @live: commands may be sent. Changed by its lane, or while that is parked, as all of this is.
 * @odd: gone, a namespace is leaving, or @pair_waits: look closer.
 * @sgl: SGLS_NONE, SGLS_ANY, SGLS_DWORDS.
 * @waiting: for a slot, linked by driver[0].
 * @pair_waits: the first that waits wants two slots.
 * @completed: batches.
 * @reaped: since the interrupt: it was ours.
 * @number: of its lane; its queues have the number after that.
 * @slow_clock: it was last seen idle. @clock_completed: @completed at the last tick.
 * @notice: NOTICE_*, for lane 0. @wrong: why, or NULL. Both are atomic.
 */
struct nvme_path {
	struct nvme_queue io;
	uint32_t free_count;
	uint32_t mask;
	bool live;
	bool odd;
	bool reaped;
	bool slow_clock;
	uint32_t page_mask;
	uint32_t sgl;
	struct au_dma lists;
	struct au_request *waiting, **waiting_end;
	uint64_t completed;

	struct nvme *nvme;
	uint32_t number;
	uint32_t vector;
	struct au_lane *lane;
	struct au_timer *clock;
	uint64_t clock_completed;
	uint32_t notice;
	const char *wrong;
	bool pair_waits;
	struct nvme_half halves[NVME_ENTRIES_MAX];
	uint16_t free[NVME_ENTRIES_MAX];
	struct nvme_slot slots[NVME_ENTRIES_MAX];
};

#define NOTICE_SLOW  1u /* something is under way for long */
#define NOTICE_LATE  2u /* ... for too long */
#define NOTICE_WRONG 4u /* the device did what it must not */

struct nvme_ns;

/** struct nvme_way - of a namespace's requests to a pair: the context of the lane's queue. */
struct nvme_way {
	struct nvme_path *path;
	uint64_t word; /* the first of its commands: NSID << 32 */
	uint32_t shift;
	struct nvme_ns *ns;
};

/** struct nvme_ns - a namespace; its unit, if @block. */
struct nvme_ns {
	struct nvme *nvme;
	struct nvme_way way[NVME_PATHS];
	uint32_t shift;
	uint32_t nsid;
	bool leaving; /* its unit goes when no command of it is under way */
	bool listed;
	struct au_block *block;
	uint64_t bytes;
	uint8_t id[NS_ID_SIZE];
};

/** struct nvme_command - an admin command under way. */
struct nvme_command {
	uint32_t key;
	uint32_t since;
	bool patient; /* it is answered when something happens */
	void (*done)(struct nvme *n, uint16_t status, uint32_t dw0);
};

/**
 * struct nvme_step - a thing to do, one after another.
 * @limit_ms: 0: what the controller asks for, CAP.TO.
 * @begin: start it; NVME_SKIP: there is nothing to do.
 * @check: whether it is done; NULL: when the admin command that begin() sent is answered.
 * @take: the answer, its data in nvme.answer; NULL: any status but success is a failure.
 * NVME_REPEAT: begin once more.
 */
struct nvme_step {
	const char *name;
	uint32_t limit_ms;
	int (*begin)(struct nvme *n);
	int (*check)(struct nvme *n);
	int (*take)(struct nvme *n, uint16_t status, uint32_t dw0);
};

enum { NVME_SKIP = 1, NVME_REPEAT = 2, NVME_AGAIN = 3 };

struct nvme {
	struct nvme_path path[NVME_PATHS]; /* what each request needs; lane 0's first */
	const struct nvme_step *step;	   /* NULL: none */

	struct au_device *dev;
	struct au_regs *regs;
	struct nvme_queue admin;
	struct nvme_command commands[NVME_ADMIN];
	struct nvme_ns ns[NVME_NAMESPACES];

	/* parameters */
	uint32_t depth;
	uint32_t timeout_ms;
	bool want_shadow, want_sgl;
	bool irqs;	   /* completions interrupt */
	bool reaped;	   /* an admin completion, since the interrupt: it was ours */
	uint32_t lanes;	   /* that can be used */
	uint32_t paths;	   /* that the controller has queues for; 0: it was not asked yet */
	uint32_t at, last; /* pairs that a list of steps is about */

	/* of the controller */
	uint64_t cap;
	uint32_t page_shift, page_mask;
	uint32_t version;
	uint32_t limit_ms;
	uint32_t max_transfer;
	uint32_t abort_limit, aer_limit;
	uint32_t namespaces_max;
	bool can_shadow, can_discard, can_zero, can_verify, cache, tells_namespaces;
	uint32_t compare_blocks; /* that a fused compare and write can have; 0: it has none */
	char model[41], serial[21];
	struct au_dma data; /* what Identify and the like write */
	struct au_dma shadow, event;

	/* steps */
	void (*steps_done)(struct nvme *n, int err);
	uint64_t deadline_ms;
	uint64_t looked_ms; /* whether it has failed meanwhile */
	bool begun, answered;
	struct nvme_command *sent, *asked; /* the last; the one that the step waits for */
	uint16_t answer_status;
	uint32_t answer_dw0;
	struct au_timer *pace;

	/* namespaces, events, recovery */
	uint32_t scan[NVME_NAMESPACES];
	unsigned int scan_count, scan_next;
	bool rescan, rescan_again, leaving;
	uint32_t logs; /* a bit for each log page to be read */
	uint32_t log;
	bool warned;		  /* of the health, by an event */
	struct au_report *report; /* that somebody waits for; NULL: nobody */
	unsigned int aers, aborts;
	struct au_work *trouble;   /* other lanes have noticed something */
	bool up;		   /* the controller is ready */
	uint64_t completed_before; /* the last reset */
	unsigned int fruitless;	   /* resets in a row */
	unsigned int resets;
	bool waits; /* within d0_entry() or d0_exit() */
	bool upset; /* ... and an answer was wrong */
	bool failed;
	bool gone; /* set from any thread */

	uint8_t answer[4096]; /* a copy of data, for take() */
};

/* The pairs that are used. */
#define nvme_each_path(n, p) \
	for (struct nvme_path *p = (n)->path; p < &(n)->path[(n)->paths]; (p)++)

/** nvme_is_gone - on any lane. */
static inline bool nvme_is_gone(const struct nvme *n)
{
	return __atomic_load_n(&n->gone, __ATOMIC_RELAXED);
}

/** nvme_set_odd - make all lanes look closer; any thread. */
static inline void nvme_set_odd(struct nvme *n, bool odd)
{
	for (unsigned int i = 0; i < NVME_PATHS; i++)
		__atomic_store_n(&n->path[i].odd, odd, __ATOMIC_RELAXED);
}

/* Numbers in what the device wrote. */
#define nvme_get16(p) ((uint16_t)((p)[0] | (p)[1] << 8))
#define nvme_get32(p) ((uint32_t)nvme_get16(p) | (uint32_t)nvme_get16((p) + 2) << 16)
#define nvme_get64(p) ((uint64_t)nvme_get32(p) | (uint64_t)nvme_get32((p) + 4) << 32)

/* queue.c */

/** nvme_queue_alloc - memory for @size entries, and what does not change. */
int nvme_queue_alloc(struct nvme *n, struct nvme_queue *q, uint32_t id, uint32_t size);
/** nvme_queue_reset - empty; the device must have let go of it. */
void nvme_queue_reset(struct nvme_queue *q);
/** nvme_queue_shadow - doorbells in memory from now on, or not. */
void nvme_queue_shadow(struct nvme *n, struct nvme_queue *q, bool on);

/** nvme_ring_shadowed - the slow half of nvme_ring(). */
void nvme_ring_shadowed(struct nvme_queue *q, unsigned int which, uint32_t value);

/** nvme_ring - tell the device: 0: the tail of the SQ, 1: the head of the CQ. */
static inline void nvme_ring(struct nvme_queue *q, unsigned int which, uint32_t value)
{
	au_dma_wmb();
	if (q->shadow[which])
		nvme_ring_shadowed(q, which, value);
	else
		au_post32(q->doorbells, q->at[which], value);
}

/** nvme_look - the end of the CQ's next entry. */
static inline uint64_t nvme_look(const struct nvme_queue *q)
{
	return __atomic_load_n(&q->cq[q->head].end, __ATOMIC_ACQUIRE);
}

/** nvme_new - whether the CQ has something new. */
static inline bool nvme_new(const struct nvme_queue *q)
{
	return CQE_PHASE(nvme_look(q)) == q->phase;
}

/* admin.c */

/** nvme_admin_send - send an admin command; @done is called, unless the controller is reset. */
int nvme_admin_send(struct nvme *n, struct nvme_sqe *cmd, bool patient,
		    void (*done)(struct nvme *n, uint16_t status, uint32_t dw0));
/** nvme_admin_reap - take completions. */
unsigned int nvme_admin_reap(struct nvme *n);
/** nvme_admin_reset - nothing is under way. */
void nvme_admin_reset(struct nvme *n);
/** nvme_admin_late - whether a command has had no answer for @limit_ms. */
bool nvme_admin_late(struct nvme *n, uint32_t now, uint32_t limit_ms);

/* steps.c */

/** nvme_steps_begin - begin a list of steps, which ends with one without name. */
void nvme_steps_begin(struct nvme *n, const struct nvme_step *steps,
		      void (*done)(struct nvme *n, int err));
/** nvme_steps_go - go on as far as it goes. */
void nvme_steps_go(struct nvme *n);
/** nvme_steps_wait - until they are done. In d0_entry() and d0_exit(). */
void nvme_steps_wait(struct nvme *n);
/** nvme_step_send - for begin(): send an admin command, whose answer ends the step. */
int nvme_step_send(struct nvme *n, struct nvme_sqe *cmd);

/* bring_up.c */

extern const struct nvme_step nvme_bring_up[], nvme_new_queues[], nvme_shut_down[];
/** nvme_csts - CSTS; 0 when the device is gone, which is then known. */
uint32_t nvme_csts(struct nvme *n);
/** nvme_stop_now - the last resort: disable the controller, and wait for it. */
void nvme_stop_now(struct nvme *n);

/* io.c */

void nvme_deliver(struct au_queue *queue, struct au_request *req);
/** nvme_poll - ring doorbells, take completions, go on with steps. Lane 0. */
unsigned int nvme_poll(void *context);
/** nvme_path_poll - the same for the pair of another lane. */
unsigned int nvme_path_poll(void *context);
/** nvme_idle - whether lane 0 may sleep. */
bool nvme_idle(void *context);
/** nvme_path_idle - whether the pair's lane may. */
bool nvme_path_idle(void *context);
/** nvme_io_reap - take completions of the path. */
unsigned int nvme_io_reap(struct nvme_path *p);
/** nvme_flying - how many requests are outstanding. Others parked. */
unsigned int nvme_flying(struct nvme *n);
/** nvme_io_resubmit - pairs that are not live are: send everything again that the device has
 * forgotten. */
void nvme_io_resubmit(struct nvme *n);
/** nvme_io_fail - everything ends with @status. */
void nvme_io_fail(struct nvme *n, int status);
/** nvme_io_drop - what only waits, of one namespace, ends. */
void nvme_io_drop(struct nvme *n, const struct nvme_ns *ns);
/** nvme_io_put - into the queue, where there is room: there are fewer slots than entries. */
void nvme_io_put(struct nvme_path *p, const struct nvme_way *way, struct nvme_slot *slot,
		 const struct au_request *req);
/** nvme_io_wait - the request waits for its slots, behind all others. */
void nvme_io_wait(struct nvme_path *p, struct au_request *req);
/** nvme_io_end - the device has let go of it: it is complete. */
void nvme_io_end(struct nvme_path *p, struct nvme_slot *slot, int status, uint16_t device_status);
/** nvme_io_odd - whether what is delivered needs a closer look, from now on. */
void nvme_io_odd(struct nvme_path *p);
/** nvme_slot_ns - whose command it is. */
static inline struct nvme_ns *nvme_slot_ns(const struct nvme_slot *slot)
{
	return ((struct nvme_way *)au_queue_context(au_request_queue(slot->req)))->ns;
}

/* fused.c */

/** nvme_pair_start - the first half has a slot: one for the second, and both into the queue. */
void nvme_pair_start(struct nvme_path *p, const struct nvme_way *way, struct nvme_slot *slot);
/** nvme_pair_answered - a half has been answered. Return: false: it had been already. */
bool nvme_pair_answered(struct nvme_path *p, struct nvme_slot *slot, uint16_t status);
/** nvme_pair_forgotten - the device has forgotten it: it ends, unless it was never sent. */
void nvme_pair_forgotten(struct nvme_path *p, struct nvme_slot *slot);
/** nvme_other_half - of a slot with a half. */
static inline struct nvme_slot *nvme_other_half(struct nvme_path *p, const struct nvme_slot *slot)
{
	return &p->slots[p->halves[slot - p->slots].other];
}

/* namespaces.c */

int nvme_list_begin(struct nvme *n);
int nvme_list_take(struct nvme *n, uint16_t status, uint32_t dw0);
int nvme_namespace_begin(struct nvme *n);
int nvme_namespace_take(struct nvme *n, uint16_t status, uint32_t dw0);
/** nvme_namespaces_leave - let units go of which no command is under way. */
void nvme_namespaces_leave(struct nvme *n);

/* events.c */

/** nvme_events_begin - ask to be told. */
void nvme_events_begin(struct nvme *n);
/** nvme_events_look - look at what was told, unless something else is under way. */
void nvme_events_look(struct nvme *n);

/* health.c */

/** nvme_report - the driver's report(). */
void nvme_report(struct au_device *dev, struct au_report *report);
/** nvme_health_told - the health log has been read, for a report. */
void nvme_health_told(struct nvme *n, const uint8_t *log);
/** nvme_health_refused - it cannot be. */
void nvme_health_refused(struct nvme *n, uint16_t status);

/* timeout.c */

/** nvme_clock - look after everything now and then. Lane 0. */
void nvme_clock(struct au_timer *timer, void *context);
/** nvme_path_clock - after a pair, on its lane. */
void nvme_path_clock(struct au_timer *timer, void *context);
/** nvme_clock_faster - there is something to look after. The pair's lane. */
void nvme_clock_faster(struct nvme_path *p);
/** nvme_trouble - another lane has noticed something. Lane 0. */
void nvme_trouble(struct au_work *work, void *context);
/** nvme_notice - tell lane 0; any lane. */
void nvme_notice(struct nvme_path *p, uint32_t what);

/* recover.c */

/** nvme_reset - reset the controller; what is outstanding is sent again. */
void nvme_reset(struct nvme *n, const char *why);
/** nvme_requeue - the same with the pair's queues only. */
void nvme_requeue(struct nvme_path *p, const char *why);
/** nvme_requeued - whose end this is, as steps_done. */
void nvme_requeued(struct nvme *n, int err);
/** nvme_gone - the device does not answer any more. */
void nvme_gone(struct nvme *n);

/* status.c */

/** nvme_status - a status as an error of @op; @again: it may go better next time. */
int nvme_status(uint16_t status, uint16_t op, bool *again);

#endif
