/* SPDX-License-Identifier: MIT */
/* For drivers of tests: one more unit with one queue. */
#ifndef TESTS_ONE_UNIT_H
#define TESTS_ONE_UNIT_H

#include <auriga/driver.h>

static inline int one_unit(struct au_device *dev, enum au_queue_kind kind,
			   void (*deliver)(struct au_queue *queue, struct au_request *req))
{
	const struct au_unit_config unit_config = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config queue_config = {
		AU_HEAD(struct au_queue_config),
		.kind = kind,
		.deliver = deliver,
	};
	struct au_unit *unit;
	struct au_queue *queue;
	int err = au_unit_add(dev, &unit_config, &unit);

	return err ? err : au_queue_create(unit, &queue_config, &queue);
}

#endif
