/* SPDX-License-Identifier: MIT */
#include "cli/bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ----------------------------------------------------------------- processors */

static void world_find_cpus(struct bench_world *world)
{
	cpu_set_t set;

	world->cpus = 0;
	if (sched_getaffinity(0, sizeof(set), &set) != 0)
		CPU_ZERO(&set);
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE && world->cpus < 2; cpu++) {
		if (CPU_ISSET(cpu, &set))
			world->cpu[world->cpus++] = (int)cpu;
	}
	if (world->cpus < 2)
		world->cpu[1] = world->cpu[0];
}

int bench_pin(const struct bench_world *world, pid_t pid, int cpu)
{
	struct dirent *entry;
	char path[32];
	cpu_set_t set;
	DIR *dir;
	int err = 0;

	CPU_ZERO(&set);
	CPU_SET((size_t)(cpu >= 0 ? cpu : world->cpu[0]), &set);
	if (cpu < 0)
		CPU_SET((size_t)world->cpu[1], &set);
	if (pid == 0)
		return sched_setaffinity(0, sizeof(set), &set);
	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -1;
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] != '.')
			err |= sched_setaffinity(atoi(entry->d_name), sizeof(set), &set);
	}
	closedir(dir);
	return err;
}

/* -------------------------------------------------------------- a manager's life */

static void world_exec(const struct bench_world *world)
{
	char program[512], config[80];
	ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 16);
	char *slash;
	int null = open("/dev/null", O_RDWR);

	/* Whatever happens to this process, the manager does not outlive it. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (n < 0)
		_exit(127);
	program[n] = 0;
	slash = strrchr(program, '/');
	snprintf(slash + 1, sizeof(program) - (size_t)(slash + 1 - program), "aurigad");
	snprintf(config, sizeof(config), "%s/none", world->dir);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	execl(program, program, "--foreground", "--runtime-dir", world->dir, "--config", config,
	      "--idle", "0", "--log-level", "error", (char *)NULL);
	fprintf(stderr, "auriga: cannot run %s: %m\n", program);
	_exit(127);
}

static bool world_wait_for_manager(struct bench_world *world)
{
	char path[96];

	snprintf(path, sizeof(path), "%s/control.sock", world->dir);
	for (int i = 0; i < 500; i++) {
		if (access(path, F_OK) == 0)
			return true;
		if (waitpid(world->manager, NULL, WNOHANG) == world->manager) {
			world->manager = 0;
			return false;
		}
		usleep(10000);
	}
	return false;
}

int bench_world_start(struct bench_world *world)
{
	json_t *answer;

	*world = (struct bench_world){ .dir = "/tmp/auriga-bench-XXXXXX" };
	world_find_cpus(world);
	if (!mkdtemp(world->dir))
		return cli_error("cannot make a directory in /tmp: %s", strerror(errno));
	chmod(world->dir, 0755);
	world->manager = fork();
	if (world->manager == 0)
		world_exec(world);
	if (world->manager < 0 || !world_wait_for_manager(world)) {
		bench_world_stop(world);
		return cli_error("the manager does not start: it is looked for beside auriga");
	}
	cli_runtime_dir = world->dir;
	answer = control_call("POST", "/v1/devices",
			      json_pack("{s:s, s:s, s:s}", "name", BENCH_UNIT, "driver", "echo",
					"address", "virtual"));
	if (!answer) {
		bench_world_stop(world);
		return CLI_FAILED;
	}
	world->host = (pid_t)json_integer_value(json_object_get(answer, "pid"));
	json_decref(answer);
	return 0;
}

static void world_remove(const char *dir)
{
	pid_t pid = fork();

	if (pid == 0) {
		execl("/bin/rm", "rm", "-rf", dir, (char *)NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

void bench_world_stop(struct bench_world *world)
{
	if (world->manager > 0) {
		kill(world->manager, SIGTERM);
		waitpid(world->manager, NULL, 0);
	}
	world->manager = 0;
	world_remove(world->dir);
}

/* --------------------------------------------------------------------- the loop */

struct au_handle *bench_open(const struct bench_world *world, const char *target)
{
	const struct au_open_options options = { .size = sizeof(options),
						 .abi = AU_CLIENT_ABI,
						 .depth = BENCH_DEPTH,
						 .buffer_size = 64,
						 .runtime_dir = world->dir };
	struct au_handle *h;

	if (au_open(target, &options, &h) == 0)
		return h;
	cli_say("%s", au_errmsg());
	return NULL;
}

static struct au_io loop_io[BENCH_DEPTH];
static struct au_io *loop_idle[BENCH_DEPTH];
static unsigned int loop_idle_count;
static int loop_failed;

static void loop_done(struct au_io *io)
{
	loop_failed |= io->status;
	loop_idle[loop_idle_count++] = io;
}

static double loop_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double bench_rate(struct au_handle *h, unsigned int outstanding, double seconds)
{
	uint64_t done = 0, check = 256;
	double start, elapsed;

	loop_failed = 0;
	loop_idle_count = outstanding;
	for (unsigned int i = 0; i < outstanding; i++) {
		loop_io[i] = (struct au_io){ .op = 16, .done = loop_done };
		loop_idle[i] = &loop_io[i];
	}
	start = loop_now();
	for (;;) {
		while (loop_idle_count > 0) {
			if (au_submit(h, loop_idle[--loop_idle_count]) != 0) {
				loop_idle_count++;
				break;
			}
		}
		int n = au_poll(h, 0, outstanding > 1 ? 0 : 1000);

		if (n < 0 || loop_failed) {
			cli_say("%s: requests fail: %s", au_unit_name(h), au_errmsg());
			return -1;
		}
		done += (unsigned int)n;
		if (done < check)
			continue;
		check = done + 256;
		elapsed = loop_now() - start;
		if (elapsed >= seconds)
			break;
	}
	while (loop_idle_count < outstanding && au_poll(h, 0, 1000) > 0)
		;
	return (double)done / elapsed;
}

static int loop_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

double bench_median(double *values, unsigned int count)
{
	qsort(values, count, sizeof(*values), loop_compare);
	return values[count / 2];
}
