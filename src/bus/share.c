/* SPDX-License-Identifier: MIT */
/*
 * A bus that several lanes use: one access after the other. A device with one lane has none of
 * this, and pays nothing for it.
 */
#include "bus/bus.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/**
 * struct au_bus_shared - what is put before the transport.
 * @ops: what the transport can do, behind the lock.
 * @real: the transport.
 */
struct au_bus_shared {
	struct au_bus_ops ops;
	const struct au_bus_ops *real;
	pthread_mutex_t lock;
};

static const struct au_bus_ops *share_enter(struct au_bus *bus)
{
	pthread_mutex_lock(&bus->below->lock);
	return bus->below->real;
}

static int share_leave(struct au_bus *bus, int result)
{
	pthread_mutex_unlock(&bus->below->lock);
	return result;
}

static int share_read(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		      uint64_t *value)
{
	const struct au_bus_ops *real = share_enter(bus);

	return share_leave(bus, real->read(bus, region, offset, width, value));
}

/* Posted ones leave at once: whose turn would end with a flush is nobody's business here. */
static int share_write(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		       uint64_t value, bool posted)
{
	const struct au_bus_ops *real = share_enter(bus);
	int err = real->write(bus, region, offset, width, value, posted);

	if (!err && posted && bus->pending)
		err = real->flush(bus);
	return share_leave(bus, err);
}

static int share_read_rep8(struct au_bus *bus, unsigned int region, uint64_t offset, uint8_t *buf,
			   uint32_t count)
{
	const struct au_bus_ops *real = share_enter(bus);

	return share_leave(bus, real->read_rep8(bus, region, offset, buf, count));
}

static int share_write_rep8(struct au_bus *bus, unsigned int region, uint64_t offset,
			    const uint8_t *buf, uint32_t count)
{
	const struct au_bus_ops *real = share_enter(bus);

	return share_leave(bus, real->write_rep8(bus, region, offset, buf, count));
}

static int share_flush(struct au_bus *bus)
{
	const struct au_bus_ops *real = share_enter(bus);

	return share_leave(bus, real->flush(bus));
}

static int share_irq_set(struct au_bus *bus, unsigned int index, const int *fds, unsigned int count)
{
	const struct au_bus_ops *real = share_enter(bus);

	return share_leave(bus, real->irq_set(bus, index, fds, count));
}

static int share_irq_unmask(struct au_bus *bus, unsigned int index)
{
	const struct au_bus_ops *real = share_enter(bus);

	return share_leave(bus, real->irq_unmask(bus, index));
}

static int share_dma_map(struct au_bus *bus, uint64_t iova, uint64_t size, void *cpu, int fd,
			 uint64_t offset)
{
	const struct au_bus_ops *real = share_enter(bus);

	return share_leave(bus, real->dma_map(bus, iova, size, cpu, fd, offset));
}

static int share_dma_unmap(struct au_bus *bus, uint64_t iova, uint64_t size)
{
	const struct au_bus_ops *real = share_enter(bus);

	return share_leave(bus, real->dma_unmap(bus, iova, size));
}

static int share_reset(struct au_bus *bus)
{
	const struct au_bus_ops *real = share_enter(bus);

	return share_leave(bus, real->reset(bus));
}

static int share_low_power(struct au_bus *bus, bool on)
{
	const struct au_bus_ops *real = share_enter(bus);

	return share_leave(bus, real->low_power(bus, on));
}

static int share_wait_fd(struct au_bus *bus)
{
	return bus->below->real->wait_fd(bus);
}

static void share_attend(struct au_bus *bus)
{
	const struct au_bus_ops *real = share_enter(bus);

	real->attend(bus);
	share_leave(bus, 0);
}

static void share_close(struct au_bus *bus)
{
	struct au_bus_shared *shared = bus->below;

	pthread_mutex_destroy(&shared->lock);
	shared->real->close(bus);
	free(shared);
}

int au_bus_share(struct au_bus *bus)
{
	struct au_bus_shared *shared = calloc(1, sizeof(*shared));

	if (!shared)
		return -ENOMEM;
	shared->real = bus->ops;
	shared->ops = (struct au_bus_ops){
		.read = share_read,
		.write = share_write,
		.read_rep8 = share_read_rep8,
		.write_rep8 = share_write_rep8,
		.flush = share_flush,
		.irq_set = share_irq_set,
		.irq_unmask = share_irq_unmask,
		.dma_map = bus->ops->dma_map ? share_dma_map : NULL,
		.dma_unmap = bus->ops->dma_unmap ? share_dma_unmap : NULL,
		.reset = share_reset,
		.low_power = bus->ops->low_power ? share_low_power : NULL,
		.wait_fd = share_wait_fd,
		.attend = share_attend,
		.close = share_close,
	};
	pthread_mutex_init(&shared->lock, NULL);
	bus->below = shared;
	bus->ops = &shared->ops;
	return 0;
}
