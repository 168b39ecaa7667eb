/* SPDX-License-Identifier: MIT */
/* The text of a driver's note: one "key value..." a line. */
#include "base/note.h"

#include "auriga/driver.h"
#include "base/paths.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct note_parser {
	const char *label;
	struct au_note *note;
	unsigned int line;
	bool abi_seen, retain_seen;
	char *error;
	size_t error_size;
};

static int __attribute__((format(printf, 2, 3)))
note_bad(const struct note_parser *p, const char *fmt, ...)
{
	va_list args;
	size_t length;

	snprintf(p->error, p->error_size, "%s: bad driver note, line %u: ", p->label, p->line);
	length = strlen(p->error);
	va_start(args, fmt);
	/* NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): it is */
	vsnprintf(p->error + length, p->error_size - length, fmt, args);
	va_end(args);
	return -EINVAL;
}

/* The whole of @text as a number: decimal or 0x. */
static int note_number(const char *text, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	*value = strtoull(text, &end, text[0] == '0' && (text[1] | 0x20) == 'x' ? 16 : 10);
	return errno || *end || end == text ? -EINVAL : 0;
}

static int note_bool(const char *text, uint64_t *value)
{
	static const char *const words[] = { "0", "1", "no", "yes", "off", "on", "false", "true" };

	for (unsigned int i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*value = i & 1;
			return 0;
		}
	}
	return -EINVAL;
}

/* Take the next word of a line; NULL when there is none, and from then on. */
static char *note_word(char **rest)
{
	char *word = *rest, *end;

	if (!word || !*word)
		return NULL;
	end = strchr(word, ' ');
	*rest = end ? end + 1 : NULL;
	if (end)
		*end = '\0';
	if (*word)
		return word;
	/* Two blanks: whatever follows is not where it should be. */
	*rest = NULL;
	return NULL;
}

static int note_text(const struct note_parser *p, const char *key, char *to, size_t size,
		     const char *value)
{
	if (to[0])
		return note_bad(p, "a second '%s'", key);
	if (!value || !*value)
		return note_bad(p, "'%s' has no value", key);
	if (strlen(value) >= size)
		return note_bad(p, "'%s' is longer than %zu characters", key, size - 1);
	memcpy(to, value, strlen(value) + 1);
	return 0;
}

static int note_name(const struct note_parser *p, const char *key, char *to, size_t size,
		     const char *value)
{
	int err = note_text(p, key, to, size, value);

	if (!err && !au_name_valid(value))
		return note_bad(p, "'%s' must be made of a-z, 0-9 and -, with no - first", key);
	return err;
}

static int note_version(const struct note_parser *p, char *value)
{
	unsigned int dots = 0, digits = 0;

	for (const char *c = value ? value : ""; *c; c++) {
		if (*c == '.' && digits) {
			dots++;
			digits = 0;
		} else if (*c >= '0' && *c <= '9') {
			digits++;
		} else {
			return note_bad(p, "the version must be MAJOR.MINOR");
		}
	}
	if (dots != 1 || !digits)
		return note_bad(p, "the version must be MAJOR.MINOR");
	return note_text(p, "version", p->note->version, sizeof(p->note->version), value);
}

static int note_match(const struct note_parser *p, char *rest)
{
	struct au_note_match *match = &p->note->match[p->note->match_count];
	char *kind = note_word(&rest), *first = note_word(&rest), *second = note_word(&rest);
	uint64_t a = 0, b = 0;

	if (p->note->match_count == AU_NOTE_MATCHES)
		return note_bad(p, "more than %d matches", AU_NOTE_MATCHES);
	if (kind && strcmp(kind, "virtual") == 0 && !first) {
		match->kind = AU_MATCH_KIND_VIRTUAL;
	} else if (kind && strcmp(kind, "pci") == 0 && second && !rest) {
		if (note_number(first, &a) || note_number(second, &b) || a > 0xfffe || b > 0xffff)
			return note_bad(p, "vendor and device must be numbers of 16 bits");
		*match = (struct au_note_match){ .kind = AU_MATCH_KIND_PCI,
						 .vendor = (uint16_t)a,
						 .device = (uint16_t)b };
	} else if (kind && strcmp(kind, "pci-class") == 0 && first && !second && !rest) {
		if (note_number(first, &a) || a > 0xffffff)
			return note_bad(p, "a PCI class code is a number of 24 bits");
		match->kind = AU_MATCH_KIND_PCI_CLASS;
		match->class_code = (uint32_t)a;
	} else {
		return note_bad(p, "a match is 'pci VENDOR DEVICE', 'pci-class CODE' or 'virtual'");
	}
	p->note->match_count++;
	return 0;
}

/* Default, least and greatest value of a parameter. */
static int note_param_values(const struct note_parser *p, struct au_note_param *param, char **rest)
{
	char *def = note_word(rest), *min = note_word(rest), *max = note_word(rest);

	if (!max)
		return note_bad(p, "parameter '%s' lacks default or range", param->name);
	if (param->type == AU_PARAM_TYPE_STRING) {
		if (strlen(def) >= sizeof(param->def_text))
			return note_bad(p, "the default of '%s' is too long", param->name);
		if (strcmp(def, "-") != 0)
			memcpy(param->def_text, def, strlen(def) + 1);
		return 0;
	}
	if (note_number(def, &param->def) || note_number(min, &param->min) ||
	    note_number(max, &param->max))
		return note_bad(p, "default and range of '%s' must be plain numbers", param->name);
	if (param->type == AU_PARAM_TYPE_BOOL && (param->min != 0 || param->max != 1))
		return note_bad(p, "'%s' is a bool, of range 0 to 1", param->name);
	if (param->min > param->max || param->def < param->min || param->def > param->max)
		return note_bad(p, "the default of '%s' is out of its range", param->name);
	return 0;
}

static int note_param(const struct note_parser *p, char *rest)
{
	struct au_note_param *param = &p->note->param[p->note->param_count];
	char *type = note_word(&rest), *name = note_word(&rest);
	int err;

	if (p->note->param_count == AU_NOTE_PARAMS)
		return note_bad(p, "more than %d parameters", AU_NOTE_PARAMS);
	if (!type || !name)
		return note_bad(p, "a parameter is 'TYPE NAME DEFAULT MIN MAX HELP'");
	if (strcmp(type, "uint") == 0)
		param->type = AU_PARAM_TYPE_UINT;
	else if (strcmp(type, "bool") == 0)
		param->type = AU_PARAM_TYPE_BOOL;
	else if (strcmp(type, "string") == 0)
		param->type = AU_PARAM_TYPE_STRING;
	else
		return note_bad(p, "no parameter type '%.20s': it is uint, bool or string", type);
	if (au_note_param(p->note, name))
		return note_bad(p, "a second parameter '%s'", name);
	err = note_name(p, "param", param->name, sizeof(param->name), name);
	if (!err)
		err = note_param_values(p, param, &rest);
	if (!err)
		err = note_text(p, "help", param->help, sizeof(param->help), rest);
	if (!err)
		p->note->param_count++;
	return err;
}

static int note_retain(struct note_parser *p, char *rest)
{
	char *version = note_word(&rest), *bytes = note_word(&rest), *times = note_word(&rest);
	uint64_t value = 0;

	if (p->retain_seen)
		return note_bad(p, "a second 'retain'");
	if (!version || !bytes || rest || note_number(version, &value) || value > UINT32_MAX ||
	    note_number(bytes, &p->note->retain_bytes) || !p->note->retain_bytes ||
	    p->note->retain_bytes > AU_NOTE_RETAIN_MAX)
		return note_bad(p, "retained memory is 'VERSION BYTES [PARAMETER]', at most 1 TiB");
	if (times && strlen(times) >= sizeof(p->note->retain_param))
		return note_bad(p, "'retain' names no parameter");
	if (times)
		memcpy(p->note->retain_param, times, strlen(times) + 1);
	p->retain_seen = true;
	p->note->retain_version = (uint32_t)value;
	return 0;
}

static int note_dma(struct note_parser *p, char *rest)
{
	char *bits = note_word(&rest), *bytes = note_word(&rest);
	uint64_t value = 0;

	if (p->note->dma_bits)
		return note_bad(p, "a second 'dma'");
	if (!bits || !bytes || rest || note_number(bits, &value) || value < 16 || value > 64 ||
	    note_number(bytes, &p->note->dma_bytes) || !p->note->dma_bytes ||
	    p->note->dma_bytes > AU_NOTE_DMA_MAX)
		return note_bad(p, "'dma' is 'BITS BYTES', 16 to 64 bits and at most 1 GiB");
	p->note->dma_bits = (uint32_t)value;
	p->note->dma_bytes = (p->note->dma_bytes + 4095) & ~4095ull;
	return 0;
}

/* A driver that can use several lanes has a parameter that says how many. */
static int note_lanes(struct note_parser *p, const char *value)
{
	char param[96];
	uint64_t most = 0;

	if (p->note->lanes)
		return note_bad(p, "a second 'lanes'");
	if (!value || note_number(value, &most) || most < 2)
		return note_bad(p, "'lanes' is a number from 2 on; without it a driver has one");
	p->note->lanes = (uint32_t)(most < AU_LANES_MAX ? most : AU_LANES_MAX);
	snprintf(param, sizeof(param), "uint lanes 1 1 %u threads that run the driver",
		 p->note->lanes);
	return note_param(p, param);
}

static int note_abi(struct note_parser *p, const char *value)
{
	uint64_t abi;

	if (p->abi_seen)
		return note_bad(p, "a second 'abi'");
	if (!value || note_number(value, &abi) || abi == 0 || abi > UINT32_MAX)
		return note_bad(p, "'abi' must be a number");
	p->abi_seen = true;
	p->note->abi = (uint32_t)abi;
	return 0;
}

static int note_line(struct note_parser *p, char *line)
{
	struct au_note *note = p->note;
	char *rest = line, *key = note_word(&rest);

	if (!key)
		return note_bad(p, "empty");
	if (strcmp(key, "abi") == 0)
		return note_abi(p, rest);
	if (strcmp(key, "name") == 0)
		return note_name(p, key, note->name, sizeof(note->name), rest);
	if (strcmp(key, "version") == 0)
		return note_version(p, rest);
	if (strcmp(key, "class") == 0)
		return note_name(p, key, note->cls, sizeof(note->cls), rest);
	if (strcmp(key, "summary") == 0)
		return note_text(p, key, note->summary, sizeof(note->summary), rest);
	if (strcmp(key, "match") == 0)
		return note_match(p, rest);
	if (strcmp(key, "param") == 0)
		return note_param(p, rest);
	if (strcmp(key, "retain") == 0)
		return note_retain(p, rest);
	if (strcmp(key, "dma") == 0)
		return note_dma(p, rest);
	if (strcmp(key, "lanes") == 0)
		return note_lanes(p, rest);
	return note_bad(p, "unknown key '%.20s'", key);
}

static int note_complete(const struct note_parser *p)
{
	const struct au_note *note = p->note;
	const char *lacks = !p->abi_seen	 ? "abi"
			    : !note->name[0]	 ? "name (AU_NAME)"
			    : !note->version[0]	 ? "version (AU_VERSION)"
			    : !note->cls[0]	 ? "class (AU_CLASS)"
			    : !note->summary[0]	 ? "summary (AU_SUMMARY)"
			    : !note->match_count ? "match (AU_MATCH_PCI, AU_MATCH_VIRTUAL, ...)"
						 : NULL;

	if (!lacks && note->retain_param[0]) {
		const struct au_note_param *times = au_note_param(note, note->retain_param);

		if (!times || times->type != AU_PARAM_TYPE_UINT)
			lacks = "number parameter that 'retain' names";
	}
	if (!lacks)
		return 0;
	snprintf(p->error, p->error_size, "%s: bad driver note: it has no %s", p->label, lacks);
	return -EINVAL;
}

int au_note_parse(const char *text, size_t size, const char *label, struct au_note *note,
		  char *error, size_t error_size)
{
	struct note_parser p = {
		.label = label, .note = note, .error = error, .error_size = error_size
	};
	char line[512];

	memset(note, 0, sizeof(*note));
	size = strnlen(text, size < AU_NOTE_TEXT_MAX ? size : AU_NOTE_TEXT_MAX);
	while (size) {
		const char *end = memchr(text, '\n', size);
		size_t length = end ? (size_t)(end - text) : size;
		int err;

		p.line++;
		if (!end || length >= sizeof(line))
			return note_bad(&p, end ? "too long" : "not ended");
		memcpy(line, text, length);
		line[length] = '\0';
		for (size_t i = 0; i < length; i++)
			if ((unsigned char)line[i] < ' ' || (unsigned char)line[i] >= 0x7f)
				return note_bad(&p, "not printable ASCII");
		err = note_line(&p, line);
		if (err)
			return err;
		/* Lines of a later ABI may mean what this program does not know. */
		if (p.abi_seen && note->abi > AU_ABI) {
			snprintf(error, error_size,
				 "%s: made for driver ABI %u, this program knows up to %d: "
				 "use a newer Auriga, or rebuild the driver",
				 label, note->abi, AU_ABI);
			return -EPROTO;
		}
		text += length + 1;
		size -= length + 1;
	}
	if (!note->lanes)
		note->lanes = 1;
	return note_complete(&p);
}

const struct au_note_param *au_note_param(const struct au_note *note, const char *name)
{
	for (unsigned int i = 0; i < note->param_count; i++)
		if (strcmp(note->param[i].name, name) == 0)
			return &note->param[i];
	return NULL;
}

unsigned int au_note_lanes(const struct au_note *note, const char *const *params,
			   unsigned int count)
{
	char error[128];
	uint64_t lanes = 1, value;

	for (unsigned int i = 0; note->lanes > 1 && i < count && params && params[i]; i++)
		if (strncmp(params[i], "lanes=", 6) == 0 &&
		    au_note_param_check(note, params[i], &value, NULL, error, sizeof(error)))
			lanes = value;
	return (unsigned int)lanes;
}

int au_note_resolve(struct au_note *note, const char *const *params, unsigned int count,
		    char *error, size_t error_size)
{
	const struct au_note_param *param = au_note_param(note, note->retain_param);
	uint64_t times = param ? param->def : 1;

	for (unsigned int i = 0; param && i < count && params[i]; i++) {
		uint64_t value;

		if (au_note_param_check(note, params[i], &value, NULL, error, error_size) == param)
			times = value;
	}
	if (__builtin_mul_overflow(note->retain_bytes, times, &note->retain_bytes) ||
	    note->retain_bytes > AU_NOTE_RETAIN_MAX) {
		snprintf(error, error_size, "%s=%llu: more than 1 TiB of retained memory",
			 param ? param->name : "retain", (unsigned long long)times);
		return -EINVAL;
	}
	return 0;
}

const struct au_note_param *au_note_param_check(const struct au_note *note, const char *assignment,
						uint64_t *value, const char **text, char *error,
						size_t error_size)
{
	const char *equals = strchr(assignment, '=');
	const struct au_note_param *param = NULL;
	size_t length = equals ? (size_t)(equals - assignment) : 0;
	uint64_t number = 0;
	int err = 0;

	if (!equals || !length) {
		snprintf(error, error_size, "'%.60s' is no parameter: write NAME=VALUE",
			 assignment);
		return NULL;
	}
	for (unsigned int i = 0; i < note->param_count; i++)
		if (strlen(note->param[i].name) == length &&
		    memcmp(note->param[i].name, assignment, length) == 0)
			param = &note->param[i];
	if (!param) {
		snprintf(error, error_size,
			 "driver %s has no parameter '%.*s': 'auriga drivers %s' lists them",
			 note->name, length > 40 ? 40 : (int)length, assignment, note->name);
		return NULL;
	}
	equals++;
	switch (param->type) {
	case AU_PARAM_TYPE_UINT:
		err = note_number(equals, &number);
		if (err || number < param->min || number > param->max)
			snprintf(error, error_size, "%s=%.40s: must be a number from %llu to %llu",
				 param->name, equals, (unsigned long long)param->min,
				 (unsigned long long)param->max);
		err = err || number < param->min || number > param->max;
		break;
	case AU_PARAM_TYPE_BOOL:
		err = note_bool(equals, &number);
		if (err)
			snprintf(error, error_size, "%s=%.40s: must be 0 or 1", param->name,
				 equals);
		break;
	case AU_PARAM_TYPE_STRING:
		err = strlen(equals) >= AU_PARAM_VALUE_MAX;
		for (const char *c = equals; *c; c++)
			err = err || (unsigned char)*c <= ' ' || *c == 0x7f;
		if (err)
			snprintf(error, error_size,
				 "%s: must be at most %d characters without white space",
				 param->name, AU_PARAM_VALUE_MAX - 1);
		break;
	}
	if (err)
		return NULL;
	if (value)
		*value = number;
	if (text)
		*text = equals;
	return param;
}

const char *au_note_match_text(const struct au_note_match *match, char *buf, size_t size)
{
	if (match->kind == AU_MATCH_KIND_PCI)
		snprintf(buf, size, "PCI %04x:%04x", match->vendor, match->device);
	else if (match->kind == AU_MATCH_KIND_PCI_CLASS)
		snprintf(buf, size, "PCI class %06x", match->class_code);
	else
		snprintf(buf, size, "virtual");
	return buf;
}
