/* SPDX-License-Identifier: MIT */
/*
 * What a request costs between auf_submit() and complete(), with the driver "echo" on a lane that
 * the caller runs: framework_path [REQUESTS]. Under callgrind, instructions per request are those
 * of auf_submit() inclusive, less the_completion().
 */
#include "base/module.h"
#include "base/note.h"
#include "base/os.h"
#include "base/paths.h"
#include "framework/framework.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t completions;

static void __attribute__((noinline))
the_completion(struct auf_handle *handle, int status, uint32_t result, uint16_t device_status,
	       uint32_t slot, uint64_t tag)
{
	completions++;
}

static void __attribute__((noinline))
the_requests(struct au_lane *lane, struct auf_handle *handle, unsigned long count)
{
	static struct auf_progress progress;
	const struct auf_submit submit = { .op = 16, .length = 1, .progress = &progress };

	for (unsigned long i = 0; i < count; i++) {
		auf_submit(handle, (uint32_t)i % 32, &submit);
		if (i % 32 == 31)
			auf_lane_poll(lane);
	}
}

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "framework_path: %s\n", what);
	exit(1);
}

int main(int argc, char **argv)
{
	unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000000;
	const struct auf_handle_config handle_config = { .depth = 32, .complete = the_completion };
	char path[AU_PATH_MAX], error[256] = "lane";
	struct auf_handle *handle = NULL;
	struct au_module module;
	struct au_device *dev;
	struct au_lane *lane;
	struct au_note note;
	uint64_t start;

	if (auf_lane_create(AUF_RUNNER_APP, 0, 0, NULL, &lane) != 0 ||
	    au_driver_find("echo", path, error, sizeof(error)) != 0 ||
	    au_note_read(path, &note, error, sizeof(error)) != 0 ||
	    au_module_load(path, &module, error, sizeof(error)) != 0)
		fail(error);
	const struct auf_device_config config = { .name = "echo0",
						  .driver = &module.driver,
						  .note = &note,
						  .lane = lane,
						  .generation = 1,
						  .from = AU_POWER_OFF };
	if (auf_device_create(&config, &dev, error, sizeof(error)) != 0)
		fail(error);
	if (auf_device_start(dev) != 0 ||
	    auf_handle_open(auf_device_unit(dev, 0), &handle_config, &handle) != 0)
		fail("cannot start");
	start = au_os_now_ns();
	the_requests(lane, handle, count);
	printf("%.1f ns a request\n", (double)(au_os_now_ns() - start) / (double)count);
	if (completions != count)
		fail("requests are missing");
	auf_handle_close(handle, NULL, NULL);
	auf_device_stop(dev);
	auf_device_destroy(dev);
	auf_lane_destroy(lane);
	au_module_unload(&module);
	return 0;
}
