/* SPDX-License-Identifier: MIT */
/* libauriga with drivers in this process: both runners, sharing, threads, fork, and refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "auriga/auriga.h"
#include "auriga/serial.h"

enum { ECHO = 16, HOLD, RELEASE, RANDOM, EVENT, GONE, LATE = 23 };

#define THREAD "inproc:t-cancel"
#define DIRECT "inproc:t-cancel,poll=app"

static struct au_handle *must_open(const char *target, uint32_t flags, uint32_t depth)
{
	const struct au_open_options options = {
		.size = sizeof(options), .abi = AU_CLIENT_ABI, .flags = flags, .depth = depth
	};
	struct au_handle *h;
	int rc = au_open(target, &options, &h);

	if (rc)
		print_error("%s: %d: %s\n", target, rc, au_errmsg());
	assert_int_equal(rc, 0);
	return h;
}

static void must_refuse(const char *target, uint32_t flags, int error, const char *word)
{
	const struct au_open_options options = { .size = sizeof(options),
						 .abi = AU_CLIENT_ABI,
						 .flags = flags };
	struct au_handle *h = (void *)1;

	assert_int_equal(au_open(target, &options, &h), error);
	assert_null(h);
	if (!strstr(au_errmsg(), word))
		fail_msg("'%s' is not in '%s'", word, au_errmsg());
	assert_null(strchr(au_errmsg(), '\n'));
}

static int simple(struct au_handle *h, uint16_t op, uint64_t arg0, uint64_t arg1)
{
	struct au_io io = { .op = op, .arg = { arg0, arg1 } };

	return au_wait(h, &io);
}

/* --------------------------------------------------------------- both runners */

static void must_refuse_io(struct au_handle *h, struct au_io *io, int error, const char *word)
{
	assert_int_equal(au_submit(h, io), error);
	assert_non_null(strstr(au_errmsg(), word));
	assert_int_equal(au_wait(h, io), error);
	assert_non_null(strstr(au_errmsg(), word));
}

/* Flags that nobody knows yet are refused, however short the request's way is. */
static void refused_requests(const char *target, uint32_t flags)
{
	struct au_handle *h = must_open(target, flags, 4);
	char data[8192] = { 0 };

	for (unsigned int bit = 0; bit < 16; bit++) {
		struct au_io io = { .op = ECHO, .flags = (uint16_t)(1u << bit) };

		must_refuse_io(h, &io, -EINVAL, "flags");
		io.length = 8;
		io.data = data;
		must_refuse_io(h, &io, -EINVAL, "flags");
	}
	must_refuse_io(h, &(struct au_io){ .op = ECHO, .length = 8 }, -EINVAL, "data");
	must_refuse_io(h, &(struct au_io){ .op = ECHO, .length = sizeof(data), .data = data },
		       -EMSGSIZE, "buffer_size");
	assert_int_equal(simple(h, ECHO, 0, 0), 0);
	au_close(h);
}

static void test_refused_requests(void **state)
{
	refused_requests(THREAD, 0);
	refused_requests(THREAD, AU_OPEN_SHARED);
	refused_requests(DIRECT, 0);
	refused_requests(DIRECT, AU_OPEN_SHARED);
}

static void requests(struct au_handle *h)
{
	char text[] = "hello";
	struct au_io io = { .op = ECHO, .data = text, .length = 6, .arg = { 42 } };
	struct au_io many[8] = { 0 }, extra = { .op = ECHO };
	int done = 0;

	assert_string_equal(au_unit_name(h), "t-cancel.0");
	assert_string_equal(au_unit_class(h), "raw");
	assert_int_equal(au_generation(h), 1);
	assert_int_equal(au_wait(h, &io), 0);
	assert_int_equal(io.result, 6);
	assert_int_equal(io.device_status, 42);
	assert_string_equal(text, "hello");
	for (int i = 0; i < 8; i++) {
		many[i].op = HOLD;
		assert_int_equal(au_submit(h, &many[i]), 0);
	}
	assert_int_equal(au_submit(h, &extra), -EAGAIN);
	assert_int_equal(au_poll(h, 0, 20), 0);
	assert_int_equal(au_cancel(h, &many[7]), 0);
	while (done < 1)
		done += au_poll(h, 0, 1000);
	assert_int_equal(many[7].status, -ECANCELED);
	assert_int_equal(au_cancel(h, &many[7]), -ESRCH);
	assert_int_equal(simple(h, RELEASE, 0, 0), 0);
	while (done < 8) {
		int n = au_poll(h, 0, 1000);

		assert_true(n > 0 || many[0].status == 0);
		if (n == 0)
			break;
		done += n;
	}
	for (int i = 0; i < 7; i++)
		assert_int_equal(many[i].status, 0);
	/* Time-outs. */
	extra = (struct au_io){ .op = HOLD, .timeout_ms = 30 };
	assert_int_equal(au_wait(h, &extra), -ETIMEDOUT);
	extra = (struct au_io){ .op = 99 };
	assert_int_equal(au_wait(h, &extra), -ENOTSUP);
}

static void test_requests_thread(void **state)
{
	struct au_handle *h = must_open(THREAD, 0, 8);

	requests(h);
	au_close(h);
}

static void test_requests_direct(void **state)
{
	struct au_handle *h = must_open(DIRECT, 0, 8);

	requests(h);
	au_close(h);
	h = must_open(THREAD, AU_OPEN_POLL_APP, 8);
	requests(h);
	au_close(h);
}

static void test_requests_shared(void **state)
{
	struct au_handle *h = must_open(THREAD, AU_OPEN_SHARED, 8);

	requests(h);
	au_close(h);
	h = must_open(DIRECT, AU_OPEN_SHARED, 8);
	requests(h);
	au_close(h);
}

/* Sleeping on the handle's descriptor, as an event loop does. */
static void event_loop(struct au_handle *h)
{
	struct pollfd pfd = { .fd = au_fd(h), .events = POLLIN };

	for (int i = 0; i < 20; i++) {
		struct au_io io = { .op = LATE, .arg = { 5 } };
		int sleeps = 0;

		assert_int_equal(au_submit(h, &io), 0);
		while (au_poll(h, 0, 0) == 0) {
			if (!au_arm(h))
				continue;
			assert_int_equal(poll(&pfd, 1, 5000), 1);
			assert_true(sleeps++ < 20);
		}
		assert_int_equal(io.status, 0);
		assert_true(sleeps > 0);
	}
}

static void test_event_loop(void **state)
{
	static const char *const targets[] = { THREAD, DIRECT };

	for (int i = 0; i < 4; i++) {
		struct au_handle *h = must_open(targets[i % 2], i < 2 ? 0 : AU_OPEN_SHARED, 0);

		event_loop(h);
		au_close(h);
	}
}

static void events(struct au_handle *h)
{
	struct au_event e;

	assert_int_equal(au_event_next(h, &e), 0);
	assert_int_equal(simple(h, EVENT, 0x123, 7), 0);
	assert_int_equal(au_poll(h, 0, 100), 0);
	assert_int_equal(au_event_next(h, &e), 1);
	assert_int_equal(e.kind, 0x123);
	assert_int_equal(e.arg[0], 7);
	assert_int_equal(au_event_next(h, &e), 0);
}

static void test_events(void **state)
{
	struct au_handle *h = must_open(THREAD, 0, 0);

	events(h);
	au_close(h);
	h = must_open(DIRECT, 0, 0);
	events(h);
	au_close(h);
}

static void gone(struct au_handle *h)
{
	struct au_io held = { .op = HOLD };
	struct au_event e = { 0 };
	int found = 0;

	assert_int_equal(au_submit(h, &held), 0);
	simple(h, GONE, 0, 0);
	for (int i = 0; i < 100 && held.status == -EINPROGRESS; i++)
		au_poll(h, 0, 100);
	assert_int_equal(held.status, -ENODEV);
	assert_int_equal(simple(h, ECHO, 0, 0), -ENODEV);
	while (au_event_next(h, &e))
		found += e.kind == AU_EVENT_GONE;
	assert_int_equal(found, 1);
	must_refuse(THREAD, 0, -ENODEV, "gone");
}

static void test_gone(void **state)
{
	struct au_handle *h = must_open(THREAD, 0, 0);

	gone(h);
	au_close(h);
	h = must_open(DIRECT, 0, 0);
	gone(h);
	au_close(h);
	/* Closed, and opened anew. */
	h = must_open(THREAD, 0, 0);
	assert_int_equal(simple(h, ECHO, 0, 0), 0);
	au_close(h);
}

static unsigned int closed_in_done;

static void close_in_done(struct au_io *io)
{
	closed_in_done++;
	au_close(io->user);
}

static void test_close(void **state)
{
	static const char *const targets[] = { THREAD, DIRECT };

	for (int i = 0; i < 4; i++) {
		struct au_handle *h = must_open(targets[i % 2], i < 2 ? 0 : AU_OPEN_SHARED, 0);
		struct au_io io[4] = { 0 };

		/* With requests outstanding: done() is not called. */
		for (int k = 0; k < 4; k++) {
			io[k] = (struct au_io){ .op = HOLD, .done = close_in_done };
			assert_int_equal(au_submit(h, &io[k]), 0);
		}
		au_flush(h);
		closed_in_done = 0;
		au_close(h);
		assert_int_equal(closed_in_done, 0);
		/* From within done(). */
		h = must_open(targets[i % 2], i < 2 ? 0 : AU_OPEN_SHARED, 0);
		for (int k = 0; k < 4; k++) {
			io[k] = (struct au_io){ .op = ECHO, .done = close_in_done, .user = h };
			assert_int_equal(au_submit(h, &io[k]), 0);
		}
		while (closed_in_done == 0)
			au_poll(h, 0, 1000);
		assert_int_equal(closed_in_done, 1);
	}
	au_close(NULL);
}

/* -------------------------------------------------------------------- sharing */

/* done() of one request closes the handle while somebody waits for another one. */
static void close_other(struct au_io *io)
{
	au_close(io->user);
}

/* done() frees the request that au_wait() waits for. */
static void free_io(struct au_io *io)
{
	memset(io, 0xff, sizeof(*io));
}

static void close_while_waiting(const char *target, uint32_t flags)
{
	struct au_handle *h = must_open(target, flags, 8);
	struct au_io quick = { .op = ECHO, .done = close_other, .user = h };
	struct au_io io = { .op = HOLD };

	assert_int_equal(au_submit(h, &quick), 0);
	assert_int_equal(au_wait(h, &io), -EBADF);
	assert_int_equal(quick.status, 0);
}

static void free_while_waiting(const char *target, uint32_t flags)
{
	struct au_handle *h = must_open(target, flags, 8);
	struct au_io io = { .op = ECHO, .done = free_io };

	assert_int_equal(au_wait(h, &io), 0);
	au_close(h);
}

static void test_wait_for_what_goes(void **state)
{
	close_while_waiting(THREAD, 0);
	close_while_waiting(THREAD, AU_OPEN_SHARED);
	close_while_waiting(DIRECT, 0);
	close_while_waiting(DIRECT, AU_OPEN_SHARED);
	free_while_waiting(THREAD, 0);
	free_while_waiting(THREAD, AU_OPEN_SHARED);
	free_while_waiting(DIRECT, 0);
}

/* One thread sleeps in au_poll(), another on au_fd(): when the first leaves, the second hears. */
struct sleeper {
	struct au_handle *h;
	pthread_t thread;
};

static void *sleeper_run(void *arg)
{
	struct sleeper *s = arg;

	au_poll(s->h, 0, 200);
	return NULL;
}

static void test_arm_beside_a_sleeper(void **state)
{
	struct sleeper s = { .h = must_open(THREAD, AU_OPEN_SHARED, 8) };
	struct pollfd pfd = { .fd = au_fd(s.h), .events = POLLIN };
	struct au_io late = { .op = LATE, .arg = { 300 } };

	while (au_poll(s.h, 0, 0) > 0)
		;
	assert_int_equal(pthread_create(&s.thread, NULL, sleeper_run, &s), 0);
	usleep(50000);
	assert_int_equal(au_submit(s.h, &late), 0);
	assert_int_equal(au_flush(s.h), 0);
	while (!au_arm(s.h))
		au_poll(s.h, 0, 0);
	pthread_join(s.thread, NULL);
	/* It has left, and nothing has happened yet. */
	assert_int_equal(late.status, -EINPROGRESS);
	while (late.status == -EINPROGRESS) {
		assert_int_equal(poll(&pfd, 1, 2000), 1);
		au_poll(s.h, 0, 0);
		while (late.status == -EINPROGRESS && !au_arm(s.h))
			au_poll(s.h, 0, 0);
	}
	assert_int_equal(late.status, 0);
	au_close(s.h);
}

static void test_instances(void **state)
{
	struct au_handle *a = must_open(THREAD, 0, 0), *b = must_open(THREAD, 0, 0), *c;
	struct au_io io = { .op = HOLD };
	int rc;

	/* One instance: what one handle has put in, the other one releases. */
	assert_int_equal(au_submit(a, &io), 0);
	au_flush(a);
	for (int i = 0; i < 100 && io.status == -EINPROGRESS; i++) {
		simple(b, RELEASE, 0, 0);
		au_poll(a, 0, 10);
	}
	assert_int_equal(io.status, 0);
	must_refuse(THREAD ",seed=9", 0, -EBUSY, "other parameters");
	must_refuse(DIRECT, 0, -EBUSY, "poll=app");
	must_refuse(THREAD ",unit=1", 0, -ENOENT, "no unit 1");
	au_close(a);
	assert_int_equal(simple(b, ECHO, 0, 0), 0);
	au_close(b);
	/* The last one stopped it: now the parameters are free. */
	c = must_open(THREAD ",seed=9", 0, 0);
	assert_int_equal(simple(c, ECHO, 0, 0), 0);
	a = must_open(THREAD, 0, 0);
	rc = simple(a, ECHO, 0, 0);
	assert_int_equal(rc, 0);
	au_close(a);
	au_close(c);
	/* Two handles of one thread on a direct instance: either one runs it for both. */
	a = must_open(DIRECT, 0, 0);
	b = must_open(DIRECT, 0, 0);
	io = (struct au_io){ .op = LATE, .arg = { 10 } };
	assert_int_equal(au_submit(a, &io), 0);
	for (int i = 0; i < 100 && io.status == -EINPROGRESS; i++)
		au_poll(b, 0, 10);
	assert_int_equal(io.status, 0);
	assert_int_equal(au_poll(a, 0, 0), 1);
	au_close(a);
	au_close(b);
}

static void *other_thread(void *arg)
{
	struct au_handle *h = arg;
	struct au_io io = { .op = ECHO };
	struct au_event e;

	assert_int_equal(au_submit(h, &io), -EPERM);
	assert_non_null(strstr(au_errmsg(), "AU_OPEN_SHARED"));
	assert_int_equal(au_poll(h, 0, 0), -EPERM);
	assert_int_equal(au_flush(h), -EPERM);
	assert_int_equal(au_cancel(h, &io), -EPERM);
	assert_int_equal(au_wait(h, &io), -EPERM);
	assert_int_equal(au_event_next(h, &e), -EPERM);
	assert_false(au_arm(h));
	return NULL;
}

static void *other_opener(void *arg)
{
	must_refuse(DIRECT, 0, -EPERM, "another thread");
	return NULL;
}

static void test_threads(void **state)
{
	struct au_handle *h = must_open(THREAD, 0, 0);
	pthread_t thread;

	pthread_create(&thread, NULL, other_thread, h);
	pthread_join(thread, NULL);
	au_close(h);
	h = must_open(DIRECT, 0, 0);
	pthread_create(&thread, NULL, other_thread, h);
	pthread_join(thread, NULL);
	pthread_create(&thread, NULL, other_opener, NULL);
	pthread_join(thread, NULL);
	au_close(h);
}

static void test_fork(void **state)
{
	static const char *const targets[] = { THREAD, DIRECT };

	for (int i = 0; i < 4; i++) {
		struct au_handle *h = must_open(targets[i % 2], i < 2 ? 0 : AU_OPEN_SHARED, 0);
		struct au_io io = { .op = ECHO };
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			struct au_event e;
			bool good = au_submit(h, &io) == -EBADF && au_poll(h, 0, 0) == -EBADF &&
				    au_wait(h, &io) == -EBADF && au_flush(h) == -EBADF &&
				    au_cancel(h, &io) == -EBADF && au_fd(h) == -EBADF &&
				    au_event_next(h, &e) == -EBADF && !au_arm(h) &&
				    au_generation(h) == 0 && strstr(au_errmsg(), "fork");

			au_close(h);
			_exit(good ? 0 : 1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		/* The parent's goes on. */
		assert_int_equal(au_wait(h, &io), 0);
		au_close(h);
	}
}

/* ---------------------------------------------------- several threads, one handle */

struct crowd {
	struct au_handle *h;
	_Atomic unsigned int done;
	_Atomic unsigned int failed;
};

static void *crowd_wait(void *arg)
{
	struct crowd *c = arg;

	for (unsigned int i = 0; i < 500; i++) {
		struct au_io io = { .op = i % 50 == 49 ? LATE
					  : i % 3      ? ECHO
						       : RANDOM,
				    .arg = { 2 } };

		if (au_wait(c->h, &io) == 0)
			c->done++;
		else
			c->failed++;
	}
	return NULL;
}

static void crowd_done(struct au_io *io)
{
	*(_Atomic bool *)io->user = true;
}

/* au_poll(-1) until one's own request is complete, whoever completed it. */
static void *crowd_poll(void *arg)
{
	struct crowd *c = arg;

	for (unsigned int i = 0; i < 500; i++) {
		_Atomic bool flag = false;
		struct au_io io = { .op = i % 50 == 49 ? LATE : RANDOM,
				    .arg = { 2 },
				    .done = crowd_done,
				    .user = (void *)&flag };
		int rc;

		while ((rc = au_submit(c->h, &io)) == -EAGAIN)
			au_poll(c->h, 0, 10);
		while (rc == 0 && !flag) {
			if (au_poll(c->h, 0, -1) < 0)
				break;
		}
		if (flag)
			c->done++;
		else
			c->failed++;
	}
	return NULL;
}

static void test_crowd(void **state)
{
	static const char *const targets[] = { THREAD, DIRECT };

	for (int i = 0; i < 2; i++) {
		struct crowd c = { .h = must_open(targets[i], AU_OPEN_SHARED, 4) };
		pthread_t threads[6];

		for (int k = 0; k < 6; k++)
			pthread_create(&threads[k], NULL, k % 2 ? crowd_wait : crowd_poll, &c);
		for (int k = 0; k < 6; k++)
			pthread_join(threads[k], NULL);
		assert_int_equal(c.done, 6 * 500);
		assert_int_equal(c.failed, 0);
		au_close(c.h);
	}
}

/* ------------------------------------------------------------------- refusals */

static void test_refusals(void **state)
{
	struct au_open_options options = { .size = sizeof(options), .abi = 99 };
	struct au_handle *h;

	must_refuse("inproc:", 0, -EINVAL, "inproc:DRIVER");
	must_refuse("inproc:,unit=1", 0, -EINVAL, "inproc:DRIVER");
	must_refuse("inproc:no-such-driver", 0, -ENOENT, "no-such-driver");
	must_refuse("inproc:../t-cancel", 0, -EINVAL, "");
	must_refuse(THREAD ",unit=x", 0, -EINVAL, "unit=x");
	must_refuse(THREAD ",unit=99", 0, -EINVAL, "unit=99");
	must_refuse(THREAD ",poll=thread", 0, -EINVAL, "poll=app");
	must_refuse(THREAD ",seed", 0, -EINVAL, "PARAM=VALUE");
	must_refuse(THREAD ",speed=9", 0, -EINVAL, "speed");
	must_refuse(THREAD ",seed=1000001", 0, -EINVAL, "seed");
	must_refuse(THREAD ",address=nonsense", 0, -EINVAL, "nonsense");
	must_refuse("inproc:uart16550", 0, -EINVAL, "address=");
	must_refuse("inproc:uart16550,address=vfio-user:/nowhere/there.sock", 0, -ENOENT,
		    "/nowhere/there.sock");
	must_refuse("no-such-unit", 0, -ENOENT, "no-such-unit");
	must_refuse("a/b", 0, -EINVAL, "a/b");
	must_refuse(THREAD, 0x100, -EINVAL, "flags");
	assert_int_equal(au_open(THREAD, &options, &h), -EPROTO);
	assert_non_null(strstr(au_errmsg(), "version 99"));
	options = (struct au_open_options){ .size = sizeof(options),
					    .abi = AU_CLIENT_ABI,
					    .depth = 1025 };
	assert_int_equal(au_open(THREAD, &options, &h), -EINVAL);
	assert_non_null(strstr(au_errmsg(), "1024"));
}

/* -------------------------------------------------------------------- serial */

/* With nothing to do the device sleeps, and wakes up for the next request. */
static void test_sleep(void **state)
{
	static const char *const targets[] = { "inproc:t-sleepy,power_idle=2ms",
					       "inproc:t-sleepy,power_idle=2ms,poll=app" };
	enum { TIMES = 22 };

	for (unsigned int i = 0; i < 2; i++) {
		struct au_handle *h = must_open(targets[i], 0, 8);
		uint32_t times = 0;

		for (unsigned int round = 0; round < 10; round++) {
			struct au_io io = { .op = TIMES };

			/* Nothing comes: with poll=app the device is looked after meanwhile. */
			assert_int_equal(au_poll(h, 0, 40), 0);
			assert_int_equal(au_wait(h, &io), 0);
			assert_true(io.result <= round + 1);
			times = io.result;
		}
		/* All ten, where its thread gets its turn. */
		assert_true(times >= 5);
		au_close(h);
	}
	must_refuse("inproc:t-sleepy,power_idle=soon", 0, -EINVAL, "power_idle 'soon'");
	must_refuse("inproc:t-sleepy,power_idle=2", 0, -EINVAL, "2s or 500ms");
	must_refuse("inproc:t-sleepy,power_idle=0s", 0, -EINVAL, "1ms");
	must_refuse("inproc:t-sleepy,power_idle=1s,power_idle=1s", 0, -EINVAL, "twice");
	au_close(must_open("inproc:t-sleepy,power_idle=off", 0, 8));
}

static void test_serial(void **state)
{
	static const char *const targets[] = { "inproc:serial-loop",
					       "inproc:serial-loop,poll=app" };

	for (int i = 0; i < 2; i++) {
		struct au_serial_line line = { .size = sizeof(line), .abi = 1 }, now = line;
		struct au_serial_counters counters = { .size = sizeof(counters), .abi = 1 };
		struct au_handle *h = must_open(targets[i], 0, 0);
		static char out[20000], in[20000];
		size_t got = 0;

		assert_string_equal(au_unit_class(h), "serial");
		line.baud = 115200;
		line.data_bits = 8;
		line.stop_bits = 1;
		assert_int_equal(au_serial_set_line(h, &line), 0);
		assert_int_equal(au_serial_get_line(h, &now), 0);
		assert_int_equal(now.baud, 115200);
		for (size_t k = 0; k < sizeof(out); k++)
			out[k] = (char)(k * 7);
		while (got < sizeof(in)) {
			size_t part = sizeof(in) - got < 3000 ? sizeof(in) - got : 3000;

			assert_int_equal(au_serial_send(h, out + got, part, 1000), part);
			assert_int_equal(au_serial_recv(h, in + got, part, part, 1000), part);
			got += part;
		}
		assert_memory_equal(in, out, sizeof(in));
		assert_int_equal(au_serial_recv(h, in, 10, 1, 50), -ETIMEDOUT);
		assert_int_equal(au_serial_recv(h, in, 10, 0, 50), 0);
		assert_int_equal(au_serial_drain(h, 1000), 0);
		assert_int_equal(au_serial_get_counters(h, &counters), 0);
		assert_int_equal(counters.tx_bytes, sizeof(out));
		assert_int_equal(counters.rx_delivered, sizeof(out));
		au_close(h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused_requests),
		cmocka_unit_test(test_requests_thread),
		cmocka_unit_test(test_requests_direct),
		cmocka_unit_test(test_requests_shared),
		cmocka_unit_test(test_event_loop),
		cmocka_unit_test(test_events),
		cmocka_unit_test(test_gone),
		cmocka_unit_test(test_close),
		cmocka_unit_test(test_wait_for_what_goes),
		cmocka_unit_test(test_arm_beside_a_sleeper),
		cmocka_unit_test(test_instances),
		cmocka_unit_test(test_threads),
		cmocka_unit_test(test_fork),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_sleep),
		cmocka_unit_test(test_serial),
	};
	char dir[400], path[900], run[] = "/tmp/auriga-test-XXXXXX";
	ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
	int rc;

	if (n < 0 || !mkdtemp(run))
		return 1;
	dir[n] = 0;
	*strrchr(dir, '/') = 0;
	snprintf(path, sizeof(path), "%s:%s/../drivers", dir, dir);
	setenv("AURIGA_DRIVER_PATH", path, 1);
	setenv("AURIGA_RUNTIME_DIR", run, 1);
	alarm(50);
	rc = cmocka_run_group_tests_name("client", tests, NULL, NULL);
	snprintf(path, sizeof(path), "rm -r %s", run);
	return system(path) == 0 ? rc : 1;
}
