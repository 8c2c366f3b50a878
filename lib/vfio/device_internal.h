/* SPDX-License-Identifier: MIT */
/*
 * device_internal.h - struct vferry_device, shared by the files of the device module:
 *
 *   device.c            life cycle, info, reset, the session's begin and end
 *   device_access.c     the guest's accesses to config space and BARs; BARs and their memory
 *   device_irq.c        eventfds, INTx/MSI/MSI-X modes, masks, pending bits
 *   device_notice.c     errors, and the host that wants the device back
 *   device_dma.c        RAM and peers' BARs in the device's address space; the dirty source
 *   migration.c         states and transitions, recovery, data, how much is left
 *   device_component.c  components, sections, steps, stream
 *
 * Locks, in the order they are taken:
 *   write_lock  serialises what can change config space and then calls back: guest's config writes,
 *               reset, stage, restage. Held over callbacks, so these may not write config space.
 *   lock        the view of config space, MSI-X table and pending bits, the interrupt mode and
 *               its eventfds, `staged`, `bars`. Held over requests to the backend.
 *   mig_lock    the migration state, transitions and resets; held over them, for as long as they take.
 *   dma_lock    what is mapped into the device; also taken by a *peer* that holds its own `lock`.
 *   log_lock    the DMA log and its shadow.
 * Then the interrupt plan's lock. Nothing is held over a call of the guest's BAR accesses outside the
 * MSI-X table, nor over migration data. Written once at open, read freely: everything else.
 */
#ifndef VF_VFIO_DEVICE_INTERNAL_H
#define VF_VFIO_DEVICE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <vferry/component.h>
#include <vferry/device.h>

#include "base/bitmap.h"
#include "base/trace.h"
#include "component/irq.h"
#include "vfio/backend.h"
#include "vfio/config.h"
#include "vfio/device_component.h"

#define VF_DEVICE_PEERS_MAX 64u
#define VF_DEVICE_VFIO_STEPS 10u	/* of the component that is its state */
#define VF_DEVICE_STATE_NONE UINT32_MAX	/* a device that cannot migrate has no state */

/* A BAR as the VMM was last told. */
struct vf_device_bar {
	bool mapped;
	uint64_t gpa;
};

/* One piece of a peer's BAR in this device's address space. */
struct vf_device_dma_piece {
	const struct vferry_device *peer;
	unsigned int bar;
	uint64_t iova;
	uint64_t bytes;
};

struct vf_device_area {
	struct vferry_bar_area area;
	unsigned int bar;
};

struct vf_device_ioeventfd {
	struct vferry_bar_ioeventfd io;	/* its eventfd is owned */
	unsigned int bar;
};

#define VF_DEVICE_IOEVENTFDS_MAX 64u	/* of all BARs; further ones are written to, as ever */

struct vf_device_irq {
	enum vf_config_interrupt_mode mode;	/* of the eventfds that the device signals now */
	uint32_t count;
	int *eventfds;		/* owned, count of them, not blocking */
	int resample;		/* INTx: end of interrupt; -1 = none */
	bool automasked;	/* INTx masks itself, and must be unmasked */
};

struct vf_device_log {
	enum vferry_dirty_tracking tracking;	/* what is used, or would be */
	bool on;
	uint64_t page_bytes;	/* the device's unit */
	bool shadowed;		/* reports go to whole blocks, and into shadows first */
	struct vf_bitmap *shadows;	/* one a block of RAM, owned */
	size_t shadow_count;
};

struct vferry_device {
	struct vf_backend *backend;	/* owned */
	char uri[128];
	char address[16];
	char pci_name[VFERRY_NAME_BYTES];
	char vfio_name[VFERRY_NAME_BYTES];
	uint32_t requester_id;
	uint32_t intx_pin;
	struct vferry_irq_plan *irqs;	/* borrowed, NULL = no interrupts */
	struct vf_irq_source *irq_source;
	struct vferry_device_callbacks callbacks;
	void *user;
	struct vf_device_notices *notices;	/* owned; NULL: nobody wants any */

	/* What it is: read at open. */
	uint32_t num_regions;
	bool can_reset;
	struct vf_backend_region regions[VF_CONFIG_REGIONS];
	struct vf_device_area *areas;	/* owned; mapped */
	uint32_t area_count;
	struct vf_device_ioeventfd ioeventfds[VF_DEVICE_IOEVENTFDS_MAX];
	uint32_t ioeventfd_count;
	uint64_t mig_flags;		/* VF_VFIO_MIGRATION_*, 0 = cannot */
	uint32_t features;		/* enum vferry_device_feature */

	pthread_mutex_t write_lock;
	pthread_mutex_t lock;
	struct vf_config *config;
	struct vf_config_state *staged;	/* destination: what stage or restage was last made from */
	struct vf_device_irq irq;
	bool vectors_early;		/* destination: allocated before the final mode is known */
	struct vf_device_bar bars[VF_CONFIG_BARS];

	pthread_mutex_t mig_lock;
	_Atomic uint32_t state;		/* as read back last; written under mig_lock */
	atomic_bool lost;
	atomic_bool dead;		/* even a reset did not bring it back */
	atomic_uint resets;		/* by the guest or the machine */
	atomic_uint generation;		/* of the data that read() gives; follows `resets` */
	atomic_bool precopy;		/* the session wants PRE_COPY, again after a reset */
	atomic_bool unreachable;	/* STOP_COPY: nothing may touch its BARs */
	_Atomic int role;		/* enum vf_device_role, 0 = in no session */
	atomic_bool gone;		/* the machine runs elsewhere */
	/* What these transitions took when they were last made, in an earlier migration; 0 = never. */
	_Atomic uint64_t p2p_ns;
	_Atomic uint64_t stop_ns;
	struct vferry_step_desc vfio_steps[VF_DEVICE_VFIO_STEPS];	/* with these times */

	pthread_mutex_t dma_lock;
	struct vferry_ram *ram;		/* borrowed */
	struct vferry_device *peers[VF_DEVICE_PEERS_MAX];	/* whose BARs are mapped in here */
	uint32_t peer_count;
	struct vferry_device *followers[VF_DEVICE_PEERS_MAX];	/* in which our BARs are mapped */
	uint32_t follower_count;
	struct vf_device_dma_piece *pieces;	/* owned */
	uint32_t piece_count;

	pthread_mutex_t log_lock;
	struct vf_device_log log;
	atomic_uint log_failures;

	/* The session's, NULL outside one. Changed under mig_lock and log_lock: other threads than the
	 * session's use it with one of them. */
	struct vf_trace *_Atomic trace;
};

/* Return: what the call that follows is to fail with; 0. */
static inline int vf_device_trace(struct vferry_device *d, enum vf_trace_point point, uint64_t a,
				  uint64_t b)
{
	return vf_trace(atomic_load_explicit(&d->trace, memory_order_acquire), point, d->vfio_name, a,
			b, 0);
}

/* Opens over a backend, which is taken also on failure. */
int vf_device_open_backend(struct vf_backend *take_backend, const char *uri,
			   const struct vferry_device_options *options,
			   struct vferry_device **ret_device, struct vferry_error *err);

/* ---- device_access.c ---- */

/* Maps what may be mapped of the BARs, less the pages of the MSI-X table and PBA. */
int vf_device_map_areas(struct vferry_device *d, struct vferry_error *err);
void vf_device_unmap_areas(struct vferry_device *d);
/* Writes to BARs that may come by eventfd: those that would do the same by message. */
int vf_device_find_ioeventfds(struct vferry_device *d, struct vferry_error *err);
void vf_device_close_ioeventfds(struct vferry_device *d);

/* One write of a plan or of an effect to the device's own config space. */
int vf_device_config_write_out(struct vferry_device *d, const struct vf_config_write *w,
			       struct vferry_error *err);
int vf_device_config_image(struct vferry_device *d, uint8_t *image, struct vferry_error *err);

struct vf_device_bar_moves {
	unsigned int gone;	/* bit n: BAR n was at from[n], and is not any more */
	unsigned int came;	/* bit n: BAR n is now at to[n] */
	uint64_t from[VF_CONFIG_BARS];
	uint64_t to[VF_CONFIG_BARS];
};

/* Compares `bars` with the view, and makes them equal. Needs lock. */
void vf_device_find_moves_locked(struct vferry_device *d, struct vf_device_bar_moves *ret_moves);
/* Takes moved BARs out of the VMM's and the followers' maps; puts them in at the new place. Need
 * write_lock, and not lock. came() returns the first failure of a follower's mapping. */
void vf_device_tell_gone(struct vferry_device *d, const struct vf_device_bar_moves *moves);
int vf_device_tell_came(struct vferry_device *d, const struct vf_device_bar_moves *moves,
			struct vferry_error *err);
void vf_device_set_reachable(struct vferry_device *d, bool reachable);

/* ---- device_irq.c; all need lock ---- */

/* The mode that the view asks for: nothing if it is the one in use. Nothing is connected yet. */
int vf_device_irq_alloc_locked(struct vferry_device *d, const struct vf_config_state *state,
			       struct vferry_error *err);
/* Messages of all vectors into the plan. */
void vf_device_irq_messages_locked(struct vferry_device *d, const struct vf_config_state *state);
/* Connects what the guest can hear, disconnects what it masked. */
int vf_device_irq_update_locked(struct vferry_device *d, struct vferry_error *err);
int vf_device_irq_update_vector_locked(struct vferry_device *d, uint32_t vector,
				       struct vferry_error *err);
void vf_device_irq_teardown_locked(struct vferry_device *d);
/* Eventfds of silent vectors become pending bits of the view. */
void vf_device_irq_take_pending_locked(struct vferry_device *d, uint32_t first, uint32_t count);
/* INTx: the line is asserted once more towards the guest. */
void vf_device_irq_raise_intx_locked(struct vferry_device *d);
void vf_device_irq_settle_intx_locked(struct vferry_device *d);
/* INTx-disable changed while INTx is the mode. */
int vf_device_irq_intx_disable_locked(struct vferry_device *d, struct vferry_error *err);
/* Is the line asserted, as far as can be told now? For a save. */
bool vf_device_irq_intx_level_locked(struct vferry_device *d, const uint8_t *image);

/* ---- device_notice.c ---- */

/* From here on callbacks come, if there are any; until end(). */
int vf_device_notices_begin(struct vferry_device *d, struct vferry_error *err);
void vf_device_notices_end(struct vferry_device *d);

/* ---- device_dma.c ---- */

int vf_device_dma_add_bar(struct vferry_device *d, const struct vferry_device *peer,
			  unsigned int bar, uint64_t gpa, struct vferry_error *err);
void vf_device_dma_remove_bar(struct vferry_device *d, const struct vferry_device *peer,
			      unsigned int bar);
void vf_device_dma_detach(struct vferry_device *d);
/* Who would tell what it writes: the device itself, or else its IOMMU. */
enum vferry_dirty_tracking vf_device_log_kind(const struct vferry_device *d);
/* The device was reset while its log was on: what it had logged may be gone. */
void vf_device_log_void(struct vferry_device *d);
/* Last report, device stopped. */
int vf_device_log_last(struct vferry_device *d, struct vferry_error *err);
void vf_device_log_stop(struct vferry_device *d);
extern const struct vf_backend_dma_ops vf_device_dma_ops;	/* user = struct vferry_device */

/* ---- migration.c ---- */

int vf_migration_probe(struct vferry_device *d, struct vferry_error *err);
const char *vf_migration_state_name(uint32_t state);
static inline bool vf_migration_has(const struct vferry_device *d, uint64_t flag)
{
	return (d->mig_flags & flag) != 0;
}
/* One transition; on failure the real state is read back. Takes mig_lock. */
int vf_migration_set(struct vferry_device *d, uint32_t target, struct vferry_error *err);
/* The device is reset by guest or machine; a new generation begins. */
int vf_migration_guest_reset(struct vferry_device *d, struct vferry_error *err);
/* Return: 0; 1 the device has no PRE_COPY, there is no data before the stop; errno. */
int vf_migration_precopy_start(struct vferry_device *d, struct vferry_error *err);
int vf_migration_p2p(struct vferry_device *d, struct vferry_error *err);
int vf_migration_stop(struct vferry_device *d, struct vferry_error *err);
int64_t vf_migration_read(struct vferry_device *d, void *buffer, size_t size,
			  struct vferry_error *err);
int vf_migration_write(struct vferry_device *d, const void *data, size_t size,
		       struct vferry_error *err);
int vf_migration_remaining(struct vferry_device *d, struct vferry_remaining *ret,
			   struct vferry_error *err);
int vf_migration_resuming(struct vferry_device *d, struct vferry_error *err);
int vf_migration_validate(struct vferry_device *d, struct vferry_error *err);
/* After a half-done load: empty, and RUNNING. */
int vf_migration_wipe(struct vferry_device *d, struct vferry_error *err);
/* Undo, in two halves. Return of run: 0 as it was; 1 it had to be reset and is lost; errno: dead. */
void vf_migration_undo_p2p(struct vferry_device *d);
int vf_migration_undo_run(struct vferry_device *d, struct vferry_error *err);

/* ---- device.c ---- */

/* One sentence: what it is, which driver it has, and which would do. */
void vf_device_explain_not_migratable(const struct vferry_device *d, char *to, size_t size);
/* Puts the view's values into a device that was reset, interrupts included. Takes lock. */
int vf_device_reapply(struct vferry_device *d, struct vferry_error *err);
/* Makes @take_state the view and puts it into the device as far as it touches no interrupt. The first
 * time all of it (stage), later only what differs (restage). Takes write_lock. */
int vf_device_stage(struct vferry_device *d, struct vf_config_state *take_state,
		    struct vferry_error *err);
/* Runs the writes of a plan, and its interrupt steps. Needs lock. */
int vf_device_run_plan_locked(struct vferry_device *d, const struct vf_config_plan *plan,
			      const struct vf_config_state *state, struct vferry_error *err);
/* With write_lock: resets the device and the view. */
int vf_device_reset_write_locked(struct vferry_device *d, struct vferry_error *err);

#endif
