/* SPDX-License-Identifier: MIT */
/* Interrupts and registers, on a bus that notes what is done to it. */
#include "fake_bus.h"

static struct au_irq *irq;
static struct au_regs *regs, *part;
static bool claims, kick, no_isr;
static int map_err[3];

static bool isr(struct au_irq *i)
{
	fw_note("isr");
	if (!fake.sticky)
		fake.asserted = false;
	return claims;
}

static void dpc(struct au_irq *i)
{
	fw_note("dpc");
	if (no_isr && !fake.sticky)
		fake.asserted = false;
	if (kick) {
		kick = false;
		au_irq_kick(i);
	}
}

static void with_irq(struct au_device *dev)
{
	const struct au_irq_config config = { AU_HEAD(struct au_irq_config), .context = &fake,
					      .isr = no_isr ? NULL : isr, .dpc = dpc };
	struct au_irq_config wrong = config;
	struct au_irq *other;

	wrong.dpc = NULL;
	assert_int_equal(au_irq_create(dev, &wrong, &other), -AU_EINVAL);
	wrong = config;
	wrong.vector = 1;
	assert_int_equal(au_irq_create(dev, &wrong, &other), -AU_ENXIO);
	assert_int_equal(au_irq_create(dev, &config, &irq), 0);
	assert_ptr_equal(au_irq_context(irq), &fake);
	map_err[0] = au_map_bar(dev, 1, 8, &regs);
	map_err[1] = au_map_bar(dev, 0, 128, &regs);
	map_err[2] = au_map_bar(dev, 0, 8, &regs);
	assert_int_equal(au_sub_regs(regs, 8, 8, &part), 0);
	assert_int_equal(au_sub_regs(regs, 60, 8, &part), -AU_ERANGE);
	assert_int_equal(au_sub_regs(regs, 0, 0, &part), -AU_ERANGE);
	assert_int_equal(au_sub_regs(regs, UINT64_MAX, 2, &part), -AU_ERANGE);
}

static int setup(void **state)
{
	fw_reset();
	fake_reset();
	fw.prepare = with_irq;
	claims = true;
	kick = no_isr = false;
	return 0;
}

static void test_order(void **state)
{
	assert_int_equal(fw_create(with_fake_bus), 0);
	assert_int_equal(fake_command() & 3, 0);
	assert_int_equal(auf_device_start(fw.dev), 0);
	fw_expect("prepare d0_entry connect <gate> io_start ");
	assert_int_equal(fake_command() & 3, 3);
	assert_int_equal(fake_command() & 0x400, 0);
	fake_raise();
	fw_pass(2);
	fw_expect("isr dpc unmask ");
	assert_false(fake.masked);
	auf_device_stop(fw.dev);
	fw_expect("io_stop disconnect d0_exit release ");
	assert_int_equal(fake_command() & 3, 0);
	assert_int_equal(fake_command() & 0x400, 0x400);
	fw_down();
	assert_int_equal(fake.closes, 1);
}

/* The line is high again when it is unmasked: served again, and again. */
static void test_level(void **state)
{
	fw_up(with_fake_bus);
	fake.sticky = true;
	fake_raise();
	for (int i = 0; i < 3; i++)
		fw_pass(2);
	assert_true(fake.unmasks >= 3);
	fake.sticky = false;
	fw_pass(5);
	fw.trace[0] = '\0';
	fw_pass(5);
	fw_expect("");
	fw_down();
}

static void test_no_isr(void **state)
{
	no_isr = true;
	fw_up(with_fake_bus);
	fake_raise();
	fw_pass(2);
	fw_expect("dpc unmask ");
	fw_down();
}

static void test_kick(void **state)
{
	fw_up(with_fake_bus);
	kick = true;
	fake_raise();
	fw_pass(2);
	fw_expect("isr dpc dpc unmask ");
	au_irq_kick(irq);
	au_irq_kick(irq);
	fw_expect("");
	fw_turns(1);
	fw_expect("dpc ");
	/* never after the interrupt was disconnected */
	au_irq_kick(irq);
	auf_device_stop(fw.dev);
	fw_turns(2);
	fw_expect("io_stop disconnect d0_exit release ");
	fw_down();
}

/* Unclaimed ones are counted, not processed; a storm of them is polled for a while and reported. */
static void test_storm(void **state)
{
	unsigned int unmasks;

	fw_up(with_fake_bus);
	claims = false;
	fake_raise();
	fw_pass(2);
	fw_expect("isr unmask ");
	fake.sticky = true;
	fw.lines = 0;
	fake_raise();
	while (!fw.lines && fake.unmasks < 1000)
		fw_pass(1);
	fw.trace[0] = '\0';
	assert_true(fake.unmasks >= 100 && fake.unmasks < 1000);
	assert_non_null(strstr(fw.line, "interrupt storm"));
	assert_true(fake.masked);
	/* masked, but not deaf: it is looked at every ms, and the device is served */
	unmasks = fake.unmasks;
	fake.sticky = false;
	claims = true;
	fw_pass(1);
	fw_pass(1);
	assert_non_null(strstr(fw.trace, "isr dpc "));
	assert_int_equal(fake.unmasks, unmasks);
	/* after a while it is trusted again */
	for (int i = 0; i < 1100; i++)
		fw_pass(1);
	assert_int_equal(fake.unmasks, unmasks + 1);
	fw.trace[0] = '\0';
	fake_raise();
	fw_pass(2);
	fw_expect("isr dpc unmask ");
	assert_int_equal(fw.lines, 1);
	fw_down();
}

static void test_stop_in_storm(void **state)
{
	fw_up(with_fake_bus);
	claims = false;
	fake.sticky = true;
	fw.lines = 0;
	fake_raise();
	while (!fw.lines)
		fw_pass(1);
	auf_device_stop(fw.dev);
	fw.trace[0] = '\0';
	fw_pass(5000);
	fw_expect("");
	fw_down();
}

/* The device goes while it is being served: down all the way, without touching it. */
static void gone_dpc(struct au_irq *i)
{
	fw_note("dpc");
	fake.dead = true;
	assert_int_equal(au_read8(regs, 0), 0xff);
	au_write8(regs, 0, 1);
}

static void with_gone_irq(struct au_device *dev)
{
	const struct au_irq_config config = { AU_HEAD(struct au_irq_config), .dpc = gone_dpc };

	assert_int_equal(au_irq_create(dev, &config, &irq), 0);
	assert_int_equal(au_map_bar(dev, 0, 8, &regs), 0);
}

static void test_gone_in_dpc(void **state)
{
	fw.prepare = with_gone_irq;
	fw_up(with_fake_bus);
	fw_send(1);
	fw.trace[0] = '\0';
	fake_raise();
	fw_pass(2);
	fw_pass(2);
	fw_expect("dpc surprise_removed <gone> io_stop d0_exit release ");
	fw_expect_done(0, 1, -ENODEV);
	fw_down();
	assert_int_equal(fake.closes, 1);
}

/* The server hangs up while nobody touches the device. */
static void test_hang_up(void **state)
{
	fw_up(with_fake_bus);
	fake.dead = true;
	au_os_wake(fake.wait_fd);
	fw_pass(2);
	fw_pass(2);
	fw_expect("surprise_removed <gone> io_stop d0_exit release ");
	assert_non_null(strstr(fw.line, "the device is gone: it has left"));
	fw_down();
}

/* The device is dead, its server is not: everything reads all-ones, no interrupt ever comes. */
static void test_silent_death_under_a_request(void **state)
{
	fw_up(with_fake_bus);
	memset(fake.config, 0xff, sizeof(fake.config));
	fw_pass(3000); /* nobody waits for it: nobody looks */
	fw_pass(2);
	fw_expect("");
	fw_send(1);
	fw_pass(1100);
	fw_pass(2);
	fw_expect("deliver1 surprise_removed <gone> io_stop disconnect d0_exit release ");
	fw_expect_done(0, 1, -ENODEV);
	assert_non_null(strstr(fw.line, "its vendor ID reads all-ones"));
	fw_down();
}

static void test_all_ones_register(void **state)
{
	fw_up(with_fake_bus);
	fake.bar[0] = 0xff; /* a value like any other while the vendor ID is there */
	assert_int_equal(au_read8(regs, 0), 0xff);
	fw_pass(200);
	fw_expect("");
	memset(fake.config, 0xff, 2);
	assert_int_equal(au_read8(regs, 0), 0xff);
	fw_pass(2);
	fw_expect("surprise_removed <gone> io_stop disconnect d0_exit release ");
	fw_down();
}

static void test_gone_at_start(void **state)
{
	assert_int_equal(fw_create(with_fake_bus), 0);
	fake.dead = true;
	assert_int_not_equal(auf_device_start(fw.dev), 0);
	fw_down();
	assert_int_equal(fake.closes, 1);
}

static void test_regs(void **state)
{
	uint8_t buf[300] = { 1, 2, 3 };

	fw_up(with_fake_bus);
	assert_int_equal(map_err[0], -AU_ENXIO);
	assert_int_equal(map_err[1], -AU_ERANGE);
	assert_int_equal(map_err[2], 0);
	au_write32(regs, 8, 0x11223344);
	assert_int_equal(au_read32(regs, 8), 0x11223344);
	assert_int_equal(au_read8(regs, 9), 0x33);
	au_write64(regs, 16, 0x1122334455667788);
	assert_int_equal(au_read64(regs, 16), 0x1122334455667788);
	assert_int_equal(au_read16(regs, 62), 0);
	/* posted writes leave at the end of the turn */
	fake.flushes = 0;
	au_post8(regs, 0, 5);
	assert_int_equal(fake.flushes, 0);
	fw_turns(1);
	assert_int_equal(fake.flushes, 1);
	fw_turns(1);
	assert_int_equal(fake.flushes, 1);
	fake.bar[3] = 10;
	assert_int_equal(au_read_rep8(regs, 3, buf, 3), 0);
	assert_int_equal(buf[0] * 10000 + buf[1] * 100 + buf[2], 101112);
	assert_int_equal(au_write_rep8(regs, 3, buf, 2), 0);
	assert_int_equal(fake.bar[3], 11);
	assert_int_equal(au_read_rep8(regs, 3, buf, 257), -AU_EINVAL);
	assert_int_equal(buf[256], 0xff);
	assert_int_equal(au_pci_read16(fw.dev, 4) & 3, 3);
	assert_int_equal(au_pci_read16(fw.dev, 5), 0xffff);
	assert_int_equal(au_pci_read32(fw.dev, 4096), 0xffffffff);
	assert_int_equal(fw.rules, 0);
	fw_down();
}

/* A window is a window. */
static void test_regs_outside(void **state)
{
	uint8_t buf[4];

	fw_up(with_fake_bus);
	memset(fake.bar, 7, sizeof(fake.bar));
	assert_int_equal(au_read8(part, 7), 7);
	assert_int_equal(au_read8(part, 8), 0xff);
	assert_int_equal(au_read32(part, 5), 0xffffffff);
	assert_int_equal(au_read8(part, UINT64_MAX), 0xff);
	au_write8(part, 8, 1);
	au_post32(part, 6, 1);
	assert_int_equal(au_read_rep8(part, 8, buf, 4), -AU_EINVAL);
	assert_int_equal(au_write_rep8(part, 8, buf, 4), -AU_EINVAL);
	assert_int_equal(au_regs_read(part, 0, 3), 0xffffff);
	for (unsigned int i = 0; i < sizeof(fake.bar); i++)
		assert_int_equal(fake.bar[i], 7);
	assert_non_null(strstr(fw.line, "register-outside"));
	fw_down();
}

/* Mapped windows are read directly, with the same bounds. */
static void test_regs_mapped(void **state)
{
	uint8_t buf[2] = { 8, 9 };

	fake.bus.regions[0].areas = 1;
	fake.bus.regions[0].area[0] = (struct au_bus_area){ 0, sizeof(fake.bar), fake.bar };
	fw_up(with_fake_bus);
	au_write16(part, 6, 0xabcd);
	assert_int_equal(fake.bar[14], 0xcd);
	assert_int_equal(au_read16(part, 6), 0xabcd);
	assert_int_equal(au_read16(part, 7), 0xffff);
	assert_int_equal(au_write_rep8(part, 0, buf, 2), 0);
	assert_int_equal(fake.bar[8], 9);
	assert_int_equal(au_read_rep8(part, 0, buf, 2), 0);
	assert_int_equal(buf[1], 9);
	fw_down();
}

static void map_bar(bool mapped)
{
	fake.bus.regions[0].areas = mapped;
	fake.bus.regions[0].area[0] = (struct au_bus_area){ 0, sizeof(fake.bar), fake.bar };
}

/* Offsets near the end of the numbers do not come round to its beginning. */
static void test_regs_no_wrap(void **state)
{
	map_bar(true);
	fw_up(with_fake_bus);
	memset(fake.bar, 7, sizeof(fake.bar));
	for (uint64_t off = UINT64_MAX; off > UINT64_MAX - 16; off--) {
		assert_int_equal(au_read8(part, off), 0xff);
		assert_int_equal(au_read16(part, off), 0xffff);
		assert_int_equal(au_read32(part, off), 0xffffffff);
		assert_true(au_read64(part, off) == UINT64_MAX);
		au_write8(part, off, 1);
		au_write16(part, off, 1);
		au_post32(part, off, 1);
		au_post64(part, off, 1);
	}
	assert_int_equal(fw.rules, 0); /* the verifier is off */
	assert_non_null(strstr(fw.line, "register-outside"));
	for (unsigned int i = 0; i < sizeof(fake.bar); i++)
		assert_int_equal(fake.bar[i], 7);
	fw_down();
}

/* A window may be smaller than an access: it has all that fits, and nothing more. */
static void test_regs_small(void **state)
{
	struct au_regs *small;
	uint8_t buf[3] = { 1, 2, 3 };

	for (int mapped = 0; mapped < 2; mapped++) {
		fw_reset();
		fake_reset();
		fw.prepare = with_irq;
		map_bar(mapped);
		fw_up(with_fake_bus);
		memset(fake.bar, 7, sizeof(fake.bar));
		assert_int_equal(au_sub_regs(part, 2, 3, &small), 0);
		au_write16(small, 0, 0x1234);
		assert_int_equal(au_read16(small, 0), 0x1234);
		assert_int_equal(fake.bar[10], 0x34);
		assert_int_equal(au_read8(small, 2), 7);
		assert_int_equal(au_read8(small, 3), 0xff);
		assert_int_equal(au_read16(small, 2), 0xffff);
		assert_int_equal(au_read32(small, 0), 0xffffffff);
		assert_int_equal(au_read32(small, UINT64_MAX), 0xffffffff);
		assert_true(au_read64(small, 0) == UINT64_MAX);
		assert_int_equal(au_write_rep8(small, 2, buf, 3), 0);
		assert_int_equal(fake.bar[12], 3);
		assert_int_equal(fake.bar[13], 7);
		assert_int_equal(au_read_rep8(small, 2, buf, 1), 0);
		assert_int_equal(buf[0], 3);
		fw_down();
	}
}

static void too_late(struct au_queue *queue, struct au_request *req)
{
	const struct au_irq_config config = { AU_HEAD(struct au_irq_config), .dpc = dpc };
	struct au_irq *other;

	assert_int_equal(au_irq_create(fw.dev, &config, &other), -AU_EINVAL);
	au_request_complete(req, 0, 0);
}

static void test_create_late(void **state)
{
	fw.deliver = too_late;
	fw_up(with_fake_bus);
	fw_send(1);
	assert_non_null(strstr(fw.line, "create-outside-prepare"));
	fw_down();
}

static bool completing_isr(struct au_irq *i)
{
	fake.asserted = false;
	fw_complete_oldest();
	return true;
}

static void with_completing_isr(struct au_device *dev)
{
	const struct au_irq_config config = { AU_HEAD(struct au_irq_config), .isr = completing_isr,
					      .dpc = dpc };

	assert_int_equal(au_irq_create(dev, &config, &irq), 0);
}

static void verified_bus(struct auf_device_config *config)
{
	config->bus = &fake.bus;
	config->verify = true;
}

static void test_completion_in_isr(void **state)
{
	fw.prepare = with_completing_isr;
	fw_up(verified_bus);
	fw_send(1);
	fake_raise();
	fw_pass(2);
	assert_int_equal(fw.rules, 1);
	assert_string_equal(fw.rule, "completion-in-isr");
	assert_int_equal(fw.done_count, 1);
	fw_down();
}

static void test_regs_outside_verified(void **state)
{
	fw_up(verified_bus);
	assert_int_equal(au_read8(part, 8), 0xff);
	assert_int_equal(fw.rules, 1);
	assert_string_equal(fw.rule, "register-outside");
	fw_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_order, setup),
		cmocka_unit_test_setup(test_level, setup),
		cmocka_unit_test_setup(test_no_isr, setup),
		cmocka_unit_test_setup(test_kick, setup),
		cmocka_unit_test_setup(test_storm, setup),
		cmocka_unit_test_setup(test_stop_in_storm, setup),
		cmocka_unit_test_setup(test_gone_in_dpc, setup),
		cmocka_unit_test_setup(test_hang_up, setup),
		cmocka_unit_test_setup(test_silent_death_under_a_request, setup),
		cmocka_unit_test_setup(test_all_ones_register, setup),
		cmocka_unit_test_setup(test_gone_at_start, setup),
		cmocka_unit_test_setup(test_regs, setup),
		cmocka_unit_test_setup(test_regs_outside, setup),
		cmocka_unit_test_setup(test_regs_mapped, setup),
		cmocka_unit_test_setup(test_regs_no_wrap, setup),
		cmocka_unit_test_setup(test_regs_small, setup),
		cmocka_unit_test_setup(test_create_late, setup),
		cmocka_unit_test_setup(test_completion_in_isr, setup),
		cmocka_unit_test_setup(test_regs_outside_verified, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
