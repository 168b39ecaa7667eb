/* SPDX-License-Identifier: MIT */
/* ns.c: making a controller, and its namespaces: memory, a file, or nothing at all. */
#include "nvme.h"
#include "../util.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int ns_file(struct nvme_ns *ns, const char *path, unsigned int block)
{
	AU_CLEANUP_FD int fd = open(path, O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return lab_fail(-errno, "%s: cannot open it to read and write: %s", path,
				strerror(errno));
	if (!S_ISREG(st.st_mode) || st.st_size < block)
		return lab_fail(-EINVAL, "%s: not a file of at least one block of %u bytes", path,
				block);
	ns->bytes = (uint64_t)st.st_size / block * block;
	ns->mem = mmap(NULL, ns->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ns->mem == MAP_FAILED)
		return lab_fail(-errno, "%s: cannot map it: %s", path, strerror(errno));
	ns->shared = true;
	return 0;
}

static int ns_memory(struct nvme_ns *ns, uint64_t bytes)
{
	ns->mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ns->mem == MAP_FAILED)
		return lab_fail(-errno, "no room for %llu bytes of address space: %s",
				(unsigned long long)bytes, strerror(errno));
	return 0;
}

static int ns_open(struct nvme *nvme, struct nvme_ns *ns)
{
	int ret = 0;

	ns->bytes = nvme->opt.size / nvme->opt.block * nvme->opt.block;
	if (nvme->opt.file)
		ret = ns_file(ns, nvme->opt.file, nvme->opt.block);
	else if (!nvme->opt.null)
		ret = ns_memory(ns, ns->bytes);
	if (ret) {
		ns->mem = NULL;
		return ret;
	}
	ns->blocks = ns->bytes / nvme->opt.block;
	ns->active = true;
	return 0;
}

void nvme_ns_zero(const struct nvme *nvme, struct nvme_ns *ns, uint64_t block, uint64_t count)
{
	uint8_t *from, *to, *low, *high;

	if (!ns->mem)
		return;
	from = ns->mem + block * nvme->opt.block;
	to = from + count * nvme->opt.block;
	low = (uint8_t *)(((uintptr_t)from + NVME_PAGE - 1) & ~(uintptr_t)(NVME_PAGE - 1));
	high = (uint8_t *)((uintptr_t)to & ~(uintptr_t)(NVME_PAGE - 1));
	/* Whole pages are given back, which zeroes them, too. */
	if (low >= high ||
	    madvise(low, (size_t)(high - low), ns->shared ? MADV_REMOVE : MADV_DONTNEED) != 0) {
		memset(from, 0, (size_t)(to - from));
		return;
	}
	memset(from, 0, (size_t)(low - from));
	memset(high, 0, (size_t)(to - high));
}

static void ns_changed(struct nvme *nvme, struct nvme_ns *ns)
{
	ns->changed = true;
	nvme_raise(nvme, NVME_EVENT_NOTICE, NVME_NOTICE_NAMESPACE, NVME_LOG_NAMESPACES);
}

int nvme_ns_resize(struct nvme *nvme, uint32_t nsid, uint64_t bytes)
{
	struct nvme_ns *ns = nvme_ns_of(nvme, nsid);

	bytes = bytes / nvme->opt.block * nvme->opt.block;
	if (!ns || !bytes)
		return -EINVAL;
	if (ns->shared && bytes > ns->bytes)
		return -ENOSPC;
	if (ns->mem && !ns->shared) {
		void *mem = mremap(ns->mem, ns->bytes, bytes, MREMAP_MAYMOVE);

		if (mem == MAP_FAILED)
			return -errno;
		ns->mem = mem;
	}
	if (!ns->shared)
		ns->bytes = bytes;
	ns->blocks = bytes / nvme->opt.block;
	ns_changed(nvme, ns);
	return 0;
}

int nvme_ns_show(struct nvme *nvme, uint32_t nsid, bool active)
{
	if (nsid - 1 >= nvme->opt.namespaces || nvme->ns[nsid - 1].active == active)
		return -EINVAL;
	nvme->ns[nsid - 1].active = active;
	ns_changed(nvme, &nvme->ns[nsid - 1]);
	return 0;
}

struct nvme *nvme_new(const struct nvme_options *opt)
{
	struct nvme *nvme = lab_xcalloc(1, sizeof(*nvme));
	int ret = 0;

	nvme->opt = *opt;
	nvme->held = lab_xcalloc(NVME_HELD, sizeof(*nvme->held));
	nvme->dma.generation = 1;
	nvme->random = 0x2545f491;
	nvme->doorbell_fd = nvme->intx_fd = -1;
	for (unsigned int i = 0; i < NVME_QUEUES; i++)
		nvme->msix_fd[i] = -1;
	for (unsigned int i = 0; i < opt->namespaces && !ret; i++)
		ret = ns_open(nvme, &nvme->ns[i]);
	if (!ret) {
		ret = nvme_new_doorbells(nvme);
		if (ret)
			lab_msg("no memory for doorbells: %s", strerror(-ret));
	}
	if (ret) {
		nvme_free(nvme);
		return NULL;
	}
	nvme_config_init(nvme);
	nvme_function_reset(nvme);
	nvme->stats = (struct nvme_stats){ 0 };
	return nvme;
}

void nvme_free(struct nvme *nvme)
{
	nvme_dma_clear(&nvme->dma);
	for (unsigned int i = 0; i < NVME_QUEUES; i++)
		if (nvme->msix_fd[i] >= 0)
			close(nvme->msix_fd[i]);
	if (nvme->intx_fd >= 0)
		close(nvme->intx_fd);
	for (unsigned int i = 0; i < NVME_NAMESPACES; i++)
		if (nvme->ns[i].mem)
			munmap(nvme->ns[i].mem, nvme->ns[i].bytes);
	if (nvme->doorbell)
		munmap((void *)nvme->doorbell, NVME_PAGE);
	if (nvme->doorbell_fd >= 0)
		close(nvme->doorbell_fd);
	free(nvme->held);
	free(nvme);
}
