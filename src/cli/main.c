/* SPDX-License-Identifier: MIT */
/* auriga: the command line. */
#include "cli/cli.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *cli_runtime_dir;

static const struct cli_command commands[] = {
	{ "ls", "[--json]", "list the units and who runs them", cmd_ls },
	{ "info", "[--json] NAME", "all about a device: sandbox, history, restarts", cmd_info },
	{ "attach",
	  "[--name NAME] [--driver DRIVER] [--param KEY=VALUE]... [--policy KEY=VALUE]... "
	  "[--needs NAME,...] [--json] ADDRESS",
	  "give a device to a driver", cmd_attach },
	{ "detach", "[--drain[=SECONDS] | --force] NAME", "take it away again", cmd_detach },
	{ "why", "[--json] ADDRESS", "which drivers fit a device, and why", cmd_why },
	{ "drivers",
	  "[--json] [[show] DRIVER|FILE.so] | install [--signature FILE.sig] FILE.so | "
	  "remove [--force] DRIVER[=VERSION] | keygen FILE | sign --key FILE FILE.so...",
	  "list the drivers, install, remove and sign them", cmd_drivers },
	{ "restart", "[--crash] NAME", "restart a driver, in order or as if it had crashed",
	  cmd_restart },
	{ "power", "[--json] [--idle TIME|off] NAME [d0|d3|cycle] | [--json] suspend|resume",
	  "a device's power; all devices as the system sleeps and wakes", cmd_power },
	{ "upgrade", "[--drain SECONDS] [--fresh] [--json] NAME [FILE.so]",
	  "replace the driver of a device that is in use", cmd_upgrade },
	{ "hold", "[--off] NAME", "suspend verdicts while you debug a driver", cmd_hold },
	{ "crash", "[--json] NAME", "what is known of the last death of a driver", cmd_crash },
	{ "trace", "[--follow] [--json] NAME",
	  "what its flight recorder holds: of the last death, and of now", cmd_trace },
	{ "why-stuck", "[--json] NAME", "why a device does not go on, as far as can be seen",
	  cmd_why_stuck },
	{ "export",
	  "NAME pty --link PATH | NAME rfc2217 --listen [HOST:]PORT | NAME nbd --socket PATH | "
	  "NAME fuse --mount DIR",
	  "show a unit to ordinary programs", cmd_export },
	{ "block",
	  "info [--json] NAME | read|write [--offset BYTES] [--length BYTES] [--file FILE] NAME",
	  "a disk: what it is, and its bytes", cmd_block },
	{ "bench",
	  "block [OPTIONS] TARGET | channel [--json] | placement [--json] | power [--count N] "
	  "[--json] NAME | recovery [--count N] "
	  "[--interval MS] [--json] "
	  "NAME | upgrade [--count N] [--interval MS] [--depth N] [--json] NAME [FILE.so]...",
	  "measure", cmd_bench },
	{ "verify",
	  "[--quick|--full] [--seed N] [--time TIME] [--report FILE] [--json] "
	  "[--placement process|inproc|app] [--steps N[-M]] [--only KIND,...] [--machine FILE "
	  "[--function NAME]] [--peer PATH]... [--op N] [--no-data] [--overwrite] TARGET | --list",
	  "certify a driver: everything that can happen, under load, with data checked",
	  cmd_verify },
	{ "lab", "up|ls|down|fault|nvme|nvme-fault [ARGUMENTS]", "device models as devices",
	  cmd_lab },
	{ "pci", "ls [--json]", "the machine's PCI devices, and whether they can be had", cmd_pci },
	{ "bind", "ADDRESS", "give a PCI device to vfio-pci, for drivers outside the kernel",
	  cmd_bind },
	{ "unbind", "ADDRESS", "give it back to the kernel", cmd_unbind },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void main_help(FILE *to)
{
	fprintf(to, "usage: auriga [--runtime-dir DIR] COMMAND [ARGUMENTS]\n\n");
	for (unsigned int i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].help);
	fprintf(to, "\nA unit is named by its name (serial0.1), or run in this process:\n"
		    "  inproc:DRIVER[,address=ADDRESS][,unit=N][,poll=app][,PARAM=VALUE]...\n"
		    "ADDRESS: vfio:0000:01:00.0, vfio-user:PATH, vhost-user:PATH, virtual\n"
		    "`auriga COMMAND --help` says more; auriga(1) says all.\n");
}

int cli_usage(const struct cli_command *self)
{
	fprintf(stderr, "usage: auriga %s %s\n", self->name, self->args);
	return CLI_USAGE;
}

void cli_say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "auriga: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
}

static bool main_wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "runtime-dir", required_argument, NULL, 'r' },
						 { "help", no_argument, NULL, 'h' },
						 { "version", no_argument, NULL, 'V' },
						 { NULL, 0, NULL, 0 } };
	static char name[32];
	int opt;

	while ((opt = getopt_long(argc, argv, "+h", options, NULL)) != -1) {
		switch (opt) {
		case 'r':
			cli_runtime_dir = optarg;
			setenv("AURIGA_RUNTIME_DIR", optarg, 1); /* for the library and the lab */
			break;
		case 'h':
			main_help(stdout);
			return CLI_OK;
		case 'V':
			printf("auriga %s\n", AU_VERSION_TEXT);
			return CLI_OK;
		default:
			main_help(stderr);
			return CLI_USAGE;
		}
	}
	if (optind == argc) {
		main_help(stderr);
		return CLI_USAGE;
	}
	argc -= optind;
	argv += optind;
	optind = 0; /* getopt starts anew for the subcommand */
	for (unsigned int i = 0; i < COMMANDS; i++) {
		if (strcmp(argv[0], commands[i].name) != 0)
			continue;
		/* The lab has its own help. */
		if (commands[i].run != cmd_lab && main_wants_help(argc, argv)) {
			printf("usage: auriga %s %s\n\n%s\n", commands[i].name, commands[i].args,
			       commands[i].help);
			return CLI_OK;
		}
		/* For getopt, which begins its messages with it. */
		snprintf(name, sizeof(name), "auriga %s", commands[i].name);
		argv[0] = name;
		return commands[i].run(&commands[i], argc, argv);
	}
	cli_say("no command '%s'; `auriga --help` lists them", argv[0]);
	return CLI_USAGE;
}
