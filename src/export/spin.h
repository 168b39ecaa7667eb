/* SPDX-License-Identifier: MIT */
/*
 * spin.h - how long it pays to look for a completion before sleeping. What comes soon is not worth
 * a sleep and a wake-up, which takes longer than a request. But with many requests out, a sleep
 * lets one wake-up serve several, and on a machine whose processors are all wanted, looking only
 * keeps the driver from working.
 */
#ifndef AU_EXPORT_SPIN_H
#define AU_EXPORT_SPIN_H

#include <stdbool.h>
#include <stdint.h>

#include "auriga/auriga.h"

/** struct export_spin - zeroed at first. @ns: how long the next look may be. */
struct export_spin {
	uint32_t ns;
	uint32_t hold;
	uint32_t futile;
	uint32_t penalty;
};

/** export_now_ns - the clock. */
uint64_t export_now_ns(void);
/** export_spin_poll - au_poll() once, and if a single request is out (@alone) for a while.
 * Return: as au_poll(), 0: sleep. */
int export_spin_poll(struct export_spin *spin, struct au_handle *handle, bool alone);
/** export_spin_slept - a sleep followed, of @ns, which ended with a completion or so. */
void export_spin_slept(struct export_spin *spin, uint64_t ns);

#endif
