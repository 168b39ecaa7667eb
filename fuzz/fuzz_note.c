/* SPDX-License-Identifier: MIT */
/*
 * A driver's note. The first byte says whether the rest is the note's text or a whole ELF file.
 * What is accepted keeps its rules; what is refused says so in one line.
 */
#include "base/note.h"
#include "base/paths.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void insist(bool holds)
{
	if (!holds)
		abort();
}

static void check_param(const struct au_note *note, const struct au_note_param *p)
{
	char assignment[128], error[256];
	const char *text;
	uint64_t value;

	insist(au_name_valid(p->name) && p->help[0] && au_note_param(note, p->name) == p);
	insist(p->type == AU_PARAM_TYPE_STRING || (p->def >= p->min && p->def <= p->max));
	/* the default is a value like any other */
	if (p->type == AU_PARAM_TYPE_STRING)
		snprintf(assignment, sizeof(assignment), "%s=%s", p->name, p->def_text);
	else
		snprintf(assignment, sizeof(assignment), "%s=%llu", p->name,
			 (unsigned long long)p->def);
	insist(au_note_param_check(note, assignment, &value, &text, error, sizeof(error)) == p);
	insist(p->type == AU_PARAM_TYPE_STRING || value == p->def);
}

static void check_note(const struct au_note *note)
{
	char buf[64];

	insist(note->abi == 1 && au_name_valid(note->name) && au_name_valid(note->cls));
	insist(note->version[0] && note->summary[0]);
	insist(note->match_count >= 1 && note->match_count <= AU_NOTE_MATCHES);
	insist(note->param_count <= AU_NOTE_PARAMS);
	insist(note->retain_bytes <= AU_NOTE_RETAIN_MAX);
	for (unsigned int i = 0; i < note->match_count; i++)
		insist(au_note_match_text(&note->match[i], buf, sizeof(buf))[0] != '\0');
	for (unsigned int i = 0; i < note->param_count; i++)
		check_param(note, &note->param[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct au_note note;
	char error[200] = "", *text;
	int err, fd;

	if (size == 0)
		return 0;
	if (data[0] & 1) {
		fd = memfd_create("fuzz", MFD_CLOEXEC);
		insist(fd >= 0 && write(fd, data + 1, size - 1) == (ssize_t)(size - 1));
		err = au_note_read_fd(fd, "x.so", &note, error, sizeof(error));
		close(fd);
	} else {
		/* of just this size, so that a byte too far is found */
		text = malloc(size);
		insist(text != NULL);
		memcpy(text, data + 1, size - 1);
		err = au_note_parse(text, size - 1, "x.so", &note, error, sizeof(error));
		free(text);
	}
	insist((err != 0) == (error[0] != '\0'));
	insist(!strpbrk(error, "\n\r\x1b"));
	if (err == 0)
		check_note(&note);
	return 0;
}
