/* SPDX-License-Identifier: MIT */
/*
 * The interrupt line, INTx. A level interrupt masks itself when it fires; isr() latches and quiets
 * the device, dpc() processes, and then it is unmasked. Several may share the line. When nobody
 * claims it time after time, or it comes faster than any device would send it, it stays masked and
 * the line is looked at every millisecond instead.
 */
#include "framework/internal.h"

#define IRQ_UNCLAIMED_MAX 200u /* in a row */
#define IRQ_WINDOW_MS	  100u
#define IRQ_WINDOW_MAX	  20000u /* in one window */
#define IRQ_POLL_MS	  1u
#define IRQ_RETRY_MS	  1000u /* then unmask it again; twice as long after each storm */
#define IRQ_RETRY_MAX	  6u

/* Ask each one on the line. Returns whether any claims it. */
static bool irq_serve(struct au_device *dev)
{
	bool claimed = false;

	au_list_for_each (node, &dev->irqs) {
		struct au_irq *irq = AU_CONTAINER(node, struct au_irq, node);

		dev->lane->in_isr = true;
		if (!irq->config.isr || irq->config.isr(irq))
			irq->pending = true;
		dev->lane->in_isr = false;
		claimed |= irq->pending;
	}
	au_list_for_each (node, &dev->irqs)
		auf_irq_dpc(AU_CONTAINER(node, struct au_irq, node));
	return claimed;
}

static void irq_unmask(struct au_device *dev)
{
	if (dev->bus->ops->irq_unmask(dev->bus, 0) != 0)
		auf_bus_check(dev);
}

static void irq_storm(struct au_device *dev)
{
	struct auf_intx *intx = &dev->intx;
	unsigned int shift = intx->storms < IRQ_RETRY_MAX ? intx->storms : IRQ_RETRY_MAX;

	au_trace(dev->lane->recorder, dev->lane->index, irq_storm, 0, intx->unclaimed,
		 intx->window);
	au_log(dev, AU_LOG_WARN,
	       "interrupt storm: %u interrupts within %u ms, the last %u unclaimed: polling for %u "
	       "s",
	       intx->window, IRQ_WINDOW_MS, intx->unclaimed, (IRQ_RETRY_MS << shift) / 1000);
	intx->storms++;
	intx->polling = true;
	intx->polling_until_ms = dev->lane->now_ms + (IRQ_RETRY_MS << shift);
	auf_timeout_set(dev->lane, &intx->poll, IRQ_POLL_MS);
}

static void irq_poll_due(struct auf_timeout *timeout)
{
	struct auf_intx *intx = AU_CONTAINER(timeout, struct auf_intx, poll);
	struct au_device *dev = AU_CONTAINER(intx, struct au_device, intx);

	irq_serve(dev);
	if (!intx->polling)
		return;
	if (dev->lane->now_ms < intx->polling_until_ms) {
		auf_timeout_set(dev->lane, timeout, IRQ_POLL_MS);
		return;
	}
	intx->polling = false;
	intx->unclaimed = intx->window = 0;
	irq_unmask(dev);
}

/* The interrupt has arrived, and has masked itself. */
static unsigned int irq_arrived(struct auf_source *source, unsigned int budget)
{
	struct auf_intx *intx = AU_CONTAINER(source, struct auf_intx, source);
	struct au_device *dev = AU_CONTAINER(intx, struct au_device, intx);
	bool claimed;

	if (!au_os_wake_clear(source->fd) || !intx->connected)
		return 0;
	if (dev->lane->now_ms - intx->window_ms >= IRQ_WINDOW_MS) {
		intx->window_ms = dev->lane->now_ms;
		intx->window = 0;
	}
	intx->window++;
	intx->total++;
	claimed = irq_serve(dev);
	au_trace(dev->lane->recorder, dev->lane->index, irq, 0, claimed, intx->unclaimed);
	intx->unclaimed = claimed ? 0 : intx->unclaimed + 1;
	intx->unclaimed_total += !claimed;
	/* It may have been disconnected meanwhile. */
	if (!intx->connected || intx->polling)
		return 1;
	if (intx->unclaimed >= IRQ_UNCLAIMED_MAX || intx->window >= IRQ_WINDOW_MAX)
		irq_storm(dev);
	else
		irq_unmask(dev);
	return 1;
}

int auf_irq_line_connect(struct au_device *dev)
{
	struct auf_intx *intx = &dev->intx;
	int err;

	intx->source.fd = au_os_wake_create();
	if (intx->source.fd < 0)
		return intx->source.fd;
	intx->source.poll = irq_arrived;
	intx->source.poll_on_fd = true;
	intx->connected = true;
	err = auf_lane_add(dev->lane, &intx->source);
	if (!err && unlikely(dev->inject))
		auf_inject_irq_on(dev, &intx->source, true);
	if (!err)
		err = dev->bus->ops->irq_set(dev->bus, AU_BUS_INTX, &intx->source.fd, 1);
	if (!err)
		err = au_pci_enable(dev->bus, true, auf_dma_wanted(dev), true);
	return err;
}

void auf_irq_line_disconnect(struct au_device *dev)
{
	struct auf_intx *intx = &dev->intx;

	if (!intx->connected)
		return;
	intx->connected = intx->polling = false;
	auf_timeout_clear(dev->lane, &intx->poll);
	if (!dev->bus->gone) {
		au_pci_enable(dev->bus, true, auf_dma_wanted(dev), false);
		dev->bus->ops->irq_set(dev->bus, AU_BUS_INTX, NULL, 0);
	}
	auf_inject_irq_off(dev, &intx->source);
	auf_lane_remove(dev->lane, &intx->source);
	au_os_close(intx->source.fd);
	intx->source.fd = -1;
}

void auf_irq_line_init(struct au_device *dev)
{
	dev->intx.source.fd = -1;
	dev->intx.poll.fn = irq_poll_due;
}
