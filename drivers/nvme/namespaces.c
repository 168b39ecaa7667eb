/* SPDX-License-Identifier: MIT */
/*
 * Namespaces are units, which come and go. Namespace n is always unit n - 1, so that whoever has
 * one open finds the same after a restart.
 */
#include "nvme.h"

#define ZEROES_BLOCKS_MAX 65536u

int nvme_list_begin(struct nvme *n)
{
	struct nvme_sqe cmd = { .opcode = ADMIN_IDENTIFY,
				.prp1 = n->data.addr,
				.cdw10 = CNS_ACTIVE };

	if (!n->rescan)
		return NVME_SKIP;
	n->scan_count = n->scan_next = 0;
	if (n->version >= VS_1_1)
		return nvme_step_send(n, &cmd);
	/* It has no such list: ask for each. */
	while (n->scan_count < n->namespaces_max && n->scan_count < NVME_NAMESPACES) {
		n->scan[n->scan_count] = n->scan_count + 1;
		n->scan_count++;
	}
	return NVME_SKIP;
}

int nvme_list_take(struct nvme *n, uint16_t status, uint32_t dw0)
{
	const uint8_t *list = n->answer;
	uint32_t before = 0;

	if (status) {
		au_log(n->dev, AU_LOG_ERROR, "no list of namespaces, status 0x%x", status);
		return -AU_EIO;
	}
	for (unsigned int i = 0; i < NSID_LIST_MAX; i++) {
		uint32_t nsid = nvme_get32(list + 4 * i);

		if (nsid <= before)
			break; /* the end, or not in order */
		before = nsid;
		if (nsid <= NVME_NAMESPACES)
			n->scan[n->scan_count++] = nsid;
		else
			au_log(n->dev, AU_LOG_WARN,
			       "namespace %u is left out: only 1 to %u can be used", nsid,
			       NVME_NAMESPACES);
	}
	return 0;
}

/* ------------------------------------------------------------------ one of them */

static void namespace_leave(struct nvme_ns *ns)
{
	if (!ns->block || ns->leaving)
		return;
	au_log(ns->nvme->dev, AU_LOG_INFO, "namespace %u goes", ns->nsid);
	au_device_park(ns->nvme->dev);
	ns->leaving = ns->nvme->leaving = true;
	nvme_each_path(ns->nvme, p) nvme_io_odd(p);
	au_device_unpark(ns->nvme->dev);
	nvme_clock_faster(&ns->nvme->path[0]);
}

static const char *namespace_wrong(const struct nvme *n, uint64_t blocks, uint32_t shift,
				   uint32_t metadata)
{
	if (shift < 9 || shift > 16)
		return "the size of its blocks is not from 512 to 65536";
	if (metadata)
		return "its blocks have metadata: format it without";
	if (1u << shift > n->max_transfer)
		return "a block is more than the controller moves at once";
	if (blocks > (uint64_t)INT64_MAX >> shift)
		return "it says that it is larger than any device";
	return NULL;
}

/* Bytes that a fused compare and write is atomic for [6.4.1]; 0: there is none. */
static uint32_t namespace_compare(const struct nvme *n, const struct nvme_ns *ns, const uint8_t *id)
{
	uint32_t blocks = n->compare_blocks, own = nvme_get16(id + NS_NACWU);
	uint64_t bytes;

	if (blocks && (id[NS_NSFEAT] & NSFEAT_ATOMIC)) {
		blocks = own ? own + 1 : blocks;
		/* What crosses a boundary is not atomic; a block does not. */
		blocks = nvme_get16(id + NS_NABSN) ? 1 : blocks;
	}
	bytes = (uint64_t)blocks << ns->shift;
	return bytes < n->max_transfer ? (uint32_t)bytes : n->max_transfer;
}

static void namespace_add(struct nvme *n, struct nvme_ns *ns, const uint8_t *id)
{
	bool read_only = id[NS_NSATTR] & NSATTR_PROTECTED;
	void *contexts[NVME_PATHS];
	struct au_block_config config = {
		AU_HEAD(struct au_block_config),
		.context = &ns->way[0],
		.contexts = contexts,
		.bytes = ns->bytes,
		.block_size = 1u << ns->shift,
		.max_transfer = n->max_transfer,
		.max_range = (uint64_t)ZEROES_BLOCKS_MAX << ns->shift,
		.flags = (read_only ? AU_BLOCK_READ_ONLY : 0) | (n->cache ? AU_BLOCK_CACHE : 0) |
			 (n->can_discard ? AU_BLOCK_CAN_DISCARD : 0) |
			 (n->can_zero ? AU_BLOCK_CAN_ZERO : 0) |
			 (n->can_verify ? AU_BLOCK_CAN_VERIFY : 0) |
			 (n->compare_blocks ? AU_BLOCK_CAN_COMPARE : 0),
		.depth = n->depth,
		.model = n->model,
		.serial = n->serial,
		.deliver = nvme_deliver,
		.unit = ns->nsid,
		.max_compare = namespace_compare(n, ns, id),
	};

	ns->nvme = n;
	for (uint32_t i = 0; i < NVME_PATHS; i++) {
		ns->way[i] =
			(struct nvme_way){ &n->path[i], (uint64_t)ns->nsid << 32, ns->shift, ns };
		contexts[i] = &ns->way[i];
	}
	if (au_block_add(n->dev, &config, &ns->block) != 0)
		ns->block = NULL;
	else
		au_log(n->dev, AU_LOG_INFO, "namespace %u: %llu blocks of %u bytes", ns->nsid,
		       (unsigned long long)(ns->bytes >> ns->shift), 1u << ns->shift);
}

static void namespace_found(struct nvme *n, uint32_t nsid, const uint8_t *id)
{
	struct nvme_ns *ns = &n->ns[nsid - 1];
	uint8_t format = id[NS_FLBAS] & FLBAS_INDEX;
	uint32_t lbaf = nvme_get32(id + NS_LBAF + 4 * format), shift = LBAF_LBADS(lbaf);
	uint64_t blocks = nvme_get64(id + NS_NSZE);
	const char *wrong;

	if (!blocks)
		return; /* not active */
	wrong = format > id[NS_NLBAF] ? "its format is not one of its formats"
				      : namespace_wrong(n, blocks, shift, LBAF_MS(lbaf));
	if (wrong) {
		au_log(n->dev, AU_LOG_WARN, "namespace %u is left out: %s", nsid, wrong);
		return;
	}
	if (ns->block &&
	    (ns->shift != shift || __builtin_memcmp(ns->id, id + NS_NGUID, NS_ID_SIZE))) {
		/* Another one under the same number: this one goes first. */
		n->rescan_again = true;
		return;
	}
	ns->listed = !ns->leaving;
	n->rescan_again |= ns->leaving;
	if (ns->block && !ns->leaving) {
		ns->bytes = blocks << shift;
		au_block_resize(ns->block, ns->bytes);
	} else if (!ns->block) {
		ns->nsid = nsid;
		ns->shift = shift;
		ns->bytes = blocks << shift;
		__builtin_memcpy(ns->id, id + NS_NGUID, NS_ID_SIZE);
		namespace_add(n, ns, id);
	}
}

int nvme_namespace_begin(struct nvme *n)
{
	struct nvme_sqe cmd = { .opcode = ADMIN_IDENTIFY,
				.prp1 = n->data.addr,
				.cdw10 = CNS_NAMESPACE };

	if (!n->rescan)
		return NVME_SKIP;
	if (n->scan_next == 0)
		for (struct nvme_ns *ns = n->ns; ns < &n->ns[NVME_NAMESPACES]; ns++)
			ns->listed = false;
	if (n->scan_next < n->scan_count) {
		cmd.nsid = n->scan[n->scan_next];
		return nvme_step_send(n, &cmd);
	}
	for (struct nvme_ns *ns = n->ns; ns < &n->ns[NVME_NAMESPACES]; ns++)
		if (!ns->listed)
			namespace_leave(ns);
	n->rescan = false;
	return NVME_SKIP;
}

int nvme_namespace_take(struct nvme *n, uint16_t status, uint32_t dw0)
{
	uint32_t nsid = n->scan[n->scan_next++];

	/* One that has gone since the list was made is refused. */
	if (!status)
		namespace_found(n, nsid, n->answer);
	return NVME_REPEAT;
}

/* -------------------------------------------------------------------- leaving */

static bool namespace_in_use(struct nvme *n, const struct nvme_ns *ns)
{
	nvme_each_path(n, p) for (uint32_t i = 0; i < n->depth;
				  i++) if ((p->slots[i].key & NVME_BUSY) &&
					   nvme_slot_ns(&p->slots[i]) == ns) return true;
	return false;
}

void nvme_namespaces_leave(struct nvme *n)
{
	if (!n->leaving)
		return;
	au_device_park(n->dev);
	n->leaving = false;
	for (struct nvme_ns *ns = n->ns; ns < &n->ns[NVME_NAMESPACES]; ns++) {
		if (!ns->leaving)
			continue;
		nvme_io_drop(n, ns);
		if (namespace_in_use(n, ns)) {
			n->leaving = true;
			continue;
		}
		au_block_remove(ns->block);
		ns->block = NULL;
		ns->leaving = false;
	}
	nvme_each_path(n, p) nvme_io_odd(p);
	au_device_unpark(n->dev);
	if (!n->leaving && n->rescan_again) {
		n->rescan_again = false;
		n->logs |= 1u << LOG_NAMESPACES;
		nvme_events_look(n);
	}
}
