/* SPDX-License-Identifier: MIT */
/**
 * DOC: What client and host say to each other in a channel's rings
 *
 * One channel = one memfd with four rings and the progress table, one pool memfd with data, and one
 * stream socketpair as doorbell, whose end of file also says that the peer has died. A socket
 * rather than an eventfd: a hostile peer can make a write to a shared eventfd block, but not a
 * send(MSG_DONTWAIT). Sizes are told by the manager and kept in private memory.
 */
#ifndef AU_CHANNEL_WIRE_H
#define AU_CHANNEL_WIRE_H

#include <stdint.h>

#define AU_WIRE_VERSION		  1

/* Request handle: sequence << 16 | slot. The sequence goes up with each request, so it also orders
 * them; 0 is never used. */
#define AU_HANDLE_SLOT(handle)	  ((uint32_t)((handle)&0xffff))
#define AU_HANDLE_MAKE(seq, slot) ((uint64_t)(seq) << 16 | (slot))

/* au_wire_submit.flags */
#define AU_WIRE_REPLAY		  0x0001 /* outstanding when an earlier host died */
#define AU_WIRE_SUSPECT		  0x0002 /* ... twice, while the driver owned it: run it alone */

/**
 * struct au_wire_submit - a request, client to host; 64 bytes, @seq published last.
 *
 * The order is that of struct au_io on one side and of struct auf_submit on the other, so that
 * neither has to move fields about. @flags are the channel's own: those of struct au_io, and what
 * its reserved words say, are the client's business and do not go over as they are.
 */
struct au_wire_submit {
	uint64_t handle;
	uint64_t offset; /* of the data in the pool; a multiple of 64 */
	uint64_t arg[2];
	uint16_t op;
	uint16_t flags;
	uint32_t length;
	uint32_t timeout_ms;
	uint32_t generation;
	uint32_t started; /* replay: how far it had come */
	uint32_t done;
	uint32_t reserved;
	uint32_t seq; /* the ring's */
};
_Static_assert(sizeof(struct au_wire_submit) == 64, "one cache line");

/** struct au_wire_complete - an answer, host to client; 16 bytes. */
struct au_wire_complete {
	uint64_t handle;
	uint32_t result;
	uint16_t err;	 /* positive errno, below 0x8000; bit 15 is the ring's */
	uint16_t status; /* the device's */
};
_Static_assert(sizeof(struct au_wire_complete) == 16, "four in a cache line");

/* au_wire_control.kind */
enum au_wire_control_kind {
	AU_WIRE_CANCEL = 1, /* handle */
	/* every outstanding request of an earlier generation is in the ring; no handle */
	AU_WIRE_REPLAYED = 2,
};

/** struct au_wire_control - client to host, beside the data. */
struct au_wire_control {
	uint64_t handle;
	uint32_t kind;
	uint32_t generation;
	uint64_t reserved[5];
	uint32_t reserved2;
	uint32_t seq;
};
_Static_assert(sizeof(struct au_wire_control) == 64, "one cache line");

/** struct au_wire_event - host to client. */
struct au_wire_event {
	uint16_t kind;
	uint16_t flags;
	uint32_t count;
	uint64_t arg[2];
	uint64_t reserved[4];
	uint32_t generation;
	uint32_t seq;
};
_Static_assert(sizeof(struct au_wire_event) == 64, "one cache line");

/*
 * Slot n of the progress table (struct auf_progress) tells about the request in slot n whose low 32
 * bits of the sequence are in its tag; with another tag the host has not looked at the request yet.
 * The host writes, the client reads it when the host is dead: in between, no line of it moves.
 */

#define AU_WIRE_CONTROL_ENTRIES 64
#define AU_WIRE_EVENT_ENTRIES	64
#define AU_WIRE_DEPTH_MAX	1024
#define AU_WIRE_BUFFER_MAX	(1u << 20)

/**
 * struct au_wire_layout - where things are in a channel's memfd. Computed by each side from @depth,
 * never read from shared memory.
 */
struct au_wire_layout {
	uint32_t depth;				   /* a power of two */
	uint32_t entries;			   /* of the submit and complete rings */
	uint64_t submit, complete, control, event; /* ring offsets */
	uint64_t progress;			   /* depth times 16 bytes */
	uint64_t size;				   /* of the memfd, whole pages */
};

/** au_wire_entries - entries of the submit and complete rings. @depth: a valid one. */
uint32_t au_wire_entries(uint32_t depth);

/** au_wire_layout - fill it in. Return: 0 or -EINVAL for a depth out of range. */
int au_wire_layout(uint32_t depth, struct au_wire_layout *layout);

#endif
