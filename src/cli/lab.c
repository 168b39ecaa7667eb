/* SPDX-License-Identifier: MIT */
/* `auriga lab` is a program of its own beside this one: it must be able to outlive its caller. */
#include "cli/cli.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int cmd_lab(const struct cli_command *self, int argc, char **argv)
{
	static const char name[] = "auriga-lab";
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - sizeof(name));
	char *slash;

	if (n > 0) {
		path[n] = '\0';
		slash = strrchr(path, '/');
		memcpy(slash + 1, name, sizeof(name));
		execv(path, argv);
	}
	execvp(name, argv);
	return cli_error("cannot run %s: %s", name, strerror(errno));
}
