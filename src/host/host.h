/* SPDX-License-Identifier: MIT */
/**
 * DOC: auriga-host, inside
 *
 * Two threads, or more. The main one talks to the manager and never waits for the driver once it
 * runs; the lane runs the driver and serves the channels. Between them: a mailbox of jobs for the
 * lane, and a link to the manager that both may send on. Where the device has several lanes, each
 * serves its own channels; which there are, and all else that is the host's, is lane 0's business.
 *
 * main.c: the loop. up.c: the way up and down. start.c: what AU_HM_START says. link.c: sending, and
 * managers that come and go. mailbox.c: jobs for the lane. channels.c: clients. report.c: JSON.
 * power.c: D0 and D3. crash.c: last words. sandbox/: what is given up.
 */
#ifndef AU_HOST_HOST_H
#define AU_HOST_HOST_H

#include "base/module.h"
#include "base/note.h"
#include "base/recorder.h"
#include "base/verify.h"
#include "bus/bus.h"
#include "channel/message.h"
#include "channel/server_end.h"
#include "framework/framework.h"
#include "host/sandbox/sandbox.h"

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#define HOST_CONTROL	    3
#define HOST_SPIN_US	    100
#define HOST_GATE_MS	    1000
#define HOST_QUERY_MS	    250
#define HOST_DRAIN_MS	    60000 /* the longest */
#define HOST_EXIT_FAILED    3	  /* the driver has given up: see au_device_failed() */
#define HOST_PARAMS_MAX	    32
#define HOST_CHANNELS_MAX   256
#define HOST_LINK_QUEUE_MAX 512

/** enum host_fd - the descriptors of AU_HM_START. */
enum host_fd {
	HOST_FD_MODULE,
	HOST_FD_STATUS,
	HOST_FD_STATE,
	HOST_FD_RETAINED,
	HOST_FD_ARENA,
	HOST_FD_SESSION, /* AU_BUS_FDS of them, in order */
	HOST_FD_GROUP,
	HOST_FD_CONTAINER,
	HOST_FD_LISTEN,
	HOST_FD_CLAIM,
	HOST_FD_COUNT
};

/** struct host_start - AU_HM_START, checked. Texts belong to @json. */
struct host_start {
	json_t *json;
	const char *name;
	const char *driver;
	const char *address;
	const char *module_path;
	const char *params[HOST_PARAMS_MAX + 1];
	uint32_t generation;
	uint32_t power_idle_ms;
	unsigned int replays;
	bool failed; /* an earlier host has */
	struct au_verify verify;
	bool state_fresh, retained_fresh;
	bool has_session;
	struct au_bus_session session;
	uid_t uid;
	gid_t gid;
	uint32_t without;
	bool cgroup_in_force;
	const char *cgroup_detail;
	int fds[HOST_FD_COUNT];
};

/**
 * host_start_parse - check AU_HM_START's text and sort its descriptors.
 * @fds: taken: those that have a name go to @start->fds, the others are closed.
 * @error: one line. Return: 0 or -EINVAL.
 */
int host_start_parse(const char *text, int fds[AU_MSG_FDS], struct host_start *start, char *error,
		     size_t error_size);
/** host_start_free - close the descriptors and free the texts. */
void host_start_free(struct host_start *start);

struct host_pending;

/** struct host_link - to the manager. Any thread may send. */
struct host_link {
	pthread_mutex_t lock;
	int fd;	  /* -1: there is no manager */
	int wake; /* makes the main thread look at @first */
	uid_t owner;
	struct host_pending *first, **last;
	unsigned int count;
};

/** host_link_init - take over the control socket. Return: 0 or a negative errno. */
int host_link_init(struct host_link *link, int fd);
/** host_link_send - send, or queue; without a manager nothing happens. Fills in the head. */
void host_link_send(struct host_link *link, void *msg, size_t length);
/** host_link_text - the same for a text. */
void host_link_text(struct host_link *link, uint16_t type, const char *text);
/** host_link_text_fds - the same with descriptors; not queued. Return: 0 or a negative errno. */
int host_link_text_fds(struct host_link *link, uint16_t type, const char *text, const int *fds,
		       unsigned int count);
/** host_link_flush - send what is queued. Return: whether something is left. Main thread. */
bool host_link_flush(struct host_link *link);
/** host_link_drop - the manager has gone. */
void host_link_drop(struct host_link *link);
/** host_link_accept - a new manager knocks: let it in if it may, and if there is none. */
void host_link_accept(struct host_link *link, int listener);

struct host;

/** struct host_job - something to do on the lane. Embedded; freed by @fn. */
struct host_job {
	struct host_job *next;
	void (*fn)(struct host *host, struct host_job *job);
};

/** struct host_mailbox - jobs, a source on the lane. */
struct host_mailbox {
	struct auf_source source; /* first */
	pthread_mutex_t lock;
	struct host_job *first, **last;
	struct host *host;
};

/** host_mailbox_init - attach it to the host's lane. */
int host_mailbox_init(struct host_mailbox *box, struct host *host);
/** host_mailbox_post - have it done. Any thread. */
void host_mailbox_post(struct host_mailbox *box, struct host_job *job);
/** host_mailbox_close - take it off the lane; what is still in it is done now. Main thread. */
void host_mailbox_close(struct host_mailbox *box);

/** struct host_channel - one client. */
struct host_channel {
	struct host_channel *next;
	struct host *host;
	struct au_chan_server *server;
	void *rings, *pool;
	int doorbell;
	int pool_fd;	    /* until the device can reach it */
	uint64_t pool_iova; /* 0: it cannot */
	uint32_t id, unit, depth, buffer_size, flags;
	unsigned int lane;
	uint64_t token[2];
	_Atomic bool closing;
	int reason;
	char text[120];
};

/** host_channel_open - AU_HM_OPEN with its descriptors, which are taken. Main thread. */
void host_channel_open(struct host *host, const struct au_hm_open *msg, int fds[AU_MSG_FDS]);
/** host_channel_close - AU_HM_CLOSE. Main thread. */
void host_channel_close(struct host *host, uint32_t id);
/** host_channels_mute - the host goes down: nothing more is completed. Lane 0. */
void host_channels_mute(struct host *host);
/** host_channels_close - close all of them. Lane 0, after the device was stopped. */
void host_channels_close(struct host *host);

/** enum host_query - of the one AU_HM_QUERY that can be under way. */
enum host_query { HOST_QUERY_NONE, HOST_QUERY_POSTED, HOST_QUERY_TAKEN };

struct host {
	struct host_link link;
	struct host_mailbox box;
	struct host_start start;
	struct au_sandbox sandbox;
	struct au_recorder recorder;
	struct au_note note;
	struct au_module module;
	struct au_lane *lane; /* lane 0 */
	struct au_lane *lanes[AU_LANES_MAX];
	unsigned int lane_count;
	struct au_device *device;
	void *state, *retained, *arena;
	size_t retained_size;
	struct au_chan_gate gate;
	bool muted; /* lane: nothing more is completed, or begun */
	struct {
		uint64_t begin_ns, loaded_us, sandboxed_us, started_us;
	} times;

	pthread_mutex_t lock; /* for what follows: changed on the lane, read by both */
	struct host_channel *channels;
	unsigned int channel_count;
	json_t *units;
	_Atomic bool ready; /* AU_HM_READY was sent */
	_Atomic bool serving;
	_Atomic bool gone;
	uint32_t gone_reason; /* enum au_gone */
	char gone_why[160];

	_Atomic int query, describe; /* enum host_query */
	/* main thread; 0: not */
	uint64_t query_due_ms, describe_due_ms, gate_due_ms, drain_due_ms;
	_Atomic bool drained; /* it is to go down now */
};

#define HOST_STAGE_SIZE 16

/** struct host_failure - why the host did not come up; nothing when @stage is empty. */
struct host_failure {
	char stage[HOST_STAGE_SIZE];
	int error;
	char text[220];
};

/** host_fail - fill it in; @text NULL: it is there already. Return: @error. */
int host_fail(struct host_failure *why, const char *stage, int error, const char *text);

/** host_up - from AU_HM_START to a running device. Return: 0 or a negative errno. */
int host_up(struct host *host, const char *pid_ns, struct host_failure *why);
/** host_down - in order, to where nothing is left. */
void host_down(struct host *host);
/** host_open_gate - whoever replays has replayed, or its time is up. Lane 0. */
void host_open_gate(struct host *host);
/** host_replayed - the same, from any lane. @context: the host. */
void host_replayed(void *context);
/** host_power - AU_HM_POWER. Main thread. */
void host_power(struct host *host, const struct au_hm_power *msg);
/** host_power_show - where it is, into the status page. Lane 0. */
void host_power_show(struct host *host);
/** host_power_report - what keeps it up. Lane 0. */
json_t *host_power_report(struct host *host);
/** host_describe - AU_HM_DESCRIBE. Main thread. */
void host_describe(struct host *host);
/** host_describe_due - its lane has not answered until now. Main thread. */
void host_describe_due(struct host *host);
/** host_report_history - the steps of its state machine. Lane 0. */
json_t *host_report_history(struct host *host);
/** host_notice - what the framework has to say about the device. Lane. */
void host_notice(void *context, struct au_device *dev, enum auf_notice what, void *object);

/* JSON. Each text is the caller's, to free(). */

/** host_report_ready - AU_HM_READY. Under the host's lock. */
char *host_report_ready(struct host *host);
/** host_report_units - AU_HM_UNITS. */
char *host_report_units(struct host *host);
/** host_report_adopted - AU_HM_ADOPTED, and its descriptors. */
char *host_report_adopted(struct host *host, int fds[AU_MSG_FDS], unsigned int *fd_count);
/** host_report_answer - AU_HM_ANSWER; @lane: called on the lane, which knows more; @driver: what
 * the driver says, or a text that says why not; NULL: it is not asked. Taken. */
char *host_report_answer(struct host *host, bool lane, json_t *driver);
/** host_report_driver - what the driver says, for it. */
json_t *host_report_driver(const struct auf_report_entry *entries, unsigned int count,
			   const char *why);
/** host_units_refresh - look at the device's units; @except: it is about to go. Lane. */
void host_units_refresh(struct host *host, const struct au_unit *except);

#endif
