/* SPDX-License-Identifier: MIT */
/*
 * Asynchronous events [5.2]. Each is told once, until the log page that it names is read; what it
 * means is found out there.
 */
#include "nvme.h"

#define EVENTS_MS	  3000u
#define EVENTS_ERROR_SIZE 64u
#define EVENTS_LOG_SIZE	  512u

static bool events_ask(struct nvme *n);

static void events_told(struct nvme *n, uint16_t status, uint32_t dw0)
{
	n->aers--;
	if (status) {
		/* It takes fewer than it says. */
		if (!n->aers)
			au_log(n->dev, AU_LOG_WARN, "no asynchronous events, status 0x%x", status);
		return;
	}
	if (EVENT_TYPE(dw0) == EVENT_ERROR)
		au_log(n->dev, AU_LOG_WARN, "the controller reports an error, information 0x%02x",
		       EVENT_INFO(dw0));
	n->warned |= EVENT_LOG(dw0) == LOG_HEALTH;
	if (EVENT_LOG(dw0) < 32)
		n->logs |= 1u << EVENT_LOG(dw0);
	events_ask(n);
	nvme_events_look(n);
}

/* Returns whether it could be asked. */
static bool events_ask(struct nvme *n)
{
	struct nvme_sqe cmd = { .opcode = ADMIN_ASYNC_EVENT };

	if (n->gone || nvme_admin_send(n, &cmd, true, events_told) != 0)
		return false;
	n->aers++;
	return true;
}

void nvme_events_begin(struct nvme *n)
{
	while (n->aers < n->aer_limit && n->aers < NVME_AERS && n->aers < n->admin.size / 2 &&
	       events_ask(n))
		;
	nvme_events_look(n);
}

/* --------------------------------------------------------------- what was told */

static int log_begin(struct nvme *n)
{
	uint32_t size = n->log == LOG_ERROR	   ? EVENTS_ERROR_SIZE
			: n->log == LOG_NAMESPACES ? NSID_LIST_MAX * 4
						   : EVENTS_LOG_SIZE;
	struct nvme_sqe cmd = { .opcode = ADMIN_GET_LOG,
				.nsid = UINT32_MAX,
				.prp1 = n->data.addr,
				.cdw10 = n->log | LOG_DWORDS(size) };

	if (n->log == LOG_NAMESPACES)
		n->rescan = true;
	return nvme_step_send(n, &cmd);
}

static int log_take(struct nvme *n, uint16_t status, uint32_t dw0)
{
	uint8_t warning = n->answer[HEALTH_WARNING];

	if (n->log != LOG_HEALTH)
		return 0;
	if (n->report && status)
		nvme_health_refused(n, status);
	else if (n->report)
		nvme_health_told(n, n->answer);
	if (status || !n->warned)
		return 0;
	n->warned = false;
	au_log(n->dev, AU_LOG_WARN, "health: critical warning 0x%02x (SMART log)", warning);
	for (struct nvme_ns *ns = n->ns; ns < &n->ns[NVME_NAMESPACES]; ns++)
		if (ns->block)
			au_unit_event(au_block_unit(ns->block), AU_BLOCK_EVENT_HEALTH, 1, warning,
				      0);
	return 0;
}

static const struct nvme_step events_steps[] = {
	{ "Get Log Page", EVENTS_MS, log_begin, NULL, log_take },
	{ "the list of namespaces", EVENTS_MS, nvme_list_begin, NULL, nvme_list_take },
	{ "Identify Namespace", EVENTS_MS, nvme_namespace_begin, NULL, nvme_namespace_take },
	{ NULL, 0, NULL, NULL, NULL },
};

static void events_looked(struct nvme *n, int err)
{
	if (err == -AU_ETIMEDOUT || err == -AU_EPROTO)
		nvme_reset(n, "no answer to what an event asked for");
	else
		nvme_events_look(n);
}

void nvme_events_look(struct nvme *n)
{
	/* It is asked for once more when a reset came in between. */
	if (n->report)
		n->logs |= 1u << LOG_HEALTH;
	if (n->step || !n->logs || n->waits || n->gone || n->failed)
		return;
	n->log = (uint32_t)__builtin_ctz(n->logs);
	n->logs &= n->logs - 1;
	nvme_steps_begin(n, events_steps, events_looked);
}
