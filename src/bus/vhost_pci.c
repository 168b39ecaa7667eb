/* SPDX-License-Identifier: MIT */
/*
 * vhost-user: the PCI function that a virtio 1.0 device is [virtio 1.1, 4.1], of nothing but memory
 * and messages. Its registers are for one driver that may be hostile: all of them take anything.
 */
#include "bus/vhost.h"

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PCI_CAPS_AT  0x40u
#define PCI_CAP_STEP 0x18u

/* --------------------------------------------------------- configuration space */

static void put16(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t)value;
	at[1] = (uint8_t)(value >> 8);
}

static void put32(uint8_t *at, uint32_t value)
{
	put16(at, value);
	put16(at + 2, value >> 16);
}

static uint32_t pci_class(uint32_t type)
{
	static const uint32_t classes[] = { [1] = 0x020000, [2] = 0x010000, [3] = 0x078000 };

	return type < sizeof(classes) / sizeof(classes[0]) && classes[type] ? classes[type]
									    : 0xff0000;
}

/* struct virtio_pci_cap; @next: where the next one is, 0: there is none. */
static void pci_capability(struct vhost *v, unsigned int i, uint8_t kind, uint32_t offset,
			   uint32_t size, bool last)
{
	uint8_t *cap = v->pci + PCI_CAPS_AT + i * PCI_CAP_STEP;

	cap[0] = PCI_CAP_ID_VNDR;
	cap[1] = last ? 0 : (uint8_t)(PCI_CAPS_AT + (i + 1) * PCI_CAP_STEP);
	cap[2] = kind == VIRTIO_PCI_CAP_NOTIFY_CFG ? 20 : 16;
	cap[3] = kind;
	put32(cap + 8, offset);
	put32(cap + 12, size);
	if (kind == VIRTIO_PCI_CAP_NOTIFY_CFG)
		put32(cap + 16, VHOST_NOTIFY_STEP);
}

void vhost_pci_init(struct vhost *v)
{
	bool device = v->config_size != 0;

	memset(v->pci, 0, sizeof(v->pci));
	put16(v->pci + PCI_VENDOR_ID, 0x1af4);
	put16(v->pci + PCI_DEVICE_ID, 0x1040 + v->type);
	put16(v->pci + PCI_STATUS, PCI_STATUS_CAP_LIST);
	put32(v->pci + PCI_CLASS_REVISION, pci_class(v->type) << 8 | 1);
	v->pci[PCI_CAPABILITY_LIST] = PCI_CAPS_AT;
	pci_capability(v, 0, VIRTIO_PCI_CAP_COMMON_CFG, VHOST_BAR_COMMON, 0x38, false);
	pci_capability(v, 1, VIRTIO_PCI_CAP_ISR_CFG, VHOST_BAR_ISR, 4, false);
	pci_capability(v, 2, VIRTIO_PCI_CAP_NOTIFY_CFG, VHOST_BAR_NOTIFY,
		       VHOST_QUEUES * VHOST_NOTIFY_STEP, !device);
	if (device)
		pci_capability(v, 3, VIRTIO_PCI_CAP_DEVICE_CFG, VHOST_BAR_DEVICE, v->config_size,
			       true);
	v->bus.regions[0].size = VHOST_BAR_SIZE;
	v->bus.regions[AU_BUS_REGION_CONFIG].size = VHOST_PCI_BYTES;
	v->vectors = v->queue_count + 1;
	v->bus.irqs[AU_BUS_MSIX] = v->vectors;
}

static uint64_t pci_read(const struct vhost *v, uint64_t offset, uint32_t width)
{
	uint64_t value = 0;

	if (offset == PCI_COMMAND && width == 2)
		return v->command;
	memcpy(&value, v->pci + offset, width);
	return value;
}

static void pci_write(struct vhost *v, uint64_t offset, uint32_t width, uint64_t value)
{
	if (offset == PCI_COMMAND && width >= 2)
		v->command = (uint16_t)value;
}

/* ---------------------------------------------------- the common configuration */

static uint64_t vhost_features(const struct vhost *v)
{
	/* What the driver gives is where it is for the back-end, too. */
	return (v->offered & ~VHOST_F_PROTOCOL_FEATURES) | v->own |
	       1ull << VIRTIO_F_ACCESS_PLATFORM;
}

static uint32_t half(uint64_t value, uint32_t select)
{
	return select == 0 ? (uint32_t)value : select == 1 ? (uint32_t)(value >> 32) : 0;
}

static uint64_t common_read_queue(const struct vhost *v, uint64_t offset)
{
	const struct vhost_queue *q = &v->queue[v->queue_select % VHOST_QUEUES];
	uint64_t at = offset - VIRTIO_PCI_COMMON_Q_DESCLO;

	if (v->queue_select >= v->queue_count)
		return 0;
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		return q->size;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		return q->vector;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		return q->enabled;
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return v->queue_select;
	default:
		return at < 24 && at % 4 == 0 ? half(q->address[at / 8], at / 4 % 2) : 0;
	}
}

static uint64_t common_read(const struct vhost *v, uint64_t offset)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		return v->feature_select;
	case VIRTIO_PCI_COMMON_DF:
		return half(vhost_features(v), v->feature_select);
	case VIRTIO_PCI_COMMON_GFSELECT:
		return v->driver_select;
	case VIRTIO_PCI_COMMON_GF:
		return half(v->features, v->driver_select);
	case VIRTIO_PCI_COMMON_MSIX:
		return v->config_vector;
	case VIRTIO_PCI_COMMON_NUMQ:
		return v->queue_count;
	case VIRTIO_PCI_COMMON_STATUS:
		return v->status;
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return 0;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		return v->queue_select;
	default:
		return common_read_queue(v, offset);
	}
}

static void common_write_status(struct vhost *v, uint8_t status)
{
	bool was = v->status & VIRTIO_CONFIG_S_DRIVER_OK;

	if (status == 0) {
		vhost_stop(v);
		return;
	}
	/* Features that were not offered are not accepted [2.2]. */
	if (v->features & ~vhost_features(v))
		status &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	v->status = status;
	if ((status & VIRTIO_CONFIG_S_DRIVER_OK) && !was)
		vhost_start(v);
}

static void common_write_queue(struct vhost *v, uint64_t offset, uint64_t value)
{
	struct vhost_queue *q = &v->queue[v->queue_select % VHOST_QUEUES];
	uint64_t at = offset - VIRTIO_PCI_COMMON_Q_DESCLO;

	/* After that nobody looks at them any more. */
	if (v->queue_select >= v->queue_count || (v->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		if (value && value <= VHOST_QUEUE_MAX)
			q->size = (uint16_t)value;
		return;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		q->vector = value < v->vectors ? (uint16_t)value : VHOST_NO_VECTOR;
		return;
	case VIRTIO_PCI_COMMON_Q_ENABLE:
		q->enabled |= value == 1;
		return;
	default:
		if (at >= 24 || at % 4)
			return;
		if (at % 8)
			q->address[at / 8] = (uint32_t)q->address[at / 8] | value << 32;
		else
			q->address[at / 8] =
				(q->address[at / 8] & ~0xffffffffull) | (uint32_t)value;
	}
}

static void common_write(struct vhost *v, uint64_t offset, uint64_t value)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		v->feature_select = (uint32_t)value;
		return;
	case VIRTIO_PCI_COMMON_GFSELECT:
		v->driver_select = (uint32_t)value;
		return;
	case VIRTIO_PCI_COMMON_GF:
		if (v->status & VIRTIO_CONFIG_S_FEATURES_OK)
			return;
		if (v->driver_select == 0)
			v->features = (v->features & ~0xffffffffull) | (uint32_t)value;
		else if (v->driver_select == 1)
			v->features = (uint32_t)v->features | value << 32;
		return;
	case VIRTIO_PCI_COMMON_MSIX:
		v->config_vector = value < v->vectors ? (uint16_t)value : VHOST_NO_VECTOR;
		return;
	case VIRTIO_PCI_COMMON_STATUS:
		common_write_status(v, (uint8_t)value);
		return;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		v->queue_select = (uint16_t)value;
		return;
	default:
		common_write_queue(v, offset, value);
	}
}

/* ------------------------------------------------------------------------- BAR 0 */

static uint64_t bar_read(const struct vhost *v, uint64_t offset, uint32_t width)
{
	uint64_t value = 0;

	if (offset < VHOST_BAR_ISR)
		return common_read(v, offset);
	if (offset >= VHOST_BAR_DEVICE && offset < VHOST_BAR_NOTIFY &&
	    offset - VHOST_BAR_DEVICE + width <= v->config_size)
		memcpy(&value, v->config + (offset - VHOST_BAR_DEVICE), width);
	return value; /* there is no line to interrupt on: the ISR has nothing to say */
}

static void bar_notify(struct vhost *v, uint64_t index)
{
	if (index >= v->queue_count || !v->queue[index].started)
		return;
	/* When it is full, the back-end has been told often enough. */
	if (write(v->queue[index].kick, &(uint64_t){ 1 }, 8) != 8 && errno != EAGAIN)
		vhost_gone(v, -errno, "a queue's eventfd does not work");
}

static void bar_write(struct vhost *v, uint64_t offset, uint64_t value)
{
	if (offset < VHOST_BAR_ISR)
		common_write(v, offset, value);
	else if (offset >= VHOST_BAR_NOTIFY)
		bar_notify(v, (offset - VHOST_BAR_NOTIFY) / VHOST_NOTIFY_STEP);
}

/* ------------------------------------------------------------------- operations */

static bool vhost_within(const struct au_bus *bus, unsigned int region, uint64_t offset,
			 uint32_t width)
{
	uint64_t size = region < AU_BUS_REGIONS ? bus->regions[region].size : 0;

	return width && width <= 8 && offset < size && width <= size - offset;
}

static int vhost_read(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		      uint64_t *value)
{
	const struct vhost *v = vhost_of(bus);

	*value = width >= 8 ? ~0ull : (1ull << 8 * width) - 1;
	if (bus->gone)
		return -ENODEV;
	if (!vhost_within(bus, region, offset, width))
		return -EINVAL;
	*value &= region == 0 ? bar_read(v, offset, width) : pci_read(v, offset, width);
	return 0;
}

static int vhost_write(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		       uint64_t value, bool posted)
{
	struct vhost *v = vhost_of(bus);

	(void)posted;
	if (bus->gone)
		return -ENODEV;
	if (!vhost_within(bus, region, offset, width))
		return -EINVAL;
	if (region == 0)
		bar_write(v, offset, value);
	else
		pci_write(v, offset, width, value);
	return bus->gone ? -ENODEV : 0;
}

static int vhost_read_rep8(struct au_bus *bus, unsigned int region, uint64_t offset, uint8_t *buf,
			   uint32_t count)
{
	uint64_t value;
	int err = 0;

	for (uint32_t i = 0; i < count; i++) {
		err = vhost_read(bus, region, offset, 1, &value);
		buf[i] = (uint8_t)value;
	}
	return err;
}

static int vhost_write_rep8(struct au_bus *bus, unsigned int region, uint64_t offset,
			    const uint8_t *buf, uint32_t count)
{
	int err = 0;

	for (uint32_t i = 0; i < count && !err; i++)
		err = vhost_write(bus, region, offset, 1, buf[i], true);
	return err;
}

static int vhost_flush(struct au_bus *bus)
{
	return bus->gone ? -ENODEV : 0;
}

static int vhost_unmask(struct au_bus *bus, unsigned int index)
{
	return -ENOTSUP;
}

static int vhost_reset(struct au_bus *bus)
{
	return vhost_stop(vhost_of(bus));
}

static int vhost_wait_fd(struct au_bus *bus)
{
	return vhost_of(bus)->fd;
}

/* Nothing comes unasked, so it is the end of the stream, or a back-end out of step. */
static void vhost_attend(struct au_bus *bus)
{
	struct vhost *v = vhost_of(bus);
	uint8_t byte;
	ssize_t n;

	if (bus->gone)
		return;
	n = recv(v->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n == 0)
		vhost_gone(v, -ECONNRESET, "the vhost-user back-end closed the connection");
	else if (n > 0)
		vhost_gone(v, -EPROTO,
			   "the vhost-user back-end broke the protocol: it says what nobody asked");
	else if (errno != EAGAIN && errno != EINTR)
		vhost_gone(v, -errno, "the connection to the vhost-user back-end failed: %s",
			   strerror(errno));
}

static void vhost_close(struct au_bus *bus)
{
	vhost_free(vhost_of(bus));
}

const struct au_bus_ops vhost_ops = {
	.read = vhost_read,
	.write = vhost_write,
	.read_rep8 = vhost_read_rep8,
	.write_rep8 = vhost_write_rep8,
	.flush = vhost_flush,
	.irq_set = vhost_irq_set,
	.irq_unmask = vhost_unmask,
	.dma_map = vhost_dma_map,
	.dma_unmap = vhost_dma_unmap,
	.reset = vhost_reset,
	.wait_fd = vhost_wait_fd,
	.attend = vhost_attend,
	.close = vhost_close,
};
