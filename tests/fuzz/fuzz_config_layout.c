/* SPDX-License-Identifier: MIT */
/* fuzz_config_layout.c - a layout from the wire; one taken encodes to the bytes it came from. */
#include <stdlib.h>
#include <string.h>

#include "vfio/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vf_reader r = vf_reader_of(data, size);
	struct vf_config_layout layout, none = { .size = 4096 };
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_writer w;

	if (vf_config_layout_decode(&r, &layout, &err))
		return 0;
	vf_writer_init(&w, VF_CONFIG_LAYOUT_BYTES_MAX);
	vf_config_layout_encode(&layout, &w);
	if (w.bad || w.size != size || memcmp(w.data, data, size))
		abort();
	vf_writer_done(&w);
	if (vf_config_compare(&layout, &layout, NULL, NULL))
		abort();
	(void) vf_config_check(&layout, &none, "fuzz", &err);
	(void) vf_config_check(&none, &layout, "fuzz", NULL);
	return 0;
}
