/* SPDX-License-Identifier: MIT */
/* kvm_drills_x86.h - see kvm_drills.h */
#ifndef TESTS_KVM_DRILLS_X86_H
#define TESTS_KVM_DRILLS_X86_H

#define DRILL_MESSAGES	GUEST_X86_VECTORS
#define MESSAGE		0x30u		/* vector of device 0's first message */
#define MESSAGE_GPA	0xfee00000ull
#define MSR_TSC		0x10u
#define MSR_DEADLINE	0x6e0u
#define MSR_KERNEL_GS	0xc0000102u
#define LAPIC_REQUESTS	0x200u		/* 32 vectors in each 16 bytes */

/* ---- interrupts ---- */

static inline struct vferry_irq_route drill_message(unsigned vector)
{
	return (struct vferry_irq_route) { .kind = VFERRY_IRQ_MSI, .address = MESSAGE_GPA,
					   .data = MESSAGE + vector, .requester_id = 1 << 3 };
}

static inline bool drill_drop_interrupt(struct rig *rig)
{
	struct kvm_lapic_state lapic;

	drill_call(rig, KVM_GET_LAPIC, &lapic);
	for (unsigned v = MESSAGE; v < MESSAGE + DRILL_MESSAGES; v++) {
		char *requests = &lapic.regs[LAPIC_REQUESTS + v / 32 * 16 + v % 32 / 8];

		if (!(*requests & 1 << v % 8))
			continue;
		*requests = (char) (*requests & ~(1 << v % 8));
		drill_call(rig, KVM_SET_LAPIC, &lapic);
		return true;
	}
	return false;
}

/* ---- registers ---- */

struct drill_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

static inline uint64_t drill_read_msr(struct rig *rig, uint32_t msr)
{
	struct drill_msr one = { .head.nmsrs = 1, .entry.index = msr };

	drill_call(rig, KVM_GET_MSRS, &one);
	return one.entry.data;
}

static inline void drill_write_msr(struct rig *rig, uint32_t msr, uint64_t value)
{
	struct drill_msr one = { .head.nmsrs = 1, .entry = { .index = msr, .data = value } };

	drill_call(rig, KVM_SET_MSRS, &one);
}

static inline unsigned drill_spoil_vector(struct rig *rig)
{
	struct kvm_xsave xsave;

	drill_call(rig, KVM_GET_XSAVE, &xsave);
	xsave.region[40 + 4 * 3] ^= 0x100;	/* XMM3: 16 bytes each, from byte 160 on */
	drill_call(rig, KVM_SET_XSAVE, &xsave);
	return 3;
}

static inline unsigned drill_spoil_system(struct rig *rig)
{
	drill_write_msr(rig, MSR_KERNEL_GS, drill_read_msr(rig, MSR_KERNEL_GS) ^ 0x1000);
	return MSR_KERNEL_GS;
}

static inline unsigned drill_spoil_debug(struct rig *rig)
{
	struct kvm_debugregs debug;

	drill_call(rig, KVM_GET_DEBUGREGS, &debug);
	debug.db[2] ^= 0x1000;
	drill_call(rig, KVM_SET_DEBUGREGS, &debug);
	return 0x20 + 2;
}

/* ---- time, and the way ---- */

static inline bool drill_drop_timer(struct rig *rig)
{
	bool set = drill_read_msr(rig, MSR_DEADLINE) != 0;

	drill_write_msr(rig, MSR_DEADLINE, 0);
	return set;
}

static inline bool drill_counter_back(struct rig *rig)
{
	uint64_t tsc = drill_read_msr(rig, MSR_TSC);

	drill_write_msr(rig, MSR_TSC, tsc / 2);
	return drill_read_msr(rig, MSR_TSC) < tsc;
}

static inline const char *drill_astray(struct rig *rig)
{
	struct kvm_regs regs;

	drill_call(rig, KVM_GET_REGS, &regs);
	regs.rip = DRILL_NOWHERE;
	drill_call(rig, KVM_SET_REGS, &regs);
	return "exception 14 at 0x7000000000 (0x7000000000)";
}

#endif
