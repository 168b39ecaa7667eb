/* SPDX-License-Identifier: MIT */
/* main.c: auriga-lab: device models, QEMU's without a guest or our own, as vfio-user devices. */
#include "cli.h"
#include "util.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char usage[] =
	"usage: auriga-lab up [--name NAME] [--machine FILE] [--device MODEL[,PROP=VALUE]...]...\n"
	"                     [--chardev SPEC]... [--blockdev SPEC]... [--object SPEC]...\n"
	"                     [--log FILE] [--foreground] [--json] [--qemu-arg ARG]...\n"
	"       auriga-lab ls [--json]\n"
	"       auriga-lab down [NAME | --all]\n"
	"       auriga-lab fault NAME freeze|thaw|kill\n"
	"       auriga-lab fault [NAME] remove|add FUNCTION\n"
	"       auriga-lab nvme --socket PATH [--control PATH] [--fault SPEC]...\n"
	"                       [--backing ram|null|FILE] [--size BYTES] [--block-size 512|4096]\n"
	"                       [--namespaces N] [--queues N] [--entries N] [--mdts N]\n"
	"                       [--doorbells mapped|message] [--poll adaptive|always] [--core N]\n"
	"       auriga-lab nvme-fault PATH SPEC|clear|stats\n"
	"       auriga-lab --version | --help\n"
	"\n"
	"Those of QEMU take --runtime-dir DIR too (default $AURIGA_RUNTIME_DIR, then "
	"/run/auriga).\n"
	"\"%d\" in a device, chardev, block device, object or QEMU argument is the lab's own "
	"directory.\n";

int cli_usage(const char *fmt, ...)
{
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	lab_msg("%s; see auriga-lab --help", line);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} commands[] = { { "up", cmd_up },     { "ls", cmd_ls },
			 { "down", cmd_down }, { "fault", cmd_fault },
			 { "nvme", cmd_nvme }, { "nvme-fault", cmd_nvme_fault } };

	if (argc < 2)
		return cli_usage("say what to do: up, ls, down, fault, nvme or nvme-fault");
	/* Anywhere, so that 'auriga-lab up --help' is answered too. */
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			fputs(usage, stdout);
			return 0;
		}
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts("auriga-lab " AURIGA_VERSION);
		return 0;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		static char name[32];

		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		/* For getopt, which begins its messages with it. */
		snprintf(name, sizeof(name), "auriga-lab %s", commands[i].name);
		argv[1] = name;
		return commands[i].run(argc - 1, argv + 1);
	}
	return cli_usage("'%s' is no command: up, ls, down, fault, nvme or nvme-fault", argv[1]);
}
