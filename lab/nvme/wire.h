/* SPDX-License-Identifier: MIT */
/*
 * wire.h: what a host and an NVMe controller have in common: registers, entries, codes.
 * Numbers and section titles are those of the NVM Express base specification, revision 1.4.
 */
#ifndef LAB_NVME_WIRE_H
#define LAB_NVME_WIRE_H

#include <assert.h>
#include <stdint.h>

/* 3.1 Controller Registers */
enum {
	NVME_REG_CAP = 0x00,
	NVME_REG_VS = 0x08,
	NVME_REG_INTMS = 0x0c,
	NVME_REG_INTMC = 0x10,
	NVME_REG_CC = 0x14,
	NVME_REG_CSTS = 0x1c,
	NVME_REG_NSSR = 0x20,
	NVME_REG_AQA = 0x24,
	NVME_REG_ASQ = 0x28,
	NVME_REG_ACQ = 0x30,
	NVME_REG_END = 0x40,
	NVME_REG_DOORBELLS = 0x1000,
};

#define NVME_VS_1_4	   0x00010400u

#define NVME_CC_EN	   (1u << 0)
#define NVME_CC_CSS(cc)	   (((cc) >> 4) & 0x7u)
#define NVME_CC_MPS(cc)	   (((cc) >> 7) & 0xfu)
#define NVME_CC_AMS(cc)	   (((cc) >> 11) & 0x7u)
#define NVME_CC_SHN(cc)	   (((cc) >> 14) & 0x3u)
#define NVME_CC_IOSQES(cc) (((cc) >> 16) & 0xfu)
#define NVME_CC_IOCQES(cc) (((cc) >> 20) & 0xfu)

#define NVME_CSTS_RDY	   (1u << 0)
#define NVME_CSTS_CFS	   (1u << 1)
#define NVME_CSTS_SHST	   (3u << 2)
#define NVME_CSTS_SHST_END (2u << 2)

/* 4.2 Submission Queue Entry */
struct nvme_sqe {
	uint8_t opcode;
	uint8_t flags; /* bits 1:0 fused, bits 7:6 PSDT */
	uint16_t cid;
	uint32_t nsid;
	uint64_t reserved;
	uint64_t mptr;
	uint64_t prp1;
	uint64_t prp2;
	uint32_t cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
static_assert(sizeof(struct nvme_sqe) == 64, "wire format");

#define NVME_SQE_FUSED	0x03u
#define NVME_SQE_FIRST	0x01u
#define NVME_SQE_SECOND 0x02u
#define NVME_SQE_PSDT	0xc0u
#define NVME_SQE_SGL	0x40u /* data by an SGL, metadata are not */

/* 4.4 SGL Descriptor: where PRP1 and PRP2 are, in a command. @type: bits 7:4 type, 3:0 of address.
 */
struct nvme_sgl {
	uint64_t at;
	uint32_t size;
	uint8_t reserved[3];
	uint8_t type;
};
static_assert(sizeof(struct nvme_sgl) == 16, "wire format");

enum {
	NVME_SGL_DATA = 0x00,
	NVME_SGL_BUCKET = 0x10,
	NVME_SGL_SEGMENT = 0x20,
	NVME_SGL_LAST = 0x30
};

/* 4.6 Completion Queue Entry */
struct nvme_cqe {
	uint32_t dw0;
	uint32_t dw1;
	uint16_t sq_head;
	uint16_t sqid;
	uint16_t cid;
	uint16_t status; /* bit 0 is the phase */
};
static_assert(sizeof(struct nvme_cqe) == 16, "wire format");

/* 5 Admin Command Set */
enum {
	NVME_ADM_DELETE_SQ = 0x00,
	NVME_ADM_CREATE_SQ = 0x01,
	NVME_ADM_GET_LOG = 0x02,
	NVME_ADM_DELETE_CQ = 0x04,
	NVME_ADM_CREATE_CQ = 0x05,
	NVME_ADM_IDENTIFY = 0x06,
	NVME_ADM_ABORT = 0x08,
	NVME_ADM_SET_FEATURES = 0x09,
	NVME_ADM_GET_FEATURES = 0x0a,
	NVME_ADM_ASYNC_EVENT = 0x0c,
	NVME_ADM_KEEP_ALIVE = 0x18,
	NVME_ADM_DBBUF = 0x7c,
};

/* 6 NVM Command Set */
enum {
	NVME_IO_FLUSH = 0x00,
	NVME_IO_WRITE = 0x01,
	NVME_IO_READ = 0x02,
	NVME_IO_COMPARE = 0x05,
	NVME_IO_WRITE_ZEROES = 0x08,
	NVME_IO_DSM = 0x09,
};

/* 4.6.1 Status Field, without the phase: bits 7:0 the code, 10:8 its type, 14 Do Not Retry. */
enum {
	NVME_OK = 0x000,
	NVME_INVALID_OPCODE = 0x001,
	NVME_INVALID_FIELD = 0x002,
	NVME_DATA_TRANSFER = 0x004,
	NVME_INTERNAL = 0x006,
	NVME_ABORT_REQUESTED = 0x007,
	NVME_SQ_DELETED = 0x008,
	NVME_FUSED_FAILED = 0x009,
	NVME_FUSED_MISSING = 0x00a,
	NVME_INVALID_NAMESPACE = 0x00b,
	NVME_SEQUENCE = 0x00c,
	NVME_SGL_INVALID = 0x00d,
	NVME_SGL_COUNT = 0x00e,
	NVME_SGL_LENGTH = 0x00f,
	NVME_SGL_TYPE = 0x011,
	NVME_PRP_OFFSET = 0x013,
	NVME_LBA_RANGE = 0x080,
	NVME_CQ_INVALID = 0x100,
	NVME_QID_INVALID = 0x101,
	NVME_QSIZE_INVALID = 0x102,
	NVME_AER_LIMIT = 0x105,
	NVME_VECTOR_INVALID = 0x108,
	NVME_LOG_INVALID = 0x109,
	NVME_QUEUE_DELETION = 0x10c,
	NVME_NOT_SAVEABLE = 0x10d,
	NVME_NOT_CHANGEABLE = 0x10e,
	NVME_COMPARE_FAILURE = 0x285,
	NVME_DNR = 0x4000,
};

/* 5.2 Asynchronous Event Request: types, their information, and the log page to read */
enum { NVME_EVENT_ERROR = 0, NVME_EVENT_HEALTH = 1, NVME_EVENT_NOTICE = 2, NVME_EVENTS = 3 };
enum { NVME_ERROR_DOORBELL_REGISTER = 0, NVME_ERROR_DOORBELL_VALUE = 1 };
enum { NVME_NOTICE_NAMESPACE = 0 };

/* 5.14.1 Log pages */
enum { NVME_LOG_ERROR = 1, NVME_LOG_HEALTH = 2, NVME_LOG_FIRMWARE = 3, NVME_LOG_NAMESPACES = 4 };

/* 5.21.1 Features */
enum {
	NVME_FEAT_ARBITRATION = 0x01,
	NVME_FEAT_POWER = 0x02,
	NVME_FEAT_TEMPERATURE = 0x04,
	NVME_FEAT_ERROR_RECOVERY = 0x05,
	NVME_FEAT_WRITE_CACHE = 0x06,
	NVME_FEAT_QUEUES = 0x07,
	NVME_FEAT_COALESCING = 0x08,
	NVME_FEAT_VECTOR = 0x09,
	NVME_FEAT_ATOMICITY = 0x0a,
	NVME_FEAT_EVENTS = 0x0b,
	NVME_FEATS = 0x0c,
};

#endif
