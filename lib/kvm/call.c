/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "kvm/call.h"

/*
 * A call is interrupted while it waits for a vCPU's lock, and has done nothing then. A bound, since
 * with a vCPU in KVM_RUN it would wait for as long as that runs.
 */
#define INTERRUPTED_MAX 1000

int vf_kvm_call(int fd, unsigned long request, void *argument)
{
	int ret = -1;

	for (unsigned i = 0; i < INTERRUPTED_MAX; i++) {
		ret = ioctl(fd, request, argument);
		if (ret >= 0 || errno != EINTR)
			break;
	}
	return ret < 0 ? -errno : ret;
}

int vf_kvm_call_value(int fd, unsigned long request, unsigned long value)
{
	return vf_kvm_call(fd, request, (void *) value);
}

int vf_kvm_has(int fd, int capability)
{
	int ret = vf_kvm_call_value(fd, KVM_CHECK_EXTENSION, (unsigned long) capability);

	return ret > 0 ? ret : 0;
}

const char *vf_kvm_hint(int code)
{
	switch (code) {
	case -EBUSY:
	case -EINTR:
		return ": a vCPU is still in an ioctl";
	case -EINVAL:
		return ": this host's KVM does not take the value";
	case -ENXIO:
	case -ENOTTY:
		return ": this host's KVM has no such thing";
	case -EFAULT:
		return ": guest memory that belongs to it is not there";
	}
	return "";
}

int vf_kvm_failed(struct vferry_error *err, const char *object, const char *call, int code)
{
	return vferry_error_set(err, code, "kvm-call", object, "%s failed with %s%s", call,
				vferry_errno_name(code), vf_kvm_hint(code));
}
