/* SPDX-License-Identifier: MIT */
#include "cli/cert_client.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define CLIENT_SAY_MS	 40
#define CLIENT_OPEN_MS	 10000
#define CLIENT_REOPEN_MS 500   /* one attempt to open what was gone */
#define CLIENT_LOST_MS	 20000 /* a request that does not come back within this never will */
#define CLIENT_HARD	 100u  /* attempts where much fails */
#define CLIENT_HARD_MS	 10000 /* and how long it may take, three times that in all */
#define CLIENT_PROBE_S	 30u
#define CLIENT_MOMENT_MS 150

uint64_t cert_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

uint64_t cert_random(struct cert_client *c, uint64_t below)
{
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	return below ? (c->random >> 11) % below : 0;
}

void cert_wrong(struct cert_client *c, uint64_t *counter, const char *fmt, ...)
{
	va_list ap;

	(*counter)++;
	if (c->why[0])
		return;
	va_start(ap, fmt);
	vsnprintf(c->why, sizeof(c->why), fmt, ap);
	va_end(ap);
}

/* ------------------------------------------------------------------- requests */

/* Without memory, or a device, much may fail. */
static void client_error(struct cert_client *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static void client_error(struct cert_client *c, const char *fmt, ...)
{
	char text[sizeof(c->why)];
	va_list ap;

	if (c->options.hard)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	cert_wrong(c, &c->errors, "%s", text);
}

/* What a request may end with that was cancelled, had a time limit, or lost its device. */
static bool client_excused(struct cert_client *c, const struct cert_job *job)
{
	if (job->io.status == -ECANCELED && job->cancel) {
		c->canceled++;
		return true;
	}
	if (job->io.status == -ETIMEDOUT && job->timed) {
		c->late++;
		return true;
	}
	if (job->io.status == -ENODEV && (c->gone || c->gone_ok)) {
		c->nodev++;
		return true;
	}
	return false;
}

static void client_done(struct au_io *io)
{
	struct cert_job *job = (struct cert_job *)io;
	struct cert_client *c = job->client;
	uint64_t now = cert_now_ms();

	if (!job->flying) {
		cert_wrong(c, &c->twice, "request %u (operation %u) was completed twice",
			   job->index, io->op);
		return;
	}
	job->flying = false;
	c->flying--;
	if (now - c->last_ms > c->gap_ms)
		c->gap_ms = now - c->last_ms;
	c->last_ms = now;
	if (io->status == 0)
		c->completed++;
	else if (!client_excused(c, job))
		client_error(c, "operation %u at %llu of %u bytes: %s", io->op,
			     (unsigned long long)io->arg[0], io->length, strerror(-io->status));
	c->class->done(c, job);
}

static void client_submit(struct cert_client *c)
{
	for (unsigned int i = 0; i < c->depth && !c->gone; i++) {
		struct cert_job *job = &c->jobs[i];
		int rc;

		if (job->flying)
			continue;
		job->io = (struct au_io){ .data = c->data + (size_t)i * CERT_BUFFER,
					  .done = client_done };
		job->cancel = false;
		if (!c->class->fill(c, job))
			continue;
		job->timed = cert_random(c, 100) < c->timeout_percent;
		if (job->timed)
			job->io.timeout_ms = (uint32_t)cert_random(c, 5) + 1;
		if (!c->flying)
			c->last_ms = cert_now_ms();
		job->flying = true;
		c->flying++;
		rc = au_submit(c->handle, &job->io);
		if (rc == 0)
			continue;
		job->flying = false;
		c->flying--;
		job->io.status = rc;
		if (rc == -ENODEV)
			c->gone = true;
		else if (rc != -EAGAIN)
			client_error(c, "operation %u is refused: %s", job->io.op, au_errmsg());
		c->class->done(c, job);
		break;
	}
}

static void client_cancel(struct cert_client *c)
{
	for (unsigned int i = 0; i < c->depth; i++) {
		struct cert_job *job = &c->jobs[i];
		int rc;

		if (!job->flying || job->cancel || cert_random(c, 100) >= c->cancel_percent)
			continue;
		job->cancel = true;
		rc = au_cancel(c->handle, &job->io);
		if (rc && rc != -ESRCH && rc != -ENODEV)
			client_error(c, "a request cannot be cancelled: %s", au_errmsg());
	}
}

static void client_events(struct cert_client *c)
{
	struct au_event event;

	while (au_event_next(c->handle, &event) > 0) {
		c->downs += event.kind == AU_EVENT_DOWN;
		c->restarts += event.kind == AU_EVENT_RESTARTED;
		if (event.kind == AU_EVENT_BACK)
			c->gone = false;
		if (event.kind == AU_EVENT_GONE) {
			c->gone = true;
			c->gones++;
			if (!c->gone_ok)
				client_error(c, "the device is gone: %s", au_errmsg());
		}
		if (c->class->event)
			c->class->event(c, &event);
	}
}

/* ------------------------------------------------------------------- talking */

static void client_say(struct cert_client *c)
{
	uint64_t since = c->flying ? cert_now_ms() - c->last_ms : 0;
	char line[2048];
	size_t n;
	json_t *o = json_pack(
		"{s:s s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:I s:i s:b}", "state",
		c->state, "completed", (json_int_t)c->completed, "progress",
		(json_int_t)(c->class && c->class->progress ? c->class->progress(c) : c->completed),
		"errors", (json_int_t)c->errors, "wrong", (json_int_t)c->wrong, "twice",
		(json_int_t)c->twice, "canceled", (json_int_t)c->canceled, "late",
		(json_int_t)c->late, "nodev", (json_int_t)c->nodev, "missing",
		(json_int_t)c->missing, "downs", (json_int_t)c->downs, "restarts",
		(json_int_t)c->restarts, "gones", (json_int_t)c->gones, "opens",
		(json_int_t)c->opens, "gap_ms", (json_int_t)(since > c->gap_ms ? since : c->gap_ms),
		"flying", (int)c->flying, "quiet", c->quiet);

	if (c->why[0])
		json_object_set_new(o, "why", json_string_nocheck(c->why));
	/* A line is shorter than what a pipe takes as a whole; one for which there is no room is
	 * followed by others. */
	n = json_dumpb(o, line, sizeof(line) - 1, JSON_COMPACT);
	json_decref(o);
	if (n >= sizeof(line))
		return;
	line[n++] = '\n';
	if (write(STDOUT_FILENO, line, n) < 0 && errno != EAGAIN)
		_exit(CLI_FAILED); /* whoever listened has gone */
}

static void client_say_now_and_then(struct cert_client *c, uint64_t *said)
{
	if (cert_now_ms() - *said < CLIENT_SAY_MS)
		return;
	*said = cert_now_ms();
	client_say(c);
}

static void client_told(struct cert_client *c, const char *word, unsigned int value)
{
	if (strcmp(word, "cancel") == 0) {
		c->cancel_percent = value;
	} else if (strcmp(word, "timeout") == 0) {
		c->timeout_percent = value;
	} else if (strcmp(word, "pause") == 0) {
		c->paused = value != 0;
		c->quiet = false;
	} else if (strcmp(word, "gone") == 0) {
		c->gone_ok = value != 0;
	} else if (strcmp(word, "mark") == 0) {
		c->gap_ms = 0;
		c->last_ms = cert_now_ms();
	}
}

static void client_listen(struct cert_client *c)
{
	char buf[256], *line, *rest = buf;
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf) - 1);

	if (n == 0)
		c->ending = c->paused = true;
	if (n <= 0)
		return;
	buf[n] = 0;
	/* Its own parent speaks, in whole lines that are shorter than a pipe's atomic writes. */
	while ((line = strsep(&rest, "\n"))) {
		char *value = strchr(line, ' ');

		if (value)
			*value++ = 0;
		client_told(c, line, value ? (unsigned int)atoi(value) : 0);
	}
}

/* ------------------------------------------------------------- opening, closing */

static int client_open(struct cert_client *c, unsigned int timeout_ms)
{
	const struct au_open_options options = { .size = sizeof(options),
						 .abi = AU_CLIENT_ABI,
						 .flags = c->options.control ? AU_OPEN_QUIET : 0,
						 .depth = CERT_DEPTH + 1,
						 .buffer_size = CERT_BUFFER,
						 .timeout_ms = timeout_ms };
	static const struct cert_class *const classes[] = { &cert_block, &cert_serial, &cert_raw };
	size_t size = 0;
	char *place;
	int rc = au_open(c->options.target, &options, &c->handle);

	if (rc)
		return rc;
	c->class = NULL;
	for (unsigned int i = 0; i < sizeof(classes) / sizeof(classes[0]); i++)
		if (strcmp(classes[i]->name, au_unit_class(c->handle)) == 0)
			c->class = classes[i];
	if (!c->class) {
		client_error(c, "class %s: it is not known how to verify one",
			     au_unit_class(c->handle));
		return -EOPNOTSUPP;
	}
	/* Every other client has its data in the pool itself, the others' are copied. */
	place = c->options.part % 2 ? NULL : au_buffers(c->handle, &size);
	if (place && size >= (size_t)CERT_DEPTH * CERT_BUFFER)
		c->data = place;
	else if (place)
		client_error(c, "its buffers are %zu bytes, less than was asked for", size);
	c->opens++;
	c->gone = false;
	c->depth = CERT_DEPTH;
	c->last_ms = cert_now_ms();
	return c->class->begin(c);
}

static void client_close(struct cert_client *c, char *memory)
{
	au_close(c->handle);
	c->handle = NULL;
	c->data = memory;
	for (unsigned int i = 0; i < CERT_DEPTH; i++)
		c->jobs[i].flying = false;
	c->flying = 0;
}

/* Let what is outstanding come back. Return: false when something does not. */
static bool client_settle(struct cert_client *c)
{
	uint64_t end = cert_now_ms() + CLIENT_LOST_MS, say = 0;

	while (c->flying && cert_now_ms() < end) {
		if (au_poll(c->handle, 0, 10) < 0 && !c->gone) {
			c->gone = true;
			c->gones++;
		}
		client_events(c);
		/* One that waits for what never comes, such as bytes of a silent line. */
		for (unsigned int i = 0; i < c->depth && c->class == &cert_serial; i++)
			if (c->jobs[i].flying && !c->jobs[i].cancel && i == 0) {
				c->jobs[i].cancel = true;
				au_cancel(c->handle, &c->jobs[i].io);
			}
		client_say_now_and_then(c, &say);
	}
	if (c->flying)
		client_error(c, "%u requests never came back", c->flying);
	return c->flying == 0;
}

/* A handle by name lives on: either there is a device again, or there will be none. */
static void client_outlive(struct cert_client *c)
{
	uint64_t said = 0;
	int rc = -ENODEV;

	while (!c->ending && rc) {
		client_listen(c);
		if (au_poll(c->handle, 0, 10) < 0)
			return;
		client_events(c);
		client_say_now_and_then(c, &said);
		if (c->gone)
			continue;
		/* It may be another one, and go again at once. */
		rc = c->class->begin(c);
		if (rc && rc != -ENODEV)
			return;
		c->gone = rc != 0;
	}
}

/* The device is gone: all that is outstanding ends with that, and then it may come back. */
static void client_await(struct cert_client *c, char *memory)
{
	uint64_t said = 0;
	int rc = -ENODEV;

	c->state = "gone";
	client_settle(c);
	if (strncmp(c->options.target, "inproc:", 7) != 0)
		client_outlive(c);
	if (!c->gone)
		return;
	client_close(c, memory);
	while (!c->ending && rc) {
		client_listen(c);
		rc = client_open(c, CLIENT_REOPEN_MS);
		if (rc && c->handle)
			client_close(c, memory);
		if (!rc)
			break;
		client_say_now_and_then(c, &said);
		usleep(20000);
	}
}

static void client_loop(struct cert_client *c, char *memory)
{
	uint64_t said = 0;

	while (!c->ending) {
		int rc;

		client_listen(c);
		if (!c->paused)
			client_submit(c);
		rc = au_poll(c->handle, 0, c->paused && c->quiet ? 20 : 5);
		if (rc < 0 && !c->gone) {
			c->gone = true;
			c->gones++;
			if (!c->gone_ok)
				client_error(c, "the unit is lost: %s", au_errmsg());
		}
		client_events(c);
		if (c->cancel_percent)
			client_cancel(c);
		if (c->gone)
			client_await(c, memory);
		else if (c->paused && !c->quiet && client_settle(c))
			c->quiet = !c->class->quiet || c->class->quiet(c);
		c->state = c->handle ? (c->quiet ? "quiet" : "running") : "closed";
		client_say_now_and_then(c, &said);
	}
}

/*
 * Open it as often as it takes, use it for a moment, and close it: every attempt gets further where
 * memory is short, and none does where the device goes at the same place each time.
 */
static int client_hard(struct cert_client *c, char *memory)
{
	uint64_t end = cert_now_ms() + CLIENT_HARD_MS;

	alarm(3 * CLIENT_HARD_MS / 1000);
	for (unsigned int i = 0; i < CLIENT_HARD && cert_now_ms() < end; i++) {
		uint64_t moment = cert_now_ms() + CLIENT_MOMENT_MS;
		int rc;

		if (!c->wrong)
			c->why[0] = 0;
		rc = client_open(c, CLIENT_REOPEN_MS);
		while (!rc && !c->gone && cert_now_ms() < moment) {
			client_submit(c);
			if (au_poll(c->handle, 0, 5) < 0)
				c->gone = true;
			client_events(c);
		}
		if (c->handle && c->class)
			client_settle(c);
		client_close(c, memory);
		if (!rc && !c->gone && c->completed)
			break;
	}
	c->state = "ended";
	client_say(c);
	return c->wrong || c->twice ? CLI_FAILED : CLI_OK;
}

static int client_probe(struct cert_client *c)
{
	json_t *o = json_pack("{s:s s:s}", "unit", au_unit_name(c->handle), "class",
			      c->class ? c->class->name : "");

	if (c->class && c->class->probe)
		c->class->probe(c, o);
	if (c->why[0])
		json_object_set_new(o, "error", json_string_nocheck(c->why));
	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(o);
	return c->why[0] ? CLI_FAILED : CLI_OK;
}

int cert_client_run(const struct cert_options *options, bool probe)
{
	static struct cert_client client;
	struct cert_client *c = &client;
	char *memory = aligned_alloc(4096, (size_t)CERT_DEPTH * CERT_BUFFER);
	int rc;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN); /* its parent's to decide */
	fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
	/* Whoever asks what it is waits for the answer. */
	if (probe)
		alarm(CLIENT_PROBE_S);
	if (!probe && !options->hard)
		fcntl(STDOUT_FILENO, F_SETFL, O_NONBLOCK);
	*c = (struct cert_client){ .options = *options,
				   .state = "opening",
				   .data = memory,
				   .random = (options->seed * 2 + 1) * 0x9e3779b97f4a7c15u };
	if (!memory)
		return cli_error("out of memory");
	for (unsigned int i = 0; i < CERT_DEPTH; i++) {
		c->jobs[i].client = c;
		c->jobs[i].index = i;
	}
	if (options->hard)
		return client_hard(c, memory);
	rc = client_open(c, CLIENT_OPEN_MS);
	if (!c->handle)
		client_error(c, "%s", au_errmsg());
	if (probe && c->handle)
		return client_probe(c);
	if (probe) {
		printf("{\"error\": \"no\"}\n");
		return cli_error("%s", c->why);
	}
	if (rc) {
		c->state = "failed";
		client_say(c);
		return CLI_FAILED;
	}
	c->state = "running";
	client_loop(c, memory);
	if (c->handle) {
		client_settle(c);
		if (c->class->quiet)
			for (unsigned int i = 0; i < 100 && !c->class->quiet(c) && !c->gone; i++)
				client_settle(c);
	}
	c->state = "ended";
	au_close(c->handle);
	fcntl(STDOUT_FILENO, F_SETFL, 0);
	client_say(c);
	return c->errors || c->wrong || c->twice || c->missing ? CLI_FAILED : CLI_OK;
}
