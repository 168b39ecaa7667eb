/* SPDX-License-Identifier: MIT */
/* PCI's configuration space, on any transport. Offsets and bits: <linux/pci_regs.h>. */
#include "bus/bus.h"

#include <errno.h>
#include <linux/pci_regs.h>

#define PCI_CAPS_MAX 48 /* what fits into 192 bytes behind the header, 4 bytes each */
#define PCI_WAKE_MS  10 /* from D3hot: PCI Power Management 1.2, 5.4 */

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

/* ------------------------------------------------------------------------ power */

static uint32_t pci_power_state(struct au_bus *bus, uint32_t pm, uint32_t *pmcsr)
{
	*pmcsr = pci_read(bus, pm + PCI_PM_CTRL, 2);
	return *pmcsr == 0xffff ? PCI_PM_CTRL_STATE_MASK + 1 : *pmcsr & PCI_PM_CTRL_STATE_MASK;
}

/* The status of a wake-up stays: it is cleared by writing it. */
static int pci_power_set(struct au_bus *bus, uint32_t pm, uint32_t pmcsr, uint32_t state)
{
	pmcsr &= ~(uint32_t)(PCI_PM_CTRL_STATE_MASK | PCI_PM_CTRL_PME_STATUS);
	return bus->ops->write(bus, AU_BUS_REGION_CONFIG, pm + PCI_PM_CTRL, 2, pmcsr | state,
			       false);
}

int au_pci_sleep(struct au_bus *bus, struct au_pci_saved *saved)
{
	const uint32_t d3hot = PCI_PM_CTRL_STATE_MASK;
	int err = au_pci_enable(bus, true, false, false), deep;
	uint32_t pmcsr;

	*saved = (struct au_pci_saved){ .pm = au_pci_capability(bus, PCI_CAP_ID_PM) };
	if (!err && saved->pm) {
		if (pci_power_state(bus, saved->pm, &pmcsr) > d3hot)
			return -ENODEV;
		saved->forgets = !(pmcsr & PCI_PM_CTRL_NO_SOFT_RESET);
		for (uint32_t i = 0; saved->forgets && i < AU_PCI_HEADER; i++)
			saved->header[i] = pci_read(bus, 4 * i, 4);
		err = pci_power_set(bus, saved->pm, pmcsr, d3hot);
	}
	if (err)
		return err;
	deep = bus->ops->low_power ? bus->ops->low_power(bus, true) : -ENOTSUP;
	saved->deep = deep == 0;
	return saved->pm ? 0 : deep;
}

int au_pci_wake(struct au_bus *bus, struct au_pci_saved *saved, uint32_t *wait_ms)
{
	uint32_t pmcsr, state;
	int err = 0;

	*wait_ms = 0;
	if (saved->deep)
		err = bus->ops->low_power(bus, false);
	saved->deep = false;
	if (!saved->pm)
		saved->pm = au_pci_capability(bus, PCI_CAP_ID_PM);
	if (err || !saved->pm)
		return err;
	state = pci_power_state(bus, saved->pm, &pmcsr);
	if (state > PCI_PM_CTRL_STATE_MASK)
		return -ENODEV;
	if (state == 0)
		return 0;
	*wait_ms = PCI_WAKE_MS;
	return pci_power_set(bus, saved->pm, pmcsr, 0);
}

void au_pci_restore(struct au_bus *bus, const struct au_pci_saved *saved)
{
	static const uint32_t words[] = { PCI_CACHE_LINE_SIZE, PCI_BASE_ADDRESS_0,
					  PCI_BASE_ADDRESS_1,  PCI_BASE_ADDRESS_2,
					  PCI_BASE_ADDRESS_3,  PCI_BASE_ADDRESS_4,
					  PCI_BASE_ADDRESS_5,  PCI_ROM_ADDRESS,
					  PCI_INTERRUPT_LINE };

	/* Whoever has saved nothing has nothing to restore. Decoding comes last, and elsewhere. */
	if (!saved->forgets)
		return;
	for (unsigned int i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (pci_read(bus, words[i], 4) != saved->header[words[i] / 4])
			bus->ops->write(bus, AU_BUS_REGION_CONFIG, words[i], 4,
					saved->header[words[i] / 4], false);
}
