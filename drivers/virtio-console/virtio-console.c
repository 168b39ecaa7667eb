/* SPDX-License-Identifier: MIT */
/* Consoles of virtual machines: virtio 1.1, section 5.3; one port, without the control queue. */
#include <auriga/serial.h>

#include "../virtio/virtio.h"

/* One buffer each way at a time: what a dead host had is unknown, as with the FIFO of a UART. */
enum { FIFO_MAX = 256, ENTRIES = 4 };
enum { QUEUE_RX, QUEUE_TX };

struct con {
	struct virtio virtio;
	struct virtio_queue rx, tx;
	struct au_dma buffers; /* FIFO_MAX bytes for receiving, then as many for sending */
	uint32_t fifo;
	struct au_serial *port;
	struct au_device *dev;
	bool live;
	bool receiving, sending; /* the device has the buffer */
	struct au_timer *clock;
	struct virtq_slot rx_slots[ENTRIES], tx_slots[ENTRIES];
};

/* ------------------------------------------------------------------- both ways */

static void con_put(struct virtio_queue *q, uint64_t addr, uint32_t len, bool in, void *token)
{
	const struct virtq_piece piece = { addr, len };

	virtq_add(&q->ring, &piece, !in, in, token);
	if (virtq_publish(&q->ring))
		virtio_notify(q);
}

/* Lend the device as much as there is room for. */
static void con_receive(struct con *c)
{
	uint32_t room = au_serial_rx_room(c->port);

	if (c->receiving || !c->live || room == 0)
		return;
	room = room < c->fifo ? room : c->fifo;
	au_serial_rx_begin(c->port, room);
	c->receiving = true;
	con_put(&c->rx, c->buffers.addr, room, true, c);
}

static void con_send(struct con *c)
{
	uint8_t *bytes = (uint8_t *)c->buffers.cpu + FIFO_MAX;
	uint32_t n;

	if (c->sending || !c->live)
		return;
	n = au_serial_tx_take(c->port, bytes, c->fifo);
	if (n == 0)
		return;
	c->sending = true;
	con_put(&c->tx, c->buffers.addr + FIFO_MAX, n, false, c);
}

static void con_broken(struct con *c, const char *how)
{
	c->live = false;
	au_log(c->dev, AU_LOG_ERROR, "the device broke the rules of its rings: %s", how);
	au_device_failed(c->dev, how);
}

static unsigned int con_poll(void *context)
{
	struct con *c = context;
	unsigned int count = 0;
	uint32_t written = 0;

	if (!c->live)
		return 0;
	while (virtq_get(&c->rx.ring, &written)) {
		uint8_t bytes[FIFO_MAX];

		/* It may go on writing: what is looked at is a copy. */
		__builtin_memcpy(bytes, c->buffers.cpu, written);
		c->receiving = false;
		au_serial_rx(c->port, bytes, written);
		con_receive(c);
		count++;
	}
	while (virtq_get(&c->tx.ring, &written)) {
		c->sending = false;
		au_serial_tx_done(c->port);
		con_send(c);
		count++;
	}
	if (c->rx.ring.broken || c->tx.ring.broken)
		con_broken(c, c->rx.ring.broken ? c->rx.ring.broken : c->tx.ring.broken);
	return count;
}

static bool con_idle(void *context)
{
	struct con *c = context;
	bool rx, tx;

	if (!c->live)
		return true;
	rx = virtq_arm(&c->rx.ring);
	tx = virtq_arm(&c->tx.ring);
	return c->virtio.irqs && rx && tx;
}

/* ------------------------------------------------------------------- the class */

static int con_set_line(struct au_serial *port, const struct au_serial_line *line)
{
	return 0; /* there are no bits on a wire that could be framed */
}

static void con_set_modem(struct au_serial *port, uint32_t outputs)
{
	/* nor modem lines */
}

static void con_tx_start(struct au_serial *port)
{
	con_send(au_serial_context(port));
}

static bool con_tx_idle(struct au_serial *port)
{
	return !((struct con *)au_serial_context(port))->sending;
}

static void con_rx_start(struct au_serial *port)
{
	con_receive(au_serial_context(port));
}

static const struct au_serial_ops con_ops = {
	AU_HEAD(struct au_serial_ops), .set_line = con_set_line, .set_modem = con_set_modem,
	.tx_start = con_tx_start,      .tx_idle = con_tx_idle,	 .rx_start = con_rx_start,
};

/* -------------------------------------------------------------------- up, down */

static void con_news(void *context)
{
	struct con *c = context;

	if (c->virtio.needs_reset)
		con_broken(c, "it asks for a reset");
}

static void con_serve(void *context)
{
	con_poll(context);
}

/* An interrupt may have been lost. */
static void con_clock(struct au_timer *timer, void *context)
{
	con_poll(context);
}

static int con_prepare(struct au_device *dev)
{
	struct con *c = au_context(dev);
	const struct au_serial_config config = { AU_HEAD(struct au_serial_config), .ops = &con_ops,
						 .context = c,
						 .fifo = (uint32_t)au_param_uint(dev, "fifo") };
	const struct au_poller_config poller = { AU_HEAD(struct au_poller_config), .context = c,
						 .poll = con_poll, .idle = con_idle };
	struct au_poller *handle;
	int err;

	c->dev = dev;
	c->fifo = config.fifo;
	err = virtio_prepare(&c->virtio, dev);
	err = err ? err : au_dma_alloc(dev, 2 * FIFO_MAX, FIFO_MAX, &c->buffers);
	err = err ? err : virtio_irqs(&c->virtio, c, con_news, con_serve);
	err = err ? err : au_serial_add(dev, &config, &c->port);
	err = err ? err : au_poller_create(dev, &poller, &handle);
	return err ? err : au_timer_create(dev, con_clock, c, &c->clock);
}

static int con_d0_entry(struct au_device *dev, enum au_power from)
{
	struct con *c = au_context(dev);
	int err = virtio_begin(&c->virtio, VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED, 0);

	c->receiving = c->sending = false;
	err = err ? err : virtio_queue(&c->virtio, &c->rx, QUEUE_RX, ENTRIES, c->rx_slots, 0);
	err = err ? err : virtio_queue(&c->virtio, &c->tx, QUEUE_TX, ENTRIES, c->tx_slots, 0);
	err = err ? err : virtio_go(&c->virtio);
	if (err && !c->virtio.gone)
		virtio_stop(&c->virtio);
	return err;
}

static int con_io_start(struct au_device *dev)
{
	struct con *c = au_context(dev);

	c->live = true;
	con_receive(c);
	con_send(c);
	au_timer_start(c->clock, 100, true);
	return 0;
}

static int con_d0_exit(struct au_device *dev, enum au_power to)
{
	struct con *c = au_context(dev);

	c->live = false;
	virtio_stop(&c->virtio);
	return 0;
}

AU_DRIVER_NOTE(
	AU_NAME("virtio-console") AU_VERSION("1.0") AU_CLASS("serial") AU_SUMMARY(
		"consoles of virtual machines") AU_MATCH_PCI(0x1af4, 0x1043)
		AU_MATCH_PCI(0x1af4, 0x1003) AU_DMA(64, 0x10000) AU_PARAM_UINT(
			"fifo", 256, 1, 256,
			"bytes of a buffer: more is faster, and more is unknown when a host dies"));

AU_DRIVER = {
	AU_HEAD(struct au_driver), .context_size = sizeof(struct con),
	.prepare = con_prepare,	   .d0_entry = con_d0_entry,
	.d0_exit = con_d0_exit,	   .io_start = con_io_start,
};
