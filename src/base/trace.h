/* SPDX-License-Identifier: MIT */
/**
 * DOC: Trace points: all of them, in one table
 *
 * A point goes to the flight recorder of the lane, and is a USDT probe of provider "auriga" where
 * <sys/sdt.h> was there at build time. Numbers are kept for ever: recorders outlive programs.
 */
#ifndef AU_BASE_TRACE_H
#define AU_BASE_TRACE_H

#include "base/recorder.h"

#if __has_include(<sys/sdt.h>) && !defined(AU_OS_FAKE)
#include <sys/sdt.h>
#else
#define DTRACE_PROBE3(provider, name, a, b, c) ((void)0)
#endif

/* X(number, name, the three arguments) */
#define AU_TRACE_POINTS(X)                                                      \
	X(1, log, "a line of text, over one or more records")                   \
	X(2, device_state, "state, event, next state")                          \
	X(3, irq, "vector, claimed, unclaimed in a row")                        \
	X(4, irq_storm, "vector, unclaimed in a row, interrupts in the window") \
	X(5, cancel, "slot, tag, status")                                       \
	X(6, timeout, "slot, tag, 0")                                           \
	X(7, queue_state, "queue, old state, new state")                        \
	X(8, violation, "rule, slot, 0")                                        \
	X(9, handle_open, "unit, depth, 0")                                     \
	X(10, handle_close, "unit, outstanding, 0")                             \
	X(11, surprise, "0, 0, 0")                                              \
	X(12, gate, "0 closed or 1 open, held requests, 0")                     \
	X(13, solo, "slot, tag, 1 alone or 0 not")                              \
	X(14, deliver, "slot, operation, length")                               \
	X(15, complete, "slot, status, result")                                 \
	X(16, overdue, "slot, tag, ms")

enum au_trace_point {
#define AU_TRACE_ENUM(number, name, help) AU_TRACE_##name = (number),
	AU_TRACE_POINTS(AU_TRACE_ENUM)
#undef AU_TRACE_ENUM
};

/** au_trace - note a point in the recorder @rec (may be NULL) of lane @index. Lane. */
#define au_trace(rec, index, name, a, b, c)                                                \
	do {                                                                               \
		const uint64_t args_[3] = { (uint64_t)(a), (uint64_t)(b), (uint64_t)(c) }; \
		DTRACE_PROBE3(auriga, name, args_[0], args_[1], args_[2]);                 \
		if (rec)                                                                   \
			au_recorder_note(rec, index, AU_TRACE_##name, args_, 3);           \
	} while (0)

/** au_trace_probe - a USDT probe only, for what happens with every request: one nop. */
#define au_trace_probe(name, a, b, c) DTRACE_PROBE3(auriga, name, a, b, c)

/** au_trace_name - the name of a point, or NULL. */
static inline const char *au_trace_name(unsigned int point)
{
	switch (point) {
#define AU_TRACE_CASE(number, name, help) \
	case number:                      \
		return #name;
		AU_TRACE_POINTS(AU_TRACE_CASE)
#undef AU_TRACE_CASE
	default:
		return NULL;
	}
}

#endif
