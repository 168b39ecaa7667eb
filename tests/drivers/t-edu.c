/* SPDX-License-Identifier: MIT */
/*
 * QEMU's "edu" device: a message interrupt, and DMA with addresses of 28 bits, which it cuts off
 * without a word. Operations, from AU_RAW_FIRST on:
 *	0	the request's data through the device's buffer and back, by DMA
 *	1	the factorial of arg[0], when its interrupt has come
 *	2	the device reads from an address that nobody gave it
 *	3	the same, by writing to it
 *	4	nothing; the result is the address that the device has for the data
 */
#include <auriga/driver.h>
#include <auriga/raw.h>

/* QEMU's docs/specs/edu.rst */
enum {
	EDU_ID = 0x00,
	EDU_ID_VALUE = 0x010000ed,
	EDU_FACTORIAL = 0x08,
	EDU_STATUS = 0x20,
	EDU_STATUS_IRQ = 0x80,
	EDU_IRQ_STATUS = 0x24,
	EDU_IRQ_FACTORIAL = 0x001,
	EDU_IRQ_DMA = 0x100,
	EDU_IRQ_ACK = 0x64,
	EDU_DMA_SRC = 0x80,
	EDU_DMA_DST = 0x88,
	EDU_DMA_COUNT = 0x90,
	EDU_DMA_CMD = 0x98,
	EDU_DMA_RUN = 0x1,
	EDU_DMA_TO_MEMORY = 0x2,
	EDU_DMA_IRQ = 0x4,
	EDU_BUFFER = 0x40000,
	EDU_BUFFER_SIZE = 4096,
	EDU_REGISTERS = 0x100,
};

enum { OP_LOOP = AU_RAW_FIRST, OP_FACTORIAL, OP_STRAY_READ, OP_STRAY_WRITE, OP_WHERE };

#define EDU_NOWHERE 0x8000000u /* within its 28 bits */

struct edu {
	struct au_regs *regs;
	struct au_unit *unit;
	struct au_queue *queue;
	struct au_irq *irq;
	struct au_dma back; /* what comes back from the device */
	struct au_request *req;
	bool back_home;
	uint32_t raised;
};

static void edu_dma(struct edu *edu, uint64_t src, uint64_t dst, uint64_t count, uint32_t way)
{
	au_write64(edu->regs, EDU_DMA_SRC, src);
	au_write64(edu->regs, EDU_DMA_DST, dst);
	au_write64(edu->regs, EDU_DMA_COUNT, count);
	au_dma_wmb();
	au_write64(edu->regs, EDU_DMA_CMD, EDU_DMA_RUN | EDU_DMA_IRQ | way);
}

static void edu_done(struct edu *edu, int status, uint32_t result)
{
	struct au_request *req = edu->req;

	edu->req = NULL;
	au_request_complete(req, status, result);
}

static bool edu_isr(struct au_irq *irq)
{
	struct edu *edu = au_irq_context(irq);
	uint32_t status = au_read32(edu->regs, EDU_IRQ_STATUS);

	if (status == 0 || au_all_ones(status, 4))
		return false;
	au_write32(edu->regs, EDU_IRQ_ACK, status);
	edu->raised |= status;
	return true;
}

static void edu_loop_dma(struct edu *edu)
{
	const uint8_t *back = edu->back.cpu;
	uint8_t *data = edu->req->data;

	if (!edu->back_home) {
		edu->back_home = true;
		edu_dma(edu, EDU_BUFFER, edu->back.addr, edu->req->length, EDU_DMA_TO_MEMORY);
		return;
	}
	au_dma_rmb();
	for (uint32_t i = 0; i < edu->req->length; i++)
		data[i] = back[i];
	edu_done(edu, 0, edu->req->length);
}

static void edu_dpc(struct au_irq *irq)
{
	struct edu *edu = au_irq_context(irq);
	uint32_t raised = edu->raised;

	edu->raised = 0;
	if (!edu->req)
		return;
	if ((raised & EDU_IRQ_FACTORIAL) && edu->req->op == OP_FACTORIAL)
		edu_done(edu, 0, au_read32(edu->regs, EDU_FACTORIAL));
	else if ((raised & EDU_IRQ_DMA) && edu->req->op == OP_LOOP)
		edu_loop_dma(edu);
	else if (raised & EDU_IRQ_DMA)
		edu_done(edu, 0, 0);
}

static void edu_deliver(struct au_queue *queue, struct au_request *req)
{
	struct edu *edu = au_queue_context(queue);

	if (req->length > EDU_BUFFER_SIZE) {
		au_request_complete(req, -AU_EINVAL, 0);
		return;
	}
	edu->req = req;
	edu->back_home = false;
	switch (req->op) {
	case OP_LOOP:
		edu_dma(edu, req->dma, EDU_BUFFER, req->length, 0);
		break;
	case OP_FACTORIAL:
		au_write32(edu->regs, EDU_FACTORIAL, (uint32_t)req->arg[0]);
		break;
	case OP_STRAY_READ:
		edu_dma(edu, EDU_NOWHERE, EDU_BUFFER, 64, 0);
		break;
	case OP_STRAY_WRITE:
		edu_dma(edu, EDU_BUFFER, EDU_NOWHERE, 64, EDU_DMA_TO_MEMORY);
		break;
	case OP_WHERE:
		edu_done(edu, 0, req->dma >> 28 ? 0 : (uint32_t)req->dma);
		break;
	default:
		edu_done(edu, -AU_EINVAL, 0);
	}
}

static int edu_prepare(struct au_device *dev)
{
	struct edu *edu = au_context(dev);
	const struct au_unit_config unit = { AU_HEAD(struct au_unit_config), .context = edu };
	const struct au_irq_config irq = { AU_HEAD(struct au_irq_config), .context = edu,
					   .isr = edu_isr, .dpc = edu_dpc };
	const struct au_queue_config queue = { AU_HEAD(struct au_queue_config),
					       .kind = AU_QUEUE_SEQUENTIAL, .context = edu,
					       .deliver = edu_deliver };
	int err = au_map_bar(dev, 0, EDU_REGISTERS, &edu->regs);

	if (!err)
		err = au_dma_alloc(dev, EDU_BUFFER_SIZE, EDU_BUFFER_SIZE, &edu->back);
	if (!err)
		err = au_irq_create(dev, &irq, &edu->irq);
	if (!err)
		err = au_unit_add(dev, &unit, &edu->unit);
	return err ? err : au_queue_create(edu->unit, &queue, &edu->queue);
}

static int edu_d0_entry(struct au_device *dev, enum au_power from)
{
	struct edu *edu = au_context(dev);

	(void)from;
	if (au_read32(edu->regs, EDU_ID) != EDU_ID_VALUE)
		return -AU_ENODEV;
	/* A DMA that an earlier driver has started is over within 0.1 s; there is no reset. */
	for (unsigned int i = 0; i < 100 && (au_read64(edu->regs, EDU_DMA_CMD) & EDU_DMA_RUN); i++)
		au_sleep_ms(dev, 10);
	au_write32(edu->regs, EDU_IRQ_ACK, au_read32(edu->regs, EDU_IRQ_STATUS));
	au_write32(edu->regs, EDU_STATUS, EDU_STATUS_IRQ);
	return 0;
}

AU_DRIVER_NOTE(AU_NAME("t-edu") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("QEMU's edu device, for tests") AU_MATCH_PCI(0x1234, 0x11e8)
			       AU_DMA(28, 65536));

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.context_size = sizeof(struct edu),
	.prepare = edu_prepare,
	.d0_entry = edu_d0_entry,
};
