/* SPDX-License-Identifier: MIT */
/*
 * tsc_probe.c - see tsc_probe.h. The guest is six instructions in 64-bit mode, ring 3, from its
 * first one on; its memory, all of it:
 *
 *	0x1000 0x2000 0x3000	page tables: the first 2 MiB, where they are
 *	0x4000			the instructions
 *	0x5000			what RDTSC said
 *	0x6000			a TSS, zero, since the processor wants one
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <x86intrin.h>

#include "base/checked.h"
#include "base/cleanup.h"
#include "kvm/call.h"
#include "kvm/x86/tsc_probe.h"
#include "kvm/x86/x86_internal.h"

#define MEMORY_BYTES	0x10000u
#define TABLES		0x1000u
#define CODE		0x4000u
#define SEEN		0x5000u
#define TSS		0x6000u
#define PORT		0x10u
#define TSS_ADDRESS	0xfffbd000ul	/* three pages for KVM's own use, below 4 GiB */

#define OFFSET		(1ull << 48)	/* days at any frequency */
#define SLACK		(1ull << 40)	/* minutes: hosts' TSCs may differ by processor */

#define PAGE_PRESENT_WRITE_USER	7u
#define PAGE_LARGE		0x80u

static const uint8_t instructions[] = {
	0x0f, 0x31,						/* rdtsc */
	0x48, 0xc1, 0xe2, 0x20,					/* shl $32, %rdx */
	0x48, 0x09, 0xd0,					/* or %rdx, %rax */
	0x48, 0x89, 0x04, 0x25, 0x00, 0x50, 0x00, 0x00,		/* mov %rax, 0x5000 */
	0xe6, PORT,						/* out %al, $PORT */
	0xeb, 0xfe,						/* jmp . */
};

struct probe {
	int vm, vcpu;
	uint8_t *memory;
	struct kvm_run *run;
	size_t run_bytes;
};

bool vf_x86_tsc_moved(uint64_t before, uint64_t seen, uint64_t after, uint64_t offset)
{
	uint64_t since = seen - offset - before + SLACK;

	return since <= after - before + 2 * SLACK;
}

static void done(struct probe *p)
{
	if (p->run)
		(void) munmap(p->run, p->run_bytes);
	vf_close(&p->vcpu);
	vf_close(&p->vm);
	if (p->memory)
		(void) munmap(p->memory, MEMORY_BYTES);
}

static void *map(size_t bytes, int flags, int fd)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

static int make_vm(struct probe *p, int kvm)
{
	struct kvm_userspace_memory_region region = { .memory_size = MEMORY_BYTES };
	int bytes = vf_kvm_call(kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
	int ret;

	if (bytes < (int) sizeof(struct kvm_run))
		return bytes < 0 ? bytes : -EIO;
	p->vm = vf_kvm_call(kvm, KVM_CREATE_VM, NULL);
	if (p->vm < 0)
		return p->vm;
	(void) vf_kvm_call_value(p->vm, KVM_SET_TSS_ADDR, TSS_ADDRESS);
	p->memory = map(MEMORY_BYTES, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (!p->memory)
		return -errno;
	region.userspace_addr = (uintptr_t) p->memory;
	ret = vf_kvm_call(p->vm, KVM_SET_USER_MEMORY_REGION, &region);
	if (ret)
		return ret;
	p->vcpu = vf_kvm_call(p->vm, KVM_CREATE_VCPU, NULL);
	if (p->vcpu < 0)
		return p->vcpu;
	p->run = map((size_t) bytes, MAP_SHARED, p->vcpu);
	p->run_bytes = (size_t) bytes;
	return p->run ? 0 : -errno;
}

static int set_cpuid(const struct probe *p, int kvm)
{
	struct kvm_cpuid_entry2 *entries = calloc(VF_X86_CPUID_MAX, sizeof(*entries));
	uint32_t count;
	int ret = entries ? vf_x86_cpuid_get(kvm, KVM_GET_SUPPORTED_CPUID, entries, &count) : -ENOMEM;

	if (!ret)
		ret = vf_x86_cpuid_set(p->vcpu, entries, count);
	free(entries);
	return ret;
}

static void put_u64(struct probe *p, size_t at, uint64_t value)
{
	memcpy(p->memory + at, &value, sizeof(value));
}

static int set_ring3(struct probe *p)
{
	const struct kvm_segment cs = { .limit = UINT32_MAX, .selector = 0x23, .type = 11,
		.present = 1, .dpl = 3, .s = 1, .l = 1, .g = 1 };
	const struct kvm_segment data = { .limit = UINT32_MAX, .selector = 0x1b, .type = 3,
		.present = 1, .dpl = 3, .s = 1, .db = 1, .g = 1 };
	const struct kvm_segment tr = { .base = TSS, .limit = 0x67, .selector = 0x28, .type = 11,
		.present = 1 };
	const struct kvm_regs regs = { .rip = CODE, .rsp = MEMORY_BYTES, .rflags = 0x3002 };
	struct kvm_sregs sregs;
	int ret = vf_kvm_call(p->vcpu, KVM_GET_SREGS, &sregs);

	if (ret)
		return ret;
	put_u64(p, TABLES, (TABLES + 0x1000) | PAGE_PRESENT_WRITE_USER);
	put_u64(p, TABLES + 0x1000, (TABLES + 0x2000) | PAGE_PRESENT_WRITE_USER);
	put_u64(p, TABLES + 0x2000, PAGE_LARGE | PAGE_PRESENT_WRITE_USER);
	memcpy(p->memory + CODE, instructions, sizeof(instructions));
	sregs.cs = cs;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.tr = tr;
	sregs.cr3 = TABLES;
	sregs.cr4 = 1u << 5;			/* PAE */
	sregs.cr0 = 1u << 31 | 1u << 5 | 1u;	/* paging, native FPU errors, protection */
	sregs.efer = 1u << 10 | 1u << 8;	/* long mode, active and enabled */
	ret = vf_kvm_call(p->vcpu, KVM_SET_SREGS, &sregs);
	return ret ? ret : vf_kvm_call(p->vcpu, KVM_SET_REGS, (void *) &regs);
}

/* True: the vCPU came to its OUT. */
static bool run(const struct probe *p)
{
	return !vf_kvm_call(p->vcpu, KVM_RUN, NULL) && p->run->exit_reason == KVM_EXIT_IO &&
	       p->run->io.port == PORT;
}

static bool look(struct probe *p, int kvm)
{
	uint64_t before, seen = 0, after;

	if (set_cpuid(p, kvm) || set_ring3(p) || vf_x86_tsc_offset_set(p->vcpu, OFFSET))
		return false;
	before = __rdtsc();
	if (!run(p))
		return false;
	after = __rdtsc();
	memcpy(&seen, p->memory + SEEN, sizeof(seen));
	return vf_x86_tsc_moved(before, seen, after, OFFSET);
}

int vf_x86_tsc_probe(int kvm, bool *ret_moves, struct vferry_error *err)
{
	struct probe p = { .vm = -1, .vcpu = -1 };
	int ret = make_vm(&p, kvm);

	if (!ret)
		*ret_moves = look(&p, kvm);
	done(&p);
	return ret ? vf_kvm_failed(err, "clock", "making a VM to try the TSC", ret) : 0;
}
