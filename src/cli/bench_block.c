/* SPDX-License-Identifier: MIT */
/* `auriga bench block`: the command, a line while it runs, and the figures. */
#include "base/note.h"
#include "base/paths.h"
#include "cli/bench.h"
#include "cli/bench_disk.h"
#include "cli/size.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_LANES_MAX 64u
#define BLOCK_DEPTH_MAX 1024u
#define BLOCK_LOOK_US	100000

/* All lanes together. */
struct block_sum {
	uint64_t done, errors, mismatches;
	double elapsed, cycles, ticks_per_us;
	struct bench_hist hist;
};

static int block_usage(void)
{
	cli_say("usage: auriga bench block [--rw randread|randwrite|read|write|mixed] [--bs 4k] "
		"[--qd 32] [--lanes 1] [--time 5 | --count N] [--verify] [--json] TARGET");
	return CLI_USAGE;
}

static bool block_rw(struct disk_plan *plan, const char *word)
{
	static const struct {
		const char *word;
		unsigned int writes;
		bool random;
	} ways[] = { { "randread", 0, true },
		     { "randwrite", 256, true },
		     { "read", 0, false },
		     { "write", 256, false },
		     { "mixed", 77, true } }; /* 30 percent */

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (strcmp(word, ways[i].word) != 0)
			continue;
		plan->writes = ways[i].writes;
		plan->random = ways[i].random;
		return true;
	}
	return false;
}

static bool block_number(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
	return cli_size(text, value) && *value >= least && *value <= most;
}

static bool block_option(struct disk_plan *plan, int opt, bool *json)
{
	uint64_t n = 0;
	char *end;

	switch (opt) {
	case 'r':
		return block_rw(plan, optarg);
	case 'b':
		if (!block_number(optarg, 512, 1u << 20, &n) || n % 512)
			return false;
		plan->block = (uint32_t)n;
		return true;
	case 'q':
		if (!block_number(optarg, 1, BLOCK_DEPTH_MAX, &n))
			return false;
		plan->depth = (unsigned int)n;
		return true;
	case 'l':
		if (!block_number(optarg, 1, BLOCK_LANES_MAX, &n))
			return false;
		plan->lanes = (unsigned int)n;
		return true;
	case 't':
		plan->seconds = strtod(optarg, &end);
		return end != optarg && !*end && plan->seconds > 0 && plan->seconds < 1e7;
	case 'c':
		return block_number(optarg, 1, UINT64_MAX, &plan->count);
	case 'v':
		return plan->verify = true;
	case 'j':
		return *json = true;
	default:
		return false;
	}
}

static int block_parse(int argc, char **argv, struct disk_plan *plan, bool *json)
{
	static const struct option options[] = {
		{ "rw", required_argument, NULL, 'r' },
		{ "bs", required_argument, NULL, 'b' },
		{ "qd", required_argument, NULL, 'q' },
		{ "lanes", required_argument, NULL, 'l' },
		{ "time", required_argument, NULL, 't' },
		{ "count", required_argument, NULL, 'c' },
		{ "verify", no_argument, NULL, 'v' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	bool chosen = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == '?')
			return block_usage();
		if (!block_option(plan, opt, json)) {
			cli_say("bench block: '%s' cannot be: --bs is 512 to 1m in whole sectors, "
				"--qd 1 "
				"to %u, --lanes 1 to %u",
				optarg, BLOCK_DEPTH_MAX, BLOCK_LANES_MAX);
			return CLI_USAGE;
		}
		chosen |= opt == 'r';
	}
	if (optind + 1 != argc)
		return block_usage();
	plan->target = argv[optind];
	if (plan->verify && !chosen) /* half of each, so that what is written is read soon */
		plan->writes = 128;
	if (plan->verify && plan->writes == 0)
		return cli_say("bench block: --verify looks at what it has written: choose --rw "
			       "mixed, "
			       "randwrite or write"),
		       CLI_USAGE;
	return CLI_OK;
}

/* ------------------------------------------------------------------------ lanes */

/* A driver in this process gets as many lanes as there are threads, if it can use them and nobody
 * said how many. Return: the target, to be freed. */
static char *block_inproc_target(const struct disk_plan *plan)
{
	char name[64], path[AU_PATH_MAX], error[200], *target = NULL;
	struct au_note *note = calloc(1, sizeof(*note));
	unsigned int lanes = 1;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(plan->target + 7, ","), plan->target + 7);
	if (note && !au_driver_find(name, path, error, sizeof(error)) &&
	    !au_note_read(path, note, error, sizeof(error)))
		lanes = plan->lanes < note->lanes ? plan->lanes : note->lanes;
	free(note);
	if (lanes < 2 || strstr(plan->target, ",lanes=") || strstr(plan->target, ",poll=app"))
		return strdup(plan->target);
	return asprintf(&target, "%s,lanes=%u", plan->target, lanes) < 0 ? NULL : target;
}

/* Threads that share a lane are not what was asked for, though they are a measurement too. */
static void block_lanes_of(const struct disk_plan *plan)
{
	size_t length = strcspn(plan->target, ".");
	char device[64], *path;
	json_t *info = NULL;
	json_int_t lanes;

	snprintf(device, sizeof(device), "%.*s", (int)length, plan->target);
	path = control_path("/v1/devices/", device, NULL);
	if (path)
		info = control_call("GET", path, NULL);
	lanes = json_integer_value(json_object_get(info, "lanes"));
	if (info && lanes < (json_int_t)plan->lanes)
		cli_say("bench block: %u threads share the %s of %s: see the parameter lanes of "
			"its "
			"driver",
			plan->lanes, lanes > 1 ? "lanes" : "one lane", device);
	json_decref(info);
	free(path);
}

/* @own: the target, if it is a new one. */
static bool block_lanes(struct disk_plan *plan, char **own)
{
	*own = NULL;
	if (strncmp(plan->target, "inproc:", 7) == 0)
		plan->target = *own = block_inproc_target(plan);
	else if (plan->lanes > 1)
		block_lanes_of(plan);
	return plan->target != NULL;
}

/* ----------------------------------------------------------------- while it runs */

static double block_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t block_done(const struct disk_plan *plan, struct disk_lane *lanes)
{
	uint64_t done = 0;

	for (unsigned int i = 0; i < plan->lanes; i++)
		done += atomic_load_explicit(&lanes[i].done, memory_order_relaxed);
	return done;
}

/* The figures of what there was, and what was written is looked at; once more ends it at once. */
static void block_interrupted(int sig)
{
	(void)sig;
	atomic_store(&disk_stop, true);
}

/* Opening a unit may start its driver, which is nobody's I/O. */
static void block_wait_open(const struct disk_plan *plan, struct disk_lane *lanes)
{
	for (unsigned int i = 0; i < plan->lanes; i++)
		while (!atomic_load(&lanes[i].ready))
			usleep(1000);
}

/* Wait until the lanes have ended, and stop them when it is time. */
static void block_watch(const struct disk_plan *plan, struct disk_lane *lanes)
{
	double start = block_now(), shown = start;
	bool terminal = isatty(STDERR_FILENO);
	unsigned int ended = 0;
	uint64_t before = 0;

	while (ended < plan->lanes) {
		double now = block_now();

		if (!plan->count && now - start >= plan->seconds)
			atomic_store(&disk_stop, true);
		if (terminal && now - shown >= 1) {
			uint64_t done = block_done(plan, lanes);

			fprintf(stderr, "\r%4.0f s  %12.0f I/O per second\033[K", now - start,
				(double)(done - before) / (now - shown));
			shown = now;
			before = done;
		}
		struct timespec until;

		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += BLOCK_LOOK_US * 1000L;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_nsec -= 1000000000L;
			until.tv_sec++;
		}
		if (!plan->count && plan->seconds < 0.5)
			usleep(1000);
		if (pthread_timedjoin_np(lanes[ended].thread, NULL, &until) == 0)
			ended++;
	}
	if (terminal)
		fprintf(stderr, "\r\033[K");
}

/* ------------------------------------------------------------------ the figures */

static void block_add(struct block_sum *sum, const struct disk_lane *lane)
{
	sum->done += lane->done;
	sum->errors += lane->errors;
	sum->mismatches += disk_verify_mismatches(lane->verify);
	if (lane->elapsed > sum->elapsed)
		sum->elapsed = lane->elapsed;
	if (lane->elapsed > 0) {
		sum->ticks_per_us = (double)lane->ticks / lane->elapsed / 1e6;
		sum->cycles += lane->cpu * sum->ticks_per_us * 1e6;
	}
	bench_hist_merge(&sum->hist, &lane->hist);
}

static double block_us(const struct block_sum *sum, double part)
{
	return (double)bench_hist_quantile(&sum->hist, part) / sum->ticks_per_us;
}

static void block_print(const struct disk_plan *plan, const struct block_sum *sum, bool json)
{
	double iops = (double)sum->done / sum->elapsed,
	       max = (double)sum->hist.max / sum->ticks_per_us;
	double bytes = iops * plan->block, cycles = sum->cycles / (double)sum->done;

	if (json) {
		json_t *value =
			json_pack("{s:f, s:f, s:{s:f, s:f, s:f, s:f}, s:f, s:I, s:I, s:f}", "iops",
				  iops, "bytes_per_s", bytes, "lat_us", "p50", block_us(sum, 0.5),
				  "p99", block_us(sum, 0.99), "p999", block_us(sum, 0.999), "max",
				  max, "cycles_per_io", cycles, "errors", (json_int_t)sum->errors,
				  "ios", (json_int_t)sum->done, "seconds", sum->elapsed);

		if (plan->verify)
			json_object_set_new(value, "mismatches",
					    json_integer((json_int_t)sum->mismatches));
		cli_json(value);
		json_decref(value);
		return;
	}
	printf("%.0f I/O per second, %.1f MB/s, %llu errors\n", iops, bytes / 1e6,
	       (unsigned long long)sum->errors);
	printf("latency: median %.1f us, 99%% %.1f us, 99.9%% %.1f us, longest %.1f us\n",
	       block_us(sum, 0.5), block_us(sum, 0.99), block_us(sum, 0.999), max);
	printf("cycles per I/O in this process' submitting threads: %.0f\n", cycles);
	if (plan->verify)
		printf("verified: %llu blocks differ\n", (unsigned long long)sum->mismatches);
}

/* Returns an exit status. */
static int block_report(const struct disk_plan *plan, struct disk_lane *lanes, bool json)
{
	struct block_sum *sum = calloc(1, sizeof(*sum));
	int status = CLI_OK;

	if (!sum)
		return cli_error("no memory");
	for (unsigned int i = 0; i < plan->lanes; i++) {
		block_add(sum, &lanes[i]);
		disk_verify_free(lanes[i].verify);
		if (lanes[i].error && status == CLI_OK)
			status = cli_error("bench block: %s", lanes[i].why);
	}
	if (sum->done)
		block_print(plan, sum, json);
	if (sum->errors || sum->mismatches || !sum->done)
		status = CLI_FAILED;
	free(sum);
	return status;
}

int bench_block(int argc, char **argv)
{
	struct disk_plan plan = {
		.random = true, .block = 4096, .depth = 32, .lanes = 1, .seconds = 5
	};
	struct disk_lane *lanes;
	char *own = NULL;
	bool json = false;
	int status = block_parse(argc, argv, &plan, &json);

	if (status)
		return status;
	lanes = calloc(plan.lanes, sizeof(*lanes));
	if (!lanes || !block_lanes(&plan, &own))
		return cli_error("no memory");
	for (unsigned int i = 0; i < plan.lanes; i++) {
		lanes[i].plan = &plan;
		lanes[i].number = i;
		if (pthread_create(&lanes[i].thread, NULL, disk_run, &lanes[i]) != 0) {
			cli_say("bench block: cannot start a thread");
			_exit(CLI_FAILED);
		}
	}
	block_wait_open(&plan, lanes);
	sigaction(SIGINT,
		  &(struct sigaction){ .sa_handler = block_interrupted,
				       .sa_flags = (int)SA_RESETHAND },
		  NULL);
	block_watch(&plan, lanes);
	status = block_report(&plan, lanes, json);
	free(lanes);
	free(own);
	return status;
}
