// SPDX-License-Identifier: GPL-2.0-only
/*
 * migration.c - the states of <linux/vfio.h>, and what each single step between them means here.
 *
 * The kernel breaks a change from any state to any other into steps, by vfio_mig_get_next_state(). Of the
 * device they ask two things:
 *
 *	into a P2P state	it starts no DMA any more: one that runs is waited for, one that is asked for is
 *				held, and starts when the device leaves for RUNNING, maybe on another host
 *	into STOP, STOP_COPY	nothing changes any more: a factorial is waited for
 *
 * A step that fails leaves the device in the state before it, so that user space can try again or go back. Only
 * a device that does not answer any more is in ERROR.
 */
#include <linux/err.h>
#include <linux/file.h>

#include "edu.h"

#define STEP(from, to)	((from) << 8 | (to))

bool edu_may_start_dma(const struct edu_device *edu)
{
#ifdef VFIO_MIGRATION_PRE_COPY
	if (edu->state == VFIO_DEVICE_STATE_PRE_COPY)
		return true;
#endif
	return edu->state == VFIO_DEVICE_STATE_RUNNING;
}

bool edu_is_stopped(const struct edu_device *edu)
{
	return edu->state == VFIO_DEVICE_STATE_STOP || edu->state == VFIO_DEVICE_STATE_STOP_COPY ||
	       edu->state == VFIO_DEVICE_STATE_RESUMING;
}

bool edu_is_pre_copy(const struct edu_device *edu)
{
#ifdef VFIO_MIGRATION_PRE_COPY
	return edu->state == VFIO_DEVICE_STATE_PRE_COPY ||
	       edu->state == VFIO_DEVICE_STATE_PRE_COPY_P2P;
#else
	return false;
#endif
}

/* --- the steps --- */

static struct file *to_p2p(struct edu_device *edu)
{
	return ERR_PTR(edu_dma_hold(edu));
}

static struct file *from_p2p(struct edu_device *edu)
{
	return ERR_PTR(edu_dma_release(edu));
}

static struct file *to_stop(struct edu_device *edu)
{
	return ERR_PTR(edu_wait_for_factorial(edu));
}

static struct file *from_stop(struct edu_device *edu)
{
	return ERR_PTR(edu_assert_interrupts(edu));
}

static struct file *end_session(struct edu_device *edu)
{
	edu_stream_close(edu);
	return NULL;
}

static struct file *stop_to_stop_copy(struct edu_device *edu)
{
	struct file *file = edu_stream_open_saving(edu);
	int ret;

	if (IS_ERR(file))
		return file;
	ret = edu_stream_finish_saving(edu);
	if (ret) {
		edu_stream_close(edu);
		fput(file);
		return ERR_PTR(ret);
	}
	return file;
}

static struct file *resuming_to_stop(struct edu_device *edu)
{
	int ret = edu_stream_finish_loading(edu);

	if (!ret)
		edu_stream_close(edu);
	return ERR_PTR(ret);
}

#ifdef VFIO_MIGRATION_PRE_COPY
static struct file *pre_copy_p2p_to_stop_copy(struct edu_device *edu)
{
	int ret = edu_wait_for_factorial(edu);

	return ERR_PTR(ret ? ret : edu_stream_finish_saving(edu));
}
#endif

static struct file *take_step(struct edu_device *edu, enum vfio_device_mig_state next)
{
	switch (STEP(edu->state, next)) {
	case STEP(VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_RUNNING_P2P):
		return to_p2p(edu);
	case STEP(VFIO_DEVICE_STATE_RUNNING_P2P, VFIO_DEVICE_STATE_RUNNING):
		return from_p2p(edu);
	case STEP(VFIO_DEVICE_STATE_RUNNING_P2P, VFIO_DEVICE_STATE_STOP):
		return to_stop(edu);
	case STEP(VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_RUNNING_P2P):
		return from_stop(edu);
	case STEP(VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_STOP_COPY):
		return stop_to_stop_copy(edu);
	case STEP(VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_STOP):
		return end_session(edu);
	case STEP(VFIO_DEVICE_STATE_STOP, VFIO_DEVICE_STATE_RESUMING):
		return edu_stream_open_loading(edu);
	case STEP(VFIO_DEVICE_STATE_RESUMING, VFIO_DEVICE_STATE_STOP):
		return resuming_to_stop(edu);
#ifdef VFIO_MIGRATION_PRE_COPY
	case STEP(VFIO_DEVICE_STATE_RUNNING, VFIO_DEVICE_STATE_PRE_COPY):
	case STEP(VFIO_DEVICE_STATE_RUNNING_P2P, VFIO_DEVICE_STATE_PRE_COPY_P2P):
		return edu_stream_open_saving(edu);
	case STEP(VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_RUNNING):
	case STEP(VFIO_DEVICE_STATE_PRE_COPY_P2P, VFIO_DEVICE_STATE_RUNNING_P2P):
		return end_session(edu);
	case STEP(VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_PRE_COPY_P2P):
		return to_p2p(edu);
	case STEP(VFIO_DEVICE_STATE_PRE_COPY_P2P, VFIO_DEVICE_STATE_PRE_COPY):
		return from_p2p(edu);
	case STEP(VFIO_DEVICE_STATE_PRE_COPY_P2P, VFIO_DEVICE_STATE_STOP_COPY):
		return pre_copy_p2p_to_stop_copy(edu);
#endif
	default:
		return ERR_PTR(-EINVAL);
	}
}

/* --- what the kernel calls --- */

static struct file *set_state(struct vfio_device *vdev, enum vfio_device_mig_state wanted)
{
	struct edu_device *edu = edu_of(vdev);
	enum vfio_device_mig_state next;
	struct file *file = NULL;
	int ret;

	edu_lock(edu);
	while (edu->state != wanted && !IS_ERR(file)) {
		ret = vfio_mig_get_next_state(vdev, edu->state, wanted, &next);
		file = ret ? ERR_PTR(ret) : take_step(edu, next);
		if (!IS_ERR(file))
			edu->state = next;
		else if (file == ERR_PTR(-ENODEV))
			edu->state = VFIO_DEVICE_STATE_ERROR;
	}
	edu_unlock(edu);
	return file;
}

static int get_state(struct vfio_device *vdev, enum vfio_device_mig_state *ret_state)
{
	struct edu_device *edu = edu_of(vdev);

	edu_lock(edu);
	*ret_state = edu->state;
	edu_unlock(edu);
	return 0;
}

#ifdef VFIO_DEVICE_FEATURE_MIG_DATA_SIZE
static int get_data_size(struct vfio_device *vdev, unsigned long *ret_bytes)
{
	struct edu_device *edu = edu_of(vdev);

	edu_lock(edu);
	*ret_bytes = edu_stream_bytes_left(edu);
	edu_unlock(edu);
	return 0;
}
#endif

const struct vfio_migration_ops edu_migration_ops = {
	.migration_set_state = set_state,
	.migration_get_state = get_state,
#ifdef VFIO_DEVICE_FEATURE_MIG_DATA_SIZE
	.migration_get_data_size = get_data_size,
#endif
};
