/* SPDX-License-Identifier: MIT */
/*
 * dsdt.asl - what a kernel can't find by itself: the PCI host, the serial port, and how to power off.
 *
 * Addresses and numbers are those of x86.h and vmm/pci_host.h; tests/unit/test_acpi.c compares them.
 */
DefinitionBlock ("", "DSDT", 2, "VFERRY", "KVM-X86", 1)
{
	/* The type that the sleep control register of acpi.c takes for power off. */
	Name (\_S5, Package () { 5, 0, 0, 0 })

	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A08"))
			Name (_CID, EisaId ("PNP0A03"))
			Name (_SEG, 0)
			Name (_BBN, 0)
			Name (_UID, 0)
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					0, 0, 0, 0, 1)
				IO (Decode16, 0xcf8, 0xcf8, 1, 8)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite,
					0, 0xc0000000, 0xfebfffff, 0, 0x3ec00000)
				QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite,
					0, 0x8000000000, 0xbfffffffff, 0, 0x4000000000)
			})

			/* Pin A of slot n is interrupt 16 + n % 8, straight into the IOAPIC; there is no other pin. */
			Name (_PRT, Package ()
			{
				Package () { 0x0000ffff, 0, 0, 16 }, Package () { 0x0001ffff, 0, 0, 17 },
				Package () { 0x0002ffff, 0, 0, 18 }, Package () { 0x0003ffff, 0, 0, 19 },
				Package () { 0x0004ffff, 0, 0, 20 }, Package () { 0x0005ffff, 0, 0, 21 },
				Package () { 0x0006ffff, 0, 0, 22 }, Package () { 0x0007ffff, 0, 0, 23 },
				Package () { 0x0008ffff, 0, 0, 16 }, Package () { 0x0009ffff, 0, 0, 17 },
				Package () { 0x000affff, 0, 0, 18 }, Package () { 0x000bffff, 0, 0, 19 },
				Package () { 0x000cffff, 0, 0, 20 }, Package () { 0x000dffff, 0, 0, 21 },
				Package () { 0x000effff, 0, 0, 22 }, Package () { 0x000fffff, 0, 0, 23 },
				Package () { 0x0010ffff, 0, 0, 16 }, Package () { 0x0011ffff, 0, 0, 17 },
				Package () { 0x0012ffff, 0, 0, 18 }, Package () { 0x0013ffff, 0, 0, 19 },
				Package () { 0x0014ffff, 0, 0, 20 }, Package () { 0x0015ffff, 0, 0, 21 },
				Package () { 0x0016ffff, 0, 0, 22 }, Package () { 0x0017ffff, 0, 0, 23 },
				Package () { 0x0018ffff, 0, 0, 16 }, Package () { 0x0019ffff, 0, 0, 17 },
				Package () { 0x001affff, 0, 0, 18 }, Package () { 0x001bffff, 0, 0, 19 },
				Package () { 0x001cffff, 0, 0, 20 }, Package () { 0x001dffff, 0, 0, 21 },
				Package () { 0x001effff, 0, 0, 22 }, Package () { 0x001fffff, 0, 0, 23 }
			})
		}

		/* ECAM of bus 0 is nobody else's memory. */
		Device (ECAM)
		{
			Name (_HID, EisaId ("PNP0C02"))
			Name (_UID, 0)
			Name (_CRS, ResourceTemplate ()
			{
				Memory32Fixed (ReadWrite, 0xb0000000, 0x00100000)
			})
		}

		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 0)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x3f8, 0x3f8, 1, 8)
				Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { 4 }
			})
		}
	}
}
