/* SPDX-License-Identifier: MIT */
/*
 * fuzz_kvm_state.c - sections and identities of an x86-64 machine on KVM, as a source sends them.
 *
 * The first byte says what follows: 0 the section of a vCPU and 1 that of the clock, which are
 * written again if they are accepted and must come out as they went in; 2 the identity of a vCPU;
 * 3 that of the clock; 4 and more the section of a load step of one of the other components. There
 * is no KVM behind: steps fail where their first call does.
 */
#include <stdlib.h>

#include "base/checked.h"
#include "component_target.h"
#include "kvm/x86/x86_internal.h"
#include "must_be.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_cpu(struct vferry_reader *r, const uint8_t *data, size_t size)
{
	struct vf_x86_cpu_image image;
	struct vferry_writer *w = NULL;
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vf_x86_cpu_image_init(&image, VF_X86_XSAVE_MIN))
		return;
	if (!vf_x86_cpu_image_read(&image, r, "cpu/0", &err) &&
	    !vferry_writer_new(vf_x86_cpu_image_bytes(VF_X86_XSAVE_MIN), &w)) {
		vf_x86_cpu_image_write(&image, w);
		must_be(w, data, size);
	}
	vferry_writer_free(w);
	vf_x86_cpu_image_done(&image);
}

static void try_clock(struct vferry_reader *r, const uint8_t *data, size_t size)
{
	struct vf_x86_time time;
	struct vferry_writer *w = NULL;
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (!vf_x86_time_read(&time, 1, r, &err) && !vferry_writer_new(vf_x86_time_bytes(1), &w)) {
		uint64_t elapsed = vf_x86_time_elapsed(&time, 1ull << 61);

		if (elapsed > 1ull << 61 || (time.mode == VFERRY_KVM_TIME_PAUSED && elapsed))
			abort();
		(void) vf_x86_time_tsc(&time, elapsed);
		vf_x86_time_write(&time, w);
		must_be(w, data, size);
	}
	vferry_writer_free(w);
}

/* A machine of one vCPU, without KVM. */
struct machine {
	struct vferry_kvm_x86 x86;
	struct vf_x86_cpu cpu;
	struct kvm_cpuid_entry2 cpuid[1];
};

static struct machine *machine_new(void)
{
	struct machine *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	m->x86 = (struct vferry_kvm_x86) { .kvm = -1, .vm = -1, .pit = true, .cpus = &m->cpu,
		.cpu_count = 1, .xsave_bytes = VF_X86_XSAVE_MIN, .boot_id = "boot",
		.vendor = "GenuineOther", .supported = m->cpuid, .supported_count = 1,
		.msrs = { .count = 2, .index = { 0x174, 0x175 } } };
	m->cpu = (struct vf_x86_cpu) { .x86 = &m->x86, .fd = -1, .name = "cpu/0",
		.lapic_name = "lapic/0", .cpuid = m->cpuid, .cpuid_count = 1,
		.tsc_khz = 2000000 };
	m->cpuid[0] = (struct kvm_cpuid_entry2) { .function = 1, .edx = 0x178bfbff };
	return m;
}

static void try_chip(struct machine *m, size_t which, struct vferry_reader *r)
{
	struct vferry_component chips[3];
	size_t count = vf_x86_chips_describe(&m->x86, chips);
	struct vferry_step step = { .reader = r };
	struct vferry_error err = VFERRY_ERROR_INIT;
	int ret;

	which %= count + 2;
	if (which < count)
		ret = chips[which].steps[1].run(&m->x86, &step, &err);
	else
		ret = vf_x86_lapic_steps[1 + which - count].run(&m->cpu, &step, &err);
	if (ret >= 0 || !err.id[0])	/* at the latest because there is no KVM */
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vferry_reasons reasons = { 0 };
	struct vferry_reader *r = NULL;
	struct machine *m = machine_new();

	if (m && size && !vferry_reader_new(data + 1, size - 1, &r)) {
		switch (data[0]) {
		case 0:
			try_cpu(r, data + 1, size - 1);
			break;
		case 1:
			try_clock(r, data + 1, size - 1);
			break;
		case 2:
			(void) vf_x86_cpu_check(&m->cpu, r, &reasons);
			break;
		case 3:
			(void) vf_x86_clock_check(&m->x86, r, &reasons);
			break;
		default:
			try_chip(m, data[0], r);
		}
	}
	vferry_reader_free(r);
	free(m);
	return 0;
}
