/* SPDX-License-Identifier: MIT */
#include "cli/cert.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/note.h"
#include "base/paths.h"

/* -------------------------------------------------------------------- programs */

void cert_program_path(const char *name, char *path, size_t size)
{
	ssize_t n = readlink("/proc/self/exe", path, size - strlen(name) - 1);
	char *slash;

	path[n > 0 ? n : 0] = 0;
	slash = strrchr(path, '/');
	snprintf(slash ? slash + 1 : path, size - (size_t)(slash ? slash + 1 - path : 0), "%s",
		 name);
}

int cert_program(char *const argv[], char *out, size_t size)
{
	size_t used = 0;
	int fds[2], status;
	char rest[256];
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		execv(argv[0], argv);
		dprintf(STDERR_FILENO, "cannot run %s: %s", argv[0], strerror(errno));
		_exit(127);
	}
	close(fds[1]);
	while (pid > 0 && (n = size - used > 1 ? read(fds[0], out + used, size - used - 1)
					       : read(fds[0], rest, sizeof(rest))) > 0)
		used += size - used > 1 ? (size_t)n : 0;
	close(fds[0]);
	if (size)
		out[used] = 0;
	while (size && used && out[used - 1] == '\n')
		out[--used] = 0;
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* --------------------------------------------------------------------- manager */

static void world_exec(const struct cert_run *run)
{
	char program[CERT_PATH], config[64];
	int log = open(run->log_path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	/* Whatever happens to this process, the manager does not outlive it. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	cert_program_path("aurigad", program, sizeof(program));
	snprintf(config, sizeof(config), "%s/none", run->dir);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	execl(program, program, "--foreground", "--runtime-dir", run->dir, "--config", config,
	      "--idle", "0", "--log-level", "info", (char *)NULL);
	_exit(127);
}

bool cert_manager_start(struct cert_run *run)
{
	double end = cert_seconds() + CERT_WAIT / 1e3;
	char why[CONTROL_WHY];

	run->manager = fork();
	if (run->manager == 0)
		world_exec(run);
	while (run->manager > 0 && cert_seconds() < end) {
		json_t *list = control_ask("GET", "/v1/devices", NULL, why, sizeof(why));

		if (list) {
			json_decref(list);
			return true;
		}
		if (waitpid(run->manager, NULL, WNOHANG) == run->manager)
			run->manager = 0;
		usleep(10000);
	}
	cli_say("the manager does not start; it is looked for beside auriga");
	return false;
}

void cert_manager_stop(struct cert_run *run, int signal)
{
	if (run->manager > 0) {
		kill(run->manager, signal);
		waitpid(run->manager, NULL, 0);
	}
	run->manager = 0;
}

json_t *cert_call(struct cert_run *run, const char *method, const char *suffix, json_t *body)
{
	char why[CONTROL_WHY] = "", *path = control_path("/v1/devices/", run->device, suffix);
	json_t *answer = path ? control_ask(method, path, body, why, sizeof(why)) : NULL;

	free(path);
	return answer;
}

json_t *cert_info(struct cert_run *run)
{
	return cert_call(run, "GET", NULL, NULL);
}

pid_t cert_host_pid(struct cert_run *run, unsigned int *generation)
{
	json_t *info = cert_info(run);
	const char *state = json_string_value(json_object_get(info, "state"));
	pid_t pid = (pid_t)json_integer_value(json_object_get(info, "pid"));

	if (generation)
		*generation = (unsigned int)json_integer_value(json_object_get(info, "generation"));
	if (!state || strcmp(state, "running") != 0)
		pid = 0;
	json_decref(info);
	return pid;
}

/* The units of what was attached, and its name. */
static void world_units(struct cert_run *run, const json_t *info)
{
	json_t *units = json_object_get(info, "units"), *unit;
	size_t i;

	run->unit_count = 0;
	json_array_foreach(units, i, unit)
	{
		if (run->unit_count < CERT_UNITS)
			snprintf(run->units[run->unit_count++], sizeof(run->units[0]), "%s",
				 json_string_value(json_object_get(unit, "name")));
	}
	snprintf(run->class, sizeof(run->class), "%s",
		 json_string_value(json_object_get(info, "class")));
}

static bool world_attach(struct cert_run *run, char *why, size_t why_size)
{
	char params[CERT_PATH], *save = NULL;
	json_t *list = json_array(), *info;

	snprintf(params, sizeof(params), "%s", run->params);
	for (char *p = strtok_r(params, ",", &save); p; p = strtok_r(NULL, ",", &save))
		json_array_append_new(list, json_string(p));
	snprintf(run->device, sizeof(run->device), "unit");
	info = control_ask("POST", "/v1/devices",
			   json_pack("{s:s s:s s:s s:o s:{s:s}}", "name", run->device, "driver",
				     run->driver, "address",
				     run->virtual ? "virtual" : run->address, "params", list,
				     "policy", "verify", run->verify),
			   why, why_size);
	if (info)
		world_units(run, info);
	json_decref(info);
	json_decref(run->deaths);
	run->deaths = NULL;
	return info != NULL;
}

bool cert_try(struct cert_run *run)
{
	char why[CONTROL_WHY] = "";

	if (world_attach(run, why, sizeof(why)))
		return true;
	if (strstr(why, "crashed") || strstr(why, "hang") || strstr(why, "in time"))
		cert_fail(run, "crash", "it is refused, but not as it should be: %s", why);
	return false;
}

bool cert_attach(struct cert_run *run)
{
	char why[CONTROL_WHY] = "";

	if (!world_attach(run, why, sizeof(why)))
		cert_fail(run, "start", "it cannot be attached: %s", why);
	else if (!run->unit_count)
		cert_fail(run, "start", "it has no units");
	else
		return true;
	return false;
}

/* What clients had is given back a moment after they have closed it. */
bool cert_detach(struct cert_run *run)
{
	char why[CONTROL_WHY] = "", *path = control_path("/v1/devices/", run->device, NULL);
	double end = cert_seconds() + CERT_WAIT / 3e3;
	json_t *answer = NULL;

	while (path && !answer && cert_seconds() < end) {
		answer = control_ask("DELETE", path, NULL, why, sizeof(why));
		if (!answer)
			usleep(10000);
	}
	free(path);
	json_decref(answer);
	if (!answer)
		cert_fail(run, "leak", "all have closed it, and it cannot be detached: %s", why);
	return answer != NULL;
}

void cert_reap(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* The answer comes when it is there again, which may be later than whoever asks can wait for. */
pid_t cert_restart_later(struct cert_run *run)
{
	char program[CERT_PATH];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	pid_t pid;

	cert_program_path("auriga", program, sizeof(program));
	pid = fork();
	if (pid == 0) {
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		execl(program, program, "restart", run->device, (char *)NULL);
		_exit(127);
	}
	close(null);
	return pid;
}

/* ------------------------------------------------------------------------- lab */

/* Whether the address is of a lab: ROOT/lab/LAB/FUNCTION.sock. */
static void world_is_lab(struct cert_run *run)
{
	char path[CERT_PATH], *part[3] = { NULL };
	const char *colon = strchr(run->address, ':');

	if (strncmp(run->address, "vfio-user:", 10) != 0)
		return;
	snprintf(path, sizeof(path), "%s", colon + 1);
	for (unsigned int i = 0; i < 3; i++) {
		part[i] = strrchr(path, '/');
		if (!part[i])
			return;
		*part[i]++ = 0;
	}
	if (strcmp(part[2], "lab") != 0 || strlen(part[0]) < 6 ||
	    strcmp(part[0] + strlen(part[0]) - 5, ".sock") != 0)
		return;
	part[0][strlen(part[0]) - 5] = 0;
	snprintf(run->function, sizeof(run->function), "%.63s", part[0]);
	snprintf(run->lab, sizeof(run->lab), "%.63s", part[1]);
	snprintf(run->lab_dir, sizeof(run->lab_dir), "%s", path);
}

bool cert_lab(struct cert_run *run, const char *verb)
{
	char program[CERT_PATH], out[256];
	char *argv[] = { program,	"fault",  "--runtime-dir",
			 run->lab_dir,	run->lab, (char *)(uintptr_t)verb,
			 run->function, NULL };

	cert_program_path("auriga-lab", program, sizeof(program));
	if (cert_program(argv, out, sizeof(out)) == 0)
		return true;
	cert_fail(run, "lab", "the lab refuses to %s %s: %.200s", verb, run->function, out);
	return false;
}

/* Start the machine, and find the function that is meant: by name, by the driver's match, or the
 * first. */
static int world_machine(struct cert_run *run)
{
	char program[CERT_PATH], out[4096], *save = NULL;
	char *argv[] = { program, "up", "--machine", (char *)(uintptr_t)run->machine, NULL };

	cert_program_path("auriga-lab", program, sizeof(program));
	if (cert_program(argv, out, sizeof(out)) != 0)
		return cli_error("the machine %s does not start: %.300s", run->machine, out);
	run->lab_own = true;
	for (char *line = strtok_r(out, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		size_t length = strcspn(line, " ");
		const char *slash;

		if (strncmp(line, "vfio-user:", 10) != 0 || length >= sizeof(run->address))
			continue;
		line[length] = 0;
		slash = strrchr(line, '/');
		if (!slash || !strncmp(slash + 1, "control", 7))
			continue;
		if (!run->address[0] ||
		    (run->wanted_function &&
		     strncmp(slash + 1, run->wanted_function, strlen(run->wanted_function)) == 0 &&
		     slash[1 + strlen(run->wanted_function)] == '.'))
			snprintf(run->address, sizeof(run->address), "%s", line);
	}
	world_is_lab(run);
	if (!run->address[0])
		return cli_error("the machine %s has no function", run->machine);
	if (run->wanted_function && strcmp(run->function, run->wanted_function) != 0)
		return cli_error("the machine %s has no function %s", run->machine,
				 run->wanted_function);
	return CLI_OK;
}

/* ------------------------------------------------- the other end of a serial line */

static int world_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(address.sun_path) || sock < 0)
		return -1;
	memcpy(address.sun_path, path, strlen(path) + 1);
	if (connect(sock, (struct sockaddr *)&address, sizeof(address)) == 0)
		return sock;
	close(sock);
	return -1;
}

static void world_echo(int sock)
{
	char buf[4096];
	ssize_t n, done;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while ((n = read(sock, buf, sizeof(buf))) > 0)
		for (ssize_t at = 0; at < n; at += done) {
			done = write(sock, buf + at, (size_t)(n - at));
			if (done <= 0)
				_exit(0);
		}
	_exit(0);
}

static int world_peer(struct cert_run *run, unsigned int i, const char *path)
{
	int sock = world_connect(path);

	if (sock < 0)
		return cli_error("%s: nobody listens there (%s): it should be the other end of "
				 "the line",
				 path, strerror(errno));
	run->echoes[i] = fork();
	if (run->echoes[i] == 0)
		world_echo(sock);
	close(sock);
	return CLI_OK;
}

/* Those that were named; or of a lab's UART those that are named like it. */
static int world_peers(struct cert_run *run)
{
	char path[2 * CERT_PATH];
	int rc = CLI_OK;

	for (unsigned int i = 0; i < run->peer_count && !rc; i++)
		rc = world_peer(run, i, run->peers[i]);
	for (unsigned int i = 0; i <= CERT_UNITS && !run->peer_count && run->lab[0] && !rc; i++) {
		if (i == CERT_UNITS)
			snprintf(path, sizeof(path), "%s/lab/%s/%s-line.sock", run->lab_dir,
				 run->lab, run->function);
		else
			snprintf(path, sizeof(path), "%s/lab/%s/%s-line%u.sock", run->lab_dir,
				 run->lab, run->function, i);
		if (access(path, F_OK) == 0)
			rc = world_peer(run, i % CERT_UNITS, path);
	}
	return rc;
}

/* ------------------------------------------------------------------------- target */

/* A module that is named by its path is put where this world's programs look first. */
static int world_module(struct cert_run *run, const char *path)
{
	char dir[64], to[160], error[512], old[2048] = "";
	const char *env = getenv("AURIGA_DRIVER_PATH");
	struct au_note *note = calloc(1, sizeof(*note));
	char *argv[] = { "/bin/cp", (char *)(uintptr_t)path, to, NULL };
	int rc = note ? au_note_read(path, note, error, sizeof(error)) : -ENOMEM;

	if (rc) {
		free(note);
		return cli_error("%s", rc == -ENOMEM ? "out of memory" : error);
	}
	snprintf(run->driver, sizeof(run->driver), "%s", note->name);
	free(note);
	snprintf(dir, sizeof(dir), "%s/drivers", run->dir);
	snprintf(to, sizeof(to), "%s/%s.so", dir, run->driver);
	if (mkdir(dir, 0755) != 0 || cert_program(argv, error, sizeof(error)) != 0)
		return cli_error("%s cannot be copied to %s: %s", path, to, error);
	if (env)
		snprintf(old, sizeof(old), "%s:%s", dir, env);
	setenv("AURIGA_DRIVER_PATH", env ? old : dir, 1);
	return CLI_OK;
}

/* DRIVER or FILE.so, then ,address=... and ,KEY=VALUE. */
static int world_target(struct cert_run *run)
{
	const char *target = run->target;
	char text[2 * CERT_PATH], *save = NULL, *part;
	size_t used = 0;

	if (strncmp(target, "inproc:", 7) == 0)
		target += 7;
	if (strlen(target) >= sizeof(text))
		return cli_error("the target is too long");
	snprintf(text, sizeof(text), "%s", target);
	part = strtok_r(text, ",", &save);
	if (!part)
		return cli_error("the target names no driver");
	if (strchr(part, '/') || strstr(part, ".so")) {
		int rc = world_module(run, part);

		if (rc)
			return rc;
	} else {
		char path[AU_PATH_MAX], error[512];

		if (au_driver_find(part, path, error, sizeof(error)) != 0)
			return cli_error("%s", error);
		snprintf(run->driver, sizeof(run->driver), "%.63s", part);
	}
	while ((part = strtok_r(NULL, ",", &save))) {
		if (strncmp(part, "address=", 8) == 0)
			snprintf(run->address, sizeof(run->address), "%.511s", part + 8);
		else if (strcmp(part, "poll=app") != 0 &&
			 used + strlen(part) + 2 < sizeof(run->params))
			used += (size_t)snprintf(run->params + used, sizeof(run->params) - used,
						 ",%s", part);
	}
	return CLI_OK;
}

/* A unit that somebody runs: what is it? */
static int world_unit(struct cert_run *run)
{
	char why[CONTROL_WHY], *path, *dot;
	json_t *info, *params, *param;
	size_t i, used = 0;

	snprintf(run->device, sizeof(run->device), "%.31s", run->target);
	dot = strchr(run->device, '.');
	if (dot)
		*dot = 0;
	path = control_path("/v1/devices/", run->device, NULL);
	info = path ? control_ask("GET", path, NULL, why, sizeof(why)) : NULL;
	free(path);
	if (!info)
		return cli_error("%s", why);
	world_units(run, info);
	snprintf(run->driver, sizeof(run->driver), "%s",
		 json_string_value(json_object_get(info, "driver")));
	snprintf(run->address, sizeof(run->address), "%s",
		 json_string_value(json_object_get(info, "address")));
	params = json_object_get(info, "params");
	json_array_foreach(params, i, param) used += (size_t)snprintf(
		run->params + used, sizeof(run->params) - used, ",%s", json_string_value(param));
	json_decref(info);
	if (dot || !run->unit_count) {
		snprintf(run->units[0], sizeof(run->units[0]), "%s", run->target);
		run->unit_count = 1;
	}
	return CLI_OK;
}

static bool world_is_driver(const char *target)
{
	return strchr(target, '/') || strchr(target, ',') || strchr(target, ':') ||
	       strstr(target, ".so");
}

int cert_world_begin(struct cert_run *run)
{
	char why[CONTROL_WHY], *path;
	json_t *info = NULL;
	int rc;

	snprintf(run->dir, sizeof(run->dir), "/tmp/auriga-XXXXXX");
	if (!mkdtemp(run->dir)) {
		run->dir[0] = 0;
		return cli_error("cannot make a directory in /tmp: %s", strerror(errno));
	}
	chmod(run->dir, 0755);
	snprintf(run->log_path, sizeof(run->log_path), "%s/log", run->dir);
	close(open(run->log_path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	/* A name alone is a unit, if there is one of that name, and else a driver. */
	if (!world_is_driver(run->target) && !run->machine) {
		path = control_path("/v1/devices/", run->target, NULL);
		info = path ? control_ask("GET", path, NULL, why, sizeof(why)) : NULL;
		free(path);
	}
	run->own = info == NULL;
	json_decref(info);
	if (!run->own) {
		rc = world_unit(run);
		world_is_lab(run);
		return rc ? rc : world_peers(run);
	}
	rc = world_target(run);
	if (rc)
		return rc;
	setenv("AURIGA_RUNTIME_DIR", run->dir, 1);
	cli_runtime_dir = run->dir;
	world_is_lab(run);
	if (run->machine)
		rc = world_machine(run);
	run->virtual = !run->address[0] || strcmp(run->address, "virtual") == 0;
	if (!rc)
		rc = world_peers(run);
	if (!rc && run->places[CERT_PROCESS] && !cert_manager_start(run))
		rc = CLI_FAILED;
	return rc;
}

void cert_world_end(struct cert_run *run)
{
	char program[CERT_PATH], out[256];
	char *down[] = { program, "down", run->lab, NULL };
	char *remove[] = { "/bin/rm", "-rf", run->dir, NULL };

	cert_manager_stop(run, SIGTERM);
	for (unsigned int i = 0; i < CERT_UNITS; i++)
		if (run->echoes[i] > 0) {
			kill(run->echoes[i], SIGKILL);
			waitpid(run->echoes[i], NULL, 0);
		}
	cert_program_path("auriga-lab", program, sizeof(program));
	if (run->lab_own)
		cert_program(down, out, sizeof(out));
	if (run->dir[0])
		cert_program(remove, out, sizeof(out));
	run->dir[0] = 0;
}

/* -------------------------------------------------------------------------- log */

void cert_log_look(struct cert_run *run)
{
	static const char rule[] = "rule ";
	FILE *f = fopen(run->log_path, "re");
	char line[1024];

	if (!f)
		return;
	fseek(f, run->log_at, SEEK_SET);
	while (fgets(line, sizeof(line), f)) {
		char *found = strstr(line, rule), test[64];

		line[strcspn(line, "\n")] = 0;
		if (found && strstr(found, " broken by the driver")) {
			snprintf(test, sizeof(test), "rule %.*s",
				 (int)strcspn(found + sizeof(rule) - 1, " "),
				 found + sizeof(rule) - 1);
			cert_fail(run, test, "%.300s", found);
		} else if (strstr(line, "on its way down, ")) {
			cert_fail(run, "crash", "%.300s", line);
		} else if (strstr(line, "ERROR: AddressSanitizer") ||
			   strstr(line, ": runtime error:") ||
			   strstr(line, "ERROR: LeakSanitizer") ||
			   strstr(line, "WARNING: ThreadSanitizer")) {
			cert_fail(run, "sanitizer", "%.300s", line);
		}
	}
	run->log_at = ftell(f);
	fclose(f);
}
