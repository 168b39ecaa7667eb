/* SPDX-License-Identifier: MIT */
/* cmd_up.c: auriga-lab up */
#include "cli.h"
#include "guardian.h"
#include "rundir.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

enum {
	OPT_ROOT = 256,
	OPT_NAME,
	OPT_MACHINE,
	OPT_DEVICE,
	OPT_CHARDEV,
	OPT_OBJECT,
	OPT_BLOCKDEV,
	OPT_LOG,
	OPT_FG,
	OPT_JSON,
	OPT_QEMU
};

static int parse(struct lab_spec *spec, int argc, char **argv)
{
	static const struct option options[] = {
		{ "runtime-dir", required_argument, NULL, OPT_ROOT },
		{ "name", required_argument, NULL, OPT_NAME },
		{ "machine", required_argument, NULL, OPT_MACHINE },
		{ "device", required_argument, NULL, OPT_DEVICE },
		{ "chardev", required_argument, NULL, OPT_CHARDEV },
		{ "object", required_argument, NULL, OPT_OBJECT },
		{ "blockdev", required_argument, NULL, OPT_BLOCKDEV },
		{ "log", required_argument, NULL, OPT_LOG },
		{ "foreground", no_argument, NULL, OPT_FG },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "qemu-arg", required_argument, NULL, OPT_QEMU },
		{ 0 },
	};
	const char *root = NULL, *name = NULL, *log = NULL;
	int opt, ret = 0;

	while (ret == 0 && (opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case OPT_ROOT:
			root = optarg;
			break;
		case OPT_NAME:
			name = optarg;
			break;
		case OPT_MACHINE:
			ret = machine_load(spec, optarg);
			break;
		case OPT_DEVICE:
			ret = lab_args_add(&spec->devices, optarg);
			break;
		case OPT_CHARDEV:
			ret = lab_args_add(&spec->chardevs, optarg);
			break;
		case OPT_OBJECT:
			ret = lab_args_add(&spec->objects, optarg);
			break;
		case OPT_BLOCKDEV:
			ret = lab_args_add(&spec->blockdevs, optarg);
			break;
		case OPT_LOG:
			log = optarg;
			break;
		case OPT_FG:
			spec->foreground = true;
			break;
		case OPT_JSON:
			spec->json = true;
			break;
		case OPT_QEMU:
			ret = lab_args_add(&spec->qemu_args, optarg);
			break;
		default:
			return 2; /* getopt has said why */
		}
	}
	if (ret)
		return 1;
	if (optind < argc)
		return cli_usage("up takes no argument '%s'", argv[optind]);
	if (name || !spec->name) {
		free(spec->name);
		spec->name = lab_strdup(name ? name : "lab0");
	}
	if (log) {
		free(spec->log);
		spec->log = lab_strdup(log);
	}
	if (!lab_name_valid(spec->name))
		return cli_usage("'%s' cannot be a lab's name: use letters, digits, - _ and .",
				 spec->name);
	spec->root = rundir_root(root);
	return spec->root ? 0 : 1;
}

static int print_result(const struct lab_spec *spec, const char *text, size_t len)
{
	json_t *msg = json_loadb(text, len, 0, NULL);
	const char *error = json_string_value(json_object_get(msg, "error"));
	json_t *f;
	size_t i;

	if (!msg || error) {
		lab_msg("%s", error ? error : "the lab stopped while starting");
		json_decref(msg);
		return 1;
	}
	if (spec->json) {
		json_dumpf(msg, stdout, JSON_COMPACT | JSON_SORT_KEYS);
		putchar('\n');
	} else {
		json_array_foreach(json_object_get(msg, "functions"), i, f)
			printf("%s %s:%s %s\n", json_string_value(json_object_get(f, "address")),
			       json_string_value(json_object_get(f, "vendor")),
			       json_string_value(json_object_get(f, "device")),
			       json_string_value(json_object_get(f, "model")));
	}
	json_decref(msg);
	return fflush(stdout) ? 1 : 0;
}

static int wait_for_result(const struct lab_spec *spec, int fd)
{
	struct lab_buf b = { 0 };
	ssize_t n;

	do {
		n = read(fd, lab_buf_reserve(&b, 4096), 4096);
		if (n > 0)
			b.tail += (size_t)n;
	} while (n > 0 || (n < 0 && errno == EINTR));
	int ret = print_result(spec, (const char *)b.data, b.tail);
	lab_buf_free(&b);
	return ret;
}

/* A daemon has no terminal and its messages go to the lab's directory. */
static void daemonize(const struct lab_spec *spec)
{
	AU_CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	AU_CLEANUP_FD int log =
		openat(spec->dirfd, "lab.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	setsid();
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(log >= 0 ? log : null, STDERR_FILENO);
}

/* Start the guardian: a child, or in the foreground this very process, while a child prints. */
static int start(struct lab_spec *spec, int report[2])
{
	pid_t pid = fork();

	if (pid < 0) {
		rundir_remove(spec->dir, spec->dirfd);
		return lab_fail(1, "cannot start a process: %s", strerror(errno));
	}
	if ((pid == 0) != spec->foreground) {
		close(report[0]);
		if (!spec->foreground)
			daemonize(spec);
		return guardian_run(spec, report[1]);
	}
	close(report[1]);
	close(spec->dirfd); /* the lock is the guardian's */
	spec->dirfd = -1;
	int ret = wait_for_result(spec, report[0]);
	if (spec->foreground)
		_exit(ret);
	if (ret) /* it has cleaned up when it is gone */
		waitpid(pid, NULL, 0);
	return ret;
}

static int run_up(struct lab_spec *spec)
{
	int report[2];

	if (rundir_claim(spec))
		return 1;
	if (lab_spec_finish(spec)) {
		rundir_remove(spec->dir, spec->dirfd);
		return 1;
	}
	if (pipe2(report, O_CLOEXEC)) {
		rundir_remove(spec->dir, spec->dirfd);
		return lab_fail(1, "no pipe: %s", strerror(errno));
	}
	return start(spec, report);
}

int cmd_up(int argc, char **argv)
{
	struct lab_spec spec = { .dirfd = -1 };
	int ret = parse(&spec, argc, argv);

	if (ret == 0)
		ret = run_up(&spec);
	lab_spec_free(&spec);
	return ret;
}
