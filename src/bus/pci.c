/* SPDX-License-Identifier: MIT */
/* PCI's configuration space, on any transport. Offsets and bits: <linux/pci_regs.h>. */
#include "bus/bus.h"

#include <errno.h>
#include <linux/pci_regs.h>

#define PCI_CAPS_MAX 48 /* what fits into 192 bytes behind the header, 4 bytes each */

static uint32_t pci_read(struct au_bus *bus, uint32_t offset, uint32_t width)
{
	uint64_t value;

	bus->ops->read(bus, AU_BUS_REGION_CONFIG, offset, width, &value);
	return (uint32_t)value;
}

/* Change the command register; no access when it has the wanted value already. */
static int pci_command(struct au_bus *bus, uint16_t clear, uint16_t set)
{
	uint16_t old = (uint16_t)pci_read(bus, PCI_COMMAND, 2);
	uint16_t new = (uint16_t)((old & ~clear) | set);

	if (old == 0xffff)
		return -ENODEV;
	if (new == old)
		return 0;
	return bus->ops->write(bus, AU_BUS_REGION_CONFIG, PCI_COMMAND, 2, new, false);
}

int au_pci_enable(struct au_bus *bus, bool decode, bool master, bool intx)
{
	const uint16_t space = PCI_COMMAND_IO | PCI_COMMAND_MEMORY;
	const uint16_t ours = space | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE;
	uint16_t set = 0;

	if (decode)
		set |= space;
	if (master)
		set |= PCI_COMMAND_MASTER;
	if (!intx)
		set |= PCI_COMMAND_INTX_DISABLE;
	return pci_command(bus, ours, set);
}

int au_pci_quiet(struct au_bus *bus)
{
	return pci_command(bus, PCI_COMMAND_MASTER, PCI_COMMAND_INTX_DISABLE);
}

int au_pci_ids(struct au_bus *bus, uint32_t *vendor_device, uint32_t *class_code)
{
	uint32_t ids = pci_read(bus, PCI_VENDOR_ID, 4);

	*vendor_device = ids << 16 | ids >> 16;
	*class_code = pci_read(bus, PCI_CLASS_REVISION, 4) >> 8;
	/* No vendor is 0xffff: nobody answered. */
	return (ids & 0xffff) == 0xffff ? -ENODEV : 0;
}

uint32_t au_pci_capability(struct au_bus *bus, uint8_t id)
{
	uint32_t at, cap;

	if (!(pci_read(bus, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST))
		return 0;
	at = pci_read(bus, PCI_CAPABILITY_LIST, 1);
	/* A list in a loop ends with the count: there are no more places than that. */
	for (unsigned int i = 0; i < PCI_CAPS_MAX; i++) {
		at &= 0xfc;
		if (at < PCI_STD_HEADER_SIZEOF || bus->gone)
			return 0;
		cap = pci_read(bus, at, 2);
		if (cap == 0xffff)
			return 0;
		if ((cap & 0xff) == id)
			return at;
		at = cap >> 8;
	}
	return 0;
}

void au_pci_bars(struct au_bus *bus)
{
	uint32_t kind = pci_read(bus, PCI_HEADER_TYPE, 1) & 0x7f;
	uint32_t bars = kind == PCI_HEADER_TYPE_NORMAL ? AU_BUS_BARS : 2;
	uint32_t bar;

	for (uint32_t i = 0; i < bars; i++) {
		if (!bus->regions[i].size)
			continue;
		bar = pci_read(bus, PCI_BASE_ADDRESS_0 + 4 * i, 4);
		bus->regions[i].io = bar != 0xffffffff && (bar & PCI_BASE_ADDRESS_SPACE_IO);
	}
}
