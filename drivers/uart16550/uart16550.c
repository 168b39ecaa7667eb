/* SPDX-License-Identifier: MIT */
/*
 * 16550A UARTs on PCI, one to four to a function, on I/O ports.
 *
 * Registers: National Semiconductor PC16550D data sheet (June 1995), section 8; the numbers in
 * brackets are its subsections. Functions: QEMU's pci-serial (docs/specs/pci-serial.rst).
 */
#include <auriga/driver.h>
#include <auriga/serial.h>

enum {
	RBR = 0, /* receiver buffer (read) */
	THR = 0, /* transmitter holding (write) */
	IER = 1, /* interrupt enable [8.6] */
	IIR = 2, /* interrupt identification (read) [8.5] */
	FCR = 2, /* FIFO control (write) [8.7] */
	LCR = 3, /* line control [8.1] */
	MCR = 4, /* modem control [8.8] */
	LSR = 5, /* line status [8.4] */
	MSR = 6, /* modem status [8.9]; its upper half is laid out as AU_MODEM_INPUTS */
};
enum { DLL = 0, DLM = 1 }; /* divisor latch, while LCR_DLAB [8.3] */

enum { IER_RX = 0x01, IER_ALL = 0x0f, IIR_NONE = 0x01, IIR_CAUSE = 0x0f, IIR_FIFO = 0xc0 };
enum { IIR_MODEM = 0x00, IIR_TX = 0x02, IIR_RX = 0x04, IIR_LINE = 0x06, IIR_RX_TIMEOUT = 0x0c };
enum { FCR_ENABLE = 0x01, FCR_CLEAR = 0x06, FCR_TRIGGER_14 = 0xc0 };
/* OUT2 lets the interrupt through on most boards. */
enum { LCR_STOP2 = 0x04, LCR_BREAK = 0x40, LCR_DLAB = 0x80, MCR_OUT2 = 0x08 };
enum { LSR_DATA = 0x01, LSR_TX_EMPTY = 0x20, LSR_TX_IDLE = 0x40 }; /* between: AU_RX_* */

enum { FIFO = 16, TRIGGER = 14, PORTS = 4, PORT_SIZE = 8 };

struct port {
	struct au_serial *serial;
	struct au_regs *regs;
	uint32_t clock;
	uint8_t iir, lcr;
	bool sending; /* the FIFO is not known to be empty */
};

struct uart {
	unsigned int ports;
	struct port port[PORTS];
};

/* Take @n bytes that are known to be there; without room they stay there until rx_start(). */
static bool port_receive(struct port *p, uint32_t n)
{
	if (au_serial_rx_fifo(p->serial, p->regs, RBR, n) > 0)
		return true;
	au_write8(p->regs, IER, IER_ALL & ~IER_RX);
	return false;
}

/* Reading the line status clears its conditions: they are told each time. */
static uint8_t port_status(struct port *p)
{
	uint8_t lsr = au_read8(p->regs, LSR);

	au_serial_rx_conditions(p->serial, lsr);
	return lsr;
}

static void port_serve(struct port *p)
{
	uint8_t lsr = 0, cause = p->iir & IIR_CAUSE;

	p->iir = IIR_NONE;
	switch (cause) {
	case IIR_RX: /* hides a transmit interrupt while more comes in: look for that, too */
		port_receive(p, TRIGGER);
		lsr = p->sending ? port_status(p) : 0;
		break;
	case IIR_RX_TIMEOUT: /* fewer than the trigger: ask before each */
		for (int n = 0; n < FIFO / 2; n++)
			if (!((lsr = port_status(p)) & LSR_DATA) || !port_receive(p, 1))
				break;
		break;
	case IIR_LINE:
		lsr = port_status(p);
		break;
	case IIR_TX:
		lsr = LSR_TX_EMPTY;
		break;
	case IIR_MODEM:
		au_serial_modem_changed(p->serial, au_read8(p->regs, MSR));
		break;
	}
	if (lsr & LSR_TX_EMPTY)
		p->sending = au_serial_tx_fifo(p->serial, p->regs, THR, FIFO) > 0;
}

/* Latch the causes: reading IIR clears a transmit interrupt. One not served yet is kept. */
static bool uart_isr(struct au_irq *irq)
{
	struct uart *u = au_irq_context(irq);
	bool ours = false;

	for (struct port *p = u->port; p < u->port + u->ports; p++) {
		if (p->iir & IIR_NONE)
			p->iir = au_read8(p->regs, IIR);
		ours |= !(p->iir & IIR_NONE);
	}
	return ours;
}

/* One cause of each port, then others get their turn. */
static void uart_dpc(struct au_irq *irq)
{
	struct uart *u = au_irq_context(irq);

	for (struct port *p = u->port; p < u->port + u->ports; p++)
		if (!(p->iir & IIR_NONE))
			port_serve(p);
	if (uart_isr(irq))
		au_irq_kick(irq);
}

static int uart_set_line(struct au_serial *serial, const struct au_serial_line *line)
{
	static const uint8_t parity[] = { 0x00, 0x08, 0x18, 0x28, 0x38 }; /* [8.1] table II */
	struct port *p = au_serial_context(serial);
	uint64_t divisor = ((uint64_t)p->clock + 8ull * line->baud) / (16ull * line->baud);

	if (divisor == 0 || divisor > 0xffff)
		return -AU_EINVAL;
	p->lcr = (uint8_t)((p->lcr & LCR_BREAK) | (line->data_bits - 5) | parity[line->parity] |
			   (line->stop_bits == 2 ? LCR_STOP2 : 0));
	au_post8(p->regs, LCR, p->lcr | LCR_DLAB);
	au_post8(p->regs, DLL, (uint8_t)divisor);
	au_post8(p->regs, DLM, (uint8_t)(divisor >> 8));
	au_write8(p->regs, LCR, p->lcr);
	return 0;
}

static struct au_regs *uart_regs(struct au_serial *serial)
{
	return ((struct port *)au_serial_context(serial))->regs;
}

static void uart_set_modem(struct au_serial *serial, uint32_t outputs)
{
	/* DTR and RTS are its low bits */
	au_write8(uart_regs(serial), MCR, (uint8_t)(outputs | MCR_OUT2));
}

static uint32_t uart_get_modem(struct au_serial *serial)
{
	return au_read8(uart_regs(serial), MSR);
}

static void uart_set_break(struct au_serial *serial, bool on)
{
	struct port *p = au_serial_context(serial);

	p->lcr = (uint8_t)(on ? p->lcr | LCR_BREAK : p->lcr & ~LCR_BREAK);
	au_write8(p->regs, LCR, p->lcr);
}

static void uart_tx_start(struct au_serial *serial)
{
	struct port *p = au_serial_context(serial);

	if (!p->sending)
		p->sending = au_serial_tx_fifo(serial, p->regs, THR, FIFO) > 0;
}

static bool uart_tx_idle(struct au_serial *serial)
{
	return au_read8(uart_regs(serial), LSR) & LSR_TX_IDLE;
}

static void uart_rx_start(struct au_serial *serial)
{
	au_write8(uart_regs(serial), IER, IER_ALL);
}

static const struct au_serial_ops uart_ops = {
	AU_HEAD(struct au_serial_ops), .set_line = uart_set_line,   .set_modem = uart_set_modem,
	.get_modem = uart_get_modem,   .set_break = uart_set_break, .tx_start = uart_tx_start,
	.tx_idle = uart_tx_idle,       .rx_start = uart_rx_start,
};

static int uart_prepare(struct au_device *dev)
{
	struct uart *u = au_context(dev);
	const struct au_irq_config irq = { AU_HEAD(struct au_irq_config), .context = u,
					   .isr = uart_isr, .dpc = uart_dpc };
	uint16_t id = au_pci_read16(dev, 2);
	struct au_regs *bar;
	struct au_irq *handle;
	int rc;

	u->ports = id == 0x0004 ? 4 : id == 0x0003 ? 2 : 1;
	rc = au_map_bar(dev, 0, u->ports * PORT_SIZE, &bar);
	for (unsigned int i = 0; rc == 0 && i < u->ports; i++) {
		struct port *p = &u->port[i];
		const struct au_serial_config config = { AU_HEAD(struct au_serial_config),
							 .ops = &uart_ops, .context = p,
							 .fifo = FIFO };

		p->clock = (uint32_t)au_param_uint(dev, "clock");
		rc = au_sub_regs(bar, i * PORT_SIZE, PORT_SIZE, &p->regs);
		rc = rc ? rc : au_serial_add(dev, &config, &p->serial);
	}
	return rc ? rc : au_irq_create(dev, &irq, &handle);
}

static int uart_d0_entry(struct au_device *dev, enum au_power from)
{
	struct uart *u = au_context(dev);
	/* What a dead host left in the FIFOs is still good, and so is what came in D3. */
	uint8_t fcr = FCR_ENABLE | FCR_TRIGGER_14 | (from == AU_POWER_OFF ? FCR_CLEAR : 0);

	for (struct port *p = u->port; p < u->port + u->ports; p++) {
		/* It may have died with the divisor latch in the place of other registers. */
		p->lcr = au_read8(p->regs, LCR) & (LCR_DLAB - 1);
		au_post8(p->regs, LCR, p->lcr);
		au_post8(p->regs, IER, 0);
		au_post8(p->regs, FCR, fcr);
		/* Neither the all-ones of no device nor an 8250, which has no FIFOs [8.5] */
		if ((au_read8(p->regs, IIR) & (IIR_FIFO | IIR_CAUSE)) != (IIR_FIFO | IIR_NONE))
			return -AU_ENODEV;
		p->sending = !(port_status(p) & LSR_TX_EMPTY);
		p->iir = IIR_NONE;
		au_write8(p->regs, IER, IER_ALL);
	}
	return 0;
}

static int uart_d0_exit(struct au_device *dev, enum au_power to)
{
	struct uart *u = au_context(dev);

	for (struct port *p = u->port; p < u->port + u->ports; p++)
		au_write8(p->regs, IER, 0);
	return 0;
}

AU_DRIVER_NOTE(AU_NAME("uart16550") AU_VERSION("1.0") AU_CLASS("serial")
		       AU_SUMMARY("16550A UARTs on PCI, one to four ports")
			       AU_MATCH_PCI(0x1b36, 0x0002) AU_MATCH_PCI(0x1b36, 0x0003)
				       AU_MATCH_PCI(0x1b36, 0x0004) AU_MATCH_PCI_CLASS(0x070002)
					       AU_PARAM_UINT("clock", 1843200, 115200, 1000000000,
							     "input clock in Hz"));

AU_DRIVER = {
	AU_HEAD(struct au_driver), .context_size = sizeof(struct uart),
	.prepare = uart_prepare,   .d0_entry = uart_d0_entry,
	.d0_exit = uart_d0_exit,
};
