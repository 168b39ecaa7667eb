/* SPDX-License-Identifier: MIT */
#ifndef AU_EXPORT_PTY_LINE_H
#define AU_EXPORT_PTY_LINE_H

#include "auriga/serial.h"

#include <stdbool.h>

/**
 * pty_line_get - what the terminal settings of a pty ask of a line.
 * @fd: either side of the pty.
 * @hangup: set when the baud rate is 0, by which POSIX means "drop DTR"; @line->baud is then 0.
 * Return: 0 or a negative errno.
 */
int pty_line_get(int fd, struct au_serial_line *line, bool *hangup);

#endif
