/* SPDX-License-Identifier: MIT */
/*
 * An application whose libauriga and drivers are of another version than itself. Built twice: as
 * one of today, which runs with libraries whose structures have grown, and (GROWN) as one of then,
 * with the libraries of today.
 */
#include <auriga/auriga.h>
#include <auriga/raw.h>
#include <auriga/serial.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CANARY 0xab

#define expect(what)                                                                           \
	do {                                                                                   \
		if (!(what)) {                                                                 \
			fprintf(stderr, "%s:%d: not so: %s (%s)\n", __FILE__, __LINE__, #what, \
				au_errmsg());                                                  \
			exit(1);                                                               \
		}                                                                              \
	} while (0)

/* What lies behind a structure of the application is not the library's. */
struct guarded_line {
	struct au_serial_line line;
	unsigned char behind[64];
};

struct guarded_counters {
	struct au_serial_counters counters;
	unsigned char behind[64];
};

static int is_canary(const unsigned char *at, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (at[i] != CANARY)
			return 0;
	return 1;
}

static struct au_handle *open_unit(const char *target)
{
	struct au_open_options options = {
		.size = sizeof(options), .abi = AU_CLIENT_ABI, .depth = 4, .buffer_size = 512
	};
	struct au_handle *h;

	expect(au_open(target, &options, &h) == 0);
	return h;
}

static void echo(const char *target)
{
	struct au_handle *h = open_unit(target);
	char data[40] = "whatever";
	struct au_io io = { .op = AU_RAW_FIRST, .length = sizeof(data), .data = data };

	for (int i = 0; i < 100; i++)
		expect(au_wait(h, &io) == 0 && io.result == sizeof(data));
	expect(strcmp(data, "whatever") == 0);
	au_close(h);
}

static void settings(struct au_handle *h)
{
	struct au_serial_line line = { .size = sizeof(line), .abi = 1, .baud = 4800 };
	struct guarded_line now;
	struct guarded_counters counters;

	line.data_bits = 7;
	line.stop_bits = 1;
	expect(au_serial_set_line(h, &line) == 0);
	memset(&now, CANARY, sizeof(now));
	expect(au_serial_get_line(h, &now.line) < 0); /* size and abi are not set */
	now.line.size = sizeof(now.line);
	now.line.abi = 1;
	expect(au_serial_get_line(h, &now.line) == 0);
	expect(now.line.baud == 4800 && now.line.data_bits == 7 && now.line.abi == 1);
	expect(is_canary(now.behind, sizeof(now.behind)));
	/* what came can be given back */
	expect(au_serial_set_line(h, &now.line) == 0);
	memset(&counters, CANARY, sizeof(counters));
	counters.counters.size = sizeof(counters.counters);
	counters.counters.abi = 1;
	expect(au_serial_get_counters(h, &counters.counters) == 0);
	expect(counters.counters.tx_bytes == 5 && counters.counters.breaks == 0);
	expect(is_canary(counters.behind, sizeof(counters.behind)));
#ifdef GROWN
	/* The library does not know the rest, and says so. */
	expect(now.line.size == 16 && now.line.grown[0] == 0 && now.line.grown[2] == 0);
	expect(counters.counters.size == 88 && counters.counters.grown[1] == 0);
	line.grown[2] = 1;
	expect(au_serial_set_line(h, &line) == -EINVAL);
	expect(sizeof(line) == 40);
#else
	expect(now.line.size == sizeof(line) && sizeof(line) == 16);
	expect(counters.counters.size == sizeof(counters.counters));
#endif
}

static void serial(const char *target)
{
	struct au_handle *h = open_unit(target);
	char data[8] = "";

	expect(au_serial_send(h, "hello", 5, 1000) == 5);
	expect(au_serial_recv(h, data, sizeof(data), 5, 1000) == 5 && strcmp(data, "hello") == 0);
	settings(h);
	expect(au_serial_set_break(h, true) == 0 && au_serial_set_break(h, false) == 0);
	au_close(h);
}

#ifdef GROWN
static void unknown_options(void)
{
	struct au_open_options options = { .size = sizeof(options), .abi = AU_CLIENT_ABI };
	struct au_handle *h;

	options.grown[0] = 1;
	expect(au_open("inproc:echo", &options, &h) == -EPROTO && strstr(au_errmsg(), "newer"));
}
#endif

int main(void)
{
	echo("inproc:echo");
	echo("inproc:echo,poll=app");
	serial("inproc:serial-loop");
	serial("inproc:serial-loop,poll=app");
#ifdef GROWN
	unknown_options();
#endif
	return 0;
}
