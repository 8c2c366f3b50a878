/* SPDX-License-Identifier: MIT */
/* config: the section, the plans stage, restage and arm, and the dump. */
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

#define ROUNDS 400

static struct vf_config *view_of(const struct image *im)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_config *config;

	if (vf_config_new(im->bytes, im->size, im->regions, &config, &err))
		fail_msg("%s", err.message);
	return config;
}

static struct vf_config *full_view(void)
{
	struct image im;

	image_full(&im);
	return view_of(&im);
}

static void put(struct vf_config *config, uint32_t offset, uint32_t len, uint32_t value)
{
	struct vf_config_effects e;

	vf_config_write(config, offset, len, value, &e);
}

/* Through the section and back: an independent copy. */
static struct vf_config_state *sent(const struct vf_config_state *from)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_config_state *state;
	struct vf_writer w;
	struct vf_reader r;

	vf_writer_init(&w, VF_CONFIG_SECTION_BYTES_MAX);
	vf_config_state_encode(from, &w);
	assert_false(w.bad);
	r = vf_reader_of(w.data, w.size);
	if (vf_config_state_decode(&r, &state, &err))
		fail_msg("%s", err.message);
	vf_writer_done(&w);
	return state;
}

static void assert_same_state(const struct vf_config_state *a, const struct vf_config_state *b)
{
	assert_int_equal(vf_config_compare(&a->layout, &b->layout, NULL, NULL), 0);
	assert_memory_equal(a->bytes, b->bytes, sizeof(a->bytes));
	assert_int_equal(a->intx_level, b->intx_level);
	assert_int_equal(a->msix.count, b->msix.count);
	assert_int_equal(a->msix.enabled, b->msix.enabled);
	assert_int_equal(a->msix.function_masked, b->msix.function_masked);
	assert_memory_equal(a->msix.pending, b->msix.pending, sizeof(a->msix.pending));
	if (a->msix.count)
		assert_memory_equal(a->msix.entries, b->msix.entries,
				    a->msix.count * sizeof(*a->msix.entries));
}

/* ---- section ---- */

static void section_keeps_random_guests(void **state)
{
	uint64_t seed = 3;

	(void) state;
	for (int i = 0; i < ROUNDS; i++) {
		struct vf_config_state *copy;
		struct vf_config *config;
		struct image im;

		image_random(&im, &seed);
		config = view_of(&im);
		guest_scribbles(config, &seed, 200);
		copy = sent(&config->state);
		assert_same_state(&config->state, copy);
		vf_config_state_free(copy);
		vf_config_free(config);
	}
}

static void section_keeps_masks_and_pending(void **state)
{
	struct vf_config *config = full_view();
	struct vf_config_state *copy;
	struct vf_config_vector v;
	uint32_t vector;

	(void) state;
	put(config, AT_MSIX + 2, 2, 0x8000);
	(void) vf_msix_table_write(&config->state.msix, 69 * 16, 8, 0xfee00000, &vector);
	(void) vf_msix_table_write(&config->state.msix, 69 * 16 + 8, 4, 0x31, &vector);
	(void) vf_msix_table_write(&config->state.msix, 2 * 16 + 12, 4, 0, &vector);
	(void) vf_msix_raise(&config->state.msix, 69);
	copy = sent(&config->state);
	assert_true(vf_config_vector_at(copy, 69, &v));
	assert_true(v.masked && v.pending && v.address == 0xfee00000 && v.data == 0x31);
	assert_true(vf_config_vector_at(copy, 2, &v) && !v.masked && !v.pending);
	vf_config_state_free(copy);

	put(config, AT_MSIX + 2, 2, 0xc000);		/* the function's mask */
	copy = sent(&config->state);
	assert_true(copy->msix.function_masked);
	assert_true(vf_config_vector_at(copy, 2, &v) && v.masked);
	vf_config_state_free(copy);

	put(config, AT_MSIX + 2, 2, 0);
	put(config, AT_MSI + 16, 4, 0x5);
	config->state.bytes[AT_MSI + 20] = 0x4;		/* as refreshed from the device */
	put(config, AT_MSI + 2, 2, 3 << 4 | 1);
	copy = sent(&config->state);
	assert_true(vf_config_vector_at(copy, 2, &v) && v.masked && v.pending);
	assert_true(vf_config_vector_at(copy, 0, &v) && v.masked && !v.pending);
	assert_true(vf_config_vector_at(copy, 1, &v) && !v.masked);
	vf_config_state_free(copy);

	put(config, AT_MSI + 2, 2, 0);
	vf_config_set_intx_level(config, true);
	copy = sent(&config->state);
	assert_true(copy->intx_level);
	vf_config_state_free(copy);
	vf_config_free(config);
}

static int decode(const uint8_t *data, size_t size)
{
	struct vf_config_state *state = NULL;
	struct vf_reader r = vf_reader_of(data, size);
	int ret = vf_config_state_decode(&r, &state, NULL);

	assert_true(!ret == (state != NULL));
	vf_config_state_free(state);
	return ret;
}

static void damaged_sections_are_refused(void **state)
{
	enum { HEAD = 8 + 12 * 7, BYTES = HEAD, MSIX = HEAD + 4096, TABLE = MSIX + 4,
	       PENDING = TABLE + 16 * MSIX_VECTORS, END = PENDING + 16 };
	static const struct { size_t at; uint8_t value; int ret; } spoil[] = {
		{ 0, 9, -EOPNOTSUPP }, { 2, 2, -EINVAL }, { 4, 1, -EINVAL }, { 7, 0x80, -EINVAL },
		{ 8 + 8, 8, -EINVAL }, { 8 + 12 + 8, 1, -EINVAL }, { BYTES + 0x34, 0x3c, -EINVAL },
		{ BYTES + VF_PCI_HEADER_TYPE, 1, -EOPNOTSUPP },
		{ BYTES + AT_MSI + 2, 0x46, -EINVAL },
		{ MSIX, 69, -EINVAL }, { MSIX + 2, 1, -EINVAL }, { TABLE, 1, -EINVAL },
		{ TABLE + 12, 2, -EINVAL }, { PENDING + 8, 0x40, -EINVAL },
	};
	struct vf_config *config = full_view();
	struct vf_writer w;

	(void) state;
	vf_writer_init(&w, VF_CONFIG_SECTION_BYTES_MAX);
	vf_config_state_encode(&config->state, &w);
	assert_int_equal(w.size, END);
	for (size_t n = 0; n < w.size; n++)
		assert_int_equal(decode(w.data, n), -EINVAL);
	for (size_t i = 0; i < VF_ARRAY_COUNT(spoil); i++) {
		uint8_t was = w.data[spoil[i].at];

		w.data[spoil[i].at] = spoil[i].value;
		if (decode(w.data, w.size) != spoil[i].ret)
			fail_msg("case %zu was not refused", i);
		w.data[spoil[i].at] = was;
	}
	assert_int_equal(decode(w.data, w.size), 0);
	vf_write_u8(&w, 0);
	assert_int_equal(decode(w.data, w.size), -EINVAL);
	vf_writer_done(&w);
	vf_config_free(config);
}

static void largest_section_fits(void **state)
{
	struct vf_config_state *copy;
	struct vf_config *config;
	struct image im;

	(void) state;
	image_full(&im);
	im.regions[4].size = 1 << 16;
	vf_put_u16(im.bytes + AT_MSIX + 2, 2047);
	vf_put_u32(im.bytes + AT_MSIX + 8, 0x8000 | 4);
	config = view_of(&im);
	copy = sent(&config->state);
	assert_int_equal(copy->msix.count, 2048);
	vf_config_state_free(copy);
	vf_config_free(config);
}

/* ---- a device to carry plans out on ---- */

struct device {
	const struct vf_config *rules;
	uint8_t bytes[VF_CONFIG_BYTES_MAX];
};

/* As the caller of a plan does it: read, keep, write; the device ignores what it always ignores. */
static void apply(struct device *d, const struct vf_config_write *w)
{
	assert_true(w->len == 1 || w->len == 2 || w->len == 4);
	assert_int_equal(w->offset % w->len, 0);
	assert_int_equal(w->value & w->keep, 0);
	for (uint32_t i = 0; i < w->len; i++) {
		uint8_t *byte = &d->bytes[w->offset + i];
		uint8_t keep = (uint8_t) (w->keep >> (8 * i)), out;
		uint8_t can = d->rules->writable[w->offset + i];

		out = (uint8_t) ((*byte & keep) | (uint8_t) (w->value >> (8 * i)));
		*byte = (uint8_t) ((*byte & ~can) | (out & can));
	}
}

static void carry_out(struct device *d, const struct vf_config_plan *plan)
{
	for (uint32_t i = 0; i < plan->step_count; i++)
		if (plan->steps[i].kind == VF_CONFIG_STEP_WRITE)
			apply(d, &plan->steps[i].write);
}

static void fresh(struct device *d, const struct vf_config *rules)
{
	d->rules = rules;
	memcpy(d->bytes, rules->reset_bytes, sizeof(d->bytes));
}

static void assert_no_flr(const struct vf_config *rules, const struct vf_config_plan *plan)
{
	for (uint32_t i = 0; i < plan->step_count; i++) {
		const struct vf_config_write *w = &plan->steps[i].write;

		if (plan->steps[i].kind != VF_CONFIG_STEP_WRITE)
			continue;
		for (uint32_t b = 0; b < w->len; b++)
			assert_int_equal((w->value | w->keep) >> (8 * b) &
					 rules->flr[w->offset + b], 0);
	}
}

static void assert_no_interrupt(const struct vf_config *rules, const struct vf_config_plan *plan)
{
	for (uint32_t i = 0; i < plan->step_count; i++) {
		const struct vf_config_write *w = &plan->steps[i].write;

		assert_int_equal(plan->steps[i].kind, VF_CONFIG_STEP_WRITE);
		for (uint32_t b = 0; b < w->len; b++)
			if (~(w->keep >> (8 * b)) & rules->interrupt[w->offset + b])
				fail_msg("%s touches interrupts", plan->steps[i].name);
	}
}

/* Over random functions and guests: stage touches no interrupt, nothing resets, and stage with arm
 * leaves the device with all that the guest had written. */
static void random_restores(void **state)
{
	uint64_t seed = 11;

	(void) state;
	for (int i = 0; i < ROUNDS; i++) {
		struct vf_config_plan stage, arm;
		struct vf_config *config;
		struct device d;
		struct image im;

		image_random(&im, &seed);
		config = view_of(&im);
		guest_scribbles(config, &seed, 300);
		/* A section may claim anything of the bytes; FLR bits are among them. */
		if (config->state.layout.pcie.offset)
			config->state.bytes[config->state.layout.pcie.offset + 9] |= 0x80;
		if (config->state.layout.af.offset)
			config->state.bytes[config->state.layout.af.offset + 4] |= 1;
		vf_config_plan_stage(&config->state, &stage);
		vf_config_plan_arm(&config->state, &arm);
		assert_no_interrupt(config, &stage);
		assert_no_flr(config, &stage);
		assert_no_flr(config, &arm);
		assert_int_equal(stage.change_count + arm.change_count, 0);

		fresh(&d, config);
		carry_out(&d, &stage);
		assert_int_equal(vf_config_power_state(&config->state) &&
				 (d.bytes[config->state.layout.pm.offset + 4] & 3), 0);
		carry_out(&d, &arm);
		for (uint32_t at = 0; at < im.size; at++) {
			uint8_t mask = config->writable[at];

			if (at == VF_PCI_INT_LINE)	/* the view's alone */
				continue;
			if (config->state.layout.aer_offset &&
			    at >= config->state.layout.aer_offset + VF_PCI_AER_CONTROL)
				continue;		/* AER control is not replayed */
			if ((d.bytes[at] ^ config->state.bytes[at]) & mask)
				fail_msg("round %d: 0x%03x is 0x%02x, not 0x%02x", i, at,
					 d.bytes[at], config->state.bytes[at]);
		}
		vf_config_free(config);
	}
}

/* Stage of A, then restage to B, ends where stage of B ends; without a change it does nothing. */
static void random_restages(void **state)
{
	uint64_t seed = 23;

	(void) state;
	for (int i = 0; i < ROUNDS; i++) {
		struct vf_config_state *a;
		struct vf_config_plan stage, again, restage;
		struct vf_config *config;
		struct device one, two;
		struct image im;

		image_random(&im, &seed);
		config = view_of(&im);
		guest_scribbles(config, &seed, 100);
		a = sent(&config->state);
		assert_int_equal(vf_config_plan_restage(a, &config->state, &restage), 0);
		assert_int_equal(restage.step_count + restage.change_count, 0);

		guest_scribbles(config, &seed, 3);
		vf_config_plan_stage(a, &stage);
		assert_int_equal(vf_config_plan_restage(a, &config->state, &restage), 0);
		vf_config_plan_stage(&config->state, &again);
		assert_no_interrupt(config, &restage);
		assert_no_flr(config, &restage);
		fresh(&one, config);
		carry_out(&one, &stage);
		carry_out(&one, &restage);
		fresh(&two, config);
		carry_out(&two, &again);
		assert_memory_equal(one.bytes, two.bytes, sizeof(one.bytes));
		vf_config_state_free(a);
		vf_config_free(config);
	}
}

/* ---- the order of steps ---- */

static void assert_steps(const struct vf_config_plan *plan, const char *const *names)
{
	uint32_t i;

	for (i = 0; i < plan->step_count && names[i]; i++)
		assert_string_equal(plan->steps[i].name, names[i]);
	assert_int_equal(i, plan->step_count);
	assert_null(names[i]);
}

static void stage_in_order(void **state)
{
	static const char *const names[] = {
		"PMCSR to D0", "COMMAND off", "BAR 0", "BAR 1", "BAR 2", "BAR 3", "BAR 4", "ROM",
		"DevCtl", "DevCtl2", "cache line size", "latency timer", "AER uncorrectable mask",
		"AER uncorrectable severity", "AER correctable mask", "COMMAND", NULL,
	};
	struct vf_config *config = full_view();
	struct vf_config_plan plan;
	const struct vf_config_write *last;

	(void) state;
	put(config, 4, 2, 0x0407);
	put(config, AT_PCIE + 8, 2, 0x7fff);
	vf_config_plan_stage(&config->state, &plan);
	assert_steps(&plan, names);
	last = &plan.steps[plan.step_count - 1].write;
	assert_int_equal(last->value, 0x0007);
	assert_int_equal(last->keep, 0x0400);		/* INTx disable is left as it is */
	assert_int_equal(plan.steps[8].write.value, 0x7dff);
	assert_int_equal(plan.steps[0].write.value, 0);
	assert_int_equal(plan.steps[0].write.keep, 0x7ffc);	/* PME status not written back */
	vf_config_free(config);
}

static void arm_in_order(void **state)
{
	static const char *const msix[] = {
		"COMMAND INTx disable", "vectors", "MSI mask", "MSI address", "MSI address high",
		"MSI data", "MSI flags", "MSI-X control", "connect", "PMCSR", NULL,
	};
	static const char *const intx[] = {
		"COMMAND INTx disable", "vectors", "MSI mask", "MSI address", "MSI address high",
		"MSI data", "MSI flags", "MSI-X control", "connect", "INTx level", NULL,
	};
	struct vf_config *config = full_view();
	struct vf_config_plan plan;

	(void) state;
	vf_config_set_intx_level(config, true);
	vf_config_plan_arm(&config->state, &plan);
	assert_steps(&plan, intx);
	assert_int_equal(plan.steps[1].interrupts.mode, VF_CONFIG_INTERRUPT_INTX);

	put(config, 4, 2, 0x0400);
	put(config, AT_MSIX + 2, 2, 0xc000);
	put(config, AT_PM + 4, 2, 3);
	vf_config_plan_arm(&config->state, &plan);
	assert_steps(&plan, msix);
	assert_int_equal(plan.steps[0].write.value, 0x0400);
	assert_int_equal(plan.steps[0].write.keep, 0xfbff);
	assert_int_equal(plan.steps[1].kind, VF_CONFIG_STEP_INTERRUPTS);
	assert_int_equal(plan.steps[1].interrupts.mode, VF_CONFIG_INTERRUPT_MSIX);
	assert_int_equal(plan.steps[1].interrupts.count, MSIX_VECTORS);
	assert_int_equal(plan.steps[7].write.value, 0xc000 | (MSIX_VECTORS - 1));
	assert_int_equal(plan.steps[8].kind, VF_CONFIG_STEP_CONNECT);
	assert_int_equal(plan.steps[9].write.value, 3);
	vf_config_free(config);
}

static void arm_msi(void **state)
{
	struct vf_config *config = full_view();
	struct vf_config_plan plan;

	(void) state;
	put(config, AT_MSI + 4, 4, 0xfee01000);
	put(config, AT_MSI + 12, 2, 0x4040);
	put(config, AT_MSI + 16, 4, 0xfd);
	put(config, AT_MSI + 2, 2, 2 << 4 | 1);
	vf_config_plan_arm(&config->state, &plan);
	assert_int_equal(plan.steps[1].interrupts.mode, VF_CONFIG_INTERRUPT_MSI);
	assert_int_equal(plan.steps[1].interrupts.count, 4);
	assert_string_equal(plan.steps[2].name, "MSI mask");
	assert_int_equal(plan.steps[2].write.value, 0xfd);
	assert_int_equal(plan.steps[2].write.offset, AT_MSI + 16);
	assert_int_equal(plan.steps[3].write.value, 0xfee01000);
	assert_int_equal(plan.steps[6].write.value, 0x01a7);	/* on, 4 of 8, 64-bit, maskable */
	vf_config_free(config);
}

static void no_interrupts_no_connect(void **state)
{
	struct vf_config *config;
	struct vf_config_plan plan;
	struct image im;

	(void) state;
	image_full(&im);
	im.bytes[VF_PCI_INT_PIN] = 0;
	vf_put_u16(im.bytes + VF_PCI_STATUS, 0);
	config = view_of(&im);
	vf_config_set_intx_level(config, true);
	vf_config_plan_arm(&config->state, &plan);
	assert_int_equal(plan.step_count, 1);
	assert_string_equal(plan.steps[0].name, "COMMAND INTx disable");
	vf_config_free(config);
}

/* ---- restage: what a guest changes during pre-copy ---- */

static void r_nothing(struct vf_config *c) { (void) c; }
static void r_bar(struct vf_config *c) { put(c, 0x18, 4, 0xe8000000); }
static void r_bar_high(struct vf_config *c) { put(c, 0x14, 4, 0x91); }
static void r_rom(struct vf_config *c) { put(c, 0x30, 4, 0xd0000001); }
static void r_devctl(struct vf_config *c) { put(c, AT_PCIE + 8, 2, 0x281f); }
static void r_devctl2(struct vf_config *c) { put(c, AT_PCIE + 0x28, 2, 5); }
static void r_cache_line(struct vf_config *c) { put(c, 0x0c, 1, 16); }
static void r_latency(struct vf_config *c) { put(c, 0x0d, 1, 64); }
static void r_aer(struct vf_config *c) { put(c, AT_AER + 20, 4, 0x2000); }
static void r_command(struct vf_config *c) { put(c, 4, 2, 0x0002); }
static void r_intx_disable(struct vf_config *c) { put(c, 4, 2, 0x0406); }
static void r_msi_to_msix(struct vf_config *c)
{
	put(c, AT_MSI + 2, 2, 0);
	put(c, AT_MSIX + 2, 2, 0x8000);
}
static void r_msi_off(struct vf_config *c) { put(c, AT_MSI + 2, 2, 0); }
static void r_msi_count(struct vf_config *c) { put(c, AT_MSI + 2, 2, 3 << 4 | 1); }
static void r_msi_message(struct vf_config *c) { put(c, AT_MSI + 12, 2, 0x77); }
static void r_line(struct vf_config *c) { put(c, 0x3c, 1, 10); }
static void r_power(struct vf_config *c) { put(c, AT_PM + 4, 2, 3); }
static void r_reset(struct vf_config *c)
{
	struct vf_config_effects e;

	vf_config_reset(c, &e);
}

static const struct restage_case {
	void (*change)(struct vf_config *);
	const char *steps[12];
	struct { enum vf_config_change_kind kind; uint64_t from, to; uint8_t bar; } changes[8];
} restage_cases[] = {
	{ r_nothing, { NULL }, { { 0 } } },
	{ r_bar, { "COMMAND off", "BAR 2", "COMMAND" },
	  { { VF_CONFIG_CHANGE_BAR, 0xe0000000, 0xe8000000, 2 } } },
	{ r_bar_high, { "COMMAND off", "BAR 1", "COMMAND" },
	  { { VF_CONFIG_CHANGE_BAR, 0x9000000000, 0x9100000000, 0 } } },
	{ r_rom, { "COMMAND off", "ROM", "COMMAND" },
	  { { VF_CONFIG_CHANGE_BAR, 0, 0xd0000001, VF_CONFIG_ROM } } },
	{ r_devctl, { "DevCtl" }, { { VF_CONFIG_CHANGE_DEVCTL, 0x2810, 0x281f, 0 } } },
	{ r_devctl2, { "DevCtl2" }, { { VF_CONFIG_CHANGE_DEVCTL2, 0, 5, 0 } } },
	{ r_cache_line, { "cache line size" }, { { VF_CONFIG_CHANGE_CACHE_LINE, 0, 16, 0 } } },
	{ r_latency, { "latency timer" }, { { VF_CONFIG_CHANGE_LATENCY, 0, 64, 0 } } },
	{ r_aer, { "AER correctable mask" }, { { VF_CONFIG_CHANGE_AER, 0, 0x2000, 0 } } },
	{ r_command, { "COMMAND" }, { { VF_CONFIG_CHANGE_COMMAND, 6, 2, 0 } } },
	{ r_intx_disable, { NULL }, { { 0 } } },	/* arm's */
	{ r_msi_to_msix, { NULL }, { { VF_CONFIG_CHANGE_INTERRUPT_MODE,
				       VF_CONFIG_INTERRUPT_MSI, VF_CONFIG_INTERRUPT_MSIX, 0 } } },
	{ r_msi_off, { NULL }, { { VF_CONFIG_CHANGE_INTERRUPT_MODE, VF_CONFIG_INTERRUPT_MSI,
				   VF_CONFIG_INTERRUPT_INTX, 0 } } },
	{ r_msi_count, { NULL }, { { VF_CONFIG_CHANGE_INTERRUPT_COUNT, 1, 8, 0 } } },
	{ r_msi_message, { NULL }, { { 0 } } },		/* arm's */
	{ r_line, { NULL }, { { VF_CONFIG_CHANGE_INTERRUPT_LINE, 0, 10, 0 } } },
	{ r_power, { NULL }, { { 0 } } },		/* arm's */
	{ r_reset, { "COMMAND off", "BAR 1", "BAR 2", "COMMAND" },
	  { { VF_CONFIG_CHANGE_BAR, 0x9000000000, 0, 0 },
	    { VF_CONFIG_CHANGE_BAR, 0xe0000000, 0, 2 }, { VF_CONFIG_CHANGE_COMMAND, 6, 0, 0 },
	    { VF_CONFIG_CHANGE_INTERRUPT_MODE, VF_CONFIG_INTERRUPT_MSI,
	      VF_CONFIG_INTERRUPT_INTX, 0 } } },
};

static void restage_takes_what_changed(void **state)
{
	(void) state;
	for (size_t i = 0; i < VF_ARRAY_COUNT(restage_cases); i++) {
		const struct restage_case *t = &restage_cases[i];
		struct vf_config *config = full_view();
		struct vf_config_state *staged;
		struct vf_config_plan plan;
		uint32_t n = 0;

		put(config, 0x14, 4, 0x90);
		put(config, 0x18, 4, 0xe0000000);
		put(config, 4, 2, 6);
		put(config, AT_MSI + 2, 2, 1);
		staged = sent(&config->state);
		t->change(config);
		assert_int_equal(vf_config_plan_restage(staged, &config->state, &plan), 0);
		assert_steps(&plan, t->steps);
		while (t->changes[n].kind) {
			assert_true(n < plan.change_count);
			assert_int_equal(plan.changes[n].kind, t->changes[n].kind);
			assert_true(plan.changes[n].from == t->changes[n].from);
			assert_true(plan.changes[n].to == t->changes[n].to);
			assert_int_equal(plan.changes[n].bar, t->changes[n].bar);
			assert_true(plan.changes[n].name[0]);
			n++;
		}
		assert_int_equal(n, plan.change_count);
		vf_config_state_free(staged);
		vf_config_free(config);
	}
}

static void restage_wants_the_same_layout(void **state)
{
	struct vf_config *a = full_view(), *b;
	struct vf_config_plan plan;
	struct image im;

	(void) state;
	image_full(&im);
	im.bytes[VF_PCI_REVISION] ^= 1;
	b = view_of(&im);
	assert_int_equal(vf_config_plan_restage(&a->state, &b->state, &plan), -EINVAL);
	vf_config_free(a);
	vf_config_free(b);
}

/* ---- dump ---- */

static void count_fields(void *user, const struct vf_config_field *f)
{
	unsigned int *n = user;

	assert_true(f->group[0] && f->name[0] && f->value[0] && f->len);
	++*n;
}

static void dump_names_things(void **state)
{
	static const char *const wanted[] = {
		"header\n",
		"COMMAND                      0x0406 (memory, bus master, INTx disabled)\n",
		"BAR 2                        0xe0000000, size 0x4000, 32-bit memory\n",
		"BAR 0                        0x0000000000000000, size 0x1000000, 64-bit memory, "
		"prefetchable, not decoded\n",
		"capability MSI-X at 0x09c\n", "0xc045 (enabled, function masked)\n",
		"(BAR 4 + 0x2000)", "extended capability AER at 0x100\n",
		"extended capability DVSEC",
		"PMCSR                        0x0008 (D0)\n", "(disabled, 1 of 8 vectors, 64-bit, "
		"mask per vector)\n", "vector 69                    address 0xfee00000, data 0x31, "
		"masked, pending\n", "mode                         MSI-X, 70 vectors\n",
		"interrupt pin                0x01 (INTA)\n",
		"class                        0x120000\n",
		"INTx level                   asserted\n",
	};
	struct vf_config *config = full_view();
	unsigned int count = 0;
	struct vf_writer w;
	uint32_t vector;

	(void) state;
	put(config, 0x18, 4, 0xe0000000);
	put(config, 4, 2, 0x0406);
	put(config, AT_MSIX + 2, 2, 0xc000);
	(void) vf_msix_table_write(&config->state.msix, 69 * 16, 8, 0xfee00000, &vector);
	(void) vf_msix_table_write(&config->state.msix, 69 * 16 + 8, 4, 0x31, &vector);
	(void) vf_msix_raise(&config->state.msix, 69);
	vf_config_set_intx_level(config, true);
	vf_config_visit(&config->state, count_fields, &count);
	vf_writer_init(&w, 1 << 20);
	vf_config_print(&config->state, &w);
	vf_write_u8(&w, 0);
	assert_false(w.bad);
	for (size_t i = 0; i < VF_ARRAY_COUNT(wanted); i++)
		if (!strstr((char *) w.data, wanted[i]))
			fail_msg("no \"%s\" in\n%s", wanted[i], (char *) w.data);
	assert_null(strstr((char *) w.data, "vector 68"));
	assert_true(count > 70);
	vf_writer_done(&w);
	vf_config_free(config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(section_keeps_random_guests),
		cmocka_unit_test(section_keeps_masks_and_pending),
		cmocka_unit_test(damaged_sections_are_refused),
		cmocka_unit_test(largest_section_fits),
		cmocka_unit_test(random_restores),
		cmocka_unit_test(random_restages),
		cmocka_unit_test(stage_in_order),
		cmocka_unit_test(arm_in_order),
		cmocka_unit_test(arm_msi),
		cmocka_unit_test(no_interrupts_no_connect),
		cmocka_unit_test(restage_takes_what_changed),
		cmocka_unit_test(restage_wants_the_same_layout),
		cmocka_unit_test(dump_names_things),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
