/* SPDX-License-Identifier: MIT */
/* The lab's machine files: any text is either a machine or one line of complaint. */
#include "spec.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lab_spec spec = { .dirfd = -1, .dir = strdup("/run/lab") };
	int fd = memfd_create("machine", MFD_CLOEXEC);
	char path[64];

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (machine_load(&spec, path) == 0 && lab_spec_finish(&spec) == 0) {
		for (unsigned int i = 0; i < spec.devices.num; i++)
			if (!strstr(spec.devices.arg[i], ",id="))
				abort();
		if (spec.name && !lab_name_valid(spec.name))
			abort();
	}
	close(fd);
	lab_spec_free(&spec);
	return 0;
}
