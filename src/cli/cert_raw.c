/* SPDX-License-Identifier: MIT */
/*
 * Units without a class of their own: one operation, with data that are compared if the first
 * request brought back what it was given.
 */
#include "auriga/raw.h"
#include "cli/cert_client.h"

#include <stdlib.h>
#include <string.h>

#define RAW_BYTES 4096u

static void raw_pattern(struct cert_job *job)
{
	uint8_t *at = job->io.data;

	for (uint32_t i = 0; i < job->io.length; i++)
		at[i] = (uint8_t)((job->b * 0x9e3779b97f4a7c15u >> 32) + i * 7);
}

static bool raw_same(const struct cert_job *job)
{
	const uint8_t *at = job->io.data;

	for (uint32_t i = 0; i < job->io.length; i++)
		if (at[i] != (uint8_t)((job->b * 0x9e3779b97f4a7c15u >> 32) + i * 7))
			return false;
	return true;
}

static bool raw_fill(struct cert_client *c, struct cert_job *job)
{
	job->io.op = c->options.op;
	job->io.length = (uint32_t)cert_random(c, RAW_BYTES) + 1;
	job->b = cert_random(c, UINT32_MAX);
	raw_pattern(job);
	return true;
}

/* Does it know the operation at all, and is it an echo? */
static int raw_begin(struct cert_client *c)
{
	struct cert_job *job = &c->jobs[0];
	int rc;

	if (c->own)
		return 0;
	job->io = (struct au_io){ .data = c->data };
	raw_fill(c, job);
	rc = au_wait(c->handle, &job->io);
	if (rc) {
		cert_wrong(c, &c->errors,
			   "operation %u is answered with '%s': say --op N, one that always "
			   "succeeds",
			   c->options.op, strerror(-rc));
		return rc;
	}
	if (job->io.result != job->io.length || !raw_same(job))
		c->options.no_data = true;
	c->own = c;
	return 0;
}

static void raw_done(struct cert_client *c, struct cert_job *job)
{
	if (job->io.status || c->options.no_data)
		return;
	if (job->io.result != job->io.length || !raw_same(job))
		cert_wrong(c, &c->wrong, "an echo of %u bytes has %u, or others", job->io.length,
			   job->io.result);
}

static void raw_probe(struct cert_client *c, json_t *found)
{
	json_object_set_new(found, "echo", json_boolean(!c->options.no_data));
}

const struct cert_class cert_raw = {
	.name = "raw",
	.begin = raw_begin,
	.fill = raw_fill,
	.done = raw_done,
	.probe = raw_probe,
};
