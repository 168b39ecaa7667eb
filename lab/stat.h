/* SPDX-License-Identifier: MIT */
/* stat.h: what the bridge counts and the guardian shows, in memory that both see. */
#ifndef LAB_STAT_H
#define LAB_STAT_H

#include <stdint.h>

#define LAB_MAX_FUNCS 64

/**
 * struct lab_stat - of one function; stored and loaded atomically.
 * @maps, @mapped: its client's maps and their bytes.
 * @faults: accesses to memory that the IOMMU has stopped and recorded.
 * @removed: it was pulled out.
 */
struct lab_stat {
	uint64_t maps, mapped, faults, removed;
};

#endif
