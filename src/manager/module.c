/* SPDX-License-Identifier: MIT */
#include "manager/module.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

void mgr_module_init(struct mgr_module *module)
{
	memset(module, 0, sizeof(*module));
	module->fd = -1;
}

void mgr_module_clear(struct mgr_module *module)
{
	if (module->fd >= 0)
		close(module->fd);
	mgr_module_init(module);
}

void mgr_module_move(struct mgr_module *to, struct mgr_module *from)
{
	mgr_module_clear(to);
	*to = *from;
	mgr_module_init(from);
}

/* All of it, sealed against any change. Return: a descriptor or a negative errno. */
static int module_copy(int file, off_t size)
{
	AU_CLEANUP_FD int fd = memfd_create("auriga-module", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	off_t at = 0;

	if (fd < 0)
		return -errno;
	while (at < size) {
		ssize_t n = sendfile(fd, file, &at, (size_t)(size - at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) /* it shrinks as it is read */
			return n < 0 ? -errno : -ETXTBSY;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE))
		return -errno;
	return au_take_fd(&fd);
}

static int module_check(const struct mgr_trust *trust, const char *path, const char *signature,
			struct mgr_module *module, char *error, size_t error_size)
{
	char beside[AU_PATH_MAX + 8];
	int err = au_note_read_fd(module->fd, path, &module->note, error, error_size);

	if (err)
		return err;
	snprintf(beside, sizeof(beside), "%s.sig", path);
	mgr_sign_look(trust, module->fd, signature ? signature : beside, &module->signer);
	return mgr_sign_check(trust, &module->signer, path, true, error, error_size);
}

int mgr_module_read(const struct mgr_trust *trust, const char *path, const char *signature,
		    struct mgr_module *module, char *error, size_t error_size)
{
	/* Not blocking: the path may name a FIFO. */
	AU_CLEANUP_FD int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int err = file < 0 ? -errno : 0;

	mgr_module_init(module);
	if (!err && fstat(file, &module->stat))
		err = -errno;
	if (err) {
		snprintf(error, error_size, "%s: cannot be opened: %s", path, strerror(-err));
		return err;
	}
	if (!S_ISREG(module->stat.st_mode) || module->stat.st_size > MGR_MODULE_MAX ||
	    strlen(path) >= sizeof(module->path)) {
		snprintf(error, error_size,
			 "%.200s: no driver: not a regular file of at most %lld MiB", path,
			 MGR_MODULE_MAX >> 20);
		return -ENOEXEC;
	}
	module->fd = module_copy(file, module->stat.st_size);
	if (module->fd < 0) {
		err = module->fd;
		module->fd = -1;
		snprintf(error, error_size, "%s: cannot be read: %s", path, strerror(-err));
		return err;
	}
	err = module_check(trust, path, signature, module, error, error_size);
	if (err)
		mgr_module_clear(module);
	else
		memcpy(module->path, path, strlen(path) + 1);
	return err;
}

bool mgr_module_changed(const struct mgr_module *module)
{
	const struct stat *was = &module->stat;
	struct stat is;

	if (stat(module->path, &is))
		return false;
	return is.st_dev != was->st_dev || is.st_ino != was->st_ino || is.st_size != was->st_size ||
	       is.st_mtim.tv_sec != was->st_mtim.tv_sec ||
	       is.st_mtim.tv_nsec != was->st_mtim.tv_nsec ||
	       is.st_ctim.tv_sec != was->st_ctim.tv_sec ||
	       is.st_ctim.tv_nsec != was->st_ctim.tv_nsec;
}

int mgr_module_open(const struct mgr_module *module)
{
	char path[40];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", module->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}
