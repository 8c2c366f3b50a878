/* SPDX-License-Identifier: MIT */
/*
 * probe.h - can this device be migrated on this host, and if not, what has to change? What `vferry
 * probe` does.
 *
 * Model: facts, then words. Facts come from three places, a file each, and are values, with "unknown"
 * as one of them:
 *
 *   host.c, injection.c   what is true of the host: /sys, /proc and /dev
 *   device.c              what sysfs says of a device
 *   ask.c                 what the device's driver or server answers, by VFIO
 *
 * rules.c says what follows from them: a table of pure functions, each of which gives at most one
 * finding. forecast.c (forecast.h) runs the engine's own model of rounds and of the pause over them.
 * Nothing here changes a device but measure.c (measure.h), and that opening a kernel device resets it, as
 * the kernel always does.
 *
 * Threads: none; no state but what is handed in.
 */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <vferry/error.h>

struct json_object;
struct vf_backend;
struct vf_kernel;

enum probe_answer {
	PROBE_UNKNOWN = 0,
	PROBE_NO = 1,
	PROBE_YES = 2,
};

struct probe_number {
	uint64_t value;
	bool known;
};

/* --- facts --- */

struct probe_host {
	char release[96];	/* of the kernel; "" = not known */
	char architecture[16];	/* "x86_64", "aarch64" */
	enum probe_answer iommu;	/* devices are in IOMMU groups */
	enum probe_answer iommu_tracks;	/* its IOMMUs can tell which memory a device wrote */
	enum probe_answer container;	/* /dev/vfio/vfio */
	enum probe_answer iommufd;	/* /dev/iommu */
	enum probe_answer kvm;		/* /dev/kvm */
	struct probe_number lock_limit;	/* bytes this process may lock; UINT64_MAX = no limit */
	enum probe_answer lock_exempt;	/* CAP_IPC_LOCK: the limit does not count */
	struct probe_number memory;	/* bytes of RAM */
	struct probe_number mappings;	/* that one container may have */
	/* Interrupts of a device that go straight to a vCPU: GICv4 VLPIs, posted interrupts, AVIC. */
	enum probe_answer injection;
	char injection_why[200];
};

enum probe_kind {
	PROBE_KIND_PCI = 0,
	PROBE_KIND_MEDIATED = 1,
	PROBE_KIND_VFIO_USER = 2,
	PROBE_KIND_FD = 3,	/* an inherited descriptor: sysfs is not asked */
};

#define PROBE_MEMBERS_MAX 16u

struct probe_member {
	char name[64];
	char driver[32];	/* "" = none */
	bool bridge;
	bool in_way;		/* its driver keeps the group from being used */
};

/* What sysfs says. */
struct probe_sysfs {
	bool found;
	char folder[256];
	char address[64];	/* "0000:3b:00.0", or what else its folder is called */
	char driver[32];	/* "" = none */
	char better_driver[64];	/* a VFIO driver made for this device, other than its own; "" = none */
	enum probe_answer aliases;	/* modules.alias, from which that is known, is there */
	char cdev[64];		/* "/dev/vfio/devices/vfio3" */
	int group;		/* -1 = in none */
	char group_name[32];	/* "vfio-noiommu" */
	struct probe_member members[PROBE_MEMBERS_MAX];	/* the device itself is one */
	uint32_t member_count;
	bool members_cut;	/* there are more */
	char reset_methods[64];	/* "flr bus"; "" = none, where known */
	enum probe_answer resets;
	char physical_function[32];	/* this is a virtual function of that one */
	struct probe_number virtual_functions;	/* this has so many */
	struct probe_number numa_node;
	char power_state[16];
};

#define PROBE_REGIONS 9u	/* as many as VFIO has of a PCI function, by its numbers */
#define PROBE_IRQS 5u

struct probe_region {
	uint64_t size;
	uint32_t flags;		/* VF_VFIO_REGION_FLAG_* */
	uint32_t areas;		/* that can be mapped */
};

enum probe_asked {
	PROBE_NOT_ASKED = 0,
	PROBE_ASKED = 1,
	PROBE_IN_USE = 2,
	PROBE_CANNOT = 3,	/* it can't be opened, or answers nonsense */
};

/* What the driver or the server answered. */
struct probe_vfio {
	enum probe_asked asked;
	char why[400];		/* not, or in vain */
	bool denied;		/* this user may not open it */
	char backend[24];
	bool resets;
	struct probe_region regions[PROBE_REGIONS];
	uint32_t irqs[PROBE_IRQS];	/* vectors by index: INTx, MSI, MSI-X, error, request */
	enum probe_answer migration;
	char migration_why[200];	/* not */
	uint64_t flags;			/* VF_VFIO_MIGRATION_* */
	struct probe_number state;	/* VF_VFIO_STATE_* */
	bool dma_log;
	bool iommu_dirty;
	bool precopy_info;
	struct probe_number state_bytes;	/* its own estimate of a stop-copy */
};

struct probe_facts {
	char name[256];		/* as it was asked for */
	enum probe_kind kind;
	bool has_ids;
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code;
	struct probe_number msix_vectors;
	struct probe_sysfs sysfs;
	struct probe_vfio vfio;
};

/* --- where facts come from --- */

/* The host's files: its own, or a tree that looks like them (DIR/sys, DIR/proc, DIR/dev, DIR/lib). */
struct probe_root;

/** probe_root_open() - @folder NULL: the host itself. Return: 0; -ENOMEM; errors of opening it. */
int probe_root_open(const char *folder, struct probe_root **ret_root, struct vferry_error *err);
struct probe_root *probe_root_close(struct probe_root *root);
const struct vf_kernel *probe_root_files(const struct probe_root *root);
bool probe_root_is_host(const struct probe_root *root);
/* For who wants to see what is read: @files are asked from now on. */
void probe_root_read_through(struct probe_root *root, const struct vf_kernel *files);

void probe_host(const struct probe_root *root, struct probe_host *ret);

/**
 * probe_look() - what sysfs says of @name: a device's URI, or a PCI address
 * Of a vfio-user server it says nothing. Return: 0; -EINVAL no device's name; -ENODEV.
 */
int probe_look(const struct probe_root *root, const char *name, struct probe_facts *ret,
	       struct vferry_error *err);

/**
 * probe_each() - calls @each for each PCI function that is no bridge, and each mediated device, in order
 * Return: 0; what @each returned, if not 0; -errno of reading sysfs.
 */
int probe_each(const struct probe_root *root, int (*each)(void *user, const char *name), void *user,
	       struct vferry_error *err);

/* Is it bound to a driver of VFIO's, by the driver's name? */
bool probe_has_vfio_driver(const struct probe_facts *facts);
/* Could VFIO open it, as far as sysfs says? A device that a host driver has is not asked. */
bool probe_can_ask(const struct probe_facts *facts);

/**
 * probe_ask() - opens the device and asks it; facts->vfio says what came of it
 * @ret_backend: stays open and is the caller's, NULL where it could not be opened; NULL = not wanted
 */
void probe_ask(struct probe_facts *facts, uint64_t timeout_ns, struct vf_backend **ret_backend);
void probe_close(struct vf_backend *backend);	/* NULL allowed */

/* --- what follows --- */

/* What somebody means to do with it; a number that is not known was not said. */
struct probe_wish {
	struct probe_number memory;	/* of the guest */
	struct probe_number bandwidth;	/* bytes per second */
	uint64_t dirty_rate;		/* bytes per second */
	uint64_t max_downtime_ns;
	const char *policy;	/* of convergence; NULL = "throttle" */
};

enum probe_weight {
	PROBE_NOTE = 0,		/* good to know */
	PROBE_COST = 1,		/* it migrates, and this makes it slower or harder */
	PROBE_DOUBT = 2,	/* what could not be found out, and decides */
	PROBE_BLOCK = 3,	/* it does not migrate until this is changed */
};

const char *probe_weight_name(enum probe_weight weight);

struct probe_finding {
	const char *id;		/* stable */
	enum probe_weight weight;
	char text[400];		/* what is so */
	char remedy[640];	/* what to change; "" = nothing to be done */
};

struct probe_rule {
	const char *id;
	enum probe_weight weight;
	const char *when;	/* what it looks for, in a few words */
	/* Says text and remedy where the rule applies. Return: does it? */
	bool (*applies)(const struct probe_host *host, const struct probe_facts *facts,
			const struct probe_wish *wish, struct probe_finding *ret);
};

const struct probe_rule *probe_rules(size_t *ret_count);

#define PROBE_FINDINGS_MAX 40u

struct probe_verdict {
	enum probe_answer migratable;
	struct probe_finding findings[PROBE_FINDINGS_MAX];	/* heaviest first */
	uint32_t count;
};

void probe_judge(const struct probe_host *host, const struct probe_facts *facts,
		 const struct probe_wish *wish, struct probe_verdict *ret);

/* --- reports --- */

struct probe_measured;	/* measure.h */
struct probe_forecast;	/* forecast.h */

struct probe_report {
	const struct probe_facts *facts;
	const struct probe_verdict *verdict;
	const struct probe_wish *wish;
	const struct probe_measured *measured;	/* NULL = nothing was */
	const struct probe_forecast *forecast;	/* NULL = none was asked for, or possible */
	const char *product;		/* its name, where somebody knows it; "" */
};

const char *probe_answer_name(enum probe_answer answer);	/* "yes", "no", "unknown" */

void probe_text_device(FILE *to, const struct probe_host *host, const struct probe_report *report);
/* A table of devices. */
void probe_text_head(FILE *to);
void probe_text_line(FILE *to, const struct probe_report *report);

/* The caller's. NULL: no memory. */
struct json_object *probe_json_host(const struct probe_host *host);
struct json_object *probe_json_device(const struct probe_report *report);

#endif
