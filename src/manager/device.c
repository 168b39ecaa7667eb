/* SPDX-License-Identifier: MIT */
/*
 * The life of a device: who wants it up, how it comes up, what follows when it goes down. Every
 * change of state is made here, by mgr_device_set(), and is kept in a history.
 */
#include "manager/device.h"
#include "manager/upgrade.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DEVICE_REJOIN_MS 1200 /* for clients to come back, before a host starts without them */

static const char *const state_names[] = {
	[MGR_CONFIGURED] = "configured",
	[MGR_STARTING] = "starting",
	[MGR_RUNNING] = "running",
	[MGR_STOPPING] = "stopping",
	[MGR_IDLE] = "idle",
	[MGR_RESTARTING] = "restarting",
	[MGR_QUARANTINED] = "quarantined",
	[MGR_GONE] = "gone",
	[MGR_DETACHED] = "detached",
};

const char *mgr_state_name(enum mgr_state state)
{
	return state_names[state];
}

const char *mgr_device_state(const struct mgr_device *dev)
{
	if (dev->held && dev->state == MGR_RUNNING)
		return "held";
	if (dev->power.phase == MGR_PHASE_DOWN && dev->state == MGR_RUNNING)
		return "suspended";
	if (dev->power.deferred)
		return "waiting";
	if (dev->away && dev->state == MGR_RESTARTING)
		return "waiting";
	return state_names[dev->state];
}

int64_t mgr_wall_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

struct mgr_device *mgr_device_find(struct mgr *mgr, const char *name)
{
	au_list_for_each (node, &mgr->devices) {
		struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);

		if (name[0] && !strcmp(dev->spec.name, name))
			return dev;
	}
	return NULL;
}

struct mgr_device *mgr_device_at(struct mgr *mgr, const char *address)
{
	au_list_for_each (node, &mgr->devices) {
		struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);

		if (!strcmp(dev->spec.address, address))
			return dev;
	}
	return NULL;
}

static void device_saved(struct au_loop_timer *timer)
{
	mgr_state_save(timer->context);
}

void mgr_device_set(struct mgr_device *dev, enum mgr_state state, const char *fmt, ...)
{
	struct mgr_history *h = &dev->history[dev->history_count++ % MGR_HISTORY];
	va_list args;

	va_start(args, fmt);
	vsnprintf(dev->reason, sizeof(dev->reason), fmt, args);
	va_end(args);
	dev->state = state;
	dev->since_wall_ms = mgr_wall_ms();
	h->wall_ms = dev->since_wall_ms;
	h->generation = dev->generation;
	h->state = state;
	snprintf(h->reason, sizeof(h->reason), "%.119s", dev->reason);
	au_logf(state == MGR_QUARANTINED ? AU_LOG_ERROR : AU_LOG_INFO, "%s: %s%s%s",
		dev->spec.name[0] ? dev->spec.name : dev->spec.address, state_names[state],
		dev->reason[0] ? ": " : "", dev->reason);
	/* Not now: a restart has better things to do first. */
	au_loop_timer_set(dev->mgr->loop, &dev->save, 1);
	mgr_power_settle(dev);
	mgr_calls_settle(dev);
}

static void device_forgotten(struct au_loop_timer *timer)
{
	mgr_device_free(timer->context);
}

/* The next manager goes on counting where this one stops. */
static void device_leave(struct mgr_device *dev)
{
	dev->state = MGR_IDLE;
	mgr_state_save(dev);
}

/* It is gone for everybody at once; its memory when nobody can be in the middle of using it. */
void mgr_device_forget(struct mgr_device *dev)
{
	if (dev->mgr->stopping && dev->from_config)
		device_leave(dev);
	mgr_device_set(dev, MGR_DETACHED, "%s", dev->reason);
	dev->forgotten = true;
	mgr_upgrade_end(dev, "it is detached");
	mgr_calls_settle(dev);
	au_list_remove(&dev->node);
	mgr_power_forget(dev);
	mgr_listeners_close(dev);
	mgr_clients_free(dev);
	mgr_device_release(dev);
	au_loop_timer_cancel(&dev->save);
	if (!dev->mgr->stopping || !dev->from_config)
		mgr_state_remove(dev);
	dev->retry.expired = device_forgotten;
	au_loop_timer_set(dev->mgr->loop, &dev->retry, 0);
	mgr_standby_check(dev->mgr);
	mgr_going_down(dev->mgr);
}

static void device_quarantine(struct mgr_device *dev, const char *text)
{
	char line[MGR_TEXT + 64];

	au_loop_timer_cancel(&dev->deadline);
	mgr_upgrade_end(dev, text);
	mgr_device_release(dev);
	dev->provisional = false;
	dev->error = -EIO;
	mgr_device_set(dev, MGR_QUARANTINED, "%s", text);
	snprintf(line, sizeof(line), "%s is quarantined: %s", dev->spec.name, text);
	mgr_clients_refuse(dev, -EIO, line);
}

/* It failed, and there is nothing left of its host: start again, later, or never. */
void mgr_device_failed(struct mgr_device *dev, bool charge, const char *text)
{
	uint32_t delay_ms;

	dev->from_failed = true;
	if (!mgr_budget_failure(&dev->budget, charge, &delay_ms)) {
		device_quarantine(dev, text);
		return;
	}
	dev->restarts++;
	mgr_device_set(dev, MGR_RESTARTING, "%s", text);
	if (delay_ms)
		au_loop_timer_set(dev->mgr->loop, &dev->retry, delay_ms);
	else
		mgr_device_begin(dev);
}

/*
 * The device itself cannot be reached. That is not its driver's failure and says nothing about the
 * next time, so it is tried for as long as it takes.
 */
void mgr_device_waits(struct mgr_device *dev, const char *text)
{
	char line[MGR_TEXT];
	uint32_t delay_ms;

	dev->from_failed = true;
	mgr_budget_failure(&dev->budget, false, &delay_ms);
	snprintf(line, sizeof(line), "its device is waited for: %.250s", text);
	/* Once in the history, not at each attempt. */
	if (!dev->away || strcmp(line, dev->reason) != 0) {
		dev->away = true;
		mgr_device_set(dev, MGR_RESTARTING, "%s", line);
	}
	au_loop_timer_set(dev->mgr->loop, &dev->retry, delay_ms);
}

static void device_retry(struct au_loop_timer *timer)
{
	mgr_device_begin(timer->context);
}

void mgr_device_want(struct mgr_device *dev)
{
	switch (dev->state) {
	case MGR_CONFIGURED:
	case MGR_IDLE:
	case MGR_GONE:
		memset(&dev->current, 0, sizeof(dev->current));
		mgr_upgrade_renew(dev);
		mgr_device_set(dev, MGR_STARTING, "%s", "");
		mgr_device_begin(dev);
		break;
	default:
		/* It comes up, or will when it is down; or it is refused by whoever asked. */
		break;
	}
}

/* ------------------------------------------------------------------- going down */

void mgr_device_stop(struct mgr_device *dev, enum mgr_after after, const char *reason)
{
	struct au_hm_stop stop = { .head.type = AU_HM_STOP };
	struct mgr_host *host;

	if (after != MGR_AFTER_UPGRADE)
		mgr_upgrade_end(dev, reason);
	stop.drain_ms = mgr_upgrade_drain_ms(dev);
	dev->after = after;
	mgr_pnp_stop(dev);
	au_loop_timer_cancel(&dev->retry);
	au_loop_timer_cancel(&dev->idle);
	au_loop_timer_cancel(&dev->deadline);
	mgr_open_cancel(dev->open_job);
	dev->open_job = NULL;
	if (dev->host && dev->host->state == MGR_HOST_SPAWNED)
		mgr_device_drop_host(dev);
	mgr_device_set(dev, MGR_STOPPING, "%s", reason);
	host = dev->host;
	if (!host) {
		mgr_device_stopped(dev);
		return;
	}
	if (host->state == MGR_HOST_STARTING ||
	    (host->state == MGR_HOST_READY &&
	     mgr_host_send(host, &stop, sizeof(stop), NULL, 0) != 0))
		mgr_host_kill(host, MGR_VERDICT_NONE, "%s", "");
	else if (host->state == MGR_HOST_READY)
		host->state = MGR_HOST_STOPPING;
	au_loop_timer_set(dev->mgr->loop, &dev->deadline, MGR_STOP_MS + stop.drain_ms);
}

void mgr_device_tell_gone(struct mgr_device *dev)
{
	char line[MGR_TEXT];

	snprintf(line, sizeof(line), "%s: %s", dev->spec.name, dev->gone_why);
	mgr_clients_gone(dev, line);
}

void mgr_device_stopped(struct mgr_device *dev)
{
	/* It may have been pulled out, or detached, while its host was drained. */
	if (dev->after != MGR_AFTER_UPGRADE)
		mgr_upgrade_end(dev, dev->removed ? dev->gone_why : dev->reason);
	/* Until its session had ended the device could still write to its clients' buffers. */
	if (dev->removed)
		mgr_device_tell_gone(dev);
	mgr_channels_down(dev, false);
	mgr_close_session(dev->session.fds);
	dev->session_ready = false;
	dev->from_failed = false;
	switch (dev->after) {
	case MGR_AFTER_IDLE:
		mgr_device_release(dev);
		mgr_device_set(dev, MGR_IDLE, "%s", dev->reason);
		if (dev->client_count)
			mgr_device_want(dev);
		break;
	case MGR_AFTER_RESTART:
		memset(&dev->current, 0, sizeof(dev->current));
		mgr_upgrade_renew(dev);
		dev->restarts++;
		dev->again = true;
		/* What clients have on its way through the device is as good as after a death. */
		dev->from_failed = dev->client_count > 0 && !dev->removed;
		mgr_device_set(dev, MGR_RESTARTING, "restart was asked for");
		mgr_device_begin(dev);
		break;
	case MGR_AFTER_UPGRADE:
		mgr_upgrade_stopped(dev);
		break;
	case MGR_AFTER_GONE:
		mgr_device_release(dev);
		dev->error = -ENODEV;
		mgr_device_set(dev, MGR_GONE, "%s", dev->gone_why);
		mgr_clients_refuse_new(dev, -ENODEV, dev->gone_why);
		if (dev->leaving)
			mgr_device_left(dev);
		else
			mgr_pnp_look(dev);
		break;
	case MGR_AFTER_DETACH:
		mgr_device_forget(dev);
		break;
	}
}

static void device_deadline(struct au_loop_timer *timer)
{
	struct mgr_device *dev = timer->context;
	struct mgr_host *host = dev->host;

	if (dev->held && dev->state != MGR_STOPPING) {
		au_loop_timer_set(dev->mgr->loop, &dev->deadline, MGR_START_MS);
		return;
	}
	if (dev->state == MGR_STOPPING && host) {
		au_logf(AU_LOG_WARN, "%s: its host (pid %d) did not stop within %u s: killed",
			dev->spec.name, (int)host->pid,
			(MGR_STOP_MS + mgr_upgrade_drain_ms(dev)) / 1000);
		mgr_host_kill(host, MGR_VERDICT_NONE, "%s", "");
	} else if (mgr_device_coming_up(dev) && host && host->state == MGR_HOST_STARTING) {
		mgr_host_kill(host, MGR_VERDICT_START, "it did not say in time that it is up");
	} else if (mgr_device_coming_up(dev) && !(host && host->state == MGR_HOST_KILLED)) {
		mgr_device_start_failed(dev, -ETIMEDOUT, "the device did not answer in time");
	}
}

static void device_idle(struct au_loop_timer *timer)
{
	struct mgr_device *dev = timer->context;

	if (dev->state != MGR_RUNNING || dev->held)
		return;
	/* One that sleeps with the system is left asleep. */
	if (dev->power.phase != MGR_PHASE_UP)
		au_loop_timer_set(dev->mgr->loop, &dev->idle, dev->spec.policy.idle_ms);
	else
		mgr_device_stop(dev, MGR_AFTER_IDLE, "nobody has it open");
}

void mgr_device_idle_check(struct mgr_device *dev)
{
	if (dev->state == MGR_RUNNING && !dev->client_count && !dev->held &&
	    !mgr_channels_awaited(dev) && dev->spec.policy.idle_ms)
		au_loop_timer_set(dev->mgr->loop, &dev->idle, dev->spec.policy.idle_ms);
	else
		au_loop_timer_cancel(&dev->idle);
}

void mgr_device_restart(struct mgr_device *dev, bool crash)
{
	struct mgr_host *host = dev->host;

	dev->module_pinned = false;
	switch (dev->state) {
	case MGR_RUNNING:
		if (crash)
			mgr_host_kill(host, MGR_VERDICT_REQUEST, "a crash was asked for");
		else
			mgr_device_stop(dev, MGR_AFTER_RESTART, "restart was asked for");
		break;
	case MGR_STOPPING:
		if (dev->after != MGR_AFTER_DETACH && dev->after != MGR_AFTER_UPGRADE)
			dev->after = MGR_AFTER_RESTART;
		break;
	case MGR_RESTARTING:
		if (au_loop_timer_is_set(&dev->retry)) {
			au_loop_timer_cancel(&dev->retry);
			mgr_device_begin(dev);
		}
		break;
	case MGR_QUARANTINED:
		mgr_budget_init(&dev->budget);
		mgr_upgrade_renew(dev);
		dev->restarts++;
		memset(&dev->current, 0, sizeof(dev->current));
		mgr_device_set(dev, MGR_STARTING, "restart was asked for");
		mgr_device_begin(dev);
		break;
	default:
		mgr_device_want(dev);
		break;
	}
}

void mgr_device_hold(struct mgr_device *dev, bool on)
{
	dev->held = on;
	if (dev->host)
		dev->host->beat_ns = 0;
	mgr_device_idle_check(dev);
	au_loop_timer_set(dev->mgr->loop, &dev->save, 1);
}

void mgr_device_finish(struct mgr_device *dev)
{
	struct au_msg_head finish = { .type = AU_HM_FINISH };

	/* One that does not read now is not waited for beyond the time that there is. */
	if (dev->leaving && dev->host && dev->host->state == MGR_HOST_READY)
		mgr_host_send(dev->host, &finish, sizeof(finish), NULL, 0);
}

void mgr_device_leave(struct mgr_device *dev, uint32_t timeout_ms)
{
	if (dev->leaving)
		return;
	dev->leaving = true;
	au_logf(AU_LOG_INFO, "%s: is being detached: what was submitted is waited for",
		dev->spec.name);
	au_loop_timer_set(dev->mgr->loop, &dev->leave, timeout_ms);
	/* Without a host nothing is under way, but for what waits for the next. */
	if (dev->host || mgr_device_coming_up(dev))
		mgr_device_finish(dev);
	else
		mgr_device_left(dev);
}

void mgr_device_left(struct mgr_device *dev)
{
	if (dev->leaving)
		mgr_device_detach(dev, "it was detached");
}

static void device_leave_due(struct au_loop_timer *timer)
{
	struct mgr_device *dev = timer->context;

	au_logf(AU_LOG_WARN, "%s: not everything that was submitted has ended in time",
		dev->spec.name);
	mgr_device_left(dev);
}

void mgr_device_detach(struct mgr_device *dev, const char *reason)
{
	char line[MGR_TEXT];

	au_loop_timer_cancel(&dev->leave);
	mgr_listeners_close(dev);
	snprintf(line, sizeof(line), "%s: %s", dev->spec.name, reason);
	if (dev->mgr->stopping)
		mgr_clients_leave(dev);
	else
		mgr_clients_refuse(dev, -ENODEV, line);
	if (dev->state == MGR_STOPPING)
		dev->after = MGR_AFTER_DETACH;
	else
		mgr_device_stop(dev, MGR_AFTER_DETACH, reason);
}

/* ------------------------------------------------------- from before our time */

void mgr_device_timers(struct mgr_device *dev)
{
	dev->deadline.expired = device_deadline;
	dev->retry.expired = device_retry;
	dev->idle.expired = device_idle;
	dev->save.expired = device_saved;
	dev->leave.expired = device_leave_due;
	dev->leave.context = dev;
	dev->deadline.context = dev->retry.context = dev->idle.context = dev->save.context = dev;
}

void mgr_device_adopting(struct mgr_device *dev, bool lives, uint32_t timeout_ms)
{
	if (lives) {
		mgr_device_set(dev, MGR_RESTARTING, "a new manager takes it over");
		au_loop_timer_set(dev->mgr->loop, &dev->deadline, timeout_ms);
		return;
	}
	dev->from_failed = !dev->removed;
	dev->restarts++;
	dev->current.dead_ns = au_monotonic_ns();
	dev->current.wall_ms = mgr_wall_ms();
	mgr_device_set(dev, MGR_RESTARTING, "its host died while there was no manager");
	au_loop_timer_set(dev->mgr->loop, &dev->retry, dev->awaited ? DEVICE_REJOIN_MS : 0);
}

void mgr_device_rejoined(struct mgr_device *dev)
{
	if (dev->awaited && --dev->awaited == 0 && dev->state == MGR_RESTARTING && !dev->host &&
	    au_loop_timer_is_set(&dev->retry))
		au_loop_timer_set(dev->mgr->loop, &dev->retry, 0);
}

void mgr_device_adopted(struct mgr_device *dev)
{
	dev->host->serving = true;
	mgr_device_set(dev, MGR_RUNNING, "a new manager has taken it over");
	mgr_channels_up(dev);
	mgr_power_up(dev);
	mgr_device_idle_check(dev);
	mgr_supervise(dev->mgr);
	mgr_standby_check(dev->mgr);
}

void mgr_device_restore(struct mgr_device *dev, enum mgr_state state, const char *reason)
{
	mgr_device_set(dev, state == MGR_STOPPING || state == MGR_DETACHED ? MGR_IDLE : state, "%s",
		       reason);
	if (state == MGR_GONE)
		mgr_pnp_look(dev);
}
