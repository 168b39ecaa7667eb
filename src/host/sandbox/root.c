/* SPDX-License-Identifier: MIT */
/*
 * The root becomes an empty read-only tmpfs. The libraries that the host stands on are mapped
 * already and need no path any more. The module is copied to a second tmpfs that is mounted
 * nowhere: only the working directory leads there. The second door leaves it, for which no
 * privilege is needed, and with the last descriptor it is gone.
 */
#include "host/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROOT_MODULE_MAX (256u << 20)

/* A tmpfs mounted nowhere, or a negative errno. */
static int root_tmpfs(const char *size, const char *inodes, unsigned int attrs)
{
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	int fd = -1;

	if (fs < 0)
		return -errno;
	if (fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) == 0 &&
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", inodes, 0) == 0 &&
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0555", 0) == 0 &&
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		fd = fsmount(fs, FSMOUNT_CLOEXEC, attrs);
	if (fd < 0)
		fd = -errno;
	close(fs);
	return fd;
}

static int root_copy(int from, int to)
{
	char buf[64 * 1024];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(from, buf, sizeof(buf), at)) > 0) {
		for (ssize_t done = 0, w; done < n; done += w) {
			w = write(to, buf + done, (size_t)(n - done));
			if (w < 0)
				return -errno;
		}
		at += n;
		if (at > ROOT_MODULE_MAX)
			return -EFBIG;
	}
	return n < 0 ? -errno : 0;
}

/* Any directory will do as a place to stand on for a moment. */
static int root_attach(int mount)
{
	static const char *const places[] = { "/tmp", "/run", "/usr", "/proc" };
	int err = -ENOENT;

	for (unsigned int i = 0; i < sizeof(places) / sizeof(places[0]) && err; i++)
		err = move_mount(mount, "", AT_FDCWD, places[i], MOVE_MOUNT_F_EMPTY_PATH) < 0
			      ? -errno
			      : 0;
	return err;
}

static int root_file(int dir, const char *name, int content)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
	int err = fd < 0 ? -errno : content < 0 ? 0 : root_copy(content, fd);

	if (fd >= 0)
		close(fd);
	return err;
}

/* A library is bound rather than copied: it is large, and other processes have it as well. */
static int root_bind(int dir, const struct au_sandbox_library *lib)
{
	struct mount_attr ro = { .attr_set =
					 MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV };
	int err = root_file(dir, lib->name, -1);
	int tree;

	if (err)
		return err;
	tree = open_tree(lib->fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	if (tree < 0)
		return -errno;
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &ro, sizeof(ro)) < 0 ||
	    move_mount(tree, "", dir, lib->name, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		err = -errno;
	close(tree);
	return err;
}

/* Mounts can only be put on mounts that are somewhere, so that it is, until a copy is taken. */
static int root_bind_all(const struct au_sandbox *sb, int *library)
{
	int err = root_attach(*library);
	int tree;

	for (unsigned int i = 0; i < sb->library_count && !err; i++)
		err = root_bind(*library, &sb->libraries[i]);
	if (err)
		return err;
	tree = open_tree(*library, "",
			 OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
	if (tree < 0)
		return -errno;
	close(*library);
	*library = tree;
	return 0;
}

/* The module in a file system of its own, read-only from then on. */
static int root_library(struct au_sandbox *sb)
{
	struct mount_attr ro = { .attr_set = MOUNT_ATTR_RDONLY };
	char file[48], inodes[16];
	int library, err;

	snprintf(file, sizeof(file), "%s.so", sb->name);
	snprintf(inodes, sizeof(inodes), "%u", 2 + sb->library_count);
	library = root_tmpfs("256m", inodes, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	if (library < 0)
		return library;
	err = root_file(library, file, sb->module);
	if (!err && sb->library_count)
		err = root_bind_all(sb, &library);
	if (!err && mount_setattr(library, "", AT_EMPTY_PATH, &ro, sizeof(ro)) < 0)
		err = -errno;
	if (err) {
		close(library);
		return err;
	}
	snprintf(sb->module_path, sizeof(sb->module_path), "./%s", file);
	return library;
}

/*
 * Take away what is mounted on the machine's first root, or it would be held as long as the host
 * lives. Return: whether "/" is that root: it is its own parent, as no other mount is.
 */
static bool root_bare(void)
{
	char line[1024], at[512], list[8192];
	unsigned int id, parent;
	bool first = false;
	size_t used = 0;
	FILE *mounts = fopen("/proc/self/mountinfo", "re");

	/* The list goes with /proc: all of it is read before anything is taken away. */
	while (mounts && fgets(line, sizeof(line), mounts)) {
		if (sscanf(line, "%u %u %*s %*s %511s", &id, &parent, at) != 3)
			continue;
		first = first || (id == parent && !strcmp(at, "/"));
		/* Names with spaces and the like come as octal numbers: these stay, unseen. */
		if (!strcmp(at, "/") || strchr(at, '\\') || used + strlen(at) >= sizeof(list))
			continue;
		memcpy(list + used, at, strlen(at) + 1);
		used += strlen(at) + 1;
	}
	if (mounts)
		fclose(mounts);
	for (size_t i = 0; first && i < used; i += strlen(list + i) + 1)
		umount2(list + i, MNT_DETACH);
	return first;
}

/*
 * The machine's first root, an initramfs that was never left, can neither be exchanged nor taken
 * off. The new one is put on top of it, and becomes what "/" means; ".." ends there, too, since the
 * first root's own root is what lies below. To get at that again the new one would have to be taken
 * off, for which it takes a privilege that is gone before a driver is loaded.
 */
static int root_cover(int root)
{
	/* Where it stands now goes with the rest. */
	int tree = open_tree(root, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
	int err = 0;

	if (tree < 0)
		return -errno;
	if (!root_bare())
		err = -EINVAL;
	else if (move_mount(tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
		 fchdir(tree) < 0 || chroot(".") < 0 || chdir("/") < 0)
		err = -errno;
	close(tree);
	return err;
}

/* Return: 0, 1: the old root is still there, below; or a negative errno. */
static int root_pivot(int root)
{
	int err = root_attach(root);

	if (err)
		return err;
	/* The old root comes to lie on top of the new one, and is taken off. */
	if (fchdir(root) < 0)
		return -errno;
	if (syscall(SYS_pivot_root, ".", ".") < 0) {
		err = errno == EINVAL ? root_cover(root) : -errno;
		return err ? err : 1;
	}
	if (umount2(".", MNT_DETACH) < 0)
		return -errno;
	return chdir("/") < 0 ? -errno : 0;
}

int au_sandbox_root(struct au_sandbox *sb)
{
	bool covered;
	int root, err;

	if (!au_layer_wanted(sb, AU_LAYER_ROOT))
		return 0;
	if (!sb->layers[AU_LAYER_MOUNT_NS].in_force)
		return au_layer_set(sb, AU_LAYER_ROOT, -EPERM, "needs mount-ns");
	/* Nothing of what follows is to be seen outside. */
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return au_layer_set(sb, AU_LAYER_ROOT, -errno, "%s", strerror(errno));
	sb->library = root_library(sb);
	root = sb->library < 0 ? sb->library
			       : root_tmpfs("4k", "1",
					    MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
						    MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	err = root < 0 ? root : root_pivot(root);
	if (root >= 0)
		close(root);
	covered = err > 0;
	if (err >= 0)
		err = fchdir(sb->library) < 0 ? -errno : 0;
	if (err) {
		if (sb->library >= 0)
			close(sb->library);
		sb->library = -1;
		snprintf(sb->module_path, sizeof(sb->module_path), "/proc/self/fd/%d", sb->module);
		return au_layer_set(sb, AU_LAYER_ROOT, err, "%s", strerror(-err));
	}
	return au_layer_set(sb, AU_LAYER_ROOT, 0, "empty and read-only%s",
			    covered ? ", on top of the machine's first root" : "");
}

int au_sandbox_root_leave(struct au_sandbox *sb)
{
	if (sb->library < 0)
		return 0;
	if (chdir("/") < 0)
		return au_layer_set(sb, AU_LAYER_ROOT, -errno, "chdir: %s", strerror(errno));
	close(sb->library);
	sb->library = -1;
	return 0;
}
