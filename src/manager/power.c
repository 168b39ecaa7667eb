/* SPDX-License-Identifier: MIT */
/*
 * Suspend and resume of the system: all devices go down, each after those that need it, and come up
 * again, each after those that it needs; what does not depend on one another goes at the same time.
 *
 * Each device is in one of four phases. One that is to go has a time of its own for it: a driver
 * that does not follow in time is killed with its host, whose death closes the device, and that is
 * as good as suspended: its clients wait, and replay to the host that is started at resume. Nothing
 * is started while the system is suspended; whatever would have been is then. So neither direction
 * is ever held up.
 *
 * That the system is suspended is in a file, which the next manager reads.
 */
#include "manager/control.h"
#include "manager/device.h"
#include "manager/json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define POWER_FILE     "suspended"
#define POWER_FILE_MAX 1024

/* ------------------------------------------------------------------- the file */

static void power_save(const struct mgr *mgr)
{
	char path[AU_PATH_MAX], error[MGR_TEXT];
	json_t *o;
	int err;

	if (au_runtime_path(mgr->dir, POWER_FILE, path, error, sizeof(error)))
		return;
	if (!mgr->suspended) {
		unlink(path);
		return;
	}
	o = json_pack("{s:s s:I}", "boot", mgr_boot_id(), "since_ms",
		      (json_int_t)mgr->suspend_wall_ms);
	err = o ? mgr_json_write_file(path, o) : -ENOMEM;
	if (err)
		au_logf(AU_LOG_WARN,
			"%s: cannot be written, so a new manager would not know that the system is "
			"suspended: %s",
			path, strerror(-err));
	json_decref(o);
}

void mgr_power_load(struct mgr *mgr)
{
	char path[AU_PATH_MAX], error[MGR_TEXT], boot[40];
	uint64_t since;
	json_t *o;

	if (au_runtime_path(mgr->dir, POWER_FILE, path, error, sizeof(error)) || access(path, F_OK))
		return;
	o = mgr_json_read_file(path, POWER_FILE_MAX);
	/* The machine has been off since: nothing is suspended any more. */
	if (mgr_json_text(o, "boot", boot, sizeof(boot)) && !strcmp(boot, mgr_boot_id()) &&
	    mgr_json_uint(o, "since_ms", INT64_MAX, &since)) {
		mgr->suspended = true;
		mgr->suspend_ns = au_monotonic_ns();
		mgr->suspend_wall_ms = (int64_t)since;
		au_logf(AU_LOG_WARN, "the system's devices are suspended since before this manager "
				     "was started: 'auriga power resume' ends that");
	} else {
		unlink(path);
	}
	json_decref(o);
}

/* ----------------------------------------------------------------- the phases */

/* Whatever has changed may let others go. From the loop: this may be in the middle of anything. */
static void power_kick(struct mgr *mgr)
{
	if (!mgr->stopping)
		au_loop_timer_set(mgr->loop, &mgr->power_step, 0);
}

static void power_leave(struct mgr_device *dev, enum mgr_phase phase, uint32_t ms)
{
	struct mgr_power *p = &dev->power;

	p->phase = phase;
	p->seq = 0;
	p->began_ns = au_monotonic_ns();
	p->ended_ns = 0;
	p->how[0] = 0;
	au_loop_timer_set(dev->mgr->loop, &p->due, ms);
}

static void power_arrive(struct mgr_device *dev, enum mgr_phase phase, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static void power_arrive(struct mgr_device *dev, enum mgr_phase phase, const char *fmt, ...)
{
	struct mgr_power *p = &dev->power;
	va_list args;

	p->phase = phase;
	p->seq = 0;
	p->ended_ns = au_monotonic_ns();
	if (!p->began_ns)
		p->began_ns = p->ended_ns;
	va_start(args, fmt);
	vsnprintf(p->how, sizeof(p->how), fmt, args);
	va_end(args);
	au_loop_timer_cancel(&p->due);
	if (dev->state == MGR_RUNNING && !dev->forgotten)
		mgr_device_set(dev, MGR_RUNNING, "%s", p->how);
	power_kick(dev->mgr);
}

static void power_ask(struct mgr_device *dev, enum au_power_verb verb)
{
	dev->power.seq = mgr_power_tell(dev, verb, 0);
}

static bool power_host_ready(const struct mgr_device *dev)
{
	return dev->state == MGR_RUNNING && dev->host && dev->host->state == MGR_HOST_READY;
}

static void power_down(struct mgr_device *dev)
{
	const struct mgr_host *host = dev->host;

	power_leave(dev, MGR_PHASE_GOING_DOWN, dev->spec.policy.suspend_ms);
	if (power_host_ready(dev)) {
		power_ask(dev, AU_POWER_VERB_SUSPEND);
	} else if (mgr_device_coming_up(dev) && (!host || host->state == MGR_HOST_SPAWNED)) {
		mgr_device_postpone(dev);
		dev->power.deferred = true;
		power_arrive(dev, MGR_PHASE_DOWN, "it is started at resume");
	} else if (!host) {
		power_arrive(dev, MGR_PHASE_DOWN, "it was not running");
	}
	/* Else it is on its way up or down, and will be there soon; or its time is up. */
}

static void power_up(struct mgr_device *dev)
{
	power_leave(dev, MGR_PHASE_GOING_UP, dev->spec.policy.suspend_ms);
	if (dev->power.deferred) {
		dev->power.deferred = false;
		mgr_device_begin(dev);
	} else if (power_host_ready(dev)) {
		power_ask(dev, AU_POWER_VERB_RESUME);
	} else {
		power_arrive(dev, MGR_PHASE_UP, "it was not running");
	}
}

static void power_due(struct au_loop_timer *timer)
{
	struct mgr_device *dev = timer->context;
	struct mgr_host *host = dev->host;
	bool down = dev->power.phase == MGR_PHASE_GOING_DOWN;
	bool lives = host && host->state != MGR_HOST_KILLED;
	uint32_t ms = dev->spec.policy.suspend_ms;

	if (lives && dev->held) {
		power_arrive(dev, down ? MGR_PHASE_DOWN : MGR_PHASE_UP,
			     "it does not answer, but is held: left as it is");
		return;
	}
	if (lives && power_host_ready(dev) && dev->power.seq)
		mgr_host_kill(host, MGR_VERDICT_HANG, "it did not %s within %u ms",
			      down ? "suspend" : "resume", ms);
	else if (lives && down) /* too slow in starting or stopping, which is no crime */
		mgr_host_kill(host, MGR_VERDICT_REQUEST, "the system was suspended meanwhile");
	if (!down) {
		power_arrive(dev, MGR_PHASE_UP, "it is not up within %u ms: others do not wait",
			     ms);
	} else if (lives) {
		dev->power.seq = 0;
		au_loop_timer_set(dev->mgr->loop, &dev->power.due, MGR_DYING_MS);
	} else {
		power_arrive(dev, MGR_PHASE_DOWN, "it was killed, and is not gone yet");
	}
}

/* Its turn comes when none is left that has to go first. */
static bool power_may_go(const struct mgr_device *dev)
{
	const struct mgr *mgr = dev->mgr;

	au_list_for_each (node, &mgr->devices) {
		const struct mgr_device *d = AU_CONTAINER(node, struct mgr_device, node);

		if (mgr->suspended ? mgr_needs(d, dev) && d->power.phase != MGR_PHASE_DOWN
				   : mgr_needs(dev, d) && d->power.phase != MGR_PHASE_UP)
			return false;
	}
	return true;
}

bool mgr_power_reached(const struct mgr *mgr)
{
	enum mgr_phase goal = mgr->suspended ? MGR_PHASE_DOWN : MGR_PHASE_UP;

	au_list_for_each (node, &mgr->devices)
		if (AU_CONTAINER(node, struct mgr_device, node)->power.phase != goal)
			return false;
	return true;
}

static void power_step(struct au_loop_timer *timer)
{
	struct mgr *mgr = timer->context;
	enum mgr_phase start = mgr->suspended ? MGR_PHASE_UP : MGR_PHASE_DOWN;

	au_list_for_each_safe (node, &mgr->devices) {
		struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);

		if (dev->power.phase != start || !power_may_go(dev))
			continue;
		if (mgr->suspended)
			power_down(dev);
		else
			power_up(dev);
	}
	if (mgr_power_reached(mgr) && !au_loop_timer_is_set(&mgr->power_step))
		mgr_calls_power(mgr);
}

static void power_prepare(struct mgr *mgr)
{
	mgr->power_step.expired = power_step;
	mgr->power_step.context = mgr;
}

void mgr_power_system(struct mgr *mgr, bool suspend)
{
	power_prepare(mgr);
	if (mgr->suspended != suspend) {
		mgr->suspended = suspend;
		mgr->suspend_ns = au_monotonic_ns();
		mgr->suspend_wall_ms = mgr_wall_ms();
		au_logf(AU_LOG_INFO, "the system's devices are to be %s",
			suspend ? "suspended" : "resumed");
		power_save(mgr);
	}
	power_kick(mgr);
}

/* ------------------------------------------------------- what happens to devices */

void mgr_power_init(struct mgr_device *dev)
{
	struct mgr_power *p = &dev->power;

	power_prepare(dev->mgr);
	p->phase = dev->mgr->suspended ? MGR_PHASE_DOWN : MGR_PHASE_UP;
	p->idle_ms = dev->spec.policy.power_idle_ms;
	p->due.expired = power_due;
	p->due.context = dev;
}

void mgr_power_forget(struct mgr_device *dev)
{
	au_loop_timer_cancel(&dev->power.due);
	power_kick(dev->mgr);
}

bool mgr_power_defers(struct mgr_device *dev)
{
	struct mgr_power *p = &dev->power;

	if (p->phase == MGR_PHASE_UP || p->phase == MGR_PHASE_GOING_UP)
		return false;
	if (!p->deferred) {
		p->deferred = true;
		mgr_device_set(dev, dev->state, "the system is suspended: it is started at resume");
	}
	if (p->phase == MGR_PHASE_GOING_DOWN)
		power_arrive(dev, MGR_PHASE_DOWN, "it is started at resume");
	return true;
}

/* An adopted host may be in what the manager before us wanted of it, or just not yet. */
void mgr_power_up(struct mgr_device *dev)
{
	const struct au_status *status = dev->host->recorder.status;
	bool asleep = status && atomic_load(&status->power) == AU_SHOWN_SUSPENDED;
	bool down = dev->power.phase == MGR_PHASE_DOWN || dev->power.phase == MGR_PHASE_GOING_DOWN;

	if (down || asleep) {
		power_leave(dev, down ? MGR_PHASE_GOING_DOWN : MGR_PHASE_GOING_UP,
			    dev->spec.policy.suspend_ms);
		power_ask(dev, down ? AU_POWER_VERB_SUSPEND : AU_POWER_VERB_RESUME);
	} else if (dev->power.phase == MGR_PHASE_GOING_UP) {
		power_arrive(dev, MGR_PHASE_UP, "started");
	}
}

/* It will not come up now, whatever becomes of it: nobody waits for it. */
void mgr_power_settle(struct mgr_device *dev)
{
	if (mgr_device_coming_up(dev) && !dev->away)
		return;
	if (!mgr_device_coming_up(dev))
		dev->power.deferred = false;
	if (dev->power.phase == MGR_PHASE_GOING_UP && dev->state != MGR_RUNNING)
		power_arrive(dev, MGR_PHASE_UP, "it is %s", mgr_device_state(dev));
}

void mgr_power_dead(struct mgr_device *dev, const struct mgr_host *host)
{
	const struct au_status *status = host->recorder.status;

	if (status) {
		dev->power.ups += atomic_load(&status->power_ups);
		dev->power.downs += atomic_load(&status->power_downs);
	}
	dev->power.seq = 0;
	if (dev->power.phase == MGR_PHASE_GOING_DOWN)
		power_arrive(dev, MGR_PHASE_DOWN, "%s%.100s",
			     host->verdict == MGR_VERDICT_NONE ? "its host ended" : "killed: ",
			     host->verdict == MGR_VERDICT_NONE ? "" : host->why);
}

/* ------------------------------------------------------------ talking to hosts */

uint32_t mgr_power_tell(struct mgr_device *dev, enum au_power_verb verb, uint32_t value)
{
	struct mgr *mgr = dev->mgr;
	struct au_hm_power msg = { .head.type = AU_HM_POWER, .verb = verb, .value = value };

	if (!++mgr->power_seq)
		mgr->power_seq = 1;
	msg.seq = mgr->power_seq;
	/* One that does not read does not answer either, and that has its time. */
	if (mgr_host_send(dev->host, &msg, sizeof(msg), NULL, 0))
		au_logf(AU_LOG_WARN, "%s: its host does not read", dev->spec.name);
	return msg.seq;
}

void mgr_power_idle(struct mgr_device *dev, uint32_t idle_ms)
{
	dev->power.idle_ms = idle_ms;
	au_loop_timer_set(dev->mgr->loop, &dev->save, 1);
	if (dev->host &&
	    (dev->host->state == MGR_HOST_READY || dev->host->state == MGR_HOST_STARTING))
		mgr_power_tell(dev, AU_POWER_VERB_IDLE, idle_ms);
}

int mgr_power_answered(struct mgr_device *dev, const struct au_hm_powered *msg, size_t length)
{
	struct mgr_power *p = &dev->power;
	bool down = p->phase == MGR_PHASE_GOING_DOWN;
	int result;

	if (length != sizeof(*msg) || msg->result > 0 || msg->result <= -4096 || !msg->seq)
		return -EPROTO;
	result = msg->result;
	if (msg->seq != p->seq) {
		mgr_calls_powered(dev, msg->seq, result);
		return 0;
	}
	if (!result)
		power_arrive(dev, down ? MGR_PHASE_DOWN : MGR_PHASE_UP,
			     down ? "suspended" : "resumed");
	else if (dev->host->state == MGR_HOST_READY)
		mgr_host_kill(dev->host, MGR_VERDICT_HANG, "it could not %s: %s",
			      down ? "suspend" : "resume", strerror(-result));
	return 0;
}
