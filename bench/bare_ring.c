/* SPDX-License-Identifier: MIT */
#include "bare_ring.h"

#include <errno.h>
#include <sys/mman.h>

#define ENTRIES 256u
#define MASK	(ENTRIES - 1)

struct bare_request {
	uint64_t word[8];
};

struct bare_answer {
	uint64_t handle;
	uint64_t result;
};

/* In shared memory: one line per index, then the slots. */
struct bare_shared {
	_Alignas(128) uint32_t request_tail;
	_Alignas(128) uint32_t request_head;
	_Alignas(128) uint32_t answer_tail;
	_Alignas(128) uint32_t answer_head;
	_Alignas(128) struct bare_request request[ENTRIES];
	_Alignas(128) struct bare_answer answer[ENTRIES];
};

/* Private: own indices, and what was last seen of the other's. */
struct bare_end {
	struct bare_shared *shared;
	uint32_t tail, seen_head;
	uint32_t head, seen_tail;
};

struct bare_rings {
	_Alignas(128) struct bare_end client;
	_Alignas(128) struct bare_end server;
};

#define PAIR_RINGS struct bare_rings

static inline bool pair_send(struct bare_rings *rings, uint64_t handle)
{
	struct bare_end *e = &rings->client;
	struct bare_request *slot;

	if (e->tail - e->seen_head == ENTRIES) {
		e->seen_head = __atomic_load_n(&e->shared->request_head, __ATOMIC_ACQUIRE);
		if (e->tail - e->seen_head == ENTRIES)
			return false;
	}
	slot = &e->shared->request[e->tail & MASK];
	for (unsigned i = 0; i < 8; i++)
		slot->word[i] = handle;
	e->tail++;
	return true;
}

static inline void pair_send_flush(struct bare_rings *rings)
{
	struct bare_end *e = &rings->client;

	__atomic_store_n(&e->shared->request_tail, e->tail, __ATOMIC_RELEASE);
}

static inline bool pair_receive(struct bare_rings *rings, uint64_t handle, bool *broken)
{
	struct bare_end *e = &rings->client;
	const struct bare_answer *slot;

	if (e->head == e->seen_tail) {
		e->seen_tail = __atomic_load_n(&e->shared->answer_tail, __ATOMIC_ACQUIRE);
		if (e->head == e->seen_tail)
			return false;
	}
	slot = &e->shared->answer[e->head & MASK];
	*broken |= slot->handle != handle || slot->result != pair_answer(handle);
	e->head++;
	return true;
}

static inline void pair_receive_done(struct bare_rings *rings)
{
	struct bare_end *e = &rings->client;

	__atomic_store_n(&e->shared->answer_head, e->head, __ATOMIC_RELEASE);
}

static inline bool pair_serve(struct bare_rings *rings)
{
	struct bare_end *e = &rings->server;
	struct bare_request request;
	struct bare_answer *answer;

	if (e->head == e->seen_tail) {
		e->seen_tail = __atomic_load_n(&e->shared->request_tail, __ATOMIC_ACQUIRE);
		if (e->head == e->seen_tail)
			return false;
	}
	if (e->tail - e->seen_head == ENTRIES) {
		e->seen_head = __atomic_load_n(&e->shared->answer_head, __ATOMIC_ACQUIRE);
		if (e->tail - e->seen_head == ENTRIES)
			return false;
	}
	request = e->shared->request[e->head & MASK];
	__asm__ volatile("" : "+m"(request)); /* the whole of it, not just what is used below */
	answer = &e->shared->answer[e->tail & MASK];
	answer->handle = request.word[0];
	answer->result = pair_answer(request.word[7]);
	e->head++;
	e->tail++;
	return true;
}

static inline void pair_serve_done(struct bare_rings *rings)
{
	struct bare_end *e = &rings->server;

	__atomic_store_n(&e->shared->answer_tail, e->tail, __ATOMIC_RELEASE);
	__atomic_store_n(&e->shared->request_head, e->head, __ATOMIC_RELEASE);
}

#include "pair_loop.h"

int bare_ring_run(unsigned outstanding, double seconds, struct bare_ring_result *result)
{
	struct bare_rings rings = { 0 };
	struct pair pair = { .client = pair_client,
			     .server = pair_server,
			     .rings = &rings,
			     .outstanding = outstanding,
			     .seconds = seconds };
	struct bare_shared *shared;
	int err;

	if (outstanding < 1 || outstanding > ENTRIES / 2)
		return -EINVAL;
	shared = pair_memory(sizeof(*shared));
	if (!shared)
		return -ENOMEM;
	rings.client.shared = rings.server.shared = shared;
	err = pair_run(&pair, result);
	munmap(shared, sizeof(*shared));
	return err;
}
