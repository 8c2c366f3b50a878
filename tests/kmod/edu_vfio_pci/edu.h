/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * edu.h - what the parts of the driver know of each other.
 *
 * One mutex, edu->lock, guards everything of a device. The kernel's own locks are taken inside of it:
 * memory_lock of vfio-pci-core for each look at registers, mmap_lock for each copy from or to user space. A reset
 * may come from code that holds memory_lock already, so it must not wait for edu->lock: edu_device_was_reset().
 */
#ifndef EDU_VFIO_PCI_EDU_H
#define EDU_VFIO_PCI_EDU_H

#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/vfio_pci_core.h>
#include <linux/wait.h>
#include <linux/xarray.h>

/* --- the device, as in QEMU's docs/specs/edu.txt --- */

#define EDU_VENDOR		0x1234
#define EDU_DEVICE		0x11e8
#define EDU_ID			0x00
#define EDU_ID_VALUE		0x010000ed
#define EDU_LIVENESS		0x04	/* reads what was written, inverted */
#define EDU_FACTORIAL		0x08	/* n is written; n! is read, when it is no longer computing */
#define EDU_STATUS		0x20
#define EDU_STATUS_COMPUTING	0x01u
#define EDU_STATUS_IRQ		0x80u	/* interrupt when a factorial is there */
#define EDU_INTERRUPTS		0x24	/* reasons for the interrupt */
#define EDU_BY_FACTORIAL	0x01u
#define EDU_RAISE		0x60
#define EDU_ACKNOWLEDGE		0x64
#define EDU_DMA_SOURCE		0x80	/* these four are 8 bytes, and ignore writes while the DMA runs */
#define EDU_DMA_TARGET		0x88
#define EDU_DMA_COUNT		0x90
#define EDU_DMA_COMMAND		0x98
#define EDU_DMA_RUN		0x01u
#define EDU_DMA_TO_RAM		0x02u	/* else into the device's buffer */
#define EDU_DMA_IRQ		0x04u
#define EDU_BUFFER_AT		0x40000	/* the buffer's address on the device's side of a DMA */
#define EDU_BUFFER_BYTES	4096u

#define EDU_TRAPPED_BYTES	PAGE_SIZE	/* of BAR 0: all registers; the rest may be mapped */

/* --- what is carried to another device --- */

struct edu_state {
	u32 liveness;		/* as it was written */
	u32 factorial;		/* the result */
	u32 status;
	u32 interrupts;
	u64 source, target, count, command;	/* command with RUN: a DMA that has yet to start */
	u8 buffer[EDU_BUFFER_BYTES];
};

/* What the device can't be asked for, or can't be told: kept beside it. registers.c */
struct edu_shadow {
	bool must_clear;	/* the registers still hold what was before a reset */
	bool factorial_loaded;	/* the result came from elsewhere */
	u32 factorial;
	u32 interrupts;		/* reasons that came from elsewhere */
	u64 source, target, count, command;	/* command without RUN */
	bool held;		/* the DMA was started when it must not run */
	u8 buffer[EDU_BUFFER_BYTES];
	DECLARE_BITMAP(stale, EDU_BUFFER_BYTES);	/* bytes that the device's buffer lacks */
	u64 version;		/* of the buffer: goes up when it changes */
	bool unseen;		/* bytes came into the device that we could not read, too */
};

/* A DMA into RAM that may still write. */
struct edu_write {
	u64 iova;
	u64 bytes;		/* 0: none */
};

struct edu_log {
	bool on;
	bool full;		/* more pages than we remember: all are reported until it is stopped */
	u32 count;
	struct xarray pages;
};

struct edu_stream;

#if defined(VFIO_DEVICE_BIND_IOMMUFD) && IS_ENABLED(CONFIG_IOMMUFD)	/* since Linux 6.6 */
#define EDU_HAS_IOMMUFD
#endif

struct edu_device {
	struct vfio_pci_core_device core;	/* first */
	void __iomem *registers;		/* while it is open */
	struct mutex lock;
	spinlock_t reset_lock;			/* guards was_reset alone */
	bool was_reset;

	enum vfio_device_mig_state state;
	struct edu_stream *stream;		/* while data is saved or loaded */
	wait_queue_head_t stream_wait;
	struct edu_shadow shadow;
	struct edu_write write;
	struct edu_log log;
#ifdef EDU_HAS_IOMMUFD
	struct iommufd_access *access;		/* while it is bound to an iommufd */
	bool reaches_memory;			/* by the access: all that the device reaches */
#endif
};

static inline struct edu_device *edu_of(struct vfio_device *vdev)
{
	return container_of(vdev, struct edu_device, core.vdev);
}

/* main.c */
void edu_lock(struct edu_device *edu);
void edu_unlock(struct edu_device *edu);

/* registers.c: edu->lock is held */
int edu_registers_read(struct edu_device *edu, u32 offset, u32 bytes, u64 *ret_value);
int edu_registers_write(struct edu_device *edu, u32 offset, u32 bytes, u64 value);
void edu_registers_reset(struct edu_device *edu);	/* does not touch the device yet */
int edu_registers_clear(struct edu_device *edu);	/* does */
int edu_dma_hold(struct edu_device *edu);	/* returns when no DMA runs; later ones are held */
int edu_dma_release(struct edu_device *edu);
int edu_dma_settle(struct edu_device *edu);	/* notes whether a write into RAM has ended */
int edu_wait_for_factorial(struct edu_device *edu);
int edu_assert_interrupts(struct edu_device *edu);
int edu_state_save(struct edu_device *edu, struct edu_state *ret_state);
int edu_state_check(const struct edu_state *state);
int edu_state_load(struct edu_device *edu, const struct edu_state *state);
u64 edu_dma_mask(void);

/* memory.c. -EPERM: the device may reach this, we don't */
int edu_memory_copy(struct edu_device *edu, u64 iova, void *data, u32 bytes, bool write);
#ifdef EDU_HAS_IOMMUFD
int edu_memory_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx, u32 *ret_id);
void edu_memory_unbind(struct vfio_device *vdev);
int edu_memory_attach(struct vfio_device *vdev, u32 *id);
void edu_memory_detach(struct vfio_device *vdev);
#endif

/* migration.c */
extern const struct vfio_migration_ops edu_migration_ops;
#define EDU_MIGRATION_FLAGS_OLD	(VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P)
#ifdef VFIO_MIGRATION_PRE_COPY
#define EDU_MIGRATION_FLAGS	(EDU_MIGRATION_FLAGS_OLD | VFIO_MIGRATION_PRE_COPY)
#else				/* before Linux 6.2 */
#define EDU_MIGRATION_FLAGS	EDU_MIGRATION_FLAGS_OLD
#endif
bool edu_may_start_dma(const struct edu_device *edu);
bool edu_is_stopped(const struct edu_device *edu);
bool edu_is_pre_copy(const struct edu_device *edu);

/* stream.c: a session of saving or loading, and its file. edu->lock is held */
struct file *edu_stream_open_saving(struct edu_device *edu);
struct file *edu_stream_open_loading(struct edu_device *edu);
int edu_stream_finish_saving(struct edu_device *edu);	/* the rest of the state, and the end */
int edu_stream_finish_loading(struct edu_device *edu);	/* -EINVAL: what came is not a whole state */
void edu_stream_close(struct edu_device *edu);		/* the session ends; the file may stay */
u64 edu_stream_bytes_left(struct edu_device *edu);	/* until the end, if it stopped now */

/* log.c: edu->lock is held, but by the operations */
extern const struct vfio_log_ops edu_log_ops;
bool edu_log_works(void);
void edu_log_add(struct edu_device *edu, u64 iova, u64 bytes);
void edu_log_stop(struct edu_device *edu);

#endif
