/* SPDX-License-Identifier: MIT */
/* vhost-user: opening a session, finding out what is at the other end, and adopting a session. */
#include "bus/vhost.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TYPE_NET	  1u
#define TYPE_BLOCK	  2u

#define FEATURE_VERSION_1 (1ull << 32)
#define NET_MAC		  (1ull << 5)
#define NET_MRG_RXBUF	  (1ull << 15)
#define NET_STATUS	  (1ull << 16)
#define BLK_BLK_SIZE	  (1ull << 6)

/* What of the protocol is of use here. */
#define PROTOCOL_WANTED                                                         \
	(VHOST_PROTOCOL_MQ | VHOST_PROTOCOL_REPLY_ACK | VHOST_PROTOCOL_CONFIG | \
	 VHOST_PROTOCOL_MEM_SLOTS)

/* ------------------------------------------------------------------- negotiate */

static int client_features(struct vhost *v)
{
	uint64_t protocol = 0;
	int err = vhost_get_u64(v, VHOST_GET_FEATURES, &v->offered);

	if (err)
		return err;
	if (!(v->offered & FEATURE_VERSION_1))
		return vhost_gone(v, -ENOTSUP, "the vhost-user back-end does not offer virtio 1.0");
	if (!(v->offered & VHOST_F_PROTOCOL_FEATURES))
		return 0;
	err = vhost_get_u64(v, VHOST_GET_PROTOCOL_FEATURES, &protocol);
	/* Its regions one by one: only if it says when it has let go. */
	protocol &= PROTOCOL_WANTED;
	if (!(protocol & VHOST_PROTOCOL_REPLY_ACK))
		protocol &= ~VHOST_PROTOCOL_MEM_SLOTS;
	err = err ? err : vhost_set_u64(v, VHOST_SET_PROTOCOL_FEATURES, protocol);
	v->protocol = protocol;
	return err;
}

/* Nothing in the protocol says what kind of device it is: its features do, for those we know. */
static uint32_t client_type(const struct vhost *v)
{
	if (v->offered & NET_MRG_RXBUF)
		return TYPE_NET;
	if ((v->protocol & VHOST_PROTOCOL_CONFIG) && (v->offered & BLK_BLK_SIZE))
		return TYPE_BLOCK;
	return 0;
}

/* Back-ends refuse to be asked for more than they have: lengths of all versions of the structure.
 */
static int client_config(struct vhost *v)
{
	static const uint32_t sizes[] = { 60, 36, 24, 12, 8 };
	struct vhost_config config = { 0 };
	int n;

	for (unsigned int i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		config.offset = config.flags = 0;
		config.size = sizes[i];
		n = vhost_get(v, VHOST_GET_CONFIG, &config, 12 + sizes[i], &config, 0,
			      12 + sizes[i]);
		if (n < 0)
			return n;
		if ((uint32_t)n != 12 + sizes[i] || config.size != sizes[i])
			continue;
		memcpy(v->config, config.data, sizes[i]);
		v->config_size = sizes[i];
		return 0;
	}
	return vhost_gone(v, -EPROTO, "the vhost-user back-end has no configuration to show");
}

/* A network back-end has none: what there is to say is ours. A local address, made up. */
static void client_net_config(struct vhost *v)
{
	uint64_t hash = 0xcbf29ce484222325u;

	for (const char *c = v->bus.address; *c; c++)
		hash = (hash ^ (uint8_t)*c) * 0x100000001b3u;
	memcpy(v->config, &hash, 6);
	v->config[0] = (uint8_t)((v->config[0] & 0xfe) | 2);
	v->config[6] = 1; /* the link is up */
	v->config[8] = (uint8_t)(v->queue_count / 2);
	v->config_size = 12;
	v->own = (NET_MAC | NET_STATUS) & ~v->offered;
}

static int client_queues(struct vhost *v)
{
	uint64_t count = v->type == TYPE_NET ? 2 : 1;
	int err =
		v->protocol & VHOST_PROTOCOL_MQ ? vhost_get_u64(v, VHOST_GET_QUEUE_NUM, &count) : 0;

	if (err)
		return err;
	/* Of network devices it counts pairs. */
	if (v->type == TYPE_NET && (v->protocol & VHOST_PROTOCOL_MQ))
		count *= 2;
	if (count == 0)
		return vhost_gone(v, -EPROTO, "the vhost-user back-end has no queues");
	v->queue_count = count < VHOST_QUEUES ? (uint32_t)count : VHOST_QUEUES;
	return 0;
}

static int client_slots(struct vhost *v)
{
	uint64_t slots = 0;
	int err = 0;

	if (v->protocol & VHOST_PROTOCOL_MEM_SLOTS)
		err = vhost_get_u64(v, VHOST_GET_MAX_MEM_SLOTS, &slots);
	v->slots = slots < VHOST_MAPS ? (uint32_t)slots : VHOST_MAPS;
	return err;
}

/* All that there is to know of it. @type: 0: find out. */
static int client_learn(struct vhost *v, uint32_t type)
{
	int err = client_features(v);

	if (err)
		return err;
	v->type = type ? type : client_type(v);
	if (!v->type)
		return vhost_gone(v, -ENOTSUP,
				  "a vhost-user back-end of a kind that is not known: block and "
				  "network devices are");
	err = client_queues(v);
	err = err ? err : client_slots(v);
	if (!err && (v->protocol & VHOST_PROTOCOL_CONFIG))
		err = client_config(v);
	else if (!err && v->type == TYPE_NET)
		client_net_config(v);
	return err;
}

/* ----------------------------------------------------------------------- public */

int au_vhost_open(const char *path, int timeout_ms, struct au_bus_session *session, char *error,
		  size_t error_size)
{
	int fd = au_bus_connect(path, timeout_ms, error, error_size), err;
	struct vhost *v;

	if (fd < 0)
		return fd;
	v = vhost_new(fd, (uint32_t)timeout_ms);
	if (!v) {
		snprintf(error, error_size, "%s: no memory", path);
		return -ENOMEM;
	}
	*session =
		(struct au_bus_session){ .size = sizeof(*session), .transport = AU_BUS_VHOST_USER };
	err = vhost_set(v, VHOST_SET_OWNER, NULL, 0, NULL, 0);
	err = err ? err : client_learn(v, 0);
	session->vendor_device = 0x1af40000u | (0x1040 + v->type);
	session->flags = v->type;
	session->class_code = v->type == TYPE_NET ? 0x020000 : 0x010000;
	if (err) {
		snprintf(error, error_size, "%s: %s", path,
			 v->bus.gone ? v->bus.why : strerror(-err));
		err = v->bus.gone ? v->cause : err;
	} else {
		fd = dup(v->fd);
		err = fd < 0 ? -errno : 0;
	}
	vhost_free(v);
	return err ? err : fd;
}

int au_vhost_adopt(int fd, const struct au_bus_session *session, const char *address,
		   struct au_bus **bus)
{
	struct vhost *v =
		vhost_new(fd, session->timeout_ms ? session->timeout_ms : AU_BUS_TIMEOUT_MS);
	int err;

	if (!v)
		return -ENOMEM;
	snprintf(v->bus.address, sizeof(v->bus.address), "%s", address);
	err = client_learn(v, session->flags);
	if (err) {
		err = v->bus.gone ? v->cause : err;
		vhost_free(v);
		return err;
	}
	vhost_pci_init(v);
	vhost_stop(v);
	*bus = &v->bus;
	return 0;
}
