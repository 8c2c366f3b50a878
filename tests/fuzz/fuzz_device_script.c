/* SPDX-License-Identifier: MIT */
/* fuzz_device_script.c - any file as a device script: refused, or rules within their bounds. */
#include <assert.h>

#include "devices/script.h"

#define LINES_AT 0u
#include "line_mutator.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_script s;

	if (vf_script_parse(&s, (const char *) data, size, "fuzz", &err)) {
		assert(err.code && err.message[0] && !s.rules);
		return 0;
	}
	assert(s.rule_count <= VF_SCRIPT_RULES_MAX);
	for (uint32_t i = 0; i < s.rule_count; i++)
		assert(s.rules[i].action.delay_ns <= VF_SCRIPT_DELAY_MAX_NS &&
		       s.rules[i].action.code <= 0);
	for (uint32_t n = 0; n < 40; n++) {
		(void) vf_script_on_arc(&s, (enum vf_vfio_state) (n % 8),
					(enum vf_vfio_state) (n / 8));
		(void) vf_script_on_message(&s, n);
		(void) vf_script_on_data(&s, n & 1, (uint64_t) n << n, n);
	}
	vf_script_done(&s);
	return 0;
}
