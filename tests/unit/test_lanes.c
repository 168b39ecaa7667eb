/* SPDX-License-Identifier: MIT */
/* A device with several lanes, polled by hand, one after the other. */
#include "fw.h"

#include "framework/internal.h"

#define LANES 3u

static struct au_lane *lanes[LANES];
static struct auf_handle *handle[LANES];
static const char *const params[] = { "lanes=3", NULL };
static struct au_note note;
static unsigned int use;

static const char note_text[] = "abi 1\nname test\nversion 1.0\nclass raw\nsummary for tests\n"
				"match virtual\nlanes 20\n";

static void many(struct auf_device_config *config)
{
	char error[200];

	lanes[0] = config->lane;
	for (unsigned int i = 1; i < LANES; i++)
		assert_int_equal(auf_lane_create(AUF_RUNNER_APP, i, 0, NULL, &lanes[i]), 0);
	assert_int_equal(
		au_note_parse(note_text, sizeof(note_text), "test", &note, error, sizeof(error)),
		0);
	config->note = &note;
	config->lanes = lanes;
	config->lane_count = LANES;
	config->params = params;
}

static void poll_all(unsigned int count)
{
	while (count--)
		for (unsigned int i = 0; i < LANES; i++)
			auf_lane_poll(lanes[i]);
}

static void pass(uint64_t ms)
{
	au_fake_advance_ms(ms);
	poll_all(3);
}

static void open_on_each(void)
{
	struct auf_handle_config config = { .depth = FW_DEPTH,
					    .complete = fw_complete,
					    .event = fw_event };

	for (unsigned int i = 0; i < LANES; i++) {
		config.lane = auf_device_next_lane(fw.dev);
		assert_ptr_equal(config.lane, lanes[i]);
		assert_int_equal(auf_handle_open(fw.unit, &config, &handle[i]), 0);
	}
}

static void up(void (*change)(struct auf_device_config *config))
{
	assert_int_equal(fw_create(change), 0);
	assert_int_equal(auf_device_start(fw.dev), 0);
	open_on_each();
	poll_all(1);
	fw.trace[0] = '\0';
}

static void down(void)
{
	for (unsigned int i = 0; i < LANES; i++)
		if (handle[i])
			auf_handle_close(handle[i], NULL, NULL);
	poll_all(1);
	auf_device_stop(fw.dev);
	auf_device_destroy(fw.dev);
	for (unsigned int i = 0; i < LANES; i++)
		auf_lane_destroy(lanes[i]);
	memset(handle, 0, sizeof(handle));
	assert_int_equal(au_fake_allocated(), 0);
}

static int send_as(unsigned int lane, uint32_t slot, struct auf_submit submit)
{
	fw.handle = handle[lane];
	return fw_send_as(slot, submit);
}

static void send(unsigned int lane, uint32_t slot)
{
	assert_int_equal(send_as(lane, slot, (struct auf_submit){ 0 }), 0);
}

static int setup(void **state)
{
	fw_reset();
	use = 0;
	return 0;
}

/* ------------------------------------------------------------------- the rest */

/* Who does not say that it can has one lane, however many there are. */
static const struct au_note *plain;

static void many_of_one(struct auf_device_config *config)
{
	plain = config->note;
	many(config);
	config->note = plain;
	config->params = NULL;
}

static void test_one(void **state)
{
	assert_int_equal(fw_create(many_of_one), 0);
	assert_int_equal(au_device_lanes(fw.dev), 1);
	assert_ptr_equal(au_device_lane(fw.dev, 0), lanes[0]);
	assert_null(au_device_lane(fw.dev, 1));
	assert_int_equal(auf_device_start(fw.dev), 0);
	assert_ptr_equal(auf_device_next_lane(fw.dev), lanes[0]);
	fw_open();
	assert_ptr_equal(auf_device_next_lane(fw.dev), lanes[0]);
	fw_send(1);
	fw_complete_oldest();
	auf_lane_destroy(lanes[1]);
	auf_lane_destroy(lanes[2]);
	fw_down();
}

/* Nor has one that can, when it is not asked to. */
static void unasked(struct auf_device_config *config)
{
	many(config);
	config->params = NULL;
}

static void test_unasked(void **state)
{
	assert_int_equal(fw_create(unasked), 0);
	assert_int_equal(au_device_lanes(fw.dev), 1);
	down();
}

static unsigned int where[8];
static unsigned int delivered;
static void *context[8];

static void note_lane(struct au_queue *queue, struct au_request *req)
{
	assert_int_equal(au_request_lane(req), au_queue_lane(queue));
	assert_ptr_equal(au_request_queue(req), queue);
	context[delivered % 8] = au_queue_context(queue);
	where[delivered++ % 8] = au_request_lane(req);
	au_request_complete(req, 0, 0);
}

static void test_own_queues(void **state)
{
	static int a, b, c;
	void *contexts[LANES] = { &a, &b, &c };

	fw.deliver = note_lane;
	fw.queue_config[0].contexts = contexts;
	delivered = 0;
	up(many);
	contexts[1] = NULL; /* it was copied */
	send(0, 1);
	send(2, 1);
	send(1, 1);
	fw_expect("deliver1 deliver1 deliver1 ");
	assert_int_equal(where[0], 0);
	assert_int_equal(where[1], 2);
	assert_int_equal(where[2], 1);
	assert_ptr_equal(context[0], &a);
	assert_ptr_equal(context[1], &c);
	assert_ptr_equal(context[2], &b);
	down();
}

/* The bound is each lane's own; what waits goes on when its own lane comes to it. */
static void test_bounds(void **state)
{
	fw.queue_config[0].kind = AU_QUEUE_SEQUENTIAL;
	up(many);
	send(0, 1);
	send(0, 2);
	send(1, 3);
	send(1, 4);
	fw_expect("deliver1 deliver3 ");
	fw_complete_oldest();
	fw_expect("deliver2 ");
	fw_complete_oldest();
	fw_expect("deliver4 ");
	down();
}

/* Routes lead to the queue of the request's lane, and so does forwarding. */
static void forward(struct au_queue *queue, struct au_request *req)
{
	where[delivered++ % 8] = au_queue_lane(queue);
	if (au_queue_context(queue) == NULL)
		assert_int_equal(au_request_forward(req, fw.queue[1]), 0);
	else
		au_request_complete(req, 0, 0);
}

static void test_routes(void **state)
{
	fw.deliver = forward;
	fw.queue_count = 2;
	fw.queue_config[1].context = &fw;
	delivered = 0;
	up(many);
	assert_int_equal(send_as(2, 1, (struct auf_submit){ .op = FW_OP + 1 }), 0);
	send(1, 2);
	assert_int_equal(delivered, 3);
	assert_int_equal(where[0], 2);
	assert_int_equal(where[1], 1);
	assert_int_equal(where[2], 1);
	assert_int_equal(fw.done_count, 2);
	down();
}

/* Each lane's wheel has its own deadlines. */
static void test_deadlines(void **state)
{
	fw.cancelable = fw.cancel_completes = true;
	up(many);
	assert_int_equal(send_as(1, 1, (struct auf_submit){ .timeout_ms = 50 }), 0);
	au_fake_advance_ms(100);
	auf_lane_poll(lanes[0]);
	auf_lane_poll(lanes[2]);
	fw_expect("deliver1 ");
	auf_lane_poll(lanes[1]);
	fw_expect("cancel1 ");
	fw_expect_done(0, 1, -ETIMEDOUT);
	send(2, 5);
	assert_int_equal(auf_cancel(handle[2], 5, 5), 0);
	fw_expect_done(1, 5, -ECANCELED);
	down();
}

/* A handle goes on lane 0, when its own lane has let go of it. */
static unsigned int closed;

static void count_closed(void *arg)
{
	closed++;
}

static void test_close(void **state)
{
	closed = 0;
	up(many);
	send(1, 1);
	send(0, 2);
	auf_handle_close(handle[1], count_closed, NULL);
	handle[1] = NULL;
	poll_all(2);
	assert_int_equal(closed, 0);
	fw_complete_oldest();
	assert_int_equal(closed, 0);
	auf_lane_poll(lanes[1]);
	auf_lane_poll(lanes[2]);
	assert_int_equal(closed, 0);
	auf_lane_poll(lanes[0]);
	assert_int_equal(closed, 1);
	/* the next one is opened where there is room */
	assert_ptr_equal(auf_device_next_lane(fw.dev), lanes[1]);
	fw_complete_oldest();
	assert_int_equal(fw.done_count, 1);
	down();
}

/* Parking is where nothing is to be done later. */
static void test_close_held(void **state)
{
	closed = 0;
	up(many);
	auf_device_hold(fw.dev);
	auf_handle_close(handle[2], count_closed, NULL);
	handle[2] = NULL;
	assert_int_equal(closed, 1);
	auf_device_let_go(fw.dev);
	down();
}

/* The way down takes what every lane has. */
static void test_stop(void **state)
{
	fw.cancelable = fw.cancel_completes = true;
	up(many);
	for (unsigned int i = 0; i < LANES; i++)
		send(i, i + 1);
	fw.trace[0] = '\0';
	auf_device_stop(fw.dev);
	fw_expect("io_stop cancel1 cancel2 cancel3 d0_exit release ");
	assert_int_equal(fw.done_count, 3);
	for (unsigned int i = 0; i < LANES; i++)
		assert_int_equal(fw.done[i].status, -ENODEV);
	down();
}

/* A unit that goes ends what every lane has of it. */
static void test_unit_goes(void **state)
{
	up(many);
	for (unsigned int i = 0; i < LANES; i++)
		send(i, i + 1);
	au_unit_remove(fw.unit);
	assert_int_equal(fw.done_count, 3);
	assert_int_equal(fw.events, 3);
	assert_int_equal(send_as(1, 9, (struct auf_submit){ 0 }), -ENODEV);
	fw.held_count = 0;
	down();
}

static void few(struct au_device *dev)
{
	au_device_use_lanes(dev, 2);
}

/* Fewer queues than lanes: the others get nothing. */
static void test_use(void **state)
{
	const struct auf_handle_config config = { .depth = FW_DEPTH, .complete = fw_complete };

	fw.prepare = few;
	assert_int_equal(fw_create(many), 0);
	assert_int_equal(auf_device_start(fw.dev), 0);
	for (unsigned int i = 0; i < 4; i++) {
		struct auf_handle_config on = config;
		struct auf_handle *h;

		on.lane = auf_device_next_lane(fw.dev);
		assert_ptr_equal(on.lane, lanes[i % 2]);
		assert_int_equal(auf_handle_open(fw.unit, &on, &h), 0);
		if (i < LANES)
			handle[i] = h;
		else
			auf_handle_close(h, NULL, NULL);
	}
	poll_all(1);
	assert_int_equal(au_device_lanes(fw.dev), LANES);
	down();
}

/* Timers and pollers run where they are wanted. */
static unsigned int ticks, polls;

static void tick(struct au_timer *timer, void *arg)
{
	ticks++;
}

static unsigned int count_poll(void *arg)
{
	polls++;
	return 0;
}

static struct au_timer *timer;

static void on_lane_two(struct au_device *dev)
{
	struct au_poller_config poller = { AU_HEAD(struct au_poller_config), .poll = count_poll,
					   .lane = au_device_lane(dev, 2) };
	struct au_poller *p;

	assert_int_equal(au_poller_create(dev, &poller, &p), 0);
	assert_int_equal(au_timer_create_on(au_device_lane(dev, 2), dev, tick, NULL, &timer), 0);
	poller.lane = (struct au_lane *)(void *)&poller; /* an index that is none */
	poller.lane = lanes[1];
	assert_int_equal(au_poller_create(dev, &poller, &p), 0);
}

static void test_where(void **state)
{
	fw.prepare = on_lane_two;
	up(many);
	polls = ticks = 0;
	auf_lane_poll(lanes[0]);
	assert_int_equal(polls, 0);
	auf_lane_poll(lanes[1]);
	auf_lane_poll(lanes[2]);
	assert_int_equal(polls, 2);
	au_timer_start(timer, 10, false);
	au_fake_advance_ms(20);
	auf_lane_poll(lanes[0]);
	auf_lane_poll(lanes[1]);
	assert_int_equal(ticks, 0);
	auf_lane_poll(lanes[2]);
	assert_int_equal(ticks, 1);
	assert_int_equal(au_lane_now_ms(lanes[2]), au_lane_now_ms(lanes[0]));
	down();
}

/* ---------------------------------------------------------------- suspects */

static void suspect(unsigned int lane, uint32_t slot)
{
	assert_int_equal(send_as(lane, slot, (struct auf_submit){ .suspect = true }), 0);
}

/* A suspect of one lane waits for what another has, and holds the others back while it runs. */
static void test_suspect(void **state)
{
	up(many);
	send(0, 1);
	suspect(1, 2);
	poll_all(2);
	fw_expect("deliver1 ");
	send(2, 3);
	poll_all(2);
	fw_expect("");
	fw_complete_oldest();
	poll_all(2);
	fw_expect("deliver2 ");
	assert_int_equal(fw.progress[2].flags, AUF_OWNED | AUF_SOLO);
	suspect(0, 4);
	send(2, 5);
	poll_all(2);
	fw_expect("");
	fw_complete_oldest();
	poll_all(3);
	fw_expect("deliver4 ");
	assert_int_equal(fw.progress[4].flags, AUF_OWNED | AUF_SOLO);
	fw_complete_oldest();
	poll_all(3);
	fw_expect("deliver3 deliver5 ");
	fw_complete_oldest();
	fw_complete_oldest();
	poll_all(2);
	send(1, 6);
	fw_expect("deliver6 ");
	fw_complete_oldest();
	assert_int_equal(fw.done_count, 6);
	down();
}

/* One that does no harm holds nobody back for long; nor is it waited for for ever. */
static void test_suspect_slow(void **state)
{
	up(many);
	suspect(2, 1);
	poll_all(2);
	send(0, 2);
	poll_all(2);
	fw_expect("deliver1 ");
	pass(250);
	fw_expect("deliver2 ");
	assert_int_equal(fw.progress[1].flags, AUF_OWNED);
	suspect(1, 3);
	poll_all(2);
	pass(900);
	fw_expect("");
	pass(200);
	fw_expect("deliver3 ");
	assert_int_equal(fw.progress[3].flags, AUF_OWNED | AUF_SOLO);
	down();
}

/* One that is cancelled while it waits lets the others go. */
static void test_suspect_canceled(void **state)
{
	up(many);
	send(0, 1);
	suspect(1, 2);
	poll_all(2);
	send(2, 3);
	fw_expect("deliver1 ");
	assert_int_equal(auf_cancel(handle[1], 2, 2), 0);
	poll_all(2);
	fw_expect("deliver3 ");
	down();
}

static void many_verified(struct auf_device_config *config)
{
	many(config);
	config->verify = true;
}

static void no_timer(struct au_timer *t, void *c)
{
}

/* As if the caller were the second lane's thread, and the third lane another's. */
static void elsewhere(bool on)
{
	lanes[0]->runner = lanes[2]->runner = on ? AUF_RUNNER_THREAD : AUF_RUNNER_APP;
	atomic_store(&lanes[0]->thread_id, au_os_thread_self() + 1);
	atomic_store(&lanes[2]->thread_id, au_os_thread_self() + 2);
}

static void test_wrong_lane(void **state)
{
	struct au_timer *late;

	up(many_verified);
	assert_int_equal(au_timer_create_on(lanes[2], fw.dev, no_timer, NULL, &late), 0);
	send(1, 1);
	send(2, 2);
	elsewhere(true);
	fw_complete_oldest();
	assert_int_equal(fw.rules, 0);
	fw_complete_oldest();
	assert_int_equal(fw.rules, 1);
	assert_string_equal(fw.rule, "wrong-lane");
	au_timer_start(late, 1, false);
	assert_int_equal(fw.rules, 2);
	au_device_park(fw.dev);
	assert_int_equal(fw.rules, 3);
	assert_string_equal(fw.rule, "wrong-lane");
	elsewhere(false);
	au_timer_stop(late);
	down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_one, setup),
		cmocka_unit_test_setup(test_unasked, setup),
		cmocka_unit_test_setup(test_own_queues, setup),
		cmocka_unit_test_setup(test_bounds, setup),
		cmocka_unit_test_setup(test_routes, setup),
		cmocka_unit_test_setup(test_deadlines, setup),
		cmocka_unit_test_setup(test_close, setup),
		cmocka_unit_test_setup(test_close_held, setup),
		cmocka_unit_test_setup(test_stop, setup),
		cmocka_unit_test_setup(test_unit_goes, setup),
		cmocka_unit_test_setup(test_use, setup),
		cmocka_unit_test_setup(test_where, setup),
		cmocka_unit_test_setup(test_suspect, setup),
		cmocka_unit_test_setup(test_suspect_slow, setup),
		cmocka_unit_test_setup(test_suspect_canceled, setup),
		cmocka_unit_test_setup(test_wrong_lane, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
