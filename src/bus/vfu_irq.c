/* SPDX-License-Identifier: MIT */
/* vfio-user: interrupts as eventfds. */
#include "bus/vfu.h"

#include <linux/vfio.h>
#include <stddef.h>
#include <string.h>

#define IRQ_SET_SIZE ((uint32_t)offsetof(struct vfio_irq_set, data))
#define IRQ_MAX	     2048u /* vectors that a function can have */

uint32_t vfu_irq_count(struct vfu *vfu, uint32_t index)
{
	struct vfio_irq_info info = { .argsz = sizeof(info), .index = index };
	const uint8_t *payload;
	uint32_t size;
	uint16_t id;
	void *at = vfu_put(vfu, VFU_GET_IRQ_INFO, 0, sizeof(info), &id);

	if (!at)
		return 0;
	memcpy(at, &info, sizeof(info));
	if (vfu_call(vfu, VFU_GET_IRQ_INFO, id, -1, sizeof(info), &payload, &size))
		return 0;
	memcpy(&info, payload, sizeof(info));
	if (info.index != index)
		return 0;
	return info.count < IRQ_MAX ? info.count : IRQ_MAX;
}

static int irq_put(struct vfu *vfu, uint32_t message, uint32_t flags, uint32_t index,
		   uint32_t start, uint32_t count, uint16_t *id)
{
	struct vfio_irq_set set = { .argsz = IRQ_SET_SIZE,
				    .flags = flags,
				    .index = index,
				    .start = start,
				    .count = count };
	void *at = vfu_put(vfu, VFU_SET_IRQS, message, IRQ_SET_SIZE, id);

	if (!at)
		return -ENODEV;
	memcpy(at, &set, IRQ_SET_SIZE);
	return 0;
}

int vfu_irq_disconnect(struct vfu *vfu, unsigned int index)
{
	const uint8_t *payload;
	uint32_t size;
	uint16_t id;
	int err = irq_put(vfu, 0, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, 0,
			  &id);

	return err ? err : vfu_call(vfu, VFU_SET_IRQS, id, -1, 0, &payload, &size);
}

/* One a message: there are servers that take no more than one descriptor at a time. */
static int irq_connect(struct vfu *vfu, unsigned int index, unsigned int vector, int fd)
{
	const uint8_t *payload;
	uint32_t size;
	uint16_t id;
	int err;

	/* The descriptor goes with the first byte sent: that must be this command's. */
	if (vfu_send(vfu, -1))
		return -ENODEV;
	err = irq_put(vfu, 0, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, index,
		      vector, 1, &id);
	return err ? err : vfu_call(vfu, VFU_SET_IRQS, id, fd, 0, &payload, &size);
}

int vfu_irq_set(struct au_bus *bus, unsigned int index, const int *fds, unsigned int count)
{
	struct vfu *vfu = vfu_of(bus);
	int err = 0;

	if (bus->gone)
		return -ENODEV;
	if (index >= AU_BUS_IRQS)
		return -ENOTSUP;
	if (count == 0)
		return vfu_irq_disconnect(vfu, index);
	if (count > bus->irqs[index] && (index != AU_BUS_INTX || count > 1))
		return -EINVAL;
	for (unsigned int i = 0; i < count && !err; i++)
		if (fds[i] >= 0)
			err = irq_connect(vfu, index, i, fds[i]);
	if (err && !bus->gone)
		vfu_irq_disconnect(vfu, index);
	return err;
}

int vfu_irq_unmask(struct au_bus *bus, unsigned int index)
{
	struct vfu *vfu = vfu_of(bus);

	if (bus->gone)
		return -ENODEV;
	if (index != AU_BUS_INTX)
		return -ENOTSUP;
	if (irq_put(vfu, VFU_NO_REPLY, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, index,
		    0, 1, NULL))
		return -ENODEV;
	return vfu_send(vfu, -1);
}
