/* SPDX-License-Identifier: MIT */
/*
 * From any state to ready [7.6.1], and down. The controller may have been handed over enabled, in
 * the middle of something, or broken.
 */
#include "nvme.h"

#define ADMIN_MS 3000u /* for an admin command */

static uint32_t controller_read(struct nvme *n, uint32_t offset)
{
	uint32_t value = au_read32(n->regs, offset);

	/* No register that is read here can be all-ones. */
	if (au_all_ones(value, 4))
		nvme_gone(n);
	return value;
}

uint32_t nvme_csts(struct nvme *n)
{
	uint32_t csts = controller_read(n, REG_CSTS);

	return n->gone ? 0 : csts;
}

/* ------------------------------------------------------------------- registers */

static const char *controller_wrong(const struct nvme *n)
{
	if (!(n->cap & CAP_CSS_NVM))
		return "it does not know the NVM command set";
	if (12 + CAP_MPSMIN(n->cap) > 16)
		return "its pages have more than 64 KiB";
	if (CAP_MQES(n->cap) < 2 || (n->path[0].io.size && CAP_MQES(n->cap) < n->path[0].io.size))
		return "its queues are too small";
	if (n->path[0].io.size && n->page_shift != 12 + CAP_MPSMIN(n->cap))
		return "its page size has changed";
	return NULL;
}

/* The BAR may be too small for as many doorbells. */
static void controller_doorbells(struct nvme *n)
{
	uint64_t pair = 8ull << CAP_DSTRD(n->cap);
	uint32_t most = n->lanes;

	while (n->lanes > 1 && REG_DOORBELLS + (n->lanes + 1) * pair > n->regs->size)
		n->lanes--;
	if (n->lanes < most)
		au_log(n->dev, AU_LOG_WARN,
		       "%u of %u lanes are used: its BAR has no more doorbells", n->lanes,
		       au_device_lanes(n->dev));
}

static int path_alloc(struct nvme *n, struct nvme_path *p)
{
	int err = nvme_queue_alloc(n, &p->io, p->number + 1, p->mask + 1);

	if (!err)
		err = au_dma_alloc(n->dev, (uint64_t)n->depth * NVME_LIST_BYTES, NVME_LIST_BYTES,
				   &p->lists);
	if (err)
		return err;
	p->page_mask = n->page_mask;
	for (uint32_t i = 0; i < NVME_ENTRIES_MAX; i++)
		p->slots[i].key = i;
	while (p->free_count < n->depth) {
		p->free[p->free_count] = (uint16_t)(n->depth - 1 - p->free_count);
		p->free_count++;
	}
	return 0;
}

static int controller_alloc(struct nvme *n)
{
	uint32_t size = 2, page;
	int err;

	if (n->admin.size)
		return 0;
	controller_doorbells(n);
	n->page_shift = 12 + CAP_MPSMIN(n->cap);
	page = 1u << n->page_shift;
	n->page_mask = page - 1;
	if (n->depth > NVME_DEPTH_MAX / n->lanes)
		n->depth = NVME_DEPTH_MAX / n->lanes;
	while (size <= n->depth && size * 2 <= CAP_MQES(n->cap))
		size *= 2;
	if (n->depth >= size)
		n->depth = size - 1;
	err = nvme_queue_alloc(n, &n->admin, 0, NVME_ADMIN < CAP_MQES(n->cap) ? NVME_ADMIN : 2);
	for (uint32_t i = 0; !err && i < n->lanes; i++) {
		n->path[i].mask = size - 1;
		err = path_alloc(n, &n->path[i]);
	}
	if (!err)
		err = au_dma_alloc(n->dev, 4096, page, &n->data);
	if (!err)
		err = au_dma_alloc(n->dev, page, page, &n->shadow);
	if (!err)
		err = au_dma_alloc(n->dev, page, page, &n->event);
	return err;
}

static int registers_begin(struct nvme *n)
{
	uint32_t low = controller_read(n, REG_CAP), high = controller_read(n, REG_CAP + 4);
	const char *wrong;

	n->version = controller_read(n, REG_VS);
	if (n->gone)
		return -AU_ENODEV;
	n->cap = low | (uint64_t)high << 32;
	n->limit_ms = (CAP_TO(n->cap) + 1) * 500;
	wrong = controller_wrong(n);
	if (wrong) {
		au_log(n->dev, AU_LOG_ERROR, "this controller cannot be used: %s", wrong);
		return -AU_ENOTSUP;
	}
	n->rescan = true;
	return controller_alloc(n);
}

static int at_once(struct nvme *n)
{
	return 0;
}

/* One that is just being enabled must not be disabled before it is ready [3.1.5]. */
static int settle_begin(struct nvme *n)
{
	return controller_read(n, REG_CC) & CC_EN ? 0 : NVME_SKIP;
}

static int settle_check(struct nvme *n)
{
	uint32_t csts = nvme_csts(n);

	if (n->gone)
		return -AU_ENODEV;
	/* One that hangs there is disabled all the same. */
	return csts & (CSTS_RDY | CSTS_CFS) || au_now_ms(n->dev) >= n->deadline_ms ? 0 : NVME_AGAIN;
}

/* Without notice [7.6.2]: it must not complete anything into memory that it was told of by others.
 */
static int disable_begin(struct nvme *n)
{
	uint32_t cc = controller_read(n, REG_CC);

	if (n->gone)
		return -AU_ENODEV;
	if (cc & CC_EN)
		au_write32(n->regs, REG_CC, cc & ~(CC_EN | CC_SHN_MASK));
	return 0;
}

static int disable_check(struct nvme *n)
{
	uint32_t csts = nvme_csts(n);

	if (n->gone)
		return -AU_ENODEV;
	return csts & CSTS_RDY ? NVME_AGAIN : 0;
}

static void write64(struct nvme *n, uint32_t offset, uint64_t value)
{
	au_write32(n->regs, offset, (uint32_t)value);
	au_write32(n->regs, offset + 4, (uint32_t)(value >> 32));
}

static int enable_begin(struct nvme *n)
{
	for (uint32_t i = 0; i < n->lanes; i++) {
		nvme_queue_shadow(n, &n->path[i].io, false);
		nvme_queue_reset(&n->path[i].io);
	}
	nvme_admin_reset(n);
	n->upset = false;
	au_write32(n->regs, REG_AQA, (n->admin.size - 1) << 16 | (n->admin.size - 1));
	write64(n, REG_ASQ, n->admin.sq_dma.addr);
	write64(n, REG_ACQ, n->admin.cq_dma.addr);
	au_write32(n->regs, REG_CC, CC_EN | CC_MPS(n->page_shift) | CC_IOSQES | CC_IOCQES);
	return 0;
}

static int enable_check(struct nvme *n)
{
	uint32_t csts = nvme_csts(n);

	if (n->gone)
		return -AU_ENODEV;
	if (csts & CSTS_CFS) {
		au_log(n->dev, AU_LOG_ERROR, "the controller fails while it is enabled (CSTS.CFS)");
		return -AU_EIO;
	}
	return csts & CSTS_RDY ? 0 : NVME_AGAIN;
}

/* -------------------------------------------------------------- what it can do */

static int identify_begin(struct nvme *n)
{
	struct nvme_sqe cmd = { .opcode = ADMIN_IDENTIFY,
				.prp1 = n->data.addr,
				.cdw10 = CNS_CONTROLLER };

	return nvme_step_send(n, &cmd);
}

/* Text from the device: printable, and without the blanks at its end. */
static void identify_text(char *to, const uint8_t *from, unsigned int size)
{
	unsigned int length = 0;

	for (unsigned int i = 0; i < size; i++) {
		to[i] = (char)(from[i] < ' ' || from[i] > '~' ? ' ' : from[i]);
		if (to[i] != ' ')
			length = i + 1;
	}
	to[length] = '\0';
}

/* The most that one command moves: MDTS is in the controller's smallest pages [5.15.2.2]. */
static uint32_t identify_transfer(const struct nvme *n, uint8_t mdts)
{
	uint32_t shift = mdts + n->page_shift;

	return mdts && shift < 20 ? 1u << shift : NVME_TRANSFER_MAX;
}

static int identify_take(struct nvme *n, uint16_t status, uint32_t dw0)
{
	const uint8_t *id = n->answer;
	uint32_t oaes = nvme_get32(id + ID_OAES);
	uint16_t oacs = nvme_get16(id + ID_OACS), oncs = nvme_get16(id + ID_ONCS);
	uint32_t sgl;

	if (status) {
		au_log(n->dev, AU_LOG_ERROR, "the controller cannot be identified, status 0x%x",
		       status);
		return -AU_EIO;
	}
	if ((id[ID_SQES] & 0xf) > 6 || id[ID_SQES] >> 4 < 6 || (id[ID_CQES] & 0xf) > 4 ||
	    id[ID_CQES] >> 4 < 4) {
		au_log(n->dev, AU_LOG_ERROR,
		       "this controller cannot be used: entries of 64 and 16 bytes are not what it "
		       "wants (SQES 0x%02x, CQES 0x%02x)",
		       id[ID_SQES], id[ID_CQES]);
		return -AU_ENOTSUP;
	}
	identify_text(n->serial, id + ID_SN, sizeof(n->serial) - 1);
	identify_text(n->model, id + ID_MN, sizeof(n->model) - 1);
	n->max_transfer = identify_transfer(n, id[ID_MDTS]);
	n->can_shadow = oacs & OACS_DBBUF;
	n->can_discard = oncs & ONCS_DSM;
	n->can_zero = oncs & ONCS_WRITE_ZEROES;
	n->can_verify = oncs & ONCS_COMPARE;
	n->compare_blocks = n->can_verify && n->depth > 1 && (id[ID_FUSES] & FUSES_COMPARE)
				    ? nvme_get16(id + ID_ACWU) + 1u
				    : 0;
	sgl = n->want_sgl ? SGLS_SUPPORT(nvme_get32(id + ID_SGLS)) : SGLS_NONE;
	for (uint32_t i = 0; i < NVME_PATHS; i++)
		n->path[i].sgl = sgl <= SGLS_DWORDS ? sgl : SGLS_NONE;
	n->cache = id[ID_VWC] & VWC_PRESENT;
	n->tells_namespaces = oaes & EVENTS_NAMESPACES;
	n->abort_limit = id[ID_ACL] + 1u;
	n->aer_limit = id[ID_AERL] + 1u;
	n->namespaces_max = nvme_get32(id + ID_NN);
	return 0;
}

/* Both numbers are 0's based [5.21.1.7]. */
static int count_begin(struct nvme *n)
{
	struct nvme_sqe cmd = { .opcode = ADMIN_SET_FEATURES,
				.cdw10 = FEATURE_QUEUES,
				.cdw11 = (n->lanes - 1) << 16 | (n->lanes - 1) };

	return nvme_step_send(n, &cmd);
}

static int count_take(struct nvme *n, uint16_t status, uint32_t dw0)
{
	uint32_t sqs = (dw0 & 0xffff) + 1, cqs = (dw0 >> 16) + 1;
	uint32_t granted = sqs < cqs ? sqs : cqs;

	if (status) {
		au_log(n->dev, AU_LOG_ERROR, "no number of queues can be had, status 0x%x", status);
		return -AU_EIO;
	}
	/* One there is in any case, whatever it says. */
	if (granted > n->lanes || n->lanes == 1)
		granted = n->lanes;
	if (n->paths && granted < n->paths) {
		au_log(n->dev, AU_LOG_ERROR, "it has queues for %u lanes now, and had for %u",
		       granted, n->paths);
		return -AU_EIO;
	}
	if (!n->paths && granted < n->lanes)
		au_log(n->dev, AU_LOG_WARN, "%u of %u lanes are used: it has no more queues",
		       granted, au_device_lanes(n->dev));
	if (!n->paths)
		n->paths = granted;
	au_device_use_lanes(n->dev, n->paths);
	n->at = 0;
	n->last = n->paths;
	return 0;
}

static int events_begin(struct nvme *n)
{
	struct nvme_sqe cmd = { .opcode = ADMIN_SET_FEATURES,
				.cdw10 = FEATURE_EVENTS,
				.cdw11 = EVENTS_HEALTH |
					 (n->tells_namespaces ? EVENTS_NAMESPACES : 0) };

	return nvme_step_send(n, &cmd);
}

static int may_refuse(struct nvme *n, uint16_t status, uint32_t dw0)
{
	return 0;
}

/* ---------------------------------------------------------------------- queues */

static int shadow_begin(struct nvme *n)
{
	struct nvme_sqe cmd = { .opcode = ADMIN_DBBUF,
				.prp1 = n->shadow.addr,
				.prp2 = n->event.addr };
	/* With a great stride the doorbells would not fit into the page. */
	bool fits = n->path[n->paths - 1].io.at[1] + 4 <= 1u << n->page_shift;

	if (!n->want_shadow || !n->can_shadow || !fits)
		return NVME_SKIP;
	__builtin_memset(n->shadow.cpu, 0, n->shadow.size);
	__builtin_memset(n->event.cpu, 0, n->event.size);
	return nvme_step_send(n, &cmd);
}

static int shadow_take(struct nvme *n, uint16_t status, uint32_t dw0)
{
	nvme_each_path(n, p) nvme_queue_shadow(n, &p->io, !status);
	return 0;
}

/* The pairs that the list of steps is about, one after another. */
static int path_next(struct nvme *n, uint32_t first)
{
	if (++n->at < n->last)
		return NVME_REPEAT;
	n->at = first;
	return 0;
}

static int path_take(struct nvme *n, uint16_t status, uint32_t dw0)
{
	uint32_t first = n->steps_done == nvme_requeued ? n->last - 1 : 0;

	if (!status)
		return path_next(n, first);
	au_log(n->dev, AU_LOG_ERROR, "%s: the controller refuses, status 0x%x", n->step->name,
	       status);
	return -AU_EIO;
}

static int path_may_refuse(struct nvme *n, uint16_t status, uint32_t dw0)
{
	return path_next(n, 0);
}

static int create_cq_begin(struct nvme *n)
{
	struct nvme_path *p = &n->path[n->at];
	struct nvme_sqe cmd = { .opcode = ADMIN_CREATE_CQ,
				.prp1 = p->io.cq_dma.addr,
				.cdw10 = (p->io.size - 1) << 16 | (p->number + 1),
				.cdw11 = QUEUE_CONTIGUOUS };

	nvme_queue_reset(&p->io);
	if (n->irqs)
		cmd.cdw11 |= QUEUE_INTERRUPTS | p->vector << 16;
	return nvme_step_send(n, &cmd);
}

static int create_sq_begin(struct nvme *n)
{
	const struct nvme_path *p = &n->path[n->at];
	struct nvme_sqe cmd = { .opcode = ADMIN_CREATE_SQ,
				.prp1 = p->io.sq_dma.addr,
				.cdw10 = (p->io.size - 1) << 16 | (p->number + 1),
				.cdw11 = (p->number + 1) << 16 | QUEUE_CONTIGUOUS };

	return nvme_step_send(n, &cmd);
}

static int delete_sq_begin(struct nvme *n)
{
	struct nvme_sqe cmd = { .opcode = ADMIN_DELETE_SQ, .cdw10 = n->at + 1 };

	return nvme_step_send(n, &cmd);
}

/* What was completed until the queue was deleted is complete. */
static int collect_begin(struct nvme *n)
{
	au_device_park(n->dev);
	for (uint32_t i = n->at; i < n->last; i++)
		nvme_io_reap(&n->path[i]);
	au_device_unpark(n->dev);
	return 0;
}

static int delete_cq_begin(struct nvme *n)
{
	struct nvme_sqe cmd = { .opcode = ADMIN_DELETE_CQ, .cdw10 = n->at + 1 };

	return nvme_step_send(n, &cmd);
}

/* ------------------------------------------------------------------ shutting down */

static int shut_begin(struct nvme *n)
{
	uint32_t cc = controller_read(n, REG_CC);

	if (n->gone)
		return -AU_ENODEV;
	au_write32(n->regs, REG_CC, (cc & ~CC_SHN_MASK) | CC_SHN_NORMAL);
	return 0;
}

static int shut_check(struct nvme *n)
{
	uint32_t csts = nvme_csts(n);

	if (n->gone)
		return -AU_ENODEV;
	return (csts & CSTS_SHST_MASK) == CSTS_SHST_DONE || csts & CSTS_CFS ? 0 : NVME_AGAIN;
}

void nvme_stop_now(struct nvme *n)
{
	uint32_t cc = au_read32(n->regs, REG_CC);

	if (au_all_ones(cc, 4))
		return;
	au_write32(n->regs, REG_CC, cc & ~CC_EN);
	for (unsigned int ms = 0; ms < 500; ms++) {
		uint32_t csts = au_read32(n->regs, REG_CSTS);

		if (!(csts & CSTS_RDY) || au_all_ones(csts, 4))
			return;
		au_sleep_ms(n->dev, 1);
	}
	au_log(n->dev, AU_LOG_ERROR, "the controller cannot be disabled");
}

const struct nvme_step nvme_bring_up[] = {
	{ "registers", 1, registers_begin, at_once, NULL },
	{ "waiting for what was begun", 0, settle_begin, settle_check, NULL },
	{ "disabling the controller", 0, disable_begin, disable_check, NULL },
	{ "enabling the controller", 0, enable_begin, enable_check, NULL },
	{ "Identify Controller", ADMIN_MS, identify_begin, NULL, identify_take },
	{ "Number of Queues", ADMIN_MS, count_begin, NULL, count_take },
	{ "Doorbell Buffer Config", ADMIN_MS, shadow_begin, NULL, shadow_take },
	{ "Create I/O Completion Queue", ADMIN_MS, create_cq_begin, NULL, path_take },
	{ "Create I/O Submission Queue", ADMIN_MS, create_sq_begin, NULL, path_take },
	{ "the list of namespaces", ADMIN_MS, nvme_list_begin, NULL, nvme_list_take },
	{ "Identify Namespace", ADMIN_MS, nvme_namespace_begin, NULL, nvme_namespace_take },
	{ "Asynchronous Event Configuration", ADMIN_MS, events_begin, NULL, may_refuse },
	{ NULL, 0, NULL, NULL, NULL },
};

const struct nvme_step nvme_new_queues[] = {
	{ "Delete I/O Submission Queue", ADMIN_MS, delete_sq_begin, NULL, path_take },
	{ "what was complete", 1, collect_begin, at_once, NULL },
	{ "Delete I/O Completion Queue", ADMIN_MS, delete_cq_begin, NULL, path_take },
	{ "Create I/O Completion Queue", ADMIN_MS, create_cq_begin, NULL, path_take },
	{ "Create I/O Submission Queue", ADMIN_MS, create_sq_begin, NULL, path_take },
	{ NULL, 0, NULL, NULL, NULL },
};

const struct nvme_step nvme_shut_down[] = {
	{ "Delete I/O Submission Queue", 1000, delete_sq_begin, NULL, path_may_refuse },
	{ "what was complete", 1, collect_begin, at_once, NULL },
	{ "Delete I/O Completion Queue", 1000, delete_cq_begin, NULL, path_may_refuse },
	{ "the shutdown", 1000, shut_begin, shut_check, NULL },
	{ "disabling the controller", 500, disable_begin, disable_check, NULL },
	{ NULL, 0, NULL, NULL, NULL },
};
