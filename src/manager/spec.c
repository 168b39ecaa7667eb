/* SPDX-License-Identifier: MIT */
/* One setter for what files, requests and saved state say about a device. */
#include "manager/spec.h"

#include "bus/address.h"
#include "host/spawn.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SAY(...)	 snprintf(error, error_size, __VA_ARGS__)

#define SPEC_IDLE_MAX	 86400u /* seconds */
#define SPEC_TIMEOUT_MAX 3600000u
#define SPEC_SUSPEND_MAX 60000u

void mgr_spec_init(struct mgr_spec *spec, uint32_t idle_ms)
{
	memset(spec, 0, sizeof(*spec));
	spec->policy.idle_ms = idle_ms;
	spec->policy.suspend_ms = 2000;
	spec->policy.request_timeout_ms = 1000;
	spec->policy.owner = (uid_t)-1;
	spec->policy.group = (gid_t)-1;
	spec->policy.mode = 0660;
}

void mgr_spec_clear(struct mgr_spec *spec)
{
	for (unsigned int i = 0; i < spec->param_count; i++)
		free(spec->params[i]);
	spec->param_count = 0;
	spec->params[0] = NULL;
}

static int spec_text(char *to, size_t size, const char *key, const char *value, char *error,
		     size_t error_size)
{
	size_t length = strlen(value);

	if (length >= size) {
		SAY("%s: %zu characters are too long: at most %zu", key, length, size - 1);
		return -EINVAL;
	}
	for (size_t i = 0; i < length; i++) {
		if ((unsigned char)value[i] < 0x20 || value[i] == 0x7f) {
			SAY("%s: has control characters", key);
			return -EINVAL;
		}
	}
	memcpy(to, value, length + 1);
	return 0;
}

static int spec_name(struct mgr_spec *spec, const char *value, char *error, size_t error_size)
{
	if (!au_name_valid(value) || strlen(value) >= sizeof(spec->name)) {
		SAY("name '%.40s': use a letter or digit, then a-z, 0-9 and -, at most %zu "
		    "characters",
		    value, sizeof(spec->name) - 1);
		return -EINVAL;
	}
	return spec_text(spec->name, sizeof(spec->name), "name", value, error, error_size);
}

/* "disk0, serial0": replaces what was there. */
static int spec_needs(struct mgr_spec *spec, const char *value, char *error, size_t error_size)
{
	const char *at = value + strspn(value, " ,");

	spec->need_count = 0;
	while (*at) {
		size_t length = strcspn(at, " ,");
		char name[MGR_NAME] = "";

		if (length < sizeof(name))
			memcpy(name, at, length);
		if (!au_name_valid(name)) {
			SAY("needs '%.40s': use names of devices, with commas between them", value);
			return -EINVAL;
		}
		if (spec->need_count == MGR_NEEDS) {
			SAY("needs: more than %d devices", MGR_NEEDS);
			return -EINVAL;
		}
		if (!mgr_spec_needs(spec, name))
			memcpy(spec->needs[spec->need_count++], name, sizeof(name));
		at += length;
		at += strspn(at, " ,");
	}
	return 0;
}

bool mgr_spec_needs(const struct mgr_spec *spec, const char *name)
{
	for (unsigned int i = 0; i < spec->need_count; i++)
		if (!strcmp(spec->needs[i], name))
			return true;
	return false;
}

static int spec_device(struct mgr_spec *spec, const char *key, const char *value, char *error,
		       size_t error_size)
{
	struct au_bus_address parsed;

	if (!strcmp(key, "name"))
		return spec_name(spec, value, error, error_size);
	if (!strcmp(key, "driver")) {
		if (!strchr(value, '/') && !au_name_valid(value)) {
			SAY("driver '%.40s': no driver can have that name", value);
			return -EINVAL;
		}
		return spec_text(spec->driver, sizeof(spec->driver), key, value, error, error_size);
	}
	if (!strcmp(key, "address")) {
		int err = au_bus_address_parse(value, &parsed, error, error_size);

		return err ? err
			   : spec_text(spec->address, sizeof(spec->address), key, value, error,
				       error_size);
	}
	if (!strcmp(key, "placement")) {
		if (!strcmp(value, "process"))
			return 0;
		SAY("placement '%.20s': the manager runs drivers in processes: use 'process'",
		    value);
		return -EINVAL;
	}
	if (!strcmp(key, "needs"))
		return spec_needs(spec, value, error, error_size);
	SAY("unknown key '%.40s' in [device]: use name, driver, address, placement or needs", key);
	return -EINVAL;
}

static int spec_param(struct mgr_spec *spec, const char *key, const char *value, char *error,
		      size_t error_size)
{
	char *text;

	if (strlen(key) > 31 || strlen(value) >= AU_PARAM_VALUE_MAX) {
		SAY("parameter '%.32s': too long", key);
		return -EINVAL;
	}
	for (unsigned int i = 0; i < spec->param_count; i++) {
		if (!strncmp(spec->params[i], key, strlen(key)) &&
		    spec->params[i][strlen(key)] == '=') {
			SAY("parameter '%s' is there twice", key);
			return -EINVAL;
		}
	}
	if (spec->param_count == AU_NOTE_PARAMS) {
		SAY("more than %d parameters", AU_NOTE_PARAMS);
		return -EINVAL;
	}
	if (asprintf(&text, "%s=%s", key, value) < 0)
		return -ENOMEM;
	spec->params[spec->param_count++] = text;
	spec->params[spec->param_count] = NULL;
	return 0;
}

static int spec_number(const char *key, const char *value, int base, unsigned long max,
		       unsigned long *number, char *error, size_t error_size)
{
	char *end;

	errno = 0;
	*number = strtoul(value, &end, base);
	if (errno || end == value || *end || value[0] == '-' || *number > max) {
		SAY(base == 8 ? "%s '%.20s': use an octal number up to %lo"
			      : "%s '%.20s': use a number from 0 to %lu",
		    key, value, max);
		return -EINVAL;
	}
	return 0;
}

/* What is more than 0 is not never, however little it is. */
int mgr_spec_idle(const char *value, uint32_t *idle_ms)
{
	size_t digits = strspn(value, "0123456789.");
	char *end;
	double seconds = strtod(value, &end);

	if (!digits || value[digits] || *end || !(seconds >= 0 && seconds <= SPEC_IDLE_MAX))
		return -EINVAL;
	*idle_ms = (uint32_t)(seconds * 1000 + 0.5);
	if (seconds > 0 && !*idle_ms)
		*idle_ms = 1;
	return 0;
}

int mgr_spec_power_idle(const char *value, uint32_t *ms)
{
	size_t length = strlen(value);
	char text[24];

	if (!strcmp(value, "off")) {
		*ms = 0;
		return 0;
	}
	if (length >= sizeof(text))
		return -EINVAL;
	memcpy(text, value, length + 1);
	if (length > 2 && !strcmp(text + length - 2, "ms")) {
		unsigned long number = strtoul(text, NULL, 10);

		if (strspn(text, "0123456789") != length - 2 || number > SPEC_IDLE_MAX * 1000ul)
			return -EINVAL;
		*ms = (uint32_t)number;
		return 0;
	}
	if (length && text[length - 1] == 's')
		text[length - 1] = 0;
	return mgr_spec_idle(text, ms);
}

static const char *const recovery_names[MGR_FATES] = {
	[MGR_REISSUE] = "reissue",
	[MGR_ABORT] = "abort",
	[MGR_FAIL] = "fail",
};

const char *mgr_fate_name(enum mgr_fate recovery)
{
	return recovery_names[recovery];
}

static int spec_recovery(const char *value, enum mgr_fate *recovery, char *error, size_t error_size)
{
	for (unsigned int i = 0; i < MGR_FATES; i++) {
		if (!strcmp(value, recovery_names[i])) {
			*recovery = i;
			return 0;
		}
	}
	SAY("recovery '%.20s': use reissue, abort or fail", value);
	return -EINVAL;
}

static const char *const when_names[MGR_WHENS] = {
	[MGR_UPGRADE_UNUSED] = "unused",
	[MGR_UPGRADE_LIVE] = "live",
	[MGR_UPGRADE_NEVER] = "never",
};

const char *mgr_when_name(enum mgr_when upgrade)
{
	return when_names[upgrade];
}

static int spec_upgrade(const char *value, enum mgr_when *upgrade, char *error, size_t error_size)
{
	for (unsigned int i = 0; i < MGR_WHENS; i++) {
		if (!strcmp(value, when_names[i])) {
			*upgrade = i;
			return 0;
		}
	}
	SAY("upgrade '%.20s': use unused, live or never", value);
	return -EINVAL;
}

static int spec_bool(const char *key, const char *value, bool *flag, char *error, size_t error_size)
{
	static const char *const yes[] = { "yes", "true", "on", "1" };
	static const char *const no[] = { "no", "false", "off", "0" };

	for (unsigned int i = 0; i < 4; i++) {
		if (!strcmp(value, yes[i]) || !strcmp(value, no[i])) {
			*flag = !strcmp(value, yes[i]);
			return 0;
		}
	}
	SAY("%s '%.20s': use yes or no", key, value);
	return -EINVAL;
}

static int spec_policy(struct mgr_spec *spec, const char *key, const char *value, char *error,
		       size_t error_size)
{
	struct mgr_policy *policy = &spec->policy;
	unsigned long number = 0;
	int err;

	if (!strcmp(key, "verify"))
		return au_verify_parse(value, &policy->verify, error, error_size);
	if (!strcmp(key, "hold"))
		return spec_bool(key, value, &policy->hold, error, error_size);
	if (!strcmp(key, "recovery"))
		return spec_recovery(value, &policy->recovery, error, error_size);
	if (!strcmp(key, "upgrade"))
		return spec_upgrade(value, &policy->upgrade, error, error_size);
	if (!strcmp(key, "idle")) {
		if (mgr_spec_idle(value, &policy->idle_ms)) {
			SAY("idle '%.20s': use seconds from 0 (never) to %u", value, SPEC_IDLE_MAX);
			return -EINVAL;
		}
		return 0;
	}
	if (!strcmp(key, "power_idle")) {
		if (mgr_spec_power_idle(value, &policy->power_idle_ms)) {
			SAY("power_idle '%.20s': use a time up to %u s, as in 2s or 500ms, or off",
			    value, SPEC_IDLE_MAX);
			return -EINVAL;
		}
		return 0;
	}
	if (!strcmp(key, "suspend_timeout")) {
		err = spec_number(key, value, 10, SPEC_SUSPEND_MAX, &number, error, error_size);
		if (!err)
			policy->suspend_ms = (uint32_t)number;
		return err;
	}
	if (!strcmp(key, "request_timeout")) {
		err = spec_number(key, value, 10, SPEC_TIMEOUT_MAX, &number, error, error_size);
		if (!err)
			policy->request_timeout_ms = (uint32_t)number;
		return err;
	}
	if (!strcmp(key, "mode")) {
		err = spec_number(key, value, 8, 0777, &number, error, error_size);
		if (!err)
			policy->mode = (mode_t)number;
		return err;
	}
	if (!strcmp(key, "owner")) {
		const struct passwd *pw = getpwnam(value);

		if (pw)
			policy->owner = pw->pw_uid;
		else if (spec_number(key, value, 10, 0xfffffffe, &number, error, error_size))
			return SAY("owner '%.32s': no such user", value), -EINVAL;
		else
			policy->owner = (uid_t)number;
		return 0;
	}
	if (!strcmp(key, "group")) {
		const struct group *gr = getgrnam(value);

		if (gr)
			policy->group = gr->gr_gid;
		else if (spec_number(key, value, 10, 0xfffffffe, &number, error, error_size))
			return SAY("group '%.32s': no such group", value), -EINVAL;
		else
			policy->group = (gid_t)number;
		return 0;
	}
	SAY("unknown key '%.40s' in [policy]: use idle, power_idle, suspend_timeout, "
	    "request_timeout, verify, hold, recovery, upgrade, owner, group or mode",
	    key);
	return -EINVAL;
}

static int spec_sandbox(struct mgr_spec *spec, const char *key, const char *value, char *error,
			size_t error_size)
{
	int layer = au_layer_find(key);
	bool on = true;
	int err;

	if (layer < 0) {
		SAY("unknown layer '%.40s' in [sandbox]: 'auriga info' lists them", key);
		return -EINVAL;
	}
	err = spec_bool(key, value, &on, error, error_size);
	if (!err && on)
		spec->policy.without &= ~(1u << layer);
	else if (!err)
		spec->policy.without |= 1u << layer;
	return err;
}

int mgr_spec_set(struct mgr_spec *spec, const char *section, const char *key, const char *value,
		 char *error, size_t error_size)
{
	if (!strcmp(section, "device"))
		return spec_device(spec, key, value, error, error_size);
	if (!strcmp(section, "params"))
		return spec_param(spec, key, value, error, error_size);
	if (!strcmp(section, "policy"))
		return spec_policy(spec, key, value, error, error_size);
	if (!strcmp(section, "sandbox"))
		return spec_sandbox(spec, key, value, error, error_size);
	if (!section[0])
		SAY("'%.40s' stands before any section: begin with [device]", key);
	else
		SAY("unknown section [%.40s]: use [device], [params], [policy] or [sandbox]",
		    section);
	return -EINVAL;
}

int mgr_spec_check(const struct mgr_spec *spec, char *error, size_t error_size)
{
	if (!spec->address[0]) {
		SAY("no address: say where the device is: vfio:0000:01:00.0, vfio-user:PATH, "
		    "or virtual");
		return -EINVAL;
	}
	if (!strcmp(spec->address, "virtual") && !spec->driver[0]) {
		SAY("a virtual device needs a driver: name it");
		return -EINVAL;
	}
	if (spec->name[0] && mgr_spec_needs(spec, spec->name)) {
		SAY("needs: %s cannot need itself", spec->name);
		return -EINVAL;
	}
	return 0;
}

bool mgr_spec_same(const struct mgr_spec *a, const struct mgr_spec *b)
{
	const struct mgr_policy *p = &a->policy, *q = &b->policy;
	char verify[2][AU_VERIFY_TEXT];

	if (strcmp(a->name, b->name) || strcmp(a->driver, b->driver) ||
	    strcmp(a->address, b->address) || a->param_count != b->param_count ||
	    a->need_count != b->need_count)
		return false;
	for (unsigned int i = 0; i < a->need_count; i++)
		if (!mgr_spec_needs(b, a->needs[i]))
			return false;
	for (unsigned int i = 0; i < a->param_count; i++)
		if (strcmp(a->params[i], b->params[i]))
			return false;
	au_verify_print(&p->verify, ',', verify[0]);
	au_verify_print(&q->verify, ',', verify[1]);
	return p->idle_ms == q->idle_ms && p->power_idle_ms == q->power_idle_ms &&
	       p->suspend_ms == q->suspend_ms && p->request_timeout_ms == q->request_timeout_ms &&
	       !strcmp(verify[0], verify[1]) && p->owner == q->owner && p->group == q->group &&
	       p->mode == q->mode && p->without == q->without && p->recovery == q->recovery &&
	       p->upgrade == q->upgrade;
}
