/* SPDX-License-Identifier: MIT */
/* Buffers that an application takes over, on a disk in memory, in both inproc forms. */
#include "auriga/auriga.h"
#include "auriga/block.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define DEPTH 8u
#define SIZE  8192u

static const char *const targets[] = { "inproc:ram,size-mib=1", "inproc:ram,size-mib=1,poll=app" };

static struct au_handle *open_disk(const char *target)
{
	const struct au_open_options options = {
		.size = sizeof(options), .abi = AU_CLIENT_ABI, .depth = DEPTH, .buffer_size = SIZE
	};
	struct au_handle *h;

	if (au_open(target, &options, &h) != 0)
		fail_msg("%s", au_errmsg());
	return h;
}

static void move(struct au_handle *h, uint16_t op, uint16_t flags, uint64_t at, void *data)
{
	struct au_io io = { .op = op, .flags = flags, .length = SIZE, .arg = { at }, .data = data };

	assert_int_equal(au_wait(h, &io), 0);
	assert_int_equal(io.result, SIZE);
}

static void fill(uint8_t *at, uint8_t seed)
{
	for (unsigned int i = 0; i < SIZE; i++)
		at[i] = (uint8_t)(i * 13 + i / 256 + seed);
}

/* What is written from a buffer of one kind is read into one of the other. */
static void test_both_kinds(void **state)
{
	for (unsigned int t = 0; t < 2; t++) {
		struct au_handle *h = open_disk(targets[t]);
		uint8_t *other = malloc(SIZE), *own;
		size_t size;

		own = au_buffers(h, &size);
		assert_non_null(own);
		assert_true(size >= (DEPTH - 1) * SIZE);
		fill(own, 1);
		move(h, AU_BLOCK_WRITE, AU_BLOCK_FUA, SIZE, own);
		move(h, AU_BLOCK_READ, 0, SIZE, own + 2 * SIZE);
		assert_memory_equal(own, own + 2 * SIZE, SIZE);
		move(h, AU_BLOCK_READ, 0, SIZE, other);
		assert_memory_equal(own, other, SIZE);
		fill(other, 2);
		move(h, AU_BLOCK_WRITE, 0, 4 * SIZE, other);
		move(h, AU_BLOCK_READ, 0, 4 * SIZE, own + SIZE);
		assert_memory_equal(other, own + SIZE, SIZE);
		/* Neighbours are as they were. */
		assert_memory_equal(own, own + 2 * SIZE, SIZE);
		free(other);
		au_close(h);
	}
}

/* All buffers under way at once, again and again. */
static void test_all_at_once(void **state)
{
	for (unsigned int t = 0; t < 2; t++) {
		struct au_handle *h = open_disk(targets[t]);
		struct au_io io[DEPTH - 1];
		size_t size;
		uint8_t *own = au_buffers(h, &size);

		for (unsigned int round = 0; round < 50; round++) {
			uint16_t op = round % 2 ? AU_BLOCK_READ : AU_BLOCK_WRITE;
			int done = 0;

			for (unsigned int i = 0; i < DEPTH - 1; i++) {
				if (op == AU_BLOCK_WRITE)
					fill(own + i * SIZE, (uint8_t)(round + i));
				else
					memset(own + i * SIZE, 0, SIZE);
				io[i] = (struct au_io){ .op = op,
							.length = SIZE,
							.arg = { i * SIZE },
							.data = own + i * SIZE };
				assert_int_equal(au_submit(h, &io[i]), 0);
			}
			while (done < (int)DEPTH - 1)
				done += au_poll(h, 0, 1000);
			for (unsigned int i = 0; i < DEPTH - 1 && op == AU_BLOCK_READ; i++) {
				uint8_t wanted[SIZE];

				fill(wanted, (uint8_t)(round - 1 + i));
				assert_memory_equal(own + i * SIZE, wanted, SIZE);
			}
		}
		au_close(h);
	}
}

/* Of data that lie elsewhere one request at a time is copied. */
static void test_one_copy_at_a_time(void **state)
{
	struct au_handle *h = open_disk(targets[0]);
	static uint8_t other[2][SIZE];
	struct au_io io[2];
	size_t size;

	assert_non_null(au_buffers(h, &size));
	for (unsigned int i = 0; i < 2; i++)
		io[i] = (struct au_io){
			.op = AU_BLOCK_READ, .length = SIZE, .data = other[i], .arg = { i * SIZE }
		};
	assert_int_equal(au_submit(h, &io[0]), 0);
	assert_int_equal(au_submit(h, &io[1]), -EAGAIN);
	assert_int_equal(au_poll(h, 1, 1000), 1);
	assert_int_equal(au_submit(h, &io[1]), 0);
	assert_int_equal(au_poll(h, 1, 1000), 1);
	assert_int_equal(io[1].status, 0);
	/* A buffer of one's own that begins in between is copied too. */
	io[0].data = (uint8_t *)au_buffers(h, &size) + 8;
	assert_int_equal(au_wait(h, &io[0]), 0);
	au_close(h);
}

static void test_not_while_outstanding(void **state)
{
	struct au_handle *h = open_disk(targets[0]);
	struct au_io io = { .op = AU_BLOCK_FLUSH };
	size_t size = 1;

	assert_int_equal(au_submit(h, &io), 0);
	assert_null(au_buffers(h, &size));
	assert_int_equal(size, 0);
	assert_non_null(strstr(au_errmsg(), "outstanding"));
	assert_int_equal(au_poll(h, 1, 1000), 1);
	assert_non_null(au_buffers(h, &size));
	au_close(h);
}

/* One place is needed for what lies elsewhere: of one place alone there is nothing to give. */
static void test_depth_of_one(void **state)
{
	for (unsigned int t = 0; t < 2; t++) {
		const struct au_open_options options = { .size = sizeof(options),
							 .abi = AU_CLIENT_ABI,
							 .depth = 1 };
		struct au_block_info info = { .size = sizeof(info), .abi = 1 };
		struct au_handle *h;
		size_t size;

		assert_int_equal(au_open(targets[t], &options, &h), 0);
		assert_null(au_buffers(h, &size));
		assert_non_null(strstr(au_errmsg(), "depth"));
		assert_int_equal(au_block_info(h, &info), 0);
		au_close(h);
	}
}

/* Flags are the class': others are refused with a line. */
static void test_flags(void **state)
{
	for (unsigned int t = 0; t < 2; t++) {
		struct au_handle *h = open_disk(targets[t]);
		struct au_io io = { .op = AU_BLOCK_FLUSH, .flags = 0x200 };

		assert_int_equal(au_submit(h, &io), -EINVAL);
		assert_non_null(strstr(au_errmsg(), "0x200"));
		io.flags = 1; /* what the library itself says to hosts */
		assert_int_equal(au_submit(h, &io), -EINVAL);
		au_close(h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_both_kinds),
		cmocka_unit_test(test_all_at_once),
		cmocka_unit_test(test_one_copy_at_a_time),
		cmocka_unit_test(test_not_while_outstanding),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_depth_of_one),
	};

	char path[512];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 16);

	if (n < 0)
		return 1;
	path[n] = 0;
	strcpy(strrchr(path, '/'), "/../drivers");
	setenv("AURIGA_DRIVER_PATH", path, 1);
	alarm(50);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
