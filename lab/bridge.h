/* SPDX-License-Identifier: MIT */
/* bridge.h: the process that speaks vfio-user to clients and qtest to QEMU. */
#ifndef LAB_BRIDGE_H
#define LAB_BRIDGE_H

#include "spec.h"

/**
 * bridge_run - be the bridge: find the functions, serve them until the guardian ends.
 * @qtest, @qmp: connections to QEMU.
 * @guardian: pidfd of the guardian; when it has died, the bridge removes the directory and ends.
 * @report: where the list of functions is written, one JSON line, when all are served; then closed.
 *	Before that, a failure is written there as {"error": "one line"}.
 * Return: the exit status.
 */
int bridge_run(const struct lab_spec *spec, int qtest, int qmp, int guardian, int report);

#endif
