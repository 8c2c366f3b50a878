/* SPDX-License-Identifier: MIT */
/* config: the guest's view, register by register. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/checked.h"
#include "test_config_image.h"

#define V VF_CONFIG_CLASS_VIRTUAL
#define D VF_CONFIG_CLASS_DEVICE
#define W VF_CONFIG_CLASS_WRITABLE
#define F VF_CONFIG_CLASS_FORWARD
#define I VF_CONFIG_CLASS_INTERRUPT
#define R VF_CONFIG_CLASS_FLR

static struct vf_config *new_view(void)
{
	struct vf_config *config;
	struct image im;

	image_full(&im);
	assert_int_equal(vf_config_new(im.bytes, im.size, im.regions, &config, NULL), 0);
	return config;
}

static int setup(void **state)
{
	*state = new_view();
	return 0;
}

static int teardown(void **state)
{
	vf_config_free(*state);
	return 0;
}

/* ---- one row a register: classes, and which bits a write of all ones and all zeros moves ---- */

static const struct row {
	const char *name;
	uint32_t offset, len;
	uint32_t classes;
	uint32_t device;	/* read from the device */
	uint32_t writable;	/* bits of the view that follow the guest */
	uint32_t sent;		/* value of the device write when the guest writes ones; 0 = none */
	uint32_t keep;
} rows[] = {
	{ "vendor", 0x00, 2, V, 0, 0, 0, 0 },
	{ "device", 0x02, 2, V, 0, 0, 0, 0 },
	{ "COMMAND", 0x04, 2, V | D | W | F | I, 0xfbfc, 0x07ff, 0xffff, 0 },
	{ "STATUS", 0x06, 2, V | D, 0xffef, 0, 0, 0 },
	{ "revision, class", 0x08, 4, V, 0, 0, 0, 0 },
	{ "cache line", 0x0c, 1, D | W | F, 0xff, 0xff, 0xff, 0 },
	{ "latency", 0x0d, 1, D | W | F, 0xff, 0xff, 0xff, 0 },
	{ "header type", 0x0e, 1, V, 0, 0, 0, 0 },
	{ "BIST", 0x0f, 1, D | F, 0xff, 0, 0xff, 0 },
	{ "BAR 0", 0x10, 4, V | W | F, 0, 0xff000000, 0xff00000c, 0 },
	{ "BAR 0 high", 0x14, 4, V | W | F, 0, 0xffffffff, 0xffffffff, 0 },
	{ "BAR 2", 0x18, 4, V | W | F, 0, 0xffffc000, 0xffffc000, 0 },
	{ "BAR 3, I/O", 0x1c, 4, V | W | F, 0, 0xffffff00, 0xffffff01, 0 },
	{ "BAR 4", 0x20, 4, V | W | F, 0, 0xffffc000, 0xffffc000, 0 },
	{ "BAR 5, absent", 0x24, 4, V, 0, 0, 0, 0 },
	{ "CardBus", 0x28, 4, V, 0, 0, 0, 0 },
	{ "subsystem", 0x2c, 4, V, 0, 0, 0, 0 },
	{ "ROM", 0x30, 4, V | W | F, 0, 0xffff0001, 0xffff0001, 0 },
	{ "cap pointer", 0x34, 4, V, 0, 0, 0, 0 },
	{ "interrupt line", 0x3c, 1, V | W, 0, 0xff, 0, 0 },
	{ "interrupt pin", 0x3d, 1, V, 0, 0, 0, 0 },
	{ "PM head", AT_PM, 4, V, 0, 0, 0, 0 },
	{ "PMCSR", AT_PM + 4, 1, V | W | F, 0, 0x03, 0x03, 0xfc },
	{ "PMCSR high", AT_PM + 5, 1, V | D, 0x7e, 0, 0, 0 },
	{ "MSI head", AT_MSI, 2, V, 0, 0, 0, 0 },
	{ "MSI address", AT_MSI + 4, 4, V | W | F | I, 0, 0xfffffffc, 0xfffffffc, 0 },
	{ "MSI address high", AT_MSI + 8, 4, V | W | F | I, 0, 0xffffffff, 0xffffffff, 0 },
	{ "MSI data", AT_MSI + 12, 2, V | W | F | I, 0, 0xffff, 0xffff, 0 },
	{ "MSI reserved", AT_MSI + 14, 2, V, 0, 0, 0, 0 },
	{ "MSI mask", AT_MSI + 16, 4, D | W | F | I, 0xffffffff, 0xffffffff, 0xffffffff, 0 },
	{ "MSI pending", AT_MSI + 20, 4, D | I, 0xffffffff, 0, 0, 0 },
	{ "MSI-X control", AT_MSIX + 2, 2, V | W | F | I, 0, 0xc000, 0xc045, 0 },
	{ "MSI-X table", AT_MSIX + 4, 4, V, 0, 0, 0, 0 },
	{ "MSI-X PBA", AT_MSIX + 8, 4, V, 0, 0, 0, 0 },
	{ "PCIe head", AT_PCIE, 4, V, 0, 0, 0, 0 },
	{ "DevCap", AT_PCIE + 4, 4, V, 0, 0, 0, 0 },
	{ "DevCtl low", AT_PCIE + 8, 1, V | D | W | F, 0x1f, 0xff, 0xff, 0 },
	{ "DevSta", AT_PCIE + 10, 2, D, 0xffff, 0, 0, 0 },
	{ "LnkCtl", AT_PCIE + 16, 2, D, 0xffff, 0, 0, 0 },
	{ "DevCap2", AT_PCIE + 0x24, 4, V, 0, 0, 0, 0 },
	{ "DevCtl2", AT_PCIE + 0x28, 2, V | D | W | F, 0xffdf, 0xffdf, 0xffdf, 0 },
	{ "LnkCtl2", AT_PCIE + 0x30, 2, D, 0xffff, 0, 0, 0 },
	{ "AF caps", AT_AF + 3, 1, V, 0, 0, 0, 0 },
	{ "AF status", AT_AF + 5, 1, D, 0xff, 0, 0, 0 },
	{ "vendor head", AT_VENDOR, 2, V, 0, 0, 0, 0 },
	{ "vendor body", AT_VENDOR + 4, 4, D | F, 0xffffffff, 0, 0xffffffff, 0 },
	{ "VPD address", AT_VPD + 2, 2, D | F, 0xffff, 0, 0xffff, 0 },
	{ "VPD data", AT_VPD + 4, 4, D | F, 0xffffffff, 0, 0xffffffff, 0 },
	{ "no capability", 0xf0, 4, D | F, 0xffffffff, 0, 0xffffffff, 0 },
	{ "AER head", AT_AER, 4, V, 0, 0, 0, 0 },
	{ "AER status", AT_AER + 4, 4, D | F, 0xffffffff, 0, 0xffffffff, 0 },
	{ "AER mask", AT_AER + 8, 4, D | W | F, 0xffffffff, 0xffffffff, 0xffffffff, 0 },
	{ "AER severity", AT_AER + 12, 4, D | W | F, 0xffffffff, 0xffffffff, 0xffffffff, 0 },
	{ "AER cor. mask", AT_AER + 20, 4, D | W | F, 0xffffffff, 0xffffffff, 0xffffffff, 0 },
	{ "AER log", AT_AER + 28, 4, D, 0xffffffff, 0, 0, 0 },
	{ "serial number", AT_SERIAL + 4, 4, D, 0xffffffff, 0, 0, 0 },
	{ "DVSEC head", AT_DVSEC, 4, V, 0, 0, 0, 0 },
	{ "DVSEC body", AT_DVSEC + 8, 4, D | F, 0xffffffff, 0, 0xffffffff, 0 },
	{ "ARI body", AT_ARI + 4, 4, D, 0xffffffff, 0, 0, 0 },
};

static uint32_t raw(const struct vf_config *config, const struct row *row)
{
	uint32_t value = 0;

	for (uint32_t i = 0; i < row->len; i++)
		value |= (uint32_t) config->state.bytes[row->offset + i] << (8 * i);
	return value;
}

static void every_register_follows_its_rule(void **state)
{
	(void) state;
	for (size_t i = 0; i < VF_ARRAY_COUNT(rows); i++) {
		const struct row *row = &rows[i];
		struct vf_config *config = new_view();
		struct vf_config_effects e;
		uint32_t before = raw(config, row), classes = 0, device;

		for (uint32_t k = 0; k < row->len; k++)
			classes |= vf_config_class_at(config, row->offset + k);
		if (classes != row->classes)
			fail_msg("%s: classes 0x%x, not 0x%x", row->name, classes, row->classes);
		assert_int_equal(vf_config_read(config, row->offset, row->len, &device),
				 before & ~row->device);
		if (device != row->device)
			fail_msg("%s: 0x%x from the device", row->name, device);

		vf_config_write(config, row->offset, row->len, 0xffffffff, &e);
		if (raw(config, row) != (before | row->writable))
			fail_msg("%s: ones give 0x%x", row->name, raw(config, row));
		assert_int_equal(e.write_count, row->sent ? 1 : 0);
		assert_int_equal(!!(e.flags & VF_CONFIG_EFFECT_DEVICE), row->sent != 0);
		if (row->sent && (e.writes[0].offset != row->offset ||
				  e.writes[0].len != row->len || e.writes[0].value != row->sent ||
				  e.writes[0].keep != row->keep))
			fail_msg("%s: sent 0x%x keep 0x%x", row->name, e.writes[0].value,
				 e.writes[0].keep);
		vf_config_write(config, row->offset, row->len, 0, &e);
		if (raw(config, row) != (before & ~row->writable))
			fail_msg("%s: zeros give 0x%x", row->name, raw(config, row));
		vf_config_free(config);
	}
}

static void odd_accesses_do_nothing(void **state)
{
	static const struct { uint32_t offset, len; } odd[] = {
		{ 4096, 4 }, { 0xfffffffc, 4 }, { 5, 2 }, { 2, 4 }, { 4, 3 }, { 4, 0 }, { 0, 8 },
	};
	struct vf_config *config = *state;
	struct vf_config_effects e;
	uint32_t device;

	for (size_t i = 0; i < VF_ARRAY_COUNT(odd); i++) {
		assert_int_equal(vf_config_read(config, odd[i].offset, odd[i].len, &device),
				 0xffffffff);
		assert_int_equal(device, 0);
		vf_config_write(config, odd[i].offset, odd[i].len, 0xffffffff, &e);
		assert_int_equal(e.flags, 0);
	}
	assert_int_equal(vf_config_class_at(config, 4096), 0);
	assert_memory_equal(config->state.bytes, config->reset_bytes, 4096);
}

/* ---- effects ---- */

static struct vf_config_effects put(struct vf_config *config, uint32_t offset, uint32_t len,
				    uint32_t value)
{
	struct vf_config_effects e;

	vf_config_write(config, offset, len, value, &e);
	return e;
}

static uint32_t effect(struct vf_config *config, uint32_t offset, uint32_t len, uint32_t value)
{
	return put(config, offset, len, value).flags & ~VF_CONFIG_EFFECT_DEVICE;
}

static void a_new_view_is_off(void **state)
{
	struct vf_config *config;
	struct image im;
	uint64_t at;

	(void) state;
	image_full(&im);
	vf_put_u16(im.bytes + VF_PCI_COMMAND, 0x0507);
	im.bytes[VF_PCI_HEADER_TYPE] = VF_PCI_HEADER_MULTIFUNCTION;
	vf_put_u32(im.bytes + VF_PCI_BAR0, 0xfe00000c);
	im.bytes[AT_PM + 4] |= 3;
	im.bytes[AT_MSI + 2] |= 0x31;
	vf_put_u32(im.bytes + AT_MSI + 4, 0xfee00000);
	im.bytes[AT_MSIX + 3] |= 0xc0;
	assert_int_equal(vf_config_new(im.bytes, im.size, im.regions, &config, NULL), 0);
	assert_int_equal(config->state.bytes[4] | config->state.bytes[5], 0);
	assert_int_equal(config->state.bytes[VF_PCI_HEADER_TYPE], 0);
	assert_int_equal(vf_get_u32(config->state.bytes + VF_PCI_BAR0), 0x0000000c);
	assert_int_equal(vf_config_power_state(&config->state), 0);
	assert_int_equal(vf_config_interrupts_of(&config->state).mode, VF_CONFIG_INTERRUPT_INTX);
	assert_int_equal(vf_get_u32(config->state.bytes + AT_MSI + 4), 0);
	assert_int_equal(vf_get_u16(config->state.bytes + AT_PM + 2), 0x0203);
	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++)
		assert_false(vf_config_bar_at(&config->state, i, &at));
	vf_config_free(config);
	im.size = 100;
	assert_int_equal(vf_config_new(im.bytes, im.size, im.regions, &config, NULL), -EINVAL);
}

static void bars_are_sized_and_placed(void **state)
{
	struct vf_config *config = *state;
	struct vf_config_effects e;
	uint32_t device;
	uint64_t at;

	/* Placed while not decoded: nothing for the VMM to do yet. */
	assert_int_equal(effect(config, 0x18, 4, 0xffffffff), 0);
	assert_int_equal(vf_config_read(config, 0x18, 4, &device), 0xffffc000);
	assert_int_equal(effect(config, 0x18, 4, 0xe0000000), 0);
	assert_int_equal(effect(config, 0x10, 4, 0x00000000), 0);
	assert_int_equal(effect(config, 0x14, 4, 0x00000080), 0);
	assert_int_equal(effect(config, 0x1c, 4, 0x0000c000), 0);
	assert_false(vf_config_bar_at(&config->state, 2, &at));
	assert_true(at == 0xe0000000);

	e = put(config, 4, 2, VF_PCI_COMMAND_MEM | VF_PCI_COMMAND_BUS_MASTER);
	assert_int_equal(e.flags, VF_CONFIG_EFFECT_MEM | VF_CONFIG_EFFECT_BUS_MASTER |
			 VF_CONFIG_EFFECT_BARS | VF_CONFIG_EFFECT_DEVICE);
	assert_int_equal(e.bars, 1 << 0 | 1 << 2);	/* 4 is not placed, 3 is I/O */
	assert_true(vf_config_bar_at(&config->state, 0, &at) && at == 0x8000000000);
	e = put(config, 4, 2, 7);
	assert_int_equal(e.flags, VF_CONFIG_EFFECT_IO | VF_CONFIG_EFFECT_BARS |
			 VF_CONFIG_EFFECT_DEVICE);
	assert_int_equal(e.bars, 1 << 3);

	/* Moved while decoded; the high half alone moves it too. */
	e = put(config, 0x14, 4, 0x90);
	assert_int_equal(e.flags, VF_CONFIG_EFFECT_BARS | VF_CONFIG_EFFECT_DEVICE);
	assert_int_equal(e.bars, 1);
	e = put(config, 0x18, 4, 0xffffffff);		/* sized while decoded: gone meanwhile */
	assert_int_equal(e.bars, 1 << 2);
	assert_false(vf_config_bar_at(&config->state, 2, &at));
	e = put(config, 0x1c, 4, 0x10000);		/* no such port */
	assert_int_equal(e.bars, 1 << 3);
	assert_false(vf_config_bar_at(&config->state, 3, &at));
	assert_false(vf_config_bar_at(&config->state, 1, &at));
	assert_false(vf_config_bar_at(&config->state, 7, &at));

	/* The ROM has an enable bit of its own. */
	assert_int_equal(effect(config, 0x30, 4, 0xd0000000), 0);
	e = put(config, 0x30, 4, 0xd0000001);
	assert_int_equal(e.bars, 1 << VF_CONFIG_ROM);
	assert_true(vf_config_bar_at(&config->state, VF_CONFIG_ROM, &at) && at == 0xd0000000);
	/* A byte is enough. */
	e = put(config, 4, 1, 5);
	assert_int_equal(e.flags & ~VF_CONFIG_EFFECT_DEVICE,
			 VF_CONFIG_EFFECT_MEM | VF_CONFIG_EFFECT_BARS);
	assert_int_equal(e.bars, 1 << 0 | 1 << VF_CONFIG_ROM);
	assert_int_equal(e.writes[0].len, 1);
}

static void intx_disable_is_an_effect_of_its_own(void **state)
{
	struct vf_config *config = *state;

	assert_int_equal(effect(config, 4, 2, 0x0400), VF_CONFIG_EFFECT_INTX_DISABLE);
	assert_int_equal(effect(config, 4, 2, 0x0400), 0);
	assert_int_equal(effect(config, 5, 1, 0), VF_CONFIG_EFFECT_INTX_DISABLE);
}

static void wide_write_has_each_effect(void **state)
{
	struct vf_config *config = *state;
	struct vf_config_effects e;

	/* COMMAND and STATUS: the second is read only and not sent. */
	e = put(config, 4, 4, 0xffff0004);
	assert_int_equal(e.flags, VF_CONFIG_EFFECT_BUS_MASTER | VF_CONFIG_EFFECT_DEVICE);
	assert_int_equal(e.write_count, 1);
	assert_int_equal(e.writes[0].len, 2);
	/* cache line, latency, (header type), BIST */
	e = put(config, 0x0c, 4, 0x00002010);
	assert_int_equal(e.write_count, 2);
	assert_int_equal(e.writes[0].value, 0x2010);
	assert_int_equal(e.writes[1].offset, 0x0f);
	/* PMCSR: of four bytes the device sees the one with the state */
	e = put(config, AT_PM + 4, 4, 0xffffffff);
	assert_int_equal(e.flags, VF_CONFIG_EFFECT_POWER | VF_CONFIG_EFFECT_DEVICE);
	assert_int_equal(e.write_count, 1);
	assert_int_equal(e.writes[0].len, 1);
	assert_int_equal(e.writes[0].value, 3);
}

static void power_states(void **state)
{
	struct vf_config *config = *state;
	struct vf_config_effects e;
	uint64_t at;

	(void) put(config, 0x18, 4, 0xe0000000);
	(void) put(config, 4, 2, VF_PCI_COMMAND_MEM);
	e = put(config, AT_PM + 4, 2, 3);
	assert_int_equal(e.flags & ~VF_CONFIG_EFFECT_DEVICE,
			 VF_CONFIG_EFFECT_POWER | VF_CONFIG_EFFECT_BARS);
	assert_int_equal(e.power_from, 0);
	assert_false(vf_config_bar_at(&config->state, 2, &at));
	e = put(config, AT_PM + 4, 2, 2);		/* no D2: stays */
	assert_int_equal(e.flags & ~VF_CONFIG_EFFECT_DEVICE, 0);
	assert_int_equal(vf_config_power_state(&config->state), 3);
	assert_int_equal(e.writes[0].value, 3);
	e = put(config, AT_PM + 4, 2, 1);
	assert_int_equal(e.power_from, 3);
	assert_int_equal(vf_config_power_state(&config->state), 1);
	(void) put(config, AT_PM + 4, 2, 0);
	assert_true(vf_config_bar_at(&config->state, 2, &at));
}

static void msi_effects(void **state)
{
	struct vf_config *config = *state;
	struct vf_config_vector v;

	assert_int_equal(effect(config, AT_MSI + 4, 4, 0xfee01003), 0);
	assert_int_equal(effect(config, AT_MSI + 8, 4, 1), 0);
	assert_int_equal(effect(config, AT_MSI + 12, 2, 0x4047), 0);
	assert_int_equal(effect(config, AT_MSI + 16, 4, 0x2), VF_CONFIG_EFFECT_MSI_MASK);
	/* 32 asked for, 8 to be had */
	assert_int_equal(effect(config, AT_MSI + 2, 2, 5 << 4 | 1), VF_CONFIG_EFFECT_MSI_ENABLE);
	assert_int_equal(vf_config_interrupts_of(&config->state).mode, VF_CONFIG_INTERRUPT_MSI);
	assert_int_equal(vf_config_interrupts_of(&config->state).count, 8);
	assert_true(vf_config_vector_at(&config->state, 1, &v));
	assert_true(v.address == 0x1fee01000);
	assert_int_equal(v.data, 0x4041);
	assert_true(v.masked && !v.pending);
	assert_true(vf_config_vector_at(&config->state, 7, &v));
	assert_int_equal(v.data, 0x4047);
	assert_false(v.masked);
	assert_false(vf_config_vector_at(&config->state, 8, &v));

	assert_int_equal(effect(config, AT_MSI + 12, 2, 0x5000), VF_CONFIG_EFFECT_MSI_MESSAGE);
	assert_int_equal(effect(config, AT_MSI + 8, 4, 2), VF_CONFIG_EFFECT_MSI_MESSAGE);
	assert_int_equal(effect(config, AT_MSI + 2, 2, 1 << 4 | 1), VF_CONFIG_EFFECT_MSI_MESSAGE);
	assert_int_equal(effect(config, AT_MSI + 16, 4, 0), VF_CONFIG_EFFECT_MSI_MASK);
	assert_int_equal(effect(config, AT_MSI + 2, 2, 0), VF_CONFIG_EFFECT_MSI_ENABLE);
	assert_int_equal(vf_config_interrupts_of(&config->state).mode, VF_CONFIG_INTERRUPT_INTX);
	assert_false(vf_config_vector_at(&config->state, 0, &v));
}

static void msix_effects(void **state)
{
	struct vf_config *config = *state;
	struct vf_config_effects e;
	struct vf_config_vector v;
	uint32_t vector;

	e = put(config, AT_MSIX + 2, 2, 0xc000);
	assert_int_equal(e.flags & ~VF_CONFIG_EFFECT_DEVICE, VF_CONFIG_EFFECT_MSIX_CONTROL);
	assert_int_equal(e.msix, 0);			/* on, but masked as a whole */
	(void) vf_msix_table_write(&config->state.msix, 69 * 16, 8, 0xfee00000, &vector);
	(void) vf_msix_table_write(&config->state.msix, 69 * 16 + 8, 8, 0x31, &vector);
	assert_false(vf_msix_raise(&config->state.msix, 69));
	assert_int_equal(vf_config_interrupts_of(&config->state).count, MSIX_VECTORS);
	assert_true(vf_config_vector_at(&config->state, 69, &v));
	assert_true(v.masked && v.pending && v.data == 0x31 && v.address == 0xfee00000);
	e = put(config, AT_MSIX, 4, 0x80000000);	/* through the whole dword */
	assert_int_equal(e.msix, VF_MSIX_UNMASKED | VF_MSIX_SEND_PENDING);
	assert_true(vf_config_vector_at(&config->state, 69, &v));
	assert_false(v.masked);
	assert_int_equal(e.write_count, 1);
	assert_int_equal(e.writes[0].offset, AT_MSIX + 2);
	e = put(config, AT_MSIX + 3, 1, 0);
	assert_int_equal(e.msix, VF_MSIX_MASKED);
	assert_int_equal(e.flags & ~VF_CONFIG_EFFECT_DEVICE, VF_CONFIG_EFFECT_MSIX_CONTROL);
}

/* ---- FLR ---- */

static void flr_is_an_effect_only(void **state)
{
	struct vf_config *config = *state;
	struct vf_config_effects e;
	uint8_t before[VF_CONFIG_BYTES_MAX];

	memcpy(before, config->state.bytes, sizeof(before));
	e = put(config, AT_PCIE + 8, 2, 0xa810);
	assert_int_equal(e.flags, VF_CONFIG_EFFECT_FLR);
	assert_int_equal(e.write_count, 0);
	e = put(config, AT_PCIE + 8, 4, 0x0000ffff);
	assert_int_equal(e.flags, VF_CONFIG_EFFECT_FLR);
	e = put(config, AT_PCIE + 9, 1, 0x80);
	assert_int_equal(e.flags, VF_CONFIG_EFFECT_FLR);
	e = put(config, AT_AF + 4, 1, 1);
	assert_int_equal(e.flags, VF_CONFIG_EFFECT_FLR);
	e = put(config, AT_AF + 4, 1, 0xfe);
	assert_int_equal(e.flags, 0);
	assert_memory_equal(before, config->state.bytes, sizeof(before));
	assert_true(vf_config_class_at(config, AT_AF + 4) & R);
	assert_true(vf_config_class_at(config, AT_PCIE + 9) & R);
	/* Without the bit a write is a write. */
	e = put(config, AT_PCIE + 8, 2, 0x7fff);
	assert_int_equal(e.flags, VF_CONFIG_EFFECT_DEVICE);
	assert_int_equal(e.writes[0].value, 0x7dff);	/* phantom functions are read only */
	assert_int_equal(e.writes[0].keep, 0);
}

static void flr_without_the_capability_is_nothing(void **state)
{
	struct vf_config_effects e;
	struct vf_config *config;
	struct image im;

	(void) state;
	image_full(&im);
	im.bytes[AT_PCIE + 7] = 0;
	im.bytes[AT_AF + 3] = 1;
	assert_int_equal(vf_config_new(im.bytes, im.size, im.regions, &config, NULL), 0);
	e = put(config, AT_PCIE + 8, 2, 0xa810);
	assert_int_equal(e.flags, VF_CONFIG_EFFECT_DEVICE);
	assert_int_equal(e.writes[0].value, 0x2810);
	assert_int_equal(put(config, AT_AF + 4, 1, 1).flags, 0);
	vf_config_free(config);
}

static void reset_takes_everything_down(void **state)
{
	struct vf_config *config = *state;
	struct vf_config_effects e;
	uint32_t vector;

	(void) put(config, 0x18, 4, 0xe0000000);
	(void) put(config, 4, 2, 0x0406);
	(void) put(config, AT_MSIX + 2, 2, 0x8000);
	(void) put(config, 0x3c, 1, 11);
	(void) vf_msix_table_write(&config->state.msix, 0, 8, 0xfee00000, &vector);
	(void) vf_msix_raise(&config->state.msix, 3);
	vf_config_set_intx_level(config, true);
	vf_config_reset(config, &e);
	assert_int_equal(e.flags, VF_CONFIG_EFFECT_MEM | VF_CONFIG_EFFECT_BUS_MASTER |
			 VF_CONFIG_EFFECT_INTX_DISABLE | VF_CONFIG_EFFECT_BARS |
			 VF_CONFIG_EFFECT_MSIX_CONTROL);
	assert_int_equal(e.bars, 1 << 2);
	assert_int_equal(e.msix, VF_MSIX_MASKED);
	assert_memory_equal(config->state.bytes, config->reset_bytes, 4096);
	assert_true(vf_msix_table_read(&config->state.msix, 0, 8) == 0);
	assert_false(vf_msix_is_pending(&config->state.msix, 3));
	assert_false(config->state.intx_level);
	vf_config_reset(config, &e);
	assert_int_equal(e.flags, 0);
}

/* ---- device bits, and loading ---- */

static void refresh_takes_device_bits_only(void **state)
{
	struct vf_config *config = *state;
	uint8_t image[VF_CONFIG_BYTES_MAX];
	struct vf_config_vector v;

	(void) put(config, 0x18, 4, 0xe0000000);
	(void) put(config, AT_MSI + 2, 2, 3 << 4 | 1);
	memcpy(image, config->reset_bytes, sizeof(image));
	vf_put_u32(image + 0x18, 0x12340000);
	vf_put_u32(image + AT_MSI + 20, 0x4);
	vf_put_u16(image + 4, 0x0407);
	vf_put_u16(image + 6, 0xffff);
	assert_int_equal(vf_config_refresh(config, image, 256), -EINVAL);
	assert_int_equal(vf_config_refresh(config, image, 4096), 0);
	assert_int_equal(vf_get_u32(config->state.bytes + 0x18), 0xe0000000);
	assert_int_equal(vf_get_u16(config->state.bytes + 4), 4);
	assert_int_equal(vf_get_u16(config->state.bytes + 6), 0xffff);
	assert_true(vf_config_vector_at(&config->state, 2, &v) && v.pending);
	memset(image, 0xff, sizeof(image));
	assert_int_equal(vf_config_refresh(config, image, 4096), -ENODEV);
	assert_int_equal(vf_get_u32(config->state.bytes + AT_MSI + 16), 0);
}

static void load_takes_the_guests_values(void **state)
{
	struct vf_config *config = *state, *to = new_view();
	uint32_t vector;

	(void) put(config, 0x18, 4, 0xe0000000);
	(void) put(config, 4, 2, 0x0406);
	(void) put(config, AT_MSIX + 2, 2, 0xc000);
	(void) vf_msix_table_write(&config->state.msix, 5 * 16 + 8, 8, 0x31, &vector);
	(void) vf_msix_raise(&config->state.msix, 5);
	vf_config_set_intx_level(config, true);
	config->state.bytes[0] ^= 1;		/* what is no guest's to write does not come over */
	assert_int_equal(vf_config_load(to, &config->state, NULL), 0);
	assert_int_equal(to->state.bytes[0], to->reset_bytes[0]);
	config->state.bytes[0] ^= 1;
	assert_memory_equal(to->state.bytes, config->state.bytes, 4096);
	assert_true(to->state.intx_level);
	assert_true(to->state.msix.enabled && to->state.msix.function_masked);
	assert_true(vf_msix_is_pending(&to->state.msix, 5));
	assert_true(vf_msix_table_read(&to->state.msix, 5 * 16 + 8, 8) == 0x31);
	config->state.layout.device ^= 1;
	assert_int_equal(vf_config_load(to, &config->state, NULL), -EINVAL);
	vf_config_free(to);
}

/* Whatever a guest writes, nothing it makes us send resets the device. */
static void random_guests_never_send_flr(void **state)
{
	uint64_t seed = 7;

	(void) state;
	for (int i = 0; i < 300; i++) {
		struct vf_config *config;
		struct image im;

		image_random(&im, &seed);
		assert_int_equal(vf_config_new(im.bytes, im.size, im.regions, &config, NULL), 0);
		for (int n = 0; n < 300; n++) {
			uint32_t len = 1u << random_below(&seed, 3), sum = 0;
			uint32_t at = random_below(&seed, 256) & ~(len - 1);
			struct vf_config_effects e = put(config, at, len, random_next(&seed));

			if (e.flags & VF_CONFIG_EFFECT_FLR)
				assert_int_equal(e.flags, VF_CONFIG_EFFECT_FLR);
			for (uint32_t k = 0; k < e.write_count; k++) {
				const struct vf_config_write *w = &e.writes[k];

				assert_true(w->offset >= at && w->offset + w->len <= at + len);
				assert_int_equal(w->offset % w->len, 0);
				assert_int_equal(w->value & w->keep, 0);
				sum += w->len;
				for (uint32_t b = 0; b < w->len; b++)
					assert_int_equal((w->value | w->keep) >> (8 * b) &
							 config->flr[w->offset + b], 0);
			}
			assert_true(sum <= len);
		}
		vf_config_free(config);
	}
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(every_register_follows_its_rule),
		CASE(odd_accesses_do_nothing),
		CASE(a_new_view_is_off),
		CASE(bars_are_sized_and_placed),
		CASE(intx_disable_is_an_effect_of_its_own),
		CASE(wide_write_has_each_effect),
		CASE(power_states),
		CASE(msi_effects),
		CASE(msix_effects),
		CASE(flr_is_an_effect_only),
		CASE(flr_without_the_capability_is_nothing),
		CASE(reset_takes_everything_down),
		CASE(refresh_takes_device_bits_only),
		CASE(load_takes_the_guests_values),
		CASE(random_guests_never_send_flr),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
