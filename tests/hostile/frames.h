/* SPDX-License-Identifier: MIT */
/*
 * frames.h - a stream as a list of frames that can be taken apart, changed and put together again, with
 * or without all that a frame says about itself being true.
 *
 * A frame in such a list is as on the wire (lib/wire/frame.h), but lengths, sequence numbers and
 * checksums are put right when it is sent, so that what was changed is looked at; unless bits of
 * `flags` that no version defines ask for a lie. They are not sent.
 */
#ifndef TESTS_HOSTILE_FRAMES_H
#define TESTS_HOSTILE_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire/frame.h"

#define HOSTILE_FRAMES_MAX 256u

enum hostile_flags {
	HOSTILE_RAW = 0x8000,		/* nothing is put right */
	HOSTILE_EARLY = 0x4000,		/* sent without waiting for its turn */
	HOSTILE_SEQUENCE = 0x2000,	/* the sequence number stays */
	HOSTILE_LENGTH = 0x1000,	/* the length stays */
	HOSTILE_BITS = 0xf000,
};

struct hostile_frame {
	uint8_t header[VF_FRAME_HEADER_BYTES];
	uint8_t *body;			/* owned */
	uint32_t bytes;			/* of body */
};

struct hostile_stream {
	struct hostile_frame frames[HOSTILE_FRAMES_MAX];
	unsigned count;
};

/* As many frames as there are; the last one may be cut. Aborts if there is no memory. */
void hostile_stream_parse(struct hostile_stream *s, const uint8_t *data, size_t size);
void hostile_stream_done(struct hostile_stream *s);
/* For the fuzzer: the list as bytes that parse to it. Return: bytes, at most @room. */
size_t hostile_stream_store(const struct hostile_stream *s, uint8_t *to, size_t room);

void hostile_stream_remove(struct hostile_stream *s, unsigned at);
/* A copy of @frame at @at. false: full. */
bool hostile_stream_insert(struct hostile_stream *s, unsigned at, const struct hostile_frame *frame);
/* Index of the @nth (from 0) frame of @type, or -1. */
int hostile_stream_find(const struct hostile_stream *s, uint16_t type, unsigned nth);

uint16_t hostile_frame_type(const struct hostile_frame *f);
uint16_t hostile_frame_flags(const struct hostile_frame *f);
void hostile_frame_set_flags(struct hostile_frame *f, uint16_t flags);
/* The body becomes @bytes long; new ones are 0. */
void hostile_frame_resize(struct hostile_frame *f, uint32_t bytes);

/* The frame as it goes on the wire as number @sequence: malloc()ed. */
uint8_t *hostile_frame_bytes(const struct hostile_frame *f, uint64_t sequence, size_t *ret_size);

#endif
