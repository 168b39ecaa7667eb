/* SPDX-License-Identifier: MIT */
/* A host process: spawned, told, listened to, killed, reaped. What it means is device.c's. */
#include "base/cleanup.h"
#include "manager/json.h"
#include "manager/manager.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Of its cgroup. Whoever touches a page of a pool first pays for it: that can be the host. */
#define HOST_MEMORY	   ((256ull << 20) + MGR_POOLS_MAX)
#define HOST_PROCESSES	   64
#define HOST_MESSAGES_ONCE 32  /* read per wake-up, so that a flood disturbs nobody else */
#define HOST_LOG_BURST	   20  /* lines, refilled once a second */
#define HOST_HEARING	   512 /* messages between two ticks: more than it has clients */
#define HOST_UNITS_COST	   32  /* one that says that units have come or gone counts as so many */

void mgr_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

uint64_t mgr_process_start_time(pid_t pid, char *state)
{
	char path[40], text[1024], *p;
	unsigned long long start = 0;
	AU_CLEANUP_FD int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
	if (n <= 0)
		return 0;
	text[n] = 0;
	/* The name in parentheses may hold anything. */
	p = strrchr(text, ')');
	if (!p || p[1] != ' ')
		return 0;
	if (state)
		*state = p[2];
	p += 2;
	for (int field = 3; field < 22 && p; field++)
		p = strchr(p + 1, ' ');
	if (!p || sscanf(p, " %llu", &start) != 1)
		return 0;
	return start;
}

/* What is wanted of the control socket; that its end was closed is told in any case. */
static void host_watch_control(struct mgr_host *host)
{
	au_watch_events(&host->control_watch,
			(host->hearing ? EPOLLIN : 0u) | (host->blocked ? EPOLLOUT : 0u));
}

void mgr_host_hear(struct mgr_host *host)
{
	bool deaf = !host->hearing;

	host->hearing = HOST_HEARING;
	if (deaf && host->control_watch.loop)
		host_watch_control(host);
}

static void host_heard(struct mgr_host *host, uint16_t type)
{
	unsigned int cost = type == AU_HM_UNITS ? HOST_UNITS_COST : 1;

	host->hearing -= cost < host->hearing ? cost : host->hearing;
	if (host->hearing)
		return;
	host_watch_control(host);
	mgr_supervise(host->mgr);
}

static void host_read(struct au_watch *watch, uint32_t events)
{
	static union {
		struct au_msg_head head;
		char bytes[AU_MSG_MAX + 1];
	} msg;
	struct mgr_host *host = watch->context;
	int fds[AU_MSG_FDS];

	if ((events & EPOLLOUT) && host->dev) {
		host->blocked = false;
		host_watch_control(host);
		mgr_channels_retry(host->dev);
	}
	for (unsigned int i = 0; i < HOST_MESSAGES_ONCE; i++) {
		int n;

		/* Whatever a message leads to, the host itself lives until its pidfd fires. */
		if (host->state == MGR_HOST_KILLED)
			return;
		/* But what one that is gone has said is all there is. */
		if (!host->hearing && !(events & (EPOLLHUP | EPOLLERR)))
			return;
		n = au_msg_recv(host->control, &msg, sizeof(msg), fds);
		/* It left without having read what it was sent; what it said, such as which rule
		 * its driver broke, is behind that. */
		if (n == -ECONNRESET)
			n = au_msg_recv(host->control, &msg, sizeof(msg), fds);
		if (n == -EAGAIN)
			return;
		if (!host->dev) { /* one that stands by has nothing to say */
			au_msg_close(fds);
			n = -EPROTO;
		}
		if (n <= 0) {
			au_watch_remove(&host->control_watch);
			if (n == -EPROTO)
				mgr_host_kill(host, MGR_VERDICT_PROTOCOL,
					      "it sent something that is no message");
			else /* its end is closed: it is dying, or as good as dead */
				mgr_host_kill(host, MGR_VERDICT_NONE, "%s", "");
			return;
		}
		host_heard(host, msg.head.type);
		if (msg.head.type != AU_HM_LOG || host->log_tokens) {
			host->log_tokens -= msg.head.type == AU_HM_LOG;
			mgr_device_message(host->dev, &msg.head, (size_t)n, fds);
		}
		au_msg_close(fds);
	}
}

static int host_reap(struct mgr_host *host)
{
	siginfo_t info = { 0 };

	if (!host->child || waitid(P_PIDFD, (id_t)host->pidfd, &info, WEXITED | WNOHANG | __WALL))
		return -1;
	/* As waitpid(2) puts it. */
	if (info.si_code == CLD_EXITED)
		return (info.si_status & 0xff) << 8;
	return info.si_status & 0x7f;
}

static void host_ended(struct au_watch *watch, uint32_t events)
{
	struct mgr_host *host = watch->context;
	int status = host_reap(host);

	/* What it said last may still be in the socket: why it could not start, for one. */
	if (host->dev && host->state != MGR_HOST_KILLED && host->control_watch.loop)
		host_read(&host->control_watch, EPOLLIN | EPOLLHUP);
	if (host->dev)
		mgr_device_host_dead(host->dev, host, status);
	else if (host == host->mgr->standby)
		mgr_standby_lost(host->mgr);
	else
		mgr_host_free(host);
}

static int host_watch(struct mgr_host *host)
{
	int err;

	host->pid_watch.ready = host_ended;
	host->pid_watch.context = host;
	host->control_watch.ready = host_read;
	host->control_watch.context = host;
	err = au_watch_add(host->mgr->loop, &host->pid_watch, host->pidfd, EPOLLIN);
	if (!err)
		err = au_watch_add(host->mgr->loop, &host->control_watch, host->control, EPOLLIN);
	return err;
}

void mgr_host_free(struct mgr_host *host)
{
	if (!host)
		return;
	au_watch_remove(&host->pid_watch);
	au_watch_remove(&host->control_watch);
	mgr_close(&host->pidfd);
	mgr_close_foreign(&host->control);
	mgr_close(&host->status_fd);
	au_recorder_unmap(&host->recorder);
	if (host->cgroup.path[0][0] || host->cgroup.path[1][0])
		au_host_cgroup_remove(&host->cgroup);
	au_list_remove(&host->node);
	mgr_going_down(host->mgr);
	free(host);
}

static struct mgr_host *host_new(struct mgr *mgr)
{
	struct mgr_host *host = calloc(1, sizeof(*host));

	if (!host)
		return NULL;
	host->mgr = mgr;
	host->pidfd = host->control = host->status_fd = -1;
	host->log_tokens = HOST_LOG_BURST;
	host->hearing = HOST_HEARING;
	au_list_init(&host->node);
	return host;
}

static int host_process(struct mgr_host *host, const char *name, uint32_t without, char *error,
			size_t error_size)
{
	struct au_host_spawn spawn = {
		.program = host->mgr->host_program,
		.name = name,
		.without = without,
		.stdio = host->mgr->host_stdio,
	};
	int pair[2] = { -1, -1 };
	int err = 0;

	host->status_fd = au_memfd_sealed("auriga-status", au_recorder_size());
	if (host->status_fd < 0)
		err = host->status_fd;
	else if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		err = -errno;
	host->control = pair[0];
	spawn.control = pair[1];
	if (!err && fcntl(pair[0], F_SETFL, O_NONBLOCK))
		err = -errno;
	if (err) {
		snprintf(error, error_size, "cannot make what a host needs: %s", strerror(-err));
	} else {
		host->pid = au_host_spawn(&spawn, &host->pidfd, error, error_size);
		err = host->pid < 0 ? (int)host->pid : 0;
	}
	mgr_close(&pair[1]);
	return err;
}

static void host_cgroup(struct mgr_host *host, unsigned int number)
{
	struct mgr *mgr = host->mgr;
	char name[32];

	host->number = number;
	if (mgr->next_number < number)
		mgr->next_number = number;
	/* Other managers have hosts too. */
	snprintf(name, sizeof(name), "%08x-%u", mgr_hash(mgr->dir), number);
	if (mgr->as_root)
		au_host_cgroup_make(name, HOST_MEMORY, HOST_PROCESSES, &host->cgroup);
	else
		snprintf(host->cgroup.detail, sizeof(host->cgroup.detail), "needs root");
}

/* Directories of this manager's hosts in one hierarchy; those in use refuse to go. */
static void host_cgroup_sweep(const struct mgr *mgr, const char *own)
{
	char path[300], prefix[32];
	const char *slash = strrchr(own, '/');
	size_t parent = slash ? (size_t)(slash - own) : 0;
	struct dirent *entry;
	DIR *dir;

	snprintf(prefix, sizeof(prefix), "auriga-%08x-", mgr_hash(mgr->dir));
	snprintf(path, sizeof(path), "%.*s", (int)parent, own);
	dir = parent ? opendir(path) : NULL;
	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, prefix, strlen(prefix)))
			unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	if (dir)
		closedir(dir);
}

void mgr_host_sweep(struct mgr *mgr)
{
	struct au_host_cgroup cgroup;
	char name[32];

	if (!mgr->as_root)
		return;
	/* Only making one tells where they are. */
	snprintf(name, sizeof(name), "%08x-0", mgr_hash(mgr->dir));
	au_host_cgroup_make(name, HOST_MEMORY, HOST_PROCESSES, &cgroup);
	for (unsigned int i = 0; i < 3; i++)
		if (cgroup.path[i][0])
			host_cgroup_sweep(mgr, cgroup.path[i]);
}

int mgr_host_process(struct mgr *mgr, const char *name, uint32_t without, struct mgr_host **result,
		     char *error, size_t error_size)
{
	struct mgr_host *host = host_new(mgr);
	int err;

	if (!host)
		return -ENOMEM;
	err = host_process(host, name, without, error, error_size);
	if (err) {
		mgr_host_free(host);
		return err;
	}
	host->child = true;
	host->start_time = mgr_process_start_time(host->pid, NULL);
	host_cgroup(host, ++mgr->next_number);
	if (mgr->as_root)
		au_host_cgroup_enter(&host->cgroup, host->pid);
	err = host_watch(host);
	if (err) {
		snprintf(error, error_size, "cannot watch the host: %s", strerror(-err));
		syscall(SYS_pidfd_send_signal, host->pidfd, SIGKILL, NULL, 0);
		host_reap(host);
		mgr_host_free(host);
		return err;
	}
	*result = host;
	return 0;
}

int mgr_host_adopt(struct mgr_device *dev, pid_t pid, uint64_t start_time, unsigned int number,
		   int control, struct mgr_host **result)
{
	struct mgr_host *host = host_new(dev->mgr);
	int err = 0;

	if (!host)
		return -ENOMEM;
	host->dev = dev;
	host->generation = dev->generation;
	host->pid = pid;
	host->start_time = start_time;
	host->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	/* Only now does the number stand for this process and no other. */
	if (host->pidfd < 0)
		err = -errno;
	else if (mgr_process_start_time(pid, NULL) != start_time)
		err = -ESRCH;
	if (!err) {
		host->control = control;
		err = host_watch(host);
		if (err)
			host->control = -1;
	}
	if (err) {
		mgr_host_free(host);
		return err;
	}
	host->state = MGR_HOST_STARTING;
	host_cgroup(host, number);
	*result = host;
	return 0;
}

void mgr_host_kill(struct mgr_host *host, enum mgr_verdict verdict, const char *fmt, ...)
{
	va_list args;

	if (host->verdict == MGR_VERDICT_NONE && verdict != MGR_VERDICT_NONE) {
		host->verdict = verdict;
		va_start(args, fmt);
		vsnprintf(host->why, sizeof(host->why), fmt, args);
		va_end(args);
	}
	host->state = MGR_HOST_KILLED;
	syscall(SYS_pidfd_send_signal, host->pidfd, SIGKILL, NULL, 0);
}

int mgr_host_send(struct mgr_host *host, void *msg, size_t length, const int *fds,
		  unsigned int fd_count)
{
	int err;

	if (host->state == MGR_HOST_KILLED)
		return -EPIPE;
	err = au_msg_send(host->control, msg, length, fds, fd_count);
	if (err == -EAGAIN && !host->blocked) {
		host->blocked = true;
		host_watch_control(host);
	}
	return err;
}

/* The descriptors of AU_HM_START and where each is. */
struct host_fds {
	int fds[AU_MSG_FDS];
	unsigned int count;
	json_t *map;
};

static void host_fd(struct host_fds *f, const char *name, int fd)
{
	if (fd < 0)
		return;
	json_object_set_new(f->map, name, json_integer(f->count));
	f->fds[f->count++] = fd;
}

static json_t *host_start_json(struct mgr_host *host, const struct au_bus_session *session)
{
	const struct mgr_device *dev = host->dev;
	json_t *params = json_array(), *without = json_object(), *o;
	char inject[AU_VERIFY_TEXT];

	for (unsigned int i = 0; i < dev->spec.param_count; i++)
		json_array_append_new(params, mgr_json_string(dev->spec.params[i]));
	o = json_pack("{s:s s:s s:o s:o s:I s:s s:b s:i s:b s:b s:o s:{s:b s:s}}", "name",
		      dev->spec.name, "driver", dev->driver_name, "address",
		      mgr_json_string(dev->spec.address), "params", params, "generation",
		      (json_int_t)host->generation, "from", dev->from_failed ? "failed" : "off",
		      "verify", dev->spec.policy.verify.rules, "replays",
		      (int)mgr_channels_replaying(host->dev), "state_fresh", dev->state_fresh,
		      "retained_fresh", dev->retained_fresh, "module_path",
		      mgr_json_string(dev->driver_path), "cgroup", "in_force",
		      host->cgroup.in_force, "detail", host->cgroup.detail);
	if (!o) {
		json_decref(without);
		return NULL;
	}
	if (dev->spec.policy.verify.what) {
		au_verify_print(&dev->spec.policy.verify, ',', inject);
		json_object_set_new(o, "inject", json_string(inject));
	}
	json_object_set_new(o, "power_idle_ms", json_integer(dev->power.idle_ms));
	if (session)
		mgr_json_set_hex(o, "session", session, sizeof(*session));
	if (dev->mgr->as_root) {
		json_int_t uid = (json_int_t)dev->mgr->uid_first + dev->slot;

		json_object_set_new(o, "uid", json_integer(uid));
		json_object_set_new(o, "gid", json_integer(uid));
	}
	for (unsigned int i = 0; i < AU_LAYER_COUNT; i++)
		if (dev->spec.policy.without & (1u << i))
			json_object_set_new(without, au_layer_name(i), json_false());
	json_object_set_new(o, "sandbox", without);
	return o;
}

int mgr_host_start(struct mgr_host *host, const struct au_bus_session *session,
		   const int session_fds[AU_BUS_FDS], char *error, size_t error_size)
{
	struct mgr_device *dev = host->dev;
	static const char *const session_names[AU_BUS_FDS] = { "session", "group", "container" };
	AU_CLEANUP_FD int module = mgr_module_open(&dev->module);
	AU_CLEANUP_FD int arena = -1;
	AU_CLEANUP_FREE char *text = NULL;
	struct host_fds f = { .map = json_object() };
	json_t *o;
	int err;

	if (module < 0) {
		err = module;
		snprintf(error, error_size, "%s: %s", dev->driver_path, strerror(-err));
		json_decref(f.map);
		return err;
	}
	host_fd(&f, "module", module);
	host_fd(&f, "status", host->status_fd);
	host_fd(&f, "state", dev->state_fd);
	host_fd(&f, "retained", dev->retained_fd);
	if (session && dev->note.dma_bytes) {
		arena = au_memfd_sealed("auriga-arena", dev->note.dma_bytes);
		host_fd(&f, "arena", arena);
	}
	for (unsigned int i = 0; session && i < AU_BUS_FDS; i++)
		host_fd(&f, session_names[i], session_fds[i]);
	host_fd(&f, "listen", dev->host_listen_fd);
	host_fd(&f, "claim", dev->claim_fd);
	o = host_start_json(host, session);
	if (o) {
		json_object_set(o, "fds", f.map);
		text = json_dumps(o, JSON_COMPACT);
	}
	json_decref(f.map);
	json_decref(o);
	err = text ? au_msg_send_text(host->control, AU_HM_START, text, f.fds, f.count) : -ENOMEM;
	if (err)
		snprintf(error, error_size, "cannot talk to the host: %s", strerror(-err));
	else
		host->state = MGR_HOST_STARTING;
	return err;
}
