/* SPDX-License-Identifier: MIT */
/* Fault injection: what is drawn, which allocations fail, and when the device goes. */
#include "framework/inject.h"

#include "base/log.h"
#include "base/stack.h"

#include <errno.h>
#include <stdio.h>

/* ---------------------------------------------------------------- drawing */

/* splitmix64 */
static uint64_t inject_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

uint64_t auf_inject_draw(struct auf_inject *inject, enum au_injection what, uint64_t below)
{
	uint64_t n = atomic_fetch_add_explicit(&inject->drawn[what], 1, memory_order_relaxed);

	return inject_mix(inject_mix(inject->want.seed + ((uint64_t)what << 56)) + n) % below;
}

void auf_inject_note(struct auf_inject *inject, enum au_injection what)
{
	atomic_fetch_add_explicit(&inject->count[what], 1, memory_order_relaxed);
}

/* ----------------------------------------------------------------- memory */

/* Those of the whole process: a driver whose start fails is started again, and fails elsewhere. */
static struct inject_stacks inject_known;
static _Atomic uint32_t inject_lock;

/* Which of the stacks it is, from 1, if it is new; 0: it is not, or there is no more room. */
static unsigned int inject_new_stack(struct inject_stacks *stacks, uint64_t hash)
{
	for (unsigned int i = 0; i < stacks->count; i++)
		if (stacks->hash[i] == hash)
			return 0;
	if (stacks->count == INJECT_STACKS)
		return 0;
	stacks->hash[stacks->count++] = hash;
	return stacks->count;
}

static bool __attribute__((noinline)) inject_alloc_fails(struct auf_inject *inject)
{
	uint32_t wanted = inject->want.number[AU_INJECT_alloc];
	char text[AU_STACK_TEXT];
	/* Not this function, and not auf_alloc(). */
	uint64_t hash = au_stack_hash(2, text);
	unsigned int which;

	if (!wanted)
		for (const char *c = inject->dev->note.name; *c; c++)
			hash = inject_mix(hash ^ (unsigned char)*c);
	while (atomic_exchange(&inject_lock, 1))
		au_os_relax();
	which = inject_new_stack(wanted ? &inject->stacks : &inject_known, hash);
	atomic_store(&inject_lock, 0);
	if (!which || (wanted && which != wanted))
		return false;
	auf_inject_note(inject, AU_INJECT_alloc);
	au_logf(AU_LOG_WARN, "%s: injected: call stack %u gets no memory: %s", inject->dev->name,
		which, text);
	return true;
}

static bool inject_alloc_by_chance(struct auf_inject *inject)
{
	if (!auf_inject_wants(inject, AU_INJECT_alloc_random) ||
	    auf_inject_draw(inject, AU_INJECT_alloc_random,
			    inject->want.number[AU_INJECT_alloc_random]) != 0)
		return false;
	auf_inject_note(inject, AU_INJECT_alloc_random);
	return true;
}

void *__attribute__((noinline)) auf_alloc(struct au_device *dev, size_t size)
{
	if (unlikely(dev->inject) &&
	    (inject_alloc_by_chance(dev->inject) ||
	     (auf_inject_wants(dev->inject, AU_INJECT_alloc) && inject_alloc_fails(dev->inject))))
		return NULL;
	return au_os_alloc(size);
}

/* ------------------------------------------------------------------ steps */

void auf_inject_step(struct au_device *dev, unsigned int step)
{
	struct auf_inject *inject = dev->inject;

	/* Once in the life of a device: in its first host's. */
	if (!auf_inject_wants(inject, AU_INJECT_surprise) || dev->generation > 1 ||
	    inject->removed || step != inject->want.number[AU_INJECT_surprise] ||
	    atomic_load(&dev->machine.state) == STATE_STOPPED)
		return;
	inject->removed = true;
	auf_inject_note(inject, AU_INJECT_surprise);
	au_logf(AU_LOG_WARN, "%s: injected: the device is gone at step %u, %s", dev->name, step,
		auf_device_state_name(dev));
	atomic_store(&inject->ones, true);
	auf_device_surprise(dev);
}

/* ------------------------------------------------------------ coming, going */

int auf_inject_init(struct au_device *dev, const struct au_verify *want)
{
	struct auf_inject *inject;

	if (!want || !want->what)
		return 0;
	inject = au_os_alloc(sizeof(*inject));
	if (!inject)
		return -ENOMEM;
	inject->want = *want;
	inject->dev = dev;
	dev->inject = inject;
	if (dev->bus && (auf_inject_wants(inject, AU_INJECT_all_ones) ||
			 auf_inject_wants(inject, AU_INJECT_surprise)))
		auf_inject_bus(inject);
	return 0;
}

void auf_inject_lanes(struct au_device *dev)
{
	for (unsigned int i = 0; i < dev->lane_count; i++)
		if (auf_inject_wants(dev->inject, AU_INJECT_delay))
			atomic_store(&dev->lanes[i]->inject, dev->inject);
}

void auf_inject_leave(struct au_device *dev)
{
	struct auf_inject *inject = dev->inject;
	char text[256], verify[AU_VERIFY_TEXT];
	size_t used = 0;

	if (!inject)
		return;
	for (unsigned int i = 0; i < dev->lane_count; i++)
		atomic_store(&dev->lanes[i]->inject, NULL);
	for (unsigned int i = 0; i < AU_INJECT_COUNT; i++)
		if (auf_inject_wants(inject, i) && used < sizeof(text))
			used += (size_t)snprintf(
				text + used, sizeof(text) - used, "%s%s %llu", used ? ", " : "",
				au_injection_name(i),
				(unsigned long long)atomic_load(&inject->count[i]));
	au_verify_print(&inject->want, ',', verify);
	au_logf(AU_LOG_INFO, "%s: injected in all: %s (verify=%s)", dev->name, text, verify);
}
