/* SPDX-License-Identifier: MIT */
/*
 * Channels across the lives of hosts. Rings are made anew for each host; the pool stays as long as
 * the client. A channel whose client has gone stays until the host has let go of its pool.
 */
#include "auriga/auriga.h"
#include "manager/clients.h"
#include "manager/json.h"
#include "manager/upgrade.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#define CHANNEL_PAGE	4096u
#define CHANNEL_SAVE_MS 5 /* how many there are may wait */

static bool channel_host_ready(const struct mgr_device *dev)
{
	return dev->host && dev->host->state == MGR_HOST_READY;
}

static void channel_close_ends(struct mgr_channel *ch)
{
	mgr_close(&ch->rings_fd);
	mgr_close(&ch->doorbell_fd[0]);
	mgr_close(&ch->doorbell_fd[1]);
}

void mgr_channel_free(struct mgr_channel *ch)
{
	struct mgr_device *dev = ch->dev;

	if (ch->client)
		ch->client->channel = NULL;
	channel_close_ends(ch);
	mgr_close_foreign(&ch->pool_fd);
	au_loop_timer_cancel(&ch->rejoin);
	au_list_remove(&ch->node);
	free(ch);
	mgr_device_idle_check(dev);
}

static void channel_lost(struct au_loop_timer *timer)
{
	mgr_channel_close(timer->context);
}

static struct mgr_channel *channel_alloc(struct mgr_device *dev)
{
	struct mgr_channel *ch = calloc(1, sizeof(*ch));

	if (!ch)
		return NULL;
	ch->dev = dev;
	ch->uid = (uid_t)-1;
	ch->pool_fd = ch->rings_fd = ch->doorbell_fd[0] = ch->doorbell_fd[1] = -1;
	ch->rejoin.expired = channel_lost;
	ch->rejoin.context = ch;
	au_list_add_tail(&dev->channels, &ch->node);
	return ch;
}

uint32_t mgr_channel_depth(uint32_t wanted)
{
	uint32_t depth = 2;

	while (depth < wanted)
		depth *= 2;
	return depth;
}

static size_t channel_pool_size(const struct mgr_channel *ch)
{
	size_t size = (size_t)ch->depth * ch->buffer_size;

	return (size + CHANNEL_PAGE - 1) & ~(size_t)(CHANNEL_PAGE - 1);
}

/* Channels whose clients have gone count until the host lets go of them. */
static int channel_check_room(const struct mgr_channel *ch, char *error, size_t error_size)
{
	unsigned int count = 0, own_count = 0;
	size_t size = 0, own_size = 0;

	au_list_for_each (node, &ch->dev->channels) {
		const struct mgr_channel *other = AU_CONTAINER(node, struct mgr_channel, node);
		size_t pool = channel_pool_size(other);

		count++;
		size += pool;
		if (other->uid == ch->uid) {
			own_count++;
			own_size += pool;
		}
	}
	if (count > MGR_CHANNELS_MAX || !mgr_share(ch->uid, own_count, MGR_CHANNELS_MAX - count)) {
		snprintf(error, error_size, "this device has as many clients as it may%s",
			 count > MGR_CHANNELS_MAX ? "" : " of one user");
		return -EAGAIN;
	}
	if (size > MGR_POOLS_MAX || !mgr_share(ch->uid, own_size, MGR_POOLS_MAX - size)) {
		snprintf(error, error_size,
			 "the device's clients would have more than the %u MiB of buffers that "
			 "they may have together%s: use fewer, or smaller ones",
			 MGR_POOLS_MAX >> 20,
			 size > MGR_POOLS_MAX ? ""
					      : ", and one user may have no more than he leaves");
		return -E2BIG;
	}
	return 0;
}

/* A pool that a client brings back was ours once; whether this one was is not for it to say. */
static int channel_take_pool(struct mgr_channel *ch, struct mgr_client *client)
{
	int err = au_memfd_check(client->pool_fd, channel_pool_size(ch));

	if (err)
		return err;
	mgr_close_foreign(&ch->pool_fd);
	ch->pool_fd = client->pool_fd;
	client->pool_fd = -1;
	ch->pool_known = true;
	return 0;
}

int mgr_channel_new(struct mgr_client *client, unsigned int unit, char *error, size_t error_size)
{
	const struct au_cm_hello *hello = &client->hello;
	bool returned = hello->token[0] || hello->token[1];
	struct mgr_channel *ch = channel_alloc(client->dev);
	int err = 0;

	if (!ch)
		return -ENOMEM;
	ch->unit = unit;
	ch->depth = mgr_channel_depth(hello->depth);
	ch->buffer_size = hello->buffer_size;
	ch->flags = hello->flags & AU_OPEN_QUIET;
	ch->uid = client->uid;
	err = channel_check_room(ch, error, error_size);
	if (err) {
		mgr_channel_free(ch);
		return err;
	}
	if (returned) {
		memcpy(ch->token, hello->token, sizeof(ch->token));
		ch->lived = !client->parted;
		err = channel_take_pool(ch, client);
		if (err)
			snprintf(error, error_size, "its pool is not sealed, or too small");
	} else {
		if (getrandom(ch->token, sizeof(ch->token), 0) != sizeof(ch->token))
			err = -EIO;
		ch->pool_fd = err ? -1 : au_memfd_sealed("auriga-pool", channel_pool_size(ch));
		if (!err && ch->pool_fd < 0)
			err = ch->pool_fd;
		if (err)
			snprintf(error, error_size, "no memory for its buffers: %s",
				 strerror(-err));
	}
	if (err) {
		mgr_channel_free(ch);
		return err;
	}
	ch->client = client;
	client->channel = ch;
	return 0;
}

struct mgr_channel *mgr_channel_find(struct mgr_device *dev, const uint64_t token[2])
{
	au_list_for_each (node, &dev->channels) {
		struct mgr_channel *ch = AU_CONTAINER(node, struct mgr_channel, node);

		if (!ch->closing && !memcmp(ch->token, token, sizeof(ch->token)))
			return ch;
	}
	return NULL;
}

/* Rings and doorbell for this host. */
static int channel_make(struct mgr_channel *ch)
{
	struct au_wire_layout layout;
	int err = au_wire_layout(ch->depth, &layout);

	if (err)
		return err;
	channel_close_ends(ch);
	ch->rings_fd = au_memfd_sealed("auriga-rings", layout.size);
	if (ch->rings_fd < 0) {
		err = ch->rings_fd;
		ch->rings_fd = -1;
		return err;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ch->doorbell_fd))
		return -errno;
	/* Neither end ever takes any: what comes with a byte the receiver would have to close. */
	au_sock_refuse_fds(ch->doorbell_fd[0]);
	au_sock_refuse_fds(ch->doorbell_fd[1]);
	return 0;
}

/* Tell the host. -EAGAIN: it does not read now; once more when it does. */
static int channel_open(struct mgr_channel *ch)
{
	struct mgr_device *dev = ch->dev;
	struct au_hm_open msg = { .head.type = AU_HM_OPEN };
	int fds[3], err = 0;

	if (ch->rings_fd < 0) {
		err = channel_make(ch);
		ch->id = ++dev->next_channel;
	}
	if (err)
		return err;
	msg.channel = ch->id;
	msg.unit = ch->unit;
	msg.depth = ch->depth;
	msg.buffer_size = ch->buffer_size;
	msg.flags = ch->flags | (ch->lived ? AU_HM_REPLAYS : 0) | (ch->awaited ? AU_HM_AWAITED : 0);
	msg.generation = dev->host->generation;
	memcpy(msg.token, ch->token, sizeof(msg.token));
	fds[0] = ch->rings_fd;
	fds[1] = ch->doorbell_fd[1];
	fds[2] = ch->pool_fd;
	err = mgr_host_send(dev->host, &msg, sizeof(msg), fds, 3);
	if (err)
		return err;
	ch->opened = true;
	mgr_close(&ch->doorbell_fd[1]);
	return 0;
}

static unsigned int channel_policy(const struct mgr_device *dev)
{
	static const unsigned int flags[] = {
		[MGR_REISSUE] = 0,
		[MGR_ABORT] = AU_CH_ABORT,
		[MGR_FAIL] = AU_CH_FAIL,
	};

	return flags[dev->spec.policy.recovery];
}

static void channel_tell(struct mgr_channel *ch, uint16_t flags)
{
	struct mgr_device *dev = ch->dev;
	struct au_cm_channel msg = { .head.type = AU_CM_CHANNEL };
	int fds[3] = { ch->rings_fd, ch->doorbell_fd[0], ch->pool_fd };
	unsigned int count = flags & AU_CH_KEEP ? 0 : ch->pool_known ? 2 : 3;

	msg.version = AU_WIRE_VERSION;
	msg.flags = (uint16_t)(flags | (ch->fault ? AU_CH_FAULT : 0) | channel_policy(dev));
	msg.generation = dev->host->generation;
	memcpy(msg.token, ch->token, sizeof(msg.token));
	msg.channel = ch->id;
	msg.depth = ch->depth;
	msg.buffer_size = ch->buffer_size;
	msg.device = dev->removals + 1;
	mgr_unit_name(dev, ch->unit, msg.unit, sizeof(msg.unit));
	memcpy(msg.cls, dev->units[ch->unit].cls, sizeof(msg.cls));
	memcpy(ch->cls, msg.cls, sizeof(ch->cls));
	if (mgr_client_send(ch->client, &msg, sizeof(msg), fds, count)) {
		mgr_client_drop(ch->client);
		return;
	}
	ch->told = true;
	ch->pool_known = true;
	ch->fault = false;
	ch->client->parted = false;
	channel_close_ends(ch);
	au_loop_timer_set(dev->mgr->loop, &dev->save, CHANNEL_SAVE_MS);
}

/* What comes back need not be what was pulled out. Return: false when it has no such unit, which
 * may come later, or, with the client dropped, another one. */
static bool channel_fits(struct mgr_channel *ch)
{
	const struct mgr_unit *unit = &ch->dev->units[ch->unit];
	char line[MGR_TEXT];

	if (ch->opened || !ch->cls[0])
		return true;
	if (!unit->present)
		return false;
	if (!strcmp(ch->cls, unit->cls))
		return true;
	snprintf(line, sizeof(line), "%s: another device is there now, of class %s",
		 ch->dev->spec.name, unit->cls);
	mgr_client_error(ch->client, -ENODEV, line);
	return false;
}

void mgr_channel_park(struct mgr_channel *ch)
{
	channel_close_ends(ch);
	ch->told = ch->lived = ch->awaited = ch->fault = false;
}

void mgr_channel_up(struct mgr_channel *ch)
{
	int err = 0;

	if (!channel_host_ready(ch->dev) || !channel_fits(ch))
		return;
	if (!ch->opened)
		err = channel_open(ch);
	if (err == -EAGAIN || err == -EPIPE || err == -ECONNRESET)
		return; /* when it reads; or when the next host is there */
	if (err)
		mgr_client_error(ch->client, err, "no memory for a channel");
	else if (!ch->told)
		channel_tell(ch, 0);
}

void mgr_channel_rejoin(struct mgr_channel *ch, struct mgr_client *client)
{
	struct mgr_device *dev = ch->dev;

	if (channel_take_pool(ch, client)) {
		mgr_client_error(client, -EPERM, "its pool is not sealed, or too small");
		return;
	}
	au_loop_timer_cancel(&ch->rejoin);
	ch->client = client;
	ch->uid = client->uid;
	client->channel = ch;
	if (client->parted)
		mgr_channel_park(ch);
	if (!channel_host_ready(dev) || !ch->opened) {
		if (dev->state == MGR_GONE)
			return; /* it is looked for */
		if (dev->state == MGR_RUNNING)
			mgr_channel_up(ch);
		else
			mgr_device_want(dev);
		return;
	}
	if (client->hello.generation == dev->host->generation) {
		channel_tell(ch, AU_CH_KEEP);
		return;
	}
	/* The old manager died between telling the host and telling the client: once more. */
	{
		struct au_hm_channel msg = { .head.type = AU_HM_CLOSE, .channel = ch->id };

		mgr_host_send(dev->host, &msg, sizeof(msg), NULL, 0);
		ch->opened = false;
		ch->lived = !client->parted;
		mgr_channel_up(ch);
	}
}

static void channel_send_close(struct mgr_channel *ch)
{
	struct au_hm_channel msg = { .head.type = AU_HM_CLOSE, .channel = ch->id };

	if (!mgr_host_send(ch->dev->host, &msg, sizeof(msg), NULL, 0))
		ch->close_sent = true;
}

void mgr_channel_leave(struct mgr_channel *ch)
{
	struct au_hm_channel msg = { .head.type = AU_HM_CLOSE, .channel = ch->id };

	if (ch->opened)
		mgr_host_send(ch->dev->host, &msg, sizeof(msg), NULL, 0);
	ch->opened = false;
}

void mgr_channel_close(struct mgr_channel *ch)
{
	struct mgr_host *host = ch->dev->host;

	if (!ch->opened || !host || host->state == MGR_HOST_KILLED) {
		mgr_channel_free(ch);
		return;
	}
	ch->closing = true;
	channel_close_ends(ch);
	channel_send_close(ch);
}

void mgr_channel_ended(struct mgr_device *dev, const struct au_hm_channel *msg)
{
	char text[sizeof(msg->text) + 1];

	snprintf(text, sizeof(text), "%.*s", (int)sizeof(msg->text), msg->text);
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = ' ';
	au_list_for_each (node, &dev->channels) {
		struct mgr_channel *ch = AU_CONTAINER(node, struct mgr_channel, node);
		struct mgr_client *client = ch->client;

		if (ch->id != msg->channel || !ch->opened)
			continue;
		/* It lets go of all of them as it stops; the clients wait for the next host. */
		if (!ch->closing && dev->host->state == MGR_HOST_STOPPING)
			return;
		if (!ch->closing && msg->reason == -ENXIO && mgr_upgrade_lacks(dev, ch->unit))
			return;
		if (!ch->closing)
			au_logf(AU_LOG_INFO, "%s: a channel was ended: %s", dev->spec.name, text);
		mgr_channel_free(ch);
		if (client)
			mgr_client_error(client,
					 msg->reason < 0 && msg->reason > -4096 ? msg->reason
										: -EPROTO,
					 text[0] ? text : "the channel was closed");
		return;
	}
}

unsigned int mgr_channels_replaying(struct mgr_device *dev)
{
	unsigned int count = 0;

	au_list_for_each (node, &dev->channels) {
		const struct mgr_channel *ch = AU_CONTAINER(node, struct mgr_channel, node);

		count += ch->client && ch->lived && !ch->closing;
	}
	return count;
}

void mgr_channels_look(struct mgr_device *dev, const struct mgr_host *host)
{
	const struct au_status *status = host->recorder.status;

	au_list_for_each (node, &dev->channels) {
		struct mgr_channel *ch = AU_CONTAINER(node, struct mgr_channel, node);
		bool busy = !status || status->busy[ch->id % AU_RECORDER_BUSY];

		if (!ch->opened)
			continue;
		/* One that died before it served may not have seen what there is. */
		if (host->serving)
			ch->awaited = busy;
		else
			ch->awaited |= busy || !ch->lived;
	}
}

void mgr_channels_reopen(struct mgr_device *dev)
{
	au_list_for_each (node, &dev->channels) {
		struct mgr_channel *ch = AU_CONTAINER(node, struct mgr_channel, node);

		if (ch->client && ch->lived && !ch->closing && channel_open(ch) == -EAGAIN)
			return; /* mgr_channels_retry() goes on */
	}
}

void mgr_channels_retry(struct mgr_device *dev)
{
	struct au_list *node = dev->channels.next;
	bool starting = dev->host && dev->host->state == MGR_HOST_STARTING;

	while (node != &dev->channels) {
		struct mgr_channel *ch = AU_CONTAINER(node, struct mgr_channel, node);

		node = node->next;
		if (!dev->host || dev->host->blocked)
			return;
		if (ch->closing && !ch->close_sent)
			channel_send_close(ch);
		else if (starting && ch->client && ch->lived && !ch->opened)
			channel_open(ch);
		else if (ch->client && !ch->closing)
			mgr_channel_up(ch);
	}
}

void mgr_channels_hold(struct mgr_device *dev)
{
	struct au_list *node = dev->channels.next;

	while (node != &dev->channels) {
		struct mgr_channel *ch = AU_CONTAINER(node, struct mgr_channel, node);
		struct au_msg_head held = { .type = AU_CM_HELD };

		node = node->next;
		if (ch->told && ch->client &&
		    mgr_client_send(ch->client, &held, sizeof(held), NULL, 0))
			mgr_client_drop(ch->client);
	}
}

void mgr_channels_down(struct mgr_device *dev, bool fault)
{
	struct au_list *node = dev->channels.next;

	while (node != &dev->channels) {
		struct mgr_channel *ch = AU_CONTAINER(node, struct mgr_channel, node);
		struct au_msg_head down = { .type = AU_CM_DOWN };
		bool told = ch->told;

		node = node->next;
		channel_close_ends(ch);
		if (told) {
			ch->lived = true;
			ch->fault |= fault;
		}
		ch->opened = ch->told = false;
		if (!ch->client && !au_loop_timer_is_set(&ch->rejoin))
			mgr_channel_free(ch);
		else if (told && ch->client &&
			 mgr_client_send(ch->client, &down, sizeof(down), NULL, 0))
			mgr_client_drop(ch->client);
	}
}

bool mgr_channels_awaited(const struct mgr_device *dev)
{
	au_list_for_each (node, &dev->channels) {
		if (au_loop_timer_is_set(&AU_CONTAINER(node, struct mgr_channel, node)->rejoin))
			return true;
	}
	return false;
}

int mgr_channel_adopt(struct mgr_device *dev, const json_t *object)
{
	struct mgr_channel *ch;
	uint64_t id, unit, depth, buffer_size;
	uint64_t token[2];
	char text[33];
	int end = 0;

	if (json_is_true(json_object_get(object, "closing")))
		return 0;
	if (!mgr_json_uint(object, "channel", UINT32_MAX, &id) ||
	    !mgr_json_uint(object, "unit", MGR_UNITS - 1, &unit) ||
	    !mgr_json_uint(object, "depth", AU_WIRE_DEPTH_MAX, &depth) ||
	    !mgr_json_uint(object, "buffer_size", AU_WIRE_BUFFER_MAX, &buffer_size) ||
	    !mgr_json_text(object, "token", text, sizeof(text)) ||
	    sscanf(text, "%16" SCNx64 "%16" SCNx64 "%n", &token[0], &token[1], &end) != 2 ||
	    end != 32 || depth < 2 || depth * buffer_size > MGR_POOL_MAX)
		return -EPROTO;
	ch = channel_alloc(dev);
	if (!ch)
		return -ENOMEM;
	ch->id = (uint32_t)id;
	ch->unit = (unsigned int)unit;
	ch->depth = (uint32_t)depth;
	ch->buffer_size = (uint32_t)buffer_size;
	memcpy(ch->token, token, sizeof(ch->token));
	ch->opened = ch->told = true;
	if (dev->next_channel < ch->id)
		dev->next_channel = ch->id;
	au_loop_timer_set(dev->mgr->loop, &ch->rejoin, MGR_REJOIN_MS);
	return 0;
}
