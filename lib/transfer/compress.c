/* SPDX-License-Identifier: MIT */
/*
 * compress.c - lz4 and zstd behind one table; each is a build option.
 *
 * Level: zstd -1 gives three quarters of its best ratio on memory at a third of a GiB a second; what
 * is slower only pays on links slower than any this is used on.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/checked.h"
#include "transfer/compress.h"
#include "vf_config.h"

#if VF_HAVE_LZ4
#include <lz4.h>
#endif
#if VF_HAVE_ZSTD
#include <zstd.h>
#endif

struct codec {
	const char *name;
	void (*done)(struct vf_compressor *c);
	int64_t (*compress)(struct vf_compressor *c, const void *from, size_t size, void *to,
			    size_t room);
	int (*decompress)(struct vf_compressor *c, const void *from, size_t stored, void *to,
			  size_t size);
};

struct vf_compressor {
	const struct codec *codec;
	void *compress_state;	/* made on first use: a side needs one of the two */
	void *decompress_state;
};

#if VF_HAVE_LZ4
static int64_t lz4_compress(struct vf_compressor *c, const void *from, size_t size, void *to,
			    size_t room)
{
	int n;

	if (!c->compress_state)
		c->compress_state = malloc((size_t) LZ4_sizeofState());
	if (!c->compress_state)
		return -ENOMEM;
	n = LZ4_compress_fast_extState(c->compress_state, from, to, (int) size, (int) room, 1);
	return n > 0 ? n : -ENOSPC;
}

static int lz4_decompress(struct vf_compressor *c, const void *from, size_t stored, void *to,
			  size_t size)
{
	(void) c;
	return LZ4_decompress_safe(from, to, (int) stored, (int) size) == (int) size ? 0 : -EBADMSG;
}

static void lz4_done(struct vf_compressor *c)
{
	free(c->compress_state);
}
#endif

#if VF_HAVE_ZSTD
#define ZSTD_LEVEL 1

static int64_t zstd_compress(struct vf_compressor *c, const void *from, size_t size, void *to,
			     size_t room)
{
	size_t n;

	if (!c->compress_state)
		c->compress_state = ZSTD_createCCtx();
	if (!c->compress_state)
		return -ENOMEM;
	n = ZSTD_compressCCtx(c->compress_state, to, room, from, size, ZSTD_LEVEL);
	return ZSTD_isError(n) ? -ENOSPC : (int64_t) n;
}

static int zstd_decompress(struct vf_compressor *c, const void *from, size_t stored, void *to,
			   size_t size)
{
	if (!c->decompress_state)
		c->decompress_state = ZSTD_createDCtx();
	if (!c->decompress_state)
		return -ENOMEM;
	return ZSTD_decompressDCtx(c->decompress_state, to, size, from, stored) == size ? 0 : -EBADMSG;
}

static void zstd_done(struct vf_compressor *c)
{
	(void) ZSTD_freeCCtx(c->compress_state);
	(void) ZSTD_freeDCtx(c->decompress_state);
}
#endif

static const struct codec codecs[] = {
	[VF_CODEC_NONE] = { .name = "none" },
	[VF_CODEC_LZ4] = {
		.name = "lz4",
#if VF_HAVE_LZ4
		.compress = lz4_compress, .decompress = lz4_decompress, .done = lz4_done,
#endif
	},
	[VF_CODEC_ZSTD] = {
		.name = "zstd",
#if VF_HAVE_ZSTD
		.compress = zstd_compress, .decompress = zstd_decompress, .done = zstd_done,
#endif
	},
};

const char *vf_codec_name(enum vf_codec codec)
{
	return (size_t) codec < VF_ARRAY_COUNT(codecs) ? codecs[codec].name : NULL;
}

bool vf_codec_available(enum vf_codec codec)
{
	if ((size_t) codec >= VF_ARRAY_COUNT(codecs))
		return false;
	return codec == VF_CODEC_NONE || codecs[codec].compress;
}

int vf_compressor_new(enum vf_codec codec, struct vf_compressor **ret)
{
	struct vf_compressor *c;

	if (codec == VF_CODEC_NONE || !vf_codec_name(codec))
		return -EINVAL;
	if (!vf_codec_available(codec))
		return -ENOTSUP;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->codec = &codecs[codec];
	*ret = c;
	return 0;
}

struct vf_compressor *vf_compressor_free(struct vf_compressor *c)
{
	if (c) {
		c->codec->done(c);
		free(c);
	}
	return NULL;
}

int64_t vf_compress(struct vf_compressor *c, const void *from, size_t size, void *to, size_t room)
{
	return c->codec->compress(c, from, size, to, room);
}

int vf_decompress(struct vf_compressor *c, const void *from, size_t stored, void *to, size_t size)
{
	return c->codec->decompress(c, from, stored, to, size);
}
