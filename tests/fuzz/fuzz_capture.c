/* SPDX-License-Identifier: MIT */
/*
 * fuzz_capture.c - any two texts as a capture, with a form feed between them: refused with a reason, or
 * within its bounds, written again just so, and a device that can be written to anywhere.
 */
#include <assert.h>
#include <json-c/json.h>
#include <string.h>

#include "capture/capture.h"
#include "devices/replay_config.h"

#define LINES_AT 0u
#include "line_mutator.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(const struct capture *c)
{
	static struct replay_config config;
	uint8_t ones[CAPTURE_CONFIG_MAX], after[CAPTURE_CONFIG_MAX];
	uint32_t bytes = capture_config_bytes(c);

	memset(ones, 0xff, sizeof(ones));
	replay_config_init(&config, c);
	replay_config_read(&config, 0, after, bytes);
	assert(!memcmp(after, c->config, bytes));
	(void) replay_config_write(&config, 0, ones, bytes);
	replay_config_read(&config, 0, after, bytes);
	for (uint32_t i = 0; i < bytes; i++)
		assert(after[i] == (c->config[i] | config.writable[i]));
	replay_config_reset(&config);
	replay_config_read(&config, bytes - 1, after, 1);
	assert(after[0] == c->config[bytes - 1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct capture c;
	struct vferry_error err = VFERRY_ERROR_INIT;
	const uint8_t *feed = memchr(data, '\f', size);
	size_t first = feed ? (size_t) (feed - data) : size;
	size_t second = feed ? size - first - 1 : 0;
	struct vf_writer again;

	if (capture_parse((const char *) data, first, feed ? (const char *) feed + 1 : "", second, &c,
			  &err)) {
		assert(err.code && err.message[0]);
		return 0;
	}
	assert(!capture_check(&c, NULL));
	vf_writer_init(&again, CAPTURE_CONFIG_FILE_MAX);
	capture_write_config(&c, &again);
	assert(again.size == second && !memcmp(again.data, feed + 1, second));
	vf_writer_done(&again);
	use(&c);
	return 0;
}
