/* SPDX-License-Identifier: MIT */
#include "host/sandbox/sandbox.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int descriptors_order(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static int descriptors_close(unsigned int first, unsigned int last)
{
	if (first > last)
		return 0;
	return syscall(SYS_close_range, first, last, 0) < 0 ? -errno : 0;
}

/* Close the gaps between what is kept. */
int au_sandbox_descriptors(struct au_sandbox *sb)
{
	unsigned int next = 3;
	int keep[AU_SANDBOX_KEEP];
	int err = 0;

	if (!au_layer_wanted(sb, AU_LAYER_DESCRIPTORS))
		return 0;
	memcpy(keep, sb->keep, sizeof(keep));
	qsort(keep, sb->keep_count, sizeof(keep[0]), descriptors_order);
	for (unsigned int i = 0; i < sb->keep_count && !err; i++) {
		unsigned int fd = (unsigned int)keep[i];

		if (fd < next)
			continue;
		if (fd > next)
			err = descriptors_close(next, fd - 1);
		next = fd + 1;
	}
	if (!err)
		err = descriptors_close(next, ~0u);
	if (err)
		return au_layer_set(sb, AU_LAYER_DESCRIPTORS, err, "close_range: %s",
				    strerror(-err));
	return au_layer_set(sb, AU_LAYER_DESCRIPTORS, 0, "%u given", sb->keep_count);
}
