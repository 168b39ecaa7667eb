/* SPDX-License-Identifier: MIT */
/**
 * DOC: The manager's own structures
 *
 * One thread, one event loop. A device owns its host (the process), its channels and its client
 * connections; whatever happens to one of these is an event of the device, and device.c decides.
 * Nothing here waits for a host, a client or a device server.
 */
#ifndef AU_MANAGER_MANAGER_H
#define AU_MANAGER_MANAGER_H

#include "auriga/auriga.h"
#include "base/list.h"
#include "base/log.h"
#include "base/loop.h"
#include "base/paths.h"
#include "base/recorder.h"
#include "bus/bus.h"
#include "channel/message.h"
#include "channel/wire.h"
#include "host/spawn.h"
#include "manager/budget.h"
#include "manager/drivers.h"
#include "manager/module.h"
#include "manager/spec.h"

#include <jansson.h>

struct au_trace_item;
struct au_trace_view;
struct mgr_http;
struct mgr_host;
struct mgr_device;
struct mgr_open_job;
struct mgr_listener;
struct mgr_pnp;
struct mgr_upgrade;

#define MGR_UNITS	 16
#define MGR_TEXT	 320
#define MGR_HISTORY	 32
#define MGR_RECOVERIES	 32
#define MGR_CLIENTS_MAX	 200	      /* connections per device */
#define MGR_CHANNELS_MAX 240	      /* ... with those that are being closed */
#define MGR_POOL_MAX	 (64u << 20)  /* bytes of one client's pool */
#define MGR_POOLS_MAX	 (256u << 20) /* bytes of all pools of a device */
#define MGR_BEAT_MS	 300	      /* between signs of life */
#define MGR_HANG_MS	 600	      /* a beat unanswered for so long is a hang */
#define MGR_CHANCE_MS	 20	      /* ... of a processor is enough to answer it */
#define MGR_EXCUSE_MS	 4000	      /* ... if so much more is not for want of a processor */
#define MGR_START_MS	 10000	      /* from spawn to AU_HM_READY */
#define MGR_STOP_MS	 5000	      /* from AU_HM_STOP to exit */
#define MGR_OPEN_MS	 2000	      /* to open a session with a device server */
#define MGR_HELLO_MS	 5000	      /* from connect to hello */
#define MGR_DYING_MS	 500	      /* for one that was killed as the system is suspended */
#define MGR_REJOIN_MS	 5000	      /* for clients after the manager's death */
#define MGR_UID_FIRST	 1900000000u  /* default range of hosts' uids */
#define MGR_UID_COUNT	 1000u
#define MGR_UID_RANGES	 200000u /* one for each runtime directory */

/**
 * struct mgr - the manager.
 * @uid_first, @uid_count: for hosts.
 * @as_root: it can give hosts uids of their own.
 * @dying: hosts without a device: killed, not yet reaped.
 * @tick_ns: when supervision last looked.
 * @standby: a host that waits for its device, or NULL.
 * @suspended: the system is to be, or is; @suspend_ns: when that was last asked for, or the
 * opposite; @suspend_wall_ms: the same, for people.
 * @power_calls: requests that wait until all devices have followed.
 */
struct mgr {
	struct au_loop *loop;
	char dir[AU_PATH_MAX];
	char config_dir[AU_PATH_MAX];
	char host_program[AU_PATH_MAX];
	uid_t uid_first;
	unsigned int uid_count;
	uint32_t idle_ms;
	bool as_root;
	bool stopping;
	bool host_stdio;
	bool want_standby;
	int lock_fd;
	struct mgr_drivers drivers;
	struct au_list devices;
	struct au_list dying;
	struct au_loop_timer tick;
	uint64_t tick_ns;
	struct mgr_http *http;
	struct au_watch signals;
	int signal_fd;
	struct au_loop_timer stop_timer;
	unsigned int next_slot;
	unsigned int next_number;
	struct mgr_host *standby;
	struct au_loop_timer standby_timer;
	bool suspended;
	uint64_t suspend_ns;
	int64_t suspend_wall_ms;
	uint32_t power_seq;
	struct au_list power_calls;
	struct au_loop_timer power_step;
	struct mgr_pnp *pnp;
};

/* ------------------------------------------------------------------- hosts */

enum mgr_host_state {
	MGR_HOST_SPAWNED,  /* waits for AU_HM_START */
	MGR_HOST_STARTING, /* has it */
	MGR_HOST_READY,	   /* said AU_HM_READY */
	MGR_HOST_STOPPING, /* was told AU_HM_STOP */
	MGR_HOST_KILLED,   /* SIGKILL was sent, or is not needed any more */
};

/** enum mgr_verdict - why a host ended. */
enum mgr_verdict {
	MGR_VERDICT_NONE,
	MGR_VERDICT_CRASH,    /* a signal that is its own fault */
	MGR_VERDICT_KILLED,   /* a signal that somebody sent */
	MGR_VERDICT_HANG,     /* no sign of life, or a request not let go: killed by us */
	MGR_VERDICT_STOPPED,  /* SIGSTOP from outside: killed by us */
	MGR_VERDICT_EXIT,     /* it left by itself */
	MGR_VERDICT_START,    /* not up in time: killed by us */
	MGR_VERDICT_PROTOCOL, /* it sent garbage: killed by us */
	MGR_VERDICT_REQUEST,  /* restart --crash */
};

/**
 * struct mgr_host - a host process.
 * @dev: NULL once the device has let go of it; it is then in mgr->dying.
 * @child: it is our child; an adopted one is not, and has no exit status.
 * @beat: last number sent; @beat_ns: when the oldest unanswered one was; 0: all are answered.
 * @looked_ns: when somebody last looked for the answer; @starved_ns: how long its threads had
 * waited for a processor then; @excused_ns: how much was added to @beat_ns for that.
 * @completed: requests, when last looked at; @credited_ns: service time is credited up to here.
 * @verdict, @why: set by whoever kills it.
 * @blocked: it did not read; channels have messages for it.
 * @log_tokens: lines that it may still write to our log.
 * @hearing: messages that are still read before the next tick; a flood waits in its socket.
 */
struct mgr_host {
	struct mgr *mgr;
	struct mgr_device *dev;
	struct au_list node;
	pid_t pid;
	uint64_t start_time;
	int pidfd;
	int control;
	int status_fd;
	struct au_watch pid_watch;
	struct au_watch control_watch;
	struct au_recorder recorder;
	struct au_host_cgroup cgroup;
	unsigned int number;
	enum mgr_host_state state;
	bool child;
	bool serving;
	bool blocked;
	uint32_t generation;
	uint32_t beat;
	uint64_t beat_ns;
	uint64_t looked_ns, ran_ns, waited_ns, excused_ns;
	uint64_t completed;
	uint64_t credited_ns;
	uint64_t ready_ns;
	unsigned int log_tokens;
	unsigned int hearing;
	enum mgr_verdict verdict;
	char why[MGR_TEXT];
};

/** mgr_host_process - start a process; it waits for AU_HM_START. */
int mgr_host_process(struct mgr *mgr, const char *name, uint32_t without, struct mgr_host **host,
		     char *error, size_t error_size);
/** mgr_host_sweep - remove the cgroups of hosts that died with the manager before us. */
void mgr_host_sweep(struct mgr *mgr);
/** mgr_standby_check - see to it that a host stands by while there are devices, and none else. */
void mgr_standby_check(struct mgr *mgr);
/** mgr_standby_lost - it died. */
void mgr_standby_lost(struct mgr *mgr);
/** mgr_host_spawn - a process for @dev: the one that stands by, or a new one. */
int mgr_host_spawn(struct mgr_device *dev, struct mgr_host **host, char *error, size_t error_size);
/** mgr_host_adopt - take over a living host; owns @control on success. */
int mgr_host_adopt(struct mgr_device *dev, pid_t pid, uint64_t start_time, unsigned int number,
		   int control, struct mgr_host **host);
/** mgr_host_kill - SIGKILL, at once and for sure; what follows comes through the pidfd. */
void mgr_host_kill(struct mgr_host *host, enum mgr_verdict verdict, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** mgr_host_free - forget a dead host. */
void mgr_host_free(struct mgr_host *host);
/** mgr_host_send - send a message. Return: 0; -EAGAIN when it does not read. */
int mgr_host_send(struct mgr_host *host, void *msg, size_t length, const int *fds,
		  unsigned int fd_count);
/** mgr_host_hear - a tick has passed: it may talk again. */
void mgr_host_hear(struct mgr_host *host);
/** mgr_host_start - send AU_HM_START with everything. */
int mgr_host_start(struct mgr_host *host, const struct au_bus_session *session,
		   const int session_fds[AU_BUS_FDS], char *error, size_t error_size);
/** mgr_process_start_time - field 22 of /proc/PID/stat; 0: no such process. @state: field 3. */
uint64_t mgr_process_start_time(pid_t pid, char *state);

/* ------------------------------------------------------------ opening sessions */

/**
 * struct mgr_open_result - what became of opening a session. @fds are the receiver's.
 */
struct mgr_open_result {
	int err;
	int fds[AU_BUS_FDS];
	struct au_bus_session session;
	char error[MGR_TEXT];
};

/**
 * mgr_open_start - open a session with a device server in a thread of its own.
 * @done: called on the loop, once, unless cancelled.
 * Return: the job, NULL without memory.
 */
struct mgr_open_job *mgr_open_start(struct mgr *mgr, const char *address,
				    void (*done)(void *context, struct mgr_open_result *result),
				    void *context);
/** mgr_open_cancel - do not call done() any more; what comes is closed. */
void mgr_open_cancel(struct mgr_open_job *job);

/* ----------------------------------------------------------------- devices */

enum mgr_state {
	MGR_CONFIGURED,	 /* not started, or its start was refused: see the reason */
	MGR_STARTING,	 /* first start */
	MGR_RUNNING,	 /* serving */
	MGR_STOPPING,	 /* on the way down */
	MGR_IDLE,	 /* unloaded; the next open loads it */
	MGR_RESTARTING,	 /* its host died */
	MGR_QUARANTINED, /* it failed too often */
	MGR_GONE,	 /* the device was removed */
	MGR_DETACHED,	 /* being forgotten */
};

/** enum mgr_after - what follows when a host has stopped in order. */
enum mgr_after {
	MGR_AFTER_IDLE,
	MGR_AFTER_RESTART,
	MGR_AFTER_UPGRADE,
	MGR_AFTER_GONE,
	MGR_AFTER_DETACH
};

struct mgr_unit {
	char cls[16];
	bool present;
	struct mgr_listener *listener;
};

struct mgr_history {
	int64_t wall_ms;
	uint32_t generation;
	enum mgr_state state;
	char reason[120];
};

/**
 * struct mgr_recovery - the times of one way from a death to service, CLOCK_MONOTONIC ns; 0: not
 * reached.
 * @alive_ns: the last sign of life, for a hang.
 */
struct mgr_recovery {
	uint32_t generation;
	enum mgr_verdict verdict;
	int64_t wall_ms;
	uint64_t alive_ns, dead_ns, spawned_ns, session_ns, started_ns, ready_ns, serving_ns;
	uint64_t host_loaded_us, host_sandboxed_us, host_started_us;
};

/** enum mgr_phase - where a device is between a running system and one that is suspended. */
enum mgr_phase {
	MGR_PHASE_UP,
	MGR_PHASE_GOING_DOWN,
	MGR_PHASE_DOWN,
	MGR_PHASE_GOING_UP,
};

/**
 * struct mgr_power - power of a device.
 * @seq: of the suspend or resume that its host has not answered; 0: there is none.
 * @deferred: it was to be started while the system is suspended, and is at resume.
 * @idle_ms: its idle time now; that of its policy until somebody says another.
 * @ups, @downs: of hosts before this one.
 * @began_ns, @ended_ns: of its way down or up; @how: what became of it.
 * @due: the time for it is up.
 */
struct mgr_power {
	enum mgr_phase phase;
	uint32_t seq;
	bool deferred;
	uint32_t idle_ms;
	uint64_t ups, downs;
	uint64_t began_ns, ended_ns;
	char how[120];
	struct au_loop_timer due;
};

/**
 * struct mgr_upgraded - how the last replacement of its driver went: from the first moment that
 * clients had to wait. @count: of all of them.
 */
struct mgr_upgraded {
	uint32_t count;
	char from[16], to[16], result[16];
	char path[AU_PATH_MAX];
	char why[MGR_TEXT];
	int64_t wall_ms;
	uint64_t drained_us, ready_us, paused_us;
};

/**
 * struct mgr_device - a device.
 * @driver_path: of the module that runs it.
 * @module: that module. It is read again before a start if its file has changed, unless it is
 *	@module_pinned: what is in the file now has failed.
 * @module_given: it was named as a file, for an upgrade.
 * @upgrade: one under way, or NULL.
 * @from_config: a file describes it: spec.source, or one that a manager before us has read.
 * @slot: number of the uid of its host, in the range.
 * @clients: connections; @channels: also those whose client has gone and whose host has not let go.
 * @state_fd, @retained_fd: memory that outlives hosts; -1: none yet.
 * @claim_fd: says to others that somebody runs this device; -1: nobody.
 * @error: negative errno of the last failure; @refused: what a host said that could not start.
 * @away: it could not be reached since its host died: waited for, whoever is to blame.
 * @provisional: attached by request and never up yet: a refused start forgets it.
 * @forgotten: in no list any more; freed by the next turn of the loop.
 * @removed: it was pulled out, and has not been up since.
 * @removals: how often it was pulled out; what is there then may be another one.
 * @again: it was stopped in order, to be started with what is there then.
 * @leaving: it is to be detached as soon as what its clients have submitted has ended.
 * @look: for a device that is away, see pnp.c.
 * @after: what to do when the host is down.
 * @evidence: of the last death, JSON.
 * @dead: the flight recorder of the host that died last.
 * @awaited: clients that had it open when manager and host died.
 */
struct mgr_device {
	struct mgr *mgr;
	struct au_list node;
	struct mgr_spec spec;
	struct au_note note;
	char driver_name[32];
	char driver_path[AU_PATH_MAX];
	struct mgr_module module;
	bool module_pinned, module_given;
	struct mgr_upgrade *upgrade;
	struct mgr_upgraded upgraded;
	bool from_config;
	unsigned int slot;
	struct mgr_ids ids;
	bool ids_known;

	enum mgr_state state;
	char reason[MGR_TEXT];
	char gone_why[MGR_TEXT / 2]; /* while it is gone */
	uint32_t gone_reason;	     /* enum au_gone */
	char refused[MGR_TEXT];
	int error;
	bool held;
	bool away;
	bool provisional;
	bool forgotten;
	bool removed;
	bool again;
	bool leaving;
	uint32_t removals;
	struct mgr_look {
		struct au_loop_timer timer;
		struct mgr_open_job *job;
		uint32_t delay_ms;
		int watch;	      /* a directory on the way to its socket; -1: none */
		unsigned int missing; /* where in the path what is not there yet begins */
		bool on;
	} look;
	uint32_t generation;
	uint32_t restarts;
	struct mgr_budget budget;
	int64_t since_wall_ms;

	struct mgr_unit units[MGR_UNITS];
	unsigned int unit_count;
	struct mgr_listener *listener;
	int host_listen_fd;
	struct au_list clients;
	struct au_list channels;
	uint32_t next_channel;
	unsigned int client_count;

	struct mgr_host *host;
	struct mgr_open_job *open_job;
	struct mgr_open_result session;
	bool session_ready;
	bool from_failed;
	int state_fd;
	bool state_fresh;
	int retained_fd;
	bool retained_fresh;
	uint32_t retained_version;
	uint64_t retained_bytes;
	int claim_fd;
	enum mgr_after after;
	struct au_loop_timer deadline; /* of a start or a stop */
	struct au_loop_timer retry;    /* back-off */
	struct au_loop_timer idle;
	struct au_loop_timer save;
	struct au_loop_timer leave; /* at the latest */

	struct mgr_history history[MGR_HISTORY];
	unsigned int history_count;
	struct mgr_recovery recoveries[MGR_RECOVERIES];
	unsigned int recovery_count;
	struct mgr_recovery current;
	uint64_t completed_total;
	uint64_t deaths[MGR_VERDICT_REQUEST + 1];
	json_t *layers;
	json_t *evidence;
	struct {
		struct au_recorder recorder;
		uint32_t generation;
		pid_t pid;
	} dead;
	struct au_list calls;
	unsigned int awaited;
	struct mgr_power power;
};

/** mgr_device_create - make a device of a checked spec; takes over its params on success. Where
 * a driver is named it is found, and the parameters are checked; nothing is started.
 * @by_path: a driver may be named by path. */
int mgr_device_create(struct mgr *mgr, struct mgr_spec *spec, bool by_path, struct mgr_device **dev,
		      char *error, size_t error_size);
/** mgr_device_set_driver - the module that runs it: read its note, check the parameters, and name
 * the device when it has no name. */
int mgr_device_set_driver(struct mgr_device *dev, const char *path, char *error, size_t error_size);
/** mgr_device_fits - whether that module can run it: parameters, class, bus. @note: gets the note
 * with the parameters taken into account. */
int mgr_device_fits(const struct mgr_device *dev, const struct mgr_module *module,
		    struct au_note *note, char *error, size_t error_size);
/** mgr_device_set_module - the same as mgr_device_set_driver() for one that was read; taken. */
int mgr_device_set_module(struct mgr_device *dev, struct mgr_module *module, char *error,
			  size_t error_size);
/** mgr_device_load - before a start: read its module again, if its file has changed. */
int mgr_device_load(struct mgr_device *dev, char *error, size_t error_size);
/** mgr_device_choose - the module that it would get if it were attached now. @path: AU_PATH_MAX. */
int mgr_device_choose(struct mgr_device *dev, char *path, char *error, size_t error_size);
/** mgr_device_uid - choose the uid of the next host. A new one each time: what is left of an
 * earlier host, if only an unreaped process, must not count against it. */
int mgr_device_uid(struct mgr_device *dev, char *error, size_t error_size);
/** mgr_device_free - the last step: nothing refers to it any more. */
void mgr_device_free(struct mgr_device *dev);
/** mgr_device_find - by name, or NULL. */
struct mgr_device *mgr_device_find(struct mgr *mgr, const char *name);
/** mgr_device_at - by address, or NULL. */
struct mgr_device *mgr_device_at(struct mgr *mgr, const char *address);
/** mgr_device_want - somebody wants it up: start it if it is not. */
void mgr_device_want(struct mgr_device *dev);
/** mgr_device_restart - in order, or as after a crash; a quarantined one gets a new budget. */
void mgr_device_restart(struct mgr_device *dev, bool crash);
/** mgr_device_hold - suspend verdicts, or resume them. */
void mgr_device_hold(struct mgr_device *dev, bool on);
/** mgr_device_detach - stop it and forget it; the device is freed when its host is down. */
void mgr_device_detach(struct mgr_device *dev, const char *reason);
/** mgr_device_leave - the same as soon as what was submitted has ended, or after @timeout_ms. */
void mgr_device_leave(struct mgr_device *dev, uint32_t timeout_ms);
/** mgr_device_left - it has. */
void mgr_device_left(struct mgr_device *dev);
/** mgr_device_finish - tell its host, if it has one, that it is leaving. */
void mgr_device_finish(struct mgr_device *dev);
/** mgr_device_idle_check - start or stop the idle clock: the number of clients has changed. */
void mgr_device_idle_check(struct mgr_device *dev);
/** mgr_state_name - "running", ... */
const char *mgr_state_name(enum mgr_state state);
/** mgr_device_state - the state as people see it: "held" and "waiting" too. */
const char *mgr_device_state(const struct mgr_device *dev);
/** mgr_verdict_name - "crash", ... */
const char *mgr_verdict_name(enum mgr_verdict verdict);
/** mgr_unit_name - "serial0", or "serial0.2" where there are several. */
void mgr_unit_name(const struct mgr_device *dev, unsigned int unit, char *buf, size_t size);

/* Events, from the files that see them. */
void mgr_device_message(struct mgr_device *dev, const struct au_msg_head *msg, size_t length,
			int fds[AU_MSG_FDS]);
void mgr_device_host_dead(struct mgr_device *dev, struct mgr_host *host, int status);
void mgr_device_start_failed(struct mgr_device *dev, int error, const char *text);
/** mgr_device_up - take over what AU_HM_READY or AU_HM_ADOPTED says. Return: 0 or -EPROTO. */
int mgr_device_up(struct mgr_device *dev, const json_t *object);
/** mgr_device_removed - the device is gone, @reason: enum au_gone, @why: in words, or empty:
 * clients are told, the host goes down. Return: 0. */
int mgr_device_removed(struct mgr_device *dev, uint32_t reason, const char *why);
/** mgr_device_credit - put completions and service into the budget. */
void mgr_device_credit(struct mgr_device *dev);
/** mgr_device_timers - part of making a device. */
void mgr_device_timers(struct mgr_device *dev);
/** mgr_device_adopting - from before our time: its host @lives and has @timeout_ms to answer; or it
 * died, and is started again when clients have had time to come back. */
void mgr_device_adopting(struct mgr_device *dev, bool lives, uint32_t timeout_ms);
/** mgr_device_rejoined - one of the clients that a dead host had is back. */
void mgr_device_rejoined(struct mgr_device *dev);
/** mgr_device_adopted - a host from before our time serves it. */
void mgr_device_adopted(struct mgr_device *dev);
/** mgr_device_restore - from before our time, without a host. */
void mgr_device_restore(struct mgr_device *dev, enum mgr_state state, const char *reason);

/* -------------------------------------------------------------------- power */

/** mgr_power_load - at the manager's start: was the system suspended when the last one ended? */
void mgr_power_load(struct mgr *mgr);
/** mgr_power_system - suspend the system's devices, or resume them: begins it. */
void mgr_power_system(struct mgr *mgr, bool suspend);
/** mgr_power_reached - whether all devices have followed. */
bool mgr_power_reached(const struct mgr *mgr);
/** mgr_power_init - part of making a device. */
void mgr_power_init(struct mgr_device *dev);
/** mgr_power_forget - it leaves the list of devices. */
void mgr_power_forget(struct mgr_device *dev);
/** mgr_power_defers - it is to be started: whether that has to wait for the system's resume. */
bool mgr_power_defers(struct mgr_device *dev);
/** mgr_power_up - its host serves it, a new one or an adopted one. */
void mgr_power_up(struct mgr_device *dev);
/** mgr_power_settle - its state has changed. */
void mgr_power_settle(struct mgr_device *dev);
/** mgr_power_dead - its host is dead. */
void mgr_power_dead(struct mgr_device *dev, const struct mgr_host *host);
/** mgr_power_answered - AU_HM_POWERED. Return: 0 or -EPROTO. */
int mgr_power_answered(struct mgr_device *dev, const struct au_hm_powered *msg, size_t length);
/** mgr_power_tell - send its host a verb. Return: the number that the answer will have, or 0. */
uint32_t mgr_power_tell(struct mgr_device *dev, enum au_power_verb verb, uint32_t value);
/** mgr_power_idle - change its idle time: now, and for hosts to come. */
void mgr_power_idle(struct mgr_device *dev, uint32_t idle_ms);
/** mgr_power_state - as people see it: "d0", "suspended", ... */
const char *mgr_power_state(const struct mgr_device *dev);
/** mgr_power_json - what is known of its power. */
json_t *mgr_power_json(const struct mgr_device *dev);
/** mgr_power_report - how each device followed the last suspend or resume. */
json_t *mgr_power_report(const struct mgr *mgr);
/** mgr_power_counts - how often it went up and down, in all its hosts. */
void mgr_power_counts(const struct mgr_device *dev, uint64_t *ups, uint64_t *downs);

/** mgr_needs_check - whether what @spec needs leads back to it: 0, or -EINVAL and one line. */
int mgr_needs_check(struct mgr *mgr, const struct mgr_spec *spec, char *error, size_t error_size);
/** mgr_needs - whether @dev needs @other. */
bool mgr_needs(const struct mgr_device *dev, const struct mgr_device *other);
/** mgr_boot_id - which start of the machine this is. */
const char *mgr_boot_id(void);

/* -------------------------------------------------------------- supervision */

/** mgr_supervise - see to it that the beat goes on while there are hosts. */
void mgr_supervise(struct mgr *mgr);
/** mgr_host_verdict - what a dead host died of, and in words. */
enum mgr_verdict mgr_host_verdict(struct mgr_host *host, int status, int *signal, char *text,
				  size_t size);
/** mgr_evidence - what a dead host left behind, as JSON. */
json_t *mgr_evidence(struct mgr_device *dev, struct mgr_host *host, enum mgr_verdict verdict,
		     int signal, const char *text);
/** mgr_trace_record - a record of a flight recorder, or a line of text, as JSON. */
json_t *mgr_trace_record(const struct mgr_device *dev, const struct au_trace_view *view,
			 const struct au_trace_item *item);
/** mgr_trace_keep - @host is dead: its flight recorder is the device's until the next one dies. */
void mgr_trace_keep(struct mgr_device *dev, struct mgr_host *host);
/** mgr_trace_forget - let go of it. */
void mgr_trace_forget(struct mgr_device *dev);

/* --------------------------------------------------- clients and their channels */

/**
 * struct mgr_channel - one client's way to one unit, across generations.
 * @client: NULL: it has gone, and the host has not let go yet; or it has not come back yet.
 * @opened: the host of this generation was told.
 * @lived: it was open in an earlier generation.
 * @awaited: ... and had requests with that host, as far as is known: the next one waits for them.
 * @told: the client was told about this generation.
 * @fault: the host that it was open in died by its own fault; for the next AU_CM_CHANNEL.
 * @pool_known: the client has the pool already.
 * @rings, @doorbell: for the client, until it is told.
 */
struct mgr_channel {
	struct au_list node;
	struct mgr_device *dev;
	struct mgr_client *client;
	uint32_t id;
	unsigned int unit;
	uint32_t depth;
	uint32_t buffer_size;
	uint32_t flags;
	uint64_t token[2];
	uid_t uid;
	bool opened, lived, awaited, told, fault, pool_known, closing, close_sent;
	char cls[16]; /* of the unit, as its client knows it */
	int pool_fd;
	int rings_fd;
	int doorbell_fd[2];
	struct au_loop_timer rejoin;
};

int mgr_listeners_open(struct mgr_device *dev, char *error, size_t error_size);
void mgr_listeners_close(struct mgr_device *dev);
/** mgr_units_changed - put up and take down sockets as units are now. */
void mgr_units_changed(struct mgr_device *dev);
/**
 * mgr_channels_look - @host is dead: which channels had requests with it. It is its own word, and
 * whatever it is, costs nobody more than the order of requests of different clients.
 */
void mgr_channels_look(struct mgr_device *dev, const struct mgr_host *host);
/** mgr_channels_replaying - how many channels will replay in the next host. */
unsigned int mgr_channels_replaying(struct mgr_device *dev);
/** mgr_channels_reopen - tell a starting host about the channels that replay. */
void mgr_channels_reopen(struct mgr_device *dev);
/** mgr_channels_up - the host is ready: tell the clients, open what is new. */
void mgr_channels_up(struct mgr_device *dev);
/** mgr_channels_hold - the host is about to go down, for another one: tell the clients. */
void mgr_channels_hold(struct mgr_device *dev);
/** mgr_channels_down - the host is dead: tell the clients. */
void mgr_channels_down(struct mgr_device *dev, bool fault);
/** mgr_channels_retry - the host reads again. */
void mgr_channels_retry(struct mgr_device *dev);
/** mgr_channel_ended - AU_HM_ENDED. */
void mgr_channel_ended(struct mgr_device *dev, const struct au_hm_channel *msg);
/** mgr_channel_adopt - a channel that a living host told a new manager about. */
int mgr_channel_adopt(struct mgr_device *dev, const json_t *object);
/** mgr_channels_awaited - whether clients from before our time may still come back. */
bool mgr_channels_awaited(const struct mgr_device *dev);
/** mgr_clients_refuse - end all connections with a reason. @error: negative errno. */
void mgr_clients_refuse(struct mgr_device *dev, int error, const char *text);
/** mgr_clients_gone - the device was pulled out: who has it open hears that, and waits for it to be
 * back. */
void mgr_clients_gone(struct mgr_device *dev, const char *text);
/** mgr_unit_gone - the same for one of its units. */
void mgr_unit_gone(struct mgr_device *dev, unsigned int unit);
/** mgr_clients_refuse_new - end the connections of those who only want to open it. */
void mgr_clients_refuse_new(struct mgr_device *dev, int error, const char *text);
/** mgr_clients_who - who has it open: "cat (1234), fio (99)", and how many more. */
void mgr_clients_who(const struct mgr_device *dev, char *buf, size_t size);
/** mgr_clients_leave - the manager goes: the clients wait for the next. */
void mgr_clients_leave(struct mgr_device *dev);
/** mgr_clients_free - close everything, without a word. */
void mgr_clients_free(struct mgr_device *dev);

/* ------------------------------------------------------------- insertion (pnp.c) */

/** mgr_pnp_start - listen to what tells that devices have come. Without it they are looked for now
 * and then. */
void mgr_pnp_start(struct mgr *mgr);
/** mgr_pnp_look - @dev is away: start it when it is there. */
void mgr_pnp_look(struct mgr_device *dev);
/** mgr_pnp_stop - it is not looked for any more. */
void mgr_pnp_stop(struct mgr_device *dev);

/* ------------------------------------------------------- state files, adoption */

/** mgr_state_save - write RUNDIR/state/NAME.json. */
void mgr_state_save(struct mgr_device *dev);
/** mgr_evidence_save - write RUNDIR/state/NAME.crash: it outlives the manager. */
void mgr_evidence_save(struct mgr_device *dev);
/** mgr_state_remove - the device is forgotten. */
void mgr_state_remove(struct mgr_device *dev);
/** struct mgr_saved - a state file, checked. */
struct mgr_saved {
	struct mgr_spec spec;
	char driver_path[AU_PATH_MAX];
	enum mgr_state state;
	char reason[MGR_TEXT];
	bool from_config, held, detaching, removed, module_given;
	uint32_t generation, restarts, removals;
	uint32_t tokens;
	unsigned int slot;
	pid_t pid;
	uint64_t start_time;
	char boot[40];
	unsigned int number;
	unsigned int clients;
	int64_t power_idle_ms; /* -1: as its policy says */
	unsigned int unit_count;
	struct mgr_unit units[MGR_UNITS];
};
/** mgr_saved_parse - check one. @name: what the file says that it is about. */
int mgr_saved_parse(const json_t *object, const char *name, struct mgr_saved *saved, char *error,
		    size_t error_size);
/** mgr_adopted - AU_HM_ADOPTED. */
int mgr_adopted(struct mgr_device *dev, const char *text, int fds[AU_MSG_FDS]);
/** mgr_adopt_all - read all state files and take over what lives. */
void mgr_adopt_all(struct mgr *mgr);

/* ------------------------------------------------------------- control socket */

/** mgr_http_start - listen on RUNDIR/control.sock. */
int mgr_http_start(struct mgr *mgr, char *error, size_t error_size);
void mgr_http_stop(struct mgr *mgr);
/** mgr_calls_settle - the device has changed: answer the requests that waited for it. */
void mgr_calls_settle(struct mgr_device *dev);
/** mgr_calls_power - all devices have followed a suspend or resume. */
void mgr_calls_power(struct mgr *mgr);
/** mgr_calls_powered - AU_HM_POWERED has come, for a request. */
void mgr_calls_powered(struct mgr_device *dev, uint32_t seq, int result);
/** mgr_calls_answer - AU_HM_ANSWER has come. */
void mgr_calls_answer(struct mgr_device *dev, const char *text);
/** mgr_stuck_described - AU_HM_DESCRIPTION has come. */
void mgr_stuck_described(struct mgr_device *dev, const char *text);
/** mgr_metrics - Prometheus' text format; the caller frees it. */
char *mgr_metrics(struct mgr *mgr);

/** mgr_going_down - leave when the manager was told to, and nothing is left of its hosts. */
void mgr_going_down(struct mgr *mgr);
/** mgr_notify - tell the service manager ("READY=1"), if there is one. */
void mgr_notify(const char *state);
/** mgr_peer - the user at the other end of a socket; (uid_t)-1: not known. */
uid_t mgr_peer(int fd);
/** mgr_peer_pid - its process, as it connected; 0: not known. */
pid_t mgr_peer_pid(int fd);
/**
 * mgr_share - whether a user may have so much: with it he @has, and @left is left for all others.
 * Nobody may have more than he leaves, so that one alone gets half, and there is always room for
 * one more; but root and the manager's own user could take everything in other ways.
 */
bool mgr_share(uid_t uid, size_t has, size_t left);
/** mgr_hash - a number from a text. */
unsigned int mgr_hash(const char *text);
/** mgr_wall_ms - milliseconds since 1970. */
int64_t mgr_wall_ms(void);
/** mgr_close - close a descriptor if it is one, and set it to -1. */
void mgr_close(int *fd);
/** mgr_closer_start - before anything is received from anybody. Return: 0 or a negative errno. */
int mgr_closer_start(void);
/** mgr_close_foreign - mgr_close() for a socket of a client or a host, and for what came through
 * one: it is done by another thread, since it may take for ever. */
void mgr_close_foreign(int *fd);
/** mgr_close_session - the same for a session's descriptors; -1 where there is none. */
void mgr_close_session(int fds[AU_BUS_FDS]);
/** mgr_close_received - the same, for au_msg_set_close(). */
void mgr_close_received(int fd);

#endif
