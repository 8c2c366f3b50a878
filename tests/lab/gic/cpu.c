/* SPDX-License-Identifier: MIT */
/* cpu.c - vCPUs of a real VM: the guest carries out one thing at a time, or spins. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kvm.h"

#define DONE_AT		0x0a000000ull	/* nothing is there: the store comes out of KVM_RUN */
#define FLAG_AT		(CODE_BASE + 0x8000)
#define WAIT_MS		10000
#define PSTATE_MASKED	0x3c5ull	/* EL1h, all interrupts masked */

extern const uint8_t guest_start[], guest_end[];
extern const uint8_t guest_load8[], guest_load32[], guest_load64[];
extern const uint8_t guest_store8[], guest_store32[], guest_store64[];
extern const uint8_t guest_ack[], guest_eoi[], guest_spin[];
extern const uint8_t guest_icc_pmr[], guest_icc_igrpen1[], guest_icc_ctlr[];

static const uint8_t *const routines[] = {
	[GUEST_LOAD8] = guest_load8,
	[GUEST_LOAD32] = guest_load32,
	[GUEST_LOAD64] = guest_load64,
	[GUEST_STORE8] = guest_store8,
	[GUEST_STORE32] = guest_store32,
	[GUEST_STORE64] = guest_store64,
	[GUEST_ACK] = guest_ack,
	[GUEST_EOI] = guest_eoi,
	[GUEST_ICC_PMR] = guest_icc_pmr,
	[GUEST_ICC_IGRPEN1] = guest_icc_igrpen1,
	[GUEST_ICC_CTLR] = guest_icc_ctlr,
};

/* --- registers --- */

static int set_one_reg(int fd, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t) &value };

	return ioctl(fd, KVM_SET_ONE_REG, &reg) ? -errno : 0;
}

static uint64_t core_reg(size_t offset)
{
	return KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | offset / sizeof(uint32_t);
}

static int set_registers(int fd, const uint8_t *routine, uint64_t x0, uint64_t x1)
{
	int ret = set_one_reg(fd, core_reg(offsetof(struct kvm_regs, regs.pc)),
			      CODE_BASE + (uint64_t) (routine - guest_start));

	if (!ret)
		ret = set_one_reg(fd, core_reg(offsetof(struct kvm_regs, regs.regs[0])), x0);
	if (!ret)
		ret = set_one_reg(fd, core_reg(offsetof(struct kvm_regs, regs.regs[1])), x1);
	if (!ret)
		ret = set_one_reg(fd, core_reg(offsetof(struct kvm_regs, regs.regs[28])), DONE_AT);
	if (!ret)
		ret = set_one_reg(fd, core_reg(offsetof(struct kvm_regs, regs.pstate)),
				  PSTATE_MASKED);
	return ret;
}

int kvm_cpu_mpidr(void *opaque, unsigned int cpu, uint64_t mpidr)
{
	struct kvm_vm *vm = opaque;

	if (cpu >= vm->cpu_count)
		return -EINVAL;
	return set_one_reg(vm->cpus[cpu].fd, ARM64_SYS_REG(3, 0, 0, 0, 5), mpidr);
}

/* --- creation --- */

void kvm_guest_install(struct kvm_vm *vm)
{
	memcpy(vm->code, guest_start, (size_t) (guest_end - guest_start));
}

static void wake(int signal)
{
	(void) signal;
}

int kvm_cpu_create(void *opaque)
{
	struct kvm_vm *vm = opaque;
	struct sigaction action = { .sa_handler = wake };
	struct kvm_vcpu_init init = { 0 };
	struct kvm_cpu *cpu = &vm->cpus[vm->cpu_count];

	if (vm->cpu_count == KVM_CPUS)
		return -E2BIG;
	*cpu = (struct kvm_cpu) { .faults = -1 };
	cpu->fd = ioctl(vm->fd, KVM_CREATE_VCPU, vm->cpu_count);
	if (cpu->fd < 0)
		return -errno;
	cpu->run = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
	if (cpu->run == MAP_FAILED || ioctl(vm->fd, KVM_ARM_PREFERRED_TARGET, &init))
		goto fail;
	init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
	if (ioctl(cpu->fd, KVM_ARM_VCPU_INIT, &init))
		goto fail;
	(void) sigaction(SIGUSR1, &action, NULL);
	(void) sigaction(SIGALRM, &action, NULL);
	vm->cpu_count++;
	return 0;
fail:
	close(cpu->fd);
	return -EIO;
}

/* --- one thing at a time --- */

/* What an exit to us began is completed by the next KVM_RUN, before it looks at immediate_exit. */
static void complete_exit(struct kvm_cpu *cpu)
{
	cpu->run->immediate_exit = 1;
	(void) ioctl(cpu->fd, KVM_RUN, 0);
	cpu->run->immediate_exit = 0;
}

static int run_until_done(struct kvm_cpu *cpu, uint64_t *ret)
{
	int err = 0;

	(void) alarm(WAIT_MS / 1000);
	if (ioctl(cpu->fd, KVM_RUN, 0)) {
		err = errno == EINTR ? -ETIMEDOUT : -errno;
	} else if (cpu->run->exit_reason != KVM_EXIT_MMIO) {
		err = -EIO;
	} else {
		if (cpu->run->mmio.phys_addr != DONE_AT)
			err = -EFAULT;
		else
			memcpy(ret, cpu->run->mmio.data, sizeof(*ret));
		complete_exit(cpu);
	}
	(void) alarm(0);
	return err;
}

int kvm_cpu_does(struct kvm_vm *vm, unsigned int index, enum guest_does what, uint64_t x0,
		 uint64_t x1, uint64_t *ret)
{
	struct kvm_cpu *cpu = &vm->cpus[index];
	bool spins;
	uint64_t ignored;
	int err;

	if (index >= vm->cpu_count)
		return -EINVAL;
	spins = cpu->state == CPU_SPINS;
	err = spins ? kvm_cpu_leave(vm, index) : 0;
	if (!err)
		err = set_registers(cpu->fd, routines[what], x0, x1);
	if (!err)
		err = run_until_done(cpu, ret ? ret : &ignored);
	if (!err && spins)
		err = kvm_cpu_enter(vm, index, true);
	return err;
}

/* --- in KVM_RUN, or in some other ioctl, until it is told to leave --- */

static void *spin(void *user)
{
	struct kvm_cpu *cpu = user;

	while (!cpu->run->immediate_exit) {
		if (!ioctl(cpu->fd, KVM_RUN, 0))
			cpu->err = -EIO;
		else if (errno != EINTR)
			cpu->err = -errno;
		if (cpu->err)
			break;
	}
	__atomic_store_n(&cpu->ended, true, __ATOMIC_RELEASE);
	return NULL;
}

static void pause_a_little(void)
{
	(void) nanosleep(&(struct timespec) { .tv_nsec = 1000000 }, NULL);
}

static int start_spinning(struct kvm_vm *vm, struct kvm_cpu *cpu)
{
	volatile uint32_t *flag = (uint32_t *) (vm->code + (FLAG_AT - CODE_BASE));
	int err = set_registers(cpu->fd, guest_spin, FLAG_AT, 0);

	if (err)
		return err;
	*flag = 0;
	cpu->err = 0;
	cpu->ended = false;
	if (pthread_create(&cpu->thread, NULL, spin, cpu))
		return -EAGAIN;
	cpu->state = CPU_SPINS;
	for (unsigned int i = 0; i < WAIT_MS; i++) {
		if (*flag)
			return 0;
		if (__atomic_load_n(&cpu->ended, __ATOMIC_ACQUIRE))
			break;
		pause_a_little();
	}
	err = cpu->err ? cpu->err : -ETIMEDOUT;
	(void) kvm_cpu_leave(vm, (unsigned int) (cpu - vm->cpus));
	return err;
}

static void *hold(void *user)
{
	struct kvm_cpu *cpu = user;

	(void) ioctl(cpu->fd, KVM_SET_ONE_REG, cpu->held_page);
	return NULL;
}

/* The ioctl reads its argument from a page that is only there when we say so. */
static int start_holding(struct kvm_cpu *cpu)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	struct pollfd fd = { .events = POLLIN };
	struct uffd_msg message;

	cpu->held_page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			      0);
	if (cpu->held_page == MAP_FAILED)
		return -errno;
	cpu->faults = (int) syscall(SYS_userfaultfd, O_CLOEXEC);
	range.range.start = (uintptr_t) cpu->held_page;
	range.range.len = PAGE;
	if (cpu->faults < 0 || ioctl(cpu->faults, UFFDIO_API, &api) ||
	    ioctl(cpu->faults, UFFDIO_REGISTER, &range))
		return -errno;
	if (pthread_create(&cpu->thread, NULL, hold, cpu))
		return -EAGAIN;
	cpu->state = CPU_HELD;
	fd.fd = cpu->faults;
	if (poll(&fd, 1, WAIT_MS) != 1 ||
	    read(cpu->faults, &message, sizeof(message)) != sizeof(message))
		return -ETIMEDOUT;
	return 0;
}

int kvm_cpu_enter(void *opaque, unsigned int index, bool run)
{
	struct kvm_vm *vm = opaque;
	struct kvm_cpu *cpu = &vm->cpus[index];

	if (index >= vm->cpu_count)
		return -EINVAL;
	if (cpu->state != CPU_IDLE)
		return -EBUSY;
	return run ? start_spinning(vm, cpu) : start_holding(cpu);
}

int kvm_cpu_leave(void *opaque, unsigned int index)
{
	struct kvm_vm *vm = opaque;
	struct kvm_cpu *cpu = &vm->cpus[index];

	if (index >= vm->cpu_count)
		return -EINVAL;
	if (cpu->state == CPU_SPINS) {
		cpu->run->immediate_exit = 1;
		while (!__atomic_load_n(&cpu->ended, __ATOMIC_ACQUIRE)) {
			(void) pthread_kill(cpu->thread, SIGUSR1);
			pause_a_little();
		}
		(void) pthread_join(cpu->thread, NULL);
		cpu->run->immediate_exit = 0;
	} else if (cpu->state == CPU_HELD) {
		struct uffdio_zeropage zero = {
			.range = { .start = (uintptr_t) cpu->held_page, .len = PAGE },
		};

		if (ioctl(cpu->faults, UFFDIO_ZEROPAGE, &zero))
			return -errno;
		(void) pthread_join(cpu->thread, NULL);
		close(cpu->faults);
		(void) munmap(cpu->held_page, PAGE);
	}
	cpu->state = CPU_IDLE;
	return 0;
}

void kvm_cpu_close(struct kvm_cpu *cpu)
{
	(void) munmap(cpu->run, PAGE);
	close(cpu->fd);
}
