/* SPDX-License-Identifier: MIT */
/*
 * device_component.h - a passed through device as the session sees it: two components with their
 * sections, steps and stream, and what the session does to it at its beginning and end.
 *
 * `pci/ADDR` is config space, `vfio/ADDR` the opaque state; both carry the device key ADDR.
 *
 * Not registered here, because the session drives the stream: VFERRY_SAVE_DEVICE_DATA,
 * VFERRY_LOAD_DEVICE_DATA, VFERRY_LOAD_DEVICE_DATA_LAST. The stream's read() gives 0 for "nothing
 * now" before the SAVE_DEVICE_STOP step and for the end after it.
 *
 * Threads: begin, end, abort and finish on the session's thread while no step runs.
 */
#ifndef VF_VFIO_DEVICE_COMPONENT_H
#define VF_VFIO_DEVICE_COMPONENT_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/component.h>
#include <vferry/device.h>
#include <vferry/error.h>

struct vf_trace;

enum vf_device_component_index {
	VF_DEVICE_COMPONENT_PCI = 0,	/* "pci/ADDR": sections CONFIG and CONFIG_FINAL */
	VF_DEVICE_COMPONENT_VFIO = 1,	/* "vfio/ADDR": the stream */
	VF_DEVICE_COMPONENTS = 2,
};

enum vf_device_section {
	VF_DEVICE_SECTION_CONFIG = 1,		/* as it was when pre-copy began */
	VF_DEVICE_SECTION_CONFIG_FINAL = 2,	/* of the stopped device */
};

enum vf_device_role {
	VF_DEVICE_SOURCE = 1,
	VF_DEVICE_DESTINATION = 2,
};

/* What the components point to lives as long as the device. Return: 0. */
int vf_device_components(struct vferry_device *device,
			 struct vferry_component ret[VF_DEVICE_COMPONENTS]);

/* A device is in one session only. -EBUSY: it is; -ENODEV: given away or dead; -ENOTSUP: not
 * migratable (id "device-not-migratable"). */
int vf_device_session_begin(struct vferry_device *device, enum vf_device_role role,
			    struct vferry_error *err);
void vf_device_session_end(struct vferry_device *device);
/* Asks a loaded device for its state. Return: 0 it is there, in STOP; negative errno: what was loaded is lost. */
int vf_device_is_loaded(struct vferry_device *device, struct vferry_error *err);
/*
 * Whose points migration calls pass from now on; borrowed. vf_device_drop_trace() ends that, unless it
 * is another's by then: when it returns nobody uses @trace any more.
 */
void vf_device_set_trace(struct vferry_device *device, struct vf_trace *trace);
void vf_device_drop_trace(struct vferry_device *device, const struct vf_trace *trace);

/*
 * Destination, load failed or aborted: reset, so that nothing half loaded is left, config space as
 * after power-on; usable for another attempt. Return: 0, or why it is not (the device is dead then).
 */
int vf_device_abort_load(struct vferry_device *device, struct vferry_error *err);
/* Source, the machine runs elsewhere: disconnects from interrupts, and is never started again. */
void vf_device_finish_source(struct vferry_device *device);

const char *vf_device_address(const struct vferry_device *device);	/* "00:04.0" */
bool vf_device_is_lost(struct vferry_device *device);
/* Nobody knows which pages it wrote: all of RAM is sent once more after it has stopped. */
bool vf_device_is_blind(struct vferry_device *device);
/* The device has the P2P states, or nothing of it is DMA-mapped to or from a peer. */
bool vf_device_is_p2p_safe(struct vferry_device *device);

#endif
