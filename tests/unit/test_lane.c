/* SPDX-License-Identifier: MIT */
/* Lanes: timers, work, sources and sleep, on the fake clock. */
#include "fw.h"

static int setup(void **state)
{
	fw_reset();
	return 0;
}

/* ------------------------------------------------------------------- timers */

static struct au_timer *timer[3];

static void timer_fired(struct au_timer *t, void *context)
{
	fw_note("timer%s", (const char *)context);
}

static void timer_restart(struct au_timer *t, void *context)
{
	fw_note("restart");
	au_timer_stop(timer[0]);
	au_timer_start(t, 5, false);
}

static void with_timers(struct au_device *dev)
{
	static char a[] = "A", b[] = "B";

	assert_int_equal(au_timer_create(dev, timer_fired, a, &timer[0]), 0);
	assert_int_equal(au_timer_create(dev, timer_fired, b, &timer[1]), 0);
	assert_int_equal(au_timer_create(dev, timer_restart, NULL, &timer[2]), 0);
	assert_int_equal(au_timer_create(dev, NULL, NULL, &timer[2]), -AU_EINVAL);
}

static void test_timers(void **state)
{
	int timeout;

	fw.prepare = with_timers;
	fw_up(NULL);
	assert_true(auf_lane_arm(fw.lane, &timeout) || auf_lane_arm(fw.lane, &timeout) ||
		    (fw_turns(2), auf_lane_arm(fw.lane, &timeout)));
	assert_int_equal(timeout, -1);
	auf_lane_disarm(fw.lane);
	au_timer_start(timer[0], 10, false);
	au_timer_start(timer[1], 7, true);
	fw_turns(2);
	assert_true(auf_lane_arm(fw.lane, &timeout));
	assert_in_range(timeout, 6, 7);
	auf_lane_disarm(fw.lane);
	fw_pass(6);
	fw_expect("");
	fw_pass(1);
	fw_expect("timerB ");
	fw_pass(3);
	fw_expect("timerA ");
	fw_pass(4);
	fw_expect("timerB ");
	fw_pass(7);
	fw_expect("timerB ");
	au_timer_stop(timer[1]);
	au_timer_stop(timer[1]);
	fw_pass(100);
	fw_expect("");
	/* started again before it was due: from the start */
	au_timer_start(timer[0], 10, false);
	fw_pass(9);
	au_timer_start(timer[0], 10, false);
	fw_pass(9);
	fw_expect("");
	fw_pass(2);
	fw_expect("timerA ");
	/* far away, and over the end of the wheel more than once */
	au_timer_start(timer[0], 100000, false);
	fw_pass(99998);
	fw_expect("");
	fw_pass(3);
	fw_expect("timerA ");
	fw_down();
}

/* One that is due together with another, and stops it: it does not fire any more. */
static void test_timer_stops_other(void **state)
{
	fw.prepare = with_timers;
	fw_up(NULL);
	au_timer_start(timer[2], 5, false);
	au_timer_start(timer[0], 6, false);
	fw_pass(20);
	fw_expect("restart ");
	fw_pass(5);
	fw_expect("restart ");
	/* none after the device has stopped */
	au_timer_start(timer[0], 1, true);
	auf_device_stop(fw.dev);
	au_timer_start(timer[0], 1, true);
	fw_pass(50);
	fw_expect("io_stop d0_exit release ");
	fw_down();
}

/* --------------------------------------------------------------------- work */

static struct au_work *work[2];

static void work_ran(struct au_work *w, void *context)
{
	fw_note("work");
	if (context && --*(int *)context)
		au_work_queue(w);
}

static int work_times;

static void with_work(struct au_device *dev)
{
	assert_int_equal(au_work_create(dev, work_ran, NULL, &work[0]), 0);
	assert_int_equal(au_work_create(dev, work_ran, &work_times, &work[1]), 0);
	assert_int_equal(au_work_create(dev, NULL, NULL, &work[1]), -AU_EINVAL);
}

static void test_work(void **state)
{
	int timeout;

	fw.prepare = with_work;
	fw_up(NULL);
	for (int i = 0; i < 10; i++)
		au_work_queue(work[0]);
	fw_expect("");
	assert_false(auf_lane_arm(fw.lane, &timeout));
	fw_turns(1);
	fw_expect("work ");
	/* queued again from itself: once a turn */
	work_times = 3;
	au_work_queue(work[1]);
	fw_turns(1);
	fw_expect("work ");
	fw_turns(1);
	fw_expect("work ");
	fw_turns(5);
	fw_expect("work ");
	/* never after the device has stopped */
	au_work_queue(work[0]);
	auf_device_stop(fw.dev);
	fw_turns(2);
	fw_expect("io_stop d0_exit release ");
	au_work_queue(work[0]);
	fw_down();
}

/* ------------------------------------------------------------------ sources */

struct counter {
	struct auf_source source;
	unsigned int polls, arms, disarms, left;
	bool remove_self;
	struct counter *remove_other;
};

static unsigned int counter_poll(struct auf_source *source, unsigned int budget)
{
	struct counter *c = (struct counter *)source;
	unsigned int done = c->left < budget ? c->left : budget;

	c->polls++;
	c->left -= done;
	if (c->source.fd >= 0)
		au_os_wake_clear(c->source.fd);
	if (c->remove_other)
		auf_lane_remove(fw.lane, &c->remove_other->source);
	if (c->remove_self)
		auf_lane_remove(fw.lane, source);
	return done;
}

static bool counter_arm(struct auf_source *source)
{
	struct counter *c = (struct counter *)source;

	c->arms++;
	return c->left == 0;
}

static void counter_disarm(struct auf_source *source)
{
	((struct counter *)source)->disarms++;
}

static struct counter counter_make(void)
{
	return (struct counter){ .source = { .poll = counter_poll,
					     .arm = counter_arm,
					     .disarm = counter_disarm,
					     .fd = -1 } };
}

static void test_sources(void **state)
{
	struct counter a = counter_make(), b = counter_make(), c = counter_make();
	int timeout;

	fw_up(NULL);
	assert_int_equal(auf_lane_add(fw.lane, &a.source), 0);
	assert_int_equal(auf_lane_add(fw.lane, &b.source), 0);
	assert_int_equal(auf_lane_add(fw.lane, &c.source), 0);
	/* a busy one does not keep the others from their turn */
	a.left = 1000000;
	fw_turns(10);
	assert_int_equal(b.polls, 10);
	assert_int_equal(c.polls, 10);
	a.left = 0;
	/* one that has something to do keeps the lane awake; those armed before it are disarmed */
	b.left = 5;
	assert_false(auf_lane_arm(fw.lane, &timeout));
	assert_int_equal(a.arms, 1);
	assert_int_equal(a.disarms, 1);
	assert_int_equal(c.arms, 0);
	fw_turns(2);
	assert_true(auf_lane_arm(fw.lane, &timeout));
	auf_lane_disarm(fw.lane);
	assert_int_equal(a.disarms, 2);
	assert_int_equal(c.disarms, 1);
	/* removal from within poll(), of itself and of the next one */
	a.remove_other = &b;
	b.polls = 0;
	fw_turns(1);
	assert_int_equal(b.polls, 0);
	a.remove_other = NULL;
	a.remove_self = true;
	a.polls = c.polls = 0;
	fw_turns(3);
	assert_int_equal(a.polls, 1);
	assert_int_equal(c.polls, 3);
	auf_lane_remove(fw.lane, &c.source);
	auf_lane_remove(fw.lane, &c.source);
	fw_down();
}

/* A source of descriptors is polled only when there is something to read. */
static void test_fd_sources(void **state)
{
	struct counter a = counter_make();
	int timeout;

	fw_up(NULL);
	a.source.fd = au_os_wake_create();
	a.source.poll_on_fd = true;
	a.source.arm = NULL;
	a.source.disarm = NULL;
	assert_int_equal(auf_lane_add(fw.lane, &a.source), 0);
	fw_turns(3);
	a.polls = 0;
	fw_turns(100);
	assert_int_equal(a.polls, 0);
	/* while busy it is looked at about once a millisecond */
	au_os_wake(a.source.fd);
	fw_pass(2);
	assert_int_equal(a.polls, 1);
	fw_pass(20);
	assert_int_equal(a.polls, 1);
	/* and at once after a sleep */
	fw_turns(2);
	assert_true(auf_lane_arm(fw.lane, &timeout));
	au_os_wake(a.source.fd);
	auf_lane_disarm(fw.lane);
	fw_turns(1);
	assert_int_equal(a.polls, 2);
	auf_lane_remove(fw.lane, &a.source);
	au_os_close(a.source.fd);
	fw_down();
}

static void test_wake(void **state)
{
	void *tokens[AU_OS_EVENTS];
	int timeout;

	fw_up(NULL);
	fw_turns(3);
	assert_true(auf_lane_arm(fw.lane, &timeout));
	assert_int_equal(au_os_wait(auf_lane_fd(fw.lane), 0, tokens), 0);
	auf_lane_wake(fw.lane);
	auf_lane_wake(fw.lane);
	assert_int_equal(au_os_wait(auf_lane_fd(fw.lane), 0, tokens), 1);
	auf_lane_disarm(fw.lane);
	fw_turns(2);
	assert_int_equal(au_os_wait(auf_lane_fd(fw.lane), 0, tokens), 0);
	/* awake, a wake-up costs no descriptor, but is not lost */
	auf_lane_wake(fw.lane);
	assert_int_equal(au_os_wait(auf_lane_fd(fw.lane), 0, tokens), 0);
	assert_false(auf_lane_arm(fw.lane, &timeout));
	fw_turns(1);
	assert_true(auf_lane_arm(fw.lane, &timeout));
	auf_lane_disarm(fw.lane);
	fw_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_timers, setup),
		cmocka_unit_test_setup(test_timer_stops_other, setup),
		cmocka_unit_test_setup(test_work, setup),
		cmocka_unit_test_setup(test_sources, setup),
		cmocka_unit_test_setup(test_fd_sources, setup),
		cmocka_unit_test_setup(test_wake, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
