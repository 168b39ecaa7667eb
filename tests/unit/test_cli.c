/* SPDX-License-Identifier: MIT */
/* What the command line tool makes of what hosts say: it is run by people with privilege. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/symbol.h"

/* What cli_print() writes to stdout. */
static char *printed(const json_t *value)
{
	FILE *file = tmpfile();
	int before = dup(STDOUT_FILENO);
	char *text = calloc(1, 65536);

	assert_non_null(file);
	fflush(stdout);
	dup2(fileno(file), STDOUT_FILENO);
	cli_print(value, 0);
	fflush(stdout);
	dup2(before, STDOUT_FILENO);
	close(before);
	rewind(file);
	assert_true(fread(text, 1, 65535, file) > 0);
	fclose(file);
	return text;
}

static void test_nothing_moves_the_terminal(void **state)
{
	json_t *o = json_pack("{s:s, s:s, s:[s]}", "a\033[2Jb", "c\033]0;title\007\nstate: running",
			      "c1",
			      "x\xc2\x9b"
			      "31my",
			      "list", "del\x7f");
	char *text = printed(o);

	for (const char *c = text; *c; c++)
		assert_true((unsigned char)*c >= ' ' || *c == '\n');
	assert_null(strstr(text, "\xc2\x9b"));
	assert_null(strchr(text, 0x7f));
	assert_null(strstr(text, "\nstate:")); /* no line of its own */
	assert_non_null(strstr(text, "31my"));
	free(text);
	json_decref(o);
}

static void test_nesting_has_an_end(void **state)
{
	json_t *o = json_string("deep");
	char *text;

	for (int i = 0; i < 2000; i++)
		o = json_pack("{s:o}", "a", o);
	text = printed(o);
	assert_non_null(strstr(text, "a:"));
	free(text);
	json_decref(o);
}

static void test_only_plain_files_are_looked_into(void **state)
{
	char dir[] = "/tmp/au-cli-XXXXXX", path[64], buf[128];

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	alarm(10);
	assert_string_equal(symbol_name(path, "00", 0x1000, buf, sizeof(buf)), "?");
	assert_string_equal(symbol_name("/dev/zero", "00", 0x1000, buf, sizeof(buf)), "?");
	assert_string_equal(symbol_name("/nowhere", "00", 0x1000, buf, sizeof(buf)), "?");
	alarm(0);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_moves_the_terminal),
		cmocka_unit_test(test_nesting_has_an_end),
		cmocka_unit_test(test_only_plain_files_are_looked_into),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
