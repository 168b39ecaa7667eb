/* SPDX-License-Identifier: MIT */
/* The block class for applications that can wait: each function is one request, or a few in turn.
 */
#include "auriga/block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "auriga/auriga.h"
#include "base/abi.h"
#include "client/handle.h"

int au_block_info(struct au_handle *h, struct au_block_info *info)
{
	return handle_struct(h, AU_BLOCK_INFO, &au_abi_block_info, info);
}

/* Bytes of data that one request may have. */
static int block_most(struct au_handle *h, uint32_t *most)
{
	struct au_block_info info = { .size = sizeof(info), .abi = 1 };
	int rc;

	if (!h->block_most) {
		rc = au_block_info(h, &info);
		if (rc)
			return rc;
		/* The host is not trusted. */
		if (info.block_size == 0 || info.max_transfer == 0)
			return client_fail(-EPROTO, "%s: its host says nonsense about the disk",
					   h->unit);
		h->block_most = h->buffer_size - h->buffer_size % info.block_size;
		if (h->block_most > info.max_transfer)
			h->block_most = info.max_transfer;
		if (!h->block_most)
			return client_fail(-EMSGSIZE,
					   "%s: blocks of %u bytes: open it with a larger "
					   "buffer_size",
					   h->unit, info.block_size);
	}
	*most = h->block_most;
	return 0;
}

static int block_move(struct au_handle *h, uint16_t op, uint64_t offset, char *data, size_t length,
		      uint16_t flags)
{
	uint32_t most = 0;
	int rc = block_most(h, &most);

	while (rc == 0 && length) {
		struct au_io io = {
			.op = op,
			.flags = flags,
			.length = length < most ? (uint32_t)length : most,
			.arg = { offset },
			.data = data,
		};

		rc = au_wait(h, &io);
		offset += io.length;
		data += io.length;
		length -= io.length;
	}
	return rc;
}

int au_block_read(struct au_handle *h, uint64_t offset, void *data, size_t length)
{
	return block_move(h, AU_BLOCK_READ, offset, data, length, 0);
}

int au_block_write(struct au_handle *h, uint64_t offset, const void *data, size_t length,
		   uint16_t flags)
{
	return block_move(h, AU_BLOCK_WRITE, offset, (char *)(uintptr_t)data, length, flags);
}

int au_block_verify(struct au_handle *h, uint64_t offset, const void *data, size_t length)
{
	return block_move(h, AU_BLOCK_VERIFY, offset, (char *)(uintptr_t)data, length, 0);
}

int au_block_compare_and_write(struct au_handle *h, uint64_t offset, const void *expected,
			       const void *data, size_t length, uint16_t flags)
{
	struct au_io io = { .op = AU_BLOCK_COMPARE_WRITE, .flags = flags, .arg = { offset } };
	char *both;
	int rc;

	if (length > UINT32_MAX / 2)
		return -EINVAL;
	both = malloc(2 * length + 1);
	if (!both)
		return client_fail(-ENOMEM, "%s: no memory", h->unit);
	memcpy(both, expected, length);
	memcpy(both + length, data, length);
	io.data = both;
	io.length = (uint32_t)(2 * length);
	rc = au_wait(h, &io);
	free(both);
	return rc;
}

int au_block_flush(struct au_handle *h)
{
	struct au_io io = { .op = AU_BLOCK_FLUSH };

	return au_wait(h, &io);
}

static int block_range(struct au_handle *h, uint16_t op, uint64_t offset, uint64_t length,
		       uint16_t flags)
{
	struct au_block_info info = { .size = sizeof(info), .abi = 1 };
	int rc = au_block_info(h, &info);

	if (rc == 0 && info.max_range == 0)
		rc = client_fail(-EPROTO, "%s: its host says nonsense about the disk", h->unit);
	while (rc == 0 && length) {
		struct au_io io = {
			.op = op,
			.flags = flags,
			.arg = { offset, length < info.max_range ? length : info.max_range },
		};

		rc = au_wait(h, &io);
		offset += io.arg[1];
		length -= io.arg[1];
	}
	return rc;
}

int au_block_discard(struct au_handle *h, uint64_t offset, uint64_t length)
{
	return block_range(h, AU_BLOCK_DISCARD, offset, length, 0);
}

int au_block_write_zeroes(struct au_handle *h, uint64_t offset, uint64_t length, uint16_t flags)
{
	return block_range(h, AU_BLOCK_WRITE_ZEROES, offset, length, flags);
}
