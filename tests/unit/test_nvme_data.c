/* SPDX-License-Identifier: MIT */
/*
 * Requests to the NVMe driver, on a controller in memory: where their data are, how they share the
 * queue, and what is fused.
 */
/* The driver's own functions. NOLINTNEXTLINE(bugprone-suspicious-include) */
#include "../../drivers/nvme/nvme.c"

#include "nvme_rig.h"

/* -------------------------------------------------------------------- requests */

static void check_data(void)
{
	static const uint32_t offsets[] = { 0, 4, 508, 512, 4092 };
	static const uint32_t lengths[] = { 512, 4096, 4608, 8192, 12288, 65536, 131072 };

	for (unsigned int o = 0; o < 5; o++) {
		for (unsigned int l = 0; l < 7; l++) {
			uint32_t at = offsets[o], length = lengths[l];

			for (uint32_t i = 0; i < length; i++)
				pool[at + i] = (uint8_t)(i * 7 + i / 4096 + o + l);
			run(AU_BLOCK_WRITE, 512, length, at, 0);
			assert_memory_equal(chip.disk + 512, pool + at, length);
			memset(pool, 0xee, at + length + 4096);
			run(AU_BLOCK_READ, 512, length, at, 0);
			assert_memory_equal(chip.disk + 512, pool + at, length);
			assert_int_equal(pool[at + length], 0xee);
			assert_true(at == 0 || pool[at - 1] == 0xee);
		}
	}
}

/* Any offset in a page, any number of pages: each byte is in its place. */
static void test_prps(void **state)
{
	up();
	check_data();
	assert_int_equal(chip.sgl_ios, 0);
}

/* Where there would be a list, a descriptor says it all. */
static void test_sgls(void **state)
{
	chip.sgls = SGLS_DWORDS;
	up();
	check_data();
	/* 12 KiB and more, and what is less in three pages */
	assert_int_equal(chip.sgl_ios, 2 * (3 * 5 + 4 + 1));
	run(AU_BLOCK_READ, 0, 512, 2, -AU_EINVAL);
}

static void test_sgls_of_any_alignment(void **state)
{
	chip.sgls = SGLS_ANY;
	up();
	for (unsigned int i = 0; i < 512; i++)
		pool[i + 1] = (uint8_t)i;
	run(AU_BLOCK_WRITE, 0, 512, 1, 0);
	assert_memory_equal(chip.disk, pool + 1, 512);
	assert_int_equal(chip.sgl_ios, 1);
	run(AU_BLOCK_WRITE, 0, 512, 4, 0);
	assert_int_equal(chip.sgl_ios, 1);
}

static void test_sgls_unwanted(void **state)
{
	params[2] = "sgl=0";
	chip.sgls = SGLS_ANY;
	up();
	check_data();
	assert_int_equal(chip.sgl_ios, 0);
}

/* It says that it has them, and refuses each: one is sent again, and that was all. */
static void test_sgls_refused(void **state)
{
	chip.sgls = SGLS_ANY;
	chip.no_sgl = true;
	up();
	check_data();
	assert_int_equal(chip.sgl_ios, 1);
}

static void test_not_aligned(void **state)
{
	up();
	run(AU_BLOCK_READ, 0, 512, 2, -AU_EINVAL);
	assert_int_equal(chip.ios, 0);
}

/* Around both rings several times, several at once. */
static void test_wrap(void **state)
{
	up();
	for (unsigned int round = 0; round < 100; round++) {
		for (uint32_t i = 0; i < 7; i++)
			send(i, i % 2 ? AU_BLOCK_READ : AU_BLOCK_WRITE, 4096 * i, 4096, 8192 * i);
		fw_turns(2);
	}
	assert_int_equal(fw.done_count, 700);
	assert_int_equal(chip.ios, 700);
	/* one doorbell for each batch */
	assert_int_equal(chip.doorbells, 100);
}

/* More than there are slots in the device: they wait, and come to their turn in any order. */
static void test_more_than_slots(void **state)
{
	params[1] = "depth=3";
	up();
	chip.hold_io = -1;
	for (uint32_t i = 0; i < 10; i++)
		send(i, AU_BLOCK_READ, 0, 512, 0);
	fw_turns(3);
	assert_int_equal(chip.held_count, 3);
	while (chip.held_count) {
		chip_release(chip.held_count - 1);
		fw_turns(3);
	}
	assert_int_equal(fw.done_count, 10);
}

static void test_other_operations(void **state)
{
	up();
	memset(chip.disk, 0xaa, 65536);
	run(AU_BLOCK_FLUSH, 0, 0, 0, 0);
	assert_int_equal(chip.last.opcode, IO_FLUSH);
	run(AU_BLOCK_WRITE_ZEROES, 4096, 4096, 0, 0);
	run(AU_BLOCK_DISCARD, 16384, 8192, 0, 0);
	assert_int_equal(chip.last.cdw11, DSM_DEALLOCATE);
	for (unsigned int i = 0; i < 65536; i++)
		assert_int_equal(chip.disk[i], i / 4096 == 1 || i / 8192 == 2 ? 0 : 0xaa);
}

static void test_force_unit_access(void **state)
{
	struct auf_submit submit = { .op = AU_BLOCK_WRITE,
				     .flags = AU_BLOCK_FUA,
				     .data = NULL,
				     .length = 512,
				     .progress = &fw.progress[0] };

	up();
	submit.data = pool;
	assert_int_equal(auf_submit(fw.handle, 0, &submit), 0);
	fw_turns(3);
	expect(0, 0);
	assert_int_equal(chip.last.cdw12, 1u << 30);
}

static void test_shadow_doorbells(void **state)
{
	chip.oacs = OACS_DBBUF;
	up();
	for (unsigned int i = 0; i < 200; i++)
		run(AU_BLOCK_WRITE, 0, 512, 0, 0);
	assert_int_equal(chip.ios, 200);
	/* Only when the event index asks for it: it stays 0, which is passed once in a round. */
	assert_true(chip.doorbells < 10);
}

/* Polling is faster than the line: its interrupts are ours all the same, and no storm. */
static void test_line(void **state)
{
	up();
	for (unsigned int i = 0; i < 300; i++) {
		run(AU_BLOCK_READ, 0, 512, 0, 0);
		fake_raise();
		fake.asserted = false;
		pass(1);
	}
	assert_true(fake.unmasks >= 300);
	assert_null(strstr(fw.line, "storm"));
}

/* ------------------------------------------------------------ compare and write */

static void with_fused(void)
{
	chip.oncs |= ONCS_COMPARE;
	chip.fuses = FUSES_COMPARE;
	chip.acwu = 7;
	up();
}

static void test_verify(void **state)
{
	chip.oncs |= ONCS_COMPARE;
	up();
	memset(chip.disk, 7, 8192);
	memset(pool, 7, 8192);
	run(AU_BLOCK_VERIFY, 0, 8192, 0, 0);
	chip.disk[8191] = 8;
	run(AU_BLOCK_VERIFY, 0, 8192, 0, -AU_EILSEQ);
	assert_int_equal(chip.last.opcode, IO_COMPARE);
	assert_int_equal(chip.last.flags, 0);
	run(AU_BLOCK_COMPARE_WRITE, 0, 1024, 0, -AU_ENOTSUP);
}

static void test_no_compare(void **state)
{
	up();
	run(AU_BLOCK_VERIFY, 0, 512, 0, -AU_ENOTSUP);
	run(AU_BLOCK_COMPARE_WRITE, 0, 1024, 0, -AU_ENOTSUP);
	assert_int_equal(chip.ios, 0);
}

static void test_compare_and_write(void **state)
{
	with_fused();
	memset(pool, 0, 512);
	memset(pool + 512, 9, 512);
	run(AU_BLOCK_COMPARE_WRITE, 1024, 1024, 0, 0);
	assert_memory_equal(chip.disk + 1024, pool + 512, 512);
	assert_int_equal(chip.disk[1536], 0);
	/* Once more: something else is there now. */
	chip.disk[1030] = 8;
	run(AU_BLOCK_COMPARE_WRITE, 1024, 1024, 0, -AU_EILSEQ);
	assert_int_equal(device_status[0], 0x285);
	assert_int_equal(chip.disk[1030], 8);
	assert_int_equal(chip.disk[1024], 9);
	assert_int_equal(chip.ios, 4);
	/* one doorbell for both halves */
	assert_int_equal(chip.doorbells, 2);
}

/* What is atomic is the controller's word. */
static void test_most_to_compare(void **state)
{
	struct au_block_info info = { .size = sizeof(info), .abi = 1 };
	const struct auf_submit submit = { .op = AU_BLOCK_INFO,
					   .data = &info,
					   .length = sizeof(info),
					   .progress = &fw.progress[0] };

	with_fused();
	assert_int_equal(auf_submit(fw.handle, 0, &submit), 0);
	assert_int_equal(info.max_compare, 4096);
	assert_true(info.flags & AU_BLOCK_CAN_COMPARE);
	run(AU_BLOCK_COMPARE_WRITE, 0, 8192, 0, 0);
	run(AU_BLOCK_COMPARE_WRITE, 0, 9216, 0, -AU_EINVAL);
	run(AU_BLOCK_COMPARE_WRITE, 0, 1536, 0, -AU_EINVAL);
}

/* Around the rings, among others, with few slots: they are always behind one another. */
static void test_pairs_among_others(void **state)
{
	params[1] = "depth=5";
	with_fused();
	memset(pool, 0, POOL);
	for (unsigned int round = 0; round < 200; round++) {
		unsigned int before = fw.done_count;

		for (uint32_t i = 0; i < 8; i++)
			send(i, i % 3 ? AU_BLOCK_COMPARE_WRITE : AU_BLOCK_READ, 4096 * i, 1024,
			     8192 * i);
		fw_turns(20);
		assert_int_equal(fw.done_count - before, 8);
		expect(7, 0);
	}
	assert_int_equal(chip.ios, 200 * (3 + 2 * 5));
}

/* One slot is free, and it takes two: those behind it wait as well. */
static void test_pair_is_not_overtaken(void **state)
{
	params[1] = "depth=3";
	with_fused();
	chip.hold_io = -1;
	send(0, AU_BLOCK_READ, 0, 512, 0);
	send(1, AU_BLOCK_READ, 0, 512, 512);
	send(2, AU_BLOCK_COMPARE_WRITE, 0, 1024, 4096);
	send(3, AU_BLOCK_READ, 0, 512, 8192);
	send(4, AU_BLOCK_READ, 0, 512, 8192);
	fw_turns(3);
	assert_int_equal(chip.held_count, 2);
	chip_release(0);
	fw_turns(3);
	/* The pair has taken the two that are free now. */
	assert_int_equal(chip.held_count, 3);
	assert_int_equal(chip.held[1].flags, FUSED_FIRST);
	assert_int_equal(chip.held[2].flags, FUSED_SECOND);
	chip.hold_io = 0;
	while (chip.held_count) {
		chip_release(0);
		fw_turns(3);
	}
	assert_int_equal(fw.done_count, 5);
	/* and the way is free again */
	run(AU_BLOCK_READ, 0, 512, 0, 0);
}

/* Forgotten by a reset: nobody knows. It is not sent again, while others are. */
static void test_pair_is_not_sent_again(void **state)
{
	unsigned int ios;

	with_fused();
	chip.hold_io = -1;
	send(0, AU_BLOCK_COMPARE_WRITE, 0, 1024, 0);
	send(1, AU_BLOCK_READ, 0, 512, 8192);
	fw_turns(3);
	assert_int_equal(chip.held_count, 3);
	ios = chip.ios;
	chip.hold_io = 0;
	chip.csts |= CSTS_CFS;
	pass(1500);
	assert_int_equal(fw.done_count, 2);
	assert_int_equal(chip.ios, ios + 1);
	assert_int_equal(chip.last.opcode, IO_READ);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(fw.done[i].status, fw.done[i].tag == 0 ? -AU_EOWNERDEAD : 0);
	run(AU_BLOCK_COMPARE_WRITE, 0, 1024, 0, 0);
}

/* The comparison was answered before: then it is known that nothing was written. */
static void test_half_is_known(void **state)
{
	with_fused();
	chip.hold_io = -1;
	memset(pool, 1, 512);
	send(0, AU_BLOCK_COMPARE_WRITE, 0, 1024, 0);
	fw_turns(3);
	chip_release(0);
	fw_turns(3);
	assert_int_equal(fw.done_count, 0);
	chip.hold_io = 0;
	chip.half = false;
	chip.csts |= CSTS_CFS;
	pass(1500);
	assert_int_equal(fw.done_count, 1);
	expect(0, -AU_EILSEQ);
}

/* A half that is answered twice is a wrong completion, and costs a reset. */
static void test_half_answered_twice(void **state)
{
	with_fused();
	chip.hold_io = -1;
	send(0, AU_BLOCK_COMPARE_WRITE, 0, 1024, 0);
	fw_turns(3);
	chip_post(1, 0, 1, chip.held[0].cid, 0);
	chip_post(1, 0, 1, chip.held[0].cid, 0);
	fw_turns(3);
	chip.half = false;
	pass(100);
	assert_int_equal(fw.done_count, 1);
	expect(0, -AU_EOWNERDEAD);
	assert_int_equal(chip.resets, 1);
}

/* Sent for the first time when the controller is back. */
static void test_pair_during_a_reset(void **state)
{
	with_fused();
	chip.hold_io = 1;
	send(0, AU_BLOCK_READ, 0, 512, 8192);
	fw_turns(3);
	chip.csts |= CSTS_CFS;
	chip.never_ready = true;
	for (unsigned int ms = 0; ms < 1500 && !chip.resets; ms++)
		pass(1);
	pass(10);
	send(1, AU_BLOCK_COMPARE_WRITE, 0, 1024, 0);
	assert_int_equal(fw.done_count, 0);
	chip.csts |= CSTS_RDY;
	pass(100);
	assert_int_equal(fw.done_count, 2);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(fw.done[i].status, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_prps),
		TEST(test_sgls),
		TEST(test_sgls_of_any_alignment),
		TEST(test_sgls_unwanted),
		TEST(test_sgls_refused),
		TEST(test_not_aligned),
		TEST(test_wrap),
		TEST(test_more_than_slots),
		TEST(test_other_operations),
		TEST(test_verify),
		TEST(test_no_compare),
		TEST(test_compare_and_write),
		TEST(test_most_to_compare),
		TEST(test_pairs_among_others),
		TEST(test_pair_is_not_overtaken),
		TEST(test_pair_is_not_sent_again),
		TEST(test_half_is_known),
		TEST(test_half_answered_twice),
		TEST(test_pair_during_a_reset),
		TEST(test_force_unit_access),
		TEST(test_shadow_doorbells),
		TEST(test_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
