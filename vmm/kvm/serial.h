/* SPDX-License-Identifier: MIT */
/*
 * serial.h - a 16550 serial port as the guest sees it. No I/O, no locks: its owner has both.
 *
 * What is sent is taken at once, so the transmitter is always empty. What comes waits in a queue
 * that is longer than the chip's, and is part of its state: a command that is half read when the
 * machine moves is read to its end on the other side.
 */
#ifndef VMM_KVM_SERIAL_H
#define VMM_KVM_SERIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERIAL_QUEUE 1024u

struct serial {
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	bool sent;		/* "transmitter empty" has not been told yet */
	uint8_t queue[SERIAL_QUEUE];
	uint32_t first, count;
};

/** serial_read() - register @offset, 0..7 */
uint8_t serial_read(struct serial *s, unsigned offset);
/** serial_write() - Return: true, @value was sent: it is a byte for whoever listens. */
bool serial_write(struct serial *s, unsigned offset, uint8_t value);
/** serial_irq() - the level of its interrupt line */
bool serial_irq(const struct serial *s);
/** serial_put() - bytes for the guest. Return: false, they do not fit: none was taken. */
bool serial_put(struct serial *s, const void *bytes, size_t count);

#endif
