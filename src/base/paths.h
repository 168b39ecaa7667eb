/* SPDX-License-Identifier: MIT */
/** DOC: Where things are: the runtime directory, sockets in it, driver modules. */
#ifndef AU_BASE_PATHS_H
#define AU_BASE_PATHS_H

#include <stdbool.h>
#include <stddef.h>

#define AU_PATH_MAX 512

/**
 * au_runtime_dir - the runtime directory: @option (may be NULL), $AURIGA_RUNTIME_DIR, /run/auriga.
 * @create: make it (0755) when it is not there.
 * @dir: AU_PATH_MAX bytes.
 *
 * It must be a directory that belongs to root or the caller, in which nobody else can write: who
 * could, could put up other sockets.
 * Return: 0, or a negative errno with one line in @error.
 */
int au_runtime_dir(const char *option, bool create, char *dir, char *error, size_t error_size);

/** au_runtime_path - DIR/NAME into @path, AU_PATH_MAX bytes. Return: 0 or -ENAMETOOLONG. */
int au_runtime_path(const char *dir, const char *name, char *path, char *error, size_t error_size);

/** au_socket_path_check - whether @path fits a socket address: 0, or -ENAMETOOLONG and one line. */
int au_socket_path_check(const char *path, char *error, size_t error_size);

/**
 * au_driver_dirs - the directories that drivers are looked for in, in order, called one by one:
 * $AURIGA_DRIVER_PATH (colon-separated); else <program>/../drivers in a build tree; else
 * <program>/../lib.../auriga/drivers and the compiled-in place.
 * @fn: returns not 0 to end the walk.
 * Return: what the last @fn returned, 0 when there was none.
 */
int au_driver_dirs(int (*fn)(const char *dir, void *arg), void *arg);

/**
 * au_driver_find - the module of the driver @name ([a-z0-9-]).
 * @path: AU_PATH_MAX bytes.
 * Return: 0; -EINVAL for a name that is none; -ENOENT with one line that says where it was looked
 * for.
 */
int au_driver_find(const char *name, char *path, char *error, size_t error_size);

/** au_driver_list - call @fn for each *.so in those directories, the first of a name only. */
int au_driver_list(int (*fn)(const char *name, const char *path, void *arg), void *arg);

/** au_name_valid - [a-z0-9] first, then [a-z0-9-], at most 31 characters. */
bool au_name_valid(const char *name);

#endif
