/* SPDX-License-Identifier: MIT */
/* The kernel's VFIO: accesses to what is not mapped, memory, reset. Nothing is ever gathered. */
#include "bus/vfio.h"

#include <linux/vfio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int io_check(const struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width)
{
	if (bus->gone)
		return -ENODEV;
	if (width != 1 && width != 2 && width != 4 && width != 8)
		return -EINVAL;
	if (region >= AU_BUS_REGIONS || bus->regions[region].size < width ||
	    offset > bus->regions[region].size - width)
		return -EINVAL;
	return 0;
}

/* The kernel refuses what the hardware would not answer: memory whose decoding is off, say. */
static int io_result(struct vfio *vfio, ssize_t n, uint32_t width)
{
	if (n == (ssize_t)width)
		return 0;
	if (n < 0 && errno == ENODEV)
		return vfio_gone(vfio, "the kernel says that there is no such device any more");
	return -EIO;
}

static int vfio_read(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		     uint64_t *value)
{
	struct vfio *vfio = vfio_of(bus);
	int err = io_check(bus, region, offset, width);
	uint64_t raw = 0;

	*value = width < 8 ? (1ull << (8 * width)) - 1 : ~0ull;
	if (err)
		return err;
	err = io_result(
		vfio,
		pread(vfio->fds[VFIO_FD_DEVICE], &raw, width, (off_t)(vfio->base[region] + offset)),
		width);
	if (!err)
		*value = raw;
	return err;
}

static int vfio_write(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		      uint64_t value, bool posted)
{
	struct vfio *vfio = vfio_of(bus);
	int err = io_check(bus, region, offset, width);

	(void)posted;
	if (err)
		return err;
	return io_result(vfio,
			 pwrite(vfio->fds[VFIO_FD_DEVICE], &value, width,
				(off_t)(vfio->base[region] + offset)),
			 width);
}

static int vfio_read_rep8(struct au_bus *bus, unsigned int region, uint64_t offset, uint8_t *buf,
			  uint32_t count)
{
	uint64_t value;
	int err = 0;

	memset(buf, 0xff, count);
	for (uint32_t i = 0; i < count && !err; i++) {
		err = vfio_read(bus, region, offset, 1, &value);
		buf[i] = (uint8_t)value;
	}
	return err;
}

static int vfio_write_rep8(struct au_bus *bus, unsigned int region, uint64_t offset,
			   const uint8_t *buf, uint32_t count)
{
	int err = 0;

	for (uint32_t i = 0; i < count && !err; i++)
		err = vfio_write(bus, region, offset, 1, buf[i], false);
	return err;
}

static int vfio_flush(struct au_bus *bus)
{
	return bus->gone ? -ENODEV : 0;
}

static int vfio_dma_map(struct au_bus *bus, uint64_t iova, uint64_t size, void *cpu, int fd,
			uint64_t offset)
{
	struct vfio *vfio = vfio_of(bus);

	(void)fd;
	(void)offset;
	return bus->gone ? -ENODEV : vfio->space->map(vfio->fds[VFIO_FD_SPACE], iova, size, cpu);
}

static int vfio_dma_unmap(struct au_bus *bus, uint64_t iova, uint64_t size)
{
	struct vfio *vfio = vfio_of(bus);

	/* Of one that is gone, too: the memory is pinned otherwise. */
	return vfio->space->unmap(vfio->fds[VFIO_FD_SPACE], iova, size);
}

static int vfio_reset(struct au_bus *bus)
{
	struct vfio *vfio = vfio_of(bus);

	if (bus->gone)
		return -ENODEV;
	if (!(vfio->flags & VFIO_DEVICE_FLAGS_RESET))
		return -ENOTSUP;
	return ioctl(vfio->fds[VFIO_FD_DEVICE], VFIO_DEVICE_RESET) ? -errno : 0;
}

/* Since Linux 6.1. The kernel takes the mappings of registers away meanwhile. */
static int vfio_low_power(struct au_bus *bus, bool on)
{
	struct vfio_device_feature feature = {
		.argsz = sizeof(feature),
		.flags = VFIO_DEVICE_FEATURE_SET | (on ? VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY
						       : VFIO_DEVICE_FEATURE_LOW_POWER_EXIT),
	};

	if (bus->gone)
		return -ENODEV;
	return ioctl(vfio_of(bus)->fds[VFIO_FD_DEVICE], VFIO_DEVICE_FEATURE, &feature) ? -ENOTSUP
										       : 0;
}

static int vfio_wait_fd(struct au_bus *bus)
{
	return vfio_of(bus)->wait;
}

const struct au_bus_ops vfio_ops = {
	.read = vfio_read,
	.write = vfio_write,
	.read_rep8 = vfio_read_rep8,
	.write_rep8 = vfio_write_rep8,
	.flush = vfio_flush,
	.irq_set = vfio_irq_set,
	.irq_unmask = vfio_irq_unmask,
	.dma_map = vfio_dma_map,
	.dma_unmap = vfio_dma_unmap,
	.reset = vfio_reset,
	.low_power = vfio_low_power,
	.wait_fd = vfio_wait_fd,
	.attend = vfio_attend,
	.close = vfio_close,
};
