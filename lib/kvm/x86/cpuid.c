/* SPDX-License-Identifier: MIT */
/* cpuid.c - see cpuid.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "kvm/call.h"
#include "kvm/x86/cpu_image.h"
#include "kvm/x86/cpuid.h"

enum cpuid_register { EAX, EBX, ECX, EDX };

static const char *const register_names[] = { "eax", "ebx", "ecx", "edx" };

/* Every register whose bits are features, one by one. */
static const struct feature_word {
	uint32_t function, index;
	enum cpuid_register reg;
	uint32_t ignored;
} words[] = {
	{ 0x1, 0, ECX, 1u << 27 },		/* OSXSAVE */
	{ 0x1, 0, EDX, 1u << 9 | 1u << 28 },	/* APIC: while it is switched on; HTT: topology */
	{ 0x6, 0, EAX, 0 },
	{ 0x7, 0, EBX, 0 },
	{ 0x7, 0, ECX, 1u << 4 },		/* OSPKE */
	{ 0x7, 0, EDX, 0 },
	{ 0x7, 1, EAX, 0 },
	{ 0x7, 1, ECX, 0 },
	{ 0x7, 1, EDX, 0 },
	{ 0x7, 2, EDX, 0 },
	{ 0xd, 0, EAX, 0 },			/* XCR0 */
	{ 0xd, 0, EDX, 0 },
	{ 0xd, 1, EAX, 0 },
	{ 0xd, 1, ECX, 0 },			/* XSS */
	{ 0xd, 1, EDX, 0 },
	{ 0x14, 0, EBX, 0 },
	{ 0x14, 0, ECX, 0 },
	{ 0x1e, 1, EAX, 0 },
	{ 0x24, 0, EBX, 0xff },			/* AVX10: the low byte is a version */
	{ 0x40000001, 0, EAX, 0 },		/* what KVM offers its guests */
	{ 0x80000001, 0, ECX, 1u << 1 },	/* CMP_LEGACY: topology */
	{ 0x80000001, 0, EDX, 1u << 9 },
	{ 0x80000007, 0, EDX, 0 },
	{ 0x80000008, 0, EBX, 0 },
	{ 0x8000000a, 0, EDX, 0 },
	{ 0x80000021, 0, EAX, 0 },
};

#define CPUID_ADDRESS_BITS	0x80000008u

int vf_x86_cpuid_get(int fd, unsigned long request, struct kvm_cpuid_entry2 *entries,
		     uint32_t *ret_count)
{
	struct kvm_cpuid2 *table = calloc(1, sizeof(*table) + VF_X86_CPUID_MAX * sizeof(*entries));
	int code;

	if (!table)
		return -ENOMEM;
	table->nent = VF_X86_CPUID_MAX;
	code = vf_kvm_call(fd, request, table);
	if (!code && table->nent > VF_X86_CPUID_MAX)
		code = -E2BIG;
	if (!code) {
		memcpy(entries, table->entries, table->nent * sizeof(*entries));
		*ret_count = table->nent;
	}
	free(table);
	return code;
}

int vf_x86_cpuid_set(int vcpu, const struct kvm_cpuid_entry2 *entries, uint32_t count)
{
	struct kvm_cpuid2 *table = calloc(1, sizeof(*table) + VF_X86_CPUID_MAX * sizeof(*entries));
	int code;

	if (!table)
		return -ENOMEM;
	table->nent = count;
	memcpy(table->entries, entries, count * sizeof(*entries));
	code = vf_kvm_call(vcpu, KVM_SET_CPUID2, table);
	free(table);
	return code;
}

const struct kvm_cpuid_entry2 *vf_x86_cpuid_find(const struct vf_x86_cpuid *cpuid,
						 uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->count; i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		bool indexed = entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;

		if (entry->function == function && (!indexed || entry->index == index))
			return indexed || !index ? entry : NULL;
	}
	return NULL;
}

static uint32_t value(const struct vf_x86_cpuid *cpuid, uint32_t function, uint32_t index,
		      enum cpuid_register reg)
{
	const struct kvm_cpuid_entry2 *entry = vf_x86_cpuid_find(cpuid, function, index);

	if (!entry)
		return 0;
	switch (reg) {
	case EAX:
		return entry->eax;
	case EBX:
		return entry->ebx;
	case ECX:
		return entry->ecx;
	default:
		return entry->edx;
	}
}

bool vf_x86_cpuid_nested(const struct vf_x86_cpuid *cpuid)
{
	return value(cpuid, 0x1, 0, ECX) & 1u << 5 || value(cpuid, 0x80000001, 0, ECX) & 1u << 2;
}

static void add_missing(const struct feature_word *word, uint32_t missing, const char *object,
			struct vferry_reasons *reasons)
{
	char bits[32 * 4] = "";
	size_t at = 0;

	for (unsigned bit = 0; bit < 32; bit++)
		if (missing >> bit & 1)
			at += (size_t) snprintf(bits + at, sizeof(bits) - at, "%s%u",
						at ? " " : "", bit);
	vferry_reasons_add(reasons, "cpu-feature", object,
			   "CPUID 0x%x/%u %s: the source's vCPU has bits %s, which this host's KVM "
			   "does not offer", word->function, word->index, register_names[word->reg],
			   bits);
}

void vf_x86_cpuid_check(const struct vf_x86_cpuid *source, const struct vf_x86_cpuid *supported,
			const struct vf_x86_cpuid *own, const char *object,
			struct vferry_reasons *reasons)
{
	uint32_t there = value(source, CPUID_ADDRESS_BITS, 0, EAX) & 0xff;
	uint32_t here = value(supported, CPUID_ADDRESS_BITS, 0, EAX) & 0xff;

	for (size_t i = 0; i < VF_ARRAY_COUNT(words); i++) {
		const struct feature_word *w = &words[i];
		uint32_t missing = value(source, w->function, w->index, w->reg) & ~w->ignored &
				   ~value(supported, w->function, w->index, w->reg) &
				   ~value(own, w->function, w->index, w->reg);

		if (missing)
			add_missing(w, missing, object, reasons);
	}
	if (there > here)
		vferry_reasons_add(reasons, "cpu-address-bits", object,
				   "the source's vCPU has %u physical address bits, this host's "
				   "KVM has %u", there, here);
}
