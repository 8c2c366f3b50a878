/* SPDX-License-Identifier: MIT */
/*
 * fuzz_config_image.c - config space as a hostile device shows it, then a guest that writes
 * everywhere.
 *
 * Input: 7 regions (u64 size, u32 flags), then up to 4096 bytes of config space, rest zero.
 */
#include <stdlib.h>
#include <string.h>

#include "vfio/config.h"

#define CONFIG_AT 84u
#include "config_mutator.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void scribble(struct vf_config *config, uint32_t value)
{
	struct vf_config_effects effects;
	uint32_t device;

	for (uint32_t at = 0; at < config->state.layout.size; at += 4) {
		(void) vf_config_read(config, at, 4, &device);
		vf_config_write(config, at, 4, value, &effects);
	}
	for (uint32_t at = 0; at < 256; at++)
		vf_config_write(config, at, 1, value, &effects);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vf_config_region regions[VF_CONFIG_REGIONS];
	struct vf_reader r = vf_reader_of(data, size);
	struct vf_config_plan plan;
	struct vf_config *config;
	struct vf_writer text;
	uint8_t *image;
	size_t bytes;

	for (unsigned int i = 0; i < VF_CONFIG_REGIONS; i++) {
		regions[i].size = vf_read_u64(&r);
		regions[i].flags = vf_read_u32(&r);
	}
	if (r.bad)
		return 0;
	bytes = VF_CONFIG_BYTES_PCI;
	if (vf_reader_left(&r) > bytes)
		bytes = VF_CONFIG_BYTES_MAX;
	image = calloc(1, bytes);	/* of its own, so that a read past its end is seen */
	if (!image)
		return 0;
	if (vf_reader_left(&r))
		memcpy(image, data + r.at, vf_reader_left(&r) < bytes ? vf_reader_left(&r) : bytes);
	if (!vf_config_new(image, bytes, regions, &config, NULL)) {
		scribble(config, 0xffffffff);
		scribble(config, 0x5aa50f30);
		vf_config_plan_stage(&config->state, &plan);
		vf_config_plan_arm(&config->state, &plan);
		vf_writer_init(&text, 1 << 20);
		vf_config_print(&config->state, &text);
		vf_writer_done(&text);
		vf_config_free(config);
	}
	free(image);
	return 0;
}
