/* SPDX-License-Identifier: MIT */
/**
 * DOC: What a host gives up before, and after, it loads its driver
 *
 * The driver's ELF constructors run between the two doors, in the same address space as all that
 * is written here: what must hold against a hostile driver is in force before the first door
 * closes. The second one takes away what only loading needed.
 *
 * A layer that cannot be had (no root, an old kernel) is left out, and says so and why. A layer
 * that nothing but a fault can take away is essential: without it the host does not load the
 * driver.
 */
#ifndef AU_HOST_SANDBOX_H
#define AU_HOST_SANDBOX_H

#include "host/spawn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/**
 * struct au_layer_state - one layer, as reported.
 * @detail: what it is like, or why it is missing.
 */
struct au_layer_state {
	bool in_force;
	char detail[120];
};

#define AU_SANDBOX_KEEP	     20
#define AU_SANDBOX_LIBRARIES 24
#define AU_SANDBOX_PATH	     192

/**
 * struct au_sandbox_library - a library that the driver needs and the host does not have.
 * @name: what the driver calls it.
 * @path: where it was found.
 */
struct au_sandbox_library {
	char name[64];
	char path[AU_SANDBOX_PATH];
	int fd;
};

/**
 * struct au_sandbox - the sandbox of this process.
 * @without: layers to leave out, 1u << AU_LAYER_*.
 * @pid_ns: what --pid-ns said: "own", "own-user", or why there is none.
 * @cgroup_in_force, @cgroup_detail: what the manager said.
 * @uid, @gid: to become; 0: stay.
 * @threads: how many this process will have.
 * @vfio: the device is reached through the kernel's VFIO: its calls are allowed, and to pin memory.
 * @keep, @keep_count: descriptors from 3 on that stay open.
 * @module: the driver's file.
 * @name: the driver's name, for the path in @module_path.
 * @module_path: after door one: what dlopen() takes.
 * @libraries, @library_count: what it needs besides, dependencies first.
 * @layers: what became of each.
 */
struct au_sandbox {
	uint32_t without;
	const char *pid_ns;
	bool cgroup_in_force;
	const char *cgroup_detail;
	uid_t uid;
	gid_t gid;
	unsigned int threads;
	bool vfio;
	int keep[AU_SANDBOX_KEEP];
	unsigned int keep_count;
	int module;
	const char *name;
	char module_path[64];
	struct au_sandbox_library libraries[AU_SANDBOX_LIBRARIES];
	unsigned int library_count;
	struct au_layer_state layers[AU_LAYER_COUNT];
	/* private: */
	int library; /* a file system that holds the module and is mounted nowhere */
	bool privileged;
	bool user_ns;
};

/**
 * au_sandbox_enter - the first door, up to the last step: what threads inherit. The process has one
 * thread; the others are made after this.
 * @error: one line. Return: 0 or a negative errno: an essential layer is missing.
 */
int au_sandbox_enter(struct au_sandbox *sb, char *error, size_t error_size);
/** au_sandbox_door_one - the last step, for all threads: there will be no more. Then load. */
int au_sandbox_door_one(struct au_sandbox *sb, char *error, size_t error_size);
/** au_sandbox_preload - load the libraries that the module needs. Between the doors. */
int au_sandbox_preload(struct au_sandbox *sb, char *error, size_t error_size);
/** au_sandbox_thread - the part of the second door that each other thread passes by itself, before
 * the main thread does. */
int au_sandbox_thread(struct au_sandbox *sb);
/** au_sandbox_door_two - what only loading needed goes, for all threads. */
int au_sandbox_door_two(struct au_sandbox *sb, char *error, size_t error_size);

/* The layers, one a file. Each returns 0, or a negative errno with the reason in its state. */

/** au_layer_wanted - whether it is not switched off; notes that it is otherwise. */
bool au_layer_wanted(struct au_sandbox *sb, enum au_layer layer);
/** au_layer_set - note what became of a layer. Returns @err. */
int au_layer_set(struct au_sandbox *sb, enum au_layer layer, int err, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

int au_sandbox_descriptors(struct au_sandbox *sb);
void au_sandbox_namespaces(struct au_sandbox *sb);
int au_sandbox_root(struct au_sandbox *sb);
int au_sandbox_root_leave(struct au_sandbox *sb);
int au_sandbox_rlimits(struct au_sandbox *sb);
int au_sandbox_capabilities(struct au_sandbox *sb);
int au_sandbox_uid(struct au_sandbox *sb);
int au_sandbox_no_new_privs(struct au_sandbox *sb);
int au_sandbox_dumpable(struct au_sandbox *sb);
/** au_sandbox_landlock - @loading: the module and its libraries may still be read. */
int au_sandbox_landlock(struct au_sandbox *sb, bool loading);
/** au_sandbox_needed - find the libraries that the module needs. */
void au_sandbox_needed(struct au_sandbox *sb);

enum au_seccomp_stage {
	AU_SECCOMP_LOAD,  /* loading a driver, and the rest of the way */
	AU_SECCOMP_SERVE, /* no files, no executable memory, none of the doors' own calls */
};
int au_sandbox_seccomp(struct au_sandbox *sb, enum au_seccomp_stage stage);

#endif
