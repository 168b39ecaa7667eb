/* SPDX-License-Identifier: MIT */
/* Sources of random bytes of virtual machines: virtio 1.1, section 5.4. Who reads the port gets
 * some. */
#include <auriga/serial.h>

#include "../virtio/virtio.h"

enum { FIFO = 64, ENTRIES = 4 };

struct rng {
	struct virtio virtio;
	struct virtio_queue queue;
	struct au_dma buffer;
	struct au_serial *port;
	struct au_device *dev;
	bool live;
	bool asked; /* the device has the buffer */
	struct au_timer *clock;
	struct virtq_slot slots[ENTRIES];
};

/* What nobody has room for is not asked for: a source may have only so much. */
static void rng_ask(struct rng *r)
{
	struct virtq_piece piece = { r->buffer.addr, 0 };
	uint32_t room = au_serial_rx_room(r->port);

	if (r->asked || !r->live || room == 0)
		return;
	piece.len = room < FIFO ? room : FIFO;
	au_serial_rx_begin(r->port, piece.len);
	r->asked = true;
	virtq_add(&r->queue.ring, &piece, 0, 1, r);
	if (virtq_publish(&r->queue.ring))
		virtio_notify(&r->queue);
}

static void rng_broken(struct rng *r, const char *how)
{
	r->live = false;
	au_device_failed(r->dev, how);
}

static unsigned int rng_poll(void *context)
{
	struct rng *r = context;
	unsigned int count = 0;
	uint32_t written = 0;

	while (r->live && virtq_get(&r->queue.ring, &written)) {
		uint8_t bytes[FIFO];

		__builtin_memcpy(bytes, r->buffer.cpu, written);
		r->asked = false;
		au_serial_rx(r->port, bytes, written);
		rng_ask(r);
		count++;
	}
	if (r->live && r->queue.ring.broken)
		rng_broken(r, r->queue.ring.broken);
	return count;
}

static bool rng_idle(void *context)
{
	struct rng *r = context;

	return !r->live || (virtq_arm(&r->queue.ring) && r->virtio.irqs);
}

/* ------------------------------------------------------------------- the class */

static int rng_set_line(struct au_serial *port, const struct au_serial_line *line)
{
	return 0;
}

static void rng_set_modem(struct au_serial *port, uint32_t outputs)
{
}

/* Nobody listens: what is sent is gone. */
static void rng_tx_start(struct au_serial *port)
{
	uint8_t bytes[FIFO];

	while (au_serial_tx_take(port, bytes, sizeof(bytes)))
		au_serial_tx_done(port);
}

static void rng_rx_start(struct au_serial *port)
{
	rng_ask(au_serial_context(port));
}

static const struct au_serial_ops rng_ops = {
	AU_HEAD(struct au_serial_ops), .set_line = rng_set_line, .set_modem = rng_set_modem,
	.tx_start = rng_tx_start,      .rx_start = rng_rx_start,
};

/* -------------------------------------------------------------------- up, down */

static void rng_news(void *context)
{
	struct rng *r = context;

	if (r->virtio.needs_reset)
		rng_broken(r, "it asks for a reset");
}

static void rng_serve(void *context)
{
	rng_poll(context);
}

/* An interrupt may have been lost. */
static void rng_clock(struct au_timer *timer, void *context)
{
	rng_poll(context);
}

static int rng_prepare(struct au_device *dev)
{
	struct rng *r = au_context(dev);
	const struct au_serial_config config = { AU_HEAD(struct au_serial_config), .ops = &rng_ops,
						 .context = r, .fifo = FIFO };
	const struct au_poller_config poller = { AU_HEAD(struct au_poller_config), .context = r,
						 .poll = rng_poll, .idle = rng_idle };
	struct au_poller *handle;
	int err;

	r->dev = dev;
	err = virtio_prepare(&r->virtio, dev);
	err = err ? err : au_dma_alloc(dev, FIFO, FIFO, &r->buffer);
	err = err ? err : virtio_irqs(&r->virtio, r, rng_news, rng_serve);
	err = err ? err : au_serial_add(dev, &config, &r->port);
	err = err ? err : au_poller_create(dev, &poller, &handle);
	return err ? err : au_timer_create(dev, rng_clock, r, &r->clock);
}

static int rng_d0_entry(struct au_device *dev, enum au_power from)
{
	struct rng *r = au_context(dev);
	int err = virtio_begin(&r->virtio, VIRTIO_F_EVENT_IDX | VIRTIO_F_RING_PACKED, 0);

	r->asked = false;
	err = err ? err : virtio_queue(&r->virtio, &r->queue, 0, ENTRIES, r->slots, 0);
	err = err ? err : virtio_go(&r->virtio);
	if (err && !r->virtio.gone)
		virtio_stop(&r->virtio);
	return err;
}

static int rng_io_start(struct au_device *dev)
{
	struct rng *r = au_context(dev);

	r->live = true;
	rng_ask(r);
	au_timer_start(r->clock, 100, true);
	return 0;
}

static int rng_d0_exit(struct au_device *dev, enum au_power to)
{
	struct rng *r = au_context(dev);

	r->live = false;
	virtio_stop(&r->virtio);
	return 0;
}

AU_DRIVER_NOTE(AU_NAME("virtio-rng") AU_VERSION("1.0") AU_CLASS("serial")
		       AU_SUMMARY("random bytes from a virtual machine's host")
			       AU_MATCH_PCI(0x1af4, 0x1044) AU_MATCH_PCI(0x1af4, 0x1005)
				       AU_DMA(64, 0x10000));

AU_DRIVER = {
	AU_HEAD(struct au_driver), .context_size = sizeof(struct rng),
	.prepare = rng_prepare,	   .d0_entry = rng_d0_entry,
	.d0_exit = rng_d0_exit,	   .io_start = rng_io_start,
};
