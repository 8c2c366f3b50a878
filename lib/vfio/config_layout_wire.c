/* SPDX-License-Identifier: MIT */
/*
 * config_layout_wire.c - a layout on the wire, sent at setup so that the destination can compare.
 *
 * Version 1, little-endian:
 *   u16 version, u16 zero, u32 size of config space
 *   u16 vendor, device, subsystem vendor, subsystem
 *   u32 class (24 bits), u8 revision, u8 header type, u8 interrupt pin, u8 zero
 *   7 regions (6 BARs, ROM): u64 size, u32 region flags, u8 BAR flags (all zero if size is)
 *   u16 number of capabilities, each: u16 id, u16 offset, u16 length, u8 version, u8 extended
 *   for each of these capabilities that is in the list (its first), in this order:
 *     PM    u16 capabilities, u8 no soft reset
 *     MSI   u8 vectors, u8 is 64-bit, u8 is maskable
 *     MSI-X u16 vectors, u8 table BAR, u8 PBA BAR, u32 table offset, u32 PBA offset
 *     PCIe  u16 flags, u32 DevCap, u32 DevCap2
 *     AF    u8 capabilities
 * A decoded layout passes the same checks as one parsed from a device.
 */
#include <errno.h>

#include "vfio/config_internal.h"

#define LAYOUT_VERSION 1

static void encode_known(const struct vf_config_layout *layout, struct vf_writer *w)
{
	if (layout->pm.offset) {
		vf_write_u16(w, layout->pm.caps);
		vf_write_u8(w, layout->pm.no_soft_reset);
	}
	if (layout->msi.offset) {
		vf_write_u8(w, layout->msi.count);
		vf_write_u8(w, layout->msi.is_64);
		vf_write_u8(w, layout->msi.maskable);
	}
	if (layout->msix.offset) {
		vf_write_u16(w, layout->msix.count);
		vf_write_u8(w, layout->msix.table_bar);
		vf_write_u8(w, layout->msix.pba_bar);
		vf_write_u32(w, layout->msix.table_offset);
		vf_write_u32(w, layout->msix.pba_offset);
	}
	if (layout->pcie.offset) {
		vf_write_u16(w, layout->pcie.flags);
		vf_write_u32(w, layout->pcie.devcap);
		vf_write_u32(w, layout->pcie.devcap2);
	}
	if (layout->af.offset)
		vf_write_u8(w, layout->af.caps);
}

void vf_config_layout_encode(const struct vf_config_layout *layout, struct vf_writer *w)
{
	vf_write_u16(w, LAYOUT_VERSION);
	vf_write_u16(w, 0);
	vf_write_u32(w, layout->size);
	vf_write_u16(w, layout->vendor);
	vf_write_u16(w, layout->device);
	vf_write_u16(w, layout->subsystem_vendor);
	vf_write_u16(w, layout->subsystem);
	vf_write_u32(w, layout->class_code);
	vf_write_u8(w, layout->revision);
	vf_write_u8(w, layout->header_type);
	vf_write_u8(w, layout->interrupt_pin);
	vf_write_u8(w, 0);
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++) {
		vf_write_u64(w, layout->bars[i].region_size);
		vf_write_u32(w, layout->bars[i].region_flags);
		vf_write_u8(w, layout->bars[i].flags);
	}
	vf_write_u16(w, (uint16_t) layout->cap_count);
	for (uint32_t i = 0; i < layout->cap_count; i++) {
		vf_write_u16(w, layout->caps[i].id);
		vf_write_u16(w, layout->caps[i].offset);
		vf_write_u16(w, layout->caps[i].length);
		vf_write_u8(w, layout->caps[i].version);
		vf_write_u8(w, layout->caps[i].extended);
	}
	encode_known(layout, w);
}

/* Anything but 0 and 1 spoils the reader, as running off its end does. */
static bool read_bool(struct vf_reader *r)
{
	uint8_t value = vf_read_u8(r);

	if (value > 1)
		r->bad = true;
	return value == 1;
}

static void want_zero(struct vf_reader *r, uint32_t value)
{
	if (value)
		r->bad = true;
}

static void decode_head(struct vf_reader *r, struct vf_config_layout *layout)
{
	want_zero(r, vf_read_u16(r));
	layout->size = vf_read_u32(r);
	layout->vendor = vf_read_u16(r);
	layout->device = vf_read_u16(r);
	layout->subsystem_vendor = vf_read_u16(r);
	layout->subsystem = vf_read_u16(r);
	layout->class_code = vf_read_u32(r);
	want_zero(r, layout->class_code >> 24);
	layout->revision = vf_read_u8(r);
	layout->header_type = vf_read_u8(r);
	layout->interrupt_pin = vf_read_u8(r);
	want_zero(r, vf_read_u8(r));
}

static void decode_bars(struct vf_reader *r, struct vf_config_layout *layout)
{
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++) {
		struct vf_config_bar *bar = &layout->bars[i];

		bar->region_size = vf_read_u64(r);
		bar->region_flags = vf_read_u32(r);
		bar->flags = vf_read_u8(r);
		if (!bar->region_size)
			want_zero(r, bar->region_flags | bar->flags);
		if (bar->flags & ~(VF_CONFIG_BAR_IO | VF_CONFIG_BAR_64 | VF_CONFIG_BAR_PREFETCH) ||
		    vf_config_bar_size(bar->region_size, i == VF_CONFIG_ROM, bar->flags,
				       &bar->size))
			r->bad = true;
	}
}

static void decode_caps(struct vf_reader *r, struct vf_config_layout *layout)
{
	uint32_t count = vf_read_u16(r);

	if (count > VF_CONFIG_CAPS_MAX) {
		r->bad = true;
		return;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct vf_config_cap *cap = &layout->caps[i];

		cap->id = vf_read_u16(r);
		cap->offset = vf_read_u16(r);
		cap->length = vf_read_u16(r);
		cap->version = vf_read_u8(r);
		cap->extended = read_bool(r);
		if (cap->extended ? cap->version > 15 : cap->version || cap->id > 255)
			r->bad = true;
	}
	layout->cap_count = count;
}

static void decode_known(struct vf_reader *r, struct vf_config_layout *layout)
{
	vf_config_layout_index(layout);
	if (layout->pm.offset) {
		layout->pm.caps = vf_read_u16(r);
		layout->pm.no_soft_reset = read_bool(r);
	}
	if (layout->msi.offset) {
		layout->msi.count = vf_read_u8(r);
		layout->msi.is_64 = read_bool(r);
		layout->msi.maskable = read_bool(r);
	}
	if (layout->msix.offset) {
		layout->msix.count = vf_read_u16(r);
		layout->msix.table_bar = vf_read_u8(r);
		layout->msix.pba_bar = vf_read_u8(r);
		layout->msix.table_offset = vf_read_u32(r);
		layout->msix.pba_offset = vf_read_u32(r);
	}
	if (layout->pcie.offset) {
		layout->pcie.flags = vf_read_u16(r);
		layout->pcie.devcap = vf_read_u32(r);
		layout->pcie.devcap2 = vf_read_u32(r);
	}
	if (layout->af.offset)
		layout->af.caps = vf_read_u8(r);
}

int vf_config_layout_decode(struct vf_reader *r, struct vf_config_layout *ret_layout,
			    struct vferry_error *err)
{
	struct vf_config_layout layout = { 0 };
	uint16_t version = vf_read_u16(r);
	int ret;

	if (!r->bad && version != LAYOUT_VERSION)
		return vferry_error_set(err, -EOPNOTSUPP, "config-version", VF_CONFIG_OBJECT,
					"layout version %u, this build knows %u", version,
					LAYOUT_VERSION);
	decode_head(r, &layout);
	decode_bars(r, &layout);
	decode_caps(r, &layout);
	if (!r->bad)
		decode_known(r, &layout);
	if (!vf_reader_done(r))
		return vferry_error_set(err, -EINVAL, "config-bad", VF_CONFIG_OBJECT,
					"the layout is damaged at byte %zu of %zu", r->at, r->size);
	ret = vf_config_layout_check(&layout, err);
	if (ret)
		return ret;
	*ret_layout = layout;
	return 0;
}
