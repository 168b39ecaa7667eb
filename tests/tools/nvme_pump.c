/* SPDX-License-Identifier: MIT */
/*
 * nvme_pump SOCKET DEPTH SECONDS [BLOCKS]: reads of BLOCKS (8) blocks at random places of namespace
 * 1, DEPTH of them outstanding, polled, by the shortest way there is: a measure of the lab's
 * controller, and how fast a driver could be at best. Prints reads a second.
 */
#include "../../lab/nvme/wire.h"
#include "../../lab/vfu_proto.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ENTRIES	 1024u
#define BASE	 0x10000000u
#define MEMORY	 (16u << 20)
#define PAGE	 4096u
#define DATA	 (64 * PAGE)
#define ADMIN_SQ 0u
#define ADMIN_CQ PAGE
#define IO_SQ	 (2 * PAGE)
#define IO_CQ	 (2 * PAGE + ENTRIES * 64)

static int sock;
static uint8_t *memory;
static volatile uint32_t *doorbell;

static void die(const char *what)
{
	fprintf(stderr, "nvme_pump: %s\n", what);
	exit(1);
}

/* Send a message with at most one descriptor, and take the answer with at most one. */
static void call(uint16_t cmd, const void *payload, size_t size, int fd, void *reply, size_t room,
		 int *reply_fd)
{
	uint8_t buf[4096];
	struct vfu_header h = { .cmd = cmd, .size = (uint32_t)(sizeof(h) + size) };
	union {
		struct cmsghdr c;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { buf, h.size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	memcpy(buf, &h, sizeof(h));
	memcpy(buf + sizeof(h), payload, size);
	if (fd >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control);
		control.c = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
		memcpy(CMSG_DATA(&control.c), &fd, sizeof(fd));
	}
	if (sendmsg(sock, &msg, 0) != (ssize_t)h.size)
		die("cannot send");
	iov.iov_len = sizeof(buf);
	msg.msg_control = &control;
	msg.msg_controllen = sizeof(control);
	ssize_t n = recvmsg(sock, &msg, 0);
	if (n < (ssize_t)sizeof(h))
		die("no answer");
	memcpy(&h, buf, sizeof(h));
	if (h.flags & VFU_ERROR)
		die(strerror((int)h.error));
	if (reply)
		memcpy(reply, buf + sizeof(h), room);
	if (reply_fd)
		memcpy(reply_fd, CMSG_DATA(&control.c), sizeof(int));
}

static void write_region(uint32_t region, uint64_t off, uint64_t value, uint32_t count)
{
	struct {
		struct vfu_region_access a;
		uint64_t value;
	} w = { { off, region, count }, value };

	call(VFU_REGION_WRITE, &w, sizeof(w.a) + count, -1, NULL, 0, NULL);
}

static void connect_to(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const struct vfu_version version = { VFU_MAJOR, VFU_MINOR };
	struct {
		struct vfio_region_info info;
		uint8_t caps[64];
	} region = { .info = { .argsz = sizeof(region), .index = 0 } };
	struct vfu_dma_map map = { sizeof(map), 3, 0, BASE, MEMORY };
	int fd = memfd_create("pump", MFD_ALLOW_SEALING);

	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	if (connect(sock, (struct sockaddr *)&addr, sizeof(addr)))
		die("cannot connect");
	if (ftruncate(fd, MEMORY) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK))
		die("no memory");
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	call(VFU_VERSION, &version, sizeof(version), -1, NULL, 0, NULL);
	call(VFU_DMA_MAP, &map, sizeof(map), fd, NULL, 0, NULL);
	call(VFU_DEVICE_GET_REGION_INFO, &region, sizeof(region.info), -1, NULL, 0, &fd);
	doorbell = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, NVME_REG_DOORBELLS);
	if (memory == MAP_FAILED || doorbell == MAP_FAILED)
		die("cannot map");
}

static void admin(unsigned int i, const struct nvme_sqe *cmd)
{
	volatile struct nvme_cqe *cqe = (volatile struct nvme_cqe *)(memory + ADMIN_CQ) + i;

	memcpy(memory + ADMIN_SQ + i * sizeof(*cmd), cmd, sizeof(*cmd));
	__atomic_thread_fence(__ATOMIC_RELEASE);
	doorbell[0] = i + 1;
	while (!(cqe->status & 1))
		;
	if (cqe->status >> 1)
		die("an admin command failed");
}

static void bring_up(void)
{
	const uint32_t size = (ENTRIES - 1) << 16 | 1;

	write_region(VFIO_PCI_CONFIG_REGION_INDEX, 4, 6, 2);
	write_region(0, NVME_REG_AQA, 15 << 16 | 15, 4);
	write_region(0, NVME_REG_ASQ, BASE + ADMIN_SQ, 8);
	write_region(0, NVME_REG_ACQ, BASE + ADMIN_CQ, 8);
	write_region(0, NVME_REG_CC, NVME_CC_EN | 6 << 16 | 4 << 20, 4);
	admin(0, &(struct nvme_sqe){ .opcode = NVME_ADM_CREATE_CQ,
				     .prp1 = BASE + IO_CQ,
				     .cdw10 = size,
				     .cdw11 = 1 });
	admin(1, &(struct nvme_sqe){ .opcode = NVME_ADM_CREATE_SQ,
				     .prp1 = BASE + IO_SQ,
				     .cdw10 = size,
				     .cdw11 = 1 << 16 | 1 });
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t pump(unsigned int depth, double seconds, unsigned int blocks)
{
	struct nvme_sqe cmd = { .opcode = NVME_IO_READ, .nsid = 1, .cdw12 = blocks - 1 };
	struct nvme_sqe *sq = (struct nvme_sqe *)(void *)(memory + IO_SQ);
	volatile uint64_t *cq = (volatile uint64_t *)(void *)(memory + IO_CQ) + 1;
	uint32_t tail = 0, head = 0, phase = 1, random = 1, flying = 0;
	double end = now() + seconds;
	uint64_t done = 0;

	for (unsigned int turn = 1; turn % 4096 || now() < end; turn++) {
		uint32_t taken = 0;

		for (; (cq[2 * head] >> 48 & 1) == phase; taken++) {
			if (cq[2 * head] >> 49)
				die("a read failed");
			if (++head == ENTRIES) {
				head = 0;
				phase ^= 1;
			}
		}
		done += taken;
		flying -= taken;
		if (taken)
			doorbell[3] = head;
		if (flying == depth)
			continue;
		for (; flying < depth; flying++) {
			random = random * 1664525 + 1013904223;
			cmd.cid = (uint16_t)tail;
			cmd.prp1 = BASE + DATA + (random >> 12) % 2048 * PAGE;
			cmd.cdw10 = (random >> 8) % 100000 * 8;
			sq[tail] = cmd;
			tail = (tail + 1) % ENTRIES;
		}
		__atomic_thread_fence(__ATOMIC_RELEASE);
		doorbell[2] = tail;
	}
	return done;
}

int main(int argc, char **argv)
{
	unsigned int depth, blocks;
	double seconds;

	if (argc < 4) {
		fprintf(stderr, "usage: nvme_pump SOCKET DEPTH SECONDS [BLOCKS]\n");
		return 2;
	}
	depth = (unsigned int)atoi(argv[2]);
	seconds = atof(argv[3]);
	blocks = argc > 4 ? (unsigned int)atoi(argv[4]) : 8;
	if (depth < 1 || depth >= ENTRIES || blocks < 1 || blocks > 8)
		die("1 to 1023 reads of 1 to 8 blocks");
	connect_to(argv[1]);
	bring_up();
	printf("%.0f\n", (double)pump(depth, seconds, blocks) / seconds);
	return 0;
}
