/* SPDX-License-Identifier: MIT */
/*
 * What a vfio-user server may answer.
 *
 * The first byte says what the client does (low two bits) and what the answers are: raw pieces,
 * "length" and its bytes, or (bit 2) messages, "command, flags, length" and a payload, that get
 * their header and the right id from here; command 0 leaves out "length" ids, those of commands
 * that get no reply. A flag of 0x80 sends one together with the next. Bit 3: a sealed memfd comes
 * with each of them; bit 4: the server knows WRITE_MULTI.
 *
 * All answers wait in a socket that keeps them apart, so that the client finds one at a time as if
 * the server had answered just then. Then comes the end.
 */
#include "../tests/unit/send_fd.h"
#include "bus/vfu.h"

#include <fcntl.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define FUZZ_PIECE  4096
#define FUZZ_REGION 8192

static void answer(int fd, const uint8_t *bytes, size_t size, int memory)
{
	if (size)
		send_fd(fd, bytes, size, memory, MSG_DONTWAIT);
}

static void answer_pieces(int fd, const uint8_t *data, size_t size, int memory)
{
	size_t length;

	while (size > 1) {
		length = data[0] < size - 1 ? data[0] : size - 1;
		answer(fd, data + 1, length, memory);
		data += 1 + length;
		size -= 1 + length;
	}
}

static void answer_messages(int fd, const uint8_t *data, size_t size, int memory)
{
	static uint8_t piece[FUZZ_PIECE];
	struct vfu_header header = { 0 };
	size_t length = 0, payload;

	while (size >= 3) {
		if (data[0] == 0) {
			header.id = (uint16_t)(header.id + data[2]);
			data += 3;
			size -= 3;
			continue;
		}
		payload = data[2] < size - 3 ? data[2] : size - 3;
		header.command = data[0];
		header.flags = data[1] & 0x7f;
		header.size = (uint32_t)(sizeof(header) + payload);
		memcpy(piece + length, &header, sizeof(header));
		memcpy(piece + length + sizeof(header), data + 3, payload);
		length += header.size;
		if (!(data[1] & 0x80) || sizeof(piece) - length < sizeof(header) + 255) {
			answer(fd, piece, length, memory);
			length = 0;
		}
		/* commands of the server have ids of their own */
		header.id = (uint16_t)(header.id + ((header.flags & VFU_TYPE_MASK) == VFU_REPLY));
		data += 3 + payload;
		size -= 3 + payload;
	}
}

/* Everything that can be asked; whatever comes back, the rules of bus.h hold. */
static void use(struct au_bus *bus)
{
	uint8_t bytes[64];
	uint64_t value;
	uint32_t ids, class_code;
	int err = bus->ops->read(bus, 0, 1, 4, &value), fd;

	if ((err && value != 0xffffffff) || value > 0xffffffff)
		abort();
	memset(bytes, 0, sizeof(bytes));
	if (bus->ops->read_rep8(bus, 0, 0, bytes, 5) == -ENODEV && (bytes[0] & bytes[4]) != 0xff)
		abort();
	bus->ops->write(bus, 0, 2, 2, 7, true);
	bus->ops->write_rep8(bus, 0, 0, bytes, sizeof(bytes));
	bus->ops->write(bus, 0, 2, 2, 7, true);
	bus->ops->write(bus, 0, 3, 1, 7, false);
	au_pci_ids(bus, &ids, &class_code);
	au_pci_capability(bus, 0x10);
	au_pci_enable(bus, true, true, true);
	fd = bus->ops->wait_fd(bus);
	bus->ops->irq_set(bus, 0, &fd, 1);
	bus->ops->dma_map(bus, 0x100000, 4096, NULL, fd, 0);
	bus->ops->dma_unmap(bus, 0x100000, 4096);
	bus->ops->irq_unmask(bus, 0);
	bus->ops->reset(bus);
	/* More than once: the end comes behind what is left. */
	for (unsigned int i = 0; i < 8; i++)
		bus->ops->attend(bus);
	if (bus->gone != (bus->why[0] != '\0') || (bus->gone && bus->pending))
		abort();
	for (unsigned int i = 0; i < AU_BUS_REGIONS; i++)
		for (unsigned int j = 0; j < bus->regions[i].areas; j++)
			value += *((volatile uint8_t *)bus->regions[i].area[j].base +
				   bus->regions[i].area[j].size - 1);
}

static void run(unsigned int what, int fd, bool multi)
{
	struct au_bus_session session;
	struct vfu *vfu = vfu_new(fd, 2000);

	if (!vfu)
		abort();
	vfu->multi_max = multi ? VFU_MULTI_MAX : 0;
	vfu->flags = VFIO_DEVICE_FLAGS_RESET;
	if (what == 1)
		vfu->deadline_ms = vfu_now_ms() + 2000;
	if (what == 1 && vfu_start(vfu, &session) == 0 &&
	    (session.max_data < 8 || session.max_fds > VFU_FDS_MAX))
		abort();
	if (what == 2) {
		for (uint32_t i = 0; i < AU_BUS_REGIONS; i++)
			vfu_region(vfu, i, true);
		au_pci_bars(&vfu->bus);
	} else {
		vfu->bus.regions[0].size = 8;
		vfu->bus.regions[AU_BUS_REGION_CONFIG].size = 256;
	}
	use(&vfu->bus);
	vfu_free(vfu);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int memory = -1;
	unsigned int how;
	int pair[2];

	if (size < 1)
		return 0;
	if (memory < 0) {
		memory = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (ftruncate(memory, FUZZ_REGION) || fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK))
			abort();
	}
	how = data[0];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		abort();
	(how & 4 ? answer_messages : answer_pieces)(pair[1], data + 1, size - 1,
						    how & 8 ? memory : -1);
	shutdown(pair[1], SHUT_WR);
	run(how & 3, pair[0], how & 16);
	close(pair[1]);
	return 0;
}
