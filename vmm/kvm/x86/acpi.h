/* SPDX-License-Identifier: MIT */
/*
 * acpi.h - the ACPI tables of the PC: RSDP, XSDT, FADT (hardware-reduced), MADT, MCFG, and the DSDT,
 * which dsdt.asl has in words. After the ACPI specification, 6.2.
 */
#ifndef VMM_KVM_X86_ACPI_H
#define VMM_KVM_X86_ACPI_H

#include <stddef.h>
#include <stdint.h>

#define ACPI_BYTES_MAX	0x10000u

/* Made of dsdt.asl. */
extern const uint8_t acpi_dsdt[];
extern const size_t acpi_dsdt_bytes;

/**
 * acpi_build() - all tables, one behind the other, for where they will lie; the RSDP is the first
 * @to: ACPI_BYTES_MAX bytes
 * @gpa: where the guest finds @to; below 4 GiB
 * Return: bytes of it that are used; -E2BIG.
 */
int acpi_build(void *to, uint64_t gpa, unsigned cpus);

#endif
