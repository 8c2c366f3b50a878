/* SPDX-License-Identifier: MIT */
/* kvm.c - a KVM machine's life: made, started, stopped, reset; see kvm.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../timed.h"
#include "kvm.h"

#define STOP_DEFAULT_NS	10000000000ull

void kvm_machine_log(struct kvm_machine *m, const char *format, ...)
{
	char line[256];
	va_list args;

	if (!m->callbacks.log)
		return;
	va_start(args, format);
	(void) vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	m->callbacks.log(m->user, line);
}

/* ---- run and park ---- */

static void tell_all_to_park(struct kvm_machine *m)
{
	for (unsigned i = 0; i < m->cpus; i++) {
		atomic_store(&m->vcpu[i].parker.stop, true);
		kvm_vcpu_kick(&m->vcpu[i]);
	}
	pci_host_wake(m->pci);
}

/* A wish may come at any time, from a vCPU that was let run, or never stopped. */
static void let_run(struct kvm_machine *m)
{
	for (unsigned i = 0; i < m->cpus; i++)
		parker_let_run(&m->vcpu[i].parker);
	if (atomic_load(&m->wishes))
		tell_all_to_park(m);
}

static int find_running(void *user)
{
	struct kvm_machine *m = user;

	for (unsigned i = 0; i < m->cpus; i++)
		if (m->vcpu[i].started && !parker_is_parked(&m->vcpu[i].parker))
			return (int) i;
	return -1;
}

static int does_not_stop(struct kvm_machine *m, int cpu, struct vferry_error *err)
{
	struct kvm_vcpu *vcpu = &m->vcpu[cpu];
	unsigned long long ms = m->stop_timeout_ns / 1000000;

	if (atomic_load(&vcpu->accessing))
		return vferry_error_set(err, -ETIMEDOUT, "vcpu-does-not-stop", "cpu",
					"vCPU %d did not stop within %llu ms: it waits for an access to %#llx",
					cpu, ms, (unsigned long long) atomic_load(&vcpu->access));
	return vferry_error_set(err, -ETIMEDOUT, "vcpu-does-not-stop", "cpu",
				"vCPU %d did not stop within %llu ms: it is in the kernel (KVM_RUN)", cpu,
				ms);
}

/* Return: 0; -ETIMEDOUT, with all flags set still. */
static int park_all(struct kvm_machine *m, struct vferry_error *err)
{
	int cpu;

	tell_all_to_park(m);
	cpu = parking_wait(&m->parking, m->stop_timeout_ns, find_running, m);
	return cpu >= 0 ? does_not_stop(m, cpu, err) : 0;
}

static int stop_locked(struct kvm_machine *m, struct vferry_error *err)
{
	uint64_t began = run_clock_now();
	int r;

	if (!m->running)
		return 0;
	r = park_all(m, err);
	if (r < 0) {
		let_run(m);
		return r;
	}
	run_clock_stop(&m->clock);
	m->running = false;
	m->stops++;
	m->last_stop_ns = run_clock_now() - began;
	kvm_console_interrupt(m->console);
	return 0;
}

static void tell_wish(struct kvm_machine *m, enum kvm_wish wish)
{
	void (*told)(void *user) = wish == KVM_WISH_RESET ? m->callbacks.reset
							  : m->callbacks.power_off;

	if (told)
		told(m->user);
}

static int start_locked(struct kvm_machine *m, struct vferry_error *err)
{
	if (m->running)
		return 0;
	if (atomic_load(&m->wishes) & KVM_WISH_POWER_OFF)
		return vferry_error_set(err, -EPERM, "powered-off", "machine",
					"the guest has powered off; reset the machine first");
	if (!m->loaded)
		return vferry_error_set(err, -EPERM, "not-loaded", "machine",
					"this machine waits for an incoming migration");
	kvm_arch_starting(m, m->clock.since_ns || m->clock.stopped_real_ns);
	kvm_console_starting(m->console);
	run_clock_start(&m->clock);
	m->running = true;
	m->starts++;
	/* A reset that the guest asked for comes before it runs on, on whichever side that is. */
	if (atomic_load(&m->wishes) & KVM_WISH_RESET)
		tell_wish(m, KVM_WISH_RESET);
	else
		let_run(m);
	return 0;
}

int kvm_machine_start(struct kvm_machine *m, struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = start_locked(m, err);
	pthread_mutex_unlock(&m->lock);
	return r;
}

int kvm_machine_stop(struct kvm_machine *m, struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = stop_locked(m, err);
	pthread_mutex_unlock(&m->lock);
	return r;
}

bool kvm_machine_is_running(struct kvm_machine *m)
{
	bool running;

	pthread_mutex_lock(&m->lock);
	running = m->running;
	pthread_mutex_unlock(&m->lock);
	return running;
}

void kvm_machine_wish(struct kvm_machine *m, enum kvm_wish wish)
{
	if (atomic_fetch_or(&m->wishes, wish) & wish)
		return;
	tell_all_to_park(m);
	kvm_console_interrupt(m->console);
	tell_wish(m, wish);
}

/* ---- reset ---- */

static int reset_locked(struct kvm_machine *m, struct vferry_error *err)
{
	int r = stop_locked(m, err);

	if (r == 0 && !m->loaded)
		r = vferry_error_set(err, -EPERM, "not-loaded", "machine",
				     "this machine waits for an incoming migration");
	if (r == 0)
		r = kvm_arch_power_on(m, err);
	if (r == 0)
		r = kvm_guest_load(m, err);
	if (r < 0)
		return r;
	kvm_console_reset(m->console);
	for (unsigned i = 0; i < m->cpus; i++)
		atomic_store(&m->vcpu[i].tick, false);
	atomic_store(&m->wishes, 0);
	return 0;
}

int kvm_machine_reset(struct kvm_machine *m, struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = reset_locked(m, err);
	pthread_mutex_unlock(&m->lock);
	return r;
}

/* ---- making one ---- */

static void sync_init(struct kvm_machine *m)
{
	(void) pthread_mutex_init(&m->lock, NULL);
	parking_init(&m->parking);
	(void) pthread_mutex_init(&m->tick_lock, NULL);
	timed_cond_init(&m->tick);
	for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++) {
		struct kvm_vcpu *vcpu = &m->vcpu[i];

		vcpu->machine = m;
		vcpu->id = i;
		vcpu->fd = -1;
		parker_init(&vcpu->parker, &m->parking);
	}
}

static void sync_done(struct kvm_machine *m)
{
	for (unsigned i = 0; i < MACHINE_CPUS_MAX; i++)
		parker_done(&m->vcpu[i].parker);
	(void) pthread_cond_destroy(&m->tick);
	(void) pthread_mutex_destroy(&m->tick_lock);
	parking_done(&m->parking);
	(void) pthread_mutex_destroy(&m->lock);
}

static int open_vm(struct kvm_machine *m, const struct machine_options *options,
		   struct vferry_error *err)
{
	int run_bytes;

	m->kvm = options->kvm >= 0 ? fcntl(options->kvm, F_DUPFD_CLOEXEC, 0) : machine_open_kvm();
	if (m->kvm < 0)
		return vferry_error_set(err, -errno, "no-kvm", "kvm", "/dev/kvm cannot be opened (%s)",
					vferry_errno_name(errno));
	run_bytes = ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	m->vm = run_bytes < 0 ? -1 : ioctl(m->kvm, KVM_CREATE_VM, 0);
	if (m->vm < 0)
		return vferry_error_set(err, -errno, "no-vm", "kvm", "KVM makes no virtual machine (%s)",
					vferry_errno_name(errno));
	m->run_bytes = (size_t) run_bytes;
	return 0;
}

static int make_memory(struct kvm_machine *m, enum machine_dirty dirty, struct vferry_error *err)
{
	struct vferry_kvm_memory_config config = {
		.size = sizeof(config), .vm = m->vm, .ram = m->ram, .slot_first = KVM_SLOT_RAM,
		.dirty = dirty == MACHINE_DIRTY_LOG ? VFERRY_KVM_DIRTY_LOG :
			 dirty == MACHINE_DIRTY_RING ? VFERRY_KVM_DIRTY_RING : VFERRY_KVM_DIRTY_AUTO,
	};

	return vferry_kvm_memory_new(&config, &m->memory, err);
}

static int make_vcpus(struct kvm_machine *m, struct vferry_error *err)
{
	int r = kvm_vcpu_set_up_kicks(err);

	for (unsigned i = 0; r == 0 && i < m->cpus; i++)
		r = kvm_vcpu_new(m, i, err);
	return r == 0 ? kvm_arch_complete(m, err) : r;
}

static int make_state(struct kvm_machine *m, enum machine_guest_time time, struct vferry_error *err)
{
	int vcpu[MACHINE_CPUS_MAX];

	for (unsigned i = 0; i < m->cpus; i++)
		vcpu[i] = m->vcpu[i].fd;
	return kvm_arch_state_new(m, vcpu, time == MACHINE_GUEST_TIME_PAUSED ?
				  VFERRY_KVM_TIME_PAUSED : VFERRY_KVM_TIME_RUNNING, err);
}

/* Threads last: what they run is complete. */
static int start_threads(struct kvm_machine *m, struct vferry_error *err)
{
	int r = kvm_throttle_new(m, err);

	for (unsigned i = 0; r == 0 && i < m->cpus; i++)
		r = kvm_vcpu_start_thread(&m->vcpu[i], err);
	/* From now on a machine that does not run has its vCPUs parked. */
	return r == 0 ? park_all(m, err) : r;
}

static int make(struct kvm_machine *m, const struct machine_options *options,
		struct vferry_error *err)
{
	int r = open_vm(m, options, err);

	if (r == 0)
		r = kvm_arch_new(m, options, err);
	if (r == 0)
		r = make_memory(m, options->dirty, err);
	if (r == 0)
		r = kvm_irq_new(m, &m->irq);
	if (r == 0)
		r = kvm_console_new(m, kvm_arch_serial_irq, &m->console);
	if (r == 0)
		r = make_vcpus(m, err);
	if (r == 0)
		r = make_state(m, options->guest_time, err);
	if (r == 0)
		r = kvm_components_new(m, &m->components);
	/* An incoming machine's memory and registers come with it. */
	if (r == 0 && m->loaded)
		r = kvm_arch_power_on(m, err);
	if (r == 0 && m->loaded)
		r = kvm_guest_load(m, err);
	return r == 0 ? start_threads(m, err) : r;
}

int kvm_machine_new(struct machine *machine, const struct machine_options *options,
		    struct kvm_machine **ret, struct vferry_error *err)
{
	struct kvm_machine *m = calloc(1, sizeof(*m));
	int r;

	if (!m)
		return -ENOMEM;
	m->machine = machine;
	m->cpus = options->cpus;
	m->kvm = m->vm = -1;
	m->ram = machine->ram;
	m->pci = machine->pci;
	m->stop_timeout_ns = options->stop_timeout_ns ? options->stop_timeout_ns : STOP_DEFAULT_NS;
	m->callbacks = machine->callbacks;
	m->user = machine->user;
	m->kernel = options->kernel;
	m->clock.mode = options->guest_time;
	m->loaded = !options->incoming;
	sync_init(m);
	m->args = strdup(options->guest_args ? options->guest_args : "");
	r = m->args ? make(m, options, err) : -ENOMEM;
	if (r < 0) {
		(void) kvm_machine_free(m);
		return r;
	}
	pci_host_set_memory(m->pci, &kvm_slots_ops, m);
	*ret = m;
	return 0;
}

struct kvm_machine *kvm_machine_free(struct kvm_machine *m)
{
	if (!m)
		return NULL;
	kvm_throttle_free(m);
	for (unsigned i = 0; i < m->cpus; i++)
		atomic_store(&m->vcpu[i].parker.exit, true);
	tell_all_to_park(m);
	m->components = kvm_components_free(m->components);
	kvm_arch_state_free(m);
	for (unsigned i = 0; i < m->cpus; i++)
		kvm_vcpu_free(&m->vcpu[i]);
	m->console = kvm_console_free(m->console);
	m->irq = kvm_irq_free(m->irq);
	m->memory = vferry_kvm_memory_free(m->memory);
	kvm_arch_free(m);
	if (m->vm >= 0)
		(void) close(m->vm);
	if (m->kvm >= 0)
		(void) close(m->kvm);
	sync_done(m);
	free(m->args);
	free(m);
	return NULL;
}
