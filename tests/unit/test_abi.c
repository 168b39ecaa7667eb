/* SPDX-License-Identifier: MIT */
/* Structures of older and newer builds are taken in as they should be, whoever takes them in. */
#include "base/abi.h"
#include "fw.h"
#include "auriga/serial.h"

#define TAIL 16u

static uint8_t given[AU_ABI_SIZE_MAX + TAIL], own[AU_ABI_SIZE_MAX];
static char why[256];

static void give(uint32_t size, uint32_t abi)
{
	memset(given, 0, sizeof(given));
	memcpy(given, &size, 4);
	memcpy(given + 4, &abi, 4);
}

static int take(const struct au_abi_type *type, size_t room)
{
	memset(own, 0xee, sizeof(own));
	why[0] = '\0';
	return au_abi_take(type, own, given, room, why, sizeof(why));
}

static void refused(const struct au_abi_type *type, size_t room, int error, const char *word)
{
	assert_int_equal(take(type, room), error);
	assert_non_null(strstr(why, type->name));
	if (!strstr(why, word))
		fail_msg("'%s' is not in '%s'", word, why);
	assert_null(strchr(why, '\n'));
}

/* As if it had grown since: @type has more members than the first version. */
static void sizes(const struct au_abi_type *type)
{
	uint32_t now;

	/* today's, and the first version's */
	give(type->known, type->abi);
	given[type->first - 1] = 7;
	given[type->known] = 9; /* not its own */
	assert_int_equal(take(type, AU_ABI_SIZE_MAX), 0);
	assert_int_equal(own[type->first - 1], 7);
	assert_int_equal(own[type->known], 0xee);
	assert_int_equal(take(type, type->known), 0);
	refused(type, type->known - 1, -EINVAL, "at least");
	give(type->first, type->abi);
	memset(given + type->first, 9, TAIL);
	given[type->first - 1] = 7;
	assert_int_equal(take(type, AU_ABI_SIZE_MAX), 0);
	assert_int_equal(own[type->first - 1], 7);
	for (uint32_t i = type->first; i < type->known; i++)
		assert_int_equal(own[i], 0);
	memcpy(&now, own, 4);
	assert_int_equal(now, type->known);

	/* shorter than any */
	for (uint32_t size = 0; size < type->first; size++) {
		give(size, type->abi);
		refused(type, AU_ABI_SIZE_MAX, -EINVAL, "at least");
	}
	for (size_t room = 0; room < type->first; room++) {
		give(type->known, type->abi);
		refused(type, room, -EINVAL, "at least");
	}

	/* longer: with nothing in what is not known here, with something, and longer than any */
	give(type->known + TAIL, type->abi);
	given[type->known + TAIL] = 9;
	assert_int_equal(take(type, AU_ABI_SIZE_MAX), 0);
	assert_int_equal(own[type->known], 0xee);
	for (uint32_t i = 0; i < TAIL; i++) {
		give(type->known + TAIL, type->abi);
		given[type->known + i] = 1;
		refused(type, AU_ABI_SIZE_MAX, -EPROTO, "newer");
	}
	give(AU_ABI_SIZE_MAX, type->abi);
	assert_int_equal(take(type, AU_ABI_SIZE_MAX), 0);
	give(AU_ABI_SIZE_MAX + 1, type->abi);
	refused(type, SIZE_MAX, -EINVAL, "at least");
	give(UINT32_MAX, type->abi);
	refused(type, SIZE_MAX, -EINVAL, "at least");

	/* another interface */
	give(type->known, 0);
	refused(type, AU_ABI_SIZE_MAX, -EPROTO, "version 0");
	give(type->known, type->abi + 1);
	refused(type, AU_ABI_SIZE_MAX, -EPROTO, "use a newer Auriga");
}

static const struct au_abi_type *const types[] = {
	&au_abi_driver,	      &au_abi_irq_config,  &au_abi_queue_config,
	&au_abi_unit_config,  &au_abi_serial_ops,  &au_abi_serial_config,
	&au_abi_open_options, &au_abi_serial_line, &au_abi_serial_counters,
};

static void test_sizes(void **state)
{
	for (unsigned int i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		sizes(types[i]);
}

/* The same, when all of them have grown since their first version. */
static void test_grown(void **state)
{
	for (unsigned int i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		struct au_abi_type grown = *types[i];

		grown.known += 40;
		sizes(&grown);
	}
}

/* What was released once. Not one of these numbers ever changes. */
static void test_first_versions(void **state)
{
	static const uint32_t first[] = { 72, 40, 48, 32, 64, 32, 32, 16, 88 };

	for (unsigned int i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		assert_int_equal(types[i]->first, first[i]);
}

/* ------------------------------------------------ those who take them in do so */

#define NEWER(type)            \
	struct {               \
		type old;      \
		uint64_t more; \
	}
#define HEAD(type)                                      \
	{                                               \
		.size = sizeof(type) + 8, .abi = AU_ABI \
	}

static int wrong[4];

static int set_line(struct au_serial *port, const struct au_serial_line *line)
{
	return 0;
}

static void set_modem(struct au_serial *port, uint32_t outputs)
{
}

static void tx_start(struct au_serial *port)
{
}

static void dpc(struct au_irq *irq)
{
}

/* A driver of a newer build: all it gives is longer, by a word that is 0, or not. */
static void prepare_newer(struct au_device *dev)
{
	NEWER(struct au_queue_config) queue = { .old = HEAD(struct au_queue_config) };
	NEWER(struct au_unit_config) unit = { .old = HEAD(struct au_unit_config) };
	NEWER(struct au_irq_config) irq = { .old = HEAD(struct au_irq_config) };
	NEWER(struct au_serial_config) serial = { .old = HEAD(struct au_serial_config) };
	static NEWER(struct au_serial_ops) ops = { .old = HEAD(struct au_serial_ops) };
	struct au_serial *port;
	struct au_unit *u;
	struct au_queue *q;
	struct au_irq *i;

	queue.old.deliver = fw_deliver;
	irq.old.dpc = dpc;
	ops.old.set_line = set_line;
	ops.old.set_modem = set_modem;
	ops.old.tx_start = tx_start;
	serial.old.ops = &ops.old;
	serial.old.fifo = 1;
	serial.old.reserved = 0xdeadbeef; /* padding, once */
	for (int used = 0; used < 2; used++) {
		int error = used ? -AU_EPROTO : 0;

		queue.more = unit.more = irq.more = serial.more = (uint64_t)used;
		assert_int_equal(au_queue_create(fw.unit, &queue.old, &q), error);
		assert_int_equal(au_unit_add(dev, &unit.old, &u), error);
		assert_int_equal(au_irq_create(dev, &irq.old, &i), used ? error : -AU_ENXIO);
		assert_int_equal(au_serial_add(dev, &serial.old, &port), error);
		serial.more = 0;
		ops.more = (uint64_t)used;
		assert_int_equal(au_serial_add(dev, &serial.old, &port), error);
		if (used)
			assert_non_null(strstr(fw.line, "au_serial_ops"));
	}
	/* shorter than any: the size of the operations counts, too */
	ops.more = 0;
	ops.old.size = sizeof(ops.old) - 8;
	wrong[0] = au_serial_add(dev, &serial.old, &port);
	queue.old.size = offsetof(struct au_queue_config, contexts) - 8;
	wrong[1] = au_queue_create(fw.unit, &queue.old, &q);
	unit.old.abi = AU_ABI + 1;
	wrong[2] = au_unit_add(dev, &unit.old, &u);
	irq.old.abi = 0;
	wrong[3] = au_irq_create(dev, &irq.old, &i);
}

static void test_newer_driver(void **state)
{
	fw_reset();
	fw.prepare = prepare_newer;
	fw_up(NULL);
	assert_int_equal(wrong[0], -AU_EINVAL);
	assert_int_equal(wrong[1], -AU_EINVAL);
	assert_int_equal(wrong[2], -AU_EPROTO);
	assert_int_equal(wrong[3], -AU_EPROTO);
	fw_down();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_grown),
		cmocka_unit_test(test_first_versions),
		cmocka_unit_test(test_newer_driver),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
