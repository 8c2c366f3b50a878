// SPDX-License-Identifier: GPL-2.0-only
/*
 * registers.c - the registers as the guest sees them, and the device's state.
 *
 * Every access to the register page comes through here. Most go on to the device as they are. But three things
 * that a migration has to carry can't be had from this device, or can't be given to it:
 *
 * - The result of a factorial, and the DMA registers unless a DMA starts, can't be written. The guest reads
 *   them from the shadow.
 * - Reasons for the interrupt can't be set without raising it. After a load they are in the shadow until the guest
 *   acknowledges them; only a level (INTx) is raised again.
 * - The buffer can be read and filled by DMA alone, and the only memory that the device reaches is the guest's.
 *   So the shadow follows what goes into it. After a load the device's own buffer is stale: a DMA that
 *   would take stale bytes to RAM runs the other way round. We write the bytes into RAM, where the guest wants
 *   them, and the device fetches them from there; after that it has them, and both are as they should be.
 */
#include <linux/bitmap.h>
#include <linux/iopoll.h>
#include <linux/pm_runtime.h>

#include "edu.h"

#define WAIT_US		2000000		/* a DMA takes 100 ms */
#define LATE_US		10000		/* from the end of a factorial to its interrupt, at most */
#define PAUSE_US	1000

/* The addresses that the device can reach: what QEMU was told, which nobody can ask it. */
static unsigned long long dma_mask = ~0ull;
module_param(dma_mask, ullong, 0444);
MODULE_PARM_DESC(dma_mask, "QEMU's -device edu,dma_mask=...");

u64 edu_dma_mask(void)
{
	return dma_mask;
}

/* --- at the device --- */

struct hardware {
	u16 command;
	bool enabled;		/* by us */
};

static void clear_registers(struct edu_device *edu)
{
	iowrite32(~0u, edu->registers + EDU_LIVENESS);
	iowrite32(0, edu->registers + EDU_STATUS);
	iowrite32(ioread32(edu->registers + EDU_INTERRUPTS), edu->registers + EDU_ACKNOWLEDGE);
	edu->shadow.must_clear = false;
}

static void leave_hardware(struct edu_device *edu, const struct hardware *hw)
{
	struct pci_dev *pdev = edu->core.pdev;

	if (hw->enabled)
		pci_write_config_word(pdev, PCI_COMMAND, hw->command);
	up_write(&edu->core.memory_lock);
	pm_runtime_put(&pdev->dev);
}

/* Whatever the guest did to the device's memory enable bit, we must be able to look at its registers. */
static int enter_hardware(struct edu_device *edu, struct hardware *ret_hw)
{
	struct pci_dev *pdev = edu->core.pdev;
	int ret = pm_runtime_resume_and_get(&pdev->dev);

	if (ret < 0)
		return ret;
	down_write(&edu->core.memory_lock);
	pci_read_config_word(pdev, PCI_COMMAND, &ret_hw->command);
	ret_hw->enabled = !(ret_hw->command & PCI_COMMAND_MEMORY);
	if (ret_hw->enabled)
		pci_write_config_word(pdev, PCI_COMMAND, ret_hw->command | PCI_COMMAND_MEMORY);
	if (ioread32(edu->registers + EDU_ID) != EDU_ID_VALUE) {
		leave_hardware(edu, ret_hw);
		return -ENODEV;
	}
	if (edu->shadow.must_clear)
		clear_registers(edu);
	return 0;
}

/* What it lets the device do: answer to accesses (PCI_COMMAND_MEMORY), reach memory (PCI_COMMAND_MASTER). */
static bool guest_allows(struct edu_device *edu, u16 what)
{
	u16 command;

	pci_read_config_word(edu->core.pdev, PCI_COMMAND, &command);
	return command & what;
}

static bool dma_runs(const struct edu_device *edu)
{
	return readq(edu->registers + EDU_DMA_COMMAND) & EDU_DMA_RUN;
}

/* Waits until of these bits the register has the wanted ones; readers and resets may come in between. */
static int wait_until(struct edu_device *edu, u32 offset, u32 bits, u32 wanted, unsigned long wait_us)
{
	unsigned long end = jiffies + usecs_to_jiffies(wait_us);
	struct hardware hw;
	u32 value;
	bool late;
	int ret;

	for (;;) {
		late = time_after(jiffies, end);
		ret = enter_hardware(edu, &hw);
		if (ret)
			return ret;
		value = ioread32(edu->registers + offset);
		leave_hardware(edu, &hw);
		if ((value & bits) == wanted)
			return 0;
		if (late)
			return -ETIMEDOUT;
		usleep_range(PAUSE_US, 2 * PAUSE_US);
	}
}

static int wait_until_clear(struct edu_device *edu, u32 offset, u32 bits)
{
	return wait_until(edu, offset, bits, 0, WAIT_US);
}

/* --- DMA --- */

/* QEMU ends the whole machine if a DMA leaves the buffer, and counts the last byte as outside. */
static bool in_buffer(u64 address, u64 bytes)
{
	return address >= EDU_BUFFER_AT && bytes && bytes < EDU_BUFFER_BYTES &&
	       address - EDU_BUFFER_AT < EDU_BUFFER_BYTES - bytes;
}

static u64 device_side(u64 source, u64 target, u64 command)
{
	return command & EDU_DMA_TO_RAM ? source : target;
}

static void program_dma(struct edu_device *edu, u64 source, u64 target, u64 count, u64 command)
{
	writeq(source, edu->registers + EDU_DMA_SOURCE);
	writeq(target, edu->registers + EDU_DMA_TARGET);
	writeq(count, edu->registers + EDU_DMA_COUNT);
	writeq(command, edu->registers + EDU_DMA_COMMAND);
}

static int copy_ram(struct edu_device *edu, u64 iova, u32 at, u32 bytes, bool write)
{
	if (!guest_allows(edu, PCI_COMMAND_MASTER))
		return -EFAULT;		/* the device won't reach it, either */
	return edu_memory_copy(edu, iova & dma_mask, edu->shadow.buffer + at, bytes, write);
}

static int start_into_buffer(struct edu_device *edu)
{
	struct edu_shadow *shadow = &edu->shadow;
	u32 at = (u32)(shadow->target - EDU_BUFFER_AT), bytes = (u32)shadow->count;
	int error = copy_ram(edu, shadow->source, at, bytes, false);
	struct hardware hw;
	int ret;

	if (!error)
		bitmap_clear(shadow->stale, at, bytes);
	else if (error == -EPERM)
		shadow->unseen = true;
	else			/* nothing is there: what was in the buffer stays, and is in the shadow */
		bitmap_set(shadow->stale, at, bytes);
	shadow->version++;
	wake_up_all(&edu->stream_wait);
	ret = enter_hardware(edu, &hw);
	if (ret)
		return ret;
	program_dma(edu, shadow->source, shadow->target, bytes, shadow->command | EDU_DMA_RUN);
	leave_hardware(edu, &hw);
	return 0;
}

static int start_into_ram(struct edu_device *edu)
{
	struct edu_shadow *shadow = &edu->shadow;
	u32 at = (u32)(shadow->source - EDU_BUFFER_AT), bytes = (u32)shadow->count;
	bool stale = find_next_bit(shadow->stale, at + bytes, at) < at + bytes;
	struct hardware hw;
	int ret;

	edu->write = (struct edu_write) { .iova = shadow->target & dma_mask, .bytes = bytes };
	edu_log_add(edu, edu->write.iova, bytes);
	if (stale && !copy_ram(edu, shadow->target, at, bytes, true))
		bitmap_clear(shadow->stale, at, bytes);
	ret = enter_hardware(edu, &hw);
	if (ret)
		return ret;
	if (stale)
		program_dma(edu, shadow->target, shadow->source, bytes,
			    (shadow->command & EDU_DMA_IRQ) | EDU_DMA_RUN);
	else
		program_dma(edu, shadow->source, shadow->target, bytes,
			    shadow->command | EDU_DMA_RUN);
	leave_hardware(edu, &hw);
	return 0;
}

static int start_dma(struct edu_device *edu)
{
	const struct edu_shadow *shadow = &edu->shadow;

	if (!in_buffer(device_side(shadow->source, shadow->target, shadow->command), shadow->count)) {
		dev_notice_ratelimited(&edu->core.pdev->dev, "a DMA outside of the buffer: ignored\n");
		return 0;
	}
	return shadow->command & EDU_DMA_TO_RAM ? start_into_ram(edu) : start_into_buffer(edu);
}

int edu_dma_hold(struct edu_device *edu)
{
	int ret = wait_until_clear(edu, EDU_DMA_COMMAND, EDU_DMA_RUN);

	if (!ret)
		edu->write.bytes = 0;
	return ret;
}

int edu_dma_release(struct edu_device *edu)
{
	if (!edu->shadow.held)
		return 0;
	edu->shadow.held = false;
	return start_dma(edu);
}

int edu_dma_settle(struct edu_device *edu)
{
	struct hardware hw;
	int ret;

	if (!edu->write.bytes)
		return 0;
	ret = enter_hardware(edu, &hw);
	if (ret)
		return ret;
	if (!dma_runs(edu))
		edu->write.bytes = 0;
	leave_hardware(edu, &hw);
	return 0;
}

/* --- the guest's accesses --- */

static u64 *dma_register(struct edu_shadow *shadow, u32 offset)
{
	switch (offset) {
	case EDU_DMA_SOURCE:
		return &shadow->source;
	case EDU_DMA_TARGET:
		return &shadow->target;
	case EDU_DMA_COUNT:
		return &shadow->count;
	case EDU_DMA_COMMAND:
		return &shadow->command;
	default:
		return NULL;
	}
}

static u64 read_register(struct edu_device *edu, u32 offset, u32 bytes)
{
	struct edu_shadow *shadow = &edu->shadow;
	const u64 *dma = dma_register(shadow, offset);

	if (dma == &shadow->command)
		return *dma | (shadow->held || dma_runs(edu) ? EDU_DMA_RUN : 0);
	if (dma)
		return *dma;
	if (bytes == 8)
		return readq(edu->registers + offset);
	if (offset == EDU_FACTORIAL && shadow->factorial_loaded)
		return shadow->factorial;
	if (offset == EDU_INTERRUPTS)
		return ioread32(edu->registers + offset) | shadow->interrupts;
	return ioread32(edu->registers + offset);
}

int edu_registers_read(struct edu_device *edu, u32 offset, u32 bytes, u64 *ret_value)
{
	struct hardware hw;
	int ret;

	if (!guest_allows(edu, PCI_COMMAND_MEMORY))
		return -EIO;
	ret = enter_hardware(edu, &hw);
	if (ret)
		return ret;
	*ret_value = read_register(edu, offset, bytes);
	leave_hardware(edu, &hw);
	return 0;
}

static void write_register(struct edu_device *edu, u32 offset, u32 bytes, u64 value)
{
	struct edu_shadow *shadow = &edu->shadow;

	if (bytes == 8) {
		writeq(value, edu->registers + offset);
		return;
	}
	if (offset == EDU_FACTORIAL &&
	    !(ioread32(edu->registers + EDU_STATUS) & EDU_STATUS_COMPUTING))
		shadow->factorial_loaded = false;
	else if (offset == EDU_ACKNOWLEDGE)
		shadow->interrupts &= ~(u32)value;
	iowrite32((u32)value, edu->registers + offset);
}

/* True: a DMA is to start. */
static bool write_dma_register(struct edu_device *edu, u64 *dma, u64 value)
{
	struct edu_shadow *shadow = &edu->shadow;

	if (shadow->held || dma_runs(edu))
		return false;
	edu->write.bytes = 0;
	if (dma != &shadow->command) {
		*dma = value;
		return false;
	}
	if (!(value & EDU_DMA_RUN))
		return false;
	*dma = value & (EDU_DMA_TO_RAM | EDU_DMA_IRQ);
	shadow->held = !edu_may_start_dma(edu);
	return !shadow->held;
}

int edu_registers_write(struct edu_device *edu, u32 offset, u32 bytes, u64 value)
{
	u64 *dma = dma_register(&edu->shadow, offset);
	bool start = false;
	struct hardware hw;
	int ret;

	if (!guest_allows(edu, PCI_COMMAND_MEMORY))
		return -EIO;
	ret = enter_hardware(edu, &hw);
	if (ret)
		return ret;
	if (dma)
		start = write_dma_register(edu, dma, value);
	else
		write_register(edu, offset, bytes, value);
	leave_hardware(edu, &hw);
	return start ? start_dma(edu) : 0;
}

/* --- the state --- */

void edu_registers_reset(struct edu_device *edu)
{
	u64 version = edu->shadow.version;

	memset(&edu->shadow, 0, sizeof(edu->shadow));
	edu->shadow.must_clear = true;
	edu->shadow.factorial_loaded = true;
	edu->shadow.version = version + 1;
	bitmap_fill(edu->shadow.stale, EDU_BUFFER_BYTES);
}

int edu_registers_clear(struct edu_device *edu)
{
	struct hardware hw;
	int ret = enter_hardware(edu, &hw);

	if (ret)
		return ret;
	leave_hardware(edu, &hw);
	return 0;
}

int edu_wait_for_factorial(struct edu_device *edu)
{
	struct hardware hw;
	u32 status;
	int ret = wait_until_clear(edu, EDU_STATUS, EDU_STATUS_COMPUTING);

	if (!ret)
		ret = enter_hardware(edu, &hw);
	if (ret)
		return ret;
	status = ioread32(edu->registers + EDU_STATUS);
	leave_hardware(edu, &hw);
	/* The interrupt comes a moment later, and whether it has come before no register tells. */
	if (status & EDU_STATUS_IRQ)
		ret = wait_until(edu, EDU_INTERRUPTS, EDU_BY_FACTORIAL, EDU_BY_FACTORIAL, LATE_US);
	return ret == -ETIMEDOUT ? 0 : ret;
}

/* A level goes on until the guest acknowledges it; a message was sent before, by the other device. */
int edu_assert_interrupts(struct edu_device *edu)
{
	struct hardware hw;
	int ret;

	if (!edu->shadow.interrupts || edu->core.pdev->msi_enabled)
		return 0;
	ret = enter_hardware(edu, &hw);
	if (ret)
		return ret;
	iowrite32(edu->shadow.interrupts, edu->registers + EDU_RAISE);
	edu->shadow.interrupts = 0;
	leave_hardware(edu, &hw);
	return 0;
}

int edu_state_save(struct edu_device *edu, struct edu_state *ret_state)
{
	const struct edu_shadow *shadow = &edu->shadow;
	struct hardware hw;
	int ret;

	if (shadow->unseen)
		return -ENODATA;
	ret = enter_hardware(edu, &hw);
	if (ret)
		return ret;
	ret_state->liveness = ~ioread32(edu->registers + EDU_LIVENESS);
	ret_state->factorial = (u32)read_register(edu, EDU_FACTORIAL, 4);
	ret_state->status = ioread32(edu->registers + EDU_STATUS) & EDU_STATUS_IRQ;
	ret_state->interrupts = (u32)read_register(edu, EDU_INTERRUPTS, 4);
	leave_hardware(edu, &hw);
	ret_state->source = shadow->source;
	ret_state->target = shadow->target;
	ret_state->count = shadow->count;
	ret_state->command = shadow->command | (shadow->held ? EDU_DMA_RUN : 0);
	memcpy(ret_state->buffer, shadow->buffer, sizeof(ret_state->buffer));
	return 0;
}

/* What comes from another machine is believed no more than what comes from a guest. */
int edu_state_check(const struct edu_state *state)
{
	if (state->status & ~EDU_STATUS_IRQ ||
	    state->command & ~(u64)(EDU_DMA_RUN | EDU_DMA_TO_RAM | EDU_DMA_IRQ))
		return -EINVAL;
	return 0;
}

int edu_state_load(struct edu_device *edu, const struct edu_state *state)
{
	struct edu_shadow *shadow = &edu->shadow;
	struct hardware hw;
	int ret;

	edu_registers_reset(edu);
	ret = enter_hardware(edu, &hw);
	if (ret)
		return ret;
	iowrite32(state->liveness, edu->registers + EDU_LIVENESS);
	iowrite32(state->status, edu->registers + EDU_STATUS);
	leave_hardware(edu, &hw);
	shadow->factorial = state->factorial;
	shadow->interrupts = state->interrupts;
	shadow->source = state->source;
	shadow->target = state->target;
	shadow->count = state->count;
	shadow->command = state->command & ~(u64)EDU_DMA_RUN;
	shadow->held = state->command & EDU_DMA_RUN;
	memcpy(shadow->buffer, state->buffer, sizeof(shadow->buffer));
	return 0;
}
