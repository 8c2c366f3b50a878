/* SPDX-License-Identifier: MIT */
/*
 * vferry_kvm_arm64.h - numbers of KVM's interface to arm64 vCPUs and their interrupt controller,
 * under our own names, so that they are at hand on every build host: they live in an architecture's
 * header, and an x86 host has none of them. The comments name the kernel's word and the release it
 * came in. Where the host's headers do define one, tests/unit/test_gic.c and test_kvm_arm64.c
 * compare at compile time.
 */
#ifndef VFERRY_UAPI_KVM_ARM64_H
#define VFERRY_UAPI_KVM_ARM64_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* KVM_CREATE_DEVICE types (KVM_DEV_TYPE_ARM_VGIC_V3, 3.20; KVM_DEV_TYPE_ARM_VGIC_ITS, 4.8) */
#define VF_KVM_DEV_VGIC_V3		7u
#define VF_KVM_DEV_VGIC_ITS		8u

/* Attribute groups (KVM_DEV_ARM_VGIC_GRP_*) */
#define VF_VGIC_GRP_ADDR		0u
#define VF_VGIC_GRP_DIST_REGS		1u
#define VF_VGIC_GRP_CPU_REGS		2u	/* GICv2 only */
#define VF_VGIC_GRP_NR_IRQS		3u
#define VF_VGIC_GRP_CTRL		4u
#define VF_VGIC_GRP_REDIST_REGS		5u	/* 4.11 */
#define VF_VGIC_GRP_CPU_SYSREGS		6u	/* 4.11 */
#define VF_VGIC_GRP_LEVEL_INFO		7u	/* 4.11 */
#define VF_VGIC_GRP_ITS_REGS		8u	/* 4.12 */

/* Group ADDR: which frame (KVM_VGIC_V3_ADDR_TYPE_*, KVM_VGIC_ITS_ADDR_TYPE); the value is a GPA */
#define VF_VGIC_ADDR_DIST		2u
#define VF_VGIC_ADDR_REDIST		3u
#define VF_VGIC_ADDR_ITS		4u
#define VF_VGIC_ADDR_REDIST_REGION	5u	/* 4.18: bits 63:52 count, 51:16 base, 11:0 index */

/* Group CTRL (KVM_DEV_ARM_VGIC_CTRL_INIT and so on); no value */
#define VF_VGIC_CTRL_INIT		0u
#define VF_ITS_SAVE_TABLES		1u	/* 4.12 */
#define VF_ITS_RESTORE_TABLES		2u	/* 4.12 */
#define VF_VGIC_SAVE_PENDING_TABLES	3u	/* 4.12 */
#define VF_ITS_CTRL_RESET		4u	/* 4.14 */

/* Fields of an attribute: bits 63:32 the CPU's affinity as MPIDR packs it, 31:0 the offset */
#define VF_VGIC_MPIDR_SHIFT		32
#define VF_VGIC_OFFSET_MASK		0xffffffffull
#define VF_VGIC_SYSREG_MASK		0xffffull
#define VF_VGIC_LEVEL_INFO_SHIFT	10 /* group LEVEL_INFO: 31:10 what, 9:0 first interrupt */
#define VF_VGIC_LEVEL_INTID_MASK	0x3ffull
#define VF_VGIC_LEVEL_LINE		0u

/* Group CPU_SYSREGS: op0, op1, CRn, CRm, op2 of a system register */
#define VF_SYSREG(op0, op1, crn, crm, op2)                                                         \
	(((op0) &3u) << 14 | ((op1) &7u) << 11 | ((crn) &15u) << 7 | ((crm) &15u) << 3 |           \
	 ((op2) &7u))
#define VF_ICC_PMR_EL1			VF_SYSREG(3u, 0u, 4u, 6u, 0u)
#define VF_ICC_BPR0_EL1			VF_SYSREG(3u, 0u, 12u, 8u, 3u)
#define VF_ICC_AP0R_EL1(n)		VF_SYSREG(3u, 0u, 12u, 8u, 4u | (n))
#define VF_ICC_AP1R_EL1(n)		VF_SYSREG(3u, 0u, 12u, 9u, (n))
#define VF_ICC_BPR1_EL1			VF_SYSREG(3u, 0u, 12u, 12u, 3u)
#define VF_ICC_CTLR_EL1			VF_SYSREG(3u, 0u, 12u, 12u, 4u)
#define VF_ICC_SRE_EL1			VF_SYSREG(3u, 0u, 12u, 12u, 5u)
#define VF_ICC_IGRPEN0_EL1		VF_SYSREG(3u, 0u, 12u, 12u, 6u)
#define VF_ICC_IGRPEN1_EL1		VF_SYSREG(3u, 0u, 12u, 12u, 7u)

/* Routing entries, MSIs, irqfds: the same on every architecture */
#define VF_KVM_ROUTING_IRQCHIP		1u
#define VF_KVM_ROUTING_MSI		2u
#define VF_KVM_MSI_VALID_DEVID		1u	/* 4.8 */
#define VF_KVM_IRQFD_DEASSIGN		1u
#define VF_KVM_IRQFD_RESAMPLE		2u

/* The distributor's registers (offsets into its frame) */
#define VF_GICD_CTLR			0x0000u
#define VF_GICD_TYPER			0x0004u
#define VF_GICD_IIDR			0x0008u
#define VF_GICD_TYPER2			0x000cu
#define VF_GICD_STATUSR			0x0010u
#define VF_GICD_IGROUPR			0x0080u
#define VF_GICD_ISENABLER		0x0100u
#define VF_GICD_ICENABLER		0x0180u
#define VF_GICD_ISPENDR			0x0200u
#define VF_GICD_ICPENDR			0x0280u
#define VF_GICD_ISACTIVER		0x0300u
#define VF_GICD_ICACTIVER		0x0380u
#define VF_GICD_IPRIORITYR		0x0400u
#define VF_GICD_ICFGR			0x0c00u
#define VF_GICD_IROUTER			0x6000u
#define VF_GICD_FRAME_SIZE		0x10000u

/* A redistributor's registers: two frames of 64 KiB, RD_base and SGI_base */
#define VF_GICR_CTLR			0x0000u
#define VF_GICR_IIDR			0x0004u
#define VF_GICR_TYPER			0x0008u
#define VF_GICR_STATUSR			0x0010u
#define VF_GICR_WAKER			0x0014u
#define VF_GICR_PROPBASER		0x0070u
#define VF_GICR_PENDBASER		0x0078u
#define VF_GICR_SGI_BASE		0x10000u
#define VF_GICR_IGROUPR0		0x10080u
#define VF_GICR_ISENABLER0		0x10100u
#define VF_GICR_ICENABLER0		0x10180u
#define VF_GICR_ISPENDR0		0x10200u
#define VF_GICR_ICPENDR0		0x10280u
#define VF_GICR_ISACTIVER0		0x10300u
#define VF_GICR_ICACTIVER0		0x10380u
#define VF_GICR_IPRIORITYR0		0x10400u
#define VF_GICR_ICFGR0			0x10c00u
#define VF_GICR_ICFGR1			0x10c04u
#define VF_GICR_FRAMES_SIZE		0x20000u

/* An ITS's registers: two frames of 64 KiB, control and translation */
#define VF_GITS_CTLR			0x0000u
#define VF_GITS_IIDR			0x0004u
#define VF_GITS_TYPER			0x0008u
#define VF_GITS_CBASER			0x0080u
#define VF_GITS_CWRITER			0x0088u
#define VF_GITS_CREADR			0x0090u
#define VF_GITS_BASER(n)		(0x0100u + 8u * (n))
#define VF_GITS_TRANSLATER		0x10040u
#define VF_GITS_FRAMES_SIZE		0x20000u

/* Capabilities (KVM_CAP_*) */
#define VF_KVM_CAP_ARM_PSCI_0_2		102
#define VF_KVM_CAP_RING_WITH_BITMAP	225	/* DIRTY_LOG_RING_WITH_BITMAP, 6.3 */
#define VF_KVM_CAP_COUNTER_OFFSET	227	/* 6.4 */
#define VF_KVM_CAP_REG_MASK_RANGES	230	/* ARM_SUPPORTED_REG_MASK_RANGES, 6.7 */

/* Ids of KVM_GET_ONE_REG: bits 63:60 the architecture, 55:52 log2 of the bytes, 27:16 what */
#define VF_REG_ARM64			0x6000000000000000ull
#define VF_REG_ARCH_MASK		0xff00000000000000ull
#define VF_REG_SIZE_SHIFT		52
#define VF_REG_SIZE_MASK		0x00f0000000000000ull
#define VF_REG_SIZE_U32			0x0020000000000000ull
#define VF_REG_SIZE_U64			0x0030000000000000ull
#define VF_REG_SIZE_U128		0x0040000000000000ull
#define VF_REG_SIZE_U256		0x0050000000000000ull
#define VF_REG_SIZE_U512		0x0060000000000000ull
#define VF_REG_SIZE_U2048		0x0080000000000000ull
#define VF_REG_KIND_SHIFT		16
#define VF_REG_KIND_MASK		0x000000000fff0000ull
#define VF_REG_NUMBER_MASK		0xffffull
#define VF_REG_CORE			0x0010u	/* number: offset in struct kvm_regs, in words of 32 bits */
#define VF_REG_DEMUX			0x0011u	/* CCSIDR_EL1 of each cache */
#define VF_REG_SYSREG			0x0013u	/* number: as VF_SYSREG() */
#define VF_REG_FIRMWARE			0x0014u	/* KVM_REG_ARM_FW, 4.17 */
#define VF_REG_SVE			0x0015u	/* 5.2 */
#define VF_REG_FIRMWARE_BITMAP		0x0016u	/* KVM_REG_ARM_FW_FEAT_BMAP, 5.19 */

#define VF_REG(kind, size, number)                                                                 \
	(VF_REG_ARM64 | (size) | (__u64) (kind) << VF_REG_KIND_SHIFT | (number))
#define VF_REG_OF_SYSREG(sysreg)	VF_REG(VF_REG_SYSREG, VF_REG_SIZE_U64, (sysreg))
#define VF_REG_PSCI_VERSION		VF_REG(VF_REG_FIRMWARE, VF_REG_SIZE_U64, 0u)
#define VF_REG_SVE_VLS			VF_REG(VF_REG_SVE, VF_REG_SIZE_U512, 0xffffu)
#define VF_REG_SVE_PREG_FIRST		0x400u	/* numbers of the P registers, and of FFR */
#define VF_REG_SVE_FFR_FIRST		0x600u
#define VF_REG_SVE_SLICES		32u	/* numbers for each register */

/* Core registers: x0 to x30, then these */
#define VF_CORE_SP			62u
#define VF_CORE_PC			64u
#define VF_CORE_PSTATE			66u
#define VF_CORE_SP_EL1			68u
#define VF_CORE_ELR_EL1			70u
#define VF_CORE_SPSR			72u	/* five of 64 bits */
#define VF_CORE_VREGS			84u	/* 32 of 128 bits */
#define VF_CORE_FPSR			212u	/* 32 bits */
#define VF_CORE_FPCR			213u

/* System registers that the library knows by name. The kernel has CNTVCT and CNTV_CVAL swapped. */
#define VF_SYSREG_MPIDR_EL1		VF_SYSREG(3u, 0u, 0u, 0u, 5u)
#define VF_SYSREG_ID_AA64PFR1_EL1	VF_SYSREG(3u, 0u, 0u, 4u, 1u)
#define VF_SYSREG_PMCR_EL0		VF_SYSREG(3u, 3u, 9u, 12u, 0u)
#define VF_SYSREG_HCR_EL2		VF_SYSREG(3u, 4u, 1u, 1u, 0u)
#define VF_REG_TIMER_CNT		VF_REG_OF_SYSREG(VF_SYSREG(3u, 3u, 14u, 3u, 2u))
#define VF_REG_PTIMER_CNT		VF_REG_OF_SYSREG(VF_SYSREG(3u, 3u, 14u, 0u, 1u)) /* 6.4 */

/* Attributes of a vCPU (KVM_ARM_VCPU_*); values of 32 bits, but the address */
#define VF_VCPU_GRP_PMU			0u
#define VF_VCPU_PMU_IRQ			0u
#define VF_VCPU_GRP_TIMER		1u
#define VF_VCPU_TIMER_IRQ_VIRTUAL	0u
#define VF_VCPU_TIMER_IRQ_PHYSICAL	1u
#define VF_VCPU_GRP_PVTIME		2u
#define VF_VCPU_PVTIME_IPA		0u

/* Where a vCPU's dirty ring is mapped, in pages: KVM_DIRTY_LOG_PAGE_OFFSET of arm64 (6.3) and x86 */
#define VF_KVM_RING_PAGE_OFFSET		64

/* KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS: struct kvm_vcpu_events of arm64 (4.19) */
struct vf_kvm_arm64_events {
	__u8 serror_pending;
	__u8 serror_has_esr;
	__u8 ext_dabt_pending;	/* reads as 0 */
	__u8 pad[5];
	__u64 serror_esr;
	__u32 reserved[12];
};
#define VF_KVM_GET_VCPU_EVENTS		_IOR(0xae, 0x9f, struct vf_kvm_arm64_events)
#define VF_KVM_SET_VCPU_EVENTS		_IOW(0xae, 0xa0, struct vf_kvm_arm64_events)

/* KVM_ARM_SET_COUNTER_OFFSET (6.4): struct kvm_arm_counter_offset */
struct vf_kvm_counter_offset {
	__u64 counter_offset;
	__u64 reserved;
};
#define VF_KVM_SET_COUNTER_OFFSET	_IOW(0xae, 0xb5, struct vf_kvm_counter_offset)

/* KVM_ARM_GET_REG_WRITABLE_MASKS (6.7): struct reg_mask_range; range 0 is of the ID registers */
#define VF_KVM_MASKS			(3u * 8u * 8u)
#define VF_KVM_MASK_INDEX(op1, crm, op2)                                                           \
	(((op1) == 3u ? 2u : (op1)) << 6 | (crm) << 3 | (op2))
struct vf_kvm_reg_masks {
	__u64 addr;		/* of VF_KVM_MASKS words */
	__u32 range;
	__u32 reserved[13];
};
#define VF_KVM_GET_REG_WRITABLE_MASKS	_IOR(0xae, 0xb6, struct vf_kvm_reg_masks)

/* What the restore of tables and the resolution of an LPI say besides an errno (positive) */
#define VF_ITS_UNMAPPED_INTERRUPT	0x010307

#endif
