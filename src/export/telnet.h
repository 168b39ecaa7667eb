/* SPDX-License-Identifier: MIT */
/**
 * DOC: Telnet framing (RFC 854, 855), as far as RFC 2217 needs it
 *
 * A pure state machine over bytes from an untrusted peer: no allocation, no I/O.
 */
#ifndef AU_EXPORT_TELNET_H
#define AU_EXPORT_TELNET_H

#include <stddef.h>
#include <stdint.h>

enum { TELNET_SE = 240, TELNET_BREAK = 243, TELNET_SB = 250, TELNET_WILL = 251, TELNET_WONT = 252 };
enum { TELNET_DO = 253, TELNET_DONT = 254, TELNET_IAC = 255 };

#define TELNET_SUB_MAX \
	64 /* bytes of a sub-negotiation that are kept; the longest that matters is 6 */

/**
 * struct telnet - a parser.
 * @command: IAC BREAK and the like. Optional.
 * @option: WILL, WONT, DO or DONT of an option.
 * @sub: a sub-negotiation, unescaped; cut at TELNET_SUB_MAX.
 */
struct telnet {
	void (*command)(void *context, uint8_t command);
	void (*option)(void *context, uint8_t verb, uint8_t option);
	void (*sub)(void *context, const uint8_t *data, size_t length);
	void *context;
	int state;
	uint8_t verb;
	uint8_t buf[TELNET_SUB_MAX];
	size_t length;
};

/** telnet_parse - take @length bytes from the peer; plain data are left in @out (may be @in).
 * Return: how many. */
size_t telnet_parse(struct telnet *t, const uint8_t *in, size_t length, uint8_t *out);

/** telnet_escape - double each IAC. @out has room for 2 * @length. Return: bytes in @out. */
size_t telnet_escape(const uint8_t *in, size_t length, uint8_t *out);

#endif
