/* SPDX-License-Identifier: MIT */
/*
 * guardian.h: the process that owns a lab: parent of QEMU and of the bridge, server of the control
 * socket. It never talks to QEMU, so it answers when QEMU is frozen.
 */
#ifndef LAB_GUARDIAN_H
#define LAB_GUARDIAN_H

#include "spec.h"

/**
 * guardian_run - start QEMU and the bridge, look after them until the lab is taken down.
 * @spec: finished, its directory claimed.
 * @report: where one JSON line goes when the lab is up or could not be: {"error": "..."}.
 *
 * Everything is gone when it returns: processes, sockets, the directory.
 * Return: the exit status.
 */
int guardian_run(const struct lab_spec *spec, int report);

#endif
