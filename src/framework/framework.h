/* SPDX-License-Identifier: MIT */
/**
 * DOC: The framework, as whoever runs a driver sees it
 *
 * auriga-host and the inproc half of libauriga embed the framework through this header; class code
 * (src/class) uses the class part of it. Everything of a device runs on its lane; functions marked
 * "lane" may be called only there (see auf_lane_call()).
 */
#ifndef AU_FRAMEWORK_FRAMEWORK_H
#define AU_FRAMEWORK_FRAMEWORK_H

#include "auriga/driver.h"

#include <stdatomic.h>

struct au_abi_type;
struct au_bus;
struct au_note;
struct au_recorder;
struct au_verify;
struct auf_handle;
struct auf_source;
struct au_event;

/* ------------------------------------------------------------------- lanes */

/**
 * enum auf_runner - who runs a lane.
 * @AUF_RUNNER_THREAD: a thread of its own.
 * @AUF_RUNNER_APP: whoever calls auf_lane_poll(); one at a time, the caller sees to it.
 */
enum auf_runner { AUF_RUNNER_THREAD, AUF_RUNNER_APP };

/**
 * struct auf_source - something that a lane polls: a channel, an interrupt, a bus.
 * @poll: do at most @budget units of work; returns how many were done.
 * @arm: before sleeping: ask to be woken through @fd, and look once more. Returns whether there is
 *	nothing to do. Optional.
 * @disarm: after sleeping. Optional.
 * @fd: watched (EPOLLIN) while asleep; also looked at now and then while busy when @poll_on_fd.
 *	-1: none.
 * @poll_on_fd: poll only when @fd was seen readable (interrupts, sockets), not every turn (rings).
 */
struct auf_source {
	unsigned int (*poll)(struct auf_source *src, unsigned int budget);
	bool (*arm)(struct auf_source *src);
	void (*disarm)(struct auf_source *src);
	int fd;
	bool poll_on_fd;
	/* private: */
	bool ready;
	struct au_lane *lane;
	struct auf_source *next;
};

/** auf_lane_create - make a lane. @spin_us: how long to spin before sleeping, at most. */
int auf_lane_create(enum auf_runner runner, unsigned int index, unsigned int spin_us,
		    struct au_recorder *recorder, struct au_lane **out);
/** auf_lane_destroy - stop the runner and free the lane; its devices must be gone. */
void auf_lane_destroy(struct au_lane *lane);
/** auf_lane_call - run @fn on the lane and wait for it; at once when already there (or APP). */
int auf_lane_call(struct au_lane *lane, int (*fn)(void *arg), void *arg);
/** auf_lane_wake - make the lane look at its sources and work. Any thread. */
void auf_lane_wake(struct au_lane *lane);
/** auf_lane_pause - where @lane and another thread hand something over: nothing, unless delays are
 * injected. Any thread. */
void auf_lane_pause(struct au_lane *lane);
/** auf_lane_add - add a source. Lane. */
int auf_lane_add(struct au_lane *lane, struct auf_source *src);
/** auf_lane_remove - remove a source; safe from within its own poll(). Lane. */
void auf_lane_remove(struct au_lane *lane, struct auf_source *src);
/** auf_lane_poll - APP runner: one turn. Returns the work done. */
unsigned int auf_lane_poll(struct au_lane *lane);
/** auf_lane_arm - APP runner: before sleeping on auf_lane_fd(); true when nothing is pending.
 * @timeout_ms gets the time until the next timer, -1 for none. */
bool auf_lane_arm(struct au_lane *lane, int *timeout_ms);
/** auf_lane_disarm - APP runner: after sleeping. */
void auf_lane_disarm(struct au_lane *lane);
/** auf_lane_fd - APP runner: an epoll descriptor over the sources' descriptors and the next timer.
 */
int auf_lane_fd(struct au_lane *lane);
/** auf_lane_beat - ask for a sign of life: the lane's loop stores @seq in the recorder's status
 * page. Any thread; does not wait. */
void auf_lane_beat(struct au_lane *lane, uint32_t seq);
/** auf_lane_thread - true when called on the lane. */
bool auf_lane_current(const struct au_lane *lane);
/** auf_lane_now_ms - the lane's clock. Lane. */
uint64_t auf_lane_now_ms(const struct au_lane *lane);

/* ----------------------------------------------------------------- devices */

enum auf_notice {
	AUF_UNIT_ADDED,	   /* object: the unit */
	AUF_UNIT_REMOVED,  /* object: the unit; still valid during the call */
	AUF_DEVICE_GONE,   /* surprise removal has begun; object: struct auf_gone */
	AUF_DEVICE_FAILED, /* the driver gives up; object: why, a text. Removal follows on return */
	AUF_GATE_OPEN,	   /* queues deliver: replay is over */
	AUF_POWER_D0,	   /* it is in D0 again */
	AUF_POWER_D3,	   /* it is in D3 */
};

/** struct auf_gone - why a device is gone. @reason: enum au_gone; @why: in words. */
struct auf_gone {
	uint32_t reason;
	const char *why;
};

/**
 * struct auf_device_config - a device to start.
 * @name: its name, "serial0".
 * @driver: from the module.
 * @note: the module's parsed note.
 * @params: "key=value" strings, NULL-terminated; checked against @note.
 * @bus: NULL for a virtual device. The device owns it from auf_device_create() on.
 * @lane: where it runs: its lane 0.
 * @lanes, @lane_count: all its lanes, @lane first, each with its place as index, if there are more;
 *	no more are used than the driver can, and the parameter "lanes" says. They are the device's
 *	alone.
 * @recorder: status page and flight recorder, or NULL.
 * @arena, @arena_size, @arena_fd: the driver's arena for DMA, zeroed, a memfd and where it is
 * mapped; none when the driver does no DMA. They stay the caller's.
 * @retained, @retained_size, @retained_fresh: the driver's retained memory.
 * @state, @state_size, @state_fresh: class state of all units; outlives the host. Hostile input
 *	unless fresh.
 * @generation: of the host, from 1.
 * @from: AU_POWER_OFF, or AU_POWER_FAILED when an earlier host died.
 * @hold_gate: queues do not deliver until auf_device_open_gate().
 * @verify: the verifier's rules are on.
 * @idle_ms: in D0 without anything to do for so long, it goes to D3; 0: never.
 * @inject: faults to inject; NULL: none. Read during auf_device_create() only.
 * @notify: called on the lane.
 * @context: for @notify.
 */
struct auf_device_config {
	const char *name;
	const struct au_driver *driver;
	const struct au_note *note;
	const char *const *params;
	struct au_bus *bus;
	struct au_lane *lane;
	struct au_lane *const *lanes;
	unsigned int lane_count;
	struct au_recorder *recorder;
	void *arena;
	size_t arena_size;
	int arena_fd;
	void *retained;
	size_t retained_size;
	bool retained_fresh;
	void *state;
	size_t state_size;
	bool state_fresh;
	uint32_t generation;
	enum au_power from;
	bool hold_gate;
	bool verify;
	uint32_t idle_ms;
	const struct au_verify *inject;
	void (*notify)(void *context, struct au_device *dev, enum auf_notice what, void *object);
	void *context;
};

/**
 * auf_dma_map - let the device reach a memfd, of whole pages, that is mapped at @cpu. Lane.
 * @iova: gets where it is for the device, until auf_dma_unmap() or the end of the device.
 * Return: 0; -ENXIO: the driver does no DMA; -ENOSPC: the device cannot reach so much.
 */
int auf_dma_map(struct au_device *dev, int fd, void *cpu, uint64_t size, uint64_t *iova);
/** auf_dma_unmap - the device must have let go of it. Lane. */
void auf_dma_unmap(struct au_device *dev, uint64_t iova);

#define AUF_UNITS_MAX  16
#define AUF_UNIT_STATE (128u * 1024) /* bytes of class state per unit */
#define AUF_STATE_SIZE (AUF_UNITS_MAX * AUF_UNIT_STATE)

/** auf_device_create - check everything and make the device; nothing of the driver runs yet.
 * @error: one line on failure. Any thread. */
int auf_device_create(const struct auf_device_config *config, struct au_device **out, char *error,
		      size_t error_size);
/** auf_device_start - prepare, d0_entry, restore class state, interrupts, queues, io_start. Any
 * thread; waits. On failure the way down has been gone already. */
int auf_device_start(struct au_device *dev);
/** auf_device_stop - the way down: io_stop, queues, interrupts, d0_exit, release; what is
 * outstanding completes with -ENODEV. Any thread; waits; never fails. */
void auf_device_stop(struct au_device *dev);
/** auf_device_destroy - free a stopped device. */
void auf_device_destroy(struct au_device *dev);
/** auf_device_open_gate - let queues deliver. Lane. */
void auf_device_open_gate(struct au_device *dev);
/**
 * auf_device_finish - before it is taken away: from now on requests are refused with -ENODEV, and
 * @done is called once, perhaps before this returns, when those that were submitted have ended; but
 * for such as wait in their class for something from outside. How long to wait is the caller's
 * business. Lane 0.
 */
void auf_device_finish(struct au_device *dev, void (*done)(void *context), void *context);
/**
 * auf_device_drain - before auf_device_stop(): from now on nothing is delivered, and @done is
 * called once, perhaps before this returns, when the driver has nothing that it would not also have
 * in the next host: requests that it does not wait with for something from outside. How long to
 * wait for that is the caller's business. Lane 0.
 */
void auf_device_drain(struct au_device *dev, void (*done)(void *context), void *context);
/** auf_device_surprise - the device is gone: surprise_removed(), then everything completes with
 * -ENODEV and the way down is gone. Lane. */
void auf_device_surprise(struct au_device *dev);
/** auf_device_history - the state machine's history as text, newest last. Lane. */
size_t auf_device_history(struct au_device *dev, char *buf, size_t size);
/** auf_device_state_name - "created", "prepared", "d0", ... Any thread. */
const char *auf_device_state_name(const struct au_device *dev);

/* ------------------------------------------------------------------- power */

/**
 * enum auf_power_verb - what is done to a device that has been started.
 * @AUF_POWER_UP: to D0, now.
 * @AUF_POWER_DOWN: to D3 now, as it would go when it has been idle for long enough; the next
 *	request wakes it.
 * @AUF_POWER_SUSPEND: to D3, whoever holds a reference, and nothing wakes it: requests wait.
 * @AUF_POWER_RESUME: that is over: back to D0, unless it was asleep before and nobody wants it.
 */
enum auf_power_verb {
	AUF_POWER_UP,
	AUF_POWER_DOWN,
	AUF_POWER_SUSPEND,
	AUF_POWER_RESUME,
};

/**
 * auf_device_power - change a device's power state. Several are done one after the other. Lane 0.
 * @done: called once, on lane 0, when it is done or cannot be: 0; -EBUSY: DOWN, while there are
 *	references, or UP, while it is suspended; -ENODEV: the device has stopped, is gone, or its
 *	driver has failed on the way. May be NULL. Never called before this has returned.
 *
 * A driver that does not let go of its requests within 5 s has failed: see AUF_DEVICE_FAILED.
 * Return: 0; -EBUSY: too many are under way, and @done is not called.
 */
int auf_device_power(struct au_device *dev, enum auf_power_verb verb,
		     void (*done)(void *context, int result), void *context);
/** auf_device_set_idle - @ms without anything to do, and it goes to D3; 0: never, and it wakes up.
 * Lane 0. */
void auf_device_set_idle(struct au_device *dev, uint32_t ms);
/** auf_device_sleep_ms - au_sleep_ms() for classes: in restore() and suspend(). */
void auf_device_sleep_ms(struct au_device *dev, uint32_t ms);
/** auf_device_wake - something has happened that it is to be in D0 for. Any thread. */
void auf_device_wake(struct au_device *dev);

enum auf_power_state {
	AUF_POWER_IS_OFF, /* not started, stopped, or on the way there */
	AUF_POWER_IS_D0,
	AUF_POWER_IS_GOING_DOWN,
	AUF_POWER_IS_D3,
	AUF_POWER_IS_GOING_UP,
	AUF_POWER_IS_SUSPENDED, /* D3, and nothing wakes it */
};

#define AUF_POWER_TAGS 16u

/**
 * struct auf_power_info - a device's power.
 * @state: where it is.
 * @idle_ms: 0: it does not go to sleep by itself.
 * @ups, @downs: how often it has come to D0 from D3, and gone to D3.
 * @last_up_us, @last_down_us: how long that took, the last time.
 * @entry_us, @exit_us: ... of that, the driver's d0_entry() and d0_exit().
 * @references: how many there are, of all tags; "open" is one.
 * @why: why it is up, or what it waits for; for people.
 */
struct auf_power_info {
	enum auf_power_state state;
	uint32_t idle_ms;
	uint64_t ups, downs;
	uint32_t last_up_us, last_down_us;
	uint32_t entry_us, exit_us;
	unsigned int references;
	unsigned int tag_count;
	struct {
		char tag[32];
		unsigned int count;
	} tags[AUF_POWER_TAGS + 1];
	char why[160];
};

/** auf_device_power_info - look at it. Lane 0. */
void auf_device_power_info(struct au_device *dev, struct auf_power_info *info);
/** auf_power_state_name - "d0", "d3", "going-down", "going-up", "suspended", "off". Any thread. */
const char *auf_power_state_name(enum auf_power_state state);

/* -------------------------------------------------------------- what it is doing */

#define AUF_DESCRIBED_QUEUES   16u
#define AUF_DESCRIBED_REQUESTS 8u

/** struct auf_queue_description - a queue. @number: within its unit; @why: what waits does; "":
 * nothing keeps it. */
struct auf_queue_description {
	unsigned int unit, lane, number;
	const char *state;
	uint32_t waiting, owned, kept;
	const char *why;
};

/**
 * struct auf_request_description - an outstanding request.
 * @age_ms: for at least so long; up to a second more, or more where no bus is looked at.
 * @owner: "queue", "class" or "driver".
 * @overdue_ms: how long ago it was to be cancelled, if the driver does not let go; 0: it is not.
 */
struct auf_request_description {
	unsigned int unit, lane;
	const char *cls;
	uint32_t slot, length;
	uint16_t op;
	uint64_t age_ms;
	const char *owner;
	bool cancel_asked, cancelable, suspect, kept;
	uint64_t overdue_ms;
};

/**
 * struct auf_description - what a device is doing.
 * @state, @state_ms: of its state machine, and for how long.
 * @running: in the middle of a step of it.
 * @handles: open; @outstanding: requests, and @owned: of them, of the driver or the class.
 * @alone: a suspect runs alone, or is to.
 * @irq: "intx", "msi", "msi-x", or NULL: it has none; the counts are of the line.
 * @requests: the oldest.
 */
struct auf_description {
	uint64_t now_ms;
	const char *state;
	uint64_t state_ms;
	bool running, gone, stopping, gate_open, delivering, alone;
	unsigned int lanes, handles, outstanding, owned;
	const char *irq;
	bool irq_on, irq_polling;
	uint64_t irq_storms, irq_total, irq_unclaimed;
	unsigned int queue_count, queues_left_out, request_count;
	struct auf_queue_description queues[AUF_DESCRIBED_QUEUES];
	struct auf_request_description requests[AUF_DESCRIBED_REQUESTS];
};

/** auf_device_describe - look at it. Lane 0. */
void auf_device_describe(struct au_device *dev, struct auf_description *description);

#define AUF_REPORT_ENTRIES 48u

/** struct auf_report_entry - a line of a driver's report. @text: if @is_text, else @number. */
struct auf_report_entry {
	char key[40];
	bool is_text;
	char text[80];
	int64_t number;
};

/** auf_report_fn - a report; @why: there is none, and why. */
typedef void (*auf_report_fn)(void *context, const struct auf_report_entry *entries,
			      unsigned int count, const char *why);

/**
 * auf_device_report - ask the driver how its device is. @done is called once, within 150 ms or so,
 * perhaps before this returns. Lane.
 * Return: 0; -ENOTSUP: it has nothing to say; -EBUSY: it is being asked.
 */
int auf_device_report(struct au_device *dev, auf_report_fn done, void *context);
/** auf_device_reports - whether its driver has something to say. Any thread. */
bool auf_device_reports(const struct au_device *dev);

/**
 * auf_device_hold - park the device's other lanes between two turns: until auf_device_let_go()
 * whatever is theirs may be used here, too. May be nested; free of charge with one lane. Lane 0.
 */
void auf_device_hold(struct au_device *dev);
/** auf_device_let_go - they go on. Lane 0. */
void auf_device_let_go(struct au_device *dev);
/** auf_device_next_lane - where to open the next handle: the lane that has the fewest. Lane 0. */
struct au_lane *auf_device_next_lane(struct au_device *dev);
/** auf_device_unit - the unit with that index, or NULL. Lane. */
struct au_unit *auf_device_unit(struct au_device *dev, unsigned int index);

/* ------------------------------------------------- handles: who sends requests */

/**
 * struct auf_progress - how far a request has come, in memory that outlives the host. Stored around
 * each access to the device by whoever runs the request; read by the client after a death.
 * @started: bytes handed to the device; by class for other operations.
 * @done: bytes that certainly are. started - done are uncertain.
 * @flags: AUF_OWNED, AUF_SOLO.
 * @tag: which request this is about: the sender's, who stores it last, when the rest is set for a
 *	new request.
 * @both: @started and @done at a time.
 */
struct auf_progress {
	union {
		struct {
			_Atomic uint32_t started;
			_Atomic uint32_t done;
		};
		_Atomic uint64_t both;
	};
	_Atomic uint32_t flags;
	_Atomic uint32_t tag;
};
#define AUF_OWNED 1u /* the driver has owned it */
#define AUF_SOLO  2u /* ... with no other suspect: if the host dies now, this one did it */

/**
 * struct auf_submit - a request on its way in. Up to @progress it lies as struct au_wire_submit
 * does: a channel hands in what it has copied from its ring.
 * @tag: given back at completion.
 * @progress: never NULL; set to @started, @done and no flags by the sender.
 * @started, @done: of an earlier generation, for AU_REQ_REPLAY; hostile input.
 * @suspect: deliver it alone.
 */
struct auf_submit {
	uint64_t tag;
	void *data;
	uint64_t arg[2];
	uint16_t op;
	uint16_t flags;
	uint32_t length;
	uint32_t timeout_ms;
	uint32_t reserved;
	uint32_t started;
	uint32_t done;
	bool suspect;
	uint32_t reserved2;
	struct auf_progress *progress;
};

/**
 * struct auf_handle_config - a handle: one client's way to one unit.
 * @depth: request slots, preallocated.
 * @lane: where it is used, from auf_device_next_lane(); NULL: lane 0.
 * @quiet: AU_OPEN_QUIET.
 * @replaying: the handle lived in an earlier generation.
 * @dma_offset: what to add to the address of a request's data for where the device finds them.
 * @complete: a request is done; called on the lane, for each submitted one exactly once.
 * @flush: make what was completed visible to the client now, whatever happens next. Optional.
 * @event: something happened on the unit; may be called at any time on the lane.
 */
struct auf_handle_config {
	uint32_t depth;
	struct au_lane *lane;
	bool quiet;
	bool replaying;
	uint64_t dma_offset;
	void (*complete)(struct auf_handle *handle, int status, uint32_t result,
			 uint16_t device_status, uint32_t slot, uint64_t tag);
	void (*flush)(struct auf_handle *handle);
	void (*event)(struct auf_handle *handle, const struct au_event *event);
	void *context;
};

/** auf_handle_open - open a handle on a unit. Lane 0. */
int auf_handle_open(struct au_unit *unit, const struct auf_handle_config *config,
		    struct auf_handle **out);
/** auf_handle_context - the @context of its configuration, which is the first thing in a handle. */
static inline void *auf_handle_context(const struct auf_handle *handle)
{
	return *(void *const *)(const void *)handle;
}
/** auf_handle_close - cancel what is outstanding and free the handle when the driver has let go of
 * its requests; @closed(context) is then called (at once when nothing is outstanding; with several
 * lanes on lane 0, later, unless they are held). complete() and event() are not called any more.
 * The handle's lane. */
void auf_handle_close(struct auf_handle *handle, void (*closed)(void *context), void *context);
/** auf_submit - hand a request in at @slot (< depth, must be free: -EBUSY otherwise). May complete
 * it before it returns. A refusal by class or queue is a completion, not an error of this call.
 * The handle's lane. */
int auf_submit(struct auf_handle *handle, uint32_t slot, const struct auf_submit *submit);
/** auf_cancel - ask for cancellation of the request at @slot if its tag is @tag. The handle's lane.
 */
int auf_cancel(struct auf_handle *handle, uint32_t slot, uint64_t tag);

/* ----------------------------------------------------------------- classes */

/**
 * struct auf_class - a class of units. All called on the lane.
 * @name: "serial".
 * @submit: check a request and put it into a queue, see auf_queue_put(), or complete it. The driver
 *	is not called for it before a queue delivers it: only queues run suspects alone. NULL: it
 *	goes to the unit's queues at once.
 * @opened: a handle is there; @flags: AUF_OPEN_*. Optional, like all that follow.
 * @closed: a handle has gone, its requests are complete; @last: no other is left.
 * @restore: after d0_entry(), before interrupts: program the settings in force.
 * @gate: replay is over, queues are about to deliver. Called once per start, also when nothing was
 *	replayed.
 * @suspend: before d0_exit(): the driver is not called from here on until restore(), into D3 too.
 * @resumed: in D0 again after D3; before queues deliver.
 * @drain: hand the driver nothing new. Return: whether something is half done. Called again until
 *	it is not, see auf_device_drain().
 * @remove: free the class' part of the unit.
 * @first_op: operations below it are refused with -AU_ENOTSUP.
 * @plain_op: operations from here to @last_op that the unit's reach allows go straight to the
 * default queue, past submit(); 0: none. See auf_unit_reach().
 * @last_op: operations above it are refused; 0: none are.
 * @keeps_up: a handle keeps the device in D0, unless it is quiet: something may come that nobody
 *	asked for.
 * @bytes: a result is a number of bytes, at most those of the request.
 */
struct auf_class {
	const char *name;
	void (*submit)(struct au_unit *unit, struct au_request *req);
	void (*opened)(struct au_unit *unit, struct auf_handle *handle, uint32_t flags);
	void (*closed)(struct au_unit *unit, struct auf_handle *handle, bool last);
	int (*restore)(struct au_unit *unit, enum au_power from);
	void (*gate)(struct au_unit *unit);
	void (*suspend)(struct au_unit *unit);
	void (*resumed)(struct au_unit *unit);
	bool (*drain)(struct au_unit *unit);
	void (*remove)(struct au_unit *unit);
	uint16_t first_op;
	uint16_t plain_op;
	uint16_t last_op;
	bool keeps_up;
	bool bytes;
};

#define AUF_OPEN_FIRST	   1u /* no other handle is open */
#define AUF_OPEN_QUIET	   2u /* AU_OPEN_QUIET */
#define AUF_OPEN_REPLAYING 4u /* the handle lived in an earlier generation */

/** auf_handle_event - an event for one handle alone; au_unit_event() tells them all. Lane. */
void auf_handle_event(struct auf_handle *handle, uint16_t kind, uint32_t count, uint64_t arg0,
		      uint64_t arg1);

/** auf_unit_add - add a unit of a class; @priv is the class' part of it. */
int auf_unit_add(struct au_device *dev, const struct auf_class *cls, void *priv,
		 struct au_unit **out);
/** auf_unit_add_at - the same, in a place of its own: @number from 1; 0: the next free one. */
int auf_unit_add_at(struct au_device *dev, const struct auf_class *cls, void *priv,
		    unsigned int number, struct au_unit **out);
/**
 * auf_unit_reach - which requests are plain: those whose arg[0] and length are multiples of
 * @mask + 1, whose length is from @min to @max, and which end at most at @end. @max is at most
 * @end.
 */
void auf_unit_reach(struct au_unit *unit, uint64_t end, uint32_t mask, uint32_t min, uint32_t max);
/** auf_unit_priv - the class' part. */
void *auf_unit_priv(const struct au_unit *unit);
/** auf_unit_state - the unit's class state, AUF_UNIT_STATE bytes that outlive the host. */
void *auf_unit_state(struct au_unit *unit, bool *fresh);
/** auf_unit_index - 0, 1, ... within its device. */
unsigned int auf_unit_index(const struct au_unit *unit);
/** auf_unit_handles - how many are open. */
unsigned int auf_unit_handles(const struct au_unit *unit);
/** auf_unit_asleep - whether its device is in D3, or on its way there or back: the driver must not
 * be called. Lane 0. */
bool auf_unit_asleep(const struct au_unit *unit);
/** auf_unit_class - its class. */
const struct auf_class *auf_unit_class(const struct au_unit *unit);
/** auf_queue_put - class: let a request that submit() took go on to a queue. */
void auf_queue_put(struct au_queue *queue, struct au_request *req);
/** auf_queue_purge_waiting - class: what was not delivered yet ends with -AU_ECANCELED. For a queue
 * that delivers nothing meanwhile. */
void auf_queue_purge_waiting(struct au_queue *queue);
/** auf_request_park - class: a request that a queue delivered only waits in the class, not in the
 * driver: it is no suspect when the host dies, and does not keep suspects from running alone. */
void auf_request_park(struct au_request *req);
/** auf_request_progress - where its progress is kept. */
struct auf_progress *auf_request_progress(struct au_request *req);
/** auf_request_replay - the started and done that a replay came with. */
void auf_request_replay(const struct au_request *req, uint32_t *started, uint32_t *done);
/** auf_request_owner - the handle it came from, and its tag. */
struct auf_handle *auf_request_owner(const struct au_request *req, uint64_t *tag);

/** auf_take - au_abi_take() of what the driver gave; a failure is logged. */
int auf_take(struct au_device *dev, const struct au_abi_type *type, void *own, const void *given);

/**
 * auf_alloc - zeroed memory for what belongs to a device or its handles, or NULL; au_os_free()
 * gives it back. Where memory is to fail the verifier lets it fail here.
 */
void *auf_alloc(struct au_device *dev, size_t size);

/* ---------------------------------------------------------------- verifier */

/** auf_verify_action - called when a driver under the verifier has broken @rule, after the line
 * that says so; abort() unless set. Set it before there are devices. */
extern void (*auf_verify_action)(struct au_device *dev, const char *rule);
/** auf_rule - the name of the rule with that index, and what it says; NULL behind the last. */
const char *auf_rule(unsigned int index, const char **text);

#endif
