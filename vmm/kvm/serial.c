/* SPDX-License-Identifier: MIT */
/* serial.c - see serial.h. Registers: the 16550's data sheet. */
#include "serial.h"

enum { DATA = 0, IER = 1, IIR_FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };

#define IER_RECEIVED	0x01u
#define IER_SENT	0x02u
#define IER_ALL		0x0fu
#define IIR_NONE	0x01u
#define IIR_SENT	0x02u
#define IIR_RECEIVED	0x04u
#define IIR_FIFO	0xc0u
#define FCR_ENABLE	0x01u
#define LCR_DLAB	0x80u
#define MCR_LOOP	0x10u
#define MCR_ALL		0x1fu
#define LSR_READY	0x01u
#define LSR_EMPTY	0x60u	/* holding register and shift register */
#define MSR_PRESENT	0xb0u	/* carrier, data set ready, clear to send */

static uint8_t take(struct serial *s)
{
	uint8_t byte;

	if (s->count == 0)
		return 0;
	byte = s->queue[s->first];
	s->first = (s->first + 1) % SERIAL_QUEUE;
	s->count--;
	return byte;
}

bool serial_put(struct serial *s, const void *bytes, size_t count)
{
	const uint8_t *from = bytes;

	if (count > SERIAL_QUEUE - s->count)
		return false;
	for (size_t i = 0; i < count; i++)
		s->queue[(s->first + s->count++) % SERIAL_QUEUE] = from[i];
	return true;
}

static uint8_t cause(const struct serial *s)
{
	if (s->ier & IER_RECEIVED && s->count > 0)
		return IIR_RECEIVED;
	if (s->ier & IER_SENT && s->sent)
		return IIR_SENT;
	return IIR_NONE;
}

bool serial_irq(const struct serial *s)
{
	return cause(s) != IIR_NONE;
}

/* With the loop closed a driver finds its own outputs at its inputs. */
static uint8_t modem_status(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_PRESENT;
	return (uint8_t) ((s->mcr & 0x02u) << 3 | (s->mcr & 0x01u) << 5 | (s->mcr & 0x0cu) << 4);
}

uint8_t serial_read(struct serial *s, unsigned offset)
{
	uint8_t value;

	switch (offset) {
	case DATA:
		return s->lcr & LCR_DLAB ? s->dll : take(s);
	case IER:
		return s->lcr & LCR_DLAB ? s->dlm : s->ier;
	case IIR_FCR:
		value = cause(s);
		if (value == IIR_SENT)
			s->sent = false;	/* reading it is what acknowledges it */
		return value | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
	case LCR:
		return s->lcr;
	case MCR:
		return s->mcr;
	case LSR:
		return LSR_EMPTY | (s->count > 0 ? LSR_READY : 0);
	case MSR:
		return modem_status(s);
	case SCR:
		return s->scr;
	default:
		return 0xff;
	}
}

static bool send(struct serial *s, uint8_t value)
{
	s->sent = true;
	if (!(s->mcr & MCR_LOOP))
		return true;
	(void) serial_put(s, &value, 1);
	return false;
}

bool serial_write(struct serial *s, unsigned offset, uint8_t value)
{
	switch (offset) {
	case DATA:
		if (!(s->lcr & LCR_DLAB))
			return send(s, value);
		s->dll = value;
		break;
	case IER:
		if (s->lcr & LCR_DLAB) {
			s->dlm = value;
			break;
		}
		if (value & IER_SENT && !(s->ier & IER_SENT))
			s->sent = true;	/* it is empty, which is news to who asks now */
		s->ier = value & IER_ALL;
		break;
	case IIR_FCR:
		/* Clearing empties the chip, where nothing is: what waits in the queue is still to come. */
		s->fcr = value & FCR_ENABLE;
		break;
	case LCR:
		s->lcr = value;
		break;
	case MCR:
		s->mcr = value & MCR_ALL;
		break;
	case SCR:
		s->scr = value;
		break;
	default:	/* LSR and MSR are read only */
		break;
	}
	return false;
}
