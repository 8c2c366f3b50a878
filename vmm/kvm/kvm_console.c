/* SPDX-License-Identifier: MIT */
/*
 * kvm_console.c - the guest's serial port: lines for people, commands and their answers.
 *
 * What the guest sends is cut into lines. One that begins with "reply " answers a command: "reply +
 * TEXT", or "reply - TEXT" for one that it does not know. Each command is one line, answered by one
 * line, in their order; so an answer is told by its number, and one that comes late (its caller
 * gave up, or the machine moved meanwhile) is taken for nobody else's.
 *
 * A kernel's console is for whoever types at it: bytes out as they come, bytes in as they fit.
 *
 * Section 1 of serial/0, version 1:
 *   u8 x 7  IER, FCR, LCR, MCR, SCR, DLL, DLM
 *   u8      1: "transmitter empty" was not told yet
 *   u32     commands that are not answered yet
 *   u32     bytes that the guest has not read, at most 1024, and these
 *   u32     bytes of the line that it has begun, at most 511, and these
 *
 * Threads: vCPUs read and write registers, others give commands; one lock for all of it. It is held
 * while the interrupt line is set, and not while somebody is told.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../timed.h"
#include "kvm.h"
#include "serial.h"

#define LINE_BYTES	512u
#define REPLY		"reply "
#define ANSWER_BYTES	256u
#define UNANSWERED_MAX	(1u << 20)

struct kvm_console {
	struct kvm_machine *machine;
	kvm_console_wire wire;
	pthread_mutex_t command_lock;	/* one command at a time; before `lock` */
	pthread_mutex_t lock;		/* protects all that follows */
	pthread_cond_t changed;		/* an answer came, or none will */
	struct serial serial;
	bool irq;
	char line[LINE_BYTES];
	size_t line_bytes;
	uint32_t unanswered;		/* commands that the guest has to answer */
	uint64_t last;			/* number of the last one that was given */
	bool listening;			/* vCPUs run: commands are taken */
	uint64_t lives;			/* times that it was told that they park */
	char answer[ANSWER_BYTES];	/* to the last one that was answered */
};

/* ---- the guest's side ---- */

static void update_irq_locked(struct kvm_console *c)
{
	bool level = serial_irq(&c->serial);

	if (level == c->irq)
		return;
	c->irq = level;
	c->wire(c->machine, level);
}

/* A whole line is there. Return: true, it is for people. */
static bool take_line_locked(struct kvm_console *c)
{
	c->line[c->line_bytes] = '\0';
	c->line_bytes = 0;
	if (c->machine->kernel || strncmp(c->line, REPLY, sizeof(REPLY) - 1) != 0)
		return true;
	if (c->unanswered == 0)
		return false;
	c->unanswered--;
	(void) snprintf(c->answer, sizeof(c->answer), "%.*s", (int) sizeof(c->answer) - 1,
			c->line + sizeof(REPLY) - 1);
	pthread_cond_broadcast(&c->changed);
	return false;
}

/* Return: true, c->line is a line for people. */
static bool take_byte_locked(struct kvm_console *c, uint8_t byte)
{
	if (byte == '\n')
		return take_line_locked(c);
	if (byte >= ' ' && byte < 0x7f && c->line_bytes < LINE_BYTES - 1)
		c->line[c->line_bytes++] = (char) byte;
	return false;
}

uint8_t kvm_console_read(struct kvm_console *c, unsigned offset)
{
	uint8_t value;

	pthread_mutex_lock(&c->lock);
	value = serial_read(&c->serial, offset);
	update_irq_locked(c);
	pthread_mutex_unlock(&c->lock);
	return value;
}

void kvm_console_write(struct kvm_console *c, unsigned offset, uint8_t value)
{
	const struct kvm_machine *m = c->machine;
	bool as_bytes = m->kernel && m->callbacks.console_bytes;
	char line[LINE_BYTES];
	bool whole = false, sent;

	pthread_mutex_lock(&c->lock);
	sent = serial_write(&c->serial, offset, value);
	if (sent && !as_bytes) {
		whole = take_byte_locked(c, value);
		if (whole)
			memcpy(line, c->line, sizeof(line));
	}
	update_irq_locked(c);
	pthread_mutex_unlock(&c->lock);
	if (sent && as_bytes)
		m->callbacks.console_bytes(m->user, &value, 1);
	if (whole && m->callbacks.console)
		m->callbacks.console(m->user, line);
}

size_t kvm_console_put(struct kvm_console *c, const void *bytes, size_t count)
{
	size_t taken = 0;

	pthread_mutex_lock(&c->lock);
	if (c->listening) {	/* else they would be no part of what is saved */
		while (taken < count && serial_put(&c->serial, (const uint8_t *) bytes + taken, 1))
			taken++;
		update_irq_locked(c);
	}
	pthread_mutex_unlock(&c->lock);
	return taken;
}

/* ---- commands ---- */

/* Return: 0 answered; -EAGAIN, -ETIMEDOUT. */
static int await_locked(struct kvm_console *c, uint64_t number)
{
	uint64_t until = run_clock_now() + c->machine->stop_timeout_ns;
	uint64_t life = c->lives;

	/* An answer counts even if the last thing that the guest did after it was to power off. */
	while (c->last - c->unanswered < number) {
		if (c->lives != life)
			return -EAGAIN;
		if (timed_cond_wait(&c->changed, &c->lock, until) == ETIMEDOUT)
			return c->last - c->unanswered < number ? -ETIMEDOUT : 0;
	}
	return 0;
}

static int ask_locked(struct kvm_console *c, const char *text)
{
	char line[LINE_BYTES];
	int bytes = snprintf(line, sizeof(line), "%s\n", text);

	if (bytes < 0 || (size_t) bytes >= sizeof(line) || strchr(text, '\n'))
		return -E2BIG;
	if (!c->listening)	/* it would be no part of what is saved */
		return -EAGAIN;
	if (c->unanswered == UNANSWERED_MAX || !serial_put(&c->serial, line, (size_t) bytes))
		return -EBUSY;
	c->last++;
	c->unanswered++;
	update_irq_locked(c);
	return await_locked(c, c->last);
}

static int complain(int r, const char *text, const struct kvm_console *c, struct vferry_error *err)
{
	switch (r) {
	case -EAGAIN:
		return vferry_error_set(err, r, "guest-interrupted", "guest",
					"the machine stopped, or was reset, before the guest answered \"%s\"",
					text);
	case -ETIMEDOUT:
		return vferry_error_set(err, r, "guest-silent", "guest",
					"the guest did not answer \"%s\" within %llu ms", text,
					(unsigned long long) (c->machine->stop_timeout_ns / 1000000));
	case -E2BIG:
		return vferry_error_set(err, -EINVAL, "guest-command", "guest",
					"a command is one line of at most %u bytes", LINE_BYTES - 2);
	case -EBUSY:
		return vferry_error_set(err, r, "guest-busy", "guest",
					"the guest does not read its console: \"%s\" does not fit", text);
	default:
		return vferry_error_set(err, r, "guest-command", "guest", "the guest refused \"%s\"%s%s",
					text, c->answer[1] ? ": " : "", c->answer[1] ? c->answer + 2 : "");
	}
}

int kvm_console_command(struct kvm_console *c, const char *text, char *reply, size_t reply_size,
			struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&c->command_lock);
	pthread_mutex_lock(&c->lock);
	r = ask_locked(c, text);
	if (r == 0 && c->answer[0] != '+')
		r = -EINVAL;
	if (r == 0 && reply && reply_size > 0)
		(void) snprintf(reply, reply_size, "%s", c->answer[1] ? c->answer + 2 : "");
	if (r < 0)
		r = complain(r, text, c, err);
	pthread_mutex_unlock(&c->lock);
	pthread_mutex_unlock(&c->command_lock);
	return r;
}

/* ---- stop, start, reset ---- */

void kvm_console_interrupt(struct kvm_console *c)
{
	pthread_mutex_lock(&c->lock);
	c->listening = false;
	c->lives++;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

/*
 * The line's level is this side's, not part of the interrupt controller's state. It is edge
 * triggered: a high one is given a new edge, and a handler that finds nothing to do does nothing.
 */
void kvm_console_starting(struct kvm_console *c)
{
	pthread_mutex_lock(&c->lock);
	c->listening = true;
	c->irq = serial_irq(&c->serial);
	c->wire(c->machine, false);
	if (c->irq)
		c->wire(c->machine, true);
	pthread_mutex_unlock(&c->lock);
}

void kvm_console_reset(struct kvm_console *c)
{
	pthread_mutex_lock(&c->lock);
	c->serial = (struct serial) { 0 };
	c->line_bytes = 0;
	c->unanswered = 0;
	c->last = 0;
	update_irq_locked(c);
	pthread_mutex_unlock(&c->lock);
}

/* ---- state ---- */

void kvm_console_save(struct kvm_console *c, struct vferry_writer *w)
{
	const struct serial *s = &c->serial;

	pthread_mutex_lock(&c->lock);
	for (const uint8_t *reg = &s->ier; reg <= &s->dlm; reg++)
		vferry_write_u8(w, *reg);
	vferry_write_u8(w, s->sent);
	vferry_write_u32(w, c->unanswered);
	vferry_write_u32(w, s->count);
	for (uint32_t i = 0; i < s->count; i++)
		vferry_write_u8(w, s->queue[(s->first + i) % SERIAL_QUEUE]);
	vferry_write_u32(w, (uint32_t) c->line_bytes);
	for (size_t i = 0; i < c->line_bytes; i++)
		vferry_write_u8(w, (uint8_t) c->line[i]);
	pthread_mutex_unlock(&c->lock);
}

int kvm_console_load(struct kvm_console *c, struct vferry_reader *r, struct vferry_error *err)
{
	struct serial s = { 0 };
	char line[LINE_BYTES] = "";
	uint32_t unanswered, line_bytes;
	uint8_t sent;

	for (uint8_t *reg = &s.ier; reg <= &s.dlm; reg++)
		*reg = vferry_read_u8(r);
	sent = vferry_read_u8(r);
	s.sent = sent != 0;
	unanswered = vferry_read_u32(r);
	s.count = vferry_read_u32(r);
	if (sent > 1 || s.count > SERIAL_QUEUE || unanswered > UNANSWERED_MAX)
		goto bad;
	for (uint32_t i = 0; i < s.count; i++)
		s.queue[i] = vferry_read_u8(r);
	line_bytes = vferry_read_u32(r);
	if (line_bytes >= LINE_BYTES)
		goto bad;
	for (uint32_t i = 0; i < line_bytes; i++)
		line[i] = (char) vferry_read_u8(r);
	if (!vferry_reader_done(r))
		goto bad;
	pthread_mutex_lock(&c->lock);
	c->serial = s;
	memcpy(c->line, line, sizeof(c->line));
	c->line_bytes = line_bytes;
	c->unanswered = unanswered;
	c->last = unanswered;
	pthread_mutex_unlock(&c->lock);
	return 0;
bad:
	return vferry_error_set(err, -EPROTO, "bad-section", "serial/0",
				"the state of the serial port cannot be read");
}

/* ---- life ---- */

int kvm_console_new(struct kvm_machine *m, kvm_console_wire wire, struct kvm_console **ret_console)
{
	struct kvm_console *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->machine = m;
	c->wire = wire;
	(void) pthread_mutex_init(&c->command_lock, NULL);
	(void) pthread_mutex_init(&c->lock, NULL);
	timed_cond_init(&c->changed);
	*ret_console = c;
	return 0;
}

struct kvm_console *kvm_console_free(struct kvm_console *c)
{
	if (!c)
		return NULL;
	(void) pthread_cond_destroy(&c->changed);
	(void) pthread_mutex_destroy(&c->lock);
	(void) pthread_mutex_destroy(&c->command_lock);
	free(c);
	return NULL;
}
