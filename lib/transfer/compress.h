/* SPDX-License-Identifier: MIT */
/*
 * compress.h - the codecs of page frames, behind one table.
 *
 * A codec works on whole blocks of up to 1 MiB that are private copies: none of them is safe on
 * memory that changes while it reads.
 *
 * Threads: a struct vf_compressor belongs to one thread.
 */
#ifndef VF_TRANSFER_COMPRESS_H
#define VF_TRANSFER_COMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include <vferry/error.h>

#include "wire/pages.h"

struct vf_compressor;

/* "zstd"; NULL for no such codec. */
const char *vf_codec_name(enum vf_codec codec);
bool vf_codec_available(enum vf_codec codec);	/* in this build; NONE always */
/* Return: 0; -ENOTSUP not in this build; -EINVAL; -ENOMEM. Not for VF_CODEC_NONE. */
int vf_compressor_new(enum vf_codec codec, struct vf_compressor **ret);
struct vf_compressor *vf_compressor_free(struct vf_compressor *c);	/* NULL allowed */
/* Return: bytes written to @to; -ENOSPC they would not fit in @room (send it as it is). */
int64_t vf_compress(struct vf_compressor *c, const void *from, size_t size, void *to, size_t room);
/* Return: 0 exactly @size bytes came out; -EBADMSG. */
int vf_decompress(struct vf_compressor *c, const void *from, size_t stored, void *to, size_t size);

#endif
