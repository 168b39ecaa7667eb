/* SPDX-License-Identifier: MIT */
#include "cli/pattern.h"

#include <string.h>

#define PATTERN_MAGIC 0x6b6c624167727541u

static uint64_t pattern_word(const struct pattern_head *head, unsigned int i)
{
	return (head->run ^ head->offset ^ head->sequence << 32 ^ i) * 0x9e3779b97f4a7c15u;
}

void pattern_fill(void *data, size_t bytes, uint64_t run, uint64_t offset, uint64_t sequence)
{
	char *at = data;

	for (size_t done = 0; done < bytes; done += PATTERN_SECTOR, at += PATTERN_SECTOR) {
		const struct pattern_head head = { PATTERN_MAGIC, run, offset + done, sequence };

		memcpy(at, &head, sizeof(head));
		for (unsigned int i = sizeof(head); i < PATTERN_SECTOR; i += 8) {
			uint64_t word = pattern_word(&head, i);

			memcpy(at + i, &word, sizeof(word));
		}
	}
}

bool pattern_is(const struct pattern_head *head)
{
	return head->magic == PATTERN_MAGIC;
}

bool pattern_sector(const void *sector, uint64_t run, uint64_t offset, struct pattern_head *head)
{
	const char *at = sector;

	memcpy(head, at, sizeof(*head));
	if (!pattern_is(head) || head->run != run || head->offset != offset)
		return false;
	for (unsigned int i = sizeof(*head); i < PATTERN_SECTOR; i += 8) {
		uint64_t word;

		memcpy(&word, at + i, sizeof(word));
		if (word != pattern_word(head, i))
			return false;
	}
	return true;
}

bool pattern_zero(const void *sector)
{
	static const char zero[PATTERN_SECTOR];

	return memcmp(sector, zero, PATTERN_SECTOR) == 0;
}
