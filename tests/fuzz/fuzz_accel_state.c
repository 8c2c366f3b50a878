/* SPDX-License-Identifier: MIT */
/*
 * fuzz_accel_state.c - any bytes as an accel device's state.
 *
 * First byte: how the rest is cut into writes. Check sums would keep a fuzzer out, so the record
 * heads and payloads are given right ones before they go in, except in what the first byte's top
 * bit asks for as it is. A state that is taken must leave a device that can run.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "devices/accel_stream.h"

#define STATE_BYTES 12288u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int no_read(void *user, uint64_t iova, void *to, size_t len)
{
	(void) user;
	memset(to, (int) iova, len);
	return 0;
}

static int no_write(void *user, uint64_t iova, const void *from, size_t len)
{
	(void) user;
	(void) iova;
	(void) from;
	(void) len;
	return 0;
}

static int no_load(void *user, uint64_t iova, uint32_t *ret_value)
{
	(void) user;
	*ret_value = (uint32_t) iova;
	return 0;
}

static int no_store(void *user, uint64_t iova, uint32_t value)
{
	(void) user;
	(void) iova;
	(void) value;
	return 0;
}

static void no_message(void *user, enum accel_irq_mode mode, uint32_t vector)
{
	(void) user;
	assert(vector < (mode == ACCEL_IRQ_MSI ? ACCEL_MSI_VECTORS : ACCEL_MSIX_VECTORS));
}

static void no_line(void *user, bool asserted)
{
	(void) user;
	(void) asserted;
}

/* Makes the check sums of whatever looks like a row of records right, the digest included. */
static void mend(uint8_t *data, size_t size)
{
	uint64_t at = 0, records = 0;
	uint32_t digest = 0;

	while (size - at >= ACCEL_RECORD_HEAD) {
		uint8_t *head = data + at, *payload = head + ACCEL_RECORD_HEAD;
		uint32_t len = vf_get_u32(head + 16);

		if (len > size - at - ACCEL_RECORD_HEAD)
			len = (uint32_t) (size - at - ACCEL_RECORD_HEAD);
		if (vf_get_u32(head) == ACCEL_RECORD_END && len >= ACCEL_END_BYTES) {
			vf_put_u64(payload, records);
			vf_put_u64(payload + 8, at);
			vf_put_u32(payload + 16, digest);
		}
		if (vf_get_u32(head) != ACCEL_RECORD_PATTERN)
			vf_put_u32(head + 20, vf_crc32c(0, payload, len));
		vf_put_u32(head + 28, vf_crc32c(0, head, 28));
		digest = vf_crc32c(digest, head, ACCEL_RECORD_HEAD);
		records++;
		at += ACCEL_RECORD_HEAD + len;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct accel_options o = { .state_bytes = STATE_BYTES, .seed = 7, .msix_vectors = 16,
					 .overlay_bytes = 8192 };
	const struct accel_host host = { .dma_read = no_read, .dma_write = no_write,
					 .dma_load32 = no_load, .dma_store32 = no_store, .message = no_message,
					 .line = no_line };
	struct accel_device *a = malloc(sizeof(*a));
	struct accel_load *l = malloc(sizeof(*l));
	uint8_t *window = calloc(1, ACCEL_BAR2_BYTES), *copy = malloc(size ? size : 1);
	size_t piece = size ? (data[0] & 0x7f) + 1u : 1;
	int ret = 0;

	if (!a || !l || !window || !copy || !size || accel_device_init(a, &o, &host, window))
		goto out;
	if (accel_load_init(l, a))
		goto out_device;
	memcpy(copy, data + 1, size - 1);
	if (!(data[0] & 0x80))
		mend(copy, size - 1);
	accel_load_start(l, 1);
	for (size_t at = 0; at < size - 1 && !ret; at += piece) {
		uint8_t *exact;

		piece = piece < size - 1 - at ? piece : size - 1 - at;
		exact = malloc(piece);
		if (!exact)
			break;
		memcpy(exact, copy + at, piece);
		ret = accel_load_write(l, exact, piece);
		free(exact);
	}
	if (accel_load_finish(l)) {
		assert(l->failed && l->error.code == l->failed);
	} else {
		uint8_t command = 6;

		(void) accel_device_config_write(a, 4, &command, 1, 2);
		accel_device_set_run(a, ACCEL_RUN_ALL, 2);
		for (int i = 0; i < 100; i++)
			(void) accel_device_step(a, (uint64_t) i << 30);
	}
	accel_load_done(l);
out_device:
	accel_device_done(a);
out:
	free(a);
	free(l);
	free(window);
	free(copy);
	return 0;
}
