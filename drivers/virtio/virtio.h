/* SPDX-License-Identifier: MIT */
/**
 * DOC: virtio devices on PCI, as virtio 1.0 has them
 *
 * What all virtio drivers share: finding the windows, the handshake of status and features, queues,
 * interrupts, and the device's configuration. A driver calls, in its prepare(), virtio_prepare()
 * and virtio_irqs(); in its d0_entry(), virtio_begin(), virtio_queue() for each queue, and
 * virtio_go(); in its d0_exit(), virtio_stop(). All of it on the device's lane 0.
 *
 * Everything the device says is checked. [n]: virtio 1.1 section.
 */
#ifndef VIRTIO_H
#define VIRTIO_H

#include "virtq.h"

/* Features that concern the transport [6]. */
#define VIRTIO_F_INDIRECT_DESC	 (1ull << 28)
#define VIRTIO_F_EVENT_IDX	 (1ull << 29)
#define VIRTIO_F_VERSION_1	 (1ull << 32)
#define VIRTIO_F_ACCESS_PLATFORM (1ull << 33)
#define VIRTIO_F_RING_PACKED	 (1ull << 34)

/**
 * struct virtio - a virtio device.
 * @features: what was agreed on.
 * @queues: how many queues it has.
 * @config_size: bytes of its configuration.
 * @irqs: it interrupts. @messages: by messages, one for the configuration, one for all queues.
 * @news, @serve, @context: who is told.
 * @changed: its configuration, says an interrupt.
 * @needs_reset: it has said that only a reset helps.
 * @gone: its registers read all-ones.
 */
struct virtio {
	struct au_device *dev;
	struct au_regs *common, *notify, *isr, *config;
	uint32_t notify_step;
	uint64_t config_size;
	uint64_t features;
	uint16_t queues;
	bool irqs, messages;
	void (*news)(void *context);
	void (*serve)(void *context);
	void *context;
	bool changed;
	bool needs_reset;
	bool gone;
};

/**
 * struct virtio_queue - a queue of it.
 * @ring: the virtqueue.
 * @notify_at: offset of its doorbell.
 */
struct virtio_queue {
	struct virtq ring;
	struct virtio *virtio;
	uint16_t index;
	uint32_t notify_at;
	struct au_dma memory;
	uint16_t size_max;
	struct virtq_slot *slots;
};

/** virtio_prepare - find the device's windows. In prepare(). Return: 0 or a negative errno. */
int virtio_prepare(struct virtio *v, struct au_device *dev);

/**
 * virtio_irqs - have it interrupt, by whatever it has. In prepare().
 * @news: the configuration has changed, or, with @needs_reset set, only a reset helps.
 * @serve: a queue has something.
 */
int virtio_irqs(struct virtio *v, void *context, void (*news)(void *context),
		void (*serve)(void *context));

/**
 * virtio_begin - reset the device, and agree on features.
 * @wanted: what the driver makes use of; VERSION_1 and ACCESS_PLATFORM are added.
 * @needed: of these, what it cannot do without.
 * Return: 0; -AU_ENOTSUP: it does not have what is needed, or its DMA passes the IOMMU by;
 * -AU_ENODEV; -AU_ETIMEDOUT.
 */
int virtio_begin(struct virtio *v, uint64_t wanted, uint64_t needed);

/**
 * virtio_queue - set up a queue, empty. Between virtio_begin() and virtio_go().
 * @q: zeroed before the first time; keeps its memory from one time to the next.
 * @size: entries at most; @slots: so many.
 * @tables: pieces of an indirect table at most; 0: none. Only with INDIRECT_DESC.
 * Return: 0; -AU_ENXIO: there is no such queue; -AU_EIO: the device does not take it.
 */
int virtio_queue(struct virtio *v, struct virtio_queue *q, uint16_t index, uint16_t size,
		 struct virtq_slot *slots, uint16_t tables);

/** virtio_go - it may begin. Return: 0, or -AU_EIO: it is not content. */
int virtio_go(struct virtio *v);

/** virtio_stop - reset it and wait until it has: it has let go of all memory then, or is gone. */
void virtio_stop(struct virtio *v);

/**
 * virtio_config - read @size bytes of the device's configuration at @offset, all of one moment.
 * Return: 0; -AU_ERANGE: it has not so much; -AU_EIO: it changes all the time.
 */
int virtio_config(struct virtio *v, uint32_t offset, void *to, uint32_t size);

/** virtio_notify - tell the device that virtq_publish() said so. */
static inline void virtio_notify(struct virtio_queue *q)
{
	au_post16(q->virtio->notify, q->notify_at, q->index);
}

#endif
