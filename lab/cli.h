/* SPDX-License-Identifier: MIT */
/* cli.h: the subcommands of auriga-lab; each gets its own arguments and returns an exit status. */
#ifndef LAB_CLI_H
#define LAB_CLI_H

int cmd_up(int argc, char **argv);
int cmd_ls(int argc, char **argv);
int cmd_down(int argc, char **argv);
int cmd_fault(int argc, char **argv);
int cmd_nvme(int argc, char **argv);
int cmd_nvme_fault(int argc, char **argv);

/** cli_usage - one line on what is wrong and where help is; always 2. */
int cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
