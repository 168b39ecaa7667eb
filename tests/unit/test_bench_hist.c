/* SPDX-License-Identifier: MIT */
/* The histogram of `auriga bench block`, and sizes as people write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdlib.h>

#include "cli/bench_hist.h"
#include "cli/size.h"

/* Each value lies in its bucket, which is at most 1/32 of it wide; buckets are in order. */
static void test_buckets(void **state)
{
	for (unsigned int shift = 0; shift < 64; shift++) {
		for (uint64_t off = 0; off < 3; off++) {
			uint64_t value =
				(UINT64_C(1) << shift) + off * ((UINT64_C(1) << shift) / 3);
			unsigned int bucket = bench_hist_bucket(value);

			assert_true(bucket < HIST_BUCKETS);
			assert_true(bench_hist_value(bucket) <= value);
			assert_true(value - bench_hist_value(bucket) <= value / HIST_SUB);
			assert_int_equal(bench_hist_bucket(bench_hist_value(bucket)), bucket);
		}
	}
	assert_true(bench_hist_bucket(UINT64_MAX) == HIST_BUCKETS - 1);
}

static void test_quantiles(void **state)
{
	struct bench_hist *hist = calloc(1, sizeof(*hist)), *all = calloc(1, sizeof(*all));

	assert_non_null(hist);
	assert_non_null(all);
	for (uint64_t i = 1; i <= 10000; i++)
		bench_hist_add(hist, i);
	bench_hist_merge(all, hist);
	assert_in_range(bench_hist_quantile(all, 0.5), 4800, 5100);
	assert_in_range(bench_hist_quantile(all, 0.99), 9500, 10000);
	assert_int_equal(all->max, 10000);
	bench_hist_add(all, 1000000);
	assert_int_equal(bench_hist_quantile(all, 1.0), 1000000);
	free(hist);
	free(all);
}

static void test_sizes(void **state)
{
	static const char *const wrong[] = {
		"", "x", "4x", "4kb", "-1", "4 k", "99999999999999999999", "16777216t"
	};
	uint64_t value;

	assert_true(cli_size("4k", &value) && value == 4096);
	assert_true(cli_size("0", &value) && value == 0);
	assert_true(cli_size("3M", &value) && value == 3u << 20);
	assert_true(cli_size("2t", &value) && value == UINT64_C(2) << 40);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_false(cli_size(wrong[i], &value));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_quantiles),
		cmocka_unit_test(test_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
