/* SPDX-License-Identifier: MIT */
/*
 * migration.c - a device's migration state: VFIO's v2 protocol (linux/vfio.h), over any backend.
 *
 * Model: `state` is what the device said last. One call asks for one target; VFIO walks there by
 * itself. A failed request says nothing about where the device is, so it is asked again each time.
 * Recovery goes in this order: the named state; a reset, after which the device runs but is empty
 * (`lost`); if not even that, `dead`, and nobody may use it any more.
 *
 * Generations. A guest may reset the device while its state is being read. The reset ends the
 * stream; what was sent is void. `resets` counts them as they happen, `generation` is the number
 * of resets that the stream has followed: it changes only inside read(), which then gives no bytes, or
 * in the stop step. So bytes given by read() always belong to the generation that is valid after the
 * call.
 *
 * Threads: mig_lock serialises transitions and resets; data is read and written without it, so that a
 * driver which takes its time in a write does not stop anybody else.
 */
#include <errno.h>

#include "vfio/device_internal.h"

const char *vf_migration_state_name(uint32_t state)
{
	const char *name = vf_vfio_state_name(state);

	return name ? name : "unknown";
}

/* Where is it really? Return: 0 or errno; the state is unknown (ERROR) then. */
static int read_back_locked(struct vferry_device *d, struct vferry_error *err)
{
	uint32_t state = VF_VFIO_STATE_ERROR;
	int r = vf_device_trace(d, VF_TRACE_DEVICE_STATE, 0, 0);

	if (r == 0)
		r = d->backend->ops->get_state(d->backend, &state, err);
	if (r == 0 && state >= VF_VFIO_STATE__COUNT)
		r = vferry_error_set(err, -EPROTO, "device-state", d->vfio_name,
				     "the device says it is in state %u, which is none", state);
	d->state = r < 0 ? (uint32_t) VF_VFIO_STATE_ERROR : state;
	return r;
}

/* A session with a stream of its own begins on entry: if the request failed, the stream is lost even
 * where the state was reached. */
static bool opens_stream(uint32_t target)
{
	return target == VF_VFIO_STATE_STOP_COPY || target == VF_VFIO_STATE_RESUMING ||
	       vf_vfio_state_is_precopy(target);
}

static enum vf_trace_point point_of(uint32_t target)
{
	return VF_TRACE_DEVICE_STOP + (target - VF_VFIO_STATE_STOP);
}

static int set_locked(struct vferry_device *d, uint32_t target, struct vferry_error *err)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	uint32_t from = d->state;
	int r;

	if (d->dead)
		return vferry_error_set(err, -ENODEV, "device-dead", d->vfio_name,
					"the device is lost; it must be reset from outside");
	if (d->state == target)
		return 0;
	r = vf_device_trace(d, point_of(target), from, 0);
	if (r == 0)
		r = d->backend->ops->set_state(d->backend, target, &why);
	if (r == 0) {
		d->state = target;
		return 0;
	}
	(void) read_back_locked(d, NULL);
	if (d->state == target && !opens_stream(target))
		return 0;
	return vferry_error_set(err, r, "device-transition", d->vfio_name,
				"the device refused to go from %s to %s and is now in %s: %s%s%s",
				vf_migration_state_name(from), vf_migration_state_name(target),
				vf_migration_state_name(d->state), vferry_errno_name(r),
				why.message[0] ? ": " : "", why.message);
}

int vf_migration_set(struct vferry_device *d, uint32_t target, struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&d->mig_lock);
	r = set_locked(d, target, err);
	pthread_mutex_unlock(&d->mig_lock);
	return r;
}

int vf_migration_probe(struct vferry_device *d, struct vferry_error *err)
{
	uint64_t flags = 0;
	int r = d->backend->ops->get_migration(d->backend, &flags, err);

	d->mig_flags = 0;
	d->state = VF_DEVICE_STATE_NONE;
	if (r == -ENOTTY || r == -EOPNOTSUPP || (r == 0 && !(flags & VF_VFIO_MIGRATION_STOP_COPY))) {
		vferry_error_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	d->mig_flags = flags & (VF_VFIO_MIGRATION_STOP_COPY | VF_VFIO_MIGRATION_P2P |
				VF_VFIO_MIGRATION_PRE_COPY);
	pthread_mutex_lock(&d->mig_lock);
	r = read_back_locked(d, err);
	pthread_mutex_unlock(&d->mig_lock);
	return r;
}

/* ---- reset and recovery ---- */

/* Empty and RUNNING. Some servers reset only what runs, and some keep the migration state. */
static int reset_locked(struct vferry_device *d, struct vferry_error *err)
{
	const struct vf_backend_ops *ops = d->backend->ops;
	struct vferry_error why = VFERRY_ERROR_INIT;
	int r = vf_device_trace(d, VF_TRACE_DEVICE_RESET, 0, 0);

	if (r == 0)
		r = ops->reset(d->backend, &why);
	if (r < 0 && d->mig_flags) {
		vferry_error_clear(&why);
		(void) ops->set_state(d->backend, VF_VFIO_STATE_RUNNING, NULL);
		r = ops->reset(d->backend, &why);
	}
	if (d->mig_flags) {
		int r1 = read_back_locked(d, r ? NULL : &why);

		if (r == 0)
			r = r1;
		if (r == 0 && d->state != VF_VFIO_STATE_RUNNING)
			r = set_locked(d, VF_VFIO_STATE_RUNNING, &why);
	}
	if (r < 0)
		return vferry_error_set(err, r, "device-reset", d->vfio_name,
					"the device could not be reset: %s%s%s", vferry_errno_name(r),
					why.message[0] ? ": " : "", why.message);
	return 0;
}

int vf_device_is_loaded(struct vferry_device *d, struct vferry_error *err)
{
	int r = 0;

	if (!d->mig_flags)
		return 0;
	pthread_mutex_lock(&d->mig_lock);
	r = read_back_locked(d, err);
	if (r == 0 && d->state != VF_VFIO_STATE_STOP)
		r = vferry_error_set(err, -EIO, "device-state", d->vfio_name,
				     "the device was loaded and is in %s now",
				     vf_migration_state_name(d->state));
	pthread_mutex_unlock(&d->mig_lock);
	return r;
}

int vf_migration_guest_reset(struct vferry_device *d, struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&d->mig_lock);
	r = reset_locked(d, err);
	/* Also after a failure: nobody knows what is left of the stream. */
	d->resets++;
	pthread_mutex_unlock(&d->mig_lock);
	vf_device_log_void(d);
	return r;
}

int vf_migration_wipe(struct vferry_device *d, struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&d->mig_lock);
	r = reset_locked(d, err);
	if (r < 0)
		d->dead = true;
	pthread_mutex_unlock(&d->mig_lock);
	return r;
}

void vf_migration_undo_p2p(struct vferry_device *d)
{
	pthread_mutex_lock(&d->mig_lock);
	d->precopy = false;
	if (vf_migration_has(d, VF_VFIO_MIGRATION_P2P) && read_back_locked(d, NULL) == 0) {
		switch (atomic_load(&d->state)) {
		case VF_VFIO_STATE_STOP:
		case VF_VFIO_STATE_STOP_COPY:
		case VF_VFIO_STATE_PRE_COPY_P2P:
			/* If this fails, the run step finds out, and recovers. */
			(void) set_locked(d, VF_VFIO_STATE_RUNNING_P2P, NULL);
			break;
		default:
			break;
		}
	}
	pthread_mutex_unlock(&d->mig_lock);
}

int vf_migration_undo_run(struct vferry_device *d, struct vferry_error *err)
{
	int r = 0;

	if (!d->mig_flags)
		return 0;
	pthread_mutex_lock(&d->mig_lock);
	d->precopy = false;
	(void) read_back_locked(d, NULL);
	if (d->state != VF_VFIO_STATE_ERROR)
		(void) set_locked(d, VF_VFIO_STATE_RUNNING, NULL);
	if (d->state != VF_VFIO_STATE_RUNNING) {
		d->lost = true;
		r = reset_locked(d, err);
		if (r < 0)
			d->dead = true;
		else
			r = 1;
	}
	pthread_mutex_unlock(&d->mig_lock);
	return r;
}

/* ---- saving ---- */

/* PRE_COPY, from wherever a reset or a beginning left it. */
static int enter_precopy_locked(struct vferry_device *d, struct vferry_error *err)
{
	int r = 0;

	/* A device that kept its state over a reset still has the old stream. */
	if (vf_vfio_state_is_precopy(d->state))
		r = set_locked(d, VF_VFIO_STATE_RUNNING, err);
	if (r == 0)
		r = set_locked(d, VF_VFIO_STATE_PRE_COPY, err);
	if (r == 0)
		d->generation = d->resets;
	return r;
}

int vf_migration_precopy_start(struct vferry_device *d, struct vferry_error *err)
{
	int r = 0;

	pthread_mutex_lock(&d->mig_lock);
	d->generation = d->resets;
	if (vf_migration_has(d, VF_VFIO_MIGRATION_PRE_COPY)) {
		d->precopy = true;
		r = enter_precopy_locked(d, err);
	} else {
		r = 1;
	}
	pthread_mutex_unlock(&d->mig_lock);
	return r;
}

int vf_migration_p2p(struct vferry_device *d, struct vferry_error *err)
{
	int r = 0;

	pthread_mutex_lock(&d->mig_lock);
	if (vf_migration_has(d, VF_VFIO_MIGRATION_P2P))
		r = set_locked(d, d->state == VF_VFIO_STATE_PRE_COPY ? VF_VFIO_STATE_PRE_COPY_P2P
								      : VF_VFIO_STATE_RUNNING_P2P,
			       err);
	pthread_mutex_unlock(&d->mig_lock);
	return r;
}

int vf_migration_stop(struct vferry_device *d, struct vferry_error *err)
{
	int r = 0;

	pthread_mutex_lock(&d->mig_lock);
	/* A reset that read() has not noticed: the stream that follows is a new one. A device that
	 * kept its state over the reset must be taken out of the old one first. */
	if (d->precopy && d->generation != d->resets) {
		if (vf_vfio_state_is_precopy(d->state))
			r = set_locked(d, VF_VFIO_STATE_RUNNING, err);
		d->generation = d->resets;
	}
	if (r == 0)
		r = set_locked(d, VF_VFIO_STATE_STOP_COPY, err);
	if (r == 0)
		d->precopy = false;
	pthread_mutex_unlock(&d->mig_lock);
	return r;
}

/* The stream follows a reset. Return: 1 if there was one, 0 if not, errno. Where no state was read
 * before the stop, a reset voids nothing. */
static int follow_reset(struct vferry_device *d, struct vferry_error *err)
{
	int r = 0;

	if (!d->precopy || d->generation == d->resets)
		return 0;
	pthread_mutex_lock(&d->mig_lock);
	if (d->precopy && d->generation != d->resets) {
		r = enter_precopy_locked(d, err);
		if (r == 0)
			r = 1;
	}
	pthread_mutex_unlock(&d->mig_lock);
	return r;
}

int64_t vf_migration_read(struct vferry_device *d, void *buffer, size_t size,
			  struct vferry_error *err)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	ssize_t n;
	int r = follow_reset(d, err);

	if (r != 0)
		return r < 0 ? r : 0;
	if (!vf_vfio_state_is_precopy(d->state) && d->state != VF_VFIO_STATE_STOP_COPY)
		return d->precopy || d->state == VF_VFIO_STATE_ERROR ?
			       vferry_error_set(err, -ENODATA, "device-data", d->vfio_name,
						"the device is in %s and gives no data",
						vf_migration_state_name(d->state)) :
			       0;
	n = vf_device_trace(d, VF_TRACE_DEVICE_DATA_READ, size, 0);
	if (n == 0)
		n = d->backend->ops->data_read(d->backend, buffer, size, &why);
	/* Did a reset end that stream meanwhile? Then neither bytes nor failure count. One that is still
	 * under way has not been counted yet: wait for it before a failure is believed. */
	if (n < 0) {
		pthread_mutex_lock(&d->mig_lock);
		pthread_mutex_unlock(&d->mig_lock);
	}
	r = follow_reset(d, err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (n < 0)
		return vferry_error_set(err, (int) n, "device-data", d->vfio_name,
					"reading the device's state failed: %s%s%s",
					vferry_errno_name((int) n), why.message[0] ? ": " : "",
					why.message);
	return n;
}

int vf_migration_remaining(struct vferry_device *d, struct vferry_remaining *ret,
			   struct vferry_error *err)
{
	const struct vf_backend_ops *ops = d->backend->ops;
	struct vf_vfio_precopy_info info = { .argsz = sizeof(info) };
	struct vferry_remaining left = { 0 };
	uint64_t bytes;

	(void) err;	/* what cannot be had is unknown, not an error */
	if ((d->features & VFERRY_DEVICE_PRECOPY_INFO) && vf_vfio_state_is_precopy(d->state) &&
	    d->generation == d->resets && !vf_device_trace(d, VF_TRACE_DEVICE_PRECOPY_INFO, 0, 0) &&
	    ops->precopy_info(d->backend, &info, NULL) == 0) {
		left.precopy_known = true;
		left.initial_bytes = info.initial_bytes;
		left.dirty_bytes = info.dirty_bytes;
		left.reinit = (info.flags & VF_VFIO_PRECOPY_INFO_REINIT) != 0;
	}
	if ((d->features & VFERRY_DEVICE_DATA_SIZE) &&
	    !vf_device_trace(d, VF_TRACE_DEVICE_DATA_SIZE, 0, 0) &&
	    ops->data_size(d->backend, &bytes, NULL) == 0) {
		left.stop_copy_known = true;
		left.stop_copy_bytes = bytes;
	}
	*ret = left;
	return 0;
}

/* ---- loading ---- */

int vf_migration_resuming(struct vferry_device *d, struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&d->mig_lock);
	r = set_locked(d, VF_VFIO_STATE_RESUMING, err);
	pthread_mutex_unlock(&d->mig_lock);
	return r;
}

int vf_migration_write(struct vferry_device *d, const void *data, size_t size,
		       struct vferry_error *err)
{
	struct vferry_error why = VFERRY_ERROR_INIT;
	int r;

	if (d->state != VF_VFIO_STATE_RESUMING)
		return vferry_error_set(err, -ENODATA, "device-data", d->vfio_name,
					"the device is in %s and takes no data",
					vf_migration_state_name(d->state));
	r = vf_device_trace(d, VF_TRACE_DEVICE_DATA_WRITE, size, 0);
	if (r == 0)
		r = d->backend->ops->data_write(d->backend, data, size, &why);
	if (r < 0)
		return vferry_error_set(err, r, "device-data", d->vfio_name,
					"the device refused its state: %s%s%s", vferry_errno_name(r),
					why.message[0] ? ": " : "", why.message);
	return 0;
}

int vf_migration_validate(struct vferry_device *d, struct vferry_error *err)
{
	int r;

	pthread_mutex_lock(&d->mig_lock);
	if (d->state != VF_VFIO_STATE_RESUMING && d->state != VF_VFIO_STATE_STOP)
		r = vferry_error_set(err, -EINVAL, "device-transition", d->vfio_name,
				     "the device is in %s, not in RESUMING, so its state cannot be "
				     "validated", vf_migration_state_name(d->state));
	else
		r = set_locked(d, VF_VFIO_STATE_STOP, err);
	pthread_mutex_unlock(&d->mig_lock);
	return r;
}
