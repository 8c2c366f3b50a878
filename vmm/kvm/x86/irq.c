/* SPDX-License-Identifier: MIT */
/* irq.c - how KVM's interrupt controllers of a PC are wired, and where messages go. */
#include <errno.h>
#include <sys/ioctl.h>

#include "x86.h"

#define PIC_PINS 16u

#define MSI_DESTINATION(address) ((uint32_t) ((address) >> 12 & 0xff))
#define MSI_TO_ALL		0xffu

static void add_pin(struct kvm_irq_routing *table, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	table->entries[table->nr++] = (struct kvm_irq_routing_entry) {
		.gsi = gsi, .type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = { .irqchip = chip, .pin = pin },
	};
}

/* GSI n is pin n of the IOAPIC, and of the PICs. */
static void add_pins(struct kvm_irq_routing *table)
{
	for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++) {
		if (pin < PIC_PINS)
			add_pin(table, pin, pin < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
				pin % 8);
		add_pin(table, pin, KVM_IRQCHIP_IOAPIC, pin);
	}
}

void kvm_arch_add_routes(struct kvm_machine *m, struct kvm_irq_routing *table)
{
	if (m->arch->split)
		x86_split_add_routes(m, table);
	else
		add_pins(table);
}

/*
 * A message to one processor, or to a set of them, is delivered at once; one to all is not
 * (arch/x86/kvm/irq.c, kvm_arch_set_irq_inatomic).
 */
bool kvm_arch_is_queued(const struct vferry_irq_route *route)
{
	return MSI_DESTINATION(route->address) == MSI_TO_ALL;
}

/* Whether a message goes straight into a running vCPU is between KVM and the device's driver. */
int kvm_arch_count_forwarded(struct kvm_machine *m, const char **ret_reason)
{
	(void) m;
	*ret_reason = "KVM does not tell on x86";
	return -ENODATA;
}

void kvm_arch_serial_irq(struct kvm_machine *m, bool level)
{
	struct kvm_irq_level line = { .irq = X86_SERIAL_IRQ, .level = level };

	if (m->arch->ioapic)
		ioapic_set_line(m->arch->ioapic, X86_SERIAL_IRQ, level);
	else
		(void) ioctl(m->vm, KVM_IRQ_LINE, &line);
}

const char *kvm_arch_irqchip(const struct kvm_machine *m)
{
	return m && m->arch && m->arch->split ? "split" : "kernel";
}
