/* SPDX-License-Identifier: MIT */
/* Power of devices, for whoever asks. What a host says of it is its own word. */
#include "manager/device.h"
#include "manager/json.h"

#include <stdio.h>
#include <string.h>

static const struct au_status *show_status(const struct mgr_device *dev)
{
	return dev->host ? dev->host->recorder.status : NULL;
}

const char *mgr_power_state(const struct mgr_device *dev)
{
	static const char *const names[] = {
		[AU_SHOWN_NOTHING] = "d0",
		[AU_SHOWN_D0] = "d0",
		[AU_SHOWN_D3] = "d3",
		[AU_SHOWN_GOING_UP] = "going-up",
		[AU_SHOWN_GOING_DOWN] = "going-down",
		[AU_SHOWN_SUSPENDED] = "suspended",
	};
	const struct au_status *status = show_status(dev);
	uint32_t state;

	if (dev->state != MGR_RUNNING || !status)
		return "off";
	state = atomic_load(&status->power);
	return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

void mgr_power_counts(const struct mgr_device *dev, uint64_t *ups, uint64_t *downs)
{
	const struct au_status *status = show_status(dev);

	*ups = dev->power.ups + (status ? atomic_load(&status->power_ups) : 0);
	*downs = dev->power.downs + (status ? atomic_load(&status->power_downs) : 0);
}

json_t *mgr_power_json(const struct mgr_device *dev)
{
	const struct au_status *status = show_status(dev);
	json_t *needs = json_array(), *o;
	uint64_t ups, downs;

	for (unsigned int i = 0; i < dev->spec.need_count; i++)
		json_array_append_new(needs, json_string(dev->spec.needs[i]));
	mgr_power_counts(dev, &ups, &downs);
	o = json_pack("{s:s s:f s:I s:I s:I s:I s:I s:I s:o}", "state", mgr_power_state(dev),
		      "idle", dev->power.idle_ms / 1000.0, "ups", (json_int_t)ups, "downs",
		      (json_int_t)downs, "last_up_us",
		      (json_int_t)(status ? atomic_load(&status->power_up_us) : 0), "last_down_us",
		      (json_int_t)(status ? atomic_load(&status->power_down_us) : 0), "entry_us",
		      (json_int_t)(status ? atomic_load(&status->power_entry_us) : 0), "exit_us",
		      (json_int_t)(status ? atomic_load(&status->power_exit_us) : 0), "needs",
		      needs);
	if (dev->power.how[0])
		json_object_set_new(o, "system", mgr_json_string(dev->power.how));
	return o;
}

static json_int_t show_ms(uint64_t from_ns, uint64_t to_ns)
{
	return to_ns > from_ns ? (json_int_t)((to_ns - from_ns) / 1000000) : 0;
}

json_t *mgr_power_report(const struct mgr *mgr)
{
	json_t *list = json_array();
	uint64_t last_ns = mgr->suspend_ns;

	au_list_for_each (node, &mgr->devices) {
		const struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);
		const struct mgr_power *p = &dev->power;
		/* One that came since then was never on its way. */
		uint64_t began_ns = p->began_ns > mgr->suspend_ns ? p->began_ns : mgr->suspend_ns;
		uint64_t ended_ns = p->ended_ns > began_ns ? p->ended_ns : began_ns;

		if (ended_ns > last_ns)
			last_ns = ended_ns;
		json_array_append_new(
			list,
			json_pack("{s:o s:s s:o s:I s:I}", "name", mgr_json_string(dev->spec.name),
				  "state", mgr_power_state(dev), "result", mgr_json_string(p->how),
				  "began_ms", show_ms(mgr->suspend_ns, began_ns), "ended_ms",
				  show_ms(mgr->suspend_ns, ended_ns)));
	}
	return json_pack("{s:b s:I s:I s:o}", "suspended", mgr->suspended, "since_ms",
			 (json_int_t)mgr->suspend_wall_ms, "took_ms",
			 show_ms(mgr->suspend_ns, last_ns), "devices", list);
}
