/* SPDX-License-Identifier: MIT */
/*
 * A raw application that does what it is told on stdin, one command a line, and answers each with
 * one line of JSON. For tests that are written in another language.
 *
 * open UNIT [DEPTH [BUFFER]]:
 *	as au_open(); DEPTH 32, BUFFER 4096
 * submit OP COUNT LENGTH ARG0 [TIMEOUT_MS]:
 *	COUNT requests
 * line BAUD FLOW:
 *	AU_SERIAL_SET_LINE, 8N1
 * text OP WORD [WORD]:
 *	a request with that text as its data
 * wait MS:
 *	poll until nothing is outstanding, or for so long, but once in any case; the status,
 *	result and data of each request since the last "forget"
 * cancel INDEX:
 *	of the requests since the last "forget"
 * forget:
 *	requests that are complete
 * load DEPTH LENGTH:
 *	echoes all the time, the data checked, until the next command
 * quiet:
 *	sleep in au_poll() until the next command
 * fork:
 *	what a child's handle answers
 * nofile COUNT:
 *	descriptors that this process may have from now on, more than it has
 * close:
 *	the handle
 */
#include <auriga/auriga.h>
#include <auriga/raw.h>
#include <auriga/serial.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define REQUESTS 2048
#define LENGTH	 4096
#define ECHO	 AU_RAW_FIRST
#define SAY_MS	 100

struct shell_request {
	struct au_io io;
	unsigned char data[LENGTH];
	unsigned char sent[LENGTH];
	bool fixed; /* what is sent stays as it is */
};

static struct {
	struct au_handle *handle;
	struct shell_request *request[REQUESTS];
	unsigned int count, outstanding;
	bool loading;
	unsigned int downs, restarts, gone, back;
	unsigned long long completed, errors, bad;
	int error;
	double last, gap;
} shell;

static double shell_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static bool shell_commanded(int timeout_ms)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };

	return poll(&p, 1, timeout_ms) > 0;
}

static void shell_answer(int rc)
{
	printf("{\"rc\": %d, \"text\": \"", rc);
	for (const char *c = rc < 0 ? au_errmsg() : ""; *c; c++)
		printf(*c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
	printf("\"}\n");
}

static void shell_events(void)
{
	struct au_event event;

	while (au_event_next(shell.handle, &event) == 1) {
		shell.downs += event.kind == AU_EVENT_DOWN;
		shell.restarts += event.kind == AU_EVENT_RESTARTED;
		shell.gone += event.kind == AU_EVENT_GONE;
		shell.back += event.kind == AU_EVENT_BACK;
	}
}

/* ----------------------------------------------------------------- requests */

static int shell_submit(struct shell_request *r);

/* t-echo inverts, the other drivers give back what they get. */
static bool shell_data_right(const struct shell_request *r)
{
	bool inverted = r->data[0] != r->sent[0];

	for (uint32_t i = 0; i < r->io.length; i++)
		if (r->data[i] != (unsigned char)(inverted ? ~r->sent[i] : r->sent[i]))
			return false;
	return r->io.result == r->io.length;
}

static void shell_done(struct au_io *io)
{
	struct shell_request *r = io->user;
	double now = shell_now();

	shell.outstanding--;
	if (now - shell.last > shell.gap)
		shell.gap = now - shell.last;
	shell.last = now;
	if (io->status < 0) {
		shell.errors++;
		shell.error = io->status;
	} else {
		shell.completed++;
		shell.bad += io->op == ECHO && !shell_data_right(r);
	}
	if (shell.loading && io->status == 0)
		shell_submit(r);
}

static void shell_fill(struct shell_request *r)
{
	static unsigned int seed = 1;

	for (uint32_t i = 0; i < r->io.length; i++) {
		seed = seed * 1664525u + 1013904223u;
		r->sent[i] = (unsigned char)(seed >> 24);
	}
}

static int shell_submit(struct shell_request *r)
{
	int rc;

	if (!r->fixed)
		shell_fill(r);
	memcpy(r->data, r->sent, r->io.length);
	rc = au_submit(shell.handle, &r->io);
	if (rc == 0)
		shell.outstanding++;
	return rc;
}

/* @data: what to send, or NULL for what comes. */
static int shell_send(unsigned int op, uint32_t length, uint64_t arg, uint32_t timeout_ms,
		      const void *data)
{
	struct shell_request *r;
	int rc;

	if (shell.count == REQUESTS || length > LENGTH)
		return -EINVAL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->fixed = data != NULL;
	if (data)
		memcpy(r->sent, data, length);
	r->io = (struct au_io){ .op = (uint16_t)op,
				.length = length,
				.arg = { arg, 0 },
				.data = r->data,
				.timeout_ms = timeout_ms,
				.done = shell_done,
				.user = r };
	rc = shell_submit(r);
	if (rc)
		free(r);
	else
		shell.request[shell.count++] = r;
	return rc;
}

static void shell_forget(void)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; i < shell.count; i++) {
		if (shell.request[i]->io.status == -EINPROGRESS)
			shell.request[kept++] = shell.request[i];
		else
			free(shell.request[i]);
	}
	shell.count = kept;
}

/* ----------------------------------------------------------------- commands */

static void do_open(char **args)
{
	struct au_open_options options = {
		.size = sizeof(options),
		.abi = AU_CLIENT_ABI,
		.depth = args[1] ? (uint32_t)atoi(args[1]) : 32,
		.buffer_size = args[1] && args[2] ? (uint32_t)atoi(args[2]) : LENGTH,
	};

	shell_answer(args[0] ? au_open(args[0], &options, &shell.handle) : -EINVAL);
}

static void do_submit(char **args)
{
	int rc = 0, count = atoi(args[1]);

	for (int i = 0; rc == 0 && i < count; i++)
		rc = shell_send((unsigned int)atoi(args[0]), (uint32_t)atoi(args[2]),
				strtoull(args[3], NULL, 0), args[4] ? (uint32_t)atoi(args[4]) : 0,
				NULL);
	if (rc == 0)
		rc = au_flush(shell.handle);
	shell_answer(rc);
}

static void do_line(char **args)
{
	const struct au_serial_line line = { .size = sizeof(line),
					     .abi = 1,
					     .baud = (uint32_t)atoi(args[0]),
					     .data_bits = 8,
					     .stop_bits = 1,
					     .flow = (uint8_t)atoi(args[1]) };
	int rc = shell_send(AU_SERIAL_SET_LINE, sizeof(line), 0, 0, &line);

	shell_answer(rc ? rc : au_flush(shell.handle));
}

static void do_text(char **args)
{
	char text[256];
	int rc;

	snprintf(text, sizeof(text), "%s%s%s", args[1], args[2] ? " " : "", args[2] ? args[2] : "");
	rc = shell_send((unsigned int)atoi(args[0]), (uint32_t)strlen(text) + 1, 0, 0, text);
	shell_answer(rc ? rc : au_flush(shell.handle));
}

static void do_wait(char **args)
{
	double end = shell_now() + atoi(args[0]);
	const char *comma = "";

	while (shell.outstanding && shell_now() < end) {
		if (au_poll(shell.handle, 0, (int)(end - shell_now()) + 1) < 0)
			break;
		shell_events();
	}
	/* Also what the manager has to say. */
	if (!shell.outstanding)
		(void)au_poll(shell.handle, 0, 1);
	shell_events();
	printf("{\"outstanding\": %u, \"downs\": %u, \"restarts\": %u, \"gone\": %u, "
	       "\"back\": %u, \"generation\": %u, \"requests\": [",
	       shell.outstanding, shell.downs, shell.restarts, shell.gone, shell.back,
	       au_generation(shell.handle));
	for (unsigned int i = 0; i < shell.count; i++, comma = ", ") {
		const struct shell_request *r = shell.request[i];

		printf("%s{\"status\": %d, \"result\": %u, \"right\": %s}", comma, r->io.status,
		       r->io.result, shell_data_right(r) ? "true" : "false");
	}
	printf("]}\n");
}

static void do_cancel(char **args)
{
	unsigned int i = (unsigned int)atoi(args[0]);

	shell_answer(i < shell.count ? au_cancel(shell.handle, &shell.request[i]->io) : -EINVAL);
}

static void do_forget(char **args)
{
	(void)args;
	shell_forget();
	shell_answer(0);
}

static void shell_say_load(void)
{
	printf("{\"completed\": %llu, \"errors\": %llu, \"error\": %d, \"bad\": %llu, "
	       "\"outstanding\": %u, \"gap_ms\": %.1f, \"downs\": %u, \"restarts\": %u}\n",
	       shell.completed, shell.errors, shell.error, shell.bad, shell.outstanding, shell.gap,
	       shell.downs, shell.restarts);
	fflush(stdout);
}

static void do_load(char **args)
{
	double say = shell_now() + SAY_MS, end;
	int rc = 0;

	shell.loading = true;
	shell.last = shell_now();
	for (int i = atoi(args[0]); rc == 0 && i > 0; i--)
		rc = shell_send(ECHO, (uint32_t)atoi(args[1]), 0, 0, NULL);
	while (rc >= 0 && shell.outstanding && !shell_commanded(0)) {
		for (int i = 0; rc >= 0 && i < 64 && shell_now() < say; i++)
			rc = au_poll(shell.handle, 0, 10);
		shell_events();
		if (shell_now() < say)
			continue;
		shell_say_load();
		say = shell_now() + SAY_MS;
	}
	shell.loading = false;
	for (end = shell_now() + 10000; rc >= 0 && shell.outstanding && shell_now() < end;)
		rc = au_poll(shell.handle, 0, 10);
	shell_say_load();
}

static void do_quiet(char **args)
{
	struct pollfd p[2] = { { .fd = au_fd(shell.handle), .events = POLLIN },
			       { .fd = STDIN_FILENO, .events = POLLIN } };
	int rc = 0;

	(void)args;
	while (rc >= 0 && !p[1].revents) {
		while ((rc = au_poll(shell.handle, 0, 0)) > 0)
			;
		shell_events();
		if (rc == 0 && au_arm(shell.handle))
			poll(p, 2, -1);
	}
	shell_answer(rc);
}

static void do_fork(char **args)
{
	struct au_io io = { .op = ECHO };
	struct au_event event;
	pid_t pid;
	int status = -1;

	(void)args;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		printf("{\"submit\": %d, \"flush\": %d, \"poll\": %d, \"cancel\": %d, \"wait\": "
		       "%d, "
		       "\"fd\": %d, \"event\": %d, \"generation\": %u, \"arm\": %d}\n",
		       au_submit(shell.handle, &io), au_flush(shell.handle),
		       au_poll(shell.handle, 0, 10), au_cancel(shell.handle, &io),
		       au_wait(shell.handle, &io), au_fd(shell.handle),
		       au_event_next(shell.handle, &event), au_generation(shell.handle),
		       au_arm(shell.handle));
		au_close(shell.handle);
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	shell_answer(status ? -ECHILD : 0);
}

static void do_nofile(char **args)
{
	struct rlimit limit;
	rlim_t used = 0;

	for (int fd = 0; fd < 1024; fd++)
		if (dup2(fd, fd) == fd)
			used = (rlim_t)fd + 1;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = used + (rlim_t)atoi(args[0]);
	shell_answer(setrlimit(RLIMIT_NOFILE, &limit) ? -errno : 0);
}

static void do_close(char **args)
{
	(void)args;
	au_close(shell.handle);
	shell.handle = NULL;
	shell.outstanding = 0;
	for (unsigned int i = 0; i < shell.count; i++)
		free(shell.request[i]);
	shell.count = 0;
	shell_answer(0);
}

static const struct {
	const char *name;
	int args;
	bool open; /* only with a handle */
	void (*run)(char **args);
} commands[] = {
	{ "open", 1, false, do_open },	   { "submit", 4, true, do_submit },
	{ "wait", 1, true, do_wait },	   { "cancel", 1, true, do_cancel },
	{ "forget", 0, true, do_forget },  { "load", 2, true, do_load },
	{ "quiet", 0, true, do_quiet },	   { "fork", 0, true, do_fork },
	{ "line", 2, true, do_line },	   { "text", 2, true, do_text },
	{ "nofile", 1, false, do_nofile }, { "close", 0, true, do_close },
};

static void shell_command(char *line)
{
	char *args[8] = { 0 }, *save = NULL;
	int count = 0;

	for (char *w = strtok_r(line, " \n", &save); w && count < 7;
	     w = strtok_r(NULL, " \n", &save))
		args[count++] = w;
	for (size_t i = 0; count && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(args[0], commands[i].name) != 0 || count - 1 < commands[i].args ||
		    (commands[i].open && !shell.handle))
			continue;
		commands[i].run(args + 1);
		return;
	}
	printf("{\"rc\": -22, \"text\": \"no such command here\"}\n");
}

int main(void)
{
	static char line[512];

	/* Nothing is read ahead: "load" and "quiet" look at the descriptor. */
	setvbuf(stdin, NULL, _IONBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		shell_command(line);
		fflush(stdout);
	}
	return 0;
}
