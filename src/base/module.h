/* SPDX-License-Identifier: MIT */
/** DOC: Loading a driver module: dlopen, and a check of what it exports. Runs its constructors. */
#ifndef AU_BASE_MODULE_H
#define AU_BASE_MODULE_H

#include "auriga/driver.h"

/**
 * struct au_module - a loaded driver.
 * @driver: a complete descriptor: callbacks that the module's build did not know are NULL.
 */
struct au_module {
	struct au_driver driver;
	void *library;
};

/**
 * au_module_load - load the module at @path.
 * @error: one line on failure.
 * Return: 0; -ENOEXEC: no driver; -EPROTO: another ABI; -EINVAL: a descriptor that breaks the
 * rules. Read its note first: a file without a good note must not be loaded.
 */
int au_module_load(const char *path, struct au_module *module, char *error, size_t error_size);
/** au_module_load_fd - the same of an open file; @fd stays the caller's, @label names it. */
int au_module_load_fd(int fd, const char *label, struct au_module *module, char *error,
		      size_t error_size);
/** au_module_unload - let go of it; no device of it may be left. */
void au_module_unload(struct au_module *module);

#endif
