/* SPDX-License-Identifier: MIT */
/*
 * Delays where one thread hands over to another: what comes in between then comes in between at
 * last. Most of the time nothing happens, so that both orders do.
 */
#include "framework/inject.h"

void auf_inject_delay(struct auf_inject *inject)
{
	uint64_t what = auf_inject_draw(inject, AU_INJECT_delay, 8);
	uint32_t most = inject->want.number[AU_INJECT_delay];

	if (what > 2)
		return;
	auf_inject_note(inject, AU_INJECT_delay);
	au_os_pause_us((uint32_t)auf_inject_draw(inject, AU_INJECT_delay, most) + 1);
}

void auf_lane_pause(struct au_lane *lane)
{
	auf_lane_delay(lane);
}
