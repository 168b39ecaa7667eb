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
#include "manager/sign.h"

#include <jansson.h>

/**
 * struct mgr_driver - a module in one of the directories, or in the store.
 * @name: the file's name without .so.
 * @stored: in the store, where there may be several versions of one.
 * @error: why it is no good; empty: it is, and @note is filled in.
 */
struct mgr_driver {
	char name[32];
	char path[AU_PATH_MAX];
	bool stored;
	struct mgr_signer signer;
	char error[256];
	struct au_note note;
};

/**
 * struct mgr_drivers - all of them; @list is sorted by name, the better one first.
 * @store: the directory of the store; empty: there is none.
 */
struct mgr_drivers {
	struct mgr_driver *list;
	unsigned int count;
	char store[AU_PATH_MAX];
	struct mgr_trust trust;
};

/** mgr_drivers_scan - read the directories anew. Return: 0 or -ENOMEM. */
int mgr_drivers_scan(struct mgr_drivers *drivers);
/** mgr_drivers_add - part of that: @path is a module that is called @name. Return: 0 or -ENOMEM. */
int mgr_drivers_add(struct mgr_drivers *drivers, const char *name, const char *path, bool stored);
/** mgr_drivers_find - the best one of that name, after a scan; NULL: there is none. */
const struct mgr_driver *mgr_drivers_find(const struct mgr_drivers *drivers, const char *name);
/** mgr_drivers_better - how two of one name, or two that fit equally well, are ranked: one that can
 * be used, one with a good signature, the higher version, one from the store. Return: as strcmp():
 * below 0: @a comes first. */
int mgr_drivers_better(const struct mgr_driver *a, const struct mgr_driver *b);
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
 * @candidates: one per driver, best first: by rank, then as mgr_drivers_better() says, then by
 *	name; freed by the caller.
 * Return: how many of them fit (they come first), or -ENOMEM.
 */
int mgr_match(const struct mgr_drivers *drivers, const struct mgr_ids *ids,
	      struct mgr_candidate **candidates);
/** mgr_version_compare - "1.10" is above "1.9". */
int mgr_version_compare(const char *a, const char *b);
/** mgr_match_json - what GET /v1/why shows. */
json_t *mgr_match_json(const struct mgr_candidate *candidates, unsigned int count);

#endif
