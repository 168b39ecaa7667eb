/* SPDX-License-Identifier: MIT */
/* `auriga bench`: each measurement is a file of its own. */
#include "cli/cli.h"

int cmd_bench(const struct cli_command *self, int argc, char **argv)
{
	return cli_usage(self);
}
