/* SPDX-License-Identifier: MIT */
/**
 * DOC: The driver store: modules that were given to the manager
 *
 * STORE/NAME-VERSION/NAME.so, and its signature beside it. Each folder comes and goes as a whole,
 * so that a module and its signature belong together at any time. Several versions of one driver
 * may be there. No module is ever loaded here.
 */
#ifndef AU_MANAGER_STORE_H
#define AU_MANAGER_STORE_H

#include "manager/drivers.h"
#include "manager/module.h"

/** mgr_store_scan - add what is in the store. Return: 0 or -ENOMEM. */
int mgr_store_scan(struct mgr_drivers *drivers);
/**
 * mgr_store_install - put a module into the store, in the place of one of the same name and
 * version.
 * @signature: a file, or empty: beside it, if there is one.
 * @path: gets where it is now, AU_PATH_MAX bytes. @module: gets what it is.
 * @error: one line. Return: 0 or a negative errno.
 */
int mgr_store_install(const struct mgr_drivers *drivers, const char *from, const char *signature,
		      char *path, struct mgr_module *module, char *error, size_t error_size);
/** mgr_store_remove - remove what lies at @path, which a scan has found. */
int mgr_store_remove(const struct mgr_drivers *drivers, const char *path, char *error,
		     size_t error_size);

#endif
