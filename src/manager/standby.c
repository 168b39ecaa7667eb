/* SPDX-License-Identifier: MIT */
/*
 * A host that stands by: started, linked, in its cgroup, waiting for AU_HM_START. It takes that
 * time out of the way from a death to service. There is one for all devices, as long as there are
 * any; whoever comes when it has just been taken starts a process of its own.
 */
#include "manager/manager.h"

#define STANDBY_AGAIN_MS 100  /* after it was taken: the one who took it needs the processor */
#define STANDBY_LOST_MS	 5000 /* after it died by itself */

static bool standby_wanted(const struct mgr *mgr)
{
	return mgr->want_standby && !mgr->stopping && !au_list_empty(&mgr->devices);
}

static void standby_make(struct au_loop_timer *timer)
{
	struct mgr *mgr = timer->context;
	char error[MGR_TEXT];

	if (!standby_wanted(mgr) || mgr->standby)
		return;
	if (mgr_host_process(mgr, "standby", 0, &mgr->standby, error, sizeof(error)))
		au_logf(AU_LOG_WARN, "no host stands by: %s", error);
}

void mgr_standby_check(struct mgr *mgr)
{
	struct mgr_host *host = mgr->standby;

	mgr->standby_timer.expired = standby_make;
	mgr->standby_timer.context = mgr;
	if (standby_wanted(mgr)) {
		if (!host && !au_loop_timer_is_set(&mgr->standby_timer))
			au_loop_timer_set(mgr->loop, &mgr->standby_timer, STANDBY_AGAIN_MS);
		return;
	}
	au_loop_timer_cancel(&mgr->standby_timer);
	if (!host)
		return;
	mgr->standby = NULL;
	mgr_host_kill(host, MGR_VERDICT_NONE, "%s", "");
	au_watch_remove(&host->control_watch);
	au_list_add_tail(&mgr->dying, &host->node);
}

void mgr_standby_lost(struct mgr *mgr)
{
	mgr_host_free(mgr->standby);
	mgr->standby = NULL;
	if (standby_wanted(mgr))
		au_loop_timer_set(mgr->loop, &mgr->standby_timer, STANDBY_LOST_MS);
}

void mgr_going_down(struct mgr *mgr)
{
	if (mgr->stopping && au_list_empty(&mgr->devices) && au_list_empty(&mgr->dying) &&
	    !mgr->standby)
		au_loop_timer_set(mgr->loop, &mgr->stop_timer, 0);
}

int mgr_host_spawn(struct mgr_device *dev, struct mgr_host **result, char *error, size_t error_size)
{
	struct mgr *mgr = dev->mgr;
	struct mgr_host *host = mgr->standby;
	uint32_t without = dev->spec.policy.without;
	int err;

	if (host && host->state == MGR_HOST_SPAWNED && !without) {
		mgr->standby = NULL;
	} else {
		err = mgr_host_process(mgr, dev->spec.name, without, &host, error, error_size);
		if (err)
			return err;
	}
	host->dev = dev;
	host->generation = dev->generation;
	*result = host;
	if (mgr->want_standby && !mgr->standby) /* later than now, whatever was planned */
		au_loop_timer_set(mgr->loop, &mgr->standby_timer, STANDBY_AGAIN_MS);
	return 0;
}
