/* SPDX-License-Identifier: MIT */
/* must_be.h - what was accepted is written again, and comes out as it went in. */
#ifndef TESTS_FUZZ_MUST_BE_H
#define TESTS_FUZZ_MUST_BE_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <vferry/stream.h>

static void must_be(const struct vferry_writer *w, const uint8_t *data, size_t size)
{
	size_t bytes;
	const void *out = vferry_writer_data(w, &bytes);

	if (!vferry_writer_ok(w) || bytes != size || memcmp(out, data, size))
		abort();
}

#endif
