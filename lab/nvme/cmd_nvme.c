/* SPDX-License-Identifier: MIT */
/* cmd_nvme.c: auriga-lab nvme and nvme-fault. */
#include "../cli.h"
#include "server.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SIZE_MAX_BYTES	 (1ull << 46)
#define ANSWER_TIMEOUT_S 5

enum {
	OPT_SOCKET = 256,
	OPT_SIZE,
	OPT_BACKING,
	OPT_BLOCK,
	OPT_NAMESPACES,
	OPT_QUEUES,
	OPT_ENTRIES,
	OPT_MDTS,
	OPT_CORE,
	OPT_FAULT,
	OPT_CONTROL,
	OPT_POLL,
	OPT_DOORBELLS,
	OPT_WITHOUT,
};

static const struct option options[] = {
	{ "socket", required_argument, NULL, OPT_SOCKET },
	{ "size", required_argument, NULL, OPT_SIZE },
	{ "backing", required_argument, NULL, OPT_BACKING },
	{ "block-size", required_argument, NULL, OPT_BLOCK },
	{ "namespaces", required_argument, NULL, OPT_NAMESPACES },
	{ "queues", required_argument, NULL, OPT_QUEUES },
	{ "entries", required_argument, NULL, OPT_ENTRIES },
	{ "mdts", required_argument, NULL, OPT_MDTS },
	{ "core", required_argument, NULL, OPT_CORE },
	{ "fault", required_argument, NULL, OPT_FAULT },
	{ "control", required_argument, NULL, OPT_CONTROL },
	{ "poll", required_argument, NULL, OPT_POLL },
	{ "doorbells", required_argument, NULL, OPT_DOORBELLS },
	{ "without", required_argument, NULL, OPT_WITHOUT },
	{ 0 },
};

struct arguments {
	struct nvme_options nvme;
	struct nvme_server server;
	const char *faults[NVME_FAULTS];
	unsigned int num_faults, core;
	bool has_core;
};

static bool number(const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, 0);
	unit = *end ? strchr(units, *end) : NULL;
	if (unit && *value <= UINT64_MAX >> 40) {
		*value <<= 10 * (unit - units + 1);
		end++;
	}
	return !errno && !*end && *value >= min && *value <= max;
}

static int wrong(const char *option, const char *text, const char *what)
{
	return cli_usage("--%s %s: %s", option, text, what);
}

/* Options whose argument is a number. Return: 0, 2, or -1 when it is not one of these. */
static int parse_number(struct arguments *a, int opt, const char *text)
{
	unsigned int core = 0;
	const struct {
		int opt;
		const char *name;
		unsigned int *to;
		uint64_t min, max;
		const char *what;
	} numbers[] = {
		{ OPT_BLOCK, "block-size", &a->nvme.block, 512, 4096, "512 or 4096" },
		{ OPT_NAMESPACES, "namespaces", &a->nvme.namespaces, 1, NVME_NAMESPACES,
		  "1 to 32" },
		{ OPT_QUEUES, "queues", &a->nvme.queues, 1, NVME_IO_QUEUES, "1 to 127" },
		{ OPT_ENTRIES, "entries", &a->nvme.entries, 2, 65536, "2 to 65536" },
		{ OPT_MDTS, "mdts", &a->nvme.mdts, 1, NVME_MDTS_MAX,
		  "1 to 8, for 4 KiB << mdts at most" },
		{ OPT_CORE, "core", &core, 0, CPU_SETSIZE - 1, "not a processor" },
	};
	uint64_t value;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (numbers[i].opt != opt)
			continue;
		if (!number(text, numbers[i].min, numbers[i].max, &value) ||
		    (opt == OPT_BLOCK && value != 512 && value != 4096))
			return wrong(numbers[i].name, text, numbers[i].what);
		*numbers[i].to = (unsigned int)value;
		if (opt == OPT_CORE) {
			a->has_core = true;
			a->core = core;
		}
		return 0;
	}
	return -1;
}

static int parse_one(struct arguments *a, int opt, const char *text)
{
	int ret = parse_number(a, opt, text);

	if (ret >= 0)
		return ret;
	switch (opt) {
	case OPT_SOCKET:
		a->server.path = text;
		return 0;
	case OPT_CONTROL:
		a->server.control = text;
		return 0;
	case OPT_SIZE:
		return number(text, 4096, SIZE_MAX_BYTES, &a->nvme.size)
			       ? 0
			       : wrong("size", text, "4K to 64T");
	case OPT_BACKING:
		a->nvme.null = strcmp(text, "null") == 0;
		a->nvme.file = strcmp(text, "ram") == 0 || a->nvme.null ? NULL : text;
		return 0;
	case OPT_FAULT:
		if (a->num_faults == NVME_FAULTS)
			return wrong("fault", text, "too many faults");
		a->faults[a->num_faults++] = text;
		return 0;
	case OPT_POLL:
		a->server.always = strcmp(text, "always") == 0;
		return a->server.always || strcmp(text, "adaptive") == 0
			       ? 0
			       : wrong("poll", text, "always or adaptive");
	case OPT_DOORBELLS:
		a->nvme.trap = strcmp(text, "message") == 0;
		return a->nvme.trap || strcmp(text, "mapped") == 0
			       ? 0
			       : wrong("doorbells", text, "mapped or message");
	case OPT_WITHOUT:
		a->nvme.no_fused |= strcmp(text, "fused") == 0;
		a->nvme.no_sgl |= strcmp(text, "sgl") == 0;
		return strcmp(text, "fused") == 0 || strcmp(text, "sgl") == 0
			       ? 0
			       : wrong("without", text, "fused or sgl");
	default:
		return cli_usage("no such option");
	}
}

static int parse(struct arguments *a, int argc, char **argv)
{
	static char name[] = "auriga-lab";
	int opt, ret;

	argv[0] = name; /* getopt's messages begin with it */
	a->nvme = (struct nvme_options){ .size = 1ull << 30,
					 .block = 512,
					 .namespaces = 1,
					 .queues = 8,
					 .entries = 1024,
					 .mdts = 5 };
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == '?')
			return 2;
		ret = parse_one(a, opt, optarg);
		if (ret)
			return ret;
	}
	if (optind < argc)
		return cli_usage("'%s' is too much", argv[optind]);
	if (!a->server.path)
		return cli_usage("say where to serve the controller: --socket PATH");
	if (a->nvme.file && a->nvme.namespaces > 1)
		return cli_usage("a file is the backing of one namespace only");
	return 0;
}

int cmd_nvme(int argc, char **argv)
{
	static struct arguments a;
	char why[256];
	int ret = parse(&a, argc, argv);

	if (ret)
		return ret;
	if (a.has_core) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(a.core, &set);
		if (sched_setaffinity(0, sizeof(set), &set)) {
			lab_msg("cannot run on processor %u: %s", a.core, strerror(errno));
			return 1;
		}
	}
	a.server.nvme = nvme_new(&a.nvme);
	if (!a.server.nvme)
		return 1;
	for (unsigned int i = 0; i < a.num_faults && !ret; i++)
		if (nvme_fault_spec(a.server.nvme, a.faults[i], why, sizeof(why)))
			ret = wrong("fault", a.faults[i], why);
	if (!ret)
		ret = nvme_serve(&a.server) ? 1 : 0;
	nvme_free(a.server.nvme);
	return ret;
}

static json_t *ask(const char *path, const char *line)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AU_CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval limit = { .tv_sec = ANSWER_TIMEOUT_S };
	json_t *answer;

	if (strlen(path) >= sizeof(addr.sun_path)) {
		lab_msg("%s: a socket's path has at most %zu bytes", path,
			sizeof(addr.sun_path) - 1);
		return NULL;
	}
	memcpy(addr.sun_path, path, strlen(path) + 1);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
		lab_msg("%s: %s: is a controller served with --control %s?", path, strerror(errno),
			path);
		return NULL;
	}
	dprintf(fd, "%s\n", line);
	answer = json_loadfd(fd, JSON_DISABLE_EOF_CHECK, NULL);
	if (!answer)
		lab_msg("%s: no answer within %d s", path, ANSWER_TIMEOUT_S);
	return answer;
}

int cmd_nvme_fault(int argc, char **argv)
{
	const char *error;
	json_t *answer;
	int ret = 0;

	if (argc != 3 || strchr(argv[2], '\n'))
		return cli_usage("nvme-fault PATH SPEC|clear|stats");
	answer = ask(argv[1], argv[2]);
	if (!answer)
		return 1;
	error = json_string_value(json_object_get(answer, "error"));
	if (error) {
		lab_msg("%s", error);
		ret = 1;
	} else if (!json_is_true(json_object_get(answer, "ok"))) {
		json_dumpf(answer, stdout, JSON_INDENT(2));
		puts("");
	}
	json_decref(answer);
	return ret;
}
