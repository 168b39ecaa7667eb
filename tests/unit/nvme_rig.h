/* SPDX-License-Identifier: MIT */
/*
 * nvme_rig.h - the NVMe driver on the controller of fake_nvme.h, on the fake clock.
 *
 * Included once, by a test program, after the driver.
 */
#ifndef TESTS_UNIT_NVME_RIG_H
#define TESTS_UNIT_NVME_RIG_H

#include "fake_nvme.h"

#include "base/note.h"

#define ARENA	   0x380000u
#define POOL	   0x200000u
#define TIMEOUT_MS 200u

static struct au_note model_note;
static uint8_t *arena, *pool;
static const char *params[5];
static uint64_t pool_iova;
static uint16_t device_status[FW_DEPTH];

static void with_chip(struct auf_device_config *config)
{
	char error[256] = "";

	assert_int_equal(au_note_parse(au_driver_note.desc, au_driver_note.descsz, "nvme",
				       &model_note, error, sizeof(error)),
			 0);
	config->bus = &fake.bus;
	config->driver = &au_driver;
	config->note = &model_note;
	config->arena = arena;
	config->arena_size = ARENA;
	config->params = params;
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
	params[1] = "depth=32";
	params[2] = params[3] = NULL;
	return 0;
}

static int teardown(void **state)
{
	fw_down();
	fw.handle = NULL;
	assert_int_equal(fw.rules, 0);
	free(arena);
	free(pool);
	return 0;
}

static __attribute__((unused)) int start(void)
{
	assert_int_equal(fw_create(with_chip), 0);
	return auf_device_start(fw.dev);
}

static void complete(struct auf_handle *handle, int status, uint32_t result, uint16_t device,
		     uint32_t slot, uint64_t tag)
{
	device_status[slot] = device;
	fw_complete(handle, status, result, device, slot, tag);
}

static __attribute__((unused)) void open_unit(unsigned int index)
{
	struct auf_handle_config config = { .depth = FW_DEPTH,
					    .complete = complete,
					    .event = fw_event };

	assert_int_equal(auf_dma_map(fw.dev, -1, pool, POOL, &pool_iova), 0);
	config.dma_offset = pool_iova - (uint64_t)(uintptr_t)pool;
	fw.unit = auf_device_unit(fw.dev, index);
	assert_non_null(fw.unit);
	assert_int_equal(auf_handle_open(fw.unit, &config, &fw.handle), 0);
}

static __attribute__((unused)) void up(void)
{
	assert_int_equal(start(), 0);
	open_unit(0);
}

static __attribute__((unused)) void send(uint32_t slot, uint16_t op, uint64_t offset,
					 uint32_t length, uint32_t at)
{
	const struct auf_submit submit = { .op = op,
					   .tag = slot,
					   .arg = { offset, op < AU_BLOCK_READ ? length : 0 },
					   .data = pool + at,
					   .length = op < AU_BLOCK_READ && op != AU_BLOCK_VERIFY &&
								     op != AU_BLOCK_COMPARE_WRITE
							     ? 0
							     : length,
					   .progress = &fw.progress[slot] };

	assert_int_equal(auf_submit(fw.handle, slot, &submit), 0);
}

/* The next completion of all is this one. */
static __attribute__((unused)) void expect(uint64_t tag, int status)
{
	assert_true(fw.done_count > 0);
	assert_int_equal(fw.done[fw.done_count - 1].tag, tag);
	assert_int_equal(fw.done[fw.done_count - 1].status, status);
}

/* Send one and wait for it. */
static __attribute__((unused)) void run(uint16_t op, uint64_t offset, uint32_t length, uint32_t at,
					int status)
{
	unsigned int before = fw.done_count;

	send(0, op, offset, length, at);
	fw_turns(3);
	chip_look();
	fw_turns(3);
	assert_int_equal(fw.done_count, before + 1);
	expect(0, status);
}

/* Let time pass as it does: a millisecond at a time. */
static __attribute__((unused)) void pass(unsigned int ms)
{
	while (ms--)
		fw_pass(1);
}

#endif
