/* SPDX-License-Identifier: MIT */
/**
 * DOC: Reading the flight recorder, of a host that lives or has died
 *
 * What is read is hostile input, and may be written meanwhile: it is copied first, then looked at.
 */
#ifndef AU_BASE_TRACE_READ_H
#define AU_BASE_TRACE_READ_H

#include "base/recorder.h"

#define AU_TRACE_FIELDS 6
#define AU_TRACE_LINE	256 /* characters of a line of text, and the zero */

/** struct au_trace_item - a record, or the records of one line of text. @at: of the first. */
struct au_trace_item {
	uint64_t time_ns;
	uint32_t last_seq;
	uint32_t order; /* private: within its lane */
	uint16_t lane;
	uint16_t at;
	uint16_t count;
};

/**
 * struct au_trace_view - what there was at one moment, oldest first.
 * @lost: records between those that were seen already and the oldest that is left.
 */
struct au_trace_view {
	struct au_record *records;
	struct au_trace_item *items;
	size_t count;
	uint64_t lost;
};

/**
 * au_trace_view - copy what is newer than @after, the last sequence number seen of each lane; 0:
 * none.
 * @live: somebody still writes: a line that has only begun is left for the next time.
 * Return: 0, or -ENOMEM.
 */
int au_trace_view(const struct au_recorder *rec, const uint32_t after[AU_RECORDER_LANES], bool live,
		  struct au_trace_view *view);
void au_trace_view_free(struct au_trace_view *view);

/** au_trace_first - the item's record; of a line of text, the first. */
const struct au_record *au_trace_first(const struct au_trace_view *view,
				       const struct au_trace_item *item);
/** au_trace_line - a line of text, printable. Return: whether it is all of it. */
bool au_trace_line(const struct au_trace_view *view, const struct au_trace_item *item,
		   char buf[AU_TRACE_LINE]);

/** struct au_trace_field - an argument of a record. @text: if not empty, what @number means. */
struct au_trace_field {
	char name[16];
	uint64_t number;
	char text[64];
};

/**
 * au_trace_fields - a record's arguments by their names.
 * @classes: of the device's units, for the names of operations; each may be NULL.
 * Return: how many there are.
 */
unsigned int au_trace_fields(const struct au_record *r, const char *const *classes,
			     unsigned int class_count,
			     struct au_trace_field fields[AU_TRACE_FIELDS]);

#endif
