/* SPDX-License-Identifier: MIT */
/*
 * vferry/device.h - a PCI device passed through to the guest, and its interrupts.
 *
 * A device is opened by URI. vfio-user:PATH is a server's socket. vfio:WHICH is a device of the kernel's
 * VFIO, where WHICH is a PCI address (0000:3b:00.0), the UUID of a mediated device, a device's folder in
 * /sys, /dev/vfio/devices/vfioN, or fd=N: a descriptor of the latter. By character device and iommufd
 * where the host has them, else by group and container; vfio:group:WHICH and vfio:cdev:WHICH choose.
 * The library keeps the guest's view of config space and MSI-X as vfio-pci would, the VMM
 * forwards the guest's accesses to it and places BARs when told. Interrupts go from the device's
 * eventfds to an irq sink (KVM's irqfd and routing, or a software machine's controller) through one
 * irq plan per machine, the only caller of GSI routing.
 *
 * Threads: the guest-side accessors may be called from any vCPU thread. Callbacks run on the thread
 * that wrote config space, reset the device or drives its migration; they may read the same device
 * (config space, BARs, areas, info) but not write its config space nor reset it. open, close,
 * attach_ram and add_peer are for the time when no vCPU runs, one after the other. Migration is driven
 * by the session to which the device was added.
 */
#ifndef VFERRY_DEVICE_H
#define VFERRY_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>
#include <vferry/ram.h>
#include <vferry/trust.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vferry_device;
struct vferry_irq_plan;

/* ---- interrupts ---- */

enum vferry_irq_kind {
	VFERRY_IRQ_MSI = 0,
	VFERRY_IRQ_PIN = 1,	/* INTx: a pin of the machine's interrupt controller */
};

struct vferry_irq_route {
	uint32_t gsi;
	enum vferry_irq_kind kind;
	uint64_t address;	/* MSI */
	uint32_t data;		/* MSI */
	uint32_t requester_id;	/* MSI: what the ITS sees as DeviceID */
	uint32_t pin;		/* PIN */
};

enum vferry_forwarded {
	VFERRY_FORWARDED_UNKNOWN = 0,
	VFERRY_FORWARDED_NO = 1,
	VFERRY_FORWARDED_YES = 2,
};

#define VFERRY_REASON_BYTES 64

/* One vector, and whether hardware delivers it: what a sink is asked, and what it answers. */
struct vferry_vector_answer {
	uint32_t gsi;		/* asked */
	enum vferry_forwarded forwarded;	/* answered; UNKNOWN before */
	char reason[VFERRY_REASON_BYTES];	/* answered, unless it is forwarded: a few words; "" before */
};

/*
 * Where interrupts go. The calls mean what KVM_SET_GSI_ROUTING, KVM_IRQFD and KVM_SIGNAL_MSI mean
 * (Documentation/virt/kvm/api.rst), but for one thing: an event that is pending when an eventfd is
 * connected is to be taken out of it as well as injected. (KVM injects it and leaves it: read the
 * eventfd after KVM_IRQFD; it does not block.) producer_* is for sinks that the kernel's irqbypass
 * does not reach: they are told which eventfds a device signals (VFIO_DEVICE_SET_IRQS). NULL = not
 * needed. Called from one thread at a time, under the plan's lock; they must not call back into the
 * library.
 */
struct vferry_irq_sink {
	uint32_t size;
	void *user;
	uint32_t gsi_first;	/* first GSI the plan may use ... */
	uint32_t gsi_count;	/* ... and how many */
	int (*set_routes)(void *user, const struct vferry_irq_route *routes, size_t count,
			  struct vferry_error *err);
	int (*connect)(void *user, uint32_t gsi, int eventfd, int resample_eventfd,
		       struct vferry_error *err);
	int (*disconnect)(void *user, uint32_t gsi, int eventfd, struct vferry_error *err);
	int (*signal_msi)(void *user, const struct vferry_irq_route *route, struct vferry_error *err);
	int (*producer_add)(void *user, int eventfd, struct vferry_error *err);
	void (*producer_remove)(void *user, int eventfd);
	/* Of @count vectors that are connected, all at once, since asking the controller may be slow. */
	void (*forwarded)(void *user, struct vferry_vector_answer *vectors, size_t count);
	/*
	 * Every event that was taken from an eventfd has reached the controller. NULL: an event is
	 * injected before the eventfd reads as empty, or at the latest when this machine has stopped.
	 */
	int (*flush)(void *user, struct vferry_error *err);
	/*
	 * What is pending in hardware for a vector that may be forwarded is lost when that is disconnected
	 * (GICv4). The plan sends it once more then.
	 */
	bool loses_pending;
};

/** vferry_irq_plan_new() - @sink is copied; @sink->user must outlive the plan. */
int vferry_irq_plan_new(const struct vferry_irq_sink *sink, struct vferry_irq_plan **ret_plan,
			struct vferry_error *err);
struct vferry_irq_plan *vferry_irq_plan_free(struct vferry_irq_plan *plan);	/* after its devices */

/**
 * vferry_irq_plan_release() - take every forwarded vector out of hardware, for a controller that
 * cannot be saved otherwise
 *
 * To be called when saving the ITS tables answered -EACCES, devices stopped: disconnects each vector
 * that is, or may be, forwarded, and sends each once more by signal_msi, because what was pending in
 * hardware is lost with the connection. The vectors stay wanted: an undo connects them again.
 *
 * Return: number of vectors released; -ENOTSUP the sink has no signal_msi; errors of the sink.
 */
int vferry_irq_plan_release(struct vferry_irq_plan *plan, struct vferry_error *err);

/* ---- kernel VFIO ---- */

/*
 * The address space that the kernel's devices of one machine share: a container, or an IOAS of
 * iommufd. The first device opened in it decides which. RAM is pinned once, however many devices
 * there are.
 */
struct vferry_dma_space;

struct vferry_dma_space_options {
	uint32_t size;
	/* The machine's KVM device of type KVM_DEV_TYPE_VFIO, told of each device before that is opened;
	 * borrowed while the space lives. -1: no KVM. */
	int kvm_vfio;
	int iommufd;	/* /dev/iommu, open; borrowed likewise. -1: opened when it is needed */
};

int vferry_dma_space_new(const struct vferry_dma_space_options *options,
			 struct vferry_dma_space **ret_space, struct vferry_error *err);
/* After its devices. Returns NULL. */
struct vferry_dma_space *vferry_dma_space_free(struct vferry_dma_space *space);

/* ---- devices ---- */

#define VFERRY_BAR_COUNT 6
#define VFERRY_CONFIG_BYTES 4096

struct vferry_device_callbacks {
	uint32_t size;
	/*
	 * The guest's view of a BAR changed: @mapped says whether memory decoding is on; @gpa and
	 * @bytes where it now is. Accesses to it go to vferry_device_bar_read/write, or straight to
	 * the memory of vferry_device_bar_area().
	 */
	void (*bar_changed)(void *user, unsigned bar, bool mapped, uint64_t gpa, uint64_t bytes);
	/* BARs must be out of the guest's reach (STOP_COPY), or may be reached again. */
	void (*bars_reachable)(void *user, bool reachable);
	/*
	 * What the host tells of a device, where the device can tell. Both come on a thread that is for this
	 * alone, also while vferry_device_open() has not returned, and may not call the library: hand it to
	 * your own loop. NULL: not asked for.
	 *
	 * The device had an error that the kernel could not correct (AER; VFIO_PCI_ERR_IRQ_INDEX). Nothing
	 * that it does from now on can be relied on: stop the machine.
	 */
	void (*device_error)(void *user);
	/*
	 * The host wants the device back (VFIO_PCI_REQ_IRQ_INDEX): somebody takes its driver from it, or it
	 * from its slot, and waits until it is closed. Told again every few seconds.
	 */
	void (*device_requested)(void *user);
};

struct vferry_device_options {
	uint32_t size;
	const char *address;		/* guest PCI address, "00:04.0" */
	uint32_t requester_id;		/* bus << 8 | devfn as the ITS sees it */
	uint32_t intx_pin;		/* pin of the interrupt controller that INTx is wired to */
	struct vferry_irq_plan *irqs;	/* borrowed; NULL: no interrupts */
	const struct vferry_device_callbacks *callbacks;	/* borrowed */
	void *user;
	/* Answer of the device to one request; 0 = 5 s. State changes and data may take six times as
	 * long; after that the device counts as dead. */
	uint64_t timeout_ns;
	/* Who may serve it (vfio-user); borrowed for vferry_device_open(). NULL: this user and root. */
	const struct vferry_trust *trust;
	/* Kernel VFIO: the machine's address space for DMA; borrowed until the device is closed. NULL:
	 * one of its own, which pins RAM for this device alone and knows no KVM. */
	struct vferry_dma_space *dma_space;
};

/**
 * vferry_device_open() - connect to a device and read what it is
 *
 * Return: 0; -EINVAL bad URI or options; -ENOTSUP a kind of device this build cannot open;
 * -ENOENT, -ECONNREFUSED, -ETIMEDOUT, -EPROTO from the device's side.
 */
int vferry_device_open(const char *uri, const struct vferry_device_options *options,
		       struct vferry_device **ret_device, struct vferry_error *err);
/* Disconnects vectors, unmaps DMA, closes. Not while a session uses it. Returns NULL. */
struct vferry_device *vferry_device_close(struct vferry_device *device);

/*
 * DMA-maps every block of @ram, and makes the device's DMA log a dirty source of it. A kernel device
 * pins all of it: its blocks must have VFERRY_RAM_PINNED, and -ENOMEM with the id "memory-lock-limit"
 * says how much this process must be allowed to lock.
 */
int vferry_device_attach_ram(struct vferry_device *device, struct vferry_ram *ram,
			     struct vferry_error *err);
/**
 * vferry_device_add_peer() - from now on @peer's BARs are DMA-mapped into @device, wherever the guest
 * places them
 *
 * Return: 0; -ENOTSUP they cannot be (iommufd has no such mappings, and a kernel device's BARs are not
 * handed to a vfio-user server); -EINVAL, -EEXIST, -E2BIG; errors of mapping.
 */
int vferry_device_add_peer(struct vferry_device *device, struct vferry_device *peer,
			   struct vferry_error *err);

/* The guest's accesses: @size 1, 2 or 4 for config space; 1, 2, 4 or 8 for BARs. */
uint32_t vferry_device_config_read(struct vferry_device *device, uint32_t offset, unsigned size);
int vferry_device_config_write(struct vferry_device *device, uint32_t offset, unsigned size,
			       uint32_t value, struct vferry_error *err);
int vferry_device_bar_read(struct vferry_device *device, unsigned bar, uint64_t offset,
			   unsigned size, uint64_t *ret_value, struct vferry_error *err);
int vferry_device_bar_write(struct vferry_device *device, unsigned bar, uint64_t offset,
			    unsigned size, uint64_t value, struct vferry_error *err);

struct vferry_bar_area {
	uint64_t offset;	/* within the BAR */
	/*
	 * More than the BAR has where that is smaller than a page and the host has nothing else in its page
	 * (kernel VFIO): then it is all of that page. Show it to the guest only while the BAR is at the beginning
	 * of a page in which the guest has nothing else, too; use vferry_device_bar_read/write otherwise.
	 */
	uint64_t bytes;
	void *host;		/* mapping, borrowed until the device is closed */
	/* Memory for the guest only (kernel VFIO): this process must not touch it, because while the
	 * device does not decode memory that raises SIGBUS. */
	bool guest_only;
};

/* Area @index of @bar that may be accessed as memory. Return: 0; -ENOENT no such area. */
int vferry_device_bar_area(struct vferry_device *device, unsigned bar, unsigned index,
			   struct vferry_bar_area *ret_area);

/*
 * A write of the guest's that the device would rather have as a count of an eventfd (KVM_IOEVENTFD),
 * because its value does not matter, or is known. Whoever can does that while the BAR decodes and is in
 * reach, as with areas, and has to have taken it out when bar_changed and bars_reachable return: then no
 * such write is lost by a migration, and none done twice. Others use vferry_device_bar_write().
 */
struct vferry_bar_ioeventfd {
	uint64_t offset;	/* within the BAR */
	uint32_t bytes;		/* of the write; 0 = of a write of any size */
	bool matches;		/* only of the value `match` */
	uint64_t match;
	int eventfd;		/* borrowed until the device is closed */
};

/* Number @index of @bar. Return: 0; -ENOENT no such one. */
int vferry_device_bar_ioeventfd(struct vferry_device *device, unsigned bar, unsigned index,
				struct vferry_bar_ioeventfd *ret_ioeventfd);

/* Machine reset: the device is reset, its config space as after power-on. */
int vferry_device_reset(struct vferry_device *device, struct vferry_error *err);

enum vferry_device_feature {
	VFERRY_DEVICE_STOP_COPY = 1u << 0,
	VFERRY_DEVICE_P2P = 1u << 1,
	VFERRY_DEVICE_PRE_COPY = 1u << 2,
	VFERRY_DEVICE_DMA_LOG = 1u << 8,
	VFERRY_DEVICE_IOMMU_DIRTY = 1u << 9,
	VFERRY_DEVICE_DATA_SIZE = 1u << 10,
	VFERRY_DEVICE_PRECOPY_INFO = 1u << 11,
};

/* Who knows which pages the device wrote. */
enum vferry_dirty_tracking {
	VFERRY_TRACKING_NONE = 0,	/* nobody: all RAM is sent again in the last round */
	VFERRY_TRACKING_DEVICE_LOG = 1,
	VFERRY_TRACKING_IOMMU = 2,
};

enum vferry_irq_mode { VFERRY_IRQ_NONE, VFERRY_IRQ_INTX, VFERRY_IRQ_MODE_MSI, VFERRY_IRQ_MODE_MSIX };

struct vferry_device_info {
	char address[16];
	char uri[128];
	char backend[24];		/* "vfio-user", "kernel-group", "kernel-cdev" */
	char driver[32];		/* of the kernel, that it is bound to; "" = not known */
	uint16_t vendor_id;
	uint16_t device_id;
	uint32_t features;		/* enum vferry_device_feature */
	uint32_t state;			/* VFIO migration state, as read back last */
	bool lost;			/* was reset after an error: its state is gone */
	enum vferry_irq_mode irq_mode;
	uint32_t vector_count;		/* enabled by the guest */
	uint32_t vectors_connected;
	uint32_t vectors_forwarded;
	uint32_t vectors_forward_unknown;
	char not_forwarded_reason[VFERRY_REASON_BYTES];	/* of the first vector that is not, or not known to be */
	uint64_t bar_gpa[VFERRY_BAR_COUNT];	/* 0 = not decoded */
	uint64_t bar_bytes[VFERRY_BAR_COUNT];
	bool bar_is_io[VFERRY_BAR_COUNT];	/* port I/O, not memory */
	enum vferry_dirty_tracking dirty_tracking;
	uint32_t log_failures;		/* reports that failed: their range counted as dirty */
};

void vferry_device_get_info(struct vferry_device *device, struct vferry_device_info *ret_info);

/* ---- the raw migration interface, for tools that examine a device ---- */

/* VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE (linux/vfio.h). Not while a session uses the device. */
int vferry_device_get_state(struct vferry_device *device, uint32_t *ret_state,
			    struct vferry_error *err);
int vferry_device_set_state(struct vferry_device *device, uint32_t state, struct vferry_error *err);
/* Device state bytes; 0 from read = nothing now (PRE_COPY) or the end (STOP_COPY). */
int64_t vferry_device_read_data(struct vferry_device *device, void *buffer, size_t size,
				struct vferry_error *err);
int vferry_device_write_data(struct vferry_device *device, const void *data, size_t size,
			     struct vferry_error *err);

#ifdef __cplusplus
}
#endif
#endif
