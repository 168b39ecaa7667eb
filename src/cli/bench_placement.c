/* SPDX-License-Identifier: MIT */
/*
 * `auriga bench placement`: the same request to the same driver, from nearest to farthest. One at a
 * time it is the time there and back; with 32 in flight, the time that each costs.
 */
#include "cli/bench.h"

#include <stdio.h>
#include <string.h>

enum place { PLACE_DIRECT, PLACE_THREAD, PLACE_SAME, PLACE_OTHER, PLACES };

static const struct {
	const char *name;
	const char *target;
	int client, host; /* which processor; -1: as it comes */
} places[PLACES] = {
	[PLACE_DIRECT] = { "inproc, poll=app", "inproc:echo,poll=app", 0, -1 },
	[PLACE_THREAD] = { "inproc, a thread", "inproc:echo", -1, -1 },
	[PLACE_SAME] = { "process, same core", BENCH_UNIT, 0, 0 },
	[PLACE_OTHER] = { "process, other core", BENCH_UNIT, 0, 1 },
};

/* One short measurement; handles are opened for it, so that each place starts alike. */
static double placement_once(const struct bench_world *world, enum place place,
			     unsigned int outstanding)
{
	int client = places[place].client, host = places[place].host;
	struct au_handle *h;
	double rate = -1;

	bench_pin(world, 0, client < 0 ? -1 : world->cpu[client]);
	if (places[place].host >= 0)
		bench_pin(world, world->host, world->cpu[host]);
	h = bench_open(world, places[place].target);
	if (h)
		rate = bench_rate(h, outstanding, 0.1);
	au_close(h);
	return rate;
}

int bench_placement(int argc, char **argv)
{
	static double one[PLACES][BENCH_ROUNDS], many[PLACES][BENCH_ROUNDS];
	bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
	struct bench_world world;
	json_t *list;
	int status;

	if (argc > 2 || (argc > 1 && !json))
		return cli_say("usage: auriga bench placement [--json]"), CLI_USAGE;
	status = bench_world_start(&world);
	for (unsigned int i = 0; i < BENCH_ROUNDS && status == 0; i++) {
		for (unsigned int p = 0; p < PLACES && status == 0; p++) {
			one[p][i] = placement_once(&world, p, 1);
			many[p][i] = placement_once(&world, p, 32);
			if (one[p][i] <= 0 || many[p][i] <= 0)
				status = CLI_FAILED;
		}
	}
	bench_world_stop(&world);
	if (status)
		return status;
	list = json_array();
	if (!json)
		printf("placement               one at a time   with 32 in flight\n");
	for (unsigned int p = 0; p < PLACES; p++) {
		double rtt = 1e9 / bench_median(one[p], BENCH_ROUNDS);
		double each = 1e9 / bench_median(many[p], BENCH_ROUNDS);

		if (!json)
			printf("%-22s  %10.0f ns   %14.0f ns\n", places[p].name, rtt, each);
		json_array_append_new(list,
				      json_pack("{s:s, s:f, s:f}", "placement", places[p].name,
						"rtt_ns", rtt, "each_ns", each));
	}
	if (json)
		cli_json(list);
	json_decref(list);
	return 0;
}
