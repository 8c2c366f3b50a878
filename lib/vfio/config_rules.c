/* SPDX-License-Identifier: MIT */
/*
 * config_rules.c - what each register of config space does under a guest, as data.
 *
 * One row a register. Its masks say which of its bits are read from the device, which the guest may
 * change in the view, which of its writes go on to the device, which have to do with interrupts,
 * and which reset the function. The rows follow what vfio-pci does itself, so that a write is
 * either filtered here or there:
 *
 *  - COMMAND's I/O and memory enable are answered from the view, since they decide what the VMM
 *    maps.
 *  - BARs and MSI messages belong to the view but are forwarded too: vfio-pci keeps them to itself,
 *    and devices served from user space want to see them.
 *  - Capabilities nobody here knows are read from the device and not written; vendor specific ones
 *    and bytes that belong to no capability go through both ways.
 */
#include <string.h>

#include "base/checked.h"
#include "vfio/config_internal.h"
#include "vfio/pci_regs.h"

#define COMMAND_VIEW (VF_PCI_COMMAND_IO | VF_PCI_COMMAND_MEM | VF_PCI_COMMAND_INTX_DISABLE)
#define COMMAND_BITS 0x07ffu
#define DEVCTL_FIXED (VF_PCI_PCIE_DEVCTL_FLR | VF_PCI_PCIE_DEVCTL_PHANTOM)
#define DEVCTL_SIZES 0x70e0u	/* MPS and MRRS: as the guest wrote them, whatever the host needs */
#define PM_CSR_DATA 0x7e00u	/* data select and scale */
#define MSI_FLAGS_WRITABLE (VF_PCI_MSI_FLAGS_ENABLE | VF_PCI_MSI_FLAGS_ENABLED)
#define MSIX_WRITABLE (VF_PCI_MSIX_CONTROL_ENABLE | VF_PCI_MSIX_CONTROL_MASK)

static const struct vf_config_rule header_rules[] = {
	{ .name = "vendor", .offset = VF_PCI_VENDOR, .len = 2 },
	{ .name = "device", .offset = VF_PCI_DEVICE, .len = 2 },
	{ .name = "COMMAND", .offset = VF_PCI_COMMAND, .len = 2,
	  .device = 0xffffu & ~COMMAND_VIEW, .writable = COMMAND_BITS, .forward = 0xffff,
	  .interrupt = VF_PCI_COMMAND_INTX_DISABLE },
	{ .name = "STATUS", .offset = VF_PCI_STATUS, .len = 2,
	  .device = 0xffffu & ~VF_PCI_STATUS_CAP_LIST },
	{ .name = "revision", .offset = VF_PCI_REVISION, .len = 1 },
	{ .name = "class", .offset = VF_PCI_CLASS, .len = 3 },
	{ .name = "cache line size", .offset = VF_PCI_CACHE_LINE, .len = 1,
	  .device = 0xff, .writable = 0xff, .forward = 0xff },
	{ .name = "latency timer", .offset = VF_PCI_LATENCY, .len = 1,
	  .device = 0xff, .writable = 0xff, .forward = 0xff },
	{ .name = "header type", .offset = VF_PCI_HEADER_TYPE, .len = 1 },
	{ .name = "BIST", .offset = VF_PCI_BIST, .len = 1, .device = 0xff, .forward = 0xff },
	{ .name = "CardBus CIS", .offset = VF_PCI_CARDBUS_CIS, .len = 4 },
	{ .name = "subsystem vendor", .offset = VF_PCI_SUBSYS_VENDOR, .len = 2 },
	{ .name = "subsystem", .offset = VF_PCI_SUBSYS, .len = 2 },
	{ .name = "capability pointer", .offset = VF_PCI_CAP_POINTER, .len = 1 },
	{ .name = "interrupt line", .offset = VF_PCI_INT_LINE, .len = 1, .writable = 0xff },
	{ .name = "interrupt pin", .offset = VF_PCI_INT_PIN, .len = 1 },
	{ .name = "min grant", .offset = VF_PCI_MIN_GRANT, .len = 1 },
	{ .name = "max latency", .offset = VF_PCI_MAX_LATENCY, .len = 1 },
};

static const char *const bar_names[VF_CONFIG_BARS] = {
	"BAR 0", "BAR 1", "BAR 2", "BAR 3", "BAR 4", "BAR 5",
};

static const struct vf_config_rule pm_rules[] = {
	{ .name = "PM capabilities", .offset = VF_PCI_PM_CAPS, .len = 2 },
	/* PME# never reaches a guest. The low byte alone is forwarded: PME status is not in it. */
	{ .name = "PMCSR", .offset = VF_PCI_PM_CSR, .len = 2, .device = PM_CSR_DATA,
	  .writable = VF_PCI_PM_CSR_STATE, .forward = VF_PCI_PM_CSR_STATE },
	{ .name = "PM data", .offset = 6, .len = 2, .device = 0xffff },
};

static const struct vf_config_rule vpd_rules[] = {
	{ .name = "VPD address", .offset = 2, .len = 2, .device = 0xffff, .forward = 0xffff },
	{ .name = "VPD data", .offset = 4, .len = 4, .device = 0xffffffff, .forward = 0xffffffff },
};

static const struct vf_config_rule msi_common_rules[] = {
	{ .name = "MSI flags", .offset = VF_PCI_MSI_FLAGS, .len = 2,
	  .writable = MSI_FLAGS_WRITABLE, .forward = 0xffff, .interrupt = 0xffff },
	{ .name = "MSI address", .offset = VF_PCI_MSI_ADDRESS, .len = 4,
	  .writable = 0xfffffffc, .forward = 0xffffffff, .interrupt = 0xffffffff },
};

static const struct vf_config_rule msi_32_rules[] = {
	{ .name = "MSI data", .offset = VF_PCI_MSI_DATA_32, .len = 2,
	  .writable = 0xffff, .forward = 0xffff, .interrupt = 0xffff },
};

static const struct vf_config_rule msi_32_mask_rules[] = {
	{ .name = "MSI reserved", .offset = VF_PCI_MSI_DATA_32 + 2, .len = 2 },
	{ .name = "MSI mask", .offset = VF_PCI_MSI_MASK_32, .len = 4, .device = 0xffffffff,
	  .writable = 0xffffffff, .forward = 0xffffffff, .interrupt = 0xffffffff },
	{ .name = "MSI pending", .offset = VF_PCI_MSI_PENDING_32, .len = 4, .device = 0xffffffff,
	  .interrupt = 0xffffffff },
};

static const struct vf_config_rule msi_64_rules[] = {
	{ .name = "MSI address high", .offset = VF_PCI_MSI_ADDRESS_HIGH, .len = 4,
	  .writable = 0xffffffff, .forward = 0xffffffff, .interrupt = 0xffffffff },
	{ .name = "MSI data", .offset = VF_PCI_MSI_DATA_64, .len = 2,
	  .writable = 0xffff, .forward = 0xffff, .interrupt = 0xffff },
};

static const struct vf_config_rule msi_64_mask_rules[] = {
	{ .name = "MSI reserved", .offset = VF_PCI_MSI_DATA_64 + 2, .len = 2 },
	{ .name = "MSI mask", .offset = VF_PCI_MSI_MASK_64, .len = 4, .device = 0xffffffff,
	  .writable = 0xffffffff, .forward = 0xffffffff, .interrupt = 0xffffffff },
	{ .name = "MSI pending", .offset = VF_PCI_MSI_PENDING_64, .len = 4, .device = 0xffffffff,
	  .interrupt = 0xffffffff },
};

static const struct vf_config_rule msix_rules[] = {
	{ .name = "MSI-X control", .offset = VF_PCI_MSIX_CONTROL, .len = 2,
	  .writable = MSIX_WRITABLE, .forward = 0xffff, .interrupt = 0xffff },
	{ .name = "MSI-X table", .offset = VF_PCI_MSIX_TABLE, .len = 4 },
	{ .name = "MSI-X PBA", .offset = VF_PCI_MSIX_PBA, .len = 4 },
};

static const struct vf_config_rule pcie_rules[] = {
	{ .name = "PCIe flags", .offset = VF_PCI_PCIE_FLAGS, .len = 2 },
	{ .name = "DevCap", .offset = VF_PCI_PCIE_DEVCAP, .len = 4 },
	{ .name = "DevCtl", .offset = VF_PCI_PCIE_DEVCTL, .len = 2,
	  .device = 0xffffu & ~(DEVCTL_FIXED | DEVCTL_SIZES), .writable = 0xffffu & ~DEVCTL_FIXED,
	  .forward = 0xffffu & ~VF_PCI_PCIE_DEVCTL_FLR, .flr = VF_PCI_PCIE_DEVCTL_FLR },
	{ .name = "DevSta", .offset = VF_PCI_PCIE_DEVSTA, .len = 2, .device = 0xffff },
};

static const struct vf_config_rule pcie_link_rules[] = {
	{ .name = "LnkCap", .offset = VF_PCI_PCIE_LNKCAP, .len = 4, .device = 0xffffffff },
	{ .name = "LnkCtl", .offset = VF_PCI_PCIE_LNKCTL, .len = 2, .device = 0xffff },
	{ .name = "LnkSta", .offset = VF_PCI_PCIE_LNKSTA, .len = 2, .device = 0xffff },
};

static const struct vf_config_rule pcie_v2_rules[] = {
	{ .name = "DevCap2", .offset = VF_PCI_PCIE_DEVCAP2, .len = 4 },
	{ .name = "DevCtl2", .offset = VF_PCI_PCIE_DEVCTL2, .len = 2,
	  .device = 0xffffu & ~VF_PCI_PCIE_DEVCTL2_ARI,
	  .writable = 0xffffu & ~VF_PCI_PCIE_DEVCTL2_ARI, .forward = 0xffff },
};

static const struct vf_config_rule af_rules[] = {
	{ .name = "AF length", .offset = 2, .len = 1 },
	{ .name = "AF capabilities", .offset = VF_PCI_AF_CAPS, .len = 1 },
	{ .name = "AF control", .offset = VF_PCI_AF_CONTROL, .len = 1,
	  .flr = VF_PCI_AF_CONTROL_FLR },
	{ .name = "AF status", .offset = VF_PCI_AF_STATUS, .len = 1, .device = 0xff },
};

#define AER_READ_WRITE .len = 4, .device = 0xffffffff, .writable = 0xffffffff, .forward = 0xffffffff
#define AER_STATUS .len = 4, .device = 0xffffffff, .forward = 0xffffffff

static const struct vf_config_rule aer_rules[] = {
	{ .name = "AER uncorrectable status", .offset = VF_PCI_AER_UNCOR_STATUS, AER_STATUS },
	{ .name = "AER uncorrectable mask", .offset = VF_PCI_AER_UNCOR_MASK, AER_READ_WRITE },
	{ .name = "AER uncorrectable severity", .offset = VF_PCI_AER_UNCOR_SEVER, AER_READ_WRITE },
	{ .name = "AER correctable status", .offset = VF_PCI_AER_COR_STATUS, AER_STATUS },
	{ .name = "AER correctable mask", .offset = VF_PCI_AER_COR_MASK, AER_READ_WRITE },
	{ .name = "AER control", .offset = VF_PCI_AER_CONTROL, AER_READ_WRITE },
};

uint32_t vf_config_bar_mask(const struct vf_config_layout *layout, unsigned int bar)
{
	const struct vf_config_bar *b = &layout->bars[bar];

	if (bar == VF_CONFIG_ROM)
		return b->size ? (uint32_t) ~(b->size - 1) & VF_PCI_ROM_ADDRESS : 0;
	if (b->size)
		return (uint32_t) ~(b->size - 1) &
		       ~(b->flags & VF_CONFIG_BAR_IO ? VF_PCI_BAR_IO_FLAGS : VF_PCI_BAR_MEM_FLAGS);
	if (bar > 0 && layout->bars[bar - 1].size &&
	    (layout->bars[bar - 1].flags & VF_CONFIG_BAR_64))
		return (uint32_t) (~(layout->bars[bar - 1].size - 1) >> 32);
	return 0;
}

static void each(const struct vf_config_rule *rules, size_t count, const struct vf_config_cap *cap,
		 vf_config_rule_fn fn, void *user)
{
	for (size_t i = 0; i < count; i++)
		fn(user, cap, cap ? cap->offset : 0, &rules[i]);
}

#define EACH(rules) each(rules, VF_ARRAY_COUNT(rules), cap, fn, user)

/* BARs differ from device to device, so their rows are made here. */
static void each_bar(const struct vf_config_layout *layout, vf_config_rule_fn fn, void *user)
{
	for (unsigned int i = 0; i < VF_CONFIG_BARS; i++) {
		uint32_t mask = vf_config_bar_mask(layout, i);
		struct vf_config_rule rule = {
			.name = bar_names[i], .offset = (uint16_t) (VF_PCI_BAR0 + 4 * i), .len = 4,
			.writable = mask, .forward = mask ? 0xffffffff : 0,
		};

		fn(user, NULL, 0, &rule);
	}
	if (layout->bars[VF_CONFIG_ROM].size) {
		struct vf_config_rule rule = {
			.name = "ROM", .offset = VF_PCI_ROM, .len = 4,
			.writable = vf_config_bar_mask(layout, VF_CONFIG_ROM) | VF_PCI_ROM_ENABLE,
			.forward = 0xffffffff,
		};

		fn(user, NULL, 0, &rule);
	}
}

static void each_pcie(const struct vf_config_layout *layout, const struct vf_config_cap *cap,
		      vf_config_rule_fn fn, void *user)
{
	EACH(pcie_rules);
	if (cap->length >= VF_PCI_PCIE_LENGTH_V1)
		EACH(pcie_link_rules);
	if ((layout->pcie.flags & VF_PCI_PCIE_FLAGS_VERSION) >= 2)
		EACH(pcie_v2_rules);
}

static void each_msi(const struct vf_config_layout *layout, const struct vf_config_cap *cap,
		     vf_config_rule_fn fn, void *user)
{
	EACH(msi_common_rules);
	if (layout->msi.is_64) {
		EACH(msi_64_rules);
		if (layout->msi.maskable)
			EACH(msi_64_mask_rules);
	} else {
		EACH(msi_32_rules);
		if (layout->msi.maskable)
			EACH(msi_32_mask_rules);
	}
}

void vf_config_each_rule_of(const struct vf_config_layout *layout, const struct vf_config_cap *cap,
			    vf_config_rule_fn fn, void *user)
{
	if (!cap) {
		EACH(header_rules);
		each_bar(layout, fn, user);
		return;
	}
	/* By offset: of two capabilities of one kind, the first is the one that works. */
	if (cap->extended) {
		if (cap->offset == layout->aer_offset)
			EACH(aer_rules);
		return;
	}
	if (cap->offset == layout->pm.offset)
		EACH(pm_rules);
	else if (cap->offset == layout->msi.offset)
		each_msi(layout, cap, fn, user);
	else if (cap->offset == layout->msix.offset)
		EACH(msix_rules);
	else if (cap->offset == layout->pcie.offset)
		each_pcie(layout, cap, fn, user);
	else if (cap->offset == layout->af.offset)
		EACH(af_rules);
	else if (cap->id == VF_PCI_CAP_VPD)
		EACH(vpd_rules);
}

void vf_config_each_rule(const struct vf_config_layout *layout, vf_config_rule_fn fn, void *user)
{
	vf_config_each_rule_of(layout, NULL, fn, user);
	for (uint32_t i = 0; i < layout->cap_count; i++)
		vf_config_each_rule_of(layout, &layout->caps[i], fn, user);
}

static void apply_rule(void *user, const struct vf_config_cap *cap, uint32_t base,
		       const struct vf_config_rule *rule)
{
	struct vf_config *config = user;

	(void) cap;
	for (uint32_t i = 0; i < rule->len; i++) {
		uint32_t at = base + rule->offset + i;

		config->device[at] = (uint8_t) (rule->device >> (8 * i));
		config->writable[at] = (uint8_t) (rule->writable >> (8 * i));
		config->forward[at] = (uint8_t) (rule->forward >> (8 * i));
		config->interrupt[at] = (uint8_t) (rule->interrupt >> (8 * i));
		config->flr[at] = (uint8_t) (rule->flr >> (8 * i));
	}
}

/* Device's to read; @through: and to write. */
static void set_raw(struct vf_config *config, uint32_t at, uint32_t len, bool through)
{
	memset(config->device + at, 0xff, len);
	memset(config->forward + at, through ? 0xff : 0, len);
}

void vf_config_rules_apply(struct vf_config *config)
{
	const struct vf_config_layout *layout = &config->state.layout;

	set_raw(config, VF_PCI_HEADER_END, layout->size - VF_PCI_HEADER_END, true);
	if (layout->size > VF_PCI_EXT_START) {	/* the first header, even of an empty list */
		memset(config->device + VF_PCI_EXT_START, 0, 4);
		memset(config->forward + VF_PCI_EXT_START, 0, 4);
	}
	for (uint32_t i = 0; i < layout->cap_count; i++) {
		const struct vf_config_cap *cap = &layout->caps[i];
		uint32_t head = cap->extended ? 4 : 2;
		bool vendor = cap->extended ? cap->id == VF_PCI_EXT_VENDOR ||
					      cap->id == VF_PCI_EXT_DVSEC
					    : cap->id == VF_PCI_CAP_VENDOR;

		set_raw(config, cap->offset, cap->length, vendor);
		memset(config->device + cap->offset, 0, head);
		memset(config->forward + cap->offset, 0, head);
	}
	vf_config_each_rule(layout, apply_rule, config);
}
