/* SPDX-License-Identifier: MIT */
/**
 * DOC: vfio-user on the wire
 *
 * QEMU's docs/interop/vfio-user.rst is the specification. Everything is in the machine's own byte
 * order, for both ends are on one machine. Structures that the protocol shares with the kernel
 * (vfio_region_info, vfio_irq_info, vfio_irq_set and the flags) come from <linux/vfio.h>.
 */
#ifndef AU_BUS_VFU_WIRE_H
#define AU_BUS_VFU_WIRE_H

#include <stdint.h>

enum vfu_command {
	VFU_VERSION = 1,
	VFU_DMA_MAP = 2,
	VFU_DMA_UNMAP = 3,
	VFU_GET_INFO = 4,
	VFU_GET_REGION_INFO = 5,
	VFU_GET_IRQ_INFO = 7,
	VFU_SET_IRQS = 8,
	VFU_REGION_READ = 9,
	VFU_REGION_WRITE = 10,
	VFU_DMA_READ = 11,  /* server to client */
	VFU_DMA_WRITE = 12, /* server to client */
	VFU_DEVICE_RESET = 13,
	VFU_WRITE_MULTI = 15,
};

#define VFU_TYPE_MASK 0x0fu
#define VFU_COMMAND   0x00u
#define VFU_REPLY     0x01u
#define VFU_NO_REPLY  0x10u
#define VFU_ERROR     0x20u

#define VFU_MAJOR     0
#define VFU_MINOR     0

/** struct vfu_header - starts every message. @size includes it; @error is an errno, or 0. */
struct vfu_header {
	uint16_t id;
	uint16_t command;
	uint32_t size;
	uint32_t flags;
	uint32_t error;
};
_Static_assert(sizeof(struct vfu_header) == 16, "");

/** struct vfu_version - followed by JSON with its NUL. */
struct vfu_version {
	uint16_t major;
	uint16_t minor;
};
_Static_assert(sizeof(struct vfu_version) == 4, "");

#define VFU_DMA_READ_ALLOWED  0x1u
#define VFU_DMA_WRITE_ALLOWED 0x2u

/** struct vfu_dma_map - the descriptor travels beside it; @offset is into its file. */
struct vfu_dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t offset;
	uint64_t addr;
	uint64_t size;
};
_Static_assert(sizeof(struct vfu_dma_map) == 32, "");

/** struct vfu_dma_unmap - just what a vfu_dma_map made. */
struct vfu_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t addr;
	uint64_t size;
};
_Static_assert(sizeof(struct vfu_dma_unmap) == 24, "");

struct vfu_info {
	uint32_t argsz;
	uint32_t flags; /* VFIO_DEVICE_FLAGS_* */
	uint32_t num_regions;
	uint32_t num_irqs;
};
_Static_assert(sizeof(struct vfu_info) == 16, "");

/** struct vfu_access - REGION_READ and REGION_WRITE and their replies; data follows. */
struct vfu_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
};
_Static_assert(sizeof(struct vfu_access) == 16, "");

/** struct vfu_write_multi - WRITE_MULTI: @count of struct vfu_write follow. */
struct vfu_write_multi {
	uint64_t count;
};

struct vfu_write {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
	uint8_t data[8];
};
_Static_assert(sizeof(struct vfu_write) == 24, "");

/* Servers take no more writes than this in one WRITE_MULTI. */
#define VFU_MULTI_MAX 200

#endif
