/* SPDX-License-Identifier: MIT */
/* What operations are called. */
#include "base/operation.h"

#include "auriga/block.h"
#include "auriga/serial.h"

#include <stdio.h>
#include <string.h>

static const struct {
	const char *cls;
	uint16_t op;
	const char *name;
} operations[] = {
	{ "block", AU_BLOCK_INFO, "info" },
	{ "block", AU_BLOCK_FLUSH, "flush" },
	{ "block", AU_BLOCK_DISCARD, "discard" },
	{ "block", AU_BLOCK_WRITE_ZEROES, "write-zeroes" },
	{ "block", AU_BLOCK_COMPARE_WRITE, "compare-write" },
	{ "block", AU_BLOCK_VERIFY, "verify" },
	{ "block", AU_BLOCK_READ, "read" },
	{ "block", AU_BLOCK_WRITE, "write" },
	{ "serial", AU_SERIAL_SEND, "send" },
	{ "serial", AU_SERIAL_RECV, "recv" },
	{ "serial", AU_SERIAL_SET_LINE, "set-line" },
	{ "serial", AU_SERIAL_GET_LINE, "get-line" },
	{ "serial", AU_SERIAL_SET_MODEM, "set-modem" },
	{ "serial", AU_SERIAL_GET_MODEM, "get-modem" },
	{ "serial", AU_SERIAL_SET_BREAK, "set-break" },
	{ "serial", AU_SERIAL_DRAIN, "drain" },
	{ "serial", AU_SERIAL_GET_COUNTERS, "get-counters" },
	{ "serial", AU_SERIAL_PURGE, "purge" },
};

const char *au_operation_name(const char *cls, uint16_t op, char *buf, size_t size)
{
	snprintf(buf, size, "operation %u", op);
	for (unsigned int i = 0; cls && i < sizeof(operations) / sizeof(operations[0]); i++)
		if (operations[i].op == op && !strcmp(operations[i].cls, cls))
			snprintf(buf, size, "%s", operations[i].name);
	return buf;
}
