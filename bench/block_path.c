/* SPDX-License-Identifier: MIT */
/*
 * What a 4 KiB random read costs between au_submit() and done() with a driver that the calling
 * thread runs: block_path TARGET DEPTH COUNT [WAIT_US]. As many requests as DEPTH says are handed
 * in and polled for. Where there is a device to wait for, WAIT_US is slept before each further
 * poll, so that polls that find nothing are not counted. Under callgrind, which collects in
 * the_client_submits() and the_client_polls(), bench/block-instructions does the sum.
 */
#include "auriga/auriga.h"
#include "auriga/block.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BYTES	  4096u
#define DEPTH_MAX 512u

static struct au_io ios[DEPTH_MAX];
static unsigned int completed;

static void __attribute__((noinline)) the_callback(struct au_io *io)
{
	if (io->status != 0 || io->result != BYTES)
		abort();
	completed++;
}

static void __attribute__((noinline)) the_client_submits(struct au_handle *h, unsigned int depth)
{
	for (unsigned int i = 0; i < depth; i++) {
		if (au_submit(h, &ios[i]) != 0)
			abort();
	}
}

static void __attribute__((noinline)) the_client_polls(struct au_handle *h)
{
	if (au_poll(h, 0, 0) < 0)
		abort();
}

static void choose(unsigned int depth, uint64_t blocks)
{
	static uint64_t random = 1;

	for (unsigned int i = 0; i < depth; i++) {
		random = random * 6364136223846793005u + 1442695040888963407u;
		ios[i].arg[0] = (random >> 20) % blocks * BYTES;
	}
}

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "block_path: %s\n", what);
	exit(1);
}

int main(int argc, char **argv)
{
	unsigned int depth = argc > 3 ? (unsigned int)strtoul(argv[2], NULL, 10) : 0;
	unsigned long count = argc > 3 ? strtoul(argv[3], NULL, 10) : 0, polls = 0;
	unsigned int wait = argc > 4 ? (unsigned int)strtoul(argv[4], NULL, 10) : 0;
	struct au_open_options options = { .size = sizeof(options), .abi = AU_CLIENT_ABI };
	struct au_block_info info = { .size = sizeof(info), .abi = 1 };
	struct au_handle *h;
	size_t size;
	char *data;

	if (depth == 0 || depth > DEPTH_MAX || count == 0)
		fail("TARGET DEPTH COUNT [WAIT_US] are wanted, a depth of at most 512");
	/* One place of the buffers is the library's. */
	options.depth = depth + 1;
	options.buffer_size = BYTES;
	if (au_open(argv[1], &options, &h) != 0 || au_block_info(h, &info) != 0)
		fail(au_errmsg());
	data = au_buffers(h, &size);
	if (!data || size < (size_t)depth * BYTES || info.bytes < BYTES)
		fail("no buffers, or no disk");
	for (unsigned int i = 0; i < depth; i++)
		ios[i] = (struct au_io){ .op = AU_BLOCK_READ,
					 .length = BYTES,
					 .data = data + (size_t)i * BYTES,
					 .done = the_callback };
	for (unsigned long i = 0; i < count; i += depth) {
		completed = 0;
		choose(depth, info.bytes / BYTES);
		the_client_submits(h, depth);
		for (;;) {
			the_client_polls(h);
			polls++;
			if (completed == depth)
				break;
			if (wait)
				usleep(wait);
		}
	}
	printf("polls %lu\n", polls);
	au_close(h);
	return 0;
}
