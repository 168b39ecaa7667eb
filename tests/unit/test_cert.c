/* SPDX-License-Identifier: MIT */
/*
 * What clients of `auriga verify` know: a disk and a line that lie in every way that matters, and
 * each lie is seen; and what only looks like one is none. The library is played by this file.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "auriga/block.h"
#include "auriga/serial.h"
#include "cli/cert_client.h"

#define DISK_BYTES (4u << 20)

static struct cert_client client;
static char client_data[CERT_DEPTH * CERT_BUFFER];

/* The disk. */
static char disk_now[DISK_BYTES];

/* The line: what will be received, and what is reported. */
static uint8_t wire[1 << 20];
static size_t wire_head, wire_tail;
static struct au_serial_counters counters;

/* ----------------------------------------------------- the library, and the process */

uint64_t cert_now_ms(void)
{
	static uint64_t now;

	return ++now;
}

uint64_t cert_random(struct cert_client *c, uint64_t below)
{
	c->random = c->random * 6364136223846793005u + 1442695040888963407u;
	return below ? (c->random >> 33) % below : 0;
}

void cert_wrong(struct cert_client *c, uint64_t *counter, const char *fmt, ...)
{
	(*counter)++;
}

const char *au_errmsg(void)
{
	return "";
}

int au_block_info(struct au_handle *h, struct au_block_info *info)
{
	info->bytes = DISK_BYTES;
	info->block_size = 512;
	info->flags = AU_BLOCK_CACHE | AU_BLOCK_CAN_ZERO | AU_BLOCK_CAN_DISCARD;
	return 0;
}

int au_block_read(struct au_handle *h, uint64_t offset, void *data, size_t length)
{
	memcpy(data, disk_now + offset, length);
	return 0;
}

int au_wait(struct au_handle *h, struct au_io *io)
{
	memcpy(io->data, disk_now + io->arg[0], io->length);
	io->status = 0;
	io->result = io->length;
	return 0;
}

int au_serial_set_line(struct au_handle *h, const struct au_serial_line *line)
{
	return 0;
}

int au_serial_purge(struct au_handle *h, uint32_t what)
{
	return 0;
}

int au_serial_get_counters(struct au_handle *h, struct au_serial_counters *to)
{
	*to = counters;
	return 0;
}

int64_t au_serial_send(struct au_handle *h, const void *data, size_t length, int timeout_ms)
{
	return -EIO;
}

int64_t au_serial_recv(struct au_handle *h, void *data, size_t length, size_t min, int timeout_ms)
{
	size_t n = wire_head - wire_tail < length ? wire_head - wire_tail : length;

	if (!n)
		return -ETIMEDOUT;
	memcpy(data, wire + wire_tail, n);
	wire_tail += n;
	return (int64_t)n;
}

/* -------------------------------------------------------------------------- disks */

static void begin(const struct cert_class *class)
{
	free(client.own);
	memset(&client, 0, sizeof(client));
	memset(&counters, 0, sizeof(counters));
	wire_head = wire_tail = 0;
	client.class = class;
	client.random = 1;
	client.options.parts = 1;
	client.data = client_data;
	for (unsigned int i = 0; i < CERT_DEPTH; i++) {
		client.jobs[i].client = &client;
		client.jobs[i].index = i;
	}
	assert_int_equal(class->begin(&client), 0);
}

static struct cert_job *fill(unsigned int index)
{
	struct cert_job *job = &client.jobs[index];

	job->io = (struct au_io){ .data = client_data + (size_t)index * CERT_BUFFER };
	return client.class->fill(&client, job) ? job : NULL;
}

/* Do to the disk what a request says. */
static void disk_do(const struct au_io *io)
{
	if (io->op == AU_BLOCK_WRITE)
		memcpy(disk_now + io->arg[0], io->data, io->length);
	else if (io->op == AU_BLOCK_READ)
		memcpy(io->data, disk_now + io->arg[0], io->length);
	else if (io->op == AU_BLOCK_WRITE_ZEROES || io->op == AU_BLOCK_DISCARD)
		memset(disk_now + io->arg[0], 0, io->arg[1]);
}

static void disk_finish(struct cert_job *job, int status)
{
	job->io.status = status;
	job->io.result = status ? 0 : job->io.length;
	client.class->done(&client, job);
}

/* @count requests that go well. */
static void disk_run(unsigned int count)
{
	while (count--) {
		struct cert_job *job = fill(count % CERT_DEPTH);

		if (!job)
			continue;
		disk_do(&job->io);
		disk_finish(job, 0);
	}
}

/* The next write of a request that is one. */
static struct cert_job *disk_write(unsigned int index)
{
	for (;;) {
		struct cert_job *job = fill(index);

		assert_non_null(job);
		if (job->io.op == AU_BLOCK_WRITE)
			return job;
		disk_do(&job->io);
		disk_finish(job, 0);
	}
}

static void test_good_disk(void **state)
{
	begin(&cert_block);
	disk_run(20000);
	assert_true(client.class->quiet(&client));
	assert_int_equal(client.wrong, 0);
	assert_int_equal(client.errors, 0);
}

static void test_lost_write(void **state)
{
	begin(&cert_block);
	disk_run(2000);
	disk_finish(disk_write(0), 0); /* said to be done, and not done */
	client.class->quiet(&client);
	assert_true(client.wrong > 0);
}

static void test_old_write(void **state)
{
	static char old[CERT_BUFFER];
	uint64_t offset;
	struct cert_job *job;

	begin(&cert_block);
	disk_run(2000);
	job = disk_write(0);
	offset = job->io.arg[0];
	disk_do(&job->io);
	disk_finish(job, 0);
	memcpy(old, disk_now + offset, 4096);
	/* Until something else is there. */
	while (memcmp(old, disk_now + offset, 4096) == 0)
		disk_run(10);
	memcpy(disk_now + offset, old, 4096);
	client.class->quiet(&client);
	assert_true(client.wrong > 0);
}

static void test_misdirected_write(void **state)
{
	begin(&cert_block);
	disk_run(4000);
	memcpy(disk_now + 8192, disk_now + 65536, 512);
	client.class->quiet(&client);
	assert_true(client.wrong > 0);
}

static void test_read_that_reads_nothing(void **state)
{
	begin(&cert_block);
	disk_run(4000);
	for (unsigned int i = 0; i < 100 && !client.wrong; i++) {
		struct cert_job *job = fill(0);

		if (job->io.op != AU_BLOCK_READ)
			disk_do(&job->io);
		disk_finish(job, 0);
	}
	assert_true(client.wrong > 0);
}

/* Cancelled: not there, there, or a part of it. */
static void test_cancelled_writes(void **state)
{
	begin(&cert_block);
	disk_run(4000);
	for (unsigned int i = 0; i < 300; i++) {
		struct cert_job *job = disk_write(0);

		if (i % 3 == 1)
			disk_do(&job->io);
		else if (i % 3 == 2)
			memcpy(disk_now + job->io.arg[0] + 512, (char *)job->io.data + 512, 512);
		disk_finish(job, -ECANCELED);
		disk_run(20);
		assert_int_equal(client.wrong, 0);
	}
	client.class->quiet(&client);
	assert_int_equal(client.wrong, 0);
}

/* But a neighbour must not suffer by it. */
static void test_cancelled_write_elsewhere(void **state)
{
	struct cert_job *job;

	begin(&cert_block);
	disk_run(4000);
	job = disk_write(0);
	memcpy(disk_now + (job->io.arg[0] ? 0 : 524288), job->io.data, 512);
	disk_finish(job, -ECANCELED);
	client.class->quiet(&client);
	assert_true(client.wrong > 0);
}

/* Pulled out: what was on its way may have left anything. */
static void test_pulled_out(void **state)
{
	struct cert_job *job;

	begin(&cert_block);
	disk_run(4000);
	job = disk_write(0);
	memset(disk_now + job->io.arg[0], 0x55, job->io.length);
	client.gone = true;
	disk_finish(job, -ENODEV);
	client.gone = false;
	assert_int_equal(client.class->begin(&client), 0);
	client.class->quiet(&client);
	assert_int_equal(client.wrong, 0);
}

/* ---------------------------------------------------------------------- serial lines */

/* Everything that is sent comes back, but for @lose of each @of bytes from the 1,000th on. */
static void line_run(unsigned int rounds, size_t lose, size_t again)
{
	for (unsigned int i = 0; i < rounds; i++) {
		struct cert_job *job = fill(1);
		size_t n;

		if (job && job->io.op == AU_SERIAL_SEND) {
			memcpy(wire + wire_head, job->io.data, job->io.length);
			wire_head += job->io.length;
			if (lose && i == rounds / 2)
				wire_head -= lose;
			if (again && i == rounds / 2) {
				memcpy(wire + wire_head, wire + wire_head - again, again);
				wire_head += again;
			}
			job->io.result = job->io.length;
			client.class->done(&client, job);
		}
		job = fill(0);
		n = wire_head - wire_tail < job->io.length ? wire_head - wire_tail : job->io.length;
		n = cert_random(&client, n + 1);
		memcpy(job->io.data, wire + wire_tail, n);
		wire_tail += n;
		job->io.result = (uint32_t)n;
		if (n)
			client.class->done(&client, job);
	}
}

static void test_good_line(void **state)
{
	begin(&cert_serial);
	line_run(2000, 0, 0);
	assert_true(client.class->quiet(&client));
	assert_int_equal(client.wrong + client.missing, 0);
	assert_true(client.class->progress(&client) > 100000);
	/* And on from there. */
	line_run(2000, 0, 0);
	assert_true(client.class->quiet(&client));
	assert_int_equal(client.wrong + client.missing, 0);
}

static void test_reported_loss(void **state)
{
	begin(&cert_serial);
	counters.rx_uncertain = 0;
	line_run(2000, 9, 0);
	counters.rx_uncertain = 16;
	assert_true(client.class->quiet(&client));
	assert_int_equal(client.wrong + client.missing, 0);
}

static void test_loss_that_nobody_reports(void **state)
{
	begin(&cert_serial);
	line_run(2000, 9, 0);
	counters.tx_uncertain = 8;
	client.class->quiet(&client);
	assert_int_equal(client.wrong, 0);
	assert_int_equal(client.missing, 1);
}

static void test_loss_at_the_end(void **state)
{
	begin(&cert_serial);
	line_run(1000, 0, 0);
	wire_head -= wire_head - wire_tail > 5 ? 5 : wire_head - wire_tail;
	line_run(1, 0, 0);
	wire_head = wire_tail;
	client.class->quiet(&client);
	assert_int_equal(client.missing, 1);
}

static void test_bytes_that_come_twice(void **state)
{
	begin(&cert_serial);
	line_run(2000, 0, 30);
	client.class->quiet(&client);
	assert_true(client.wrong > 0);
}

static void test_bytes_of_nobody(void **state)
{
	begin(&cert_serial);
	line_run(1000, 0, 0);
	memset(wire + wire_head, 'x', 200);
	wire_head += 200;
	line_run(1000, 0, 0);
	client.class->quiet(&client);
	assert_true(client.wrong > 0);
}

static void test_cancelled_send(void **state)
{
	struct cert_job *job;

	begin(&cert_serial);
	line_run(1000, 0, 0);
	do
		job = fill(1);
	while (!job);
	memcpy(wire + wire_head, job->io.data, 7);
	wire_head += 7;
	job->io.status = -ECANCELED;
	job->io.result = 7;
	client.class->done(&client, job);
	line_run(1000, 0, 0);
	assert_true(client.class->quiet(&client));
	assert_int_equal(client.wrong + client.missing, 0);
}

/* What is there of before does not count. */
static void test_leftovers(void **state)
{
	begin(&cert_serial);
	for (unsigned int i = 0; i < 3000; i++)
		wire[wire_head++] = (uint8_t)(i * 31);
	line_run(2000, 0, 0);
	assert_true(client.class->quiet(&client));
	assert_int_equal(client.wrong + client.missing, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_disk),
		cmocka_unit_test(test_lost_write),
		cmocka_unit_test(test_old_write),
		cmocka_unit_test(test_misdirected_write),
		cmocka_unit_test(test_read_that_reads_nothing),
		cmocka_unit_test(test_cancelled_writes),
		cmocka_unit_test(test_cancelled_write_elsewhere),
		cmocka_unit_test(test_pulled_out),
		cmocka_unit_test(test_good_line),
		cmocka_unit_test(test_reported_loss),
		cmocka_unit_test(test_loss_that_nobody_reports),
		cmocka_unit_test(test_loss_at_the_end),
		cmocka_unit_test(test_bytes_that_come_twice),
		cmocka_unit_test(test_bytes_of_nobody),
		cmocka_unit_test(test_cancelled_send),
		cmocka_unit_test(test_leftovers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
