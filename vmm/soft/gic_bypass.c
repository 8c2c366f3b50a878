/* SPDX-License-Identifier: MIT */
/*
 * gic_bypass.c - the host's side: GSI routes, irqfds, VFIO's vectors, and their connection.
 *
 * A vector is a producer, an irqfd a consumer of the same eventfd (token). Each is put on the
 * bypass manager's list as the last act of the call that makes it; if the other one is on the list
 * then, they are connected on the spot: the only moment at which an LPI becomes forwarded. If
 * connecting fails, the one that came second is not put on the list (Linux up to 6.14), so it isn't
 * tried again before that one is made anew. Some failures count as success: both are on the list
 * then, and the vector is in software all the same.
 *
 *      vector   irqfd            producer  consumer  forwarded
 *        set      -                 yes       -         -        eventfd counts
 *        set     set, ITS off       yes       no        -        software, until irqfd is redone
 *        set     set, ITS ready     yes       yes       LPI      hardware
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "gic_internal.h"

/* --- events --- */

static unsigned int bucket_of(uint64_t token)
{
	return (unsigned int) ((token ^ token >> 8 ^ token >> 20) % GIC_BUCKETS);
}

static struct gic_event *event_find(struct soft_gic *gic, uint64_t token)
{
	struct gic_event *event = gic->event[bucket_of(token)];

	while (event && event->token != token)
		event = event->next;
	return event;
}

static struct gic_event *event_get(struct soft_gic *gic, uint64_t token)
{
	struct gic_event *event = event_find(gic, token);

	if (event)
		return event;
	event = calloc(1, sizeof(*event));
	if (!event)
		return NULL;
	event->token = token;
	event->next = gic->event[bucket_of(token)];
	gic->event[bucket_of(token)] = event;
	return event;
}

/* An event that nobody knows any more goes, unless it still counts something. */
static void event_put(struct soft_gic *gic, struct gic_event *event)
{
	struct gic_event **at = &gic->event[bucket_of(event->token)];

	if (event->vector || event->irqfd || event->count || event->forwarded)
		return;
	while (*at != event)
		at = &(*at)->next;
	*at = event->next;
	free(event);
}

void gic_events_free(struct soft_gic *gic)
{
	for (unsigned int i = 0; i < GIC_BUCKETS; i++) {
		while (gic->event[i]) {
			struct gic_event *event = gic->event[i];

			gic->event[i] = event->next;
			free(event);
		}
	}
}

/* --- forwarding --- */

static bool host_forwards(const struct soft_gic *gic)
{
	return gic->config.kind == SOFT_GIC_V4_1 ||
	       (gic->config.kind == SOFT_GIC_V4_0 && gic_has_its(gic));
}

static bool silent(const struct soft_gic *gic)
{
	return gic->config.rules != SOFT_GIC_LINUX_6_12;
}

/* Hardware lets go of the LPI: what it held pending is gone, on GICv4.1 too. */
void gic_unforward(struct soft_gic *gic, struct gic_irq *irq)
{
	struct gic_event *event = event_find(gic, irq->token);

	irq->forwarded = false;
	irq->hw_pending = false;
	irq->token = 0;
	if (event && event->forwarded == irq)
		event->forwarded = NULL;
	gic_changed(gic);
}

/* The LPI a route leads to, as the guest's ITS has it now. -ENODEV: no MSI that any ITS takes. */
static int route_resolve(struct soft_gic *gic, const struct soft_gic_route *route,
			 struct gic_irq **ret_irq)
{
	struct gic_its *its;

	if (route->type != VF_KVM_ROUTING_MSI || !(route->flags & VF_KVM_MSI_VALID_DEVID) ||
	    !gic_has_its(gic))
		return -ENODEV;
	its = gic_its_at(gic, route->address);
	if (!its)
		return -ENODEV;
	return gic_its_resolve(gic, its, route->devid, route->data, ret_irq);
}

/* Producer and consumer have met. Not 0: the second of them isn't registered. */
static int connect(struct soft_gic *gic, struct gic_event *event)
{
	struct gic_irq *irq = NULL;
	int err;

	if (!host_forwards(gic))
		return 0;
	err = route_resolve(gic, &event->route, &irq);
	if (err)
		return err == -ENODEV || silent(gic) ? 0 : err;
	if (irq->forwarded)
		return 0;
	irq->forwarded = true;
	irq->token = event->token;
	irq->hw_pending = irq->latch;
	irq->latch = false;
	event->forwarded = irq;
	gic_changed(gic);
	return 0;
}

/*
 * Up to 6.14 the LPI to let go of is looked up by the route, as it is *now*: where that leads to
 * another one, the kernel warns, and the LPI stays as it is.
 */
static void disconnect(struct soft_gic *gic, struct gic_event *event)
{
	struct gic_irq *irq = NULL;

	if (!host_forwards(gic))
		return;
	if (silent(gic)) {
		if (event->forwarded)
			gic_unforward(gic, event->forwarded);
		return;
	}
	if (route_resolve(gic, &event->route, &irq))
		return;
	if (!irq->forwarded || irq->token != event->token)
		gic_log(gic, "WARNING: LPI %u is not forwarded for the vector being disconnected",
			irq->intid);
	if (irq->forwarded)
		gic_unforward(gic, irq);
}

static void producer_add(struct soft_gic *gic, struct gic_event *event)
{
	int err = event->consumer ? connect(gic, event) : 0;

	event->producer = !err;
	if (err)
		gic_log(gic, "irq bypass producer (token %llx) registration fails: %d",
			(unsigned long long) event->token, err);
}

static void producer_del(struct soft_gic *gic, struct gic_event *event)
{
	if (event->producer && event->consumer)
		disconnect(gic, event);
	event->producer = false;
}

static void consumer_add(struct soft_gic *gic, struct gic_event *event)
{
	int err = event->producer ? connect(gic, event) : 0;

	event->consumer = !err;
	if (err)
		gic_log(gic, "irq bypass consumer (token %llx) registration fails: %d",
			(unsigned long long) event->token, err);
}

static void consumer_del(struct soft_gic *gic, struct gic_event *event)
{
	if (event->producer && event->consumer)
		disconnect(gic, event);
	event->consumer = false;
}

/* --- injection by software --- */

static int inject_msi(struct soft_gic *gic, uint64_t address, uint32_t data, uint32_t devid,
		      uint32_t flags)
{
	struct gic_its *its;
	int err;

	if (!gic_has_its(gic))
		return -ENODEV;
	if (!(flags & VF_KVM_MSI_VALID_DEVID))
		return -EINVAL;
	its = gic_its_at(gic, address);
	if (!its)
		return -EINVAL;
	err = gic_its_trigger(gic, its, devid, data);
	if (err < 0)
		return err;
	return err ? 0 : 1;
}

static int set_line(struct soft_gic *gic, unsigned int cpu, uint32_t intid, bool level)
{
	struct gic_irq *irq = intid < 16 ? NULL : gic_irq_get(gic, cpu, intid);

	if (!irq)
		return -EINVAL;
	if (irq->level)
		irq->line = level;
	else if (level)
		irq->latch = true;
	gic_changed(gic);
	return 0;
}

/* What an irqfd does when its eventfd is signalled: raise the GSI, and lower it. */
static enum soft_gic_sent raise_gsi(struct soft_gic *gic, uint32_t gsi)
{
	enum soft_gic_sent sent = SOFT_GIC_SENT_LOST;

	for (unsigned int i = 0; i < gic->routes; i++) {
		const struct soft_gic_route *route = &gic->route[i];

		if (route->gsi != gsi)
			continue;
		if (route->type == VF_KVM_ROUTING_MSI) {
			if (inject_msi(gic, route->address, route->data, route->devid,
				       route->flags) > 0)
				sent = SOFT_GIC_SENT_INJECTED;
		} else if (!set_line(gic, 0, GIC_PRIVATE + route->pin, true)) {
			(void) set_line(gic, 0, GIC_PRIVATE + route->pin, false);
			sent = SOFT_GIC_SENT_INJECTED;
		}
	}
	return sent;
}

int soft_gic_signal_msi(struct soft_gic *gic, uint64_t address, uint32_t data, uint32_t devid,
			uint32_t flags)
{
	int ret;

	gic_lock(gic);
	if (gic->dead)
		ret = -EIO;
	else if (!gic->created || flags & ~VF_KVM_MSI_VALID_DEVID)
		ret = -EINVAL;
	else
		ret = inject_msi(gic, address, data, devid, flags);
	gic_unlock(gic, -1);
	return ret;
}

int soft_gic_irq_line(struct soft_gic *gic, unsigned int cpu, uint32_t intid, bool level)
{
	int ret = -ENXIO;

	gic_lock(gic);
	if (gic->dead)
		ret = -EIO;
	else if (gic->initialized)
		ret = set_line(gic, cpu, intid, level);
	else if (gic->created)
		ret = -EBUSY;
	gic_unlock(gic, -1);
	return ret;
}

/* --- routes --- */

/* A GSI has one route at most: see check_routes(). */
static void event_route_update(struct soft_gic *gic, struct gic_event *event)
{
	memset(&event->route, 0, sizeof(event->route));
	for (unsigned int i = 0; i < gic->routes; i++)
		if (gic->route[i].gsi == event->gsi)
			event->route = gic->route[i];
}

static bool same_route(const struct soft_gic_route *a, const struct soft_gic_route *b)
{
	return a->type == b->type && a->address == b->address && a->data == b->data &&
	       a->devid == b->devid && a->flags == b->flags && a->pin == b->pin;
}

static void routes_changed(struct soft_gic *gic)
{
	for (unsigned int i = 0; i < GIC_BUCKETS; i++) {
		for (struct gic_event *event = gic->event[i]; event; event = event->next) {
			struct soft_gic_route old = event->route;

			if (!event->irqfd)
				continue;
			event_route_update(gic, event);
			if (gic->config.rules == SOFT_GIC_LINUX_6_16 && event->forwarded &&
			    !same_route(&old, &event->route))
				gic_unforward(gic, event->forwarded);
		}
	}
}

void gic_default_routing(struct soft_gic *gic)
{
	for (unsigned int i = 0; i < gic->spis; i++)
		gic->route[i] = (struct soft_gic_route) {
			.gsi = i,
			.type = VF_KVM_ROUTING_IRQCHIP,
			.pin = i,
		};
	gic->routes = gic->spis;
	routes_changed(gic);
}

static int check_routes(const struct soft_gic_route *routes, unsigned int count)
{
	bool seen[SOFT_GIC_ROUTES_MAX] = { false };

	if (count > SOFT_GIC_ROUTES_MAX)
		return -EINVAL;
	for (unsigned int i = 0; i < count; i++) {
		const struct soft_gic_route *route = &routes[i];
		bool irqchip = route->type == VF_KVM_ROUTING_IRQCHIP;

		if (route->gsi >= SOFT_GIC_ROUTES_MAX || seen[route->gsi] ||
		    (!irqchip && route->type != VF_KVM_ROUTING_MSI) ||
		    (irqchip && (route->pin >= 1020 - GIC_PRIVATE || route->flags)) ||
		    (route->flags & ~VF_KVM_MSI_VALID_DEVID))
			return -EINVAL;
		seen[route->gsi] = true;
	}
	return 0;
}

int soft_gic_set_routing(struct soft_gic *gic, const struct soft_gic_route *routes,
			 unsigned int count)
{
	int ret;

	gic_lock(gic);
	ret = gic->dead ? -EIO : check_routes(routes, count);
	if (!ret) {
		if (count)
			memcpy(gic->route, routes, count * sizeof(*routes));
		gic->routes = count;
		routes_changed(gic);
	}
	gic_unlock(gic, -1);
	return ret;
}

/* --- irqfds --- */

static int irqfd_assign(struct soft_gic *gic, uint64_t token, uint32_t gsi)
{
	struct gic_event *event;

	if (!gic->initialized)
		return -EAGAIN;
	event = event_get(gic, token);
	if (!event)
		return -ENOMEM;
	if (event->irqfd)
		return -EBUSY;
	event->irqfd = true;
	event->gsi = gsi;
	event_route_update(gic, event);
	if (event->count)	/* raised, but not read: the next one takes it along */
		(void) raise_gsi(gic, gsi);
	consumer_add(gic, event);
	return 0;
}

static void irqfd_deassign(struct soft_gic *gic, uint64_t token, uint32_t gsi)
{
	struct gic_event *event = event_find(gic, token);

	if (!event || !event->irqfd || event->gsi != gsi)
		return;
	consumer_del(gic, event);
	event->irqfd = false;
	event->count = 0;
	event_put(gic, event);
}

int soft_gic_irqfd(struct soft_gic *gic, uint64_t token, uint32_t gsi, uint32_t flags)
{
	int ret = 0;

	if (!token || flags & ~VF_KVM_IRQFD_DEASSIGN)
		return -EINVAL;
	gic_lock(gic);
	if (gic->dead)
		ret = -EIO;
	else if (flags)
		irqfd_deassign(gic, token, gsi);
	else
		ret = irqfd_assign(gic, token, gsi);
	gic_unlock(gic, -1);
	return ret;
}

/* --- vectors --- */

static void vector_clear(struct soft_gic *gic, struct gic_event *event)
{
	producer_del(gic, event);
	event->vector = false;
}

int soft_gic_vector_set(struct soft_gic *gic, uint64_t token)
{
	struct gic_event *event;

	if (!token)
		return -EINVAL;
	gic_lock(gic);
	event = event_get(gic, token);
	if (event) {
		if (event->vector)
			vector_clear(gic, event);
		event->vector = true;
		producer_add(gic, event);
	}
	gic_unlock(gic, -1);
	return event ? 0 : -ENOMEM;
}

void soft_gic_vector_clear(struct soft_gic *gic, uint64_t token)
{
	struct gic_event *event;

	gic_lock(gic);
	event = event_find(gic, token);
	if (event) {
		if (event->vector)
			vector_clear(gic, event);
		event_put(gic, event);
	}
	gic_unlock(gic, -1);
}

static enum soft_gic_sent signal_event(struct soft_gic *gic, struct gic_event *event)
{
	if (event->irqfd) {
		event->count = 0;
		return raise_gsi(gic, event->gsi);
	}
	if (event->count < UINT64_MAX - 1)
		event->count++;
	return SOFT_GIC_SENT_KEPT;
}

enum soft_gic_sent soft_gic_fire(struct soft_gic *gic, uint64_t token)
{
	enum soft_gic_sent sent = SOFT_GIC_SENT_NOWHERE;
	struct gic_event *event;

	gic_lock(gic);
	event = event_find(gic, token);
	if (event && event->vector && event->forwarded) {
		event->forwarded->hw_pending = true;
		gic_changed(gic);
		sent = SOFT_GIC_SENT_FORWARDED;
	} else if (event && event->vector) {
		sent = signal_event(gic, event);
	}
	gic_unlock(gic, -1);
	return sent;
}

enum soft_gic_sent soft_gic_event_write(struct soft_gic *gic, uint64_t token)
{
	enum soft_gic_sent sent = SOFT_GIC_SENT_LOST;
	struct gic_event *event;

	gic_lock(gic);
	event = token ? event_get(gic, token) : NULL;
	if (event)
		sent = signal_event(gic, event);
	gic_unlock(gic, -1);
	return sent;
}

uint64_t soft_gic_event_count(struct soft_gic *gic, uint64_t token)
{
	struct gic_event *event;
	uint64_t count;

	gic_lock(gic);
	event = event_find(gic, token);
	count = event ? event->count : 0;
	gic_unlock(gic, -1);
	return count;
}

/* --- questions --- */

const char *soft_gic_reason_name(enum soft_gic_reason reason)
{
	static const char *const names[] = {
		[SOFT_GIC_FORWARDED] = "forwarded",
		[SOFT_GIC_NO_VECTOR] = "no-vector",
		[SOFT_GIC_NO_IRQFD] = "no-irqfd",
		[SOFT_GIC_NO_GICV4] = "no-gicv4",
		[SOFT_GIC_NO_ROUTE] = "no-route",
		[SOFT_GIC_ITS_OFF] = "its-off",
		[SOFT_GIC_UNMAPPED] = "unmapped",
		[SOFT_GIC_LPIS_OFF] = "lpis-off",
		[SOFT_GIC_MISSED] = "missed",
	};

	return (unsigned int) reason < sizeof(names) / sizeof(names[0]) ? names[reason] : "?";
}

static enum soft_gic_reason reason_of(struct soft_gic *gic, const struct gic_event *event)
{
	struct gic_irq *irq = NULL;
	int err;

	if (event && event->forwarded)
		return SOFT_GIC_FORWARDED;
	if (!event || !event->vector)
		return SOFT_GIC_NO_VECTOR;
	if (!event->irqfd)
		return SOFT_GIC_NO_IRQFD;
	if (!host_forwards(gic))
		return SOFT_GIC_NO_GICV4;
	err = route_resolve(gic, &event->route, &irq);
	if (err == -ENODEV)
		return SOFT_GIC_NO_ROUTE;
	if (err == VF_ITS_UNMAPPED_INTERRUPT)
		return SOFT_GIC_UNMAPPED;
	if (err)
		return gic_its_at(gic, event->route.address)->enabled ? SOFT_GIC_LPIS_OFF
								      : SOFT_GIC_ITS_OFF;
	return SOFT_GIC_MISSED;
}

enum soft_gic_reason soft_gic_vector_state(struct soft_gic *gic, uint64_t token)
{
	enum soft_gic_reason reason;

	gic_lock(gic);
	reason = reason_of(gic, event_find(gic, token));
	gic_unlock(gic, -1);
	return reason;
}
