/* SPDX-License-Identifier: MIT */
/*
 * encoded_source.h - a source that is made of encoders only: it sends what a test wants, when a test
 * wants it, to a destination session that is real.
 */
#ifndef TESTS_ENCODED_SOURCE_H
#define TESTS_ENCODED_SOURCE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <vferry/vferry.h>

#include "base/crc32c.h"
#include "transfer/channel.h"
#include "transfer/uri.h"
#include "wire/message.h"

#define ENCODED_SECOND 1000000000ull
#define ENCODED_ID { 1, 2, 3 }		/* of the session */

/* A name for the destination to listen on, never given twice. */
static inline void encoded_uri(char *to, size_t size)
{
	static int count;

	(void) snprintf(to, size, "unix:/tmp/vferry-encoded-%d-%d", (int) getpid(), count++);
}

static inline struct vf_channel *encoded_connect(const char *text)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_channel *channel;
	struct vf_uri uri;

	assert_int_equal(vf_uri_parse(text, &uri, &err), 0);
	if (vf_channel_connect(&uri, 5 * ENCODED_SECOND, -1, &channel, &err))
		fail_msg("%s", err.message);
	return channel;
}

static inline void encoded_send(struct vf_channel *channel, enum vf_frame_type type,
				uint32_t component, const void *body, size_t bytes)
{
	struct vferry_error err = VFERRY_ERROR_INIT;

	if (vf_channel_send(channel, type, 0, component, body, bytes, &err))
		fail_msg("%s", err.message);
}

/* Sends what @out holds, and frees it. */
static inline void encoded_send_writer(struct vf_channel *channel, enum vf_frame_type type,
				       uint32_t component, struct vf_writer *out)
{
	encoded_send(channel, type, component, out->data, out->size);
	vf_writer_done(out);
}

/* The next answer that is neither a sign of life nor credit; its body is the caller's. */
static inline struct vf_frame encoded_answer(struct vf_channel *channel, uint8_t **ret_body)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct vf_frame frame;

	for (;;) {
		if (vf_channel_recv(channel, VF_FRAME_MAX_BYTES, &frame, ret_body, &err) != 1)
			fail_msg("no answer: %s", err.message);
		if (frame.type != VF_FRAME_KEEPALIVE && frame.type != VF_FRAME_CREDIT)
			return frame;
		free(*ret_body);
	}
}

/* @type comes, and nothing else. */
static inline void encoded_expect(struct vf_channel *channel, enum vf_frame_type type)
{
	uint8_t *body;
	struct vf_frame frame = encoded_answer(channel, &body);
	struct vferry_error why = VFERRY_ERROR_INIT;

	if (frame.type != type && frame.type == VF_FRAME_FAILED)
		(void) vf_failure_decode(body, frame.length, &why, NULL);
	if (frame.type != type)
		fail_msg("%s came, not %s: %s: %s", vf_frame_type_name(frame.type),
			 vf_frame_type_name((uint16_t) type), why.object, why.message);
	free(body);
}

/* Both sides greet each other; then the machine is described, and accepted. */
static inline void encoded_greet(struct vf_channel *channel, const struct vf_machine *machine)
{
	struct vf_hello hello = {
		.major = VF_STREAM_MAJOR, .minor = VF_STREAM_MINOR, .purpose = VF_PURPOSE_MIGRATE,
		.channel_count = 1, .session_id = ENCODED_ID, .software = "a test",
	};
	struct vf_writer out;

	vf_writer_init(&out, 512);
	vf_hello_encode(&out, &hello);
	encoded_send_writer(channel, VF_FRAME_HELLO, VF_NO_COMPONENT, &out);
	encoded_expect(channel, VF_FRAME_HELLO);
	vf_writer_init(&out, 1 << 20);
	vf_machine_encode(&out, machine);
	encoded_send_writer(channel, VF_FRAME_MACHINE, VF_NO_COMPONENT, &out);
	encoded_expect(channel, VF_FRAME_ACCEPT);
}

/* A section of @bytes that begins with @value; the rest is zero. */
static inline void encoded_section(struct vf_channel *channel, uint32_t component, uint32_t id,
				   uint32_t value, uint32_t bytes)
{
	struct vf_section_header header = { .id = id, .version = 1 };
	uint8_t *body = calloc(1, VF_SECTION_HEADER_BYTES + bytes);

	assert_non_null(body);
	vf_section_header_encode(body, &header);
	vf_put_u32(body + VF_SECTION_HEADER_BYTES, value);
	encoded_send(channel, VF_FRAME_SECTION, component, body, VF_SECTION_HEADER_BYTES + bytes);
	free(body);
}

/* Its line in the manifest. */
static inline struct vf_manifest_section encoded_listed(uint32_t component, uint32_t id,
							uint32_t value, uint32_t bytes)
{
	struct vf_manifest_section listed = { component, id, bytes, 0 };
	uint8_t *body = calloc(1, bytes);

	assert_non_null(body);
	vf_put_u32(body, value);
	listed.crc = vf_crc32c(0, body, bytes);
	free(body);
	return listed;
}

static inline void encoded_manifest(struct vf_channel *channel, const struct vf_manifest *manifest)
{
	struct vf_writer out;

	vf_writer_init(&out, 1 << 16);
	vf_manifest_encode(&out, manifest);
	encoded_send_writer(channel, VF_FRAME_MANIFEST, VF_NO_COMPONENT, &out);
}

static inline void encoded_switchover(struct vf_channel *channel)
{
	uint8_t last[4] = { 0 };

	encoded_send(channel, VF_FRAME_SWITCHOVER, VF_NO_COMPONENT, last, sizeof(last));
}

static inline void encoded_commit(struct vf_channel *channel)
{
	uint8_t id[VF_SESSION_ID_BYTES] = ENCODED_ID;

	encoded_send(channel, VF_FRAME_COMMIT, VF_NO_COMPONENT, id, sizeof(id));
}

#endif
