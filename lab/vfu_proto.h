/* SPDX-License-Identifier: MIT */
/*
 * vfu_proto.h: the vfio-user protocol, version 0.1, as on the wire, in host byte order.
 * The specification is QEMU's docs/interop/vfio-user.rst; payloads that are those of
 * <linux/vfio.h> (device, region and interrupt information, SET_IRQS) are taken from there.
 */
#ifndef LAB_VFU_PROTO_H
#define LAB_VFU_PROTO_H

#include <assert.h>
#include <linux/vfio.h>
#include <stdint.h>

#define VFU_MAJOR 0
#define VFU_MINOR 1

enum vfu_command {
	VFU_VERSION = 1,
	VFU_DMA_MAP = 2,
	VFU_DMA_UNMAP = 3,
	VFU_DEVICE_GET_INFO = 4,
	VFU_DEVICE_GET_REGION_INFO = 5,
	VFU_DEVICE_GET_REGION_IO_FDS = 6,
	VFU_DEVICE_GET_IRQ_INFO = 7,
	VFU_DEVICE_SET_IRQS = 8,
	VFU_REGION_READ = 9,
	VFU_REGION_WRITE = 10,
	VFU_DEVICE_RESET = 13,
	VFU_REGION_WRITE_MULTI = 15,
};

/* vfu_header.flags */
#define VFU_TYPE_MASK	 0xfu
#define VFU_TYPE_COMMAND 0u
#define VFU_TYPE_REPLY	 1u
#define VFU_NO_REPLY	 (1u << 4)
#define VFU_ERROR	 (1u << 5)

struct vfu_header {
	uint16_t msg_id;
	uint16_t cmd;
	uint32_t size; /* with the header */
	uint32_t flags;
	uint32_t error;
};

struct vfu_version {
	uint16_t major;
	uint16_t minor;
	/* then JSON, NUL-terminated */
};

struct vfu_device_info {
	uint32_t argsz;
	uint32_t flags; /* VFIO_DEVICE_FLAGS_* */
	uint32_t num_regions;
	uint32_t num_irqs;
};

struct vfu_region_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
	/* then data */
};

struct vfu_write {
	uint64_t offset;
	uint32_t region;
	uint32_t count; /* 1 to 8 */
	uint8_t data[8];
};

struct vfu_dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t offset;
	uint64_t addr;
	uint64_t size;
};

struct vfu_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t addr;
	uint64_t size;
};

static_assert(sizeof(struct vfu_header) == 16, "wire format");
static_assert(sizeof(struct vfu_version) == 4, "wire format");
static_assert(sizeof(struct vfu_device_info) == 16, "wire format");
static_assert(sizeof(struct vfu_region_access) == 16, "wire format");
static_assert(sizeof(struct vfu_write) == 24, "wire format");
static_assert(sizeof(struct vfu_dma_map) == 32, "wire format");
static_assert(sizeof(struct vfu_dma_unmap) == 24, "wire format");
static_assert(sizeof(struct vfio_region_info) == 32, "wire format");
static_assert(sizeof(struct vfio_irq_info) == 16, "wire format");
static_assert(sizeof(struct vfio_irq_set) == 20, "wire format");

/* The lab's bounds. */
#define VFU_MAX_XFER	65536u
#define VFU_MAX_MSG_FDS 8
#define VFU_MAX_MSG	(sizeof(struct vfu_header) + sizeof(struct vfu_region_access) + VFU_MAX_XFER)

#endif
