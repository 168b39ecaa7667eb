/* SPDX-License-Identifier: MIT */
#include "host/host.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define REPORT_CHANNELS 64 /* at most 300 bytes each, of the 32 KiB of a message */

static json_t *report_layers(const struct host *host)
{
	json_t *list = json_array();

	for (unsigned int i = 0; i < AU_LAYER_COUNT; i++)
		json_array_append_new(list, json_pack("{s:s, s:b, s:s}", "name", au_layer_name(i),
						      "in_force", host->sandbox.layers[i].in_force,
						      "detail", host->sandbox.layers[i].detail));
	return list;
}

static json_t *report_times(const struct host *host)
{
	return json_pack("{s:I, s:I, s:I}", "loaded", (json_int_t)host->times.loaded_us,
			 "sandboxed", (json_int_t)host->times.sandboxed_us, "started",
			 (json_int_t)host->times.started_us);
}

void host_units_refresh(struct host *host, const struct au_unit *except)
{
	json_t *list = json_array();
	json_t *old;

	for (unsigned int i = 0; i < AUF_UNITS_MAX && host->device; i++) {
		struct au_unit *unit = auf_device_unit(host->device, i);

		if (unit && unit != except)
			json_array_append_new(list, json_pack("{s:i, s:s}", "index", (int)i,
							      "class", auf_unit_class(unit)->name));
	}
	pthread_mutex_lock(&host->lock);
	old = host->units;
	host->units = list;
	pthread_mutex_unlock(&host->lock);
	json_decref(old);
}

/* Under the host's lock. */
static json_t *report_units(const struct host *host)
{
	return host->units ? json_deep_copy(host->units) : json_array();
}

static json_t *report_channel(const struct host_channel *ch)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "channel", (json_int_t)ch->id, "unit",
			 (json_int_t)ch->unit, "depth", (json_int_t)ch->depth, "buffer_size",
			 (json_int_t)ch->buffer_size, "lane", (json_int_t)ch->lane);
}

/*
 * Under the host's lock. What the next manager needs: the tokens, which are nobody else's business.
 * All channels that there can be fit into one message.
 */
static json_t *report_channels_adopted(const struct host *host)
{
	json_t *list = json_array();

	for (const struct host_channel *ch = host->channels; ch; ch = ch->next) {
		json_t *o = report_channel(ch);
		char token[33];

		snprintf(token, sizeof(token), "%016" PRIx64 "%016" PRIx64, ch->token[0],
			 ch->token[1]);
		json_object_set_new(o, "token", json_string(token));
		if (ch->closing)
			json_object_set_new(o, "closing", json_true());
		json_array_append_new(list, o);
	}
	return list;
}

static void report_stats(json_t *o, struct au_chan_server *server)
{
	struct au_chan_server_stats stats = au_chan_server_stats(server);

	json_object_set_new(o, "requests", json_integer((json_int_t)stats.requests));
	json_object_set_new(o, "replayed", json_integer((json_int_t)stats.replayed));
	json_object_set_new(o, "stale", json_integer((json_int_t)stats.stale));
	json_object_set_new(o, "events", json_integer((json_int_t)stats.events));
	json_object_set_new(o, "events_dropped", json_integer((json_int_t)stats.events_dropped));
}

/* Under the host's lock. For people; no more than fit into the message, and how many were left out.
 */
static void report_channels(const struct host *host, bool lane, json_t *o)
{
	json_t *list = json_array();
	unsigned int room = REPORT_CHANNELS;

	for (const struct host_channel *ch = host->channels; ch && room; ch = ch->next, room--) {
		json_t *channel = report_channel(ch);

		json_object_set_new(channel, "closing", json_boolean(ch->closing));
		if (lane && ch->server)
			report_stats(channel, ch->server);
		json_array_append_new(list, channel);
	}
	json_object_set_new(o, "channels", list);
	json_object_set_new(
		o, "channels_left_out",
		json_integer((json_int_t)(host->channel_count - json_array_size(list))));
}

static char *report_text(json_t *o)
{
	char *text = json_dumps(o, JSON_COMPACT);

	json_decref(o);
	if (!text)
		abort();
	return text;
}

char *host_report_ready(struct host *host)
{
	return report_text(json_pack("{s:o, s:o, s:o}", "units", report_units(host), "layers",
				     report_layers(host), "times_us", report_times(host)));
}

char *host_report_units(struct host *host)
{
	json_t *units;

	pthread_mutex_lock(&host->lock);
	units = report_units(host);
	pthread_mutex_unlock(&host->lock);
	return report_text(json_pack("{s:o}", "units", units));
}

static json_t *report_identity(const struct host *host)
{
	return json_pack("{s:s, s:s, s:s, s:I}", "name", host->start.name, "driver",
			 host->start.driver, "address", host->start.address, "generation",
			 (json_int_t)host->start.generation);
}

char *host_report_adopted(struct host *host, int fds[AU_MSG_FDS], unsigned int *fd_count)
{
	static const struct {
		const char *name;
		enum host_fd fd;
	} handed[] = {
		{ "status", HOST_FD_STATUS },
		{ "state", HOST_FD_STATE },
		{ "retained", HOST_FD_RETAINED },
		{ "claim", HOST_FD_CLAIM },
	};
	json_t *o = report_identity(host);
	json_t *map = json_object();

	*fd_count = 0;
	for (unsigned int i = 0; i < sizeof(handed) / sizeof(handed[0]); i++) {
		int fd = host->start.fds[handed[i].fd];

		if (fd < 0)
			continue;
		json_object_set_new(map, handed[i].name, json_integer((json_int_t)*fd_count));
		fds[(*fd_count)++] = fd;
	}
	json_object_set_new(o, "fds", map);
	json_object_set_new(o, "layers", report_layers(host));
	json_object_set_new(o, "times_us", report_times(host));
	pthread_mutex_lock(&host->lock);
	json_object_set_new(o, "units", report_units(host));
	json_object_set_new(o, "channels", report_channels_adopted(host));
	json_object_set_new(o, "serving", json_boolean(host->serving));
	json_object_set_new(o, "gone", json_boolean(host->gone));
	pthread_mutex_unlock(&host->lock);
	return report_text(o);
}

/* One entry a line. */
json_t *host_report_history(struct host *host)
{
	char text[8192];
	json_t *list = json_array();
	char *save = NULL;

	text[0] = 0;
	auf_device_history(host->device, text, sizeof(text));
	text[sizeof(text) - 1] = 0;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		json_array_append_new(list, json_string(line));
	return list;
}

json_t *host_report_driver(const struct auf_report_entry *entries, unsigned int count,
			   const char *why)
{
	json_t *o;

	if (why)
		return json_string(why);
	o = json_object();
	for (unsigned int i = 0; i < count; i++)
		json_object_set_new(o, entries[i].key,
				    entries[i].is_text
					    ? json_string(entries[i].text)
					    : json_integer((json_int_t)entries[i].number));
	return o;
}

/* What each lane has done; and all of them. */
static void report_lanes(const struct host *host, json_t *o)
{
	const struct au_lane_status *status = host->recorder.status->lane;
	json_int_t completed = 0, overdue_ms = 0;
	json_t *list = json_array();

	for (unsigned int i = 0; i < host->lane_count; i++) {
		json_int_t done = (json_int_t)status[i].completed;

		completed += done;
		if ((json_int_t)status[i].overdue_ms > overdue_ms)
			overdue_ms = (json_int_t)status[i].overdue_ms;
		json_array_append_new(list, json_pack("{s:I}", "completed", done));
	}
	json_object_set_new(o, "completed", json_integer(completed));
	json_object_set_new(o, "overdue_ms", json_integer(overdue_ms));
	json_object_set_new(o, "lanes", list);
}

char *host_report_answer(struct host *host, bool lane, json_t *driver)
{
	json_t *o = report_identity(host);

	json_object_set_new(o, "state", json_string(auf_device_state_name(host->device)));
	json_object_set_new(o, "layers", report_layers(host));
	json_object_set_new(o, "times_us", report_times(host));
	report_lanes(host, o);
	json_object_set_new(o, "lane_answers", json_boolean(lane));
	if (driver)
		json_object_set_new(o, json_is_string(driver) ? "report_error" : "report", driver);
	if (lane) {
		json_object_set_new(o, "power", host_power_report(host));
		json_object_set_new(o, "history", host_report_history(host));
	}
	pthread_mutex_lock(&host->lock);
	json_object_set_new(o, "units", report_units(host));
	report_channels(host, lane, o);
	json_object_set_new(o, "serving", json_boolean(host->serving));
	json_object_set_new(o, "gone", json_boolean(host->gone));
	pthread_mutex_unlock(&host->lock);
	return report_text(o);
}
