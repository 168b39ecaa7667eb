/* SPDX-License-Identifier: MIT */
/*
 * A driver that tries to get out, by one of the ways below: from its ELF constructor, before the
 * second door, when its file was given the name of one (see escape_config), and from a request.
 */
#include "one_unit.h"

#include <auriga/driver.h>
#include <auriga/raw.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

AU_DRIVER_NOTE(AU_NAME("t-escape") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("tries to get out, for tests") AU_MATCH_VIRTUAL);

enum escape_op {
	ESCAPE_TRY = AU_RAW_FIRST, /* data: "NAME ARGUMENT" */
	ESCAPE_CONSTRUCTOR,	   /* what became of the constructor's attempt */
	ESCAPE_DESCRIPTORS,	   /* data: the numbers of those that are open */
	ESCAPE_NAMES,		   /* data: the names of all attempts */
};

/* Whoever makes a copy of the file puts an attempt here. */
struct escape_config {
	char magic[16];
	char attempt[112];
};
__attribute__((used)) static const volatile struct escape_config escape_config = { "ESCAPE-CONFIG:",
										   "" };

/* Each: not negative when it got out, or -1 and errno. */

static long try_open_passwd(const char *arg)
{
	(void)arg;
	return open("/etc/passwd", O_RDONLY);
}

static long try_open_file(const char *arg)
{
	return open(arg, O_RDONLY);
}

static long try_open_proc(const char *arg)
{
	(void)arg;
	return open("/proc", O_RDONLY | O_DIRECTORY);
}

static long try_open_maps(const char *arg)
{
	(void)arg;
	return open("/proc/self/maps", O_RDONLY);
}

static long try_openat2(const char *arg)
{
	const uint64_t how[3] = { O_RDONLY, 0, 0 };

	(void)arg;
	return syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", how, sizeof(how));
}

static long try_create(const char *arg)
{
	(void)arg;
	return open("/escaped", O_CREAT | O_WRONLY, 0600);
}

static long try_create_here(const char *arg)
{
	(void)arg;
	return open("escaped", O_CREAT | O_WRONLY, 0600);
}

static long try_unlink_here(const char *arg)
{
	(void)arg;
	return unlink("./t-escape.so");
}

static long try_socket_inet(const char *arg)
{
	(void)arg;
	return socket(AF_INET, SOCK_STREAM, 0);
}

static long try_socket_unix(const char *arg)
{
	(void)arg;
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

static long try_socket_netlink(const char *arg)
{
	(void)arg;
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

static long try_socketpair(const char *arg)
{
	int fds[2];

	(void)arg;
	return socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
}

static long escape_connect_unix(const char *name, size_t skip)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (fd < 0)
		return fd;
	snprintf(addr.sun_path + skip, sizeof(addr.sun_path) - skip, "%s", name);
	return connect(
		fd, (struct sockaddr *)&addr,
		(socklen_t)(offsetof(struct sockaddr_un, sun_path) + skip + strlen(name) + !skip));
}

static long try_connect_unix(const char *arg)
{
	return escape_connect_unix(arg, 0);
}

static long try_connect_abstract(const char *arg)
{
	return escape_connect_unix(arg, 1);
}

static long try_connect_tcp(const char *arg)
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)strtoul(arg, NULL, 10)),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd < 0 ? fd : connect(fd, (struct sockaddr *)&addr, sizeof(addr));
}

static pid_t escape_pid(const char *arg)
{
	return (pid_t)strtol(arg, NULL, 10);
}

static long try_kill(const char *arg)
{
	return kill(escape_pid(arg), SIGUSR1);
}

static long try_kill_all(const char *arg)
{
	(void)arg;
	return kill(-1, SIGCONT);
}

static long try_ptrace(const char *arg)
{
	return ptrace(PTRACE_SEIZE, escape_pid(arg), NULL, NULL);
}

static long try_vm_read(const char *arg)
{
	char *end;
	pid_t pid = (pid_t)strtol(arg, &end, 10);
	char byte;
	struct iovec here = { &byte, 1 };
	struct iovec there = { (void *)strtoul(end, NULL, 16), 1 };

	return process_vm_readv(pid, &here, 1, &there, 1, 0);
}

static long try_pidfd(const char *arg)
{
	return syscall(SYS_pidfd_open, escape_pid(arg), 0);
}

static long try_execve(const char *arg)
{
	char *argv[] = { (char *)"true", NULL };

	(void)arg;
	return execve("/bin/true", argv, NULL);
}

static long escape_wait(pid_t pid)
{
	int status = 0;

	if (pid < 0)
		return pid;
	waitpid(pid, &status, 0);
	return WEXITSTATUS(status);
}

static long try_fork(const char *arg)
{
	pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	(void)arg;
	if (pid == 0)
		_exit(0);
	return escape_wait(pid);
}

static long try_clone3(const char *arg)
{
	uint64_t args[11] = { 0, 0, 0, 0, SIGCHLD };
	pid_t pid = (pid_t)syscall(SYS_clone3, args, sizeof(args));

	(void)arg;
	if (pid == 0)
		_exit(0);
	return escape_wait(pid);
}

static void *escape_thread(void *arg)
{
	usleep(300000);
	return arg;
}

static long try_thread(const char *arg)
{
	pthread_t thread;

	(void)arg;
	errno = pthread_create(&thread, NULL, escape_thread, NULL);
	return errno ? -1 : 0;
}

/* A set-uid program that returns 77 when it is root. */
static long try_suid(const char *arg)
{
	char *argv[] = { (char *)"who", NULL };
	pid_t pid = fork();

	if (pid == 0) {
		execv(arg, argv);
		_exit(0);
	}
	errno = EPERM;
	return escape_wait(pid) == 77 ? 0 : -1;
}

static long try_mount(const char *arg)
{
	(void)arg;
	return syscall(SYS_fsopen, "tmpfs", 0);
}

static long try_umount(const char *arg)
{
	(void)arg;
	return syscall(SYS_umount2, "/", 2);
}

static long try_chroot(const char *arg)
{
	(void)arg;
	return chroot("/");
}

/* Whether what lies below the root is in reach, by a path from the machine's own root. */
static bool root_left(const char *arg)
{
	char path[128];

	for (unsigned int up = 0; up < 4; up++) {
		snprintf(path, sizeof(path), "%.*s%s", (int)(3 * up), "../../../", arg);
		if (access(path, F_OK) == 0)
			return true;
		snprintf(path, sizeof(path), "/%.*s%s", (int)(3 * up), "../../../", arg);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

/* Out of the root, by all that a process may do, also with a user namespace of its own. */
static long try_leave_root(const char *arg)
{
	int status = -1;
	pid_t pid;

	chdir("..");
	umount2("/", MNT_DETACH);
	umount2(".", MNT_DETACH);
	chroot("..");
	if (root_left(arg))
		return 0;
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (pid == 0) {
		unshare(CLONE_NEWUSER | CLONE_NEWNS);
		umount2("/", MNT_DETACH);
		chdir("/");
		mkdir("x", 0755);
		chroot("x");
		_exit(root_left(arg) ? 0 : 1);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	errno = EPERM;
	return status == 0 ? 0 : -1;
}

static long try_pivot_root(const char *arg)
{
	(void)arg;
	return syscall(SYS_pivot_root, ".", ".");
}

static long try_setuid_root(const char *arg)
{
	(void)arg;
	return syscall(SYS_setresuid, 0, 0, 0);
}

static long try_setuid_other(const char *arg)
{
	(void)arg;
	return syscall(SYS_setresuid, 12345, 12345, 12345);
}

static long try_setgroups(const char *arg)
{
	const gid_t groups[1] = { 0 };

	(void)arg;
	return syscall(SYS_setgroups, 1, groups);
}

static long try_unshare(const char *arg)
{
	(void)arg;
	return syscall(SYS_unshare, CLONE_NEWUTS);
}

static long try_bpf(const char *arg)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1
	};

	(void)arg;
	return syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr));
}

static long try_userfaultfd(const char *arg)
{
	(void)arg;
	return syscall(SYS_userfaultfd, 1 /* USER_MODE_ONLY */);
}

static long try_memfd(const char *arg)
{
	(void)arg;
	return syscall(SYS_memfd_create, "x", 0);
}

static long escape_map(int prot)
{
	return mmap(NULL, 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0;
}

static long try_map_wx(const char *arg)
{
	(void)arg;
	return escape_map(PROT_READ | PROT_WRITE | PROT_EXEC);
}

static long try_map_exec(const char *arg)
{
	(void)arg;
	return escape_map(PROT_READ | PROT_EXEC);
}

static long try_protect_exec(const char *arg)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	return mprotect(page, 4096, PROT_READ | PROT_EXEC);
}

static long try_pkey_protect(const char *arg)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	return syscall(SYS_pkey_mprotect, page, 4096, PROT_READ | PROT_EXEC, -1);
}

static long try_io_uring(const char *arg)
{
	struct io_uring_params params = { 0 };

	(void)arg;
	return syscall(SYS_io_uring_setup, 2, &params);
}

static long try_keyctl(const char *arg)
{
	(void)arg;
	return syscall(SYS_add_key, "user", "x", "y", 1, -3 /* the process' keyring */);
}

static long try_perf(const char *arg)
{
	uint32_t attr[32] = { 1 /* software */, sizeof(attr) };

	(void)arg;
	return syscall(SYS_perf_event_open, attr, 0, -1, -1, 0);
}

static long try_hostname(const char *arg)
{
	return sethostname(arg, strlen(arg));
}

static long try_shm(const char *arg)
{
	return shmget((key_t)strtol(arg, NULL, 0), 1, 0);
}

static long try_shm_create(const char *arg)
{
	(void)arg;
	return shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
}

static long try_by_handle(const char *arg)
{
	char handle[64] = { 8, 0, 0, 0, 1, 0, 0, 0 };

	(void)arg;
	errno = 0;
	syscall(SYS_open_by_handle_at, AT_FDCWD, handle, O_RDONLY);
	return errno == EPERM || errno == EBADF ? -1 : 0;
}

static long try_dumpable(const char *arg)
{
	(void)arg;
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long try_personality(const char *arg)
{
	(void)arg;
	return syscall(SYS_personality, 0x0040000 /* no randomisation */);
}

static long try_module(const char *arg)
{
	(void)arg;
	return syscall(SYS_init_module, "", 0, "");
}

static long try_iopl(const char *arg)
{
	(void)arg;
#ifdef SYS_iopl
	return syscall(SYS_iopl, 3);
#else
	errno = ENOSYS;
	return -1;
#endif
}

static long try_rlimit(const char *arg)
{
	const struct rlimit more = { 1 << 20, 1 << 20 };

	(void)arg;
	return setrlimit(RLIMIT_CORE, &more);
}

static void escape_ignore(int sig)
{
	(void)sig;
}

static long try_sigsys(const char *arg)
{
	struct sigaction action = { .sa_handler = escape_ignore };

	(void)arg;
	return syscall(SYS_rt_sigaction, SIGSYS, &action, NULL, 8);
}

static long try_ioctl(const char *arg)
{
	(void)arg;
	return ioctl(0, TIOCSTI, "x");
}

static long try_mlock(const char *arg)
{
	void *page = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)arg;
	return mlock(page, 1 << 20);
}

static long try_big_map(const char *arg)
{
	(void)arg;
	return mmap(NULL, 1ul << 42, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		    0) == MAP_FAILED
		       ? -1
		       : 0;
}

/* The status page and the like cannot grow, so it takes a file of one's own. */
static long try_big_file(const char *arg)
{
	int fd = (int)syscall(SYS_memfd_create, "x", 0);

	(void)arg;
	return fd < 0 ? fd : write(fd, "x", 1);
}

static long try_priority(const char *arg)
{
	const struct sched_param param = { .sched_priority = 1 };

	(void)arg;
	return sched_setscheduler(0, SCHED_FIFO, &param);
}

static long try_inotify(const char *arg)
{
	(void)arg;
	return syscall(SYS_inotify_init1, 0);
}

static long try_listen(const char *arg)
{
	/* The ways that are open are not for new sockets. */
	(void)arg;
	return syscall(SYS_bind, 3, "", 0);
}

/* As many as possible, none reaped: how far a limit lets it get. */
static long try_fork_many(const char *arg)
{
	long limit = strtol(arg, NULL, 10);

	for (long i = 0; i < limit; i++) {
		pid_t pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

		if (pid == 0) {
			pause();
			_exit(0);
		}
		if (pid < 0)
			return -1;
	}
	return 0;
}

/* Not a way out: time to look at the process from outside. */
static long try_wait(const char *arg)
{
	usleep((useconds_t)strtoul(arg, NULL, 10) * 1000);
	errno = EAGAIN;
	return -1;
}

static const struct {
	const char *name;
	long (*fn)(const char *arg);
} escapes[] = {
#define WAY(name)                 \
	{                         \
#name, try_##name \
	}
	WAY(open_passwd),
	WAY(open_file),
	WAY(open_proc),
	WAY(open_maps),
	WAY(openat2),
	WAY(create),
	WAY(create_here),
	WAY(unlink_here),
	WAY(socket_inet),
	WAY(socket_unix),
	WAY(socket_netlink),
	WAY(socketpair),
	WAY(connect_unix),
	WAY(connect_tcp),
	WAY(kill),
	WAY(kill_all),
	WAY(connect_abstract),
	WAY(ptrace),
	WAY(vm_read),
	WAY(pidfd),
	WAY(execve),
	WAY(fork),
	WAY(clone3),
	WAY(thread),
	WAY(suid),
	WAY(mount),
	WAY(umount),
	WAY(chroot),
	WAY(leave_root),
	WAY(pivot_root),
	WAY(setuid_root),
	WAY(setuid_other),
	WAY(setgroups),
	WAY(unshare),
	WAY(bpf),
	WAY(userfaultfd),
	WAY(memfd),
	WAY(map_wx),
	WAY(map_exec),
	WAY(protect_exec),
	WAY(pkey_protect),
	WAY(io_uring),
	WAY(keyctl),
	WAY(perf),
	WAY(hostname),
	WAY(shm),
	WAY(shm_create),
	WAY(by_handle),
	WAY(dumpable),
	WAY(personality),
	WAY(module),
	WAY(iopl),
	WAY(rlimit),
	WAY(sigsys),
	WAY(ioctl),
	WAY(mlock),
	WAY(big_map),
	WAY(big_file),
	WAY(priority),
	WAY(inotify),
	WAY(listen),
	WAY(fork_many),
	WAY(wait),
};
#define ESCAPES (sizeof(escapes) / sizeof(escapes[0]))

/* 0 when it got out, an errno when not; ENOTSUP for a name that is none. */
static uint32_t escape(const char *text)
{
	size_t length = strcspn(text, " ");
	const char *arg = text[length] ? text + length + 1 : text + length;

	for (unsigned int i = 0; i < ESCAPES; i++) {
		if (strlen(escapes[i].name) != length || strncmp(escapes[i].name, text, length))
			continue;
		errno = 0;
		return escapes[i].fn(arg) >= 0 ? 0 : (uint32_t)(errno ? errno : EPERM);
	}
	return ENOTSUP;
}

static uint32_t escape_constructed = ENOENT;

__attribute__((constructor)) static void escape_constructor(void)
{
	char attempt[sizeof(escape_config.attempt)];

	for (size_t i = 0; i < sizeof(attempt); i++)
		attempt[i] = escape_config.attempt[i];
	attempt[sizeof(attempt) - 1] = 0;
	if (attempt[0])
		escape_constructed = escape(attempt);
}

static void escape_deliver(struct au_queue *queue, struct au_request *req)
{
	char text[256] = "";
	size_t used = 0;
	char *data = req->data;

	(void)queue;
	switch (req->op) {
	case ESCAPE_TRY:
		memcpy(text, data, req->length < 255 ? req->length : 255);
		au_request_complete(req, 0, escape(text));
		return;
	case ESCAPE_CONSTRUCTOR:
		au_request_complete(req, 0, escape_constructed);
		return;
	case ESCAPE_DESCRIPTORS:
		for (int fd = 0; fd < 1024; fd++)
			if (fcntl(fd, F_GETFD) >= 0 && used + 8 < req->length)
				used += (size_t)sprintf(data + used, "%d ", fd);
		au_request_complete(req, 0, (uint32_t)used);
		return;
	case ESCAPE_NAMES:
		for (unsigned int i = 0; i < ESCAPES && used + 24 < req->length; i++)
			used += (size_t)sprintf(data + used, "%s ", escapes[i].name);
		au_request_complete(req, 0, (uint32_t)used);
		return;
	default:
		au_request_complete(req, -AU_ENOTSUP, 0);
	}
}

static int escape_prepare(struct au_device *dev)
{
	return one_unit(dev, AU_QUEUE_SEQUENTIAL, escape_deliver);
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = escape_prepare,
};
