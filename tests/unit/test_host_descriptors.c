/* SPDX-License-Identifier: MIT */
/* The descriptors layer: what is not kept is closed, wherever it is. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/sandbox/sandbox.h"

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* In a child, since everything else is closed. Returns its exit status: 0 is good. */
static int in_child(const int *keep, unsigned int count)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		struct au_sandbox sb = { .keep_count = count };

		for (int fd = 3; fd < 40; fd++)
			dup2(0, fd);
		dup2(0, 900);
		memcpy(sb.keep, keep, count * sizeof(*keep));
		if (au_sandbox_descriptors(&sb) != 0)
			_exit(2);
		for (int fd = 3; fd < 1024; fd++) {
			bool kept = false;

			for (unsigned int i = 0; i < count; i++)
				kept |= keep[i] == fd;
			if (is_open(fd) != kept)
				_exit(3);
		}
		_exit(is_open(0) && is_open(1) && is_open(2) ? 0 : 4);
	}
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

static void test_gaps(void **state)
{
	static const int keep[] = { 20, 3, 21, 900, 5, 39, 5 };

	assert_int_equal(in_child(keep, 7), 0);
	assert_int_equal(in_child(keep, 1), 0);
	assert_int_equal(in_child(keep, 0), 0);
}

static void test_switched_off(void **state)
{
	struct au_sandbox sb = { .without = 1u << AU_LAYER_DESCRIPTORS };
	int fd = dup(0);

	assert_int_equal(au_sandbox_descriptors(&sb), 0);
	assert_true(is_open(fd));
	assert_false(sb.layers[AU_LAYER_DESCRIPTORS].in_force);
	assert_string_equal(sb.layers[AU_LAYER_DESCRIPTORS].detail, "switched off");
	close(fd);
}

/* Names and numbers of layers belong together. */
static void test_layer_names(void **state)
{
	for (unsigned int i = 0; i < AU_LAYER_COUNT; i++)
		assert_int_equal(au_layer_find(au_layer_name(i)), i);
	assert_null(au_layer_name(AU_LAYER_COUNT));
	assert_int_equal(au_layer_find("moat"), -1);
	assert_int_equal(au_layer_find(""), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gaps),
		cmocka_unit_test(test_switched_off),
		cmocka_unit_test(test_layer_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
