/* SPDX-License-Identifier: MIT */
/**
 * DOC: One-line messages
 *
 * To stderr, or to whoever took them over. $AURIGA_LOG (error, warn, info, debug) says how much;
 * warn when it says nothing.
 */
#ifndef AU_BASE_LOG_H
#define AU_BASE_LOG_H

#include "auriga/driver.h"

#include <stdarg.h>

/** au_log_sink - what takes the lines; @line has no newline and no control characters. */
typedef void (*au_log_sink)(void *context, enum au_log_level level, const char *line);

/** au_logf - one line. Any thread; longer than 500 characters is cut. */
void au_logf(enum au_log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/** au_logv - the same with arguments in a list. */
void au_logv(enum au_log_level level, const char *fmt, va_list args)
	__attribute__((format(printf, 2, 0)));
/** au_log_wanted - whether a line of that level goes anywhere. Any thread. */
bool au_log_wanted(enum au_log_level level);
/** au_log_set_level - say so from the program, over $AURIGA_LOG. Before there are threads. */
void au_log_set_level(enum au_log_level level);
/** au_log_set_sink - take the lines over; NULL: stderr again. Before there are threads. */
void au_log_set_sink(au_log_sink sink, void *context);
/** au_log_set_name - the program's name at the start of lines to stderr ("auriga-host serial0"). */
void au_log_set_name(const char *name);

#endif
