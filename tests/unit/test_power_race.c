/* SPDX-License-Identifier: MIT */
/*
 * Requests that arrive when the idle time ends, a million times, at random within a millisecond
 * before or after it and in the middle of every callback of the way down and back. None is lost,
 * none is delivered outside D0, and the device is powered up just once for each time that it slept.
 *
 * usage: test_power_race [ARRIVALS [SEED]]
 */
#include "fw.h"

#define IDLE_MS	 3u
#define ARRIVALS 1000000u

static struct {
	uint64_t random;
	unsigned int arrivals, wanted;
	unsigned int sent, done, asleep, firsts, ups, downs;
	bool off;	  /* between d0_exit() and d0_entry() */
	bool waited;	  /* something waits for it to come back */
	bool going;	  /* between io_stop() and io_start() */
	uint32_t busy;	  /* slots in use */
	uint64_t last_ms; /* when the last request left */
	uint64_t delivered;
} race;

static uint64_t race_random(uint64_t below)
{
	race.random ^= race.random << 13;
	race.random ^= race.random >> 7;
	race.random ^= race.random << 17;
	return race.random % below;
}

static void race_send(void)
{
	uint32_t slot = (uint32_t)race.sent % 32;

	if (!fw.handle || (race.busy & (1u << slot)))
		return;
	race.busy |= 1u << slot;
	race.sent++;
	race.arrivals++;
	if (race.going && !race.waited) {
		race.waited = true;
		race.firsts++;
	}
	fw_send(slot);
}

/* Now and then something arrives just here. */
static void race_here(void)
{
	if (race_random(16) == 0)
		race_send();
}

static void race_done(uint64_t tag)
{
	race.busy &= ~(1u << tag);
	race.done++;
	race.last_ms = au_now_ms(fw.dev);
}

static void race_deliver(struct au_queue *queue, struct au_request *req)
{
	assert_false(race.off);
	race.delivered++;
	/* Some are answered later. */
	if (race_random(8) == 0 && fw.held_count < FW_HELD)
		fw_hold(req);
	else
		au_request_complete(req, 0, 0);
}

static int race_prepare(struct au_device *dev)
{
	const struct au_unit_config config = { AU_HEAD(struct au_unit_config) };
	const struct au_queue_config queue = { AU_HEAD(struct au_queue_config),
					       .kind = AU_QUEUE_PARALLEL, .depth = 4,
					       .deliver = race_deliver };
	struct au_queue *made;
	int err = au_unit_add(dev, &config, &fw.unit);

	return err ? err : au_queue_create(fw.unit, &queue, &made);
}

static int race_d0_entry(struct au_device *dev, enum au_power from)
{
	race_here();
	if (from == AU_POWER_D3) {
		assert_true(race.off);
		assert_true(race.waited);
	}
	race.off = false;
	return 0;
}

static int race_d0_exit(struct au_device *dev, enum au_power to)
{
	race_here();
	assert_int_equal(fw.held_count, 0);
	race.off = true;
	return 0;
}

static int race_io_start(struct au_device *dev)
{
	race_here();
	return 0;
}

static void race_io_stop(struct au_device *dev)
{
	/* Not earlier than so long after the last one. */
	if (fw.handle)
		assert_true(au_now_ms(dev) - race.last_ms >= IDLE_MS);
	race.going = true;
	race_here();
}

static void race_notice(void *context, struct au_device *dev, enum auf_notice what, void *object)
{
	if (what == AUF_POWER_D3) {
		race.downs++;
	} else if (what == AUF_POWER_D0) {
		race.ups++;
		race.going = race.waited = false;
	}
	if (fw.handle && (what == AUF_POWER_D0 || what == AUF_POWER_D3))
		race_here();
}

static const struct au_driver race_driver = {
	AU_HEAD(struct au_driver), .prepare = race_prepare,   .d0_entry = race_d0_entry,
	.d0_exit = race_d0_exit,   .io_start = race_io_start, .io_stop = race_io_stop,
};

static void with_race(struct auf_device_config *config)
{
	config->driver = &race_driver;
	config->notify = race_notice;
	config->idle_ms = IDLE_MS;
}

/* Let time pass. The lane comes by for its timers, and as often besides as it likes. */
static void race_pass(uint64_t us)
{
	while (us) {
		uint64_t step = 1 + race_random(600);

		step = step < us ? step : us;
		us -= step;
		au_fake_advance_us(step);
		fw_turns(1 + (unsigned int)race_random(2));
	}
}

static void race_settle(void)
{
	fw_turns(2);
	while (fw.held_count)
		fw_complete_oldest();
	fw_turns(1);
}

static void test_race(void **state)
{
	unsigned int stuck = 0;

	fw_reset();
	fw.on_done = race_done;
	fw_up(with_race);
	race.last_ms = au_now_ms(fw.dev);
	while (race.arrivals < race.wanted) {
		unsigned int before = race.done;

		/* It sleeps after 4 to 6 ms. */
		race_pass((IDLE_MS + 1) * 1000u + race_random(2000));
		race_send();
		if (race_random(4) == 0)
			race_send();
		race_settle();
		stuck = race.done == before ? stuck + 1 : 0;
		assert_true(stuck < 100);
	}
	for (unsigned int i = 0; i < 100 && race.done != race.sent; i++) {
		au_fake_advance_ms(1);
		race_settle();
	}
	assert_int_equal(race.done, race.sent);
	assert_int_equal(fw.done_count, race.sent);
	assert_true(race.delivered == race.sent);
	assert_int_equal(race.ups, race.firsts);
	assert_true(race.downs - race.ups <= 1);
	print_message("%u arrivals, %u of them first in D3 or on its way there, %u power-ups\n",
		      race.sent, race.firsts, race.ups);
	/* It was about something. */
	assert_true(race.firsts > race.sent / 8 && race.firsts < race.sent - race.sent / 8);
	fw.on_done = NULL;
	auf_handle_close(fw.handle, NULL, NULL);
	fw.handle = NULL;
	fw_down();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_race) };

	race.wanted = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : ARRIVALS;
	race.random = argc > 2 ? strtoull(argv[2], NULL, 10) | 1 : 0x9e3779b97f4a7c15ull;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
