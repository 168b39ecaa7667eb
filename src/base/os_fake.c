/* SPDX-License-Identifier: MIT */
/* The operating system for tests: time passes only when told, or when a wait would have slept. */
#include "base/os.h"

#include <stdlib.h>
#include <sys/epoll.h>

/* Not 0, so that a time that was never set shows. */
static _Atomic uint64_t fake_now_ns = 1000000000u;
static _Atomic uint64_t fake_slept_ns;
static _Atomic unsigned int fake_fail;
static _Atomic unsigned int fake_allocated;

uint64_t au_os_now_ns(void)
{
	return fake_now_ns;
}

/* One tick is one nanosecond, but reading it takes one too, so that no loop waits for ever. */
uint64_t au_os_ticks(void)
{
	return ++fake_now_ns;
}

/* What was not slept was worked. */
uint64_t au_os_thread_ns(void)
{
	return fake_now_ns - fake_slept_ns;
}

void au_os_sleep_ms(uint32_t ms)
{
	fake_slept_ns += ms * 1000000ull;
	au_fake_advance_ms(ms);
}

void au_os_pause_us(uint32_t us)
{
}

void *au_os_alloc(size_t size)
{
	void *memory;

	if (fake_fail && --fake_fail == 0)
		return NULL;
	memory = calloc(1, size);
	fake_allocated += memory != NULL;
	return memory;
}

void au_os_free(void *memory)
{
	fake_allocated -= memory != NULL;
	free(memory);
}

unsigned int au_os_wait(int set, int timeout_ms, void **tokens)
{
	struct epoll_event events[AU_OS_EVENTS];
	int count = epoll_wait(set, events, AU_OS_EVENTS, timeout_ms < 0 ? -1 : 0);

	if (count <= 0 && timeout_ms > 0)
		au_os_sleep_ms((uint32_t)timeout_ms);
	for (int i = 0; i < count; i++)
		tokens[i] = events[i].data.ptr;
	return count < 0 ? 0 : (unsigned int)count;
}

void au_fake_advance_ms(uint64_t ms)
{
	fake_now_ns += ms * 1000000u;
}

void au_fake_advance_us(uint64_t us)
{
	fake_now_ns += us * 1000u;
}

void au_fake_alloc_fail(unsigned int nth)
{
	fake_fail = nth;
}

unsigned int au_fake_allocated(void)
{
	return fake_allocated;
}
