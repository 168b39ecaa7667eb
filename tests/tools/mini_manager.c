/* SPDX-License-Identifier: MIT */
/*
 * mini_manager - the other side of a host and of its channels, for tests: starts one host, does
 * what the lines of its standard input say, and writes one line of JSON for everything that
 * happens. No supervision, no policy.
 *
 * usage: mini_manager HOST MODULE DRIVER [key=value]...
 *
 *	uid=N gid=N without=LAYER,... name=NAME param=K=V bus=ADDRESS listen=PATH stdio=1
 *	cgroup=1 timeout=SECONDS
 *
 * commands: see commands[] below. It ends at the end of its input, or after timeout seconds.
 */
#include "mini.h"

#include "base/recorder.h"
#include "bus/bus.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct mini mini = { .control = -1, .listener = -1, .pidfd = -1, .session = -1 };

uint64_t mini_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

void mini_say(json_t *o)
{
	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	fflush(stdout);
	json_decref(o);
}

static _Noreturn void mini_die(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(2);
}

static int mini_memfd(const char *name, size_t size)
{
	int fd = au_memfd_sealed(name, size);

	if (fd < 0)
		mini_die("memfd of %zu bytes: %s", size, strerror(-fd));
	return fd;
}

static uint32_t mini_number(const char *text)
{
	return (uint32_t)strtoul(text, NULL, 0);
}

/* ------------------------------------------------------------------------ the host */

static json_t *mini_start_text(struct mini *m, unsigned int replays, int fds[AU_MSG_FDS],
			       unsigned int *count)
{
	json_t *map = json_object();
	json_t *params = json_array();
	json_t *sandbox = json_object();
	json_t *o;
	char hex[2 * sizeof(struct au_bus_session) + 1];
	const struct {
		const char *name;
		int fd;
	} given[] = {
		{ "module", m->module },   { "status", m->status },   { "state", m->state },
		{ "listen", m->listener }, { "session", m->session },
	};

	for (unsigned int i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
		if (given[i].fd < 0)
			continue;
		json_object_set_new(map, given[i].name, json_integer((json_int_t)*count));
		fds[(*count)++] = given[i].fd;
	}
	for (unsigned int i = 0; i < m->param_count; i++)
		json_array_append_new(params, json_string(m->params[i]));
	for (unsigned int i = 0; i < AU_LAYER_COUNT; i++)
		if (m->without & (1u << i))
			json_object_set_new(sandbox, au_layer_name(i), json_false());
	o = json_pack("{s:s, s:s, s:s, s:o, s:I, s:s, s:b, s:i, s:o, s:b, s:i, s:i, s:s, s:o}",
		      "name", m->name, "driver", m->driver, "address",
		      m->address ? m->address : "virtual", "params", params, "generation",
		      (json_int_t)m->generation, "from", m->generation > 1 ? "failed" : "off",
		      "verify", 1, "replays", (int)replays, "fds", map, "state_fresh",
		      m->generation == 1, "uid", (int)m->uid, "gid", (int)m->gid, "module_path",
		      m->module_path, "sandbox", sandbox);
	if (m->session >= 0) {
		for (size_t i = 0; i < sizeof(m->bus); i++)
			sprintf(hex + 2 * i, "%02x", ((unsigned char *)&m->bus)[i]);
		json_object_set_new(o, "session", json_string(hex));
	}
	if (m->cgroup.detail[0])
		json_object_set_new(o, "cgroup",
				    json_pack("{s:b, s:s}", "in_force", m->cgroup.in_force,
					      "detail", m->cgroup.detail));
	return o;
}

static void mini_start(struct mini *m)
{
	struct au_host_spawn spawn = {
		.program = m->program,
		.name = m->name,
		.without = m->without,
		.stdio = m->stdio,
	};
	int fds[AU_MSG_FDS], session[AU_BUS_FDS];
	unsigned int count = 0, replays = 0;
	char error[256] = "";
	char *text;
	json_t *o;
	int pair[2];

	m->generation++;
	if (m->rec.status)
		au_recorder_unmap(&m->rec);
	if (m->status >= 0)
		close(m->status);
	m->status = mini_memfd("status", au_recorder_size());
	if (au_recorder_map(m->status, true, &m->rec))
		mini_die("cannot map the status page");
	if (m->address) {
		if (au_bus_open(m->address, 2000, &m->bus, session, error, sizeof(error)))
			mini_die("%s", error);
		m->session = session[0];
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		mini_die("socketpair: %s", strerror(errno));
	m->spawned_us = mini_now_us();
	spawn.control = pair[1];
	m->pid = au_host_spawn(&spawn, &m->pidfd, error, sizeof(error));
	if (m->pid < 0)
		mini_die("%s", error);
	close(pair[1]);
	m->control = pair[0];
	if (m->use_cgroup) {
		if (!m->cgroup.detail[0])
			au_host_cgroup_make(m->name, 256u << 20, 4, &m->cgroup);
		au_host_cgroup_enter(&m->cgroup, m->pid);
	}
	for (unsigned int i = 0; i < MINI_CHANNELS; i++)
		replays += m->channels[i].used;
	o = mini_start_text(m, replays, fds, &count);
	text = json_dumps(o, 0);
	json_decref(o);
	if (au_msg_send_text(m->control, AU_HM_START, text, fds, count))
		mini_die("cannot send the start");
	free(text);
	if (m->session >= 0)
		close(m->session);
	m->session = -1;
	for (unsigned int i = 0; i < MINI_CHANNELS; i++)
		if (m->channels[i].used)
			mini_channel_attach(m, &m->channels[i], true);
	mini_say(json_pack("{s:s, s:i, s:i}", "event", "spawned", "pid", (int)m->pid, "generation",
			   (int)m->generation));
}

static json_t *mini_crash(const struct mini *m)
{
	const struct au_crash *c = m->rec.crash;
	json_t *frames, *modules;

	if (!m->rec.status || !m->rec.status->crashed)
		return json_null();
	frames = json_array();
	modules = json_array();
	for (uint32_t i = 0; i < c->frame_count && i < 64; i++) {
		const char *name = "?";

		for (uint32_t j = 0; j < c->module_count && j < 32; j++)
			if (c->frames[i] >= c->modules[j].start && c->frames[i] < c->modules[j].end)
				name = c->modules[j].path;
		json_array_append_new(frames, json_string(name));
	}
	for (uint32_t j = 0; j < c->module_count && j < 32; j++)
		json_array_append_new(modules,
				      json_pack("{s:s, s:i}", "path", c->modules[j].path,
						"build_id_size", (int)c->modules[j].build_id_size));
	return json_pack("{s:i, s:i, s:I, s:I, s:o, s:o}", "signal", c->signal, "code", c->code,
			 "address", (json_int_t)c->address, "lane", (json_int_t)c->lane, "frames",
			 frames, "modules", modules);
}

static void mini_reap(struct mini *m)
{
	int status = 0;

	waitpid(m->pid, &status, 0);
	close(m->pidfd);
	m->pidfd = -1;
	if (m->control >= 0)
		close(m->control);
	m->control = -1;
	for (unsigned int i = 0; i < MINI_CHANNELS; i++)
		if (m->channels[i].used)
			au_chan_down(m->channels[i].chan);
	mini_say(json_pack("{s:s, s:i, s:i, s:i, s:o}", "event", "died", "exit",
			   WIFEXITED(status) ? WEXITSTATUS(status) : -1, "wait_signal",
			   WIFSIGNALED(status) ? WTERMSIG(status) : 0, "signal",
			   au_host_death_signal(status, m->rec.status ? &m->rec : NULL), "crash",
			   mini_crash(m)));
}

static void mini_host_says(struct mini *m)
{
	static _Alignas(8) char msg[AU_MSG_MAX + 1];
	const struct au_msg_head *head = (const void *)msg;
	int fds[AU_MSG_FDS];
	int n = au_msg_recv(m->control, msg, sizeof(msg), fds);
	unsigned int count = 0;
	json_t *o;

	if (n <= 0) {
		close(m->control);
		m->control = -1;
		return;
	}
	for (unsigned int i = 0; i < AU_MSG_FDS; i++)
		count += fds[i] >= 0;
	if (head->type == AU_HM_FAILED) {
		const struct au_hm_failed *f = (const void *)msg;

		o = json_pack("{s:s, s:s, s:i, s:s}", "event", "failed", "stage", f->stage, "error",
			      f->error, "text", f->text);
	} else if (head->type == AU_HM_ENDED) {
		const struct au_hm_channel *c = (const void *)msg;

		o = json_pack("{s:s, s:i, s:i, s:s}", "event", "ended", "channel", (int)c->channel,
			      "reason", c->reason, "text", c->text);
	} else if (head->type == AU_HM_LOG) {
		o = json_pack("{s:s, s:s}", "event", "log", "text",
			      msg + sizeof(struct au_msg_head));
	} else {
		const char *name = head->type == AU_HM_READY	 ? "ready"
				   : head->type == AU_HM_GONE	 ? "gone"
				   : head->type == AU_HM_UNITS	 ? "units"
				   : head->type == AU_HM_ANSWER	 ? "answer"
				   : head->type == AU_HM_ADOPTED ? "adopted"
				   : head->type == AU_HM_SERVING ? "serving"
								 : "?";
		json_t *body = n > (int)sizeof(*head) ? json_loads(msg + sizeof(*head), 0, NULL)
						      : json_null();

		o = json_pack("{s:s, s:o?, s:i, s:I}", "event", name, "body", body, "fds",
			      (int)count, "us", (json_int_t)(mini_now_us() - m->spawned_us));
	}
	au_msg_close(fds);
	mini_say(o);
}

/* --------------------------------------------------------------------- commands */

static void mini_send_channel(struct mini *m, uint16_t type, uint32_t id)
{
	struct au_hm_channel msg = { .head.type = type, .channel = id };

	au_msg_send(m->control, &msg, sizeof(msg), NULL, 0);
}

static void mini_send_head(struct mini *m, uint16_t type)
{
	struct au_msg_head msg = { .type = type };

	au_msg_send(m->control, &msg, sizeof(msg), NULL, 0);
}

static void do_start(struct mini *m, char **a)
{
	(void)a;
	mini_start(m);
}

static void do_open(struct mini *m, char **a)
{
	mini_channel_open(m, mini_number(a[0]), mini_number(a[1]), mini_number(a[2]),
			  mini_number(a[3]));
}

static void do_io(struct mini *m, char **a)
{
	mini_channel_io(m, mini_number(a[0]), (uint16_t)mini_number(a[1]), strtoull(a[2], NULL, 0),
			a[3]);
}

static void do_flood(struct mini *m, char **a)
{
	mini_channel_flood(m, mini_number(a[0]), strtoull(a[1], NULL, 0), mini_number(a[2]));
}

static void do_close(struct mini *m, char **a)
{
	mini_send_channel(m, AU_HM_CLOSE, mini_number(a[0]));
}

/* The client dies: its doorbell closes, and nobody tells the host. */
static void do_vanish(struct mini *m, char **a)
{
	mini_channel_vanish(m, mini_number(a[0]));
}

/* The client stops; its requests go on. */
static void do_freeze(struct mini *m, char **a)
{
	mini_channel_freeze(m, mini_number(a[0]));
}

static void do_stop(struct mini *m, char **a)
{
	(void)a;
	mini_send_head(m, AU_HM_STOP);
}

static void do_query(struct mini *m, char **a)
{
	(void)a;
	mini_send_head(m, AU_HM_QUERY);
}

static void do_kill(struct mini *m, char **a)
{
	kill(m->pid, (int)mini_number(a[0]));
}

static void do_beat(struct mini *m, char **a)
{
	struct au_hm_beat msg = { .head.type = AU_HM_BEAT, .seq = mini_number(a[0]) };

	au_msg_send(m->control, &msg, sizeof(msg), NULL, 0);
}

static void do_status(struct mini *m, char **a)
{
	const struct au_lane_status *l = &m->rec.status->lane[0];

	(void)a;
	mini_say(json_pack("{s:s, s:I, s:I, s:I}", "event", "status", "beat", (json_int_t)l->beat,
			   "completed", (json_int_t)l->completed, "overdue_ms",
			   (json_int_t)l->overdue_ms));
}

/* What the manager's death looks like to the host. */
static void do_abandon(struct mini *m, char **a)
{
	(void)a;
	close(m->control);
	m->control = -1;
}

static void do_connect(struct mini *m, char **a)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	(void)a;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", m->listen_path);
	m->control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (connect(m->control, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		mini_say(json_pack("{s:s, s:i}", "event", "refused", "error", errno));
}

static void do_adopt(struct mini *m, char **a)
{
	(void)a;
	mini_send_head(m, AU_HM_ADOPT);
}

/* Anything, hexadecimal. */
static void do_raw(struct mini *m, char **a)
{
	static unsigned char bytes[AU_MSG_MAX];
	size_t n = mini_unhex(a[0], bytes, sizeof(bytes));

	if (send(m->control, bytes, n, MSG_NOSIGNAL) < 0)
		mini_say(json_pack("{s:s, s:i}", "event", "refused", "error", errno));
}

/* A message of a type with a body. */
static void do_message(struct mini *m, char **a)
{
	static _Alignas(8) unsigned char bytes[AU_MSG_MAX];
	struct au_msg_head *head = (struct au_msg_head *)bytes;
	size_t n = mini_unhex(a[1], bytes + sizeof(*head), sizeof(bytes) - sizeof(*head));

	head->type = (uint16_t)mini_number(a[0]);
	au_msg_send(m->control, bytes, n + sizeof(*head), NULL, 0);
}

/* Instead of a proper start. */
static void do_spawn(struct mini *m, char **a)
{
	struct au_host_spawn spawn = { .program = m->program, .name = m->name };
	char error[256] = "";
	int pair[2];

	(void)a;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		mini_die("socketpair: %s", strerror(errno));
	spawn.control = pair[1];
	m->spawned_us = mini_now_us();
	m->pid = au_host_spawn(&spawn, &m->pidfd, error, sizeof(error));
	if (m->pid < 0)
		mini_die("%s", error);
	close(pair[1]);
	m->control = pair[0];
}

static const struct {
	const char *name;
	unsigned int args;
	void (*fn)(struct mini *m, char **args);
} commands[] = {
	{ "start", 0, do_start },   /* a host, and again after its death */
	{ "open", 4, do_open },	    /* CHANNEL UNIT DEPTH BUFFER_SIZE */
	{ "io", 4, do_io },	    /* CHANNEL OP ARG DATA: a request; DATA hex, "-" for none */
	{ "flood", 3, do_flood },   /* CHANNEL COUNT LENGTH: that many echoes, data checked */
	{ "close", 1, do_close },   /* CHANNEL */
	{ "vanish", 1, do_vanish }, /* CHANNEL */
	{ "freeze", 1, do_freeze }, /* CHANNEL: it does not replay */
	{ "stop", 0, do_stop },	      { "query", 0, do_query },
	{ "kill", 1, do_kill }, /* SIGNAL */
	{ "beat", 1, do_beat }, /* SEQ */
	{ "status", 0, do_status },   { "abandon", 0, do_abandon },
	{ "connect", 0, do_connect }, { "adopt", 0, do_adopt },
	{ "raw", 1, do_raw },	      /* HEX */
	{ "message", 2, do_message }, /* TYPE HEX */
	{ "spawn", 0, do_spawn },     /* a host, without telling it anything */
};

static void mini_command(struct mini *m, char *line)
{
	char *args[6] = { 0 };
	char *save = NULL;
	unsigned int count = 0;

	for (char *w = strtok_r(line, " \n", &save); w && count < 6;
	     w = strtok_r(NULL, " \n", &save))
		args[count++] = w;
	if (!count)
		return;
	for (unsigned int i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(args[0], commands[i].name) != 0)
			continue;
		if (count - 1 != commands[i].args)
			mini_die("%s takes %u arguments", args[0], commands[i].args);
		commands[i].fn(m, args + 1);
		return;
	}
	mini_die("no command %s", args[0]);
}

/* ------------------------------------------------------------------------- main */

static void mini_without(struct mini *m, char *list)
{
	char *save = NULL;

	for (char *w = strtok_r(list, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
		int layer = au_layer_find(w);

		if (layer < 0)
			mini_die("no layer %s", w);
		m->without |= 1u << layer;
	}
}

static void mini_listen(struct mini *m, const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	m->listen_path = path;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	m->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	unlink(path);
	if (bind(m->listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(m->listener, 4) < 0)
		mini_die("%s: %s", path, strerror(errno));
}

static void mini_option(struct mini *m, char *text)
{
	char *value = strchr(text, '=');

	if (!value)
		mini_die("%s: not key=value", text);
	*value++ = 0;
	if (!strcmp(text, "uid"))
		m->uid = mini_number(value);
	else if (!strcmp(text, "gid"))
		m->gid = mini_number(value);
	else if (!strcmp(text, "without"))
		mini_without(m, value);
	else if (!strcmp(text, "name"))
		m->name = value;
	else if (!strcmp(text, "param") && m->param_count < 8)
		m->params[m->param_count++] = value;
	else if (!strcmp(text, "bus"))
		m->address = value;
	else if (!strcmp(text, "listen"))
		mini_listen(m, value);
	else if (!strcmp(text, "stdio"))
		m->stdio = mini_number(value);
	else if (!strcmp(text, "cgroup"))
		m->use_cgroup = mini_number(value);
	else if (!strcmp(text, "timeout"))
		alarm(mini_number(value));
	else
		mini_die("no option %s", text);
}

static void mini_loop(struct mini *m)
{
	static char line[128 * 1024];
	size_t have = 0;
	bool input = true;

	while (input) {
		struct pollfd p[3] = {
			{ .fd = STDIN_FILENO, .events = POLLIN },
			{ .fd = m->control, .events = POLLIN },
			{ .fd = m->pidfd, .events = POLLIN },
		};
		char *end;
		ssize_t n;

		poll(p, 3, mini_channels_work(m) ? 0 : mini_channels_waiting(m) ? 1 : -1);
		if (p[1].revents)
			mini_host_says(m);
		else if (p[2].revents)
			mini_reap(m);
		if (!p[0].revents)
			continue;
		n = read(STDIN_FILENO, line + have, sizeof(line) - 1 - have);
		if (n <= 0)
			input = false;
		else
			have += (size_t)n;
		line[have] = 0;
		while ((end = strchr(line, '\n'))) {
			*end++ = 0;
			mini_command(m, line);
			have -= (size_t)(end - line);
			memmove(line, end, have + 1);
		}
	}
}

int main(int argc, char **argv)
{
	if (argc < 4)
		mini_die("usage: mini_manager HOST MODULE DRIVER [key=value]...");
	mini.program = argv[1];
	mini.module_path = argv[2];
	mini.driver = argv[3];
	mini.name = "test0";
	mini.status = -1;
	signal(SIGPIPE, SIG_IGN);
	for (int i = 4; i < argc; i++)
		mini_option(&mini, argv[i]);
	mini.module = open(mini.module_path, O_RDONLY | O_CLOEXEC);
	if (mini.module < 0)
		mini_die("%s: %s", mini.module_path, strerror(errno));
	mini.state = mini_memfd("state", AU_STATE_SIZE);
	mini_loop(&mini);
	if (mini.pidfd >= 0) {
		kill(mini.pid, SIGKILL);
		waitpid(mini.pid, NULL, 0);
	}
	au_host_cgroup_remove(&mini.cgroup);
	if (mini.listen_path)
		unlink(mini.listen_path);
	return 0;
}
