/* SPDX-License-Identifier: MIT */
/*
 * Send a file and receive as many bytes as wanted, both at once, and report every event with its
 * position: the client's end of the tests that kill hosts. The report is JSON on stdout.
 *
 *	serial_pump UNIT --in FILE --out FILE --receive BYTES [--rate BYTES] [--idle-ms MS]
 *
 * --rate is for what is sent, in bytes per second; as fast as can be without.
 * Ends when all is sent and received, or when nothing has come for so long.
 */
#include <auriga/auriga.h>
#include <auriga/serial.h>

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHUNK 1000
#define DEPTH 4

struct pump {
	struct au_handle *port;
	const uint8_t *out_data;
	size_t out_size, out_next;
	uint64_t sent, received, wanted;
	FILE *sink;
	int error;
	unsigned int busy;
	struct au_io send[DEPTH], recv[DEPTH];
	uint8_t in[DEPTH][CHUNK];
	double rate, begun, last, gap;
};

static double pump_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void pump_progress(struct pump *p)
{
	double now = pump_now();

	if (now - p->last > p->gap)
		p->gap = now - p->last;
	p->last = now;
}

static void pump_sent(struct au_io *io);
static void pump_received(struct au_io *io);

static void pump_submit(struct pump *p, struct au_io *io)
{
	int rc = au_submit(p->port, io);

	if (rc == 0)
		p->busy++;
	else
		p->error = rc;
}

static void pump_send(struct pump *p, struct au_io *io)
{
	size_t n = p->out_size - p->out_next;
	/* At a rate, little and often, so that there is nearly always something on its way. */
	size_t most = p->rate > 0 ? CHUNK / 10 : CHUNK;

	if (n == 0 || p->error)
		return;
	if (p->rate > 0 && (double)p->out_next > p->rate * (pump_now() - p->begun) / 1e3)
		return;
	if (n > most)
		n = most;
	*io = (struct au_io){ .op = AU_SERIAL_SEND,
			      .length = (uint32_t)n,
			      .data = (void *)(uintptr_t)(p->out_data + p->out_next),
			      .done = pump_sent,
			      .user = p };
	p->out_next += n;
	pump_submit(p, io);
}

static void pump_recv(struct pump *p, struct au_io *io)
{
	if (p->received >= p->wanted || p->error)
		return;
	*io = (struct au_io){ .op = AU_SERIAL_RECV,
			      .length = CHUNK,
			      .arg = { 1, 0 },
			      .data = p->in[io - p->recv],
			      .done = pump_received,
			      .user = p };
	pump_submit(p, io);
}

static void pump_sent(struct au_io *io)
{
	struct pump *p = io->user;

	p->busy--;
	io->user = NULL;
	p->sent += io->result;
	pump_progress(p);
	if (io->status || io->result != io->length)
		p->error = io->status ? io->status : -EIO;
	pump_send(p, io);
}

static void pump_received(struct au_io *io)
{
	struct pump *p = io->user;

	p->busy--;
	if (io->status == -ECANCELED)
		return;
	if (io->status)
		p->error = io->status;
	fwrite(io->data, 1, io->result, p->sink);
	p->received += io->result;
	pump_progress(p);
	pump_recv(p, io);
}

static uint8_t *pump_load(const char *path, size_t *size)
{
	FILE *f = fopen(path, "rb");
	uint8_t *data = NULL;
	long n;

	if (f && fseek(f, 0, SEEK_END) == 0 && (n = ftell(f)) >= 0) {
		rewind(f);
		data = malloc((size_t)n + 1);
		*size = data ? fread(data, 1, (size_t)n, f) : 0;
	}
	if (f)
		fclose(f);
	return data;
}

static int pump_run(struct pump *p, double idle_ms)
{
	struct au_event ev;
	const char *sep = "";

	printf("\"events\": [");
	p->begun = p->last = pump_now();
	for (unsigned int i = 0; i < DEPTH; i++)
		pump_recv(p, &p->recv[i]);
	while (!p->error && (p->sent < p->out_size || p->received < p->wanted) &&
	       pump_now() - p->last < idle_ms) {
		int rc;

		/* What had to wait for its time, and at first all of them. */
		for (unsigned int i = 0; i < DEPTH; i++)
			if (!p->send[i].user)
				pump_send(p, &p->send[i]);
		rc = au_poll(p->port, 0, p->rate > 0 ? 10 : 100);
		if (rc < 0)
			p->error = rc;
		while (au_event_next(p->port, &ev) == 1) {
			printf("%s{\"kind\": %u, \"count\": %u, \"at\": %llu}", sep, ev.kind,
			       ev.count, (unsigned long long)ev.arg[0]);
			sep = ", ";
		}
	}
	printf("], ");
	return p->error;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "in", required_argument, NULL, 'i' },
		{ "out", required_argument, NULL, 'o' },
		{ "receive", required_argument, NULL, 'r' },
		{ "rate", required_argument, NULL, 'b' },
		{ "idle-ms", required_argument, NULL, 't' },
		{ NULL, 0, NULL, 0 },
	};
	struct au_serial_counters before = { .size = sizeof(before), .abi = 1 }, after = before;
	struct pump p = { 0 };
	double idle_ms = 5000;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'i')
			p.out_data = pump_load(optarg, &p.out_size);
		else if (opt == 'o')
			p.sink = fopen(optarg, "wb");
		else if (opt == 'r')
			p.wanted = strtoull(optarg, NULL, 0);
		else if (opt == 'b')
			p.rate = strtod(optarg, NULL);
		else if (opt == 't')
			idle_ms = strtod(optarg, NULL);
		else
			return 2;
	}
	if (optind != argc - 1 || !p.out_data || !p.sink) {
		fprintf(stderr, "usage: serial_pump UNIT --in FILE --out FILE --receive BYTES\n");
		return 2;
	}
	if (au_open(argv[optind], NULL, &p.port) != 0 ||
	    au_serial_get_counters(p.port, &before) != 0) {
		fprintf(stderr, "serial_pump: %s\n", au_errmsg());
		return 1;
	}
	printf("{");
	pump_run(&p, idle_ms);
	if (au_serial_get_counters(p.port, &after) != 0)
		after = before;
	printf("\"error\": %d, \"sent\": %llu, \"received\": %llu, \"tx_base\": %llu, \"rx_base\": "
	       "%llu, "
	       "\"tx_uncertain\": %llu, \"rx_uncertain\": %llu, \"rx_lost\": %llu, \"overrun\": "
	       "%llu, "
	       "\"generation\": %u, \"longest_gap_ms\": %.1f}\n",
	       p.error, (unsigned long long)p.sent, (unsigned long long)p.received,
	       (unsigned long long)before.tx_bytes, (unsigned long long)before.rx_delivered,
	       (unsigned long long)(after.tx_uncertain - before.tx_uncertain),
	       (unsigned long long)(after.rx_uncertain - before.rx_uncertain),
	       (unsigned long long)after.rx_lost, (unsigned long long)after.overrun,
	       au_generation(p.port), p.gap);
	au_close(p.port);
	fclose(p.sink);
	free((void *)(uintptr_t)p.out_data);
	return p.error ? 1 : 0;
}
