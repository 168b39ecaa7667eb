/* SPDX-License-Identifier: MIT */
/* What is wanted of a device, and what a manager left behind: files, some of them hostile. */
#include "manager/json.h"
#include "manager/manager.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct mgr_spec spec;
static char error[600];

static int parse(const char *text)
{
	mgr_spec_clear(&spec);
	mgr_spec_init(&spec, 7000);
	error[0] = 0;
	return mgr_spec_parse_ini(text, "/etc/x/serial7.conf", &spec, error, sizeof(error));
}

static void assert_says(const char *part)
{
	if (!strstr(error, part))
		fail_msg("'%s' is not in '%s'", part, error);
	assert_null(strchr(error, '\n'));
}

static void a_whole_file(void **state)
{
	(void)state;
	assert_int_equal(parse("# a port\n"
			       "[device]\n"
			       "name = modem\n"
			       "driver = uart16550\n"
			       "address = vfio-user:/run/x.sock\n"
			       "placement = process\n"
			       "[params]\n"
			       "clock = 1843200\n"
			       "label = a=b\n"
			       "[policy]\n"
			       "idle = 3\n"
			       "request_timeout = 250\n"
			       "verify = yes\n"
			       "mode = 0600\n"
			       "group = 12\n"
			       "recovery = abort\n"
			       "[sandbox]\n"
			       "seccomp = no\n"),
			 0);
	assert_string_equal(spec.name, "modem");
	assert_string_equal(spec.driver, "uart16550");
	assert_string_equal(spec.address, "vfio-user:/run/x.sock");
	assert_int_equal(spec.param_count, 2);
	assert_string_equal(spec.params[0], "clock=1843200");
	assert_string_equal(spec.params[1], "label=a=b");
	assert_null(spec.params[2]);
	assert_int_equal(spec.policy.idle_ms, 3000);
	assert_int_equal(spec.policy.request_timeout_ms, 250);
	assert_true(spec.policy.verify.rules);
	assert_int_equal(spec.policy.verify.what, 0);
	assert_int_equal(spec.policy.mode, 0600);
	assert_int_equal(spec.policy.group, 12);
	assert_int_equal(spec.policy.owner, (uid_t)-1);
	assert_int_equal(spec.policy.without, 1u << AU_LAYER_SECCOMP);
	assert_int_equal(spec.policy.recovery, MGR_ABORT);
}

static void the_file_names_it(void **state)
{
	(void)state;
	assert_int_equal(parse("[device]\naddress=vfio-user:/x\n"), 0);
	assert_string_equal(spec.name, "serial7");
	assert_string_equal(spec.driver, "");
	assert_int_equal(spec.policy.idle_ms, 7000);
}

static void idle_has_decimals(void **state)
{
	uint32_t ms = 5;

	(void)state;
	assert_int_equal(mgr_spec_idle("0.3", &ms), 0);
	assert_int_equal(ms, 300);
	assert_int_equal(mgr_spec_idle("0", &ms), 0);
	assert_int_equal(ms, 0);
	/* 0 is never: what is more must not become it. */
	assert_int_equal(mgr_spec_idle("0.0001", &ms), 0);
	assert_int_equal(ms, 1);
	assert_int_equal(mgr_spec_idle("86400.000", &ms), 0);
	assert_int_equal(ms, 86400000);
	assert_int_equal(mgr_spec_idle("", &ms), -EINVAL);
	assert_int_equal(mgr_spec_idle("inf", &ms), -EINVAL);
	assert_int_equal(mgr_spec_idle("-0.1", &ms), -EINVAL);
}

static void power_has_units(void **state)
{
	static const char *const bad[] = { "",	   "s",	    "ms",	"2 s",
					   "2m",   "-1s",   "on",	"1e3s",
					   "+5ms", "5.5ms", "86400.1",	"86400001ms",
					   "2ss",  "OFF",   "never 2s", " 5ms" };
	uint32_t ms = 5;

	(void)state;
	assert_int_equal(mgr_spec_power_idle("2s", &ms), 0);
	assert_int_equal(ms, 2000);
	assert_int_equal(mgr_spec_power_idle("off", &ms), 0);
	assert_int_equal(ms, 0);
	assert_int_equal(mgr_spec_power_idle("500ms", &ms), 0);
	assert_int_equal(ms, 500);
	assert_int_equal(mgr_spec_power_idle("1.5", &ms), 0);
	assert_int_equal(ms, 1500);
	assert_int_equal(mgr_spec_power_idle("0.0001s", &ms), 0);
	assert_int_equal(ms, 1);
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (mgr_spec_power_idle(bad[i], &ms) != -EINVAL)
			fail_msg("'%s' is no time", bad[i]);
	assert_int_equal(parse("[device]\naddress = vfio-user:/x\n[policy]\npower_idle = 2s\n"
			       "suspend_timeout = 300\n"),
			 0);
	assert_int_equal(spec.policy.power_idle_ms, 2000);
	assert_int_equal(spec.policy.suspend_ms, 300);
	assert_int_equal(parse("[device]\naddress = vfio-user:/x\n"), 0);
	assert_int_equal(spec.policy.power_idle_ms, 0);
	assert_int_equal(spec.policy.suspend_ms, 2000);
}

static void needs_are_names(void **state)
{
	(void)state;
	assert_int_equal(parse("[device]\naddress = vfio-user:/x\nneeds = disk0, net0 disk0,\n"),
			 0);
	assert_int_equal(spec.need_count, 2);
	assert_true(mgr_spec_needs(&spec, "disk0"));
	assert_true(mgr_spec_needs(&spec, "net0"));
	assert_false(mgr_spec_needs(&spec, "disk"));
	assert_int_equal(parse("[device]\naddress = vfio-user:/x\nneeds = \n"), 0);
	assert_int_equal(spec.need_count, 0);
	/* Its own name may be known only at the end. */
	assert_int_equal(parse("[device]\nneeds = serial7\naddress = vfio-user:/x\n"), -EINVAL);
	assert_says("cannot need itself");
}

/* A device as far as what it needs goes. */
static struct mgr_device *needs_device(struct mgr *mgr, const char *name, const char *needs)
{
	struct mgr_device *dev = calloc(1, sizeof(*dev));

	assert_non_null(dev);
	mgr_spec_init(&dev->spec, 0);
	assert_int_equal(mgr_spec_set(&dev->spec, "device", "name", name, error, sizeof(error)), 0);
	assert_int_equal(mgr_spec_set(&dev->spec, "device", "needs", needs, error, sizeof(error)),
			 0);
	au_list_add_tail(&mgr->devices, &dev->node);
	return dev;
}

static void needs_lead_nowhere_back(void **state)
{
	struct mgr mgr = { 0 };
	struct mgr_device *a, *d;

	(void)state;
	au_list_init(&mgr.devices);
	a = needs_device(&mgr, "a", "b");
	needs_device(&mgr, "b", "c, e");
	d = needs_device(&mgr, "d", "a, c");
	assert_true(mgr_needs(a, AU_CONTAINER(a->node.next, struct mgr_device, node)));
	assert_false(mgr_needs(a, d));
	assert_false(mgr_needs(a, a));
	/* c does not exist yet. */
	assert_int_equal(parse("[device]\nname = c\naddress = vfio-user:/x\nneeds = f\n"), 0);
	assert_int_equal(mgr_needs_check(&mgr, &spec, error, sizeof(error)), 0);
	assert_int_equal(parse("[device]\nname = c\naddress = vfio-user:/x\nneeds = f, d\n"), 0);
	assert_int_equal(mgr_needs_check(&mgr, &spec, error, sizeof(error)), -EINVAL);
	assert_says("c needs d");
	while (!au_list_empty(&mgr.devices))
		free(AU_CONTAINER(au_list_pop(&mgr.devices), struct mgr_device, node));
}

static void mistakes_are_told_with_their_line(void **state)
{
	static const struct {
		const char *text, *line, *part;
	} bad[] = {
		{ "[device]\naddress = virtual\ndriver = echo\ncolour = red\n", ":4:", "colour" },
		{ "[device]\naddress = isa:3f8\n", ":2:", "isa:3f8" },
		{ "[device]\naddress = vfio-user:\n", ":2:", "path" },
		{ "[device]\nname = A B\n", ":2:", "A B" },
		{ "[device]\nname = this-name-is-longer-than-it-may-be\n", ":2:", "name" },
		{ "[device]\nplacement = moon\n", ":2:", "process" },
		{ "address = virtual\n", ":1:", "before any section" },
		{ "[devise]\naddress = virtual\n", ":2:", "devise" },
		{ "[policy]\nidle = soon\n", ":2:", "seconds" },
		{ "[policy]\npower_idle = soon\n", ":2:", "2s" },
		{ "[policy]\nsuspend_timeout = 60001\n", ":2:", "60000" },
		{ "[device]\nneeds = a, B\n", ":2:", "commas" },
		{ "[device]\nneeds = a b c d e f g h i\n", ":2:", "more than 8" },
		{ "[policy]\nidle = -1\n", ":2:", "seconds" },
		{ "[policy]\nidle = 0x10\n", ":2:", "seconds" },
		{ "[policy]\nidle = 1e9\n", ":2:", "seconds" },
		{ "[policy]\nidle = .\n", ":2:", "seconds" },
		{ "[policy]\nidle = 86400.1\n", ":2:", "seconds" },
		{ "[policy]\nmode = 0999\n", ":2:", "octal" },
		{ "[policy]\nverify = maybe\n", ":2:", "yes or no" },
		{ "[policy]\ngroup = nobody-has-this-group\n", ":2:", "no such group" },
		{ "[params]\na = 1\na = 2\n", ":3:", "twice" },
		{ "[sandbox]\nmagic = no\n", ":2:", "magic" },
		{ "[device\naddress = virtual\n", ":1:", "section" },
		{ "[device]\nwhat is this\n", ":2:", "key = value" },
		{ "", "serial7.conf", "address" },
		{ "[device]\naddress = virtual\n", "serial7.conf", "driver" },
	};

	(void)state;
	for (unsigned int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (parse(bad[i].text) != -EINVAL)
			fail_msg("accepted: %s", bad[i].text);
		assert_says(bad[i].line);
		assert_says(bad[i].part);
	}
}

static void too_many_parameters(void **state)
{
	char text[4096] = "[params]\n";

	(void)state;
	for (int i = 0; i <= AU_NOTE_PARAMS; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "p%d = 1\n", i);
	assert_int_equal(parse(text), -EINVAL);
	assert_says("more than");
}

/* Whatever is in the file, there is an answer. */
static void noise(void **state)
{
	static const char alphabet[] = "[]=;#\n \tdevicparams.name\x01\xff\"'\\/";
	unsigned int seed = 1;
	char text[300];

	(void)state;
	for (int round = 0; round < 20000; round++) {
		size_t n = (size_t)rand_r(&seed) % (sizeof(text) - 1);

		for (size_t i = 0; i < n; i++)
			text[i] = alphabet[(size_t)rand_r(&seed) % (sizeof(alphabet) - 1)];
		text[n] = 0;
		if (parse(text))
			assert_true(error[0]);
	}
}

/* ------------------------------------------------------------------ state files */

static const char good_state[] =
	"{\"name\":\"serial0\",\"spec\":{\"driver\":\"uart16550\",\"address\":\"vfio-user:/x\","
	"\"params\":[\"a=1\"],\"policy\":{\"idle\":\"10\",\"request_timeout\":\"1000\","
	"\"verify\":\"no\",\"mode\":\"660\"},\"sandbox\":{\"landlock\":\"no\"}},"
	"\"driver_path\":\"/d/uart16550.so\",\"state\":\"running\",\"reason\":\"\","
	"\"from_config\":false,\"held\":true,\"detaching\":false,\"generation\":7,"
	"\"restarts\":6,\"tokens\":3,\"slot\":2,\"clients\":1,\"units\":[{\"index\":0,\"class\":"
	"\"serial\"},"
	"{\"index\":3,\"class\":\"serial\"}],\"pid\":4242,\"start_time\":99,\"number\":5,"
	"\"boot\":\"3c0d\"}";

static int parse_state(const char *text, struct mgr_saved *saved)
{
	json_t *o = json_loads(text, 0, NULL);
	int err;

	assert_non_null(o);
	err = mgr_saved_parse(o, "serial0", saved, error, sizeof(error));
	json_decref(o);
	return err;
}

static void a_good_state(void **state)
{
	struct mgr_saved saved;

	(void)state;
	assert_int_equal(parse_state(good_state, &saved), 0);
	assert_string_equal(saved.spec.name, "serial0");
	assert_string_equal(saved.spec.driver, "uart16550");
	assert_string_equal(saved.spec.params[0], "a=1");
	assert_int_equal(saved.spec.policy.idle_ms, 10000);
	assert_int_equal(saved.spec.policy.mode, 0660);
	assert_int_equal(saved.spec.policy.without, 1u << AU_LAYER_LANDLOCK);
	assert_int_equal(saved.state, MGR_RUNNING);
	assert_true(saved.held);
	assert_int_equal(saved.generation, 7);
	assert_int_equal(saved.tokens, 3);
	assert_int_equal(saved.slot, 2);
	assert_int_equal(saved.unit_count, 2);
	assert_true(saved.units[3].present);
	assert_string_equal(saved.units[3].cls, "serial");
	assert_int_equal(saved.pid, 4242);
	assert_int_equal(saved.start_time, 99);
	assert_string_equal(saved.boot, "3c0d");
	/* A manager wrote it that knew nothing of power. */
	assert_int_equal(saved.power_idle_ms, -1);
	assert_int_equal(saved.spec.need_count, 0);
	mgr_spec_clear(&saved.spec);
}

static void a_state_with_power(void **state)
{
	const char *at = strstr(good_state, "\"driver\"");
	struct mgr_saved saved;
	char text[2000];

	(void)state;
	snprintf(text, sizeof(text), "%.*s\"needs\":\"disk0,net0\",%.*s,\"power_idle_ms\":250}",
		 (int)(at - good_state), good_state, (int)strlen(at) - 1, at);
	assert_int_equal(parse_state(text, &saved), 0);
	assert_int_equal(saved.power_idle_ms, 250);
	assert_int_equal(saved.spec.need_count, 2);
	assert_true(mgr_spec_needs(&saved.spec, "net0"));
	mgr_spec_clear(&saved.spec);
}

/* @from replaced by @to in a good state must not be believed. */
static void assert_refused(const char *from, const char *to)
{
	struct mgr_saved saved;
	const char *at = strstr(good_state, from);
	char text[2000];

	assert_non_null(at);
	snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good_state), good_state, to,
		 at + strlen(from));
	if (!parse_state(text, &saved))
		fail_msg("believed: %s", to);
	assert_true(error[0]);
}

static void hostile_states(void **state)
{
	(void)state;
	assert_refused("\"name\":\"serial0\"", "\"name\":\"serial1\"");
	assert_refused("\"name\":\"serial0\"", "\"name\":[]");
	assert_refused("\"driver\":", "\"needs\":3,\"driver\":");
	assert_refused("\"driver\":", "\"needs\":\"../x\",\"driver\":");
	assert_refused("\"driver\":", "\"needs\":\"serial0\",\"driver\":");
	assert_refused("\"idle\":\"10\"", "\"power_idle\":\"ever\"");
	assert_refused("vfio-user:/x", "vfio-user:");
	assert_refused("vfio-user:/x", "nonsense");
	assert_refused("[\"a=1\"]", "[\"a\"]");
	assert_refused("[\"a=1\"]", "[1]");
	assert_refused("[\"a=1\"]", "{}");
	assert_refused("\"idle\":\"10\"", "\"idle\":10");
	assert_refused("\"idle\":\"10\"", "\"idle\":\"99999999999\"");
	assert_refused("landlock", "nothing");
	assert_refused("\"running\"", "\"dancing\"");
	assert_refused("\"generation\":7", "\"generation\":-1");
	assert_refused("\"generation\":7", "\"generation\":4294967296");
	assert_refused("\"generation\":7", "\"generation\":\"7\"");
	assert_refused("\"tokens\":3", "\"tokens\":6");
	assert_refused("\"index\":3", "\"index\":16");
	assert_refused("\"index\":3", "\"index\":0");
	assert_refused("\"class\":\"serial\"", "\"class\":\"../../etc\"");
	assert_refused("\"pid\":4242", "\"pid\":1");
	assert_refused("\"pid\":4242", "\"pid\":-1");
	assert_refused("\"start_time\":99", "\"start_time\":-5");
	assert_refused(",\"boot\":\"3c0d\"", "");
	assert_refused("\"boot\":\"3c0d\"", "\"boot\":7");
	assert_refused("\"number\":5", "\"number\":\"\"");
	assert_refused("\"units\":[", "\"units\":7,\"u\":[");
	assert_refused("\"driver_path\":", "\"path\":");
}

/* Any text of a file is no more than a line in the log. */
static void noise_as_state(void **state)
{
	unsigned int seed = 2;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		char text[sizeof(good_state)];
		struct mgr_saved saved;
		json_t *o;

		memcpy(text, good_state, sizeof(text));
		for (int i = 0; i < 3; i++)
			text[(size_t)rand_r(&seed) % (sizeof(text) - 1)] =
				"0129{}[]\",:-axyz"[rand_r(&seed) % 16];
		o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
		if (o && !mgr_saved_parse(o, "serial0", &saved, error, sizeof(error)))
			mgr_spec_clear(&saved.spec);
		json_decref(o);
	}
}

static void json_helpers(void **state)
{
	json_t *o = json_pack("{s:s s:i s:s}", "t", "a\tb", "n", -1, "h", "0aFF");
	uint8_t bytes[2];
	uint64_t n;
	char text[8];

	(void)state;
	assert_false(mgr_json_text(o, "t", text, sizeof(text)));
	assert_false(mgr_json_text(o, "none", text, sizeof(text)));
	assert_false(mgr_json_uint(o, "n", 10, &n));
	assert_false(mgr_json_hex(o, "h", bytes, sizeof(bytes)));
	mgr_json_set_hex(o, "x", "\x01\xfe", 2);
	assert_true(mgr_json_hex(o, "x", bytes, sizeof(bytes)));
	assert_int_equal(bytes[1], 0xfe);
	json_decref(o);
	o = mgr_json_string("caf\xe9");
	assert_string_equal(json_string_value(o), "caf?");
	json_decref(o);
}

static bool report_ok(const char *text)
{
	json_t *o = json_loads(text, JSON_DECODE_ANY, NULL);
	bool ok = mgr_report_ok(o);

	assert_non_null(o);
	json_decref(o);
	return ok;
}

/* A host may send anything for its driver's report. */
static void reports_are_checked(void **state)
{
	json_t *o = json_object();

	(void)state;
	assert_true(report_ok("{}"));
	assert_true(report_ok("{\"a_1\": -5, \"b\": \"text\"}"));
	assert_false(report_ok("[]"));
	assert_false(report_ok("\"text\""));
	assert_false(report_ok("{\"A\": 1}"));
	assert_false(report_ok("{\"\": 1}"));
	assert_false(report_ok("{\"a\": {}}"));
	assert_false(report_ok("{\"a\": 1.5}"));
	assert_false(report_ok("{\"a\": \"\\u001b[31m\"}"));
	assert_false(report_ok("{\"a0123456789012345678901234567890123456789\": 1}"));
	assert_false(report_ok("{\"a\": \"0123456789012345678901234567890123456789"
			       "0123456789012345678901234567890123456789\"}"));
	for (unsigned int i = 0; i < 49; i++) {
		char key[8];

		assert_true(mgr_report_ok(o));
		snprintf(key, sizeof(key), "n%u", i);
		json_object_set_new(o, key, json_integer(i));
	}
	assert_false(mgr_report_ok(o));
	json_decref(o);
}

static int finish(void **state)
{
	(void)state;
	mgr_spec_clear(&spec);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_whole_file),
		cmocka_unit_test(the_file_names_it),
		cmocka_unit_test(idle_has_decimals),
		cmocka_unit_test(power_has_units),
		cmocka_unit_test(needs_are_names),
		cmocka_unit_test(needs_lead_nowhere_back),
		cmocka_unit_test(mistakes_are_told_with_their_line),
		cmocka_unit_test(too_many_parameters),
		cmocka_unit_test(noise),
		cmocka_unit_test(a_good_state),
		cmocka_unit_test(a_state_with_power),
		cmocka_unit_test(hostile_states),
		cmocka_unit_test(noise_as_state),
		cmocka_unit_test(json_helpers),
		cmocka_unit_test(reports_are_checked),
	};

	return cmocka_run_group_tests(tests, NULL, finish);
}
