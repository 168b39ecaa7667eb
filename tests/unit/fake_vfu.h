/* SPDX-License-Identifier: MIT */
/*
 * A small vfio-user server in a thread, that behaves or misbehaves as told.
 *
 * Its device: 256 bytes of configuration space; BAR 0, eight I/O ports of which the first is a
 * queue (what is written comes back) and the others are memory; INTx; reset.
 */
#ifndef FAKE_VFU_H
#define FAKE_VFU_H

#include "bus/bus.h"
#include "bus/vfu_wire.h"
#include "send_fd.h"

#include <errno.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

/* What goes wrong, at the next read of a BAR. */
enum fake_mischief {
	FAKE_NONE,
	FAKE_TINY,	    /* the reply's size is less than a header */
	FAKE_HUGE,	    /* ... is 4 GiB */
	FAKE_SHORT,	    /* the reply has no data */
	FAKE_HEADER_ONLY,   /* the reply has nothing but a header */
	FAKE_LONG,	    /* the reply has more data than was asked for */
	FAKE_COUNT,	    /* the reply's count is wrong */
	FAKE_WRONG_ID,	    /* the reply is to another message */
	FAKE_WRONG_COMMAND, /* the reply is to another command */
	FAKE_WRONG_TYPE,    /* neither command nor reply */
	FAKE_COMMAND,	    /* the server asks for what only a client may */
	FAKE_EXTRA,	    /* the same reply twice */
	FAKE_HALF,	    /* half a reply, then the end */
	FAKE_EOF,	    /* the end */
	FAKE_SILENT,	    /* no answer */
	FAKE_FLOOD,	    /* DMA commands for ever */
	FAKE_ERROR,	    /* the device refuses */
	FAKE_DMA,	    /* a DMA_READ and a DMA_WRITE first */
	FAKE_DMA_BEHIND,    /* a DMA_READ right behind the reply */
	FAKE_DRIP,	    /* the reply byte by byte */
	FAKE_FDS,	    /* descriptors that nobody wants */
};

struct fake {
	int fd;
	pthread_t thread;
	enum fake_mischief mischief;
	const char *caps; /* of the version reply; NULL: none */
	uint16_t minor;
	uint32_t info_flags;
	uint32_t version_error;
	struct vfio_region_info bar1; /* answered for region 1, with bar1_extra behind it */
	uint8_t bar1_extra[128];
	uint32_t bar1_extra_size;
	int bar1_fd;
	uint8_t config[256];
	uint8_t ports[8];
	uint8_t queue[4096];
	unsigned int head, tail;
	int irq_fd;
	atomic_uint messages, reads, writes, no_reply, multis, resets, unmasks, dma_errors,
		irq_sets;
	atomic_bool stop;
};

static inline int fake_send(struct fake *fake, const void *data, size_t size, int fd)
{
	return send_fd(fake->fd, data, size, fd, 0) == (ssize_t)size ? 0 : -1;
}

/* Receive exactly @size bytes, and at most one descriptor. */
static inline int fake_recv(struct fake *fake, void *data, size_t size, int *fd)
{
	char control[CMSG_SPACE(sizeof(int))];
	struct iovec part;
	struct msghdr msg;
	struct cmsghdr *cmsg;
	size_t got = 0;
	ssize_t n;

	while (got < size) {
		part = (struct iovec){ (uint8_t *)data + got, size - got };
		msg = (struct msghdr){ .msg_iov = &part,
				       .msg_iovlen = 1,
				       .msg_control = control,
				       .msg_controllen = sizeof(control) };
		n = recvmsg(fake->fd, &msg, 0);
		if (n <= 0)
			return -1;
		cmsg = CMSG_FIRSTHDR(&msg);
		if (cmsg && cmsg->cmsg_type == SCM_RIGHTS)
			memcpy(fd, CMSG_DATA(cmsg), sizeof(int));
		got += (size_t)n;
	}
	return 0;
}

static inline int fake_reply(struct fake *fake, const struct vfu_header *to, const void *payload,
			     size_t size, int fd)
{
	uint8_t buf[8192];
	struct vfu_header header = { to->id, to->command, (uint32_t)(sizeof(header) + size),
				     VFU_REPLY, 0 };

	if (to->flags & VFU_NO_REPLY)
		return 0;
	memcpy(buf, &header, sizeof(header));
	if (size)
		memcpy(buf + sizeof(header), payload, size);
	return fake_send(fake, buf, header.size, fd);
}

static inline int fake_refuse(struct fake *fake, const struct vfu_header *to, uint32_t error)
{
	struct vfu_header header = { to->id, to->command, sizeof(header), VFU_REPLY | VFU_ERROR,
				     error };

	if (to->flags & VFU_NO_REPLY)
		return 0;
	return fake_send(fake, &header, sizeof(header), -1);
}

static inline int fake_dma(struct fake *fake, uint16_t command)
{
	struct {
		struct vfu_header header;
		uint64_t address, count;
		uint8_t data[16];
	} dma = { { 77, command, 0, VFU_COMMAND, 0 }, 0x1000, 16, { 0 } };

	dma.header.size = command == VFU_DMA_WRITE ? sizeof(dma) : sizeof(dma) - 16;
	return fake_send(fake, &dma, dma.header.size, -1);
}

/* A DMA command and its answer; what else comes in between is not expected. */
static inline int fake_dma_wait(struct fake *fake, uint16_t command)
{
	struct vfu_header answer;
	int fd = -1;

	if (fake_dma(fake, command) || fake_recv(fake, &answer, sizeof(answer), &fd))
		return -1;
	if (answer.id == 77 && answer.command == command && answer.size == sizeof(answer) &&
	    answer.flags == (VFU_REPLY | VFU_ERROR) && answer.error)
		fake->dma_errors++;
	return 0;
}

static inline void fake_store(struct fake *fake, uint32_t region, uint64_t offset, uint32_t count,
			      const uint8_t *data)
{
	fake->writes++;
	for (uint32_t i = 0; i < count; i++) {
		if (region == AU_BUS_REGION_CONFIG && offset + i < sizeof(fake->config))
			fake->config[offset + i] = data[i];
		else if (region == 0 && offset + i == 0)
			fake->queue[fake->tail++ % sizeof(fake->queue)] = data[i];
		else if (region == 0 && offset + i < sizeof(fake->ports))
			fake->ports[offset + i] = data[i];
		/* Written to port 7, this hangs the device. */
		while (region == 0 && offset + i == 7 && data[i] == 0xdd && !fake->stop)
			usleep(1000);
	}
}

static inline void fake_load(struct fake *fake, uint32_t region, uint64_t offset, uint32_t count,
			     uint8_t *data)
{
	fake->reads++;
	for (uint32_t i = 0; i < count; i++) {
		data[i] = 0;
		if (region == AU_BUS_REGION_CONFIG && offset + i < sizeof(fake->config))
			data[i] = fake->config[offset + i];
		else if (region == 0 && offset + i == 0 && fake->head != fake->tail)
			data[i] = fake->queue[fake->head++ % sizeof(fake->queue)];
		else if (region == 0 && offset + i < sizeof(fake->ports))
			data[i] = fake->ports[offset + i];
	}
}

/* The reply to a read, or something else. Negative: hang up. */
static inline int fake_read(struct fake *fake, const struct vfu_header *to,
			    const struct vfu_access *access)
{
	struct {
		struct vfu_header header;
		struct vfu_access access;
		uint8_t data[64];
	} reply = { .header = { to->id, to->command, 0, VFU_REPLY, 0 }, .access = *access };
	enum fake_mischief mischief = access->region == 0 ? fake->mischief : FAKE_NONE;
	uint32_t size = (uint32_t)(sizeof(reply.header) + sizeof(reply.access)) + access->count;
	struct pollfd wait = { .fd = fake->fd, .events = POLLIN };
	int fd = -1;

	if (access->count > 8)
		return fake_refuse(fake, to, EINVAL);
	fake_load(fake, access->region, access->offset, access->count, reply.data);
	if (mischief != FAKE_NONE && mischief != FAKE_SILENT && mischief != FAKE_FLOOD)
		fake->mischief = FAKE_NONE;
	reply.header.size = size;
	switch (mischief) {
	case FAKE_TINY:
		reply.header.size = 15;
		break;
	case FAKE_HUGE:
		reply.header.size = 0xffffffff;
		break;
	case FAKE_SHORT:
		reply.header.size = size -= access->count;
		break;
	case FAKE_HEADER_ONLY:
		reply.header.size = size = sizeof(reply.header);
		break;
	case FAKE_LONG:
		reply.header.size = size += 4;
		break;
	case FAKE_COUNT:
		reply.access.count = 0x7fffffff;
		break;
	case FAKE_WRONG_ID:
		reply.header.id = (uint16_t)(to->id + 1000);
		break;
	case FAKE_WRONG_COMMAND:
		reply.header.command = VFU_REGION_WRITE;
		break;
	case FAKE_WRONG_TYPE:
		reply.header.flags = 2;
		break;
	case FAKE_COMMAND:
		reply.header.flags = VFU_COMMAND;
		break;
	case FAKE_EXTRA:
		/* In one piece, so that both are there at once. */
		memcpy((uint8_t *)&reply + size, &reply, size);
		size *= 2;
		break;
	case FAKE_HALF:
		fake_send(fake, &reply, size / 2, -1);
		return -1;
	case FAKE_EOF:
		return -1;
	case FAKE_SILENT:
		return 0;
	case FAKE_FLOOD:
		while (!fake->stop && fake_dma(fake, VFU_DMA_WRITE) == 0)
			if (poll(&wait, 1, 0) > 0 && recv(fake->fd, reply.data, 16, 0) <= 0)
				return -1;
		return -1;
	case FAKE_ERROR:
		return fake_refuse(fake, to, EINVAL);
	case FAKE_DMA:
		if (fake_dma_wait(fake, VFU_DMA_READ) || fake_dma_wait(fake, VFU_DMA_WRITE))
			return -1;
		break;
	case FAKE_DMA_BEHIND: {
		struct vfu_header dma = { 77, VFU_DMA_READ, 32, VFU_COMMAND, 0 };
		struct vfu_header answer;

		memcpy((uint8_t *)&reply + size, &dma, sizeof(dma));
		if (fake_send(fake, &reply, size + 32, -1) ||
		    fake_recv(fake, &answer, sizeof(answer), &fd))
			return -1;
		fake->dma_errors += answer.id == 77 && answer.error != 0;
		return 0;
	}
	case FAKE_DRIP:
		for (uint32_t i = 0; i < size; i++) {
			usleep(500);
			if (fake_send(fake, (uint8_t *)&reply + i, 1, -1))
				return -1;
		}
		return 0;
	case FAKE_FDS:
		return fake_send(fake, &reply, size, fake->fd);
	case FAKE_NONE:
		break;
	}
	return fake_send(fake, &reply, size, -1);
}

static inline int fake_set_irqs(struct fake *fake, const struct vfu_header *header,
				const uint8_t *payload, int fd)
{
	struct vfio_irq_set set;

	memcpy(&set, payload, offsetof(struct vfio_irq_set, data));
	if (set.argsz != header->size - sizeof(*header) || set.index != 0)
		return fake_refuse(fake, header, EINVAL);
	if (set.flags & VFIO_IRQ_SET_ACTION_UNMASK) {
		fake->unmasks++;
	} else if (set.flags & VFIO_IRQ_SET_ACTION_TRIGGER) {
		if (fake->irq_fd >= 0)
			close(fake->irq_fd);
		fake->irq_fd = set.flags & VFIO_IRQ_SET_DATA_EVENTFD ? fd : -1;
		fake->irq_sets++;
		if (fake->irq_fd >= 0)
			eventfd_write(fake->irq_fd, 1);
	}
	return fake_reply(fake, header, NULL, 0, -1);
}

static inline int fake_region(struct fake *fake, const struct vfu_header *header,
			      const uint8_t *payload)
{
	static const uint64_t sizes[9] = { 8, 0, 0, 0, 0, 0, 0, 256, 0 };
	struct vfio_region_info info;
	uint8_t reply[sizeof(info) + sizeof(fake->bar1_extra)];

	memcpy(&info, payload, sizeof(info));
	if (info.index == 1 && fake->bar1.size) {
		memcpy(reply, &fake->bar1, sizeof(info));
		memcpy(reply + sizeof(info), fake->bar1_extra, fake->bar1_extra_size);
		return fake_reply(fake, header, reply, sizeof(info) + fake->bar1_extra_size,
				  fake->bar1_fd);
	}
	if (info.index > 7)
		return fake_refuse(fake, header, EINVAL);
	info.argsz = sizeof(info);
	info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	info.size = sizes[info.index];
	return fake_reply(fake, header, &info, sizeof(info), -1);
}

static inline int fake_version(struct fake *fake, const struct vfu_header *header)
{
	uint8_t reply[512] = { 0 };
	size_t length = fake->caps ? strlen(fake->caps) + 1 : 0;

	if (fake->version_error)
		return fake_refuse(fake, header, fake->version_error);
	memcpy(reply + 2, &fake->minor, 2);
	if (length)
		memcpy(reply + 4, fake->caps, length);
	return fake_reply(fake, header, reply, 4 + length, -1);
}

static inline int fake_message(struct fake *fake, const struct vfu_header *header,
			       const uint8_t *payload, int fd)
{
	struct vfu_info info = { sizeof(info), fake->info_flags, 9, 5 };
	struct vfio_irq_info irq;
	struct vfu_access access;
	struct vfu_write one;
	uint64_t count;

	fake->messages++;
	fake->no_reply += !!(header->flags & VFU_NO_REPLY);
	switch (header->command) {
	case VFU_VERSION:
		return fake_version(fake, header);
	case VFU_GET_INFO:
		return fake_reply(fake, header, &info, sizeof(info), -1);
	case VFU_GET_REGION_INFO:
		return fake_region(fake, header, payload);
	case VFU_GET_IRQ_INFO:
		memcpy(&irq, payload, sizeof(irq));
		irq.count = irq.index == 0;
		return fake_reply(fake, header, &irq, sizeof(irq), -1);
	case VFU_SET_IRQS:
		return fake_set_irqs(fake, header, payload, fd);
	case VFU_REGION_READ:
		memcpy(&access, payload, sizeof(access));
		return fake_read(fake, header, &access);
	case VFU_REGION_WRITE:
		memcpy(&access, payload, sizeof(access));
		fake_store(fake, access.region, access.offset, access.count,
			   payload + sizeof(access));
		return fake_reply(fake, header, &access, sizeof(access), -1);
	case VFU_WRITE_MULTI:
		memcpy(&count, payload, sizeof(count));
		if (header->size != 24 + count * sizeof(one) || count > VFU_MULTI_MAX)
			return -1;
		fake->multis++;
		for (uint64_t i = 0; i < count; i++) {
			memcpy(&one, payload + 8 + i * sizeof(one), sizeof(one));
			fake_store(fake, one.region, one.offset, one.count, one.data);
		}
		return fake_reply(fake, header, &count, sizeof(count), -1);
	case VFU_DEVICE_RESET:
		fake->resets++;
		fake->config[4] = 0;
		fake->config[5] = 0;
		return fake_reply(fake, header, NULL, 0, -1);
	default:
		return fake_refuse(fake, header, ENOTSUP);
	}
}

static inline void *fake_run(void *arg)
{
	struct fake *fake = arg;
	struct vfu_header header;
	static _Thread_local uint8_t payload[16384];
	int fd = -1;

	while (!fake->stop && fake_recv(fake, &header, sizeof(header), &fd) == 0) {
		if (header.size < sizeof(header) || header.size > sizeof(payload) ||
		    fake_recv(fake, payload, header.size - sizeof(header), &fd) ||
		    fake_message(fake, &header, payload, fd))
			break;
		fd = -1;
	}
	shutdown(fake->fd, SHUT_RDWR);
	return NULL;
}

static inline void fake_init(struct fake *fake)
{
	static const uint8_t ids[16] = { 0x36, 0x1b, 2, 0, 0, 0, 0x10, 0, 1, 2, 0, 7 };

	*fake = (struct fake){ .fd = -1, .irq_fd = -1, .bar1_fd = -1 };
	fake->info_flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	memcpy(fake->config, ids, sizeof(ids));
	fake->config[0x10] = 1; /* BAR 0: I/O ports */
}

static inline void fake_start(struct fake *fake, int fd)
{
	fake->fd = fd;
	if (pthread_create(&fake->thread, NULL, fake_run, fake))
		abort();
}

static inline void fake_stop(struct fake *fake)
{
	fake->stop = true;
	shutdown(fake->fd, SHUT_RDWR);
	pthread_join(fake->thread, NULL);
	close(fake->fd);
	if (fake->irq_fd >= 0)
		close(fake->irq_fd);
}

#endif
