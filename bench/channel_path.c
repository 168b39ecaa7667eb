/* SPDX-License-Identifier: MIT */
/*
 * What a request costs from au_submit() through the channel's rings, the framework and the driver
 * "echo" and back to done(): client and host in one thread, which takes turns, so that nobody
 * spins. channel_path [REQUESTS [BATCH]]. Under callgrind, instructions per request are those of
 * the_requests() inclusive, less the_callback(); bench/callgrind.sh does the sum.
 */
#include "base/module.h"
#include "base/note.h"
#include "base/os.h"
#include "base/paths.h"
#include "channel/server_end.h"
#include "client/handle.h"
#include "framework/framework.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define DEPTH 128u

static struct au_io ios[DEPTH];
static unsigned int completions;

static void __attribute__((noinline)) the_callback(struct au_io *io)
{
	completions++;
}

static void __attribute__((noinline)) the_client_submits(struct au_handle *h, unsigned int batch)
{
	for (unsigned int i = 0; i < batch; i++) {
		if (au_submit(h, &ios[i]) != 0)
			abort();
	}
	au_flush(h);
}

static void __attribute__((noinline)) the_host_polls(struct au_lane *lane)
{
	while (auf_lane_poll(lane) != 0)
		;
}

static void __attribute__((noinline)) the_client_polls(struct au_handle *h, unsigned int batch)
{
	for (unsigned int done = 0; done < batch;) {
		int n = au_poll(h, 0, 0);

		if (n <= 0)
			abort();
		done += (unsigned int)n;
	}
}

static void __attribute__((noinline))
the_requests(struct au_handle *h, struct au_lane *lane, unsigned long count, unsigned int batch)
{
	for (unsigned long i = 0; i < count; i += batch) {
		the_client_submits(h, batch);
		the_host_polls(lane);
		the_client_polls(h, batch);
	}
}

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "channel_path: %s\n", what);
	exit(1);
}

static void *memory(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (mem == MAP_FAILED)
		fail("no memory");
	return mem;
}

static struct au_device *start(struct au_lane *lane, struct au_module *module)
{
	char path[AU_PATH_MAX], error[256];
	static struct au_note note;
	struct au_device *dev;

	if (au_driver_find("echo", path, error, sizeof(error)) != 0 ||
	    au_note_read(path, &note, error, sizeof(error)) != 0 ||
	    au_module_load(path, module, error, sizeof(error)) != 0)
		fail(error);
	const struct auf_device_config config = { .name = "echo0",
						  .driver = &module->driver,
						  .note = &note,
						  .lane = lane,
						  .generation = 1,
						  .from = AU_POWER_OFF };
	if (auf_device_create(&config, &dev, error, sizeof(error)) != 0 ||
	    auf_device_start(dev) != 0)
		fail("the device does not start");
	return dev;
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000000;
	unsigned int batch = argc > 2 ? (unsigned int)strtoul(argv[2], NULL, 10) : 32;
	struct au_wire_layout layout;
	static const struct handle_ops ops = { .submit = chan_handle_submit,
					       .flush = chan_handle_flush,
					       .event_seen = chan_handle_event_seen };
	struct au_handle h = { .owner = client_self(), .thread = client_self(), .ops = &ops };
	struct au_chan_server *server;
	struct au_module module;
	struct au_device *dev;
	struct au_lane *lane;
	uint64_t begin;
	int bell[2];

	if (batch == 0 || batch > DEPTH || au_wire_layout(DEPTH, &layout) != 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, bell) != 0 ||
	    auf_lane_create(AUF_RUNNER_APP, 0, 0, NULL, &lane) != 0)
		fail("cannot start");
	dev = start(lane, &module);
	const struct au_chan_server_config config = {
		.lane = lane,
		.unit = auf_device_unit(dev, 0),
		.rings = memory(layout.size),
		.pool = memory(DEPTH * 64),
		.doorbell = bell[1],
		.depth = DEPTH,
		.buffer_size = 64,
		.generation = 1,
	};
	if (au_chan_server_open(&config, &server) != 0 || au_chan_create(DEPTH, 64, &h.chan) != 0)
		fail("no channel");
	au_chan_attach(h.chan, &(struct au_chan_link){ .rings = config.rings,
						       .pool = config.pool,
						       .doorbell = bell[0],
						       .generation = 1 });
	for (unsigned int i = 0; i < DEPTH; i++)
		ios[i] = (struct au_io){ .op = 16, .done = the_callback };
	begin = au_os_now_ns();
	the_requests(&h, lane, count, batch);
	printf("%.1f ns a request, both sides\n",
	       (double)(au_os_now_ns() - begin) / (double)completions);
	au_chan_server_close(server);
	au_chan_destroy(h.chan);
	auf_device_stop(dev);
	auf_device_destroy(dev);
	auf_lane_destroy(lane);
	au_module_unload(&module);
	return 0;
}
