/* SPDX-License-Identifier: MIT */
/*
 * The NVMe driver on a controller in memory: bring-up from any state, what goes wrong, and what
 * takes too long, on the fake clock. How it works at speed, and with a controller that is not of
 * our making, is tested end to end.
 */
/* The driver's own functions. NOLINTNEXTLINE(bugprone-suspicious-include) */
#include "../../drivers/nvme/nvme.c"

#include "nvme_rig.h"

/* --------------------------------------------------------------------- bring-up */

static void test_bring_up(void **state)
{
	struct au_block_info info = { .size = sizeof(info), .abi = 1 };
	const struct auf_submit submit = { .op = AU_BLOCK_INFO,
					   .data = &info,
					   .length = sizeof(info),
					   .progress = &fw.progress[0] };

	up();
	assert_int_equal(chip.cc, CC_EN | CC_IOSQES | CC_IOCQES);
	assert_int_equal(chip.aers, 4);
	assert_int_equal(auf_submit(fw.handle, 0, &submit), 0);
	assert_int_equal(info.bytes, CHIP_BLOCKS * 512);
	assert_int_equal(info.max_transfer, 131072);
	assert_int_equal(info.flags, AU_BLOCK_CACHE | AU_BLOCK_CAN_DISCARD | AU_BLOCK_CAN_ZERO);
	assert_string_equal(info.model, "chip");
	assert_string_equal(info.serial, "S1");
}

/* Handed over enabled: disabled first, without a shutdown, then enabled. */
static void test_enabled_by_another(void **state)
{
	chip.cc = CC_EN | CC_IOSQES;
	chip.csts = CSTS_RDY;
	up();
	assert_int_equal(chip.resets, 1);
	run(AU_BLOCK_WRITE, 0, 512, 0, 0);
}

static void test_failed_before(void **state)
{
	chip.cc = CC_EN;
	chip.csts = CSTS_CFS;
	up();
	assert_int_equal(chip.resets, 1);
}

static void test_in_the_middle_of_enabling(void **state)
{
	chip.cc = CC_EN; /* and never ready */
	up();
	assert_int_equal(chip.resets, 1);
}

static void test_never_ready(void **state)
{
	chip.never_ready = true;
	assert_int_equal(start(), -AU_EIO);
}

static void test_never_disabled(void **state)
{
	chip.cc = CC_EN;
	chip.csts = CSTS_RDY;
	chip.never_disabled = true;
	assert_int_equal(start(), -AU_EIO);
}

static void test_nobody_there(void **state)
{
	chip.gone = true;
	assert_int_equal(start(), -AU_ENODEV);
}

static void test_queues_of_one_entry(void **state)
{
	chip.cap &= ~0xffffull;
	assert_int_equal(start(), -AU_EIO);
	assert_int_equal(chip.cc, 0);
}

static void test_no_command_set(void **state)
{
	chip.cap &= ~CAP_CSS_NVM;
	assert_int_equal(start(), -AU_EIO);
}

/* A stride with which the doorbells lie behind the end of the BAR. */
static void test_doorbells_outside(void **state)
{
	chip.cap |= 15ull << 32;
	assert_int_equal(start(), -AU_EIO);
}

static void test_no_list_of_namespaces(void **state)
{
	chip.list_status = 0x006;
	assert_int_equal(start(), -AU_EIO);
}

/* Namespaces that cannot be: each is left out, and the controller is up. */
static void test_namespaces_that_lie(void **state)
{
	chip.lbads = 31;
	assert_int_equal(start(), 0);
	assert_null(auf_device_unit(fw.dev, 0));
	fw_down();
	chip_reset();
	chip.nsze[1] = UINT64_MAX >> 3;
	assert_int_equal(start(), 0);
	assert_null(auf_device_unit(fw.dev, 0));
}

/* Namespace 2 is unit 1, whether there is another or not. */
static void test_place_of_a_namespace(void **state)
{
	chip.nsze[1] = 0;
	chip.nsze[2] = 64;
	assert_int_equal(start(), 0);
	assert_null(auf_device_unit(fw.dev, 0));
	open_unit(1);
	run(AU_BLOCK_WRITE, 0, 512, 0, 0);
	assert_int_equal(chip.last.nsid, 2);
}

/* ------------------------------------------------------------------ what goes wrong */

static void test_statuses(void **state)
{
	static const struct {
		uint16_t status, op;
		int error;
	} cases[] = {
		{ 0x281, AU_BLOCK_READ, -AU_EIO },     { 0x080, AU_BLOCK_READ, -AU_EINVAL },
		{ 0x080, AU_BLOCK_WRITE, -AU_ENOSPC }, { 0x081, AU_BLOCK_WRITE, -AU_ENOSPC },
		{ 0x020, AU_BLOCK_WRITE, -AU_EPERM },  { 0x4006, AU_BLOCK_READ, -AU_EIO },
		{ 0x7ff, AU_BLOCK_READ, -AU_EIO },
	};

	up();
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		chip.io_status = cases[i].status;
		run(cases[i].op, 0, 512, 0, cases[i].error);
		assert_int_equal(device_status[0], cases[i].status);
	}
	assert_int_equal(chip.ios, sizeof(cases) / sizeof(cases[0]));
}

/* What may go better next time is tried again. */
static void test_once_more(void **state)
{
	up();
	chip.io_status = 0x006;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	fw_turns(5);
	expect(0, 0);
	assert_int_equal(chip.ios, 2);
}

static void wrong_completion(uint16_t sqid, uint16_t cid_xor)
{
	up();
	chip.hold_io = 2;
	send(0, AU_BLOCK_WRITE, 0, 512, 0);
	send(1, AU_BLOCK_WRITE, 512, 512, 512);
	memset(pool, 0x11, 1024);
	fw_turns(2);
	assert_int_equal(chip.held_count, 2);
	chip_post(1, 0, sqid, chip.held[0].cid ^ cid_xor, 0);
	pass(20);
	assert_int_equal(chip.resets, 1);
	assert_int_equal(fw.done_count, 2);
	assert_int_equal(fw.done[0].status | fw.done[1].status, 0);
	assert_int_equal(chip.disk[600], 0x11);
	run(AU_BLOCK_READ, 0, 4096, 0, 0);
}

static void test_wrong_cid(void **state)
{
	wrong_completion(1, 0x40);
}

static void test_cid_out_of_range(void **state)
{
	wrong_completion(1, 0xffff);
}

static void test_wrong_queue(void **state)
{
	wrong_completion(0, 0);
}

/* An old completion is not taken for one of the command that has the slot now. */
static void test_twice(void **state)
{
	uint16_t before;

	up();
	run(AU_BLOCK_READ, 0, 512, 0, 0);
	before = chip.last.cid;
	chip.hold_io = 1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	fw_turns(2);
	chip_post(1, 0, 1, before, 0);
	fw_turns(1);
	assert_int_equal(fw.done_count, 1);
	pass(20);
	assert_int_equal(fw.done_count, 2);
	assert_int_equal(chip.resets, 1);
}

static void test_wrong_admin_completion(void **state)
{
	up();
	chip_post(0, 0, 0, 0x3333, 0);
	pass(20);
	assert_int_equal(chip.resets, 1);
	assert_int_equal(chip.aers, 4);
	run(AU_BLOCK_READ, 0, 4096, 0, 0);
}

/* It is always wrong: at last, the driver gives up. */
static void test_always_wrong(void **state)
{
	up();
	chip.hold_io = -1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	for (unsigned int i = 0; i < 10 && !fw.done_count; i++) {
		fw_turns(2);
		if (chip.held_count)
			chip_post(1, 0, 1, (uint16_t)~chip.held[0].cid, 0);
		pass(50);
	}
	assert_int_equal(fw.done_count, 1);
	assert_true(fw.done[0].status == -AU_EIO || fw.done[0].status == -AU_ENODEV);
	assert_true(chip.resets >= 3);
}

static void test_fatal(void **state)
{
	up();
	chip.hold_io = 1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	fw_turns(2);
	chip.csts |= CSTS_CFS;
	pass(1200);
	assert_int_equal(chip.resets, 1);
	assert_int_equal(chip.aborts, 0);
	expect(0, 0);
}

/* Once more while it is brought up again: noticed soon, and not given up for that. */
static void test_fatal_again(void **state)
{
	up();
	chip.hold_io = 1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	fw_turns(2);
	chip.fail_at = ADMIN_IDENTIFY;
	chip.csts |= CSTS_CFS;
	pass(200);
	assert_int_equal(chip.resets, 2);
	expect(0, 0);
}

static void test_pulled_out(void **state)
{
	up();
	chip.hold_io = 1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	fw_turns(2);
	chip.gone = true;
	pass(1300);
	expect(0, -AU_ENODEV);
	assert_string_equal(auf_device_state_name(fw.dev), "stopped");
}

/* --------------------------------------------------------------- what takes too long */

/* The Abort works: the command is sent again, and ends well. */
static void test_abort(void **state)
{
	up();
	chip.hold_io = 1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	for (unsigned int ms = 0; ms < 3000 && !chip.aborts; ms++)
		pass(1);
	assert_int_equal(chip.aborts, 1);
	assert_int_equal(fw.done_count, 0);
	chip_post(1, 0, 1, chip.held[0].cid, STATUS_ABORT_REQUESTED);
	chip.held_count = 0;
	pass(10);
	expect(0, 0);
	assert_int_equal(chip.resets, 0);
}

/* Where the lane never sleeps, and what is quick is never seen outstanding: in time all the same.
 */
static void test_abort_in_time(void **state)
{
	up();
	pass(1100);
	for (unsigned int i = 0; i < 30; i++) {
		run(AU_BLOCK_READ, 0, 512, 0, 0);
		pass(1);
	}
	chip.hold_io = 1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	pass(250);
	assert_int_equal(chip.aborts, 1);
}

/* It does not: new queues. Nothing ends, and no slot is used again, before they are there. */
static void test_new_queues(void **state)
{
	uint16_t cid;

	up();
	chip.hold_io = 1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	fw_turns(2);
	cid = chip.held[0].cid;
	for (unsigned int ms = 0; ms < 5000 && !chip.admins[ADMIN_DELETE_SQ]; ms++) {
		assert_int_equal(fw.done_count, 0);
		pass(1);
	}
	pass(10);
	assert_int_equal(chip.aborts, 1);
	assert_int_equal(chip.resets, 0);
	assert_int_not_equal(chip.last.cid, cid);
	expect(0, 0);
	run(AU_BLOCK_READ, 0, 4096, 0, 0);
}

/* Nor that: a reset of the controller. */
static void test_reset(void **state)
{
	up();
	chip.hold_io = 1;
	chip.hold_admin = true;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	for (unsigned int ms = 0; ms < 20000 && !fw.done_count; ms++)
		pass(1);
	assert_int_equal(chip.resets, 1);
	expect(0, 0);
}

/* Nor that: the driver gives up, and the device is disabled before anybody's memory is free. */
static void test_gives_up(void **state)
{
	up();
	chip.hold_io = -1;
	chip.hold_admin = true;
	chip.never_disabled = true;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	for (unsigned int ms = 0; ms < 20000 && !fw.done_count; ms++)
		pass(1);
	expect(0, -AU_ENODEV);
	assert_int_equal(chip.cc & CC_EN, 0);
	assert_non_null(strstr(fw.trace, "<failed> <gone>"));
}

/* One that is never answered ends with an error, at last. */
static void test_never_answered(void **state)
{
	up();
	chip.hold_io = -1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	for (unsigned int ms = 0; ms < 60000 && !fw.done_count; ms++)
		pass(1);
	expect(0, -AU_ETIMEDOUT);
	chip.hold_io = 0;
	run(AU_BLOCK_READ, 0, 4096, 0, 0);
}

/* Cancelled: an Abort at once, and the buffer stays the device's until it has let go. */
static void test_cancel(void **state)
{
	up();
	chip.hold_io = 1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	fw_turns(2);
	assert_int_equal(auf_cancel(fw.handle, 0, 0), 0);
	assert_int_equal(fw.done_count, 0);
	for (unsigned int ms = 0; ms < 1150 && !chip.aborts; ms++)
		pass(1);
	assert_int_equal(chip.aborts, 1);
	chip_release(0);
	pass(2);
	expect(0, 0);
}

static void test_canceled_is_not_sent_again(void **state)
{
	up();
	chip.hold_io = 2;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	send(1, AU_BLOCK_READ, 0, 512, 0);
	fw_turns(2);
	assert_int_equal(auf_cancel(fw.handle, 0, 0), 0);
	assert_int_equal(auf_cancel(fw.handle, 1, 1), 0);
	pass(50);
	assert_int_equal(chip.aborts, 2);
	/* one is aborted, the other ends with new queues */
	chip_post(1, 0, 1, chip.held[0].cid, STATUS_ABORT_REQUESTED);
	pass(2);
	expect(0, -AU_ECANCELED);
	pass(1100);
	expect(1, -AU_ECANCELED);
	assert_int_equal(chip.ios, 2);
	assert_int_equal(chip.admins[ADMIN_DELETE_SQ], 1);
}

static void test_events_do_not_time_out(void **state)
{
	up();
	pass(10000);
	assert_int_equal(chip.resets, 0);
	run(AU_BLOCK_READ, 0, 4096, 0, 0);
}

/* ----------------------------------------------------------------------- events */

static void test_resize(void **state)
{
	up();
	chip.nsze[1] = 8;
	chip_event(EVENT_NOTICE | LOG_NAMESPACES << 16);
	pass(10);
	assert_int_equal(fw.event.kind, AU_BLOCK_EVENT_RESIZED);
	assert_int_equal(fw.event.arg[0], 4096);
	assert_int_equal(chip.aers, 4);
	run(AU_BLOCK_READ, 4096, 512, 0, -AU_EINVAL);
}

/* One that goes while a command of it is under way: its memory is the device's until that ends. */
static void test_namespace_goes_and_comes(void **state)
{
	up();
	chip.hold_io = 1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	fw_turns(2);
	chip.nsze[1] = 0;
	chip_event(EVENT_NOTICE | LOG_NAMESPACES << 16);
	pass(60);
	assert_int_equal(fw.done_count, 0);
	assert_non_null(auf_device_unit(fw.dev, 0));
	send(1, AU_BLOCK_READ, 0, 512, 0);
	expect(1, -AU_ENODEV);
	chip_release(0);
	pass(60);
	expect(0, 0);
	assert_null(auf_device_unit(fw.dev, 0));
	chip.nsze[1] = 64;
	chip_event(EVENT_NOTICE | LOG_NAMESPACES << 16);
	pass(20);
	assert_non_null(auf_device_unit(fw.dev, 0));
}

static void test_health(void **state)
{
	up();
	chip_event(EVENT_HEALTH | LOG_HEALTH << 16);
	pass(10);
	assert_int_equal(fw.event.kind, AU_BLOCK_EVENT_HEALTH);
	assert_int_equal(chip.admins[ADMIN_GET_LOG], 1);
}

/* ------------------------------------------------------------------------- down */

/* What is on its way has its time; then the queues go, and the controller is shut down. */
static void test_stop(void **state)
{
	up();
	chip.hold_io = 1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	fw_turns(2);
	auf_device_stop(fw.dev);
	expect(0, -AU_ENODEV);
	assert_int_equal(chip.admins[ADMIN_DELETE_SQ], 1);
	assert_int_equal(chip.admins[ADMIN_DELETE_CQ], 1);
	assert_int_equal(chip.cc & CC_EN, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_bring_up),
		TEST(test_enabled_by_another),
		TEST(test_failed_before),
		TEST(test_in_the_middle_of_enabling),
		TEST(test_never_ready),
		TEST(test_never_disabled),
		TEST(test_nobody_there),
		TEST(test_queues_of_one_entry),
		TEST(test_no_command_set),
		TEST(test_doorbells_outside),
		TEST(test_no_list_of_namespaces),
		TEST(test_namespaces_that_lie),
		TEST(test_place_of_a_namespace),
		TEST(test_statuses),
		TEST(test_once_more),
		TEST(test_wrong_cid),
		TEST(test_cid_out_of_range),
		TEST(test_wrong_queue),
		TEST(test_twice),
		TEST(test_wrong_admin_completion),
		TEST(test_always_wrong),
		TEST(test_fatal),
		TEST(test_fatal_again),
		TEST(test_pulled_out),
		TEST(test_abort),
		TEST(test_abort_in_time),
		TEST(test_new_queues),
		TEST(test_reset),
		TEST(test_gives_up),
		TEST(test_never_answered),
		TEST(test_cancel),
		TEST(test_canceled_is_not_sent_again),
		TEST(test_events_do_not_time_out),
		TEST(test_resize),
		TEST(test_namespace_goes_and_comes),
		TEST(test_health),
		TEST(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
