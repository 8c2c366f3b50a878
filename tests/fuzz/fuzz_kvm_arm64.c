/* SPDX-License-Identifier: MIT */
/*
 * fuzz_kvm_arm64.c - sections and identities of an arm64 machine on KVM, as a source sends them.
 *
 * The first byte says what follows: 0 the section of a vCPU and 1 that of the counter, which are
 * written again if they are accepted and must come out as they went in; 2 the identity of a vCPU,
 * and 3 that of the counter. The KVM behind takes even values of ID registers, and no others; what
 * it was given for trial must be put back.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "component_target.h"
#include "kvm/arm64/arm64_internal.h"
#include "must_be.h"
#include "vferry_kvm_arm64.h"

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))
#define SYSREG(...)	VF_REG_OF_SYSREG(VF_SYSREG(__VA_ARGS__))

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- a machine of one vCPU ---- */

static const uint64_t ids[] = {
	VF_REG(VF_REG_CORE, VF_REG_SIZE_U64, 0u),		/* x0 */
	VF_REG(VF_REG_CORE, VF_REG_SIZE_U32, VF_CORE_FPSR),
	VF_REG(VF_REG_CORE, VF_REG_SIZE_U128, VF_CORE_VREGS),
	VF_REG_PSCI_VERSION,
	VF_REG_SVE_VLS,
	SYSREG(3u, 0u, 0u, 0u, 0u),	/* MIDR_EL1 */
	SYSREG(3u, 0u, 0u, 6u, 0u),	/* ID_AA64ISAR0_EL1 */
	SYSREG(3u, 0u, 13u, 0u, 4u),	/* TPIDR_EL1 */
	VF_REG(VF_REG_SVE, VF_REG_SIZE_U2048, 0u),
};

struct machine {
	struct vferry_kvm_arm64 arm64;
	struct vf_arm64_cpu cpu;
	uint64_t masks[VF_KVM_MASKS];
	uint64_t tried;		/* an id that another value was written to and not yet taken back */
};

static int call(void *user, int fd, unsigned long request, void *argument)
{
	struct machine *m = user;
	const struct kvm_one_reg *one = argument;
	const uint8_t *value = (const uint8_t *) (uintptr_t) one->addr;
	struct vf_arm64_reg *own = vf_arm64_bank_find(&m->cpu.bank, one->id);

	(void) fd;
	if (request != KVM_SET_ONE_REG || !own)
		abort();
	if (!memcmp(value, own->value, vf_arm64_reg_bytes(one->id)))
		m->tried = 0;
	else if (value[0] % 2)
		return value[0] % 3 ? -EINVAL : -EBUSY;
	else
		m->tried = one->id;
	return 0;
}

static struct machine *machine_new(void)
{
	struct machine *m = calloc(1, sizeof(*m));

	if (!m || vf_arm64_bank_init(&m->cpu.bank, ids, COUNT(ids)))
		abort();
	for (uint32_t i = 0; i < m->cpu.bank.count; i++)
		m->cpu.bank.regs[i].present = vf_arm64_reg_is_id(m->cpu.bank.regs[i].id);
	m->arm64 = (struct vferry_kvm_arm64) { .calls = { .user = m, .call = call }, .cpus = &m->cpu,
		.cpu_count = 1, .ipa_bits = 40, .counter_hz = 62500000, .has_masks = true,
		.masks = m->masks, .distributor = 0x08000000, .region_count = 1,
		.regions = { 0x080a0000 } };
	m->cpu.arm64 = &m->arm64;
	(void) snprintf(m->cpu.name, sizeof(m->cpu.name), "cpu/0");
	return m;
}

static void try_cpu(struct machine *m, struct vferry_reader *r, const uint8_t *data, size_t size)
{
	struct vf_arm64_cpu_image image;
	struct vferry_writer *w = NULL;
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vf_arm64_cpu_image_init(&image, &m->cpu.bank))
		return;
	if (vf_arm64_cpu_image_read(&image, r, "cpu/0", &err)) {
		if (!err.id[0])
			abort();
	} else if (!vferry_writer_new(vf_arm64_cpu_image_bytes(&m->cpu.bank), &w)) {
		vf_arm64_cpu_image_write(&image, w);
		must_be(w, data, size);
	}
	vferry_writer_free(w);
	vf_arm64_cpu_image_done(&image);
}

static void try_time(struct vferry_reader *r, const uint8_t *data, size_t size)
{
	struct vf_arm64_time time;
	struct vferry_writer *w = NULL;
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (!vf_arm64_time_read(&time, r, &err) && !vferry_writer_new(VF_ARM64_TIME_BYTES, &w)) {
		uint64_t elapsed = vf_arm64_time_elapsed(&time, 1ull << 61);

		if (elapsed && (time.mode == VFERRY_KVM_TIME_PAUSED || time.realtime_ns >= 1ull << 61))
			abort();
		vf_arm64_time_write(&time, w);
		must_be(w, data, size);
	}
	vferry_writer_free(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vferry_reasons reasons = { 0 };
	struct vferry_reader *r = NULL;
	struct machine *m;

	if (!size || vferry_reader_new(data + 1, size - 1, &r))
		return 0;
	m = machine_new();
	switch (data[0]) {
	case 0:
		try_cpu(m, r, data + 1, size - 1);
		break;
	case 1:
		try_time(r, data + 1, size - 1);
		break;
	case 2:
		(void) vf_arm64_cpu_check(&m->cpu, r, &reasons);
		break;
	case 3:
		(void) vf_arm64_counter_check(&m->arm64, r, &reasons);
		break;
	}
	if (m->tried)
		abort();
	vf_arm64_bank_done(&m->cpu.bank);
	free(m);
	vferry_reader_free(r);
	return 0;
}
