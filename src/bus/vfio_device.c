/* SPDX-License-Identifier: MIT */
/* The kernel's VFIO: taking a session over, what regions there are, what the kernel tells. */
#include "bus/guard.h"
#include "bus/vfio.h"

#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define REGION_INFO_MAX 4096u
#define REGION_CAPS_MAX 16
#define REGION_MAP_MAX	(1ull << 32)

/* ------------------------------------------------------------------ regions */

int vfio_device_info(struct vfio *vfio)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	if (ioctl(vfio->fds[VFIO_FD_DEVICE], VFIO_DEVICE_GET_INFO, &info))
		return -errno;
	vfio->flags = info.flags;
	return (info.flags & VFIO_DEVICE_FLAGS_PCI) && info.num_regions > AU_BUS_REGION_CONFIG
		       ? 0
		       : -ENOTSUP;
}

static void region_map(struct vfio *vfio, uint32_t index, uint64_t offset, uint64_t size)
{
	struct au_bus_region *region = &vfio->bus.regions[index];
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	void *at;

	if (region->areas == AU_BUS_AREAS || !size || size > REGION_MAP_MAX || offset % page ||
	    size % page || offset > region->size || size > region->size - offset)
		return;
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vfio->fds[VFIO_FD_DEVICE],
		  (off_t)(vfio->base[index] + offset));
	if (at == MAP_FAILED)
		return;
	/* Without a guard an unplugged device would take the process along. */
	if (au_guard_add(at, size, vfio->told[VFIO_TOLD_FAULT])) {
		munmap(at, size);
		return;
	}
	region->area[region->areas++] = (struct au_bus_area){ offset, size, at };
}

/* Map what the sparse-mmap capability names, or all. */
static void region_map_all(struct vfio *vfio, const uint8_t *info, uint32_t size, uint32_t at,
			   uint32_t index)
{
	struct vfio_region_info_cap_sparse_mmap sparse;
	struct vfio_region_sparse_mmap_area area;
	struct vfio_info_cap_header cap;

	for (unsigned int i = 0; at && i < REGION_CAPS_MAX; i++) {
		if (at > size || size - at < sizeof(cap))
			return;
		memcpy(&cap, info + at, sizeof(cap));
		if (cap.id == VFIO_REGION_INFO_CAP_SPARSE_MMAP && size - at >= sizeof(sparse)) {
			memcpy(&sparse, info + at, sizeof(sparse));
			at += (uint32_t)sizeof(sparse);
			for (uint32_t j = 0; j < sparse.nr_areas && size - at >= sizeof(area);
			     j++, at += (uint32_t)sizeof(area)) {
				memcpy(&area, info + at, sizeof(area));
				region_map(vfio, index, area.offset, area.size);
			}
			return;
		}
		at = cap.next;
	}
	if (!at)
		region_map(vfio, index, 0, vfio->bus.regions[index].size);
}

int vfio_region(struct vfio *vfio, uint32_t index, bool map)
{
	_Alignas(8) uint8_t room[REGION_INFO_MAX] = { 0 };
	struct vfio_region_info *info = (void *)room;
	struct au_bus_region *region = &vfio->bus.regions[index];

	*info = (struct vfio_region_info){ .argsz = sizeof(room), .index = index };
	if (ioctl(vfio->fds[VFIO_FD_DEVICE], VFIO_DEVICE_GET_REGION_INFO, info))
		return errno == EINVAL ? 0 : -errno; /* a region that it does not have */
	if (!info->size || info->offset > INT64_MAX || info->size > INT64_MAX - info->offset)
		return 0;
	region->size = info->size;
	vfio->base[index] = info->offset;
	if (map && (info->flags & VFIO_REGION_INFO_FLAG_MMAP))
		region_map_all(vfio, room, sizeof(room),
			       info->flags & VFIO_REGION_INFO_FLAG_CAPS ? info->cap_offset : 0,
			       index);
	return 0;
}

static void region_gone(struct au_bus_region *region)
{
	for (unsigned int i = 0; i < region->areas; i++) {
		struct au_bus_area *a = &region->area[i];
		void *base = mmap((void *)a->base, a->size, PROT_READ | PROT_WRITE,
				  MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (base != MAP_FAILED)
			memset(base, 0xff, a->size);
	}
}

/* ------------------------------------------------------------ told unasked */

int vfio_gone(struct vfio *vfio, const char *why)
{
	if (vfio->bus.gone)
		return -ENODEV;
	snprintf(vfio->bus.why, sizeof(vfio->bus.why), "%s", why);
	vfio->bus.gone = true;
	for (unsigned int i = 0; i < AU_BUS_REGIONS; i++)
		region_gone(&vfio->bus.regions[i]);
	return -ENODEV;
}

void vfio_attend(struct au_bus *bus)
{
	static const char *const why[VFIO_TOLD_COUNT] = {
		[VFIO_TOLD_REQUEST] = "the kernel wants it back: it is being unplugged or bound to "
				      "another driver",
		[VFIO_TOLD_ERROR] = "it reported an error that cannot be mended: see the kernel's "
				    "log (AER)",
		[VFIO_TOLD_FAULT] = "its registers cannot be reached: its memory decoding is off, "
				    "or it was pulled out",
	};
	static const enum au_bus_loss loss[VFIO_TOLD_COUNT] = {
		[VFIO_TOLD_REQUEST] = AU_BUS_WANTED,
		[VFIO_TOLD_ERROR] = AU_BUS_FAILED,
		[VFIO_TOLD_FAULT] = AU_BUS_LOST,
	};
	struct vfio *vfio = vfio_of(bus);
	uint64_t count;

	for (unsigned int i = 0; i < VFIO_TOLD_COUNT; i++) {
		if (read(vfio->told[i], &count, sizeof(count)) != sizeof(count) || bus->gone)
			continue;
		bus->loss = loss[i];
		vfio_gone(vfio, why[i]);
	}
}

static int told_init(struct vfio *vfio)
{
	struct epoll_event event = { .events = EPOLLIN };

	vfio->wait = epoll_create1(EPOLL_CLOEXEC);
	if (vfio->wait < 0)
		return -errno;
	for (unsigned int i = 0; i < VFIO_TOLD_COUNT; i++) {
		vfio->told[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (vfio->told[i] < 0 ||
		    epoll_ctl(vfio->wait, EPOLL_CTL_ADD, vfio->told[i], &event))
			return -errno;
	}
	return 0;
}

/* Not every kernel and function has both. */
static void told_connect(struct vfio *vfio)
{
	if (vfio_irq_count(vfio, VFIO_PCI_REQ_IRQ_INDEX))
		vfio_irq_eventfds(vfio, VFIO_PCI_REQ_IRQ_INDEX, &vfio->told[VFIO_TOLD_REQUEST], 1);
	if (vfio_irq_count(vfio, VFIO_PCI_ERR_IRQ_INDEX))
		vfio_irq_eventfds(vfio, VFIO_PCI_ERR_IRQ_INDEX, &vfio->told[VFIO_TOLD_ERROR], 1);
}

/* ------------------------------------------------------------ coming and going */

void vfio_close(struct au_bus *bus)
{
	struct vfio *vfio = vfio_of(bus);

	for (unsigned int i = 0; i < AU_BUS_REGIONS; i++) {
		struct au_bus_region *region = &bus->regions[i];

		for (unsigned int j = 0; j < region->areas; j++) {
			au_guard_remove(region->area[j].base);
			munmap((void *)region->area[j].base, region->area[j].size);
		}
	}
	au_bus_fds_close(vfio->fds);
	for (unsigned int i = 0; i < VFIO_TOLD_COUNT; i++)
		if (vfio->told[i] >= 0)
			close(vfio->told[i]);
	if (vfio->wait >= 0)
		close(vfio->wait);
	free(vfio);
}

/* Three files, none of which is one that a device server could have made up. */
static bool session_sane(const int fds[AU_BUS_FDS], const struct au_bus_session *session)
{
	struct stat st;

	if (session->size < sizeof(*session) || session->transport != AU_BUS_VFIO)
		return false;
	for (unsigned int i = 0; i < AU_BUS_FDS; i++)
		if (fds[i] < 0 || fstat(fds[i], &st) || S_ISREG(st.st_mode) || S_ISSOCK(st.st_mode))
			return false;
	return true;
}

int au_vfio_adopt(int fds[AU_BUS_FDS], const struct au_bus_session *session, const char *address,
		  struct au_bus **bus)
{
	struct vfio *vfio = session_sane(fds, session) ? calloc(1, sizeof(*vfio)) : NULL;
	int err = vfio ? 0 : -EINVAL;

	if (err) {
		au_bus_fds_close(fds);
		return err;
	}
	vfio->bus.ops = &vfio_ops;
	vfio->space = &vfio_type1;
	vfio->wait = -1;
	memset(vfio->told, -1, sizeof(vfio->told));
	for (unsigned int i = 0; i < AU_BUS_FDS; i++) {
		vfio->fds[i] = fds[i];
		fds[i] = -1;
	}
	snprintf(vfio->bus.address, sizeof(vfio->bus.address), "%s", address);
	err = told_init(vfio);
	if (!err)
		err = vfio_device_info(vfio);
	for (uint32_t i = 0; i < AU_BUS_REGIONS && !err; i++)
		err = vfio_region(vfio, i, i < AU_BUS_BARS);
	if (!err)
		err = vfio->space->ranges(vfio->fds[VFIO_FD_SPACE], &vfio->bus);
	if (err) {
		vfio_close(&vfio->bus);
		return err;
	}
	for (uint32_t i = 0; i < AU_BUS_IRQS; i++)
		vfio->bus.irqs[i] = vfio_irq_count(vfio, i);
	told_connect(vfio);
	au_pci_bars(&vfio->bus);
	*bus = &vfio->bus;
	return 0;
}
