/* SPDX-License-Identifier: MIT */
/* acpi: what the tables of the PC say is what the machine has, and each adds up. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/kvm/x86/acpi.h"
#include "vmm/kvm/x86/x86.h"

#define AT 0xe0000ull

static uint8_t tables[ACPI_BYTES_MAX];

static uint64_t number(const uint8_t *at, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint64_t) at[i] << (8 * i);
	return value;
}

static const uint8_t *find(const uint8_t *in, size_t bytes, uint64_t value, unsigned width)
{
	for (size_t i = 0; i + width <= bytes; i++)
		if (number(in + i, width) == value)
			return in + i;
	return NULL;
}

static void expect_sum(const uint8_t *at, size_t bytes)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < bytes; i++)
		sum = (uint8_t) (sum + at[i]);
	assert_int_equal(sum, 0);
}

/* The table that lies at @gpa: its sum is right, and it is within what was built. */
static const uint8_t *table(uint64_t gpa, const char *signature, size_t used)
{
	const uint8_t *at = tables + (gpa - AT);

	assert_true(gpa >= AT && gpa - AT + 36 <= used);
	assert_memory_equal(at, signature, 4);
	assert_true(gpa - AT + number(at + 4, 4) <= used);
	expect_sum(at, number(at + 4, 4));
	return at;
}

static void all_tables_are_found_from_the_first(void **state)
{
	(void) state;
	for (unsigned cpus = 1; cpus <= MACHINE_CPUS_MAX; cpus++) {
		size_t used = (size_t) acpi_build(tables, AT, cpus);
		const uint8_t *xsdt, *fadt, *madt, *mcfg;

		assert_memory_equal(tables, "RSD PTR ", 8);
		expect_sum(tables, 20);
		expect_sum(tables, 36);
		xsdt = table(number(tables + 24, 8), "XSDT", used);
		assert_int_equal(number(xsdt + 4, 4), 36 + 3 * 8);
		fadt = table(number(xsdt + 36, 8), "FACP", used);
		(void) table(number(fadt + 140, 8), "DSDT", used);
		madt = table(number(xsdt + 44, 8), "APIC", used);
		assert_int_equal(number(madt + 4, 4), 36 + 8 + 12 + 8 * cpus);
		assert_int_equal(number(madt + 36 + 8 + 4, 4), X86_IOAPIC);
		for (unsigned i = 0; i < cpus; i++)
			assert_int_equal(madt[36 + 8 + 12 + 8 * i + 3], i);
		mcfg = table(number(xsdt + 52, 8), "MCFG", used);
		assert_int_equal(number(mcfg + 44, 8), X86_ECAM);
		assert_int_equal(mcfg[55] - mcfg[54] + 1u, PCI_HOST_ECAM_BYTES >> 20);
		assert_int_equal(number(fadt + 248, 8), X86_PORT_SLEEP);
		assert_int_equal(number(fadt + 120, 8), X86_PORT_RESET);
		assert_int_equal(fadt[128], X86_RESET_NOW);
	}
}

/* The descriptors of memory hold smallest, largest and length, one behind the other. */
static void the_windows_are_the_hosts(void **state)
{
	const struct pci_host_config *pci = &kvm_arch_layout.pci;
	const uint8_t *at;

	(void) state;
	at = find(acpi_dsdt, acpi_dsdt_bytes, pci->window32, 4);
	assert_non_null(at);
	assert_int_equal(number(at + 4, 4), pci->window32 + pci->window32_bytes - 1);
	assert_int_equal(number(at + 12, 4), pci->window32_bytes);
	at = find(acpi_dsdt, acpi_dsdt_bytes, pci->window64, 8);
	assert_non_null(at);
	assert_int_equal(number(at + 8, 8), pci->window64 + pci->window64_bytes - 1);
	assert_int_equal(number(at + 24, 8), pci->window64_bytes);
	at = find(acpi_dsdt, acpi_dsdt_bytes, pci->ecam, 4);
	assert_non_null(at);
	assert_int_equal(number(at + 4, 4), PCI_HOST_ECAM_BYTES);
}

/* A package of the routing table: 4 elements, a slot with all its functions, pin A (0), no link (0), a GSI. */
static void pins_are_the_machines(void **state)
{
	(void) state;
	for (unsigned slot = 0; slot < 32; slot++) {
		uint8_t package[10] = { 0x12, 0x0b, 0x04, 0x0c, 0xff, 0xff, (uint8_t) slot, 0, 0, 0 };
		unsigned pin = kvm_arch_layout.intx_first + slot % kvm_arch_layout.intx_pins;
		size_t bytes = sizeof(package);
		const uint8_t *at;

		if (slot == 0) {	/* 0xffff is encoded as a word */
			const uint8_t first[] = { 0x12, 0x09, 0x04, 0x0b, 0xff, 0xff, 0, 0 };

			memcpy(package, first, sizeof(first));
			bytes = sizeof(first);
		}
		at = memmem(acpi_dsdt, acpi_dsdt_bytes, package, bytes);
		assert_non_null(at);
		at += bytes;
		assert_int_equal(at[0], 0x0a);
		assert_int_equal(at[1], pin);
	}
	assert_non_null(find(acpi_dsdt, acpi_dsdt_bytes, X86_SERIAL_PORT | (uint64_t) X86_SERIAL_PORT << 16, 4));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_tables_are_found_from_the_first),
		cmocka_unit_test(the_windows_are_the_hosts),
		cmocka_unit_test(pins_are_the_machines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
