/* SPDX-License-Identifier: MIT */
/* Signatures of modules: good, wrong, by strangers, and files that are none. */
#include "base/signature.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static char error[4096];

static int setup(void **state)
{
	snprintf(dir, sizeof(dir), "/tmp/au-signature-XXXXXX");
	return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int teardown(void **state)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return chdir("/") == 0 ? system(command) : -1;
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void get(const char *path, char *text, size_t size)
{
	FILE *f = fopen(path, "r");
	size_t n;

	assert_non_null(f);
	n = fread(text, 1, size - 1, f);
	text[n] = 0;
	fclose(f);
}

static int check(const char *path, const struct au_public_key *keys, unsigned int count)
{
	struct au_signature signature;
	char beside[64];
	int fd = open(path, O_RDONLY), result;

	snprintf(beside, sizeof(beside), "%s.sig", path);
	result = au_signature_read(beside, &signature, error, sizeof(error));
	if (!result)
		result = au_signature_check(fd, &signature, keys, count);
	close(fd);
	return result;
}

static void pair(const char *name, struct au_public_key *key)
{
	char path[64];

	assert_int_equal(au_key_generate(name, error, sizeof(error)), 0);
	snprintf(path, sizeof(path), "%s.pub", name);
	assert_int_equal(au_public_key_read(path, key, error, sizeof(error)), 0);
	assert_string_equal(key->name, name);
}

static void test_who_signed(void **state)
{
	struct au_public_key keys[3];
	struct stat st;

	pair("ann", &keys[0]);
	pair("bob", &keys[1]);
	pair("eve", &keys[2]);
	assert_int_equal(stat("ann", &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	put("m.so", "what is signed");
	assert_int_equal(check("m.so", keys, 2), -ENOENT);
	assert_int_equal(au_sign("bob", "m.so", error, sizeof(error)), 0);
	assert_int_equal(check("m.so", keys, 2), 1);
	assert_int_equal(check("m.so", keys, 1), -ENOKEY);
	assert_int_equal(check("m.so", NULL, 0), -ENOKEY);
	assert_int_equal(au_sign("eve", "m.so", error, sizeof(error)), 0);
	assert_int_equal(check("m.so", keys, 2), -ENOKEY);
	assert_int_equal(check("m.so", keys, 3), 2);
	put("empty.so", "");
	assert_int_equal(au_sign("ann", "empty.so", error, sizeof(error)), 0);
	assert_int_equal(check("empty.so", keys, 2), 0);
}

/* Any bit of it, more, less. */
static void test_what_was_changed(void **state)
{
	static const char text[] = "every byte of this counts";
	char changed[sizeof(text)];
	struct au_public_key key;

	pair("ann", &key);
	put("m.so", text);
	assert_int_equal(au_sign("ann", "m.so", error, sizeof(error)), 0);
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		memcpy(changed, text, sizeof(text));
		changed[i] ^= 1;
		put("m.so", changed);
		assert_int_equal(check("m.so", &key, 1), -EBADMSG);
	}
	put("m.so", "every byte of this count");
	assert_int_equal(check("m.so", &key, 1), -EBADMSG);
	put("m.so", "every byte of this counts.");
	assert_int_equal(check("m.so", &key, 1), -EBADMSG);
	put("m.so", text);
	assert_int_equal(check("m.so", &key, 1), 0);
}

/* With the number of a known key on another one's signature. */
static void test_a_false_name(void **state)
{
	struct au_public_key ann, eve;
	char line[512], *id;

	pair("ann", &ann);
	pair("eve", &eve);
	put("m.so", "not by ann");
	assert_int_equal(au_sign("eve", "m.so", error, sizeof(error)), 0);
	get("m.so.sig", line, sizeof(line));
	id = strstr(line, eve.id);
	assert_non_null(id);
	memcpy(id, ann.id, strlen(ann.id));
	put("m.so.sig", line);
	assert_int_equal(check("m.so", &ann, 1), -EBADMSG);
}

static void test_files_that_are_none(void **state)
{
	static const char *const lines[] = {
		"",
		"\n",
		"auriga-signature",
		"auriga-signature ed25519",
		"auriga-signature ed25519 0123456789abcdef",
		"auriga-signature ed25519 0123456789abcdef AAAA",
		"auriga-signature ed25519 0123456789abcdef !!!!",
		"auriga-signature rsa 0123456789abcdef AAAA",
		"auriga-public-key ed25519 YzM1D8EzML7woOOPkNdxIeSap37j8VGo7LdmM1bH2nw=",
		"auriga-signature ed25519 0123 "
		"dAFUR4NoVuohotysforxo1Fkd5MNuVrfGf4CepsZ8rNEIs8d85SiSr"
		"ytjsM/AQCwyhgYCNeW0ITneh7ttfntAA==",
		"auriga-signature ed25519 0123456789abcdef "
		"dAFUR4NoVuohotysforxo1Fkd5MNuVrfGf4CepsZ8r"
		"NEIs8d85SiSrytjsM/AQCwyhgYCNeW0ITneh7ttfntAA== more",
	};
	struct au_signature signature;
	struct au_public_key key;
	char text[1024];

	for (unsigned int i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		put("s", lines[i]);
		assert_int_equal(au_signature_read("s", &signature, error, sizeof(error)), -EINVAL);
		assert_non_null(strstr(error, "not an auriga-signature"));
		if (strstr(lines[i], "public-key"))
			continue;
		assert_int_equal(au_public_key_read("s", &key, error, sizeof(error)), -EINVAL);
	}
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	put("s", text);
	assert_int_equal(au_signature_read("s", &signature, error, sizeof(error)), -EINVAL);
	assert_int_equal(mkfifo("fifo", 0600), 0);
	assert_int_equal(au_signature_read("fifo", &signature, error, sizeof(error)), -EINVAL);
	assert_int_equal(au_signature_read(".", &signature, error, sizeof(error)), -EINVAL);
	assert_int_equal(au_signature_read("nothing", &signature, error, sizeof(error)), -ENOENT);
}

static void test_what_is_there_stays(void **state)
{
	struct au_public_key key;
	char before[512], after[512];

	pair("ann", &key);
	get("ann", before, sizeof(before));
	assert_int_equal(au_key_generate("ann", error, sizeof(error)), -EEXIST);
	get("ann", after, sizeof(after));
	assert_string_equal(before, after);
	put("m.so", "x");
	assert_int_equal(au_sign("ann.pub", "m.so", error, sizeof(error)), -EINVAL);
	assert_int_equal(au_sign("ann", "nothing", error, sizeof(error)), -ENOENT);
	assert_int_equal(access("m.so.sig", F_OK), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_who_signed),		TEST(test_what_was_changed),
		TEST(test_a_false_name),	TEST(test_files_that_are_none),
		TEST(test_what_is_there_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
