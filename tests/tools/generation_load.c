/* SPDX-License-Identifier: MIT */
/*
 * generation_load - an application for tests: keeps a disk busy across removals, with one handle.
 *
 * usage: generation_load UNIT SECONDS DEPTH	ends early at SIGTERM
 *
 * The disk that is there at first is number 1, and each that comes back has the next number. Each
 * block says which disk it is on, before the disk is plugged in as well as when it is written: a
 * uint64_t at its beginning. A write that reaches another disk than it was meant for is found on
 * it; a read of another one is "foreign".
 *
 * It writes "open" when it is, "gone" and "back N", each on a line, as it learns that, and at its
 * end one line of JSON.
 */
#include <auriga/auriga.h>
#include <auriga/block.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BYTES 4096u
#define SPAN  256u
#define SLOTS 64u

struct slot {
	struct au_io io;
	unsigned char data[BYTES];
	uint64_t disk;
	bool flying;
};

static struct {
	struct au_handle *handle;
	struct slot slot[SLOTS];
	unsigned int depth, outstanding;
	uint64_t disk;
	bool away, over;
	unsigned long long reads, writes, lost, errors, foreign, twice, late, submitted, completed;
	unsigned int gone, back, downs, restarts;
	unsigned long long of_this;
	int error;
	double gone_ms, longest_ms;
} load;

static volatile sig_atomic_t stopped;

static void on_term(int signal)
{
	(void)signal;
	stopped = 1;
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void slot_submit(struct slot *s);

static void slot_check(const struct slot *s)
{
	uint64_t disk;

	memcpy(&disk, s->data, sizeof(disk));
	load.foreign += disk != s->disk;
}

static void slot_done(struct au_io *io)
{
	struct slot *s = io->user;

	if (!s->flying) {
		load.twice++;
		return;
	}
	s->flying = false;
	load.outstanding--;
	load.completed++;
	/* What was meant for a disk that has gone cannot succeed on another. */
	load.late += io->status == 0 && s->disk != load.disk;
	if (io->status == -ENODEV) {
		load.lost++;
		return; /* again when it is back */
	}
	if (io->status) {
		load.errors++;
		load.error = io->status;
	} else if (io->op == AU_BLOCK_READ) {
		load.reads++;
		load.of_this++;
		slot_check(s);
	} else {
		load.writes++;
		load.of_this++;
	}
	slot_submit(s);
}

static void slot_submit(struct slot *s)
{
	int err;

	if (load.over || load.away)
		return;
	s->disk = load.disk;
	memset(s->data, 0x5a, BYTES);
	memcpy(s->data, &s->disk, sizeof(s->disk));
	s->io = (struct au_io){ .op = rand() % 2 ? AU_BLOCK_WRITE : AU_BLOCK_READ,
				.length = BYTES,
				.data = s->data,
				.arg = { (uint64_t)(rand() % (int)SPAN) * BYTES },
				.done = slot_done,
				.user = s };
	if (s->io.op == AU_BLOCK_READ)
		memset(s->data, 0, BYTES);
	s->flying = true;
	err = au_submit(load.handle, &s->io);
	if (err) {
		s->flying = false;
		load.lost += err == -ENODEV;
		load.errors += err != -ENODEV;
		return;
	}
	load.submitted++;
	load.outstanding++;
}

static void load_gone(void)
{
	load.gone++;
	load.away = true;
	load.gone_ms = now_ms();
	printf("gone\n");
	fflush(stdout);
}

static void load_back(uint64_t generation)
{
	load.back++;
	load.disk++;
	load.of_this = 0;
	load.away = false;
	if (now_ms() - load.gone_ms > load.longest_ms)
		load.longest_ms = now_ms() - load.gone_ms;
	printf("back %llu\n", (unsigned long long)generation);
	fflush(stdout);
	for (unsigned int i = 0; i < load.depth; i++)
		if (!load.slot[i].flying)
			slot_submit(&load.slot[i]);
}

static void events(void)
{
	struct au_event event;

	while (au_event_next(load.handle, &event) == 1) {
		load.downs += event.kind == AU_EVENT_DOWN;
		load.restarts += event.kind == AU_EVENT_RESTARTED;
		if (event.kind == AU_EVENT_GONE)
			load_gone();
		if (event.kind == AU_EVENT_BACK)
			load_back(event.arg[0]);
	}
}

static void run(double end)
{
	for (unsigned int i = 0; i < load.depth; i++)
		slot_submit(&load.slot[i]);
	while (!load.over || (load.outstanding && now_ms() < end + 10000)) {
		int rc = au_poll(load.handle, 0, 50);

		events();
		load.over |= stopped || now_ms() >= end || rc < 0;
		if (rc < 0) {
			load.error = rc;
			return;
		}
	}
}

int main(int argc, char **argv)
{
	struct au_open_options options = {
		.size = sizeof(options), .abi = AU_CLIENT_ABI, .depth = SLOTS, .buffer_size = 8192
	};

	if (argc != 4 || au_open(argv[1], &options, &load.handle)) {
		printf("%s\n", au_errmsg());
		return 1;
	}
	signal(SIGTERM, on_term);
	load.disk = 1;
	load.depth = (unsigned int)atoi(argv[3]) < SLOTS ? (unsigned int)atoi(argv[3]) : SLOTS;
	printf("open\n");
	fflush(stdout);
	run(now_ms() + atof(argv[2]) * 1000);
	printf("{\"submitted\": %llu, \"completed\": %llu, \"left\": %u, \"reads\": %llu, "
	       "\"writes\": %llu, \"lost\": %llu, \"errors\": %llu, \"error\": %d, \"foreign\": "
	       "%llu, "
	       "\"late\": %llu, \"twice\": %llu, \"gone\": %u, \"back\": %u, \"downs\": %u, "
	       "\"restarts\": %u, \"of_this\": %llu, \"longest_ms\": %.0f}\n",
	       load.submitted, load.completed, load.outstanding, load.reads, load.writes, load.lost,
	       load.errors, load.error, load.foreign, load.late, load.twice, load.gone, load.back,
	       load.downs, load.restarts, load.of_this, load.longest_ms);
	au_close(load.handle);
	return 0;
}
