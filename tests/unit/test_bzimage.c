/* SPDX-License-Identifier: MIT */
/* bzimage: what a kernel's header says is believed only where it can be true. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/kvm/x86/bzimage.h"

#define SETUP_SECTORS 3u
#define SETUP_BYTES ((SETUP_SECTORS + 1) * 512u)
#define FILE_BYTES (SETUP_BYTES + 8192u)

static uint8_t file[FILE_BYTES];

/* A kernel that can be booted. */
static struct setup_header *make(void)
{
	struct boot_params *params = (struct boot_params *) file;

	memset(file, 0, sizeof(file));
	params->hdr = (struct setup_header) {
		.setup_sects = SETUP_SECTORS, .boot_flag = 0xaa55, .jump = 0x66eb, .header = 0x53726448,
		.version = 0x020f, .loadflags = LOADED_HIGH, .xloadflags = XLF_KERNEL_64,
		.pref_address = 0x1000000, .init_size = 0x20000, .initrd_addr_max = 0x7fffffff,
		.cmdline_size = 2047,
	};
	return &params->hdr;
}

static int parse(size_t bytes, struct bzimage *ret, struct vferry_error *err)
{
	vferry_error_clear(err);
	return bzimage_parse(file, bytes, ret, err);
}

static void a_good_one_is_taken(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct bzimage image;

	(void) state;
	(void) make();
	assert_int_equal(parse(FILE_BYTES, &image, &err), 0);
	assert_int_equal(image.payload, SETUP_BYTES);
	assert_int_equal(image.gpa, 0x1000000);
	assert_int_equal(image.bytes, 0x20000);
	assert_int_equal(image.initrd_last, 0x7fffffff);
	assert_int_equal(image.append_max, 2047);
	make()->setup_sects = 0;	/* 4, of old */
	assert_int_equal(parse(FILE_BYTES, &image, &err), 0);
	assert_int_equal(image.payload, 5 * 512);
}

static void what_cannot_be_is_refused(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct bzimage image;

	(void) state;
#define REFUSED(change, words) do {						\
		struct setup_header *h = make();				\
		h->change;							\
		assert_int_equal(parse(FILE_BYTES, &image, &err), -ENOEXEC);	\
		assert_non_null(strstr(err.message, words));			\
	} while (0)
	REFUSED(boot_flag = 0, "no bzImage");
	REFUSED(header = 0, "no bzImage");
	REFUSED(version = 0x020b, "2.12");
	REFUSED(loadflags = 0, "1 MiB");
	REFUSED(xloadflags = 0, "64-bit");
	REFUSED(setup_sects = 255, "cut off");
	REFUSED(pref_address = 0, "place");
	REFUSED(pref_address = 0xff000, "place");
	REFUSED(pref_address = 0x1000800, "place");
	REFUSED(pref_address = 1ull << 40, "place");
	REFUSED(init_size = 4096, "longer");
}

static void a_file_that_ends_anywhere_is_refused(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct bzimage image;

	(void) state;
	for (size_t bytes = 0; bytes <= SETUP_BYTES + BZIMAGE_ENTRY; bytes++) {
		uint8_t *cut = malloc(bytes ? bytes : 1);	/* a tool that watches memory sees what is behind it */

		(void) make();
		memcpy(cut, file, bytes);
		assert_int_equal(bzimage_parse(cut, bytes, &image, &err), -ENOEXEC);
		free(cut);
	}
}

static void other_files_are_called_by_their_names(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct bzimage image;

	(void) state;
	memset(file, 0, sizeof(file));
	memcpy(file, "\x7f" "ELF", 4);
	assert_int_equal(parse(FILE_BYTES, &image, &err), -ENOEXEC);
	assert_non_null(strstr(err.message, "ELF"));
	memset(file, 0, sizeof(file));
	memcpy(file + 56, "ARM\x64", 4);
	assert_int_equal(parse(FILE_BYTES, &image, &err), -ENOEXEC);
	assert_non_null(strstr(err.message, "arm64"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_one_is_taken),
		cmocka_unit_test(what_cannot_be_is_refused),
		cmocka_unit_test(a_file_that_ends_anywhere_is_refused),
		cmocka_unit_test(other_files_are_called_by_their_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
