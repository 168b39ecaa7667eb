/* SPDX-License-Identifier: MIT */
/**
 * DOC: Replacing the driver of a device that is in use
 *
 * The host is drained and goes down in order; the next one, with the new module, gets the class
 * state and the retained memory, and the clients replay what no driver has had. They notice that it
 * takes a moment. The old module is kept until the new one has served for a while: if it does not
 * start, does not have the units that clients have open, or fails in that time, the old one is put
 * back.
 */
#ifndef AU_MANAGER_UPGRADE_H
#define AU_MANAGER_UPGRADE_H

#include "manager/manager.h"

#define MGR_DRAIN_MS	   1000 /* for the old driver to finish, unless somebody says otherwise */
#define MGR_DRAIN_MAX_MS   60000
#define MGR_UPGRADE_MS	   4000	 /* from the end of the old host to AU_HM_READY */
#define MGR_UPGRADE_TRY_MS 10000 /* a failure so soon is the new driver's */

/**
 * struct mgr_upgrade_wish - what is asked for.
 * @path: of the module; empty: the best that there is.
 * @fresh: what the driver has retained may be given up.
 */
struct mgr_upgrade_wish {
	char path[AU_PATH_MAX];
	uint32_t drain_ms;
	bool fresh;
};

/**
 * mgr_upgrade_begin - replace @dev's driver. One that does not run gets it at its next start.
 * @later: whether there is something to wait for: mgr_upgrade_done() then answers the calls.
 * @error: one line. Return: 0 or a negative errno; nothing has happened then.
 */
int mgr_upgrade_begin(struct mgr_device *dev, const struct mgr_upgrade_wish *wish, bool *later,
		      char *error, size_t error_size);
/**
 * mgr_upgrade_offer - there are other drivers than before: devices whose policy allows it get the
 * better one: at once when nobody has them open, or whatever they do.
 * Return: their names, a JSON array.
 */
json_t *mgr_upgrade_offer(struct mgr *mgr);
/** mgr_upgrade_renew - before a start in order: take what is best now, if the policy allows it. */
void mgr_upgrade_renew(struct mgr_device *dev);
/** mgr_upgrade_stopped - the old host is down. */
void mgr_upgrade_stopped(struct mgr_device *dev);
/** mgr_upgrade_ready - a host is up. Return: false: not as it has to be, and it was killed. */
bool mgr_upgrade_ready(struct mgr_device *dev);
/** mgr_upgrade_lacks - a host that is coming up does not have a unit that a client has open.
 * Return: whether that ends the new driver's time; the host was killed then. */
bool mgr_upgrade_lacks(struct mgr_device *dev, unsigned int unit);
/** mgr_upgrade_serving - ... and serves. */
void mgr_upgrade_serving(struct mgr_device *dev);
/** mgr_upgrade_failed - a start was refused, or a host died by its own fault. Return: whether that
 * is the new driver's failure, and the old one is on its way. */
bool mgr_upgrade_failed(struct mgr_device *dev, const char *text);
/** mgr_upgrade_end - the device has other things to do. */
void mgr_upgrade_end(struct mgr_device *dev, const char *why);
/** mgr_upgrade_json - the last one, for GET /v1/devices/NAME; NULL: there was none. */
json_t *mgr_upgrade_json(const struct mgr_device *dev);

#endif
