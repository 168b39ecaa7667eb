/* SPDX-License-Identifier: MIT */
/*
 * cert_client.h - a client of `auriga verify`: a process with one unit open that keeps requests in
 * flight, knows what each must bring, cancels some when it is told to, and says all the time how it
 * is. It is a process so that it can be killed, and so that a driver inside of it can crash.
 *
 * cert_client.c is the process, cert_block.c, cert_serial.c and cert_raw.c what units of these
 * classes are asked for.
 */
#ifndef AU_CLI_CERT_CLIENT_H
#define AU_CLI_CERT_CLIENT_H

#include "auriga/auriga.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CERT_DEPTH  16u
#define CERT_BUFFER 32768u

struct cert_client;

/**
 * struct cert_job - one request that is submitted again and again.
 * @flying: it was submitted, and has not come back.
 * @cancel, @timed: it was asked to be cancelled; it has a time of its own, which is short.
 * @a, @b: the class' own.
 */
struct cert_job {
	struct au_io io;
	struct cert_client *client;
	unsigned int index;
	bool flying, cancel, timed;
	uint64_t a, b;
};

/**
 * struct cert_class - what units of a class are asked for.
 * @begin: after each open. Return: 0, or an errno after cert_wrong().
 * @fill: make the next request of a job; false: not now.
 * @done: it is complete: look at it. With -EAGAIN it was never submitted: take it back.
 * @event: what no request asked for. Optional.
 * @quiet: nothing is outstanding any more: what is missing? Return: true when all has been looked
 *	at, false to be called again. Optional.
 * @probe: what the unit is, for whoever starts clients. Optional.
 * @progress: a number that grows while what matters goes on; without it, completed requests.
 */
struct cert_class {
	const char *name;
	int (*begin)(struct cert_client *c);
	bool (*fill)(struct cert_client *c, struct cert_job *job);
	void (*done)(struct cert_client *c, struct cert_job *job);
	void (*event)(struct cert_client *c, const struct au_event *event);
	bool (*quiet)(struct cert_client *c);
	void (*probe)(struct cert_client *c, json_t *found);
	uint64_t (*progress)(const struct cert_client *c);
};

/**
 * struct cert_options - what the client was started with.
 * @part, @parts: its share of a disk.
 * @no_data: what is read is not looked at.
 * @control: it asks for nothing that others would miss: no data of a serial line.
 * @hard: memory is short, or the device goes: whatever fails is no fault, but wrong data are.
 * @op: of raw requests.
 */
struct cert_options {
	const char *target;
	uint64_t seed;
	unsigned int part, parts;
	bool no_data, control, hard;
	uint16_t op;
};

/** struct cert_client - everything that it has. */
struct cert_client {
	struct cert_options options;
	const struct cert_class *class;
	void *own; /* the class' */
	struct au_handle *handle;
	char *data; /* CERT_DEPTH times CERT_BUFFER */
	struct cert_job jobs[CERT_DEPTH];
	unsigned int depth;
	unsigned int flying;
	uint64_t random;

	/* As told. */
	bool paused, ending, gone_ok;
	unsigned int cancel_percent, timeout_percent;

	/* How it is. */
	const char *state;
	bool gone, quiet;
	uint64_t completed, errors, wrong, twice, canceled, late, nodev, missing;
	uint64_t downs, restarts, gones, opens;
	uint64_t last_ms, gap_ms;
	char why[256];
};

extern const struct cert_class cert_block, cert_serial, cert_raw;

/** cert_client_run - the process. @probe: only say what the unit is. Return: an exit status. */
int cert_client_run(const struct cert_options *options, bool probe);

/** cert_wrong - something is not as it must be: count it in @counter, and keep the first line. */
void cert_wrong(struct cert_client *c, uint64_t *counter, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** cert_random - a number below @below. */
uint64_t cert_random(struct cert_client *c, uint64_t below);
/** cert_now_ms - of the monotonic clock. */
uint64_t cert_now_ms(void);

#endif
