/* SPDX-License-Identifier: MIT */
/* vfu_irq.c: the commands about interrupts, as vfio-pci answers them. */
#include "vfu_server.h"

#include <errno.h>
#include <string.h>

int vfu_get_irq_info(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
		     uint32_t size)
{
	struct vfio_irq_info info;

	if (size < sizeof(info))
		return -EINVAL;
	memcpy(&info, payload, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= LAB_NUM_IRQS)
		return -EINVAL;
	info.argsz = sizeof(info);
	info.flags = 0;
	info.count = 0;
	if (info.index == VFIO_PCI_INTX_IRQ_INDEX && s->f->pin) {
		info.flags = VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
		info.count = 1;
	} else if (info.index == VFIO_PCI_MSI_IRQ_INDEX) {
		info.count = s->f->msi.num_msi;
	} else if (info.index == VFIO_PCI_MSIX_IRQ_INDEX) {
		info.count = s->f->msi.num_msix;
	}
	if (info.count)
		info.flags |= VFIO_IRQ_INFO_EVENTFD;

	struct vfu_req *req = vfu_req_new(s, h, sizeof(info));
	memcpy(vfu_req_payload(req), &info, sizeof(info));
	vfu_req_put(req);
	return 0;
}

static int connect_intx(struct vfu_session *s)
{
	struct lab_func *f = s->f;
	int fd;

	if (f->irq_mode != LAB_IRQ_NONE && f->irq_mode != LAB_IRQ_INTX)
		return -EINVAL;
	intx_set_fd(f, vfu_take_fds(s, &fd, 1) ? fd : -1);
	return 0;
}

static int set_intx(struct vfu_session *s, const struct vfio_irq_set *set, const uint8_t *data,
		    uint32_t size)
{
	struct lab_func *f = s->f;
	uint32_t kind = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	uint32_t action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;

	if (!f->pin || set->start || set->count > 1)
		return -EINVAL;
	if (kind == VFIO_IRQ_SET_DATA_NONE && action == VFIO_IRQ_SET_ACTION_TRIGGER &&
	    !set->count) {
		intx_set_fd(f, -1);
		return 0;
	}
	if (!set->count)
		return -EINVAL;
	if (kind == VFIO_IRQ_SET_DATA_EVENTFD)
		return action == VFIO_IRQ_SET_ACTION_TRIGGER ? connect_intx(s) : -EOPNOTSUPP;
	if (kind == VFIO_IRQ_SET_DATA_BOOL) {
		if (size < 1)
			return -EINVAL;
		if (!data[0])
			return 0;
	} else if (kind != VFIO_IRQ_SET_DATA_NONE) {
		return -EINVAL;
	}
	switch (action) {
	case VFIO_IRQ_SET_ACTION_MASK:
	case VFIO_IRQ_SET_ACTION_UNMASK:
		if (f->irq_fd < 0)
			return -EINVAL;
		intx_set_masked(f, action == VFIO_IRQ_SET_ACTION_MASK);
		return 0;
	case VFIO_IRQ_SET_ACTION_TRIGGER:
		intx_signal(f);
		return 0;
	default:
		return -EINVAL;
	}
}

/* As many descriptors as vectors, or none at all, which disconnects them. */
static int connect_messages(struct vfu_session *s, enum lab_irq_mode mode,
			    const struct vfio_irq_set *set)
{
	struct lab_func *f = s->f;
	int fds[VFU_MAX_MSG_FDS];

	if (f->irq_mode != LAB_IRQ_NONE && f->irq_mode != mode)
		return -EINVAL;
	if (!s->fds.num) {
		msi_connect(f, mode, set->start, set->count, NULL);
		return 0;
	}
	if (set->count > VFU_MAX_MSG_FDS || !vfu_take_fds(s, fds, set->count))
		return -EINVAL;
	msi_connect(f, mode, set->start, set->count, fds);
	return 0;
}

static int set_messages(struct vfu_session *s, enum lab_irq_mode mode,
			const struct vfio_irq_set *set, const uint8_t *data, uint32_t size)
{
	struct lab_func *f = s->f;
	uint32_t kind = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	unsigned int num = msi_num(f, mode);

	if (!set->count && !set->start && kind == VFIO_IRQ_SET_DATA_NONE &&
	    (set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) == VFIO_IRQ_SET_ACTION_TRIGGER) {
		if (f->irq_mode == mode) /* else it is harmless, and clients do it */
			msi_disable(f);
		return 0;
	}
	if (!set->count || set->start >= num || set->count > num - set->start ||
	    (set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) != VFIO_IRQ_SET_ACTION_TRIGGER)
		return -EINVAL;
	if (kind == VFIO_IRQ_SET_DATA_EVENTFD)
		return connect_messages(s, mode, set);
	if (f->irq_mode != mode ||
	    (kind == VFIO_IRQ_SET_DATA_BOOL ? size < set->count : kind != VFIO_IRQ_SET_DATA_NONE))
		return -EINVAL;
	for (unsigned int i = 0; i < set->count; i++)
		if (kind == VFIO_IRQ_SET_DATA_NONE || data[i])
			msi_trigger(f, set->start + i);
	return 0;
}

int vfu_set_irqs(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
		 uint32_t size)
{
	struct vfio_irq_set set;
	int ret;

	if (size < sizeof(set))
		return -EINVAL;
	memcpy(&set, payload, sizeof(set));
	if (set.argsz < sizeof(set) || set.index >= LAB_NUM_IRQS)
		return -EINVAL;
	payload += sizeof(set);
	size -= (uint32_t)sizeof(set);
	if (s->f->removed)
		ret = set.count ? -ENODEV : 0;
	else if (set.index == VFIO_PCI_INTX_IRQ_INDEX)
		ret = set_intx(s, &set, payload, size);
	else if (set.index == VFIO_PCI_MSI_IRQ_INDEX)
		ret = set_messages(s, LAB_IRQ_MSI, &set, payload, size);
	else if (set.index == VFIO_PCI_MSIX_IRQ_INDEX)
		ret = set_messages(s, LAB_IRQ_MSIX, &set, payload, size);
	else /* turning off what is not there is harmless, and clients do it */
		ret = set.count ? -EINVAL : 0;
	if (ret)
		return ret;
	vfu_req_put(vfu_req_new(s, h, 0));
	return 0;
}
