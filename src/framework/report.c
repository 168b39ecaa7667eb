/* SPDX-License-Identifier: MIT */
/*
 * A driver's report about its device: keys and values, for people. It may ask the hardware first,
 * so it ends when it ends; whoever wants it waits for a bounded time.
 */
#include "framework/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define REPORT_MS 150u

static void report_tell(struct au_report *report, const struct auf_report_entry *entries,
			unsigned int count, const char *why)
{
	auf_report_fn done = report->done;

	report->done = NULL;
	auf_timeout_clear(report->dev->lane, &report->timeout);
	if (done)
		done(report->context, entries, count, why);
}

static void report_late(struct auf_timeout *timeout)
{
	struct au_report *report = AU_CONTAINER(timeout, struct au_report, timeout);
	char why[64];

	snprintf(why, sizeof(why), "the driver does not answer within %u ms", REPORT_MS);
	report_tell(report, NULL, 0, why);
}

void auf_report_init(struct au_device *dev)
{
	dev->report.dev = dev;
	dev->report.timeout.fn = report_late;
}

void auf_report_end(struct au_device *dev)
{
	dev->report.open = false;
	report_tell(&dev->report, NULL, 0, "the device is not up");
}

bool auf_device_reports(const struct au_device *dev)
{
	return dev->driver.report != NULL;
}

int auf_device_report(struct au_device *dev, auf_report_fn done, void *context)
{
	struct au_report *report = &dev->report;

	if (!dev->driver.report)
		return -ENOTSUP;
	if (report->done)
		return -EBUSY;
	report->done = done;
	report->context = context;
	if (!auf_machine_runs(dev)) {
		report_tell(report, NULL, 0,
			    dev->asleep ? "the device sleeps" : "the device is not up");
		return 0;
	}
	auf_timeout_set(dev->lane, &report->timeout, REPORT_MS);
	/* One that was asked before, and is late, answers this, too. */
	if (!report->open) {
		report->open = true;
		report->count = 0;
		dev->driver.report(dev, report);
	}
	return 0;
}

/* ------------------------------------------------------------------ the driver's */

static bool report_key_ok(const char *key)
{
	size_t length = strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_");

	return length && !key[length] && length < sizeof(((struct auf_report_entry *)0)->key);
}

static struct auf_report_entry *report_entry(struct au_report *report, const char *key)
{
	struct auf_report_entry *e;

	if (!report->open || report->count == AUF_REPORT_ENTRIES)
		return NULL;
	if (!report_key_ok(key)) {
		au_log(report->dev, AU_LOG_WARN,
		       "au_report: '%.48s' is no key: a-z, 0-9 and _, at most %zu", key,
		       sizeof(e->key) - 1);
		return NULL;
	}
	e = &report->entries[report->count++];
	memset(e, 0, sizeof(*e));
	memcpy(e->key, key, strlen(key) + 1);
	return e;
}

void au_report_number(struct au_report *report, const char *key, int64_t value)
{
	struct auf_report_entry *e = report_entry(report, key);

	if (e)
		e->number = value;
}

void au_report_text(struct au_report *report, const char *key, const char *text)
{
	struct auf_report_entry *e = report_entry(report, key);

	if (!e)
		return;
	e->is_text = true;
	snprintf(e->text, sizeof(e->text), "%s", text);
	for (char *c = e->text; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
}

void au_report_done(struct au_report *report)
{
	if (!report->open)
		return; /* the device went down meanwhile */
	report->open = false;
	report_tell(report, report->entries, report->count, NULL);
}
