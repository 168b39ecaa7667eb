/* SPDX-License-Identifier: MIT */
/* A PCI function that notes what is done to it, with one BAR of 64 bytes and INTx. */
#ifndef TESTS_UNIT_FAKE_BUS_H
#define TESTS_UNIT_FAKE_BUS_H

#include "bus/bus.h"

#include "fw.h"

struct fake_bus {
	struct au_bus bus;
	uint8_t bar[64];
	uint8_t config[256];
	int irq_fd;
	int wait_fd;
	bool masked;   /* the level interrupt has masked itself */
	bool asserted; /* the line */
	bool sticky;   /* nothing quiets the device */
	bool dead;     /* does not answer */
	bool mapped;
	unsigned int flushes, closes, unmasks;
	unsigned int accesses, gone_at; /* 0: at none */
};

static struct fake_bus fake;

/* The line rises, or is still high when it is unmasked. */
static inline void fake_raise(void)
{
	fake.asserted = true;
	if (fake.irq_fd >= 0 && !fake.masked) {
		fake.masked = true;
		au_os_wake(fake.irq_fd);
	}
}

static inline int fake_gone(struct au_bus *bus)
{
	if (fake.gone_at && ++fake.accesses == fake.gone_at)
		fake.dead = true;
	if (!fake.dead)
		return 0;
	bus->gone = true;
	snprintf(bus->why, sizeof(bus->why), "it has left");
	return -ENODEV;
}

static inline uint8_t *fake_at(unsigned int region, uint64_t offset, uint32_t width)
{
	uint64_t size = region == 0			 ? sizeof(fake.bar)
			: region == AU_BUS_REGION_CONFIG ? sizeof(fake.config)
							 : 0;

	if (offset > size || width > size - offset)
		return NULL;
	return (region == 0 ? fake.bar : fake.config) + offset;
}

static inline int fake_read(struct au_bus *bus, unsigned int region, uint64_t offset,
			    uint32_t width, uint64_t *value)
{
	const uint8_t *at = fake_at(region, offset, width);

	*value = UINT64_MAX;
	if (fake_gone(bus))
		return -ENODEV;
	if (!at)
		return -EINVAL;
	*value = 0;
	memcpy(value, at, width);
	return 0;
}

static inline int fake_write(struct au_bus *bus, unsigned int region, uint64_t offset,
			     uint32_t width, uint64_t value, bool posted)
{
	uint8_t *at = fake_at(region, offset, width);

	if (fake_gone(bus))
		return -ENODEV;
	if (!at)
		return -EINVAL;
	memcpy(at, &value, width);
	bus->pending = posted;
	return 0;
}

static inline int fake_read_rep8(struct au_bus *bus, unsigned int region, uint64_t offset,
				 uint8_t *buf, uint32_t count)
{
	if (fake_gone(bus))
		return -ENODEV;
	for (uint32_t i = 0; i < count; i++)
		buf[i] = fake.bar[offset]++;
	return 0;
}

static inline int fake_write_rep8(struct au_bus *bus, unsigned int region, uint64_t offset,
				  const uint8_t *buf, uint32_t count)
{
	if (fake_gone(bus))
		return -ENODEV;
	for (uint32_t i = 0; i < count; i++)
		fake.bar[offset] = buf[i];
	return 0;
}

static inline int fake_flush(struct au_bus *bus)
{
	bus->pending = false;
	fake.flushes++;
	return 0;
}

static inline int fake_irq_set(struct au_bus *bus, unsigned int index, const int *fds,
			       unsigned int count)
{
	int fd = count ? fds[0] : -1;

	if (fake_gone(bus))
		return -ENODEV;
	fw_note(fd >= 0 ? "connect" : "disconnect");
	fake.irq_fd = fd;
	return 0;
}

static inline int fake_irq_unmask(struct au_bus *bus, unsigned int index)
{
	if (fake_gone(bus))
		return -ENODEV;
	fw_note("unmask");
	fake.unmasks++;
	fake.masked = false;
	if (fake.asserted)
		fake_raise();
	return 0;
}

static inline int fake_wait_fd(struct au_bus *bus)
{
	return fake.wait_fd;
}

static inline void fake_attend(struct au_bus *bus)
{
	au_os_wake_clear(fake.wait_fd);
	fake_gone(bus);
}

static inline void fake_close(struct au_bus *bus)
{
	fake.closes++;
	au_os_close(fake.wait_fd);
}

static const struct au_bus_ops fake_ops = {
	.read = fake_read,
	.write = fake_write,
	.read_rep8 = fake_read_rep8,
	.write_rep8 = fake_write_rep8,
	.flush = fake_flush,
	.irq_set = fake_irq_set,
	.irq_unmask = fake_irq_unmask,
	.wait_fd = fake_wait_fd,
	.attend = fake_attend,
	.close = fake_close,
};

static inline void fake_reset(void)
{
	memset(&fake, 0, sizeof(fake));
	fake.bus.ops = &fake_ops;
	fake.bus.regions[0].size = sizeof(fake.bar);
	fake.bus.regions[AU_BUS_REGION_CONFIG].size = sizeof(fake.config);
	fake.config[0] = 0x36; /* a vendor */
	fake.config[1] = 0x1b;
	fake.irq_fd = -1;
	fake.wait_fd = au_os_wake_create();
	snprintf(fake.bus.address, sizeof(fake.bus.address), "fake:0");
}

static inline void with_fake_bus(struct auf_device_config *config)
{
	config->bus = &fake.bus;
}

/* The function's command register. */
static inline uint16_t fake_command(void)
{
	uint16_t command;

	memcpy(&command, fake.config + 4, 2);
	return command;
}

#endif
