/* SPDX-License-Identifier: MIT */
/* mini.h - the halves of mini_manager: the manager's side, and the clients. */
#ifndef TESTS_TOOLS_MINI_H
#define TESTS_TOOLS_MINI_H

#include "base/recorder.h"
#include "bus/bus.h"
#include "channel/client_end.h"
#include "channel/message.h"
#include "host/spawn.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define MINI_CHANNELS 8

struct mini_channel {
	bool used;
	uint32_t id, unit, depth, buffer_size;
	struct au_chan *chan;
	void *rings, *pool;
	int pool_fd, doorbell;
	/* one request at a time, or a flood of them */
	struct au_io *ios;
	unsigned char *data;
	uint64_t flood_left, flood_sent, flood_done, flood_bad;
	uint64_t begin_us;
	bool frozen;
};

struct mini {
	const char *program, *module_path, *driver, *name, *address, *listen_path;
	const char *params[8];
	unsigned int param_count;
	uid_t uid;
	gid_t gid;
	uint32_t without;
	bool stdio, use_cgroup;
	int module, status, state, listener, session;
	struct au_bus_session bus;
	struct au_recorder rec;
	struct au_host_cgroup cgroup;
	uint32_t generation;
	uint64_t spawned_us;
	pid_t pid;
	int pidfd, control;
	struct mini_channel channels[MINI_CHANNELS];
};

uint64_t mini_now_us(void);
void mini_say(json_t *o);
size_t mini_unhex(const char *text, unsigned char *out, size_t size);

void mini_channel_open(struct mini *m, uint32_t id, uint32_t unit, uint32_t depth, uint32_t size);
/** mini_channel_attach - make rings for the host of now and send them to it. */
void mini_channel_attach(struct mini *m, struct mini_channel *c, bool replays);
void mini_channel_io(struct mini *m, uint32_t id, uint16_t op, uint64_t arg, const char *hex);
void mini_channel_flood(struct mini *m, uint32_t id, uint64_t count, uint32_t length);
void mini_channel_freeze(struct mini *m, uint32_t id);
void mini_channel_vanish(struct mini *m, uint32_t id);
/** mini_channels_work - poll all of them; whether one has more to do at once. */
bool mini_channels_work(struct mini *m);
/** mini_channels_waiting - whether any has requests outstanding. */
bool mini_channels_waiting(const struct mini *m);

#endif
