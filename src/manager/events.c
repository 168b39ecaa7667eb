/* SPDX-License-Identifier: MIT */
/* What a host says, and what follows when it dies. */
#include "manager/device.h"
#include "manager/json.h"
#include "manager/upgrade.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PNP_SETTLED_NS 10000000000ull

/* ------------------------------------------------------- what the host did */

static void device_recovered(struct mgr_device *dev)
{
	if (!dev->current.dead_ns)
		return;
	dev->recoveries[dev->recovery_count++ % MGR_RECOVERIES] = dev->current;
	memset(&dev->current, 0, sizeof(dev->current));
}

static int device_units(struct mgr_device *dev, const json_t *o)
{
	const json_t *units = json_object_get(o, "units");
	struct mgr_unit now[MGR_UNITS] = { 0 };
	unsigned int count = 0;

	if (!json_is_array(units) || json_array_size(units) > MGR_UNITS)
		return -EPROTO;
	for (size_t i = 0; i < json_array_size(units); i++) {
		const json_t *u = json_array_get(units, i);
		uint64_t index;

		if (!mgr_json_uint(u, "index", MGR_UNITS - 1, &index) || now[index].present ||
		    !mgr_json_text(u, "class", now[index].cls, sizeof(now[index].cls)) ||
		    !au_name_valid(now[index].cls))
			return -EPROTO;
		now[index].present = true;
		count++;
	}
	for (unsigned int i = 0; i < MGR_UNITS; i++) {
		if (dev->units[i].present && !now[i].present && dev->state == MGR_RUNNING)
			mgr_unit_gone(dev, i);
		memcpy(dev->units[i].cls, now[i].cls, sizeof(now[i].cls));
		dev->units[i].present = now[i].present;
	}
	dev->unit_count = count;
	mgr_units_changed(dev);
	return 0;
}

static void device_times(struct mgr_device *dev, const json_t *o)
{
	const json_t *times = json_object_get(o, "times_us");

	mgr_json_uint(times, "loaded", UINT32_MAX, &dev->current.host_loaded_us);
	mgr_json_uint(times, "sandboxed", UINT32_MAX, &dev->current.host_sandboxed_us);
	mgr_json_uint(times, "started", UINT32_MAX, &dev->current.host_started_us);
}

/* The host's first READY, or the ADOPTED of one that lives already. */
int mgr_device_up(struct mgr_device *dev, const json_t *o)
{
	struct mgr_host *host = dev->host;
	const json_t *layers = json_object_get(o, "layers");

	if (device_units(dev, o))
		return -EPROTO;
	dev->gone_reason = AU_GONE_UNKNOWN;
	dev->removed = dev->again = false;
	if (json_is_array(layers) && json_array_size(layers) <= 64) {
		json_decref(dev->layers);
		dev->layers = json_deep_copy(layers);
	}
	if (!host->recorder.status && au_recorder_map(host->status_fd, false, &host->recorder))
		return -EPROTO;
	au_loop_timer_cancel(&dev->deadline);
	host->state = MGR_HOST_READY;
	host->ready_ns = host->credited_ns = au_monotonic_ns();
	dev->current.ready_ns = host->ready_ns;
	dev->state_fresh = false;
	dev->retained_fresh = false;
	dev->provisional = false;
	return 0;
}

static int device_ready(struct mgr_device *dev, const char *text)
{
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	bool first = dev->provisional;
	int err = -EPROTO;

	if (o && dev->host->state == MGR_HOST_STARTING)
		err = mgr_device_up(dev, o);
	if (!err && mgr_upgrade_ready(dev)) {
		device_times(dev, o);
		/* Clients first: they wait. */
		mgr_channels_up(dev);
		mgr_device_set(dev, MGR_RUNNING, "%s", "");
		mgr_power_up(dev);
		if (first) /* what is answered now is a promise */
			mgr_state_save(dev);
		mgr_device_finish(dev);
		mgr_device_idle_check(dev);
		mgr_supervise(dev->mgr);
		mgr_standby_check(dev->mgr);
	}
	json_decref(o);
	return err;
}

static int device_refused(struct mgr_device *dev, const struct au_hm_failed *msg, size_t length)
{
	if (length != sizeof(*msg) || !mgr_device_coming_up(dev))
		return -EPROTO;
	dev->error = msg->error < 0 && msg->error > -4096 ? msg->error : -EIO;
	/* The driver's name and stage say where to look. */
	snprintf(dev->refused, sizeof(dev->refused), "%s failed in %.*s: %.*s", dev->driver_name,
		 (int)sizeof(msg->stage), msg->stage, (int)sizeof(msg->text),
		 msg->text[0] ? msg->text : strerror(-dev->error));
	for (char *c = dev->refused; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
	mgr_host_kill(dev->host, MGR_VERDICT_NONE, "%s", "");
	return 0;
}

static int device_serving(struct mgr_device *dev)
{
	if (dev->host->state != MGR_HOST_READY)
		return dev->host->state == MGR_HOST_STOPPING ? 0 : -EPROTO;
	dev->host->serving = true;
	dev->current.serving_ns = au_monotonic_ns();
	device_recovered(dev);
	mgr_upgrade_serving(dev);
	return 0;
}

void mgr_device_count_removal(struct mgr_device *dev, uint32_t reason)
{
	dev->gone_reason = reason;
	dev->removed = true;
	dev->removals++;
	/* One that comes and goes all the time is looked for less and less. */
	if (dev->host && au_monotonic_ns() - dev->host->ready_ns > PNP_SETTLED_NS)
		dev->look.delay_ms = 0;
	dev->from_failed = false;
}

int mgr_device_removed(struct mgr_device *dev, uint32_t reason, const char *why)
{
	bool stopping = dev->state == MGR_STOPPING;

	if (stopping && (dev->after == MGR_AFTER_DETACH || dev->after == MGR_AFTER_GONE))
		return 0;
	snprintf(dev->gone_why, sizeof(dev->gone_why), "the device was removed%s%s",
		 *why ? ": " : "", why);
	for (char *c = dev->gone_why; *c; c++)
		if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
			*c = ' ';
	mgr_device_count_removal(dev, reason);
	if (stopping)
		dev->after = MGR_AFTER_GONE;
	else
		mgr_device_stop(dev, MGR_AFTER_GONE, dev->gone_why);
	return 0;
}

/* Older hosts do not say why. */
static int device_gone(struct mgr_device *dev, const struct au_hm_gone *msg, size_t length)
{
	char why[sizeof(msg->why)] = "";

	if (length == sizeof(msg->head))
		return mgr_device_removed(dev, AU_GONE_UNKNOWN, why);
	if (length != sizeof(*msg) || msg->reason > AU_GONE_ERROR)
		return -EPROTO;
	snprintf(why, sizeof(why), "%.*s", (int)sizeof(why) - 1, msg->why);
	return mgr_device_removed(dev, msg->reason, why);
}

static int device_units_message(struct mgr_device *dev, const char *text)
{
	json_t *o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	int err = o ? device_units(dev, o) : -EPROTO;

	json_decref(o);
	/* One that somebody waits for may have come. */
	if (!err && dev->state == MGR_RUNNING)
		mgr_channels_up(dev);
	return err;
}

void mgr_device_message(struct mgr_device *dev, const struct au_msg_head *msg, size_t length,
			int fds[AU_MSG_FDS])
{
	const char *text = (const char *)(msg + 1);
	int err = 0;

	switch (msg->type) {
	case AU_HM_READY:
		err = device_ready(dev, text);
		break;
	case AU_HM_FAILED:
		err = device_refused(dev, (const struct au_hm_failed *)msg, length);
		break;
	case AU_HM_ENDED:
		err = length == sizeof(struct au_hm_channel) ? 0 : -EPROTO;
		if (!err)
			mgr_channel_ended(dev, (const struct au_hm_channel *)msg);
		break;
	case AU_HM_GONE:
		err = device_gone(dev, (const struct au_hm_gone *)msg, length);
		break;
	case AU_HM_UNITS:
		err = device_units_message(dev, text);
		break;
	case AU_HM_ANSWER:
		mgr_calls_answer(dev, text);
		break;
	case AU_HM_DESCRIPTION:
		mgr_stuck_described(dev, text);
		break;
	case AU_HM_ADOPTED:
		err = mgr_adopted(dev, text, fds);
		break;
	case AU_HM_LOG:
		au_logf(AU_LOG_INFO, "%s: host: %.400s", dev->spec.name, text);
		break;
	case AU_HM_FINISHED:
		err = length == sizeof(*msg) && dev->leaving ? 0 : -EPROTO;
		if (!err)
			mgr_device_left(dev);
		break;
	case AU_HM_SERVING:
		err = device_serving(dev);
		break;
	case AU_HM_POWERED:
		err = mgr_power_answered(dev, (const struct au_hm_powered *)msg, length);
		break;
	default:
		err = -EPROTO;
	}
	if (err && dev->host)
		mgr_host_kill(dev->host, MGR_VERDICT_PROTOCOL,
			      "it sent a message of type %u that breaks the rules", msg->type);
}

void mgr_device_credit(struct mgr_device *dev)
{
	struct mgr_host *host = dev->host;
	uint64_t completed = 0, now = au_monotonic_ns(), ms, more;

	/* One that was never ready has served nobody, whatever its state is now. */
	if (!host->recorder.status || !host->credited_ns)
		return;
	for (unsigned int i = 0; i < AU_RECORDER_LANES; i++)
		completed += atomic_load_explicit(&host->recorder.status->lane[i].completed,
						  memory_order_relaxed);
	more = completed > host->completed ? completed - host->completed : 0;
	ms = (now - host->credited_ns) / 1000000;
	mgr_budget_service(&dev->budget, more, ms);
	dev->completed_total += more;
	host->completed = completed;
	host->credited_ns += ms * 1000000;
}

void mgr_device_host_dead(struct mgr_device *dev, struct mgr_host *host, int status)
{
	char text[MGR_TEXT];
	int signal = 0;
	enum mgr_verdict verdict;
	json_t *evidence = NULL;
	bool fault, charge;

	if (!host->recorder.status)
		au_recorder_map(host->status_fd, false, &host->recorder);
	verdict = mgr_host_verdict(host, status, &signal, text, sizeof(text));
	mgr_channels_look(dev, host);
	mgr_device_credit(dev);
	au_loop_timer_cancel(&dev->deadline);
	au_loop_timer_cancel(&dev->idle);
	dev->host = NULL;
	host->dev = NULL;
	mgr_power_dead(dev, host);
	/* It may have died while its device was being opened: the next start opens it anew, alone.
	 */
	mgr_device_drop_session(dev);
	if (dev->state == MGR_STOPPING) {
		if (verdict == MGR_VERDICT_CRASH)
			au_logf(AU_LOG_WARN, "%s: on its way down, %s", dev->spec.name, text);
		mgr_trace_keep(dev, host);
		mgr_host_free(host);
		mgr_device_stopped(dev);
		return;
	}
	memset(&dev->current, 0, sizeof(dev->current));
	dev->current.verdict = verdict;
	dev->current.wall_ms = mgr_wall_ms();
	if (verdict == MGR_VERDICT_HANG || verdict == MGR_VERDICT_STOPPED)
		dev->current.alive_ns = host->beat_ns;
	dev->current.dead_ns = au_monotonic_ns();
	fault = verdict == MGR_VERDICT_CRASH || verdict == MGR_VERDICT_HANG;
	/* What somebody else did from outside says nothing about the driver. */
	charge = verdict != MGR_VERDICT_KILLED && verdict != MGR_VERDICT_STOPPED &&
		 verdict != MGR_VERDICT_REQUEST;
	mgr_channels_down(dev, fault);
	if (dev->refused[0]) {
		if (!mgr_upgrade_failed(dev, dev->refused))
			mgr_device_start_failed(dev, dev->error, dev->refused);
	} else {
		dev->deaths[verdict]++;
		/* It is about this driver, which may not be the next. Others are in a hurry. */
		if (dev->upgrade)
			evidence = mgr_evidence(dev, host, verdict, signal, text);
		/* Killed while it served: that is not a failure, and nothing to wait for. */
		if (!charge && host->serving) {
			dev->from_failed = true;
			dev->restarts++;
			mgr_device_set(dev, MGR_RESTARTING, "%s", text);
			mgr_device_begin(dev);
		} else if (!charge || !mgr_upgrade_failed(dev, text)) {
			mgr_device_failed(dev, charge, text);
		}
		if (!evidence)
			evidence = mgr_evidence(dev, host, verdict, signal, text);
		json_decref(dev->evidence);
		dev->evidence = evidence;
		mgr_evidence_save(dev);
	}
	mgr_trace_keep(dev, host);
	mgr_host_free(host);
}
