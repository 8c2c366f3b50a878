/* SPDX-License-Identifier: MIT */
/* cpu_image.c - a vCPU's state to and from its section; see cpu_image.h. No KVM here. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "kvm/x86/cpu_image.h"

#define CPUID_BYTES	28u
#define MSR_BYTES	12u

static_assert(sizeof(struct kvm_vcpu_events) == 64, "as in the section");
static_assert(sizeof(struct kvm_mp_state) == 4, "as in the section");
static_assert(sizeof(struct kvm_regs) == 144, "as in the section");
static_assert(sizeof(struct kvm_sregs2) == 320, "as in the section");
static_assert(sizeof(struct kvm_xcrs) == 392, "as in the section");
static_assert(sizeof(struct kvm_debugregs) == 128, "as in the section");
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "as the processor's registers");

int vf_x86_cpu_image_init(struct vf_x86_cpu_image *image, uint32_t xsave_bytes)
{
	*image = (struct vf_x86_cpu_image) { .xsave_bytes = xsave_bytes };
	image->cpuid = calloc(VF_X86_CPUID_MAX, sizeof(*image->cpuid));
	image->xsave = calloc(1, xsave_bytes);
	image->msrs = calloc(VF_X86_MSRS_MAX, sizeof(*image->msrs));
	if (image->cpuid && image->xsave && image->msrs)
		return 0;
	vf_x86_cpu_image_done(image);
	return -ENOMEM;
}

void vf_x86_cpu_image_done(struct vf_x86_cpu_image *image)
{
	free(image->cpuid);
	free(image->xsave);
	free(image->msrs);
	*image = (struct vf_x86_cpu_image) { 0 };
}

/* The sets whose size is fixed, in the order of the section. */
struct set {
	const char *name;
	size_t offset, bytes;
};

#define SET(name_, member) { name_, offsetof(struct vf_x86_cpu_image, member), \
	sizeof(((struct vf_x86_cpu_image *) NULL)->member) }

static const struct set sets[] = {
	SET("EVENTS", events), SET("MP_STATE", mp_state), SET("REGS", regs),
	SET("SREGS2", sregs), SET("XCRS", xcrs), SET("DEBUGREGS", debugregs),
};

uint32_t vf_x86_cpu_image_bytes(uint32_t xsave_bytes)
{
	size_t bytes = 4 + 8 + 4 + VF_X86_CPUID_MAX * CPUID_BYTES + 4 + xsave_bytes + 4 +
		       VF_X86_MSRS_MAX * MSR_BYTES;

	for (size_t i = 0; i < VF_ARRAY_COUNT(sets); i++)
		bytes += 4 + sets[i].bytes;
	return (uint32_t) bytes;
}

/* ---- CPUID ---- */

void vf_x86_cpuid_write(const struct kvm_cpuid_entry2 *entries, uint32_t count,
			struct vferry_writer *w)
{
	vferry_write_u32(w, count);
	for (uint32_t i = 0; i < count; i++) {
		vferry_write_u32(w, entries[i].function);
		vferry_write_u32(w, entries[i].index);
		vferry_write_u32(w, entries[i].flags);
		vferry_write_u32(w, entries[i].eax);
		vferry_write_u32(w, entries[i].ebx);
		vferry_write_u32(w, entries[i].ecx);
		vferry_write_u32(w, entries[i].edx);
	}
}

int vf_x86_cpuid_read(struct kvm_cpuid_entry2 *entries, struct vferry_reader *r)
{
	uint32_t count = vferry_read_u32(r);

	if (count > VF_X86_CPUID_MAX || vferry_reader_left(r) < (size_t) count * CPUID_BYTES)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		struct kvm_cpuid_entry2 entry = { .function = vferry_read_u32(r) };

		entry.index = vferry_read_u32(r);
		entry.flags = vferry_read_u32(r);
		entry.eax = vferry_read_u32(r);
		entry.ebx = vferry_read_u32(r);
		entry.ecx = vferry_read_u32(r);
		entry.edx = vferry_read_u32(r);
		entries[i] = entry;
	}
	return (int) count;
}

/* ---- the section ---- */

void vf_x86_cpu_image_write(const struct vf_x86_cpu_image *image, struct vferry_writer *w)
{
	vferry_write_u32(w, image->tsc_khz);
	vferry_write_u64(w, image->mcg_cap);
	vf_x86_cpuid_write(image->cpuid, image->cpuid_count, w);
	for (size_t i = 0; i < VF_ARRAY_COUNT(sets); i++) {
		vferry_write_u32(w, (uint32_t) sets[i].bytes);
		vferry_write_bytes(w, (const uint8_t *) image + sets[i].offset, sets[i].bytes);
	}
	vferry_write_u32(w, image->xsave_bytes);
	vferry_write_bytes(w, image->xsave, image->xsave_bytes);
	vferry_write_u32(w, image->msr_count);
	for (uint32_t i = 0; i < image->msr_count; i++) {
		vferry_write_u32(w, image->msrs[i].index);
		vferry_write_u64(w, image->msrs[i].value);
	}
}

static int damaged(struct vferry_error *err, const char *object, const char *what)
{
	return vferry_error_set(err, -EINVAL, "cpu-section-damaged", object,
				"the section of %s is cut short or makes no sense: %s", object,
				what);
}

static int read_sets(struct vf_x86_cpu_image *image, struct vferry_reader *r, const char *object,
		     struct vferry_error *err)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(sets); i++) {
		uint32_t bytes = vferry_read_u32(r);
		const void *data;

		if (bytes != sets[i].bytes)
			return vferry_error_set(err, -EINVAL, "cpu-register-set", object,
						"%s has %u bytes, and %zu here", sets[i].name,
						bytes, sets[i].bytes);
		data = vferry_read_bytes(r, bytes);
		if (!data)
			return damaged(err, object, sets[i].name);
		memcpy((uint8_t *) image + sets[i].offset, data, bytes);
	}
	return 0;
}

static int read_xsave(struct vf_x86_cpu_image *image, struct vferry_reader *r, const char *object,
		      struct vferry_error *err)
{
	uint32_t bytes = vferry_read_u32(r);
	const void *data;

	if (bytes > image->xsave_bytes || bytes < VF_X86_XSAVE_MIN || bytes % 8)
		return vferry_error_set(err, -EINVAL, "cpu-register-set", object,
					"XSAVE has %u bytes, and can have %u to %u here", bytes,
					VF_X86_XSAVE_MIN, image->xsave_bytes);
	data = vferry_read_bytes(r, bytes);
	if (!data)
		return damaged(err, object, "XSAVE");
	memcpy(image->xsave, data, bytes);
	memset(image->xsave + bytes, 0, image->xsave_bytes - bytes);
	return 0;
}

static int read_msrs(struct vf_x86_cpu_image *image, struct vferry_reader *r)
{
	uint32_t count = vferry_read_u32(r);

	if (count > VF_X86_MSRS_MAX || vferry_reader_left(r) < (size_t) count * MSR_BYTES)
		return -EINVAL;
	for (uint32_t i = 0; i < count; i++) {
		image->msrs[i].index = vferry_read_u32(r);
		image->msrs[i].value = vferry_read_u64(r);
		if (i && image->msrs[i].index <= image->msrs[i - 1].index)
			return -EINVAL;
	}
	image->msr_count = count;
	return 0;
}

int vf_x86_cpu_image_read(struct vf_x86_cpu_image *image, struct vferry_reader *r,
			  const char *object, struct vferry_error *err)
{
	int count, ret;

	image->tsc_khz = vferry_read_u32(r);
	image->mcg_cap = vferry_read_u64(r);
	count = vf_x86_cpuid_read(image->cpuid, r);
	if (count < 0)
		return damaged(err, object, "CPUID");
	image->cpuid_count = (uint32_t) count;
	ret = read_sets(image, r, object, err);
	if (!ret)
		ret = read_xsave(image, r, object, err);
	if (ret)
		return ret;
	if (read_msrs(image, r) || !vferry_reader_done(r))
		return damaged(err, object, "MSRs");
	return 0;
}
