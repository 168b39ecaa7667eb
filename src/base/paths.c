/* SPDX-License-Identifier: MIT */
/* Where things are. */
#include "base/paths.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PATHS_DRIVERS 256

bool au_name_valid(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length <= 31 && name[0] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
}

int au_runtime_dir(const char *option, bool create, char *dir, char *error, size_t error_size)
{
	const char *wish = option ? option : getenv("AURIGA_RUNTIME_DIR");
	char socket[AU_PATH_MAX];
	struct stat st;
	int err;

	if (!wish || !*wish)
		wish = "/run/auriga";
	if (snprintf(socket, sizeof(socket), "%s/control.sock", wish) >= (int)sizeof(socket)) {
		snprintf(error, error_size,
			 "the runtime directory's path is too long: choose one of "
			 "at most 60 characters");
		return -ENAMETOOLONG;
	}
	/* Before anything is made there. */
	err = au_socket_path_check(socket, error, error_size);
	if (err)
		return err;
	memcpy(dir, wish, strlen(wish) + 1);
	if (create && mkdir(dir, 0755) != 0 && errno != EEXIST) {
		err = -errno;
		snprintf(error, error_size,
			 "%s: the runtime directory cannot be made: %s (choose another with "
			 "--runtime-dir or AURIGA_RUNTIME_DIR)",
			 dir, strerror(-err));
		return err;
	}
	if (lstat(dir, &st) != 0) {
		err = -errno;
		snprintf(error, error_size, "%s: no runtime directory: %s (is aurigad running?)",
			 dir, strerror(-err));
		return err;
	}
	if (!S_ISDIR(st.st_mode)) {
		snprintf(error, error_size, "%s: the runtime directory is not a directory", dir);
		return -ENOTDIR;
	}
	if ((st.st_uid != 0 && st.st_uid != geteuid()) || (st.st_mode & 022) != 0) {
		snprintf(error, error_size,
			 "%s: refused as runtime directory, since others %s: it must be yours or "
			 "root's, with mode 0755 or less",
			 dir, (st.st_mode & 022) ? "can write to it" : "own it");
		return -EPERM;
	}
	return 0;
}

int au_runtime_path(const char *dir, const char *name, char *path, char *error, size_t error_size)
{
	if (snprintf(path, AU_PATH_MAX, "%s/%s", dir, name) < AU_PATH_MAX)
		return 0;
	snprintf(error, error_size, "%s/...: the path is too long", dir);
	return -ENAMETOOLONG;
}

int au_socket_path_check(const char *path, char *error, size_t error_size)
{
	const size_t most = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	if (strlen(path) <= most)
		return 0;
	snprintf(error, error_size,
		 "%s: too long for a socket's path by %zu characters (at most %zu): use a shorter "
		 "runtime directory",
		 path, strlen(path) - most, most);
	return -ENAMETOOLONG;
}

/* The directory that this program is in, without a slash at the end. */
static int paths_program_dir(char *dir)
{
	ssize_t length = readlink("/proc/self/exe", dir, AU_PATH_MAX - 1);
	char *slash;

	if (length <= 0)
		return -ENOENT;
	dir[length] = '\0';
	slash = strrchr(dir, '/');
	if (!slash)
		return -ENOENT;
	*slash = '\0';
	return 0;
}

static bool paths_is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The directories of a colon-separated list. */
static int paths_each(const char *list, int (*fn)(const char *dir, void *arg), void *arg)
{
	char dir[AU_PATH_MAX];
	int err = 0;

	while (*list && !err) {
		size_t length = strcspn(list, ":");

		if (length && length < sizeof(dir)) {
			memcpy(dir, list, length);
			dir[length] = '\0';
			err = fn(dir, arg);
		}
		list += length + (list[length] == ':');
	}
	return err;
}

int au_driver_dirs(int (*fn)(const char *dir, void *arg), void *arg)
{
	char program[AU_PATH_MAX], dir[AU_PATH_MAX + 64];
	const char *path = getenv("AURIGA_DRIVER_PATH");

	if (path && *path)
		return paths_each(path, fn, arg);
	if (paths_program_dir(program) == 0) {
		snprintf(dir, sizeof(dir), "%s/../drivers", program);
		if (paths_is_dir(dir))
			return fn(dir, arg);
		/* An installation that was moved, or is in a staging directory. */
		snprintf(dir, sizeof(dir), "%s/../" AU_LIBDIR "/auriga/drivers", program);
		if (AU_LIBDIR[0] != '/' && paths_is_dir(dir))
			return fn(dir, arg);
	}
	return fn(AU_DRIVER_DIR, arg);
}

struct paths_search {
	const char *name;
	char *path;
	char looked[300];
};

static int paths_find_in(const char *dir, void *arg)
{
	struct paths_search *search = arg;
	size_t length = strlen(search->looked);

	if (snprintf(search->path, AU_PATH_MAX, "%s/%s.so", dir, search->name) < AU_PATH_MAX &&
	    access(search->path, R_OK) == 0)
		return 1;
	snprintf(search->looked + length, sizeof(search->looked) - length, "%s%s",
		 length ? ", " : "", dir);
	return 0;
}

int au_driver_find(const char *name, char *path, char *error, size_t error_size)
{
	struct paths_search search = { .name = name, .path = path };

	if (!au_name_valid(name)) {
		snprintf(error, error_size,
			 "'%.40s' is no driver's name: 'auriga drivers' lists them", name);
		return -EINVAL;
	}
	if (au_driver_dirs(paths_find_in, &search) == 1)
		return 0;
	snprintf(error, error_size,
		 "no driver '%s': looked in %s ('auriga drivers' lists what there is)", name,
		 search.looked[0] ? search.looked : "no directory");
	return -ENOENT;
}

struct paths_listing {
	int (*fn)(const char *name, const char *path, void *arg);
	void *arg;
	unsigned int count;
	char seen[PATHS_DRIVERS][32];
};

static bool paths_is_new(struct paths_listing *listing, const char *name)
{
	for (unsigned int i = 0; i < listing->count; i++)
		if (strcmp(listing->seen[i], name) == 0)
			return false;
	if (listing->count == PATHS_DRIVERS)
		return false;
	snprintf(listing->seen[listing->count++], sizeof(listing->seen[0]), "%s", name);
	return true;
}

static int paths_list_in(const char *dir, void *arg)
{
	struct paths_listing *listing = arg;
	struct dirent **entries = NULL;
	int count = scandir(dir, &entries, NULL, alphasort), err = 0;

	for (int i = 0; i < count; i++) {
		char name[32], path[AU_PATH_MAX + 64];
		size_t length = strlen(entries[i]->d_name);

		if (!err && length > 3 && length < sizeof(name) + 3 &&
		    strcmp(entries[i]->d_name + length - 3, ".so") == 0) {
			memcpy(name, entries[i]->d_name, length - 3);
			name[length - 3] = '\0';
			snprintf(path, sizeof(path), "%s/%s.so", dir, name);
			if (au_name_valid(name) && paths_is_new(listing, name))
				err = listing->fn(name, path, listing->arg);
		}
		free(entries[i]);
	}
	free(entries);
	return err;
}

int au_driver_list(int (*fn)(const char *name, const char *path, void *arg), void *arg)
{
	struct paths_listing *listing = calloc(1, sizeof(*listing));
	int err;

	if (!listing)
		return -ENOMEM;
	listing->fn = fn;
	listing->arg = arg;
	err = au_driver_dirs(paths_list_in, listing);
	free(listing);
	return err;
}
