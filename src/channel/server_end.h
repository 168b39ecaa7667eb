/* SPDX-License-Identifier: MIT */
/*
 * server_end.h - the host's end of a channel: a source on a lane, which hands what it finds in the
 * rings to the framework and what the framework has done back.
 *
 * The client is not trusted. An entry is copied once, then checked, then used; a client that breaks
 * a rule, or that is gone, loses this channel and nothing else.
 *
 * Everything here is for the lane's thread; where the device has several lanes, opening, closing,
 * muting and looking at the figures is for lane 0, while the others are held, and closed() is
 * called there.
 */
#ifndef AU_CHANNEL_SERVER_END_H
#define AU_CHANNEL_SERVER_END_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct au_lane;
struct au_unit;
struct au_chan_server;

/* Entries that one channel gets per turn of the lane. */
#define AU_CHAN_TURN 64u

/**
 * struct au_chan_gate - what the channels of one host have in common while it recovers: as long as
 * it is closed, only channels that replay are looked at, and each only until it has replayed.
 * @closed: set at the start; au_chan_gate_open() clears it.
 * @waiting: channels that have yet to replay: the owner sets how many there will be.
 * @replayed: called when @waiting has come down to 0, on the lane of the last one.
 */
struct au_chan_gate {
	_Atomic bool closed;
	_Atomic unsigned int waiting;
	void (*replayed)(void *context);
	void *context;
};

/**
 * au_chan_gate_open - let all channels be looked at. Before auf_device_open_gate(), on lane 0;
 * other lanes are to be woken after it.
 */
void au_chan_gate_open(struct au_chan_gate *gate);

/** au_chan_gate_skip - a channel that was waited for will not come. */
void au_chan_gate_skip(struct au_chan_gate *gate);

/**
 * struct au_chan_server_config - a channel to serve.
 * @lane: of @unit's device: where the channel is served.
 * @unit: what the client opened.
 * @gate: of the host; NULL: there is nothing to wait for.
 * @rings: mapped memory, laid out for @depth.
 * @pool: mapped memory, @depth times @buffer_size bytes.
 * @doorbell: the socket. All three stay the owner's, and must last until closed().
 * @depth, @buffer_size, @generation: as told to the client.
 * @cls: of the unit; NULL: raw.
 * @dma_offset: from an address in @pool to where the device finds it.
 * @quiet: AU_OPEN_QUIET.
 * @replaying: the channel lived in an earlier generation; it counts in @gate->waiting.
 * @awaited: ... and had requests there: it counts until it has replayed, otherwise until it is
 * here.
 * @busy: counts the channels that have requests here, or are awaited; NULL: nobody wants to know.
 * @ended: the channel ends by itself: @reason is 0 when the client has gone, -EPROTO when it broke
 *	a rule; @text is one line. closed() follows. au_chan_server_close() is not to be called.
 * @closed: everything is let go of, the memory too.
 */
struct au_chan_server_config {
	struct au_lane *lane;
	struct au_unit *unit;
	struct au_chan_gate *gate;
	void *rings;
	void *pool;
	int doorbell;
	uint32_t depth;
	uint32_t buffer_size;
	uint32_t generation;
	const char *cls;
	uint64_t dma_offset;
	bool quiet;
	bool replaying;
	bool awaited;
	_Atomic uint16_t *busy;
	void (*ended)(void *context, int reason, const char *text);
	void (*closed)(void *context);
	void *context;
};

/** struct au_chan_server_stats - for people. */
struct au_chan_server_stats {
	uint64_t requests;
	uint64_t replayed;
	uint64_t stale; /* of another generation: dropped */
	uint64_t events;
	uint64_t events_dropped;
};

/**
 * au_chan_server_open - serve a channel.
 * Return: 0; -EINVAL: sizes that cannot be; -ENOMEM; what auf_handle_open() says.
 */
int au_chan_server_open(const struct au_chan_server_config *config, struct au_chan_server **server);

/**
 * au_chan_server_map - map a channel's memory from descriptors that came from elsewhere.
 * @rings_fd, @pool_fd: memfds; checked for their seals and sizes. They stay the caller's.
 * @error: one line on failure.
 * Return: 0; -EINVAL; -EPERM: not sealed, or too small.
 */
int au_chan_server_map(int rings_fd, int pool_fd, uint32_t depth, uint32_t buffer_size,
		       void **rings, void **pool, char *error, size_t error_size);

/** au_chan_server_unmap - undo it. */
void au_chan_server_unmap(void *rings, void *pool, uint32_t depth, uint32_t buffer_size);

/** au_chan_server_close - close it: requests are cancelled, @closed is called when all are back. */
void au_chan_server_close(struct au_chan_server *server);

/**
 * au_chan_server_mute - from now on nothing more is completed or taken: the host goes down in
 * order, and the client replays to the next one.
 */
void au_chan_server_mute(struct au_chan_server *server);

/** au_chan_server_stats - what it did so far. */
struct au_chan_server_stats au_chan_server_stats(const struct au_chan_server *server);

#endif
