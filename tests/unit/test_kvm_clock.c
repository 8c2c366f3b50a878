/* SPDX-License-Identifier: MIT */
/*
 * test_kvm_clock.c - a machine's time where KVM can move the TSC, which not every host that runs
 * this can: so the calls go to two made-up hosts, whose TSCs have nothing to do with each other.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fake_step.h"
#include "kvm/call.h"
#include "kvm/x86/x86_internal.h"

#define CPUS		2u
#define KHZ		2000000u	/* two ticks a nanosecond */
#define TICKS_OF_MS(ms)	((uint64_t) (ms) * KHZ)
#define TOLERANCE	TICKS_OF_MS(2000)	/* two readings of a busy host's clock */
#define VM_FD(host)	((host) * 100)
#define VCPU_FD(host, n)	((host) * 100 + 1 + (int) (n))

/* ---- two hosts, and the calls that reach them ---- */

static struct host {
	uint64_t tsc_base;		/* the TSC is that, and two ticks a nanosecond */
	uint64_t offset[CPUS];
	uint64_t deadline[CPUS];
	uint64_t armed_by[CPUS];	/* what the vCPU's TSC was when its deadline was set */
	unsigned armed[CPUS];		/* how often */
	unsigned expired;		/* a deadline was set that was over already */
	uint64_t clock_ns, clock_at;	/* KVM's clock: what it was when */
	unsigned announced;
	int fail_fd;			/* MSRs and attributes of this one are EIO */
} hosts[3];				/* from 1 on */

static uint64_t guest_tsc(const struct host *h, unsigned cpu)
{
	return h->tsc_base + vf_realtime_ns() * 2 + h->offset[cpu];
}

static uint64_t guest_clock(const struct host *h)
{
	return h->clock_ns + vf_realtime_ns() - h->clock_at;
}

static int msr_call(struct host *h, unsigned cpu, bool set, struct kvm_msr_entry *entry)
{
	if (entry->index == VF_MSR_TSC && !set) {
		entry->data = guest_tsc(h, cpu);
	} else if (entry->index == VF_MSR_TSC_DEADLINE && !set) {
		entry->data = h->deadline[cpu];
	} else if (entry->index == VF_MSR_TSC_DEADLINE) {
		h->deadline[cpu] = entry->data;
		h->armed_by[cpu] = guest_tsc(h, cpu);
		h->armed[cpu]++;
		h->expired += entry->data && entry->data <= h->armed_by[cpu];
	} else {
		fail_msg("MSR 0x%x is not to be %s", entry->index, set ? "set" : "read");
	}
	return 1;
}

static int vcpu_call(struct host *h, unsigned cpu, unsigned long request, void *argument)
{
	struct kvm_device_attr *attribute = argument;
	uint64_t *offset;

	switch (request) {
	case KVM_GET_MSRS:
	case KVM_SET_MSRS:
		return msr_call(h, cpu, request == KVM_SET_MSRS,
				((struct kvm_msrs *) argument)->entries);
	case KVM_GET_DEVICE_ATTR:
	case KVM_SET_DEVICE_ATTR:
		assert_int_equal(attribute->group, KVM_VCPU_TSC_CTRL);
		assert_int_equal(attribute->attr, KVM_VCPU_TSC_OFFSET);
		offset = (uint64_t *) (uintptr_t) attribute->addr;
		if (request == KVM_SET_DEVICE_ATTR)
			h->offset[cpu] = *offset;
		else
			*offset = h->offset[cpu];
		return 0;
	case KVM_GET_LAPIC:
		memset(argument, 0x11, sizeof(struct kvm_lapic_state));
		return 0;
	case KVM_SET_LAPIC:
	case KVM_GET_MP_STATE:
		return 0;
	}
	fail_msg("vCPU %u: request 0x%lx", cpu, request);
	return -ENOTTY;
}

int vf_kvm_call(int fd, unsigned long request, void *argument)
{
	struct host *h = &hosts[fd / 100];
	struct kvm_clock_data *clock = argument;

	if (fd == h->fail_fd)
		return -EIO;
	if (fd % 100)
		return vcpu_call(h, (unsigned) (fd % 100 - 1), request, argument);
	if (request == KVM_GET_CLOCK) {
		clock->clock = guest_clock(h);
		return 0;
	}
	assert_int_equal(request, KVM_SET_CLOCK);
	h->clock_ns = clock->clock;
	h->clock_at = vf_realtime_ns();
	return 0;
}

int vf_kvm_call_value(int fd, unsigned long request, unsigned long value)
{
	assert_int_equal(request, KVM_KVMCLOCK_CTRL);
	assert_int_equal(value, 0);
	hosts[fd / 100].announced++;
	return -EINVAL;		/* this guest does not use KVM's clock */
}

int vf_kvm_has(int fd, int capability)
{
	(void) fd;
	(void) capability;
	return 1;
}

const char *vf_kvm_hint(int code)
{
	(void) code;
	return "";
}

int vf_kvm_failed(struct vferry_error *err, const char *object, const char *call, int code)
{
	return vferry_error_set(err, code, "kvm-call", object, "%s", call);
}

/* ---- machines on them ---- */

void vferry_reasons_add(struct vferry_reasons *reasons, const char *id, const char *object,
			const char *fmt, ...)
{
	(void) reasons;
	(void) object;
	(void) fmt;
	fail_msg("nothing is compared here: %s", id);
}

struct machine {
	struct vferry_kvm_x86 x86;
	struct vf_x86_cpu cpus[CPUS];
	struct host *host;
};

struct pair {
	struct machine from, to;
	struct vferry_writer *clock, *lapic[CPUS];
};

static void machine_init(struct machine *m, int host, uint64_t tsc_base)
{
	m->host = &hosts[host];
	*m->host = (struct host) { .tsc_base = tsc_base, .clock_ns = 5, .clock_at = vf_realtime_ns(),
		.fail_fd = -1 };
	m->x86 = (struct vferry_kvm_x86) { .vm = VM_FD(host), .kvm = -1, .cpus = m->cpus,
		.cpu_count = CPUS, .tsc_moves = true };
	for (unsigned i = 0; i < CPUS; i++) {
		m->cpus[i] = (struct vf_x86_cpu) { .x86 = &m->x86, .fd = VCPU_FD(host, i),
			.tsc_khz = KHZ };
		(void) snprintf(m->cpus[i].name, sizeof(m->cpus[i].name), "cpu/%u", i);
		(void) snprintf(m->cpus[i].lapic_name, sizeof(m->cpus[i].lapic_name), "lapic/%u",
				i);
	}
}

/* The source's guest has run for ten minutes; its vCPUs' TSCs are 77 ticks apart. */
static int set_up(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));
	uint64_t since_boot = 600ull * 1000 * KHZ;

	machine_init(&p->from, 1, 1ull << 60);
	machine_init(&p->to, 2, 123456789);
	p->from.host->offset[0] = since_boot - guest_tsc(p->from.host, 0);
	p->from.host->offset[1] = p->from.host->offset[0] - 77;
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(vferry_writer_new(4096, &p->lapic[i]), 0);
	assert_int_equal(vferry_writer_new(4096, &p->clock), 0);
	*state = p;
	return 0;
}

static int tear_down(void **state)
{
	struct pair *p = *state;

	for (unsigned i = 0; i < CPUS; i++)
		vferry_writer_free(p->lapic[i]);
	vferry_writer_free(p->clock);
	free(p);
	return 0;
}

/* The step of a table that has this class. */
static int run_step(const struct vferry_step_desc *steps, size_t count, enum vferry_step_class class,
		    void *user, struct vferry_writer *section, struct vferry_error *err)
{
	struct vferry_step step = { .writer = section };
	size_t bytes;
	int ret = -ENOENT;

	if (VFERRY_PHASE_OF(class) == VFERRY_PHASE_LOAD) {
		const void *data = vferry_writer_data(section, &bytes);

		assert_int_equal(vferry_reader_new(data, bytes, &step.reader), 0);
		step.writer = NULL;
	}
	for (size_t i = 0; i < count; i++)
		if (steps[i].step_class == class)
			ret = steps[i].run(user, &step, err);
	vferry_reader_free(step.reader);
	return ret;
}

static int clock_step(struct machine *m, enum vferry_step_class class, struct vferry_writer *section,
		      struct vferry_error *err)
{
	return run_step(vf_x86_clock_steps, vf_x86_clock_step_count, class, &m->x86, section, err);
}

static int lapic_step(struct machine *m, unsigned n, enum vferry_step_class class,
		      struct vferry_writer *section)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	return run_step(vf_x86_lapic_steps, vf_x86_lapic_step_count, class, &m->cpus[n], section,
			&err);
}

static void migrate(struct pair *p)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	assert_int_equal(clock_step(&p->from, VFERRY_SAVE_CLOCK, p->clock, &err), 0);
	for (unsigned i = 0; i < CPUS; i++)
		assert_int_equal(lapic_step(&p->from, i, VFERRY_SAVE_LAPIC, p->lapic[i]), 0);
	for (unsigned i = 0; i < CPUS; i++) {
		assert_int_equal(lapic_step(&p->to, i, VFERRY_LOAD_LAPIC, p->lapic[i]), 0);
		assert_int_equal(lapic_step(&p->to, i, VFERRY_LOAD_TSC_DEADLINE, p->lapic[i]), 0);
	}
	assert_int_equal(clock_step(&p->to, VFERRY_LOAD_CLOCK, p->clock, &err), 0);
}

static void assert_near(uint64_t a, uint64_t b)
{
	int64_t apart = (int64_t) (a - b);

	assert_in_range((uint64_t) (apart < 0 ? -apart : apart), 0, TOLERANCE);
}

/* ---- what is to hold ---- */

static void running_time_is_the_same_on_both(void **state)
{
	struct pair *p = *state;

	migrate(p);
	/* The source's clocks go on here, so they show what the guest would have seen there. */
	assert_near(guest_tsc(p->to.host, 0), guest_tsc(p->from.host, 0));
	assert_int_equal(p->to.host->offset[0] - p->to.host->offset[1], 77);
	assert_near(guest_clock(p->to.host) * 2, guest_clock(p->from.host) * 2);
	assert_int_equal(p->to.host->announced, CPUS);
	assert_int_equal(p->from.host->announced, 0);
}

/* An hour in a file, by the clock of the section. */
static void shift_realtime(struct vferry_writer *section, uint64_t earlier_ns)
{
	size_t bytes;
	uint8_t *data = (uint8_t *) vferry_writer_data(section, &bytes);
	uint64_t realtime;

	memcpy(&realtime, data + 1, sizeof(realtime));
	realtime -= earlier_ns;
	memcpy(data + 1, &realtime, sizeof(realtime));
}

static void long_pause(struct pair *p, enum vferry_kvm_time mode)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	p->from.x86.time = mode;
	assert_int_equal(clock_step(&p->from, VFERRY_SAVE_CLOCK, p->clock, &err), 0);
	shift_realtime(p->clock, 3600ull * 1000000000);
	assert_int_equal(clock_step(&p->to, VFERRY_LOAD_CLOCK, p->clock, &err), 0);
	assert_int_equal(p->to.x86.time, mode);
}

static void hour_passes_for_a_running_clock(void **state)
{
	struct pair *p = *state;

	long_pause(p, VFERRY_KVM_TIME_RUNNING);
	assert_near(guest_tsc(p->to.host, 0), guest_tsc(p->from.host, 0) + 3600ull * 1000 * KHZ);
	assert_true(guest_clock(p->to.host) >= 3600ull * 1000000000);
}

static void hour_does_not_pass_for_a_paused_clock(void **state)
{
	struct pair *p = *state;

	long_pause(p, VFERRY_KVM_TIME_PAUSED);
	assert_near(guest_tsc(p->to.host, 0), guest_tsc(p->from.host, 0));
	assert_true(guest_clock(p->to.host) < 60ull * 1000000000);
}

/* Until the clock is set the deadline is far away, then it is armed by the TSC that is true. */
static void deadline_is_kept(void **state)
{
	struct pair *p = *state;
	uint64_t deadline = guest_tsc(p->from.host, 0) + TICKS_OF_MS(60000);

	p->from.host->deadline[0] = deadline;
	migrate(p);
	assert_int_equal(p->to.host->deadline[0], deadline);
	assert_int_equal(p->to.host->armed[0], 2);
	assert_int_equal(p->to.host->expired, 0);
	assert_near(p->to.host->armed_by[0], deadline - TICKS_OF_MS(60000));
	assert_int_equal(p->to.host->deadline[1], 0);
	assert_int_equal(p->to.host->armed[1], 1);	/* switched off, and not again */
}

/* A guest that was up for less than the TSC is set back by: not to before its boot. */
static void deadline_of_a_young_guest_is_kept(void **state)
{
	struct pair *p = *state;
	uint64_t now = guest_tsc(p->from.host, 0);

	for (unsigned i = 0; i < CPUS; i++)	/* 5 s since its boot */
		p->from.host->offset[i] += TICKS_OF_MS(5000) - now;
	p->from.host->deadline[0] = guest_tsc(p->from.host, 0) + TICKS_OF_MS(60000);
	migrate(p);
	assert_int_equal(p->to.host->expired, 0);
	assert_near(p->to.host->armed_by[0], guest_tsc(p->from.host, 0));
}

static void undo_puts_paused_time_back(void **state)
{
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint64_t tsc, clock;

	p->from.x86.time = VFERRY_KVM_TIME_PAUSED;
	tsc = guest_tsc(p->from.host, 0);
	clock = guest_clock(p->from.host);
	assert_int_equal(clock_step(&p->from, VFERRY_SAVE_CLOCK, p->clock, &err), 0);
	p->from.host->tsc_base += 3600ull * 1000 * KHZ;		/* an hour goes by */
	p->from.host->clock_ns += 3600ull * 1000000000;
	assert_int_equal(clock_step(&p->from, VFERRY_UNDO_CLOCK, NULL, &err), 0);
	assert_near(guest_tsc(p->from.host, 0), tsc);
	assert_near(guest_clock(p->from.host) * 2, clock * 2);
	assert_int_equal(p->from.host->offset[0] - p->from.host->offset[1], 77);
	assert_int_equal(p->from.host->announced, CPUS);
}

static void undo_leaves_running_time_alone(void **state)
{
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint64_t offset = p->from.host->offset[0];

	assert_int_equal(clock_step(&p->from, VFERRY_SAVE_CLOCK, p->clock, &err), 0);
	assert_int_equal(clock_step(&p->from, VFERRY_UNDO_CLOCK, NULL, &err), 0);
	assert_int_equal(p->from.host->offset[0], offset);
	assert_int_equal(p->from.host->clock_ns, 5);
}

static void what_fails_is_named(void **state)
{
	struct pair *p = *state;
	struct vferry_error err = VFERRY_ERROR_INIT;

	assert_int_equal(clock_step(&p->from, VFERRY_SAVE_CLOCK, p->clock, &err), 0);
	p->to.host->fail_fd = VCPU_FD(2, 1);
	assert_int_equal(clock_step(&p->to, VFERRY_LOAD_CLOCK, p->clock, &err), -EIO);
	assert_string_equal(err.object, "cpu/1");
	assert_string_equal(err.message, "moving the TSC");
	vferry_error_clear(&err);
	p->to.host->fail_fd = VM_FD(2);
	assert_int_equal(clock_step(&p->to, VFERRY_SAVE_CLOCK, p->clock, &err), -EIO);
	assert_string_equal(err.object, "clock");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(running_time_is_the_same_on_both),
		TEST(hour_passes_for_a_running_clock),
		TEST(hour_does_not_pass_for_a_paused_clock),
		TEST(deadline_is_kept),
		TEST(deadline_of_a_young_guest_is_kept),
		TEST(undo_puts_paused_time_back),
		TEST(undo_leaves_running_time_alone),
		TEST(what_fails_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
