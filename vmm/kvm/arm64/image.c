/* SPDX-License-Identifier: MIT */
/* image.c - the header of an arm64 kernel. All of its numbers are little endian. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "image.h"

#define MAGIC		"ARM\x64"
#define FLAG_BIG_ENDIAN	1u

struct header {
	uint32_t code[2];
	uint64_t text_offset;
	uint64_t image_size;
	uint64_t flags;
	uint64_t reserved[3];
	char magic[4];
	uint32_t pe;
};

_Static_assert(sizeof(struct header) == 64, "64 bytes begin an image");

static int refuse(struct vferry_error *err, const char *why)
{
	return vferry_error_set(err, -ENOEXEC, "bad-kernel", "kernel", "the kernel cannot be booted: %s", why);
}

/* How distributions and boot loaders pack kernels. */
static const char *why_not_bare(const void *file, size_t bytes)
{
	static const struct {
		const char *magic;
		size_t bytes, at;
		const char *why;
	} others[] = {
		{ "\x1f\x8b", 2, 0, "it is compressed by gzip; unpack it" },
		{ "\x28\xb5\x2f\xfd", 4, 0, "it is compressed by zstd; unpack it" },
		{ "\xfd" "7zXZ", 5, 0, "it is compressed by xz; unpack it" },
		{ "zimg", 4, 4, "it is a compressed EFI program; it is to be an Image" },
		{ "HdrS", 4, 0x202, "it is for x86" },
		{ "\x7f" "ELF", 4, 0, "it is ELF; it is to be an Image" },
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (bytes >= others[i].at + others[i].bytes &&
		    memcmp((const char *) file + others[i].at, others[i].magic, others[i].bytes) == 0)
			return others[i].why;
	return "it is no arm64 Image";
}

int arm64_image_parse(const void *file, size_t bytes, struct arm64_image *ret, struct vferry_error *err)
{
	struct header header;

	if (bytes < sizeof(header))
		return refuse(err, why_not_bare(file, bytes));
	memcpy(&header, file, sizeof(header));
	if (memcmp(header.magic, MAGIC, sizeof(header.magic)) != 0)
		return refuse(err, why_not_bare(file, bytes));
	ret->offset = le64toh(header.text_offset);
	ret->bytes = le64toh(header.image_size);
	if (le64toh(header.flags) & FLAG_BIG_ENDIAN)
		return refuse(err, "it is big endian");
	if (ret->bytes == 0)
		return refuse(err, "it does not say how much memory it needs (older than Linux 3.17)");
	if (ret->bytes < bytes)
		return refuse(err, "its file is longer than the memory that it says it needs");
	if (ret->offset >= ARM64_IMAGE_ALIGN)
		return refuse(err, "the place that it asks for is not possible");
	return 0;
}
