/* SPDX-License-Identifier: MIT */
/* loader.c - see loader.h. */
#include "loader.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#define SEGMENTS_MAX 64u

static int bad_image(struct vferry_error *err, const char *what)
{
	return vferry_error_set(err, -ENOEXEC, "bad-image", "guest", "the guest's image: %s", what);
}

static int check_header(const Elf64_Ehdr *h, uint16_t machine, size_t bytes,
			struct vferry_error *err)
{
	if (memcmp(h->e_ident, ELFMAG, SELFMAG) != 0 || h->e_ident[EI_CLASS] != ELFCLASS64 ||
	    h->e_ident[EI_DATA] != ELFDATA2LSB || h->e_machine != machine)
		return bad_image(err, "not ELF for this architecture");
	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum > SEGMENTS_MAX ||
	    h->e_phoff > bytes || h->e_phnum > (bytes - h->e_phoff) / sizeof(Elf64_Phdr))
		return bad_image(err, "its table of segments lies outside of it");
	return 0;
}

int loader_zero(struct vferry_ram *ram, uint64_t gpa, uint64_t bytes)
{
	static const uint8_t zeros[4096];
	int r = 0;

	while (bytes > 0 && r == 0) {
		size_t part = bytes < sizeof(zeros) ? (size_t) bytes : sizeof(zeros);

		r = vferry_ram_write(ram, gpa, zeros, part);
		gpa += part;
		bytes -= part;
	}
	return r;
}

static int load_segment(struct vferry_ram *ram, const Elf64_Phdr *p, const uint8_t *image,
			size_t bytes, struct vferry_error *err)
{
	int r = 0;

	if (p->p_type != PT_LOAD || p->p_memsz == 0)
		return 0;
	if (p->p_offset > bytes || p->p_filesz > bytes - p->p_offset || p->p_filesz > p->p_memsz)
		return bad_image(err, "a segment lies outside of it");
	if (!vferry_ram_host(ram, p->p_paddr, p->p_memsz))
		return vferry_error_set(err, -EFAULT, "bad-image", "guest",
					"the guest's image: a segment of %#llx bytes at %#llx lies outside of RAM",
					(unsigned long long) p->p_memsz, (unsigned long long) p->p_paddr);
	if (p->p_filesz > 0)
		r = vferry_ram_write(ram, p->p_paddr, image + p->p_offset, p->p_filesz);
	if (r == 0)
		r = loader_zero(ram, p->p_paddr + p->p_filesz, p->p_memsz - p->p_filesz);
	return r;
}

int loader_elf64(struct vferry_ram *ram, uint16_t machine, const void *image, size_t bytes,
		 struct vferry_error *err)
{
	Elf64_Ehdr header;
	int r;

	if (bytes < sizeof(header))
		return bad_image(err, "too short");
	memcpy(&header, image, sizeof(header));
	r = check_header(&header, machine, bytes, err);
	for (unsigned i = 0; r == 0 && i < header.e_phnum; i++) {
		Elf64_Phdr segment;

		memcpy(&segment, (const uint8_t *) image + header.e_phoff + i * sizeof(segment),
		       sizeof(segment));
		r = load_segment(ram, &segment, image, bytes, err);
	}
	return r;
}
