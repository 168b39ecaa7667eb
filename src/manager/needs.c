/* SPDX-License-Identifier: MIT */
/* Which device needs which: for the order in which the system is suspended and resumed. */
#include "manager/manager.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NEEDS_DEPTH 64 /* of a chain; nobody has one as long */

bool mgr_needs(const struct mgr_device *dev, const struct mgr_device *other)
{
	return dev != other && other->spec.name[0] && mgr_spec_needs(&dev->spec, other->spec.name);
}

/* Return: 0; 1: what @from needs leads to @name; -1: the chain is too long. */
static int needs_lead_to(struct mgr *mgr, const struct mgr_spec *from, const char *name,
			 unsigned int depth)
{
	if (mgr_spec_needs(from, name))
		return 1;
	if (depth == NEEDS_DEPTH)
		return -1;
	for (unsigned int i = 0; i < from->need_count; i++) {
		const struct mgr_device *next = mgr_device_find(mgr, from->needs[i]);
		int found = next ? needs_lead_to(mgr, &next->spec, name, depth + 1) : 0;

		if (found)
			return found;
	}
	return 0;
}

/* What is needed may come later: whoever closes the circle is refused. */
int mgr_needs_check(struct mgr *mgr, const struct mgr_spec *spec, char *error, size_t error_size)
{
	for (unsigned int i = 0; i < spec->need_count && spec->name[0]; i++) {
		const struct mgr_device *next = mgr_device_find(mgr, spec->needs[i]);
		int found = 0;

		if (!strcmp(spec->needs[i], spec->name))
			found = 1;
		else if (next)
			found = needs_lead_to(mgr, &next->spec, spec->name, 0);
		if (!found)
			continue;
		snprintf(error, error_size,
			 found > 0 ? "needs: %s needs %s, which needs %s: leave one of them out"
				   : "needs: %s needs %s, and that a chain of devices that is too "
				     "long",
			 spec->name, spec->needs[i], spec->name);
		return -EINVAL;
	}
	return 0;
}
