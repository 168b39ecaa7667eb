/* SPDX-License-Identifier: MIT */
/*
 * share.h - one handle for many threads that each wait for what they asked for. Of those who wait
 * one leads: it submits what the others left, polls for all of them, and wakes those whose requests
 * are complete; the others sleep until then, or until it is their turn to lead. So one request
 * alone costs no switch to another thread, and one wake-up of the driver, or by it, serves many.
 *
 * Data lie in the handle's own buffers, where a driver or a device finds them; each thread copies
 * its own from and to there, with no lock held.
 */
#ifndef AU_EXPORT_NBDKIT_SHARE_H
#define AU_EXPORT_NBDKIT_SHARE_H

#include "auriga/auriga.h"
#include "auriga/block.h"
#include "export/spin.h"

#include <pthread.h>
#include <stdbool.h>

struct share_call;
struct share_place;

/**
 * struct share - a block unit, opened.
 * @info: as it was at the open; @info.bytes as it is.
 * @piece: bytes that one request moves at most.
 * @places: room for requests, @free of them are.
 * @sleepers: those that wait for their requests, and may be asked to lead; the oldest first.
 * @hungry: those that wait for a place.
 * @leading: one of them polls. @heir: was woken to do so, and will be there soon. @asleep: it has
 * nothing to do, so that others have to submit themselves what they want.
 * @dead: the handle has failed for good.
 * @complete: what the last poll has brought; the leader's.
 * @spin: the leader's.
 * @attendant: looks after the handle while nobody waits; until @stop.
 */
struct share {
	struct au_handle *handle;
	struct au_block_info info;
	uint32_t piece;
	struct share_place *places;
	pthread_mutex_t mutex;
	struct share_place *free;
	struct share_call *sleepers, **sleepers_end;
	struct share_call *hungry, **hungry_end;
	const struct share_call *heir;
	bool leading;
	bool asleep;
	bool dead;
	struct share_place *complete;
	struct export_spin spin;
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
/** share_alive - take in what the unit has said of itself. Return: false: its device is gone, and
 * what is there now takes another open. */
bool share_alive(struct share *share);
/** share_bytes - its size now. */
uint64_t share_bytes(struct share *share);

#endif
