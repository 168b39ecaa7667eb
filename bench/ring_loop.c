/* SPDX-License-Identifier: MIT */
/*
 * ring_loop BATCHES BATCH: move that many batches through a request ring and a completion ring in
 * one thread. For counting instructions: bench/ring-instructions.
 */
#include <stdio.h>
#include <stdlib.h>

#include "channel/ring.h"

#define ENTRIES 256u

struct request {
	uint64_t handle;
	uint32_t word[13];
	uint32_t seq;
};

_Static_assert(sizeof(struct request) == AU_RING64, "one entry");

/* Four ends; each is used as in a process that has only that one at hand. */
static struct au_ring_producer submit_in, complete_in;
static struct au_ring_consumer submit_out, complete_out;

__attribute__((noinline)) static void submit(uint64_t first, unsigned batch)
{
	for (unsigned i = 0; i < batch; i++) {
		struct request *slot = au_ring64_push(&submit_in);

		if (!slot)
			abort();
		slot->handle = first + i;
		au_ring64_publish(&submit_in, slot);
	}
	if (au_ring_flush(&submit_in))
		abort();
}

__attribute__((noinline)) static void serve(void)
{
	struct request request;

	while (au_ring64_pop(&submit_out, &request)) {
		if (au_ring16_push(&complete_in, request.handle, 1, 2, 3) != 0)
			abort();
	}
	au_ring_release(&submit_out);
	if (au_ring_flush(&complete_in))
		abort();
}

__attribute__((noinline)) static void complete(uint64_t first, unsigned batch)
{
	struct au_ring_completion done;

	for (unsigned i = 0; i < batch; i++) {
		if (!au_ring16_pop(&complete_out, &done) || done.handle != first + i)
			abort();
	}
	au_ring_release(&complete_out);
}

int main(int argc, char **argv)
{
	unsigned batches = argc == 3 ? (unsigned)strtoul(argv[1], NULL, 10) : 0;
	unsigned batch = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
	size_t bytes = au_ring_bytes(AU_RING64, ENTRIES);
	unsigned char *mem = aligned_alloc(AU_RING_LINE, 2 * bytes);

	if (!batches || batch < 1 || batch > ENTRIES || !mem) {
		fprintf(stderr, "usage: ring_loop BATCHES BATCH (1 to %u)\n", ENTRIES);
		return 1;
	}
	memset(mem, 0, 2 * bytes);
	au_ring64_producer_init(&submit_in, mem, ENTRIES);
	au_ring64_consumer_init(&submit_out, mem, ENTRIES);
	au_ring16_producer_init(&complete_in, mem + bytes, ENTRIES);
	au_ring16_consumer_init(&complete_out, mem + bytes, ENTRIES);
	for (unsigned i = 0; i < batches; i++) {
		submit((uint64_t)i * batch, batch);
		serve();
		complete((uint64_t)i * batch, batch);
	}
	free(mem);
	return 0;
}
