/* SPDX-License-Identifier: MIT */
/* dma.c - the memory, and the drivers of devices whose registers are known here; see dma.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "accel.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "dma.h"
#include "vfio/pci_regs.h"

#define JOB_NS (2 * VF_SECOND_NS)

/* --- memory --- */

static int make_memory(struct check_memory *m)
{
	if (m->map)
		return 0;
	m->fd = memfd_create("vferry-check", MFD_CLOEXEC);
	if (m->fd < 0 || ftruncate(m->fd, (off_t) CHECK_BYTES))
		return -errno;
	m->map = mmap(NULL, CHECK_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
	if (m->map == MAP_FAILED) {
		m->map = NULL;
		return -errno;
	}
	return 0;
}

bool check_memory_map(struct check *c)
{
	struct check_memory *m = &c->memory;
	int r = make_memory(m);

	if (r == 0 && !m->mapped)
		r = c->backend->ops->dma_map(c->backend, CHECK_IOVA, CHECK_BYTES, true, m->fd, 0, m->map, NULL);
	if (r < 0)
		check_blocked(c, "no memory can be mapped for the device: %s", check_errno(r));
	else
		m->mapped = true;
	return r == 0;
}

void check_memory_forget(struct check *c)
{
	if (c->memory.mapped && c->backend)
		(void) c->backend->ops->dma_unmap(c->backend, CHECK_IOVA, CHECK_BYTES, NULL);
	c->memory.mapped = false;
}

void check_memory_done(struct check *c)
{
	if (c->memory.map)
		(void) munmap(c->memory.map, CHECK_BYTES);
	vf_close(&c->memory.fd);
	c->memory.map = NULL;
}

/* --- its log --- */

int check_log_start(struct check *c)
{
	const struct vf_vfio_dma_log_range whole = { .iova = CHECK_IOVA, .length = CHECK_BYTES };
	uint64_t page;

	return c->backend->ops->dma_log_start(c->backend, VF_PAGE_BYTES, &whole, 1, &page, NULL);
}

int check_log_stop(struct check *c)
{
	return c->backend->ops->dma_log_stop(c->backend, NULL);
}

bool check_log_report(struct check *c, uint64_t *word)
{
	int r = c->backend->ops->dma_log_report(c->backend, CHECK_IOVA, CHECK_BYTES, VF_PAGE_BYTES, word,
						NULL);

	if (r < 0)
		check_blocked(c, "REPORT fails with %s", check_errno(r));
	return r == 0;
}

/* --- registers --- */

static int write_bar(struct check *c, uint64_t at, uint64_t value, size_t len)
{
	uint8_t bytes[8];

	vf_put_u64(bytes, value);
	return c->backend->ops->region_write(c->backend, VF_VFIO_PCI_BAR0_REGION, at, bytes, len, NULL);
}

static int read_bar32(struct check *c, uint64_t at, uint32_t *ret)
{
	uint8_t bytes[4];
	int r = c->backend->ops->region_read(c->backend, VF_VFIO_PCI_BAR0_REGION, at, bytes, 4, NULL);

	*ret = vf_get_u32(bytes);
	return r;
}

static int enable_bus(struct check *c)
{
	uint8_t command[2];
	int r = c->backend->ops->region_read(c->backend, VF_VFIO_PCI_CONFIG_REGION, VF_PCI_COMMAND, command,
					     2, NULL);

	vf_put_u16(command, vf_get_u16(command) | VF_PCI_COMMAND_MEM | VF_PCI_COMMAND_BUS_MASTER);
	return r < 0 ? r : c->backend->ops->region_write(c->backend, VF_VFIO_PCI_CONFIG_REGION,
							 VF_PCI_COMMAND, command, 2, NULL);
}

static void nap(void)
{
	struct timespec ts = { .tv_nsec = 50000 };

	(void) nanosleep(&ts, NULL);
}

/* --- accel --- */

#define ACCEL_ENTRIES 2u
#define ACCEL_WORK_NS (5 * VF_MS_NS)

static int accel_start(struct check *c)
{
	uint32_t control = 0;
	int r = enable_bus(c);

	memset(c->memory.map, 0, CHECK_DRIVER_PAGES * VF_PAGE_BYTES);
	if (r == 0)
		r = write_bar(c, ACCEL_REG_RING_BASE, CHECK_IOVA, 8);
	if (r == 0)
		r = write_bar(c, ACCEL_REG_RING_ENTRIES, ACCEL_ENTRIES, 4);
	if (r == 0)
		r = write_bar(c, ACCEL_REG_CTRL, ACCEL_CTRL_ENABLE, 4);
	if (r == 0)
		r = read_bar32(c, ACCEL_REG_CTRL, &control);
	return r < 0 ? r : control & ACCEL_CTRL_ENABLE ? 0 : -EIO;
}

static struct accel_descriptor *accel_slot(struct check *c, uint32_t index)
{
	return (struct accel_descriptor *) (void *) c->memory.map + index % ACCEL_ENTRIES;
}

static int accel_put(struct check *c, struct accel_descriptor job)
{
	uint32_t tail;
	int r = read_bar32(c, ACCEL_REG_RING_TAIL, &tail);

	if (r < 0)
		return r;
	*accel_slot(c, tail) = job;
	return write_bar(c, ACCEL_REG_RING_TAIL, (tail + 1) % ACCEL_ENTRIES, 4);
}

/* The job that was put last. */
static int accel_finish(struct check *c)
{
	uint64_t until = vf_now_ns() + JOB_NS;
	struct accel_descriptor *slot;
	uint32_t tail, status;
	int r = read_bar32(c, ACCEL_REG_RING_TAIL, &tail);

	if (r < 0)
		return r;
	slot = accel_slot(c, tail + ACCEL_ENTRIES - 1);
	while ((status = __atomic_load_n(&slot->status, __ATOMIC_ACQUIRE)) == ACCEL_JOB_PENDING) {
		if (vf_now_ns() > until)
			return -ETIME;
		nap();
	}
	return status == ACCEL_JOB_OK ? 0 : -EIO;
}

static int accel_job(struct check *c, struct accel_descriptor job)
{
	int r = accel_put(c, job);

	return r < 0 ? r : accel_finish(c);
}

static int accel_write(struct check *c, uint64_t iova, uint64_t len)
{
	return accel_job(c, (struct accel_descriptor) { .opcode = ACCEL_OP_FILL, .dst = iova, .length = len,
							.seed = check_random(c) });
}

static int accel_read(struct check *c, uint64_t iova, uint64_t len)
{
	return accel_job(c, (struct accel_descriptor) { .opcode = ACCEL_OP_CRC32C, .src = iova,
							.length = len });
}

static int accel_begin(struct check *c, uint64_t iova, uint64_t len)
{
	return accel_put(c, (struct accel_descriptor) { .opcode = ACCEL_OP_FILL, .dst = iova, .length = len,
							.seed = check_random(c), .flags = ACCEL_FLAG_IRQ,
							.delay_us = ACCEL_WORK_NS / 1000 });
}

/* --- QEMU's edu --- */

#define EDU_DMA_FROM 0x80u
#define EDU_DMA_TO 0x88u
#define EDU_DMA_COUNT 0x90u
#define EDU_DMA_COMMAND 0x98u
#define EDU_BUFFER 0x40000u
#define EDU_RUN 1u
#define EDU_TO_MEMORY 2u
#define EDU_INTERRUPT 4u
#define EDU_WORK_NS (100 * VF_MS_NS)	/* of any transfer */

static int edu_start(struct check *c)
{
	return enable_bus(c);
}

static int edu_put(struct check *c, uint64_t from, uint64_t to, uint64_t len, uint32_t command)
{
	int r = write_bar(c, EDU_DMA_FROM, from, 8);

	if (r == 0)
		r = write_bar(c, EDU_DMA_TO, to, 8);
	if (r == 0)
		r = write_bar(c, EDU_DMA_COUNT, len, 8);
	if (r == 0)
		r = write_bar(c, EDU_DMA_COMMAND, command | EDU_RUN, 8);
	return r;
}

static int edu_finish(struct check *c)
{
	uint64_t until = vf_now_ns() + JOB_NS;
	uint32_t busy = EDU_RUN;
	int r = 0;

	while (r == 0 && busy & EDU_RUN) {
		if (vf_now_ns() > until)
			return -ETIME;
		nap();
		r = read_bar32(c, EDU_DMA_COMMAND, &busy);
	}
	return r;
}

static int edu_transfer(struct check *c, uint64_t from, uint64_t to, uint64_t len, uint32_t command)
{
	int r = edu_put(c, from, to, len, command);

	return r < 0 ? r : edu_finish(c);
}

static int edu_write(struct check *c, uint64_t iova, uint64_t len)
{
	return edu_transfer(c, EDU_BUFFER, iova, len, EDU_TO_MEMORY);
}

static int edu_read(struct check *c, uint64_t iova, uint64_t len)
{
	return edu_transfer(c, iova, EDU_BUFFER, len, 0);
}

static int edu_begin(struct check *c, uint64_t iova, uint64_t len)
{
	return edu_put(c, EDU_BUFFER, iova, len, EDU_TO_MEMORY | EDU_INTERRUPT);
}

static const struct check_driver drivers[] = {
	{ .name = "accel", .vendor = ACCEL_PCI_VENDOR, .device = ACCEL_PCI_DEVICE,
	  .id = ACCEL_ID, .id_mask = UINT32_MAX,
	  .start = accel_start, .write = accel_write, .read = accel_read,
	  .begin = accel_begin, .finish = accel_finish, .work_ns = ACCEL_WORK_NS,
	  .irq_index = VF_VFIO_PCI_MSIX_IRQ },
	{ .name = "edu", .vendor = 0x1234, .device = 0x11e8, .id = 0xed, .id_mask = 0xffff,
	  .start = edu_start, .write = edu_write, .read = edu_read,
	  .begin = edu_begin, .finish = edu_finish, .work_ns = EDU_WORK_NS,
	  .irq_index = VF_VFIO_PCI_MSI_IRQ },
};

bool check_driver_start(struct check *c)
{
	uint32_t id;
	int r;

	if (!check_memory_map(c))
		return false;
	r = check_reset(c);
	if (r == 0)
		r = c->driver->start(c);
	if (r == 0)
		r = read_bar32(c, 0, &id);
	if (r < 0)
		check_blocked(c, "the device can't be started: %s", check_errno(r));
	else if ((id & c->driver->id_mask) != c->driver->id)
		check_skip(c, "it has the ids of %s, and not its registers: nothing makes it do DMA",
			   c->driver->name);
	return r == 0 && !check_decided(c);
}

const struct check_driver *check_driver_find(uint16_t vendor, uint16_t device)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(drivers); i++)
		if (drivers[i].vendor == vendor && drivers[i].device == device)
			return &drivers[i];
	return NULL;
}
