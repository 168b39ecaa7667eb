/* SPDX-License-Identifier: MIT */
/*
 * vfio_meddle PID undecode|reset: what happens to a function of VFIO that PID drives, below it. The
 * descriptor is copied out of that process. undecode: memory decoding off, so that mapped registers
 * end in SIGBUS. reset: the function is reset.
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

int main(int argc, char **argv)
{
	struct vfio_region_info config = { .argsz = sizeof(config),
					   .index = VFIO_PCI_CONFIG_REGION_INDEX };
	uint16_t command;
	int fd;

	if (argc != 3) {
		fprintf(stderr, "usage: vfio_meddle PID undecode|reset\n");
		return 2;
	}
	fd = meddle_device(argv[1]);
	if (fd < 0)
		return fail("no device of that process can be had");
	if (!strcmp(argv[2], "reset"))
		return ioctl(fd, VFIO_DEVICE_RESET) ? fail("reset") : 0;
	if (ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &config) ||
	    pread(fd, &command, 2, (off_t)config.offset + PCI_COMMAND) != 2)
		return fail("configuration space");
	command &= (uint16_t)~PCI_COMMAND_MEMORY;
	return pwrite(fd, &command, 2, (off_t)config.offset + PCI_COMMAND) == 2 ? 0 : fail("write");
}
