/* SPDX-License-Identifier: MIT */
#include "bus/guard.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUARD_SLOTS 128
#define GUARD_PAGE  4096u

/* @begin is 0 while the slot is free, and is what publishes the others. */
struct guard_slot {
	_Atomic uintptr_t begin;
	_Atomic uintptr_t end;
	_Atomic int notify;
};

static struct guard_slot guard_slots[GUARD_SLOTS];
static pthread_mutex_t guard_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction guard_before;
static bool guard_installed;

/* Whoever was there before. One that wants to be called once only gets its wish: it counts on the
 * access being repeated and the process dying of it. */
static void guard_chain(int sig, siginfo_t *info, void *context)
{
	const struct sigaction plain = { .sa_handler = SIG_DFL };
	bool ours = guard_before.sa_flags & SA_SIGINFO;

	if (!ours && (guard_before.sa_handler == SIG_DFL || guard_before.sa_handler == SIG_IGN)) {
		sigaction(sig, &plain, NULL);
		/* A fault is repeated; a signal that somebody sent is not. */
		if (info->si_code <= 0 && guard_before.sa_handler == SIG_DFL)
			raise(sig);
		return;
	}
	if (guard_before.sa_flags & (int)SA_RESETHAND)
		sigaction(sig, &plain, NULL);
	if (ours)
		guard_before.sa_sigaction(sig, info, context);
	else
		guard_before.sa_handler(sig);
}

static void guard_handler(int sig, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;
	const uint64_t one = 1;
	int saved = errno;

	for (unsigned int i = 0; info->si_code > 0 && i < GUARD_SLOTS; i++) {
		struct guard_slot *slot = &guard_slots[i];
		uintptr_t begin = atomic_load_explicit(&slot->begin, memory_order_acquire);
		ssize_t n;
		void *page;

		if (!begin || at < begin || at >= atomic_load(&slot->end))
			continue;
		page = mmap((void *)(at & ~(uintptr_t)(GUARD_PAGE - 1)), GUARD_PAGE,
			    PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (page == MAP_FAILED)
			break;
		memset(page, 0xff, GUARD_PAGE);
		n = write(atomic_load(&slot->notify), &one, sizeof(one));
		(void)n;
		errno = saved;
		return;
	}
	errno = saved;
	guard_chain(sig, info, context);
}

static int guard_install(void)
{
	struct sigaction action = { .sa_sigaction = guard_handler };

	if (guard_installed)
		return 0;
	/* Nothing is looked up in guard_before until this has succeeded. */
	if (sigaction(SIGBUS, NULL, &guard_before))
		return -errno;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK;
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGBUS, &action, NULL))
		return -errno;
	guard_installed = true;
	return 0;
}

int au_guard_add(volatile void *base, size_t size, int notify)
{
	int err;

	pthread_mutex_lock(&guard_lock);
	err = guard_install();
	for (unsigned int i = 0; !err && i < GUARD_SLOTS; i++) {
		struct guard_slot *slot = &guard_slots[i];

		if (atomic_load(&slot->begin))
			continue;
		atomic_store(&slot->end, (uintptr_t)base + size);
		atomic_store(&slot->notify, notify);
		atomic_store_explicit(&slot->begin, (uintptr_t)base, memory_order_release);
		pthread_mutex_unlock(&guard_lock);
		return 0;
	}
	pthread_mutex_unlock(&guard_lock);
	return err ? err : -ENOSPC;
}

void au_guard_remove(volatile void *base)
{
	pthread_mutex_lock(&guard_lock);
	for (unsigned int i = 0; i < GUARD_SLOTS; i++)
		if (atomic_load(&guard_slots[i].begin) == (uintptr_t)base)
			atomic_store(&guard_slots[i].begin, 0);
	pthread_mutex_unlock(&guard_lock);
}
