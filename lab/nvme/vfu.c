/* SPDX-License-Identifier: MIT */
/* vfu.c: the commands of vfio-user, one function each. */
#include "session.h"

#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>

/* A command handler answers by itself, or returns a negative errno to be answered. */
typedef int (*command_fn)(struct nvme_session *s, const struct vfu_header *h,
			  const uint8_t *payload, uint32_t size);

static int done(struct nvme_session *s, const struct vfu_header *h, const void *payload,
		uint32_t size)
{
	nvme_session_reply(s, h, 0, payload, size, -1);
	return 0;
}

static int cmd_version(struct nvme_session *s, const struct vfu_header *h, const uint8_t *payload,
		       uint32_t size)
{
	struct {
		struct vfu_version v;
		char caps[256];
	} reply = { 0 };
	int n;

	if (size < sizeof(reply.v) || s->ready)
		return -EINVAL;
	memcpy(&reply.v, payload, sizeof(reply.v));
	if (reply.v.major != VFU_MAJOR)
		return lab_fail(-EINVAL, "a client with vfio-user version %u.%u, this is %u.%u",
				reply.v.major, reply.v.minor, VFU_MAJOR, VFU_MINOR);
	if (reply.v.minor > VFU_MINOR)
		reply.v.minor = VFU_MINOR;
	/* Of the client's capabilities nothing is needed: it is sent one descriptor at a time. */
	n = snprintf(reply.caps, sizeof(reply.caps),
		     "{\"capabilities\":{\"max_msg_fds\":%d,\"max_data_xfer_size\":%u,"
		     "\"max_dma_maps\":%u,\"pgsizes\":4096,\"write_multiple\":true}}",
		     VFU_MAX_MSG_FDS, VFU_MAX_XFER, NVME_DMA_MAPS);
	s->ready = true;
	return done(s, h, &reply, (uint32_t)(sizeof(reply.v) + (size_t)n + 1));
}

static int cmd_dma_map(struct nvme_session *s, const struct vfu_header *h, const uint8_t *payload,
		       uint32_t size)
{
	AU_CLEANUP_FD int fd = -1;
	struct vfu_dma_map map;
	int ret;

	if (size < sizeof(map))
		return -EINVAL;
	memcpy(&map, payload, sizeof(map));
	if (!vfu_fds_take(&s->fds, &fd, 1))
		return lab_fail(-EINVAL, "a DMA_MAP without a descriptor: memory is only mapped");
	ret = nvme_dma_map(&s->nvme->dma, map.addr, map.size, map.flags, fd, map.offset);
	if (ret == -EPERM)
		lab_msg("a DMA_MAP of what is not a memfd, or not sealed against shrinking");
	return ret ? ret : done(s, h, NULL, 0);
}

/* When it is answered, nothing of the memory is in use: this thread is all there is. */
static int cmd_dma_unmap(struct nvme_session *s, const struct vfu_header *h, const uint8_t *payload,
			 uint32_t size)
{
	struct vfu_dma_unmap unmap;
	int ret = 0;

	if (size < sizeof(unmap))
		return -EINVAL;
	memcpy(&unmap, payload, sizeof(unmap));
	if (unmap.flags == VFIO_DMA_UNMAP_FLAG_ALL && !unmap.addr && !unmap.size)
		nvme_dma_clear(&s->nvme->dma);
	else if (unmap.flags)
		return -EINVAL;
	else
		ret = nvme_dma_unmap(&s->nvme->dma, unmap.addr, unmap.size);
	return ret ? ret : done(s, h, &unmap, sizeof(unmap));
}

static int cmd_get_info(struct nvme_session *s, const struct vfu_header *h, const uint8_t *payload,
			uint32_t size)
{
	struct vfu_device_info info;

	if (size < sizeof(info))
		return -EINVAL;
	memcpy(&info, payload, sizeof(info));
	if (info.argsz < sizeof(info))
		return -EINVAL;
	info = (struct vfu_device_info){ .argsz = sizeof(info),
					 .flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
					 .num_regions = VFIO_PCI_NUM_REGIONS,
					 .num_irqs = VFIO_PCI_NUM_IRQS };
	return done(s, h, &info, sizeof(info));
}

static uint64_t region_bytes(uint32_t index)
{
	if (index == VFIO_PCI_BAR0_REGION_INDEX)
		return NVME_BAR_SIZE;
	return index == VFIO_PCI_CONFIG_REGION_INDEX ? NVME_CONFIG_SIZE : 0;
}

/* struct vfio_region_info_cap_sparse_mmap, without the areas behind it. */
struct sparse {
	struct vfio_info_cap_header header;
	uint32_t nr_areas, reserved;
};
static_assert(sizeof(struct sparse) == sizeof(struct vfio_region_info_cap_sparse_mmap), "");

static int cmd_get_region_info(struct nvme_session *s, const struct vfu_header *h,
			       const uint8_t *payload, uint32_t size)
{
	struct {
		struct vfio_region_info info;
		struct sparse sparse;
		struct vfio_region_sparse_mmap_area area;
	} r = { 0 };
	uint32_t room;

	if (size < sizeof(r.info))
		return -EINVAL;
	memcpy(&r.info, payload, sizeof(r.info));
	if (r.info.argsz < sizeof(r.info) || r.info.index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	room = r.info.argsz;
	r.info = (struct vfio_region_info){ .argsz = sizeof(r.info),
					    .index = r.info.index,
					    .size = region_bytes(r.info.index) };
	if (r.info.size)
		r.info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	if (r.info.index != VFIO_PCI_BAR0_REGION_INDEX || s->nvme->opt.trap)
		return done(s, h, &r.info, sizeof(r.info));

	/* Only the doorbells can be mapped. */
	r.info.flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
	r.info.argsz = sizeof(r);
	r.sparse.header = (struct vfio_info_cap_header){ VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0 };
	r.sparse.nr_areas = 1;
	r.area = (struct vfio_region_sparse_mmap_area){ NVME_BAR_DOORBELLS, NVME_PAGE };
	if (room < sizeof(r)) /* it can ask again with more room */
		return done(s, h, &r.info, sizeof(r.info));
	r.info.cap_offset = sizeof(r.info);
	nvme_session_reply(s, h, 0, &r, sizeof(r), s->nvme->doorbell_fd);
	return 0;
}

static int cmd_get_irq_info(struct nvme_session *s, const struct vfu_header *h,
			    const uint8_t *payload, uint32_t size)
{
	struct vfio_irq_info info;

	if (size < sizeof(info))
		return -EINVAL;
	memcpy(&info, payload, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	info = (struct vfio_irq_info){ .argsz = sizeof(info), .index = info.index };
	if (info.index == VFIO_PCI_INTX_IRQ_INDEX) {
		info.flags =
			VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
		info.count = 1;
	} else if (info.index == VFIO_PCI_MSIX_IRQ_INDEX) {
		info.flags = VFIO_IRQ_INFO_EVENTFD;
		info.count = s->nvme->opt.queues + 1;
	}
	return done(s, h, &info, sizeof(info));
}

/* Descriptors for all of the vectors, or for none, which disconnects them. */
static int irqs_connect(struct nvme_session *s, const struct vfio_irq_set *set)
{
	bool none = s->fds.num == 0;

	if (!none && s->fds.num < set->count)
		return -EINVAL;
	for (uint32_t i = 0; i < set->count; i++) {
		int fd = -1;

		vfu_fds_take(&s->fds, &fd, none ? 0 : 1);
		nvme_irq_connect(s->nvme, set->index, set->start + i, fd);
	}
	return 0;
}

static int irqs_act(struct nvme *nvme, const struct vfio_irq_set *set, const uint8_t *data)
{
	uint32_t action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;

	for (uint32_t i = 0; i < set->count; i++) {
		if (data && !data[i])
			continue;
		if (action == VFIO_IRQ_SET_ACTION_TRIGGER)
			nvme_irq_trigger(nvme, set->index, set->start + i);
		else if (set->index == VFIO_PCI_INTX_IRQ_INDEX)
			nvme_intx_mask(nvme, action == VFIO_IRQ_SET_ACTION_MASK);
		else
			return -EINVAL;
	}
	return 0;
}

static int irqs_set(struct nvme_session *s, const struct vfio_irq_set *set, const uint8_t *data,
		    uint32_t size)
{
	uint32_t kind = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	uint32_t action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	uint32_t have = 0;

	if (set->index == VFIO_PCI_INTX_IRQ_INDEX)
		have = 1;
	else if (set->index == VFIO_PCI_MSIX_IRQ_INDEX)
		have = s->nvme->opt.queues + 1;
	if (set->start > have || set->count > have - set->start)
		return -EINVAL;
	if (action != VFIO_IRQ_SET_ACTION_TRIGGER && action != VFIO_IRQ_SET_ACTION_MASK &&
	    action != VFIO_IRQ_SET_ACTION_UNMASK)
		return -EINVAL;
	switch (kind) {
	case VFIO_IRQ_SET_DATA_NONE:
		if (!set->count && action == VFIO_IRQ_SET_ACTION_TRIGGER)
			nvme_irq_disconnect(s->nvme, set->index);
		return irqs_act(s->nvme, set, NULL);
	case VFIO_IRQ_SET_DATA_BOOL:
		return size < set->count ? -EINVAL : irqs_act(s->nvme, set, data);
	case VFIO_IRQ_SET_DATA_EVENTFD:
		return action == VFIO_IRQ_SET_ACTION_TRIGGER ? irqs_connect(s, set) : -EOPNOTSUPP;
	default:
		return -EINVAL;
	}
}

static int cmd_set_irqs(struct nvme_session *s, const struct vfu_header *h, const uint8_t *payload,
			uint32_t size)
{
	struct vfio_irq_set set;
	int ret;

	if (size < sizeof(set))
		return -EINVAL;
	memcpy(&set, payload, sizeof(set));
	if (set.argsz < sizeof(set) || set.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	ret = irqs_set(s, &set, payload + sizeof(set), size - (uint32_t)sizeof(set));
	return ret ? ret : done(s, h, NULL, 0);
}

static bool access_fits(uint32_t region, uint64_t off, uint64_t count)
{
	uint64_t size = region < VFIO_PCI_NUM_REGIONS ? region_bytes(region) : 0;

	return count && off <= size && count <= size - off;
}

static int cmd_region_read(struct nvme_session *s, const struct vfu_header *h,
			   const uint8_t *payload, uint32_t size)
{
	uint8_t reply[sizeof(struct vfu_region_access) + NVME_BAR_SIZE];
	struct vfu_region_access a;

	if (size < sizeof(a))
		return -EINVAL;
	memcpy(&a, payload, sizeof(a));
	if (!access_fits(a.region, a.offset, a.count))
		return -EINVAL;
	memcpy(reply, &a, sizeof(a));
	if (a.region == VFIO_PCI_CONFIG_REGION_INDEX)
		nvme_config_read(s->nvme, a.offset, a.count, reply + sizeof(a));
	else
		nvme_bar_read(s->nvme, a.offset, a.count, reply + sizeof(a));
	return done(s, h, reply, (uint32_t)sizeof(a) + a.count);
}

static void region_write(struct nvme *nvme, uint32_t region, uint64_t off, uint32_t count,
			 const uint8_t *data)
{
	if (region == VFIO_PCI_CONFIG_REGION_INDEX)
		nvme_config_write(nvme, off, count, data);
	else
		nvme_bar_write(nvme, off, count, data);
}

static int cmd_region_write(struct nvme_session *s, const struct vfu_header *h,
			    const uint8_t *payload, uint32_t size)
{
	struct vfu_region_access a;

	if (size < sizeof(a))
		return -EINVAL;
	memcpy(&a, payload, sizeof(a));
	if (a.count > size - sizeof(a) || !access_fits(a.region, a.offset, a.count))
		return -EINVAL;
	region_write(s->nvme, a.region, a.offset, a.count, payload + sizeof(a));
	return done(s, h, &a, sizeof(a));
}

static int cmd_write_multi(struct nvme_session *s, const struct vfu_header *h,
			   const uint8_t *payload, uint32_t size)
{
	struct vfu_write w;
	uint64_t count;

	if (size < sizeof(count))
		return -EINVAL;
	memcpy(&count, payload, sizeof(count));
	payload += sizeof(count);
	if (count > (size - sizeof(count)) / sizeof(w))
		return -EINVAL;
	for (uint64_t i = 0; i < count; i++) { /* all or nothing */
		memcpy(&w, payload + i * sizeof(w), sizeof(w));
		if (w.count > sizeof(w.data) || !access_fits(w.region, w.offset, w.count))
			return -EINVAL;
	}
	for (uint64_t i = 0; i < count; i++) {
		memcpy(&w, payload + i * sizeof(w), sizeof(w));
		region_write(s->nvme, w.region, w.offset, w.count, w.data);
	}
	return done(s, h, &count, sizeof(count));
}

/* As with vfio-pci, the configuration is put back after the reset: here, it never went. */
static int cmd_reset(struct nvme_session *s, const struct vfu_header *h, const uint8_t *payload,
		     uint32_t size)
{
	nvme_function_reset(s->nvme);
	return done(s, h, NULL, 0);
}

static int cmd_none(struct nvme_session *s, const struct vfu_header *h, const uint8_t *payload,
		    uint32_t size)
{
	return -EOPNOTSUPP;
}

static const command_fn commands[] = {
	[VFU_VERSION] = cmd_version,
	[VFU_DMA_MAP] = cmd_dma_map,
	[VFU_DMA_UNMAP] = cmd_dma_unmap,
	[VFU_DEVICE_GET_INFO] = cmd_get_info,
	[VFU_DEVICE_GET_REGION_INFO] = cmd_get_region_info,
	[VFU_DEVICE_GET_REGION_IO_FDS] = cmd_none,
	[VFU_DEVICE_GET_IRQ_INFO] = cmd_get_irq_info,
	[VFU_DEVICE_SET_IRQS] = cmd_set_irqs,
	[VFU_REGION_READ] = cmd_region_read,
	[VFU_REGION_WRITE] = cmd_region_write,
	[VFU_DEVICE_RESET] = cmd_reset,
	[VFU_REGION_WRITE_MULTI] = cmd_write_multi,
};

void nvme_vfu_execute(struct nvme_session *s, const struct vfu_header *h, const uint8_t *payload,
		      uint32_t size)
{
	command_fn fn = NULL;
	int ret;

	if (h->cmd < sizeof(commands) / sizeof(commands[0]))
		fn = commands[h->cmd];
	ret = fn ? fn(s, h, payload, size) : -ENOSYS;
	if (ret)
		nvme_session_reply(s, h, ret, NULL, 0, -1);
}
