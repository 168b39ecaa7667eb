/* SPDX-License-Identifier: MIT */
/*
 * Which libraries the module needs that this process does not have yet: they are looked for while
 * there is a file system, and loaded, by whoever has none any more, between the doors. The module
 * is hostile input: it is read, not mapped, and a library is a name without a path, from the
 * directories of the dynamic linker.
 */
#include "host/sandbox/sandbox.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NEEDED_SEGMENTS 64
#define NEEDED_DYNAMIC	512 /* entries */
#define NEEDED_DEPTH	8

struct needed_elf {
	int fd;
	unsigned int count;
	ElfW(Phdr) segments[NEEDED_SEGMENTS];
};

static bool needed_read(int fd, uint64_t at, void *buf, size_t size)
{
	return at <= INT64_MAX && pread(fd, buf, size, (off_t)at) == (ssize_t)size;
}

static bool needed_open(int fd, struct needed_elf *elf)
{
	ElfW(Ehdr) head;

	elf->fd = fd;
	if (!needed_read(fd, 0, &head, sizeof(head)) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
	    head.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) ||
	    head.e_phentsize != sizeof(ElfW(Phdr)) || head.e_phnum > NEEDED_SEGMENTS)
		return false;
	elf->count = head.e_phnum;
	return needed_read(fd, head.e_phoff, elf->segments, elf->count * sizeof(ElfW(Phdr)));
}

/* Where in the file an address is. */
static bool needed_offset(const struct needed_elf *elf, uint64_t address, uint64_t *offset)
{
	for (unsigned int i = 0; i < elf->count; i++) {
		const ElfW(Phdr) *p = &elf->segments[i];

		if (p->p_type == PT_LOAD && address >= p->p_vaddr &&
		    address - p->p_vaddr < p->p_filesz) {
			*offset = p->p_offset + (address - p->p_vaddr);
			return true;
		}
	}
	return false;
}

static unsigned int needed_dynamic(const struct needed_elf *elf, ElfW(Dyn) dyn[NEEDED_DYNAMIC])
{
	for (unsigned int i = 0; i < elf->count; i++) {
		const ElfW(Phdr) *p = &elf->segments[i];
		size_t count = p->p_filesz / sizeof(*dyn);

		if (p->p_type != PT_DYNAMIC)
			continue;
		count = count < NEEDED_DYNAMIC ? count : NEEDED_DYNAMIC;
		return needed_read(elf->fd, p->p_offset, dyn, count * sizeof(*dyn))
			       ? (unsigned int)count
			       : 0;
	}
	return 0;
}

struct needed_search {
	const char *name;
	bool found;
};

static int needed_compare(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct needed_search *search = arg;
	const char *slash = strrchr(info->dlpi_name, '/');

	(void)size;
	search->found = !strcmp(slash ? slash + 1 : info->dlpi_name, search->name);
	return search->found;
}

static bool needed_loaded(const char *name)
{
	struct needed_search search = { .name = name };

	dl_iterate_phdr(needed_compare, &search);
	return search.found;
}

/* Open it where the dynamic linker would. */
static int needed_find(const Dl_serinfo *dirs, const char *name, char path[AU_SANDBOX_PATH])
{
	for (unsigned int i = 0; i < dirs->dls_cnt; i++) {
		int n = snprintf(path, AU_SANDBOX_PATH, "%s/%s", dirs->dls_serpath[i].dls_name,
				 name);
		int fd = n > 0 && n < AU_SANDBOX_PATH ? open(path, O_RDONLY | O_CLOEXEC) : -1;

		if (fd >= 0)
			return fd;
	}
	return -1;
}

static void needed_walk(struct au_sandbox *sb, const Dl_serinfo *dirs, int fd, unsigned int depth);

/* What it needs itself comes before it. */
static void needed_add(struct au_sandbox *sb, const Dl_serinfo *dirs, const char *name,
		       unsigned int depth)
{
	struct au_sandbox_library *lib;
	char path[AU_SANDBOX_PATH];
	int fd;

	if (depth >= NEEDED_DEPTH || !*name || strchr(name, '/') || needed_loaded(name))
		return;
	for (unsigned int i = 0; i < sb->library_count; i++)
		if (!strcmp(sb->libraries[i].name, name))
			return;
	fd = needed_find(dirs, name, path);
	if (fd < 0)
		return;
	needed_walk(sb, dirs, fd, depth + 1);
	if (sb->library_count >= AU_SANDBOX_LIBRARIES) {
		close(fd);
		return;
	}
	lib = &sb->libraries[sb->library_count++];
	snprintf(lib->name, sizeof(lib->name), "%s", name);
	snprintf(lib->path, sizeof(lib->path), "%s", path);
	lib->fd = fd;
}

static void needed_walk(struct au_sandbox *sb, const Dl_serinfo *dirs, int fd, unsigned int depth)
{
	ElfW(Dyn) dyn[NEEDED_DYNAMIC];
	struct needed_elf elf;
	uint64_t names = 0, address = 0;
	unsigned int count;

	if (!needed_open(fd, &elf))
		return;
	count = needed_dynamic(&elf, dyn);
	for (unsigned int i = 0; i < count; i++)
		if (dyn[i].d_tag == DT_STRTAB)
			address = dyn[i].d_un.d_ptr;
	if (!needed_offset(&elf, address, &names))
		return;
	for (unsigned int i = 0; i < count && dyn[i].d_tag != DT_NULL; i++) {
		char name[sizeof(sb->libraries[0].name)] = "";

		if (dyn[i].d_tag != DT_NEEDED ||
		    pread(fd, name, sizeof(name) - 1, (off_t)(names + dyn[i].d_un.d_val)) <= 0 ||
		    strlen(name) >= sizeof(name) - 1)
			continue;
		needed_add(sb, dirs, name, depth);
	}
}

void au_sandbox_needed(struct au_sandbox *sb)
{
	void *self = dlopen(NULL, RTLD_LAZY);
	Dl_serinfo size, *dirs;

	if (!self || dlinfo(self, RTLD_DI_SERINFOSIZE, &size) != 0)
		return;
	dirs = calloc(1, size.dls_size);
	if (dirs && dlinfo(self, RTLD_DI_SERINFOSIZE, dirs) == 0 &&
	    dlinfo(self, RTLD_DI_SERINFO, dirs) == 0)
		needed_walk(sb, dirs, sb->module, 0);
	free(dirs);
	dlclose(self);
}

int au_sandbox_preload(struct au_sandbox *sb, char *error, size_t error_size)
{
	for (unsigned int i = 0; i < sb->library_count; i++) {
		struct au_sandbox_library *lib = &sb->libraries[i];
		char path[sizeof(lib->name) + 4];

		snprintf(path, sizeof(path), "./%s", lib->name);
		if (sb->library < 0 || dlopen(path, RTLD_NOW | RTLD_LOCAL))
			continue;
		snprintf(error, error_size, "the driver needs %s, which cannot be loaded: %s",
			 lib->path, dlerror());
		return -ENOEXEC;
	}
	return 0;
}
