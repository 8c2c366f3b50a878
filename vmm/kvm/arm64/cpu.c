/* SPDX-License-Identifier: MIT */
/*
 * cpu.c - the vCPUs of an arm64 machine, as after power-on, and their counter.
 *
 * KVM_ARM_VCPU_INIT makes a vCPU, and again resets it. They are what the host's processor is, with
 * PSCI 0.2 or later; of what has to be asked for (SVE, pointer authentication, PMU) they have
 * nothing, so that a guest can go to as many hosts as there are. Secondaries wait for CPU_ON.
 */
#include <errno.h>
#include <sys/ioctl.h>

#include "guest/boot.h"

#include "arm64.h"

#define NS_PER_S 1000000000ull

/* ID_AA64MMFR2_EL1: bits 43:40, stage 2 can force write-back. */
#define ID_MMFR2	ARM64_SYS_REG(3, 0, 0, 7, 2)
#define ID_MMFR2_FWB(v)	((v) >> 40 & 0xf)

#define CORE_U64(name)	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(name))

static int get_reg(int vcpu, uint64_t id, uint64_t *ret)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uint64_t) (uintptr_t) ret };

	return ioctl(vcpu, KVM_GET_ONE_REG, &reg) < 0 ? -errno : 0;
}

static int set_reg(int vcpu, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uint64_t) (uintptr_t) &value };

	return ioctl(vcpu, KVM_SET_ONE_REG, &reg) < 0 ? -errno : 0;
}

/* ---- as after power-on ---- */

int arm64_cpu_choose(struct kvm_machine *m, struct vferry_error *err)
{
	struct kvm_vcpu_init *init = &m->arch->init;

	if (ioctl(m->vm, KVM_ARM_PREFERRED_TARGET, init) < 0)
		return vferry_error_set(err, -errno, "cpu-setup", "cpu",
					"KVM does not know this host's processor (%s)",
					vferry_errno_name(errno));
	init->features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
	return 0;
}

static int init_vcpu(const struct kvm_vcpu *vcpu, struct vferry_error *err)
{
	struct kvm_vcpu_init init = vcpu->machine->arch->init;

	if (vcpu->id > 0)
		init.features[0] |= 1u << KVM_ARM_VCPU_POWER_OFF;
	if (ioctl(vcpu->fd, KVM_ARM_VCPU_INIT, &init) < 0)
		return vferry_error_set(err, -errno, "cpu-setup", "cpu",
					"vCPU %u cannot be initialised (%s)", vcpu->id,
					vferry_errno_name(errno));
	return 0;
}

int kvm_arch_vcpu(struct kvm_vcpu *vcpu, struct vferry_error *err)
{
	return init_vcpu(vcpu, err);
}

int arm64_cpu_enter_at(struct kvm_machine *m, uint64_t pc, uint64_t x0, struct vferry_error *err)
{
	int r = set_reg(m->vcpu[0].fd, CORE_U64(regs.pc), pc);

	if (r == 0)
		r = set_reg(m->vcpu[0].fd, CORE_U64(regs.regs[0]), x0);
	if (r < 0)
		return vferry_error_set(err, r, "power-on", "cpu", "PC and x0 cannot be set (%s)",
					vferry_errno_name(r));
	return 0;
}

int arm64_cpu_power_on(struct kvm_machine *m, struct vferry_error *err)
{
	int r = 0;

	for (unsigned i = 0; i < m->cpus && r == 0; i++)
		r = init_vcpu(&m->vcpu[i], err);
	return r == 0 ? arm64_cpu_enter_at(m, ARM64_RAM + GUEST_ENTRY_OFFSET, 0, err) : r;
}

/*
 * Device memory of the guest that is RAM of the host's: with FWB its accesses go through the caches,
 * as those of whoever serves the device do. Without it they would pass each other by.
 */
bool arm64_cpu_is_coherent(const struct kvm_machine *m)
{
	uint64_t value;

	return get_reg(m->vcpu[0].fd, ID_MMFR2, &value) == 0 && ID_MMFR2_FWB(value) != 0;
}

/* Before 6.4 user space can't read it, so it stays behind when the machine moves. */
bool arm64_cpu_has_physical_timer(const struct kvm_machine *m)
{
	uint64_t value;

	return get_reg(m->vcpu[0].fd, KVM_REG_ARM_PTIMER_CVAL, &value) == 0;
}

/* ---- the counter ---- */

static uint64_t host_counter(void)
{
	uint64_t value;

	__asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r" (value) : : "memory");
	return value;
}

static uint64_t counter_hz(void)
{
	uint64_t value;

	__asm__("mrs %0, cntfrq_el0" : "=r" (value));
	return value;
}

/* A running vCPU's registers can't be read, but the guest's counter is the host's with an offset. */
void kvm_arch_starting(struct kvm_machine *m, bool paused)
{
	uint64_t guest;

	(void) paused;	/* nothing that could be told */
	if (get_reg(m->vcpu[0].fd, KVM_REG_ARM_TIMER_CNT, &guest) == 0)
		atomic_store(&m->arch->counter_offset, host_counter() - guest);
}

uint64_t kvm_arch_counter_ns(struct kvm_machine *m)
{
	uint64_t ticks = host_counter() - atomic_load(&m->arch->counter_offset);
	uint64_t hz = counter_hz();

	return hz ? ticks / hz * NS_PER_S + ticks % hz * NS_PER_S / hz : 0;
}
