/* SPDX-License-Identifier: MIT */
/*
 * power_on.c - registers and interrupt controllers as after power-on.
 *
 * KVM has no reset of a machine, and a VM's state right after it was made is what power-on is. So it
 * is read then, before the first vCPU runs, and written back for a reset. Time goes on: the TSC and
 * KVM's clock are left alone. Of the MSRs those are written that were changed since.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "guest/boot.h"

#include "x86.h"

#define MSRS_MAX	1024u
#define IRQCHIPS	3u		/* two PICs, IOAPIC */

#define MSR_TSC		0x10u
#define MSR_TSC_ADJUST	0x3bu

struct vcpu_state {
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	struct kvm_xcrs xcrs;
	struct kvm_debugregs debugregs;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp;
	struct kvm_lapic_state lapic;
	struct kvm_xsave *xsave;	/* xsave_bytes */
	struct kvm_msr_entry *msrs;
	size_t msr_count;
};

struct x86_power_on {
	unsigned cpus;
	size_t xsave_bytes;
	bool xsave2;
	struct kvm_irqchip chips[IRQCHIPS];
	struct kvm_pit_state2 pit;
	struct vcpu_state vcpu[MACHINE_CPUS_MAX];
};

static int failed(struct vferry_error *err, const char *what)
{
	int r = -errno;

	return vferry_error_set(err, r, "power-on", "cpu", "%s failed (%s)", what, vferry_errno_name(r));
}

/* One call for each kind of state: which, and where it is kept. */
static int each_state(const struct x86_power_on *p, struct kvm_vcpu *vcpu, bool set,
		      struct vferry_error *err)
{
	const struct vcpu_state *s = &p->vcpu[vcpu->id];
	const struct {
		unsigned long get, set;
		const void *state;
		const char *name;
	} calls[] = {
		{ KVM_GET_SREGS, KVM_SET_SREGS, &s->sregs, "access to SREGS" },
		{ KVM_GET_XCRS, KVM_SET_XCRS, &s->xcrs, "access to XCRS" },
		{ p->xsave2 ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, KVM_SET_XSAVE, s->xsave, "access to XSAVE" },
		{ KVM_GET_LAPIC, KVM_SET_LAPIC, &s->lapic, "access to LAPIC" },
		{ KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS, &s->events, "access to VCPU_EVENTS" },
		{ KVM_GET_MP_STATE, KVM_SET_MP_STATE, &s->mp, "access to MP_STATE" },
		{ KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, &s->debugregs, "access to DEBUGREGS" },
		{ KVM_GET_REGS, KVM_SET_REGS, &s->regs, "access to REGS" },
	};

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if (ioctl(vcpu->fd, set ? calls[i].set : calls[i].get, calls[i].state) < 0)
			return failed(err, calls[i].name);
	return 0;
}

/* ---- MSRs ---- */

static bool get_msr(int fd, uint32_t index, uint64_t *ret)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = { .head.nmsrs = 1, .entry.index = index };

	if (ioctl(fd, KVM_GET_MSRS, &one) != 1)
		return false;
	*ret = one.entry.data;
	return true;
}

bool x86_msr_set(int vcpu, uint32_t index, uint64_t value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} one = { .head.nmsrs = 1, .entry = { .index = index, .data = value } };

	return ioctl(vcpu, KVM_SET_MSRS, &one) == 1;
}

static struct kvm_msr_list *list_msrs(int kvm)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + MSRS_MAX * sizeof(list->indices[0]));

	if (!list)
		return NULL;
	list->nmsrs = MSRS_MAX;
	if (ioctl(kvm, KVM_GET_MSR_INDEX_LIST, list) < 0) {
		free(list);
		return NULL;
	}
	return list;
}

/* Some of the list are there with some CPUIDs only: those that can be read are kept. */
static int remember_msrs(struct kvm_vcpu *vcpu, struct vcpu_state *s, struct vferry_error *err)
{
	struct kvm_msr_list *list = list_msrs(vcpu->machine->kvm);

	s->msrs = list ? calloc(list->nmsrs + 1, sizeof(*s->msrs)) : NULL;
	if (!s->msrs) {
		free(list);
		return failed(err, "KVM_GET_MSR_INDEX_LIST");
	}
	for (uint32_t i = 0; i < list->nmsrs; i++) {
		struct kvm_msr_entry *msr = &s->msrs[s->msr_count];

		msr->index = list->indices[i];
		if (msr->index != MSR_TSC && msr->index != MSR_TSC_ADJUST &&
		    get_msr(vcpu->fd, msr->index, (uint64_t *) &msr->data))
			s->msr_count++;
	}
	free(list);
	return 0;
}

static int apply_msrs(struct kvm_vcpu *vcpu, const struct vcpu_state *s, struct vferry_error *err)
{
	for (size_t i = 0; i < s->msr_count; i++) {
		const struct kvm_msr_entry *msr = &s->msrs[i];
		uint64_t now;

		if (get_msr(vcpu->fd, msr->index, &now) && now != msr->data &&
		    !x86_msr_set(vcpu->fd, msr->index, msr->data))
			return vferry_error_set(err, -EIO, "power-on", "cpu",
						"MSR %#x of vCPU %u cannot be set to %#llx", msr->index,
						vcpu->id, (unsigned long long) msr->data);
	}
	return 0;
}

/* ---- the machine ---- */

static int remember_vcpu(struct x86_power_on *p, struct kvm_vcpu *vcpu, struct vferry_error *err)
{
	struct vcpu_state *s = &p->vcpu[vcpu->id];
	int r;

	s->xsave = calloc(1, p->xsave_bytes);
	if (!s->xsave)
		return vferry_error_set(err, -ENOMEM, "no-memory", "cpu", "no memory");
	r = each_state(p, vcpu, false, err);
	return r == 0 ? remember_msrs(vcpu, s, err) : r;
}

int x86_power_on_remember(struct kvm_machine *m, struct x86_power_on **ret, struct vferry_error *err)
{
	int xsave_bytes = ioctl(m->vm, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
	struct x86_power_on *p = calloc(1, sizeof(*p));
	int r = 0;

	if (!p)
		return vferry_error_set(err, -ENOMEM, "no-memory", "cpu", "no memory");
	p->cpus = m->cpus;
	p->xsave2 = xsave_bytes > (int) sizeof(struct kvm_xsave);
	p->xsave_bytes = p->xsave2 ? (size_t) xsave_bytes : sizeof(struct kvm_xsave);
	for (unsigned i = 0; i < m->cpus && r == 0; i++)
		r = remember_vcpu(p, &m->vcpu[i], err);
	if (m->arch->split && r == 0) {	/* the others are not KVM's */
		*ret = p;
		return 0;
	}
	for (unsigned i = 0; i < IRQCHIPS && r == 0; i++) {
		p->chips[i].chip_id = i;
		if (ioctl(m->vm, KVM_GET_IRQCHIP, &p->chips[i]) < 0)
			r = failed(err, "KVM_GET_IRQCHIP");
	}
	if (r == 0 && ioctl(m->vm, KVM_GET_PIT2, &p->pit) < 0)
		r = failed(err, "KVM_GET_PIT2");
	if (r < 0)
		(void) x86_power_on_free(p);
	else
		*ret = p;
	return r;
}

/* Real mode at the guest program's entry; KVM's own power-on would begin in firmware. */
static int enter_program(struct kvm_vcpu *vcpu, const struct vcpu_state *s, struct vferry_error *err)
{
	struct kvm_sregs sregs = s->sregs;
	struct kvm_regs regs = s->regs;

	sregs.cs.base = GUEST_ENTRY_OFFSET;
	sregs.cs.selector = GUEST_ENTRY_OFFSET >> 4;
	regs.rip = 0;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0)
		return failed(err, "KVM_SET_SREGS");
	return ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0 ? failed(err, "KVM_SET_REGS") : 0;
}

int x86_power_on_apply(struct kvm_machine *m, const struct x86_power_on *p, struct vferry_error *err)
{
	int r = 0;

	for (unsigned i = 0; i < p->cpus && r == 0; i++) {
		r = each_state(p, &m->vcpu[i], true, err);
		if (r == 0)
			r = apply_msrs(&m->vcpu[i], &p->vcpu[i], err);
	}
	for (unsigned i = 0; i < IRQCHIPS && r == 0 && !m->arch->split; i++)
		if (ioctl(m->vm, KVM_SET_IRQCHIP, &p->chips[i]) < 0)
			r = failed(err, "KVM_SET_IRQCHIP");
	if (r == 0 && !m->arch->split && ioctl(m->vm, KVM_SET_PIT2, &p->pit) < 0)
		r = failed(err, "KVM_SET_PIT2");
	return r == 0 ? enter_program(&m->vcpu[0], &p->vcpu[0], err) : r;
}

struct x86_power_on *x86_power_on_free(struct x86_power_on *p)
{
	if (!p)
		return NULL;
	for (unsigned i = 0; i < p->cpus; i++) {
		free(p->vcpu[i].xsave);
		free(p->vcpu[i].msrs);
	}
	free(p);
	return NULL;
}
