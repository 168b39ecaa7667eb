/* SPDX-License-Identifier: MIT */
/**
 * DOC: The vfio-user client, inside
 *
 * vfu_msg.c moves messages; on top of it vfu_io.c is the transport's accesses, vfu_irq.c its
 * interrupts, vfu_dma.c its DMA; vfu_client.c opens and adopts sessions, vfu_map.c maps the regions
 * that can be mapped.
 *
 * The server is hostile: every size, count and offset that it sends is checked before use, and
 * whoever breaks the protocol is done with: the function is gone. An error reply is not a breach.
 */
#ifndef AU_BUS_VFU_H
#define AU_BUS_VFU_H

#include "bus/bus.h"
#include "bus/vfu_wire.h"

#include <errno.h>

/* What we tell servers that we take: data of one message, descriptors with one message. */
#define VFU_DATA_MAX	4096
#define VFU_FDS_MAX	8
#define VFU_MESSAGE_MAX (sizeof(struct vfu_header) + sizeof(struct vfu_access) + VFU_DATA_MAX)
#define VFU_BUFFER	16384
/* Reads that are under way at once, see read_rep8(). */
#define VFU_PIPELINE	256
/* Regions above this are not mapped: see vfu_map_gone(). */
#define VFU_MAP_MAX	(16u << 20)

/**
 * struct vfu - one session.
 * @bus: the bus it is.
 * @fd: the socket; blocking, with a receive and a send time-out.
 * @next_id: of the next command.
 * @flags: VFIO_DEVICE_FLAGS_*.
 * @timeout_ms: without an answer for so long the function is gone.
 * @deadline_ms: while opening: when all has to be done, on the monotonic clock; 0: no such time.
 * @multi_max: writes that the server takes in one WRITE_MULTI, 0: it does not know them.
 * @cause: negative errno, beside bus.why.
 * @slow: the reply waited for was not there at first; @until_ms is when patience ends.
 * @reply: header of the message received last.
 * @multi: where in @tx a WRITE_MULTI is that can still grow, or -1.
 * @fd_count: descriptors in @fds that came with the last reply; only while @take_fds.
 * @tx: commands that were not sent yet, whole messages.
 * @rx: what came and was not used yet, from @rx_head to @rx_tail.
 */
struct vfu {
	struct au_bus bus;
	int fd;
	uint16_t next_id;
	uint32_t flags;
	uint32_t timeout_ms;
	uint64_t deadline_ms;
	uint32_t multi_max;
	int cause;
	bool slow;
	uint64_t until_ms;
	struct vfu_header reply;
	int multi;
	bool take_fds;
	unsigned int fd_count;
	int fds[VFU_FDS_MAX];
	uint32_t tx_len;
	uint32_t rx_head, rx_tail;
	_Alignas(8) uint8_t tx[VFU_BUFFER];
	_Alignas(8) uint8_t rx[VFU_BUFFER];
};

static inline struct vfu *vfu_of(struct au_bus *bus)
{
	return (struct vfu *)bus;
}

/* ---------------------------------------------------------------- vfu_msg.c */

/** vfu_new - a session on @fd, which it owns; NULL without memory (@fd is then closed). */
struct vfu *vfu_new(int fd, uint32_t timeout_ms);
/** vfu_free - close and free. */
void vfu_free(struct vfu *vfu);

/** vfu_gone - the function is gone, for this reason; the first one stays. Returns -ENODEV. */
int vfu_gone(struct vfu *vfu, int cause, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** vfu_broken - it is gone because its server broke the protocol. Returns -ENODEV. */
#define vfu_broken(vfu, fmt, ...) \
	vfu_gone(vfu, -EPROTO, "the vfio-user server broke the protocol: " fmt, ##__VA_ARGS__)
/** vfu_now_ms - the monotonic clock. */
uint64_t vfu_now_ms(void);

/**
 * vfu_put - gather a command to be sent with the next vfu_send(); sends when it must for room.
 * @flags: 0 or VFU_NO_REPLY.
 * @size: of the payload, at most VFU_MESSAGE_MAX less the header.
 * @id: gets the message id, if wanted.
 * Return: where to put the payload, not aligned; NULL when gone.
 */
void *vfu_put(struct vfu *vfu, uint16_t command, uint32_t flags, uint32_t size, uint16_t *id);
/** vfu_send - send what was gathered; @fd goes along with its first byte unless it is -1. */
int vfu_send(struct vfu *vfu, int fd);
/**
 * vfu_receive - wait for the next reply; commands of the server that come before it are answered.
 * @size: of the payload.
 * Return: its header, in place: valid until the next call of any of these; NULL when gone.
 */
const struct vfu_header *vfu_receive(struct vfu *vfu, const uint8_t **payload, uint32_t *size);
/**
 * vfu_call - send what was gathered and wait for the reply to the last command of it.
 * @fd: as in vfu_send().
 * @payload, @size: of the reply; at least @min bytes, or the server is done with.
 * Return: 0, -ENODEV when gone, or the error that the server answered.
 */
int vfu_call(struct vfu *vfu, uint16_t command, uint16_t id, int fd, uint32_t min,
	     const uint8_t **payload, uint32_t *size);
/** vfu_settle - deal with what came behind the last reply: commands are answered, more replies are
 * a breach. */
int vfu_settle(struct vfu *vfu);
/** vfu_attend - take in what came unasked, without waiting. */
void vfu_attend(struct vfu *vfu);

/* ----------------------------------------------------------------- vfu_io.c */

extern const struct au_bus_ops vfu_ops;

/* ---------------------------------------------------------------- vfu_irq.c */

/** vfu_irq_count - how many interrupts of a kind there are; 0 also when the server does not tell.
 */
uint32_t vfu_irq_count(struct vfu *vfu, uint32_t index);
int vfu_irq_set(struct au_bus *bus, unsigned int index, const int *fds, unsigned int count);
int vfu_irq_unmask(struct au_bus *bus, unsigned int index);
/** vfu_irq_disconnect - take all interrupts of VFIO index @index off their eventfds. */
int vfu_irq_disconnect(struct vfu *vfu, unsigned int index);

/* ---------------------------------------------------------------- vfu_dma.c */

int vfu_dma_map(struct au_bus *bus, uint64_t iova, uint64_t size, void *cpu, int fd,
		uint64_t offset);
int vfu_dma_unmap(struct au_bus *bus, uint64_t iova, uint64_t size);

/* ------------------------------------------------------------- vfu_client.c */

/** vfu_start - negotiate on a fresh connection, quiet and reset the function. */
int vfu_start(struct vfu *vfu, struct au_bus_session *session);

/* ---------------------------------------------------------------- vfu_map.c */

/** vfu_region - ask the server for a region; @map: map it, if that can be done safely. */
int vfu_region(struct vfu *vfu, uint32_t index, bool map);
/** vfu_map_gone - let reads of mapped regions give all-ones from now on. */
void vfu_map_gone(struct vfu *vfu);
/** vfu_unmap - unmap all. */
void vfu_unmap(struct vfu *vfu);

#endif
