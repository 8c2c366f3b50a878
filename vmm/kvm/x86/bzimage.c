/* SPDX-License-Identifier: MIT */
/* bzimage.c - see bzimage.h. Kernel and host are both little endian. */
#include <errno.h>
#include <stddef.h>
#include <stdbool.h>
#include <string.h>

#include "bzimage.h"

#define SECTOR		512u
#define HEADER_AT	offsetof(struct boot_params, hdr)
#define BOOT_FLAG	0xaa55u
#define MAGIC		0x53726448u	/* "HdrS" */
#define VERSION		0x020cu		/* the first that says if 64-bit code can be entered */
#define SECTORS_OF_OLD	4u		/* what 0 sectors of set-up mean */
#define LOWEST		0x100000ull
#define HIGHEST		0x7fffffffull	/* of what the header can say of addresses that matter */

static int refuse(struct vferry_error *err, const char *why)
{
	return vferry_error_set(err, -ENOEXEC, "bad-kernel", "kernel", "the kernel cannot be booted: %s", why);
}

/* What else people take for a kernel. */
static const char *why_not(const void *file, size_t bytes)
{
	static const struct {
		const char *magic;
		size_t bytes, at;
		const char *why;
	} others[] = {
		{ "\x7f" "ELF", 4, 0, "it is ELF; it is to be a bzImage" },
		{ "ARM\x64", 4, 56, "it is for arm64" },
		{ "\x1f\x8b", 2, 0, "it is compressed as a whole; unpack it" },
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (bytes >= others[i].at + others[i].bytes &&
		    memcmp((const char *) file + others[i].at, others[i].magic, others[i].bytes) == 0)
			return others[i].why;
	return "it is no bzImage";
}

/* The header's length is in the jump over it, which is the instruction in front of its magic. */
static size_t header_bytes(const uint8_t *file)
{
	uint8_t jump = file[HEADER_AT + offsetof(struct setup_header, jump) + 1];
	size_t end = offsetof(struct boot_params, hdr.header) + jump;
	size_t most = HEADER_AT + sizeof(struct setup_header);

	return (end < most ? end : most) - HEADER_AT;
}

static const char *why_not_here(const struct setup_header *h, size_t bytes, const struct bzimage *b)
{
	if (h->version < VERSION)
		return "its boot protocol is older than 2.12 (Linux 3.8)";
	if (!(h->loadflags & LOADED_HIGH))
		return "it is to be put below 1 MiB";
	if (!(h->xloadflags & XLF_KERNEL_64))
		return "it has no 64-bit entry: it is for 32-bit processors";
	if (b->payload >= bytes || bytes - b->payload <= BZIMAGE_ENTRY)
		return "its file is cut off";
	if (b->gpa < LOWEST || b->gpa > HIGHEST || b->gpa % 4096)
		return "the place that it asks for is not possible";
	if (b->bytes < bytes - b->payload)
		return "its file is longer than the memory that it says it needs";
	return NULL;
}

int bzimage_parse(const void *file, size_t bytes, struct bzimage *ret, struct vferry_error *err)
{
	const uint8_t *at = file;
	struct setup_header *h = &ret->header;
	const char *why;

	*ret = (struct bzimage) { 0 };
	if (bytes < HEADER_AT + sizeof(*h))
		return refuse(err, why_not(file, bytes));
	memcpy(h, at + HEADER_AT, header_bytes(at));
	if (h->boot_flag != BOOT_FLAG || h->header != MAGIC)
		return refuse(err, why_not(file, bytes));
	ret->payload = ((h->setup_sects ? h->setup_sects : SECTORS_OF_OLD) + 1) * (size_t) SECTOR;
	ret->gpa = h->pref_address;
	ret->bytes = h->init_size;
	ret->initrd_last = h->initrd_addr_max;
	ret->append_max = h->cmdline_size;
	why = why_not_here(h, bytes, ret);
	return why ? refuse(err, why) : 0;
}
