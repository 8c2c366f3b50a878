/* SPDX-License-Identifier: MIT */
/* session.c - the public functions, the event queue and the status; see session_internal.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "ram/ram.h"
#include "session/irq_plan.h"
#include "session/link.h"
#include "session/session_internal.h"
#include "session/ticker.h"
#include "transfer/tls.h"
#include "vfio/device_component.h"
#include "wire/frame.h"

/* ---- life ---- */

void vf_session_init_condition(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	(void) pthread_condattr_init(&attr);
	(void) pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void) pthread_cond_init(cond, &attr);
	(void) pthread_condattr_destroy(&attr);
}

int vferry_session_new(const struct vferry_machine_ops *ops, void *user,
		       struct vferry_session **ret_session, struct vferry_error *err)
{
	struct vferry_session *s;

	if (!ops || !ret_session || !ops->size || ops->size > sizeof(s->ops) || !ops->stop ||
	    !ops->start)
		return vferry_error_set(err, -EINVAL, "bad-argument", NULL,
					"a session needs machine callbacks stop and start");
	s = calloc(1, sizeof(*s));
	if (!s)
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory for a session");
	memcpy(&s->ops, ops, ops->size);
	s->user = user;
	s->parameters = (struct vferry_parameters) VFERRY_PARAMETERS_INIT;
	s->components = calloc(VF_MAX_COMPONENTS, sizeof(*s->components));
	s->events = calloc(VF_EVENTS_FIRST, sizeof(*s->events));
	s->event_room = VF_EVENTS_FIRST;
	s->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->status_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->status.outcome = VFERRY_OUTCOME_PENDING;
	(void) pthread_mutex_init(&s->lock, NULL);
	vf_session_init_condition(&s->changed);
	if (!s->components || !s->events || s->cancel_fd < 0 || s->status_fd < 0 ||
	    vf_trace_new(&s->trace)) {
		(void) vferry_session_free(s);
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL,
					"no memory or descriptors for a session");
	}
	*ret_session = s;
	return 0;
}

static void free_strings(char *strings[VF_PARAMETER_STRINGS])
{
	for (size_t i = 0; i < VF_PARAMETER_STRINGS; i++)
		free(strings[i]);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	(void) !write(fd, &one, sizeof(one));
}

struct vferry_session *vferry_session_free(struct vferry_session *s)
{
	if (!s)
		return NULL;
	if (s->thread_exists) {
		(void) vferry_session_cancel(s);
		(void) pthread_mutex_lock(&s->lock);
		s->quit = true;
		(void) pthread_cond_broadcast(&s->changed);
		(void) pthread_mutex_unlock(&s->lock);
	}
	/* Also where the session's own thread could not be started: others of its side wait for this. */
	signal_fd(s->cancel_fd);
	if (s->thread_exists)
		(void) pthread_join(s->thread, NULL);
	if (s->side)
		s->side->free(s);
	for (size_t i = 0; i < s->device_count; i++)
		vf_device_drop_trace(s->devices[i], s->trace);
	if (s->ram)
		vf_ram_drop_trace(s->ram, s->trace);
	vf_report_done(&s->remote_report);
	vf_vectors_done(&s->vectors[VF_BEFORE]);
	vf_vectors_done(&s->vectors[VF_AFTER]);
	vf_refuse_done(&s->refused);
	vf_close(&s->cancel_fd);
	vf_close(&s->status_fd);
	(void) pthread_cond_destroy(&s->changed);
	(void) pthread_mutex_destroy(&s->lock);
	s->trace = vf_trace_free(s->trace);
	(void) vf_tls_creds_free(s->tls);
	free_strings(s->strings);
	free(s->components);
	free(s->events);
	free(s);
	return NULL;
}

/* ---- what a session is made of ---- */

static int check_component(const struct vferry_component *c, struct vferry_error *err)
{
	if (!c || c->size < sizeof(*c) || !c->name || !c->name[0] ||
	    strlen(c->name) >= VFERRY_NAME_BYTES ||
	    (c->device && strlen(c->device) >= VFERRY_NAME_BYTES) ||
	    c->section_count > VF_MAX_SECTIONS)
		return vferry_error_set(err, -EINVAL, "bad-argument", c ? c->name : NULL,
					"a component needs a name of 1 to %d bytes and at most %d sections",
					VFERRY_NAME_BYTES - 1, VF_MAX_SECTIONS);
	for (size_t i = 0; i < c->section_count; i++)
		if (!c->sections[i].id || c->sections[i].oldest > c->sections[i].version ||
		    c->sections[i].max_bytes > VF_MAX_SECTION_BYTES - VF_SECTION_HEADER_BYTES)
			return vferry_error_set(err, -EINVAL, "bad-argument", c->name,
						"section %u: bad id, versions, or a bound over %zu bytes",
						c->sections[i].id,
						(size_t) VF_MAX_SECTION_BYTES - VF_SECTION_HEADER_BYTES);
	for (size_t i = 0; i < c->step_count; i++) {
		const struct vferry_step_desc *d = &c->steps[i];

		if (d->size < sizeof(*d) || !d->run || !d->name ||
		    !vferry_step_class_name((int) d->step_class) ||
		    (d->section && !vf_component_section(c, d->section)))
			return vferry_error_set(err, -EINVAL, "bad-argument", c->name,
						"step %zu: no function, no name, an unknown class or section",
						i);
	}
	return 0;
}

int vferry_session_add_component(struct vferry_session *s, const struct vferry_component *component,
				 struct vferry_error *err)
{
	struct vf_session_component *c;
	int ret = check_component(component, err);

	if (ret)
		return ret;
	if (s->side)
		return vferry_error_set(err, -EBUSY, "session-started", component->name,
					"the session was started already");
	if (vf_session_find_component(s, component->name))
		return vferry_error_set(err, -EEXIST, "component-exists", component->name,
					"there is a component of this name already");
	if (s->component_count == VF_MAX_COMPONENTS)
		return vferry_error_set(err, -E2BIG, "too-many-components", component->name,
					"more than %d components", VF_MAX_COMPONENTS);
	c = &s->components[s->component_count];
	c->desc = *component;
	(void) snprintf(c->name, sizeof(c->name), "%s", component->name);
	(void) snprintf(c->device, sizeof(c->device), "%s", component->device ? component->device : "");
	c->desc.name = c->name;
	c->desc.device = c->device[0] ? c->device : NULL;
	c->index = (uint32_t) s->component_count++;
	c->remote = VF_NO_COMPONENT;
	return 0;
}

int vferry_session_add_dependency(struct vferry_session *s, const char *first_component,
				  uint32_t first, const char *then_component, uint32_t then,
				  struct vferry_error *err)
{
	const struct vf_session_component *a = vf_session_find_component(s, first_component);
	const struct vf_session_component *b = vf_session_find_component(s, then_component);

	if (s->side)
		return vferry_error_set(err, -EBUSY, "session-started", first_component,
					"the session was started already");
	if (!a || !b || !vf_component_section(&a->desc, first) ||
	    !vf_component_section(&b->desc, then))
		return vferry_error_set(err, -ENOENT, "no-such-section", first_component,
					"no section %u of %s, or %u of %s", first, first_component, then,
					then_component);
	if (a == b && first == then)
		return vferry_error_set(err, -EINVAL, "bad-argument", first_component,
					"a section cannot be loaded before itself");
	if (s->dependency_count == VF_MAX_DEPENDENCIES)
		return vferry_error_set(err, -E2BIG, "too-many-dependencies", first_component,
					"more than %d dependencies", VF_MAX_DEPENDENCIES);
	s->dependencies[s->dependency_count++] = (struct vf_wire_dependency) {
		.first_component = a->index, .first_section = first,
		.then_component = b->index, .then_section = then,
	};
	return 0;
}

int vferry_session_set_ram(struct vferry_session *s, struct vferry_ram *ram)
{
	if (s->side)
		return -EBUSY;
	s->ram = ram;
	return 0;
}

int vferry_session_add_device(struct vferry_session *s, struct vferry_device *device,
			      struct vferry_error *err)
{
	struct vferry_component parts[VF_DEVICE_COMPONENTS];
	int ret;

	if (s->device_count == VF_MAX_DEVICES)
		return vferry_error_set(err, -E2BIG, "too-many-devices", vf_device_address(device),
					"more than %d devices", VF_MAX_DEVICES);
	ret = vf_device_components(device, parts);
	for (int i = 0; i < VF_DEVICE_COMPONENTS && !ret; i++)
		ret = vferry_session_add_component(s, &parts[i], err);
	if (!ret)
		s->devices[s->device_count++] = device;
	return ret;
}

int vferry_session_set_irq_plan(struct vferry_session *s, struct vferry_irq_plan *plan)
{
	struct vferry_component component;
	int ret;

	if (s->side || s->irq_plan)
		return -EBUSY;
	ret = vf_irq_plan_component(plan, &component);
	if (!ret)
		ret = vferry_session_add_component(s, &component, NULL);
	if (!ret)
		s->irq_plan = plan;
	return ret;
}

/* The strings of @p become copies that are kept in @to. */
static int copy_strings(struct vferry_parameters *p, char *to[VF_PARAMETER_STRINGS])
{
	const char **const from[VF_PARAMETER_STRINGS] = {
		&p->record_dir, &p->tls_creds, &p->tls_hostname, &p->tls_allow,
	};

	for (size_t i = 0; i < VF_PARAMETER_STRINGS; i++) {
		if (*from[i] && !(to[i] = strdup(*from[i]))) {
			free_strings(to);
			return -ENOMEM;
		}
		*from[i] = to[i];
	}
	return 0;
}

int vferry_session_set_parameters(struct vferry_session *s, const struct vferry_parameters *p,
				  struct vferry_error *err)
{
	struct vferry_parameters copy;
	char *strings[VF_PARAMETER_STRINGS] = { NULL };

	if (s->side)
		return vferry_error_set(err, -EBUSY, "session-started", NULL,
					"the session was started already; only limits may change");
	if (!p || p->size < sizeof(*p) || !p->channels || p->channels > VF_MAX_CHANNELS ||
	    p->compression > VFERRY_COMPRESSION_ZSTD || p->policy > VFERRY_POLICY_GIVE_UP)
		return vferry_error_set(err, -EINVAL, "bad-parameter", NULL,
					"channels must be 1..%d, compression and policy known ones",
					VF_MAX_CHANNELS);
	if (p->stall_timeout_ns && p->stall_timeout_ns < VF_STALL_LEAST_NS)
		return vferry_error_set(err, -EINVAL, "bad-parameter", NULL,
					"a stall timeout is 1 s or more: a peer that is well is heard "
					"four times a second");
	copy = *p;
	if (copy_strings(&copy, strings))
		return vferry_error_set(err, -ENOMEM, "no-memory", NULL, "no memory for parameters");
	free_strings(s->strings);
	memcpy(s->strings, strings, sizeof(strings));
	s->parameters = copy;
	return 0;
}

int vferry_session_set_machine(struct vferry_session *s, const char *description)
{
	if (s->side || !description || strlen(description) >= sizeof(s->description))
		return -EINVAL;
	(void) snprintf(s->description, sizeof(s->description), "%s", description);
	return 0;
}

int vferry_session_set_trace(struct vferry_session *s, vferry_trace_fn fn, void *user)
{
	if (s->side)
		return -EBUSY;
	vf_trace_listen(s->trace, fn, user);
	return 0;
}

/* ---- start ---- */

static void *session_main(void *user)
{
	struct vferry_session *s = user;

	s->side->run(s);
	return NULL;
}

static int start(struct vferry_session *s, const struct vf_side_ops *side, const char *uri,
		 int (*side_new)(struct vferry_session *, struct vferry_error *),
		 struct vferry_error *err)
{
	int ret;

	if (s->side)
		return vferry_error_set(err, -EBUSY, "session-started", NULL,
					"a session is used once");
	if (!uri || strlen(uri) >= sizeof(s->uri))
		return vferry_error_set(err, -EINVAL, "bad-uri", NULL, "no URI, or one too long");
	ret = vf_uri_parse(uri, &s->target, err);
	if (ret)
		return ret;
	(void) snprintf(s->uri, sizeof(s->uri), "%s", uri);
	ret = vf_link_prepare(s, side == &vf_destination_ops, err);
	if (!ret)
		ret = side_new(s, err);
	if (ret)
		return ret;
	s->side = side;
	s->started_ns = vf_now_ns();
	s->status.started_ns = s->started_ns;
	if (s->ram)
		vf_ram_set_trace(s->ram, s->trace);
	ret = vf_trace_thread(s->trace, "session", &s->thread, session_main, s);
	if (ret)
		return vferry_error_set(err, ret, "no-thread", NULL, "cannot start a thread: %s",
					vferry_errno_name(ret));
	s->thread_exists = true;
	return 0;
}

int vferry_session_migrate(struct vferry_session *s, const char *uri, struct vferry_error *err)
{
	return start(s, &vf_source_ops, uri, vf_source_side_new, err);
}

int vferry_session_accept(struct vferry_session *s, const char *uri, struct vferry_error *err)
{
	return start(s, &vf_destination_ops, uri, vf_destination_side_new, err);
}

int vferry_session_cancel(struct vferry_session *s)
{
	return s->side ? s->side->cancel(s) : -EINVAL;
}

int vferry_session_continue(struct vferry_session *s)
{
	return s->source ? vf_source_continue(s) : -EINVAL;
}

int vferry_session_resolve(struct vferry_session *s, const char *peer, bool fenced_destination,
			   struct vferry_error *err)
{
	if (s->source)
		return vf_source_resolve(s, peer, fenced_destination);
	if (s->destination && !peer)
		return vf_destination_resolve(s, fenced_destination, err);
	return vferry_error_set(err, -EINVAL, "not-a-source", NULL,
				"only a source can ask the other side how its migration ended");
}

/* ---- events ---- */

static bool grow_locked(struct vferry_session *s)
{
	size_t room = s->event_room * 2;
	struct vf_event *events;

	if (s->event_room >= VF_EVENTS_MOST)
		return false;
	events = calloc(room, sizeof(*events));
	if (!events)
		return false;
	for (size_t i = 0; i < s->event_count; i++)
		events[i] = s->events[(s->event_first + i) % s->event_room];
	free(s->events);
	s->events = events;
	s->event_room = room;
	s->event_first = 0;
	return true;
}

void vf_session_post(struct vferry_session *s, const struct vf_event *event)
{
	(void) pthread_mutex_lock(&s->lock);
	while (s->event_count == s->event_room && !grow_locked(s) && !s->quit)
		(void) pthread_cond_wait(&s->changed, &s->lock);
	if (s->event_count < s->event_room) {
		s->events[(s->event_first + s->event_count) % s->event_room] = *event;
		s->event_count++;
	}
	(void) pthread_cond_broadcast(&s->changed);
	(void) pthread_mutex_unlock(&s->lock);
}

void vf_session_post_kind(struct vferry_session *s, uint32_t kind)
{
	struct vf_event event = { .kind = kind };

	vf_session_post(s, &event);
}

void vf_session_post_error(struct vferry_session *s, uint32_t kind, const struct vferry_error *err)
{
	struct vf_event event = { .kind = kind, .has_error = true, .error = *err };

	vf_session_post(s, &event);
}

bool vf_session_next_event(struct vferry_session *s, uint64_t deadline_ns, struct vf_event *ret)
{
	struct timespec until = vf_timespec(deadline_ns);
	bool got = false;

	(void) pthread_mutex_lock(&s->lock);
	while (!s->event_count && !s->quit) {
		if (!deadline_ns)
			(void) pthread_cond_wait(&s->changed, &s->lock);
		else if (pthread_cond_timedwait(&s->changed, &s->lock, &until) == ETIMEDOUT)
			break;
	}
	if (s->event_count) {
		*ret = s->events[s->event_first];
		s->event_first = (s->event_first + 1) % s->event_room;
		s->event_count--;
		got = true;
		(void) pthread_cond_broadcast(&s->changed);
	}
	(void) pthread_mutex_unlock(&s->lock);
	return got;
}

bool vf_session_quitting(struct vferry_session *s)
{
	bool quit;

	(void) pthread_mutex_lock(&s->lock);
	quit = s->quit && !s->event_count;
	(void) pthread_mutex_unlock(&s->lock);
	return quit;
}

/* ---- status ---- */

void vf_session_notify(struct vferry_session *s)
{
	signal_fd(s->status_fd);
}

void vf_session_set_state(struct vferry_session *s, enum vf_status status)
{
	bool changed, owner;

	(void) pthread_mutex_lock(&s->lock);
	changed = s->status.state != (enum vferry_state) status;
	if (changed && s->status.state == VFERRY_STATE_SETUP)
		s->status.setup_ns = vf_now_ns() - s->started_ns;
	s->status.state = (enum vferry_state) status;
	owner = s->status.owner;
	(void) pthread_mutex_unlock(&s->lock);
	if (changed && status > VF_STATUS_NONE && status < VF_STATUS__COUNT)
		(void) vf_trace(s->trace, VF_TRACE_STATE_SETUP + (status - VF_STATUS_SETUP), s->uri,
				owner, 0, 0);
	if (changed && s->ops.state_changed)
		s->ops.state_changed(s->user, (enum vferry_state) status);
	vf_session_notify(s);
}

void vf_session_set_owner(struct vferry_session *s, bool owner)
{
	bool changed;

	(void) pthread_mutex_lock(&s->lock);
	changed = s->status.owner != owner;
	s->status.owner = owner;
	(void) pthread_mutex_unlock(&s->lock);
	if (changed)
		(void) vf_trace(s->trace, VF_TRACE_OWNER, s->uri, owner, 0, 0);
}

void vf_session_finish(struct vferry_session *s, int exit_code, const struct vferry_error *err)
{
	(void) vf_trace(s->trace, VF_TRACE_OUTCOME, err ? err->object : NULL, (uint64_t) exit_code,
			err && err->code ? (uint64_t) -err->code : 0, 0);
	(void) pthread_mutex_lock(&s->lock);
	s->status.outcome = (enum vferry_outcome) exit_code;
	s->status.total_ns = vf_now_ns() - s->started_ns;
	if (err && err->code)
		s->status.error = *err;
	else
		vferry_error_clear(&s->status.error);
	s->ended = true;
	(void) pthread_cond_broadcast(&s->changed);
	(void) pthread_mutex_unlock(&s->lock);
	vf_session_notify(s);
}

int vferry_session_get_fd(const struct vferry_session *s)
{
	return s->status_fd;
}

int vferry_session_wait(struct vferry_session *s, uint64_t timeout_ns)
{
	uint64_t deadline = vf_now_ns() + timeout_ns;
	struct timespec until = vf_timespec(deadline);
	int ret = 0;

	(void) pthread_mutex_lock(&s->lock);
	while (!s->ended && !ret) {
		if (!timeout_ns)
			(void) pthread_cond_wait(&s->changed, &s->lock);
		else if (pthread_cond_timedwait(&s->changed, &s->lock, &until) == ETIMEDOUT)
			ret = s->ended ? 0 : -ETIMEDOUT;
	}
	(void) pthread_mutex_unlock(&s->lock);
	return ret;
}

void vferry_session_get_status(struct vferry_session *s, struct vferry_status *ret_status)
{
	uint64_t drain;

	(void) !read(s->status_fd, &drain, sizeof(drain));
	(void) pthread_mutex_lock(&s->lock);
	if (s->side)
		s->side->status(s, &s->status);
	*ret_status = s->status;
	if (s->side && !s->ended)
		ret_status->total_ns = vf_now_ns() - s->started_ns;
	(void) pthread_mutex_unlock(&s->lock);
}

const char *vferry_state_name(enum vferry_state state)
{
	const char *name = vf_status_name((enum vf_status) state);

	return name ? name : "unknown";
}
