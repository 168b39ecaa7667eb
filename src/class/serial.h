/* SPDX-License-Identifier: MIT */
/**
 * DOC: The serial class, inside
 *
 * serial_unit.c: the unit, its settings and control operations. serial_tx.c: sending. serial_rx.c:
 * receiving. serial_state.c: what survives the host. All of it runs on the device's lane.
 */
#ifndef AU_CLASS_SERIAL_H
#define AU_CLASS_SERIAL_H

#include "auriga/driver.h"
#include "auriga/serial.h"
#include "framework/framework.h"

#include <stdatomic.h>

#define SERIAL_FIFO_MAX	 256u
#define SERIAL_RING	 (64u * 1024)
#define SERIAL_UNCERTAIN 16u

/** struct serial_uncertain - an interval that a death left unclear, until clients have been told.
 */
struct serial_uncertain {
	uint64_t position;
	uint32_t count;
	uint32_t kind; /* AU_SERIAL_EVENT_*_UNCERTAIN; 0: none */
};

/**
 * struct serial_state - in the unit's class state: outlives the host, and is checked by the next.
 * Positions are byte counts since the device was attached. The stores are ordered such that a host
 * that dies between any two of them leaves at most an interval reported too long, never too short.
 *
 * @tx_started: up to here bytes may have reached the device; stored before each access.
 * @tx_done: up to here they have; stored after it.
 * @rx_started: up to here bytes may have been taken from the device.
 * @rx_head: up to here they are in the ring.
 * @rx_tail: up to here they have been given to clients.
 * @give: a delivery under way: @count bytes, the last of which has position @end - 1, to a request
 *	which had @base before. Its progress word tells a new host whether it had been made.
 */
struct serial_state {
	uint32_t magic;
	uint32_t version;
	struct au_serial_line line;
	uint32_t outputs;
	uint32_t brk;	  /* break is on */
	uint32_t tx_held; /* the peer sent XOFF */
	uint32_t rx_held; /* we hold the peer */
	_Atomic uint64_t tx_started, tx_done;
	_Atomic uint64_t rx_started, rx_head, rx_tail;
	struct {
		_Atomic uint32_t active;
		uint32_t count;
		uint32_t base;
		uint32_t reserved;
		uint64_t end;
	} give;
	struct au_serial_counters counters;
	struct serial_uncertain uncertain[SERIAL_UNCERTAIN];
};
_Static_assert(sizeof(struct serial_state) <= 4096, "the ring starts at the second page");
_Static_assert(4096 + SERIAL_RING <= AUF_UNIT_STATE, "fits into the unit's class state");

/** struct au_serial - a serial unit. */
struct au_serial {
	struct au_device *dev;
	struct au_unit *unit;
	struct au_serial_ops ops;
	void *context;
	uint32_t fifo;
	uint32_t inputs;  /* modem inputs as last seen */
	uint32_t hung_up; /* outputs that fell at the gate: nobody had come back yet */
	uint32_t untold;  /* receive conditions that clients hear of at the gate */
	bool gated;	  /* ... which has been passed */
	bool up;	  /* between restore and suspend: the driver may be called */
	bool draining;	  /* the driver gets no more pieces: the host is about to go down */
	struct serial_state *state;
	uint8_t *ring;
	struct au_queue *control_queue;

	struct au_queue *tx_queue;
	struct au_request *tx_req; /* a SEND or a DRAIN */
	uint32_t tx_offset;	   /* bytes of it that the device has */
	uint32_t tx_taken;	   /* bytes that the driver is handing to the device right now */
	bool tx_taken_flow;	   /* ... they are an XON or XOFF of ours */
	bool tx_stop;		   /* complete tx_req as cancelled when tx_taken is back at 0 */
	bool tx_in_done;	   /* the driver goes on taking by itself */
	bool tx_paused;	 /* the device leaves D0: tx_req stays as it is until it is back */
	bool tx_keep;	 /* ... when tx_taken is back at 0 */
	uint8_t tx_flow; /* XON or XOFF waiting to be sent; 0: none */
	struct au_timer *tx_timer; /* looks whether a drain is over */

	struct au_queue *rx_queue;
	struct au_request *rx_req;
	uint32_t rx_got;
	bool rx_pumping;
	bool rx_paused;		   /* the device leaves D0: rx_req stays as it is */
	bool rx_full;		   /* the driver was told that there is no room */
	struct au_timer *rx_timer; /* ends a receive when the line falls silent */
};

/* serial_state.c */

/** serial_state_init - defaults when fresh; otherwise check every field of a dead host's state. */
void serial_state_init(struct serial_state *st, bool fresh);
/** serial_state_settle - after a start: count and keep the intervals that a death left unclear. */
void serial_state_settle(struct serial_state *st);
/** serial_line_check - 0, or -AU_EINVAL for settings that no line can have. @line: of today's size.
 */
int serial_line_check(const struct au_serial_line *line);
/** serial_line_default - what a line has before anybody has set it. */
void serial_line_default(struct au_serial_line *line);

/* serial_tx.c */

/** serial_tx_init - create queue and timer. */
int serial_tx_init(struct au_serial *port);
/** serial_tx_kick - call the driver's tx_start() when there may be something to take. */
void serial_tx_kick(struct au_serial *port);
/** serial_tx_flow - send XON or XOFF before anything else. */
void serial_tx_flow(struct au_serial *port, uint8_t byte);
/** serial_tx_flush - wait for a moment until the device has sent what it has. */
void serial_tx_flush(struct au_serial *port);
/** serial_tx_suspend - the driver will not come back from its last take; those bytes stay
 * uncertain. */
void serial_tx_suspend(struct au_serial *port);
/** serial_tx_purge - fail everything unsent with -AU_ECANCELED. */
void serial_tx_purge(struct au_serial *port);

/* serial_rx.c */

/** serial_rx_init - create queue and timer. */
int serial_rx_init(struct au_serial *port);
/** serial_rx_resolve - a replayed receive: settle a delivery that a death interrupted. */
void serial_rx_resolve(struct au_serial *port, struct au_request *req);
/** serial_rx_pump - give what is there to whoever waits, and let the peer go on. */
void serial_rx_pump(struct au_serial *port);
/** serial_rx_purge - discard unread input. */
void serial_rx_purge(struct au_serial *port);

/* serial_unit.c */

/** serial_modem_apply - program the outputs, as set and as flow control wants them. */
void serial_modem_apply(struct au_serial *port);

#define SERIAL_XON  0x11
#define SERIAL_XOFF 0x13

#endif
