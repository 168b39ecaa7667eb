/* SPDX-License-Identifier: MIT */
/* The serial class for applications that can wait: each function is one request, or a few. */
#include "auriga/serial.h"

#include <errno.h>
#include <string.h>

#include "auriga/auriga.h"
#include "base/abi.h"
#include "client/handle.h"

static uint32_t serial_chunk(const struct au_handle *h, size_t length)
{
	return length < h->buffer_size ? (uint32_t)length : h->buffer_size;
}

/* What is left of a time-out, for a request: at least 1 ms, 0 for ever. */
static uint32_t serial_time(uint64_t start_ns, int timeout_ms)
{
	uint64_t gone;

	if (timeout_ms < 0)
		return 0;
	gone = (handle_now_ns() - start_ns) / 1000000;
	return gone < (uint64_t)timeout_ms ? (uint32_t)((uint64_t)timeout_ms - gone) : 1;
}

int64_t au_serial_send(struct au_handle *h, const void *data, size_t length, int timeout_ms)
{
	uint64_t start = handle_now_ns();
	size_t sent = 0;
	int rc = 0;

	while (sent < length && rc == 0) {
		uint32_t chunk = serial_chunk(h, length - sent);
		struct au_io io = {
			.op = AU_SERIAL_SEND,
			.length = chunk,
			.data = (char *)(uintptr_t)data + sent,
			.timeout_ms = serial_time(start, timeout_ms),
		};

		rc = au_wait(h, &io);
		sent += io.status != -EINPROGRESS ? io.result : 0;
		if (rc == 0 && io.result < chunk)
			break;
	}
	return sent > 0 ? (int64_t)sent : rc;
}

int64_t au_serial_recv(struct au_handle *h, void *data, size_t length, size_t min, int timeout_ms)
{
	uint64_t start = handle_now_ns();
	size_t got = 0;
	int rc = 0;

	if (min > length)
		return client_fail(-EINVAL,
				   "au_serial_recv: at least %zu bytes into a buffer of %zu", min,
				   length);
	do {
		uint32_t chunk = serial_chunk(h, length - got);
		size_t wanted = min > got ? min - got : 0;
		struct au_io io = {
			.op = AU_SERIAL_RECV,
			.length = chunk,
			.arg = { wanted < chunk ? wanted : chunk },
			.data = (char *)data + got,
			.timeout_ms = serial_time(start, timeout_ms),
		};

		if (chunk == 0)
			break;
		rc = au_wait(h, &io);
		got += io.status != -EINPROGRESS ? io.result : 0;
		if (io.result < io.arg[0])
			break;
	} while (rc == 0 && got < min);
	return got > 0 ? (int64_t)got : rc;
}

int au_serial_set_line(struct au_handle *h, const struct au_serial_line *line)
{
	return handle_struct(h, AU_SERIAL_SET_LINE, &au_abi_serial_line, line);
}

int au_serial_get_line(struct au_handle *h, struct au_serial_line *line)
{
	return handle_struct(h, AU_SERIAL_GET_LINE, &au_abi_serial_line, line);
}

int au_serial_set_modem(struct au_handle *h, uint32_t mask, uint32_t value)
{
	struct au_io io = { .op = AU_SERIAL_SET_MODEM, .arg = { mask, value } };

	return au_wait(h, &io);
}

int au_serial_get_modem(struct au_handle *h, uint32_t *lines)
{
	struct au_io io = { .op = AU_SERIAL_GET_MODEM };
	int rc = au_wait(h, &io);

	if (rc == 0)
		*lines = io.result;
	return rc;
}

int au_serial_set_break(struct au_handle *h, bool on)
{
	struct au_io io = { .op = AU_SERIAL_SET_BREAK, .arg = { on } };

	return au_wait(h, &io);
}

int au_serial_drain(struct au_handle *h, int timeout_ms)
{
	struct au_io io = { .op = AU_SERIAL_DRAIN,
			    .timeout_ms = serial_time(handle_now_ns(), timeout_ms) };

	return au_wait(h, &io);
}

int au_serial_purge(struct au_handle *h, uint32_t what)
{
	struct au_io io = { .op = AU_SERIAL_PURGE, .arg = { what } };

	return au_wait(h, &io);
}

int au_serial_get_counters(struct au_handle *h, struct au_serial_counters *counters)
{
	return handle_struct(h, AU_SERIAL_GET_COUNTERS, &au_abi_serial_counters, counters);
}
