/* SPDX-License-Identifier: MIT */
/* Clients: their connections (clients.c) and their channels (channels.c). */
#ifndef AU_MANAGER_CLIENTS_H
#define AU_MANAGER_CLIENTS_H

#include "manager/manager.h"

/**
 * struct mgr_client - a connection.
 * @unit: -1: by the device's name.
 * @uid: of its process, as it connected.
 * @greeted: it said what it wants; @hello is checked.
 * @pool_fd: that came with the hello of one who was there before the manager.
 * @parted: it has nothing outstanding: its device was pulled out, and it was told.
 */
struct mgr_client {
	struct au_list node;
	struct mgr_device *dev;
	struct mgr_channel *channel;
	struct au_watch watch;
	struct au_loop_timer deadline;
	int fd;
	int unit;
	uid_t uid;
	bool greeted;
	bool parted;
	int pool_fd;
	struct au_cm_hello hello;
};

/** mgr_client_new - somebody connected; owns @fd. */
void mgr_client_new(struct mgr_device *dev, int unit, int fd);
/** mgr_client_send - a message; a client that does not read is dropped: -EPIPE. */
int mgr_client_send(struct mgr_client *client, void *msg, size_t length, const int *fds,
		    unsigned int fd_count);
/** mgr_client_drop - end the connection; its channel is closed. */
void mgr_client_drop(struct mgr_client *client);
/** mgr_client_error - say why, and end the connection. */
void mgr_client_error(struct mgr_client *client, int error, const char *text);

/** mgr_channel_depth - a depth that is wanted, as it will be. */
uint32_t mgr_channel_depth(uint32_t wanted);
/** mgr_channel_new - for a greeted client: make the pool, or take the one that it has. */
int mgr_channel_new(struct mgr_client *client, unsigned int unit, char *error, size_t error_size);
/** mgr_channel_find - by token, or NULL. */
struct mgr_channel *mgr_channel_find(struct mgr_device *dev, const uint64_t token[2]);
/** mgr_channel_up - the host is ready: open it there, and tell the client. May drop the client. */
void mgr_channel_up(struct mgr_channel *ch);
/** mgr_channel_rejoin - a client from before our time is back. May drop the client. */
void mgr_channel_rejoin(struct mgr_channel *ch, struct mgr_client *client);
/** mgr_channel_close - the client has gone: close it in the host, or forget it. */
void mgr_channel_close(struct mgr_channel *ch);
/** mgr_channel_park - its client has nothing outstanding, and waits for the next device. */
void mgr_channel_park(struct mgr_channel *ch);
/** mgr_channel_leave - its unit has gone: it is closed in the host, and stays here. */
void mgr_channel_leave(struct mgr_channel *ch);
/** mgr_channel_free - forget it. */
void mgr_channel_free(struct mgr_channel *ch);

#endif
