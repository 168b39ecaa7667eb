/* SPDX-License-Identifier: MIT */
#include "host/sandbox/sandbox.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

bool au_layer_wanted(struct au_sandbox *sb, enum au_layer layer)
{
	if (!(sb->without & (1u << layer)))
		return true;
	au_layer_set(sb, layer, -ENOTSUP, "switched off");
	return false;
}

int au_layer_set(struct au_sandbox *sb, enum au_layer layer, int err, const char *fmt, ...)
{
	struct au_layer_state *state = &sb->layers[layer];
	va_list args;

	state->in_force = err == 0;
	va_start(args, fmt);
	vsnprintf(state->detail, sizeof(state->detail), fmt, args);
	va_end(args);
	return err;
}

/* Put up by the parent; only reported here. */
static void doors_outer(struct au_sandbox *sb)
{
	sb->user_ns = !strcmp(sb->pid_ns, "own-user");
	sb->privileged = geteuid() == 0;
	if (sb->user_ns)
		au_layer_set(sb, AU_LAYER_PID_NS, 0, "in a user namespace of its own");
	else if (!strcmp(sb->pid_ns, "own"))
		au_layer_set(sb, AU_LAYER_PID_NS, 0, "its only process");
	else
		au_layer_set(sb, AU_LAYER_PID_NS, -EPERM, "%s", sb->pid_ns);
	if (au_layer_wanted(sb, AU_LAYER_CGROUP))
		au_layer_set(sb, AU_LAYER_CGROUP, sb->cgroup_in_force ? 0 : -ENOTSUP, "%s",
			     sb->cgroup_detail ? sb->cgroup_detail : "the manager made none");
}

int au_sandbox_no_new_privs(struct au_sandbox *sb)
{
	if (!au_layer_wanted(sb, AU_LAYER_NO_NEW_PRIVS))
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return au_layer_set(sb, AU_LAYER_NO_NEW_PRIVS, -errno, "%s", strerror(errno));
	return au_layer_set(sb, AU_LAYER_NO_NEW_PRIVS, 0, "set, cannot be unset");
}

int au_sandbox_dumpable(struct au_sandbox *sb)
{
	if (!au_layer_wanted(sb, AU_LAYER_DUMPABLE))
		return 0;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return au_layer_set(sb, AU_LAYER_DUMPABLE, -errno, "%s", strerror(errno));
	return au_layer_set(sb, AU_LAYER_DUMPABLE, 0, "only root can trace it");
}

static int doors_failed(struct au_sandbox *sb, enum au_layer layer, int err, char *error,
			size_t error_size)
{
	snprintf(error, error_size,
		 "the driver is not loaded: sandbox layer %s is not to be had: %s",
		 au_layer_name(layer), sb->layers[layer].detail);
	return err;
}

int au_sandbox_enter(struct au_sandbox *sb, char *error, size_t error_size)
{
	/*
	 * In this order: what needs privilege, then privilege, then what would forbid the rest.
	 * Landlock and seccomp can be had without privilege once no_new_privs is set.
	 */
	static const struct {
		int (*fn)(struct au_sandbox *sb);
		enum au_layer layer;
	} steps[] = {
		{ au_sandbox_rlimits, AU_LAYER_RLIMITS },
		{ au_sandbox_capabilities, AU_LAYER_CAPABILITIES },
		{ au_sandbox_no_new_privs, AU_LAYER_NO_NEW_PRIVS },
		{ au_sandbox_dumpable, AU_LAYER_DUMPABLE },
	};
	int err;

	sb->library = -1;
	snprintf(sb->module_path, sizeof(sb->module_path), "/proc/self/fd/%d", sb->module);
	doors_outer(sb);
	err = au_sandbox_descriptors(sb);
	if (err)
		return doors_failed(sb, AU_LAYER_DESCRIPTORS, err, error, error_size);
	au_sandbox_namespaces(sb);
	/* After that, since only mounts of one's own can be bound. */
	au_sandbox_needed(sb);
	err = au_sandbox_root(sb);
	if (err && sb->layers[AU_LAYER_MOUNT_NS].in_force)
		return doors_failed(sb, AU_LAYER_ROOT, err, error, error_size);
	for (unsigned int i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		err = steps[i].fn(sb);
		if (err)
			return doors_failed(sb, steps[i].layer, err, error, error_size);
	}
	au_sandbox_landlock(sb, true);
	for (unsigned int i = 0; i < sb->library_count; i++)
		close(sb->libraries[i].fd);
	return 0;
}

int au_sandbox_door_one(struct au_sandbox *sb, char *error, size_t error_size)
{
	int err = au_sandbox_seccomp(sb, AU_SECCOMP_LOAD);

	return err ? doors_failed(sb, AU_LAYER_SECCOMP, err, error, error_size) : 0;
}

/* Landlock is a thread's own matter. */
int au_sandbox_thread(struct au_sandbox *sb)
{
	return sb->layers[AU_LAYER_LANDLOCK].in_force ? au_sandbox_landlock(sb, false) : 0;
}

int au_sandbox_door_two(struct au_sandbox *sb, char *error, size_t error_size)
{
	int err;

	err = au_sandbox_root_leave(sb);
	if (err)
		return doors_failed(sb, AU_LAYER_ROOT, err, error, error_size);
	close(sb->module);
	err = au_sandbox_thread(sb);
	if (err)
		return doors_failed(sb, AU_LAYER_LANDLOCK, err, error, error_size);
	err = au_sandbox_seccomp(sb, AU_SECCOMP_SERVE);
	if (err)
		return doors_failed(sb, AU_LAYER_SECCOMP, err, error, error_size);
	return 0;
}
