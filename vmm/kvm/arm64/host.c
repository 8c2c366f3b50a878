/* SPDX-License-Identifier: MIT */
/* host.c - see host.h. */
#include "host.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#include "map.h"

_Static_assert(ARM64_WINDOW64 + ARM64_WINDOW64_BYTES <= 1ull << ARM64_ADDRESS_BITS,
	       "the machine needs more address bits");

int arm64_host_check(int kvm, struct vferry_error *err)
{
	/* 0: an older KVM, whose VMs have 40 whatever the host's processors can do. */
	int bits = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_ARM_VM_IPA_SIZE);

	if (bits <= 0 || bits >= (int) ARM64_ADDRESS_BITS)
		return 0;
	return vferry_error_set(err, -ENOTSUP, "kvm-address-bits", "kvm",
				"this host's processors give guests %d bits of physical address; the "
				"machine needs %u: its PCI window ends there", bits, ARM64_ADDRESS_BITS);
}

int arm64_host_check_vm(int vm, struct vferry_error *err)
{
	static const struct {
		uint32_t type;
		const char *name;
	} devices[] = { { KVM_DEV_TYPE_ARM_VGIC_V3, "GICv3" }, { KVM_DEV_TYPE_ARM_VGIC_ITS, "ITS" } };

	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++) {
		struct kvm_create_device device = { .type = devices[i].type,
						    .flags = KVM_CREATE_DEVICE_TEST };

		if (ioctl(vm, KVM_CREATE_DEVICE, &device) < 0)
			return vferry_error_set(err, -ENOTSUP, "kvm-device", "kvm",
						"this KVM makes no %s: the machine needs a host with a "
						"GICv3", devices[i].name);
	}
	return 0;
}
