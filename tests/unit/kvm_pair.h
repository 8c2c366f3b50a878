/* SPDX-License-Identifier: MIT */
/*
 * kvm_pair.h - two VMs of kvm_rig.h with the library's components on each: what is saved of one is for
 * the other.
 */
#ifndef TESTS_UNIT_KVM_PAIR_H
#define TESTS_UNIT_KVM_PAIR_H

#include "base/bytes.h"
#include "kvm/x86/x86_internal.h"
#include "kvm_rig.h"

struct pair {
	struct kvm_rig *source, *target;
	struct vferry_kvm_x86 *from, *to;
	struct side_sections sections;
};

static inline int set_up(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));

	p->source = rig_new();
	p->target = rig_new();
	p->from = rig_x86(p->source);
	p->to = rig_x86(p->target);
	*state = p;
	return 0;
}

static inline int tear_down(void **state)
{
	struct pair *p = *state;

	vferry_kvm_x86_free(p->from);
	vferry_kvm_x86_free(p->to);
	rig_free(p->source);
	rig_free(p->target);
	free(p);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
