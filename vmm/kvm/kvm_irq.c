/* SPDX-License-Identifier: MIT */
/*
 * kvm_irq.c - from the eventfds of devices to KVM's interrupt controllers: struct vferry_irq_sink.
 *
 * Routes. The first GSIs are the pins of KVM's interrupt controllers, as it wires them by itself;
 * the plan's GSIs follow, one for each message. KVM takes the table as a whole, so both go in
 * together. A pin of the plan has no route of its own: KVM reports an end of interrupt to one GSI of
 * a pin only, so it is connected by the pin's GSI. Pins of a controller that is not KVM's are
 * connected by whoever has it (struct kvm_arch_pins).
 *
 * Flush. A device's write to an eventfd runs KVM's irqfd code before it returns, and most messages
 * are delivered there and then. Those that are not (kvm_arch_is_queued()), and an event that was
 * pending when its eventfd was connected, are delivered by a work queue. The work of one irqfd is
 * waited for by taking the irqfd away (virt/kvm/eventfd.c, irqfd_shutdown), so a flush reconnects
 * those that may have used it, as long as nothing is lost by that. A pin of KVM's needs none: its
 * device asserts it for as long as there is a cause, and is asked for that when it is connected
 * again.
 *
 * Threads: any; one lock.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm.h"

#define GSIS 4096u	/* KVM_MAX_IRQ_ROUTES */

struct connection {
	uint32_t gsi;		/* KVM's: a pin's own for a pin, else the plan's */
	bool pin;
	bool queued;		/* an event may be on its way by a work queue */
	int eventfd;		/* borrowed, as is the next */
	int resample;		/* -1: none */
	struct connection *next;
};

struct kvm_irq {
	int vm;			/* borrowed */
	struct kvm_machine *machine;
	const struct kvm_arch_pins *pins;	/* NULL: pins are KVM's */
	pthread_mutex_t lock;	/* protects all that follows */
	struct vferry_irq_route *routes;	/* the plan's, as set last */
	size_t route_count;
	struct connection *connections;
};

/* ---- routes ---- */

static uint32_t messages_max(void)
{
	return GSIS - kvm_arch_facts.pin_routes;
}

static void add_message(struct kvm_irq_routing *table, const struct vferry_irq_route *route)
{
	table->entries[table->nr++] = (struct kvm_irq_routing_entry) {
		.gsi = route->gsi, .type = KVM_IRQ_ROUTING_MSI,
		.flags = kvm_arch_facts.device_ids ? KVM_MSI_VALID_DEVID : 0,
		.u.msi = { .address_lo = (uint32_t) route->address,
			   .address_hi = (uint32_t) (route->address >> 32), .data = route->data,
			   .devid = kvm_arch_facts.device_ids ? route->requester_id : 0 },
	};
}

static struct kvm_irq_routing *make_table(const struct kvm_irq *irq,
					  const struct vferry_irq_route *routes, size_t count)
{
	struct kvm_irq_routing *table = calloc(1, sizeof(*table) +
					       (kvm_arch_facts.pin_routes + count) *
					       sizeof(table->entries[0]));

	if (!table)
		return NULL;
	kvm_arch_add_routes(irq->machine, table);
	for (size_t i = 0; i < count; i++)
		if (routes[i].kind == VFERRY_IRQ_MSI)
			add_message(table, &routes[i]);
	return table;
}

static int set_routes(void *user, const struct vferry_irq_route *routes, size_t count,
		      struct vferry_error *err)
{
	struct kvm_irq *irq = user;
	struct vferry_irq_route *kept;
	struct kvm_irq_routing *table;
	int r = -ENOMEM;

	if (count > messages_max())
		return vferry_error_set(err, -E2BIG, "too-many-routes", "irq",
					"%zu interrupt routes, at most %u fit", count,
					messages_max());
	kept = calloc(count + 1, sizeof(*kept));
	pthread_mutex_lock(&irq->lock);
	table = make_table(irq, routes, count);
	if (kept && table) {
		memcpy(kept, routes, count * sizeof(*kept));
		r = ioctl(irq->vm, KVM_SET_GSI_ROUTING, table) < 0 ? -errno : 0;
		if (r == 0) {
			struct vferry_irq_route *old = irq->routes;

			irq->routes = kept;
			irq->route_count = count;
			kept = old;
		}
	}
	pthread_mutex_unlock(&irq->lock);
	free(kept);
	free(table);
	if (r < 0)
		(void) vferry_error_set(err, r, "irq-routes", "irq", "KVM refused %zu interrupt routes (%s)",
					count, vferry_errno_name(r));
	return r;
}

int kvm_irq_refresh(struct kvm_irq *irq)
{
	struct kvm_irq_routing *table;
	int r = -ENOMEM;

	pthread_mutex_lock(&irq->lock);
	table = make_table(irq, irq->routes, irq->route_count);
	if (table)
		r = ioctl(irq->vm, KVM_SET_GSI_ROUTING, table) < 0 ? -errno : 0;
	pthread_mutex_unlock(&irq->lock);
	free(table);
	return r;
}

static const struct vferry_irq_route *find_route(const struct kvm_irq *irq, uint32_t gsi)
{
	for (size_t i = 0; i < irq->route_count; i++)
		if (irq->routes[i].gsi == gsi)
			return &irq->routes[i];
	return NULL;
}

/* Does a device of the kernel's send this message? */
static bool is_of_kernel(const struct kvm_irq *irq, const struct vferry_irq_route *route)
{
	const struct machine *machine = irq->machine->machine;

	for (size_t i = 0; route && i < machine->slots; i++)
		if (machine->slot[i].slot << 3 == route->requester_id)
			return machine->slot[i].kernel;
	return false;
}

/* ---- connections ---- */

static struct connection **find_connection(struct kvm_irq *irq, int eventfd)
{
	struct connection **at = &irq->connections;

	while (*at && (*at)->eventfd != eventfd)
		at = &(*at)->next;
	return at;
}

/*
 * KVM delivers what was pending when an eventfd is connected, but leaves it there (kvm_irqfd_assign):
 * it would look as if nobody had taken it, and be delivered again when connected again. What comes
 * later KVM takes out while it is signalled, so whatever can be read here is that.
 */
static void take_pending(struct connection *c)
{
	uint64_t events;

	if (read(c->eventfd, &events, sizeof(events)) == sizeof(events))
		c->queued = true;
}

static int irqfd(struct kvm_irq *irq, struct connection *c, bool assign)
{
	struct kvm_irqfd request = {
		.fd = (uint32_t) c->eventfd,
		.gsi = c->gsi,
		.flags = assign ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};

	if (c->pin && irq->pins) {
		if (assign)
			return irq->pins->connect(irq->machine, c->gsi, c->eventfd, c->resample);
		irq->pins->disconnect(irq->machine, c->eventfd);
		return 0;
	}
	if (assign && c->pin && c->resample >= 0) {
		request.flags |= KVM_IRQFD_FLAG_RESAMPLE;
		request.resamplefd = (uint32_t) c->resample;
	}
	if (ioctl(irq->vm, KVM_IRQFD, &request) < 0)
		return -errno;
	if (assign)
		take_pending(c);
	return 0;
}

static struct connection describe(const struct vferry_irq_route *route, uint32_t gsi)
{
	if (route && route->kind == VFERRY_IRQ_PIN)
		return (struct connection) { .gsi = route->pin, .pin = true };
	return (struct connection) {
		.gsi = gsi, .queued = route && kvm_arch_is_queued(route),
	};
}

static int sink_connect(void *user, uint32_t gsi, int eventfd, int resample_eventfd,
			struct vferry_error *err)
{
	struct kvm_irq *irq = user;
	struct connection *c = malloc(sizeof(*c));
	int r = -ENOMEM;

	if (c) {
		pthread_mutex_lock(&irq->lock);
		*c = describe(find_route(irq, gsi), gsi);
		c->eventfd = eventfd;
		c->resample = resample_eventfd;
		r = *find_connection(irq, eventfd) ? -EBUSY : irqfd(irq, c, true);
		if (r == 0) {
			c->next = irq->connections;
			irq->connections = c;
			c = NULL;
		}
		pthread_mutex_unlock(&irq->lock);
		free(c);
	}
	if (r < 0)
		return vferry_error_set(err, r, "irq-connect", "irq",
					"eventfd %d could not be connected to GSI %u (%s)", eventfd,
					gsi, vferry_errno_name(r));
	return 0;
}

static int sink_disconnect(void *user, uint32_t gsi, int eventfd, struct vferry_error *err)
{
	struct kvm_irq *irq = user;
	struct connection **at, *c;
	int r = 0;

	pthread_mutex_lock(&irq->lock);
	at = find_connection(irq, eventfd);
	c = *at;
	if (c) {
		r = irqfd(irq, c, false);
		if (r == 0) {
			*at = c->next;
			free(c);
		}
	}
	pthread_mutex_unlock(&irq->lock);
	if (r < 0)
		return vferry_error_set(err, r, "irq-disconnect", "irq",
					"eventfd %d could not be disconnected from GSI %u (%s)", eventfd,
					gsi, vferry_errno_name(r));
	return 0;
}

static int sink_signal_msi(void *user, const struct vferry_irq_route *route,
			   struct vferry_error *err)
{
	struct kvm_irq *irq = user;
	struct kvm_msi msi = { .address_lo = (uint32_t) route->address,
			       .address_hi = (uint32_t) (route->address >> 32), .data = route->data,
			       .flags = kvm_arch_facts.device_ids ? KVM_MSI_VALID_DEVID : 0,
			       .devid = kvm_arch_facts.device_ids ? route->requester_id : 0 };

	if (ioctl(irq->vm, KVM_SIGNAL_MSI, &msi) < 0)
		return vferry_error_set(err, -errno, "irq-signal", "irq",
					"message %#x to %#llx was refused (%s)", route->data,
					(unsigned long long) route->address, vferry_errno_name(errno));
	return 0;
}

/* Messages that the kernel could forward: those of its own devices that are connected. */
static unsigned count_candidates(const struct kvm_irq *irq)
{
	unsigned count = 0;

	for (const struct connection *c = irq->connections; c; c = c->next)
		count += !c->pin && is_of_kernel(irq, find_route(irq, c->gsi));
	return count;
}

static void answer(struct vferry_vector_answer *v, enum vferry_forwarded forwarded, const char *why)
{
	v->forwarded = forwarded;
	(void) snprintf(v->reason, sizeof(v->reason), "%s", why);
}

/* KVM tells of a number of messages, not of single ones: it is all, none, or unknown which. */
static void answer_alike(const struct kvm_irq *irq, struct vferry_vector_answer *v)
{
	unsigned most = count_candidates(irq);
	const char *why;
	int count = kvm_arch_count_forwarded(irq->machine, &why);

	if (count <= 0) {
		answer(v, count == 0 ? VFERRY_FORWARDED_NO : VFERRY_FORWARDED_UNKNOWN, why);
	} else if ((unsigned) count >= most) {
		answer(v, VFERRY_FORWARDED_YES, "");
	} else {
		v->forwarded = VFERRY_FORWARDED_UNKNOWN;
		(void) snprintf(v->reason, sizeof(v->reason), "%d of %u are, and KVM does not tell which",
				count, most);
	}
}

/* KVM is asked once, and only if there is a vector that it could forward: that is slow. */
static void sink_forwarded(void *user, struct vferry_vector_answer *vectors, size_t count)
{
	const struct vferry_vector_answer *asked = NULL;
	struct kvm_irq *irq = user;

	pthread_mutex_lock(&irq->lock);
	for (size_t i = 0; i < count; i++) {
		const struct vferry_irq_route *route = find_route(irq, vectors[i].gsi);

		if (!route || route->kind == VFERRY_IRQ_PIN) {
			answer(&vectors[i], VFERRY_FORWARDED_NO,
			       route ? "a pin is never forwarded" : "it has no route");
		} else if (!is_of_kernel(irq, route)) {
			answer(&vectors[i], VFERRY_FORWARDED_NO, "its device is not the kernel's");
		} else if (asked) {
			answer(&vectors[i], asked->forwarded, asked->reason);
		} else {
			answer_alike(irq, &vectors[i]);
			asked = &vectors[i];
		}
	}
	pthread_mutex_unlock(&irq->lock);
}

/* Nothing is lost in between: an eventfd keeps its count. */
static int reconnect(struct kvm_irq *irq, struct connection *c)
{
	int r = irqfd(irq, c, false);

	return r == 0 ? irqfd(irq, c, true) : r;
}

int kvm_irq_flush(struct kvm_irq *irq, struct vferry_error *err)
{
	const char *why;
	bool in_hardware;
	int r = 0;

	if (irq->pins)
		irq->pins->flush(irq->machine);
	pthread_mutex_lock(&irq->lock);
	in_hardware = kvm_arch_facts.loses_pending && count_candidates(irq) > 0 &&
		      kvm_arch_count_forwarded(irq->machine, &why) != 0;
	for (struct connection *c = irq->connections; c && r == 0; c = c->next)
		if (c->queued && !(in_hardware && is_of_kernel(irq, find_route(irq, c->gsi))))
			r = reconnect(irq, c);
	pthread_mutex_unlock(&irq->lock);
	if (r < 0)
		return vferry_error_set(err, r, "irq-flush", "irq",
					"interrupts on their way could not be waited for (%s)",
					vferry_errno_name(r));
	return 0;
}

static int sink_flush(void *user, struct vferry_error *err)
{
	return kvm_irq_flush(user, err);
}

void kvm_irq_get_sink(struct kvm_irq *irq, struct vferry_irq_sink *ret_sink)
{
	*ret_sink = (struct vferry_irq_sink) {
		.size = sizeof(*ret_sink),
		.user = irq,
		.gsi_first = kvm_arch_facts.pins,
		.gsi_count = messages_max(),
		.set_routes = set_routes,
		.connect = sink_connect,
		.disconnect = sink_disconnect,
		.signal_msi = sink_signal_msi,
		.forwarded = sink_forwarded,
		.flush = sink_flush,
		.loses_pending = kvm_arch_facts.loses_pending,
	};
}

/* ---- life ---- */

int kvm_irq_new(struct kvm_machine *m, struct kvm_irq **ret_irq)
{
	struct kvm_irq *irq = calloc(1, sizeof(*irq));

	if (!irq)
		return -ENOMEM;
	irq->vm = m->vm;
	irq->machine = m;
	(void) pthread_mutex_init(&irq->lock, NULL);
	irq->pins = kvm_arch_pins(m);
	*ret_irq = irq;
	return 0;
}

struct kvm_irq *kvm_irq_free(struct kvm_irq *irq)
{
	if (!irq)
		return NULL;
	while (irq->connections) {
		struct connection *c = irq->connections;

		irq->connections = c->next;
		free(c);
	}
	free(irq->routes);
	(void) pthread_mutex_destroy(&irq->lock);
	free(irq);
	return NULL;
}
