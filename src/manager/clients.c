/* SPDX-License-Identifier: MIT */
/* Connections of clients: hello, waiting for the device, end. Everything that comes is checked. */
#include "base/cleanup.h"
#include "manager/clients.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

int mgr_client_send(struct mgr_client *client, void *msg, size_t length, const int *fds,
		    unsigned int fd_count)
{
	return au_msg_send(client->fd, msg, length, fds, fd_count);
}

void mgr_client_drop(struct mgr_client *client)
{
	struct mgr_device *dev = client->dev;
	struct mgr_channel *ch = client->channel;

	au_watch_remove(&client->watch);
	au_loop_timer_cancel(&client->deadline);
	mgr_close_foreign(&client->fd);
	mgr_close_foreign(&client->pool_fd);
	au_list_remove(&client->node);
	dev->client_count--;
	free(client);
	if (ch) {
		ch->client = NULL;
		mgr_channel_close(ch);
	}
	mgr_device_idle_check(dev);
}

/* What is unread when a socket is closed would cost its peer the answer. No more comes, and a
 * socket holds a few hundred messages. */
static void client_deafen(const struct mgr_client *client)
{
	static _Alignas(16) char bytes[AU_MSG_MAX + 1];
	int fds[AU_MSG_FDS], n;

	shutdown(client->fd, SHUT_RD);
	do {
		n = au_msg_recv(client->fd, bytes, sizeof(bytes), fds);
		if (n > 0)
			au_msg_close(fds);
	} while (n > 0 || n == -EPROTO);
}

void mgr_client_error(struct mgr_client *client, int error, const char *text)
{
	struct au_cm_error msg = { .head.type = AU_CM_ERROR,
				   .error = error,
				   .gone = client->dev ? client->dev->gone_reason : 0 };

	client_deafen(client);
	snprintf(msg.text, sizeof(msg.text), "%s", text);
	mgr_client_send(client, &msg, sizeof(msg), NULL, 0);
	mgr_client_drop(client);
}

/* What it has outstanding is of a device that was pulled out. Return: false when it is dropped. */
static bool client_part(struct mgr_client *client, const char *text)
{
	struct au_cm_error msg = { .head.type = AU_CM_GONE,
				   .error = -ENODEV,
				   .gone = client->dev->gone_reason };

	snprintf(msg.text, sizeof(msg.text), "%s", text);
	client->parted = true;
	if (client->channel)
		mgr_channel_park(client->channel);
	if (!mgr_client_send(client, &msg, sizeof(msg), NULL, 0))
		return true;
	mgr_client_drop(client);
	return false;
}

static bool client_knows_back(const struct mgr_client *client)
{
	return client->hello.features & AU_CF_BACK;
}

static int client_unit(const struct mgr_client *client, unsigned int *unit, char *error,
		       size_t size)
{
	const struct mgr_device *dev = client->dev;
	const char *name = dev->spec.name;
	unsigned int last = 0, first = MGR_UNITS;

	for (unsigned int i = 0; i < MGR_UNITS; i++) {
		if (dev->units[i].present) {
			last = i;
			if (first == MGR_UNITS)
				first = i;
		}
	}
	if (client->unit >= 0) {
		*unit = (unsigned int)client->unit;
		if (dev->units[*unit].present)
			return 0;
		snprintf(error, size, "%s.%u: that unit was removed", name, *unit);
		return -ENODEV;
	}
	*unit = first;
	if (dev->unit_count == 1)
		return 0;
	if (!dev->unit_count) {
		snprintf(error, size, "%s has no units now", name);
		return -ENODEV;
	}
	snprintf(error, size, "%s has %u units: open one of %s.%u to %s.%u", name, dev->unit_count,
		 name, first, name, last);
	return -EINVAL;
}

/* The device runs: give it a channel. */
static void client_attach(struct mgr_client *client)
{
	char error[200];
	unsigned int unit;
	int err = 0;

	if (!client->channel) {
		err = client_unit(client, &unit, error, sizeof(error));
		if (!err)
			err = mgr_channel_new(client, unit, error, sizeof(error));
	}
	if (err)
		mgr_client_error(client, err, error);
	else
		mgr_channel_up(client->channel);
}

static int client_check(const struct au_cm_hello *hello, char *error, size_t size)
{
	if (hello->version_min > AU_WIRE_VERSION || hello->version_max < AU_WIRE_VERSION) {
		snprintf(error, size,
			 "this manager speaks version %d of the channel, the application %u to %u",
			 AU_WIRE_VERSION, hello->version_min, hello->version_max);
		return -EPROTO;
	}
	if (hello->depth < 1 || hello->depth > AU_WIRE_DEPTH_MAX || hello->buffer_size < 1 ||
	    hello->buffer_size > AU_WIRE_BUFFER_MAX) {
		snprintf(error, size,
			 "depth %u with buffers of %u bytes: at most %u requests of %u bytes",
			 hello->depth, hello->buffer_size, AU_WIRE_DEPTH_MAX, AU_WIRE_BUFFER_MAX);
		return -EINVAL;
	}
	if ((uint64_t)mgr_channel_depth(hello->depth) * hello->buffer_size > MGR_POOL_MAX) {
		snprintf(error, size,
			 "depth %u with buffers of %u bytes: more than the %u MiB that one client "
			 "may have",
			 hello->depth, hello->buffer_size, MGR_POOL_MAX >> 20);
		return -E2BIG;
	}
	return 0;
}

void mgr_unit_gone(struct mgr_device *dev, unsigned int unit)
{
	struct au_list *node = dev->clients.next;
	char name[48], line[MGR_TEXT];

	mgr_unit_name(dev, unit, name, sizeof(name));
	snprintf(line, sizeof(line), "%s: the unit was removed", name);
	while (node != &dev->clients) {
		struct mgr_client *client = AU_CONTAINER(node, struct mgr_client, node);
		struct mgr_channel *ch = client->channel;

		node = node->next;
		if (!ch || ch->unit != unit || !ch->told)
			continue;
		if (!client_knows_back(client)) {
			mgr_client_error(client, -ENODEV, line);
			continue;
		}
		mgr_channel_leave(ch);
		client_part(client, line);
	}
}

/* What it has outstanding may be of a device that was pulled out while nobody could tell it.
 * Return: false when it is dropped. */
static bool client_rejoin_parted(struct mgr_client *client)
{
	struct mgr_device *dev = client->dev;
	char line[MGR_TEXT];

	if (!client_knows_back(client))
		return true;
	client->parted = !client->hello.device;
	if (client->parted || (!dev->removed && client->hello.device == dev->removals + 1))
		return true;
	snprintf(line, sizeof(line), "%s: the device was removed", dev->spec.name);
	return client_part(client, line);
}

/* One who had a channel before this manager was there. */
static void client_rejoin(struct mgr_client *client)
{
	struct mgr_device *dev = client->dev;
	struct mgr_channel *ch = mgr_channel_find(dev, client->hello.token);
	char error[200];
	unsigned int unit;
	int err;

	if (client->pool_fd < 0) {
		mgr_client_error(client, -EINVAL, "a token without a pool: reopen the unit");
		return;
	}
	if (ch && ch->client) {
		mgr_client_error(client, -EBUSY, "somebody else has this channel");
		return;
	}
	if (!client_rejoin_parted(client))
		return;
	if (ch) {
		mgr_channel_rejoin(ch, client);
		return;
	}
	/* Its host died, and its channel with it: what it has is a pool, and requests to replay. */
	if (client->unit < 0 && !dev->unit_count) {
		mgr_device_want(dev);
		return;
	}
	err = client_unit(client, &unit, error, sizeof(error));
	if (!err)
		err = mgr_channel_new(client, unit, error, sizeof(error));
	if (err)
		mgr_client_error(client, err, error);
	else if (dev->state == MGR_GONE)
		return; /* it is looked for */
	else if (dev->state == MGR_RUNNING)
		mgr_channel_up(client->channel);
	else if (dev->state == MGR_RESTARTING)
		mgr_device_rejoined(dev);
	else
		mgr_device_want(dev);
}

static void client_hello(struct mgr_client *client, struct au_cm_hello *hello)
{
	struct mgr_device *dev = client->dev;
	char error[MGR_TEXT + 128];
	int err;

	/* Buffers are whole cache lines; the answer says what was made of it. */
	if (hello->buffer_size <= AU_WIRE_BUFFER_MAX)
		hello->buffer_size = (hello->buffer_size + 63) & ~63u;
	err = client_check(hello, error, sizeof(error));
	if (err) {
		mgr_client_error(client, err, error);
		return;
	}
	client->greeted = true;
	client->hello = *hello;
	au_loop_timer_cancel(&client->deadline);
	if (dev->state == MGR_QUARANTINED) {
		snprintf(error, sizeof(error),
			 "%s is quarantined: %.200s: see 'auriga crash %s', then 'auriga restart "
			 "%s'",
			 dev->spec.name, dev->reason, dev->spec.name, dev->spec.name);
		mgr_client_error(client, -EIO, error);
	} else if (dev->state == MGR_DETACHED || (dev->leaving && !hello->token[0]) ||
		   (dev->state == MGR_STOPPING && dev->after == MGR_AFTER_DETACH)) {
		mgr_client_error(client, -ENODEV, "the device is being detached");
	} else if (hello->token[0] || hello->token[1]) {
		client_rejoin(client);
	} else if (dev->state == MGR_RUNNING) {
		client_attach(client);
	} else {
		mgr_device_want(dev); /* may refuse, and so end, this client */
	}
}

static void client_read(struct au_watch *watch, uint32_t events)
{
	static union {
		struct au_msg_head head;
		struct au_cm_hello hello;
		char bytes[AU_MSG_MAX + 1];
	} msg;
	struct mgr_client *client = watch->context;
	int fds[AU_MSG_FDS];
	int n = au_msg_recv(client->fd, &msg, sizeof(msg), fds);

	if (n == -EAGAIN)
		return;
	if (n == sizeof(msg.hello) && msg.head.type == AU_CM_HELLO && !client->greeted) {
		client->pool_fd = fds[0];
		fds[0] = -1;
		au_msg_close(fds);
		au_sock_refuse_fds(client->fd);
		client_hello(client, &msg.hello);
		return;
	}
	if (n > 0)
		au_msg_close(fds);
	if (n > 0 || n == -EPROTO)
		mgr_client_error(client, -EPROTO, "that is not what a client says");
	else
		mgr_client_drop(client);
}

static void client_silent(struct au_loop_timer *timer)
{
	mgr_client_error(timer->context, -ETIMEDOUT, "no hello came");
}

/* Null or why there can be no more, of this user or at all. */
static const char *client_too_many(const struct mgr_device *dev, uid_t uid)
{
	size_t has = 0;

	if (dev->client_count > MGR_CLIENTS_MAX)
		return "this device has as many clients as it may";
	au_list_for_each (node, &dev->clients)
		has += AU_CONTAINER(node, struct mgr_client, node)->uid == uid;
	return mgr_share(uid, has, MGR_CLIENTS_MAX - dev->client_count)
		       ? NULL
		       : "this user has as many clients of this device as one may: the rest is for "
			 "others";
}

void mgr_client_new(struct mgr_device *dev, int unit, int fd)
{
	struct mgr_client *client = calloc(1, sizeof(*client));
	const char *refused;

	if (!client) {
		mgr_close(&fd);
		return;
	}
	client->dev = dev;
	client->unit = unit;
	client->fd = fd;
	client->uid = mgr_peer(fd);
	client->pool_fd = -1;
	client->watch.ready = client_read;
	client->watch.context = client;
	client->deadline.expired = client_silent;
	client->deadline.context = client;
	au_list_add_tail(&dev->clients, &client->node);
	dev->client_count++;
	au_loop_timer_cancel(&dev->idle);
	refused = client_too_many(dev, client->uid);
	if (au_watch_add(dev->mgr->loop, &client->watch, fd, EPOLLIN))
		mgr_client_drop(client);
	else if (refused)
		mgr_client_error(client, -EAGAIN, refused);
	else
		au_loop_timer_set(dev->mgr->loop, &client->deadline, MGR_HELLO_MS);
}

void mgr_channels_up(struct mgr_device *dev)
{
	struct au_list *node = dev->clients.next;

	/* Whoever is served here may be dropped, but nobody else is. */
	while (node != &dev->clients) {
		struct mgr_client *client = AU_CONTAINER(node, struct mgr_client, node);

		node = node->next;
		if (client->greeted)
			client_attach(client);
	}
}

void mgr_clients_refuse(struct mgr_device *dev, int error, const char *text)
{
	while (!au_list_empty(&dev->clients))
		mgr_client_error(AU_CONTAINER(dev->clients.next, struct mgr_client, node), error,
				 text);
}

/* Whoever has a pool has it open. */
static bool client_is_new(const struct mgr_client *client)
{
	return !client->parted && !(client->channel && client->channel->pool_known);
}

void mgr_clients_gone(struct mgr_device *dev, const char *text)
{
	struct au_list *node = dev->clients.next;

	while (node != &dev->clients) {
		struct mgr_client *client = AU_CONTAINER(node, struct mgr_client, node);

		node = node->next;
		if (client->parted || client_is_new(client))
			continue;
		if (!client_knows_back(client))
			mgr_client_error(client, -ENODEV, text);
		else
			client_part(client, text);
	}
}

void mgr_clients_refuse_new(struct mgr_device *dev, int error, const char *text)
{
	struct au_list *node = dev->clients.next;

	while (node != &dev->clients) {
		struct mgr_client *client = AU_CONTAINER(node, struct mgr_client, node);

		node = node->next;
		if (client_is_new(client))
			mgr_client_error(client, error, text);
	}
}

/* What a process calls itself is its own choice. */
static void client_name(pid_t pid, char *name, size_t size)
{
	char path[40];
	AU_CLEANUP_FD int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	fd = pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	n = fd >= 0 ? read(fd, name, size - 1) : 0;
	name[n > 0 ? n : 0] = 0;
	name[strcspn(name, "\n")] = 0;
	for (char *c = name; *c; c++)
		if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
			*c = '?';
	if (!*name)
		snprintf(name, size, "?");
}

void mgr_clients_who(const struct mgr_device *dev, char *buf, size_t size)
{
	unsigned int left = dev->client_count;
	char name[32];

	*buf = 0;
	au_list_for_each (node, &dev->clients) {
		const struct mgr_client *client = AU_CONTAINER(node, struct mgr_client, node);
		pid_t pid = mgr_peer_pid(client->fd);
		size_t used = strlen(buf);

		if (used + sizeof(name) + 32 > size)
			break;
		client_name(pid, name, sizeof(name));
		snprintf(buf + used, size - used, "%s%s (%d)", used ? ", " : "", name, (int)pid);
		left--;
	}
	if (left)
		snprintf(buf + strlen(buf), size - strlen(buf), " and %u more", left);
}

void mgr_clients_leave(struct mgr_device *dev)
{
	struct au_msg_head down = { .type = AU_CM_DOWN };

	while (!au_list_empty(&dev->clients)) {
		struct mgr_client *client =
			AU_CONTAINER(dev->clients.next, struct mgr_client, node);

		if (client->channel && client->channel->told)
			mgr_client_send(client, &down, sizeof(down), NULL, 0);
		mgr_client_drop(client);
	}
}

void mgr_clients_free(struct mgr_device *dev)
{
	while (!au_list_empty(&dev->clients))
		mgr_client_drop(AU_CONTAINER(dev->clients.next, struct mgr_client, node));
	while (!au_list_empty(&dev->channels))
		mgr_channel_free(AU_CONTAINER(dev->channels.next, struct mgr_channel, node));
}
