/* SPDX-License-Identifier: MIT */
/* The start message of a host: the first byte says which descriptors come with it. */
#include "host/host.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct host_start start;
	int fds[AU_MSG_FDS];
	char error[220] = "";
	char *text;
	int err;

	if (size < 1 || size > AU_MSG_MAX)
		return 0;
	for (unsigned int i = 0; i < AU_MSG_FDS; i++)
		fds[i] = i < 8 && (data[0] >> i) & 1 ? open("/dev/null", O_RDONLY) : -1;
	text = malloc(size);
	if (!text)
		abort();
	memcpy(text, data + 1, size - 1);
	text[size - 1] = 0;
	err = host_start_parse(text, fds, &start, error, sizeof(error));
	if (err && (!error[0] || strchr(error, '\n')))
		abort();
	if (!err && (start.fds[HOST_FD_MODULE] < 0 || start.fds[HOST_FD_STATUS] < 0))
		abort();
	for (unsigned int i = 0; i < AU_MSG_FDS; i++)
		if (fds[i] >= 0)
			abort();
	host_start_free(&start);
	free(text);
	return 0;
}
