/* SPDX-License-Identifier: MIT */
/* spec.h: what a lab machine shall consist of, from the command line and from machine files. */
#ifndef LAB_SPEC_H
#define LAB_SPEC_H

#include <stdbool.h>
#include <stddef.h>

#define LAB_MAX_ARGS 256

/** struct lab_args - a list of strings, owned. */
struct lab_args {
	char *arg[LAB_MAX_ARGS];
	unsigned int num;
};

/**
 * struct lab_spec - the description of one machine.
 * @name: of the lab, and of its directory.
 * @log: access log, or NULL.
 * @qemu_args: further arguments, before the devices.
 * @chardevs, @objects, @blockdevs, @devices: QEMU's own syntax. "%d" in them is the lab's
 * directory.
 * @root: the runtime directory.
 * @dir: the lab's directory; @dirfd: the same, open and locked.
 */
struct lab_spec {
	char *name;
	char *log;
	struct lab_args qemu_args, chardevs, objects, blockdevs, devices;
	const char *root;
	char *dir;
	int dirfd;
	bool foreground;
	bool json;
};

/** lab_args_add - append a copy. Return: 0, or -E2BIG after one line. */
int lab_args_add(struct lab_args *args, const char *text);

/**
 * lab_spec_finish - give every device an id, replace "%d", make the memory of block devices that
 * are nothing else. After @dir is known.
 */
int lab_spec_finish(struct lab_spec *spec);

/** lab_name_valid - whether a name can be a directory's and, QEMU permitting, an id. */
bool lab_name_valid(const char *name);

/** machine_load - add a machine file's content to @spec. Return: 0 or -EINVAL after one line. */
int machine_load(struct lab_spec *spec, const char *path);

/** lab_spec_free - free what the description owns; the directory stays. */
void lab_spec_free(struct lab_spec *spec);

#endif
