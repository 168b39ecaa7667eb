/* SPDX-License-Identifier: MIT */
/* Who called whom, by the unwind tables: drivers may have no frame pointers. */
#include "base/stack.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unwind.h>

#define STACK_FRAMES 8u /* that tell one from another */
#define STACK_NAMED  4u

struct stack_walk {
	unsigned int skip, frames;
	uint64_t hash;
	char *text;
	size_t used;
};

static void stack_mix(struct stack_walk *walk, const void *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		walk->hash = (walk->hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3ull;
}

static void stack_name(struct stack_walk *walk, const Dl_info *info, const char *file,
		       uint64_t offset)
{
	const char *before = walk->used ? " < " : "";
	size_t room = AU_STACK_TEXT - walk->used;
	int n;

	if (walk->frames >= STACK_NAMED || walk->used >= AU_STACK_TEXT)
		return;
	if (info->dli_sname)
		n = snprintf(walk->text + walk->used, room, "%s%s", before, info->dli_sname);
	else
		n = snprintf(walk->text + walk->used, room, "%s%s+0x%llx", before, file,
			     (unsigned long long)offset);
	walk->used += n < 0 ? 0 : (size_t)n;
}

static _Unwind_Reason_Code stack_frame(struct _Unwind_Context *context, void *arg)
{
	struct stack_walk *walk = arg;
	uintptr_t pc = _Unwind_GetIP(context);
	const char *file = "?";
	Dl_info info = { 0 };
	uint64_t offset = 0;

	if (walk->skip) {
		walk->skip--;
		return _URC_NO_REASON;
	}
	if (walk->frames == STACK_FRAMES || !pc)
		return _URC_END_OF_STACK;
	/* The call, not what comes after it, which may be another function's. */
	if (dladdr((const char *)pc - 1, &info) && info.dli_fname) {
		file = strrchr(info.dli_fname, '/');
		file = file ? file + 1 : info.dli_fname;
		offset = pc - (uintptr_t)info.dli_fbase;
	}
	stack_mix(walk, file, strlen(file));
	stack_mix(walk, &offset, sizeof(offset));
	if (walk->text)
		stack_name(walk, &info, file, offset);
	walk->frames++;
	return _URC_NO_REASON;
}

uint64_t __attribute__((noinline)) au_stack_hash(unsigned int skip, char text[AU_STACK_TEXT])
{
	struct stack_walk walk = { .skip = skip + 1, .hash = 0xcbf29ce484222325ull, .text = text };

	if (text)
		text[0] = '\0';
	_Unwind_Backtrace(stack_frame, &walk);
	return walk.hash;
}
