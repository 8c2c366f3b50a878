/* SPDX-License-Identifier: MIT */
/*
 * pci_host.h - the machine's PCI host bridge: bus 0, seen through ECAM and two windows for BARs.
 *
 * Model. A slot is one function of bus 0 and a table of how to reach it. Guest physical accesses
 * that fall into ECAM go to the function's config space; those that fall into a window go to the
 * BAR that the function says it decodes there (pci_host_bar_changed), as memory where the function
 * offers memory, else through its bar_read and bar_write. What nobody answers reads as ones.
 *
 * A function's BARs can be taken out of reach (its device is in STOP_COPY). An access then waits
 * until they are back, or until its vCPU is told to stop: it then ends with -EAGAIN and is counted,
 * because no vCPU should be running at that time at all.
 *
 * A machine whose vCPUs can have memory directly (KVM's memory slots), or can turn writes into counts of
 * eventfds, gives a table for it; what a function offers of both is then taken in and out of the guest's
 * address space as BARs move and come in and out of reach. Where that fails, accesses come here as ever.
 * A BAR that is smaller than a page, and whose function offers the page, is shown while no other is in it.
 *
 * Threads: all functions may be called from any thread; slots are added before vCPUs run. One lock
 * protects where BARs are and is never held while a function is called; another, taken before it,
 * is held over the calls of the memory table, and so keeps them in their order.
 */
#ifndef VMM_PCI_HOST_H
#define VMM_PCI_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include <vferry/device.h>

#define PCI_HOST_SLOTS		32u	/* function 0 of each device of bus 0 */
#define PCI_HOST_ECAM_BYTES	(1ull << 20)
#define PCI_HOST_AREAS_MAX	16u	/* of one BAR that are used as memory */
#define PCI_HOST_IOEVENTFDS_MAX	16u	/* of one BAR that are used */
#define PCI_HOST_MEMORY_IDS	(PCI_HOST_SLOTS * VFERRY_BAR_COUNT * PCI_HOST_AREAS_MAX)

struct pci_host;

/* How to reach one function; the meaning is that of vferry_device_*. */
struct pci_function_ops {
	uint32_t (*config_read)(void *user, uint32_t offset, unsigned size);
	int (*config_write)(void *user, uint32_t offset, unsigned size, uint32_t value);
	int (*bar_read)(void *user, unsigned bar, uint64_t offset, unsigned size,
			uint64_t *ret_value);
	int (*bar_write)(void *user, unsigned bar, uint64_t offset, unsigned size, uint64_t value);
	/* May be NULL: nothing may be accessed as memory. */
	int (*bar_area)(void *user, unsigned bar, unsigned index, struct vferry_bar_area *ret_area);
	/* May be NULL: no write may come by eventfd. */
	int (*bar_ioeventfd)(void *user, unsigned bar, unsigned index,
			     struct vferry_bar_ioeventfd *ret_ioeventfd);
};

struct pci_host_config {
	uint64_t ecam;			/* PCI_HOST_ECAM_BYTES of it */
	uint64_t window32, window32_bytes;
	uint64_t window64, window64_bytes;
};

/* What vCPUs access without anybody's help. */
struct pci_memory_ops {
	/* Area @id (below PCI_HOST_MEMORY_IDS) is at @gpa now. false: it can't be, for now. */
	bool (*map)(void *user, unsigned id, uint64_t gpa, uint64_t bytes, void *host);
	/* Returns when no vCPU accesses it any more. */
	void (*unmap)(void *user, unsigned id);
	/* Writes of @io, which is at @gpa now, count in its eventfd. false: they can't, for now. May be
	 * NULL, both. */
	bool (*listen)(void *user, uint64_t gpa, const struct vferry_bar_ioeventfd *io);
	/* Returns when every such write that was begun has been counted. */
	void (*unlisten)(void *user, uint64_t gpa, const struct vferry_bar_ioeventfd *io);
};

int pci_host_new(const struct pci_host_config *config, struct pci_host **ret_host);
struct pci_host *pci_host_free(struct pci_host *host);	/* NULL is fine; returns NULL */

/* Before functions are added; both are borrowed. */
void pci_host_set_memory(struct pci_host *host, const struct pci_memory_ops *ops, void *user);

/* -EEXIST: that slot is taken; -EINVAL: 0 < slot < PCI_HOST_SLOTS. @ops is borrowed. */
int pci_host_add(struct pci_host *host, unsigned slot, const struct pci_function_ops *ops,
		 void *user);
void pci_host_remove(struct pci_host *host, unsigned slot);

/* As the callbacks of the same name (struct vferry_device_callbacks). */
void pci_host_bar_changed(struct pci_host *host, unsigned slot, unsigned bar, bool mapped,
			  uint64_t gpa, uint64_t bytes);
/* false: returns when no access of a BAR of this function is under way any more. */
void pci_host_bars_reachable(struct pci_host *host, unsigned slot, bool reachable);

/* Writes to BARs of this function that count in an eventfd now. */
unsigned pci_host_listening(struct pci_host *host, unsigned slot);

/* Does @gpa belong to the host bridge? */
bool pci_host_owns(const struct pci_host *host, uint64_t gpa);
/*
 * One access of a vCPU, @size 1, 2, 4 or 8 (config space: at most 4), naturally aligned or not.
 * @stopping: asked while the access waits for BARs that are out of reach; true ends it.
 *
 * Return: 0 (nobody there: ones); -ENXIO not ours; -EAGAIN ended by @stopping, nothing was done;
 * what the function returned otherwise, *@value all ones for a read.
 */
int pci_host_read(struct pci_host *host, uint64_t gpa, unsigned size, uint64_t *ret_value,
		  bool (*stopping)(void *user), void *user);
int pci_host_write(struct pci_host *host, uint64_t gpa, unsigned size, uint64_t value,
		   bool (*stopping)(void *user), void *user);
/* Wakes accesses that wait, so that they ask their `stopping` again. */
void pci_host_wake(struct pci_host *host);

/* Accesses that found BARs out of reach, ever. */
uint64_t pci_host_blocked(struct pci_host *host);

#endif
