/* SPDX-License-Identifier: MIT */
/* ioapic.c - see ioapic.h. Registers: the 82093AA's data sheet; behaviour as KVM's own IOAPIC. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "ioapic.h"

#define REG_SELECT	0x00u
#define REG_WINDOW	0x10u

#define INDEX_ID	0x00u
#define INDEX_VERSION	0x01u
#define INDEX_ARB	0x02u
#define INDEX_REDIR	0x10u
#define VERSION		(0x11u | (IOAPIC_PINS - 1) << 16)
#define ID_MASK		0x0f000000u

#define VECTOR_MASK	0xffull
#define VECTOR_MIN	0x10u
#define DELIVERY_MASK	(7ull << 8)
#define LOGICAL		(1ull << 11)
#define REMOTE_IRR	(1ull << 14)
#define LEVEL		(1ull << 15)
#define MASKED		(1ull << 16)
#define WRITABLE	(0xff00000000000000ull | MASKED | LEVEL | 1ull << 13 | LOGICAL | \
			 DELIVERY_MASK | VECTOR_MASK)
#define VALID		(WRITABLE | REMOTE_IRR)
#define DESTINATION_SHIFT 56

#define MSI_ADDRESS	0xfee00000ull
#define MSI_LOGICAL	(1u << 2)
#define MSI_ASSERT	(1u << 14)
#define MSI_LEVEL	(1u << 15)

struct ioapic {
	struct ioapic_ops ops;
	void *user;
	pthread_mutex_t lock;	/* protects all that follows */
	uint32_t select, id;
	uint32_t lines;		/* level of each pin */
	uint64_t redir[IOAPIC_PINS];
};

static bool message_of(uint64_t redir, struct ioapic_message *to)
{
	*to = (struct ioapic_message) {
		.address = MSI_ADDRESS | redir >> DESTINATION_SHIFT << 12 |
			   (redir & LOGICAL ? MSI_LOGICAL : 0),
		.data = (uint32_t) (redir & (VECTOR_MASK | DELIVERY_MASK)) | MSI_ASSERT |
			(redir & LEVEL ? MSI_LEVEL : 0),
	};
	return (redir & VECTOR_MASK) >= VECTOR_MIN || redir & DELIVERY_MASK;
}

/* Sends what a level-triggered pin has to send. */
static void service_locked(struct ioapic *io, unsigned pin)
{
	uint64_t redir = io->redir[pin];
	struct ioapic_message message;

	if (!(redir & LEVEL) || redir & (MASKED | REMOTE_IRR) || !(io->lines >> pin & 1) ||
	    !message_of(redir, &message))
		return;
	io->redir[pin] |= REMOTE_IRR;
	io->ops.send(io->user, &message);
}

void ioapic_set_line(struct ioapic *io, unsigned pin, bool level)
{
	struct ioapic_message message;
	bool rises;

	if (pin >= IOAPIC_PINS)
		return;
	pthread_mutex_lock(&io->lock);
	rises = level && !(io->lines >> pin & 1);
	io->lines = (io->lines & ~(1u << pin)) | (uint32_t) level << pin;
	if (io->redir[pin] & LEVEL)
		service_locked(io, pin);
	else if (rises && !(io->redir[pin] & MASKED) && message_of(io->redir[pin], &message))
		io->ops.send(io->user, &message);
	pthread_mutex_unlock(&io->lock);
}

/* Which pins wait for this vector, as bits. */
static uint32_t waiting_locked(const struct ioapic *io, uint8_t vector)
{
	uint32_t pins = 0;

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		if (io->redir[pin] & REMOTE_IRR && (io->redir[pin] & VECTOR_MASK) == vector)
			pins |= 1u << pin;
	return pins;
}

/* The line is let go first, so that the old cause is not sent a second time. */
void ioapic_end_of_interrupt(struct ioapic *io, uint8_t vector)
{
	uint32_t pins;

	pthread_mutex_lock(&io->lock);
	pins = waiting_locked(io, vector);
	pthread_mutex_unlock(&io->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if (!(pins >> pin & 1))
			continue;
		io->ops.ended(io->user, pin);
		pthread_mutex_lock(&io->lock);
		io->redir[pin] &= ~REMOTE_IRR;
		service_locked(io, pin);
		pthread_mutex_unlock(&io->lock);
	}
}

bool ioapic_get_message(struct ioapic *io, unsigned pin, struct ioapic_message *ret_message)
{
	bool valid;

	pthread_mutex_lock(&io->lock);
	valid = pin < IOAPIC_PINS && message_of(io->redir[pin], ret_message);
	pthread_mutex_unlock(&io->lock);
	return valid;
}

/* ---- registers ---- */

static uint32_t read_window_locked(const struct ioapic *io)
{
	unsigned at = io->select - INDEX_REDIR;

	if (io->select == INDEX_ID || io->select == INDEX_ARB)
		return io->id;
	if (io->select == INDEX_VERSION)
		return VERSION;
	if (io->select < INDEX_REDIR || at / 2 >= IOAPIC_PINS)
		return 0;
	return (uint32_t) (io->redir[at / 2] >> at % 2 * 32);
}

uint32_t ioapic_read(struct ioapic *io, uint64_t offset, unsigned size)
{
	uint32_t value = 0;

	pthread_mutex_lock(&io->lock);
	if (size == 4 && offset == REG_SELECT)
		value = io->select;
	else if (size == 4 && offset == REG_WINDOW)
		value = read_window_locked(io);
	pthread_mutex_unlock(&io->lock);
	return value;
}

/* Return: the pin whose redirection was written, or -1. */
static int write_window_locked(struct ioapic *io, uint32_t value)
{
	unsigned at = io->select - INDEX_REDIR, shift = at % 2 * 32;
	uint64_t mask, redir;

	if (io->select == INDEX_ID)
		io->id = value & ID_MASK;
	if (io->select < INDEX_REDIR || at / 2 >= IOAPIC_PINS)
		return -1;
	mask = (0xffffffffull << shift) & WRITABLE;
	redir = (io->redir[at / 2] & ~mask) | ((uint64_t) value << shift & mask);
	if (!(redir & LEVEL))
		redir &= ~REMOTE_IRR;	/* an edge waits for nothing */
	io->redir[at / 2] = redir;
	return (int) (at / 2);
}

void ioapic_write(struct ioapic *io, uint64_t offset, unsigned size, uint32_t value)
{
	int pin = -1;

	if (size != 4)
		return;
	pthread_mutex_lock(&io->lock);
	if (offset == REG_SELECT)
		io->select = value & 0xff;
	else if (offset == REG_WINDOW)
		pin = write_window_locked(io, value);
	pthread_mutex_unlock(&io->lock);
	if (pin < 0)
		return;
	io->ops.rerouted(io->user);
	pthread_mutex_lock(&io->lock);
	service_locked(io, (unsigned) pin);
	pthread_mutex_unlock(&io->lock);
}

/* ---- state ---- */

void ioapic_save(struct ioapic *io, struct vferry_writer *w)
{
	pthread_mutex_lock(&io->lock);
	vferry_write_u32(w, io->select);
	vferry_write_u32(w, io->id);
	vferry_write_u32(w, io->lines);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		vferry_write_u64(w, io->redir[pin]);
	pthread_mutex_unlock(&io->lock);
}

/*
 * A vCPU may have ended an interrupt just before it was stopped: KVM would have told on its next
 * run, which is on the other side and knows nothing of it.
 */
static void end_unheard(struct ioapic *io, uint64_t *redir, uint32_t *lines,
			bool (*in_service)(void *user, uint8_t vector))
{
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		if (!(redir[pin] & REMOTE_IRR) || in_service(io->user, (uint8_t) redir[pin]))
			continue;
		redir[pin] &= ~REMOTE_IRR;
		*lines &= ~(1u << pin);		/* asserted again by whoever has a cause */
	}
}

int ioapic_load(struct ioapic *io, struct vferry_reader *r,
		bool (*in_service)(void *user, uint8_t vector), struct vferry_error *err)
{
	uint32_t select = vferry_read_u32(r), id = vferry_read_u32(r), lines = vferry_read_u32(r);
	bool good = select <= 0xff && !(id & ~ID_MASK) && !(lines >> IOAPIC_PINS);
	uint64_t redir[IOAPIC_PINS];

	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
		redir[pin] = vferry_read_u64(r);
		good = good && !(redir[pin] & ~VALID) &&
		       (redir[pin] & LEVEL || !(redir[pin] & REMOTE_IRR));
	}
	if (!good || !vferry_reader_done(r))
		return vferry_error_set(err, -EPROTO, "bad-section", "ioapic",
					"the state of the IOAPIC cannot be read");
	end_unheard(io, redir, &lines, in_service);
	pthread_mutex_lock(&io->lock);
	io->select = select;
	io->id = id;
	io->lines = lines;
	memcpy(io->redir, redir, sizeof(redir));
	pthread_mutex_unlock(&io->lock);
	io->ops.rerouted(io->user);
	pthread_mutex_lock(&io->lock);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		service_locked(io, pin);
	pthread_mutex_unlock(&io->lock);
	return 0;
}

void ioapic_reset(struct ioapic *io)
{
	pthread_mutex_lock(&io->lock);
	io->select = io->id = io->lines = 0;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		io->redir[pin] = MASKED;
	pthread_mutex_unlock(&io->lock);
	io->ops.rerouted(io->user);
}

/* ---- life ---- */

int ioapic_new(const struct ioapic_ops *ops, void *user, struct ioapic **ret_ioapic)
{
	struct ioapic *io = calloc(1, sizeof(*io));

	if (!io)
		return -ENOMEM;
	io->ops = *ops;
	io->user = user;
	(void) pthread_mutex_init(&io->lock, NULL);
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		io->redir[pin] = MASKED;
	*ret_ioapic = io;
	return 0;
}

struct ioapic *ioapic_free(struct ioapic *io)
{
	if (!io)
		return NULL;
	(void) pthread_mutex_destroy(&io->lock);
	free(io);
	return NULL;
}
