/* SPDX-License-Identifier: MIT */
/*
 * vfio-user: what regions there are, and mapping them.
 *
 * A region is mapped only when all of it can be, and when its file is a memfd sealed against
 * shrinking: from any other file the server could take pages away, and the next access would kill
 * this process. The others, and those of which only a part can be mapped, are reached by message.
 */
#include "bus/vfu.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAP_CAPS_MAX 16	  /* capabilities that are looked at */
#define MAP_ROOM     1024 /* for the reply: the region and its capabilities */

/* Whether one sparse-mmap capability has an area that is the whole region: 1, 0 or an error. */
static int map_sparse_whole(struct vfu *vfu, const uint8_t *payload, uint32_t size, uint32_t at,
			    uint64_t region_size)
{
	struct vfio_region_info_cap_sparse_mmap sparse;
	struct vfio_region_sparse_mmap_area area;

	if (size - at < sizeof(sparse))
		return vfu_broken(vfu, "a capability of a region that is cut short");
	memcpy(&sparse, payload + at, sizeof(sparse));
	at += (uint32_t)sizeof(sparse);
	if (sparse.nr_areas > (size - at) / sizeof(area))
		return vfu_broken(vfu, "%u areas in a region's capability of %u bytes",
				  sparse.nr_areas, size - at);
	for (uint32_t i = 0; i < sparse.nr_areas; i++) {
		memcpy(&area, payload + at + i * sizeof(area), sizeof(area));
		if (area.offset == 0 && area.size == region_size)
			return 1;
	}
	return 0;
}

/* Whether the whole region can be mapped, by its capabilities: 1, 0 or an error. */
static int map_whole(struct vfu *vfu, const struct vfio_region_info *info, const uint8_t *payload,
		     uint32_t size)
{
	struct vfio_info_cap_header cap;
	uint32_t at = info->cap_offset, end = sizeof(*info);

	if (!(info->flags & VFIO_REGION_INFO_FLAG_CAPS) || info->argsz > MAP_ROOM)
		return !(info->flags & VFIO_REGION_INFO_FLAG_CAPS);
	for (unsigned int i = 0; at && i < MAP_CAPS_MAX; i++) {
		/* Each lies behind the one before: no loops. */
		if (at < end || at > size || size - at < sizeof(cap))
			return vfu_broken(vfu, "a region's capability at %u of %u bytes", at, size);
		memcpy(&cap, payload + at, sizeof(cap));
		if (cap.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP)
			return map_sparse_whole(vfu, payload, size, at, info->size);
		end = at + (uint32_t)sizeof(cap);
		at = cap.next;
	}
	return at == 0;
}

static void map_region(struct vfu *vfu, const struct vfio_region_info *info, int fd)
{
	struct au_bus_region *region = &vfu->bus.regions[info->index];
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stat st;
	int seals = fcntl(fd, F_GET_SEALS);
	void *base;

	if (info->size > VFU_MAP_MAX || info->size % page || info->offset % page)
		return;
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) ||
	    info->offset > INT64_MAX - info->size ||
	    (uint64_t)st.st_size < info->offset + info->size)
		return;
	base = mmap(NULL, info->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)info->offset);
	if (base != MAP_FAILED)
		region->base = base;
}

/* Ask; the reply's descriptors are in vfu->fds afterwards, whatever the answer is. */
static int map_ask(struct vfu *vfu, uint32_t index, struct vfio_region_info *info,
		   const uint8_t **payload, uint32_t *size)
{
	uint16_t id;
	void *at = vfu_put(vfu, VFU_GET_REGION_INFO, 0, sizeof(*info), &id);
	int err;

	if (!at)
		return -ENODEV;
	*info = (struct vfio_region_info){ .argsz = MAP_ROOM, .index = index };
	memcpy(at, info, sizeof(*info));
	err = vfu_call(vfu, VFU_GET_REGION_INFO, id, -1, sizeof(*info), payload, size);
	if (err)
		return err;
	memcpy(info, *payload, sizeof(*info));
	if (info->index != index)
		return vfu_broken(vfu, "it was asked for region %u and tells of %u", index,
				  info->index);
	return 0;
}

int vfu_region(struct vfu *vfu, uint32_t index, bool map)
{
	struct vfio_region_info info;
	const uint8_t *payload;
	uint32_t size;
	int err;

	vfu->take_fds = map;
	err = map_ask(vfu, index, &info, &payload, &size);
	vfu->take_fds = false;
	if (!err)
		vfu->bus.regions[index].size = info.size;
	if (!err && info.size && (info.flags & VFIO_REGION_INFO_FLAG_MMAP) && vfu->fd_count &&
	    map_whole(vfu, &info, payload, size) > 0)
		map_region(vfu, &info, vfu->fds[0]);
	while (vfu->fd_count)
		close(vfu->fds[--vfu->fd_count]);
	if (vfu->bus.gone)
		return -ENODEV;
	/* A refusal means that there is no such region. */
	return 0;
}

void vfu_map_gone(struct vfu *vfu)
{
	struct au_bus_region *region = vfu->bus.regions;
	void *base;

	for (unsigned int i = 0; i < AU_BUS_REGIONS; i++, region++) {
		if (!region->base)
			continue;
		base = mmap((void *)region->base, region->size, PROT_READ | PROT_WRITE,
			    MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (base != MAP_FAILED)
			memset(base, 0xff, region->size);
	}
}

void vfu_unmap(struct vfu *vfu)
{
	struct au_bus_region *region = vfu->bus.regions;

	for (unsigned int i = 0; i < AU_BUS_REGIONS; i++, region++)
		if (region->base)
			munmap((void *)region->base, region->size);
}
