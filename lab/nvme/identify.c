/* SPDX-License-Identifier: MIT */
/* identify.c: 5.15 Identify; offsets are those of its figures. */
#include "nvme.h"

#include <string.h>

enum { CNS_NAMESPACE = 0, CNS_CONTROLLER = 1, CNS_ACTIVE = 2, CNS_DESCRIPTORS = 3 };

#define NSID_LIST	   0xfffffffeu /* lists end before: greater numbers are not namespaces */
#define OACS_DBBUF	   (1u << 8)
#define OAES_NAMESPACE	   (1u << 8)
#define LPA_EXTENDED	   (1u << 2)
#define FUSES_COMPARE	   (1u << 0)
#define SGLS_ANY	   1u /* supported, with any alignment */
#define ONCS_COMPARE	   (1u << 0)
#define ONCS_DSM	   (1u << 2)
#define ONCS_WRITE_ZEROES  (1u << 3)
#define VWC_PRESENT	   (1u << 0)
#define DLFEAT_ZEROES	   1u
#define DLFEAT_WZ_DEALLOCS (1u << 3)
#define NIDT_NGUID	   2u

static void put(uint8_t *at, uint64_t value, unsigned int bytes)
{
	memcpy(at, &value, bytes);
}

static void text(uint8_t *at, const char *value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		at[i] = *value ? (uint8_t)*value++ : ' ';
}

static void identify_controller(const struct nvme *nvme, uint8_t *p)
{
	put(p + 0, 0x4155, 2);	 /* VID */
	put(p + 2, 0x4155, 2);	 /* SSVID */
	text(p + 4, "LAB0", 20); /* SN */
	text(p + 24, "Auriga lab NVMe", 40);
	text(p + 64, "1", 8);		       /* FR */
	p[72] = 3;			       /* RAB: bursts of 8 */
	p[77] = (uint8_t)nvme->opt.mdts;       /* MDTS */
	put(p + 80, NVME_VS_1_4, 4);	       /* VER */
	put(p + 92, OAES_NAMESPACE, 4);	       /* OAES */
	p[111] = 1;			       /* CNTRLTYPE: I/O */
	put(p + 256, OACS_DBBUF, 2);	       /* OACS */
	p[258] = 3;			       /* ACL: 4 Aborts */
	p[259] = NVME_AERS - 1;		       /* AERL */
	p[260] = 0x03;			       /* FRMW: one slot, read-only */
	p[261] = LPA_EXTENDED;		       /* LPA */
	p[262] = NVME_ERRORS - 1;	       /* ELPE */
	put(p + 266, 343, 2);		       /* WCTEMP, in kelvins */
	put(p + 268, 353, 2);		       /* CCTEMP */
	p[512] = 0x66;			       /* SQES */
	p[513] = 0x44;			       /* CQES */
	put(p + 516, nvme->opt.namespaces, 4); /* NN */
	put(p + 520, ONCS_COMPARE | ONCS_DSM | ONCS_WRITE_ZEROES, 2);
	p[525] = VWC_PRESENT;
	if (!nvme->opt.no_fused) {
		put(p + 522, FUSES_COMPARE, 2);
		put(p + 532, NVME_FUSED_BLOCKS - 1, 2); /* ACWU */
	}
	if (!nvme->opt.no_sgl)
		put(p + 536, SGLS_ANY, 4);
	text(p + 768, "nqn.2026-01.auriga:lab:nvme", 27);
	put(p + 2048, 2500, 2); /* PSD0: 25 W */
}

static void nguid(uint8_t *at, uint32_t nsid)
{
	static const uint8_t prefix[12] = { 'a', 'u', 'r', 'i', 'g', 'a', '-', 'l', 'a', 'b' };

	memcpy(at, prefix, sizeof(prefix));
	for (int i = 0; i < 4; i++)
		at[12 + i] = (uint8_t)(nsid >> (24 - 8 * i));
}

static void identify_namespace(const struct nvme *nvme, const struct nvme_ns *ns, uint32_t nsid,
			       uint8_t *p)
{
	put(p + 0, ns->blocks, 8);  /* NSZE */
	put(p + 8, ns->blocks, 8);  /* NCAP */
	put(p + 16, ns->blocks, 8); /* NUSE */
	p[33] = DLFEAT_ZEROES | DLFEAT_WZ_DEALLOCS;
	nguid(p + 104, nsid);
	p[130] = nvme->opt.block == 512 ? 9 : 12; /* LBAF0: LBADS */
}

static void identify_active(struct nvme *nvme, uint32_t above, uint8_t *p)
{
	for (uint32_t nsid = 1; nsid <= nvme->opt.namespaces; nsid++) {
		if (nsid > above && nvme_ns_of(nvme, nsid)) {
			put(p, nsid, 4);
			p += 4;
		}
	}
}

static void identify_descriptors(uint32_t nsid, uint8_t *p)
{
	p[0] = NIDT_NGUID;
	p[1] = 16;
	nguid(p + 4, nsid);
}

uint16_t nvme_identify(struct nvme *nvme, const struct nvme_sqe *cmd)
{
	uint8_t page[NVME_PAGE] = { 0 };
	const struct nvme_ns *ns = nvme_ns_of(nvme, cmd->nsid);
	bool exists = cmd->nsid - 1 < nvme->opt.namespaces;

	switch (cmd->cdw10 & 0xff) {
	case CNS_NAMESPACE:
		if (!exists)
			return NVME_INVALID_NAMESPACE;
		if (ns) /* one that is not active is all zeroes */
			identify_namespace(nvme, ns, cmd->nsid, page);
		break;
	case CNS_CONTROLLER:
		identify_controller(nvme, page);
		break;
	case CNS_ACTIVE:
		if (cmd->nsid >= NSID_LIST)
			return NVME_INVALID_NAMESPACE;
		identify_active(nvme, cmd->nsid, page);
		break;
	case CNS_DESCRIPTORS:
		if (!ns)
			return NVME_INVALID_NAMESPACE;
		identify_descriptors(cmd->nsid, page);
		break;
	default:
		return NVME_INVALID_FIELD;
	}
	return nvme_give(nvme, cmd, page, sizeof(page));
}
