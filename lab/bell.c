/* SPDX-License-Identifier: MIT */
/*
 * bell.c: doorbells. Each function with message interrupts gets an ivshmem-doorbell, so that it
 * can only ring for itself, on a bus of their own behind a bridge. The lab is the server of each
 * (QEMU's docs/specs/ivshmem-spec.txt): peer 0 is the lab, peer 1 QEMU. It sends all that it has
 * to say before QEMU asks, the eventfds of its own vectors, and nothing later.
 */
#include "iommu.h"
#include "lab.h"
#include "msi.h"
#include "qmp.h"
#include "base/sock_fds.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define BRIDGE_SLOT 0x1e /* qemu.c */
#define BELL_BUS    1u
#define MAX_BELLS   31u		/* slots of a bus, but the first */
#define WINDOW	    0xa0000000u /* 1 MiB of addresses, below the configuration space */
#define VERSION	    0

static void rung(struct lab_source *src, uint32_t events)
{
	struct lab_vector *v = lab_container_of(src, struct lab_vector, bell);
	uint64_t times;

	if (read(src->fd, &times, sizeof(times)) != (ssize_t)sizeof(times))
		return;
	msi_trigger(v->f, (unsigned int)(v - v->f->msi.vectors));
	fault_suspect(v->f->lab);
}

static int make_vectors(struct lab_func *f, unsigned int num)
{
	f->msi.vectors = lab_xcalloc(num, sizeof(*f->msi.vectors));
	for (unsigned int i = 0; i < num; i++) {
		struct lab_vector *v = &f->msi.vectors[i];

		v->f = f;
		v->client = -1;
		v->bell.ready = rung;
		v->bell.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (v->bell.fd < 0)
			return lab_fail(-errno, "%s: no eventfd for vector %u: %s", f->id, i,
					strerror(errno));
		int ret = lab_watch(f->lab->epfd, &v->bell, EPOLLIN);
		if (ret)
			return ret;
	}
	return 0;
}

static int say(int sock, int64_t value, int fd)
{
	struct iovec part = { .iov_base = &value, .iov_len = sizeof(value) };
	ssize_t n = au_sock_send(sock, &part, 1, &fd, fd >= 0, MSG_DONTWAIT);

	return n < 0 ? (int)n : 0;
}

/* A doorbell has memory to share, too, which nothing here is for. */
static int introduce(const struct lab_func *f, int sock, unsigned int num)
{
	AU_CLEANUP_FD int shm = memfd_create("lab-bell", MFD_CLOEXEC);
	int ret;

	if (shm < 0 || ftruncate(shm, LAB_PAGE))
		return -errno;
	if ((ret = say(sock, VERSION, -1)) || (ret = say(sock, 1, -1)) ||
	    (ret = say(sock, -1, shm)))
		return ret;
	for (unsigned int i = 0; ret == 0 && i < num; i++)
		ret = say(sock, 0, f->msi.vectors[i].bell.fd);
	return ret;
}

static bool call(struct qmp *qmp, const char *command, json_t *args, int fd)
{
	json_t *ret = qmp_call(qmp, command, args, fd);

	json_decref(ret);
	return ret;
}

static int plug(struct qmp *qmp, unsigned int n, int sock, unsigned int num)
{
	char name[16], slot[8], id[24];

	snprintf(name, sizeof(name), "lab-line%u", n);
	snprintf(id, sizeof(id), "lab-bell%u", n);
	snprintf(slot, sizeof(slot), "%x", n);
	if (!call(qmp, "getfd", json_pack("{s:s}", "fdname", name), sock) ||
	    !call(qmp, "chardev-add",
		  json_pack("{s:s, s:{s:s, s:{s:{s:s, s:{s:s}}, s:b}}}", "id", name, "backend",
			    "type", "socket", "data", "addr", "type", "fd", "data", "str", name,
			    "server", 0),
		  -1) ||
	    !call(qmp, "device_add",
		  json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:b}", "driver", "ivshmem-doorbell",
			    "id", id, "bus", "lab-bells", "addr", slot, "vectors", (int)num,
			    "chardev", name, "ioeventfd", 0),
		  -1))
		return -EIO;
	return 0;
}

static int place(struct lab *lab, unsigned int n)
{
	uint64_t ecam = pci_ecam(BELL_BUS, n, 0);
	int ret = qtest_call(&lab->qt, QTEST_WRITE, 4, ecam + PCI_BASE_ADDRESS_0,
			     WINDOW + n * LAB_PAGE, NULL);

	return ret ? ret
		   : qtest_call(&lab->qt, QTEST_WRITE, 2, ecam + PCI_COMMAND, PCI_COMMAND_MEMORY,
				NULL);
}

static int make_bell(struct lab_func *f, struct qmp *qmp, unsigned int n)
{
	unsigned int num = f->msi.num_msi > f->msi.num_msix ? f->msi.num_msi : f->msi.num_msix;
	int sv[2], ret = make_vectors(f, num);

	if (ret)
		return ret;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv))
		return lab_fail(-errno, "%s: no socket: %s", f->id, strerror(errno));
	AU_CLEANUP_FD int qemus = sv[1];
	ret = introduce(f, sv[0], num); /* sv[0] stays open as long as the lab */
	if (ret)
		return lab_fail(ret, "%s: cannot connect a doorbell: %s", f->id, strerror(-ret));
	if ((ret = plug(qmp, n, qemus, num)) || (ret = place(f->lab, n)))
		return ret;
	return iommu_map(f, LAB_IOVA_BELL, WINDOW + n * LAB_PAGE, LAB_PAGE, IOMMU_WRITE);
}

static int open_bridge(struct lab *lab)
{
	uint64_t ecam = pci_ecam(0, BRIDGE_SLOT, 0);
	const struct {
		unsigned int reg, width;
		uint32_t value;
	} seq[] = { { PCI_PRIMARY_BUS, 4, BELL_BUS << 16 | BELL_BUS << 8 },
		    { PCI_MEMORY_BASE, 4, WINDOW >> 16 | (WINDOW & 0xffff0000) },
		    { PCI_COMMAND, 2, PCI_COMMAND_MEMORY } };

	for (size_t i = 0; i < sizeof(seq) / sizeof(seq[0]); i++) {
		int ret = qtest_call(&lab->qt, QTEST_WRITE, seq[i].width, ecam + seq[i].reg,
				     seq[i].value, NULL);

		if (ret)
			return ret;
	}
	return 0;
}

int bell_setup(struct lab *lab, struct qmp *qmp)
{
	unsigned int n = 0;
	int ret = 0;

	for (unsigned int i = 0; ret == 0 && i < lab->num_funcs; i++) {
		struct lab_func *f = &lab->funcs[i];

		if (!f->msi.num_msi && !f->msi.num_msix)
			continue;
		if (n == MAX_BELLS)
			return lab_fail(-E2BIG, "more than %u functions with message interrupts",
					MAX_BELLS);
		if (n++ == 0)
			ret = open_bridge(lab);
		if (ret == 0)
			ret = make_bell(f, qmp, n);
	}
	return ret;
}
