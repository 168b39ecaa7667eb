/* SPDX-License-Identifier: MIT */
#include "host/sandbox/sandbox.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * The kernel's interface, as of ABI 6: the headers of an older system know less of it, while the
 * kernel that it runs on is asked how much it knows.
 */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule	    445
#define SYS_landlock_restrict_self  446
#endif

#define LANDLOCK_VERSION_FLAG 1u
#define LANDLOCK_PATH_BENEATH 1
#define LANDLOCK_FS_READ_FILE (1ull << 2)

struct landlock_attr {
	uint64_t access_fs;
	uint64_t access_net; /* ABI 4 */
	uint64_t scoped;     /* ABI 6 */
};

struct landlock_beneath {
	uint64_t access;
	int32_t fd;
} __attribute__((packed));

/* How many bits of access_fs each ABI knows: truncate came with 3, ioctl on devices with 5. */
static uint64_t landlock_fs_bits(long abi)
{
	unsigned int bits = abi >= 5 ? 16 : abi >= 3 ? 15 : abi >= 2 ? 14 : 13;

	return (1ull << bits) - 1;
}

static int landlock_allow(int ruleset, int fd)
{
	struct landlock_beneath rule = { .access = LANDLOCK_FS_READ_FILE, .fd = fd };

	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_PATH_BENEATH, &rule, 0) < 0 ? -errno
											    : 0;
}

/* The file system that holds the module, or each file for itself. */
static int landlock_allow_loading(const struct au_sandbox *sb, int ruleset)
{
	int err;

	if (sb->library >= 0)
		return landlock_allow(ruleset, sb->library);
	err = landlock_allow(ruleset, sb->module);
	if (err == -EBADFD) /* a memfd, on which there are no rules, and no restrictions either */
		err = 0;
	for (unsigned int i = 0; i < sb->library_count && !err; i++)
		err = landlock_allow(ruleset, sb->libraries[i].fd);
	return err;
}

static int landlock_restrict(const struct au_sandbox *sb, long abi, bool loading)
{
	struct landlock_attr attr = {
		.access_fs = landlock_fs_bits(abi),
		.access_net = 3, /* bind, connect */
		.scoped = 3,	 /* abstract UNIX sockets, signals */
	};
	size_t size = abi >= 6 ? sizeof(attr) : abi >= 4 ? 16 : 8;
	int ruleset, err;

	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
	if (ruleset < 0)
		return -errno;
	err = loading ? landlock_allow_loading(sb, ruleset) : 0;
	if (!err && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		err = -errno;
	close(ruleset);
	return err;
}

int au_sandbox_landlock(struct au_sandbox *sb, bool loading)
{
	long abi;
	int err;

	if (!au_layer_wanted(sb, AU_LAYER_LANDLOCK))
		return 0;
	abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION_FLAG);
	if (abi < 0)
		return au_layer_set(sb, AU_LAYER_LANDLOCK, -errno, "%s",
				    errno == ENOSYS || errno == EOPNOTSUPP
					    ? "this kernel does not have it, or has it off"
					    : strerror(errno));
	err = landlock_restrict(sb, abi, loading);
	if (err)
		return au_layer_set(sb, AU_LAYER_LANDLOCK, err, "%s", strerror(-err));
	return au_layer_set(sb, AU_LAYER_LANDLOCK, 0, "ABI %ld: no files%s%s", abi,
			    abi >= 4 ? ", no TCP" : "",
			    abi >= 6 ? ", no abstract sockets, no signals" : "");
}
