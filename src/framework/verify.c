/* SPDX-License-Identifier: MIT */
/* The verifier: rules with names. What a rule protects is safe without it too; it makes them loud.
 */
#include "framework/internal.h"

#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

_Static_assert(RULE_COUNT <= 64, "a bit for each");

static const struct {
	const char *name, *text;
} verify_rules[RULE_COUNT] = {
#define VERIFY_RULE(id, name, text) { name, text },
	AUF_RULES(VERIFY_RULE)
#undef VERIFY_RULE
};

static void verify_abort(struct au_device *dev, const char *rule)
{
	abort();
}

void (*auf_verify_action)(struct au_device *dev, const char *rule) = verify_abort;

const char *auf_rule(unsigned int index, const char **text)
{
	if (index >= RULE_COUNT)
		return NULL;
	if (text)
		*text = verify_rules[index].text;
	return verify_rules[index].name;
}

void auf_violation(struct au_device *dev, enum auf_rule rule, const struct auf_request *r)
{
	const char *name = verify_rules[rule].name, *text = verify_rules[rule].text;
	struct au_lane *lane = dev ? dev->lane : NULL;
	char which[48] = "", line[256];

	if (!dev) {
		au_logf(AU_LOG_ERROR, "rule %s broken: %s", name, text);
		return;
	}
	if (r && r->handle->lane != dev->lane && !dev->held)
		lane = r->handle->lane;
	au_trace_text(lane->recorder, lane->index, violation, r ? r->slot : 0, name);
	/* What is over has been overwritten. */
	if (r && auf_request_is(r) == REQ_FREE)
		snprintf(which, sizeof(which), " (request %u)", r->slot);
	else if (r)
		snprintf(which, sizeof(which), " (request %u, operation %u)", r->slot, r->pub.op);
	snprintf(line, sizeof(line), "rule %s broken by the driver: %s%s", name, text, which);
	/* Each is told, however much the driver has to say; again and again within limits. */
	if (atomic_fetch_or(&dev->verifier.told, 1ull << rule) & (1ull << rule))
		au_log(dev, AU_LOG_ERROR, "%s", line);
	else
		auf_say(dev, AU_LOG_ERROR, line);
	if (dev->verify)
		auf_verify_action(dev, name);
}
