/* SPDX-License-Identifier: MIT */
/*
 * pattern.h - what is written to disks whose content is looked at later: each 512 bytes say where
 * they belong, which of all writes they are of, and in which run, and are filled with what follows
 * from that.
 */
#ifndef AU_CLI_PATTERN_H
#define AU_CLI_PATTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PATTERN_SECTOR 512u

/** struct pattern_head - what each sector begins with. */
struct pattern_head {
	uint64_t magic;
	uint64_t run;
	uint64_t offset;
	uint64_t sequence;
};

/** pattern_fill - whole sectors of write @sequence to @offset. */
void pattern_fill(void *data, size_t bytes, uint64_t run, uint64_t offset, uint64_t sequence);
/**
 * pattern_sector - look at one sector; @head gets what it begins with.
 * Return: whether it is whole, and one that @run wrote to @offset, with whichever sequence.
 */
bool pattern_sector(const void *sector, uint64_t run, uint64_t offset, struct pattern_head *head);
/** pattern_is - whether a sector is of anybody's run. */
bool pattern_is(const struct pattern_head *head);
/** pattern_zero - whether a sector is all zeroes. */
bool pattern_zero(const void *sector);

#endif
