/* SPDX-License-Identifier: MIT */
/* D3 and back: the order of callbacks, who wakes a device, who keeps it up, and when it is idle. */
#include "bus/bus.h"
#include "fake_bus.h"
#include "framework/internal.h"

#include <linux/pci_regs.h>

static unsigned int answers;
static int answer;

static void answered(void *context, int result)
{
	answers++;
	answer = result;
}

static int setup(void **state)
{
	fw_reset();
	fw.complete_at_once = true;
	answers = 0;
	answer = 1;
	return 0;
}

static void power(enum auf_power_verb verb)
{
	unsigned int before = answers;

	assert_int_equal(auf_device_power(fw.dev, verb, answered, NULL), 0);
	assert_int_equal(answers, before);
	fw_turns(4);
}

/* ... and it is done, with this result. */
static void power_is(enum auf_power_verb verb, int result)
{
	unsigned int before = answers;

	power(verb);
	assert_int_equal(answers, before + 1);
	assert_int_equal(answer, result);
}

static struct auf_power_info info(void)
{
	struct auf_power_info info;

	auf_device_power_info(fw.dev, &info);
	return info;
}

static void test_order(void **state)
{
	fw_up(NULL);
	assert_int_equal(info().state, AUF_POWER_IS_D0);
	assert_string_equal(info().why, "no idle time is set");
	power_is(AUF_POWER_DOWN, 0);
	fw_expect("io_stop d0_exit <D3> ");
	assert_int_equal(info().state, AUF_POWER_IS_D3);
	assert_string_equal(auf_device_state_name(fw.dev), "d3");
	power_is(AUF_POWER_DOWN, 0);
	fw_expect("");
	power_is(AUF_POWER_UP, 0);
	fw_expect("d0_entry io_start <D0> ");
	assert_int_equal(info().state, AUF_POWER_IS_D0);
	power_is(AUF_POWER_UP, 0);
	assert_int_equal(info().ups, 1);
	assert_int_equal(info().downs, 1);
	fw_expect("");
	fw_down();
	fw_expect("closed io_stop d0_exit release ");
}

/* A request that finds it asleep wakes it, and is the first to be delivered. */
static void test_request_wakes(void **state)
{
	fw_up(NULL);
	power_is(AUF_POWER_DOWN, 0);
	fw.trace[0] = '\0';
	fw_send(1);
	fw_send(2);
	assert_int_equal(fw.done_count, 0);
	fw_turns(3);
	fw_expect("d0_entry deliver1 deliver2 io_start <D0> ");
	fw_expect_done(0, 1, 0);
	fw_expect_done(1, 2, 0);
	assert_int_equal(info().ups, 1);
	fw_down();
}

static void test_suspend(void **state)
{
	fw_up(NULL);
	power_is(AUF_POWER_SUSPEND, 0);
	assert_int_equal(info().state, AUF_POWER_IS_SUSPENDED);
	fw.trace[0] = '\0';
	fw_send(1);
	fw_pass(1000);
	fw_expect("");
	power_is(AUF_POWER_UP, -EBUSY);
	power_is(AUF_POWER_SUSPEND, 0);
	fw_expect("");
	power_is(AUF_POWER_RESUME, 0);
	fw_expect("d0_entry deliver1 io_start <D0> ");
	fw_expect_done(0, 1, 0);

	/* What slept before sleeps on, unless somebody wants it. */
	power_is(AUF_POWER_DOWN, 0);
	power_is(AUF_POWER_SUSPEND, 0);
	power_is(AUF_POWER_RESUME, 0);
	assert_int_equal(info().state, AUF_POWER_IS_D3);
	power_is(AUF_POWER_SUSPEND, 0);
	fw_send(1);
	fw_turns(3);
	assert_int_equal(fw.done_count, 1);
	power_is(AUF_POWER_RESUME, 0);
	assert_int_equal(info().state, AUF_POWER_IS_D0);
	assert_int_equal(fw.done_count, 2);
	fw_down();
}

/* A deadline holds in D3, too. */
static void test_deadline(void **state)
{
	fw_up(NULL);
	power_is(AUF_POWER_SUSPEND, 0);
	fw_send_as(1, (struct auf_submit){ .timeout_ms = 50 });
	fw_send(2);
	fw_pass(100);
	assert_int_equal(fw.done_count, 1);
	fw_expect_done(0, 1, -ETIMEDOUT);
	assert_int_equal(auf_cancel(fw.handle, 2, 2), 0);
	fw_expect_done(1, 2, -ECANCELED);
	power_is(AUF_POWER_RESUME, 0);
	assert_int_equal(fw.done_count, 2);
	fw_down();
}

static void with_idle(struct auf_device_config *config)
{
	config->idle_ms = 100;
}

/* Never earlier than so long after the last one, and not much later. */
static void test_idle(void **state)
{
	fw_up(with_idle);
	for (unsigned int i = 0; i < 20; i++) {
		fw_pass(90);
		fw_send(1);
		assert_int_equal(info().state, AUF_POWER_IS_D0);
	}
	for (unsigned int ms = 0; ms < 100; ms++) {
		assert_int_equal(info().state, AUF_POWER_IS_D0);
		fw_pass(1);
	}
	for (unsigned int ms = 0; ms < 30; ms++)
		fw_pass(1);
	assert_int_equal(info().state, AUF_POWER_IS_D3);
	fw.trace[0] = '\0';
	fw_pass(10000);
	fw_expect("");
	fw_send(1);
	fw_turns(3);
	assert_int_equal(fw.done_count, 21);
	assert_int_equal(info().ups, 1);
	assert_string_equal(info().why, "idle for 0 ms of 100");

	/* off, and on again */
	auf_device_set_idle(fw.dev, 0);
	fw_pass(1000);
	assert_int_equal(info().state, AUF_POWER_IS_D0);
	auf_device_set_idle(fw.dev, 10);
	for (unsigned int ms = 0; ms < 20; ms++)
		fw_pass(1);
	assert_int_equal(info().state, AUF_POWER_IS_D3);
	auf_device_set_idle(fw.dev, 0);
	fw_turns(3);
	assert_int_equal(info().state, AUF_POWER_IS_D0);
	fw_down();
}

/* What the driver holds is something to do, and so is a reference; each is named. */
static void test_busy(void **state)
{
	fw_up(with_idle);
	fw.complete_at_once = false;
	fw_send(1);
	for (unsigned int i = 0; i < 100; i++)
		fw_pass(10);
	assert_int_equal(info().state, AUF_POWER_IS_D0);
	assert_string_equal(info().why, "1 requests");
	fw_complete_oldest();
	assert_int_equal(au_device_stop_idle(fw.dev, "line"), 0);
	assert_int_equal(au_device_stop_idle(fw.dev, "line"), 0);
	assert_int_equal(au_device_stop_idle(fw.dev, "link"), 0);
	for (unsigned int i = 0; i < 100; i++)
		fw_pass(10);
	assert_int_equal(info().state, AUF_POWER_IS_D0);
	assert_string_equal(info().why, "in use: line, and 1 more");
	assert_int_equal(info().references, 3);
	assert_int_equal(info().tag_count, 2);
	power_is(AUF_POWER_DOWN, -EBUSY);
	au_device_resume_idle(fw.dev, "line");
	au_device_resume_idle(fw.dev, "link");
	au_device_resume_idle(fw.dev, "line");
	assert_int_equal(fw.rules, 0);
	for (unsigned int i = 0; i < 20; i++)
		fw_pass(10);
	assert_int_equal(info().state, AUF_POWER_IS_D3);

	/* A reference wakes it; not while it is suspended. */
	fw.trace[0] = '\0';
	assert_int_equal(au_device_stop_idle(fw.dev, "line"), -AU_EAGAIN);
	fw_turns(3);
	fw_expect("d0_entry io_start <D0> ");
	power_is(AUF_POWER_SUSPEND, 0);
	fw_expect("io_stop d0_exit <D3> ");
	fw_pass(100);
	assert_int_equal(info().state, AUF_POWER_IS_SUSPENDED);
	power_is(AUF_POWER_RESUME, 0);
	assert_int_equal(info().state, AUF_POWER_IS_D0);
	au_device_resume_idle(fw.dev, "line");
	fw_down();
}

/* Asleep it costs nothing: no timer, no tick, whatever ran in D0. */
static struct au_timer *ticker;
static unsigned int ticks;

static void tick(struct au_timer *timer, void *context)
{
	ticks++;
}

static void tick_prepare(struct au_device *dev)
{
	assert_int_equal(au_timer_create(dev, tick, NULL, &ticker), 0);
}

static void with_bus_and_idle(struct auf_device_config *config)
{
	config->bus = &fake.bus;
	config->idle_ms = 100;
}

static void test_no_ticks(void **state)
{
	int timeout;

	fake_reset();
	fw.prepare = tick_prepare;
	fw_up(with_bus_and_idle);
	ticks = 0;
	au_timer_start(ticker, 10, true);
	for (unsigned int i = 0; i < 20; i++)
		fw_pass(10);
	assert_int_equal(info().state, AUF_POWER_IS_D3);
	assert_true(ticks >= 9 && ticks <= 14);
	assert_true(auf_lane_arm(fw.lane, &timeout));
	assert_int_equal(timeout, -1);
	auf_lane_disarm(fw.lane);
	ticks = 0;
	fw_send(1);
	fw_turns(3);
	/* What is to run again is started again. */
	fw_pass(50);
	assert_int_equal(ticks, 0);
	au_timer_start(ticker, 10, true);
	fw_pass(11);
	assert_int_equal(ticks, 1);
	fw_down();
}

/* The lanes show signs of life while the driver waits for its device, for a bounded time. */
static struct au_recorder recorder;
static unsigned int beats;

static int slow_d0_entry(struct au_device *dev, enum au_power from)
{
	for (uint32_t s = 1; from == AU_POWER_D3 && s <= 60; s++) {
		auf_lane_beat(fw.lane, s);
		au_sleep_ms(dev, 1000);
		beats += recorder.status->lane[0].beat == s;
	}
	return 0;
}

static void with_slow_entry(struct auf_device_config *config)
{
	static struct au_driver driver;

	driver = fw_driver;
	driver.d0_entry = slow_d0_entry;
	config->driver = &driver;
	fw.lane->recorder = &recorder;
}

static void test_signs_of_life(void **state)
{
	recorder.status = calloc(1, sizeof(*recorder.status));
	recorder.records =
		calloc(AU_RECORDER_LANES * AU_RECORDER_RECORDS, sizeof(struct au_record));
	fw_up(with_slow_entry);
	power_is(AUF_POWER_DOWN, 0);
	beats = 0;
	power_is(AUF_POWER_UP, 0);
	/* Half a minute, and then whoever watches is not held back any more. */
	assert_true(beats >= 29 && beats <= 31);
	assert_non_null(strstr(fw.line, "the driver is in d0-entry for 30000 ms"));
	fw_down();
	free(recorder.status);
	free(recorder.records);
}

static void with_verifier(struct auf_device_config *config)
{
	config->verify = true;
}

static void test_references_unbalanced(void **state)
{
	fw_up(with_verifier);
	au_device_resume_idle(fw.dev, "line");
	assert_string_equal(fw.rule, "power-reference");
	assert_int_equal(fw.rules, 1);
	assert_int_equal(au_device_stop_idle(fw.dev, "line"), 0);
	au_device_resume_idle(fw.dev, "lime");
	assert_int_equal(fw.rules, 2);
	auf_device_stop(fw.dev);
	assert_int_equal(fw.rules, 3);
	assert_string_equal(fw.rule, "power-reference");
	fw_down();
}

/* ------------------------------------------------------------ what may go wrong */

static void test_stop_asleep(void **state)
{
	fw_up(NULL);
	power_is(AUF_POWER_SUSPEND, 0);
	fw_send(1);
	fw.trace[0] = '\0';
	auf_device_stop(fw.dev);
	fw_expect("release ");
	fw_expect_done(0, 1, -ENODEV);
	assert_int_equal(info().state, AUF_POWER_IS_OFF);
	power_is(AUF_POWER_UP, -ENODEV);
	fw_down();
}

static void test_gone_asleep(void **state)
{
	fw_up(NULL);
	power_is(AUF_POWER_SUSPEND, 0);
	fw_send(1);
	fw.trace[0] = '\0';
	auf_device_surprise(fw.dev);
	fw_turns(2);
	fw_expect("surprise_removed <gone> release ");
	fw_expect_done(0, 1, -ENODEV);
	assert_int_equal(fw.event.kind, AU_EVENT_GONE);
	fw_down();
}

/* Gone during each callback on the way down, or back. */
static void test_gone_on_the_way(void **state)
{
	static const struct {
		const char *during, *trace;
		bool up;
	} cases[] = {
		{ "io_stop", "io_stop surprise_removed <gone> d0_exit release ", false },
		{ "d0_exit", "io_stop d0_exit surprise_removed <gone> release ", false },
		{ "d0_entry", "d0_entry surprise_removed <gone> d0_exit release ", true },
		{ "io_start",
		  "d0_entry deliver1 io_start surprise_removed <gone> io_stop d0_exit release ",
		  true },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		setup(NULL);
		fw.complete_at_once = false;
		fw_up(NULL);
		if (cases[i].up)
			power_is(AUF_POWER_DOWN, 0);
		fw.trace[0] = '\0';
		fw.surprise = cases[i].during;
		if (cases[i].up)
			fw_send(1);
		else
			power(AUF_POWER_DOWN);
		fw_turns(4);
		fw_expect(cases[i].trace);
		assert_int_equal(fw.done_count, cases[i].up ? 1 : 0);
		if (cases[i].up)
			fw_expect_done(0, 1, -ENODEV);
		else
			assert_int_equal(answer, -ENODEV);
		assert_int_equal(fw.event.kind, AU_EVENT_GONE);
		fw_down();
	}
}

/* It does not come back: to its clients it is gone, once; the driver is not called out of turn. */
static void test_entry_fails(void **state)
{
	fw_up(NULL);
	power_is(AUF_POWER_DOWN, 0);
	fw.trace[0] = '\0';
	fw.fail = "d0_entry";
	fw_send(1);
	fw_turns(4);
	fw_expect("d0_entry <failed> surprise_removed <gone> release ");
	assert_int_equal(fw.done_count, 1);
	fw_expect_done(0, 1, -ENODEV);
	assert_int_equal(fw.events, 1);
	assert_int_equal(fw.event.kind, AU_EVENT_GONE);
	assert_int_equal(fw_send_as(2, (struct auf_submit){ 0 }), 0);
	fw_expect_done(1, 2, -ENODEV);
	fw_down();
}

/* A failure on the way down is noted, and d0_entry() finds what it finds. */
static void test_exit_fails(void **state)
{
	fw_up(NULL);
	fw.fail = "d0_exit";
	power_is(AUF_POWER_DOWN, 0);
	fw_expect("io_stop d0_exit <D3> ");
	assert_non_null(strstr(fw.line, "d3-entry failed"));
	fw_send(1);
	fw_turns(3);
	fw_expect("d0_entry deliver1 io_start <D0> ");
	fw_expect_done(0, 1, 0);
	fw_down();
}

/* Who does not let go is named, and given up. */
static void test_patience(void **state)
{
	fw_up(NULL);
	fw.complete_at_once = false;
	fw_send(1);
	fw.trace[0] = '\0';
	power(AUF_POWER_DOWN);
	fw_expect("io_stop ");
	assert_int_equal(info().state, AUF_POWER_IS_GOING_DOWN);
	fw_pass(4000);
	assert_int_equal(answers, 0);
	assert_non_null(strstr(info().why, "1 requests"));
	fw_pass(2000);
	fw_expect("<failed> surprise_removed <gone> d0_exit release ");
	assert_int_equal(answers, 1);
	assert_int_equal(answer, -ENODEV);
	assert_string_equal(fw.rule, "");
	fw_expect_done(0, 1, -ENODEV);
	fw_down();
}

/* ... and who does is waited for. */
static void test_waits(void **state)
{
	fw_up(NULL);
	fw.complete_at_once = false;
	fw_send(1);
	fw_send(2);
	fw.trace[0] = '\0';
	power(AUF_POWER_DOWN);
	fw_send(3);
	fw_pass(100);
	fw_complete_oldest();
	fw_pass(100);
	fw_expect("io_stop ");
	fw_complete_oldest();
	fw_turns(6);
	/* The third has waited, and wakes it when it is there. */
	fw_expect("d0_exit <D3> d0_entry deliver3 io_start <D0> ");
	assert_int_equal(answers, 1);
	assert_int_equal(answer, 0);
	fw_complete_oldest();
	assert_int_equal(fw.done_count, 3);
	fw_down();
}

static void test_stop_waiting(void **state)
{
	fw_up(NULL);
	fw.complete_at_once = false;
	fw_send(1);
	fw.trace[0] = '\0';
	power(AUF_POWER_DOWN);
	auf_device_stop(fw.dev);
	fw_expect("io_stop d0_exit release ");
	fw_turns(2);
	assert_int_equal(answer, -ENODEV);
	fw_expect_done(0, 1, -ENODEV);
	fw_down();
}

/* --------------------------------------------------------------- the function */

#define PM 0x40

static void with_power_management(struct auf_device_config *config)
{
	fake.config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	fake.config[PCI_CAPABILITY_LIST] = PM;
	fake.config[PM] = PCI_CAP_ID_PM;
	config->bus = &fake.bus;
}

static unsigned int fake_state(void)
{
	return fake.config[PM + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK;
}

/* D3hot in between, and what the function forgets there is restored. */
static void test_pci(void **state)
{
	static const uint8_t bar[4] = { 0x01, 0xc0, 0xfe, 0xfe };

	fake_reset();
	memcpy(fake.config + PCI_BASE_ADDRESS_0, bar, 4);
	/* Somebody else has left it asleep. */
	fake.config[PM + PCI_PM_CTRL] = 3;
	fw_up(with_power_management);
	assert_int_equal(fake_state(), 0);
	power_is(AUF_POWER_DOWN, 0);
	assert_int_equal(fake_state(), 3);
	assert_false(fake_command() & PCI_COMMAND_MASTER);
	memset(fake.config + PCI_BASE_ADDRESS_0, 0, 4);
	fake.config[PCI_COMMAND] = 0;
	power_is(AUF_POWER_UP, 0);
	assert_int_equal(fake_state(), 0);
	assert_memory_equal(fake.config + PCI_BASE_ADDRESS_0, bar, 4);
	assert_true(fake_command() & PCI_COMMAND_MEMORY);

	/* Stopped there, it is left awake. */
	power_is(AUF_POWER_DOWN, 0);
	assert_int_equal(fake_state(), 3);
	fw_down();
	assert_int_equal(fake_state(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_order, setup),
		cmocka_unit_test_setup(test_request_wakes, setup),
		cmocka_unit_test_setup(test_suspend, setup),
		cmocka_unit_test_setup(test_deadline, setup),
		cmocka_unit_test_setup(test_idle, setup),
		cmocka_unit_test_setup(test_busy, setup),
		cmocka_unit_test_setup(test_no_ticks, setup),
		cmocka_unit_test_setup(test_signs_of_life, setup),
		cmocka_unit_test_setup(test_references_unbalanced, setup),
		cmocka_unit_test_setup(test_stop_asleep, setup),
		cmocka_unit_test_setup(test_gone_asleep, setup),
		cmocka_unit_test_setup(test_gone_on_the_way, setup),
		cmocka_unit_test_setup(test_entry_fails, setup),
		cmocka_unit_test_setup(test_exit_fails, setup),
		cmocka_unit_test_setup(test_patience, setup),
		cmocka_unit_test_setup(test_waits, setup),
		cmocka_unit_test_setup(test_stop_waiting, setup),
		cmocka_unit_test_setup(test_pci, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
