/* SPDX-License-Identifier: MIT */
/*
 * What the device is doing, for `auriga why-stuck`: the lane says it; where that does not, the main
 * thread says so, and the manager makes do with the status page.
 */
#include "host/host.h"

#include "base/operation.h"
#include "base/os.h"

#include <stdlib.h>

#define DESCRIBE_MS 200

static json_t *describe_requests(const struct auf_description *d)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < d->request_count; i++) {
		const struct auf_request_description *r = &d->requests[i];
		char op[32];

		json_array_append_new(
			list,
			json_pack("{s:s, s:i, s:i, s:I, s:I, s:I, s:s, s:b, s:b, s:I, s:b, s:b}",
				  "operation", au_operation_name(r->cls, r->op, op, sizeof(op)),
				  "unit", (int)r->unit, "lane", (int)r->lane, "slot",
				  (json_int_t)r->slot, "length", (json_int_t)r->length, "age_ms",
				  (json_int_t)r->age_ms, "owner", r->owner, "cancel_asked",
				  r->cancel_asked, "cancelable", r->cancelable, "overdue_ms",
				  (json_int_t)r->overdue_ms, "suspect", r->suspect, "kept",
				  r->kept));
	}
	return list;
}

static json_t *describe_queues(const struct auf_description *d)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < d->queue_count; i++) {
		const struct auf_queue_description *q = &d->queues[i];

		json_array_append_new(list, json_pack("{s:i, s:i, s:i, s:s, s:I, s:I, s:I, s:s}",
						      "unit", (int)q->unit, "queue", (int)q->number,
						      "lane", (int)q->lane, "state", q->state,
						      "waiting", (json_int_t)q->waiting, "owned",
						      (json_int_t)q->owned, "kept",
						      (json_int_t)q->kept, "why", q->why));
	}
	return list;
}

static json_t *describe_interrupts(const struct auf_description *d)
{
	if (!d->irq)
		return json_null();
	return json_pack("{s:s, s:b, s:b, s:I, s:I, s:I}", "kind", d->irq, "on", d->irq_on,
			 "polling", d->irq_polling, "storms", (json_int_t)d->irq_storms, "arrived",
			 (json_int_t)d->irq_total, "unclaimed", (json_int_t)d->irq_unclaimed);
}

static json_t *describe_power(struct host *host)
{
	json_t *o = host_power_report(host);
	struct auf_power_info info;

	auf_device_power_info(host->device, &info);
	json_object_set_new(o, "state", json_string(auf_power_state_name(info.state)));
	return o;
}

static json_t *describe_device(struct host *host)
{
	struct auf_description d;
	json_t *o;

	auf_device_describe(host->device, &d);
	o = json_pack("{s:b, s:{s:s, s:I, s:b, s:b, s:b, s:b, s:b, s:i, s:i, s:i, s:i}}",
		      "lane_answers", true, "device", "state", d.state, "state_ms",
		      (json_int_t)d.state_ms, "in_step", d.running, "gone", d.gone, "stopping",
		      d.stopping, "gate_open", d.gate_open, "suspect_alone", d.alone, "handles",
		      (int)d.handles, "outstanding", (int)d.outstanding, "owned", (int)d.owned,
		      "queues_left_out", (int)d.queues_left_out);
	if (!o)
		abort();
	json_object_set_new(o, "requests", describe_requests(&d));
	json_object_set_new(o, "queues", describe_queues(&d));
	json_object_set_new(o, "interrupts", describe_interrupts(&d));
	json_object_set_new(o, "power", describe_power(host));
	json_object_set_new(o, "history", host_report_history(host));
	return o;
}

static void describe_send(struct host *host, json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	json_decref(o);
	if (!text)
		abort();
	host_link_text(&host->link, AU_HM_DESCRIPTION, text);
	free(text);
}

static void describe_job(struct host *host, struct host_job *job)
{
	int posted = HOST_QUERY_POSTED;

	free(job);
	if (!atomic_compare_exchange_strong(&host->describe, &posted, HOST_QUERY_TAKEN))
		return;
	describe_send(host, describe_device(host));
	atomic_store(&host->describe, HOST_QUERY_NONE);
}

void host_describe(struct host *host)
{
	struct host_job *job;
	int none = HOST_QUERY_NONE;

	/* One under way answers for both. */
	if (!atomic_compare_exchange_strong(&host->describe, &none, HOST_QUERY_POSTED))
		return;
	job = calloc(1, sizeof(*job));
	if (!job)
		abort();
	job->fn = describe_job;
	host->describe_due_ms = au_os_now_ns() / 1000000 + DESCRIBE_MS;
	host_mailbox_post(&host->box, job);
}

void host_describe_due(struct host *host)
{
	int posted = HOST_QUERY_POSTED;

	host->describe_due_ms = 0;
	if (atomic_compare_exchange_strong(&host->describe, &posted, HOST_QUERY_NONE))
		describe_send(host, json_pack("{s:b}", "lane_answers", false));
}
