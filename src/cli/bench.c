/* SPDX-License-Identifier: MIT */
/* `auriga bench`: each measurement is a file of its own. */
#include "cli/bench.h"

#include <string.h>

int cmd_bench(const struct cli_command *self, int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} benches[] = {
		{ "block", bench_block },	  { "channel", bench_channel },
		{ "placement", bench_placement }, { "power", bench_power },
		{ "recovery", bench_recovery },	  { "upgrade", bench_upgrade },
	};

	for (size_t i = 0; argc > 1 && i < sizeof(benches) / sizeof(benches[0]); i++) {
		if (strcmp(argv[1], benches[i].name) == 0)
			return benches[i].run(argc - 1, argv + 1);
	}
	return cli_usage(self);
}
