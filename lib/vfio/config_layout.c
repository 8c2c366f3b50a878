/* SPDX-License-Identifier: MIT */
/*
 * config_layout.c - reads the layout of a function from the bytes of its config space.
 *
 * The bytes come from a device or from a stream, so nothing in them is believed: each chain is
 * walked with a set of offsets seen, capabilities may neither leave their space nor overlap, and an
 * MSI-X table must lie in a memory BAR that is there.
 */
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "base/checked.h"
#include "vfio/config_internal.h"
#include "vfio/pci_regs.h"

#define BAR_MIN_IO	4u
#define BAR_MIN_MEM	16u
#define BAR_MIN_ROM	2048u
#define BAR_MAX_32	(2ull * VF_GIB)		/* the address needs one writable bit */
#define BAR_MAX_64	(1ull << 62)

static int __attribute__((format(printf, 2, 3))) bad(struct vferry_error *err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void) vferry_error_setv(err, -EINVAL, "config-bad", VF_CONFIG_OBJECT, fmt, args);
	va_end(args);
	return -EINVAL;
}

int vf_config_bar_size(uint64_t region_size, bool rom, uint8_t flags, uint64_t *ret_size)
{
	uint64_t size = rom ? BAR_MIN_ROM : flags & VF_CONFIG_BAR_IO ? BAR_MIN_IO : BAR_MIN_MEM;
	uint64_t max = flags & VF_CONFIG_BAR_64 ? BAR_MAX_64 : BAR_MAX_32;

	if (region_size > max)
		return -EINVAL;
	/* Devices served from user space may have regions of any size; a BAR has a power of 2. */
	while (size < region_size)
		size <<= 1;
	*ret_size = region_size ? size : 0;
	return 0;
}

static int parse_bars(const uint8_t *image, const struct vf_config_region *regions,
		      struct vf_config_layout *layout, struct vferry_error *err)
{
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++) {
		struct vf_config_bar *bar = &layout->bars[i];
		uint32_t reg;

		if (!regions[i].size)
			continue;
		if (i < VF_CONFIG_BARS) {
			reg = vf_get_u32(image + VF_PCI_BAR0 + 4 * i);
			if (reg & VF_PCI_BAR_IO)
				bar->flags = VF_CONFIG_BAR_IO;
			else if ((reg & VF_PCI_BAR_TYPE_MASK) == VF_PCI_BAR_TYPE_64)
				bar->flags = VF_CONFIG_BAR_64;
			else if ((reg & VF_PCI_BAR_TYPE_MASK) == VF_PCI_BAR_TYPE_MASK)
				return bad(err, "BAR %u is of a reserved type (0x%08x)", i, reg);
			if (!(reg & VF_PCI_BAR_IO) && reg & VF_PCI_BAR_PREFETCH)
				bar->flags |= VF_CONFIG_BAR_PREFETCH;
		}
		bar->region_size = regions[i].size;
		bar->region_flags = regions[i].flags;
		if (vf_config_bar_size(bar->region_size, i == VF_CONFIG_ROM, bar->flags,
				       &bar->size))
			return bad(err, "BAR %u of 0x%llx bytes is more than its register can show",
				   i, (unsigned long long) bar->region_size);
	}
	return 0;
}

/* ---- capabilities ---- */

static int add_cap(struct vf_config_layout *layout, struct vf_config_cap cap,
		   struct vferry_error *err)
{
	if (layout->cap_count >= VF_CONFIG_CAPS_MAX)
		return bad(err, "more than %u capabilities", VF_CONFIG_CAPS_MAX);
	layout->caps[layout->cap_count++] = cap;
	return 0;
}

static bool seen_before(const struct vf_config_layout *layout, uint32_t offset)
{
	for (uint32_t i = 0; i < layout->cap_count; i++)
		if (layout->caps[i].offset == offset)
			return true;
	return false;
}

static int walk_standard(const uint8_t *image, struct vf_config_layout *layout,
			 struct vferry_error *err)
{
	uint32_t at;
	int ret;

	if (!(vf_get_u16(image + VF_PCI_STATUS) & VF_PCI_STATUS_CAP_LIST))
		return 0;
	for (at = image[VF_PCI_CAP_POINTER] & ~3u; at; at = image[at + 1] & ~3u) {
		if (at < VF_PCI_HEADER_END)
			return bad(err, "a capability pointer leads into the header (0x%02x)", at);
		if (seen_before(layout, at))
			return bad(err, "the capability list loops at 0x%02x", at);
		if (image[at] == 0xff)
			return bad(err, "there is no capability at 0x%02x", at);
		ret = add_cap(layout, (struct vf_config_cap) { .id = image[at],
							       .offset = (uint16_t) at }, err);
		if (ret)
			return ret;
	}
	return 0;
}

static int walk_extended(const uint8_t *image, struct vf_config_layout *layout,
			 struct vferry_error *err)
{
	uint32_t at = VF_PCI_EXT_START;
	uint32_t header;
	int ret;

	if (layout->size <= VF_PCI_EXT_START)
		return 0;
	header = vf_get_u32(image + at);
	if (!header || header == 0xffffffffu)	/* none; or a bus that has no extended space */
		return 0;
	for (; at; at = header >> 20 & ~3u) {
		if (at < VF_PCI_EXT_START)
			return bad(err, "an extended capability pointer leads below 0x100 (0x%03x)",
				   at);
		if (seen_before(layout, at))
			return bad(err, "the extended capability list loops at 0x%03x", at);
		header = vf_get_u32(image + at);
		if (header == 0xffffffffu)
			return bad(err, "there is no extended capability at 0x%03x", at);
		ret = add_cap(layout, (struct vf_config_cap) { .id = (uint16_t) header,
							       .offset = (uint16_t) at,
							       .version = header >> 16 & 0xf,
							       .extended = true }, err);
		if (ret)
			return ret;
	}
	return 0;
}

/* Bytes from a capability to the next by address, or to the end of its space. */
static uint32_t room_of(const struct vf_config_layout *layout, const struct vf_config_cap *cap)
{
	uint32_t end = cap->extended ? layout->size : VF_PCI_EXT_START;

	for (uint32_t i = 0; i < layout->cap_count; i++) {
		uint32_t other = layout->caps[i].offset;

		if (other > cap->offset && other < end)
			end = other;
	}
	return end - cap->offset;
}

static uint32_t msi_length(bool is_64, bool maskable)
{
	return 10u + (is_64 ? 4u : 0) + (maskable ? 10u : 0);
}

static uint32_t pcie_length(uint16_t flags, uint32_t room)
{
	bool integrated = (flags & VF_PCI_PCIE_FLAGS_TYPE) >> 4 == 9;

	if ((flags & VF_PCI_PCIE_FLAGS_VERSION) < 2)
		return integrated ? VF_PCI_PCIE_LENGTH_V1_RC : VF_PCI_PCIE_LENGTH_V1;
	if (room >= VF_PCI_PCIE_LENGTH_V2)
		return VF_PCI_PCIE_LENGTH_V2;
	return room >= VF_PCI_PCIE_LENGTH_V2_MIN ? room : VF_PCI_PCIE_LENGTH_V2_MIN;
}

/* Length as the bytes tell it; 0 = they don't. The first four bytes are always there to be read. */
static uint32_t told_length(const uint8_t *image, const struct vf_config_cap *cap, uint32_t room)
{
	const uint8_t *p = image + cap->offset;
	uint32_t len;

	if (cap->extended) {
		if ((cap->id == VF_PCI_EXT_VENDOR || cap->id == VF_PCI_EXT_DVSEC) && room >= 8) {
			len = vf_get_u32(p + VF_PCI_EXT_VENDOR_HEADER) >> 20;
			return len >= 8 ? len : 0;
		}
		return 0;
	}
	switch (cap->id) {
	case VF_PCI_CAP_PM:
		return VF_PCI_PM_LENGTH;
	case VF_PCI_CAP_VPD:
		return VF_PCI_VPD_LENGTH;
	case VF_PCI_CAP_MSI:
		return msi_length(vf_get_u16(p + VF_PCI_MSI_FLAGS) & VF_PCI_MSI_FLAGS_64,
				  vf_get_u16(p + VF_PCI_MSI_FLAGS) & VF_PCI_MSI_FLAGS_MASKABLE);
	case VF_PCI_CAP_MSIX:
		return VF_PCI_MSIX_LENGTH;
	case VF_PCI_CAP_AF:
		return VF_PCI_AF_LENGTH;
	case VF_PCI_CAP_PCIE:
		return pcie_length(vf_get_u16(p + VF_PCI_PCIE_FLAGS), room);
	case VF_PCI_CAP_VENDOR:
		return p[2] >= 3 ? p[2] : 0;
	default:
		return 0;
	}
}

bool vf_config_cap_length_known(const struct vf_config_cap *cap)
{
	if (cap->extended)
		return cap->id == VF_PCI_EXT_VENDOR || cap->id == VF_PCI_EXT_DVSEC;
	return cap->id == VF_PCI_CAP_MSI || cap->id == VF_PCI_CAP_PCIE ||
	       cap->id == VF_PCI_CAP_VENDOR;
}

static int measure_caps(const uint8_t *image, struct vf_config_layout *layout,
			struct vferry_error *err)
{
	for (uint32_t i = 0; i < layout->cap_count; i++) {
		struct vf_config_cap *cap = &layout->caps[i];
		uint32_t room = room_of(layout, cap);
		uint32_t len = told_length(image, cap, room);

		if (!len)
			len = room;
		if (len > room)
			return bad(err, "capability %s at 0x%03x: %u bytes long, room for %u",
				   vf_config_cap_name(cap->extended, cap->id), cap->offset, len,
				   room);
		cap->length = (uint16_t) len;
	}
	return 0;
}

void vf_config_layout_index(struct vf_config_layout *layout)
{
	static const struct { uint16_t id; bool extended; size_t member; } wanted[] = {
		{ VF_PCI_CAP_PM, false, offsetof(struct vf_config_layout, pm.offset) },
		{ VF_PCI_CAP_MSI, false, offsetof(struct vf_config_layout, msi.offset) },
		{ VF_PCI_CAP_MSIX, false, offsetof(struct vf_config_layout, msix.offset) },
		{ VF_PCI_CAP_PCIE, false, offsetof(struct vf_config_layout, pcie.offset) },
		{ VF_PCI_CAP_AF, false, offsetof(struct vf_config_layout, af.offset) },
		{ VF_PCI_EXT_AER, true, offsetof(struct vf_config_layout, aer_offset) },
	};

	for (size_t i = 0; i < VF_ARRAY_COUNT(wanted); i++) {
		int at = vf_config_find_cap(layout, wanted[i].extended, wanted[i].id);
		uint16_t offset = at < 0 ? 0 : layout->caps[at].offset;

		memcpy((uint8_t *) layout + wanted[i].member, &offset, sizeof(offset));
	}
}

/* The registers of the capabilities that the library works with. */
static void parse_known(const uint8_t *image, struct vf_config_layout *layout)
{
	const uint8_t *p;
	uint16_t flags;

	vf_config_layout_index(layout);
	if (layout->pm.offset) {
		p = image + layout->pm.offset;
		/* A guest never gets PME#, so whether the host's slot has it is no difference. */
		layout->pm.caps = vf_get_u16(p + VF_PCI_PM_CAPS) & (uint16_t) ~VF_PCI_PM_CAPS_PME;
		layout->pm.no_soft_reset = vf_get_u16(p + VF_PCI_PM_CSR) & VF_PCI_PM_CSR_NO_RESET;
	}
	if (layout->msi.offset) {
		flags = vf_get_u16(image + layout->msi.offset + VF_PCI_MSI_FLAGS);
		layout->msi.count = (uint8_t) (1u << ((flags & VF_PCI_MSI_FLAGS_CAPABLE) >> 1));
		layout->msi.is_64 = flags & VF_PCI_MSI_FLAGS_64;
		layout->msi.maskable = flags & VF_PCI_MSI_FLAGS_MASKABLE;
	}
	if (layout->msix.offset) {
		uint32_t table, pba;

		p = image + layout->msix.offset;
		table = vf_get_u32(p + VF_PCI_MSIX_TABLE);
		pba = vf_get_u32(p + VF_PCI_MSIX_PBA);
		layout->msix.count = (uint16_t) ((vf_get_u16(p + VF_PCI_MSIX_CONTROL) &
						  VF_PCI_MSIX_CONTROL_SIZE) + 1);
		layout->msix.table_bar = table & VF_PCI_MSIX_BIR;
		layout->msix.table_offset = table & ~VF_PCI_MSIX_BIR;
		layout->msix.pba_bar = pba & VF_PCI_MSIX_BIR;
		layout->msix.pba_offset = pba & ~VF_PCI_MSIX_BIR;
	}
	if (layout->pcie.offset) {
		p = image + layout->pcie.offset;
		layout->pcie.flags = vf_get_u16(p + VF_PCI_PCIE_FLAGS);
		layout->pcie.devcap = vf_get_u32(p + VF_PCI_PCIE_DEVCAP);
		if ((layout->pcie.flags & VF_PCI_PCIE_FLAGS_VERSION) >= 2)
			layout->pcie.devcap2 = vf_get_u32(p + VF_PCI_PCIE_DEVCAP2);
	}
	if (layout->af.offset)
		layout->af.caps = image[layout->af.offset + VF_PCI_AF_CAPS];
}

/* ---- checks ---- */

static int check_bars(const struct vf_config_layout *layout, struct vferry_error *err)
{
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++) {
		const struct vf_config_bar *bar = &layout->bars[i];

		if (bar->region_flags & ~(VF_CONFIG_REGION_READ | VF_CONFIG_REGION_WRITE |
					  VF_CONFIG_REGION_MMAP))
			return bad(err, "BAR %u has region flags of no meaning (0x%x)", i,
				   bar->region_flags);
		if (!bar->size)
			continue;
		if (i == VF_CONFIG_ROM && bar->flags)
			return bad(err, "the ROM has the flags of a BAR");
		if ((bar->flags & VF_CONFIG_BAR_IO) && bar->flags != VF_CONFIG_BAR_IO)
			return bad(err, "BAR %u is both I/O and memory", i);
		if (!(bar->flags & VF_CONFIG_BAR_64))
			continue;
		if (i + 1 >= VF_CONFIG_BARS)
			return bad(err, "BAR %u is 64 bits wide but is the last", i);
		if (layout->bars[i + 1].region_size)
			return bad(err, "BAR %u is a region, but the upper half of BAR %u too",
				   i + 1, i);
	}
	return 0;
}

/* What a capability must at least have for its registers to be inside it. */
static uint32_t min_length(const struct vf_config_layout *layout, const struct vf_config_cap *cap)
{
	if (cap->extended)
		return cap->offset == layout->aer_offset ? VF_PCI_AER_LENGTH_MIN : 4;
	if (cap->offset == layout->pm.offset)
		return VF_PCI_PM_LENGTH;
	if (cap->offset == layout->msi.offset)
		return msi_length(layout->msi.is_64, layout->msi.maskable);
	if (cap->offset == layout->msix.offset)
		return VF_PCI_MSIX_LENGTH;
	if (cap->offset == layout->pcie.offset)
		return pcie_length(layout->pcie.flags, cap->length);
	if (cap->offset == layout->af.offset)
		return VF_PCI_AF_LENGTH;
	return 2;
}

static int check_caps(const struct vf_config_layout *layout, struct vferry_error *err)
{
	for (uint32_t i = 0; i < layout->cap_count; i++) {
		const struct vf_config_cap *cap = &layout->caps[i];
		uint32_t start = cap->extended ? VF_PCI_EXT_START : VF_PCI_HEADER_END;
		uint32_t end = cap->extended ? layout->size : VF_PCI_EXT_START;

		if (cap->offset % 4 || cap->offset < start ||
		    cap->length < min_length(layout, cap) ||
		    !vf_range_in(cap->offset, cap->length, end))
			return bad(err, "capability %s at 0x%03x, %u bytes, is out of place",
				   vf_config_cap_name(cap->extended, cap->id), cap->offset,
				   cap->length);
		for (uint32_t k = 0; k < i; k++) {
			const struct vf_config_cap *other = &layout->caps[k];

			if (cap->offset < other->offset + other->length &&
			    other->offset < cap->offset + cap->length)
				return bad(err, "capabilities overlap at 0x%03x and 0x%03x",
					   other->offset, cap->offset);
		}
	}
	return 0;
}

static int check_msix_part(const struct vf_config_layout *layout, const char *what, uint8_t bir,
			   uint32_t offset, uint32_t len, struct vferry_error *err)
{
	const struct vf_config_bar *bar;

	if (bir >= VF_CONFIG_BARS)
		return bad(err, "the MSI-X %s is in BAR %u, which does not exist", what, bir);
	bar = &layout->bars[bir];
	if (!bar->size || (bar->flags & VF_CONFIG_BAR_IO))
		return bad(err, "the MSI-X %s is in BAR %u, which is no memory", what, bir);
	if (offset % 8 || !vf_range_in(offset, len, bar->size))
		return bad(err, "the MSI-X %s, 0x%x bytes at 0x%x, is not inside BAR %u", what, len,
			   offset, bir);
	return 0;
}

static int check_interrupts(const struct vf_config_layout *layout, struct vferry_error *err)
{
	uint32_t table_len = layout->msix.count * VF_MSIX_ENTRY_BYTES;
	uint32_t pba_len = (layout->msix.count + 63u) / 64 * 8;
	uint64_t table = layout->msix.table_offset, pba = layout->msix.pba_offset;
	int ret;

	if (layout->interrupt_pin > 4)
		return bad(err, "interrupt pin %u does not exist", layout->interrupt_pin);
	if (layout->msi.offset && (!vf_is_pow2(layout->msi.count) || layout->msi.count > 32))
		return bad(err, "MSI cannot have %u vectors", layout->msi.count);
	if (!layout->msix.offset)
		return 0;
	if (!layout->msix.count || layout->msix.count > VF_MSIX_VECTORS_MAX)
		return bad(err, "MSI-X cannot have %u vectors", layout->msix.count);
	ret = check_msix_part(layout, "table", layout->msix.table_bar, layout->msix.table_offset,
			      table_len, err);
	if (!ret)
		ret = check_msix_part(layout, "PBA", layout->msix.pba_bar, layout->msix.pba_offset,
				      pba_len, err);
	if (ret)
		return ret;
	if (layout->msix.table_bar == layout->msix.pba_bar && table < pba + pba_len &&
	    pba < table + table_len)
		return bad(err, "the MSI-X table and PBA overlap in BAR %u",
			   layout->msix.table_bar);
	return 0;
}

int vf_config_layout_check(const struct vf_config_layout *layout, struct vferry_error *err)
{
	int ret;

	if (layout->size != VF_CONFIG_BYTES_PCI && layout->size != VF_CONFIG_BYTES_MAX)
		return bad(err, "config space of %u bytes, not 256 or 4096", layout->size);
	if (layout->vendor == 0xffff)
		return bad(err, "no device answers (vendor 0xffff)");
	if (layout->header_type)
		return vferry_error_set(err, -EOPNOTSUPP, "config-header-type", VF_CONFIG_OBJECT,
					"header type %u: only endpoints (type 0) can be migrated",
					layout->header_type);
	ret = check_bars(layout, err);
	if (!ret)
		ret = check_caps(layout, err);
	if (!ret)
		ret = check_interrupts(layout, err);
	return ret;
}

int vf_config_layout_parse(const uint8_t *image, size_t size,
			   const struct vf_config_region regions[VF_CONFIG_REGIONS],
			   struct vf_config_layout *ret_layout, struct vferry_error *err)
{
	struct vf_config_layout layout = { 0 };
	int ret;

	if (size != VF_CONFIG_BYTES_PCI && size != VF_CONFIG_BYTES_MAX)
		return bad(err, "config space of %zu bytes, not 256 or 4096", size);
	layout.size = (uint32_t) size;
	layout.vendor = vf_get_u16(image + VF_PCI_VENDOR);
	layout.device = vf_get_u16(image + VF_PCI_DEVICE);
	layout.revision = image[VF_PCI_REVISION];
	layout.class_code = vf_get_u32(image + VF_PCI_REVISION) >> 8;
	layout.header_type = image[VF_PCI_HEADER_TYPE] & VF_PCI_HEADER_TYPE_MASK;
	layout.subsystem_vendor = vf_get_u16(image + VF_PCI_SUBSYS_VENDOR);
	layout.subsystem = vf_get_u16(image + VF_PCI_SUBSYS);
	layout.interrupt_pin = image[VF_PCI_INT_PIN];
	/* What follows means something in a type 0 header only. */
	if (layout.vendor == 0xffff || layout.header_type)
		return vf_config_layout_check(&layout, err);
	ret = parse_bars(image, regions, &layout, err);
	if (!ret)
		ret = walk_standard(image, &layout, err);
	if (!ret)
		ret = walk_extended(image, &layout, err);
	if (!ret)
		ret = measure_caps(image, &layout, err);
	if (ret)
		return ret;
	parse_known(image, &layout);
	ret = vf_config_layout_check(&layout, err);
	if (ret)
		return ret;
	*ret_layout = layout;
	return 0;
}

int vf_config_find_cap(const struct vf_config_layout *layout, bool extended, uint16_t id)
{
	for (uint32_t i = 0; i < layout->cap_count; i++)
		if (layout->caps[i].extended == extended && layout->caps[i].id == id)
			return (int) i;
	return -ENOENT;
}

const char *vf_config_cap_name(bool extended, uint16_t id)
{
	static const char *const standard[] = {
		[VF_PCI_CAP_PM] = "PM", [VF_PCI_CAP_AGP] = "AGP", [VF_PCI_CAP_VPD] = "VPD",
		[VF_PCI_CAP_SLOT_ID] = "slot ID", [VF_PCI_CAP_MSI] = "MSI",
		[VF_PCI_CAP_HOT_SWAP] = "CompactPCI hot swap", [VF_PCI_CAP_PCIX] = "PCI-X",
		[VF_PCI_CAP_HT] = "HyperTransport", [VF_PCI_CAP_VENDOR] = "vendor specific",
		[VF_PCI_CAP_DEBUG] = "debug port", [VF_PCI_CAP_CRC] = "CompactPCI resource control",
		[VF_PCI_CAP_HOTPLUG] = "hot-plug", [VF_PCI_CAP_BRIDGE_SSVID] = "bridge subsystem",
		[VF_PCI_CAP_AGP8X] = "AGP 8x", [VF_PCI_CAP_SECURE] = "secure device",
		[VF_PCI_CAP_PCIE] = "PCI Express", [VF_PCI_CAP_MSIX] = "MSI-X",
		[VF_PCI_CAP_SATA] = "SATA", [VF_PCI_CAP_AF] = "AF", [VF_PCI_CAP_EA] = "EA",
		[VF_PCI_CAP_FPB] = "FPB",
	};
	static const char *const ext[] = {
		[0x00] = "null", [0x01] = "AER", [0x02] = "VC", [0x03] = "serial number",
		[0x04] = "power budgeting", [0x08] = "MFVC", [0x09] = "VC (with MFVC)",
		[0x0a] = "RCRB", [0x0b] = "vendor specific", [0x0d] = "ACS", [0x0e] = "ARI",
		[0x0f] = "ATS", [0x10] = "SR-IOV", [0x11] = "MR-IOV", [0x12] = "multicast",
		[0x13] = "PRI", [0x15] = "resizable BAR", [0x16] = "DPA", [0x17] = "TPH",
		[0x18] = "LTR", [0x19] = "secondary PCI Express", [0x1b] = "PASID",
		[0x1d] = "DPC", [0x1e] = "L1 PM substates", [0x1f] = "PTM", [0x23] = "DVSEC",
		[0x24] = "VF resizable BAR", [0x25] = "data link feature",
		[0x26] = "physical layer 16 GT/s", [0x27] = "lane margining",
		[0x2a] = "physical layer 32 GT/s", [0x2e] = "DOE",
	};
	const char *name = NULL;

	if (extended && id < VF_ARRAY_COUNT(ext))
		name = ext[id];
	else if (!extended && id < VF_ARRAY_COUNT(standard))
		name = standard[id];
	return name ? name : "unknown";
}
