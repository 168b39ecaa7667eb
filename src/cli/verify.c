/* SPDX-License-Identifier: MIT */
/* `auriga verify`: see cert.h. */
#include "cli/cert.h"
#include "cli/cert_client.h"

#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VERIFY_FULL_S 600.0 /* --full, without --time */

enum {
	OPT_QUICK = 256,
	OPT_FULL,
	OPT_SEED,
	OPT_REPORT,
	OPT_TIME,
	OPT_JSON,
	OPT_PLACEMENT,
	OPT_STEPS,
	OPT_ONLY,
	OPT_MACHINE,
	OPT_FUNCTION,
	OPT_PEER,
	OPT_OP,
	OPT_NO_DATA,
	OPT_OVERWRITE,
	OPT_LIST,
	OPT_CLIENT,
	OPT_CONTROL,
	OPT_HARD,
	OPT_PROBE
};

static const struct option verify_options[] = {
	{ "quick", no_argument, NULL, OPT_QUICK },
	{ "full", no_argument, NULL, OPT_FULL },
	{ "seed", required_argument, NULL, OPT_SEED },
	{ "report", required_argument, NULL, OPT_REPORT },
	{ "time", required_argument, NULL, OPT_TIME },
	{ "json", no_argument, NULL, OPT_JSON },
	{ "placement", required_argument, NULL, OPT_PLACEMENT },
	{ "steps", required_argument, NULL, OPT_STEPS },
	{ "only", required_argument, NULL, OPT_ONLY },
	{ "machine", required_argument, NULL, OPT_MACHINE },
	{ "function", required_argument, NULL, OPT_FUNCTION },
	{ "peer", required_argument, NULL, OPT_PEER },
	{ "op", required_argument, NULL, OPT_OP },
	{ "no-data", no_argument, NULL, OPT_NO_DATA },
	{ "overwrite", no_argument, NULL, OPT_OVERWRITE },
	{ "list", no_argument, NULL, OPT_LIST },
	/* What it starts its clients with. */
	{ "client", required_argument, NULL, OPT_CLIENT },
	{ "control", no_argument, NULL, OPT_CONTROL },
	{ "hard", no_argument, NULL, OPT_HARD },
	{ "probe", no_argument, NULL, OPT_PROBE },
	{ NULL, 0, NULL, 0 },
};

static bool verify_number(const char *text, uint64_t max, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	*value = strtoull(text, &end, 0);
	return *end == 0 && *value <= max;
}

/* "90", "90s", "30m", "2h". */
static bool verify_time(const char *text, double *seconds)
{
	static const char units[] = "smh";
	static const double factors[] = { 1, 60, 3600 };
	const char *unit;
	char *end;

	*seconds = strtod(text, &end);
	if (end == text || !(*seconds >= 0 && *seconds < 1e7))
		return false;
	if (!*end)
		return true;
	unit = strchr(units, *end);
	if (!unit || end[1])
		return false;
	*seconds *= factors[unit - units];
	return true;
}

/* "7", or "3-9". */
static bool verify_steps(const char *text, struct cert_run *run)
{
	char *end;

	run->first = (unsigned int)strtoul(text, &end, 10);
	run->last = run->first;
	if (*end == '-')
		run->last = (unsigned int)strtoul(end + 1, &end, 10);
	return *end == 0 && run->first && run->last >= run->first;
}

static bool verify_placement(const char *text, struct cert_run *run)
{
	for (unsigned int i = 0; i < CERT_PLACES; i++) {
		run->places[i] = strcmp(text, cert_place_name(i)) == 0;
		if (run->places[i])
			return true;
	}
	return false;
}

static bool verify_client(const char *text, struct cert_options *client)
{
	return sscanf(text, "%u/%u", &client->part, &client->parts) == 2 && client->parts &&
	       client->part < client->parts;
}

static bool verify_option(int opt, struct cert_run *run, struct cert_options *client, bool *probe)
{
	uint64_t number = 0;

	switch (opt) {
	case OPT_QUICK:
		run->full = false;
		return true;
	case OPT_FULL:
		run->full = true;
		return true;
	case OPT_SEED:
		return verify_number(optarg, INT64_MAX, &run->seed);
	case OPT_REPORT:
		run->report = optarg;
		return true;
	case OPT_TIME:
		return verify_time(optarg, &run->seconds);
	case OPT_JSON:
		run->json = true;
		return true;
	case OPT_PLACEMENT:
		return verify_placement(optarg, run);
	case OPT_STEPS:
		return verify_steps(optarg, run);
	case OPT_ONLY:
		run->only = optarg;
		return true;
	case OPT_MACHINE:
		run->machine = optarg;
		return true;
	case OPT_FUNCTION:
		run->wanted_function = optarg;
		return true;
	case OPT_PEER:
		if (run->peer_count == CERT_UNITS)
			return false;
		run->peers[run->peer_count++] = optarg;
		return true;
	case OPT_OP:
		if (!verify_number(optarg, UINT16_MAX, &number))
			return false;
		run->op = (uint16_t)number;
		return true;
	case OPT_NO_DATA:
		run->no_data = true;
		return true;
	case OPT_OVERWRITE:
		run->overwrite = true;
		return true;
	case OPT_CLIENT:
		return verify_client(optarg, client);
	case OPT_CONTROL:
		return client->control = true;
	case OPT_HARD:
		return client->hard = true;
	case OPT_PROBE:
		return *probe = true;
	default:
		return false;
	}
}

static int verify_run(struct cert_run *run)
{
	unsigned int places = 0;
	int rc;

	signal(SIGPIPE, SIG_IGN);
	run->results = json_array();
	/* In the program itself: a unit that a manager runs is the manager's. */
	rc = cert_world_begin(run);
	for (unsigned int i = 0; i < CERT_PLACES; i++) {
		run->places[i] &= run->own || i == CERT_PROCESS;
		places += run->places[i];
	}
	if (!rc && !places)
		rc = cli_error("%s is a manager's: leave out --placement", run->target);
	if (!rc) {
		if (!run->seconds && run->full)
			run->seconds = VERIFY_FULL_S;
		run->seconds /= places;
		for (unsigned int i = 0; i < CERT_PLACES; i++) {
			run->place = i;
			if (run->places[i])
				cert_placement(run);
		}
		rc = cert_report_end(run);
	}
	cert_world_end(run);
	json_decref(run->results);
	json_decref(run->deaths);
	return rc;
}

int cmd_verify(const struct cli_command *self, int argc, char **argv)
{
	static struct cert_run run = { .op = 16, .last = UINT32_MAX };
	struct cert_options client = { .op = 16 };
	bool probe = false, placed;
	int opt;

	run.seed = (uint64_t)time(NULL) % 1000000;
	while ((opt = getopt_long(argc, argv, "", verify_options, NULL)) != -1) {
		if (opt == OPT_LIST) {
			cert_list();
			return CLI_OK;
		}
		if (!verify_option(opt, &run, &client, &probe))
			return cli_usage(self);
	}
	if (argc - optind != 1)
		return cli_usage(self);
	run.target = argv[optind];
	if (client.parts) {
		client.target = run.target;
		client.seed = run.seed;
		client.no_data = run.no_data;
		client.op = run.op;
		return cert_client_run(&client, probe);
	}
	placed = run.places[CERT_PROCESS] || run.places[CERT_INPROC] || run.places[CERT_APP];
	if (!placed && strncmp(run.target, "inproc:", 7) == 0) {
		run.places[strstr(run.target, ",poll=app") ? CERT_APP : CERT_INPROC] = true;
	} else if (!placed) {
		for (unsigned int i = 0; i < CERT_PLACES; i++)
			run.places[i] = true;
	}
	return verify_run(&run);
}
