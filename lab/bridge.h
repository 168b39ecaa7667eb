/* SPDX-License-Identifier: MIT */
/* bridge.h: the process that speaks vfio-user to clients and qtest to QEMU. */
#ifndef LAB_BRIDGE_H
#define LAB_BRIDGE_H

#include "qemu.h"
#include "spec.h"
#include "stat.h"

/**
 * bridge_run - be the bridge: find the functions, serve them until the guardian ends.
 * @qemu: running, with its connections.
 * @guardian: pidfd of the guardian; when it has died, the bridge removes the directory and ends.
 * @commands: where the guardian hands on commands, packets with the descriptor for the answer.
 * @stats: LAB_MAX_FUNCS of them, in the order of the list of functions.
 * @report: where the list of functions is written, one JSON line, when all are served; then closed.
 *	Before that, a failure is written there as {"error": "one line"}.
 * Return: the exit status.
 */
int bridge_run(const struct lab_spec *spec, const struct qemu *qemu, int guardian, int commands,
	       struct lab_stat *stats, int report);

#endif
