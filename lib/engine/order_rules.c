/* SPDX-License-Identifier: MIT */
/*
 * order_rules.c - the table of order rules, and the names of the step classes.
 *
 * This is the one home of "what comes before what": docs/order.md, `vferry order` and every plan
 * are made from it. A rule that already follows from others has no place here: each row has a test
 * that fails when the row is taken out. `required` stands where a machine that lacks the first step
 * would be saved or restored wrongly without any call failing.
 *
 * Sources: kernel documents are named by their path in the kernel tree, kernel code likewise. "lab"
 * is what a real arm64 kernel with GICv4 answered when the calls were made in the other order;
 * tests/lab repeats it.
 */
#include "base/checked.h"
#include "engine/order.h"

#define C(name) (1ull << ((unsigned) VFERRY_##name % 64))

#define SAVE_VGIC (C(SAVE_ITS_RELEASE) | C(SAVE_GIC_PENDING) | C(SAVE_ITS_TABLES) | C(SAVE_GIC))
#define LOAD_VGIC \
	(C(LOAD_IRQCHIP_CREATE) | C(LOAD_GIC_DIST) | C(LOAD_GIC_LPI_BASES) | C(LOAD_GIC_REDIST) | \
	 C(LOAD_ITS_REGS) | C(LOAD_ITS_TABLES) | C(LOAD_ITS_CTLR))
#define LOAD_RUN \
	(C(LOAD_DEVICE_RUN_P2P) | C(LOAD_DEVICE_RUN) | C(LOAD_CLOCK) | C(LOAD_COUNTER) | \
	 C(LOAD_VCPU_RUN))
/* All of saving but config space of the running machine, and the stop itself. */
#define SAVE_STOPPED \
	((C(SAVE_RAM_LAST) | (C(SAVE_RAM_LAST) - 1)) & ~(C(SAVE_CONFIG_EARLY) | C(SAVE_VCPU_STOP)))

#define VFIO_H "include/uapi/linux/vfio.h"
#define VGIC_ITS "Documentation/virt/kvm/devices/arm-vgic-its.rst"
#define VGIC_V3 "Documentation/virt/kvm/devices/arm-vgic-v3.rst"
#define KVM_API "Documentation/virt/kvm/api.rst"
#define X86_SELFTEST "tools/testing/selftests/kvm/lib/x86_64/processor.c"

static const struct vferry_order_rule rules[] = {
	/* Saving. */
	{
		.id = "save-vcpu-stop-first",
		.phase = VFERRY_PHASE_SAVE,
		.first = C(SAVE_VCPU_STOP),
		.then = SAVE_STOPPED,
		.required = true,
		.because = "a vCPU that runs changes what is being saved, still uses its devices, "
			   "and makes every access to the VGIC fail with -EBUSY",
		.source = VGIC_V3 "; arch/arm64/kvm/vgic/vgic-kvm-device.c",
	},
	{
		.id = "save-vcpu-access-excludes-gic",
		.phase = VFERRY_PHASE_SAVE,
		.kind = VFERRY_RULE_EXCLUDES,
		.first = C(SAVE_VCPU_COMPLETE) | C(SAVE_CPU) | C(SAVE_CLOCK),
		.then = SAVE_VGIC,
		.because = "the kernel tries the lock of every vCPU before it touches the VGIC or "
			   "an ITS: any vCPU ioctl in flight, the counter's register included, "
			   "gives -EBUSY",
		.source = "arch/arm64/kvm/vgic/vgic-kvm-device.c; " VGIC_V3,
	},
	{
		.id = "save-complete-before-device-stop",
		.phase = VFERRY_PHASE_SAVE,
		.first = C(SAVE_VCPU_COMPLETE),
		.then = C(SAVE_DEVICE_P2P) | C(SAVE_DEVICE_STOP),
		.because = "an MMIO or PIO access that is still pending may need the device, and "
			   "a device that left RUNNING may not be touched",
		.source = VFIO_H "; " KVM_API " (KVM_RUN, immediate_exit)",
	},
	{
		.id = "save-complete-before-cpu",
		.phase = VFERRY_PHASE_SAVE,
		.first = C(SAVE_VCPU_COMPLETE),
		.then = C(SAVE_CPU),
		.because = "the half of an access that is still pending is in no register that "
			   "can be read: the instruction would be lost or done twice",
		.source = KVM_API " (KVM_EXIT_MMIO, KVM_EXIT_IO)",
	},
	{
		.id = "save-complete-before-ram",
		.phase = VFERRY_PHASE_SAVE,
		.first = C(SAVE_VCPU_COMPLETE),
		.then = C(SAVE_RAM_LAST),
		.because = "completing an access may write guest RAM",
		.source = KVM_API " (KVM_EXIT_IO: string instructions)",
	},
	{
		.id = "save-p2p-before-stop",
		.phase = VFERRY_PHASE_SAVE,
		.first = C(SAVE_DEVICE_P2P),
		.then = C(SAVE_DEVICE_STOP),
		.because = "a peer that still runs may write into a stopped device, which must "
			   "not change any more",
		.source = VFIO_H " (RUNNING_P2P)",
	},
	{
		.id = "save-stop-before-device-state",
		.phase = VFERRY_PHASE_SAVE,
		.scope = VFERRY_SCOPE_DEVICE,
		.first = C(SAVE_DEVICE_STOP),
		.then = C(SAVE_CONFIG) | C(SAVE_DEVICE_DATA),
		.required = true,
		.because = "the end of a device's state exists only after it stopped, and its "
			   "config space may change until then",
		.source = VFIO_H " (STOP_COPY)",
	},
	{
		.id = "save-stop-before-device-dirty",
		.phase = VFERRY_PHASE_SAVE,
		.first = C(SAVE_DEVICE_STOP),
		.then = C(SAVE_DEVICE_DIRTY),
		.because = "a device in a P2P state may still write guest RAM, and one IOMMU "
			   "report covers several devices",
		.source = VFIO_H " (DMA_LOGGING_REPORT)",
	},
	{
		.id = "save-stop-before-flush",
		.phase = VFERRY_PHASE_SAVE,
		.first = C(SAVE_DEVICE_STOP),
		.then = C(SAVE_IRQ_FLUSH),
		.because = "a device sends messages until it stopped: a flush before that is not "
			   "the last",
		.source = VFIO_H " (STOP)",
	},
	{
		.id = "save-flush-before-irqchip",
		.phase = VFERRY_PHASE_SAVE,
		.first = C(SAVE_IRQ_FLUSH),
		.then = SAVE_VGIC | C(SAVE_LAPIC) | C(SAVE_IOAPIC) | C(SAVE_CONFIG),
		.required = true,
		.because = "a message that reaches the interrupt controller, or a masked vector's "
			   "pending bit, after it was read is lost; a count left in an eventfd "
			   "is dropped when its irqfd goes",
		.source = "virt/kvm/eventfd.c (irqfd_shutdown); arch/x86/kvm/lapic.c; " VGIC_V3,
	},
	{
		.id = "save-flush-before-cpu",
		.phase = VFERRY_PHASE_SAVE,
		.first = C(SAVE_IRQ_FLUSH),
		.then = C(SAVE_CPU),
		.because = "a message may be an NMI or an INIT, which is pending in the vCPU's own "
			   "state",
		.source = "arch/x86/kvm/lapic.c (__apic_accept_irq); " KVM_API
			  " (KVM_GET_VCPU_EVENTS)",
	},
	{
		.id = "save-release-before-tables",
		.phase = VFERRY_PHASE_SAVE,
		.first = C(SAVE_ITS_RELEASE),
		.then = C(SAVE_GIC_PENDING) | C(SAVE_ITS_TABLES),
		.because = "GICv4.0 refuses to save an ITS with forwarded vectors (-EACCES), and "
			   "what is pending in hardware is lost when they are disconnected: they "
			   "are re-sent into the VGIC before it is read",
		.source = "lab, save side on GICv4.0; " VGIC_ITS,
	},
	{
		.id = "save-tables-before-ram",
		.phase = VFERRY_PHASE_SAVE,
		.first = C(SAVE_GIC_PENDING) | C(SAVE_ITS_TABLES),
		.then = C(SAVE_RAM_LAST),
		.because = "the kernel writes both into guest RAM",
		.source = VGIC_ITS "; " VGIC_V3 "; " KVM_API " (dirty ring with bitmap)",
	},
	{
		.id = "save-dma-before-ram",
		.phase = VFERRY_PHASE_SAVE,
		.first = C(SAVE_DEVICE_STOP) | C(SAVE_DEVICE_DIRTY),
		.then = C(SAVE_RAM_LAST),
		.because = "a device writes guest RAM until it stopped, and only its last report "
			   "says where",
		.source = VFIO_H " (DMA_LOGGING_REPORT)",
	},

	/* Loading: devices. */
	{
		.id = "load-resuming-before-stage",
		.phase = VFERRY_PHASE_LOAD,
		.scope = VFERRY_SCOPE_DEVICE,
		.first = C(LOAD_DEVICE_RESUMING),
		.then = C(LOAD_CONFIG_STAGE) | C(LOAD_VECTOR_ALLOC),
		.required = true,
		.because = "a fresh device runs: bus master must not become live on it, and "
			   "outside D0 neither its registers nor its vectors can be set up",
		.source = VFIO_H " (RESUMING); drivers/vfio/pci/vfio_pci_config.c; drivers/pci/msi",
	},
	{
		.id = "load-stage-before-data",
		.phase = VFERRY_PHASE_LOAD,
		.scope = VFERRY_SCOPE_DEVICE,
		.first = C(LOAD_CONFIG_STAGE),
		.then = C(LOAD_DEVICE_DATA),
		.required = true,
		.because = "the driver may need BARs and capabilities in place, and they must "
			   "have been compared before the first byte is taken",
		.source = "drivers/vfio/pci/vfio_pci_config.c; " VFIO_H " (PRE_COPY)",
	},
	{
		.id = "load-stage-before-restage",
		.phase = VFERRY_PHASE_LOAD,
		.scope = VFERRY_SCOPE_DEVICE,
		.first = C(LOAD_CONFIG_STAGE),
		.then = C(LOAD_CONFIG_RESTAGE),
		.required = true,
		.because = "the earlier values would overwrite those of the stopped device, and "
			   "no value goes in before identity and layout were compared",
		.source = "drivers/vfio/pci/vfio_pci_config.c",
	},
	{
		.id = "load-data-before-last",
		.phase = VFERRY_PHASE_LOAD,
		.scope = VFERRY_SCOPE_DEVICE,
		.first = C(LOAD_DEVICE_DATA),
		.then = C(LOAD_DEVICE_DATA_LAST),
		.because = "a device's state is one stream: its bytes keep their order",
		.source = VFIO_H " (data_fd)",
	},
	{
		.id = "load-restage-before-last",
		.phase = VFERRY_PHASE_LOAD,
		.scope = VFERRY_SCOPE_DEVICE,
		.first = C(LOAD_CONFIG_RESTAGE),
		.then = C(LOAD_DEVICE_DATA_LAST),
		.required = true,
		.because = "the guest may have moved BARs or changed DevCtl or the MSI mode while "
			   "its first state was sent; the last state belongs to the later config "
			   "space",
		.source = "drivers/vfio/pci/vfio_pci_config.c",
	},
	{
		.id = "load-last-before-validate",
		.phase = VFERRY_PHASE_LOAD,
		.scope = VFERRY_SCOPE_DEVICE,
		.first = C(LOAD_DEVICE_DATA_LAST),
		.then = C(LOAD_DEVICE_VALIDATE),
		.required = true,
		.because = "RESUMING to STOP is the only place where the driver validates, and it "
			   "takes no byte after that",
		.source = VFIO_H " (RESUMING); samples/vfio-mdev/mtty.c",
	},
	{
		.id = "load-validate-before-arm",
		.phase = VFERRY_PHASE_LOAD,
		.scope = VFERRY_SCOPE_DEVICE,
		.first = C(LOAD_DEVICE_VALIDATE),
		.then = C(LOAD_CONFIG_ARM),
		.required = true,
		.because = "arming ends with the saved power state, and a device that left D0 "
			   "cannot be loaded",
		.source = "drivers/vfio/pci/vfio_pci_config.c (PMCSR), vfio_pci_core.c",
	},

	/* Loading: RAM, CPUs, interrupt controller. */
	{
		.id = "load-ram-before-sregs",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_RAM),
		.then = C(LOAD_CPU_SREGS),
		.because = "in PAE mode the PDPTRs are read from guest RAM",
		.source = KVM_API " (KVM_SET_SREGS); arch/x86/kvm/x86.c",
	},
	{
		.id = "load-ram-before-redistributors",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_RAM),
		.then = C(LOAD_GIC_REDIST) | C(LOAD_ITS_TABLES),
		.because = "LPI configuration, pending bits and ITS tables are read from guest "
			   "RAM, and restoring clears there what it took",
		.source = VGIC_ITS "; arch/arm64/kvm/vgic/vgic-its.c",
	},
	{
		.id = "load-cpu-id-first",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_CPU_ID),
		.then = C(LOAD_CPU_SREGS) | C(LOAD_CPU_REGS),
		.because = "CPUID and the ID registers say which other registers exist and what "
			   "may be written into them",
		.source = X86_SELFTEST "; Documentation/virt/kvm/arm/vcpu-features.rst",
	},
	{
		.id = "load-sregs-before-regs",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_CPU_SREGS),
		.then = C(LOAD_CPU_REGS),
		.because = "events, MP state and nested state are checked against EFER, CR0, CR4 "
			   "and the feature MSRs",
		.source = X86_SELFTEST,
	},
	{
		.id = "load-irqchip-create-first",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_IRQCHIP_CREATE),
		.then = C(LOAD_GIC_DIST) | C(LOAD_GIC_LPI_BASES) | C(LOAD_GIC_REDIST) |
			C(LOAD_ITS_REGS) | C(LOAD_LAPIC) | C(LOAD_IOAPIC) | C(LOAD_IRQ_ROUTES),
		.because = "an ITS that is created later resets PROPBASER, without one EnableLPIs "
			   "is ignored, and initialising the controller wipes the routes",
		.source = "arch/arm64/kvm/vgic/vgic-its.c, vgic-mmio-v3.c, vgic-init.c",
	},
	{
		.id = "load-mpidr-before-redistributors",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_CPU_ID),
		.then = C(LOAD_GIC_LPI_BASES) | C(LOAD_GIC_REDIST),
		.because = "redistributors are addressed by the affinity in MPIDR",
		.source = VGIC_V3,
	},
	{
		.id = "load-iidr-before-redistributors",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_GIC_DIST),
		.then = C(LOAD_GIC_LPI_BASES) | C(LOAD_GIC_REDIST),
		.because = "GICD_IIDR selects how later writes behave",
		.source = VGIC_V3 " (GICD_IIDR)",
	},
	{
		.id = "load-lpi-bases-before-redistributors",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_GIC_LPI_BASES),
		.then = C(LOAD_GIC_REDIST),
		.because = "PROPBASER and PENDBASER are ignored once GICR_CTLR has LPIs enabled",
		.source = "arch/arm64/kvm/vgic/vgic-mmio-v3.c",
	},
	{
		.id = "load-redistributors-before-its",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_GIC_REDIST),
		.then = C(LOAD_ITS_TABLES),
		.required = true,
		.because = "restoring the tables reads each LPI's configuration through "
			   "PROPBASER: before that it fails with -EFAULT",
		.source = VGIC_ITS "; lab row 12",
	},
	{
		.id = "load-its-regs-before-tables",
		.phase = VFERRY_PHASE_LOAD,
		.scope = VFERRY_SCOPE_COMPONENT,
		.first = C(LOAD_ITS_REGS),
		.then = C(LOAD_ITS_TABLES),
		.required = true,
		.because = "the BASER registers say where the tables are, and writing them later "
			   "frees what was restored",
		.source = VGIC_ITS,
	},
	{
		.id = "load-its-tables-before-enable",
		.phase = VFERRY_PHASE_LOAD,
		.scope = VFERRY_SCOPE_COMPONENT,
		.first = C(LOAD_ITS_TABLES),
		.then = C(LOAD_ITS_CTLR),
		.required = true,
		.because = "GITS_CTLR freezes the bases, runs the commands that are left, and "
			   "lets messages in: all of it needs the tables",
		.source = VGIC_ITS,
	},
	{
		.id = "load-sregs-before-lapic",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_CPU_SREGS),
		.then = C(LOAD_LAPIC),
		.because = "the APIC base in SREGS selects xAPIC or x2APIC, which the LAPIC's "
			   "state is checked against",
		.source = "arch/x86/kvm/lapic.c",
	},
	{
		.id = "load-lapic-before-deadline",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_LAPIC),
		.then = C(LOAD_TSC_DEADLINE),
		.because = "the MSR is ignored unless the LAPIC's timer is in deadline mode",
		.source = "arch/x86/kvm/lapic.c",
	},
	{
		.id = "load-lapic-before-ioapic",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_LAPIC),
		.then = C(LOAD_IOAPIC),
		.because = "the IOAPIC re-injects its pending lines into the LAPICs, whose "
			   "restore would overwrite them",
		.source = "arch/x86/kvm/ioapic.c",
	},
	{
		.id = "load-ioapic-before-pit",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_IOAPIC),
		.then = C(LOAD_PIT),
		.because = "the PIT ticks from its restore on, and waits for the acknowledgement of "
			   "its first tick: one that goes into a PIC or an IOAPIC that is "
			   "overwritten later is never acknowledged",
		.source = "arch/x86/kvm/i8254.c (pit_do_work)",
	},
	{
		.id = "load-vcpu-access-excludes-gic",
		.phase = VFERRY_PHASE_LOAD,
		.kind = VFERRY_RULE_EXCLUDES,
		.first = C(LOAD_CPU_ID) | C(LOAD_CPU_SREGS) | C(LOAD_CPU_REGS),
		.then = LOAD_VGIC,
		.because = "the kernel tries the lock of every vCPU before it touches the VGIC or "
			   "an ITS: any vCPU ioctl in flight gives -EBUSY",
		.source = "arch/arm64/kvm/vgic/vgic-kvm-device.c; " VGIC_V3,
	},

	/* Loading: interrupts of the devices. */
	{
		.id = "load-restage-before-routes",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_CONFIG_RESTAGE),
		.then = C(LOAD_IRQ_ROUTES),
		.because = "the routing table is replaced as a whole, once: every device's last "
			   "messages must be known",
		.source = KVM_API " (KVM_SET_GSI_ROUTING)",
	},
	{
		.id = "load-ioapic-before-routes",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_IOAPIC),
		.then = C(LOAD_IRQ_ROUTES),
		.because = "with a split irqchip the first routes are the messages of the "
			   "IOAPIC's pins",
		.source = KVM_API " (KVM_CAP_SPLIT_IRQCHIP)",
	},
	{
		.id = "load-irqchip-before-connect",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_ITS_CTLR) | C(LOAD_LAPIC),
		.then = C(LOAD_IRQ_CONNECT),
		.because = "a vector is forwarded at the connect or never: without an enabled ITS "
			   "or the LAPIC's state it stays in software injection, no call fails, "
			   "and messages that arrive meanwhile are lost",
		.source = "lab rows 2, 6, 8; " VGIC_ITS "; arch/x86/kvm/vmx/posted_intr.c",
	},
	{
		.id = "load-routes-before-connect",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_IRQ_ROUTES),
		.then = C(LOAD_IRQ_CONNECT),
		.required = true,
		.because = "an irqfd whose GSI has no route yet is accepted and never forwarded",
		.source = "lab row 14; virt/kvm/eventfd.c",
	},
	{
		.id = "load-alloc-before-connect",
		.phase = VFERRY_PHASE_LOAD,
		.scope = VFERRY_SCOPE_DEVICE,
		.first = C(LOAD_VECTOR_ALLOC),
		.then = C(LOAD_IRQ_CONNECT),
		.required = true,
		.because = "the eventfd that is connected is the vector's own; a vector that is "
			   "not allocated has none",
		.source = VFIO_H " (VFIO_DEVICE_SET_IRQS); lab row 9",
	},
	{
		.id = "load-connect-before-arm",
		.phase = VFERRY_PHASE_LOAD,
		.scope = VFERRY_SCOPE_DEVICE,
		.first = C(LOAD_IRQ_CONNECT),
		.then = C(LOAD_CONFIG_ARM),
		.because = "a line that is still asserted signals as soon as INTx-disable is "
			   "cleared, the MSI enable bit sticks only once the vectors are there, "
			   "and none can be set up outside D0",
		.source = "drivers/vfio/pci/vfio_pci_intrs.c, vfio_pci_config.c",
	},

	/* Loading: the hand-over. */
	{
		.id = "load-all-before-prepared",
		.phase = VFERRY_PHASE_LOAD,
		.first = VF_LOAD_FALLIBLE,
		.then = C(LOAD_PREPARED),
		.because = "the source gives the machine away for this promise: nothing that can "
			   "fail may follow it",
		.source = "docs/handover.md",
	},
	{
		.id = "load-prepared-before-commit",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_PREPARED),
		.then = C(LOAD_COMMIT),
		.required = true,
		.because = "COMMIT answers PREPARED",
		.source = "docs/handover.md",
	},
	{
		.id = "load-commit-before-run",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_COMMIT),
		.then = LOAD_RUN,
		.required = true,
		.because = "until COMMIT the source may run on, and nothing may run on two sides",
		.source = "docs/handover.md",
	},
	{
		.id = "load-p2p-before-run",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_DEVICE_RUN_P2P),
		.then = C(LOAD_DEVICE_RUN),
		.because = "a device that runs may write into a peer, which must not be stopped "
			   "any more",
		.source = VFIO_H " (RUNNING_P2P)",
	},
	{
		.id = "load-devices-before-vcpus",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_DEVICE_RUN),
		.then = C(LOAD_CLOCK) | C(LOAD_COUNTER) | C(LOAD_VCPU_RUN),
		.because = "a guest may touch its devices with its first instruction, and time "
			   "that is set before the devices are started runs on without it",
		.source = VFIO_H " (RUNNING); Documentation/virt/kvm/devices/vcpu.rst",
	},
	{
		.id = "load-clock-before-vcpus",
		.phase = VFERRY_PHASE_LOAD,
		.first = C(LOAD_CLOCK) | C(LOAD_COUNTER),
		.then = C(LOAD_VCPU_RUN),
		.because = "a guest that runs sees its clock jump, and the counter offset is "
			   "refused with -EBUSY while a vCPU ioctl is in flight",
		.source = KVM_API " (KVM_SET_CLOCK, KVM_ARM_SET_COUNTER_OFFSET)",
	},

	/* Undoing. */
	{
		.id = "undo-bars-before-run",
		.phase = VFERRY_PHASE_UNDO,
		.first = C(UNDO_BAR_MAP),
		.then = C(UNDO_DEVICE_RUN) | C(UNDO_VCPU_RUN),
		.because = "a peer's DMA or the guest would find no BAR there",
		.source = VFIO_H " (STOP_COPY: regions are not touched)",
	},
	{
		.id = "undo-connect-before-intx",
		.phase = VFERRY_PHASE_UNDO,
		.scope = VFERRY_SCOPE_DEVICE,
		.first = C(UNDO_IRQ_CONNECT),
		.then = C(UNDO_INTX),
		.because = "a line that is still asserted signals as soon as it is let through",
		.source = "drivers/vfio/pci/vfio_pci_intrs.c",
	},
	{
		.id = "undo-irqs-before-run",
		.phase = VFERRY_PHASE_UNDO,
		.first = C(UNDO_IRQ_CONNECT) | C(UNDO_INTX),
		.then = C(UNDO_DEVICE_RUN_P2P) | C(UNDO_DEVICE_RUN),
		.because = "a device in a P2P state already sends messages: a vector must be "
			   "connected, and forwarded, before its first one",
		.source = "lab row 5; virt/kvm/eventfd.c; " VFIO_H " (RUNNING_P2P)",
	},
	{
		.id = "undo-p2p-before-run",
		.phase = VFERRY_PHASE_UNDO,
		.first = C(UNDO_DEVICE_RUN_P2P),
		.then = C(UNDO_DEVICE_RUN),
		.because = "a device that runs may write into a peer, which must not be stopped "
			   "any more",
		.source = VFIO_H " (RUNNING_P2P)",
	},
	{
		.id = "undo-run-before-logging-off",
		.phase = VFERRY_PHASE_UNDO,
		.first = C(UNDO_DEVICE_RUN),
		.then = C(UNDO_LOGGING_OFF),
		.because = "leaving the saving states ends the device's migration session; the "
			   "trackers that were started before it end after it",
		.source = VFIO_H " (DMA_LOGGING_START); drivers/vfio/pci/mlx5/main.c",
	},
	{
		.id = "undo-devices-before-clock",
		.phase = VFERRY_PHASE_UNDO,
		.first = C(UNDO_DEVICE_RUN),
		.then = C(UNDO_CLOCK) | C(UNDO_VCPU_RUN),
		.because = "a guest may touch its devices with its first instruction, and time "
			   "that is set before the devices are started runs on without it",
		.source = VFIO_H " (RUNNING); Documentation/virt/kvm/devices/vcpu.rst",
	},
	{
		.id = "undo-logging-before-vcpus",
		.phase = VFERRY_PHASE_UNDO,
		.first = C(UNDO_LOGGING_OFF),
		.then = C(UNDO_VCPU_RUN),
		.because = "a machine that runs may be migrated again at once, and a second START "
			   "of a log that is still on is an error",
		.source = VFIO_H " (DMA_LOGGING_START)",
	},
	{
		.id = "undo-clock-before-vcpus",
		.phase = VFERRY_PHASE_UNDO,
		.first = C(UNDO_CLOCK),
		.then = C(UNDO_VCPU_RUN),
		.because = "a guest that runs sees its clock jump",
		.source = KVM_API " (KVM_SET_CLOCK)",
	},
	{
		.id = "undo-other-before-vcpus",
		.phase = VFERRY_PHASE_UNDO,
		.first = C(UNDO_OTHER),
		.then = C(UNDO_VCPU_RUN),
		.because = "what a component put aside for the save must be back before the guest "
			   "looks",
		.source = "docs/architecture.md (roll-back)",
	},
};

static const char *const save_names[] = {
	[VFERRY_SAVE_CONFIG_EARLY] = "config-early",
	[VFERRY_SAVE_VCPU_STOP] = "vcpu-stop",
	[VFERRY_SAVE_VCPU_COMPLETE] = "vcpu-complete",
	[VFERRY_SAVE_DEVICE_P2P] = "device-p2p",
	[VFERRY_SAVE_DEVICE_STOP] = "device-stop",
	[VFERRY_SAVE_CONFIG] = "config",
	[VFERRY_SAVE_DEVICE_DATA] = "device-data",
	[VFERRY_SAVE_DEVICE_DIRTY] = "device-dirty",
	[VFERRY_SAVE_IRQ_FLUSH] = "irq-flush",
	[VFERRY_SAVE_ITS_RELEASE] = "its-release",
	[VFERRY_SAVE_GIC_PENDING] = "gic-pending",
	[VFERRY_SAVE_ITS_TABLES] = "its-tables",
	[VFERRY_SAVE_GIC] = "gic",
	[VFERRY_SAVE_LAPIC] = "lapic",
	[VFERRY_SAVE_IOAPIC] = "ioapic",
	[VFERRY_SAVE_CPU] = "cpu",
	[VFERRY_SAVE_CLOCK] = "clock",
	[VFERRY_SAVE_OTHER] = "other",
	[VFERRY_SAVE_RAM_LAST] = "ram-last",
};

static const char *const load_names[] = {
	[VFERRY_LOAD_DEVICE_RESUMING - 64] = "device-resuming",
	[VFERRY_LOAD_CONFIG_STAGE - 64] = "config-stage",
	[VFERRY_LOAD_DEVICE_DATA - 64] = "device-data",
	[VFERRY_LOAD_CONFIG_RESTAGE - 64] = "config-restage",
	[VFERRY_LOAD_DEVICE_DATA_LAST - 64] = "device-data-last",
	[VFERRY_LOAD_DEVICE_VALIDATE - 64] = "device-validate",
	[VFERRY_LOAD_VECTOR_ALLOC - 64] = "vector-alloc",
	[VFERRY_LOAD_RAM - 64] = "ram",
	[VFERRY_LOAD_IRQCHIP_CREATE - 64] = "irqchip-create",
	[VFERRY_LOAD_CPU_ID - 64] = "cpu-id",
	[VFERRY_LOAD_CPU_SREGS - 64] = "cpu-sregs",
	[VFERRY_LOAD_CPU_REGS - 64] = "cpu-regs",
	[VFERRY_LOAD_GIC_DIST - 64] = "gic-dist",
	[VFERRY_LOAD_GIC_LPI_BASES - 64] = "gic-lpi-bases",
	[VFERRY_LOAD_GIC_REDIST - 64] = "gic-redist",
	[VFERRY_LOAD_ITS_REGS - 64] = "its-regs",
	[VFERRY_LOAD_ITS_TABLES - 64] = "its-tables",
	[VFERRY_LOAD_ITS_CTLR - 64] = "its-ctlr",
	[VFERRY_LOAD_LAPIC - 64] = "lapic",
	[VFERRY_LOAD_TSC_DEADLINE - 64] = "tsc-deadline",
	[VFERRY_LOAD_IOAPIC - 64] = "ioapic",
	[VFERRY_LOAD_IRQ_ROUTES - 64] = "irq-routes",
	[VFERRY_LOAD_IRQ_CONNECT - 64] = "irq-connect",
	[VFERRY_LOAD_CONFIG_ARM - 64] = "config-arm",
	[VFERRY_LOAD_OTHER - 64] = "other",
	[VFERRY_LOAD_PREPARED - 64] = "prepared",
	[VFERRY_LOAD_COMMIT - 64] = "commit",
	[VFERRY_LOAD_DEVICE_RUN_P2P - 64] = "device-run-p2p",
	[VFERRY_LOAD_DEVICE_RUN - 64] = "device-run",
	[VFERRY_LOAD_CLOCK - 64] = "clock",
	[VFERRY_LOAD_COUNTER - 64] = "counter",
	[VFERRY_LOAD_VCPU_RUN - 64] = "vcpu-run",
	[VFERRY_LOAD_PIT - 64] = "pit",
};

static const char *const undo_names[] = {
	[VFERRY_UNDO_BAR_MAP - 128] = "bar-map",
	[VFERRY_UNDO_IRQ_CONNECT - 128] = "irq-connect",
	[VFERRY_UNDO_INTX - 128] = "intx",
	[VFERRY_UNDO_DEVICE_RUN_P2P - 128] = "device-run-p2p",
	[VFERRY_UNDO_DEVICE_RUN - 128] = "device-run",
	[VFERRY_UNDO_LOGGING_OFF - 128] = "logging-off",
	[VFERRY_UNDO_CLOCK - 128] = "clock",
	[VFERRY_UNDO_OTHER - 128] = "other",
	[VFERRY_UNDO_VCPU_RUN - 128] = "vcpu-run",
};

const struct vferry_order_rule *vferry_order_rules(size_t *ret_count)
{
	*ret_count = VF_ARRAY_COUNT(rules);
	return rules;
}

const char *vferry_step_class_name(int step_class)
{
	static const struct {
		const char *const *names;
		size_t count;
	} phases[VFERRY_PHASE__COUNT] = {
		[VFERRY_PHASE_SAVE] = { save_names, VF_ARRAY_COUNT(save_names) },
		[VFERRY_PHASE_LOAD] = { load_names, VF_ARRAY_COUNT(load_names) },
		[VFERRY_PHASE_UNDO] = { undo_names, VF_ARRAY_COUNT(undo_names) },
	};
	size_t phase, n;

	if (step_class < 0)
		return NULL;
	phase = (size_t) step_class / 64;
	n = (size_t) step_class % 64;
	if (phase >= VFERRY_PHASE__COUNT || n >= phases[phase].count)
		return NULL;
	return phases[phase].names[n];
}
