/* SPDX-License-Identifier: MIT */
/* Steps: the framework makes things go wrong that a driver has to survive (base/verify.h). For each
 * of them the device is started anew with it, and afterwards without. */
#include "cli/cert.h"

#include <string.h>
#include <unistd.h>

#define INJECT_ALLOCS 60u /* more call stacks than any driver has */

#define WHAT(...)     snprintf(step->what, sizeof(step->what), __VA_ARGS__)

/* Start anew: clients, and in a process the device, with @text to go wrong. */
static bool inject_begin(struct cert_run *run, const char *text)
{
	cert_crew_end(run, true);
	if (run->place == CERT_PROCESS && !cert_detach(run))
		return false;
	snprintf(run->verify, sizeof(run->verify), "rules%s%s", *text ? "+" : "", text);
	if (run->place == CERT_PROCESS && !cert_attach(run)) {
		run->broken = true;
		return false;
	}
	return cert_crew_begin(run);
}

static void inject_end(struct cert_run *run)
{
	if (!inject_begin(run, ""))
		run->broken = true;
}

/* What clients must not notice. */
static void inject_quietly(struct cert_run *run, struct cert_step *step, const char *text)
{
	WHAT("%s", text);
	if (inject_begin(run, text) && cert_progress(run)) {
		cert_listen(run, run->full ? 3000 : 600);
		if (cert_progress(run))
			cert_quiet(run);
	}
	cert_crew_look(run);
	inject_end(run);
}

static void step_irqs(struct cert_run *run, struct cert_step *step)
{
	char text[64];

	snprintf(text, sizeof(text), "irq-spurious:%u+irq-storm:%u+seed:%u",
		 cert_choose(step, 1, 20), cert_choose(step, 50, 400), cert_choose(step, 1, 9999));
	inject_quietly(run, step, text);
}

static void step_irq_lost(struct cert_run *run, struct cert_step *step)
{
	char text[64];

	snprintf(text, sizeof(text), "irq-lost:%u+seed:%u", cert_choose(step, 50, 500),
		 cert_choose(step, 1, 9999));
	inject_quietly(run, step, text);
}

static void step_late(struct cert_run *run, struct cert_step *step)
{
	char text[64];

	snprintf(text, sizeof(text), "late:%u+reorder+seed:%u", cert_choose(step, 1, 20),
		 cert_choose(step, 1, 9999));
	inject_quietly(run, step, text);
}

static void step_delay(struct cert_run *run, struct cert_step *step)
{
	char text[64];

	snprintf(text, sizeof(text), "delay:%u+seed:%u", cert_choose(step, 20, 500),
		 cert_choose(step, 1, 9999));
	inject_quietly(run, step, text);
}

/*
 * Memory is short. In a program, at each call stack in turn, until it is there; a host is a process
 * for each stack. That it does not start, or a client cannot open it, is as it should be.
 */
static void step_alloc(struct cert_run *run, struct cert_step *step)
{
	unsigned int first = 1, last = run->full ? INJECT_ALLOCS : 12, refused = 0;
	bool process = run->place == CERT_PROCESS;

	cert_crew_end(run, true);
	if (!process) {
		WHAT("memory is short at each call stack in turn");
		snprintf(run->verify, sizeof(run->verify), "rules+alloc");
		cert_probe_hard(run);
	} else {
		if (!cert_detach(run))
			return;
		if (!run->full)
			first = cert_choose(step, 1, 8);
		for (unsigned int i = first; i < first + last; i++) {
			snprintf(run->verify, sizeof(run->verify), "rules+alloc:%u", i);
			if (cert_try(run))
				cert_probe_hard(run);
			else
				refused++;
			cert_blame(run);
			json_decref(cert_call(run, "DELETE", "?force=1", NULL));
		}
		WHAT("memory is short at call stacks %u to %u, one at a time: %u starts refused",
		     first, first + last - 1, refused);
	}
	snprintf(run->verify, sizeof(run->verify), "rules");
	run->broken = (process && !cert_attach(run)) || !cert_crew_begin(run);
}

/* The device goes, as its driver comes up or later, and is there again when it is looked for. */
static void inject_gone(struct cert_run *run, struct cert_step *step, const char *text)
{
	WHAT("%s", text);
	cert_crew_end(run, true);
	if (run->place == CERT_PROCESS && !cert_detach(run))
		return;
	snprintf(run->verify, sizeof(run->verify), "rules+%s", text);
	if (run->place != CERT_PROCESS) {
		cert_probe_hard(run);
	} else if (cert_try(run)) {
		cert_probe_hard(run);
		cert_blame(run);
		json_decref(cert_call(run, "DELETE", "?force=1", NULL));
	}
	snprintf(run->verify, sizeof(run->verify), "rules");
	run->broken = (run->place == CERT_PROCESS && !cert_attach(run)) || !cert_crew_begin(run);
}

static void step_all_ones(struct cert_run *run, struct cert_step *step)
{
	char text[64];

	snprintf(text, sizeof(text), "all-ones:%u",
		 cert_choose(step, 1, cert_choose(step, 0, 1) ? 100 : 3000));
	inject_gone(run, step, text);
}

static void step_surprise(struct cert_run *run, struct cert_step *step)
{
	char text[64];

	snprintf(text, sizeof(text), "surprise:%u", cert_choose(step, 1, 14));
	inject_gone(run, step, text);
}

const struct cert_kind cert_inject_kinds[] = {
	{ "irqs", CERT_NEEDS_OWN | CERT_NEEDS_DEVICE, step_irqs },
	{ "irq-lost", CERT_NEEDS_OWN | CERT_NEEDS_DEVICE, step_irq_lost },
	{ "late", CERT_NEEDS_OWN, step_late },
	{ "delay", CERT_NEEDS_OWN, step_delay },
	{ "alloc", CERT_NEEDS_OWN, step_alloc },
	{ "all-ones", CERT_NEEDS_OWN | CERT_NEEDS_DEVICE, step_all_ones },
	{ "surprise", CERT_NEEDS_OWN, step_surprise },
};
const unsigned int cert_inject_kind_count =
	sizeof(cert_inject_kinds) / sizeof(cert_inject_kinds[0]);
