/* SPDX-License-Identifier: MIT */
/* The serial unit: settings, modem lines, control operations, and what a restart restores. */
#include "base/abi.h"
#include "base/os.h"
#include "class/serial.h"

#include <string.h>

static void unit_program_outputs(struct au_serial *port, uint32_t outputs)
{
	const struct serial_state *st = port->state;

	if ((st->line.flow & AU_FLOW_RTSCTS) && st->rx_held)
		outputs &= ~(uint32_t)AU_MODEM_RTS;
	if (port->up)
		port->ops.set_modem(port, outputs);
}

void serial_modem_apply(struct au_serial *port)
{
	unit_program_outputs(port, port->state->outputs);
}

/* In force when the driver has lived through it: what kills it must not be what is restored. */
static void unit_set_outputs(struct au_serial *port, uint32_t outputs)
{
	port->hung_up = 0;
	unit_program_outputs(port, outputs);
	port->state->outputs = outputs;
}

static uint32_t unit_inputs(struct au_serial *port)
{
	if (!port->ops.get_modem)
		return AU_MODEM_INPUTS;
	return port->ops.get_modem(port) & AU_MODEM_INPUTS;
}

/* To read the inputs can take the interrupt away that would have told of a change: tell it here. */
static uint32_t unit_look_at_inputs(struct au_serial *port)
{
	au_serial_modem_changed(port, unit_inputs(port));
	return port->inputs;
}

static int unit_set_line(struct au_serial *port, const struct au_request *req)
{
	struct serial_state *st = port->state;
	uint8_t given[256];
	uint32_t length = req->length < sizeof(given) ? req->length : sizeof(given);
	struct au_serial_line line;
	char why[256];
	int rc;

	if (length < au_abi_serial_line.first)
		return -AU_EINVAL;
	/* Check the copy: the client can change its own. */
	memcpy(given, req->data, length);
	if (au_abi_take(&au_abi_serial_line, &line, given, length, why, sizeof(why)) != 0)
		return -AU_EINVAL;
	rc = serial_line_check(&line);
	if (rc == 0)
		rc = port->ops.set_line(port, &line);
	if (rc)
		return rc;
	st->line = line;
	if (!line.flow)
		st->rx_held = 0;
	if (!(line.flow & AU_FLOW_XONXOFF))
		st->tx_held = 0;
	unit_look_at_inputs(port);
	serial_modem_apply(port);
	serial_tx_kick(port);
	serial_rx_pump(port);
	return 0;
}

static int unit_set_break(struct au_serial *port, bool on)
{
	if (!port->ops.set_break)
		return -AU_ENOTSUP;
	/* Asleep, it is restored as it is then. */
	if (port->up)
		port->ops.set_break(port, on);
	port->state->brk = on;
	if (!on)
		serial_tx_kick(port);
	return 0;
}

static void unit_counters(const struct au_serial *port, struct au_serial_counters *c)
{
	const struct serial_state *st = port->state;

	*c = st->counters;
	c->size = sizeof(*c);
	c->abi = 1;
	c->tx_bytes = st->tx_done;
	c->rx_bytes = st->rx_head;
	c->rx_delivered = st->rx_tail;
}

/* Fill in as much of a structure as the client knows of it; what only it knows is zero. */
static int unit_fill(const struct au_request *req, const struct au_abi_type *type, const void *from,
		     uint32_t *result)
{
	uint32_t count = req->length < type->known ? req->length : type->known;

	if (req->length < type->first)
		return -AU_EINVAL;
	memset(req->data, 0, req->length);
	memcpy(req->data, from, count);
	memcpy(req->data, &count, sizeof(count)); /* its size */
	*result = count;
	return 0;
}

/* Operations that are answered at once. */
static int unit_control(struct au_serial *port, struct au_request *req, uint32_t *result)
{
	struct serial_state *st = port->state;
	struct au_serial_counters counters;

	switch (req->op) {
	case AU_SERIAL_SET_LINE:
		return unit_set_line(port, req);
	case AU_SERIAL_GET_LINE:
		return unit_fill(req, &au_abi_serial_line, &st->line, result);
	case AU_SERIAL_SET_MODEM:
		if (req->arg[0] & ~(uint64_t)AU_MODEM_OUTPUTS)
			return -AU_EINVAL;
		unit_set_outputs(port, (st->outputs & ~(uint32_t)req->arg[0]) |
					       ((uint32_t)req->arg[1] & (uint32_t)req->arg[0]));
		return 0;
	case AU_SERIAL_GET_MODEM:
		*result = st->outputs | unit_look_at_inputs(port);
		return 0;
	case AU_SERIAL_SET_BREAK:
		return unit_set_break(port, req->arg[0] != 0);
	case AU_SERIAL_GET_COUNTERS:
		unit_counters(port, &counters);
		return unit_fill(req, &au_abi_serial_counters, &counters, result);
	case AU_SERIAL_PURGE:
		if (req->arg[0] & ~3ull)
			return -AU_EINVAL;
		if (req->arg[0] & 1)
			serial_rx_purge(port);
		if (req->arg[0] & 2)
			serial_tx_purge(port);
		return 0;
	default:
		return -AU_ENOTSUP;
	}
}

/* They come through a queue, which holds them back while there are suspects. */
static void unit_deliver(struct au_queue *queue, struct au_request *req)
{
	struct au_serial *port = au_queue_context(queue);
	uint32_t result = 0;
	int status = unit_control(port, req, &result);

	au_request_complete(req, status, result);
}

static int unit_control_init(struct au_serial *port)
{
	const struct au_queue_config config = {
		AU_HEAD(struct au_queue_config),
		.kind = AU_QUEUE_SEQUENTIAL,
		.context = port,
		.deliver = unit_deliver,
	};

	return au_queue_create(port->unit, &config, &port->control_queue);
}

static void unit_submit(struct au_unit *unit, struct au_request *req)
{
	struct au_serial *port = auf_unit_priv(unit);

	if (req->op == AU_SERIAL_SEND || req->op == AU_SERIAL_DRAIN) {
		auf_queue_put(port->tx_queue, req);
	} else if (req->op == AU_SERIAL_RECV) {
		if (req->flags & AU_REQ_REPLAY)
			serial_rx_resolve(port, req);
		auf_queue_put(port->rx_queue, req);
	} else {
		auf_queue_put(port->control_queue, req);
	}
}

static void unit_opened(struct au_unit *unit, struct auf_handle *handle, uint32_t flags)
{
	struct au_serial *port = auf_unit_priv(unit);
	const struct serial_uncertain *u = port->state->uncertain;

	if (flags & AUF_OPEN_REPLAYING) {
		for (unsigned int i = 0; i < SERIAL_UNCERTAIN; i++)
			if (u[i].kind)
				auf_handle_event(handle, (uint16_t)u[i].kind, u[i].count,
						 u[i].position, 0);
		if (port->hung_up) /* it comes late */
			unit_set_outputs(port, port->hung_up);
	} else if ((flags & AUF_OPEN_FIRST) && !(flags & AUF_OPEN_QUIET)) {
		unit_set_outputs(port, AU_MODEM_OUTPUTS);
	}
}

/* As a terminal does: the last one hangs up. */
static void unit_hang_up(struct au_serial *port)
{
	if (port->state->brk)
		unit_set_break(port, false);
	unit_set_outputs(port, 0);
}

static void unit_closed(struct au_unit *unit, struct auf_handle *handle, bool last)
{
	struct au_serial *port = auf_unit_priv(unit);

	if (!last || (!port->up && !auf_unit_asleep(unit)))
		return;
	/* What was left up when it went to sleep falls now. */
	if (!port->up && (port->state->outputs || port->state->brk))
		auf_device_wake(port->dev);
	unit_hang_up(port);
}

/* What is in force was accepted once; what a dead host left is not believed to be. */
static int unit_restore_line(struct au_serial *port)
{
	struct serial_state *st = port->state;

	if (port->ops.set_line(port, &st->line) == 0)
		return 0;
	au_log(port->dev, AU_LOG_ERROR,
	       "the driver refuses the line settings in force (%u baud): back to the default",
	       st->line.baud);
	serial_line_default(&st->line);
	return port->ops.set_line(port, &st->line);
}

static int unit_restore(struct au_unit *unit, enum au_power from)
{
	struct au_serial *port = auf_unit_priv(unit);
	struct serial_state *st = port->state;
	int rc;

	serial_state_settle(st);
	rc = unit_restore_line(port);
	if (rc)
		return rc;
	port->up = true;
	if (from != AU_POWER_D3)
		port->inputs = unit_inputs(port);
	serial_modem_apply(port);
	/* A dead host may have begun or ended one without having noted it; in D3 nobody is asked
	 * to.
	 */
	if ((st->brk || from != AU_POWER_OFF) && port->ops.set_break)
		port->ops.set_break(port, st->brk);
	return 0;
}

/* ------------------------------------------------------ receive conditions */

static const struct {
	uint32_t bit;
	uint16_t event;
	size_t counter;
} unit_conditions[] = {
	{ AU_RX_OVERRUN, AU_SERIAL_EVENT_OVERRUN, offsetof(struct au_serial_counters, overrun) },
	{ AU_RX_PARITY, AU_SERIAL_EVENT_PARITY, offsetof(struct au_serial_counters, parity) },
	{ AU_RX_FRAMING, AU_SERIAL_EVENT_FRAMING, offsetof(struct au_serial_counters, framing) },
	{ AU_RX_BREAK, AU_SERIAL_EVENT_BREAK, offsetof(struct au_serial_counters, breaks) },
};
#define UNIT_CONDITIONS (sizeof(unit_conditions) / sizeof(unit_conditions[0]))

static void unit_tell_conditions(struct au_serial *port, uint32_t conditions)
{
	for (unsigned int i = 0; i < UNIT_CONDITIONS; i++)
		if (conditions & unit_conditions[i].bit)
			au_unit_event(port->unit, unit_conditions[i].event, 1, port->state->rx_head,
				      0);
}

void au_serial_rx_conditions(struct au_serial *port, uint32_t conditions)
{
	char *counters = (char *)&port->state->counters;

	for (unsigned int i = 0; i < UNIT_CONDITIONS; i++)
		if (conditions & unit_conditions[i].bit)
			++*(uint64_t *)(void *)(counters + unit_conditions[i].counter);
	/* What went wrong while there was no host is seen before the clients are back. */
	if (port->gated)
		unit_tell_conditions(port, conditions);
	else
		port->untold |= conditions;
}

/* Every client that lived has been told of the intervals by now. */
static void unit_gate(struct au_unit *unit)
{
	struct au_serial *port = auf_unit_priv(unit);

	memset(port->state->uncertain, 0, sizeof(port->state->uncertain));
	port->state->give.active = 0;
	port->gated = true;
	unit_tell_conditions(port, port->untold);
	/* Whoever had it open died with the host, and nobody hung up. */
	if (auf_unit_handles(unit) == 0 && (port->state->outputs || port->state->brk)) {
		uint32_t outputs = port->state->outputs;

		unit_hang_up(port);
		port->hung_up = outputs;
	}
}

static void unit_suspend(struct au_unit *unit)
{
	struct au_serial *port = auf_unit_priv(unit);
	const struct serial_state *st = port->state;

	if (auf_unit_asleep(unit)) {
		/* Nobody will take what the peer sends meanwhile. */
		if (st->line.flow & AU_FLOW_RTSCTS)
			port->ops.set_modem(port, st->outputs & ~(uint32_t)AU_MODEM_RTS);
		serial_tx_flush(port);
	}
	port->up = false;
	serial_tx_suspend(port);
}

/* What has changed meanwhile is told. */
static void unit_resumed(struct au_unit *unit)
{
	unit_look_at_inputs(auf_unit_priv(unit));
}

/* What is between two pieces goes on there in the next host; the middle of one would not be known.
 */
static bool unit_drain(struct au_unit *unit)
{
	struct au_serial *port = auf_unit_priv(unit);
	const struct serial_state *st = port->state;

	port->draining = true;
	return port->up && (port->tx_taken || st->rx_started != st->rx_head);
}

static void unit_remove(struct au_unit *unit)
{
	au_os_free(auf_unit_priv(unit));
}

static const struct auf_class serial_class = {
	.name = "serial",
	.submit = unit_submit,
	.opened = unit_opened,
	.closed = unit_closed,
	.restore = unit_restore,
	.gate = unit_gate,
	.suspend = unit_suspend,
	.resumed = unit_resumed,
	.keeps_up = true,
	.drain = unit_drain,
	.remove = unit_remove,
};

static int unit_config_check(struct au_device *dev, const struct au_serial_config *config,
			     struct au_serial_ops *ops)
{
	int rc = config->ops ? auf_take(dev, &au_abi_serial_ops, ops, config->ops) : -AU_EINVAL;

	if (config->ops && rc)
		return rc;
	if (rc || !ops->set_line || !ops->set_modem || !ops->tx_start || config->fifo == 0 ||
	    config->fifo > SERIAL_FIFO_MAX) {
		au_log(dev, AU_LOG_ERROR,
		       "au_serial_add: incomplete configuration (ops, fifo 1..%u)",
		       SERIAL_FIFO_MAX);
		return -AU_EINVAL;
	}
	return 0;
}

int au_serial_add(struct au_device *dev, const struct au_serial_config *given,
		  struct au_serial **out)
{
	struct au_serial_config config;
	struct au_serial_ops ops;
	struct au_serial *port;
	bool fresh;
	int rc = auf_take(dev, &au_abi_serial_config, &config, given);

	if (rc == 0)
		rc = unit_config_check(dev, &config, &ops);
	if (rc)
		return rc;
	port = auf_alloc(dev, sizeof(*port));
	if (!port)
		return -AU_ENOMEM;
	port->dev = dev;
	port->ops = ops;
	port->context = config.context;
	port->fifo = config.fifo;
	port->inputs = AU_MODEM_INPUTS;
	rc = auf_unit_add(dev, &serial_class, port, &port->unit);
	if (rc) {
		au_os_free(port);
		return rc;
	}
	/* From here on the unit frees the port. */
	port->state = auf_unit_state(port->unit, &fresh);
	port->ring = (uint8_t *)port->state + 4096;
	serial_state_init(port->state, fresh);
	/* First, so that at the gate settings come before data. */
	rc = unit_control_init(port);
	if (rc == 0)
		rc = serial_tx_init(port);
	if (rc == 0)
		rc = serial_rx_init(port);
	if (rc)
		return rc;
	*out = port;
	return 0;
}

void *au_serial_context(const struct au_serial *port)
{
	return port->context;
}

void au_serial_modem_changed(struct au_serial *port, uint32_t inputs)
{
	uint32_t changed = (port->inputs ^ inputs) & AU_MODEM_INPUTS;

	if (!changed)
		return;
	port->inputs = inputs & AU_MODEM_INPUTS;
	au_unit_event(port->unit, AU_SERIAL_EVENT_MODEM, 1, port->inputs, changed);
	if (changed & port->inputs & AU_MODEM_CTS)
		serial_tx_kick(port);
}
