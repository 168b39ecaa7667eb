/* SPDX-License-Identifier: MIT */
#include "channel/direction.h"

#include <string.h>

#include "auriga/block.h"
#include "auriga/raw.h"
#include "auriga/serial.h"

static const struct au_direction direction_serial = {
	.of = {
		[AU_SERIAL_SEND] = AU_DATA_IN | AU_DATA_BYTES,
		[AU_SERIAL_RECV] = AU_DATA_OUT | AU_DATA_BYTES,
		[AU_SERIAL_SET_LINE] = AU_DATA_IN,
		[AU_SERIAL_GET_LINE] = AU_DATA_OUT | AU_DATA_ALL,
		[AU_SERIAL_GET_COUNTERS] = AU_DATA_OUT | AU_DATA_ALL,
	},
};

static const struct au_direction direction_block = {
	.flags = AU_BLOCK_FUA,
	.of = {
		[AU_BLOCK_INFO] = AU_DATA_OUT | AU_DATA_ALL,
		[AU_BLOCK_COMPARE_WRITE] = AU_DATA_IN | AU_DATA_ONCE,
		[AU_BLOCK_VERIFY] = AU_DATA_IN,
		[AU_BLOCK_READ] = AU_DATA_OUT | AU_DATA_BYTES,
		[AU_BLOCK_WRITE] = AU_DATA_IN | AU_DATA_BYTES,
	},
};

static const struct au_direction direction_any = { .raw = true };

const struct au_direction *au_direction_of_class(const char *cls)
{
	if (strcmp(cls, "serial") == 0)
		return &direction_serial;
	return strcmp(cls, "block") == 0 ? &direction_block : &direction_any;
}

uint8_t au_direction_raw(uint16_t op)
{
	if (op & AU_RAW_READ)
		return AU_DATA_OUT;
	return op & AU_RAW_WRITE ? AU_DATA_IN : AU_DATA_IN | AU_DATA_OUT;
}
