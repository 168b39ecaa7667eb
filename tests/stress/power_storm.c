/* SPDX-License-Identifier: MIT */
/*
 * power_storm CYCLES [SEED]: a device with three lanes, each a thread that sends requests to itself
 * all the time, while others suspend and resume the device, send it to sleep, and let it idle. The
 * driver completes, hands back or keeps what it is asked about, at random. Nothing is delivered
 * outside D0, each request completes once, and each is resumed as often as it was kept.
 */
#include "auriga/auriga.h"
#include "auriga/raw.h"
#include "base/note.h"
#include "framework/framework.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LANES 3u
#define DEPTH 32u
#define OP    AU_RAW_FIRST

struct storm_lane {
	struct auf_source source; /* first */
	uint64_t seed;
	struct auf_handle *handle;
	struct auf_progress progress[DEPTH];
	bool busy[DEPTH];
	uint64_t sent, done, canceled;
	/* the driver's */
	struct au_request *held[DEPTH];
	unsigned int held_count;
	struct au_timer *timer;
	uint64_t asked, requeued, kept, resumed, answered;
};

static struct storm_lane lanes[LANES];
static struct au_lane *lane_of[LANES];
static struct au_device *dev;
static struct au_unit *unit;
static _Atomic bool up, ending;
static _Atomic uint64_t wrong;
static uint64_t seed;

static uint64_t storm_random(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static void storm_wrong(const char *what)
{
	if (atomic_fetch_add(&wrong, 1) < 3)
		fprintf(stderr, "power_storm: %s\n", what);
}

/* ----------------------------------------------------------------------- the driver */

static void storm_drop(struct storm_lane *l, const struct au_request *req)
{
	for (unsigned int i = 0; i < l->held_count; i++) {
		if (l->held[i] == req) {
			l->held[i] = l->held[--l->held_count];
			return;
		}
	}
	storm_wrong("a request that the driver does not have");
}

static void storm_cancel(struct au_request *req)
{
	storm_drop(au_queue_context(au_request_queue(req)), req);
	au_request_complete(req, -AU_ECANCELED, 0);
}

static void storm_deliver(struct au_queue *queue, struct au_request *req)
{
	struct storm_lane *l = au_queue_context(queue);

	if (!atomic_load(&up))
		storm_wrong("a request was delivered outside D0");
	if (storm_random(&l->seed) % 4 != 0) {
		au_request_complete(req, 0, 0);
	} else {
		if (au_request_set_cancelable(req, storm_cancel) != 0) {
			au_request_complete(req, -AU_ECANCELED, 0);
			return;
		}
		l->held[l->held_count++] = req;
	}
}

static void storm_tick(struct au_timer *timer, void *context)
{
	struct storm_lane *l = context;

	while (l->held_count && storm_random(&l->seed) % 4 != 0) {
		struct au_request *req = l->held[--l->held_count];

		if (au_request_clear_cancelable(req) == 0)
			au_request_complete(req, 0, 0);
	}
	au_timer_start(timer, 1, false);
}

static void storm_stop(struct au_queue *queue, struct au_request *req, uint32_t why)
{
	struct storm_lane *l = au_queue_context(queue);

	if (why != AU_STOP_POWER)
		return;
	l->asked++;
	switch (storm_random(&l->seed) % 3) {
	case 0:
		storm_drop(l, req);
		if (au_request_clear_cancelable(req) == 0)
			au_request_complete(req, 0, 0);
		l->answered++;
		break;
	case 1:
		storm_drop(l, req);
		au_request_clear_cancelable(req);
		au_request_stop_ack(req, true);
		l->requeued++;
		break;
	default:
		au_request_stop_ack(req, false);
		l->kept++;
	}
}

static void storm_resume(struct au_queue *queue, struct au_request *req)
{
	struct storm_lane *l = au_queue_context(queue);

	l->resumed++;
}

static int storm_prepare(struct au_device *device)
{
	const struct au_unit_config unit_config = { AU_HEAD(struct au_unit_config) };
	void *const contexts[LANES] = { &lanes[0], &lanes[1], &lanes[2] };
	const struct au_queue_config config = {
		AU_HEAD(struct au_queue_config), .kind = AU_QUEUE_PARALLEL, .depth = DEPTH / 2,
		.deliver = storm_deliver,	 .contexts = contexts,	    .stop = storm_stop,
		.resume = storm_resume,
	};
	struct au_queue *queue;
	int err = au_unit_add(device, &unit_config, &unit);

	if (!err)
		err = au_queue_create(unit, &config, &queue);
	for (unsigned int i = 0; i < LANES && !err; i++)
		err = au_timer_create_on(lane_of[i], device, storm_tick, &lanes[i],
					 &lanes[i].timer);
	return err;
}

static int storm_entry(struct au_device *device, enum au_power from)
{
	atomic_store(&up, true);
	return 0;
}

static int storm_exit(struct au_device *device, enum au_power to)
{
	atomic_store(&up, false);
	/* What would have been completed in vain. */
	for (unsigned int i = 0; i < LANES && to == AU_POWER_OFF; i++)
		while (lanes[i].held_count)
			au_request_complete(lanes[i].held[--lanes[i].held_count], -AU_ENODEV, 0);
	return 0;
}

static int storm_io_start(struct au_device *device)
{
	for (unsigned int i = 0; i < LANES; i++)
		au_timer_start(lanes[i].timer, 1, false);
	return 0;
}

static const struct au_driver storm_driver = {
	AU_HEAD(struct au_driver), .prepare = storm_prepare,   .d0_entry = storm_entry,
	.d0_exit = storm_exit,	   .io_start = storm_io_start,
};

/* ------------------------------------------------------------------------ who sends */

static void storm_complete(struct auf_handle *handle, int status, uint32_t result,
			   uint16_t device_status, uint32_t slot, uint64_t tag)
{
	struct storm_lane *l = auf_handle_context(handle);

	if (!l->busy[slot])
		storm_wrong("a request completed twice");
	if (status == -AU_ECANCELED)
		l->canceled++;
	else if (status && !atomic_load(&ending))
		storm_wrong("a request failed");
	l->busy[slot] = false;
	l->done++;
}

static unsigned int storm_poll(struct auf_source *source, unsigned int budget)
{
	struct storm_lane *l = (struct storm_lane *)(void *)source;
	uint32_t slot = (uint32_t)(storm_random(&l->seed) % DEPTH);
	struct auf_submit submit = { .op = OP, .tag = slot, .progress = &l->progress[slot] };

	if (atomic_load(&ending) || !l->handle)
		return 0;
	if (l->busy[slot]) {
		if (storm_random(&l->seed) % 4096 == 0)
			auf_cancel(l->handle, slot, slot);
		return 0;
	}
	/* Now and then nothing, for a while: it is to be idle. */
	if (storm_random(&l->seed) % 4096 == 0)
		usleep(3000);
	l->busy[slot] = true;
	l->sent++;
	if (auf_submit(l->handle, slot, &submit) != 0)
		storm_wrong("a request was refused");
	return 1;
}

static bool storm_arm(struct auf_source *source)
{
	return atomic_load(&ending);
}

static int storm_open(void *arg)
{
	for (unsigned int i = 0; i < LANES; i++) {
		const struct auf_handle_config config = { .depth = DEPTH,
							  .lane = lane_of[i],
							  .complete = storm_complete,
							  .context = &lanes[i] };

		if (auf_handle_open(unit, &config, &lanes[i].handle) != 0)
			storm_wrong("a handle cannot be opened");
	}
	return 0;
}

static int storm_join(void *arg)
{
	struct storm_lane *l = arg;

	l->source.poll = storm_poll;
	l->source.arm = storm_arm;
	l->source.fd = -1;
	return auf_lane_add(lane_of[l - lanes], &l->source);
}

static int storm_leave(void *arg)
{
	struct storm_lane *l = arg;

	auf_lane_remove(lane_of[l - lanes], &l->source);
	return 0;
}

/* ------------------------------------------------------------------------- who disturbs */

static _Atomic unsigned int answers;

static void storm_answer(void *context, int result)
{
	if (result)
		storm_wrong("a change of power failed");
	atomic_fetch_add(&answers, 1);
}

static int storm_power(void *arg)
{
	return auf_device_power(dev, *(const enum auf_power_verb *)arg, storm_answer, NULL);
}

static void storm_do(enum auf_power_verb verb)
{
	unsigned int before = atomic_load(&answers);

	if (auf_lane_call(lane_of[0], storm_power, &verb) != 0)
		storm_wrong("a change of power was refused");
	for (unsigned int ms = 0; atomic_load(&answers) == before; ms++) {
		usleep(1000);
		if (ms == 20000) {
			fprintf(stderr, "power_storm: stuck in %s\n", auf_device_state_name(dev));
			abort();
		}
	}
}

static int storm_info(void *info)
{
	auf_device_power_info(dev, info);
	return 0;
}

static int storm_setup(void)
{
	static const char text[] = "abi 1\nname storm\nversion 1.0\nclass raw\nsummary a storm\n"
				   "match virtual\nlanes 8\n";
	static const char *const params[] = { "lanes=3", NULL };
	static struct au_note note;
	struct auf_device_config config = { .name = "storm0",
					    .driver = &storm_driver,
					    .note = &note,
					    .params = params,
					    .lanes = lane_of,
					    .lane_count = LANES,
					    .generation = 1,
					    .from = AU_POWER_OFF,
					    .idle_ms = 1 };
	char error[256] = "";
	int err = au_note_parse(text, sizeof(text), "storm", &note, error, sizeof(error));

	for (unsigned int i = 0; i < LANES && !err; i++) {
		lanes[i].seed = seed + i;
		err = auf_lane_create(AUF_RUNNER_THREAD, i, 20, NULL, &lane_of[i]);
	}
	config.lane = lane_of[0];
	if (!err)
		err = auf_device_create(&config, &dev, error, sizeof(error));
	if (!err)
		err = auf_device_start(dev);
	if (err)
		fprintf(stderr, "power_storm: %s (error %d)\n", error, -err);
	return err;
}

int main(int argc, char **argv)
{
	struct storm_lane sum = { 0 };
	struct auf_power_info info;
	unsigned long cycles;

	if (argc < 2)
		return 2;
	cycles = strtoul(argv[1], NULL, 10);
	seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
	if (storm_setup() != 0)
		return 1;
	auf_lane_call(lane_of[0], storm_open, NULL);
	for (unsigned int i = 0; i < LANES; i++)
		auf_lane_call(lane_of[i], storm_join, &lanes[i]);
	for (unsigned long i = 0; i < cycles; i++) {
		switch (storm_random(&seed) % 3) {
		case 0:
			storm_do(AUF_POWER_SUSPEND);
			if (atomic_load(&up))
				storm_wrong("it is suspended, and in D0");
			storm_do(AUF_POWER_RESUME);
			break;
		case 1:
			storm_do(AUF_POWER_DOWN);
			break;
		default:
			usleep(2000);
		}
		usleep((unsigned int)(storm_random(&seed) % 500));
	}
	storm_do(AUF_POWER_UP);
	auf_lane_call(lane_of[0], storm_info, &info);
	atomic_store(&ending, true);
	auf_device_stop(dev);
	for (unsigned int i = 0; i < LANES; i++) {
		auf_lane_call(lane_of[i], storm_leave, &lanes[i]);
		sum.sent += lanes[i].sent;
		sum.done += lanes[i].done;
		sum.canceled += lanes[i].canceled;
		sum.asked += lanes[i].asked;
		sum.answered += lanes[i].answered;
		sum.requeued += lanes[i].requeued;
		sum.kept += lanes[i].kept;
		sum.resumed += lanes[i].resumed;
	}
	auf_device_destroy(dev);
	for (unsigned int i = LANES; i-- > 0;)
		auf_lane_destroy(lane_of[i]);
	printf("%llu requests, %llu cancelled; D3 %llu times, of %lu cycles; asked about %llu: "
	       "%llu "
	       "completed, %llu handed back, %llu kept, %llu of them resumed; %llu wrong\n",
	       (unsigned long long)sum.done, (unsigned long long)sum.canceled,
	       (unsigned long long)info.downs, cycles, (unsigned long long)sum.asked,
	       (unsigned long long)sum.answered, (unsigned long long)sum.requeued,
	       (unsigned long long)sum.kept, (unsigned long long)sum.resumed,
	       (unsigned long long)wrong);
	/* A kept one that was cancelled is not resumed. */
	return wrong || sum.sent != sum.done || info.downs < cycles / 3 || !sum.requeued ||
	       sum.resumed > sum.kept || sum.resumed < sum.kept / 2 ||
	       sum.asked != sum.answered + sum.requeued + sum.kept;
}
