/* SPDX-License-Identifier: MIT */
/**
 * DOC: The framework, inside
 *
 * lane.c, lane_thread.c, lanes.c, wheel.c, timer.c: who runs what when. machine.c: a device's way
 * up and down. power.c, idle.c: D3 and back, and when. device.c, unit.c, param.c, regs.c, irq*.c,
 * poller.c, dma.c: what a device has. handle.c, queue.c, request.c, cancel.c, solo.c, stop.c: the
 * way of a request. verify.h: the rules, and faults.
 *
 * Everything of a device is used on its lane only, and so needs no locks and no atomics; what other
 * threads may call says so. Where a device has several lanes, its queues, handles, requests,
 * timers, interrupts and pollers belong to one each, and are used there; what belongs to the device
 * as a whole is changed on lane 0 while the others are parked, so that all may read it. See
 * lanes.c.
 */
#ifndef AU_FRAMEWORK_INTERNAL_H
#define AU_FRAMEWORK_INTERNAL_H

#include "framework/framework.h"

#include "auriga/auriga.h"
#include "base/failpoint.h"
#include "base/list.h"
#include "base/note.h"
#include "base/os.h"
#include "base/recorder.h"
#include "base/trace.h"
#include "base/verify.h"
#include "bus/bus.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* ------------------------------------------------------------------ lanes */

/** struct auf_timeout - something that is due at a time. Embedded; zero it, or auf_timeout_init().
 */
struct auf_timeout {
	struct au_list node;
	uint64_t when_ms;
	void (*fn)(struct auf_timeout *timeout);
	enum { AUF_TIMEOUT_IDLE, AUF_TIMEOUT_WAITING, AUF_TIMEOUT_DUE } state;
};

/** struct auf_work - something to run on the lane soon. */
struct auf_work {
	struct auf_work *next;
	_Atomic bool queued;
	void (*fn)(struct auf_work *work);
};

#define LANE_WHEEL  256u /* buckets of 1 ms */

/* au_lane.attention */
#define LANE_WAKE   1u
#define LANE_WORK   2u
#define LANE_BEAT   4u
#define LANE_LEAVE  8u
#define LANE_PARK   16u

/* au_lane.park */
#define PARK_NONE   0u
#define PARK_WANTED 1u
#define PARK_PARKED 2u

struct au_lane {
	/* the hot part */
	_Atomic uint32_t attention; /* LANE_*: set by any thread */
	_Atomic uint32_t sleeping;
	uint64_t now_ms;
	uint64_t ticks;	    /* when the clock was read */
	uint64_t tick_step; /* read it again after so many */
	struct auf_source *sources, *sources_next;
	uint64_t completed, published;

	uint64_t now_ns; /* of the last reading */
	uint64_t seen_ms;
	uint64_t look_ms; /* when to look at descriptors next while busy */
	unsigned int fd_sources;
	unsigned int pollers; /* of drivers, which need no interrupt while the lane is awake */
	bool look;	      /* look at descriptors in this turn */

	_Atomic(struct auf_work *) work; /* posted, newest first */
	struct auf_work *work_list;	 /* collected, oldest first */
	_Atomic uint32_t beat;
	struct au_list buses; /* devices with one: flushed each turn */

	uint64_t wheel_ms; /* everything up to here has been run */
	unsigned int wheel_count;
	struct au_list wheel[LANE_WHEEL];

	enum auf_runner runner;
	unsigned int index;
	struct au_recorder *recorder;
	int wait_set, wake_fd, timer_fd;
	uint64_t timer_ms; /* what timer_fd is set to; 0: not */

	_Atomic(struct auf_inject *) inject; /* delays; NULL: none */
	unsigned int sweeping;		     /* its handles must not be freed */
	bool in_isr;
	unsigned int handles;  /* open on it; lane 0 */
	_Atomic uint32_t park; /* PARK_* */

	struct au_os_thread *thread;
	_Atomic uintptr_t thread_id;
	struct {
		uint64_t most_ns, limit_ns;
		unsigned int penalty, hold_off, futile;
	} spin;
};

/** auf_lane_turn - serve everything once. Returns the work done. */
unsigned int auf_lane_turn(struct au_lane *lane);
/** auf_lane_look - look at descriptors, or wait for them. */
void auf_lane_look(struct au_lane *lane, int timeout_ms);
/** auf_lane_clock - read the clock now. */
void auf_lane_clock(struct au_lane *lane);
/** auf_lane_settle - before sleeping: arm all sources; false: there is something to do. */
bool auf_lane_settle(struct au_lane *lane);
/** auf_lane_unsettle - after sleeping. */
void auf_lane_unsettle(struct au_lane *lane);
/** auf_lane_run - the runner's thread. */
void auf_lane_run(void *arg);
/** auf_lane_sign - give the sign of life that was asked for; also for one that is parked. */
void auf_lane_sign(struct au_lane *lane);
/** auf_lane_post - queue work; any thread. */
void auf_lane_post(struct au_lane *lane, struct auf_work *work);
/** auf_lane_work - run what was queued. */
unsigned int auf_lane_work(struct au_lane *lane);
/** auf_lane_forget - drop work that was posted, before it is freed. Lane. */
void auf_lane_forget(struct au_lane *lane, struct auf_work *work);
/** auf_lane_ask - set @what in the lane's attention, and wake it. Any thread. */
void auf_lane_ask(struct au_lane *lane, uint32_t what);
/** auf_lane_park - between two turns: wait while somebody wants the lane parked. */
void auf_lane_park(struct au_lane *lane);

/** auf_wheel_init - an empty wheel. */
void auf_wheel_init(struct au_lane *lane);
/** auf_timeout_set - let it be due @ms from now; moves it when it is set already. */
void auf_timeout_set(struct au_lane *lane, struct auf_timeout *timeout, uint64_t ms);
/** auf_timeout_clear - take it out; harmless when it is not set. */
void auf_timeout_clear(struct au_lane *lane, struct auf_timeout *timeout);
/** auf_wheel_run - run everything that is due. Returns how many. */
unsigned int auf_wheel_run(struct au_lane *lane);
/** auf_wheel_next - milliseconds until something is due, at most INT_MAX; -1: nothing. */
int auf_wheel_next(const struct au_lane *lane);

/* --------------------------------------------------------------- requests */

/* auf_request.word: who owns it, and what is not ordinary about it */
#define REQ_FREE       0x0000u /* nobody: the slot is free */
#define REQ_QUEUED     0x0001u /* the framework: in a queue */
#define REQ_OWNED      0x0002u /* the driver, or the class */
#define REQ_OWNER      0x0003u
#define REQ_NO_QUEUE   0x0010u	/* owned by the class, which has not put it into a queue */
#define REQ_CANCELABLE 0x0020u	/* cancel may be called */
#define REQ_CANCELED   0x0040u	/* cancel was called: it stays until the slot is used again */
#define REQ_TIMED      0x0080u	/* timeout is set */
#define REQ_OVERDUE    0x0100u	/* held for too long after cancellation */
#define REQ_SUSPECT    0x0200u	/* deliver it alone */
#define REQ_SOLO       0x0400u	/* it is running alone */
#define REQ_PARKED     0x0800u	/* it waits in the class */
#define REQ_VERIFIED   0x1000u	/* the verifier wants to see everything */
#define REQ_LISTED     0x2000u	/* owned, in a list of its queue: see stop.c */
#define REQ_ASKED      0x4000u	/* ... stop() was called for it, and was not answered */
#define REQ_KEPT       0x8000u	/* ... the driver keeps it until resume() */
#define REQ_RETURNED   0x10000u /* in its queue, handed back by stop() */

struct auf_request {
	struct au_request pub;
	uint32_t word;
	int cancel_status; /* not 0: cancellation was asked for, and this is why */
	struct au_queue *queue;
	struct auf_handle *handle;
	uint64_t tag;
	struct auf_progress *progress;
	uint32_t slot;
	void (*cancel)(struct au_request *req);
	struct au_list
		node; /* in queue->waiting, or with REQ_LISTED in owned, to_ask, asked, kept */
	struct auf_timeout timeout;
	uint64_t asked_ms;
	uint64_t order; /* with REQ_LISTED: of delivery */
	uint32_t started, done;
	uint64_t seen_tag, seen_ms; /* since when it is known to be outstanding: describe.c */
};

/** auf_request_seen - it is outstanding at @now_ms. Its lane, or held. */
void auf_request_seen(struct auf_request *r, uint64_t now_ms);

static inline struct auf_request *auf_request(struct au_request *req)
{
	return (struct auf_request *)(void *)req;
}

static inline uint32_t auf_request_is(const struct auf_request *r)
{
	return r->word & REQ_OWNER;
}

/** auf_request_finish - complete a request, whoever owns it. */
void auf_request_finish(struct auf_request *r, int status, uint32_t result, uint16_t device_status);
/** auf_request_owned - whether the driver owns it; otherwise the rule that it broke is named. */
bool auf_request_owned(struct auf_request *r);
/** auf_request_give_up - the driver gives it up without completing it. */
void auf_request_give_up(struct auf_request *r);
/** auf_request_cancel - ask for cancellation; it ends with @status. */
void auf_request_cancel(struct auf_request *r, int status);
/** auf_request_timed_out - a request's deadline. */
void auf_request_timed_out(struct auf_timeout *timeout);
/** auf_request_let_go - it leaves the driver: no timer, no cancel callback, no overdue any more. */
void auf_request_let_go(struct auf_request *r);

typedef void (*auf_complete_fn)(struct auf_handle *handle, int status, uint32_t result,
				uint16_t device_status, uint32_t slot, uint64_t tag);

struct auf_handle {
	void *context; /* first, see auf_handle_context() */
	/* what each request needs */
	uint32_t open; /* depth; 0 when nothing may be sent any more */
	uint32_t depth;
	struct auf_request **slots;
	auf_complete_fn complete; /* config.complete, until it is closed */
	uint64_t dma_offset;
	struct au_lane *lane;
	struct au_unit *unit;	/* NULL: the unit has gone */
	struct au_queue *first; /* the unit's, for this lane */

	uint32_t outstanding; /* while closing */
	struct auf_handle_config config;
	struct au_list node;
	struct auf_request *requests;
	struct au_list spare; /* verifier: requests not used for longest first */
	bool closing;
	bool keeps_up; /* it keeps its device in D0 */
	void (*closed)(void *context);
	void *closed_context;
	struct au_device *shared;  /* its device, if that has several lanes */
	struct auf_work settle;	   /* on lane 0 of that */
	struct au_request *copies; /* verifier: of its requests, as they were delivered */
	struct auf_late *late;	   /* completions that are injected to be late */
};

/** auf_handle_settle - finish closing when nothing is outstanding any more. */
void auf_handle_settle(struct auf_handle *handle);
/** auf_device_settle_handles - the same for all handles of a device that are @lane's. */
void auf_device_settle_handles(struct au_device *dev, struct au_lane *lane);
/** auf_handle_recycle - verifier: put a used request to the end of the spare ones. */
void auf_handle_recycle(struct auf_request *r);
/** auf_handle_orphan - its unit goes away. */
void auf_handle_orphan(struct auf_handle *handle);

/* ----------------------------------------------------------------- queues */

/* au_queue.special */
#define QUEUE_CLOSED 1u /* does not deliver by itself: stopped, gate, power, kind */
#define QUEUE_SETTLE 2u /* a change of state is under way */
#define QUEUE_SOLO   4u /* a suspect waits, or runs alone */
#define QUEUE_LISTS  8u /* it has a stop(), or is always on: what the driver owns is listed */

struct au_queue {
	/* what each request needs: delivered just so while nothing special is the matter */
	union {
		struct {
			uint32_t waits : 28;  /* requests in waiting */
			uint32_t special : 4; /* QUEUE_* */
			uint32_t pumping;     /* deliver() is running */
		};
		uint32_t matter; /* waits and special at one glance */
		uint64_t busy;	 /* pumping too */
	};
	uint32_t owned;
	uint32_t bound; /* delivered while the driver owns fewer */
	void (*deliver)(struct au_queue *queue, struct au_request *req);
	bool told; /* MANUAL: ready() was called */
	struct au_list waiting;
	struct au_unit *unit;
	struct au_device *dev;
	struct au_lane *lane;
	struct au_queue *
		*peers; /* with several lanes: the queue of each; lane 0's is freed with it */
	enum au_queue_state state;
	bool requeued; /* deliver it later, not in this loop */
	struct auf_work later;
	struct au_queue_config config;
	struct au_list node;
	/* with QUEUE_LISTS: what the driver owns, oldest first */
	struct au_list mine;   /* as ever */
	struct au_list to_ask; /* the device leaves D0: stop() is to be called */
	struct au_list asked;  /* it was, and was not answered */
	struct au_list kept;   /* it was: they stay as they are until resume() */
	unsigned int kept_count;
	uint64_t order;
	uint64_t finished; /* always on: so many have ended, which is no reason to stay in D0 */
};

/** auf_queue_managed - whether it delivers in D0 only. */
static inline bool auf_queue_managed(const struct au_queue *queue)
{
	return !(queue->config.flags & AU_QUEUE_ALWAYS_ON);
}

/* stop.c: asking the driver about what it owns */

/** auf_stop_listed - a request is delivered: into the list. */
void auf_stop_listed(struct au_queue *queue, struct auf_request *r);
/** auf_stop_unlisted - it leaves the driver: out of it. */
void auf_stop_unlisted(struct auf_request *r);
/** auf_stop_ask - call stop() for all that the driver owns. Held. */
void auf_stop_ask(struct au_device *dev, enum au_stop why);
/** auf_stop_resume - give back what it keeps. Held. */
void auf_stop_resume(struct au_device *dev);
/** auf_stop_unanswered - how many requests of power-managed queues the driver has to let go of. */
unsigned int auf_stop_unanswered(struct au_device *dev, const struct au_queue **first);

/** auf_queue_wait - put a request into the queue's waiting ones, at the end or at the head. */
static inline void auf_queue_wait(struct au_queue *queue, struct auf_request *r, bool head)
{
	r->queue = queue;
	r->word = (r->word & ~REQ_OWNER) | REQ_QUEUED;
	queue->waits++;
	if (head)
		au_list_add_head(&queue->waiting, &r->node);
	else
		au_list_add_tail(&queue->waiting, &r->node);
}

/** auf_queue_unwait - take it out. */
static inline void auf_queue_unwait(struct auf_request *r)
{
	r->queue->waits--;
	au_list_remove(&r->node);
}

/** auf_queue_take - a request becomes the driver's; its progress has to say so. */
static inline void auf_queue_take(struct au_queue *queue, struct auf_request *r, uint32_t word)
{
	r->queue = queue;
	r->word = word;
	r->pub.driver[0] = r->pub.driver[1] = NULL;
	queue->owned++;
	au_trace_probe(deliver, r->slot, r->pub.op, r->pub.length);
}

/** auf_queue_own - the same, and its progress says so. */
static inline void auf_queue_own(struct au_queue *queue, struct auf_request *r, uint32_t word,
				 uint32_t flags)
{
	/* Only the runner of a request writes this word: no locked instruction is needed. */
	atomic_store_explicit(&r->progress->flags, flags, memory_order_release);
	AU_FAILPOINT_HOT(own_marked);
	auf_queue_take(queue, r, word);
}

void auf_queue_pump(struct au_queue *queue);

/** auf_queue_free - whether a request is delivered at once: nothing special is the matter. */
static inline bool auf_queue_free(const struct au_queue *queue)
{
	return likely(!queue->busy) && likely(queue->owned < queue->bound);
}

/** auf_queue_deliver - deliver an ordinary request at once. */
static inline void auf_queue_deliver(struct au_queue *queue, struct auf_request *r)
{
	auf_queue_take(queue, r, REQ_OWNED);
	/* With pumping set, so that what it completes does not deliver from below. */
	queue->pumping = true;
	queue->deliver(queue, &r->pub);
	queue->pumping = false;
	if (unlikely(queue->matter))
		auf_queue_pump(queue);
}

/** auf_queue_refresh - after a change of state, gate or power: whether it delivers. */
void auf_queue_refresh(struct au_queue *queue);
/** auf_queue_left - a request has left the driver: deliver the next, settle. */
void auf_queue_left(struct au_queue *queue);
/** auf_queue_accept - put a request at the end, and deliver, or refuse it. */
void auf_queue_accept(struct au_queue *queue, struct auf_request *r);
/** auf_queue_open - whether it may deliver now. */
bool auf_queue_open(const struct au_queue *queue);

/** auf_solo_allows - whether @r, at the head of @queue, may be delivered now. */
bool auf_solo_allows(struct au_queue *queue, struct auf_request *r);
/** auf_solo_left - a request, @r or an ordinary one, has left the driver while there is a suspect.
 */
void auf_solo_left(struct au_device *dev, struct auf_request *r);
/** auf_solo_init - none. */
void auf_solo_init(struct au_device *dev);
/** auf_solo_reset - on the way down. */
void auf_solo_reset(struct au_device *dev);

/* ------------------------------------------------------------------ units */

#define UNIT_ROUTES 16

struct au_unit {
	struct au_queue *first; /* the default queue */
	uint32_t plain_from; /* so many operations from here on go straight to the default queue */
	uint32_t plain_span;
	bool bounded;	     /* what follows says something: not of every class */
	uint32_t reach_mask; /* ... if what they reach is whole blocks */
	uint32_t reach_min;  /* ... and between so much and ... */
	uint32_t reach_span; /* ... so much more */
	uint64_t reach_end;  /* ... and within this */
	const struct auf_class *cls;
	unsigned int route_count;
	struct {
		uint16_t op;
		struct au_queue *queue;
	} route[UNIT_ROUTES];
	struct au_device *dev;
	void *priv;
	unsigned int index;
	bool removed;
	struct au_list removed_node; /* in dev->removed_units */
	struct au_list queues;
	struct au_list handles;
	unsigned int handle_count;
};

/** auf_unit_queue - where requests of operation @op go; NULL: the unit has no queue. */
static inline struct au_queue *auf_unit_queue(const struct au_unit *unit, uint16_t op)
{
	for (unsigned int i = 0; unlikely(i < unit->route_count); i++)
		if (unit->route[i].op == op)
			return unit->route[i].queue;
	return unit->first;
}

/** auf_queue_on - the queue's like on @lane. */
static inline struct au_queue *auf_queue_on(struct au_queue *queue, const struct au_lane *lane)
{
	return likely(!queue || !queue->peers) ? queue : queue->peers[lane->index];
}

/** auf_unit_reaches - whether a plain request needs no look by the class. */
static inline bool auf_unit_reaches(const struct au_unit *unit, uint64_t at, uint32_t length)
{
	return !((at | length) & unit->reach_mask) &&
	       length - unit->reach_min <= unit->reach_span && at <= unit->reach_end - length;
}

/** auf_unit_refresh - after a change: what goes straight to the default queue. */
void auf_unit_refresh(struct au_unit *unit);
/** auf_unit_free - free a unit and its queues. */
void auf_unit_free(struct au_unit *unit);

/* ---------------------------------------------------------------- devices */

enum auf_state {
	STATE_CREATED,
	STATE_PREPARING,
	STATE_ENTERING,
	STATE_RESTORING,
	STATE_CONNECTING,
	STATE_OPENING,
	STATE_STARTING,
	STATE_RUNNING,
	STATE_STOPPING,
	STATE_CLOSING,
	STATE_DISCONNECTING,
	STATE_SUSPENDING,
	STATE_EXITING,
	STATE_FLUSHING,
	STATE_RELEASING,
	STATE_STOPPED,
	/* to D3, from RUNNING, and back, to ENTERING */
	STATE_PAUSING,
	STATE_HOLDING,
	STATE_WAITING,
	STATE_MUTING,
	STATE_RESTING,
	STATE_LEAVING,
	STATE_POWERING_OFF,
	STATE_ASLEEP,
	STATE_POWERING_ON,
	STATE_COUNT
};

enum auf_machine_event {
	EVENT_START,	/* from outside */
	EVENT_STOP,	/* from outside */
	EVENT_SURPRISE, /* from outside: the device is gone */
	EVENT_DONE,	/* of an action */
	EVENT_FAILED,	/* of an action */
	EVENT_GONE,	/* an action was done, but the device went meanwhile, or a stop is wanted */
	EVENT_SLEEP,	/* from outside: to D3 */
	EVENT_WAKE,	/* from outside: from D3 */
	EVENT_RESOLVED, /* from outside: the driver has let go of its requests */
	EVENT_COUNT
};

#define MACHINE_HISTORY 64u

struct auf_step {
	uint64_t time_ms;
	uint8_t state, event, next;
	int result;
};

struct auf_machine {
	_Atomic uint32_t state;
	bool running; /* a callback of the way up or down is under way */
	bool gone;
	bool stop;   /* the way down is wanted */
	int failure; /* the first, of the way up */
	int down_failure;
	enum au_power to;
	unsigned int steps;
	struct auf_step history[MACHINE_HISTORY];
	struct auf_work surprise;
	struct auf_work told; /* of it, by another lane */
};

struct auf_param {
	uint64_t value;
	char text[AU_PARAM_VALUE_MAX];
};

/** struct auf_mapping - memory that the device can reach. */
struct auf_mapping {
	struct au_list node; /* by address */
	uint64_t iova, size;
};

/** struct auf_dma - the device's addresses, and the driver's arena. */
struct auf_dma {
	uint64_t limit; /* addresses end here; 0: the driver does no DMA */
	struct au_list mappings;
	uint8_t *arena;
	uint64_t arena_iova, arena_size;
	int arena_fd;
	struct au_list blocks; /* of the arena, by place */
};

struct au_irq {
	struct au_device *dev;
	struct au_irq_config config;
	bool (*isr)(struct au_irq *irq); /* verifier: the driver's own */
	void (*dpc)(struct au_irq *irq);
	bool pending; /* the dpc is to run */
	bool in_dpc;
	struct au_lane *lane;
	struct auf_source source; /* of a message */
	struct au_list node;
	struct auf_work kick;
};

struct auf_intx {
	struct auf_source source;
	bool connected;
	bool polling; /* a storm: look every ms instead */
	unsigned int storms;
	unsigned int unclaimed; /* in a row */
	unsigned int window;	/* interrupts since window_ms */
	uint64_t window_ms;
	uint64_t polling_until_ms;
	uint64_t total, unclaimed_total;
	struct auf_timeout poll;
};

#define POWER_ASKS 8u

/** struct auf_power_ask - somebody wants to change it. */
struct auf_power_ask {
	enum auf_power_verb verb;
	bool begun;
	void (*done)(void *context, int result);
	void *context;
};

/**
 * struct auf_power - where a device's power is, and why.
 * @waiting: the driver is to let go of its requests: whoever lets go tells.
 * @was_up: before it was suspended.
 * @bus_off: the function itself is in D3.
 * @saved: what it forgets there.
 * @asks: the oldest first.
 * @tags: references of the driver: what for, and how many.
 * @busy_ms: when something was last seen to happen. @seen: completions until then.
 */
struct auf_power {
	bool waiting;
	bool suspended, was_up;
	_Atomic bool wake; /* somebody wants it in D0, once */
	bool bus_off;
	struct au_pci_saved saved;
	struct auf_work work;
	struct auf_timeout patience;
	unsigned int ask_count;
	struct auf_power_ask asks[POWER_ASKS];

	uint32_t idle_ms;
	struct auf_timeout idle;
	uint64_t busy_ms, seen;
	unsigned int open;	 /* handles that keep it in D0 */
	unsigned int references; /* of the driver */
	struct {
		const char *tag;
		unsigned int count;
	} tags[AUF_POWER_TAGS];

	uint64_t began_ns; /* a transition, or a callback of it that may take its time; 0: none */
	bool late;
	uint64_t ups, downs;
	uint32_t last_up_us, last_down_us, entry_us, exit_us;
};

enum auf_solo_phase { SOLO_NONE, SOLO_WAITING, SOLO_RUNNING, SOLO_PASSED };

/**
 * struct au_report - a driver's report.
 * @open: the driver has been asked, and has not ended it.
 * @done: who waits for it; NULL: nobody.
 */
struct au_report {
	struct au_device *dev;
	bool open;
	unsigned int count;
	struct auf_report_entry entries[AUF_REPORT_ENTRIES];
	struct auf_timeout timeout;
	auf_report_fn done;
	void *context;
};

/** auf_report_init - none. */
void auf_report_init(struct au_device *dev);
/** auf_report_end - the driver is not asked any more, and whatever it says is too late. */
void auf_report_end(struct au_device *dev);

struct au_device {
	struct au_lane *lane; /* lane 0 */
	void *context;
	bool delivering; /* the machine lets queues deliver */
	bool gate;	 /* replay is over */
	bool refusing;	 /* going down: nothing new */
	bool asleep;	 /* power-managed queues do not deliver */
	bool verify;
	struct auf_inject *inject; /* faults; NULL: none */
	struct {
		struct au_driver driver;     /* the driver's own, behind the verifier's */
		uint32_t period;	     /* how often d0_entry() was called */
		_Atomic uint64_t told;	     /* rules that were broken, 1 << enum auf_rule */
		_Atomic uintptr_t surprised; /* a thread is in surprise_removed() */
	} verifier;
	bool timers_open;
	struct au_lane *lanes[AU_LANES_MAX]; /* from lane 0 on */
	unsigned int lane_count;
	unsigned int lanes_used; /* handles are opened on these only */
	unsigned int held;	 /* the others are parked, so often; read with care */
	struct {
		enum auf_solo_phase phase;
		struct auf_request *request;
		struct au_queue *queue;
		struct auf_timeout timeout;
		struct auf_work work;
		_Atomic bool ended; /* the request has left: lane 0 is to look */
	} solo;

	char name[64];
	struct au_driver driver;
	struct au_note note;
	struct auf_param *params;
	struct au_bus *bus;
	struct auf_source bus_source;
	struct au_list bus_node; /* in lane->buses */
	bool bus_told;
	struct auf_work bus_work; /* auf_bus_check(), for other lanes */
	struct {
		struct auf_timeout timeout;
		struct auf_work work; /* auf_presence_suspect(), for other lanes */
		uint64_t looked_ms;
		bool looking;
	} presence;
	void *retained;
	size_t retained_size;
	bool retained_fresh;
	uint8_t *state;
	bool state_fresh, state_ours;
	uint32_t generation;
	enum au_power from;
	void (*notify)(void *context, struct au_device *dev, enum auf_notice what, void *object);
	void *notify_context;

	struct auf_machine machine;
	struct au_unit *units[AUF_UNITS_MAX];
	struct au_list regs, timers, works, removed_units;
	struct auf_intx intx;
	struct au_list irqs;
	enum au_bus_irq irq_mode;
	bool irqs_ready; /* the device knows its messages */
	bool irqs_on;
	struct au_list pollers;
	struct auf_dma dma;
	struct au_report report;
	struct {
		struct auf_timeout timeout;
		void (*done)(void *context); /* not NULL: nothing new is taken */
		void *context;
	} finish;
	struct auf_power power;
	struct {
		struct auf_timeout timeout;
		void (*done)(void *context); /* not NULL: it is being drained, or has been */
		void *context;
	} drain;
	struct {
		_Atomic uint64_t second;
		_Atomic uint32_t lines, dropped;
	} log;
};

/** auf_say - a line that is logged whatever else there is: au_log() has limits. */
void auf_say(struct au_device *dev, enum au_log_level level, const char *line);
/** auf_notify - tell whoever runs the device. */
void auf_notify(struct au_device *dev, enum auf_notice what, void *object);
/** auf_device_open_queues - the machine: let queues deliver, if the gate is open. */
void auf_device_open_queues(struct au_device *dev);
/** auf_device_close_queues - the machine: nothing is delivered or accepted any more. */
void auf_device_close_queues(struct au_device *dev);
/** auf_device_sweep - call @fn for each request that is not free. With several lanes: held. */
void auf_device_sweep(struct au_device *dev, void (*fn)(struct auf_request *r, void *arg),
		      void *arg);
/** auf_lane_sweep - the same for what is @lane's; NULL: all of it. */
void auf_lane_sweep(struct au_device *dev, struct au_lane *lane,
		    void (*fn)(struct auf_request *r, void *arg), void *arg);
/** auf_device_has_lane - whether @lane is one of its lanes, or NULL. */
bool auf_device_has_lane(const struct au_device *dev, const struct au_lane *lane);
/** auf_device_many - whether the device has more than one lane. */
static inline bool auf_device_many(const struct au_device *dev)
{
	return unlikely(dev->lane_count > 1);
}
/** auf_device_apart - whether others may run beside this: many lanes, and they are not parked. */
static inline bool auf_device_apart(const struct au_device *dev)
{
	return auf_device_many(dev) && !dev->held;
}
/** auf_queue_pump_later - let a queue deliver on its own lane. */
void auf_queue_pump_later(struct au_queue *queue);
/** auf_device_refresh - all queues: whether they deliver; then let them. */
void auf_device_refresh(struct au_device *dev);

/** auf_device_each_queue - call @fn for each. */
void auf_device_each_queue(struct au_device *dev, void (*fn)(struct au_queue *queue));

/* power.c */

/** auf_power_init - in D0, so far as it goes. */
void auf_power_init(struct au_device *dev, const struct auf_device_config *config);
/** auf_power_hold_queues - the machine: nothing is delivered, the driver is asked. */
int auf_power_hold_queues(struct au_device *dev);
/** auf_power_wait - the machine: for the driver. Return: MACHINE_WAITS, or 0: it has let go. */
int auf_power_wait(struct au_device *dev);
/** auf_power_waited - the machine: nobody is waited for any more. */
void auf_power_waited(struct au_device *dev);
/** auf_power_leave - the machine: d0_exit(). */
int auf_power_leave(struct au_device *dev);
/** auf_power_off - the machine: the function goes to D3. */
int auf_power_off(struct au_device *dev);
/** auf_power_on - the machine: and to D0. */
int auf_power_on(struct au_device *dev);
/** auf_power_bus_on - so that it can be reached at all, if it is off. */
void auf_power_bus_on(struct au_device *dev);
/** auf_power_open_queues - the machine: what is kept goes on, and everything is delivered. */
void auf_power_open_queues(struct au_device *dev);
/** auf_power_settled - the machine rests in @state. */
void auf_power_settled(struct au_device *dev, unsigned int state);
/** auf_power_sleep - it has been idle for long enough. */
void auf_power_sleep(struct au_device *dev);
/** auf_power_want - a request waits for D0. Any lane. */
void auf_power_want(struct au_device *dev);
/** auf_power_left - a request of the queue has left the driver while that is waited for. */
void auf_power_left(struct au_queue *queue);
/** auf_power_end - nobody will be told any more what has not been by now. */
void auf_power_end(struct au_device *dev);
/** auf_power_failed - the driver did not come to the end of it. */
void auf_power_failed(struct au_device *dev, const char *why);
/** auf_power_alive - within au_sleep_ms(): whether the lanes may still show signs of life. */
bool auf_power_alive(struct au_device *dev);

/* idle.c */

/** auf_idle_init - never. */
void auf_idle_init(struct au_device *dev);
/** auf_idle_start - it is in D0: look whether there is anything to do. */
void auf_idle_start(struct au_device *dev);
/** auf_idle_stop - it leaves D0. */
void auf_idle_stop(struct au_device *dev);
/** auf_idle_references - all of them. */
static inline unsigned int auf_idle_references(const struct au_device *dev)
{
	return dev->power.references + dev->power.open;
}
/** auf_idle_opened - a handle keeps it in D0. Held. */
void auf_idle_opened(struct au_device *dev);
/** auf_idle_closed - it does not any more. Held. */
void auf_idle_closed(struct au_device *dev);
/** auf_idle_busy - whether something keeps it in D0 at this moment; @why: what. */
bool auf_idle_busy(struct au_device *dev, char *why, size_t size);
/** auf_idle_release - name the references that the driver has left. */
void auf_idle_release(struct au_device *dev);

#define MACHINE_WAITS 1 /* of an action: it goes on by an event */

/** auf_machine_event - an event from outside. Lane. Returns the first failure of the way up. */
int auf_machine_event(struct au_device *dev, enum auf_machine_event event);
/** auf_machine_runs - whether the device is in STATE_RUNNING. */
bool auf_machine_runs(const struct au_device *dev);
/** auf_machine_init - STATE_CREATED. */
void auf_machine_init(struct au_device *dev);

/** auf_irq_ready - before d0_entry(): tell the device of its messages. */
int auf_irq_ready(struct au_device *dev);
/** auf_irq_connect - connect and enable the interrupt. */
int auf_irq_connect(struct au_device *dev);
/** auf_irq_disconnect - disable and disconnect it. */
void auf_irq_disconnect(struct au_device *dev);
/** auf_irq_init - none yet. */
void auf_irq_init(struct au_device *dev);
/** auf_irq_free - free what au_irq_create() made. */
void auf_irq_free(struct au_device *dev);
/** auf_irq_dpc - run the dpc, if it is pending. */
void auf_irq_dpc(struct au_irq *irq);
void auf_irq_line_init(struct au_device *dev);
int auf_irq_line_connect(struct au_device *dev);
void auf_irq_line_disconnect(struct au_device *dev);
int auf_irq_messages_ready(struct au_device *dev);
int auf_irq_messages_connect(struct au_device *dev);
void auf_irq_messages_disconnect(struct au_device *dev);

/** auf_pollers_start - from now on they are called. */
int auf_pollers_start(struct au_device *dev);
/** auf_pollers_stop - from now on they are not. */
void auf_pollers_stop(struct au_device *dev);
/** auf_pollers_free - free what au_poller_create() made. */
void auf_pollers_free(struct au_device *dev);

/** auf_dma_wanted - whether the driver uses DMA. */
static inline bool auf_dma_wanted(const struct au_device *dev)
{
	return dev->dma.limit != 0;
}
/** auf_dma_init - nothing mapped. */
void auf_dma_init(struct au_device *dev, const struct auf_device_config *config);
/** auf_dma_arena - let the device reach the arena. */
int auf_dma_arena(struct au_device *dev);
/** auf_dma_forget - the driver is released: its blocks are free. */
void auf_dma_forget(struct au_device *dev);
/** auf_dma_free - free what is known of the mappings, which end with the session. */
void auf_dma_free(struct au_device *dev);

/** auf_finish_end - nobody waits any more for what was submitted. */
void auf_finish_end(struct au_device *dev);
/** auf_drain_end - nobody waits any more for what the driver has. */
void auf_drain_end(struct au_device *dev);

/** auf_presence_start - the device is up: look now and then whether it is still there. */
void auf_presence_start(struct au_device *dev);
/** auf_presence_init - nobody looks yet. */
void auf_presence_init(struct au_device *dev);
/** auf_presence_stop - it goes down. */
void auf_presence_stop(struct au_device *dev);
/** auf_presence_gone - look now. Return: it is, and the state machine knows. Lane 0. */
bool auf_presence_gone(struct au_device *dev);
/** auf_presence_suspect - a register read all-ones: look at once, but not all the time. */
void auf_presence_suspect(struct au_device *dev);
/** auf_regs_free - free all windows. */
void auf_regs_free(struct au_device *dev);
/** auf_timers_stop - stop all timers and work, for good. */
void auf_timers_stop(struct au_device *dev);
/** auf_timers_free - free them. */
void auf_timers_free(struct au_device *dev);
/** auf_bus_check - after an access: notice when the bus says that the device is gone. */
void auf_bus_check(struct au_device *dev);
/** auf_params_set - check and keep @params. */
int auf_params_set(struct au_device *dev, const char *const *params, char *error,
		   size_t error_size);

#include "framework/verify.h"

#endif
