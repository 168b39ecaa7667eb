/* SPDX-License-Identifier: MIT */
/*
 * vfio-user: memory that the server may map. It gets a descriptor, and can keep it as long as it
 * likes: only memory that is meant for this device is ever offered.
 */
#include "bus/vfu.h"

#include <string.h>

int vfu_dma_map(struct au_bus *bus, uint64_t iova, uint64_t size, void *cpu, int fd,
		uint64_t offset)
{
	struct vfu *vfu = vfu_of(bus);
	const struct vfu_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFU_DMA_READ_ALLOWED | VFU_DMA_WRITE_ALLOWED,
		.offset = offset,
		.addr = iova,
		.size = size,
	};
	const uint8_t *payload;
	uint32_t reply;
	uint16_t id;
	void *at;

	(void)cpu;
	/* The descriptor goes with the first byte sent: that must be this command's. */
	if (bus->gone || vfu_send(vfu, -1))
		return -ENODEV;
	at = vfu_put(vfu, VFU_DMA_MAP, 0, sizeof(map), &id);
	if (!at)
		return -ENODEV;
	memcpy(at, &map, sizeof(map));
	return vfu_call(vfu, VFU_DMA_MAP, id, fd, 0, &payload, &reply);
}

int vfu_dma_unmap(struct au_bus *bus, uint64_t iova, uint64_t size)
{
	struct vfu *vfu = vfu_of(bus);
	const struct vfu_dma_unmap unmap = { .argsz = sizeof(unmap), .addr = iova, .size = size };
	const uint8_t *payload;
	uint32_t reply;
	uint16_t id;
	void *at;

	if (bus->gone)
		return -ENODEV;
	at = vfu_put(vfu, VFU_DMA_UNMAP, 0, sizeof(unmap), &id);
	if (!at)
		return -ENODEV;
	memcpy(at, &unmap, sizeof(unmap));
	return vfu_call(vfu, VFU_DMA_UNMAP, id, -1, 0, &payload, &reply);
}
