/* SPDX-License-Identifier: MIT */
#include "pair.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

static void *server_thread(void *arg)
{
	struct pair *pair = arg;

	pair->server(pair);
	return NULL;
}

static void *client_thread(void *arg)
{
	struct pair *pair = arg;

	pair->client(pair);
	__atomic_store_n(&pair->stop, true, __ATOMIC_RELEASE);
	return NULL;
}

static int start_on(pthread_t *thread, size_t processor, void *(*run)(void *), struct pair *pair)
{
	pthread_attr_t attr;
	cpu_set_t set;
	int err;

	CPU_ZERO(&set);
	CPU_SET(processor, &set);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	err = pthread_create(thread, &attr, run, pair);
	pthread_attr_destroy(&attr);
	return -err;
}

int pair_run(struct pair *pair, struct bare_ring_result *result)
{
	pthread_t client, server;
	cpu_set_t allowed;
	size_t processor[2], found = 0;
	int err;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		return -errno;
	for (size_t i = 0; i < CPU_SETSIZE && found < 2; i++) {
		if (CPU_ISSET(i, &allowed))
			processor[found++] = i;
	}
	if (found < 2)
		return -ENODEV;

	pair->stop = false;
	pair->broken = false;
	err = start_on(&server, processor[1], server_thread, pair);
	if (err)
		return err;
	err = start_on(&client, processor[0], client_thread, pair);
	if (err)
		__atomic_store_n(&pair->stop, true, __ATOMIC_RELEASE);
	else
		pthread_join(client, NULL);
	pthread_join(server, NULL);
	if (err)
		return err;

	*result = (struct bare_ring_result){
		.outstanding = pair->outstanding,
		.requests = pair->requests,
		.seconds = pair->elapsed,
		.rps = (double)pair->requests / pair->elapsed,
	};
	result->rtt_ns = (double)pair->outstanding * 1e9 / result->rps;
	return pair->broken ? -EIO : 0;
}

void *pair_memory(size_t bytes)
{
	void *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return mem == MAP_FAILED ? NULL : mem;
}
