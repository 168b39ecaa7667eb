/* SPDX-License-Identifier: MIT */
#include "host/spawn.h"

#include <string.h>

static const char *const layer_names[AU_LAYER_COUNT] = {
	[AU_LAYER_PID_NS] = "pid-ns",
	[AU_LAYER_CGROUP] = "cgroup",
	[AU_LAYER_DESCRIPTORS] = "descriptors",
	[AU_LAYER_MOUNT_NS] = "mount-ns",
	[AU_LAYER_NET_NS] = "net-ns",
	[AU_LAYER_IPC_NS] = "ipc-ns",
	[AU_LAYER_UTS_NS] = "uts-ns",
	[AU_LAYER_CGROUP_NS] = "cgroup-ns",
	[AU_LAYER_ROOT] = "root",
	[AU_LAYER_RLIMITS] = "rlimits",
	[AU_LAYER_CAPABILITIES] = "capabilities",
	[AU_LAYER_UID] = "uid",
	[AU_LAYER_NO_NEW_PRIVS] = "no-new-privs",
	[AU_LAYER_DUMPABLE] = "dumpable",
	[AU_LAYER_LANDLOCK] = "landlock",
	[AU_LAYER_SECCOMP] = "seccomp",
};

const char *au_layer_name(unsigned int layer)
{
	return layer < AU_LAYER_COUNT ? layer_names[layer] : NULL;
}

int au_layer_find(const char *name)
{
	for (int i = 0; i < AU_LAYER_COUNT; i++)
		if (!strcmp(name, layer_names[i]))
			return i;
	return -1;
}
