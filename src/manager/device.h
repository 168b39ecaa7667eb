/* SPDX-License-Identifier: MIT */
/*
 * The parts of a device's life: device.c decides what state it is in, start.c brings it up,
 * events.c hears what its host says and how it died.
 */
#ifndef AU_MANAGER_DEVICE_H
#define AU_MANAGER_DEVICE_H

#include "manager/manager.h"

/** mgr_device_set - the one place where the state changes: history, log, state file, waiters. */
void mgr_device_set(struct mgr_device *dev, enum mgr_state state, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** mgr_device_coming_up - on the way from nothing, or from a death. */
static inline bool mgr_device_coming_up(const struct mgr_device *dev)
{
	return dev->state == MGR_STARTING || dev->state == MGR_RESTARTING;
}
/** mgr_device_begin - start a host; the state is STARTING or RESTARTING. */
void mgr_device_begin(struct mgr_device *dev);
/** mgr_device_found - it was away, and a session with it is open: start it. Takes over @result. */
void mgr_device_found(struct mgr_device *dev, struct mgr_open_result *result);
/** mgr_device_claim - say that we run it. Return: 0, or a negative errno with one line. */
int mgr_device_claim(struct mgr_device *dev, char *error, size_t size);
/** mgr_device_release - give back what a running device holds: claim, session, socket. */
void mgr_device_release(struct mgr_device *dev);
/** mgr_device_drop_host - let go of a host that never had anything of the device. */
void mgr_device_drop_host(struct mgr_device *dev);
/** mgr_device_drop_session - let go of one that is being opened, or was, and that no host has. */
void mgr_device_drop_session(struct mgr_device *dev);
/** mgr_device_postpone - give up its start for now: it is begun anew later. */
void mgr_device_postpone(struct mgr_device *dev);
/** mgr_device_failed - it failed, and there is nothing left of its host: start it again at once,
 * later, or never. @charge: to its budget. */
void mgr_device_failed(struct mgr_device *dev, bool charge, const char *text);
/** mgr_device_waits - it cannot be reached since its host died: tried again, later and later. */
void mgr_device_waits(struct mgr_device *dev, const char *text);
/** mgr_device_stop - in order; @after says what follows. */
void mgr_device_stop(struct mgr_device *dev, enum mgr_after after, const char *reason);
/** mgr_upgrade_drain_ms - how long the host may take to finish what its driver has. */
uint32_t mgr_upgrade_drain_ms(const struct mgr_device *dev);
/** mgr_device_stopped - it has. */
void mgr_device_stopped(struct mgr_device *dev);
/** mgr_device_count_removal - what was there is not there any more: what comes next is another
 * device, which begins with nothing. */
void mgr_device_count_removal(struct mgr_device *dev, uint32_t reason);
/** mgr_device_tell_gone - those who have it open. */
void mgr_device_tell_gone(struct mgr_device *dev);
/** mgr_device_forget - gone for everybody at once; freed by the next turn of the loop. */
void mgr_device_forget(struct mgr_device *dev);

#endif
