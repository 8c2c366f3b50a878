/* SPDX-License-Identifier: MIT */
/*
 * fuzz_ioapic.c - the section of a split irqchip's IOAPIC, and what a guest writes into it.
 *
 * The first byte: bit 0 says what the LAPICs have in service (all or nothing). Then a section; what
 * is accepted is saved and must be accepted again. Behind it writes of a guest: offset, 4 bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "vmm/kvm/x86/ioapic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct board {
	struct ioapic *io;
	bool in_service;
};

static void send(void *user, const struct ioapic_message *message)
{
	(void) user;
	if (message->address >> 20 != 0xfee || message->data >> 16)
		abort();
}

static void rerouted(void *user)
{
	struct board *b = user;
	struct ioapic_message message;

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		if (ioapic_get_message(b->io, pin, &message))
			send(user, &message);
}

static void ended(void *user, unsigned pin)
{
	ioapic_set_line(((struct board *) user)->io, pin, false);
}

static bool in_service(void *user, uint8_t vector)
{
	(void) vector;
	return ((struct board *) user)->in_service;
}

static int load(struct board *b, const void *data, size_t size)
{
	struct vferry_reader *r;
	int ret;

	if (vferry_reader_new(data, size, &r) < 0)
		return -1;
	ret = ioapic_load(b->io, r, in_service, NULL);
	(void) vferry_reader_free(r);
	return ret;
}

static void save_and_load(struct board *b)
{
	struct vferry_writer *w;
	const void *section;
	size_t bytes;

	if (vferry_writer_new(IOAPIC_SECTION_BYTES, &w) < 0)
		return;
	ioapic_save(b->io, w);
	section = vferry_writer_data(w, &bytes);
	if (!vferry_writer_ok(w) || bytes != IOAPIC_SECTION_BYTES || load(b, section, bytes) < 0)
		abort();
	(void) vferry_writer_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ioapic_ops ops = { .send = send, .rerouted = rerouted, .ended = ended };
	struct board b = { .in_service = size && data[0] & 1 };
	size_t section = size > 1 ? size - 1 : 0;

	if (ioapic_new(&ops, &b, &b.io) < 0)
		return 0;
	if (section > IOAPIC_SECTION_BYTES)
		section = IOAPIC_SECTION_BYTES;
	if (section && load(&b, data + 1, section) == 0)
		save_and_load(&b);
	for (size_t at = 1 + section; at + 5 <= size; at += 5) {
		uint32_t value;

		memcpy(&value, data + at + 1, sizeof(value));
		ioapic_write(b.io, data[at], 4, value);
		ioapic_set_line(b.io, value % IOAPIC_PINS, data[at] & 1);
		ioapic_end_of_interrupt(b.io, (uint8_t) value);
		(void) ioapic_read(b.io, 0x10, 4);
	}
	save_and_load(&b);
	(void) ioapic_free(b.io);
	return 0;
}
