/* SPDX-License-Identifier: MIT */
/**
 * DOC: The kernel's VFIO, inside
 *
 * vfio_open.c: the manager's half: a function that is ready, as descriptors. vfio_type1.c: the
 * address space, type 1. vfio_device.c: the host's half: regions, mapped; what the kernel tells
 * unasked. vfio_io.c: accesses. vfio_irq.c: interrupts.
 *
 * All descriptors go to the host and to nobody else: when it dies, the kernel takes the mappings
 * away, stops the function and resets it, before anybody else can open it.
 */
#ifndef AU_BUS_VFIO_H
#define AU_BUS_VFIO_H

#include "bus/bus.h"

#include <errno.h>

/** enum vfio_fd - the descriptors of a session. The last is of the address space. */
enum vfio_fd { VFIO_FD_DEVICE, VFIO_FD_GROUP, VFIO_FD_SPACE };

/**
 * struct vfio_space_ops - a way to give a function an address space; iommufd would be another one.
 * @open: fill in all descriptors for the function at @address, in IOMMU group @group.
 * @ranges: which addresses there are, into @bus.
 * @map: let the function reach @size bytes at @cpu of this process as @iova.
 * @unmap: undo it.
 */
struct vfio_space_ops {
	int (*open)(const char *address, int group, int fds[AU_BUS_FDS], char *error,
		    size_t error_size);
	int (*ranges)(int space, struct au_bus *bus);
	int (*map)(int space, uint64_t iova, uint64_t size, void *cpu);
	int (*unmap)(int space, uint64_t iova, uint64_t size);
};

extern const struct vfio_space_ops vfio_type1;

/** enum vfio_told - what the kernel tells unasked, each an eventfd. */
enum vfio_told { VFIO_TOLD_REQUEST, VFIO_TOLD_ERROR, VFIO_TOLD_FAULT, VFIO_TOLD_COUNT };

/**
 * struct vfio - a function.
 * @base: where each region is in the device's file.
 * @told: see enum vfio_told; @wait: a descriptor that is readable when one of them is.
 */
struct vfio {
	struct au_bus bus;
	const struct vfio_space_ops *space;
	int fds[AU_BUS_FDS];
	uint32_t flags;
	uint64_t base[AU_BUS_REGIONS];
	int told[VFIO_TOLD_COUNT];
	int wait;
};

static inline struct vfio *vfio_of(struct au_bus *bus)
{
	return (struct vfio *)bus;
}

/** vfio_gone - the function is gone, for this reason; the first one stays. Return: -ENODEV. */
int vfio_gone(struct vfio *vfio, const char *why);

/** vfio_device_info - what kind of device it is, into flags. Return: 0, -ENOTSUP: not PCI. */
int vfio_device_info(struct vfio *vfio);
/** vfio_region - ask for a region; @map: map what can be mapped. */
int vfio_region(struct vfio *vfio, uint32_t index, bool map);
/** vfio_attend - look at what the kernel told. */
void vfio_attend(struct au_bus *bus);
/** vfio_close - unmap, close, free. */
void vfio_close(struct au_bus *bus);

extern const struct au_bus_ops vfio_ops;

uint32_t vfio_irq_count(struct vfio *vfio, uint32_t index);
/** vfio_irq_eventfds - connect @count eventfds from vector 0 on, any VFIO index; 0: disconnect. */
int vfio_irq_eventfds(struct vfio *vfio, uint32_t index, const int *fds, unsigned int count);
int vfio_irq_set(struct au_bus *bus, unsigned int index, const int *fds, unsigned int count);
int vfio_irq_unmask(struct au_bus *bus, unsigned int index);

#endif
