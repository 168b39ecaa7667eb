/* SPDX-License-Identifier: MIT */
#include "host/spawn.h"

#include "base/recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPAWN_CONTROL 3

/*
 * Everything that the child needs. The parent may have threads, so that between clone() and
 * execve() the child may only make system calls: all texts are written beforehand.
 */
struct spawn_plan {
	const char *program;
	char *argv[6];
	char *envp[8];
	char pid_ns[96];
	int control, null;
	bool stdio;
	bool user_ns;
	char uid_map[48], gid_map[48];
};

/* fork(2) with flags. Not clone3(), which containers like to forbid because they cannot see what it
 * is to do. */
static long spawn_clone(int flags, int *pidfd)
{
	long pid = syscall(SYS_clone, flags | CLONE_PIDFD | SIGCHLD, NULL, pidfd, NULL, NULL);

	return pid < 0 ? -errno : pid;
}

static bool spawn_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok;
}

/* Root inside, the caller outside: enough to make the other namespaces and then give it all up. */
static bool spawn_map_user(const struct spawn_plan *plan)
{
	return spawn_write("/proc/self/setgroups", "deny") &&
	       spawn_write("/proc/self/uid_map", plan->uid_map) &&
	       spawn_write("/proc/self/gid_map", plan->gid_map);
}

static _Noreturn void spawn_child(const struct spawn_plan *plan)
{
	sigset_t none;

	sigemptyset(&none);
	if (plan->user_ns && !spawn_map_user(plan))
		_exit(126);
	/* Both are above SPAWN_CONTROL, so that nothing is overwritten before it is copied. */
	if (dup2(plan->null, 0) < 0 || dup2(plan->control, SPAWN_CONTROL) < 0)
		_exit(126);
	if (!plan->stdio && (dup2(plan->null, 1) < 0 || dup2(plan->null, 2) < 0))
		_exit(126);
	if (syscall(SYS_close_range, SPAWN_CONTROL + 1, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		_exit(126);
	setsid();
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(plan->program, plan->argv, plan->envp);
	_exit(127);
}

/* Whether this machine lets the caller have a user namespace and map itself into it. */
static bool spawn_user_ns_works(const struct spawn_plan *plan)
{
	int pidfd = -1;
	siginfo_t info = { 0 };
	long pid = spawn_clone(CLONE_NEWUSER | CLONE_NEWPID, &pidfd);

	if (pid < 0)
		return false;
	if (pid == 0)
		_exit(spawn_map_user(plan) ? 0 : 1);
	while (waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED | __WALL) < 0 && errno == EINTR)
		;
	close(pidfd);
	return info.si_code == CLD_EXITED && info.si_status == 0;
}

/* Start it with as much as there is, and tell it what that was. */
static long spawn_best(struct spawn_plan *plan, bool pid_ns, int *pidfd)
{
	static _Atomic int user_ns; /* 0: not tried, 1: works, -1: does not */
	long pid;
	int works;

	if (!pid_ns) {
		snprintf(plan->pid_ns, sizeof(plan->pid_ns), "--pid-ns=switched off");
		pid = spawn_clone(0, pidfd);
		if (pid == 0)
			spawn_child(plan);
		return pid;
	}
	snprintf(plan->pid_ns, sizeof(plan->pid_ns), "--pid-ns=own");
	pid = spawn_clone(CLONE_NEWPID, pidfd);
	if (pid == 0)
		spawn_child(plan);
	if (pid != -EPERM)
		return pid;
	works = user_ns;
	if (!works)
		user_ns = works = spawn_user_ns_works(plan) ? 1 : -1;
	if (works > 0) {
		snprintf(plan->pid_ns, sizeof(plan->pid_ns), "--pid-ns=own-user");
		plan->user_ns = true;
		pid = spawn_clone(CLONE_NEWUSER | CLONE_NEWPID, pidfd);
		if (pid == 0)
			spawn_child(plan);
		if (pid > 0)
			return pid;
	}
	snprintf(plan->pid_ns, sizeof(plan->pid_ns),
		 "--pid-ns=needs root, and this machine gives no user namespaces");
	plan->user_ns = false;
	pid = spawn_clone(0, pidfd);
	if (pid == 0)
		spawn_child(plan);
	return pid;
}

static void spawn_environment(struct spawn_plan *plan)
{
	static const char *const kept[] = { "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "TSAN_OPTIONS=",
					    "AURIGA_LOG=", "LLVM_PROFILE_FILE=" };
	unsigned int used = 0;

	for (char **e = environ; *e; e++)
		for (unsigned int i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
			if (!strncmp(*e, kept[i], strlen(kept[i])) && used < 7)
				plan->envp[used++] = *e;
}

pid_t au_host_spawn(const struct au_host_spawn *spawn, int *pidfd, char *error, size_t error_size)
{
	struct spawn_plan plan = { .program = spawn->program, .stdio = spawn->stdio };
	long pid;

	if (access(spawn->program, X_OK) < 0) {
		pid = -errno;
		snprintf(error, error_size, "cannot run %s: %s", spawn->program, strerror(errno));
		return (pid_t)pid;
	}
	plan.argv[0] = (char *)(uintptr_t) "auriga-host";
	plan.argv[1] = plan.pid_ns;
	plan.argv[2] = (char *)(uintptr_t)spawn->name;
	spawn_environment(&plan);
	snprintf(plan.uid_map, sizeof(plan.uid_map), "0 %u 1", (unsigned int)geteuid());
	snprintf(plan.gid_map, sizeof(plan.gid_map), "0 %u 1", (unsigned int)getegid());

	*pidfd = -1;
	plan.control = fcntl(spawn->control, F_DUPFD_CLOEXEC, SPAWN_CONTROL + 1);
	plan.null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (plan.null >= 0 && plan.null <= SPAWN_CONTROL) {
		int low = plan.null;

		plan.null = fcntl(low, F_DUPFD_CLOEXEC, SPAWN_CONTROL + 1);
		close(low);
	}
	if (plan.control < 0 || plan.null < 0)
		pid = -errno;
	else
		pid = spawn_best(&plan, !(spawn->without & (1u << AU_LAYER_PID_NS)), pidfd);
	if (plan.control >= 0)
		close(plan.control);
	if (plan.null >= 0)
		close(plan.null);
	if (pid < 0)
		snprintf(error, error_size, "cannot start %s for %s: %s", spawn->program,
			 spawn->name, strerror((int)-pid));
	return (pid_t)pid;
}

int au_host_death_signal(int status, const struct au_recorder *rec)
{
	int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;

	if (signal == SIGILL && rec && rec->status->crashed &&
	    au_host_death_fault(rec->crash->signal))
		return rec->crash->signal;
	return signal;
}

bool au_host_death_fault(int signal)
{
	switch (signal) {
	case SIGSEGV:
	case SIGBUS:
	case SIGILL:
	case SIGFPE:
	case SIGABRT:
	case SIGSYS:
	case SIGTRAP:
		return true;
	default:
		return false;
	}
}
