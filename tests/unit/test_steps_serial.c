/* SPDX-License-Identifier: MIT */
/*
 * Death at each step of a serial unit: its host is a process that ends at each store of the class
 * state and of a request's progress in turn, while bytes go both ways and the device is suspended
 * and resumed. Each byte that was sent comes out once and in order, or is in an interval that the
 * client was told of; and each byte that arrived comes to the client just so.
 */
#include "steps_rig.h"

#include "auriga/driver.h"
#include "auriga/serial.h"

#define SENDS	   12u
#define SEND_BYTES 30u
#define SENT_ALL   (SENDS * SEND_BYTES)
#define RECVS	   3u /* outstanding */
#define RECV_BYTES 20u
#define RECV_ALL   200u /* what the client waits for */
#define RESTART	   5u	/* after so many sends the host is restarted in order */
#define CODE	   251u /* bytes of the streams count up to this */
#define HITS	   14u

/**
 * struct wire - the device. @sent: what it was given, and @count of them; @taken: how many of the
 * endless stream that comes in were taken from it.
 */
struct wire {
	uint8_t sent[4096];
	_Atomic uint32_t count, taken;
};
_Static_assert(sizeof(struct wire) <= sizeof(shared->device), "it fits");

static struct wire *wire;

/* ------------------------------------------------------------------- the driver */

static struct {
	struct au_serial *port;
	struct au_timer *timer;
} drv;

static void drv_tx_start(struct au_serial *port)
{
	uint8_t buf[16];
	uint32_t n;

	while ((n = au_serial_tx_take(port, buf, sizeof(buf))) > 0) {
		for (uint32_t i = 0; i < n && wire->count < sizeof(wire->sent); i++)
			wire->sent[wire->count++] = buf[i];
		au_serial_tx_done(port);
	}
}

/* A few more bytes have come. */
static void drv_arrive(struct au_timer *timer, void *context)
{
	uint32_t n = 1 + wire->taken % 13;
	uint8_t buf[13];

	if (au_serial_rx_room(drv.port) < n)
		return;
	au_serial_rx_begin(drv.port, n);
	for (uint32_t i = 0; i < n; i++)
		buf[i] = (uint8_t)(wire->taken++ % CODE);
	au_serial_rx(drv.port, buf, n);
}

static int drv_set_line(struct au_serial *port, const struct au_serial_line *line)
{
	return 0;
}

static void drv_set_modem(struct au_serial *port, uint32_t outputs)
{
}

static uint32_t drv_get_modem(struct au_serial *port)
{
	return AU_MODEM_INPUTS;
}

static void drv_set_break(struct au_serial *port, bool on)
{
}

static const struct au_serial_ops drv_ops = {
	AU_HEAD(struct au_serial_ops), .set_line = drv_set_line,   .set_modem = drv_set_modem,
	.get_modem = drv_get_modem,    .set_break = drv_set_break, .tx_start = drv_tx_start,
};

static int drv_prepare(struct au_device *dev)
{
	const struct au_serial_config config = { AU_HEAD(struct au_serial_config), .ops = &drv_ops,
						 .fifo = 16 };
	int err = au_timer_create(dev, drv_arrive, NULL, &drv.timer);

	return err ? err : au_serial_add(dev, &config, &drv.port);
}

static int drv_io_start(struct au_device *dev)
{
	au_timer_start(drv.timer, 1, true);
	return 0;
}

static const struct au_driver driver = { AU_HEAD(struct au_driver), .prepare = drv_prepare,
					 .io_start = drv_io_start };
static const char note_text[] = "abi 1\nname steps\nversion 1.0\nclass serial\nsummary for tests\n"
				"match virtual\n";

/* ------------------------------------------------------------------- the client */

/** struct piece - a request, and how often it was completed. */
struct piece {
	struct au_io io;
	uint8_t data[SEND_BYTES];
	unsigned int done;
	bool busy;
};

/**
 * struct client - one that sends a stream, and receives another.
 * @uncertain: bytes of what it sends that it was told of. @lost: bytes of what came in, at most.
 */
struct client {
	struct au_chan *chan;
	struct piece send[SENDS], recv[RECVS];
	unsigned int sends, sent;
	bool leaving;
	uint8_t received[8192];
	uint32_t count, lost;
	bool uncertain[SENT_ALL];
	char wrong[120];
};

static struct client *client; /* whose done() is called */

static void client_sent(struct au_io *io)
{
	struct piece *p = io->user;

	p->done++;
	client->sent++;
	if (io->status || io->result != SEND_BYTES)
		snprintf(client->wrong, sizeof(client->wrong), "a send ended with %d, %u bytes",
			 io->status, io->result);
}

static void client_received(struct au_io *io)
{
	struct piece *p = io->user;

	p->busy = false;
	if (io->status && !(client->leaving && io->status == -ECANCELED))
		snprintf(client->wrong, sizeof(client->wrong), "a receive ended with %d",
			 io->status);
	else if (!io->status && client->count + io->result <= sizeof(client->received)) {
		memcpy(client->received + client->count, p->data, io->result);
		client->count += io->result;
	}
}

static void client_send(struct client *c)
{
	struct piece *p = &c->send[c->sends];

	for (unsigned int i = 0; i < SEND_BYTES; i++)
		p->data[i] = (uint8_t)((c->sends * SEND_BYTES + i) % CODE);
	p->io = (struct au_io){ .op = AU_SERIAL_SEND,
				.data = p->data,
				.length = SEND_BYTES,
				.done = client_sent,
				.user = p };
	if (au_chan_submit(c->chan, &p->io) == 0)
		c->sends++;
}

static void client_recv(struct client *c, struct piece *p)
{
	p->io = (struct au_io){ .op = AU_SERIAL_RECV,
				.data = p->data,
				.length = RECV_BYTES,
				.arg = { 1 + c->count % RECV_BYTES },
				.done = client_received,
				.user = p };
	p->busy = au_chan_submit(c->chan, &p->io) == 0;
}

static void client_event(struct client *c, const struct au_event *event)
{
	if (event->kind == AU_SERIAL_EVENT_RX_UNCERTAIN)
		c->lost += event->count;
	else if (event->kind == AU_SERIAL_EVENT_TX_UNCERTAIN)
		for (uint64_t i = event->arg[0]; i < event->arg[0] + event->count; i++)
			if (i < SENT_ALL)
				c->uncertain[i] = true;
}

static bool client_is_done(const struct client *c)
{
	for (unsigned int i = 0; i < RECVS; i++)
		if (c->recv[i].busy)
			return false;
	return c->leaving;
}

/* One round: send and receive a little, hear what there is to hear. */
static void client_turn(struct client *c, int bell)
{
	struct au_event event;

	client = c;
	/* Both streams go on side by side. */
	if (c->sends < SENDS && c->sends - c->sent < 2 && c->count >= c->sends * 12)
		client_send(c);
	for (unsigned int i = 0; i < RECVS && !c->leaving; i++)
		if (!c->recv[i].busy)
			client_recv(c, &c->recv[i]);
	if (!c->leaving && c->sent == SENDS && c->count >= RECV_ALL) {
		c->leaving = true;
		for (unsigned int i = 0; i < RECVS; i++)
			au_chan_cancel(c->chan, &c->recv[i].io);
	}
	au_chan_flush(c->chan);
	if (au_chan_arm(c->chan)) {
		struct pollfd p = { .fd = bell, .events = POLLIN };

		poll(&p, 1, 2);
		au_chan_disarm(c->chan);
		au_doorbell_drain(bell);
	}
	au_chan_poll(c->chan, 0);
	while (au_chan_event_next(c->chan, &event))
		client_event(c, &event);
}

/* What the device was given is the stream, but for what is uncertain. */
static const char *wrong_on_the_wire(struct client *c)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < wire->count; i++, at++) {
		while (at < SENT_ALL && wire->sent[i] != at % CODE && c->uncertain[at])
			at++;
		if (at >= SENT_ALL || wire->sent[i] != at % CODE) {
			snprintf(c->wrong, sizeof(c->wrong),
				 "byte %u on the wire is %u, where %u is next", i, wire->sent[i],
				 at % CODE);
			return c->wrong;
		}
	}
	for (; at < SENT_ALL; at++) {
		if (!c->uncertain[at]) {
			snprintf(c->wrong, sizeof(c->wrong), "byte %u was never sent", at);
			return c->wrong;
		}
	}
	return NULL;
}

/* What came to the client is the stream, but for at most what it was told of. */
static const char *wrong_received(struct client *c)
{
	uint32_t at = 0, skipped = 0;

	for (uint32_t i = 0; i < c->count; i++, at++) {
		while (c->received[i] != at % CODE && skipped <= c->lost) {
			at++;
			skipped++;
		}
		if (skipped > c->lost) {
			snprintf(c->wrong, sizeof(c->wrong),
				 "byte %u received is %u: more is missing than the %u told of", i,
				 c->received[i], c->lost);
			return c->wrong;
		}
	}
	if (at > wire->taken) {
		snprintf(c->wrong, sizeof(c->wrong), "%u received, of %u that came", at,
			 wire->taken);
		return c->wrong;
	}
	return NULL;
}

static const char *client_wrong(struct client *c)
{
	for (unsigned int i = 0; i < SENDS; i++)
		if (c->send[i].done != 1)
			return "a send was not completed once";
	if (c->wrong[0])
		return c->wrong;
	return wrong_on_the_wire(c) ? c->wrong : wrong_received(c);
}

/* ------------------------------------------------------------------ hosts that die */

/*
 * Both streams, with a host that dies at @point, if it comes there so often: the first one, or with
 * @second the one after a death. Return: whether it died there.
 */
static bool kill_a_host(enum au_failpoint point, unsigned int hit, bool second)
{
	struct client *c = calloc(1, sizeof(*c));
	struct line l = { .bell = { -1, -1 } }, old;
	uint64_t began = now_ms();
	bool died = false, restarted = false;
	const char *wrong;
	int status;

	assert_non_null(c);
	memset(shared, 0, sizeof(*shared));
	steps.state = share(AUF_STATE_SIZE);
	assert_int_equal(au_chan_create(DEPTH, BUFFER, &c->chan), 0);
	au_chan_set_class(c->chan, "serial");
	for (uint32_t generation = 1; !client_is_done(c); generation++) {
		bool armed = generation == (second ? 2 : 1);
		struct au_chan_link link;
		pid_t pid;

		old = l;
		line_make(&l, generation);
		steps.fresh = generation == 1;
		if (second && generation == 1)
			pid = host_start(&l, false, AU_FAIL_tx_given, 5);
		else
			pid = host_start(&l, generation > 1, armed ? point : 0, hit);
		close(l.bell[1]);
		l.bell[1] = -1;
		link = (struct au_chan_link){ .rings = l.rings,
					      .pool = pool,
					      .doorbell = l.bell[0],
					      .generation = generation };
		client = c;
		au_chan_attach(c->chan, &link);
		line_free(&old);
		while (!ended(pid, &status, false)) {
			if (now_ms() - began > LIMIT_MS)
				fail_msg("failpoint %d, hit %u: after %u s, %u sends and %u bytes "
					 "are through",
					 (int)point, hit, LIMIT_MS / 1000, c->sent, c->count);
			if (c->sent >= RESTART && c->count >= RESTART * 16 && !restarted) {
				restarted = true;
				shared->restart = true;
			}
			shared->stop = client_is_done(c);
			if (!shared->stop)
				client_turn(c, l.bell[0]);
		}
		shared->restart = false;
		if (status && status != DIED)
			fail_msg("failpoint %d, hit %u: a host ended with %d", (int)point, hit,
				 status);
		died |= status == DIED && armed;
		client = c;
		au_chan_down(c->chan);
		au_chan_lost(c->chan);
		au_chan_poll(c->chan, 0);
		assert_in_range(generation, 1, 5);
	}
	wrong = client_wrong(c);
	if (wrong)
		fail_msg("failpoint %d, hit %u%s: %s", (int)point, hit,
			 second ? ", in the second host" : "", wrong);
	au_chan_destroy(c->chan);
	line_free(&l);
	munmap(steps.state, AUF_STATE_SIZE);
	free(c);
	return died;
}

static int setup(void **state)
{
	shared = share(sizeof(*shared));
	pool = share((size_t)DEPTH * BUFFER);
	wire = (struct wire *)(void *)shared->device;
	steps = (struct steps){
		.driver = &driver, .note = note_text, .cls = "serial", .suspend = true
	};
	au_log_set_level(AU_LOG_ERROR);
	return 0;
}

static int teardown(void **state)
{
	munmap(shared, sizeof(*shared));
	munmap(pool, (size_t)DEPTH * BUFFER);
	return 0;
}

static void each(bool second)
{
	unsigned int deaths = 0;

	assert_false(kill_a_host(0, 0, second));
	for (unsigned int i = 0; i < FAILPOINT_COUNT; i++) {
		if (failpoints[i].who != SERIAL)
			continue;
		for (unsigned int hit = 1; hit <= (second ? 3 : HITS);
		     hit += hit < 4 ? 1 : hit / 2) {
			if (!kill_a_host(failpoints[i].point, hit, second))
				break;
			died_at[i]++;
			deaths++;
		}
	}
	print_message("%u deaths\n", deaths);
	assert_in_range(deaths, 40, 1000);
}

static void test_the_first_host_dies(void **state)
{
	each(false);
}

static void test_the_second_host_dies(void **state)
{
	each(true);
}

static void test_none_was_left_out(void **state)
{
	for (unsigned int i = 0; i < FAILPOINT_COUNT; i++)
		if (failpoints[i].who == SERIAL && !died_at[i])
			fail_msg("nobody died at %s", failpoints[i].name);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_the_first_host_dies),
		TEST(test_the_second_host_dies),
		TEST(test_none_was_left_out),
	};

	return cmocka_run_group_tests_name("steps_serial", tests, NULL, NULL);
}
