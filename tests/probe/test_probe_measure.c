/* SPDX-License-Identifier: MIT */
/*
 * --measure takes a device through a save and a load, once, and gives it back as it was; whichever
 * call fails, it is reset.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/checked.h"
#include "probe/measure.h"
#include "vferry_vfio.h"
#include "vfio/backend.h"

#define STATE_BYTES (3 * VF_MIB + 5)

/* A device whose state is a pattern; it remembers the way it was taken. */
struct fake {
	struct vf_backend base;		/* first */
	uint32_t state;
	char way[200];
	size_t read, written;
	bool bad;			/* other bytes came than went */
	unsigned calls, fail_at;	/* 0 = never */
	bool reset_fails;
	unsigned resets;
};

static struct fake *fake_of(struct vf_backend *backend)
{
	return (struct fake *) backend;
}

static bool fails(struct fake *f)
{
	return ++f->calls == f->fail_at;
}

static int get_state(struct vf_backend *backend, uint32_t *ret_state, struct vferry_error *err)
{
	(void) err;
	*ret_state = fake_of(backend)->state;
	return 0;
}

static int set_state(struct vf_backend *backend, uint32_t state, struct vferry_error *err)
{
	struct fake *f = fake_of(backend);
	size_t at = strlen(f->way);

	(void) snprintf(f->way + at, sizeof(f->way) - at, "%s%s", at ? " " : "",
			vf_vfio_state_name(state));
	if (fails(f))
		return vferry_error_set(err, -EIO, "fake", NULL, "no way to %s",
					vf_vfio_state_name(state));
	f->state = state;
	return 0;
}

static uint8_t byte_at(size_t at)
{
	return (uint8_t) (at * 7 + (at >> 12));
}

static ssize_t data_read(struct vf_backend *backend, void *to, size_t len, struct vferry_error *err)
{
	struct fake *f = fake_of(backend);
	size_t n = vf_min_u64(len, vf_min_u64(300001, STATE_BYTES - f->read));

	if (fails(f))
		return vferry_error_set(err, -EIO, "fake", NULL, "no reading");
	assert_int_equal(f->state, VF_VFIO_STATE_STOP_COPY);
	for (size_t i = 0; i < n; i++)
		((uint8_t *) to)[i] = byte_at(f->read + i);
	f->read += n;
	return (ssize_t) n;
}

static int data_write(struct vf_backend *backend, const void *from, size_t len,
		      struct vferry_error *err)
{
	struct fake *f = fake_of(backend);

	if (fails(f))
		return vferry_error_set(err, -EIO, "fake", NULL, "no writing");
	assert_int_equal(f->state, VF_VFIO_STATE_RESUMING);
	for (size_t i = 0; i < len; i++)
		f->bad |= ((const uint8_t *) from)[i] != byte_at(f->written + i);
	f->written += len;
	return 0;
}

static int reset(struct vf_backend *backend, struct vferry_error *err)
{
	struct fake *f = fake_of(backend);

	(void) err;
	f->resets++;
	if (f->reset_fails)
		return -ETIMEDOUT;
	f->state = VF_VFIO_STATE_RUNNING;
	return 0;
}

static const struct vf_backend_ops ops = {
	.name = "fake", .get_state = get_state, .set_state = set_state, .data_read = data_read,
	.data_write = data_write, .reset = reset,
};

static struct fake fake(void)
{
	return (struct fake) { .base.ops = &ops, .state = VF_VFIO_STATE_RUNNING };
}

static struct probe_facts facts(uint64_t flags)
{
	return (struct probe_facts) {
		.name = "vfio-user:fake",
		.vfio = { .migration = PROBE_YES, .flags = VF_VFIO_MIGRATION_STOP_COPY | flags },
	};
}

static void there_and_back(void **state)
{
	struct probe_facts with = facts(VF_VFIO_MIGRATION_P2P), without = facts(0);
	struct probe_measured m;
	struct fake f = fake();

	(void) state;
	assert_int_equal(probe_measure(&f.base, &with, &m, NULL), 0);
	assert_string_equal(f.way,
			    "RUNNING_P2P STOP STOP_COPY STOP RESUMING STOP RUNNING_P2P RUNNING");
	assert_int_equal(f.written, STATE_BYTES);
	assert_false(f.bad);
	assert_int_equal(f.resets, 0);
	for (int i = 0; i < PROBE_LEGS; i++)
		assert_true(m.legs[i].there);
	assert_int_equal(m.legs[PROBE_LEG_READ].bytes, STATE_BYTES);
	assert_int_equal(m.legs[PROBE_LEG_WRITE].bytes, STATE_BYTES);

	f = fake();
	assert_int_equal(probe_measure(&f.base, &without, &m, NULL), 0);
	assert_string_equal(f.way, "STOP STOP_COPY STOP RESUMING STOP RUNNING");
	assert_false(m.legs[PROBE_LEG_P2P].there || m.legs[PROBE_LEG_RUN_P2P].there);
}

static void every_call_fails_once(void **state)
{
	struct probe_facts with = facts(VF_VFIO_MIGRATION_P2P);
	unsigned calls;
	struct probe_measured m;
	struct fake f = fake();

	(void) state;
	assert_int_equal(probe_measure(&f.base, &with, &m, NULL), 0);
	calls = f.calls;
	assert_true(calls > 20);
	for (unsigned n = 1; n <= calls; n++) {
		struct vferry_error err = VFERRY_ERROR_INIT;

		f = fake();
		f.fail_at = n;
		assert_int_equal(probe_measure(&f.base, &with, &m, &err), -EIO);
		assert_int_equal(f.resets, 1);
		assert_int_equal(f.state, VF_VFIO_STATE_RUNNING);
		assert_non_null(strstr(err.message, "no "));
		assert_null(strstr(err.message, "could not be reset"));
	}
	f = fake();
	f.fail_at = 3;
	f.reset_fails = true;
	{
		struct vferry_error err = VFERRY_ERROR_INIT;

		assert_int_equal(probe_measure(&f.base, &with, &m, &err), -EIO);
		assert_non_null(strstr(err.message,
				       "no way to STOP_COPY; and the device could not be "
				       "reset afterwards: ETIMEDOUT"));
	}
}

static void a_device_that_does_not_run_is_left_alone(void **state)
{
	struct probe_facts with = facts(0);
	struct probe_measured m;
	struct fake f = fake();

	(void) state;
	f.state = VF_VFIO_STATE_RESUMING;
	assert_int_equal(probe_measure(&f.base, &with, &m, NULL), -EBUSY);
	assert_string_equal(f.way, "");
	assert_int_equal(f.resets, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(there_and_back),
		cmocka_unit_test(every_call_fails_once),
		cmocka_unit_test(a_device_that_does_not_run_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
