/* SPDX-License-Identifier: MIT */
/*
 * dma.c: DMA_MAP and DMA_UNMAP: a queue of jobs, of which one at a time changes tables and memory
 * modules. Waiting for QEMU to let go of a module is not part of that: it may take as long as the
 * slowest disk.
 */
#include "dma.h"
#include "lab.h"

#include <errno.h>
#include <string.h>

enum kind { MAP, UNMAP, UNMAP_ALL };

struct dma_job {
	struct lab_func *f;
	enum kind kind;
	struct dma_request r;
	int fd;
	struct lab_map *map;	 /* in the making */
	struct lab_map *removed; /* taken out of the tables, their modules not put yet */
	unsigned int left;	 /* of the modules that are being put */
	int err;
	dma_done_fn done;
	void *arg;
	struct dma_job *next;
};

static void run_next(struct lab *lab);

/* The change is made as far as others are concerned. */
static void let_next_run(struct dma_job *j)
{
	struct lab *lab = j->f->lab;

	lab->dma_first = j->next;
	if (!lab->dma_first)
		lab->dma_last = NULL;
	run_next(lab);
}

static void answer(struct dma_job *j)
{
	j->f->dma_jobs--;
	j->done(j->arg, j->err);
	free(j);
}

static void finish(struct dma_job *j, int err)
{
	j->err = err;
	let_next_run(j);
	answer(j);
}

static void count(struct lab_func *f, const struct lab_map *map, int sign)
{
	f->num_maps += (unsigned int)sign;
	__atomic_store_n(&f->stat->maps, f->num_maps, __ATOMIC_RELAXED);
	__atomic_add_fetch(&f->stat->mapped, sign > 0 ? map->size : -map->size, __ATOMIC_RELAXED);
}

static void dropped_dimm(void *arg, int err)
{
	struct dma_job *j = arg;

	finish(j, j->err);
}

static void add_map(struct dma_job *j)
{
	struct lab_func *f = j->f;
	struct lab_map *map = j->map;
	int err = iommu_map(f, map->iova, map->dimm->addr + j->r.offset, map->size, j->r.prot);

	if (err) {
		j->err = lab_fail(err, "%s: no room for the IOMMU's tables", f->id);
		dimm_put(f->lab, map->dimm, dropped_dimm, j);
		free(map);
		return;
	}
	map->next = f->maps;
	f->maps = map;
	count(f, map, 1);
	finish(j, 0);
}

static void have_dimm(void *arg, int err)
{
	struct dma_job *j = arg;

	if (!err) {
		add_map(j);
		return;
	}
	free(j->map);
	finish(j, err);
}

static int check_map(const struct dma_job *j, struct stat *st)
{
	const struct lab_func *f = j->f;
	uint64_t end = j->r.iova + j->r.size;

	if (f->lab->qmp.dead || f->removed)
		return -ENODEV;
	if (end > LAB_IOVA_MSI && j->r.iova < LAB_IOVA_MSI_END)
		return -EINVAL;
	for (const struct lab_map *m = f->maps; m; m = m->next)
		if (end > m->iova && j->r.iova < m->iova + m->size)
			return -EEXIST;
	if (f->num_maps >= LAB_MAX_MAPS)
		return -ENOSPC;
	if (fstat(j->fd, st))
		return -errno;
	if (!S_ISREG(st->st_mode) || (uint64_t)st->st_size < j->r.offset + j->r.size)
		return -EINVAL;
	return 0;
}

static void run_map(struct dma_job *j)
{
	struct lab *lab = j->f->lab;
	struct stat st;
	int err = check_map(j, &st);

	if (err) {
		finish(j, err);
		return;
	}
	j->map = lab_xcalloc(1, sizeof(*j->map));
	j->map->iova = j->r.iova;
	j->map->size = j->r.size;
	j->map->dimm = dimm_find(lab, &st, j->r.offset + j->r.size);
	if (j->map->dimm) {
		add_map(j);
		return;
	}
	j->map->dimm = dimm_add(lab, &st, j->fd, have_dimm, j);
	if (!j->map->dimm) {
		free(j->map);
		finish(j, -ENOSPC);
	}
}

/* The last module has been put: the client may have its memory back. */
static void put_one(void *arg, int err)
{
	struct dma_job *j = arg;

	if (err)
		j->err = err;
	if (--j->left == 0)
		answer(j);
}

static void forgotten(const struct qtest_op *op, uint64_t value)
{
	struct dma_job *j = op->owner;
	struct lab *lab = j->f->lab;
	struct lab_map *map;

	j->left = 1;
	while ((map = j->removed)) {
		j->removed = map->next;
		j->left++;
		dimm_put(lab, map->dimm, put_one, j);
		free(map);
	}
	fault_suspect(lab);
	let_next_run(j);
	put_one(j, 0);
}

static void run_unmap(struct dma_job *j)
{
	struct lab_func *f = j->f;

	for (struct lab_map **p = &f->maps; *p;) {
		struct lab_map *m = *p;

		if (j->kind == UNMAP && (m->iova != j->r.iova || m->size != j->r.size)) {
			p = &m->next;
			continue;
		}
		*p = m->next;
		iommu_unmap(f, m->iova, m->size);
		count(f, m, -1);
		m->next = j->removed;
		j->removed = m;
	}
	if (j->removed)
		iommu_invalidate(f, forgotten, j);
	else
		finish(j, j->kind == UNMAP ? -EINVAL : 0);
}

static void run_next(struct lab *lab)
{
	struct dma_job *j = lab->dma_first;

	if (j && j->kind == MAP)
		run_map(j);
	else if (j)
		run_unmap(j);
}

static void submit(struct lab_func *f, const struct dma_job *job)
{
	struct dma_job *j = lab_xcalloc(1, sizeof(*j));
	struct lab *lab = f->lab;

	*j = *job;
	f->dma_jobs++;
	if (lab->dma_last) {
		lab->dma_last->next = j;
		lab->dma_last = j;
		return;
	}
	lab->dma_first = lab->dma_last = j;
	run_next(lab);
}

void dma_map(struct lab_func *f, const struct dma_request *r, int fd, dma_done_fn done, void *arg)
{
	submit(f, &(struct dma_job){
			  .f = f, .kind = MAP, .r = *r, .fd = fd, .done = done, .arg = arg });
}

void dma_unmap(struct lab_func *f, uint64_t iova, uint64_t size, dma_done_fn done, void *arg)
{
	submit(f, &(struct dma_job){ .f = f,
				     .kind = size ? UNMAP : UNMAP_ALL,
				     .r = { .iova = iova, .size = size },
				     .done = done,
				     .arg = arg });
}
