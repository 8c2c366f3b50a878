/* SPDX-License-Identifier: MIT */
/*
 * pins.c - see pins.h.
 *
 * Threads: one of its own, which polls. An event is read, and its pin asserted, under one lock: so
 * whoever holds it knows that what is not in an eventfd any more is in the IOAPIC. The lock comes
 * before the IOAPIC's.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "pins.h"
#include "x86.h"

#define CONNECTIONS_MAX	(2 * MACHINE_DEVICES_MAX)

struct pin_connection {
	unsigned pin;
	int eventfd, resample;
	bool asserted;
};

struct x86_pins {
	struct kvm_machine *machine;
	pthread_t thread;
	bool started;
	int wake;		/* eventfd: the list changed, or it is over */
	pthread_mutex_t lock;	/* protects all that follows */
	bool quit;
	struct pin_connection list[CONNECTIONS_MAX];
	unsigned count;
};

static void wake(struct x86_pins *pins)
{
	(void) eventfd_write(pins->wake, 1);
}

/* Does not block if there is nothing, whatever the descriptor's flags are. */
static bool take(int eventfd)
{
	struct pollfd one = { .fd = eventfd, .events = POLLIN };
	eventfd_t events;

	return poll(&one, 1, 0) == 1 && one.revents & POLLIN && eventfd_read(eventfd, &events) == 0;
}

static void take_events(struct x86_pins *pins)
{
	pthread_mutex_lock(&pins->lock);
	for (unsigned i = 0; i < pins->count; i++) {
		struct pin_connection *c = &pins->list[i];

		if (!take(c->eventfd))
			continue;
		c->asserted = true;
		ioapic_set_line(pins->machine->arch->ioapic, c->pin, true);
	}
	pthread_mutex_unlock(&pins->lock);
}

static void *pins_main(void *user)
{
	struct x86_pins *pins = user;
	struct pollfd fds[CONNECTIONS_MAX + 1];
	bool quit = false;

	(void) pthread_setname_np(pthread_self(), "irq-pins");
	while (!quit) {
		nfds_t count = 1;

		fds[0] = (struct pollfd) { .fd = pins->wake, .events = POLLIN };
		pthread_mutex_lock(&pins->lock);
		quit = pins->quit;
		for (unsigned i = 0; i < pins->count; i++)
			fds[count++] = (struct pollfd) { .fd = pins->list[i].eventfd,
							 .events = POLLIN };
		pthread_mutex_unlock(&pins->lock);
		if (quit)
			break;
		(void) poll(fds, count, -1);
		(void) take(pins->wake);
		take_events(pins);
	}
	return NULL;
}

static int find_locked(const struct x86_pins *pins, int eventfd)
{
	for (unsigned i = 0; i < pins->count; i++)
		if (pins->list[i].eventfd == eventfd)
			return (int) i;
	return -1;
}

static bool asserted_locked(const struct x86_pins *pins, unsigned pin)
{
	for (unsigned i = 0; i < pins->count; i++)
		if (pins->list[i].pin == pin && pins->list[i].asserted)
			return true;
	return false;
}

int x86_pins_connect(struct x86_pins *pins, unsigned pin, int eventfd, int resample)
{
	int r = 0;

	pthread_mutex_lock(&pins->lock);
	if (find_locked(pins, eventfd) >= 0)
		r = -EBUSY;
	else if (pins->count == CONNECTIONS_MAX)
		r = -E2BIG;
	else
		pins->list[pins->count++] = (struct pin_connection) { .pin = pin,
			.eventfd = eventfd, .resample = resample };
	pthread_mutex_unlock(&pins->lock);
	wake(pins);
	return r;
}

void x86_pins_disconnect(struct x86_pins *pins, int eventfd)
{
	int at;

	pthread_mutex_lock(&pins->lock);
	at = find_locked(pins, eventfd);
	if (at >= 0) {
		unsigned pin = pins->list[at].pin;

		pins->list[at] = pins->list[--pins->count];
		ioapic_set_line(pins->machine->arch->ioapic, pin, asserted_locked(pins, pin));
	}
	pthread_mutex_unlock(&pins->lock);
	wake(pins);
}

void x86_pins_ended(struct x86_pins *pins, unsigned pin)
{
	pthread_mutex_lock(&pins->lock);
	for (unsigned i = 0; i < pins->count; i++) {
		struct pin_connection *c = &pins->list[i];

		if (c->pin != pin)
			continue;
		c->asserted = false;
		ioapic_set_line(pins->machine->arch->ioapic, pin, false);
	}
	for (unsigned i = 0; i < pins->count; i++)
		if (pins->list[i].pin == pin && pins->list[i].resample >= 0)
			(void) eventfd_write(pins->list[i].resample, 1);
	pthread_mutex_unlock(&pins->lock);
}

void x86_pins_flush(struct x86_pins *pins)
{
	take_events(pins);
}

int x86_pins_new(struct kvm_machine *m, struct x86_pins **ret_pins)
{
	struct x86_pins *pins = calloc(1, sizeof(*pins));
	int r;

	if (!pins)
		return -ENOMEM;
	pins->machine = m;
	(void) pthread_mutex_init(&pins->lock, NULL);
	pins->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = pins->wake < 0 ? -errno : -pthread_create(&pins->thread, NULL, pins_main, pins);
	if (r < 0) {
		(void) x86_pins_free(pins);
		return r;
	}
	pins->started = true;
	*ret_pins = pins;
	return 0;
}

struct x86_pins *x86_pins_free(struct x86_pins *pins)
{
	if (!pins)
		return NULL;
	if (pins->started) {
		pthread_mutex_lock(&pins->lock);
		pins->quit = true;
		pthread_mutex_unlock(&pins->lock);
		wake(pins);
		(void) pthread_join(pins->thread, NULL);
	}
	if (pins->wake >= 0)
		(void) close(pins->wake);
	(void) pthread_mutex_destroy(&pins->lock);
	free(pins);
	return NULL;
}
