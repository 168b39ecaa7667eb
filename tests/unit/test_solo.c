/* SPDX-License-Identifier: MIT */
/* Suspects run alone. */
#include "fw.h"

static int setup(void **state)
{
	fw_reset();
	return 0;
}

static void suspect(uint32_t slot)
{
	assert_int_equal(fw_send_as(slot, (struct auf_submit){ .suspect = true }), 0);
}

static void test_alone(void **state)
{
	fw_up(NULL);
	suspect(1);
	assert_int_equal(fw.progress[1].flags, AUF_OWNED | AUF_SOLO);
	fw_send(2);
	suspect(3);
	fw_expect("deliver1 ");
	assert_int_equal(fw.progress[2].flags, 0);
	fw_complete_oldest();
	/* in order: the innocent one first; the next suspect waits for it */
	fw_expect("deliver2 ");
	assert_int_equal(fw.progress[2].flags, AUF_OWNED);
	fw_send(4);
	fw_expect("");
	fw_complete_oldest();
	fw_expect("deliver3 ");
	assert_int_equal(fw.progress[3].flags, AUF_OWNED | AUF_SOLO);
	fw_complete_oldest();
	fw_expect("deliver4 ");
	fw_complete_oldest();
	assert_int_equal(fw.done_count, 4);
	fw_send(5);
	fw_send(6);
	fw_expect("deliver5 deliver6 ");
	fw_down();
}

/* The whole device, not only its queue. */
static void test_other_queues(void **state)
{
	fw.queue_count = 2;
	fw_up(NULL);
	assert_int_equal(fw_send_as(1, (struct auf_submit){ .op = FW_OP + 1 }), 0);
	suspect(2);
	assert_int_equal(fw_send_as(3, (struct auf_submit){ .op = FW_OP + 1 }), 0);
	fw_expect("deliver1 ");
	fw_complete_oldest();
	fw_expect("deliver2 ");
	fw_complete_oldest();
	fw_expect("deliver3 ");
	fw_down();
}

/* One that does no harm and takes its time does not hold the others for long. */
static void test_slow(void **state)
{
	fw_up(NULL);
	suspect(1);
	fw_send(2);
	fw_pass(190);
	fw_expect("deliver1 ");
	assert_int_equal(fw.progress[1].flags, AUF_OWNED | AUF_SOLO);
	fw_pass(20);
	fw_expect("deliver2 ");
	/* what happens now may be the fault of either */
	assert_int_equal(fw.progress[1].flags, AUF_OWNED);
	fw_down();
}

/* What was complete before the next suspect ran is known to be complete, whatever that one does. */
static void flush(struct auf_handle *handle)
{
	fw_note("flush");
}

static void test_flush(void **state)
{
	const struct auf_handle_config config = { .depth = FW_DEPTH,
						  .complete = fw_complete,
						  .flush = flush };

	fw_up(NULL);
	auf_handle_close(fw.handle, NULL, NULL);
	assert_int_equal(auf_handle_open(fw.unit, &config, &fw.handle), 0);
	fw_expect("closed opened ");
	suspect(1);
	suspect(2);
	fw_expect("deliver1 ");
	fw_complete_oldest();
	fw_expect("flush deliver2 ");
	fw_complete_oldest();
	fw_expect("flush ");
	fw_send(3);
	fw_complete_oldest();
	fw_expect("deliver3 ");
	fw_down();
}

/* Nor does one wait for ever for others, which have done no harm for long: it is as good as alone.
 */
static void test_never_alone(void **state)
{
	fw_up(NULL);
	fw_send(1);
	suspect(2);
	fw_send(3);
	fw_pass(990);
	fw_expect("deliver1 ");
	fw_pass(20);
	fw_expect("deliver2 ");
	assert_int_equal(fw.progress[1].flags, AUF_OWNED);
	assert_int_equal(fw.progress[2].flags, AUF_OWNED | AUF_SOLO);
	fw_pass(200);
	fw_expect("deliver3 ");
	fw_down();
}

/* What only waits in the class does not count. */
static void test_parked(void **state)
{
	fw_up(NULL);
	fw_send(1);
	auf_request_park(fw.held[0]);
	assert_int_equal(fw.progress[1].flags, 0);
	suspect(2);
	fw_expect("deliver1 deliver2 ");
	assert_int_equal(fw.progress[2].flags, AUF_OWNED | AUF_SOLO);
	/* parked itself, it has done no harm */
	auf_request_park(fw.held[1]);
	fw_send(3);
	fw_expect("deliver3 ");
	fw_down();
}

static void test_canceled(void **state)
{
	fw_up(NULL);
	fw_send(1);
	suspect(2);
	fw_send(3);
	fw_expect("deliver1 ");
	auf_cancel(fw.handle, 2, 2);
	fw_expect_done(0, 2, -ECANCELED);
	fw_expect("deliver3 ");
	fw_down();
}

static void ready(struct au_queue *queue)
{
	struct au_request *req;

	fw_note("ready");
	while ((req = au_queue_next(queue))) {
		fw_note("next%llu", (unsigned long long)req->arg[0]);
		fw_hold(req);
	}
}

static void test_manual(void **state)
{
	fw.queue_config[0].kind = AU_QUEUE_MANUAL;
	fw.queue_config[0].ready = ready;
	fw_up(NULL);
	fw_send(1);
	suspect(2);
	suspect(3);
	fw_send(4);
	fw_expect("ready next1 ready ");
	fw_complete_oldest();
	fw_expect("ready next2 ");
	fw_complete_oldest();
	fw_expect("ready next3 ");
	fw_complete_oldest();
	fw_expect("ready next4 ");
	fw_down();
}

static void hold_gate(struct auf_device_config *config)
{
	config->hold_gate = true;
}

static void test_gate(void **state)
{
	fw_up(hold_gate);
	suspect(1);
	fw_send(2);
	suspect(3);
	fw_pass(2000);
	fw_expect("");
	auf_device_open_gate(fw.dev);
	fw_expect("deliver1 <gate> ");
	fw_complete_oldest();
	fw_complete_oldest();
	fw_expect("deliver2 deliver3 ");
	fw_down();
}

static void test_stop(void **state)
{
	fw_up(NULL);
	fw_send(1);
	suspect(2);
	fw_send(3);
	auf_device_stop(fw.dev);
	assert_int_equal(fw.done_count, 3);
	fw_pass(2000);
	fw_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_alone, setup),
		cmocka_unit_test_setup(test_other_queues, setup),
		cmocka_unit_test_setup(test_slow, setup),
		cmocka_unit_test_setup(test_flush, setup),
		cmocka_unit_test_setup(test_never_alone, setup),
		cmocka_unit_test_setup(test_parked, setup),
		cmocka_unit_test_setup(test_canceled, setup),
		cmocka_unit_test_setup(test_manual, setup),
		cmocka_unit_test_setup(test_gate, setup),
		cmocka_unit_test_setup(test_stop, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
