/* SPDX-License-Identifier: MIT */
/*
 * kvm_vcpu.c - the vCPU threads: KVM_RUN, kicks, parking, throttle; see kvm.h.
 *
 * A kick sets `immediate_exit` and sends a signal. The signal takes the thread out of KVM_RUN if it
 * is there; if it is on its way in, KVM_RUN looks at `immediate_exit` and returns at once. The
 * thread clears it before it looks at its flags, so what was set with a kick is seen.
 *
 * Before it parks, a vCPU completes the access of its last exit: what a read found, and that the
 * instruction is done, is told to KVM by the next KVM_RUN only, and in no state that can be read
 * before. KVM_RUN with `immediate_exit` does this and nothing else (Documentation/virt/kvm/api.rst).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../timed.h"
#include "kvm.h"

#define TICK_NS		10000000ull	/* a throttled vCPU runs for so long at most */
#define THROTTLE_MIN_NS	1000000ull	/* shorter sleeps are saved up */

static int kick_signal(void)
{
	return SIGRTMIN;
}

static void kicked(int number)
{
	(void) number;	/* its arrival is all there is to it */
}

int kvm_vcpu_set_up_kicks(struct vferry_error *err)
{
	struct sigaction action = { .sa_handler = kicked };

	(void) sigemptyset(&action.sa_mask);
	if (sigaction(kick_signal(), &action, NULL) < 0)
		return vferry_error_set(err, -errno, "kick-signal", "cpu",
					"signal %d cannot be handled: %s", kick_signal(),
					vferry_errno_name(errno));
	return 0;
}

static void set_immediate_exit(struct kvm_vcpu *vcpu, uint8_t value)
{
	__atomic_store_n(&vcpu->run->immediate_exit, value, __ATOMIC_SEQ_CST);
}

void kvm_vcpu_kick(struct kvm_vcpu *vcpu)
{
	if (!vcpu->started)
		return;
	set_immediate_exit(vcpu, 1);
	parker_wake(&vcpu->parker);
	(void) pthread_kill(vcpu->thread, kick_signal());
}

/* ---- the thread ---- */

static void run(struct kvm_vcpu *vcpu)
{
	uint64_t began = run_clock_now();
	int r = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;

	vcpu->throttle_due += run_clock_now() - began;
	vcpu->unfinished = false;
	if (r == 0)
		kvm_exit_handle(vcpu);
	else if (r != EINTR && r != EAGAIN)
		kvm_exit_failed(vcpu, r);
}

/* Completing an access may be the beginning of another: strings, and accesses in several parts. */
static void finish_access(struct kvm_vcpu *vcpu)
{
	while (vcpu->unfinished) {
		set_immediate_exit(vcpu, 1);
		run(vcpu);
	}
}

/* At p percent, each n ns of running are followed by n * p / (100 - p) ns of sleep. */
static void pay_throttle(struct kvm_vcpu *vcpu)
{
	unsigned percent = atomic_load(&vcpu->machine->throttle);
	uint64_t due = percent ? vcpu->throttle_due * percent / (100 - percent) : 0;

	if (percent && due < THROTTLE_MIN_NS)
		return;
	vcpu->throttle_due = 0;
	if (percent)
		parker_sleep(&vcpu->parker, run_clock_now() + due);
}

static void *vcpu_main(void *user)
{
	struct kvm_vcpu *vcpu = user;
	char name[16];
	sigset_t kick;

	(void) snprintf(name, sizeof(name), "vcpu/%u", vcpu->id);
	(void) pthread_setname_np(pthread_self(), name);
	(void) sigemptyset(&kick);
	(void) sigaddset(&kick, kick_signal());
	(void) pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
	for (;;) {
		set_immediate_exit(vcpu, 0);
		if (atomic_load(&vcpu->parker.stop)) {
			finish_access(vcpu);
			if (!parker_park(&vcpu->parker))
				return NULL;
			vcpu->throttle_due = 0;
			continue;
		}
		if (atomic_exchange(&vcpu->tick, false))
			pay_throttle(vcpu);
		else
			run(vcpu);
	}
}

int kvm_vcpu_start_thread(struct kvm_vcpu *vcpu, struct vferry_error *err)
{
	int r = -pthread_create(&vcpu->thread, NULL, vcpu_main, vcpu);

	if (r < 0)
		return vferry_error_set(err, r, "no-thread", "cpu", "no thread for vCPU %u (%s)",
					vcpu->id, vferry_errno_name(r));
	vcpu->started = true;
	return 0;
}

/* ---- life ---- */

int kvm_vcpu_new(struct kvm_machine *m, unsigned id, struct vferry_error *err)
{
	struct kvm_vcpu *vcpu = &m->vcpu[id];
	int r;

	vcpu->fd = ioctl(m->vm, KVM_CREATE_VCPU, id);
	if (vcpu->fd < 0)
		return vferry_error_set(err, -errno, "no-vcpu", "cpu", "vCPU %u cannot be made (%s)", id,
					vferry_errno_name(errno));
	vcpu->run = mmap(NULL, m->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return vferry_error_set(err, -errno, "no-vcpu", "cpu",
					"the page of vCPU %u cannot be mapped (%s)", id,
					vferry_errno_name(errno));
	}
	vcpu->run_bytes = m->run_bytes;
	r = vferry_kvm_memory_add_vcpu(m->memory, vcpu->fd, err);
	return r < 0 ? r : kvm_arch_vcpu(vcpu, err);
}

void kvm_vcpu_free(struct kvm_vcpu *vcpu)
{
	if (vcpu->started) {
		(void) pthread_join(vcpu->thread, NULL);
		vcpu->started = false;
	}
	if (vcpu->run)
		(void) munmap(vcpu->run, vcpu->run_bytes);
	vcpu->run = NULL;
	if (vcpu->fd >= 0)
		(void) close(vcpu->fd);
	vcpu->fd = -1;
}

/* ---- throttle ---- */

/* A vCPU that computes has no reason to leave KVM_RUN: it is taken out of it. */
static void *ticker_main(void *user)
{
	struct kvm_machine *m = user;

	pthread_mutex_lock(&m->tick_lock);
	while (!m->tick_quit) {
		if (atomic_load(&m->throttle) == 0) {
			pthread_cond_wait(&m->tick, &m->tick_lock);
			continue;
		}
		(void) timed_cond_wait(&m->tick, &m->tick_lock, run_clock_now() + TICK_NS);
		for (unsigned i = 0; i < m->cpus && !m->tick_quit; i++) {
			atomic_store(&m->vcpu[i].tick, true);
			kvm_vcpu_kick(&m->vcpu[i]);
		}
	}
	pthread_mutex_unlock(&m->tick_lock);
	return NULL;
}

int kvm_throttle_new(struct kvm_machine *m, struct vferry_error *err)
{
	int r = -pthread_create(&m->ticker, NULL, ticker_main, m);

	if (r < 0)
		return vferry_error_set(err, r, "no-thread", "cpu", "no thread for the throttle (%s)",
					vferry_errno_name(r));
	m->ticker_started = true;
	return 0;
}

void kvm_throttle_set(struct kvm_machine *m, unsigned percent)
{
	pthread_mutex_lock(&m->tick_lock);
	atomic_store(&m->throttle, percent > 99 ? 99 : percent);
	pthread_cond_signal(&m->tick);
	pthread_mutex_unlock(&m->tick_lock);
}

void kvm_throttle_free(struct kvm_machine *m)
{
	if (!m->ticker_started)
		return;
	pthread_mutex_lock(&m->tick_lock);
	m->tick_quit = true;
	pthread_cond_signal(&m->tick);
	pthread_mutex_unlock(&m->tick_lock);
	(void) pthread_join(m->ticker, NULL);
	m->ticker_started = false;
}
