/* SPDX-License-Identifier: MIT */
/*
 * Each rule of `vferry probe` alone: facts of a device that migrates well, of which nothing is to
 * be said; then one thing is different, and just the findings that speak of it are there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"
#include "probe/probe.h"
#include "vferry_vfio.h"

struct situation {
	struct probe_host host;
	struct probe_facts facts;
	struct probe_wish wish;
};

static const struct situation good = {
	.host = {
		.release = "6.12.0", .architecture = "x86_64", .iommu = PROBE_YES,
		.container = PROBE_YES, .iommufd = PROBE_NO, .kvm = PROBE_YES,
		.lock_limit = { 64 * VF_MIB, true }, .lock_exempt = PROBE_YES,
		.memory = { 64 * VF_GIB, true }, .injection = PROBE_YES,
	},
	.facts = {
		.name = "vfio:0000:3b:00.2", .kind = PROBE_KIND_PCI, .has_ids = true,
		.sysfs = {
			.found = true, .folder = "/sys/bus/pci/devices/0000:3b:00.2",
			.address = "0000:3b:00.2", .driver = "mlx5_vfio_pci", .aliases = PROBE_YES,
			.group = 7, .resets = PROBE_YES, .reset_methods = "flr",
			.members = { { .name = "0000:3b:00.2", .driver = "mlx5_vfio_pci" } },
			.member_count = 1,
		},
		.vfio = {
			.asked = PROBE_ASKED, .resets = true, .migration = PROBE_YES,
			.flags = VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_P2P |
				 VF_VFIO_MIGRATION_PRE_COPY,
			.state = { VF_VFIO_STATE_RUNNING, true }, .dma_log = true,
			.state_bytes = { 5 * VF_MIB, true },
		},
	},
};

/* ---- what is different ---- */

#define CHANGE(name) static void name(struct situation *s)
#define SYSFS s->facts.sysfs
#define VFIO s->facts.vfio

static void put(char *to, size_t size, const char *text)
{
	(void) snprintf(to, size, "%s", text);
}

static void set_driver(struct situation *s, const char *driver)
{
	put(SYSFS.driver, sizeof(SYSFS.driver), driver);
	put(SYSFS.members[0].driver, sizeof(SYSFS.members[0].driver), driver);
}

static void unasked(struct situation *s, enum probe_asked how)
{
	VFIO = (struct probe_vfio) { .asked = how, .why = "because" };
}

static void not_migrating(struct situation *s)
{
	VFIO.migration = PROBE_NO;
	VFIO.flags = 0;
}

static void add_member(struct situation *s, const char *name, const char *driver, bool in_way)
{
	struct probe_member *m = &SYSFS.members[SYSFS.member_count++];

	put(m->name, sizeof(m->name), name);
	put(m->driver, sizeof(m->driver), driver);
	m->in_way = in_way;
}

CHANGE(nothing)			{ (void) s; }
CHANGE(no_iommu)		{ s->host.iommu = PROBE_NO; }
CHANGE(no_iommu_arm64)
{
	s->host.iommu = PROBE_NO;
	put(s->host.architecture, sizeof(s->host.architecture), "aarch64");
}

CHANGE(iommu_unknown)		{ s->host.iommu = PROBE_UNKNOWN; }
CHANGE(no_group)		{ SYSFS.group = -1; SYSFS.member_count = 0; }
CHANGE(noiommu_group)		{ put(SYSFS.group_name, sizeof(SYSFS.group_name), "vfio-noiommu"); }
CHANGE(no_vfio)			{ s->host.container = PROBE_NO; }
CHANGE(iommufd_only)		{ s->host.container = PROBE_NO; s->host.iommufd = PROBE_YES; }
CHANGE(no_driver)		{ unasked(s, PROBE_NOT_ASKED); set_driver(s, ""); }
CHANGE(in_use)			{ unasked(s, PROBE_IN_USE); }
CHANGE(not_opened)		{ unasked(s, PROBE_CANNOT); }
CHANGE(not_asked)		{ unasked(s, PROBE_NOT_ASKED); }
CHANGE(no_migration)		{ not_migrating(s); }
CHANGE(no_answer)		{ VFIO.migration = PROBE_UNKNOWN; VFIO.flags = 0; }
CHANGE(stopped)			{ VFIO.state.value = VF_VFIO_STATE_STOP; }
CHANGE(in_error)		{ VFIO.state.value = 99; }
CHANGE(no_log)			{ VFIO.dma_log = false; }
CHANGE(no_log_nor_iommu)	{ VFIO.dma_log = false; s->host.iommu_tracks = PROBE_NO; }
CHANGE(iommu_log)		{ VFIO.dma_log = false; VFIO.iommu_dirty = true; }
CHANGE(log_by_iommu)
{
	VFIO.dma_log = false;
	s->host.iommu_tracks = s->host.iommufd = PROBE_YES;
	put(SYSFS.cdev, sizeof(SYSFS.cdev), "/dev/vfio/devices/vfio3");
}

CHANGE(log_by_iommufd)
{
	VFIO.dma_log = false;
	s->host.iommu_tracks = PROBE_YES;
}

CHANGE(denied)
{
	unasked(s, PROBE_CANNOT);
	VFIO.denied = true;
}

CHANGE(no_precopy)		{ VFIO.flags &= ~(uint64_t) VF_VFIO_MIGRATION_PRE_COPY; }
CHANGE(no_p2p)			{ VFIO.flags &= ~(uint64_t) VF_VFIO_MIGRATION_P2P; }
CHANGE(no_size)			{ VFIO.state_bytes.known = false; }
CHANGE(no_reset)		{ VFIO.resets = false; }
CHANGE(no_kvm)			{ s->host.kvm = PROBE_NO; }
CHANGE(no_injection)		{ s->host.injection = PROBE_NO; }
CHANGE(injection_unknown)	{ s->host.injection = PROBE_UNKNOWN; }
CHANGE(physical)		{ SYSFS.virtual_functions = (struct probe_number) { 8, true }; }
CHANGE(could_have_functions)	{ SYSFS.virtual_functions = (struct probe_number) { 0, true }; }
CHANGE(not_exempt)		{ s->host.lock_exempt = PROBE_NO; }
CHANGE(fits)			{ s->wish.memory = (struct probe_number) { 16 * VF_GIB, true }; }
CHANGE(too_large)		{ s->wish.memory = (struct probe_number) { 65 * VF_GIB, true }; }
CHANGE(no_limit)		{ not_exempt(s); s->host.lock_limit.value = UINT64_MAX; fits(s); }
CHANGE(limit_unknown)		{ not_exempt(s); s->host.lock_limit.known = false; fits(s); }
CHANGE(over_limit)		{ not_exempt(s); fits(s); }

/* The VMM needs some more than its guest has. */
CHANGE(just_over_limit)
{
	fits(s);
	not_exempt(s);
	s->host.lock_limit.value = s->wish.memory.value;
}

CHANGE(huge)
{
	s->wish.memory = (struct probe_number) { UINT64_MAX, true };
	not_exempt(s);
	s->host.memory.known = false;
}

CHANGE(of_the_host)
{
	unasked(s, PROBE_NOT_ASKED);
	set_driver(s, "mlx5_core");
	SYSFS.members[0].in_way = true;
	put(SYSFS.better_driver, sizeof(SYSFS.better_driver), "mlx5_vfio_pci");
}

CHANGE(of_the_host_for_good)
{
	of_the_host(s);
	SYSFS.better_driver[0] = '\0';
}

CHANGE(of_the_host_without_aliases)
{
	of_the_host_for_good(s);
	SYSFS.aliases = PROBE_NO;
}

CHANGE(generic)
{
	set_driver(s, "vfio-pci");
	not_migrating(s);
}

CHANGE(generic_by_mistake)
{
	generic(s);
	put(SYSFS.better_driver, sizeof(SYSFS.better_driver), "mlx5_vfio_pci");
}

CHANGE(generic_without_aliases)
{
	generic(s);
	SYSFS.aliases = PROBE_NO;
}

CHANGE(shared)
{
	add_member(s, "0000:3b:00.3", "e1000e", true);
	add_member(s, "0000:3b:00.4", "snd_hda_intel", true);
}

CHANGE(together)
{
	add_member(s, "0000:3b:00.3", "vfio-pci", false);
}

CHANGE(below_a_bridge)
{
	add_member(s, "0000:3a:00.0", "pcieport", false);
	SYSFS.members[1].bridge = true;
}

CHANGE(crowded)
{
	for (unsigned i = 1; i < PROBE_MEMBERS_MAX; i++) {
		char name[32];

		(void) snprintf(name, sizeof(name), "0000:3b:01.%x", i);
		add_member(s, name, "a_driver_with_a_long_name", true);
	}
}

CHANGE(served)
{
	s->facts.kind = PROBE_KIND_VFIO_USER;
	SYSFS = (struct probe_sysfs) { .group = -1 };
	s->host = (struct probe_host) { .injection = PROBE_NO };
	VFIO.resets = false;
}

CHANGE(served_without_migration)
{
	served(s);
	not_migrating(s);
	put(VFIO.migration_why, sizeof(VFIO.migration_why), "no such feature");
}

CHANGE(mediated)
{
	s->facts.kind = PROBE_KIND_MEDIATED;
	s->host.iommu = PROBE_NO;
	set_driver(s, "mtty");
}

CHANGE(mediated_without_migration)
{
	mediated(s);
	not_migrating(s);
}

static const struct {
	void (*change)(struct situation *s);
	enum probe_answer migratable;
	const char *ids;		/* heaviest first */
	const char *words;		/* in text or remedy of the first one */
} cases[] = {
	{ nothing, PROBE_YES, "", NULL },
	{ iommu_unknown, PROBE_YES, "", NULL },
	{ no_iommu, PROBE_NO, "iommu-off", "intel_iommu=on" },
	{ no_iommu_arm64, PROBE_NO, "iommu-off", "SMMU" },
	{ no_group, PROBE_NO, "group-none", "no IOMMU group" },
	{ noiommu_group, PROBE_NO, "group-noiommu", "cannot do DMA" },
	{ no_vfio, PROBE_NO, "vfio-missing", "modprobe vfio-pci" },
	{ iommufd_only, PROBE_YES, "", NULL },
	{ no_driver, PROBE_NO, "driver-none driver-unknown",
	  "echo vfio-pci > /sys/bus/pci/devices/"
	  "0000:3b:00.2/driver_override; echo 0000:3b:00.2 > /sys/bus/pci/drivers_probe" },
	{ of_the_host, PROBE_NO, "driver-host",
	  "modprobe mlx5_vfio_pci; echo mlx5_vfio_pci > "
	  "/sys/bus/pci/devices/0000:3b:00.2/driver_override; echo 0000:3b:00.2 > "
	  "/sys/bus/pci/drivers/mlx5_core/unbind; echo 0000:3b:00.2 > /sys/bus/pci/drivers_probe" },
	{ of_the_host_for_good, PROBE_NO, "driver-host driver-unknown", "mlx5_core" },
	{ of_the_host_without_aliases, PROBE_NO, "driver-host aliases-none", "mlx5_core" },
	{ generic, PROBE_NO, "driver-generic", "kernel 6.12.0 has no driver that is made for it" },
	{ generic_by_mistake, PROBE_NO, "driver-generic", "mlx5_vfio_pci is made for it" },
	{ generic_without_aliases, PROBE_NO, "driver-generic aliases-none",
	  "which migrates nothing" },
	{ no_migration, PROBE_NO, "driver-no-migration", "mlx5_vfio_pci drives the device" },
	{ shared, PROBE_NO, "group-shared", "0000:3b:00.3 (e1000e), 0000:3b:00.4 (snd_hda_intel)" },
	{ crowded, PROBE_NO, "group-shared", " ..." },
	{ together, PROBE_YES, "group-together", "1 more device:" },
	{ below_a_bridge, PROBE_YES, "", NULL },
	{ physical, PROBE_NO, "physical-function", "8 virtual ones" },
	{ could_have_functions, PROBE_YES, "", NULL },
	{ no_reset, PROBE_NO, "reset-none", "no reset" },
	{ not_exempt, PROBE_YES, "lock-limit-low", "64 MiB" },
	{ over_limit, PROBE_NO, "lock-limit",
	  "16384 MiB locked, and this process may lock 64 MiB" },
	{ just_over_limit, PROBE_NO, "lock-limit", "16448 MiB or more" },
	{ huge, PROBE_NO, "lock-limit", "may lock" },
	{ fits, PROBE_YES, "", NULL },
	{ no_limit, PROBE_YES, "", NULL },
	{ limit_unknown, PROBE_YES, "", NULL },
	{ too_large, PROBE_NO, "memory-short", "this host has 65536 MiB" },
	{ in_use, PROBE_UNKNOWN, "in-use", "because" },
	{ not_opened, PROBE_UNKNOWN, "not-opened", "because" },
	{ not_asked, PROBE_UNKNOWN, "not-asked", "because" },
	{ no_answer, PROBE_UNKNOWN, "migration-unknown", "neither yes nor no" },
	{ stopped, PROBE_UNKNOWN, "not-running", "in STOP" },
	{ in_error, PROBE_UNKNOWN, "not-running", "a state that does not exist" },
	{ no_log, PROBE_YES, "dirty-unknown", "all of it is sent again" },
	{ no_log_nor_iommu, PROBE_YES, "dirty-unknown", "this host's IOMMUs cannot tell" },
	{ log_by_iommu, PROBE_YES, "dirty-unknown", "(/dev/vfio/devices/vfio3)" },
	{ log_by_iommufd, PROBE_YES, "dirty-unknown", "modprobe iommufd" },
	{ denied, PROBE_UNKNOWN, "not-opened", "as root" },
	{ iommu_log, PROBE_YES, "", NULL },
	{ no_precopy, PROBE_YES, "precopy-none", "in the pause" },
	{ no_p2p, PROBE_YES, "p2p-none", "P2P" },
	{ no_size, PROBE_YES, "size-unknown", "--measure" },
	{ no_injection, PROBE_YES, "injection-off", "vCPU" },
	{ injection_unknown, PROBE_YES, "", NULL },
	{ no_kvm, PROBE_YES, "kvm-missing", "/dev/kvm" },
	{ served, PROBE_YES, "", NULL },
	{ served_without_migration, PROBE_NO, "driver-no-migration", "no such feature" },
	{ mediated, PROBE_YES, "", NULL },
	{ mediated_without_migration, PROBE_NO, "driver-no-migration", "mtty drives" },
};

static void judge(const struct situation *s, struct probe_verdict *v, char *ids, size_t size)
{
	size_t at = 0;

	probe_judge(&s->host, &s->facts, &s->wish, v);
	ids[0] = '\0';
	for (uint32_t i = 0; i < v->count; i++)
		at += (size_t) snprintf(ids + at, size - at, "%s%s", i ? " " : "",
					v->findings[i].id);
}

static void one_thing_is_different(void **state)
{
	(void) state;
	for (size_t i = 0; i < VF_ARRAY_COUNT(cases); i++) {
		struct situation s = good;
		struct probe_verdict v;
		char ids[1024];

		cases[i].change(&s);
		judge(&s, &v, ids, sizeof(ids));
		if (strcmp(ids, cases[i].ids) != 0)
			fail_msg("case %zu: \"%s\" and not \"%s\"", i, ids, cases[i].ids);
		if (v.migratable != cases[i].migratable)
			fail_msg("case %zu: migratable: %s", i, probe_answer_name(v.migratable));
		if (cases[i].words && !strstr(v.findings[0].text, cases[i].words) &&
		    !strstr(v.findings[0].remedy, cases[i].words))
			fail_msg("case %zu: neither \"%s\" nor \"%s\" has \"%s\"", i,
				 v.findings[0].text, v.findings[0].remedy, cases[i].words);
		for (uint32_t k = 0; k < v.count; k++)
			assert_true(v.findings[k].text[0] != '\0');
	}
}

static void every_rule_has_a_case(void **state)
{
	size_t count;
	const struct probe_rule *rules = probe_rules(&count);

	(void) state;
	for (size_t r = 0; r < count; r++) {
		bool found = false;

		for (size_t i = 0; i < VF_ARRAY_COUNT(cases) && !found; i++)
			found = strncmp(cases[i].ids, rules[r].id, strlen(rules[r].id)) == 0 ||
				strstr(cases[i].ids, rules[r].id) != NULL;
		if (!found)
			fail_msg("no case for %s", rules[r].id);
		for (size_t other = 0; other < r; other++)
			assert_string_not_equal(rules[r].id, rules[other].id);
	}
}

/* What blocks comes first, whatever else there is to say; and all of it is said. */
static void the_heaviest_comes_first(void **state)
{
	struct situation s = good;
	struct probe_verdict v;
	char ids[1024];

	(void) state;
	no_kvm(&s);
	no_injection(&s);
	stopped(&s);
	no_iommu(&s);
	no_log(&s);
	judge(&s, &v, ids, sizeof(ids));
	assert_string_equal(ids, "iommu-off not-running dirty-unknown injection-off kvm-missing");
	assert_int_equal(v.migratable, PROBE_NO);
}

/* Names in facts may be as long as they can: nothing is cut within a command that could be pasted.
 */
static void long_names_fit(void **state)
{
	struct situation s = good;
	struct probe_verdict v;
	char ids[1024];

	(void) state;
	of_the_host(&s);
	memset(s.facts.sysfs.driver, 'd', sizeof(s.facts.sysfs.driver) - 1);
	memset(s.facts.sysfs.better_driver, 'b', sizeof(s.facts.sysfs.better_driver) - 1);
	memset(s.facts.sysfs.address, 'a', sizeof(s.facts.sysfs.address) - 1);
	memcpy(s.facts.sysfs.members[0].name, s.facts.sysfs.address, sizeof(s.facts.sysfs.address));
	judge(&s, &v, ids, sizeof(ids));
	assert_string_equal(ids, "driver-host");
	assert_non_null(strstr(v.findings[0].remedy, "> /sys/bus/pci/drivers_probe"));
}

static void all_that_is_blind_costs_a_time(void **state)
{
	struct situation s = good;
	struct probe_verdict v;
	char ids[1024];

	(void) state;
	no_log(&s);
	fits(&s);
	s.wish.bandwidth = (struct probe_number) { VF_GIB, true };
	judge(&s, &v, ids, sizeof(ids));
	assert_non_null(strstr(v.findings[0].text, "16000 ms"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_thing_is_different),
		cmocka_unit_test(every_rule_has_a_case),
		cmocka_unit_test(the_heaviest_comes_first),
		cmocka_unit_test(long_names_fit),
		cmocka_unit_test(all_that_is_blind_costs_a_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
