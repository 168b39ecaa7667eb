/* SPDX-License-Identifier: MIT */
/* The operating system: threads, wake-ups, sets of descriptors. Shared by both implementations. */
#include "base/os.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

struct au_os_thread {
	pthread_t id;
	char name[16];
	void (*fn)(void *arg);
	void *arg;
};

static void *os_thread_main(void *arg)
{
	struct au_os_thread *thread = arg;

	pthread_setname_np(pthread_self(), thread->name);
	thread->fn(thread->arg);
	return NULL;
}

/* A program's signals are for its own threads, which may wait for them in their own way; only what
 * a thread brings upon itself is its own. */
static int os_thread_create(struct au_os_thread *t)
{
	static const int own[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS };
	sigset_t others, before;
	int err;

	sigfillset(&others);
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		sigdelset(&others, own[i]);
	pthread_sigmask(SIG_BLOCK, &others, &before);
	err = pthread_create(&t->id, NULL, os_thread_main, t);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

int au_os_thread_start(struct au_os_thread **thread, const char *name, void (*fn)(void *arg),
		       void *arg)
{
	struct au_os_thread *t = au_os_alloc(sizeof(*t));
	int err;

	if (!t)
		return -ENOMEM;
	t->fn = fn;
	t->arg = arg;
	snprintf(t->name, sizeof(t->name), "%s", name);
	err = os_thread_create(t);
	if (err) {
		au_os_free(t);
		return -err;
	}
	*thread = t;
	return 0;
}

void au_os_thread_join(struct au_os_thread *thread)
{
	pthread_join(thread->id, NULL);
	au_os_free(thread);
}

uintptr_t au_os_thread_self(void)
{
	return (uintptr_t)pthread_self();
}

uint64_t au_os_preemptions(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) == 0 ? (uint64_t)usage.ru_nivcsw : 0;
}

unsigned int au_os_processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) == 0 ? (unsigned int)CPU_COUNT(&set) : 1;
}

void au_os_word_wait(_Atomic uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

void au_os_word_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void au_os_close(int fd)
{
	if (fd >= 0)
		close(fd);
}

int au_os_wake_create(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

void au_os_wake(int fd)
{
	const uint64_t one = 1;

	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

uint64_t au_os_wake_clear(int fd)
{
	uint64_t count = 0;

	if (read(fd, &count, sizeof(count)) != (ssize_t)sizeof(count))
		return 0;
	return count;
}

int au_os_wait_create(void)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int au_os_wait_add(int set, int fd, void *token)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP, .data.ptr = token };

	return epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) != 0 ? -errno : 0;
}

void au_os_wait_remove(int set, int fd)
{
	epoll_ctl(set, EPOLL_CTL_DEL, fd, NULL);
}

int au_os_timer_create(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

void au_os_timer_set(int fd, int timeout_ms)
{
	struct itimerspec when = { 0 };

	if (timeout_ms >= 0) {
		when.it_value.tv_sec = timeout_ms / 1000;
		/* 0 would mean never */
		when.it_value.tv_nsec = timeout_ms % 1000 * 1000000L + (timeout_ms == 0);
	}
	timerfd_settime(fd, 0, &when, NULL);
}
