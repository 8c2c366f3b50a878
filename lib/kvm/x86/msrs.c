/* SPDX-License-Identifier: MIT */
/* msrs.c - see msrs.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "kvm/call.h"
#include "kvm/x86/msrs.h"

/* Bounds what is asked of KVM: today's kernels have some 400 at the most. */
#define NAMED_MAX	4096u

/* ---- one, or a few ---- */

/* As struct kvm_msrs with one entry. */
struct batch {
	uint32_t count, pad;
	struct kvm_msr_entry entry;
};

static_assert(offsetof(struct batch, entry) == sizeof(struct kvm_msrs), "as KVM has it");

int vf_x86_msr_get(int vcpu, uint32_t index, uint64_t *ret_value)
{
	struct batch batch = { .count = 1, .entry.index = index };
	int ret = vf_kvm_call(vcpu, KVM_GET_MSRS, &batch);

	if (ret != 1)
		return ret < 0 ? ret : -EINVAL;
	*ret_value = batch.entry.data;
	return 0;
}

int vf_x86_msr_set(int vcpu, uint32_t index, uint64_t value)
{
	struct batch batch = { .count = 1, .entry = { .index = index, .data = value } };
	int ret = vf_kvm_call(vcpu, KVM_SET_MSRS, &batch);

	return ret == 1 ? 0 : ret < 0 ? ret : -EINVAL;
}

/* ---- the list ---- */

static int compare(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static bool contains(const uint32_t *list, uint32_t count, uint32_t index)
{
	return bsearch(&index, list, count, sizeof(*list), compare) != NULL;
}

bool vf_x86_msr_list_has(const struct vf_x86_msr_list *list, uint32_t index)
{
	return contains(list->index, list->count, index);
}

bool vf_x86_msr_is_feature(const struct vf_x86_msr_list *list, uint32_t index)
{
	return contains(list->feature, list->feature_count, index);
}

static bool left_out(uint32_t index)
{
	return index == VF_MSR_TSC || index == VF_MSR_TSC_DEADLINE || index == VF_MSR_EFER ||
	       index == VF_MSR_APIC_BASE || index == VF_MSR_MCG_CAP ||
	       index == VF_MSR_WALL_CLOCK_OLD || index == VF_MSR_WALL_CLOCK;
}

static int take(struct vf_x86_msr_list *list, int vcpu, uint32_t index)
{
	uint64_t value;

	if (left_out(index) || vf_x86_msr_get(vcpu, index, &value))
		return 0;
	if (list->count == VF_X86_MSRS_MAX)
		return -E2BIG;
	list->index[list->count++] = index;
	return 0;
}

static int take_range(struct vf_x86_msr_list *list, int vcpu, uint32_t first, uint32_t count)
{
	int ret = 0;

	for (uint32_t i = 0; i < count && !ret; i++)
		ret = take(list, vcpu, first + i);
	return ret;
}

/* What KVM_GET_MSR_INDEX_LIST leaves out in some or all kernels. */
static int take_unnamed(struct vf_x86_msr_list *list, int vcpu)
{
	static const struct {
		uint32_t first, count;
	} ranges[] = {
		{ 0x200, 16 },			/* variable MTRRs */
		{ 0x250, 1 }, { 0x258, 2 }, { 0x268, 8 },	/* fixed MTRRs */
		{ 0x277, 1 }, { 0x2ff, 1 },	/* PAT, MTRR default type */
		{ 0x17a, 2 },			/* MCG_STATUS, MCG_CTL */
	};
	uint64_t mcg_cap = 0;
	uint32_t banks;
	int ret = 0;

	for (size_t i = 0; i < VF_ARRAY_COUNT(ranges) && !ret; i++)
		ret = take_range(list, vcpu, ranges[i].first, ranges[i].count);
	(void) vf_x86_msr_get(vcpu, VF_MSR_MCG_CAP, &mcg_cap);
	banks = (uint32_t) vf_min_u64(mcg_cap & 0xff, 32);
	if (!ret)
		ret = take_range(list, vcpu, 0x400, 4 * banks);
	return ret ? ret : take_range(list, vcpu, 0x280, banks);	/* MCi_CTL2 */
}

static void sort(uint32_t *list, uint32_t *count)
{
	uint32_t kept = 0;

	qsort(list, *count, sizeof(*list), compare);
	for (uint32_t i = 0; i < *count; i++)
		if (!i || list[i] != list[i - 1])
			list[kept++] = list[i];
	*count = kept;
}

/* Return: an owned list that is named by KVM; NULL and the reason. */
static struct kvm_msr_list *named(int kvm, unsigned long request, int *ret_code)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + NAMED_MAX * sizeof(list->indices[0]));

	*ret_code = list ? 0 : -ENOMEM;
	if (!list)
		return NULL;
	list->nmsrs = NAMED_MAX;
	*ret_code = vf_kvm_call(kvm, request, list);
	if (!*ret_code)
		return list;
	free(list);
	return NULL;
}

int vf_x86_msr_list_probe(struct vf_x86_msr_list *list, int kvm, int vcpu, struct vferry_error *err)
{
	struct kvm_msr_list *all, *features = NULL;
	int code;

	*list = (struct vf_x86_msr_list) { 0 };
	all = named(kvm, KVM_GET_MSR_INDEX_LIST, &code);
	if (all && vf_kvm_has(kvm, KVM_CAP_GET_MSR_FEATURES))
		features = named(kvm, KVM_GET_MSR_FEATURE_INDEX_LIST, &code);
	for (uint32_t i = 0; all && i < all->nmsrs && !code; i++)
		code = take(list, vcpu, all->indices[i]);
	if (!code)
		code = take_unnamed(list, vcpu);
	sort(list->index, &list->count);
	for (uint32_t i = 0; features && i < features->nmsrs && !code; i++)
		if (vf_x86_msr_list_has(list, features->indices[i]) &&
		    list->feature_count < VF_X86_MSRS_MAX)
			list->feature[list->feature_count++] = features->indices[i];
	sort(list->feature, &list->feature_count);
	free(all);
	free(features);
	return code ? vf_kvm_failed(err, "cpu/0", "listing the MSRs", code) : 0;
}

/* ---- values ---- */

/* KVM takes no more than this at once; today's hosts have lists that are longer. */
#define PER_CALL	255u

/* As struct kvm_msrs. */
struct long_batch {
	uint32_t count, pad;
	struct kvm_msr_entry entries[PER_CALL];
};

static struct kvm_msr_entry *new_entries(void)
{
	return calloc(VF_X86_MSRS_MAX, sizeof(struct kvm_msr_entry));
}

/* Return: how many were read or set, in their order; -errno. */
static int transfer(int vcpu, unsigned long request, struct kvm_msr_entry *entries, uint32_t count)
{
	struct long_batch batch = { 0 };
	uint32_t done = 0;

	while (done < count) {
		uint32_t bytes;
		int ret;

		batch.count = (uint32_t) vf_min_u64(count - done, PER_CALL);
		bytes = batch.count * (uint32_t) sizeof(*entries);
		memcpy(batch.entries, entries + done, bytes);
		ret = vf_kvm_call(vcpu, request, &batch);
		if (ret < 0)
			return ret;
		memcpy(entries + done, batch.entries, bytes);
		done += (uint32_t) ret;
		if ((uint32_t) ret < batch.count)
			break;
	}
	return (int) done;
}

static int no_memory(const char *object, struct vferry_error *err)
{
	return vferry_error_set(err, -ENOMEM, "no-memory", object, "no memory for a list of MSRs");
}

int vf_x86_msrs_save(const struct vf_x86_msr_list *list, int vcpu, struct vf_x86_cpu_image *image,
		     const char *object, struct vferry_error *err)
{
	struct kvm_msr_entry *entries = new_entries();
	int done;

	if (!entries)
		return no_memory(object, err);
	for (uint32_t i = 0; i < list->count; i++)
		entries[i].index = list->index[i];
	done = transfer(vcpu, KVM_GET_MSRS, entries, list->count);
	if (done >= 0 && (uint32_t) done < list->count)
		done = vferry_error_set(err, -EIO, "cpu-msr-read", object,
					"MSR 0x%x can't be read any more", list->index[done]);
	else if (done < 0)
		done = vf_kvm_failed(err, object, "KVM_GET_MSRS", done);
	for (uint32_t i = 0; i < list->count && done >= 0; i++)
		image->msrs[i] = (struct vf_x86_msr) { .index = list->index[i],
			.value = entries[i].data };
	image->msr_count = list->count;
	free(entries);
	return done < 0 ? done : 0;
}

int vf_x86_msrs_load(const struct vf_x86_msr_list *list, int vcpu,
		     const struct vf_x86_cpu_image *image, bool feature, const char *object,
		     struct vferry_error *err)
{
	struct kvm_msr_entry *entries = new_entries();
	uint32_t count = 0;
	int done = 0;

	if (!entries)
		return no_memory(object, err);
	for (uint32_t i = 0; i < image->msr_count && !done; i++) {
		const struct vf_x86_msr *msr = &image->msrs[i];

		if (!vf_x86_msr_list_has(list, msr->index))
			done = vferry_error_set(err, -EINVAL, "cpu-msr-unknown", object,
						"the section has MSR 0x%x, which this host's KVM "
						"has not", msr->index);
		else if (vf_x86_msr_is_feature(list, msr->index) == feature)
			entries[count++] = (struct kvm_msr_entry) {
				.index = msr->index, .data = msr->value };
	}
	if (!done) {
		done = transfer(vcpu, KVM_SET_MSRS, entries, count);
		if (done < 0)
			done = vf_kvm_failed(err, object, "KVM_SET_MSRS", done);
		else if ((uint32_t) done < count)
			done = vferry_error_set(err, -EINVAL, "cpu-msr-refused", object,
						"MSR 0x%x does not take 0x%llx on this host: %d "
						"of %u were set", entries[done].index,
						(unsigned long long) entries[done].data,
						done, count);
	}
	free(entries);
	return done < 0 ? done : 0;
}
