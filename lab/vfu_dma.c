/* SPDX-License-Identifier: MIT */
/* vfu_dma.c: the commands about a client's memory. */
#include "dma.h"
#include "iommu.h"
#include "vfu_server.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

struct pending {
	struct vfu_req *req;
	int fd;
};

static void mapped(void *arg, int err)
{
	struct pending *p = arg;

	if (err)
		vfu_req_fail(p->req, err);
	vfu_req_put(p->req);
	if (p->fd >= 0)
		close(p->fd);
	free(p);
}

static struct pending *new_pending(struct vfu_req *req, int fd)
{
	struct pending *p = lab_xcalloc(1, sizeof(*p));

	p->req = req;
	p->fd = fd;
	return p;
}

static bool is_range(uint64_t addr, uint64_t size)
{
	return size && size <= LAB_IOVA_END && addr < LAB_IOVA_END && size <= LAB_IOVA_END - addr &&
	       (addr | size) % LAB_PAGE == 0;
}

/* QEMU opens the file by its own name, for reading and writing: only what the client could do. */
static int check_access(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return -errno;
	return (flags & O_ACCMODE) == O_RDWR && !(flags & O_PATH) ? 0 : -EACCES;
}

int vfu_dma_map(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
		uint32_t size)
{
	const uint32_t known = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE;
	struct vfu_dma_map m;
	int fd, ret;

	if (size < sizeof(m))
		return -EINVAL;
	memcpy(&m, payload, sizeof(m));
	if (m.argsz < sizeof(m) || m.flags & ~known || !(m.flags & known) ||
	    !is_range(m.addr, m.size) || m.offset % LAB_PAGE || m.offset > LAB_IOVA_END)
		return -EINVAL;
	if (!vfu_take_fds(s, &fd, 1)) /* memory that only the client can reach */
		return -EOPNOTSUPP;
	if ((ret = check_access(fd))) {
		close(fd);
		return ret;
	}

	struct vfu_req *req = vfu_req_new(s, h, 0);
	const struct dma_request r = {
		.iova = m.addr,
		.size = m.size,
		.offset = m.offset,
		.prot = (m.flags & VFIO_DMA_MAP_FLAG_READ ? (unsigned int)IOMMU_READ : 0) |
			(m.flags & VFIO_DMA_MAP_FLAG_WRITE ? (unsigned int)IOMMU_WRITE : 0),
	};
	dma_map(s->f, &r, fd, mapped, new_pending(req, fd));
	return 0;
}

int vfu_dma_unmap(struct vfu_session *s, const struct vfu_header *h, const uint8_t *payload,
		  uint32_t size)
{
	struct vfu_dma_unmap m;

	if (size < sizeof(m))
		return -EINVAL;
	memcpy(&m, payload, sizeof(m));
	if (m.argsz < sizeof(m))
		return -EINVAL;
	if (m.flags == VFIO_DMA_UNMAP_FLAG_ALL ? m.addr || m.size
					       : m.flags || !is_range(m.addr, m.size))
		return -EINVAL;

	struct vfu_req *req = vfu_req_new(s, h, sizeof(m));
	memcpy(vfu_req_payload(req), &m, sizeof(m));
	dma_unmap(s->f, m.addr, m.size, mapped, new_pending(req, -1));
	return 0;
}
