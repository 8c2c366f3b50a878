/* SPDX-License-Identifier: MIT */
/* kvm_accel.c - the KVM machine as an accelerator (machine_accel.h). */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm.h"

#define API_VERSION 12

static struct kvm_machine *kvm_of(struct machine *machine)
{
	return machine->accel_data;
}

/* ---- can it be used here? ---- */

static int why_not_open(struct vferry_error *err)
{
	int r = -errno;

	return vferry_error_set(err, r == -ENOENT ? -ENOTSUP : r, "no-kvm", "kvm",
				r == -ENOENT ? "there is no /dev/kvm here; --accel soft needs none"
				: "/dev/kvm cannot be opened (%s); --accel soft needs none",
				vferry_errno_name(r));
}

static int check_capabilities(int kvm, const struct kvm_capability *needed, struct vferry_error *err)
{
	for (; needed->name; needed++)
		if (ioctl(kvm, KVM_CHECK_EXTENSION, needed->number) <= 0)
			return vferry_error_set(err, -ENOTSUP, "kvm-capability", "kvm",
						"this KVM lacks KVM_CAP_%s", needed->name);
	return 0;
}

/* That it makes virtual machines is found out by making one: another hypervisor may hold the processor. */
static int try_vm(int kvm, struct vferry_error *err)
{
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	int r;

	if (vm < 0)
		return vferry_error_set(err, -errno, "no-vm", "kvm", "KVM makes no virtual machine (%s)",
					vferry_errno_name(errno));
	r = kvm_arch_probe_vm(vm, err);
	(void) close(vm);
	return r;
}

static int try_out(int kvm, struct vferry_error *err)
{
	static const struct kvm_capability needed[] = {
		KVM_CAPABILITY(USER_MEMORY), KVM_CAPABILITY(IRQ_ROUTING), KVM_CAPABILITY(IRQFD),
		KVM_CAPABILITY(IRQFD_RESAMPLE), KVM_CAPABILITY(SIGNAL_MSI),
		KVM_CAPABILITY(IMMEDIATE_EXIT), { 0 },
	};
	int r;

	if (ioctl(kvm, KVM_GET_API_VERSION, 0) != API_VERSION)
		return vferry_error_set(err, -ENOTSUP, "no-kvm", "kvm", "/dev/kvm is not KVM's API %d",
					API_VERSION);
	r = check_capabilities(kvm, needed, err);
	if (r == 0)
		r = check_capabilities(kvm, kvm_arch_facts.needed, err);
	if (r == 0)
		r = kvm_arch_probe(kvm, err);
	return r == 0 ? try_vm(kvm, err) : r;
}

static int probe(const struct machine_options *options, struct vferry_error *err)
{
	int kvm = options->kvm >= 0 ? options->kvm : machine_open_kvm();
	int r = kvm < 0 ? why_not_open(err) : try_out(kvm, err);

	if (kvm >= 0 && kvm != options->kvm)
		(void) close(kvm);
	return r;
}

static int check_options(const struct machine_options *options, struct vferry_error *err)
{
	int r = kvm_arch_check(options, err);

	if (options->gic != MACHINE_GIC_DEFAULT)
		return vferry_error_set(err, -EINVAL, "soft-only", "machine",
					"--gic is the soft machine's: with --accel soft");
	return r == 0 ? kvm_guest_check(options, err) : r;
}

/* ---- the table ---- */

static int create(struct machine *machine, const struct machine_options *options,
		  struct vferry_error *err)
{
	struct kvm_machine *m;
	int r = check_options(options, err);

	if (r == 0)
		r = kvm_machine_new(machine, options, &m, err);
	if (r == 0)
		machine->accel_data = m;
	return r;
}

static void destroy(struct machine *machine)
{
	machine->accel_data = kvm_machine_free(machine->accel_data);
}

static void describe(const struct machine *machine, char *to, size_t size)
{
	const struct kvm_machine *m = machine->accel_data;

	(void) snprintf(to, size, "%s cpus=%u irqchip=%s%s", kvm_arch_facts.name, machine->cpus,
			kvm_arch_irqchip(m), m->kernel ? " guest=kernel" : "");
}

/* A driver asks for the KVM of its device while that is opened. Most need none, so none is no failure. */
static int open_vfio(struct machine *machine)
{
	struct kvm_create_device create = { .type = KVM_DEV_TYPE_VFIO };

	if (ioctl(kvm_of(machine)->vm, KVM_CREATE_DEVICE, &create) < 0) {
		kvm_machine_log(kvm_of(machine), "KVM is not told of the machine's VFIO devices (%s)",
				vferry_errno_name(errno));
		return -1;
	}
	return (int) create.fd;
}

static void get_sink(struct machine *machine, struct vferry_irq_sink *ret_sink)
{
	kvm_irq_get_sink(kvm_of(machine)->irq, ret_sink);
}

static int start(struct machine *machine, struct vferry_error *err)
{
	return kvm_machine_start(kvm_of(machine), err);
}

static int stop(struct machine *machine, struct vferry_error *err)
{
	return kvm_machine_stop(kvm_of(machine), err);
}

static int reset(struct machine *machine, struct vferry_error *err)
{
	return kvm_machine_reset(kvm_of(machine), err);
}

static void throttle(struct machine *machine, unsigned percent)
{
	kvm_throttle_set(kvm_of(machine), percent);
}

static bool is_loaded(struct machine *machine)
{
	struct kvm_machine *m = kvm_of(machine);
	bool loaded;

	pthread_mutex_lock(&m->lock);
	loaded = m->loaded;
	pthread_mutex_unlock(&m->lock);
	return loaded;
}

static int command(struct machine *machine, const char *text, char *reply, size_t reply_size,
		   struct vferry_error *err)
{
	if (!is_loaded(machine))
		return vferry_error_set(err, -EPERM, "not-loaded", "machine",
					"this machine has no guest yet");
	if (!kvm_machine_is_running(kvm_of(machine)))
		return vferry_error_set(err, -EAGAIN, "not-running", "machine",
					"the guest cannot answer while the machine is stopped");
	if (kvm_of(machine)->kernel)
		return vferry_error_set(err, -ENOTSUP, "guest-command", "guest",
					"a kernel takes no commands");
	return kvm_console_command(kvm_of(machine)->console, text, reply, reply_size, err);
}

static size_t console_put(struct machine *machine, const void *bytes, size_t count)
{
	const struct kvm_machine *m = kvm_of(machine);

	return m->kernel ? kvm_console_put(m->console, bytes, count) : 0;
}

static void verdict(struct machine *machine, struct machine_verdict *ret_verdict)
{
	kvm_guest_verdict(kvm_of(machine), ret_verdict);
}

static void get_info(struct machine *machine, struct machine_info *ret_info)
{
	struct kvm_machine *m = kvm_of(machine);
	unsigned wishes = atomic_load(&m->wishes);

	ret_info->guest = m->kernel ? "kernel" : kvm_guest_name(0, NULL);
	ret_info->gic = MACHINE_GIC_OFF;
	ret_info->irqchip = kvm_arch_irqchip(m);
	ret_info->dirty = vferry_kvm_memory_dirty(m->memory) == VFERRY_KVM_DIRTY_RING ? "kvm-ring"
										    : "kvm-log";
	ret_info->powered_off = wishes & KVM_WISH_POWER_OFF;
	ret_info->reset_wanted = wishes & KVM_WISH_RESET;
	ret_info->throttle_percent = atomic_load(&m->throttle);
	ret_info->counter_ns = kvm_arch_counter_ns(m);
	pthread_mutex_lock(&m->lock);
	ret_info->running = m->running && !ret_info->powered_off;
	ret_info->last_stop_ns = m->last_stop_ns;
	ret_info->starts = m->starts;
	ret_info->stops = m->stops;
	pthread_mutex_unlock(&m->lock);
}

static const struct vferry_component *component(struct machine *machine, size_t index)
{
	return kvm_components_get(kvm_of(machine)->components, index);
}

const struct machine_accel machine_accel_kvm = {
	.name = "kvm",
	.summary = "guests on the kernel's KVM",
	.layout = &kvm_arch_layout,
	.probe = probe,
	.create = create,
	.destroy = destroy,
	.describe = describe,
	.open_vfio = open_vfio,
	.get_sink = get_sink,
	.start = start,
	.stop = stop,
	.reset = reset,
	.throttle = throttle,
	.command = command,
	.console_put = console_put,
	.verdict = verdict,
	.get_info = get_info,
	.is_loaded = is_loaded,
	.component = component,
	.guest = kvm_guest_name,
};
