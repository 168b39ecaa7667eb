/* SPDX-License-Identifier: MIT */
#include "qemu.h"
#include "dma.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define RAM_SIZE (64u << 20)
#define ROM_SIZE (64u << 10)

/*
 * Firmware that only sleeps. The reset vector is 16 bytes below the end of the ROM, in real mode:
 * a far jump to F000:0000, its beginning, where interrupts are turned off and the processor halts.
 */
static int make_rom(void)
{
	static const uint8_t start[] = { 0xfa, 0xf4, 0xeb, 0xfd };	  /* cli; hlt; jmp hlt */
	static const uint8_t vector[] = { 0xea, 0x00, 0x00, 0x00, 0xf0 }; /* ljmp F000:0000 */
	int fd = memfd_create("lab-rom", 0);

	if (fd < 0 || ftruncate(fd, ROM_SIZE) ||
	    pwrite(fd, start, sizeof(start), 0) != sizeof(start) ||
	    pwrite(fd, vector, sizeof(vector), ROM_SIZE - 16) != sizeof(vector)) {
		if (fd >= 0)
			close(fd);
		return lab_fail(-errno, "cannot make a ROM: %s", strerror(errno));
	}
	return fd;
}

static int make_ram(void)
{
	int fd = memfd_create("lab-ram", MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, RAM_SIZE) == 0)
		return fd;
	int err = errno;
	if (fd >= 0)
		close(fd);
	return lab_fail(-err, "cannot make %u bytes of memory: %s", RAM_SIZE, strerror(err));
}

struct argv {
	const char *arg[10 * LAB_MAX_ARGS];
	unsigned int num;
	char text[5][128];
};

static void add(struct argv *a, const char *first, const char *second)
{
	a->arg[a->num++] = first;
	if (second)
		a->arg[a->num++] = second;
}

static void make_argv(struct argv *a, const struct lab_spec *spec, int ram, int rom, int qtest,
		      int qmp)
{
	snprintf(a->text[0], sizeof(a->text[0]),
		 "memory-backend-file,id=lab-ram,size=%u,mem-path=/proc/self/fd/%d,share=on",
		 RAM_SIZE, ram);
	snprintf(a->text[1], sizeof(a->text[1]), "/proc/self/fd/%d", rom);
	snprintf(a->text[2], sizeof(a->text[2]), "socket,id=lab-qtest,fd=%d", qtest);
	snprintf(a->text[3], sizeof(a->text[3]), "socket,id=lab-qmp,fd=%d", qmp);

	snprintf(a->text[4], sizeof(a->text[4]), "%uM,slots=%u,maxmem=64G", RAM_SIZE >> 20,
		 LAB_MAX_DIMMS);

	add(a, "qemu-system-x86_64", NULL);
	add(a, "-no-user-config", "-nodefaults");
	add(a, "-name", spec->name);
	add(a, "-machine", "q35,pit=off,memory-backend=lab-ram");
	add(a, "-accel", "tcg,thread=single");
	add(a, "-smp", "1");
	add(a, "-m", a->text[4]);
	add(a, "-object", a->text[0]);
	add(a, "-bios", a->text[1]);
	add(a, "-display", "none");
	add(a, "-chardev", a->text[2]);
	add(a, "-object", "qtest,id=lab-qtest-server,chardev=lab-qtest,log=/dev/null");
	add(a, "-chardev", a->text[3]);
	add(a, "-mon", "chardev=lab-qmp,mode=control");
	/* The IOMMU has to be there before the functions; the bridge is for bell.c. */
	add(a, "-device", "intel-iommu,intremap=off,aw-bits=48");
	add(a, "-device", "pci-bridge,id=lab-bells,chassis_nr=255,shpc=off,addr=1e");
	for (unsigned int i = 0; i < spec->qemu_args.num; i++)
		add(a, spec->qemu_args.arg[i], NULL);
	for (unsigned int i = 0; i < spec->chardevs.num; i++)
		add(a, "-chardev", spec->chardevs.arg[i]);
	for (unsigned int i = 0; i < spec->objects.num; i++)
		add(a, "-object", spec->objects.arg[i]);
	for (unsigned int i = 0; i < spec->blockdevs.num; i++)
		add(a, "-blockdev", spec->blockdevs.arg[i]);
	for (unsigned int i = 0; i < spec->devices.num; i++)
		add(a, "-device", spec->devices.arg[i]);
	a->arg[a->num] = NULL;
}

static void keep_open(int fd)
{
	fcntl(fd, F_SETFD, 0);
}

static void child(const struct lab_spec *spec, pid_t parent, int ram, int rom, int qtest, int qmp,
		  int err)
{
	static struct argv a;
	sigset_t none;

	/* Killed with its parent, whatever that dies of; in a group of its own, for Ctrl-C. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	setpgid(0, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);

	int null = open("/dev/null", O_RDWR);
	dup2(null, STDIN_FILENO);
	dup2(err, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	keep_open(ram);
	keep_open(rom);
	keep_open(qtest);
	keep_open(qmp);
	make_argv(&a, spec, ram, rom, qtest, qmp);
	execvp(a.arg[0], (char *const *)a.arg);
	dprintf(STDERR_FILENO, "cannot start %s: %s: install qemu-system-x86\n", a.arg[0],
		strerror(errno));
	_exit(1);
}

int qemu_spawn(const struct lab_spec *spec, struct qemu *q)
{
	int qtest[2] = { -1, -1 }, qmp[2] = { -1, -1 }, err[2] = { -1, -1 };
	pid_t parent = getpid();

	*q = (struct qemu){ .pidfd = -1, .qtest = -1, .qmp = -1, .err = -1, .ram = make_ram() };
	if (q->ram < 0)
		return q->ram;
	AU_CLEANUP_FD int rom = make_rom();
	if (rom < 0)
		return rom;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qtest) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, qmp) || pipe2(err, O_CLOEXEC))
		return lab_fail(-errno, "cannot make QEMU's connections: %s", strerror(errno));
	q->qtest = qtest[0];
	q->qmp = qmp[0];
	q->err = err[0];
	q->pid = fork();
	if (q->pid == 0)
		child(spec, parent, q->ram, rom, qtest[1], qmp[1], err[1]);
	int saved = errno;
	close(qtest[1]);
	close(qmp[1]);
	close(err[1]);
	if (q->pid < 0)
		return lab_fail(-saved, "cannot start a process for QEMU: %s", strerror(saved));
	q->pidfd = (int)syscall(SYS_pidfd_open, q->pid, 0);
	return 0;
}

void qemu_close(struct qemu *q)
{
	int *fds[] = { &q->pidfd, &q->qtest, &q->qmp, &q->err, &q->ram };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}
