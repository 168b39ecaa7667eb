/* SPDX-License-Identifier: MIT */
/*
 * The NVMe driver with several lanes, on a controller in memory: each lane has its pair of queues,
 * what is late on one costs that pair only, and what is wrong costs all of them a reset.
 */
/* The driver's own functions. NOLINTNEXTLINE(bugprone-suspicious-include) */
#include "../../drivers/nvme/nvme.c"

#include "fake_nvme.h"

#include "base/note.h"

#define ARENA 0x380000u
#define POOL  0x100000u
#define LANES 3u

static struct au_note model_note;
static uint8_t *arena, *pool;
static const char *params[5];
static struct au_lane *lanes[LANES];
static struct auf_handle *handle[LANES];

static void with_chip(struct auf_device_config *config)
{
	char error[256] = "";

	assert_int_equal(au_note_parse(au_driver_note.desc, au_driver_note.descsz, "nvme",
				       &model_note, error, sizeof(error)),
			 0);
	lanes[0] = config->lane;
	for (unsigned int i = 1; i < LANES; i++)
		assert_int_equal(auf_lane_create(AUF_RUNNER_APP, i, 0, NULL, &lanes[i]), 0);
	config->bus = &fake.bus;
	config->driver = &au_driver;
	config->note = &model_note;
	config->arena = arena;
	config->arena_size = ARENA;
	config->params = params;
	config->lanes = lanes;
	config->lane_count = LANES;
	config->verify = true;
}

static int setup(void **state)
{
	fw_reset();
	chip_reset();
	arena = aligned_alloc(4096, ARENA);
	pool = aligned_alloc(4096, POOL);
	memset(arena, 0x5a, ARENA);
	memset(pool, 0, POOL);
	params[0] = "timeout-ms=200";
	params[1] = "depth=8";
	params[2] = "lanes=3";
	params[3] = "polled=1";
	params[4] = NULL;
	return 0;
}

static void turns(unsigned int count)
{
	while (count--)
		for (unsigned int i = 0; i < LANES; i++)
			auf_lane_poll(lanes[i]);
}

static int teardown(void **state)
{
	for (unsigned int i = 0; i < LANES; i++)
		if (handle[i])
			auf_handle_close(handle[i], NULL, NULL);
	turns(2);
	memset(handle, 0, sizeof(handle));
	auf_device_stop(fw.dev);
	auf_device_destroy(fw.dev);
	for (unsigned int i = 0; i < LANES; i++)
		auf_lane_destroy(lanes[i]);
	assert_int_equal(au_fake_allocated(), 0);
	assert_int_equal(fw.rules, 0);
	free(arena);
	free(pool);
	return 0;
}

/* A handle on each of the first @count lanes. */
static void up(unsigned int count)
{
	struct auf_handle_config config = { .depth = FW_DEPTH, .complete = fw_complete };
	uint64_t iova;

	assert_int_equal(fw_create(with_chip), 0);
	assert_int_equal(auf_device_start(fw.dev), 0);
	assert_int_equal(auf_dma_map(fw.dev, -1, pool, POOL, &iova), 0);
	config.dma_offset = iova - (uint64_t)(uintptr_t)pool;
	fw.unit = auf_device_unit(fw.dev, 0);
	assert_non_null(fw.unit);
	for (unsigned int i = 0; i < count; i++) {
		config.lane = auf_device_next_lane(fw.dev);
		assert_ptr_equal(config.lane, lanes[i]);
		assert_int_equal(auf_handle_open(fw.unit, &config, &handle[i]), 0);
	}
	turns(1);
}

static void send(unsigned int lane, uint32_t slot, uint16_t op, uint64_t offset)
{
	const struct auf_submit submit = { .op = op,
					   .tag = slot,
					   .arg = { offset, 0 },
					   .data = pool + slot * 512,
					   .length = 512,
					   .progress = &fw.progress[slot] };

	assert_int_equal(auf_submit(handle[lane], slot, &submit), 0);
}

static void pass(unsigned int ms)
{
	while (ms--) {
		au_fake_advance_ms(1);
		turns(2);
	}
}

static void all_well(void)
{
	unsigned int before = fw.done_count;

	for (unsigned int i = 0; i < LANES; i++)
		send(i, 40 + i, AU_BLOCK_READ, 512 * i);
	turns(3);
	assert_int_equal(fw.done_count, before + LANES);
	for (unsigned int i = before; i < fw.done_count; i++)
		assert_int_equal(fw.done[i].status, 0);
}

/* ------------------------------------------------------------------------ */

static void test_pairs(void **state)
{
	up(LANES);
	for (unsigned int i = 0; i < LANES; i++)
		for (uint32_t slot = 0; slot <= i; slot++)
			send(i, 10 * i + slot, AU_BLOCK_WRITE, 4096 * (uint64_t)i);
	turns(3);
	assert_int_equal(fw.done_count, 6);
	assert_int_equal(chip.ios_of[1], 1);
	assert_int_equal(chip.ios_of[2], 2);
	assert_int_equal(chip.ios_of[3], 3);
	assert_int_equal(chip.doorbells, 3);
}

static void test_shadow(void **state)
{
	chip.oacs = OACS_DBBUF;
	up(LANES);
	for (unsigned int i = 0; i < 90; i++) {
		send(i % LANES, i % 32, AU_BLOCK_WRITE, 0);
		turns(1);
		chip_look();
		turns(1);
	}
	assert_int_equal(fw.done_count, 90);
	assert_true(chip.doorbells < 15);
}

/* The bound is each pair's; what waits for a slot gets one of its own lane's. */
static void test_slots(void **state)
{
	up(LANES);
	chip.hold_io = -1;
	for (uint32_t i = 0; i < 10; i++)
		send(1, i, AU_BLOCK_READ, 0);
	send(2, 30, AU_BLOCK_READ, 0);
	turns(3);
	assert_int_equal(chip.ios_of[2], 8);
	assert_int_equal(chip.ios_of[3], 1);
	while (chip.held_count) {
		chip_release(0);
		turns(3);
	}
	assert_int_equal(fw.done_count, 11);
	assert_int_equal(chip.ios_of[2], 10);
}

/* Two pairs granted of three: the third lane gets nothing to do, and the log says so. */
static void test_fewer_queues(void **state)
{
	struct auf_handle_config config = { .depth = FW_DEPTH, .complete = fw_complete };

	chip.queues = 2;
	up(2);
	assert_int_equal(chip.admins[ADMIN_CREATE_SQ], 2);
	assert_ptr_equal(auf_device_next_lane(fw.dev), lanes[0]);
	config.lane = lanes[0];
	assert_int_equal(auf_handle_open(fw.unit, &config, &handle[2]), 0);
	send(0, 1, AU_BLOCK_READ, 0);
	send(1, 2, AU_BLOCK_READ, 0);
	turns(2);
	assert_int_equal(fw.done_count, 2);
}

/* Fewer after a reset than before: that cannot go on. */
static void test_fewer_later(void **state)
{
	up(LANES);
	chip.queues = 1;
	chip.hold_io = 1;
	send(2, 1, AU_BLOCK_READ, 0);
	turns(2);
	chip_post(3, 0, 3, (uint16_t)~chip.held[0].cid, 0);
	pass(100);
	assert_int_equal(fw.done_count, 1);
	assert_int_equal(fw.done[0].status, -AU_ENODEV);
}

/* One message for the admin queue, one for each pair that there is one for. */
static void test_vectors(void **state)
{
	params[3] = NULL;
	fake.bus.irqs[AU_BUS_MSIX] = 3;
	up(2);
	assert_int_equal(chip.admins[ADMIN_CREATE_SQ], 2);
	assert_int_equal(chip.vector[1], 1);
	assert_int_equal(chip.vector[2], 2);
	assert_ptr_equal(auf_device_next_lane(fw.dev), lanes[0]);
}

static void test_line(void **state)
{
	params[3] = NULL;
	up(1);
	assert_int_equal(chip.admins[ADMIN_CREATE_SQ], 1);
	assert_ptr_equal(auf_device_next_lane(fw.dev), lanes[0]);
}

/* Late on one lane: an Abort, then that pair anew; the others go on all the while. */
static void test_late(void **state)
{
	unsigned int others = 0;

	up(LANES);
	chip.hold_io = 1;
	send(1, 1, AU_BLOCK_READ, 0);
	for (unsigned int ms = 0; ms < 5000 && !chip.admins[ADMIN_DELETE_SQ]; ms++) {
		pass(1);
		if (ms % 10)
			continue;
		send(2, 2, AU_BLOCK_WRITE, 0);
		turns(2);
		assert_int_equal(fw.done_count, ++others);
	}
	assert_int_equal(chip.aborts, 1);
	pass(20);
	assert_int_equal(chip.resets, 0);
	assert_int_equal(chip.deletes_of[2], 1);
	assert_int_equal(chip.deletes_of[1] + chip.deletes_of[3], 0);
	assert_int_equal(fw.done_count, others + 1);
	assert_int_equal(fw.done[others].tag, 1);
	assert_int_equal(fw.done[others].status, 0);
	all_well();
}

/* Two pairs at once: one after the other. */
static void test_late_twice(void **state)
{
	up(LANES);
	chip.hold_io = 2;
	send(1, 1, AU_BLOCK_READ, 0);
	send(2, 2, AU_BLOCK_READ, 0);
	for (unsigned int ms = 0; ms < 5000 && fw.done_count < 2; ms++)
		pass(1);
	assert_int_equal(chip.deletes_of[2], 1);
	assert_int_equal(chip.deletes_of[3], 1);
	assert_int_equal(chip.resets, 0);
	assert_int_equal(fw.done_count, 2);
	all_well();
}

/* New queues do not come: a reset, after which all lanes send again what they had. */
static void test_late_reset(void **state)
{
	up(LANES);
	chip.hold_io = 2;
	chip.hold_admin = true;
	send(2, 1, AU_BLOCK_READ, 0);
	send(0, 2, AU_BLOCK_READ, 0);
	turns(2);
	for (unsigned int ms = 0; ms < 20000 && !chip.resets; ms++)
		pass(1);
	chip.hold_admin = false;
	pass(50);
	assert_int_equal(chip.resets, 1);
	assert_int_equal(fw.done_count, 2);
	all_well();
}

/* A wrong completion on a lane that is not the first: nobody's requests are lost. */
static void test_wrong(void **state)
{
	up(LANES);
	chip.hold_io = 3;
	for (unsigned int i = 0; i < LANES; i++)
		send(i, i, AU_BLOCK_WRITE, 512 * i);
	turns(2);
	assert_int_equal(chip.held_count, 3);
	chip_post(3, 0, 3, 0x3333, 0);
	pass(20);
	assert_int_equal(chip.resets, 1);
	assert_int_equal(fw.done_count, 3);
	for (unsigned int i = 0; i < LANES; i++)
		assert_int_equal(fw.done[i].status, 0);
	all_well();
}

/* One lane's completion in another's queue is as wrong. */
static void test_wrong_queue(void **state)
{
	up(LANES);
	chip.hold_io = 1;
	send(1, 1, AU_BLOCK_WRITE, 0);
	turns(2);
	chip_post(3, 0, 2, chip.held[0].cid, 0);
	pass(20);
	assert_int_equal(chip.resets, 1);
	assert_int_equal(fw.done_count, 1);
	all_well();
}

static void test_fatal(void **state)
{
	up(LANES);
	chip.hold_io = 1;
	send(2, 1, AU_BLOCK_READ, 0);
	turns(2);
	chip.csts |= CSTS_CFS;
	pass(1200);
	assert_int_equal(chip.resets, 1);
	assert_int_equal(chip.aborts, 0);
	assert_int_equal(fw.done_count, 1);
	all_well();
}

static void test_pulled_out(void **state)
{
	up(LANES);
	chip.hold_io = -1;
	for (unsigned int i = 0; i < LANES; i++)
		send(i, i, AU_BLOCK_WRITE, 512 * i);
	turns(2);
	chip.gone = true;
	pass(1300);
	assert_int_equal(fw.done_count, 3);
	for (unsigned int i = 0; i < LANES; i++)
		assert_int_equal(fw.done[i].status, -AU_ENODEV);
	assert_string_equal(auf_device_state_name(fw.dev), "stopped");
}

/* A namespace goes when none of the lanes has a command of it. */
static void test_namespace_goes(void **state)
{
	up(LANES);
	chip.hold_io = 1;
	send(2, 1, AU_BLOCK_READ, 0);
	turns(2);
	chip.nsze[1] = 0;
	chip_event(EVENT_NOTICE | LOG_NAMESPACES << 16);
	pass(100);
	assert_non_null(auf_device_unit(fw.dev, 0));
	chip.nsze[1] = CHIP_BLOCKS;
	chip_release(0);
	chip.nsze[1] = 0;
	pass(100);
	assert_null(auf_device_unit(fw.dev, 0));
	assert_int_equal(fw.done[0].status, 0);
}

/* Its handle is closed while the others work. */
static void test_close(void **state)
{
	up(LANES);
	chip.hold_io = 1;
	send(1, 1, AU_BLOCK_READ, 0);
	turns(2);
	auf_handle_close(handle[1], NULL, NULL);
	handle[1] = NULL;
	send(2, 2, AU_BLOCK_READ, 0);
	turns(2);
	assert_int_equal(fw.done_count, 1);
	chip_release(0);
	turns(2);
	assert_int_equal(fw.done_count, 1);
	assert_ptr_equal(auf_device_next_lane(fw.dev), lanes[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(test_pairs),	      T(test_shadow),	   T(test_slots),
		T(test_fewer_queues), T(test_fewer_later), T(test_vectors),
		T(test_line),	      T(test_late),	   T(test_late_twice),
		T(test_late_reset),   T(test_wrong),	   T(test_wrong_queue),
		T(test_fatal),	      T(test_pulled_out),  T(test_namespace_goes),
		T(test_close),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
