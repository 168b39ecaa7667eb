/* SPDX-License-Identifier: MIT */
/*
 * abi.h - taking in structures that somebody else was built with: an older or a newer driver or
 * application.
 *
 * Each begins with its size and the version of its interface, and grows at the end only, by members
 * whose zero means what was before them; it ends without padding. So what an older build lacks is
 * zero, and what a newer one has besides must be zero. The first version of each is known here for
 * ever: nothing is accepted that is shorter.
 */
#ifndef AU_BASE_ABI_H
#define AU_BASE_ABI_H

#include <stddef.h>
#include <stdint.h>

/* No structure is larger, nor will be: whoever says so is mistaken. */
#define AU_ABI_SIZE_MAX 4096u

/**
 * struct au_abi_type - a kind of structure that is taken in.
 * @name: for messages.
 * @first: its size in the first version.
 * @known: its size here.
 * @abi: the newest version of its interface that is known here; all older ones are.
 */
struct au_abi_type {
	const char *name;
	uint32_t first;
	uint32_t known;
	uint32_t abi;
};

extern const struct au_abi_type au_abi_driver, au_abi_irq_config, au_abi_queue_config,
	au_abi_unit_config, au_abi_poller_config, au_abi_serial_ops, au_abi_serial_config,
	au_abi_block_config; /* by drivers */
extern const struct au_abi_type au_abi_open_options, au_abi_serial_line, au_abi_serial_counters,
	au_abi_block_info; /* by applications */

/**
 * au_abi_take - check a structure that was given, and copy it.
 * @own: of today's size; what was not given is zero.
 * @given: at least as many bytes as it says, or @room.
 * @room: how many bytes there are at @given, if that is known; AU_ABI_SIZE_MAX otherwise.
 * @error: one line on failure.
 *
 * Return: 0; -EINVAL: its size cannot be; -EPROTO: it is of another version, or newer, and uses it.
 */
int au_abi_take(const struct au_abi_type *type, void *own, const void *given, size_t room,
		char *error, size_t error_size);

/**
 * au_abi_check - the same for a structure that is only filled in, or passed on: size and version.
 */
int au_abi_check(const struct au_abi_type *type, const void *given, size_t room, char *error,
		 size_t error_size);

#endif
