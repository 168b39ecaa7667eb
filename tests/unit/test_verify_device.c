/* SPDX-License-Identifier: MIT */
/* The verifier's rules about a device's callbacks and what it has: each broken once, and named. */
#include "fake_bus.h"

#include "framework/internal.h"

static _Alignas(4096) char arena[65536];
static struct au_bus_ops ops;
static struct au_irq *irq;
static struct au_regs *regs;
static struct au_timer *timer;
static const char *where; /* the callback that breaks the rule */
static void (*breaks)(struct au_device *dev);
static uint32_t takes_ms;

static void nothing(struct au_device *dev)
{
}

static void on_callback(struct au_device *dev, const char *name)
{
	if (strcmp(name, where) == 0)
		breaks(dev);
}

static bool isr(struct au_irq *i)
{
	fake.asserted = false;
	if (strcmp(where, "isr") == 0)
		breaks(fw.dev);
	return true;
}

static void dpc(struct au_irq *i)
{
	on_callback(fw.dev, "dpc");
}

static void timer_fn(struct au_timer *t, void *context)
{
	on_callback(fw.dev, "timer");
}

static void deliver(struct au_queue *queue, struct au_request *req)
{
	on_callback(fw.dev, "deliver");
	fw_hold(req);
}

static void with_all(struct au_device *dev)
{
	const struct au_irq_config config = { AU_HEAD(struct au_irq_config), .isr = isr,
					      .dpc = dpc };

	assert_int_equal(au_irq_create(dev, &config, &irq), 0);
	assert_int_equal(au_map_bar(dev, 0, 8, &regs), 0);
	assert_int_equal(au_timer_create(dev, timer_fn, NULL, &timer), 0);
}

static int setup(void **state)
{
	fw_reset();
	fake_reset();
	fw.prepare = with_all;
	fw.deliver = deliver;
	fw.on_callback = on_callback;
	where = "";
	breaks = nothing;
	return 0;
}

static int dma_map(struct au_bus *bus, uint64_t iova, uint64_t size, void *cpu, int fd,
		   uint64_t offset)
{
	return 0;
}

static void verified(struct auf_device_config *config)
{
	struct au_note *note = (struct au_note *)(uintptr_t)config->note;

	ops = fake_ops;
	ops.dma_map = dma_map;
	fake.bus.ops = &ops;
	fake.bus.regions[0].areas = 1;
	fake.bus.regions[0].area[0].size = sizeof(fake.bar);
	fake.bus.regions[0].area[0].base = fake.bar;
	note->dma_bits = 64;
	note->dma_bytes = sizeof(arena);
	config->bus = &fake.bus;
	config->arena = arena;
	config->arena_size = sizeof(arena);
	config->verify = true;
}

static void broken(const char *rule, unsigned int times)
{
	char text[128];

	snprintf(text, sizeof(text), "rule %s broken", rule);
	if (fw.rules != times || (times && !strstr(fw.line, text)))
		fail_msg("%s, %u times: %u times, '%s'", rule, times, fw.rules, fw.line);
	if (times)
		assert_string_equal(fw.rule, rule);
	fw.rules = 0;
}

static void up(void)
{
	assert_int_equal(fw_create(verified), 0);
	assert_int_equal(auf_device_start(fw.dev), 0);
	if (!fw.handle)
		fw_open();
	fw_turns(2);
}

static void power(enum auf_power_verb verb)
{
	assert_int_equal(auf_device_power(fw.dev, verb, NULL, NULL), 0);
	fw_turns(5);
	assert_string_equal(auf_device_state_name(fw.dev), verb == AUF_POWER_UP ? "d0" : "d3");
}

/* Nothing of all this, through every callback there is: not a word. */
static void test_clean(void **state)
{
	up();
	fw.lines = 0;
	fw_send(1);
	au_timer_start(timer, 1, false);
	fake_raise();
	au_write32(regs, 0, 1);
	fw_pass(5);
	fw_complete_oldest();
	for (int i = 0; i < 6; i++) {
		power(AUF_POWER_DOWN);
		power(AUF_POWER_UP);
	}
	assert_int_equal(fw.lines, 0);
	fw_down();
	broken("", 0);
}

/* --------------------------------------------------------------------- callbacks */

static void takes_long(struct au_device *dev)
{
	where = "";
	au_fake_advance_ms(takes_ms);
}

/* Each kind has its budget: what is just within, and just beyond it. */
static void test_callback_time(void **state)
{
	static const struct {
		const char *where, *says;
		uint32_t ms;
	} kinds[] = {
		{ "prepare", "prepare took", 1000 },
		{ "d0_entry", "d0_entry took", 1000 },
		{ "io_start", "io_start took", 1000 },
		{ "deliver", "deliver took", 100 },
		{ "isr", "isr took", 10 },
		{ "dpc", "dpc took", 100 },
		{ "timer", "the timer's function", 100 },
		{ "io_stop", "io_stop took", 1000 },
		{ "d0_exit", "d0_exit took", 1000 },
		{ "release", "release took", 1000 },
	};

	for (unsigned int i = 0; i < 2 * sizeof(kinds) / sizeof(kinds[0]); i++) {
		bool late = i % 2;

		setup(state);
		where = kinds[i / 2].where;
		breaks = takes_long;
		takes_ms = kinds[i / 2].ms - 1 + 2 * late;
		up();
		fw_send(1);
		au_timer_start(timer, 1, false);
		fake_raise();
		fw_pass(5);
		fw_complete_oldest();
		fw_down();
		assert_string_equal(where, "");
		broken("callback-time", late);
	}
}

/* What is waited for is no work. */
static void sleeps(struct au_device *dev)
{
	au_sleep_ms(dev, 3000);
}

static void test_sleep_in_callback(void **state)
{
	static const char *const may[] = { "prepare", "d0_entry", "d0_exit", "release" };
	static const char *const may_not[] = { "io_start", "deliver", "dpc", "timer", "io_stop" };

	for (unsigned int i = 0; i < 9; i++) {
		setup(state);
		where = i < 4 ? may[i] : may_not[i - 4];
		breaks = sleeps;
		up();
		fw_send(1);
		au_timer_start(timer, 1, false);
		fake_raise();
		fw_pass(5);
		fw_complete_oldest();
		fw_down();
		broken("sleep-in-callback", i >= 4);
	}
}

static void completes(struct au_device *dev)
{
	while (fw.held_count)
		fw_complete_oldest();
}

static void purges(struct au_device *dev)
{
	au_queue_set_state(fw.queue[0], AU_QUEUE_STOPPED);
}

static void wakes(struct au_device *dev)
{
	au_timer_stop(timer);
	au_irq_kick(irq);
}

static void test_work_in_surprise_removed(void **state)
{
	static void (*const does[])(struct au_device * dev) = { wakes, completes, purges };

	for (unsigned int i = 0; i < 3; i++) {
		setup(state);
		where = "surprise_removed";
		breaks = does[i];
		up();
		fw_send(1);
		auf_device_surprise(fw.dev);
		/* after it everything is as ever */
		if (fw.held_count)
			fw_complete_oldest();
		fw_pass(2);
		assert_int_equal(fw.done_count, 1);
		fw_down();
		broken("work-in-surprise-removed", i > 0);
	}
}

/* -------------------------------------------------------------------- interrupts */

static void kicks(struct au_device *dev)
{
	au_irq_kick(irq);
}

static void test_interrupt_after_disable(void **state)
{
	static const char *const may[] = { "d0_entry", "io_start", "dpc", "io_stop" };
	static const char *const may_not[] = { "d0_exit", "release" };

	for (unsigned int i = 0; i < 6; i++) {
		setup(state);
		where = i < 4 ? may[i] : may_not[i - 4];
		breaks = kicks;
		up();
		where = i == 2 ? "" : where;
		fw_pass(2);
		fw_down();
		broken("interrupt-after-disable", i >= 4);
	}
	/* And if the framework should serve one that is off, it says so. */
	setup(state);
	up();
	fw.dev->irqs_on = false;
	irq->pending = true;
	auf_irq_dpc(irq);
	broken("interrupt-after-disable", 1);
	fw.dev->irqs_on = true;
	fw_down();
}

static void creates_late(struct au_device *dev)
{
	const struct au_irq_config config = { AU_HEAD(struct au_irq_config), .dpc = dpc };
	struct au_irq *late;

	assert_int_equal(au_irq_create(dev, &config, &late), -AU_EINVAL);
}

static void test_create_outside_prepare(void **state)
{
	where = "d0_entry";
	breaks = creates_late;
	up();
	fw_down();
	broken("create-outside-prepare", 1);
}

/* --------------------------------------------------------------------- registers */

static uint32_t seen;

static void touches(struct au_device *dev)
{
	if (!regs)
		return;
	seen = au_read32(regs, 0);
	au_write8(regs, 8, 0x55);
}

static void test_register_outside_d0(void **state)
{
	static const char *const may[] = { "d0_entry", "io_start", "io_stop", "d0_exit" };
	static const char *const may_not[] = { "prepare", "release" };

	for (unsigned int i = 0; i < 6; i++) {
		setup(state);
		regs = NULL;
		where = i < 4 ? may[i] : may_not[i - 4];
		breaks = touches;
		memset(fake.bar, 7, sizeof(fake.bar));
		up();
		fw_down();
		/* Seen although the window is mapped, and made harmless. */
		assert_int_equal(seen, i < 4 ? 0x07070707 : UINT32_MAX);
		assert_int_equal(fake.bar[8], i < 4 ? 0x55 : 7);
		broken("register-outside-d0", i < 4 ? 0 : 2);
	}
	setup(state);
	up();
	power(AUF_POWER_DOWN);
	assert_int_equal(au_read8(regs, 0), 0xff);
	broken("register-outside-d0", 1);
	power(AUF_POWER_UP);
	assert_int_equal(au_read8(regs, 0), 0);
	broken("", 0);
	fw_down();
}

/* ----------------------------------------------------------------- what is left over */

static void makes_timer(struct au_device *dev)
{
	struct au_timer *another;

	assert_int_equal(au_timer_create(dev, timer_fn, NULL, &another), 0);
}

static void makes_window(struct au_device *dev)
{
	struct au_regs *part;

	assert_int_equal(au_sub_regs(regs, 0, 8, &part), 0);
}

static struct au_dma block;

static void takes_memory(struct au_device *dev)
{
	assert_int_equal(au_dma_alloc(dev, 4096, 0, &block), 0);
}

/* Once, or twice, is what a driver may do that makes it when it knows how many it wants. */
static void leaks(const char *rule, void (*makes)(struct au_device *dev), bool at_release)
{
	for (int times = 1; times <= 4; times++) {
		setup(NULL);
		where = "d0_entry";
		breaks = makes;
		up();
		for (int i = 1; i < times; i++) {
			power(AUF_POWER_DOWN);
			power(AUF_POWER_UP);
		}
		where = "";
		fw_down();
		if (times >= 3)
			assert_string_equal(fw.rule, rule);
		broken(rule, times < 3 ? 0 : at_release ? 1 : (unsigned int)times - 2);
	}
}

static void test_object_leaked(void **state)
{
	leaks("object-leaked", makes_timer, false);
	leaks("object-leaked", makes_window, false);
}

static void frees_memory(struct au_device *dev, const char *name)
{
	if (strcmp(name, "d0_entry") == 0)
		takes_memory(dev);
	if (strcmp(name, "d0_exit") == 0)
		au_dma_free(dev, &block);
}

static void test_dma_mapped_at_release(void **state)
{
	leaks("dma-mapped-at-release", takes_memory, true);
	setup(state);
	fw.on_callback = frees_memory;
	up();
	for (int i = 0; i < 40; i++) {
		power(AUF_POWER_DOWN);
		power(AUF_POWER_UP);
	}
	fw_down();
	broken("", 0);
}

static void test_dma_free(void **state)
{
	struct au_dma other;

	up();
	takes_memory(fw.dev);
	other = block;
	au_dma_free(fw.dev, &block);
	assert_null(block.cpu);
	au_dma_free(fw.dev, &block);
	broken("", 0);
	au_dma_free(fw.dev, &other);
	broken("dma-free", 1);
	fw_down();
}

/* ---------------------------------------------------------------------- delivery */

/* The framework's own promise, which no driver can break: so the device is made to be elsewhere. */
static void test_delivery_outside_d0(void **state)
{
	up();
	fw_send(1);
	broken("", 0);
	atomic_store(&fw.dev->machine.state, STATE_ASLEEP);
	fw_send(2);
	broken("delivery-outside-d0", 1);
	atomic_store(&fw.dev->machine.state, STATE_RUNNING);
	while (fw.held_count)
		fw_complete_oldest();
	fw_down();
}

/* A rule is named the first time, however much the driver has said before. */
static void test_told(void **state)
{
	up();
	for (int i = 0; i < 100; i++)
		au_log(fw.dev, AU_LOG_ERROR, "chatter %d", i);
	assert_null(strstr(fw.line, "chatter 99"));
	power(AUF_POWER_DOWN);
	fw.rules = 0;
	au_read8(regs, 0);
	broken("register-outside-d0", 1);
	fw_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, setup)
		TEST(test_clean),
		TEST(test_callback_time),
		TEST(test_sleep_in_callback),
		TEST(test_work_in_surprise_removed),
		TEST(test_interrupt_after_disable),
		TEST(test_create_outside_prepare),
		TEST(test_register_outside_d0),
		TEST(test_object_leaked),
		TEST(test_dma_mapped_at_release),
		TEST(test_dma_free),
		TEST(test_delivery_outside_d0),
		TEST(test_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
