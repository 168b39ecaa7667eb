/* SPDX-License-Identifier: MIT */
/**
 * DOC: Which drivers there are, and which of them fits a device
 *
 * Everything is taken from the drivers' notes. No module is ever loaded here.
 */
#ifndef AU_MANAGER_DRIVERS_H
#define AU_MANAGER_DRIVERS_H

#include "base/note.h"
#include "base/paths.h"

#include <jansson.h>

/**
 * struct mgr_driver - a module in one of the directories.
 * @name: the file's name without .so.
 * @error: why it is no good; empty: it is, and @note is filled in.
 */
struct mgr_driver {
	char name[32];
	char path[AU_PATH_MAX];
	char error[256];
	struct au_note note;
};

/** struct mgr_drivers - all of them; @list is sorted by name. */
struct mgr_drivers {
	struct mgr_driver *list;
	unsigned int count;
};

/** mgr_drivers_scan - read the directories anew. Return: 0 or -ENOMEM. */
int mgr_drivers_scan(struct mgr_drivers *drivers);
/** mgr_drivers_json - as GET /v1/drivers shows them. */
json_t *mgr_drivers_json(const struct mgr_drivers *drivers);

/** struct mgr_ids - what a device says that it is. @virtual_device: nothing. */
struct mgr_ids {
	bool virtual_device;
	uint16_t vendor, device;
	uint32_t class_code;
};

/** enum mgr_rank - how well a driver fits; more is better. */
enum mgr_rank { MGR_RANK_NONE = 0, MGR_RANK_CLASS = 1, MGR_RANK_EXACT = 2 };

/**
 * struct mgr_candidate - a driver as seen by matching.
 * @reason: for people: "PCI 1b36:0002 is in its table".
 */
struct mgr_candidate {
	const struct mgr_driver *driver;
	enum mgr_rank rank;
	char reason[192];
};

/**
 * mgr_match - rank every driver for a device.
 * @candidates: one per driver, best first: by rank, then the higher version, then the name; freed
 *	by the caller.
 * Return: how many of them fit (they come first), or -ENOMEM.
 */
int mgr_match(const struct mgr_drivers *drivers, const struct mgr_ids *ids,
	      struct mgr_candidate **candidates);
/** mgr_version_compare - "1.10" is above "1.9". */
int mgr_version_compare(const char *a, const char *b);
/** mgr_match_json - what GET /v1/why shows. */
json_t *mgr_match_json(const struct mgr_candidate *candidates, unsigned int count);

#endif
