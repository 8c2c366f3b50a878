/* SPDX-License-Identifier: MIT */
/* arm64_side.h - for tests: the components of an arm64 machine, and what is in their sections. */
#ifndef TESTS_UNIT_ARM64_SIDE_H
#define TESTS_UNIT_ARM64_SIDE_H

#include <vferry/kvm.h>

#include "component_side.h"

static inline struct side side_of(const struct vferry_kvm_arm64 *arm64)
{
	struct side side = { .count = 0 };

	for (size_t i = 0; i < vferry_kvm_arm64_component_count(arm64); i++)
		side_add(&side, vferry_kvm_arm64_component(arm64, i));
	return side;
}

static inline int side_run(const struct vferry_kvm_arm64 *arm64, enum vferry_step_class class,
			   struct side_sections *sections, struct vferry_error *err)
{
	return side_run_class(side_of(arm64), class, sections, err);
}

/* A register's value in a section of cpu/N; fails if it is not there. */
static inline uint8_t *side_value_in(uint8_t *section, uint64_t wanted)
{
	uint8_t *at = section + 4 + 1 + 1 + 8;
	uint32_t count;

	memcpy(&count, at, sizeof(count));
	at += sizeof(count);
	for (uint32_t i = 0; i < count; i++) {
		uint64_t id;

		memcpy(&id, at, sizeof(id));
		at += sizeof(id);
		if (id == wanted)
			return at;
		at += 1u << (id >> 52 & 0xf);
	}
	fail_msg("register 0x%llx is not in the section", (unsigned long long) wanted);
	return NULL;
}

#endif
