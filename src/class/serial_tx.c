/* SPDX-License-Identifier: MIT */
/*
 * Sending. One request at a time (a sequential queue); the driver takes its bytes in pieces no
 * larger than the device's FIFO. Before a piece may reach the device, the unit's state and the
 * request's progress say that it was started; after it has, that it is done. Whatever lies between
 * the two when the host dies is skipped by the next one and reported.
 */
#include "class/serial.h"

#include "base/failpoint.h"

#include <string.h>

#define DRAIN_POLL_MS 1
#define FLUSH_MS      500u

static void tx_canceled(struct au_request *req);

static bool tx_is_send(const struct au_request *req)
{
	return req && req->op == AU_SERIAL_SEND;
}

static bool tx_held(const struct au_serial *port)
{
	const struct serial_state *st = port->state;

	return st->brk || ((st->line.flow & AU_FLOW_XONXOFF) && st->tx_held) ||
	       ((st->line.flow & AU_FLOW_RTSCTS) && !(port->inputs & AU_MODEM_CTS));
}

static void tx_finish(struct au_serial *port, int status)
{
	struct au_request *req = port->tx_req;
	uint32_t offset = port->tx_offset;

	port->tx_req = NULL;
	port->tx_stop = false;
	au_request_complete(req, status, offset);
}

/* The request has gone through; unless the cancel callback has it already. */
static void tx_complete(struct au_serial *port)
{
	if (au_request_clear_cancelable(port->tx_req) == 0)
		tx_finish(port, 0);
}

static void tx_drain_look(struct au_timer *timer, void *context)
{
	struct au_serial *port = context;

	if (!port->tx_req || tx_is_send(port->tx_req))
		return;
	if (!port->ops.tx_idle || port->ops.tx_idle(port))
		tx_complete(port);
	else
		au_timer_start(timer, DRAIN_POLL_MS, false);
}

static void tx_deliver(struct au_queue *queue, struct au_request *req)
{
	struct au_serial *port = au_queue_context(queue);
	uint32_t started = 0, done = 0;

	if (req->flags & AU_REQ_REPLAY)
		auf_request_replay(req, &started, &done);
	if (started > req->length)
		started = req->length;
	port->tx_req = req;
	port->tx_paused = port->tx_keep = false;
	port->tx_offset = started;
	atomic_store_explicit(&auf_request_progress(req)->started, started, memory_order_release);
	atomic_store_explicit(&auf_request_progress(req)->done, started, memory_order_release);
	if (au_request_set_cancelable(req, tx_canceled) != 0) {
		tx_finish(port, -AU_ECANCELED);
		return;
	}
	if (!tx_is_send(req))
		tx_drain_look(port->tx_timer, port);
	else if (started == req->length)
		tx_complete(port);
	else
		serial_tx_kick(port);
}

static void tx_canceled(struct au_request *req)
{
	struct au_serial *port = au_queue_context(au_request_queue(req));

	if (port->tx_taken && !port->tx_taken_flow)
		port->tx_stop =
			true; /* the device is being given a piece: au_serial_tx_done() ends it */
	else
		tx_finish(port, -AU_ECANCELED);
}

/* What the device has is sent; the rest waits here. When it goes for good, the request has been
 * cancelled, and ends when the device has taken its piece. */
static void tx_pause(struct au_queue *queue, struct au_request *req, uint32_t why)
{
	struct au_serial *port = au_queue_context(queue);

	if (why != AU_STOP_POWER)
		return;
	port->tx_paused = true;
	port->tx_keep = port->tx_taken && !port->tx_taken_flow;
	if (!port->tx_keep)
		au_request_stop_ack(req, false);
}

static void tx_resume(struct au_queue *queue, struct au_request *req)
{
	struct au_serial *port = au_queue_context(queue);

	port->tx_paused = false;
	if (tx_is_send(req))
		serial_tx_kick(port);
	else
		tx_drain_look(port->tx_timer, port);
}

int serial_tx_init(struct au_serial *port)
{
	const struct au_queue_config config = {
		AU_HEAD(struct au_queue_config),
		.kind = AU_QUEUE_SEQUENTIAL,
		.context = port,
		.deliver = tx_deliver,
		.stop = tx_pause,
		.resume = tx_resume,
	};
	int rc = au_queue_create(port->unit, &config, &port->tx_queue);

	return rc ? rc : au_timer_create(port->dev, tx_drain_look, port, &port->tx_timer);
}

void serial_tx_kick(struct au_serial *port)
{
	if (port->up && !port->tx_in_done && !port->tx_taken &&
	    (port->tx_flow || (tx_is_send(port->tx_req) && !port->tx_paused && !tx_held(port))))
		port->ops.tx_start(port);
}

void serial_tx_flow(struct au_serial *port, uint8_t byte)
{
	port->tx_flow = byte;
	serial_tx_kick(port);
}

/* In D3 the device may forget what it has not sent yet. */
void serial_tx_flush(struct au_serial *port)
{
	for (unsigned int ms = 0; ms < FLUSH_MS; ms++) {
		if (!port->ops.tx_idle || port->ops.tx_idle(port))
			return;
		auf_device_sleep_ms(port->dev, 1);
	}
	au_log(port->dev, AU_LOG_WARN, "asleep with bytes unsent: the line does not take them");
}

void serial_tx_suspend(struct au_serial *port)
{
	port->tx_taken = 0;
	port->tx_taken_flow = false;
	if (port->tx_stop)
		tx_finish(port, -AU_ECANCELED);
}

void serial_tx_purge(struct au_serial *port)
{
	struct au_request *req = port->tx_req;

	auf_queue_purge_waiting(port->tx_queue);
	if (req && au_request_clear_cancelable(req) == 0)
		tx_canceled(req);
}

uint32_t au_serial_tx_take(struct au_serial *port, uint8_t *buf, uint32_t max)
{
	struct au_request *req = port->tx_req;
	struct serial_state *st = port->state;
	uint32_t n;

	if (port->tx_taken || max == 0)
		return 0;
	if (port->tx_flow) {
		buf[0] = port->tx_flow;
		port->tx_taken_flow = true;
		port->tx_taken = 1;
		return 1;
	}
	if (!tx_is_send(req) || port->tx_paused || port->draining || tx_held(port))
		return 0;
	n = req->length - port->tx_offset;
	if (n > max)
		n = max;
	if (n > port->fifo)
		n = port->fifo;
	port->tx_taken = n;
	memcpy(buf, (const uint8_t *)req->data + port->tx_offset, n);
	/* The unit's word first: to die between the two reports bytes that will be sent all the
	 * same. */
	atomic_store_explicit(&st->tx_started, st->tx_done + n, memory_order_release);
	AU_FAILPOINT_HOT(tx_noted);
	atomic_store_explicit(&auf_request_progress(req)->started, port->tx_offset + n,
			      memory_order_release);
	AU_FAILPOINT_HOT(tx_taken);
	return n;
}

void au_serial_tx_done(struct au_serial *port)
{
	struct au_request *req = port->tx_req;
	struct serial_state *st = port->state;
	uint32_t n = port->tx_taken;

	port->tx_taken = 0;
	if (port->tx_taken_flow) {
		port->tx_taken_flow = false;
		port->tx_flow = 0;
		return;
	}
	if (n == 0 || !req)
		return;
	port->tx_offset += n;
	AU_FAILPOINT_HOT(tx_given);
	atomic_store_explicit(&auf_request_progress(req)->done, port->tx_offset,
			      memory_order_release);
	AU_FAILPOINT_HOT(tx_progress);
	atomic_store_explicit(&st->tx_done, st->tx_started, memory_order_release);
	AU_FAILPOINT_HOT(tx_done);

	/* Completion delivers the next request; the driver's own loop takes from it. */
	port->tx_in_done = true;
	if (port->tx_stop)
		tx_finish(port, -AU_ECANCELED);
	else if (port->tx_offset == req->length)
		tx_complete(port);
	else if (port->tx_keep)
		au_request_stop_ack(req, false);
	port->tx_keep = false;
	port->tx_in_done = false;
}

uint32_t au_serial_tx_fifo(struct au_serial *port, struct au_regs *regs, uint64_t offset,
			   uint32_t max)
{
	uint8_t buf[SERIAL_FIFO_MAX];
	uint32_t n = au_serial_tx_take(port, buf, max < sizeof(buf) ? max : sizeof(buf));

	/* A device that is gone has not taken them: they stay uncertain. */
	if (n && au_write_rep8(regs, offset, buf, n) == 0)
		au_serial_tx_done(port);
	return n;
}
