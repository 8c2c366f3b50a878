/* SPDX-License-Identifier: MIT */
/*
 * arm64_vm.h - for tests: a small arm64 VM on the real /dev/kvm, with VGICv3 and ITS, and what its
 * vCPU 0 runs.
 */
#ifndef TESTS_UNIT_ARM64_VM_H
#define TESTS_UNIT_ARM64_VM_H

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arm64_side.h"
#include "kvm/arm64/arm64_internal.h"
#include "vferry_kvm_arm64.h"

#define CPUS		2u
#define RAM_GPA		0x40000000ull
#define RAM_BYTES	0x200000ull
#define OUT_GPA		0x10000000ull	/* nothing is there: a store comes out of KVM_RUN */
#define GICD_GPA	0x08000000ull
#define ITS_GPA		0x08080000ull
#define GICR_GPA	0x080a0000ull

/* ---- a VM ---- */

struct vm {
	int kvm, fd, gic, its;
	int vcpu[CPUS];
	struct kvm_run *run[CPUS];
	size_t run_bytes;
	uint8_t *ram;
	struct vferry_ram *vram;		/* NULL: memory of the test's own */
	struct vferry_kvm_memory *memory;
	struct vferry_kvm_arm64 *arm64;
};

static inline int call(int fd, unsigned long request, void *argument)
{
	int ret = ioctl(fd, request, argument);

	if (ret < 0)
		fail_msg("ioctl 0x%lx: %s", request, strerror(errno));
	return ret;
}

static inline void make_vcpu(struct vm *vm, unsigned n)
{
	struct kvm_vcpu_init init = { 0 };
	void *run;

	vm->run_bytes = (size_t) call(vm->kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	vm->vcpu[n] = call(vm->fd, KVM_CREATE_VCPU, (void *) (uintptr_t) n);
	run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu[n], 0);
	assert_true(run != MAP_FAILED);
	vm->run[n] = run;
	call(vm->fd, KVM_ARM_PREFERRED_TARGET, &init);
	init.features[0] = 1u << KVM_ARM_VCPU_PSCI_0_2 | (n ? 1u << KVM_ARM_VCPU_POWER_OFF : 0);
	call(vm->vcpu[n], KVM_ARM_VCPU_INIT, &init);
}

static inline void set_attr(int fd, uint32_t group, uint64_t number, uint64_t value)
{
	struct kvm_device_attr attr = { .group = group, .attr = number, .addr = (uintptr_t) &value };

	call(fd, KVM_SET_DEVICE_ATTR, &attr);
}

static inline void make_gic(struct vm *vm)
{
	struct kvm_create_device gic = { .type = KVM_DEV_TYPE_ARM_VGIC_V3 };
	struct kvm_create_device its = { .type = KVM_DEV_TYPE_ARM_VGIC_ITS };

	call(vm->fd, KVM_CREATE_DEVICE, &gic);
	call(vm->fd, KVM_CREATE_DEVICE, &its);
	vm->gic = (int) gic.fd;
	vm->its = (int) its.fd;
	set_attr(vm->gic, VF_VGIC_GRP_NR_IRQS, 0, 128);
	set_attr(vm->gic, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_DIST, GICD_GPA);
	set_attr(vm->gic, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_REDIST, GICR_GPA);
	set_attr(vm->its, VF_VGIC_GRP_ADDR, VF_VGIC_ADDR_ITS, ITS_GPA);
	set_attr(vm->gic, VF_VGIC_GRP_CTRL, VF_VGIC_CTRL_INIT, 0);
	set_attr(vm->its, VF_VGIC_GRP_CTRL, VF_VGIC_CTRL_INIT, 0);
}

static inline void make_memory(struct vm *vm)
{
	struct kvm_userspace_memory_region region = { .memory_size = RAM_BYTES,
		.guest_phys_addr = RAM_GPA };

	vm->ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(vm->ram != MAP_FAILED);
	region.userspace_addr = (uintptr_t) vm->ram;
	call(vm->fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static inline void make_tracked_memory(struct vm *vm, enum vferry_kvm_dirty dirty)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_kvm_memory_config config = { .size = sizeof(config), .vm = vm->fd,
		.dirty = dirty, .ring_entries = 1024 };

	assert_int_equal(vferry_ram_new(&vm->vram), 0);
	assert_int_equal(vferry_ram_create_block(vm->vram, "ram", RAM_GPA, RAM_BYTES, 0, &err), 0);
	config.ram = vm->vram;
	if (vferry_kvm_memory_new(&config, &vm->memory, &err))
		fail_msg("%s", err.message);
	vm->ram = vferry_ram_get_block(vm->vram, 0)->host;
}

static inline void make_object(struct vm *vm, enum vferry_kvm_time time)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vferry_kvm_arm64_config config = { .size = sizeof(config), .kvm = vm->kvm,
		.vm = vm->fd, .vcpu = vm->vcpu, .cpu_count = CPUS, .gic = vm->gic, .its = &vm->its,
		.its_count = 1, .time = time };

	if (vferry_kvm_arm64_new(&config, &vm->arm64, &err))
		fail_msg("%s: %s: %s", err.id, err.object, err.message);
}

static inline struct vm *vm_new(enum vferry_kvm_dirty dirty, enum vferry_kvm_time time)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	vm->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	assert_true(vm->kvm >= 0);
	vm->fd = call(vm->kvm, KVM_CREATE_VM, NULL);
	if (dirty == VFERRY_KVM_DIRTY_AUTO)
		make_memory(vm);
	else
		make_tracked_memory(vm, dirty);
	for (unsigned n = 0; n < CPUS; n++) {
		make_vcpu(vm, n);
		if (vm->memory)
			assert_int_equal(vferry_kvm_memory_add_vcpu(vm->memory, vm->vcpu[n], NULL), n);
	}
	make_gic(vm);
	make_object(vm, time);
	return vm;
}

static inline void vm_free(struct vm *vm)
{
	vferry_kvm_arm64_free(vm->arm64);
	if (vm->memory)
		vferry_kvm_memory_free(vm->memory);
	if (vm->vram)
		vferry_ram_free(vm->vram);
	else
		munmap(vm->ram, RAM_BYTES);
	for (unsigned n = 0; n < CPUS; n++) {
		munmap(vm->run[n], vm->run_bytes);
		close(vm->vcpu[n]);
	}
	close(vm->its);
	close(vm->gic);
	close(vm->fd);
	close(vm->kvm);
	free(vm);
}

static inline void set_reg(const struct vm *vm, unsigned n, uint64_t id, uint64_t value)
{
	char name[VF_ARM64_NAME_BYTES];
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t) &value };

	if (ioctl(vm->vcpu[n], KVM_SET_ONE_REG, &reg))
		fail_msg("%s does not take 0x%llx: %s", vf_arm64_reg_name(id, name),
			 (unsigned long long) value, strerror(errno));
}

static inline uint64_t get_reg(const struct vm *vm, unsigned n, uint64_t id)
{
	uint64_t value = 0;
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t) &value };

	call(vm->vcpu[n], KVM_GET_ONE_REG, &reg);
	return value;
}

#define CORE(number)	VF_REG(VF_REG_CORE, VF_REG_SIZE_U64, (number))
#define X(n)		CORE(2u * (n))

/* ---- guests ---- */

static inline void start_at(struct vm *vm, const uint32_t *code, size_t bytes)
{
	memcpy(vm->ram, code, bytes);
	set_reg(vm, 0, CORE(VF_CORE_PC), RAM_GPA);
	set_reg(vm, 0, CORE(VF_CORE_PSTATE), 0x3c5);	/* EL1h, all masked */
	set_reg(vm, 0, X(0), 0);
	set_reg(vm, 0, X(1), OUT_GPA);
}

/* Runs to its next store to OUT_GPA. Return: what it stored. */
static inline uint64_t run_to_out(struct vm *vm)
{
	struct kvm_run *run = vm->run[0];
	uint64_t value = 0;
	int ret;

	do {
		ret = ioctl(vm->vcpu[0], KVM_RUN, 0);
	} while (ret < 0 && errno == EINTR);
	assert_int_equal(ret, 0);
	assert_int_equal(run->exit_reason, KVM_EXIT_MMIO);
	assert_true(run->mmio.is_write);
	assert_int_equal(run->mmio.phys_addr, OUT_GPA);
	memcpy(&value, run->mmio.data, run->mmio.len);
	return value;
}

/* What is still to be done of the store. */
static inline void complete(struct vm *vm)
{
	vm->run[0]->immediate_exit = 1;
	assert_int_equal(ioctl(vm->vcpu[0], KVM_RUN, 0), -1);
	assert_int_equal(errno, EINTR);
	vm->run[0]->immediate_exit = 0;
}

static const uint32_t counter_guest[] = {
	0x91000400,	/* add x0, x0, #1 */
	0xf9000020,	/* str x0, [x1] */
	0x17fffffe,	/* b to the add */
};

static const uint32_t clock_guest[] = {
	0xd5033fdf,	/* isb */
	0xd53be040,	/* mrs x0, cntvct_el0 */
	0xf9000020,	/* str x0, [x1] */
	0x17fffffd,	/* b to the isb */
};

#endif
