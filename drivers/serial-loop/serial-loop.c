/* SPDX-License-Identifier: MIT */
/*
 * A serial port whose plug is wired back to itself: what is sent comes in, RTS drives CTS, and DTR
 * drives DSR and DCD. No hardware below. docs/writing-a-driver.md builds this file step by step.
 */
#include <auriga/driver.h>
#include <auriga/serial.h>

#define FIFO 64

struct loop {
	struct au_serial *port;
	uint32_t inputs;
};

static void loop_tx_start(struct au_serial *port)
{
	uint8_t buf[FIFO];
	uint32_t room, n;

	while ((room = au_serial_rx_room(port)) > 0) {
		n = au_serial_tx_take(port, buf, room < FIFO ? room : FIFO);
		if (n == 0)
			return;
		au_serial_rx_begin(port, n);
		au_serial_tx_done(port);
		au_serial_rx(port, buf, n);
	}
}

static int loop_set_line(struct au_serial *port, const struct au_serial_line *line)
{
	return 0; /* any framing will do: the same end receives */
}

static void loop_set_modem(struct au_serial *port, uint32_t outputs)
{
	struct loop *loop = au_serial_context(port);

	loop->inputs = 0;
	if (outputs & AU_MODEM_RTS)
		loop->inputs |= AU_MODEM_CTS;
	if (outputs & AU_MODEM_DTR)
		loop->inputs |= AU_MODEM_DSR | AU_MODEM_DCD;
	au_serial_modem_changed(port, loop->inputs);
}

static uint32_t loop_get_modem(struct au_serial *port)
{
	struct loop *loop = au_serial_context(port);

	return loop->inputs;
}

static void loop_set_break(struct au_serial *port, bool on)
{
	if (on)
		au_serial_rx_conditions(port, AU_RX_BREAK);
}

static const struct au_serial_ops loop_ops = {
	AU_HEAD(struct au_serial_ops), .set_line = loop_set_line,   .set_modem = loop_set_modem,
	.get_modem = loop_get_modem,   .set_break = loop_set_break, .tx_start = loop_tx_start,
	.rx_start = loop_tx_start,
};

static int loop_prepare(struct au_device *dev)
{
	struct loop *loop = au_context(dev);
	const struct au_serial_config config = {
		AU_HEAD(struct au_serial_config),
		.ops = &loop_ops,
		.context = loop,
		.fifo = FIFO,
	};

	return au_serial_add(dev, &config, &loop->port);
}

AU_DRIVER_NOTE(AU_NAME("serial-loop") AU_VERSION("1.0") AU_CLASS("serial")
		       AU_SUMMARY("a serial port wired back to itself") AU_MATCH_VIRTUAL);

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.context_size = sizeof(struct loop),
	.prepare = loop_prepare,
};
