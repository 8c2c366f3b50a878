/* SPDX-License-Identifier: MIT */
/* config: layouts parsed, refused, sent, and compared. */
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

static struct vf_config_layout parsed(const struct image *im)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_config_layout l;
	int ret = vf_config_layout_parse(im->bytes, im->size, im->regions, &l, &err);

	if (ret)
		fail_msg("%s", err.message);
	return l;
}

static void everything_is_found(void **state)
{
	struct vf_config_layout l;
	struct image im;

	(void) state;
	image_full(&im);
	im.bytes[VF_PCI_HEADER_TYPE] = VF_PCI_HEADER_MULTIFUNCTION;
	l = parsed(&im);
	assert_int_equal(l.vendor, 0x1d1d);
	assert_int_equal(l.device, 0x2e2e);
	assert_int_equal(l.subsystem_vendor, 0x1d1e);
	assert_int_equal(l.subsystem, 7);
	assert_int_equal(l.class_code, 0x120000);
	assert_int_equal(l.revision, 3);
	assert_int_equal(l.header_type, 0);
	assert_int_equal(l.interrupt_pin, 1);
	assert_true(l.bars[0].size == 16u << 20);
	assert_int_equal(l.bars[0].flags, VF_CONFIG_BAR_64 | VF_CONFIG_BAR_PREFETCH);
	assert_true(l.bars[1].size == 0);
	assert_int_equal(l.bars[3].flags, VF_CONFIG_BAR_IO);
	assert_true(l.bars[4].size == 0x4000 && l.bars[4].region_size == 0x3000);
	assert_true(l.bars[VF_CONFIG_ROM].size == 65536);
	assert_int_equal(l.cap_count, 11);
	assert_int_equal(l.caps[0].offset, AT_PM);
	assert_int_equal(l.caps[5].length, 16);		/* vendor specific: says so itself */
	assert_int_equal(l.caps[7].length, AT_SERIAL - AT_AER);	/* up to the next */
	assert_int_equal(l.caps[9].length, 0x20);		/* DVSEC: says so itself */
	assert_int_equal(l.caps[10].length, 4096 - AT_ARI);
	assert_int_equal(l.pm.offset, AT_PM);
	assert_int_equal(l.pm.caps, 0x0203);			/* PME is not the guest's */
	assert_true(l.pm.no_soft_reset);
	assert_int_equal(l.msi.offset, AT_MSI);
	assert_int_equal(l.msi.count, 8);
	assert_true(l.msi.is_64 && l.msi.maskable);
	assert_int_equal(l.msix.count, MSIX_VECTORS);
	assert_int_equal(l.msix.table_bar, 4);
	assert_int_equal(l.msix.pba_offset, 0x2000);
	assert_int_equal(l.pcie.devcap2, 0x1f);
	assert_int_equal(l.af.caps, 3);
	assert_int_equal(l.aer_offset, AT_AER);
	assert_int_equal(vf_config_find_cap(&l, true, 0x0e), 10);
	assert_int_equal(vf_config_find_cap(&l, false, 0x0e), -ENOENT);
	assert_string_equal(vf_config_cap_name(true, 0x23), "DVSEC");
	assert_string_equal(vf_config_cap_name(false, 0xee), "unknown");
}

/* ---- refused ---- */

static void loop_standard(struct image *im) { im->bytes[AT_VPD + 1] = AT_MSI; }
static void loop_self(struct image *im) { im->bytes[AT_VPD + 1] = AT_VPD; }
static void pointer_into_header(struct image *im) { im->bytes[AT_VPD + 1] = 0x10; }
static void pointer_to_ones(struct image *im)
{
	im->bytes[AT_VPD + 1] = 0xd0;
	im->bytes[0xd0] = 0xff;
}
static void loop_extended(struct image *im) { image_ext(im, AT_ARI, 0x0e, 1, AT_SERIAL); }
static void ext_below(struct image *im) { image_ext(im, AT_ARI, 0x0e, 1, 0x40); }
static void ext_to_ones(struct image *im)
{
	image_ext(im, AT_ARI, 0x0e, 1, 0xf00);
	memset(im->bytes + 0xf00, 0xff, 4);
}
static void cap_over_cap(struct image *im) { im->bytes[AT_AF + 1] = AT_AF + 4; }
static void cap_over_end(struct image *im)
{
	im->bytes[AT_VPD + 1] = 0xfc;
	image_cap(im, 0xfc, VF_PCI_CAP_PM, 0);
}
static void vendor_too_long(struct image *im) { im->bytes[AT_VENDOR + 2] = 17; }
static void dvsec_too_long(struct image *im) { vf_put_u32(im->bytes + AT_DVSEC + 4, 0x21u << 20); }
static void aer_too_short(struct image *im)
{
	image_ext(im, AT_AER, VF_PCI_EXT_AER, 2, AT_AER + 0x20);
	image_ext(im, AT_AER + 0x20, 3, 1, 0);
}
static void no_device(struct image *im) { vf_put_u16(im->bytes, 0xffff); }
static void odd_size(struct image *im) { im->size = 4092; }
static void bar_reserved(struct image *im) { im->bytes[VF_PCI_BAR0 + 8] = 6; }
static void bar_last_64(struct image *im) { image_region(im, 5, 4096, VF_PCI_BAR_TYPE_64); }
static void bar_in_upper_half(struct image *im) { image_region(im, 1, 4096, 0); }
static void bar_too_large(struct image *im) { im->regions[2].size = (2ull << 30) + 1; }
static void bar_64_too_large(struct image *im) { im->regions[0].size = 1ull << 63; }
static void region_flags_unknown(struct image *im) { im->regions[2].flags = 8; }
static void pin_unknown(struct image *im) { im->bytes[VF_PCI_INT_PIN] = 5; }
static void msi_too_many(struct image *im) { im->bytes[AT_MSI + 2] = 6 << 1; }
static void msix_bar_missing(struct image *im) { im->bytes[AT_MSIX + 4] = 5; }
static void msix_bar_io(struct image *im) { im->bytes[AT_MSIX + 4] = 3; }
static void msix_bar_7(struct image *im) { im->bytes[AT_MSIX + 8] = 7; }
static void msix_outside(struct image *im) { vf_put_u32(im->bytes + AT_MSIX + 4, 0x3c00 | 4); }
static void msix_pba_outside(struct image *im) { vf_put_u32(im->bytes + AT_MSIX + 8, 0x4000 | 4); }
static void msix_overlap(struct image *im) { vf_put_u32(im->bytes + AT_MSIX + 8, 0x0458 | 4); }

static void nonsense_is_refused(void **state)
{
	static void (*const spoil[])(struct image *) = {
		loop_standard, loop_self, pointer_into_header, pointer_to_ones, loop_extended,
		ext_below, ext_to_ones, cap_over_cap, cap_over_end, vendor_too_long,
		dvsec_too_long, aer_too_short, no_device, odd_size, bar_reserved, bar_last_64,
		bar_in_upper_half, bar_too_large, bar_64_too_large, region_flags_unknown,
		pin_unknown, msi_too_many, msix_bar_missing, msix_bar_io, msix_bar_7, msix_outside,
		msix_pba_outside, msix_overlap,
	};

	(void) state;
	for (size_t i = 0; i < VF_ARRAY_COUNT(spoil); i++) {
		struct vferry_error err = VFERRY_ERROR_INIT;
		struct vf_config_layout l = { .size = 77 };
		struct image im;

		image_full(&im);
		spoil[i](&im);
		if (vf_config_layout_parse(im.bytes, im.size, im.regions, &l, &err) != -EINVAL)
			fail_msg("case %zu was not refused", i);
		assert_string_equal(err.id, "config-bad");
		assert_int_equal(l.size, 77);
	}
}

static void bridges_are_not_supported(void **state)
{
	struct vf_config_layout l;
	struct image im;

	(void) state;
	image_full(&im);
	im.bytes[VF_PCI_HEADER_TYPE] = 1;
	assert_int_equal(vf_config_layout_parse(im.bytes, im.size, im.regions, &l, NULL),
			 -EOPNOTSUPP);
}

static void empty_lists_are_fine(void **state)
{
	struct vf_config_layout l;
	struct image im;

	(void) state;
	image_full(&im);
	vf_put_u16(im.bytes + VF_PCI_STATUS, 0);
	vf_put_u32(im.bytes + 0x100, 0);
	l = parsed(&im);
	assert_int_equal(l.cap_count, 0);
	memset(im.bytes + 0x100, 0xff, 4);	/* a bus without extended space */
	l = parsed(&im);
	assert_int_equal(l.cap_count, 0);
	image_ext(&im, 0x100, 0, 0, AT_SERIAL);	/* the first one hidden */
	image_ext(&im, AT_SERIAL, 3, 1, 0);
	l = parsed(&im);
	assert_int_equal(l.cap_count, 2);
}

/* ---- wire ---- */

/* A layout has padding, so it is compared by what it encodes to. */
static void assert_same(const struct vf_config_layout *l, const struct vf_writer *encoded)
{
	struct vf_writer w;

	vf_writer_init(&w, VF_CONFIG_LAYOUT_BYTES_MAX);
	vf_config_layout_encode(l, &w);
	assert_int_equal(w.size, encoded->size);
	assert_memory_equal(w.data, encoded->data, w.size);
	vf_writer_done(&w);
}

static void wire_round_trip(void **state)
{
	struct vf_config_layout l, back;
	struct vf_writer w;
	struct vf_reader r;
	struct image im;
	uint64_t seed = 1;

	(void) state;
	vf_writer_init(&w, VF_CONFIG_LAYOUT_BYTES_MAX);
	for (int i = 0; i < 500; i++) {
		if (i)
			image_random(&im, &seed);
		else
			image_full(&im);
		l = parsed(&im);
		vf_writer_reset(&w);
		vf_config_layout_encode(&l, &w);
		assert_false(w.bad);
		r = vf_reader_of(w.data, w.size);
		assert_int_equal(vf_config_layout_decode(&r, &back, NULL), 0);
		assert_same(&back, &w);
		/* Every cut is noticed, and so is a byte too many. */
		for (size_t n = 0; i < 3 && n < w.size; n++) {
			r = vf_reader_of(w.data, n);
			assert_int_equal(vf_config_layout_decode(&r, &back, NULL), -EINVAL);
		}
	}
	vf_write_u8(&w, 0);
	r = vf_reader_of(w.data, w.size);
	assert_int_equal(vf_config_layout_decode(&r, &back, NULL), -EINVAL);
	vf_put_u16(w.data, 2);
	r = vf_reader_of(w.data, w.size);
	assert_int_equal(vf_config_layout_decode(&r, &back, NULL), -EOPNOTSUPP);
	vf_writer_done(&w);
}

static void largest_layout_fits(void **state)
{
	struct vf_config_layout l, back;
	struct vf_writer w;
	struct vf_reader r;
	struct image im;

	(void) state;
	image_full(&im);
	im.bytes[AT_VPD + 1] = 0xc8;
	for (uint32_t at = 0xc8; at < 0xfc; at += 4)
		image_cap(&im, at, 0x15, (uint8_t) (at + 4 < 0xfc ? at + 4 : 0));
	for (uint32_t at = AT_ARI, n = 0; n < VF_CONFIG_CAPS_MAX - 11 - 13 + 1; n++, at += 4)
		image_ext(&im, at, 0x0e, 1, n < VF_CONFIG_CAPS_MAX - 11 - 13 ? at + 4 : 0);
	l = parsed(&im);
	assert_int_equal(l.cap_count, VF_CONFIG_CAPS_MAX);
	vf_writer_init(&w, VF_CONFIG_LAYOUT_BYTES_MAX);
	vf_config_layout_encode(&l, &w);
	assert_false(w.bad);
	r = vf_reader_of(w.data, w.size);
	assert_int_equal(vf_config_layout_decode(&r, &back, NULL), 0);
	vf_writer_done(&w);
	image_ext(&im, AT_ARI + 4 * (VF_CONFIG_CAPS_MAX - 24), 0x0e, 1, 0xf00);
	image_ext(&im, 0xf00, 0x0e, 1, 0);
	assert_int_equal(vf_config_layout_parse(im.bytes, im.size, im.regions, &l, NULL), -EINVAL);
}

/* ---- comparison ---- */

static void d_vendor(struct vf_config_layout *l) { l->vendor ^= 1; }
static void d_device(struct vf_config_layout *l) { l->device ^= 1; }
static void d_subsys_vendor(struct vf_config_layout *l) { l->subsystem_vendor ^= 1; }
static void d_subsys(struct vf_config_layout *l) { l->subsystem ^= 1; }
static void d_class(struct vf_config_layout *l) { l->class_code ^= 0x100; }
static void d_revision(struct vf_config_layout *l) { l->revision ^= 1; }
static void d_header(struct vf_config_layout *l) { l->header_type = 1; }
static void d_size(struct vf_config_layout *l) { l->size = 256; }
static void d_pin(struct vf_config_layout *l) { l->interrupt_pin = 2; }
static void d_bar_size(struct vf_config_layout *l) { l->bars[0].size *= 2; }
static void d_bar_gone(struct vf_config_layout *l) { memset(&l->bars[2], 0, sizeof(l->bars[2])); }
static void d_rom(struct vf_config_layout *l) { l->bars[VF_CONFIG_ROM].size = 0; }
static void d_bar_kind(struct vf_config_layout *l) { l->bars[0].flags ^= VF_CONFIG_BAR_PREFETCH; }
static void d_bar_io(struct vf_config_layout *l) { l->bars[3].flags = 0; }
static void d_bar_region(struct vf_config_layout *l) { l->bars[4].region_size = 0x3800; }
static void d_bar_access(struct vf_config_layout *l) { l->bars[0].region_flags = 1; }
static void d_bar_mmap(struct vf_config_layout *l) { l->bars[0].region_flags |= 4; }
static void d_cap_missing(struct vf_config_layout *l) { l->cap_count--; }
static void d_cap_extra(struct vf_config_layout *l)
{
	l->caps[l->cap_count++] = (struct vf_config_cap) { .id = 0xf, .offset = 0x800,
							   .extended = true, .length = 8 };
}
static void d_cap_offset(struct vf_config_layout *l) { l->caps[10].offset += 4; }
static void d_cap_version(struct vf_config_layout *l) { l->caps[7].version++; }
static void d_cap_length(struct vf_config_layout *l) { l->caps[5].length--; }
static void d_cap_order(struct vf_config_layout *l)
{
	struct vf_config_cap cap = l->caps[0];

	l->caps[0] = l->caps[1];
	l->caps[1] = cap;
}
static void d_pm(struct vf_config_layout *l) { l->pm.caps ^= VF_PCI_PM_CAPS_D2; }
static void d_pm_reset(struct vf_config_layout *l) { l->pm.no_soft_reset = false; }
static void d_msi_vectors(struct vf_config_layout *l) { l->msi.count = 16; }
static void d_msi_64(struct vf_config_layout *l) { l->msi.is_64 = false; }
static void d_msi_mask(struct vf_config_layout *l) { l->msi.maskable = false; }
static void d_msix_vectors(struct vf_config_layout *l) { l->msix.count++; }
static void d_msix_bar(struct vf_config_layout *l) { l->msix.table_bar = 2; }
static void d_msix_offset(struct vf_config_layout *l) { l->msix.table_offset = 8; }
static void d_pba_bar(struct vf_config_layout *l) { l->msix.pba_bar = 2; }
static void d_pba_offset(struct vf_config_layout *l) { l->msix.pba_offset = 0x2008; }
static void d_pcie_flags(struct vf_config_layout *l) { l->pcie.flags ^= 0x10; }
static void d_devcap(struct vf_config_layout *l) { l->pcie.devcap ^= 1; }
static void d_slot_power(struct vf_config_layout *l) { l->pcie.devcap ^= 1 << 20; }
static void d_devcap2(struct vf_config_layout *l) { l->pcie.devcap2 |= 0x20; }	/* more is other */
static void d_af(struct vf_config_layout *l) { l->af.caps ^= 1; }

static const struct { void (*change)(struct vf_config_layout *); const char *id; bool fatal; }
differences[] = {
	{ d_vendor, "config-vendor", true },
	{ d_device, "config-device", true },
	{ d_subsys_vendor, "config-subsystem-vendor", true },
	{ d_subsys, "config-subsystem", true },
	{ d_class, "config-class", true },
	{ d_revision, "config-revision", true },
	{ d_header, "config-header-type", true },
	{ d_size, "config-size", true },
	{ d_pin, "config-interrupt-pin", true },
	{ d_bar_kind, "config-bar-kind", true },
	{ d_bar_io, "config-bar-kind", true },
	{ d_bar_access, "config-bar-access", true },
	{ d_bar_mmap, "config-bar-mmap", false },
	{ d_bar_size, "config-bar-size", true },
	{ d_bar_gone, "config-bar-size", true },
	{ d_rom, "config-bar-size", true },
	{ d_bar_region, "config-bar-region", true },
	{ d_cap_version, "config-cap-version", true },
	{ d_cap_length, "config-cap-length", true },
	{ d_pm, "config-pm", true },
	{ d_pm_reset, "config-pm-soft-reset", true },
	{ d_msi_vectors, "config-msi-vectors", true },
	{ d_msi_64, "config-msi-64", true },
	{ d_msi_mask, "config-msi-maskable", true },
	{ d_msix_vectors, "config-msix-vectors", true },
	{ d_msix_bar, "config-msix-table-bar", true },
	{ d_msix_offset, "config-msix-table-offset", true },
	{ d_pba_bar, "config-msix-pba-bar", true },
	{ d_pba_offset, "config-msix-pba-offset", true },
	{ d_pcie_flags, "config-pcie-flags", true },
	{ d_devcap, "config-devcap", true },
	{ d_slot_power, "config-devcap-slot-power", false },
	{ d_devcap2, "config-devcap2", true },
	{ d_af, "config-af", true },
	{ d_cap_offset, "config-cap-offset", true },
	{ d_cap_missing, "config-cap-missing", true },
	{ d_cap_extra, "config-cap-extra", true },
	{ d_cap_order, "config-cap-order", true },
};

struct seen {
	unsigned int count;
	char ids[64][48];
	bool fatal[64];
};

static void note(void *user, const struct vf_config_difference *d)
{
	struct seen *seen = user;

	assert_true(seen->count < 64);
	assert_true(d->field[0] && d->source[0] && d->destination[0]);
	assert_string_not_equal(d->source, d->destination);
	(void) snprintf(seen->ids[seen->count], 48, "%s", d->id);
	seen->fatal[seen->count++] = d->fatal;
}

static void each_difference_is_told(void **state)
{
	struct vf_config_layout s, d;
	struct image im;

	(void) state;
	image_full(&im);
	s = parsed(&im);
	assert_int_equal(vf_config_compare(&s, &s, NULL, NULL), 0);
	for (size_t i = 0; i < VF_ARRAY_COUNT(differences); i++) {
		struct seen seen = { 0 };
		unsigned int fatal;

		d = s;
		differences[i].change(&d);
		fatal = vf_config_compare(&s, &d, note, &seen);
		if (seen.count != 1)
			fail_msg("%s: %u differences", differences[i].id, seen.count);
		assert_string_equal(seen.ids[0], differences[i].id);
		assert_int_equal(seen.fatal[0], differences[i].fatal);
		assert_int_equal(fatal, differences[i].fatal);
		/* And the other way about. */
		seen.count = 0;
		assert_int_equal(vf_config_compare(&d, &s, note, &seen), differences[i].fatal);
		assert_int_equal(seen.count, 1);
	}
}

static void all_differences_are_told_at_once(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_config_layout s, d;
	struct seen seen = { 0 };
	struct image im;

	(void) state;
	image_full(&im);
	s = parsed(&im);
	d = s;
	for (size_t i = 0; i < VF_ARRAY_COUNT(differences); i++) {
		/* These hide others: an order is compared among equal sets only. */
		if (differences[i].change == d_cap_order || differences[i].change == d_cap_missing)
			continue;
		differences[i].change(&d);
	}
	(void) vf_config_compare(&s, &d, note, &seen);
	for (size_t i = 0; i < VF_ARRAY_COUNT(differences); i++) {
		bool found = differences[i].change == d_cap_order ||
			     differences[i].change == d_cap_missing;

		for (unsigned int k = 0; k < seen.count; k++)
			found |= !strcmp(seen.ids[k], differences[i].id);
		if (!found)
			fail_msg("%s is not in the list", differences[i].id);
	}
	assert_int_equal(seen.count, VF_ARRAY_COUNT(differences) - 2);
	assert_int_equal(vf_config_check(&s, &d, "vfio/00:04.0", &err), -EINVAL);
	assert_string_equal(err.id, "config-mismatch");
	assert_non_null(strstr(err.message, "vendor: source 0x1d1d, destination 0x1d1c"));
	assert_non_null(strstr(err.message, "more"));
	assert_int_equal(vf_config_check(&s, &s, NULL, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_is_found),
		cmocka_unit_test(nonsense_is_refused),
		cmocka_unit_test(bridges_are_not_supported),
		cmocka_unit_test(empty_lists_are_fine),
		cmocka_unit_test(wire_round_trip),
		cmocka_unit_test(largest_layout_fits),
		cmocka_unit_test(each_difference_is_told),
		cmocka_unit_test(all_differences_are_told_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
