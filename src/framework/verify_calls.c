/* SPDX-License-Identifier: MIT */
/*
 * The verifier at a driver's callbacks: how much of the processor each takes, and what it does that
 * it must not do there. It stands where the framework would call the driver; a device without it
 * calls the driver itself.
 *
 * Processor time, and not time: a machine that is busy, or a register access that is a message, is
 * no mistake of the driver's.
 */
#include "framework/internal.h"

#include <stdio.h>

/* ------------------------------------------------------------------- time */

static const struct {
	const char *name;
	uint32_t budget_ms;
} call_kinds[CALL_COUNT] = {
	[CALL_PREPARE] = { "prepare", 1000 },
	[CALL_RELEASE] = { "release", 1000 },
	[CALL_D0_ENTRY] = { "d0_entry", 1000 },
	[CALL_D0_EXIT] = { "d0_exit", 1000 },
	[CALL_IO_START] = { "io_start", 1000 },
	[CALL_IO_STOP] = { "io_stop", 1000 },
	[CALL_SURPRISE] = { "surprise_removed", 10 },
	[CALL_REPORT] = { "report", 100 },
	[CALL_ISR] = { "isr", 10 },
	[CALL_DPC] = { "dpc", 100 },
	[CALL_DELIVER] = { "deliver", 100 },
	[CALL_CANCEL] = { "cancel", 100 },
	[CALL_STOP] = { "stop", 100 },
	[CALL_RESUME] = { "resume", 100 },
	[CALL_TIMER] = { "the timer's function", 100 },
	[CALL_WORK] = { "the work item's function", 100 },
	[CALL_POLL] = { "poll", 100 },
};

uint64_t auf_verify_begin(const struct au_device *dev)
{
	return dev->verify ? au_os_thread_ns() : 0;
}

void auf_verify_end(struct au_device *dev, enum auf_call call, uint64_t began)
{
	uint64_t took_ms = (au_os_thread_ns() - began) / 1000000u;

	if (!dev->verify || took_ms <= call_kinds[call].budget_ms)
		return;
	au_log(dev, AU_LOG_ERROR, "%s took %llu ms of the processor's time: at most %u",
	       call_kinds[call].name, (unsigned long long)took_ms, call_kinds[call].budget_ms);
	auf_violation(dev, RULE_callback_time, NULL);
}

/* ----------------------------------------------------- the driver's descriptor */

static int calls_prepare(struct au_device *dev)
{
	uint64_t began = auf_verify_begin(dev);
	int err = dev->verifier.driver.prepare(dev);

	auf_verify_end(dev, CALL_PREPARE, began);
	return err;
}

static void calls_release(struct au_device *dev)
{
	uint64_t began = auf_verify_begin(dev);

	if (dev->verifier.driver.release)
		dev->verifier.driver.release(dev);
	auf_verify_end(dev, CALL_RELEASE, began);
	if (auf_dma_periods(dev) >= VERIFY_PERIODS)
		auf_violation(dev, RULE_dma_mapped, NULL);
}

static int calls_d0_entry(struct au_device *dev, enum au_power from)
{
	uint64_t began = auf_verify_begin(dev);
	int err = 0;

	dev->verifier.period++;
	if (dev->verifier.driver.d0_entry)
		err = dev->verifier.driver.d0_entry(dev, from);
	auf_verify_end(dev, CALL_D0_ENTRY, began);
	return err;
}

static int calls_d0_exit(struct au_device *dev, enum au_power to)
{
	uint64_t began = auf_verify_begin(dev);
	int err = 0;

	if (dev->verifier.driver.d0_exit)
		err = dev->verifier.driver.d0_exit(dev, to);
	auf_verify_end(dev, CALL_D0_EXIT, began);
	if (auf_timers_periods(dev) >= VERIFY_PERIODS || auf_regs_periods(dev) >= VERIFY_PERIODS)
		auf_violation(dev, RULE_object_leaked, NULL);
	return err;
}

static int calls_io_start(struct au_device *dev)
{
	uint64_t began = auf_verify_begin(dev);
	int err = dev->verifier.driver.io_start(dev);

	auf_verify_end(dev, CALL_IO_START, began);
	return err;
}

static void calls_io_stop(struct au_device *dev)
{
	uint64_t began = auf_verify_begin(dev);

	dev->verifier.driver.io_stop(dev);
	auf_verify_end(dev, CALL_IO_STOP, began);
}

static void calls_surprise_removed(struct au_device *dev)
{
	uint64_t began = auf_verify_begin(dev);

	atomic_store(&dev->verifier.surprised, au_os_thread_self());
	dev->verifier.driver.surprise_removed(dev);
	atomic_store(&dev->verifier.surprised, 0);
	auf_verify_end(dev, CALL_SURPRISE, began);
}

static void calls_report(struct au_device *dev, struct au_report *report)
{
	uint64_t began = auf_verify_begin(dev);

	dev->verifier.driver.report(dev, report);
	auf_verify_end(dev, CALL_REPORT, began);
}

void auf_verify_init(struct au_device *dev)
{
	struct au_driver *driver = &dev->driver;

	if (!dev->verify)
		return;
	dev->verifier.driver = *driver;
	driver->prepare = calls_prepare;
	driver->release = calls_release;
	driver->d0_entry = calls_d0_entry;
	driver->d0_exit = calls_d0_exit;
	driver->io_start = driver->io_start ? calls_io_start : NULL;
	driver->io_stop = driver->io_stop ? calls_io_stop : NULL;
	driver->surprise_removed = driver->surprise_removed ? calls_surprise_removed : NULL;
	driver->report = driver->report ? calls_report : NULL;
}

void auf_verify_surprise(struct au_device *dev)
{
	if (dev->verify && atomic_load(&dev->verifier.surprised) == au_os_thread_self())
		auf_violation(dev, RULE_surprise_work, NULL);
}

/* ------------------------------------------------------------------ interrupts */

static bool calls_isr(struct au_irq *irq)
{
	uint64_t began = auf_verify_begin(irq->dev);
	bool mine = false;

	if (irq->dev->irqs_on)
		mine = irq->isr(irq);
	else
		auf_violation(irq->dev, RULE_irq_after_disable, NULL);
	auf_verify_end(irq->dev, CALL_ISR, began);
	return mine;
}

static void calls_dpc(struct au_irq *irq)
{
	uint64_t began = auf_verify_begin(irq->dev);

	if (irq->dev->irqs_on)
		irq->dpc(irq);
	else
		auf_violation(irq->dev, RULE_irq_after_disable, NULL);
	auf_verify_end(irq->dev, CALL_DPC, began);
}

void auf_verify_irq(struct au_irq *irq)
{
	irq->isr = irq->config.isr;
	irq->dpc = irq->config.dpc;
	irq->config.isr = irq->isr ? calls_isr : NULL;
	irq->config.dpc = calls_dpc;
}

bool auf_verify_kick(const struct au_irq *irq)
{
	switch (atomic_load(&irq->dev->machine.state)) {
	case STATE_CREATED:
	case STATE_PREPARING:
	case STATE_EXITING:
	case STATE_LEAVING:
	case STATE_FLUSHING:
	case STATE_RELEASING:
	case STATE_STOPPED:
	case STATE_POWERING_OFF:
	case STATE_ASLEEP:
	case STATE_POWERING_ON:
		auf_violation(irq->dev, RULE_irq_after_disable, NULL);
		return false;
	default:
		return true;
	}
}

/* ------------------------------------------------------------------- requests */

void auf_verify_deliver(struct au_queue *queue, struct au_request *req)
{
	uint64_t began = auf_verify_begin(queue->dev);

	queue->config.deliver(queue, req);
	auf_verify_end(queue->dev, CALL_DELIVER, began);
}

/* Up, and not on its way down any further than to its io_stop(). */
static bool calls_in_d0(const struct au_device *dev)
{
	switch (atomic_load(&dev->machine.state)) {
	case STATE_OPENING:
	case STATE_STARTING:
	case STATE_RUNNING:
	case STATE_STOPPING:
	case STATE_PAUSING:
		return true;
	default:
		return false;
	}
}

static struct au_request *calls_copy(const struct auf_request *r)
{
	return &r->handle->copies[r - r->handle->requests];
}

void auf_verify_delivered(struct au_queue *queue, struct auf_request *r)
{
	if (auf_queue_managed(queue) && !calls_in_d0(queue->dev))
		auf_violation(queue->dev, RULE_delivery_outside, r);
	*calls_copy(r) = r->pub;
}

static bool calls_changed(const struct au_request *a, const struct au_request *b)
{
	return a->op != b->op || a->flags != b->flags || a->length != b->length ||
	       a->arg[0] != b->arg[0] || a->arg[1] != b->arg[1] || a->data != b->data ||
	       a->dma != b->dma;
}

void auf_verify_completed(struct auf_request *r, int *status, uint32_t *result)
{
	struct au_device *dev = r->handle->unit->dev;

	auf_verify_surprise(dev);
	if (!(r->word & REQ_NO_QUEUE) && calls_changed(&r->pub, calls_copy(r)))
		auf_violation(dev, RULE_request_changed, r);
	if (*status > 0 || *status < -VERIFY_ERROR_MAX) {
		auf_violation(dev, RULE_completion_status, r);
		*status = -AU_EIO;
	}
	if (r->handle->unit->cls->bytes && *result > calls_copy(r)->length &&
	    !(r->word & REQ_NO_QUEUE)) {
		auf_violation(dev, RULE_completion_long, r);
		*result = calls_copy(r)->length;
	}
}

/* ------------------------------------------------------------------ registers */

bool auf_verify_regs(struct au_device *dev)
{
	switch (atomic_load(&dev->machine.state)) {
	case STATE_CREATED:
	case STATE_PREPARING:
	case STATE_FLUSHING:
	case STATE_RELEASING:
	case STATE_STOPPED:
	case STATE_POWERING_OFF:
	case STATE_ASLEEP:
	case STATE_POWERING_ON:
		auf_violation(dev, RULE_register_d0, NULL);
		return false;
	default:
		return true;
	}
}

void auf_verify_sleep(struct au_device *dev)
{
	switch (atomic_load(&dev->machine.state)) {
	case STATE_PREPARING:
	case STATE_ENTERING:
	case STATE_EXITING:
	case STATE_LEAVING:
	case STATE_RELEASING:
		return;
	default:
		auf_violation(dev, RULE_sleep, NULL);
	}
}
