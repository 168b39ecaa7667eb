/* SPDX-License-Identifier: MIT */
/* feature.c: 5.9 Get Features and 5.21 Set Features. */
#include "nvme.h"

#include <string.h>

enum { SELECT_CURRENT = 0, SELECT_DEFAULT = 1, SELECT_SAVED = 2, SELECT_CAPABILITIES = 3 };

#define FEATURE_SAVE	    (1u << 31)
#define FEATURE_CHANGEABLE  (1u << 2) /* of the capabilities */
#define FEATURE_ALL_SENSORS 0xfu
#define FEATURE_OVER	    0u /* temperature threshold: over, under */
#define FEATURE_UNDER	    1u
#define FEATURE_WARNING	    343u /* kelvins */

static uint32_t feature_default(const struct nvme *nvme, unsigned int id)
{
	switch (id) {
	case NVME_FEAT_ARBITRATION:
		return 3; /* bursts of 8 */
	case NVME_FEAT_TEMPERATURE:
		return FEATURE_WARNING;
	case NVME_FEAT_WRITE_CACHE:
		return 1;
	case NVME_FEAT_QUEUES:
		return (nvme->opt.queues - 1) | (nvme->opt.queues - 1) << 16;
	default:
		return 0;
	}
}

static bool feature_exists(unsigned int id)
{
	return id >= NVME_FEAT_ARBITRATION && id < NVME_FEATS && id != 0x03;
}

static uint32_t vector_default(unsigned int vector)
{
	return vector | (vector ? 0 : 1u << 16); /* the admin queue's is not coalesced */
}

void nvme_default_features(struct nvme *nvme)
{
	for (unsigned int id = 0; id < NVME_FEATS; id++)
		nvme->feature[id] = feature_default(nvme, id);
	for (unsigned int i = 0; i < NVME_QUEUES; i++)
		nvme->vector_config[i] = vector_default(i);
}

uint16_t nvme_get_feature(struct nvme *nvme, const struct nvme_sqe *cmd, uint32_t *dw0)
{
	unsigned int id = cmd->cdw10 & 0xff, select = cmd->cdw10 >> 8 & 7;
	unsigned int vector = cmd->cdw11 & 0xffff, kind = cmd->cdw11 >> 20 & 3;

	if (!feature_exists(id) || select > SELECT_CAPABILITIES)
		return NVME_INVALID_FIELD;
	if (id == NVME_FEAT_VECTOR && vector > nvme->opt.queues)
		return NVME_INVALID_FIELD;
	if (select == SELECT_CAPABILITIES)
		*dw0 = FEATURE_CHANGEABLE;
	else if (id == NVME_FEAT_VECTOR)
		*dw0 = select ? vector_default(vector) : nvme->vector_config[vector];
	else if (id == NVME_FEAT_TEMPERATURE && kind == FEATURE_UNDER)
		*dw0 = 0;
	else
		*dw0 = select ? feature_default(nvme, id) : nvme->feature[id];
	return NVME_OK;
}

static bool queues_exist(const struct nvme *nvme)
{
	return nvme->queues > 1;
}

static uint16_t set_queues(struct nvme *nvme, uint32_t value, uint32_t *dw0)
{
	uint32_t sq = value & 0xffff, cq = value >> 16, most = nvme->opt.queues - 1;

	if (queues_exist(nvme))
		return NVME_SEQUENCE;
	if (sq == 0xffff || cq == 0xffff)
		return NVME_INVALID_FIELD;
	sq = sq < most ? sq : most;
	cq = cq < most ? cq : most;
	*dw0 = nvme->feature[NVME_FEAT_QUEUES] = sq | cq << 16;
	return NVME_OK;
}

static uint16_t set_temperature(struct nvme *nvme, uint32_t value)
{
	uint32_t sensor = value >> 16 & 0xf, kind = value >> 20 & 3;

	if (kind > FEATURE_UNDER || (sensor && sensor != FEATURE_ALL_SENSORS))
		return NVME_INVALID_FIELD;
	if (kind == FEATURE_OVER)
		nvme->feature[NVME_FEAT_TEMPERATURE] = value & 0xffff;
	return NVME_OK;
}

uint16_t nvme_set_feature(struct nvme *nvme, const struct nvme_sqe *cmd, uint32_t *dw0)
{
	unsigned int id = cmd->cdw10 & 0xff, vector = cmd->cdw11 & 0xffff;
	uint32_t value = cmd->cdw11;

	if (!feature_exists(id))
		return NVME_INVALID_FIELD;
	if (cmd->cdw10 & FEATURE_SAVE)
		return NVME_NOT_SAVEABLE;
	switch (id) {
	case NVME_FEAT_QUEUES:
		return set_queues(nvme, value, dw0);
	case NVME_FEAT_TEMPERATURE:
		return set_temperature(nvme, value);
	case NVME_FEAT_POWER:
		if (value & 0x1f) /* there is one power state */
			return NVME_INVALID_FIELD;
		break;
	case NVME_FEAT_WRITE_CACHE:
		value &= 1;
		break;
	case NVME_FEAT_VECTOR:
		if (vector > nvme->opt.queues)
			return NVME_INVALID_FIELD;
		nvme->vector_config[vector] = value & 0x1ffff;
		return NVME_OK;
	default:
		break;
	}
	nvme->feature[id] = value;
	return NVME_OK;
}
