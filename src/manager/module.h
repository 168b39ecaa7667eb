/* SPDX-License-Identifier: MIT */
/**
 * DOC: A driver's file, read once
 *
 * What is checked is what is loaded: the file is copied into sealed memory, and its note, its
 * signature and the host's dlopen() are all of that copy. Whatever happens to the file afterwards,
 * the device can be started again with what it ran with.
 */
#ifndef AU_MANAGER_MODULE_H
#define AU_MANAGER_MODULE_H

#include "base/note.h"
#include "base/paths.h"
#include "manager/sign.h"

#include <sys/stat.h>

#define MGR_MODULE_MAX (64ll << 20) /* bytes of one */

/**
 * struct mgr_module - a driver's file.
 * @fd: sealed memory; -1: none.
 * @stat: of the file when it was read.
 * @note: as the file has it, without parameters.
 * @signer: whose it is.
 */
struct mgr_module {
	char path[AU_PATH_MAX];
	int fd;
	struct stat stat;
	struct au_note note;
	struct mgr_signer signer;
};

/** mgr_module_init - none. */
void mgr_module_init(struct mgr_module *module);
/**
 * mgr_module_read - read one that is to be run.
 * @signature: its signature; NULL: beside it.
 * @error: one line. Return: 0, or a negative errno: -EPERM: @trust does not allow it; @module is
 * then as mgr_module_init() leaves it.
 */
int mgr_module_read(const struct mgr_trust *trust, const char *path, const char *signature,
		    struct mgr_module *module, char *error, size_t error_size);
/** mgr_module_changed - whether its file is there, and is not what was read. */
bool mgr_module_changed(const struct mgr_module *module);
/** mgr_module_open - for a host: a descriptor of the copy, read-only. Return: it or -errno. */
int mgr_module_open(const struct mgr_module *module);
/** mgr_module_move - @to gets what @from had; what @to had is let go. */
void mgr_module_move(struct mgr_module *to, struct mgr_module *from);
/** mgr_module_clear - let go of it. */
void mgr_module_clear(struct mgr_module *module);

#endif
