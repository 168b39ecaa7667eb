/* SPDX-License-Identifier: MIT */
/*
 * Message interrupts, MSI-X and MSI: each has a descriptor of its own and needs no masking. One
 * that comes while its dpc() has not run is the same as one.
 *
 * The device is told of them before d0_entry(), which may set up queues that name a message; what
 * arrives until they are connected is there then.
 */
#include "framework/internal.h"

static unsigned int message_arrived(struct auf_source *source, unsigned int budget)
{
	struct au_irq *irq = AU_CONTAINER(source, struct au_irq, source);
	struct au_lane *lane = irq->lane;

	if (!au_os_wake_clear(source->fd))
		return 0;
	lane->in_isr = true;
	if (!irq->config.isr || irq->config.isr(irq))
		irq->pending = true;
	lane->in_isr = false;
	au_trace(lane->recorder, lane->index, irq, irq->config.vector, irq->pending, 0);
	auf_irq_dpc(irq);
	return 1;
}

static int message_open(struct au_irq *irq, int *fds)
{
	irq->source.fd = au_os_wake_create();
	if (irq->source.fd < 0)
		return irq->source.fd;
	irq->source.poll = message_arrived;
	irq->source.poll_on_fd = true;
	fds[irq->config.vector] = irq->source.fd;
	return 0;
}

int auf_irq_messages_ready(struct au_device *dev)
{
	unsigned int count = 0;
	int *fds, err = 0;

	au_list_for_each (node, &dev->irqs) {
		struct au_irq *irq = AU_CONTAINER(node, struct au_irq, node);

		if (irq->config.vector >= count)
			count = irq->config.vector + 1;
	}
	fds = auf_alloc(dev, count * sizeof(*fds));
	if (!fds)
		return -AU_ENOMEM;
	for (unsigned int i = 0; i < count; i++)
		fds[i] = -1;
	au_list_for_each (node, &dev->irqs)
		if (!err)
			err = message_open(AU_CONTAINER(node, struct au_irq, node), fds);
	if (!err)
		err = dev->bus->ops->irq_set(dev->bus, dev->irq_mode, fds, count);
	au_os_free(fds);
	return err;
}

int auf_irq_messages_connect(struct au_device *dev)
{
	int err = 0;

	au_list_for_each (node, &dev->irqs) {
		struct au_irq *irq = AU_CONTAINER(node, struct au_irq, node);

		if (!err)
			err = auf_lane_add(irq->lane, &irq->source);
		if (!err && unlikely(dev->inject))
			auf_inject_irq_on(dev, &irq->source, false);
	}
	return err;
}

void auf_irq_messages_disconnect(struct au_device *dev)
{
	if (!dev->bus->gone)
		dev->bus->ops->irq_set(dev->bus, dev->irq_mode, NULL, 0);
	au_list_for_each (node, &dev->irqs) {
		struct au_irq *irq = AU_CONTAINER(node, struct au_irq, node);

		auf_inject_irq_off(dev, &irq->source);
		auf_lane_remove(irq->lane, &irq->source);
		if (irq->source.fd >= 0)
			au_os_close(irq->source.fd);
		irq->source.fd = -1;
	}
}
