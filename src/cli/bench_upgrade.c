/* SPDX-License-Identifier: MIT */
/*
 * `auriga bench upgrade`: how long clients wait when a driver is replaced. Requests are outstanding
 * all the time; the longest time without a completion, from the moment at which the upgrade is
 * asked for until it is done, is its pause. A process of its own asks, so that nothing but the
 * device keeps the client from going on.
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
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX 100000u
#define DEPTH_MAX  256u
#define BYTES	   4096u
#define LATE_MS	   30000u

/**
 * struct upgrade_load - requests that are outstanding all the time.
 * @last_ns: when one completed; @gap_ns: the longest time between two since it was set to 0.
 */
struct upgrade_load {
	struct au_handle *handle;
	unsigned int depth;
	uint64_t blocks, random, completed, last_ns, gap_ns;
	int error;
	struct upgrade_io {
		struct au_io io;
		struct upgrade_load *load;
		char data[BYTES];
	} io[DEPTH_MAX];
};

static uint64_t upgrade_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void upgrade_submit(struct upgrade_load *load, struct upgrade_io *u)
{
	int rc;

	if (load->blocks) {
		load->random = load->random * 6364136223846793005ull + 1442695040888963407ull;
		u->io.arg[0] = (load->random >> 33) % load->blocks * BYTES;
	}
	rc = au_submit(load->handle, &u->io);
	if (rc)
		load->error = rc;
}

static void upgrade_done(struct au_io *io)
{
	struct upgrade_io *u = (struct upgrade_io *)io;
	struct upgrade_load *load = u->load;
	uint64_t now = upgrade_now_ns();

	if (io->status)
		load->error = io->status;
	load->completed++;
	if (now - load->last_ns > load->gap_ns)
		load->gap_ns = now - load->last_ns;
	load->last_ns = now;
	if (!load->error)
		upgrade_submit(load, u);
}

/* What any unit of its class answers at once. */
static int upgrade_begin(struct upgrade_load *load)
{
	struct au_block_info info = { .size = sizeof(info), .abi = 1 };
	const char *cls = au_unit_class(load->handle);
	struct au_io io = { .op = AU_RAW_FIRST, .length = 64 };

	if (!strcmp(cls, "block")) {
		if (au_block_info(load->handle, &info) || info.bytes < BYTES)
			return cli_error("%s: cannot be read from", au_unit_name(load->handle));
		load->blocks = info.bytes / BYTES;
		io = (struct au_io){ .op = AU_BLOCK_READ, .length = BYTES };
	} else if (!strcmp(cls, "serial")) {
		io = (struct au_io){ .op = AU_SERIAL_GET_COUNTERS,
				     .length = sizeof(struct au_serial_counters) };
	}
	load->last_ns = upgrade_now_ns();
	for (unsigned int i = 0; i < load->depth; i++) {
		struct upgrade_io *u = &load->io[i];

		u->load = load;
		u->io = io;
		u->io.data = u->data;
		u->io.done = upgrade_done;
		upgrade_submit(load, u);
	}
	return CLI_OK;
}

static int upgrade_error(const struct upgrade_load *load)
{
	return load->error ? cli_error("a request failed: %s", strerror(-load->error)) : CLI_OK;
}

static int upgrade_run(struct upgrade_load *load, unsigned long ms)
{
	uint64_t end = upgrade_now_ns() + ms * 1000000ull;

	while (upgrade_now_ns() < end && !load->error)
		if (au_poll(load->handle, 0, 10) < 0)
			break;
	return upgrade_error(load);
}

static int upgrade_ask(const char *path, const char *file)
{
	json_t *body = json_object(), *answer;

	if (file)
		json_object_set_new(body, "module", json_string(file));
	answer = control_call("POST", path, body);
	json_decref(answer);
	return answer ? 0 : 1;
}

/* One upgrade: the pause that this client has seen. */
static int upgrade_round(struct upgrade_load *load, const char *path, const char *file,
			 uint64_t *gap_ns)
{
	uint64_t end = upgrade_now_ns() + LATE_MS * 1000000ull, completed;
	pid_t pid;
	int status;

	load->gap_ns = 0;
	pid = fork();
	if (pid < 0)
		return cli_error("no process to ask for the upgrade: %s", strerror(errno));
	if (pid == 0)
		_exit(upgrade_ask(path, file));
	while (waitpid(pid, &status, WNOHANG) == 0) {
		if (load->error || au_poll(load->handle, 0, 1) < 0 || upgrade_now_ns() > end) {
			kill(pid, SIGKILL);
			waitpid(pid, &status, 0);
			return load->error ? upgrade_error(load)
					   : cli_error("no upgrade within %u s", LATE_MS / 1000);
		}
	}
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return CLI_FAILED; /* it has said why */
	/* The first completion by the new driver ends the pause. */
	for (completed = load->completed; load->completed < completed + load->depth;) {
		if (load->error || au_poll(load->handle, 0, 10) < 0 || upgrade_now_ns() > end)
			return load->error ? upgrade_error(load)
					   : cli_error("no request is completed any more");
	}
	*gap_ns = load->gap_ns;
	return CLI_OK;
}

static int upgrade_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void upgrade_report(uint64_t *gaps, unsigned int rounds, bool as_json)
{
	json_t *report;

	qsort(gaps, rounds, sizeof(*gaps), upgrade_compare);
	report = json_pack("{s:i, s:{s:I, s:I, s:I}}", "rounds", (int)rounds, "pause_us", "p50",
			   (json_int_t)(gaps[rounds / 2] / 1000), "p99",
			   (json_int_t)(gaps[(rounds * 99 + 99) / 100 - 1] / 1000), "max",
			   (json_int_t)(gaps[rounds - 1] / 1000));
	if (as_json)
		cli_json(report);
	else
		cli_print(report, 0);
	json_decref(report);
}

static int upgrade_usage(void)
{
	fprintf(stderr, "usage: auriga bench upgrade [--count N] [--interval MS] [--depth N] "
			"[--json] NAME [FILE.so]...\n");
	return CLI_USAGE;
}

int bench_upgrade(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' },
						 { "count", required_argument, NULL, 'n' },
						 { "interval", required_argument, NULL, 'i' },
						 { "depth", required_argument, NULL, 'd' },
						 { NULL, 0, NULL, 0 } };
	struct au_open_options how = { .size = sizeof(how), .abi = AU_CLIENT_ABI };
	static struct upgrade_load load = { .random = 1 };
	unsigned long rounds = 100, interval_ms = 200, depth = 32;
	char *path = NULL, *file = NULL;
	uint64_t *gaps = NULL;
	bool as_json = false;
	unsigned int files;
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
			return upgrade_usage();
	}
	if (argc - optind < 1 || rounds == 0 || rounds > ROUNDS_MAX || interval_ms > 3600000 ||
	    depth == 0 || depth > DEPTH_MAX)
		return upgrade_usage();
	files = (unsigned int)(argc - optind - 1);
	load.depth = (unsigned int)depth;
	how.depth = (uint32_t)depth + 1;
	how.buffer_size = BYTES;
	if (au_open(argv[optind], &how, &load.handle) != 0)
		return cli_error("%s", au_errmsg());
	gaps = calloc(rounds, sizeof(*gaps));
	path = control_path("/v1/devices/", argv[optind], "/upgrade");
	rc = gaps && path ? upgrade_begin(&load) : cli_error("out of memory");
	for (unsigned long i = 0; i < rounds && rc == CLI_OK; i++) {
		rc = upgrade_run(&load, interval_ms);
		if (rc != CLI_OK)
			break;
		free(file);
		file = files ? realpath(argv[optind + 1 + (int)(i % files)], NULL) : NULL;
		if (files && !file)
			rc = cli_error("%s: %s", argv[optind + 1 + (int)(i % files)],
				       strerror(errno));
		else
			rc = upgrade_round(&load, path, file, &gaps[i]);
		fprintf(stderr, "\r%lu of %lu: %.1f ms  ", i + 1, rounds, (double)gaps[i] / 1e6);
	}
	fprintf(stderr, "\n");
	if (rc == CLI_OK)
		upgrade_report(gaps, (unsigned int)rounds, as_json);
	free(file);
	free(gaps);
	free(path);
	au_close(load.handle);
	return rc;
}
