/* SPDX-License-Identifier: MIT */
#include "ring_pair.h"

#include <sys/mman.h>

#include "channel/ring.h"

#define ENTRIES 256u

struct request {
	uint64_t handle;
	uint64_t word[6];
	uint32_t last;
	uint32_t seq;
};

/* Each end's private state on lines of its own. */
struct ring_pair {
	_Alignas(128) struct au_ring_producer requests_in;
	struct au_ring_consumer answers_out;
	_Alignas(128) struct au_ring_producer answers_in;
	struct au_ring_consumer requests_out;
};

#define PAIR_RINGS struct ring_pair

static inline bool pair_send(struct ring_pair *r, uint64_t handle)
{
	struct request *slot = au_ring64_push(&r->requests_in);

	if (!slot)
		return false;
	slot->handle = handle;
	for (unsigned i = 0; i < 6; i++)
		slot->word[i] = handle;
	slot->last = (uint32_t)handle;
	au_ring64_publish(&r->requests_in, slot);
	return true;
}

static inline void pair_send_flush(struct ring_pair *r)
{
	(void)au_ring_flush(&r->requests_in);
}

static inline bool pair_receive(struct ring_pair *r, uint64_t handle, bool *broken)
{
	struct au_ring_completion answer;

	if (!au_ring16_pop(&r->answers_out, &answer))
		return false;
	*broken |= answer.handle != handle || answer.result != pair_answer(handle);
	return true;
}

static inline void pair_receive_done(struct ring_pair *r)
{
	au_ring_release(&r->answers_out);
}

static inline bool pair_serve(struct ring_pair *r)
{
	struct request request;

	if (!au_ring64_pop(&r->requests_out, &request))
		return false;
	return au_ring16_push(&r->answers_in, request.handle, pair_answer(request.word[5]), 0, 0) ==
	       0;
}

static inline void pair_serve_done(struct ring_pair *r)
{
	(void)au_ring_flush(&r->answers_in);
	au_ring_release(&r->requests_out);
}

#include "pair_loop.h"

int ring_pair_run(unsigned outstanding, double seconds, struct bare_ring_result *result)
{
	size_t request_bytes = au_ring_bytes(AU_RING64, ENTRIES);
	size_t bytes = request_bytes + au_ring_bytes(AU_RING16, ENTRIES);
	struct ring_pair rings;
	struct pair pair = { .client = pair_client,
			     .server = pair_server,
			     .rings = &rings,
			     .outstanding = outstanding,
			     .seconds = seconds };
	unsigned char *mem;
	int err;

	if (outstanding < 1 || outstanding > ENTRIES / 2)
		return -EINVAL;
	mem = pair_memory(bytes);
	if (!mem)
		return -ENOMEM;
	au_ring64_producer_init(&rings.requests_in, mem, ENTRIES);
	au_ring64_consumer_init(&rings.requests_out, mem, ENTRIES);
	au_ring16_producer_init(&rings.answers_in, mem + request_bytes, ENTRIES);
	au_ring16_consumer_init(&rings.answers_out, mem + request_bytes, ENTRIES);
	err = pair_run(&pair, result);
	munmap(mem, bytes);
	return err;
}
