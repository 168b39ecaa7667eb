/* SPDX-License-Identifier: MIT */
/**
 * DOC: Exporters: a unit shown to ordinary programs
 *
 * An exporter is an application of libauriga: one thread, one epoll loop. bridge.c moves the bytes;
 * pty.c and rfc2217.c each put a door in front of it.
 */
#ifndef AU_EXPORT_EXPORT_H
#define AU_EXPORT_EXPORT_H

#include "auriga/auriga.h"
#include "auriga/serial.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BRIDGE_SENDS 8
#define BRIDGE_CHUNK 4096

struct bridge;

/** struct bridge_send - one piece on its way to the unit. */
struct bridge_send {
	struct au_io io;
	struct bridge *bridge;
	bool busy;
	uint8_t data[BRIDGE_CHUNK];
};

/**
 * struct bridge - the pump between a serial unit and a door.
 * @received: bytes have come in at @in, @in_length of them from @in_offset on; the door takes what
 * it can with bridge_take(). Called from bridge_poll().
 * @failed: the first error of the unit; 0 while there is none.
 */
struct bridge {
	struct au_handle *handle;
	int epoll;
	int signals;
	int failed;
	unsigned int sending;
	struct bridge_send send[BRIDGE_SENDS];
	struct au_io recv;
	bool receiving;
	bool want;
	uint8_t in[BRIDGE_CHUNK];
	size_t in_offset, in_length;
	uint64_t sent, received;
};

/** bridge_open - open the unit @target quietly and watch it; one line on stderr on failure. */
int bridge_open(struct bridge *b, const char *target);
/** bridge_close - let go. */
void bridge_close(struct bridge *b);
/** bridge_why - what has failed, in one line. */
const char *bridge_why(struct bridge *b);
/** bridge_watch - add @fd to the loop, or with @events 0 take it out. */
int bridge_watch(struct bridge *b, int fd, uint32_t events);
/** bridge_room - bytes that bridge_send() takes now; 0: wait. */
size_t bridge_room(const struct bridge *b);
/** bridge_send - send a copy of @length bytes, at most bridge_room(). */
void bridge_send(struct bridge *b, const void *data, size_t length);
/** bridge_receive - whether the door wants what the unit receives. */
void bridge_receive(struct bridge *b, bool want);
/** bridge_poll - let the library work: sends complete, received bytes appear at @in. */
void bridge_poll(struct bridge *b);
/** bridge_wait - poll, then sleep until a watched descriptor, the unit or the time wants something.
 * Return: descriptors that are ready (fd, events), at most @max; -EINTR on SIGINT or SIGTERM. */
struct bridge_ready {
	int fd;
	uint32_t events;
};
int bridge_wait(struct bridge *b, struct bridge_ready *ready, int max, int timeout_ms);

/** export_pty - `auriga export NAME pty --link PATH`. */
int export_pty(const char *target, int argc, char **argv);
/** export_fuse - `auriga export NAME fuse --mount DIR`. */
int export_fuse(const char *target, int argc, char **argv);
/** export_nbd - `auriga export NAME nbd --socket PATH`. */
int export_nbd(const char *target, int argc, char **argv);
/** export_rfc2217 - `auriga export NAME rfc2217 --listen ADDR`. */
int export_rfc2217(const char *target, int argc, char **argv);

#endif
