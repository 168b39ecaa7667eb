/* SPDX-License-Identifier: MIT */
#include "manager/store.h"

#include "base/cleanup.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAY(...)     snprintf(error, error_size, __VA_ARGS__)
#define STORE_NEW    ".new"
#define SIG_FILE_MAX 1024

/* Whoever can write there says what runs: only root, or the manager's own user. */
static int store_check(const char *store, char *error, size_t error_size)
{
	struct stat st;
	int err = stat(store, &st) ? -errno : 0;

	if (err) {
		SAY("%s: %s", store, strerror(-err));
		return err;
	}
	if (S_ISDIR(st.st_mode) && (st.st_uid == 0 || st.st_uid == geteuid()) &&
	    !(st.st_mode & 022))
		return 0;
	SAY("%s: refused as driver store: it must be a directory of root's or the manager's own, "
	    "in which nobody else can write",
	    store);
	return -EPERM;
}

static int store_folder(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

/* The module in one folder. */
static int store_scan_folder(struct mgr_drivers *drivers, const char *folder)
{
	struct dirent **entries = NULL;
	char path[AU_PATH_MAX], dir[AU_PATH_MAX], name[32];
	int count, err = 0;

	if (snprintf(dir, sizeof(dir), "%s/%s", drivers->store, folder) >= (int)sizeof(dir))
		return 0;
	count = scandir(dir, &entries, store_folder, alphasort);
	for (int i = 0; i < count; i++) {
		size_t length = strlen(entries[i]->d_name);

		if (!err && length > 3 && length < sizeof(name) + 3 &&
		    !strcmp(entries[i]->d_name + length - 3, ".so")) {
			memcpy(name, entries[i]->d_name, length - 3);
			name[length - 3] = 0;
			if (au_name_valid(name) &&
			    snprintf(path, sizeof(path), "%s/%s.so", dir, name) < (int)sizeof(path))
				err = mgr_drivers_add(drivers, name, path, true);
		}
		free(entries[i]);
	}
	free(entries);
	return err;
}

int mgr_store_scan(struct mgr_drivers *drivers)
{
	struct dirent **entries = NULL;
	char error[AU_PATH_MAX + 200];
	int count, err;

	if (!drivers->store[0])
		return 0;
	err = store_check(drivers->store, error, sizeof(error));
	if (err) {
		if (err != -ENOENT)
			au_logf(AU_LOG_WARN, "%s", error);
		return 0;
	}
	count = scandir(drivers->store, &entries, store_folder, alphasort);
	for (int i = 0; i < count; i++) {
		if (!err)
			err = store_scan_folder(drivers, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return err;
}

/* ------------------------------------------------------------------- installing */

/* A version is part of a folder's name, in which the last dash is what stands before it. */
static bool store_version_ok(const char *version)
{
	return version[0] && version[0] != '.' &&
	       strspn(version,
		      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.+~_") ==
		       strlen(version);
}

/* A whole file, on the medium. */
static int store_write(int dir, const char *name, int from, off_t size)
{
	AU_CLEANUP_FD int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	off_t at = 0;

	if (fd < 0)
		return -errno;
	while (at < size) {
		ssize_t n = sendfile(fd, from, &at, (size_t)(size - at));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ETXTBSY;
	}
	return fsync(fd) ? -errno : 0;
}

static void store_clear(int store, const char *folder)
{
	AU_CLEANUP_FD int dir =
		openat(store, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct dirent *entry;
	DIR *list = dir >= 0 ? fdopendir(dup(dir)) : NULL;

	while (list && (entry = readdir(list)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			unlinkat(dir, entry->d_name, 0);
	if (list)
		closedir(list);
	unlinkat(store, folder, AT_REMOVEDIR);
}

/* The signature as it was given; what it is worth has been looked at. */
static int store_signature(int dir, const char *name, const char *path)
{
	AU_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > SIG_FILE_MAX)
		return -EINVAL;
	return store_write(dir, name, fd, st.st_size);
}

/* Make the new folder, then let it be the one of that name, at once. */
static int store_put(int store, const char *folder, const struct mgr_module *module,
		     const char *signature)
{
	char file[48];
	AU_CLEANUP_FD int dir = -1;
	struct stat st;
	int err;

	store_clear(store, STORE_NEW);
	if (mkdirat(store, STORE_NEW, 0755))
		return -errno;
	dir = openat(store, STORE_NEW, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || fstat(module->fd, &st))
		return -errno;
	snprintf(file, sizeof(file), "%s.so", module->note.name);
	err = store_write(dir, file, module->fd, st.st_size);
	snprintf(file, sizeof(file), "%s.so.sig", module->note.name);
	if (!err)
		err = store_signature(dir, file, signature);
	if (!err && fsync(dir))
		err = -errno;
	if (!err && renameat2(store, STORE_NEW, store, folder, RENAME_NOREPLACE))
		err = -errno;
	if (err == -EEXIST)
		err = renameat2(store, STORE_NEW, store, folder, RENAME_EXCHANGE) ? -errno : 0;
	store_clear(store, STORE_NEW);
	return !err && fsync(store) ? -errno : err;
}

static int store_open(const char *path, char *error, size_t error_size)
{
	char parent[AU_PATH_MAX];
	int fd, err;

	snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(path, '/') - path), path);
	if (parent[0])
		mkdir(parent, 0755);
	if (mkdir(path, 0755) && errno != EEXIST) {
		err = -errno;
		SAY("%s: the driver store cannot be made: %s (choose another with --store)", path,
		    strerror(-err));
		return err;
	}
	err = store_check(path, error, error_size);
	if (err)
		return err;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		err = -errno;
		SAY("%s: %s", path, strerror(-err));
		return err;
	}
	return fd;
}

int mgr_store_install(const struct mgr_drivers *drivers, const char *from, const char *signature,
		      char *path, struct mgr_module *module, char *error, size_t error_size)
{
	char beside[AU_PATH_MAX + 8], folder[64];
	AU_CLEANUP_FD int store = -1;
	int err;

	mgr_module_init(module);
	if (!drivers->store[0]) {
		SAY("this manager has no driver store: see --store");
		return -ENOENT;
	}
	snprintf(beside, sizeof(beside), "%s.sig", from);
	if (!signature[0])
		signature = beside;
	else if (access(signature, R_OK))
		return SAY("%s: %s", signature, strerror(errno)), -errno;
	err = mgr_module_read(&drivers->trust, from, signature, module, error, error_size);
	if (err)
		return err;
	if (module->signer.state == MGR_SIGNED_WRONG) {
		SAY("%.200s: its signature %.200s is wrong: it is not of this file", from,
		    signature);
		return -EPERM;
	}
	if (!au_name_valid(module->note.name) || !store_version_ok(module->note.version)) {
		SAY("%.200s: '%s' in version '%s' cannot be a folder's name: a version has "
		    "letters, "
		    "digits and . + ~ _",
		    from, module->note.name, module->note.version);
		return -EINVAL;
	}
	store = store_open(drivers->store, error, error_size);
	if (store < 0)
		return store;
	snprintf(folder, sizeof(folder), "%s-%s", module->note.name, module->note.version);
	if (snprintf(path, AU_PATH_MAX, "%s/%s/%s.so", drivers->store, folder, module->note.name) >=
	    AU_PATH_MAX)
		return SAY("%.200s: the path is too long", drivers->store), -ENAMETOOLONG;
	err = store_put(store, folder, module, signature);
	if (err)
		SAY("%s/%s: %s", drivers->store, folder, strerror(-err));
	return err;
}

int mgr_store_remove(const struct mgr_drivers *drivers, const char *path, char *error,
		     size_t error_size)
{
	AU_CLEANUP_FD int store = store_open(drivers->store, error, error_size);
	const char *folder = path + strlen(drivers->store) + 1;
	char name[64];

	if (store < 0)
		return store;
	snprintf(name, sizeof(name), "%.*s", (int)strcspn(folder, "/"), folder);
	/* Gone at once; then at leisure. */
	store_clear(store, STORE_NEW);
	if (renameat2(store, name, store, STORE_NEW, RENAME_NOREPLACE)) {
		int err = -errno;

		SAY("%s/%s: %s", drivers->store, name, strerror(-err));
		return err;
	}
	store_clear(store, STORE_NEW);
	return fsync(store) ? -errno : 0;
}
