/* SPDX-License-Identifier: MIT */
/*
 * Death at each step: a host, and separately a client, is a process that ends at each failpoint in
 * turn, the first time that it comes by, the second, and so on: of submission, completion, replay,
 * attaching, going away, and a device's way up, down, to D3 and back. Each request completes
 * exactly once, with the right data, and what is left of the dead does not bother those who live.
 *
 * Framework and channel are built for this with the failpoints that are on the way of each request.
 */
#include "steps_rig.h"

#include "auriga/raw.h"

#define REQUESTS 24u
#define PAUSE	 8u  /* after so many requests nobody does anything for a while */
#define RESTART	 12u /* after so many completions the host is restarted in order */
#define HITS	 48u /* of one failpoint, at most */
#define EVENT	 0x0123u

/** struct disk - the device. @data: what it holds. @writes: how often each was written. */
struct disk {
	unsigned char data[REQUESTS][BUFFER];
	_Atomic unsigned int writes[REQUESTS];
};
_Static_assert(sizeof(struct disk) <= sizeof(shared->device), "it fits");

static struct disk *disk;

/* ------------------------------------------------------------------- the driver */

static struct {
	struct au_request *held[DEPTH * 4];
	unsigned int count;
	struct au_timer *timer;
	struct au_unit *unit;
} drv;

static void drv_write(const struct au_request *req)
{
	memcpy(disk->data[req->arg[0]], req->data, req->length);
	disk->writes[req->arg[0]]++;
	for (uint32_t i = 0; i < req->length; i++)
		((unsigned char *)req->data)[i] ^= 0x5a;
}

static void drv_drop(const struct au_request *req)
{
	for (unsigned int i = 0; i < drv.count; i++)
		if (drv.held[i] == req)
			drv.held[i] = drv.held[--drv.count];
}

static void drv_cancel(struct au_request *req)
{
	drv_drop(req);
	au_request_complete(req, -AU_ECANCELED, 0);
}

static void drv_due(struct au_timer *timer, void *context)
{
	while (drv.count) {
		struct au_request *req = drv.held[0];

		drv_drop(req);
		if (au_request_clear_cancelable(req))
			continue;
		drv_write(req);
		au_request_complete(req, 0, req->length);
	}
}

/* Some at once, some after a while. */
static void drv_deliver(struct au_queue *queue, struct au_request *req)
{
	if (req->arg[0] >= REQUESTS || req->length != BUFFER) {
		au_request_complete(req, -AU_EINVAL, 0);
		return;
	}
	if (req->arg[0] % 5 == 0)
		au_unit_event(drv.unit, EVENT, 1, req->arg[0], 0);
	if (req->arg[0] % 3 == 0) {
		if (au_request_set_cancelable(req, drv_cancel)) {
			au_request_complete(req, -AU_ECANCELED, 0);
			return;
		}
		drv.held[drv.count++] = req;
		au_timer_start(drv.timer, 1, false);
		return;
	}
	drv_write(req);
	au_request_complete(req, 0, req->length);
}

static int drv_prepare(struct au_device *dev)
{
	const struct au_unit_config unit = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config queue = { AU_HEAD(struct au_queue_config),
					       .kind = AU_QUEUE_PARALLEL, .depth = 3,
					       .deliver = drv_deliver };
	struct au_queue *q;
	int err = au_timer_create(dev, drv_due, NULL, &drv.timer);

	drv.count = 0;
	if (!err)
		err = au_unit_add(dev, &unit, &drv.unit);
	return err ? err : au_queue_create(drv.unit, &queue, &q);
}

static int drv_d0(struct au_device *dev, enum au_power power)
{
	return 0;
}

static void drv_io(struct au_device *dev)
{
}

static int drv_io_start(struct au_device *dev)
{
	return 0;
}

static const struct au_driver driver = { AU_HEAD(struct au_driver), .context_size = 64,
					 .prepare = drv_prepare,    .release = drv_io,
					 .d0_entry = drv_d0,	    .d0_exit = drv_d0,
					 .io_start = drv_io_start,  .io_stop = drv_io };
static const char note_text[] = "abi 1\nname steps\nversion 1.0\nclass raw\nsummary for tests\n"
				"match virtual\n";

/* -------------------------------------------------------------------- the client */

struct client {
	struct au_chan *chan;
	struct {
		struct au_io io;
		unsigned char data[BUFFER];
		unsigned int done;
		unsigned int writes; /* of the device, when it was done */
	} r[REQUESTS];
	unsigned int submitted, completed, events, round;
	bool paused;
};

static struct client *client; /* whose done() is called */

static unsigned char pattern(unsigned int index, unsigned int at)
{
	return (unsigned char)(index * 31 + at * 7 + 1);
}

static void client_done(struct au_io *io)
{
	unsigned int i = (unsigned int)io->arg[0];

	client->r[i].done++;
	client->r[i].writes = disk->writes[i];
	client->completed++;
}

static void client_submit(struct client *c)
{
	unsigned int i = c->submitted;
	struct au_io *io = &c->r[i].io;

	for (unsigned int at = 0; at < BUFFER; at++)
		c->r[i].data[at] = pattern(i, at);
	*io = (struct au_io){ .op = AU_RAW_FIRST,
			      .data = c->r[i].data,
			      .length = BUFFER,
			      .arg = { i },
			      .done = client_done,
			      /* not on the shortest way in */
			      .timeout_ms = i % 4 == 1 ? 60000 : 0 };
	if (au_chan_submit(c->chan, io) == 0)
		c->submitted++;
	if (c->submitted > i && i % 7 == 6)
		au_chan_cancel(c->chan, io);
}

static bool client_may_submit(const struct client *c)
{
	return c->submitted < (c->paused ? REQUESTS : PAUSE);
}

/* One round: submit, wait a little, take what has come. */
static void client_turn(struct client *c, int bell)
{
	struct au_event event;

	client = c;
	/* Once there is nothing to do, for a while. */
	if (c->submitted == PAUSE && c->completed == PAUSE && !c->paused) {
		c->paused = true;
		poll(NULL, 0, 8);
	}
	/* In bunches, so that now and then both ends sleep. */
	for (unsigned int n = 0; n < 4 && c->round % 3 == 0 && client_may_submit(c); n++)
		client_submit(c);
	c->round++;
	au_chan_flush(c->chan);
	if (au_chan_arm(c->chan)) {
		struct pollfd p = { .fd = bell, .events = POLLIN };

		/* Whoever has something to wait for is woken: by an answer, or a death. */
		poll(&p, 1, c->submitted > c->completed ? 20 : 1);
		au_chan_disarm(c->chan);
		au_doorbell_drain(bell);
	}
	au_chan_poll(c->chan, 3);
	while (au_chan_event_next(c->chan, &event))
		c->events += event.kind == EVENT;
}

/* Exactly once each, with the right data here and in the device. NULL: it is so. */
static const char *client_wrong(const struct client *c)
{
	static char text[160];

	for (unsigned int i = 0; i < REQUESTS; i++) {
		const struct au_io *io = &c->r[i].io;

		snprintf(text, sizeof(text), "request %u: done %u times, status %d, result %u", i,
			 c->r[i].done, io->status, io->result);
		if (c->r[i].done != 1)
			return text;
		snprintf(text, sizeof(text), "request %u: done again after its completion", i);
		if (c->r[i].writes != disk->writes[i])
			return text;
		snprintf(text, sizeof(text), "request %u: status %d, result %u", i, io->status,
			 io->result);
		if (io->status == -ECANCELED && i % 7 == 6)
			continue;
		if (io->status != 0 || io->result != BUFFER || !disk->writes[i])
			return text;
		for (unsigned int at = 0; at < BUFFER; at++) {
			snprintf(text, sizeof(text), "request %u: wrong data at %u", i, at);
			if (c->r[i].data[at] != (pattern(i, at) ^ 0x5a) ||
			    disk->data[i][at] != pattern(i, at))
				return text;
		}
	}
	return NULL;
}

/* ------------------------------------------------------------------ hosts that die */

static void forget(void)
{
	memset(shared, 0, sizeof(*shared));
	memset(pool, 0, (size_t)DEPTH * BUFFER);
}

/*
 * All requests, with a host that dies at @point, if it comes there so often: the first one, or with
 * @second the one that has replays to take. Return: whether it died there.
 */
static bool kill_a_host(enum au_failpoint point, unsigned int hit, bool second)
{
	struct client *c = calloc(1, sizeof(*c));
	struct line l = { .bell = { -1, -1 } }, old = { .bell = { -1, -1 } };
	unsigned int deaths = 0, restarts = 0;
	uint64_t began = now_ms();
	bool died = false, replaying = false;
	const char *wrong;
	int status;
	pid_t pid = 0;

	assert_non_null(c);
	forget();
	assert_int_equal(au_chan_create(DEPTH, BUFFER, &c->chan), 0);
	for (uint32_t generation = 1; c->completed < REQUESTS; generation++) {
		bool armed = generation == (second ? 2 : 1);
		struct au_chan_link link;

		old = l;
		line_make(&l, generation);
		if (second && generation == 1)
			pid = host_start(&l, false, AU_FAIL_take_done, 3);
		else
			pid = host_start(&l, replaying, armed ? point : 0, hit);
		close(l.bell[1]);
		l.bell[1] = -1;
		link = (struct au_chan_link){ .rings = l.rings,
					      .pool = pool,
					      .doorbell = l.bell[0],
					      .generation = generation };
		client = c;
		au_chan_attach(c->chan, &link);
		line_free(&old);
		replaying = true;
		while (!ended(pid, &status, false)) {
			if (now_ms() - began > LIMIT_MS)
				fail_msg("failpoint %d, hit %u: after %u s, %u of %u are complete",
					 (int)point, hit, LIMIT_MS / 1000, c->completed, REQUESTS);
			if (c->completed >= RESTART && !restarts) {
				restarts++;
				shared->restart = true;
			}
			if (c->completed == REQUESTS)
				shared->stop = true;
			client_turn(c, l.bell[0]);
		}
		shared->restart = false;
		if (status && status != DIED)
			fail_msg("failpoint %d, hit %u: a host ended with %d", (int)point, hit,
				 status);
		deaths += status == DIED;
		died |= status == DIED && armed;
		client = c;
		au_chan_down(c->chan);
		au_chan_lost(c->chan);
		au_chan_poll(c->chan, 0);
		/* Its last words do not end what it has not begun; nor do they for ever wait. */
		assert_in_range(generation, 1, 5);
	}
	wrong = client_wrong(c);
	if (wrong)
		fail_msg("failpoint %d, hit %u%s: %s", (int)point, hit,
			 second ? ", in the second host" : "", wrong);
	assert_int_equal(c->completed, REQUESTS);
	assert_in_range(deaths, 0, 2);
	au_chan_destroy(c->chan);
	line_free(&l);
	free(c);
	return died;
}

static int setup(void **state)
{
	shared = share(sizeof(*shared));
	disk = (struct disk *)(void *)shared->device;
	steps = (struct steps){ .driver = &driver, .note = note_text };
	pool = share((size_t)DEPTH * BUFFER);
	au_log_set_level(AU_LOG_ERROR);
	return 0;
}

static int teardown(void **state)
{
	munmap(shared, sizeof(*shared));
	munmap(pool, (size_t)DEPTH * BUFFER);
	return 0;
}

/* Which time to die at next: the first ones, and of what is a device's whole way, all. */
static unsigned int next_hit(enum au_failpoint point, unsigned int hit)
{
	bool way = point == AU_FAIL_machine_enter || point == AU_FAIL_machine_done;

	return hit < 6 || way ? hit + 1 : hit + hit / 2;
}

static void each_of_the_host(bool second)
{
	unsigned int deaths = 0;

	assert_false(kill_a_host(0, 0, second));
	for (unsigned int i = 0; i < FAILPOINT_COUNT; i++) {
		unsigned int died = 0;

		if (failpoints[i].who != HOST)
			continue;
		for (unsigned int hit = 1; hit <= HITS; hit = next_hit(failpoints[i].point, hit)) {
			if (!kill_a_host(failpoints[i].point, hit, second))
				break;
			died++;
		}
		died_at[i] += died;
		deaths += died;
	}
	print_message("%u deaths\n", deaths);
	assert_in_range(deaths, 60, 2000);
}

/* ---------------------------------------------------------------- clients that die */

/* A process that has everything done, and looks whether it was right; @dead: after another host had
 * some of it. */
static pid_t client_start(const struct line *dead, const struct line *l, enum au_failpoint point,
			  unsigned int hit)
{
	struct au_chan_link link = { .pool = pool };
	uint64_t began = now_ms();
	struct client *c;
	const char *wrong;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	close(l->bell[1]);
	arm(point, hit);
	c = calloc(1, sizeof(*c));
	MUST(c && au_chan_create(DEPTH, BUFFER, &c->chan) == 0);
	client = c;
	if (dead) {
		link.rings = dead->rings;
		link.doorbell = dead->bell[0];
		link.generation = dead->generation;
		au_chan_attach(c->chan, &link);
		client_submit(c);
		client_submit(c);
		client_submit(c);
		au_chan_flush(c->chan);
		au_chan_down(c->chan);
		client_submit(c);
	}
	link.rings = l->rings;
	link.doorbell = l->bell[0];
	link.generation = l->generation;
	au_chan_attach(c->chan, &link);
	while (c->completed < REQUESTS) {
		MUST(now_ms() - began < LIMIT_MS);
		client_turn(c, l->bell[0]);
	}
	wrong = client_wrong(c);
	if (wrong)
		fprintf(stderr, "%s\n", wrong);
	_exit(wrong ? WRONG : 0);
}

/* Serve a client until it has ended, however. Return: its status. */
static int serve(const struct line *dead, struct line *l, enum au_failpoint point, unsigned int hit)
{
	uint64_t began = now_ms();
	unsigned int turns = 0;
	bool over = false;
	int status = -1;
	pid_t pid;

	host.ended = host.closed = 0;
	pid = client_start(dead, l, point, hit);
	close(l->bell[0]);
	l->bell[0] = -1;
	host_open(l, dead != NULL);
	while (!over || !host.closed) {
		if (now_ms() - began > LIMIT_MS)
			fail_msg("failpoint %d, hit %u: the host does not let go of the client",
				 (int)point, hit);
		host_turn(&turns);
		over = over || ended(pid, &status, false);
	}
	assert_int_equal(host.ended, 1);
	assert_int_equal(host.closed, 1);
	assert_int_equal(host.reason, 0);
	assert_int_equal(shared->busy, 0);
	assert_int_equal(drv.count, 0);
	assert_false(host.gate.closed);
	return status;
}

/* A client that dies at @point, and another one after it. Return: whether it did. */
static bool kill_a_client(enum au_failpoint point, unsigned int hit, bool replays)
{
	struct line dead, l, next;
	int status;

	forget();
	line_make(&dead, 1);
	line_make(&l, 2);
	host_up(replays);
	status = serve(replays ? &dead : NULL, &l, point, hit);
	if (status && status != DIED)
		fail_msg("failpoint %d, hit %u: the client ended with %d", (int)point, hit, status);
	line_free(&dead);
	line_free(&l);
	forget();
	line_make(&next, 3);
	assert_int_equal(serve(NULL, &next, 0, 0), 0);
	line_free(&next);
	host_down(NULL);
	return status == DIED;
}

static void each_of_the_client(bool replays)
{
	unsigned int deaths = 0;

	assert_false(kill_a_client(0, 0, replays));
	for (unsigned int i = 0; i < FAILPOINT_COUNT; i++) {
		unsigned int died = 0;

		if (failpoints[i].who != CLIENT)
			continue;
		for (unsigned int hit = 1; hit <= HITS; hit = next_hit(failpoints[i].point, hit)) {
			if (!kill_a_client(failpoints[i].point, hit, replays))
				break;
			died++;
		}
		died_at[i] += died;
		deaths += died;
	}
	print_message("%u deaths\n", deaths);
	assert_in_range(deaths, 20, 1000);
}

static void test_the_client_dies(void **state)
{
	each_of_the_client(false);
}

static void test_the_client_dies_that_replays(void **state)
{
	each_of_the_client(true);
}

static void test_the_host_dies(void **state)
{
	each_of_the_host(false);
}

static void test_the_host_dies_that_replays(void **state)
{
	each_of_the_host(true);
}

/* ... in one of these ways, at each. */
static void test_none_was_left_out(void **state)
{
	for (unsigned int i = 0; i < FAILPOINT_COUNT; i++) {
		enum au_failpoint point = failpoints[i].point;

		if (failpoints[i].who == SERIAL)
			continue;
		/* Who is asleep when depends on the machine, too. */
		for (unsigned int more = 0; more < 30 && !died_at[i]; more++)
			died_at[i] += failpoints[i].who == HOST ? kill_a_host(point, 1, more % 2)
								: kill_a_client(point, 1, more % 2);
		if (!died_at[i])
			fail_msg("nobody died at %s", failpoints[i].name);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_host_dies),     TEST(test_the_host_dies_that_replays),
		TEST(test_the_client_dies),   TEST(test_the_client_dies_that_replays),
		TEST(test_none_was_left_out),
	};

	return cmocka_run_group_tests_name("steps", tests, NULL, NULL);
}
