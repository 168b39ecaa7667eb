/* SPDX-License-Identifier: MIT */
/*
 * qmp.h: QEMU's control protocol, JSON lines. At the start calls are waited for; once the lab
 * serves, commands are queued and answered later, in order.
 */
#ifndef LAB_QMP_H
#define LAB_QMP_H

#include <jansson.h>

#include "util.h"

/**
 * qmp_done_fn - a command has been executed.
 * @error: NULL, or why it was not.
 */
typedef void (*qmp_done_fn)(void *owner, const char *error);

/** struct qmp - the connection. @dead: QEMU is gone: commands fail before qmp_submit() returns. */
struct qmp {
	struct lab_source src;
	struct lab_buf in, out;
	struct qmp_pending *first, **last;
	bool dead;
};

/** qmp_open - take over the connected stream @fd and leave the negotiation mode. */
int qmp_open(struct qmp *q, int fd);

/** qmp_init - take over @fd, past the negotiation. */
void qmp_init(struct qmp *q, int fd);

/**
 * qmp_call - execute a command and wait for it: for the start.
 * @args: its arguments, consumed; or NULL.
 * @fd: a descriptor that goes with it, or -1.
 * Return: what it returned, to be freed with json_decref(), or NULL after one line.
 */
json_t *qmp_call(struct qmp *q, const char *command, json_t *args, int fd);

/** qmp_submit - queue a command. @args: consumed. @done: may be NULL. */
void qmp_submit(struct qmp *q, const char *command, json_t *args, qmp_done_fn done, void *owner);

/** qmp_flush - send what is queued. Return: true when something is left to send. */
bool qmp_flush(struct qmp *q);

/** qmp_input - take in answers, forget events. Return: false when QEMU has gone. */
bool qmp_input(struct qmp *q);

#endif
