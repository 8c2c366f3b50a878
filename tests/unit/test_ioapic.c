/* SPDX-License-Identifier: MIT */
/* test_ioapic.c - the IOAPIC of a split irqchip: edges, levels, ends of interrupts, its state. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "vmm/kvm/x86/ioapic.h"

#define LEVEL	0x8000u
#define MASKED	0x10000u
#define REMOTE	0x4000u

struct board {
	struct ioapic *io;
	struct ioapic_message sent[16];
	unsigned sends, reroutes, ends;
	bool let_go;		/* what `ended` does to the line */
	uint8_t in_service;
};

static void send(void *user, const struct ioapic_message *message)
{
	struct board *b = user;

	b->sent[b->sends++ % 16] = *message;
}

static void rerouted(void *user)
{
	struct board *b = user;
	struct ioapic_message message;

	b->reroutes++;
	(void) ioapic_get_message(b->io, 3, &message);	/* no lock is held */
}

static void ended(void *user, unsigned pin)
{
	struct board *b = user;

	b->ends++;
	if (b->let_go)
		ioapic_set_line(b->io, pin, false);
}

static bool in_service(void *user, uint8_t vector)
{
	return ((struct board *) user)->in_service == vector;
}

static void write_register(struct board *b, uint32_t index, uint32_t value)
{
	ioapic_write(b->io, 0, 4, index);
	ioapic_write(b->io, 0x10, 4, value);
}

static uint32_t read_register(struct board *b, uint32_t index)
{
	ioapic_write(b->io, 0, 4, index);
	return ioapic_read(b->io, 0x10, 4);
}

static void route(struct board *b, unsigned pin, uint32_t low, uint32_t destination)
{
	write_register(b, 0x11 + 2 * pin, destination << 24);
	write_register(b, 0x10 + 2 * pin, low);
}

static int set_up(void **state)
{
	static const struct ioapic_ops ops = { .send = send, .rerouted = rerouted, .ended = ended };
	static struct board board;

	board = (struct board) { .let_go = true };
	assert_int_equal(ioapic_new(&ops, &board, &board.io), 0);
	*state = &board;
	return 0;
}

static int tear_down(void **state)
{
	struct board *b = *state;

	b->io = ioapic_free(b->io);
	return 0;
}

static void registers(void **state)
{
	struct board *b = *state;

	assert_int_equal(read_register(b, 1), 0x00170011);
	write_register(b, 0, 0xffffffff);
	assert_int_equal(read_register(b, 0), 0x0f000000);
	assert_int_equal(read_register(b, 0x10), MASKED);
	route(b, 23, 0xffffffff, 0xff);
	assert_int_equal(read_register(b, 0x3e), 0x0001afff);	/* not the status, not remote IRR */
	assert_int_equal(read_register(b, 0x3f), 0xff000000);
	assert_int_equal(read_register(b, 0x40), 0);
	write_register(b, 0x40, 1);
	assert_int_equal(read_register(b, 0x0f), 0);
	ioapic_write(b->io, 0x10, 2, 5);
	assert_int_equal(ioapic_read(b->io, 0x10, 1), 0);
	assert_int_equal(b->sends, 0);
}

static void edges(void **state)
{
	struct board *b = *state;

	ioapic_set_line(b->io, 4, true);	/* masked: nobody hears it, now or later */
	route(b, 4, 0x34, 2);
	assert_int_equal(b->sends, 0);
	ioapic_set_line(b->io, 4, true);
	assert_int_equal(b->sends, 0);
	ioapic_set_line(b->io, 4, false);
	ioapic_set_line(b->io, 4, true);
	assert_int_equal(b->sends, 1);
	assert_int_equal(b->sent[0].address, 0xfee02000);
	assert_int_equal(b->sent[0].data, 0x4034);
	ioapic_end_of_interrupt(b->io, 0x34);
	assert_int_equal(b->ends, 0);
}

static void levels(void **state)
{
	struct board *b = *state;

	ioapic_set_line(b->io, 17, true);
	assert_int_equal(b->sends, 0);
	route(b, 17, 0x51 | LEVEL | 1u << 11, 3);	/* logical */
	assert_int_equal(b->sends, 1);
	assert_int_equal(b->sent[0].address, 0xfee03004);
	assert_int_equal(b->sent[0].data, 0xc051);
	assert_int_equal(read_register(b, 0x10 + 34) & REMOTE, REMOTE);
	ioapic_set_line(b->io, 17, true);
	assert_int_equal(b->sends, 1);
	ioapic_end_of_interrupt(b->io, 0x50);		/* another's */
	assert_int_equal(b->ends, 0);
	ioapic_end_of_interrupt(b->io, 0x51);
	assert_int_equal(b->ends, 1);
	assert_int_equal(b->sends, 1);
	b->let_go = false;				/* a cause is still there */
	ioapic_set_line(b->io, 17, true);
	assert_int_equal(b->sends, 2);
	ioapic_end_of_interrupt(b->io, 0x51);
	assert_int_equal(b->sends, 3);
	write_register(b, 0x10 + 34, 0x51 | LEVEL | MASKED);
	ioapic_end_of_interrupt(b->io, 0x51);
	assert_int_equal(b->sends, 3);
	write_register(b, 0x10 + 34, 0x51 | LEVEL);
	assert_int_equal(b->sends, 4);
}

/* Routes are set for each change, so that ends are reported; a vector below 16 is none. */
static void messages(void **state)
{
	struct board *b = *state;
	struct ioapic_message message;

	assert_false(ioapic_get_message(b->io, 5, &message));
	route(b, 5, 0x60 | LEVEL | MASKED, 1);
	assert_int_equal(b->reroutes, 2);
	assert_true(ioapic_get_message(b->io, 5, &message));	/* masked, but may be in service */
	assert_int_equal(message.data, 0xc060);
	assert_false(ioapic_get_message(b->io, IOAPIC_PINS, &message));
}

struct section {
	uint8_t data[IOAPIC_SECTION_BYTES + 1];
	size_t bytes;
};

static struct section save(struct board *b)
{
	struct section s;
	struct vferry_writer *w;
	const void *data;

	assert_int_equal(vferry_writer_new(IOAPIC_SECTION_BYTES, &w), 0);
	ioapic_save(b->io, w);
	assert_true(vferry_writer_ok(w));
	data = vferry_writer_data(w, &s.bytes);
	memcpy(s.data, data, s.bytes);
	s.data[s.bytes] = 0;
	(void) vferry_writer_free(w);
	return s;
}

static int load(struct board *b, const struct section *s, size_t bytes)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_reader *r;
	int ret;

	assert_int_equal(vferry_reader_new(s->data, bytes, &r), 0);
	ret = ioapic_load(b->io, r, in_service, &err);
	(void) vferry_reader_free(r);
	return ret;
}

static void state_is_kept(void **state)
{
	struct board *b = *state;
	struct section s, again;

	route(b, 17, 0x51 | LEVEL, 3);
	route(b, 4, 0x34, 1);
	ioapic_set_line(b->io, 17, true);
	write_register(b, 0, 0x05000000);
	s = save(b);
	ioapic_reset(b->io);
	assert_int_equal(read_register(b, 0x10 + 34), MASKED);
	b->sends = 0;
	b->in_service = 0x51;
	assert_int_equal(load(b, &s, s.bytes), 0);
	again = save(b);
	assert_int_equal(again.bytes, s.bytes);
	assert_memory_equal(again.data, s.data, s.bytes);
	assert_int_equal(b->sends, 0);		/* it is being served */
	ioapic_end_of_interrupt(b->io, 0x51);
	assert_int_equal(b->ends, 1);
	for (size_t cut = 0; cut < s.bytes; cut++)
		assert_int_equal(load(b, &s, cut), -EPROTO);
	assert_int_equal(load(b, &s, s.bytes + 1), -EPROTO);
	s.data[12 + 2] = 0x10;			/* a bit that no register has */
	assert_int_equal(load(b, &s, s.bytes), -EPROTO);
}

/* Ended in the last moment before the stop: no LAPIC has it, so nobody would ever say so. */
static void unheard_end_is_made_up_for(void **state)
{
	struct board *b = *state;
	struct section s;

	route(b, 17, 0x51 | LEVEL, 3);
	ioapic_set_line(b->io, 17, true);
	s = save(b);
	ioapic_reset(b->io);
	b->sends = 0;
	b->in_service = 0x52;
	assert_int_equal(load(b, &s, s.bytes), 0);
	assert_int_equal(b->sends, 0);
	ioapic_set_line(b->io, 17, true);	/* the device has a cause still */
	assert_int_equal(b->sends, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(registers), TEST(edges), TEST(levels), TEST(messages), TEST(state_is_kept),
		TEST(unheard_end_is_made_up_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
