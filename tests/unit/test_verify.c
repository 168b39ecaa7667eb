/* SPDX-License-Identifier: MIT */
/* The verifier: each rule, broken once, is named; and without it nothing worse comes of it. */
#include "fw.h"

#include <limits.h>

#include "auriga/block.h"

static bool verified;

static void verify(struct auf_device_config *config)
{
	config->verify = verified;
}

static int setup(void **state)
{
	fw_reset();
	return 0;
}

/* The rule must have been named once, and have had its effect only under the verifier. */
static void broken(const char *rule)
{
	char text[128];

	snprintf(text, sizeof(text), "rule %s broken", rule);
	if (!strstr(fw.line, text))
		fail_msg("'%s' does not name '%s'", fw.line, rule);
	assert_int_equal(fw.rules, verified ? 1 : 0);
	if (verified)
		assert_string_equal(fw.rule, rule);
	fw.rules = 0;
	fw.line[0] = '\0';
}

static void each(void (*test)(void))
{
	for (int i = 0; i < 2; i++) {
		verified = i;
		fw_reset();
		test();
		assert_int_equal(fw.rules, 0);
		fw_down();
	}
}

static void double_completion(void)
{
	struct au_request *req;

	fw_up(verify);
	fw_send(1);
	req = fw.held[0];
	fw_complete_oldest();
	au_request_complete(req, 0, 0);
	broken("double-completion");
	assert_int_equal(fw.done_count, 1);
	fw_send(1);
	fw_complete_oldest();
	assert_int_equal(fw.done_count, 2);
}

static void test_double_completion(void **state)
{
	each(double_completion);
}

/* The slot is used again meanwhile: only the verifier can tell. */
static void test_double_completion_reused(void **state)
{
	struct au_request *req;

	verified = true;
	fw_up(verify);
	fw_send(1);
	req = fw.held[0];
	fw_complete_oldest();
	fw_send(1);
	assert_ptr_not_equal(fw.held[0], req);
	/* and what it held is gone */
	assert_int_equal(req->op, 0xdbdb);
	au_request_complete(req, 0, 0);
	broken("double-completion");
	assert_int_equal(fw.done_count, 1);
	fw_complete_oldest();
	assert_int_equal(fw.done_count, 2);
	fw_down();
}

static void unowned_completion(void)
{
	struct au_request *req;

	fw.queue_config[0].kind = AU_QUEUE_SEQUENTIAL;
	fw_up(verify);
	fw_send(1);
	req = fw.held[0];
	au_request_requeue(req);
	fw.held_count = 0;
	au_request_complete(req, 0, 0);
	broken("unowned-completion");
	assert_int_equal(fw.done_count, 0);
	assert_int_equal(au_request_set_cancelable(req, fw_canceled), -AU_EINVAL);
	broken("unowned-completion");
	fw_turns(2);
	fw_complete_oldest();
	assert_int_equal(fw.done_count, 1);
}

static void test_unowned_completion(void **state)
{
	each(unowned_completion);
}

static void use_after_completion(void)
{
	struct au_request *req;

	fw_up(verify);
	fw_send(1);
	req = fw.held[0];
	fw_complete_oldest();
	assert_int_equal(au_request_set_cancelable(req, fw_canceled), -AU_EINVAL);
	broken("use-after-completion");
	assert_int_equal(au_request_clear_cancelable(req), -AU_ECANCELED);
	broken("use-after-completion");
	assert_true(au_request_is_canceled(req));
	broken("use-after-completion");
	assert_int_equal(au_request_requeue(req), -AU_EINVAL);
	broken("use-after-completion");
	assert_int_equal(au_request_forward(req, fw.queue[0]), -AU_EINVAL);
	broken("use-after-completion");
	assert_int_equal(fw.done_count, 1);
}

static void test_use_after_completion(void **state)
{
	each(use_after_completion);
}

static void completion_while_cancelable(void)
{
	fw_up(verify);
	fw_send(1);
	fw_send(2);
	assert_int_equal(au_request_set_cancelable(fw.held[0], fw_canceled), 0);
	assert_int_equal(au_request_set_cancelable(fw.held[1], fw_canceled), 0);
	au_request_complete(fw.held[0], 0, 0);
	broken("completion-while-cancelable");
	fw_expect_done(0, 1, 0);
	au_request_requeue(fw.held[1]);
	broken("completion-while-cancelable");
	fw.held_count = 0;
	fw_turns(1);
	auf_cancel(fw.handle, 2, 2);
	fw_expect("deliver1 deliver2 deliver2 ");
	fw_complete_oldest();
}

static void test_completion_while_cancelable(void **state)
{
	each(completion_while_cancelable);
}

static void cancelable_twice(void)
{
	fw_up(verify);
	fw_send(1);
	assert_int_equal(au_request_set_cancelable(fw.held[0], fw_canceled), 0);
	assert_int_equal(au_request_set_cancelable(fw.held[0], fw_canceled), -AU_EINVAL);
	broken("cancelable-twice");
	assert_int_equal(au_request_set_cancelable(fw.held[0], NULL), -AU_EINVAL);
	fw.cancelable = true;
	fw_complete_oldest();
	assert_int_equal(fw.done_count, 1);
}

static void test_cancelable_twice(void **state)
{
	each(cancelable_twice);
}

static void unmatched_clear(void)
{
	fw_up(verify);
	fw_send(1);
	assert_int_equal(au_request_clear_cancelable(fw.held[0]), 0);
	broken("unmatched-clear");
	fw_complete_oldest();
}

static void test_unmatched_clear(void **state)
{
	each(unmatched_clear);
}

static void poll_while_cancelable(void)
{
	fw_up(verify);
	fw_send(1);
	assert_int_equal(au_request_set_cancelable(fw.held[0], fw_canceled), 0);
	assert_false(au_request_is_canceled(fw.held[0]));
	broken("poll-while-cancelable");
	fw.cancelable = true;
	fw_complete_oldest();
}

static void test_poll_while_cancelable(void **state)
{
	each(poll_while_cancelable);
}

static struct au_unit *second_unit;
static struct au_queue *second_queue;

static void two_units(struct au_device *dev)
{
	const struct au_unit_config unit = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config queue = { AU_HEAD(struct au_queue_config),
					       .kind = AU_QUEUE_MANUAL };

	assert_int_equal(au_unit_add(dev, &unit, &second_unit), 0);
	assert_int_equal(au_queue_create(second_unit, &queue, &second_queue), 0);
}

static void foreign_queue(void)
{
	fw.prepare = two_units;
	fw_up(verify);
	fw_send(1);
	assert_int_equal(au_request_forward(fw.held[0], second_queue), -AU_EINVAL);
	broken("foreign-queue");
	fw_complete_oldest();
	assert_int_equal(fw.done_count, 1);
}

static void test_foreign_queue(void **state)
{
	each(foreign_queue);
}

static void request_leaked(void)
{
	fw_up(verify);
	fw_send(1);
	auf_device_stop(fw.dev);
	broken("request-leaked");
	fw_expect_done(0, 1, -ENODEV);
	/* the driver comes too late */
	au_request_complete(fw.held[0], 0, 0);
	broken("double-completion");
	assert_int_equal(fw.done_count, 1);
}

static void test_request_leaked(void **state)
{
	each(request_leaked);
}

static void test_request_changed(void **state)
{
	verified = true;
	fw_up(verify);
	fw_send(1);
	fw.held[0]->driver[0] = &fw; /* that is what it is for */
	fw_complete_oldest();
	assert_int_equal(fw.rules, 0);
	fw_send(2);
	fw.held[0]->length--;
	fw_complete_oldest();
	broken("request-changed");
	fw_send(3);
	fw.held[0]->arg[1]++;
	fw_complete_oldest();
	broken("request-changed");
	assert_int_equal(fw.done_count, 3);
	fw_down();
}

static void test_completion_status(void **state)
{
	static const int wrong[] = { 1, 4096, INT_MAX, -4096, INT_MIN };

	verified = true;
	fw_up(verify);
	for (unsigned int i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		fw_send(i);
		fw.held_count = 0;
		au_request_complete(fw.held[0], wrong[i], 0);
		broken("completion-status");
		fw_expect_done(i, i, -EIO);
	}
	fw_down();
}

static struct au_block *disk;

static void with_disk(struct au_device *dev)
{
	const struct au_block_config config = { AU_HEAD(struct au_block_config),
						.deliver = fw_deliver, .depth = 4, .bytes = 1 << 20,
						.block_size = 512 };

	assert_int_equal(au_block_add(dev, &config, &disk), 0);
}

/* Of a unit whose results are numbers of bytes; of a raw unit they are what its driver likes. */
static void test_completion_too_long(void **state)
{
	static char data[512];
	struct auf_submit read = { .op = AU_BLOCK_READ,
				   .length = sizeof(data),
				   .data = data,
				   .tag = 1,
				   .progress = &fw.progress[1] };
	const struct auf_handle_config config = { .depth = FW_DEPTH, .complete = fw_complete };
	struct auf_handle *handle;

	verified = true;
	fw.prepare = with_disk;
	fw_up(verify);
	assert_int_equal(auf_handle_open(au_block_unit(disk), &config, &handle), 0);
	assert_int_equal(auf_submit(handle, 1, &read), 0);
	au_request_complete(fw.held[0], 0, 512);
	assert_int_equal(fw.rules, 0);
	assert_int_equal(auf_submit(handle, 1, &read), 0);
	au_request_complete(fw.held[1], 0, 513);
	broken("completion-too-long");
	fw_expect_done(1, 1, 0);
	assert_int_equal(fw.done[1].result, 512);
	fw.held_count = 0;
	fw_send(2);
	au_request_complete(fw.held[0], 0, UINT32_MAX);
	assert_int_equal(fw.done[2].result, UINT32_MAX);
	auf_handle_close(handle, NULL, NULL);
	fw_down();
}

/* Everything in order under the verifier: not a word. */
static void test_clean(void **state)
{
	verified = true;
	fw.cancelable = fw.cancel_completes = true;
	fw_up(verify);
	fw.lines = 0;
	for (int round = 0; round < 200; round++) {
		for (uint32_t i = 0; i < 8; i++)
			fw_send(i);
		auf_cancel(fw.handle, 3, 3);
		while (fw.held_count)
			fw_complete_oldest();
		fw.trace[0] = '\0';
	}
	assert_int_equal(fw.done_count, 1600);
	assert_int_equal(fw.lines, 0);
	fw_down();
	assert_int_equal(fw.rules, 0);
}

/* Each rule has a name and a text, and no two the same. */
static void test_names(void **state)
{
	const char *text, *name;
	unsigned int count = 0;

	while ((name = auf_rule(count, &text))) {
		assert_true(strlen(name) > 3 && strlen(text) > 10);
		for (unsigned int i = 0; i < count; i++)
			assert_string_not_equal(name, auf_rule(i, NULL));
		count++;
	}
	assert_true(count >= 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_double_completion, setup),
		cmocka_unit_test_setup(test_double_completion_reused, setup),
		cmocka_unit_test_setup(test_unowned_completion, setup),
		cmocka_unit_test_setup(test_use_after_completion, setup),
		cmocka_unit_test_setup(test_completion_while_cancelable, setup),
		cmocka_unit_test_setup(test_cancelable_twice, setup),
		cmocka_unit_test_setup(test_unmatched_clear, setup),
		cmocka_unit_test_setup(test_poll_while_cancelable, setup),
		cmocka_unit_test_setup(test_foreign_queue, setup),
		cmocka_unit_test_setup(test_request_leaked, setup),
		cmocka_unit_test_setup(test_request_changed, setup),
		cmocka_unit_test_setup(test_completion_status, setup),
		cmocka_unit_test_setup(test_completion_too_long, setup),
		cmocka_unit_test_setup(test_clean, setup),
		cmocka_unit_test_setup(test_names, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
