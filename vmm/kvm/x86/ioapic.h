/* SPDX-License-Identifier: MIT */
/*
 * ioapic.h - an 82093AA IOAPIC, for a split irqchip: pins go in, messages to LAPICs come out.
 *
 * A level-triggered pin sends its message once, and waits for the end of the interrupt (remote IRR)
 * before it sends another. Which ends are reported KVM learns from routes: the first 24 GSIs have
 * the messages of the pins, also of masked ones, whose interrupt may be in service.
 *
 * Threads: any. Callbacks run with no lock of the IOAPIC held, but for `send`, which is a leaf.
 */
#ifndef VMM_KVM_X86_IOAPIC_H
#define VMM_KVM_X86_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/error.h>
#include <vferry/stream.h>

#define IOAPIC_PINS	24u
#define IOAPIC_BYTES	0x1000u		/* of the address space */
#define IOAPIC_SECTION_BYTES (4u + 4 + 4 + IOAPIC_PINS * 8)

struct ioapic;

struct ioapic_message {
	uint64_t address;
	uint32_t data;
};

struct ioapic_ops {
	void (*send)(void *user, const struct ioapic_message *message);
	/* The message of some pin is another one: routes are set before it is sent. */
	void (*rerouted)(void *user);
	/* An interrupt of this level-triggered pin is over: whoever asserts it may do so again. */
	void (*ended)(void *user, unsigned pin);
};

int ioapic_new(const struct ioapic_ops *ops, void *user, struct ioapic **ret_ioapic);
struct ioapic *ioapic_free(struct ioapic *ioapic);
void ioapic_reset(struct ioapic *ioapic);

/* @offset from its address. Accesses of other than 4 bytes read as zeros, and change nothing. */
uint32_t ioapic_read(struct ioapic *ioapic, uint64_t offset, unsigned size);
void ioapic_write(struct ioapic *ioapic, uint64_t offset, unsigned size, uint32_t value);
void ioapic_set_line(struct ioapic *ioapic, unsigned pin, bool level);
void ioapic_end_of_interrupt(struct ioapic *ioapic, uint8_t vector);
/* What a pin sends. false: nothing that is valid. */
bool ioapic_get_message(struct ioapic *ioapic, unsigned pin, struct ioapic_message *ret_message);

/* Section "state", version 1: u32 selected register | u32 id | u32 lines | 24 u64 redirections. */
void ioapic_save(struct ioapic *ioapic, struct vferry_writer *w);
/*
 * Loaded whole or not at all: -EPROTO. LAPICs are there before. @in_service: has a LAPIC this vector
 * requested or in service? Where none has, the end of the interrupt was on its way to us.
 */
int ioapic_load(struct ioapic *ioapic, struct vferry_reader *r,
		bool (*in_service)(void *user, uint8_t vector), struct vferry_error *err);

#endif
