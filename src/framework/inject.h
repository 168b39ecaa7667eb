/* SPDX-License-Identifier: MIT */
/**
 * DOC: Fault injection
 *
 * What goes wrong on purpose, for a device that asks for it (base/verify.h). inject.c: what is
 * drawn, allocations, steps; inject_bus.c: registers; inject_irq.c: interrupts; inject_late.c:
 * completions; inject_delay.c: hand-overs between threads. A device without it has a pointer that
 * is NULL, which is looked at where things are slow anyway; its hot path has nothing of all this.
 *
 * Each kind draws from a stream of its own, which the seed and the kind make: what happens to one
 * thing does not depend on how much happens to another.
 */
#ifndef AU_FRAMEWORK_INJECT_H
#define AU_FRAMEWORK_INJECT_H

#include "framework/internal.h"

#define INJECT_STACKS 1024u
#define INJECT_IRQS   16u

/** struct inject_stacks - the call stacks that have asked for memory, in order. */
struct inject_stacks {
	unsigned int count;
	uint64_t hash[INJECT_STACKS];
};

/** struct inject_irq - an interrupt's descriptor, with us before whoever attends to it. */
struct inject_irq {
	struct auf_inject *inject;
	struct auf_source *source;
	unsigned int (*poll)(struct auf_source *source, unsigned int budget);
	bool line;
	unsigned int storm; /* so many more of this storm */
	struct auf_timeout spurious, stormy, again;
};

struct auf_inject {
	struct au_verify want;
	struct au_device *dev;
	_Atomic uint64_t drawn[AU_INJECT_COUNT];
	_Atomic uint64_t count[AU_INJECT_COUNT]; /* how often it was done */
	struct inject_stacks stacks;		 /* of alloc:N */
	struct inject_irq irqs[INJECT_IRQS];
	struct au_bus_ops ops; /* before the transport's */
	const struct au_bus_ops *real;
	_Atomic uint64_t accesses;
	_Atomic bool ones; /* the device does not answer any more */
	bool removed;
};

static inline bool auf_inject_wants(const struct auf_inject *inject, enum au_injection what)
{
	return inject && au_verify_wants(&inject->want, what);
}

/** auf_inject_draw - the next of its stream, below @below (not 0). Any thread. */
uint64_t auf_inject_draw(struct auf_inject *inject, enum au_injection what, uint64_t below);
/** auf_inject_note - it was done, once more. Any thread. */
void auf_inject_note(struct auf_inject *inject, enum au_injection what);

/** auf_inject_bus - put us before the device's transport. */
void auf_inject_bus(struct auf_inject *inject);

#endif
