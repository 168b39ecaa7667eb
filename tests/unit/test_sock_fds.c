/* SPDX-License-Identifier: MIT */
/* Descriptors over sockets: those that fit, those that do not, and none. */
#include "base/sock_fds.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

struct pair {
	int sock[2];
	int fds[AU_SOCK_FDS + 1];
};

static unsigned int refused;

static void refuse(int fd)
{
	refused++;
	close(fd);
}

static int setup(void **state)
{
	static struct pair pair;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.sock), 0);
	for (unsigned int i = 0; i <= AU_SOCK_FDS; i++)
		assert_true((pair.fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0);
	refused = 0;
	*state = &pair;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	close(p->sock[0]);
	close(p->sock[1]);
	for (unsigned int i = 0; i <= AU_SOCK_FDS; i++)
		close(p->fds[i]);
	return 0;
}

static unsigned int receive(struct pair *p, int *fds, unsigned int max)
{
	char text[8], space[CMSG_SPACE(AU_SOCK_FDS * sizeof(int))];
	struct iovec part = { text, sizeof(text) };
	struct msghdr msg = { .msg_iov = &part,
			      .msg_iovlen = 1,
			      .msg_control = space,
			      .msg_controllen = sizeof(space) };

	assert_int_equal(recvmsg(p->sock[1], &msg, MSG_CMSG_CLOEXEC), 5);
	assert_memory_equal(text, "hello", 5);
	return au_sock_take_fds(&msg, fds, max, refuse);
}

static ssize_t greet(struct pair *p, unsigned int count)
{
	const struct iovec parts[2] = { { (void *)(uintptr_t) "hel", 3 },
					{ (void *)(uintptr_t) "lo", 2 } };

	return au_sock_send(p->sock[0], parts, 2, p->fds, count, 0);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void test_all_that_fit_are_taken(void **state)
{
	int got[AU_SOCK_FDS];

	assert_int_equal(greet(*state, AU_SOCK_FDS), 5);
	assert_int_equal(receive(*state, got, AU_SOCK_FDS), AU_SOCK_FDS);
	assert_int_equal(refused, 0);
	for (unsigned int i = 0; i < AU_SOCK_FDS; i++) {
		assert_true(is_open(got[i]));
		close(got[i]);
	}
}

static void test_the_others_are_refused_and_counted(void **state)
{
	int got[3] = { -1, -1, -1 };

	assert_int_equal(greet(*state, 5), 5);
	assert_int_equal(receive(*state, got, 2), 5);
	assert_int_equal(refused, 3);
	assert_true(is_open(got[0]) && is_open(got[1]));
	assert_int_equal(got[2], -1);
	close(got[0]);
	close(got[1]);
}

static void test_none_are_none(void **state)
{
	int got = -1;

	assert_int_equal(greet(*state, 0), 5);
	assert_int_equal(receive(*state, &got, 1), 0);
	assert_int_equal(got, -1);
}

static void test_too_many_are_not_sent(void **state)
{
	assert_int_equal(greet(*state, AU_SOCK_FDS + 1), -EINVAL);
}

static void test_who_has_gone_raises_no_signal(void **state)
{
	struct pair *p = *state;

	shutdown(p->sock[1], SHUT_RDWR);
	assert_int_equal(greet(p, 1), -EPIPE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_that_fit_are_taken, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_others_are_refused_and_counted, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_none_are_none, setup, teardown),
		cmocka_unit_test_setup_teardown(test_too_many_are_not_sent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_has_gone_raises_no_signal, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
