/* SPDX-License-Identifier: MIT */
/*
 * A disk over NBD: nbdkit with our plugin, started, watched and ended. The socket is made here and
 * handed over, so that what is left of an earlier run is cleaned up and nothing stays behind.
 */
#include "export/export.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define NBD_LISTEN_FD 3 /* where nbdkit looks for a socket that it is given */
#define NBD_READY_MS  20000
#define NBD_LEAVE_MS  1000
#define NBD_GREETING  18
#define NBD_PLUGIN    "nbdkit-auriga-plugin.so"

struct nbd {
	const char *target;
	const char *path;
	const char *port;
	const char *address;
	bool read_only;
	char plugin[4096];
	int listener;
	int signals;
	pid_t child;
	bool bound;
};

static int nbd_say(int rc, const char *what, const char *why)
{
	fprintf(stderr, "auriga export nbd: %s: %s\n", what, why);
	return rc;
}

/* --------------------------------------------------------------------- the socket */

/* Nobody listens at @address any more: what is there is left over. */
static bool nbd_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;
	bool stale = fd >= 0 && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
		     connect(fd, (const struct sockaddr *)address, sizeof(*address)) != 0 &&
		     errno == ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return stale;
}

static int nbd_listen_path(struct nbd *n)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct sockaddr *sa = (const struct sockaddr *)&address;
	int rc;

	if (strlen(n->path) >= sizeof(address.sun_path))
		return nbd_say(-ENAMETOOLONG, n->path, "too long for a socket: at most 107 bytes");
	memcpy(address.sun_path, n->path, strlen(n->path));
	n->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (n->listener < 0)
		return nbd_say(-errno, n->path, strerror(errno));
	rc = bind(n->listener, sa, sizeof(address));
	if (rc != 0 && errno == EADDRINUSE && nbd_stale(&address) && unlink(n->path) == 0)
		rc = bind(n->listener, sa, sizeof(address));
	if (rc != 0)
		return nbd_say(-errno, n->path,
			       errno == EADDRINUSE
				       ? "it exists and is in use: choose another --socket"
				       : strerror(errno));
	n->bound = true;
	return listen(n->listener, 16) ? nbd_say(-errno, n->path, strerror(errno)) : 0;
}

static int nbd_listen_port(struct nbd *n)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
					.ai_flags = AI_PASSIVE | AI_NUMERICSERV };
	struct addrinfo *list;
	int err = getaddrinfo(n->address, n->port, &hints, &list);

	if (err)
		return nbd_say(-EINVAL, n->address, gai_strerror(err));
	n->listener = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (n->listener < 0 ||
	    setsockopt(n->listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)) != 0 ||
	    bind(n->listener, list->ai_addr, list->ai_addrlen) != 0 || listen(n->listener, 16) != 0)
		err = nbd_say(-errno, n->port, strerror(errno));
	freeaddrinfo(list);
	return err;
}

/* Whether nbdkit speaks: its greeting, and in order out again. 0: not yet. */
static int nbd_greets(const struct nbd *n)
{
	/* Client flags 1 (fixed newstyle), then "IHAVEOPT", option 2 (abort), without data. */
	static const char leave[] = "\0\0\0\1IHAVEOPT\0\0\0\2\0\0\0";
	struct sockaddr_storage address = { 0 };
	socklen_t length = sizeof(address);
	struct timeval patience = { .tv_sec = 1 };
	char greeting[NBD_GREETING];
	int fd, ok = 0;

	if (getsockname(n->listener, (struct sockaddr *)&address, &length) != 0)
		return -errno;
	fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&address, length) == 0 &&
	    recv(fd, greeting, sizeof(greeting), MSG_WAITALL) == sizeof(greeting) &&
	    memcmp(greeting, "NBDMAGIC", 8) == 0) {
		ok = 1;
		if (send(fd, leave, sizeof(leave), MSG_NOSIGNAL) == sizeof(leave))
			while (recv(fd, greeting, sizeof(greeting), 0) > 0)
				;
	}
	close(fd);
	return ok;
}

/* ------------------------------------------------------------------------- nbdkit */

/* The plugin lies beside this program in a build, and where libraries are when installed. */
static int nbd_find_plugin(struct nbd *n)
{
	static const char *const places[] = { "", AU_NBD_PLUGIN_DIR "/" };
	char self[3072];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (length < 0)
		return nbd_say(-errno, "/proc/self/exe", strerror(errno));
	self[length] = 0;
	*strrchr(self, '/') = 0;
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		const char *place = places[i];

		snprintf(n->plugin, sizeof(n->plugin), "%s%s%s" NBD_PLUGIN,
			 place[0] == '/' ? "" : self, place[0] == '/' ? "" : "/", place);
		if (access(n->plugin, R_OK) == 0)
			return 0;
	}
	return nbd_say(-ENOENT, NBD_PLUGIN, "the plugin is not installed with this program");
}

static _Noreturn void nbd_exec(const struct nbd *n)
{
	const char *runtime_dir = getenv("AURIGA_RUNTIME_DIR");
	const char *argv[16];
	char unit[1024], dir[4200], pid[16];
	sigset_t none;
	int argc = 0;

	/* Whatever happens to the one who waits for it. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(n->listener, NBD_LISTEN_FD) < 0 ||
	    (n->listener == NBD_LISTEN_FD && fcntl(NBD_LISTEN_FD, F_SETFD, 0) != 0))
		_exit(126);
	snprintf(pid, sizeof(pid), "%d", getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", "1", 1);
	snprintf(unit, sizeof(unit), "unit=%s", n->target);
	argv[argc++] = "nbdkit";
	argv[argc++] = "--foreground";
	if (n->read_only)
		argv[argc++] = "--readonly";
	argv[argc++] = n->plugin;
	argv[argc++] = unit;
	if (runtime_dir) {
		snprintf(dir, sizeof(dir), "runtime-dir=%s", runtime_dir);
		argv[argc++] = dir;
	}
	argv[argc] = NULL;
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	fprintf(stderr, "auriga export nbd: cannot run nbdkit: %s%s\n", strerror(errno),
		errno == ENOENT ? ": install it (Debian: apt-get install nbdkit)" : "");
	_exit(127);
}

static int nbd_start(struct nbd *n)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	n->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (n->signals < 0)
		return nbd_say(-errno, "signalfd", strerror(errno));
	fflush(NULL);
	n->child = fork();
	if (n->child == 0)
		nbd_exec(n);
	return n->child < 0 ? nbd_say(-errno, "fork", strerror(errno)) : 0;
}

/* A signal has come: 0 it goes on, 1 nbdkit is to end, -EIO it has ended. */
static int nbd_signal(struct nbd *n, int timeout_ms)
{
	struct pollfd pfd = { .fd = n->signals, .events = POLLIN };
	struct signalfd_siginfo info;

	if (poll(&pfd, 1, timeout_ms) <= 0 || read(n->signals, &info, sizeof(info)) != sizeof(info))
		return 0;
	if (info.ssi_signo != SIGCHLD)
		return 1;
	if (waitpid(n->child, NULL, WNOHANG) != n->child)
		return 0;
	n->child = 0;
	return -EIO;
}

static int nbd_run(struct nbd *n)
{
	int rc = nbd_start(n), waited = 0;

	if (rc)
		return rc;
	/* It has said itself why it ends, if it does. */
	while ((rc = nbd_greets(n)) == 0 && waited < NBD_READY_MS) {
		rc = nbd_signal(n, 20);
		if (rc)
			return rc < 0 ? rc : 0;
		waited += 20;
	}
	if (rc <= 0)
		return nbd_say(-ETIMEDOUT, "nbdkit", "does not answer");
	if (n->path)
		printf("%s is %s\n", n->path, n->target);
	else
		printf("%s:%s is %s\n", n->address, n->port, n->target);
	fflush(stdout);
	while ((rc = nbd_signal(n, -1)) == 0)
		;
	return rc < 0 ? nbd_say(rc, "nbdkit", "has ended") : 0;
}

static void nbd_end(struct nbd *n)
{
	if (n->child > 0) {
		kill(n->child, SIGTERM);
		/* It answers what it was asked, and would wait for its clients to leave, too. */
		for (int i = 0; i < NBD_LEAVE_MS / 50 && nbd_signal(n, 50) >= 0; i++)
			;
	}
	if (n->child > 0) {
		kill(n->child, SIGKILL);
		waitpid(n->child, NULL, 0);
	}
	if (n->bound && n->path)
		unlink(n->path);
	if (n->listener >= 0)
		close(n->listener);
	if (n->signals >= 0)
		close(n->signals);
}

int export_nbd(const char *target, int argc, char **argv)
{
	static const struct option options[] = { { "socket", required_argument, NULL, 's' },
						 { "port", required_argument, NULL, 'p' },
						 { "address", required_argument, NULL, 'a' },
						 { "read-only", no_argument, NULL, 'r' },
						 { NULL, 0, NULL, 0 } };
	struct nbd n = { .target = target, .address = "127.0.0.1", .listener = -1, .signals = -1 };
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 's':
			n.path = optarg;
			break;
		case 'p':
			n.port = optarg;
			break;
		case 'a':
			n.address = optarg;
			break;
		case 'r':
			n.read_only = true;
			break;
		default:
			return -EINVAL;
		}
	}
	if (!n.path == !n.port || optind != argc) {
		fprintf(stderr,
			"usage: auriga export NAME nbd [--read-only] --socket PATH | --port PORT "
			"[--address ADDRESS]\n");
		return -EINVAL;
	}
	rc = nbd_find_plugin(&n);
	if (rc == 0)
		rc = n.path ? nbd_listen_path(&n) : nbd_listen_port(&n);
	if (rc == 0)
		rc = nbd_run(&n);
	nbd_end(&n);
	return rc == -EINVAL ? -EIO : rc; /* not one of usage */
}
