/* SPDX-License-Identifier: MIT */
/*
 * chips.c - the components pic, ioapic and pit, of an interrupt controller in the kernel.
 *
 * Section "state" of each, version 1, little-endian: for each chip u32 bytes | bytes, KVM's
 * structure of that chip:
 *
 *	pic	struct kvm_pic_state, 16 bytes, master and slave
 *	ioapic	struct kvm_ioapic_state, 216 bytes
 *	pit	struct kvm_pit_state2, 112 bytes, with all count_load_time 0: KVM starts the counters
 *		when they are set, whatever it says there
 *
 * KVM puts the lines that are pending in the IOAPIC into the LAPICs again when it is set, which is
 * why LAPICs come before. The PIT is last: it ticks at once.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/checked.h"
#include "kvm/call.h"
#include "kvm/x86/x86_internal.h"

#define SECTION_STATE	1u
#define PIC_BYTES	16u
#define IOAPIC_BYTES	216u
#define PIT_BYTES	112u

static_assert(sizeof(struct kvm_pic_state) == PIC_BYTES, "as in the section");
static_assert(sizeof(struct kvm_ioapic_state) == IOAPIC_BYTES, "as in the section");
static_assert(sizeof(struct kvm_pit_state2) == PIT_BYTES, "as in the section");

/* "u32 bytes | bytes" for the next chip. Return: 0; -EINVAL. */
static int read_chip(struct vferry_reader *r, void *to, uint32_t bytes)
{
	uint32_t there = vferry_read_u32(r);
	const void *from = there == bytes ? vferry_read_bytes(r, bytes) : NULL;

	if (!from)
		return -EINVAL;
	memcpy(to, from, bytes);
	return 0;
}

static void write_chip(struct vferry_writer *w, const void *from, uint32_t bytes)
{
	vferry_write_u32(w, bytes);
	vferry_write_bytes(w, from, bytes);
}

static int damaged(const char *object, struct vferry_error *err)
{
	return vferry_error_set(err, -EINVAL, "irqchip-section-damaged", object,
				"the section of %s is cut short, too long, or of another layout",
				object);
}

/* ---- PIC and IOAPIC ---- */

static int save_chip(const struct vferry_kvm_x86 *x86, uint32_t id, const char *object,
		     struct vferry_writer *w, struct vferry_error *err)
{
	struct kvm_irqchip chip = { .chip_id = id };
	int code = vf_kvm_call(x86->vm, KVM_GET_IRQCHIP, &chip);

	if (code)
		return vf_kvm_failed(err, object, "KVM_GET_IRQCHIP", code);
	write_chip(w, &chip.chip, id == KVM_IRQCHIP_IOAPIC ? IOAPIC_BYTES : PIC_BYTES);
	return 0;
}

static int set_chip(const struct vferry_kvm_x86 *x86, struct kvm_irqchip *chip, const char *object,
		    struct vferry_error *err)
{
	int code = vf_kvm_call(x86->vm, KVM_SET_IRQCHIP, chip);

	return code ? vf_kvm_failed(err, object, "KVM_SET_IRQCHIP", code) : 0;
}

static int save_pic(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct vferry_writer *w = vferry_step_writer(step);
	int code = save_chip(user, KVM_IRQCHIP_PIC_MASTER, "pic", w, err);

	return code ? code : save_chip(user, KVM_IRQCHIP_PIC_SLAVE, "pic", w, err);
}

static int load_pic(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct kvm_irqchip master = { .chip_id = KVM_IRQCHIP_PIC_MASTER };
	struct kvm_irqchip slave = { .chip_id = KVM_IRQCHIP_PIC_SLAVE };
	struct vferry_reader *r = vferry_step_reader(step);
	int code;

	if (read_chip(r, &master.chip, PIC_BYTES) || read_chip(r, &slave.chip, PIC_BYTES) ||
	    !vferry_reader_done(r))
		return damaged("pic", err);
	code = set_chip(user, &master, "pic", err);
	return code ? code : set_chip(user, &slave, "pic", err);
}

static int save_ioapic(void *user, struct vferry_step *step, struct vferry_error *err)
{
	return save_chip(user, KVM_IRQCHIP_IOAPIC, "ioapic", vferry_step_writer(step), err);
}

static int load_ioapic(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct vferry_reader *r = vferry_step_reader(step);

	if (read_chip(r, &chip.chip, IOAPIC_BYTES) || !vferry_reader_done(r))
		return damaged("ioapic", err);
	return set_chip(user, &chip, "ioapic", err);
}

/* ---- PIT ---- */

static int save_pit(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct vferry_kvm_x86 *x86 = user;
	struct kvm_pit_state2 state = { 0 };
	int code = vf_kvm_call(x86->vm, KVM_GET_PIT2, &state);

	if (code)
		return vf_kvm_failed(err, "pit", "KVM_GET_PIT2", code);
	for (size_t i = 0; i < VF_ARRAY_COUNT(state.channels); i++)
		state.channels[i].count_load_time = 0;
	write_chip(vferry_step_writer(step), &state, PIT_BYTES);
	return 0;
}

static int load_pit(void *user, struct vferry_step *step, struct vferry_error *err)
{
	const struct vferry_kvm_x86 *x86 = user;
	struct vferry_reader *r = vferry_step_reader(step);
	struct kvm_pit_state2 state;
	int code;

	if (read_chip(r, &state, PIT_BYTES) || !vferry_reader_done(r))
		return damaged("pit", err);
	code = vf_kvm_call(x86->vm, KVM_SET_PIT2, &state);
	return code ? vf_kvm_failed(err, "pit", "KVM_SET_PIT2", code) : 0;
}

/* ---- components ---- */

#define SECTION(bytes_) { .id = SECTION_STATE, .name = "state", .version = 1, .oldest = 1, \
	.max_bytes = bytes_ }
#define STEP(class_, run_) { .size = sizeof(struct vferry_step_desc), .step_class = class_, \
	.name = "state", .section = SECTION_STATE, .run = run_ }

static const struct vferry_section_desc pic_section = SECTION(2 * (4 + PIC_BYTES));
static const struct vferry_section_desc ioapic_section = SECTION(4 + IOAPIC_BYTES);
static const struct vferry_section_desc pit_section = SECTION(4 + PIT_BYTES);

static const struct vferry_step_desc pic_steps[] = {
	STEP(VFERRY_SAVE_IOAPIC, save_pic), STEP(VFERRY_LOAD_IOAPIC, load_pic),
};
static const struct vferry_step_desc ioapic_steps[] = {
	STEP(VFERRY_SAVE_IOAPIC, save_ioapic), STEP(VFERRY_LOAD_IOAPIC, load_ioapic),
};
static const struct vferry_step_desc pit_steps[] = {
	STEP(VFERRY_SAVE_IOAPIC, save_pit), STEP(VFERRY_LOAD_PIT, load_pit),
};

static struct vferry_component chip(struct vferry_kvm_x86 *x86, const char *name,
				    const struct vferry_section_desc *section,
				    const struct vferry_step_desc *steps)
{
	return (struct vferry_component) { .size = sizeof(struct vferry_component), .name = name,
		.user = x86, .sections = section, .section_count = 1, .steps = steps,
		.step_count = 2 };
}

size_t vf_x86_chips_describe(struct vferry_kvm_x86 *x86, struct vferry_component *to)
{
	if (x86->irqchip != VFERRY_KVM_IRQCHIP_KERNEL)
		return 0;
	to[0] = chip(x86, "pic", &pic_section, pic_steps);
	to[1] = chip(x86, "ioapic", &ioapic_section, ioapic_steps);
	if (!x86->pit)
		return 2;
	to[2] = chip(x86, "pit", &pit_section, pit_steps);
	return 3;
}
