/* SPDX-License-Identifier: MIT */
/* msix.c - the emulated MSI-X table; the model is in msix.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "vfio/msix.h"

int vf_msix_init(struct vf_msix *m, uint32_t count)
{
	struct vf_msix_entry *entries = NULL;

	if (count > VF_MSIX_VECTORS_MAX)
		return -EINVAL;
	if (count) {
		entries = calloc(count, sizeof(*entries));
		if (!entries)
			return -ENOMEM;
	}
	*m = (struct vf_msix) { .count = count, .entries = entries };
	vf_msix_reset(m);
	return 0;
}

void vf_msix_done(struct vf_msix *m)
{
	free(m->entries);
	*m = (struct vf_msix) { 0 };
}

void vf_msix_reset(struct vf_msix *m)
{
	for (uint32_t i = 0; i < m->count; i++)
		m->entries[i] = (struct vf_msix_entry) { .control = VF_MSIX_ENTRY_MASKED };
	memset(m->pending, 0, sizeof(m->pending));
	m->enabled = false;
	m->function_masked = false;
}

int vf_msix_copy(struct vf_msix *to, const struct vf_msix *from)
{
	if (to->count != from->count)
		return -EINVAL;
	if (from->count)
		memcpy(to->entries, from->entries, from->count * sizeof(*from->entries));
	memcpy(to->pending, from->pending, sizeof(to->pending));
	to->enabled = from->enabled;
	to->function_masked = from->function_masked;
	return 0;
}

static bool access_ok(uint64_t offset, uint32_t len, uint64_t size)
{
	if (len != 1 && len != 2 && len != 4 && len != 8)
		return false;
	return offset % len == 0 && vf_range_in(offset, len, size);
}

static void entry_put(const struct vf_msix_entry *entry, uint8_t bytes[VF_MSIX_ENTRY_BYTES])
{
	vf_put_u64(bytes, entry->address);
	vf_put_u32(bytes + 8, entry->data);
	vf_put_u32(bytes + 12, entry->control);
}

static uint64_t bytes_to_value(const uint8_t *bytes, uint32_t len)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < len; i++)
		value |= (uint64_t) bytes[i] << (8 * i);
	return value;
}

uint64_t vf_msix_table_read(const struct vf_msix *m, uint64_t offset, uint32_t len)
{
	uint8_t bytes[VF_MSIX_ENTRY_BYTES];

	if (!access_ok(offset, len, vf_msix_table_bytes(m)))
		return 0;
	/* Aligned, so it lies in one entry. */
	entry_put(&m->entries[offset / VF_MSIX_ENTRY_BYTES], bytes);
	return bytes_to_value(bytes + offset % VF_MSIX_ENTRY_BYTES, len);
}

uint64_t vf_msix_pba_read(const struct vf_msix *m, uint64_t offset, uint32_t len)
{
	uint8_t bytes[8];

	if (!access_ok(offset, len, vf_msix_pba_bytes(m)))
		return 0;
	vf_put_u64(bytes, m->pending[offset / 8]);
	return bytes_to_value(bytes + offset % 8, len);
}

bool vf_msix_silent(const struct vf_msix *m, uint32_t vector)
{
	if (vector >= m->count || !m->enabled || m->function_masked)
		return true;
	return m->entries[vector].control & VF_MSIX_ENTRY_MASKED;
}

bool vf_msix_is_pending(const struct vf_msix *m, uint32_t vector)
{
	return vector < m->count && m->pending[vector / 64] >> (vector % 64) & 1;
}

uint32_t vf_msix_table_write(struct vf_msix *m, uint64_t offset, uint32_t len, uint64_t value,
			     uint32_t *ret_vector)
{
	uint8_t bytes[VF_MSIX_ENTRY_BYTES];
	struct vf_msix_entry *entry, old;
	uint32_t vector, flags = 0;
	bool was_silent;

	if (!access_ok(offset, len, vf_msix_table_bytes(m)))
		return 0;
	vector = (uint32_t) (offset / VF_MSIX_ENTRY_BYTES);
	entry = &m->entries[vector];
	old = *entry;
	was_silent = vf_msix_silent(m, vector);

	entry_put(entry, bytes);
	for (uint32_t i = 0; i < len; i++)
		bytes[offset % VF_MSIX_ENTRY_BYTES + i] = (uint8_t) (value >> (8 * i));
	entry->address = vf_get_u64(bytes) & ~3ull;	/* a message is one aligned dword */
	entry->data = vf_get_u32(bytes + 8);
	entry->control = vf_get_u32(bytes + 12) & VF_MSIX_ENTRY_MASKED;

	if (entry->address != old.address || entry->data != old.data)
		flags |= VF_MSIX_MESSAGE_CHANGED;
	if (vf_msix_silent(m, vector) != was_silent)
		flags |= was_silent ? VF_MSIX_UNMASKED : VF_MSIX_MASKED;
	if ((flags & VF_MSIX_UNMASKED) && vf_msix_is_pending(m, vector))
		flags |= VF_MSIX_SEND_PENDING;
	if (flags)
		*ret_vector = vector;
	return flags;
}

/* First pending vector that may be sent, or count. */
static uint32_t sendable(const struct vf_msix *m)
{
	if (!m->enabled || m->function_masked)
		return m->count;
	for (uint32_t word = 0; word < (m->count + 63) / 64; word++) {
		uint64_t bits = m->pending[word];

		while (bits) {
			uint32_t vector = word * 64 + (uint32_t) __builtin_ctzll(bits);

			if (!vf_msix_silent(m, vector))
				return vector;
			bits &= bits - 1;
		}
	}
	return m->count;
}

uint32_t vf_msix_set_control(struct vf_msix *m, bool enabled, bool function_masked)
{
	bool was_silent = !m->enabled || m->function_masked;
	bool silent = !enabled || function_masked;
	uint32_t flags = 0;

	m->enabled = enabled;
	m->function_masked = function_masked;
	if (was_silent == silent)
		return 0;
	flags = silent ? VF_MSIX_MASKED : VF_MSIX_UNMASKED;
	if (sendable(m) < m->count)
		flags |= VF_MSIX_SEND_PENDING;
	return flags;
}

bool vf_msix_raise(struct vf_msix *m, uint32_t vector)
{
	if (vector >= m->count)
		return false;
	if (!vf_msix_silent(m, vector))
		return true;
	/* A function whose MSI-X is off has no message to owe. */
	if (m->enabled)
		m->pending[vector / 64] |= 1ull << (vector % 64);
	return false;
}

bool vf_msix_take_pending(struct vf_msix *m, uint32_t *ret_vector)
{
	uint32_t vector = sendable(m);

	if (vector >= m->count)
		return false;
	m->pending[vector / 64] &= ~(1ull << (vector % 64));
	*ret_vector = vector;
	return true;
}
