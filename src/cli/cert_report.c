/* SPDX-License-Identifier: MIT */
#include "cli/cert.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REPORT_SAME 3u /* of a test in one step */

static const char *const place_names[CERT_PLACES] = {
	[CERT_PROCESS] = "process",
	[CERT_INPROC] = "inproc",
	[CERT_APP] = "app",
};

const char *cert_place_name(enum cert_place place)
{
	return place_names[place];
}

double cert_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* What is said while it runs: with --json, standard output is for the report alone. */
static FILE *report_out(const struct cert_run *run)
{
	return run->json ? stderr : stdout;
}

/* The command that does the same step again. */
static void report_repeat(const struct cert_run *run, char *buf, size_t size)
{
	int n = snprintf(buf, size, "auriga verify --seed %llu --placement %s --steps %u",
			 (unsigned long long)run->seed, cert_place_name(run->place),
			 run->step->number);

	if (run->only)
		n += snprintf(buf + n, size - (size_t)n, " --only %s", run->only);
	if (run->machine)
		n += snprintf(buf + n, size - (size_t)n, " --machine %s", run->machine);
	if (run->wanted_function)
		n += snprintf(buf + n, size - (size_t)n, " --function %s", run->wanted_function);
	for (unsigned int i = 0; i < run->peer_count; i++)
		n += snprintf(buf + n, size - (size_t)n, " --peer %s", run->peers[i]);
	if (run->no_data)
		n += snprintf(buf + n, size - (size_t)n, " --no-data");
	if (run->op != 16)
		n += snprintf(buf + n, size - (size_t)n, " --op %u", run->op);
	snprintf(buf + n, size - (size_t)n, " %s", run->target);
}

void cert_fail(struct cert_run *run, const char *test, const char *fmt, ...)
{
	char text[768], repeat[2048];
	unsigned int same = 0;
	json_t *known;
	size_t i;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* What everybody notices is told once, and what happens all the time a few times. */
	json_array_foreach(run->step->failures, i, known)
	{
		same += strcmp(json_string_value(json_object_get(known, "test")), test) == 0;
		if (strcmp(json_string_value(json_object_get(known, "text")), text) == 0)
			return;
	}
	if (same >= REPORT_SAME)
		return;
	report_repeat(run, repeat, sizeof(repeat));
	json_array_append_new(run->step->failures,
			      json_pack("{s:s s:o s:s}", "test", test, "text",
					json_string_nocheck(text), "repeat", repeat));
}

void cert_report_place(struct cert_run *run)
{
	json_array_append_new(run->results, json_pack("{s:s s:[]}", "placement",
						      cert_place_name(run->place), "steps"));
	fprintf(report_out(run), "%s: %s%s%s, seed %llu\n", cert_place_name(run->place),
		run->driver, run->virtual ? "" : " at ", run->virtual ? "" : run->address,
		(unsigned long long)run->seed);
}

void cert_report_step(struct cert_run *run, const struct cert_step *step)
{
	json_t *place = json_array_get(run->results, json_array_size(run->results) - 1), *failure;
	size_t failures = json_array_size(step->failures), i;
	FILE *out = report_out(run);

	run->steps++;
	run->failed += failures != 0;
	json_array_append_new(
		json_object_get(place, "steps"),
		json_pack("{s:i s:s s:s s:i s:I s:s s:O}", "step", (int)step->number, "kind",
			  step->kind ? step->kind->name : "begin", "what", step->what, "took_ms",
			  (int)(step->took_s * 1e3), "gap_ms", (json_int_t)step->gap_ms, "result",
			  failures ? "failed" : "passed", "failures", step->failures));
	fprintf(out, "%5u  %-14s %6.1f s  %5llu ms  %-6s %s\n", step->number,
		step->kind ? step->kind->name : "begin", step->took_s,
		(unsigned long long)step->gap_ms, failures ? "FAILED" : "passed", step->what);
	json_array_foreach(step->failures, i, failure)
		fprintf(out, "       %s: %s\n       repeat: %s\n",
			json_string_value(json_object_get(failure, "test")),
			json_string_value(json_object_get(failure, "text")),
			json_string_value(json_object_get(failure, "repeat")));
	fflush(out);
}

/* What failed, and how often. */
static json_t *report_tests(const struct cert_run *run)
{
	json_t *tests = json_object(), *place, *step, *failure;
	size_t i, j, k;

	json_array_foreach(run->results, i, place)
		json_array_foreach(json_object_get(place, "steps"), j, step)
			json_array_foreach(json_object_get(step, "failures"), k, failure)
	{
		const char *test = json_string_value(json_object_get(failure, "test"));
		json_int_t n = json_integer_value(json_object_get(tests, test));

		json_object_set_new(tests, test, json_integer(n + 1));
	}
	return tests;
}

static int report_write(const struct cert_run *run, const json_t *report)
{
	FILE *f = fopen(run->report, "we");
	int rc = f ? json_dumpf(report, f, JSON_INDENT(2)) : -1;

	if (f && fputc('\n', f) == EOF)
		rc = -1;
	if ((f && fclose(f) != 0) || rc)
		return cli_error("%s: cannot write the report: %m", run->report);
	return CLI_OK;
}

int cert_report_end(struct cert_run *run)
{
	const char *passed = run->failed ? "FAILED" : "passed", *key;
	FILE *out = report_out(run);
	json_t *tests = report_tests(run), *value;
	json_t *report = json_pack(
		"{s:s s:s s:s s:s s:I s:s s:i s:i s:I s:b s:o s:O}", "target", run->target,
		"driver", run->driver, "address", run->virtual ? "virtual" : run->address, "class",
		run->class, "seed", (json_int_t)run->seed, "form", run->full ? "full" : "quick",
		"steps", (int)run->steps, "failed", (int)run->failed, "requests",
		(json_int_t)run->requests, "passed", run->failed == 0 && run->steps != 0,
		"failed_tests", tests, "placements", run->results);
	int rc = run->failed || !run->steps ? CLI_FAILED : CLI_OK;

	if (run->report && report_write(run, report) != CLI_OK)
		rc = CLI_FAILED;
	if (run->json)
		cli_json(report);
	fprintf(out, "%s: %s: %u of %u steps, %llu requests, seed %llu\n", run->driver, passed,
		run->steps - run->failed, run->steps, (unsigned long long)run->requests,
		(unsigned long long)run->seed);
	json_object_foreach(tests, key, value)
		fprintf(out, "  %s: %lld\n", key, (long long)json_integer_value(value));
	json_decref(report);
	return rc;
}
