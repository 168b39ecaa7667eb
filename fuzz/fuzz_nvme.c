/* SPDX-License-Identifier: MIT */
/*
 * The lab's NVMe controller: any command, any doorbell, any message and any fault cost a client its
 * own session and nothing else.
 *
 * The input is a script: each step is a byte that says what happens, and a second one for how much
 * of the input it is about. The controller begins each input enabled, with one I/O queue, and with
 * memory lent to it that holds the queues and what a MEMORY step writes there, so that commands
 * have lists to follow. At the end nothing of the client may be left.
 */
#include "nvme/session.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step { ADMIN, IO, DOORBELL, REGISTER, CONFIG, MESSAGE, FAULT, MEMORY, POLL, UNMAP, NUM_STEPS };

#define CHECK(cond)                                               \
	do {                                                      \
		if (!(cond)) {                                    \
			fprintf(stderr, "not true: %s\n", #cond); \
			abort();                                  \
		}                                                 \
	} while (0)

#define BASE	0x10000u /* of the memory, for the device */
#define PAGES	16u
#define ENTRIES 8u
#define BLOCKS	64u

/* Its pages: four queues, and the rest for data and lists. */
enum { ADMIN_SQ, ADMIN_CQ, IO_SQ, IO_CQ, DATA };

static struct nvme_session session;
static uint8_t *memory;
static int memory_fd;
static uint32_t tail[2];
static char messages[256];

static void setup(void)
{
	const struct nvme_options opt = { .size = BLOCKS * 512,
					  .block = 512,
					  .namespaces = 2,
					  .queues = 2,
					  .entries = 64,
					  .mdts = 3 };

	lab_msg_capture(messages, sizeof(messages));
	memory_fd = memfd_create("fuzz", MFD_ALLOW_SEALING | MFD_CLOEXEC);
	CHECK(ftruncate(memory_fd, PAGES * NVME_PAGE) == 0);
	CHECK(fcntl(memory_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0);
	memory = mmap(NULL, PAGES * NVME_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
	CHECK(memory != MAP_FAILED);
	session.nvme = nvme_new(&opt);
	CHECK(session.nvme);
}

static uint64_t page(unsigned int i)
{
	return BASE + i * NVME_PAGE;
}

static void write32(uint32_t off, uint32_t value)
{
	nvme_bar_write(session.nvme, off, 4, (const uint8_t *)&value);
}

/* What a driver does before anything else. */
static void bring_up(void)
{
	const uint8_t command[2] = { 6, 0 };
	const uint32_t both = (ENTRIES - 1) << 16 | (ENTRIES - 1);
	struct nvme *nvme = session.nvme;

	CHECK(nvme_dma_map(&nvme->dma, BASE, PAGES * NVME_PAGE, 3, memory_fd, 0) == 0);
	nvme_config_write(nvme, 4, 2, command);
	write32(NVME_REG_AQA, both);
	write32(NVME_REG_ASQ, (uint32_t)page(ADMIN_SQ));
	write32(NVME_REG_ACQ, (uint32_t)page(ADMIN_CQ));
	write32(NVME_REG_CC, NVME_CC_EN | 6 << 16 | 4 << 20);
	CHECK(nvme->running);
	nvme_open_cq(nvme, 1, ENTRIES, page(IO_CQ), true, 1);
	nvme_open_sq(nvme, 1, 1, ENTRIES, page(IO_SQ));
	tail[0] = tail[1] = 0;
}

/* Bytes of the input are an entry; low addresses are made to be in the memory, often enough. */
static void submit(unsigned int qid, const uint8_t *data, size_t size)
{
	struct nvme_sqe cmd = { 0 };

	memcpy(&cmd, data, size < sizeof(cmd) ? size : sizeof(cmd));
	if (cmd.prp1 < 0x100000)
		cmd.prp1 = BASE + cmd.prp1 % (PAGES * NVME_PAGE);
	if (cmd.prp2 < 0x100000)
		cmd.prp2 = BASE + cmd.prp2 % (PAGES * NVME_PAGE);
	memcpy(memory + (qid ? IO_SQ : ADMIN_SQ) * NVME_PAGE + tail[qid] * sizeof(cmd), &cmd,
	       sizeof(cmd));
	tail[qid] = (tail[qid] + 1) % ENTRIES;
	session.nvme->doorbell[2 * qid] = tail[qid];
}

static void message(const uint8_t *data, size_t size)
{
	struct vfu_header h = { .msg_id = 1,
				.cmd = size ? data[0] % 20 : 0,
				.size = (uint32_t)(sizeof(h) + size) };
	char drop[4096];
	int sv[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) == 0);
	session.src.fd = sv[0];
	session.eof = false;
	session.ready = true;
	(void)!send(sv[1], &h, sizeof(h), 0);
	(void)!send(sv[1], data, size, 0);
	while (nvme_session_input(&session) && recv(sv[1], drop, sizeof(drop), MSG_DONTWAIT) > 0)
		;
	lab_buf_free(&session.in);
	lab_buf_free(&session.out);
	close(sv[0]);
	close(sv[1]);
}

static void fault(const uint8_t *data, size_t size)
{
	char spec[256] = "", why[128];

	memcpy(spec, data, size);
	if (!strstr(spec, "resize")) /* of any size, which would take the memory of this machine */
		nvme_fault_spec(session.nvme, spec, why, sizeof(why));
}

static void step(enum step what, const uint8_t *data, size_t size)
{
	struct nvme *nvme = session.nvme;
	uint8_t buf[16];
	uint32_t a = 0, b = 0;

	if (size >= 4)
		memcpy(&a, data, 4);
	if (size >= 8)
		memcpy(&b, data + 4, 4);
	switch (what) {
	case ADMIN:
	case IO:
		submit(what == IO, data, size);
		break;
	case DOORBELL:
		nvme->doorbell[a % 8] = b;
		nvme_doorbell_message(nvme, a % 4096 & ~3u, b);
		break;
	case REGISTER:
		write32(a % NVME_BAR_SIZE & ~3u, b);
		nvme_bar_read(nvme, a % (NVME_BAR_SIZE - 16), 16, buf);
		break;
	case CONFIG:
		nvme_config_write(nvme, a % 256, 4, (const uint8_t *)&b);
		nvme_config_read(nvme, a % 256, 16, buf);
		break;
	case MESSAGE:
		message(data, size);
		break;
	case FAULT:
		fault(data, size);
		break;
	case MEMORY:
		for (size_t i = 0; i < size; i++) { /* a list of pages, in and near the memory */
			uint64_t entry = data[i] & 0x80 ? data[i] : BASE + data[i] % 20 * NVME_PAGE;

			memcpy(memory + DATA * NVME_PAGE + 8 * i, &entry, sizeof(entry));
		}
		break;
	case UNMAP:
		nvme_dma_clear(&nvme->dma);
		break;
	default:
		nvme_rest(nvme);
		break;
	}
	nvme_poll(nvme);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[64];
	int fds;

	if (!session.nvme)
		setup();
	CHECK(nvme_session_begin(&session, -1) == 0);
	bring_up();
	while (size >= 2) {
		size_t n = data[1] < size - 2 ? data[1] : size - 2;

		step(data[0] % NUM_STEPS, data + 2, n);
		data += 2 + n;
		size -= 2 + n;
	}
	CHECK(nvme_fault_spec(session.nvme, "clear", why, sizeof(why)) == 0);
	fds = session.nvme->doorbell_fd;
	session.src.fd = dup(memory_fd);
	nvme_session_end(&session);
	CHECK(session.nvme->doorbell_fd == fds && !session.nvme->running);
	CHECK(!session.nvme->dma.count && !session.nvme->num_held && !session.nvme->msix_on);
	for (unsigned int i = 1; i <= 2; i++) /* for the next input */
		nvme_ns_show(session.nvme, i, true);
	return 0;
}
