/* SPDX-License-Identifier: MIT */
/* Where the rings and the progress table of a channel lie in its memfd. */
#include "channel/wire.h"

#include <errno.h>
#include <stddef.h>

#include "channel/ring.h"

#define LAYOUT_PAGE	     4096u
#define LAYOUT_PROGRESS_SIZE 16u
#define LAYOUT_ENTRIES_MIN   64u

static uint64_t layout_page_up(uint64_t offset)
{
	return (offset + LAYOUT_PAGE - 1) & ~(uint64_t)(LAYOUT_PAGE - 1);
}

/*
 * Twice the depth: each side gives entries back at least once per depth of them, so a side that
 * keeps the rules never finds a ring full. Small channels get more, to look at the other side's
 * head less often.
 */
uint32_t au_wire_entries(uint32_t depth)
{
	return depth * 2 < LAYOUT_ENTRIES_MIN ? LAYOUT_ENTRIES_MIN : depth * 2;
}

int au_wire_layout(uint32_t depth, struct au_wire_layout *layout)
{
	uint32_t entries;
	uint64_t at = 0;

	if (depth == 0 || depth > AU_WIRE_DEPTH_MAX || (depth & (depth - 1)) != 0)
		return -EINVAL;
	entries = au_wire_entries(depth);
	*layout = (struct au_wire_layout){ .depth = depth, .entries = entries };
	/* A page apart: no cache line, and no adjacent-line prefetch, is shared by two rings. */
	layout->submit = at;
	at = layout_page_up(at + au_ring_bytes(AU_RING64, entries));
	layout->complete = at;
	at = layout_page_up(at + au_ring_bytes(AU_RING16, entries));
	layout->control = at;
	at = layout_page_up(at + au_ring_bytes(AU_RING64, AU_WIRE_CONTROL_ENTRIES));
	layout->event = at;
	at = layout_page_up(at + au_ring_bytes(AU_RING64, AU_WIRE_EVENT_ENTRIES));
	layout->progress = at;
	layout->size = layout_page_up(at + (uint64_t)depth * LAYOUT_PROGRESS_SIZE);
	return 0;
}
