/* SPDX-License-Identifier: MIT */
/*
 * vhost-user: memory that the back-end may map. One that takes regions one by one is told of each
 * as it comes and goes; the others get all of them at once, again and again, at most eight.
 */
#include "bus/vhost.h"

#include <fcntl.h>
#include <unistd.h>

static struct vhost_region mem_region(const struct vhost_map *m)
{
	return (struct vhost_region){ m->iova, m->size, m->iova, m->offset };
}

static int mem_table(struct vhost *v)
{
	struct vhost_mem_table table = { .count = v->map_count };
	int fds[VHOST_REGIONS];

	for (unsigned int i = 0; i < v->map_count; i++) {
		table.region[i] = mem_region(&v->map[i]);
		fds[i] = v->map[i].fd;
	}
	return vhost_set(v, VHOST_SET_MEM_TABLE, &table,
			 (uint32_t)(8 + v->map_count * sizeof(table.region[0])), fds, v->map_count);
}

static int mem_slot(struct vhost *v, enum vhost_request request, const struct vhost_map *m)
{
	const struct vhost_mem_slot slot = { .region = mem_region(m) };

	/* To take one away, its descriptor is not needed; some want one all the same. */
	return vhost_set(v, request, &slot, sizeof(slot), &m->fd, 1);
}

int vhost_mem_tell(struct vhost *v)
{
	int err = 0;

	if (!v->slots)
		return v->map_count ? mem_table(v) : 0;
	for (unsigned int i = 0; i < v->map_count && !err; i++)
		err = v->map[i].told ? 0 : mem_slot(v, VHOST_ADD_MEM_REG, &v->map[i]);
	for (unsigned int i = 0; i < v->map_count && !err; i++)
		v->map[i].told = true;
	return err;
}

/* Before the first queue is started nobody needs to know. */
static bool mem_late(const struct vhost *v)
{
	return v->told;
}

int vhost_dma_map(struct au_bus *bus, uint64_t iova, uint64_t size, void *cpu, int fd,
		  uint64_t offset)
{
	struct vhost *v = vhost_of(bus);
	unsigned int most = v->slots ? v->slots : VHOST_REGIONS;
	struct vhost_map *m = &v->map[v->map_count];
	int err;

	(void)cpu;
	if (bus->gone)
		return -ENODEV;
	if (v->map_count >= (most < VHOST_MAPS ? most : VHOST_MAPS))
		return -ENOSPC;
	*m = (struct vhost_map){ iova, size, offset, fcntl(fd, F_DUPFD_CLOEXEC, 0), false };
	if (m->fd < 0)
		return -errno;
	v->map_count++;
	if (!mem_late(v))
		return 0;
	err = vhost_mem_tell(v);
	if (err) {
		close(m->fd);
		v->map_count--;
	}
	return err;
}

int vhost_dma_unmap(struct au_bus *bus, uint64_t iova, uint64_t size)
{
	struct vhost *v = vhost_of(bus);
	struct vhost_map gone = { .fd = -1 };
	int err;

	for (unsigned int i = 0; i < v->map_count; i++) {
		if (v->map[i].iova == iova && v->map[i].size == size) {
			gone = v->map[i];
			v->map[i] = v->map[--v->map_count];
		}
	}
	if (gone.fd < 0)
		return -ENOENT;
	if (bus->gone)
		err = -ENODEV;
	else if (!mem_late(v))
		err = 0;
	else if (v->slots)
		err = gone.told ? mem_slot(v, VHOST_REM_MEM_REG, &gone) : 0;
	else
		err = mem_table(v);
	close(gone.fd);
	/* It may have it still: others are to have that address. */
	return err && !bus->gone ? vhost_gone(v, err, "the vhost-user back-end keeps memory") : err;
}
