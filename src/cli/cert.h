/* SPDX-License-Identifier: MIT */
/*
 * cert.h - `auriga verify`: a driver is put through everything that can happen to it, while clients
 * use its units and know what they must get.
 *
 * verify.c	the command: what is verified, where, and with what result
 * cert_plan.c	which step comes when: everything follows from the seed
 * cert_host.c	steps: restarts, deaths, clients that come, go, cancel and die
 * cert_pnp.c	steps: devices that are taken away, pulled out, and put back
 * cert_power.c	steps: devices that go down and come up
 * cert_inject.c	steps: what the framework makes go wrong
 * cert_world.c	the manager, the lab and the device
 * cert_crew.c	the clients, and what they say
 * cert_report.c	what is found, and how to repeat it
 * cert_client.c	a client's own process
 */
#ifndef AU_CLI_CERT_H
#define AU_CLI_CERT_H

#include "cli/cli.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define CERT_CREW   12u /* clients at most */
#define CERT_UNITS  4u	/* of a device, that are used */
#define CERT_PATH   512u
#define CERT_WAIT   15000u /* ms: what does not go on within this never will */
#define CERT_MOMENT 60u	   /* ms in which clients say how they are at least once */

/** enum cert_place - where the driver runs. */
enum cert_place { CERT_PROCESS, CERT_INPROC, CERT_APP, CERT_PLACES };

/** struct cert_member - a client of the crew: a process that says how it is (cert_client.c). */
struct cert_member {
	pid_t pid;
	int in, out;
	unsigned int unit, part;
	bool control, ended;
	int status; /* of waitpid(), once it has ended */
	json_t *said;
	char line[4096];
	size_t used;
};

/**
 * struct cert_step - one step of the plan.
 * @number: from 1, in its placement.
 * @random: all its chances come from here.
 * @what: what it did, in words. @failures: JSON objects.
 */
struct cert_step {
	unsigned int number;
	const struct cert_kind *kind;
	uint64_t random;
	char what[160];
	double took_s;
	uint64_t gap_ms;
	json_t *failures;
};

/**
 * struct cert_run - everything.
 * @own: the manager is ours, in a directory of our own; else the target is somebody's unit.
 * @lab, @lab_dir, @function: the device is one of a lab's.
 */
struct cert_run {
	/* As asked for. */
	const char *target;
	bool full, json, no_data, overwrite;
	uint64_t seed;
	double seconds;
	const char *report, *machine, *wanted_function, *only;
	unsigned int first, last;
	bool places[CERT_PLACES];
	const char *peers[CERT_UNITS];
	unsigned int peer_count;
	uint16_t op;

	/* What is verified. */
	char driver[64], address[CERT_PATH], params[CERT_PATH], class[16];
	char verify[96]; /* the policy of that name */

	/* Where. */
	bool own, virtual;
	char dir[32], log_path[64], device[32], units[CERT_UNITS][64];
	unsigned int unit_count;
	pid_t manager;
	char lab[64], lab_dir[CERT_PATH], function[64];
	bool lab_own;
	pid_t echoes[CERT_UNITS];
	long log_at;
	unsigned int descriptors; /* of the manager, before the first step */
	json_t *deaths;

	/* Now. */
	enum cert_place place;
	struct cert_step *step;
	struct cert_member crew[CERT_CREW];
	unsigned int crew_count;
	json_t *results; /* of placements */
	uint64_t requests;
	unsigned int steps, failed;
	bool broken; /* this placement cannot go on */
};

/* cert_plan.c */
/** struct cert_kind - a kind of step. @needs: CERT_NEEDS_*. */
struct cert_kind {
	const char *name;
	unsigned int needs;
	void (*run)(struct cert_run *run, struct cert_step *step);
};
#define CERT_NEEDS_HOST	  0x01 /* a driver in a process of its own */
#define CERT_NEEDS_OWN	  0x02 /* the manager is ours */
#define CERT_NEEDS_LAB	  0x04
#define CERT_NEEDS_INPROC 0x08
#define CERT_NEEDS_DEVICE 0x10 /* one that is more than its driver */
extern const struct cert_kind cert_host_kinds[], cert_pnp_kinds[], cert_power_kinds[],
	cert_inject_kinds[];
extern const unsigned int cert_host_kind_count, cert_pnp_kind_count, cert_power_kind_count,
	cert_inject_kind_count;
/** cert_blame - has the driver's host died of its own fault since the last time? */
void cert_blame(struct cert_run *run);
/** cert_placement - all steps of the placement that run->place says. */
void cert_placement(struct cert_run *run);
/** cert_random - from @low to @high, of this step. */
unsigned int cert_choose(struct cert_step *step, unsigned int low, unsigned int high);
/** cert_list - print the kinds. */
void cert_list(void);

/* cert_world.c */
/** cert_world_begin - a directory, and what the target needs: manager, lab. Return: exit status. */
int cert_world_begin(struct cert_run *run);
/** cert_world_end - it is all taken down again. */
void cert_world_end(struct cert_run *run);
/** cert_manager_start - start a manager of our own, and wait until it answers. */
bool cert_manager_start(struct cert_run *run);
/** cert_manager_stop - end it, by SIGTERM or @signal, and wait for it. */
void cert_manager_stop(struct cert_run *run, int signal);
/** cert_attach - attach the device, learn its units. Return: false after cert_fail(). */
bool cert_attach(struct cert_run *run);
/** cert_try - attach the device, which may be refused. Return: whether it was not. */
bool cert_try(struct cert_run *run);
/** cert_detach - nobody has it open: forget it. Return: false after cert_fail(). */
bool cert_detach(struct cert_run *run);
/** cert_restart_later - ask for a restart, without waiting for it. Return: who asks: cert_reap().
 */
pid_t cert_restart_later(struct cert_run *run);
/** cert_reap - wait for a process of ours. */
void cert_reap(pid_t pid);
/** cert_info - what the manager says about the device, or NULL. */
json_t *cert_info(struct cert_run *run);
/** cert_host_pid - of the host, 0 while there is none. @generation: may be NULL. */
pid_t cert_host_pid(struct cert_run *run, unsigned int *generation);
/** cert_call - POST, DELETE ... to the device; quiet when it fails. Return: the answer or NULL. */
json_t *cert_call(struct cert_run *run, const char *method, const char *suffix, json_t *body);
/** cert_lab - `auriga lab fault LAB VERB FUNCTION`. */
bool cert_lab(struct cert_run *run, const char *verb);
/** cert_program - run a program beside this one; @out gets its output. Return: exit status. */
int cert_program(char *const argv[], char *out, size_t size);
/** cert_program_path - NAME beside this program. */
void cert_program_path(const char *name, char *path, size_t size);
/** cert_log_look - rules broken, crashes and sanitizers' reports in the log since the last time. */
void cert_log_look(struct cert_run *run);

/* cert_crew.c */
/** cert_join - start another client. @control: one that leaves a line's data alone.
 * Return: NULL after cert_fail(). */
struct cert_member *cert_join(struct cert_run *run, unsigned int unit, unsigned int part,
			      bool control);
/** cert_crew_begin - those that every step has. */
bool cert_crew_begin(struct cert_run *run);
/** cert_tell - a word and a value to one of them, or to all (NULL). */
void cert_tell(struct cert_run *run, struct cert_member *m, const char *word, unsigned int value);
/** cert_listen - take in what they say, for @ms. */
void cert_listen(struct cert_run *run, unsigned int ms);
/** cert_said - a number that one has said last. */
int64_t cert_said(const struct cert_member *m, const char *key);
/** cert_state - what one is doing. */
const char *cert_state(const struct cert_member *m);
/** cert_progress - all go on from here, or have failed. Return: false after cert_fail(). */
bool cert_progress(struct cert_run *run);
/** cert_quiet - all stop, and have looked at everything. Return: false after cert_fail(). */
bool cert_quiet(struct cert_run *run);
/** cert_kill - one of them, by @signal, and forget it. */
void cert_kill(struct cert_run *run, struct cert_member *m, int signal);
/** cert_leave - one ends in order, with a last look. @patient: false: it is only rid of. */
void cert_leave(struct cert_run *run, struct cert_member *m);
/** cert_crew_end - all of them, in order or killed. */
void cert_crew_end(struct cert_run *run, bool in_order);
/** cert_crew_look - has any found something? */
void cert_crew_look(struct cert_run *run);
/** cert_probe - ask a client of a moment what @unit is. Return: NULL after cert_fail(). */
json_t *cert_probe(struct cert_run *run, unsigned int unit);
/** cert_probe_hard - the same of all units, where much may fail, but nobody dies or hangs. */
void cert_probe_hard(struct cert_run *run);
/** cert_unit - the target of that unit, as au_open() takes it. */
void cert_unit(const struct cert_run *run, unsigned int unit, char *buf, size_t size);

/* cert_report.c */
/** cert_fail - the step has failed: @test is what failed, by a name that stays. */
void cert_fail(struct cert_run *run, const char *test, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** cert_report_step - print the line of a step, and keep it. */
void cert_report_step(struct cert_run *run, const struct cert_step *step);
/** cert_report_place - a placement begins. */
void cert_report_place(struct cert_run *run);
/** cert_report_end - sum it up. Return: an exit status. */
int cert_report_end(struct cert_run *run);
/** cert_place_name - "process", "inproc", "app". */
const char *cert_place_name(enum cert_place place);
/** cert_seconds - of the monotonic clock. */
double cert_seconds(void);

#endif
