/* SPDX-License-Identifier: MIT */
#include "host/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

static int cgroup_write(const char *dir, const char *file, const char *text)
{
	char path[384];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	n = n < 0 ? -errno : 0;
	close(fd);
	return (int)n;
}

static int cgroup_write_number(const char *dir, const char *file, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return cgroup_write(dir, file, text);
}

/*
 * Where the caller is in the hierarchy that has @controller; "" means version 2. Lines of
 * /proc/self/cgroup are "4:memory:/path" or "0::/path".
 */
static bool cgroup_own(const char *controller, char *path, size_t size)
{
	FILE *file = fopen("/proc/self/cgroup", "re");
	char line[512];
	bool found = false;

	while (file && !found && fgets(line, sizeof(line), file)) {
		char *list = strchr(line, ':');
		char *own = list ? strchr(list + 1, ':') : NULL;
		char *save = NULL;

		if (!own)
			continue;
		*own++ = 0;
		own[strcspn(own, "\n")] = 0;
		if (!*controller) {
			found = list[1] == 0;
		} else {
			for (char *c = strtok_r(list + 1, ",", &save); c && !found;
			     c = strtok_r(NULL, ",", &save))
				found = !strcmp(c, controller);
		}
		if (found && snprintf(path, size, "%s", own) >= (int)size)
			found = false;
	}
	if (file)
		fclose(file);
	return found;
}

static int cgroup_mkdir(const char *base, const char *own, const char *name, char path[256])
{
	int n = snprintf(path, 256, "%s%s/auriga-%s", base, strcmp(own, "/") ? own : "", name);

	if (n < 0 || n >= 256)
		return -ENAMETOOLONG;
	return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* Version 2: one directory; its parent must hand the controllers down. */
static int cgroup_make_v2(const char *base, const char *name, uint64_t memory,
			  unsigned int processes, char path[256])
{
	char own[200];
	char parent[256];
	int err;

	if (!cgroup_own("", own, sizeof(own)))
		return -ENOENT;
	snprintf(parent, sizeof(parent), "%s%s", base, strcmp(own, "/") ? own : "");
	err = cgroup_write(parent, "cgroup.subtree_control", "+memory +pids");
	if (!err)
		err = cgroup_mkdir(base, own, name, path);
	if (err) {
		path[0] = 0;
		return err;
	}
	err = cgroup_write_number(path, "memory.max", memory);
	return err ? err : cgroup_write_number(path, "pids.max", processes);
}

/* Version 1: one directory for each controller. */
static int cgroup_make_v1(const char *controller, const char *file, const char *name,
			  uint64_t limit, char path[256])
{
	char own[200];
	char base[64];
	int err;

	if (!cgroup_own(controller, own, sizeof(own)))
		return -ENOENT;
	snprintf(base, sizeof(base), CGROUP_ROOT "/%s", controller);
	err = cgroup_mkdir(base, own, name, path);
	if (err) {
		path[0] = 0;
		return err;
	}
	return cgroup_write_number(path, file, limit);
}

void au_host_cgroup_make(const char *name, uint64_t memory, unsigned int processes,
			 struct au_host_cgroup *cgroup)
{
	int mem, pids;

	memset(cgroup, 0, sizeof(*cgroup));
	if (!access(CGROUP_ROOT "/cgroup.controllers", F_OK)) {
		mem = pids = cgroup_make_v2(CGROUP_ROOT, name, memory, processes, cgroup->path[0]);
	} else {
		mem = cgroup_make_v1("memory", "memory.limit_in_bytes", name, memory,
				     cgroup->path[0]);
		pids = cgroup_make_v1("pids", "pids.max", name, processes, cgroup->path[1]);
	}
	cgroup->in_force = !mem || !pids;
	if (mem && pids)
		snprintf(cgroup->detail, sizeof(cgroup->detail), "no cgroup: %s", strerror(-mem));
	else if (mem)
		snprintf(cgroup->detail, sizeof(cgroup->detail),
			 "at most %u processes; memory not bounded: %s", processes, strerror(-mem));
	else if (pids)
		snprintf(cgroup->detail, sizeof(cgroup->detail),
			 "at most %" PRIu64 " MiB; processes not bounded: %s", memory >> 20,
			 strerror(-pids));
	else
		snprintf(cgroup->detail, sizeof(cgroup->detail),
			 "at most %" PRIu64 " MiB and %u processes", memory >> 20, processes);
}

void au_host_cgroup_enter(struct au_host_cgroup *cgroup, pid_t pid)
{
	for (unsigned int i = 0; i < 3; i++) {
		int err;

		if (!cgroup->path[i][0])
			continue;
		err = cgroup_write_number(cgroup->path[i], "cgroup.procs", (uint64_t)pid);
		if (err) {
			cgroup->in_force = false;
			snprintf(cgroup->detail, sizeof(cgroup->detail),
				 "cannot put it into its cgroup: %s", strerror(-err));
		}
	}
}

void au_host_cgroup_remove(struct au_host_cgroup *cgroup)
{
	for (unsigned int i = 0; i < 3; i++)
		if (cgroup->path[i][0])
			rmdir(cgroup->path[i]);
	memset(cgroup, 0, sizeof(*cgroup));
}
