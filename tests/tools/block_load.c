/* SPDX-License-Identifier: MIT */
/*
 * block_load - an application for tests: keeps a disk busy, goes on after errors until the device
 * is gone, and counts what became of each request.
 *
 * usage: block_load UNIT read|write|add SECONDS DEPTH
 *	add: each of DEPTH requests adds one to the number in block 0 by compare-and-write
 *
 * It writes "open" when it is, and at its end one line of JSON: how many were submitted, how many
 * of these completed with which status, how many more than once, and the longest time without a
 * completion. For add, "added" counts those that succeeded, "differed" those that found another
 * number, and "unknown" those of which nobody knows; "number" is what is there at last.
 */
#include <auriga/auriga.h>
#include <auriga/block.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BYTES  4096u
#define SPAN   1024u
#define ERRORS 256u

struct slot {
	struct au_io io;
	struct au_handle *handle;
	unsigned char *data;
	uint64_t number;
	uint16_t op;
	bool flying;
};

static struct {
	uint64_t submitted, completed, twice, refused, last_ms, max_gap_ms;
	uint64_t status[ERRORS];
	uint64_t added, differed, unknown;
	uint64_t number; /* that is believed to be there */
	unsigned int outstanding, downs, restarts, resized, gone;
	uint32_t block;
	bool over;
} load;

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void slot_submit(struct slot *s);

/* What a request to add says about the number on the disk. */
static void slot_added(const struct slot *s)
{
	if (s->op == AU_BLOCK_READ) {
		memcpy(&load.number, s->data, sizeof(load.number));
	} else if (s->io.status == 0) {
		load.added++;
		load.number = s->number + 1;
	} else {
		load.differed += s->io.status == -EILSEQ;
		load.unknown += s->io.status == -EOWNERDEAD;
	}
}

static void slot_done(struct au_io *io)
{
	struct slot *s = io->user;
	uint64_t now = now_ms();
	unsigned int err = (unsigned int)-io->status;

	if (!s->flying) {
		load.twice++;
		return;
	}
	s->flying = false;
	load.outstanding--;
	load.completed++;
	load.status[err < ERRORS ? err : ERRORS - 1]++;
	if (now - load.last_ms > load.max_gap_ms)
		load.max_gap_ms = now - load.last_ms;
	load.last_ms = now;
	if (load.block)
		slot_added(s);
	load.over |= io->status == -ENODEV;
	if (!load.over)
		slot_submit(s);
}

/* Each second request of one that adds looks at what is there. */
static void slot_next(struct slot *s)
{
	uint64_t next;

	s->io = (struct au_io){
		.op = s->op, .length = BYTES, .data = s->data, .done = slot_done, .user = s
	};
	if (!load.block) {
		s->io.arg[0] = (uint64_t)((unsigned int)rand() % SPAN) * BYTES;
		return;
	}
	s->op = s->op == AU_BLOCK_READ ? AU_BLOCK_COMPARE_WRITE : AU_BLOCK_READ;
	s->io.op = s->op;
	s->io.length = load.block;
	if (s->op == AU_BLOCK_READ)
		return;
	s->io.length = 2 * load.block;
	s->number = load.number;
	next = s->number + 1;
	memset(s->data, 0, 2 * (size_t)load.block);
	memcpy(s->data, &s->number, sizeof(s->number));
	memcpy(s->data + load.block, &next, sizeof(next));
}

static void slot_submit(struct slot *s)
{
	slot_next(s);
	s->flying = true;
	load.submitted++;
	if (au_submit(s->handle, &s->io) == 0) {
		load.outstanding++;
		return;
	}
	s->flying = false;
	load.submitted--;
	load.refused++;
}

static void look(struct au_handle *h)
{
	struct au_event event;

	while (au_event_next(h, &event) == 1) {
		load.restarts += event.kind == AU_EVENT_RESTARTED;
		load.downs += event.kind == AU_EVENT_DOWN;
		load.resized += event.kind == AU_BLOCK_EVENT_RESIZED ? event.count : 0;
		load.gone += event.kind == AU_EVENT_GONE;
	}
}

static void run(struct au_handle *h, unsigned int depth, uint16_t op, uint64_t end_ms)
{
	struct slot *slots = calloc(depth, sizeof(*slots));

	load.last_ms = now_ms();
	for (unsigned int i = 0; i < depth; i++) {
		slots[i].handle = h;
		slots[i].op = op;
		slots[i].data = calloc(1, 2 * 65536);
		slot_submit(&slots[i]);
	}
	while (load.outstanding && now_ms() < end_ms + 20000) {
		load.over |= now_ms() >= end_ms;
		if (au_poll(h, 0, 100) < 0)
			break;
		look(h);
	}
	/* That it is gone may be told after the requests have ended. */
	for (unsigned int i = 0; i < 20 && load.status[ENODEV] && !load.gone; i++) {
		(void)au_poll(h, 0, 100);
		look(h);
	}
	for (unsigned int i = 0; i < depth; i++)
		free(slots[i].data);
	free(slots);
}

static void say(void)
{
	const char *sep = "";

	printf("{\"submitted\": %llu, \"completed\": %llu, \"twice\": %llu, \"refused\": %llu, "
	       "\"left\": %u, \"downs\": %u, \"restarts\": %u, \"resized\": %u, \"gone\": %u, "
	       "\"max_gap_ms\": %llu, "
	       "\"added\": %llu, \"differed\": %llu, \"unknown\": %llu, \"number\": %llu, "
	       "\"status\": {",
	       (unsigned long long)load.submitted, (unsigned long long)load.completed,
	       (unsigned long long)load.twice, (unsigned long long)load.refused, load.outstanding,
	       load.downs, load.restarts, load.resized, load.gone,
	       (unsigned long long)load.max_gap_ms, (unsigned long long)load.added,
	       (unsigned long long)load.differed, (unsigned long long)load.unknown,
	       (unsigned long long)load.number);
	for (unsigned int i = 0; i < ERRORS; i++) {
		if (!load.status[i])
			continue;
		printf("%s\"%s\": %llu", sep, i ? strerrorname_np((int)i) : "ok",
		       (unsigned long long)load.status[i]);
		sep = ", ";
	}
	printf("}}\n");
}

int main(int argc, char **argv)
{
	struct au_block_info info = { .size = sizeof(info), .abi = 1 };
	struct au_open_options options = {
		.size = sizeof(options), .abi = AU_CLIENT_ABI, .depth = 64, .buffer_size = 8192
	};
	struct au_handle *h;
	bool add;

	if (argc == 5 && strstr(argv[1], "poll=app"))
		options.flags = AU_OPEN_POLL_APP;
	if (argc != 5 || au_open(argv[1], &options, &h) != 0 || au_block_info(h, &info) != 0)
		return 1;
	add = strcmp(argv[2], "add") == 0;
	load.block = add ? info.block_size : 0;
	printf("open\n");
	fflush(stdout);
	run(h, (unsigned int)atoi(argv[4]),
	    strcmp(argv[2], "write") == 0 ? AU_BLOCK_WRITE : AU_BLOCK_READ,
	    now_ms() + (uint64_t)(atof(argv[3]) * 1000));
	if (add) {
		unsigned char block[65536];

		load.number = 0;
		if (au_block_read(h, 0, block, info.block_size) == 0)
			memcpy(&load.number, block, sizeof(load.number));
	}
	say();
	au_close(h);
	return 0;
}
