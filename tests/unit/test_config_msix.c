/* SPDX-License-Identifier: MIT */
/* msix: the emulated MSI-X table and pending bits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <cmocka.h>

#include "vfio/msix.h"

#define ADDRESS 0xfee00000ull

static int setup(void **state)
{
	static struct vf_msix m;

	*state = &m;
	return vf_msix_init(&m, 130);
}

static int teardown(void **state)
{
	vf_msix_done(*state);
	return 0;
}

static uint32_t put(struct vf_msix *m, uint32_t vector, uint32_t field, uint64_t value)
{
	uint32_t touched = UINT32_MAX;
	uint32_t flags = vf_msix_table_write(m, vector * 16 + field, field == 0 ? 8 : 4, value,
					     &touched);

	if (flags)
		assert_int_equal(touched, vector);
	return flags;
}

static void starts_masked_and_off(void **state)
{
	struct vf_msix *m = *state;

	assert_int_equal(vf_msix_table_read(m, 129 * 16 + 12, 4), 1);
	assert_int_equal(vf_msix_table_read(m, 129 * 16, 8), 0);
	assert_int_equal(vf_msix_pba_bytes(m), 24);
	assert_true(vf_msix_silent(m, 0));
	assert_false(vf_msix_raise(m, 0));
	assert_false(vf_msix_is_pending(m, 0));		/* MSI-X is off: nothing is owed */
	assert_int_equal(vf_msix_init(&(struct vf_msix) { 0 }, 2049), -EINVAL);
}

static void table_keeps_what_is_written(void **state)
{
	struct vf_msix *m = *state;
	uint32_t v;

	assert_int_equal(put(m, 5, 0, 0x1122334455667703), VF_MSIX_MESSAGE_CHANGED);
	assert_int_equal(put(m, 5, 0, 0x1122334455667700), 0);	/* the same again */
	assert_int_equal(put(m, 5, 8, 0xabcd), VF_MSIX_MESSAGE_CHANGED);
	assert_true(vf_msix_table_read(m, 5 * 16, 8) == 0x1122334455667700);
	assert_int_equal(vf_msix_table_read(m, 5 * 16 + 4, 4), 0x11223344);
	assert_int_equal(vf_msix_table_read(m, 5 * 16 + 8, 4), 0xabcd);
	assert_int_equal(vf_msix_table_read(m, 5 * 16 + 9, 1), 0xab);
	/* data and control in one access; reserved control bits do not stick */
	assert_int_equal(vf_msix_table_write(m, 5 * 16 + 8, 8, 0xfffffffe00001234, &v),
			 VF_MSIX_MESSAGE_CHANGED);
	assert_true(vf_msix_table_read(m, 5 * 16 + 8, 8) == 0x1234);
	assert_true(vf_msix_table_read(m, 4 * 16, 8) == 0 && vf_msix_table_read(m, 6 * 16, 8) == 0);
}

static void odd_accesses_do_nothing(void **state)
{
	struct vf_msix *m = *state;
	uint32_t v;

	assert_int_equal(vf_msix_table_write(m, 2, 4, ~0ull, &v), 0);
	assert_int_equal(vf_msix_table_write(m, 130 * 16, 4, ~0ull, &v), 0);
	assert_int_equal(vf_msix_table_write(m, UINT64_MAX - 3, 4, ~0ull, &v), 0);
	assert_int_equal(vf_msix_table_write(m, 0, 3, ~0ull, &v), 0);
	assert_true(vf_msix_table_read(m, 0, 8) == 0);
	assert_true(vf_msix_table_read(m, 12, 8) == 0);
	assert_true(vf_msix_pba_read(m, 24, 8) == 0);
}

static void vector_mask_pends_and_sends_once(void **state)
{
	struct vf_msix *m = *state;
	uint32_t v;

	assert_int_equal(vf_msix_set_control(m, true, false), VF_MSIX_UNMASKED);
	assert_false(vf_msix_raise(m, 65));
	assert_false(vf_msix_raise(m, 65));
	assert_true(vf_msix_pba_read(m, 8, 8) == 2);
	assert_int_equal(vf_msix_pba_read(m, 8, 1), 2);
	assert_false(vf_msix_take_pending(m, &v));	/* still masked */
	assert_int_equal(put(m, 65, 12, 0), VF_MSIX_UNMASKED | VF_MSIX_SEND_PENDING);
	assert_true(vf_msix_take_pending(m, &v));
	assert_int_equal(v, 65);
	assert_false(vf_msix_take_pending(m, &v));
	assert_true(vf_msix_raise(m, 65));
	assert_int_equal(put(m, 65, 12, 1), VF_MSIX_MASKED);
	assert_int_equal(put(m, 65, 12, 0), VF_MSIX_UNMASKED);
	assert_false(vf_msix_raise(m, 130));
}

static void function_mask_holds_all(void **state)
{
	struct vf_msix *m = *state;
	uint32_t v;

	(void) vf_msix_set_control(m, true, false);
	(void) put(m, 3, 12, 0);
	(void) put(m, 129, 12, 0);
	assert_int_equal(vf_msix_set_control(m, true, true), VF_MSIX_MASKED);
	assert_int_equal(vf_msix_set_control(m, true, true), 0);
	assert_false(vf_msix_raise(m, 3));
	assert_false(vf_msix_raise(m, 129));
	assert_false(vf_msix_raise(m, 7));		/* masked by itself as well */
	assert_int_equal(put(m, 3, 12, 1), 0);		/* silent before and after */
	assert_int_equal(vf_msix_set_control(m, true, false),
			 VF_MSIX_UNMASKED | VF_MSIX_SEND_PENDING);
	assert_true(vf_msix_take_pending(m, &v));
	assert_int_equal(v, 129);
	assert_false(vf_msix_take_pending(m, &v));
	assert_true(vf_msix_is_pending(m, 3) && vf_msix_is_pending(m, 7));
	assert_int_equal(vf_msix_set_control(m, false, false), VF_MSIX_MASKED);
}

static void copy_takes_all(void **state)
{
	struct vf_msix *m = *state, to, other;
	uint32_t v;

	assert_int_equal(vf_msix_init(&to, 130), 0);
	assert_int_equal(vf_msix_init(&other, 129), 0);
	(void) vf_msix_set_control(m, true, true);
	(void) put(m, 9, 0, ADDRESS);
	(void) put(m, 9, 12, 0);
	(void) vf_msix_raise(m, 9);
	assert_int_equal(vf_msix_copy(&other, m), -EINVAL);
	assert_int_equal(vf_msix_copy(&to, m), 0);
	assert_true(vf_msix_table_read(&to, 9 * 16, 8) == ADDRESS);
	assert_int_equal(vf_msix_set_control(&to, true, false),
			 VF_MSIX_UNMASKED | VF_MSIX_SEND_PENDING);
	assert_true(vf_msix_take_pending(&to, &v) && v == 9);
	assert_true(vf_msix_is_pending(m, 9));		/* the original is its own */
	vf_msix_reset(&to);
	assert_true(!to.enabled && vf_msix_table_read(&to, 9 * 16 + 12, 4) == 1);
	vf_msix_done(&to);
	vf_msix_done(&other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(starts_masked_and_off, setup, teardown),
		cmocka_unit_test_setup_teardown(table_keeps_what_is_written, setup, teardown),
		cmocka_unit_test_setup_teardown(odd_accesses_do_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(vector_mask_pends_and_sends_once, setup, teardown),
		cmocka_unit_test_setup_teardown(function_mask_holds_all, setup, teardown),
		cmocka_unit_test_setup_teardown(copy_takes_all, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
