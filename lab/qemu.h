/* SPDX-License-Identifier: MIT */
/* qemu.h: starting QEMU as a box of device models without a guest. */
#ifndef LAB_QEMU_H
#define LAB_QEMU_H

#include <sys/types.h>

#include "spec.h"

/**
 * struct qemu - a running QEMU and the lab's ends of its connections.
 * @qtest, @qmp: connected streams.
 * @err: the reading end of its standard output and error.
 * @ram: main memory.
 */
struct qemu {
	pid_t pid;
	int pidfd;
	int qtest, qmp, err, ram;
};

/**
 * qemu_spawn - start it as a child that is killed when the calling thread ends.
 * Return: 0 or a negative errno after one line.
 */
int qemu_spawn(const struct lab_spec *spec, struct qemu *q);

/** qemu_close - close the descriptors, all of them or those that are open. */
void qemu_close(struct qemu *q);

#endif
