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
#define DTRACE_PROBE2(provider, name, a, b)	  ((void)0)
#define DTRACE_PROBE3(provider, name, a, b, c)	  ((void)0)
#define DTRACE_PROBE4(provider, name, a, b, c, d) ((void)0)
#endif

/*
 * X(number, name, "its arguments, by commas, as name or name:kind"). Kinds, see trace_decode.c:
 *	error	a negative errno, or 0
 *	queue	enum au_queue_state
 *	op	AU_TRACE_OP(unit, operation)
 *	hex	a number for machines
 *	text	the rest of the record is text, not a number
 */
#define AU_TRACE_POINTS(X)                                      \
	X(1, log, "")                                           \
	X(2, device_state, "result:error, step:text")           \
	X(3, irq, "vector, claimed, unclaimed")                 \
	X(4, irq_storm, "vector, unclaimed, window")            \
	X(5, cancel, "slot, tag:hex, status:error, request:op") \
	X(6, timeout, "slot, tag:hex, request:op")              \
	X(7, queue_state, "unit, old:queue, new:queue")         \
	X(8, violation, "slot, rule:text")                      \
	X(9, handle_open, "unit, depth")                        \
	X(10, handle_close, "unit, outstanding")                \
	X(11, surprise, "")                                     \
	X(12, gate, "open")                                     \
	X(13, solo, "slot, tag:hex, alone")                     \
	X(14, deliver, "slot, operation, length")               \
	X(15, complete, "slot, status:error, result")           \
	X(16, overdue, "slot, tag:hex, ms, request:op")

enum au_trace_point {
#define AU_TRACE_ENUM(number, name, arguments) AU_TRACE_##name = (number),
	AU_TRACE_POINTS(AU_TRACE_ENUM)
#undef AU_TRACE_ENUM
};

/* An operation, and of which unit: what it is called depends on the unit's class. */
#define AU_TRACE_OP(unit, op) ((uint64_t)(unit) << 16 | (uint16_t)(op))

/** au_trace4 - note a point in the recorder @rec (may be NULL) of lane @index. Lane. */
#define au_trace4(rec, index, name, a, b, c, d)                                          \
	do {                                                                             \
		const uint64_t args_[4] = { (uint64_t)(a), (uint64_t)(b), (uint64_t)(c), \
					    (uint64_t)(d) };                             \
		DTRACE_PROBE4(auriga, name, args_[0], args_[1], args_[2], args_[3]);     \
		if (rec)                                                                 \
			au_recorder_note(rec, index, AU_TRACE_##name, args_, 4);         \
	} while (0)

/** au_trace - the same with three arguments, those that there are not as 0. */
#define au_trace(rec, index, name, a, b, c)                                                \
	do {                                                                               \
		const uint64_t args_[3] = { (uint64_t)(a), (uint64_t)(b), (uint64_t)(c) }; \
		DTRACE_PROBE3(auriga, name, args_[0], args_[1], args_[2]);                 \
		if (rec)                                                                   \
			au_recorder_note(rec, index, AU_TRACE_##name, args_, 3);           \
	} while (0)

/** au_trace_text - the same with one argument and a text, of which 40 bytes are kept: so readers
 * need not know what the writer's numbers mean. */
#define au_trace_text(rec, index, name, a, string)                                             \
	do {                                                                                   \
		DTRACE_PROBE2(auriga, name, (uint64_t)(a), string);                            \
		if (rec)                                                                       \
			au_recorder_named(rec, index, AU_TRACE_##name, (uint64_t)(a), string); \
	} while (0)

/** au_trace_probe - a USDT probe only, for what happens with every request: one nop. */
#define au_trace_probe(name, a, b, c) DTRACE_PROBE3(auriga, name, a, b, c)

/** au_trace_name - the name of a point, or NULL. */
static inline const char *au_trace_name(unsigned int point)
{
	switch (point) {
#define AU_TRACE_CASE(number, name, arguments) \
	case number:                           \
		return #name;
		AU_TRACE_POINTS(AU_TRACE_CASE)
#undef AU_TRACE_CASE
	default:
		return NULL;
	}
}

/** au_trace_arguments - what the table says of a point's arguments, or NULL. */
static inline const char *au_trace_arguments(unsigned int point)
{
	switch (point) {
#define AU_TRACE_CASE(number, name, arguments) \
	case number:                           \
		return arguments;
		AU_TRACE_POINTS(AU_TRACE_CASE)
#undef AU_TRACE_CASE
	default:
		return NULL;
	}
}

#endif
