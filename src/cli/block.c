/* SPDX-License-Identifier: MIT */
/* `auriga block`: what a disk is, and its bytes, from and to a file or a pipe. */
#include "auriga/block.h"

#include "auriga/auriga.h"
#include "cli/cli.h"
#include "cli/size.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_CHUNK (1u << 20)

struct block {
	struct au_handle *handle;
	struct au_block_info info;
	uint64_t offset;
	uint64_t length; /* UINT64_MAX: to the end */
	const char *file;
	bool json;
	char *chunk;
};

static bool block_open(struct block *b, const char *target)
{
	const struct au_open_options options = { .size = sizeof(options),
						 .abi = AU_CLIENT_ABI,
						 .buffer_size = BLOCK_CHUNK,
						 .depth = 4 };

	if (au_open(target, &options, &b->handle) != 0)
		return cli_say("%s", au_errmsg()), false;
	if (strcmp(au_unit_class(b->handle), "block") != 0)
		return cli_say("%s is of class %s, which is no disk", target,
			       au_unit_class(b->handle)),
		       false;
	b->info = (struct au_block_info){ .size = sizeof(b->info), .abi = 1 };
	if (au_block_info(b->handle, &b->info) != 0)
		return cli_say("%s", au_errmsg()), false;
	b->chunk = aligned_alloc(4096, BLOCK_CHUNK);
	return b->chunk != NULL;
}

static int block_failed(const struct block *b, const char *what, uint64_t offset, int rc)
{
	return cli_error("%s: %s at %" PRIu64 ": %s", au_unit_name(b->handle), what, offset,
			 strerror(-rc));
}

/* Whether what was asked for is of the disk. */
static int block_range(struct block *b, bool to_end)
{
	uint64_t end = b->info.bytes;

	if (b->offset > end || (b->length != UINT64_MAX && b->length > end - b->offset))
		return cli_error("%s: that is behind its end: it has %" PRIu64 " bytes",
				 au_unit_name(b->handle), end);
	if (b->length == UINT64_MAX && to_end)
		b->length = end - b->offset;
	if (b->offset % b->info.block_size ||
	    (b->length != UINT64_MAX && b->length % b->info.block_size))
		return cli_error("%s: its blocks are of %u bytes: --offset and --length must be "
				 "multiples of that",
				 au_unit_name(b->handle), b->info.block_size);
	return CLI_OK;
}

/* -------------------------------------------------------------------------- info */

static int block_info(struct block *b)
{
	static const struct {
		uint32_t flag;
		const char *word;
	} abilities[] = { { AU_BLOCK_READ_ONLY, "read-only" },
			  { AU_BLOCK_CACHE, "cache" },
			  { AU_BLOCK_CAN_DISCARD, "discard" },
			  { AU_BLOCK_CAN_ZERO, "write-zeroes" },
			  { AU_BLOCK_CAN_COMPARE, "compare-write" },
			  { AU_BLOCK_CAN_VERIFY, "verify" },
			  { AU_BLOCK_DISCARD_ZERO, "discarded-reads-zero" } };
	const struct au_block_info *info = &b->info;
	json_t *list = json_array(), *value;

	for (size_t i = 0; i < sizeof(abilities) / sizeof(abilities[0]); i++)
		if (info->flags & abilities[i].flag)
			json_array_append_new(list, json_string(abilities[i].word));
	value = json_pack("{s:s, s:s, s:s, s:I, s:i, s:i, s:I, s:i, s:o}", "name",
			  au_unit_name(b->handle), "model", info->model, "serial", info->serial,
			  "bytes", (json_int_t)info->bytes, "block_size", (int)info->block_size,
			  "depth", (int)info->depth, "max_range", (json_int_t)info->max_range,
			  "generation", (int)au_generation(b->handle), "flags", list);
	if (!value)
		return cli_error("%s: its model or serial number is no text",
				 au_unit_name(b->handle));
	json_object_set_new(value, "max_transfer", json_integer(info->max_transfer));
	json_object_set_new(value, "max_compare", json_integer(info->max_compare));
	if (b->json)
		cli_json(value);
	else
		cli_print(value, 0);
	json_decref(value);
	return CLI_OK;
}

/* ------------------------------------------------------------------ read and write */

static bool block_write_all(int fd, const char *data, size_t length)
{
	while (length) {
		ssize_t n = write(fd, data, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		data += n;
		length -= (size_t)n;
	}
	return true;
}

/* As much as there is, up to @length; less only at the end. Negative: an error. */
static ssize_t block_read_all(int fd, char *data, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = read(fd, data + done, length - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static int block_read(struct block *b, int fd)
{
	int status = block_range(b, true);

	while (status == CLI_OK && b->length) {
		size_t n = b->length < BLOCK_CHUNK ? b->length : BLOCK_CHUNK;
		int rc = au_block_read(b->handle, b->offset, b->chunk, n);

		if (rc)
			return block_failed(b, "read", b->offset, rc);
		if (!block_write_all(fd, b->chunk, n))
			return cli_error("cannot write to %s: %s", b->file ? b->file : "stdout",
					 strerror(errno));
		b->offset += n;
		b->length -= n;
	}
	return status;
}

static int block_write(struct block *b, int fd)
{
	int status = block_range(b, false), rc;

	if (status == CLI_OK && (b->info.flags & AU_BLOCK_READ_ONLY))
		return cli_error("%s is read-only", au_unit_name(b->handle));
	while (status == CLI_OK && b->length) {
		size_t want = b->length < BLOCK_CHUNK ? b->length : BLOCK_CHUNK;
		ssize_t n = block_read_all(fd, b->chunk, want);
		size_t odd;

		if (n < 0)
			return cli_error("cannot read %s: %s", b->file ? b->file : "stdin",
					 strerror(errno));
		odd = (size_t)n % b->info.block_size;
		rc = au_block_write(b->handle, b->offset, b->chunk, (size_t)n - odd, 0);
		if (rc)
			return block_failed(b, "write", b->offset, rc);
		if (odd)
			return cli_error(
				"%s: the last %zu bytes do not fill a block of %u, and are not "
				"written",
				au_unit_name(b->handle), odd, b->info.block_size);
		b->offset += (size_t)n;
		if (b->length != UINT64_MAX)
			b->length -= (size_t)n;
		if ((size_t)n == want)
			continue;
		if (b->length != UINT64_MAX)
			return cli_error("%s ends %" PRIu64 " bytes too early",
					 b->file ? b->file : "stdin", b->length);
		break;
	}
	if (status == CLI_OK) {
		rc = au_block_flush(b->handle);
		if (rc)
			return block_failed(b, "flush", b->offset, rc);
	}
	return status;
}

static int block_move(struct block *b, bool write)
{
	int fd = write ? STDIN_FILENO : STDOUT_FILENO;
	int status;

	if (b->file) {
		fd = write ? open(b->file, O_RDONLY | O_CLOEXEC)
			   : open(b->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
		if (fd < 0)
			return cli_error("%s: %s", b->file, strerror(errno));
	}
	status = write ? block_write(b, fd) : block_read(b, fd);
	if (b->file && close(fd) != 0 && status == CLI_OK)
		status = cli_error("%s: %s", b->file, strerror(errno));
	return status;
}

int cmd_block(const struct cli_command *self, int argc, char **argv)
{
	static const struct option options[] = { { "offset", required_argument, NULL, 'o' },
						 { "length", required_argument, NULL, 'l' },
						 { "file", required_argument, NULL, 'f' },
						 { "json", no_argument, NULL, 'j' },
						 { NULL, 0, NULL, 0 } };
	struct block b = { .length = UINT64_MAX };
	const char *what = argc > 1 ? argv[1] : "";
	bool info = strcmp(what, "info") == 0, write = strcmp(what, "write") == 0;
	int opt, status = CLI_FAILED;

	if (!info && !write && strcmp(what, "read") != 0)
		return cli_usage(self);
	while ((opt = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1) {
		if (opt == 'f' && !info)
			b.file = optarg;
		else if (opt == 'j' && info)
			b.json = true;
		else if (info || (opt != 'o' && opt != 'l') ||
			 !cli_size(optarg, opt == 'o' ? &b.offset : &b.length))
			return cli_usage(self);
	}
	if (optind + 1 != argc - 1)
		return cli_usage(self);
	if (block_open(&b, argv[1 + optind]))
		status = info ? block_info(&b) : block_move(&b, write);
	free(b.chunk);
	au_close(b.handle);
	return status;
}
