/* SPDX-License-Identifier: MIT */
/*
 * What a dead host left behind: how it ended, where its driver was, what it noted last. The memory
 * was its own to write until it died, so everything is copied and checked; and where there is no
 * trace, as after a kill, this says so.
 */
#include "base/trace_read.h"
#include "manager/json.h"
#include "manager/manager.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVIDENCE_RECORDS 64

static json_t *evidence_records(const struct mgr_device *dev, const struct au_recorder *rec,
				uint64_t end_ns)
{
	const uint32_t all[AU_RECORDER_LANES] = { 0 };
	struct au_trace_view view;
	json_t *list = json_array();
	size_t first;

	if (au_trace_view(rec, all, false, &view))
		return list;
	first = view.count > EVIDENCE_RECORDS ? view.count - EVIDENCE_RECORDS : 0;
	for (size_t i = first; i < view.count; i++) {
		const struct au_trace_item *item = &view.items[i];
		uint64_t before_ns = item->time_ns <= end_ns ? end_ns - item->time_ns : 0;
		json_t *o = mgr_trace_record(dev, &view, item);

		json_object_set_new(o, "before_us", json_integer((json_int_t)(before_ns / 1000)));
		json_array_append_new(list, o);
	}
	au_trace_view_free(&view);
	return list;
}

static json_t *evidence_frame(const struct au_crash *crash, uint64_t address)
{
	char hex[24];
	json_t *o = json_object();

	snprintf(hex, sizeof(hex), "0x%llx", (unsigned long long)address);
	json_object_set_new(o, "address", json_string(hex));
	for (uint32_t i = 0; i < crash->module_count && i < 32; i++) {
		char path[sizeof(crash->modules[i].path) + 1];
		uint8_t size = crash->modules[i].build_id_size;

		if (address < crash->modules[i].start || address >= crash->modules[i].end)
			continue;
		memcpy(path, crash->modules[i].path, sizeof(crash->modules[i].path));
		path[sizeof(path) - 1] = 0;
		for (char *c = path; *c; c++)
			if ((unsigned char)*c < 0x20 || *c == 0x7f)
				*c = '?';
		json_object_set_new(o, "module", mgr_json_string(path));
		json_object_set_new(o, "offset",
				    json_integer((json_int_t)(address - crash->modules[i].start +
							      crash->modules[i].offset)));
		if (size > sizeof(crash->modules[i].build_id))
			size = sizeof(crash->modules[i].build_id);
		mgr_json_set_hex(o, "build_id", crash->modules[i].build_id, size);
		break;
	}
	return o;
}

static void evidence_crash(json_t *o, const struct au_recorder *rec)
{
	struct au_crash *crash = malloc(sizeof(*crash));
	json_t *frames = json_array(), *regs = json_array();
	char hex[24];

	json_object_set_new(o, "frames", frames);
	json_object_set_new(o, "registers", regs);
	if (!crash)
		return;
	memcpy(crash, rec->crash, sizeof(*crash));
	snprintf(hex, sizeof(hex), "0x%llx", (unsigned long long)crash->address);
	json_object_set_new(o, "fault_address", json_string(hex));
	json_object_set_new(o, "code", json_integer(crash->code));
	json_object_set_new(o, "lane", json_integer(crash->lane));
	for (uint32_t i = 0; i < crash->frame_count && i < 64; i++)
		json_array_append_new(frames, evidence_frame(crash, crash->frames[i]));
	for (unsigned int i = 0; i < 24; i++) {
		snprintf(hex, sizeof(hex), "0x%llx", (unsigned long long)crash->regs[i]);
		json_array_append_new(regs, json_string(hex));
	}
	free(crash);
}

static const char *evidence_no_trace(enum mgr_verdict verdict)
{
	switch (verdict) {
	case MGR_VERDICT_KILLED:
	case MGR_VERDICT_REQUEST:
		return "It was killed from outside: there is no trace of its own to show.";
	case MGR_VERDICT_HANG:
	case MGR_VERDICT_STOPPED:
	case MGR_VERDICT_START:
		return "It was killed because it did not answer: there is no trace of where it "
		       "was. 'auriga hold' keeps the next one for a debugger.";
	case MGR_VERDICT_CRASH:
		return "It died before it could write down where it was.";
	default:
		return "It ended without a crash: there is no trace to show.";
	}
}

json_t *mgr_evidence(struct mgr_device *dev, struct mgr_host *host, enum mgr_verdict verdict,
		     int signal, const char *text)
{
	const struct au_recorder *rec = host->recorder.status ? &host->recorder : NULL;
	bool crashed = rec && verdict == MGR_VERDICT_CRASH &&
		       atomic_load_explicit(&rec->status->crashed, memory_order_relaxed);
	const char *abbrev = signal ? sigabbrev_np(signal) : NULL;
	char name[24] = "";
	json_t *o;

	if (signal)
		snprintf(name, sizeof(name), "SIG%s", abbrev ? abbrev : "?");
	o = json_pack("{s:s s:s s:o s:i s:i s:I s:b s:o}", "name", dev->spec.name, "verdict",
		      mgr_verdict_name(verdict), "text", mgr_json_string(text), "generation",
		      (int)host->generation, "pid", (int)host->pid, "time_ms",
		      (json_int_t)mgr_wall_ms(), "own_fault",
		      verdict == MGR_VERDICT_CRASH || verdict == MGR_VERDICT_HANG, "driver",
		      json_pack("{s:s s:s s:o}", "name", dev->driver_name, "version",
				dev->note.version, "path", mgr_json_string(dev->driver_path)));
	if (!o)
		return NULL;
	if (signal) {
		json_object_set_new(o, "signal", json_integer(signal));
		json_object_set_new(o, "signal_name", json_string(name));
	}
	if (crashed)
		evidence_crash(o, rec);
	else
		json_object_set_new(o, "no_trace", json_string(evidence_no_trace(verdict)));
	json_object_set_new(o, "records",
			    rec ? evidence_records(dev, rec, dev->current.dead_ns) : json_array());
	return o;
}
