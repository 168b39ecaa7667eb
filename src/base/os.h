/* SPDX-License-Identifier: MIT */
/**
 * DOC: The operating system, as the framework needs it
 *
 * Two implementations: os_posix.c, and os_fake.c for tests, where time advances only when told, or
 * by as much as a wait would have slept (compile with AU_OS_FAKE).
 */
#ifndef AU_BASE_OS_H
#define AU_BASE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------- time */

/** au_os_now_ns - monotonic time. */
uint64_t au_os_now_ns(void);

/** au_os_ticks - a counter that costs next to nothing to read, of unknown, constant frequency.
 * Good for saying when it is time to read the clock, and for nothing else. */
#if defined(AU_OS_FAKE)
uint64_t au_os_ticks(void);
#elif defined(__x86_64__)
static inline uint64_t au_os_ticks(void)
{
	return __builtin_ia32_rdtsc();
}
#elif defined(__aarch64__)
static inline uint64_t au_os_ticks(void)
{
	uint64_t ticks;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
}
#else
#define au_os_ticks() au_os_now_ns()
#endif

/** au_os_thread_ns - processor time that this thread has had. */
uint64_t au_os_thread_ns(void);

/** au_os_sleep_ms - sleep. */
void au_os_sleep_ms(uint32_t ms);

/** au_os_pause_us - let others run for about so long. */
void au_os_pause_us(uint32_t us);

/** au_os_relax - in a loop that waits for another processor. */
static inline void au_os_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* ----------------------------------------------------------------- memory */

/** au_os_alloc - zeroed memory, or NULL. */
void *au_os_alloc(size_t size);
/** au_os_free - give it back; NULL is fine. */
void au_os_free(void *memory);

/* ---------------------------------------------------------------- threads */

struct au_os_thread;

/**
 * au_os_thread_start - start a thread; @name is seen in ps and gdb, 15 characters. Signals that are
 * sent to the process are for its other threads.
 */
int au_os_thread_start(struct au_os_thread **thread, const char *name, void (*fn)(void *arg),
		       void *arg);
/** au_os_thread_join - wait for its end, and free it. */
void au_os_thread_join(struct au_os_thread *thread);
/** au_os_thread_self - a number that no other living thread of the process has; never 0. */
uintptr_t au_os_thread_self(void);
/** au_os_preemptions - how often this thread was made to give way so far. */
uint64_t au_os_preemptions(void);
/** au_os_processors - how many this thread may run on. */
unsigned int au_os_processors(void);

/** au_os_word_wait - sleep while *@word is @value; may return early. */
void au_os_word_wait(_Atomic uint32_t *word, uint32_t value);
/** au_os_word_wake - wake one that sleeps on @word, which need not exist any more. */
void au_os_word_wake(_Atomic uint32_t *word);

/* ---------------------------------------------------- waiting, and wake-ups */

#define AU_OS_EVENTS 32

/** au_os_close - close one of the descriptors below; harmless for -1. */
void au_os_close(int fd);

/** au_os_wake_create - a descriptor that au_os_wake() makes readable until au_os_wake_clear(). */
int au_os_wake_create(void);
/** au_os_wake - any thread. */
void au_os_wake(int fd);
/** au_os_wake_clear - how often it was woken since the last time. */
uint64_t au_os_wake_clear(int fd);

/** au_os_wait_create - a set of descriptors to wait for; itself one that can be waited for. */
int au_os_wait_create(void);
/** au_os_wait_add - watch @fd for something to read or a hang-up; @token is never NULL. */
int au_os_wait_add(int set, int fd, void *token);
/** au_os_wait_remove - undo it. */
void au_os_wait_remove(int set, int fd);
/**
 * au_os_wait - wait until something is ready.
 * @timeout_ms: 0: only look; -1: for ever.
 * @tokens: AU_OS_EVENTS of them.
 * Return: how many are ready; 0 when the time is up.
 */
unsigned int au_os_wait(int set, int timeout_ms, void **tokens);

/** au_os_timer_create - a descriptor that becomes readable at a time. */
int au_os_timer_create(void);
/** au_os_timer_set - in @timeout_ms from now; -1: never. */
void au_os_timer_set(int fd, int timeout_ms);

#if defined(AU_OS_FAKE)
/** au_fake_advance_ms - let time pass. */
void au_fake_advance_ms(uint64_t ms);
/** au_fake_advance_us - the same, more finely. */
void au_fake_advance_us(uint64_t us);
/** au_fake_alloc_fail - the @nth allocation from now fails; 0: none does. */
void au_fake_alloc_fail(unsigned int nth);
/** au_fake_allocated - allocations that were not freed. */
unsigned int au_fake_allocated(void);
#endif

#endif
