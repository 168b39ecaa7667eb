/* SPDX-License-Identifier: MIT */
/*
 * Never comes back. Operation 16 completes at once, 17 waits for a lock that it holds already, 18
 * sleeps for arg[0] ms, the callbacks do what the parameter "in" says.
 */
#include <auriga/driver.h>
#include <auriga/raw.h>

#include <pthread.h>
#include <time.h>

enum { STUCK_NOT = AU_RAW_FIRST, STUCK_LOCK, STUCK_SLEEP };
enum { IN_NONE, IN_PREPARE, IN_D0_ENTRY, IN_D0_EXIT, IN_RELEASE };

static void stuck_for_ever(void)
{
	pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

	pthread_mutex_lock(&lock);
	pthread_mutex_lock(&lock);
}

static void stuck_if(struct au_device *dev, uint64_t place)
{
	if (au_param_uint(dev, "in") == place)
		stuck_for_ever();
}

static void stuck_deliver(struct au_queue *queue, struct au_request *req)
{
	struct timespec ts = { .tv_sec = (time_t)(req->arg[0] / 1000),
			       .tv_nsec = (long)(req->arg[0] % 1000) * 1000000 };

	if (req->op == STUCK_LOCK)
		stuck_for_ever();
	if (req->op == STUCK_SLEEP)
		nanosleep(&ts, NULL);
	au_request_complete(req, 0, req->length);
}

static int stuck_prepare(struct au_device *dev)
{
	const struct au_unit_config unit_config = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config queue_config = {
		AU_HEAD(struct au_queue_config),
		.kind = AU_QUEUE_PARALLEL,
		.deliver = stuck_deliver,
	};
	struct au_queue *queue;
	struct au_unit *unit;
	int err;

	stuck_if(dev, IN_PREPARE);
	err = au_unit_add(dev, &unit_config, &unit);
	return err ? err : au_queue_create(unit, &queue_config, &queue);
}

static void stuck_release(struct au_device *dev)
{
	stuck_if(dev, IN_RELEASE);
}

static int stuck_d0_entry(struct au_device *dev, enum au_power from)
{
	stuck_if(dev, IN_D0_ENTRY);
	return 0;
}

static int stuck_d0_exit(struct au_device *dev, enum au_power to)
{
	stuck_if(dev, IN_D0_EXIT);
	return 0;
}

AU_DRIVER_NOTE(AU_NAME("t-stuck") AU_VERSION("1.0") AU_CLASS("raw")
		       AU_SUMMARY("never comes back, for tests") AU_MATCH_VIRTUAL AU_PARAM_UINT(
			       "in", 0, 0, 4,
			       "stay in: 1 prepare, 2 d0_entry, 3 d0_exit, 4 release"));

AU_DRIVER = {
	AU_HEAD(struct au_driver),  .prepare = stuck_prepare, .release = stuck_release,
	.d0_entry = stuck_d0_entry, .d0_exit = stuck_d0_exit,
};
