/* SPDX-License-Identifier: MIT */
/* How the device is: the SMART / Health Information log [5.14.1.2], for whoever asks. */
#include "nvme.h"

#define KELVIN 273

/* Numbers of 128 bits, as far as they go. */
static int64_t health_long(const uint8_t *p)
{
	uint64_t low = nvme_get64(p), high = nvme_get64(p + 8);

	return high || low > INT64_MAX ? INT64_MAX : (int64_t)low;
}

static void health_warnings(struct au_report *report, uint8_t warning)
{
	static const char *const names[] = { "spare",	  "temperature", "reliability",
					     "read-only", "backup",	 "persistent-memory" };
	char text[80];
	unsigned int used = 0;

	for (unsigned int i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!(warning & (1u << i)))
			continue;
		if (used)
			text[used++] = ' ';
		for (const char *c = names[i]; *c; c++)
			text[used++] = *c;
	}
	text[used] = '\0';
	au_report_number(report, "critical_warning", warning);
	au_report_text(report, "critical_warnings", used ? text : "none");
}

void nvme_health_told(struct nvme *n, const uint8_t *log)
{
	static const struct {
		const char *key;
		uint32_t at;
	} counts[] = {
		{ "data_units_read", HEALTH_UNITS_READ },
		{ "data_units_written", HEALTH_UNITS_WRITTEN },
		{ "host_reads", HEALTH_READS },
		{ "host_writes", HEALTH_WRITES },
		{ "busy_minutes", HEALTH_BUSY },
		{ "power_cycles", HEALTH_CYCLES },
		{ "power_on_hours", HEALTH_HOURS },
		{ "unsafe_shutdowns", HEALTH_UNSAFE },
		{ "media_errors", HEALTH_MEDIA },
		{ "error_log_entries", HEALTH_ERRORS },
	};
	struct au_report *report = n->report;
	uint16_t kelvins = nvme_get16(log + HEALTH_TEMPERATURE);

	n->report = NULL;
	health_warnings(report, log[HEALTH_WARNING]);
	if (kelvins)
		au_report_number(report, "temperature_celsius", kelvins - KELVIN);
	au_report_number(report, "spare_percent", log[HEALTH_SPARE]);
	au_report_number(report, "spare_threshold_percent", log[HEALTH_THRESHOLD]);
	au_report_number(report, "used_percent", log[HEALTH_USED]);
	for (unsigned int i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		au_report_number(report, counts[i].key, health_long(log + counts[i].at));
	au_report_number(report, "controller_resets", n->resets);
	au_report_done(report);
}

void nvme_health_refused(struct nvme *n, uint16_t status)
{
	struct au_report *report = n->report;

	n->report = NULL;
	au_report_text(report, "health", "the controller has no such log");
	au_report_number(report, "health_status", status);
	au_report_done(report);
}

void nvme_report(struct au_device *dev, struct au_report *report)
{
	struct nvme *n = au_context(dev);

	n->report = report;
	nvme_events_look(n);
}
