/* SPDX-License-Identifier: MIT */
/* Devices: making and freeing them, and what is asked of a device as a whole. */
#include "framework/internal.h"

#include "base/abi.h"
#include "base/log.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DEVICE_LOG_LINES 20u /* a second */
#define DEVICE_LOG_LINE	 201u

/* ----------------------------------------------------------- making, freeing */

static unsigned int device_bus_attend(struct auf_source *source, unsigned int budget)
{
	struct au_device *dev = AU_CONTAINER(source, struct au_device, bus_source);

	dev->bus->ops->attend(dev->bus);
	auf_bus_check(dev);
	/* A descriptor that has hung up stays readable. */
	if (dev->bus->gone)
		auf_lane_remove(dev->lane, source);
	return 1;
}

static void device_bus_work(struct auf_work *work)
{
	auf_bus_check(AU_CONTAINER(work, struct au_device, bus_work));
}

static int device_join_lane(void *arg)
{
	struct au_device *dev = arg;
	int err = 0;

	if (!dev->bus)
		return 0;
	au_list_add_tail(&dev->lane->buses, &dev->bus_node);
	dev->bus_source.fd = dev->bus->ops->wait_fd(dev->bus);
	dev->bus_source.poll = device_bus_attend;
	dev->bus_source.poll_on_fd = true;
	if (dev->bus_source.fd >= 0)
		err = auf_lane_add(dev->lane, &dev->bus_source);
	if (!err && auf_dma_wanted(dev))
		err = auf_dma_arena(dev);
	return err;
}

/* Everything that was made on its behalf, in the reverse order. */
static int device_leave_lane(void *arg)
{
	struct au_device *dev = arg;
	struct au_list *node;

	auf_report_end(dev);
	auf_finish_end(dev);
	auf_power_end(dev);
	auf_inject_leave(dev);
	auf_drain_end(dev);
	auf_device_hold(dev);
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++)
		if (dev->units[i])
			auf_unit_free(dev->units[i]);
	while ((node = au_list_pop(&dev->removed_units)))
		auf_unit_free(AU_CONTAINER(node, struct au_unit, removed_node));
	auf_irq_free(dev);
	auf_pollers_free(dev);
	auf_dma_free(dev);
	auf_regs_free(dev);
	auf_timers_free(dev);
	auf_solo_reset(dev);
	auf_lane_forget(dev->lane, &dev->machine.surprise);
	auf_lane_forget(dev->lane, &dev->machine.told);
	auf_lane_forget(dev->lane, &dev->power.work);
	auf_lane_forget(dev->lane, &dev->presence.work);
	auf_lane_forget(dev->lane, &dev->bus_work);
	au_list_remove(&dev->bus_node);
	if (dev->bus) {
		auf_lane_remove(dev->lane, &dev->bus_source);
		dev->bus->ops->close(dev->bus);
	}
	auf_device_let_go(dev);
	return 0;
}

static void device_free(struct au_device *dev)
{
	au_os_free(dev->inject);
	if (dev->state_ours)
		au_os_free(dev->state);
	au_os_free(dev->params);
	au_os_free(dev->context);
	au_os_free(dev);
}

/* How many lanes it has: what the driver can use, what is wanted, and what there is. */
static int device_lanes(struct au_device *dev, const struct auf_device_config *config)
{
	unsigned int count = au_note_lanes(config->note, config->params, UINT_MAX);

	if (!config->lanes || count > config->lane_count)
		count = config->lanes && config->lane_count ? config->lane_count : 1;
	dev->lanes[0] = dev->lane = config->lane;
	for (unsigned int i = 1; i < count; i++)
		dev->lanes[i] = config->lanes[i];
	dev->lane_count = dev->lanes_used = count;
	return count > 1 && config->bus ? au_bus_share(config->bus) : 0;
}

static int device_check(const struct auf_device_config *config, char *error, size_t error_size)
{
	const char *wrong = !config->name || !config->driver || !config->note || !config->lane
				    ? "name, driver, note and lane are needed"
			    : !config->driver->prepare ? "the driver has no prepare()"
			    : config->state && config->state_size < AUF_STATE_SIZE
				    ? "the class state is too small"
			    : config->note->retain_bytes > config->retained_size
				    ? "the retained memory is too small"
			    : config->bus && config->note->dma_bytes > config->arena_size
				    ? "the driver's arena is missing or too small"
				    : NULL;

	if (!wrong)
		return 0;
	snprintf(error, error_size, "%s: %s", config->name ? config->name : "device", wrong);
	return -EINVAL;
}

int auf_device_create(const struct auf_device_config *config, struct au_device **out, char *error,
		      size_t error_size)
{
	struct au_device *dev;
	int err = device_check(config, error, error_size);

	dev = err ? NULL : au_os_alloc(sizeof(*dev));
	if (!dev) {
		if (config->bus)
			config->bus->ops->close(config->bus);
		if (!err)
			snprintf(error, error_size, "%s: out of memory", config->name);
		return err ? err : -ENOMEM;
	}
	snprintf(dev->name, sizeof(dev->name), "%s", config->name);
	dev->driver = *config->driver;
	dev->note = *config->note;
	dev->bus = config->bus;
	dev->retained = config->retained;
	dev->retained_size = config->retained_size;
	dev->retained_fresh = config->retained_fresh;
	dev->state = config->state;
	dev->state_fresh = config->state_fresh;
	dev->generation = config->generation;
	dev->from = config->from;
	dev->gate = !config->hold_gate;
	dev->verify = config->verify;
	dev->notify = config->notify;
	dev->notify_context = config->context;
	au_list_init(&dev->bus_node);
	au_list_init(&dev->regs);
	au_list_init(&dev->timers);
	au_list_init(&dev->works);
	au_list_init(&dev->removed_units);
	au_list_init(&dev->pollers);
	auf_dma_init(dev, config);
	auf_irq_init(dev);
	auf_solo_init(dev);
	auf_report_init(dev);
	auf_machine_init(dev);
	auf_verify_init(dev);
	auf_power_init(dev, config);
	auf_presence_init(dev);
	dev->bus_work.fn = device_bus_work;
	err = auf_inject_init(dev, config->inject);
	err = err ? err : device_lanes(dev, config);
	if (err)
		snprintf(error, error_size, "%s: out of memory", config->name);
	else
		err = auf_params_set(dev, config->params, error, error_size);
	if (!dev->state) {
		/* It will not outlive this process, but nor will the clients. */
		dev->state = au_os_alloc(AUF_STATE_SIZE);
		dev->state_ours = dev->state_fresh = true;
	}
	dev->context = au_os_alloc(dev->driver.context_size ? dev->driver.context_size : 1);
	if (!err && (!dev->state || !dev->context)) {
		snprintf(error, error_size, "%s: out of memory", config->name);
		err = -ENOMEM;
	}
	if (!err) {
		auf_inject_lanes(dev);
		err = auf_lane_call(dev->lane, device_join_lane, dev);
		if (err)
			snprintf(error, error_size,
				 "%s: the device's descriptor or memory cannot be used: %s",
				 config->name, strerror(-err));
	}
	if (err) {
		auf_lane_call(dev->lane, device_leave_lane, dev);
		device_free(dev);
		return err;
	}
	*out = dev;
	return 0;
}

static int device_start(void *arg)
{
	struct au_device *dev = arg;

	if (atomic_load(&dev->machine.state) != STATE_CREATED)
		return -EINVAL;
	return auf_machine_event(dev, EVENT_START);
}

static int device_stop(void *dev)
{
	auf_machine_event(dev, EVENT_STOP);
	return 0;
}

int auf_device_start(struct au_device *dev)
{
	return auf_lane_call(dev->lane, device_start, dev);
}

void auf_device_stop(struct au_device *dev)
{
	auf_lane_call(dev->lane, device_stop, dev);
}

void auf_device_destroy(struct au_device *dev)
{
	if (!dev)
		return;
	auf_device_stop(dev);
	auf_lane_call(dev->lane, device_leave_lane, dev);
	device_free(dev);
}

/* ------------------------------------------------------------ all its queues */

void auf_lane_sweep(struct au_device *dev, struct au_lane *lane,
		    void (*fn)(struct auf_request *r, void *arg), void *arg)
{
	struct au_lane *own = lane ? lane : dev->lane;

	own->sweeping++;
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++) {
		struct au_unit *unit = dev->units[i];

		if (!unit)
			continue;
		au_list_for_each (node, &unit->handles) {
			struct auf_handle *handle = AU_CONTAINER(node, struct auf_handle, node);

			if (lane && handle->lane != lane)
				continue;
			for (uint32_t slot = 0; slot < handle->depth; slot++)
				if (auf_request_is(handle->slots[slot]) != REQ_FREE)
					fn(handle->slots[slot], arg);
		}
	}
	if (--own->sweeping == 0)
		auf_device_settle_handles(dev, own);
}

void auf_device_sweep(struct au_device *dev, void (*fn)(struct auf_request *r, void *arg),
		      void *arg)
{
	auf_lane_sweep(dev, NULL, fn, arg);
}

void auf_device_each_queue(struct au_device *dev, void (*fn)(struct au_queue *queue))
{
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++)
		if (dev->units[i])
			au_list_for_each (node, &dev->units[i]->queues)
				fn(AU_CONTAINER(node, struct au_queue, node));
}

static void device_pump(struct au_queue *queue)
{
	queue->told = false;
	if (auf_device_many(queue->dev))
		auf_queue_pump_later(queue);
	else
		auf_queue_pump(queue);
}

void auf_device_refresh(struct au_device *dev)
{
	/* All of them are on before the first delivers: it may send to another. */
	auf_device_each_queue(dev, auf_queue_refresh);
	auf_device_each_queue(dev, device_pump);
}

static void device_deliver(struct au_device *dev)
{
	au_trace(dev->lane->recorder, dev->lane->index, gate, 1, 0, 0);
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++)
		if (dev->units[i] && dev->units[i]->cls->gate)
			dev->units[i]->cls->gate(dev->units[i]);
	auf_device_refresh(dev);
	auf_notify(dev, AUF_GATE_OPEN, NULL);
}

void auf_device_open_queues(struct au_device *dev)
{
	dev->delivering = true;
	if (dev->gate)
		device_deliver(dev);
}

void auf_device_open_gate(struct au_device *dev)
{
	if (dev->gate || dev->drain.done)
		return;
	auf_device_hold(dev);
	dev->gate = true;
	if (dev->delivering)
		device_deliver(dev);
	auf_device_let_go(dev);
}

static void device_refuse(struct auf_request *r, void *arg)
{
	auf_request_cancel(r, -AU_ENODEV);
}

void auf_device_close_queues(struct au_device *dev)
{
	bool first = !dev->refusing;

	dev->delivering = false;
	dev->refusing = true;
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++)
		if (dev->units[i])
			auf_unit_refresh(dev->units[i]);
	auf_solo_reset(dev);
	auf_device_each_queue(dev, auf_queue_refresh);
	auf_device_sweep(dev, device_refuse, NULL);
	if (first)
		auf_stop_ask(dev, AU_STOP_REMOVE);
}

/* ----------------------------------------------------------------- questions */

void auf_notify(struct au_device *dev, enum auf_notice what, void *object)
{
	if (dev->notify)
		dev->notify(dev->notify_context, dev, what, object);
}

void auf_device_surprise(struct au_device *dev)
{
	auf_machine_event(dev, EVENT_SURPRISE);
}

void au_device_gone(struct au_device *dev)
{
	auf_machine_event(dev, EVENT_SURPRISE);
}

void au_device_failed(struct au_device *dev, const char *why)
{
	au_log(dev, AU_LOG_ERROR, "the driver gives up: %s", why);
	auf_notify(dev, AUF_DEVICE_FAILED, (void *)(uintptr_t)why);
	auf_machine_event(dev, EVENT_SURPRISE);
}

void auf_bus_check(struct au_device *dev)
{
	if (likely(!dev->bus->gone) || dev->bus_told)
		return;
	if (auf_device_many(dev) && !auf_lane_current(dev->lane)) {
		auf_lane_post(dev->lane, &dev->bus_work);
		return;
	}
	dev->bus_told = true;
	au_log(dev, AU_LOG_ERROR, "the device is gone: %s",
	       dev->bus->why[0] ? dev->bus->why : dev->bus->address);
	auf_machine_event(dev, EVENT_SURPRISE);
}

void au_sleep_ms(struct au_device *dev, uint32_t ms)
{
	auf_verify_sleep(dev);
	auf_device_sleep_ms(dev, ms);
}

void auf_device_sleep_ms(struct au_device *dev, uint32_t ms)
{
	if (dev->bus)
		au_bus_flush(dev->bus);
	au_os_sleep_ms(ms);
	auf_lane_clock(dev->lane);
	/* Those that are parked cannot answer, either. */
	if (auf_power_alive(dev))
		for (unsigned int i = 0; i < dev->lane_count; i++)
			auf_lane_sign(dev->lanes[i]);
}

int auf_take(struct au_device *dev, const struct au_abi_type *type, void *own, const void *given)
{
	char why[256];
	int err = au_abi_take(type, own, given, AU_ABI_SIZE_MAX, why, sizeof(why));

	if (err)
		au_log(dev, AU_LOG_ERROR, "%s", why);
	return err;
}

struct au_unit *auf_device_unit(struct au_device *dev, unsigned int index)
{
	return index < AUF_UNITS_MAX ? dev->units[index] : NULL;
}

void *au_context(struct au_device *dev)
{
	return dev->context;
}

const char *au_device_name(const struct au_device *dev)
{
	return dev->name;
}

struct au_lane *au_device_lane(struct au_device *dev, unsigned int index)
{
	return index < dev->lane_count ? dev->lanes[index] : NULL;
}

uint64_t au_now_ms(struct au_device *dev)
{
	return dev->lane->now_ms;
}

void *au_retained(struct au_device *dev, bool *fresh)
{
	*fresh = dev->retained_fresh;
	return dev->note.retain_bytes ? dev->retained : NULL;
}

/* Whether one more line may be logged in this second. */
static bool device_may_log(struct au_device *dev)
{
	uint64_t second = au_os_now_ns() / 1000000000u;
	uint32_t dropped;

	if (atomic_exchange(&dev->log.second, second) != second) {
		atomic_store(&dev->log.lines, 0);
		dropped = atomic_exchange(&dev->log.dropped, 0);
		if (dropped)
			au_logf(AU_LOG_WARN, "%s: %u messages were dropped", dev->name, dropped);
	}
	if (atomic_fetch_add(&dev->log.lines, 1) < DEVICE_LOG_LINES)
		return true;
	atomic_fetch_add(&dev->log.dropped, 1);
	return false;
}

void auf_say(struct au_device *dev, enum au_log_level level, const char *line)
{
	for (unsigned int i = 0; i < dev->lane_count; i++)
		if (dev->lanes[i]->recorder && auf_lane_current(dev->lanes[i])) {
			au_recorder_text(dev->lanes[i]->recorder, i, line);
			break;
		}
	au_logf(level, "%s: %s", dev->name, line);
}

void au_log(struct au_device *dev, enum au_log_level level, const char *fmt, ...)
{
	char line[DEVICE_LOG_LINE];
	va_list args;

	if ((level > AU_LOG_INFO && !au_log_wanted(level)) || !device_may_log(dev))
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args); /* NOLINT(clang-analyzer-valist.Uninitialized) */
	va_end(args);
	auf_say(dev, level, line);
}
