/* SPDX-License-Identifier: MIT */
/*
 * vfio-user: what regions there are, and mapping them.
 *
 * A region, or what its sparse-mmap capability names of it, is mapped only from a memfd that is
 * sealed against shrinking: from any other file the server could take pages away, and the next
 * access would kill this process. The rest is reached by message.
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

/* What is to be mapped of a region. */
struct map_plan {
	unsigned int count;
	struct {
		uint64_t offset, size;
	} area[AU_BUS_AREAS];
};

static void map_want(struct map_plan *plan, uint64_t offset, uint64_t size)
{
	if (plan->count == AU_BUS_AREAS)
		return;
	plan->area[plan->count].offset = offset;
	plan->area[plan->count++].size = size;
}

static int map_sparse(struct vfu *vfu, const uint8_t *payload, uint32_t size, uint32_t at,
		      uint64_t region_size, struct map_plan *plan)
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
		if (area.offset > region_size || area.size > region_size - area.offset)
			return vfu_broken(vfu, "an area that lies outside of its region");
		map_want(plan, area.offset, area.size);
	}
	return 0;
}

/* What of the region can be mapped, by its capabilities. */
static int map_look(struct vfu *vfu, const struct vfio_region_info *info, const uint8_t *payload,
		    uint32_t size, struct map_plan *plan)
{
	struct vfio_info_cap_header cap;
	uint32_t at = info->cap_offset, end = sizeof(*info);

	if (!(info->flags & VFIO_REGION_INFO_FLAG_CAPS))
		at = 0;
	else if (info->argsz > MAP_ROOM)
		return 0;
	for (unsigned int i = 0; at && i < MAP_CAPS_MAX; i++) {
		/* Each lies behind the one before: no loops. */
		if (at < end || at > size || size - at < sizeof(cap))
			return vfu_broken(vfu, "a region's capability at %u of %u bytes", at, size);
		memcpy(&cap, payload + at, sizeof(cap));
		if (cap.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP)
			return map_sparse(vfu, payload, size, at, info->size, plan);
		end = at + (uint32_t)sizeof(cap);
		at = cap.next;
	}
	if (at == 0)
		map_want(plan, 0, info->size);
	return 0;
}

static void map_area(struct au_bus_region *region, uint64_t base, uint64_t offset, uint64_t size,
		     int fd)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stat st;
	void *at;

	if (!size || size > VFU_MAP_MAX || size % page || base % page || offset % page)
		return;
	if (base > INT64_MAX - region->size || fstat(fd, &st) ||
	    (uint64_t)st.st_size < base + offset + size)
		return;
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(base + offset));
	if (at != MAP_FAILED)
		region->area[region->areas++] = (struct au_bus_area){ offset, size, at };
}

static void map_region(struct vfu *vfu, const struct vfio_region_info *info,
		       const struct map_plan *plan, int fd)
{
	struct au_bus_region *region = &vfu->bus.regions[info->index];
	int seals = fcntl(fd, F_GET_SEALS);

	if (seals < 0 || !(seals & F_SEAL_SHRINK))
		return;
	for (unsigned int i = 0; i < plan->count; i++)
		map_area(region, info->offset, plan->area[i].offset, plan->area[i].size, fd);
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
	struct map_plan plan = { 0 };
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
	    map_look(vfu, &info, payload, size, &plan) == 0)
		map_region(vfu, &info, &plan, vfu->fds[0]);
	while (vfu->fd_count)
		close(vfu->fds[--vfu->fd_count]);
	if (vfu->bus.gone)
		return -ENODEV;
	/* A refusal means that there is no such region. */
	return 0;
}

void vfu_map_gone(struct vfu *vfu)
{
	for (unsigned int i = 0; i < AU_BUS_REGIONS; i++) {
		struct au_bus_region *region = &vfu->bus.regions[i];

		for (unsigned int j = 0; j < region->areas; j++) {
			void *base = mmap((void *)region->area[j].base, region->area[j].size,
					  PROT_READ | PROT_WRITE,
					  MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

			if (base != MAP_FAILED)
				memset(base, 0xff, region->area[j].size);
		}
	}
}

void vfu_unmap(struct vfu *vfu)
{
	for (unsigned int i = 0; i < AU_BUS_REGIONS; i++) {
		struct au_bus_region *region = &vfu->bus.regions[i];

		for (unsigned int j = 0; j < region->areas; j++)
			munmap((void *)region->area[j].base, region->area[j].size);
		region->areas = 0;
	}
}
