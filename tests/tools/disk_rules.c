/* SPDX-License-Identifier: MIT */
/*
 * disk_rules UNIT: what each operation of a disk does to its bytes, and to those beside them: write
 * with and without forced unit access, flush, discard, write zeroes, the end of the disk. Writes
 * over the first MiB. Prints what was looked at, and the first thing that is wrong.
 */
#include <auriga/auriga.h>
#include <auriga/block.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROOM (1u << 20)

static struct au_handle *disk;
static struct au_block_info info = { .size = sizeof(info), .abi = 1 };
static uint8_t *want, *got;

static int fail(const char *what, int rc)
{
	fprintf(stderr, "disk_rules: %s: %s\n", what, rc ? strerror(-rc) : "wrong data");
	return 1;
}

/* The whole room is as it should be. @maybe: those bytes may be zero instead. */
static int look(const char *what, size_t maybe, size_t maybe_size)
{
	int rc = au_block_read(disk, 0, got, ROOM);

	if (rc)
		return fail(what, rc);
	for (size_t i = 0; i < ROOM; i++) {
		bool may = i >= maybe && i - maybe < maybe_size && got[i] == 0;

		if (got[i] != want[i] && !may)
			return fail(what, 0);
	}
	memcpy(want, got, ROOM);
	printf("%s\n", what);
	return 0;
}

static int change(const char *what, uint64_t offset, size_t size, uint8_t with, uint16_t flags)
{
	int rc;

	memset(want + offset, with, size);
	rc = au_block_write(disk, offset, want + offset, size, flags);
	return rc ? fail(what, rc) : look(what, 0, 0);
}

static int zeroes(uint64_t offset, uint64_t size)
{
	int rc = au_block_write_zeroes(disk, offset, size, 0);

	memset(want + offset, 0, size);
	return rc ? fail("write zeroes", rc) : look("write zeroes", 0, 0);
}

static int discard(uint64_t offset, uint64_t size)
{
	int rc = au_block_discard(disk, offset, size);

	return rc ? fail("discard", rc) : look("discard", offset, size);
}

static int ends(void)
{
	int rc = au_block_write(disk, info.bytes, want, info.block_size, 0);

	if (rc != -ENOSPC)
		return fail("a write behind the end", rc ? rc : -EPROTO);
	rc = au_block_read(disk, info.bytes - info.block_size, got, info.block_size);
	return rc ? fail("the last block", rc) : look("the ends", 0, 0);
}

int main(int argc, char **argv)
{
	const struct au_open_options options = {
		.size = sizeof(options), .abi = AU_CLIENT_ABI, .buffer_size = ROOM, .depth = 4
	};
	uint32_t b;
	int rc;

	if (argc != 2) {
		fprintf(stderr, "usage: disk_rules UNIT\n");
		return 2;
	}
	want = malloc(ROOM);
	got = malloc(ROOM);
	if (!want || !got || au_open(argv[1], &options, &disk) || au_block_info(disk, &info)) {
		fprintf(stderr, "disk_rules: %s\n", au_errmsg());
		return 1;
	}
	b = info.block_size;
	for (size_t i = 0; i < ROOM; i++)
		want[i] = (uint8_t)(i * 2654435761u >> 13);
	rc = au_block_write(disk, 0, want, ROOM, 0);
	if (rc || look("write", 0, 0))
		return rc ? fail("write", rc) : 1;
	if (change("one block", 3 * b, b, 0x5a, 0) ||
	    change("forced", 7 * b, 2 * b, 0xa5, AU_BLOCK_FUA))
		return 1;
	rc = au_block_flush(disk);
	if (rc)
		return fail("flush", rc);
	if (zeroes(16 * b, 8 * b) || discard(64 * b, 64 * b) || ends())
		return 1;
	au_close(disk);
	return 0;
}
