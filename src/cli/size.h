/* SPDX-License-Identifier: MIT */
/* size.h - "4k" and the like. */
#ifndef AU_CLI_SIZE_H
#define AU_CLI_SIZE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/** cli_size - a number with k, m, g or t behind it, for powers of 1024. Return: false: it is none.
 */
static inline bool cli_size(const char *text, uint64_t *value)
{
	static const char units[] = "kmgt";
	unsigned int shift = 0;
	const char *unit;
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 0);
	if (end == text || errno || strchr(text, '-'))
		return false;
	if (*end) {
		unit = strchr(units, *end | 0x20);
		if (!unit || end[1])
			return false;
		shift = 10 * (unsigned int)(unit - units + 1);
	}
	if (shift && *value >> (64 - shift))
		return false;
	*value <<= shift;
	return true;
}

#endif
