/* SPDX-License-Identifier: MIT */
/* The restart budget: what a driver that fails can afford. */
#include "manager/budget.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void budget_is_spent(void **state)
{
	static const uint32_t delays[] = { 0, 50, 100, 200, 400 };
	struct mgr_budget b;
	uint32_t delay;

	(void)state;
	mgr_budget_init(&b);
	for (unsigned int i = 0; i < 5; i++) {
		assert_true(mgr_budget_failure(&b, true, &delay));
		assert_int_equal(delay, delays[i]);
	}
	assert_false(mgr_budget_failure(&b, true, &delay));
	/* And stays so: only progress earns. */
	assert_false(mgr_budget_failure(&b, true, &delay));
}

static void completions_earn(void **state)
{
	struct mgr_budget b;
	uint32_t delay;

	(void)state;
	mgr_budget_init(&b);
	while (mgr_budget_failure(&b, true, &delay))
		;
	mgr_budget_service(&b, 999, 999);
	assert_int_equal(b.tokens, 0);
	mgr_budget_service(&b, 1, 1);
	assert_int_equal(b.tokens, 1);
	mgr_budget_service(&b, 2500, 2500);
	assert_int_equal(b.tokens, 3);
	/* What was over counts towards the next. */
	mgr_budget_service(&b, 500, 500);
	assert_int_equal(b.tokens, 4);
	mgr_budget_service(&b, UINT64_MAX, 1000);
	assert_int_equal(b.tokens, 5);
}

/* The count stands in the host's own memory. */
static void a_boast_earns_little(void **state)
{
	struct mgr_budget b;
	unsigned int afforded = 0;
	uint32_t delay;

	(void)state;
	mgr_budget_init(&b);
	do {
		mgr_budget_service(&b, UINT64_MAX, 100);
		afforded++;
	} while (mgr_budget_failure(&b, true, &delay) && afforded < 1000);
	assert_in_range(afforded, 5, 8);
}

static void service_earns(void **state)
{
	struct mgr_budget b;
	uint32_t delay;

	(void)state;
	mgr_budget_init(&b);
	assert_true(mgr_budget_failure(&b, true, &delay));
	assert_true(mgr_budget_failure(&b, true, &delay));
	mgr_budget_service(&b, 0, 9999);
	assert_int_equal(b.tokens, 3);
	mgr_budget_service(&b, 0, 1);
	assert_int_equal(b.tokens, 4);
	mgr_budget_service(&b, 0, UINT64_MAX);
	assert_int_equal(b.tokens, 5);
}

/* A full bucket does not store: eleven hours of service are worth five failures, not thousands. */
static void a_bucket_has_a_rim(void **state)
{
	struct mgr_budget b;
	uint32_t delay;
	int afforded = 0;

	(void)state;
	mgr_budget_init(&b);
	for (int i = 0; i < 4000; i++)
		mgr_budget_service(&b, 100000, 10000);
	while (mgr_budget_failure(&b, true, &delay))
		afforded++;
	assert_int_equal(afforded, 5);
}

static void progress_forgives_the_wait(void **state)
{
	struct mgr_budget b;
	uint32_t delay;

	(void)state;
	mgr_budget_init(&b);
	mgr_budget_failure(&b, true, &delay);
	mgr_budget_failure(&b, true, &delay);
	assert_int_equal(delay, 50);
	mgr_budget_service(&b, 1, 20);
	mgr_budget_failure(&b, true, &delay);
	assert_int_equal(delay, 0);
	/* Time alone is no progress, unless it is long. */
	mgr_budget_service(&b, 0, 200);
	mgr_budget_failure(&b, true, &delay);
	assert_int_equal(delay, 50);
	mgr_budget_service(&b, 0, 10000);
	mgr_budget_failure(&b, true, &delay);
	assert_int_equal(delay, 0);
}

/* Somebody else's doing: never quarantined for it, but not restarted in a tight loop either. */
static void outside_deaths_wait_and_are_free(void **state)
{
	struct mgr_budget b;
	uint32_t delay = 0;

	(void)state;
	mgr_budget_init(&b);
	for (int i = 0; i < 100; i++) {
		assert_true(mgr_budget_failure(&b, false, &delay));
		assert_true(delay <= 10000);
	}
	assert_int_equal(delay, 10000);
	assert_int_equal(b.tokens, 5);
	mgr_budget_service(&b, 1, 0);
	assert_true(mgr_budget_failure(&b, false, &delay));
	assert_int_equal(delay, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(budget_is_spent),
		cmocka_unit_test(completions_earn),
		cmocka_unit_test(a_boast_earns_little),
		cmocka_unit_test(service_earns),
		cmocka_unit_test(a_bucket_has_a_rim),
		cmocka_unit_test(progress_forgives_the_wait),
		cmocka_unit_test(outside_deaths_wait_and_are_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
