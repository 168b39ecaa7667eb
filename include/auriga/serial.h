/* SPDX-License-Identifier: MIT */
/**
 * DOC: The serial class: asynchronous serial ports
 *
 * Three parts: what both sides share, the application's functions, and the driver's. A driver
 * deals in bytes and line states; requests, flow control, timeouts, buffering and recovery are the
 * class'.
 */
#ifndef AURIGA_SERIAL_H
#define AURIGA_SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef AU_API
#define AU_API __attribute__((visibility("default")))
#endif

/* ------------------------------------------------------------------ shared */

enum au_serial_parity {
	AU_PARITY_NONE,
	AU_PARITY_ODD,
	AU_PARITY_EVEN,
	AU_PARITY_MARK,
	AU_PARITY_SPACE,
};

/* au_serial_line.flow */
#define AU_FLOW_RTSCTS \
	0x01 /* both ways: RTS falls when the receive buffer fills, CTS holds sending */
#define AU_FLOW_XONXOFF 0x02 /* both ways; the two bytes are then no data */

/**
 * struct au_serial_line - how bytes are framed.
 * @size: sizeof(struct au_serial_line).
 * @abi: 1.
 * @baud: bits per second, not 0.
 * @data_bits: 5 to 8.
 * @parity: enum au_serial_parity.
 * @stop_bits: 1 or 2 (with 5 data bits, 2 means one and a half).
 * @flow: AU_FLOW_*.
 */
struct au_serial_line {
	uint32_t size;
	uint32_t abi;
	uint32_t baud;
	uint8_t data_bits;
	uint8_t parity;
	uint8_t stop_bits;
	uint8_t flow;
};

/* Modem lines. Outputs are set, inputs are read. */
#define AU_MODEM_DTR	 0x01
#define AU_MODEM_RTS	 0x02
#define AU_MODEM_OUTPUTS (AU_MODEM_DTR | AU_MODEM_RTS)
#define AU_MODEM_CTS	 0x10
#define AU_MODEM_DSR	 0x20
#define AU_MODEM_RI	 0x40
#define AU_MODEM_DCD	 0x80
#define AU_MODEM_INPUTS	 (AU_MODEM_CTS | AU_MODEM_DSR | AU_MODEM_RI | AU_MODEM_DCD)

/**
 * struct au_serial_counters - totals since the device was attached; they go on across restarts.
 * @size: sizeof(struct au_serial_counters).
 * @abi: 1.
 * @tx_bytes: given to the device, @tx_uncertain included.
 * @rx_bytes: taken from the device.
 * @rx_delivered: given to clients: the position of the next byte that a receive will return.
 * @tx_uncertain: sent or not when a host died: skipped, not repeated.
 * @rx_uncertain: at most so many were taken from the device by a host that then died: lost.
 * @rx_lost: dropped because nobody read, and no flow control held the peer.
 * @overrun, @parity, @framing, @breaks: receive conditions seen.
 */
struct au_serial_counters {
	uint32_t size;
	uint32_t abi;
	uint64_t tx_bytes;
	uint64_t rx_bytes;
	uint64_t rx_delivered;
	uint64_t tx_uncertain;
	uint64_t rx_uncertain;
	uint64_t rx_lost;
	uint64_t overrun;
	uint64_t parity;
	uint64_t framing;
	uint64_t breaks;
};

/* Events of the class. */
enum au_serial_event {
	AU_SERIAL_EVENT_OVERRUN = 0x100,
	AU_SERIAL_EVENT_PARITY = 0x101,
	AU_SERIAL_EVENT_FRAMING = 0x102,
	AU_SERIAL_EVENT_BREAK = 0x103,
	AU_SERIAL_EVENT_MODEM = 0x104, /* arg[0]: inputs now; arg[1]: what changed */
	AU_SERIAL_EVENT_RX_LOST = 0x105,
	/* count bytes at position arg[0] (of tx_bytes, rx_bytes): a host died just there */
	AU_SERIAL_EVENT_TX_UNCERTAIN = 0x8110,
	AU_SERIAL_EVENT_RX_UNCERTAIN = 0x8111,
};

/* Operations, for au_submit(). */
enum au_serial_op {
	/* data: what to send. Complete when the device has taken it all; result: bytes. */
	AU_SERIAL_SEND = 1,
	/* data: where to. arg[0]: complete when so many are there, at most length; 0: at once, with
	 * what is there. arg[1]: complete also when no byte came for so many ms after the first one
	 * (0: no such limit). When the request's own time is up it ends with what came, or with
	 * -ETIMEDOUT when nothing did. result: bytes. */
	AU_SERIAL_RECV = 2,
	AU_SERIAL_SET_LINE = 3,	    /* data: struct au_serial_line */
	AU_SERIAL_GET_LINE = 4,	    /* data: struct au_serial_line */
	AU_SERIAL_SET_MODEM = 5,    /* arg[0]: which outputs; arg[1]: their values */
	AU_SERIAL_GET_MODEM = 6,    /* result: outputs and inputs */
	AU_SERIAL_SET_BREAK = 7,    /* arg[0]: 1 on, 0 off */
	AU_SERIAL_DRAIN = 8,	    /* complete when everything sent before has left the wire */
	AU_SERIAL_GET_COUNTERS = 9, /* data: struct au_serial_counters */
	AU_SERIAL_PURGE = 10, /* arg[0]: 1 unread input, 2 unsent output (sends fail -ECANCELED) */
};

/* ------------------------------------------------------------- application */

struct au_handle;

/** au_serial_send - send, and wait until the device has it. Return: bytes sent, or an error when
 * none was. @timeout_ms: -1 for ever. */
AU_API int64_t au_serial_send(struct au_handle *h, const void *data, size_t length, int timeout_ms);
/** au_serial_recv - receive at least @min (0: whatever is there now) and at most @length bytes.
 * Return: bytes; -ETIMEDOUT when none came within @timeout_ms (-1: for ever). */
AU_API int64_t au_serial_recv(struct au_handle *h, void *data, size_t length, size_t min,
			      int timeout_ms);
/** au_serial_set_line - see struct au_serial_line; -EINVAL for what the device cannot do. */
AU_API int au_serial_set_line(struct au_handle *h, const struct au_serial_line *line);
/** au_serial_get_line - the settings in force. Set size and abi of @line before: so much is filled
 * in, and @size then says how much of it has a meaning. */
AU_API int au_serial_get_line(struct au_handle *h, struct au_serial_line *line);
/** au_serial_set_modem - set the outputs in @mask to @value. */
AU_API int au_serial_set_modem(struct au_handle *h, uint32_t mask, uint32_t value);
/** au_serial_get_modem - outputs and inputs, AU_MODEM_*. */
AU_API int au_serial_get_modem(struct au_handle *h, uint32_t *lines);
/** au_serial_set_break - begin or end a break condition. */
AU_API int au_serial_set_break(struct au_handle *h, bool on);
/** au_serial_drain - wait until everything sent has left the wire. */
AU_API int au_serial_drain(struct au_handle *h, int timeout_ms);
/** au_serial_purge - discard unread input (1) and unsent output (2). */
AU_API int au_serial_purge(struct au_handle *h, uint32_t what);
/** au_serial_get_counters - totals. Set size and abi of @counters before, as for
 * au_serial_get_line(). */
AU_API int au_serial_get_counters(struct au_handle *h, struct au_serial_counters *counters);

/* ------------------------------------------------------------------ driver */

struct au_device;
struct au_regs;
struct au_serial;

/**
 * struct au_serial_ops - what a serial driver implements. Called on the device's lane, only
 * between d0_entry() and d0_exit().
 * @size: sizeof(struct au_serial_ops).
 * @abi: AU_ABI.
 * @set_line: program the framing; flow control is the class' business. -AU_EINVAL if it cannot.
 *	Called with the settings in force after every d0_entry().
 * @set_modem: set DTR and RTS. Called after every d0_entry(); a driver writes the outputs nowhere
 *	else, so that a restart cannot drop them.
 * @get_modem: read the inputs. Optional: all of them count as set.
 * @set_break: begin or end a break. Optional.
 * @tx_start: there may be something to send, or to send again after a hold: take it with
 *	au_serial_tx_take() while the device has room, and go on when it has room again.
 * @tx_idle: whether the transmitter is empty, the shift register included. Optional: always.
 * @rx_start: there is room again after au_serial_rx_room() was 0. Optional.
 */
struct au_serial_ops {
	uint32_t size;
	uint32_t abi;
	int (*set_line)(struct au_serial *port, const struct au_serial_line *line);
	void (*set_modem)(struct au_serial *port, uint32_t outputs);
	uint32_t (*get_modem)(struct au_serial *port);
	void (*set_break)(struct au_serial *port, bool on);
	void (*tx_start)(struct au_serial *port);
	bool (*tx_idle)(struct au_serial *port);
	void (*rx_start)(struct au_serial *port);
};

/**
 * struct au_serial_config - a serial unit.
 * @size: sizeof(struct au_serial_config).
 * @abi: AU_ABI.
 * @ops: a constant of the module.
 * @context: returned by au_serial_context().
 * @fifo: bytes of the device's FIFO: the most that one take or one receive may carry, at most 256.
 * @reserved: 0, and not looked at: the first drivers have padding here.
 */
struct au_serial_config {
	uint32_t size;
	uint32_t abi;
	const struct au_serial_ops *ops;
	void *context;
	uint32_t fifo;
	uint32_t reserved;
};

/** au_serial_add - add a serial unit to the device. In prepare(). */
AU_API int au_serial_add(struct au_device *dev, const struct au_serial_config *config,
			 struct au_serial **port);
/** au_serial_context - the @context of its configuration. */
AU_API void *au_serial_context(const struct au_serial *port);

/**
 * au_serial_tx_take - take the next bytes to send, at most @max; they count as started.
 * Return: how many; 0 when there is nothing, or when flow control or a break holds the line.
 */
AU_API uint32_t au_serial_tx_take(struct au_serial *port, uint8_t *buf, uint32_t max);
/** au_serial_tx_done - the device has taken all the bytes of the last take. */
AU_API void au_serial_tx_done(struct au_serial *port);

/** au_serial_rx_room - bytes that can be received now; at 0, leave them in the device until
 * rx_start(). */
AU_API uint32_t au_serial_rx_room(struct au_serial *port);
/** au_serial_rx_begin - about to take at most @count bytes from the device (at most the room). */
AU_API void au_serial_rx_begin(struct au_serial *port, uint32_t count);
/** au_serial_rx - these came (0 to the count that was begun). Ends what rx_begin() began. */
AU_API void au_serial_rx(struct au_serial *port, const uint8_t *buf, uint32_t count);

/**
 * au_serial_tx_fifo - take, write to the 8-bit register @offset, done: for a device whose FIFO lies
 * behind one register and has room for @max bytes. Return: how many; 0 as for the take.
 */
AU_API uint32_t au_serial_tx_fifo(struct au_serial *port, struct au_regs *regs, uint64_t offset,
				  uint32_t max);
/**
 * au_serial_rx_fifo - begin, read the 8-bit register @offset, deliver: @count bytes that are known
 * to be there, or as many as there is room for. Return: how many; 0 when there is no room.
 */
AU_API uint32_t au_serial_rx_fifo(struct au_serial *port, struct au_regs *regs, uint64_t offset,
				  uint32_t count);

/* Receive conditions, at the places that a 16550 has them in its line status. */
#define AU_RX_OVERRUN 0x02
#define AU_RX_PARITY  0x04
#define AU_RX_FRAMING 0x08
#define AU_RX_BREAK   0x10

/** au_serial_rx_conditions - these, of AU_RX_*, were seen; other bits of @conditions are ignored.
 */
AU_API void au_serial_rx_conditions(struct au_serial *port, uint32_t conditions);
/** au_serial_modem_changed - the inputs now. Wakes a sender held by CTS. */
AU_API void au_serial_modem_changed(struct au_serial *port, uint32_t inputs);

#ifdef __cplusplus
}
#endif

#endif
