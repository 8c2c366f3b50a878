/* SPDX-License-Identifier: MIT */
/* sections.c - see sections.h. A few dozen slots: linear search is enough. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "session/sections.h"

int vf_sections_init(struct vf_sections *s, size_t capacity, size_t limit_bytes)
{
	*s = (struct vf_sections) { .limit_bytes = limit_bytes };
	s->slots = calloc(capacity ? capacity : 1, sizeof(*s->slots));
	if (!s->slots)
		return -ENOMEM;
	(void) pthread_mutex_init(&s->lock, NULL);
	return 0;
}

void vf_sections_done(struct vf_sections *s)
{
	if (!s->slots)
		return;
	for (size_t i = 0; i < s->count; i++)
		free(s->slots[i].body);
	free(s->slots);
	(void) pthread_mutex_destroy(&s->lock);
	*s = (struct vf_sections) { 0 };
}

int vf_sections_announce(struct vf_sections *s, size_t capacity, const struct vf_section_slot *slot)
{
	if (s->count == capacity)
		return -ENOSPC;
	s->slots[s->count++] = *slot;
	return 0;
}

static struct vf_section_slot *find(struct vf_sections *s, uint32_t component, uint32_t id)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->slots[i].component == component && s->slots[i].id == id)
			return &s->slots[i];
	return NULL;
}

static int put_locked(struct vf_sections *s, struct vf_section_slot *slot, uint16_t version,
		      const void *body, size_t bytes, struct vferry_error *err)
{
	uint8_t *copy;

	if (s->closed)
		return vferry_error_set(err, -EPROTO, "section-late", slot->name,
					"a section that came when everything was loaded and compared");
	if (bytes > slot->max_bytes)
		return vferry_error_set(err, -EMSGSIZE, "section-too-large", slot->name,
					"section of %zu bytes, at most %u were agreed on", bytes,
					slot->max_bytes);
	if (bytes > s->limit_bytes - (s->held_bytes - slot->bytes))
		return vferry_error_set(err, -ENOBUFS, "sections-over-bound", slot->name,
					"section of %zu bytes came when %zu of %zu were held",
					bytes, s->held_bytes, s->limit_bytes);
	copy = malloc(bytes ? bytes : 1);
	if (!copy)
		return vferry_error_set(err, -ENOMEM, "no-memory", slot->name,
					"no memory for a section of %zu bytes", bytes);
	memcpy(copy, body, bytes);
	free(slot->body);
	s->held_bytes += bytes - slot->bytes;
	slot->body = copy;
	slot->bytes = bytes;
	slot->body_version = version;
	slot->crc = vf_crc32c(0, copy, bytes);
	slot->arrived = true;
	slot->unread = slot->read;
	return 0;
}

int vf_sections_put(struct vf_sections *s, uint32_t component, uint32_t id, uint16_t version,
		    const void *body, size_t bytes, struct vferry_error *err)
{
	struct vf_section_slot *slot;
	int ret;

	(void) pthread_mutex_lock(&s->lock);
	slot = find(s, component, id);
	if (slot)
		ret = put_locked(s, slot, version, body, bytes, err);
	else
		ret = vferry_error_set(err, -ENOENT, "section-not-announced", NULL,
				       "section %u of component %u was not announced at setup", id,
				       component);
	(void) pthread_mutex_unlock(&s->lock);
	return ret;
}

int vf_sections_get(struct vf_sections *s, uint32_t component, uint32_t id,
		    struct vf_section_slot *ret)
{
	const struct vf_section_slot *slot;

	(void) pthread_mutex_lock(&s->lock);
	slot = find(s, component, id);
	if (slot) {
		*ret = *slot;
		ret->body = NULL;	/* a newer one may take its place at once */
	}
	(void) pthread_mutex_unlock(&s->lock);
	return slot ? 0 : -ENOENT;
}

int vf_sections_copy(struct vf_sections *s, uint32_t component, uint32_t id, uint8_t **ret_body,
		     size_t *ret_bytes, uint16_t *ret_version)
{
	struct vf_section_slot *slot;
	uint8_t *copy = NULL;
	int ret = 0;

	(void) pthread_mutex_lock(&s->lock);
	slot = find(s, component, id);
	if (!slot || !slot->body)
		ret = -ENODATA;
	else if (slot->bytes && !(copy = malloc(slot->bytes)))
		ret = -ENOMEM;
	if (!ret) {
		if (slot->arrived) {
			slot->read = true;
			slot->unread = false;
		}
		if (copy)
			memcpy(copy, slot->body, slot->bytes);
		*ret_body = copy;
		*ret_bytes = slot->bytes;
		*ret_version = slot->body_version;
	}
	(void) pthread_mutex_unlock(&s->lock);
	return ret;
}

void vf_sections_close(struct vf_sections *s)
{
	(void) pthread_mutex_lock(&s->lock);
	s->closed = true;
	(void) pthread_mutex_unlock(&s->lock);
}

void vf_sections_forget(struct vf_sections *s, uint32_t component)
{
	(void) pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->count; i++)
		if (s->slots[i].component == component)
			s->slots[i].arrived = s->slots[i].read = s->slots[i].unread = false;
	(void) pthread_mutex_unlock(&s->lock);
}

bool vf_sections_arrived(struct vf_sections *s, uint32_t component, uint32_t id)
{
	const struct vf_section_slot *slot;
	bool arrived;

	(void) pthread_mutex_lock(&s->lock);
	slot = find(s, component, id);
	arrived = slot && slot->arrived;
	(void) pthread_mutex_unlock(&s->lock);
	return arrived;
}
