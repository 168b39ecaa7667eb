/* SPDX-License-Identifier: MIT */
/* What can be asked of the manager. Nothing of a request is believed before it is checked. */
#include "manager/control.h"
#include "manager/json.h"
#include "manager/upgrade.h"

#include "base/claim.h"
#include "bus/address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define API_UP_MS    30000
#define API_DOWN_MS  15000
#define API_QUERY_MS 500
#define API_DRAIN_MS 40000 /* and a bit more is what a client of ours waits for an answer */

#define API_OK	     200
#define API_CREATED  201
#define API_NO_VERB  405

json_t *mgr_api_body(struct mgr_call *call)
{
	json_error_t error;
	json_t *o;

	if (!call->body_length)
		return json_object();
	o = json_loadb(call->body, call->body_length, JSON_REJECT_DUPLICATES, &error);
	if (!o || !json_is_object(o)) {
		json_decref(o);
		mgr_call_error(call, -EINVAL, "the request is no JSON object: %s",
			       o ? "send {...}" : error.text);
		return NULL;
	}
	return o;
}

/* A scalar as text: requests may say 10 where a file says "10". */
static bool api_value(const json_t *value, char *buf, size_t size)
{
	if (json_is_boolean(value))
		snprintf(buf, size, "%s", json_is_true(value) ? "yes" : "no");
	else if (json_is_integer(value))
		snprintf(buf, size, "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		snprintf(buf, size, "%.15g", json_real_value(value));
	else if (!json_is_string(value) || json_string_length(value) >= size ||
		 strlen(json_string_value(value)) != json_string_length(value))
		return false;
	else
		snprintf(buf, size, "%s", json_string_value(value));
	return true;
}

static int api_section(struct mgr_spec *spec, const char *section, const json_t *o, char *error,
		       size_t size)
{
	char text[AU_PATH_MAX];
	const char *key;
	json_t *value;

	if (!json_is_object(o)) {
		snprintf(error, size, "%s is not an object", section);
		return -EINVAL;
	}
	json_object_foreach((json_t *)(uintptr_t)o, key, value)
	{
		int err;

		if (!api_value(value, text, sizeof(text))) {
			snprintf(error, size, "%s.%.40s: not a text or number of a good length",
				 section, key);
			return -EINVAL;
		}
		err = mgr_spec_set(spec, section, key, text, error, size);
		if (err)
			return err;
	}
	return 0;
}

/* ["key=value", ...], as the command line has them. */
static int api_params(struct mgr_spec *spec, const json_t *list, char *error, size_t size)
{
	for (size_t i = 0; i < json_array_size(list); i++) {
		char text[AU_PATH_MAX], *equals;
		int err;

		if (!api_value(json_array_get(list, i), text, sizeof(text))) {
			snprintf(error, size, "a parameter that is no text of a good length");
			return -EINVAL;
		}
		equals = strchr(text, '=');
		if (!equals) {
			snprintf(error, size, "parameter '%.40s': write key=value", text);
			return -EINVAL;
		}
		*equals = 0;
		err = mgr_spec_set(spec, "params", text, equals + 1, error, size);
		if (err)
			return err;
	}
	return 0;
}

static int api_spec(struct mgr_spec *spec, const json_t *o, char *error, size_t size)
{
	char text[AU_PATH_MAX];
	const char *key;
	json_t *value;
	int err = 0;

	json_object_foreach((json_t *)(uintptr_t)o, key, value)
	{
		if (!strcmp(key, "params") && json_is_array(value))
			err = api_params(spec, value, error, size);
		else if (!strcmp(key, "params") || !strcmp(key, "policy") ||
			 !strcmp(key, "sandbox"))
			err = api_section(spec, key, value, error, size);
		else if (!api_value(value, text, sizeof(text))) {
			snprintf(error, size, "%.40s: not a text of a good length", key);
			err = -EINVAL;
		} else {
			err = mgr_spec_set(spec, !strcmp(key, "hold") ? "policy" : "device", key,
					   text, error, size);
		}
		if (err)
			return err;
	}
	return mgr_spec_check(spec, error, size);
}

static void api_attach(struct mgr_call *call)
{
	struct mgr *mgr = call->mgr;
	char error[AU_PATH_MAX + MGR_TEXT] = "";
	struct mgr_device *dev;
	struct mgr_spec spec;
	bool by_path = !mgr->as_root && call->peer_uid == geteuid();
	json_t *o = mgr_api_body(call);
	int err;

	if (!o)
		return;
	mgr_spec_init(&spec, mgr->idle_ms);
	err = api_spec(&spec, o, error, sizeof(error));
	if (!err && spec.policy.without && call->peer_uid != geteuid()) {
		err = -EPERM;
		snprintf(error, sizeof(error),
			 "only the manager's own user may leave out layers of the sandbox");
	}
	if (!err)
		err = mgr_device_create(mgr, &spec, by_path, &dev, error, sizeof(error));
	json_decref(o);
	mgr_spec_clear(&spec);
	if (err) {
		mgr_call_error(call, err, "%s", error);
		return;
	}
	dev->provisional = true;
	call->status = API_CREATED;
	mgr_call_wait(call, dev, MGR_WAIT_UP, API_UP_MS);
	mgr_device_want(dev);
}

static void api_detach(struct mgr_call *call, struct mgr_device *dev)
{
	const char *force = mgr_call_argument(call, "force");
	const char *drain = mgr_call_argument(call, "drain");
	uint32_t drain_ms = 0;
	char who[160];

	if (drain && (mgr_spec_idle(drain, &drain_ms) || drain_ms > API_DRAIN_MS)) {
		mgr_call_error(call, -EINVAL, "drain '%.20s': use seconds from 0 to %d", drain,
			       API_DRAIN_MS / 1000);
		return;
	}
	if (dev->client_count && !drain && !(force && strcmp(force, "0"))) {
		mgr_clients_who(dev, who, sizeof(who));
		mgr_call_error(
			call, -EBUSY,
			"%s is open by %u client%s, %s: close them, or use --drain or --force",
			dev->spec.name, dev->client_count, dev->client_count == 1 ? "" : "s", who);
		return;
	}
	mgr_call_wait(call, dev, MGR_WAIT_DOWN, API_DOWN_MS + drain_ms);
	if (drain_ms)
		mgr_device_leave(dev, drain_ms);
	else
		mgr_device_detach(dev, "it was detached");
}

static bool api_flag(struct mgr_call *call, const char *key, bool fallback, bool *flag)
{
	json_t *o = mgr_api_body(call);
	const json_t *value;

	if (!o)
		return false;
	value = json_object_get(o, key);
	*flag = value ? json_is_true(value) : fallback;
	if (value && !json_is_boolean(value)) {
		mgr_call_error(call, -EINVAL, "%s: use true or false", key);
		json_decref(o);
		return false;
	}
	json_decref(o);
	return true;
}

/* One that is on its way up already is what was asked for: there will be no other. */
static bool api_is_starting(const struct mgr_device *dev)
{
	return dev->state == MGR_STARTING ||
	       (dev->state == MGR_RESTARTING && !au_loop_timer_is_set(&dev->retry));
}

static void api_start_anew(struct mgr_call *call, struct mgr_device *dev, bool crash)
{
	call->generation = api_is_starting(dev) ? dev->generation : dev->generation + 1;
	mgr_call_wait(call, dev, MGR_WAIT_UP, API_UP_MS);
	mgr_device_restart(dev, crash);
}

static void api_restart(struct mgr_call *call, struct mgr_device *dev)
{
	bool crash;

	if (api_flag(call, "crash", false, &crash))
		api_start_anew(call, dev, crash);
}

static int api_upgrade_wish(const struct mgr_call *call, const json_t *o,
			    struct mgr_upgrade_wish *wish, char *error, size_t size)
{
	const json_t *fresh = json_object_get(o, "fresh");
	uint64_t drain_ms = MGR_DRAIN_MS;

	memset(wish, 0, sizeof(*wish));
	if (json_object_get(o, "module")) {
		if (!mgr_json_text(o, "module", wish->path, sizeof(wish->path)) ||
		    wish->path[0] != '/') {
			snprintf(error, size, "module: give the whole path of a file");
			return -EINVAL;
		}
		if (call->peer_uid != geteuid()) {
			snprintf(error, size,
				 "only the manager's own user may name a file: others take what "
				 "'auriga drivers' lists");
			return -EPERM;
		}
	}
	if (json_object_get(o, "drain_ms") &&
	    !mgr_json_uint(o, "drain_ms", MGR_DRAIN_MAX_MS, &drain_ms)) {
		snprintf(error, size, "drain_ms: use a number from 0 to %d", MGR_DRAIN_MAX_MS);
		return -EINVAL;
	}
	if (fresh && !json_is_boolean(fresh)) {
		snprintf(error, size, "fresh: use true or false");
		return -EINVAL;
	}
	wish->drain_ms = (uint32_t)drain_ms;
	wish->fresh = json_is_true(fresh);
	return 0;
}

static void api_upgrade(struct mgr_call *call, struct mgr_device *dev)
{
	char error[AU_PATH_MAX + MGR_TEXT];
	struct mgr_upgrade_wish wish;
	json_t *o = mgr_api_body(call);
	bool later = false;
	int err;

	if (!o)
		return;
	err = api_upgrade_wish(call, o, &wish, error, sizeof(error));
	json_decref(o);
	if (!err)
		err = mgr_upgrade_begin(dev, &wish, &later, error, sizeof(error));
	if (err)
		mgr_call_error(call, err, "%s", error);
	else if (later)
		mgr_call_wait(call, dev, MGR_WAIT_UPGRADE, API_UP_MS + wish.drain_ms);
	else if (dev->state == MGR_QUARANTINED)
		api_start_anew(call, dev, false);
	else
		mgr_call_answer(call, API_OK,
				json_pack("{s:s s:s s:s s:s}", "name", dev->spec.name, "driver",
					  dev->driver_name, "to", dev->note.version, "result",
					  "at the next start"));
}

/* The host sees no file system, so gdb must be told where its libraries and its driver are. */
static void api_gdb(const struct mgr_device *dev, char *buf, size_t size)
{
	const char *slash = strrchr(dev->driver_path, '/');

	snprintf(buf, size, "gdb -iex 'set sysroot /' -iex 'set solib-search-path %.*s' -p %d",
		 slash ? (int)(slash - dev->driver_path) : 1, slash ? dev->driver_path : ".",
		 (int)dev->host->pid);
}

static void api_hold(struct mgr_call *call, struct mgr_device *dev)
{
	char gdb[AU_PATH_MAX + 80] = "";
	bool on;

	if (!api_flag(call, "on", true, &on))
		return;
	mgr_device_hold(dev, on);
	if (dev->host)
		api_gdb(dev, gdb, sizeof(gdb));
	mgr_call_answer(call, API_OK,
			json_pack("{s:s s:b s:o s:o}", "name", dev->spec.name, "held", on, "pid",
				  dev->host ? json_integer(dev->host->pid) : json_null(), "debug",
				  mgr_json_string(gdb)));
}

static void api_info(struct mgr_call *call, struct mgr_device *dev)
{
	struct au_msg_head query = { .type = AU_HM_QUERY };

	if (dev->host && dev->host->state == MGR_HOST_READY &&
	    !mgr_host_send(dev->host, &query, sizeof(query), NULL, 0))
		mgr_call_wait(call, dev, MGR_WAIT_QUERY, API_QUERY_MS);
	else
		mgr_call_answer(call, API_OK, mgr_device_info(dev));
}

static void api_crash(struct mgr_call *call, struct mgr_device *dev)
{
	if (dev->evidence)
		mgr_call_answer(call, API_OK, json_incref(dev->evidence));
	else
		mgr_call_error(call, -ENOENT, "%s has not died since it was attached",
			       dev->spec.name);
}

static void api_list(struct mgr_call *call)
{
	json_t *list = json_array();

	au_list_for_each (node, &call->mgr->devices)
		mgr_device_rows(AU_CONTAINER(node, struct mgr_device, node), list);
	mgr_call_answer(call, API_OK, list);
}

/* ------------------------------------------------------------------------ why */

/* @dev: what runs there, or NULL. */
static void api_why_answer(struct mgr_call *call, const char *address, const struct mgr_ids *ids,
			   const struct mgr_device *dev)
{
	struct mgr_candidate *candidates = NULL;
	json_t *o = json_pack("{s:o}", "address", mgr_json_string(address));
	char text[32];
	int fit;

	mgr_drivers_scan(&call->mgr->drivers);
	fit = mgr_match(&call->mgr->drivers, ids, &candidates);
	if (!ids->virtual_device) {
		snprintf(text, sizeof(text), "%04x:%04x", ids->vendor, ids->device);
		json_object_set_new(o, "ids", json_string(text));
		snprintf(text, sizeof(text), "%06x", ids->class_code);
		json_object_set_new(o, "class_code", json_string(text));
	}
	if (dev) {
		json_object_set_new(o, "device", json_string(dev->spec.name));
		json_object_set_new(o, "driver", json_string(dev->driver_name));
		json_object_set_new(o, "driver_was",
				    json_string(dev->spec.driver[0] ? "named" : "matched"));
	}
	json_object_set_new(o, "chosen",
			    fit > 0 ? mgr_json_string(candidates[0].driver->name) : json_null());
	json_object_set_new(o, "candidates", mgr_match_json(candidates, call->mgr->drivers.count));
	free(candidates);
	mgr_call_answer(call, API_OK, o);
}

static void api_why_opened(void *context, struct mgr_open_result *result)
{
	struct mgr_call *call = context;
	struct mgr_ids ids = {
		.vendor = (uint16_t)(result->session.vendor_device >> 16),
		.device = (uint16_t)result->session.vendor_device,
		.class_code = result->session.class_code,
	};

	call->job = NULL;
	if (result->err)
		mgr_call_error(call, result->err, "%s", result->error);
	else
		api_why_answer(call, call->address, &ids, mgr_device_at(call->mgr, call->address));
}

static void api_why(struct mgr_call *call)
{
	const char *address = mgr_call_argument(call, "address");
	struct mgr_ids ids = { 0 };
	struct au_bus_address parsed;
	const struct mgr_device *dev;
	char error[MGR_TEXT];
	int err;

	if (!address || strlen(address) >= sizeof(call->address)) {
		mgr_call_error(call, -EINVAL, "why: give an address of at most %d characters",
			       MGR_ADDRESS - 1);
		return;
	}
	dev = mgr_device_find(call->mgr, address);
	if (dev)
		address = dev->spec.address;
	err = au_bus_address_parse(address, &parsed, error, sizeof(error));
	if (err) {
		mgr_call_error(call, err, "%s", error);
		return;
	}
	memcpy(call->address, address, strlen(address) + 1);
	ids.virtual_device = parsed.kind == AU_BUS_VIRTUAL;
	/* Where all virtual devices are there is no one device. */
	if (!dev && !ids.virtual_device)
		dev = mgr_device_at(call->mgr, address);
	if (dev && dev->ids_known)
		ids = dev->ids;
	if (ids.virtual_device || (dev && dev->ids_known)) {
		api_why_answer(call, call->address, &ids, dev);
		return;
	}
	/* Nobody runs it through us: look, unless somebody else runs it, whom that would disturb.
	 */
	call->claim_fd = au_claim(call->mgr->dir, address, "aurigad", error, sizeof(error));
	if (call->claim_fd < 0) {
		err = call->claim_fd;
		call->claim_fd = -1;
		mgr_call_error(call, err, "%s", error);
		return;
	}
	call->job = mgr_open_start(call->mgr, address, api_why_opened, call);
	if (call->job)
		mgr_call_wait(call, NULL, MGR_WAIT_OPEN, MGR_OPEN_MS * 2);
	else
		mgr_call_error(call, -ENOMEM, "no thread to open %s", address);
}

/* -------------------------------------------------------------------- waiting */

static void api_up(struct mgr_call *call, struct mgr_device *dev)
{
	unsigned int status = call->status ? call->status : API_OK;

	switch (dev->state) {
	case MGR_RUNNING:
		if (dev->generation >= call->generation)
			mgr_call_answer(call, status, mgr_device_info(dev));
		break;
	case MGR_QUARANTINED:
		mgr_call_error(call, -EIO, "%s is quarantined: %s: see 'auriga crash %s'",
			       dev->spec.name, dev->reason, dev->spec.name);
		break;
	case MGR_CONFIGURED:
	case MGR_GONE:
	case MGR_DETACHED:
		mgr_call_error(call, dev->error ? dev->error : -ENODEV, "%s", dev->reason);
		break;
	default:
		break;
	}
}

void mgr_calls_settle(struct mgr_device *dev)
{
	au_list_for_each_safe (node, &dev->calls) {
		struct mgr_call *call = AU_CONTAINER(node, struct mgr_call, node);

		if (call->wait == MGR_WAIT_UP)
			api_up(call, dev);
		else if (call->wait == MGR_WAIT_DOWN && dev->forgotten)
			mgr_call_answer(call, API_OK, json_pack("{s:s}", "name", dev->spec.name));
		else if (call->wait == MGR_WAIT_QUERY && dev->state != MGR_RUNNING)
			mgr_call_answer(call, API_OK, mgr_device_info(dev));
		else if (call->wait == MGR_WAIT_DESCRIBE && dev->state != MGR_RUNNING)
			mgr_stuck_answer(call, dev, NULL);
		else if (call->wait == MGR_WAIT_POWER && dev->state != MGR_RUNNING)
			mgr_call_error(call, -EIO, "%s is %s: %s", dev->spec.name,
				       mgr_device_state(dev), dev->reason);
	}
}

/* Move what a driver says out of what its host says, if it is what it may be. */
static void api_report(json_t *info, json_t *host)
{
	json_t *report = json_object_get(host, "report");
	char error[MGR_TEXT];

	if (report && mgr_report_ok(report)) {
		json_object_set(info, "report", report);
	} else if (report) {
		json_object_set_new(info, "report_error",
				    json_string("what its host says is no report"));
	} else if (json_object_get(host, "report_error")) {
		bool ok = mgr_json_text(host, "report_error", error, sizeof(error));

		json_object_set_new(info, "report_error",
				    mgr_json_string(ok ? error : "its host does not say why"));
	}
	json_object_del(host, "report");
	json_object_del(host, "report_error");
}

void mgr_calls_answer(struct mgr_device *dev, const char *text)
{
	json_t *o = NULL;

	au_list_for_each_safe (node, &dev->calls) {
		struct mgr_call *call = AU_CONTAINER(node, struct mgr_call, node);
		json_t *info, *host;

		if (call->wait != MGR_WAIT_QUERY)
			continue;
		if (!o)
			o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
		info = mgr_device_info(dev);
		host = o ? json_deep_copy(o) : json_null();
		if (json_is_object(host)) {
			api_report(info, host);
			mgr_api_power_host(info, host);
		}
		json_object_set_new(info, "host", host);
		mgr_call_answer(call, API_OK, info);
	}
	json_decref(o);
}

void mgr_api_timeout(struct mgr_call *call)
{
	struct mgr_device *dev = call->dev;

	if (call->wait == MGR_WAIT_QUERY) {
		json_t *info = mgr_device_info(dev);

		json_object_set_new(info, "report_error",
				    json_string("its host does not answer within 500 ms"));
		mgr_call_answer(call, API_OK, info);
	} else if (call->wait == MGR_WAIT_DESCRIBE) {
		mgr_stuck_answer(call, dev, NULL);
	} else if (call->wait == MGR_WAIT_POWER) {
		mgr_call_error(call, -ETIMEDOUT, "%s does not answer: it is %s", dev->spec.name,
			       mgr_power_state(dev));
	} else if (call->wait == MGR_WAIT_SYSTEM) {
		mgr_call_error(call, -ETIMEDOUT,
			       "some devices are still on their way: see 'auriga "
			       "ls'");
	} else if (dev) {
		mgr_call_error(call, -ETIMEDOUT, "%s is still %s%s%s: it goes on", dev->spec.name,
			       mgr_device_state(dev), dev->reason[0] ? ": " : "", dev->reason);
	} else {
		mgr_call_error(call, -ETIMEDOUT, "%s does not answer", call->address);
	}
}

/* ------------------------------------------------------------------- dispatch */

/* "serial0", or "serial0.2": the device of that unit. */
static struct mgr_device *api_device(struct mgr *mgr, const char *name, size_t length)
{
	char text[MGR_NAME + 4];
	char *dot;

	if (length >= sizeof(text))
		return NULL;
	memcpy(text, name, length);
	text[length] = 0;
	dot = strchr(text, '.');
	if (dot)
		*dot = 0;
	return mgr_device_find(mgr, text);
}

static void api_on_device(struct mgr_call *call, const char *method, const char *rest)
{
	size_t length = strcspn(rest, "/");
	const char *verb = rest[length] ? rest + length + 1 : "";
	struct mgr_device *dev = api_device(call->mgr, rest, length);
	bool get = !strcmp(method, "GET"), post = !strcmp(method, "POST");

	if (!dev)
		mgr_call_error(call, -ENOENT, "no device '%.*s': 'auriga ls' lists what there is",
			       (int)(length < 60 ? length : 60), rest);
	else if (!*verb && get)
		api_info(call, dev);
	else if (!*verb && !strcmp(method, "DELETE"))
		api_detach(call, dev);
	else if (!strcmp(verb, "restart") && post)
		api_restart(call, dev);
	else if (!strcmp(verb, "upgrade") && post)
		api_upgrade(call, dev);
	else if (!strcmp(verb, "hold") && post)
		api_hold(call, dev);
	else if (!strcmp(verb, "crash") && get)
		api_crash(call, dev);
	else if (!strcmp(verb, "trace") && get)
		mgr_api_trace(call, dev);
	else if (!strcmp(verb, "why-stuck") && get)
		mgr_api_stuck(call, dev);
	else if (!strcmp(verb, "power") && post)
		mgr_api_power(call, dev);
	else
		mgr_call_answer(call, API_NO_VERB,
				json_pack("{s:s}", "error",
					  "devices know GET, DELETE, POST restart, POST upgrade, "
					  "POST hold, POST power, GET crash, GET trace and GET "
					  "why-stuck"));
}

void mgr_api(struct mgr_call *call, const char *method, const char *path)
{
	static const char devices[] = "/v1/devices/", drivers[] = "/v1/drivers";
	bool get = !strcmp(method, "GET");

	if (!strncmp(path, devices, sizeof(devices) - 1)) {
		api_on_device(call, method, path + sizeof(devices) - 1);
	} else if (!strcmp(path, "/v1/devices") && get) {
		api_list(call);
	} else if (!strcmp(path, "/v1/devices") && !strcmp(method, "POST")) {
		api_attach(call);
	} else if (!strcmp(path, "/v1/power") && (get || !strcmp(method, "POST"))) {
		mgr_api_power_system(call, get);
	} else if (!strncmp(path, drivers, sizeof(drivers) - 1) &&
		   strchr("/", path[sizeof(drivers) - 1])) {
		mgr_api_drivers(call, method, path + sizeof(drivers) - 1);
	} else if (!strcmp(path, "/v1/why") && get) {
		api_why(call);
	} else if (!strcmp(path, "/metrics") && get) {
		call->plain = mgr_metrics(call->mgr);
		mgr_call_answer(call, API_OK, NULL);
	} else {
		mgr_call_error(call, -ENOENT, "no such thing here: %s %.80s", method, path);
	}
}
