/* SPDX-License-Identifier: MIT */
/*
 * control_report.c - what query-migrate and x-vferry-verdict answer.
 *
 * Members have QEMU's names and units (ms, bytes, pages, megabits a second). What is not known is not
 * there, rather than 0.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control_commands.h"

#define MS_NS 1000000ull
#define PAGE_BYTES 4096u

static void add_int(struct json_object *to, const char *name, uint64_t value)
{
	json_object_object_add(to, name, json_object_new_uint64(value));
}

static void add_string(struct json_object *to, const char *name, const char *value)
{
	json_object_object_add(to, name, json_object_new_string(value));
}

static void add_bool(struct json_object *to, const char *name, bool value)
{
	json_object_object_add(to, name, json_object_new_boolean(value));
}

const char *vm_control_outcome_name(enum vferry_outcome outcome)
{
	switch (outcome) {
	case VFERRY_OUTCOME_PENDING:
		return "pending";
	case VFERRY_OUTCOME_DONE:
		return "done";
	case VFERRY_OUTCOME_REFUSED:
		return "refused";
	case VFERRY_OUTCOME_FAILED:
		return "failed";
	case VFERRY_OUTCOME_CANCELLED:
		return "cancelled";
	case VFERRY_OUTCOME_UNKNOWN:
		return "unknown";
	case VFERRY_OUTCOME_FAILED_AFTER:
		return "failed-after";
	}
	return "pending";
}

static struct json_object *ram_json(const struct vferry_status *s)
{
	struct json_object *ram = json_object_new_object();

	add_int(ram, "transferred", s->ram_sent_bytes);
	add_int(ram, "remaining", s->ram_remaining_bytes);
	add_int(ram, "total", s->ram_total_bytes);
	add_int(ram, "duplicate", s->pages_zero);
	add_int(ram, "skipped", 0);
	add_int(ram, "normal", s->pages_normal);
	add_int(ram, "normal-bytes", s->pages_normal * PAGE_BYTES);
	add_int(ram, "dirty-pages-rate", s->dirty_pages_rate);
	json_object_object_add(ram, "mbps", json_object_new_double((double) s->rate * 8 / 1e6));
	add_int(ram, "dirty-sync-count", s->pass);
	add_int(ram, "postcopy-requests", 0);
	add_int(ram, "page-size", PAGE_BYTES);
	add_int(ram, "multifd-bytes", 0);
	add_int(ram, "pages-per-second", s->rate / PAGE_BYTES);
	add_int(ram, "precopy-bytes", s->ram_sent_bytes);
	add_int(ram, "downtime-bytes", 0);
	add_int(ram, "postcopy-bytes", 0);
	add_int(ram, "dirty-sync-missed-zero-copy", 0);
	return ram;
}

static struct json_object *bars_json(const struct vferry_device_info *info)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < VFERRY_BAR_COUNT; i++) {
		struct json_object *bar;

		if (!info->bar_bytes[i])
			continue;
		bar = json_object_new_object();
		add_int(bar, "bar", i);
		add_int(bar, "bytes", info->bar_bytes[i]);
		if (info->bar_gpa[i])
			add_int(bar, "address", info->bar_gpa[i]);
		json_object_array_add(list, bar);
	}
	return list;
}

static struct json_object *devices_json(struct machine *machine)
{
	static const char *const modes[] = { "none", "intx", "msi", "msix" };
	static const char *const tracking[] = { "none", "device-log", "iommu" };
	struct json_object *list = json_object_new_array();

	for (size_t i = 0; i < machine_device_count(machine); i++) {
		struct json_object *entry = json_object_new_object();
		struct vferry_device_info info;

		vferry_device_get_info(machine_device(machine, i), &info);
		add_string(entry, "address", info.address);
		add_string(entry, "uri", info.uri);
		add_string(entry, "backend", info.backend);
		if (info.driver[0])
			add_string(entry, "driver", info.driver);
		add_int(entry, "state", info.state);
		add_bool(entry, "lost", info.lost);
		add_bool(entry, "precopy", info.features & VFERRY_DEVICE_PRE_COPY);
		add_bool(entry, "p2p", info.features & VFERRY_DEVICE_P2P);
		add_string(entry, "interrupts", modes[info.irq_mode]);
		add_int(entry, "vectors", info.vector_count);
		add_int(entry, "vectors-connected", info.vectors_connected);
		add_int(entry, "vectors-forwarded", info.vectors_forwarded);
		add_int(entry, "vectors-forward-unknown", info.vectors_forward_unknown);
		if (info.not_forwarded_reason[0])
			add_string(entry, "not-forwarded", info.not_forwarded_reason);
		json_object_object_add(entry, "bars", bars_json(&info));
		add_bool(entry, "host-error", machine_device_failed(machine, i));
		add_bool(entry, "wanted-back", machine_device_requested(machine, i));
		add_int(entry, "ioeventfds", machine_device_ioeventfds(machine, i));
		add_string(entry, "dirty-tracking", tracking[info.dirty_tracking]);
		add_int(entry, "dirty-log-failures", info.log_failures);
		json_object_array_add(list, entry);
	}
	return list;
}

static struct json_object *steps_json(struct vferry_session *session)
{
	struct json_object *list = json_object_new_array();
	struct vferry_step_report *steps;
	size_t count;

	if (vferry_session_report(session, &steps, &count))
		return list;
	for (size_t i = 0; i < count; i++) {
		const struct vferry_step_report *s = &steps[i];
		struct json_object *entry = json_object_new_object();
		const char *name = vferry_step_class_name((int) s->step_class);

		add_string(entry, "component", s->component);
		add_string(entry, "name", s->name);
		add_string(entry, "class", name ? name : "unknown");
		add_string(entry, "side", s->remote ? "destination" : "source");
		add_bool(entry, "done", s->done);
		add_bool(entry, "in-pause", s->in_pause);
		add_int(entry, "start-ns", s->start_ns);
		add_int(entry, "end-ns", s->end_ns);
		add_int(entry, "bytes", s->bytes);
		add_int(entry, "thread", s->thread);
		if (s->predicted_known)
			add_int(entry, "predicted-ns", s->predicted_ns);
		json_object_array_add(list, entry);
	}
	free(steps);
	return list;
}

static struct json_object *vectors_json(const struct vferry_vectors *v)
{
	static const char *const words[] = { "unknown", "no", "yes" };
	struct json_object *to = json_object_new_object();
	struct json_object *runs = json_object_new_array();

	add_int(to, "vectors", v->vectors);
	add_int(to, "connected", v->connected);
	add_int(to, "forwarded", v->forwarded);
	add_int(to, "unknown", v->unknown);
	for (uint32_t i = 0; i < v->run_count; i++) {
		const struct vferry_vector_run *run = &v->runs[i];
		struct json_object *entry = json_object_new_object();

		add_int(entry, "first", run->first);
		add_int(entry, "count", run->count);
		add_bool(entry, "connected", run->connected);
		add_string(entry, "forwarded", words[run->forwarded]);
		if (run->reason[0])
			add_string(entry, "reason", run->reason);
		json_object_array_add(runs, entry);
	}
	json_object_object_add(to, "runs", runs);
	return to;
}

/* Who delivers interrupts, before and after; a side that is not known has the reason in its place. */
static void add_interrupts(struct json_object *to, struct vferry_session *session)
{
	struct json_object *all, *list;
	struct vferry_interrupts *in;

	if (vferry_session_interrupts(session, &in))
		return;
	all = json_object_new_object();
	list = json_object_new_array();
	if (in->before != VFERRY_KNOWN)
		add_string(all, "before-unknown", in->before_reason);
	if (in->after != VFERRY_KNOWN)
		add_string(all, "after-unknown", in->after_reason);
	add_bool(all, "awaited", in->after == VFERRY_KNOWN_SOON);
	for (size_t i = 0; i < in->device_count; i++) {
		const struct vferry_device_interrupts *d = &in->devices[i];
		struct json_object *entry = json_object_new_object();

		add_string(entry, "address", d->address);
		if (in->before == VFERRY_KNOWN)
			json_object_object_add(entry, "before", vectors_json(&d->before));
		if (in->after == VFERRY_KNOWN)
			json_object_object_add(entry, "after", vectors_json(&d->after));
		if (in->before == VFERRY_KNOWN && in->after == VFERRY_KNOWN) {
			add_int(entry, "lost", d->lost);
			add_int(entry, "doubtful", d->doubtful);
		}
		json_object_array_add(list, entry);
	}
	json_object_object_add(all, "devices", list);
	json_object_object_add(to, "x-vferry-interrupts", all);
	free(in);
}

/* The real address of a listener, as QEMU's SocketAddress. */
static void add_socket_address(struct json_object *to, const char *uri)
{
	struct json_object *list, *address;
	const char *colon;

	if (!uri || (strncmp(uri, "tcp:", 4) && strncmp(uri, "unix:", 5)))
		return;
	list = json_object_new_array();
	address = json_object_new_object();
	colon = strrchr(uri, ':');
	if (uri[0] == 't') {
		const char *host = uri + 4;
		int length = (int) (colon - host);

		if (*host == '[') {
			host++;
			length -= 2;
		}
		add_string(address, "type", "inet");
		json_object_object_add(address, "host", json_object_new_string_len(host, length));
		add_string(address, "port", colon + 1);
	} else {
		add_string(address, "type", "unix");
		add_string(address, "path", uri + 5);
	}
	json_object_array_add(list, address);
	json_object_object_add(to, "socket-address", list);
}

static void add_times(struct json_object *to, const struct vm_migration *m)
{
	const struct vferry_status *s = &m->status;

	add_int(to, "total-time", s->total_ns / MS_NS);
	if (s->setup_ns)
		add_int(to, "setup-time", s->setup_ns / MS_NS);
	if (s->expected_downtime_known) {
		if (s->outcome == VFERRY_OUTCOME_PENDING)
			add_int(to, "expected-downtime", s->expected_downtime_ns / MS_NS);
		add_int(to, "x-vferry-expected-downtime-ns", s->expected_downtime_ns);
		/* More than 0: some terms are not known, and the figure is a lower bound. */
		add_int(to, "x-vferry-expected-downtime-unknown-terms",
			s->expected_downtime_unknown_terms);
	}
	if (s->downtime_known) {
		add_int(to, "downtime", s->downtime_ns / MS_NS);
		add_int(to, "x-vferry-downtime-ns", s->downtime_ns);
	}
	if (s->throttle_percent)
		add_int(to, "cpu-throttle-percentage", s->throttle_percent);
}

/* QEMU's transfer statistics are the source's. */
static void add_source(struct json_object *to, struct vm *vm, const struct vm_migration *m)
{
	const struct vferry_status *s = &m->status;

	add_times(to, m);
	json_object_object_add(to, "ram", ram_json(s));
	if (machine_device_count(vm_machine(vm))) {
		struct json_object *vfio = json_object_new_object();

		add_int(vfio, "transferred", s->device_sent_bytes);
		json_object_object_add(to, "vfio", vfio);
	}
	add_int(to, "x-vferry-section-bytes", s->section_bytes);
	add_bool(to, "x-vferry-check", m->check);
	if (s->forecast[0])
		add_string(to, "x-vferry-forecast", s->forecast);
	if (s->outcome != VFERRY_OUTCOME_PENDING)
		json_object_object_add(to, "x-vferry-report", steps_json(m->session));
}

/* After a refusal: every reason in full, where `error-desc` has room for the first ones. */
static void add_reasons(struct json_object *to, struct vferry_session *session)
{
	struct vferry_error *reasons;
	struct json_object *list;
	size_t count, dropped;

	if (vferry_session_reasons(session, &reasons, &count, &dropped))
		return;
	list = count ? json_object_new_array() : NULL;
	for (size_t i = 0; i < count; i++) {
		struct json_object *entry = json_object_new_object();

		add_string(entry, "id", reasons[i].id);
		if (reasons[i].object[0])
			add_string(entry, "object", reasons[i].object);
		add_string(entry, "desc", reasons[i].message);
		json_object_array_add(list, entry);
	}
	if (count)
		json_object_object_add(to, "x-vferry-reasons", list);
	if (dropped)
		add_int(to, "x-vferry-reasons-dropped", dropped);
	free(reasons);
}

/* Not there: the connections are plain, or there are none yet. */
static void add_tls(struct json_object *to, const struct vferry_tls_status *tls)
{
	struct json_object *entry;

	if (!tls->encrypted)
		return;
	entry = json_object_new_object();
	add_string(entry, "cipher", tls->cipher);
	add_string(entry, "method", tls->psk ? "psk" : "x509");
	add_string(entry, "peer", tls->peer);
	add_int(entry, "kernel-channels", tls->kernel_channels);
	json_object_object_add(to, "x-vferry-tls", entry);
}

struct json_object *vm_control_query_migrate(struct vm *vm)
{
	struct json_object *to = json_object_new_object();
	struct vm_migration m;

	if (vm_get_migration(vm, &m)) {
		json_object_object_add(to, "x-vferry-devices", devices_json(vm_machine(vm)));
		return to;
	}
	add_string(to, "status", vferry_state_name(m.status.state));
	add_string(to, "x-vferry-outcome", vm_control_outcome_name(m.status.outcome));
	add_bool(to, "x-vferry-owner", m.status.owner);
	if (m.status.device_lost)
		add_bool(to, "x-vferry-device-lost", true);
	if (m.status.error.code) {
		add_string(to, "error-desc", m.status.error.message);
		add_string(to, "x-vferry-error-id", m.status.error.id);
		if (m.status.error.object[0])
			add_string(to, "x-vferry-error-object", m.status.error.object);
		if (m.status.error.phase[0])
			add_string(to, "x-vferry-error-phase", m.status.error.phase);
	}
	add_reasons(to, m.session);
	if (m.trace)
		add_string(to, "x-vferry-trace", m.trace);
	add_tls(to, &m.status.tls);
	if (m.incoming)
		add_socket_address(to, vm_incoming_uri(vm));
	else
		add_source(to, vm, &m);
	if (m.status.outcome != VFERRY_OUTCOME_PENDING && !m.check)
		add_interrupts(to, m.session);
	json_object_object_add(to, "x-vferry-devices", devices_json(vm_machine(vm)));
	return to;
}

/* ---- the guest's verdict ---- */

#define COUNT(member) { #member, offsetof(struct machine_verdict, member) }

static const struct {
	const char *name;	/* of the member; said with '-' for '_' */
	size_t at;
} counts[] = {
	COUNT(steps), COUNT(dirtied_pages), COUNT(checked_pages), COUNT(corrupt_pages),
	COUNT(passes), COUNT(devices), COUNT(submitted_jobs), COUNT(verified_jobs),
	COUNT(corrupt_jobs), COUNT(failed_jobs), COUNT(lost_jobs), COUNT(unnoticed_jobs),
	COUNT(peer_writes), COUNT(lost_peer_writes), COUNT(resets), COUNT(voided_jobs),
	COUNT(bus_errors), COUNT(interrupts), COUNT(spurious), COUNT(unknown_interrupts),
	COUNT(longest_gap_ns), COUNT(longest_gap_running_ns), COUNT(clock_backward),
	COUNT(lost_timers), COUNT(lost_registers), COUNT(paused_ns),
};

struct json_object *vm_control_verdict(const struct machine_verdict *v, uint64_t allowed_spurious)
{
	struct json_object *to = json_object_new_object();

	add_bool(to, "judging", v->judging);
	add_bool(to, "booted", v->booted);
	add_bool(to, "clean", v->judging && machine_verdict_clean(v, allowed_spurious));
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		char name[48];
		uint64_t value;

		(void) snprintf(name, sizeof(name), "%s", counts[i].name);
		for (char *c = name; *c; c++)
			*c = *c == '_' ? '-' : *c;
		memcpy(&value, (const char *) v + counts[i].at, sizeof(value));
		add_int(to, name, value);
	}
	if (v->first_fault[0])
		add_string(to, "first-fault", v->first_fault);
	return to;
}
