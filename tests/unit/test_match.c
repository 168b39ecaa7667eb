/* SPDX-License-Identifier: MIT */
/* Matching: ranked, and explained. */
#include "manager/drivers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DRIVERS 8

static struct mgr_driver drivers[DRIVERS];
static unsigned int driver_count;

static struct mgr_driver *add(const char *name, const char *version)
{
	struct mgr_driver *d = &drivers[driver_count++];

	memset(d, 0, sizeof(*d));
	snprintf(d->name, sizeof(d->name), "%s", name);
	snprintf(d->note.name, sizeof(d->note.name), "%s", name);
	snprintf(d->note.version, sizeof(d->note.version), "%s", version);
	return d;
}

static void add_pci(struct mgr_driver *d, uint16_t vendor, uint16_t device)
{
	d->note.match[d->note.match_count++] = (struct au_note_match){ .kind = AU_MATCH_KIND_PCI,
								       .vendor = vendor,
								       .device = device };
}

static void add_class(struct mgr_driver *d, uint32_t code)
{
	d->note.match[d->note.match_count++] =
		(struct au_note_match){ .kind = AU_MATCH_KIND_PCI_CLASS, .class_code = code };
}

static int match(uint16_t vendor, uint16_t device, uint32_t code, struct mgr_candidate **c)
{
	struct mgr_drivers all = { .list = drivers, .count = driver_count };
	struct mgr_ids ids = { .vendor = vendor, .device = device, .class_code = code };

	return mgr_match(&all, &ids, c);
}

static int start(void **state)
{
	(void)state;
	driver_count = 0;
	return 0;
}

static void exact_beats_class(void **state)
{
	struct mgr_candidate *c;
	struct mgr_driver *d;

	(void)state;
	add_class(add("generic", "9.0"), 0x070002);
	d = add("exact", "0.1");
	add_pci(d, 0x1b36, 0x0001);
	add_pci(d, 0x1b36, 0x0002);
	add_pci(add("other", "9.9"), 0x8086, 0x0002);
	assert_int_equal(match(0x1b36, 0x0002, 0x070002, &c), 2);
	assert_string_equal(c[0].driver->name, "exact");
	assert_int_equal(c[0].rank, MGR_RANK_EXACT);
	assert_non_null(strstr(c[0].reason, "1b36:0002"));
	assert_string_equal(c[1].driver->name, "generic");
	assert_int_equal(c[1].rank, MGR_RANK_CLASS);
	/* Who does not fit is there too, with what it is for. */
	assert_string_equal(c[2].driver->name, "other");
	assert_int_equal(c[2].rank, MGR_RANK_NONE);
	assert_non_null(strstr(c[2].reason, "8086:0002"));
	free(c);
}

static void exact_beats_class_of_the_same_driver(void **state)
{
	struct mgr_candidate *c;
	struct mgr_driver *d = add("both", "1.0");

	(void)state;
	add_class(d, 0x070002);
	add_pci(d, 1, 2);
	assert_int_equal(match(1, 2, 0x070002, &c), 1);
	assert_int_equal(c[0].rank, MGR_RANK_EXACT);
	free(c);
}

static void ties_go_to_the_version_then_the_name(void **state)
{
	struct mgr_candidate *c;

	(void)state;
	add_pci(add("b", "1.9"), 1, 2);
	add_pci(add("c", "1.10"), 1, 2);
	add_pci(add("a", "1.9"), 1, 2);
	assert_int_equal(match(1, 2, 0, &c), 3);
	assert_string_equal(c[0].driver->name, "c");
	assert_string_equal(c[1].driver->name, "a");
	assert_string_equal(c[2].driver->name, "b");
	free(c);
}

static void a_signature_comes_before_the_version(void **state)
{
	struct mgr_candidate *c;
	struct mgr_driver *d;

	(void)state;
	add_pci(add("new", "3.0"), 1, 2);
	d = add("wrong", "4.0");
	add_pci(d, 1, 2);
	d->signer.state = MGR_SIGNED_WRONG;
	d = add("signed", "2.0");
	add_pci(d, 1, 2);
	d->signer.state = MGR_SIGNED_GOOD;
	d = add("generic", "9.0");
	add_class(d, 0x070002);
	d->signer.state = MGR_SIGNED_GOOD;
	assert_int_equal(match(1, 2, 0x070002, &c), 4);
	assert_string_equal(c[0].driver->name, "signed");
	assert_string_equal(c[1].driver->name, "wrong");
	assert_string_equal(c[2].driver->name, "new");
	assert_string_equal(c[3].driver->name, "generic"); /* how well it fits comes first */
	free(c);
}

static void of_one_name_the_store_comes_first(void **state)
{
	struct mgr_driver *a = add("same", "1.0"), *b = add("same", "1.0");

	(void)state;
	assert_int_equal(mgr_drivers_better(a, b), 0);
	b->stored = true;
	assert_true(mgr_drivers_better(a, b) > 0 && mgr_drivers_better(b, a) < 0);
	snprintf(a->note.version, sizeof(a->note.version), "1.1");
	assert_true(mgr_drivers_better(a, b) < 0);
	snprintf(a->error, sizeof(a->error), "of another ABI");
	assert_true(mgr_drivers_better(a, b) > 0);
}

static void a_broken_driver_never_fits(void **state)
{
	struct mgr_candidate *c;
	struct mgr_driver *d = add("broken", "5.0");

	(void)state;
	add_pci(d, 1, 2);
	snprintf(d->error, sizeof(d->error), "of another ABI");
	assert_int_equal(match(1, 2, 0, &c), 0);
	assert_int_equal(c[0].rank, MGR_RANK_NONE);
	assert_non_null(strstr(c[0].reason, "another ABI"));
	free(c);
}

static void virtual_devices_match_nothing(void **state)
{
	struct mgr_drivers all = { .list = drivers, .count = 1 };
	struct mgr_ids ids = { .virtual_device = true };
	struct mgr_driver *d = add("v", "1.0");
	struct mgr_candidate *c;

	(void)state;
	d->note.match[d->note.match_count++].kind = AU_MATCH_KIND_VIRTUAL;
	add_pci(d, 0, 0);
	assert_int_equal(mgr_match(&all, &ids, &c), 0);
	assert_non_null(strstr(c[0].reason, "named"));
	free(c);
}

static void versions_are_numbers(void **state)
{
	(void)state;
	assert_true(mgr_version_compare("1.10", "1.9") > 0);
	assert_true(mgr_version_compare("2.0", "10.0") < 0);
	assert_int_equal(mgr_version_compare("1.2", "1.2"), 0);
	assert_true(mgr_version_compare("1.2.1", "1.2") > 0);
	assert_int_equal(mgr_version_compare("", ""), 0);
	/* Nonsense compares too, and comes to an end. */
	mgr_version_compare("x.y", "1..2.");
	mgr_version_compare("....", "-1.-2");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(exact_beats_class, start),
		cmocka_unit_test_setup(exact_beats_class_of_the_same_driver, start),
		cmocka_unit_test_setup(ties_go_to_the_version_then_the_name, start),
		cmocka_unit_test_setup(a_signature_comes_before_the_version, start),
		cmocka_unit_test_setup(of_one_name_the_store_comes_first, start),
		cmocka_unit_test_setup(a_broken_driver_never_fits, start),
		cmocka_unit_test_setup(virtual_devices_match_nothing, start),
		cmocka_unit_test_setup(versions_are_numbers, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
