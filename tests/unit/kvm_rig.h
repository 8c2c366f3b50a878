/* SPDX-License-Identifier: MIT */
/*
 * kvm_rig.h - for tests: a small x86-64 VM on the real /dev/kvm, and the library's components of it.
 * Tests that use it skip where /dev/kvm can't be opened.
 */
#ifndef TESTS_UNIT_KVM_RIG_H
#define TESTS_UNIT_KVM_RIG_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vferry/kvm.h>

#include "component_side.h"

#define RIG_CPUS	2u
#define RIG_RAM		0x200000u
#define RIG_SKIP	77	/* Meson: the test was skipped */

/* ---- a VM ---- */

struct kvm_rig {
	int kvm, vm;
	int vcpu[RIG_CPUS];
	struct kvm_run *run[RIG_CPUS];
	size_t run_bytes;
	uint8_t *ram;		/* from 0 on; NULL: the test makes its own memory */
};

static inline bool rig_possible(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int version = fd < 0 ? -1 : ioctl(fd, KVM_GET_API_VERSION, 0);

	if (fd < 0)
		printf("/dev/kvm can't be opened: %s\n", strerror(errno));
	else
		close(fd);
	if (fd >= 0 && version != KVM_API_VERSION)
		printf("/dev/kvm is no KVM\n");
	return version == KVM_API_VERSION;
}

static inline int rig_call(int fd, unsigned long request, void *argument)
{
	int ret = ioctl(fd, request, argument);

	if (ret < 0)
		fail_msg("ioctl 0x%lx: %s", request, strerror(errno));
	return ret;
}

static inline void rig_set_cpuid(struct kvm_rig *rig, unsigned n)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));

	cpuid->nent = 256;
	rig_call(rig->kvm, KVM_GET_SUPPORTED_CPUID, cpuid);
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == 1)	/* APIC id */
			cpuid->entries[i].ebx = (cpuid->entries[i].ebx & 0xffffff) | n << 24;
	rig_call(rig->vcpu[n], KVM_SET_CPUID2, cpuid);
	free(cpuid);
}

/* @split: LAPICs in the kernel only. */
static inline void rig_make_vm_of(struct kvm_rig *rig, bool split)
{
	uint64_t identity_map = 0xfffbc000;
	struct kvm_pit_config pit = { 0 };
	struct kvm_enable_cap split_irqchip = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };

	rig->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	assert_true(rig->kvm >= 0);
	rig->vm = rig_call(rig->kvm, KVM_CREATE_VM, NULL);
	rig_call(rig->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity_map);
	assert_int_equal(ioctl(rig->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul), 0);
	if (split) {
		rig_call(rig->vm, KVM_ENABLE_CAP, &split_irqchip);
		return;
	}
	rig_call(rig->vm, KVM_CREATE_IRQCHIP, NULL);
	rig_call(rig->vm, KVM_CREATE_PIT2, &pit);
}

static inline void rig_make_vm(struct kvm_rig *rig)
{
	rig_make_vm_of(rig, false);
}

static inline void rig_make_vcpu(struct kvm_rig *rig, unsigned n)
{
	void *run;

	rig->run_bytes = (size_t) rig_call(rig->kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	rig->vcpu[n] = rig_call(rig->vm, KVM_CREATE_VCPU, (void *) (uintptr_t) n);
	run = mmap(NULL, rig->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, rig->vcpu[n], 0);
	assert_true(run != MAP_FAILED);
	rig->run[n] = run;
}

/* With RIG_RAM bytes of memory from 0 on, in slot 0, and RIG_CPUS vCPUs that have their CPUID. */
static inline struct kvm_rig *rig_new(void)
{
	struct kvm_rig *rig = calloc(1, sizeof(*rig));
	struct kvm_userspace_memory_region region = { .memory_size = RIG_RAM };

	rig_make_vm(rig);
	rig->ram = mmap(NULL, RIG_RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(rig->ram != MAP_FAILED);
	region.userspace_addr = (uintptr_t) rig->ram;
	rig_call(rig->vm, KVM_SET_USER_MEMORY_REGION, &region);
	for (unsigned i = 0; i < RIG_CPUS; i++) {
		rig_make_vcpu(rig, i);
		rig_set_cpuid(rig, i);
	}
	return rig;
}

static inline void rig_free(struct kvm_rig *rig)
{
	for (unsigned i = 0; i < RIG_CPUS; i++) {
		if (!rig->run[i])
			continue;
		munmap(rig->run[i], rig->run_bytes);
		close(rig->vcpu[i]);
	}
	if (rig->ram)
		munmap(rig->ram, RIG_RAM);
	close(rig->vm);
	close(rig->kvm);
	free(rig);
}

static inline struct vferry_kvm_x86_config rig_config(const struct kvm_rig *rig)
{
	return (struct vferry_kvm_x86_config) { .size = sizeof(struct vferry_kvm_x86_config),
		.kvm = rig->kvm, .vm = rig->vm, .vcpu = rig->vcpu, .cpu_count = RIG_CPUS,
		.pit = true };
}

static inline struct vferry_kvm_x86 *rig_x86(const struct kvm_rig *rig)
{
	struct vferry_kvm_x86_config config = rig_config(rig);
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_kvm_x86 *x86 = NULL;

	if (vferry_kvm_x86_new(&config, &x86, &err))
		fail_msg("%s: %s", err.id, err.message);
	return x86;
}

/* Real mode, at @ip of segment 0. */
static inline void rig_start_at(struct kvm_rig *rig, unsigned n, uint16_t ip)
{
	struct kvm_regs regs = { .rip = ip, .rsp = 0x7000, .rflags = 2 };
	struct kvm_mp_state runnable = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct kvm_sregs sregs;

	rig_call(rig->vcpu[n], KVM_GET_SREGS, &sregs);
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	rig_call(rig->vcpu[n], KVM_SET_SREGS, &sregs);
	rig_call(rig->vcpu[n], KVM_SET_REGS, &regs);
	rig_call(rig->vcpu[n], KVM_SET_MP_STATE, &runnable);
}

/* Runs to its next exit, which is an OUT. Return: the byte that it put out. */
static inline uint8_t rig_run_to_out(struct kvm_rig *rig, unsigned n)
{
	struct kvm_run *run = rig->run[n];
	int ret;

	do {
		ret = ioctl(rig->vcpu[n], KVM_RUN, 0);
	} while (ret < 0 && errno == EINTR);
	assert_int_equal(ret, 0);
	assert_int_equal(run->exit_reason, KVM_EXIT_IO);
	return *((uint8_t *) run + run->io.data_offset);
}

/* What is still to be done of the instruction that caused the last exit. */
static inline void rig_complete(struct kvm_rig *rig, unsigned n)
{
	rig->run[n]->immediate_exit = 1;
	assert_int_equal(ioctl(rig->vcpu[n], KVM_RUN, 0), -1);
	assert_int_equal(errno, EINTR);
	rig->run[n]->immediate_exit = 0;
}

/* ---- its components ---- */

static inline struct side side_of(const struct vferry_kvm_x86 *x86)
{
	struct side side = { .count = 0 };

	for (size_t i = 0; i < vferry_kvm_x86_component_count(x86); i++)
		side_add(&side, vferry_kvm_x86_component(x86, i));
	return side;
}

static inline void rig_save(const struct vferry_kvm_x86 *x86, struct side_sections *sections)
{
	static const enum vferry_step_class order[] = { VFERRY_SAVE_CPU, VFERRY_SAVE_CLOCK,
		VFERRY_SAVE_LAPIC, VFERRY_SAVE_IOAPIC };

	side_run_all(side_of(x86), order, COUNT(order), sections);
}

static inline void rig_load(const struct vferry_kvm_x86 *x86, struct side_sections *sections)
{
	static const enum vferry_step_class order[] = { VFERRY_LOAD_CPU_ID, VFERRY_LOAD_CPU_SREGS,
		VFERRY_LOAD_CPU_REGS, VFERRY_LOAD_LAPIC, VFERRY_LOAD_TSC_DEADLINE,
		VFERRY_LOAD_IOAPIC, VFERRY_LOAD_PIT, VFERRY_LOAD_CLOCK };

	side_run_all(side_of(x86), order, COUNT(order), sections);
}

#endif
