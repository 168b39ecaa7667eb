/* SPDX-License-Identifier: MIT */
/* Opening a vfio-user session: what is negotiated, that the function is quiet, and the time. */
#include "fake_vfu.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/un.h>
#include <time.h>
#include <cmocka.h>

static char folder[] = "/tmp/test_vfu_open.XXXXXX";
static char path[100];

struct listener {
	struct fake fake;
	pthread_t thread;
	int fd;
	enum { SERVE, HANG_UP, NEVER } how;
};

static void *listener_run(void *arg)
{
	struct listener *listener = arg;
	int fd = accept(listener->fd, NULL, NULL);

	if (fd < 0)
		return NULL;
	listener->fake.fd = fd;
	if (listener->how == SERVE)
		fake_run(&listener->fake);
	else if (listener->how == NEVER)
		recv(fd, &(char[4096]){ 0 }, 4096, MSG_WAITALL);
	else
		shutdown(fd, SHUT_RDWR);
	return NULL;
}

static void listener_start(struct listener *listener)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	unlink(path);
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener->fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(listener->fd, 0), 0);
	pthread_create(&listener->thread, NULL, listener_run, listener);
}

static void listener_stop(struct listener *listener)
{
	listener->fake.stop = true;
	if (listener->fake.fd >= 0)
		shutdown(listener->fake.fd, SHUT_RDWR);
	shutdown(listener->fd, SHUT_RDWR);
	pthread_join(listener->thread, NULL);
	if (listener->fake.fd >= 0)
		close(listener->fake.fd);
	close(listener->fd);
}

static void listener_init(struct listener *listener)
{
	fake_init(&listener->fake);
	listener->how = SERVE;
	/* as a driver that died may have left it */
	listener->fake.config[4] = 0x07;
}

/* Open; the result, with the error's text checked for its form. */
static int open_it(struct listener *listener, struct au_bus_session *session, char *error,
		   size_t size)
{
	int fd;

	error[0] = '\0';
	listener_start(listener);
	fd = au_vfu_open(path, 400, session, error, size);
	if (fd < 0) {
		assert_non_null(strstr(error, path));
		assert_null(strchr(error, '\n'));
	}
	return fd;
}

static void test_open(void **state)
{
	struct au_bus_session session;
	struct listener listener;
	struct au_bus *bus;
	char error[200];
	uint64_t value;
	int fd;

	listener_init(&listener);
	listener.fake.caps = "{\"capabilities\":{\"max_msg_fds\":4,\"max_data_xfer_size\":65536,"
			     "\"write_multiple\":true,\"other\":[1,{}]}}";
	fd = open_it(&listener, &session, error, sizeof(error));
	assert_true(fd >= 0);
	assert_int_equal(session.size, sizeof(session));
	assert_int_equal(session.max_data, 65536);
	assert_int_equal(session.max_fds, 4);
	assert_int_equal(session.write_multiple, 1);
	assert_int_equal(listener.fake.resets, 1);
	assert_int_equal(listener.fake.irq_sets, 1);
	/* quiet, and again after the reset, which forgot it */
	assert_int_equal(listener.fake.config[4] & 4, 0);
	assert_int_equal(listener.fake.config[5], 4);
	assert_int_equal(au_vfu_adopt(fd, &session, path, &bus), 0);
	assert_int_equal(bus->ops->read(bus, 7, 0, 4, &value), 0);
	assert_int_equal(value, 0x00021b36);
	bus->ops->close(bus);
	listener_stop(&listener);
}

static void test_no_reset(void **state)
{
	struct au_bus_session session;
	struct listener listener;
	char error[200];
	int fd;

	listener_init(&listener);
	listener.fake.info_flags = VFIO_DEVICE_FLAGS_PCI;
	fd = open_it(&listener, &session, error, sizeof(error));
	assert_true(fd >= 0);
	assert_int_equal(session.max_data, 1 << 20); /* what the specification says */
	assert_int_equal(session.max_fds, 1);
	assert_int_equal(session.write_multiple, 0);
	assert_int_equal(listener.fake.resets, 0);
	assert_int_equal(listener.fake.config[4], 3);
	assert_int_equal(listener.fake.config[5], 4);
	close(fd);
	listener_stop(&listener);
}

static void test_caps_hostile(void **state)
{
	static const char *const bad[] = {
		"",
		"{",
		"[]",
		"7",
		"{\"capabilities\":7}",
		"{\"capabilities\":{\"max_data_xfer_size\":-1}}",
		"{\"capabilities\":{\"max_data_xfer_size\":0}}",
		"{\"capabilities\":{\"max_data_xfer_size\":7}}",
		"{\"capabilities\":{\"max_data_xfer_size\":\"1\"}}",
		"{\"capabilities\":{\"max_data_xfer_size\":1e99}}",
		"{\"capabilities\":{\"max_msg_fds\":-1}}",
		"{\"capabilities\":{\"max_msg_fds\":null}}",
		"{\"capabilities\":{\"write_multiple\":1}}",
	};
	struct au_bus_session session;
	char error[200];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct listener listener;

		listener_init(&listener);
		listener.fake.caps = bad[i];
		assert_int_equal(open_it(&listener, &session, error, sizeof(error)), -EPROTO);
		listener_stop(&listener);
	}
}

static void test_caps_large(void **state)
{
	struct au_bus_session session;
	struct listener listener;
	char error[200];
	int fd;

	listener_init(&listener);
	listener.fake.caps = "{\"capabilities\":{\"max_msg_fds\":9223372036854775807,"
			     "\"max_data_xfer_size\":9223372036854775807}}";
	fd = open_it(&listener, &session, error, sizeof(error));
	assert_true(fd >= 0);
	assert_int_equal(session.max_fds, 8);
	assert_int_equal(session.max_data, 1 << 30);
	close(fd);
	listener_stop(&listener);
}

static void test_refused(void **state)
{
	struct au_bus_session session;
	struct listener listener;
	char error[200];

	listener_init(&listener);
	listener.fake.version_error = EBUSY;
	assert_int_equal(open_it(&listener, &session, error, sizeof(error)), -EBUSY);
	listener_stop(&listener);
	listener_init(&listener);
	listener.fake.minor = 1;
	assert_int_equal(open_it(&listener, &session, error, sizeof(error)), -EPROTO);
	listener_stop(&listener);
	listener_init(&listener);
	listener.fake.info_flags = 0;
	assert_int_equal(open_it(&listener, &session, error, sizeof(error)), -ENOTSUP);
	listener_stop(&listener);
	listener_init(&listener);
	listener.how = HANG_UP;
	assert_int_equal(open_it(&listener, &session, error, sizeof(error)), -ECONNRESET);
	listener_stop(&listener);
}

static void test_dead(void **state)
{
	struct au_bus_session session;
	struct listener listener;
	char error[200];

	listener_init(&listener);
	memset(listener.fake.config, 0xff, sizeof(listener.fake.config));
	assert_int_equal(open_it(&listener, &session, error, sizeof(error)), -ENODEV);
	assert_int_equal(listener.fake.writes, 0);
	listener_stop(&listener);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* A server that accepts and says nothing, and one that does not even accept. */
static void test_time(void **state)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct au_bus_session session;
	struct listener listener;
	char error[200];
	double begin = now();
	int fds[4];

	listener_init(&listener);
	listener.how = NEVER;
	assert_int_equal(open_it(&listener, &session, error, sizeof(error)), -ETIMEDOUT);
	assert_true(now() - begin < 1000);
	assert_true(now() - begin >= 390);
	listener_stop(&listener);

	unlink(path);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	fds[0] = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fds[0], (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fds[0], 0), 0);
	for (unsigned int i = 1; i < 4; i++) {
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		if (connect(fds[i], (struct sockaddr *)&addr, sizeof(addr)))
			assert_int_equal(errno, EAGAIN); /* it is full */
	}
	begin = now();
	assert_int_equal(au_vfu_open(path, 200, &session, error, sizeof(error)), -ETIMEDOUT);
	assert_true(now() - begin < 600);
	for (unsigned int i = 0; i < 4; i++)
		close(fds[i]);
	/* now the socket is there and nobody behind it */
	assert_int_equal(au_vfu_open(path, 200, &session, error, sizeof(error)), -ECONNREFUSED);
	unlink(path);
	assert_int_equal(au_vfu_open(path, 200, &session, error, sizeof(error)), -ENOENT);
	assert_int_equal(au_vfu_open(folder, 200, &session, error, sizeof(error)), -ECONNREFUSED);
	assert_int_equal(au_vfu_open("", 200, &session, error, sizeof(error)), -EINVAL);
}

static int make_folder(void **state)
{
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/sock", folder);
	return 0;
}

static int remove_folder(void **state)
{
	unlink(path);
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),	     cmocka_unit_test(test_no_reset),
		cmocka_unit_test(test_caps_hostile), cmocka_unit_test(test_caps_large),
		cmocka_unit_test(test_refused),	     cmocka_unit_test(test_dead),
		cmocka_unit_test(test_time),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
