/* SPDX-License-Identifier: MIT */
/* region.c: accesses to BARs and configuration space, made into naturally aligned ones of QEMU. */
#include "vfu_server.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

uint64_t region_size(const struct lab_func *f, unsigned int region)
{
	if (region < LAB_NUM_BARS)
		return f->bar[region].size;
	return region == LAB_REGION_CONFIG ? f->config_size : 0;
}

int region_check(const struct lab_func *f, unsigned int region, uint64_t off, uint32_t count)
{
	uint64_t size = region < LAB_NUM_REGIONS ? region_size(f, region) : 0;

	return count && off < size && count <= size - off ? 0 : -EINVAL;
}

/* The widest naturally aligned access at @off that does not go beyond @count. */
static unsigned int piece(uint64_t off, uint32_t count, unsigned int widest)
{
	unsigned int w = widest;

	while (w > count || (off & (w - 1)))
		w /= 2;
	return w;
}

static void store(uint8_t *dest, uint64_t value, unsigned int width)
{
	for (unsigned int i = 0; i < width; i++)
		dest[i] = (uint8_t)(value >> 8 * i);
}

static uint64_t load(const uint8_t *src, unsigned int width)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < width; i++)
		v |= (uint64_t)src[i] << 8 * i;
	return v;
}

/* An access's region and offset, packed into op->tag for the log. */
static uint64_t make_tag(unsigned int region, uint64_t off)
{
	return (uint64_t)region << 60 | off;
}

static void access_done(const struct qtest_op *op, uint64_t value)
{
	struct vfu_req *req = op->owner;
	struct lab_func *f = req->f;
	bool write = op->cmd == QTEST_OUT || op->cmd == QTEST_WRITE;

	if (op->dest) {
		if (f->removed)
			value = UINT64_MAX;
		else if (!f->lab->qt.dead)
			value = (value & ~(uint64_t)op->mask) | op->bits;
		store(op->dest, value, op->width);
	}
	alog_access(&f->lab->log, f->id, write, (unsigned int)(op->tag >> 60),
		    op->tag & ((UINT64_C(1) << 60) - 1), op->width, write ? op->value : value);
	f->inflight_ops--;
	vfu_req_put(req);
}

/* What reaches the real configuration space is not what the client wrote: logged before. */
static void config_write_done(const struct qtest_op *op, uint64_t value)
{
	struct vfu_req *req = op->owner;

	req->f->inflight_ops--;
	vfu_req_put(req);
}

static void submit(struct vfu_req *req, struct qtest_op *op)
{
	if (!op->done)
		op->done = access_done;
	op->owner = req;
	req->left++;
	req->f->inflight_ops++;
	qtest_submit(&req->f->lab->qt, op);
}

static void config_read_region(struct vfu_req *req, uint64_t off, uint32_t count, uint8_t *dest)
{
	while (count) {
		unsigned int w = piece(off, count, 4);
		struct qtest_op op = { .cmd = QTEST_READ,
				       .width = w,
				       .addr = req->f->ecam + off,
				       .dest = dest,
				       .tag = make_tag(LAB_REGION_CONFIG, off) };

		config_overlay(req->f, (unsigned int)off, w, &op.mask, &op.bits);
		submit(req, &op);
		off += w;
		dest += w;
		count -= w;
	}
}

/* Write the bytes of @value that @mask has, as few naturally aligned accesses as it takes. */
static void config_write_bytes(struct vfu_req *req, uint64_t off, unsigned int width,
			       uint32_t value, uint32_t mask)
{
	for (unsigned int i = 0; i < width;) {
		if (!(mask >> 8 * i & 0xff)) {
			i++;
			continue;
		}
		unsigned int w = piece(off + i, width - i, 4);
		struct qtest_op op = { .cmd = QTEST_WRITE,
				       .width = w,
				       .addr = req->f->ecam + off + i,
				       .value = value >> 8 * i &
						(w == 4 ? 0xffffffffu : (1u << 8 * w) - 1),
				       .done = config_write_done };

		submit(req, &op);
		i += w;
	}
}

static bool config_write_region(struct vfu_req *req, uint64_t off, uint32_t count,
				const uint8_t *data)
{
	struct lab_func *f = req->f;
	bool reset = false;

	while (count) {
		unsigned int w = piece(off, count, 4);
		uint32_t value = (uint32_t)load(data, w), pass, mask;

		alog_access(&f->lab->log, f->id, true, LAB_REGION_CONFIG, off, w, value);
		reset |= config_write(f, (unsigned int)off, w, value, &pass, &mask);
		config_write_bytes(req, off, w, pass, mask);
		off += w;
		data += w;
		count -= w;
	}
	return reset;
}

void region_read(struct vfu_req *req, unsigned int region, uint64_t off, uint32_t count,
		 uint8_t *dest)
{
	struct lab_func *f = req->f;

	if (region == LAB_REGION_CONFIG && !f->removed) {
		config_read_region(req, off, count, dest);
		return;
	}

	bool is_bar = region < LAB_NUM_BARS; /* else configuration space, of what is gone */
	const struct lab_bar *bar = &f->bar[is_bar ? region : 0];
	bool decodes = is_bar && config_decodes(f, bar);
	while (count) {
		unsigned int w = piece(off, count, is_bar && !bar->io ? 8 : 4);

		if (decodes && !msi_is_table(f, region, off)) {
			submit(req, &(struct qtest_op){ .cmd = bar->io ? QTEST_IN : QTEST_READ,
							.width = w,
							.addr = bar->addr + off,
							.dest = dest,
							.tag = make_tag(region, off) });
		} else {
			memset(dest, 0xff, w);
			alog_access(&f->lab->log, f->id, false, region, off, w, UINT64_MAX);
		}
		off += w;
		dest += w;
		count -= w;
	}
}

bool region_write(struct vfu_req *req, unsigned int region, uint64_t off, uint32_t count,
		  const uint8_t *data)
{
	struct lab_func *f = req->f;

	if (f->removed)
		return false;
	if (region == LAB_REGION_CONFIG)
		return config_write_region(req, off, count, data);
	if (f->command & PCI_COMMAND_MASTER)
		fault_suspect(f->lab);

	const struct lab_bar *bar = &f->bar[region];
	while (count && config_decodes(f, bar)) {
		unsigned int w = piece(off, count, bar->io ? 4 : 8);

		if (!msi_is_table(f, region, off))
			submit(req, &(struct qtest_op){ .cmd = bar->io ? QTEST_OUT : QTEST_WRITE,
							.width = w,
							.addr = bar->addr + off,
							.value = load(data, w),
							.tag = make_tag(region, off) });
		off += w;
		data += w;
		count -= w;
	}
	return false;
}
