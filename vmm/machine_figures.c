/* SPDX-License-Identifier: MIT */
/* machine_figures.c - a machine's figures as JSON. Counts are numbers, times end in _ns. */
#include <errno.h>
#include <string.h>

#include <json-c/json.h>

#include "machine_accel.h"

static void put_number(struct json_object *to, const char *key, uint64_t value)
{
	(void) json_object_object_add(to, key, json_object_new_uint64(value));
}

static void put_bool(struct json_object *to, const char *key, bool value)
{
	(void) json_object_object_add(to, key, json_object_new_boolean(value));
}

static void put_text(struct json_object *to, const char *key, const char *value)
{
	(void) json_object_object_add(to, key, json_object_new_string(value));
}

static struct json_object *info_json(const struct machine_info *info)
{
	struct json_object *o = json_object_new_object();

	put_text(o, "accel", info->accel);
	put_text(o, "guest", info->guest);
	put_text(o, "description", info->description);
	put_number(o, "cpus", info->cpus);
	put_number(o, "memory_bytes", info->memory_bytes);
	put_text(o, "gic", machine_gic_name(info->gic));
	put_text(o, "irqchip", info->irqchip);
	put_text(o, "dirty", info->dirty);
	put_bool(o, "hugetlb", info->hugetlb);
	put_bool(o, "running", info->running);
	put_bool(o, "powered_off", info->powered_off);
	put_bool(o, "reset_wanted", info->reset_wanted);
	put_number(o, "throttle_percent", info->throttle_percent);
	put_number(o, "counter_ns", info->counter_ns);
	put_number(o, "last_stop_ns", info->last_stop_ns);
	put_number(o, "starts", info->starts);
	put_number(o, "stops", info->stops);
	put_number(o, "blocked_accesses", info->blocked_accesses);
	return o;
}

static struct json_object *vectors_json(const struct machine_verdict *v)
{
	struct json_object *devices = json_object_new_array();

	for (unsigned i = 0; i < v->devices && i < MACHINE_DEVICES_MAX; i++) {
		struct json_object *vectors = json_object_new_array();

		for (unsigned s = 0; s < MACHINE_VECTORS_MAX; s++)
			(void) json_object_array_add(vectors,
				json_object_new_uint64(v->vector_interrupts[i][s]));
		(void) json_object_array_add(devices, vectors);
	}
	return devices;
}

static struct json_object *verdict_json(const struct machine_verdict *v)
{
	const struct { const char *key; uint64_t value; } figures[] = {
		{ "steps", v->steps },
		{ "dirtied_pages", v->dirtied_pages },
		{ "checked_pages", v->checked_pages },
		{ "corrupt_pages", v->corrupt_pages },
		{ "corrupt_gpa", v->corrupt_gpa },
		{ "corrupt_expected", v->corrupt_expected },
		{ "corrupt_found", v->corrupt_found },
		{ "passes", v->passes },
		{ "devices", v->devices },
		{ "submitted_jobs", v->submitted_jobs },
		{ "verified_jobs", v->verified_jobs },
		{ "corrupt_jobs", v->corrupt_jobs },
		{ "failed_jobs", v->failed_jobs },
		{ "lost_jobs", v->lost_jobs },
		{ "unnoticed_jobs", v->unnoticed_jobs },
		{ "peer_writes", v->peer_writes },
		{ "lost_peer_writes", v->lost_peer_writes },
		{ "resets", v->resets },
		{ "voided_jobs", v->voided_jobs },
		{ "bus_errors", v->bus_errors },
		{ "interrupts", v->interrupts },
		{ "spurious", v->spurious },
		{ "unknown_interrupts", v->unknown_interrupts },
		{ "longest_gap_ns", v->longest_gap_ns },
		{ "longest_gap_running_ns", v->longest_gap_running_ns },
		{ "clock_backward", v->clock_backward },
		{ "lost_timers", v->lost_timers },
		{ "lost_registers", v->lost_registers },
		{ "paused_ns", v->paused_ns },
	};
	struct json_object *o = json_object_new_object();

	put_bool(o, "judging", v->judging);
	put_bool(o, "booted", v->booted);
	for (size_t i = 0; i < sizeof(figures) / sizeof(figures[0]); i++)
		put_number(o, figures[i].key, figures[i].value);
	(void) json_object_object_add(o, "vector_interrupts", vectors_json(v));
	put_text(o, "first_fault", v->first_fault);
	return o;
}

static struct json_object *device_json(const struct vferry_device_info *info, unsigned ioeventfds)
{
	static const char *const modes[] = { "none", "intx", "msi", "msix" };
	struct json_object *o = json_object_new_object();

	put_text(o, "address", info->address);
	put_text(o, "uri", info->uri);
	put_text(o, "backend", info->backend);
	put_text(o, "driver", info->driver);
	put_number(o, "vendor_id", info->vendor_id);
	put_number(o, "device_id", info->device_id);
	put_number(o, "features", info->features);
	put_number(o, "state", info->state);
	put_bool(o, "lost", info->lost);
	put_text(o, "irq_mode", (unsigned) info->irq_mode < 4 ? modes[info->irq_mode] : "?");
	put_number(o, "vectors", info->vector_count);
	put_number(o, "vectors_connected", info->vectors_connected);
	put_number(o, "vectors_forwarded", info->vectors_forwarded);
	put_number(o, "vectors_forward_unknown", info->vectors_forward_unknown);
	put_text(o, "not_forwarded_reason", info->not_forwarded_reason);
	put_number(o, "ioeventfds", ioeventfds);
	return o;
}

int machine_figures(struct machine *machine, char **ret_json)
{
	struct json_object *root = json_object_new_object();
	struct json_object *devices = json_object_new_array();
	struct machine_verdict verdict;
	struct machine_info info;
	const char *text;
	char *copy;

	machine_get_info(machine, &info);
	(void) machine_get_verdict(machine, &verdict);
	for (size_t i = 0; i < machine_device_count(machine); i++) {
		struct vferry_device_info device;

		vferry_device_get_info(machine_device(machine, i), &device);
		(void) json_object_array_add(devices, device_json(&device,
								    machine_device_ioeventfds(machine, i)));
	}
	(void) json_object_object_add(root, "machine", info_json(&info));
	(void) json_object_object_add(root, "verdict", verdict_json(&verdict));
	(void) json_object_object_add(root, "devices", devices);
	text = json_object_to_json_string_ext(root, JSON_C_TO_STRING_PLAIN);
	copy = text ? strdup(text) : NULL;
	(void) json_object_put(root);
	if (!copy)
		return -ENOMEM;
	*ret_json = copy;
	return 0;
}
