/* SPDX-License-Identifier: MIT */
/* What the machine uses a PCI function for: what must not be taken away from below it. */
#include "base/cleanup.h"
#include "cli/pci.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SAY(...) (snprintf(why, size, __VA_ARGS__), true)

#define USE_LINE 4096

/* --------------------------------------------------------------------- helpers */

/* Names of devices go into paths and messages. */
static bool use_name(const char *name)
{
	size_t length = strlen(name);

	for (const char *c = name; *c; c++)
		if (!isgraph((unsigned char)*c) || (unsigned char)*c > 0x7e)
			return false;
	return length > 0 && length < AU_PCI_NAME && *name != '.';
}

static bool use_below(const char *path, const char *dir)
{
	size_t length = strlen(dir);

	return !strncmp(path, dir, length) && path[length] == '/';
}

/* A path that is a message's, too: file systems can be mounted anywhere. */
static void use_clean(char *text)
{
	for (char *c = text; *c; c++)
		if (iscntrl((unsigned char)*c) || (unsigned char)*c > 0x7e)
			*c = '?';
}

/* NVMe with more than one path: its block devices hang on the subsystem, beside a link to each
 * controller. */
static bool use_by_link(const char *path, const char *pci)
{
	char dir[AU_PCI_PATH], link[AU_PCI_PATH + 256];
	struct dirent *entry;
	bool found = false;
	char *slash;
	DIR *d;

	if (!strstr(path, "/nvme-subsystem/"))
		return false;
	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	*slash = 0;
	/* Partitions lie one deeper. */
	if (!strstr(strrchr(dir, '/'), "subsys") && (slash = strrchr(dir, '/')))
		*slash = 0;
	d = opendir(dir);
	while (d && !found && (entry = readdir(d))) {
		AU_CLEANUP_FREE char *real = NULL;

		if (entry->d_type != DT_LNK || strncmp(entry->d_name, "nvme", 4) != 0)
			continue;
		snprintf(link, sizeof(link), "%s/%s", dir, entry->d_name);
		real = realpath(link, NULL);
		found = real && use_below(real, pci);
	}
	if (d)
		closedir(d);
	return found;
}

/* Call @fn for each device of a class that belongs to the function, until one is in use. */
static bool use_class(const char *root, const char *cls, const struct au_pci_sysfs *pci,
		      bool (*fn)(const char *root, const char *name, char *why, size_t size),
		      char *why, size_t size)
{
	char dir[AU_PCI_PATH], link[AU_PCI_PATH + 256];
	struct dirent *entry;
	bool used = false;
	DIR *d;

	snprintf(dir, sizeof(dir), "%s/sys/class/%s", root, cls);
	d = opendir(dir);
	while (d && !used && (entry = readdir(d))) {
		AU_CLEANUP_FREE char *real = NULL;

		if (!use_name(entry->d_name))
			continue;
		snprintf(link, sizeof(link), "%s/%s", dir, entry->d_name);
		real = realpath(link, NULL);
		if (real && (use_below(real, pci->path) || use_by_link(real, pci->path)))
			used = fn(root, entry->d_name, why, size);
	}
	if (d)
		closedir(d);
	return used;
}

/* --------------------------------------------------------------- block devices */

static bool use_mounted(const char *root, const char *name, const char *number, char *why,
			size_t size)
{
	char path[AU_PCI_PATH], line[USE_LINE], at[USE_LINE], dev[64], source[USE_LINE], node[80];
	AU_CLEANUP_FILE FILE *f = NULL;
	const char *rest;

	snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);
	snprintf(node, sizeof(node), "/dev/%s", name);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		/* 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw */
		if (sscanf(line, "%*s %*s %63s %*s %4095s", dev, at) != 2)
			continue;
		rest = strstr(line, " - ");
		if (!rest || sscanf(rest, " - %*s %4095s", source) != 1)
			source[0] = 0;
		/* btrfs, for one, shows numbers of its own. */
		if (strcmp(dev, number) != 0 && strcmp(source, node) != 0)
			continue;
		use_clean(at);
		return SAY("its %s is mounted on %.200s", name, at);
	}
	return false;
}

static bool use_swap(const char *root, const char *name, char *why, size_t size)
{
	char path[AU_PCI_PATH], line[USE_LINE], file[USE_LINE], node[80];
	AU_CLEANUP_FILE FILE *f = NULL;

	snprintf(path, sizeof(path), "%s/proc/swaps", root);
	snprintf(node, sizeof(node), "/dev/%s", name);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%4095s", file) == 1 && !strcmp(file, node))
			return SAY("its %s is swap space", name);
	return false;
}

static bool use_held(const char *root, const char *name, char *why, size_t size)
{
	char path[AU_PCI_PATH], named[AU_PCI_PATH], text[AU_PCI_NAME];
	struct dirent *entry;
	bool used = false;
	DIR *d;

	snprintf(path, sizeof(path), "%s/sys/class/block/%s/holders", root, name);
	d = opendir(path);
	while (d && !used && (entry = readdir(d))) {
		if (!use_name(entry->d_name))
			continue;
		snprintf(named, sizeof(named), "%s/sys/class/block/%s/dm/name", root,
			 entry->d_name);
		if (au_sysfs_text(named, text, sizeof(text)) <= 0)
			text[0] = 0;
		used = SAY("its %s is part of %s%s%s%s", name, entry->d_name, *text ? " (" : "",
			   text, *text ? ")" : "");
	}
	if (d)
		closedir(d);
	return used;
}

static bool use_block(const char *root, const char *name, char *why, size_t size)
{
	char path[AU_PCI_PATH], number[32];
	int fd;

	snprintf(path, sizeof(path), "%s/sys/class/block/%s/dev", root, name);
	if (au_sysfs_text(path, number, sizeof(number)) < 0)
		number[0] = 0;
	if (use_mounted(root, name, number, why, size) || use_swap(root, name, why, size) ||
	    use_held(root, name, why, size))
		return true;
	/* Whatever else holds it for itself alone: what is mounted in another namespace, say. */
	snprintf(path, sizeof(path), "%s/dev/%s", root, name);
	fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return errno == EBUSY && SAY("its %s is held by the kernel or a program", name);
	close(fd);
	return false;
}

/* --------------------------------------------------------------------- network */

static bool use_address(const char *name, char *why, size_t size)
{
	char text[INET6_ADDRSTRLEN] = "";
	struct ifaddrs *list;
	bool used = false;

	if (getifaddrs(&list))
		return SAY("the addresses of its %s cannot be read: %s", name, strerror(errno));
	for (struct ifaddrs *a = list; a && !used; a = a->ifa_next) {
		if (!a->ifa_addr || strcmp(a->ifa_name, name) != 0)
			continue;
		if (a->ifa_addr->sa_family == AF_INET) {
			const struct sockaddr_in *in = (const void *)a->ifa_addr;

			used = inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
		} else if (a->ifa_addr->sa_family == AF_INET6) {
			const struct sockaddr_in6 *in6 = (const void *)a->ifa_addr;

			/* Those of the link come by themselves. */
			used = !IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) &&
			       inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
		}
	}
	freeifaddrs(list);
	return used && SAY("its %s has the address %s", name, text);
}

static bool use_route(const char *root, const char *name, char *why, size_t size)
{
	char path[AU_PCI_PATH], line[USE_LINE], first[USE_LINE], last[USE_LINE];
	AU_CLEANUP_FILE FILE *four = NULL;
	AU_CLEANUP_FILE FILE *six = NULL;

	snprintf(path, sizeof(path), "%s/proc/net/route", root);
	four = fopen(path, "re");
	while (four && fgets(line, sizeof(line), four))
		if (sscanf(line, "%4095s", first) == 1 && !strcmp(first, name))
			return SAY("a route leads through its %s", name);
	snprintf(path, sizeof(path), "%s/proc/net/ipv6_route", root);
	six = fopen(path, "re");
	while (six && fgets(line, sizeof(line), six))
		if (sscanf(line, "%4095s %*s %*s %*s %*s %*s %*s %*s %*s %4095s", first, last) ==
			    2 &&
		    !strcmp(last, name) && strncmp(first, "fe80", 4) != 0 &&
		    strncmp(first, "ff", 2) != 0)
			return SAY("a route leads through its %s", name);
	return false;
}

static bool use_net(const char *root, const char *name, char *why, size_t size)
{
	char path[AU_PCI_PATH], master[AU_PCI_NAME];

	snprintf(path, sizeof(path), "%s/sys/class/net/%s/master", root, name);
	if (!au_sysfs_link(path, master, sizeof(master)))
		return SAY("its %s is part of %s", name, master);
	return use_address(name, why, size) || use_route(root, name, why, size);
}

/* ------------------------------------------------------------------------ rest */

static bool use_tty(const char *root, const char *name, char *why, size_t size)
{
	char path[AU_PCI_PATH], line[USE_LINE], first[USE_LINE];
	AU_CLEANUP_FILE FILE *f = NULL;

	snprintf(path, sizeof(path), "%s/proc/consoles", root);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%4095s", first) == 1 && !strcmp(first, name))
			return SAY("its %s is the console", name);
	return false;
}

bool pci_in_use(const char *root, const struct au_pci_sysfs *pci, char *why, size_t size)
{
	*why = 0;
	if (pci->boot_vga && pci->driver[0])
		return SAY("it is the display that the machine started with");
	return use_class(root, "block", pci, use_block, why, size) ||
	       use_class(root, "net", pci, use_net, why, size) ||
	       use_class(root, "tty", pci, use_tty, why, size);
}
