/* SPDX-License-Identifier: MIT */
/*
 * soft_irq.c - from the eventfds of devices to the interrupt controller: the soft machine's irqfd.
 *
 * Model. Each eventfd that the interrupt plan names is one line here, with a token that stands for
 * it in the GIC model. A connected eventfd is watched by one thread; what it counted goes into the
 * model, which knows whether the vector is forwarded. One that is not connected is left alone, so
 * that its count waits there for the connect, as with KVM.
 *
 * INTx: a signal raises the pin; when the guest ends that interrupt, the pin is lowered and the
 * resample eventfd written, whereupon a device that still has a cause signals again.
 *
 * Nothing that was signalled before a disconnect or a flush is still on its way when it returns:
 * reading an eventfd and telling the model is one action under the lock.
 *
 * Threads: the sink's calls come from any thread, one at a time; `lock` protects everything, the
 * GIC model's lock is taken inside it.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "soft.h"
#include "vferry_kvm_arm64.h"

#define SPI_FIRST	32u
#define EVENTS_AT_ONCE	32

struct irq_line {
	int eventfd;		/* borrowed */
	uint64_t token;
	bool producer;		/* a device signals it */
	bool connected;
	bool pin;		/* of the connection: INTx */
	uint32_t gsi;
	uint32_t intid;		/* INTx */
	int resample;		/* INTx: eventfd, borrowed; or -1 */
	struct irq_line *next;
};

struct soft_irq {
	struct soft_gic *gic;	/* NULL: no controller; vectors are accepted and only count up */
	int epoll;
	int quit;		/* eventfd: the thread ends */
	pthread_t thread;
	bool started;

	pthread_mutex_t lock;	/* protects all that follows */
	struct irq_line *lines;
	uint64_t last_token;
	struct vferry_irq_route *routes;
	size_t route_count;
};

static struct irq_line *find_line(struct soft_irq *irq, int eventfd)
{
	for (struct irq_line *line = irq->lines; line; line = line->next)
		if (line->eventfd == eventfd)
			return line;
	return NULL;
}

static struct irq_line *get_line(struct soft_irq *irq, int eventfd)
{
	struct irq_line *line = find_line(irq, eventfd);

	if (line)
		return line;
	line = calloc(1, sizeof(*line));
	if (!line)
		return NULL;
	line->eventfd = eventfd;
	line->token = ++irq->last_token;
	line->resample = -1;
	line->next = irq->lines;
	irq->lines = line;
	return line;
}

/* Forgets a line that neither side uses any more. */
static void put_line(struct soft_irq *irq, struct irq_line *line)
{
	if (line->producer || line->connected)
		return;
	for (struct irq_line **at = &irq->lines; *at; at = &(*at)->next) {
		if (*at == line) {
			*at = line->next;
			free(line);
			return;
		}
	}
}

/* Takes what it counted. Asked first, because not everybody makes eventfds non-blocking. */
static bool take_count(int eventfd)
{
	struct pollfd ask = { .fd = eventfd, .events = POLLIN };
	uint64_t count;

	if (poll(&ask, 1, 0) != 1 || !(ask.revents & POLLIN))
		return false;
	return read(eventfd, &count, sizeof(count)) == (ssize_t) sizeof(count);
}

/* What a connected eventfd counted goes into the model; several signals are one, as always. */
static void forward_locked(struct soft_irq *irq, struct irq_line *line)
{
	if (!line->connected || !take_count(line->eventfd))
		return;
	if (line->pin)
		(void) soft_gic_irq_line(irq->gic, 0, line->intid, true);
	else if (line->producer)
		(void) soft_gic_fire(irq->gic, line->token);
	else
		(void) soft_gic_event_write(irq->gic, line->token);
}

static void *irq_thread(void *user)
{
	struct soft_irq *irq = user;
	struct epoll_event events[EVENTS_AT_ONCE];

	for (;;) {
		int n = epoll_wait(irq->epoll, events, EVENTS_AT_ONCE, -1);

		for (int i = 0; i < n; i++)
			if (events[i].data.fd == irq->quit)
				return NULL;
		pthread_mutex_lock(&irq->lock);
		for (int i = 0; i < n; i++) {
			/* Looked up anew: it may have been disconnected meanwhile. */
			struct irq_line *line = find_line(irq, events[i].data.fd);

			if (line)
				forward_locked(irq, line);
		}
		pthread_mutex_unlock(&irq->lock);
	}
}

static const struct vferry_irq_route *find_route(const struct soft_irq *irq, uint32_t gsi)
{
	for (size_t i = 0; i < irq->route_count; i++)
		if (irq->routes[i].gsi == gsi)
			return &irq->routes[i];
	return NULL;
}

static int set_routes(void *user, const struct vferry_irq_route *routes, size_t count,
		      struct vferry_error *err)
{
	struct soft_irq *irq = user;
	struct vferry_irq_route *kept;
	struct soft_gic_route *model;
	int r;

	if (count > SOFT_GIC_ROUTES_MAX)
		return vferry_error_set(err, -E2BIG, "too-many-routes", "irq",
					"%zu interrupt routes, at most %u fit", count,
					SOFT_GIC_ROUTES_MAX);
	kept = calloc(count + 1, sizeof(*kept));
	model = calloc(count + 1, sizeof(*model));
	if (!kept || !model) {
		r = vferry_error_set(err, -ENOMEM, "no-memory", "irq",
				     "no memory for %zu interrupt routes", count);
		goto out;
	}
	for (size_t i = 0; i < count; i++) {
		const struct vferry_irq_route *route = &routes[i];

		kept[i] = *route;
		model[i].gsi = route->gsi;
		if (route->kind == VFERRY_IRQ_PIN) {
			model[i].type = VF_KVM_ROUTING_IRQCHIP;
			model[i].pin = route->pin;
			continue;
		}
		model[i].type = VF_KVM_ROUTING_MSI;
		model[i].flags = VF_KVM_MSI_VALID_DEVID;
		model[i].address = route->address;
		model[i].data = route->data;
		model[i].devid = route->requester_id;
	}
	pthread_mutex_lock(&irq->lock);
	r = irq->gic ? soft_gic_set_routing(irq->gic, model, (unsigned) count) : 0;
	if (r >= 0) {
		struct vferry_irq_route *old = irq->routes;

		irq->routes = kept;
		irq->route_count = count;
		kept = old;
	}
	pthread_mutex_unlock(&irq->lock);
	if (r < 0)
		(void) vferry_error_set(err, r, "irq-routes", "irq",
					"the interrupt controller refused %zu routes (%s)", count,
					vferry_errno_name(r));
out:
	free(kept);
	free(model);
	return r < 0 ? r : 0;
}

static int watch(struct soft_irq *irq, int eventfd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = eventfd };

	return epoll_ctl(irq->epoll, EPOLL_CTL_ADD, eventfd, &event) < 0 ? -errno : 0;
}

static int connect_locked(struct soft_irq *irq, uint32_t gsi, int eventfd, int resample_eventfd)
{
	const struct vferry_irq_route *route = find_route(irq, gsi);
	struct irq_line *line = get_line(irq, eventfd);
	bool pin = route && route->kind == VFERRY_IRQ_PIN;
	int r;

	if (!line)
		return -ENOMEM;
	if (line->connected)
		return -EBUSY;
	/* A vector without a route is connected all the same, to nowhere: KVM does not mind. */
	if (pin && route->pin >= SOFT_SPIS) {
		put_line(irq, line);
		return -EINVAL;
	}
	if (!pin) {
		r = soft_gic_irqfd(irq->gic, line->token, gsi, 0);
		if (r < 0) {
			put_line(irq, line);
			return r;
		}
	}
	line->connected = true;
	line->pin = pin;
	line->gsi = gsi;
	line->intid = pin ? SPI_FIRST + route->pin : 0;
	line->resample = pin ? resample_eventfd : -1;
	/* What it counted while nobody listened is injected by software, as KVM_IRQFD does. */
	if (pin)
		forward_locked(irq, line);
	else if (take_count(eventfd))
		(void) soft_gic_event_write(irq->gic, line->token);
	r = watch(irq, eventfd);
	if (r < 0) {
		if (!pin)
			(void) soft_gic_irqfd(irq->gic, line->token, gsi, VF_KVM_IRQFD_DEASSIGN);
		line->connected = false;
		put_line(irq, line);
	}
	return r;
}

static int sink_connect(void *user, uint32_t gsi, int eventfd, int resample_eventfd,
			struct vferry_error *err)
{
	struct soft_irq *irq = user;
	int r;

	if (!irq->gic)
		return 0;
	pthread_mutex_lock(&irq->lock);
	r = connect_locked(irq, gsi, eventfd, resample_eventfd);
	pthread_mutex_unlock(&irq->lock);
	if (r < 0)
		return vferry_error_set(err, r, "irq-connect", "irq",
					"eventfd %d could not be connected to GSI %u (%s)", eventfd,
					gsi, vferry_errno_name(r));
	return 0;
}

static void disconnect_locked(struct soft_irq *irq, struct irq_line *line)
{
	forward_locked(irq, line);
	(void) epoll_ctl(irq->epoll, EPOLL_CTL_DEL, line->eventfd, NULL);
	if (line->pin)
		(void) soft_gic_irq_line(irq->gic, 0, line->intid, false);
	else
		(void) soft_gic_irqfd(irq->gic, line->token, line->gsi, VF_KVM_IRQFD_DEASSIGN);
	line->connected = false;
	line->resample = -1;
}

static int sink_disconnect(void *user, uint32_t gsi, int eventfd, struct vferry_error *err)
{
	struct soft_irq *irq = user;
	struct irq_line *line;

	(void) gsi;
	(void) err;
	pthread_mutex_lock(&irq->lock);
	line = find_line(irq, eventfd);
	if (line && line->connected) {
		disconnect_locked(irq, line);
		put_line(irq, line);
	}
	pthread_mutex_unlock(&irq->lock);
	return 0;
}

static int sink_signal_msi(void *user, const struct vferry_irq_route *route,
			   struct vferry_error *err)
{
	struct soft_irq *irq = user;
	int r;

	if (!irq->gic)
		return 0;
	r = soft_gic_signal_msi(irq->gic, route->address, route->data, route->requester_id,
				VF_KVM_MSI_VALID_DEVID);

	if (r < 0)
		return vferry_error_set(err, r, "irq-signal", "irq",
					"message %#x to %#llx was refused (%s)", route->data,
					(unsigned long long) route->address, vferry_errno_name(r));
	return r;
}

static int sink_producer_add(void *user, int eventfd, struct vferry_error *err)
{
	struct soft_irq *irq = user;
	struct irq_line *line;
	int r = -ENOMEM;

	if (!irq->gic)
		return 0;
	pthread_mutex_lock(&irq->lock);
	line = get_line(irq, eventfd);
	if (line) {
		r = soft_gic_vector_set(irq->gic, line->token);
		line->producer = r >= 0 || line->producer;
		put_line(irq, line);
	}
	pthread_mutex_unlock(&irq->lock);
	if (r < 0)
		return vferry_error_set(err, r, "irq-producer", "irq",
					"eventfd %d could not be watched (%s)", eventfd,
					vferry_errno_name(r));
	return 0;
}

static void sink_producer_remove(void *user, int eventfd)
{
	struct soft_irq *irq = user;
	struct irq_line *line;

	pthread_mutex_lock(&irq->lock);
	line = find_line(irq, eventfd);
	if (line && line->producer) {
		forward_locked(irq, line);
		soft_gic_vector_clear(irq->gic, line->token);
		line->producer = false;
		put_line(irq, line);
	}
	pthread_mutex_unlock(&irq->lock);
}

static void answer_locked(struct soft_irq *irq, struct vferry_vector_answer *v)
{
	const char *why = "not connected";

	for (const struct irq_line *line = irq->lines; line; line = line->next) {
		enum soft_gic_reason state;

		if (!line->connected || line->gsi != v->gsi)
			continue;
		v->forwarded = VFERRY_FORWARDED_NO;
		if (line->pin) {
			why = "a pin is never forwarded";
			break;
		}
		state = soft_gic_vector_state(irq->gic, line->token);
		if (state == SOFT_GIC_FORWARDED)
			v->forwarded = VFERRY_FORWARDED_YES;
		why = soft_gic_reason_name(state);
		break;
	}
	(void) snprintf(v->reason, sizeof(v->reason), "%s",
			v->forwarded == VFERRY_FORWARDED_YES ? "" : why);
}

static void sink_forwarded(void *user, struct vferry_vector_answer *vectors, size_t count)
{
	struct soft_irq *irq = user;

	pthread_mutex_lock(&irq->lock);
	for (size_t i = 0; i < count; i++)
		answer_locked(irq, &vectors[i]);
	pthread_mutex_unlock(&irq->lock);
}

void soft_irq_ended(struct soft_irq *irq, uint32_t intid)
{
	if (intid < SPI_FIRST || intid >= SPI_FIRST + SOFT_SPIS)
		return;
	pthread_mutex_lock(&irq->lock);
	for (struct irq_line *line = irq->lines; line; line = line->next) {
		const uint64_t one = 1;

		if (!line->connected || !line->pin || line->intid != intid)
			continue;
		(void) soft_gic_irq_line(irq->gic, 0, intid, false);
		if (line->resample >= 0)
			/* Full would mean that the device has not looked since: then it will. */
			(void) !write(line->resample, &one, sizeof(one));
	}
	pthread_mutex_unlock(&irq->lock);
}

void soft_irq_flush(struct soft_irq *irq)
{
	pthread_mutex_lock(&irq->lock);
	for (struct irq_line *line = irq->lines; line; line = line->next)
		forward_locked(irq, line);
	pthread_mutex_unlock(&irq->lock);
}

void soft_irq_get_sink(struct soft_irq *irq, struct vferry_irq_sink *ret_sink)
{
	*ret_sink = (struct vferry_irq_sink) {
		.size = sizeof(*ret_sink),
		.user = irq,
		.gsi_first = 0,
		.gsi_count = SOFT_GIC_ROUTES_MAX,
		.set_routes = set_routes,
		.connect = sink_connect,
		.disconnect = sink_disconnect,
		.signal_msi = sink_signal_msi,
		.producer_add = sink_producer_add,
		.producer_remove = sink_producer_remove,
		.forwarded = sink_forwarded,
	};
}

int soft_irq_new(struct soft_gic *gic, struct soft_irq **ret_irq)
{
	struct soft_irq *irq = calloc(1, sizeof(*irq));
	int r;

	if (!irq)
		return -ENOMEM;
	irq->gic = gic;
	(void) pthread_mutex_init(&irq->lock, NULL);
	irq->epoll = epoll_create1(EPOLL_CLOEXEC);
	irq->quit = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = irq->epoll < 0 || irq->quit < 0 ? -errno : watch(irq, irq->quit);
	if (r == 0)
		r = -pthread_create(&irq->thread, NULL, irq_thread, irq);
	if (r < 0) {
		(void) soft_irq_free(irq);
		return r;
	}
	irq->started = true;
	*ret_irq = irq;
	return 0;
}

struct soft_irq *soft_irq_free(struct soft_irq *irq)
{
	const uint64_t one = 1;

	if (!irq)
		return NULL;
	if (irq->started) {
		(void) !write(irq->quit, &one, sizeof(one));
		(void) pthread_join(irq->thread, NULL);
	}
	while (irq->lines) {
		struct irq_line *line = irq->lines;

		irq->lines = line->next;
		free(line);
	}
	if (irq->epoll >= 0)
		(void) close(irq->epoll);
	if (irq->quit >= 0)
		(void) close(irq->quit);
	free(irq->routes);
	(void) pthread_mutex_destroy(&irq->lock);
	free(irq);
	return NULL;
}
