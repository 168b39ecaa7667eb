/* SPDX-License-Identifier: MIT */
/**
 * DOC: What client and manager, and manager and host, say to each other
 *
 * Both are SOCK_SEQPACKET UNIX sockets: a message is one packet, descriptors travel with it. Either
 * peer checks length, type and every field. Texts are JSON where they are for people or for change.
 */
#ifndef AU_CHANNEL_PROTOCOL_H
#define AU_CHANNEL_PROTOCOL_H

#include <stdint.h>

#define AU_PROTO_MAGIC	 0x41525541u /* "AURA" */
#define AU_PROTO_VERSION 1
#define AU_MSG_MAX	 (32 * 1024)
#define AU_MSG_FDS	 16

/** struct au_msg_head - every message starts with it. */
struct au_msg_head {
	uint32_t magic;
	uint16_t version; /* of the sender */
	uint16_t type;	  /* AU_CM_*, AU_HM_* */
	uint32_t length;  /* whole message */
	uint32_t reserved;
};

/* ------------------- client and manager, on RUNTIME_DIR/dev/UNIT (the manager listens) */

enum au_client_msg {
	AU_CM_HELLO = 1,   /* client: struct au_cm_hello */
	AU_CM_CHANNEL = 2, /* manager: struct au_cm_channel + [rings, doorbell, pool] */
	AU_CM_DOWN = 3,	   /* manager: head only: the host has died or was stopped; wait */
	AU_CM_HELD = 5,	   /* manager: head only: the driver is about to be replaced, in order:
			    * whatever the device's policy for deaths says, what no driver has had
			    * waits for the next host. AU_CM_DOWN follows */
	AU_CM_ERROR = 4,   /* manager: struct au_cm_error; the connection ends: the device is
			    * detached (-ENODEV), quarantined (-EIO), ... */
	AU_CM_GONE = 6,	   /* manager: struct au_cm_error: the device was pulled out; everything
			    * outstanding fails, and the connection stays: the AU_CM_CHANNEL that
			    * follows some time is to the device that is there then, and begins
			    * with nothing. Only for clients with AU_CF_BACK; others get
			    * AU_CM_ERROR */
};

#define AU_CF_BACK 1u /* au_cm_hello.features: it knows AU_CM_GONE, and fills in @device */

/**
 * struct au_cm_hello - open, or take up again after the manager's death (@token not 0).
 *
 * With a token comes the client's pool as the one descriptor: a new manager has no other way to
 * it. The manager checks its seals and size before it goes to a host. The answer is then a channel
 * with AU_CH_KEEP when the host lives, or one with rings and doorbell when it died meanwhile.
 */
struct au_cm_hello {
	struct au_msg_head head;
	uint16_t version_min, version_max; /* of the rings, AU_WIRE_VERSION */
	uint32_t flags;			   /* AU_OPEN_QUIET */
	uint64_t features;		   /* AU_CF_* */
	uint32_t depth;
	uint32_t buffer_size;
	uint64_t token[2];   /* from the last AU_CM_CHANNEL; 0: a new client */
	uint32_t generation; /* that the client is attached to; 0: none */
	uint32_t device;     /* from the last AU_CM_CHANNEL; 0: nothing is outstanding */
};

#define AU_CH_FAULT 1u /* the earlier host died by the driver's own fault */
#define AU_CH_KEEP  2u /* after the manager's death: the channel you have is still good; no fds */
#define AU_CH_ABORT 4u /* the device's policy: what a dead host's driver had is not sent again */
#define AU_CH_FAIL  8u /* ... nor anything else, and nothing waits for the next host */

/**
 * struct au_cm_channel - a channel to the host of this generation. At the first one of a client the
 * pool comes too; afterwards it is kept.
 */
struct au_cm_channel {
	struct au_msg_head head;
	uint16_t version;
	uint16_t flags; /* AU_CH_* */
	uint32_t generation;
	uint64_t features;
	uint64_t token[2];
	uint32_t channel;
	uint32_t depth;
	uint32_t buffer_size;
	uint32_t device; /* which one: another number after each time that it was pulled out */
	char unit[32];
	char cls[16];
};

struct au_cm_error {
	struct au_msg_head head;
	int32_t error; /* negative errno */
	char text[232];
	uint32_t gone; /* enum au_gone: for those that had it open */
};

/* ------------------- manager and host, on a socketpair, later on RUNTIME_DIR/hosts/DEVICE */

enum au_host_msg {
	/* manager to host */
	AU_HM_START = 32, /* JSON + descriptors, see below; first message */
	AU_HM_OPEN = 33,  /* struct au_hm_open + [rings, doorbell, pool] */
	AU_HM_CLOSE = 34, /* struct au_hm_channel: the client has gone; AU_HM_ENDED answers */
	AU_HM_BEAT = 35,  /* struct au_hm_beat: each lane shows life in the status page */
	AU_HM_STOP = 36,  /* struct au_hm_stop, or only the head: go down in order and exit with
			   * status 0; from now on nothing is completed on the channels: the clients
			   * replay, or are told otherwise */
	AU_HM_QUERY =
		37, /* answered by AU_HM_ANSWER: JSON about device, history, channels, sandbox */
	AU_HM_ADOPT = 38, /* a new manager: answered by AU_HM_ADOPTED */
	AU_HM_POWER = 39, /* struct au_hm_power; answered by AU_HM_POWERED, but for the idle time */
	AU_HM_FINISH = 40,   /* head only: refuse new requests; AU_HM_FINISHED when those that there
			      * are have ended */
	AU_HM_DESCRIBE = 48, /* head only; answered by AU_HM_DESCRIPTION */
	/* host to manager */
	AU_HM_READY = 64,  /* JSON: units, times, layers */
	AU_HM_FAILED = 65, /* struct au_hm_failed: start failed; the host exits */
	AU_HM_ENDED = 66,  /* struct au_hm_channel: the channel is closed and its pool let go: after
			    * AU_HM_CLOSE (reason 0), or because the client broke the rules, or
			    * because AU_HM_OPEN failed */
	AU_HM_GONE =
		67, /* struct au_hm_gone, or only the head: the device was removed by surprise */
	AU_HM_UNITS = 68,	/* JSON: units were added or removed */
	AU_HM_ANSWER = 69,	/* JSON */
	AU_HM_ADOPTED = 70,	/* JSON + the descriptors of AU_HM_START that outlive a host */
	AU_HM_LOG = 71,		/* text: one line for the manager's log */
	AU_HM_SERVING = 72,	/* head only: the gate is open, replay is over */
	AU_HM_DESCRIPTION = 80, /* JSON: what the device is doing */
	AU_HM_POWERED = 73,  /* struct au_hm_powered: what AU_HM_POWER wanted is done, or is not */
	AU_HM_FINISHED = 74, /* head only */
};

/*
 * AU_HM_START: {"name", "driver", "address", "params": ["k=v"...], "generation", "from": "off" or
 * "failed", "verify": bool, "inject": text of struct au_verify or absent, "replays": how many
 * channels lived before, "power_idle_ms": 0 or absent: never, "session": hex of
 * struct au_bus_session or absent, "fds": {"module": i,
 * "status": i, "state": i, "retained": i, "session": i, "listen": i, "claim": i}, "state_fresh",
 * "retained_fresh", "uid", "gid", "module_path": for crash records, "cgroup": {"in_force",
 * "detail"} of struct au_host_cgroup, "sandbox": {"seccomp": false, ...} for tests, by the names of
 * au_layer_name()} after the head. Indexes are into the descriptors of the message. Required: name,
 * driver, address, generation, fds.module, fds.status, fds.state; uid and gid 0 or absent: it keeps
 * the caller's, and says so.
 *
 * AU_HM_READY: {"units": [{"index", "class"}], "layers": [{"name", "in_force", "detail"}],
 * "times_us": {"loaded", "sandboxed", "started"}}: since AU_HM_START came, cumulative.
 *
 * The AU_HM_OPENs of the channels that lived before follow AU_HM_START at once, before AU_HM_READY,
 * exactly "replays" of them, with AU_HM_REPLAYS; those with AU_HM_AWAITED keep the gate closed
 * until they have replayed, the others until they are open; an AU_HM_CLOSE follows when such a
 * client goes away meanwhile. New channels come after AU_HM_READY.
 *
 * AU_HM_ADOPTED: {"name", "driver", "address", "generation", "units": [...], "layers": [...],
 * "channels": [{"channel", "unit", "token": "32 hex digits", "depth", "buffer_size"}], "fds":
 * {"status": i, "state": i, "retained": i, "claim": i}: those that it has, "times_us", "serving":
 * the gate is open, "gone": the device was removed} + the descriptors.
 *
 * AU_HM_DESCRIPTION: {"lane_answers": whether the lane does, within 200 ms; then "device": of
 * struct auf_description, "requests", "queues", "interrupts", "power", "history": a list of lines}.
 *
 * AU_HM_ANSWER: what AU_HM_ADOPTED has but "fds" and tokens, with counters in "channels", of which
 * there are as many as fit and "channels_left_out" more, and "state",
 * "completed", "overdue_ms", "lane_answers", and when it does "history": a list of lines, and
 * "power": {"references": [{"tag", "count"}], "why"}; when it does not for 250 ms, what the main
 * thread knows.
 */

/* Bytes of class state, AU_HM_START's "state": what the framework's devices take. */
#define AU_STATE_SIZE (16u * 128u * 1024u)

struct au_hm_open {
	struct au_msg_head head;
	uint32_t channel;
	uint32_t unit;
	uint32_t depth;
	uint32_t buffer_size; /* the pool is depth times this */
	uint32_t flags;	      /* AU_OPEN_QUIET; AU_HM_REPLAYS, AU_HM_AWAITED */
	uint32_t generation;
	uint64_t token[2];
};
#define AU_HM_REPLAYS 0x10000u /* it lived in an earlier generation */
#define AU_HM_AWAITED 0x20000u /* ... and had requests there: the gate waits for them */

struct au_hm_channel {
	struct au_msg_head head;
	uint32_t channel;
	int32_t reason; /* negative errno */
	char text[120];
};

struct au_hm_beat {
	struct au_msg_head head;
	uint32_t seq;
	uint32_t reserved;
};

/** enum au_power_verb - what AU_HM_POWER wants. */
enum au_power_verb {
	AU_POWER_VERB_UP = 0,	   /* to D0 */
	AU_POWER_VERB_DOWN = 1,	   /* to D3, until a request comes */
	AU_POWER_VERB_SUSPEND = 2, /* to D3, until AU_POWER_VERB_RESUME */
	AU_POWER_VERB_RESUME = 3,
	AU_POWER_VERB_IDLE = 4, /* @value: down after so many ms without a request; 0: never */
};

struct au_hm_power {
	struct au_msg_head head;
	uint32_t verb;
	uint32_t value;
	uint32_t seq; /* for the answer; not 0 */
	uint32_t reserved;
};

struct au_hm_powered {
	struct au_msg_head head;
	uint32_t seq;
	int32_t result; /* 0 or a negative errno */
};

/**
 * struct au_hm_stop - @drain_ms: first, for at most so long, let the driver finish what it has, and
 * complete it; new requests wait. A second AU_HM_STOP ends that.
 */
struct au_hm_stop {
	struct au_msg_head head;
	uint32_t drain_ms;
	uint32_t reserved;
};

struct au_hm_gone {
	struct au_msg_head head;
	uint32_t reason; /* enum au_gone */
	char why[160];
};

struct au_hm_failed {
	struct au_msg_head head;
	int32_t error;
	char stage[16]; /* "load", "sandbox", "prepare", "d0_entry", ... */
	char text[220];
};

#endif
