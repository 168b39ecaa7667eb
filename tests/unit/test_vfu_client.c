/* SPDX-License-Identifier: MIT */
/* The vfio-user client's accesses, against a server that behaves and one that does not. */
#include "fake_vfu.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <cmocka.h>

#define TIMEOUT_MS 300

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static unsigned int open_fds(void)
{
	unsigned int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* A session with @fake, as if it had been negotiated. */
static struct au_bus *adopt(struct fake *fake, bool multi)
{
	struct au_bus_session session = { .size = sizeof(session),
					  .transport = AU_BUS_VFIO_USER,
					  .max_data = 4096,
					  .max_fds = 1,
					  .write_multiple = multi,
					  .next_id = 0xfff0, /* ids wrap soon */
					  .flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
					  .timeout_ms = TIMEOUT_MS };
	struct au_bus *bus = NULL;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	fake_start(fake, pair[1]);
	assert_int_equal(au_vfu_adopt(pair[0], &session, "vfio-user:fake", &bus), 0);
	assert_non_null(bus);
	return bus;
}

static void finish(struct fake *fake, struct au_bus *bus)
{
	bus->ops->close(bus);
	fake_stop(fake);
}

static uint64_t get(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width)
{
	uint64_t value = 0;

	assert_int_equal(bus->ops->read(bus, region, offset, width, &value), 0);
	return value;
}

static void test_regions(void **state)
{
	struct fake fake;
	struct au_bus *bus;

	fake_init(&fake);
	bus = adopt(&fake, false);
	assert_int_equal(bus->regions[0].size, 8);
	assert_true(bus->regions[0].io);
	assert_int_equal(bus->regions[0].areas, 0);
	assert_int_equal(bus->regions[1].size, 0);
	assert_int_equal(bus->regions[7].size, 256);
	assert_int_equal(bus->regions[8].size, 0);
	assert_string_equal(bus->address, "vfio-user:fake");
	finish(&fake, bus);
}

static void test_access(void **state)
{
	struct fake fake;
	struct au_bus *bus;

	fake_init(&fake);
	bus = adopt(&fake, false);
	assert_int_equal(get(bus, 7, 0, 4), 0x00021b36);
	assert_int_equal(bus->ops->write(bus, 0, 4, 4, 0xa1b2c3d4u, false), 0);
	assert_int_equal(get(bus, 0, 4, 1), 0xd4);
	assert_int_equal(get(bus, 0, 6, 2), 0xa1b2);
	assert_int_equal(get(bus, 0, 4, 4), 0xa1b2c3d4u);
	assert_int_equal(bus->ops->write(bus, 0, 1, 1, 0x77, false), 0);
	assert_int_equal(fake.ports[1], 0x77);
	assert_int_equal(get(bus, 7, 0, 8), 0x0010000000021b36ull);
	finish(&fake, bus);
}

static void test_bounds(void **state)
{
	static const struct {
		unsigned int region;
		uint64_t offset;
		uint32_t width;
	} bad[] = {
		{ 0, 8, 1 },  { 0, 7, 2 }, { 0, UINT64_MAX, 1 },  { 0, UINT64_MAX - 1, 4 },
		{ 1, 0, 1 },  { 9, 0, 1 }, { 4000000000u, 0, 1 }, { 0, 0, 3 },
		{ 0, 0, 16 }, { 0, 0, 0 }, { 7, 256, 1 },
	};
	struct fake fake;
	struct au_bus *bus;
	uint8_t byte = 0;
	uint64_t value;
	unsigned int before;

	fake_init(&fake);
	bus = adopt(&fake, false);
	before = fake.messages;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		value = 0;
		assert_int_equal(
			bus->ops->read(bus, bad[i].region, bad[i].offset, bad[i].width, &value),
			-EINVAL);
		assert_true(value != 0 || bad[i].width == 0);
		assert_int_equal(
			bus->ops->write(bus, bad[i].region, bad[i].offset, bad[i].width, 0, true),
			-EINVAL);
	}
	assert_int_equal(bus->ops->read_rep8(bus, 0, 8, &byte, 1), -EINVAL);
	assert_int_equal(byte, 0xff);
	assert_int_equal(bus->ops->write_rep8(bus, 0, 8, &byte, 1), -EINVAL);
	assert_int_equal(get(bus, 7, 0, 1), 0x36);
	assert_int_equal(fake.messages, before + 1);
	finish(&fake, bus);
}

/* Posted writes wait, keep their order, and leave with what comes first. */
static void posted(bool multi)
{
	struct fake fake;
	struct au_bus *bus;
	unsigned int before;

	fake_init(&fake);
	bus = adopt(&fake, multi);
	before = fake.messages;
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(bus->ops->write(bus, 0, 1, 1, i, true), 0);
	assert_int_equal(bus->ops->write(bus, 0, 2, 1, 9, true), 0);
	assert_true(bus->pending);
	usleep(20000);
	assert_int_equal(fake.messages, before);
	assert_int_equal(get(bus, 0, 1, 1), 2);
	assert_false(bus->pending);
	assert_int_equal(fake.ports[2], 9);
	assert_int_equal(fake.messages, before + (multi ? 2 : 5));
	assert_int_equal(fake.no_reply, multi ? 1 : 4);
	/* a write that is not posted comes after them */
	bus->ops->write(bus, 0, 3, 1, 1, true);
	bus->ops->write(bus, 0, 3, 1, 2, false);
	assert_int_equal(fake.ports[3], 2);
	/* a flush */
	bus->ops->write(bus, 0, 3, 1, 5, true);
	au_bus_flush(bus);
	assert_false(bus->pending);
	for (unsigned int i = 0; i < 200 && fake.writes < 7; i++)
		usleep(1000);
	assert_int_equal(fake.ports[3], 5);
	/* so many that they have to leave by themselves */
	for (unsigned int i = 0; i < 5000; i++)
		assert_int_equal(bus->ops->write(bus, 0, 4, 1, i & 0xff, true), 0);
	assert_int_equal(get(bus, 0, 4, 1), 4999 & 0xff);
	assert_int_equal(fake.writes, 5007);
	assert_int_equal(fake.multis > 0, multi);
	finish(&fake, bus);
}

static void test_posted(void **state)
{
	posted(false);
}

static void test_posted_multi(void **state)
{
	posted(true);
}

static void repeated(bool multi)
{
	uint8_t out[1000], in[256];
	struct fake fake;
	struct au_bus *bus;
	unsigned int before;

	for (unsigned int i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7);
	fake_init(&fake);
	bus = adopt(&fake, multi);
	before = fake.messages;
	assert_int_equal(bus->ops->write_rep8(bus, 0, 0, out, 16), 0);
	assert_false(bus->pending);
	assert_int_equal(bus->ops->read_rep8(bus, 0, 0, in, 14), 0);
	assert_memory_equal(in, out, 14);
	assert_int_equal(get(bus, 0, 0, 1), out[14]);
	assert_int_equal(fake.messages, before + 15 + (multi ? 1 : 16));
	assert_int_equal(get(bus, 0, 0, 1), out[15]);
	assert_int_equal(bus->ops->write_rep8(bus, 0, 0, out, sizeof(out)), 0);
	for (unsigned int i = 0; i < 3; i++) {
		assert_int_equal(bus->ops->read_rep8(bus, 0, 0, in, 256), 0);
		assert_memory_equal(in, out + i * 256, 256);
	}
	assert_int_equal(bus->ops->read_rep8(bus, 0, 0, in, 0), 0);
	assert_int_equal(bus->ops->write_rep8(bus, 0, 0, out, 0), 0);
	assert_false(bus->gone);
	finish(&fake, bus);
}

static void test_repeated(void **state)
{
	repeated(false);
}

static void test_repeated_multi(void **state)
{
	repeated(true);
}

static void test_interrupt(void **state)
{
	struct fake fake;
	struct au_bus *bus;
	eventfd_t count;
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	fake_init(&fake);
	bus = adopt(&fake, false);
	bus->ops->write(bus, 0, 1, 1, 3, true); /* must not take the descriptor along */
	assert_int_equal(bus->ops->irq_set(bus, 0, &fd, 1), 0);
	assert_int_equal(eventfd_read(fd, &count), 0);
	assert_int_equal(bus->ops->irq_unmask(bus, 0), 0);
	get(bus, 7, 0, 4);
	assert_int_equal(fake.unmasks, 1);
	assert_int_equal(bus->ops->irq_set(bus, 0, NULL, 0), 0);
	assert_int_equal(fake.irq_fd, -1);
	assert_int_equal(fake.irq_sets, 2);
	assert_int_equal(bus->ops->irq_set(bus, 0, (int[]){ fd, fd }, 2), -EINVAL);
	assert_int_equal(bus->ops->irq_set(bus, 1, &fd, 1), -EINVAL);
	assert_int_equal(bus->ops->irq_set(bus, 3, &fd, 1), -ENOTSUP);
	assert_int_equal(bus->ops->irq_unmask(bus, 1), -ENOTSUP);
	assert_int_equal(bus->ops->reset(bus), 0);
	assert_int_equal(fake.resets, 1);
	assert_false(bus->gone);
	close(fd);
	finish(&fake, bus);
}

/* ------------------------------------------------------------- misbehaviour */

/* Once gone, everything fails at once, and reads are all-ones. */
static void assert_gone(struct au_bus *bus)
{
	struct pollfd wait = { .fd = bus->ops->wait_fd(bus), .events = POLLIN };
	uint64_t value = 0;
	uint8_t bytes[4] = { 0 };
	double begin = now();

	assert_true(bus->gone);
	assert_true(strlen(bus->why) > 10);
	assert_null(strchr(bus->why, '\n'));
	assert_false(bus->pending);
	for (uint32_t width = 1; width <= 8; width *= 2) {
		assert_int_equal(bus->ops->read(bus, 0, 0, width, &value), -ENODEV);
		assert_true(value == (width < 8 ? (1ull << 8 * width) - 1 : ~0ull));
	}
	assert_int_equal(bus->ops->write(bus, 0, 0, 1, 1, false), -ENODEV);
	assert_int_equal(bus->ops->write(bus, 0, 0, 1, 1, true), -ENODEV);
	assert_int_equal(bus->ops->write_rep8(bus, 0, 0, bytes, 4), -ENODEV);
	assert_int_equal(bus->ops->read_rep8(bus, 0, 0, bytes, 4), -ENODEV);
	assert_int_equal(bytes[3], 0xff);
	assert_int_equal(bus->ops->irq_set(bus, 0, NULL, 0), -ENODEV);
	assert_int_equal(bus->ops->irq_unmask(bus, 0), -ENODEV);
	assert_int_equal(bus->ops->reset(bus), -ENODEV);
	assert_int_equal(bus->ops->flush(bus), -ENODEV);
	bus->ops->attend(bus);
	assert_int_equal(poll(&wait, 1, 0), 1);
	assert_true(now() - begin < 100);
}

static const enum fake_mischief fatal[] = {
	FAKE_TINY,    FAKE_HUGE,     FAKE_SHORT, FAKE_HEADER_ONLY,   FAKE_LONG,
	FAKE_COUNT,   FAKE_WRONG_ID, FAKE_EXTRA, FAKE_WRONG_COMMAND, FAKE_WRONG_TYPE,
	FAKE_COMMAND, FAKE_HALF,     FAKE_EOF,	 FAKE_SILENT,	     FAKE_FLOOD,
};

/* One read; the reply is bad. */
static void test_fatal_read(void **state)
{
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
		unsigned int fds = open_fds();
		struct fake fake;
		struct au_bus *bus;
		uint64_t value = 0;
		double begin;

		fake_init(&fake);
		bus = adopt(&fake, false);
		fake.mischief = fatal[i];
		begin = now();
		/* A reply that comes twice is right the first time. */
		if (bus->ops->read(bus, 0, 1, 1, &value) == 0 && fatal[i] == FAKE_EXTRA)
			bus->ops->read(bus, 0, 1, 1, &value);
		assert_true(now() - begin < TIMEOUT_MS * 3);
		assert_int_equal(value, 0xff);
		if (!bus->gone)
			fail_msg("mischief %u was not noticed", fatal[i]);
		assert_gone(bus);
		finish(&fake, bus);
		assert_int_equal(open_fds(), fds);
	}
}

/* Fourteen reads at once, and a bad reply in the midst of them. */
static void test_fatal_pipeline(void **state)
{
	for (size_t i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++) {
		struct fake fake;
		struct au_bus *bus;
		uint8_t bytes[14] = { 0 };

		fake_init(&fake);
		bus = adopt(&fake, false);
		fake.mischief = fatal[i];
		assert_int_equal(bus->ops->read_rep8(bus, 0, 1, bytes, 14), -ENODEV);
		for (unsigned int j = 0; j < 14; j++)
			assert_int_equal(bytes[j], 0xff);
		assert_gone(bus);
		finish(&fake, bus);
	}
}

/* What looks odd and is none the less right. */
static void test_odd(void **state)
{
	static const enum fake_mischief odd[] = { FAKE_DMA, FAKE_DMA_BEHIND, FAKE_DRIP, FAKE_FDS };
	static const unsigned int dma[] = { 2, 1, 0, 0 };

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		unsigned int fds = open_fds();
		struct fake fake;
		struct au_bus *bus;

		fake_init(&fake);
		bus = adopt(&fake, false);
		fake.ports[1] = 0x5a;
		fake.mischief = odd[i];
		assert_int_equal(get(bus, 0, 1, 1), 0x5a);
		assert_int_equal(get(bus, 0, 1, 1), 0x5a);
		assert_int_equal(fake.dma_errors, dma[i]);
		assert_false(bus->gone);
		assert_string_equal(bus->why, "");
		finish(&fake, bus);
		assert_int_equal(open_fds(), fds);
	}
}

static void test_refused(void **state)
{
	struct fake fake;
	struct au_bus *bus;
	uint8_t bytes[4];
	uint64_t value;

	fake_init(&fake);
	bus = adopt(&fake, false);
	fake.mischief = FAKE_ERROR;
	assert_int_equal(bus->ops->read(bus, 0, 1, 2, &value), -EIO);
	assert_int_equal(value, 0xffff);
	fake.mischief = FAKE_ERROR;
	assert_int_equal(bus->ops->read_rep8(bus, 0, 1, bytes, 4), -EIO);
	assert_int_equal(bytes[0], 0xff);
	assert_int_equal(bytes[1], 0);
	assert_false(bus->gone);
	assert_int_equal(get(bus, 0, 1, 1), 0);
	finish(&fake, bus);
}

/* The server goes while nobody asks it anything. */
static void test_attend(void **state)
{
	struct fake fake;
	struct au_bus *bus;
	struct pollfd wait = { .events = POLLIN };

	fake_init(&fake);
	bus = adopt(&fake, false);
	wait.fd = bus->ops->wait_fd(bus);
	assert_int_equal(poll(&wait, 1, 20), 0);
	bus->ops->attend(bus);
	assert_false(bus->gone);
	fake_dma(&fake, VFU_DMA_READ);
	assert_int_equal(poll(&wait, 1, 1000), 1);
	/* The answer would end the fake, for it is no command: it is what is waited for. */
	bus->ops->attend(bus);
	assert_false(bus->gone);
	shutdown(fake.fd, SHUT_RDWR);
	assert_int_equal(poll(&wait, 1, 1000), 1);
	bus->ops->attend(bus);
	assert_gone(bus);
	finish(&fake, bus);
}

/* A server that is stopped: posted writes must not block for ever when its buffer is full. */
static void test_full(void **state)
{
	struct fake fake;
	struct au_bus *bus;
	double begin;
	int err = 0;

	fake_init(&fake);
	bus = adopt(&fake, false);
	bus->ops->write(bus, 0, 7, 1, 0xdd, true);
	bus->ops->flush(bus);
	begin = now();
	for (unsigned int i = 0; i < 100000 && !err; i++)
		err = bus->ops->write(bus, 0, 1, 1, i, true);
	assert_int_equal(err, -ENODEV);
	assert_true(now() - begin < TIMEOUT_MS * 3);
	assert_gone(bus);
	finish(&fake, bus);
}

/* ------------------------------------------------------------------ mapping */

struct sparse {
	struct vfio_info_cap_header header;
	uint32_t nr_areas, reserved;
	struct vfio_region_sparse_mmap_area areas[2];
};

/* What BAR 1 becomes when it is told of like this. */
static bool mapped(struct fake *fake, int fd, const struct sparse *sparse, uint32_t size,
		   uint32_t cap_offset)
{
	volatile uint32_t *at;
	struct au_bus *bus;
	bool is;

	fake->bar1_fd = fd;
	fake->bar1_extra_size = size;
	fake->bar1.argsz = (uint32_t)sizeof(fake->bar1) + size;
	fake->bar1.flags |= VFIO_REGION_INFO_FLAG_MMAP;
	fake->bar1.cap_offset = cap_offset;
	if (cap_offset)
		fake->bar1.flags |= VFIO_REGION_INFO_FLAG_CAPS;
	if (size)
		memcpy(fake->bar1_extra, sparse, size);
	bus = adopt(fake, false);
	assert_int_equal(bus->regions[1].size, fake->bar1.size);
	is = bus->regions[1].areas != 0;
	if (is && fake->bar1.size == 8192) {
		at = au_bus_mapped(&bus->regions[1], 4096, 4);
		*at = 0x12345678;
		bus->ops->write(bus, 0, 1, 1, 0, false);
		fake->mischief = FAKE_EOF;
		bus->ops->read(bus, 0, 1, 1, &(uint64_t){ 0 });
		assert_true(bus->gone);
		assert_int_equal(*at, 0xffffffff);
	}
	finish(fake, bus);
	return is;
}

static void setup_map(struct fake *fake)
{
	fake_init(fake);
	fake->bar1 = (struct vfio_region_info){ .index = 1, .size = 8192, .offset = 4096 };
}

static int memfd(size_t size, bool seal)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	if (seal)
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	return fd;
}

static void test_map(void **state)
{
	struct sparse whole = {
		{ VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0 }, 2, 0, { { 4096, 4096 }, { 0, 8192 } }
	};
	unsigned int fds = open_fds();
	int sealed = memfd(16384, true), loose = memfd(16384, false), small = memfd(8192, true);
	uint32_t word = 0;
	struct fake fake;

	setup_map(&fake);
	assert_true(mapped(&fake, sealed, NULL, 0, 0));
	assert_int_equal(pread(sealed, &word, 4, 8192), 4);
	assert_int_equal(word, 0x12345678);
	setup_map(&fake);
	assert_true(mapped(&fake, sealed, &whole, sizeof(whole), 32));
	setup_map(&fake);
	assert_false(mapped(&fake, -1, NULL, 0, 0));
	setup_map(&fake); /* the server could take it away again */
	assert_false(mapped(&fake, loose, NULL, 0, 0));
	setup_map(&fake); /* there is not so much of it */
	assert_false(mapped(&fake, small, NULL, 0, 0));
	setup_map(&fake);
	fake.bar1.size = 8000;
	assert_false(mapped(&fake, sealed, NULL, 0, 0));
	setup_map(&fake);
	fake.bar1.offset = 0x7ffffffffffff000ull;
	assert_false(mapped(&fake, sealed, NULL, 0, 0));
	setup_map(&fake);
	fake.bar1.size = 1ull << 62;
	assert_false(mapped(&fake, sealed, NULL, 0, 0));
	whole.areas[1].size = 4096; /* parts */
	setup_map(&fake);
	assert_true(mapped(&fake, sealed, &whole, sizeof(whole), 32));
	whole.areas[0].size = 8192; /* more than there is */
	setup_map(&fake);
	fake.bar1.size = 4096;
	assert_false(mapped(&fake, loose, &whole, 0, 0));
	close(sealed);
	close(loose);
	close(small);
	assert_int_equal(open_fds(), fds);
}

/* Capabilities that lead astray. */
static void test_map_hostile(void **state)
{
	static const struct {
		uint32_t cap_offset, size, next, areas;
	} bad[] = {
		{ 16, 56, 0, 2 },		    /* in the info itself */
		{ 4, 56, 0, 2 },  { 88, 56, 0, 2 }, /* behind the end */
		{ 85, 56, 0, 2 }, { 0xfffffff8, 56, 0, 2 },  { 32, 8, 0, 0 }, /* cut short */
		{ 32, 56, 0, 3 }, { 32, 56, 0, 0xffffffff },
	};
	struct au_bus_session session = { .size = sizeof(session),
					  .transport = AU_BUS_VFIO_USER,
					  .max_data = 4096,
					  .timeout_ms = TIMEOUT_MS };
	struct sparse sparse = {
		{ VFIO_REGION_INFO_CAP_SPARSE_MMAP, 1, 0 }, 2, 0, { { 0, 8192 }, { 0, 8192 } }
	};
	int sealed = memfd(16384, true);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]) + 2; i++) {
		unsigned int fds = open_fds();
		struct fake fake;
		struct au_bus *bus = NULL;
		int pair[2];

		setup_map(&fake);
		fake.bar1_fd = sealed;
		fake.bar1.flags = VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
		fake.bar1.argsz = 88;
		fake.bar1.cap_offset = 32;
		fake.bar1_extra_size = sizeof(sparse);
		sparse.header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
		sparse.nr_areas = 2;
		if (i < sizeof(bad) / sizeof(bad[0])) {
			fake.bar1.cap_offset = bad[i].cap_offset;
			fake.bar1_extra_size = bad[i].size;
			sparse.nr_areas = bad[i].areas;
		} else { /* a loop, and one that goes back */
			sparse.header.id = 99;
			sparse.header.next = i % 2 ? 32 : 8;
		}
		memcpy(fake.bar1_extra, &sparse, sizeof(sparse));
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		fake_start(&fake, pair[1]);
		assert_int_equal(au_vfu_adopt(pair[0], &session, "x", &bus), -EPROTO);
		fake_stop(&fake);
		assert_int_equal(open_fds(), fds);
	}
	close(sealed);
}

static void test_session(void **state)
{
	struct au_bus_session good = { .size = sizeof(good),
				       .transport = AU_BUS_VFIO_USER,
				       .max_data = 4096 };
	struct au_bus_session bad;
	struct au_bus *bus;
	unsigned int fds = open_fds();
	int pair[2];

	assert_int_equal(au_vfu_adopt(-1, &good, "x", &bus), -EINVAL);
	assert_int_equal(au_vfu_adopt(eventfd(0, 0), &good, "x", &bus), -EINVAL);
	assert_int_equal(au_vfu_adopt(socket(AF_UNIX, SOCK_DGRAM, 0), &good, "x", &bus), -EINVAL);
	for (unsigned int i = 0; i < 4; i++) {
		bad = good;
		if (i == 0)
			bad.size = 8;
		if (i == 1)
			bad.transport = 7;
		if (i == 2)
			bad.max_data = 4;
		if (i == 3)
			bad.timeout_ms = 0xffffffff;
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		assert_int_equal(au_vfu_adopt(pair[0], &bad, "x", &bus), -EINVAL);
		close(pair[1]);
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	close(pair[1]);
	assert_int_equal(au_vfu_adopt(pair[0], &good, "x", &bus), -ECONNRESET);
	assert_int_equal(open_fds(), fds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_regions),
		cmocka_unit_test(test_access),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_posted),
		cmocka_unit_test(test_posted_multi),
		cmocka_unit_test(test_repeated),
		cmocka_unit_test(test_repeated_multi),
		cmocka_unit_test(test_interrupt),
		cmocka_unit_test(test_fatal_read),
		cmocka_unit_test(test_fatal_pipeline),
		cmocka_unit_test(test_odd),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_attend),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_map),
		cmocka_unit_test(test_map_hostile),
		cmocka_unit_test(test_session),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
