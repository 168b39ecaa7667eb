/* SPDX-License-Identifier: MIT */
/*
 * bus_poke ADDRESS info|loopback|measure|watch: a UART in reach of the bus, without a driver.
 *
 * info: what there is, as JSON. loopback: bytes through the UART's own loop, with interrupts.
 * measure [ROUNDS]: what accesses cost, median in microseconds, as JSON. watch: wait until the
 * function is gone and print why.
 */
#include "bus/bus.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* PC16550D, 8.0 */
enum { UART_DATA, UART_IER, UART_FCR, UART_LCR, UART_MCR, UART_LSR, UART_MSR, UART_SCR };
#define UART_IER_RX    0x01
#define UART_FCR_CLEAR 0x07 /* on, both queues emptied */
#define UART_LCR_8N1   0x03
#define UART_MCR_LOOP  0x1b /* loop, OUT2, RTS, DTR */
#define UART_LSR_READY 0x01
#define UART_FIFO      16

static struct au_bus *bus;

static int fail(const char *what)
{
	fprintf(stderr, "bus_poke: %s%s%s\n", what, bus && bus->gone ? ": " : "",
		bus && bus->gone ? bus->why : "");
	return 1;
}

static uint8_t get(uint64_t reg)
{
	uint64_t value;

	bus->ops->read(bus, 0, reg, 1, &value);
	return (uint8_t)value;
}

static void put(uint64_t reg, uint8_t value)
{
	bus->ops->write(bus, 0, reg, 1, value, true);
}

static void uart_loop(void)
{
	put(UART_IER, 0);
	put(UART_FCR, UART_FCR_CLEAR);
	put(UART_LCR, UART_LCR_8N1);
	put(UART_MCR, UART_MCR_LOOP);
	au_bus_flush(bus);
}

/* ---------------------------------------------------------------- commands */

static int info(void)
{
	uint32_t ids, class_code;

	if (au_pci_ids(bus, &ids, &class_code))
		return fail("the device does not answer");
	printf("{\"vendor\": %u, \"device\": %u, \"class\": %u, \"express\": %u, \"bars\": [",
	       ids >> 16, ids & 0xffff, class_code, au_pci_capability(bus, 0x10));
	for (unsigned int i = 0; i < AU_BUS_BARS; i++)
		printf("%s{\"size\": %llu, \"io\": %s, \"mapped\": %s}", i ? ", " : "",
		       (unsigned long long)bus->regions[i].size,
		       bus->regions[i].io ? "true" : "false",
		       bus->regions[i].areas ? "true" : "false");
	printf("]}\n");
	return 0;
}

/* Wait for the interrupt, take what is there, unmask. */
static int take(int irq, uint8_t *in, unsigned int count)
{
	struct pollfd wait = { .fd = irq, .events = POLLIN };
	eventfd_t fired;

	if (poll(&wait, 1, 2000) != 1 || eventfd_read(irq, &fired))
		return fail("no interrupt came");
	if (!(get(UART_LSR) & UART_LSR_READY))
		return fail("an interrupt without data");
	if (bus->ops->read_rep8(bus, 0, UART_DATA, in, count))
		return fail("the data could not be read");
	if (get(UART_LSR) & UART_LSR_READY)
		return fail("more data than was sent");
	if (bus->ops->irq_unmask(bus, 0))
		return fail("the interrupt could not be unmasked");
	return 0;
}

static int loopback(void)
{
	uint8_t out[UART_FIFO], in[UART_FIFO];
	int irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), failed = 0;

	if (bus->ops->irq_set(bus, 0, &irq, 1))
		return fail("the interrupt could not be connected");
	uart_loop();
	put(UART_IER, UART_IER_RX);
	for (unsigned int round = 0; round < 50 && !failed; round++) {
		for (unsigned int i = 0; i < UART_FIFO; i++)
			out[i] = (uint8_t)(round * 31 + i * 7);
		memset(in, 0, sizeof(in));
		bus->ops->write_rep8(bus, 0, UART_DATA, out, UART_FIFO);
		failed = take(irq, in, UART_FIFO);
		if (!failed && memcmp(in, out, UART_FIFO) != 0)
			failed = fail("what came back is not what was sent");
	}
	put(UART_IER, 0);
	au_bus_flush(bus);
	bus->ops->irq_set(bus, 0, NULL, 0);
	close(irq);
	if (!failed)
		printf("50 rounds of %d bytes\n", UART_FIFO);
	return failed;
}

static double now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void do_read(void)
{
	get(UART_SCR);
}

static void do_write(void)
{
	bus->ops->write(bus, 0, UART_SCR, 1, 0x5a, false);
}

static void do_post(void)
{
	put(UART_SCR, 0x5a);
	au_bus_flush(bus);
}

static void do_read_rep14(void)
{
	uint8_t bytes[14];

	bus->ops->read_rep8(bus, 0, UART_SCR, bytes, sizeof(bytes));
}

/* Sent, not waited for: the read behind it is what the caller pays for. */
static void do_write_rep16(void)
{
	static const uint8_t bytes[16];

	bus->ops->write_rep8(bus, 0, UART_SCR, bytes, sizeof(bytes));
}

static void do_write_rep16_read(void)
{
	do_write_rep16();
	do_read();
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int measure(unsigned int rounds)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} what[] = {
		{ "read", do_read },
		{ "write", do_write },
		{ "post_flush", do_post },
		{ "read_rep14", do_read_rep14 },
		{ "write_rep16", do_write_rep16 },
		{ "write_rep16_then_read", do_write_rep16_read },
	};
	double *times = calloc(rounds, sizeof(*times)), begin;

	if (!times)
		return fail("no memory");
	printf("{");
	for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
		for (unsigned int n = 0; n < rounds; n++) {
			begin = now_us();
			what[i].fn();
			times[n] = now_us() - begin;
			do_read(); /* what was posted is done now */
		}
		qsort(times, rounds, sizeof(*times), compare);
		printf("%s\"%s\": [%.1f, %.1f]", i ? ", " : "", what[i].name, times[rounds / 2],
		       times[rounds * 9 / 10]);
	}
	printf("}\n");
	free(times);
	return bus->gone ? fail("it went away") : 0;
}

static int watch(void)
{
	struct pollfd wait = { .fd = bus->ops->wait_fd(bus), .events = POLLIN };

	printf("watching\n");
	fflush(stdout);
	while (!bus->gone) {
		if (poll(&wait, 1, 20000) != 1)
			return fail("it is still there");
		bus->ops->attend(bus);
	}
	printf("%s\n", bus->why);
	return get(UART_SCR) == 0xff ? 0 : fail("it reads as if it were there");
}

/* Take the decoding of memory away from below a mapped BAR: reads end in SIGBUS, if not guarded. */
static int undecoded(void)
{
	volatile uint32_t *bar = au_bus_mapped(&bus->regions[0], 0, 4);
	uint64_t command;

	if (!bar || *bar == 0xffffffff)
		return fail("BAR 0 is not mapped, or the device is dead");
	if (bus->ops->read(bus, AU_BUS_REGION_CONFIG, 4, 2, &command) ||
	    bus->ops->write(bus, AU_BUS_REGION_CONFIG, 4, 2, command & ~2ull, false))
		return fail("the command register cannot be written");
	if (*bar != 0xffffffff)
		return fail("it still answers");
	*bar = 1;
	bus->ops->attend(bus);
	if (!bus->gone)
		return fail("nobody said that it is gone");
	printf("%s\n", bus->why);
	return bus->ops->read(bus, AU_BUS_REGION_CONFIG, 0, 2, &command) == -19 &&
			       command == 0xffff && bar[1] == 0xffffffff
		       ? 0
		       : fail("it is not gone altogether");
}

int main(int argc, char **argv)
{
	const char *timeout = getenv("BUS_TIMEOUT_MS");
	struct au_bus_session session;
	char error[200];
	int fds[AU_BUS_FDS], result;

	if (argc < 3) {
		fprintf(stderr,
			"usage: bus_poke ADDRESS info|loopback|measure [ROUNDS]|undecoded|watch\n");
		return 2;
	}
	if (au_bus_open(argv[1], 1000, &session, fds, error, sizeof(error))) {
		fprintf(stderr, "bus_poke: %s\n", error);
		return 1;
	}
	session.timeout_ms = timeout ? (uint32_t)strtoul(timeout, NULL, 10) : 0;
	if (au_bus_adopt(fds, &session, argv[1], &bus))
		return fail("the session cannot be adopted");
	if (au_pci_enable(bus, true, false, true))
		result = fail("the device cannot be enabled");
	else if (strcmp(argv[2], "info") == 0)
		result = info();
	else if (strcmp(argv[2], "loopback") == 0)
		result = loopback();
	else if (strcmp(argv[2], "measure") == 0)
		result = measure(argc > 3 ? (unsigned int)strtoul(argv[3], NULL, 10) : 1000);
	else if (strcmp(argv[2], "undecoded") == 0)
		result = undecoded();
	else
		result = watch();
	bus->ops->close(bus);
	return result;
}
