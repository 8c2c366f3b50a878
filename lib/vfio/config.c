/* SPDX-License-Identifier: MIT */
/*
 * config.c - the guest's view of config space: reads, writes and what they ask for.
 *
 * A write is applied to the view by the masks of config_rules.c; then the registers that mean
 * something to the VMM are looked at before and after, and what changed becomes effects. So a write
 * of any width, over any registers, gives the same effects as the narrow ones it is made of.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "vfio/config_internal.h"
#include "vfio/pci_regs.h"

struct vf_config_state *vf_config_state_new(void)
{
	return calloc(1, sizeof(struct vf_config_state));
}

void vf_config_state_free(struct vf_config_state *state)
{
	if (!state)
		return;
	vf_msix_done(&state->msix);
	free(state);
}

/* ---- what a state says ---- */

static uint32_t command_of(const struct vf_config_state *state)
{
	return vf_config_get(state, VF_PCI_COMMAND, 2);
}

uint8_t vf_config_power_state(const struct vf_config_state *state)
{
	uint16_t pm = state->layout.pm.offset;

	return pm ? state->bytes[pm + VF_PCI_PM_CSR] & VF_PCI_PM_CSR_STATE : 0;
}

struct vf_config_interrupts vf_config_interrupts_of(const struct vf_config_state *state)
{
	const struct vf_config_layout *l = &state->layout;
	uint32_t flags;

	if (l->msix.offset &&
	    (vf_config_get(state, l->msix.offset + VF_PCI_MSIX_CONTROL, 2) &
	     VF_PCI_MSIX_CONTROL_ENABLE))
		return (struct vf_config_interrupts) { VF_CONFIG_INTERRUPT_MSIX, l->msix.count };
	if (l->msi.offset) {
		flags = vf_config_get(state, l->msi.offset + VF_PCI_MSI_FLAGS, 2);
		if (flags & VF_PCI_MSI_FLAGS_ENABLE)
			return (struct vf_config_interrupts) {
				VF_CONFIG_INTERRUPT_MSI,
				1u << ((flags & VF_PCI_MSI_FLAGS_ENABLED) >> 4) };
	}
	if (l->interrupt_pin)
		return (struct vf_config_interrupts) { VF_CONFIG_INTERRUPT_INTX, 1 };
	return (struct vf_config_interrupts) { VF_CONFIG_INTERRUPT_NONE, 0 };
}

static void msi_vector(const struct vf_config_state *state, uint32_t index, uint32_t count,
		       struct vf_config_vector *vector)
{
	const struct vf_config_layout *l = &state->layout;
	uint32_t data = vf_config_get(state, vf_config_msi_data(l), 2);

	vector->address = vf_config_get(state, l->msi.offset + VF_PCI_MSI_ADDRESS, 4);
	if (l->msi.is_64)
		vector->address |= (uint64_t) vf_config_get(
			state, l->msi.offset + VF_PCI_MSI_ADDRESS_HIGH, 4) << 32;
	vector->data = (data & ~(count - 1)) | index;	/* the low bits are the device's */
	if (!l->msi.maskable)
		return;
	vector->masked = vf_config_get(state, vf_config_msi_mask(l), 4) >> index & 1;
	vector->pending = vf_config_get(state, vf_config_msi_mask(l) + 4, 4) >> index & 1;
}

bool vf_config_vector_at(const struct vf_config_state *state, uint32_t index,
			 struct vf_config_vector *ret_vector)
{
	struct vf_config_interrupts in_use = vf_config_interrupts_of(state);
	struct vf_config_vector vector = { .index = index };

	if (index >= in_use.count)
		return false;
	if (in_use.mode == VF_CONFIG_INTERRUPT_MSI) {
		msi_vector(state, index, in_use.count, &vector);
	} else if (in_use.mode == VF_CONFIG_INTERRUPT_MSIX) {
		vector.address = state->msix.entries[index].address;
		vector.data = state->msix.entries[index].data;
		vector.masked = vf_msix_silent(&state->msix, index);
		vector.pending = vf_msix_is_pending(&state->msix, index);
	} else {
		return false;
	}
	*ret_vector = vector;
	return true;
}

/* Not while the BAR is being sized, nor before it is placed. */
static bool bar_placed(const struct vf_config_bar *bar, uint64_t address)
{
	uint64_t last;

	if (!address || vf_add_u64(address, bar->size - 1, &last))
		return false;
	if (bar->flags & VF_CONFIG_BAR_IO)
		return last <= 0xffff;
	return last < (bar->flags & VF_CONFIG_BAR_64 ? UINT64_MAX : (uint64_t) UINT32_MAX);
}

bool vf_config_bar_at(const struct vf_config_state *state, unsigned int bar, uint64_t *ret_address)
{
	const struct vf_config_layout *l = &state->layout;
	uint32_t reg = bar == VF_CONFIG_ROM ? VF_PCI_ROM : VF_PCI_BAR0 + 4 * bar;
	uint32_t enable = VF_PCI_COMMAND_MEM;
	uint64_t address;

	*ret_address = 0;
	if (bar >= VF_CONFIG_REGIONS || !l->bars[bar].size)
		return false;
	address = vf_config_get(state, reg, 4) & vf_config_bar_mask(l, bar);
	if (l->bars[bar].flags & VF_CONFIG_BAR_64)
		address |= (uint64_t) (vf_config_get(state, reg + 4, 4) &
				       vf_config_bar_mask(l, bar + 1)) << 32;
	*ret_address = address;
	if (l->bars[bar].flags & VF_CONFIG_BAR_IO)
		enable = VF_PCI_COMMAND_IO;
	if (!(command_of(state) & enable) || vf_config_power_state(state))
		return false;
	if (bar == VF_CONFIG_ROM && !(state->bytes[VF_PCI_ROM] & VF_PCI_ROM_ENABLE))
		return false;
	return bar_placed(&l->bars[bar], address);
}

/* ---- a new view ---- */

static void clear_bits(uint8_t *bytes, uint32_t offset, uint32_t len, uint32_t bits)
{
	for (uint32_t i = 0; i < len; i++)
		bytes[offset + i] &= (uint8_t) ~(bits >> (8 * i));
}

/* From what the device happens to hold to what a guest finds after a reset. */
static void make_reset_bytes(struct vf_config *config)
{
	const struct vf_config_layout *l = &config->state.layout;
	uint8_t *bytes = config->reset_bytes;

	clear_bits(bytes, VF_PCI_COMMAND, 2, 0xffff);
	/* Which slot the host uses says nothing about the guest's. */
	clear_bits(bytes, VF_PCI_HEADER_TYPE, 1, VF_PCI_HEADER_MULTIFUNCTION);
	for (unsigned int i = 0; i < VF_CONFIG_BARS; i++) {
		uint32_t keep = 0;

		if (l->bars[i].size)
			keep = l->bars[i].flags & VF_CONFIG_BAR_IO ? VF_PCI_BAR_IO
								   : VF_PCI_BAR_MEM_FLAGS;
		clear_bits(bytes, VF_PCI_BAR0 + 4 * i, 4, ~keep);
	}
	clear_bits(bytes, VF_PCI_ROM, 4, 0xffffffff);
	clear_bits(bytes, VF_PCI_INT_LINE, 1, 0xff);
	if (l->pm.offset) {
		clear_bits(bytes, l->pm.offset + VF_PCI_PM_CAPS, 2, VF_PCI_PM_CAPS_PME);
		clear_bits(bytes, l->pm.offset + VF_PCI_PM_CSR, 2,
			   VF_PCI_PM_CSR_STATE | VF_PCI_PM_CSR_PME_ENABLE |
			   VF_PCI_PM_CSR_PME_STATUS);
	}
	if (l->msi.offset) {
		uint32_t last = vf_config_msi_data(l) + (l->msi.maskable ? 12 : 2);

		clear_bits(bytes, l->msi.offset + VF_PCI_MSI_FLAGS, 2,
			   VF_PCI_MSI_FLAGS_ENABLE | VF_PCI_MSI_FLAGS_ENABLED);
		memset(bytes + l->msi.offset + VF_PCI_MSI_ADDRESS, 0,
		       last - (l->msi.offset + VF_PCI_MSI_ADDRESS));
	}
	if (l->msix.offset)
		clear_bits(bytes, l->msix.offset + VF_PCI_MSIX_CONTROL, 2,
			   VF_PCI_MSIX_CONTROL_ENABLE | VF_PCI_MSIX_CONTROL_MASK);
	if (l->pcie.offset)
		clear_bits(bytes, l->pcie.offset + VF_PCI_PCIE_DEVCTL, 2, VF_PCI_PCIE_DEVCTL_FLR);
	if (l->af.offset)
		clear_bits(bytes, l->af.offset + VF_PCI_AF_CONTROL, 1, 0xff);
}

int vf_config_new(const uint8_t *image, size_t size,
		  const struct vf_config_region regions[VF_CONFIG_REGIONS],
		  struct vf_config **ret_config, struct vferry_error *err)
{
	struct vf_config *config = calloc(1, sizeof(*config));
	int ret;

	if (!config)
		return vferry_error_set(err, -ENOMEM, "no-memory", VF_CONFIG_OBJECT,
					"no memory for a view of config space");
	ret = vf_config_layout_parse(image, size, regions, &config->state.layout, err);
	if (!ret)
		ret = vf_msix_init(&config->state.msix, config->state.layout.msix.count);
	if (ret) {
		vf_config_free(config);
		return ret;
	}
	memcpy(config->reset_bytes, image, size);
	make_reset_bytes(config);
	memcpy(config->state.bytes, config->reset_bytes, size);
	vf_config_rules_apply(config);
	*ret_config = config;
	return 0;
}

void vf_config_free(struct vf_config *config)
{
	if (!config)
		return;
	vf_msix_done(&config->state.msix);
	free(config);
}

uint32_t vf_config_class_at(const struct vf_config *config, uint32_t offset)
{
	uint32_t class = 0;

	if (offset >= config->state.layout.size)
		return 0;
	if (config->device[offset] != 0xff)
		class |= VF_CONFIG_CLASS_VIRTUAL;
	if (config->device[offset])
		class |= VF_CONFIG_CLASS_DEVICE;
	if (config->writable[offset])
		class |= VF_CONFIG_CLASS_WRITABLE;
	if (config->forward[offset])
		class |= VF_CONFIG_CLASS_FORWARD;
	if (config->interrupt[offset])
		class |= VF_CONFIG_CLASS_INTERRUPT;
	if (config->flr[offset])
		class |= VF_CONFIG_CLASS_FLR;
	return class;
}

/* ---- guest accesses ---- */

static bool access_ok(const struct vf_config *config, uint32_t offset, uint32_t len)
{
	if (len != 1 && len != 2 && len != 4)
		return false;
	return offset % len == 0 && vf_range_in(offset, len, config->state.layout.size);
}

uint32_t vf_config_read(const struct vf_config *config, uint32_t offset, uint32_t len,
			uint32_t *ret_device)
{
	uint32_t value = 0, device = 0;

	*ret_device = 0;
	if (!access_ok(config, offset, len))
		return 0xffffffff;
	for (uint32_t i = 0; i < len; i++) {
		uint8_t mask = config->device[offset + i];

		device |= (uint32_t) mask << (8 * i);
		value |= (uint32_t) (config->state.bytes[offset + i] & ~mask) << (8 * i);
	}
	*ret_device = device;
	return value;
}

/* The registers that effects are made of, before a write. */
struct before {
	uint32_t command;
	uint8_t power;
	uint32_t msi_flags;
	uint64_t msi_address;
	uint32_t msi_data;
	uint32_t msi_mask;
	uint32_t decoded;
	uint64_t bars[VF_CONFIG_REGIONS];
};

static struct before look(const struct vf_config_state *state)
{
	const struct vf_config_layout *l = &state->layout;
	struct before b = {
		.command = command_of(state),
		.power = vf_config_power_state(state),
	};

	if (l->msi.offset) {
		b.msi_flags = vf_config_get(state, l->msi.offset + VF_PCI_MSI_FLAGS, 2);
		b.msi_address = vf_config_get(state, l->msi.offset + VF_PCI_MSI_ADDRESS, 4);
		if (l->msi.is_64)
			b.msi_address |= (uint64_t) vf_config_get(
				state, l->msi.offset + VF_PCI_MSI_ADDRESS_HIGH, 4) << 32;
		b.msi_data = vf_config_get(state, vf_config_msi_data(l), 2);
		if (l->msi.maskable)
			b.msi_mask = vf_config_get(state, vf_config_msi_mask(l), 4);
	}
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++)
		if (vf_config_bar_at(state, i, &b.bars[i]))
			b.decoded |= 1u << i;
	return b;
}

static uint32_t msi_effects(const struct before *old, const struct before *new)
{
	uint32_t flags = 0;

	if ((old->msi_flags ^ new->msi_flags) & VF_PCI_MSI_FLAGS_ENABLE)
		flags |= VF_CONFIG_EFFECT_MSI_ENABLE;
	else if ((new->msi_flags & VF_PCI_MSI_FLAGS_ENABLE) &&
		 (old->msi_flags != new->msi_flags || old->msi_address != new->msi_address ||
		  old->msi_data != new->msi_data))
		flags |= VF_CONFIG_EFFECT_MSI_MESSAGE;
	if (old->msi_mask != new->msi_mask)
		flags |= VF_CONFIG_EFFECT_MSI_MASK;
	return flags;
}

static void compare(struct vf_config *config, const struct before *old,
		    struct vf_config_effects *effects)
{
	static const struct { uint32_t bit, effect; } command_bits[] = {
		{ VF_PCI_COMMAND_MEM, VF_CONFIG_EFFECT_MEM },
		{ VF_PCI_COMMAND_IO, VF_CONFIG_EFFECT_IO },
		{ VF_PCI_COMMAND_BUS_MASTER, VF_CONFIG_EFFECT_BUS_MASTER },
		{ VF_PCI_COMMAND_INTX_DISABLE, VF_CONFIG_EFFECT_INTX_DISABLE },
	};
	struct vf_config_state *state = &config->state;
	struct before new = look(state);
	uint16_t msix = state->layout.msix.offset;

	for (size_t i = 0; i < VF_ARRAY_COUNT(command_bits); i++)
		if ((old->command ^ new.command) & command_bits[i].bit)
			effects->flags |= command_bits[i].effect;
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++) {
		bool was = old->decoded >> i & 1, is = new.decoded >> i & 1;

		if (was != is || (is && old->bars[i] != new.bars[i]))
			effects->bars |= (uint8_t) (1u << i);
	}
	if (effects->bars)
		effects->flags |= VF_CONFIG_EFFECT_BARS;
	if (old->power != new.power) {
		effects->flags |= VF_CONFIG_EFFECT_POWER;
		effects->power_from = old->power;
	}
	effects->flags |= msi_effects(old, &new);
	if (msix) {
		uint32_t control = vf_config_get(state, msix + VF_PCI_MSIX_CONTROL, 2);
		bool enabled = control & VF_PCI_MSIX_CONTROL_ENABLE;
		bool masked = control & VF_PCI_MSIX_CONTROL_MASK;

		if (enabled != state->msix.enabled || masked != state->msix.function_masked)
			effects->flags |= VF_CONFIG_EFFECT_MSIX_CONTROL;
		effects->msix = vf_msix_set_control(&state->msix, enabled, masked);
	}
}

/* Values that a register takes back. */
static void normalise(struct vf_config *config, const struct before *old)
{
	struct vf_config_state *state = &config->state;
	const struct vf_config_layout *l = &state->layout;
	uint8_t power = vf_config_power_state(state);

	if (l->msi.offset) {
		uint8_t *flags = &state->bytes[l->msi.offset + VF_PCI_MSI_FLAGS];
		uint32_t capable = (*flags & VF_PCI_MSI_FLAGS_CAPABLE) >> 1;
		uint32_t enabled = (*flags & VF_PCI_MSI_FLAGS_ENABLED) >> 4;

		if (enabled > capable)
			*flags = (uint8_t) ((*flags & ~VF_PCI_MSI_FLAGS_ENABLED) | capable << 4);
	}
	/* A state the function lacks: the write is as if not made. */
	if ((power == 1 && !(l->pm.caps & VF_PCI_PM_CAPS_D1)) ||
	    (power == 2 && !(l->pm.caps & VF_PCI_PM_CAPS_D2)))
		state->bytes[l->pm.offset + VF_PCI_PM_CSR] =
			(uint8_t) ((state->bytes[l->pm.offset + VF_PCI_PM_CSR] &
				    ~VF_PCI_PM_CSR_STATE) | old->power);
}

static bool asks_for_flr(const struct vf_config *config, uint32_t offset, uint32_t len,
			 uint32_t value)
{
	const struct vf_config_layout *l = &config->state.layout;

	for (uint32_t i = 0; i < len; i++) {
		uint32_t at = offset + i;
		uint32_t hit = config->flr[at] & (value >> (8 * i));

		if (!hit)
			continue;
		/* A bit whose capability the device denies does nothing. */
		if (l->pcie.offset && at == l->pcie.offset + VF_PCI_PCIE_DEVCTL + 1 &&
		    (l->pcie.devcap & VF_PCI_PCIE_DEVCAP_FLR))
			return true;
		if (l->af.offset && at == l->af.offset + VF_PCI_AF_CONTROL &&
		    (l->af.caps & VF_PCI_AF_CAPS_FLR))
			return true;
	}
	return false;
}

/* Cuts [offset, offset+len) into aligned accesses that hold no byte the device must not see. */
static void forward(const struct vf_config *config, uint32_t offset, uint32_t len, uint32_t value,
		    struct vf_config_effects *effects)
{
	for (uint32_t i = 0; i < len;) {
		struct vf_config_write write = { .offset = (uint16_t) (offset + i) };
		uint32_t n;

		for (n = 4; n; n /= 2) {
			uint32_t k;

			if ((offset + i) % n || i + n > len)
				continue;
			for (k = 0; k < n && config->forward[offset + i + k]; k++)
				;
			if (k == n)
				break;
		}
		if (!n) {
			i++;
			continue;
		}
		write.len = (uint8_t) n;
		for (uint32_t k = 0; k < n; k++) {
			uint32_t at = offset + i + k;
			uint8_t guest = (uint8_t) (value >> (8 * (i + k)));
			uint8_t passed = config->forward[at];
			/* Bits the view does not hold: as the guest wrote them. */
			uint8_t raw = config->device[at] & (uint8_t) ~config->writable[at];
			uint8_t out = (uint8_t) ((config->state.bytes[at] & ~raw) | (guest & raw));

			write.value |= (uint32_t) (out & passed) << (8 * k);
			write.keep |= (uint32_t) (uint8_t) ~(passed | config->flr[at]) << (8 * k);
		}
		effects->writes[effects->write_count++] = write;
		effects->flags |= VF_CONFIG_EFFECT_DEVICE;
		i += n;
	}
}

void vf_config_write(struct vf_config *config, uint32_t offset, uint32_t len, uint32_t value,
		     struct vf_config_effects *ret_effects)
{
	struct before old;

	*ret_effects = (struct vf_config_effects) { 0 };
	if (!access_ok(config, offset, len))
		return;
	if (asks_for_flr(config, offset, len, value)) {
		ret_effects->flags = VF_CONFIG_EFFECT_FLR;
		return;
	}
	old = look(&config->state);
	for (uint32_t i = 0; i < len; i++) {
		uint8_t mask = config->writable[offset + i];
		uint8_t *byte = &config->state.bytes[offset + i];

		*byte = (uint8_t) ((*byte & ~mask) | ((value >> (8 * i)) & mask));
	}
	normalise(config, &old);
	compare(config, &old, ret_effects);
	forward(config, offset, len, value, ret_effects);
}

void vf_config_reset(struct vf_config *config, struct vf_config_effects *ret_effects)
{
	struct before old = look(&config->state);

	*ret_effects = (struct vf_config_effects) { 0 };
	memcpy(config->state.bytes, config->reset_bytes, config->state.layout.size);
	config->state.intx_level = false;
	compare(config, &old, ret_effects);
	vf_msix_reset(&config->state.msix);
}

int vf_config_refresh(struct vf_config *config, const uint8_t *image, size_t size)
{
	if (size != config->state.layout.size)
		return -EINVAL;
	if (vf_get_u16(image + VF_PCI_VENDOR) == 0xffff)
		return -ENODEV;
	for (size_t i = 0; i < size; i++) {
		uint8_t mask = config->device[i];

		config->state.bytes[i] = (uint8_t) ((config->state.bytes[i] & ~mask) |
						    (image[i] & mask));
	}
	return 0;
}

void vf_config_set_intx_level(struct vf_config *config, bool asserted)
{
	config->state.intx_level = asserted;
}

int vf_config_load(struct vf_config *config, const struct vf_config_state *state,
		   struct vferry_error *err)
{
	int ret = vf_config_check(&state->layout, &config->state.layout, VF_CONFIG_OBJECT, err);

	if (ret)
		return ret;
	for (size_t i = 0; i < config->state.layout.size; i++) {
		uint8_t mask = config->writable[i];

		config->state.bytes[i] = (uint8_t) ((config->state.bytes[i] & ~mask) |
						    (state->bytes[i] & mask));
	}
	config->state.intx_level = state->intx_level;
	return vf_msix_copy(&config->state.msix, &state->msix);
}
