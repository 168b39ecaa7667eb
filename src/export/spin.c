/* SPDX-License-Identifier: MIT */
#include "export/spin.h"

#include <time.h>

#define SPIN_MIN_NS   1000u
#define SPIN_MAX_NS   100000u
#define SPIN_SOON_NS  (3 * SPIN_MAX_NS) /* a sleep ends with two wake-ups */
#define SPIN_LOOKS    16		/* between two looks at the clock */
#define SPIN_FUTILE   4u
#define SPIN_HOLD_MAX 4096u

uint64_t export_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int export_spin_poll(struct export_spin *spin, struct au_handle *handle, bool alone)
{
	uint64_t began;
	int n = au_poll(handle, 0, 0);

	if (n || !alone || !spin->ns)
		return n;
	began = export_now_ns();
	do {
		for (unsigned int i = 0; i < SPIN_LOOKS && !n; i++)
			n = au_poll(handle, 0, 0);
	} while (!n && export_now_ns() - began < spin->ns);
	if (n) {
		spin->futile = 0;
		spin->penalty -= spin->penalty != 0;
	}
	return n;
}

/*
 * A sleep that was short would have been better spent looking, a long one would not. Where the
 * longest look is for nothing several times in a row, though the sleep after it is short, the
 * driver waited for this processor: it gets it at once for a while.
 */
void export_spin_slept(struct export_spin *spin, uint64_t ns)
{
	if (spin->hold) {
		spin->hold--;
	} else if (ns > SPIN_SOON_NS) {
		spin->ns /= 2;
	} else if (spin->ns < SPIN_MAX_NS) {
		spin->ns = spin->ns < SPIN_MIN_NS ? SPIN_MIN_NS : spin->ns * 2;
		if (spin->ns > SPIN_MAX_NS)
			spin->ns = SPIN_MAX_NS;
	} else if (++spin->futile >= SPIN_FUTILE) {
		spin->futile = 0;
		spin->penalty = spin->penalty ? spin->penalty * 2 : 16;
		if (spin->penalty > SPIN_HOLD_MAX)
			spin->penalty = SPIN_HOLD_MAX;
		spin->hold = spin->penalty;
		spin->ns = 0;
	}
}
