/* SPDX-License-Identifier: MIT */
/*
 * vfio_meddle PID undecode|reset|REGISTER[=VALUE]...: what happens to a function of VFIO that PID
 * drives, below it. The descriptor is copied out of that process. undecode: memory decoding off, so
 * that mapped registers end in SIGBUS. reset: the function is reset. Else registers of 8 bits, in
 * BAR 0, are read or written.
 */
#include <dirent.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int fail(const char *what)
{
	fprintf(stderr, "vfio_meddle: ");
	perror(what);
	return 1;
}

/* Its descriptor of the device, as one of ours. */
static int meddle_device(const char *pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, atoi(pid), 0), fd = -1;
	char dir[64], path[sizeof(dir) + 256], target[64];
	struct dirent *entry;
	ssize_t n;
	DIR *d;

	snprintf(dir, sizeof(dir), "/proc/%.10s/fd", pid);
	d = opendir(dir);
	while (d && fd < 0 && (entry = readdir(d))) {
		snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = 0;
		if (strstr(target, "vfio-device"))
			fd = (int)syscall(SYS_pidfd_getfd, pidfd, atoi(entry->d_name), 0);
	}
	if (d)
		closedir(d);
	return fd;
}

/* Where a region is in the device's file, or -1. */
static off_t meddle_region(int fd, uint32_t index)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

	return ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info) ? -1 : (off_t)info.offset;
}

static int meddle_undecode(int fd)
{
	off_t config = meddle_region(fd, VFIO_PCI_CONFIG_REGION_INDEX);
	uint16_t command;

	if (config < 0 || pread(fd, &command, 2, config + PCI_COMMAND) != 2)
		return fail("configuration space");
	command &= (uint16_t)~PCI_COMMAND_MEMORY;
	return pwrite(fd, &command, 2, config + PCI_COMMAND) == 2 ? 0 : fail("write");
}

/* Each word is REGISTER, which is read, or REGISTER=VALUE, which is written. */
static int meddle_registers(int fd, char **words)
{
	off_t bar = meddle_region(fd, VFIO_PCI_BAR0_REGION_INDEX);

	for (; *words; words++) {
		char *rest;
		off_t at = bar + strtol(*words, &rest, 0);
		uint8_t value = *rest == '=' ? (uint8_t)strtol(rest + 1, NULL, 0) : 0;
		ssize_t n = *rest == '=' ? pwrite(fd, &value, 1, at) : pread(fd, &value, 1, at);

		if (bar < 0 || n != 1)
			return fail("a register");
		if (*rest != '=')
			printf("%02x ", value);
	}
	return 0;
}

int main(int argc, char **argv)
{
	int fd;

	if (argc < 3) {
		fprintf(stderr, "usage: vfio_meddle PID undecode|reset|REGISTER[=VALUE]...\n");
		return 2;
	}
	fd = meddle_device(argv[1]);
	if (fd < 0)
		return fail("no device of that process can be had");
	if (!strcmp(argv[2], "reset"))
		return ioctl(fd, VFIO_DEVICE_RESET) ? fail("reset") : 0;
	return strcmp(argv[2], "undecode") ? meddle_registers(fd, argv + 2) : meddle_undecode(fd);
}
