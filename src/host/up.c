/* SPDX-License-Identifier: MIT */
/* The way up, through both doors, and the way down. */
#include "host/host.h"

#include "base/os.h"
#include "host/crash.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

int host_fail(struct host_failure *why, const char *stage, int error, const char *text)
{
	snprintf(why->stage, sizeof(why->stage), "%s", stage);
	why->error = error;
	if (text)
		snprintf(why->text, sizeof(why->text), "%s", text);
	return error;
}

static uint64_t host_us(const struct host *host)
{
	return (au_os_now_ns() - host->times.begin_ns) / 1000;
}

/* ------------------------------------------------------------------- the way up */

static int host_map(int fd, size_t size, void **base)
{
	struct stat st;
	int err = au_memfd_check(fd, size);

	if (err)
		return err;
	if (fstat(fd, &st) < 0)
		return -errno;
	*base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return *base == MAP_FAILED ? -errno : (int)0;
}

/* Threads are made before the driver's note is read, which decides in the end. */
static unsigned int host_lanes(const struct host *host)
{
	unsigned long count = 1;

	for (unsigned int i = 0; host->start.params[i]; i++)
		if (strncmp(host->start.params[i], "lanes=", 6) == 0)
			count = strtoul(host->start.params[i] + 6, NULL, 0);
	return count < 1 ? 1 : count > AU_LANES_MAX ? AU_LANES_MAX : (unsigned int)count;
}

/* What is mapped and read before the driver comes near. */
static int host_memory(struct host *host, struct host_failure *why)
{
	int err = au_recorder_map(host->start.fds[HOST_FD_STATUS], true, &host->recorder);

	if (err)
		return host_fail(why, "start", err,
				 "the status page is not sealed memory of the "
				 "right size");
	host->recorder.status->crashed = 0;
	host->lane_count = host_lanes(host);
	host->recorder.status->lanes = host->lane_count; /* that are asked for signs of life */
	au_crash_init(&host->recorder);
	au_crash_thread(AU_CRASH_CONTROL);
	err = host_map(host->start.fds[HOST_FD_STATE], AUF_STATE_SIZE, &host->state);
	if (err)
		return host_fail(why, "start", err,
				 "the state is not sealed memory of the right "
				 "size");
	return 0;
}

static int host_retained(struct host *host, struct host_failure *why)
{
	int fd = host->start.fds[HOST_FD_RETAINED];
	int err;

	if (!host->note.retain_bytes)
		return 0;
	host->retained_size = (size_t)host->note.retain_bytes;
	err = fd < 0 ? -EBADF : host_map(fd, host->retained_size, &host->retained);
	if (err)
		return host_fail(
			why, "start", err,
			"the driver's retained memory is missing, not sealed or too small");
	return 0;
}

static int host_arena(struct host *host, struct host_failure *why)
{
	int fd = host->start.fds[HOST_FD_ARENA];
	int err;

	if (!host->note.dma_bytes)
		return 0;
	err = fd < 0 ? -EBADF : host_map(fd, host->note.dma_bytes, &host->arena);
	return err ? host_fail(why, "start", err,
			       "the driver's arena is missing, not sealed or too small")
		   : 0;
}

static void host_sandbox(struct host *host, const char *pid_ns)
{
	struct au_sandbox *sb = &host->sandbox;

	*sb = (struct au_sandbox){
		.without = host->start.without,
		.pid_ns = pid_ns,
		.cgroup_in_force = host->start.cgroup_in_force,
		.cgroup_detail = host->start.cgroup_detail,
		.uid = host->start.uid,
		.gid = host->start.gid,
		.threads = 1 + host->lane_count,
		.vfio = host->start.has_session && host->start.session.transport == AU_BUS_VFIO,
		.module = host->start.fds[HOST_FD_MODULE],
		.name = host->start.driver,
	};
	sb->keep[sb->keep_count++] = host->link.fd;
	sb->keep[sb->keep_count++] = host->link.wake;
	for (unsigned int i = 0; i < HOST_FD_COUNT; i++)
		if (host->start.fds[i] >= 0)
			sb->keep[sb->keep_count++] = host->start.fds[i];
}

static int host_lane_begin(void *arg)
{
	au_crash_thread(*(const unsigned int *)arg);
	return 0;
}

static int host_lane_door_two(void *arg)
{
	return au_sandbox_thread(arg);
}

/* All the threads that there will be. */
static int host_threads(struct host *host, struct host_failure *why)
{
	int err = 0;

	for (unsigned int i = 0; i < host->lane_count && !err; i++) {
		err = auf_lane_create(AUF_RUNNER_THREAD, i, HOST_SPIN_US, &host->recorder,
				      &host->lanes[i]);
		if (!err)
			err = auf_lane_call(host->lanes[i], host_lane_begin, &i);
	}
	host->lane = host->lanes[0];
	if (!err)
		err = host_mailbox_init(&host->box, host);
	return err ? host_fail(why, "sandbox", err, "cannot start a lane") : 0;
}

/* By the names that they have outside. */
static void host_crash_modules(struct host *host)
{
	struct au_sandbox *sb = &host->sandbox;
	struct au_crash_alias aliases[1 + AU_SANDBOX_LIBRARIES];
	char names[AU_SANDBOX_LIBRARIES][sizeof(sb->libraries[0].name) + 4];

	aliases[0] = (struct au_crash_alias){ sb->module_path, host->start.module_path };
	for (unsigned int i = 0; i < sb->library_count; i++) {
		snprintf(names[i], sizeof(names[i]), "./%s", sb->libraries[i].name);
		aliases[1 + i] = (struct au_crash_alias){ names[i], sb->libraries[i].path };
	}
	au_crash_modules(aliases, 1 + sb->library_count);
}

static int host_module(struct host *host, struct host_failure *why)
{
	struct au_sandbox *sb = &host->sandbox;
	int err = au_note_read_fd(sb->module, host->start.module_path, &host->note, why->text,
				  sizeof(why->text));

	if (!err)
		err = au_note_resolve(&host->note, host->start.params, HOST_PARAMS_MAX, why->text,
				      sizeof(why->text));
	if (!err)
		err = au_sandbox_preload(sb, why->text, sizeof(why->text));
	if (!err)
		err = au_module_load(sb->module_path, &host->module, why->text, sizeof(why->text));
	if (err)
		return host_fail(why, "load", err, NULL);
	host->times.loaded_us = host_us(host);
	/* Whatever constructors made of the handlers. */
	au_crash_handlers();
	host_crash_modules(host);
	return 0;
}

/* Through the doors, with the driver between them. */
static int host_doors(struct host *host, struct host_failure *why)
{
	struct au_sandbox *sb = &host->sandbox;
	int err = au_sandbox_enter(sb, why->text, sizeof(why->text));

	if (err)
		return host_fail(why, "sandbox", err, NULL);
	err = host_threads(host, why);
	if (err)
		return err;
	err = au_sandbox_door_one(sb, why->text, sizeof(why->text));
	if (err)
		return host_fail(why, "sandbox", err, NULL);
	err = host_module(host, why);
	if (err)
		return err;
	for (unsigned int i = 0; i < host->lane_count && !err; i++)
		err = auf_lane_call(host->lanes[i], host_lane_door_two, sb);
	if (err)
		return host_fail(why, "sandbox", err, sb->layers[AU_LAYER_LANDLOCK].detail);
	err = au_sandbox_door_two(sb, why->text, sizeof(why->text));
	host->start.fds[HOST_FD_MODULE] = -1;
	if (err)
		return host_fail(why, "sandbox", err, NULL);
	host->times.sandboxed_us = host_us(host);
	return 0;
}

static int host_units_first(void *arg)
{
	host_units_refresh(arg, NULL);
	host_power_show(arg);
	return 0;
}

/* "12 ms: prepare, failed (error 5) -> flush": which step it was. Lane. */
static int host_failed_step(void *arg)
{
	void **args = arg;
	struct host *host = args[0];
	char *stage = args[1];
	char text[8192] = "";
	char *end, *begin;

	auf_device_history(host->device, text, sizeof(text));
	end = strstr(text, ", failed");
	if (!end)
		return 0;
	*end = 0;
	begin = strrchr(text, ' ');
	if (begin)
		snprintf(stage, HOST_STAGE_SIZE, "%s", begin + 1);
	return 0;
}

static int host_device(struct host *host, struct host_failure *why)
{
	struct auf_device_config config = {
		.name = host->start.name,
		.driver = &host->module.driver,
		.note = &host->note,
		.params = host->start.params,
		.lane = host->lane,
		.lanes = host->lanes,
		.lane_count = host->lane_count,
		.recorder = &host->recorder,
		.arena = host->arena,
		.arena_size = host->note.dma_bytes,
		.arena_fd = host->start.fds[HOST_FD_ARENA],
		.retained = host->retained,
		.retained_size = host->retained_size,
		.retained_fresh = host->start.retained_fresh,
		.state = host->state,
		.state_size = AUF_STATE_SIZE,
		.state_fresh = host->start.state_fresh,
		.generation = host->start.generation,
		.from = host->start.failed ? AU_POWER_FAILED : AU_POWER_OFF,
		.idle_ms = host->start.power_idle_ms,
		.hold_gate = host->start.replays > 0,
		.verify = host->start.verify.rules,
		.inject = &host->start.verify,
		.notify = host_notice,
		.context = host,
	};
	int err;

	if (host->start.has_session) {
		err = au_bus_adopt(&host->start.fds[HOST_FD_SESSION], &host->start.session,
				   host->start.address, &config.bus);
		if (err) {
			snprintf(why->text, sizeof(why->text),
				 "%s: cannot take over the session: %s", host->start.address,
				 strerror(-err));
			return host_fail(why, "bus", err, NULL);
		}
	}
	host->gate = (struct au_chan_gate){
		.closed = host->start.replays > 0,
		.waiting = host->start.replays,
		.replayed = host_replayed,
		.context = host,
	};
	err = auf_device_create(&config, &host->device, why->text, sizeof(why->text));
	if (err)
		return host_fail(why, "device", err, NULL);
	err = auf_device_start(host->device);
	if (err) {
		void *args[2] = { host, why->stage };

		snprintf(why->stage, sizeof(why->stage), "start");
		auf_lane_call(host->lane, host_failed_step, args);
		snprintf(why->text, sizeof(why->text), "%s: %s of the driver %s failed: %s",
			 host->start.name, why->stage, host->start.driver, strerror(-err));
		why->error = err;
		return err;
	}
	auf_lane_call(host->lane, host_units_first, host);
	host->times.started_us = host_us(host);
	return 0;
}

int host_up(struct host *host, const char *pid_ns, struct host_failure *why)
{
	int err = host_memory(host, why);

	if (err)
		return err;
	host_sandbox(host, pid_ns);
	err = host_doors(host, why);
	if (err)
		return err;
	err = host_retained(host, why);
	if (!err)
		err = host_arena(host, why);
	return err ? err : host_device(host, why);
}

/* ----------------------------------------------------------------- the way down */

static int host_mute(void *arg)
{
	struct host *host = arg;

	auf_device_hold(host->device);
	host_channels_mute(host);
	auf_device_let_go(host->device);
	return 0;
}

static int host_close(void *arg)
{
	struct host *host = arg;

	auf_device_hold(host->device);
	host_channels_close(host);
	auf_device_let_go(host->device);
	return 0;
}

void host_down(struct host *host)
{
	auf_lane_call(host->lane, host_mute, host);
	auf_device_stop(host->device);
	auf_lane_call(host->lane, host_close, host);
	host_mailbox_close(&host->box);
	auf_device_destroy(host->device);
	for (unsigned int i = 0; i < host->lane_count; i++)
		auf_lane_destroy(host->lanes[i]);
	au_module_unload(&host->module);
	host_link_flush(&host->link);
	host_link_drop(&host->link);
	json_decref(host->units);
	host_start_free(&host->start);
}
