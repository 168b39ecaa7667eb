/* SPDX-License-Identifier: MIT */
#include "client/error.h"

#include <stdarg.h>
#include <stdio.h>

#include "auriga/auriga.h"

static __thread char error_text[CLIENT_ERROR_SIZE];

int client_fail(int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(error_text, sizeof(error_text), fmt, args);
	va_end(args);
	return err;
}

const char *au_errmsg(void)
{
	return error_text;
}
