/* SPDX-License-Identifier: MIT */
/**
 * DOC: The auriga command: one file per group of subcommands, these helpers between them
 */
#ifndef AU_CLI_CLI_H
#define AU_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Exit statuses. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/** struct cli_command - a subcommand. @run gets its own name as argv[0] and returns an exit status.
 */
struct cli_command {
	const char *name;
	const char *args;
	const char *help;
	int (*run)(const struct cli_command *self, int argc, char **argv);
};

/** cli_usage - print "usage: auriga NAME ARGS" to stderr. Return: CLI_USAGE. */
int cli_usage(const struct cli_command *self);
/** cli_say - one line on stderr. */
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/** cli_error - the same, as an expression of the value CLI_FAILED. */
#define cli_error(...) (cli_say(__VA_ARGS__), (int)CLI_FAILED)

/** cli_runtime_dir - --runtime-dir, or NULL for what the environment says. */
extern const char *cli_runtime_dir;

/**
 * control_call - ask the manager.
 * @method: "GET", "POST", "DELETE".
 * @path: "/v1/devices/serial0", already escaped (control_escape()).
 * @body: sent as JSON and released, or NULL.
 * Return: the answer, to be released; NULL when it failed, said in one line on stderr.
 */
json_t *control_call(const char *method, const char *path, json_t *body);
/** CONTROL_WHY - bytes for a reason of control_ask(). */
#define CONTROL_WHY 1024
/** control_ask - the same, and why it failed goes to @why and not to stderr. */
json_t *control_ask(const char *method, const char *path, json_t *body, char *why, size_t why_size);
/** control_path - PREFIX/NAME/SUFFIX with NAME escaped; @suffix may be NULL. Freed by the caller.
 */
char *control_path(const char *prefix, const char *name, const char *suffix);

/** struct cli_column - a column of a table: a key of each row, and its title. */
struct cli_column {
	const char *key;
	const char *title;
};
/** cli_table - print an array of objects as a table. */
void cli_table(const json_t *rows, const struct cli_column *columns, unsigned int count);
/** cli_print - print a JSON value for people: "key: value", nested values indented. */
void cli_print(const json_t *value, int indent);
/** cli_record - print a record of the flight recorder, but for when it was: the rest of a line. */
void cli_record(const json_t *record);
/** cli_json - print a JSON value as it is. */
void cli_json(const json_t *value);

int cmd_ls(const struct cli_command *self, int argc, char **argv);
int cmd_info(const struct cli_command *self, int argc, char **argv);
int cmd_attach(const struct cli_command *self, int argc, char **argv);
int cmd_detach(const struct cli_command *self, int argc, char **argv);
int cmd_restart(const struct cli_command *self, int argc, char **argv);
int cmd_power(const struct cli_command *self, int argc, char **argv);
int cmd_upgrade(const struct cli_command *self, int argc, char **argv);
int cmd_hold(const struct cli_command *self, int argc, char **argv);
int cmd_crash(const struct cli_command *self, int argc, char **argv);
int cmd_trace(const struct cli_command *self, int argc, char **argv);
int cmd_why_stuck(const struct cli_command *self, int argc, char **argv);
int cmd_why(const struct cli_command *self, int argc, char **argv);
int cmd_drivers(const struct cli_command *self, int argc, char **argv);
int cmd_lab(const struct cli_command *self, int argc, char **argv);
int cmd_block(const struct cli_command *self, int argc, char **argv);
int cmd_export(const struct cli_command *self, int argc, char **argv);
int cmd_pci(const struct cli_command *self, int argc, char **argv);
int cmd_bind(const struct cli_command *self, int argc, char **argv);
int cmd_unbind(const struct cli_command *self, int argc, char **argv);
int cmd_verify(const struct cli_command *self, int argc, char **argv);
int cmd_bench(const struct cli_command *self, int argc, char **argv);

#endif
