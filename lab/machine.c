/* SPDX-License-Identifier: MIT */
/*
 * machine.c: machine files, INI:
 *	[machine]	 name, log, qemu-arg (repeatable)
 *	[chardev NAME]	 type, and QEMU's properties of that backend
 *	[blockdev NAME]	 type, QEMU's driver of that name, or memory, and its properties
 *	[object NAME]	 type, and QEMU's properties of that object
 *	[device NAME]	 type, and QEMU's properties of that device
 */
#include "spec.h"
#include "util.h"

#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINE_LIMIT 190 /* inih's own is 200 */

struct reader {
	struct lab_spec *spec;
	const char *path;
	FILE *file;
	int line, section_line;
	bool failed;
	char section[64]; /* as the file has it, "" before the first */
	char id[64];	  /* of the chardev or device being read */
	char type[64];
	struct lab_buf props; /* ",key=value" of it */
	struct lab_args seen; /* section headers */
};

/* Sections that become arguments of QEMU's. */
static const struct kind {
	const char *section, *prefix, *name_key;
	size_t args;
} kinds[] = {
	{ "chardev ", "", "id", offsetof(struct lab_spec, chardevs) },
	{ "device ", "", "id", offsetof(struct lab_spec, devices) },
	{ "object ", "", "id", offsetof(struct lab_spec, objects) },
	{ "blockdev ", "driver=", "node-name", offsetof(struct lab_spec, blockdevs) },
};

static const struct kind *find_kind(const char *section)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strncmp(section, kinds[i].section, strlen(kinds[i].section)) == 0)
			return &kinds[i];
	return NULL;
}

static int fail(struct reader *r, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct reader *r, int line, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	if (r->failed)
		return 0;
	r->failed = true;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	lab_msg("%s:%d: %s", r->path, line, text);
	return 0;
}

/* The section that ends here becomes an argument of QEMU's. */
static void finish_section(struct reader *r)
{
	const struct kind *kind = find_kind(r->section);
	char *text;

	if (r->failed || !r->id[0])
		return;
	if (!r->type[0]) {
		fail(r, r->section_line, "[%s] has no type=", r->section);
		return;
	}
	lab_buf_add(&r->props, "", 1);
	if (asprintf(&text, "%s%s,%s=%s%s", kind->prefix, r->type, kind->name_key, r->id,
		     (char *)lab_buf_head(&r->props)) < 0)
		return;
	struct lab_args *args = (struct lab_args *)((char *)r->spec + kind->args);
	if (lab_args_add(args, text))
		r->failed = true;
	free(text);
}

static void begin_section(struct reader *r, const char *header)
{
	size_t len = strcspn(header, "]");

	finish_section(r);
	r->id[0] = r->type[0] = '\0';
	r->props.head = r->props.tail = 0;
	r->section_line = r->line;
	if (len >= sizeof(r->section)) {
		fail(r, r->line, "a section's name of over %zu characters", sizeof(r->section) - 1);
		return;
	}
	snprintf(r->section, sizeof(r->section), "%.*s", (int)len, header);
	for (unsigned int i = 0; i < r->seen.num; i++) {
		if (strcmp(r->seen.arg[i], r->section) == 0) {
			fail(r, r->line, "[%s] is there already", r->section);
			return;
		}
	}
	if (lab_args_add(&r->seen, r->section))
		r->failed = true;
	if (strcmp(r->section, "machine") == 0)
		return;
	if (find_kind(r->section)) {
		snprintf(r->id, sizeof(r->id), "%s", strchr(r->section, ' ') + 1);
		if (!lab_name_valid(r->id))
			fail(r, r->line, "'%s' cannot be a name: use letters, digits, - _ and .",
			     r->id);
		return;
	}
	fail(r, r->line,
	     "[%s] is not known: [machine], [device NAME], [chardev NAME], [blockdev NAME] or "
	     "[object NAME]",
	     r->section);
}

/* inih tells neither the line nor of empty sections: it is fed line by line, and watched. */
static char *read_line(char *buf, int size, void *stream)
{
	struct reader *r = stream;

	if (r->failed || !fgets(buf, size < LINE_LIMIT ? size : LINE_LIMIT, r->file))
		return NULL;
	r->line++;
	if (!strchr(buf, '\n') && !feof(r->file)) {
		fail(r, r->line, "a line of over %d characters", LINE_LIMIT - 2);
		return NULL;
	}
	const char *p = buf + strspn(buf, " \t");
	if (*p == '[' && !strchr(p, ']'))
		fail(r, r->line, "a section's name without ]");
	else if (*p == '[')
		begin_section(r, p + 1);
	return r->failed ? NULL : buf;
}

static int set_string(struct reader *r, char **dest, const char *key, const char *value)
{
	if (*dest)
		return fail(r, r->line, "%s= is there already", key);
	*dest = lab_strdup(value);
	return 1;
}

static int take_machine(struct reader *r, const char *key, const char *value)
{
	if (strcmp(key, "name") == 0) {
		if (!lab_name_valid(value))
			return fail(r, r->line,
				    "'%s' cannot be a name: use letters, digits, - _ and .", value);
		return set_string(r, &r->spec->name, key, value);
	}
	if (strcmp(key, "log") == 0)
		return set_string(r, &r->spec->log, key, value);
	if (strcmp(key, "qemu-arg") == 0)
		return lab_args_add(&r->spec->qemu_args, value) == 0;
	return fail(r, r->line, "'%s' is not known in [machine]: name, log or qemu-arg", key);
}

static int take_line(void *user, const char *section, const char *key, const char *value)
{
	struct reader *r = user;

	if (!r->section[0])
		return fail(r, r->line, "'%s' stands before the first section", key);
	if (!r->id[0])
		return take_machine(r, key, value);
	if (strcmp(key, "id") == 0 || strcmp(key, "node-name") == 0)
		return fail(r, r->line, "the %s is the section's name, %s", key, r->id);
	if (strcmp(key, "type") == 0) {
		if (r->type[0])
			return fail(r, r->line, "type= is there already");
		if (!lab_name_valid(value))
			return fail(r, r->line, "'%s' cannot be a type", value);
		snprintf(r->type, sizeof(r->type), "%s", value);
		return 1;
	}
	lab_buf_printf(&r->props, ",%s=", key);
	for (const char *p = value; *p; p++) /* QEMU: a comma in a value is doubled */
		lab_buf_add(&r->props, *p == ',' ? ",," : p, *p == ',' ? 2 : 1);
	return 1;
}

int machine_load(struct lab_spec *spec, const char *path)
{
	struct reader r = { .spec = spec, .path = path, .file = fopen(path, "re") };

	if (!r.file)
		return lab_fail(-EINVAL, "cannot read the machine file %s: %s", path,
				strerror(errno));
	int line = ini_parse_stream(read_line, &r, take_line, &r);
	if (ferror(r.file)) {
		lab_msg("cannot read the machine file %s: %s", path, strerror(errno));
		r.failed = true;
	}
	if (line)
		fail(&r, line, "neither a [section] nor key=value");
	finish_section(&r);
	fclose(r.file);
	lab_buf_free(&r.props);
	while (r.seen.num)
		free(r.seen.arg[--r.seen.num]);
	return r.failed ? -EINVAL : 0;
}
