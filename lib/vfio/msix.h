/* SPDX-License-Identifier: MIT */
/*
 * msix.h - a function's MSI-X table and pending bits, as the guest sees them.
 *
 * A passed through device's own table is never shown to the guest: reads and writes of the table
 * and PBA ranges inside a BAR come here. The caller traps them, hands them over with the offset
 * inside the table (or PBA), and carries out what the returned flags say. A vector is *silent*
 * while MSI-X is off, the function is masked or the vector is masked; an interrupt that arrives
 * meanwhile sets its pending bit (vf_msix_raise) and is handed out by vf_msix_take_pending() once
 * it may be sent.
 *
 * Memory: one allocation of at most 2048 vectors. No I/O; threads: the caller's lock.
 */
#ifndef VF_VFIO_MSIX_H
#define VF_VFIO_MSIX_H

#include <stdbool.h>
#include <stdint.h>

#define VF_MSIX_VECTORS_MAX 2048u
#define VF_MSIX_ENTRY_BYTES 16u
#define VF_MSIX_ENTRY_MASKED 1u

struct vf_msix_entry {
	uint64_t address;
	uint32_t data;
	uint32_t control;	/* bit 0 = masked; the others read as zero */
};

struct vf_msix {
	uint32_t count;			/* 0 = the function has no MSI-X */
	bool enabled;
	bool function_masked;
	struct vf_msix_entry *entries;	/* owned, @count of them */
	uint64_t pending[VF_MSIX_VECTORS_MAX / 64];
};

/* What a write did, or'ed. Numbers are not on the wire. */
enum vf_msix_effect {
	VF_MSIX_MESSAGE_CHANGED	= 1u << 0,	/* the vector's address or data: route anew */
	VF_MSIX_MASKED		= 1u << 1,	/* the vector fell silent */
	VF_MSIX_UNMASKED	= 1u << 2,	/* the vector may be sent again */
	VF_MSIX_SEND_PENDING	= 1u << 3,	/* call vf_msix_take_pending() until false */
};

/* @count vectors, all masked and zero, MSI-X off. -EINVAL beyond 2048, -ENOMEM. 0 is allowed. */
int vf_msix_init(struct vf_msix *m, uint32_t count);
void vf_msix_done(struct vf_msix *m);
void vf_msix_reset(struct vf_msix *m);	/* as after vf_msix_init() */
/* -EINVAL: the counts differ. */
int vf_msix_copy(struct vf_msix *to, const struct vf_msix *from);

static inline uint32_t vf_msix_table_bytes(const struct vf_msix *m)
{
	return m->count * VF_MSIX_ENTRY_BYTES;
}

static inline uint32_t vf_msix_pba_bytes(const struct vf_msix *m)
{
	return (m->count + 63) / 64 * 8;
}

/* Guest accesses: @len 1, 2, 4 or 8, naturally aligned. Others, or outside the range: reads give 0,
 * writes do nothing. The PBA is read only. */
uint64_t vf_msix_table_read(const struct vf_msix *m, uint64_t offset, uint32_t len);
uint64_t vf_msix_pba_read(const struct vf_msix *m, uint64_t offset, uint32_t len);
/* Return: VF_MSIX_* of the one vector touched, whose number is in @ret_vector if not zero. */
uint32_t vf_msix_table_write(struct vf_msix *m, uint64_t offset, uint32_t len, uint64_t value,
			     uint32_t *ret_vector);

/* The enable and function mask bits changed. Return: VF_MSIX_MASKED, _UNMASKED (the function as a
 * whole: vectors keep their own masks), _SEND_PENDING, or'ed; 0 = nothing changed. */
uint32_t vf_msix_set_control(struct vf_msix *m, bool enabled, bool function_masked);

bool vf_msix_silent(const struct vf_msix *m, uint32_t vector);
bool vf_msix_is_pending(const struct vf_msix *m, uint32_t vector);
/* The device signals @vector. True: send its message now; false: silent, now pending. */
bool vf_msix_raise(struct vf_msix *m, uint32_t vector);
/* Takes one pending vector that may be sent (its pending bit is cleared). False = none left. */
bool vf_msix_take_pending(struct vf_msix *m, uint32_t *ret_vector);

#endif
