/* SPDX-License-Identifier: MIT */
/* Loading a driver module. */
#include "base/module.h"

#include "base/abi.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define MODULE_CONTEXT_MAX (64u << 20)

static int module_check(const struct au_driver *driver, const char *label, struct au_module *module,
			char *error, size_t error_size)
{
	char why[256];
	int err = au_abi_take(&au_abi_driver, &module->driver, driver, AU_ABI_SIZE_MAX, why,
			      sizeof(why));

	if (err) {
		snprintf(error, error_size, "%s: its %s", label, why);
		return err;
	}
	if (!module->driver.prepare) {
		snprintf(error, error_size, "%s: its au_driver has no prepare()", label);
		return -EINVAL;
	}
	if (module->driver.context_size > MODULE_CONTEXT_MAX || module->driver.flags) {
		snprintf(error, error_size, "%s: its au_driver has unknown flags or a huge context",
			 label);
		return -EINVAL;
	}
	return 0;
}

int au_module_load(const char *path, struct au_module *module, char *error, size_t error_size)
{
	const struct au_driver *driver;
	int err;

	memset(module, 0, sizeof(*module));
	module->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!module->library) {
		snprintf(error, error_size, "cannot load the driver: %s", dlerror());
		return -ENOEXEC;
	}
	driver = dlsym(module->library, "au_driver");
	if (!driver) {
		snprintf(error, error_size, "%s: no driver: it does not export au_driver", path);
		err = -ENOEXEC;
	} else {
		err = module_check(driver, path, module, error, error_size);
	}
	if (err)
		au_module_unload(module);
	return err;
}

int au_module_load_fd(int fd, const char *label, struct au_module *module, char *error,
		      size_t error_size)
{
	char path[32], why[256];
	int err;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	err = au_module_load(path, module, why, sizeof(why));
	if (err)
		snprintf(error, error_size, "%s: %s", label, why);
	return err;
}

void au_module_unload(struct au_module *module)
{
	if (module->library)
		dlclose(module->library);
	memset(module, 0, sizeof(*module));
}
