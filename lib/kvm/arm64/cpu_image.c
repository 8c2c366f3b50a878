/* SPDX-License-Identifier: MIT */
/* cpu_image.c - see cpu_image.h. */
#include <errno.h>
#include <string.h>

#include "kvm/arm64/cpu_image.h"

#define HEAD_BYTES	(4u + 1 + 1 + 8 + 4)

int vf_arm64_cpu_image_init(struct vf_arm64_cpu_image *image, const struct vf_arm64_bank *bank)
{
	*image = (struct vf_arm64_cpu_image) { 0 };
	return vf_arm64_bank_copy(&image->bank, bank);
}

void vf_arm64_cpu_image_done(struct vf_arm64_cpu_image *image)
{
	vf_arm64_bank_done(&image->bank);
}

uint32_t vf_arm64_cpu_image_bytes(const struct vf_arm64_bank *bank)
{
	uint32_t bytes = HEAD_BYTES;

	for (uint32_t i = 0; i < bank->count; i++)
		bytes += 8 + vf_arm64_reg_bytes(bank->regs[i].id);
	return bytes;
}

void vf_arm64_cpu_image_write(const struct vf_arm64_cpu_image *image, struct vferry_writer *w)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < image->bank.count; i++)
		count += image->bank.regs[i].present;
	vferry_write_u32(w, image->mp_state);
	vferry_write_u8(w, image->serror_pending);
	vferry_write_u8(w, image->serror_has_esr);
	vferry_write_u64(w, image->serror_esr);
	vferry_write_u32(w, count);
	for (uint32_t i = 0; i < image->bank.count; i++) {
		const struct vf_arm64_reg *reg = &image->bank.regs[i];

		if (!reg->present)
			continue;
		vferry_write_u64(w, reg->id);
		vferry_write_bytes(w, reg->value, vf_arm64_reg_bytes(reg->id));
	}
}

static int damaged(struct vferry_error *err, const char *object, const char *what)
{
	return vferry_error_set(err, -EINVAL, "cpu-section-damaged", object,
				"the section of %s is cut short or makes no sense: %s", object,
				what);
}

/* Ids rise, so that no register comes twice. */
static int read_register(struct vf_arm64_cpu_image *image, uint64_t *last, struct vferry_reader *r,
			 const char *object, struct vferry_error *err)
{
	uint64_t id = vferry_read_u64(r);
	struct vf_arm64_reg *reg = vf_arm64_bank_find(&image->bank, id);
	char name[VF_ARM64_NAME_BYTES];
	const void *value;

	if (id <= *last)
		return damaged(err, object, "a register's id");
	*last = id;
	if (!reg)
		return vferry_error_set(err, -EINVAL, "cpu-register-unknown", object,
					"the section has %s, which this vCPU has not",
					vf_arm64_reg_name(id, name));
	value = vferry_read_bytes(r, vf_arm64_reg_bytes(id));
	if (!value)
		return damaged(err, object, vf_arm64_reg_name(id, name));
	memcpy(reg->value, value, vf_arm64_reg_bytes(id));
	reg->present = true;
	return 0;
}

static int check_core(const struct vf_arm64_cpu_image *image, const char *object,
		      struct vferry_error *err)
{
	char name[VF_ARM64_NAME_BYTES];

	for (uint32_t i = 0; i < image->bank.count; i++) {
		const struct vf_arm64_reg *reg = &image->bank.regs[i];

		if (vf_arm64_reg_is_core(reg->id) && !reg->present)
			return vferry_error_set(err, -EINVAL, "cpu-register-missing", object,
						"the section has no %s",
						vf_arm64_reg_name(reg->id, name));
	}
	return 0;
}

int vf_arm64_cpu_image_read(struct vf_arm64_cpu_image *image, struct vferry_reader *r,
			    const char *object, struct vferry_error *err)
{
	uint32_t pending, has_esr, count;
	uint64_t last = 0;
	int code = 0;

	image->mp_state = vferry_read_u32(r);
	pending = vferry_read_u8(r);
	has_esr = vferry_read_u8(r);
	image->serror_esr = vferry_read_u64(r);
	count = vferry_read_u32(r);
	if (pending > 1 || has_esr > 1 || count > image->bank.count)
		return damaged(err, object, "its head");
	image->serror_pending = pending;
	image->serror_has_esr = has_esr;
	for (uint32_t i = 0; i < count && !code; i++)
		code = read_register(image, &last, r, object, err);
	if (code)
		return code;
	if (!vferry_reader_done(r))
		return damaged(err, object, "its end is not where it should be");
	return check_core(image, object, err);
}
