/* SPDX-License-Identifier: MIT */
/* An address space by VFIO's type 1: a container, with the function's group in it. */
#include "base/pci_sysfs.h"
#include "bus/vfio.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define SAY(...)       snprintf(error, error_size, __VA_ARGS__)

#define TYPE1_INFO_MAX 65536u /* of what the kernel tells about a container */
#define TYPE1_CAPS_MAX 32

static int type1_container(const char *address, char *error, size_t error_size)
{
	int fd = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC), err = errno;

	if (fd < 0) {
		SAY("%s: /dev/vfio/vfio: %s: %s", address, strerror(err),
		    err == ENOENT || err == ENODEV
			    ? "load the kernel module vfio-pci (modprobe vfio-pci)"
			    : "VFIO takes root, or its permission");
		return -err;
	}
	if (ioctl(fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
	    ioctl(fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) <= 0) {
		SAY("%s: this kernel's VFIO has no IOMMU of type 1: load vfio_iommu_type1, and "
		    "switch the IOMMU on",
		    address);
		close(fd);
		return -ENOTSUP;
	}
	return fd;
}

/* Who makes the group unusable. */
static void type1_not_viable(const char *address, int group, char *error, size_t error_size)
{
	struct au_pci_sysfs *list;
	int count = au_pci_sysfs_list("", group, &list);

	SAY("%s: IOMMU group %d is not viable: something in it has a kernel driver", address,
	    group);
	for (int i = 0; i < count; i++) {
		if (au_pci_vfio_driver(list[i].driver))
			continue;
		SAY("%s: IOMMU group %d cannot be used: %s in it is bound to the kernel driver "
		    "%.32s: `auriga bind %s` first",
		    address, group, list[i].address, list[i].driver, list[i].address);
		break;
	}
	free(list);
}

static int type1_group(const char *address, int group, char *error, size_t error_size)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	char path[40];
	int fd, err;

	snprintf(path, sizeof(path), "/dev/vfio/%d", group);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		err = -errno;
		SAY("%s: %s: %s", address, path,
		    err == -EBUSY    ? "another process uses its IOMMU group"
		    : err == -ENOENT ? "nothing of its IOMMU group is bound to vfio-pci: `auriga "
				       "bind` it first"
				     : strerror(-err));
		return err;
	}
	if (ioctl(fd, VFIO_GROUP_GET_STATUS, &status)) {
		err = -errno;
		SAY("%s: %s: %s", address, path, strerror(-err));
		close(fd);
		return err;
	}
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
		type1_not_viable(address, group, error, error_size);
		close(fd);
		return -EPERM;
	}
	return fd;
}

static int type1_open(const char *address, int group, int fds[AU_BUS_FDS], char *error,
		      size_t error_size)
{
	int err = 0;

	fds[VFIO_FD_SPACE] = type1_container(address, error, error_size);
	if (fds[VFIO_FD_SPACE] < 0)
		return fds[VFIO_FD_SPACE];
	fds[VFIO_FD_GROUP] = type1_group(address, group, error, error_size);
	if (fds[VFIO_FD_GROUP] < 0)
		return fds[VFIO_FD_GROUP];
	if (ioctl(fds[VFIO_FD_GROUP], VFIO_GROUP_SET_CONTAINER, &fds[VFIO_FD_SPACE]) ||
	    ioctl(fds[VFIO_FD_SPACE], VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)) {
		err = -errno;
		SAY("%s: the IOMMU gives it no address space: %s%s", address, strerror(-err),
		    err == -EPERM ? ": it cannot isolate interrupts (interrupt remapping is off)"
				  : "");
		return err;
	}
	/* This resets the function. */
	fds[VFIO_FD_DEVICE] = ioctl(fds[VFIO_FD_GROUP], VFIO_GROUP_GET_DEVICE_FD, address);
	if (fds[VFIO_FD_DEVICE] < 0) {
		err = -errno;
		SAY("%s: the kernel does not hand it out: %s", address,
		    err == -ENODEV ? "it is not bound to vfio-pci: `auriga bind` it first"
				   : strerror(-err));
	}
	return err;
}

static void type1_caps(const uint8_t *info, uint32_t size, uint32_t at, struct au_bus *bus)
{
	struct vfio_iommu_type1_info_cap_iova_range ranges;
	struct vfio_info_cap_header cap;
	struct vfio_iova_range one;

	for (unsigned int i = 0; at && i < TYPE1_CAPS_MAX; i++) {
		if (at > size || size - at < sizeof(cap))
			return;
		memcpy(&cap, info + at, sizeof(cap));
		if (cap.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE && size - at >= sizeof(ranges)) {
			memcpy(&ranges, info + at, sizeof(ranges));
			at += (uint32_t)sizeof(ranges);
			for (uint32_t j = 0;
			     j < ranges.nr_iovas && bus->range_count < AU_BUS_RANGES;
			     j++, at += (uint32_t)sizeof(one)) {
				if (size - at < sizeof(one))
					return;
				memcpy(&one, info + at, sizeof(one));
				if (one.end >= one.start)
					bus->ranges[bus->range_count++] =
						(struct au_bus_range){ one.start, one.end };
			}
			return;
		}
		at = cap.next;
	}
}

static int type1_ranges(int space, struct au_bus *bus)
{
	struct vfio_iommu_type1_info head = { .argsz = sizeof(head) }, *info;

	bus->range_count = 0;
	if (ioctl(space, VFIO_IOMMU_GET_INFO, &head))
		return -errno;
	if (head.argsz <= sizeof(head) || head.argsz > TYPE1_INFO_MAX)
		return 0; /* an old kernel, which does not tell */
	info = calloc(1, head.argsz);
	if (!info)
		return -ENOMEM;
	info->argsz = head.argsz;
	if (ioctl(space, VFIO_IOMMU_GET_INFO, info) == 0 && (info->flags & VFIO_IOMMU_INFO_CAPS) &&
	    info->argsz <= head.argsz)
		type1_caps((const uint8_t *)info, head.argsz, info->cap_offset, bus);
	free(info);
	return 0;
}

static int type1_map(int space, uint64_t iova, uint64_t size, void *cpu)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)cpu,
		.iova = iova,
		.size = size,
	};

	return ioctl(space, VFIO_IOMMU_MAP_DMA, &map) ? -errno : 0;
}

static int type1_unmap(int space, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = size,
	};

	if (ioctl(space, VFIO_IOMMU_UNMAP_DMA, &unmap))
		return -errno;
	return unmap.size == size ? 0 : -EINVAL;
}

const struct vfio_space_ops vfio_type1 = {
	.open = type1_open,
	.ranges = type1_ranges,
	.map = type1_map,
	.unmap = type1_unmap,
};
