/* SPDX-License-Identifier: MIT */
/* vfio-user: accesses, interrupts and reset, as messages. */
#include "bus/vfu.h"

#include <linux/vfio.h>
#include <stddef.h>
#include <string.h>

/* Whether an access may be tried at all. */
static int io_check(const struct vfu *vfu, unsigned int region, uint64_t offset, uint32_t width)
{
	if (vfu->bus.gone)
		return -ENODEV;
	if (width != 1 && width != 2 && width != 4 && width != 8)
		return -EINVAL;
	if (region >= AU_BUS_REGIONS || vfu->bus.regions[region].size < width ||
	    offset > vfu->bus.regions[region].size - width)
		return -EINVAL;
	return 0;
}

/* What a server answered to an access: a refusal is no end, hardware does that, too. */
static int io_result(const struct vfu *vfu, int err)
{
	if (vfu->bus.gone)
		return -ENODEV;
	return err ? -EIO : 0;
}

static void *io_put(struct vfu *vfu, uint16_t command, uint32_t flags, unsigned int region,
		    uint64_t offset, uint32_t count, uint16_t *id)
{
	struct vfu_access access = { .offset = offset, .region = region, .count = count };
	uint32_t data = command == VFU_REGION_WRITE ? count : 0;
	uint8_t *at = vfu_put(vfu, command, flags, (uint32_t)sizeof(access) + data, id);

	if (!at)
		return NULL;
	memcpy(at, &access, sizeof(access));
	return at + sizeof(access);
}

/* The offset and region of a reply are not looked at: some servers leave them zero. */
static bool io_count_is(const uint8_t *payload, uint32_t count)
{
	struct vfu_access access;

	memcpy(&access, payload, sizeof(access));
	return access.count == count;
}

static int vfu_read(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		    uint64_t *value)
{
	struct vfu *vfu = vfu_of(bus);
	const uint8_t *payload;
	uint32_t size;
	uint16_t id;
	int err = io_check(vfu, region, offset, width);

	*value = width < 8 ? (1ull << (8 * width)) - 1 : ~0ull;
	if (err)
		return err;
	if (!io_put(vfu, VFU_REGION_READ, 0, region, offset, width, &id))
		return -ENODEV;
	err = vfu_call(vfu, VFU_REGION_READ, id, -1, sizeof(struct vfu_access), &payload, &size);
	if (err)
		return io_result(vfu, err);
	if (size != sizeof(struct vfu_access) + width || !io_count_is(payload, width))
		return vfu_broken(vfu, "%u bytes in reply to a read of %u", size, width);
	*value = 0;
	memcpy(value, payload + sizeof(struct vfu_access), width);
	return 0;
}

/* Gather one posted write in a WRITE_MULTI, in the one that is being gathered if it has room. */
static int io_post_multi(struct vfu *vfu, const struct vfu_write *one)
{
	const uint32_t head = sizeof(struct vfu_header) + sizeof(struct vfu_write_multi);
	struct vfu_write_multi many;
	uint32_t size;

	if (vfu->multi >= 0) {
		size = vfu->tx_len - (uint32_t)vfu->multi;
		if (size >= head + vfu->multi_max * sizeof(*one) ||
		    sizeof(vfu->tx) - vfu->tx_len < sizeof(*one))
			vfu->multi = -1;
	}
	if (vfu->multi < 0) {
		if (sizeof(vfu->tx) - vfu->tx_len < head + sizeof(*one) && vfu_send(vfu, -1))
			return -ENODEV;
		if (!vfu_put(vfu, VFU_WRITE_MULTI, VFU_NO_REPLY, sizeof(many), NULL))
			return -ENODEV;
		vfu->multi = (int)(vfu->tx_len - head);
	}
	memcpy(vfu->tx + vfu->tx_len, one, sizeof(*one));
	vfu->tx_len += (uint32_t)sizeof(*one);
	size = vfu->tx_len - (uint32_t)vfu->multi;
	many.count = (size - head) / sizeof(*one);
	memcpy(vfu->tx + vfu->multi + offsetof(struct vfu_header, size), &size, sizeof(size));
	memcpy(vfu->tx + vfu->multi + sizeof(struct vfu_header), &many, sizeof(many));
	return 0;
}

/* Gather one posted write. */
static int io_post(struct vfu *vfu, unsigned int region, uint64_t offset, uint32_t width,
		   const void *data)
{
	struct vfu_write one = { .offset = offset, .region = region, .count = width };
	void *at;

	if (vfu->multi_max) {
		memcpy(one.data, data, width);
		if (io_post_multi(vfu, &one))
			return -ENODEV;
	} else {
		at = io_put(vfu, VFU_REGION_WRITE, VFU_NO_REPLY, region, offset, width, NULL);
		if (!at)
			return -ENODEV;
		memcpy(at, data, width);
	}
	vfu->bus.pending = true;
	return 0;
}

static int vfu_write(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		     uint64_t value, bool posted)
{
	struct vfu *vfu = vfu_of(bus);
	const uint8_t *payload;
	uint32_t size;
	uint16_t id;
	void *data;
	int err = io_check(vfu, region, offset, width);

	if (err)
		return err;
	if (posted)
		return io_post(vfu, region, offset, width, &value);
	data = io_put(vfu, VFU_REGION_WRITE, 0, region, offset, width, &id);
	if (!data)
		return -ENODEV;
	memcpy(data, &value, width);
	err = vfu_call(vfu, VFU_REGION_WRITE, id, -1, sizeof(struct vfu_access), &payload, &size);
	if (err)
		return io_result(vfu, err);
	if (!io_count_is(payload, width))
		return vfu_broken(vfu, "a write of %u bytes was not done whole", width);
	return 0;
}

/* The replies to @count reads of one byte, the first of which was @first. */
static int io_gather(struct vfu *vfu, uint16_t first, uint8_t *buf, uint32_t count)
{
	const struct vfu_header *reply;
	bool seen[VFU_PIPELINE] = { false };
	const uint8_t *payload;
	uint32_t size, at;
	int refused = 0;

	for (uint32_t i = 0; i < count; i++) {
		reply = vfu_receive(vfu, &payload, &size);
		if (!reply)
			return -ENODEV;
		at = (uint16_t)(reply->id - first);
		if (reply->command != VFU_REGION_READ || at >= count || seen[at])
			return vfu_broken(vfu, "a reply to command %u among those to reads",
					  reply->command);
		seen[at] = true;
		if (reply->flags & VFU_ERROR)
			refused = -EIO;
		else if (size != sizeof(struct vfu_access) + 1 || !io_count_is(payload, 1))
			return vfu_broken(vfu, "%u bytes in reply to a read of 1", size);
		else
			buf[at] = payload[sizeof(struct vfu_access)];
	}
	return vfu_settle(vfu) ? -ENODEV : refused;
}

static int vfu_read_rep8(struct au_bus *bus, unsigned int region, uint64_t offset, uint8_t *buf,
			 uint32_t count)
{
	struct vfu *vfu = vfu_of(bus);
	uint16_t first = vfu->next_id;
	int err = io_check(vfu, region, offset, 1);

	memset(buf, 0xff, count);
	if (err || count == 0)
		return err;
	if (count > VFU_PIPELINE)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++)
		if (!io_put(vfu, VFU_REGION_READ, 0, region, offset, 1, NULL))
			return -ENODEV;
	err = vfu_send(vfu, -1);
	if (!err)
		err = io_gather(vfu, first, buf, count);
	if (bus->gone)
		memset(buf, 0xff, count);
	return err;
}

static int vfu_write_rep8(struct au_bus *bus, unsigned int region, uint64_t offset,
			  const uint8_t *buf, uint32_t count)
{
	struct vfu *vfu = vfu_of(bus);
	int err = io_check(vfu, region, offset, 1);

	for (uint32_t i = 0; !err && i < count; i++)
		err = io_post(vfu, region, offset, 1, buf + i);
	return err ? err : vfu_send(vfu, -1);
}

static int vfu_flush(struct au_bus *bus)
{
	return vfu_send(vfu_of(bus), -1);
}

/* -------------------------------------------------------------------- rest */

static int vfu_reset(struct au_bus *bus)
{
	struct vfu *vfu = vfu_of(bus);
	const uint8_t *payload;
	uint32_t size;
	uint16_t id;

	if (bus->gone)
		return -ENODEV;
	if (!(vfu->flags & VFIO_DEVICE_FLAGS_RESET))
		return -ENOTSUP;
	if (!vfu_put(vfu, VFU_DEVICE_RESET, 0, 0, &id))
		return -ENODEV;
	return vfu_call(vfu, VFU_DEVICE_RESET, id, -1, 0, &payload, &size);
}

static int vfu_wait_fd(struct au_bus *bus)
{
	return vfu_of(bus)->fd;
}

static void vfu_attend_bus(struct au_bus *bus)
{
	vfu_attend(vfu_of(bus));
}

static void vfu_close(struct au_bus *bus)
{
	vfu_free(vfu_of(bus));
}

const struct au_bus_ops vfu_ops = {
	.read = vfu_read,
	.write = vfu_write,
	.read_rep8 = vfu_read_rep8,
	.write_rep8 = vfu_write_rep8,
	.flush = vfu_flush,
	.irq_set = vfu_irq_set,
	.irq_unmask = vfu_irq_unmask,
	.dma_map = vfu_dma_map,
	.dma_unmap = vfu_dma_unmap,
	.reset = vfu_reset,
	.wait_fd = vfu_wait_fd,
	.attend = vfu_attend_bus,
	.close = vfu_close,
};
