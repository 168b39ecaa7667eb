/* SPDX-License-Identifier: MIT */
/* Fault injection: the text that asks for it, what it does, and that a seed repeats it. */
#include "fake_bus.h"

#include "base/verify.h"

static struct au_verify want;
static const char *want_text;
static uint32_t life;
static struct au_irq *irq;
static struct au_regs *regs;
static unsigned int isrs, dpcs;
static bool claims;

static int setup(void **state)
{
	fw_reset();
	fake_reset();
	life = 1;
	isrs = dpcs = 0;
	claims = true;
	fw.complete_at_once = true;
	return 0;
}

static int teardown(void **state)
{
	au_os_close(fake.wait_fd);
	return 0;
}

static void injecting(struct auf_device_config *config)
{
	char error[512];

	if (au_verify_parse(want_text, &want, error, sizeof(error)) != 0)
		fail_msg("%s", error);
	config->verify = want.rules;
	config->inject = &want;
	config->generation = life;
}

static void injecting_bus(struct auf_device_config *config)
{
	injecting(config);
	config->bus = &fake.bus;
}

/* --------------------------------------------------------------------- the text */

static void test_text(void **state)
{
	static const struct {
		const char *text, *printed;
	} good[] = {
		{ "yes", "yes" },
		{ "rules", "yes" },
		{ "no", "no" },
		{ "off", "no" },
		{ "seed=5", "no" },
		{ "alloc", "alloc:0,seed:1" },
		{ "late:3,rules+irq-lost+seed=77", "rules,irq-lost:100,late:3,seed:77" },
		{ "seed:0,surprise:12", "surprise:12,seed:0" },
		{ "seed=18446744073709551615+delay", "delay:200,seed:18446744073709551615" },
		{ "rules,alloc:100000,alloc-random:1000000,irq-lost:1000000,irq-spurious:60000,irq-"
		  "storm:60000,late:"
		  "1000,reorder:1000,all-ones:1000000000,delay:100000,surprise:1000000,seed:"
		  "18446744073709551615",
		  "rules,alloc:100000,alloc-random:1000000,irq-lost:1000000,irq-spurious:60000,irq-"
		  "storm:60000,late:"
		  "1000,reorder:1000,all-ones:1000000000,delay:100000,surprise:1000000,seed:"
		  "18446744073709551615" },
	};
	static const struct {
		const char *text, *says;
	} bad[] = {
		{ "", "yes or no" },
		{ "maybe", "'maybe' is unknown" },
		{ "rules,", "'' is unknown" },
		{ "rules:3", "'rules' is unknown" },
		{ "no,late", "'no' is unknown" },
		{ "late:0", "from 1 to 1000" },
		{ "late:-1", "from 1 to 1000" },
		{ "late:", "from 1 to 1000" },
		{ "late:0x10", "from 1 to 1000" },
		{ "late:99999999999999999999", "from 1 to 1000" },
		{ "seed", "use a number" },
		{ "seed=x", "use a number" },
		{ "seed=18446744073709551616", "use a number" },
	};
	char text[AU_VERIFY_TEXT], error[512], longest[600];
	struct au_verify again;

	for (unsigned int i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (au_verify_parse(good[i].text, &want, error, sizeof(error)) != 0)
			fail_msg("%s: %s", good[i].text, error);
		au_verify_print(&want, ',', text);
		assert_string_equal(text, good[i].printed);
		assert_int_equal(au_verify_parse(text, &again, error, sizeof(error)), 0);
		assert_memory_equal(&want, &again, sizeof(want));
		au_verify_print(&want, '+', text);
		assert_null(strchr(text, ','));
		assert_int_equal(au_verify_parse(text, &again, error, sizeof(error)), 0);
		assert_memory_equal(&want, &again, sizeof(want));
	}
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memset(error, 0, sizeof(error));
		if (au_verify_parse(bad[i].text, &want, error, sizeof(error)) != -EINVAL)
			fail_msg("accepted: %s", bad[i].text);
		if (!strstr(error, bad[i].says))
			fail_msg("%s: '%s'", bad[i].text, error);
		assert_int_equal(want.what | want.rules, 0);
	}
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	assert_int_equal(au_verify_parse(longest, &want, error, sizeof(error)), -EINVAL);
	assert_non_null(strstr(error, "too long"));
	assert_int_equal(au_verify_parse("maybe", &want, error, 20), -EINVAL);
	assert_int_equal(strlen(error), 19);
}

/* ------------------------------------------------------------------------ memory */

static struct au_timer *timers[3];
static unsigned int timer_errors;

static void timer_fn(struct au_timer *timer, void *context)
{
}

/* The second and the third are one call stack, which fails once. */
static void make_timers(struct au_device *dev)
{
	if (au_timer_create(dev, timer_fn, NULL, &timers[0]) != 0)
		timer_errors++;
	for (int i = 1; i < 3; i++)
		if (au_timer_create(dev, timer_fn, NULL, &timers[i]) != 0)
			timer_errors++;
}

static void down_unopened(void)
{
	auf_device_stop(fw.dev);
	auf_device_destroy(fw.dev);
	auf_lane_destroy(fw.lane);
	assert_int_equal(au_fake_allocated(), 0);
}

/* Start it again and again: each time the next call stack fails, and in the end none is left. */
static unsigned int starts_until_up(void)
{
	unsigned int starts = 0;

	for (;;) {
		starts++;
		assert_true(starts < 50);
		assert_int_equal(fw_create(injecting), 0);
		if (auf_device_start(fw.dev) == 0 && !timer_errors) {
			const struct auf_handle_config config = { .depth = FW_DEPTH,
								  .complete = fw_complete,
								  .event = fw_event };

			if (auf_handle_open(fw.unit, &config, &fw.handle) == 0)
				return starts;
		}
		timer_errors = 0;
		down_unopened();
	}
}

static void test_alloc_once_per_stack(void **state)
{
	want_text = "alloc,seed=3";
	fw.prepare = make_timers;
	for (int round = 0; round < 2; round++) {
		unsigned int starts = starts_until_up();

		/* the unit's two, the queue, timers in two places, the handle's three; and then
		 * it has failed everywhere */
		if (round == 0)
			assert_in_range(starts, 6, 20);
		else
			assert_int_equal(starts, 1);
		fw_send(1);
		fw_expect_done(0, 1, 0);
		fw_down();
		fw.handle = NULL;
		fw.done_count = 0;
	}
}

/* By chance, and the same chance for the same seed. */
static void test_alloc_random(void **state)
{
	unsigned int starts[2];

	want_text = "alloc-random:4,seed=8";
	fw.prepare = make_timers;
	for (int round = 0; round < 2; round++) {
		unsigned int failed = 0;

		assert_int_equal(fw_create(injecting), 0);
		for (int i = 0; i < 400; i++)
			failed += au_timer_create(fw.dev, timer_fn, NULL, &timers[0]) != 0;
		assert_in_range(failed, 60, 140);
		starts[round] = failed;
		down_unopened();
	}
	assert_int_equal(starts[0], starts[1]);
}

/* What fails is the same in each process, and comes by its number. */
static void test_alloc_numbered(void **state)
{
	char text[16], said[2][600] = { "", "" };
	unsigned int failed = 0;

	fw.prepare = make_timers;
	want_text = text;
	for (unsigned int n = 1;; n++) {
		assert_true(n < 50);
		snprintf(text, sizeof(text), "alloc:%u", n);
		for (int round = 0; round < 2; round++) {
			fw.lines = 0;
			timer_errors = 0;
			fw.handle = NULL;
			assert_int_equal(fw_create(injecting), 0);
			if (auf_device_start(fw.dev) == 0) {
				const struct auf_handle_config config = { .depth = 4,
									  .complete = fw_complete };

				failed = auf_handle_open(fw.unit, &config, &fw.handle) != 0 ||
					 timer_errors;
			} else {
				failed = 1;
			}
			if (fw.handle)
				auf_handle_close(fw.handle, NULL, NULL);
			auf_device_stop(fw.dev);
			auf_device_destroy(fw.dev);
			auf_lane_destroy(fw.lane);
			/* it ends with what was done in all */
			snprintf(said[round], sizeof(said[round]), "%s", fw.line);
		}
		assert_string_equal(said[0], said[1]);
		if (!failed) {
			assert_non_null(strstr(said[0], "alloc 0 "));
			assert_true(n > 6);
			break;
		}
		assert_non_null(strstr(said[0], "alloc 1 "));
	}
	assert_int_equal(au_fake_allocated(), 0);
}

/* ------------------------------------------------------------------- completions */

static uint64_t order[2][64];

static void late_round(uint64_t *tags)
{
	fw_up(injecting);
	for (uint32_t i = 0; i < 64; i++)
		fw_send(i);
	for (int ms = 0; ms < 60; ms++)
		fw_pass(1);
	assert_int_equal(fw.done_count, 64);
	for (uint32_t i = 0; i < 64; i++)
		tags[i] = fw.done[i].tag;
	fw_down();
	fw.handle = NULL;
	fw.done_count = 0;
}

static void test_late(void **state)
{
	unsigned int at_once;

	want_text = "late:20,seed=4";
	fw_up(injecting);
	for (uint32_t i = 0; i < 64; i++)
		fw_send(i);
	at_once = fw.done_count;
	fw_pass(5);
	assert_true(fw.done_count < 64);
	fw_pass(20);
	assert_int_equal(at_once, 0);
	assert_int_equal(fw.done_count, 64);
	/* in their order, each once, with what belongs to it */
	for (uint32_t i = 0; i < 64; i++) {
		fw_expect_done(i, i, 0);
		assert_int_equal(fw.done[i].result, 1000 + i);
	}
	/* a slot is free again when its sender has heard */
	fw_send(3);
	fw_pass(25);
	assert_int_equal(fw.done_count, 65);
	fw_down();
	assert_non_null(strstr(fw.line, "late 6"));
}

static void test_reorder(void **state)
{
	unsigned int moved = 0;
	bool seen[64] = { false };

	want_text = "reorder:20,seed=4";
	late_round(order[0]);
	late_round(order[1]);
	assert_memory_equal(order[0], order[1], sizeof(order[0]));
	for (uint32_t i = 0; i < 64; i++) {
		moved += order[0][i] != i;
		assert_false(seen[order[0][i]]);
		seen[order[0][i]] = true;
	}
	assert_true(moved > 32);
	want_text = "reorder:20,seed=5";
	late_round(order[1]);
	assert_memory_not_equal(order[0], order[1], sizeof(order[0]));
}

static void close_on_done(uint64_t tag)
{
	if (fw.handle)
		auf_handle_close(fw.handle, NULL, NULL);
	fw.handle = NULL;
}

/* Whoever closes hears nothing more, whenever he does. */
static void test_late_close(void **state)
{
	want_text = "late:20,reorder,seed=4";
	fw_up(injecting);
	for (uint32_t i = 0; i < 8; i++)
		fw_send(i);
	auf_handle_close(fw.handle, NULL, NULL);
	fw_pass(50);
	assert_int_equal(fw.done_count, 0);
	fw_open();
	fw.on_done = close_on_done;
	for (uint32_t i = 0; i < 8; i++)
		fw_send(i);
	fw_pass(50);
	assert_int_equal(fw.done_count, 1);
	fw_down();
}

static unsigned int flushes;

static void flush(struct auf_handle *handle)
{
	flushes++;
}

/* What has run alone is to be seen at once: the next may be the host's death. */
static void test_late_flush(void **state)
{
	const struct auf_handle_config config = { .depth = FW_DEPTH,
						  .complete = fw_complete,
						  .flush = flush };

	want_text = "late:1000,seed=4";
	flushes = 0;
	assert_int_equal(fw_create(injecting), 0);
	assert_int_equal(auf_device_start(fw.dev), 0);
	assert_int_equal(auf_handle_open(fw.unit, &config, &fw.handle), 0);
	fw_send(1);
	assert_int_equal(fw.done_count, 0);
	assert_int_equal(fw_send_as(2, (struct auf_submit){ .suspect = true }), 0);
	fw_turns(3);
	assert_int_equal(flushes, 1);
	assert_int_equal(fw.done_count, 2);
	fw_down();
}

/* A device that goes does not take along what is complete. */
static void test_late_down(void **state)
{
	struct auf_handle *handle;

	want_text = "late:1000,seed=4";
	fw.complete_at_once = false;
	fw_up(injecting);
	fw_send(1);
	fw_send(2);
	fw_complete_oldest();
	handle = fw.handle;
	fw.handle = NULL;
	auf_device_stop(fw.dev);
	auf_device_destroy(fw.dev);
	assert_int_equal(fw.done_count, 2);
	fw_expect_done(0, 1, 0);
	fw_expect_done(1, 2, -ENODEV);
	auf_handle_close(handle, NULL, NULL);
	auf_lane_destroy(fw.lane);
	assert_int_equal(au_fake_allocated(), 0);
}

/* -------------------------------------------------------------------- interrupts */

static bool isr(struct au_irq *i)
{
	isrs++;
	fake.asserted = false;
	return claims;
}

static void dpc(struct au_irq *i)
{
	dpcs++;
}

static void with_irq(struct au_device *dev)
{
	const struct au_irq_config config = { AU_HEAD(struct au_irq_config), .isr = isr,
					      .dpc = dpc };

	assert_int_equal(au_irq_create(dev, &config, &irq), 0);
	assert_int_equal(au_map_bar(dev, 0, 8, &regs), 0);
}

/* A level is not lost, but late. */
static void test_irq_lost(void **state)
{
	unsigned int late = 0;

	want_text = "irq-lost:4,seed=9";
	fw.prepare = with_irq;
	fw_up(injecting_bus);
	for (unsigned int i = 0; i < 100; i++) {
		isrs = 0;
		fake_raise();
		fw_pass(1);
		fw.trace[0] = 0;
		late += isrs == 0;
		/* unless it is lost again */
		for (int more = 0; !isrs && more < 20; more++)
			fw_pass(10);
		assert_int_equal(isrs, 1);
		assert_false(fake.asserted || fake.masked);
	}
	assert_true(late > 10 && late < 50);
	fw_down();
	assert_non_null(strstr(fw.line, "irq-lost "));
}

static void test_irq_spurious(void **state)
{
	want_text = "irq-spurious:5,seed=9";
	claims = false;
	fw.prepare = with_irq;
	fw_up(injecting_bus);
	for (int ms = 0; ms < 200; ms++)
		fw_pass(1);
	assert_true(isrs > 20 && isrs < 100);
	assert_int_equal(dpcs, 0);
	fw_down();
}

/* The framework finds out, polls, and comes back. */
static void test_irq_storm(void **state)
{
	want_text = "irq-storm:20,seed=9";
	claims = false;
	fw.prepare = with_irq;
	fw_up(injecting_bus);
	fw.lines = 0;
	for (int ms = 0; ms < 300 && !fw.lines; ms++) {
		au_fake_advance_ms(1);
		fw_turns(300);
	}
	assert_non_null(strstr(fw.line, "interrupt storm"));
	claims = true;
	isrs = dpcs = 0;
	fake_raise();
	fw_pass(2);
	assert_true(dpcs > 0);
	fw_down();
}

/* --------------------------------------------------------------------- registers */

static void test_all_ones(void **state)
{
	want_text = "all-ones:10,seed=1";
	fw.prepare = with_irq;
	fw_up(injecting_bus);
	fake.bar[3] = 7;
	for (int i = 0; i < 9; i++)
		assert_int_equal(au_read8(regs, 3), 7);
	assert_int_equal(au_read8(regs, 3), 0xff);
	au_write8(regs, 3, 1);
	assert_int_equal(fake.bar[3], 7);
	assert_int_equal(au_pci_read16(fw.dev, 0), 0xffff);
	/* the framework asks for the vendor, and draws its conclusion */
	assert_int_equal(au_read32(regs, 0), UINT32_MAX);
	fw_pass(200);
	assert_int_equal(au_read32(regs, 0), UINT32_MAX);
	fw_pass(1);
	assert_non_null(strstr(fw.trace, "surprise_removed"));
	assert_non_null(strstr(fw.trace, "release"));
	fw_down();
	/* In its next life it is well. */
	fake_reset();
	fw.handle = NULL;
	life = 2;
	fw_up(injecting_bus);
	for (int i = 0; i < 100; i++)
		assert_int_equal(au_read8(regs, 3), 0);
	fw_down();
}

/* Whatever is mapped is not, when accesses are to be seen. */
static void test_all_ones_mapped(void **state)
{
	want_text = "all-ones:3,seed=1";
	fake.bus.regions[0].areas = 1;
	fake.bus.regions[0].area[0].size = sizeof(fake.bar);
	fake.bus.regions[0].area[0].base = fake.bar;
	fw.prepare = with_irq;
	fw_up(injecting_bus);
	assert_null(regs->base);
	fake.bar[0] = 1;
	assert_int_equal(au_read8(regs, 0), 1);
	assert_int_equal(au_read8(regs, 0), 1);
	assert_int_equal(au_read8(regs, 0), 0xff);
	fw_down();
}

/* ----------------------------------------------------------------------- removal */

/* At each step of the way up, and in the middle of work: everything ends, once, and in order. */
static void test_surprise(void **state)
{
	char text[32];
	unsigned int step;

	want_text = text;
	fw.prepare = with_irq;
	fw.complete_at_once = false;
	for (step = 1; step < 40; step++) {
		int err;

		fake_reset();
		fw.trace[0] = 0;
		fw.done_count = fw.held_count = 0;
		fw.handle = NULL;
		snprintf(text, sizeof(text), "surprise:%u", step);
		assert_int_equal(fw_create(injecting_bus), 0);
		err = auf_device_start(fw.dev);
		if (!err && !strstr(fw.trace, "surprise_removed")) {
			fw_open();
			fw_send(1);
			auf_device_stop(fw.dev);
			assert_int_equal(fw.done_count, 1);
			fw_expect_done(0, 1, -ENODEV);
		} else {
			fw_pass(2);
		}
		assert_ptr_equal(strstr(fw.trace, "prepare") != NULL,
				 strstr(fw.trace, "release") != NULL);
		assert_string_equal(auf_device_state_name(fw.dev), "stopped");
		fw_down();
		au_os_close(fake.wait_fd);
		if (strstr(fw.line, "surprise 0"))
			break;
		assert_non_null(strstr(fw.line, "surprise 1"));
		assert_non_null(strstr(fw.trace, "surprise_removed"));
		/* only in its first life */
	}
	/* the way up has eight steps, the way down too */
	assert_in_range(step, 14, 30);
	fake_reset();
	fw.handle = NULL;
	fw.trace[0] = 0;
	snprintf(text, sizeof(text), "surprise:5");
	life = 2;
	fw_up(injecting_bus);
	fw_down();
	assert_null(strstr(fw.trace, "surprise_removed"));
}

/* To D3 and back, twice, and gone at each step of that: whoever waits hears of it, once. */
static void test_surprise_in_d3(void **state)
{
	char text[32];
	unsigned int step, in_d3 = 0;

	want_text = text;
	fw.prepare = with_irq;
	fw.complete_at_once = false;
	for (step = 8; step < 60; step++) {
		fake_reset();
		fw.trace[0] = 0;
		fw.done_count = fw.held_count = 0;
		fw.handle = NULL;
		snprintf(text, sizeof(text), "surprise:%u", step);
		fw_up(injecting_bus);
		for (int i = 0; i < 2; i++) {
			auf_device_power(fw.dev, AUF_POWER_DOWN, NULL, NULL);
			fw_turns(5);
			in_d3 += !strcmp(auf_device_state_name(fw.dev), "d3");
			/* it wakes it */
			if (fw_send_as((uint32_t)i, (struct auf_submit){ 0 }) != 0)
				break;
			fw_turns(5);
			if (fw.held_count)
				fw_complete_oldest();
		}
		fw_pass(2);
		for (unsigned int i = 0; i < fw.done_count; i++)
			assert_true(fw.done[i].tag == i &&
				    (fw.done[i].status == 0 || fw.done[i].status == -ENODEV));
		fw_down();
		au_os_close(fake.wait_fd);
		fake.wait_fd = -1;
		if (strstr(fw.line, "surprise 0"))
			break;
		assert_non_null(strstr(fw.trace, "surprise_removed"));
		assert_true(fw.done_count <= 2);
	}
	assert_in_range(step, 40, 59);
	assert_true(in_d3 > 30);
	assert_int_equal(fw.done_count, 2);
}

/* ------------------------------------------------------------------------ delays */

static void test_delay(void **state)
{
	struct au_timer *timer;

	want_text = "delay:50,seed=2";
	fw_up(injecting);
	for (uint32_t i = 0; i < 8; i++)
		fw_send(i);
	fw_pass(10);
	assert_int_equal(fw.done_count, 8);
	for (int i = 0; i < 100; i++)
		auf_lane_wake(fw.lane);
	assert_int_equal(au_timer_create(fw.dev, timer_fn, NULL, &timer), 0);
	fw_down();
	assert_null(strstr(fw.line, "delay 0"));
}

/* Nothing is wanted: nothing is said. */
static void test_nothing(void **state)
{
	want_text = "rules";
	fw_up(injecting);
	fw.lines = 0;
	fw_send(1);
	fw_expect_done(0, 1, 0);
	fw_down();
	assert_int_equal(fw.lines, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		TEST(test_alloc_once_per_stack),
		TEST(test_alloc_random),
		TEST(test_alloc_numbered),
		TEST(test_late),
		TEST(test_reorder),
		TEST(test_late_close),
		TEST(test_late_flush),
		TEST(test_late_down),
		TEST(test_irq_lost),
		TEST(test_irq_spurious),
		TEST(test_irq_storm),
		TEST(test_all_ones),
		TEST(test_all_ones_mapped),
		TEST(test_surprise),
		TEST(test_surprise_in_d3),
		TEST(test_delay),
		TEST(test_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
