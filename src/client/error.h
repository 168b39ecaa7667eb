/* SPDX-License-Identifier: MIT */
/* The thread's last error, as one line. */
#ifndef AU_CLIENT_ERROR_H
#define AU_CLIENT_ERROR_H

#include <stddef.h>

#define CLIENT_ERROR_SIZE 400

/** client_fail - keep a line for au_errmsg(). Return: @err. */
int client_fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
