/* SPDX-License-Identifier: MIT */
/*
 * The manager is trusted, but a host that is told nonsense says so rather than crash: a damaged
 * message must not look like a damaged driver.
 */
#include "host/host.h"

#include "base/paths.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name;
	bool required;
} start_fds[HOST_FD_COUNT] = {
	[HOST_FD_MODULE] = { "module", true },	[HOST_FD_STATUS] = { "status", true },
	[HOST_FD_STATE] = { "state", true },	[HOST_FD_RETAINED] = { "retained", false },
	[HOST_FD_ARENA] = { "arena", false },	[HOST_FD_SESSION] = { "session", false },
	[HOST_FD_GROUP] = { "group", false },	[HOST_FD_CONTAINER] = { "container", false },
	[HOST_FD_LISTEN] = { "listen", false }, [HOST_FD_CLAIM] = { "claim", false },
};

struct start_parser {
	json_t *json;
	char *error;
	size_t error_size;
	bool failed;
};

static void start_refuse(struct start_parser *p, const char *key, const char *why)
{
	if (!p->failed)
		snprintf(p->error, p->error_size, "start message: %s: %s", key, why);
	p->failed = true;
}

static const char *start_text(struct start_parser *p, const char *key, const char *otherwise)
{
	const json_t *value = json_object_get(p->json, key);

	if (!value && otherwise)
		return otherwise;
	if (!json_is_string(value))
		start_refuse(p, key, value ? "not a text" : "missing");
	return json_is_string(value) ? json_string_value(value) : "";
}

static uint32_t start_number(struct start_parser *p, const char *key, bool required)
{
	const json_t *value = json_object_get(p->json, key);
	json_int_t number = json_integer_value(value);

	if (!value && !required)
		return 0;
	if (!json_is_integer(value) || number < 0 || number > (json_int_t)UINT32_MAX) {
		start_refuse(p, key, value ? "not a number of 32 bits" : "missing");
		return 0;
	}
	return (uint32_t)number;
}

static bool start_bool(struct start_parser *p, const json_t *object, const char *key,
		       bool otherwise)
{
	const json_t *value = json_object_get(object, key);

	if (!value)
		return otherwise;
	if (!json_is_boolean(value))
		start_refuse(p, key, "neither true nor false");
	return json_is_true(value);
}

static void start_params(struct start_parser *p, struct host_start *start)
{
	const json_t *list = json_object_get(p->json, "params");
	size_t count = json_array_size(list);

	if (!list)
		return;
	if (!json_is_array(list) || count > HOST_PARAMS_MAX) {
		start_refuse(p, "params", "not a list of at most 32 texts");
		return;
	}
	for (size_t i = 0; i < count; i++) {
		start->params[i] = json_string_value(json_array_get(list, i));
		if (!start->params[i]) {
			start_refuse(p, "params", "not a text");
			return;
		}
	}
}

static void start_verify(struct start_parser *p, struct host_start *start)
{
	char why[512];

	if (au_verify_parse(start_text(p, "inject", "no"), &start->verify, why, sizeof(why)) != 0)
		start_refuse(p, "inject", why);
	start->verify.rules |= start_bool(p, p->json, "verify", false);
}

static void start_session(struct start_parser *p, struct host_start *start)
{
	const char *hex = start_text(p, "session", "");
	unsigned char *out = (unsigned char *)&start->session;

	if (!*hex)
		return;
	if (strlen(hex) != 2 * sizeof(start->session) ||
	    strspn(hex, "0123456789abcdefABCDEF") != strlen(hex)) {
		start_refuse(p, "session", "not the bytes of a session in hexadecimal");
		return;
	}
	for (size_t i = 0; i < sizeof(start->session); i++) {
		const char digits[3] = { hex[2 * i], hex[2 * i + 1], 0 };

		out[i] = (unsigned char)strtoul(digits, NULL, 16);
	}
	start->has_session = true;
}

static void start_descriptors(struct start_parser *p, int fds[AU_MSG_FDS], struct host_start *start)
{
	const json_t *map = json_object_get(p->json, "fds");

	for (unsigned int i = 0; i < HOST_FD_COUNT; i++) {
		const json_t *value = json_object_get(map, start_fds[i].name);
		json_int_t at = json_integer_value(value);

		if (!value && !start_fds[i].required)
			continue;
		if (!json_is_integer(value) || at < 0 || at >= AU_MSG_FDS || fds[at] < 0) {
			start_refuse(p, start_fds[i].name, "no such descriptor");
			continue;
		}
		start->fds[i] = fds[at];
		fds[at] = -1;
	}
	if (start->has_session != (start->fds[HOST_FD_SESSION] >= 0))
		start_refuse(p, "session", "text and descriptor must come together");
	else if ((start->has_session && start->session.transport == AU_BUS_VFIO) !=
			 (start->fds[HOST_FD_GROUP] >= 0) ||
		 (start->fds[HOST_FD_GROUP] >= 0) != (start->fds[HOST_FD_CONTAINER] >= 0))
		start_refuse(p, "session", "VFIO has three descriptors, others have one");
}

static void start_sandbox(struct start_parser *p, struct host_start *start)
{
	json_t *map = json_object_get(p->json, "sandbox");
	const json_t *cgroup = json_object_get(p->json, "cgroup");
	const json_t *detail = json_object_get(cgroup, "detail");
	const char *key;
	json_t *value;

	if (map && !json_is_object(map))
		start_refuse(p, "sandbox", "not an object");
	json_object_foreach(map, key, value)
	{
		int layer = au_layer_find(key);

		if (layer < 0)
			start_refuse(p, key, "no such layer");
		else if (!start_bool(p, map, key, true))
			start->without |= 1u << layer;
	}
	start->cgroup_in_force = start_bool(p, cgroup, "in_force", false);
	start->cgroup_detail = json_string_value(detail);
	start->uid = start_number(p, "uid", false);
	start->gid = start_number(p, "gid", false);
}

int host_start_parse(const char *text, int fds[AU_MSG_FDS], struct host_start *start, char *error,
		     size_t error_size)
{
	struct start_parser p = { .error = error, .error_size = error_size };
	const char *from;
	json_error_t where;

	memset(start, 0, sizeof(*start));
	for (unsigned int i = 0; i < HOST_FD_COUNT; i++)
		start->fds[i] = -1;
	p.json = start->json = json_loads(text, JSON_REJECT_DUPLICATES, &where);
	if (!json_is_object(p.json)) {
		snprintf(error, error_size, "start message: %s",
			 p.json ? "not an object" : where.text);
		au_msg_close(fds);
		return -EINVAL;
	}
	start->name = start_text(&p, "name", NULL);
	start->driver = start_text(&p, "driver", NULL);
	start->address = start_text(&p, "address", NULL);
	start->module_path = start_text(&p, "module_path", start->driver);
	start->generation = start_number(&p, "generation", true);
	start->power_idle_ms = start_number(&p, "power_idle_ms", false);
	start->replays = start_number(&p, "replays", false);
	start_verify(&p, start);
	start->state_fresh = start_bool(&p, p.json, "state_fresh", false);
	start->retained_fresh = start_bool(&p, p.json, "retained_fresh", false);
	from = start_text(&p, "from", "off");
	start->failed = !strcmp(from, "failed");
	if (!start->failed && strcmp(from, "off") != 0)
		start_refuse(&p, "from", "neither off nor failed");
	if (!au_name_valid(start->driver))
		start_refuse(&p, "driver", "not a driver's name");
	if (!*start->name || strlen(start->name) > 31)
		start_refuse(&p, "name", "not a device's name");
	if (start->replays > HOST_CHANNELS_MAX)
		start_refuse(&p, "replays", "more than there can be channels");
	start_params(&p, start);
	start_session(&p, start);
	start_descriptors(&p, fds, start);
	start_sandbox(&p, start);
	au_msg_close(fds);
	return p.failed ? -EINVAL : 0;
}

void host_start_free(struct host_start *start)
{
	for (unsigned int i = 0; i < HOST_FD_COUNT; i++)
		if (start->fds[i] >= 0)
			close(start->fds[i]);
	json_decref(start->json);
}
