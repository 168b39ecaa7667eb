/* SPDX-License-Identifier: MIT */
/* The NVMe driver in D3 and back: what it had before is there again, and nothing touches the
 * controller in between. */
/* The driver's own functions. NOLINTNEXTLINE(bugprone-suspicious-include) */
#include "../../drivers/nvme/nvme.c"

#include "nvme_rig.h"

#include <linux/pci_regs.h>

#define PM 0x40

static unsigned int stray; /* accesses to registers in D3 */

static bool asleep(void)
{
	return (fake.config[PM + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK) == 3;
}

static int power_read(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		      uint64_t *value)
{
	stray += region == 0 && asleep();
	return chip_read(bus, region, offset, width, value);
}

static int power_write(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		       uint64_t value, bool posted)
{
	stray += region == 0 && asleep();
	/* A bus master has no business in D3. */
	if (region == AU_BUS_REGION_CONFIG && offset == PM + PCI_PM_CTRL && (value & 3) == 3)
		assert_false(fake_command() & PCI_COMMAND_MASTER);
	return chip_write(bus, region, offset, width, value, posted);
}

static int power_setup(void **state)
{
	setup(state);
	fake.config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	fake.config[PCI_CAPABILITY_LIST] = PM;
	fake.config[PM] = PCI_CAP_ID_PM;
	fake.config[PM + PCI_PM_CTRL] = PCI_PM_CTRL_NO_SOFT_RESET;
	chip_ops.read = power_read;
	chip_ops.write = power_write;
	stray = 0;
	return 0;
}

static int power_teardown(void **state)
{
	teardown(state);
	assert_int_equal(stray, 0);
	assert_false(asleep());
	return 0;
}

static void power(enum auf_power_verb verb)
{
	assert_int_equal(auf_device_power(fw.dev, verb, NULL, NULL), 0);
	fw_turns(4);
}

static enum auf_power_state power_state(void)
{
	struct auf_power_info info;

	auf_device_power_info(fw.dev, &info);
	return info.state;
}

static void test_cycles(void **state)
{
	up();
	memset(pool, 0x11, 4096);
	run(AU_BLOCK_WRITE, 0, 4096, 0, 0);
	for (unsigned int i = 0; i < 50; i++) {
		power(AUF_POWER_DOWN);
		assert_int_equal(power_state(), AUF_POWER_IS_D3);
		assert_true(asleep());
		assert_false(chip.cc & CC_EN);
		pass(20);
		memset(pool + 8192, 0, 4096);
		/* It wakes it, is the first to reach it, and finds what was there. */
		run(AU_BLOCK_READ, 0, 4096, 8192, 0);
		assert_memory_equal(pool + 8192, pool, 4096);
		assert_int_equal(power_state(), AUF_POWER_IS_D0);
		assert_true(fake_command() & PCI_COMMAND_MASTER);
		assert_int_equal(chip.aers, 4);
	}
}

/* What the controller has is waited for; what comes meanwhile waits for D0. */
static void test_suspend_under_load(void **state)
{
	up();
	chip.hold_io = 3;
	for (uint32_t i = 0; i < 3; i++)
		send(i, AU_BLOCK_WRITE, i * 512, 512, i * 512);
	fw_turns(3);
	assert_int_equal(chip.held_count, 3);
	power(AUF_POWER_SUSPEND);
	assert_int_equal(power_state(), AUF_POWER_IS_GOING_DOWN);
	send(3, AU_BLOCK_WRITE, 4096, 512, 4096);
	pass(5);
	while (chip.held_count)
		chip_release(0);
	pass(50);
	assert_int_equal(power_state(), AUF_POWER_IS_SUSPENDED);
	assert_int_equal(fw.done_count, 3);
	power(AUF_POWER_RESUME);
	pass(5);
	chip_look();
	fw_turns(3);
	assert_int_equal(fw.done_count, 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(fw.done[i].status, 0);
}

/* What it never answers is taken back by an Abort or a reset, and then it sleeps. */
static void test_suspend_while_late(void **state)
{
	up();
	chip.hold_io = 1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	fw_turns(3);
	power(AUF_POWER_SUSPEND);
	for (unsigned int i = 0; i < 300 && power_state() != AUF_POWER_IS_SUSPENDED; i++) {
		pass(10);
		chip_look();
	}
	assert_int_equal(power_state(), AUF_POWER_IS_SUSPENDED);
	assert_int_equal(fw.done_count, 1);
	power(AUF_POWER_RESUME);
	run(AU_BLOCK_READ, 0, 512, 0, 0);
}

static void test_idle(void **state)
{
	up();
	auf_device_set_idle(fw.dev, 30);
	for (unsigned int i = 0; i < 20; i++) {
		pass(25);
		run(AU_BLOCK_READ, 0, 512, 0, 0);
		assert_int_equal(power_state(), AUF_POWER_IS_D0);
	}
	pass(60);
	assert_int_equal(power_state(), AUF_POWER_IS_D3);
	pass(5000);
	run(AU_BLOCK_READ, 0, 512, 0, 0);
}

/* It does not come back: whoever has it open is told, and waits for nothing. */
static void test_dead_asleep(void **state)
{
	up();
	power(AUF_POWER_DOWN);
	chip.never_ready = true;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	fw_turns(6);
	assert_int_equal(fw.done_count, 1);
	assert_int_equal(fw.done[0].status, -ENODEV);
	assert_int_equal(fw.event.kind, AU_EVENT_GONE);
	assert_int_equal(power_state(), AUF_POWER_IS_OFF);
}

/* A namespace that has come in D3 is a unit when it is back; one that has gone is none. */
static void test_namespaces_change(void **state)
{
	up();
	assert_non_null(auf_device_unit(fw.dev, 0));
	assert_null(auf_device_unit(fw.dev, 1));
	power(AUF_POWER_DOWN);
	chip.nsze[2] = CHIP_BLOCKS;
	power(AUF_POWER_UP);
	assert_int_equal(power_state(), AUF_POWER_IS_D0);
	assert_non_null(auf_device_unit(fw.dev, 1));
	power(AUF_POWER_DOWN);
	chip.nsze[2] = 0;
	power(AUF_POWER_UP);
	pass(50);
	assert_null(auf_device_unit(fw.dev, 1));
	run(AU_BLOCK_READ, 0, 512, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_cycles, power_setup, power_teardown),
		cmocka_unit_test_setup_teardown(test_suspend_under_load, power_setup,
						power_teardown),
		cmocka_unit_test_setup_teardown(test_suspend_while_late, power_setup,
						power_teardown),
		cmocka_unit_test_setup_teardown(test_idle, power_setup, power_teardown),
		cmocka_unit_test_setup_teardown(test_dead_asleep, power_setup, power_teardown),
		cmocka_unit_test_setup_teardown(test_namespaces_change, power_setup,
						power_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
