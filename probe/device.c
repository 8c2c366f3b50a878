/* SPDX-License-Identifier: MIT */
/*
 * device.c - what sysfs says of a device; see probe.h. Which folder a name stands for, and which driver
 * is made for a device, is found as the backends find it (lib/vfio/kernel_find.h).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "config_space.h"
#include "files.h"
#include "vfio/kernel_find.h"
#include "vfio/pci_regs.h"

#define GROUPS "/sys/kernel/iommu_groups"
#define CAPS_MAX 48u		/* that fit below 256 */
#define DEVICES_MAX 65536u	/* of a host, listed */
#define CLASS_BRIDGE 0x06u

/* ---- config space ---- */

static void take_msix(struct probe_facts *facts, const uint8_t *bytes, size_t size)
{
	uint8_t at = bytes[VF_PCI_CAP_POINTER] & 0xfc;

	for (unsigned i = 0; i < CAPS_MAX && at >= VF_PCI_HEADER_END && at + 4u <= size; i++) {
		if (bytes[at] == VF_PCI_CAP_MSIX) {
			facts->msix_vectors.value = (vf_get_u16(bytes + at + 2) & 0x7ffu) + 1;
			break;
		}
		at = bytes[at + 1] & 0xfc;
	}
	facts->msix_vectors.known = true;
}

void probe_take_config(struct probe_facts *facts, const uint8_t *bytes, size_t size)
{
	if (size < VF_PCI_HEADER_END || vf_get_u16(bytes + VF_PCI_VENDOR) == 0xffff)
		return;
	facts->has_ids = true;
	facts->vendor = vf_get_u16(bytes + VF_PCI_VENDOR);
	facts->device = vf_get_u16(bytes + VF_PCI_DEVICE);
	facts->subsystem_vendor = vf_get_u16(bytes + VF_PCI_SUBSYS_VENDOR);
	facts->subsystem = vf_get_u16(bytes + VF_PCI_SUBSYS);
	facts->class_code = vf_get_u32(bytes + VF_PCI_CLASS - 1) >> 8;
	if (!(vf_get_u16(bytes + VF_PCI_STATUS) & VF_PCI_STATUS_CAP_LIST))
		facts->msix_vectors = (struct probe_number) { .known = true };
	else if (size >= PROBE_CONFIG_BYTES)
		take_msix(facts, bytes, size);
}

/* ---- one function's files ---- */

static struct probe_number read_in(const struct vf_kernel *k, const char *folder, const char *name)
{
	char path[PATH_MAX];

	if (!probe_path(path, sizeof(path), folder, name))
		return (struct probe_number) { 0 };
	return probe_read_number(k, path);
}

/* A virtual function's config space has no identity: the files have. */
static void look_at_identity(const struct vf_kernel *k, const char *folder, struct probe_facts *facts)
{
	struct probe_number vendor = read_in(k, folder, "vendor"), device = read_in(k, folder, "device");
	uint8_t config[PROBE_CONFIG_BYTES];
	char path[PATH_MAX];
	ssize_t n = -ENOENT;

	if (probe_path(path, sizeof(path), folder, "config"))
		n = probe_read(k, path, config, sizeof(config));
	if (n > 0)
		probe_take_config(facts, config, (size_t) n);
	if (!vendor.known || !device.known)
		return;
	facts->has_ids = true;
	facts->vendor = (uint16_t) vendor.value;
	facts->device = (uint16_t) device.value;
	facts->class_code = (uint32_t) read_in(k, folder, "class").value & 0xffffff;
	facts->subsystem_vendor = (uint16_t) read_in(k, folder, "subsystem_vendor").value;
	facts->subsystem = (uint16_t) read_in(k, folder, "subsystem_device").value;
}

static void look_at_resets(const struct vf_kernel *k, const char *folder, struct probe_sysfs *s)
{
	char path[PATH_MAX];
	int r;

	if (!probe_path(path, sizeof(path), folder, "reset_method"))
		return;
	r = probe_read_line(k, path, s->reset_methods, sizeof(s->reset_methods));
	if (r == 0)
		s->resets = s->reset_methods[0] ? PROBE_YES : PROBE_NO;
	else if (r == -ENOENT && probe_path(path, sizeof(path), folder, "reset"))
		/* Kernels before 5.15 do not say how; the file is there where there is a way. */
		s->resets = probe_exists(k, path) ? PROBE_YES : PROBE_UNKNOWN;
}

/* ---- its group ---- */

struct group_walk {
	const struct vf_kernel *k;
	struct probe_sysfs *sysfs;
};

static int take_member(void *arg, const char *name)
{
	struct group_walk *w = arg;
	char folder[PATH_MAX], path[PATH_MAX];
	struct probe_member *m;

	if (w->sysfs->member_count == PROBE_MEMBERS_MAX) {
		w->sysfs->members_cut = true;
		return 1;
	}
	m = &w->sysfs->members[w->sysfs->member_count++];
	*m = (struct probe_member) { 0 };
	(void) snprintf(m->name, sizeof(m->name), "%s", name);
	probe_make_printable(m->name);
	(void) snprintf(folder, sizeof(folder), GROUPS "/%d/devices/%.200s", w->sysfs->group, name);
	if (probe_path(path, sizeof(path), folder, "driver"))
		probe_read_link(w->k, path, m->driver, sizeof(m->driver));
	m->bridge = read_in(w->k, folder, "class").value >> 16 == CLASS_BRIDGE;
	m->in_way = vf_kernel_driver_in_way(m->driver);
	return 0;
}

static int by_member_name(const void *a, const void *b)
{
	return strcmp(((const struct probe_member *) a)->name, ((const struct probe_member *) b)->name);
}

static void look_at_group(const struct vf_kernel *k, struct probe_sysfs *s)
{
	struct group_walk w = { .k = k, .sysfs = s };
	char path[128];

	if (s->group < 0)
		return;
	(void) snprintf(path, sizeof(path), GROUPS "/%d/name", s->group);
	(void) probe_read_line(k, path, s->group_name, sizeof(s->group_name));
	(void) snprintf(path, sizeof(path), GROUPS "/%d/devices", s->group);
	(void) k->calls->list(k->user, path, take_member, &w);
	qsort(s->members, s->member_count, sizeof(s->members[0]), by_member_name);
}

/* ---- the device ---- */

static enum probe_answer has_aliases(const struct vf_kernel *k)
{
	char release[96], path[160];

	if (probe_read_line(k, "/proc/sys/kernel/osrelease", release, sizeof(release)) < 0 ||
	    strchr(release, '/'))
		return PROBE_UNKNOWN;
	(void) snprintf(path, sizeof(path), "/lib/modules/%s/modules.alias", release);
	return probe_exists(k, path) ? PROBE_YES : PROBE_NO;
}

static void look_at_folder(const struct vf_kernel *k, const struct vf_kernel_target *t,
			   struct probe_facts *facts)
{
	struct probe_sysfs *s = &facts->sysfs;
	char path[PATH_MAX];

	s->found = true;
	(void) snprintf(s->folder, sizeof(s->folder), "%s", t->folder);
	(void) snprintf(s->driver, sizeof(s->driver), "%s", t->driver);
	(void) snprintf(s->cdev, sizeof(s->cdev), "%s", t->cdev);
	(void) snprintf(s->address, sizeof(s->address), "%s", t->name);
	probe_make_printable(s->driver);
	probe_make_printable(s->address);
	vf_kernel_find_driver(k, t, s->better_driver, sizeof(s->better_driver));
	probe_make_printable(s->better_driver);
	s->aliases = has_aliases(k);
	s->group = t->group;
	look_at_group(k, s);
	look_at_identity(k, t->folder, facts);
	look_at_resets(k, t->folder, s);
	if (probe_path(path, sizeof(path), t->folder, "physfn"))
		probe_read_link(k, path, s->physical_function, sizeof(s->physical_function));
	s->virtual_functions = read_in(k, t->folder, "sriov_numvfs");
	s->numa_node = read_in(k, t->folder, "numa_node");	/* -1 = none, which is no number */
	if (probe_path(path, sizeof(path), t->folder, "power_state"))
		(void) probe_read_line(k, path, s->power_state, sizeof(s->power_state));
	if (probe_path(path, sizeof(path), t->folder, "mdev_type") && probe_exists(k, path))
		facts->kind = PROBE_KIND_MEDIATED;
}

int probe_look(const struct probe_root *root, const char *name, struct probe_facts *ret,
	       struct vferry_error *err)
{
	struct probe_facts facts = { .sysfs = { .group = -1 } };
	const struct vf_kernel *k = probe_root_files(root);
	struct vf_kernel_target target;
	const char *which = name;
	int r;

	if (strncmp(name, "vfio-user:", 10) == 0) {
		(void) snprintf(facts.name, sizeof(facts.name), "%s", name);
		facts.kind = PROBE_KIND_VFIO_USER;
		*ret = facts;
		return 0;
	}
	if (strncmp(name, "vfio:", 5) == 0)
		which += 5;
	r = vf_kernel_find(k, which, &target, err);
	if (r < 0)
		return r;
	(void) snprintf(facts.name, sizeof(facts.name), "vfio:%s", which);
	if (target.folder[0])
		look_at_folder(k, &target, &facts);
	else
		facts.kind = PROBE_KIND_FD;
	*ret = facts;
	return 0;
}

bool probe_has_vfio_driver(const struct probe_facts *facts)
{
	return strstr(facts->sysfs.driver, "vfio") != NULL;
}

bool probe_can_ask(const struct probe_facts *facts)
{
	if (facts->kind == PROBE_KIND_VFIO_USER || facts->kind == PROBE_KIND_FD)
		return true;
	return facts->sysfs.cdev[0] || facts->kind == PROBE_KIND_MEDIATED ||
	       probe_has_vfio_driver(facts);
}

/* ---- all of them ---- */

struct device_list {
	const struct vf_kernel *k;
	char (*names)[64];
	size_t count, room;
	bool no_memory;
};

static int add_name(struct device_list *l, const char *name)
{
	if (strlen(name) >= sizeof(l->names[0]) || l->count == DEVICES_MAX)
		return 0;
	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 64;
		char (*names)[64] = realloc(l->names, room * sizeof(*names));

		if (!names) {
			l->no_memory = true;
			return 1;
		}
		l->names = names;
		l->room = room;
	}
	memcpy(l->names[l->count++], name, strlen(name) + 1);
	return 0;
}

static int take_function(void *arg, const char *name)
{
	struct device_list *l = arg;
	char folder[128];

	(void) snprintf(folder, sizeof(folder), "/sys/bus/pci/devices/%.64s", name);
	return read_in(l->k, folder, "class").value >> 16 == CLASS_BRIDGE ? 0 : add_name(l, name);
}

static int take_mediated(void *arg, const char *name)
{
	return add_name(arg, name);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

int probe_each(const struct probe_root *root, int (*each)(void *user, const char *name), void *user,
	       struct vferry_error *err)
{
	const struct vf_kernel *k = probe_root_files(root);
	struct device_list l = { .k = k };
	int r = k->calls->list(k->user, "/sys/bus/pci/devices", take_function, &l), mediated;

	mediated = k->calls->list(k->user, "/sys/bus/mdev/devices", take_mediated, &l);
	if (l.no_memory)
		r = vferry_error_set(err, -ENOMEM, "no-memory", "devices", "no memory");
	else if (r == -ENOENT && mediated == 0)
		r = 0;
	else if (r < 0)
		(void) vferry_error_set(err, r, "sysfs", "/sys/bus/pci/devices",
					"the devices of this host can't be listed: %s",
					vferry_errno_name(r));
	if (r == 0 && l.count)
		qsort(l.names, l.count, sizeof(l.names[0]), by_name);
	for (size_t i = 0; i < l.count && r == 0; i++)
		r = each(user, l.names[i]);
	free(l.names);
	return r;
}
