/* SPDX-License-Identifier: MIT */
/*
 * pci_host.c - see pci_host.h.
 *
 * An access takes the lock to find its BAR and to count itself in, drops it for the access, and
 * counts itself out; pci_host_bars_reachable(false) waits for that count.
 */
#include "pci_host.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pci_bar {
	bool mapped;
	uint64_t gpa;
	uint64_t bytes;
	struct vferry_bar_area area[PCI_HOST_AREAS_MAX];
	unsigned areas;
	uint32_t shown;		/* bit n: vCPUs have area n as memory; of memory_lock */
	struct vferry_bar_ioeventfd io[PCI_HOST_IOEVENTFDS_MAX];
	unsigned ios;
	uint32_t heard;		/* bit n: writes of io[n] count in its eventfd; of memory_lock */
};

struct pci_slot {
	const struct pci_function_ops *ops;	/* NULL: empty */
	void *user;
	struct pci_bar bar[VFERRY_BAR_COUNT];
	bool unreachable;
	unsigned under_way;
};

struct pci_host {
	struct pci_host_config config;
	const struct pci_memory_ops *memory;	/* NULL: vCPUs can't have memory directly */
	void *memory_user;
	pthread_mutex_t memory_lock;	/* before `lock`: where BARs are changes under both */
	pthread_mutex_t lock;	/* protects all that follows */
	pthread_cond_t changed;	/* reachable again, access ended, or pci_host_wake() */
	uint64_t blocked;
	struct pci_slot slot[PCI_HOST_SLOTS];
};

/* What an access resolved to; a copy, so that it can be used without the lock. */
struct pci_target {
	struct pci_slot *slot;
	const struct pci_function_ops *ops;
	void *user;
	unsigned bar;
	uint64_t offset;
	uint8_t *host;		/* as memory, or NULL */
};

int pci_host_new(const struct pci_host_config *config, struct pci_host **ret_host)
{
	struct pci_host *host = calloc(1, sizeof(*host));

	if (!host)
		return -ENOMEM;
	host->config = *config;
	(void) pthread_mutex_init(&host->memory_lock, NULL);
	(void) pthread_mutex_init(&host->lock, NULL);
	(void) pthread_cond_init(&host->changed, NULL);
	*ret_host = host;
	return 0;
}

struct pci_host *pci_host_free(struct pci_host *host)
{
	if (host) {
		(void) pthread_cond_destroy(&host->changed);
		(void) pthread_mutex_destroy(&host->lock);
		(void) pthread_mutex_destroy(&host->memory_lock);
		free(host);
	}
	return NULL;
}

void pci_host_set_memory(struct pci_host *host, const struct pci_memory_ops *ops, void *user)
{
	host->memory = ops;
	host->memory_user = user;
}

/* ---- what vCPUs do without coming here; under memory_lock ---- */

static unsigned memory_id(unsigned slot, unsigned bar, unsigned area)
{
	return (slot * VFERRY_BAR_COUNT + bar) * PCI_HOST_AREAS_MAX + area;
}

static void hide_memory_locked(struct pci_host *host, unsigned slot, unsigned index)
{
	struct pci_bar *bar = &host->slot[slot].bar[index];

	for (unsigned a = 0; a < bar->areas; a++)
		if (bar->shown & 1u << a)
			host->memory->unmap(host->memory_user, memory_id(slot, index, a));
	bar->shown = 0;
	for (unsigned i = 0; i < bar->ios; i++)
		if (bar->heard & 1u << i)
			host->memory->unlisten(host->memory_user, bar->gpa + bar->io[i].offset,
					       &bar->io[i]);
	bar->heard = 0;
}

/* Is its one area a page, of which the BAR is only a part? */
static bool takes_page(const struct pci_bar *bar)
{
	return bar->areas == 1 && bar->area[0].bytes > bar->bytes;
}

/* That page may be shown while it begins with the BAR, and no other one is in it, in reach or not. */
static bool page_is_its_own(const struct pci_host *host, const struct pci_bar *bar)
{
	uint64_t bytes = bar->area[0].bytes, last = bar->gpa + (bytes - 1);

	if (bar->gpa % bytes || !pci_host_owns(host, last))
		return false;
	for (unsigned s = 0; s < PCI_HOST_SLOTS; s++) {
		for (unsigned b = 0; b < VFERRY_BAR_COUNT; b++) {
			const struct pci_bar *other = &host->slot[s].bar[b];

			if (other != bar && other->mapped && other->gpa <= last &&
			    other->gpa + (other->bytes - 1) >= bar->gpa)
				return false;
		}
	}
	return true;
}

/* What can be shown and is not yet. */
static void show_memory_locked(struct pci_host *host, unsigned slot, unsigned index)
{
	struct pci_bar *bar = &host->slot[slot].bar[index];

	if (!host->memory || !bar->mapped || host->slot[slot].unreachable ||
	    !pci_host_owns(host, bar->gpa) || !pci_host_owns(host, bar->gpa + bar->bytes - 1))
		return;
	for (unsigned a = 0; a < bar->areas && (!takes_page(bar) || page_is_its_own(host, bar)); a++)
		if (!(bar->shown & 1u << a) &&
		    host->memory->map(host->memory_user, memory_id(slot, index, a),
				      bar->gpa + bar->area[a].offset, bar->area[a].bytes,
				      bar->area[a].host))
			bar->shown |= 1u << a;
	for (unsigned i = 0; i < bar->ios; i++)
		if (!(bar->heard & 1u << i) &&
		    host->memory->listen(host->memory_user, bar->gpa + bar->io[i].offset, &bar->io[i]))
			bar->heard |= 1u << i;
}

/* A BAR came or went: into the page of another, or out of it. */
static void settle_pages_locked(struct pci_host *host)
{
	for (unsigned s = 0; s < PCI_HOST_SLOTS; s++) {
		for (unsigned b = 0; b < VFERRY_BAR_COUNT; b++) {
			const struct pci_bar *bar = &host->slot[s].bar[b];

			if (!takes_page(bar))
				continue;
			if (bar->shown && !page_is_its_own(host, bar))
				hide_memory_locked(host, s, b);
			show_memory_locked(host, s, b);
		}
	}
}

int pci_host_add(struct pci_host *host, unsigned slot, const struct pci_function_ops *ops,
		 void *user)
{
	int r = 0;

	if (slot == 0 || slot >= PCI_HOST_SLOTS || !ops)
		return -EINVAL;
	pthread_mutex_lock(&host->lock);
	if (host->slot[slot].ops) {
		r = -EEXIST;
	} else {
		/* Where its BARs are may have been told already, while it was opened. */
		host->slot[slot].ops = ops;
		host->slot[slot].user = user;
	}
	pthread_mutex_unlock(&host->lock);
	return r;
}

void pci_host_remove(struct pci_host *host, unsigned slot)
{
	if (slot >= PCI_HOST_SLOTS)
		return;
	pthread_mutex_lock(&host->memory_lock);
	for (unsigned b = 0; b < VFERRY_BAR_COUNT; b++)
		hide_memory_locked(host, slot, b);
	pthread_mutex_lock(&host->lock);
	host->slot[slot].ops = NULL;
	while (host->slot[slot].under_way > 0)
		pthread_cond_wait(&host->changed, &host->lock);
	memset(&host->slot[slot], 0, sizeof(host->slot[slot]));
	pthread_mutex_unlock(&host->lock);
	settle_pages_locked(host);
	pthread_mutex_unlock(&host->memory_lock);
}

/* All of the page, where the BAR is smaller. For guests only: what is behind the BAR is nobody's. */
static bool is_page(const struct pci_bar *bar, const struct vferry_bar_area *area)
{
	uint64_t page = (uint64_t) sysconf(_SC_PAGESIZE);

	return bar->bytes < page && area->offset == 0 && area->bytes == page && area->guest_only;
}

static void find_areas(const struct pci_slot *slot, unsigned index, struct pci_bar *bar)
{
	bar->areas = 0;
	if (!slot->ops || !slot->ops->bar_area)
		return;
	while (bar->areas < PCI_HOST_AREAS_MAX) {
		struct vferry_bar_area area;

		if (slot->ops->bar_area(slot->user, index, bar->areas, &area) < 0)
			return;
		if (bar->areas == 0 && is_page(bar, &area)) {
			bar->area[bar->areas++] = area;
			return;
		}
		if (area.offset > bar->bytes || area.bytes > bar->bytes - area.offset)
			return;
		bar->area[bar->areas++] = area;
	}
}

static void find_ioeventfds(const struct pci_host *host, const struct pci_slot *slot, unsigned index,
			    struct pci_bar *bar)
{
	if (!host->memory || !host->memory->listen || !slot->ops || !slot->ops->bar_ioeventfd)
		return;
	while (bar->ios < PCI_HOST_IOEVENTFDS_MAX) {
		struct vferry_bar_ioeventfd io;

		if (slot->ops->bar_ioeventfd(slot->user, index, bar->ios, &io) < 0)
			return;
		if (io.bytes > 8 || io.offset >= bar->bytes || io.bytes > bar->bytes - io.offset)
			return;
		bar->io[bar->ios++] = io;
	}
}

/* What was refused is tried again: what was in its way may have gone. */
static bool is_shown(const struct pci_bar *bar)
{
	return bar->shown == (1u << bar->areas) - 1 && bar->heard == (1u << bar->ios) - 1;
}

static bool same_bar(const struct pci_bar *a, const struct pci_bar *b)
{
	if (a->mapped != b->mapped || a->gpa != b->gpa || a->bytes != b->bytes ||
	    a->areas != b->areas || a->ios != b->ios)
		return false;
	for (unsigned i = 0; i < a->areas; i++)
		if (a->area[i].offset != b->area[i].offset || a->area[i].bytes != b->area[i].bytes ||
		    a->area[i].host != b->area[i].host)
			return false;
	return true;
}

void pci_host_bar_changed(struct pci_host *host, unsigned slot, unsigned bar, bool mapped,
			  uint64_t gpa, uint64_t bytes)
{
	struct pci_bar now = { .mapped = mapped, .gpa = gpa, .bytes = bytes };
	struct pci_slot reach;

	if (slot >= PCI_HOST_SLOTS || bar >= VFERRY_BAR_COUNT)
		return;
	if (bytes == 0 || gpa > UINT64_MAX - bytes)
		now.mapped = false;
	pthread_mutex_lock(&host->lock);
	reach = host->slot[slot];
	pthread_mutex_unlock(&host->lock);
	if (now.mapped) {
		find_areas(&reach, bar, &now);
		find_ioeventfds(host, &reach, bar, &now);
	}
	pthread_mutex_lock(&host->memory_lock);
	/* A guest that writes the same once more costs nobody a change of its address space. */
	if (!is_shown(&host->slot[slot].bar[bar]) || !same_bar(&host->slot[slot].bar[bar], &now)) {
		hide_memory_locked(host, slot, bar);
		pthread_mutex_lock(&host->lock);
		host->slot[slot].bar[bar] = now;
		pthread_mutex_unlock(&host->lock);
		settle_pages_locked(host);
		show_memory_locked(host, slot, bar);
	}
	pthread_mutex_unlock(&host->memory_lock);
}

void pci_host_bars_reachable(struct pci_host *host, unsigned slot, bool reachable)
{
	if (slot >= PCI_HOST_SLOTS)
		return;
	pthread_mutex_lock(&host->memory_lock);
	pthread_mutex_lock(&host->lock);
	host->slot[slot].unreachable = !reachable;
	pthread_cond_broadcast(&host->changed);
	while (!reachable && host->slot[slot].under_way > 0)
		pthread_cond_wait(&host->changed, &host->lock);
	pthread_mutex_unlock(&host->lock);
	for (unsigned b = 0; b < VFERRY_BAR_COUNT; b++) {
		hide_memory_locked(host, slot, b);
		show_memory_locked(host, slot, b);
	}
	pthread_mutex_unlock(&host->memory_lock);
}

void pci_host_wake(struct pci_host *host)
{
	pthread_mutex_lock(&host->lock);
	pthread_cond_broadcast(&host->changed);
	pthread_mutex_unlock(&host->lock);
}

uint64_t pci_host_blocked(struct pci_host *host)
{
	uint64_t blocked;

	pthread_mutex_lock(&host->lock);
	blocked = host->blocked;
	pthread_mutex_unlock(&host->lock);
	return blocked;
}

unsigned pci_host_listening(struct pci_host *host, unsigned slot)
{
	unsigned count = 0;

	if (slot >= PCI_HOST_SLOTS)
		return 0;
	pthread_mutex_lock(&host->memory_lock);
	for (unsigned b = 0; b < VFERRY_BAR_COUNT; b++)
		count += (unsigned) __builtin_popcount(host->slot[slot].bar[b].heard);
	pthread_mutex_unlock(&host->memory_lock);
	return count;
}

static bool within(uint64_t gpa, uint64_t base, uint64_t bytes)
{
	return gpa >= base && gpa - base < bytes;
}

bool pci_host_owns(const struct pci_host *host, uint64_t gpa)
{
	return within(gpa, host->config.ecam, PCI_HOST_ECAM_BYTES) ||
	       within(gpa, host->config.window32, host->config.window32_bytes) ||
	       within(gpa, host->config.window64, host->config.window64_bytes);
}

static uint64_t ones(unsigned size)
{
	return size >= 8 ? UINT64_MAX : (1ull << (size * 8)) - 1;
}

static bool find_bar_locked(struct pci_host *host, uint64_t gpa, unsigned size,
			    struct pci_target *ret)
{
	for (unsigned s = 0; s < PCI_HOST_SLOTS; s++) {
		struct pci_slot *slot = &host->slot[s];

		for (unsigned b = 0; slot->ops && b < VFERRY_BAR_COUNT; b++) {
			const struct pci_bar *bar = &slot->bar[b];
			uint64_t offset = gpa - bar->gpa;

			if (!bar->mapped || !within(gpa, bar->gpa, bar->bytes) ||
			    size > bar->bytes - offset)
				continue;
			*ret = (struct pci_target) { .slot = slot, .ops = slot->ops,
				.user = slot->user, .bar = b, .offset = offset };
			for (unsigned a = 0; a < bar->areas; a++) {
				const struct vferry_bar_area *area = &bar->area[a];

				if (!area->guest_only && within(offset, area->offset, area->bytes) &&
				    size <= area->bytes - (offset - area->offset))
					ret->host = (uint8_t *) area->host + (offset - area->offset);
			}
			return true;
		}
	}
	return false;
}

/*
 * Finds who answers, waits until it may be reached, and counts the access in.
 * Return: 1 found, 0 nobody there, -EAGAIN told to stop.
 */
static int access_begin(struct pci_host *host, uint64_t gpa, unsigned size,
			bool (*stopping)(void *user), void *user, struct pci_target *ret)
{
	bool waited = false;
	int r = 0;

	pthread_mutex_lock(&host->lock);
	while (find_bar_locked(host, gpa, size, ret)) {
		if (!ret->slot->unreachable) {
			ret->slot->under_way++;
			r = 1;
			break;
		}
		if (!waited)
			host->blocked++;
		waited = true;
		if (stopping && stopping(user)) {
			r = -EAGAIN;
			break;
		}
		pthread_cond_wait(&host->changed, &host->lock);
	}
	pthread_mutex_unlock(&host->lock);
	return r;
}

static void access_end(struct pci_host *host, struct pci_target *target)
{
	pthread_mutex_lock(&host->lock);
	if (--target->slot->under_way == 0)
		pthread_cond_broadcast(&host->changed);
	pthread_mutex_unlock(&host->lock);
}

/* Memory of a device process: another program writes it while we look, so no compiler tricks. */
__attribute__((no_sanitize("thread", "alignment")))
static uint64_t memory_read(const uint8_t *from, unsigned size)
{
	uint64_t value = 0;

	switch (size) {
	case 1:
		return *(const volatile uint8_t *) from;
	case 2:
		return *(const volatile uint16_t *) from;
	case 4:
		return *(const volatile uint32_t *) from;
	case 8:
		return *(const volatile uint64_t *) from;
	default:
		return value;
	}
}

__attribute__((no_sanitize("thread", "alignment")))
static void memory_write(uint8_t *to, unsigned size, uint64_t value)
{
	switch (size) {
	case 1:
		*(volatile uint8_t *) to = (uint8_t) value;
		break;
	case 2:
		*(volatile uint16_t *) to = (uint16_t) value;
		break;
	case 4:
		*(volatile uint32_t *) to = (uint32_t) value;
		break;
	case 8:
		*(volatile uint64_t *) to = value;
		break;
	default:
		break;
	}
}

/* Return: 1 found, 0 nobody there. Bus 0, function 0 only; slot is gpa[19:15]. */
static int config_begin(struct pci_host *host, uint64_t gpa, unsigned size, struct pci_target *ret)
{
	uint64_t at = gpa - host->config.ecam;
	unsigned slot = (unsigned) (at >> 15);
	uint32_t offset = (uint32_t) (at & 0xfff);
	int r = 0;

	if ((at >> 12 & 7) != 0 || size > 4 || (offset & (size - 1)) != 0)
		return 0;
	pthread_mutex_lock(&host->lock);
	if (host->slot[slot].ops) {
		*ret = (struct pci_target) { .slot = &host->slot[slot], .offset = offset,
			.ops = host->slot[slot].ops, .user = host->slot[slot].user };
		r = 1;
	}
	pthread_mutex_unlock(&host->lock);
	return r;
}

int pci_host_read(struct pci_host *host, uint64_t gpa, unsigned size, uint64_t *ret_value,
		  bool (*stopping)(void *user), void *user)
{
	struct pci_target target;
	uint64_t value = ones(size);
	int r;

	if (within(gpa, host->config.ecam, PCI_HOST_ECAM_BYTES)) {
		if (config_begin(host, gpa, size, &target))
			value = target.ops->config_read(target.user, (uint32_t) target.offset, size);
		*ret_value = value & ones(size);
		return 0;
	}
	if (!pci_host_owns(host, gpa))
		return -ENXIO;
	r = access_begin(host, gpa, size, stopping, user, &target);
	if (r > 0) {
		if (target.host) {
			value = memory_read(target.host, size);
			r = 0;
		} else {
			r = target.ops->bar_read(target.user, target.bar, target.offset, size, &value);
			if (r < 0)
				value = ones(size);
		}
		access_end(host, &target);
	}
	*ret_value = value & ones(size);
	return r < 0 ? r : 0;
}

int pci_host_write(struct pci_host *host, uint64_t gpa, unsigned size, uint64_t value,
		   bool (*stopping)(void *user), void *user)
{
	struct pci_target target;
	int r;

	value &= ones(size);
	if (within(gpa, host->config.ecam, PCI_HOST_ECAM_BYTES)) {
		if (!config_begin(host, gpa, size, &target))
			return 0;
		r = target.ops->config_write(target.user, (uint32_t) target.offset, size,
					     (uint32_t) value);
		return r < 0 ? r : 0;
	}
	if (!pci_host_owns(host, gpa))
		return -ENXIO;
	r = access_begin(host, gpa, size, stopping, user, &target);
	if (r > 0) {
		if (target.host) {
			memory_write(target.host, size, value);
			r = 0;
		} else {
			r = target.ops->bar_write(target.user, target.bar, target.offset, size, value);
		}
		access_end(host, &target);
	}
	return r < 0 ? r : 0;
}
