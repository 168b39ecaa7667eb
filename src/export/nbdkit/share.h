/* SPDX-License-Identifier: MIT */
/*
 * share.h - one handle for many threads that each wait for what they asked for. Of those who wait
 * one polls, for all of them; the others sleep until theirs is complete, or until it is their turn
 * to poll. So one request alone costs no switch to another thread, and of many only those wake up
 * that have something to do.
 */
#ifndef AU_EXPORT_NBDKIT_SHARE_H
#define AU_EXPORT_NBDKIT_SHARE_H

#include "auriga/auriga.h"
#include "auriga/block.h"

#include <pthread.h>
#include <stdbool.h>

struct share_call;

/**
 * struct share - a block unit, opened.
 * @info: as it was at the open; @info.bytes as it is.
 * @piece: bytes that one request moves at most.
 * @calls: those that wait.
 * @polling: one of them polls.
 * @dead: the handle has failed for good.
 * @flying: requests that are not complete.
 * @attendant: looks after the handle while nobody waits; until @stop.
 * @hungry: calls that wait for room for another one.
 */
struct share {
	struct au_handle *handle;
	struct au_block_info info;
	uint32_t piece;
	pthread_mutex_t mutex;
	struct share_call *calls;
	bool polling;
	bool dead;
	unsigned int flying;
	unsigned int hungry;
	pthread_t attendant;
	bool attended;
	int stop;
};

/**
 * share_open - open a block unit. @why: has one line when it fails.
 * Return: the share, or NULL.
 */
struct share *share_open(const char *target, const char *runtime_dir, char *why, size_t size);
/** share_close - nobody waits any more. */
void share_close(struct share *share);
/** share_move - read or write @length bytes at @offset, from any thread. Return: as au_wait(). */
int share_move(struct share *share, uint16_t op, void *data, uint32_t length, uint64_t offset,
	       uint16_t flags);
/** share_range - discard, or write zeroes. */
int share_range(struct share *share, uint16_t op, uint64_t length, uint64_t offset);
/** share_flush - what was complete before is on the medium after. */
int share_flush(struct share *share);
/** share_dead - its device is gone: what is there now takes another open. */
bool share_dead(struct share *share);
/** share_bytes - its size now. */
uint64_t share_bytes(struct share *share);

#endif
