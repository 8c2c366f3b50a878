/* SPDX-License-Identifier: MIT */
/*
 * sections.h - the section bodies a destination holds until their steps have run.
 *
 * One slot for each section that the source announced. A body is kept for as long as the session
 * lives (one section may feed two steps, and a step may run again for a newer body); a newer body
 * of the same section takes the place of the older. All bodies together stay within a bound that
 * was told to the source; what would pass it is refused by name.
 *
 * Threads: one lock inside. Steps read copies, since a newer body may arrive meanwhile.
 */
#ifndef VF_SESSION_SECTIONS_H
#define VF_SESSION_SECTIONS_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vferry/component.h>
#include <vferry/error.h>

struct vf_section_slot {
	uint32_t component;
	uint32_t id;
	uint32_t max_bytes;	/* the smaller of both sides' bounds */
	uint16_t version;	/* announced by the source */
	char name[VFERRY_NAME_BYTES + 32];	/* "gic:registers", for errors */
	bool arrived;
	bool read;		/* by a step ... */
	bool unread;		/* ... and the body that is here came later */
	uint16_t body_version;
	uint8_t *body;		/* owned */
	size_t bytes;
	uint32_t crc;
};

struct vf_sections {
	pthread_mutex_t lock;	/* slots' contents, held_bytes */
	struct vf_section_slot *slots;
	size_t count;
	size_t limit_bytes;
	size_t held_bytes;
	bool closed;
};

/* Room for @capacity slots that together hold up to @limit_bytes. */
int vf_sections_init(struct vf_sections *s, size_t capacity, size_t limit_bytes);
void vf_sections_done(struct vf_sections *s);
/* Before the first put. -ENOSPC: more slots than @capacity. */
int vf_sections_announce(struct vf_sections *s, size_t capacity, const struct vf_section_slot *slot);
/* Takes a copy. -ENOENT not announced; -EMSGSIZE too large; -ENOBUFS over the bound of all; -EPROTO closed. */
int vf_sections_put(struct vf_sections *s, uint32_t component, uint32_t id, uint16_t version,
		    const void *body, size_t bytes, struct vferry_error *err);
/* The slot as it is now, without its body. -ENOENT: not announced. */
int vf_sections_get(struct vf_sections *s, uint32_t component, uint32_t id,
		    struct vf_section_slot *ret);
/*
 * A copy of the body, for the caller to free (NULL if it is empty). -ENODATA: none ever arrived. One
 * that is forgotten is still read, by a step that had it as its input and will be run again.
 */
int vf_sections_copy(struct vf_sections *s, uint32_t component, uint32_t id, uint8_t **ret_body,
		     size_t *ret_bytes, uint16_t *ret_version);
/* What is there stays as it is: put() is refused from now on. */
void vf_sections_close(struct vf_sections *s);
/* All sections of @component count as not arrived and not read: what comes next is meant. */
void vf_sections_forget(struct vf_sections *s, uint32_t component);
bool vf_sections_arrived(struct vf_sections *s, uint32_t component, uint32_t id);

#endif
