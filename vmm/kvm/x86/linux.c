/* SPDX-License-Identifier: MIT */
/*
 * linux.c - a Linux kernel in memory, and the first vCPU where it begins: the 64-bit boot protocol of
 * Documentation/arch/x86/boot.rst.
 *
 *   below 640 KiB     descriptors, struct boot_params, page tables, command line: until the kernel has
 *                     its own
 *   0xe0000           ACPI tables
 *   0xffff0           what firmware would have there: a reset
 *   where it asks     the kernel, and what it needs behind it
 *   as high as it     the initial RAM disk, in the RAM below 4 GiB
 *   can be
 *
 * The kernel is entered in 64-bit mode with interrupts off, the lowest 4 GiB mapped to themselves,
 * and the address of boot_params in RSI. All else is as after power-on, but for memory's type, which
 * firmware would have set.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../loader.h"
#include "acpi.h"
#include "bzimage.h"
#include "x86.h"

#define DESCRIPTORS	0x500ull
#define BOOT_PARAMS	0x7000ull
#define PAGE_MAP	0x9000ull	/* PML4, one page; then one of PDPT, and four of PD */
#define APPEND		0x20000ull
#define LOW_END		0xa0000ull
#define TABLES		0xe0000ull
#define RESET_VECTOR	0xffff0ull
#define HIGH_FIRST	0x100000ull

#define PAGE		4096ull
#define PAGES_OF_2M	2048u		/* in 4 GiB */
#define ENTRIES		512u		/* of one table */
#define PRESENT		0x3ull		/* and writable */
#define PRESENT_2M	0x83ull

#define SELECTOR_CODE	0x10u
#define SELECTOR_DATA	0x18u
#define CODE_64		0x00af9b000000ffffull
#define DATA_FLAT	0x00cf93000000ffffull

#define CR0_PE		1ull
#define CR0_PG		(1ull << 31)
#define CR4_PAE		(1ull << 5)
#define EFER_LONG	0x500ull	/* enabled and active */
#define RFLAGS_NONE	2ull

#define MSR_MTRR_DEF_TYPE	0x2ffu
#define MTRR_WRITE_BACK		0x806u	/* enabled; no fixed ranges */

#define LOADER_UNDEFINED	0xffu
#define E820_RAM		1u
#define E820_RESERVED		2u

_Static_assert(TABLES + ACPI_BYTES_MAX <= RESET_VECTOR, "the tables reach into what is behind them");

struct places {
	struct bzimage image;
	uint64_t initrd;
	uint64_t low_bytes;	/* RAM below its hole */
};

static uint64_t low_bytes_of(uint64_t memory_bytes)
{
	return memory_bytes < X86_RAM_LOW_BYTES ? memory_bytes : X86_RAM_LOW_BYTES;
}

static int place_all(const struct machine_kernel *kernel, uint64_t memory_bytes, struct places *ret,
		     struct vferry_error *err)
{
	int r = bzimage_parse(kernel->image, kernel->image_bytes, &ret->image, err);
	uint64_t end, top;

	if (r < 0)
		return r;
	ret->low_bytes = low_bytes_of(memory_bytes);
	end = ret->image.gpa + ret->image.bytes;	/* each below 4 GiB */
	top = ret->low_bytes;
	if (ret->image.initrd_last < top)
		top = ret->image.initrd_last + 1;
	if (kernel->initrd_bytes <= top) {
		ret->initrd = (top - kernel->initrd_bytes) & ~(PAGE - 1);
		if (end <= ret->low_bytes && (kernel->initrd_bytes == 0 || ret->initrd >= end))
			return 0;
	}
	return vferry_error_set(err, -ENOMEM, "kernel-memory", "kernel",
				"%llu MiB of memory are too little for this kernel and its initial RAM disk",
				(unsigned long long) (memory_bytes >> 20));
}

int kvm_arch_check_kernel(const struct machine_options *options, struct vferry_error *err)
{
	struct places places;
	int r = place_all(options->kernel, options->memory_bytes, &places, err);

	if (r < 0)
		return r;
	if (options->kernel->append && strlen(options->kernel->append) > places.image.append_max)
		return vferry_error_set(err, -E2BIG, "kernel-arguments", "kernel",
					"the kernel's command line is too long: at most %zu bytes",
					places.image.append_max);
	return 0;
}

/* ---- into memory ---- */

static void add_range(struct boot_params *params, uint64_t gpa, uint64_t end, uint32_t type)
{
	if (end > gpa)
		params->e820_table[params->e820_entries++] =
			(struct boot_e820_entry) { .addr = gpa, .size = end - gpa, .type = type };
}

static int put_params(struct kvm_machine *m, const struct places *places)
{
	struct boot_params *params = calloc(1, sizeof(*params));
	uint64_t bytes = vferry_ram_bytes(m->ram);
	int r;

	if (!params)
		return -ENOMEM;
	params->hdr = places->image.header;
	params->hdr.type_of_loader = LOADER_UNDEFINED;
	params->hdr.cmd_line_ptr = APPEND;
	if (m->kernel->initrd_bytes > 0) {
		params->hdr.ramdisk_image = (uint32_t) places->initrd;
		params->hdr.ramdisk_size = (uint32_t) m->kernel->initrd_bytes;
	}
	params->acpi_rsdp_addr = TABLES;
	add_range(params, 0, LOW_END, E820_RAM);
	add_range(params, TABLES, HIGH_FIRST, E820_RESERVED);
	add_range(params, HIGH_FIRST, places->low_bytes, E820_RAM);
	add_range(params, X86_ECAM, X86_ECAM + PCI_HOST_ECAM_BYTES, E820_RESERVED);
	add_range(params, X86_RAM_HIGH_GPA, X86_RAM_HIGH_GPA + bytes - places->low_bytes, E820_RAM);
	r = vferry_ram_write(m->ram, BOOT_PARAMS, params, sizeof(*params));
	free(params);
	return r;
}

static int put_descriptors(struct kvm_machine *m)
{
	static const uint64_t descriptors[] = {
		[SELECTOR_CODE / 8] = CODE_64, [SELECTOR_DATA / 8] = DATA_FLAT,
	};

	return vferry_ram_write(m->ram, DESCRIPTORS, descriptors, sizeof(descriptors));
}

/* The lowest 4 GiB, in pages of 2 MiB. */
static int put_page_map(struct kvm_machine *m)
{
	uint64_t (*table)[ENTRIES] = calloc(2 + PAGES_OF_2M / ENTRIES, sizeof(*table));
	int r;

	if (!table)
		return -ENOMEM;
	table[0][0] = (PAGE_MAP + PAGE) | PRESENT;
	for (unsigned i = 0; i < PAGES_OF_2M / ENTRIES; i++)
		table[1][i] = (PAGE_MAP + (2 + i) * PAGE) | PRESENT;
	for (unsigned i = 0; i < PAGES_OF_2M; i++)
		table[2 + i / ENTRIES][i % ENTRIES] = (uint64_t) i << 21 | PRESENT_2M;
	r = vferry_ram_write(m->ram, PAGE_MAP, table, (2 + PAGES_OF_2M / ENTRIES) * sizeof(*table));
	free(table);
	return r;
}

static int put_tables(struct kvm_machine *m)
{
	void *tables = calloc(1, ACPI_BYTES_MAX);
	int r = tables ? acpi_build(tables, TABLES, m->cpus) : -ENOMEM;

	if (r > 0)
		r = vferry_ram_write(m->ram, TABLES, tables, (size_t) r);
	free(tables);
	return r;
}

/*
 * A kernel that finds hardware-reduced ACPI takes it that there is EFI to reset the machine by; without
 * it, it goes where a processor begins, in real mode: mov dx,PORT; mov al,NOW; out dx,al; hlt; jmp .-1
 */
static int put_reset(struct kvm_machine *m)
{
	static const uint8_t code[] = {
		0xba, X86_PORT_RESET & 0xff, X86_PORT_RESET >> 8, 0xb0, X86_RESET_NOW, 0xee, 0xf4, 0xeb, 0xfd,
	};

	return vferry_ram_write(m->ram, RESET_VECTOR, code, sizeof(code));
}

static int put_all(struct kvm_machine *m, const struct places *places)
{
	const struct machine_kernel *kernel = m->kernel;
	const char *append = kernel->append ? kernel->append : "";
	int r = vferry_ram_write(m->ram, places->image.gpa,
				 (const uint8_t *) kernel->image + places->image.payload,
				 kernel->image_bytes - places->image.payload);

	if (r == 0 && kernel->initrd_bytes > 0)
		r = vferry_ram_write(m->ram, places->initrd, kernel->initrd, kernel->initrd_bytes);
	if (r == 0)
		r = vferry_ram_write(m->ram, APPEND, append, strlen(append) + 1);
	if (r == 0)
		r = put_params(m, places);
	if (r == 0)
		r = put_descriptors(m);
	if (r == 0)
		r = put_page_map(m);
	if (r == 0)
		r = put_tables(m);
	return r == 0 ? put_reset(m) : r;
}

/* ---- the vCPUs ---- */

static struct kvm_segment segment(uint16_t selector, bool code)
{
	return (struct kvm_segment) {
		.limit = UINT32_MAX, .selector = selector, .type = code ? 11 : 3, .present = 1,
		.s = 1, .g = 1, .l = code, .db = !code,
	};
}

static int enter(struct kvm_vcpu *vcpu, uint64_t entry)
{
	struct kvm_regs regs = { .rip = entry, .rsi = BOOT_PARAMS, .rflags = RFLAGS_NONE };
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	sregs.cs = segment(SELECTOR_CODE, true);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = segment(SELECTOR_DATA, false);
	sregs.gdt = (struct kvm_dtable) { .base = DESCRIPTORS, .limit = SELECTOR_DATA + 7 };
	sregs.cr0 |= CR0_PE | CR0_PG;
	sregs.cr3 = PAGE_MAP;
	sregs.cr4 |= CR4_PAE;
	sregs.efer |= EFER_LONG;
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

int kvm_arch_boot_kernel(struct kvm_machine *m, struct vferry_error *err)
{
	struct places places;
	int r = place_all(m->kernel, vferry_ram_bytes(m->ram), &places, err);

	if (r < 0)
		return r;
	r = put_all(m, &places);
	for (unsigned i = 0; i < m->cpus && r == 0; i++)
		r = x86_msr_set(m->vcpu[i].fd, MSR_MTRR_DEF_TYPE, MTRR_WRITE_BACK) ? 0 : -EIO;
	if (r == 0)
		r = enter(&m->vcpu[0], places.image.gpa + BZIMAGE_ENTRY);
	if (r < 0)
		return vferry_error_set(err, r, "kernel-load", "kernel",
					"the kernel cannot be put into memory (%s)", vferry_errno_name(r));
	return 0;
}
