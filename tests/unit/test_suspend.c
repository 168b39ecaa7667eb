/* SPDX-License-Identifier: MIT */
/* Suspend and resume of the system: who goes when, and who is not waited for. Hosts are sockets. */
#include "manager/device.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define SUSPEND_MS 60

/* A device that runs, and this end of its host. */
struct fake {
	struct mgr_device dev;
	struct mgr_host host;
	struct au_status status;
	int end;
};

static struct mgr mgr;
static char dir[] = "/tmp/au-suspend-XXXXXX";

static void run_over(struct au_loop_timer *timer)
{
	au_loop_stop(timer->context);
}

static void run_ms(unsigned int ms)
{
	struct au_loop_timer over = { .expired = run_over, .context = mgr.loop };

	au_loop_timer_set(mgr.loop, &over, ms);
	au_loop_run(mgr.loop);
}

static int setup(void **state)
{
	char path[64];

	(void)state;
	memset(&mgr, 0, sizeof(mgr));
	memcpy(dir + strlen(dir) - 6, "XXXXXX", 6);
	if (!mkdtemp(dir))
		return -1;
	snprintf(mgr.dir, sizeof(mgr.dir), "%s", dir);
	snprintf(path, sizeof(path), "%s/state", dir);
	mkdir(path, 0700);
	mgr.loop = au_loop_create();
	au_list_init(&mgr.devices);
	au_list_init(&mgr.dying);
	au_list_init(&mgr.power_calls);
	au_log_set_level(AU_LOG_ERROR);
	return mgr.loop ? 0 : -1;
}

static void remove_file(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (unlink(path))
		rmdir(path);
}

static int teardown(void **state)
{
	(void)state;
	while (!au_list_empty(&mgr.devices)) {
		struct mgr_device *dev = AU_CONTAINER(mgr.devices.next, struct mgr_device, node);
		struct fake *f = AU_CONTAINER(dev, struct fake, dev);
		char path[64];

		snprintf(path, sizeof(path), "state/%s.json", dev->spec.name);
		remove_file(path);
		au_list_remove(&dev->node);
		au_loop_timer_cancel(&dev->save);
		au_loop_timer_cancel(&dev->retry);
		au_loop_timer_cancel(&dev->idle);
		au_loop_timer_cancel(&dev->deadline);
		au_loop_timer_cancel(&dev->power.due);
		close(f->end);
		close(f->host.control);
		free(f);
	}
	au_loop_timer_cancel(&mgr.power_step);
	au_loop_destroy(mgr.loop);
	remove_file("suspended");
	remove_file("state");
	rmdir(dir);
	return 0;
}

static struct fake *device(const char *name, const char *needs)
{
	struct fake *f = calloc(1, sizeof(*f));
	char error[200];
	int pair[2];

	assert_non_null(f);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	mgr_spec_init(&f->dev.spec, 0);
	f->dev.spec.policy.suspend_ms = SUSPEND_MS;
	assert_int_equal(mgr_spec_set(&f->dev.spec, "device", "name", name, error, sizeof(error)),
			 0);
	assert_int_equal(mgr_spec_set(&f->dev.spec, "device", "needs", needs, error, sizeof(error)),
			 0);
	f->dev.mgr = f->host.mgr = &mgr;
	f->dev.state = MGR_RUNNING;
	f->dev.host = &f->host;
	f->dev.state_fd = f->dev.retained_fd = f->dev.claim_fd = f->dev.host_listen_fd = -1;
	au_list_init(&f->dev.clients);
	au_list_init(&f->dev.channels);
	au_list_init(&f->dev.calls);
	for (unsigned int i = 0; i < AU_BUS_FDS; i++)
		f->dev.session.fds[i] = -1;
	mgr_budget_init(&f->dev.budget);
	mgr_device_timers(&f->dev);
	mgr_power_init(&f->dev);
	f->host.dev = &f->dev;
	f->host.state = MGR_HOST_READY;
	f->host.recorder.status = &f->status;
	f->host.control = pair[0];
	f->host.pidfd = -1;
	f->end = pair[1];
	au_list_add_tail(&mgr.devices, &f->dev.node);
	return f;
}

/* What it was told. Return: the verb, or -1: nothing. */
static int told(const struct fake *f, uint32_t *seq)
{
	struct au_hm_power msg;
	ssize_t n = recv(f->end, &msg, sizeof(msg), 0);

	if (n < 0)
		return -1;
	assert_int_equal(n, sizeof(msg));
	assert_int_equal(msg.head.type, AU_HM_POWER);
	assert_int_not_equal(msg.seq, 0);
	*seq = msg.seq;
	return (int)msg.verb;
}

static int answer(struct fake *f, uint32_t seq, int result)
{
	const struct au_hm_powered msg = { .seq = seq, .result = result };

	return mgr_power_answered(&f->dev, &msg, sizeof(msg));
}

/* It is told this, and does it. */
static void follow(struct fake *f, int verb)
{
	uint32_t seq;

	assert_int_equal(told(f, &seq), verb);
	assert_int_equal(answer(f, seq, 0), 0);
}

static bool marked(void)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/suspended", dir);
	return access(path, F_OK) == 0;
}

static void first_those_that_need_others(void **state)
{
	struct fake *b = device("b", "a, nobody"), *a = device("a", ""), *c = device("c", "b");
	struct fake *d = device("d", "");
	uint32_t seq, seq_d;

	(void)state;
	mgr_power_system(&mgr, true);
	assert_true(marked());
	run_ms(1);
	assert_int_equal(told(a, &seq), -1);
	assert_int_equal(told(b, &seq), -1);
	assert_int_equal(told(d, &seq_d), AU_POWER_VERB_SUSPEND);
	follow(c, AU_POWER_VERB_SUSPEND);
	run_ms(1);
	assert_int_equal(told(a, &seq), -1);
	follow(b, AU_POWER_VERB_SUSPEND);
	run_ms(1);
	follow(a, AU_POWER_VERB_SUSPEND);
	assert_false(mgr_power_reached(&mgr));
	assert_int_equal(answer(d, seq_d, 0), 0);
	assert_true(mgr_power_reached(&mgr));
	assert_string_equal(mgr_device_state(&a->dev), "suspended");

	mgr_power_system(&mgr, false);
	assert_false(marked());
	run_ms(1);
	assert_int_equal(told(b, &seq), -1);
	assert_int_equal(told(c, &seq), -1);
	follow(d, AU_POWER_VERB_RESUME);
	follow(a, AU_POWER_VERB_RESUME);
	run_ms(1);
	follow(b, AU_POWER_VERB_RESUME);
	run_ms(1);
	assert_false(mgr_power_reached(&mgr));
	follow(c, AU_POWER_VERB_RESUME);
	assert_true(mgr_power_reached(&mgr));
	assert_string_equal(mgr_device_state(&a->dev), "running");
}

static void who_does_not_answer_is_killed(void **state)
{
	struct fake *stuck = device("stuck", "good"), *good = device("good", "");
	uint32_t seq;

	(void)state;
	mgr_power_system(&mgr, true);
	run_ms(SUSPEND_MS / 2);
	assert_int_equal(stuck->host.state, MGR_HOST_READY);
	run_ms(SUSPEND_MS);
	assert_int_equal(stuck->host.state, MGR_HOST_KILLED);
	assert_int_equal(stuck->host.verdict, MGR_VERDICT_HANG);
	assert_int_equal(told(good, &seq), -1);
	/* It does not even die, and still holds nobody up. */
	run_ms(MGR_DYING_MS + 20);
	follow(good, AU_POWER_VERB_SUSPEND);
	assert_true(mgr_power_reached(&mgr));
}

static void its_death_is_as_good_as_an_answer(void **state)
{
	struct fake *f = device("f", "");
	uint32_t seq;

	(void)state;
	mgr_power_system(&mgr, true);
	run_ms(1);
	assert_int_equal(told(f, &seq), AU_POWER_VERB_SUSPEND);
	f->status.power_ups = 3;
	f->dev.host = NULL;
	mgr_power_dead(&f->dev, &f->host);
	assert_true(mgr_power_reached(&mgr));
	/* What follows waits for resume. */
	mgr_device_set(&f->dev, MGR_RESTARTING, "its host died");
	mgr_device_begin(&f->dev);
	assert_true(f->dev.power.deferred);
	assert_int_equal(f->dev.generation, 0);
	assert_string_equal(mgr_device_state(&f->dev), "waiting");
	assert_int_equal(f->dev.power.ups, 3);
	/* Quarantined meanwhile: nobody waits for it. */
	mgr_device_set(&f->dev, MGR_QUARANTINED, "too often");
	assert_false(f->dev.power.deferred);
	mgr_power_system(&mgr, false);
	run_ms(1);
	assert_true(mgr_power_reached(&mgr));
}

static void an_error_is_an_answer_too(void **state)
{
	struct fake *f = device("f", "");
	uint32_t seq;

	(void)state;
	mgr_power_system(&mgr, true);
	run_ms(1);
	assert_int_equal(told(f, &seq), AU_POWER_VERB_SUSPEND);
	assert_int_equal(answer(f, seq, -EIO), 0);
	assert_int_equal(f->host.state, MGR_HOST_KILLED);
	assert_non_null(strstr(f->host.why, "could not suspend"));
	/* Held: nothing of the kind. */
	f->host.state = MGR_HOST_READY;
	f->dev.held = true;
	run_ms(SUSPEND_MS + MGR_DYING_MS + 20);
	assert_true(mgr_power_reached(&mgr));
	assert_int_equal(f->host.state, MGR_HOST_READY);
}

static void nonsense_is_told_apart(void **state)
{
	struct fake *f = device("f", "");
	const struct au_hm_powered bad[] = { { .seq = 0 },
					     { .seq = 1, .result = 5 },
					     { .seq = 1, .result = -5000 },
					     { .seq = 1, .result = INT32_MIN } };
	uint32_t seq;

	(void)state;
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(mgr_power_answered(&f->dev, &bad[i], sizeof(bad[i])), -EPROTO);
	assert_int_equal(mgr_power_answered(&f->dev, &bad[1], sizeof(bad[1]) - 1), -EPROTO);
	mgr_power_system(&mgr, true);
	run_ms(1);
	assert_int_equal(told(f, &seq), AU_POWER_VERB_SUSPEND);
	/* The answer to something else, or to nothing. */
	assert_int_equal(answer(f, seq + 1, 0), 0);
	assert_int_equal(f->dev.power.phase, MGR_PHASE_GOING_DOWN);
	assert_int_equal(answer(f, seq, 0), 0);
	assert_int_equal(f->dev.power.phase, MGR_PHASE_DOWN);
	assert_int_equal(answer(f, seq, 0), 0);
}

static void turning_back_half_way(void **state)
{
	struct fake *a = device("a", ""), *b = device("b", "");
	uint32_t seq;

	(void)state;
	mgr_power_system(&mgr, true);
	run_ms(1);
	follow(a, AU_POWER_VERB_SUSPEND);
	assert_int_equal(told(b, &seq), AU_POWER_VERB_SUSPEND);
	mgr_power_system(&mgr, false);
	run_ms(1);
	follow(a, AU_POWER_VERB_RESUME);
	/* First it arrives where it was sent. */
	assert_int_equal(answer(b, seq, 0), 0);
	run_ms(1);
	follow(b, AU_POWER_VERB_RESUME);
	assert_true(mgr_power_reached(&mgr));
}

static void the_next_manager_knows(void **state)
{
	struct fake *f;
	FILE *file;
	char path[64];

	(void)state;
	mgr_power_load(&mgr);
	assert_false(mgr.suspended);
	mgr_power_system(&mgr, true);
	mgr.suspended = false;
	mgr_power_load(&mgr);
	assert_true(mgr.suspended);
	/* A host that was not told yet is told when it is taken over. */
	f = device("f", "");
	assert_int_equal(f->dev.power.phase, MGR_PHASE_DOWN);
	mgr_power_up(&f->dev);
	follow(f, AU_POWER_VERB_SUSPEND);
	assert_true(mgr_power_reached(&mgr));
	/* And one that was left asleep is woken. */
	mgr.suspended = false;
	f->dev.power.phase = MGR_PHASE_UP;
	f->status.power = AU_SHOWN_SUSPENDED;
	mgr_power_up(&f->dev);
	follow(f, AU_POWER_VERB_RESUME);
	assert_int_equal(f->dev.power.phase, MGR_PHASE_UP);
	/* From before the machine was started, or nonsense. */
	snprintf(path, sizeof(path), "%s/suspended", dir);
	for (unsigned int i = 0; i < 3; i++) {
		static const char *const texts[] = { "{\"boot\": \"other\", \"since_ms\": 1}", "[]",
						     "\xff\xff" };

		file = fopen(path, "w");
		assert_non_null(file);
		fputs(texts[i], file);
		fclose(file);
		mgr_power_load(&mgr);
		assert_false(mgr.suspended);
		assert_false(marked());
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(first_those_that_need_others),
		TEST(who_does_not_answer_is_killed),
		TEST(its_death_is_as_good_as_an_answer),
		TEST(an_error_is_an_answer_too),
		TEST(nonsense_is_told_apart),
		TEST(turning_back_half_way),
		TEST(the_next_manager_knows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
