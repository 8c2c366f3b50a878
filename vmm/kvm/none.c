/* SPDX-License-Identifier: MIT */
/* none.c - the place of the KVM machine in a build for an architecture that it is not there for. */
#include <errno.h>

#include "../machine_accel.h"

static int probe(const struct machine_options *options, struct vferry_error *err)
{
	(void) options;
	return vferry_error_set(err, -ENOTSUP, "no-kvm-machine", "kvm",
				"accelerator kvm is not part of this build: the KVM machine is there for "
				"x86-64 and arm64 only; use --accel soft");
}

const struct machine_accel machine_accel_kvm = {
	.name = "kvm",
	.summary = "guests on the kernel's KVM; not part of this build",
	.probe = probe,
};
