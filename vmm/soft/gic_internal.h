/* SPDX-License-Identifier: MIT */
/*
 * gic_internal.h - what the files of the GIC model share.
 *
 *   gic.c         the VM: vCPUs, devices, lock, which attribute goes where
 *   gic_dist.c    interrupts' bits and the distributor's registers
 *   gic_redist.c  the redistributors' registers
 *   gic_cpu.c     the CPU interface: what is taken next, ICC registers
 *   gic_its.c     an ITS's registers, its commands, what it maps
 *   gic_tables.c  pending table, device and collection table, ITTs: to guest RAM and back
 *   gic_bypass.c  routes, irqfds, vectors, and who is connected to whom
 *
 * Everything below is called with gic->lock held. A function named *_access answers both to the
 * guest (`host` false) and to KVM's attributes (`host` true), 32 bits at a time unless it says
 * else.
 */
#ifndef VMM_SOFT_GIC_INTERNAL_H
#define VMM_SOFT_GIC_INTERNAL_H

#include <pthread.h>

#include "gic.h"
#include "vferry_kvm_arm64.h"

#define GIC_PRIVATE	32u		/* SGIs and PPIs, one set per CPU */
#define GIC_LPI_FIRST	8192u
#define GIC_ID_BITS	16u		/* of an LPI: GICD_TYPER.IDbits + 1 */
#define GIC_LPIS_MAX	((1u << GIC_ID_BITS) - GIC_LPI_FIRST)
#define GIC_ADDR_UNSET	UINT64_MAX
#define GIC_REGIONS_MAX	8u
#define GIC_LOGS	16u
#define GIC_BUCKETS	256u
#define GIC_NO_CPU	(-1)

static inline uint64_t gic_mask(unsigned int high, unsigned int low)
{
	return (UINT64_MAX >> (63 - high)) & (UINT64_MAX << low);
}

static inline uint64_t gic_field(uint64_t value, unsigned int high, unsigned int low)
{
	return (value & gic_mask(high, low)) >> low;
}

struct gic_irq {
	uint32_t intid;
	int cpu;		/* target, GIC_NO_CPU: none */
	uint32_t affinity;	/* SPI: as written to IROUTER */
	bool enabled;
	bool latch;		/* pending by an edge or by a write */
	bool line;		/* level of the input */
	bool level;		/* configured as level-sensitive */
	bool active;		/* never set for an LPI */
	bool group1;
	uint8_t priority;
	/* LPIs only */
	bool forwarded;		/* hardware holds the pending bit: hw_pending, not latch */
	bool hw_pending;
	uint64_t token;		/* the vector that is forwarded to it */
	unsigned int refs;	/* ITS entries that map it; 0: it lives until it is taken */
	struct gic_irq *next;	/* in gic->lpi_list */
};

struct gic_cpu {
	uint64_t mpidr;
	unsigned int in_ioctl;
	bool ran;
	struct gic_irq irq[GIC_PRIVATE];
	/* redistributor */
	uint64_t rd_base;
	bool rd_last;
	bool lpis_on;		/* GICR_CTLR.EnableLPIs */
	uint64_t pendbaser;
	/* CPU interface */
	uint8_t pmr;
	uint8_t bpr0, bpr1;
	bool cbpr, eoi_mode;
	bool group0_on, group1_on;
	uint32_t ap0r, ap1r;	/* active priorities, bit = priority >> 3 */
	/* what would be taken now; valid unless `stale` */
	bool stale;
	uint32_t best;
	uint32_t kicked;	/* the last one that the vCPU was kicked for */
};

struct gic_collection {
	uint16_t id;
	uint32_t cpu;
	struct gic_collection *next;
};

struct gic_ite {
	uint32_t event;
	struct gic_irq *irq;
	struct gic_collection *collection;	/* NULL: was unmapped */
	struct gic_ite *next;			/* by event */
};

struct gic_its_device {
	uint32_t id;
	unsigned int event_bits;
	uint64_t itt;
	struct gic_ite *ites;
	struct gic_its_device *next;		/* by id */
};

struct gic_its {
	uint64_t base;
	bool enabled;
	uint64_t cbaser, creadr, cwriter;
	uint64_t device_baser, collection_baser;
	struct gic_its_device *devices;
	struct gic_collection *collections;	/* in the order they were mapped */
};

struct gic_region {
	uint64_t base;
	uint32_t count;		/* 0: one region, as many as there are vCPUs */
	uint32_t used;
};

/* One eventfd: the vector that signals it (producer) and the irqfd that listens (consumer). */
struct gic_event {
	uint64_t token;
	uint64_t count;
	bool vector;		/* SET_IRQS done */
	bool producer;		/* and registered with the bypass manager */
	bool irqfd;
	bool consumer;
	uint32_t gsi;
	struct soft_gic_route route; /* the GSI's only route as of the last change; type 0: none */
	struct gic_irq *forwarded;	/* the LPI that hardware sends this vector to */
	struct gic_event *next;
};

struct soft_gic {
	pthread_mutex_t lock;	/* protects all that follows */
	struct soft_gic_config config;
	struct gic_cpu *cpu[SOFT_GIC_CPUS_MAX];
	unsigned int cpus;
	/* distributor */
	bool created;
	bool initialized;
	bool mapped;		/* a vCPU ran */
	bool dead;		/* the first run failed: EIO from then on */
	uint64_t dist_base;
	struct gic_region region[GIC_REGIONS_MAX];
	unsigned int regions;
	unsigned int spis;
	struct gic_irq *spi;
	bool dist_on;		/* GICD_CTLR.EnableGrp1 */
	bool nassgireq;		/* GICv4.1: no active state on SGIs */
	unsigned int revision;
	uint64_t propbaser;	/* one for all redistributors, as KVM has it */
	struct gic_irq **lpi;	/* by intid - GIC_LPI_FIRST */
	struct gic_irq *lpi_list;
	/* ITSs: device handle 1 + index, the GIC is handle 0 */
	struct gic_its *its[SOFT_GIC_ITS_MAX];
	unsigned int its_count;
	/* host side */
	struct soft_gic_route route[SOFT_GIC_ROUTES_MAX];
	unsigned int routes;
	struct gic_event *event[GIC_BUCKETS];
	/* handed out after unlocking */
	char log[GIC_LOGS][96];
	unsigned int logs;
	unsigned int logs_lost;
};

/* gic.c */
void gic_log(struct soft_gic *gic, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void gic_lock(struct soft_gic *gic);
/* Also hands out log lines and kicks; @self is the vCPU that calls, and isn't kicked. -1: none. */
void gic_unlock(struct soft_gic *gic, int self);
int gic_read(struct soft_gic *gic, uint64_t gpa, void *to, size_t len);
int gic_write(struct soft_gic *gic, uint64_t gpa, const void *from, size_t len);
int gic_read_u64(struct soft_gic *gic, uint64_t gpa, uint64_t *ret);
int gic_write_u64(struct soft_gic *gic, uint64_t gpa, uint64_t value);
bool gic_any_in_ioctl(const struct soft_gic *gic);
static inline bool gic_has_its(const struct soft_gic *gic)
{
	return gic->created && gic->its_count > 0;
}

/* gic_dist.c */
int gic_dist_init(struct soft_gic *gic);	/* allocates the SPIs */
void gic_irq_reset(struct gic_irq *irq, uint32_t intid, int cpu);
/* An SGI, PPI or SPI; NULL if there is no such one. */
struct gic_irq *gic_irq_get(struct soft_gic *gic, unsigned int cpu, uint32_t intid);
int gic_cpu_by_affinity(const struct soft_gic *gic, uint64_t mpidr);
bool gic_irq_pending(const struct gic_irq *irq);
void gic_changed(struct soft_gic *gic);		/* some interrupt's state did */
int gic_dist_access(struct soft_gic *gic, uint64_t offset, unsigned int len, bool write, bool host,
		    uint64_t *value);
/* Registers with bits for each interrupt, same in both places; @offset as in the distributor. */
int gic_bits_access(struct soft_gic *gic, unsigned int cpu, uint64_t offset, unsigned int len,
		    bool write, bool host, uint64_t *value);
int gic_level_access(struct soft_gic *gic, unsigned int cpu, uint32_t first, bool write,
		     uint64_t *value);

/* gic_redist.c */
int gic_redist_access(struct soft_gic *gic, unsigned int cpu, uint64_t offset, unsigned int len,
		      bool write, bool host, uint64_t *value);
void gic_redist_reset(struct gic_cpu *cpu);
uint64_t gic_propbaser_initial(void);
uint64_t gic_baser_sanitise(uint64_t value, unsigned int inner, unsigned int outer);
int gic_redist_region_add(struct soft_gic *gic, uint32_t index, uint64_t base, uint32_t count);
int gic_redist_place(struct soft_gic *gic, unsigned int cpu);

/* gic_cpu.c */
void gic_icc_reset(struct gic_cpu *cpu);
uint32_t gic_cpu_best(struct soft_gic *gic, unsigned int cpu);
int gic_icc_access(struct soft_gic *gic, unsigned int cpu, uint32_t reg, bool write, bool host,
		   uint64_t *value);

/* gic_its.c */
void gic_its_init(struct soft_gic *gic, struct gic_its *its);
void gic_its_clear(struct soft_gic *gic, struct gic_its *its);
void gic_its_reset(struct soft_gic *gic, struct gic_its *its);
int gic_its_access(struct soft_gic *gic, struct gic_its *its, uint64_t offset, unsigned int len,
		   bool write, bool host, uint64_t *value);
struct gic_its *gic_its_at(struct soft_gic *gic, uint64_t doorbell);
struct gic_ite *gic_ite_find(struct gic_its *its, uint32_t devid, uint32_t event);
struct gic_collection *gic_collection_find(struct gic_its *its, uint32_t id);
/* 0, -EBUSY, VF_ITS_UNMAPPED_INTERRUPT */
int gic_its_resolve(struct soft_gic *gic, struct gic_its *its, uint32_t devid, uint32_t event,
		    struct gic_irq **ret_irq);
int gic_its_trigger(struct soft_gic *gic, struct gic_its *its, uint32_t devid, uint32_t event);
/* Is there room for @id in the table of @baser, and where? */
bool gic_its_entry(struct soft_gic *gic, uint64_t baser, uint32_t id, uint64_t *ret_gpa);
struct gic_its_device *gic_its_device_add(struct gic_its *its, uint32_t id, uint64_t itt,
					  unsigned int event_bits);
void gic_its_device_free(struct soft_gic *gic, struct gic_its *its, struct gic_its_device *device);
struct gic_collection *gic_collection_add(struct gic_its *its, uint32_t id, uint32_t cpu);
void gic_collection_free(struct gic_its *its, struct gic_collection *collection);
int gic_ite_add(struct soft_gic *gic, struct gic_its_device *device, uint32_t event, uint32_t lpi,
		struct gic_collection *collection);
int gic_lpi_configure(struct soft_gic *gic, struct gic_irq *irq);
void gic_lpi_put(struct soft_gic *gic, struct gic_irq *irq);
/* Frees it if nothing maps it, and no CPU has it queued. */
void gic_lpi_drop(struct soft_gic *gic, struct gic_irq *irq);

#define GIC_BASER_VALID		(1ull << 63)
#define GIC_BASER_INDIRECT	(1ull << 62)
#define GIC_TYPE_DEVICE		1u
#define GIC_TYPE_COLLECTION	4u
#define GIC_ENTRY		8u		/* bytes of a table entry, ABI revision 0 */
#define GIC_PAGE_64K		0x10000u

uint64_t gic_baser_address(uint64_t baser);
uint64_t gic_baser_bytes(uint64_t baser);

/* gic_tables.c */
int gic_save_pending(struct soft_gic *gic);
int gic_lpi_sync_pending(struct soft_gic *gic, struct gic_irq *irq);
int gic_pending_table_read(struct soft_gic *gic, unsigned int cpu);
int gic_its_save(struct soft_gic *gic, struct gic_its *its);
int gic_its_restore(struct soft_gic *gic, struct gic_its *its);

/* gic_bypass.c */
void gic_default_routing(struct soft_gic *gic);
void gic_unforward(struct soft_gic *gic, struct gic_irq *irq);
void gic_events_free(struct soft_gic *gic);

#endif
