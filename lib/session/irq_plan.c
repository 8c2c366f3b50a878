/* SPDX-License-Identifier: MIT */
/*
 * irq_plan.c - the machine's one interrupt plan: GSIs, the routing table, and which vector is
 * connected to the guest. What hardware delivers by itself is asked in irq_forwarded.c.
 *
 * Model: sources (devices) hold vectors; a vector has a GSI, an eventfd and a message. The routing
 * table is all vectors that have a message, plus one pin per GSI of kind PIN. It goes to the sink as a
 * whole, and only when it differs from what the sink has: each KVM_SET_GSI_ROUTING costs a grace
 * period. A vector is connected only after its route is there, and anew when its route changed,
 * since hardware (a VLPI mapping) follows a route at the connect only.
 *
 * Invariants: `connected` is what the sink was told and answered with success; a vector that is
 * connected has a route in the sink. `wanted` outlives release().
 *
 * Threads: any; one lock, innermost in the library. It is held over calls of the sink, which may not
 * call back.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/bitmap.h"
#include "base/checked.h"
#include "base/clock.h"
#include "component/irq.h"
#include "session/irq_plan.h"
#include "session/irq_plan_internal.h"

#define FLUSH_TIMEOUT_NS (1 * VF_SECOND_NS)
#define FLUSH_PAUSE_NS 50000	/* an injection takes a few microseconds */
#define VECTORS_MAX 2048u	/* MSI-X has no more */

static struct vferry_irq_route route_of(const struct vf_irq_source *source,
					const struct vector *vector)
{
	if (source->kind == VFERRY_IRQ_PIN)
		return (struct vferry_irq_route) {
			.gsi = vector->gsi,
			.kind = VFERRY_IRQ_PIN,
			.pin = source->pin,
		};
	return (struct vferry_irq_route) {
		.gsi = vector->gsi,
		.kind = VFERRY_IRQ_MSI,
		.address = vector->address,
		.data = vector->data,
		.requester_id = source->requester_id,
	};
}

/* ---- GSIs ---- */

static int take_gsi_locked(struct irq_plan *p, uint32_t *ret_gsi)
{
	uint64_t bit = vf_bitmap_next_clear(&p->gsis, 0, p->sink.gsi_count);

	if (bit >= p->sink.gsi_count)
		return -ENOSPC;
	vf_bitmap_set_range(&p->gsis, bit, 1);
	*ret_gsi = p->sink.gsi_first + (uint32_t) bit;
	return 0;
}

static void give_gsi_locked(struct irq_plan *p, uint32_t gsi)
{
	vf_bitmap_clear_range(&p->gsis, gsi - p->sink.gsi_first, 1);
}

static int take_pin_locked(struct irq_plan *p, uint32_t number, uint32_t *ret_gsi)
{
	struct pin *pin;
	int r;

	for (pin = p->pins; pin; pin = pin->next) {
		if (pin->pin == number) {
			pin->users++;
			*ret_gsi = pin->gsi;
			return 0;
		}
	}
	pin = calloc(1, sizeof(*pin));
	if (!pin)
		return -ENOMEM;
	r = take_gsi_locked(p, &pin->gsi);
	if (r < 0) {
		free(pin);
		return r;
	}
	pin->pin = number;
	pin->users = 1;
	pin->next = p->pins;
	p->pins = pin;
	*ret_gsi = pin->gsi;
	return 0;
}

static void give_pin_locked(struct irq_plan *p, uint32_t number)
{
	for (struct pin **at = &p->pins; *at; at = &(*at)->next) {
		struct pin *pin = *at;

		if (pin->pin != number)
			continue;
		if (--pin->users == 0) {
			*at = pin->next;
			give_gsi_locked(p, pin->gsi);
			free(pin);
		}
		return;
	}
}

/* ---- the table ---- */

static int commit_locked(struct irq_plan *p, struct vferry_error *err)
{
	struct vferry_irq_route *routes;
	size_t count = 0, room = 0;
	int r = 0;

	if (!p->changed)
		return 0;
	for (struct vf_irq_source *s = p->sources; s; s = s->next)
		room += s->count;
	routes = calloc(room ? room : 1, sizeof(*routes));
	if (!routes)
		return vferry_error_set(err, -ENOMEM, "no-memory", "irq",
					"no memory for a routing table of %zu entries", room);
	for (struct vf_irq_source *s = p->sources; s; s = s->next) {
		if (s->kind == VFERRY_IRQ_PIN)
			continue;
		for (uint32_t i = 0; i < s->count; i++)
			if (s->vectors[i].has_message)
				routes[count++] = route_of(s, &s->vectors[i]);
	}
	for (struct pin *pin = p->pins; pin; pin = pin->next)
		routes[count++] = (struct vferry_irq_route) {
			.gsi = pin->gsi,
			.kind = VFERRY_IRQ_PIN,
			.pin = pin->pin,
		};
	if (p->sink.set_routes)
		r = p->sink.set_routes(p->sink.user, routes, count, err);
	free(routes);
	if (r < 0)
		return vferry_error_set(err, r, "irq-routes", "irq",
					"the routing table of %zu entries was refused: %s", count,
					vferry_errno_name(r));
	p->changed = false;
	p->commits++;
	return 0;
}

int vf_irq_signal_locked(struct irq_plan *p, struct vf_irq_source *s, const struct vector *v,
			 struct vferry_error *err)
{
	struct vferry_irq_route route = route_of(s, v);
	int r;

	if (!p->sink.signal_msi)
		return vferry_error_set(err, -ENOTSUP, "irq-resend", s->name,
					"an interrupt may be pending in hardware for GSI %u, and the "
					"machine has no way to send it again", v->gsi);
	r = p->sink.signal_msi(p->sink.user, &route, err);
	if (r < 0)
		return vferry_error_set(err, r, "irq-resend", s->name,
					"sending the message of GSI %u again failed: %s", v->gsi,
					vferry_errno_name(r));
	return 0;
}

int vf_irq_cut_locked(struct irq_plan *p, struct vf_irq_source *s, struct vector *v,
		      struct vferry_error *err)
{
	int r = 0;

	if (!v->connected)
		return 0;
	if (p->sink.disconnect)
		r = p->sink.disconnect(p->sink.user, v->gsi, v->eventfd, err);
	if (r < 0)
		return vferry_error_set(err, r, "irq-disconnect", s->name,
					"GSI %u could not be disconnected: %s", v->gsi,
					vferry_errno_name(r));
	v->connected = false;
	v->stale = false;
	return 0;
}

static int connect_locked(struct irq_plan *p, struct vf_irq_source *s, struct vector *v,
			  struct vferry_error *err)
{
	int r = commit_locked(p, err);

	if (r < 0)
		return r;
	if (v->connected && !v->stale)
		return 0;
	if (v->connected) {
		bool pending = vf_irq_may_lose_locked(p, v);

		r = vf_irq_cut_locked(p, s, v, err);
		if (r == 0 && pending)
			r = vf_irq_signal_locked(p, s, v, err);
		if (r < 0)
			return r;
	}
	if (p->sink.connect)
		r = p->sink.connect(p->sink.user, v->gsi, v->eventfd, s->resample, err);
	if (r < 0)
		return vferry_error_set(err, r, "irq-connect", s->name,
					"GSI %u could not be connected: %s", v->gsi,
					vferry_errno_name(r));
	v->connected = true;
	return 0;
}

/* ---- sources: the calls of component/irq.h ---- */

static int source_add(struct vferry_irq_plan *plan, const struct vf_irq_source_desc *desc,
		      struct vf_irq_source **ret_source, struct vferry_error *err)
{
	struct irq_plan *p = vf_irq_plan_of(plan);
	struct vf_irq_source *s = calloc(1, sizeof(*s));

	if (!s)
		return vferry_error_set(err, -ENOMEM, "no-memory", desc->name, "no memory");
	(void) strncpy(s->name, desc->name, sizeof(s->name) - 1);
	s->requester_id = desc->requester_id;
	s->pin = desc->intx_pin;
	s->resample = -1;
	pthread_mutex_lock(&p->lock);
	s->next = p->sources;
	p->sources = s;
	pthread_mutex_unlock(&p->lock);
	*ret_source = s;
	return 0;
}

static void free_vectors_locked(struct irq_plan *p, struct vf_irq_source *s)
{
	for (uint32_t i = 0; i < s->count; i++) {
		struct vector *v = &s->vectors[i];

		(void) vf_irq_cut_locked(p, s, v, NULL);
		if (v->producer && p->sink.producer_remove)
			p->sink.producer_remove(p->sink.user, v->eventfd);
		if (s->kind == VFERRY_IRQ_PIN)
			give_pin_locked(p, s->pin);
		else
			give_gsi_locked(p, v->gsi);
		if (s->kind == VFERRY_IRQ_PIN || v->has_message)
			p->changed = true;
	}
	free(s->vectors);
	s->vectors = NULL;
	s->count = 0;
	s->resample = -1;
}

static void source_free(struct vferry_irq_plan *plan, struct vf_irq_source *s)
{
	struct irq_plan *p = vf_irq_plan_of(plan);

	pthread_mutex_lock(&p->lock);
	free_vectors_locked(p, s);
	pthread_mutex_unlock(&p->lock);
}

static void source_remove(struct vferry_irq_plan *plan, struct vf_irq_source *source)
{
	struct irq_plan *p = vf_irq_plan_of(plan);

	pthread_mutex_lock(&p->lock);
	free_vectors_locked(p, source);
	for (struct vf_irq_source **at = &p->sources; *at; at = &(*at)->next) {
		if (*at == source) {
			*at = source->next;
			break;
		}
	}
	pthread_mutex_unlock(&p->lock);
	free(source);
}

/* One vector more; s->count grows only when it is complete, so that a failure frees the others. */
static int add_vector_locked(struct irq_plan *p, struct vf_irq_source *s, int eventfd,
			     struct vferry_error *err)
{
	struct vector *v = &s->vectors[s->count];
	int r;

	*v = (struct vector) { .eventfd = eventfd };
	r = s->kind == VFERRY_IRQ_PIN ? take_pin_locked(p, s->pin, &v->gsi)
				      : take_gsi_locked(p, &v->gsi);
	if (r < 0)
		return vferry_error_set(err, r, "irq-gsis", s->name,
					"no GSI left for vector %u: the machine offers %u", s->count,
					p->sink.gsi_count);
	s->count++;
	if (s->kind == VFERRY_IRQ_PIN)
		p->changed = true;
	if (!p->sink.producer_add)
		return 0;
	r = p->sink.producer_add(p->sink.user, eventfd, err);
	if (r < 0)
		return vferry_error_set(err, r, "irq-producer", s->name,
					"the machine refused the eventfd of vector %u: %s",
					s->count - 1, vferry_errno_name(r));
	v->producer = true;
	return 0;
}

static int source_alloc(struct vferry_irq_plan *plan, struct vf_irq_source *s,
			enum vferry_irq_kind kind, uint32_t count, const int *eventfds,
			int resample_eventfd, struct vferry_error *err)
{
	struct irq_plan *p = vf_irq_plan_of(plan);
	int r = 0;

	if (count < 1 || count > VECTORS_MAX || (kind == VFERRY_IRQ_PIN && count != 1))
		return vferry_error_set(err, -EINVAL, "irq-count", s->name,
					"%u vectors cannot be", count);
	pthread_mutex_lock(&p->lock);
	free_vectors_locked(p, s);
	s->kind = kind;
	s->resample = resample_eventfd;
	s->vectors = calloc(count, sizeof(*s->vectors));
	if (!s->vectors)
		r = vferry_error_set(err, -ENOMEM, "no-memory", s->name, "no memory");
	for (uint32_t i = 0; i < count && r == 0; i++)
		r = add_vector_locked(p, s, eventfds[i], err);
	if (r < 0)
		free_vectors_locked(p, s);
	pthread_mutex_unlock(&p->lock);
	return r;
}

static int source_set_message(struct vferry_irq_plan *plan, struct vf_irq_source *s,
			      uint32_t vector, uint64_t address, uint32_t data)
{
	struct irq_plan *p = vf_irq_plan_of(plan);
	int r = 0;

	pthread_mutex_lock(&p->lock);
	if (vector >= s->count || s->kind != VFERRY_IRQ_MSI) {
		r = -EINVAL;
	} else {
		struct vector *v = &s->vectors[vector];

		if (!v->has_message || v->address != address || v->data != data) {
			v->has_message = true;
			v->address = address;
			v->data = data;
			v->stale = v->connected;
			p->changed = true;
		}
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

static int plan_commit(struct vferry_irq_plan *plan, struct vferry_error *err)
{
	struct irq_plan *p = vf_irq_plan_of(plan);
	int r;

	pthread_mutex_lock(&p->lock);
	r = commit_locked(p, err);
	pthread_mutex_unlock(&p->lock);
	return r;
}

static int source_connect(struct vferry_irq_plan *plan, struct vf_irq_source *s, uint32_t vector,
			  struct vferry_error *err)
{
	struct irq_plan *p = vf_irq_plan_of(plan);
	int r;

	pthread_mutex_lock(&p->lock);
	if (vector >= s->count || (s->kind == VFERRY_IRQ_MSI && !s->vectors[vector].has_message)) {
		r = vferry_error_set(err, -EINVAL, "irq-connect", s->name,
				     "vector %u has no message", vector);
	} else {
		s->vectors[vector].wanted = true;
		r = connect_locked(p, s, &s->vectors[vector], err);
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

static int source_disconnect(struct vferry_irq_plan *plan, struct vf_irq_source *s,
			     uint32_t vector, struct vferry_error *err)
{
	struct irq_plan *p = vf_irq_plan_of(plan);
	int r = 0;

	pthread_mutex_lock(&p->lock);
	if (vector < s->count) {
		struct vector *v = &s->vectors[vector];
		bool pending = v->connected && s->kind == VFERRY_IRQ_MSI && vf_irq_may_lose_locked(p, v);

		v->wanted = false;
		r = vf_irq_cut_locked(p, s, v, err);
		if (r == 0 && pending)
			r = vf_irq_signal_locked(p, s, v, err);
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

static int source_reconnect(struct vferry_irq_plan *plan, struct vf_irq_source *s,
			    struct vferry_error *err)
{
	struct irq_plan *p = vf_irq_plan_of(plan);
	int r = 0;

	pthread_mutex_lock(&p->lock);
	for (uint32_t i = 0; i < s->count; i++) {
		if (s->vectors[i].wanted && !s->vectors[i].connected) {
			int r1 = connect_locked(p, s, &s->vectors[i], r ? NULL : err);

			if (r == 0)
				r = r1;
		}
	}
	pthread_mutex_unlock(&p->lock);
	return r;
}

/* The eventfds of connected vectors, as they must read empty. */
static int connected_fds(struct irq_plan *p, struct vf_irq_source *s, struct pollfd **ret_fds,
			 nfds_t *ret_count)
{
	struct pollfd *fds;
	nfds_t count = 0;

	pthread_mutex_lock(&p->lock);
	fds = calloc(s->count ? s->count : 1, sizeof(*fds));
	if (fds)
		for (uint32_t i = 0; i < s->count; i++)
			if (s->vectors[i].connected)
				fds[count++] = (struct pollfd) {
					.fd = s->vectors[i].eventfd,
					.events = POLLIN,
				};
	pthread_mutex_unlock(&p->lock);
	if (!fds)
		return -ENOMEM;
	*ret_fds = fds;
	*ret_count = count;
	return 0;
}

static int source_flush(struct vferry_irq_plan *plan, struct vf_irq_source *s,
			struct vferry_error *err)
{
	struct irq_plan *p = vf_irq_plan_of(plan);
	const struct timespec pause = { .tv_nsec = FLUSH_PAUSE_NS };
	uint64_t deadline = vf_now_ns() + FLUSH_TIMEOUT_NS;
	struct pollfd *fds;
	nfds_t count;
	int r = connected_fds(p, s, &fds, &count);

	if (r < 0)
		return vferry_error_set(err, r, "no-memory", s->name, "no memory");
	/* Not under the lock: the machine's own thread may be what empties them. */
	while (poll(fds, count, 0) > 0) {
		if (vf_now_ns() > deadline) {
			r = vferry_error_set(err, -ETIMEDOUT, "irq-flush", s->name,
					     "an interrupt of the stopped device was not taken by the "
					     "interrupt controller within a second");
			break;
		}
		(void) nanosleep(&pause, NULL);
	}
	free(fds);
	if (r == 0 && p->sink.flush) {
		pthread_mutex_lock(&p->lock);
		r = p->sink.flush(p->sink.user, err);
		pthread_mutex_unlock(&p->lock);
		if (r < 0)
			vferry_error_set(err, r, "irq-flush", s->name,
					 "the interrupt controller did not settle: %s",
					 vferry_errno_name(r));
	}
	return r;
}

static const struct vf_irq_plan_ops plan_ops = {
	.source_add = source_add,
	.source_remove = source_remove,
	.alloc = source_alloc,
	.free = source_free,
	.set_message = source_set_message,
	.commit = plan_commit,
	.connect = source_connect,
	.disconnect = source_disconnect,
	.reconnect = source_reconnect,
	.flush = source_flush,
	.count = vf_irq_source_count,
};

/* ---- public ---- */

int vferry_irq_plan_new(const struct vferry_irq_sink *sink, struct vferry_irq_plan **ret_plan,
			struct vferry_error *err)
{
	struct irq_plan *p;
	int r;

	if (!sink || !ret_plan || sink->size < offsetof(struct vferry_irq_sink, set_routes) ||
	    sink->gsi_count > UINT32_MAX - sink->gsi_first)
		return vferry_error_set(err, -EINVAL, "irq-sink", "irq", "not an interrupt sink");
	p = calloc(1, sizeof(*p));
	if (!p)
		return vferry_error_set(err, -ENOMEM, "no-memory", "irq", "no memory");
	p->base.ops = &plan_ops;
	memcpy(&p->sink, sink, vf_min_u64(sink->size, sizeof(p->sink)));
	/* A sink that counts no GSIs has none: the first alloc says so. */
	r = vf_bitmap_init(&p->gsis, p->sink.gsi_count ? p->sink.gsi_count : 1);
	if (r < 0) {
		free(p);
		return vferry_error_set(err, r, "no-memory", "irq", "no memory for %u GSIs",
					sink->gsi_count);
	}
	pthread_mutex_init(&p->lock, NULL);
	*ret_plan = &p->base;
	return 0;
}

struct vferry_irq_plan *vferry_irq_plan_free(struct vferry_irq_plan *plan)
{
	struct irq_plan *p = vf_irq_plan_of(plan);

	if (!plan)
		return NULL;
	while (p->sources)
		source_remove(plan, p->sources);
	vf_bitmap_done(&p->gsis);
	pthread_mutex_destroy(&p->lock);
	free(p);
	return NULL;
}

/* ---- the component ---- */

static int load_routes(void *user, struct vferry_step *step, struct vferry_error *err)
{
	(void) step;
	return vf_irq_commit(user, err);
}

static const struct vferry_step_desc steps[] = {
	{
		.size = sizeof(struct vferry_step_desc),
		.step_class = VFERRY_LOAD_IRQ_ROUTES,
		.name = "routes",
		.run = load_routes,
	},
};

int vf_irq_plan_component(struct vferry_irq_plan *plan, struct vferry_component *ret_component)
{
	if (!plan)
		return -EINVAL;
	*ret_component = (struct vferry_component) {
		.size = sizeof(*ret_component),
		.name = "irq",
		.user = plan,
		.steps = steps,
		.step_count = VF_ARRAY_COUNT(steps),
	};
	return 0;
}

unsigned int vf_irq_plan_commits(struct vferry_irq_plan *plan)
{
	struct irq_plan *p = vf_irq_plan_of(plan);
	unsigned int commits;

	pthread_mutex_lock(&p->lock);
	commits = p->commits;
	pthread_mutex_unlock(&p->lock);
	return commits;
}
