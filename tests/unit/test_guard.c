/* SPDX-License-Identifier: MIT */
/* Mapped registers that go away under an access; here it is a file that shrinks. */
#include "bus/guard.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE 4096

static sigjmp_buf earlier;
static volatile sig_atomic_t earlier_calls;

static void earlier_handler(int sig, siginfo_t *info, void *context)
{
	earlier_calls++;
	siglongjmp(earlier, 1);
}

static volatile uint32_t *window(unsigned int pages, int *fd)
{
	void *at;

	*fd = memfd_create("bar", 0);
	assert_int_equal(ftruncate(*fd, PAGE * pages), 0);
	at = mmap(NULL, PAGE * pages, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	return at;
}

static void in_place(void)
{
	int fd, event = eventfd(0, EFD_NONBLOCK);
	volatile uint32_t *bar = window(3, &fd);
	uint64_t count;

	assert_int_equal(au_guard_add(bar, 3 * PAGE, event), 0);
	bar[0] = 0x12345678;
	bar[2 * PAGE / 4] = 7;
	assert_int_equal(read(event, &count, 8), -1);
	assert_int_equal(ftruncate(fd, PAGE), 0);
	/* What is left is left, the rest reads all-ones; a write vanishes. */
	assert_int_equal(bar[0], 0x12345678);
	assert_int_equal(bar[PAGE / 4 + 5], 0xffffffff);
	assert_int_equal(((volatile uint64_t *)bar)[2 * PAGE / 8], UINT64_MAX);
	assert_int_equal(read(event, &count, 8), 8);
	assert_int_equal(count, 2); /* a page each */
	assert_int_equal(ftruncate(fd, 0), 0);
	bar[0] = 5;
	assert_int_equal(read(event, &count, 8), 8);
	assert_int_equal(bar[1], 0xffffffff);
	au_guard_remove(bar);
	munmap((void *)bar, 3 * PAGE);
	close(event);
	close(fd);
}

/* Another's SIGBUS goes to the handler that was there before. */
static void chain(void)
{
	int fd, event = eventfd(0, EFD_NONBLOCK);
	volatile uint32_t *ours = window(1, &fd), *other;
	int other_fd;
	uint64_t count;

	other = window(1, &other_fd);
	assert_int_equal(au_guard_add(ours, PAGE, event), 0);
	assert_int_equal(ftruncate(other_fd, 0), 0);
	earlier_calls = 0;
	if (sigsetjmp(earlier, 1) == 0)
		fail_msg("it reads %x", other[0]);
	assert_int_equal(earlier_calls, 1);
	/* And so does one that is not guarded any more. */
	au_guard_remove(ours);
	assert_int_equal(ftruncate(fd, 0), 0);
	if (sigsetjmp(earlier, 1) == 0)
		fail_msg("it reads %x", ours[0]);
	assert_int_equal(earlier_calls, 2);
	assert_int_equal(read(event, &count, 8), -1);
	munmap((void *)ours, PAGE);
	munmap((void *)other, PAGE);
	close(event);
	close(fd);
	close(other_fd);
}

/* Without one before, the process dies of it as it would have: it does not hang. */
static void test_death(void **state)
{
	int status, fd;
	volatile uint32_t *other;
	pid_t pid = fork();

	if (pid == 0) {
		const struct sigaction plain = { .sa_handler = SIG_DFL };
		int event = eventfd(0, 0), ours_fd;
		volatile uint32_t *ours = window(1, &ours_fd);

		sigaction(SIGBUS, &plain, NULL);
		if (au_guard_add(ours, PAGE, event))
			_exit(1);
		other = window(1, &fd);
		if (ftruncate(fd, 0))
			_exit(2);
		alarm(10);
		_exit((int)(other[0] & 1) + 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

static void test_full(void **state)
{
	static char space[200][16];
	unsigned int fit = 0;

	while (fit < 200 && au_guard_add(space[fit], 16, -1) == 0)
		fit++;
	assert_in_range(fit, 64, 199);
	assert_int_equal(au_guard_add(space[199], 16, -1), -28);
	for (unsigned int i = 0; i < fit; i++)
		au_guard_remove(space[i]);
	assert_int_equal(au_guard_add(space[0], 16, -1), 0);
	au_guard_remove(space[0]);
}

/* In one: cmocka puts up handlers of its own before each. */
static void test_guard(void **state)
{
	struct sigaction action = { .sa_sigaction = earlier_handler, .sa_flags = SA_SIGINFO };

	sigaction(SIGBUS, &action, NULL);
	in_place();
	chain();
}

int main(void)
{
	/* The first is a child's: this process installs the guard only afterwards. */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_death),
		cmocka_unit_test(test_guard),
		cmocka_unit_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
