/* SPDX-License-Identifier: MIT */
/*
 * `auriga bench channel`: the channel between a client and a sandboxed host, on two processors,
 * beside bare rings on the same two: what the checks, the handles and the framework cost. The two
 * take turns in one run, and medians are compared, so that other load hits both.
 */
#include "cli/bench.h"

#include "bare_ring.h"

#include <stdio.h>
#include <string.h>

struct channel_result {
	unsigned int outstanding;
	double channel, ring, ratio;
};

static int channel_measure(const struct bench_world *world, struct au_handle *h,
			   struct channel_result *r, double seconds)
{
	double channel[BENCH_ROUNDS], ring[BENCH_ROUNDS], ratio[BENCH_ROUNDS];

	for (unsigned int i = 0; i < BENCH_ROUNDS; i++) {
		struct bare_ring_result bare;
		int err;

		/* Its threads pin themselves to the processors that this one may use. */
		bench_pin(world, 0, -1);
		err = bare_ring_run(r->outstanding, seconds, &bare);
		bench_pin(world, 0, world->cpu[0]);
		if (err)
			return cli_error("the bare ring does not run: %s", strerror(-err));
		channel[i] = bench_rate(h, r->outstanding, seconds);
		if (channel[i] < 0)
			return CLI_FAILED;
		ring[i] = bare.rps;
		ratio[i] = channel[i] / bare.rps;
	}
	r->channel = bench_median(channel, BENCH_ROUNDS);
	r->ring = bench_median(ring, BENCH_ROUNDS);
	r->ratio = bench_median(ratio, BENCH_ROUNDS);
	return 0;
}

static double channel_rtt(const struct channel_result *r, double rate)
{
	return r->outstanding * 1e9 / rate;
}

static void channel_print(const struct channel_result *r, unsigned int count, bool json)
{
	json_t *list = json_array();

	if (!json)
		printf("outstanding   channel req/s   bare ring req/s   channel rtt   ring rtt   "
		       "ratio\n");
	for (unsigned int i = 0; i < count; i++, r++) {
		if (!json)
			printf("%11u   %13.0f   %15.0f   %8.0f ns   %5.0f ns   %5.2f\n",
			       r->outstanding, r->channel, r->ring, channel_rtt(r, r->channel),
			       channel_rtt(r, r->ring), r->ratio);
		json_array_append_new(
			list, json_pack("{s:i, s:f, s:f, s:f, s:f, s:f}", "outstanding",
					(int)r->outstanding, "channel_rps", r->channel, "ring_rps",
					r->ring, "channel_rtt_ns", channel_rtt(r, r->channel),
					"ring_rtt_ns", channel_rtt(r, r->ring), "ratio", r->ratio));
	}
	if (json)
		cli_json(list);
	json_decref(list);
}

int bench_channel(int argc, char **argv)
{
	struct channel_result results[] = { { 1 }, { 32 }, { 128 } };
	const unsigned int count = sizeof(results) / sizeof(results[0]);
	bool json = argc > 1 && strcmp(argv[1], "--json") == 0;
	struct bench_world world;
	struct au_handle *h;
	int status;

	if (argc > 2 || (argc > 1 && !json))
		return cli_say("usage: auriga bench channel [--json]"), CLI_USAGE;
	status = bench_world_start(&world);
	if (status)
		return status;
	if (world.cpus < 2) {
		bench_world_stop(&world);
		return cli_error("this takes two processors, and there is one");
	}
	h = bench_open(&world, BENCH_UNIT);
	status = h ? 0 : CLI_FAILED;
	if (h && bench_pin(&world, world.host, world.cpu[1]) != 0)
		status = cli_error("cannot pin the host to a processor: run this as root");
	for (unsigned int i = 0; i < count && status == 0; i++)
		status = channel_measure(&world, h, &results[i], 0.2);
	if (status == 0)
		channel_print(results, count, json);
	au_close(h);
	bench_world_stop(&world);
	return status;
}
