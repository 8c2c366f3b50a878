/* SPDX-License-Identifier: MIT */
/* split.c - a split irqchip: LAPICs are KVM's, the IOAPIC is ours; no PIC, no PIT. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "pins.h"
#include "x86.h"

#define SECTION_STATE	1u
#define LAPIC_ISR	0x100u
#define LAPIC_IRR	0x200u

/* ---- what the IOAPIC is connected to ---- */

static void send(void *user, const struct ioapic_message *message)
{
	struct kvm_machine *m = user;
	struct kvm_msi msi = { .address_lo = (uint32_t) message->address,
			       .address_hi = (uint32_t) (message->address >> 32),
			       .data = message->data };

	(void) ioctl(m->vm, KVM_SIGNAL_MSI, &msi);	/* to nobody, if the guest says so */
}

static void rerouted(void *user)
{
	struct kvm_machine *m = user;
	int r = m->irq ? kvm_irq_refresh(m->irq) : 0;

	if (r < 0)
		kvm_machine_log(m, "KVM refused the messages of the IOAPIC's pins (%s)",
				vferry_errno_name(r));
}

static void ended(void *user, unsigned pin)
{
	struct kvm_machine *m = user;

	x86_pins_ended(m->arch->pins, pin);
}

void x86_split_add_routes(struct kvm_machine *m, struct kvm_irq_routing *table)
{
	struct ioapic_message message;

	for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++)
		if (ioapic_get_message(m->arch->ioapic, pin, &message))
			table->entries[table->nr++] = (struct kvm_irq_routing_entry) {
				.gsi = pin, .type = KVM_IRQ_ROUTING_MSI,
				.u.msi = { .address_lo = (uint32_t) message.address,
					   .address_hi = (uint32_t) (message.address >> 32),
					   .data = message.data },
			};
}

static int pin_connect(struct kvm_machine *m, unsigned pin, int eventfd, int resample)
{
	return x86_pins_connect(m->arch->pins, pin, eventfd, resample);
}

static void pin_disconnect(struct kvm_machine *m, int eventfd)
{
	x86_pins_disconnect(m->arch->pins, eventfd);
}

static void pins_flush(struct kvm_machine *m)
{
	x86_pins_flush(m->arch->pins);
}

const struct kvm_arch_pins *kvm_arch_pins(const struct kvm_machine *m)
{
	static const struct kvm_arch_pins ops = { .connect = pin_connect,
		.disconnect = pin_disconnect, .flush = pins_flush };

	return m->arch->split ? &ops : NULL;
}

bool kvm_arch_mmio(struct kvm_machine *m, uint64_t gpa, unsigned size, bool write, uint64_t *value)
{
	uint64_t offset = gpa - X86_IOAPIC;

	if (!m->arch->ioapic || gpa < X86_IOAPIC || offset >= IOAPIC_BYTES)
		return false;
	if (write)
		ioapic_write(m->arch->ioapic, offset, size, (uint32_t) *value);
	else
		*value = ioapic_read(m->arch->ioapic, offset, size);
	return true;
}

/* ---- its component ---- */

static bool has_bit(const struct kvm_lapic_state *lapic, unsigned base, uint8_t vector)
{
	return (uint8_t) lapic->regs[base + vector / 32 * 16 + vector % 32 / 8] >> vector % 8 & 1;
}

/* One that can't be read counts as having it: then nothing is taken for ended. */
static bool in_service(void *user, uint8_t vector)
{
	struct kvm_machine *m = user;
	struct kvm_lapic_state lapic;

	for (unsigned i = 0; i < m->cpus; i++)
		if (ioctl(m->vcpu[i].fd, KVM_GET_LAPIC, &lapic) < 0 ||
		    has_bit(&lapic, LAPIC_ISR, vector) || has_bit(&lapic, LAPIC_IRR, vector))
			return true;
	return false;
}

static int save(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct kvm_machine *m = user;
	int r = kvm_must_be_stopped(m, "ioapic", err);

	if (r == 0)
		ioapic_save(m->arch->ioapic, vferry_step_writer(step));
	return r;
}

static int load(void *user, struct vferry_step *step, struct vferry_error *err)
{
	struct kvm_machine *m = user;
	int r = kvm_must_be_stopped(m, "ioapic", err);

	return r == 0 ? ioapic_load(m->arch->ioapic, vferry_step_reader(step), in_service, err) : r;
}

static const struct vferry_section_desc sections[] = {
	{ .id = SECTION_STATE, .name = "state", .version = 1, .oldest = 1,
	  .max_bytes = IOAPIC_SECTION_BYTES },
};

static const struct vferry_step_desc steps[] = {
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_SAVE_IOAPIC, .name = "state",
	  .section = SECTION_STATE, .run = save },
	{ .size = sizeof(struct vferry_step_desc), .step_class = VFERRY_LOAD_IOAPIC, .name = "state",
	  .section = SECTION_STATE, .run = load },
};

/* ---- life ---- */

int x86_split_new(struct kvm_machine *m, struct vferry_error *err)
{
	static const struct ioapic_ops ops = { .send = send, .rerouted = rerouted, .ended = ended };
	struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { IOAPIC_PINS } };
	int r;

	if (ioctl(m->vm, KVM_ENABLE_CAP, &cap) < 0)
		return vferry_error_set(err, -errno, "no-split-irqchip", "kvm",
					"this KVM has no split irqchip (%s)", vferry_errno_name(errno));
	m->arch->ioapic_component = (struct vferry_component) {
		.size = sizeof(struct vferry_component), .name = "ioapic", .user = m,
		.sections = sections, .section_count = 1, .steps = steps, .step_count = 2 };
	r = ioapic_new(&ops, m, &m->arch->ioapic);
	return r == 0 ? x86_pins_new(m, &m->arch->pins) : r;
}

void x86_split_free(struct kvm_arch *arch)
{
	arch->pins = x86_pins_free(arch->pins);
	arch->ioapic = ioapic_free(arch->ioapic);
}
