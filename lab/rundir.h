/* SPDX-License-Identifier: MIT */
/* rundir.h: RUNDIR/lab/NAME: one lab's directory, whose lock says that the lab is alive. */
#ifndef LAB_RUNDIR_H
#define LAB_RUNDIR_H

#include "spec.h"

/**
 * rundir_root - the runtime directory: @option, $AURIGA_RUNTIME_DIR or /run/auriga.
 * Return: an absolute path, good until the next call; NULL after one line.
 */
const char *rundir_root(const char *option);

/**
 * rundir_claim - make spec->dir and lock it for as long as any copy of spec->dirfd is open; what a
 * lab that was killed has left there is removed.
 * Return: 0 or a negative errno after one line.
 */
int rundir_claim(struct lab_spec *spec);

/** rundir_remove - remove the directory and what is in it. */
void rundir_remove(const char *dir, int dirfd);

/** rundir_path_fits - whether dir/file can be a socket's path; if not, says so in one line. */
bool rundir_path_fits(const char *dir, const char *file);

/**
 * rundir_control - connect to the control socket of the lab @name.
 * Return: a descriptor; -ENOENT: no such lab; -ECONNREFUSED: it is dead, and left its directory;
 * another negative errno. Says nothing.
 */
int rundir_control(const char *root, const char *name);

/** rundir_sweep - remove what a dead lab left. Return: 0, or -EBUSY when it is alive after all. */
int rundir_sweep(const char *root, const char *name);

#endif
