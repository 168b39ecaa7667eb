/* SPDX-License-Identifier: MIT */
/* qmp.h: QEMU's control protocol, JSON lines; calls are waited for and belong to the start. */
#ifndef LAB_QMP_H
#define LAB_QMP_H

#include <jansson.h>

#include "util.h"

struct qmp {
	struct lab_source src;
	struct lab_buf in;
};

/** qmp_open - take over the connected stream @fd and leave the negotiation mode. */
int qmp_open(struct qmp *q, int fd);

/**
 * qmp_call - execute a command.
 * @args: its arguments, consumed; or NULL.
 * Return: what it returned, to be freed with json_decref(), or NULL after one line.
 */
json_t *qmp_call(struct qmp *q, const char *command, json_t *args);

/** qmp_drain - read and forget events. Return: false when QEMU has gone. */
bool qmp_drain(struct qmp *q);

#endif
