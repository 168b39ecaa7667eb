/* SPDX-License-Identifier: MIT */
#include "host/sandbox/sandbox.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#if __has_feature(thread_sanitizer)
#define __SANITIZE_THREAD__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RLIMITS_SANITIZED 1
#endif
#ifdef __SANITIZE_THREAD__
#define RLIMITS_MORE_THREADS 1 /* its own one */
#else
#define RLIMITS_MORE_THREADS 0
#endif

#define RLIMITS_PINNED (1ull << 30)

static const struct {
	int resource;
	rlim_t limit;
} rlimits[] = {
	{ RLIMIT_NOFILE, 1024 },
	{ RLIMIT_FSIZE, 0 },
	{ RLIMIT_CORE, 0 },
	{ RLIMIT_MEMLOCK, 0 },
	{ RLIMIT_MSGQUEUE, 0 },
	{ RLIMIT_LOCKS, 0 },
	{ RLIMIT_RTPRIO, 0 },
	{ RLIMIT_NICE, 0 },
	{ RLIMIT_SIGPENDING, 64 },
#ifndef RLIMITS_SANITIZED
	/* Pools of many clients are mapped at once; a leak still ends before the machine does. */
	{ RLIMIT_AS, 64ull << 30 },
#endif
};

static int rlimits_set(int resource, rlim_t limit)
{
	struct rlimit now;
	struct rlimit wanted;

	if (getrlimit((__rlimit_resource_t)resource, &now) < 0)
		return -errno;
	if (limit > now.rlim_max)
		limit = now.rlim_max;
	wanted = (struct rlimit){ .rlim_cur = limit, .rlim_max = limit };
	return setrlimit((__rlimit_resource_t)resource, &wanted) < 0 ? -errno : 0;
}

/* Memory that the device can reach is pinned, and counted: arena and pools. Raised if we may. */
static int rlimits_pinned(void)
{
	struct rlimit wanted = { .rlim_cur = RLIMITS_PINNED, .rlim_max = RLIMITS_PINNED };

	return setrlimit(RLIMIT_MEMLOCK, &wanted) ? rlimits_set(RLIMIT_MEMLOCK, RLIMITS_PINNED) : 0;
}

int au_sandbox_rlimits(struct au_sandbox *sb)
{
	int err = 0;

	if (!au_layer_wanted(sb, AU_LAYER_RLIMITS))
		return 0;
	for (unsigned int i = 0; i < sizeof(rlimits) / sizeof(rlimits[0]) && !err; i++)
		if (rlimits[i].resource != RLIMIT_MEMLOCK || !sb->vfio)
			err = rlimits_set(rlimits[i].resource, rlimits[i].limit);
	if (!err && sb->vfio)
		err = rlimits_pinned();
	/* Processes are counted by uid: of use only when nobody else has the same. */
	if (!err && sb->uid)
		err = rlimits_set(RLIMIT_NPROC, sb->threads + RLIMITS_MORE_THREADS);
	if (err)
		return au_layer_set(sb, AU_LAYER_RLIMITS, err, "%s", strerror(-err));
	return au_layer_set(sb, AU_LAYER_RLIMITS, 0, "%s",
			    sb->uid ? "files, memory, processes" : "files, memory");
}
