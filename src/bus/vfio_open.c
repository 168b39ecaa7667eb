/* SPDX-License-Identifier: MIT */
/* The kernel's VFIO: opening a function. */
#include "base/pci_sysfs.h"
#include "bus/vfio.h"

#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SAY(...) snprintf(error, error_size, __VA_ARGS__)

/* What can be said before anything is touched. Return: its IOMMU group. */
static int open_look(const char *address, char *error, size_t error_size)
{
	struct au_pci_sysfs pci;

	if (au_pci_sysfs_read("", address, &pci)) {
		SAY("%s: there is no such PCI device: `auriga pci ls` lists them", address);
		return -ENODEV;
	}
	if (pci.group < 0) {
		SAY("%s: no IOMMU stands before it: switch it on in the firmware and for the "
		    "kernel (intel_iommu=on)",
		    address);
		return -ENOTSUP;
	}
	if (!strstr(pci.driver, "vfio")) {
		SAY("%s: it is bound to %s%.32s: `auriga bind %s` gives it to vfio-pci", address,
		    pci.driver[0] ? "the kernel driver " : "no kernel driver", pci.driver, address);
		return -EBUSY;
	}
	return pci.group;
}

/* Quiet, and what it is. The kernel has reset it when it handed it out, by what means it has. */
static int open_quiet(struct vfio *vfio, struct au_bus_session *session, char *error,
		      size_t error_size)
{
	int err = vfio_device_info(vfio);

	if (!err)
		err = vfio_region(vfio, AU_BUS_REGION_CONFIG, false);
	if (err || vfio->bus.regions[AU_BUS_REGION_CONFIG].size < PCI_STD_HEADER_SIZEOF) {
		SAY("it is not a PCI function");
		return err ? err : -ENOTSUP;
	}
	if (au_pci_ids(&vfio->bus, &session->vendor_device, &session->class_code)) {
		SAY("the device does not answer: it is dead or unplugged");
		return -ENODEV;
	}
	err = au_pci_quiet(&vfio->bus);
	if (err)
		SAY("its configuration space cannot be written: %s", strerror(-err));
	return err;
}

int au_vfio_open(const char *address, struct au_bus_session *session, int fds[AU_BUS_FDS],
		 char *error, size_t error_size)
{
	struct vfio vfio = { .bus.ops = &vfio_ops, .space = &vfio_type1 };
	char why[120] = "";
	int group = open_look(address, error, error_size);
	int err;

	if (group < 0)
		return group;
	*session = (struct au_bus_session){ .size = sizeof(*session), .transport = AU_BUS_VFIO };
	err = vfio.space->open(address, group, fds, error, error_size);
	if (!err) {
		memcpy(vfio.fds, fds, sizeof(vfio.fds));
		err = open_quiet(&vfio, session, why, sizeof(why));
		if (err)
			SAY("%s: %s", address, why);
	}
	session->flags = vfio.flags;
	if (err)
		au_bus_fds_close(fds);
	return err;
}
