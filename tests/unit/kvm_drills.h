/* SPDX-License-Identifier: MIT */
/*
 * kvm_drills.h - how something is taken away from a stopped machine on KVM, by the calls of KVM that a
 * migration would use: what test_kvm_drills.c needs of an architecture.
 *
 *   DRILL_MESSAGES           vectors of a device
 *   drill_message()          the message of device 0's vector
 *   drill_drop_interrupt()   of device 0: true, one was waiting, and is no more
 *   drill_spoil_*()          one bit of a register; returns its number in faults
 *   drill_drop_timer()       true: one was set, and is no more
 *   drill_counter_back()     true: the guest's counter went back
 *   drill_astray()           goes on where nothing is mapped; returns what the first fault is
 */
#ifndef TESTS_KVM_DRILLS_H
#define TESTS_KVM_DRILLS_H

#include <sys/ioctl.h>

#include "drills.h"
#include "guest/boot.h"
#include "vmm/kvm/kvm.h"

#define DRILL_NOWHERE	0x7000000000ull

static inline struct kvm_machine *kvm_of(struct rig *rig)
{
	return rig->m->accel_data;
}

/* Of the first vCPU, which is stopped. */
static inline void drill_call(struct rig *rig, unsigned long request, void *argument)
{
	assert_true(ioctl(kvm_of(rig)->vcpu[0].fd, request, argument) >= 0);
}

#if defined(__x86_64__)
#include "kvm_drills_x86.h"
#else
#include "kvm_drills_arm64.h"
#endif

#endif
