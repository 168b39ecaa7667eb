/* SPDX-License-Identifier: MIT */
/*
 * A driver that talks to the manager behind its host's back: each request sends messages of one
 * kind on the control socket for 200 ms, as many as go, and answers how many went.
 */
#include "one_unit.h"

#include <auriga/driver.h>
#include <auriga/raw.h>

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

AU_DRIVER_NOTE(AU_NAME("t-flood") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("floods the manager, for tests") AU_MATCH_VIRTUAL);

#define FLOOD_CONTROL 3 /* of every host */

struct flood_message {
	uint32_t magic;
	uint16_t version, type;
	uint32_t length, reserved;
	char text[64];
};

static double flood_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static uint64_t flood(uint16_t type, const char *const text[2])
{
	double end = flood_now() + 0.2;
	uint64_t sent = 0;

	while (flood_now() < end) {
		struct flood_message msg = { 0x41525541, 1, type, 16, 0, "" };

		snprintf(msg.text, sizeof(msg.text), "%s", text[sent & 1]);
		msg.length += (uint32_t)strlen(msg.text);
		if (send(FLOOD_CONTROL, &msg, msg.length, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
			sent++;
	}
	return sent;
}

static void flood_deliver(struct au_queue *queue, struct au_request *req)
{
	static const struct {
		uint16_t type; /* AU_HM_UNITS, AU_HM_ANSWER, AU_HM_LOG */
		const char *text[2];
	} kinds[] = {
		{ 68,
		  { "{\"units\":[{\"index\":0,\"class\":\"raw\"}]}",
		    "{\"units\":[{\"index\":0,\"class\":\"raw\"},"
		    "{\"index\":7,\"class\":\"raw\"}]}" } },
		{ 69, { "{}", "[1,2,3]" } },
		{ 71, { "a line", "another" } },
	};
	unsigned int kind = (unsigned int)req->op - AU_RAW_FIRST;

	(void)queue;
	if (kind < 3)
		au_request_complete(req, 0, (uint32_t)flood(kinds[kind].type, kinds[kind].text));
	else
		au_request_complete(req, -AU_ENOTSUP, 0);
}

static int flood_prepare(struct au_device *dev)
{
	return one_unit(dev, AU_QUEUE_SEQUENTIAL, flood_deliver);
}

AU_DRIVER = {
	AU_HEAD(struct au_driver),
	.prepare = flood_prepare,
};
