/* SPDX-License-Identifier: MIT */
/* The operating system: clock, memory and waiting, for real. */
#include "base/os.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

uint64_t au_os_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t au_os_thread_ns(void)
{
	struct timespec used;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

void au_os_sleep_ms(uint32_t ms)
{
	struct timespec left = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	while (nanosleep(&left, &left) != 0)
		;
}

void au_os_pause_us(uint32_t us)
{
	struct timespec left = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L };

	nanosleep(&left, NULL);
}

void *au_os_alloc(size_t size)
{
	return calloc(1, size);
}

void au_os_free(void *memory)
{
	free(memory);
}

unsigned int au_os_wait(int set, int timeout_ms, void **tokens)
{
	struct epoll_event events[AU_OS_EVENTS];
	int count = epoll_wait(set, events, AU_OS_EVENTS, timeout_ms);

	for (int i = 0; i < count; i++)
		tokens[i] = events[i].data.ptr;
	return count < 0 ? 0 : (unsigned int)count;
}
