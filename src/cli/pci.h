/* SPDX-License-Identifier: MIT */
/** DOC: Whether a PCI function can be taken from the kernel, and taking it. Linux's sysfs. */
#ifndef AU_CLI_PCI_H
#define AU_CLI_PCI_H

#include "base/pci_sysfs.h"

#define PCI_WHY 320

/**
 * pci_in_use - what the machine uses the function for, as far as can be seen: file systems, swap
 * space, device mapper, network addresses and routes, the console, the display.
 * @why: one line, "its nvme0n1p1 is mounted on /".
 * Return: whether it does.
 */
bool pci_in_use(const char *root, const struct au_pci_sysfs *pci, char *why, size_t size);

/**
 * pci_may_bind - whether the function can be given to vfio-pci: there is an IOMMU, it is no bridge,
 * and neither it nor what shares its IOMMU group is in use.
 * @why: one line about why not; when it may, what else is to be done first, or nothing.
 */
bool pci_may_bind(const char *root, const struct au_pci_sysfs *pci, char *why, size_t size);

/** pci_bind - give it to vfio-pci. @why: one line on failure. Return: 0 or a negative errno. */
int pci_bind(const char *root, struct au_pci_sysfs *pci, char *why, size_t size);
/** pci_unbind - give it back to the kernel's drivers; @pci says afterwards who has it. */
int pci_unbind(const char *root, struct au_pci_sysfs *pci, char *why, size_t size);

#endif
