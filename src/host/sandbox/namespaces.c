/* SPDX-License-Identifier: MIT */
#include "host/sandbox/sandbox.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

static const struct {
	enum au_layer layer;
	int flag;
	const char *detail;
} namespaces[] = {
	{ AU_LAYER_MOUNT_NS, CLONE_NEWNS, "own" },
	{ AU_LAYER_NET_NS, CLONE_NEWNET, "own, without interfaces" },
	{ AU_LAYER_IPC_NS, CLONE_NEWIPC, "own" },
	{ AU_LAYER_UTS_NS, CLONE_NEWUTS, "own" },
	{ AU_LAYER_CGROUP_NS, CLONE_NEWCGROUP, "own" },
};
#define NAMESPACES (sizeof(namespaces) / sizeof(namespaces[0]))

/* All at once, which is cheaper; one by one if that fails, so as to say which could not be had. */
void au_sandbox_namespaces(struct au_sandbox *sb)
{
	bool wanted[NAMESPACES];
	bool together;
	int flags = 0;

	for (unsigned int i = 0; i < NAMESPACES; i++) {
		wanted[i] = au_layer_wanted(sb, namespaces[i].layer);
		flags |= wanted[i] ? namespaces[i].flag : 0;
	}
	together = unshare(flags) == 0;
	for (unsigned int i = 0; i < NAMESPACES; i++) {
		if (!wanted[i])
			continue;
		if (together || unshare(namespaces[i].flag) == 0)
			au_layer_set(sb, namespaces[i].layer, 0, "%s", namespaces[i].detail);
		else
			au_layer_set(sb, namespaces[i].layer, -errno, "%s",
				     errno == EPERM ? "needs root or user namespaces"
						    : strerror(errno));
	}
}
