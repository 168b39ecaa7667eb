/* SPDX-License-Identifier: MIT */
/* A host dies and another one comes: what is completed, what is sent again, and with what. */
#include "chan_pair.h"

#include "auriga/raw.h"

#define DEPTH  8u
#define BUFFER 256u
#define OP     (AU_RAW_WRITE | (AU_RAW_FIRST + 1))

static int setup(void **state)
{
	struct pair *pair = pair_new(DEPTH, BUFFER);

	pair->hold = pair->host->handle->hold = true;
	*state = pair;
	return 0;
}

static int teardown(void **state)
{
	pair_free(*state);
	return 0;
}

static void submit(struct pair *pair, struct au_io *io, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		io[i].op = OP;
		assert_int_equal(au_chan_submit(pair->chan, &io[i]), 0);
	}
	au_chan_flush(pair->chan);
}

static struct host *replace(struct pair *pair, bool fault)
{
	struct host *next = host_start(pair, pair->host->generation + 1, true, NULL);

	au_chan_down(pair->chan);
	pair_attach(pair, next, fault);
	fake_turn(&next->lane);
	return next;
}

static const struct auf_submit *held(const struct pair *pair, const struct au_io *io)
{
	assert_true(pair->host->handle->busy[slot_of(io)]);
	assert_int_equal(pair->host->handle->held[slot_of(io)].tag, io->handle_);
	return &pair->host->handle->held[slot_of(io)];
}

/* Outstanding requests come again, in order, marked, with how far each had come. */
static void test_replay(void **state)
{
	struct pair *pair = *state;
	char data[] = "0123456789";
	struct au_io io[4] = { { .data = data, .length = 10 } };

	submit(pair, io, 4);
	fake_turn(&pair->host->lane);
	host_progress(pair->host, slot_of(&io[0]), 9, 4, AUF_OWNED);
	host_progress(pair->host, slot_of(&io[1]), 0, 0, 0);
	fake_complete(pair->host->handle, slot_of(&io[2]), 0, 0);
	fake_turn(&pair->host->lane);
	/* What a dying host does to the pool does not come back. */
	memset(pair->pool, 'x', DEPTH * BUFFER);
	replace(pair, true);
	assert_int_equal(io[2].status, 0);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(pair->host->handle->submitted, 3);
	assert_int_equal(pair->host->handle->order[0], io[0].handle_);
	assert_int_equal(pair->host->handle->order[1], io[1].handle_);
	assert_int_equal(pair->host->handle->order[2], io[3].handle_);
	assert_int_equal(held(pair, &io[0])->flags, AU_REQ_REPLAY);
	assert_int_equal(held(pair, &io[0])->started, 9);
	assert_int_equal(held(pair, &io[0])->done, 4);
	assert_memory_equal(held(pair, &io[0])->data, "0123456789", 10);
	assert_int_equal(held(pair, &io[1])->started, 0);
	assert_false(held(pair, &io[0])->suspect);
	for (unsigned int i = 0; i < 4; i++) {
		if (i != 2)
			fake_complete(pair->host->handle, slot_of(&io[i]), 0, 0);
	}
	fake_turn(&pair->host->lane);
	assert_int_equal(au_chan_poll(pair->chan, 0), 3);
	assert_int_equal(pair->chan->stats.replayed, 3);
}

/* The progress words of a slot's earlier request say nothing about the one that is in it now. */
static void test_stale_progress(void **state)
{
	struct pair *pair = *state;
	struct au_io first = { 0 }, second = { 0 };

	submit(pair, &first, 1);
	fake_turn(&pair->host->lane);
	host_progress(pair->host, slot_of(&first), 99, 98, AUF_OWNED | AUF_SOLO);
	fake_complete(pair->host->handle, slot_of(&first), 0, 0);
	fake_turn(&pair->host->lane);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	/* In the ring, but the host dies before it looks. */
	submit(pair, &second, 1);
	assert_int_equal(slot_of(&second), slot_of(&first));
	replace(pair, true);
	assert_int_equal(held(pair, &second)->flags, AU_REQ_REPLAY);
	assert_int_equal(held(pair, &second)->started, 0);
	assert_int_equal(held(pair, &second)->done, 0);
	assert_false(held(pair, &second)->suspect);
}

/* A host that dies before it has looked at a replay: what the one before it knew still counts. */
static void test_progress_is_kept(void **state)
{
	struct pair *pair = *state;
	struct au_io io = { 0 };
	struct host *unseen;

	submit(pair, &io, 1);
	fake_turn(&pair->host->lane);
	host_progress(pair->host, 0, 16, 12, AUF_OWNED);
	unseen = host_start(pair, 2, true, NULL);
	pair_attach(pair, unseen, false);
	unseen = host_start(pair, 3, true, NULL);
	pair_attach(pair, unseen, false);
	fake_turn(&unseen->lane);
	assert_int_equal(held(pair, &io)->started, 16);
	assert_int_equal(held(pair, &io)->done, 12);
}

/* What was submitted while there was no host comes after what is replayed, and is no replay. */
static void test_submitted_while_down(void **state)
{
	struct pair *pair = *state;
	struct au_io old[2] = { 0 }, new[2] = { 0 };
	struct host *next;

	submit(pair, old, 2);
	fake_turn(&pair->host->lane);
	au_chan_down(pair->chan);
	submit(pair, new, 2);
	assert_int_equal(fake_turn(&pair->host->lane), 0);
	next = replace(pair, false);
	assert_int_equal(next->handle->submitted, 4);
	assert_int_equal(next->handle->order[1], old[1].handle_);
	assert_int_equal(next->handle->order[2], new[0].handle_);
	assert_int_equal(next->handle->order[3], new[1].handle_);
	assert_int_equal(held(pair, &old[1])->flags, AU_REQ_REPLAY);
	assert_int_equal(held(pair, &new[0])->flags, 0);
	/* The next time they are replayed like all others. */
	replace(pair, false);
	assert_int_equal(held(pair, &new[1])->flags, AU_REQ_REPLAY);
}

static void test_cancel_again(void **state)
{
	struct pair *pair = *state;
	struct au_io io[3] = { 0 };

	submit(pair, io, 3);
	fake_turn(&pair->host->lane);
	/* Told to a host that died before it acted, and asked for while there was none. */
	assert_int_equal(au_chan_cancel(pair->chan, &io[0]), 0);
	au_chan_down(pair->chan);
	assert_int_equal(au_chan_cancel(pair->chan, &io[1]), 0);
	replace(pair, false);
	assert_int_equal(au_chan_poll(pair->chan, 0), 2);
	assert_int_equal(io[0].status, -ECANCELED);
	assert_int_equal(io[1].status, -ECANCELED);
	assert_int_equal(io[2].status, -EINPROGRESS);
	assert_int_equal(pair->chan->cancels, 0);
}

static void test_timeout_goes_on(void **state)
{
	struct pair *pair = *state;
	struct au_io io = { .timeout_ms = 10000 }, gone = { .timeout_ms = 1 };

	submit(pair, &io, 1);
	submit(pair, &gone, 1);
	fake_turn(&pair->host->lane);
	assert_int_equal(held(pair, &io)->timeout_ms, 10000);
	usleep(60000);
	replace(pair, false);
	assert_in_range(held(pair, &io)->timeout_ms, 5000, 9960);
	assert_int_equal(held(pair, &gone)->timeout_ms, 1);
}

/* -------------------------------------------------------------------- gate */

static unsigned int all_replayed;

static void count_replayed(void *context)
{
	all_replayed++;
}

/*
 * Two clients, one gate: each replays, then waits; what is new waits until both have replayed, and
 * a client without a past is not looked at.
 */
static void test_gate(void **state)
{
	struct au_chan_gate gate = { .closed = true, .waiting = 2, .replayed = count_replayed };
	struct pair *a = *state, *b = pair_new(DEPTH, BUFFER), *c = pair_new(DEPTH, BUFFER);
	struct au_io io_a[2] = { 0 }, io_b[2] = { 0 }, new_a = { 0 }, new_c = { 0 };
	struct host *ha, *hb, *hc;

	all_replayed = 0;
	b->hold = c->hold = b->host->handle->hold = true;
	submit(a, io_a, 2);
	submit(b, io_b, 2);
	fake_turn(&a->host->lane);
	fake_turn(&b->host->lane);
	ha = host_start(a, 2, true, &gate);
	hb = host_start(b, 2, true, &gate);
	hc = host_start(c, 2, false, &gate);
	pair_attach(a, ha, false);
	submit(a, &new_a, 1);
	pair_attach(c, hc, false);
	submit(c, &new_c, 1);
	for (unsigned int i = 0; i < 5; i++) {
		fake_turn(&ha->lane);
		fake_turn(&hb->lane);
		fake_turn(&hc->lane);
	}
	assert_int_equal(gate.waiting, 1);
	assert_int_equal(ha->handle->submitted, 2);
	assert_int_equal(hc->handle->submitted, 0);
	assert_int_equal(all_replayed, 0);
	/* Waiting for another client is sleeping, not spinning. */
	assert_true(ha->lane.sources[0]->arm(ha->lane.sources[0]));
	assert_true(hc->lane.sources[0]->arm(hc->lane.sources[0]));
	pair_attach(b, hb, false);
	fake_turn(&hb->lane);
	assert_int_equal(gate.waiting, 0);
	assert_int_equal(all_replayed, 1);
	assert_int_equal(hb->handle->submitted, 2);
	fake_turn(&ha->lane);
	assert_int_equal(ha->handle->submitted, 2);
	au_chan_gate_open(&gate);
	fake_turn(&ha->lane);
	fake_turn(&ha->lane);
	fake_turn(&hc->lane);
	assert_int_equal(ha->handle->submitted, 3);
	assert_int_equal(held(a, &new_a)->flags, 0);
	assert_int_equal(hc->handle->submitted, 1);
	/* A request that was put aside can be cancelled like any other. */
	au_chan_cancel(a->chan, &new_a);
	fake_turn(&ha->lane);
	assert_int_equal(au_chan_poll(a->chan, 0), 1);
	pair_free(b);
	pair_free(c);
}

static void test_gate_cancel_put_aside(void **state)
{
	struct au_chan_gate gate = { .closed = true, .waiting = 2 };
	struct pair *pair = *state;
	struct au_io io = { 0 };
	struct host *h = host_start(pair, 2, true, &gate);

	pair_attach(pair, h, false);
	submit(pair, &io, 1);
	fake_turn(&h->lane);
	au_chan_cancel(pair->chan, &io);
	fake_turn(&h->lane);
	au_chan_gate_open(&gate);
	fake_turn(&h->lane);
	fake_turn(&h->lane);
	fake_turn(&h->lane);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(io.status, -ECANCELED);
}

/* A client that dies instead of replaying is not waited for; a late one is served all the same. */
static void test_gate_client_dies(void **state)
{
	static struct au_chan_gate gate; /* the host that teardown kills still knows it */
	struct pair *pair = *state;
	struct au_io io = { 0 };
	struct host *h;

	gate = (struct au_chan_gate){ .closed = true, .waiting = 1, .replayed = count_replayed };
	submit(pair, &io, 1);
	all_replayed = 0;
	h = host_start(pair, 2, true, &gate);
	shutdown(h->bell[0], SHUT_RDWR);
	h->lane.sources[0]->disarm(h->lane.sources[0]);
	fake_turn(&h->lane);
	assert_int_equal(h->closed, 1);
	assert_int_equal(all_replayed, 1);
	host_kill(h);

	gate = (struct au_chan_gate){ .closed = true, .waiting = 1, .replayed = count_replayed };
	h = host_start(pair, 3, true, &gate);
	fake_turn(&h->lane);
	au_chan_gate_open(&gate);
	fake_turn(&h->lane);
	pair_attach(pair, h, false);
	fake_turn(&h->lane);
	assert_int_equal(held(pair, &io)->flags, AU_REQ_REPLAY);
	assert_int_equal(all_replayed, 1);
}

/* Who has a request with the host is what the next one waits for; who has none is not. */
static void test_busy(void **state)
{
	struct pair *pair = *state;
	struct au_io io[2] = { 0 };
	struct host *h = pair->host;
	struct auf_source *source = h->lane.sources[0];

	assert_int_equal(h->busy, 0);
	submit(pair, io, 2);
	fake_turn(&h->lane);
	assert_int_equal(h->busy, 1);
	fake_complete(h->handle, slot_of(&io[0]), 0, 0);
	assert_true(source->arm(source));
	source->disarm(source);
	assert_int_equal(h->busy, 1);
	fake_complete(h->handle, slot_of(&io[1]), 0, 0);
	assert_true(source->arm(source));
	source->disarm(source);
	/* Whether the client has looked at the answers is nobody's business. */
	assert_int_equal(h->busy, 0);
	assert_int_equal(au_chan_poll(pair->chan, 0), 2);
	submit(pair, io, 1);
	fake_turn(&h->lane);
	assert_int_equal(h->busy, 1);
	au_chan_server_mute(h->server);
	fake_complete(h->handle, slot_of(&io[0]), -ENODEV, 0);
	fake_turn(&h->lane);
	assert_true(source->arm(source));
	assert_int_equal(h->busy, 1);
}

/* One that is not awaited may replay, and opens nobody's gate by that. */
static void test_gate_not_awaited(void **state)
{
	static struct au_chan_gate gate;
	struct pair *pair = *state;
	struct au_io io = { 0 };
	struct host *h;

	gate = (struct au_chan_gate){ .closed = true, .waiting = 2, .replayed = count_replayed };
	all_replayed = 0;
	submit(pair, &io, 1);
	pair->lost = true;
	h = host_start(pair, 2, true, &gate);
	assert_int_equal(h->busy, 0);
	assert_int_equal(gate.waiting, 1);
	pair_attach(pair, h, false);
	fake_turn(&h->lane);
	fake_turn(&h->lane);
	assert_int_equal(h->busy, 1);
	assert_int_equal(h->handle->submitted, 1);
	assert_int_equal(gate.waiting, 1);
	assert_int_equal(all_replayed, 0);
	assert_int_equal(held(pair, &io)->flags, AU_REQ_REPLAY);
}

/* A host that goes down in order: what it fails on its way does not reach the client. */
static void test_mute(void **state)
{
	struct pair *pair = *state;
	struct au_io io = { 0 };

	submit(pair, &io, 1);
	fake_turn(&pair->host->lane);
	au_chan_server_mute(pair->host->server);
	fake_complete(pair->host->handle, 0, -ENODEV, 0);
	fake_turn(&pair->host->lane);
	assert_int_equal(au_chan_poll(pair->chan, 0), 0);
	replace(pair, false);
	assert_int_equal(held(pair, &io)->flags, AU_REQ_REPLAY);
}

/* ------------------------------------------------------------------ poison */

/* Owned in two faulty deaths: suspect. Alone with it when it died: failed, and only that one. */
static void test_poison(void **state)
{
	struct pair *pair = *state;
	struct au_io io[4] = { 0 };
	struct fake_handle *h;

	submit(pair, io, 4);
	fake_turn(&pair->host->lane);
	for (unsigned int i = 0; i < 3; i++) /* the fourth waited in a queue */
		host_progress(pair->host, slot_of(&io[i]), 0, 0, AUF_OWNED);
	replace(pair, true);
	for (unsigned int i = 0; i < 4; i++)
		assert_false(held(pair, &io[i])->suspect);

	/* The second time one of them was complete. */
	fake_complete(pair->host->handle, slot_of(&io[2]), 0, 0);
	fake_turn(&pair->host->lane);
	host_progress(pair->host, slot_of(&io[0]), 0, 0, AUF_OWNED);
	host_progress(pair->host, slot_of(&io[1]), 0, 0, AUF_OWNED);
	host_progress(pair->host, slot_of(&io[3]), 0, 0, AUF_OWNED);
	replace(pair, true);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_true(held(pair, &io[0])->suspect);
	assert_true(held(pair, &io[1])->suspect);
	assert_false(held(pair, &io[3])->suspect);

	/* The framework tries them one at a time: the first one survives. */
	h = pair->host->handle;
	host_progress(pair->host, slot_of(&io[0]), 0, 0, AUF_OWNED | AUF_SOLO);
	fake_complete(h, slot_of(&io[0]), 0, 0);
	fake_turn(&pair->host->lane);
	host_progress(pair->host, slot_of(&io[1]), 0, 0, AUF_OWNED | AUF_SOLO);
	replace(pair, true);
	assert_int_equal(au_chan_poll(pair->chan, 0), 2);
	assert_int_equal(io[0].status, 0);
	assert_int_equal(io[1].status, -EIO);
	assert_int_equal(io[3].status, -EINPROGRESS);
	assert_false(held(pair, &io[3])->suspect);
	assert_int_equal(pair->chan->stats.poisoned, 1);
	fake_complete(pair->host->handle, slot_of(&io[3]), 0, 0);
	fake_turn(&pair->host->lane);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(io[3].status, 0);
}

/* kill -9 never makes poison, however often. */
static void test_no_poison_without_fault(void **state)
{
	struct pair *pair = *state;
	struct au_io io = { 0 };

	submit(pair, &io, 1);
	fake_turn(&pair->host->lane);
	for (unsigned int i = 0; i < 10; i++) {
		host_progress(pair->host, 0, 0, 0, AUF_OWNED | (i > 5 ? AUF_SOLO : 0));
		replace(pair, false);
		assert_false(held(pair, &io)->suspect);
	}
	assert_int_equal(io.status, -EINPROGRESS);
	assert_int_equal(pair->chan->stats.poisoned, 0);
}

/* ------------------------------------------------------------------ policies */

/* What the driver had ends once, as soon as the host is dead; what waited goes on. */
static void test_abort(void **state)
{
	struct pair *pair = *state;
	struct au_io io[4] = { 0 }, new = { 0 };
	struct host *next;

	pair->chan->recovery = AU_CHAN_ABORT;
	submit(pair, io, 4);
	fake_turn(&pair->host->lane);
	host_progress(pair->host, slot_of(&io[0]), 0, 0, AUF_OWNED);
	host_progress(pair->host, slot_of(&io[1]), 0, 0, AUF_OWNED);
	fake_complete(pair->host->handle, slot_of(&io[2]), 0, 0);
	fake_turn(&pair->host->lane);
	au_chan_down(pair->chan);
	submit(pair, &new, 1);
	au_chan_lost(pair->chan);
	assert_int_equal(au_chan_poll(pair->chan, 0), 3);
	assert_int_equal(io[0].status, -EOWNERDEAD);
	assert_int_equal(io[1].status, -EOWNERDEAD);
	assert_int_equal(io[2].status, 0);
	assert_int_equal(io[3].status, -EINPROGRESS);
	au_chan_lost(pair->chan);
	assert_int_equal(au_chan_poll(pair->chan, 0), 0);
	next = replace(pair, false);
	assert_int_equal(next->handle->submitted, 2);
	assert_int_equal(held(pair, &io[3])->flags, AU_REQ_REPLAY);
	assert_int_equal(held(pair, &new)->flags, 0);
	assert_int_equal(pair->chan->stats.given_up, 2);
}

/* A host that nobody said was dead: at the latest when the next one is there. */
static void test_abort_late(void **state)
{
	struct pair *pair = *state;
	struct au_io io = { 0 };

	pair->chan->recovery = AU_CHAN_ABORT;
	submit(pair, &io, 1);
	fake_turn(&pair->host->lane);
	host_progress(pair->host, slot_of(&io), 0, 0, AUF_OWNED);
	assert_int_equal(replace(pair, false)->handle->submitted, 0);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(io.status, -EOWNERDEAD);
}

/* Memory of the application's that a device may still write to: not before the next host. */
static void test_abort_in_place(void **state)
{
	struct pair *pair = *state;
	struct au_io io = { .length = 64 };

	pair->chan->recovery = AU_CHAN_ABORT;
	assert_true(au_chan_claim(pair->chan) > 64);
	io.data = pair->chan->pool;
	submit(pair, &io, 1);
	fake_turn(&pair->host->lane);
	host_progress(pair->host, slot_of(&io), 0, 0, AUF_OWNED);
	au_chan_down(pair->chan);
	au_chan_lost(pair->chan);
	assert_int_equal(au_chan_poll(pair->chan, 0), 0);
	replace(pair, false);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(io.status, -EOWNERDEAD);
}

/* Everything ends, and what comes while there is no host ends soon. */
static void test_fail_all(void **state)
{
	struct pair *pair = *state;
	struct au_io io[2] = { 0 }, new = { 0 }, later = { 0 };

	pair->chan->recovery = AU_CHAN_FAIL;
	submit(pair, io, 2);
	fake_turn(&pair->host->lane);
	host_progress(pair->host, slot_of(&io[0]), 0, 0, AUF_OWNED);
	au_chan_down(pair->chan);
	au_chan_lost(pair->chan);
	assert_int_equal(au_chan_poll(pair->chan, 0), 2);
	assert_int_equal(io[0].status, -EIO);
	assert_int_equal(io[1].status, -EIO);
	submit(pair, &new, 1);
	assert_int_equal(au_chan_poll(pair->chan, 0), 0);
	au_chan_tick(pair->chan);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(new.status, -EIO);
	submit(pair, &later, 1);
	assert_int_equal(replace(pair, false)->handle->submitted, 1);
	assert_int_equal(held(pair, &later)->flags, 0);
}

/* --------------------------------------------------------- without any host */

static void test_expiry(void **state)
{
	struct pair *pair = *state;
	struct au_io sent = { .timeout_ms = 20 }, waiting = { .timeout_ms = 20 }, keeps = { 0 };
	struct au_io again = { 0 };
	uint32_t slot;

	submit(pair, &sent, 1);
	submit(pair, &keeps, 1);
	fake_turn(&pair->host->lane);
	au_chan_down(pair->chan);
	submit(pair, &waiting, 1);
	usleep(50000);
	au_chan_tick(pair->chan);
	/* No host has seen it: the time is up. The other one gets the benefit of the doubt. */
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(waiting.status, -ETIMEDOUT);
	assert_int_equal(sent.status, -EINPROGRESS);
	slot = slot_of(&sent);
	pair->chan->slots[slot].deadline_ms -= AU_CHAN_GRACE_MS;
	au_chan_tick(pair->chan);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(sent.status, -ETIMEDOUT);
	assert_int_equal(keeps.status, -EINPROGRESS);
	/* A buffer that a dead host may have given to a device is not used before the next one. */
	for (unsigned int i = 0; i < DEPTH; i++) {
		if (au_chan_submit(pair->chan, &again) != 0)
			break;
		assert_int_not_equal(slot_of(&again), slot);
	}
	assert_int_equal(au_chan_outstanding(pair->chan), DEPTH - 1);
	replace(pair, false);
	assert_int_equal(au_chan_free_slots(pair->chan), 1);
}

static void test_fail(void **state)
{
	struct pair *pair = *state;
	struct au_io io[3] = { 0 };

	submit(pair, io, 3);
	fake_turn(&pair->host->lane);
	fake_complete(pair->host->handle, slot_of(&io[1]), 0, 5);
	fake_turn(&pair->host->lane);
	au_chan_fail(pair->chan, -ENODEV);
	assert_int_equal(au_chan_poll(pair->chan, 0), 3);
	assert_int_equal(io[0].status, -ENODEV);
	assert_int_equal(io[1].status, 0);
	assert_int_equal(io[2].status, -ENODEV);
	assert_int_equal(au_chan_outstanding(pair->chan), 0);
}

/* The device was pulled out, and another one is there: the first one's requests have ended, and the
 * second one hears of none, whatever the first one's host still does. */
static void test_gone(void **state)
{
	struct pair *pair = *state;
	struct host *old = pair->host, *next;
	struct au_io io[3] = { 0 }, later = { .op = OP };
	struct au_event e;

	submit(pair, io, 3);
	fake_turn(&old->lane);
	assert_int_equal(au_chan_cancel(pair->chan, &io[2]), 0);
	au_chan_tell_gone(pair->chan, AU_GONE_WANTED);
	au_chan_gone(pair->chan);
	assert_int_equal(au_chan_poll(pair->chan, 0), 3);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(io[i].status, -ENODEV);
	assert_int_equal(au_chan_outstanding(pair->chan), 0);
	assert_false(pair->chan->up);
	fake_complete(old->handle, slot_of(&io[0]), 0, 7);
	fake_turn(&old->lane);
	assert_int_equal(au_chan_poll(pair->chan, 0), 0);
	assert_int_equal(io[0].status, -ENODEV);

	next = host_start(pair, old->generation + 1, false, NULL);
	next->handle->hold = true;
	pair_attach(pair, next, false);
	fake_turn(&next->lane);
	assert_int_equal(next->handle->submitted, 0);
	assert_int_equal(next->ended, 0);
	submit(pair, &later, 1);
	fake_turn(&next->lane);
	assert_int_equal(next->handle->submitted, 1);
	assert_int_equal(held(pair, &later)->flags, 0);
	fake_complete(next->handle, slot_of(&later), 0, 5);
	fake_turn(&next->lane);
	assert_int_equal(au_chan_poll(pair->chan, 0), 1);
	assert_int_equal(later.result, 5);

	assert_true(au_chan_event_next(pair->chan, &e));
	assert_int_equal(e.kind, AU_EVENT_GONE);
	assert_int_equal(e.arg[0], AU_GONE_WANTED);
	assert_false(au_chan_event_next(pair->chan, &e));
}

/* The host says it, and so does the manager: the application hears it once, each time. */
static void test_gone_told_once(void **state)
{
	const struct au_event gone = { .kind = AU_EVENT_GONE,
				       .count = 1,
				       .arg = { AU_GONE_ERROR } };
	const struct au_event back = { .kind = AU_EVENT_BACK, .count = 1 };
	struct pair *pair = *state;
	struct au_event e;

	for (unsigned int i = 0; i < 2; i++) {
		struct fake_handle *h = pair->host->handle;

		h->real.config.event(&h->real, &back); /* not for it to say */
		h->real.config.event(&h->real, &gone);
		h->real.config.event(&h->real, &gone);
		fake_turn(&pair->host->lane);
		au_chan_poll(pair->chan, 0);
		au_chan_tell_gone(pair->chan, AU_GONE_UNKNOWN);
		au_chan_gone(pair->chan);
		assert_true(au_chan_event_next(pair->chan, &e));
		assert_int_equal(e.kind, AU_EVENT_GONE);
		assert_int_equal(e.count, 1);
		assert_int_equal(e.arg[0], AU_GONE_ERROR);
		assert_false(au_chan_event_next(pair->chan, &e));
		pair_attach(pair, host_start(pair, pair->host->generation + 1, false, NULL), false);
	}
}

static void host_says(struct pair *pair, unsigned int count, uint64_t first)
{
	for (unsigned int i = 0; i < count; i++) {
		const struct au_event e = { .kind = 0x8100, .count = 1, .arg = { first + i } };

		pair->host->handle->real.config.event(&pair->host->handle->real, &e);
		fake_turn(&pair->host->lane);
	}
}

/* Read everything: @kept distinct events from @first on, then a gap of @lost, then RESTARTED. */
static void expect_gap(struct pair *pair, uint64_t first, unsigned int kept, uint32_t lost)
{
	struct au_event e;

	for (unsigned int i = 0; i < kept; i++) {
		assert_true(au_chan_event_next(pair->chan, &e));
		assert_int_equal(e.kind, 0x8100);
		assert_int_equal(e.arg[0], first + i);
	}
	assert_true(au_chan_event_next(pair->chan, &e));
	if (lost) {
		assert_int_equal(e.kind, AU_EVENT_OVERFLOW);
		assert_int_equal(e.count, lost);
		assert_true(au_chan_event_next(pair->chan, &e));
	}
	assert_int_equal(e.kind, AU_EVENT_RESTARTED);
	assert_false(au_chan_event_next(pair->chan, &e));
}

/* What a dead host left in its ring is taken, or its loss is told. */
static void test_events_of_the_dead(void **state)
{
	struct pair *pair = *state;

	host_says(pair, 10, 0);
	replace(pair, true);
	au_chan_event(pair->chan, AU_EVENT_RESTARTED, 2);
	expect_gap(pair, 0, 10, 0);

	/* The queue has room for 56; what came first is polled, the rest stays in the ring. */
	host_says(pair, 40, 100);
	au_chan_poll(pair->chan, 0);
	host_says(pair, 40, 140);
	replace(pair, true);
	au_chan_event(pair->chan, AU_EVENT_RESTARTED, 3);
	expect_gap(pair, 100, 56, 24);

	/* Of a ring that is full nobody knows whether it was all. */
	host_says(pair, 40, 200);
	au_chan_poll(pair->chan, 0);
	host_says(pair, AU_WIRE_EVENT_ENTRIES + 5, 240);
	replace(pair, true);
	au_chan_event(pair->chan, AU_EVENT_RESTARTED, 4);
	expect_gap(pair, 200, 56, 40 + AU_WIRE_EVENT_ENTRIES - 56 + 1);

	/* There will be no other host. */
	host_says(pair, 60, 400);
	au_chan_fail(pair->chan, -ENODEV);
	au_chan_event(pair->chan, AU_EVENT_RESTARTED, 0);
	expect_gap(pair, 400, 56, 4);
}

/* A host that dies before it has noted what it told is followed by one that tells it again. */
static void test_told_twice(void **state)
{
	struct pair *pair = *state;

	host_says(pair, 3, 0);
	replace(pair, true);
	host_says(pair, 5, 0);
	au_chan_poll(pair->chan, 0);
	replace(pair, true);
	host_says(pair, 6, 0);
	au_chan_poll(pair->chan, 0);
	au_chan_event(pair->chan, AU_EVENT_RESTARTED, 3);
	expect_gap(pair, 0, 6, 0);
}

/* Random deaths at random moments: each request completes once, in the end with its own result. */
static void test_random_deaths(void **state)
{
	struct pair *pair = *state;
	unsigned int seed = 3, completed = 0, submitted = 0, deaths = 0;
	struct au_io io[DEPTH] = { 0 };
	unsigned int answers[DEPTH] = { 0 };

	for (unsigned int round = 0; round < 20000; round++) {
		unsigned int k = (unsigned int)rand_r(&seed) % DEPTH;
		struct fake_handle *h = pair->host->handle;

		switch (rand_r(&seed) % 8) {
		case 0:
		case 1:
		case 2:
			if (io[k].status == -EINPROGRESS)
				break;
			answers[k] = (unsigned int)rand_r(&seed);
			io[k] = (struct au_io){ .op = OP, .arg = { answers[k] } };
			submitted += au_chan_submit(pair->chan, &io[k]) == 0;
			break;
		case 3:
			fake_turn(&pair->host->lane);
			break;
		case 4:
		case 5:
			if (h->busy[k])
				fake_complete(h, k, 0, (uint32_t)h->held[k].arg[0]);
			break;
		case 6:
			completed += au_chan_poll(pair->chan, 1 + k);
			break;
		default:
			if (rand_r(&seed) % 8 == 0) {
				replace(pair, rand_r(&seed) % 2);
				deaths++;
			}
		}
		for (unsigned int i = 0; i < DEPTH; i++) {
			if (io[i].op && io[i].status != -EINPROGRESS) {
				assert_int_equal(io[i].status, 0);
				assert_int_equal(io[i].result, answers[i]);
			}
		}
	}
	for (unsigned int i = 0; i < 100; i++) {
		fake_turn(&pair->host->lane);
		for (unsigned int k = 0; k < DEPTH; k++) {
			struct fake_handle *h = pair->host->handle;

			if (h->busy[k])
				fake_complete(h, k, 0, (uint32_t)h->held[k].arg[0]);
		}
		completed += au_chan_poll(pair->chan, 0);
	}
	assert_int_equal(completed, submitted);
	assert_true(submitted > 1000);
	assert_true(deaths > 100);
	assert_true(pair->chan->stats.replayed > 100);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_replay),
		TEST(test_stale_progress),
		TEST(test_progress_is_kept),
		TEST(test_submitted_while_down),
		TEST(test_cancel_again),
		TEST(test_timeout_goes_on),
		TEST(test_gate),
		TEST(test_gate_cancel_put_aside),
		TEST(test_gate_client_dies),
		TEST(test_gate_not_awaited),
		TEST(test_busy),
		TEST(test_mute),
		TEST(test_poison),
		TEST(test_no_poison_without_fault),
		TEST(test_abort),
		TEST(test_abort_late),
		TEST(test_abort_in_place),
		TEST(test_fail_all),
		TEST(test_expiry),
		TEST(test_fail),
		TEST(test_gone),
		TEST(test_gone_told_once),
		TEST(test_events_of_the_dead),
		TEST(test_told_twice),
		TEST(test_random_deaths),
	};

	return cmocka_run_group_tests_name("chan_replay", tests, NULL, NULL);
}
