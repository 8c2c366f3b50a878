/* SPDX-License-Identifier: MIT */
/*
 * gic.c - the VM side of the GIC model: vCPUs, devices, attributes, guest accesses. Interface and
 * model: gic.h; which file does what: gic_internal.h.
 *
 * The order in which reasons for a refusal are looked at is the kernel's, because callers tell
 * situations apart by the errno: address, then "is there such a register", then the vCPUs.
 */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gic_internal.h"

static const char *const kind_names[] = {
	[SOFT_GIC_OFF] = "off",
	[SOFT_GIC_V3] = "v3",
	[SOFT_GIC_V4_0] = "v4.0",
	[SOFT_GIC_V4_1] = "v4.1",
};

int soft_gic_kind_parse(const char *word, enum soft_gic_kind *ret)
{
	for (unsigned int i = 0; i < sizeof(kind_names) / sizeof(kind_names[0]); i++) {
		if (!strcmp(word, kind_names[i])) {
			*ret = (enum soft_gic_kind) i;
			return 0;
		}
	}
	return -EINVAL;
}

const char *soft_gic_kind_name(enum soft_gic_kind kind)
{
	return (unsigned int) kind <= SOFT_GIC_V4_1 ? kind_names[kind] : "?";
}

/* --- lock, log, memory --- */

void gic_lock(struct soft_gic *gic)
{
	(void) pthread_mutex_lock(&gic->lock);
}

void gic_log(struct soft_gic *gic, const char *fmt, ...)
{
	va_list args;

	if (gic->logs == GIC_LOGS) {
		gic->logs_lost++;
		return;
	}
	va_start(args, fmt);
	(void) vsnprintf(gic->log[gic->logs++], sizeof(gic->log[0]), fmt, args);
	va_end(args);
}

/*
 * Callbacks may take locks of the machine, and the machine may hold those while it calls us; so
 * what there is to say is copied, and said without our lock.
 */
void gic_unlock(struct soft_gic *gic, int self)
{
	char log[GIC_LOGS][sizeof(gic->log[0])];
	unsigned int logs = gic->logs;
	unsigned int lost = gic->logs_lost;
	uint64_t kicks = 0;

	static_assert(SOFT_GIC_CPUS_MAX <= 64, "kicks is one word");
	for (unsigned int i = 0; i < gic->cpus; i++) {
		struct gic_cpu *cpu = gic->cpu[i];
		uint32_t best;

		if (!cpu->stale)
			continue;
		best = gic_cpu_best(gic, i);
		if (best != SOFT_GIC_SPURIOUS && best != cpu->kicked && (int) i != self)
			kicks |= 1ull << i;
		cpu->kicked = best;
	}
	if (logs)
		memcpy(log, gic->log, logs * sizeof(log[0]));
	gic->logs = 0;
	gic->logs_lost = 0;
	(void) pthread_mutex_unlock(&gic->lock);

	for (unsigned int i = 0; i < logs && gic->config.log; i++)
		gic->config.log(gic->config.user, log[i]);
	if (lost && gic->config.log)
		gic->config.log(gic->config.user, "more lines were suppressed");
	for (unsigned int i = 0; kicks && gic->config.kick; i++, kicks >>= 1)
		if (kicks & 1)
			gic->config.kick(gic->config.user, i);
}

int gic_read(struct soft_gic *gic, uint64_t gpa, void *to, size_t len)
{
	return gic->config.read(gic->config.user, gpa, to, len) ? -EFAULT : 0;
}

int gic_write(struct soft_gic *gic, uint64_t gpa, const void *from, size_t len)
{
	return gic->config.write(gic->config.user, gpa, from, len) ? -EFAULT : 0;
}

int gic_read_u64(struct soft_gic *gic, uint64_t gpa, uint64_t *ret)
{
	uint8_t bytes[8];
	uint64_t value = 0;
	int err = gic_read(gic, gpa, bytes, sizeof(bytes));

	if (err)
		return err;
	for (unsigned int i = 0; i < sizeof(bytes); i++)
		value |= (uint64_t) bytes[i] << 8 * i;
	*ret = value;
	return 0;
}

int gic_write_u64(struct soft_gic *gic, uint64_t gpa, uint64_t value)
{
	uint8_t bytes[8];

	for (unsigned int i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t) (value >> 8 * i);
	return gic_write(gic, gpa, bytes, sizeof(bytes));
}

bool gic_any_in_ioctl(const struct soft_gic *gic)
{
	for (unsigned int i = 0; i < gic->cpus; i++)
		if (gic->cpu[i]->in_ioctl)
			return true;
	return false;
}

/* --- life --- */

int soft_gic_new(const struct soft_gic_config *config, struct soft_gic **ret_gic)
{
	struct soft_gic *gic;
	int err;

	if (!config || config->size != sizeof(*config) || !config->read || !config->write ||
	    (unsigned int) config->kind > SOFT_GIC_V4_1 ||
	    (unsigned int) config->rules > SOFT_GIC_LINUX_6_16)
		return -EINVAL;
	gic = calloc(1, sizeof(*gic));
	if (!gic)
		return -ENOMEM;
	/* Mostly untouched, so not resident. */
	gic->lpi = calloc(GIC_LPIS_MAX, sizeof(struct gic_irq *));
	if (!gic->lpi) {
		free(gic);
		return -ENOMEM;
	}
	gic->config = *config;
	gic->dist_base = GIC_ADDR_UNSET;
	gic->revision = 3;
	err = pthread_mutex_init(&gic->lock, NULL);
	if (err) {
		free(gic->lpi);
		free(gic);
		return -err;
	}
	*ret_gic = gic;
	return 0;
}

struct soft_gic *soft_gic_free(struct soft_gic *gic)
{
	if (!gic)
		return NULL;
	for (unsigned int i = 0; i < gic->its_count; i++) {
		gic_its_clear(gic, gic->its[i]);
		free(gic->its[i]);
	}
	while (gic->lpi_list) {		/* what a CPU had queued, and nothing maps any more */
		gic->lpi_list->latch = false;
		gic_lpi_drop(gic, gic->lpi_list);
	}
	gic_events_free(gic);
	for (unsigned int i = 0; i < gic->cpus; i++)
		free(gic->cpu[i]);
	free(gic->spi);
	free(gic->lpi);
	(void) pthread_mutex_destroy(&gic->lock);
	free(gic);
	return NULL;
}

/* --- vCPUs --- */

static int vcpu_create(struct soft_gic *gic)
{
	unsigned int index = gic->cpus;
	struct gic_cpu *cpu;

	if (gic->initialized)
		return -EBUSY;
	if (index == SOFT_GIC_CPUS_MAX)
		return -E2BIG;
	cpu = calloc(1, sizeof(*cpu));
	if (!cpu)
		return -ENOMEM;
	cpu->mpidr = 0x80000000u | index;
	cpu->rd_base = GIC_ADDR_UNSET;
	cpu->best = SOFT_GIC_SPURIOUS;
	cpu->kicked = SOFT_GIC_SPURIOUS;
	gic_icc_reset(cpu);
	for (uint32_t i = 0; i < GIC_PRIVATE; i++)
		gic_irq_reset(&cpu->irq[i], i, (int) index);
	gic->cpu[gic->cpus++] = cpu;
	(void) gic_redist_place(gic, index);
	return (int) index;
}

int soft_gic_vcpu_create(struct soft_gic *gic)
{
	int ret;

	gic_lock(gic);
	ret = gic->dead ? -EIO : vcpu_create(gic);
	gic_unlock(gic, -1);
	return ret;
}

int soft_gic_vcpu_set_mpidr(struct soft_gic *gic, unsigned int cpu, uint64_t mpidr)
{
	int ret = -EINVAL;

	gic_lock(gic);
	if (cpu < gic->cpus) {
		gic->cpu[cpu]->mpidr = mpidr;
		ret = 0;
	}
	gic_unlock(gic, -1);
	return ret;
}

/* What the guest will touch must be in place. */
static int check_mapped(const struct soft_gic *gic)
{
	for (unsigned int i = 0; i < gic->cpus; i++)
		if (gic->cpu[i]->rd_base == GIC_ADDR_UNSET)
			return -ENXIO;
	if (gic->dist_base == GIC_ADDR_UNSET)
		return -ENXIO;
	return gic->initialized ? 0 : -EBUSY;
}

/* The first KVM_RUN of a machine. One that fails leaves a VM that KVM does nothing more for. */
static int first_run(struct soft_gic *gic)
{
	int err;

	if (gic->mapped || !gic->created)
		return 0;
	err = check_mapped(gic);
	gic->dead = err;
	gic->mapped = !err;
	return err;
}

int soft_gic_vcpu_enter(struct soft_gic *gic, unsigned int cpu, bool run)
{
	int ret = -EINVAL;

	gic_lock(gic);
	if (gic->dead)
		ret = -EIO;
	else if (cpu < gic->cpus)
		ret = run ? first_run(gic) : 0;
	if (!ret) {
		gic->cpu[cpu]->in_ioctl++;
		if (run)
			gic->cpu[cpu]->ran = true;
	}
	gic_unlock(gic, -1);
	return ret;
}

void soft_gic_vcpu_leave(struct soft_gic *gic, unsigned int cpu)
{
	gic_lock(gic);
	assert(cpu < gic->cpus && gic->cpu[cpu]->in_ioctl);
	gic->cpu[cpu]->in_ioctl--;
	gic_unlock(gic, -1);
}

/* --- devices --- */

static int gic_create(struct soft_gic *gic)
{
	if (gic_any_in_ioctl(gic))
		return -EBUSY;
	if (gic->created)
		return -EEXIST;
	for (unsigned int i = 0; i < gic->cpus; i++)
		if (gic->cpu[i]->ran)
			return -EBUSY;
	gic->propbaser = gic->its_count ? gic_propbaser_initial() : 0;
	gic->created = true;
	return 0;
}

static int its_create(struct soft_gic *gic)
{
	struct gic_its *its;

	if (gic->its_count == SOFT_GIC_ITS_MAX)
		return -ENOSPC;
	its = calloc(1, sizeof(*its));
	if (!its)
		return -ENOMEM;
	gic_its_init(gic, its);
	/* The trap for whoever restores redistributors first: what they wrote is gone. */
	gic->propbaser = gic_propbaser_initial();
	gic->its[gic->its_count++] = its;
	return (int) gic->its_count;	/* handles follow the GIC's, 0 */
}

int soft_gic_device_create(struct soft_gic *gic, uint32_t type)
{
	int ret = -ENODEV;

	gic_lock(gic);
	if (gic->dead) {
		ret = -EIO;
	} else if (gic->config.kind != SOFT_GIC_OFF) {
		if (type == VF_KVM_DEV_VGIC_V3)
			ret = gic_create(gic);
		else if (type == VF_KVM_DEV_VGIC_ITS)
			ret = its_create(gic);
	}
	gic_unlock(gic, -1);
	return ret;
}

/* --- attributes of the GIC --- */

static int gic_init(struct soft_gic *gic)
{
	int err;

	if (gic->initialized)
		return 0;
	err = gic_dist_init(gic);
	if (err)
		return err;
	for (unsigned int i = 0; i < gic->cpus; i++)
		gic_redist_reset(gic->cpu[i]);
	gic_default_routing(gic);
	gic->initialized = true;
	return 0;
}

/* 40 bits of guest physical addresses, as KVM_CREATE_VM with type 0 gives on arm64. */
static int check_range(uint64_t base, uint64_t size)
{
	if (base & (GIC_PAGE_64K - 1))
		return -EINVAL;
	return base >= 1ull << 40 || size > (1ull << 40) - base ? -E2BIG : 0;
}

static int gic_addr_set(struct soft_gic *gic, uint64_t attr, uint64_t value)
{
	int err;

	switch (attr) {
	case VF_VGIC_ADDR_DIST:
		if (gic->dist_base != GIC_ADDR_UNSET)
			return -EEXIST;
		err = check_range(value, VF_GICD_FRAME_SIZE);
		if (!err)
			gic->dist_base = value;
		return err;
	case VF_VGIC_ADDR_REDIST:
		return gic_redist_region_add(gic, 0, value, 0);
	case VF_VGIC_ADDR_REDIST_REGION:
		if (!gic_field(value, 63, 52) || gic_field(value, 15, 12))
			return -EINVAL;
		return gic_redist_region_add(gic, (uint32_t) gic_field(value, 11, 0),
					     value & gic_mask(51, 16),
					     (uint32_t) gic_field(value, 63, 52));
	}
	return -ENXIO;
}

static int gic_addr_get(struct soft_gic *gic, uint64_t attr, uint64_t *value)
{
	switch (attr) {
	case VF_VGIC_ADDR_DIST:
		*value = gic->dist_base;
		return 0;
	case VF_VGIC_ADDR_REDIST:
		*value = gic->regions ? gic->region[0].base : GIC_ADDR_UNSET;
		return 0;
	case VF_VGIC_ADDR_REDIST_REGION: {
		uint64_t index = gic_field(*value, 11, 0);

		if (index >= gic->regions)
			return -ENOENT;
		*value = (uint64_t) gic->region[index].count << 52 | gic->region[index].base |
			 index;
		return 0;
	}
	}
	return -ENXIO;
}

static int gic_nr_irqs_set(struct soft_gic *gic, uint64_t value)
{
	if (value < GIC_PRIVATE + 32 || value > 1023 || (value & 31))
		return -EINVAL;
	if (gic->initialized || gic->spis)
		return -EBUSY;
	gic->spis = (unsigned int) value - GIC_PRIVATE;
	return 0;
}

static int gic_ctrl(struct soft_gic *gic, uint64_t attr)
{
	switch (attr) {
	case VF_VGIC_CTRL_INIT:
		return gic_init(gic);
	case VF_VGIC_SAVE_PENDING_TABLES:
		if (gic_any_in_ioctl(gic))
			return -EBUSY;
		return gic->initialized ? gic_save_pending(gic) : -ENXIO;
	}
	return -ENXIO;
}

/* What isn't a register reads as zero, and a write does nothing: for KVM's attributes too. */
static int no_register(bool write, uint64_t *value)
{
	if (!write)
		*value = 0;
	return 0;
}

static int gic_regs(struct soft_gic *gic, uint32_t group, uint64_t attr, bool write,
		    uint64_t *value)
{
	uint64_t offset = attr & VF_VGIC_OFFSET_MASK;
	int ret, cpu = 0;

	if (group != VF_VGIC_GRP_DIST_REGS)
		cpu = gic_cpu_by_affinity(gic, attr >> VF_VGIC_MPIDR_SHIFT);
	if (cpu < 0 || !gic->cpus)
		return -EINVAL;
	if (gic_any_in_ioctl(gic) || !gic->initialized)
		return -EBUSY;
	switch (group) {
	case VF_VGIC_GRP_DIST_REGS:
		ret = gic_dist_access(gic, offset, 4, write, true, value);
		return ret == -ENXIO ? no_register(write, value) : ret;
	case VF_VGIC_GRP_REDIST_REGS:
		ret = gic_redist_access(gic, (unsigned int) cpu, offset, 4, write, true, value);
		return ret == -ENXIO ? no_register(write, value) : ret;
	case VF_VGIC_GRP_CPU_SYSREGS:
		return gic_icc_access(gic, (unsigned int) cpu,
				      (uint32_t) (attr & VF_VGIC_SYSREG_MASK), write, true, value);
	case VF_VGIC_GRP_LEVEL_INFO:
		if (offset >> VF_VGIC_LEVEL_INFO_SHIFT != VF_VGIC_LEVEL_LINE)
			return -EINVAL;
		return gic_level_access(gic, (unsigned int) cpu,
					(uint32_t) (offset & VF_VGIC_LEVEL_INTID_MASK), write,
					value);
	}
	return -EINVAL;
}

static int gic_attr(struct soft_gic *gic, uint32_t group, uint64_t attr, bool write,
		    uint64_t *value)
{
	switch (group) {
	case VF_VGIC_GRP_ADDR:
		return write ? gic_addr_set(gic, attr, *value) : gic_addr_get(gic, attr, value);
	case VF_VGIC_GRP_NR_IRQS:
		if (write)
			return gic_nr_irqs_set(gic, (uint32_t) *value);
		*value = gic->spis + GIC_PRIVATE;
		return 0;
	case VF_VGIC_GRP_CTRL:
		return write ? gic_ctrl(gic, attr) : -ENXIO;
	case VF_VGIC_GRP_DIST_REGS:
	case VF_VGIC_GRP_REDIST_REGS:
	case VF_VGIC_GRP_CPU_SYSREGS:
	case VF_VGIC_GRP_LEVEL_INFO:
		return gic_regs(gic, group, attr, write, value);
	}
	return -ENXIO;
}

/* --- attributes of an ITS --- */

static int its_addr(struct soft_gic *gic, struct gic_its *its, bool write, uint64_t *value)
{
	int err;

	if (!write) {
		*value = its->base;
		return 0;
	}
	if (its->base != GIC_ADDR_UNSET)
		return -EEXIST;
	err = check_range(*value, VF_GITS_FRAMES_SIZE);
	if (err)
		return err;
	for (unsigned int i = 0; i < gic->its_count; i++) {
		uint64_t other = gic->its[i]->base;

		if (other != GIC_ADDR_UNSET && *value < other + VF_GITS_FRAMES_SIZE &&
		    other < *value + VF_GITS_FRAMES_SIZE)
			return -EEXIST;
	}
	its->base = *value;
	return 0;
}

static int its_ctrl(struct soft_gic *gic, struct gic_its *its, uint64_t attr)
{
	if (attr == VF_VGIC_CTRL_INIT)
		return 0;	/* nothing to do, as in the kernel: creating it was all */
	if (gic_any_in_ioctl(gic))
		return -EBUSY;
	switch (attr) {
	case VF_ITS_CTRL_RESET:
		gic_its_reset(gic, its);
		return 0;
	case VF_ITS_SAVE_TABLES:
		return gic_its_save(gic, its);
	case VF_ITS_RESTORE_TABLES:
		return gic_its_restore(gic, its);
	}
	return 0;
}

/* 64-bit registers are taken whole; CTLR, IIDR and the ID registers are 32 bits wide. */
static int its_regs(struct soft_gic *gic, struct gic_its *its, uint64_t offset, bool write,
		    uint64_t *value)
{
	bool narrow = offset < VF_GITS_TYPER || offset >= 0xffd0;
	uint64_t probe = 0;
	int err;

	if (offset & (narrow ? 3 : 7))
		return -EINVAL;
	if (its->base == GIC_ADDR_UNSET)
		return -ENXIO;
	err = gic_its_access(gic, its, offset, narrow ? 4 : 8, false, true, &probe);
	if (err)
		return err;
	if (gic_any_in_ioctl(gic))
		return -EBUSY;
	return gic_its_access(gic, its, offset, narrow ? 4 : 8, write, true, value);
}

static int its_attr(struct soft_gic *gic, struct gic_its *its, uint32_t group, uint64_t attr,
		    bool write, uint64_t *value)
{
	switch (group) {
	case VF_VGIC_GRP_ADDR:
		return attr == VF_VGIC_ADDR_ITS ? its_addr(gic, its, write, value) : -ENODEV;
	case VF_VGIC_GRP_CTRL:
		return write ? its_ctrl(gic, its, attr) : -ENXIO;
	case VF_VGIC_GRP_ITS_REGS:
		return its_regs(gic, its, attr, write, value);
	}
	return -ENXIO;
}

static int device_attr(struct soft_gic *gic, int device, uint32_t group, uint64_t attr, bool write,
		       uint64_t *value)
{
	int ret = -EBADF;

	if (!value && group != VF_VGIC_GRP_CTRL)
		return -EFAULT;
	gic_lock(gic);
	if (gic->dead)
		ret = -EIO;
	else if (device == 0 && gic->created)
		ret = gic_attr(gic, group, attr, write, value);
	else if (device > 0 && (unsigned int) device <= gic->its_count)
		ret = its_attr(gic, gic->its[device - 1], group, attr, write, value);
	gic_unlock(gic, -1);
	return ret;
}

int soft_gic_set_attr(struct soft_gic *gic, int device, uint32_t group, uint64_t attr,
		      const uint64_t *value)
{
	uint64_t copy = value ? *value : 0;

	return device_attr(gic, device, group, attr, true, value ? &copy : NULL);
}

int soft_gic_get_attr(struct soft_gic *gic, int device, uint32_t group, uint64_t attr,
		      uint64_t *value)
{
	uint64_t copy = value ? *value : 0;
	int ret = device_attr(gic, device, group, attr, false, value ? &copy : NULL);

	if (!ret && value)
		*value = copy;
	return ret;
}

/* --- KVM_HAS_DEVICE_ATTR: is there such a register at all --- */

static int gic_has(struct soft_gic *gic, uint32_t group, uint64_t attr)
{
	uint64_t offset = attr & VF_VGIC_OFFSET_MASK;
	uint64_t probe = 0;
	int cpu;

	switch (group) {
	case VF_VGIC_GRP_ADDR:
		return attr == VF_VGIC_ADDR_DIST || attr == VF_VGIC_ADDR_REDIST ||
		       attr == VF_VGIC_ADDR_REDIST_REGION ? 0 : -ENXIO;
	case VF_VGIC_GRP_NR_IRQS:
		return 0;
	case VF_VGIC_GRP_CTRL:
		if (attr == VF_VGIC_CTRL_INIT || attr == VF_VGIC_SAVE_PENDING_TABLES)
			return 0;
		return -ENXIO;
	case VF_VGIC_GRP_LEVEL_INFO:
		return offset >> VF_VGIC_LEVEL_INFO_SHIFT == VF_VGIC_LEVEL_LINE ? 0 : -ENXIO;
	case VF_VGIC_GRP_DIST_REGS:
		return gic_dist_access(gic, offset, 4, false, true, &probe);
	}
	cpu = gic_cpu_by_affinity(gic, attr >> VF_VGIC_MPIDR_SHIFT);
	if (cpu < 0)
		return -EINVAL;
	if (group == VF_VGIC_GRP_REDIST_REGS)
		return gic_redist_access(gic, (unsigned int) cpu, offset, 4, false, true, &probe);
	if (group == VF_VGIC_GRP_CPU_SYSREGS)
		return gic_icc_access(gic, (unsigned int) cpu,
				      (uint32_t) (attr & VF_VGIC_SYSREG_MASK), false, true, &probe) ==
				      -ENOENT ? -ENXIO : 0;
	return -ENXIO;
}

static int its_has(struct soft_gic *gic, struct gic_its *its, uint32_t group, uint64_t attr)
{
	bool narrow = attr < VF_GITS_TYPER || attr >= 0xffd0;
	uint64_t probe = 0;

	switch (group) {
	case VF_VGIC_GRP_ADDR:
		return attr == VF_VGIC_ADDR_ITS ? 0 : -ENXIO;
	case VF_VGIC_GRP_CTRL:
		return attr == VF_VGIC_CTRL_INIT || attr == VF_ITS_CTRL_RESET ||
		       attr == VF_ITS_SAVE_TABLES || attr == VF_ITS_RESTORE_TABLES ? 0 : -ENXIO;
	case VF_VGIC_GRP_ITS_REGS:
		if (attr & (narrow ? 3 : 7))
			return -EINVAL;
		return gic_its_access(gic, its, attr, narrow ? 4 : 8, false, true, &probe);
	}
	return -ENXIO;
}

int soft_gic_has_attr(struct soft_gic *gic, int device, uint32_t group, uint64_t attr)
{
	int ret = -EBADF;

	gic_lock(gic);
	if (gic->dead)
		ret = -EIO;
	else if (device == 0 && gic->created)
		ret = gic_has(gic, group, attr);
	else if (device > 0 && (unsigned int) device <= gic->its_count)
		ret = its_has(gic, gic->its[device - 1], group, attr);
	gic_unlock(gic, -1);
	return ret;
}

/* --- the guest's loads and stores --- */

/* Which frame, if any, and the access to it; -ENODEV: none of ours. */
static int mmio(struct soft_gic *gic, unsigned int cpu, uint64_t gpa, unsigned int len, bool write,
		uint64_t *value)
{
	if (!gic->initialized || cpu >= gic->cpus)
		return -ENODEV;
	if (gic->dist_base != GIC_ADDR_UNSET && gpa - gic->dist_base < VF_GICD_FRAME_SIZE)
		return gic_dist_access(gic, gpa - gic->dist_base, len, write, false, value);
	for (unsigned int i = 0; i < gic->cpus; i++) {
		uint64_t base = gic->cpu[i]->rd_base;

		if (base != GIC_ADDR_UNSET && gpa - base < VF_GICR_FRAMES_SIZE)
			return gic_redist_access(gic, i, gpa - base, len, write, false, value);
	}
	for (unsigned int i = 0; i < gic->its_count; i++) {
		uint64_t base = gic->its[i]->base;

		if (base != GIC_ADDR_UNSET && gpa - base < VF_GITS_FRAMES_SIZE)
			return gic_its_access(gic, gic->its[i], gpa - base, len, write, false,
					      value);
	}
	return -ENODEV;
}

/* What isn't a register is ours all the same: it reads as zero, and a write does nothing. */
static int mmio_locked(struct soft_gic *gic, unsigned int cpu, uint64_t gpa, unsigned int len,
		       bool write, uint64_t *value)
{
	int err;

	if (len != 1 && len != 2 && len != 4 && len != 8)
		return -EINVAL;
	gic_lock(gic);
	err = mmio(gic, cpu, gpa, len, write, value);
	gic_unlock(gic, (int) cpu);
	if (err == -ENODEV)
		return -ENXIO;
	if (err)
		*value = 0;
	return 0;
}

int soft_gic_mmio_read(struct soft_gic *gic, unsigned int cpu, uint64_t gpa, unsigned int len,
		       uint64_t *ret_value)
{
	uint64_t value = 0;
	int err = mmio_locked(gic, cpu, gpa, len, false, &value);

	if (!err)
		*ret_value = value;
	return err;
}

int soft_gic_mmio_write(struct soft_gic *gic, unsigned int cpu, uint64_t gpa, unsigned int len,
			uint64_t value)
{
	return mmio_locked(gic, cpu, gpa, len, true, &value);
}

int soft_gic_lpi_state(struct soft_gic *gic, int device, uint32_t devid, uint32_t eventid,
		       struct soft_gic_lpi *ret_lpi)
{
	struct gic_ite *ite = NULL;
	int ret = -ENOENT;

	gic_lock(gic);
	if (device > 0 && (unsigned int) device <= gic->its_count)
		ite = gic_ite_find(gic->its[device - 1], devid, eventid);
	if (ite) {
		*ret_lpi = (struct soft_gic_lpi) {
			.intid = ite->irq->intid,
			.cpu = ite->irq->cpu < 0 ? UINT32_MAX : (unsigned int) ite->irq->cpu,
			.forwarded = ite->irq->forwarded,
			.enabled = ite->irq->enabled,
			.pending = gic_irq_pending(ite->irq),
			.priority = ite->irq->priority,
		};
		ret = 0;
	}
	gic_unlock(gic, -1);
	return ret;
}
