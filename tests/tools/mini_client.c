/* SPDX-License-Identifier: MIT */
/* The clients of mini_manager. */
#include "mini.h"

#include "auriga/raw.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

size_t mini_unhex(const char *text, unsigned char *out, size_t size)
{
	size_t n = 0;

	while (n < size && isxdigit((unsigned char)text[2 * n]) &&
	       isxdigit((unsigned char)text[2 * n + 1])) {
		const char digits[3] = { text[2 * n], text[2 * n + 1], 0 };

		out[n++] = (unsigned char)strtoul(digits, NULL, 16);
	}
	return n;
}

static struct mini_channel *mini_find(struct mini *m, uint32_t id)
{
	for (unsigned int i = 0; i < MINI_CHANNELS; i++)
		if (m->channels[i].used && m->channels[i].id == id)
			return &m->channels[i];
	fprintf(stderr, "no channel %u\n", id);
	exit(2);
}

static void *mini_map(int fd, size_t size)
{
	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (fd < 0 || base == MAP_FAILED) {
		fprintf(stderr, "cannot map: %s\n", strerror(errno));
		exit(2);
	}
	return base;
}

void mini_channel_attach(struct mini *m, struct mini_channel *c, bool replays)
{
	struct au_hm_open msg = {
		.head.type = AU_HM_OPEN,
		.channel = c->id,
		.unit = c->unit,
		.depth = c->depth,
		.buffer_size = c->buffer_size,
		.flags = replays ? AU_HM_REPLAYS | AU_HM_AWAITED : 0,
		.generation = m->generation,
		.token = { 0x1122334455667788, c->id },
	};
	struct au_chan_link link = {
		.pool = c->pool,
		.generation = m->generation,
		.fault = au_host_death_fault(m->rec.crash->signal),
	};
	void *old = c->rings;
	int old_doorbell = c->doorbell;
	struct au_wire_layout layout;
	int rings, pair[2], fds[3];

	if (au_wire_layout(c->depth, &layout) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair)) {
		fprintf(stderr, "depth %u is none\n", c->depth);
		exit(2);
	}
	rings = au_memfd_sealed("rings", layout.size);
	link.rings = c->rings = mini_map(rings, layout.size);
	link.doorbell = c->doorbell = pair[0];
	fds[0] = rings;
	fds[1] = pair[1];
	fds[2] = c->pool_fd;
	au_msg_send(m->control, &msg, sizeof(msg), fds, 3);
	close(rings);
	close(pair[1]);
	if (c->frozen)
		return;
	au_chan_attach(c->chan, &link);
	if (old)
		munmap(old, layout.size);
	if (old_doorbell >= 0)
		close(old_doorbell);
}

void mini_channel_open(struct mini *m, uint32_t id, uint32_t unit, uint32_t depth, uint32_t size)
{
	struct mini_channel *c = NULL;

	for (unsigned int i = 0; i < MINI_CHANNELS && !c; i++)
		if (!m->channels[i].used)
			c = &m->channels[i];
	if (!c || au_chan_create(depth, size, &c->chan)) {
		fprintf(stderr, "cannot open channel %u\n", id);
		exit(2);
	}
	au_chan_set_class(c->chan, "raw");
	c->used = true;
	c->id = id;
	c->unit = unit;
	c->depth = depth;
	c->buffer_size = size;
	c->rings = NULL;
	c->doorbell = -1;
	c->pool_fd = au_memfd_sealed("pool", (size_t)depth * size);
	c->pool = mini_map(c->pool_fd, (size_t)depth * size);
	c->ios = calloc(depth, sizeof(*c->ios));
	c->data = calloc(depth, size);
	mini_channel_attach(m, c, false);
}

static void mini_io_done(struct au_io *io)
{
	struct mini_channel *c = io->user;
	char *hex = calloc(2, io->length + 1);

	for (uint32_t i = 0; i < io->length; i++)
		sprintf(hex + 2 * i, "%02x", ((unsigned char *)io->data)[i]);
	mini_say(json_pack("{s:s, s:i, s:i, s:i, s:I, s:s}", "event", "io", "channel", (int)c->id,
			   "op", (int)io->op, "status", io->status, "result",
			   (json_int_t)io->result, "data", hex));
	free(hex);
	free(io->data);
	free(io);
}

void mini_channel_io(struct mini *m, uint32_t id, uint16_t op, uint64_t arg, const char *hex)
{
	struct mini_channel *c = mini_find(m, id);
	struct au_io *io = calloc(1, sizeof(*io));
	int err;

	io->op = op;
	io->arg[0] = arg;
	io->data = calloc(1, c->buffer_size);
	io->length = (uint32_t)mini_unhex(hex, io->data, c->buffer_size);
	io->user = c;
	io->done = mini_io_done;
	err = au_chan_submit(c->chan, io);
	if (err) {
		io->status = err;
		mini_io_done(io);
	}
	au_chan_flush(c->chan);
}

/* Data that say which request they belong to. */
static void mini_flood_send(struct mini_channel *c, struct au_io *io)
{
	unsigned char *data = io->data;

	io->op = AU_RAW_FIRST;
	io->arg[0] = c->flood_sent++;
	for (uint32_t i = 0; i < io->length; i++)
		data[i] = (unsigned char)(io->arg[0] * 31 + i);
	if (au_chan_submit(c->chan, io))
		c->flood_bad++;
}

static void mini_flood_done(struct au_io *io)
{
	struct mini_channel *c = io->user;
	const unsigned char *data = io->data;
	bool bad = io->status != 0 || io->result != io->length;

	for (uint32_t i = 0; i < io->length && !bad; i++)
		bad = data[i] != (unsigned char)~(io->arg[0] * 31 + i);
	c->flood_bad += bad;
	c->flood_done++;
	if (c->flood_done + au_chan_outstanding(c->chan) < c->flood_left)
		mini_flood_send(c, io);
	if (c->flood_done < c->flood_left)
		return;
	mini_say(json_pack("{s:s, s:i, s:I, s:I, s:I}", "event", "flood", "channel", (int)c->id,
			   "done", (json_int_t)c->flood_done, "bad", (json_int_t)c->flood_bad, "us",
			   (json_int_t)(mini_now_us() - c->begin_us)));
}

void mini_channel_flood(struct mini *m, uint32_t id, uint64_t count, uint32_t length)
{
	struct mini_channel *c = mini_find(m, id);

	c->flood_left = count;
	c->flood_done = c->flood_sent = c->flood_bad = 0;
	c->begin_us = mini_now_us();
	for (uint32_t i = 0; i < c->depth && i < count; i++) {
		c->ios[i] = (struct au_io){
			.length = length,
			.data = c->data + (size_t)i * c->buffer_size,
			.done = mini_flood_done,
			.user = c,
		};
		mini_flood_send(c, &c->ios[i]);
	}
	au_chan_flush(c->chan);
}

void mini_channel_vanish(struct mini *m, uint32_t id)
{
	struct mini_channel *c = mini_find(m, id);
	struct au_wire_layout layout;

	au_wire_layout(c->depth, &layout);
	c->used = false;
	close(c->doorbell);
	close(c->pool_fd);
	munmap(c->rings, layout.size);
	munmap(c->pool, (size_t)c->depth * c->buffer_size);
	au_chan_destroy(c->chan);
	free(c->ios);
	free(c->data);
}

void mini_channel_freeze(struct mini *m, uint32_t id)
{
	mini_find(m, id)->frozen = true;
}

bool mini_channels_work(struct mini *m)
{
	unsigned int done = 0;

	for (unsigned int i = 0; i < MINI_CHANNELS; i++) {
		struct mini_channel *c = &m->channels[i];
		struct au_event event;

		if (!c->used || c->frozen)
			continue;
		done += au_chan_poll(c->chan, 0);
		while (au_chan_event_next(c->chan, &event))
			mini_say(json_pack("{s:s, s:i, s:i, s:I}", "event", "device", "channel",
					   (int)c->id, "kind", (int)event.kind, "arg",
					   (json_int_t)event.arg[0]));
		au_chan_flush(c->chan);
	}
	return done > 0;
}

bool mini_channels_waiting(const struct mini *m)
{
	for (unsigned int i = 0; i < MINI_CHANNELS; i++)
		if (m->channels[i].used && au_chan_outstanding(m->channels[i].chan))
			return true;
	return false;
}
