/* SPDX-License-Identifier: MIT */
/**
 * DOC: PCI functions as the kernel shows them in sysfs
 *
 * @root everywhere is what stands before "/sys", "/proc" and "/dev": "" but for tests, which make a
 * tree of their own. What the files say is checked: text of odd form counts as not there.
 */
#ifndef AU_BASE_PCI_SYSFS_H
#define AU_BASE_PCI_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AU_PCI_NAME 64
#define AU_PCI_PATH 1024

/**
 * struct au_pci_sysfs - one function.
 * @address: DDDD:BB:DD.F.
 * @group: of the IOMMU; -1: it has none.
 * @driver: the kernel driver that has it; empty: none.
 * @wanted: its driver_override; empty: none.
 * @path: its directory, with all links followed.
 */
struct au_pci_sysfs {
	char address[16];
	uint16_t vendor, device;
	uint32_t class_code;
	int group;
	bool boot_vga;
	char driver[AU_PCI_NAME];
	char wanted[AU_PCI_NAME];
	char path[AU_PCI_PATH];
};

/** au_pci_address_valid - DDDD:BB:DD.F, hexadecimal in small letters. */
bool au_pci_address_valid(const char *address);

/** au_pci_sysfs_read - look at one function. Return: 0; -EINVAL: no address; -ENODEV: no such. */
int au_pci_sysfs_read(const char *root, const char *address, struct au_pci_sysfs *pci);

/**
 * au_pci_sysfs_list - the functions of the machine, in order of their addresses.
 * @group: only those of this IOMMU group; -1: all.
 * @list: an array, the caller's to free(). Return: how many, or a negative errno.
 */
int au_pci_sysfs_list(const char *root, int group, struct au_pci_sysfs **list);

/**
 * au_sysfs_text - the first line of a small file, without the end of line.
 * Return: its length; -EINVAL: control characters, or longer than @size allows; another errno.
 */
int au_sysfs_text(const char *path, char *text, size_t size);

/** au_sysfs_link - the last part of what a link points to. Return: 0, -EINVAL, or as readlink(). */
int au_sysfs_link(const char *path, char *name, size_t size);

/** au_pci_vfio_driver - whether a driver of that name leaves a group usable for VFIO: vfio-pci and
 * its variants, pci-stub, the driver of bridges, none. */
bool au_pci_vfio_driver(const char *driver);

#endif
