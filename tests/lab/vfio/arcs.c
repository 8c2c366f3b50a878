/* SPDX-License-Identifier: MIT */
/* arcs.c - what becomes of every change of state that can be asked for. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "device.h"

static bool is_saving(uint32_t state)
{
	return state == VF_VFIO_STATE_STOP_COPY || state == VF_VFIO_STATE_PRE_COPY ||
	       state == VF_VFIO_STATE_PRE_COPY_P2P;
}

static bool is_offered(uint64_t flags, uint32_t state)
{
	if (state == VF_VFIO_STATE_ERROR || state >= VF_VFIO_STATE__COUNT)
		return false;
	switch (state) {
	case VF_VFIO_STATE_RUNNING_P2P:
		return flags & VF_VFIO_MIGRATION_P2P;
	case VF_VFIO_STATE_PRE_COPY:
		return flags & VF_VFIO_MIGRATION_PRE_COPY;
	case VF_VFIO_STATE_PRE_COPY_P2P:
		return flags & VF_VFIO_MIGRATION_PRE_COPY && flags & VF_VFIO_MIGRATION_P2P;
	default:
		return true;
	}
}

/* Nothing was loaded, so a device does not leave RESUMING but by a reset. */
static bool is_allowed(uint64_t flags, uint32_t from, uint32_t to)
{
	if (!is_offered(flags, to))
		return false;
	if (from == VF_VFIO_STATE_RESUMING)
		return to == VF_VFIO_STATE_RESUMING;
	return from != VF_VFIO_STATE_STOP_COPY || !is_saving(to) || to == VF_VFIO_STATE_STOP_COPY;
}

static bool begins_session(uint32_t from, uint32_t to)
{
	if (to == VF_VFIO_STATE_RESUMING)
		return from != to;
	return is_saving(to) && !is_saving(from);
}

static void check_arc(const struct device *device, uint32_t from, uint32_t to)
{
	int first = -1, second, ret;

	device_reset(device);
	assert_int_equal(device_set_state(device, from, &first), 0);
	assert_int_equal(first >= 0, begins_session(VF_VFIO_STATE_RUNNING, from));
	ret = device_set_state(device, to, &second);
	if (ret != (is_allowed(device->flags, from, to) ? 0 : -EINVAL) ||
	    device_state(device) != (int) (ret ? from : to) ||
	    (second >= 0) != (!ret && begins_session(from, to)))
		fail_msg("from %u to %u: %d, descriptor %d, state %d", from, to, ret, second,
			 device_state(device));
	if (first >= 0)
		close(first);
	if (second >= 0)
		close(second);
}

void check_arcs(const struct device *device)
{
	for (uint32_t from = 0; from < VF_VFIO_STATE__COUNT; from++)
		for (uint32_t to = 0; is_offered(device->flags, from) && to < 2 * VF_VFIO_STATE__COUNT; to++)
			check_arc(device, from, to);
	device_reset(device);
}
