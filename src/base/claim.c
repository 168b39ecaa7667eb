/* SPDX-License-Identifier: MIT */
/* Claims: one device, one process that runs it. */
#include "base/claim.h"

#include "base/cleanup.h"
#include "base/paths.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The name of a claim's file: readable, and different for different addresses. */
static void claim_name(const char *address, char *name, size_t size)
{
	char whole[PATH_MAX + 64], real[PATH_MAX];
	const char *path = strchr(address, ':');
	uint64_t hash = 0xcbf29ce484222325u;
	size_t length = 0;

	/* One device has many paths; its socket's real one is the same for all. */
	if (path && path[1] && strchr(path, '/') && realpath(path + 1, real))
		snprintf(whole, sizeof(whole), "%.*s:%s",
			 path - address < 32 ? (int)(path - address) : 32, address, real);
	else
		snprintf(whole, sizeof(whole), "%s", address);
	for (const char *c = whole; *c; c++) {
		hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
		if (length < 60 && length + 1 < size)
			name[length++] = isalnum((unsigned char)*c) ? *c : '_';
	}
	name[length] = '\0';
	snprintf(name + length, size - length, "-%016llx", (unsigned long long)hash);
}

/* Who holds it, as the holder wrote it; for a message, so only what is printable. */
static void claim_holder(int fd, char *text, size_t size)
{
	ssize_t length = pread(fd, text, size - 1, 0);

	text[length > 0 ? length : 0] = '\0';
	for (char *c = text; *c; c++)
		if (*c < ' ' || *c == 0x7f)
			*c = '\0';
	if (!text[0])
		snprintf(text, size, "another process");
}

int au_claim_update(int claim, int pid, const char *who)
{
	char text[160];
	int length = snprintf(text, sizeof(text), "pid %d (%.120s)\n", pid, who);

	if (ftruncate(claim, 0) != 0 || pwrite(claim, text, (size_t)length, 0) != length)
		return -errno;
	return 0;
}

int au_claim_check(const char *dir, int claim)
{
	char path[AU_PATH_MAX + 8];
	struct stat file, claims;

	snprintf(path, sizeof(path), "%s/claims", dir);
	if (lstat(path, &claims) != 0 || fstat(claim, &file) != 0)
		return -errno;
	return S_ISREG(file.st_mode) && file.st_dev == claims.st_dev && file.st_uid == geteuid()
		       ? 0
		       : -EPERM;
}

int au_claim(const char *dir, const char *address, const char *who, char *error, size_t error_size)
{
	char path[AU_PATH_MAX + 8], name[100], holder[160];
	AU_CLEANUP_FD int fd = -1;
	int err;

	snprintf(path, sizeof(path), "%s/claims", dir);
	if (mkdir(path, 0755) != 0 && errno != EEXIST) {
		err = -errno;
		snprintf(error, error_size, "%s: cannot be made: %s", path, strerror(-err));
		return err;
	}
	claim_name(address, name, sizeof(name));
	if (snprintf(path, sizeof(path), "%s/claims/%s", dir, name) >= (int)sizeof(path)) {
		snprintf(error, error_size, "%s/claims: the path is too long", dir);
		return -ENAMETOOLONG;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0) {
		err = -errno;
		snprintf(error, error_size, "%s: cannot be claimed: %s: %s", address, path,
			 strerror(-err));
		return err;
	}
	/* Whoever can open it, if only to read, could lock it: nobody else may. */
	if (fchmod(fd, 0600) != 0) {
		err = -errno;
		snprintf(error, error_size, "%s: %s", path, strerror(-err));
		return err;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		err = errno == EWOULDBLOCK ? -EBUSY : -errno;
		claim_holder(fd, holder, sizeof(holder));
		snprintf(error, error_size, "%s is run by %s", address, holder);
		return err;
	}
	err = au_claim_update(fd, (int)getpid(), who);
	if (err) {
		snprintf(error, error_size, "%s: %s", path, strerror(-err));
		return err;
	}
	return au_take_fd(&fd);
}
