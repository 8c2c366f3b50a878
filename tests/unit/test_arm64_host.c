/* SPDX-License-Identifier: MIT */
/* Which hosts an arm64 machine can be had on: KVMs that are made up, by their answers. */
#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "kvm/arm64/host.h"

#define FAKE_KVM	100
#define FAKE_VM		101

static int address_bits;	/* 0: this KVM does not know the question */
static unsigned int without;	/* this kind of device can't be made */

int __wrap_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	const struct kvm_create_device *device;
	va_list args;
	int r = 0;

	va_start(args, request);
	switch (request) {
	case KVM_CHECK_EXTENSION:
		assert_int_equal(fd, FAKE_KVM);
		assert_int_equal(va_arg(args, int), KVM_CAP_ARM_VM_IPA_SIZE);
		r = address_bits;
		break;
	case KVM_CREATE_DEVICE:
		device = va_arg(args, const struct kvm_create_device *);
		assert_int_equal(fd, FAKE_VM);
		assert_int_equal(device->flags, KVM_CREATE_DEVICE_TEST);
		errno = ENODEV;
		r = device->type == without ? -1 : 0;
		break;
	default:
		fail_msg("ioctl %#lx is not made up", request);
	}
	va_end(args);
	return r;
}

static void test_enough_address_bits(void **state)
{
	static const int enough[] = { 0, 40, 44, 48, 52 };
	struct vferry_error err = VFERRY_ERROR_INIT;

	(void) state;
	for (size_t i = 0; i < sizeof(enough) / sizeof(enough[0]); i++) {
		address_bits = enough[i];
		assert_int_equal(arm64_host_check(FAKE_KVM, &err), 0);
	}
}

static void test_too_few_address_bits(void **state)
{
	static const int few[] = { 32, 36, 39 };

	(void) state;
	for (size_t i = 0; i < sizeof(few) / sizeof(few[0]); i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		char said[32];

		address_bits = few[i];
		(void) snprintf(said, sizeof(said), " %d bits", few[i]);
		assert_int_equal(arm64_host_check(FAKE_KVM, &err), -ENOTSUP);
		assert_string_equal(err.id, "kvm-address-bits");
		assert_non_null(strstr(err.message, said));
		assert_non_null(strstr(err.message, "needs 40"));
	}
}

static void test_interrupt_controller(void **state)
{
	static const struct {
		unsigned int type;
		const char *name;
	} kinds[] = { { KVM_DEV_TYPE_ARM_VGIC_V3, "GICv3" }, { KVM_DEV_TYPE_ARM_VGIC_ITS, "ITS" } };

	(void) state;
	without = 0;
	assert_int_equal(arm64_host_check_vm(FAKE_VM, NULL), 0);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;

		without = kinds[i].type;
		assert_int_equal(arm64_host_check_vm(FAKE_VM, &err), -ENOTSUP);
		assert_string_equal(err.id, "kvm-device");
		assert_non_null(strstr(err.message, kinds[i].name));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_enough_address_bits),
		cmocka_unit_test(test_too_few_address_bits),
		cmocka_unit_test(test_interrupt_controller),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
