/* SPDX-License-Identifier: MIT */
/*
 * direction.h - which way the data of an operation go, by class: what has to be copied. As many
 * bytes come back as the result says, and never more than were asked for.
 */
#ifndef AU_CHANNEL_DIRECTION_H
#define AU_CHANNEL_DIRECTION_H

#include <stdbool.h>
#include <stdint.h>

#define AU_DATA_IN	 1u  /* to the driver */
#define AU_DATA_OUT	 2u  /* from the driver */
#define AU_DATA_BYTES	 4u  /* the result counts bytes at @data: never more than there are */
#define AU_DATA_ALL	 8u  /* all of @data comes back, whatever the result */
#define AU_DATA_ONCE	 16u /* done twice it is not the same: never sent to a second driver */

#define AU_DIRECTION_OPS 32u

/** struct au_direction - by operation; @raw: operations say it themselves, see raw.h; @flags: those
 * of au_io that the class knows. */
struct au_direction {
	uint8_t of[AU_DIRECTION_OPS];
	bool raw;
	uint16_t flags;
};

/** au_direction_of_class - a constant; a class that is not known is treated as raw. */
const struct au_direction *au_direction_of_class(const char *cls);

/** au_direction_raw - of a raw operation. */
uint8_t au_direction_raw(uint16_t op);

/** au_direction - AU_DATA_* of operation @op. */
static inline uint8_t au_direction(const struct au_direction *d, uint16_t op)
{
	return d->raw || op >= AU_DIRECTION_OPS ? au_direction_raw(op) : d->of[op];
}

#endif
