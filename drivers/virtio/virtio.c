/* SPDX-License-Identifier: MIT */
/* virtio.c: virtio devices on PCI: windows, handshake, queues, configuration. */
#include "virtio.h"

/* Configuration space [4.1.4]. */
#define PCI_STATUS		     0x06u
#define PCI_STATUS_CAPS		     0x10u
#define PCI_CAPS		     0x34u
#define PCI_CAPS_MAX		     48u /* what fits into 192 bytes, 4 each */
#define PCI_CAP_VENDOR		     0x09u
#define CAP_BYTES		     16u
#define CAP_NOTIFY_BYTES	     20u
#define CAP_COMMON		     1u
#define CAP_NOTIFY		     2u
#define CAP_ISR			     3u
#define CAP_DEVICE		     4u

/* The common configuration [4.1.4.3]. */
#define COMMON_DEVICE_FEATURE_SELECT 0x00u
#define COMMON_DEVICE_FEATURE	     0x04u
#define COMMON_DRIVER_FEATURE_SELECT 0x08u
#define COMMON_DRIVER_FEATURE	     0x0cu
#define COMMON_CONFIG_VECTOR	     0x10u
#define COMMON_QUEUES		     0x12u
#define COMMON_STATUS		     0x14u
#define COMMON_GENERATION	     0x15u
#define COMMON_QUEUE_SELECT	     0x16u
#define COMMON_QUEUE_SIZE	     0x18u
#define COMMON_QUEUE_VECTOR	     0x1au
#define COMMON_QUEUE_ENABLE	     0x1cu
#define COMMON_QUEUE_NOTIFY	     0x1eu
#define COMMON_QUEUE_DESC	     0x20u
#define COMMON_QUEUE_DRIVER	     0x28u
#define COMMON_QUEUE_DEVICE	     0x30u
#define COMMON_BYTES		     0x38u

#define STATUS_ACKNOWLEDGE	     1u
#define STATUS_DRIVER		     2u
#define STATUS_DRIVER_OK	     4u
#define STATUS_FEATURES_OK	     8u
#define STATUS_NEEDS_RESET	     64u
#define STATUS_FAILED		     128u

#define ISR_CONFIG		     2u

#define NO_VECTOR		     0xffffu
#define VECTOR_CONFIG		     0u
#define VECTOR_QUEUES		     1u

#define RESET_MS		     2000u
#define CONFIG_TRIES		     100u

/* --------------------------------------------------------------------- windows */

/* One window, from its capability; the first of each kind counts [4.1.4]. */
static int virtio_window(struct virtio *v, uint32_t at)
{
	uint32_t head = au_pci_read32(v->dev, at), length = head >> 16 & 0xff, kind = head >> 24;
	uint32_t bar = au_pci_read32(v->dev, at + 4) & 0xff;
	uint32_t offset = au_pci_read32(v->dev, at + 8), size = au_pci_read32(v->dev, at + 12);
	struct au_regs **windows[] = { [CAP_COMMON] = &v->common,
				       [CAP_NOTIFY] = &v->notify,
				       [CAP_ISR] = &v->isr,
				       [CAP_DEVICE] = &v->config };
	struct au_regs *whole;
	int err;

	if (length < CAP_BYTES || kind < CAP_COMMON || kind > CAP_DEVICE || *windows[kind] ||
	    bar > 5 || size == 0)
		return 0;
	if (kind == CAP_NOTIFY && length < CAP_NOTIFY_BYTES)
		return 0;
	err = au_map_bar(v->dev, bar, (uint64_t)offset + size, &whole);
	if (!err)
		err = au_sub_regs(whole, offset, size, windows[kind]);
	if (kind == CAP_NOTIFY)
		v->notify_step = au_pci_read32(v->dev, at + CAP_BYTES);
	if (kind == CAP_DEVICE)
		v->config_size = size;
	return err;
}

int virtio_prepare(struct virtio *v, struct au_device *dev)
{
	uint32_t at;

	v->dev = dev;
	at = au_pci_read16(dev, PCI_STATUS) & PCI_STATUS_CAPS ? au_pci_read16(dev, PCI_CAPS) : 0;
	for (unsigned int i = 0; i < PCI_CAPS_MAX; i++) {
		uint32_t cap;
		int err = 0;

		at &= 0xfc;
		if (at < 0x40)
			break;
		cap = au_pci_read16(dev, at);
		if (cap == 0xffff)
			return -AU_ENODEV;
		if ((cap & 0xff) == PCI_CAP_VENDOR)
			err = virtio_window(v, at);
		if (err)
			return err;
		at = cap >> 8;
	}
	if (!v->common || !v->notify || v->common->size < COMMON_BYTES) {
		au_log(dev, AU_LOG_ERROR,
		       "no virtio 1.0 device: it has no common configuration and doorbells (a "
		       "legacy device is not supported: switch its modern interface on)");
		return -AU_ENXIO;
	}
	return 0;
}

/* ------------------------------------------------------------------- handshake */

static uint32_t virtio_status(struct virtio *v)
{
	uint32_t status = au_read8(v->common, COMMON_STATUS);

	/* No combination of bits has all of them: two are reserved. */
	if (status == 0xff && !v->gone) {
		v->gone = true;
		au_device_gone(v->dev);
	}
	return status;
}

static void virtio_add_status(struct virtio *v, uint32_t bits)
{
	au_write8(v->common, COMMON_STATUS, (uint8_t)(virtio_status(v) | bits));
}

void virtio_stop(struct virtio *v)
{
	au_write8(v->common, COMMON_STATUS, 0);
	for (unsigned int ms = 0; ms < RESET_MS; ms++) {
		if (virtio_status(v) == 0 || v->gone)
			return;
		au_sleep_ms(v->dev, 1);
	}
	au_log(v->dev, AU_LOG_ERROR, "it does not get through a reset");
}

/* It is left as it is: FAILED says so to whoever looks from the other side. */
static int virtio_give_up(struct virtio *v, int err)
{
	if (!v->gone)
		virtio_add_status(v, STATUS_FAILED);
	return v->gone ? -AU_ENODEV : err;
}

static uint64_t virtio_offered(struct virtio *v)
{
	uint64_t low, high;

	au_write32(v->common, COMMON_DEVICE_FEATURE_SELECT, 0);
	low = au_read32(v->common, COMMON_DEVICE_FEATURE);
	au_write32(v->common, COMMON_DEVICE_FEATURE_SELECT, 1);
	high = au_read32(v->common, COMMON_DEVICE_FEATURE);
	return low | high << 32;
}

static void virtio_accept(struct virtio *v)
{
	au_write32(v->common, COMMON_DRIVER_FEATURE_SELECT, 0);
	au_write32(v->common, COMMON_DRIVER_FEATURE, (uint32_t)v->features);
	au_write32(v->common, COMMON_DRIVER_FEATURE_SELECT, 1);
	au_write32(v->common, COMMON_DRIVER_FEATURE, (uint32_t)(v->features >> 32));
}

int virtio_begin(struct virtio *v, uint64_t wanted, uint64_t needed)
{
	uint64_t offered;

	v->needs_reset = v->gone = false;
	virtio_stop(v);
	if (v->gone || virtio_status(v) != 0)
		return v->gone ? -AU_ENODEV : -AU_ETIMEDOUT;
	virtio_add_status(v, STATUS_ACKNOWLEDGE);
	virtio_add_status(v, STATUS_DRIVER);
	offered = virtio_offered(v);
	needed |= VIRTIO_F_VERSION_1;
	if (needed & ~offered) {
		au_log(v->dev, AU_LOG_ERROR, "it lacks features: has 0x%llx, needed is 0x%llx",
		       (unsigned long long)offered, (unsigned long long)needed);
		return virtio_give_up(v, -AU_ENOTSUP);
	}
	/* Without it, a virtual device takes what it is given for addresses of its host's memory.
	 */
	if (!(offered & VIRTIO_F_ACCESS_PLATFORM)) {
		au_log(v->dev, AU_LOG_ERROR,
		       "its DMA does not go through an IOMMU (VIRTIO_F_ACCESS_PLATFORM): QEMU's "
		       "devices want iommu_platform=on");
		return virtio_give_up(v, -AU_ENOTSUP);
	}
	v->features = offered & (wanted | needed | VIRTIO_F_ACCESS_PLATFORM);
	virtio_accept(v);
	virtio_add_status(v, STATUS_FEATURES_OK);
	if (!(virtio_status(v) & STATUS_FEATURES_OK) || v->gone) {
		au_log(v->dev, AU_LOG_ERROR, "it does not accept features 0x%llx",
		       (unsigned long long)v->features);
		return virtio_give_up(v, -AU_ENOTSUP);
	}
	if (v->messages) {
		au_write16(v->common, COMMON_CONFIG_VECTOR, VECTOR_CONFIG);
		if (au_read16(v->common, COMMON_CONFIG_VECTOR) != VECTOR_CONFIG)
			au_log(v->dev, AU_LOG_WARN, "it does not tell of its configuration");
	}
	v->queues = au_read16(v->common, COMMON_QUEUES);
	return 0;
}

int virtio_go(struct virtio *v)
{
	uint32_t status;

	virtio_add_status(v, STATUS_DRIVER_OK);
	status = virtio_status(v);
	if (v->gone)
		return -AU_ENODEV;
	return status & STATUS_NEEDS_RESET ? virtio_give_up(v, -AU_EIO) : 0;
}

/* ---------------------------------------------------------------------- queues */

static void queue_address(struct virtio *v, uint32_t at, uint64_t address)
{
	au_write32(v->common, at, (uint32_t)address);
	au_write32(v->common, at + 4, (uint32_t)(address >> 32));
}

/* Memory for the largest size: it is kept. */
static int queue_memory(struct virtio *v, struct virtio_queue *q, uint16_t size, uint16_t tables)
{
	uint32_t offsets[3], split = virtq_bytes(false, size, offsets);
	int err;

	if (q->memory.cpu)
		return 0;
	err = au_dma_alloc(v->dev, split, 4096, &q->memory); /* packed ones are smaller */
	if (!err && tables) {
		q->ring.table = tables;
		err = au_dma_alloc(v->dev, (uint64_t)size * tables * sizeof(struct virtq_desc),
				   4096, &q->ring.tables);
	}
	q->size_max = size;
	return err;
}

/* The largest that both can do; of split ones, a power of two. */
static uint16_t queue_size(bool packed, uint16_t most, uint16_t device)
{
	uint16_t size = device < most ? device : most;

	while (!packed && (size & (size - 1)))
		size &= (uint16_t)(size - 1);
	return size;
}

static int queue_program(struct virtio *v, const struct virtio_queue *q, const uint32_t offsets[3])
{
	uint16_t vector = v->messages ? VECTOR_QUEUES : NO_VECTOR;

	au_write16(v->common, COMMON_QUEUE_SIZE, q->ring.size);
	au_write16(v->common, COMMON_QUEUE_VECTOR, vector);
	if (vector != NO_VECTOR && au_read16(v->common, COMMON_QUEUE_VECTOR) != vector) {
		au_log(v->dev, AU_LOG_ERROR, "it has no room for interrupt %u of queue %u", vector,
		       q->index);
		return -AU_EIO;
	}
	queue_address(v, COMMON_QUEUE_DESC, q->memory.addr + offsets[0]);
	queue_address(v, COMMON_QUEUE_DRIVER, q->memory.addr + offsets[1]);
	queue_address(v, COMMON_QUEUE_DEVICE, q->memory.addr + offsets[2]);
	au_write16(v->common, COMMON_QUEUE_ENABLE, 1);
	return 0;
}

int virtio_queue(struct virtio *v, struct virtio_queue *q, uint16_t index, uint16_t size,
		 struct virtq_slot *slots, uint16_t tables)
{
	bool packed = v->features & VIRTIO_F_RING_PACKED;
	uint64_t notify;
	uint32_t offsets[3];
	uint16_t device;
	int err = queue_memory(v, q, size, tables);

	if (err)
		return err;
	if (index >= v->queues)
		return -AU_ENXIO;
	au_write16(v->common, COMMON_QUEUE_SELECT, index);
	device = au_read16(v->common, COMMON_QUEUE_SIZE);
	notify = (uint64_t)au_read16(v->common, COMMON_QUEUE_NOTIFY) * v->notify_step;
	size = queue_size(packed, q->size_max, device);
	if (device == 0 || notify > v->notify->size - 2) {
		au_log(v->dev, AU_LOG_ERROR, "queue %u of %u entries, doorbell at 0x%llx: no such",
		       index, device, (unsigned long long)notify);
		return -AU_ENXIO;
	}
	const struct au_dma memory = q->ring.tables;
	const uint16_t table = q->ring.table;

	__builtin_memset(q->memory.cpu, 0, q->memory.size);
	virtq_bytes(packed, size, offsets);
	virtq_init(&q->ring, packed, v->features & VIRTIO_F_EVENT_IDX, size, q->memory.cpu, slots);
	q->ring.tables = memory;
	q->ring.table = v->features & VIRTIO_F_INDIRECT_DESC ? table : 0;
	q->virtio = v;
	q->index = index;
	q->notify_at = (uint32_t)notify;
	q->slots = slots;
	return queue_program(v, q, offsets);
}

/* --------------------------------------------------------------- configuration */

int virtio_config(struct virtio *v, uint32_t offset, void *to, uint32_t size)
{
	uint8_t *bytes = to;

	if (!v->config || offset > v->config_size || size > v->config_size - offset)
		return -AU_ERANGE;
	for (unsigned int tries = 0; tries < CONFIG_TRIES; tries++) {
		uint8_t generation = au_read8(v->common, COMMON_GENERATION);

		for (uint32_t i = 0; i < size; i++)
			bytes[i] = au_read8(v->config, offset + i);
		if (au_read8(v->common, COMMON_GENERATION) == generation)
			return 0;
	}
	return -AU_EIO;
}

/* ------------------------------------------------------------------ interrupts */

/* What it interrupts for, which quiets the line [4.1.4.5]. */
static bool virtio_line_isr(struct au_irq *irq)
{
	struct virtio *v = au_irq_context(irq);
	uint8_t why = v->isr ? au_read8(v->isr, 0) : 0;

	if (why & ISR_CONFIG)
		v->changed = true;
	return why != 0;
}

static void virtio_queues_dpc(struct au_irq *irq)
{
	struct virtio *v = au_irq_context(irq);

	v->serve(v->context);
}

static void virtio_config_dpc(struct au_irq *irq)
{
	struct virtio *v = au_irq_context(irq);
	uint32_t status = virtio_status(v);

	v->changed = false;
	v->needs_reset = !v->gone && (status & STATUS_NEEDS_RESET);
	if (!v->gone)
		v->news(v->context);
}

static void virtio_line_dpc(struct au_irq *irq)
{
	if (((struct virtio *)au_irq_context(irq))->changed)
		virtio_config_dpc(irq);
	virtio_queues_dpc(irq);
}

int virtio_irqs(struct virtio *v, void *context, void (*news)(void *context),
		void (*serve)(void *context))
{
	unsigned int count = au_irq_count(v->dev);
	struct au_irq_config config = { AU_HEAD(struct au_irq_config), .context = v };
	struct au_irq *irq;
	int err;

	v->context = context;
	v->news = news;
	v->serve = serve;
	v->irqs = count > 0;
	v->messages = count > 1;
	if (!v->irqs)
		return 0;
	config.vector = VECTOR_CONFIG;
	config.isr = v->messages ? NULL : virtio_line_isr;
	config.dpc = v->messages ? virtio_config_dpc : virtio_line_dpc;
	err = au_irq_create(v->dev, &config, &irq);
	if (err || !v->messages)
		return err;
	config.vector = VECTOR_QUEUES;
	config.dpc = virtio_queues_dpc;
	return au_irq_create(v->dev, &config, &irq);
}
