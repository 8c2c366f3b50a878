/* SPDX-License-Identifier: MIT */
/*
 * crc32c_forms.h - the ways to compute CRC32C that this build has; crc32c.h is for who wants a sum.
 *
 * All of them sum whole pages, several at a time: one sum is a chain of dependent instructions, and
 * chains side by side fill the processor's pipeline.
 */
#ifndef VF_BASE_CRC32C_FORMS_H
#define VF_BASE_CRC32C_FORMS_H

#include <stddef.h>
#include <stdint.h>

struct vf_crc32c_form {
	const char *name;
	/* The register goes in and comes out as it is, not inverted. */
	uint32_t (*update)(uint32_t crc, const uint8_t *data, size_t size);
	/* The sums of @at_once pages of 4 KiB, one behind the other. Somebody may write to them meanwhile. */
	void (*sum_pages)(const uint8_t *pages, uint32_t *crcs);
	uint32_t (*sum_page)(const uint8_t *page);
	/* As vf_crc32c_append_page(). */
	uint32_t (*append_page)(uint32_t crc, uint32_t page_crc);
	size_t at_once;
};

/* "vpclmulqdq", "sse4.2", "armv8", "generic". NULL: this processor has not got it. */
const struct vf_crc32c_form *vf_crc32c_form_named(const char *name);
const struct vf_crc32c_form *vf_crc32c_form_best(void);

#endif
