/* SPDX-License-Identifier: MIT */
/*
 * Power: what the manager wants is done by the framework, on the lane, and answered when it is
 * done; where the device is stands in the status page, which needs no answer.
 */
#include "host/host.h"

#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

struct host_power_job {
	struct host_job job;
	struct host *host;
	uint32_t verb, value, seq;
};

void host_power_show(struct host *host)
{
	static const enum au_power_shown shown[] = {
		[AUF_POWER_IS_OFF] = AU_SHOWN_NOTHING,
		[AUF_POWER_IS_D0] = AU_SHOWN_D0,
		[AUF_POWER_IS_GOING_DOWN] = AU_SHOWN_GOING_DOWN,
		[AUF_POWER_IS_D3] = AU_SHOWN_D3,
		[AUF_POWER_IS_GOING_UP] = AU_SHOWN_GOING_UP,
		[AUF_POWER_IS_SUSPENDED] = AU_SHOWN_SUSPENDED,
	};
	struct au_status *status = host->recorder.status;
	struct auf_power_info info;

	auf_device_power_info(host->device, &info);
	atomic_store(&status->power, shown[info.state]);
	atomic_store(&status->power_ups, (uint32_t)info.ups);
	atomic_store(&status->power_downs, (uint32_t)info.downs);
	atomic_store(&status->power_up_us, info.last_up_us);
	atomic_store(&status->power_down_us, info.last_down_us);
	atomic_store(&status->power_entry_us, info.entry_us);
	atomic_store(&status->power_exit_us, info.exit_us);
}

static void power_done(void *context, int result)
{
	struct host_power_job *p = context;
	struct au_hm_powered msg = { .head.type = AU_HM_POWERED, .seq = p->seq, .result = result };

	host_power_show(p->host);
	host_link_send(&p->host->link, &msg, sizeof(msg));
	free(p);
}

/* Lane 0. */
static void power_job(struct host *host, struct host_job *job)
{
	static const enum auf_power_verb verbs[] = {
		[AU_POWER_VERB_UP] = AUF_POWER_UP,
		[AU_POWER_VERB_DOWN] = AUF_POWER_DOWN,
		[AU_POWER_VERB_SUSPEND] = AUF_POWER_SUSPEND,
		[AU_POWER_VERB_RESUME] = AUF_POWER_RESUME,
	};
	struct host_power_job *p = (struct host_power_job *)job;
	int err;

	p->host = host;
	if (p->verb == AU_POWER_VERB_IDLE) {
		auf_device_set_idle(host->device, p->value);
		free(p);
		return;
	}
	err = auf_device_power(host->device, verbs[p->verb], power_done, p);
	if (err)
		power_done(p, err);
	else
		host_power_show(host);
}

void host_power(struct host *host, const struct au_hm_power *msg)
{
	struct host_power_job *p;

	if (msg->verb > AU_POWER_VERB_IDLE) {
		au_logf(AU_LOG_WARN, "%s: power verb %u is none that a host knows",
			host->start.name, msg->verb);
		return;
	}
	p = calloc(1, sizeof(*p));
	if (!p)
		abort();
	p->job.fn = power_job;
	p->verb = msg->verb;
	p->value = msg->value;
	p->seq = msg->seq;
	host_mailbox_post(&host->box, &p->job);
}

json_t *host_power_report(struct host *host)
{
	struct auf_power_info info;
	json_t *list = json_array();

	auf_device_power_info(host->device, &info);
	for (unsigned int i = 0; i < info.tag_count; i++)
		json_array_append_new(list, json_pack("{s:s, s:I}", "tag", info.tags[i].tag,
						      "count", (json_int_t)info.tags[i].count));
	return json_pack("{s:o, s:s}", "references", list, "why", info.why);
}
