/* SPDX-License-Identifier: MIT */
/* The thread's last error, as one line. */
#ifndef AU_CLIENT_ERROR_H
#define AU_CLIENT_ERROR_H

#include <stddef.h>

#define CLIENT_ERROR_SIZE 400

/** client_say - keep a line for au_errmsg(). */
void client_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/** client_fail - the same, as an expression of the value @err. */
#define client_fail(err, ...) (client_say(__VA_ARGS__), (err))

#endif
