/* SPDX-License-Identifier: MIT */
/* print_json.c - facts and findings for programs; see probe.h. What is not known is null. */
#include <json-c/json.h>
#include <string.h>

#include "base/checked.h"
#include "print.h"
#include "vferry_vfio.h"

static void add(struct json_object *to, const char *key, struct json_object *value)
{
	(void) json_object_object_add(to, key, value);
}

static void add_text(struct json_object *to, const char *key, const char *text)
{
	add(to, key, text[0] ? json_object_new_string(text) : NULL);
}

static void add_u64(struct json_object *to, const char *key, uint64_t number)
{
	add(to, key, json_object_new_uint64(number));
}

static void add_bool(struct json_object *to, const char *key, bool yes)
{
	add(to, key, json_object_new_boolean(yes));
}

static void add_number(struct json_object *to, const char *key, struct probe_number number)
{
	add(to, key, number.known ? json_object_new_uint64(number.value) : NULL);
}

static void add_answer(struct json_object *to, const char *key, enum probe_answer answer)
{
	add(to, key, answer == PROBE_UNKNOWN ? NULL : json_object_new_boolean(answer == PROBE_YES));
}

static void add_id(struct json_object *to, const char *key, unsigned id, int digits)
{
	char text[16];

	(void) snprintf(text, sizeof(text), "%0*x", digits, id);
	add_text(to, key, text);
}

/* ---- the host ---- */

struct json_object *probe_json_host(const struct probe_host *h)
{
	struct json_object *o = json_object_new_object();
	bool limited = h->lock_limit.known && h->lock_limit.value != UINT64_MAX;

	if (!o)
		return NULL;
	add_text(o, "kernel", h->release);
	add_text(o, "architecture", h->architecture);
	add_answer(o, "iommu", h->iommu);
	add_answer(o, "iommu-tracks-dirty", h->iommu_tracks);
	add_answer(o, "vfio-container", h->container);
	add_answer(o, "iommufd", h->iommufd);
	add_answer(o, "kvm", h->kvm);
	add_answer(o, "direct-injection", h->injection);
	add_text(o, "direct-injection-reason", h->injection_why);
	/* "none" is a limit that was read; null is one that was not. */
	if (h->lock_limit.known && !limited)
		add_text(o, "memory-lock-limit", "none");
	else
		add_number(o, "memory-lock-limit", h->lock_limit);
	add_answer(o, "memory-lock-exempt", h->lock_exempt);
	add_number(o, "memory-bytes", h->memory);
	add_number(o, "dma-mappings-max", h->mappings);
	return o;
}

/* ---- a device ---- */

static struct json_object *group_object(const struct probe_sysfs *s)
{
	struct json_object *o, *members;

	if (s->group < 0)
		return NULL;
	o = json_object_new_object();
	members = json_object_new_array();
	add(o, "number", json_object_new_int(s->group));
	for (uint32_t i = 0; i < s->member_count; i++) {
		struct json_object *m = json_object_new_object();

		add_text(m, "device", s->members[i].name);
		add_text(m, "driver", s->members[i].driver);
		add_bool(m, "in-the-way", s->members[i].in_way);
		(void) json_object_array_add(members, m);
	}
	add(o, "members", members);
	add_bool(o, "more", s->members_cut);
	return o;
}

static void add_sysfs(struct json_object *o, const struct probe_sysfs *s)
{
	struct json_object *resets = NULL;
	char word[64];

	add_text(o, "driver", s->driver);
	add_text(o, "better-driver", s->better_driver);
	add_text(o, "character-device", s->cdev);
	add(o, "iommu-group", group_object(s));
	if (s->resets == PROBE_NO || s->reset_methods[0])
		resets = json_object_new_array();
	for (const char *at = s->reset_methods; *at; at += strspn(at, " ")) {
		size_t n = strcspn(at, " ");

		(void) snprintf(word, sizeof(word), "%.*s", (int) n, at);
		(void) json_object_array_add(resets, json_object_new_string(word));
		at += n;
	}
	add(o, "reset-methods", resets);
	add_text(o, "physical-function", s->physical_function);
	add_number(o, "virtual-functions", s->virtual_functions);
	add_number(o, "numa-node", s->numa_node);
	add_text(o, "power-state", s->power_state);
}

static struct json_object *regions_array(const struct probe_vfio *v)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < VF_VFIO_PCI_REGIONS; i++) {
		struct json_object *o;

		if (!v->regions[i].size)
			continue;
		o = json_object_new_object();
		add_u64(o, "index", i);
		add_u64(o, "bytes", v->regions[i].size);
		add_u64(o, "flags", v->regions[i].flags);
		add_u64(o, "mappable-areas", v->regions[i].areas);
		(void) json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *features_array(const struct probe_vfio *v)
{
	struct json_object *list = json_object_new_array();
	const struct {
		bool there;
		const char *name;
	} features[] = {
		{ v->flags & VF_VFIO_MIGRATION_STOP_COPY, "stop-copy" },
		{ v->flags & VF_VFIO_MIGRATION_P2P, "p2p" },
		{ v->flags & VF_VFIO_MIGRATION_PRE_COPY, "pre-copy" },
		{ v->dma_log, "dma-log" },
		{ v->iommu_dirty, "iommu-dirty" },
		{ v->precopy_info, "precopy-info" },
		{ v->state_bytes.known, "data-size" },
	};

	for (size_t i = 0; i < VF_ARRAY_COUNT(features); i++)
		if (features[i].there)
			(void) json_object_array_add(list, json_object_new_string(features[i].name));
	return list;
}

static struct json_object *vfio_object(const struct probe_vfio *v)
{
	static const char *const asked[] = {
		[PROBE_NOT_ASKED] = "not-asked", [PROBE_ASKED] = "answered", [PROBE_IN_USE] = "in-use",
		[PROBE_CANNOT] = "failed",
	};
	static const char *const irqs[VF_VFIO_PCI_IRQS] = { "intx", "msi", "msi-x", "error", "request" };
	struct json_object *o = json_object_new_object(), *vectors;
	const char *state = v->state.known ? vf_vfio_state_name((uint32_t) v->state.value) : NULL;

	add_text(o, "asked", asked[v->asked]);
	add_text(o, "reason", v->why);
	if (v->asked != PROBE_ASKED)
		return o;
	add_text(o, "backend", v->backend);
	add_bool(o, "resets", v->resets);
	add(o, "regions", regions_array(v));
	vectors = json_object_new_object();
	for (uint32_t i = 0; i < VF_VFIO_PCI_IRQS; i++)
		add_u64(vectors, irqs[i], v->irqs[i]);
	add(o, "interrupts", vectors);
	add_answer(o, "migration", v->migration);
	add_text(o, "migration-reason", v->migration_why);
	add(o, "features", features_array(v));
	add_text(o, "state", state ? state : "");
	add_number(o, "state-bytes", v->state_bytes);
	return o;
}

static struct json_object *findings_array(const struct probe_verdict *v)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < v->count; i++) {
		struct json_object *o = json_object_new_object();

		add_text(o, "id", v->findings[i].id);
		add_text(o, "weight", probe_weight_name(v->findings[i].weight));
		add_text(o, "text", v->findings[i].text);
		add_text(o, "remedy", v->findings[i].remedy);
		(void) json_object_array_add(list, o);
	}
	return list;
}

/* ---- what was measured and what is predicted ---- */

static struct json_object *measured_object(const struct probe_report *report)
{
	const struct probe_measured *m = report->measured;
	bool p2p = report->facts->vfio.flags & VF_VFIO_MIGRATION_P2P;
	struct json_object *o = json_object_new_object(), *times = json_object_new_array();

	for (int i = 0; i < PROBE_LEGS; i++) {
		struct json_object *t;

		if (!m->legs[i].there)
			continue;
		t = json_object_new_object();
		add_text(t, "what", probe_leg_name((enum probe_leg) i, p2p));
		add_u64(t, "ns", m->legs[i].ns);
		if (i == PROBE_LEG_READ || i == PROBE_LEG_WRITE)
			add_u64(t, "bytes", m->legs[i].bytes);
		(void) json_object_array_add(times, t);
	}
	add_u64(o, "state-bytes", m->legs[PROBE_LEG_READ].bytes);
	add(o, "times", times);
	return o;
}

static struct json_object *forecast_object(const struct probe_forecast *f)
{
	static const char *const ends[] = {
		[PROBE_GOES_ON] = "does-not-end", [PROBE_SWITCHES] = "switches",
		[PROBE_GIVES_UP] = "gives-up",
	};
	static const char *const nevers[] = {
		[PROBE_NEVER_NOT_SAID] = "", [PROBE_NEVER_FIXED] = "device",
		[PROBE_NEVER_BLIND] = "no-dirty-tracking", [PROBE_NEVER_DIRTY_RATE] = "dirty-rate",
	};
	const struct probe_number total = { f->total_ns, f->end == PROBE_SWITCHES };
	struct json_object *o = json_object_new_object(), *rounds = json_object_new_array();
	struct json_object *terms = json_object_new_object();

	for (uint32_t i = 0; i < f->round_count; i++) {
		struct json_object *r = json_object_new_object();

		add_u64(r, "bytes", f->rounds[i].bytes);
		add_u64(r, "ns", f->rounds[i].ns);
		add_u64(r, "left-bytes", f->rounds[i].left);
		add_u64(r, "throttle-percent", f->rounds[i].throttle);
		(void) json_object_array_add(rounds, r);
	}
	for (unsigned i = 0; i < PROBE_TERMS; i++)
		add_number(terms, f->terms[i].name,
			   (struct probe_number) { f->terms[i].ns, f->terms[i].known });
	add_text(o, "outcome", ends[f->end]);
	add_text(o, "obstacle", nevers[f->never]);
	add(o, "rounds", rounds);
	add_number(o, "total-ns", total);
	add_u64(o, "downtime-ns", f->downtime_ns);
	add_bool(o, "downtime-is-lower-bound", f->lower_bound);
	add(o, "downtime-terms-ns", terms);
	return o;
}

/* ---- all of it ---- */

struct json_object *probe_json_device(const struct probe_report *report)
{
	static const char *const kinds[] = {
		[PROBE_KIND_PCI] = "pci", [PROBE_KIND_MEDIATED] = "mediated",
		[PROBE_KIND_VFIO_USER] = "vfio-user", [PROBE_KIND_FD] = "descriptor",
	};
	const struct probe_facts *f = report->facts;
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	add_text(o, "device", f->name);
	add_text(o, "kind", kinds[f->kind]);
	add_text(o, "migratable", probe_answer_name(report->verdict->migratable));
	if (f->has_ids) {
		add_id(o, "vendor", f->vendor, 4);
		add_id(o, "device-id", f->device, 4);
		add_id(o, "subsystem-vendor", f->subsystem_vendor, 4);
		add_id(o, "subsystem", f->subsystem, 4);
		add_id(o, "class", f->class_code, 6);
	}
	add_text(o, "product", report->product);
	add_number(o, "msi-x-vectors", f->msix_vectors);
	if (f->sysfs.found)
		add_sysfs(o, &f->sysfs);
	add(o, "vfio", vfio_object(&f->vfio));
	add(o, "findings", findings_array(report->verdict));
	if (report->measured)
		add(o, "measured", measured_object(report));
	if (report->forecast)
		add(o, "prediction", forecast_object(report->forecast));
	return o;
}
