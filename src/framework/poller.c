/* SPDX-License-Identifier: MIT */
/* Pollers: what a driver does in each turn of its lane, between d0_entry() and d0_exit(). */
#include "framework/internal.h"

#include "base/abi.h"

struct au_poller {
	struct auf_source source;
	struct au_poller_config config;
	struct au_device *dev;
	struct au_lane *lane;
	struct au_list node;
};

static unsigned int poller_poll(struct auf_source *source, unsigned int budget)
{
	struct au_poller *poller = AU_CONTAINER(source, struct au_poller, source);

	return poller->config.poll(poller->config.context);
}

static unsigned int poller_poll_verified(struct auf_source *source, unsigned int budget)
{
	struct au_poller *poller = AU_CONTAINER(source, struct au_poller, source);
	unsigned int done = 0;

	AUF_CALL(poller->dev, CALL_POLL, done = poller->config.poll(poller->config.context));
	return done;
}

static bool poller_idle(struct auf_source *source)
{
	struct au_poller *poller = AU_CONTAINER(source, struct au_poller, source);

	return poller->config.idle(poller->config.context);
}

int au_poller_create(struct au_device *dev, const struct au_poller_config *given,
		     struct au_poller **out)
{
	struct au_poller_config config;
	struct au_poller *poller;
	int err;

	if (atomic_load(&dev->machine.state) != STATE_PREPARING) {
		auf_violation(dev, RULE_create_late, NULL);
		return -AU_EINVAL;
	}
	err = auf_take(dev, &au_abi_poller_config, &config, given);
	if (err)
		return err;
	if (!config.poll || !auf_device_has_lane(dev, config.lane)) {
		au_log(dev, AU_LOG_ERROR,
		       "au_poller_create: it needs a poll(), on a lane of the device");
		return -AU_EINVAL;
	}
	poller = auf_alloc(dev, sizeof(*poller));
	if (!poller)
		return -AU_ENOMEM;
	poller->config = config;
	poller->lane = config.lane ? config.lane : dev->lane;
	poller->source.fd = -1;
	poller->dev = dev;
	poller->source.poll = dev->verify ? poller_poll_verified : poller_poll;
	poller->source.arm = config.idle ? poller_idle : NULL;
	au_list_add_tail(&dev->pollers, &poller->node);
	*out = poller;
	return 0;
}

int auf_pollers_start(struct au_device *dev)
{
	int err = 0;

	au_list_for_each (node, &dev->pollers) {
		struct au_poller *poller = AU_CONTAINER(node, struct au_poller, node);

		if (!err)
			err = auf_lane_add(poller->lane, &poller->source);
		poller->lane->pollers += !err;
	}
	return err;
}

void auf_pollers_stop(struct au_device *dev)
{
	au_list_for_each (node, &dev->pollers) {
		struct au_poller *poller = AU_CONTAINER(node, struct au_poller, node);

		poller->lane->pollers -= poller->source.lane != NULL;
		auf_lane_remove(poller->lane, &poller->source);
	}
}

void auf_pollers_free(struct au_device *dev)
{
	struct au_list *node;

	while ((node = au_list_pop(&dev->pollers)))
		au_os_free(AU_CONTAINER(node, struct au_poller, node));
}
