/* SPDX-License-Identifier: MIT */
/*
 * `auriga bench recovery`: how long a client waits when the driver's process is killed. Each round
 * kills the host, submits a request at once and waits for its completion; the manager says how the
 * time between was spent.
 */
#include "auriga/auriga.h"
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

/* Cumulative, in microseconds after the kill. */
enum { DETECT, SPAWN, RESET, UP, SERVING, FIRST, PARTS };

static const char *const part_names[PARTS] = {
	[DETECT] = "detect_us", [SPAWN] = "spawn_us",	  [RESET] = "reset_us",
	[UP] = "driver_up_us",	[SERVING] = "serving_us", [FIRST] = "first_completion_us",
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

static int recovery_round(struct au_handle *handle, const char *path, uint64_t *us)
{
	json_t *info = control_call("GET", path, NULL), *account;
	pid_t pid = (pid_t)recovery_integer(info, "pid");
	uint64_t killed, done, dead;
	int rc;

	json_decref(info);
	if (pid <= 0)
		return cli_error("no process runs %s", au_unit_name(handle));
	killed = recovery_now_ns();
	if (kill(pid, SIGKILL) != 0)
		return cli_error("cannot kill process %d: %s", (int)pid, strerror(errno));
	rc = recovery_request(handle);
	done = recovery_now_ns();
	if (rc)
		return cli_error("the request failed: %s", strerror(-rc));
	/* A request that overtook the death came back from the old host: ask the new one. */
	while (au_generation(handle) == 0 ||
	       (account = recovery_account(path, au_generation(handle), &info)) == NULL) {
		if (recovery_request(handle) != 0)
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

static json_t *recovery_report(uint64_t (*us)[PARTS], unsigned int rounds)
{
	json_t *report = json_pack("{s:i}", "rounds", (int)rounds);
	uint64_t *column = malloc(rounds * sizeof(*column));

	for (unsigned int part = 0; column && part < PARTS; part++) {
		for (unsigned int i = 0; i < rounds; i++)
			column[i] = us[i][part];
		qsort(column, rounds, sizeof(*column), recovery_compare);
		json_object_set_new(report, part_names[part],
				    json_pack("{s:I, s:I, s:I}", "p50",
					      (json_int_t)column[rounds / 2], "p99",
					      (json_int_t)column[(rounds * 99 + 99) / 100 - 1],
					      "max", (json_int_t)column[rounds - 1]));
	}
	free(column);
	return report;
}

static int recovery_usage(void)
{
	fprintf(stderr, "usage: auriga bench recovery [--count N] [--interval MS] [--json] NAME\n");
	return CLI_USAGE;
}

int bench_recovery(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "count", required_argument, NULL, 'n' },
						 { "interval", required_argument, NULL, 'i' },
						 { NULL, 0, NULL, 0 } };
	unsigned long rounds = 200, interval_ms = 1000, i;
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
		else
			return recovery_usage();
	}
	if (argc - optind != 1 || rounds == 0 || rounds > ROUNDS_MAX || interval_ms > 3600000)
		return recovery_usage();
	if (au_open(argv[optind], NULL, &handle) != 0)
		return cli_error("%s", au_errmsg());
	us = calloc(rounds, sizeof(*us));
	path = control_path("/v1/devices/", argv[optind], NULL);
	rc = us && path ? CLI_OK : cli_error("out of memory");
	if (rc == CLI_OK && recovery_request(handle) != 0)
		rc = cli_error("%s does not answer: %s", argv[optind], au_errmsg());
	for (i = 0; i < rounds && rc == CLI_OK; i++) {
		rc = recovery_round(handle, path, us[i]);
		fprintf(stderr, "\r%lu of %lu: %.1f ms  ", i + 1, rounds,
			(double)us[i][FIRST] / 1e3);
		/* The budget is earned by service, and a quiet device is what is measured. */
		if (i + 1 < rounds)
			au_poll(handle, 0, (int)interval_ms);
	}
	fprintf(stderr, "\n");
	if (rc == CLI_OK) {
		report = recovery_report(us, (unsigned int)rounds);
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
