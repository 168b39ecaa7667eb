/* SPDX-License-Identifier: MIT */
#include "guardian.h"
#include "bridge.h"
#include "qemu.h"
#include "rundir.h"
#include "stat.h"
#include "util.h"
#include "base/sock_fds.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#define START_TIMEOUT_MS   20000
#define MAX_FILES	   16384u
#define CONTROL_TIMEOUT_MS 500 /* for a client of the control socket to say what it wants */

struct guardian {
	const struct lab_spec *spec;
	struct qemu qemu;
	bool qemu_alive, frozen;
	pid_t bridge;
	bool bridge_alive;
	int signals, control, from_bridge;
	int to_bridge;		/* commands, with the descriptor for the answer */
	struct lab_stat *stats; /* the bridge's */
	struct lab_buf answer;	/* of the bridge */
	char last_words[512];	/* of QEMU */
	json_t *status;		/* once the lab is up */
	int report;
	bool down;
	int waiting_for_down; /* the control client that asked */
};

/* Tell whoever started the lab how it went, once. */
static bool tell_starter(struct guardian *g, json_t *msg)
{
	if (g->report < 0)
		return true;
	bool ok = json_dumpfd(msg, g->report, JSON_COMPACT) == 0 && write(g->report, "\n", 1) == 1;
	close(g->report);
	g->report = -1;
	return ok;
}

static void fail_start(struct guardian *g, const char *why)
{
	json_t *msg = json_pack("{s:s}", "error", why);

	tell_starter(g, msg);
	json_decref(msg);
	g->down = true;
}

static int start_bridge(struct guardian *g)
{
	int report[2], commands[2];

	if (pipe2(report, O_CLOEXEC) ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, commands))
		return lab_fail(-errno, "no pipe: %s", strerror(errno));
	g->stats = mmap(NULL, LAB_MAX_FUNCS * sizeof(*g->stats), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (g->stats == MAP_FAILED)
		return lab_fail(-errno, "no memory to share: %s", strerror(errno));

	AU_CLEANUP_FD int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
	g->bridge = fork();
	if (g->bridge == 0) {
		/* The guardian alone acts on signals; the bridge goes when the guardian does. */
		signal(SIGINT, SIG_IGN);
		signal(SIGHUP, SIG_IGN);
		signal(SIGPIPE, SIG_IGN);
		sigset_t none;
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		close(g->report);
		close(g->signals);
		close(g->control);
		close(g->qemu.err);
		close(report[0]);
		close(commands[0]);
		_exit(bridge_run(g->spec, &g->qemu, self, commands[1], g->stats, report[1]));
	}
	close(report[1]);
	close(commands[1]);
	g->to_bridge = commands[0];
	g->from_bridge = report[0];
	if (g->bridge < 0)
		return lab_fail(-errno, "cannot start the bridge: %s", strerror(errno));
	g->bridge_alive = true;
	close(g->qemu.qtest);
	close(g->qemu.qmp);
	g->qemu.qtest = g->qemu.qmp = -1;
	return 0;
}

static int listen_control(struct guardian *g)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/control", g->spec->dir);
	g->control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (g->control < 0 || bind(g->control, (struct sockaddr *)&addr, sizeof(addr)) ||
	    chmod(addr.sun_path, 0600) || listen(g->control, 16))
		return lab_fail(-errno, "cannot listen on %s: %s", addr.sun_path, strerror(errno));
	return 0;
}

static void block_signals(struct guardian *g)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	g->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* QEMU's output: shown as the lab's messages; the last line explains an end. */
static void take_qemu_output(struct guardian *g)
{
	char buf[2048];
	ssize_t n = read(g->qemu.err, buf, sizeof(buf) - 1);

	if (n <= 0) {
		if (n == 0) {
			close(g->qemu.err);
			g->qemu.err = -1;
		}
		return;
	}
	buf[n] = '\0';
	for (char *save, *line = strtok_r(buf, "\r\n", &save); line;
	     line = strtok_r(NULL, "\r\n", &save)) {
		const char *text = line;

		if (strncmp(text, "qemu-system-x86_64: ", 20) == 0)
			text += 20;
		snprintf(g->last_words, sizeof(g->last_words), "%s", text);
		if (g->report < 0)
			lab_msg("QEMU says: %s", text);
	}
}

static void set_state(struct guardian *g)
{
	if (g->status)
		json_object_set_new(g->status, "state",
				    json_string(!g->qemu_alive ? "dead"
						: g->frozen    ? "frozen"
							       : "running"));
}

/* A QEMU that has stopped knows best why the bridge did not get on with it. */
static void explain_failure(struct guardian *g, const char *error)
{
	struct pollfd stopped = { .fd = g->qemu.pidfd, .events = POLLIN };
	char why[640];

	bool gone = poll(&stopped, 1, 300) == 1;
	while (gone && g->qemu.err >= 0) /* no writer is left: this ends */
		take_qemu_output(g);
	if (gone)
		snprintf(why, sizeof(why), "QEMU does not start: %s",
			 g->last_words[0] ? g->last_words : "it does not say why");
	else
		snprintf(why, sizeof(why), "%s",
			 error && *error ? error : "the bridge stopped while starting");
	fail_start(g, why);
}

static void bridge_is_up(struct guardian *g)
{
	json_t *msg = json_loadb((const char *)lab_buf_head(&g->answer), lab_buf_len(&g->answer), 0,
				 NULL);
	const char *error = json_string_value(json_object_get(msg, "error"));

	close(g->from_bridge);
	g->from_bridge = -1;
	if (!msg || error) {
		explain_failure(g, error);
		json_decref(msg);
		return;
	}
	json_object_set_new(msg, "name", json_string(g->spec->name));
	json_object_set_new(msg, "dir", json_string(g->spec->dir));
	json_object_set_new(msg, "pids",
			    json_pack("{s:i, s:i, s:i}", "guardian", (int)getpid(), "bridge",
				      (int)g->bridge, "qemu", (int)g->qemu.pid));
	g->status = msg;
	set_state(g);
	if (!tell_starter(g, msg))
		g->down = true; /* nobody waits for it any more */
}

static void take_bridge_answer(struct guardian *g)
{
	uint8_t *p = lab_buf_reserve(&g->answer, 4096);
	ssize_t n = read(g->from_bridge, p, 4096);

	if (n > 0)
		g->answer.tail += (size_t)n;
	else if (n == 0)
		bridge_is_up(g);
}

static void reap(struct guardian *g)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == g->qemu.pid) {
			g->qemu_alive = false;
			set_state(g);
		} else if (pid == g->bridge) {
			g->bridge_alive = false;
			if (g->report < 0 && !g->down)
				lab_msg("the bridge stopped (%s %d): taking the lab down",
					WIFSIGNALED(status) ? "signal" : "status",
					WIFSIGNALED(status) ? WTERMSIG(status)
							    : WEXITSTATUS(status));
			if (g->from_bridge < 0)
				g->down = true;
		}
	}
}

static void take_signals(struct guardian *g)
{
	struct signalfd_siginfo info;

	while (read(g->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD)
			reap(g);
		else
			g->down = true;
	}
}

static void signal_qemu(struct guardian *g, int fd, int sig)
{
	if (!g->qemu_alive) {
		dprintf(fd, "{\"error\":\"QEMU of the lab %s is dead\"}\n", g->spec->name);
		return;
	}
	syscall(SYS_pidfd_send_signal, g->qemu.pidfd, sig, NULL, 0);
	if (sig == SIGKILL) { /* answered when it is so */
		struct pollfd pfd = { .fd = g->qemu.pidfd, .events = POLLIN };

		poll(&pfd, 1, 2000);
		reap(g);
	} else {
		g->frozen = sig == SIGSTOP;
	}
	set_state(g);
	dprintf(fd, "{\"ok\":true}\n");
}

/* What the bridge has counted meanwhile. */
static void update_status(struct guardian *g)
{
	json_t *f;
	size_t i;

	json_array_foreach(json_object_get(g->status, "functions"), i, f)
	{
		const struct lab_stat *s = &g->stats[i];

		json_object_set_new(
			f, "dma_maps",
			json_integer((json_int_t)__atomic_load_n(&s->maps, __ATOMIC_RELAXED)));
		json_object_set_new(
			f, "dma_bytes",
			json_integer((json_int_t)__atomic_load_n(&s->mapped, __ATOMIC_RELAXED)));
		json_object_set_new(
			f, "dma_faults",
			json_integer((json_int_t)__atomic_load_n(&s->faults, __ATOMIC_RELAXED)));
		json_object_set_new(f, "removed",
				    json_boolean(__atomic_load_n(&s->removed, __ATOMIC_RELAXED)));
	}
}

/* The bridge answers, on the same connection: the guardian waits for nobody. */
static void hand_on(struct guardian *g, const char *line, int fd)
{
	struct iovec part = { .iov_base = (void *)(uintptr_t)line, .iov_len = strlen(line) };
	ssize_t n = au_sock_send(g->to_bridge, &part, 1, &fd, fd >= 0, MSG_DONTWAIT);

	if (n < 0)
		dprintf(fd, "{\"error\":\"the bridge takes no commands: %s\"}\n",
			strerror((int)-n));
}

static void serve_control(struct guardian *g)
{
	AU_CLEANUP_FD int fd = accept4(g->control, NULL, NULL, SOCK_CLOEXEC);
	struct timeval limit = { .tv_usec = CONTROL_TIMEOUT_MS * 1000 };
	char line[128];

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	ssize_t n = recv(fd, line, sizeof(line) - 1, 0);
	if (n <= 0)
		return;
	line[n] = '\0';
	line[strcspn(line, "\r\n")] = '\0';
	if (strcmp(line, "status") == 0 && g->status) {
		update_status(g);
		json_dumpfd(g->status, fd, JSON_COMPACT);
		dprintf(fd, "\n");
	} else if (strcmp(line, "down") == 0) {
		g->down = true;
		if (g->waiting_for_down < 0) {
			g->waiting_for_down = fd;
			fd = -1;
		}
	} else if (g->status &&
		   (strncmp(line, "remove ", 7) == 0 || strncmp(line, "add ", 4) == 0)) {
		hand_on(g, line, fd);
	} else if (strcmp(line, "freeze") == 0) {
		signal_qemu(g, fd, SIGSTOP);
	} else if (strcmp(line, "thaw") == 0) {
		signal_qemu(g, fd, SIGCONT);
	} else if (strcmp(line, "kill") == 0) {
		signal_qemu(g, fd, SIGKILL);
	} else {
		dprintf(fd, "{\"error\":\"%s\"}\n",
			g->status ? "unknown command" : "the lab is starting");
	}
}

static void watch(struct guardian *g)
{
	uint64_t deadline = lab_now_ns() + START_TIMEOUT_MS * UINT64_C(1000000);

	while (!g->down) {
		struct pollfd pfd[] = { { .fd = g->signals, .events = POLLIN },
					{ .fd = g->from_bridge, .events = POLLIN },
					{ .fd = g->qemu.err, .events = POLLIN },
					{ .fd = g->control, .events = POLLIN },
					{ .fd = g->report, .events = 0 } };
		int n = poll(pfd, 5, g->report >= 0 ? 1000 : -1);

		if (g->report >= 0 && lab_now_ns() > deadline)
			fail_start(g, "QEMU took over 20 s to start");
		if (n <= 0)
			continue;
		if (pfd[0].revents)
			take_signals(g);
		if (pfd[2].revents)
			take_qemu_output(g);
		if (pfd[1].revents)
			take_bridge_answer(g);
		if (pfd[3].revents)
			serve_control(g);
		if (pfd[4].revents & POLLERR) /* the starter has been interrupted */
			g->down = true;
	}
}

static void end_child(pid_t pid, bool alive)
{
	if (!alive)
		return;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* Each interrupt vector is a descriptor, in the bridge and in QEMU. */
static void raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max < MAX_FILES ? limit.rlim_max : MAX_FILES;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int guardian_run(const struct lab_spec *spec, int report)
{
	struct guardian g = { .spec = spec,
			      .report = report,
			      .signals = -1,
			      .control = -1,
			      .from_bridge = -1,
			      .to_bridge = -1,
			      .waiting_for_down = -1 };
	char why[512] = "";
	int ret;

	prctl(PR_SET_NAME, "lab-guardian");
	block_signals(&g);
	raise_limits();
	lab_msg_capture(why, sizeof(why));
	ret = qemu_spawn(spec, &g.qemu);
	g.qemu_alive = ret == 0;
	if (ret == 0 && (ret = listen_control(&g)) == 0)
		ret = start_bridge(&g);
	lab_msg_capture(NULL, 0);
	if (ret)
		fail_start(&g, why);
	ret = ret ? 1 : 0;
	if (!spec->foreground)
		(void)!chdir("/");
	watch(&g);
	if (!g.status || !g.bridge_alive)
		ret = 1;

	end_child(g.qemu.pid, g.qemu_alive);
	end_child(g.bridge, g.bridge_alive);
	rundir_remove(spec->dir, spec->dirfd);
	if (g.waiting_for_down >= 0) {
		dprintf(g.waiting_for_down, "{\"ok\":true}\n");
		close(g.waiting_for_down);
	}
	qemu_close(&g.qemu);
	json_decref(g.status);
	lab_buf_free(&g.answer);
	return ret;
}
