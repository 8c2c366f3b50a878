/* SPDX-License-Identifier: MIT */
/*
 * pci_regs.h - the registers of PCI config space that this library knows, by the names of the PCI
 * specifications. Offsets are in bytes; those of a capability count from its first byte.
 */
#ifndef VF_VFIO_PCI_REGS_H
#define VF_VFIO_PCI_REGS_H

/* header, type 0 */
#define VF_PCI_VENDOR		0x00u
#define VF_PCI_DEVICE		0x02u
#define VF_PCI_COMMAND		0x04u
#define VF_PCI_STATUS		0x06u
#define VF_PCI_REVISION		0x08u
#define VF_PCI_CLASS		0x09u	/* three bytes: interface, sub-class, class */
#define VF_PCI_CACHE_LINE	0x0cu
#define VF_PCI_LATENCY		0x0du
#define VF_PCI_HEADER_TYPE	0x0eu
#define VF_PCI_BIST		0x0fu
#define VF_PCI_BAR0		0x10u
#define VF_PCI_CARDBUS_CIS	0x28u
#define VF_PCI_SUBSYS_VENDOR	0x2cu
#define VF_PCI_SUBSYS		0x2eu
#define VF_PCI_ROM		0x30u
#define VF_PCI_CAP_POINTER	0x34u
#define VF_PCI_INT_LINE		0x3cu
#define VF_PCI_INT_PIN		0x3du
#define VF_PCI_MIN_GRANT	0x3eu
#define VF_PCI_MAX_LATENCY	0x3fu
#define VF_PCI_HEADER_END	0x40u
#define VF_PCI_EXT_START	0x100u

#define VF_PCI_COMMAND_IO		0x0001u
#define VF_PCI_COMMAND_MEM		0x0002u
#define VF_PCI_COMMAND_BUS_MASTER	0x0004u
#define VF_PCI_COMMAND_PARITY		0x0040u
#define VF_PCI_COMMAND_SERR		0x0100u
#define VF_PCI_COMMAND_INTX_DISABLE	0x0400u
#define VF_PCI_STATUS_CAP_LIST		0x0010u
#define VF_PCI_STATUS_INTX		0x0008u
#define VF_PCI_HEADER_TYPE_MASK		0x7fu
#define VF_PCI_HEADER_MULTIFUNCTION	0x80u
#define VF_PCI_BAR_IO			0x01u
#define VF_PCI_BAR_TYPE_MASK		0x06u
#define VF_PCI_BAR_TYPE_64		0x04u
#define VF_PCI_BAR_PREFETCH		0x08u
#define VF_PCI_BAR_IO_FLAGS		0x03u
#define VF_PCI_BAR_MEM_FLAGS		0x0fu
#define VF_PCI_ROM_ENABLE		0x01u
#define VF_PCI_ROM_ADDRESS		0xfffff800u

/* capabilities */
#define VF_PCI_CAP_PM		0x01u
#define VF_PCI_CAP_AGP		0x02u
#define VF_PCI_CAP_VPD		0x03u
#define VF_PCI_CAP_SLOT_ID	0x04u
#define VF_PCI_CAP_MSI		0x05u
#define VF_PCI_CAP_HOT_SWAP	0x06u
#define VF_PCI_CAP_PCIX		0x07u
#define VF_PCI_CAP_HT		0x08u
#define VF_PCI_CAP_VENDOR	0x09u
#define VF_PCI_CAP_DEBUG	0x0au
#define VF_PCI_CAP_CRC		0x0bu
#define VF_PCI_CAP_HOTPLUG	0x0cu
#define VF_PCI_CAP_BRIDGE_SSVID	0x0du
#define VF_PCI_CAP_AGP8X	0x0eu
#define VF_PCI_CAP_SECURE	0x0fu
#define VF_PCI_CAP_PCIE		0x10u
#define VF_PCI_CAP_MSIX		0x11u
#define VF_PCI_CAP_SATA		0x12u
#define VF_PCI_CAP_AF		0x13u
#define VF_PCI_CAP_EA		0x14u
#define VF_PCI_CAP_FPB		0x15u

/* power management */
#define VF_PCI_PM_CAPS		2u
#define VF_PCI_PM_CSR		4u
#define VF_PCI_PM_LENGTH	8u
#define VF_PCI_PM_CAPS_D1	0x0200u
#define VF_PCI_PM_CAPS_D2	0x0400u
#define VF_PCI_PM_CAPS_PME	0xf800u
#define VF_PCI_PM_CSR_STATE	0x0003u
#define VF_PCI_PM_CSR_NO_RESET	0x0008u
#define VF_PCI_PM_CSR_PME_ENABLE 0x0100u
#define VF_PCI_PM_CSR_PME_STATUS 0x8000u

#define VF_PCI_VPD_LENGTH	8u

/* MSI */
#define VF_PCI_MSI_FLAGS	2u
#define VF_PCI_MSI_ADDRESS	4u
#define VF_PCI_MSI_ADDRESS_HIGH	8u	/* 64-bit form only */
#define VF_PCI_MSI_DATA_32	8u
#define VF_PCI_MSI_DATA_64	12u
#define VF_PCI_MSI_MASK_32	12u
#define VF_PCI_MSI_MASK_64	16u
#define VF_PCI_MSI_PENDING_32	16u
#define VF_PCI_MSI_PENDING_64	20u
#define VF_PCI_MSI_FLAGS_ENABLE		0x0001u
#define VF_PCI_MSI_FLAGS_CAPABLE	0x000eu	/* log2 of the vectors it can use */
#define VF_PCI_MSI_FLAGS_ENABLED	0x0070u	/* log2 of the vectors the guest allows it */
#define VF_PCI_MSI_FLAGS_64		0x0080u
#define VF_PCI_MSI_FLAGS_MASKABLE	0x0100u

/* MSI-X */
#define VF_PCI_MSIX_CONTROL	2u
#define VF_PCI_MSIX_TABLE	4u
#define VF_PCI_MSIX_PBA		8u
#define VF_PCI_MSIX_LENGTH	12u
#define VF_PCI_MSIX_CONTROL_SIZE	0x07ffu	/* vectors - 1 */
#define VF_PCI_MSIX_CONTROL_MASK	0x4000u
#define VF_PCI_MSIX_CONTROL_ENABLE	0x8000u
#define VF_PCI_MSIX_BIR			0x00000007u

/* PCI Express */
#define VF_PCI_PCIE_FLAGS	0x02u
#define VF_PCI_PCIE_DEVCAP	0x04u
#define VF_PCI_PCIE_DEVCTL	0x08u
#define VF_PCI_PCIE_DEVSTA	0x0au
#define VF_PCI_PCIE_LNKCAP	0x0cu
#define VF_PCI_PCIE_LNKCTL	0x10u
#define VF_PCI_PCIE_LNKSTA	0x12u
#define VF_PCI_PCIE_DEVCAP2	0x24u
#define VF_PCI_PCIE_DEVCTL2	0x28u
#define VF_PCI_PCIE_LENGTH_V1	0x14u
#define VF_PCI_PCIE_LENGTH_V1_RC 0x0cu	/* version 1, integrated endpoint: no link */
#define VF_PCI_PCIE_LENGTH_V2_MIN 0x2cu	/* as far as DevCtl2; all of it is 0x3c */
#define VF_PCI_PCIE_LENGTH_V2	0x3cu
#define VF_PCI_PCIE_FLAGS_VERSION 0x000fu
#define VF_PCI_PCIE_FLAGS_TYPE	0x00f0u
#define VF_PCI_PCIE_DEVCAP_PHANTOM 0x00000018u
#define VF_PCI_PCIE_DEVCAP_FLR	0x10000000u
#define VF_PCI_PCIE_DEVCTL_PHANTOM 0x0200u
#define VF_PCI_PCIE_DEVCTL_FLR	0x8000u
#define VF_PCI_PCIE_DEVCTL2_ARI	0x0020u

/* Advanced Features */
#define VF_PCI_AF_CAPS		3u
#define VF_PCI_AF_CONTROL	4u
#define VF_PCI_AF_STATUS	5u
#define VF_PCI_AF_LENGTH	6u
#define VF_PCI_AF_CAPS_TP	0x01u
#define VF_PCI_AF_CAPS_FLR	0x02u
#define VF_PCI_AF_CONTROL_FLR	0x01u

/* extended capabilities */
#define VF_PCI_EXT_NULL		0x0000u
#define VF_PCI_EXT_AER		0x0001u
#define VF_PCI_EXT_VENDOR	0x000bu
#define VF_PCI_EXT_DVSEC	0x0023u
#define VF_PCI_AER_UNCOR_STATUS	0x04u
#define VF_PCI_AER_UNCOR_MASK	0x08u
#define VF_PCI_AER_UNCOR_SEVER	0x0cu
#define VF_PCI_AER_COR_STATUS	0x10u
#define VF_PCI_AER_COR_MASK	0x14u
#define VF_PCI_AER_CONTROL	0x18u
#define VF_PCI_AER_LENGTH_MIN	0x2cu
#define VF_PCI_EXT_VENDOR_HEADER 4u	/* id 16, revision 4, length 12 */

#endif
