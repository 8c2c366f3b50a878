/* SPDX-License-Identifier: MIT */
/* What an arm64 kernel is booted with: its header, and the device tree that it gets. */
#include <errno.h>
#include <libfdt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kvm/arm64/device_tree.h"
#include "kvm/arm64/image.h"
#include "kvm/arm64/map.h"

#define IMAGE_BYTES 4096u

static void put64(uint8_t *to, uint64_t value)
{
	for (unsigned i = 0; i < 8; i++)
		to[i] = (uint8_t) (value >> 8 * i);
}

static void make_image(uint8_t *file, uint64_t offset, uint64_t bytes, uint64_t flags)
{
	memset(file, 0, IMAGE_BYTES);
	put64(file + 8, offset);
	put64(file + 16, bytes);
	put64(file + 24, flags);
	memcpy(file + 56, "ARM\x64", 4);
}

static void assert_refused(const uint8_t *file, size_t bytes, const char *word)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	struct arm64_image image;

	assert_int_equal(arm64_image_parse(file, bytes, &image, &err), -ENOEXEC);
	assert_non_null(strstr(err.message, word));
}

static void test_image(void **state)
{
	struct vferry_error err = VFERRY_ERROR_INIT;
	uint8_t file[IMAGE_BYTES];
	struct arm64_image image;

	(void) state;
	make_image(file, 0x80000, 0x10000, 0xa);
	assert_int_equal(arm64_image_parse(file, sizeof(file), &image, &err), 0);
	assert_int_equal(image.offset, 0x80000);
	assert_int_equal(image.bytes, 0x10000);
}

static void test_bad_images(void **state)
{
	uint8_t file[IMAGE_BYTES];

	(void) state;
	make_image(file, 0, 0x10000, 0xb);
	assert_refused(file, sizeof(file), "big endian");
	make_image(file, 0, 0, 0xa);
	assert_refused(file, sizeof(file), "how much memory");
	make_image(file, 0, sizeof(file) - 1, 0xa);
	assert_refused(file, sizeof(file), "longer than");
	make_image(file, 0x200000, 0x10000, 0xa);
	assert_refused(file, sizeof(file), "place");
	make_image(file, 0, 0x10000, 0xa);
	assert_refused(file, 63, "no arm64 Image");
	assert_refused(file, 0, "no arm64 Image");
	file[56] = 'X';
	assert_refused(file, sizeof(file), "no arm64 Image");
}

static void test_other_kernels(void **state)
{
	uint8_t file[IMAGE_BYTES] = { 0x1f, 0x8b };

	(void) state;
	assert_refused(file, 2, "gzip");
	memcpy(file, "MZ\0\0zimg", 8);
	assert_refused(file, sizeof(file), "EFI");
	memset(file, 0, sizeof(file));
	memcpy(file + 0x202, "HdrS", 4);
	assert_refused(file, sizeof(file), "x86");
}

static const struct arm64_tree example = {
	.cpus = 3, .memory_bytes = 0x123400000ull, .initrd = 0x48000000, .initrd_bytes = 0x1234,
	.append = "console=ttyS0 quiet",
};

static uint64_t two_cells(const fdt32_t *cells, unsigned at)
{
	return (uint64_t) fdt32_to_cpu(cells[at]) << 32 | fdt32_to_cpu(cells[at + 1]);
}

static const fdt32_t *cells_of(const void *tree, const char *path, const char *name, int count)
{
	int bytes = 0, node = fdt_path_offset(tree, path);
	const fdt32_t *cells;

	assert_true(node >= 0);
	cells = fdt_getprop(tree, node, name, &bytes);
	assert_non_null(cells);
	assert_int_equal(bytes, count * 4);
	return cells;
}

static void test_tree(void **state)
{
	static uint8_t tree[ARM64_TREE_BYTES];
	const fdt32_t *map;
	int bytes = arm64_tree_build(&example, tree, sizeof(tree));

	(void) state;
	assert_true(bytes > 0);
	assert_int_equal(fdt_check_full(tree, sizeof(tree)), 0);
	assert_int_equal(bytes, fdt_totalsize(tree));
	assert_int_equal(two_cells(cells_of(tree, "/memory", "reg", 4), 2), example.memory_bytes);
	assert_int_equal(two_cells(cells_of(tree, "/chosen", "linux,initrd-end", 2), 0), 0x48001234);
	assert_string_equal(fdt_getprop(tree, fdt_path_offset(tree, "/chosen"), "bootargs", NULL),
			    example.append);
	assert_int_equal(fdt32_to_cpu(*cells_of(tree, "/cpus/cpu@2", "reg", 1)), 2);
	assert_true(fdt_path_offset(tree, "/cpus/cpu@3") < 0);
	/* A redistributor for each vCPU, and messages that reach the ITS. */
	assert_int_equal(two_cells(cells_of(tree, "/interrupt-controller", "reg", 8), 6), 3 * 0x20000);
	assert_int_equal(fdt_node_offset_by_phandle(tree, fdt32_to_cpu(cells_of(tree, "/pcie", "msi-map", 4)[1])),
			 fdt_path_offset(tree, "/interrupt-controller/msi-controller"));
	/* INTA of slot 5 is the second pin. */
	map = cells_of(tree, "/pcie", "interrupt-map", 32 * 10) + 5 * 10;
	assert_int_equal(fdt32_to_cpu(map[0]), 5 << 11);
	assert_int_equal(fdt32_to_cpu(map[8]), 3 + 1);
}

/* A kernel complains of a window of 4 GiB and more that is not prefetchable. */
static void test_windows(void **state)
{
	const unsigned range_cells = 7, ranges = 3;
	static uint8_t tree[ARM64_TREE_BYTES];
	const fdt32_t *range;
	uint64_t end64 = 0;

	(void) state;
	assert_true(arm64_tree_build(&example, tree, sizeof(tree)) > 0);
	range = cells_of(tree, "/pcie", "ranges", (int) (ranges * range_cells));
	for (unsigned i = 0; i < ranges; i++, range += range_cells) {
		uint32_t kind = fdt32_to_cpu(range[0]);
		uint64_t from = two_cells(range, 1), bytes = two_cells(range, 5);

		assert_true(kind == 0x02000000 || kind == 0x03000000 || kind == 0x43000000);
		assert_int_equal(two_cells(range, 3), from);
		assert_true(bytes < 1ull << 32 || kind == 0x43000000);
		assert_true(from + bytes <= 1ull << 32 || kind != 0x02000000);
		if (kind == 0x02000000)
			continue;
		/* Those of 64 bits are all of the machine's window, one beside the other. */
		assert_int_equal(from, end64 ? end64 : ARM64_WINDOW64);
		end64 = from + bytes;
	}
	assert_int_equal(end64, ARM64_WINDOW64 + ARM64_WINDOW64_BYTES);
}

static void test_tree_without(void **state)
{
	struct arm64_tree tree = example;
	uint8_t bytes[ARM64_TREE_BYTES];

	(void) state;
	tree.initrd_bytes = 0;
	assert_true(arm64_tree_build(&tree, bytes, sizeof(bytes)) > 0);
	assert_null(fdt_getprop(bytes, fdt_path_offset(bytes, "/chosen"), "linux,initrd-start", NULL));
	for (size_t size = 0; size < 2048; size += 97)
		assert_int_equal(arm64_tree_build(&tree, bytes, size), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_image), cmocka_unit_test(test_bad_images),
		cmocka_unit_test(test_other_kernels), cmocka_unit_test(test_tree),
		cmocka_unit_test(test_windows), cmocka_unit_test(test_tree_without),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
