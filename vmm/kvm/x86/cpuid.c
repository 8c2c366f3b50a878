/* SPDX-License-Identifier: MIT */
/*
 * cpuid.c - what the vCPUs say of themselves: all that this KVM can give, with the numbers that
 * differ between vCPUs, and one package of single-threaded cores.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "x86.h"

#define ENTRIES_MAX	256u

#define LEAF_1_ECX_VMX		(1u << 5)
#define LEAF_80000001_ECX_SVM	(1u << 2)
#define LEAF_1_ECX_TSC_DEADLINE	(1u << 24)
#define LEAF_1_ECX_HYPERVISOR	(1u << 31)
#define LEAF_1_EDX_HTT		(1u << 28)
#define LEVEL_THREAD		1u
#define LEVEL_CORE		2u

static unsigned bits_for(unsigned cpus)
{
	unsigned bits = 0;

	while (1u << bits < cpus)
		bits++;
	return bits;
}

/* Leaf 0xb: APIC ids of threads (one each), then of cores. */
static void set_topology(struct kvm_cpuid_entry2 *e, unsigned id, unsigned cpus)
{
	e->eax = e->ebx = e->ecx = 0;
	e->edx = id;
	if (e->index == 0) {
		e->ebx = 1;
		e->ecx = LEVEL_THREAD << 8;
	} else if (e->index == 1) {
		e->eax = bits_for(cpus);
		e->ebx = cpus;
		e->ecx = 1 | LEVEL_CORE << 8;
	} else {
		e->ecx = e->index;
	}
}

static void adjust(struct kvm_cpuid_entry2 *e, unsigned id, unsigned cpus, bool tsc_deadline)
{
	switch (e->function) {
	case 1:
		e->ebx = (e->ebx & 0x0000ffff) | id << 24 | cpus << 16;
		e->ecx &= ~LEAF_1_ECX_VMX;	/* guests of the guest are not carried over */
		e->ecx |= LEAF_1_ECX_HYPERVISOR | (tsc_deadline ? LEAF_1_ECX_TSC_DEADLINE : 0);
		e->edx = cpus > 1 ? e->edx | LEAF_1_EDX_HTT : e->edx & ~LEAF_1_EDX_HTT;
		break;
	case 4:		/* Intel: caches are each core's own */
		if (e->eax & 0x1f)
			e->eax = (e->eax & 0x00003fff) | (cpus - 1) << 26;
		break;
	case 0xb:
	case 0x1f:
		set_topology(e, id, cpus);
		break;
	case 0x80000001:
		e->ecx &= ~LEAF_80000001_ECX_SVM;
		break;
	case 0x8000000a:	/* what SVM can do */
		e->eax = e->ebx = e->ecx = e->edx = 0;
		break;
	case 0x80000008:	/* AMD: cores */
		e->ecx = (cpus - 1) | bits_for(cpus) << 12;
		break;
	case 0x8000001e:	/* AMD: APIC id, core, node */
		e->eax = id;
		e->ebx = id;
		e->ecx = 0;
		break;
	default:
		break;
	}
}

/* Return: a table of all that KVM supports, to be freed; NULL, and why. */
static struct kvm_cpuid2 *get_supported(int kvm, struct vferry_error *err)
{
	struct kvm_cpuid2 *table = calloc(1, sizeof(*table) + ENTRIES_MAX * sizeof(table->entries[0]));

	if (!table) {
		(void) vferry_error_set(err, -ENOMEM, "no-memory", "cpu", "no memory");
		return NULL;
	}
	table->nent = ENTRIES_MAX;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, table) < 0) {
		(void) vferry_error_set(err, -errno, "cpuid", "cpu", "KVM_GET_SUPPORTED_CPUID failed (%s)",
					vferry_errno_name(errno));
		free(table);
		return NULL;
	}
	return table;
}

int x86_cpuid_set(struct kvm_vcpu *vcpu, struct vferry_error *err)
{
	struct kvm_machine *m = vcpu->machine;
	struct kvm_cpuid2 *table = get_supported(m->kvm, err);
	bool tsc_deadline = ioctl(m->kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	int r = 0;

	if (!table)
		return err && err->code ? err->code : -ENOMEM;
	for (uint32_t i = 0; i < table->nent; i++)
		adjust(&table->entries[i], vcpu->id, m->cpus, tsc_deadline);
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, table) < 0)
		r = vferry_error_set(err, -errno, "cpuid", "cpu", "KVM_SET_CPUID2 of vCPU %u failed (%s)",
				     vcpu->id, vferry_errno_name(errno));
	free(table);
	return r;
}
