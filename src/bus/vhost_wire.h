/* SPDX-License-Identifier: MIT */
/* vhost_wire.h: vhost-user on the wire, in host byte order: QEMU's docs/interop/vhost-user.rst. */
#ifndef AU_BUS_VHOST_WIRE_H
#define AU_BUS_VHOST_WIRE_H

#include <stdint.h>

enum vhost_request {
	VHOST_GET_FEATURES = 1,
	VHOST_SET_FEATURES = 2,
	VHOST_SET_OWNER = 3,
	VHOST_SET_MEM_TABLE = 5,
	VHOST_SET_VRING_NUM = 8,
	VHOST_SET_VRING_ADDR = 9,
	VHOST_SET_VRING_BASE = 10,
	VHOST_GET_VRING_BASE = 11,
	VHOST_SET_VRING_KICK = 12,
	VHOST_SET_VRING_CALL = 13,
	VHOST_GET_PROTOCOL_FEATURES = 15,
	VHOST_SET_PROTOCOL_FEATURES = 16,
	VHOST_GET_QUEUE_NUM = 17,
	VHOST_SET_VRING_ENABLE = 18,
	VHOST_GET_CONFIG = 24,
	VHOST_GET_MAX_MEM_SLOTS = 36,
	VHOST_ADD_MEM_REG = 37,
	VHOST_REM_MEM_REG = 38,
};

#define VHOST_VERSION		  0x1u
#define VHOST_REPLY		  0x4u
#define VHOST_NEED_REPLY	  0x8u

#define VHOST_F_PROTOCOL_FEATURES (1ull << 30)

#define VHOST_PROTOCOL_MQ	  (1ull << 0)
#define VHOST_PROTOCOL_REPLY_ACK  (1ull << 3)
#define VHOST_PROTOCOL_CONFIG	  (1ull << 9)
#define VHOST_PROTOCOL_MEM_SLOTS  (1ull << 15)

#define VHOST_VRING_NO_FD	  0x100u /* in SET_VRING_KICK, SET_VRING_CALL */

struct vhost_header {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of what follows */
};

struct vhost_vring_state {
	uint32_t index;
	uint32_t num;
};

/* Addresses are those of the front-end's own, as in its table of memory. */
struct vhost_vring_addr {
	uint32_t index;
	uint32_t flags;
	uint64_t desc;
	uint64_t used;
	uint64_t avail;
	uint64_t log;
};

struct vhost_region {
	uint64_t guest_addr;
	uint64_t size;
	uint64_t user_addr;
	uint64_t mmap_offset;
};

#define VHOST_REGIONS 8

struct vhost_mem_table {
	uint32_t count;
	uint32_t padding;
	struct vhost_region region[VHOST_REGIONS];
};

struct vhost_mem_slot {
	uint64_t padding;
	struct vhost_region region;
};

#define VHOST_CONFIG_MAX 256

struct vhost_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags;
	uint8_t data[VHOST_CONFIG_MAX];
};

_Static_assert(sizeof(struct vhost_header) == 12, "wire format");
_Static_assert(sizeof(struct vhost_vring_addr) == 40, "wire format");
_Static_assert(sizeof(struct vhost_mem_table) == 8 + 8 * 32, "wire format");
_Static_assert(sizeof(struct vhost_mem_slot) == 40, "wire format");

#endif
