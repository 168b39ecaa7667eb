/* SPDX-License-Identifier: MIT */
/* util.h: one-line messages, a growable buffer and event sources, for the lab's own programs. */
#ifndef LAB_UTIL_H
#define LAB_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/cleanup.h"

/**
 * lab_msg - print one line on standard error, which a daemon has turned into its lab.log.
 *
 * The line starts with the program's name; a newline is added, and control characters in it are
 * replaced, so that nothing from outside can fake a second line.
 */
void lab_msg(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/**
 * lab_fail - like lab_msg(), for the place where a failure becomes known.
 * @err: the negative errno to hand on.
 *
 * Return: @err.
 */
int lab_fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/**
 * lab_msg_capture - collect what lab_msg() prints from now on in memory, or stop doing so.
 * @buf: where the last line is kept, NUL-terminated; NULL prints on standard error again.
 * @size: size of @buf.
 */
void lab_msg_capture(char *buf, size_t size);

/** struct lab_buf - a growable run of bytes, read at @head and written at @tail. */
struct lab_buf {
	uint8_t *data;
	size_t head, tail, size;
};

static inline size_t lab_buf_len(const struct lab_buf *b)
{
	return b->tail - b->head;
}

static inline uint8_t *lab_buf_head(const struct lab_buf *b)
{
	return b->data + b->head;
}

/**
 * lab_buf_reserve - make room for @len more bytes and return where they go.
 *
 * Running out of memory ends the process with one line: the lab's buffers are bounded, so it means
 * that the machine is in trouble, and a lab that dies cleans up after itself.
 */
uint8_t *lab_buf_reserve(struct lab_buf *b, size_t len);
void lab_buf_add(struct lab_buf *b, const void *data, size_t len);
void lab_buf_printf(struct lab_buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void lab_buf_consume(struct lab_buf *b, size_t len);
void lab_buf_free(struct lab_buf *b);

/** lab_xcalloc - calloc() that ends the process with one line when memory runs out. */
void *lab_xcalloc(size_t n, size_t size);
char *lab_strdup(const char *s);

/** lab_now_ns - the monotonic clock, in nanoseconds. */
uint64_t lab_now_ns(void);

/**
 * struct lab_source - something that an epoll descriptor watches.
 * @ready: called with the epoll events.
 */
struct lab_source {
	int fd;
	uint32_t events;
	void (*ready)(struct lab_source *src, uint32_t events);
};

/** lab_watch - add @src to @epfd, or change what is awaited there; 0 events keeps only errors. */
int lab_watch(int epfd, struct lab_source *src, uint32_t events);

/**
 * struct lab_timer - a one-shot timer of the loop.
 * @fire: called when it has run out.
 */
struct lab_timer {
	struct lab_source src;
	void (*fire)(struct lab_timer *t);
};

/** lab_timer_init - make the timer, not running. */
int lab_timer_init(int epfd, struct lab_timer *t, void (*fire)(struct lab_timer *t));

/** lab_timer_arm - let it run out in @ms milliseconds, whatever it was doing; 0: stop it. */
void lab_timer_arm(struct lab_timer *t, unsigned int ms);

/**
 * lab_signal - add one to a client's eventfd, without ever waiting for it.
 * Return: false when it was not possible, after one line.
 */
bool lab_signal(int fd, const char *who);

#define lab_container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
