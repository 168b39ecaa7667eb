/* SPDX-License-Identifier: MIT */
/*
 * Receiving. Bytes go from the device into a ring that outlives the host, and from there to the
 * request at the head of the queue. Giving bytes to a request is made exactly once across a death:
 * the intent is kept in the unit's state, the fact in the request's progress, which the client
 * brings back with its replay.
 */
#include "class/serial.h"

#include "base/failpoint.h"

#include <string.h>

#define RX_HIGH (SERIAL_RING / 4 * 3)
#define RX_LOW	(SERIAL_RING / 4)

static uint32_t rx_available(const struct serial_state *st)
{
	return (uint32_t)(st->rx_head - st->rx_tail);
}

static void rx_finish(struct au_serial *port, int status)
{
	struct au_request *req = port->rx_req;

	au_timer_stop(port->rx_timer);
	port->rx_req = NULL;
	au_request_complete(req, status, port->rx_got);
}

static void rx_canceled(struct au_request *req)
{
	struct au_serial *port = au_queue_context(au_request_queue(req));

	rx_finish(port, port->rx_got ? 0 : -AU_ECANCELED);
}

/* The line fell silent after the first byte. */
static void rx_silent(struct au_timer *timer, void *context)
{
	struct au_serial *port = context;

	if (port->rx_req && port->rx_got && au_request_clear_cancelable(port->rx_req) == 0)
		rx_finish(port, 0);
}

static void rx_await_silence(struct au_serial *port)
{
	uint64_t ms = port->rx_req->arg[1];

	if (ms && ms <= UINT32_MAX)
		au_timer_start(port->rx_timer, (uint32_t)ms, false);
}

static void rx_deliver(struct au_queue *queue, struct au_request *req)
{
	struct au_serial *port = au_queue_context(queue);
	uint32_t stamp = 0, done = 0;

	if (req->flags & AU_REQ_REPLAY)
		auf_request_replay(req, &stamp, &done);
	port->rx_req = req;
	port->rx_paused = false;
	port->rx_got = done > req->length ? req->length : done;
	/* It waits here for bytes, not in the driver: the driver's death is not its doing. */
	auf_request_park(req);
	atomic_store_explicit(&auf_request_progress(req)->started, stamp, memory_order_release);
	atomic_store_explicit(&auf_request_progress(req)->done, port->rx_got, memory_order_release);
	if (au_request_set_cancelable(req, rx_canceled) != 0) {
		rx_finish(port, port->rx_got ? 0 : -AU_ECANCELED);
		return;
	}
	/*
	 * Others were given bytes after it, so it was complete, and only its completion had not
	 * been shown: what comes now belongs behind theirs.
	 */
	if (port->rx_got && (int32_t)(stamp - (uint32_t)port->state->rx_tail) < 0) {
		if (au_request_clear_cancelable(req) == 0)
			rx_finish(port, 0);
		return;
	}
	/* What came before a death was followed by silence, too. */
	if (port->rx_got)
		rx_await_silence(port);
	serial_rx_pump(port);
}

/* What comes from now on waits in the ring. */
static void rx_pause(struct au_queue *queue, struct au_request *req, uint32_t why)
{
	struct au_serial *port = au_queue_context(queue);

	if (why != AU_STOP_POWER)
		return;
	port->rx_paused = true;
	au_request_stop_ack(req, false);
}

static void rx_resume(struct au_queue *queue, struct au_request *req)
{
	struct au_serial *port = au_queue_context(queue);

	port->rx_paused = false;
	/* As far as it knows, the line was silent. */
	if (port->rx_got)
		rx_await_silence(port);
	serial_rx_pump(port);
}

int serial_rx_init(struct au_serial *port)
{
	const struct au_queue_config config = {
		AU_HEAD(struct au_queue_config),
		.kind = AU_QUEUE_SEQUENTIAL,
		.context = port,
		.deliver = rx_deliver,
		.stop = rx_pause,
		.resume = rx_resume,
	};
	int rc = au_queue_create(port->unit, &config, &port->rx_queue);

	return rc ? rc : au_timer_create(port->dev, rx_silent, port, &port->rx_timer);
}

/* Move @n bytes from the ring into the request. */
static void rx_give(struct au_serial *port, uint32_t n)
{
	struct serial_state *st = port->state;
	struct auf_progress *progress = auf_request_progress(port->rx_req);
	uint64_t tail = st->rx_tail;
	uint32_t at = (uint32_t)(tail % SERIAL_RING);
	uint32_t first = n < SERIAL_RING - at ? n : SERIAL_RING - at;
	uint8_t *to = (uint8_t *)port->rx_req->data + port->rx_got;

	/* None of this before the end of the delivery before: a death sees stores in their order.
	 */
	atomic_signal_fence(memory_order_seq_cst);
	st->give.count = n;
	st->give.base = port->rx_got;
	st->give.end = tail + n;
	atomic_store_explicit(&st->give.active, 1, memory_order_release);
	AU_FAILPOINT_HOT(give_intent);

	memcpy(to, port->ring + at, first);
	memcpy(to + first, port->ring, n - first);
	AU_FAILPOINT_HOT(give_copied);
	/* Which delivery it was, then that it was: serial_rx_resolve() wants both. */
	atomic_store_explicit(&progress->started, (uint32_t)(tail + n), memory_order_release);
	AU_FAILPOINT_HOT(give_stamped);
	atomic_store_explicit(&progress->done, port->rx_got + n, memory_order_release);
	AU_FAILPOINT_HOT(give_done);

	atomic_store_explicit(&st->rx_tail, tail + n, memory_order_release);
	AU_FAILPOINT_HOT(give_moved);
	atomic_store_explicit(&st->give.active, 0, memory_order_release);
	AU_FAILPOINT_HOT(give_over);
	port->rx_got += n;
}

void serial_rx_resolve(struct au_serial *port, struct au_request *req)
{
	struct serial_state *st = port->state;
	uint32_t stamp, done;

	auf_request_replay(req, &stamp, &done);
	if (st->give.active && stamp == (uint32_t)st->give.end &&
	    done == st->give.base + st->give.count) {
		if (st->give.end - st->rx_tail == st->give.count)
			st->rx_tail = st->give.end;
		st->give.active = 0;
	}
}

/* Hold the peer while the ring is nearly full, and let it go on when it is nearly empty. */
static void rx_flow(struct au_serial *port)
{
	struct serial_state *st = port->state;
	uint32_t available = rx_available(st);
	bool hold = st->rx_held ? available > RX_LOW : available >= RX_HIGH;

	if (!st->line.flow)
		hold = false;
	if (hold == (bool)st->rx_held)
		return;
	st->rx_held = hold;
	if (st->line.flow & AU_FLOW_RTSCTS)
		serial_modem_apply(port);
	if (st->line.flow & AU_FLOW_XONXOFF)
		serial_tx_flow(port, hold ? SERIAL_XOFF : SERIAL_XON);
}

void serial_rx_pump(struct au_serial *port)
{
	struct serial_state *st = port->state;

	if (port->rx_pumping)
		return;
	port->rx_pumping = true;
	while (port->rx_req && !port->rx_paused) {
		struct au_request *req = port->rx_req;
		uint32_t want = req->arg[0] < req->length ? (uint32_t)req->arg[0] : req->length;
		uint32_t n = rx_available(st);

		if (n > req->length - port->rx_got)
			n = req->length - port->rx_got;
		if (n)
			rx_give(port, n);
		if (port->rx_got < want) {
			if (n)
				rx_await_silence(port);
			break;
		}
		if (au_request_clear_cancelable(req) != 0)
			break;
		rx_finish(port, 0); /* delivers the next one */
	}
	port->rx_pumping = false;

	if (!port->up)
		return;
	rx_flow(port);
	if (port->rx_full && rx_available(st) <= SERIAL_RING - SERIAL_FIFO_MAX) {
		port->rx_full = false;
		if (port->ops.rx_start)
			port->ops.rx_start(port);
	}
}

void serial_rx_purge(struct au_serial *port)
{
	port->state->rx_tail = port->state->rx_head;
	serial_rx_pump(port);
}

uint32_t au_serial_rx_room(struct au_serial *port)
{
	uint32_t room = SERIAL_RING - rx_available(port->state);

	port->rx_full = room == 0;
	return room;
}

void au_serial_rx_begin(struct au_serial *port, uint32_t count)
{
	struct serial_state *st = port->state;

	if (count > SERIAL_FIFO_MAX)
		count = SERIAL_FIFO_MAX;
	atomic_store_explicit(&st->rx_started, st->rx_head + count, memory_order_release);
	AU_FAILPOINT_HOT(rx_noted);
}

void au_serial_rx(struct au_serial *port, const uint8_t *buf, uint32_t count)
{
	struct serial_state *st = port->state;
	uint64_t head = st->rx_head;
	uint32_t room = SERIAL_RING - rx_available(st), lost = 0;
	bool kick = false;

	AU_FAILPOINT_HOT(rx_taken);
	for (uint32_t i = 0; i < count; i++) {
		if ((st->line.flow & AU_FLOW_XONXOFF) &&
		    (buf[i] == SERIAL_XON || buf[i] == SERIAL_XOFF)) {
			st->tx_held = buf[i] == SERIAL_XOFF;
			kick = kick || !st->tx_held;
		} else if (room) {
			port->ring[head++ % SERIAL_RING] = buf[i];
			room--;
		} else {
			lost++;
		}
	}
	atomic_store_explicit(&st->rx_head, head, memory_order_release);
	AU_FAILPOINT_HOT(rx_kept);
	atomic_store_explicit(&st->rx_started, head, memory_order_release);
	AU_FAILPOINT_HOT(rx_settled);
	if (lost) {
		st->counters.rx_lost += lost;
		au_unit_event(port->unit, AU_SERIAL_EVENT_RX_LOST, lost, head, 0);
	}
	if (kick)
		serial_tx_kick(port);
	serial_rx_pump(port);
}

uint32_t au_serial_rx_fifo(struct au_serial *port, struct au_regs *regs, uint64_t offset,
			   uint32_t count)
{
	uint8_t buf[SERIAL_FIFO_MAX];
	uint32_t room = au_serial_rx_room(port);

	if (count > room)
		count = room;
	if (count > sizeof(buf))
		count = sizeof(buf);
	if (count == 0)
		return 0;
	au_serial_rx_begin(port, count);
	if (au_read_rep8(regs, offset, buf, count) != 0)
		count = 0;
	au_serial_rx(port, buf, count);
	return count;
}
