/* SPDX-License-Identifier: MIT */
/* Lanes with a thread of their own: calls, work and wake-ups from other threads; rest when idle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/module.h"
#include "base/note.h"
#include "base/os.h"
#include "framework/framework.h"

#define THREADS 3
#define ROUNDS	2000

static struct au_lane *lane;

static void nap_ms(long ms)
{
	const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

static int count_up(void *arg)
{
	assert_true(auf_lane_current(lane));
	return ++*(int *)arg;
}

static int nested(void *arg)
{
	return auf_lane_call(lane, count_up, arg);
}

static void *caller(void *arg)
{
	/* the counter is the lane's: no atomic */
	for (int i = 0; i < ROUNDS; i++)
		auf_lane_call(lane, i % 2 ? count_up : nested, arg);
	return NULL;
}

static void test_calls(void **state)
{
	pthread_t thread[THREADS];
	int count = 0;

	assert_int_equal(auf_lane_create(AUF_RUNNER_THREAD, 0, 20, NULL, &lane), 0);
	assert_false(auf_lane_current(lane));
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, caller, &count);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(count, THREADS * ROUNDS);
	auf_lane_destroy(lane);
}

static void test_destroy_at_once(void **state)
{
	for (int i = 0; i < 200; i++) {
		assert_int_equal(auf_lane_create(AUF_RUNNER_THREAD, 0, 50, NULL, &lane), 0);
		auf_lane_destroy(lane);
	}
}

static double cpu_of(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static clockid_t lane_clock;

static int get_clock(void *arg)
{
	return pthread_getcpuclockid(pthread_self(), &lane_clock);
}

/* An idle lane uses no processor, however long it may spin. */
static void test_idle(void **state)
{
	double before;

	assert_int_equal(auf_lane_create(AUF_RUNNER_THREAD, 0, 200, NULL, &lane), 0);
	assert_int_equal(auf_lane_call(lane, get_clock, NULL), 0);
	nap_ms(50);
	before = cpu_of(lane_clock);
	nap_ms(500);
	assert_true(cpu_of(lane_clock) - before < 0.001);
	auf_lane_destroy(lane);
}

/* ---------------------------------------------- work of a device, from anywhere */

static struct au_work *work;
static unsigned int work_runs;
static _Atomic unsigned int posted;
static _Atomic unsigned int seen;

static void work_fn(struct au_work *w, void *context)
{
	work_runs++;
	seen = atomic_load(&posted);
}

static int prepare(struct au_device *dev)
{
	return au_work_create(dev, work_fn, NULL, &work);
}

static void *poster(void *arg)
{
	for (int i = 0; i < ROUNDS; i++) {
		atomic_fetch_add(&posted, 1);
		au_work_queue(work);
		if (i % 64 == 0)
			nap_ms(1);
	}
	return NULL;
}

static void test_work(void **state)
{
	static const char text[] =
		"abi 1\nname test\nversion 1.0\nclass raw\nsummary s\nmatch virtual\n";
	const struct au_driver driver = { AU_HEAD(struct au_driver), .prepare = prepare };
	struct auf_device_config config = { .name = "test0", .driver = &driver, .generation = 1 };
	pthread_t thread[THREADS];
	struct au_device *dev;
	struct au_note note;
	char error[256];

	assert_int_equal(au_note_parse(text, sizeof(text), "test", &note, error, sizeof(error)), 0);
	assert_int_equal(auf_lane_create(AUF_RUNNER_THREAD, 0, 20, NULL, &lane), 0);
	config.note = &note;
	config.lane = lane;
	assert_int_equal(auf_device_create(&config, &dev, error, sizeof(error)), 0);
	assert_int_equal(auf_device_start(dev), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, poster, NULL);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	/* none was lost: the last run saw everything that was posted */
	for (int i = 0; i < 2000 && seen != THREADS * ROUNDS; i++)
		nap_ms(1);
	auf_device_stop(dev);
	assert_int_equal(seen, THREADS * ROUNDS);
	assert_true(work_runs > 0);
	auf_device_destroy(dev);
	auf_lane_destroy(lane);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_destroy_at_once),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_work),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
