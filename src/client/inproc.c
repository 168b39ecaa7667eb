/* SPDX-License-Identifier: MIT */
/* Instances of drivers in this process: finding, claiming, starting, sharing and stopping them. */
#include "client/inproc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/claim.h"
#include "base/paths.h"
#include "bus/bus.h"

#define INPROC_SPIN_US	   50u
#define INPROC_IDLE_MAX_MS 86400000.0

static pthread_mutex_t inproc_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct inproc_instance *inproc_instances;

/* ------------------------------------------------------------------- target */

static int inproc_unit_number(const char *text, unsigned int *unit)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n >= AUF_UNITS_MAX)
		return client_fail(-EINVAL, "unit=%s: a number from 0 to %u is wanted", text,
				   AUF_UNITS_MAX - 1);
	*unit = (unsigned int)n;
	return 0;
}

/* Whether @part's key is among the parameters so far. */
static bool inproc_twice(const struct inproc_target *t, const char *part)
{
	size_t length = strcspn(part, "=") + 1;

	for (unsigned int i = 0; t->params[i]; i++)
		if (strncmp(t->params[i], part, length) == 0)
			return true;
	return (strncmp(part, "verify=", 7) == 0 && strstr(t->given, ",verify=")) ||
	       (strncmp(part, "power_idle=", 11) == 0 && strstr(t->given, ",power_idle="));
}

/* As the policy of that name: "2s", "500ms", "off". */
static int inproc_power_idle(struct inproc_target *t, const char *text)
{
	char *end;
	double ms = strtod(text, &end);

	if (strcmp(text, "off") == 0)
		return 0;
	ms *= strcmp(end, "s") == 0 ? 1000 : strcmp(end, "ms") == 0 ? 1 : -1;
	if (*text < '0' || *text > '9' || !(ms >= 1 && ms <= INPROC_IDLE_MAX_MS))
		return client_fail(-EINVAL,
				   "inproc: power_idle '%.20s': use a time from 1ms to 86400s, as "
				   "in 2s or 500ms, or off",
				   text);
	t->power_idle_ms = (uint32_t)ms;
	return 0;
}

/* Between its parts stand plus signs: commas are the target's. */
static int inproc_verify(struct inproc_target *t, const char *text)
{
	char error[CLIENT_ERROR_SIZE];
	int err = au_verify_parse(text, &t->verify, error, sizeof(error));

	return err ? client_fail(err, "inproc: %s", error) : 0;
}

int inproc_parse(const char *target, struct inproc_target *t)
{
	unsigned int count = 0;
	char *save = NULL, *part;
	size_t given = 0;
	int err = 0;

	memset(t, 0, sizeof(*t));
	if (strncmp(target, "inproc:", 7) != 0 || strlen(target) >= sizeof(t->text))
		return client_fail(-EINVAL, "%.60s...: not an inproc target, or too long a one",
				   target);
	snprintf(t->text, sizeof(t->text), "%s", target + 7);
	t->driver = strtok_r(t->text, ",", &save);
	if (!t->driver || strchr(t->driver, '=') || target[7] == ',' || strstr(target, ",,"))
		return client_fail(-EINVAL,
				   "%s: write inproc:DRIVER[,address=ADDRESS][,unit=N]"
				   "[,poll=app][,power_idle=TIME][,verify=TEXT][,PARAM=VALUE...]",
				   target);
	while (err == 0 && (part = strtok_r(NULL, ",", &save))) {
		if (strncmp(part, "address=", 8) == 0 && t->address)
			err = client_fail(-EINVAL, "inproc: address is there twice");
		else if (strncmp(part, "address=", 8) == 0)
			t->address = part + 8;
		else if (strncmp(part, "unit=", 5) == 0)
			err = inproc_unit_number(part + 5, &t->unit);
		else if (strcmp(part, "poll=app") == 0)
			t->app = true;
		else if (strncmp(part, "poll=", 5) == 0)
			err = client_fail(-EINVAL,
					  "%s: poll=app is all there is; without it the "
					  "driver has a thread",
					  part);
		else if (!strchr(part, '='))
			err = client_fail(-EINVAL,
					  "inproc: '%.60s' has no value: write it as PARAM=VALUE",
					  part);
		else if (inproc_twice(t, part))
			err = client_fail(-EINVAL, "inproc: '%.60s' is there twice", part);
		else if (count == INPROC_PARAMS)
			err = client_fail(-EINVAL, "%s: more than %u parameters", target,
					  INPROC_PARAMS);
		else {
			if (strncmp(part, "verify=", 7) == 0)
				err = inproc_verify(t, part + 7);
			else if (strncmp(part, "power_idle=", 11) == 0)
				err = inproc_power_idle(t, part + 11);
			else
				t->params[count++] = part;
			given += (size_t)snprintf(t->given + given, sizeof(t->given) - given, ",%s",
						  part);
		}
	}
	if (!t->address || strcmp(t->address, "virtual") == 0)
		t->address = "virtual";
	return err;
}

/* ----------------------------------------------------------------- the parts */

static int inproc_check_params(const struct inproc_instance *inst, const struct inproc_target *t)
{
	char error[CLIENT_ERROR_SIZE];

	for (unsigned int i = 0; t->params[i]; i++) {
		if (!au_note_param_check(&inst->note, t->params[i], NULL, NULL, error,
					 sizeof(error)))
			return client_fail(-EINVAL, "%s: %s", inst->driver, error);
	}
	return 0;
}

static int inproc_load(struct inproc_instance *inst, const struct inproc_target *t)
{
	char path[AU_PATH_MAX], error[CLIENT_ERROR_SIZE];
	int err = au_driver_find(t->driver, path, error, sizeof(error));

	if (err == 0)
		err = au_note_read(path, &inst->note, error, sizeof(error));
	if (err)
		return client_fail(err, "%s", error);
	if (strcmp(inst->note.name, t->driver) != 0)
		return client_fail(-EINVAL, "%s: calls itself '%s': rename the file to %s.so", path,
				   inst->note.name, inst->note.name);
	err = inproc_check_params(inst, t);
	if (err)
		return err;
	if (inst->app && au_note_lanes(&inst->note, t->params, INPROC_PARAMS) > 1)
		return client_fail(
			-EINVAL,
			"%s: with poll=app the one lane is the caller: leave out lanes=, "
			"or poll=app",
			inst->driver);
	err = au_note_resolve(&inst->note, t->params, INPROC_PARAMS, error, sizeof(error));
	if (err)
		return client_fail(err, "%s: %s", inst->driver, error);
	err = au_module_load(path, &inst->module, error, sizeof(error));
	return err ? client_fail(err, "%s", error) : 0;
}

static bool inproc_matches(const struct au_note *note, const struct au_bus_session *s)
{
	for (unsigned int i = 0; i < note->match_count; i++) {
		const struct au_note_match *m = &note->match[i];

		if (m->kind == AU_MATCH_KIND_PCI &&
		    ((uint32_t)m->vendor << 16 | m->device) == s->vendor_device)
			return true;
		if (m->kind == AU_MATCH_KIND_PCI_CLASS && m->class_code == s->class_code)
			return true;
	}
	return false;
}

static bool inproc_is_virtual(const struct au_note *note)
{
	for (unsigned int i = 0; i < note->match_count; i++) {
		if (note->match[i].kind == AU_MATCH_KIND_VIRTUAL)
			return true;
	}
	return false;
}

/* Claim the device and open a session; a virtual device has neither. */
static int inproc_open_bus(struct inproc_instance *inst, const struct au_open_options *options,
			   struct au_bus **bus)
{
	char dir[AU_PATH_MAX], error[CLIENT_ERROR_SIZE], who[96];
	bool is_virtual = strcmp(inst->address, "virtual") == 0;
	struct au_bus_session session;
	int err, fds[AU_BUS_FDS];

	*bus = NULL;
	if (is_virtual && inproc_is_virtual(&inst->note))
		return 0;
	if (is_virtual)
		return client_fail(-EINVAL,
				   "%s drives hardware: add address=ADDRESS, for example "
				   "address=vfio-user:PATH",
				   inst->driver);
	err = au_runtime_dir(options->runtime_dir, true, dir, error, sizeof(error));
	if (err)
		return client_fail(err, "%s: %s", inst->address, error);
	snprintf(who, sizeof(who), "%s, inproc:%s", program_invocation_short_name, inst->driver);
	inst->claim = au_claim(dir, inst->address, who, error, sizeof(error));
	if (inst->claim < 0)
		return client_fail(inst->claim, "%s", error);
	err = au_bus_open(inst->address, (int)options->timeout_ms, &session, fds, error,
			  sizeof(error));
	if (err)
		return client_fail(err, "%s", error);
	if (!inproc_matches(&inst->note, &session)) {
		au_bus_fds_close(fds);
		return client_fail(-ENODEV,
				   "%s: this is PCI %04x:%04x class %06x, which %s does not "
				   "drive",
				   inst->address, session.vendor_device >> 16,
				   session.vendor_device & 0xffff, session.class_code,
				   inst->driver);
	}
	err = au_bus_adopt(fds, &session, inst->address, bus);
	return err ? client_fail(err, "%s: cannot use the session: %s", inst->address,
				 strerror(-err))
		   : 0;
}

static void inproc_notify(void *context, struct au_device *dev, enum auf_notice what, void *object)
{
	struct inproc_instance *inst = context;

	if (what == AUF_DEVICE_GONE)
		inst->gone = true;
}

/* A driver in an application that breaks a rule is told, and goes on. */
static void inproc_told(struct au_device *dev, const char *rule)
{
}

static int inproc_lanes(struct inproc_instance *inst, const struct inproc_target *t)
{
	unsigned int count = au_note_lanes(&inst->note, t->params, INPROC_PARAMS);
	int err = 0;

	for (unsigned int i = 0; i < count && !err; i++) {
		err = auf_lane_create(inst->app ? AUF_RUNNER_APP : AUF_RUNNER_THREAD, i,
				      INPROC_SPIN_US, NULL, &inst->lanes[i]);
		inst->lane_count += !err;
	}
	inst->lane = inst->lanes[0];
	return err;
}

static int inproc_start(struct inproc_instance *inst, const struct inproc_target *t,
			const struct au_open_options *options)
{
	char error[CLIENT_ERROR_SIZE] = "";
	struct auf_device_config config = {
		.name = inst->driver,
		.driver = &inst->module.driver,
		.note = &inst->note,
		.params = t->params,
		.generation = 1,
		.from = AU_POWER_OFF,
		.retained_size = inst->note.retain_bytes,
		.retained_fresh = true,
		.idle_ms = t->power_idle_ms,
		.verify = t->verify.rules,
		.inject = &t->verify,
		.notify = inproc_notify,
		.context = inst,
	};
	struct au_bus *bus;
	int err = inproc_open_bus(inst, options, &bus);

	if (err)
		return err;
	if (config.retained_size) {
		inst->retained = mmap(NULL, config.retained_size, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (inst->retained == MAP_FAILED) {
			inst->retained = NULL;
			if (bus)
				bus->ops->close(bus);
			return client_fail(-ENOMEM, "%s: no memory for %llu retained bytes",
					   inst->name, (unsigned long long)config.retained_size);
		}
	}
	if (bus && inst->note.dma_bytes) {
		err = inproc_pool_make(&inst->arena, "auriga-arena", inst->note.dma_bytes);
		if (err) {
			bus->ops->close(bus);
			return client_fail(err, "%s: no memory for the driver's arena: %s",
					   inst->name, strerror(-err));
		}
	}
	err = inproc_lanes(inst, t);
	if (err) {
		if (bus)
			bus->ops->close(bus);
		return client_fail(err, "%s: cannot make a lane: %s", inst->name, strerror(-err));
	}
	if (config.verify)
		auf_verify_action = inproc_told;
	config.bus = bus;
	config.lane = inst->lane;
	config.lanes = inst->lanes;
	config.lane_count = inst->lane_count;
	config.retained = inst->retained;
	config.arena = inst->arena.base;
	config.arena_size = inst->arena.size;
	config.arena_fd = inst->arena.fd;
	err = auf_device_create(&config, &inst->dev, error, sizeof(error));
	if (err)
		return client_fail(err, "%s", error);
	err = auf_device_start(inst->dev);
	if (err)
		return client_fail(err, "%s: the driver does not start: %s", inst->name,
				   strerror(-err));
	inst->started = true;
	return 0;
}

static void inproc_free(struct inproc_instance *inst)
{
	if (inst->started)
		auf_device_stop(inst->dev);
	if (inst->dev)
		auf_device_destroy(inst->dev);
	for (unsigned int i = 0; i < inst->lane_count; i++)
		auf_lane_destroy(inst->lanes[i]);
	inproc_pool_free(&inst->arena, inst);
	if (inst->retained)
		munmap(inst->retained, inst->note.retain_bytes);
	if (inst->module.library)
		au_module_unload(&inst->module);
	if (inst->claim >= 0)
		close(inst->claim);
	handle_lock_destroy(&inst->lock);
	free(inst);
}

/* ----------------------------------------------------------------- instances */

/* May this caller share a running instance? */
static int inproc_share(const struct inproc_instance *inst, const struct inproc_target *t,
			bool shared)
{
	if (inst->gone)
		return client_fail(-ENODEV, "%s: the device has gone: close its handles first",
				   inst->name);
	if (t->given[0] && strcmp(t->given, inst->given) != 0)
		return client_fail(-EBUSY,
				   "%s: runs in this process with other parameters (%s): "
				   "leave them out, or close it first",
				   inst->name, inst->given[0] ? inst->given + 1 : "the defaults");
	if (inst->app != t->app)
		return client_fail(-EBUSY,
				   "%s: runs in this process %s poll=app: open it the same "
				   "way",
				   inst->name, inst->app ? "with" : "without");
	if (inst->app && inst->shared != shared)
		return client_fail(-EBUSY,
				   "%s: runs in this process %s AU_OPEN_SHARED: open it the "
				   "same way",
				   inst->name, inst->shared ? "with" : "without");
	if (inst->app && !shared && inst->owner != client_self())
		return client_fail(-EPERM, "%s: another thread of this process runs it (poll=app)",
				   inst->name);
	return 0;
}

static int inproc_new(const struct inproc_target *t, const struct au_open_options *options,
		      struct inproc_instance **instance)
{
	struct inproc_instance *inst = calloc(1, sizeof(*inst));
	int err = 0;

	if (!inst)
		return client_fail(-ENOMEM, "%s: no memory", t->driver);
	inst->claim = -1;
	inst->lock.kick = -1;
	inst->app = t->app;
	inst->shared = options->flags & AU_OPEN_SHARED;
	inst->owner = t->app && !inst->shared ? client_self() : NULL;
	snprintf(inst->driver, sizeof(inst->driver), "%s", t->driver);
	snprintf(inst->address, sizeof(inst->address), "%s", t->address);
	snprintf(inst->given, sizeof(inst->given), "%s", t->given);
	snprintf(inst->name, sizeof(inst->name), "%s", t->driver);
	if (strlen(t->driver) >= sizeof(inst->driver) ||
	    strlen(t->address) >= sizeof(inst->address))
		err = client_fail(-EINVAL, "%.40s, %.80s...: too long a name or address", t->driver,
				  t->address);
	if (err == 0)
		err = inproc_load(inst, t);
	if (err == 0 && inst->app && inst->shared)
		err = handle_lock_init(&inst->lock);
	if (err == 0)
		err = inproc_start(inst, t, options);
	if (err) {
		inproc_free(inst);
		return err;
	}
	*instance = inst;
	return 0;
}

int inproc_get(const struct inproc_target *t, const struct au_open_options *options,
	       struct inproc_instance **instance)
{
	struct inproc_instance *inst;
	int err = 0;

	pthread_mutex_lock(&inproc_mutex);
	for (inst = inproc_instances; inst; inst = inst->next) {
		if (strcmp(inst->driver, t->driver) == 0 && strcmp(inst->address, t->address) == 0)
			break;
	}
	if (inst) {
		err = inproc_share(inst, t, options->flags & AU_OPEN_SHARED);
	} else {
		err = inproc_new(t, options, &inst);
		if (err == 0) {
			inst->next = inproc_instances;
			inproc_instances = inst;
		}
	}
	if (err == 0) {
		inst->handles++;
		*instance = inst;
	}
	pthread_mutex_unlock(&inproc_mutex);
	return err;
}

void inproc_put(struct inproc_instance *instance)
{
	struct inproc_instance **place = &inproc_instances;

	pthread_mutex_lock(&inproc_mutex);
	if (--instance->handles == 0) {
		while (*place != instance)
			place = &(*place)->next;
		*place = instance->next;
		inproc_free(instance);
	}
	pthread_mutex_unlock(&inproc_mutex);
}

int inproc_no_unit(const struct inproc_instance *inst, unsigned int unit)
{
	return client_fail(-ENOENT, "%s: it has no unit %u", inst->name, unit);
}

int inproc_open(struct au_handle *h, const char *text, const struct au_open_options *options)
{
	struct inproc_instance *inst;
	struct inproc_target target;
	int err = inproc_parse(text, &target);

	if (err)
		return err;
	if (options->flags & AU_OPEN_POLL_APP)
		target.app = true;
	err = inproc_get(&target, options, &inst);
	if (err)
		return err;
	snprintf(h->unit, sizeof(h->unit), "%s.%u", inst->driver, target.unit);
	return target.app ? inproc_direct_open(h, inst, &target, options)
			  : inproc_thread_open(h, inst, &target, options);
}
