/* SPDX-License-Identifier: MIT */
/* Paths, claims, modules, messages, sealed memory and the recorder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/claim.h"
#include "base/log.h"
#include "base/module.h"
#include "base/paths.h"
#include "base/recorder.h"
#include "base/trace.h"

/* NOLINTBEGIN(cert-env33-c): the shell is good enough here */

static char error[400], dir[64], path[AU_PATH_MAX];

static int make_dir(void **state)
{
	strcpy(dir, "/tmp/auriga-base-XXXXXX");
	assert_non_null(mkdtemp(dir));
	unsetenv("AURIGA_RUNTIME_DIR");
	unsetenv("AURIGA_DRIVER_PATH");
	error[0] = '\0';
	return 0;
}

static int remove_dir(void **state)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

/* One line, which says this. */
static void says(const char *text)
{
	if (!strstr(error, text))
		fail_msg("'%s' does not say '%s'", error, text);
	assert_null(strchr(error, '\n'));
}

/* -------------------------------------------------------------------- paths */

static void test_runtime_dir(void **state)
{
	char sub[80], long_path[AU_PATH_MAX + 10];

	assert_int_equal(au_runtime_dir(dir, false, path, error, sizeof(error)), 0);
	assert_string_equal(path, dir);
	setenv("AURIGA_RUNTIME_DIR", dir, 1);
	assert_int_equal(au_runtime_dir(NULL, false, path, error, sizeof(error)), 0);
	assert_string_equal(path, dir);
	/* the option wins */
	snprintf(sub, sizeof(sub), "%s/run", dir);
	assert_int_equal(au_runtime_dir(sub, false, path, error, sizeof(error)), -ENOENT);
	says("is aurigad running?");
	assert_int_equal(au_runtime_dir(sub, true, path, error, sizeof(error)), 0);
	assert_string_equal(path, sub);
	assert_int_equal(au_runtime_dir(sub, true, path, error, sizeof(error)), 0);
	unsetenv("AURIGA_RUNTIME_DIR");
	assert_true(au_runtime_dir(NULL, false, path, error, sizeof(error)) <= 0);
	assert_string_equal(path, "/run/auriga");

	/* where others could put up their sockets */
	assert_int_equal(chmod(sub, 0777), 0);
	assert_int_equal(au_runtime_dir(sub, true, path, error, sizeof(error)), -EPERM);
	says("can write to it");
	assert_int_equal(chmod(sub, 0775), 0);
	assert_int_equal(au_runtime_dir(sub, true, path, error, sizeof(error)), -EPERM);
	assert_int_equal(chmod(sub, 0755), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(sub, 12345, 12345), 0);
		assert_int_equal(au_runtime_dir(sub, true, path, error, sizeof(error)), -EPERM);
		says("others own it");
	}
	assert_int_equal(au_runtime_dir("/dev/null", true, path, error, sizeof(error)), -ENOTDIR);
	snprintf(sub, sizeof(sub), "%s/link", dir);
	assert_int_equal(symlink("/tmp", sub), 0);
	assert_int_equal(au_runtime_dir(sub, true, path, error, sizeof(error)), -ENOTDIR);
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	assert_int_equal(au_runtime_dir(long_path, true, path, error, sizeof(error)),
			 -ENAMETOOLONG);
	assert_int_equal(au_runtime_path(dir, "dev/x", path, error, sizeof(error)), 0);
	assert_int_equal(au_runtime_path(dir, long_path, path, error, sizeof(error)),
			 -ENAMETOOLONG);
}

static void test_socket_path(void **state)
{
	char name[120];

	memset(name, 'x', sizeof(name));
	name[107] = '\0';
	assert_int_equal(au_socket_path_check(name, error, sizeof(error)), 0);
	name[107] = 'x';
	name[110] = '\0';
	assert_int_equal(au_socket_path_check(name, error, sizeof(error)), -ENAMETOOLONG);
	says("by 3 characters");
}

static int count_drivers(const char *name, const char *file, void *arg)
{
	++*(int *)arg;
	return 0;
}

static void test_find_driver(void **state)
{
	char list[200], command[800];
	int count = 0;

	snprintf(command, sizeof(command),
		 "mkdir %s/a %s/b && touch %s/a/one.so %s/b/one.so %s/b/two.so %s/b/Three.so "
		 "%s/b/four.txt",
		 dir, dir, dir, dir, dir, dir, dir);
	assert_int_equal(system(command), 0);
	snprintf(list, sizeof(list), "%s/a::/nonexistent:%s/b", dir, dir);
	setenv("AURIGA_DRIVER_PATH", list, 1);
	assert_int_equal(au_driver_find("one", path, error, sizeof(error)), 0);
	assert_non_null(strstr(path, "/a/one.so"));
	assert_int_equal(au_driver_find("two", path, error, sizeof(error)), 0);
	assert_non_null(strstr(path, "/b/two.so"));
	assert_int_equal(au_driver_find("five", path, error, sizeof(error)), -ENOENT);
	says("no driver 'five'");
	says("/nonexistent");
	assert_int_equal(au_driver_find("../a/one", path, error, sizeof(error)), -EINVAL);
	assert_int_equal(au_driver_find("", path, error, sizeof(error)), -EINVAL);
	assert_int_equal(au_driver_find("Three", path, error, sizeof(error)), -EINVAL);
	assert_int_equal(au_driver_list(count_drivers, &count), 0);
	assert_int_equal(count, 2);
}

static void test_names(void **state)
{
	assert_true(au_name_valid("uart16550"));
	assert_true(au_name_valid("serial-loop"));
	assert_true(au_name_valid("0123456789012345678901234567890"));
	assert_false(au_name_valid("01234567890123456789012345678901"));
	assert_false(au_name_valid("-x"));
	assert_false(au_name_valid("X"));
	assert_false(au_name_valid("a.b"));
	assert_false(au_name_valid(""));
}

/* ------------------------------------------------------------------- claims */

static void test_claim(void **state)
{
	int claim = au_claim(dir, "vfio-user:/x.sock", "auriga-host serial0", error, sizeof(error));
	int copy, other, null;
	struct stat st;
	char want[80];
	pid_t pid;

	assert_true(claim >= 0);
	assert_int_equal(fstat(claim, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600); /* who can open it can lock it */
	assert_int_equal(au_claim_check(dir, claim), 0);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(au_claim_check(dir, null), -EPERM);
	close(null);
	assert_int_equal(au_claim(dir, "vfio-user:/x.sock", "me", error, sizeof(error)), -EBUSY);
	snprintf(want, sizeof(want), "vfio-user:/x.sock is run by pid %d (auriga-host serial0)",
		 (int)getpid());
	assert_string_equal(error, want);
	/* another device is another matter, though its name looks alike */
	other = au_claim(dir, "vfio-user:/x_sock", "me", error, sizeof(error));
	assert_true(other >= 0);
	close(other);
	/* passed on: the claim lives as long as any copy */
	copy = dup(claim);
	close(claim);
	assert_int_equal(au_claim(dir, "vfio-user:/x.sock", "me", error, sizeof(error)), -EBUSY);
	assert_int_equal(au_claim_update(copy, 4321, "somebody\nelse"), 0);
	assert_int_equal(au_claim(dir, "vfio-user:/x.sock", "me", error, sizeof(error)), -EBUSY);
	says("run by pid 4321 (somebody");
	close(copy);
	/* and goes with its holder, however that ends */
	pid = fork();
	if (pid == 0) {
		au_claim(dir, "vfio-user:/x.sock", "a child", error, sizeof(error));
		raise(SIGKILL);
	}
	waitpid(pid, NULL, 0);
	claim = au_claim(dir, "vfio-user:/x.sock", "me", error, sizeof(error));
	assert_true(claim >= 0);
	close(claim);
	assert_true(au_claim("/proc", "vfio-user:/x.sock", "me", error, sizeof(error)) < 0);
	assert_null(strchr(error, '\n'));
}

/* However the path to a socket is written, it is one device. */
static void test_claim_paths(void **state)
{
	char address[200], file[100];
	int claim, again;

	snprintf(file, sizeof(file), "%s/sock", dir);
	close(open(file, O_CREAT | O_RDWR, 0600));
	snprintf(address, sizeof(address), "vfio-user:%s", file);
	claim = au_claim(dir, address, "me", error, sizeof(error));
	assert_true(claim >= 0);
	snprintf(address, sizeof(address), "vfio-user:%s/./../%s/sock", dir, strrchr(dir, '/') + 1);
	again = au_claim(dir, address, "me", error, sizeof(error));
	assert_int_equal(again, -EBUSY);
	close(claim);
}

/* ------------------------------------------------------------------ modules */

static int build_module(const char *code)
{
	char command[1200];

	snprintf(path, sizeof(path), "%s/m.so", dir);
	snprintf(command, sizeof(command), "printf '%%s' '%s' | cc -shared -fPIC -w -x c - -o %s",
		 code, path);
	return system(command);
}

#define PREPARE "int prepare(void *d) { return 0; }"

static int load(const char *code)
{
	struct au_module module;
	int err, fd;

	assert_int_equal(build_module(code), 0);
	error[0] = '\0';
	err = au_module_load(path, &module, error, sizeof(error));
	assert_null(strchr(error, '\n'));
	if (err) {
		assert_null(module.library);
		return err;
	}
	assert_non_null(module.driver.prepare);
	au_module_unload(&module);
	/* by descriptor too, as a host gets it */
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_equal(au_module_load_fd(fd, "m.so", &module, error, sizeof(error)), 0);
	close(fd);
	assert_null(module.driver.surprise_removed);
	au_module_unload(&module);
	return 0;
}

static void test_module(void **state)
{
	struct au_module module;

	assert_int_equal(load(PREPARE "const struct { unsigned a[4]; void *p[7]; } au_driver = "
				      "{ { 72, 1, 0, 0 }, { prepare } };"),
			 0);
	/* shorter than the first version */
	assert_int_equal(load(PREPARE "const struct { unsigned a[4]; void *p[7]; } au_driver = "
				      "{ { 64, 1, 0, 0 }, { prepare } };"),
			 -EINVAL);
	says("72 at least");
	/* of a newer build of the same ABI, which does not use what is not known here, or does */
	assert_int_equal(load(PREPARE "const struct { unsigned a[4]; void *p[9]; } au_driver = "
				      "{ { 88, 1, 0, 0 }, { prepare } };"),
			 0);
	assert_int_equal(load(PREPARE "const struct { unsigned a[4]; void *p[9]; } au_driver = "
				      "{ { 88, 1, 0, 0 }, { [0] = prepare, [8] = prepare } };"),
			 -EPROTO);
	says("newer than this Auriga");
	assert_int_equal(load("int x;"), -ENOEXEC);
	says("does not export au_driver");
	assert_int_equal(load(PREPARE "const struct { unsigned a[4]; void *p[7]; } au_driver = "
				      "{ { 72, 2, 0, 0 }, { prepare } };"),
			 -EPROTO);
	says("version 2");
	assert_int_equal(load(PREPARE "const struct { unsigned a[4]; void *p[7]; } au_driver = "
				      "{ { 72, 0, 0, 0 }, { prepare } };"),
			 -EPROTO);
	assert_int_equal(load(PREPARE "const struct { unsigned a[4]; void *p[7]; } au_driver = "
				      "{ { 8, 1, 0, 0 }, { prepare } };"),
			 -EINVAL);
	says("AU_HEAD");
	assert_int_equal(load("const struct { unsigned a[4]; void *p[7]; } au_driver = "
			      "{ { 72, 1, 0, 0 } };"),
			 -EINVAL);
	says("no prepare()");
	assert_int_equal(load(PREPARE "const struct { unsigned a[4]; void *p[7]; } au_driver = "
				      "{ { 72, 1, 0xffffffff, 0 }, { prepare } };"),
			 -EINVAL);
	assert_int_equal(load("void nowhere(void); " PREPARE
			      "const struct { unsigned a[4]; void *p[7]; } au_driver = "
			      "{ { 72, 1, 0, 0 }, { prepare, nowhere } };"),
			 -ENOEXEC);
	says("nowhere");
	assert_int_equal(au_module_load("/nonexistent.so", &module, error, sizeof(error)),
			 -ENOEXEC);
	says("/nonexistent.so");
	assert_int_equal(au_module_load("/dev/null", &module, error, sizeof(error)), -ENOEXEC);
}

/* ---------------------------------------------------- sealed memory, recorder */

static void test_sealed(void **state)
{
	int fd = au_memfd_sealed("test", 8192), plain = memfd_create("plain", MFD_ALLOW_SEALING);

	assert_true(fd >= 0);
	assert_int_equal(au_memfd_check(fd, 8192), 0);
	assert_int_equal(au_memfd_check(fd, 8193), -EPERM);
	assert_int_not_equal(ftruncate(fd, 0), 0);
	assert_int_equal(ftruncate(plain, 8192), 0);
	assert_int_equal(au_memfd_check(plain, 8192), -EPERM);
	assert_int_equal(fcntl(plain, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_int_equal(au_memfd_check(plain, 8192), -EPERM);
	assert_int_equal(au_memfd_check(0, 1), -EPERM);
	assert_int_equal(au_memfd_check(-1, 1), -EPERM);
	assert_true(au_memfd_sealed("huge", SIZE_MAX) < 0);
	close(fd);
	close(plain);
}

static void test_recorder(void **state)
{
	int fd = au_memfd_sealed("status", au_recorder_size());
	struct au_recorder rec, reader;
	const struct au_record *r;
	uint64_t args[6] = { 1, 2, 3, 4, 5, 6 };

	assert_int_equal(au_recorder_map(fd, true, &rec), 0);
	assert_int_equal(au_recorder_map(fd, false, &reader), 0);
	assert_int_equal(reader.status->magic, AU_RECORDER_MAGIC);
	au_recorder_note(&rec, 2, AU_TRACE_irq, args, 3);
	r = &reader.records[2 * AU_RECORDER_RECORDS];
	assert_int_equal(r->seq, 1);
	assert_int_equal(r->point, AU_TRACE_irq);
	assert_int_equal(r->arg[2], 3);
	assert_int_equal(r->arg[3], 0);
	assert_true(r->time_ns > 0);
	assert_string_equal(au_trace_name(AU_TRACE_irq), "irq");
	assert_null(au_trace_name(9999));
	/* a long line goes over records, each with the length of the rest */
	au_recorder_text(&rec, 2, "0123456789012345678901234567890123456789012345678901234567");
	assert_int_equal(r[1].length, 58);
	assert_int_equal(r[2].length, 10);
	assert_memory_equal(r[2].text, "8901234567", 10);
	/* round and round */
	for (unsigned int i = 0; i < 3 * AU_RECORDER_RECORDS; i++)
		au_recorder_note(&rec, 2, AU_TRACE_timeout, args, 6);
	assert_int_equal(rec.next[2], 3 + 3 * AU_RECORDER_RECORDS);
	/* the next host goes on behind the last one */
	au_recorder_unmap(&rec);
	assert_int_equal(au_recorder_map(fd, true, &rec), 0);
	assert_int_equal(rec.next[2], 3 + 3 * AU_RECORDER_RECORDS);
	assert_int_equal(rec.next[1], 0);
	/* lanes that there are not, no recorder: nothing */
	au_recorder_note(&rec, AU_RECORDER_LANES, AU_TRACE_irq, args, 1);
	au_recorder_note(NULL, 0, AU_TRACE_irq, args, 1);
	au_recorder_text(NULL, 0, "x");
	au_recorder_unmap(&rec);
	au_recorder_unmap(&reader);
	close(fd);
	fd = au_memfd_sealed("small", 4096);
	assert_int_equal(au_recorder_map(fd, true, &rec), -EPERM);
	close(fd);
	fd = au_memfd_sealed("other", au_recorder_size());
	assert_int_equal(write(fd, "other!", 6), 6);
	assert_int_equal(au_recorder_map(fd, true, &rec), -EINVAL);
	assert_int_equal(au_recorder_map(fd, false, &rec), -EINVAL);
	close(fd);
}

/* --------------------------------------------------------------------- log */

static char logged[600];

static void sink(void *context, enum au_log_level level, const char *line)
{
	snprintf(logged, sizeof(logged), "%d %s", (int)level, line);
}

static void test_log(void **state)
{
	au_log_set_sink(sink, NULL);
	au_log_set_level(AU_LOG_WARN);
	assert_true(au_log_wanted(AU_LOG_ERROR));
	assert_false(au_log_wanted(AU_LOG_INFO));
	au_logf(AU_LOG_INFO, "not this");
	assert_string_equal(logged, "");
	au_logf(AU_LOG_ERROR, "two\nlines \x1b[31m%d\n", 7);
	assert_string_equal(logged, "0 two lines  [31m7");
	au_logf(AU_LOG_WARN, "%0600d", 1);
	assert_int_equal(strlen(logged), 501);
	au_log_set_sink(NULL, NULL);
}

/* NOLINTEND(cert-env33-c) */

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_runtime_dir, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_socket_path, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_find_driver, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_names, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_claim, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_claim_paths, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_module, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_sealed, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_recorder, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_log, make_dir, remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
