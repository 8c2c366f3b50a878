/* SPDX-License-Identifier: MIT */
/*
 * config_plan.c - the three plans by which a saved state is put into a device.
 *
 * What holds for every write made here: FLR bits are zero, PME status (which a written 1 would
 * clear) is zero, and a register shared between stage and arm is written by each under `keep`.
 */
#include <assert.h>
#include <errno.h>

#include "base/checked.h"
#include "vfio/config_internal.h"
#include "vfio/pci_regs.h"

#define COMMAND_BITS 0x07ffu
#define COMMAND_STAGED (COMMAND_BITS & ~VF_PCI_COMMAND_INTX_DISABLE)

static const char *const bar_step_names[VF_CONFIG_REGIONS] = {
	"BAR 0", "BAR 1", "BAR 2", "BAR 3", "BAR 4", "BAR 5", "ROM",
};

static void add_step(struct vf_config_plan *plan, struct vf_config_step step)
{
	assert(plan->step_count < VF_CONFIG_STEPS_MAX);
	plan->steps[plan->step_count++] = step;
}

static void add_write(struct vf_config_plan *plan, const char *name, uint32_t offset, uint8_t len,
		      uint32_t value, uint32_t keep)
{
	add_step(plan, (struct vf_config_step) {
		.kind = VF_CONFIG_STEP_WRITE, .name = name,
		.write = { .offset = (uint16_t) offset, .len = len, .value = value & ~keep,
			   .keep = keep },
	});
}

static void add_change(struct vf_config_plan *plan, enum vf_config_change_kind kind,
		       const char *name, uint8_t bar, uint64_t from, uint64_t to)
{
	assert(plan->change_count < VF_CONFIG_CHANGES_MAX);
	plan->changes[plan->change_count++] = (struct vf_config_change) {
		.kind = kind, .name = name, .bar = bar, .from = from, .to = to };
}

static uint32_t command_of(const struct vf_config_state *state)
{
	return vf_config_get(state, VF_PCI_COMMAND, 2) & COMMAND_STAGED;
}

/* Nothing is decoded, and the device may not write, while its BARs move. */
static void write_command_off(struct vf_config_plan *plan)
{
	add_write(plan, "COMMAND off", VF_PCI_COMMAND, 2, 0, VF_PCI_COMMAND_INTX_DISABLE);
}

static void write_command(struct vf_config_plan *plan, const struct vf_config_state *state)
{
	add_write(plan, "COMMAND", VF_PCI_COMMAND, 2, command_of(state),
		  VF_PCI_COMMAND_INTX_DISABLE);
}

static uint32_t power_keep(void)
{
	return 0xffffu & ~(VF_PCI_PM_CSR_STATE | VF_PCI_PM_CSR_PME_STATUS);
}

static uint32_t bar_register(unsigned int bar)
{
	return bar == VF_CONFIG_ROM ? VF_PCI_ROM : VF_PCI_BAR0 + 4 * bar;
}

/* Of register @bar, which may be the upper half of a BAR: the bits the guest decides. */
static uint32_t bar_bits(const struct vf_config_state *state, unsigned int bar)
{
	uint32_t mask = vf_config_bar_mask(&state->layout, bar);

	if (bar == VF_CONFIG_ROM && mask)
		mask |= VF_PCI_ROM_ENABLE;
	return vf_config_get(state, bar_register(bar), 4) & mask;
}

static void write_bar(struct vf_config_plan *plan, const struct vf_config_state *state,
		      unsigned int bar)
{
	if (vf_config_bar_mask(&state->layout, bar))
		add_write(plan, bar_step_names[bar], bar_register(bar), 4, bar_bits(state, bar), 0);
}

/* Plain registers that stage writes as they are, less the bits in @never. */
struct plain {
	const char *name;
	enum vf_config_change_kind change;
	uint32_t offset;
	uint8_t len;
	uint32_t never;
};

#define PLAIN_MAX 7u

static uint32_t plain_registers(const struct vf_config_layout *l, struct plain regs[PLAIN_MAX])
{
	uint32_t n = 0;

	if (l->pcie.offset) {
		regs[n++] = (struct plain) { "DevCtl", VF_CONFIG_CHANGE_DEVCTL,
					     l->pcie.offset + VF_PCI_PCIE_DEVCTL, 2,
					     VF_PCI_PCIE_DEVCTL_FLR };
		if ((l->pcie.flags & VF_PCI_PCIE_FLAGS_VERSION) >= 2)
			regs[n++] = (struct plain) { "DevCtl2", VF_CONFIG_CHANGE_DEVCTL2,
						     l->pcie.offset + VF_PCI_PCIE_DEVCTL2, 2, 0 };
	}
	regs[n++] = (struct plain) { "cache line size", VF_CONFIG_CHANGE_CACHE_LINE,
				     VF_PCI_CACHE_LINE, 1, 0 };
	regs[n++] = (struct plain) { "latency timer", VF_CONFIG_CHANGE_LATENCY,
				     VF_PCI_LATENCY, 1, 0 };
	if (l->aer_offset) {
		regs[n++] = (struct plain) { "AER uncorrectable mask", VF_CONFIG_CHANGE_AER,
					     l->aer_offset + VF_PCI_AER_UNCOR_MASK, 4, 0 };
		regs[n++] = (struct plain) { "AER uncorrectable severity", VF_CONFIG_CHANGE_AER,
					     l->aer_offset + VF_PCI_AER_UNCOR_SEVER, 4, 0 };
		regs[n++] = (struct plain) { "AER correctable mask", VF_CONFIG_CHANGE_AER,
					     l->aer_offset + VF_PCI_AER_COR_MASK, 4, 0 };
	}
	return n;
}

static uint32_t plain_value(const struct vf_config_state *state, const struct plain *reg)
{
	return vf_config_get(state, reg->offset, reg->len) & ~reg->never;
}

void vf_config_plan_stage(const struct vf_config_state *state, struct vf_config_plan *ret_plan)
{
	const struct vf_config_layout *l = &state->layout;
	struct plain regs[PLAIN_MAX];
	uint32_t count = plain_registers(l, regs);

	*ret_plan = (struct vf_config_plan) { 0 };
	if (l->pm.offset)
		add_write(ret_plan, "PMCSR to D0", l->pm.offset + VF_PCI_PM_CSR, 2, 0,
			  power_keep());
	write_command_off(ret_plan);
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++)
		write_bar(ret_plan, state, i);
	for (uint32_t i = 0; i < count; i++)
		add_write(ret_plan, regs[i].name, regs[i].offset, regs[i].len,
			  plain_value(state, &regs[i]), 0);
	write_command(ret_plan, state);
}

static bool restage_bars(const struct vf_config_state *staged, const struct vf_config_state *state,
			 struct vf_config_plan *plan)
{
	uint32_t moved = 0;

	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++)
		if (bar_bits(staged, i) != bar_bits(state, i))
			moved |= 1u << i;
	if (!moved)
		return false;
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++) {
		bool upper = (state->layout.bars[i].flags & VF_CONFIG_BAR_64) &&
			     (moved >> (i + 1) & 1);
		uint64_t from, to;

		if (!state->layout.bars[i].size || !(moved >> i & 1 || upper))
			continue;
		(void) vf_config_bar_at(staged, i, &from);
		(void) vf_config_bar_at(state, i, &to);
		if (i == VF_CONFIG_ROM) {	/* its enable bit counts too */
			from |= bar_bits(staged, i);
			to |= bar_bits(state, i);
		}
		add_change(plan, VF_CONFIG_CHANGE_BAR, bar_step_names[i], (uint8_t) i, from, to);
	}
	write_command_off(plan);
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++)
		if (moved >> i & 1)
			write_bar(plan, state, i);
	return true;
}

static void restage_interrupts(const struct vf_config_state *staged,
			       const struct vf_config_state *state, struct vf_config_plan *plan)
{
	struct vf_config_interrupts from = vf_config_interrupts_of(staged);
	struct vf_config_interrupts to = vf_config_interrupts_of(state);

	if (from.mode != to.mode)
		add_change(plan, VF_CONFIG_CHANGE_INTERRUPT_MODE, "interrupt mode", 0, from.mode,
			   to.mode);
	else if (from.count != to.count)
		add_change(plan, VF_CONFIG_CHANGE_INTERRUPT_COUNT, "interrupt vectors", 0,
			   from.count, to.count);
	if (staged->bytes[VF_PCI_INT_LINE] != state->bytes[VF_PCI_INT_LINE])
		add_change(plan, VF_CONFIG_CHANGE_INTERRUPT_LINE, "interrupt line", 0,
			   staged->bytes[VF_PCI_INT_LINE], state->bytes[VF_PCI_INT_LINE]);
}

int vf_config_plan_restage(const struct vf_config_state *staged,
			   const struct vf_config_state *state, struct vf_config_plan *ret_plan)
{
	struct vf_config_plan plan = { 0 };
	struct plain regs[PLAIN_MAX];
	uint32_t count;
	bool moved;

	if (vf_config_compare(&staged->layout, &state->layout, NULL, NULL))
		return -EINVAL;
	moved = restage_bars(staged, state, &plan);
	count = plain_registers(&state->layout, regs);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t from = plain_value(staged, &regs[i]), to = plain_value(state, &regs[i]);

		if (from == to)
			continue;
		add_change(&plan, regs[i].change, regs[i].name, 0, from, to);
		add_write(&plan, regs[i].name, regs[i].offset, regs[i].len, to, 0);
	}
	if (command_of(staged) != command_of(state))
		add_change(&plan, VF_CONFIG_CHANGE_COMMAND, "COMMAND", 0, command_of(staged),
			   command_of(state));
	if (moved || command_of(staged) != command_of(state))
		write_command(&plan, state);
	restage_interrupts(staged, state, &plan);
	*ret_plan = plan;
	return 0;
}

/* Enable comes last: its message and mask are in place by then. */
static void arm_msi(const struct vf_config_state *state, struct vf_config_plan *plan)
{
	const struct vf_config_layout *l = &state->layout;
	uint32_t at = l->msi.offset;

	if (l->msi.maskable)
		add_write(plan, "MSI mask", vf_config_msi_mask(l), 4,
			  vf_config_get(state, vf_config_msi_mask(l), 4), 0);
	add_write(plan, "MSI address", at + VF_PCI_MSI_ADDRESS, 4,
		  vf_config_get(state, at + VF_PCI_MSI_ADDRESS, 4), 0);
	if (l->msi.is_64)
		add_write(plan, "MSI address high", at + VF_PCI_MSI_ADDRESS_HIGH, 4,
			  vf_config_get(state, at + VF_PCI_MSI_ADDRESS_HIGH, 4), 0);
	add_write(plan, "MSI data", vf_config_msi_data(l), 2,
		  vf_config_get(state, vf_config_msi_data(l), 2), 0);
	add_write(plan, "MSI flags", at + VF_PCI_MSI_FLAGS, 2,
		  vf_config_get(state, at + VF_PCI_MSI_FLAGS, 2), 0);
}

void vf_config_plan_arm(const struct vf_config_state *state, struct vf_config_plan *ret_plan)
{
	const struct vf_config_layout *l = &state->layout;
	struct vf_config_interrupts in_use = vf_config_interrupts_of(state);
	bool any = in_use.mode != VF_CONFIG_INTERRUPT_NONE;
	uint8_t power = vf_config_power_state(state);

	*ret_plan = (struct vf_config_plan) { 0 };
	add_write(ret_plan, "COMMAND INTx disable", VF_PCI_COMMAND, 2,
		  vf_config_get(state, VF_PCI_COMMAND, 2),
		  0xffffu & ~VF_PCI_COMMAND_INTX_DISABLE);
	if (any)
		add_step(ret_plan, (struct vf_config_step) {
			.kind = VF_CONFIG_STEP_INTERRUPTS, .name = "vectors",
			.interrupts = in_use });
	if (l->msi.offset)
		arm_msi(state, ret_plan);
	if (l->msix.offset)
		add_write(ret_plan, "MSI-X control", l->msix.offset + VF_PCI_MSIX_CONTROL, 2,
			  vf_config_get(state, l->msix.offset + VF_PCI_MSIX_CONTROL, 2), 0);
	if (any)
		add_step(ret_plan, (struct vf_config_step) {
			.kind = VF_CONFIG_STEP_CONNECT, .name = "connect", .interrupts = in_use });
	if (state->intx_level && in_use.mode == VF_CONFIG_INTERRUPT_INTX)
		add_step(ret_plan, (struct vf_config_step) {
			.kind = VF_CONFIG_STEP_INTX_LEVEL, .name = "INTx level",
			.interrupts = in_use });
	if (power)
		add_write(ret_plan, "PMCSR", l->pm.offset + VF_PCI_PM_CSR, 2, power, power_keep());
}
