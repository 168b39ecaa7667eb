/* SPDX-License-Identifier: MIT */
/*
 * edu_client TARGET - an application for tests of the driver t-edu, whose device has addresses of
 * 28 bits and cuts off the rest: its own data go through the device and back, from memory of its
 * own that the device cannot reach, and from the handle's buffers. One line of JSON says what came
 * back and which addresses the device was given.
 *
 * edu_client TARGET DEPTH SIZE - only opens it, with so many buffers of that size.
 */
#include <auriga/auriga.h>
#include <auriga/raw.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BYTES 4000u
#define LOOP  AU_RAW_FIRST
#define WHERE (AU_RAW_FIRST + 4)

static int request(struct au_handle *h, uint16_t op, void *data, uint32_t length, uint32_t *result)
{
	struct au_io io = { .op = op, .data = data, .length = length };
	int rc = au_wait(h, &io);

	*result = io.result;
	if (rc < 0)
		fprintf(stderr, "%d: %s\n", rc, au_errmsg());
	return rc;
}

/* Through the device and back, and where it was told that they are; 0: they came back wrong. */
static uint32_t through(struct au_handle *h, unsigned char *data, unsigned int seed)
{
	static unsigned char sent[BYTES];
	uint32_t result, where;

	for (unsigned int i = 0; i < BYTES; i++)
		data[i] = sent[i] = (unsigned char)(i * 31 + i / 251 + seed);
	if (request(h, WHERE, data, BYTES, &where) != 0 ||
	    request(h, LOOP, data, BYTES, &result) != 0 || result != BYTES ||
	    memcmp(data, sent, BYTES) != 0)
		return 0;
	return where;
}

static int check(struct au_handle *h)
{
	/* Where no device of 28 bits would look for it. */
	unsigned char *own =
		mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *pool;
	uint32_t result = 0;
	size_t size;

	printf("{\"high\": %d, \"own\": %u, ", (uintptr_t)own >> 28 != 0, through(h, own + 1, 1));
	printf("\"too_long\": %d, ", request(h, LOOP, own, 2 * 4096, &result));
	printf("\"longer_than_a_buffer\": %d, ", request(h, LOOP, own, 5 * 4096, &result));
	printf("\"after\": %u, ", through(h, own + 3, 2));
	pool = au_buffers(h, &size);
	if (!pool)
		return 1;
	printf("\"pool\": %zu, \"first\": %u, ", size, through(h, pool, 3));
	printf("\"second\": %u, ", through(h, pool + 4096, 4));
	printf("\"bounced\": %u, ", through(h, own + 5, 5));
	printf("\"nobody_else\": %d}\n", pool[4096] == 4 && pool[0] == 3);
	return 0;
}

int main(int argc, char **argv)
{
	struct au_open_options options = {
		.size = sizeof(options), .abi = AU_CLIENT_ABI, .depth = 4, .buffer_size = 16384
	};
	struct au_handle *h;
	int rc;

	if (argc == 4) {
		options.depth = (uint32_t)atoi(argv[2]);
		options.buffer_size = (uint32_t)atoi(argv[3]);
	}
	if (strstr(argv[1], "poll=app"))
		options.flags = AU_OPEN_POLL_APP;
	if (argc < 2 || au_open(argv[1], &options, &h) != 0) {
		fprintf(stderr, "%s\n", au_errmsg());
		return 1;
	}
	rc = argc == 2 ? check(h) : 0;
	au_close(h);
	return rc;
}
