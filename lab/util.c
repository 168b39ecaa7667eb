/* SPDX-License-Identifier: MIT */
#include "util.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>

#define LOG_LIMIT (1u << 20) /* a client that provokes messages must not fill the file system */

static char *capture;
static size_t capture_size;

void lab_msg_capture(char *buf, size_t size)
{
	capture = buf;
	capture_size = size;
}

static void print_line(const char *fmt, va_list ap)
{
	char line[1024];
	struct stat st;
	int n = snprintf(line, sizeof(line), "auriga-lab: ");

	int m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	size_t len = (size_t)n + (m < 0 ? 0 : (size_t)m);
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	for (size_t i = 0; i < len; i++)
		if (iscntrl((unsigned char)line[i]))
			line[i] = ' ';
	line[len] = '\0';
	if (capture) {
		snprintf(capture, capture_size, "%s", line + n);
		return;
	}
	line[len++] = '\n';
	if (fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > LOG_LIMIT)
		(void)!ftruncate(STDERR_FILENO, 0);
	(void)!write(STDERR_FILENO, line, len);
}

void lab_msg(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_line(fmt, ap);
	va_end(ap);
}

int lab_fail(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_line(fmt, ap);
	va_end(ap);
	return err;
}

static void out_of_memory(void)
{
	lab_msg("out of memory");
	_exit(1);
}

void *lab_xcalloc(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		out_of_memory();
	return p;
}

char *lab_strdup(const char *s)
{
	char *p = strdup(s);

	if (!p)
		out_of_memory();
	return p;
}

uint8_t *lab_buf_reserve(struct lab_buf *b, size_t len)
{
	if (b->head == b->tail)
		b->head = b->tail = 0;
	if (b->size - b->tail >= len && b->data)
		return b->data + b->tail;
	if (b->data && b->head) {
		memmove(b->data, b->data + b->head, b->tail - b->head);
		b->tail -= b->head;
		b->head = 0;
	}
	if (b->size - b->tail < len || !b->data) {
		size_t size = b->size ? b->size : 4096;

		while (size - b->tail < len)
			size *= 2;
		uint8_t *p = realloc(b->data, size);
		if (!p)
			out_of_memory();
		b->data = p;
		b->size = size;
	}
	return b->data + b->tail;
}

void lab_buf_add(struct lab_buf *b, const void *data, size_t len)
{
	if (len) {
		memcpy(lab_buf_reserve(b, len), data, len);
		b->tail += len;
	}
}

void lab_buf_printf(struct lab_buf *b, const char *fmt, ...)
{
	va_list ap;
	size_t room = 256;

	for (;;) {
		char *p = (char *)lab_buf_reserve(b, room);

		va_start(ap, fmt);
		int n = vsnprintf(p, room, fmt, ap);
		va_end(ap);
		if (n < 0)
			return;
		if ((size_t)n < room) {
			b->tail += (size_t)n;
			return;
		}
		room = (size_t)n + 1;
	}
}

void lab_buf_consume(struct lab_buf *b, size_t len)
{
	b->head += len;
	if (b->head == b->tail)
		b->head = b->tail = 0;
}

void lab_buf_free(struct lab_buf *b)
{
	free(b->data);
	*b = (struct lab_buf){ 0 };
}

uint64_t lab_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int lab_watch(int epfd, struct lab_source *src, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = src };

	src->events = events;
	if (epoll_ctl(epfd, EPOLL_CTL_MOD, src->fd, &ev) == 0)
		return 0;
	if (errno == ENOENT && epoll_ctl(epfd, EPOLL_CTL_ADD, src->fd, &ev) == 0)
		return 0;
	return lab_fail(-errno, "cannot watch descriptor %d: %s", src->fd, strerror(errno));
}

static void timer_ready(struct lab_source *src, uint32_t events)
{
	struct lab_timer *t = lab_container_of(src, struct lab_timer, src);
	uint64_t times;

	if (read(src->fd, &times, sizeof(times)) == (ssize_t)sizeof(times))
		t->fire(t);
}

int lab_timer_init(int epfd, struct lab_timer *t, void (*fire)(struct lab_timer *t))
{
	*t = (struct lab_timer){ .fire = fire, .src.ready = timer_ready };
	t->src.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (t->src.fd < 0)
		return lab_fail(-errno, "no timer: %s", strerror(errno));
	return lab_watch(epfd, &t->src, EPOLLIN);
}

void lab_timer_arm(struct lab_timer *t, unsigned int ms)
{
	struct itimerspec when = { .it_value = { .tv_sec = ms / 1000,
						 .tv_nsec = (long)(ms % 1000) * 1000000 } };

	timerfd_settime(t->src.fd, 0, &when, NULL);
}

bool lab_signal(int fd, const char *who)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	uint64_t one = 1;

	/* A full counter: the client has not looked for 2^64 - 2 interrupts, and does not matter.
	 */
	if (poll(&pfd, 1, 0) != 1 || !(pfd.revents & POLLOUT))
		return true;
	if (write(fd, &one, sizeof(one)) >= 0 || errno == EAGAIN)
		return true;
	lab_msg("%s: cannot signal the client's eventfd: %s", who, strerror(errno));
	return false;
}
