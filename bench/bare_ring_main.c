/* SPDX-License-Identifier: MIT */
/*
 * bare_ring [--seconds S] [--rounds N]: the bare ring and the channel's rings alone, in turns, on
 * the first two processors. Medians, as JSON: one object per number of outstanding requests; ratio
 * is the median of the turns' ratios.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare_ring.h"
#include "ring_pair.h"

#define MAX_ROUNDS 99

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), compare);
	return values[n / 2];
}

/* One number of outstanding requests: the two in turns, so that both meet the same weather. */
static int measure(unsigned outstanding, double seconds, unsigned rounds, const char *end)
{
	double bare[MAX_ROUNDS] = { 0 }, ours[MAX_ROUNDS] = { 0 }, ratio[MAX_ROUNDS] = { 0 };
	double ring, pair;

	for (unsigned n = 0; n < rounds; n++) {
		struct bare_ring_result a, b;
		int err = bare_ring_run(outstanding, seconds, &a);

		if (!err)
			err = ring_pair_run(outstanding, seconds, &b);
		if (err) {
			fprintf(stderr, "bare_ring: %s\n",
				err == -ENODEV ? "two processors are needed" : strerror(-err));
			return err;
		}
		bare[n] = a.rps;
		ours[n] = b.rps;
		ratio[n] = b.rps / a.rps;
	}
	ring = median(bare, rounds);
	pair = median(ours, rounds);
	printf("  {\"outstanding\": %u, \"ring_rps\": %.0f, \"ring_rtt_ns\": %.0f, "
	       "\"pair_rps\": %.0f, \"pair_rtt_ns\": %.0f, \"ratio\": %.2f}%s\n",
	       outstanding, ring, outstanding * 1e9 / ring, pair, outstanding * 1e9 / pair,
	       median(ratio, rounds), end);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 's' },
		{ "rounds", required_argument, NULL, 'n' },
		{ 0 },
	};
	static const unsigned counts[] = { 1, 32, 128 };
	double seconds = 0.1;
	unsigned rounds = 15;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 's')
			seconds = strtod(optarg, NULL);
		else if (opt == 'n')
			rounds = (unsigned)strtoul(optarg, NULL, 10);
		else
			rounds = 0;
	}
	if (rounds < 1 || rounds > MAX_ROUNDS || !(seconds > 0) || seconds > 60) {
		fprintf(stderr, "usage: bare_ring [--seconds S] [--rounds 1..%d]\n", MAX_ROUNDS);
		return 1;
	}
	printf("[\n");
	for (unsigned i = 0; i < 3; i++) {
		if (measure(counts[i], seconds, rounds, i < 2 ? "," : ""))
			return 1;
	}
	printf("]\n");
	return 0;
}
