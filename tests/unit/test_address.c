/* SPDX-License-Identifier: MIT */
/* Addresses: what is one, what is not, and that the error says so in one line. */
#include "bus/address.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void good(const char *text, enum au_bus_kind kind, const char *path, int result)
{
	struct au_bus_address address;
	char error[200] = "";

	assert_int_equal(au_bus_address_parse(text, &address, error, sizeof(error)), result);
	assert_int_equal(address.kind, kind);
	assert_string_equal(address.path, path);
	assert_true((result == 0) == (error[0] == '\0'));
}

static void bad(const char *text)
{
	struct au_bus_address address;
	char error[200] = "";

	assert_int_equal(au_bus_address_parse(text, &address, error, sizeof(error)), -EINVAL);
	assert_true(strlen(error) > 10);
	assert_null(strchr(error, '\n'));
}

static void test_good(void **state)
{
	good("virtual", AU_BUS_VIRTUAL, "", 0);
	good("vfio-user:/run/x.sock", AU_BUS_VFIO_USER, "/run/x.sock", 0);
	good("vfio-user:a:b", AU_BUS_VFIO_USER, "a:b", 0);
	good("vfio:0000:01:1F.7", AU_BUS_VFIO, "0000:01:1f.7", 0);
	good("vhost-user:/run/y", AU_BUS_VHOST_USER, "/run/y", 0);
}

static void test_bad(void **state)
{
	static const char *const texts[] = {
		"",
		"virtual:",
		"Virtual",
		"vfio-user",
		"vfio-user:",
		"vfio:",
		"vfio:01:00.0",
		"vfio:0000:01:00.8",
		"vfio:0000:01:",
		"vfio:0000:01:20.0",
		"vfio:0000:01:00.00",
		"vfio: 000:01:00.0",
		"/run/x.sock",
		"vhost-user:",
		"pci:0000:01:00.0",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		bad(texts[i]);
}

static void test_long(void **state)
{
	char text[400] = "vfio-user:";

	memset(text + 10, 'x', 107);
	good(text, AU_BUS_VFIO_USER, text + 10, 0);
	memset(text + 10, 'x', 108);
	bad(text);
	memset(text, 'x', sizeof(text) - 1);
	bad(text);
}

static int open_it(const char *address, char *error, size_t size)
{
	struct au_bus_session session;
	int fds[AU_BUS_FDS] = { 1, 2, 3 };
	int err = au_bus_open(address, 100, &session, fds, error, size);

	for (unsigned int i = 0; i < AU_BUS_FDS; i++)
		assert_int_equal(fds[i], -1);
	return err;
}

static void test_open(void **state)
{
	char error[200] = "";

	assert_int_equal(open_it("virtual", error, sizeof(error)), -EINVAL);
	assert_int_equal(open_it("vfio:ffff:ff:1f.7", error, sizeof(error)), -ENODEV);
	assert_non_null(strstr(error, "ffff:ff:1f.7: there is no such PCI device"));
	assert_int_equal(open_it("vfio-user:/nowhere/x", error, sizeof(error)), -ENOENT);
	assert_non_null(strstr(error, "/nowhere/x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_long),
		cmocka_unit_test(test_open),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
