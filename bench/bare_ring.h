/* SPDX-License-Identifier: MIT */
/*
 * bare_ring.h - the yardstick: a pair of bare single-producer single-consumer rings, 64-byte
 * requests one way and 16-byte answers back, by value, with head and tail indices and cached remote
 * index. No checks, no sleeping, no doorbell: what two processors can do at best.
 */
#ifndef AU_BENCH_BARE_RING_H
#define AU_BENCH_BARE_RING_H

#include "pair.h"

/**
 * bare_ring_run - measure the bare rings
 * @outstanding: requests to keep in flight, 1 to 128
 * @seconds: how long
 * @result: filled
 *
 * Return: 0 or a negative errno, see pair_run().
 */
int bare_ring_run(unsigned outstanding, double seconds, struct bare_ring_result *result);

#endif
