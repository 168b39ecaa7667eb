/* SPDX-License-Identifier: MIT */
/* Giving a PCI function to vfio-pci, and back. By driver_override, so that nothing else of the same
 * make is touched. */
#include "base/cleanup.h"
#include "cli/pci.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAY(...)     snprintf(why, size, __VA_ARGS__)

#define BIND_BRIDGES 0x06 /* PCI base class */

static int bind_write(const char *path, const char *text)
{
	AU_CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		return -errno;
	return 0;
}

static int bind_attribute(const struct au_pci_sysfs *pci, const char *name, const char *text)
{
	char path[AU_PCI_PATH + 64];

	snprintf(path, sizeof(path), "%s/%s", pci->path, name);
	return bind_write(path, text);
}

bool pci_may_bind(const char *root, const struct au_pci_sysfs *pci, char *why, size_t size)
{
	struct au_pci_sysfs *list = NULL;
	char use[PCI_WHY / 2];
	bool may = true;
	int count;

	*why = 0;
	if (pci->class_code >> 16 == BIND_BRIDGES) {
		SAY("it is a bridge: others are reached through it");
		return false;
	}
	if (pci_in_use(root, pci, use, sizeof(use))) {
		SAY("it is in use: %s", use);
		return false;
	}
	if (pci->group < 0) {
		SAY("no IOMMU stands before it: switch it on in the firmware and for the kernel "
		    "(intel_iommu=on)");
		return false;
	}
	count = au_pci_sysfs_list(root, pci->group, &list);
	for (int i = 0; i < count && may; i++) {
		if (!strcmp(list[i].address, pci->address) || au_pci_vfio_driver(list[i].driver))
			continue;
		may = !pci_in_use(root, &list[i], use, sizeof(use));
		if (!may)
			SAY("it shares IOMMU group %d with %s (%s), which is in use: %s",
			    pci->group, list[i].address, list[i].driver, use);
		else if (!*why)
			SAY("its IOMMU group %d can be used when %s (%s) is bound, too: `auriga "
			    "bind %s`",
			    pci->group, list[i].address, list[i].driver, list[i].address);
	}
	free(list);
	return may;
}

/* Somebody drives it through VFIO: the kernel would wait for him. */
static bool bind_held(const char *root, const struct au_pci_sysfs *pci)
{
	char path[AU_PCI_PATH];
	int fd;

	if (pci->group < 0 || !strstr(pci->driver, "vfio"))
		return false;
	snprintf(path, sizeof(path), "%s/dev/vfio/%d", root, pci->group);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	return fd < 0 && errno == EBUSY;
}

static void bind_module(void)
{
	char *argv[] = { (char *)(uintptr_t) "modprobe", (char *)(uintptr_t) "-q",
			 (char *)(uintptr_t) "vfio-pci", NULL };
	pid_t pid;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) == 0)
		waitpid(pid, NULL, 0);
}

/* Take it from whoever has it, and have the kernel look for a driver again. */
static int bind_probe(const char *root, struct au_pci_sysfs *pci)
{
	char path[AU_PCI_PATH], address[16];
	int err = 0;

	memcpy(address, pci->address, sizeof(address));
	if (pci->driver[0])
		err = bind_attribute(pci, "driver/unbind", address);
	snprintf(path, sizeof(path), "%s/sys/bus/pci/drivers_probe", root);
	if (!err)
		err = bind_write(path, address);
	/* It is an error to it that no driver takes the device; what counts is who has it now. */
	if (err && err != -EACCES && err != -EPERM && err != -ENOENT)
		err = 0;
	return err ? err : au_pci_sysfs_read(root, address, pci);
}

static int bind_failed(const struct au_pci_sysfs *pci, int err, char *why, size_t size)
{
	if (err == -EACCES || err == -EPERM)
		SAY("the kernel refuses: %s: only root may give devices away", strerror(-err));
	else
		SAY("%s: %s", pci->path, strerror(-err));
	return err;
}

int pci_bind(const char *root, struct au_pci_sysfs *pci, char *why, size_t size)
{
	char before[AU_PCI_NAME], path[AU_PCI_PATH];
	int err;

	*why = 0;
	if (!strcmp(pci->driver, "vfio-pci"))
		return 0;
	if (!pci_may_bind(root, pci, why, size))
		return -EBUSY;
	*why = 0;
	snprintf(path, sizeof(path), "%s/sys/bus/pci/drivers/vfio-pci", root);
	if (access(path, F_OK) && !*root)
		bind_module();
	if (access(path, F_OK)) {
		SAY("the kernel has no driver vfio-pci: modprobe vfio-pci");
		return -ENOENT;
	}
	memcpy(before, pci->driver, sizeof(before));
	err = bind_attribute(pci, "driver_override", "vfio-pci");
	if (!err)
		err = bind_probe(root, pci);
	if (!err && !strcmp(pci->driver, "vfio-pci"))
		return 0;
	/* As it was. */
	if (err != -EACCES && err != -EPERM) {
		bind_attribute(pci, "driver_override", "\n");
		bind_probe(root, pci);
	}
	if (err)
		return bind_failed(pci, err, why, size);
	SAY("vfio-pci did not take it: see the kernel's log; it is with %s%s again",
	    pci->driver[0] ? "" : "no driver", pci->driver);
	return -EIO;
}

int pci_unbind(const char *root, struct au_pci_sysfs *pci, char *why, size_t size)
{
	int err;

	*why = 0;
	if (!strstr(pci->driver, "vfio") && !strstr(pci->wanted, "vfio")) {
		SAY("it is not bound to vfio-pci but to %s%s", pci->driver[0] ? "" : "no driver",
		    pci->driver);
		return -EINVAL;
	}
	if (bind_held(root, pci)) {
		SAY("a program drives it, or what shares its IOMMU group: `auriga detach` it "
		    "first");
		return -EBUSY;
	}
	err = bind_attribute(pci, "driver_override", "\n");
	if (!err)
		err = bind_probe(root, pci);
	return err ? bind_failed(pci, err, why, size) : 0;
}
