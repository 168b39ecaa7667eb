/* SPDX-License-Identifier: MIT */
/* Where memory is for the device: within its addresses and what the bus takes, and out of holes. */
#include "fake_bus.h"

#define MIB (1ull << 20)

static _Alignas(4096) char arena[65536];
static uint64_t last_iova, last_size;
static unsigned int mapped;
static uint32_t bits;
static struct au_bus_ops ops;

static int dma_map(struct au_bus *bus, uint64_t iova, uint64_t size, void *cpu, int fd,
		   uint64_t offset)
{
	last_iova = iova;
	last_size = size;
	mapped++;
	/* What a bus with ranges would refuse. */
	for (unsigned int i = 0; i < bus->range_count; i++)
		if (iova >= bus->ranges[i].first && iova + size - 1 <= bus->ranges[i].last)
			return 0;
	return bus->range_count ? -EINVAL : 0;
}

static int dma_unmap(struct au_bus *bus, uint64_t iova, uint64_t size)
{
	mapped--;
	return 0;
}

static void with_dma(struct auf_device_config *config)
{
	struct au_note *note = (struct au_note *)(uintptr_t)config->note;

	ops = fake_ops;
	ops.dma_map = dma_map;
	ops.dma_unmap = dma_unmap;
	fake.bus.ops = &ops;
	note->dma_bits = bits;
	note->dma_bytes = sizeof(arena);
	config->bus = &fake.bus;
	config->arena = arena;
	config->arena_size = sizeof(arena);
}

static int setup(void **state)
{
	fw_reset();
	fake_reset();
	mapped = 0;
	bits = 64;
	return 0;
}

static int map(uint64_t size, uint64_t *iova)
{
	return auf_dma_map(fw.dev, -1, arena, size, iova);
}

static void test_anywhere(void **state)
{
	uint64_t first, second, third;

	fw_up(with_dma);
	assert_int_equal(last_iova, MIB);
	assert_int_equal(map(65536, &first), 0);
	assert_int_equal(first, MIB + 65536);
	/* Up to the window of message interrupts, and behind it. */
	assert_int_equal(map(0xfee00000 - 4 * MIB, &second), 0);
	assert_int_equal(second, 2 * MIB);
	assert_int_equal(map(4 * MIB, &third), 0);
	assert_int_equal(third, 0xff000000);
	/* What was given back is used again. */
	auf_dma_unmap(fw.dev, first);
	assert_int_equal(map(4096, &first), 0);
	assert_int_equal(first, MIB + 65536);
	assert_int_equal(mapped, 4);
	fw_down();
}

static void test_ranges(void **state)
{
	static const struct au_bus_range ranges[] = { { 0, 0xfffff },
						      { 0x4010000, 0x4ffffff },
						      { 0x8000000, 0xfffffff },
						      { 0x100000000, UINT64_MAX } };
	uint64_t iova;

	bits = 28;
	memcpy(fake.bus.ranges, ranges, sizeof(ranges));
	fake.bus.range_count = 4;
	fw_up(with_dma);
	assert_int_equal(last_iova, 0x4010000);
	assert_int_equal(map(16 * MIB, &iova), 0);
	assert_int_equal(iova, 0x8000000);
	assert_int_equal(map(MIB, &iova), 0);
	assert_int_equal(iova, 0x4020000);
	/* All that is left below 28 bits, and not a page more. */
	assert_int_equal(map(112 * MIB + 4096, &iova), -AU_ENOSPC);
	assert_int_equal(map(112 * MIB, &iova), 0);
	assert_int_equal(iova, 0x9000000);
	assert_int_equal(map(32 * MIB, &iova), -AU_ENOSPC);
	assert_int_equal(map(UINT64_MAX, &iova), -AU_ENOSPC);
	assert_int_equal(map(0, &iova), -AU_ENOSPC);
	assert_int_equal(mapped, 4);
	fw_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_anywhere, setup),
		cmocka_unit_test_setup(test_ranges, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
