/* SPDX-License-Identifier: MIT */
/*
 * What a host and an NVMe controller have in common: registers, entries, codes. Numbers in brackets
 * are sections of the NVM Express Base Specification, revision 1.4.
 */
#ifndef NVME_REGS_H
#define NVME_REGS_H

#include <stdint.h>

/* Registers, in BAR 0 [3.1] */
enum {
	REG_CAP = 0x00,
	REG_VS = 0x08,
	REG_CC = 0x14,
	REG_CSTS = 0x1c,
	REG_AQA = 0x24,
	REG_ASQ = 0x28,
	REG_ACQ = 0x30,
	REG_DOORBELLS = 0x1000,
};

/* CAP [3.1.1] */
#define CAP_MQES(cap)	(((cap)&0xffff) + 1)
#define CAP_TO(cap)	((uint32_t)((cap) >> 24) & 0xff) /* in 500 ms */
#define CAP_DSTRD(cap)	((uint32_t)((cap) >> 32) & 0xf)
#define CAP_CSS_NVM	(1ull << 37)
#define CAP_MPSMIN(cap) ((uint32_t)((cap) >> 48) & 0xf)

#define VS_1_1		0x00010100u

/* CC [3.1.5], CSTS [3.1.6] */
#define CC_EN		(1u << 0)
#define CC_MPS(shift)	((uint32_t)((shift)-12) << 7)
#define CC_SHN_NORMAL	(1u << 14)
#define CC_SHN_MASK	(3u << 14)
#define CC_IOSQES	(6u << 16)
#define CC_IOCQES	(4u << 20)
#define CSTS_RDY	(1u << 0)
#define CSTS_CFS	(1u << 1)
#define CSTS_SHST_MASK	(3u << 2)
#define CSTS_SHST_DONE	(2u << 2)

/* Submission queue entry [4.2] */
struct nvme_sqe {
	union {
		struct {
			uint8_t opcode;
			uint8_t flags;
			uint16_t cid;
			uint32_t nsid;
		};
		uint64_t first;
	};
	uint64_t reserved;
	uint64_t mptr;
	uint64_t prp1;
	uint64_t prp2;
	union {
		struct {
			uint32_t cdw10, cdw11;
		};
		uint64_t lba;
	};
	union {
		struct {
			uint32_t cdw12, cdw13;
		};
		uint64_t blocks;
	};
	uint64_t last;
};
_Static_assert(sizeof(struct nvme_sqe) == 64, "wire format");

/*
 * Completion queue entry [4.6]. The second half is read in one go: what is in it comes with the
 * phase, its highest word's lowest bit.
 */
struct nvme_cqe {
	uint32_t dw0, dw1;
	uint64_t end;
};
_Static_assert(sizeof(struct nvme_cqe) == 16, "wire format");
#define CQE_QUEUE(end)	((uint32_t)(end)) /* SQ identifier << 16 | SQ head */
#define CQE_CID(end)	((uint16_t)((end) >> 32))
#define CQE_PHASE(end)	((uint32_t)((end) >> 48) & 1)
#define CQE_STATUS(end) ((uint16_t)((end) >> 49))

/* Status: code, type << 8, flags [4.6.1] */
#define STATUS_CODE	0x07ffu
#define STATUS_DNR	0x4000u
enum {
	STATUS_INVALID_OPCODE = 0x001,
	STATUS_ABORT_REQUESTED = 0x007,
	STATUS_SQ_DELETED = 0x008,
	STATUS_SGL_FIRST = 0x00d, /* what can be wrong with an SGL, up to ... */
	STATUS_SGL_LAST = 0x012,
};

/* Admin commands [5] */
enum {
	ADMIN_DELETE_SQ = 0x00,
	ADMIN_CREATE_SQ = 0x01,
	ADMIN_GET_LOG = 0x02,
	ADMIN_DELETE_CQ = 0x04,
	ADMIN_CREATE_CQ = 0x05,
	ADMIN_IDENTIFY = 0x06,
	ADMIN_ABORT = 0x08,
	ADMIN_SET_FEATURES = 0x09,
	ADMIN_ASYNC_EVENT = 0x0c,
	ADMIN_DBBUF = 0x7c,
};
#define QUEUE_CONTIGUOUS (1u << 0) /* [5.3, 5.4], dword 11 */
#define QUEUE_INTERRUPTS (1u << 1)

enum { CNS_NAMESPACE = 0, CNS_CONTROLLER = 1, CNS_ACTIVE = 2 };		      /* [5.15.1] */
enum { FEATURE_QUEUES = 0x07, FEATURE_EVENTS = 0x0b };			      /* [5.21.1] */
enum { LOG_ERROR = 1, LOG_HEALTH = 2, LOG_FIRMWARE = 3, LOG_NAMESPACES = 4 }; /* [5.14.1] */
#define LOG_DWORDS(bytes) (((uint32_t)(bytes) / 4 - 1) << 16)

/* Asynchronous events: type, information << 8, log page << 16 [5.2.1] */
#define EVENT_TYPE(dw0)	  ((dw0)&7)
#define EVENT_INFO(dw0)	  (((dw0) >> 8) & 0xff)
#define EVENT_LOG(dw0)	  (((dw0) >> 16) & 0xff)
enum { EVENT_ERROR = 0, EVENT_HEALTH = 1, EVENT_NOTICE = 2 };
#define EVENTS_HEALTH	  0x1fu
#define EVENTS_NAMESPACES (1u << 8)

/* Identify Controller: offsets [5.15.2.2] */
enum {
	ID_SN = 4,
	ID_MN = 24,
	ID_MDTS = 77,
	ID_OAES = 92,
	ID_OACS = 256,
	ID_ACL = 258,
	ID_AERL = 259,
	ID_SQES = 512,
	ID_CQES = 513,
	ID_NN = 516,
	ID_ONCS = 520,
	ID_FUSES = 522,
	ID_VWC = 525,
	ID_ACWU = 532,
	ID_SGLS = 536,
};
#define OACS_DBBUF	   (1u << 8)
#define ONCS_COMPARE	   (1u << 0)
#define ONCS_DSM	   (1u << 2)
#define ONCS_WRITE_ZEROES  (1u << 3)
#define FUSES_COMPARE	   (1u << 0)
#define SGLS_SUPPORT(sgls) ((sgls)&3)
enum { SGLS_NONE = 0, SGLS_ANY = 1, SGLS_DWORDS = 2 }; /* what the alignment may be */
#define VWC_PRESENT (1u << 0)

/* Identify Namespace: offsets [5.15.2.1] */
enum {
	NS_NSZE = 0,
	NS_NSFEAT = 24,
	NS_NLBAF = 25,
	NS_FLBAS = 26,
	NS_NACWU = 38,
	NS_NABSN = 40,
	NS_NSATTR = 99,
	NS_NGUID = 104, /* then EUI64 */
	NS_LBAF = 128,
};
#define NS_ID_SIZE	 24u
#define NSFEAT_ATOMIC	 (1u << 1) /* what is said of atomicity is the namespace's own */
#define FLBAS_INDEX	 0x0fu
#define NSATTR_PROTECTED (1u << 0)
#define LBAF_MS(lbaf)	 ((lbaf)&0xffff)
#define LBAF_LBADS(lbaf) (((lbaf) >> 16) & 0xff)
#define NSID_LIST_MAX	 1024u

/* The health log: offsets [5.14.1.2] */
enum {
	HEALTH_WARNING = 0,
	HEALTH_TEMPERATURE = 1,
	HEALTH_SPARE = 3,
	HEALTH_THRESHOLD = 4,
	HEALTH_USED = 5,
	HEALTH_UNITS_READ = 32,
	HEALTH_UNITS_WRITTEN = 48,
	HEALTH_READS = 64,
	HEALTH_WRITES = 80,
	HEALTH_BUSY = 96,
	HEALTH_CYCLES = 112,
	HEALTH_HOURS = 128,
	HEALTH_UNSAFE = 144,
	HEALTH_MEDIA = 160,
	HEALTH_ERRORS = 176,
};

/* NVM commands [6] */
enum {
	IO_FLUSH = 0x00,
	IO_WRITE = 0x01,
	IO_READ = 0x02,
	IO_COMPARE = 0x05,
	IO_WRITE_ZEROES = 0x08,
	IO_DSM = 0x09,
};
#define FUSED_FIRST    0x01u /* nvme_sqe.flags [4.10] */
#define FUSED_SECOND   0x02u
#define PSDT_SGL       0x40u /* the data by an SGL descriptor [4.4], of type 0: in one piece */
#define DSM_DEALLOCATE (1u << 2)
#define IO_FUA_SHIFT   30 /* dword 12 */

/* Dataset Management range [6.7.1.1] */
struct nvme_range {
	uint32_t attributes;
	uint32_t blocks;
	uint64_t first;
};

#endif
