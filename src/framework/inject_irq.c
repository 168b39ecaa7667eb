/* SPDX-License-Identifier: MIT */
/*
 * Interrupts that get lost, that nobody raised, and that do not end. We stand between an
 * interrupt's descriptor and whoever attends to it, and wake the descriptor ourselves: what comes
 * of it goes the whole way of a true one.
 *
 * A message that is lost is lost for good. A line cannot lose a level: it is late by 10 ms.
 */
#include "framework/inject.h"

#define IRQ_STORM    1000u
#define IRQ_AGAIN_MS 10u

static struct inject_irq *irq_of(struct auf_inject *inject, const struct auf_source *source)
{
	for (unsigned int i = 0; i < INJECT_IRQS; i++)
		if (inject->irqs[i].source == source)
			return &inject->irqs[i];
	return NULL;
}

static bool irq_loses(struct auf_inject *inject)
{
	return auf_inject_wants(inject, AU_INJECT_irq_lost) &&
	       auf_inject_draw(inject, AU_INJECT_irq_lost,
			       inject->want.number[AU_INJECT_irq_lost]) == 0;
}

static unsigned int irq_poll(struct inject_irq *irq, unsigned int budget)
{
	struct auf_source *source = irq->source;
	unsigned int done;

	if (irq_loses(irq->inject) && au_os_wake_clear(source->fd)) {
		auf_inject_note(irq->inject, AU_INJECT_irq_lost);
		if (irq->line)
			auf_timeout_set(source->lane, &irq->again, IRQ_AGAIN_MS);
		return 1;
	}
	done = irq->poll(source, budget);
	/* It may have been disconnected meanwhile. */
	if (irq->source && irq->storm) {
		irq->storm--;
		au_os_wake(source->fd);
	}
	return done;
}

static unsigned int irq_poll_message(struct auf_source *source, unsigned int budget)
{
	const struct au_irq *irq = AU_CONTAINER(source, struct au_irq, source);

	return irq_poll(irq_of(irq->dev->inject, source), budget);
}

static unsigned int irq_poll_line(struct auf_source *source, unsigned int budget)
{
	const struct auf_intx *intx = AU_CONTAINER(source, struct auf_intx, source);
	const struct au_device *dev = AU_CONTAINER(intx, struct au_device, intx);

	return irq_poll(irq_of(dev->inject, source), budget);
}

/* ----------------------------------------------------- what nobody has raised */

static void irq_again(struct auf_timeout *timeout)
{
	const struct inject_irq *irq = AU_CONTAINER(timeout, struct inject_irq, again);

	au_os_wake(irq->source->fd);
}

/* From 1 to twice the number: so often on average. */
static void irq_later(struct inject_irq *irq, struct auf_timeout *timeout, enum au_injection what)
{
	struct auf_inject *inject = irq->inject;

	if (auf_inject_wants(inject, what))
		auf_timeout_set(
			irq->source->lane, timeout,
			1 + auf_inject_draw(inject, what, 2ull * inject->want.number[what]));
}

static void irq_spurious(struct auf_timeout *timeout)
{
	struct inject_irq *irq = AU_CONTAINER(timeout, struct inject_irq, spurious);

	auf_inject_note(irq->inject, AU_INJECT_irq_spurious);
	au_os_wake(irq->source->fd);
	irq_later(irq, timeout, AU_INJECT_irq_spurious);
}

static void irq_stormy(struct auf_timeout *timeout)
{
	struct inject_irq *irq = AU_CONTAINER(timeout, struct inject_irq, stormy);

	auf_inject_note(irq->inject, AU_INJECT_irq_storm);
	irq->storm = IRQ_STORM;
	au_os_wake(irq->source->fd);
	irq_later(irq, timeout, AU_INJECT_irq_storm);
}

/* ------------------------------------------------------------ coming, going */

void auf_inject_irq_on(struct au_device *dev, struct auf_source *source, bool line)
{
	struct auf_inject *inject = dev->inject;
	struct inject_irq *irq;

	if (!auf_inject_wants(inject, AU_INJECT_irq_lost) &&
	    !auf_inject_wants(inject, AU_INJECT_irq_spurious) &&
	    !auf_inject_wants(inject, AU_INJECT_irq_storm))
		return;
	irq = irq_of(inject, NULL);
	if (!irq)
		return; /* that many are enough */
	*irq = (struct inject_irq){
		.inject = inject, .source = source, .poll = source->poll, .line = line
	};
	irq->spurious.fn = irq_spurious;
	irq->stormy.fn = irq_stormy;
	irq->again.fn = irq_again;
	source->poll = line ? irq_poll_line : irq_poll_message;
	irq_later(irq, &irq->spurious, AU_INJECT_irq_spurious);
	irq_later(irq, &irq->stormy, AU_INJECT_irq_storm);
}

void auf_inject_irq_off(struct au_device *dev, struct auf_source *source)
{
	struct inject_irq *irq = dev->inject ? irq_of(dev->inject, source) : NULL;

	if (!irq)
		return;
	auf_timeout_clear(source->lane, &irq->spurious);
	auf_timeout_clear(source->lane, &irq->stormy);
	auf_timeout_clear(source->lane, &irq->again);
	source->poll = irq->poll;
	irq->source = NULL;
}
