/* SPDX-License-Identifier: MIT */
/*
 * fuzz_gic_registers.c - the section of a GIC's and of an ITS's registers. Whatever is accepted is
 * written again, and must come out as it went in.
 */
#include <stdlib.h>

#include "kvm/arm64/gic_regs.h"
#include "must_be.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_list(struct vf_gic_list *list, const uint8_t *data, size_t size)
{
	struct vferry_reader *r = NULL;
	struct vferry_writer *w = NULL;
	bool whole = true;

	if (vferry_reader_new(data, size, &r) || vferry_writer_new(vf_gic_list_bytes(list), &w))
		goto out;
	if (vf_gic_list_read(list, r, "gic", NULL))
		goto out;
	for (uint32_t i = 0; i < list->count; i++) {
		if (!list->regs[i].present && !list->regs[i].optional)
			abort();
		whole = whole && list->regs[i].present;
	}
	vf_gic_list_write(list, w);
	if (!vferry_writer_ok(w))
		abort();
	if (whole)
		must_be(w, data, size);
out:
	vferry_reader_free(r);
	vferry_writer_free(w);
	vf_gic_list_done(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vf_gic_shape shape = { .cpus = 1, .nr_irqs = 64, .ap_registers = 2 };
	struct vf_gic_list list;

	if (!vf_gic_list_of_gic(&shape, &list))
		try_list(&list, data, size);
	if (!vf_gic_list_of_its(&list))
		try_list(&list, data, size);
	return 0;
}
