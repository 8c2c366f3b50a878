/* SPDX-License-Identifier: MIT */
/* call.h - one call of KVM: ioctl(2) with a negative errno, repeated when a signal came. */
#ifndef VF_KVM_CALL_H
#define VF_KVM_CALL_H

#include <vferry/error.h>

/** vf_kvm_call() - Return: what ioctl(2) returned, or -errno */
int vf_kvm_call(int fd, unsigned long request, void *argument);
int vf_kvm_call_value(int fd, unsigned long request, unsigned long value);
/** vf_kvm_has() - KVM_CHECK_EXTENSION. Return: 0 or what it says; 0 if it can't be asked. */
int vf_kvm_has(int fd, int capability);

/* What a failure is likely to mean, beginning with ": "; "" if nothing is. */
const char *vf_kvm_hint(int code);
/* "KVM_GET_SREGS2 failed with EBUSY: a vCPU is ...", as id kvm-call. Return: @code. */
int vf_kvm_failed(struct vferry_error *err, const char *object, const char *call, int code);

#endif
