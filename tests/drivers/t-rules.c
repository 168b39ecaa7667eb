/* SPDX-License-Identifier: MIT */
/*
 * An echo that breaks the rule of the verifier which its parameter "break" names, at its Nth
 * request, or where in a driver's life that rule can be broken. Without it: a driver that is well.
 */
#include <auriga/driver.h>
#include <auriga/raw.h>

struct rules {
	struct au_unit *other;
	struct au_queue *queue, *elsewhere;
	struct au_timer *timer;
	struct au_request *kept;
	const char *name;
	uint64_t left;
	bool broken;
};

static bool rules_is(const struct rules *r, const char *name)
{
	const char *a = r->name;

	while (*a && *a == *name) {
		a++;
		name++;
	}
	return *a == *name;
}

/* At least a tenth of a second of the processor's time: multiplications, one after the other, take
 * as many cycles everywhere. */
static void rules_work(void)
{
	uint64_t x = 1;

	for (uint32_t i = 0; i < 200000000u; i++) {
		x = x * 6364136223846793005ull + 1;
		__asm__ volatile("" : "+r"(x));
	}
}

static void rules_cancel(struct au_request *req)
{
	au_request_complete(req, -AU_ECANCELED, 0);
}

static void rules_tick(struct au_timer *timer, void *context)
{
	(void)timer;
	(void)context;
}

/* Returns whether the request is over. */
static bool rules_break_own(struct au_device *dev, struct rules *r, struct au_request *req)
{
	struct au_irq_config irq = { AU_HEAD(struct au_irq_config) };
	struct au_irq *made;

	if (rules_is(r, "request-changed"))
		req->length--;
	else if (rules_is(r, "unmatched-clear"))
		au_request_clear_cancelable(req);
	else if (rules_is(r, "stop-ack-outside-stop"))
		au_request_stop_ack(req, true);
	else if (rules_is(r, "foreign-queue"))
		au_request_forward(req, r->elsewhere);
	else if (rules_is(r, "create-outside-prepare"))
		au_irq_create(dev, &irq, &made);
	else if (rules_is(r, "sleep-in-callback"))
		au_sleep_ms(dev, 1);
	else if (rules_is(r, "callback-time"))
		rules_work();
	else if (rules_is(r, "power-reference"))
		au_device_resume_idle(dev, "never taken");
	else if (rules_is(r, "work-in-surprise-removed"))
		au_device_gone(dev);
	else if (rules_is(r, "request-leaked"))
		r->kept = req;
	return r->kept == req;
}

static bool rules_break_ownership(struct rules *r, struct au_request *req)
{
	if (rules_is(r, "completion-status")) {
		au_request_complete(req, AU_EIO, 0);
		return true;
	}
	if (rules_is(r, "double-completion") || rules_is(r, "use-after-completion")) {
		au_request_complete(req, 0, req->length);
		if (rules_is(r, "double-completion"))
			au_request_complete(req, 0, 0);
		else
			au_request_is_canceled(req);
		return true;
	}
	if (rules_is(r, "unowned-completion")) {
		au_request_requeue(req);
		au_request_complete(req, 0, 0);
		return true;
	}
	if (rules_is(r, "cancelable-twice") || rules_is(r, "poll-while-cancelable") ||
	    rules_is(r, "completion-while-cancelable")) {
		if (au_request_set_cancelable(req, rules_cancel) != 0)
			return false;
		if (rules_is(r, "cancelable-twice"))
			au_request_set_cancelable(req, rules_cancel);
		if (rules_is(r, "poll-while-cancelable"))
			au_request_is_canceled(req);
		if (!rules_is(r, "completion-while-cancelable"))
			au_request_clear_cancelable(req);
	}
	return false;
}

static void rules_deliver(struct au_queue *queue, struct au_request *req)
{
	struct rules *r = au_queue_context(queue);
	uint32_t length = req->length;

	if (req->op != AU_RAW_FIRST) {
		au_request_complete(req, -AU_ENOTSUP, 0);
		return;
	}
	if (r->left && --r->left == 0) {
		r->broken = true;
		if (rules_break_ownership(r, req) ||
		    rules_break_own(au_unit_device(au_request_unit(req)), r, req))
			return;
	}
	au_request_complete(req, 0, length);
}

static int rules_unit(struct au_device *dev, struct rules *r, struct au_queue **queue)
{
	const struct au_unit_config unit_config = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config queue_config = { AU_HEAD(struct au_queue_config),
						      .kind = AU_QUEUE_PARALLEL, .context = r,
						      .deliver = rules_deliver };
	struct au_unit *unit;
	int err = au_unit_add(dev, &unit_config, &unit);

	return err ? err : au_queue_create(unit, &queue_config, queue);
}

static int rules_prepare(struct au_device *dev)
{
	struct rules *r = au_context(dev);
	int err;

	r->name = au_param_string(dev, "break");
	r->left = r->name[0] ? au_param_uint(dev, "after") : 0;
	err = rules_unit(dev, r, &r->queue);
	return err ? err : rules_unit(dev, r, &r->elsewhere);
}

static int rules_d0_entry(struct au_device *dev, enum au_power from)
{
	struct rules *r = au_context(dev);

	(void)from;
	return rules_is(r, "object-leaked") ? au_timer_create(dev, rules_tick, r, &r->timer) : 0;
}

static void rules_surprise_removed(struct au_device *dev)
{
	struct rules *r = au_context(dev);

	if (rules_is(r, "work-in-surprise-removed"))
		au_queue_set_state(r->queue, AU_QUEUE_PURGED);
}

AU_DRIVER_NOTE(AU_NAME("t-rules") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("breaks a rule of the verifier, for tests")
			       AU_MATCH_VIRTUAL AU_PARAM_STRING("break", "-", "the rule's name")
				       AU_PARAM_UINT("after", 1, 1, 1000000000,
						     "requests until then"));

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.context_size = sizeof(struct rules),
	.prepare = rules_prepare,
	.d0_entry = rules_d0_entry,
	.surprise_removed = rules_surprise_removed,
};
