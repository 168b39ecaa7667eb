/* SPDX-License-Identifier: MIT */
/*
 * log.c: 5.14 Get Log Page and 5.2 Asynchronous Event Request.
 *
 * Of each type of event one is reported, and the next one when the log page that it names has been
 * read; what happens meanwhile is in that page.
 */
#include "nvme.h"

#include <string.h>

#define LOG_RETAIN	 (1u << 15) /* Retain Asynchronous Event, in dword 10 */
#define LOG_PAGE_MAX	 4096u
#define LOG_TEMPERATURE	 303u	   /* kelvins */
#define EVENTS_NAMESPACE (1u << 8) /* in the feature: Namespace Attribute Notices */
#define EVENTS_HEALTH	 0xffu	   /* which critical warnings are events */

static void put(uint8_t *at, uint64_t value, unsigned int bytes)
{
	memcpy(at, &value, bytes);
}

/* ------------------------------------------------------------------- events */

static void events_send(struct nvme *nvme)
{
	for (unsigned int type = 0; type < NVME_EVENTS && nvme->aers; type++) {
		struct nvme_event *event = &nvme->event[type];
		uint16_t cid;

		if (!event->pending || event->sent)
			continue;
		event->pending = false;
		event->sent = true;
		cid = nvme->aer_cid[0];
		nvme->aers--;
		memmove(nvme->aer_cid, nvme->aer_cid + 1, nvme->aers * sizeof(cid));
		nvme_complete(nvme, 0, cid, NVME_OK,
			      type | (uint32_t)event->info << 8 | (uint32_t)event->log << 16, 0);
	}
}

void nvme_raise(struct nvme *nvme, unsigned int type, uint8_t info, uint8_t log)
{
	uint32_t config = nvme->feature[NVME_FEAT_EVENTS];

	if (!nvme->sq[0].live || (type == NVME_EVENT_NOTICE && !(config & EVENTS_NAMESPACE)) ||
	    (type == NVME_EVENT_HEALTH && !(config & EVENTS_HEALTH & nvme->health)))
		return;
	nvme->event[type].pending = true;
	nvme->event[type].info = info;
	nvme->event[type].log = log;
	if (nvme->running)
		events_send(nvme);
}

uint16_t nvme_async_event(struct nvme *nvme, const struct nvme_sqe *cmd)
{
	if (nvme->aers == NVME_AERS)
		return NVME_AER_LIMIT;
	nvme->aer_cid[nvme->aers++] = cmd->cid;
	events_send(nvme);
	return NVME_LATER;
}

/* Reading a page lets the next event of its type through. */
static void events_read(struct nvme *nvme, unsigned int log)
{
	for (unsigned int type = 0; type < NVME_EVENTS; type++)
		if (nvme->event[type].sent && nvme->event[type].log == log)
			nvme->event[type].sent = false;
	events_send(nvme);
}

/* -------------------------------------------------------------------- pages */

void nvme_log_error(struct nvme *nvme, uint16_t sqid, const struct nvme_sqe *cmd, uint16_t status)
{
	uint64_t count = ++nvme->error_count;

	nvme->errors[count % NVME_ERRORS] = (struct nvme_error){
		.count = count,
		.sqid = sqid,
		.cid = cmd->cid,
		.status = (uint16_t)(status << 1),
		.where = 0xffff,
		.lba = sqid ? cmd->cdw10 | (uint64_t)cmd->cdw11 << 32 : 0,
		.nsid = cmd->nsid,
	};
}

static uint32_t log_errors(const struct nvme *nvme, uint8_t *p)
{
	for (uint64_t i = 0; i < NVME_ERRORS && i < nvme->error_count; i++, p += 64) {
		const struct nvme_error *e = &nvme->errors[(nvme->error_count - i) % NVME_ERRORS];

		put(p, e->count, 8);
		put(p + 8, e->sqid, 2);
		put(p + 10, e->cid, 2);
		put(p + 12, e->status, 2);
		put(p + 14, e->where, 2);
		put(p + 16, e->lba, 8);
		put(p + 24, e->nsid, 4);
	}
	return 64 * NVME_ERRORS;
}

static uint32_t log_health(const struct nvme *nvme, uint8_t *p)
{
	const uint64_t *io = nvme->stats.io;

	p[0] = nvme->health;
	put(p + 1, LOG_TEMPERATURE, 2);
	p[3] = 100; /* available spare, per cent */
	p[4] = 10;  /* its threshold */
	put(p + 64, io[NVME_IO_READ], 8);
	put(p + 80, io[NVME_IO_WRITE], 8);
	put(p + 112, 1, 8);		    /* power cycles */
	put(p + 176, nvme->error_count, 8); /* entries of the error log */
	return 512;
}

static uint32_t log_firmware(uint8_t *p)
{
	p[0] = 1;
	put(p + 8, 0x2020202020202031, 8); /* "1", filled with blanks */
	return 512;
}

/* Reading it clears it, as the event: unless that is retained. */
static uint32_t log_namespaces(struct nvme *nvme, uint8_t *p, bool retain)
{
	for (uint32_t i = 0; i < nvme->opt.namespaces; i++) {
		if (!nvme->ns[i].changed)
			continue;
		put(p, i + 1, 4);
		p += 4;
		if (!retain)
			nvme->ns[i].changed = false;
	}
	return 4096;
}

uint16_t nvme_get_log(struct nvme *nvme, const struct nvme_sqe *cmd)
{
	uint8_t page[LOG_PAGE_MAX] = { 0 };
	unsigned int log = cmd->cdw10 & 0xff;
	bool retain = cmd->cdw10 & LOG_RETAIN;
	uint64_t size = (((uint64_t)(cmd->cdw11 & 0xffff) << 16 | cmd->cdw10 >> 16) + 1) * 4;
	uint64_t from = cmd->cdw12 | (uint64_t)cmd->cdw13 << 32;
	uint32_t have;
	uint16_t status;

	if (log == NVME_LOG_ERROR)
		have = log_errors(nvme, page);
	else if (log == NVME_LOG_HEALTH)
		have = log_health(nvme, page);
	else if (log == NVME_LOG_FIRMWARE)
		have = log_firmware(page);
	else if (log == NVME_LOG_NAMESPACES)
		have = log_namespaces(nvme, page, retain);
	else
		return NVME_LOG_INVALID;
	if (from > have || from % 4 || size > LOG_PAGE_MAX)
		return NVME_INVALID_FIELD;
	/* What is beyond the page's end is not defined: zeroes. */
	memmove(page, page + from, have - from);
	memset(page + (have - from), 0, from);
	status = nvme_give(nvme, cmd, page, (uint32_t)size);
	if (!status && !retain)
		events_read(nvme, log);
	return status;
}
