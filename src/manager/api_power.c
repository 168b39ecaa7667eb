/* SPDX-License-Identifier: MIT */
/* What can be asked about power: of a device, and of the system. */
#include "manager/control.h"
#include "manager/json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define POWER_CALL_MS	12000 /* for one device: its driver has a time of its own, in its host */
#define POWER_SYSTEM_MS 50000
#define POWER_OK	200

static void power_answer(struct mgr_call *call, const struct mgr_device *dev)
{
	json_t *o = mgr_power_json(dev);

	json_object_set_new(o, "name", json_string(dev->spec.name));
	mgr_call_answer(call, POWER_OK, o);
}

static void power_send(struct mgr_call *call, struct mgr_device *dev, enum au_power_verb verb)
{
	call->query = mgr_power_tell(dev, verb, 0);
}

static void power_go(struct mgr_call *call, struct mgr_device *dev, const char *where)
{
	const char *name = dev->spec.name;
	bool up = !strcmp(where, "d0"), cycle = !strcmp(where, "cycle");

	if (!up && !cycle && strcmp(where, "d3") != 0) {
		mgr_call_error(call, -EINVAL, "state '%.20s': use d0, d3 or cycle", where);
	} else if (dev->power.phase != MGR_PHASE_UP || call->mgr->suspended) {
		mgr_call_error(call, -EBUSY,
			       "%s is suspended with the system: 'auriga power resume' ends that",
			       name);
	} else if (dev->state != MGR_RUNNING || dev->host->state != MGR_HOST_READY) {
		mgr_call_error(call, -ENODEV,
			       "%s is %s: only a device that runs is up or down: 'auriga restart "
			       "%s' starts it",
			       name, mgr_device_state(dev), name);
	} else {
		call->cycle = cycle;
		mgr_call_wait(call, dev, MGR_WAIT_POWER, POWER_CALL_MS);
		power_send(call, dev, up ? AU_POWER_VERB_UP : AU_POWER_VERB_DOWN);
	}
}

static void power_set_idle(struct mgr_call *call, struct mgr_device *dev, const json_t *value)
{
	char text[24] = "";
	uint32_t ms;

	if (json_is_number(value))
		snprintf(text, sizeof(text), "%.6g", json_number_value(value));
	else if (json_is_string(value) && json_string_length(value) < sizeof(text))
		snprintf(text, sizeof(text), "%s", json_string_value(value));
	if (mgr_spec_power_idle(text, &ms)) {
		mgr_call_error(call, -EINVAL,
			       "idle '%s': use a time up to a day, as in 2s or 500ms, or off",
			       text);
		return;
	}
	mgr_power_idle(dev, ms);
	power_answer(call, dev);
}

void mgr_api_power(struct mgr_call *call, struct mgr_device *dev)
{
	json_t *o = mgr_api_body(call);
	const json_t *idle, *where;

	if (!o)
		return;
	idle = json_object_get(o, "idle");
	where = json_object_get(o, "state");
	if (json_object_size(o) != 1 || (!idle && !json_is_string(where)))
		mgr_call_error(
			call, -EINVAL,
			"say {\"state\": \"d0\"}, with d0, d3 or cycle, or {\"idle\": \"2s\"}");
	else if (idle)
		power_set_idle(call, dev, idle);
	else
		power_go(call, dev, json_string_value(where));
	json_decref(o);
}

/* Seconds are not waited for here: each device has its time, and all answer together. */
void mgr_api_power_system(struct mgr_call *call, bool get)
{
	const char *what;
	json_t *o;

	if (get) {
		mgr_call_answer(call, POWER_OK, mgr_power_report(call->mgr));
		return;
	}
	o = mgr_api_body(call);
	if (!o)
		return;
	what = json_string_value(json_object_get(o, "system"));
	if (!what || json_object_size(o) != 1 ||
	    (strcmp(what, "suspend") != 0 && strcmp(what, "resume") != 0)) {
		mgr_call_error(call, -EINVAL, "say {\"system\": \"suspend\"}, or resume");
	} else {
		call->suspend = !strcmp(what, "suspend");
		mgr_call_wait(call, NULL, MGR_WAIT_SYSTEM, POWER_SYSTEM_MS);
		au_list_add_tail(&call->mgr->power_calls, &call->node);
		mgr_power_system(call->mgr, call->suspend);
	}
	json_decref(o);
}

void mgr_calls_power(struct mgr *mgr)
{
	au_list_for_each_safe (node, &mgr->power_calls) {
		struct mgr_call *call = AU_CONTAINER(node, struct mgr_call, node);

		if (call->suspend == mgr->suspended)
			mgr_call_answer(call, POWER_OK, mgr_power_report(mgr));
		else
			mgr_call_error(call, -EBUSY, "the system was %s meanwhile",
				       mgr->suspended ? "suspended" : "resumed");
	}
}

void mgr_calls_powered(struct mgr_device *dev, uint32_t seq, int result)
{
	au_list_for_each_safe (node, &dev->calls) {
		struct mgr_call *call = AU_CONTAINER(node, struct mgr_call, node);

		if (call->wait != MGR_WAIT_POWER || call->query != seq)
			continue;
		if (result == -EBUSY) {
			mgr_call_error(call, result,
				       "%s is kept in D0: 'auriga power %s' says by what",
				       dev->spec.name, dev->spec.name);
		} else if (result) {
			mgr_call_error(call, result, "%s: %s", dev->spec.name, strerror(-result));
		} else if (call->cycle) {
			call->cycle = false;
			power_send(call, dev, AU_POWER_VERB_UP);
		} else {
			power_answer(call, dev);
		}
	}
}

/* ------------------------------------------------------- what a host adds */

/* "references": [{"tag", "count"}], at most 16, and "why". */
void mgr_api_power_host(json_t *info, json_t *host)
{
	const json_t *said = json_object_get(host, "power");
	const json_t *list = json_object_get(said, "references");
	json_t *power = json_object_get(info, "power"), *refs;
	char text[64];

	if (json_is_object(said) && json_is_array(list) && json_array_size(list) <= 16) {
		refs = json_array();
		for (size_t i = 0; i < json_array_size(list); i++) {
			const json_t *ref = json_array_get(list, i);
			uint64_t count;

			if (mgr_json_text(ref, "tag", text, sizeof(text)) &&
			    mgr_json_uint(ref, "count", UINT32_MAX, &count))
				json_array_append_new(refs, json_pack("{s:o s:I}", "tag",
								      mgr_json_string(text),
								      "count", (json_int_t)count));
		}
		json_object_set_new(power, "references", refs);
		if (mgr_json_text(said, "why", text, sizeof(text)))
			json_object_set_new(power, "why", mgr_json_string(text));
	}
	json_object_del(host, "power");
}
