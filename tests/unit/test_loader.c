/* SPDX-License-Identifier: MIT */
/* test_loader.c - ELF images: what is loaded where, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <elf.h>
#include <errno.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/kvm/loader.h"

#define RAM_BYTES (1u << 20)

struct image {
	Elf64_Ehdr header;
	Elf64_Phdr segment[2];
	char data[16];
};

static const struct image good = {
	.header = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB },
		.e_machine = EM_X86_64, .e_phoff = offsetof(struct image, segment),
		.e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2,
	},
	.segment = {
		{ .p_type = PT_LOAD, .p_offset = offsetof(struct image, data), .p_paddr = 0x8000,
		  .p_vaddr = 0xffff8000, .p_filesz = 16, .p_memsz = 0x3000 },
		{ .p_type = PT_NOTE, .p_offset = UINT64_MAX, .p_filesz = UINT64_MAX },
	},
	.data = "fifteen bytes..",
};

static struct vferry_ram *make_ram(void)
{
	struct vferry_ram *ram;

	assert_int_equal(vferry_ram_new(&ram), 0);
	assert_int_equal(vferry_ram_create_block(ram, "ram0", 0, RAM_BYTES, 0, NULL), 0);
	return ram;
}

static void test_loads(void **state)
{
	struct vferry_ram *ram = make_ram();
	const uint8_t *host = vferry_ram_host(ram, 0, RAM_BYTES);

	(void) state;
	memset(vferry_ram_host(ram, 0, RAM_BYTES), 0xee, RAM_BYTES);
	assert_int_equal(loader_elf64(ram, EM_X86_64, &good, sizeof(good), NULL), 0);
	assert_memory_equal(host + 0x8000, good.data, 16);
	for (unsigned i = 16; i < 0x3000; i++)
		assert_int_equal(host[0x8000 + i], 0);
	assert_int_equal(host[0x7fff], 0xee);
	assert_int_equal(host[0xb000], 0xee);
	(void) vferry_ram_free(ram);
}

static void refuse(const struct image *image, size_t bytes, int error)
{
	struct vferry_ram *ram = make_ram();
	struct vferry_error err = VFERRY_ERROR_INIT;

	assert_int_equal(loader_elf64(ram, EM_X86_64, image, bytes, &err), error);
	assert_string_equal(err.id, "bad-image");
	(void) vferry_ram_free(ram);
}

static void test_refuses(void **state)
{
	struct image i;

	(void) state;
	refuse(&good, sizeof(Elf64_Ehdr) - 1, -ENOEXEC);
	refuse(&good, sizeof(Elf64_Ehdr) + sizeof(Elf64_Phdr), -ENOEXEC);
	refuse(&good, sizeof(good) - 1, -ENOEXEC);
#define BROKEN(error, ...) \
	do { i = good; __VA_ARGS__; refuse(&i, sizeof(i), error); } while (0)
	BROKEN(-ENOEXEC, i.header.e_ident[0] = 0);
	BROKEN(-ENOEXEC, i.header.e_ident[EI_CLASS] = ELFCLASS32);
	BROKEN(-ENOEXEC, i.header.e_ident[EI_DATA] = ELFDATA2MSB);
	BROKEN(-ENOEXEC, i.header.e_machine = EM_AARCH64);
	BROKEN(-ENOEXEC, i.header.e_phentsize = 32);
	BROKEN(-ENOEXEC, i.header.e_phnum = 65);
	BROKEN(-ENOEXEC, i.header.e_phoff = UINT64_MAX);
	BROKEN(-ENOEXEC, i.header.e_phoff = sizeof(i) - sizeof(Elf64_Phdr));
	BROKEN(-ENOEXEC, i.segment[0].p_offset = UINT64_MAX);
	BROKEN(-ENOEXEC, i.segment[0].p_filesz = 17);
	BROKEN(-ENOEXEC, i.segment[0].p_memsz = 15);
	BROKEN(-EFAULT, i.segment[0].p_memsz = UINT64_MAX);
	BROKEN(-EFAULT, i.segment[0].p_paddr = RAM_BYTES - 15);
	BROKEN(-EFAULT, i.segment[0].p_paddr = UINT64_MAX - 4);
#undef BROKEN
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_loads), cmocka_unit_test(test_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
