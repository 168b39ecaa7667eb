/* SPDX-License-Identifier: MIT */
/*
 * A device is pulled out at every moment of one life: in each callback of its driver, and at each
 * access to it. Whenever that is, every request that was taken ends once, the driver is told once,
 * what was done on the way up is undone, and nothing is left.
 */
#include "fake_bus.h"

#include "auriga/driver.h"

#define CANCELED 5u /* the request that is cancelled on the way */
#define LIVES	 1000u

static struct {
	const char *point; /* where it goes; NULL: at an access */
	bool told, started, opened;
	unsigned int taken;
	uint64_t tags; /* a bit for each request that was taken */
	struct au_irq *irq;
	struct au_regs *regs;
	struct au_timer *timer;
	struct au_device *dev;
} life;

/* A callback of the driver: it touches the device, if it may, and that may be the moment. */
static void here(const char *name)
{
	static const char *const outside[] = { "prepare", "release", "done", "cancel",
					       "surprise_removed" };
	bool d0 = true;

	for (unsigned int i = 0; i < sizeof(outside) / sizeof(outside[0]); i++)
		d0 = d0 && strcmp(name, outside[i]) != 0;
	if (life.regs && d0)
		au_write8(life.regs, 0, (uint8_t)(au_read8(life.regs, 1) + 1));
	if (!life.point || strcmp(life.point, name) || life.told)
		return;
	life.told = true;
	au_device_gone(life.dev);
}

static void life_callback(struct au_device *dev, const char *name)
{
	here(name);
}

static bool life_isr(struct au_irq *irq)
{
	fake.asserted = false;
	here("isr");
	return true;
}

static void life_dpc(struct au_irq *irq)
{
	here("dpc");
	if (fw.held_count)
		fw_complete_oldest();
}

static void life_timer(struct au_timer *timer, void *context)
{
	here("timer");
}

static unsigned int life_poll(void *context)
{
	here("poll");
	return 0;
}

static void life_deliver(struct au_queue *queue, struct au_request *req)
{
	here("deliver");
	fw_hold(req);
}

/* Leaving D0: one is handed back, the next is kept. */
static void life_stop(struct au_queue *queue, struct au_request *req, uint32_t why)
{
	bool requeue = req->arg[0] % 2;

	here("stop");
	if (requeue) {
		fw_drop(req);
		if (au_request_clear_cancelable(req))
			return;
	}
	au_request_stop_ack(req, requeue);
}

static void life_resume(struct au_queue *queue, struct au_request *req)
{
	here("resume");
}

static void life_slept(void *context, int result)
{
	++*(unsigned int *)context;
}

static void life_done(uint64_t tag)
{
	here("done");
}

static void life_report(struct au_device *dev, struct au_report *report)
{
	here("report");
	au_report_number(report, "one", 1);
	here("report-end");
	au_report_done(report);
}

static void life_reported(void *context, const struct auf_report_entry *entries, unsigned int count,
			  const char *why)
{
	++*(unsigned int *)context;
}

static void life_prepare(struct au_device *dev)
{
	const struct au_irq_config irq = { AU_HEAD(struct au_irq_config), .isr = life_isr,
					   .dpc = life_dpc };
	const struct au_poller_config poller = { AU_HEAD(struct au_poller_config),
						 .poll = life_poll };
	struct au_poller *polls;

	life.dev = dev;
	/* What is not to be had any more is for the driver to say; this one goes on. */
	(void)au_map_bar(dev, 0, 8, &life.regs);
	(void)au_irq_create(dev, &irq, &life.irq);
	(void)au_poller_create(dev, &poller, &polls);
	if (!au_timer_create(dev, life_timer, NULL, &life.timer))
		au_timer_start(life.timer, 7, true);
}

static void with_life(struct auf_device_config *config)
{
	static struct au_driver driver;

	driver = *config->driver;
	driver.report = life_report;
	config->driver = &driver;
	config->verify = true;
	with_fake_bus(config);
}

static void life_send(uint32_t tag, uint16_t op)
{
	if (life.opened && !fw_send_as(tag, (struct auf_submit){ .op = op })) {
		life.tags |= 1ull << tag;
		life.taken++;
	}
}

static unsigned int times(const char *word)
{
	unsigned int count = 0;

	for (const char *at = fw.trace; (at = strstr(at, word)); at += strlen(word))
		count++;
	return count;
}

static void life_open(void)
{
	const struct auf_handle_config config = { .depth = FW_DEPTH,
						  .complete = fw_complete,
						  .event = fw_event };

	life.opened = !auf_handle_open(fw.unit, &config, &fw.handle);
}

/* Up, some of everything, down. */
static void live(void)
{
	unsigned int reports = 0, slept = 0;
	bool asked, sleeps;

	assert_int_equal(fw_create(with_life), 0);
	life.started = !auf_device_start(fw.dev);
	fw_turns(2);
	if (life.started)
		life_open();
	for (uint32_t i = 1; i <= 4; i++)
		life_send(i, FW_OP);
	fw_turns(2);
	life_send(CANCELED, FW_OP + 1);
	life_send(6, FW_OP + 1); /* waits for the one before */
	fw_turns(2);
	fake_raise();
	fw_pass(10);
	fw_pass(10);
	if (life.opened)
		auf_cancel(fw.handle, CANCELED, CANCELED);
	asked = !auf_device_report(fw.dev, life_reported, &reports);
	fw_pass(1100); /* somebody looks whether it is there */
	life_send(7, FW_OP);
	fw_pass(2);
	sleeps = life.opened && !auf_device_power(fw.dev, AUF_POWER_DOWN, life_slept, &slept);
	fw_pass(10);
	life_send(8, FW_OP); /* which wakes it */
	fw_pass(10);
	auf_device_stop(fw.dev);
	fw_turns(3);
	assert_int_equal(reports, asked);
	assert_int_equal(slept, sleeps);
}

static void check_life(bool gone)
{
	uint64_t seen = 0;

	assert_string_equal(auf_device_state_name(fw.dev), "stopped");
	assert_int_equal(fw.rules, 0);
	assert_int_equal(fw.done_count, life.taken);
	for (unsigned int i = 0; i < fw.done_count; i++) {
		const struct fw_done *done = &fw.done[i];

		assert_true(life.tags & 1ull << done->tag);
		assert_false(seen & 1ull << done->tag);
		seen |= 1ull << done->tag;
		assert_true(done->status == 0 || done->status == -ENODEV ||
			    (done->status == -ECANCELED && done->tag == CANCELED));
	}
	assert_int_equal(times("prepare"), 1);
	assert_int_equal(times(" release"), 1);
	assert_int_equal(times("surprise_removed"), gone);
	assert_in_range(times("<gone>"), gone, 1);
	/* It was in D0 once, or failed to get there. */
	assert_true(times("d0_exit") == times("d0_entry") || !life.started);
	assert_true(times("io_stop") == times("io_start") || !life.started);
	assert_true(times("<D0>") <= times("<D3>"));
	assert_true(fw.events <= 1 && (!fw.events || fw.event.kind == AU_EVENT_GONE));
}

static void life_reset(void)
{
	fw_reset();
	fake_reset();
	memset(&life, 0, sizeof(life));
	fw.queue_count = 2;
	fw.queue_config[0].kind = AU_QUEUE_PARALLEL;
	fw.queue_config[1].kind = AU_QUEUE_SEQUENTIAL;
	for (unsigned int i = 0; i < 2; i++) {
		fw.queue_config[i].stop = life_stop;
		fw.queue_config[i].resume = life_resume;
	}
	fw.prepare = life_prepare;
	fw.deliver = life_deliver;
	fw.on_done = life_done;
	fw.on_callback = life_callback;
	fw.cancelable = fw.cancel_completes = true;
}

static void life_end(void)
{
	fw_down();
	assert_int_equal(fake.closes, 1);
}

/* All of what follows is worth nothing if the life itself is not one. */
static void test_none(void **state)
{
	life_reset();
	live();
	check_life(false);
	assert_true(life.started && life.opened);
	assert_int_equal(life.taken, 8);
	assert_int_equal(times("<D3>"), 1);
	assert_int_equal(times("<D0>"), 1);
	life_end();
}

static void test_in_each_callback(void **state)
{
	static const struct {
		const char *point;
		bool starts;
	} cases[] = {
		{ "prepare", false }, { "d0_entry", false }, { "io_start", false },
		{ "poll", true },     { "deliver", true },   { "isr", true },
		{ "dpc", true },      { "done", true },	     { "timer", true },
		{ "cancel", true },   { "report", true },    { "report-end", true },
		{ "stop", true },     { "resume", true },    { "io_stop", true },
		{ "d0_exit", true },  { "release", true },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		life_reset();
		life.point = cases[i].point;
		live();
		assert_true(life.told);
		assert_int_equal(life.started, cases[i].starts);
		check_life(true);
		life_end();
	}
}

/* The first, the second, ... access finds it gone, until a life has no more of them. */
static void test_at_each_access(void **state)
{
	unsigned int n = 1, ended = 0;
	bool gone = true;

	for (; gone && n < LIVES; n++) {
		life_reset();
		fake.gone_at = n;
		live();
		gone = fake.dead;
		/* Before prepare() and after release() there is no driver to tell. */
		check_life(times("surprise_removed"));
		ended += times("surprise_removed");
		life_end();
	}
	assert_in_range(n, 30, LIVES - 1);
	assert_in_range(ended, n - 8, n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_in_each_callback),
		cmocka_unit_test(test_at_each_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
