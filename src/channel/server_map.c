/* SPDX-License-Identifier: MIT */
/* A channel's memory, from descriptors that a client may have made. */
#include "channel/server_end.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/recorder.h"
#include "channel/wire.h"

int au_chan_server_map(int rings_fd, int pool_fd, uint32_t depth, uint32_t buffer_size,
		       void **rings, void **pool, char *error, size_t error_size)
{
	struct au_wire_layout layout;
	size_t pool_size = (size_t)depth * buffer_size;
	int err;

	if (au_wire_layout(depth, &layout) != 0 || buffer_size % 64 != 0 || buffer_size == 0 ||
	    buffer_size > AU_WIRE_BUFFER_MAX) {
		snprintf(error, error_size,
			 "a channel of depth %u with buffers of %u bytes cannot be", depth,
			 buffer_size);
		return -EINVAL;
	}
	err = au_memfd_check(rings_fd, layout.size);
	if (err == 0)
		err = au_memfd_check(pool_fd, pool_size);
	if (err != 0) {
		snprintf(error, error_size,
			 "the channel's memory is too small, or not sealed against shrinking");
		return err;
	}
	*rings = mmap(NULL, layout.size, PROT_READ | PROT_WRITE, MAP_SHARED, rings_fd, 0);
	if (*rings == MAP_FAILED) {
		snprintf(error, error_size, "cannot map a channel's rings: %m");
		return -errno;
	}
	*pool = mmap(NULL, pool_size, PROT_READ | PROT_WRITE, MAP_SHARED, pool_fd, 0);
	if (*pool == MAP_FAILED) {
		err = -errno;
		snprintf(error, error_size, "cannot map a channel's pool: %m");
		munmap(*rings, layout.size);
		return err;
	}
	return 0;
}

void au_chan_server_unmap(void *rings, void *pool, uint32_t depth, uint32_t buffer_size)
{
	struct au_wire_layout layout;

	if (au_wire_layout(depth, &layout) != 0)
		return;
	munmap(rings, layout.size);
	munmap(pool, (size_t)depth * buffer_size);
}
