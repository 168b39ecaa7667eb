/* SPDX-License-Identifier: MIT */
/*
 * unit_load - an application for tests: keeps a raw unit of the t-echo or echo driver busy, or asks
 * it for one thing.
 *
 * usage: unit_load UNIT load SECONDS DEPTH	requests all the time; ends early at SIGTERM
 *	  unit_load UNIT op NUMBER COUNT	COUNT requests of operation AU_RAW_FIRST + NUMBER
 *	  unit_load UNIT open SECONDS		only has it open
 *
 * It writes "open" when it is, and at its end one line of JSON: what completed, with what errors,
 * and the longest time without a completion.
 */
#include <auriga/auriga.h>
#include <auriga/raw.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BYTES 64

struct slot {
	struct au_io io;
	unsigned char data[BYTES];
	unsigned char sent[BYTES];
	struct au_handle *handle;
};

static struct {
	uint64_t completed, errors, bad, last_ms, max_gap_ms;
	unsigned int outstanding, restarts, downs;
	int error;
	bool over;
} load;

static volatile sig_atomic_t stopped;

static void on_term(int signal)
{
	(void)signal;
	stopped = 1;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void slot_submit(struct slot *s);

static void slot_done(struct au_io *io)
{
	struct slot *s = io->user;
	uint64_t now = now_ms();
	bool inverted = true;

	load.outstanding--;
	for (unsigned int i = 0; i < BYTES; i++)
		inverted &= s->data[i] == (unsigned char)~s->sent[i];
	if (io->status < 0) {
		load.errors++;
		load.error = io->status;
	} else {
		load.completed++;
		/* One that was done twice, before and after a death, is as it was. */
		load.bad +=
			io->op == AU_RAW_FIRST && !inverted && memcmp(s->data, s->sent, BYTES) != 0;
	}
	if (now - load.last_ms > load.max_gap_ms)
		load.max_gap_ms = now - load.last_ms;
	load.last_ms = now;
	if (!load.over && io->status >= 0)
		slot_submit(s);
}

static void slot_submit(struct slot *s)
{
	static unsigned char next;
	int err;

	for (unsigned int i = 0; i < BYTES; i++)
		s->sent[i] = next++;
	memcpy(s->data, s->sent, BYTES);
	s->io = (struct au_io){
		.op = s->io.op, .length = BYTES, .data = s->data, .done = slot_done, .user = s
	};
	err = au_submit(s->handle, &s->io);
	if (err == 0) {
		load.outstanding++;
	} else {
		load.errors++;
		load.error = err;
	}
}

static void events(struct au_handle *h)
{
	struct au_event event;

	while (au_event_next(h, &event) == 1) {
		load.restarts += event.kind == AU_EVENT_RESTARTED;
		load.downs += event.kind == AU_EVENT_DOWN;
		if (event.kind == AU_EVENT_GONE) {
			printf("gone: reason %llu\n", (unsigned long long)event.arg[0]);
			fflush(stdout);
		}
		if (event.kind == AU_EVENT_BACK) {
			printf("back: generation %llu\n", (unsigned long long)event.arg[0]);
			fflush(stdout);
		}
	}
}

static void run(struct au_handle *h, unsigned int depth, uint16_t op, uint64_t end_ms, bool once)
{
	struct slot *slots = calloc(depth, sizeof(*slots));

	load.over = once;
	load.last_ms = now_ms();
	for (unsigned int i = 0; i < depth; i++) {
		slots[i].handle = h;
		slots[i].io.op = op;
		slot_submit(&slots[i]);
	}
	while (load.outstanding && now_ms() < end_ms + 10000) {
		if (stopped || now_ms() >= end_ms)
			load.over = true;
		if (au_poll(h, 0, 100) < 0)
			break;
		events(h);
	}
	events(h);
	if (!load.outstanding)
		free(slots);
}

int main(int argc, char **argv)
{
	struct au_open_options options = {
		.size = sizeof(options),
		.abi = AU_CLIENT_ABI,
		.depth = 32,
		.buffer_size = 4096,
	};
	struct au_handle *h;
	uint64_t end;

	if (argc < 4) {
		fprintf(stderr, "usage: unit_load UNIT load|op|open ...\n");
		return 2;
	}
	signal(SIGTERM, on_term);
	if (au_open(argv[1], &options, &h) < 0) {
		printf("{\"failed\": \"%s\"}\n", au_errmsg());
		return 1;
	}
	printf("open\n");
	fflush(stdout);
	end = now_ms() + (uint64_t)(atof(argv[3]) * 1000);
	if (!strcmp(argv[2], "load"))
		run(h, argc > 4 ? (unsigned int)atoi(argv[4]) : 8, AU_RAW_FIRST, end, false);
	else if (!strcmp(argv[2], "op"))
		run(h, argc > 4 ? (unsigned int)atoi(argv[4]) : 1,
		    (uint16_t)(AU_RAW_FIRST + atoi(argv[3])), now_ms() + 20000, true);
	else
		while (!stopped && now_ms() < end) {
			au_poll(h, 0, 50);
			events(h);
		}
	printf("{\"completed\": %llu, \"errors\": %llu, \"error\": %d, \"bad\": %llu, "
	       "\"outstanding\": %u, \"max_gap_ms\": %llu, \"restarts\": %u, \"downs\": %u, "
	       "\"generation\": %u}\n",
	       (unsigned long long)load.completed, (unsigned long long)load.errors, load.error,
	       (unsigned long long)load.bad, load.outstanding, (unsigned long long)load.max_gap_ms,
	       load.restarts, load.downs, au_generation(h));
	au_close(h);
	return 0;
}
