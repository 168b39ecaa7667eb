/* SPDX-License-Identifier: MIT */
/*
 * A serial port wired back to itself that dies of settings: of 666 baud, of RTS without DTR, and of
 * a break.
 */
#include <auriga/driver.h>
#include <auriga/serial.h>

enum { FIFO = 64, DEADLY_BAUD = 666 };

struct line {
	struct au_serial *port;
	uint32_t inputs;
};

static void line_die(void)
{
	volatile int *volatile nowhere = (volatile int *)8;

	*nowhere = 1;
}

static void line_tx_start(struct au_serial *port)
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

static int line_set_line(struct au_serial *port, const struct au_serial_line *line)
{
	if (line->baud == DEADLY_BAUD)
		line_die();
	return 0;
}

static void line_set_modem(struct au_serial *port, uint32_t outputs)
{
	struct line *line = au_serial_context(port);

	if (outputs == AU_MODEM_RTS)
		line_die();
	line->inputs = outputs & AU_MODEM_RTS ? AU_MODEM_CTS : 0;
	au_serial_modem_changed(port, line->inputs);
}

static uint32_t line_get_modem(struct au_serial *port)
{
	struct line *line = au_serial_context(port);

	return line->inputs;
}

static void line_set_break(struct au_serial *port, bool on)
{
	if (on)
		line_die();
}

static const struct au_serial_ops line_ops = {
	AU_HEAD(struct au_serial_ops), .set_line = line_set_line,   .set_modem = line_set_modem,
	.get_modem = line_get_modem,   .set_break = line_set_break, .tx_start = line_tx_start,
	.rx_start = line_tx_start,
};

static int line_prepare(struct au_device *dev)
{
	struct line *line = au_context(dev);
	const struct au_serial_config config = {
		AU_HEAD(struct au_serial_config),
		.ops = &line_ops,
		.context = line,
		.fifo = FIFO,
	};

	return au_serial_add(dev, &config, &line->port);
}

AU_DRIVER_NOTE(AU_NAME("t-line") AU_VERSION("1.0") AU_CLASS("serial")
		       AU_SUMMARY("dies of settings, for tests") AU_MATCH_VIRTUAL);

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.context_size = sizeof(struct line),
	.prepare = line_prepare,
};
