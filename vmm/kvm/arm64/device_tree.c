/* SPDX-License-Identifier: MIT */
/*
 * device_tree.c - the machine as a device tree: CPUs, memory, GICv3 with ITS, timer, PSCI, serial
 * port, PCI host. Addresses and sizes have two cells each everywhere.
 */
#include <errno.h>
#include <libfdt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "../../pci_host.h"
#include "device_tree.h"
#include "map.h"

#define CELLS_MAX	1024u

/* Nodes that others name. */
#define PHANDLE_GIC	1u
#define PHANDLE_ITS	2u

/* An interrupt is a kind, a number of that kind, and how it is signalled. */
#define SPI		0u
#define PPI		1u
#define LEVEL_HIGH	4u
#define LEVEL_LOW	8u

#define GICD_BYTES	0x10000u
#define GICR_BYTES	0x20000u	/* of each vCPU */
#define ITS_BYTES	0x20000u
#define SERIAL_HZ	1843200u

#define PCI_SLOTS	32u
#define PCI_MEMORY32	0x02000000u
#define PCI_MEMORY64	0x03000000u
#define PCI_PREFETCH64	0x43000000u

/* The first error stays; after it nothing is written. */
struct writer {
	void *to;
	int error;
};

static void note(struct writer *w, int r)
{
	if (w->error == 0)
		w->error = r;
}

static void begin(struct writer *w, const char *name)
{
	note(w, fdt_begin_node(w->to, name));
}

static void end(struct writer *w)
{
	note(w, fdt_end_node(w->to));
}

static void property(struct writer *w, const char *name, const void *value, size_t bytes)
{
	note(w, fdt_property(w->to, name, value, (int) bytes));
}

static void text(struct writer *w, const char *name, const char *value)
{
	property(w, name, value, strlen(value) + 1);
}

static void cells(struct writer *w, const char *name, const uint32_t *values, size_t count)
{
	fdt32_t value[CELLS_MAX];

	if (count > CELLS_MAX) {
		note(w, -FDT_ERR_NOSPACE);
		return;
	}
	for (size_t i = 0; i < count; i++)
		value[i] = cpu_to_fdt32(values[i]);
	property(w, name, value, count * sizeof(value[0]));
}

#define CELLS(w, name, ...) \
	cells(w, name, (const uint32_t []) { __VA_ARGS__ }, \
	      sizeof((const uint32_t []) { __VA_ARGS__ }) / sizeof(uint32_t))

/* The two cells of an address or a size. */
#define TWO(value) (uint32_t) ((uint64_t) (value) >> 32), (uint32_t) (value)

/* ---- nodes ---- */

static void put_chosen(struct writer *w, const struct arm64_tree *tree)
{
	begin(w, "chosen");
	text(w, "bootargs", tree->append);
	text(w, "stdout-path", "/serial");
	if (tree->initrd_bytes > 0) {
		CELLS(w, "linux,initrd-start", TWO(tree->initrd));
		CELLS(w, "linux,initrd-end", TWO(tree->initrd + tree->initrd_bytes));
	}
	property(w, "kaslr-seed", tree->kaslr_seed, sizeof(tree->kaslr_seed));
	property(w, "rng-seed", tree->rng_seed, sizeof(tree->rng_seed));
	end(w);
}

static void put_cpus(struct writer *w, const struct arm64_tree *tree)
{
	char name[16];

	begin(w, "cpus");
	CELLS(w, "#address-cells", 1);
	CELLS(w, "#size-cells", 0);
	for (unsigned i = 0; i < tree->cpus; i++) {
		(void) snprintf(name, sizeof(name), "cpu@%x", i);
		begin(w, name);
		text(w, "device_type", "cpu");
		text(w, "compatible", "arm,armv8");
		text(w, "enable-method", "psci");
		CELLS(w, "reg", i);	/* MPIDR: KVM counts vCPUs in its lowest field */
		end(w);
	}
	end(w);
	begin(w, "psci");
	property(w, "compatible", "arm,psci-1.0\0arm,psci-0.2", sizeof("arm,psci-1.0\0arm,psci-0.2"));
	text(w, "method", "hvc");
	end(w);
	begin(w, "timer");
	text(w, "compatible", "arm,armv8-timer");
	/* secure, not secure, virtual, hypervisor: PPIs 13, 14, 11, 10 */
	CELLS(w, "interrupts", PPI, 13, LEVEL_LOW, PPI, 14, LEVEL_LOW,
	      PPI, ARM64_TIMER_IRQ - 16, LEVEL_LOW, PPI, 10, LEVEL_LOW);
	property(w, "always-on", NULL, 0);
	end(w);
}

static void put_gic(struct writer *w, const struct arm64_tree *tree)
{
	begin(w, "interrupt-controller");
	text(w, "compatible", "arm,gic-v3");
	property(w, "interrupt-controller", NULL, 0);
	CELLS(w, "#interrupt-cells", 3);
	CELLS(w, "#address-cells", 2);
	CELLS(w, "#size-cells", 2);
	property(w, "ranges", NULL, 0);
	CELLS(w, "reg", TWO(ARM64_GICD), TWO(GICD_BYTES), TWO(ARM64_GICR),
	      TWO((uint64_t) GICR_BYTES * tree->cpus));
	CELLS(w, "phandle", PHANDLE_GIC);
	begin(w, "msi-controller");
	text(w, "compatible", "arm,gic-v3-its");
	property(w, "msi-controller", NULL, 0);
	CELLS(w, "#msi-cells", 1);
	CELLS(w, "reg", TWO(ARM64_ITS), TWO(ITS_BYTES));
	CELLS(w, "phandle", PHANDLE_ITS);
	end(w);
	end(w);
}

static void put_serial(struct writer *w)
{
	begin(w, "serial");
	text(w, "compatible", "ns16550a");
	CELLS(w, "reg", TWO(ARM64_SERIAL), TWO(ARM64_SERIAL_BYTES));
	CELLS(w, "interrupts", SPI, ARM64_SERIAL_SPI, LEVEL_HIGH);
	CELLS(w, "clock-frequency", SERIAL_HZ);
	end(w);
}

/* INTA of each slot is a pin; there is no other. */
static void put_interrupt_map(struct writer *w)
{
	uint32_t map[PCI_SLOTS * 10], *at = map;

	for (uint32_t slot = 0; slot < PCI_SLOTS; slot++) {
		const uint32_t line[] = { slot << 11, 0, 0, 1, PHANDLE_GIC, 0, 0, SPI,
					  ARM64_INTX_FIRST + slot % ARM64_INTX_PINS, LEVEL_HIGH };

		memcpy(at, line, sizeof(line));
		at += sizeof(line) / sizeof(line[0]);
	}
	cells(w, "interrupt-map", map, sizeof(map) / sizeof(map[0]));
	CELLS(w, "interrupt-map-mask", 0x1f << 11, 0, 0, 7);
}

static void put_pci(struct writer *w)
{
	begin(w, "pcie");
	text(w, "compatible", "pci-host-ecam-generic");
	text(w, "device_type", "pci");
	CELLS(w, "#address-cells", 3);
	CELLS(w, "#size-cells", 2);
	CELLS(w, "#interrupt-cells", 1);
	CELLS(w, "reg", TWO(ARM64_ECAM), TWO(PCI_HOST_ECAM_BYTES));
	CELLS(w, "bus-range", 0, 0);
	CELLS(w, "linux,pci-domain", 0);
	CELLS(w, "ranges",
	      PCI_MEMORY32, TWO(ARM64_WINDOW32), TWO(ARM64_WINDOW32), TWO(ARM64_WINDOW32_BYTES),
	      PCI_PREFETCH64, TWO(ARM64_WINDOW64), TWO(ARM64_WINDOW64),
	      TWO(ARM64_WINDOW64_BYTES - ARM64_PLAIN64_BYTES),
	      PCI_MEMORY64, TWO(ARM64_PLAIN64), TWO(ARM64_PLAIN64), TWO(ARM64_PLAIN64_BYTES));
	/* A message's device id is its sender's requester id. */
	CELLS(w, "msi-map", 0, PHANDLE_ITS, 0, 0x10000);
	put_interrupt_map(w);
	property(w, "dma-coherent", NULL, 0);
	end(w);
}

int arm64_tree_build(const struct arm64_tree *tree, void *to, size_t size)
{
	struct writer w = { .to = to };

	note(&w, fdt_create(to, (int) size));
	note(&w, fdt_finish_reservemap(to));
	begin(&w, "");
	text(&w, "compatible", "linux,dummy-virt");
	text(&w, "model", "vferry");
	CELLS(&w, "#address-cells", 2);
	CELLS(&w, "#size-cells", 2);
	CELLS(&w, "interrupt-parent", PHANDLE_GIC);
	put_chosen(&w, tree);
	put_cpus(&w, tree);
	begin(&w, "memory");
	text(&w, "device_type", "memory");
	CELLS(&w, "reg", TWO(ARM64_RAM), TWO(tree->memory_bytes));
	end(&w);
	put_gic(&w, tree);
	put_serial(&w);
	put_pci(&w);
	end(&w);
	note(&w, fdt_finish(to));
	return w.error ? -E2BIG : (int) fdt_totalsize(to);
}
