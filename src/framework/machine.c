/* SPDX-License-Identifier: MIT */
/*
 * The way up and down of a device, as one table: in a state, an event leads to the next state, and
 * entering a state runs its action, whose outcome is the next event. What is not in the table
 * cannot happen, and is noted if it does. The way down never stops half way: there, an action that
 * fails is noted and counts as done.
 */
#include "framework/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int machine_prepare(struct au_device *dev)
{
	dev->timers_open = true;
	return dev->driver.prepare(dev);
}

static int machine_enter(struct au_device *dev)
{
	uint64_t began = au_os_now_ns();
	int err = 0;

	if (dev->bus) {
		/* Whoever had it before may have left it asleep. */
		if (dev->from != AU_POWER_D3)
			auf_power_bus_on(dev);
		err = au_pci_enable(dev->bus, true, auf_dma_wanted(dev), false);
	}
	if (!err)
		err = auf_irq_ready(dev);
	if (err || !dev->driver.d0_entry)
		return err;
	err = dev->driver.d0_entry(dev, dev->from);
	dev->power.entry_us = (uint32_t)((au_os_now_ns() - began) / 1000);
	return err;
}

static int machine_restore(struct au_device *dev)
{
	int err = 0;

	for (unsigned int i = 0; i < AUF_UNITS_MAX && !err; i++)
		if (dev->units[i] && dev->units[i]->cls->restore)
			err = dev->units[i]->cls->restore(dev->units[i], dev->from);
	return err;
}

static int machine_connect(struct au_device *dev)
{
	int err = auf_irq_connect(dev);

	return err ? err : auf_pollers_start(dev);
}

static int machine_open(struct au_device *dev)
{
	if (dev->asleep)
		auf_power_open_queues(dev);
	else
		auf_device_open_queues(dev);
	auf_presence_start(dev);
	return 0;
}

static int machine_io_start(struct au_device *dev)
{
	return dev->driver.io_start ? dev->driver.io_start(dev) : 0;
}

static int machine_io_stop(struct au_device *dev)
{
	if (dev->driver.io_stop)
		dev->driver.io_stop(dev);
	return 0;
}

static int machine_close(struct au_device *dev)
{
	auf_presence_stop(dev);
	/* Not on the way to D3 any more: the driver is to let go of everything. */
	dev->asleep = false;
	auf_device_close_queues(dev);
	return 0;
}

static int machine_disconnect(struct au_device *dev)
{
	auf_power_waited(dev);
	auf_presence_stop(dev);
	auf_pollers_stop(dev);
	auf_irq_disconnect(dev);
	auf_timers_stop(dev);
	return 0;
}

static int machine_suspend(struct au_device *dev)
{
	auf_report_end(dev);
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++)
		if (dev->units[i] && dev->units[i]->cls->suspend)
			dev->units[i]->cls->suspend(dev->units[i]);
	return 0;
}

static int machine_exit(struct au_device *dev)
{
	return dev->driver.d0_exit ? dev->driver.d0_exit(dev, dev->machine.to) : 0;
}

static void machine_flush_one(struct auf_request *r, void *arg)
{
	struct au_device *dev = arg;

	/* Stopped in D3 it has not been called since. */
	if (!dev->machine.gone && !dev->asleep && auf_request_is(r) == REQ_OWNED)
		auf_violation(dev, RULE_request_leaked, r);
	auf_request_finish(r, -AU_ENODEV, 0, 0);
}

static int machine_flush(struct au_device *dev)
{
	auf_device_close_queues(dev);
	auf_irq_disconnect(dev);
	if (dev->bus && !dev->bus->gone && dev->power.bus_off)
		auf_power_bus_on(dev);
	/* Whatever the driver has left of the device running: memory is given back now. */
	if (dev->bus && !dev->bus->gone && auf_dma_wanted(dev))
		au_pci_enable(dev->bus, true, false, false);
	auf_device_sweep(dev, machine_flush_one, dev);
	return 0;
}

static int machine_release(struct au_device *dev)
{
	auf_timers_stop(dev);
	if (dev->driver.release)
		dev->driver.release(dev);
	auf_idle_release(dev);
	auf_dma_forget(dev);
	if (dev->bus && !dev->bus->gone)
		au_pci_enable(dev->bus, false, false, false);
	return 0;
}

static const struct {
	const char *name;
	int (*action)(struct au_device *dev);
	bool down;
} machine_states[STATE_COUNT] = {
	[STATE_CREATED] = { "created", NULL, false },
	[STATE_PREPARING] = { "prepare", machine_prepare, false },
	[STATE_ENTERING] = { "d0-entry", machine_enter, false },
	[STATE_RESTORING] = { "restore", machine_restore, false },
	[STATE_CONNECTING] = { "interrupts-on", machine_connect, false },
	[STATE_OPENING] = { "queues-on", machine_open, false },
	[STATE_STARTING] = { "io-start", machine_io_start, false },
	[STATE_RUNNING] = { "d0", NULL, false },
	[STATE_STOPPING] = { "io-stop", machine_io_stop, true },
	[STATE_CLOSING] = { "queues-off", machine_close, true },
	[STATE_DISCONNECTING] = { "interrupts-off", machine_disconnect, true },
	[STATE_SUSPENDING] = { "suspend", machine_suspend, true },
	[STATE_EXITING] = { "d0-exit", machine_exit, true },
	[STATE_FLUSHING] = { "flush", machine_flush, true },
	[STATE_RELEASING] = { "release", machine_release, true },
	[STATE_STOPPED] = { "stopped", NULL, true },
	[STATE_PAUSING] = { "pause", machine_io_stop, true },
	[STATE_HOLDING] = { "hold-queues", auf_power_hold_queues, true },
	[STATE_WAITING] = { "wait-requests", auf_power_wait, true },
	[STATE_MUTING] = { "mute", machine_disconnect, true },
	[STATE_RESTING] = { "rest", machine_suspend, true },
	[STATE_LEAVING] = { "d3-entry", auf_power_leave, true },
	[STATE_POWERING_OFF] = { "power-off", auf_power_off, true },
	[STATE_ASLEEP] = { "d3", NULL, true },
	[STATE_POWERING_ON] = { "power-on", auf_power_on, false },
};

static const char *const machine_events[EVENT_COUNT] = {
	[EVENT_START] = "start", [EVENT_STOP] = "stop",	    [EVENT_SURPRISE] = "surprise",
	[EVENT_DONE] = "done",	 [EVENT_FAILED] = "failed", [EVENT_GONE] = "gone",
	[EVENT_SLEEP] = "sleep", [EVENT_WAKE] = "wake",	    [EVENT_RESOLVED] = "resolved",
};

/* The next state, plus one: 0 is an event that cannot happen. FAILED and GONE undo just what has
 * been done: a failed d0_entry() wants no d0_exit(), a failed prepare() wants release(). */
#define TO(state) (STATE_##state + 1)
static const uint8_t machine_table[STATE_COUNT][EVENT_COUNT] = {
	[STATE_CREATED] = { [EVENT_START] = TO(PREPARING),
			    [EVENT_STOP] = TO(STOPPED),
			    [EVENT_SURPRISE] = TO(STOPPED) },
	[STATE_PREPARING] = { [EVENT_DONE] = TO(ENTERING),
			      [EVENT_FAILED] = TO(FLUSHING),
			      [EVENT_GONE] = TO(FLUSHING) },
	[STATE_ENTERING] = { [EVENT_DONE] = TO(RESTORING),
			     [EVENT_FAILED] = TO(FLUSHING),
			     [EVENT_GONE] = TO(EXITING) },
	[STATE_RESTORING] = { [EVENT_DONE] = TO(CONNECTING),
			      [EVENT_FAILED] = TO(SUSPENDING),
			      [EVENT_GONE] = TO(SUSPENDING) },
	[STATE_CONNECTING] = { [EVENT_DONE] = TO(OPENING),
			       [EVENT_FAILED] = TO(DISCONNECTING),
			       [EVENT_GONE] = TO(DISCONNECTING) },
	[STATE_OPENING] = { [EVENT_DONE] = TO(STARTING), [EVENT_GONE] = TO(CLOSING) },
	[STATE_STARTING] = { [EVENT_DONE] = TO(RUNNING),
			     [EVENT_FAILED] = TO(CLOSING),
			     [EVENT_GONE] = TO(STOPPING) },
	[STATE_RUNNING] = { [EVENT_STOP] = TO(STOPPING),
			    [EVENT_SURPRISE] = TO(STOPPING),
			    [EVENT_SLEEP] = TO(PAUSING) },
	[STATE_STOPPING] = { [EVENT_DONE] = TO(CLOSING), [EVENT_FAILED] = TO(CLOSING) },
	[STATE_CLOSING] = { [EVENT_DONE] = TO(DISCONNECTING) },
	[STATE_DISCONNECTING] = { [EVENT_DONE] = TO(SUSPENDING) },
	[STATE_SUSPENDING] = { [EVENT_DONE] = TO(EXITING) },
	[STATE_EXITING] = { [EVENT_DONE] = TO(FLUSHING), [EVENT_FAILED] = TO(FLUSHING) },
	[STATE_FLUSHING] = { [EVENT_DONE] = TO(RELEASING) },
	[STATE_RELEASING] = { [EVENT_DONE] = TO(STOPPED) },
	/* Sleep. Whoever stops it, or takes it away, finds the way down from there. */
	[STATE_PAUSING] = { [EVENT_DONE] = TO(HOLDING), [EVENT_GONE] = TO(CLOSING) },
	[STATE_HOLDING] = { [EVENT_DONE] = TO(WAITING), [EVENT_GONE] = TO(CLOSING) },
	[STATE_WAITING] = { [EVENT_DONE] = TO(MUTING),
			    [EVENT_RESOLVED] = TO(MUTING),
			    [EVENT_GONE] = TO(CLOSING),
			    [EVENT_STOP] = TO(CLOSING),
			    [EVENT_SURPRISE] = TO(CLOSING) },
	[STATE_MUTING] = { [EVENT_DONE] = TO(RESTING), [EVENT_GONE] = TO(SUSPENDING) },
	[STATE_RESTING] = { [EVENT_DONE] = TO(LEAVING), [EVENT_GONE] = TO(EXITING) },
	[STATE_LEAVING] = { [EVENT_DONE] = TO(POWERING_OFF), [EVENT_GONE] = TO(FLUSHING) },
	[STATE_POWERING_OFF] = { [EVENT_DONE] = TO(ASLEEP), [EVENT_GONE] = TO(FLUSHING) },
	[STATE_ASLEEP] = { [EVENT_WAKE] = TO(POWERING_ON),
			   [EVENT_STOP] = TO(FLUSHING),
			   [EVENT_SURPRISE] = TO(FLUSHING) },
	[STATE_POWERING_ON] = { [EVENT_DONE] = TO(ENTERING),
				[EVENT_FAILED] = TO(FLUSHING),
				[EVENT_GONE] = TO(FLUSHING) },
};
#undef TO

/* For who looks from outside, even if the lane does not come back from the state. */
static void machine_show(struct au_lane_status *status, unsigned int state)
{
	atomic_store(&status->state, state);
	snprintf(status->state_name, sizeof(status->state_name), "%s", machine_states[state].name);
	atomic_store(&status->state_ns, au_os_now_ns());
}

static void machine_note(struct au_device *dev, unsigned int state, unsigned int event,
			 unsigned int next, int result)
{
	struct auf_machine *m = &dev->machine;
	struct au_lane *lane = dev->lane;
	char step[64];

	m->history[m->steps++ % MACHINE_HISTORY] = (struct auf_step){ .time_ms = lane->now_ms,
								      .state = (uint8_t)state,
								      .event = (uint8_t)event,
								      .next = (uint8_t)next,
								      .result = result };
	snprintf(step, sizeof(step), "%s: %s -> %s", machine_states[state].name,
		 machine_events[event], machine_states[next].name);
	au_trace_text(lane->recorder, lane->index, device_state, result, step);
	if (lane->recorder && lane->index < AU_RECORDER_LANES)
		machine_show(&lane->recorder->status->lane[lane->index], next);
}

/* It does not come back from D3: to those who have it open it is as if it had been pulled out,
 * unless another life of the driver can help. */
static void machine_no_way_back(struct au_device *dev, unsigned int state)
{
	char why[80];

	/* Pulled out meanwhile: that is nobody's failure. */
	if (auf_presence_gone(dev))
		return;
	snprintf(why, sizeof(why), "it does not come back from D3: %s failed",
		 machine_states[state].name);
	auf_power_failed(dev, why);
}

/* Enter states until one waits for an event from outside. */
static void machine_run(struct au_device *dev, enum auf_machine_event event, int result)
{
	struct auf_machine *m = &dev->machine;
	unsigned int state = atomic_load(&m->state), next;

	auf_device_hold(dev);
	m->running = true;
	while ((next = machine_table[state][event])) {
		next--;
		machine_note(dev, state, event, next, result);
		atomic_store(&m->state, next);
		state = next;
		if (unlikely(dev->inject))
			auf_inject_step(dev, m->steps);
		if (!machine_states[state].action)
			break;
		AU_FAILPOINT(machine_enter);
		result = machine_states[state].action(dev);
		AU_FAILPOINT(machine_done);
		event = EVENT_DONE;
		if (result == MACHINE_WAITS)
			break;
		if (result) {
			event = EVENT_FAILED;
			au_log(dev, AU_LOG_ERROR, "%s failed (error %d)%s",
			       machine_states[state].name, -result,
			       machine_states[state].down ? "; the way down goes on" : "");
			if (machine_states[state].down)
				m->down_failure = m->down_failure ? m->down_failure : result;
			else
				m->failure = m->failure ? m->failure : result;
			if (!machine_states[state].down && dev->from == AU_POWER_D3)
				machine_no_way_back(dev, state);
		}
		if ((m->gone || m->stop) && event == EVENT_DONE &&
		    machine_table[state][EVENT_GONE]) {
			event = EVENT_GONE;
			m->failure = m->failure ? m->failure : m->gone ? -ENODEV : -ECANCELED;
		}
		if (!machine_table[state][event] && machine_states[state].down) {
			event = (m->gone || m->stop) && machine_table[state][EVENT_GONE]
					? EVENT_GONE
					: EVENT_DONE;
		}
	}
	m->running = false;
	auf_device_let_go(dev);
	if (m->gone && machine_table[state][EVENT_SURPRISE])
		auf_lane_post(dev->lane, &m->surprise);
	auf_power_settled(dev, state);
}

/* What the transport was told; a driver that finds registers of all-ones knows no more than that.
 */
static struct auf_gone machine_why_gone(const struct au_device *dev)
{
	static const uint32_t reasons[] = { [AU_BUS_LOST] = AU_GONE_UNKNOWN,
					    [AU_BUS_WANTED] = AU_GONE_WANTED,
					    [AU_BUS_FAILED] = AU_GONE_ERROR };

	if (dev->bus && dev->bus->gone)
		return (struct auf_gone){ .reason = reasons[dev->bus->loss], .why = dev->bus->why };
	return (struct auf_gone){ .reason = AU_GONE_UNKNOWN, .why = "it does not answer" };
}

int auf_machine_event(struct au_device *dev, enum auf_machine_event event)
{
	struct auf_machine *m = &dev->machine;
	struct auf_gone gone;

	if (event == EVENT_SURPRISE) {
		if (auf_device_many(dev) && !auf_lane_current(dev->lane)) {
			auf_lane_post(dev->lane, &m->told);
			return 0;
		}
		if (m->gone)
			return 0;
		m->gone = true;
		au_trace(dev->lane->recorder, dev->lane->index, surprise, 0, 0, 0);
		if (dev->driver.surprise_removed && atomic_load(&m->state) != STATE_CREATED &&
		    atomic_load(&m->state) != STATE_STOPPED)
			dev->driver.surprise_removed(dev);
		gone = machine_why_gone(dev);
		auf_notify(dev, AUF_DEVICE_GONE, &gone);
		/* From the lane's loop: this may be a callback of the driver. */
		auf_lane_post(dev->lane, &m->surprise);
		return 0;
	}
	if (event == EVENT_STOP)
		m->stop = true;
	if (!m->running && machine_table[atomic_load(&m->state)][event])
		machine_run(dev, event, 0);
	return m->failure;
}

static void machine_surprise(struct auf_work *work)
{
	struct auf_machine *m = AU_CONTAINER(work, struct auf_machine, surprise);
	struct au_device *dev = AU_CONTAINER(m, struct au_device, machine);
	struct auf_gone gone = machine_why_gone(dev);

	if (!m->running && machine_table[atomic_load(&m->state)][EVENT_SURPRISE])
		machine_run(dev, EVENT_SURPRISE, 0);
	for (unsigned int i = 0; i < AUF_UNITS_MAX; i++)
		if (dev->units[i])
			au_unit_event(dev->units[i], AU_EVENT_GONE, 1, gone.reason, 0);
}

static void machine_told(struct auf_work *work)
{
	struct auf_machine *m = AU_CONTAINER(work, struct auf_machine, told);

	auf_machine_event(AU_CONTAINER(m, struct au_device, machine), EVENT_SURPRISE);
}

void auf_machine_init(struct au_device *dev)
{
	dev->machine.surprise.fn = machine_surprise;
	dev->machine.told.fn = machine_told;
	dev->machine.to = AU_POWER_OFF;
}

bool auf_machine_runs(const struct au_device *dev)
{
	return atomic_load(&dev->machine.state) == STATE_RUNNING;
}

const char *auf_device_state_name(const struct au_device *dev)
{
	return machine_states[atomic_load(&dev->machine.state)].name;
}

size_t auf_device_history(struct au_device *dev, char *buf, size_t size)
{
	const struct auf_machine *m = &dev->machine;
	unsigned int first = m->steps > MACHINE_HISTORY ? m->steps - MACHINE_HISTORY : 0;
	size_t used = 0;

	if (!size)
		return 0;
	buf[0] = '\0';
	for (unsigned int i = first; i < m->steps && used < size; i++) {
		const struct auf_step *s = &m->history[i % MACHINE_HISTORY];
		int n = snprintf(buf + used, size - used, "%llu ms: %s, %s",
				 (unsigned long long)s->time_ms, machine_states[s->state].name,
				 machine_events[s->event]);

		if (s->result && n >= 0 && (size_t)n < size - used)
			n += snprintf(buf + used + n, size - used - (size_t)n, " (error %d)",
				      -s->result);
		if (n >= 0 && (size_t)n < size - used)
			n += snprintf(buf + used + n, size - used - (size_t)n, " -> %s\n",
				      machine_states[s->next].name);
		used += n < 0 ? 0 : (size_t)n;
	}
	return used < size ? used : size - 1;
}
