/* SPDX-License-Identifier: MIT */
/*
 * config_state.c - body of the section that carries a function's config space as the guest sees it.
 *
 * Version 1, little-endian:
 *   u16 version, u16 flags (bit 0: INTx asserted; the others zero), u32 size of config space
 *   7 regions (6 BARs, ROM): u64 size, u32 region flags
 *   the bytes of config space
 *   u16 MSI-X vectors, u16 zero
 *   each vector: u64 address (bits 0 and 1 zero), u32 data, u32 control (bit 0: masked)
 *   one u64 of pending bits for each 64 vectors or part of them
 *
 * The layout is not sent but parsed from the bytes, so the two cannot contradict each other. MSI-X
 * enable and function mask are those of the config bytes.
 */
#include <errno.h>
#include <string.h>

#include "vfio/config_internal.h"
#include "vfio/pci_regs.h"

#define STATE_VERSION 1
#define STATE_FLAG_INTX 1u

void vf_config_state_encode(const struct vf_config_state *state, struct vf_writer *w)
{
	const struct vf_msix *msix = &state->msix;

	vf_write_u16(w, STATE_VERSION);
	vf_write_u16(w, state->intx_level ? STATE_FLAG_INTX : 0);
	vf_write_u32(w, state->layout.size);
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++) {
		vf_write_u64(w, state->layout.bars[i].region_size);
		vf_write_u32(w, state->layout.bars[i].region_flags);
	}
	vf_write_bytes(w, state->bytes, state->layout.size);
	vf_write_u16(w, (uint16_t) msix->count);
	vf_write_u16(w, 0);
	for (uint32_t i = 0; i < msix->count; i++) {
		vf_write_u64(w, msix->entries[i].address);
		vf_write_u32(w, msix->entries[i].data);
		vf_write_u32(w, msix->entries[i].control);
	}
	for (uint32_t i = 0; i < (msix->count + 63) / 64; i++)
		vf_write_u64(w, msix->pending[i]);
}

static int damaged(const struct vf_reader *r, const char *what, struct vferry_error *err)
{
	return vferry_error_set(err, -EINVAL, "config-bad", VF_CONFIG_OBJECT,
				"config section: %s, at byte %zu of %zu", what, r->at, r->size);
}

static int decode_msix(struct vf_reader *r, struct vf_config_state *state,
		       struct vferry_error *err)
{
	const struct vf_config_layout *l = &state->layout;
	uint32_t count = vf_read_u16(r), control;
	uint32_t spare = vf_read_u16(r);
	int ret;

	if (r->bad || spare || count != l->msix.count)
		return damaged(r, "not as many MSI-X vectors as the capability says", err);
	ret = vf_msix_init(&state->msix, count);
	if (ret)
		return vferry_error_set(err, ret, "no-memory", VF_CONFIG_OBJECT,
					"no memory for %u MSI-X vectors", count);
	for (uint32_t i = 0; i < count; i++) {
		struct vf_msix_entry *entry = &state->msix.entries[i];

		entry->address = vf_read_u64(r);
		entry->data = vf_read_u32(r);
		entry->control = vf_read_u32(r);
		if (entry->address & 3 || entry->control & ~VF_MSIX_ENTRY_MASKED)
			return damaged(r, "an MSI-X vector has bits of no meaning", err);
	}
	for (uint32_t i = 0; i < (count + 63) / 64; i++) {
		uint32_t last = count - i * 64;

		state->msix.pending[i] = vf_read_u64(r);
		if (last < 64 && state->msix.pending[i] >> last)
			return damaged(r, "a vector that does not exist is pending", err);
	}
	if (!count)
		return 0;
	control = vf_config_get(state, l->msix.offset + VF_PCI_MSIX_CONTROL, 2);
	state->msix.enabled = control & VF_PCI_MSIX_CONTROL_ENABLE;
	state->msix.function_masked = control & VF_PCI_MSIX_CONTROL_MASK;
	return 0;
}

static int decode_bytes(struct vf_reader *r, struct vf_config_state *state,
			struct vferry_error *err)
{
	struct vf_config_region regions[VF_CONFIG_REGIONS];
	uint32_t flags = vf_read_u16(r);
	uint32_t size = vf_read_u32(r);
	const uint8_t *bytes;
	uint32_t msi;
	int ret;

	state->intx_level = flags & STATE_FLAG_INTX;
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++) {
		regions[i].size = vf_read_u64(r);
		regions[i].flags = vf_read_u32(r);
		if (!regions[i].size && regions[i].flags)
			return damaged(r, "a region of no size has flags", err);
	}
	if (r->bad || flags & ~STATE_FLAG_INTX || size > VF_CONFIG_BYTES_MAX)
		return damaged(r, "its head is damaged", err);
	bytes = vf_read_bytes(r, size);
	if (!bytes)
		return damaged(r, "it ends inside the config bytes", err);
	ret = vf_config_layout_parse(bytes, size, regions, &state->layout, err);
	if (ret)
		return ret;
	memcpy(state->bytes, bytes, size);
	if (!state->layout.msi.offset)
		return 0;
	msi = vf_config_get(state, state->layout.msi.offset + VF_PCI_MSI_FLAGS, 2);
	if ((msi & VF_PCI_MSI_FLAGS_ENABLED) >> 4 > (msi & VF_PCI_MSI_FLAGS_CAPABLE) >> 1)
		return damaged(r, "more MSI vectors are allowed than there are", err);
	return 0;
}

int vf_config_state_decode(struct vf_reader *r, struct vf_config_state **ret_state,
			   struct vferry_error *err)
{
	uint16_t version = vf_read_u16(r);
	struct vf_config_state *state;
	int ret;

	if (!r->bad && version != STATE_VERSION)
		return vferry_error_set(err, -EOPNOTSUPP, "config-version", VF_CONFIG_OBJECT,
					"config section version %u, this build knows %u", version,
					STATE_VERSION);
	state = vf_config_state_new();
	if (!state)
		return vferry_error_set(err, -ENOMEM, "no-memory", VF_CONFIG_OBJECT,
					"no memory for a config section");
	ret = decode_bytes(r, state, err);
	if (!ret)
		ret = decode_msix(r, state, err);
	if (!ret && !vf_reader_done(r))
		ret = damaged(r, r->bad ? "it ends too early" : "bytes are left over", err);
	if (ret) {
		vf_config_state_free(state);
		return ret;
	}
	*ret_state = state;
	return 0;
}
