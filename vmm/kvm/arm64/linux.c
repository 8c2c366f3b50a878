/* SPDX-License-Identifier: MIT */
/*
 * linux.c - a Linux kernel in memory, and the first vCPU where it begins.
 *
 * From the start of RAM: the kernel (at the offset that it asks for), the initial RAM disk, the device
 * tree, each at a multiple of 2 MiB. The kernel is entered with the tree's address in x0; all else is
 * as after power-on (MMU and interrupts off).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "../loader.h"
#include "arm64.h"
#include "device_tree.h"
#include "image.h"

#define APPEND_MAX 2047u	/* a kernel takes no more */

struct place {
	uint64_t kernel, initrd, tree;
};

static uint64_t align(uint64_t gpa)
{
	return (gpa + ARM64_IMAGE_ALIGN - 1) & ~(ARM64_IMAGE_ALIGN - 1);
}

static int place_all(const struct machine_kernel *kernel, uint64_t memory_bytes, struct place *ret,
		     struct vferry_error *err)
{
	struct arm64_image image;
	int r = arm64_image_parse(kernel->image, kernel->image_bytes, &image, err);
	uint64_t most = memory_bytes + ARM64_IMAGE_ALIGN;

	if (r < 0)
		return r;
	/* Each compared alone: no sum of them can overflow then. */
	if (image.bytes < most && kernel->initrd_bytes < most) {
		ret->kernel = ARM64_RAM + image.offset;
		ret->initrd = align(ret->kernel + image.bytes);
		ret->tree = align(ret->initrd + kernel->initrd_bytes);
		if (ret->tree + ARM64_TREE_BYTES <= ARM64_RAM + memory_bytes)
			return 0;
	}
	return vferry_error_set(err, -ENOMEM, "kernel-memory", "kernel",
				"%llu MiB of memory are too little for this kernel and its initial RAM disk",
				(unsigned long long) (memory_bytes >> 20));
}

int kvm_arch_check_kernel(const struct machine_options *options, struct vferry_error *err)
{
	struct place place;

	if (options->kernel->append && strlen(options->kernel->append) > APPEND_MAX)
		return vferry_error_set(err, -E2BIG, "kernel-arguments", "kernel",
					"the kernel's command line is too long: at most %u bytes", APPEND_MAX);
	return place_all(options->kernel, options->memory_bytes, &place, err);
}

static int put_tree(struct kvm_machine *m, const struct place *place)
{
	struct arm64_tree tree = {
		.cpus = m->cpus, .memory_bytes = vferry_ram_bytes(m->ram),
		.initrd = place->initrd, .initrd_bytes = m->kernel->initrd_bytes,
		.append = m->kernel->append ? m->kernel->append : "",
	};
	void *bytes = calloc(1, ARM64_TREE_BYTES);
	int r = bytes ? 0 : -ENOMEM;

	if (r == 0 && (getrandom(tree.kaslr_seed, sizeof(tree.kaslr_seed), 0) < 0 ||
		       getrandom(tree.rng_seed, sizeof(tree.rng_seed), 0) < 0))
		r = -errno;
	if (r == 0)
		r = arm64_tree_build(&tree, bytes, ARM64_TREE_BYTES);
	if (r > 0)
		r = vferry_ram_write(m->ram, place->tree, bytes, (size_t) r);
	free(bytes);
	return r;
}

int kvm_arch_boot_kernel(struct kvm_machine *m, struct vferry_error *err)
{
	const struct machine_kernel *kernel = m->kernel;
	struct place place;
	int r = place_all(kernel, vferry_ram_bytes(m->ram), &place, err);

	if (r < 0)
		return r;
	r = vferry_ram_write(m->ram, place.kernel, kernel->image, kernel->image_bytes);
	if (r == 0 && kernel->initrd_bytes > 0)
		r = vferry_ram_write(m->ram, place.initrd, kernel->initrd, kernel->initrd_bytes);
	if (r == 0)
		r = put_tree(m, &place);
	if (r < 0)
		return vferry_error_set(err, r, "kernel-load", "kernel",
					"the kernel cannot be put into memory (%s)", vferry_errno_name(r));
	return arm64_cpu_enter_at(m, place.kernel, place.tree, err);
}
