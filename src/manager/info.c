/* SPDX-License-Identifier: MIT */
/* What the manager says about devices: rows of a listing, everything about one, metrics. */
#include "manager/control.h"
#include "manager/json.h"
#include "manager/upgrade.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *info_bus(const struct mgr_device *dev)
{
	size_t length = strcspn(dev->spec.address, ":");

	return json_stringn(dev->spec.address, length);
}

static json_t *info_row(const struct mgr_device *dev, const char *name, const char *cls)
{
	json_t *o = json_pack("{s:o s:s s:s}", "name", mgr_json_string(name), "device",
			      dev->spec.name, "class", cls);

	json_object_set_new(o, "driver",
			    dev->driver_name[0] ? json_string(dev->driver_name) : json_null());
	json_object_set_new(o, "bus", info_bus(dev));
	json_object_set_new(o, "address", mgr_json_string(dev->spec.address));
	json_object_set_new(o, "placement", json_string("process"));
	json_object_set_new(o, "state", json_string(mgr_device_state(dev)));
	json_object_set_new(o, "power", json_string(mgr_power_state(dev)));
	json_object_set_new(o, "generation", json_integer(dev->generation));
	json_object_set_new(o, "restarts", json_integer(dev->restarts));
	json_object_set_new(o, "pid", dev->host ? json_integer(dev->host->pid) : json_null());
	return o;
}

void mgr_device_rows(const struct mgr_device *dev, json_t *list)
{
	char name[48];

	/* Its driver has not run yet: all that is known is what the note says. */
	if (!dev->unit_count)
		json_array_append_new(list, info_row(dev, dev->spec.name, dev->note.cls));
	for (unsigned int i = 0; i < MGR_UNITS; i++) {
		if (!dev->units[i].present)
			continue;
		mgr_unit_name(dev, i, name, sizeof(name));
		json_array_append_new(list, info_row(dev, name, dev->units[i].cls));
	}
}

static json_t *info_units(const struct mgr_device *dev)
{
	json_t *list = json_array();
	char name[48];

	for (unsigned int i = 0; i < MGR_UNITS; i++) {
		if (!dev->units[i].present)
			continue;
		mgr_unit_name(dev, i, name, sizeof(name));
		json_array_append_new(list, json_pack("{s:s s:i s:s}", "name", name, "index",
						      (int)i, "class", dev->units[i].cls));
	}
	return list;
}

static json_t *info_history(const struct mgr_device *dev)
{
	unsigned int count = dev->history_count,
		     first = count > MGR_HISTORY ? count - MGR_HISTORY : 0;
	json_t *list = json_array();

	for (unsigned int i = first; i < count; i++) {
		const struct mgr_history *h = &dev->history[i % MGR_HISTORY];

		json_array_append_new(list, json_pack("{s:I s:i s:s s:o}", "time_ms",
						      (json_int_t)h->wall_ms, "generation",
						      (int)h->generation, "state",
						      mgr_state_name(h->state), "reason",
						      mgr_json_string(h->reason)));
	}
	return list;
}

static json_int_t info_us(uint64_t from_ns, uint64_t to_ns)
{
	return from_ns && to_ns >= from_ns ? (json_int_t)((to_ns - from_ns) / 1000) : 0;
}

/*
 * Steps follow one another or overlap (the session is opened while the host starts), so each is
 * given from the death on; the absolute times are CLOCK_MONOTONIC, for whoever killed it.
 */
static json_t *info_recoveries(const struct mgr_device *dev)
{
	unsigned int count = dev->recovery_count;
	unsigned int first = count > MGR_RECOVERIES ? count - MGR_RECOVERIES : 0;
	json_t *list = json_array();

	for (unsigned int i = first; i < count; i++) {
		const struct mgr_recovery *r = &dev->recoveries[i % MGR_RECOVERIES];
		json_t *o = json_pack("{s:i s:s s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I}",
				      "generation", (int)r->generation, "verdict",
				      mgr_verdict_name(r->verdict), "time_ms",
				      (json_int_t)r->wall_ms, "dead_ns", (json_int_t)r->dead_ns,
				      "silent_us", info_us(r->alive_ns, r->dead_ns), "spawned_us",
				      info_us(r->dead_ns, r->spawned_ns), "session_us",
				      info_us(r->dead_ns, r->session_ns), "told_us",
				      info_us(r->dead_ns, r->started_ns), "driver_us",
				      info_us(r->dead_ns, r->ready_ns), "serving_us",
				      info_us(r->dead_ns, r->serving_ns), "host_loaded_us",
				      (json_int_t)r->host_loaded_us, "host_sandboxed_us",
				      (json_int_t)r->host_sandboxed_us, "host_started_us",
				      (json_int_t)r->host_started_us);

		json_array_append_new(list, o);
	}
	return list;
}

static json_t *info_deaths(const struct mgr_device *dev)
{
	json_t *o = json_object();

	for (unsigned int i = MGR_VERDICT_CRASH; i <= MGR_VERDICT_REQUEST; i++)
		json_object_set_new(o, mgr_verdict_name(i),
				    json_integer((json_int_t)dev->deaths[i]));
	return o;
}

static json_t *info_policy(const struct mgr_device *dev)
{
	const struct mgr_policy *p = &dev->spec.policy;
	char text[AU_VERIFY_TEXT];
	json_t *o;

	o = json_pack("{s:f s:f s:i s:i s:b s:s s:s}", "idle", p->idle_ms / 1000.0, "power_idle",
		      p->power_idle_ms / 1000.0, "suspend_timeout", (int)p->suspend_ms,
		      "request_timeout", (int)p->request_timeout_ms, "verify", p->verify.rules,
		      "recovery", mgr_fate_name(p->recovery), "upgrade", mgr_when_name(p->upgrade));
	au_verify_print(&p->verify, ',', text);
	json_object_set_new(o, "inject", p->verify.what ? json_string(text) : json_null());
	return o;
}

json_t *mgr_device_info(struct mgr_device *dev)
{
	json_t *o =
		info_row(dev, dev->spec.name, dev->unit_count ? dev->units[0].cls : dev->note.cls);
	json_t *params = json_array();

	if (dev->host && dev->host->state == MGR_HOST_READY)
		mgr_device_credit(dev);
	for (unsigned int i = 0; i < dev->spec.param_count; i++)
		json_array_append_new(params, mgr_json_string(dev->spec.params[i]));
	json_object_set_new(o, "reason", mgr_json_string(dev->reason));
	json_object_set_new(o, "held", json_boolean(dev->held));
	json_object_set_new(o, "since_ms", json_integer(dev->since_wall_ms));
	json_object_set_new(o, "source", mgr_json_string(dev->spec.source));
	json_object_set_new(o, "driver_path", mgr_json_string(dev->driver_path));
	json_object_set_new(o, "driver_version", mgr_json_string(dev->note.version));
	if (dev->module.fd >= 0) {
		char signer[128];

		mgr_signer_text(&dev->module.signer, signer, sizeof(signer));
		json_object_set_new(o, "driver_signature", mgr_json_string(signer));
	}
	json_object_set_new(o, "params", params);
	json_object_set_new(
		o, "lanes",
		json_integer(au_note_lanes(&dev->note, (const char *const *)dev->spec.params,
					   dev->spec.param_count)));
	json_object_set_new(o, "policy", info_policy(dev));
	json_object_set_new(o, "power", mgr_power_json(dev));
	json_object_set_new(o, "units", info_units(dev));
	json_object_set_new(o, "clients", json_integer(dev->client_count));
	json_object_set_new(o, "removals", json_integer(dev->removals));
	json_object_set_new(o, "completed", json_integer((json_int_t)dev->completed_total));
	json_object_set_new(o, "budget",
			    json_pack("{s:i s:i s:i}", "tokens", (int)dev->budget.tokens, "of",
				      MGR_BUDGET_TOKENS, "streak", (int)dev->budget.streak));
	json_object_set_new(o, "deaths", info_deaths(dev));
	json_object_set_new(o, "sandbox",
			    dev->layers && dev->host ? json_deep_copy(dev->layers) : json_array());
	if (dev->upgraded.count)
		json_object_set_new(o, "upgrade", mgr_upgrade_json(dev));
	json_object_set_new(o, "recoveries", info_recoveries(dev));
	json_object_set_new(o, "history", info_history(dev));
	if (dev->mgr->as_root && dev->host)
		json_object_set_new(o, "uid",
				    json_integer((json_int_t)dev->mgr->uid_first + dev->slot));
	if (dev->ids_known) {
		char text[32];

		snprintf(text, sizeof(text), "%04x:%04x", dev->ids.vendor, dev->ids.device);
		json_object_set_new(o, "ids", json_string(text));
	}
	return o;
}

/* -------------------------------------------------------------------- metrics */

static void metrics_head(FILE *f, const char *name, const char *type, const char *help)
{
	fprintf(f, "# HELP auriga_%s %s\n# TYPE auriga_%s %s\n", name, help, name, type);
}

static void metrics_each(FILE *f, struct mgr *mgr, const char *name, const char *type,
			 const char *help, double (*value)(const struct mgr_device *dev))
{
	metrics_head(f, name, type, help);
	au_list_for_each (node, &mgr->devices) {
		const struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);

		fprintf(f, "auriga_%s{device=\"%s\",driver=\"%s\"} %.15g\n", name, dev->spec.name,
			dev->driver_name, value(dev));
	}
}

static double metrics_up(const struct mgr_device *dev)
{
	return dev->state == MGR_RUNNING;
}

static double metrics_quarantined(const struct mgr_device *dev)
{
	return dev->state == MGR_QUARANTINED;
}

static double metrics_generation(const struct mgr_device *dev)
{
	return dev->generation;
}

static double metrics_restarts(const struct mgr_device *dev)
{
	return dev->restarts;
}

static double metrics_removals(const struct mgr_device *dev)
{
	return dev->removals;
}

static double metrics_clients(const struct mgr_device *dev)
{
	return dev->client_count;
}

static double metrics_completed(const struct mgr_device *dev)
{
	return (double)dev->completed_total;
}

static double metrics_tokens(const struct mgr_device *dev)
{
	return dev->budget.tokens;
}

static double metrics_recovery(const struct mgr_device *dev)
{
	const struct mgr_recovery *r =
		&dev->recoveries[(dev->recovery_count + MGR_RECOVERIES - 1) % MGR_RECOVERIES];

	return dev->recovery_count ? (double)info_us(r->dead_ns, r->serving_ns) / 1e6 : 0;
}

static double metrics_d0(const struct mgr_device *dev)
{
	return !strcmp(mgr_power_state(dev), "d0");
}

static double metrics_ups(const struct mgr_device *dev)
{
	uint64_t ups, downs;

	mgr_power_counts(dev, &ups, &downs);
	return (double)ups;
}

static double metrics_downs(const struct mgr_device *dev)
{
	uint64_t ups, downs;

	mgr_power_counts(dev, &ups, &downs);
	return (double)downs;
}

static double metrics_power_up(const struct mgr_device *dev)
{
	const struct au_status *status = dev->host ? dev->host->recorder.status : NULL;

	return status ? atomic_load(&status->power_up_us) / 1e6 : 0;
}

static void metrics_deaths(FILE *f, struct mgr *mgr)
{
	metrics_head(f, "deaths_total", "counter", "Hosts that died, by what they died of.");
	au_list_for_each (node, &mgr->devices) {
		const struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);

		for (unsigned int i = MGR_VERDICT_CRASH; i <= MGR_VERDICT_REQUEST; i++)
			fprintf(f, "auriga_deaths_total{device=\"%s\",verdict=\"%s\"} %llu\n",
				dev->spec.name, mgr_verdict_name(i),
				(unsigned long long)dev->deaths[i]);
	}
}

char *mgr_metrics(struct mgr *mgr)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	if (!f)
		return NULL;
	au_list_for_each (node, &mgr->devices) {
		struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);

		if (dev->host && dev->host->state == MGR_HOST_READY)
			mgr_device_credit(dev);
	}
	metrics_each(f, mgr, "device_up", "gauge", "Whether the device is served.", metrics_up);
	metrics_each(f, mgr, "device_quarantined", "gauge", "Whether its driver failed too often.",
		     metrics_quarantined);
	metrics_each(f, mgr, "device_generation", "gauge", "Hosts that the device has had.",
		     metrics_generation);
	metrics_each(f, mgr, "restarts_total", "counter", "Times that its host was restarted.",
		     metrics_restarts);
	metrics_each(f, mgr, "removals_total", "counter", "Times that it was pulled out.",
		     metrics_removals);
	metrics_each(f, mgr, "device_clients", "gauge", "Clients that have it open.",
		     metrics_clients);
	metrics_each(f, mgr, "requests_completed_total", "counter", "Requests completed.",
		     metrics_completed);
	metrics_each(f, mgr, "budget_tokens", "gauge", "Failures that it can still afford.",
		     metrics_tokens);
	metrics_each(f, mgr, "last_recovery_seconds", "gauge",
		     "From the last death to service again; 0: there was none.", metrics_recovery);
	metrics_each(f, mgr, "device_d0", "gauge", "Whether the device is at full power.",
		     metrics_d0);
	metrics_each(f, mgr, "power_ups_total", "counter", "Times that it came back from D3.",
		     metrics_ups);
	metrics_each(f, mgr, "power_downs_total", "counter", "Times that it went to D3.",
		     metrics_downs);
	metrics_each(f, mgr, "last_power_up_seconds", "gauge",
		     "What its last way from D3 to D0 took; 0: there was none.", metrics_power_up);
	metrics_head(f, "system_suspended", "gauge", "Whether the system's devices are suspended.");
	fprintf(f, "auriga_system_suspended %d\n", mgr->suspended);
	metrics_deaths(f, mgr);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}
