/* SPDX-License-Identifier: MIT */
#include "host/host.h"

#include "auriga/auriga.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void channel_end(struct host *host, uint32_t id, int reason, const char *text)
{
	struct au_hm_channel msg = {
		.head.type = AU_HM_ENDED,
		.channel = id,
		.reason = reason,
	};

	snprintf(msg.text, sizeof(msg.text), "%s", text);
	host_link_send(&host->link, &msg, sizeof(msg));
}

static void channel_forget(struct host_channel *ch)
{
	au_chan_server_unmap(ch->rings, ch->pool, ch->depth, ch->buffer_size);
	close(ch->doorbell);
	if (ch->pool_fd >= 0)
		close(ch->pool_fd);
}

/* Let go of everything; the manager learns it last, since it may then take the pool away. */
static void channel_free(struct host_channel *ch)
{
	struct host *host = ch->host;
	struct host_channel **p = &host->channels;

	pthread_mutex_lock(&host->lock);
	while (*p && *p != ch)
		p = &(*p)->next;
	if (*p) {
		*p = ch->next;
		host->channel_count--;
	}
	pthread_mutex_unlock(&host->lock);
	if (ch->pool_iova)
		auf_dma_unmap(host->device, ch->pool_iova);
	channel_forget(ch);
	channel_end(host, ch->id, ch->reason, ch->text);
	free(ch);
}

static void channel_ended(void *context, int reason, const char *text)
{
	struct host_channel *ch = context;

	ch->closing = true;
	ch->reason = reason;
	snprintf(ch->text, sizeof(ch->text), "%s", text);
}

static void channel_closed(void *context)
{
	channel_free(context);
}

struct channel_job {
	struct host_job job;
	struct host_channel *channel;
	uint32_t id;
};

static struct host_channel *channel_find(struct host *host, uint32_t id)
{
	struct host_channel *ch = host->channels;

	while (ch && ch->id != id)
		ch = ch->next;
	return ch;
}

static int channel_serve(struct host *host, struct host_channel *ch)
{
	struct au_unit *unit = auf_device_unit(host->device, ch->unit);
	struct au_lane *lane = auf_device_next_lane(host->device);
	struct au_chan_server_config config = {
		.lane = lane,
		.unit = unit,
		.gate = &host->gate,
		.rings = ch->rings,
		.pool = ch->pool,
		.doorbell = ch->doorbell,
		.depth = ch->depth,
		.buffer_size = ch->buffer_size,
		.generation = host->start.generation,
		.quiet = ch->flags & AU_OPEN_QUIET,
		.replaying = ch->flags & AU_HM_REPLAYS,
		.awaited = ch->flags & AU_HM_AWAITED,
		.busy = &host->recorder.status->busy[ch->id % AU_RECORDER_BUSY],
		.ended = channel_ended,
		.closed = channel_closed,
		.context = ch,
	};
	int err;

	if (!unit || host->gone) {
		snprintf(ch->text, sizeof(ch->text), unit ? "%s was removed" : "%s has no unit %u",
			 host->start.name, ch->unit);
		return unit ? -ENODEV : -ENXIO;
	}
	if (host->note.dma_bits && host->start.has_session) {
		err = auf_dma_map(host->device, ch->pool_fd, ch->pool,
				  (uint64_t)ch->depth * ch->buffer_size, &ch->pool_iova);
		if (err) {
			snprintf(ch->text, sizeof(ch->text),
				 "the device cannot reach the buffers: %s", strerror(-err));
			return err;
		}
		config.dma_offset = ch->pool_iova - (uint64_t)(uintptr_t)ch->pool;
	}
	close(ch->pool_fd);
	ch->pool_fd = -1;
	config.cls = auf_unit_class(unit)->name;
	while (host->lanes[ch->lane] != lane)
		ch->lane++;
	auf_device_hold(host->device);
	err = au_chan_server_open(&config, &ch->server);
	auf_device_let_go(host->device);
	return err;
}

static void channel_open_job(struct host *host, struct host_job *job)
{
	struct host_channel *ch = ((struct channel_job *)job)->channel;
	bool replaying = ch->flags & AU_HM_REPLAYS;
	int err = 0;

	free(job);
	/* It came when this host was told to stop: the next one serves it. */
	if (host->muted) {
		channel_forget(ch);
		free(ch);
		return;
	}
	pthread_mutex_lock(&host->lock);
	if (channel_find(host, ch->id) || host->channel_count >= HOST_CHANNELS_MAX)
		err = -EBUSY;
	ch->next = host->channels;
	host->channels = ch;
	host->channel_count++;
	pthread_mutex_unlock(&host->lock);
	if (err)
		snprintf(ch->text, sizeof(ch->text), "channel %u is open, or there are too many",
			 ch->id);
	else
		err = channel_serve(host, ch);
	if (!err)
		return;
	ch->reason = err;
	if (!ch->text[0])
		snprintf(ch->text, sizeof(ch->text), "cannot serve the channel: %s",
			 strerror(-err));
	channel_free(ch);
	if (replaying)
		au_chan_gate_skip(&host->gate);
}

static void channel_skip_job(struct host *host, struct host_job *job)
{
	free(job);
	au_chan_gate_skip(&host->gate);
}

static void channel_post(struct host *host, void (*fn)(struct host *, struct host_job *),
			 struct host_channel *ch, uint32_t id)
{
	struct channel_job *job = calloc(1, sizeof(*job));

	if (!job)
		abort();
	*job = (struct channel_job){ .job.fn = fn, .channel = ch, .id = id };
	host_mailbox_post(&host->box, &job->job);
}

void host_channel_open(struct host *host, const struct au_hm_open *msg, int fds[AU_MSG_FDS])
{
	struct host_channel *ch = calloc(1, sizeof(*ch));
	char why[120] = "";
	int err = ch ? 0 : -ENOMEM;

	if (!err && (fds[0] < 0 || fds[1] < 0 || fds[2] < 0)) {
		snprintf(why, sizeof(why), "rings, doorbell and pool must come with it");
		err = -EINVAL;
	}
	if (!err)
		err = au_chan_server_map(fds[0], fds[2], msg->depth, msg->buffer_size, &ch->rings,
					 &ch->pool, why, sizeof(why));
	if (err) {
		channel_end(host, msg->channel, err, why);
		if (msg->flags & AU_HM_REPLAYS)
			channel_post(host, channel_skip_job, NULL, 0);
		free(ch);
		au_msg_close(fds);
		return;
	}
	ch->host = host;
	ch->doorbell = fds[1];
	ch->pool_fd = fds[2];
	fds[1] = fds[2] = -1;
	au_msg_close(fds);
	ch->id = msg->channel;
	ch->unit = msg->unit;
	ch->depth = msg->depth;
	ch->buffer_size = msg->buffer_size;
	ch->flags = msg->flags;
	memcpy(ch->token, msg->token, sizeof(ch->token));
	channel_post(host, channel_open_job, ch, 0);
}

static void channel_close_job(struct host *host, struct host_job *job)
{
	struct host_channel *ch = channel_find(host, ((struct channel_job *)job)->id);

	free(job);
	if (!ch)
		return;
	/* One that ended by itself, at the same time, has been reported. */
	auf_device_hold(host->device);
	if (!ch->closing) {
		ch->closing = true;
		au_chan_server_close(ch->server);
	}
	auf_device_let_go(host->device);
}

void host_channel_close(struct host *host, uint32_t id)
{
	channel_post(host, channel_close_job, NULL, id);
}

void host_channels_mute(struct host *host)
{
	host->muted = true;
	for (struct host_channel *ch = host->channels; ch; ch = ch->next)
		if (!ch->closing)
			au_chan_server_mute(ch->server);
}

void host_channels_close(struct host *host)
{
	struct host_channel *next;

	for (struct host_channel *ch = host->channels; ch; ch = next) {
		next = ch->next;
		if (ch->closing)
			continue;
		ch->closing = true;
		au_chan_server_close(ch->server);
	}
}
