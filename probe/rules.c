/* SPDX-License-Identifier: MIT */
/*
 * rules.c - what the facts mean, in words; see probe.h.
 *
 * One row of the table is one thing worth saying. A function is pure, looks at the facts alone, and
 * speaks only of what is known: where something could not be found out and decides, a rule of weight
 * "doubt" says that. What blocks is what `vferry migrate` would refuse, or what keeps the device from being opened.
 */
#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "probe.h"
#include "vferry_vfio.h"

#define PINNED_MORE (64 * VF_MIB)	/* of the VMM itself, and of the pages of its tables */

/* There is nothing else to be done where no driver is made for a device. */
#define OTHER_KERNEL "a kernel with a driver for it, if there is one; many devices have one for their " \
	"virtual functions only"

#define RULE(name_) \
	static bool name_(const struct probe_host *host, const struct probe_facts *facts, \
			  const struct probe_wish *wish, struct probe_finding *ret)
#define UNUSED(name_) (void) (name_)

static void __attribute__((format(printf, 2, 3)))
text(struct probe_finding *f, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void) vsnprintf(f->text, sizeof(f->text), fmt, args);
	va_end(args);
}

static void __attribute__((format(printf, 2, 3)))
remedy(struct probe_finding *f, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void) vsnprintf(f->remedy, sizeof(f->remedy), fmt, args);
	va_end(args);
}

static double mib(uint64_t bytes)
{
	return (double) bytes / (double) VF_MIB;
}

static bool by_kernel(const struct probe_facts *f)
{
	return f->kind != PROBE_KIND_VFIO_USER;
}

static bool is_pci(const struct probe_facts *f)
{
	return f->kind == PROBE_KIND_PCI && f->sysfs.found;
}

static bool is_generic(const struct probe_facts *f)
{
	return !strcmp(f->sysfs.driver, "vfio-pci");
}

static void say_how_to_bind(const struct probe_facts *f, const char *driver, struct probe_finding *ret)
{
	const char *address = f->sysfs.address;
	char unbind[160] = "";

	if (f->sysfs.driver[0])
		(void) snprintf(unbind, sizeof(unbind), "echo %.64s > /sys/bus/pci/drivers/%s/unbind; ",
				address, f->sysfs.driver);
	remedy(ret, "modprobe %s; echo %s > /sys/bus/pci/devices/%.64s/driver_override; %s"
	       "echo %.64s > /sys/bus/pci/drivers_probe", driver, driver, address, unbind, address);
}

/* ---- the host ---- */

RULE(iommu_off)
{
	UNUSED(wish);
	if (!is_pci(facts) || host->iommu != PROBE_NO)
		return false;
	text(ret, "this host has no IOMMU, or it is switched off: without one no device is handed to a "
	     "guest");
	if (!strcmp(host->architecture, "aarch64"))
		remedy(ret, "switch the SMMU on in the firmware; its driver must be in the kernel, and "
		       "no iommu=off on the command line");
	else
		remedy(ret, "switch the IOMMU on in the firmware (VT-d, AMD-Vi) and boot with "
		       "intel_iommu=on (Intel) or without amd_iommu=off (AMD)");
	return true;
}

RULE(group_none)
{
	UNUSED(wish);
	if (!is_pci(facts) || host->iommu != PROBE_YES || facts->sysfs.group >= 0)
		return false;
	text(ret, "the device is in no IOMMU group: the IOMMU of this host does not cover it");
	remedy(ret, "choose a device behind the IOMMU");
	return true;
}

RULE(group_noiommu)
{
	UNUSED(host);
	UNUSED(wish);
	if (strcmp(facts->sysfs.group_name, "vfio-noiommu") != 0)
		return false;
	text(ret, "its group is one without an IOMMU (enable_unsafe_noiommu_mode): guests cannot do DMA "
	     "through it");
	remedy(ret, "switch the IOMMU on, and VFIO's mode without one off");
	return true;
}

RULE(vfio_missing)
{
	UNUSED(wish);
	if (!is_pci(facts) || host->container != PROBE_NO || host->iommufd != PROBE_NO)
		return false;
	text(ret, "this kernel has no VFIO loaded: neither /dev/vfio/vfio nor /dev/iommu is there");
	remedy(ret, "modprobe vfio-pci");
	return true;
}

RULE(lock_limit)
{
	uint64_t need;

	if (!by_kernel(facts) || host->lock_exempt == PROBE_YES || !host->lock_limit.known ||
	    !wish->memory.known)
		return false;
	need = wish->memory.value + vf_min_u64(PINNED_MORE, UINT64_MAX - wish->memory.value);
	if (host->lock_limit.value >= need)
		return false;
	text(ret, "DMA needs all of the guest's %.0f MiB locked, and this process may lock %.0f MiB",
	     mib(wish->memory.value), mib(host->lock_limit.value));
	remedy(ret, "raise the limit (ulimit -l, LimitMEMLOCK=) to %.0f MiB or more, where the VMM is "
	       "started", mib(need));
	return true;
}

RULE(memory_short)
{
	if (!by_kernel(facts) || !wish->memory.known || !host->memory.known ||
	    wish->memory.value <= host->memory.value)
		return false;
	text(ret, "DMA needs all of the guest's %.0f MiB in memory at once, and this host has %.0f MiB",
	     mib(wish->memory.value), mib(host->memory.value));
	remedy(ret, "a smaller guest, or a larger host");
	return true;
}

RULE(lock_limit_low)
{
	if (!by_kernel(facts) || host->lock_exempt == PROBE_YES || !host->lock_limit.known ||
	    wish->memory.known || host->lock_limit.value == UINT64_MAX)
		return false;
	text(ret, "this process may lock %.0f MiB: a guest that does DMA cannot be larger",
	     mib(host->lock_limit.value));
	remedy(ret, "give --memory to compare it with a guest's size");
	return true;
}

RULE(kvm_missing)
{
	UNUSED(facts);
	UNUSED(wish);
	if (host->kvm != PROBE_NO)
		return false;
	text(ret, "this host has no /dev/kvm");
	return true;
}

RULE(injection_off)
{
	UNUSED(wish);
	if (!by_kernel(facts) || host->injection != PROBE_NO)
		return false;
	text(ret, "interrupts go through the host's kernel and not straight to a vCPU: %s",
	     host->injection_why);
	return true;
}

/* ---- driver and group ---- */

RULE(driver_none)
{
	UNUSED(host);
	UNUSED(wish);
	if (!is_pci(facts) || facts->sysfs.driver[0])
		return false;
	text(ret, "the device is bound to no driver");
	say_how_to_bind(facts, facts->sysfs.better_driver[0] ? facts->sysfs.better_driver : "vfio-pci",
			ret);
	return true;
}

RULE(driver_host)
{
	UNUSED(host);
	UNUSED(wish);
	if (!is_pci(facts) || !facts->sysfs.driver[0] || probe_has_vfio_driver(facts))
		return false;
	text(ret, "the device is bound to %s: the host itself uses it", facts->sysfs.driver);
	say_how_to_bind(facts, facts->sysfs.better_driver[0] ? facts->sysfs.better_driver : "vfio-pci",
			ret);
	return true;
}

RULE(driver_generic)
{
	const char *better = facts->sysfs.better_driver;

	UNUSED(wish);
	if (!is_pci(facts) || !is_generic(facts) || facts->vfio.migration == PROBE_YES)
		return false;
	if (better[0]) {
		text(ret, "the device is bound to vfio-pci, which migrates nothing; %s is made for it",
		     better);
		say_how_to_bind(facts, better, ret);
	} else {
		text(ret, "the device is bound to vfio-pci, which migrates nothing%s%s%s",
		     facts->sysfs.aliases == PROBE_YES ? "; kernel " : "",
		     facts->sysfs.aliases == PROBE_YES ? host->release : "",
		     facts->sysfs.aliases == PROBE_YES ? " has no driver that is made for it" : "");
		remedy(ret, OTHER_KERNEL);
	}
	return true;
}

RULE(driver_unknown)
{
	UNUSED(wish);
	if (!is_pci(facts) || probe_has_vfio_driver(facts) || facts->sysfs.better_driver[0] ||
	    facts->sysfs.aliases != PROBE_YES)
		return false;
	text(ret, "kernel %s has no VFIO driver that is made for this device, and vfio-pci, which takes "
	     "any, migrates nothing", host->release);
	remedy(ret, OTHER_KERNEL);
	return true;
}

RULE(aliases_none)
{
	UNUSED(wish);
	if (!is_pci(facts) || (probe_has_vfio_driver(facts) && !is_generic(facts)) ||
	    facts->sysfs.better_driver[0] || facts->sysfs.aliases == PROBE_YES)
		return false;
	text(ret, "whether a VFIO driver is made for this device is not known: there is no "
	     "/lib/modules/%s/modules.alias", host->release[0] ? host->release : "(release)");
	return true;
}

RULE(driver_no_migration)
{
	UNUSED(host);
	UNUSED(wish);
	if (facts->vfio.migration != PROBE_NO || (is_pci(facts) && is_generic(facts)))
		return false;
	if (facts->kind == PROBE_KIND_VFIO_USER) {
		text(ret, "the server offers no migration of its device: %s", facts->vfio.migration_why);
		return true;
	}
	text(ret, "%s drives the device and offers no migration of it",
	     facts->sysfs.driver[0] ? facts->sysfs.driver : "the driver that");
	remedy(ret, "see what the driver needs for it: firmware, or a setting of the physical function "
	       "(devlink port function set ... migratable enable); the kernel's log may say");
	return true;
}

RULE(group_shared)
{
	char names[160] = "";
	size_t at = 0;
	unsigned n = 0;

	UNUSED(host);
	UNUSED(wish);
	for (uint32_t i = 0; is_pci(facts) && i < facts->sysfs.member_count; i++) {
		const struct probe_member *m = &facts->sysfs.members[i];

		if (!m->in_way || !strcmp(m->name, facts->sysfs.address))
			continue;
		n++;
		if (at < sizeof(names))
			at += (size_t) snprintf(names + at, sizeof(names) - at, "%s%s (%s)",
						at ? ", " : "", m->name, m->driver);
	}
	if (!n)
		return false;
	text(ret, "the host uses other devices of its IOMMU group %d: %s%s", facts->sysfs.group, names,
	     at >= sizeof(names) ? " ..." : "");
	remedy(ret, "unbind those, too, or bind them to a VFIO driver; or put the device into a slot "
	       "with a group of its own");
	return true;
}

RULE(group_together)
{
	uint32_t others = 0;

	UNUSED(host);
	UNUSED(wish);
	for (uint32_t i = 0; is_pci(facts) && i < facts->sysfs.member_count; i++) {
		const struct probe_member *m = &facts->sysfs.members[i];

		others += !m->in_way && !m->bridge && strcmp(m->name, facts->sysfs.address) != 0;
	}
	if (!others)
		return false;
	text(ret, "IOMMU group %d has %u more device%s: one guest has to have them all",
	     facts->sysfs.group, others, others == 1 ? "" : "s");
	return true;
}

RULE(physical_function)
{
	UNUSED(host);
	UNUSED(wish);
	if (!facts->sysfs.virtual_functions.known || !facts->sysfs.virtual_functions.value)
		return false;
	text(ret, "the device is a physical function with %llu virtual ones, which depend on it",
	     (unsigned long long) facts->sysfs.virtual_functions.value);
	remedy(ret, "hand virtual functions to guests, not this one");
	return true;
}

RULE(reset_none)
{
	UNUSED(host);
	UNUSED(wish);
	/* A server of vfio-user that fails is started anew. */
	if (!by_kernel(facts))
		return false;
	if (facts->vfio.asked == PROBE_ASKED ? facts->vfio.resets
					      : facts->sysfs.resets != PROBE_NO)
		return false;
	text(ret, "the device has no reset: nobody could bring it back if a migration failed");
	remedy(ret, "none, for this device on this host; see reset_method in its folder of sysfs");
	return true;
}

/* ---- asking it ---- */

RULE(in_use)
{
	UNUSED(host);
	UNUSED(wish);
	if (facts->vfio.asked != PROBE_IN_USE)
		return false;
	text(ret, "somebody uses the device, so it could not be asked: %s", facts->vfio.why);
	remedy(ret, "ask again when it is free, or `vferry status` of the machine that has it");
	return true;
}

RULE(not_opened)
{
	UNUSED(host);
	UNUSED(wish);
	if (facts->vfio.asked != PROBE_CANNOT)
		return false;
	text(ret, "the device could not be asked: %s", facts->vfio.why);
	if (facts->vfio.denied)
		remedy(ret, "run it as root, or as a user who may open VFIO's files in /dev/vfio");
	return true;
}

RULE(not_asked)
{
	UNUSED(host);
	UNUSED(wish);
	if (facts->vfio.asked != PROBE_NOT_ASKED || (is_pci(facts) && !probe_has_vfio_driver(facts)))
		return false;
	text(ret, "the device was not asked: %s",
	     facts->vfio.why[0] ? facts->vfio.why : "only what files say is known");
	return true;
}

RULE(migration_unknown)
{
	UNUSED(host);
	UNUSED(wish);
	if (facts->vfio.asked != PROBE_ASKED || facts->vfio.migration != PROBE_UNKNOWN)
		return false;
	text(ret, "asked whether it migrates, the device answered neither yes nor no: %s",
	     facts->vfio.migration_why);
	return true;
}

RULE(not_running)
{
	const char *name;

	UNUSED(host);
	UNUSED(wish);
	if (!facts->vfio.state.known || facts->vfio.state.value == VF_VFIO_STATE_RUNNING)
		return false;
	name = vf_vfio_state_name((uint32_t) facts->vfio.state.value);
	text(ret, "the device is in %s and not in RUNNING", name ? name : "a state that does not exist");
	remedy(ret, "reset it");
	return true;
}

/* ---- how well it migrates ---- */

/* How the IOMMU could be had to tell. */
static void say_how_to_track(const struct probe_host *host, const struct probe_facts *facts,
			     struct probe_finding *ret)
{
	if (!by_kernel(facts))
		remedy(ret, "a server that logs the device's writes");
	else if (host->iommu_tracks == PROBE_NO)
		remedy(ret, "a driver that logs; this host's IOMMUs cannot tell");
	else if (host->iommufd != PROBE_YES)
		remedy(ret, "a kernel with iommufd (modprobe iommufd)%s; or a driver that logs",
		       host->iommu_tracks == PROBE_YES ? ", as this host's IOMMUs can tell" :
		       " and an IOMMU that can tell");
	else
		remedy(ret, "open it by its character device (%s), where the IOMMU can tell; or a driver "
		       "that logs", facts->sysfs.cdev[0] ? facts->sysfs.cdev : "CONFIG_VFIO_DEVICE_CDEV");
}

RULE(dirty_unknown)
{
	if (facts->vfio.migration != PROBE_YES || facts->vfio.dma_log || facts->vfio.iommu_dirty)
		return false;
	if (wish->memory.known && wish->bandwidth.known && wish->bandwidth.value)
		text(ret, "nobody tells which memory the device wrote, neither its driver nor the IOMMU: "
		     "all of it is sent again in the pause, %.0f ms",
		     (double) wish->memory.value / (double) wish->bandwidth.value * 1e3);
	else
		text(ret, "nobody tells which memory the device wrote, neither its driver nor the IOMMU: "
		     "all of it is sent again in the pause");
	say_how_to_track(host, facts, ret);
	return true;
}

RULE(size_unknown)
{
	UNUSED(host);
	UNUSED(wish);
	if (facts->vfio.migration != PROBE_YES || facts->vfio.state_bytes.known)
		return false;
	text(ret, "the device does not tell how large its state is, so a prediction of the pause lacks "
	     "that part");
	remedy(ret, "--measure finds it out, on a device that nobody uses");
	return true;
}

RULE(precopy_none)
{
	UNUSED(host);
	UNUSED(wish);
	if (facts->vfio.migration != PROBE_YES || facts->vfio.flags & VF_VFIO_MIGRATION_PRE_COPY)
		return false;
	text(ret, "the device has no PRE_COPY: all of its state moves in the pause");
	return true;
}

RULE(p2p_none)
{
	UNUSED(host);
	UNUSED(wish);
	if (facts->vfio.migration != PROBE_YES || facts->vfio.flags & VF_VFIO_MIGRATION_P2P)
		return false;
	text(ret, "the device has no P2P states: it migrates, but not in a machine whose devices reach "
	     "into each other");
	return true;
}

/* ---- the table ---- */

static const struct probe_rule rules[] = {
	{ "iommu-off", PROBE_BLOCK,
	  "The host has no IOMMU group at all.",
	  iommu_off },
	{ "group-none", PROBE_BLOCK,
	  "The host has groups, and the device is in none.",
	  group_none },
	{ "group-noiommu", PROBE_BLOCK,
	  "The group was made by `enable_unsafe_noiommu_mode`.",
	  group_noiommu },
	{ "vfio-missing", PROBE_BLOCK,
	  "Neither `/dev/vfio/vfio` nor `/dev/iommu` is there.",
	  vfio_missing },
	{ "driver-none", PROBE_BLOCK,
	  "No driver is bound to the device.",
	  driver_none },
	{ "driver-host", PROBE_BLOCK,
	  "A driver of the host's own has the device.",
	  driver_host },
	{ "driver-generic", PROBE_BLOCK,
	  "`vfio-pci` has the device, which then does not migrate. The driver made for it is named.",
	  driver_generic },
	{ "driver-unknown", PROBE_BLOCK,
	  "Neither is the device with a VFIO driver, nor is one made for it, by `modules.alias`.",
	  driver_unknown },
	{ "driver-no-migration", PROBE_BLOCK,
	  "Its VFIO driver, or its server, says that it does not migrate.",
	  driver_no_migration },
	{ "group-shared", PROBE_BLOCK,
	  "Other devices of its group have drivers of the host's own.",
	  group_shared },
	{ "physical-function", PROBE_BLOCK,
	  "The device has virtual functions, which need it.",
	  physical_function },
	{ "reset-none", PROBE_BLOCK,
	  "A kernel device without a reset: `vferry migrate` refuses it.",
	  reset_none },
	{ "lock-limit", PROBE_BLOCK,
	  "`--memory` is more than this process may lock (and it has no `CAP_IPC_LOCK`).",
	  lock_limit },
	{ "memory-short", PROBE_BLOCK,
	  "`--memory` is more than the host has.",
	  memory_short },
	{ "aliases-none", PROBE_DOUBT,
	  "There is no `modules.alias`, and the device has no VFIO driver of its own kind.",
	  aliases_none },
	{ "in-use", PROBE_DOUBT,
	  "Somebody has the device open.",
	  in_use },
	{ "not-opened", PROBE_DOUBT,
	  "It could not be opened, or gave no sensible answer.",
	  not_opened },
	{ "not-asked", PROBE_DOUBT,
	  "Files only were read (`--root`, `--files-only`), or it can't be opened as it is.",
	  not_asked },
	{ "migration-unknown", PROBE_DOUBT,
	  "Asked for its migration features it gave an error that says neither.",
	  migration_unknown },
	{ "not-running", PROBE_DOUBT,
	  "Its migration state is not RUNNING.",
	  not_running },
	{ "dirty-unknown", PROBE_COST,
	  "Neither its driver nor the IOMMU logs what it writes to memory.",
	  dirty_unknown },
	{ "precopy-none", PROBE_COST,
	  "No PRE_COPY.",
	  precopy_none },
	{ "p2p-none", PROBE_COST,
	  "No P2P states.",
	  p2p_none },
	{ "size-unknown", PROBE_COST,
	  "It gives no estimate of its state's size.",
	  size_unknown },
	{ "injection-off", PROBE_COST,
	  "GICv4, posted interrupts or AVIC is missing or off.",
	  injection_off },
	{ "group-together", PROBE_NOTE,
	  "Other devices of its group have VFIO drivers or none.",
	  group_together },
	{ "lock-limit-low", PROBE_NOTE,
	  "There is a limit, and no `--memory` to compare it with.",
	  lock_limit_low },
	{ "kvm-missing", PROBE_NOTE,
	  "There is no `/dev/kvm`.",
	  kvm_missing },
};

_Static_assert(VF_ARRAY_COUNT(rules) <= PROBE_FINDINGS_MAX, "each rule may apply");

const struct probe_rule *probe_rules(size_t *ret_count)
{
	*ret_count = VF_ARRAY_COUNT(rules);
	return rules;
}

const char *probe_weight_name(enum probe_weight weight)
{
	static const char *const names[] = {
		[PROBE_NOTE] = "note", [PROBE_COST] = "cost", [PROBE_DOUBT] = "doubt",
		[PROBE_BLOCK] = "block",
	};

	return names[weight];
}

const char *probe_answer_name(enum probe_answer answer)
{
	static const char *const names[] = {
		[PROBE_UNKNOWN] = "unknown", [PROBE_NO] = "no", [PROBE_YES] = "yes",
	};

	return names[answer];
}

void probe_judge(const struct probe_host *host, const struct probe_facts *facts,
		 const struct probe_wish *wish, struct probe_verdict *ret)
{
	enum probe_weight heaviest;

	ret->count = 0;
	for (int weight = PROBE_BLOCK; weight >= PROBE_NOTE; weight--) {
		for (size_t i = 0; i < VF_ARRAY_COUNT(rules); i++) {
			struct probe_finding *f = &ret->findings[ret->count];

			if ((int) rules[i].weight != weight)
				continue;
			*f = (struct probe_finding) { .id = rules[i].id, .weight = rules[i].weight };
			ret->count += rules[i].applies(host, facts, wish, f);
		}
	}
	heaviest = ret->count ? ret->findings[0].weight : PROBE_NOTE;
	ret->migratable = heaviest == PROBE_BLOCK ? PROBE_NO :
			  heaviest == PROBE_DOUBT || facts->vfio.migration != PROBE_YES ? PROBE_UNKNOWN
											 : PROBE_YES;
}
