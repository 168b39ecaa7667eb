/* SPDX-License-Identifier: MIT */
/* A driver's note: what is read from it, what is refused, and why the message says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auriga/driver.h"
#include "base/note.h"

#define BASE "abi 1\nname test\nversion 1.2\nclass raw\nsummary a test\nmatch virtual\n"

AU_DRIVER_NOTE(AU_NAME("test-driver") AU_VERSION("1.2") AU_CLASS("serial") AU_SUMMARY("for tests")
		       AU_MATCH_PCI(0x1b36, 0x0002) AU_MATCH_PCI_CLASS(0x070002)
			       AU_MATCH_VIRTUAL AU_PARAM_UINT("clock", 1843200, 1, 0xffffffff,
							      "input clock in Hz")
				       AU_PARAM_BOOL("fast", 1, "be fast")
					       AU_PARAM_STRING("word", "-", "a word or two")
						       AU_RETAIN(3, 4096));

static struct au_note note;
static char error[256];

static int parse(const char *text)
{
	error[0] = '\0';
	return au_note_parse(text, strlen(text) + 1, "x.so", &note, error, sizeof(error));
}

static void test_macros(void **state)
{
	const struct au_note_param *p;

	assert_int_equal(au_note_parse(au_driver_note.desc, au_driver_note.descsz, "x.so", &note,
				       error, sizeof(error)),
			 0);
	assert_int_equal(note.abi, AU_ABI);
	assert_string_equal(note.name, "test-driver");
	assert_string_equal(note.version, "1.2");
	assert_string_equal(note.cls, "serial");
	assert_string_equal(note.summary, "for tests");
	assert_int_equal(note.match_count, 3);
	assert_int_equal(note.match[0].kind, AU_MATCH_KIND_PCI);
	assert_int_equal(note.match[0].vendor, 0x1b36);
	assert_int_equal(note.match[0].device, 2);
	assert_int_equal(note.match[1].kind, AU_MATCH_KIND_PCI_CLASS);
	assert_int_equal(note.match[1].class_code, 0x070002);
	assert_int_equal(note.match[2].kind, AU_MATCH_KIND_VIRTUAL);
	assert_int_equal(note.param_count, 3);
	p = au_note_param(&note, "clock");
	assert_non_null(p);
	assert_int_equal(p->type, AU_PARAM_TYPE_UINT);
	assert_int_equal(p->def, 1843200);
	assert_int_equal(p->min, 1);
	assert_int_equal(p->max, 0xffffffffu);
	assert_string_equal(p->help, "input clock in Hz");
	p = au_note_param(&note, "word");
	assert_non_null(p);
	assert_string_equal(p->def_text, "");
	assert_string_equal(p->help, "a word or two");
	assert_null(au_note_param(&note, "wor"));
	assert_int_equal(note.retain_version, 3);
	assert_int_equal(note.retain_bytes, 4096);
}

static void test_params(void **state)
{
	const struct {
		const char *assignment;
		bool good;
		uint64_t value;
		const char *says;
	} cases[] = {
		{ "clock=1", true, 1, "" },
		{ "clock=0x10", true, 16, "" },
		{ "clock=4294967295", true, 0xffffffff, "" },
		{ "clock=4294967296", false, 0, "1 to 4294967295" },
		{ "clock=0", false, 0, "1 to 4294967295" },
		{ "clock=-1", false, 0, "number" },
		{ "clock=99999999999999999999999", false, 0, "number" },
		{ "clock=", false, 0, "number" },
		{ "clock=1 ", false, 0, "number" },
		{ "fast=yes", true, 1, "" },
		{ "fast=OFF", true, 0, "" },
		{ "fast=2", false, 0, "0 or 1" },
		{ "word=", true, 0, "" },
		{ "word=a=b", true, 0, "" },
		{ "word=a b", false, 0, "white space" },
		{ "cloc=1", false, 0, "no parameter 'cloc'" },
		{ "clock", false, 0, "NAME=VALUE" },
		{ "=1", false, 0, "NAME=VALUE" },
		{ "", false, 0, "NAME=VALUE" },
	};
	char longer[400] = "word=";

	test_macros(state);
	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct au_note_param *p;
		const char *text = NULL;
		uint64_t value = 77;

		error[0] = '\0';
		p = au_note_param_check(&note, cases[i].assignment, &value, &text, error,
					sizeof(error));
		assert_int_equal(p != NULL, cases[i].good);
		assert_non_null(strstr(error, cases[i].says));
		if (p) {
			assert_int_equal(value, cases[i].value);
			assert_ptr_equal(text, strchr(cases[i].assignment, '=') + 1);
		}
	}
	memset(longer + 5, 'x', AU_PARAM_VALUE_MAX - 1);
	assert_non_null(au_note_param_check(&note, longer, NULL, NULL, error, sizeof(error)));
	longer[5 + AU_PARAM_VALUE_MAX - 1] = 'x';
	assert_null(au_note_param_check(&note, longer, NULL, NULL, error, sizeof(error)));
}

static void test_refused(void **state)
{
	static const struct {
		const char *text;
		int err;
		const char *says;
	} cases[] = {
		{ BASE, 0, "" },
		{ "", -EINVAL, "no abi" },
		{ "name a\nversion 1.0\nclass c\nsummary s\nmatch virtual\n", -EINVAL, "no abi" },
		{ "abi 2\nfuture stuff\n", -EPROTO, "driver ABI 2" },
		{ "abi 1\nname a\n", -EINVAL, "no version" },
		{ "abi 0\n", -EINVAL, "number" },
		{ "abi x\n", -EINVAL, "number" },
		{ "abi 1", -EINVAL, "not ended" },
		{ BASE "name b\n", -EINVAL, "a second 'name'" },
		{ BASE "abi 1\n", -EINVAL, "a second 'abi'" },
		{ BASE "\n", -EINVAL, "empty" },
		{ BASE "colour blue\n", -EINVAL, "unknown key 'colour'" },
		{ BASE "summary \x1b[31m\n", -EINVAL, "printable" },
		{ BASE "match\n", -EINVAL, "a match is" },
		{ BASE "match pci 1\n", -EINVAL, "a match is" },
		{ BASE "match pci 1 2 3\n", -EINVAL, "a match is" },
		{ BASE "match pci  1\n", -EINVAL, "a match is" },
		{ BASE "match pci  1 2\n", -EINVAL, "a match is" },
		{ BASE "match  pci 1 2\n", -EINVAL, "a match is" },
		{ BASE "param uint  a 1 1 1 help\n", -EINVAL, "TYPE NAME" },
		{ BASE "param uint a  1 1 1 help\n", -EINVAL, "lacks default or range" },
		{ BASE "retain  1 2\n", -EINVAL, "VERSION BYTES" },
		{ BASE " match virtual\n", -EINVAL, "empty" },
		{ BASE "match pci 0x10000 2\n", -EINVAL, "16 bits" },
		{ BASE "match pci VENDOR 2\n", -EINVAL, "16 bits" },
		{ BASE "match pci-class 0x1000000\n", -EINVAL, "24 bits" },
		{ BASE "param uint a 1 2\n", -EINVAL, "lacks default or range" },
		{ BASE "param uint a 1 2 3 help\n", -EINVAL, "out of its range" },
		{ BASE "param uint a 5 6 3 help\n", -EINVAL, "out of its range" },
		{ BASE "param uint a 2*2 1 9 help\n", -EINVAL, "plain numbers" },
		{ BASE "param uint a 2 1 9\n", -EINVAL, "no value" },
		{ BASE "param float a 2 1 9 help\n", -EINVAL, "no parameter type 'float'" },
		{ BASE "param bool a 2 0 1 help\n", -EINVAL, "out of its range" },
		{ BASE "param bool a 1 0 7 help\n", -EINVAL, "a bool" },
		{ BASE "param uint A 2 1 9 help\n", -EINVAL, "a-z" },
		{ BASE "param uint a 2 1 9 help\nparam uint a 2 1 9 help\n", -EINVAL, "a second" },
		{ BASE "retain 1\n", -EINVAL, "VERSION BYTES" },
		{ BASE "retain 1 0\n", -EINVAL, "VERSION BYTES" },
		{ BASE "retain 1 0xffffffffffffffff\n", -EINVAL, "VERSION BYTES" },
		{ BASE "retain 1 1\nretain 1 1\n", -EINVAL, "a second 'retain'" },
		{ "abi 1\nname ../../etc/passwd\n", -EINVAL, "a-z" },
		{ "abi 1\nname a-name-that-is-much-too-long-for-it\n", -EINVAL, "longer than 31" },
		{ "abi 1\nversion 1\n", -EINVAL, "MAJOR.MINOR" },
		{ "abi 1\nversion 1.2.3\n", -EINVAL, "MAJOR.MINOR" },
		{ "abi 1\nversion .2\n", -EINVAL, "MAJOR.MINOR" },
		{ "abi 1\nversion\n", -EINVAL, "MAJOR.MINOR" },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse(cases[i].text), cases[i].err);
		if (!strstr(error, cases[i].says))
			fail_msg("'%s' does not say '%s'", error, cases[i].says);
		assert_null(strchr(error, '\n'));
	}
}

/* Counts and lengths at their bounds. */
static void test_many(void **state)
{
	char text[8192] = BASE;

	for (unsigned int i = 0; i < AU_NOTE_MATCHES - 1; i++)
		strcat(text, "match pci 1 2\n");
	assert_int_equal(parse(text), 0);
	assert_int_equal(note.match_count, AU_NOTE_MATCHES);
	strcat(text, "match pci 1 2\n");
	assert_int_equal(parse(text), -EINVAL);
	strcpy(text, BASE);
	for (unsigned int i = 0; i < AU_NOTE_PARAMS; i++)
		sprintf(text + strlen(text), "param uint p%u 1 1 1 help\n", i);
	assert_int_equal(parse(text), 0);
	assert_int_equal(note.param_count, AU_NOTE_PARAMS);
	strcat(text, "param uint q 1 1 1 help\n");
	assert_int_equal(parse(text), -EINVAL);
	strcpy(text, BASE "summary ");
	memset(text + strlen(text), 'x', 600);
	assert_int_equal(parse(text), -EINVAL);
}

/* ------------------------------------------------------------------- in a file */

struct elf_file {
	Elf64_Ehdr header;
	Elf64_Phdr segment[2];
	struct {
		uint32_t namesz, descsz, type;
		char name[8];
		char desc[256];
	} note;
};

static void elf_make(struct elf_file *f, const char *text)
{
	memset(f, 0, sizeof(*f));
	memcpy(f->header.e_ident, ELFMAG, SELFMAG);
	f->header.e_ident[EI_CLASS] = ELFCLASS64;
	f->header.e_ident[EI_DATA] = ELFDATA2LSB;
	f->header.e_ident[EI_VERSION] = EV_CURRENT;
	f->header.e_type = ET_DYN;
	f->header.e_machine = EM_X86_64;
	f->header.e_version = EV_CURRENT;
	f->header.e_phoff = offsetof(struct elf_file, segment);
	f->header.e_ehsize = sizeof(f->header);
	f->header.e_phentsize = sizeof(f->segment[0]);
	f->header.e_phnum = 2;
	f->segment[0].p_type = PT_LOAD;
	f->segment[1].p_type = PT_NOTE;
	f->segment[1].p_offset = offsetof(struct elf_file, note);
	f->segment[1].p_filesz = sizeof(f->note);
	f->segment[1].p_align = 4;
	f->note.namesz = 7;
	f->note.descsz = sizeof(f->note.desc);
	f->note.type = 1;
	memcpy(f->note.name, "Auriga", 7);
	strcpy(f->note.desc, text);
}

static int elf_read(const struct elf_file *f, size_t size)
{
	int fd = memfd_create("note", MFD_CLOEXEC), err;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, f, size), (ssize_t)size);
	error[0] = '\0';
	err = au_note_read_fd(fd, "x.so", &note, error, sizeof(error));
	close(fd);
	assert_int_equal(err != 0, error[0] != '\0');
	assert_null(strchr(error, '\n'));
	return err;
}

static void test_file(void **state)
{
	struct elf_file f;

	elf_make(&f, BASE);
	assert_int_equal(elf_read(&f, sizeof(f)), 0);
	assert_string_equal(note.name, "test");

	f.note.name[0] = 'X';
	assert_int_equal(elf_read(&f, sizeof(f)), -ENOEXEC);
	assert_non_null(strstr(error, "no Auriga note"));

	/* a segment that is not all there, another machine's, no shared object */
	elf_make(&f, BASE);
	f.segment[0].p_filesz = sizeof(f);
	assert_int_equal(elf_read(&f, sizeof(f)), 0);
	f.segment[0].p_offset = 1;
	assert_int_equal(elf_read(&f, sizeof(f)), -ENOEXEC);
	assert_non_null(strstr(error, "cut off"));
	elf_make(&f, BASE);
	f.header.e_machine = EM_S390;
	assert_int_equal(elf_read(&f, sizeof(f)), -ENOEXEC);
	assert_non_null(strstr(error, "another kind of machine"));
	elf_make(&f, BASE);
	f.header.e_type = ET_REL;
	assert_int_equal(elf_read(&f, sizeof(f)), -ENOEXEC);

	/* lengths that lie */
	elf_make(&f, BASE);
	f.note.descsz = 0xfffffff0;
	assert_int_equal(elf_read(&f, sizeof(f)), -ENOEXEC);
	elf_make(&f, BASE);
	f.note.namesz = 0xfffffff0;
	assert_int_equal(elf_read(&f, sizeof(f)), -ENOEXEC);
	elf_make(&f, BASE);
	f.segment[1].p_offset = UINT64_MAX - 8;
	assert_int_equal(elf_read(&f, sizeof(f)), -ENOEXEC);
	elf_make(&f, BASE);
	f.segment[1].p_filesz = UINT64_MAX - 8;
	assert_int_equal(elf_read(&f, sizeof(f)), -ENOEXEC);
	elf_make(&f, BASE);
	f.header.e_phoff = 1ull << 62;
	assert_int_equal(elf_read(&f, sizeof(f)), -ENOEXEC);
	elf_make(&f, BASE);
	f.header.e_phnum = 0xffff;
	elf_read(&f, sizeof(f));

	/* cut anywhere: an error, nothing worse */
	elf_make(&f, BASE);
	for (size_t size = 0; size < offsetof(struct elf_file, note) + sizeof(f.note); size++)
		assert_int_not_equal(elf_read(&f, size), 0);
}

/* Any single byte of the file may be anything. */
static void test_bytes(void **state)
{
	struct elf_file f;

	for (size_t at = 0; at < sizeof(f); at++) {
		for (unsigned int value = 0; value < 256; value += 85) {
			elf_make(&f, BASE);
			((unsigned char *)&f)[at] = (unsigned char)value;
			elf_read(&f, sizeof(f));
		}
	}
}

static void test_no_file(void **state)
{
	assert_int_equal(au_note_read("/nonexistent/x.so", &note, error, sizeof(error)), -ENOENT);
	assert_int_equal(au_note_read("/", &note, error, sizeof(error)), -ENOEXEC);
	assert_int_equal(au_note_read("/dev/zero", &note, error, sizeof(error)), -ENOEXEC);
	assert_int_equal(au_note_read("/proc/self/exe", &note, error, sizeof(error)), 0);
	assert_string_equal(note.name, "test-driver");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_macros),	cmocka_unit_test(test_params),
		cmocka_unit_test(test_refused), cmocka_unit_test(test_many),
		cmocka_unit_test(test_file),	cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_no_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
