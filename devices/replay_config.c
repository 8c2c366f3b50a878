/* SPDX-License-Identifier: MIT */
/* replay_config.c - see replay_config.h. */
#include <assert.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "replay_config.h"

#define COMMAND_WRITABLE (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | \
			  PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)
#define DEVCTL_WRITABLE 0x7fffu		/* all but the reset */
#define DEVCTL2_WRITABLE 0x001fu	/* completion timeout */
#define BAR_REGISTERS 6u
#define AF_CAP_BYTES 6u

static void allow(struct replay_config *c, uint32_t at, uint32_t mask)
{
	for (uint32_t i = 0; i < 4 && at + i < c->size; i++)
		c->writable[at + i] |= (uint8_t) (mask >> (8 * i));
}

/* What a size leaves of an address: those bits that are above it. */
static uint64_t address_bits(uint64_t size)
{
	uint64_t whole = 1;

	while (whole < size)
		whole <<= 1;
	return ~(whole - 1);
}

static void allow_bars(struct replay_config *c)
{
	for (uint32_t i = 0; i < BAR_REGISTERS; i++) {
		uint32_t at = PCI_BASE_ADDRESS_0 + 4 * i, low = vf_get_u32(c->bytes + at);
		uint64_t size = c->capture->regions[i].size, mask = address_bits(size);

		if (!size)
			continue;
		if (low & PCI_BASE_ADDRESS_SPACE_IO) {
			allow(c, at, (uint32_t) mask & (uint32_t) PCI_BASE_ADDRESS_IO_MASK);
			continue;
		}
		allow(c, at, (uint32_t) mask & (uint32_t) PCI_BASE_ADDRESS_MEM_MASK);
		if ((low & PCI_BASE_ADDRESS_MEM_TYPE_MASK) == PCI_BASE_ADDRESS_MEM_TYPE_64 &&
		    i + 1 < BAR_REGISTERS)
			allow(c, at + 4, (uint32_t) (mask >> 32));
	}
}

static void allow_header(struct replay_config *c)
{
	uint64_t rom = c->capture->regions[VF_VFIO_PCI_ROM_REGION].size;

	if (c->size < PCI_STD_HEADER_SIZEOF)
		return;
	allow(c, PCI_COMMAND, COMMAND_WRITABLE);
	allow(c, PCI_CACHE_LINE_SIZE, 0xff);
	allow(c, PCI_INTERRUPT_LINE, 0xff);
	if ((c->bytes[PCI_HEADER_TYPE] & 0x7f) != PCI_HEADER_TYPE_NORMAL)
		return;
	allow_bars(c);
	if (rom)
		allow(c, PCI_ROM_ADDRESS, ((uint32_t) address_bits(rom) & PCI_ROM_ADDRESS_MASK) |
					  PCI_ROM_ADDRESS_ENABLE);
}

static void allow_msi(struct replay_config *c)
{
	uint32_t at = capture_find_cap(c->capture, PCI_CAP_ID_MSI, PCI_MSI_RFU), flags;
	uint32_t data, mask;

	if (!at)
		return;
	flags = vf_get_u16(c->bytes + at + PCI_MSI_FLAGS);
	data = at + (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32);
	mask = at + (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32);
	allow(c, at, (uint32_t) (PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE) << 16);
	allow(c, at + PCI_MSI_ADDRESS_LO, 0xfffffffc);
	if (flags & PCI_MSI_FLAGS_64BIT)
		allow(c, at + PCI_MSI_ADDRESS_HI, 0xffffffff);
	allow(c, data, 0xffff);
	if (flags & PCI_MSI_FLAGS_MASKBIT)
		allow(c, mask, UINT32_MAX >> (31 - vf_min_u64((1u << ((flags & PCI_MSI_FLAGS_QMASK) >> 1)) - 1, 31)));
}

static void allow_caps(struct replay_config *c)
{
	uint32_t pm = capture_find_cap(c->capture, PCI_CAP_ID_PM, PCI_PM_SIZEOF);
	uint32_t msix = capture_find_cap(c->capture, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	uint32_t express = capture_find_cap(c->capture, PCI_CAP_ID_EXP, PCI_EXP_DEVSTA);
	uint32_t express2 = capture_find_cap(c->capture, PCI_CAP_ID_EXP, PCI_EXP_DEVSTA2);
	uint32_t af = capture_find_cap(c->capture, PCI_CAP_ID_AF, AF_CAP_BYTES);

	if (pm)
		allow(c, pm + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
	if (msix)
		allow(c, msix, (uint32_t) (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) << 16);
	if (express) {
		allow(c, express + PCI_EXP_DEVCTL, DEVCTL_WRITABLE);
		if (vf_get_u32(c->bytes + express + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR)
			c->resets[express + PCI_EXP_DEVCTL + 1] = PCI_EXP_DEVCTL_BCR_FLR >> 8;
	}
	if (express2 && (vf_get_u16(c->bytes + express2 + PCI_EXP_FLAGS) & PCI_EXP_FLAGS_VERS) > 1)
		allow(c, express2 + PCI_EXP_DEVCTL2, DEVCTL2_WRITABLE);
	if (af && c->bytes[af + PCI_AF_CAP] & PCI_AF_CAP_FLR)
		c->resets[af + PCI_AF_CTRL] = PCI_AF_CTRL_FLR;
	allow_msi(c);
}

void replay_config_init(struct replay_config *c, const struct capture *capture)
{
	*c = (struct replay_config) { .capture = capture, .size = capture_config_bytes(capture) };
	replay_config_reset(c);
	allow_header(c);
	allow_caps(c);
}

void replay_config_reset(struct replay_config *c)
{
	memcpy(c->bytes, c->capture->config, c->size);
}

void replay_config_read(const struct replay_config *c, uint32_t at, void *to, uint32_t len)
{
	assert(vf_range_in(at, len, c->size));
	memcpy(to, c->bytes + at, len);
}

bool replay_config_write(struct replay_config *c, uint32_t at, const void *from, uint32_t len)
{
	const uint8_t *p = from;
	bool reset = false;

	assert(vf_range_in(at, len, c->size));
	for (uint32_t i = 0; i < len; i++) {
		uint8_t mask = c->writable[at + i];

		reset |= p[i] & c->resets[at + i];
		c->bytes[at + i] = (uint8_t) ((c->bytes[at + i] & ~mask) | (p[i] & mask));
	}
	return reset;
}
