/* SPDX-License-Identifier: MIT */
/*
 * Driver modules as they are built: found, read, loaded and run; and those for tests do what they
 * say, dying included: then the progress words, which outlive the process, say whose fault it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/module.h"
#include "base/note.h"
#include "base/os.h"
#include "base/paths.h"
#include "framework/framework.h"

#define DEPTH 32u

struct shared {
	struct auf_progress progress[DEPTH];
	_Atomic uint32_t completed;
	char rule[64]; /* the first that was broken */
};

static struct shared *shared;
static struct au_lane *lane;
static struct au_device *dev;
static struct auf_handle *handle;
static struct au_module module;
static int status[DEPTH];
static uint32_t result[DEPTH];

static void complete(struct auf_handle *h, int err, uint32_t value, uint16_t device_status,
		     uint32_t slot, uint64_t tag)
{
	status[slot] = err;
	result[slot] = value;
	shared->completed++;
}

static void up(const char *driver, const char *const *params)
{
	const struct auf_handle_config handle_config = { .depth = DEPTH, .complete = complete };
	struct auf_device_config config = { .name = "test0", .generation = 1, .params = params };
	char path[AU_PATH_MAX], error[256] = "";
	struct au_note note;

	memset(shared, 0, sizeof(*shared));
	for (unsigned int i = 0; i < DEPTH; i++)
		status[i] = 1;
	if (au_driver_find(driver, path, error, sizeof(error)) != 0 ||
	    au_note_read(path, &note, error, sizeof(error)) != 0 ||
	    au_module_load(path, &module, error, sizeof(error)) != 0)
		fail_msg("%s", error);
	assert_string_equal(note.name, driver);
	assert_int_equal(auf_lane_create(AUF_RUNNER_APP, 0, 0, NULL, &lane), 0);
	config.driver = &module.driver;
	config.note = &note;
	config.lane = lane;
	config.verify = true;
	if (auf_device_create(&config, &dev, error, sizeof(error)) != 0)
		fail_msg("%s", error);
	assert_int_equal(auf_device_start(dev), 0);
	assert_int_equal(auf_handle_open(auf_device_unit(dev, 0), &handle_config, &handle), 0);
}

static void down(void)
{
	auf_handle_close(handle, NULL, NULL);
	auf_device_stop(dev);
	auf_device_destroy(dev);
	auf_lane_destroy(lane);
	au_module_unload(&module);
}

static void submit(uint32_t slot, uint16_t op, uint64_t arg)
{
	const struct auf_submit s = { .op = op,
				      .arg = { arg },
				      .length = slot,
				      .tag = slot,
				      .progress = &shared->progress[slot] };

	assert_int_equal(auf_submit(handle, slot, &s), 0);
}

/* Run in a child; returns how it ended. */
static int ends(void (*fn)(void))
{
	const struct rlimit none = { 0, 0 };
	int how = 0;
	pid_t pid = fork();

	if (pid == 0) {
		setrlimit(RLIMIT_CORE, &none);
		for (int sig = 1; sig < 32; sig++)
			signal(sig, SIG_DFL);
		alarm(3);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &how, 0), pid);
	return how;
}

static void test_echo(void **state)
{
	up("echo", NULL);
	for (uint32_t i = 0; i < DEPTH; i++) {
		submit(i, 16, 0);
		assert_int_equal(status[i], 0);
		assert_int_equal(result[i], i);
	}
	submit(1, 17, 0);
	assert_int_equal(status[1], -ENOTSUP);
	down();
}

static void test_hold(void **state)
{
	up("t-hold", NULL);
	submit(1, 16, 0);
	submit(2, 17, 0);
	submit(3, 18, 0);
	submit(4, 16, 0);
	assert_int_equal(shared->completed, 1);
	assert_int_equal(status[3], 0);
	auf_cancel(handle, 1, 1);
	auf_cancel(handle, 2, 2);
	assert_int_equal(status[1], -ECANCELED);
	assert_int_equal(status[2], 1);
	submit(5, 19, 0);
	assert_int_equal(status[2], 0);
	assert_int_equal(status[4], 0);
	assert_int_equal(status[5], 0);
	assert_int_equal(result[5], 2);
	/* what it holds when it goes down ends too */
	submit(1, 16, 0);
	submit(2, 17, 0);
	auf_device_stop(dev);
	assert_int_equal(status[1], -ENODEV);
	assert_int_equal(status[2], -ENODEV);
	down();
}

static uint16_t crash_op;
static const char *crash_param;

static void crash_child(void)
{
	const char *const params[] = { crash_param, NULL };

	up("t-crash", params);
	submit(0, 16, 0);
	if (crash_op)
		submit(1, crash_op, 0);
	submit(2, 16, 0);
	down();
}

static void test_crash(void **state)
{
	static const struct {
		uint16_t op;
		int signal;
	} ops[] = { { 17, SIGSEGV }, { 18, SIGABRT }, { 19, SIGALRM }, { 21, SIGFPE } };
	static const char *const places[] = { "in=1", "in=2", "in=3", "in=4", "chance=2" };
	int how;

	crash_param = "in=0";
	assert_int_equal(ends(crash_child), 0);
	assert_int_equal(shared->completed, 2);
	for (unsigned int i = 0; i < 4; i++) {
		crash_op = ops[i].op;
		how = ends(crash_child);
#if defined(__SANITIZE_ADDRESS__)
		assert_int_not_equal(how, 0); /* it reports and exits instead */
#else
		assert_true(WIFSIGNALED(how));
		assert_int_equal(WTERMSIG(how), ops[i].signal);
#endif
		/* the one that was owned and not completed is it */
		assert_int_equal(shared->completed, 1);
		assert_int_equal(shared->progress[1].flags, AUF_OWNED);
		assert_int_equal(shared->progress[2].flags, 0);
	}
	crash_op = 20;
	how = ends(crash_child);
	assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 3);
	crash_op = 0;
	for (unsigned int i = 0; i < 5; i++) {
		crash_param = places[i];
		assert_int_not_equal(ends(crash_child), 0);
	}
}

static uint64_t poison_arg;

static void poison_child(void)
{
	up("t-poison", NULL);
	for (uint32_t i = 0; i < DEPTH; i++)
		submit(i, 16, i == 20 ? poison_arg : 1);
	while (shared->completed < DEPTH)
		auf_lane_poll(lane);
	down();
}

static void test_poison(void **state)
{
	poison_arg = 1;
	assert_int_equal(ends(poison_child), 0);
	assert_int_equal(shared->completed, DEPTH);
	poison_arg = 666;
	assert_int_not_equal(ends(poison_child), 0);
	assert_true(shared->completed < DEPTH);
	assert_int_equal(shared->progress[20].flags, AUF_OWNED);
}

static const char *rule;

static void rule_broken(struct au_device *broken_by, const char *name)
{
	if (!shared->rule[0])
		snprintf(shared->rule, sizeof(shared->rule), "%s", name);
	abort();
}

static void rule_child(void)
{
	char text[80];
	const char *const params[] = { text, "after=3", NULL };

	snprintf(text, sizeof(text), "break=%s", rule);
	auf_verify_action = rule_broken;
	up("t-rules", params);
	for (uint32_t i = 0; i < 5; i++)
		submit(i, 16, 0);
	for (int i = 0; i < 20; i++)
		auf_lane_poll(lane);
	/* What is still held keeps it from going down. */
	for (int i = 0; i < 8 && shared->completed == 5; i++) {
		auf_device_power(dev, i % 2 ? AUF_POWER_UP : AUF_POWER_DOWN, NULL, NULL);
		for (int turn = 0; turn < 5; turn++)
			auf_lane_poll(lane);
	}
	down();
}

/* A driver that breaks a rule of the verifier is ended there, by the rule's name. */
static void test_rules(void **state)
{
	static const char *const rules[] = {
		"double-completion",	    "unowned-completion",
		"use-after-completion",	    "completion-while-cancelable",
		"cancelable-twice",	    "unmatched-clear",
		"poll-while-cancelable",    "foreign-queue",
		"request-leaked",	    "request-changed",
		"completion-status",	    "callback-time",
		"sleep-in-callback",	    "stop-ack-outside-stop",
		"power-reference",	    "create-outside-prepare",
		"work-in-surprise-removed", "object-leaked",
	};

	rule = "none";
	assert_int_equal(ends(rule_child), 0);
	assert_int_equal(shared->completed, 5);
	for (unsigned int i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		rule = rules[i];
		shared->rule[0] = 0;
		assert_int_not_equal(ends(rule_child), 0);
		assert_string_equal(shared->rule, rule);
	}
}

/* Each module of the build has a note whose name is its file's. */
static int one_module(const char *name, const char *path, void *arg)
{
	char error[256];
	struct au_note note;

	if (au_note_read(path, &note, error, sizeof(error)) != 0)
		fail_msg("%s", error);
	assert_string_equal(note.name, name);
	++*(unsigned int *)arg;
	return 0;
}

static void test_notes(void **state)
{
	unsigned int count = 0;

	assert_int_equal(au_driver_list(one_module, &count), 0);
	assert_true(count >= 6);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_notes),  cmocka_unit_test(test_echo),
		cmocka_unit_test(test_hold),   cmocka_unit_test(test_crash),
		cmocka_unit_test(test_poison), cmocka_unit_test(test_rules),
	};
	char dir[512], path[1100];
	ssize_t length = readlink("/proc/self/exe", dir, sizeof(dir) - 1);

	if (length <= 0)
		return 1;
	dir[length] = '\0';
	*strrchr(dir, '/') = '\0';
	snprintf(path, sizeof(path), "%s/../drivers:%s", dir, dir);
	setenv("AURIGA_DRIVER_PATH", path, 1);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	if (shared == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
