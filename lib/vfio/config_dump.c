/* SPDX-License-Identifier: MIT */
/*
 * config_dump.c - a saved config space for people: register by register, capabilities by name.
 *
 * The registers come from the rules table, so what is emulated and what is shown cannot drift
 * apart; only the words for single bits are here. MSI-X vectors that are as after a reset are not
 * listed.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "vfio/config_internal.h"
#include "vfio/pci_regs.h"

struct visit {
	const struct vf_config_state *state;
	vf_config_field_fn fn;
	void *user;
	const char *group;
};

static void __attribute__((format(printf, 5, 6)))
tell(const struct visit *v, const char *name, uint32_t offset, uint32_t len, const char *fmt, ...)
{
	struct vf_config_field field = { .group = v->group, .name = name, .offset = offset,
					 .len = len };
	char value[256];
	va_list args;

	va_start(args, fmt);
	(void) vsnprintf(value, sizeof(value), fmt, args);
	va_end(args);
	field.value = value;
	v->fn(v->user, &field);
}

/* ---- words for bits ---- */

struct bit_name {
	uint32_t bit;
	const char *name;
};

static const struct bit_name command_names[] = {
	{ VF_PCI_COMMAND_IO, "I/O" }, { VF_PCI_COMMAND_MEM, "memory" },
	{ VF_PCI_COMMAND_BUS_MASTER, "bus master" }, { VF_PCI_COMMAND_PARITY, "parity" },
	{ VF_PCI_COMMAND_SERR, "SERR#" }, { VF_PCI_COMMAND_INTX_DISABLE, "INTx disabled" },
	{ 0 },
};

static const struct bit_name msix_names[] = {
	{ VF_PCI_MSIX_CONTROL_ENABLE, "enabled" },
	{ VF_PCI_MSIX_CONTROL_MASK, "function masked" },
	{ 0 },
};

static const struct bit_name devctl_names[] = {
	{ 0x0001, "correctable errors" }, { 0x0002, "non-fatal errors" },
	{ 0x0004, "fatal errors" }, { 0x0008, "unsupported requests" },
	{ 0x0010, "relaxed ordering" }, { 0x0100, "extended tags" },
	{ 0x0800, "no snoop" },
	{ 0 },
};

static const struct bit_name af_names[] = {
	{ VF_PCI_AF_CAPS_TP, "transactions pending" }, { VF_PCI_AF_CAPS_FLR, "FLR" },
	{ 0 },
};

static void words(char *to, size_t size, const struct bit_name *names, uint32_t value)
{
	size_t used = 0;

	to[0] = '\0';
	for (; names->bit; names++) {
		int n;

		if (!(value & names->bit))
			continue;
		n = snprintf(to + used, size - used, "%s%s", used ? ", " : " (", names->name);
		if (n < 0 || (size_t) n >= size - used)
			break;
		used += (size_t) n;
	}
	if (used && used + 1 < size)
		memcpy(to + used, ")", 2);
}

static void msi_words(char *to, size_t size, uint32_t flags)
{
	(void) snprintf(to, size, " (%s, %u of %u vectors%s%s)",
			flags & VF_PCI_MSI_FLAGS_ENABLE ? "enabled" : "disabled",
			1u << ((flags & VF_PCI_MSI_FLAGS_ENABLED) >> 4),
			1u << ((flags & VF_PCI_MSI_FLAGS_CAPABLE) >> 1),
			flags & VF_PCI_MSI_FLAGS_64 ? ", 64-bit" : "",
			flags & VF_PCI_MSI_FLAGS_MASKABLE ? ", mask per vector" : "");
}

/* What is worth saying about a register beyond its number; empty if nothing is. */
static void explain(const struct vf_config_state *state, const struct vf_config_cap *cap,
		    const struct vf_config_rule *rule, uint32_t value, char *to, size_t size)
{
	const struct vf_config_layout *l = &state->layout;

	to[0] = '\0';
	if (!cap) {
		if (rule->offset == VF_PCI_COMMAND)
			words(to, size, command_names, value);
		else if (rule->offset == VF_PCI_INT_PIN && value)
			(void) snprintf(to, size, " (INT%c)", 'A' + (int) (value - 1));
		return;
	}
	if (cap->extended)
		return;
	if (cap->offset == l->pm.offset && rule->offset == VF_PCI_PM_CSR)
		(void) snprintf(to, size, " (D%u)", value & VF_PCI_PM_CSR_STATE);
	else if (cap->offset == l->msi.offset && rule->offset == VF_PCI_MSI_FLAGS)
		msi_words(to, size, value);
	else if (cap->offset == l->msix.offset && rule->offset == VF_PCI_MSIX_CONTROL)
		words(to, size, msix_names, value);
	else if (cap->offset == l->msix.offset)
		(void) snprintf(to, size, " (BAR %u + 0x%x)", value & VF_PCI_MSIX_BIR,
				value & ~VF_PCI_MSIX_BIR);
	else if (cap->offset == l->pcie.offset && rule->offset == VF_PCI_PCIE_DEVCTL)
		words(to, size, devctl_names, value);
	else if (cap->offset == l->af.offset && rule->offset == VF_PCI_AF_CAPS)
		words(to, size, af_names, value);
}

static bool is_bar(const struct vf_config_cap *cap, const struct vf_config_rule *rule)
{
	return !cap && ((rule->offset >= VF_PCI_BAR0 && rule->offset < VF_PCI_CARDBUS_CIS) ||
			rule->offset == VF_PCI_ROM);
}

static void one_register(void *user, const struct vf_config_cap *cap, uint32_t base,
			 const struct vf_config_rule *rule)
{
	const struct visit *v = user;
	uint32_t value = vf_config_get(v->state, base + rule->offset, rule->len);
	char extra[160];

	if (is_bar(cap, rule))
		return;		/* shown together, by BAR and not by register */
	explain(v->state, cap, rule, value, extra, sizeof(extra));
	tell(v, rule->name, base + rule->offset, rule->len, "0x%0*x%s", rule->len * 2, value,
	     extra);
}

/* ---- the parts ---- */

static void visit_bars(struct visit *v)
{
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++) {
		const struct vf_config_bar *bar = &v->state->layout.bars[i];
		bool rom = i == VF_CONFIG_ROM, wide = bar->flags & VF_CONFIG_BAR_64;
		const char *memory = wide ? "64-bit memory" : "32-bit memory";
		uint64_t address;
		char name[16];
		bool decoded;

		if (!bar->size)
			continue;
		decoded = vf_config_bar_at(v->state, i, &address);
		(void) snprintf(name, sizeof(name), rom ? "ROM" : "BAR %u", i);
		tell(v, name, rom ? VF_PCI_ROM : VF_PCI_BAR0 + 4 * i, wide ? 8 : 4,
		     "0x%0*llx, size 0x%llx, %s%s%s", wide ? 16 : 8,
		     (unsigned long long) address, (unsigned long long) bar->size,
		     bar->flags & VF_CONFIG_BAR_IO ? "I/O" : memory,
		     bar->flags & VF_CONFIG_BAR_PREFETCH ? ", prefetchable" : "",
		     decoded ? "" : ", not decoded");
	}
}

static void visit_cap(struct visit *v, const struct vf_config_cap *cap)
{
	char group[64];

	(void) snprintf(group, sizeof(group), "%scapability %s", cap->extended ? "extended " : "",
			vf_config_cap_name(cap->extended, cap->id));
	v->group = group;
	if (cap->extended)
		tell(v, "id", cap->offset, cap->length, "0x%04x, version %u, %u bytes", cap->id,
		     cap->version, cap->length);
	else
		tell(v, "id", cap->offset, cap->length, "0x%02x, %u bytes", cap->id, cap->length);
	vf_config_each_rule_of(&v->state->layout, cap, one_register, v);
}

static const char *mode_name(enum vf_config_interrupt_mode mode)
{
	static const char *const names[] = {
		[VF_CONFIG_INTERRUPT_NONE] = "none", [VF_CONFIG_INTERRUPT_INTX] = "INTx",
		[VF_CONFIG_INTERRUPT_MSI] = "MSI", [VF_CONFIG_INTERRUPT_MSIX] = "MSI-X",
	};

	return names[mode];
}

static void visit_msix(struct visit *v)
{
	const struct vf_msix *msix = &v->state->msix;

	for (uint32_t i = 0; i < msix->count; i++) {
		const struct vf_msix_entry *e = &msix->entries[i];
		bool pending = vf_msix_is_pending(msix, i);
		char name[32];

		if (!e->address && !e->data && (e->control & VF_MSIX_ENTRY_MASKED) && !pending)
			continue;
		(void) snprintf(name, sizeof(name), "vector %u", i);
		tell(v, name, i * VF_MSIX_ENTRY_BYTES, VF_MSIX_ENTRY_BYTES,
		     "address 0x%llx, data 0x%x%s%s", (unsigned long long) e->address, e->data,
		     e->control & VF_MSIX_ENTRY_MASKED ? ", masked" : "",
		     pending ? ", pending" : "");
	}
}

static void visit_interrupts(struct visit *v)
{
	struct vf_config_interrupts in_use = vf_config_interrupts_of(v->state);
	uint32_t at = VF_PCI_COMMAND;

	v->group = "interrupts";
	if (in_use.mode == VF_CONFIG_INTERRUPT_MSI)
		at = v->state->layout.msi.offset;
	else if (in_use.mode == VF_CONFIG_INTERRUPT_MSIX)
		at = v->state->layout.msix.offset;
	tell(v, "mode", at, 2, "%s, %u vector%s", mode_name(in_use.mode), in_use.count,
	     in_use.count == 1 ? "" : "s");
	if (v->state->layout.interrupt_pin)
		tell(v, "INTx level", VF_PCI_INT_PIN, 1, "%s",
		     v->state->intx_level ? "asserted" : "idle");
	visit_msix(v);
}

void vf_config_visit(const struct vf_config_state *state, vf_config_field_fn fn, void *user)
{
	struct visit v = { .state = state, .fn = fn, .user = user, .group = "header" };

	vf_config_each_rule_of(&state->layout, NULL, one_register, &v);
	v.group = "BARs";
	visit_bars(&v);
	for (uint32_t i = 0; i < state->layout.cap_count; i++)
		visit_cap(&v, &state->layout.caps[i]);
	visit_interrupts(&v);
}

struct printer {
	struct vf_writer *w;
	char group[64];
};

static void print_field(void *user, const struct vf_config_field *field)
{
	struct printer *p = user;
	bool new_cap = !strcmp(field->name, "id");
	char line[400];
	int n;

	if (strcmp(p->group, field->group) || new_cap) {
		(void) snprintf(p->group, sizeof(p->group), "%s", field->group);
		n = new_cap ? snprintf(line, sizeof(line), "%s at 0x%03x\n", field->group,
				       field->offset)
			    : snprintf(line, sizeof(line), "%s\n", field->group);
		vf_write_bytes(p->w, line, (size_t) n);
	}
	n = snprintf(line, sizeof(line), "  %03x  %-28s %s\n", field->offset, field->name,
		     field->value);
	vf_write_bytes(p->w, line, (size_t) n < sizeof(line) ? (size_t) n : sizeof(line) - 1);
}

void vf_config_print(const struct vf_config_state *state, struct vf_writer *w)
{
	struct printer p = { .w = w };

	vf_config_visit(state, print_field, &p);
}
