/* SPDX-License-Identifier: MIT */
/* accel_config.c - see accel_config.h; the layout is that of PCI Local Bus 3.0 and PCIe 4.0. */
#include <assert.h>
#include <string.h>

#include "accel.h"
#include "accel_config.h"
#include "base/bytes.h"
#include "base/checked.h"

/* Type 0 header */
#define CFG_COMMAND 0x04
#define COMMAND_MEMORY 0x0002
#define COMMAND_BUS_MASTER 0x0004
#define COMMAND_INTX_DISABLE 0x0400
#define COMMAND_WRITABLE (COMMAND_MEMORY | COMMAND_BUS_MASTER | 0x0140 | COMMAND_INTX_DISABLE)
#define CFG_STATUS 0x06
#define STATUS_INTX 0x0008
#define STATUS_CAPABILITIES 0x0010
#define CFG_BAR0 0x10
#define CFG_BAR2 0x18
#define CFG_BAR3 0x1c

/* Capabilities: offsets inside each */
#define PM_CAP 2
#define PM_CSR 4
#define PM_STATE 0x0003
#define PM_NO_SOFT_RESET 0x0008
#define MSI_CONTROL 2
#define MSI_ENABLE 0x0001
#define MSI_MME 0x0070
#define MSI_ADDRESS 4
#define MSI_DATA 12
#define MSI_MASK 16
#define MSI_PENDING 20
#define MSIX_CONTROL 2
#define MSIX_ENABLE 0x8000
#define MSIX_TABLE 4
#define MSIX_PBA 8
#define PCIE_FLAGS 2
#define PCIE_DEVCAP 4
#define PCIE_DEVCTL 8
#define PCIE_LNKCAP 12
#define PCIE_LNKSTA 18
#define PCIE_DEVCTL2 40
#define DEVCAP_RBER (1u << 15)
#define DEVCAP_FLR (1u << 28)
#define DEVCTL_FLR 0x8000

#define MSI_LOG2 2	/* of ACCEL_MSI_VECTORS */
_Static_assert(1u << MSI_LOG2 == ACCEL_MSI_VECTORS, "MSI multiple message capable");

/* Writable bits, by the 32-bit register. Registers not listed are read-only. */
static const struct {
	uint8_t at;
	uint32_t mask;
} writable[] = {
	{ CFG_COMMAND, COMMAND_WRITABLE },
	{ 0x0c, 0x000000ff },				/* cache line size */
	{ CFG_BAR0, ~(ACCEL_BAR0_BYTES - 1) },
	{ CFG_BAR2, ~(ACCEL_BAR2_BYTES - 1) },
	{ CFG_BAR3, 0xffffffff },
	{ 0x3c, 0x000000ff },				/* interrupt line */
	{ ACCEL_CAP_PM + PM_CSR, PM_STATE },
	{ ACCEL_CAP_MSI, (uint32_t) (MSI_ENABLE | MSI_MME) << 16 },
	{ ACCEL_CAP_MSI + MSI_ADDRESS, 0xfffffffc },
	{ ACCEL_CAP_MSI + MSI_ADDRESS + 4, 0xffffffff },
	{ ACCEL_CAP_MSI + MSI_DATA, 0x0000ffff },
	{ ACCEL_CAP_MSI + MSI_MASK, (1u << ACCEL_MSI_VECTORS) - 1 },
	{ ACCEL_CAP_MSIX, 0xc0000000 },			/* enable, function mask */
	{ ACCEL_CAP_PCIE + PCIE_DEVCTL, 0x00007fff },
	{ ACCEL_CAP_PCIE + PCIE_DEVCTL2, 0x0000001f },	/* completion timeout */
};

static uint32_t writable_bits(const struct accel_config_space *c, uint32_t reg)
{
	for (size_t i = 0; i < VF_ARRAY_COUNT(writable); i++)
		if (writable[i].at == reg)
			return reg == ACCEL_CAP_MSIX && !c->msix_vectors ? 0 : writable[i].mask;
	return 0;
}

void accel_config_reset(struct accel_config_space *c, uint32_t msix_vectors)
{
	uint8_t *d = c->data;
	uint8_t *msi = d + ACCEL_CAP_MSI, *msix = d + ACCEL_CAP_MSIX, *pcie = d + ACCEL_CAP_PCIE;

	assert(msix_vectors <= ACCEL_MSIX_VECTORS);
	memset(c, 0, sizeof(*c));
	c->msix_vectors = msix_vectors;
	vf_put_u16(d + 0x00, ACCEL_PCI_VENDOR);
	vf_put_u16(d + 0x02, ACCEL_PCI_DEVICE);
	vf_put_u16(d + CFG_STATUS, STATUS_CAPABILITIES);
	vf_put_u32(d + 0x08, ACCEL_PCI_CLASS << 8 | ACCEL_PCI_REVISION);
	vf_put_u32(d + CFG_BAR0, 0);		/* 32-bit memory */
	vf_put_u32(d + CFG_BAR2, 0xc);		/* 64-bit memory, prefetchable */
	vf_put_u16(d + 0x2c, ACCEL_PCI_SUBVENDOR);
	vf_put_u16(d + 0x2e, ACCEL_PCI_SUBDEVICE);
	d[0x34] = ACCEL_CAP_PM;
	d[0x3d] = 1;				/* INTA */

	d[ACCEL_CAP_PM] = 0x01;
	d[ACCEL_CAP_PM + 1] = ACCEL_CAP_MSI;
	vf_put_u16(d + ACCEL_CAP_PM + PM_CAP, 0x0003);
	vf_put_u16(d + ACCEL_CAP_PM + PM_CSR, PM_NO_SOFT_RESET);

	msi[0] = 0x05;
	msi[1] = msix_vectors ? ACCEL_CAP_MSIX : ACCEL_CAP_PCIE;
	vf_put_u16(msi + MSI_CONTROL, 0x0180 | MSI_LOG2 << 1);	/* mask per vector, 64-bit */

	if (msix_vectors) {
		msix[0] = 0x11;
		msix[1] = ACCEL_CAP_PCIE;
		vf_put_u16(msix + MSIX_CONTROL, (uint16_t) (msix_vectors - 1));
		vf_put_u32(msix + MSIX_TABLE, ACCEL_MSIX_TABLE);	/* both in BAR0 */
		vf_put_u32(msix + MSIX_PBA, ACCEL_MSIX_PBA);
	}

	pcie[0] = 0x10;
	vf_put_u16(pcie + PCIE_FLAGS, 0x0002);			/* version 2, endpoint */
	vf_put_u32(pcie + PCIE_DEVCAP, DEVCAP_RBER | DEVCAP_FLR);
	vf_put_u16(pcie + PCIE_DEVCTL, 0x2810);		/* as the specification has it at reset */
	vf_put_u32(pcie + PCIE_LNKCAP, 0x11);			/* x1, 2.5 GT/s */
	vf_put_u16(pcie + PCIE_LNKSTA, 0x11);
}

void accel_config_read(const struct accel_config_space *c, uint32_t at, void *to, uint32_t len)
{
	assert(vf_range_in(at, len, ACCEL_CONFIG_BYTES));
	memcpy(to, c->data + at, len);
}

static unsigned int changes_of(uint32_t reg)
{
	switch (reg) {
	case CFG_COMMAND:
		return ACCEL_CONFIG_COMMAND;
	case ACCEL_CAP_PM + PM_CSR:
		return ACCEL_CONFIG_POWER;
	case ACCEL_CAP_MSI:
	case ACCEL_CAP_MSI + MSI_MASK:
		return ACCEL_CONFIG_MSI;
	case ACCEL_CAP_MSIX:
		return ACCEL_CONFIG_MSIX;
	default:
		return 0;
	}
}

unsigned int accel_config_write(struct accel_config_space *c, uint32_t at, const void *from,
				uint32_t len)
{
	const uint8_t *p = from;
	unsigned int changes = 0;
	uint8_t power = c->data[ACCEL_CAP_PM + PM_CSR] & PM_STATE;

	assert(vf_range_in(at, len, ACCEL_CONFIG_BYTES));
	for (uint32_t i = 0; i < len; i++) {
		uint32_t byte = at + i, reg = byte & ~3u, shift = byte % 4 * 8;
		uint8_t mask = (uint8_t) (writable_bits(c, reg) >> shift);

		if (byte == ACCEL_CAP_PCIE + PCIE_DEVCTL + 1 && p[i] & DEVCTL_FLR >> 8)
			changes |= ACCEL_CONFIG_FLR;
		c->data[byte] = (uint8_t) ((c->data[byte] & ~mask) | (p[i] & mask));
		changes |= changes_of(reg);
	}
	/* A state the function lacks (D1, D2) is discarded. */
	if ((c->data[ACCEL_CAP_PM + PM_CSR] & PM_STATE) % 3) {
		c->data[ACCEL_CAP_PM + PM_CSR] &= (uint8_t) ~PM_STATE;
		c->data[ACCEL_CAP_PM + PM_CSR] |= power;
	}
	return changes;
}

bool accel_config_bus_master(const struct accel_config_space *c)
{
	return vf_get_u16(c->data + CFG_COMMAND) & COMMAND_BUS_MASTER;
}

bool accel_config_intx_disabled(const struct accel_config_space *c)
{
	return vf_get_u16(c->data + CFG_COMMAND) & COMMAND_INTX_DISABLE;
}

bool accel_config_in_d0(const struct accel_config_space *c)
{
	return !(c->data[ACCEL_CAP_PM + PM_CSR] & PM_STATE);
}

bool accel_config_msi_enabled(const struct accel_config_space *c)
{
	return vf_get_u16(c->data + ACCEL_CAP_MSI + MSI_CONTROL) & MSI_ENABLE;
}

bool accel_config_msix_enabled(const struct accel_config_space *c)
{
	return vf_get_u16(c->data + ACCEL_CAP_MSIX + MSIX_CONTROL) & MSIX_ENABLE;
}

uint32_t accel_config_msi_vectors(const struct accel_config_space *c)
{
	uint32_t log2 = (vf_get_u16(c->data + ACCEL_CAP_MSI + MSI_CONTROL) & MSI_MME) >> 4;

	return 1u << (log2 < MSI_LOG2 ? log2 : MSI_LOG2);
}

uint32_t accel_config_msi_mask(const struct accel_config_space *c)
{
	return vf_get_u32(c->data + ACCEL_CAP_MSI + MSI_MASK);
}

uint32_t accel_config_msi_pending(const struct accel_config_space *c)
{
	return vf_get_u32(c->data + ACCEL_CAP_MSI + MSI_PENDING);
}

void accel_config_set_msi_pending(struct accel_config_space *c, uint32_t pending)
{
	vf_put_u32(c->data + ACCEL_CAP_MSI + MSI_PENDING, pending);
}

void accel_config_set_intx_status(struct accel_config_space *c, bool asserted)
{
	uint16_t status = vf_get_u16(c->data + CFG_STATUS);

	vf_put_u16(c->data + CFG_STATUS, (uint16_t) (asserted ? status | STATUS_INTX
								: status & ~STATUS_INTX));
}

