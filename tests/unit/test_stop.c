/* SPDX-License-Identifier: MIT */
/* What becomes of the requests that a driver owns when its device leaves D0: see stop.c. */
#include "fw.h"

enum answer { COMPLETE, COMPLETE_LATER, REQUEUE, REQUEUE_LATER, KEEP, KEEP_LATER, CANCEL, NOTHING };

static enum answer answer_of[FW_DEPTH]; /* by request */
static struct au_request *late[FW_DEPTH];
static unsigned int late_count, asked[FW_DEPTH], resumed[FW_DEPTH];
static int result;

static void answered(void *context, int status)
{
	result = status;
}

static void clear(struct au_request *req)
{
	if (fw.cancelable)
		assert_int_equal(au_request_clear_cancelable(req), 0);
}

static void answer(struct au_request *req, enum answer what)
{
	switch (what) {
	case COMPLETE:
	case COMPLETE_LATER:
		fw_drop(req);
		clear(req);
		au_request_complete(req, 0, 0);
		break;
	case REQUEUE:
	case REQUEUE_LATER:
		fw_drop(req);
		clear(req);
		assert_int_equal(au_request_stop_ack(req, true), 0);
		break;
	case KEEP:
	case KEEP_LATER:
		assert_int_equal(au_request_stop_ack(req, false), 0);
		break;
	case CANCEL:
		fw_drop(req);
		clear(req);
		au_request_complete(req, -AU_ECANCELED, 0);
		break;
	case NOTHING:
		break;
	}
}

static bool is_late(enum answer what)
{
	return what == COMPLETE_LATER || what == REQUEUE_LATER || what == KEEP_LATER;
}

static void stop(struct au_queue *queue, struct au_request *req, uint32_t why)
{
	unsigned int n = (unsigned int)req->arg[0];

	fw_note(why == AU_STOP_POWER ? "stop%u" : "remove%u", n);
	asked[n]++;
	assert_ptr_equal(au_request_queue(req), queue);
	if (why == AU_STOP_REMOVE || !is_late(answer_of[n]))
		answer(req, answer_of[n]);
	else
		late[late_count++] = req;
}

static void resume(struct au_queue *queue, struct au_request *req)
{
	fw_note("resume%llu", (unsigned long long)req->arg[0]);
	resumed[req->arg[0]]++;
}

static int setup(void **state)
{
	fw_reset();
	fw.queue_config[0].stop = stop;
	fw.queue_config[0].resume = resume;
	memset(answer_of, 0, sizeof(answer_of));
	memset(asked, 0, sizeof(asked));
	memset(resumed, 0, sizeof(resumed));
	late_count = 0;
	result = 1;
	return 0;
}

static void with_verifier(struct auf_device_config *config)
{
	config->verify = true;
}

static void power(enum auf_power_verb verb)
{
	result = 1;
	assert_int_equal(auf_device_power(fw.dev, verb, answered, NULL), 0);
	fw_turns(4);
}

static void go_down(void)
{
	power(AUF_POWER_SUSPEND);
	while (late_count) {
		struct au_request *req = late[--late_count];

		assert_int_equal(result, 1);
		answer(req, answer_of[req->arg[0]]);
	}
	fw_turns(4);
	assert_int_equal(result, 0);
	assert_string_equal(auf_device_state_name(fw.dev), "d3");
}

/* Each way of answering, each way of owning. What ends ends once; what comes back is delivered once
 * more, and what is kept resumed once, in their old order; and then all of it ends. */
static void test_matrix(void **state)
{
	enum { OWNED, CANCELABLE, FORWARDED, TAKEN, WAYS };

	for (unsigned int what = COMPLETE; what <= CANCEL; what++) {
		for (unsigned int way = OWNED; way < WAYS; way++) {
			bool ends = what == COMPLETE || what == COMPLETE_LATER || what == CANCEL;
			unsigned int at = way == FORWARDED || way == TAKEN;

			setup(NULL);
			fw.cancelable = way == CANCELABLE;
			fw.queue_count = 2;
			fw.queue_config[1] = fw.queue_config[0];
			if (way == TAKEN)
				fw.queue_config[1].kind = AU_QUEUE_MANUAL;
			fw_up(with_verifier);
			for (unsigned int i = 1; i <= 3; i++) {
				answer_of[i] = what;
				fw_send_as(i, (struct auf_submit){ .op = way == TAKEN ? FW_OP + 1
										      : FW_OP });
			}
			for (unsigned int i = 0; way == TAKEN && i < 3; i++)
				fw.held[fw.held_count++] = au_queue_next(fw.queue[1]);
			for (unsigned int i = 0; way == FORWARDED && i < 3; i++) {
				struct au_request *req = fw.held[0];

				fw_drop(req);
				assert_int_equal(au_request_forward(req, fw.queue[1]), 0);
			}
			fw.trace[0] = '\0';
			go_down();
			fw_expect("io_stop stop1 stop2 stop3 d0_exit <D3> ");
			assert_int_equal(fw.done_count, ends ? 3 : 0);
			fw_pass(100000);
			if (!ends)
				fw_expect("");
			power(AUF_POWER_RESUME);
			if (what == KEEP || what == KEEP_LATER)
				fw_expect("d0_entry resume1 resume2 resume3 io_start <D0> ");
			else if (ends)
				fw_expect("d0_entry io_start <D0> ");
			else if (way != TAKEN)
				fw_expect("d0_entry deliver1 deliver2 deliver3 io_start <D0> ");
			for (unsigned int i = 0; way == TAKEN && !ends && what < KEEP && i < 3;
			     i++) {
				fw.held[fw.held_count++] = au_queue_next(fw.queue[at]);
				assert_int_equal(fw.held[i]->arg[0], i + 1);
			}
			while (fw.held_count)
				fw_complete_oldest();
			assert_int_equal(fw.done_count, 3);
			assert_int_equal(fw.rules, 0);
			fw_down();
		}
	}
}

/* Answers of all kinds, in any order: what comes back is before what came later. */
static void test_mixed(void **state)
{
	fw.queue_config[0].depth = 6;
	fw_up(with_verifier);
	for (unsigned int i = 1; i <= 8; i++)
		fw_send(i);
	answer_of[1] = REQUEUE_LATER;
	answer_of[2] = KEEP_LATER;
	answer_of[3] = COMPLETE;
	answer_of[4] = KEEP;
	answer_of[5] = REQUEUE;
	answer_of[6] = REQUEUE_LATER;
	fw.trace[0] = '\0';
	fw.queue_config[0].depth = 6;
	power(AUF_POWER_SUSPEND);
	fw_expect("io_stop stop1 stop2 stop3 stop4 stop5 stop6 ");
	while (late_count) {
		struct au_request *req = late[--late_count];

		answer(req, answer_of[req->arg[0]]);
	}
	fw_turns(3);
	fw_expect("d0_exit <D3> ");
	fw_send(9);
	power(AUF_POWER_RESUME);
	fw_expect("d0_entry resume2 resume4 deliver1 deliver5 deliver6 deliver7 io_start <D0> ");
	while (fw.held_count)
		fw_complete_oldest();
	assert_int_equal(fw.done_count, 9);
	assert_int_equal(fw.rules, 0);
	fw_down();
}

/* One that is completed by the stop() of another is not asked about, and one that stop() answered
 * for cannot be answered for once more. */
static void stop_others(struct au_queue *queue, struct au_request *req, uint32_t why)
{
	fw_note("stop%llu", (unsigned long long)req->arg[0]);
	while (fw.held_count)
		fw_complete_oldest();
}

static void test_completes_others(void **state)
{
	fw.queue_config[0].stop = stop_others;
	fw_up(with_verifier);
	for (unsigned int i = 1; i <= 5; i++)
		fw_send(i);
	fw.trace[0] = '\0';
	power(AUF_POWER_DOWN);
	fw_expect("io_stop stop1 d0_exit <D3> ");
	assert_int_equal(fw.done_count, 5);
	fw_down();
}

/* Cancelled while it is kept, or has been handed back: it ends at once, in D3. */
static void test_canceled_asleep(void **state)
{
	fw.cancelable = fw.cancel_completes = true;
	fw_up(with_verifier);
	fw_send(1);
	fw_send(2);
	answer_of[1] = KEEP;
	answer_of[2] = REQUEUE;
	fw.trace[0] = '\0';
	power(AUF_POWER_SUSPEND);
	assert_int_equal(auf_cancel(fw.handle, 1, 1), 0);
	fw_expect("io_stop stop1 stop2 d0_exit <D3> cancel1 ");
	assert_int_equal(auf_cancel(fw.handle, 2, 2), 0);
	assert_int_equal(fw.done_count, 2);
	power(AUF_POWER_RESUME);
	fw_expect("d0_entry io_start <D0> ");
	assert_int_equal(fw.done_count, 2);
	fw_down();
}

/* Cancelled while it is asked about: whoever comes first. */
static void test_canceled_asked(void **state)
{
	fw.cancelable = fw.cancel_completes = true;
	fw_up(with_verifier);
	fw_send(1);
	answer_of[1] = NOTHING;
	fw.trace[0] = '\0';
	power(AUF_POWER_DOWN);
	assert_int_equal(result, 1);
	assert_int_equal(auf_cancel(fw.handle, 1, 1), 0);
	fw_turns(2);
	fw_expect("io_stop stop1 cancel1 d0_exit <D3> ");
	assert_int_equal(fw.done_count, 1);
	fw_down();
}

/* Cancelled, and the driver says later that it is so: it is not asked, nor given back. */
static void test_canceled_later(void **state)
{
	fw.cancelable = true;
	fw_up(with_verifier);
	fw_send(1);
	fw_send(2);
	answer_of[2] = KEEP;
	assert_int_equal(auf_cancel(fw.handle, 1, 1), 0);
	fw.trace[0] = '\0';
	power(AUF_POWER_SUSPEND);
	fw_expect("io_stop stop2 ");
	au_request_complete(fw.held[0], -AU_ECANCELED, 0);
	fw_turns(2);
	fw_expect("d0_exit <D3> ");
	assert_int_equal(auf_cancel(fw.handle, 2, 2), 0);
	power(AUF_POWER_RESUME);
	fw_expect("cancel2 d0_entry io_start <D0> ");
	au_request_complete(fw.held[1], -AU_ECANCELED, 0);
	assert_int_equal(fw.done_count, 2);
	assert_int_equal(fw.rules, 0);
	fw.held_count = 0;
	fw_down();
}

/* Nothing, ever: it is named, and the driver has failed. */
static void test_nothing(void **state)
{
	fw_up(with_verifier);
	fw_send(1);
	answer_of[1] = NOTHING;
	fw.trace[0] = '\0';
	power(AUF_POWER_DOWN);
	fw_pass(6000);
	fw_expect("io_stop stop1 <failed> surprise_removed <gone> remove1 d0_exit release ");
	assert_string_equal(fw.rule, "stop-unanswered");
	assert_int_equal(result, -ENODEV);
	assert_int_equal(fw.done_count, 1);
	fw_expect_done(0, 1, -ENODEV);
	fw_down();
}

static void test_rules(void **state)
{
	fw_up(with_verifier);
	fw_send(1);
	assert_int_equal(au_request_stop_ack(fw.held[0], true), -AU_EINVAL);
	assert_string_equal(fw.rule, "stop-ack-outside-stop");
	assert_int_equal(fw.rules, 1);
	answer_of[1] = KEEP;
	power(AUF_POWER_DOWN);
	assert_int_equal(fw.rules, 1);
	assert_int_equal(au_request_stop_ack(fw.held[0], true), -AU_EINVAL);
	assert_int_equal(fw.rules, 2);
	power(AUF_POWER_UP);
	assert_int_equal(au_request_stop_ack(fw.held[0], false), -AU_EINVAL);
	assert_int_equal(fw.rules, 3);
	fw_complete_oldest();
	fw_down();
}

/* It goes for good, awake or asleep: each is asked about once more, and both answers end it. */
static void test_remove(void **state)
{
	for (unsigned int i = 0; i < 6; i++) {
		bool asleep = i % 2;

		setup(NULL);
		fw_up(with_verifier);
		fw_send(1);
		answer_of[1] = KEEP;
		if (asleep)
			power(AUF_POWER_SUSPEND);
		answer_of[1] = i / 2 == 0 ? KEEP : i / 2 == 1 ? REQUEUE : COMPLETE;
		fw.trace[0] = '\0';
		auf_device_stop(fw.dev);
		fw_expect(asleep ? "remove1 release " : "io_stop remove1 d0_exit release ");
		assert_int_equal(fw.done_count, 1);
		fw_expect_done(0, 1, i / 2 == 2 ? 0 : -ENODEV);
		assert_int_equal(fw.rules, 0);
		fw_down();
	}
}

/* One that is always on goes on in D3, and keeps nobody from going there. */
static void test_always_on(void **state)
{
	fw.queue_count = 2;
	fw.queue_config[1].kind = AU_QUEUE_PARALLEL;
	fw.queue_config[1].flags = AU_QUEUE_ALWAYS_ON;
	fw_up(with_verifier);
	fw_send_as(1, (struct auf_submit){ .op = FW_OP + 1 });
	fw_send(2);
	answer_of[2] = KEEP;
	fw.trace[0] = '\0';
	power(AUF_POWER_DOWN);
	fw_expect("io_stop stop2 d0_exit <D3> ");
	fw_send_as(3, (struct auf_submit){ .op = FW_OP + 1 });
	fw_turns(3);
	fw_expect("deliver3 ");
	fw_drop(fw.held[1]);
	while (fw.held_count)
		fw_complete_oldest();
	assert_int_equal(fw.done_count, 2);
	assert_string_equal(auf_device_state_name(fw.dev), "d3");
	power(AUF_POWER_SUSPEND);
	auf_device_stop(fw.dev);
	fw_down();
}

static void with_idle(struct auf_device_config *config)
{
	config->idle_ms = 100;
}

/* ... and whatever goes through it is no reason to stay in D0. */
static void test_always_on_is_idle(void **state)
{
	fw.complete_at_once = true;
	fw.queue_count = 2;
	fw.queue_config[0].stop = NULL;
	fw.queue_config[1].kind = AU_QUEUE_PARALLEL;
	fw.queue_config[1].flags = AU_QUEUE_ALWAYS_ON;
	fw_up(with_idle);
	for (unsigned int i = 0; i < 50; i++) {
		fw_send_as(1, (struct auf_submit){ .op = FW_OP + 1 });
		fw_pass(5);
	}
	assert_string_equal(auf_device_state_name(fw.dev), "d3");
	assert_int_equal(fw.done_count, 50);
	for (unsigned int i = 0; i < 50; i++) {
		fw_send_as(1, (struct auf_submit){ .op = FW_OP + 1 });
		fw_send(2);
		fw_pass(5);
	}
	assert_string_equal(auf_device_state_name(fw.dev), "d0");
	assert_int_equal(fw.done_count, 150);
	fw_down();
}

/* A queue that is stopped wakes nobody; nor does one that is told to wait for D0 lose anything. */
static void test_queue_states(void **state)
{
	fw_up(with_verifier);
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_STOPPED), 0);
	power(AUF_POWER_DOWN);
	fw.trace[0] = '\0';
	fw_send(1);
	fw_turns(3);
	fw_expect("");
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_READY), 0);
	fw_turns(3);
	fw_expect("d0_entry deliver1 io_start <D0> ");
	answer_of[1] = REQUEUE;
	power(AUF_POWER_SUSPEND);
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_PURGED), 0);
	assert_int_equal(fw.done_count, 1);
	fw_expect_done(0, 1, -ECANCELED);
	fw_down();
}

static int bad_result;

static void bad_prepare(struct au_device *dev)
{
	struct au_queue_config config = { AU_HEAD(struct au_queue_config), .kind = AU_QUEUE_MANUAL,
					  .flags = 0x80 };
	struct au_queue *queue;

	bad_result = au_queue_create(fw.unit, &config, &queue);
	assert_non_null(strstr(fw.line, "flags 0x80"));
	config.flags = 0;
	config.reserved = 1;
	assert_int_equal(au_queue_create(fw.unit, &config, &queue), -AU_EINVAL);
}

static void test_flags(void **state)
{
	fw.prepare = bad_prepare;
	fw_up(NULL);
	assert_int_equal(bad_result, -AU_EINVAL);
	fw_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_matrix, setup),
		cmocka_unit_test_setup(test_mixed, setup),
		cmocka_unit_test_setup(test_completes_others, setup),
		cmocka_unit_test_setup(test_canceled_asleep, setup),
		cmocka_unit_test_setup(test_canceled_asked, setup),
		cmocka_unit_test_setup(test_canceled_later, setup),
		cmocka_unit_test_setup(test_nothing, setup),
		cmocka_unit_test_setup(test_rules, setup),
		cmocka_unit_test_setup(test_remove, setup),
		cmocka_unit_test_setup(test_always_on, setup),
		cmocka_unit_test_setup(test_always_on_is_idle, setup),
		cmocka_unit_test_setup(test_queue_states, setup),
		cmocka_unit_test_setup(test_flags, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
