/* SPDX-License-Identifier: MIT */
/* Finding a driver's note in an ELF file, which is hostile input. */
#include "base/note.h"

#include "base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define NOTE_FILE_MAX	  (256ll << 20)
#define NOTE_SEGMENTS_MAX 64u
#define NOTE_OWNER	  "Auriga"
#if defined(__x86_64__)
#define NOTE_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define NOTE_MACHINE EM_AARCH64
#elif defined(__riscv)
#define NOTE_MACHINE EM_RISCV
#else
#error "say what the machine's ELF files say"
#endif

static void note_elf_end(Elf **elf)
{
	if (*elf)
		elf_end(*elf);
}

/* Look for our note in one PT_NOTE segment. */
static const char *note_in_segment(Elf *elf, const GElf_Phdr *segment, uint32_t *type, size_t *size)
{
	Elf_Data *data = elf_getdata_rawchunk(elf, (int64_t)segment->p_offset, segment->p_filesz,
					      ELF_T_NHDR);
	size_t offset = 0, name, text;
	GElf_Nhdr note;

	if (!data || !data->d_buf)
		return NULL;
	while (offset < data->d_size &&
	       (offset = gelf_getnote(data, offset, &note, &name, &text)) > 0) {
		if (note.n_namesz != sizeof(NOTE_OWNER) || name > data->d_size ||
		    data->d_size - name < sizeof(NOTE_OWNER) || text > data->d_size ||
		    data->d_size - text < note.n_descsz)
			continue;
		if (memcmp((char *)data->d_buf + name, NOTE_OWNER, sizeof(NOTE_OWNER)) != 0)
			continue;
		*type = note.n_type;
		*size = note.n_descsz;
		return (char *)data->d_buf + text;
	}
	return NULL;
}

static const char *note_find(Elf *elf, off_t file_size, uint32_t *type, size_t *size)
{
	const char *text = NULL;
	size_t segments;

	if (elf_getphdrnum(elf, &segments) != 0)
		return NULL;
	for (size_t i = 0; i < segments && i < NOTE_SEGMENTS_MAX && !text; i++) {
		GElf_Phdr segment;

		if (!gelf_getphdr(elf, (int)i, &segment) || segment.p_type != PT_NOTE)
			continue;
		if (segment.p_offset > (uint64_t)file_size ||
		    segment.p_filesz > (uint64_t)file_size - segment.p_offset ||
		    segment.p_filesz > 4 * (uint64_t)AU_NOTE_TEXT_MAX)
			continue;
		text = note_in_segment(elf, &segment, type, size);
	}
	return text;
}

/*
 * Whether the dynamic linker would find in the file what the headers promise. It maps what they say
 * and touches it: a file that was cut off, as by a full disk, would look like a driver that
 * crashes.
 */
static const char *note_wrong_file(Elf *elf, off_t file_size)
{
	GElf_Ehdr header;
	size_t segments;

	if (!gelf_getehdr(elf, &header) || elf_getphdrnum(elf, &segments) != 0)
		return "not an ELF file";
	if (header.e_type != ET_DYN || header.e_machine != NOTE_MACHINE)
		return "made for another kind of machine, or no shared object";
	for (size_t i = 0; i < segments && i < NOTE_SEGMENTS_MAX; i++) {
		GElf_Phdr segment;

		if (!gelf_getphdr(elf, (int)i, &segment))
			return "not an ELF file";
		if (segment.p_offset > (uint64_t)file_size ||
		    segment.p_filesz > (uint64_t)file_size - segment.p_offset)
			return "its file is cut off";
	}
	return NULL;
}

int au_note_read_fd(int fd, const char *label, struct au_note *note, char *error, size_t error_size)
{
	AU_CLEANUP(note_elf_end) Elf *elf = NULL;
	const char *text, *wrong;
	struct stat st;
	uint32_t type;
	size_t size;

	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > NOTE_FILE_MAX) {
		snprintf(error, error_size, "%s: no driver: not a regular file of a sane size",
			 label);
		return -ENOEXEC;
	}
	elf_version(EV_CURRENT);
	/* Read, not mapped: a file that shrinks meanwhile must not be a SIGBUS. */
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (!elf || elf_kind(elf) != ELF_K_ELF || gelf_getclass(elf) == ELFCLASSNONE) {
		snprintf(error, error_size, "%s: no driver: not an ELF file", label);
		return -ENOEXEC;
	}
	wrong = note_wrong_file(elf, st.st_size);
	if (wrong) {
		snprintf(error, error_size, "%s: no driver: %s", label, wrong);
		return -ENOEXEC;
	}
	text = note_find(elf, st.st_size, &type, &size);
	if (!text) {
		snprintf(error, error_size,
			 "%s: no driver: it has no Auriga note (AU_DRIVER_NOTE makes one)", label);
		return -ENOEXEC;
	}
	return au_note_parse(text, size, label, note, error, error_size);
}

int au_note_read(const char *path, struct au_note *note, char *error, size_t error_size)
{
	/* Not blocking: the path may name a FIFO. */
	AU_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0) {
		int err = -errno;

		snprintf(error, error_size, "%s: cannot be opened: %s", path, strerror(-err));
		return err;
	}
	return au_note_read_fd(fd, path, note, error, error_size);
}
