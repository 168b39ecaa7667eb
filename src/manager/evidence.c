/* SPDX-License-Identifier: MIT */
/*
 * What a dead host left behind: how it ended, where its driver was, what it noted last. The memory
 * was its own to write until it died, so everything is copied and checked; and where there is no
 * trace, as after a kill, this says so.
 */
#include "base/trace.h"
#include "manager/json.h"
#include "manager/manager.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EVIDENCE_RECORDS 64

struct evidence_record {
	uint64_t time_ns;
	uint32_t seq;
	unsigned int lane;
	struct au_record copy;
};

static int evidence_newest_first(const void *pa, const void *pb)
{
	const struct evidence_record *a = pa, *b = pb;

	if (a->time_ns != b->time_ns)
		return a->time_ns < b->time_ns ? 1 : -1;
	return a->seq < b->seq ? 1 : a->seq > b->seq ? -1 : 0;
}

/* A line of text is spread over records; each says how much of the line is left from it on. */
static json_t *evidence_text(const struct au_record *r)
{
	char text[sizeof(r->text) + 1];
	size_t length = r->length < sizeof(r->text) ? r->length : sizeof(r->text);

	memcpy(text, r->text, length);
	text[length] = 0;
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	return mgr_json_string(text);
}

static json_t *evidence_record(const struct evidence_record *e, uint64_t end_ns)
{
	const char *name = au_trace_name(e->copy.point);
	json_int_t before_us =
		e->time_ns <= end_ns ? (json_int_t)((end_ns - e->time_ns) / 1000) : 0;
	json_t *o = json_pack("{s:I s:i}", "before_us", before_us, "lane", (int)e->lane);
	char number[16];

	snprintf(number, sizeof(number), "%u", e->copy.point);
	json_object_set_new(o, "point", json_string(name ? name : number));
	if (e->copy.point == AU_TRACE_log) {
		json_object_set_new(o, "text", evidence_text(&e->copy));
		json_object_set_new(o, "more", json_boolean(e->copy.length > sizeof(e->copy.text)));
	} else {
		json_t *args = json_array();

		for (unsigned int i = 0; i < 3; i++)
			json_array_append_new(args, json_integer((json_int_t)e->copy.arg[i]));
		json_object_set_new(o, "args", args);
	}
	return o;
}

static json_t *evidence_records(const struct au_recorder *rec, uint64_t end_ns)
{
	const size_t most = (size_t)AU_RECORDER_LANES * AU_RECORDER_RECORDS;
	struct evidence_record *all = calloc(most, sizeof(*all));
	json_t *list = json_array();
	size_t count = 0;

	for (unsigned int i = 0; all && i < most; i++) {
		struct evidence_record *e = &all[count];

		e->copy = rec->records[i];
		e->seq = atomic_load_explicit(&e->copy.seq, memory_order_relaxed);
		e->time_ns = e->copy.time_ns;
		e->lane = i / AU_RECORDER_RECORDS;
		if (e->seq)
			count++;
	}
	if (count)
		qsort(all, count, sizeof(*all), evidence_newest_first);
	if (count > EVIDENCE_RECORDS)
		count = EVIDENCE_RECORDS;
	while (count)
		json_array_append_new(list, evidence_record(&all[--count], end_ns));
	free(all);
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
			    rec ? evidence_records(rec, dev->current.dead_ns) : json_array());
	return o;
}
