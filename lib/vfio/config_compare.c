/* SPDX-License-Identifier: MIT */
/*
 * config_compare.c - may a guest that saw the source's function go on with the destination's?
 *
 * Each field has its own stable word, and all differences are told, not the first only. The rule is
 * equality: a guest has read the layout once and lives by it, so a destination that can do *more*
 * (a further DevCap2 bit) is a mismatch as well. Exceptions, told but not fatal:
 *
 *   config-bar-mmap           whether a BAR can be mapped: speed, not something a guest sees
 *   config-devcap-slot-power  the slot power limit in DevCap is what the host's slot says
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "vfio/config_internal.h"

#define DEVCAP_SLOT_POWER 0x0ffc0000u	/* captured limit and its scale */

struct comparison {
	vf_config_difference_fn fn;
	void *user;
	unsigned int fatal;
};

enum form { FORM_HEX4 = 4, FORM_HEX6 = 6, FORM_HEX8 = 8, FORM_HEX2 = 2, FORM_HEX = 0,
	    FORM_DECIMAL = 1, FORM_YES = 3 };

static void value_text(char *to, size_t size, enum form form, uint64_t value)
{
	unsigned long long v = value;

	if (form == FORM_YES)
		(void) snprintf(to, size, "%s", v ? "yes" : "no");
	else if (form == FORM_DECIMAL)
		(void) snprintf(to, size, "%llu", v);
	else
		(void) snprintf(to, size, "0x%0*llx", (int) form, v);
}

static void tell(struct comparison *c, const char *id, bool fatal, const char *field,
		 const char *source, const char *destination)
{
	struct vf_config_difference d = { .id = id, .fatal = fatal };

	(void) snprintf(d.field, sizeof(d.field), "%s", field);
	(void) snprintf(d.source, sizeof(d.source), "%s", source);
	(void) snprintf(d.destination, sizeof(d.destination), "%s", destination);
	if (fatal)
		c->fatal++;
	if (c->fn)
		c->fn(c->user, &d);
}

static void number(struct comparison *c, const char *id, bool fatal, const char *field,
		   enum form form, uint64_t source, uint64_t destination)
{
	char s[32], d[32];

	if (source == destination)
		return;
	value_text(s, sizeof(s), form, source);
	value_text(d, sizeof(d), form, destination);
	tell(c, id, fatal, field, s, d);
}

static void compare_identity(struct comparison *c, const struct vf_config_layout *s,
			     const struct vf_config_layout *d)
{
	number(c, "config-vendor", true, "vendor", FORM_HEX4, s->vendor, d->vendor);
	number(c, "config-device", true, "device", FORM_HEX4, s->device, d->device);
	number(c, "config-subsystem-vendor", true, "subsystem vendor", FORM_HEX4,
	       s->subsystem_vendor, d->subsystem_vendor);
	number(c, "config-subsystem", true, "subsystem", FORM_HEX4, s->subsystem, d->subsystem);
	number(c, "config-class", true, "class", FORM_HEX6, s->class_code, d->class_code);
	number(c, "config-revision", true, "revision", FORM_HEX2, s->revision, d->revision);
	number(c, "config-header-type", true, "header type", FORM_HEX2, s->header_type,
	       d->header_type);
	number(c, "config-size", true, "config space bytes", FORM_DECIMAL, s->size, d->size);
	number(c, "config-interrupt-pin", true, "interrupt pin", FORM_DECIMAL, s->interrupt_pin,
	       d->interrupt_pin);
}

static const char *bar_kind(const struct vf_config_bar *bar)
{
	if (!bar->size)
		return "absent";
	if (bar->flags & VF_CONFIG_BAR_IO)
		return "I/O";
	if (bar->flags & VF_CONFIG_BAR_64)
		return bar->flags & VF_CONFIG_BAR_PREFETCH ? "64-bit prefetchable memory"
							   : "64-bit memory";
	return bar->flags & VF_CONFIG_BAR_PREFETCH ? "32-bit prefetchable memory"
						   : "32-bit memory";
}

static void compare_bar(struct comparison *c, const char *name, const struct vf_config_bar *s,
			const struct vf_config_bar *d)
{
	const uint32_t access = VF_CONFIG_REGION_READ | VF_CONFIG_REGION_WRITE;
	char field[48];

	(void) snprintf(field, sizeof(field), "%s size", name);
	number(c, "config-bar-size", true, field, FORM_HEX, s->size, d->size);
	if (!s->size || !d->size)
		return;		/* the rest would only repeat that it is absent */
	(void) snprintf(field, sizeof(field), "%s kind", name);
	if (s->flags != d->flags)
		tell(c, "config-bar-kind", true, field, bar_kind(s), bar_kind(d));
	/* Rounded up they are the same; behind the region's end accesses fail. */
	(void) snprintf(field, sizeof(field), "%s region size", name);
	if (s->size == d->size)
		number(c, "config-bar-region", true, field, FORM_HEX, s->region_size,
		       d->region_size);
	(void) snprintf(field, sizeof(field), "%s access flags", name);
	number(c, "config-bar-access", true, field, FORM_HEX, s->region_flags & access,
	       d->region_flags & access);
	(void) snprintf(field, sizeof(field), "%s can be mapped", name);
	number(c, "config-bar-mmap", false, field, FORM_YES,
	       s->region_flags & VF_CONFIG_REGION_MMAP, d->region_flags & VF_CONFIG_REGION_MMAP);
}

/* ---- capabilities ---- */

/* How many of the same kind come before number @at in its list. */
static uint32_t nth_of(const struct vf_config_layout *l, uint32_t at)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < at; i++)
		if (l->caps[i].id == l->caps[at].id && l->caps[i].extended == l->caps[at].extended)
			n++;
	return n;
}

static const struct vf_config_cap *partner(const struct vf_config_layout *l,
					   const struct vf_config_cap *of, uint32_t nth)
{
	for (uint32_t i = 0; i < l->cap_count; i++)
		if (l->caps[i].id == of->id && l->caps[i].extended == of->extended && !nth--)
			return &l->caps[i];
	return NULL;
}

static void cap_field(char *to, size_t size, const struct vf_config_cap *cap, const char *what)
{
	(void) snprintf(to, size, "%s%s 0x%02x%s%s", cap->extended ? "ext. " : "",
			vf_config_cap_name(cap->extended, cap->id), cap->id, *what ? " " : "",
			what);
}

static void present(struct comparison *c, const char *id, const struct vf_config_cap *cap,
		    bool at_source)
{
	char field[48], where[32];

	cap_field(field, sizeof(field), cap, "");
	(void) snprintf(where, sizeof(where), "at 0x%03x", cap->offset);
	tell(c, id, true, field, at_source ? where : "absent", at_source ? "absent" : where);
}

static void compare_cap(struct comparison *c, const struct vf_config_cap *s,
			const struct vf_config_cap *d)
{
	char field[48];

	cap_field(field, sizeof(field), s, "offset");
	number(c, "config-cap-offset", true, field, FORM_HEX, s->offset, d->offset);
	cap_field(field, sizeof(field), s, "version");
	number(c, "config-cap-version", true, field, FORM_DECIMAL, s->version, d->version);
	cap_field(field, sizeof(field), s, "length");
	if (vf_config_cap_length_known(s))
		number(c, "config-cap-length", true, field, FORM_DECIMAL, s->length, d->length);
}

static void compare_caps(struct comparison *c, const struct vf_config_layout *s,
			 const struct vf_config_layout *d)
{
	bool same_set = s->cap_count == d->cap_count;

	for (uint32_t i = 0; i < s->cap_count; i++) {
		const struct vf_config_cap *other = partner(d, &s->caps[i], nth_of(s, i));

		if (other) {
			compare_cap(c, &s->caps[i], other);
		} else {
			present(c, "config-cap-missing", &s->caps[i], true);
			same_set = false;
		}
	}
	for (uint32_t i = 0; i < d->cap_count; i++)
		if (!partner(s, &d->caps[i], nth_of(d, i)))
			present(c, "config-cap-extra", &d->caps[i], false);
	/* The same ones at the same places, but linked otherwise. */
	for (uint32_t i = 0; same_set && i < s->cap_count; i++) {
		if (s->caps[i].id == d->caps[i].id && s->caps[i].extended == d->caps[i].extended)
			continue;
		tell(c, "config-cap-order", true, "order of the capability list",
		     vf_config_cap_name(s->caps[i].extended, s->caps[i].id),
		     vf_config_cap_name(d->caps[i].extended, d->caps[i].id));
		break;
	}
}

/* What is inside those both have; a missing one was told already. */
static void compare_interrupt_caps(struct comparison *c, const struct vf_config_layout *s,
				   const struct vf_config_layout *d)
{
	if (s->msi.offset && d->msi.offset) {
		number(c, "config-msi-vectors", true, "MSI vectors", FORM_DECIMAL, s->msi.count,
		       d->msi.count);
		number(c, "config-msi-64", true, "MSI 64-bit address", FORM_YES, s->msi.is_64,
		       d->msi.is_64);
		number(c, "config-msi-maskable", true, "MSI mask per vector", FORM_YES,
		       s->msi.maskable, d->msi.maskable);
	}
	if (!s->msix.offset || !d->msix.offset)
		return;
	number(c, "config-msix-vectors", true, "MSI-X vectors", FORM_DECIMAL, s->msix.count,
	       d->msix.count);
	number(c, "config-msix-table-bar", true, "MSI-X table BAR", FORM_DECIMAL,
	       s->msix.table_bar, d->msix.table_bar);
	number(c, "config-msix-table-offset", true, "MSI-X table offset", FORM_HEX,
	       s->msix.table_offset, d->msix.table_offset);
	number(c, "config-msix-pba-bar", true, "MSI-X PBA BAR", FORM_DECIMAL, s->msix.pba_bar,
	       d->msix.pba_bar);
	number(c, "config-msix-pba-offset", true, "MSI-X PBA offset", FORM_HEX,
	       s->msix.pba_offset, d->msix.pba_offset);
}

static void compare_other_caps(struct comparison *c, const struct vf_config_layout *s,
			       const struct vf_config_layout *d)
{
	if (s->pm.offset && d->pm.offset) {
		number(c, "config-pm", true, "PM capabilities", FORM_HEX4, s->pm.caps, d->pm.caps);
		number(c, "config-pm-soft-reset", true, "PM keeps its state from D3hot to D0",
		       FORM_YES, s->pm.no_soft_reset, d->pm.no_soft_reset);
	}
	if (s->pcie.offset && d->pcie.offset) {
		number(c, "config-pcie-flags", true, "PCIe flags", FORM_HEX4, s->pcie.flags,
		       d->pcie.flags);
		number(c, "config-devcap", true, "DevCap", FORM_HEX8,
		       s->pcie.devcap & ~DEVCAP_SLOT_POWER, d->pcie.devcap & ~DEVCAP_SLOT_POWER);
		number(c, "config-devcap-slot-power", false, "DevCap slot power limit", FORM_HEX8,
		       s->pcie.devcap & DEVCAP_SLOT_POWER, d->pcie.devcap & DEVCAP_SLOT_POWER);
		number(c, "config-devcap2", true, "DevCap2", FORM_HEX8, s->pcie.devcap2,
		       d->pcie.devcap2);
	}
	if (s->af.offset && d->af.offset)
		number(c, "config-af", true, "AF capabilities", FORM_HEX2, s->af.caps, d->af.caps);
}

unsigned int vf_config_compare(const struct vf_config_layout *source,
			       const struct vf_config_layout *destination,
			       vf_config_difference_fn fn, void *user)
{
	struct comparison c = { .fn = fn, .user = user };

	compare_identity(&c, source, destination);
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++) {
		char name[16];

		(void) snprintf(name, sizeof(name), i == VF_CONFIG_ROM ? "ROM" : "BAR %u", i);
		compare_bar(&c, name, &source->bars[i], &destination->bars[i]);
	}
	compare_caps(&c, source, destination);
	compare_interrupt_caps(&c, source, destination);
	compare_other_caps(&c, source, destination);
	return c.fatal;
}

struct listing {
	char text[360];
	size_t used;
	unsigned int left_out;
};

static void list(void *user, const struct vf_config_difference *d)
{
	struct listing *l = user;
	size_t room = sizeof(l->text) - l->used;
	int n;

	if (!d->fatal)
		return;
	n = snprintf(l->text + l->used, room, "%s%s: source %s, destination %s",
		     l->used ? "; " : "", d->field, d->source, d->destination);
	if (n < 0 || (size_t) n >= room) {
		l->text[l->used] = '\0';
		l->left_out++;
		return;
	}
	l->used += (size_t) n;
}

int vf_config_check(const struct vf_config_layout *source,
		    const struct vf_config_layout *destination, const char *object,
		    struct vferry_error *err)
{
	struct listing l = { .used = 0 };
	unsigned int fatal = vf_config_compare(source, destination, list, &l);

	if (!fatal)
		return 0;
	if (l.left_out)
		return vferry_error_set(err, -EINVAL, "config-mismatch", object,
					"the devices differ in %u points: %s; and %u more", fatal,
					l.text, l.left_out);
	return vferry_error_set(err, -EINVAL, "config-mismatch", object,
				"the devices differ in %u point%s: %s", fatal,
				fatal == 1 ? "" : "s", l.text);
}
