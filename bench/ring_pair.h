/* SPDX-License-Identifier: MIT */
/* ring_pair.h - the channel's rings by themselves, in the harness of the bare ring */
#ifndef AU_BENCH_RING_PAIR_H
#define AU_BENCH_RING_PAIR_H

#include "pair.h"

/**
 * ring_pair_run - measure src/channel/ring.h
 * @outstanding: requests to keep in flight, 1 to 128
 * @seconds: how long
 * @result: filled
 *
 * Return: 0 or a negative errno, see pair_run().
 */
int ring_pair_run(unsigned outstanding, double seconds, struct bare_ring_result *result);

#endif
