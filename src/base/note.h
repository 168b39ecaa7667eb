/* SPDX-License-Identifier: MIT */
/**
 * DOC: A driver's note: its static description, read without loading it
 *
 * See AU_DRIVER_NOTE in auriga/driver.h. The file is hostile input: nothing of it is run or mapped,
 * and every value is checked.
 */
#ifndef AU_BASE_NOTE_H
#define AU_BASE_NOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AU_NOTE_MATCHES	   32
#define AU_NOTE_PARAMS	   32
#define AU_NOTE_TEXT_MAX   (32u * 1024)
#define AU_NOTE_RETAIN_MAX (1ull << 40)
#define AU_NOTE_DMA_MAX	   (1ull << 30)
#define AU_PARAM_VALUE_MAX 256
#define AU_LANES_MAX	   8 /* of a device; the status page has a place for each */

enum au_match_kind { AU_MATCH_KIND_PCI, AU_MATCH_KIND_PCI_CLASS, AU_MATCH_KIND_VIRTUAL };

/** struct au_note_match - one line of the match table. */
struct au_note_match {
	enum au_match_kind kind;
	uint16_t vendor, device; /* PCI */
	uint32_t class_code;	 /* PCI_CLASS, 24 bits */
};

enum au_param_type { AU_PARAM_TYPE_UINT, AU_PARAM_TYPE_BOOL, AU_PARAM_TYPE_STRING };

/** struct au_note_param - one parameter. @def, @min, @max: UINT and BOOL; @def_text: STRING. */
struct au_note_param {
	enum au_param_type type;
	char name[32];
	uint64_t def, min, max;
	char def_text[64];
	char help[128];
};

/** struct au_note - a parsed note. */
struct au_note {
	uint32_t abi;
	char name[32];
	char version[16];
	char cls[16];
	char summary[128];
	unsigned int match_count;
	struct au_note_match match[AU_NOTE_MATCHES];
	unsigned int param_count;
	struct au_note_param param[AU_NOTE_PARAMS];
	uint32_t retain_version;
	uint64_t retain_bytes; /* 0: none; see au_note_resolve() */
	char retain_param[32]; /* how many times that; empty: once */
	uint32_t dma_bits;     /* 0: no DMA */
	uint64_t dma_bytes;    /* of the arena; whole pages */
	uint32_t lanes;	       /* the most that it can use; 1 unless it says so */
};

/**
 * au_note_read - read the note of the module at @path.
 * @error: one line on failure.
 * Return: 0; -ENOENT and the like; -ENOEXEC: no ELF file, or no driver; -EPROTO: another ABI;
 * -EINVAL: a note that breaks the rules. Any thread.
 */
int au_note_read(const char *path, struct au_note *note, char *error, size_t error_size);
/** au_note_read_fd - the same of an open file; @label names it in messages. */
int au_note_read_fd(int fd, const char *label, struct au_note *note, char *error,
		    size_t error_size);
/** au_note_parse - the text alone: @size bytes, zero padded at the end. */
int au_note_parse(const char *text, size_t size, const char *label, struct au_note *note,
		  char *error, size_t error_size);

/** au_note_lanes - how many lanes @params ask for; 1 when they do not, or when the driver has no
 * such parameter. At most @count of them, or up to NULL. */
unsigned int au_note_lanes(const struct au_note *note, const char *const *params,
			   unsigned int count);
/** au_note_param - the parameter of that name, or NULL. */
const struct au_note_param *au_note_param(const struct au_note *note, const char *name);
/**
 * au_note_resolve - take the parameters into account: retain_bytes is then what is wanted in all.
 * @params: as for the driver, checked; at most @count, or up to NULL. Once a note.
 * Return: 0, or -EINVAL with one line in @error: too much.
 */
int au_note_resolve(struct au_note *note, const char *const *params, unsigned int count,
		    char *error, size_t error_size);

/**
 * au_note_param_check - check one "key=value".
 * @value: the number, for UINT and BOOL (which also takes yes/no, on/off, true/false); optional.
 * @text: the text after "=", a pointer into @assignment; optional.
 * Return: the parameter; NULL with one line in @error, which says what would be right.
 */
const struct au_note_param *au_note_param_check(const struct au_note *note, const char *assignment,
						uint64_t *value, const char **text, char *error,
						size_t error_size);

/** au_note_match_text - a match as people read it: "PCI 1b36:0002", into @buf; returns @buf. */
const char *au_note_match_text(const struct au_note_match *match, char *buf, size_t size);

#endif
