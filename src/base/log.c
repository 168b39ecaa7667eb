/* SPDX-License-Identifier: MIT */
/* One-line messages. */
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LOG_LINE 500

static const char *const log_names[] = { "error", "warning", "info", "debug" };

static int log_level = -1;
static au_log_sink log_sink;
static void *log_context;
static char log_name[64];

static enum au_log_level log_level_now(void)
{
	int level = __atomic_load_n(&log_level, __ATOMIC_RELAXED);
	const char *wish;

	if (level >= 0)
		return (enum au_log_level)level;
	wish = getenv("AURIGA_LOG");
	level = AU_LOG_WARN;
	if (wish && strcasecmp(wish, "warn") != 0)
		for (int i = 0; i < 4; i++)
			if (strcasecmp(wish, log_names[i]) == 0)
				level = i;
	__atomic_store_n(&log_level, level, __ATOMIC_RELAXED);
	return (enum au_log_level)level;
}

bool au_log_wanted(enum au_log_level level)
{
	return level <= log_level_now();
}

void au_log_set_level(enum au_log_level level)
{
	__atomic_store_n(&log_level, (int)level, __ATOMIC_RELAXED);
}

void au_log_set_sink(au_log_sink sink, void *context)
{
	log_context = context;
	log_sink = sink;
}

void au_log_set_name(const char *name)
{
	snprintf(log_name, sizeof(log_name), "%s", name);
}

void au_logv(enum au_log_level level, const char *fmt, va_list args)
{
	char line[LOG_LINE];

	if ((unsigned int)level > AU_LOG_DEBUG || !au_log_wanted(level))
		return;
	vsnprintf(line, sizeof(line), fmt, args); /* NOLINT(clang-analyzer-valist.Uninitialized) */
	/* What is in a message can come from a device or a file: keep it on its line. */
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			*c = c[1] ? ' ' : '\0';
	if (log_sink)
		log_sink(log_context, level, line);
	else if (log_name[0])
		fprintf(stderr, "%s: %s%s%s\n", log_name,
			level == AU_LOG_ERROR ? "" : log_names[level],
			level == AU_LOG_ERROR ? "" : ": ", line);
	else
		fprintf(stderr, "%s: %s\n", log_names[level], line);
}

void au_logf(enum au_log_level level, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	au_logv(level, fmt, args);
	va_end(args);
}
