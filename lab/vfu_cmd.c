/* SPDX-License-Identifier: MIT */
/* vfu_cmd.c: the commands of vfio-user, one function each; for interrupts see vfu_irq.c, for memory
 * vfu_dma.c. */
#include "dma.h"
#include "vfu_server.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

/* A command handler answers by itself, or returns a negative errno to be answered. */
typedef int (*command_fn)(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
			  uint32_t size);

void vfu_error(struct vfu_session *s, const struct vfu_header *h, int err)
{
	struct vfu_req *req = vfu_req_new(s, h, 0);

	vfu_req_fail(req, err);
	vfu_req_put(req);
}

/* The client's capabilities are optional, but if there are any they must be an object in JSON. */
static int check_capabilities(const uint8_t *text, uint32_t size, bool *write_multiple)
{
	*write_multiple = true;
	if (!size)
		return 0;
	if (text[size - 1] != '\0')
		return -EINVAL;

	json_t *root = json_loads((const char *)text, JSON_REJECT_DUPLICATES, NULL);
	const json_t *caps = json_object_get(root, "capabilities");
	int ret = json_is_object(root) && (!caps || json_is_object(caps)) ? 0 : -EINVAL;

	if (json_is_false(json_object_get(caps, "write_multiple")))
		*write_multiple = false;
	json_decref(root);
	return ret;
}

static int cmd_version(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
		       uint32_t size)
{
	struct vfu_version v;
	bool multi;
	char caps[256];

	if (size < sizeof(v) || s->state != VFU_NEW)
		return -EINVAL;
	memcpy(&v, payload, sizeof(v));
	if (v.major != VFU_MAJOR ||
	    check_capabilities(payload + sizeof(v), size - (uint32_t)sizeof(v), &multi)) {
		lab_msg("%s: a client with vfio-user version %u.%u or capabilities that this lab "
			"does not understand",
			s->f->id, v.major, v.minor);
		vfu_error(s, h, -EINVAL);
		s->state = VFU_CLOSING;
		return 0;
	}
	if (v.minor > VFU_MINOR)
		v.minor = VFU_MINOR;

	int n = snprintf(caps, sizeof(caps),
			 "{\"capabilities\":{\"max_msg_fds\":%d,\"max_data_xfer_size\":%u,"
			 "\"max_dma_maps\":%u,\"pgsizes\":4096,\"write_multiple\":%s}}",
			 VFU_MAX_MSG_FDS, VFU_MAX_XFER, LAB_MAX_MAPS, multi ? "true" : "false");
	struct vfu_req *req = vfu_req_new(s, h, (uint32_t)(sizeof(v) + (size_t)n + 1));
	memcpy(vfu_req_payload(req), &v, sizeof(v));
	memcpy((char *)vfu_req_payload(req) + sizeof(v), caps, (size_t)n + 1);
	vfu_req_put(req);
	s->state = VFU_READY;
	return 0;
}

static int cmd_get_info(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
			uint32_t size)
{
	struct vfu_device_info info;

	if (size < sizeof(info))
		return -EINVAL;
	memcpy(&info, payload, sizeof(info));
	if (info.argsz < sizeof(info))
		return -EINVAL;
	info = (struct vfu_device_info){ .argsz = sizeof(info),
					 .flags = VFIO_DEVICE_FLAGS_PCI,
					 .num_regions = LAB_NUM_REGIONS,
					 .num_irqs = LAB_NUM_IRQS };
	if (s->f->has_flr)
		info.flags |= VFIO_DEVICE_FLAGS_RESET;

	struct vfu_req *req = vfu_req_new(s, h, sizeof(info));
	memcpy(vfu_req_payload(req), &info, sizeof(info));
	vfu_req_put(req);
	return 0;
}

static int cmd_get_region_info(struct vfu_session *s, const struct vfu_header *h,
			       const uint8_t *payload, uint32_t size)
{
	struct vfio_region_info info;

	if (size < sizeof(info))
		return -EINVAL;
	memcpy(&info, payload, sizeof(info));
	if (info.argsz < sizeof(info) || info.index >= LAB_NUM_REGIONS)
		return -EINVAL;
	info.argsz = sizeof(info);
	info.cap_offset = 0;
	info.offset = 0;
	info.size = region_size(s->f, info.index);
	info.flags = info.size ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0;

	struct vfu_req *req = vfu_req_new(s, h, sizeof(info));
	memcpy(vfu_req_payload(req), &info, sizeof(info));
	vfu_req_put(req);
	return 0;
}

static int cmd_region_read(struct vfu_session *s, const struct vfu_header *h,
			   const uint8_t *payload, uint32_t size)
{
	struct vfu_region_access a;

	if (size < sizeof(a))
		return -EINVAL;
	memcpy(&a, payload, sizeof(a));
	if (a.count > VFU_MAX_XFER || region_check(s->f, a.region, a.offset, a.count))
		return -EINVAL;

	struct vfu_req *req = vfu_req_new(s, h, (uint32_t)sizeof(a) + a.count);
	uint8_t *reply = vfu_req_payload(req);
	memcpy(reply, &a, sizeof(a));
	region_read(req, a.region, a.offset, a.count, reply + sizeof(a));
	vfu_req_put(req);
	return 0;
}

static void reset_done(void *arg, int err)
{
	struct vfu_req *req = arg;

	if (err)
		vfu_req_fail(req, err);
	vfu_req_put(req);
}

static void start_reset(struct vfu_req *req)
{
	req->left++;
	reset_start(req->f, reset_done, req);
}

static int cmd_region_write(struct vfu_session *s, const struct vfu_header *h,
			    const uint8_t *payload, uint32_t size)
{
	struct vfu_region_access a;

	if (size < sizeof(a))
		return -EINVAL;
	memcpy(&a, payload, sizeof(a));
	if (a.count > size - sizeof(a) || region_check(s->f, a.region, a.offset, a.count))
		return -EINVAL;

	struct vfu_req *req = vfu_req_new(s, h, sizeof(a));
	memcpy(vfu_req_payload(req), &a, sizeof(a));
	if (region_write(req, a.region, a.offset, a.count, payload + sizeof(a)))
		start_reset(req);
	vfu_req_put(req);
	return 0;
}

static int cmd_write_multi(struct vfu_session *s, const struct vfu_header *h,
			   const uint8_t *payload, uint32_t size)
{
	uint64_t count;
	struct vfu_write w;
	bool reset = false;

	if (size < sizeof(count))
		return -EINVAL;
	memcpy(&count, payload, sizeof(count));
	payload += sizeof(count);
	if (count > (size - sizeof(count)) / sizeof(w))
		return -EINVAL;
	for (uint64_t i = 0; i < count; i++) { /* all or nothing */
		memcpy(&w, payload + i * sizeof(w), sizeof(w));
		if (w.count > sizeof(w.data) || region_check(s->f, w.region, w.offset, w.count))
			return -EINVAL;
	}

	struct vfu_req *req = vfu_req_new(s, h, sizeof(count));
	memcpy(vfu_req_payload(req), &count, sizeof(count));
	for (uint64_t i = 0; i < count; i++) {
		memcpy(&w, payload + i * sizeof(w), sizeof(w));
		reset |= region_write(req, w.region, w.offset, w.count, w.data);
	}
	if (reset)
		start_reset(req);
	vfu_req_put(req);
	return 0;
}

static int cmd_reset(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
		     uint32_t size)
{
	if (!s->f->has_flr)
		return -EOPNOTSUPP;

	struct vfu_req *req = vfu_req_new(s, h, 0);
	start_reset(req);
	vfu_req_put(req);
	return 0;
}

static int cmd_none(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
		    uint32_t size)
{
	return -EOPNOTSUPP;
}

static const command_fn commands[] = {
	[VFU_VERSION] = cmd_version,
	[VFU_DMA_MAP] = vfu_dma_map,
	[VFU_DMA_UNMAP] = vfu_dma_unmap,
	[VFU_DEVICE_GET_INFO] = cmd_get_info,
	[VFU_DEVICE_GET_REGION_INFO] = cmd_get_region_info,
	[VFU_DEVICE_GET_REGION_IO_FDS] = cmd_none,
	[VFU_DEVICE_GET_IRQ_INFO] = vfu_get_irq_info,
	[VFU_DEVICE_SET_IRQS] = vfu_set_irqs,
	[VFU_REGION_READ] = cmd_region_read,
	[VFU_REGION_WRITE] = cmd_region_write,
	[VFU_DEVICE_RESET] = cmd_reset,
	[VFU_REGION_WRITE_MULTI] = cmd_write_multi,
};

void vfu_execute(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
		 uint32_t size)
{
	command_fn fn = NULL;
	int ret;

	if (h->cmd < sizeof(commands) / sizeof(commands[0]))
		fn = commands[h->cmd];
	ret = fn ? fn(s, h, payload, size) : -ENOSYS;
	if (ret)
		vfu_error(s, h, ret);
}
