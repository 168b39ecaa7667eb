/* SPDX-License-Identifier: MIT */
/**
 * DOC: The vhost-user front-end, inside
 *
 * A vhost-user back-end serves virtqueues over a socket, and nothing else: no registers, no
 * configuration space. Here it becomes the PCI function that a virtio 1.0 device is, so that one
 * driver works on both and cannot tell them apart: vhost_pci.c is the function's registers,
 * vhost_queue.c makes messages of what is written there, vhost_mem.c is its DMA, vhost_client.c
 * opens and adopts sessions, vhost_msg.c moves messages.
 *
 * Memory has one address here: what the device is to use. It stands for the front-end's own
 * addresses in the back-end's table of memory, too.
 *
 * The back-end is hostile: replies are checked for kind and size, and what they say for its range.
 * One that breaks the protocol, or does not answer in time, is gone.
 */
#ifndef AU_BUS_VHOST_H
#define AU_BUS_VHOST_H

#include "bus/bus.h"
#include "bus/vhost_wire.h"

#include <errno.h>

#define VHOST_QUEUES	    32u
#define VHOST_MAPS	    256u
#define VHOST_QUEUE_MAX	    1024u /* entries */
#define VHOST_QUEUE_DEFAULT 256u  /* what back-ends commonly take */
#define VHOST_PCI_BYTES	    256u  /* of configuration space */

/* Where in BAR 0 what is. */
#define VHOST_BAR_COMMON    0x0000u
#define VHOST_BAR_ISR	    0x1000u
#define VHOST_BAR_DEVICE    0x2000u
#define VHOST_BAR_NOTIFY    0x3000u
#define VHOST_BAR_SIZE	    0x4000u
#define VHOST_NOTIFY_STEP   4u

#define VHOST_NO_VECTOR	    0xffffu

/** struct vhost_queue - one queue, as the driver has programmed it. @kick: an eventfd. */
struct vhost_queue {
	uint16_t size, vector;
	bool enabled, started;
	uint64_t address[3]; /* descriptors, driver's part, device's part */
	int kick;
};

/** struct vhost_map - memory that the back-end may map. @fd: ours. @told: it knows of it. */
struct vhost_map {
	uint64_t iova, size, offset;
	int fd;
	bool told;
};

/**
 * struct vhost - one session.
 * @type: virtio's number of the kind of device.
 * @offered, @protocol: features of the back-end; of the protocol, those that we use, too.
 * @own: features that are this function's, not the back-end's.
 * @told: the back-end has been told of memory: it is told of each change from now on.
 * @slots: regions that the back-end takes one by one; 0: only all at once.
 * @features: what the driver has accepted.
 * @irq: eventfds by vector, ours; @vectors of them.
 * @unheard: an eventfd for what nobody wants to hear.
 * @status, @feature_select, @driver_select, @queue_select, @config_vector: registers.
 * @config, @config_size: the device's configuration, read while adopting.
 */
struct vhost {
	struct au_bus bus;
	int fd;
	int cause;
	uint32_t timeout_ms;
	uint32_t type;
	uint64_t offered, protocol, own;
	uint32_t slots;
	bool told;
	uint64_t features;
	uint32_t queue_count, vectors;
	int irq[VHOST_QUEUES + 1];
	int unheard;
	uint8_t status;
	uint32_t feature_select, driver_select;
	uint16_t queue_select, config_vector, command;
	struct vhost_queue queue[VHOST_QUEUES];
	struct vhost_map map[VHOST_MAPS];
	unsigned int map_count;
	uint8_t config[VHOST_CONFIG_MAX];
	uint32_t config_size;
	uint8_t pci[VHOST_PCI_BYTES];
};

static inline struct vhost *vhost_of(struct au_bus *bus)
{
	return (struct vhost *)bus;
}

/* vhost_msg.c */

/** vhost_new - a session on @fd, which it owns; NULL without memory (@fd is then closed). */
struct vhost *vhost_new(int fd, uint32_t timeout_ms);
/** vhost_free - close and free. */
void vhost_free(struct vhost *v);
/** vhost_gone - the back-end is gone, for this reason; the first one stays. Returns -ENODEV. */
int vhost_gone(struct vhost *v, int cause, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/**
 * vhost_set - tell the back-end something, and wait until it has taken it, if it can say so.
 * @fds: go along. Return: 0; -EIO: it refused; -ENODEV: it is gone.
 */
int vhost_set(struct vhost *v, enum vhost_request request, const void *payload, uint32_t size,
	      const int *fds, unsigned int count);
/** vhost_set_u64 - the same with a number. */
int vhost_set_u64(struct vhost *v, enum vhost_request request, uint64_t value);
/**
 * vhost_get - ask for something.
 * @reply: of at most @most bytes. Return: its size; -EPROTO with less than @least; -ENODEV.
 */
int vhost_get(struct vhost *v, enum vhost_request request, const void *payload, uint32_t size,
	      void *reply, uint32_t least, uint32_t most);
/** vhost_get_u64 - the same for a number. */
int vhost_get_u64(struct vhost *v, enum vhost_request request, uint64_t *value);

/* vhost_pci.c */

extern const struct au_bus_ops vhost_ops;
/** vhost_pci_init - the function's configuration space. */
void vhost_pci_init(struct vhost *v);

/* vhost_queue.c */

/** vhost_start - DRIVER_OK: everything that was programmed goes to the back-end. */
int vhost_start(struct vhost *v);
/** vhost_stop - queues are stopped and drained, registers as after a reset. */
int vhost_stop(struct vhost *v);
/** vhost_irq_set - see au_bus_ops.irq_set. */
int vhost_irq_set(struct au_bus *bus, unsigned int index, const int *fds, unsigned int count);

/* vhost_mem.c */

int vhost_dma_map(struct au_bus *bus, uint64_t iova, uint64_t size, void *cpu, int fd,
		  uint64_t offset);
int vhost_dma_unmap(struct au_bus *bus, uint64_t iova, uint64_t size);
/** vhost_mem_tell - all memory that is mapped, before the first queue starts. */
int vhost_mem_tell(struct vhost *v);

#endif
