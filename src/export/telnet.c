/* SPDX-License-Identifier: MIT */
#include "export/telnet.h"

enum { ST_DATA, ST_IAC, ST_OPTION, ST_SUB, ST_SUB_IAC };

static void telnet_keep(struct telnet *t, uint8_t byte)
{
	if (t->length < sizeof(t->buf))
		t->buf[t->length++] = byte;
}

size_t telnet_parse(struct telnet *t, const uint8_t *in, size_t length, uint8_t *out)
{
	size_t n = 0;

	for (size_t i = 0; i < length; i++) {
		uint8_t byte = in[i];

		switch (t->state) {
		case ST_DATA:
			if (byte == TELNET_IAC)
				t->state = ST_IAC;
			else
				out[n++] = byte;
			break;
		case ST_IAC:
			t->state = ST_DATA;
			if (byte == TELNET_IAC) {
				out[n++] = byte;
			} else if (byte == TELNET_SB) {
				t->length = 0;
				t->state = ST_SUB;
			} else if (byte >= TELNET_WILL) {
				t->verb = byte;
				t->state = ST_OPTION;
			} else if (t->command) {
				t->command(t->context, byte);
			}
			break;
		case ST_OPTION:
			t->state = ST_DATA;
			t->option(t->context, t->verb, byte);
			break;
		case ST_SUB:
			if (byte == TELNET_IAC)
				t->state = ST_SUB_IAC;
			else
				telnet_keep(t, byte);
			break;
		default: /* ST_SUB_IAC */
			t->state = ST_SUB;
			if (byte == TELNET_IAC) {
				telnet_keep(t, byte);
			} else {
				t->state = ST_DATA;
				if (byte == TELNET_SE)
					t->sub(t->context, t->buf, t->length);
			}
			break;
		}
	}
	return n;
}

size_t telnet_escape(const uint8_t *in, size_t length, uint8_t *out)
{
	size_t n = 0;

	for (size_t i = 0; i < length; i++) {
		if (in[i] == TELNET_IAC)
			out[n++] = TELNET_IAC;
		out[n++] = in[i];
	}
	return n;
}
