/* SPDX-License-Identifier: MIT */
#include "alog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int alog_open(struct alog *log, const char *path)
{
	*log = (struct alog){ .fd = -1 };
	if (!path)
		return 0;
	log->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log->fd < 0)
		return lab_fail(-errno, "cannot open the access log %s: %s", path, strerror(errno));
	return 0;
}

void alog_access(struct alog *log, const char *id, bool write, unsigned int region, uint64_t off,
		 unsigned int width, uint64_t value)
{
	if (log->fd < 0)
		return;
	if (width < 8)
		value &= (UINT64_C(1) << 8 * width) - 1;
	if (region == 7)
		lab_buf_printf(&log->buf,
			       "%" PRIu64 " %s %c config 0x%" PRIx64 " %u 0x%" PRIx64 "\n",
			       lab_now_ns(), id, write ? 'w' : 'r', off, width, value);
	else
		lab_buf_printf(&log->buf,
			       "%" PRIu64 " %s %c bar%u 0x%" PRIx64 " %u 0x%" PRIx64 "\n",
			       lab_now_ns(), id, write ? 'w' : 'r', region, off, width, value);
	if (lab_buf_len(&log->buf) > 65536)
		alog_flush(log);
}

void alog_event(struct alog *log, const char *id, const char *fmt, ...)
{
	char text[128];
	va_list ap;

	if (log->fd < 0)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	lab_buf_printf(&log->buf, "%" PRIu64 " %s %s\n", lab_now_ns(), id, text);
}

void alog_flush(struct alog *log)
{
	while (log->fd >= 0 && lab_buf_len(&log->buf)) {
		ssize_t n = write(log->fd, lab_buf_head(&log->buf), lab_buf_len(&log->buf));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			lab_msg("the access log ends here: %s", strerror(errno));
			close(log->fd);
			log->fd = -1;
			return;
		}
		lab_buf_consume(&log->buf, (size_t)n);
	}
}
