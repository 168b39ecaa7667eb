/* SPDX-License-Identifier: MIT */
/*
 * fault.c: faults: their specifications, and which command meets which.
 *
 *	[COMMAND-]KIND[=VALUE][,KEY=VALUE]...
 *
 * are faults of commands, without a COMMAND of all I/O commands; what is of the controller as a
 * whole happens at once (fault_state()).
 */
#include "nvme.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SPEC_MAX  256
#define LATE_MAX  3600000u
#define LATE_MS	  10u
#define MIX_COUNT 8u
#define STATUS	  0x281u /* Unrecovered Read Error */

const char *const nvme_fault_names[NVME_FAULT_KINDS] = {
	[NVME_FAULT_STATUS] = "status",
	[NVME_FAULT_TIMEOUT] = "timeout",
	[NVME_FAULT_LATE] = "late",
	[NVME_FAULT_REORDER] = "reorder",
	[NVME_FAULT_LOST_IRQ] = "lost-interrupt",
	[NVME_FAULT_CID] = "wrong-cid",
	[NVME_FAULT_PHASE] = "wrong-phase",
	[NVME_FAULT_TWICE] = "duplicate",
};

static const struct {
	const char *name;
	bool admin;
	uint8_t opcode;
} opcodes[] = {
	{ "read", false, NVME_IO_READ },
	{ "write", false, NVME_IO_WRITE },
	{ "flush", false, NVME_IO_FLUSH },
	{ "compare", false, NVME_IO_COMPARE },
	{ "write-zeroes", false, NVME_IO_WRITE_ZEROES },
	{ "dsm", false, NVME_IO_DSM },
	{ "delete-sq", true, NVME_ADM_DELETE_SQ },
	{ "create-sq", true, NVME_ADM_CREATE_SQ },
	{ "delete-cq", true, NVME_ADM_DELETE_CQ },
	{ "create-cq", true, NVME_ADM_CREATE_CQ },
	{ "get-log", true, NVME_ADM_GET_LOG },
	{ "identify", true, NVME_ADM_IDENTIFY },
	{ "abort", true, NVME_ADM_ABORT },
	{ "set-features", true, NVME_ADM_SET_FEATURES },
	{ "get-features", true, NVME_ADM_GET_FEATURES },
	{ "async-event", true, NVME_ADM_ASYNC_EVENT },
	{ "dbbuf", true, NVME_ADM_DBBUF },
};

#define NUM_OPCODES (sizeof(opcodes) / sizeof(opcodes[0]))

static int opcode_of(const char *name, size_t length, bool *admin)
{
	for (size_t i = 0; i < NUM_OPCODES; i++) {
		if (strlen(opcodes[i].name) == length &&
		    memcmp(opcodes[i].name, name, length) == 0) {
			*admin = opcodes[i].admin;
			return opcodes[i].opcode;
		}
	}
	return -1;
}

const char *nvme_opcode_name(bool admin, uint8_t opcode)
{
	for (size_t i = 0; i < NUM_OPCODES; i++)
		if (opcodes[i].admin == admin && opcodes[i].opcode == opcode)
			return opcodes[i].name;
	return NULL;
}

/* ------------------------------------------------------------------ parsing */

struct spec {
	char *why;
	size_t why_size;
	uint64_t value;
	bool has_value, config;
	struct nvme_fault fault;
};

static int spec_fail(const struct spec *spec, const char *what, const char *advice)
{
	snprintf(spec->why, spec->why_size, "'%.60s': %s", what, advice);
	return -EINVAL;
}

/* A number, with 0x if need be, and K, M or G. */
static bool spec_number(const char *text, uint64_t *value, char **end)
{
	static const char units[] = "KMG";
	const char *unit;
	uint64_t n;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	n = strtoull(text, end, 0);
	unit = **end ? strchr(units, **end) : NULL;
	if (unit) {
		unsigned int shift = 10 * (unsigned int)(unit - units + 1);

		if (n > UINT64_MAX >> shift)
			return false;
		n <<= shift;
		(*end)++;
	}
	*value = n;
	return errno == 0;
}

static int spec_key(struct spec *spec, const char *key, const char *text)
{
	struct nvme_fault *f = &spec->fault;
	const struct {
		const char *name;
		uint64_t *to;
	} counts[] = { { "every", &f->every }, { "count", &f->count }, { "after", &f->after } };
	uint64_t value = 0;
	char *end;

	if (!spec_number(text, &value, &end))
		return spec_fail(spec, text, "not a number");
	if (strcmp(key, "lba") == 0) {
		f->lba = true;
		f->first = f->last = value;
		if (*end == '-' && (!spec_number(end + 1, &f->last, &end) || f->last < f->first))
			return spec_fail(spec, text, "blocks are FIRST or FIRST-LAST");
	}
	if (*end)
		return spec_fail(spec, text, "not a number");
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		if (strcmp(key, counts[i].name) == 0)
			return *counts[i].to = value, 0;
	if (strcmp(key, "nsid") == 0)
		f->nsid = (uint32_t)value;
	else if (strcmp(key, "qid") == 0)
		f->qid = (int)(value & 0xffff);
	else if (strcmp(key, "config") == 0)
		spec->config = value;
	else if (strcmp(key, "lba") != 0)
		return spec_fail(spec, key, "keys are every, count, after, lba, nsid, qid, config");
	return 0;
}

/* -------------------------------------------------- faults of the controller */

static void fault_clear(struct nvme *nvme)
{
	nvme->num_faults = 0;
	nvme->never_ready = false;
	nvme->health = 0;
	if (nvme->all_ones) { /* it is plugged in again: it has forgotten everything */
		nvme->all_ones = false;
		nvme_config_init(nvme);
		nvme_function_reset(nvme);
		nvme_dma_enable(&nvme->dma, nvme_masters(nvme));
	}
	if (nvme->sq[0].live && !(nvme->csts & NVME_CSTS_CFS))
		nvme->csts |= NVME_CSTS_RDY;
	nvme_update(nvme);
}

/* Return: 1 when @name is none of these. */
static int fault_state(struct nvme *nvme, const char *name, const struct spec *spec)
{
	uint32_t nsid = spec->has_value ? (uint32_t)spec->value : 1;
	int err = 0;

	if (strcmp(name, "clear") == 0) {
		fault_clear(nvme);
	} else if (strcmp(name, "cfs") == 0) {
		nvme_fatal(nvme);
	} else if (strcmp(name, "all-ones") == 0) {
		nvme->all_ones = true;
		nvme->config_answers = spec->config;
	} else if (strcmp(name, "never-ready") == 0) {
		nvme->never_ready = true;
	} else if (strcmp(name, "health") == 0) {
		nvme->health = spec->has_value ? (uint8_t)spec->value : 1;
		/* Its information says which: reliability, temperature, spare. */
		nvme_raise(nvme, NVME_EVENT_HEALTH,
			   nvme->health & 1   ? 2
			   : nvme->health & 2 ? 1
					      : 0,
			   NVME_LOG_HEALTH);
	} else if (strcmp(name, "remove") == 0) {
		err = nvme_ns_show(nvme, nsid, false);
	} else if (strcmp(name, "add") == 0) {
		err = nvme_ns_show(nvme, nsid, true);
	} else if (strcmp(name, "resize") == 0) {
		err = nvme_ns_resize(nvme, spec->fault.nsid ? spec->fault.nsid : 1, spec->value);
	} else {
		return 1;
	}
	nvme_update(nvme);
	return err ? spec_fail(spec, name, "no such namespace, it is so already, or no such size")
		   : 0;
}

/* ------------------------------------------------------ faults of commands */

/* Return: 1 when @name is none of these. */
static int fault_name(struct spec *spec, const char *name)
{
	struct nvme_fault *f = &spec->fault;
	size_t length = strlen(name);

	for (unsigned int kind = 0; kind < NVME_FAULT_KINDS; kind++) {
		size_t tail = strlen(nvme_fault_names[kind]);

		if (length < tail || strcmp(name + length - tail, nvme_fault_names[kind]) != 0)
			continue;
		f->kind = (enum nvme_fault_kind)kind;
		f->opcode = -1;
		if (length == tail)
			return 0;
		if (name[length - tail - 1] != '-')
			continue;
		if (length - tail == 6 && memcmp(name, "admin", 5) == 0)
			return f->admin = true, 0;
		f->opcode = opcode_of(name, length - tail - 1, &f->admin);
		if (f->opcode >= 0)
			return 0;
	}
	return 1;
}

static int fault_add(struct nvme *nvme, struct spec *spec)
{
	static const uint64_t defaults[NVME_FAULT_KINDS] = { [NVME_FAULT_STATUS] = STATUS,
							     [NVME_FAULT_LATE] = LATE_MS,
							     [NVME_FAULT_REORDER] = MIX_COUNT };
	struct nvme_fault *f = &spec->fault;

	f->value = spec->has_value ? spec->value : defaults[f->kind];
	if (f->kind == NVME_FAULT_STATUS && (f->value == 0 || f->value > 0x7fff))
		return spec_fail(spec, "status",
				 "1 to 0x7fff: the code, its type << 8, DNR 0x4000");
	if (f->kind == NVME_FAULT_LATE && f->value > LATE_MAX)
		return spec_fail(spec, "late", "at most an hour, in milliseconds");
	if (f->kind == NVME_FAULT_REORDER && (f->value < 2 || f->value > NVME_HELD / 2))
		return spec_fail(spec, "reorder", "2 to 2048 commands");
	if (nvme->num_faults == NVME_FAULTS)
		return spec_fail(spec, nvme_fault_names[f->kind],
				 "too many faults: 'clear' the others");
	nvme->fault[nvme->num_faults++] = *f;
	return 0;
}

int nvme_fault_spec(struct nvme *nvme, const char *text, char *why, size_t why_size)
{
	struct spec spec = { .why = why, .why_size = why_size, .fault = { .qid = -1 } };
	char copy[SPEC_MAX], *rest, *name, *item, *end;
	int err;

	if (strlen(text) >= sizeof(copy))
		return spec_fail(&spec, text, "too long");
	memcpy(copy, text, strlen(text) + 1);
	name = strtok_r(copy, ",", &rest);
	if (!name)
		return spec_fail(&spec, text, "say which fault");
	while ((item = strtok_r(NULL, ",", &rest))) {
		char *equals = strchr(item, '=');

		if (!equals)
			return spec_fail(&spec, item, "not KEY=VALUE");
		*equals = '\0';
		err = spec_key(&spec, item, equals + 1);
		if (err)
			return err;
	}
	item = strchr(name, '=');
	if (item) {
		*item++ = '\0';
		spec.has_value = true;
		if (!spec_number(item, &spec.value, &end) || *end)
			return spec_fail(&spec, item, "not a number");
	}
	err = fault_state(nvme, name, &spec);
	if (err == 1)
		err = fault_name(&spec, name);
	else
		return err;
	return err ? spec_fail(&spec, name, "no such fault: see auriga-lab(1)")
		   : fault_add(nvme, &spec);
}

/* ------------------------------------------------------------------ meeting */

static bool fault_touches(const struct nvme_fault *f, const struct nvme_sqe *cmd)
{
	uint64_t first = cmd->cdw10 | (uint64_t)cmd->cdw11 << 32;
	uint64_t last = first + (cmd->cdw12 & 0xffff);

	return first <= f->last && last >= f->first;
}

static bool fault_hits(struct nvme_fault *f, uint16_t sqid, const struct nvme_sqe *cmd)
{
	if (f->admin != (sqid == 0) || (f->opcode >= 0 && f->opcode != cmd->opcode) ||
	    (f->qid >= 0 && f->qid != sqid) || (f->nsid && f->nsid != cmd->nsid) ||
	    (f->lba && !fault_touches(f, cmd)))
		return false;
	f->seen++;
	if (f->seen <= f->after || (f->count && f->met >= f->count) ||
	    (f->every && (f->seen - f->after) % f->every != 0))
		return false;
	f->met++;
	return true;
}

void nvme_fault_meet(struct nvme *nvme, uint16_t sqid, const struct nvme_sqe *cmd,
		     struct nvme_met *met)
{
	for (unsigned int i = 0; i < nvme->num_faults; i++) {
		struct nvme_fault *f = &nvme->fault[i];

		if (!fault_hits(f, sqid, cmd))
			continue;
		nvme->stats.faults[f->kind]++;
		switch (f->kind) {
		case NVME_FAULT_STATUS:
			met->status = true;
			met->code = (uint16_t)f->value;
			break;
		case NVME_FAULT_TIMEOUT:
			met->lost = true;
			break;
		case NVME_FAULT_LATE:
			met->late = true;
			met->late_ms = f->value;
			break;
		case NVME_FAULT_REORDER:
			met->mix = true;
			break;
		case NVME_FAULT_LOST_IRQ:
			met->quirks |= NVME_QUIRK_NO_IRQ;
			break;
		case NVME_FAULT_CID:
			met->quirks |= NVME_QUIRK_CID;
			break;
		case NVME_FAULT_PHASE:
			met->quirks |= NVME_QUIRK_PHASE;
			break;
		default:
			met->quirks |= NVME_QUIRK_TWICE;
			break;
		}
	}
}

unsigned int nvme_fault_window(const struct nvme *nvme)
{
	unsigned int window = 0;

	for (unsigned int i = 0; i < nvme->num_faults; i++)
		if (nvme->fault[i].kind == NVME_FAULT_REORDER && nvme->fault[i].value > window)
			window = (unsigned int)nvme->fault[i].value;
	return window;
}
