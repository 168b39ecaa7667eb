/* SPDX-License-Identifier: MIT */
/* vhost-user: queues start and stop, and interrupt. What a driver has programmed by then is told at
 * once, at DRIVER_OK: there is nothing earlier that a back-end needs to know. */
#include "bus/vhost.h"

#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define FEATURE_RING_PACKED (1ull << 34)
#define FEATURE_PLATFORM    (1ull << 33) /* to a back-end it means: ask for each address */

/* ------------------------------------------------------------------ interrupts */

/* Where nobody wants to be called, there is a bell that nobody hears: back-ends need one. */
static int queue_call(struct vhost *v, unsigned int index)
{
	uint16_t vector = v->queue[index].vector;
	int fd = vector < v->vectors ? v->irq[vector] : -1;

	if (fd < 0 && v->unheard < 0)
		v->unheard = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fd = fd < 0 ? v->unheard : fd;
	if (fd < 0)
		return -errno;
	return vhost_set(v, VHOST_SET_VRING_CALL, &(uint64_t){ index }, 8, &fd, 1);
}

int vhost_irq_set(struct au_bus *bus, unsigned int index, const int *fds, unsigned int count)
{
	struct vhost *v = vhost_of(bus);
	int err = 0;

	if (bus->gone)
		return -ENODEV;
	if (index != AU_BUS_MSIX)
		return count ? -ENOTSUP : 0;
	if (count > v->vectors)
		return -EINVAL;
	for (unsigned int i = 0; i < v->vectors; i++) {
		int old = v->irq[i];

		v->irq[i] = i < count && fds[i] >= 0 ? dup(fds[i]) : -1;
		if (old >= 0)
			close(old);
	}
	for (unsigned int i = 0; i < v->queue_count && !err; i++)
		if (v->queue[i].started)
			err = queue_call(v, i);
	return err;
}

/* -------------------------------------------------------------------- start, stop */

/* Where the ring begins: packed ones have the round that they are in beside it. */
static uint32_t queue_base(const struct vhost *v)
{
	return v->features & FEATURE_RING_PACKED ? 0x80008000u : 0;
}

static int queue_start(struct vhost *v, uint32_t index)
{
	struct vhost_queue *q = &v->queue[index];
	struct vhost_vring_state num = { index, q->size }, base = { index, queue_base(v) };
	struct vhost_vring_addr addr = {
		.index = index, .desc = q->address[0], .avail = q->address[1], .used = q->address[2]
	};
	int err;

	if (q->kick < 0)
		q->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->kick < 0)
		return -errno;
	err = vhost_set(v, VHOST_SET_VRING_NUM, &num, sizeof(num), NULL, 0);
	err = err ? err : vhost_set(v, VHOST_SET_VRING_BASE, &base, sizeof(base), NULL, 0);
	err = err ? err : vhost_set(v, VHOST_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0);
	err = err ? err : queue_call(v, index);
	err = err ? err : vhost_set(v, VHOST_SET_VRING_KICK, &(uint64_t){ index }, 8, &q->kick, 1);
	q->started = !err;
	return err;
}

static int queue_enable(struct vhost *v, uint32_t index, uint32_t on)
{
	struct vhost_vring_state state = { index, on };

	/* Without the protocol's features a ring that is kicked is enabled. */
	if (!(v->offered & VHOST_F_PROTOCOL_FEATURES))
		return 0;
	return vhost_set(v, VHOST_SET_VRING_ENABLE, &state, sizeof(state), NULL, 0);
}

int vhost_start(struct vhost *v)
{
	uint64_t features = (v->features & ~(v->own | FEATURE_PLATFORM)) |
			    (v->offered & VHOST_F_PROTOCOL_FEATURES);
	int err = vhost_set_u64(v, VHOST_SET_FEATURES, features);

	/* What calls is there before the memory is: a back-end may make its rings then. */
	for (uint32_t i = 0; i < v->queue_count && !err; i++)
		if (v->queue[i].enabled)
			err = queue_call(v, i);
	err = err ? err : vhost_mem_tell(v);
	v->told = true;
	for (uint32_t i = 0; i < v->queue_count && !err; i++)
		if (v->queue[i].enabled)
			err = queue_start(v, i);
	for (uint32_t i = 0; i < v->queue_count && !err; i++)
		if (v->queue[i].enabled)
			err = queue_enable(v, i, 1);
	if (err && !v->bus.gone)
		return vhost_gone(v, err, "the vhost-user back-end refused what the driver wants");
	return err;
}

static int queue_stop(struct vhost *v, uint32_t index)
{
	struct vhost_vring_state state = { index, 0 };
	int n = queue_enable(v, index, 0);

	/* It answers when it has done with what it had begun. */
	if (n != -ENODEV)
		n = vhost_get(v, VHOST_GET_VRING_BASE, &state, sizeof(state), &state, 8, 8);
	v->queue[index].started = false;
	if (n >= 0 || v->bus.gone)
		return n < 0 ? n : 0;
	return vhost_gone(v, n, "the vhost-user back-end does not stop a queue");
}

int vhost_stop(struct vhost *v)
{
	int err = 0;

	for (uint32_t i = 0; i < v->queue_count; i++) {
		struct vhost_queue *q = &v->queue[i];

		if (q->started && !v->bus.gone)
			err = queue_stop(v, i);
		q->started = q->enabled = false;
		q->vector = VHOST_NO_VECTOR;
		q->size = VHOST_QUEUE_DEFAULT;
		memset(q->address, 0, sizeof(q->address));
	}
	v->status = 0;
	v->features = 0;
	v->feature_select = v->driver_select = 0;
	v->queue_select = 0;
	v->config_vector = VHOST_NO_VECTOR;
	return v->bus.gone ? -ENODEV : err;
}
