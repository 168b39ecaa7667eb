/* SPDX-License-Identifier: MIT */
#include "cli/cert.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CREW_PER_UNIT 2u /* of disks and raw units */

void cert_unit(const struct cert_run *run, unsigned int unit, char *buf, size_t size)
{
	if (run->place == CERT_PROCESS)
		snprintf(buf, size, "%s", run->units[unit]);
	else
		snprintf(buf, size, "inproc:%s%s%s%s,unit=%u%s,verify=%s", run->driver,
			 run->virtual ? "" : ",address=", run->virtual ? "" : run->address,
			 run->params, unit, run->place == CERT_APP ? ",poll=app" : "", run->verify);
}

/* ------------------------------------------------------------------- processes */

static void crew_exec(struct cert_run *run, unsigned int unit, unsigned int part, bool control,
		      const char *how)
{
	char program[CERT_PATH], target[2 * CERT_PATH], parts[32], seed[32], op[16];
	char *argv[16] = { program, "verify", "--client", parts, "--seed", seed, "--op", op };
	int log = open(run->log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600), n = 8;

	dup2(log, STDERR_FILENO);
	cert_program_path("auriga", program, sizeof(program));
	cert_unit(run, unit, target, sizeof(target));
	snprintf(parts, sizeof(parts), "%u/%u", part, CERT_CREW);
	snprintf(seed, sizeof(seed), "%llu",
		 (unsigned long long)(run->seed * 31 + part * 7 + run->step->number));
	snprintf(op, sizeof(op), "%u", run->op);
	if (run->no_data)
		argv[n++] = "--no-data";
	if (control)
		argv[n++] = "--control";
	if (how)
		argv[n++] = (char *)(uintptr_t)how;
	argv[n++] = target;
	execv(program, argv);
	_exit(127);
}

static pid_t crew_spawn(struct cert_run *run, unsigned int unit, unsigned int part, bool control,
			const char *how, int fds[2])
{
	int in[2], out[2];
	pid_t pid;

	if (pipe2(in, O_CLOEXEC) != 0)
		return -1;
	if (pipe2(out, O_CLOEXEC) != 0) {
		close(in[0]);
		close(in[1]);
		return -1;
	}
	pid = fork();
	if (pid == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		crew_exec(run, unit, part, control, how);
	}
	close(in[0]);
	close(out[1]);
	fds[0] = in[1];
	fds[1] = out[0];
	if (pid < 0) {
		close(fds[0]);
		close(fds[1]);
	}
	return pid;
}

/* One that is asked, and ends. Return: what it says, NULL for nothing; @status: how it ended. */
static json_t *crew_ask(struct cert_run *run, unsigned int unit, const char *how, int *status)
{
	char text[4096] = "";
	size_t used = 0;
	ssize_t n;
	int fds[2];
	pid_t pid = crew_spawn(run, unit, 0, false, how, fds);

	if (pid < 0) {
		cert_fail(run, "start", "no client can be started: %s", strerror(errno));
		*status = 0;
		return NULL;
	}
	while ((n = read(fds[1], text + used, sizeof(text) - 1 - used)) > 0)
		used += (size_t)n;
	close(fds[0]);
	close(fds[1]);
	waitpid(pid, status, 0);
	return json_loads(text, 0, NULL);
}

static void crew_died(struct cert_run *run, int status, const char *when)
{
	if (WIFSIGNALED(status))
		cert_fail(run, "crash", "a client%s died of signal %d (%s)%s",
			  run->place == CERT_PROCESS ? "" : ", which runs the driver,",
			  WTERMSIG(status), strsignal(WTERMSIG(status)), when);
}

json_t *cert_probe(struct cert_run *run, unsigned int unit)
{
	int status;
	json_t *found = crew_ask(run, unit, "--probe", &status);

	crew_died(run, status, "");
	if (!found || json_object_get(found, "error")) {
		const char *why = json_string_value(json_object_get(found, "error"));

		cert_fail(run, "start", "the driver cannot be used (%s): %s",
			  cert_place_name(run->place), why ? why : "it died");
		json_decref(found);
		return NULL;
	}
	return found;
}

void cert_probe_hard(struct cert_run *run)
{
	unsigned int units = run->place == CERT_PROCESS ? run->unit_count : 1;

	for (unsigned int i = 0; i < units; i++) {
		int status;
		json_t *said = crew_ask(run, i, "--hard", &status);

		/* It gives up after a while, and ends by SIGALRM when it cannot even do that. */
		if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
			cert_fail(run, "hang", "a client of %s does not come back", run->units[i]);
		else
			crew_died(run, status, "");
		if (json_integer_value(json_object_get(said, "wrong")))
			cert_fail(run, "wrong-data", "a client of %s: %s", run->units[i],
				  json_string_value(json_object_get(said, "why")));
		json_decref(said);
	}
}

struct cert_member *cert_join(struct cert_run *run, unsigned int unit, unsigned int part,
			      bool control)
{
	struct cert_member *m = NULL;
	int fds[2];

	for (unsigned int i = 0; i < CERT_CREW && !m; i++)
		if (!run->crew[i].pid)
			m = &run->crew[i];
	if (!m)
		return NULL;
	*m = (struct cert_member){ .unit = unit, .part = part, .control = control };
	m->pid = crew_spawn(run, unit, part, control, NULL, fds);
	if (m->pid < 0) {
		m->pid = 0;
		cert_fail(run, "start", "no client can be started: %s", strerror(errno));
		return NULL;
	}
	m->in = fds[0];
	m->out = fds[1];
	fcntl(m->out, F_SETFL, O_NONBLOCK);
	return m;
}

bool cert_crew_begin(struct cert_run *run)
{
	bool serial = strcmp(run->class, "serial") == 0, ok = true;
	unsigned int each = serial || run->place != CERT_PROCESS ? 1 : CREW_PER_UNIT;
	unsigned int units = run->place == CERT_PROCESS ? run->unit_count : 1;

	for (unsigned int u = 0; u < units; u++)
		for (unsigned int i = 0; i < each; i++)
			ok &= cert_join(run, u, u * each + i, false) != NULL;
	return ok;
}

static void crew_forget(struct cert_member *m)
{
	if (m->in >= 0)
		close(m->in);
	close(m->out);
	json_decref(m->said);
	memset(m, 0, sizeof(*m));
}

/* --------------------------------------------------------------------- talking */

void cert_tell(struct cert_run *run, struct cert_member *m, const char *word, unsigned int value)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "%s %u\n", word, value);

	for (unsigned int i = 0; i < CERT_CREW; i++) {
		struct cert_member *one = &run->crew[i];

		if (one->pid && !one->ended && (!m || m == one) &&
		    write(one->in, line, (size_t)n) < 0)
			one->ended = true;
	}
}

static void crew_line(struct cert_run *run, struct cert_member *m, const char *line)
{
	json_t *said = json_loads(line, 0, NULL);

	if (!said)
		return;
	run->requests += (uint64_t)(json_integer_value(json_object_get(said, "completed")) -
				    cert_said(m, "completed"));
	json_decref(m->said);
	m->said = said;
}

static void crew_read(struct cert_run *run, struct cert_member *m)
{
	for (;;) {
		ssize_t n = read(m->out, m->line + m->used, sizeof(m->line) - 1 - m->used);
		char *end;

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			m->ended = true;
		if (n <= 0)
			return;
		m->used += (size_t)n;
		m->line[m->used] = 0;
		while ((end = strchr(m->line, '\n'))) {
			*end = 0;
			crew_line(run, m, m->line);
			m->used -= (size_t)(end + 1 - m->line);
			memmove(m->line, end + 1, m->used + 1);
		}
		if (m->used == sizeof(m->line) - 1)
			m->used = 0; /* no line of ours */
	}
}

void cert_listen(struct cert_run *run, unsigned int ms)
{
	double end = cert_seconds() + ms / 1e3, left = ms / 1e3;

	do {
		struct pollfd fds[CERT_CREW];
		struct cert_member *who[CERT_CREW];
		nfds_t count = 0;

		for (unsigned int i = 0; i < CERT_CREW; i++) {
			struct cert_member *m = &run->crew[i];

			if (!m->pid || m->ended)
				continue;
			who[count] = m;
			fds[count++] = (struct pollfd){ .fd = m->out, .events = POLLIN };
		}
		if (poll(fds, count, (int)(left * 1e3) + 1) > 0)
			for (nfds_t i = 0; i < count; i++)
				if (fds[i].revents)
					crew_read(run, who[i]);
		left = end - cert_seconds();
	} while (left > 0);
}

int64_t cert_said(const struct cert_member *m, const char *key)
{
	return json_integer_value(json_object_get(m->said, key));
}

const char *cert_state(const struct cert_member *m)
{
	const char *state = json_string_value(json_object_get(m->said, "state"));

	return state ? state : "starting";
}

static const char *crew_why(const struct cert_member *m)
{
	const char *why = json_string_value(json_object_get(m->said, "why"));

	return why ? why : "it did not say why";
}

/* --------------------------------------------------------------------- looking */

static void crew_look(struct cert_run *run, struct cert_member *m)
{
	static const struct {
		const char *key, *test;
	} faults[] = { { "wrong", "wrong-data" },
		       { "twice", "completed-twice" },
		       { "missing", "missing-data" },
		       { "errors", "error-seen" } };

	for (unsigned int i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		int64_t count = cert_said(m, faults[i].key);

		if (!count)
			continue;
		cert_fail(run, faults[i].test, "a client of %s: %s", run->units[m->unit],
			  crew_why(m));
		json_object_set_new(m->said, faults[i].key, json_integer(0));
		break;
	}
}

/* One that has ended by itself. */
static void crew_ended(struct cert_run *run, struct cert_member *m)
{
	waitpid(m->pid, &m->status, 0);
	crew_died(run, m->status, "");
	if (!WIFSIGNALED(m->status))
		cert_fail(run, "error-seen", "a client ended: %s", crew_why(m));
	crew_forget(m);
}

void cert_crew_look(struct cert_run *run)
{
	for (unsigned int i = 0; i < CERT_CREW; i++) {
		struct cert_member *m = &run->crew[i];

		if (!m->pid)
			continue;
		if (m->said)
			crew_look(run, m);
		if (m->ended)
			crew_ended(run, m);
		else if (m->said && (uint64_t)cert_said(m, "gap_ms") > run->step->gap_ms)
			run->step->gap_ms = (uint64_t)cert_said(m, "gap_ms");
	}
}

/* Wait until each one is as it should be. */
static bool crew_await(struct cert_run *run,
		       bool (*good)(const struct cert_member *m, int64_t from), const int64_t *from,
		       const char *test, const char *text)
{
	double end = cert_seconds() + CERT_WAIT / 1e3;

	for (;;) {
		struct cert_member *bad = NULL;

		cert_listen(run, CERT_MOMENT / 3);
		for (unsigned int i = 0; i < CERT_CREW; i++) {
			struct cert_member *m = &run->crew[i];

			if (m->pid && m->ended) {
				cert_crew_look(run);
				return false;
			}
			if (m->pid && !good(m, from[i]))
				bad = m;
		}
		if (!bad)
			return true;
		if (cert_seconds() < end)
			continue;
		cert_fail(run, test,
			  "a client of %s %s within %u s: it is %s, %lld requests are "
			  "outstanding%s%s",
			  run->units[bad->unit], text, CERT_WAIT / 1000, cert_state(bad),
			  (long long)cert_said(bad, "flying"),
			  json_object_get(bad->said, "why") ? ": " : "",
			  json_object_get(bad->said, "why") ? crew_why(bad) : "");
		return false;
	}
}

static bool crew_goes_on(const struct cert_member *m, int64_t from)
{
	return strcmp(cert_state(m), "running") == 0 && cert_said(m, "progress") > from + 3;
}

static bool crew_is_quiet(const struct cert_member *m, int64_t from)
{
	return strcmp(cert_state(m), "quiet") == 0;
}

bool cert_progress(struct cert_run *run)
{
	int64_t from[CERT_CREW];

	cert_tell(run, NULL, "pause", 0);
	/* What they have said so far may be of before. */
	cert_listen(run, 2 * CERT_MOMENT);
	for (unsigned int i = 0; i < CERT_CREW; i++)
		from[i] = run->crew[i].pid ? cert_said(&run->crew[i], "progress") : 0;
	return crew_await(run, crew_goes_on, from, "no-progress", "does not go on");
}

bool cert_quiet(struct cert_run *run)
{
	static const int64_t none[CERT_CREW];

	cert_tell(run, NULL, "pause", 1);
	return crew_await(run, crew_is_quiet, none, "lost-request", "does not come to rest");
}

/* ----------------------------------------------------------------------- ending */

void cert_kill(struct cert_run *run, struct cert_member *m, int signal)
{
	kill(m->pid, signal);
	waitpid(m->pid, &m->status, 0);
	crew_read(run, m);
	crew_forget(m);
}

void cert_leave(struct cert_run *run, struct cert_member *m)
{
	double end = cert_seconds() + CERT_WAIT / 1e3;

	close(m->in);
	m->in = -1;
	while (!m->ended && cert_seconds() < end)
		cert_listen(run, 10);
	if (!m->ended) {
		cert_fail(run, "lost-request", "a client of %s does not end: %s",
			  run->units[m->unit], crew_why(m));
		cert_kill(run, m, SIGKILL);
		return;
	}
	waitpid(m->pid, &m->status, 0);
	if (m->said)
		crew_look(run, m);
	crew_died(run, m->status, " as it closed");
	crew_forget(m);
}

void cert_crew_end(struct cert_run *run, bool in_order)
{
	for (unsigned int i = 0; i < CERT_CREW; i++) {
		struct cert_member *m = &run->crew[i];

		if (m->pid && in_order)
			cert_leave(run, m);
		else if (m->pid)
			cert_kill(run, m, SIGKILL);
	}
}
