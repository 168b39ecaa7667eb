/* SPDX-License-Identifier: MIT */
/*
 * The manager's own death stops nothing. What it must know to go on is in RUNDIR/state, a file a
 * device, replaced at each change; the rest a living host tells. A new manager takes over the hosts
 * that live, starts those again that died meanwhile, and touches no healthy device.
 */
#include "base/claim.h"
#include "base/cleanup.h"
#include "manager/json.h"
#include "manager/manager.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define ADOPT_FILE_MAX	(64 * 1024)
#define ADOPT_ANSWER_MS 2000
#define ADOPT_AHEAD	1000u /* generations that a host may know more of than its state file */

static int adopt_path(const struct mgr *mgr, const char *name, const char *suffix, char *path)
{
	char relative[64], error[MGR_TEXT];

	snprintf(relative, sizeof(relative), "state/%s.%s", name, suffix);
	return au_runtime_path(mgr->dir, relative, path, error, sizeof(error));
}

/* Process numbers say nothing after a restart of the machine; a directory may have outlived it. */
const char *mgr_boot_id(void)
{
	static char text[40];
	AU_CLEANUP_FD int fd = -1;
	ssize_t n;

	if (text[0])
		return text;
	fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	n = fd >= 0 ? read(fd, text, sizeof(text) - 1) : -1;
	text[n > 0 ? n : 0] = 0;
	text[strcspn(text, "\n")] = 0;
	return text;
}

/* ------------------------------------------------------------------- saving */

#define SAVED_NEEDS (MGR_NEEDS * (MGR_NAME + 1) + 1)

static const char *saved_needs(const struct mgr_spec *spec, char *text)
{
	size_t used = 0;

	text[0] = 0;
	for (unsigned int i = 0; i < spec->need_count; i++)
		used += (size_t)snprintf(text + used, SAVED_NEEDS - used, "%s%s", i ? "," : "",
					 spec->needs[i]);
	return text;
}

static json_t *saved_spec(const struct mgr_spec *spec)
{
	const struct mgr_policy *p = &spec->policy;
	json_t *params = json_array(), *policy, *sandbox = json_object();
	char text[16], verify[AU_VERIFY_TEXT], needs[SAVED_NEEDS];

	for (unsigned int i = 0; i < spec->param_count; i++)
		json_array_append_new(params, mgr_json_string(spec->params[i]));
	for (unsigned int i = 0; i < AU_LAYER_COUNT; i++)
		if (p->without & (1u << i))
			json_object_set_new(sandbox, au_layer_name(i), json_string("no"));
	policy = json_object();
#define SAVED(key, format, value)                                    \
	do {                                                         \
		snprintf(text, sizeof(text), format, value);         \
		json_object_set_new(policy, key, json_string(text)); \
	} while (0)
	SAVED("idle", "%.3f", p->idle_ms / 1000.0);
	SAVED("power_idle", "%ums", p->power_idle_ms);
	SAVED("suspend_timeout", "%u", p->suspend_ms);
	SAVED("request_timeout", "%u", p->request_timeout_ms);
	au_verify_print(&p->verify, ',', verify);
	json_object_set_new(policy, "verify", json_string(verify));
	SAVED("recovery", "%s", mgr_fate_name(p->recovery));
	SAVED("upgrade", "%s", mgr_when_name(p->upgrade));
	SAVED("mode", "%o", p->mode);
	if (p->owner != (uid_t)-1)
		SAVED("owner", "%u", p->owner);
	if (p->group != (gid_t)-1)
		SAVED("group", "%u", p->group);
#undef SAVED
	return json_pack("{s:o s:o s:o s:o s:o s:s}", "driver", mgr_json_string(spec->driver),
			 "address", mgr_json_string(spec->address), "params", params, "policy",
			 policy, "sandbox", sandbox, "needs", saved_needs(spec, needs));
}

void mgr_state_save(struct mgr_device *dev)
{
	char path[AU_PATH_MAX];
	json_t *o, *units = json_array();
	int err;

	if (!dev->spec.name[0] || dev->forgotten || dev->provisional) {
		/* A device that never ran is nobody's loss; but its process must be known. */
		if (!dev->spec.name[0] || dev->forgotten || !dev->host) {
			json_decref(units);
			return;
		}
	}
	for (unsigned int i = 0; i < MGR_UNITS; i++)
		if (dev->units[i].present)
			json_array_append_new(units, json_pack("{s:i s:s}", "index", (int)i,
							       "class", dev->units[i].cls));
	o = json_pack("{s:s s:o s:o s:s s:o s:b s:b s:b s:b s:b s:i s:i s:i s:i s:i s:o s:i s:i}",
		      "name", dev->spec.name, "spec", saved_spec(&dev->spec), "driver_path",
		      mgr_json_string(dev->driver_path), "state", mgr_state_name(dev->state),
		      "reason", mgr_json_string(dev->reason), "from_config", dev->from_config,
		      "held", dev->held, "module_given", dev->module_given, "detaching",
		      dev->provisional ||
			      (dev->state == MGR_STOPPING && dev->after == MGR_AFTER_DETACH),
		      "removed", dev->removed, "removals", (int)dev->removals, "generation",
		      (int)dev->generation, "restarts", (int)dev->restarts, "tokens",
		      (int)dev->budget.tokens, "slot", (int)dev->slot, "units", units, "clients",
		      (int)dev->client_count, "power_idle_ms", (int)dev->power.idle_ms);
	if (o && dev->host) {
		json_object_set_new(o, "pid", json_integer(dev->host->pid));
		json_object_set_new(o, "start_time",
				    json_integer((json_int_t)dev->host->start_time));
		json_object_set_new(o, "number", json_integer(dev->host->number));
		json_object_set_new(o, "boot", json_string(mgr_boot_id()));
	}
	err = o ? adopt_path(dev->mgr, dev->spec.name, "json", path) : -ENOMEM;
	if (!err)
		err = mgr_json_write_file(path, o);
	if (err)
		au_logf(AU_LOG_WARN, "%s: its state cannot be saved: %s", dev->spec.name,
			strerror(-err));
	json_decref(o);
}

void mgr_state_remove(struct mgr_device *dev)
{
	char path[AU_PATH_MAX];

	if (dev->spec.name[0] && !adopt_path(dev->mgr, dev->spec.name, "json", path))
		unlink(path);
	if (dev->spec.name[0] && !adopt_path(dev->mgr, dev->spec.name, "crash", path))
		unlink(path);
}

void mgr_evidence_save(struct mgr_device *dev)
{
	char path[AU_PATH_MAX];

	if (dev->spec.name[0] && dev->evidence &&
	    !adopt_path(dev->mgr, dev->spec.name, "crash", path))
		mgr_json_write_file(path, dev->evidence);
}

/* ------------------------------------------------------------------ reading */

static int saved_section(struct mgr_spec *spec, const json_t *o, const char *section, char *error,
			 size_t size)
{
	const json_t *part = json_object_get(o, section);
	const char *key;
	json_t *value;

	if (!json_is_object(part))
		return -EINVAL;
	json_object_foreach((json_t *)(uintptr_t)part, key, value)
	{
		if (!json_is_string(value) ||
		    mgr_spec_set(spec, section, key, json_string_value(value), error, size))
			return -EINVAL;
	}
	return 0;
}

static int saved_parse_spec(const json_t *o, const char *name, struct mgr_spec *spec, char *error,
			    size_t size)
{
	const json_t *params = json_object_get(o, "params");
	char text[AU_PATH_MAX];

	mgr_spec_init(spec, 0);
	if (!json_is_array(params) || json_array_size(params) > AU_NOTE_PARAMS ||
	    mgr_spec_set(spec, "device", "name", name, error, size) ||
	    !mgr_json_text(o, "address", text, sizeof(text)) ||
	    mgr_spec_set(spec, "device", "address", text, error, size) ||
	    !mgr_json_text(o, "driver", text, sizeof(text)) ||
	    (text[0] && mgr_spec_set(spec, "device", "driver", text, error, size)))
		return -EINVAL;
	/* Not in the files of managers before this key was known. */
	if (json_object_get(o, "needs") &&
	    (!mgr_json_text(o, "needs", text, sizeof(text)) ||
	     mgr_spec_set(spec, "device", "needs", text, error, size)))
		return -EINVAL;
	for (size_t i = 0; i < json_array_size(params); i++) {
		const char *value = json_string_value(json_array_get(params, i));
		char *equals;

		if (!value || strlen(value) >= sizeof(text))
			return -EINVAL;
		memcpy(text, value, strlen(value) + 1);
		equals = strchr(text, '=');
		if (!equals)
			return -EINVAL;
		*equals = 0;
		if (mgr_spec_set(spec, "params", text, equals + 1, error, size))
			return -EINVAL;
	}
	if (saved_section(spec, o, "policy", error, size) ||
	    saved_section(spec, o, "sandbox", error, size))
		return -EINVAL;
	return mgr_spec_check(spec, error, size);
}

static int saved_parse_units(const json_t *o, struct mgr_saved *saved)
{
	const json_t *units = json_object_get(o, "units");

	if (!json_is_array(units) || json_array_size(units) > MGR_UNITS)
		return -EINVAL;
	for (size_t i = 0; i < json_array_size(units); i++) {
		const json_t *u = json_array_get(units, i);
		uint64_t index;

		if (!mgr_json_uint(u, "index", MGR_UNITS - 1, &index) ||
		    saved->units[index].present ||
		    !mgr_json_text(u, "class", saved->units[index].cls,
				   sizeof(saved->units[index].cls)) ||
		    !au_name_valid(saved->units[index].cls))
			return -EINVAL;
		saved->units[index].present = true;
		saved->unit_count++;
	}
	return 0;
}

int mgr_saved_parse(const json_t *o, const char *name, struct mgr_saved *saved, char *error,
		    size_t error_size)
{
	uint64_t generation, restarts, tokens, slot, pid = 0, number = 0, clients, idle;
	uint64_t removals = 0;
	char text[64];
	bool known = false;

	memset(saved, 0, sizeof(*saved));
	saved->power_idle_ms = -1;
	snprintf(error, error_size, "not what a manager writes");
	if (!mgr_json_text(o, "name", text, sizeof(text)) || strcmp(text, name) ||
	    !mgr_json_text(o, "driver_path", saved->driver_path, sizeof(saved->driver_path)) ||
	    !mgr_json_text(o, "state", text, sizeof(text)) ||
	    !mgr_json_uint(o, "generation", INT32_MAX, &generation) ||
	    !mgr_json_uint(o, "restarts", INT32_MAX, &restarts) ||
	    !mgr_json_uint(o, "tokens", MGR_BUDGET_TOKENS, &tokens) ||
	    !mgr_json_uint(o, "slot", 1000000, &slot) ||
	    !mgr_json_uint(o, "clients", MGR_CLIENTS_MAX, &clients) || saved_parse_units(o, saved))
		return -EINVAL;
	for (int s = MGR_CONFIGURED; s <= MGR_DETACHED; s++) {
		if (!strcmp(text, mgr_state_name((enum mgr_state)s))) {
			saved->state = (enum mgr_state)s;
			known = true;
		}
	}
	if (!known)
		return -EINVAL;
	if (json_object_get(o, "pid") &&
	    (!mgr_json_uint(o, "pid", INT32_MAX, &pid) || pid < 2 ||
	     !mgr_json_text(o, "boot", saved->boot, sizeof(saved->boot)) ||
	     !mgr_json_uint(o, "start_time", INT64_MAX, &saved->start_time) ||
	     !mgr_json_uint(o, "number", INT32_MAX, &number)))
		return -EINVAL;
	mgr_json_text(o, "reason", saved->reason, sizeof(saved->reason));
	saved->from_config = json_is_true(json_object_get(o, "from_config"));
	saved->held = json_is_true(json_object_get(o, "held"));
	saved->module_given = json_is_true(json_object_get(o, "module_given"));
	saved->detaching = json_is_true(json_object_get(o, "detaching"));
	saved->removed = json_is_true(json_object_get(o, "removed"));
	/* Managers before did not count them. */
	mgr_json_uint(o, "removals", INT32_MAX, &removals);
	saved->removals = (uint32_t)removals;
	saved->generation = (uint32_t)generation;
	saved->restarts = (uint32_t)restarts;
	saved->tokens = (uint32_t)tokens;
	saved->slot = (unsigned int)slot;
	saved->pid = (pid_t)pid;
	saved->number = (unsigned int)number;
	saved->clients = (unsigned int)clients;
	/* Not in the files of managers before this key was known. */
	if (mgr_json_uint(o, "power_idle_ms", INT32_MAX, &idle))
		saved->power_idle_ms = (int64_t)idle;
	if (saved_parse_spec(json_object_get(o, "spec"), name, &saved->spec, error, error_size)) {
		mgr_spec_clear(&saved->spec);
		return -EINVAL;
	}
	return 0;
}

/* ----------------------------------------------------------------- taking over */

static bool adopt_lives(pid_t pid, uint64_t start_time)
{
	char state = '?';

	return pid > 1 && mgr_process_start_time(pid, &state) == start_time && state != 'Z';
}

/* A host that nobody will ever talk to again. */
static void adopt_kill(pid_t pid, uint64_t start_time)
{
	AU_CLEANUP_FD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (pidfd >= 0 && adopt_lives(pid, start_time))
		syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

static int adopt_connect(struct mgr_device *dev)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct au_msg_head msg = { .type = AU_HM_ADOPT };
	char path[AU_PATH_MAX], relative[48], error[MGR_TEXT];
	AU_CLEANUP_FD int fd = -1;
	int err;

	snprintf(relative, sizeof(relative), "hosts/%s", dev->spec.name);
	err = au_runtime_path(dev->mgr->dir, relative, path, error, sizeof(error));
	if (!err)
		err = au_socket_path_check(path, error, sizeof(error));
	if (err)
		return err;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	/* Not blocking: a host that does not accept must not keep the others waiting. */
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	err = au_msg_send(fd, &msg, sizeof(msg), NULL, 0);
	return err ? err : au_take_fd(&fd);
}

static int adopt_host(struct mgr_device *dev, const struct mgr_saved *saved)
{
	int fd = adopt_connect(dev), err;

	if (fd < 0)
		return fd;
	err = mgr_host_adopt(dev, saved->pid, saved->start_time, saved->number, fd, &dev->host);
	if (err) {
		close(fd);
		return err;
	}
	return 0;
}

static int adopt_fd(const json_t *map, const char *name, int fds[AU_MSG_FDS])
{
	uint64_t index;
	int fd;

	if (!mgr_json_uint(map, name, AU_MSG_FDS - 1, &index))
		return -1;
	fd = fds[index];
	fds[index] = -1;
	return fd;
}

static int adopt_memory(struct mgr_device *dev, const json_t *map, int fds[AU_MSG_FDS])
{
	struct mgr_host *host = dev->host;

	mgr_close(&host->status_fd);
	mgr_close(&dev->state_fd);
	mgr_close(&dev->retained_fd);
	mgr_close(&dev->claim_fd);
	host->status_fd = adopt_fd(map, "status", fds);
	dev->state_fd = adopt_fd(map, "state", fds);
	dev->retained_fd = adopt_fd(map, "retained", fds);
	dev->claim_fd = adopt_fd(map, "claim", fds);
	dev->retained_version = dev->note.retain_version;
	dev->retained_bytes = dev->note.retain_bytes;
	if (dev->claim_fd >= 0 ? au_claim_check(dev->mgr->dir, dev->claim_fd)
			       : !dev->ids.virtual_device)
		return -EPROTO;
	if (au_memfd_check(dev->state_fd, AU_STATE_SIZE))
		return -EPROTO;
	if (dev->retained_fd >= 0 && au_memfd_check(dev->retained_fd, dev->note.retain_bytes))
		return -EPROTO;
	return 0;
}

int mgr_adopted(struct mgr_device *dev, const char *text, int fds[AU_MSG_FDS])
{
	struct mgr_host *host = dev->host;
	const json_t *channels, *gone;
	uint64_t generation;
	char name[MGR_NAME];
	json_t *o;
	int err = 0;

	if (host->child || host->state != MGR_HOST_STARTING)
		return -EPROTO;
	o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	channels = json_object_get(o, "channels");
	gone = json_object_get(o, "gone");
	if (!mgr_json_text(o, "name", name, sizeof(name)) || strcmp(name, dev->spec.name) ||
	    !mgr_json_uint(o, "generation", INT32_MAX, &generation) ||
	    generation < dev->generation || generation > dev->generation + ADOPT_AHEAD ||
	    !json_is_array(channels) ||
	    json_array_size(channels) > MGR_CHANNELS_MAX + MGR_CLIENTS_MAX)
		err = -EPROTO;
	if (!err)
		err = adopt_memory(dev, json_object_get(o, "fds"), fds);
	if (!err) {
		dev->generation = host->generation = (uint32_t)generation;
		err = mgr_device_up(dev, o);
	}
	for (size_t i = 0; !err && i < json_array_size(channels); i++)
		err = mgr_channel_adopt(dev, json_array_get(channels, i));
	if (!err)
		mgr_device_adopted(dev);
	if (!err && json_is_true(gone))
		err = mgr_device_removed(dev, AU_GONE_UNKNOWN, "");
	json_decref(o);
	return err;
}

static void adopt_device(struct mgr *mgr, struct mgr_saved *saved)
{
	char error[AU_PATH_MAX + MGR_TEXT], name[MGR_NAME], driver[AU_PATH_MAX];
	bool lives =
		!strcmp(saved->boot, mgr_boot_id()) && adopt_lives(saved->pid, saved->start_time);
	struct mgr_device *dev;
	int err;

	memcpy(name, saved->spec.name, sizeof(name));
	if (saved->detaching) {
		if (lives)
			adopt_kill(saved->pid, saved->start_time);
		return;
	}
	/* What it ran with, which may not be what would be chosen now; that only where it is gone.
	 */
	memcpy(driver, saved->spec.driver, sizeof(driver));
	if (driver[0] && saved->driver_path[0])
		memcpy(saved->spec.driver, saved->driver_path, sizeof(driver));
	err = mgr_device_create(mgr, &saved->spec, true, &dev, error, sizeof(error));
	if (err)
		memcpy(saved->spec.driver, driver, sizeof(driver));
	if (err && driver[0])
		err = mgr_device_create(mgr, &saved->spec, true, &dev, error, sizeof(error));
	if (!err)
		memcpy(dev->spec.driver, driver, sizeof(driver));
	if (err) {
		au_logf(AU_LOG_ERROR, "%s: cannot be taken over: %s", name, error);
		if (lives)
			adopt_kill(saved->pid, saved->start_time);
		return;
	}
	if (!dev->driver_path[0] && saved->driver_path[0])
		mgr_device_set_driver(dev, saved->driver_path, error, sizeof(error));
	dev->module_given = saved->module_given;
	dev->from_config = saved->from_config;
	dev->held = saved->held;
	dev->removed = saved->removed;
	dev->removals = saved->removals;
	dev->generation = saved->generation;
	dev->restarts = saved->restarts;
	dev->budget.tokens = saved->tokens;
	if (saved->power_idle_ms >= 0)
		dev->power.idle_ms = (uint32_t)saved->power_idle_ms;
	if (saved->slot < mgr->uid_count) {
		dev->slot = saved->slot;
		if (mgr->next_slot <= saved->slot)
			mgr->next_slot = saved->slot + 1;
	}
	memcpy(dev->units, saved->units, sizeof(dev->units));
	dev->unit_count = saved->unit_count;
	mgr_units_changed(dev);
	if (!adopt_path(mgr, name, "crash", error)) /* as large as a path */
		dev->evidence = mgr_json_read_file(error, ADOPT_FILE_MAX);
	switch (saved->state) {
	case MGR_STARTING:
	case MGR_RUNNING:
	case MGR_RESTARTING:
		err = lives ? adopt_host(dev, saved) : -ESRCH;
		if (err && lives)
			adopt_kill(saved->pid, saved->start_time);
		dev->awaited = saved->clients;
		/* One that was just starting answers when it is up. */
		mgr_device_adopting(dev, !err,
				    saved->state == MGR_RUNNING ? ADOPT_ANSWER_MS : MGR_START_MS);
		break;
	default:
		if (lives)
			adopt_kill(saved->pid, saved->start_time);
		mgr_device_restore(dev, saved->state, saved->reason);
		break;
	}
}

void mgr_adopt_all(struct mgr *mgr)
{
	char path[AU_PATH_MAX], error[MGR_TEXT];
	struct dirent *entry;
	DIR *dir;

	if (au_runtime_path(mgr->dir, "state", path, error, sizeof(error)))
		return;
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		char name[MGR_NAME + 8], file[AU_PATH_MAX];
		size_t length = strlen(entry->d_name);
		struct mgr_saved saved;
		json_t *o;

		if (length < 6 || length >= sizeof(name) ||
		    strcmp(entry->d_name + length - 5, ".json"))
			continue;
		memcpy(name, entry->d_name, length - 5);
		name[length - 5] = 0;
		if (adopt_path(mgr, name, "json", file))
			continue;
		o = mgr_json_read_file(file, ADOPT_FILE_MAX);
		if (!o || mgr_saved_parse(o, name, &saved, error, sizeof(error))) {
			au_logf(AU_LOG_ERROR, "%s: %s: this device is forgotten", file,
				o ? error : "not a JSON file");
			unlink(file);
		} else {
			adopt_device(mgr, &saved);
			mgr_spec_clear(&saved.spec);
			if (!mgr_device_find(mgr, name))
				unlink(file);
		}
		json_decref(o);
	}
	if (dir)
		closedir(dir);
}
