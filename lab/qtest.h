/* SPDX-License-Identifier: MIT */
/*
 * qtest.h: register accesses in QEMU's qtest text protocol, pipelined.
 *
 * Commands are lines ("outb 0xc000 0x41"), answered in order ("OK", "OK 0x..."), with lines about
 * interrupt lines ("IRQ raise 20") in between. Accesses are queued, sent in one write by
 * qtest_flush(), and completed through their done function as the answers come in.
 */
#ifndef LAB_QTEST_H
#define LAB_QTEST_H

#include "util.h"

enum qtest_cmd { QTEST_IN, QTEST_OUT, QTEST_READ, QTEST_WRITE };

struct qtest_op;
typedef void (*qtest_done_fn)(const struct qtest_op *op, uint64_t value);

/**
 * struct qtest_op - one access and what shall happen when it is answered.
 * @cmd: port or memory, read or write.
 * @width: 1, 2, 4 or (memory only) 8 bytes.
 * @addr: address in QEMU's machine.
 * @value: for writes.
 * @done: called with the value read (0 for a write; all-ones for both when QEMU is gone). May queue
 *	further accesses. NULL: the answer does not matter.
 * @owner, @dest, @tag, @mask, @bits: for the owner's use.
 */
struct qtest_op {
	enum qtest_cmd cmd;
	unsigned int width;
	uint64_t addr;
	uint64_t value;
	qtest_done_fn done;
	void *owner;
	uint8_t *dest;
	uint64_t tag;
	uint32_t mask, bits;
};

/**
 * struct qtest - the connection.
 * @irq: called for each change of an interrupt line of QEMU's I/O APIC.
 * @dead: QEMU is gone: accesses complete at once, reads with all-ones.
 */
struct qtest {
	struct lab_source src;
	bool dead;
	void (*irq)(struct qtest *q, unsigned int gsi, bool level);
	void (*died)(struct qtest *q);
	struct lab_buf in, out;
	struct qtest_op *ops;	       /* ring */
	unsigned int head, tail, mask; /* free-running; mask is size - 1 */
};

/** qtest_init - take over the connected non-blocking stream @fd. */
void qtest_init(struct qtest *q, int fd);

/** qtest_submit - queue an access, copying @op. When QEMU is gone, completes it before returning.
 */
void qtest_submit(struct qtest *q, const struct qtest_op *op);

/**
 * qtest_flush - send what is queued.
 * Return: true when something is left to send because QEMU does not take it now.
 */
bool qtest_flush(struct qtest *q);

/** qtest_input - take in answers and complete accesses; notices the end of QEMU. */
void qtest_input(struct qtest *q);

/**
 * qtest_call - one access, waited for: for the start, when there is nothing else to do.
 * @value: where the value read goes, or NULL.
 * Return: 0, -ETIMEDOUT, or -EPIPE when QEMU is gone.
 */
int qtest_call(struct qtest *q, enum qtest_cmd cmd, unsigned int width, uint64_t addr,
	       uint64_t wvalue, uint64_t *value);

/** qtest_command - one other command line, waited for. */
int qtest_command(struct qtest *q, const char *line);

#endif
