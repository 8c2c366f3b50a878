/* SPDX-License-Identifier: MIT */
/*
 * config_internal.h - shared by the files of the config space module only: the register rules, and
 * what parsing and decoding a layout have in common.
 */
#ifndef VF_VFIO_CONFIG_INTERNAL_H
#define VF_VFIO_CONFIG_INTERNAL_H

#include "vfio/config.h"

#define VF_CONFIG_OBJECT "pci config"

/* What one register does. Masks are of the register's bits; a bit that is in none of them is a
 * constant of the view. */
struct vf_config_rule {
	const char *name;
	uint16_t offset;	/* from the start of the header or capability */
	uint16_t len;		/* 1..4 */
	uint32_t device;
	uint32_t writable;
	uint32_t forward;
	uint32_t interrupt;
	uint32_t flr;
};

/* @cap is NULL for the header; @base is where the rule's offset counts from. */
typedef void (*vf_config_rule_fn)(void *user, const struct vf_config_cap *cap, uint32_t base,
				  const struct vf_config_rule *rule);

/* Each register known by name, header first, then capability by capability. */
void vf_config_each_rule(const struct vf_config_layout *layout, vf_config_rule_fn fn, void *user);
/* The same for one capability (NULL: the header). */
void vf_config_each_rule_of(const struct vf_config_layout *layout, const struct vf_config_cap *cap,
			    vf_config_rule_fn fn, void *user);
/* Fills the five masks of a view whose layout is set. */
void vf_config_rules_apply(struct vf_config *config);

/* Bits of BAR register @bar that hold its address (0 for one that is not implemented). */
uint32_t vf_config_bar_mask(const struct vf_config_layout *layout, unsigned int bar);

/* The size the guest sees. Return: 0, -EINVAL for one that no register can show. */
int vf_config_bar_size(uint64_t region_size, bool rom, uint8_t flags, uint64_t *ret_size);
/* Everything a layout must fulfil whether it was parsed or decoded. */
int vf_config_layout_check(const struct vf_config_layout *layout, struct vferry_error *err);
/* Sets the offsets of the capabilities that the library works with from the list. */
void vf_config_layout_index(struct vf_config_layout *layout);
/* Is the length of this capability a fact, or only the distance to the next? */
bool vf_config_cap_length_known(const struct vf_config_cap *cap);

static inline uint32_t vf_config_get(const struct vf_config_state *state, uint32_t offset,
				     uint32_t len)
{
	uint32_t value = 0;

	for (uint32_t i = 0; i < len; i++)
		value |= (uint32_t) state->bytes[offset + i] << (8 * i);
	return value;
}

static inline uint32_t vf_config_len_mask(uint32_t len)
{
	return len >= 4 ? 0xffffffffu : (1u << (8 * len)) - 1;
}

/* Offsets of the MSI registers that depend on the capability's form. */
static inline uint32_t vf_config_msi_data(const struct vf_config_layout *l)
{
	return l->msi.offset + (l->msi.is_64 ? 12u : 8u);
}

static inline uint32_t vf_config_msi_mask(const struct vf_config_layout *l)
{
	return l->msi.offset + (l->msi.is_64 ? 16u : 12u);
}

#endif
