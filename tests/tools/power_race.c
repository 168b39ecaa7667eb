/* SPDX-License-Identifier: MIT */
/*
 * power_race - an application for tests: sends one request at a time, each about as long after the
 * last as the device's idle time is, so that it meets the device at every step of its way down.
 *
 * usage: power_race UNIT COUNT IDLE_US SPREAD_US SEED
 *	the pause is IDLE_US, give or take SPREAD_US
 *
 * A disk is read from, after it was written to; a raw unit is t-echo's. What comes back is checked.
 * It writes "open" when it is, and at its end one line of JSON.
 */
#include <auriga/auriga.h>
#include <auriga/block.h>
#include <auriga/raw.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BYTES  4096u
#define BLOCKS 64u

static struct {
	uint64_t random;
	unsigned long requests, errors, mismatches;
	uint64_t worst_us, total_us;
	int error;
	unsigned char data[BYTES];
} race;

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t random_below(uint64_t end)
{
	race.random = race.random * 6364136223846793005ull + 1442695040888963407ull;
	return (race.random >> 33) % end;
}

static void fill(uint64_t block)
{
	for (unsigned int i = 0; i < BYTES; i += 8) {
		uint64_t word = block * 0x9e3779b97f4a7c15ull + i;

		memcpy(race.data + i, &word, 8);
	}
}

static int call(struct au_handle *handle, uint16_t op, uint64_t arg, uint32_t length)
{
	struct au_io io = { .op = op, .data = race.data, .length = length, .arg = { arg } };

	return au_wait(handle, &io);
}

static int prepare(struct au_handle *handle)
{
	int err = 0;

	for (uint64_t block = 0; block < BLOCKS && !err; block++) {
		fill(block);
		err = call(handle, AU_BLOCK_WRITE, block * BYTES, BYTES);
	}
	return err;
}

static void one(struct au_handle *handle, bool disk)
{
	static unsigned char expected[BYTES];
	uint64_t block = random_below(BLOCKS), begin;
	uint32_t length = disk ? BYTES : 64;
	int err;

	fill(block);
	for (unsigned int i = 0; i < BYTES; i++)
		expected[i] = disk ? race.data[i] : (unsigned char)~race.data[i];
	if (disk)
		memset(race.data, 0, BYTES);
	begin = now_us();
	err = call(handle, disk ? AU_BLOCK_READ : AU_RAW_FIRST, disk ? block * BYTES : 0, length);
	begin = now_us() - begin;
	race.requests++;
	race.total_us += begin;
	if (begin > race.worst_us)
		race.worst_us = begin;
	if (err) {
		race.errors++;
		race.error = err;
	} else if (memcmp(race.data, expected, length) != 0) {
		race.mismatches++;
	}
}

int main(int argc, char **argv)
{
	struct au_open_options options = {
		.size = sizeof(options), .abi = AU_CLIENT_ABI, .depth = 2, .buffer_size = BYTES
	};
	unsigned long count, idle_us, spread_us;
	struct au_handle *handle;
	bool disk;

	if (argc != 6)
		return 2;
	count = strtoul(argv[2], NULL, 10);
	idle_us = strtoul(argv[3], NULL, 10);
	spread_us = strtoul(argv[4], NULL, 10);
	race.random = strtoul(argv[5], NULL, 10);
	if (au_open(argv[1], &options, &handle) != 0) {
		fprintf(stderr, "%s\n", au_errmsg());
		return 1;
	}
	printf("open\n");
	fflush(stdout);
	disk = strcmp(au_unit_class(handle), "block") == 0;
	if (disk && prepare(handle) != 0)
		return 1;
	for (unsigned long i = 0; i < count && !race.errors; i++) {
		uint64_t pause = idle_us - spread_us + random_below(2 * spread_us + 1);
		const struct timespec t = { (time_t)(pause / 1000000),
					    (long)(pause % 1000000) * 1000 };

		nanosleep(&t, NULL);
		one(handle, disk);
	}
	printf("{\"requests\": %lu, \"errors\": %lu, \"error\": %d, \"mismatches\": %lu, "
	       "\"mean_us\": %llu, \"worst_us\": %llu, \"generation\": %u}\n",
	       race.requests, race.errors, race.error, race.mismatches,
	       (unsigned long long)(race.requests ? race.total_us / race.requests : 0),
	       (unsigned long long)race.worst_us, au_generation(handle));
	au_close(handle);
	return 0;
}
