/* SPDX-License-Identifier: MIT */
/*
 * `auriga bench power`: what it costs that a device was asleep. Each round puts it into D3, sends a
 * request and waits for its completion, and then another one for comparison. The framework says how
 * long it was on its way, and how much of that the driver was.
 */
#include "auriga/auriga.h"
#include "auriga/block.h"
#include "auriga/raw.h"
#include "auriga/serial.h"
#include "cli/bench.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POWER_ROUNDS_MAX 100000u
#define POWER_BYTES	 4096u

enum { POWER_FIRST, POWER_UP, POWER_ENTRY, POWER_DOWN, POWER_EXIT, POWER_AWAKE, POWER_PARTS };

/* The manager calls them so, but for what is measured here. */
static const char *const power_parts[POWER_PARTS] = {
	[POWER_FIRST] = "first_completion_us",
	[POWER_UP] = "last_up_us",
	[POWER_ENTRY] = "entry_us",
	[POWER_DOWN] = "last_down_us",
	[POWER_EXIT] = "exit_us",
	[POWER_AWAKE] = "awake_completion_us",
};

static const char *const power_names[POWER_PARTS] = {
	[POWER_FIRST] = "first_completion_us", [POWER_UP] = "up_us",
	[POWER_ENTRY] = "up_driver_us",	       [POWER_DOWN] = "down_us",
	[POWER_EXIT] = "down_driver_us",       [POWER_AWAKE] = "awake_completion_us",
};

static uint64_t power_now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000;
}

/* Something that needs the device. */
static int power_request(struct au_handle *handle, double *us)
{
	static char data[POWER_BYTES];
	struct au_io io = { .op = AU_RAW_FIRST, .data = data };
	uint64_t begin;
	int err;

	if (strcmp(au_unit_class(handle), "block") == 0) {
		io.op = AU_BLOCK_READ;
		io.length = POWER_BYTES;
	} else if (strcmp(au_unit_class(handle), "serial") == 0) {
		io.op = AU_SERIAL_SEND;
		io.length = 1;
	}
	begin = power_now_us();
	err = au_wait(handle, &io);
	*us = (double)(power_now_us() - begin);
	return err ? cli_error("a request failed: %s", strerror(-err)) : CLI_OK;
}

static int power_round(struct au_handle *handle, const char *path, double (*us)[POWER_PARTS])
{
	json_t *info, *power;
	int rc;

	info = control_call("POST", path, json_pack("{s:s}", "state", "d3"));
	if (!info)
		return CLI_FAILED;
	json_decref(info);
	rc = power_request(handle, &(*us)[POWER_FIRST]);
	if (!rc)
		rc = power_request(handle, &(*us)[POWER_AWAKE]);
	if (rc)
		return rc;
	/* It is up already: this only asks. */
	power = control_call("POST", path, json_pack("{s:s}", "state", "d0"));
	if (!power)
		return CLI_FAILED;
	for (unsigned int part = POWER_UP; part < POWER_AWAKE; part++)
		(*us)[part] = (double)json_integer_value(json_object_get(power, power_parts[part]));
	json_decref(power);
	return CLI_OK;
}

static int power_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static json_t *power_report(double (*us)[POWER_PARTS], unsigned int rounds)
{
	json_t *report = json_pack("{s:i}", "rounds", (int)rounds);
	double *column = malloc(rounds * sizeof(*column));

	for (unsigned int part = 0; column && part < POWER_PARTS; part++) {
		for (unsigned int i = 0; i < rounds; i++)
			column[i] = us[i][part];
		qsort(column, rounds, sizeof(*column), power_compare);
		json_object_set_new(report, power_names[part],
				    json_pack("{s:I s:I s:I}", "p50",
					      (json_int_t)column[rounds / 2], "p99",
					      (json_int_t)column[(rounds * 99 + 99) / 100 - 1],
					      "max", (json_int_t)column[rounds - 1]));
	}
	free(column);
	return report;
}

static int power_usage(void)
{
	fprintf(stderr, "usage: auriga bench power [--count N] [--json] NAME\n");
	return CLI_USAGE;
}

int bench_power(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "count", required_argument, NULL, 'n' },
						 { NULL, 0, NULL, 0 } };
	struct au_open_options how = { .size = sizeof(how),
				       .abi = AU_CLIENT_ABI,
				       .depth = 2,
				       .buffer_size = POWER_BYTES,
				       /* a serial port that is open for what comes stays up */
				       .flags = AU_OPEN_QUIET };
	unsigned long rounds = 200;
	struct au_handle *handle;
	double(*us)[POWER_PARTS];
	bool as_json = false;
	json_t *report;
	char *path;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'j')
			as_json = true;
		else if (opt == 'n')
			rounds = strtoul(optarg, NULL, 10);
		else
			return power_usage();
	}
	if (argc - optind != 1 || rounds == 0 || rounds > POWER_ROUNDS_MAX)
		return power_usage();
	if (au_open(argv[optind], &how, &handle) != 0)
		return cli_error("%s", au_errmsg());
	us = calloc(rounds, sizeof(*us));
	path = control_path("/v1/devices/", argv[optind], "/power");
	rc = us && path ? CLI_OK : cli_error("out of memory");
	for (unsigned long i = 0; i < rounds && rc == CLI_OK; i++)
		rc = power_round(handle, path, &us[i]);
	if (rc == CLI_OK) {
		report = power_report(us, (unsigned int)rounds);
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
