/* SPDX-License-Identifier: MIT */
/*
 * crc32c.c - sums of data of any length, and arithmetic on sums; see crc32c.h. How a page is summed is
 * in crc32c_forms.c.
 */
#include "base/checked.h"
#include "base/crc32c.h"
#include "base/crc32c_forms.h"

#define X0 0x80000000u			/* x^0 */

uint32_t vf_crc32c_multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;

	for (uint32_t bit = X0; bit; bit >>= 1) {
		product ^= a & bit ? b : 0;
		b = b >> 1 ^ (b & 1 ? VF_CRC32C_POLYNOMIAL : 0);
	}
	return product;
}

uint32_t vf_crc32c_power(uint64_t bytes)
{
	uint32_t square = X0 >> 8;	/* x^8 */
	uint32_t result = X0;

	for (; bytes; bytes >>= 1) {
		if (bytes & 1)
			result = vf_crc32c_multiply(result, square);
		square = vf_crc32c_multiply(square, square);
	}
	return result;
}

uint32_t vf_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t bytes_b)
{
	return vf_crc32c_multiply(crc_a, vf_crc32c_power(bytes_b)) ^ crc_b;
}

/* With n zero bytes behind A: crc(A 0^n) = (crc(A) + ~0) * x^8n + ~0. */
uint32_t vf_crc32c_append_zeros(uint32_t crc, uint64_t bytes)
{
	return ~vf_crc32c_multiply(~crc, vf_crc32c_power(bytes));
}

static const struct vf_crc32c_form *best_form(void)
{
	static const struct vf_crc32c_form *chosen;	/* atomic */
	const struct vf_crc32c_form *form = __atomic_load_n(&chosen, __ATOMIC_RELAXED);

	if (!form) {
		form = vf_crc32c_form_best();
		__atomic_store_n(&chosen, form, __ATOMIC_RELAXED);
	}
	return form;
}

uint32_t vf_crc32c_append_page(uint32_t crc, uint32_t page_crc)
{
	return best_form()->append_page(crc, page_crc);
}

void vf_crc32c_pages(const void *pages, size_t count, uint32_t *crcs)
{
	const struct vf_crc32c_form *form = best_form();
	const uint8_t *p = pages;

	for (; count >= form->at_once; count -= form->at_once, crcs += form->at_once) {
		form->sum_pages(p, crcs);
		p += form->at_once * VF_PAGE_BYTES;
	}
	for (; count; count--, p += VF_PAGE_BYTES)
		*crcs++ = form->sum_page(p);
}

uint32_t vf_crc32c(uint32_t crc, const void *data, size_t size)
{
	const struct vf_crc32c_form *form = best_form();
	const uint8_t *p = data;
	uint32_t crcs[24];	/* a multiple of what any form takes at once */

	while (size >= VF_PAGE_BYTES) {
		size_t pages = vf_min_u64(size / VF_PAGE_BYTES, VF_ARRAY_COUNT(crcs));

		vf_crc32c_pages(p, pages, crcs);
		for (size_t i = 0; i < pages; i++)
			crc = form->append_page(crc, crcs[i]);
		p += pages * VF_PAGE_BYTES;
		size -= pages * VF_PAGE_BYTES;
	}
	return ~form->update(~crc, p, size);
}
