/* SPDX-License-Identifier: MIT */
/* `auriga export`: a unit shown to ordinary programs. */
#include "cli/cli.h"
#include "export/export.h"

#include <errno.h>
#include <string.h>

int cmd_export(const struct cli_command *self, int argc, char **argv)
{
	static const struct {
		const char *kind;
		int (*run)(const char *target, int argc, char **argv);
	} kinds[] = {
		{ "fuse", export_fuse },
		{ "nbd", export_nbd },
		{ "pty", export_pty },
		{ "rfc2217", export_rfc2217 },
	};

	for (unsigned int i = 0; argc > 2 && i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		int rc;

		if (strcmp(argv[2], kinds[i].kind) != 0)
			continue;
		rc = kinds[i].run(argv[1], argc - 2, argv + 2);
		return rc == 0 ? CLI_OK : rc == -EINVAL ? CLI_USAGE : CLI_FAILED;
	}
	return cli_usage(self);
}
