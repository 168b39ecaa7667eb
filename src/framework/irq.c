/* SPDX-License-Identifier: MIT */
/*
 * Interrupts: isr(), then dpc(). Whether they are messages or the line is the device's business;
 * see irq_message.c and irq_line.c.
 */
#include "framework/internal.h"

#include "base/abi.h"

#define IRQ_DPC_RUNS 8

/* Run what is pending, and what that kicks; then the lane's other sources get their turn. */
void auf_irq_dpc(struct au_irq *irq)
{
	if (irq->in_dpc || !irq->pending)
		return;
	irq->in_dpc = true;
	for (unsigned int i = 0; irq->pending && i < IRQ_DPC_RUNS; i++) {
		irq->pending = false;
		irq->config.dpc(irq);
	}
	irq->in_dpc = false;
	if (irq->pending)
		auf_lane_post(irq->lane, &irq->kick);
}

static void irq_kicked(struct auf_work *work)
{
	struct au_irq *irq = AU_CONTAINER(work, struct au_irq, kick);

	if (irq->dev->irqs_on)
		auf_irq_dpc(irq);
}

unsigned int au_irq_count(struct au_device *dev)
{
	if (!dev->bus)
		return 0;
	return dev->irq_mode == AU_BUS_INTX ? 1 : dev->bus->irqs[dev->irq_mode];
}

/* The line is shared, a message is not. */
static bool irq_taken(struct au_device *dev, uint32_t vector)
{
	if (dev->irq_mode == AU_BUS_INTX)
		return false;
	au_list_for_each (node, &dev->irqs)
		if (AU_CONTAINER(node, struct au_irq, node)->config.vector == vector)
			return true;
	return false;
}

int au_irq_create(struct au_device *dev, const struct au_irq_config *given, struct au_irq **out)
{
	struct au_irq_config config;
	struct au_irq *irq;
	int err;

	if (atomic_load(&dev->machine.state) != STATE_PREPARING) {
		auf_violation(dev, RULE_create_late, NULL);
		return -AU_EINVAL;
	}
	err = auf_take(dev, &au_abi_irq_config, &config, given);
	if (err)
		return err;
	if (!config.dpc) {
		au_log(dev, AU_LOG_ERROR, "au_irq_create: it needs a dpc()");
		return -AU_EINVAL;
	}
	if (!auf_device_has_lane(dev, config.lane) ||
	    (dev->irq_mode == AU_BUS_INTX && config.lane && config.lane != dev->lane)) {
		au_log(dev, AU_LOG_ERROR,
		       "au_irq_create: the lane is none of the device, or not the one of its line");
		return -AU_EINVAL;
	}
	if (config.vector >= au_irq_count(dev)) {
		au_log(dev, AU_LOG_ERROR, "au_irq_create: no vector %u: the device has %u",
		       config.vector, au_irq_count(dev));
		return -AU_ENXIO;
	}
	if (irq_taken(dev, config.vector)) {
		au_log(dev, AU_LOG_ERROR, "au_irq_create: vector %u is taken", config.vector);
		return -AU_EBUSY;
	}
	irq = auf_alloc(dev, sizeof(*irq));
	if (!irq)
		return -AU_ENOMEM;
	irq->dev = dev;
	irq->config = config;
	irq->lane = config.lane ? config.lane : dev->lane;
	irq->kick.fn = irq_kicked;
	irq->source.fd = -1;
	if (unlikely(dev->verify))
		auf_verify_irq(irq);
	au_list_add_tail(&dev->irqs, &irq->node);
	*out = irq;
	return 0;
}

void *au_irq_context(const struct au_irq *irq)
{
	return irq->config.context;
}

void au_irq_kick(struct au_irq *irq)
{
	if (unlikely(irq->dev->verify) && !auf_verify_kick(irq))
		return;
	irq->pending = true;
	if (!irq->in_dpc && !irq->lane->in_isr)
		auf_lane_post(irq->lane, &irq->kick);
}

int auf_irq_ready(struct au_device *dev)
{
	int err;

	if (au_list_empty(&dev->irqs) || dev->irq_mode == AU_BUS_INTX)
		return 0;
	dev->irqs_ready = true;
	err = auf_irq_messages_ready(dev);
	if (err)
		au_log(dev, AU_LOG_ERROR, "the interrupts cannot be set up (error %d)", -err);
	return err;
}

int auf_irq_connect(struct au_device *dev)
{
	int err;

	if (au_list_empty(&dev->irqs))
		return 0;
	dev->irqs_on = true;
	err = dev->irq_mode == AU_BUS_INTX ? auf_irq_line_connect(dev)
					   : auf_irq_messages_connect(dev);
	if (err)
		au_log(dev, AU_LOG_ERROR, "the interrupt cannot be connected (error %d)", -err);
	return err;
}

void auf_irq_disconnect(struct au_device *dev)
{
	if (!dev->irqs_on && !dev->irqs_ready)
		return;
	dev->irqs_on = dev->irqs_ready = false;
	if (dev->irq_mode == AU_BUS_INTX)
		auf_irq_line_disconnect(dev);
	else
		auf_irq_messages_disconnect(dev);
}

void auf_irq_init(struct au_device *dev)
{
	au_list_init(&dev->irqs);
	if (dev->bus)
		dev->irq_mode = dev->bus->irqs[AU_BUS_MSIX]  ? AU_BUS_MSIX
				: dev->bus->irqs[AU_BUS_MSI] ? AU_BUS_MSI
							     : AU_BUS_INTX;
	auf_irq_line_init(dev);
}

void auf_irq_free(struct au_device *dev)
{
	struct au_list *node;

	while ((node = au_list_pop(&dev->irqs))) {
		struct au_irq *irq = AU_CONTAINER(node, struct au_irq, node);

		auf_lane_forget(irq->lane, &irq->kick);
		au_os_free(irq);
	}
}
