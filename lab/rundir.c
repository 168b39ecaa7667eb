/* SPDX-License-Identifier: MIT */
#include "rundir.h"
#include "util.h"
#include "base/paths.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

const char *rundir_root(const char *option)
{
	static char *root;
	const char *path = option, *env = getenv("AURIGA_RUNTIME_DIR");
	char cwd[4096];

	if (!path)
		path = env && *env ? env : "/run/auriga";
	free(root);
	root = NULL;
	if (path[0] == '/') {
		root = lab_strdup(path);
	} else if (!getcwd(cwd, sizeof(cwd)) || asprintf(&root, "%s/%s", cwd, path) < 0) {
		root = NULL;
		lab_msg("cannot tell the current directory: %s", strerror(errno));
	}
	return root;
}

bool rundir_path_fits(const char *dir, const char *file)
{
	AU_CLEANUP_FREE char *path = NULL;
	char why[1024];

	if (asprintf(&path, "%s/%s", dir, file) < 0)
		return false;
	if (au_socket_path_check(path, why, sizeof(why)) == 0)
		return true;
	lab_msg("%s", why);
	return false;
}

/* Others have no business in a lab's directory, but may have in the runtime directory. */
static int make_dir(const char *path)
{
	struct stat st;

	if (mkdir(path, 0700) && errno != EEXIST)
		return lab_fail(-errno, "cannot make the directory %s: %s", path, strerror(errno));
	if (lstat(path, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return lab_fail(-EPERM,
				"%s is not a directory of your own: remove it, or choose "
				"another --runtime-dir",
				path);
	return 0;
}

static int remove_content(int dirfd)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *e;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return -errno;
	}
	while ((e = readdir(d))) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd, e->d_name, 0) == 0 || errno == ENOENT)
			continue;
		AU_CLEANUP_FD int sub =
			openat(dirfd, e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (sub >= 0) {
			remove_content(sub);
			unlinkat(dirfd, e->d_name, AT_REMOVEDIR);
		}
	}
	closedir(d);
	return 0;
}

void rundir_remove(const char *dir, int dirfd)
{
	int ret = remove_content(dirfd);

	if (ret == 0 && rmdir(dir) && errno != ENOENT)
		ret = -errno;
	if (ret)
		lab_msg("cannot remove %s: %s", dir, strerror(-ret));
}

/* Open and lock; the directory may be removed by its former owner at any time before. */
static int lock_dir(const char *path)
{
	struct stat a, b;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		close(fd);
		return -EBUSY;
	}
	if (fstat(fd, &a) || stat(path, &b) || a.st_ino != b.st_ino || a.st_dev != b.st_dev) {
		close(fd);
		return -ENOENT;
	}
	return fd;
}

int rundir_claim(struct lab_spec *spec)
{
	AU_CLEANUP_FREE char *labs = NULL;
	char root[AU_PATH_MAX], why[1024];
	int ret = au_runtime_dir(spec->root, true, root, why, sizeof(why));

	if (ret)
		return lab_fail(ret, "%s", why);

	if (asprintf(&labs, "%s/lab", spec->root) < 0 ||
	    asprintf(&spec->dir, "%s/lab/%s", spec->root, spec->name) < 0)
		return -ENOMEM;
	if (!rundir_path_fits(spec->dir, "control"))
		return -ENAMETOOLONG;
	for (int tries = 0; tries < 10; tries++) {
		if ((ret = make_dir(labs)) || (ret = make_dir(spec->dir)))
			return ret;
		spec->dirfd = lock_dir(spec->dir);
		if (spec->dirfd != -ENOENT)
			break;
	}
	if (spec->dirfd == -EBUSY)
		return lab_fail(-EBUSY,
				"the lab %s is up already: choose another --name, or end it with "
				"'auriga lab down %s'",
				spec->name, spec->name);
	if (spec->dirfd < 0)
		return lab_fail(spec->dirfd, "cannot lock %s: %s", spec->dir,
				strerror(-spec->dirfd));
	remove_content(spec->dirfd);
	return 0;
}

int rundir_control(const char *root, const char *name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int n = snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/lab/%s/control", root, name);
	struct stat st;

	if (n < 0 || (size_t)n >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;

	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return fd;

	int err = errno;
	close(fd);
	if (err == ENOENT) { /* a lab that was killed in its first moments */
		*strrchr(addr.sun_path, '/') = '\0';
		if (stat(addr.sun_path, &st) == 0)
			err = ECONNREFUSED;
	}
	return -err;
}

int rundir_sweep(const char *root, const char *name)
{
	AU_CLEANUP_FREE char *dir = NULL;

	if (asprintf(&dir, "%s/lab/%s", root, name) < 0)
		return -ENOMEM;
	AU_CLEANUP_FD int fd = lock_dir(dir);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fd;
	rundir_remove(dir, fd);
	return 0;
}
