/* SPDX-License-Identifier: MIT */
/* What survives the host of a serial unit: settings, positions, counters, bytes not yet read. */
#include "class/serial.h"

#include "base/failpoint.h"

#include <string.h>

#define STATE_MAGIC   0x53455231u
#define STATE_VERSION 1

static const struct au_serial_line default_line = {
	.size = sizeof(struct au_serial_line),
	.abi = 1,
	.baud = 115200,
	.data_bits = 8,
	.parity = AU_PARITY_NONE,
	.stop_bits = 1,
};

int serial_line_check(const struct au_serial_line *line)
{
	if (line->size != sizeof(*line) || line->abi != 1 || line->baud == 0 ||
	    line->data_bits < 5 || line->data_bits > 8 || line->parity > AU_PARITY_SPACE ||
	    line->stop_bits < 1 || line->stop_bits > 2 ||
	    (line->flow & ~(AU_FLOW_RTSCTS | AU_FLOW_XONXOFF)))
		return -AU_EINVAL;
	return 0;
}

void serial_line_default(struct au_serial_line *line)
{
	*line = default_line;
}

/* Positions only mean something in relation to each other: whatever does not fit is given up. */
static void state_check(struct serial_state *st)
{
	if (serial_line_check(&st->line) != 0)
		st->line = default_line;
	st->line.size = sizeof(st->line);
	st->outputs &= AU_MODEM_OUTPUTS;
	st->brk = st->brk != 0;
	st->tx_held = st->tx_held != 0;
	st->rx_held = st->rx_held != 0;
	if (st->tx_started - st->tx_done > SERIAL_FIFO_MAX)
		st->tx_done = st->tx_started;
	if (st->rx_head - st->rx_tail > SERIAL_RING)
		st->rx_tail = st->rx_head;
	if (st->rx_started - st->rx_head > SERIAL_FIFO_MAX)
		st->rx_started = st->rx_head;
	if (st->give.active && (st->give.count == 0 || st->give.count > SERIAL_RING ||
				st->give.end - st->rx_tail != st->give.count ||
				st->rx_head - st->give.end > SERIAL_RING))
		st->give.active = 0;
	for (unsigned int i = 0; i < SERIAL_UNCERTAIN; i++) {
		struct serial_uncertain *u = &st->uncertain[i];

		if ((u->kind != AU_SERIAL_EVENT_TX_UNCERTAIN &&
		     u->kind != AU_SERIAL_EVENT_RX_UNCERTAIN) ||
		    u->count > SERIAL_FIFO_MAX)
			*u = (struct serial_uncertain){ 0 };
	}
}

void serial_state_init(struct serial_state *st, bool fresh)
{
	if (!fresh && st->magic == STATE_MAGIC && st->version == STATE_VERSION) {
		state_check(st);
		return;
	}
	memset(st, 0, sizeof(*st));
	st->line = default_line;
	st->version = STATE_VERSION;
	st->magic = STATE_MAGIC;
}

static void state_uncertain(struct serial_state *st, uint32_t kind, uint64_t position,
			    uint32_t count)
{
	unsigned int i;

	for (i = 0; i < SERIAL_UNCERTAIN - 1 && st->uncertain[i].kind; i++)
		;
	st->uncertain[i] =
		(struct serial_uncertain){ .position = position, .count = count, .kind = kind };
	AU_FAILPOINT(uncertain_kept);
}

void serial_state_settle(struct serial_state *st)
{
	uint32_t tx = (uint32_t)(st->tx_started - st->tx_done);
	uint32_t rx = (uint32_t)(st->rx_started - st->rx_head);

	/* Kept before it is counted as over: to die here is to report it twice, not never. */
	if (tx) {
		state_uncertain(st, AU_SERIAL_EVENT_TX_UNCERTAIN, st->tx_done, tx);
		st->counters.tx_uncertain += tx;
		st->tx_done = st->tx_started;
	}
	if (rx) {
		state_uncertain(st, AU_SERIAL_EVENT_RX_UNCERTAIN, st->rx_head, rx);
		st->counters.rx_uncertain += rx;
		st->rx_started = st->rx_head;
	}
}
