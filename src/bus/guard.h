/* SPDX-License-Identifier: MIT */
/**
 * DOC: Mapped registers that go away
 *
 * An access to a BAR that the kernel has taken away (the function was pulled out, or its memory
 * decoding is off) ends in SIGBUS. For the ranges added here a handler puts a page of all-ones in
 * the place, which is what hardware reads as, and says so; what else raises SIGBUS goes to the
 * handler that was there before. The handler is installed with the first range and stays.
 */
#ifndef AU_BUS_GUARD_H
#define AU_BUS_GUARD_H

#include <stddef.h>

/**
 * au_guard_add - guard @size bytes at @base; before the first access.
 * @notify: an eventfd that the handler writes to.
 * Return: 0; -ENOSPC: there are too many.
 */
int au_guard_add(volatile void *base, size_t size, int notify);
/** au_guard_remove - no more; before it is unmapped, or @notify closed. */
void au_guard_remove(volatile void *base);

#endif
