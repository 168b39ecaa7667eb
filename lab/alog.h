/* SPDX-License-Identifier: MIT */
/*
 * alog.h: the log of register accesses, one line each:
 *	NANOSECONDS ID r|w REGION 0xOFFSET SIZE 0xVALUE
 * and of what happens to a session: NANOSECONDS ID open|close|refused|reset|irq ...
 */
#ifndef LAB_ALOG_H
#define LAB_ALOG_H

#include "util.h"

/** struct alog - the log; @fd is -1 when there is none. */
struct alog {
	int fd;
	struct lab_buf buf;
};

/** alog_open - append to @path, creating it; NULL: no log. */
int alog_open(struct alog *log, const char *path);

/** alog_access - one access, answered. @region: vfio region number. */
void alog_access(struct alog *log, const char *id, bool write, unsigned int region, uint64_t off,
		 unsigned int width, uint64_t value);

/** alog_event - something else about a function. */
void alog_event(struct alog *log, const char *id, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/** alog_flush - write out what was logged; done before clients get their answers. */
void alog_flush(struct alog *log);

#endif
