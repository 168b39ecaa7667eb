/* SPDX-License-Identifier: MIT */
/* NVMe controllers on PCI: NVM Express Base Specification, revisions 1.0 to 2.0. */
#include "nvme.h"

#define NVME_BAR_MIN  0x1010u /* up to the doorbells of the I/O queues */
#define NVME_DRAIN_MS 500u

/* A completion interrupt, or the line; polling may have been faster, and it was ours all the same.
 */
static bool path_ours(struct nvme_path *p)
{
	bool ours = p->reaped || (p->live && nvme_new(&p->io));

	p->reaped = false;
	return ours;
}

static bool path_isr(struct au_irq *irq)
{
	return path_ours(au_irq_context(irq));
}

static void path_dpc(struct au_irq *irq)
{
	nvme_path_poll(au_irq_context(irq));
}

static bool nvme_isr(struct au_irq *irq)
{
	struct nvme *n = au_irq_context(irq);
	bool ours = n->reaped || nvme_new(&n->admin);

	n->reaped = false;
	return path_ours(&n->path[0]) || ours;
}

static void nvme_dpc(struct au_irq *irq)
{
	nvme_poll(au_irq_context(irq));
}

static void nvme_pace(struct au_timer *timer, void *context)
{
	nvme_poll(context);
}

/* One message for the admin queue and one for each pair; or one, or the line, for both. */
static int nvme_irqs(struct nvme *n)
{
	unsigned int count = au_param_uint(n->dev, "polled") ? 0 : au_irq_count(n->dev);
	struct au_irq_config config = { AU_HEAD(struct au_irq_config), .context = n,
					.isr = nvme_isr, .dpc = nvme_dpc };
	struct au_irq *irq;
	int err;

	n->irqs = count > 0;
	if (!n->irqs)
		return 0;
	if (n->lanes > 1 && n->lanes >= count) {
		n->lanes = count > 2 ? count - 1 : 1;
		au_log(n->dev, AU_LOG_WARN, "%u of %u lanes are used: it has %u interrupts",
		       n->lanes, au_device_lanes(n->dev), count);
	}
	err = au_irq_create(n->dev, &config, &irq);
	for (uint32_t i = 0; !err && count > 1 && i < n->lanes; i++) {
		struct nvme_path *p = &n->path[i];

		config.vector = p->vector = i + 1;
		if (i) {
			config.context = p;
			config.isr = path_isr;
			config.dpc = path_dpc;
			config.lane = p->lane;
		}
		err = au_irq_create(n->dev, &config, &irq);
	}
	return err;
}

/* What looks after a pair, on its lane. */
static int nvme_path_prepare(struct nvme *n, struct nvme_path *p)
{
	struct au_poller_config config = { AU_HEAD(struct au_poller_config), .context = p,
					   .poll = nvme_path_poll, .idle = nvme_path_idle,
					   .lane = p->lane };
	struct au_poller *poller;
	int err;

	if (p->number == 0) {
		config.context = n;
		config.poll = nvme_poll;
		config.idle = nvme_idle;
	}
	err = au_poller_create(n->dev, &config, &poller);
	return err ? err
		   : au_timer_create_on(p->lane, n->dev, p->number ? nvme_path_clock : nvme_clock,
					config.context, &p->clock);
}

static int nvme_prepare(struct au_device *dev)
{
	struct nvme *n = au_context(dev);
	int err;

	n->dev = dev;
	n->lanes = au_device_lanes(dev);
	for (uint32_t i = 0; i < NVME_PATHS; i++) {
		struct nvme_path *p = &n->path[i];

		p->nvme = n;
		p->number = i;
		p->lane = au_device_lane(dev, i);
		p->waiting_end = &p->waiting;
	}
	n->depth = (uint32_t)au_param_uint(dev, "depth");
	n->timeout_ms = (uint32_t)au_param_uint(dev, "timeout-ms");
	n->want_shadow = au_param_uint(dev, "shadow");
	n->want_sgl = au_param_uint(dev, "sgl");
	err = au_map_bar(dev, 0, NVME_BAR_MIN, &n->regs);
	err = err ? err : nvme_irqs(n);
	for (uint32_t i = 0; !err && i < n->lanes; i++)
		err = nvme_path_prepare(n, &n->path[i]);
	err = err ? err : au_work_create(dev, nvme_trouble, n, &n->trouble);
	return err ? err : au_timer_create(dev, nvme_pace, n, &n->pace);
}

static void entry_done(struct nvme *n, int err)
{
	n->failed = err != 0;
}

static int nvme_d0_entry(struct au_device *dev, enum au_power from)
{
	struct nvme *n = au_context(dev);

	n->waits = true;
	n->failed = false;
	nvme_set_odd(n, false);
	nvme_steps_begin(n, nvme_bring_up, entry_done);
	nvme_steps_wait(n);
	n->waits = false;
	if (n->failed || n->gone) {
		if (!n->gone)
			nvme_stop_now(n);
		return n->gone ? -AU_ENODEV : -AU_EIO;
	}
	nvme_io_resubmit(n);
	return 0;
}

static int nvme_io_begin(struct au_device *dev)
{
	struct nvme *n = au_context(dev);

	nvme_events_begin(n);
	for (uint32_t i = 1; i < n->paths; i++)
		nvme_clock_faster(&n->path[i]);
	nvme_clock(n->path[0].clock, n);
	return 0;
}

/* What is on its way has a moment to come; what does not ends when the device has let go. */
static void nvme_drain(struct nvme *n)
{
	for (unsigned int ms = 0; ms < NVME_DRAIN_MS && n->up; ms++) {
		nvme_poll(n);
		for (uint32_t i = 1; i < n->paths; i++)
			nvme_path_poll(&n->path[i]);
		if (nvme_flying(n) == 0)
			break;
		au_sleep_ms(n->dev, 1);
	}
}

static int nvme_d0_exit(struct au_device *dev, enum au_power to)
{
	struct nvme *n = au_context(dev);
	bool well = n->up && !n->failed;

	n->waits = true;
	n->step = NULL;
	n->report = NULL;
	if (well && !n->gone) {
		nvme_drain(n);
		n->up = false;
		nvme_each_path(n, p) p->live = false;
		n->upset = false;
		n->at = 0;
		n->last = n->paths;
		nvme_steps_begin(n, nvme_shut_down, entry_done);
		nvme_steps_wait(n);
	}
	if (!well || n->failed)
		nvme_stop_now(n);
	nvme_io_fail(n, -AU_ENODEV);
	n->waits = false;
	return n->failed && !n->gone ? -AU_EIO : 0;
}

static void nvme_surprise(struct au_device *dev)
{
	struct nvme *n = au_context(dev);

	__atomic_store_n(&n->gone, true, __ATOMIC_RELAXED);
	nvme_set_odd(n, true);
}

AU_DRIVER_NOTE(
	AU_NAME("nvme") AU_VERSION("1.0") AU_CLASS("block") AU_SUMMARY(
		"NVMe controllers on PCI; each namespace is a unit") AU_MATCH_PCI_CLASS(0x010802)
		AU_DMA(64, 0x380000) AU_LANES(8) AU_PARAM_UINT("depth", 255, 1, 1023,
							       "commands that a lane has at once")
			AU_PARAM_BOOL("polled", 0, "without interrupts")
				AU_PARAM_BOOL("sgl", 1,
					      "scatter gather lists, if the controller can")
					AU_PARAM_BOOL("shadow", 1,
						      "doorbells in memory, if the controller can")
						AU_PARAM_UINT("timeout-ms", 10000, 50, 600000,
							      "how long a command may take"));

AU_DRIVER = {
	AU_HEAD(struct au_driver),	   .context_size = sizeof(struct nvme),
	.prepare = nvme_prepare,	   .d0_entry = nvme_d0_entry,
	.d0_exit = nvme_d0_exit,	   .io_start = nvme_io_begin,
	.surprise_removed = nvme_surprise, .report = nvme_report,
};
