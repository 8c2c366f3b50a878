/* SPDX-License-Identifier: MIT */
/* test_serial.c - the 16550 as a driver sees it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/kvm/serial.h"

enum { DATA = 0, IER = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };

static void test_receive(void **state)
{
	struct serial s = { 0 };

	(void) state;
	assert_int_equal(serial_read(&s, LSR), 0x60);
	assert_true(serial_put(&s, "ab", 2));
	assert_int_equal(serial_read(&s, LSR), 0x61);
	assert_false(serial_irq(&s));		/* not asked for yet */
	(void) serial_write(&s, IER, 1);
	assert_true(serial_irq(&s));
	assert_int_equal(serial_read(&s, IIR), 0x04);
	assert_int_equal(serial_read(&s, DATA), 'a');
	assert_true(serial_irq(&s));
	assert_int_equal(serial_read(&s, DATA), 'b');
	assert_false(serial_irq(&s));
	assert_int_equal(serial_read(&s, IIR), 0x01);
	assert_int_equal(serial_read(&s, LSR), 0x60);
	assert_int_equal(serial_read(&s, DATA), 0);
}

static void test_send(void **state)
{
	struct serial s = { 0 };

	(void) state;
	assert_true(serial_write(&s, DATA, 'x'));
	assert_false(serial_irq(&s));
	(void) serial_write(&s, IER, 2);	/* the transmitter is empty, and says so once */
	assert_true(serial_irq(&s));
	assert_int_equal(serial_read(&s, IIR), 0x02);
	assert_false(serial_irq(&s));
	assert_true(serial_write(&s, DATA, 'y'));
	assert_true(serial_irq(&s));
	/* What came goes first. */
	(void) serial_write(&s, IER, 3);
	assert_true(serial_put(&s, "z", 1));
	assert_int_equal(serial_read(&s, IIR), 0x04);
	assert_int_equal(serial_read(&s, DATA), 'z');
	assert_int_equal(serial_read(&s, IIR), 0x02);
}

static void test_registers(void **state)
{
	struct serial s = { 0 };

	(void) state;
	(void) serial_write(&s, LCR, 0x83);
	assert_false(serial_write(&s, DATA, 0x0c));
	(void) serial_write(&s, IER, 0x01);
	assert_int_equal(serial_read(&s, DATA), 0x0c);
	assert_int_equal(serial_read(&s, IER), 0x01);
	(void) serial_write(&s, LCR, 0x03);
	assert_int_equal(serial_read(&s, IER), 0);	/* the divisor was elsewhere */
	(void) serial_write(&s, SCR, 0xa5);
	assert_int_equal(serial_read(&s, SCR), 0xa5);
	(void) serial_write(&s, FCR, 0x01);
	assert_int_equal(serial_read(&s, IIR), 0xc1);
	assert_int_equal(serial_read(&s, MSR), 0xb0);
	(void) serial_write(&s, LSR, 0xff);
	assert_int_equal(serial_read(&s, LSR), 0x60);
	assert_int_equal(serial_read(&s, 8), 0xff);
}

/* How drivers find out that there is a chip: with the loop closed, outputs are inputs. */
static void test_loop(void **state)
{
	struct serial s = { 0 };

	(void) state;
	(void) serial_write(&s, MCR, 0x1a);
	assert_int_equal(serial_read(&s, MSR), 0x90);
	assert_false(serial_write(&s, DATA, 'l'));
	assert_int_equal(serial_read(&s, DATA), 'l');
}

static void test_queue_is_bounded(void **state)
{
	static uint8_t bytes[SERIAL_QUEUE];
	struct serial s = { 0 };

	(void) state;
	assert_true(serial_put(&s, bytes, 3));
	assert_int_equal(serial_read(&s, DATA), 0);
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t) i;
	assert_false(serial_put(&s, bytes, sizeof(bytes) - 1));
	assert_true(serial_put(&s, bytes, sizeof(bytes) - 2));
	assert_false(serial_put(&s, bytes, 1));
	(void) serial_read(&s, DATA);
	(void) serial_read(&s, DATA);
	/* Around the end of the queue, and a clear of the chip's own FIFO takes nothing away. */
	(void) serial_write(&s, FCR, 0x07);
	for (unsigned i = 0; i < sizeof(bytes) - 2; i++)
		assert_int_equal(serial_read(&s, DATA), bytes[i]);
	assert_int_equal(serial_read(&s, LSR), 0x60);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_receive), cmocka_unit_test(test_send),
		cmocka_unit_test(test_registers), cmocka_unit_test(test_loop),
		cmocka_unit_test(test_queue_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
