/* SPDX-License-Identifier: MIT */
/**
 * DOC: The calling thread's stack, for telling one place of a program from another
 */
#ifndef AU_BASE_STACK_H
#define AU_BASE_STACK_H

#include <stddef.h>
#include <stdint.h>

#define AU_STACK_TEXT 160

/**
 * au_stack_hash - a number that stands for who called whom: the same for the same stack in any
 * process that runs the same files, wherever they are mapped.
 * @skip: so many of the innermost callers do not count; this function never does.
 * @text: gets the innermost of them, "au_timer_create < t_prepare < ..."; what has no name is a
 *	file and an offset. NULL: not wanted.
 *
 * Costs microseconds. No system call, no memory.
 */
uint64_t au_stack_hash(unsigned int skip, char text[AU_STACK_TEXT]);

#endif
