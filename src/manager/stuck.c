/* SPDX-License-Identifier: MIT */
/*
 * Why a device does not go on: what the manager itself waits for, what its host says, and where
 * that says nothing, what can be seen from outside: the status page and the flight recorder. From
 * these follow the sentences for people, the most likely reason first.
 */
#include "manager/control.h"
#include "manager/json.h"

#include "base/trace.h"
#include "base/trace_read.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STUCK_MS      500 /* for its host to answer */
#define STUCK_RECORDS 8	  /* of the flight recorder */
#define STUCK_OLD_MS  300 /* a request that is outstanding for so long is worth a word */

/** struct stuck - an answer that is being put together. */
struct stuck {
	struct mgr_device *dev;
	json_t *answer;
	json_t *because;
};

static void __attribute__((format(printf, 2, 3))) stuck_say(struct stuck *s, const char *fmt, ...)
{
	char text[2 * MGR_TEXT];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	json_array_append_new(s->because, mgr_json_string(text));
}

static double stuck_seconds(uint64_t from_ns)
{
	uint64_t now = au_monotonic_ns();

	return from_ns && now > from_ns ? (double)(now - from_ns) / 1e9 : 0;
}

/* ----------------------------------------------------------- what the manager knows */

static void stuck_manager(struct stuck *s)
{
	const struct mgr_device *dev = s->dev;
	double seconds = (double)(mgr_wall_ms() - dev->since_wall_ms) / 1e3;

	if (dev->mgr->suspended)
		stuck_say(s, "the system is suspended: 'auriga power resume' ends that");
	if (dev->state != MGR_RUNNING)
		stuck_say(s, "it is %s for %.1f s%s%s", mgr_device_state(dev), seconds,
			  dev->reason[0] ? ": " : "", dev->reason);
	if (dev->open_job)
		stuck_say(s, "the device at %s is being opened: its server has not answered yet",
			  dev->spec.address);
	if (au_loop_timer_is_set(&dev->retry))
		stuck_say(s, "the next start is put off for a while after the last failure");
	if (dev->state == MGR_IDLE)
		stuck_say(s, "nobody has it open; the next open loads its driver");
	if (dev->state == MGR_QUARANTINED)
		stuck_say(s, "see 'auriga crash %s'; 'auriga restart %s' gives it a new budget",
			  dev->spec.name, dev->spec.name);
	if (dev->held)
		stuck_say(s, "it is held: no verdict ends its driver ('auriga hold --off %s')",
			  dev->spec.name);
}

/* Before it serves, clients of the host before have to send again what that had. */
static void stuck_gate(struct stuck *s)
{
	unsigned int awaited = 0;

	if (!s->dev->host || s->dev->host->state != MGR_HOST_READY || s->dev->host->serving)
		return;
	au_list_for_each (node, &s->dev->channels)
		awaited += AU_CONTAINER(node, struct mgr_channel, node)->awaited;
	stuck_say(s,
		  "it does not serve yet: %u clients may have to send again what they had with "
		  "the host before",
		  awaited);
}

/* ----------------------------------------------------- what can be seen from outside */

/* A text that a host wrote, in place of what is nothing to be shown. */
static void stuck_name(const char *from, size_t size, char *to, size_t to_size)
{
	snprintf(to, to_size, "%.*s", (int)size, from);
	for (char *c = to; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

static json_t *stuck_lanes(struct stuck *s, const struct au_status *status)
{
	struct mgr_host *host = s->dev->host;
	uint32_t count = status->lanes;
	json_t *list = json_array();

	if (count < 1 || count > AU_RECORDER_LANES)
		count = 1;
	for (uint32_t i = 0; i < count; i++) {
		const struct au_lane_status *lane = &status->lane[i];
		bool alive = atomic_load(&lane->beat) == host->beat || !host->beat_ns;
		uint32_t overdue_ms = atomic_load(&lane->overdue_ms);

		if (!alive && stuck_seconds(host->beat_ns) > 0.1)
			stuck_say(s, "lane %u has not shown a sign of life for %.1f s", i,
				  stuck_seconds(host->beat_ns));
		if (overdue_ms)
			stuck_say(s,
				  "the driver holds a request on lane %u that was cancelled %.1f s "
				  "ago; at %.1f s it is ended for that",
				  i, overdue_ms / 1e3,
				  s->dev->spec.policy.request_timeout_ms / 1e3);
		json_array_append_new(list, json_pack("{s:i s:b s:I s:I}", "lane", (int)i, "alive",
						      alive, "completed",
						      (json_int_t)atomic_load(&lane->completed),
						      "overdue_ms", (json_int_t)overdue_ms));
	}
	return list;
}

static void stuck_records(struct stuck *s, const struct au_recorder *rec)
{
	const uint32_t all[AU_RECORDER_LANES] = { 0 };
	struct au_trace_view view;
	json_t *list = json_array();
	size_t first;

	json_object_set_new(s->answer, "records", list);
	if (au_trace_view(rec, all, true, &view))
		return;
	first = view.count > STUCK_RECORDS ? view.count - STUCK_RECORDS : 0;
	for (size_t i = first; i < view.count; i++)
		json_array_append_new(list, mgr_trace_record(s->dev, &view, &view.items[i]));
	au_trace_view_free(&view);
}

/* @answers: its main thread does, if not its lane. */
static void stuck_outside(struct stuck *s, bool answers)
{
	struct mgr_host *host = s->dev->host;
	const struct au_lane_status *lane;
	char name[sizeof(lane->state_name) + 1], process = '?';

	if (!host || host->status_fd < 0 ||
	    (!host->recorder.status && au_recorder_map(host->status_fd, false, &host->recorder)))
		return;
	lane = &host->recorder.status->lane[0];
	stuck_name(lane->state_name, sizeof(lane->state_name), name, sizeof(name));
	mgr_process_start_time(host->pid, &process);
	if (process == 'T' || process == 't')
		stuck_say(s, "its process %d is stopped, by a signal or a debugger",
			  (int)host->pid);
	else if (answers)
		stuck_say(s,
			  "the driver does not come back to its lane; the device is in "
			  "state '%s' since %.1f s",
			  name, stuck_seconds(atomic_load(&lane->state_ns)));
	else if (host->state < MGR_HOST_READY)
		stuck_say(s, "its host, process %d, is on its way up: in '%s' since %.1f s",
			  (int)host->pid, name[0] ? name : "loading",
			  stuck_seconds(atomic_load(&lane->state_ns)));
	else if (host->state == MGR_HOST_READY)
		stuck_say(s, "its host, process %d, does not answer at all", (int)host->pid);
	json_object_set_new(s->answer, "state_seen", mgr_json_string(name));
	json_object_set_new(s->answer, "lanes", stuck_lanes(s, host->recorder.status));
	stuck_records(s, &host->recorder);
}

/* ----------------------------------------------------------------- what its host says */

static uint64_t stuck_uint(const json_t *o, const char *key)
{
	uint64_t value;

	return mgr_json_uint(o, key, INT64_MAX, &value) ? value : 0;
}

static const char *stuck_text(const json_t *o, const char *key, char buf[MGR_TEXT])
{
	return mgr_json_text(o, key, buf, MGR_TEXT) ? buf : "";
}

static bool stuck_is(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

static void stuck_requests(struct stuck *s, const json_t *host)
{
	const json_t *r = json_array_get(json_object_get(host, "requests"), 0);
	const json_t *device = json_object_get(host, "device");
	char op[MGR_TEXT], owner[MGR_TEXT];

	if (!r) {
		stuck_say(s, "no request is outstanding: nobody waits for it");
		return;
	}
	if (stuck_uint(r, "age_ms") < STUCK_OLD_MS)
		return;
	stuck_text(r, "owner", owner);
	stuck_say(s,
		  "the oldest of %llu requests, '%s' of unit %llu, waits for at least %.1f s: %s%s",
		  (unsigned long long)stuck_uint(device, "outstanding"),
		  stuck_text(r, "operation", op), (unsigned long long)stuck_uint(r, "unit"),
		  (double)stuck_uint(r, "age_ms") / 1e3,
		  !strcmp(owner, "driver")  ? "the driver has it"
		  : !strcmp(owner, "class") ? "the class has it until there is something to give"
					    : "it is in a queue",
		  stuck_is(r, "cancel_asked") ? ", and it was cancelled" : "");
}

static void stuck_queues(struct stuck *s, const json_t *host)
{
	const json_t *q;
	char why[MGR_TEXT];
	size_t i;

	json_array_foreach(json_object_get(host, "queues"), i,
			   q) if (stuck_uint(q, "waiting") && *stuck_text(q, "why", why))
		stuck_say(s, "%llu requests wait in queue %llu of unit %llu, lane %llu: %s",
			  (unsigned long long)stuck_uint(q, "waiting"),
			  (unsigned long long)stuck_uint(q, "queue"),
			  (unsigned long long)stuck_uint(q, "unit"),
			  (unsigned long long)stuck_uint(q, "lane"), why);
}

static void stuck_power(struct stuck *s, const json_t *host)
{
	const json_t *power = json_object_get(host, "power");
	char state[MGR_TEXT], why[MGR_TEXT];

	stuck_text(power, "state", state);
	if (strcmp(state, "d0") != 0 && *state)
		stuck_say(s, "power: %s%s%s", state, *stuck_text(power, "why", why) ? ": " : "",
			  why);
}

static void stuck_interrupts(struct stuck *s, const json_t *host)
{
	const json_t *irq = json_object_get(host, "interrupts");
	const json_t *device = json_object_get(host, "device");
	char state[MGR_TEXT];

	if (!json_is_object(irq))
		return;
	if (stuck_is(irq, "polling"))
		stuck_say(s, "interrupts came in a storm: the line is looked at every millisecond");
	else if (!stuck_is(irq, "on") && !strcmp(stuck_text(device, "state", state), "d0"))
		stuck_say(s, "interrupts are off");
}

static void stuck_host(struct stuck *s, const json_t *host)
{
	const json_t *device = json_object_get(host, "device");
	char state[MGR_TEXT];

	stuck_text(device, "state", state);
	if (stuck_is(device, "gone"))
		stuck_say(s, "the device is gone, in state '%s'", state);
	else if (strcmp(state, "d0") != 0 && strcmp(state, "d3") != 0)
		stuck_say(s, "it is on its way: in '%s' since %.1f s", state,
			  (double)stuck_uint(device, "state_ms") / 1e3);
	if (stuck_is(device, "suspect_alone"))
		stuck_say(s, "a request that its driver may have died of runs alone");
	stuck_power(s, host);
	stuck_queues(s, host);
	stuck_interrupts(s, host);
	stuck_requests(s, host);
}

/* ------------------------------------------------------------------------- answering */

void mgr_stuck_answer(struct mgr_call *call, struct mgr_device *dev, const json_t *host)
{
	struct stuck s = { .dev = dev, .because = json_array() };
	bool lane = json_is_object(json_object_get(host, "device"));

	s.answer =
		json_pack("{s:s s:s s:o s:I s:o s:s}", "name", dev->spec.name, "state",
			  mgr_device_state(dev), "reason", mgr_json_string(dev->reason), "since_ms",
			  (json_int_t)dev->since_wall_ms, "because", s.because, "answers",
			  lane	 ? "lane"
			  : host ? "host"
				 : "nobody");
	json_object_set_new(s.answer, "clients", json_integer(dev->client_count));
	stuck_manager(&s);
	stuck_gate(&s);
	if (lane) {
		stuck_host(&s, host);
		json_object_set_new(s.answer, "host", json_deep_copy(host));
	} else {
		stuck_outside(&s, host != NULL);
	}
	if (!json_array_size(s.because))
		stuck_say(&s, "nothing is the matter, as far as can be seen");
	mgr_call_answer(call, 200, s.answer);
}

void mgr_stuck_described(struct mgr_device *dev, const char *text)
{
	json_t *o = NULL;

	au_list_for_each_safe (node, &dev->calls) {
		struct mgr_call *call = AU_CONTAINER(node, struct mgr_call, node);

		if (call->wait != MGR_WAIT_DESCRIBE)
			continue;
		if (!o)
			o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
		if (!json_is_object(o)) {
			json_decref(o);
			o = json_object();
		}
		mgr_stuck_answer(call, dev, o);
	}
	json_decref(o);
}

void mgr_api_stuck(struct mgr_call *call, struct mgr_device *dev)
{
	struct au_msg_head ask = { .type = AU_HM_DESCRIBE };

	if (dev->host && dev->host->state == MGR_HOST_READY &&
	    !mgr_host_send(dev->host, &ask, sizeof(ask), NULL, 0))
		mgr_call_wait(call, dev, MGR_WAIT_DESCRIBE, STUCK_MS);
	else
		mgr_stuck_answer(call, dev, NULL);
}
