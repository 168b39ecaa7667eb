/* SPDX-License-Identifier: MIT */
/* PCI's configuration space, on a bus that is an array. */
#include "bus/bus.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct array_bus {
	struct au_bus bus;
	uint8_t config[256];
	unsigned int reads, writes;
};

static int array_read(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		      uint64_t *value)
{
	struct array_bus *array = (struct array_bus *)bus;

	assert_int_equal(region, AU_BUS_REGION_CONFIG);
	assert_true(offset + width <= sizeof(array->config));
	array->reads++;
	*value = width < 8 ? (1ull << (8 * width)) - 1 : ~0ull;
	if (bus->gone)
		return -ENODEV;
	*value = 0;
	memcpy(value, array->config + offset, width);
	return 0;
}

static int array_write(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		       uint64_t value, bool posted)
{
	struct array_bus *array = (struct array_bus *)bus;

	assert_int_equal(region, AU_BUS_REGION_CONFIG);
	assert_false(posted);
	array->writes++;
	memcpy(array->config + offset, &value, width);
	return 0;
}

static const struct au_bus_ops array_ops = { .read = array_read, .write = array_write };

static void setup(struct array_bus *array)
{
	static const uint8_t head[] = { 0x36, 0x1b, 2, 0, 0x40, 1, 0, 0, 1, 2, 0, 7 };

	memset(array, 0, sizeof(*array));
	array->bus.ops = &array_ops;
	memcpy(array->config, head, sizeof(head));
	array->config[0x34] = 0x40;
}

static void cap(struct array_bus *array, uint8_t at, uint8_t id, uint8_t next)
{
	array->config[at] = id;
	array->config[at + 1] = next;
}

static void test_ids(void **state)
{
	struct array_bus array;
	uint32_t ids, code;

	setup(&array);
	assert_int_equal(au_pci_ids(&array.bus, &ids, &code), 0);
	assert_int_equal(ids, 0x1b360002);
	assert_int_equal(code, 0x070002);
	array.bus.gone = true;
	assert_int_equal(au_pci_ids(&array.bus, &ids, &code), -ENODEV);
	assert_int_equal(ids, 0xffffffff);
}

static void command(struct array_bus *array, bool decode, bool master, bool intx, uint16_t want)
{
	uint16_t got;

	assert_int_equal(au_pci_enable(&array->bus, decode, master, intx), 0);
	memcpy(&got, array->config + 4, 2);
	assert_int_equal(got, want);
}

static void test_enable(void **state)
{
	struct array_bus array;

	setup(&array); /* SERR and parity are on */
	command(&array, true, false, true, 0x0143);
	assert_int_equal(array.writes, 1);
	command(&array, true, false, true, 0x0143);
	assert_int_equal(array.writes, 1);
	command(&array, true, true, true, 0x0147);
	command(&array, true, true, false, 0x0547);
	assert_int_equal(au_pci_quiet(&array.bus), 0);
	assert_int_equal(array.config[4], 0x43);
	assert_int_equal(array.config[5], 0x05);
	command(&array, false, false, false, 0x0540);
	command(&array, false, false, true, 0x0140);
	array.bus.gone = true;
	array.writes = 0;
	assert_int_equal(au_pci_enable(&array.bus, true, true, true), -ENODEV);
	assert_int_equal(array.writes, 0);
}

static void test_capability(void **state)
{
	struct array_bus array;

	setup(&array);
	cap(&array, 0x40, 0x01, 0x50);
	cap(&array, 0x50, 0x05, 0x63); /* the two low bits are reserved */
	cap(&array, 0x60, 0x11, 0x00);
	assert_int_equal(au_pci_capability(&array.bus, 0x01), 0);
	array.config[6] = 0x10;
	assert_int_equal(au_pci_capability(&array.bus, 0x01), 0x40);
	assert_int_equal(au_pci_capability(&array.bus, 0x05), 0x50);
	assert_int_equal(au_pci_capability(&array.bus, 0x11), 0x60);
	assert_int_equal(au_pci_capability(&array.bus, 0x10), 0);
}

static void test_capability_hostile(void **state)
{
	struct array_bus array;

	setup(&array);
	array.config[6] = 0x10;
	cap(&array, 0x40, 0x01, 0x50);
	cap(&array, 0x50, 0x05, 0x40); /* a loop */
	assert_int_equal(au_pci_capability(&array.bus, 0x11), 0);
	assert_true(array.reads < 60);
	cap(&array, 0x50, 0x05, 0x50); /* a loop of one */
	assert_int_equal(au_pci_capability(&array.bus, 0x11), 0);
	cap(&array, 0x50, 0x05, 0x10); /* into the header */
	array.config[0x10] = 0x11;
	assert_int_equal(au_pci_capability(&array.bus, 0x11), 0);
	cap(&array, 0x50, 0x05, 0xfc); /* to the very end */
	cap(&array, 0xfc, 0x11, 0xff);
	assert_int_equal(au_pci_capability(&array.bus, 0x11), 0xfc);
	assert_int_equal(au_pci_capability(&array.bus, 0x12), 0);
	cap(&array, 0x50, 0xff, 0xff); /* nobody there */
	assert_int_equal(au_pci_capability(&array.bus, 0xff), 0);
	array.config[0x34] = 0xff;
	assert_int_equal(au_pci_capability(&array.bus, 0x11), 0xfc);
	array.reads = 0;
	array.bus.gone = true;
	assert_int_equal(au_pci_capability(&array.bus, 0x11), 0);
	assert_true(array.reads <= 2);
}

static void test_bars(void **state)
{
	struct array_bus array;

	setup(&array);
	for (unsigned int i = 0; i < AU_BUS_BARS; i++)
		array.bus.regions[i].size = i == 2 ? 0 : 8;
	array.config[0x10] = 0x01;
	array.config[0x14] = 0x0c;
	array.config[0x18] = 0x01; /* no such region */
	memset(array.config + 0x1c, 0xff, 4);
	array.config[0x24] = 0x01;
	au_pci_bars(&array.bus);
	assert_true(array.bus.regions[0].io);
	assert_false(array.bus.regions[1].io);
	assert_false(array.bus.regions[2].io);
	assert_false(array.bus.regions[3].io);
	assert_true(array.bus.regions[5].io);
	setup(&array); /* a bridge has two */
	array.bus.regions[5].size = 8;
	array.config[0x0e] = 0x81;
	array.config[0x24] = 0x01;
	au_pci_bars(&array.bus);
	assert_false(array.bus.regions[5].io);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ids),	   cmocka_unit_test(test_enable),
		cmocka_unit_test(test_capability), cmocka_unit_test(test_capability_hostile),
		cmocka_unit_test(test_bars),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
