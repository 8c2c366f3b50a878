/* SPDX-License-Identifier: MIT */
/* none.c - instead of this folder's other files where the library is built for another processor. */
#include <errno.h>
#include <stddef.h>

#include <vferry/kvm.h>

int vferry_kvm_x86_probe(int kvm, struct vferry_error *err)
{
	(void) kvm;
	return vferry_error_set(err, -ENOTSUP, "kvm-config", "kvm",
				"this library was not built for an x86-64 host");
}

int vferry_kvm_x86_new(const struct vferry_kvm_x86_config *config, struct vferry_kvm_x86 **ret_x86,
		       struct vferry_error *err)
{
	(void) config;
	(void) ret_x86;
	return vferry_kvm_x86_probe(-1, err);
}

struct vferry_kvm_x86 *vferry_kvm_x86_free(struct vferry_kvm_x86 *x86)
{
	(void) x86;
	return NULL;
}

size_t vferry_kvm_x86_component_count(const struct vferry_kvm_x86 *x86)
{
	(void) x86;
	return 0;
}

const struct vferry_component *vferry_kvm_x86_component(const struct vferry_kvm_x86 *x86,
							size_t index)
{
	(void) x86;
	(void) index;
	return NULL;
}
