/* SPDX-License-Identifier: MIT */
/*
 * Virtqueues against a device that is written from the specification and shares nothing with the
 * driver's side but the layout: buffers come back once, whole, in any order, across every wrap;
 * notifications and interrupts are asked for and never missed; and what a hostile device writes
 * breaks the queue, nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The code under test. NOLINTNEXTLINE(bugprone-suspicious-include) */
#include "../../drivers/virtio/virtq.c"

#define SIZE_MAX_TEST 256u
#define PIECES	      4u
#define TABLE	      8u

/* ------------------------------------------------------------------ the device */

/* struct held - a buffer that the device has. @id: as it came; @count: entries of the ring. */
struct held {
	uint16_t id, count;
	uint32_t out, in; /* bytes */
	uint64_t first;	  /* address of its first piece: which buffer it is */
};

struct device {
	struct virtq *q;
	uint16_t size;
	uint16_t seen, done; /* split: counters; packed: positions */
	bool seen_wrap, done_wrap;
	struct held held[SIZE_MAX_TEST];
	unsigned int count;
	uint16_t interrupt_from; /* @done when it last decided about an interrupt */
};

static char *tables_base;

/* One piece of a buffer. Return: whether more follow. */
static bool device_piece(struct held *h, uint64_t addr, uint32_t len, uint16_t flags)
{
	if (h->out + h->in == 0)
		h->first = addr;
	if (flags & VIRTQ_DESC_WRITE) {
		h->in += len;
	} else {
		assert_int_equal(h->in, 0); /* what is written comes last */
		h->out += len;
	}
	return flags & VIRTQ_DESC_NEXT;
}

static void device_table(struct held *h, bool packed, uint64_t addr, uint32_t len)
{
	unsigned int count = len / 16;

	assert_int_equal(len % 16, 0);
	if (packed) {
		const struct virtq_packed *t = (const void *)(tables_base + addr);

		for (unsigned int i = 0; i < count; i++)
			device_piece(h, t[i].addr, t[i].len, t[i].flags & VIRTQ_DESC_WRITE);
		return;
	}
	const struct virtq_desc *t = (const void *)(tables_base + addr);
	unsigned int i = 0, seen = 0;

	do {
		assert_true(i < count && seen++ < count);
	} while (device_piece(h, t[i].addr, t[i].len, t[i].flags) && (i = t[i].next, true));
	assert_int_equal(seen, count);
}

/* Take what is available. Return: how many buffers. */
static unsigned int device_look(struct device *d)
{
	struct virtq *q = d->q;
	unsigned int before = d->count;

	if (!q->packed) {
		while (d->seen != q->split.avail->idx) {
			uint16_t at = q->split.avail->ring[d->seen++ % d->size];
			struct held *h = &d->held[d->count++];
			bool more = true;

			*h = (struct held){ .id = at };
			while (more) {
				const struct virtq_desc *desc = &q->split.desc[at];

				h->count++;
				assert_true(h->count <= d->size);
				if (desc->flags & VIRTQ_DESC_INDIRECT) {
					device_table(h, false, desc->addr, desc->len);
					break;
				}
				more = device_piece(h, desc->addr, desc->len, desc->flags);
				at = desc->next;
			}
		}
		return d->count - before;
	}
	for (;;) {
		struct held *h = &d->held[d->count];
		const struct virtq_packed *e = &q->ring.ring[d->seen];
		bool avail = e->flags & VIRTQ_PACKED_AVAIL, used = e->flags & VIRTQ_PACKED_USED;
		bool more = true;

		if (avail != d->seen_wrap || used == d->seen_wrap)
			return d->count - before;
		*h = (struct held){ 0 };
		while (more) {
			e = &q->ring.ring[d->seen];
			h->count++;
			h->id = e->id;
			if (e->flags & VIRTQ_DESC_INDIRECT)
				device_table(h, true, e->addr, e->len), more = false;
			else
				more = device_piece(h, e->addr, e->len, e->flags);
			if (++d->seen == d->size) {
				d->seen = 0;
				d->seen_wrap = !d->seen_wrap;
			}
		}
		d->count++;
	}
}

/* Write an answer, true or not. @count: entries of the ring that it stands for. */
static void device_answer(struct device *d, uint32_t id, uint32_t len, uint16_t count)
{
	struct virtq *q = d->q;

	if (!q->packed) {
		q->split.done->ring[d->done % d->size] = (struct virtq_used_elem){ id, len };
		q->split.done->idx = ++d->done;
		return;
	}
	struct virtq_packed *e = &q->ring.ring[d->done];

	e->id = (uint16_t)id;
	e->len = len;
	e->flags = d->done_wrap ? VIRTQ_PACKED_AVAIL | VIRTQ_PACKED_USED : 0;
	d->done += count;
	if (d->done >= d->size) {
		d->done -= d->size;
		d->done_wrap = !d->done_wrap;
	}
}

static struct held device_finish(struct device *d, unsigned int which, uint32_t len)
{
	struct held h = d->held[which];

	d->held[which] = d->held[--d->count];
	device_answer(d, h.id, len, h.count);
	return h;
}

/* Whether the driver wants an interrupt for what was finished since the last time. */
static bool device_interrupts(struct device *d)
{
	struct virtq *q = d->q;
	uint16_t old = d->interrupt_from, now = d->done, event;

	d->interrupt_from = d->done;
	if (!q->packed && !q->event_idx)
		return !(q->split.avail->flags & VIRTQ_AVAIL_NO_INTERRUPT);
	if (!q->packed)
		return virtq_passed(*virtq_split_used_event(q), now, old);
	if (q->ring.driver->flags != VIRTQ_EVENT_DESC)
		return q->ring.driver->flags == VIRTQ_EVENT_ENABLE;
	event = q->ring.driver->off_wrap & 0x7fff;
	if (now <= old)
		old = (uint16_t)(old - d->size);
	if ((q->ring.driver->off_wrap >> 15) != d->done_wrap)
		event = (uint16_t)(event - d->size);
	return virtq_passed(event, now, old);
}

/* "Tell me when there is more than I have seen", or not at all. */
static void device_wants(struct device *d, bool wanted)
{
	struct virtq *q = d->q;

	if (!q->packed && q->event_idx) {
		*virtq_split_avail_event(q) = (uint16_t)(wanted ? d->seen : d->seen - 1);
	} else if (!q->packed) {
		q->split.done->flags = (uint16_t)(wanted ? 0 : VIRTQ_USED_NO_NOTIFY);
	} else if (q->event_idx && wanted) {
		q->ring.device->off_wrap = (uint16_t)(d->seen | d->seen_wrap << 15);
		q->ring.device->flags = VIRTQ_EVENT_DESC;
	} else {
		q->ring.device->flags =
			(uint16_t)(wanted ? VIRTQ_EVENT_ENABLE : VIRTQ_EVENT_DISABLE);
	}
}

/* --------------------------------------------------------------------- the rig */

struct rig {
	struct virtq q;
	struct device d;
	struct virtq_slot slots[SIZE_MAX_TEST];
	void *memory, *tables;
	uint64_t next; /* address of the next buffer */
	uint32_t random;
};

static uint32_t pick(struct rig *r, uint32_t below)
{
	r->random = r->random * 1664525u + 1013904223u;
	return (uint32_t)(((uint64_t)r->random * below) >> 32);
}

static struct rig *rig_up(bool packed, bool event_idx, uint16_t size)
{
	struct rig *r = calloc(1, sizeof(*r));
	uint32_t offsets[3], bytes = virtq_bytes(packed, size, offsets);

	r->memory = aligned_alloc(4096, bytes);
	memset(r->memory, 0, bytes);
	virtq_init(&r->q, packed, event_idx, size, r->memory, r->slots);
	r->tables = calloc(size, TABLE * 16);
	tables_base = r->tables;
	r->q.tables.cpu = r->tables;
	r->q.table = TABLE;
	r->d = (struct device){ .q = &r->q, .size = size, .seen_wrap = true, .done_wrap = true };
	r->next = 1;
	return r;
}

static void rig_down(struct rig *r)
{
	free(r->memory);
	free(r->tables);
	free(r);
}

/* A buffer of up to four pieces; its token is its first address. Return: whether there was room. */
static bool rig_add(struct rig *r, unsigned int out, unsigned int in, bool table)
{
	struct virtq_piece pieces[PIECES];

	for (unsigned int i = 0; i < out + in; i++)
		pieces[i] = (struct virtq_piece){ r->next << 16 | i, 100 + i };
	if (!(table ? virtq_add_table : virtq_add)(&r->q, pieces, out, in,
						   (void *)(uintptr_t)(r->next << 16)))
		return false;
	r->next++;
	return true;
}

static const struct form {
	const char *name;
	bool packed, event_idx;
	uint16_t size;
} forms[] = {
	{ "split", false, false, 8 },	      { "split, events", false, true, 8 },
	{ "split of 256", false, true, 256 }, { "packed", true, false, 8 },
	{ "packed, events", true, true, 8 },  { "packed of 7", true, true, 7 },
	{ "packed of 256", true, true, 256 }, { "split of 1", false, true, 1 },
	{ "packed of 1", true, true, 1 },
};

/* ------------------------------------------------------------------------- tests */

/* A long time of everything at once: more than 65,536 buffers, so that every counter wraps. */
static void stir(const struct form *f, unsigned int rounds, bool tables)
{
	struct rig *r = rig_up(f->packed, f->event_idx, f->size);
	uint64_t given = 0, back = 0, last = 0;
	bool quiet = false, told;

	for (unsigned int round = 0; round < rounds; round++) {
		unsigned int adds = pick(r, f->size) + 1, before = r->d.count, came;
		bool any = false;

		for (unsigned int i = 0; i < adds; i++) {
			unsigned int out = pick(r, 3), in = pick(r, 3) + (out == 0);

			if (rig_add(r, out, in, tables && pick(r, 2))) {
				given++;
				any = true;
			}
		}
		/* What is not published is not there. */
		assert_int_equal(device_look(&r->d), 0);
		device_wants(&r->d, !quiet);
		told = virtq_publish(&r->q);
		assert_false(virtq_publish(&r->q));
		assert_int_equal(told, any && !quiet);
		came = device_look(&r->d);
		assert_true(any ? came > 0 : came == 0);
		assert_int_equal(r->d.count, before + came);
		quiet = pick(r, 2);

		bool armed = pick(r, 2), finished = false;

		if (armed)
			assert_true(virtq_arm(&r->q));
		else
			virtq_disarm(&r->q);
		r->d.interrupt_from = r->d.done;
		for (unsigned int n = pick(r, r->d.count + 1); n; n--) {
			unsigned int which = pick(r, r->d.count);
			uint32_t room = r->d.held[which].in, len = pick(r, room + 1);

			device_finish(&r->d, which, len);
			last = len;
			finished = true;
		}
		if (finished) {
			assert_int_equal(device_interrupts(&r->d), armed);
			assert_true(virtq_ready(&r->q));
			assert_false(virtq_arm(&r->q));
		}
		for (;;) {
			uint32_t written = UINT32_MAX;
			void *token = virtq_get(&r->q, &written);

			if (!token)
				break;
			assert_int_equal((uintptr_t)token & 0xffff, 0);
			assert_true((uintptr_t)token >> 16 < r->next);
			assert_true(written <= PIECES * 104);
			back++;
			if (!virtq_ready(&r->q))
				assert_int_equal(written, last);
		}
		assert_null(r->q.broken);
	}
	while (r->d.count)
		device_finish(&r->d, r->d.count - 1, 0);
	for (uint32_t written; virtq_get(&r->q, &written);)
		back++;
	assert_int_equal(back, given);
	assert_int_equal(r->q.room, f->size);
	assert_null(virtq_take(&r->q));
	rig_down(r);
}

static void test_everything_comes_back(void **state)
{
	for (unsigned int i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		stir(&forms[i], forms[i].size > 8 ? 3000 : 30000, false);
}

static void test_tables(void **state)
{
	for (unsigned int i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
		stir(&forms[i], forms[i].size > 8 ? 1000 : 10000, true);
}

/* The device sees the pieces that were given, in their order, and which it may write. */
static void test_pieces(void **state)
{
	for (unsigned int i = 0; i < 6; i++) {
		struct rig *r = rig_up(forms[i].packed, forms[i].event_idx, forms[i].size);

		assert_true(rig_add(r, 2, 1, false));
		assert_true(rig_add(r, 1, 2, true));
		assert_true(rig_add(r, 0, 1, false));
		virtq_publish(&r->q);
		assert_int_equal(device_look(&r->d), 3);
		assert_int_equal(r->d.held[0].out, 201);
		assert_int_equal(r->d.held[0].in, 102);
		assert_int_equal(r->d.held[0].first, 1 << 16);
		assert_int_equal(r->d.held[1].out, 100);
		assert_int_equal(r->d.held[1].in, 203);
		assert_int_equal(r->d.held[1].first, 2 << 16);
		assert_int_equal(r->d.held[2].out, 0);
		assert_int_equal(r->d.held[2].in, 100);
		rig_down(r);
	}
}

/* Full is full: nothing is half put in. */
static void test_no_room(void **state)
{
	for (unsigned int i = 0; i < 6; i++) {
		struct rig *r = rig_up(forms[i].packed, forms[i].event_idx, forms[i].size);
		unsigned int given = 0;

		while (rig_add(r, 1, 2, false))
			given++;
		assert_int_equal(given, forms[i].size / 3);
		assert_int_equal(r->q.room, forms[i].size % 3);
		virtq_publish(&r->q);
		assert_int_equal(device_look(&r->d), given);
		/* Those that a reset device still has come back to their owner, once. */
		for (unsigned int n = 0; n < given; n++)
			assert_non_null(virtq_take(&r->q));
		assert_null(virtq_take(&r->q));
		rig_down(r);
	}
}

/* ------------------------------------------------------------------ a hostile one */

static void hostile(bool packed, void (*attack)(struct rig *r), const char *why)
{
	struct rig *r = rig_up(packed, true, 8);
	uint32_t written = 0;

	rig_add(r, 1, 1, false);
	rig_add(r, 0, 1, false);
	virtq_publish(&r->q);
	device_look(&r->d);
	attack(r);
	assert_null(virtq_get(&r->q, &written));
	assert_non_null(r->q.broken);
	assert_non_null(strstr(r->q.broken, why));
	/* It stays so, and the owner gets everything back. */
	assert_null(virtq_get(&r->q, &written));
	for (unsigned int left = r->q.room == 8 ? 0 : r->q.room == 5 ? 2 : 1; left; left--)
		assert_non_null(virtq_take(&r->q));
	assert_null(virtq_take(&r->q));
	rig_down(r);
}

static void attack_beyond(struct rig *r)
{
	device_answer(&r->d, 8, 0, 1);
}

static void attack_far(struct rig *r)
{
	device_answer(&r->d, 0xffff, 0, 1);
}

static void attack_free(struct rig *r)
{
	device_answer(&r->d, 7, 0, 1);
}

static void attack_twice(struct rig *r)
{
	uint32_t written;
	struct held h = device_finish(&r->d, 0, 0);

	assert_non_null(virtq_get(&r->q, &written));
	device_answer(&r->d, h.id, 0, h.count);
}

static void attack_length(struct rig *r)
{
	device_answer(&r->d, r->d.held[0].id, r->d.held[0].in + 1, r->d.held[0].count);
}

static void attack_middle(struct rig *r)
{
	/* The second entry of the first buffer: no buffer begins there. */
	device_answer(&r->d, r->q.slots[r->d.held[0].id].next, 0, 1);
}

static void attack_index(struct rig *r)
{
	r->q.split.done->idx = 1000;
}

static void test_hostile(void **state)
{
	for (unsigned int packed = 0; packed < 2; packed++) {
		hostile(packed, attack_beyond, "what there is not");
		hostile(packed, attack_far, "what there is not");
		hostile(packed, attack_free, "did not have");
		hostile(packed, attack_twice, "did not have");
		hostile(packed, attack_length, "room");
	}
	hostile(false, attack_middle, "did not have");
	hostile(false, attack_index, "what there is not");
}

/* Rings full of noise, and the driver goes on putting in and taking out. */
static void test_noise(void **state)
{
	for (unsigned int seed = 0; seed < 4000; seed++) {
		struct rig *r = rig_up(seed & 1, seed & 2, 8);
		uint32_t offsets[3], bytes = virtq_bytes(seed & 1, 8, offsets), written;
		uint8_t *memory = r->memory;
		unsigned int given = 0, back = 0;

		r->random = seed;
		for (unsigned int i = 0; i < 50; i++) {
			given += rig_add(r, pick(r, 2), 1, pick(r, 2));
			virtq_publish(&r->q);
			for (unsigned int n = pick(r, 20); n; n--) {
				/* Where something is, of the three parts. */
				uint32_t part = pick(r, 3), at = offsets[part] + pick(r, 128);

				memory[at < bytes ? at : 0] =
					(uint8_t)pick(r, pick(r, 2) ? 4 : 256);
			}
			while (virtq_get(&r->q, &written)) {
				assert_true(written <= 200);
				back++;
			}
			virtq_arm(&r->q);
		}
		while (virtq_take(&r->q))
			back++;
		assert_int_equal(back, given);
		rig_down(r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything_comes_back),
		cmocka_unit_test(test_tables),
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_no_room),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
