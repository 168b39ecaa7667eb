/* SPDX-License-Identifier: MIT */
/* The kernel's VFIO: interrupts as eventfds. The kernel masks INTx when it fires. */
#include "bus/vfio.h"

#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>

#define IRQ_MAX 2048u /* vectors that a function can have */

union irq_message {
	struct vfio_irq_set set;
	uint8_t room[sizeof(struct vfio_irq_set) + IRQ_MAX * sizeof(int32_t)];
};

uint32_t vfio_irq_count(struct vfio *vfio, uint32_t index)
{
	struct vfio_irq_info info = { .argsz = sizeof(info), .index = index };

	if (ioctl(vfio->fds[VFIO_FD_DEVICE], VFIO_DEVICE_GET_IRQ_INFO, &info) ||
	    !(info.flags & VFIO_IRQ_INFO_EVENTFD))
		return 0;
	return info.count < IRQ_MAX ? info.count : IRQ_MAX;
}

/* All in one: vectors cannot be added later on kernels that say so. */
int vfio_irq_eventfds(struct vfio *vfio, uint32_t index, const int *fds, unsigned int count)
{
	union irq_message message;
	size_t data = count * sizeof(int32_t);

	if (count > IRQ_MAX)
		return -EINVAL;
	message.set = (struct vfio_irq_set){
		.argsz = (uint32_t)(sizeof(struct vfio_irq_set) + data),
		.flags = (count ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE) |
			 VFIO_IRQ_SET_ACTION_TRIGGER,
		.index = index,
		.count = count,
	};
	if (count)
		memcpy(message.room + sizeof(struct vfio_irq_set), fds, data);
	return ioctl(vfio->fds[VFIO_FD_DEVICE], VFIO_DEVICE_SET_IRQS, &message) ? -errno : 0;
}

int vfio_irq_set(struct au_bus *bus, unsigned int index, const int *fds, unsigned int count)
{
	if (bus->gone)
		return -ENODEV;
	if (index >= AU_BUS_IRQS)
		return -ENOTSUP;
	if (count > bus->irqs[index])
		return -EINVAL;
	return vfio_irq_eventfds(vfio_of(bus), index, fds, count);
}

int vfio_irq_unmask(struct au_bus *bus, unsigned int index)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK,
		.index = index,
		.count = 1,
	};

	if (bus->gone)
		return -ENODEV;
	if (index != AU_BUS_INTX)
		return -ENOTSUP;
	return ioctl(vfio_of(bus)->fds[VFIO_FD_DEVICE], VFIO_DEVICE_SET_IRQS, &set) ? -errno : 0;
}
