/* SPDX-License-Identifier: MIT */
/*
 * accel.h - the "accel" PCI function: a DMA engine with internal memory, as its driver sees it.
 *
 * Model: the driver puts jobs of 64 bytes into a ring in its RAM and writes the index behind the
 * last one to RING_TAIL. The device does the jobs one after the other, writes status, result and
 * cookie back into each, then moves RING_HEAD on and, where the job asks for it, raises the job's
 * interrupt. It has BAR0 (registers; MSI-X table and PBA), BAR2 (a window of device memory that
 * processors and other devices may read and write) and internal memory that only jobs reach.
 *
 * Or the driver keeps that index in its RAM, in 4 bytes at TAIL_ADDRESS (a multiple of 4; 0 = none),
 * and writes anything to DOORBELL when it has changed: the device then reads it. As the value does not
 * matter, such a write may reach the device as a count of writes (ioeventfd), with nobody waiting for
 * it. Accesses of BAR0 that follow find it done.
 *
 * All fields are little-endian. Registers are read and written in aligned accesses of 4 or 8
 * bytes; a 64-bit register may be accessed as two halves. Other accesses read as ones and are
 * ignored when written, as are registers not named here.
 *
 * What a job wrote is in memory before its status is; the status is written by one aligned 32-bit
 * store, before RING_HEAD moves and before the interrupt.
 *
 * Needs nothing but <stdint.h>: bare-metal drivers use it too.
 */
#ifndef ACCEL_H
#define ACCEL_H

#include <stdint.h>

/* Identity */
#define ACCEL_PCI_VENDOR	0x7666u
#define ACCEL_PCI_DEVICE	0xacc1u
#define ACCEL_PCI_SUBVENDOR	0x7666u
#define ACCEL_PCI_SUBDEVICE	0x0001u
#define ACCEL_PCI_REVISION	0x01u
#define ACCEL_PCI_CLASS		0x120000u	/* processing accelerator */

/* Capabilities, at fixed places of config space */
#define ACCEL_CAP_PM		0x40u	/* version 3, D0 and D3hot, keeps its state in D3hot */
#define ACCEL_CAP_MSI		0x50u	/* 64-bit, per-vector mask, up to ACCEL_MSI_VECTORS */
#define ACCEL_CAP_MSIX		0x70u	/* table and PBA in BAR0 */
#define ACCEL_CAP_PCIE		0x80u	/* version 2, endpoint, function level reset */

#define ACCEL_MSI_VECTORS	4u
#define ACCEL_MSIX_VECTORS	16u	/* the most; VECTORS says how many this device has */

/* BAR0: 64 KiB, 32-bit, not prefetchable */
#define ACCEL_BAR0_BYTES	0x10000u
#define ACCEL_MSIX_TABLE	0x8000u
#define ACCEL_MSIX_PBA		0xc000u
/* BAR2: 64-bit, prefetchable. May be mapped; what is written stays and is read back. */
#define ACCEL_BAR2_BYTES	0x100000u

/* Registers in BAR0 */
#define ACCEL_REG_ID		0x000u	/* u32 ro: ACCEL_ID */
#define ACCEL_REG_VERSION	0x004u	/* u32 ro: ACCEL_VERSION */
#define ACCEL_REG_CTRL		0x008u	/* u32: ACCEL_CTRL_* */
#define ACCEL_REG_STATUS	0x00cu	/* u32 ro: ACCEL_STATUS_* */
#define ACCEL_REG_RING_BASE	0x010u	/* u64: bus address, multiple of 64; fixed while enabled */
#define ACCEL_REG_RING_ENTRIES	0x018u	/* u32: power of two in 2..4096; fixed while enabled */
#define ACCEL_REG_RING_TAIL	0x01cu	/* u32: doorbell, index behind the last job put in */
#define ACCEL_REG_RING_HEAD	0x020u	/* u32 ro: index of the first job not finished */
#define ACCEL_REG_IRQ_STATUS	0x024u	/* u32, write 1 to clear: bit v = INTx cause "vector v" */
#define ACCEL_REG_STATE_BYTES	0x030u	/* u64 ro: size of internal memory */
#define ACCEL_REG_JOBS_DONE	0x038u	/* u64 ro: jobs finished since reset, failed ones too */
#define ACCEL_REG_WINDOW_BYTES	0x040u	/* u64 ro: size of BAR2 */
#define ACCEL_REG_JOBS_FAILED	0x048u	/* u64 ro: those finished with another status than OK */
#define ACCEL_REG_VECTORS	0x050u	/* u32 ro: number of MSI-X vectors */
#define ACCEL_REG_OPCODES	0x054u	/* u32 ro: bit n = opcode n is known */
#define ACCEL_REG_SCRATCH	0x058u	/* u64: the driver's own, 0 after reset */
#define ACCEL_REG_SEED		0x060u	/* u64 ro: seed of the pattern in internal memory */
/* Since version 2 */
#define ACCEL_REG_TAIL_ADDRESS	0x068u	/* u64: where DOORBELL finds the tail; fixed while enabled */
#define ACCEL_REG_DOORBELL	0x070u	/* u32 wo, any value: the tail in RAM has changed */
#define ACCEL_REG_DOORBELLS	0x078u	/* u64 ro: writes to DOORBELL since reset */
#define ACCEL_REG_END		0x080u

#define ACCEL_ID		0x6c636361u	/* "accl" */
#define ACCEL_VERSION		2u

/*
 * ENABLE 0 -> 1 needs a valid ring, else it stays 0 and STATUS shows ERROR; head and tail start at
 * 0. Clearing it lets the current job finish and stops. RESET clears itself: registers, ring,
 * internal memory and window go back to what they are at power-on; config space stays.
 */
#define ACCEL_CTRL_ENABLE	(1u << 0)
#define ACCEL_CTRL_RESET	(1u << 1)

#define ACCEL_STATUS_BUSY	(1u << 0)	/* a job is under way, or the ring holds more */
#define ACCEL_STATUS_ERROR	(1u << 1)	/* ring unreachable or misused: needs RESET */

#define ACCEL_RING_ENTRIES_MIN	2u
#define ACCEL_RING_ENTRIES_MAX	4096u	/* at most one less are under way */
#define ACCEL_RING_ALIGN	64u

/* One job, 64 bytes. The driver sets status to ACCEL_JOB_PENDING. */
struct accel_descriptor {
	uint8_t opcode;		/* ACCEL_OP_* */
	uint8_t flags;		/* ACCEL_FLAG_* */
	uint16_t vector;	/* below ACCEL_MSIX_VECTORS; MSI uses it modulo the messages enabled */
	uint32_t delay_us;	/* the job takes at least this long, at most ACCEL_DELAY_MAX_US */
	uint64_t src;
	uint64_t dst;
	uint64_t length;	/* bytes, at most ACCEL_LENGTH_MAX */
	uint64_t seed;
	uint64_t cookie;
	/* written by the device */
	uint32_t status;	/* ACCEL_JOB_*, last of the three */
	uint32_t result;	/* CRC32C; 0 for other opcodes */
	uint64_t cookie_echo;	/* cookie */
};

/*
 * "bus": a bus address. "int": an offset into internal memory. Ranges of COPY must not overlap.
 * Only COPY_PEER may have a destination in another device's BAR; it is what the device holds back
 * while it must not talk to its peers.
 */
#define ACCEL_OP_NOP		0u
#define ACCEL_OP_COPY		1u	/* src bus -> dst bus */
#define ACCEL_OP_FILL		2u	/* dst bus: word i = accel_pattern(seed, i), cut at length */
#define ACCEL_OP_CRC32C		3u	/* src bus: result = CRC32C, low half of seed = start (0) */
#define ACCEL_OP_STORE		4u	/* src bus -> dst int */
#define ACCEL_OP_LOAD		5u	/* src int -> dst bus */
#define ACCEL_OP_COPY_PEER	6u	/* src bus -> dst bus, in the BAR of another device */
#define ACCEL_OP_COUNT		7u

#define ACCEL_FLAG_IRQ		(1u << 0)	/* raise the vector when done */

#define ACCEL_LENGTH_MAX	(1ull << 30)
#define ACCEL_DELAY_MAX_US	10000000u

#define ACCEL_JOB_PENDING	0u
#define ACCEL_JOB_OK		1u
#define ACCEL_JOB_BAD_OPCODE	2u
#define ACCEL_JOB_BAD_FIELD	3u	/* unknown flag; vector, length or delay out of bounds */
#define ACCEL_JOB_BAD_ADDRESS	4u	/* a bus address that is not mapped, or not for this */
#define ACCEL_JOB_BAD_RANGE	5u	/* outside internal memory */
#define ACCEL_JOB_NO_SPACE	6u	/* internal memory holds no more written pages */

/*
 * The pattern: word @index of the sequence that starts with @seed. Internal memory never written
 * holds accel_pattern(SEED, n) in its word n, until it changes by itself (an option of the device;
 * what a job has stored never does).
 */
static inline uint64_t accel_pattern(uint64_t seed, uint64_t index)
{
	uint64_t x = seed + index * 0x9e3779b97f4a7c15ull;

	return x ^ x >> 32;
}

#endif
