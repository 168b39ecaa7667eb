/* SPDX-License-Identifier: MIT */
/*
 * The UART driver on a model of the chip's registers: how it takes a device over that is in any
 * state. How it carries bytes is tested with QEMU's model.
 */
/* The driver's own functions. NOLINTNEXTLINE(bugprone-suspicious-include) */
#include "../../drivers/uart16550/uart16550.c"

#include "fake_bus.h"

#include "base/note.h"
#include "class/serial.h"

static struct {
	uint8_t ier, fcr, lcr, mcr, lsr, dll, dlm;
	bool no_fifo;
	char writes[1024]; /* "LCR=03 ..." */
} chip;

static uint8_t chip_read(uint64_t offset)
{
	uint8_t value;

	switch (offset) {
	case IER:
		return chip.lcr & LCR_DLAB ? chip.dlm : chip.ier;
	case IIR:
		return (uint8_t)(IIR_NONE | (chip.fcr & FCR_ENABLE && !chip.no_fifo ? 0xc0 : 0));
	case LCR:
		return chip.lcr;
	case MCR:
		return chip.mcr;
	case LSR:
		value = chip.lsr;
		chip.lsr &= 0xe1; /* reading it clears the conditions */
		return value;
	default:
		return 0;
	}
}

static void chip_write(uint64_t offset, uint8_t value)
{
	static const char *const names[] = {
		"THR", "IER", "FCR", "LCR", "MCR", "LSR", "MSR", "SCR"
	};
	size_t length = strlen(chip.writes);
	bool latch = chip.lcr & LCR_DLAB && offset <= DLM;

	snprintf(chip.writes + length, sizeof(chip.writes) - length, "%s=%02x ",
		 latch ? offset ? "DLM" : "DLL" : names[offset % 8], value);
	if (latch)
		*(offset ? &chip.dlm : &chip.dll) = value;
	else if (offset == IER)
		chip.ier = value;
	else if (offset == FCR)
		chip.fcr = value;
	else if (offset == LCR)
		chip.lcr = value;
	else if (offset == MCR)
		chip.mcr = value;
}

static int model_read(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		      uint64_t *value)
{
	if (region != 0)
		return fake_read(bus, region, offset, width, value);
	*value = fake.dead ? 0xff : chip_read(offset);
	return 0;
}

static int model_write(struct au_bus *bus, unsigned int region, uint64_t offset, uint32_t width,
		       uint64_t value, bool posted)
{
	if (region != 0)
		return fake_write(bus, region, offset, width, value, posted);
	chip_write(offset, (uint8_t)value);
	return 0;
}

static struct au_bus_ops model_ops;
static struct au_note model_note;
static struct serial_state *model_state;
static enum au_power model_from;

static void with_model(struct auf_device_config *config)
{
	char error[256] = "";

	assert_int_equal(au_note_parse(au_driver_note.desc, au_driver_note.descsz, "uart16550",
				       &model_note, error, sizeof(error)),
			 0);
	model_ops = fake_ops;
	model_ops.read = model_read;
	model_ops.write = model_write;
	fake.bus.ops = &model_ops;
	config->bus = &fake.bus;
	config->driver = &au_driver;
	config->note = &model_note;
	config->state = model_state;
	config->state_size = AUF_STATE_SIZE;
	config->from = model_from;
	config->hold_gate = model_from == AU_POWER_FAILED;
}

static int setup(void **state)
{
	fw_reset();
	fake_reset();
	memset(&chip, 0, sizeof(chip));
	chip.lsr = LSR_TX_EMPTY | LSR_TX_IDLE;
	chip.lcr = 0x03;
	model_from = AU_POWER_FAILED;
	/* what a host left that had it open at 115200 baud */
	model_state = calloc(1, AUF_STATE_SIZE);
	serial_state_init(model_state, true);
	model_state->outputs = AU_MODEM_OUTPUTS;
	return 0;
}

static int teardown(void **state)
{
	fw_down();
	free(model_state);
	return 0;
}

static int start(void)
{
	assert_int_equal(fw_create(with_model), 0);
	return auf_device_start(fw.dev);
}

static void test_died_in_the_divisor_latch(void **state)
{
	chip.lcr = 0x83;
	chip.ier = IER_ALL & ~IER_RX; /* of a host whose buffers were full */
	chip.dll = 0x60;
	assert_int_equal(start(), 0);
	assert_int_equal(chip.ier, IER_ALL);
	assert_int_equal(chip.lcr, 0x03);
	assert_int_equal(chip.dll, 1);
	assert_int_equal(chip.dlm, 0);
}

static void test_fifos_are_kept_and_overruns_counted(void **state)
{
	chip.lsr |= AU_RX_OVERRUN | LSR_DATA;
	assert_int_equal(start(), 0);
	assert_int_equal(chip.fcr & FCR_CLEAR, 0);
	assert_int_equal(model_state->counters.overrun, 1);
}

static void test_first_start_clears_the_fifos(void **state)
{
	model_from = AU_POWER_OFF;
	assert_int_equal(start(), 0);
	assert_int_equal(chip.fcr & FCR_CLEAR, FCR_CLEAR);
}

static void test_break_and_outputs_do_not_falter(void **state)
{
	chip.lcr |= LCR_BREAK;
	chip.mcr = 0x0b;
	model_state->brk = 1;
	assert_int_equal(start(), 0);
	assert_string_equal(chip.writes, "LCR=43 IER=00 FCR=c1 IER=0f LCR=c3 DLL=01 DLM=00 LCR=43 "
					 "MCR=0b LCR=43 ");
}

static void test_break_of_nobody_ends(void **state)
{
	chip.lcr |= LCR_BREAK;
	assert_int_equal(start(), 0);
	assert_int_equal(chip.lcr, 0x03);
}

static void test_no_fifo_no_start(void **state)
{
	chip.no_fifo = true;
	assert_int_equal(start(), -ENODEV);
}

static void test_no_device_no_start(void **state)
{
	fake.dead = true;
	assert_int_equal(start(), -ENODEV);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_died_in_the_divisor_latch),
		TEST(test_fifos_are_kept_and_overruns_counted),
		TEST(test_first_start_clears_the_fifos),
		TEST(test_break_and_outputs_do_not_falter),
		TEST(test_break_of_nobody_ends),
		TEST(test_no_fifo_no_start),
		TEST(test_no_device_no_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
