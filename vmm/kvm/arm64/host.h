/* SPDX-License-Identifier: MIT */
/* host.h - does a host's KVM have what an arm64 machine is made of? */
#ifndef VMM_KVM_ARM64_HOST_H
#define VMM_KVM_ARM64_HOST_H

#include <vferry/error.h>

/* Asked before a VM is made: this KVM may make none. */
int arm64_host_check(int kvm, struct vferry_error *err);
/* Asked of a VM: that KVM has a GICv3 depends on the host's. */
int arm64_host_check_vm(int vm, struct vferry_error *err);

#endif
