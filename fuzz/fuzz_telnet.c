/* SPDX-License-Identifier: MIT */
/*
 * Telnet framing: a stream cut into pieces means what the whole means, and what was escaped comes
 * back as it was. The first byte of the input is the size of the pieces.
 */
#include "export/telnet.h"

#include <stdlib.h>
#include <string.h>

struct seen {
	size_t commands, options, subs, sub_bytes;
};

static void seen_command(void *context, uint8_t command)
{
	struct seen *seen = context;

	(void)command;
	seen->commands++;
}

static void seen_option(void *context, uint8_t verb, uint8_t option)
{
	struct seen *seen = context;

	(void)option;
	if (verb < TELNET_WILL)
		abort();
	seen->options++;
}

static void seen_sub(void *context, const uint8_t *data, size_t length)
{
	struct seen *seen = context;

	if (length > TELNET_SUB_MAX || (length && !data))
		abort();
	seen->subs++;
	seen->sub_bytes += length;
}

static size_t parse(const uint8_t *data, size_t size, size_t piece, uint8_t *out, struct seen *seen)
{
	struct telnet telnet = {
		.command = seen_command, .option = seen_option, .sub = seen_sub, .context = seen
	};
	size_t length = 0;

	for (size_t at = 0; at < size; at += piece) {
		size_t part = size - at < piece ? size - at : piece;

		length += telnet_parse(&telnet, data + at, part, out + length);
	}
	return length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole = { 0 }, pieces = { 0 }, plain = { 0 };
	uint8_t *one, *other;
	size_t length, escaped;

	if (size < 2)
		return 0;
	one = malloc(2 * size);
	other = malloc(2 * size);
	if (!one || !other)
		abort();

	length = parse(data + 1, size - 1, size, one, &whole);
	if (parse(data + 1, size - 1, 1u + data[0], other, &pieces) != length ||
	    memcmp(one, other, length) != 0 || memcmp(&whole, &pieces, sizeof(whole)) != 0)
		abort();

	escaped = telnet_escape(data, size, one);
	if (parse(one, escaped, escaped, other, &plain) != size || memcmp(other, data, size) != 0 ||
	    plain.commands || plain.options || plain.subs)
		abort();
	free(one);
	free(other);
	return 0;
}
