/* SPDX-License-Identifier: MIT */
/*
 * `auriga bench recovery`: how long a client waits when the driver's process is killed. Each round
 * kills the host, submits a request at once and waits for its completion; the manager says how the
 * time between was spent. A disk is read from all the time, with many requests outstanding.
 */
#include "auriga/auriga.h"
#include "auriga/block.h"
#include "auriga/raw.h"
#include "auriga/serial.h"
#include "cli/bench.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS_MAX 100000u

#define DEPTH_MAX  256u
#define BLOCK	   4096u
#define WAIT_MS	   10000u

/* Cumulative, in microseconds after the kill; ALL: each that was outstanding, of a disk. */
enum { DETECT, SPAWN, RESET, UP, SERVING, FIRST, ALL, PARTS };

static const char *const part_names[PARTS] = {
	[DETECT] = "detect_us",	    [SPAWN] = "spawn_us",     [RESET] = "reset_us",
	[UP] = "driver_up_us",	    [SERVING] = "serving_us", [FIRST] = "first_completion_us",
	[ALL] = "all_completed_us",
};

/* The same one by one: what each step took. A process and a session are got at the same time. */
enum { STEP_DETECT, STEP_START, STEP_DRIVER, STEP_REPLAY, STEP_FIRST, STEPS };

static const char *const step_names[STEPS] = {
	[STEP_DETECT] = "detect_us", [STEP_START] = "spawn_and_reset_us",
	[STEP_DRIVER] = "driver_us", [STEP_REPLAY] = "replay_us",
	[STEP_FIRST] = "first_us",
};

/**
 * struct recovery_load - reads that are outstanding all the time.
 * @generation: of the host that is killed; what completes in another one was replayed to it.
 * @old: of those that it left behind, how many are not complete yet.
 */
struct recovery_load {
	struct au_handle *handle;
	unsigned int depth;
	uint64_t blocks, random;
	char *data;
	int error;
	uint32_t generation;
	unsigned int old;
	uint64_t first_ns, all_ns;
	struct recovery_io {
		struct au_io io;
		struct recovery_load *load;
		bool seen;
	} io[DEPTH_MAX];
};

static uint64_t recovery_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static json_int_t recovery_integer(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static void recovery_read(struct recovery_load *load, struct recovery_io *r)
{
	int rc;

	load->random = load->random * 6364136223846793005ull + 1442695040888963407ull;
	r->io.arg[0] = (load->random >> 33) % load->blocks * BLOCK;
	rc = au_submit(load->handle, &r->io);
	if (rc)
		load->error = rc;
}

static void recovery_read_done(struct au_io *io)
{
	struct recovery_io *r = (struct recovery_io *)io;
	struct recovery_load *load = r->load;

	if (io->status)
		load->error = io->status;
	if (load->old && au_generation(load->handle) != load->generation && !r->seen) {
		r->seen = true;
		if (!load->first_ns)
			load->first_ns = recovery_now_ns();
		if (--load->old == 0)
			load->all_ns = recovery_now_ns();
	}
	if (!load->error)
		recovery_read(load, r);
}

static int recovery_load_begin(struct recovery_load *load, struct au_handle *handle)
{
	struct au_block_info info = { .size = sizeof(info), .abi = 1 };
	size_t size;
	char *data = au_buffers(handle, &size);
	int rc = au_block_info(handle, &info);

	load->handle = handle;
	load->blocks = info.bytes / BLOCK;
	if (rc || !data || size < (size_t)load->depth * BLOCK || !load->blocks)
		return cli_error("%s: cannot be read from", au_unit_name(handle));
	for (unsigned int i = 0; i < load->depth; i++) {
		load->io[i] = (struct recovery_io){ .io = { .op = AU_BLOCK_READ,
							    .length = BLOCK,
							    .data = data + (size_t)i * BLOCK,
							    .done = recovery_read_done },
						    .load = load };
		recovery_read(load, &load->io[i]);
	}
	return CLI_OK;
}

/* Let it run for so long. */
static int recovery_load_run(struct recovery_load *load, unsigned long ms)
{
	uint64_t end = recovery_now_ns() + ms * 1000000ull;

	while (recovery_now_ns() < end && !load->error)
		if (au_poll(load->handle, 0, 10) < 0)
			break;
	return load->error ? cli_error("a read failed: %s", strerror(-load->error)) : CLI_OK;
}

/* Until each that was outstanding is complete, in the next generation. */
static int recovery_load_wait(struct recovery_load *load)
{
	uint64_t end = recovery_now_ns() + WAIT_MS * 1000000ull;

	while (load->old && !load->error)
		if (au_poll(load->handle, 0, 100) < 0 || recovery_now_ns() > end)
			return cli_error("no recovery within time");
	return load->error ? cli_error("a read failed: %s", strerror(-load->error)) : CLI_OK;
}

/* A request that any unit of the class answers at once. */
static int recovery_request(struct au_handle *handle)
{
	struct au_serial_counters counters;
	struct au_io io = { .op = AU_RAW_FIRST };

	if (strcmp(au_unit_class(handle), "serial") == 0)
		io = (struct au_io){ .op = AU_SERIAL_GET_COUNTERS,
				     .data = &counters,
				     .length = sizeof(counters) };
	return au_wait(handle, &io);
}

/* Returns the manager's account of the recovery that led to @generation, or NULL. */
static json_t *recovery_account(const char *path, uint32_t generation, json_t **info)
{
	for (unsigned int i = 0; i < 100; i++) {
		const struct timespec pause = { .tv_nsec = 10000000 };
		json_t *list, *last;

		*info = control_call("GET", path, NULL);
		list = json_object_get(*info, "recoveries");
		last = json_array_get(list, json_array_size(list) - 1);
		if (last && recovery_integer(last, "generation") == generation)
			return last;
		json_decref(*info);
		*info = NULL;
		nanosleep(&pause, NULL);
	}
	return NULL;
}

static int recovery_round(struct au_handle *handle, const char *path, struct recovery_load *load,
			  uint64_t *us)
{
	json_t *info = control_call("GET", path, NULL), *account;
	pid_t pid = (pid_t)recovery_integer(info, "pid");
	uint64_t killed, done, dead;
	int rc;

	json_decref(info);
	if (pid <= 0)
		return cli_error("no process runs %s", au_unit_name(handle));
	load->generation = au_generation(handle);
	load->old = load->depth;
	load->first_ns = 0;
	for (unsigned int i = 0; i < load->depth; i++)
		load->io[i].seen = false;
	killed = recovery_now_ns();
	if (kill(pid, SIGKILL) != 0)
		return cli_error("cannot kill process %d: %s", (int)pid, strerror(errno));
	if (load->depth) {
		rc = recovery_load_wait(load);
		if (rc)
			return rc;
		done = load->first_ns;
		us[ALL] = (load->all_ns - killed) / 1000;
	} else {
		rc = recovery_request(handle);
		done = recovery_now_ns();
		if (rc)
			return cli_error("the request failed: %s", strerror(-rc));
	}
	/* A request that overtook the death came back from the old host: ask the new one. */
	while (au_generation(handle) == 0 ||
	       (account = recovery_account(path, au_generation(handle), &info)) == NULL) {
		if (load->depth || recovery_request(handle) != 0)
			return cli_error("no recovery within time");
		done = recovery_now_ns();
	}
	dead = (uint64_t)recovery_integer(account, "dead_ns");
	us[DETECT] = dead > killed ? (dead - killed) / 1000 : 0;
	us[SPAWN] = us[DETECT] + (uint64_t)recovery_integer(account, "spawned_us");
	us[RESET] = us[DETECT] + (uint64_t)recovery_integer(account, "session_us");
	us[UP] = us[DETECT] + (uint64_t)recovery_integer(account, "driver_us");
	us[SERVING] = us[DETECT] + (uint64_t)recovery_integer(account, "serving_us");
	us[FIRST] = (done - killed) / 1000;
	json_decref(info);
	return CLI_OK;
}

static int recovery_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* @column is sorted by this. */
static json_t *recovery_quantiles(uint64_t *column, unsigned int rounds)
{
	qsort(column, rounds, sizeof(*column), recovery_compare);
	return json_pack("{s:I, s:I, s:I}", "p50", (json_int_t)column[rounds / 2], "p99",
			 (json_int_t)column[(rounds * 99 + 99) / 100 - 1], "max",
			 (json_int_t)column[rounds - 1]);
}

static uint64_t recovery_step(const uint64_t *us, unsigned int step)
{
	const uint64_t ready = us[SPAWN] > us[RESET] ? us[SPAWN] : us[RESET];
	const uint64_t ends[STEPS + 1] = { 0, us[DETECT], ready, us[UP], us[SERVING], us[FIRST] };

	return ends[step + 1] > ends[step] ? ends[step + 1] - ends[step] : 0;
}

static json_t *recovery_report(uint64_t (*us)[PARTS], unsigned int rounds, unsigned int depth)
{
	json_t *report = json_pack("{s:i}", "rounds", (int)rounds), *steps = json_object();
	uint64_t *column = malloc(rounds * sizeof(*column));

	for (unsigned int part = 0; column && part < (depth ? PARTS : ALL); part++) {
		for (unsigned int i = 0; i < rounds; i++)
			column[i] = us[i][part];
		json_object_set_new(report, part_names[part], recovery_quantiles(column, rounds));
	}
	for (unsigned int step = 0; column && step < STEPS; step++) {
		for (unsigned int i = 0; i < rounds; i++)
			column[i] = recovery_step(us[i], step);
		json_object_set_new(steps, step_names[step], recovery_quantiles(column, rounds));
	}
	json_object_set_new(report, "steps", steps);
	free(column);
	return report;
}

static int recovery_usage(void)
{
	fprintf(stderr,
		"usage: auriga bench recovery [--count N] [--interval MS] [--depth N] [--json] "
		"NAME\n");
	return CLI_USAGE;
}

int bench_recovery(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "count", required_argument, NULL, 'n' },
						 { "interval", required_argument, NULL, 'i' },
						 { "depth", required_argument, NULL, 'd' },
						 { NULL, 0, NULL, 0 } };
	struct au_open_options how = { .size = sizeof(how), .abi = AU_CLIENT_ABI };
	unsigned long rounds = 200, interval_ms = 1000, depth = 32, i;
	static struct recovery_load load = { .random = 1 };
	struct au_handle *handle;
	uint64_t(*us)[PARTS];
	bool as_json = false;
	json_t *report;
	char *path;
	int opt, rc = CLI_OK;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'j')
			as_json = true;
		else if (opt == 'n')
			rounds = strtoul(optarg, NULL, 10);
		else if (opt == 'i')
			interval_ms = strtoul(optarg, NULL, 10);
		else if (opt == 'd')
			depth = strtoul(optarg, NULL, 10);
		else
			return recovery_usage();
	}
	if (argc - optind != 1 || rounds == 0 || rounds > ROUNDS_MAX || interval_ms > 3600000 ||
	    depth == 0 || depth > DEPTH_MAX)
		return recovery_usage();
	how.depth = (uint32_t)depth + 1;
	how.buffer_size = BLOCK;
	if (au_open(argv[optind], &how, &handle) != 0)
		return cli_error("%s", au_errmsg());
	us = calloc(rounds, sizeof(*us));
	path = control_path("/v1/devices/", argv[optind], NULL);
	rc = us && path ? CLI_OK : cli_error("out of memory");
	if (rc == CLI_OK && strcmp(au_unit_class(handle), "block") == 0) {
		load.depth = (unsigned int)depth;
		rc = recovery_load_begin(&load, handle);
		if (rc == CLI_OK)
			rc = recovery_load_run(&load, interval_ms);
	} else if (rc == CLI_OK && recovery_request(handle) != 0)
		rc = cli_error("%s does not answer: %s", argv[optind], au_errmsg());
	for (i = 0; i < rounds && rc == CLI_OK; i++) {
		rc = recovery_round(handle, path, &load, us[i]);
		fprintf(stderr, "\r%lu of %lu: %.1f ms  ", i + 1, rounds,
			(double)us[i][FIRST] / 1e3);
		/* The budget is earned by service, and a quiet device is what is measured. */
		if (rc == CLI_OK && load.depth)
			rc = recovery_load_run(&load, interval_ms);
		else if (i + 1 < rounds)
			au_poll(handle, 0, (int)interval_ms);
	}
	fprintf(stderr, "\n");
	if (rc == CLI_OK) {
		report = recovery_report(us, (unsigned int)rounds, load.depth);
		if (as_json)
			cli_json(report);
		else
			cli_print(report, 0);
		json_decref(report);
	}
	free(us);
	free(path);
	au_close(handle);
	return rc;
}
