/* SPDX-License-Identifier: MIT */
/*
 * irq.c: interrupts are eventfds: MSI-X as soon as one vector is connected, else INTx, which masks
 * itself as with vfio-pci.
 */
#include "nvme.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <unistd.h>

static void irq_signal(struct nvme *nvme, int fd)
{
	uint64_t one = 1;

	if (fd < 0)
		return;
	nvme->stats.interrupts++;
	/* It fails when it is full, which is as good as one more, or is no eventfd at all. */
	(void)!write(fd, &one, sizeof(one));
}

static int *irq_slot(struct nvme *nvme, unsigned int index, unsigned int vector)
{
	if (index == VFIO_PCI_INTX_IRQ_INDEX && vector == 0)
		return &nvme->intx_fd;
	if (index == VFIO_PCI_MSIX_IRQ_INDEX && vector <= nvme->opt.queues)
		return &nvme->msix_fd[vector];
	return NULL;
}

int nvme_irq_connect(struct nvme *nvme, unsigned int index, unsigned int vector, int fd)
{
	int *slot = irq_slot(nvme, index, vector);
	bool msix = index == VFIO_PCI_MSIX_IRQ_INDEX;

	if (!slot) {
		if (fd >= 0)
			close(fd);
		return -EINVAL;
	}
	if (*slot >= 0) {
		close(*slot);
		nvme->msix_on -= msix;
	}
	*slot = fd;
	if (fd >= 0) {
		int flags = fcntl(fd, F_GETFL);

		(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
		nvme->msix_on += msix;
	}
	if (!msix)
		nvme->intx_masked = false;
	return 0;
}

void nvme_irq_disconnect(struct nvme *nvme, unsigned int index)
{
	for (unsigned int i = 0; irq_slot(nvme, index, i); i++)
		nvme_irq_connect(nvme, index, i, -1);
}

void nvme_irq_trigger(struct nvme *nvme, unsigned int index, unsigned int vector)
{
	const int *slot = irq_slot(nvme, index, vector);

	if (slot)
		irq_signal(nvme, *slot);
}

/* INTx is a level: somebody has not taken completions yet. */
bool nvme_intx_level(struct nvme *nvme)
{
	if (nvme->msix_on || !nvme->running)
		return false;
	for (unsigned int i = 0; i < nvme->queues; i++) {
		const struct nvme_cq *cq = &nvme->cq[i];

		if (cq->live && cq->ien && nvme_doorbell(nvme, 2 * i + 1) != cq->tail &&
		    !(cq->vector < 32 && nvme->intm & 1u << cq->vector))
			return true;
	}
	return false;
}

static void intx_look(struct nvme *nvme)
{
	bool disabled = nvme->config[PCI_COMMAND + 1] & PCI_COMMAND_INTX_DISABLE >> 8;

	if (nvme->intx_fd < 0 || nvme->intx_masked || disabled || !nvme_intx_level(nvme))
		return;
	nvme->intx_masked = true;
	irq_signal(nvme, nvme->intx_fd);
}

void nvme_intx_mask(struct nvme *nvme, bool masked)
{
	nvme->intx_masked = masked;
	intx_look(nvme);
}

void nvme_irq_pump(struct nvme *nvme)
{
	nvme->signal = false;
	for (unsigned int i = 0; i < nvme->queues; i++) {
		struct nvme_cq *cq = &nvme->cq[i];

		if (!cq->signal)
			continue;
		cq->signal = false;
		if (nvme->msix_on && cq->ien)
			irq_signal(nvme, nvme->msix_fd[cq->vector]);
	}
	if (!nvme->msix_on)
		intx_look(nvme);
}
