/* SPDX-License-Identifier: MIT */
#include "base/abi.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "auriga/auriga.h"
#include "auriga/block.h"
#include "auriga/driver.h"
#include "auriga/serial.h"

/* What every one of them begins with. */
struct abi_head {
	uint32_t size;
	uint32_t abi;
};

/* @last: the last member of the first version. It never changes. */
#define ABI_TYPE(id, last, version)                                                            \
	const struct au_abi_type au_abi_##id = {                                               \
		.name = "au_" #id,                                                             \
		.first = offsetof(struct au_##id, last) + sizeof(((struct au_##id *)0)->last), \
		.known = sizeof(struct au_##id),                                               \
		.abi = (version),                                                              \
	};                                                                                     \
	_Static_assert(offsetof(struct au_##id, size) == 0 &&                                  \
			       offsetof(struct au_##id, abi) == sizeof(uint32_t) &&            \
			       sizeof(struct au_##id) <= AU_ABI_SIZE_MAX,                      \
		       "begins with size and abi")

ABI_TYPE(driver, surprise_removed, AU_ABI);
ABI_TYPE(irq_config, dpc, AU_ABI);
ABI_TYPE(queue_config, settled, AU_ABI);
ABI_TYPE(unit_config, closed, AU_ABI);
ABI_TYPE(poller_config, idle, AU_ABI);
ABI_TYPE(serial_ops, rx_start, AU_ABI);
ABI_TYPE(serial_config, reserved, AU_ABI);
ABI_TYPE(block_config, deliver, AU_ABI);
ABI_TYPE(open_options, runtime_dir, AU_CLIENT_ABI);
ABI_TYPE(serial_line, flow, 1);
ABI_TYPE(serial_counters, breaks, 1);
ABI_TYPE(block_info, serial, 1);

static int abi_head_check(const struct au_abi_type *type, const struct abi_head *head, size_t room,
			  char *error, size_t error_size)
{
	if (head->abi == 0 || head->abi > type->abi) {
		snprintf(error, error_size,
			 "%s is of version %u of its interface, and %u is the newest that is known "
			 "here: use a newer Auriga, or build it with this one's headers",
			 type->name, head->abi, type->abi);
		return -EPROTO;
	}
	if (head->size < type->first || head->size > AU_ABI_SIZE_MAX || head->size > room) {
		snprintf(error, error_size,
			 "%s says that it has %u bytes, of %u at least: set its size and abi (in "
			 "drivers: AU_HEAD)",
			 type->name, head->size, type->first);
		return -EINVAL;
	}
	return 0;
}

int au_abi_check(const struct au_abi_type *type, const void *given, size_t room, char *error,
		 size_t error_size)
{
	struct abi_head head = { 0 };

	/* Too little to say anything: it is as good as empty. */
	if (room >= sizeof(head))
		memcpy(&head, given, sizeof(head));
	else
		head.abi = type->abi;
	return abi_head_check(type, &head, room, error, error_size);
}

static bool abi_all_zero(const uint8_t *at, size_t count)
{
	while (count && *at == 0) {
		at++;
		count--;
	}
	return count == 0;
}

int au_abi_take(const struct au_abi_type *type, void *own, const void *given, size_t room,
		char *error, size_t error_size)
{
	int err = au_abi_check(type, given, room, error, error_size);
	uint32_t size;

	if (err)
		return err;
	memcpy(&size, given, sizeof(size));
	if (size > type->known &&
	    !abi_all_zero((const uint8_t *)given + type->known, size - type->known)) {
		snprintf(error, error_size,
			 "%s has %u bytes and uses what comes after the %u that are known here: "
			 "whoever made it is newer than this Auriga: use a newer Auriga",
			 type->name, size, type->known);
		return -EPROTO;
	}
	memset(own, 0, type->known);
	memcpy(own, given, size < type->known ? size : type->known);
	/* What is kept is of today. */
	memcpy(own, &type->known, sizeof(type->known));
	return 0;
}
