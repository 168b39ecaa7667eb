/* SPDX-License-Identifier: MIT */
/* Queues: what they deliver when, in every kind and state. */
#include "fw.h"

static int setup(void **state)
{
	fw_reset();
	return 0;
}

static void test_parallel(void **state)
{
	fw.queue_config[0].depth = 3;
	fw_up(NULL);
	for (uint32_t i = 1; i <= 5; i++)
		fw_send(i);
	fw_expect("deliver1 deliver2 deliver3 ");
	fw_complete_oldest();
	fw_expect("deliver4 ");
	while (fw.held_count)
		fw_complete_oldest();
	fw_expect("deliver5 ");
	assert_int_equal(fw.done_count, 5);
	for (uint32_t i = 0; i < 5; i++) {
		fw_expect_done(i, i + 1, 0);
		assert_int_equal(fw.done[i].result, 1001 + i);
	}
	fw_down();
}

static void test_unbounded(void **state)
{
	fw_up(NULL);
	for (uint32_t i = 0; i < FW_DEPTH; i++)
		fw_send(i);
	assert_int_equal(fw.held_count, FW_DEPTH);
	fw_down();
}

static void test_sequential(void **state)
{
	fw.queue_config[0].kind = AU_QUEUE_SEQUENTIAL;
	fw_up(NULL);
	for (uint32_t i = 1; i <= 3; i++)
		fw_send(i);
	fw_expect("deliver1 ");
	/* ahead of its turn, if the driver wants */
	assert_int_equal(au_queue_next(fw.queue[0])->arg[0], 2);
	fw_complete_oldest();
	fw_expect("");
	fw_down();
}

static void ready(struct au_queue *queue)
{
	fw_note("ready");
}

static void test_manual(void **state)
{
	struct au_request *req;

	fw.queue_config[0].kind = AU_QUEUE_MANUAL;
	fw.queue_config[0].ready = ready;
	fw_up(NULL);
	assert_null(au_queue_next(fw.queue[0]));
	fw_send(1);
	fw_send(2);
	fw_expect("ready ");
	req = au_queue_next(fw.queue[0]);
	assert_int_equal(req->arg[0], 1);
	assert_int_equal(fw.progress[1].flags, AUF_OWNED);
	assert_int_equal(fw.progress[2].flags, 0);
	au_request_complete(req, 0, 0);
	fw_send(3);
	fw_expect("");
	au_request_complete(au_queue_next(fw.queue[0]), 0, 0);
	au_request_complete(au_queue_next(fw.queue[0]), 0, 0);
	assert_null(au_queue_next(fw.queue[0]));
	assert_int_equal(fw.done_count, 3);
	fw_send(4);
	fw_expect("ready ");
	auf_device_stop(fw.dev);
	fw_expect_done(3, 4, -ENODEV);
	fw_down();
}

static void test_route(void **state)
{
	fw.queue_count = 2;
	fw.queue_config[1].kind = AU_QUEUE_MANUAL;
	fw_up(NULL);
	assert_int_equal(au_queue_route(fw.queue[0], FW_OP + 1), -AU_EBUSY);
	assert_int_equal(fw_send_as(1, (struct auf_submit){ .op = FW_OP }), 0);
	assert_int_equal(fw_send_as(2, (struct auf_submit){ .op = FW_OP + 1 }), 0);
	assert_int_equal(fw_send_as(3, (struct auf_submit){ .op = FW_OP + 2 }), 0);
	fw_expect("deliver1 deliver3 ");
	/* below the driver's own numbers */
	assert_int_equal(fw_send_as(4, (struct auf_submit){ .op = FW_OP - 1 }), 0);
	fw_expect_done(0, 4, -ENOTSUP);
	fw_down();
}

static void test_slots(void **state)
{
	fw_up(NULL);
	fw_send(1);
	assert_int_equal(fw_send_as(1, (struct auf_submit){ 0 }), -EBUSY);
	assert_int_equal(auf_submit(fw.handle, FW_DEPTH, &(struct auf_submit){ 0 }), -EINVAL);
	fw_complete_oldest();
	fw_send(1);
	fw_down();
}

/* Completion from within deliver(), whose answer is the next request: no recursion, no end. */
static unsigned int nested_left;
static char *nested_low, *nested_high;

static void nested_done(uint64_t tag)
{
	char *here = __builtin_frame_address(0); /* where locals are not, for ASan */

	nested_low = !nested_low || here < nested_low ? here : nested_low;
	nested_high = !nested_high || here > nested_high ? here : nested_high;
	if (nested_left && --nested_left)
		fw_send((uint32_t)(tag + 1) % FW_DEPTH);
}

static void test_nested(void **state)
{
	fw.complete_at_once = true;
	fw.on_done = nested_done;
	nested_left = 2000;
	fw_up(NULL);
	fw_send(0);
	/* not all in one go either: others want the lane */
	assert_true(fw.done_count < 1000);
	fw_turns(100);
	assert_int_equal(fw.done_count, 2000);
	assert_true(nested_high - nested_low < 4096);
	fw.on_done = NULL;
	fw_down();
}

/* ------------------------------------------------------------------- states */

static void test_stopped(void **state)
{
	fw_up(NULL);
	fw_send(1);
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_STOPPED), 0);
	assert_int_equal(au_queue_state(fw.queue[0]), AU_QUEUE_STOPPED);
	fw_send(2);
	fw_expect("deliver1 ");
	assert_null(au_queue_next(fw.queue[0]));
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_READY), -AU_EBUSY);
	fw_complete_oldest();
	fw_expect("settled1 ");
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_DRAINING), -AU_EINVAL);
	fw_send(3);
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_READY), 0);
	fw_expect("deliver2 deliver3 ");
	fw_down();
}

static void test_draining(void **state)
{
	fw.queue_config[0].kind = AU_QUEUE_SEQUENTIAL;
	fw_up(NULL);
	fw_send(1);
	fw_send(2);
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_DRAINING), 0);
	fw_send(3);
	fw_expect_done(0, 3, -EAGAIN);
	fw_complete_oldest();
	fw_expect("deliver1 deliver2 ");
	fw_complete_oldest();
	fw_expect("settled2 ");
	/* stopping opens it for requests again */
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_STOPPED), 0);
	fw_expect("settled1 ");
	fw_send(4);
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_READY), 0);
	fw_expect("deliver4 ");
	fw_down();
}

static void test_purged(void **state)
{
	fw.queue_config[0].depth = 2;
	fw_up(NULL);
	fw_send(1);
	fw.cancelable = fw.cancel_completes = true;
	fw_send(2);
	fw_send(3);
	fw_expect("deliver1 deliver2 ");
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_PURGED), 0);
	fw_expect("cancel2 ");
	assert_int_equal(fw.done_count, 2);
	assert_int_equal(fw.done[0].status, -ECANCELED);
	assert_int_equal(fw.done[1].status, -ECANCELED);
	fw_send(4);
	fw_expect_done(2, 4, -ECANCELED);
	/* what is made cancelable behind the sweep must not hold it up */
	assert_int_equal(au_request_set_cancelable(fw.held[0], fw_canceled), -AU_ECANCELED);
	fw.cancelable = false;
	fw_complete_oldest();
	fw_expect("settled3 ");
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_READY), 0);
	fw_send(5);
	fw_expect("deliver5 ");
	fw_down();
}

static void test_purge_manual(void **state)
{
	fw.queue_config[0].kind = AU_QUEUE_MANUAL;
	fw_up(NULL);
	fw_send(1);
	fw_send(2);
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_PURGED), 0);
	fw_expect("settled3 ");
	fw_expect_done(0, 1, -ECANCELED);
	fw_expect_done(1, 2, -ECANCELED);
	fw_down();
}

/* A sender that sends again from each refusal sees each refused, once, and a purge that ends. */
static void resend(uint64_t tag)
{
	if (tag < 20)
		fw_send((uint32_t)tag + 1);
}

static void test_purge_resend(void **state)
{
	fw.queue_config[0].kind = AU_QUEUE_MANUAL;
	fw_up(NULL);
	fw.on_done = resend;
	fw_send(1);
	assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_PURGED), 0);
	assert_int_equal(fw.done_count, 20);
	fw_expect("settled3 ");
	fw_down();
}

static void test_states_all(void **state)
{
	/* with nothing there every change settles at once */
	fw_up(NULL);
	for (unsigned int from = 0; from < 4; from++)
		for (unsigned int to = 0; to < 4; to++) {
			int want = from == AU_QUEUE_STOPPED && to == AU_QUEUE_DRAINING ? -AU_EINVAL
										       : 0;

			assert_int_equal(au_queue_set_state(fw.queue[0], AU_QUEUE_READY), 0);
			if (from)
				assert_int_equal(au_queue_set_state(fw.queue[0], from), 0);
			fw.trace[0] = '\0';
			assert_int_equal(au_queue_set_state(fw.queue[0], to), want);
			if (to && !want)
				assert_int_equal(fw.trace[7], '0' + (int)to);
		}
	assert_int_equal(au_queue_set_state(fw.queue[0], 4), -AU_EINVAL);
	au_queue_set_state(fw.queue[0], AU_QUEUE_READY);
	fw_down();
}

/* ----------------------------------------------------- handing back, forwarding */

static void test_requeue(void **state)
{
	fw.queue_config[0].kind = AU_QUEUE_SEQUENTIAL;
	fw_up(NULL);
	fw_send(1);
	fw_send(2);
	assert_int_equal(au_request_requeue(fw.held[0]), 0);
	fw.held_count = 0;
	assert_int_equal(fw.progress[1].flags, 0);
	/* not before the lane's next turn, and in its old place */
	fw_expect("deliver1 ");
	fw_turns(1);
	fw_expect("deliver1 ");
	fw_complete_oldest();
	fw_expect("deliver2 ");
	fw_down();
}

static void always_back(struct au_queue *queue, struct au_request *req)
{
	au_request_requeue(req);
}

/* A driver that hands back whatever it gets uses the lane, but does not hold it. */
static void test_requeue_for_ever(void **state)
{
	fw_up(NULL);
	fw.deliver = always_back;
	fw_send(1);
	fw_send(2);
	fw_turns(10);
	assert_int_equal(fw.done_count, 0);
	assert_int_equal(auf_cancel(fw.handle, 1, 1), 0);
	fw_expect_done(0, 1, -ECANCELED);
	fw.deliver = NULL;
	fw_turns(2);
	assert_int_equal(fw.held_count, 1);
	fw_down();
}

static void test_requeue_canceled(void **state)
{
	fw_up(NULL);
	fw_send(1);
	assert_int_equal(auf_cancel(fw.handle, 1, 1), 0);
	assert_int_equal(fw.done_count, 0);
	assert_int_equal(au_request_requeue(fw.held[0]), 0);
	fw.held_count = 0;
	fw_expect_done(0, 1, -ECANCELED);
	fw_turns(3);
	fw_expect("deliver1 ");
	fw_down();
}

static void test_forward(void **state)
{
	fw.queue_count = 2;
	fw.queue_config[0].depth = 1;
	fw.queue_config[1].kind = AU_QUEUE_MANUAL;
	fw.queue_config[1].ready = ready;
	fw_up(NULL);
	fw_send(1);
	fw_send(2);
	fw_expect("deliver1 ");
	assert_int_equal(au_request_forward(fw.held[0], fw.queue[1]), 0);
	fw_drop(fw.held[0]);
	fw_expect("ready deliver2 ");
	assert_int_equal(au_queue_next(fw.queue[1])->arg[0], 1);
	fw_down();
}

static void test_forward_purged(void **state)
{
	fw.queue_count = 2;
	fw.queue_config[1].kind = AU_QUEUE_MANUAL;
	fw_up(NULL);
	au_queue_set_state(fw.queue[1], AU_QUEUE_PURGED);
	fw_send(1);
	assert_int_equal(au_request_forward(fw.held[0], fw.queue[1]), 0);
	fw.held_count = 0;
	fw_expect_done(0, 1, -ECANCELED);
	fw_down();
}

static int prepare_err[4];

static void prepare_wrong(struct au_device *dev)
{
	const struct au_queue_config wrong[] = {
		{ .size = 4, .abi = AU_ABI, .deliver = fw_deliver },
		{ AU_HEAD(struct au_queue_config), .kind = AU_QUEUE_PARALLEL },
		{ AU_HEAD(struct au_queue_config), .kind = 7, .deliver = fw_deliver },
		{ .size = sizeof(wrong[0]), .abi = 2, .deliver = fw_deliver },
	};
	struct au_queue *queue;

	for (unsigned int i = 0; i < 4; i++)
		prepare_err[i] = au_queue_create(fw.unit, &wrong[i], &queue);
}

static void test_wrong_config(void **state)
{
	fw.prepare = prepare_wrong;
	fw_up(NULL);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(prepare_err[i], -AU_EINVAL);
	assert_int_equal(prepare_err[3], -AU_EPROTO);
	fw_down();
}

static void test_no_queue(void **state)
{
	fw.queue_count = 0;
	fw_up(NULL);
	fw_send(1);
	fw_expect_done(0, 1, -ENOTSUP);
	fw_down();
}

static void seen(struct au_queue *queue, struct au_request *req)
{
	assert_ptr_equal(au_request_queue(req), queue);
	assert_ptr_equal(au_request_unit(req), fw.unit);
	assert_int_equal(au_request_handle(req), 55);
	assert_int_equal(req->flags, AU_REQ_REPLAY);
	assert_ptr_equal(req->data, fw.trace);
	assert_null(req->driver[0]);
	req->driver[0] = req;
	au_request_complete_status(req, -AU_EIO, 3, 77);
}

static void test_request(void **state)
{
	fw.deliver = seen;
	fw_up(NULL);
	for (int i = 0; i < 3; i++)
		assert_int_equal(fw_send_as(5, (struct auf_submit){ .flags = AU_REQ_REPLAY,
								    .data = fw.trace,
								    .tag = 55 }),
				 0);
	fw_expect_done(2, 55, -EIO);
	assert_int_equal(fw.done[2].result, 3);
	fw_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_parallel, setup),
		cmocka_unit_test_setup(test_unbounded, setup),
		cmocka_unit_test_setup(test_sequential, setup),
		cmocka_unit_test_setup(test_manual, setup),
		cmocka_unit_test_setup(test_route, setup),
		cmocka_unit_test_setup(test_slots, setup),
		cmocka_unit_test_setup(test_nested, setup),
		cmocka_unit_test_setup(test_stopped, setup),
		cmocka_unit_test_setup(test_draining, setup),
		cmocka_unit_test_setup(test_purged, setup),
		cmocka_unit_test_setup(test_purge_manual, setup),
		cmocka_unit_test_setup(test_purge_resend, setup),
		cmocka_unit_test_setup(test_states_all, setup),
		cmocka_unit_test_setup(test_requeue, setup),
		cmocka_unit_test_setup(test_requeue_for_ever, setup),
		cmocka_unit_test_setup(test_requeue_canceled, setup),
		cmocka_unit_test_setup(test_forward, setup),
		cmocka_unit_test_setup(test_forward_purged, setup),
		cmocka_unit_test_setup(test_wrong_config, setup),
		cmocka_unit_test_setup(test_no_queue, setup),
		cmocka_unit_test_setup(test_request, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
