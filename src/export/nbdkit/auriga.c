/* SPDX-License-Identifier: MIT */
/*
 * A plugin of nbdkit: a disk of Auriga's as an NBD export. nbdkit speaks the protocol and brings
 * the threads, a few for each connection, which all share one open of the unit (share.h). When
 * the disk's driver dies, clients see requests that take longer.
 */
#define NBDKIT_API_VERSION 2
#define THREAD_MODEL	   NBDKIT_THREAD_MODEL_PARALLEL

#include "export/nbdkit/share.h"

#include <errno.h>
#include <nbdkit-plugin.h>
#include <stdlib.h>
#include <string.h>

#define NBD_PREFERRED 4096u

static char *nbd_unit;
static char *nbd_runtime_dir;

/* The one that new connections get, and how many have it; older ones may have another, from before
 * the device went and came back. */
struct nbd_open {
	struct share *share;
	unsigned int users;
};

static pthread_mutex_t nbd_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct nbd_open *nbd_latest;

/* ------------------------------------------------------------------ configuration */

static int nbd_set(char **to, const char *value)
{
	free(*to);
	*to = strdup(value);
	if (*to)
		return 0;
	nbdkit_error("no memory");
	return -1;
}

static int nbd_config(const char *key, const char *value)
{
	if (strcmp(key, "unit") == 0)
		return nbd_set(&nbd_unit, value);
	if (strcmp(key, "runtime-dir") == 0)
		return nbd_set(&nbd_runtime_dir, value);
	nbdkit_error("no parameter '%s': there are unit and runtime-dir", key);
	return -1;
}

static int nbd_config_complete(void)
{
	if (nbd_unit)
		return 0;
	nbdkit_error("which disk? Say unit=NAME; `auriga ls` lists them");
	return -1;
}

static struct share *nbd_share(void)
{
	char why[512];
	struct share *share = share_open(nbd_unit, nbd_runtime_dir, why, sizeof(why));

	if (!share) {
		nbdkit_error("%s", why);
		nbdkit_set_error(ESHUTDOWN);
	}
	return share;
}

static bool nbd_inproc(void)
{
	return strncmp(nbd_unit, "inproc:", 7) == 0;
}

/* Before nbdkit goes to the background, where nobody would hear of it. A driver in this process
 * would not survive the fork. */
static int nbd_get_ready(void)
{
	struct share *share;

	if (nbd_inproc())
		return 0;
	share = nbd_share();
	if (!share)
		return -1;
	share_close(share);
	return 0;
}

/* With the mutex held. */
static void nbd_put(struct nbd_open *open)
{
	if (!open || --open->users)
		return;
	share_close(open->share);
	free(open);
}

/* With the mutex held: an open of the unit that works, in place of one that does not. */
static int nbd_renew(void)
{
	struct nbd_open *open;

	if (nbd_latest && share_alive(nbd_latest->share))
		return 0;
	open = calloc(1, sizeof(*open));
	if (!open)
		return -1;
	open->share = nbd_share();
	if (!open->share) {
		free(open);
		return -1;
	}
	open->users = 1;
	nbd_put(nbd_latest);
	nbd_latest = open;
	return 0;
}

static int nbd_after_fork(void)
{
	return nbd_renew();
}

static void nbd_cleanup(void)
{
	nbd_put(nbd_latest);
	nbd_latest = NULL;
}

static void nbd_unload(void)
{
	free(nbd_unit);
	free(nbd_runtime_dir);
}

/* -------------------------------------------------------------------- connections */

static void *nbd_connect(int readonly)
{
	struct nbd_open *open = NULL;

	pthread_mutex_lock(&nbd_mutex);
	if (nbd_renew() == 0) {
		open = nbd_latest;
		open->users++;
	}
	pthread_mutex_unlock(&nbd_mutex);
	return open;
}

static void nbd_disconnect(void *handle)
{
	pthread_mutex_lock(&nbd_mutex);
	nbd_put(handle);
	pthread_mutex_unlock(&nbd_mutex);
}

static struct share *nbd_of(const void *handle)
{
	return ((const struct nbd_open *)handle)->share;
}

static int64_t nbd_get_size(void *handle)
{
	return (int64_t)share_bytes(nbd_of(handle));
}

static int nbd_can(const void *handle, uint32_t flags)
{
	const struct share *share = nbd_of(handle);

	return (share->info.flags & flags) == flags;
}

static int nbd_can_write(void *handle)
{
	return !nbd_can(handle, AU_BLOCK_READ_ONLY);
}

static int nbd_yes(void *handle)
{
	return 1;
}

static int nbd_no(void *handle)
{
	return 0;
}

static int nbd_can_trim(void *handle)
{
	return nbd_can(handle, AU_BLOCK_CAN_DISCARD);
}

static int nbd_can_fua(void *handle)
{
	return NBDKIT_FUA_NATIVE;
}

static int nbd_can_fast_zero(void *handle)
{
	return nbd_can(handle, AU_BLOCK_CAN_ZERO) ||
	       nbd_can(handle, AU_BLOCK_CAN_DISCARD | AU_BLOCK_DISCARD_ZERO);
}

static int nbd_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
	const struct share *share = nbd_of(handle);

	*minimum = share->info.block_size;
	*preferred = *minimum > NBD_PREFERRED ? *minimum : NBD_PREFERRED;
	*maximum = UINT32_MAX; /* long requests are split here */
	return 0;
}

/* ----------------------------------------------------------------------- requests */

/* What NBD has a word for stays as it is. */
static int nbd_errno(int status)
{
	switch (-status) {
	case EPERM:
	case EIO:
	case EINVAL:
	case ENOSPC:
	case ENOMEM:
	case EOPNOTSUPP:
		return -status;
	case ENODEV:
		return ESHUTDOWN;
	default:
		return EIO;
	}
}

static int nbd_end(int status, const char *what, uint32_t count, uint64_t offset)
{
	if (status == 0)
		return 0;
	nbdkit_error("%s: %s of %u bytes at %llu: %s", nbd_unit, what, count,
		     (unsigned long long)offset, strerror(-status));
	nbdkit_set_error(nbd_errno(status));
	return -1;
}

/* Only a cache makes a difference between written and on the medium. */
static int nbd_settle(struct share *share, uint32_t flags)
{
	return flags & NBDKIT_FLAG_FUA && share->info.flags & AU_BLOCK_CACHE ? share_flush(share)
									     : 0;
}

static int nbd_pread(void *handle, void *data, uint32_t count, uint64_t offset, uint32_t flags)
{
	return nbd_end(share_move(nbd_of(handle), AU_BLOCK_READ, data, count, offset, 0), "read",
		       count, offset);
}

static int nbd_pwrite(void *handle, const void *data, uint32_t count, uint64_t offset,
		      uint32_t flags)
{
	return nbd_end(share_move(nbd_of(handle), AU_BLOCK_WRITE, (void *)(uintptr_t)data, count,
				  offset, flags & NBDKIT_FLAG_FUA ? AU_BLOCK_FUA : 0),
		       "write", count, offset);
}

static int nbd_flush(void *handle, uint32_t flags)
{
	return nbd_end(share_flush(nbd_of(handle)), "flush", 0, 0);
}

static int nbd_trim(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	int rc = share_range(nbd_of(handle), AU_BLOCK_DISCARD, count, offset);

	if (rc == 0)
		rc = nbd_settle(nbd_of(handle), flags);
	return nbd_end(rc, "trim", count, offset);
}

static int nbd_zero(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	uint16_t op = AU_BLOCK_WRITE_ZEROES;
	int rc;

	if ((flags & NBDKIT_FLAG_MAY_TRIM || !nbd_can(handle, AU_BLOCK_CAN_ZERO)) &&
	    nbd_can(handle, AU_BLOCK_CAN_DISCARD | AU_BLOCK_DISCARD_ZERO))
		op = AU_BLOCK_DISCARD;
	else if (!nbd_can(handle, AU_BLOCK_CAN_ZERO)) {
		/* nbdkit writes them itself, unless that would not be fast. */
		nbdkit_set_error(EOPNOTSUPP);
		return -1;
	}
	rc = share_range(nbd_of(handle), op, count, offset);
	if (rc == 0)
		rc = nbd_settle(nbd_of(handle), flags);
	return nbd_end(rc, "zero", count, offset);
}

static struct nbdkit_plugin plugin = {
	.name = "auriga",
	.longname = "Auriga disks",
	.version = AU_VERSION_TEXT,
	.description = "a disk whose driver runs outside the kernel",
	.magic_config_key = "unit",
	.config = nbd_config,
	.config_complete = nbd_config_complete,
	.config_help = "unit=NAME          the disk: a unit's name, or inproc:DRIVER,...\n"
		       "runtime-dir=DIR    where the manager lives",
	.get_ready = nbd_get_ready,
	.after_fork = nbd_after_fork,
	.cleanup = nbd_cleanup,
	.unload = nbd_unload,
	.open = nbd_connect,
	.close = nbd_disconnect,
	.get_size = nbd_get_size,
	.block_size = nbd_block_size,
	.can_write = nbd_can_write,
	.can_flush = nbd_yes,
	.can_trim = nbd_can_trim,
	.can_zero = nbd_yes,
	.can_fast_zero = nbd_can_fast_zero,
	.can_fua = nbd_can_fua,
	.can_multi_conn = nbd_yes,
	.can_extents = nbd_no,
	.is_rotational = nbd_no,
	.pread = nbd_pread,
	.pwrite = nbd_pwrite,
	.flush = nbd_flush,
	.trim = nbd_trim,
	.zero = nbd_zero,
};

NBDKIT_REGISTER_PLUGIN(plugin)
