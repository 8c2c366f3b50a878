/* SPDX-License-Identifier: MIT */
/*
 * fuzz_config_state.c - a config section from a stream; one that is taken encodes to the bytes it
 * came from, and every plan, vector and dump can be made of it.
 */
#include <stdlib.h>
#include <string.h>

#include "vfio/config.h"

#define CONFIG_AT 92u
#include "config_mutator.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct vf_config_state *state)
{
	struct vf_config_vector vector;
	struct vf_config_plan plan;
	struct vf_writer text;

	vf_config_plan_stage(state, &plan);
	vf_config_plan_arm(state, &plan);
	if (vf_config_plan_restage(state, state, &plan) || plan.step_count || plan.change_count)
		abort();
	for (uint32_t i = 0; vf_config_vector_at(state, i, &vector); i++)
		;
	vf_writer_init(&text, 1 << 20);
	vf_config_print(state, &text);
	vf_writer_done(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vf_reader r = vf_reader_of(data, size);
	struct vf_config_state *state;
	struct vf_writer w;

	if (vf_config_state_decode(&r, &state, NULL))
		return 0;
	vf_writer_init(&w, VF_CONFIG_SECTION_BYTES_MAX);
	vf_config_state_encode(state, &w);
	if (w.bad || w.size != size || memcmp(w.data, data, size))
		abort();
	vf_writer_done(&w);
	use(state);
	vf_config_state_free(state);
	return 0;
}
