/* SPDX-License-Identifier: MIT */
/*
 * The lab's vfio-user server: any bytes cost a client its own session and nothing else.
 *
 * The input is a script: each step is one byte that says what happens, and for what a client sends
 * a second byte for how much of the input it is. QEMU is played by a few lines that answer every
 * access with zero and every command with success, or with an error. After each input the function
 * must be as free as before: no session, no map, no access outstanding, no table of the IOMMU and
 * no descriptor more.
 */
#include "dma.h"
#include "lab.h"
#include "vfu_server.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum step {
	SEND,
	SEND_FD,
	SECOND_CLIENT,
	IRQ,
	TURN,
	FREEZE,
	THAW,
	READ,
	SEND_MEMORY,
	REFUSE, /* QEMU refuses this many commands */
	NUM_STEPS = 16
};

#define NUM_VECTORS 5u
#define RAM	    (4u << 20)

#define CHECK(cond)                                               \
	do {                                                      \
		if (!(cond)) {                                    \
			fprintf(stderr, "not true: %s\n", #cond); \
			abort();                                  \
		}                                                 \
	} while (0)

static struct lab lab;
static struct lab_func funcs[2];
static int qemu; /* QEMU's end of the qtest connection */
static int monitor;
static int memory; /* a client's */
static unsigned int refuse;
static struct lab_stat stats[2];
static struct lab_vector vectors[2][NUM_VECTORS];
static bool frozen;
static char messages[256];

static void qtest_ready(struct lab_source *src, uint32_t events)
{
	qtest_input(lab_container_of(src, struct qtest, src));
}

static void qmp_ready(struct lab_source *src, uint32_t events)
{
	CHECK(qmp_input(lab_container_of(src, struct qmp, src)));
}

/* A function that has one of everything. */
static void make_func(struct lab_func *f, unsigned int slot)
{
	size_t n = (size_t)(f - funcs);
	uint64_t table = f->iova_table;

	*f = (struct lab_func){ .lab = &lab,
				.slot = (uint8_t)slot,
				.ecam = pci_ecam(0, slot, 0),
				.config_size = PCI_CFG_SPACE_EXP_SIZE,
				.cap_pm = 0x40,
				.cap_msi = 0x50,
				.msi_len = 24,
				.cap_msix = 0x70,
				.cap_exp = 0x80,
				.has_flr = true,
				.pin = 1,
				.gsi = 20,
				.irq_fd = -1,
				.listen.fd = -1,
				.path = "/nonexistent/socket",
				.iova_table = table,
				.stat = &stats[n] };
	f->msi = (struct lab_msi){ .num_msi = 4,
				   .num_msix = NUM_VECTORS,
				   .vectors = vectors[n],
				   .cap = { [PCI_MSI_FLAGS] = 0x84, 0x01 },
				   .table_bar = 2,
				   .table = 4096,
				   .table_len = NUM_VECTORS * PCI_MSIX_ENTRY_SIZE };
	memset(&stats[n], 0, sizeof(stats[n]));
	snprintf(f->id, sizeof(f->id), "dev%u", slot);
	f->bar[0] = (struct lab_bar){ .io = true, .size = 32, .addr = 0xc000 };
	f->bar_mask[0] = 0xffffffe0;
	f->bar_type[0] = 1;
	f->bar[2] = (struct lab_bar){ .mem64 = true, .size = 16384, .addr = 0xe0000000 };
	f->bar_mask[2] = 0xffffc000;
	f->bar_mask[3] = 0xffffffff;
	f->bar_type[2] = 4;
}

static void setup(void)
{
	int sv[2];

	lab.epfd = epoll_create1(EPOLL_CLOEXEC);
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) == 0);
	qtest_init(&lab.qt, sv[0]);
	lab.qt.irq = intx_level;
	lab.qt.src.ready = qtest_ready;
	qemu = sv[1];
	lab_watch(lab.epfd, &lab.qt.src, EPOLLIN);
	lab.log.fd = open("/dev/null", O_WRONLY);
	lab.funcs = funcs;
	lab.num_funcs = 2;
	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) == 0);
	qmp_init(&lab.qmp, sv[0]);
	lab.qmp.src.ready = qmp_ready;
	monitor = sv[1];
	lab_watch(lab.epfd, &lab.qmp.src, EPOLLIN);
	lab.qemu = getpid();
	CHECK(dma_init(&lab) == 0 && fault_init(&lab) == 0);
	CHECK(iommu_init(
		      &lab,
		      mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
		      RAM) == 0);
	memory = memfd_create("memory", 0);
	CHECK(ftruncate(memory, 1 << 20) == 0);
	make_func(&funcs[0], 1);
	make_func(&funcs[1], 5);
	for (size_t i = 0; i < 2; i++) {
		CHECK(iommu_add_func(&funcs[i]) == 0);
		for (size_t k = 0; k < NUM_VECTORS; k++)
			vectors[i][k] = (struct lab_vector){ .f = &funcs[i],
							     .client = -1,
							     .bell.fd = eventfd(0, EFD_NONBLOCK) };
	}
	lab_msg_capture(messages, sizeof(messages));
}

/* Answer what QEMU has been asked. Return: whether there was anything. */
static bool answer(void)
{
	static char line[64];
	static size_t len;
	char buf[4096], *p = buf;
	ssize_t n = frozen ? 0 : recv(qemu, buf, sizeof(buf), MSG_DONTWAIT);

	for (ssize_t left = n; left > 0; left--, p++) {
		if (*p != '\n') {
			CHECK(len < sizeof(line) - 1);
			line[len++] = *p;
			continue;
		}
		line[len] = '\0';
		len = 0;
		bool read = strncmp(line, "in", 2) == 0 || strncmp(line, "read", 4) == 0;
		CHECK(read || strncmp(line, "out", 3) == 0 || strncmp(line, "write", 5) == 0);
		const char *text = read ? "OK 0x0\n" : "OK\n";
		CHECK(send(qemu, text, strlen(text), MSG_NOSIGNAL) > 0);
	}
	return n > 0;
}

static bool answer_commands(void)
{
	static const char yes[] = "{\"return\": {}}\n{\"event\": \"X\"}\n";
	static const char no[] = "{\"error\": {\"desc\": \"no\"}}\n";
	char buf[4096];
	ssize_t n = frozen ? 0 : recv(monitor, buf, sizeof(buf), MSG_DONTWAIT);

	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] != '\n')
			continue;
		const char *text = refuse ? no : yes;
		refuse -= refuse > 0;
		CHECK(send(monitor, text, strlen(text), MSG_NOSIGNAL) > 0);
	}
	return n > 0;
}

static bool turn(void)
{
	struct epoll_event ev[8];

	vfu_finish_turn(&lab);
	qtest_flush(&lab.qt);
	qmp_flush(&lab.qmp);
	bool busy = answer();
	busy |= answer_commands();
	int n = epoll_wait(lab.epfd, ev, 8, 0);
	for (int i = 0; i < n; i++) {
		struct lab_source *src = ev[i].data.ptr;

		src->ready(src, ev[i].events);
	}
	if (!busy && n == 0 && lab.letgo) /* nobody has it mapped: only the timer is missing */
		lab.letgo_timer.fire(&lab.letgo_timer);
	return busy || n > 0 || lab.letgo ||
	       (!frozen && (lab_buf_len(&lab.qt.out) || lab_buf_len(&lab.qmp.out)));
}

static int connect_client(struct lab_func *f)
{
	int sv[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sv) == 0);
	vfu_attach(f, sv[0]);
	return sv[1];
}

static void say_version(int fd)
{
	static const struct {
		struct vfu_header h;
		struct vfu_version v;
	} version = { { 1, VFU_VERSION, sizeof(version), 0, 0 }, { VFU_MAJOR, VFU_MINOR } };

	(void)!send(fd, &version, sizeof(version), MSG_NOSIGNAL);
}

static void send_with_fd(int fd, const uint8_t *data, size_t size, int passed)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &passed, sizeof(int));
	(void)!sendmsg(fd, &msg, MSG_NOSIGNAL);
}

static void send_irq(uint8_t how)
{
	char line[32];
	int n = snprintf(line, sizeof(line), "IRQ %s %d\n", how & 0x80 ? "raise" : "lower",
			 how & 0x7fu);

	if (!frozen)
		CHECK(send(qemu, line, (size_t)n, MSG_NOSIGNAL) == n);
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 64; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char drop[4096];

	if (lab.epfd == 0)
		setup();
	make_func(&funcs[0], 1);
	make_func(&funcs[1], 5);
	memset(lab.gsi_level, 0, sizeof(lab.gsi_level));

	int fds = count_fds(), event;
	unsigned int tables = lab.iommu.num_free;
	int client = connect_client(&funcs[0]), second = -1;
	if (size && data[0] & 0x80)
		say_version(client);
	while (size >= 2) {
		uint8_t step = data[0] % NUM_STEPS, arg = data[1];
		data += 2;
		size -= 2;
		size_t n = arg < size ? arg : size;

		switch (step) {
		case SEND:
			(void)!send(client, data, n, MSG_NOSIGNAL);
			break;
		case SEND_FD:
			event = eventfd(0, EFD_NONBLOCK);
			if (n)
				send_with_fd(client, data, n, event);
			close(event);
			break;
		case SECOND_CLIENT:
			if (second >= 0)
				close(second);
			second = connect_client(&funcs[arg & 1]);
			say_version(second);
			(void)!send(second, data, n, MSG_NOSIGNAL);
			break;
		case IRQ:
			send_irq(arg);
			break;
		case TURN:
			turn();
			break;
		case FREEZE:
			frozen = true;
			break;
		case THAW:
			frozen = false;
			break;
		case READ:
			(void)!recv(client, drop, sizeof(drop), MSG_DONTWAIT);
			break;
		case SEND_MEMORY:
			if (n)
				send_with_fd(client, data, n, memory);
			break;
		case REFUSE:
			refuse = arg;
			break;
		}
		if (step <= SECOND_CLIENT || step == SEND_MEMORY) {
			data += n;
			size -= n;
		}
	}
	turn();
	close(client);
	if (second >= 0)
		close(second);
	frozen = false;
	refuse = 0;
	for (int idle = 0; idle < 3;) {
		idle = turn() ? 0 : idle + 1;
	}
	for (int i = 0; i < 2; i++) {
		CHECK(!funcs[i].session && !funcs[i].num_sessions);
		CHECK(!funcs[i].inflight_ops && !funcs[i].inflight_bytes);
		CHECK(!funcs[i].resetting && funcs[i].irq_fd < 0);
		CHECK(funcs[i].irq_mode == LAB_IRQ_NONE);
		CHECK(!funcs[i].maps && !funcs[i].num_maps && !funcs[i].dma_jobs);
		for (unsigned int k = 0; k < NUM_VECTORS; k++)
			CHECK(vectors[i][k].client < 0);
	}
	CHECK(!lab.sessions && !lab.dead_sessions && !lab.dma_first && !lab.letgo);
	for (unsigned int i = 0; i < LAB_MAX_DIMMS; i++)
		CHECK(!lab.dimms[i].refs && !lab.dimms[i].ready);
	memset(lab.dimms, 0,
	       LAB_MAX_DIMMS * sizeof(*lab.dimms)); /* what QEMU refused to give back */
	CHECK(lab.iommu.num_free + lab.iommu.num_limbo == tables);
	CHECK(count_fds() == fds);
	return 0;
}
