/* SPDX-License-Identifier: MIT */
/* aurigad: options, the runtime directory, up, serve, down. */
#include "base/cleanup.h"
#include "manager/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define MAIN_STOP_MS 8000

static const char usage[] =
	"usage: aurigad [--runtime-dir DIR] [--config DIR] [--foreground] [--log-level LEVEL]\n"
	"               [--uid-range FIRST-LAST] [--idle SECONDS] [--no-standby] [--host PROGRAM]\n"
	"               [--store DIR] [--signatures POLICY] [--version]\n"
	"\n"
	"Runs device drivers in processes of their own, watches them and starts them again.\n"
	"  --runtime-dir DIR      sockets and state (default $AURIGA_RUNTIME_DIR, then "
	"/run/auriga)\n"
	"  --config DIR           devices are in DIR/devices.d/*.conf (default /etc/auriga)\n"
	"  --foreground           stay, and log to standard error\n"
	"  --log-level LEVEL      error, warn, info or debug\n"
	"  --uid-range FIRST-LAST users for hosts, as root only\n"
	"  --idle SECONDS         unload what nobody has open for so long (default 10; 0: never)\n"
	"  --store DIR            where installed drivers are (default "
	"/var/lib/auriga/drivers)\n"
	"  --signatures POLICY    of drivers: require, warn or off (default off)\n"
	"  --no-standby           keep no host ready for the next start\n"
	"  --host PROGRAM         instead of the auriga-host beside this program\n"
	"aurigad(8) says all.\n";

/* What was wrong has been said, or can be seen. */
static int main_usage(void)
{
	fprintf(stderr, "%.*s", (int)(strstr(usage, "\n\n") + 1 - usage), usage);
	return 2;
}

static int main_error(const char *text)
{
	fprintf(stderr, "aurigad: %s\n", text);
	return 1;
}

static int main_level(const char *text)
{
	static const char *const levels[] = { "error", "warn", "info", "debug" };

	for (int i = 0; i < 4; i++)
		if (!strcmp(text, levels[i]))
			return i;
	return -1;
}

/* auriga-host stands beside this program, in a build tree as in an installation. */
static int main_host_program(char *path, size_t size)
{
	char self[AU_PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n <= 0)
		return -errno;
	self[n] = 0;
	slash = strrchr(self, '/');
	if (!slash)
		return -ENOENT;
	*slash = 0;
	return snprintf(path, size, "%s/auriga-host", self) < (int)size ? 0 : -ENAMETOOLONG;
}

static int main_uid_range(struct mgr *mgr, const char *text)
{
	unsigned long first, last;
	int end = 0;

	if (sscanf(text, "%10lu-%10lu%n", &first, &last, &end) != 2 || text[end] || first < 1 ||
	    last < first || last >= 0xffffffffu || last - first >= 1000000)
		return -EINVAL;
	mgr->uid_first = (uid_t)first;
	mgr->uid_count = (unsigned int)(last - first + 1);
	return 0;
}

/*
 * Hosts of different managers must not be the same to the kernel: what one may do to its uid, such
 * as using up its processes, it could do to the other.
 */
static void main_uid_default(struct mgr *mgr)
{
	mgr->uid_count = MGR_UID_COUNT;
	mgr->uid_first = MGR_UID_FIRST;
	if (strcmp(mgr->dir, "/run/auriga"))
		mgr->uid_first += (1 + mgr_hash(mgr->dir) % MGR_UID_RANGES) * MGR_UID_COUNT;
}

struct main_options {
	const char *runtime_dir;
	const char *store; /* NULL: what the configuration says */
	bool signatures;   /* the same */
	bool foreground;
};

/* Return: 0 to go on; 1 + an exit status to end. */
static int main_options(struct mgr *mgr, struct main_options *o, int argc, char **argv)
{
	static const struct option options[] = {
		{ "runtime-dir", required_argument, NULL, 'r' },
		{ "config", required_argument, NULL, 'c' },
		{ "foreground", no_argument, NULL, 'f' },
		{ "log-level", required_argument, NULL, 'l' },
		{ "uid-range", required_argument, NULL, 'u' },
		{ "idle", required_argument, NULL, 'i' },
		{ "host", required_argument, NULL, 'H' },
		{ "no-standby", no_argument, NULL, 'S' },
		{ "store", required_argument, NULL, 'd' },
		{ "signatures", required_argument, NULL, 'k' },
		{ "host-stdio", no_argument, NULL, 's' },
		{ "version", no_argument, NULL, 'v' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		int level;

		switch (opt) {
		case 'r':
			o->runtime_dir = optarg;
			break;
		case 'c':
			if (snprintf(mgr->config_dir, sizeof(mgr->config_dir), "%s", optarg) >=
			    (int)sizeof(mgr->config_dir))
				return 1 + main_error("--config: the path is too long");
			break;
		case 'f':
			o->foreground = true;
			break;
		case 'l':
			level = main_level(optarg);
			if (level < 0)
				return 1 +
				       main_error("--log-level: use error, warn, info or debug");
			au_log_set_level((enum au_log_level)level);
			break;
		case 'u':
			if (main_uid_range(mgr, optarg))
				return 1 + main_error("--uid-range: use FIRST-LAST, two numbers "
						      "above 0, not more than a million apart");
			break;
		case 'i':
			if (mgr_spec_idle(optarg, &mgr->idle_ms))
				return 1 +
				       main_error("--idle: use seconds from 0 (never) to 86400");
			break;
		case 'H':
			if (snprintf(mgr->host_program, sizeof(mgr->host_program), "%s", optarg) >=
			    (int)sizeof(mgr->host_program))
				return 1 + main_error("--host: the path is too long");
			break;
		case 'S':
			mgr->want_standby = false;
			break;
		case 'd':
			o->store = optarg;
			break;
		case 'k':
			if (mgr_signatures_parse(optarg, &mgr->drivers.trust.policy))
				return 1 + main_error("--signatures: use require, warn or off");
			o->signatures = true;
			break;
		case 's':
			mgr->host_stdio = true;
			break;
		case 'v':
			printf("aurigad " AURIGA_VERSION "\n");
			return 1;
		case 'h':
			fputs(usage, stdout);
			return 1;
		default:
			return 1 + main_usage();
		}
	}
	if (optind < argc)
		return 1 + main_usage();
	return 0;
}

static int main_mkdir(const struct mgr *mgr, const char *name, mode_t mode, char *error,
		      size_t size)
{
	char path[AU_PATH_MAX];
	struct stat st;
	int err = au_runtime_path(mgr->dir, name, path, error, size);

	if (err)
		return err;
	if ((mkdir(path, mode) && errno != EEXIST) || lstat(path, &st)) {
		err = -errno;
		snprintf(error, size, "%s: %s", path, strerror(-err));
		return err;
	}
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022)) {
		snprintf(error, size, "%s: not a directory of ours alone: remove it", path);
		return -EPERM;
	}
	return chmod(path, mode) ? -errno : 0;
}

/* One manager a directory. The lock goes with the process, however it ends. */
static int main_lock(struct mgr *mgr, char *error, size_t size)
{
	char path[AU_PATH_MAX];
	int err = au_runtime_path(mgr->dir, "aurigad.lock", path, error, size);

	if (err)
		return err;
	mgr->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (mgr->lock_fd < 0) {
		snprintf(error, size, "%s: %s", path, strerror(errno));
		return -errno;
	}
	if (flock(mgr->lock_fd, LOCK_EX | LOCK_NB)) {
		snprintf(error, size, "%s is served by another aurigad already", mgr->dir);
		return -EBUSY;
	}
	return 0;
}

/* What the command line says comes before what the file says. */
static int main_config(struct mgr *mgr, const struct main_options *o, char *error, size_t size)
{
	struct mgr_settings settings = { .signatures = MGR_SIGNATURES_OFF };
	struct mgr_drivers *drivers = &mgr->drivers;
	const char *store;
	int err = mgr_config_settings(mgr->config_dir, &settings, error, size);

	if (err)
		return err;
	store = o->store ? o->store : settings.store;
	if (store[0] != '/' || strlen(store) >= sizeof(drivers->store)) {
		snprintf(error, size, "store '%.100s': use a whole path", store);
		return -EINVAL;
	}
	memcpy(drivers->store, store, strlen(store) + 1);
	if (!o->signatures)
		drivers->trust.policy = settings.signatures;
	if (snprintf(drivers->trust.keys_dir, sizeof(drivers->trust.keys_dir), "%s/keys.d",
		     mgr->config_dir) >= (int)sizeof(drivers->trust.keys_dir)) {
		snprintf(error, size, "--config: the path is too long");
		return -ENAMETOOLONG;
	}
	return 0;
}

static int main_prepare(struct mgr *mgr, const struct main_options *o, char *error, size_t size)
{
	static const struct {
		const char *name;
		mode_t mode;
	} dirs[] = { { "dev", 0755 }, { "hosts", 0700 }, { "state", 0700 }, { "claims", 0755 } };
	struct rlimit files;
	char path[AU_PATH_MAX];
	int err = main_config(mgr, o, error, size);

	if (!err)
		err = au_runtime_dir(o->runtime_dir, true, mgr->dir, error, size);
	if (!err)
		err = au_runtime_path(mgr->dir, "control.sock", path, error, size);
	if (!err)
		err = au_socket_path_check(path, error, size);
	if (!err)
		err = main_lock(mgr, error, size);
	if (!mgr->uid_first)
		main_uid_default(mgr);
	for (unsigned int i = 0; !err && i < sizeof(dirs) / sizeof(dirs[0]); i++)
		err = main_mkdir(mgr, dirs[i].name, dirs[i].mode, error, size);
	if (!getrlimit(RLIMIT_NOFILE, &files)) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	return err;
}

/* ------------------------------------------------------------------- going down */

static void main_stopped(struct au_loop_timer *timer)
{
	struct mgr *mgr = timer->context;

	au_loop_stop(mgr->loop);
}

static void main_signal(struct au_watch *watch, uint32_t events)
{
	struct mgr *mgr = watch->context;
	struct signalfd_siginfo info;

	if (read(mgr->signal_fd, &info, sizeof(info)) != sizeof(info) || mgr->stopping)
		return;
	mgr->stopping = true;
	mgr_notify("STOPPING=1");
	au_loop_timer_set(mgr->loop, &mgr->stop_timer, MAIN_STOP_MS);
	mgr_standby_check(mgr);
	mgr_going_down(mgr);
	au_list_for_each_safe (node, &mgr->devices) {
		mgr_device_detach(AU_CONTAINER(node, struct mgr_device, node),
				  "the manager is going down");
	}
}

/* Whoever did not go in time. */
static void main_kill(struct mgr *mgr)
{
	au_list_for_each (node, &mgr->devices) {
		struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);

		if (dev->host)
			mgr_host_kill(dev->host, MGR_VERDICT_NONE, "%s", "");
	}
}

static int main_signals(struct mgr *mgr)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	mgr->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (mgr->signal_fd < 0)
		return -errno;
	mgr->signals.ready = main_signal;
	mgr->signals.context = mgr;
	mgr->stop_timer.expired = main_stopped;
	mgr->stop_timer.context = mgr;
	return au_watch_add(mgr->loop, &mgr->signals, mgr->signal_fd, EPOLLIN);
}

/* -------------------------------------------------------------------- coming up */

static void main_configured(struct mgr_spec *spec, void *arg)
{
	struct mgr *mgr = arg;
	char error[AU_PATH_MAX + MGR_TEXT];
	struct mgr_device *dev = mgr_device_find(mgr, spec->name);
	uint32_t generation = 0, restarts = 0, removals = 0;

	/* Taken over from the manager before us; but two files may also want one name. */
	if (dev && dev->from_config && !dev->spec.source[0]) {
		bool same = mgr_spec_same(&dev->spec, spec);

		memcpy(dev->spec.source, spec->source, sizeof(dev->spec.source));
		if (!same && dev->host)
			au_logf(AU_LOG_WARN,
				"%s: has changed, but %s runs: this counts when aurigad was "
				"stopped in order",
				spec->source, spec->name);
		if (same || dev->host)
			return;
		generation = dev->generation;
		restarts = dev->restarts;
		removals = dev->removals;
		mgr_device_free(dev);
	}
	if (mgr_device_create(mgr, spec, !mgr->as_root, &dev, error, sizeof(error))) {
		au_logf(AU_LOG_ERROR, "%s: %s: this device is left out", spec->source, error);
		return;
	}
	dev->from_config = true;
	/* Clients of the one before must not take this for what they know. */
	dev->generation = generation;
	dev->restarts = restarts;
	dev->removals = removals;
	/* Only the driver knows its units. */
	mgr_device_want(dev);
}

/* Devices whose files have gone since. One that runs goes on until the manager is stopped. */
static void main_unconfigured(struct mgr *mgr)
{
	au_list_for_each_safe (node, &mgr->devices) {
		struct mgr_device *dev = AU_CONTAINER(node, struct mgr_device, node);

		if (!dev->from_config || dev->spec.source[0] || dev->host)
			continue;
		au_logf(AU_LOG_INFO, "%s: is not configured any more", dev->spec.name);
		mgr_state_remove(dev);
		mgr_device_free(dev);
	}
}

/* The parent leaves when the child serves, or with its error. */
static int main_background(int *pipe_fd)
{
	int fds[2];
	char status = 1;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid) {
		close(fds[1]);
		if (read(fds[0], &status, 1) != 1)
			status = 1;
		_exit(status);
	}
	close(fds[0]);
	setsid();
	*pipe_fd = fds[1];
	return 0;
}

static void main_syslog(void *context, enum au_log_level level, const char *line)
{
	static const int priorities[] = { LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

	syslog(priorities[level], "%s", line);
}

static void main_detached(int pipe_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	openlog("aurigad", LOG_PID, LOG_DAEMON);
	au_log_set_sink(main_syslog, NULL);
	for (int fd = 0; null >= 0 && fd < 3; fd++)
		dup2(null, fd);
	if (null > 2)
		close(null);
	if (write(pipe_fd, "", 1) != 1)
		au_logf(AU_LOG_WARN, "whoever started this manager has gone");
	close(pipe_fd);
}

static int main_run(struct mgr *mgr, const struct main_options *o)
{
	char error[AU_PATH_MAX + MGR_TEXT] = "";
	int err, pipe_fd = -1;

	if (!o->foreground && main_background(&pipe_fd))
		return main_error("cannot start in the background");
	err = main_prepare(mgr, o, error, sizeof(error));
	if (err)
		return main_error(error[0] ? error : strerror(-err));
	mgr->loop = au_loop_create();
	err = mgr->loop ? main_signals(mgr) : -errno;
	if (!err)
		err = mgr_closer_start();
	if (err)
		return main_error(strerror(-err));
	mgr_standby_check(mgr); /* sets up its timer; there are no devices yet */
	mgr_pnp_start(mgr);
	mgr_power_load(mgr);
	mgr_adopt_all(mgr);
	mgr_host_sweep(mgr);
	mgr_config_each(mgr->config_dir, mgr->idle_ms, main_configured, mgr);
	main_unconfigured(mgr);
	err = mgr_http_start(mgr, error, sizeof(error));
	if (err)
		return main_error(error);
	if (pipe_fd >= 0)
		main_detached(pipe_fd);
	mgr_notify("READY=1");
	au_logf(AU_LOG_INFO, "serving %s", mgr->dir);
	err = au_loop_run(mgr->loop);
	main_kill(mgr);
	mgr_host_sweep(mgr);
	mgr_http_stop(mgr);
	return err ? main_error(strerror(-err)) : 0;
}

int main(int argc, char **argv)
{
	static struct mgr mgr;
	struct main_options o = { 0 };
	int end;

	au_log_set_name("aurigad");
	au_msg_set_close(mgr_close_received);
	if (!getenv("AURIGA_LOG"))
		au_log_set_level(AU_LOG_INFO);
	mgr.as_root = geteuid() == 0;
	mgr.idle_ms = 10000;
	mgr.want_standby = true;
	mgr.lock_fd = mgr.signal_fd = -1;
	snprintf(mgr.config_dir, sizeof(mgr.config_dir), "%s", "/etc/auriga");
	au_list_init(&mgr.devices);
	au_list_init(&mgr.dying);
	au_list_init(&mgr.power_calls);
	if (main_host_program(mgr.host_program, sizeof(mgr.host_program)))
		return main_error("cannot find where this program is: is /proc mounted?");
	end = main_options(&mgr, &o, argc, argv);
	return end ? end - 1 : main_run(&mgr, &o);
}
