/* SPDX-License-Identifier: MIT */
/*
 * vferry/irqchip.h - the state of an arm64 interrupt controller: VGICv3 and its ITSs.
 *
 * The library saves and restores a GIC through two calls that mean KVM_SET_DEVICE_ATTR and
 * KVM_GET_DEVICE_ATTR (Documentation/virt/kvm/devices/arm-vgic-v3.rst, arm-vgic-its.rst); what is
 * behind them is the embedder's: KVM's device fds, or a model that answers alike. The embedder
 * makes the devices and initialises them; the library moves what the guest did to them.
 *
 * There is one component `gic`, and one `its/N` for each ITS:
 *
 *   save  its/N:release    ITS tables; if vectors are forwarded and can't be saved (-EACCES), they
 *                          are taken out of hardware by the embedder's `release`
 *         gic:pending      pending bits of LPIs, into guest RAM
 *         its/N:tables     ITS tables, into guest RAM
 *         gic:registers, its/N:registers
 *   load  gic:created      the devices are there and initialised
 *         gic:distributor, gic:lpi-bases, gic:redistributors
 *         its/N:registers, its/N:tables, its/N:enable
 *
 * Writes that the controller drops without an error are read back, and fail the step.
 *
 * Threads: as <vferry/component.h> says. No vCPU may be in an ioctl while a step runs; the
 * session's order sees to that. The object is not changed by saving or loading.
 */
#ifndef VFERRY_IRQCHIP_H
#define VFERRY_IRQCHIP_H

#include <stddef.h>
#include <stdint.h>

#include <vferry/component.h>
#include <vferry/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFERRY_GIC_CPUS_MAX 512u	/* as KVM's VGICv3 */
#define VFERRY_GIC_ITS_MAX 16u

struct vferry_gic;

struct vferry_gic_ops {
	uint32_t size;
	/*
	 * @device: the embedder's number for the GIC or an ITS. @value is 64 bits wide whatever the
	 * attribute is: 32-bit ones use the lower half. NULL with the group CTRL. Return: 0 or
	 * negative errno, as the kernel gave it.
	 */
	int (*set_attr)(void *user, int device, uint32_t group, uint64_t attr,
			const uint64_t *value);
	int (*get_attr)(void *user, int device, uint32_t group, uint64_t attr, uint64_t *value);
	/*
	 * Takes every forwarded vector out of hardware, and sends each once more into the
	 * controller, since what was pending in hardware is lost: vferry_irq_plan_release().
	 * Return: how many; negative errno. NULL: nothing is ever forwarded.
	 */
	int (*release)(void *user, struct vferry_error *err);
};

struct vferry_gic_config {
	uint32_t size;
	const struct vferry_gic_ops *ops;	/* borrowed while the object lives */
	void *user;
	int device;			/* the GIC */
	const uint32_t *affinity;	/* of each vCPU in order, Aff3.Aff2.Aff1.Aff0; copied */
	uint32_t cpu_count;		/* 1..VFERRY_GIC_CPUS_MAX */
	const int *its;			/* device numbers; copied */
	uint32_t its_count;		/* up to VFERRY_GIC_ITS_MAX, may be 0 */
};

/**
 * vferry_gic_new() - after the devices were initialised and got their addresses
 *
 * Reads what the other side must match (size, features, revision, addresses), because later, with
 * vCPUs running, it can't be read: no vCPU may be in an ioctl.
 * Return: 0; -EINVAL bad config; -ENOMEM; what get_attr returned.
 */
int vferry_gic_new(const struct vferry_gic_config *config, struct vferry_gic **ret_gic,
		   struct vferry_error *err);
/* After the sessions that have its components. NULL is fine; returns NULL. */
struct vferry_gic *vferry_gic_free(struct vferry_gic *gic);

/** vferry_gic_component_count() - 1 for the GIC, and one for each ITS */
size_t vferry_gic_component_count(const struct vferry_gic *gic);
/** vferry_gic_component() - for vferry_session_add_component(); borrowed. NULL: no such. */
const struct vferry_component *vferry_gic_component(const struct vferry_gic *gic, size_t index);

#ifdef __cplusplus
}
#endif
#endif
