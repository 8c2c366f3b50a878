/* SPDX-License-Identifier: MIT */
/*
 * gic.h - the soft machine's interrupt controller: a GICv3 with ITS that answers as KVM's does.
 *
 * Model. One struct soft_gic is what KVM keeps for one VM about interrupts: the GIC device, any
 * number of ITS devices, the GSI routing table, the irqfds, and beside them the part of VFIO that
 * matters here, the device vectors (producers). The calls mirror KVM's, with KVM's groups,
 * attributes and errnos (uapi/vferry_kvm_arm64.h), so that the code which saves, restores and
 * connects on a real kernel runs unchanged on this. What the kernel refuses is refused here, and
 * what it silently does not do is silently not done:
 *
 *  - tables (LPI configuration, pending bits, device and collection table, ITTs, command queue)
 *    live in guest RAM and are reached through the memory callbacks only;
 *  - attribute access while any vCPU is in an ioctl is -EBUSY, and so is nearly all before INIT;
 *  - an LPI is `forwarded` (GICv4 only) from the moment its vector (producer) and its irqfd
 *    (consumer) both exist, whichever came second, if the ITS could resolve it right then. If not,
 *    no call fails, and the vector stays in software until it is connected anew;
 *  - on GICv4.0 a forwarded LPI's pending bit can't be read: tables can't be saved (-EACCES) and
 *    the bit is lost when the vector is disconnected.
 *
 * How a vector gets its interrupts through: the machine picks a token for each vector (any number
 * but 0; it stands for the eventfd), tells VFIO's part by soft_gic_vector_set(), KVM's part by
 * soft_gic_irqfd(), and calls soft_gic_fire(token) for each interrupt the device raises.
 *
 * Threads: every function may be called from any thread. One mutex inside struct soft_gic protects
 * all of it, is taken by every call and is held while `read` and `write` are called; so these must
 * not call back. `kick` and `log` are called by the calling thread after the mutex is released.
 * No other lock is taken while it is held.
 */
#ifndef VMM_SOFT_GIC_H
#define VMM_SOFT_GIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SOFT_GIC_CPUS_MAX	64u
#define SOFT_GIC_ITS_MAX	8u
#define SOFT_GIC_ROUTES_MAX	4096u	/* as KVM_MAX_IRQ_ROUTES */
#define SOFT_GIC_SPURIOUS	1023u

struct soft_gic;

/* What the host can do. */
enum soft_gic_kind {
	SOFT_GIC_OFF = 0,	/* no GICv3: creating a device is -ENODEV, vectors only count up */
	SOFT_GIC_V3 = 1,	/* all injection is by software */
	SOFT_GIC_V4_0 = 2,	/* LPIs can be forwarded; their pending bits can't be read back */
	SOFT_GIC_V4_1 = 3,	/* LPIs can be forwarded; their pending bits can be read back */
};

/* Whose rules on a connection that can't be made (they differ in what is kept and logged). */
enum soft_gic_rules {
	SOFT_GIC_LINUX_6_12 = 0, /* and 6.1: registration fails, logged; routing leaves it stale */
	SOFT_GIC_LINUX_6_15 = 1, /* no complaint at all */
	SOFT_GIC_LINUX_6_16 = 2, /* as 6.15; a route changed under a connection disconnects it */
};

struct soft_gic_config {
	uint32_t size;			/* sizeof(struct soft_gic_config) */
	enum soft_gic_kind kind;
	enum soft_gic_rules rules;
	void *user;			/* handed to the callbacks */
	/*
	 * Guest RAM: 0, or -EFAULT where [gpa, gpa + len) is not all RAM. `write` marks the pages
	 * dirty, as KVM's log does.
	 */
	int (*read)(void *user, uint64_t gpa, void *to, size_t len);
	int (*write)(void *user, uint64_t gpa, const void *from, size_t len);
	/* An interrupt became deliverable to this vCPU: wake its thread. May be NULL. */
	void (*kick)(void *user, unsigned int cpu);
	/* One line that the kernel would write to its log, without newline. May be NULL. */
	void (*log)(void *user, const char *line);
};

/** "off", "v3", "v4.0", "v4.1"; -EINVAL for any other word. */
int soft_gic_kind_parse(const char *word, enum soft_gic_kind *ret);
const char *soft_gic_kind_name(enum soft_gic_kind kind);

/* KVM_CREATE_VM. Callbacks `read` and `write` must be there (-EINVAL). -ENOMEM. */
int soft_gic_new(const struct soft_gic_config *config, struct soft_gic **ret_gic);
struct soft_gic *soft_gic_free(struct soft_gic *gic);	/* NULL is fine; returns NULL */

/* --- vCPUs --- */

/*
 * KVM_CREATE_VCPU: returns the vCPU's number, counted up from 0. -EBUSY once the GIC is
 * initialised, -E2BIG beyond SOFT_GIC_CPUS_MAX. MPIDR is 0x80000000 | number until set.
 */
int soft_gic_vcpu_create(struct soft_gic *gic);
int soft_gic_vcpu_set_mpidr(struct soft_gic *gic, unsigned int cpu, uint64_t mpidr);
/*
 * Brackets each ioctl on a vCPU. `run` marks KVM_RUN: after the first, no GIC can be created; it is
 * refused when there is a GIC that lacks an address (-ENXIO) or its initialisation (-EBUSY), and
 * then soft_gic_vcpu_leave() is not called. -EINVAL: no such vCPU.
 */
int soft_gic_vcpu_enter(struct soft_gic *gic, unsigned int cpu, bool run);
void soft_gic_vcpu_leave(struct soft_gic *gic, unsigned int cpu);

/* --- devices: KVM_CREATE_DEVICE, KVM_{SET,GET,HAS}_DEVICE_ATTR --- */

/*
 * Returns a handle (0 or more) for the calls below; VF_KVM_DEV_VGIC_V3 once, VF_KVM_DEV_VGIC_ITS up
 * to SOFT_GIC_ITS_MAX times (-ENOSPC). -ENODEV: not on this host, or unknown type. For the GIC also
 * -EEXIST: there is one; -EBUSY: a vCPU is in an ioctl, or one ran already.
 */
int soft_gic_device_create(struct soft_gic *gic, uint32_t type);
/*
 * `value` is read or written as far as the attribute is wide: 32 bits for DIST_REGS, REDIST_REGS,
 * LEVEL_INFO and NR_IRQS, 64 for the others. It may be NULL for the group CTRL only (else -EFAULT).
 */
int soft_gic_set_attr(struct soft_gic *gic, int device, uint32_t group, uint64_t attr,
		      const uint64_t *value);
int soft_gic_get_attr(struct soft_gic *gic, int device, uint32_t group, uint64_t attr,
		      uint64_t *value);
int soft_gic_has_attr(struct soft_gic *gic, int device, uint32_t group, uint64_t attr);

/* --- injection from the host --- */

struct soft_gic_route {
	uint32_t gsi;
	uint32_t type;		/* VF_KVM_ROUTING_IRQCHIP or VF_KVM_ROUTING_MSI */
	uint32_t pin;		/* IRQCHIP: SPI number, i.e. interrupt 32 + pin */
	uint32_t flags;		/* MSI: VF_KVM_MSI_VALID_DEVID */
	uint64_t address;	/* MSI */
	uint32_t data;		/* MSI */
	uint32_t devid;		/* MSI */
};

/*
 * KVM_SET_GSI_ROUTING: replaces the whole table. -EINVAL: too many, a GSI or pin out of range,
 * unknown type, or two routes for one GSI.
 */
int soft_gic_set_routing(struct soft_gic *gic, const struct soft_gic_route *routes,
			 unsigned int count);

/*
 * KVM_IRQFD. `token` stands for the eventfd. -EAGAIN before the GIC is initialised, -EBUSY if the
 * token has an irqfd, -EINVAL for unknown flags (or RESAMPLE: level-triggered INTx is done by
 * soft_gic_irq_line()). What the eventfd counted while nobody listened is injected once, at assign.
 * Deassigning drops what is left in it, and answers 0 even if there is no such irqfd.
 * A connection that can't be made is no error: ask soft_gic_vector_state().
 */
int soft_gic_irqfd(struct soft_gic *gic, uint64_t token, uint32_t gsi, uint32_t flags);

/*
 * VFIO_DEVICE_SET_IRQS with or without an eventfd for one MSI/MSI-X vector. Setting a vector that
 * is set already tears it down first, as VFIO does. Only -EINVAL (token 0) and -ENOMEM are errors.
 */
int soft_gic_vector_set(struct soft_gic *gic, uint64_t token);
void soft_gic_vector_clear(struct soft_gic *gic, uint64_t token);

/* Where one interrupt went. */
enum soft_gic_sent {
	SOFT_GIC_SENT_FORWARDED = 0, /* by hardware, host not involved */
	SOFT_GIC_SENT_INJECTED = 1, /* by software, through the irqfd or the line */
	SOFT_GIC_SENT_KEPT = 2, /* no irqfd: counted in the eventfd */
	SOFT_GIC_SENT_LOST = 3, /* injection was tried and came to nothing, without an error */
	SOFT_GIC_SENT_NOWHERE = 4, /* the vector isn't set */
};

/** The device raises the interrupt of this vector. */
enum soft_gic_sent soft_gic_fire(struct soft_gic *gic, uint64_t token);
/** Somebody writes the eventfd: the irqfd injects by software, forwarded or not. Never NOWHERE. */
enum soft_gic_sent soft_gic_event_write(struct soft_gic *gic, uint64_t token);
/** What the eventfd has counted and nobody read (soft_gic_irqfd() takes it at assign). */
uint64_t soft_gic_event_count(struct soft_gic *gic, uint64_t token);

/*
 * KVM_SIGNAL_MSI: 1 delivered, 0 blocked by the guest (not mapped), -EBUSY (ITS or LPIs disabled),
 * -ENODEV (no ITS), -EINVAL (no ITS at that address, no device id, or no GIC).
 */
int soft_gic_signal_msi(struct soft_gic *gic, uint64_t address, uint32_t data, uint32_t devid,
			uint32_t flags);

/* KVM_IRQ_LINE for interrupt 16..31 (of `cpu`) or an SPI (`cpu` unused). -ENXIO, -EINVAL. */
int soft_gic_irq_line(struct soft_gic *gic, unsigned int cpu, uint32_t intid, bool level);

/* --- what the guest sees --- */

/*
 * Loads and stores of a vCPU, 1, 2, 4 or 8 bytes, into the frames that the devices were given.
 * -ENXIO: not one of ours (the bus goes on looking). Registers that don't exist read as zero.
 */
int soft_gic_mmio_read(struct soft_gic *gic, unsigned int cpu, uint64_t gpa, unsigned int len,
		       uint64_t *ret_value);
int soft_gic_mmio_write(struct soft_gic *gic, unsigned int cpu, uint64_t gpa, unsigned int len,
			uint64_t value);

/** Is there an interrupt that the vCPU would take now (priorities heeded)? */
bool soft_gic_pending(struct soft_gic *gic, unsigned int cpu);
/** ICC_IAR1_EL1: takes the best pending interrupt, makes it active; SOFT_GIC_SPURIOUS: none. */
uint32_t soft_gic_ack(struct soft_gic *gic, unsigned int cpu);
/** ICC_EOIR1_EL1: priority drop, and deactivation too unless ICC_CTLR_EL1.EOImode is 1. */
void soft_gic_eoi(struct soft_gic *gic, unsigned int cpu, uint32_t intid);
/** ICC_DIR_EL1: deactivation when ICC_CTLR_EL1.EOImode is 1. */
void soft_gic_deactivate(struct soft_gic *gic, unsigned int cpu, uint32_t intid);
/** ICC_SGI1R_EL1: sends an SGI to one other vCPU. */
int soft_gic_sgi(struct soft_gic *gic, unsigned int to_cpu, uint32_t intid);
/** The guest's own view of ICC_PMR_EL1 and so on (VF_ICC_*). -ENOENT: no such register. */
int soft_gic_icc_read(struct soft_gic *gic, unsigned int cpu, uint32_t reg, uint64_t *ret_value);
int soft_gic_icc_write(struct soft_gic *gic, unsigned int cpu, uint32_t reg, uint64_t value);

/* --- questions --- */

/* Why a vector is in software; SOFT_GIC_FORWARDED if it is not. The first that holds. */
enum soft_gic_reason {
	SOFT_GIC_FORWARDED = 0,
	SOFT_GIC_NO_VECTOR = 1, /* no producer: SET_IRQS not done */
	SOFT_GIC_NO_IRQFD = 2, /* no consumer */
	SOFT_GIC_NO_GICV4 = 3, /* host can't */
	SOFT_GIC_NO_ROUTE = 4, /* the GSI has no MSI route that leads to an ITS */
	SOFT_GIC_ITS_OFF = 5, /* GITS_CTLR.Enabled = 0 */
	SOFT_GIC_UNMAPPED = 6, /* device, event or collection not mapped */
	SOFT_GIC_LPIS_OFF = 7, /* target's GICR_CTLR.EnableLPIs = 0 */
	SOFT_GIC_MISSED = 8, /* all is there now, but was not at the time of connecting */
};

const char *soft_gic_reason_name(enum soft_gic_reason reason);

/** Forwarded, or the reason why not, for one vector. */
enum soft_gic_reason soft_gic_vector_state(struct soft_gic *gic, uint64_t token);

struct soft_gic_lpi {
	uint32_t intid;
	unsigned int cpu;
	bool forwarded;
	bool enabled;
	bool pending;		/* in software (the latch), or in hardware if forwarded */
	uint8_t priority;
};

/** One LPI as the ITS `device` maps it. -ENOENT: this DeviceID/EventID is not mapped. */
int soft_gic_lpi_state(struct soft_gic *gic, int device, uint32_t devid, uint32_t eventid,
		       struct soft_gic_lpi *ret_lpi);

#endif
