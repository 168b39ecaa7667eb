/* SPDX-License-Identifier: MIT */
#include "client/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "auriga/auriga.h"

static __thread char error_text[CLIENT_ERROR_SIZE];

void client_say(const char *fmt, ...)
{
	int saved = errno; /* may be the value of client_fail() */
	va_list args;

	va_start(args, fmt);
	vsnprintf(error_text, sizeof(error_text), fmt, args);
	va_end(args);
	errno = saved;
}

const char *au_errmsg(void)
{
	return error_text;
}
