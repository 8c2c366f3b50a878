/* SPDX-License-Identifier: MIT */
/*
 * test_config_image.h - made-up config spaces for the tests of the config module: one function that
 * has everything, and random ones.
 */
#ifndef TEST_CONFIG_IMAGE_H
#define TEST_CONFIG_IMAGE_H

#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "vfio/config.h"
#include "vfio/pci_regs.h"

struct image {
	uint8_t bytes[VF_CONFIG_BYTES_MAX];
	size_t size;
	struct vf_config_region regions[VF_CONFIG_REGIONS];
};

/* Where image_full() has its capabilities. */
enum {
	AT_PM = 0x40, AT_MSI = 0x48, AT_PCIE = 0x60, AT_MSIX = 0x9c, AT_AF = 0xa8, AT_VENDOR = 0xb0,
	AT_VPD = 0xc0, AT_AER = 0x100, AT_SERIAL = 0x148, AT_DVSEC = 0x160, AT_ARI = 0x180,
	MSIX_VECTORS = 70,
};

static inline void image_cap(struct image *im, uint32_t at, uint8_t id, uint8_t next)
{
	im->bytes[at] = id;
	im->bytes[at + 1] = next;
}

static inline void image_ext(struct image *im, uint32_t at, uint16_t id, uint8_t version,
			     uint32_t next)
{
	vf_put_u32(im->bytes + at, id | (uint32_t) version << 16 | next << 20);
}

static inline void image_region(struct image *im, unsigned int i, uint64_t size, uint32_t reg)
{
	im->regions[i] = (struct vf_config_region) {
		.size = size, .flags = VF_CONFIG_REGION_READ | VF_CONFIG_REGION_WRITE };
	if (i < VF_CONFIG_BARS)
		vf_put_u32(im->bytes + VF_PCI_BAR0 + 4 * i, reg);
}

static inline void image_header(struct image *im)
{
	uint8_t *b = im->bytes;

	vf_put_u16(b + VF_PCI_VENDOR, 0x1d1d);
	vf_put_u16(b + VF_PCI_DEVICE, 0x2e2e);
	vf_put_u16(b + VF_PCI_STATUS, VF_PCI_STATUS_CAP_LIST);
	vf_put_u32(b + VF_PCI_REVISION, 0x12000003);
	vf_put_u16(b + VF_PCI_SUBSYS_VENDOR, 0x1d1e);
	vf_put_u16(b + VF_PCI_SUBSYS, 0x0007);
	b[VF_PCI_INT_PIN] = 1;
}

static inline void image_full(struct image *im)
{
	uint8_t *b = im->bytes;

	memset(im, 0, sizeof(*im));
	im->size = VF_CONFIG_BYTES_MAX;
	image_header(im);
	image_region(im, 0, 16u << 20, VF_PCI_BAR_TYPE_64 | VF_PCI_BAR_PREFETCH);
	image_region(im, 2, 16u << 10, 0);
	image_region(im, 3, 256, VF_PCI_BAR_IO);
	image_region(im, 4, 0x3000, 0);		/* not a power of 2 */
	image_region(im, VF_CONFIG_ROM, 64u << 10, 0);
	b[VF_PCI_CAP_POINTER] = AT_PM;
	image_cap(im, AT_PM, VF_PCI_CAP_PM, AT_MSI);
	vf_put_u16(b + AT_PM + VF_PCI_PM_CAPS, 0xf803 | VF_PCI_PM_CAPS_D1);
	vf_put_u16(b + AT_PM + VF_PCI_PM_CSR, VF_PCI_PM_CSR_NO_RESET);
	image_cap(im, AT_MSI, VF_PCI_CAP_MSI, AT_PCIE);
	vf_put_u16(b + AT_MSI + VF_PCI_MSI_FLAGS,
		   3 << 1 | VF_PCI_MSI_FLAGS_64 | VF_PCI_MSI_FLAGS_MASKABLE);
	image_cap(im, AT_PCIE, VF_PCI_CAP_PCIE, AT_MSIX);
	vf_put_u16(b + AT_PCIE + VF_PCI_PCIE_FLAGS, 0x0002);
	vf_put_u32(b + AT_PCIE + VF_PCI_PCIE_DEVCAP, VF_PCI_PCIE_DEVCAP_FLR | 0x8002);
	vf_put_u16(b + AT_PCIE + VF_PCI_PCIE_DEVCTL, 0x2810);
	vf_put_u32(b + AT_PCIE + VF_PCI_PCIE_DEVCAP2, 0x0000001f);
	image_cap(im, AT_MSIX, VF_PCI_CAP_MSIX, AT_AF);
	vf_put_u16(b + AT_MSIX + VF_PCI_MSIX_CONTROL, MSIX_VECTORS - 1);
	vf_put_u32(b + AT_MSIX + VF_PCI_MSIX_TABLE, 0x0000 | 4);
	vf_put_u32(b + AT_MSIX + VF_PCI_MSIX_PBA, 0x2000 | 4);
	image_cap(im, AT_AF, VF_PCI_CAP_AF, AT_VENDOR);
	b[AT_AF + 2] = 6;
	b[AT_AF + VF_PCI_AF_CAPS] = VF_PCI_AF_CAPS_TP | VF_PCI_AF_CAPS_FLR;
	image_cap(im, AT_VENDOR, VF_PCI_CAP_VENDOR, AT_VPD);
	b[AT_VENDOR + 2] = 16;
	image_cap(im, AT_VPD, VF_PCI_CAP_VPD, 0);
	image_ext(im, AT_AER, VF_PCI_EXT_AER, 2, AT_SERIAL);
	vf_put_u32(b + AT_AER + VF_PCI_AER_UNCOR_SEVER, 0x00062030);
	image_ext(im, AT_SERIAL, 3, 1, AT_DVSEC);
	image_ext(im, AT_DVSEC, VF_PCI_EXT_DVSEC, 1, AT_ARI);
	vf_put_u32(b + AT_DVSEC + 4, 0x20u << 20 | 0x1d1d);
	image_ext(im, AT_ARI, 0x0e, 1, 0);
}

/* ---- random ---- */

static inline uint32_t random_next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t) (*seed >> 32);
}

static inline uint32_t random_below(uint64_t *seed, uint32_t n)
{
	return random_next(seed) % n;
}

/* A function with a random choice of capabilities, forms and places; always one that parses. */
static inline void image_random(struct image *im, uint64_t *seed)
{
	static const uint8_t ids[] = { VF_PCI_CAP_PM, VF_PCI_CAP_MSI, VF_PCI_CAP_PCIE,
				       VF_PCI_CAP_MSIX, VF_PCI_CAP_AF, VF_PCI_CAP_VENDOR };
	uint32_t at = 0x40, last = VF_PCI_CAP_POINTER, first = random_below(seed, 6);
	uint8_t *b = im->bytes;

	memset(im, 0, sizeof(*im));
	im->size = random_below(seed, 2) ? VF_CONFIG_BYTES_MAX : VF_CONFIG_BYTES_PCI;
	for (size_t i = 0x40; i < im->size; i++)
		b[i] = (uint8_t) random_next(seed);
	image_header(im);
	b[VF_PCI_INT_PIN] = (uint8_t) random_below(seed, 5);
	vf_put_u16(b + VF_PCI_COMMAND, (uint16_t) random_next(seed));
	image_region(im, 0, 4096u << random_below(seed, 10),
		     random_below(seed, 2) ? VF_PCI_BAR_TYPE_64 : 0);
	image_region(im, 2, 64u << random_below(seed, 3), VF_PCI_BAR_IO);
	image_region(im, 4, 1u << 16, random_below(seed, 2) ? VF_PCI_BAR_TYPE_64 : 0);
	for (uint32_t i = 0; i < 6; i++) {
		uint8_t id = ids[(first + i) % 6];
		uint16_t flags = (uint16_t) random_next(seed);
		uint32_t len = 8;

		if (random_below(seed, 4) == 0)
			continue;
		if (id == VF_PCI_CAP_MSI) {
			flags = (uint16_t) ((flags & 0x0180) | random_below(seed, 6) << 1);
			vf_put_u16(b + at + 2, flags);
			len = 24;
		} else if (id == VF_PCI_CAP_PCIE) {
			vf_put_u16(b + at + 2, (uint16_t) (random_below(seed, 2) + 1));
			len = 0x3c;
		} else if (id == VF_PCI_CAP_MSIX) {
			vf_put_u16(b + at + 2, (uint16_t) random_below(seed, 2000));
			vf_put_u32(b + at + 4, 4);
			vf_put_u32(b + at + 8, 0x8000 | 4);
			len = 12;
		} else if (id == VF_PCI_CAP_VENDOR) {
			b[at + 2] = 8;
		}
		b[last] = (uint8_t) at;
		image_cap(im, at, id, 0);
		last = at + 1;
		at += len + 4 * random_below(seed, 2);
	}
	if (im->size > 256) {
		image_ext(im, 0x100, 3, 1, random_below(seed, 2) ? 0x200 : 0);
		image_ext(im, 0x200, VF_PCI_EXT_AER, 1, 0);
	}
}

/* A guest that writes anything anywhere; FLR requests are answered by a reset. */
static inline void guest_scribbles(struct vf_config *config, uint64_t *seed, unsigned int writes)
{
	struct vf_config_effects effects;
	uint32_t vector;

	while (writes--) {
		uint32_t len = 1u << random_below(seed, 3);
		uint32_t offset = random_below(seed, random_below(seed, 2) ? 256 :
					       config->state.layout.size) & ~(len - 1);

		vf_config_write(config, offset, len, random_next(seed), &effects);
		if (effects.flags & VF_CONFIG_EFFECT_FLR && random_below(seed, 8) == 0)
			vf_config_reset(config, &effects);
		if (!config->state.msix.count)
			continue;
		vector = random_below(seed, config->state.msix.count);
		(void) vf_msix_table_write(&config->state.msix, vector * 16 + 4 *
					   random_below(seed, 4), 4, random_next(seed), &vector);
		(void) vf_msix_raise(&config->state.msix,
				     random_below(seed, config->state.msix.count));
	}
	vf_config_set_intx_level(config, random_below(seed, 2));
}

#endif
