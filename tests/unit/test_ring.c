/* SPDX-License-Identifier: MIT */
/* The shared-memory rings: order, bounds, laps, the wrap of the indices, and a hostile peer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "channel/ring.h"

#define ENTRIES 8u

struct message {
	uint64_t number;
	uint64_t inverse;
	uint8_t fill[44];
	uint32_t seq;
};

_Static_assert(sizeof(struct message) == AU_RING64, "one entry");

struct ring {
	unsigned char *mem;
	struct au_ring_shared *shared;
	struct au_ring_producer p;
	struct au_ring_consumer c;
};

static int ring_setup(void **state, enum au_ring_shape shape)
{
	struct ring *r = calloc(1, sizeof(*r));
	size_t bytes = au_ring_bytes(shape, ENTRIES);

	assert_non_null(r);
	r->mem = aligned_alloc(AU_RING_LINE, bytes);
	assert_non_null(r->mem);
	memset(r->mem, 0, bytes);
	r->shared = (void *)r->mem;
	if (shape == AU_RING64) {
		assert_int_equal(au_ring64_producer_init(&r->p, r->mem, ENTRIES), 0);
		assert_int_equal(au_ring64_consumer_init(&r->c, r->mem, ENTRIES), 0);
	} else {
		assert_int_equal(au_ring16_producer_init(&r->p, r->mem, ENTRIES), 0);
		assert_int_equal(au_ring16_consumer_init(&r->c, r->mem, ENTRIES), 0);
	}
	*state = r;
	return 0;
}

static int setup64(void **state)
{
	return ring_setup(state, AU_RING64);
}

static int setup16(void **state)
{
	return ring_setup(state, AU_RING16);
}

static int teardown(void **state)
{
	struct ring *r = *state;

	free(r->mem);
	free(r);
	return 0;
}

/* Bring both ends to @index, as if all entries before it had passed. */
static void set_index(struct ring *r, enum au_ring_shape shape, uint32_t index)
{
	unsigned char *slots = r->mem + sizeof(struct au_ring_shared);

	for (uint32_t i = index - ENTRIES; i != index; i++) {
		unsigned char *slot = slots + (size_t)(i % ENTRIES) * (size_t)shape;
		uint32_t seq = i + 1;
		uint64_t word = (i & ENTRIES) == 0 ? AU_RING_PHASE : 0;

		if (shape == AU_RING64)
			memcpy(slot + 60, &seq, sizeof(seq));
		else
			memcpy(slot + 8, &word, sizeof(word));
	}
	r->shared->head = index;
	r->p.tail = index;
	r->p.flushed = index;
	r->p.phase = ((index - 1) & ENTRIES) == 0 ? AU_RING_PHASE : 0;
	r->p.limit = index + ENTRIES;
	r->c.head = r->c.released = index;
	r->c.phase = (index & ENTRIES) == 0 ? AU_RING_PHASE : 0;
}

static bool send64(struct ring *r, uint64_t number)
{
	struct message *m = au_ring64_push(&r->p);

	if (!m)
		return false;
	m->number = number;
	m->inverse = ~number;
	memset(m->fill, (int)(number & 0xff), sizeof(m->fill));
	au_ring64_publish(&r->p, m);
	return true;
}

static void expect64(struct ring *r, uint64_t number)
{
	struct message m = { 0 };

	assert_true(au_ring64_ready(&r->c));
	assert_true(au_ring64_pop(&r->c, &m));
	assert_int_equal(m.number, number);
	assert_int_equal(m.inverse, ~number);
	for (size_t i = 0; i < sizeof(m.fill); i++)
		assert_int_equal(m.fill[i], number & 0xff);
}

static void expect64_empty(struct ring *r)
{
	struct message m = { .number = 77 };

	assert_false(au_ring64_ready(&r->c));
	assert_false(au_ring64_pop(&r->c, &m));
	assert_int_equal(m.number, 77);
}

static int send16(struct ring *r, uint64_t number)
{
	return au_ring16_push(&r->p, number, (uint32_t)~number, (uint16_t)(number * 7 & 0x7fff),
			      (uint16_t)(number * 13));
}

static void expect16(struct ring *r, uint64_t number)
{
	struct au_ring_completion done = { 0 };

	assert_true(au_ring16_ready(&r->c));
	assert_true(au_ring16_pop(&r->c, &done));
	assert_int_equal(done.handle, number);
	assert_int_equal(done.result, (uint32_t)~number);
	assert_int_equal(done.err, number * 7 & 0x7fff);
	assert_int_equal(done.status, (uint16_t)(number * 13));
}

static void expect16_empty(struct ring *r)
{
	struct au_ring_completion done = { .handle = 77 };

	assert_false(au_ring16_ready(&r->c));
	assert_false(au_ring16_pop(&r->c, &done));
	assert_int_equal(done.handle, 77);
}

static void test_sizes(void **state)
{
	_Alignas(64) unsigned char mem[1024];
	struct au_ring_producer p;
	struct au_ring_consumer c;

	assert_int_equal(au_ring_bytes(AU_RING64, 256), 128 + 256 * 64);
	assert_int_equal(au_ring_bytes(AU_RING16, 256), 128 + 256 * 16);
	assert_int_equal(au_ring_bytes(AU_RING16, 2), 192);
	assert_int_equal(au_ring_bytes(AU_RING64, AU_RING_MAX_ENTRIES), 128 + 65536 * 64);
	assert_int_equal(au_ring_bytes(AU_RING64, 0), 0);
	assert_int_equal(au_ring_bytes(AU_RING64, 1), 0);
	assert_int_equal(au_ring_bytes(AU_RING64, 6), 0);
	assert_int_equal(au_ring_bytes(AU_RING64, AU_RING_MAX_ENTRIES * 2), 0);
	assert_int_equal(au_ring_bytes(AU_RING64, 1u << 31), 0);

	assert_int_equal(au_ring64_producer_init(&p, mem, 6), -EINVAL);
	assert_int_equal(au_ring64_producer_init(&p, mem + 8, 8), -EINVAL);
	assert_int_equal(au_ring64_consumer_init(&c, mem, 0), -EINVAL);
	assert_int_equal(au_ring16_producer_init(&p, mem, UINT32_MAX), -EINVAL);
	assert_int_equal(au_ring16_consumer_init(&c, mem + 32, 8), -EINVAL);
	assert_int_equal(au_ring16_consumer_init(&c, mem, 8), 0);
}

static void test_order64(void **state)
{
	struct ring *r = *state;
	uint64_t in = 0, out = 0;

	/* Batches of every size, over many laps, at every alignment to the end of the array. */
	for (unsigned round = 0; round < 500; round++) {
		unsigned batch = round % (ENTRIES + 1);

		expect64_empty(r);
		for (unsigned i = 0; i < batch; i++)
			assert_true(send64(r, in++));
		au_ring_flush(&r->p);
		for (unsigned i = 0; i < batch; i++)
			expect64(r, out++);
		au_ring_release(&r->c);
	}
	assert_true(out > 1000);
}

static void test_order16(void **state)
{
	struct ring *r = *state;
	uint64_t in = 0, out = 0;

	for (unsigned round = 0; round < 500; round++) {
		unsigned batch = round % (ENTRIES + 1);

		expect16_empty(r);
		for (unsigned i = 0; i < batch; i++)
			assert_int_equal(send16(r, in++), 0);
		au_ring_flush(&r->p);
		for (unsigned i = 0; i < batch; i++)
			expect16(r, out++);
		au_ring_release(&r->c);
	}
	assert_true(out > 1000);
}

/* An entry is there at once; the flush is for a consumer that sleeps. */
static void test_published_at_once64(void **state)
{
	struct ring *r = *state;

	send64(r, 1);
	expect64(r, 1);
	expect64_empty(r);
	send64(r, 2);
	send64(r, 3);
	expect64(r, 2);
	assert_true(au_ring64_arm(&r->c) == false);
	expect64(r, 3);
	assert_true(au_ring64_arm(&r->c));
	assert_true(au_ring_flush(&r->p));
	assert_false(au_ring_flush(&r->p));
	expect64_empty(r);
}

static void test_published_at_once16(void **state)
{
	struct ring *r = *state;

	send16(r, 1);
	expect16(r, 1);
	expect16_empty(r);
	send16(r, 2);
	send16(r, 3);
	expect16(r, 2);
	assert_false(au_ring16_arm(&r->c));
	expect16(r, 3);
	assert_true(au_ring16_arm(&r->c));
	assert_true(au_ring_flush(&r->p));
	assert_false(au_ring_flush(&r->p));
	expect16_empty(r);
}

/* A slot that is only being filled is not there yet. */
static void test_not_before_published(void **state)
{
	struct ring *r = *state;
	struct message *m = au_ring64_push(&r->p);

	assert_non_null(m);
	m->number = 9;
	expect64_empty(r);
	assert_ptr_equal(au_ring64_push(&r->p), m);
	send64(r, 4);
	expect64(r, 4);
}

static void test_full64(void **state)
{
	struct ring *r = *state;

	for (unsigned i = 0; i < ENTRIES; i++)
		assert_true(send64(r, i));
	assert_false(send64(r, 99));
	assert_int_equal(au_ring_error(&r->p), -EAGAIN);
	au_ring_flush(&r->p);
	assert_false(send64(r, 99));

	/* Popped is not yet released. */
	expect64(r, 0);
	assert_false(send64(r, 99));
	au_ring_release(&r->c);
	assert_true(send64(r, ENTRIES));
	assert_false(send64(r, 99));
	assert_int_equal(au_ring_error(&r->p), -EAGAIN);
	au_ring_flush(&r->p);
	for (unsigned i = 1; i <= ENTRIES; i++)
		expect64(r, i);
	expect64_empty(r);
}

static void test_full16(void **state)
{
	struct ring *r = *state;

	for (unsigned i = 0; i < ENTRIES; i++)
		assert_int_equal(send16(r, i), 0);
	assert_int_equal(send16(r, 99), -EAGAIN);
	au_ring_flush(&r->p);
	expect16(r, 0);
	assert_int_equal(send16(r, 99), -EAGAIN);
	au_ring_release(&r->c);
	assert_int_equal(send16(r, ENTRIES), 0);
	assert_int_equal(send16(r, 99), -EAGAIN);
	au_ring_flush(&r->p);
	for (unsigned i = 1; i <= ENTRIES; i++)
		expect16(r, i);
	expect16_empty(r);
}

/* The free-running indices pass 2^32 in the middle of a full ring. */
static void test_index_wrap64(void **state)
{
	struct ring *r = *state;

	for (uint32_t before = 1; before <= ENTRIES; before++) {
		set_index(r, AU_RING64, 0u - before);
		for (unsigned round = 0; round < 3; round++) {
			expect64_empty(r);
			for (unsigned i = 0; i < ENTRIES; i++)
				assert_true(send64(r, i));
			assert_false(send64(r, 99));
			assert_int_equal(au_ring_error(&r->p), -EAGAIN);
			au_ring_flush(&r->p);
			for (unsigned i = 0; i < ENTRIES; i++)
				expect64(r, i);
			au_ring_release(&r->c);
		}
		assert_int_equal(r->shared->head, 3 * ENTRIES - before);
	}
}

static void test_index_wrap16(void **state)
{
	struct ring *r = *state;

	for (uint32_t before = 1; before <= ENTRIES; before++) {
		set_index(r, AU_RING16, 0u - before);
		for (unsigned round = 0; round < 3; round++) {
			expect16_empty(r);
			for (unsigned i = 0; i < ENTRIES; i++)
				assert_int_equal(send16(r, i), 0);
			assert_int_equal(send16(r, 99), -EAGAIN);
			au_ring_flush(&r->p);
			for (unsigned i = 0; i < ENTRIES; i++)
				expect16(r, i);
			au_ring_release(&r->c);
		}
	}
}

/* An entry of an earlier lap, a later lap or zeroed memory is never taken for the next one. */
static void test_laps64(void **state)
{
	struct ring *r = *state;
	uint32_t *seq = (void *)(r->mem + sizeof(struct au_ring_shared) + 60);
	static const uint32_t at[] = { 0, ENTRIES, 5 * ENTRIES, 0u - ENTRIES, 1u << 31 };

	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		set_index(r, AU_RING64, at[i]);
		for (uint32_t lap = 1; lap < 100; lap++) {
			*seq = at[i] + 1 - lap * ENTRIES;
			expect64_empty(r);
			*seq = at[i] + 1 + lap * ENTRIES;
			expect64_empty(r);
		}
		*seq = 0;
		expect64_empty(r);
		*seq = at[i] + 1;
		assert_true(au_ring64_ready(&r->c));
	}
}

static void test_hostile_head(void **state)
{
	struct ring *r = *state;
	static const uint32_t start[] = { 0, 1000, 0u - 3 };

	for (size_t i = 0; i < sizeof(start) / sizeof(start[0]); i++) {
		const uint32_t bad[] = { start[i] - 1, start[i] - ENTRIES, start[i] + ENTRIES + 1,
					 start[i] + (1u << 31), start[i] + 2 * ENTRIES };

		for (size_t k = 0; k < sizeof(bad) / sizeof(bad[0]); k++) {
			assert_int_equal(au_ring64_producer_init(&r->p, r->mem, ENTRIES), 0);
			set_index(r, AU_RING64, start[i]);
			for (unsigned n = 0; n < ENTRIES; n++)
				assert_true(send64(r, n));
			au_ring_flush(&r->p);
			r->shared->head = bad[k];
			assert_false(send64(r, 99));
			assert_int_equal(au_ring_error(&r->p), -EPROTO);

			/* The verdict stays when the head becomes plausible again. */
			r->shared->head = start[i] + 4;
			assert_false(send64(r, 99));
			assert_int_equal(au_ring_error(&r->p), -EPROTO);
		}
	}
}

/* The consumer cannot have consumed what was never published. */
static void test_head_beyond_published(void **state)
{
	struct ring *r = *state;

	for (unsigned n = 0; n < ENTRIES; n++)
		assert_true(send64(r, n));
	r->shared->head = ENTRIES + 1;
	assert_false(send64(r, 99));
	assert_int_equal(au_ring_error(&r->p), -EPROTO);

	assert_int_equal(au_ring64_producer_init(&r->p, r->mem, ENTRIES), 0);
	set_index(r, AU_RING64, 0);
	for (unsigned n = 0; n < ENTRIES; n++)
		assert_true(send64(r, n));
	r->shared->head = ENTRIES;
	assert_true(send64(r, 99));
}

static void test_hostile_head16(void **state)
{
	struct ring *r = *state;

	for (unsigned n = 0; n < ENTRIES; n++)
		assert_int_equal(send16(r, n), 0);
	au_ring_flush(&r->p);
	r->shared->head = ENTRIES + 1;
	assert_int_equal(send16(r, 99), -EPROTO);
	r->shared->head = 1;
	assert_int_equal(send16(r, 99), -EPROTO);
}

/* What the peer writes into header and slots never moves a pointer of ours out of the array. */
static void test_scribble(void **state)
{
	struct ring *r = *state;
	unsigned char *slots = r->mem + sizeof(struct au_ring_shared);
	size_t bytes = au_ring_bytes(AU_RING64, ENTRIES);
	struct message m = { 0 };
	unsigned sent = 0, violations = 0;

	srandom(1);
	for (unsigned round = 0; round < 20000; round++) {
		unsigned char *slot;

		for (unsigned n = 0; n < 16; n++)
			r->mem[(size_t)random() % bytes] = (unsigned char)random();
		slot = au_ring64_push(&r->p);
		if (slot) {
			assert_in_range((uintptr_t)slot, (uintptr_t)slots,
					(uintptr_t)slots + (ENTRIES - 1) * AU_RING64);
			memset(slot, 0, 60);
			au_ring64_publish(&r->p, slot);
			sent++;
		} else if (au_ring_error(&r->p) == -EPROTO) {
			violations++;
			assert_int_equal(au_ring64_producer_init(&r->p, r->mem, ENTRIES), 0);
		}
		au_ring_flush(&r->p);
		/* A consumer that believes all it sees still takes one entry per call. */
		uint32_t head = r->c.head;
		bool got = au_ring64_pop(&r->c, &m);

		assert_int_equal(r->c.head - head, got ? 1 : 0);
		au_ring_release(&r->c);
	}
	assert_true(sent > 1000);
	assert_true(violations > 100);
}

/* The copy is whole: what the peer does to the slot afterwards does not reach it. */
static void test_copied_once(void **state)
{
	struct ring *r = *state;
	struct message m = { 0 };

	send64(r, 5);
	au_ring_flush(&r->p);
	assert_true(au_ring64_pop(&r->c, &m));
	memset(r->mem, 0xff, au_ring_bytes(AU_RING64, ENTRIES));
	assert_int_equal(m.number, 5);
	assert_int_equal(m.inverse, ~5ULL);
	assert_int_equal(m.fill[43], 5);
}

static void test_err_is_cut(void **state)
{
	struct ring *r = *state;
	struct au_ring_completion done = { 0 };

	assert_int_equal(au_ring16_push(&r->p, 1, UINT32_MAX, UINT16_MAX, UINT16_MAX), 0);
	au_ring_flush(&r->p);
	assert_true(au_ring16_pop(&r->c, &done));
	assert_int_equal(done.err, AU_RING_ERR_MASK);
	assert_int_equal(done.result, UINT32_MAX);
	assert_int_equal(done.status, UINT16_MAX);
	expect16_empty(r);
}

static void test_doorbell64(void **state)
{
	struct ring *r = *state;

	send64(r, 1);
	assert_false(au_ring_flush(&r->p));

	/* An entry is there: no sleep, and the flag is taken back. */
	assert_false(au_ring64_arm(&r->c));
	assert_int_equal(r->shared->sleeping, 0);
	expect64(r, 1);

	/* Arming releases; one doorbell per sleep. */
	assert_int_equal(r->shared->head, 0);
	assert_true(au_ring64_arm(&r->c));
	assert_int_equal(r->shared->head, 1);
	assert_false(au_ring_flush(&r->p));
	send64(r, 2);
	assert_true(au_ring_flush(&r->p));
	send64(r, 3);
	assert_false(au_ring_flush(&r->p));
	au_ring_disarm(&r->c);
	expect64(r, 2);
	expect64(r, 3);

	/* A wake-up by something else. */
	assert_true(au_ring64_arm(&r->c));
	au_ring_disarm(&r->c);
	send64(r, 4);
	assert_false(au_ring_flush(&r->p));
	expect64(r, 4);

	/* An entry that comes after the last look, before its flush. */
	assert_true(au_ring64_arm(&r->c));
	send64(r, 5);
	assert_true(au_ring_flush(&r->p));
}

static void test_doorbell16(void **state)
{
	struct ring *r = *state;

	send16(r, 1);
	assert_false(au_ring_flush(&r->p));
	assert_false(au_ring16_arm(&r->c));
	assert_int_equal(r->shared->sleeping, 0);
	expect16(r, 1);
	assert_true(au_ring16_arm(&r->c));
	assert_int_equal(r->shared->head, 1);
	send16(r, 2);
	assert_true(au_ring_flush(&r->p));
	send16(r, 3);
	assert_false(au_ring_flush(&r->p));
	au_ring_disarm(&r->c);
	expect16(r, 2);
	expect16(r, 3);
	assert_true(au_ring16_arm(&r->c));
	assert_false(au_ring_flush(&r->p));
}

#define TEST64(f) cmocka_unit_test_setup_teardown(f, setup64, teardown)
#define TEST16(f) cmocka_unit_test_setup_teardown(f, setup16, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		TEST64(test_order64),
		TEST16(test_order16),
		TEST64(test_published_at_once64),
		TEST16(test_published_at_once16),
		TEST64(test_not_before_published),
		TEST64(test_full64),
		TEST16(test_full16),
		TEST64(test_index_wrap64),
		TEST16(test_index_wrap16),
		TEST64(test_laps64),
		TEST64(test_hostile_head),
		TEST64(test_head_beyond_published),
		TEST16(test_hostile_head16),
		TEST64(test_scribble),
		TEST64(test_copied_once),
		TEST16(test_err_is_cut),
		TEST64(test_doorbell64),
		TEST16(test_doorbell16),
	};

	return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
