/* SPDX-License-Identifier: MIT */
#include "base/pci_sysfs.h"

#include "base/cleanup.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PCI_FUNCTIONS_MAX 4096

bool au_pci_address_valid(const char *address)
{
	static const char form[] = "xxxx:xx:xx.x";
	size_t i = 0;

	while (form[i] && (form[i] == 'x' ? isxdigit((unsigned char)address[i]) &&
						    !isupper((unsigned char)address[i])
					  : address[i] == form[i]))
		i++;
	return !form[i] && !address[i] && address[8] <= '1' && address[11] <= '7';
}

int au_sysfs_text(const char *path, char *text, size_t size)
{
	AU_CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n;

	*text = 0;
	if (fd < 0)
		return -errno;
	n = read(fd, text, size);
	if (n < 0)
		n = 0;
	if ((size_t)n == size) {
		*text = 0;
		return -EINVAL;
	}
	text[n] = 0;
	text[strcspn(text, "\n")] = 0;
	for (const char *c = text; *c; c++) {
		if (iscntrl((unsigned char)*c) || (unsigned char)*c > 0x7e) {
			*text = 0;
			return -EINVAL;
		}
	}
	return (int)strlen(text);
}

int au_sysfs_link(const char *path, char *name, size_t size)
{
	char target[AU_PCI_PATH];
	ssize_t n = readlink(path, target, sizeof(target) - 1);
	const char *last;

	*name = 0;
	if (n < 0)
		return -errno;
	target[n] = 0;
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	if (!*last || strlen(last) >= size)
		return -EINVAL;
	for (const char *c = last; *c; c++)
		if (iscntrl((unsigned char)*c) || (unsigned char)*c > 0x7e)
			return -EINVAL;
	memcpy(name, last, strlen(last) + 1);
	return 0;
}

bool au_pci_vfio_driver(const char *driver)
{
	/* Of those the kernel says that they do no DMA on anybody's behalf. */
	return !*driver || !strcmp(driver, "vfio-pci") || strstr(driver, "vfio") ||
	       !strcmp(driver, "pci-stub") || !strcmp(driver, "pcieport");
}

/* An attribute that is a number. */
static bool pci_number(const char *dir, const char *name, unsigned long max, unsigned long *value)
{
	char path[AU_PCI_PATH + 64], text[32], *end;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (au_sysfs_text(path, text, sizeof(text)) <= 0)
		return false;
	errno = 0;
	*value = strtoul(text, &end, 0);
	return !errno && !*end && end != text && *value <= max;
}

int au_pci_sysfs_read(const char *root, const char *address, struct au_pci_sysfs *pci)
{
	char link[AU_PCI_PATH], name[AU_PCI_PATH + 64], text[AU_PCI_NAME], *end;
	unsigned long vendor, device, class_code, vga;
	AU_CLEANUP_FREE char *real = NULL;
	long group;

	memset(pci, 0, sizeof(*pci));
	pci->group = -1;
	if (!au_pci_address_valid(address))
		return -EINVAL;
	snprintf(link, sizeof(link), "%s/sys/bus/pci/devices/%s", root, address);
	real = realpath(link, NULL);
	if (!real || strlen(real) >= sizeof(pci->path))
		return -ENODEV;
	snprintf(pci->path, sizeof(pci->path), "%s", real);
	snprintf(pci->address, sizeof(pci->address), "%s", address);
	if (!pci_number(real, "vendor", UINT16_MAX, &vendor) ||
	    !pci_number(real, "device", UINT16_MAX, &device) ||
	    !pci_number(real, "class", 0xffffff, &class_code))
		return -ENODEV;
	pci->vendor = (uint16_t)vendor;
	pci->device = (uint16_t)device;
	pci->class_code = (uint32_t)class_code;
	pci->boot_vga = pci_number(real, "boot_vga", 1, &vga) && vga;
	snprintf(name, sizeof(name), "%s/driver", real);
	au_sysfs_link(name, pci->driver, sizeof(pci->driver));
	snprintf(name, sizeof(name), "%s/driver_override", real);
	if (au_sysfs_text(name, pci->wanted, sizeof(pci->wanted)) < 0 ||
	    !strcmp(pci->wanted, "(null)"))
		pci->wanted[0] = 0;
	snprintf(name, sizeof(name), "%s/iommu_group", real);
	if (!au_sysfs_link(name, text, sizeof(text)) && isdigit((unsigned char)*text)) {
		errno = 0;
		group = strtol(text, &end, 10);
		if (!errno && !*end && group <= INT_MAX)
			pci->group = (int)group;
	}
	return 0;
}

static int pci_order(const void *a, const void *b)
{
	return strcmp(((const struct au_pci_sysfs *)a)->address,
		      ((const struct au_pci_sysfs *)b)->address);
}

int au_pci_sysfs_list(const char *root, int group, struct au_pci_sysfs **list)
{
	char path[AU_PCI_PATH];
	struct au_pci_sysfs *all = NULL, *more;
	struct dirent *entry;
	int count = 0;
	DIR *dir;

	*list = NULL;
	snprintf(path, sizeof(path), "%s/sys/bus/pci/devices", root);
	dir = opendir(path);
	if (!dir)
		return errno == ENOENT ? 0 : -errno;
	while (count < PCI_FUNCTIONS_MAX && (entry = readdir(dir))) {
		if (!au_pci_address_valid(entry->d_name))
			continue;
		more = reallocarray(all, (size_t)count + 1, sizeof(*all));
		if (!more) {
			closedir(dir);
			free(all);
			return -ENOMEM;
		}
		all = more;
		if (!au_pci_sysfs_read(root, entry->d_name, &all[count]) &&
		    (group < 0 || all[count].group == group))
			count++;
	}
	closedir(dir);
	if (count)
		qsort(all, (size_t)count, sizeof(*all), pci_order);
	*list = all;
	return count;
}
