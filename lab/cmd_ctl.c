/* SPDX-License-Identifier: MIT */
/* cmd_ctl.c: auriga-lab ls, down and fault: clients of the control sockets. */
#include "cli.h"
#include "rundir.h"
#include "util.h"

#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define ANSWER_TIMEOUT_MS 10000

enum { OPT_ROOT = 256, OPT_JSON, OPT_ALL };

struct options {
	const char *root;
	bool json, all;
};

static int parse(struct options *o, int argc, char **argv)
{
	static const struct option options[] = {
		{ "runtime-dir", required_argument, NULL, OPT_ROOT },
		{ "json", no_argument, NULL, OPT_JSON },
		{ "all", no_argument, NULL, OPT_ALL },
		{ 0 },
	};
	const char *root = NULL;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == OPT_ROOT)
			root = optarg;
		else if (opt == OPT_JSON)
			o->json = true;
		else if (opt == OPT_ALL)
			o->all = true;
		else
			return 2;
	}
	o->root = rundir_root(root);
	return o->root ? 0 : 1;
}

/* One question to a lab's guardian. Return: its answer, or NULL with *err set. */
static json_t *ask(const char *root, const char *name, const char *command, int *err)
{
	AU_CLEANUP_FD int fd = rundir_control(root, name);
	AU_CLEANUP_FREE char *line = NULL;
	struct timeval limit = { .tv_sec = ANSWER_TIMEOUT_MS / 1000 };

	if (fd < 0) {
		*err = fd;
		return NULL;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	/* It may have given us up: on a busy machine we may be late. */
	if (asprintf(&line, "%s\n", command) < 0 ||
	    send(fd, line, strlen(line), MSG_NOSIGNAL) < 0) {
		*err = -EPROTO;
		return NULL;
	}

	json_t *answer = json_loadfd(fd, JSON_DISABLE_EOF_CHECK, NULL);
	*err = answer ? 0 : -EPROTO;
	return answer;
}

static int explain(const char *name, int err)
{
	if (err == -ENOENT)
		lab_msg("there is no lab %s: see 'auriga lab ls'", name);
	else if (err == -ECONNREFUSED)
		lab_msg("the lab %s was killed: 'auriga lab down %s' removes what is left", name,
			name);
	else if (err == -EPROTO)
		lab_msg("the lab %s does not answer", name);
	else
		lab_msg("cannot reach the lab %s: %s", name, strerror(-err));
	return 1;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of all labs, sorted, to be freed. */
static size_t list_labs(const char *root, char ***names)
{
	AU_CLEANUP_FREE char *path = NULL;
	size_t num = 0;
	struct dirent *e;

	*names = NULL;
	if (asprintf(&path, "%s/lab", root) < 0)
		return 0;
	DIR *d = opendir(path);
	while (d && (e = readdir(d))) {
		if (!lab_name_valid(e->d_name))
			continue;
		char **more = reallocarray(*names, num + 1, sizeof(**names));
		if (!more)
			break;
		*names = more;
		(*names)[num++] = lab_strdup(e->d_name);
	}
	if (d)
		closedir(d);
	if (num)
		qsort(*names, num, sizeof(**names), compare_names);
	return num;
}

static const char *text(const json_t *obj, const char *key)
{
	const char *s = json_string_value(json_object_get(obj, key));

	return s ? s : "-";
}

static void print_func(const json_t *f)
{
	json_int_t faults = json_integer_value(json_object_get(f, "dma_faults"));

	printf("  %s %s:%s %s", text(f, "address"), text(f, "vendor"), text(f, "device"),
	       text(f, "model"));
	if (json_is_true(json_object_get(f, "removed")))
		printf(" removed");
	if (faults)
		printf(" stray-dma=%lld", (long long)faults);
	putchar('\n');
}

static void print_lab(const json_t *status)
{
	const json_t *f;
	size_t i;

	printf("%s %s\n", text(status, "name"), text(status, "state"));
	json_array_foreach(json_object_get(status, "functions"), i, f) print_func(f);
}

int cmd_ls(int argc, char **argv)
{
	struct options o = { 0 };
	int ret = parse(&o, argc, argv), err;
	char **names;

	if (ret)
		return ret;
	if (optind < argc)
		return cli_usage("ls takes no argument '%s'", argv[optind]);

	json_t *all = json_array();
	size_t num = list_labs(o.root, &names);
	for (size_t i = 0; i < num; i++) {
		json_t *status = ask(o.root, names[i], "status", &err);

		if (!status && err != -ENOENT)
			status = json_pack("{s:s, s:s, s:[]}", "name", names[i], "state",
					   err == -ECONNREFUSED ? "killed" : "silent", "functions");
		if (json_object_get(status, "error"))
			json_object_set_new(status, "state", json_string("starting"));
		if (status)
			json_array_append_new(all, status);
		free(names[i]);
	}
	free(names);
	if (o.json) {
		json_dumpf(all, stdout, JSON_COMPACT | JSON_SORT_KEYS);
		putchar('\n');
	} else {
		const json_t *status;
		size_t i;

		json_array_foreach(all, i, status) print_lab(status);
	}
	json_decref(all);
	return 0;
}

static int take_down(const char *root, const char *name)
{
	int err, fd = rundir_control(root, name);
	struct ucred cred = { 0 };
	socklen_t len = sizeof(cred);

	if (fd == -ECONNREFUSED) {
		err = rundir_sweep(root, name);
		return err ? explain(name, -EPROTO) : 0;
	}
	if (fd < 0)
		return explain(name, fd);
	/* The guardian's end is what "down" waits for. */
	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	close(fd);
	AU_CLEANUP_FD int pidfd = (int)syscall(SYS_pidfd_open, cred.pid, 0);
	json_t *answer = ask(root, name, "down", &err);
	json_decref(answer);
	if (pidfd >= 0) {
		struct pollfd pfd = { .fd = pidfd, .events = POLLIN };

		if (poll(&pfd, 1, ANSWER_TIMEOUT_MS) != 1)
			return explain(name, -EPROTO);
		return 0;
	}
	return answer ? 0 : explain(name, err);
}

int cmd_down(int argc, char **argv)
{
	struct options o = { 0 };
	int ret = parse(&o, argc, argv);
	char **names;

	if (ret)
		return ret;
	if (!o.all) {
		if (argc - optind > 1)
			return cli_usage("down takes one name, or --all");
		const char *name = optind < argc ? argv[optind] : "lab0";
		return lab_name_valid(name) ? take_down(o.root, name) : explain(name, -ENOENT);
	}
	if (optind < argc)
		return cli_usage("down takes a name or --all, not both");
	size_t num = list_labs(o.root, &names);
	for (size_t i = 0; i < num; i++) {
		ret |= take_down(o.root, names[i]);
		free(names[i]);
	}
	free(names);
	return ret;
}

static bool is_hotplug(const char *what)
{
	return strcmp(what, "remove") == 0 || strcmp(what, "add") == 0;
}

/* fault NAME WHAT, fault [NAME] remove|add FUNCTION */
int cmd_fault(int argc, char **argv)
{
	struct options o = { 0 };
	int ret = parse(&o, argc, argv), err;
	char command[128];

	if (ret)
		return ret;
	argc -= optind;
	argv += optind;
	const char *name = "lab0";
	if (argc == 3 || (argc == 2 && !is_hotplug(argv[0]))) {
		name = *argv++;
		argc--;
	}
	const char *what = argc ? argv[0] : "";
	if (argc != (is_hotplug(what) ? 2 : 1))
		return cli_usage(
			"fault wants a name, and freeze, thaw, kill, remove FUNCTION or add "
			"FUNCTION");
	if (!is_hotplug(what) && strcmp(what, "freeze") != 0 && strcmp(what, "thaw") != 0 &&
	    strcmp(what, "kill") != 0)
		return cli_usage("'%s' is no fault: freeze, thaw, kill, remove or add", what);
	if (!lab_name_valid(name))
		return explain(name, -ENOENT);
	if (argc == 2 && !lab_name_valid(argv[1]))
		return cli_usage("'%s' is no function's name: see 'auriga lab ls'", argv[1]);
	snprintf(command, sizeof(command), "%s%s%s", what, argc == 2 ? " " : "",
		 argc == 2 ? argv[1] : "");

	json_t *answer = ask(o.root, name, command, &err);
	if (!answer)
		return explain(name, err);
	const char *error = json_string_value(json_object_get(answer, "error"));
	if (error)
		lab_msg("%s", error);
	json_decref(answer);
	return error ? 1 : 0;
}
